/* The report document as the page needs it: trials in one array, the named ones found. */
#ifndef SNUG_REPORT_HTML_DOC_H
#define SNUG_REPORT_HTML_DOC_H

#include "base/json.h"
#include "snug/trial.h"

struct snug__row {
    const struct snug_json_node *measurement; /* NULL when absent */
    int64_t id;
    const struct snug_json_node *axes;    /* values by objective; NULL when absent */
    const struct snug_json_node *quality; /* its price in quality; NULL when absent */
    const char *role, *strategy, *config_text, *outcome, *reason; /* never NULL; borrowed */
    const char *verdict;                                          /* "" when absent */
    bool is_ok, on_front;
    double speed, speed_lo, speed_hi; /* of the objective; NAN: not measured, or the trial failed */
    double bytes;                     /* stated; NAN: unknown */
};

/* The trials a reader compares: index into these arrays, and the class of their marks. */
enum snug__who { SNUG__PICK, SNUG__DEFAULT, SNUG__FIT, SNUG__N_WHO };

struct snug__report {
    struct snug_json *doc;
    const struct snug_json_node *root;
    struct snug__row *rows; /* owned */
    size_t n_rows, n_ok;
    const struct snug__row *who[SNUG__N_WHO]; /* into rows, or NULL */
    enum snug_objective objective;
    double limit_bytes; /* NAN: none given */
};

/* "pick", "default", "fit": text and CSS class. */
const char *snug__who_name(enum snug__who who);
/* "tokens/s", "requests/s" or "tokens/J". */
const char *snug__speed_unit(const struct snug__report *report);
/* "decode speed", "prefill speed", "request rate", "tokens per joule". */
const char *snug__speed_name(const struct snug__report *report);

/* Parse and check caps. *report is cleared on failure. */
snug_status snug__report_read(const char *json_text, size_t n, struct snug__report *report,
                              struct snug_error *err) SNUG_CHECKED;
void snug__report_clear(struct snug__report *report);

/* Timed blocks of a row, those > 0 only; key is "decode_block_tps" or "prefill_block_tps". */
int snug__row_blocks(const struct snug__row *row, const char *key, double out[SNUG_BLOCKS_MAX]);
/* Is this a short trial of a config that was measured before: of the front, or of the check? */
bool snug__row_is_again(const struct snug__row *row);
/* Is this a re-measurement of the config of `of`, for the check? */
bool snug__row_confirms(const struct snug__row *row, const struct snug__row *of);

#endif
