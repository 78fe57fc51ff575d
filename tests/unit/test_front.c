/* Fronts and hypervolume against definitions written as plainly as possible. */
#include "test.h"

#include <math.h>

#include "snug/stats.h"
#include "snug/tune.h"

#define MIB ((uint64_t)1 << 20)
#define EXACT 1e-12 /* sums of a few dozen terms below 10 */

static void front_compute_keeps_what_nothing_dominates(void **state)
{
    (void)state;
    const struct snug_point points[] = {
        {10, 500 * MIB}, {8, 300 * MIB},  {9, 600 * MIB}, {12, 700 * MIB},
        {8, 400 * MIB},  {12, 900 * MIB}, {5, 100 * MIB},
    };
    size_t index[COUNT(points)];
    assert_int_equal(snug_front_compute(points, COUNT(points), index), 4);
    const size_t want[] = {6, 1, 0, 3};
    assert_memory_equal(index, want, sizeof want);
}

static void front_compute_keeps_the_first_of_equals(void **state)
{
    (void)state;
    const struct snug_point points[] = {{3, MIB}, {4, MIB}, {4, MIB}, {4, 2 * MIB}};
    size_t index[COUNT(points)];
    assert_int_equal(snug_front_compute(points, COUNT(points), index), 1);
    assert_int_equal(index[0], 1);
}

static void front_compute_ignores_what_is_no_point(void **state)
{
    (void)state;
    const struct snug_point points[] = {{0, MIB}, {(double)NAN, MIB}, {(double)INFINITY, MIB},
                                        {2, 0},   {-1, MIB},          {1, 5 * MIB}};
    size_t index[COUNT(points)];
    assert_int_equal(snug_front_compute(points, COUNT(points), index), 1);
    assert_int_equal(index[0], 5);
    assert_int_equal(snug_front_compute(points, 0, index), 0);
}

static bool dominates(const struct snug_point *a, const struct snug_point *b)
{
    return a->speed >= b->speed && a->bytes <= b->bytes &&
           (a->speed > b->speed || a->bytes < b->bytes);
}

static size_t random_points(struct snug_rng *rng, struct snug_point *points, size_t n_max)
{
    size_t n = snug_rng_below(rng, n_max) + 1;
    for (size_t i = 0; i < n; i++) { /* coarse, so that ties happen */
        points[i].speed = 1 + (double)snug_rng_below(rng, 12);
        points[i].bytes = (1 + snug_rng_below(rng, 12)) * 100;
    }
    return n;
}

static void front_compute_matches_the_definition(void **state)
{
    (void)state;
    uint64_t seed = 11;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    for (int round = 0; round < 500; round++) {
        struct snug_point points[40];
        size_t index[40], n = random_points(&rng, points, 40), n_want = 0;
        size_t n_front = snug_front_compute(points, n, index);
        for (size_t i = 0; i < n; i++) {
            bool is_on = true;
            for (size_t j = 0; j < n; j++) {
                bool is_same = points[j].bytes == points[i].bytes &&
                               !(points[j].speed < points[i].speed) &&
                               !(points[j].speed > points[i].speed);
                is_on &= !dominates(&points[j], &points[i]) && !(is_same && j < i);
            }
            n_want += is_on;
            bool is_listed = false;
            for (size_t k = 0; k < n_front; k++)
                is_listed |= index[k] == i;
            assert_int_equal(is_on, is_listed);
        }
        assert_int_equal(n_front, n_want);
        for (size_t k = 1; k < n_front; k++)
            assert_true(points[index[k]].bytes > points[index[k - 1]].bytes);
    }
}

/* Area by its definition: over each unit of bytes, log of the best speed reached with no more. */
static double plain_area(const struct snug_point *points, size_t n,
                         const struct snug_front_bounds *bounds)
{
    double area = 0;
    for (uint64_t b = 0; b < bounds->bytes_ref; b++) {
        double best = bounds->speed_ref;
        for (size_t i = 0; i < n; i++)
            if (points[i].bytes <= b && points[i].speed > best)
                best = points[i].speed;
        area += log(best / bounds->speed_ref);
    }
    return area / (double)bounds->bytes_ref;
}

static void front_hypervolume_matches_a_sum_over_bytes(void **state)
{
    (void)state;
    uint64_t seed = 12;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    for (int round = 0; round < 200; round++) {
        struct snug_point points[30];
        size_t n = random_points(&rng, points, 30);
        struct snug_front_bounds bounds = {0.5 + 6 * snug_rng_double(&rng),
                                           50 + snug_rng_below(&rng, 1400)};
        double want = plain_area(points, n, &bounds);
        assert_double_equal(snug_front_hypervolume(points, n, &bounds), want, 1e-9);
    }
}

static void front_hypervolume_counts_nothing_outside_bounds(void **state)
{
    (void)state;
    const struct snug_front_bounds bounds = {2, 1000};
    const struct snug_point outside[] = {{2, 10}, {1, 10}, {9, 1000}, {9, 2000}};
    const struct snug_point inside = {2 * exp(1), 250};
    assert_double_equal(snug_front_hypervolume(outside, COUNT(outside), &bounds), 0, EXACT);
    assert_double_equal(snug_front_hypervolume(NULL, 0, &bounds), 0, EXACT);
    assert_double_equal(snug_front_hypervolume(&inside, 1, &bounds), 0.75, EXACT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(front_compute_keeps_what_nothing_dominates),
        cmocka_unit_test(front_compute_keeps_the_first_of_equals),
        cmocka_unit_test(front_compute_ignores_what_is_no_point),
        cmocka_unit_test(front_compute_matches_the_definition),
        cmocka_unit_test(front_hypervolume_matches_a_sum_over_bytes),
        cmocka_unit_test(front_hypervolume_counts_nothing_outside_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
