/* Rankings of the knobs by each metric, and their forms: text, JSON, CSV. */
#ifndef SNUG_CLI_KNOBS_RANK_H
#define SNUG_CLI_KNOBS_RANK_H

#include "base/buffer.h"
#include "cli/knobs_data.h"

/* One metric: which rows have it, and what they say. */
struct knobs_view {
    bool is_ranked;
    const char *why_not; /* "the same in every trial"; NULL when ranked */
    int *rows;           /* rows of the data, in the order of the ranking's */
    int n_rows, n_configs;
    double lo, hi; /* over these rows, in the metric's unit */
    struct snug_knobs_ranking ranking;
};

struct knobs_ranks {
    const struct knobs_data *data; /* kept */
    struct knobs_view views[N_KNOBS_METRICS];
    int order[SNUG_KNOBS_MAX_RANKED]; /* knobs by the effect on their best metric, greatest first */
    /* By knob: of the metrics that decide as all together do, the one with the greatest effect;
     * failures only where no other is. */
    int best_metric[SNUG_KNOBS_MAX_RANKED];
    enum snug_knobs_decision decision[SNUG_KNOBS_MAX_RANKED]; /* over all metrics; by knob */
};

/* Errors  SNUG_INFEASIBLE: no metric has enough configs; the text says what to run. */
snug_status knobs_ranks_make(const struct cli_args *args, const struct knobs_data *data,
                             struct knobs_ranks *out, struct snug_error *err) SNUG_CHECKED;
void knobs_ranks_clear(struct knobs_ranks *ranks);
/* "MODEL -p 64 --store FILE": the operand, and what of the history it is narrowed to. */
void knobs_put_scope(const struct cli_args *args, struct snug_buffer *out);
/* The command that tries more configs of the same; with ranks one that varies their open knobs. */
void knobs_put_more(const struct cli_args *args, const struct knobs_ranks *ranks,
                    struct snug_buffer *out);
/* Effects as shares of the metric: exp(effect) - 1 of a log, itself for failures. */
double knobs_effect_frac(int metric, double effect);
struct snug_interval knobs_interval_frac(int metric, struct snug_interval effect);

/* What matters in words, and a table per metric; with is_short one table over all metrics. */
void knobs_text(const struct knobs_ranks *ranks, bool is_short, struct snug_buffer *out);
/* Malloc'ed or NULL. with_points: every Shapley value too, as the page needs them. */
char *knobs_json(const struct knobs_ranks *ranks, bool with_points);
char *knobs_bounds_json(const struct knobs_ranks *ranks);
/* A row per task and config: task, knobs, metrics, trials. */
void knobs_csv(const struct knobs_data *data, struct snug_buffer *out);

#endif
