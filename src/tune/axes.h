/* What strategy "snug" learns besides the first speed when its goal is not plain: a process for the
 * log of each other learned axis, and of TTFT and TPOT where they are limited. */
#ifndef SNUG_TUNE_AXES_H
#define SNUG_TUNE_AXES_H

#include "tune/pool.h"

struct snug__axes;

/* NULL in *out when the goal is plain: nothing to learn. */
snug_status snug__axes_open(const struct snug_strategy *s, struct snug__axes **out,
                            struct snug_error *err) SNUG_CHECKED;
void snug__axes_close(struct snug__axes *axes);
/* Learn from trial `at`, whose features are x[n_dims]. A figure that is not known teaches nothing.
 */
snug_status snug__axes_tell(struct snug__axes *axes, const struct snug_strategy *s, size_t at,
                            const double *x, int n_evaluations,
                            struct snug_error *err) SNUG_CHECKED;
/* Believe of measured configs what the processes think of them; x[n_told][n_dims]. */
snug_status snug__axes_smooth(struct snug__axes *axes, const struct snug_strategy *s,
                              const double *x, struct snug_error *err) SNUG_CHECKED;
/* The front of the first n trials, points[n] having the speeds believed: its volume, and which
 * trials are on it, out_told[n]. Later gains are over this one. */
snug_status snug__axes_front(struct snug__axes *axes, const struct snug_strategy *s,
                             const struct snug_point *points, size_t n, size_t *out_told,
                             size_t *out_n, struct snug_error *err) SNUG_CHECKED;
double snug__axes_volume(const struct snug__axes *axes);
/* Predict items from..n-1 of the pool, then: expected gain of item i, whose mean and sd are of the
 * first speed, at its bytes, times the chance that it keeps the limits. */
snug_status snug__axes_predict(struct snug__axes *axes, const struct snug_strategy *s,
                               const struct snug__pool *pool, int from,
                               struct snug_error *err) SNUG_CHECKED;
double snug__axes_gain(const struct snug__axes *axes, const struct snug_strategy *s,
                       const struct snug__pool *pool, int i);

#endif
