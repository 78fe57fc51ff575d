/* snug/tune.h: fronts of speed against memory, strategies (ask/tell), the pick.
 *
 * Points live in a plane: speed is maximised, bytes are minimised. Speed is handled as log(speed):
 * a gain of 10 % counts the same on a slow and on a fast machine. */
#ifndef SNUG_TUNE_H
#define SNUG_TUNE_H

#include "snug/goal.h"
#include "snug/stats.h"
#include "snug/trial.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- fronts ---- */

struct snug_point {
    double speed;   /* > 0; a failed trial is no point */
    uint64_t bytes; /* > 0 */
};

/* Indices of the points that nothing dominates, by bytes ascending (so speed ascending too); among
 * equal points the first. Returns how many. out_index has room for n. O(n log n). */
size_t snug_front_compute(const struct snug_point *points, size_t n, size_t *out_index);

/* The region a hypervolume is measured in, fixed for a whole session. */
struct snug_front_bounds {
    double speed_ref;   /* points must be faster than this to count */
    uint64_t bytes_ref; /* and need fewer bytes than this */
};
/* Area dominated within bounds, in log(speed) times bytes / bytes_ref; NAN when memory is out. */
double snug_front_hypervolume(const struct snug_point *points, size_t n,
                              const struct snug_front_bounds *bounds);

/* ---- strategies ---- */

/* Bytes a config needs, as the engine states them without running; false: it cannot run at all.
 * Pure: the same config gives the same answer. Cached by its owner. */
typedef bool (*snug_bytes_fn)(const struct snug_config *config, uint64_t *out_bytes, void *data);

/* What a cost model that was fitted elsewhere expects of a config: log of its speed, in the units
 * that are told; NAN where it says nothing. Pure. */
typedef double (*snug_prior_fn)(const struct snug_config *config, void *data);

/* At most so many past tasks are learned from, and so many good trials of each, the newest. */
#define SNUG_PASTS_MAX 4
#define SNUG_PAST_TRIALS_MAX 160

struct snug_observation;

/* A task of the past: its trials, in the rows that it had. A trial counts here by the names of its
 * rows. One whose default is the same here keeps its value, within the bounds here; one whose
 * default differs keeps its place between least, default and most, so that "as many threads as
 * cores" stays that. A row that it lacks had its default. What was run with a value that is not
 * there any more, or that is held at another here, is left out. */
struct snug_past {
    const struct snug_space *space;
    const struct snug_observation *trials; /* [n_trials], in the order they were run */
    const double *expected; /* [n_trials] what snug_problem.prior would have been of each there, NAN
                               where it says nothing; NULL: of none */
    int n_trials;
    double similarity; /* 0 to 1: how far it is believed before anything was measured here */
};

/* Quality price of a config's cache types in nats per token; NAN: never measured, so that the
 * config cannot be judged and is not asked. Pure; cached by its owner. */
typedef double (*snug_kld_fn)(const struct snug_config *config, void *data);

struct snug_problem {
    const struct snug_space *space; /* rows with is_tuned false stay at `base` */
    struct snug_config base;        /* values of rows that are not tuned */
    struct snug_front_bounds bounds;
    uint64_t bytes_limit; /* configs that need more are never asked; 0: no limit */
    snug_bytes_fn bytes;
    void *bytes_data;
    /* NULL: nothing is known beforehand. Strategies that learn weigh it by how well it explains
     * what they were told, down to nothing. */
    snug_prior_fn prior;
    void *prior_data;
    /* Looked at while the strategy is made, the most similar first; not kept. Strategies that learn
     * weigh each by how it ranks what they were told, down to nothing. */
    const struct snug_past *pasts;
    int n_pasts; /* 0: nothing of the past is known */
    uint64_t seed;
    /* Keep rows that were found to matter in no way at one value; only "snug" does. It costs a
     * snug_knobs_rank every few tells. */
    bool drops_inert;
    int n_trials; /* planned, the default and fit trials included */
    /* Where it is not plain: its axes instead of speed and bytes, and its limits. `speed`, the
     * prior and what is believed are then those of its first learned axis. */
    struct snug_goal goal;
    double ref[SNUG_AXES_MAX]; /* of its axes, > 0: the value that gains nothing */
    snug_kld_fn kld;           /* needed where the goal looks at it, else NULL */
    void *kld_data;
};

/* What was told of an axis or a limit besides the speed. */
struct snug_told {
    double value;  /* > 0; NAN or 0: not known */
    double log_sd; /* standard error of its log; 0: unknown */
};

struct snug_observation {
    struct snug_config config;
    enum snug_outcome outcome;
    double speed;        /* median over blocks; > 0 when OK */
    double log_speed_sd; /* standard error of log(speed), from the blocks' spread; 0: unknown */
    uint64_t bytes;      /* stated; 0 when unknown */
    /* Only where the problem's goal is not plain: of its axes that are learned, in its order, and
     * of TTFT and TPOT where they are limited. */
    struct snug_told axis[SNUG_AXES_MAX], limited[SNUG_N_LIMITS];
    /* Charged seconds: of loading the model, 0 where it was loaded already, and of the rest. Both
     * 0: not known. Strategies that learn them choose the cheaper of equally good configs. */
    double setup_s, work_s;
    /* 0: the full workload. Else, of a plain goal, a rung of the effort ladder below it: biased,
     * and no point of any front. A config that was told at a low rung alone may be asked again. */
    int rung;
};

struct snug_ask_info {
    double expected_gain; /* expected hypervolume improvement over the current hypervolume; NAN */
    double predicted_speed, predicted_log_sd; /* NAN when the strategy predicts nothing */
    int n_candidates;
};

struct snug_strategy; /* one running strategy */

/* One row per strategy: name for --strategy, one line of help. */
struct snug_strategy_row {
    const char *name, *help;
};
/* Ended by a row with name NULL. First row is the default, "snug". */
const struct snug_strategy_row *snug_strategy_rows(void);

/* problem is copied, its space and bytes_data are kept. Errors SNUG_BAD_INPUT: unknown name. */
snug_status snug_strategy_new(const char *name, const struct snug_problem *problem,
                              struct snug_strategy **out, struct snug_error *err) SNUG_CHECKED;
void snug_strategy_free(struct snug_strategy *s);
/* The next config to measure, never one that was told already. Same problem, same seed, same tells:
 * same config, byte for byte. No clock, no I/O.
 * Errors  SNUG_NOT_FOUND: nothing is left worth measuring (converged or exhausted). */
snug_status snug_strategy_ask(struct snug_strategy *s, struct snug_config *out_config,
                              struct snug_ask_info *out_info, struct snug_error *err) SNUG_CHECKED;
/* Learn from a trial, asked or not (the default and fit trials are told too; failed ones also). */
snug_status snug_strategy_tell(struct snug_strategy *s, const struct snug_observation *observation,
                               struct snug_error *err) SNUG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
