/* Order statistics on sorted copies, and percentile bootstrap intervals of medians.
 *
 * A resample of a sample that is already sorted is a vector of counts per rank, and its median is
 * found by walking the counts: O(n) per resample and no sorting inside the loop.
 * Source: Efron, Tibshirani, An Introduction to the Bootstrap (1993), ch. 13. Workload: a few dozen
 * to a few thousand timings, 1000 to 10000 resamples. */
#include "snug/stats.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAD_TO_SD 1.4826    /* 1 / quantile(normal, 0.75) */
#define N_RESAMPLES_MIN 100 /* below it a 95 % bound is an order statistic of luck */

static const struct snug_interval UNKNOWN = {NAN, NAN, NAN};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b; /* never NAN: see sorted_copy */
    return (x > y) - (x < y);
}

static bool has_nan(const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i]))
            return true;
    }
    return false;
}

/* Ascending heap copy, or NULL when there is nothing to sort, a NAN inside, or no memory. */
static double *sorted_copy(const double *x, size_t n)
{
    if (n == 0 || n > SIZE_MAX / sizeof *x || has_nan(x, n))
        return NULL;
    double *copy = malloc(n * sizeof *copy);
    if (!copy)
        return NULL;
    memcpy(copy, x, n * sizeof *copy);
    qsort(copy, n, sizeof *copy, compare);
    return copy;
}

/* x ascending, n >= 1, q in 0..1. */
static double sorted_quantile(const double *x, size_t n, double q)
{
    double h = (double)(n - 1) * q;
    size_t i = (size_t)h;
    if (i >= n - 1)
        return x[n - 1];
    double t = h - (double)i;
    if (t == 0.0 || x[i] == x[i + 1])
        return x[i]; /* keeps 0 * infinity and infinity - infinity out */
    double step = x[i + 1] - x[i];
    /* From the nearer end, as numpy: exact at both. */
    return t < 0.5 ? x[i] + step * t : x[i + 1] - step * (1.0 - t);
}

double snug_stats_mean(const double *x, size_t n)
{
    if (n == 0)
        return NAN;
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

double snug_stats_sd(const double *x, size_t n)
{
    double mean = snug_stats_mean(x, n); /* two passes: one would cancel for a small spread */
    if (n == 0 || isnan(mean))
        return NAN;
    if (n == 1)
        return 0.0;
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return sqrt(sum / (double)(n - 1));
}

double snug_stats_median(const double *x, size_t n)
{
    return snug_stats_quantile(x, n, 0.5);
}

double snug_stats_mad(const double *x, size_t n)
{
    double *deviation = sorted_copy(x, n);
    if (!deviation)
        return NAN;
    double median = sorted_quantile(deviation, n, 0.5);
    for (size_t i = 0; i < n; i++)
        deviation[i] = fabs(deviation[i] - median);
    double mad = MAD_TO_SD * snug_stats_median(deviation, n);
    free(deviation);
    return mad;
}

double snug_stats_quantile(const double *x, size_t n, double q)
{
    if (!(q >= 0.0 && q <= 1.0))
        return NAN;
    double *sorted = sorted_copy(x, n);
    if (!sorted)
        return NAN;
    double value = sorted_quantile(sorted, n, q);
    free(sorted);
    return value;
}

int snug_stats_quantile_needs(double q)
{
    return q < 1.0 ? (int)ceil(1.0 / (1.0 - q) - 1e-9) : INT_MAX;
}

/* One side of a bootstrap: the sorted sample and the draws per rank of the current resample. */
struct sample {
    double *x;
    size_t *n_draws;
    size_t n;
};

static bool sample_init(struct sample *s, const double *x, size_t n)
{
    s->n = n;
    s->x = sorted_copy(x, n);
    s->n_draws = s->x ? calloc(n, sizeof *s->n_draws) : NULL;
    return s->n_draws != NULL;
}

static void sample_clear(struct sample *s)
{
    free(s->x);
    free(s->n_draws);
}

/* Median of n values drawn with replacement: the values of ranks (n-1)/2 and n/2 of the resample.
 */
static double resampled_median(struct sample *s, struct snug_rng *rng)
{
    memset(s->n_draws, 0, s->n * sizeof *s->n_draws);
    for (size_t i = 0; i < s->n; i++)
        s->n_draws[snug_rng_below(rng, s->n)]++;
    size_t rank = 0, n_passed = s->n_draws[0]; /* draws of ranks 0..rank, n in the end */
    while (n_passed <= (s->n - 1) / 2)
        n_passed += s->n_draws[++rank];
    double lower = s->x[rank];
    while (n_passed <= s->n / 2)
        n_passed += s->n_draws[++rank];
    return lower == s->x[rank] ? lower : (lower + s->x[rank]) / 2.0;
}

/* Interval of median(a) / median(b), or of median(a) alone when b is NULL. */
static struct snug_interval bootstrap(struct sample *a, struct sample *b, double level,
                                      size_t n_resamples, uint64_t seed)
{
    if (n_resamples < N_RESAMPLES_MIN)
        n_resamples = N_RESAMPLES_MIN;
    double *values =
        n_resamples > SIZE_MAX / sizeof *values ? NULL : malloc(n_resamples * sizeof *values);
    if (!values)
        return UNKNOWN;
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    for (size_t i = 0; i < n_resamples; i++) {
        values[i] = resampled_median(a, &rng);
        if (b)
            values[i] /= resampled_median(b, &rng);
    }
    double mid = sorted_quantile(a->x, a->n, 0.5);
    if (b)
        mid /= sorted_quantile(b->x, b->n, 0.5);
    struct snug_interval interval = UNKNOWN;
    if (!isnan(mid) && !has_nan(values, n_resamples)) {
        qsort(values, n_resamples, sizeof *values, compare);
        double tail = (1.0 - level) / 2.0;
        /* Percentiles of a lumpy sample can miss the estimate itself: widen, never mislead. */
        interval.lo = fmin(mid, sorted_quantile(values, n_resamples, tail));
        interval.hi = fmax(mid, sorted_quantile(values, n_resamples, 1.0 - tail));
        interval.mid = mid;
    }
    free(values);
    return interval;
}

/* Written so that NAN is refused. */
static bool is_level(double level)
{
    return level > 0.0 && level < 1.0;
}

struct snug_interval snug_stats_ratio(const double *a, size_t n_a, const double *b, size_t n_b,
                                      double level, size_t n_resamples, uint64_t seed)
{
    struct snug_interval interval = UNKNOWN;
    struct sample side_a = {0}, side_b = {0}; /* resampled on their own: unpaired */
    if (is_level(level) && sample_init(&side_a, a, n_a) && sample_init(&side_b, b, n_b))
        interval = bootstrap(&side_a, &side_b, level, n_resamples, seed);
    sample_clear(&side_a);
    sample_clear(&side_b);
    return interval;
}

struct snug_interval snug_stats_ratio_paired(const double *a, const double *b, size_t n,
                                             double level, size_t n_resamples, uint64_t seed)
{
    double *ratios = n == 0 || n > SIZE_MAX / sizeof *ratios ? NULL : malloc(n * sizeof *ratios);
    if (!ratios)
        return UNKNOWN;
    for (size_t i = 0; i < n; i++) /* a pair is drawn whole, as one value */
        ratios[i] = a[i] / b[i];
    struct snug_interval interval = snug_stats_median_interval(ratios, n, level, n_resamples, seed);
    free(ratios);
    return interval;
}

struct snug_interval snug_stats_median_interval(const double *x, size_t n, double level,
                                                size_t n_resamples, uint64_t seed)
{
    struct snug_interval interval = UNKNOWN;
    struct sample sample = {0};
    if (is_level(level) && sample_init(&sample, x, n))
        interval = bootstrap(&sample, NULL, level, n_resamples, seed);
    sample_clear(&sample);
    return interval;
}

struct snug_interval snug_stats_ratio_pairs(const double *a, const double *b, size_t n,
                                            double level, size_t n_resamples, uint64_t seed)
{
    const double share = n < 12 ? 0.4 : n < 40 ? 0.6 : 1.0; /* of the misses that are allowed */
    return snug_stats_ratio_paired(a, b, n, 1.0 - share * (1.0 - level), n_resamples, seed);
}
