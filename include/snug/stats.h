/* snug/stats.h: order statistics, bootstrap intervals and the random generator behind them. */
#ifndef SNUG_STATS_H
#define SNUG_STATS_H

#include "snug/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* xoshiro256++ (Blackman, Vigna 2019), seeded by splitmix64: same seed, same words everywhere. */
struct snug_rng {
    uint64_t s[4];
};

void snug_rng_init(struct snug_rng *rng, uint64_t seed);
uint64_t snug_rng_next(struct snug_rng *rng);
/* Uniform in [0, 1), 53 bits. */
double snug_rng_double(struct snug_rng *rng);
/* Uniform in 0..n-1 without bias; n >= 1. */
uint64_t snug_rng_below(struct snug_rng *rng, uint64_t n);
/* Standard normal (polar method). */
double snug_rng_normal(struct snug_rng *rng);

/* All below: x is not changed; n = 0 gives NAN; any NAN in x gives NAN. */
double snug_stats_mean(const double *x, size_t n);
/* Sample standard deviation (n - 1); 0 for n = 1. */
double snug_stats_sd(const double *x, size_t n);
double snug_stats_median(const double *x, size_t n);
/* Median absolute deviation times 1.4826: equals sd for normal data. */
double snug_stats_mad(const double *x, size_t n);
/* q in 0..1, linear interpolation between order statistics (numpy's default). */
double snug_stats_quantile(const double *x, size_t n, double q);
/* Samples that a quantile q > 0.5 needs before it is more than the maximum by another name:
 * 1 / (1 - q), so 20 for 0.95. */
int snug_stats_quantile_needs(double q);

struct snug_interval {
    double lo, mid, hi;
};

/* Percentile bootstrap interval of median(a) / median(b), at `level` (0.95), n_resamples >= 100.
 * mid is the plain ratio. Needs n >= 1 on both sides; with n = 1 on both, lo = mid = hi.
 * Cost O(n_resamples * (n_a + n_b)). Source: Efron, Tibshirani (1993), ch. 13. */
struct snug_interval snug_stats_ratio(const double *a, size_t n_a, const double *b, size_t n_b,
                                      double level, size_t n_resamples, uint64_t seed);
/* The same for the median of the pairwise ratios a[i] / b[i] of n interleaved pairs: drift that
 * both share cancels. */
struct snug_interval snug_stats_ratio_paired(const double *a, const double *b, size_t n,
                                             double level, size_t n_resamples, uint64_t seed);
/* The same, with the level raised so that few pairs cover what they say. The percentile bootstrap
 * of a median is too narrow for small n: at a nominal 95 % it misses in 11 % of all cases for 8
 * pairs and 7 % for 12 to 20, normal or heavy-tailed (simulated; tests/unit/test_stats.c).
 * Calibrated levels after Efron and Tibshirani (1993), ch. 18. */
struct snug_interval snug_stats_ratio_pairs(const double *a, const double *b, size_t n,
                                            double level, size_t n_resamples, uint64_t seed);
/* The same for the median of one sample. */
struct snug_interval snug_stats_median_interval(const double *x, size_t n, double level,
                                                size_t n_resamples, uint64_t seed);

#ifdef __cplusplus
}
#endif
#endif
