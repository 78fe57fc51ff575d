/* The knapsack against brute force, its bound, its dominance, its caps. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

#include "plan/knapsack.h"
#include "snug/stats.h"

#define OPTIONS 6

struct instance {
    int n_items;
    struct snug__knapsack_option options[64][OPTIONS];
    struct snug__knapsack_item items[64];
};

static void make(struct instance *x, int n_items, uint64_t seed)
{
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    x->n_items = n_items;
    for (int i = 0; i < n_items; i++) {
        const int n = 1 + (int)(snug_rng_double(&rng) * OPTIONS);
        x->items[i] = (struct snug__knapsack_item){x->options[i], n};
        for (int j = 0; j < n; j++) {
            /* Small numbers, so that ties and dominated options are common. */
            x->options[i][j].bytes = (uint64_t)(snug_rng_double(&rng) * 40);
            x->options[i][j].cost = floor(snug_rng_double(&rng) * 60) / 4 - 2;
        }
    }
}

static double brute(const struct instance *x, uint64_t budget, int i, uint64_t bytes, double cost)
{
    double best = HUGE_VAL;
    if (bytes > budget)
        return best;
    if (i == x->n_items)
        return cost;
    for (int j = 0; j < x->items[i].n; j++)
        best = fmin(best, brute(x, budget, i + 1, bytes + x->options[i][j].bytes,
                                cost + x->options[i][j].cost));
    return best;
}

static void test_brute_force(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4000; seed++) {
        struct instance x;
        struct snug__knapsack k;
        struct snug__knapsack_answer answer;
        struct snug_error err = {0};
        int choice[64];
        make(&x, 1 + (int)(seed % 6), seed);
        const uint64_t budget = seed * 7 % 160;
        const double best = brute(&x, budget, 0, 0, 0.0);
        assert_int_equal(snug__knapsack_init(&k, x.items, x.n_items, &err), SNUG_OK);
        const snug_status status = snug__knapsack_solve(&k, budget, choice, &answer, &err);
        if (best == HUGE_VAL) {
            assert_int_equal(status, SNUG_INFEASIBLE);
        } else {
            uint64_t bytes = 0;
            double cost = 0.0;
            assert_int_equal(status, SNUG_OK);
            for (int i = 0; i < x.n_items; i++) {
                bytes += x.options[i][choice[i]].bytes;
                cost += x.options[i][choice[i]].cost;
            }
            assert_true(bytes <= budget && bytes == answer.bytes);
            assert_double_equal(cost, best, 1e-9);
            assert_double_equal(answer.cost, best, 1e-9);
            assert_true(answer.is_proved);
            assert_true(snug__knapsack_bound(&k, budget, choice, NULL) <= best + 1e-9);
        }
        snug__knapsack_clear(&k);
    }
}

/* More items than brute force can do: never over the budget, proved, monotone in the budget, and
 * the same again. */
static void test_large(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct instance x;
        struct snug__knapsack k;
        struct snug__knapsack_answer answer, again;
        struct snug_error err = {0};
        int choice[64], same[64];
        double last = HUGE_VAL;
        make(&x, 64, seed + 100000);
        assert_int_equal(snug__knapsack_init(&k, x.items, x.n_items, &err), SNUG_OK);
        for (uint64_t budget = k.bytes_min; budget <= k.bytes_max + 20; budget += 41) {
            assert_int_equal(snug__knapsack_solve(&k, budget, choice, &answer, &err), SNUG_OK);
            assert_true(answer.bytes <= budget);
            assert_true(answer.is_proved && answer.cost <= last + 1e-9);
            assert_true(answer.cost >= k.cost_min - 1e-9);
            last = answer.cost;
            assert_int_equal(snug__knapsack_solve(&k, budget, same, &again, &err), SNUG_OK);
            assert_memory_equal(choice, same, sizeof choice);
        }
        assert_int_equal(snug__knapsack_solve(&k, k.bytes_max, choice, &answer, &err), SNUG_OK);
        assert_double_equal(answer.cost, k.cost_min, 1e-9);
        snug__knapsack_clear(&k);
    }
}

static void test_bad_input(void **state)
{
    (void)state;
    struct snug__knapsack_option options[SNUG__KNAPSACK_OPTIONS_MAX + 1] = {{0, 0.0}};
    struct snug__knapsack k;
    struct snug_error err = {0};
    struct snug__knapsack_item item = {options, SNUG__KNAPSACK_OPTIONS_MAX};
    assert_int_equal(snug__knapsack_init(&k, &item, 1, &err), SNUG_OK);
    snug__knapsack_clear(&k);
    item.n++;
    assert_int_equal(snug__knapsack_init(&k, &item, 1, &err), SNUG_BAD_INPUT);
    item.n = 0;
    assert_int_equal(snug__knapsack_init(&k, &item, 1, &err), SNUG_BAD_INPUT);
    item.n = 1;
    options[0].cost = NAN;
    assert_int_equal(snug__knapsack_init(&k, &item, 1, &err), SNUG_BAD_INPUT);
    assert_non_null(strstr(err.text, "item 0"));
    assert_int_equal(snug__knapsack_init(&k, &item, SNUG__KNAPSACK_ITEMS_MAX + 1, &err),
                     SNUG_BAD_INPUT);
    struct snug__knapsack_answer answer;
    assert_int_equal(snug__knapsack_init(&k, NULL, 0, &err), SNUG_OK);
    assert_int_equal(snug__knapsack_solve(&k, 0, NULL, &answer, &err), SNUG_OK);
    assert_true(answer.is_proved && answer.bytes == 0);
    snug__knapsack_clear(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_brute_force),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_bad_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
