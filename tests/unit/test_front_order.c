/* Rounds of a front: who is measured again, when an order is known, what is declared. */
#include "test.h"

#include <math.h>

#include "tune/front_order.h"

/* Run rounds until all is known or n_max measurements are made; returns how many. */
static int run_rounds(struct snug__order *order, const double *truth, double noise, int n_max,
                      struct snug_rng *rng)
{
    int members[SNUG__ORDER_MEMBERS_MAX], n_done = 0;
    for (int n = snug__order_next(order, members); n > 0 && n_done < n_max;
         n = snug__order_next(order, members)) {
        const double drift = exp(0.05 * snug_rng_normal(rng)); /* a round shares it */
        for (int i = 0; i < n && n_done < n_max; i++, n_done++)
            snug__order_add(order, members[i],
                            truth[members[i]] * drift * exp(noise * snug_rng_normal(rng)));
    }
    return n_done;
}

static void init(struct snug__order *order, const double *believed, int n)
{
    struct snug_point points[SNUG__ORDER_MEMBERS_MAX + 8];
    for (int i = 0; i < n; i++)
        points[i] = (struct snug_point){believed[i], 100 + (uint64_t)i};
    snug__order_init(order, points, n);
}

static void clear_order_is_known_after_three_rounds(void **state)
{
    (void)state;
    const double truth[] = {10, 12, 15};
    struct snug__order order;
    struct snug_rng rng;
    snug_rng_init(&rng, 1);
    init(&order, truth, 3);
    assert_false(snug__order_is_known(&order));
    assert_int_equal(run_rounds(&order, truth, 0.005, 100, &rng), 9);
    assert_true(snug__order_is_known(&order));
    int n = 0;
    const struct snug_interval speed = snug__order_speed(&order, 1, &n);
    assert_int_equal(n, 3);
    assert_true(speed.lo <= speed.mid && speed.mid <= speed.hi && speed.lo < speed.hi);
}

/* The rival of a member is whoever it must beat, also when it does not beat it any more. */
static void member_believed_fast_by_luck_is_found_out(void **state)
{
    (void)state;
    const double believed[] = {10, 12, 13}, truth[] = {10, 9, 11};
    struct snug__order order;
    struct snug_rng rng;
    int n = 0;
    snug_rng_init(&rng, 2);
    init(&order, believed, 3);
    run_rounds(&order, truth, 0.005, 100, &rng);
    assert_true(snug__order_is_known(&order));
    assert_true(snug__order_speed(&order, 1, &n).mid < snug__order_speed(&order, 0, &n).mid);
}

static void equal_members_are_settled_and_use_no_more(void **state)
{
    (void)state;
    const double truth[] = {10, 10};
    struct snug__order order;
    struct snug_rng rng;
    snug_rng_init(&rng, 3);
    init(&order, truth, 2);
    assert_true(run_rounds(&order, truth, 0.003, 100, &rng) <= 16);
    assert_true(snug__order_is_known(&order));
}

/* The closest rivals come first, so that a budget that ends early was spent on what is open. */
static void closest_pair_is_measured_first_in_turns(void **state)
{
    (void)state;
    const double believed[] = {10, 20, 21};
    int members[SNUG__ORDER_MEMBERS_MAX];
    struct snug__order order;
    init(&order, believed, 3);
    assert_int_equal(snug__order_next(&order, members), 3);
    assert_true(members[0] == 1 && members[1] == 2 && members[2] == 0);
    for (int i = 0; i < 3; i++)
        snug__order_add(&order, i, believed[i]);
    assert_int_equal(order.n_rounds, 1);
    assert_int_equal(snug__order_next(&order, members), 3);
    assert_true(members[0] == 2 && members[1] == 1);
}

static void member_that_fails_again_is_none(void **state)
{
    (void)state;
    const double believed[] = {10, 20};
    int n = 0, members[SNUG__ORDER_MEMBERS_MAX];
    struct snug__order order;
    init(&order, believed, 2);
    snug__order_add(&order, 1, 20);
    snug__order_add(&order, 1, 0);
    assert_true(snug__order_speed(&order, 1, &n).mid == 0 && n == 1);
    assert_int_equal(snug__order_next(&order, members), 0); /* nobody is left to compare */
    assert_true(snug__order_speed(&order, 0, &n).mid == 10 && n == 0);
}

static void rounds_and_members_have_caps(void **state)
{
    (void)state;
    double believed[SNUG__ORDER_MEMBERS_MAX + 1];
    int n = 0, members[SNUG__ORDER_MEMBERS_MAX];
    struct snug__order order;
    for (int i = 0; i <= SNUG__ORDER_MEMBERS_MAX; i++)
        believed[i] = 10 + i;
    init(&order, believed, SNUG__ORDER_MEMBERS_MAX);
    assert_true(order.n_members == SNUG__ORDER_MEMBERS_MAX && order.point[0].speed < 10.5);
    init(&order, believed, SNUG__ORDER_MEMBERS_MAX + 1);
    assert_true(order.n_members == SNUG__ORDER_MEMBERS_MAX && order.point[0].speed > 10.5);
    for (int i = 0; i <= SNUG__ORDER_ROUNDS_MAX; i++)
        snug__order_add(&order, 0, 1 + i % 7);
    assert_int_equal(order.n_rounds, SNUG__ORDER_ROUNDS_MAX);
    (void)snug__order_speed(&order, 0, &n);
    assert_int_equal(n, SNUG__ORDER_ROUNDS_MAX);
    assert_int_equal(snug__order_next(&order, members), 0);
    assert_false(snug__order_is_known(&order));
}

/* Neighbours 4 % apart at 2 % noise: an order that is called known is nearly always the true one.
 * A t interval at 95 % errs on one side in 2.5 %, looked at again and again some times that. */
static void order_that_is_known_is_nearly_always_true(void **state)
{
    (void)state;
    const double truth[] = {10, 10.4, 10.8, 11.2};
    int n_known = 0, n_wrong = 0;
    print_message("# seeds 0..199\n");
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct snug__order order;
        struct snug_rng rng;
        int n = 0;
        snug_rng_init(&rng, seed);
        init(&order, truth, 4);
        run_rounds(&order, truth, 0.02, 80, &rng);
        if (!snug__order_is_known(&order))
            continue;
        n_known++;
        bool is_wrong = false;
        for (int i = 1; i < 4; i++)
            is_wrong |= snug__order_speed(&order, i, &n).mid <
                        0.99 * snug__order_speed(&order, i - 1, &n).mid;
        n_wrong += is_wrong;
    }
    print_message("# known %d, wrong %d\n", n_known, n_wrong);
    assert_true(n_known >= 100);
    assert_true(n_wrong <= n_known / 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clear_order_is_known_after_three_rounds),
        cmocka_unit_test(member_believed_fast_by_luck_is_found_out),
        cmocka_unit_test(equal_members_are_settled_and_use_no_more),
        cmocka_unit_test(closest_pair_is_measured_first_in_turns),
        cmocka_unit_test(member_that_fails_again_is_none),
        cmocka_unit_test(rounds_and_members_have_caps),
        cmocka_unit_test(order_that_is_known_is_nearly_always_true),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
