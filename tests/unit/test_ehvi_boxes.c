/* Fronts of up to three gains, their exact volume and what a candidate is expected to add, against
 * counted cells, plain differences, Monte Carlo and the formula for known bytes. */
#include "test.h"

#include <math.h>

#include "snug/goal.h"
#include "snug/stats.h"
#include "tune/ehvi.h"

#define N_MAX 14
#define SIDE 9 /* cells along each gain of the counted fronts */

typedef double gains[SNUG_EHVI_DIMS];

/* n_dims gains drawn, 1 in those beyond; is_coarse: whole numbers, so that ties happen. */
static size_t draw_front(struct snug_rng *rng, int n_dims, bool is_coarse, gains *out)
{
    const size_t n = snug_rng_below(rng, N_MAX + 1);
    for (size_t i = 0; i < n; i++)
        for (int d = 0; d < SNUG_EHVI_DIMS; d++)
            out[i][d] = d >= n_dims ? 1
                        : is_coarse ? (double)snug_rng_below(rng, SIDE + 1)
                                    : 1.2 * snug_rng_double(rng) - 0.1;
    return n;
}

static struct snug_rng seeded(uint64_t seed)
{
    struct snug_rng rng;
    print_message("# seed %llu\n", (unsigned long long)seed);
    snug_rng_init(&rng, seed);
    return rng;
}

static bool is_below(const gains *front, size_t n, int a, int b, int c)
{
    bool found = false;
    for (size_t i = 0; i < n; i++)
        found |= front[i][0] > a && front[i][1] > b && front[i][2] > c;
    return found;
}

static void boxes_volume_equals_counted_cells(void **state)
{
    (void)state;
    struct snug_rng rng = seeded(41);
    for (int round = 0; round < 600; round++) {
        gains front[N_MAX];
        const int n_dims = 1 + round % 3;
        const size_t n = draw_front(&rng, n_dims, true, front);
        int n_cells = 0;
        for (int a = 0; a < SIDE; a++)
            for (int b = 0; b < SIDE; b++)
                for (int c = 0; c < SIDE; c++)
                    n_cells += is_below(front, n, a, b, c);
        assert_double_equal(snug_goal_hypervolume(front, n), n_cells, 1e-9);
    }
}

static void boxes_are_few(void **state)
{
    (void)state;
    struct snug_rng rng = seeded(42);
    for (int round = 0; round < 300; round++) {
        gains front[N_MAX];
        struct snug_ehvi_boxes boxes;
        struct snug_error err;
        const size_t n = draw_front(&rng, 3, round % 2, front);
        assert_ok(snug_ehvi_boxes_init(&boxes, front, n, &err));
        assert_true(boxes.n_boxes >= 1 && boxes.n_boxes <= 2 * n + 1);
        snug_ehvi_boxes_clear(&boxes);
    }
}

/* What the volume gains by one more point. */
static double plain_gain(gains *front, size_t n, const double *point)
{
    memcpy(front[n], point, sizeof front[n]);
    return snug_goal_hypervolume(front, n + 1) - snug_goal_hypervolume(front, n);
}

static void boxes_without_doubt_are_the_plain_gain(void **state)
{
    (void)state;
    static const double none[SNUG_EHVI_DIMS] = {0};
    struct snug_rng rng = seeded(43);
    for (int round = 0; round < 1500; round++) {
        gains front[N_MAX + 1], point;
        struct snug_ehvi_boxes boxes;
        struct snug_error err;
        const int n_dims = 1 + round % 3;
        const size_t n = draw_front(&rng, n_dims, round % 2, front);
        for (int d = 0; d < SNUG_EHVI_DIMS; d++)
            point[d] =
                d < n_dims ? (round % 2 ? SIDE : 1) * (1.3 * snug_rng_double(&rng) - 0.1) : 1;
        assert_ok(snug_ehvi_boxes_init(&boxes, front, n, &err));
        assert_double_equal(snug_ehvi_boxes_gain(&boxes, point, none), plain_gain(front, n, point),
                            1e-9);
        snug_ehvi_boxes_clear(&boxes);
    }
}

/* The tolerance is 5 standard errors of the mean of the draws; the constant covers gains so rare
 * that a few hits decide. Every third axis of a round is known. */
static void boxes_agree_with_monte_carlo(void **state)
{
    (void)state;
    struct snug_rng rng = seeded(44);
    for (int round = 0; round < 60; round++) {
        enum { N_DRAWS = 4000 };
        static double gain[N_DRAWS];
        gains front[N_MAX + 1], mean, sd, point;
        struct snug_ehvi_boxes boxes;
        struct snug_error err;
        const int n_dims = 2 + round % 2;
        const size_t n = draw_front(&rng, n_dims, false, front);
        for (int d = 0; d < SNUG_EHVI_DIMS; d++) {
            mean[d] = d < n_dims ? 1.2 * snug_rng_double(&rng) : 1;
            sd[d] = d < n_dims && (round + d) % 3 ? 0.02 + 0.4 * snug_rng_double(&rng) : 0;
        }
        assert_ok(snug_ehvi_boxes_init(&boxes, front, n, &err));
        for (int i = 0; i < N_DRAWS; i++) {
            for (int d = 0; d < SNUG_EHVI_DIMS; d++)
                point[d] = mean[d] + sd[d] * snug_rng_normal(&rng);
            gain[i] = plain_gain(front, n, point);
        }
        const double error = snug_stats_sd(gain, N_DRAWS) / sqrt(N_DRAWS);
        assert_double_equal(snug_ehvi_boxes_gain(&boxes, mean, sd), snug_stats_mean(gain, N_DRAWS),
                            5 * error + 5e-5);
        snug_ehvi_boxes_clear(&boxes);
    }
}

/* Log speed and bytes as two gains: 1 - bytes, and log speed above its reference. */
static void boxes_agree_with_the_formula_for_known_bytes(void **state)
{
    (void)state;
    struct snug_rng rng = seeded(45);
    for (int round = 0; round < 300; round++) {
        double frac[N_MAX], log_speed[N_MAX], at = 0.02, speed = 0;
        gains front[N_MAX];
        struct snug_ehvi_boxes boxes;
        struct snug_error err;
        const size_t n = snug_rng_below(&rng, N_MAX + 1);
        for (size_t i = 0; i < n; i++) {
            at += 0.065 * (0.1 + 0.9 * snug_rng_double(&rng));
            speed += 0.01 + 0.3 * snug_rng_double(&rng);
            frac[i] = at;
            log_speed[i] = speed;
            front[i][0] = speed;
            front[i][1] = 1 - at;
            front[i][2] = 1;
        }
        const struct snug_ehvi_front known = {frac, log_speed, n, 0};
        assert_ok(snug_ehvi_boxes_init(&boxes, front, n, &err));
        assert_double_equal(boxes.volume, snug_ehvi_area(&known), 1e-12);
        for (int k = 0; k < 20; k++) {
            const double mean[3] = {3 * snug_rng_double(&rng) - 0.3, snug_rng_double(&rng), 1};
            const double sd[3] = {k ? 0.4 * snug_rng_double(&rng) : 0, 0, 0};
            assert_double_equal(snug_ehvi_boxes_gain(&boxes, mean, sd),
                                snug_ehvi(&known, mean[0], sd[0], 1 - mean[1]), 1e-12);
        }
        snug_ehvi_boxes_clear(&boxes);
    }
}

static bool dominates(const double *a, const double *b)
{
    bool is_covered = true, is_better = false;
    for (int d = 0; d < SNUG_AXES_MAX; d++) {
        is_covered &= a[d] >= b[d];
        is_better |= a[d] > b[d];
    }
    return is_covered && is_better;
}

static void goal_front_matches_the_definition(void **state)
{
    (void)state;
    struct snug_rng rng = seeded(46);
    for (int round = 0; round < 500; round++) {
        gains points[N_MAX];
        size_t index[N_MAX], n_want = 0;
        const size_t n = draw_front(&rng, 1 + round % 3, true, points);
        if (n > 2) /* no points at all */
            points[1][0] = round % 2 ? (double)NAN : -(double)INFINITY;
        const size_t n_front = snug_goal_front(points, n, index);
        for (size_t i = 0; i < n; i++) {
            bool is_on = isfinite(points[i][0]), is_listed = false;
            for (size_t j = 0; j < n; j++)
                is_on &= !isfinite(points[j][0]) ||
                         (!dominates(points[j], points[i]) &&
                          !(j < i && memcmp(points[j], points[i], sizeof points[i]) == 0));
            for (size_t k = 0; k < n_front; k++)
                is_listed |= index[k] == i;
            assert_int_equal(is_on, is_listed);
            n_want += is_on;
        }
        assert_int_equal(n_front, n_want);
        for (size_t k = 1; k < n_front; k++)
            assert_true(points[index[k - 1]][0] >= points[index[k]][0]);
    }
}

/* More members than excesses are kept for. */
static void boxes_of_many_members_are_the_same_sum(void **state)
{
    (void)state;
    enum { N = 700 };
    static gains front[N + 1];
    static const double none[3] = {0}, point[3] = {0.5, 0.5, 0.9};
    struct snug_ehvi_boxes boxes;
    struct snug_error err;
    struct snug_rng rng = seeded(47);
    for (int i = 0; i < N; i++) { /* on a sphere: nothing is dominated */
        double norm = 0;
        for (int d = 0; d < 3; d++) {
            front[i][d] = 0.01 + snug_rng_double(&rng);
            norm += front[i][d] * front[i][d];
        }
        for (int d = 0; d < 3; d++)
            front[i][d] /= sqrt(norm);
    }
    assert_ok(snug_ehvi_boxes_init(&boxes, front, N, &err));
    const double want = plain_gain(front, N, point);
    assert_true(want > 0);
    assert_double_equal(snug_ehvi_boxes_gain(&boxes, point, none), want, 1e-9);
    snug_ehvi_boxes_clear(&boxes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boxes_volume_equals_counted_cells),
        cmocka_unit_test(boxes_are_few),
        cmocka_unit_test(boxes_without_doubt_are_the_plain_gain),
        cmocka_unit_test(boxes_agree_with_monte_carlo),
        cmocka_unit_test(boxes_agree_with_the_formula_for_known_bytes),
        cmocka_unit_test(goal_front_matches_the_definition),
        cmocka_unit_test(boxes_of_many_members_are_the_same_sum),
    };
    return cmocka_run_group_tests_name("ehvi_boxes", tests, NULL, NULL);
}
