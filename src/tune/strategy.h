/* What every strategy file sees: the running strategy and one row per kind. A new strategy is one
 * file in strategies/ and one row in SNUG_STRATEGIES. */
#ifndef SNUG_TUNE_STRATEGY_H
#define SNUG_TUNE_STRATEGY_H

#include "snug/tune.h"
#include "tune/lattice.h"
#include "tune/sobol.h"

#define SNUG_STRATEGY_TELLS_MAX 512 /* telling more fails */

/* One row per strategy, the default first: its file and its line of help. */
#define SNUG_STRATEGIES(X)                                                                         \
    X(snug, "learns a model of speed, asks where the front is expected to grow most")              \
    X(sobol, "even coverage of the space, learns nothing")                                         \
    X(random, "uniform random configs, the yardstick")

struct snug__strategy_kind {
    /* Make s->state; NULL when there is none. */
    snug_status (*open)(struct snug_strategy *s, struct snug_error *err);
    void (*close)(struct snug_strategy *s); /* may be NULL; accepts a half-opened strategy */
    /* Pure in what was told: asking twice gives the same config twice. */
    snug_status (*ask)(struct snug_strategy *s, struct snug_config *out_config,
                       struct snug_ask_info *out_info, struct snug_error *err);
    /* Learn from s->told[s->n_told - 1]; may be NULL. */
    snug_status (*tell)(struct snug_strategy *s, struct snug_error *err);
    /* The speed believed of every trial told that ran, to out_speed[n_told]; what it puts for
     * failed ones does not count. NULL: the geometric mean over the trials of its config. */
    snug_status (*believe)(struct snug_strategy *s, double *out_speed, struct snug_error *err);
    /* As snug__strategy_climb, of a trial that ran. NULL: all go on in full. */
    snug_status (*climb)(struct snug_strategy *s, int next, int *out_rung, struct snug_error *err);
    bool may_repeat; /* ask may give a config that was told already */
};

struct snug_strategy {
    const struct snug__strategy_kind *kind;
    struct snug_problem problem;
    struct snug__lattice lattice;
    struct snug_sobol sobol;
    uint32_t sobol_next;           /* points before this one were told or cannot run */
    struct snug_observation *told; /* [SNUG_STRATEGY_TELLS_MAX] */
    size_t n_told;
    void *state;
};

#define SNUG_STRATEGY_EXTERN(name, help)                                                           \
    extern const struct snug__strategy_kind snug__strategy_##name;
SNUG_STRATEGIES(SNUG_STRATEGY_EXTERN)
#undef SNUG_STRATEGY_EXTERN

/* snug_strategy_new for a kind that is no row of the table: a yardstick of a benchmark. */
snug_status snug__strategy_new_kind(const char *name, const struct snug__strategy_kind *kind,
                                    const struct snug_problem *problem, struct snug_strategy **out,
                                    struct snug_error *err) SNUG_CHECKED;
/* The front that the strategy would declare now, for benchmarks and tests: trials told (by order of
 * telling), by bytes ascending (for a goal that is not plain by its first axis), and the speed it
 * believes each to have. The luckiest of noisy trials would promise too much, so a strategy may
 * believe less than was measured. Both arrays need room for all told; O(n^2) in them. Errors
 * SNUG_NO_MEMORY */
snug_status snug__strategy_front(struct snug_strategy *s, size_t *out_index, double *out_speed,
                                 size_t *out_n, struct snug_error *err) SNUG_CHECKED;
/* What a strategy is told of a trial's noise: the standard error of log(speed) from the blocks'
 * spread; a floor keeps three lucky blocks honest. 0: fewer than two blocks. */
double snug__strategy_speed_sd(const struct snug_measurement *m, const struct snug_workload *w,
                               enum snug_objective objective);
/* The region of a hypervolume around a trial (speed 0: none ran): points count above a tenth of its
 * speed and up to 1.5 times its bytes, and the limit (0: none). */
struct snug_front_bounds snug__strategy_region(double speed, uint64_t bytes, uint64_t limit_bytes);
/* And from which value on another axis counts that is learned, by the trial's (0: none). */
double snug__strategy_axis_ref(double value);
/* Gain of trial i (by order of telling) on each axis of the goal, given the speed believed of it;
 * an axis that is learned counts with the geometric mean over the trials of its config. Not finite
 * where it is no point: it failed, or one trial of its config broke a limit. */
void snug__strategy_gain(const struct snug_strategy *s, size_t i, double speed,
                         double out[SNUG_AXES_MAX]);
#define SNUG__CLIMB_ENDS (-1)
/* How the trial told last, at a low rung of the effort ladder, goes on: at `next`, the rung after
 * it (0: there is none), at 0, the full workload, or SNUG__CLIMB_ENDS where other configs gain more
 * per second. One that failed ends: it would fail again. */
snug_status snug__strategy_climb(struct snug_strategy *s, int next, int *out_rung,
                                 struct snug_error *err) SNUG_CHECKED;
/* At full effort, or failed. */
bool snug__strategy_was_told(const struct snug_strategy *s, const struct snug_config *config);
/* Do the stated bytes fit the limit, and does the known quality price? out_bytes may be NULL. */
bool snug__strategy_can_run(const struct snug_strategy *s, const struct snug_config *config,
                            uint64_t *out_bytes);
/* The first point of the Sobol sequence that can run and was not told. When the sequence gives
 * nothing new for long, the lattice is walked. SNUG_NOT_FOUND: nothing is left. */
snug_status snug__strategy_sobol_config(struct snug_strategy *s, struct snug_config *out,
                                        struct snug_error *err);
/* The first config in lattice order from `start` on, wrapping, that can run and was not told. */
snug_status snug__strategy_walk(const struct snug_strategy *s, uint64_t start,
                                struct snug_config *out, struct snug_error *err);

#endif
