/* snug/goal.h: what a tuning is for: one to three axes, and limits that nothing may break.
 *
 * An axis has a value in its own unit and a gain, which is larger for better values and 0 at the
 * axis's reference. Speeds and tokens per joule gain by their logarithm, bytes and nats by their
 * share of the reference, so that the gains of all axes are of one size. */
#ifndef SNUG_GOAL_H
#define SNUG_GOAL_H

#include "snug/trial.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The first ones are objectives of a measurement and must be learned; the others are known of a
 * config before it runs. */
enum snug_axis {
    SNUG_AXIS_DECODE = SNUG_OBJECTIVE_DECODE,   /* tokens per second */
    SNUG_AXIS_PREFILL = SNUG_OBJECTIVE_PREFILL, /* tokens per second */
    SNUG_AXIS_REQUEST = SNUG_OBJECTIVE_REQUEST, /* requests per second, over all sequences */
    SNUG_AXIS_ENERGY = SNUG_OBJECTIVE_ENERGY,   /* tokens per joule of decode */
    SNUG_AXIS_MEMORY = SNUG_N_OBJECTIVES,       /* bytes, as stated */
    SNUG_AXIS_KLD                               /* nats per token, of the cache types */
};
#define SNUG_N_AXES (SNUG_AXIS_KLD + 1)
#define SNUG_AXES_MAX 3 /* of one goal */

enum snug_limit {
    SNUG_LIMIT_TTFT, /* seconds */
    SNUG_LIMIT_TPOT, /* seconds per token of one sequence */
    SNUG_LIMIT_KLD,  /* nats per token */
    SNUG_N_LIMITS
};

struct snug_goal {
    enum snug_axis axis[SNUG_AXES_MAX];
    int n_axes;                  /* 0: a speed and memory, whichever speed is told */
    double limit[SNUG_N_LIMITS]; /* 0: none */
};

/* "decode", "prefill", "request", "energy", "memory", "kld". */
const char *snug_axis_name(enum snug_axis axis);
bool snug_axis_is_learned(enum snug_axis axis);
/* Name of a limit's option, without dashes: "max-ttft". */
const char *snug_limit_name(enum snug_limit limit);

/* One to three names between commas into the axes; limits stay. One alone has memory beside it.
 * Errors  SNUG_BAD_INPUT: an unknown name, one twice, too many, nothing that must be measured */
snug_status snug_goal_parse(const char *text, struct snug_goal *out,
                            struct snug_error *err) SNUG_CHECKED;
/* "decode,prefill"; returns out. */
const char *snug_goal_text(const struct snug_goal *goal, char *out, size_t cap);
/* The first axis that is learned: what a config is picked by. */
enum snug_objective snug_goal_lead(const struct snug_goal *goal);
bool snug_goal_has(const struct snug_goal *goal, enum snug_axis axis);
/* Is it a speed and memory, without limits but of memory? */
bool snug_goal_is_plain(const struct snug_goal *goal);
bool snug_goal_needs_kld(const struct snug_goal *goal);
/* The same axes in the same order (of a plain one in any), and the same limits. */
bool snug_goal_equal(const struct snug_goal *a, const struct snug_goal *b);

/* Value of an axis in a trial, of stated bytes, and of the quality price of its config (NAN: not
 * measured). NAN: not known, or the trial failed. */
double snug_axis_value(enum snug_axis axis, const struct snug_measurement *m,
                       const struct snug_workload *workload, double kld_nats);
/* Larger is better, 0 at ref, -INFINITY for no value. */
double snug_axis_gain(enum snug_axis axis, double value, double ref);
/* What a limit is of. *out_hi (may be NULL) is its 95 % upper limit over the trial's timed blocks:
 * their 0.95 quantile, or the worst of fewer than 20. NAN: not known. */
double snug_limit_value(enum snug_limit limit, const struct snug_measurement *m,
                        const struct snug_workload *workload, double kld_nats, double *out_hi);
/* Does a value keep the limit? One that is not known does not. */
bool snug_limit_holds(const struct snug_goal *goal, enum snug_limit limit, double value);

/* ---- fronts of gains, [n][SNUG_AXES_MAX]; axes that a goal does not have are 1 in all ---- */

/* Indices of the points that none dominates, the best of the first axis first, among equal points
 * the first; a point that is not finite is none. Returns how many. out_index has room for n.
 * O(n^2) */
size_t snug_goal_front(const double (*gain)[SNUG_AXES_MAX], size_t n, size_t *out_index);
/* Volume between the front and 0, exact; NAN when memory is out. O(n^2) at worst. */
double snug_goal_hypervolume(const double (*gain)[SNUG_AXES_MAX], size_t n);

#ifdef __cplusplus
}
#endif
#endif
