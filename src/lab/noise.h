/* The noise floor of a machine from a lab's baseline: one config, repeated through the whole run.
 */
#ifndef SNUG_LAB_NOISE_H
#define SNUG_LAB_NOISE_H

#include "lab/analyse.h"

/* MAD / median of the baseline's prefill and decode speed over its repetitions, the largest over
 * models and workloads, as `snug compare` takes it of its two sides. A baseline whose own verdict
 * is not VALID (drift, other load ...) counts for nothing, nor do rows that are INVALID.
 * Out     *out_n: rows of the smallest group that counted
 * Returns false, outputs untouched, when no group has SNUG_COMPARE_PAIRS_MIN rows */
bool snug_lab_noise(const struct snug_lab_plan *plan, const struct snug_measurement *const *rows,
                    const struct snug_lab_analysis *analysis, double *out_frac, int *out_n);

#endif
