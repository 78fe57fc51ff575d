/* Exact expected hypervolume improvement against areas, quadrature and Monte Carlo. */
#include "test.h"

#include <math.h>

#include "snug/stats.h"
#include "snug/tune.h"
#include "tune/ehvi.h"

#define N_MAX 12

/* A front in both notations: bytes_ref is 1000, speed_ref is 1, so log_ref is 0. */
struct made_front {
    double frac[N_MAX], log_speed[N_MAX];
    struct snug_point points[N_MAX + 1];
    struct snug_ehvi_front front;
};

static const struct snug_front_bounds BOUNDS = {1, 1000};

static void make_front(struct snug_rng *rng, struct made_front *f)
{
    size_t n = snug_rng_below(rng, N_MAX + 1);
    uint64_t bytes = 50;
    double log_speed = 0;
    f->front = (struct snug_ehvi_front){f->frac, f->log_speed, n, 0};
    for (size_t k = 0; k < n; k++) {
        bytes += 1 + snug_rng_below(rng, 70);
        log_speed += 0.01 + 0.3 * snug_rng_double(rng);
        f->frac[k] = (double)bytes / 1000;
        f->log_speed[k] = log_speed;
        f->points[k] = (struct snug_point){exp(log_speed), bytes};
    }
}

/* What the hypervolume gains by one more point. */
static double plain_gain(struct made_front *f, double log_speed, uint64_t bytes)
{
    size_t n = f->front.n;
    f->points[n] = (struct snug_point){exp(log_speed), bytes};
    return snug_front_hypervolume(f->points, n + 1, &BOUNDS) -
           snug_front_hypervolume(f->points, n, &BOUNDS);
}

static void ehvi_area_equals_hypervolume(void **state)
{
    (void)state;
    uint64_t seed = 31;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    for (int round = 0; round < 200; round++) {
        struct made_front f;
        make_front(&rng, &f);
        assert_double_equal(snug_ehvi_area(&f.front),
                            snug_front_hypervolume(f.points, f.front.n, &BOUNDS), 1e-12);
    }
}

static void ehvi_without_doubt_is_the_plain_gain(void **state)
{
    (void)state;
    uint64_t seed = 32;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    for (int round = 0; round < 500; round++) {
        struct made_front f;
        make_front(&rng, &f);
        double log_speed = 3 * snug_rng_double(&rng) - 0.5;
        uint64_t bytes = 1 + snug_rng_below(&rng, 1100);
        assert_double_equal(snug_ehvi(&f.front, log_speed, 0, (double)bytes / 1000),
                            plain_gain(&f, log_speed, bytes), 1e-12);
    }
}

/* The tolerance is 5 standard errors of the mean of the draws; the constant covers gains so rare
 * that a few hits decide, and their own spread says little. */
static void ehvi_agrees_with_monte_carlo(void **state)
{
    (void)state;
    uint64_t seed = 33;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    for (int round = 0; round < 40; round++) {
        enum { N_DRAWS = 4000 };
        static double gain[N_DRAWS];
        struct made_front f;
        make_front(&rng, &f);
        double mean = 2.5 * snug_rng_double(&rng), sd = 0.02 + 0.5 * snug_rng_double(&rng);
        uint64_t bytes = 1 + snug_rng_below(&rng, 1000);
        for (int i = 0; i < N_DRAWS; i++)
            gain[i] = plain_gain(&f, mean + sd * snug_rng_normal(&rng), bytes);
        double error = snug_stats_sd(gain, N_DRAWS) / sqrt(N_DRAWS);
        assert_double_equal(snug_ehvi(&f.front, mean, sd, (double)bytes / 1000),
                            snug_stats_mean(gain, N_DRAWS), 5 * error + 5e-5);
    }
}

static void ehvi_excess_agrees_with_quadrature(void **state)
{
    (void)state;
    for (double gap = -4; gap <= 4; gap += 0.37) {
        double mean = 1.5, sd = 0.4, floor = mean - gap * sd, sum = 0, step = 1e-3;
        for (double z = -10; z < 10; z += step)
            sum += fmax(mean + sd * z - floor, 0) * exp(-z * z / 2) * step;
        assert_double_equal(snug_ehvi_expected_excess(mean, sd, floor), sum / sqrt(2 * M_PI), 1e-6);
    }
}

static void ehvi_excess_far_out_stays_finite_and_ordered(void **state)
{
    (void)state;
    double last = -1;
    for (double z = -40; z <= 40; z += 0.25) {
        double excess = snug_ehvi_expected_excess(z, 1, 0);
        assert_true(isfinite(excess) && excess >= 0 && excess >= last);
        last = excess;
    }
    assert_double_equal(last, 40, 1e-9);
    assert_double_equal(snug_ehvi_expected_excess(-40, 1, 0), 0, 0);
}

static void ehvi_outside_the_bytes_bound_is_zero(void **state)
{
    (void)state;
    struct snug_rng rng;
    struct made_front f;
    snug_rng_init(&rng, 34);
    make_front(&rng, &f);
    assert_double_equal(snug_ehvi(&f.front, 50, 1, 1), 0, 0);
    assert_double_equal(snug_ehvi(&f.front, 50, 1, 3), 0, 0);
    assert_true(snug_ehvi(&f.front, 50, 1, 0.999) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ehvi_area_equals_hypervolume),
        cmocka_unit_test(ehvi_without_doubt_is_the_plain_gain),
        cmocka_unit_test(ehvi_agrees_with_monte_carlo),
        cmocka_unit_test(ehvi_excess_agrees_with_quadrature),
        cmocka_unit_test(ehvi_excess_far_out_stays_finite_and_ordered),
        cmocka_unit_test(ehvi_outside_the_bytes_bound_is_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
