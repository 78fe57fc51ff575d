/* The results document of a lab run as the page needs it: summaries, comparisons and rows in
 * arrays, each with the model and workload that it belongs to. */
#ifndef SNUG_REPORT_LAB_DOC_H
#define SNUG_REPORT_LAB_DOC_H

#include "base/json.h"
#include "snug/stats.h"
#include "snug/trial.h"

/* One model with one workload: a section of the page. */
struct snug__lab_cell {
    const char *model, *workload;
    struct snug_workload lengths; /* all 0 when the document does not tell */
    bool has_lengths;
};

/* What a round gave in one cell. */
enum snug__lab_state {
    SNUG__LAB_UNKNOWN, /* nothing was recorded */
    SNUG__LAB_OK,      /* at least one row is ok */
    SNUG__LAB_FAILED   /* rows, and none of them ok */
};
struct snug__lab_sum {
    const struct snug_json_node *node;
    const char *round; /* never NULL; borrowed, as all texts here */
    size_t i_cell;
    enum snug__lab_state state;
    int64_t n_ok, n_failed; /* -1: not recorded */
};

struct snug__lab_ratio {
    const struct snug_json_node *node;
    const char *round, *metric;
    size_t i_cell;
    struct snug_interval of; /* to the baseline; NAN: not measured */
};

struct snug__lab_row {
    const struct snug_json_node *node, *measurement;
    const char *round, *outcome, *reason, *config_text;
    size_t i_cell;
    int64_t repetition;
    bool is_ok, is_baseline;
    double started_unix_s; /* NAN: not recorded */
    double request_s;      /* of one request; NAN: failed, or a speed it needs is missing */
};

struct snug__lab {
    struct snug_json *doc;
    const struct snug_json_node *root;
    struct snug__lab_cell *cells; /* owned, as the three below */
    struct snug__lab_sum *sums;
    struct snug__lab_ratio *ratios;
    struct snug__lab_row *rows;
    size_t n_cells, n_sums, n_ratios, n_rows, n_rows_ok;
};

/* A metric by its key, "decode_tps" or "decode"; NULL when this page does not know it. */
struct snug__lab_metric {
    const char *key, *alias, *name;
    bool is_more_better;
};
const struct snug__lab_metric *snug__lab_metric_of(const char *key);
/* "decode speed", or the key itself. */
const char *snug__lab_metric_name(const char *key);
/* +1 better than the baseline, -1 worse, 0 not told apart or of an unknown metric. */
int snug__lab_ratio_side(const struct snug__lab_ratio *ratio);

/* {lo, mid, hi} of a key; all NAN unless 0 < lo <= mid <= hi. A plain number is an interval of no
 * width. */
struct snug_interval snug__lab_interval(const struct snug_json_node *object, const char *key);

/* Parse and check caps. *lab is cleared on failure. */
snug_status snug__lab_read(const char *json_text, size_t n, struct snug__lab *lab,
                           struct snug_error *err) SNUG_CHECKED;
void snug__lab_clear(struct snug__lab *lab);

#endif
