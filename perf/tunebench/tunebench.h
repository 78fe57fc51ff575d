/* tunebench: tuners compared on recorded tables. Same table, method and seed: same trace.
 *
 * A table (engine/table.h) is replayed; a method asks and is told; everything is charged to the
 * table's own clock: loading, failures, bytes that are stated. What is scored is never what the
 * tuner saw, but the true medians of the front that it declares, within bounds that belong to the
 * table alone. */
#ifndef TUNEBENCH_H
#define TUNEBENCH_H

#include <stdio.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "base/json.h"
#include "engine/replay.h"
#include "snug/stats.h"
#include "tune/strategy.h"

#define TB_TRIALS_MAX 200
#define TB_SEEDS_MAX 200
#define TB_TABLES_MAX 16
#define TB_METHODS_MAX 24
#define TB_INERT_MAX 8

/* ---- tables and their truth ---- */

struct tb_table {
    struct snug__table *table;
    enum snug_objective objective;
    double *truth;                   /* [n_cells] median over repetitions; 0: cannot run */
    struct snug_front_bounds bounds; /* the slowest and the largest cell that can run */
    double area;                     /* of all cells together: a share of 1 */
    double trial_s;                  /* median charge of a cell that runs, loading included */
    size_t n_feasible;
    /* Of a goal that is not plain: area is then the volume of these gains. */
    struct snug_goal goal;
    double ref[SNUG_AXES_MAX];
    double (*gain)[SNUG_AXES_MAX]; /* [n_cells] true; -INFINITY: cannot run. NULL: plain */
    int n_inert; /* rows that a tuner sees after the table's own, and that change nothing */
};

/* Takes the table over, also when it fails.
 * Errors  SNUG_BAD_INPUT: fewer than two cells run within the limit */
snug_status tb_table_init(struct tb_table *t, struct snug__table *table,
                          enum snug_objective objective, struct snug_error *err) SNUG_CHECKED;
void tb_table_clear(struct tb_table *t);
/* Does a cell run, and within the table's limit? */
bool tb_table_is_feasible(const struct tb_table *t, const struct snug__table_cell *cell);
/* The true point of a config; speed 0 where there is none. */
struct snug_point tb_table_point(const struct tb_table *t, const struct snug_config *config);
/* Share of the table's hypervolume that these true points cover, 0 to 1. */
double tb_table_share(const struct tb_table *t, const struct snug_point *points, size_t n);

/* Share after each of n trials when each is the one that truly gains most: what a tuner that knows
 * everything reaches, trial by trial; with_start: when the default and --fit's choice come first,
 * as they do for most methods. out_share[n]. */
snug_status tb_table_greedy(const struct tb_table *t, bool with_start, int n, double *out_share,
                            struct snug_error *err) SNUG_CHECKED;

/* Score by another goal, whose lead is the table's objective; once, after tb_table_init. Methods
 * that know speed and bytes alone are scored by what they find of it. Errors  SNUG_BAD_INPUT: an
 * axis that the table has no figures of */
snug_status tb_table_set_goal(struct tb_table *t, const struct snug_goal *goal,
                              struct snug_error *err) SNUG_CHECKED;
/* True gains of a config; NULL where it does not run. And the two above of gains. */
const double *tb_table_gain(const struct tb_table *t, const struct snug_config *config);
double tb_table_share_of_gains(const struct tb_table *t, const double (*gain)[SNUG_AXES_MAX],
                               size_t n);
snug_status tb_table_greedy_of_gains(const struct tb_table *t, int n, double *out_share,
                                     struct snug_error *err) SNUG_CHECKED;
/* What is told of the goal's axes, and the region around the first trial that ran (NULL: none). */
void tb_goal_observe(const struct tb_table *t, const struct snug_measurement *m,
                     struct snug_observation *out);
void tb_goal_region(const struct tb_table *t, const struct snug_observation *first,
                    struct snug_problem *problem);

/* What past tuning sessions left: on each of so many tables, per seed, the trials of snug itself,
 * started cold with another seed. */
#define TB_PAST_TRIALS 40
struct tb_session {
    const struct tb_table *table;
    struct snug_observation trials[TB_PAST_TRIALS];
    double expected[TB_PAST_TRIALS]; /* by the table's predictions; NAN without */
    int n_trials;
};
/* Those of one seed, [tb_n_pasts]; NULL: cold start. */
extern int tb_n_pasts;
const struct tb_session *tb_sessions_of(uint64_t seed);
/* Run them, before any run that may learn from them, on at most SNUG_PASTS_MAX tables for seeds
 * 0..n_seeds-1; tables are kept. */
snug_status tb_sessions_open(const struct tb_table *tables, int n_tables, int n_seeds,
                             struct snug_error *err) SNUG_CHECKED;
void tb_sessions_close(void);

/* ---- generated tables: offload to a GPU ---- */

struct tb_offload_options {
    uint64_t seed;
    double noise_frac; /* spread of repetitions, multiplicative; 0.03 */
};
/* The text of a table, as snug__table_parse reads it; malloc'ed, NULL when memory is out. */
char *tb_offload_text(const struct tb_offload_options *options, size_t *out_n);

/* ---- methods ---- */

/* What a method is given of a table's predictions. */
enum tb_prior { TB_PRIOR_NONE, TB_PRIOR_TRUE, TB_PRIOR_WRONG /* of the mirrored config */ };

/* What it is given of the past. */
enum tb_past_kind { TB_PAST_NONE, TB_PAST_TRUE, TB_PAST_WRONG /* fast is slow, slow is fast */ };

struct tb_method {
    const char *name;                       /* with -like where it is not the authors' own */
    const char *help;                       /* one line */
    const struct snug__strategy_kind *kind; /* NULL: snug's own strategy of that name */
    bool starts_default, starts_fit;        /* which of the two it is told first */
    enum tb_prior prior;
    enum tb_past_kind past;
    bool drops_inert; /* rows that were found to matter in no way stay at one value */
    bool has_ladder;  /* trials begin at a low rung of the effort ladder */
};
/* Ended by a row without a name; the first is snug. */
const struct tb_method *tb_methods(void);
/* NULL: no such method */
const struct tb_method *tb_method_find(const char *name);

/* ---- runs ---- */

struct tb_run {
    int n_trials;                  /* done; a method that is through earlier ends earlier */
    double share[TB_TRIALS_MAX];   /* hypervolume of the declared front after trial i, true */
    double clock_s[TB_TRIALS_MAX]; /* charged up to and with trial i */
    double cpu_ms[TB_TRIALS_MAX];  /* CPU of ask and tell of trial i */
    int n_failed;                  /* trials that did not end ok */
    int n_violations;              /* members ever declared that do not run within the limit */
    double optimism;               /* declared less true speed, relative; mean of the last front */
    size_t heap_bytes;             /* held at the end; 0 unless asked for */
    char sha256[SNUG_SHA256_HEX_MAX]; /* of the trace */
};

struct tb_run_options {
    const struct tb_table *table;
    const struct tb_method *method;
    uint64_t seed;
    int n_trials;
    bool wants_heap;            /* measure heap_bytes: only while nothing else runs */
    struct snug_buffer *trace;  /* NULL, or where to append it */
    struct tb_session *session; /* NULL, or what to fill with its trials */
};
snug_status tb_run_once(const struct tb_run_options *options, struct tb_run *out,
                        struct snug_error *err) SNUG_CHECKED;

/* ---- scores ---- */

/* Area under the curve of share over trials 1..n; a run that ended holds what it has. */
double tb_area_trials(const struct tb_run *run, int n);
/* The same over charged seconds 0..horizon_s, as a share of horizon_s. */
double tb_area_seconds(const struct tb_run *run, double horizon_s);
/* Trials until share reached `goal`; n + 1 when it never did. */
int tb_trials_to(const struct tb_run *run, double goal, int n);

struct tb_result { /* one table: runs[method][seed] */
    const struct tb_table *table;
    const struct tb_method *const *methods;
    int n_methods, n_seeds, n_trials;
    struct tb_run *runs;
};
/* Words on `words`, JSON into w (an object in an open array). */
void tb_report(const struct tb_result *result, FILE *words, struct snug_json_writer *w);

#endif
