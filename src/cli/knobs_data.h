/* What the stored trials of one model on one machine say of its knobs: one row per task and config,
 * with the level of each knob and the median of each metric. Rows of several tasks can be of one
 * config. */
#ifndef SNUG_CLI_KNOBS_DATA_H
#define SNUG_CLI_KNOBS_DATA_H

#include "cli/known.h"
#include "snug/knobs.h"

enum knobs_metric_id {
    KNOBS_DECODE,
    KNOBS_PREFILL,
    KNOBS_REQUEST,
    KNOBS_TTFT,
    KNOBS_MEMORY,
    KNOBS_FAILS,
    N_KNOBS_METRICS
};

struct knobs_metric {
    const char *key, *name, *unit, *column; /* "decode", "decode speed", "t/s", "decode_tps" */
};
extern const struct knobs_metric knobs_metrics[N_KNOBS_METRICS];

/* A knob that took more than one value; values in the order of its levels. */
struct knobs_knob {
    const char *name, **values;
    struct snug_knobs_knob as; /* for snug_knobs_rank */
};

struct knobs_row {
    int64_t task_id;
    const char *config_json;
    int config; /* the first row with the same levels */
    int level[SNUG_KNOBS_MAX_RANKED];
    double metric[N_KNOBS_METRICS]; /* median over the trials; NAN: none has it */
    int n_trials, n_failed, n_valid;
};

struct knobs_data {
    struct snug_arena arena; /* holds every text and the rows */
    struct knobs_knob knobs[SNUG_KNOBS_MAX_RANKED];
    struct knobs_row *rows;
    int n_knobs, n_rows, n_tasks, n_trials;
    int n_configs;   /* different levels among the rows */
    int n_disturbed; /* ok, but INVALID: of something else than the config alone */
    /* Their speeds count: without them fewer than SNUG_KNOBS_CONFIGS_MIN configs would be left. */
    bool has_disturbed;
    const char *unvaried; /* "flash_attn, type_k": one value everywhere, or not in every trial */
    const char *model, *machine, *build; /* of the newest task */
};

/* From tasks of known_list, trials not loaded; those that do not match args are left out.
 * Errors  SNUG_INFEASIBLE: no task matches; SNUG_BAD_INPUT: more knobs, values or configs than a
 *         ranking takes. On failure *out is clear. */
snug_status knobs_data_read(const struct cli_args *args, struct snug_store *store,
                            struct known *list, int n, struct knobs_data *out,
                            struct snug_error *err) SNUG_CHECKED;
void knobs_data_clear(struct knobs_data *data);
/* How many different configs are among these rows of the data. */
int knobs_data_configs(const struct knobs_data *data, const int *rows, int n_rows);

#endif
