/* Random numbers against published values; statistics against Python's; intervals by coverage. */
#include "test.h"

#include <math.h>

#include "snug/stats.h"

/* Values of quantiles: Python 3.11 statistics.quantiles(X, n=20, method='inclusive'), which is type
 * 7 of Hyndman and Fan (1996), as numpy's default. */
static const double X[] = {3.5, 1.25, -2.0, 8.0, 4.75, 0.5, 9.5};

#define EXACT 1e-12 /* a few roundings of numbers below 10 */

static void rng_init_follows_splitmix64(void **state)
{
    (void)state;
    /* Vectors that circulate with Vigna's splitmix64.c for the seed 1234567. */
    static const uint64_t WANT[4] = {6457827717110365317u, 3203168211198807973u,
                                     9817491932198370423u, 4593380528125082431u};
    struct snug_rng rng;
    snug_rng_init(&rng, 1234567);
    assert_memory_equal(rng.s, WANT, sizeof WANT);
}

static void rng_next_follows_xoshiro256pp(void **state)
{
    (void)state;
    /* State 1, 2, 3, 4: the test vector of the Rust crate rand_xoshiro, made with Vigna's C code.
     */
    static const uint64_t WANT[] = {
        41943041u,
        58720359u,
        3588806011781223u,
        3591011842654386u,
        9228616714210784205u,
        9973669472204895162u,
        14011001112246962877u,
        12406186145184390807u,
        15849039046786891736u,
        10450023813501588000u,
    };
    struct snug_rng rng = {{1, 2, 3, 4}};
    for (size_t i = 0; i < COUNT(WANT); i++)
        assert_true(snug_rng_next(&rng) == WANT[i]);
}

static void rng_double_stays_in_unit_interval(void **state)
{
    (void)state;
    struct snug_rng low = {{0, 0, 0, 0}}; /* the all-zero state yields zeros */
    assert_true(snug_rng_double(&low) == 0.0);
    struct snug_rng rng;
    snug_rng_init(&rng, 5);
    double sum = 0;
    for (int i = 0; i < 100000; i++) {
        double u = snug_rng_double(&rng);
        assert_true(u >= 0.0 && u < 1.0);
        sum += u;
    }
    /* Standard error 0.29 / sqrt(1e5) = 0.0009: five of them. */
    assert_double_equal(sum / 100000, 0.5, 0.0046);
}

static void rng_below_is_even_over_its_range(void **state)
{
    (void)state;
    enum { N = 6, N_DRAWS = 60000 };
    int n_seen[N] = {0};
    struct snug_rng rng;
    snug_rng_init(&rng, 7);
    for (int i = 0; i < N_DRAWS; i++) {
        uint64_t k = snug_rng_below(&rng, N);
        assert_true(k < N);
        n_seen[k]++;
    }
    /* Binomial sd = sqrt(60000 * 5) / 6 = 91: five of them. */
    for (int i = 0; i < N; i++)
        assert_true(abs(n_seen[i] - N_DRAWS / N) < 456);
}

static void rng_below_large_range_has_no_bias(void **state)
{
    (void)state;
    /* n = 3 * 2^62: a plain remainder would fall below 2^62 half of the time instead of a third. */
    enum { N_DRAWS = 30000 };
    int n_low = 0;
    struct snug_rng rng;
    snug_rng_init(&rng, 11);
    for (int i = 0; i < N_DRAWS; i++)
        n_low += snug_rng_below(&rng, 3ull << 62) < 1ull << 62;
    assert_true(abs(n_low - N_DRAWS / 3) < 410); /* five sd of 82 */
    assert_true(snug_rng_below(&rng, 1) == 0);
}

static void rng_normal_has_normal_moments(void **state)
{
    (void)state;
    enum { N = 100000 };
    struct snug_rng rng;
    snug_rng_init(&rng, 13);
    double *x = malloc(N * sizeof *x);
    assert_non_null(x);
    double n_inside = 0;
    for (int i = 0; i < N; i++) {
        x[i] = snug_rng_normal(&rng);
        n_inside += fabs(x[i]) < 1.959964;
    }
    assert_double_equal(snug_stats_mean(x, N), 0.0, 0.016); /* five standard errors each */
    assert_double_equal(snug_stats_sd(x, N), 1.0, 0.0112);  /* 1 / sqrt(2 N) = 0.0022 */
    assert_double_equal(snug_stats_mad(x, N), 1.0, 0.0185); /* 1.17 / sqrt(N) = 0.0037 */
    assert_double_equal(n_inside / N, 0.95, 5 * sqrt(0.95 * 0.05 / N));
    free(x);
}

static void stats_known_sample_matches_python(void **state)
{
    (void)state;
    assert_double_equal(snug_stats_mean(X, COUNT(X)), 3.642857142857143, EXACT);
    assert_double_equal(snug_stats_sd(X, COUNT(X)), 4.122744693711194, EXACT);
    assert_double_equal(snug_stats_median(X, COUNT(X)), 3.5, 0.0);
    assert_double_equal(snug_stats_mad(X, COUNT(X)), 4.4478, EXACT);
}

static void quantile_known_sample_matches_python(void **state)
{
    (void)state;
    static const struct {
        double q, want;
    } ROWS[] = {{0, -2.0},  {0.1, -0.5}, {0.25, 0.875}, {0.35, 1.475},
                {0.5, 3.5}, {0.9, 8.6},  {0.95, 9.05},  {1, 9.5}};
    for (size_t i = 0; i < COUNT(ROWS); i++)
        assert_double_equal(snug_stats_quantile(X, COUNT(X), ROWS[i].q), ROWS[i].want, EXACT);
}

static void median_of_even_count_is_the_middle(void **state)
{
    (void)state;
    const double x[] = {4, 1, 3, 2};
    assert_double_equal(snug_stats_median(x, 4), 2.5, 0.0);
}

static void stats_do_not_change_their_input(void **state)
{
    (void)state;
    double x[COUNT(X)];
    memcpy(x, X, sizeof x);
    snug_stats_median(x, COUNT(x));
    snug_stats_mad(x, COUNT(x));
    snug_stats_median_interval(x, COUNT(x), 0.95, 100, 1);
    assert_memory_equal(x, X, sizeof x);
}

static void stats_of_nothing_are_nan(void **state)
{
    (void)state;
    assert_true(isnan(snug_stats_mean(NULL, 0)));
    assert_true(isnan(snug_stats_sd(NULL, 0)));
    assert_true(isnan(snug_stats_median(NULL, 0)));
    assert_true(isnan(snug_stats_mad(NULL, 0)));
    assert_true(isnan(snug_stats_quantile(NULL, 0, 0.5)));
    assert_true(isnan(snug_stats_median_interval(NULL, 0, 0.95, 100, 1).mid));
    assert_true(isnan(snug_stats_ratio(X, 2, NULL, 0, 0.95, 100, 1).mid));
    assert_true(isnan(snug_stats_ratio_paired(NULL, NULL, 0, 0.95, 100, 1).mid));
}

static void stats_with_nan_inside_are_nan(void **state)
{
    (void)state;
    const double x[] = {1, NAN, 3};
    assert_true(isnan(snug_stats_mean(x, 3)));
    assert_true(isnan(snug_stats_sd(x, 3)));
    assert_true(isnan(snug_stats_sd(x + 1, 1)));
    assert_true(isnan(snug_stats_median(x, 3)));
    assert_true(isnan(snug_stats_mad(x, 3)));
    assert_true(isnan(snug_stats_ratio(X, 3, x, 3, 0.95, 100, 1).lo));
}

static void stats_of_one_value_have_no_spread(void **state)
{
    (void)state;
    const double x = 5;
    assert_double_equal(snug_stats_median(&x, 1), 5, 0);
    assert_double_equal(snug_stats_quantile(&x, 1, 0.99), 5, 0);
    assert_double_equal(snug_stats_sd(&x, 1), 0, 0);
    assert_double_equal(snug_stats_mad(&x, 1), 0, 0);
}

static void quantile_outside_its_range_is_nan(void **state)
{
    (void)state;
    assert_true(isnan(snug_stats_quantile(X, COUNT(X), -0.01)));
    assert_true(isnan(snug_stats_quantile(X, COUNT(X), 1.01)));
    assert_true(isnan(snug_stats_quantile(X, COUNT(X), NAN)));
    assert_true(isnan(snug_stats_median_interval(X, COUNT(X), 1.0, 100, 1).lo));
    assert_true(isnan(snug_stats_median_interval(X, COUNT(X), NAN, 100, 1).lo));
}

static void quantile_beside_infinity_stays_finite(void **state)
{
    (void)state;
    const double x[] = {1, 2, INFINITY, INFINITY};
    assert_double_equal(snug_stats_quantile(x, 4, 1.0 / 3), 2, 1e-9);
    assert_true(isinf(snug_stats_quantile(x, 4, 0.9)));
}

static void ratio_of_single_values_is_a_point(void **state)
{
    (void)state;
    const double a = 6, b = 4;
    struct snug_interval r = snug_stats_ratio(&a, 1, &b, 1, 0.95, 1000, 1);
    assert_double_equal(r.lo, 1.5, 0);
    assert_double_equal(r.mid, 1.5, 0);
    assert_double_equal(r.hi, 1.5, 0);
}

static void ratio_with_zero_denominator_is_unknown(void **state)
{
    (void)state;
    const double zero[] = {0, 0};
    assert_true(isnan(snug_stats_ratio(zero, 2, zero, 2, 0.95, 100, 1).mid));
    assert_true(isinf(snug_stats_ratio(X, 7, zero, 2, 0.95, 100, 1).hi));
}

static void ratio_same_seed_gives_same_interval(void **state)
{
    (void)state;
    struct snug_interval first = snug_stats_ratio(X, 7, X, 7, 0.9, 500, 42);
    struct snug_interval again = snug_stats_ratio(X, 7, X, 7, 0.9, 500, 42);
    assert_memory_equal(&first, &again, sizeof first);
}

static void ratio_paired_cancels_shared_drift(void **state)
{
    (void)state;
    double a[20], b[20];
    struct snug_rng rng;
    snug_rng_init(&rng, 3);
    for (int i = 0; i < 20; i++) { /* the machine slows down by half; a is 10 % faster throughout */
        b[i] = 100.0 / (1.0 + i / 20.0);
        a[i] = 1.1 * b[i] * (1.0 + 0.002 * snug_rng_normal(&rng));
    }
    struct snug_interval paired = snug_stats_ratio_paired(a, b, 20, 0.95, 1000, 1);
    struct snug_interval plain = snug_stats_ratio(a, 20, b, 20, 0.95, 1000, 1);
    assert_true(paired.lo > 1.09 && paired.hi < 1.11);
    assert_true(plain.lo < 1.0 && plain.hi > 1.2);
}

/* Of two values a resample has median 0, 0.5 or 1 with probability 1/4, 1/2 and 1/4. */
static void interval_of_two_values_follows_binomial(void **state)
{
    (void)state;
    const double x[] = {1, 0};
    struct snug_interval inner = snug_stats_median_interval(x, 2, 0.4, 2000, 1);
    struct snug_interval outer = snug_stats_median_interval(x, 2, 0.6, 2000, 1);
    assert_true(inner.lo == 0.5 && inner.mid == 0.5 && inner.hi == 0.5); /* from 30 % to 70 % */
    assert_true(outer.lo == 0.0 && outer.mid == 0.5 && outer.hi == 1.0); /* from 20 % to 80 % */
}

/* A 95 % interval must hold the truth in about 95 of 100 experiments. Percentile intervals of
 * medians are a little wide; with 1000 experiments the standard error is 0.7 %. */
static void interval_coverage_is_near_its_level(void **state)
{
    (void)state;
    enum { N_EXPERIMENTS = 1000, N_A = 21, N_B = 16 };
    uint64_t seed = 20240607;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    int n_ratio = 0, n_median = 0, n_paired = 0;
    for (int k = 0; k < N_EXPERIMENTS; k++) {
        double a[N_A], b[N_B], drifted[N_B];
        for (int i = 0; i < N_A; i++)
            a[i] = 54.0 * exp(0.05 * snug_rng_normal(&rng)); /* medians 54 and 50 */
        for (int i = 0; i < N_B; i++) {
            b[i] = 50.0 * exp(0.1 * snug_rng_normal(&rng));
            drifted[i] = 1.2 * b[i] * exp(0.03 * snug_rng_normal(&rng));
        }
        uint64_t own = snug_rng_next(&rng);
        struct snug_interval r = snug_stats_ratio(a, N_A, b, N_B, 0.95, 400, own);
        struct snug_interval m = snug_stats_median_interval(a, N_A, 0.95, 400, own);
        struct snug_interval p = snug_stats_ratio_paired(drifted, b, N_B, 0.95, 400, own);
        assert_true(r.lo <= r.mid && r.mid <= r.hi);
        n_ratio += r.lo <= 1.08 && 1.08 <= r.hi;
        n_median += m.lo <= 54.0 && 54.0 <= m.hi;
        n_paired += p.lo <= 1.2 && 1.2 <= p.hi;
    }
    print_message("# coverage: ratio %.3f median %.3f paired %.3f\n", n_ratio / 1e3, n_median / 1e3,
                  n_paired / 1e3);
    assert_int_in_range(n_ratio, 920, 970);
    assert_int_in_range(n_median, 920, 970);
    assert_int_in_range(n_paired, 920, 970);
}

/* Few pairs, normal and with outliers: what is said to be 95 % misses in about 5 of 100. */
static void ratio_pairs_few_pairs_cover_their_level(void **state)
{
    (void)state;
    enum { N_EXPERIMENTS = 1500 };
    static const size_t sizes[] = {8, 12, 20};
    struct snug_rng rng;
    snug_rng_init(&rng, 7);
    for (size_t s = 0; s < COUNT(sizes); s++) {
        for (int has_outliers = 0; has_outliers < 2; has_outliers++) {
            int n_misses = 0;
            for (int k = 0; k < N_EXPERIMENTS; k++) {
                double a[20], b[20];
                for (size_t i = 0; i < sizes[s]; i++) {
                    const double sd = has_outliers && snug_rng_below(&rng, 7) == 0 ? 0.15 : 0.02;
                    b[i] = 50.0;
                    a[i] = 50.0 * exp(sd * snug_rng_normal(&rng));
                }
                const struct snug_interval r =
                    snug_stats_ratio_pairs(a, b, sizes[s], 0.95, 400, snug_rng_next(&rng));
                n_misses += r.lo > 1.0 || r.hi < 1.0;
            }
            print_message("# %zu pairs%s: misses %.3f\n", sizes[s],
                          has_outliers ? " with outliers" : "", n_misses / (double)N_EXPERIMENTS);
            assert_int_in_range(n_misses, N_EXPERIMENTS * 2 / 100, N_EXPERIMENTS * 8 / 100);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rng_init_follows_splitmix64),
        cmocka_unit_test(rng_next_follows_xoshiro256pp),
        cmocka_unit_test(rng_double_stays_in_unit_interval),
        cmocka_unit_test(rng_below_is_even_over_its_range),
        cmocka_unit_test(rng_below_large_range_has_no_bias),
        cmocka_unit_test(rng_normal_has_normal_moments),
        cmocka_unit_test(stats_known_sample_matches_python),
        cmocka_unit_test(quantile_known_sample_matches_python),
        cmocka_unit_test(median_of_even_count_is_the_middle),
        cmocka_unit_test(stats_do_not_change_their_input),
        cmocka_unit_test(stats_of_nothing_are_nan),
        cmocka_unit_test(stats_with_nan_inside_are_nan),
        cmocka_unit_test(stats_of_one_value_have_no_spread),
        cmocka_unit_test(quantile_outside_its_range_is_nan),
        cmocka_unit_test(quantile_beside_infinity_stays_finite),
        cmocka_unit_test(ratio_of_single_values_is_a_point),
        cmocka_unit_test(ratio_with_zero_denominator_is_unknown),
        cmocka_unit_test(ratio_same_seed_gives_same_interval),
        cmocka_unit_test(ratio_paired_cancels_shared_drift),
        cmocka_unit_test(interval_of_two_values_follows_binomial),
        cmocka_unit_test(interval_coverage_is_near_its_level),
        cmocka_unit_test(ratio_pairs_few_pairs_cover_their_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
