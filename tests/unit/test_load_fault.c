/* Loads and budgets on a heap that fails: allocation N is refused, for every N that a call makes. A
 * refusal fails the call with a text, or makes a fact unknown with its reason, and leaks nothing.
 */
#include "test.h"

#include "fault.h"
#include "tree.h"

#include "machine/load_internal.h"
#include "snug/budget.h"

static void trace_allocation_that_fails_is_told(void **state)
{
    (void)state;
    struct snug_buffer text = {0};
    long n_failed = 0;
    bool is_hit = true;
    snug_buffer_puts(&text, "t_s,cpu,memory_bytes,bandwidth_bps,disk\n");
    for (int i = 0; i < 200; i++) /* more than one growth */
        snug_buffer_printf(&text, "%d,1,,,\n", i);
    for (long n = 0; is_hit; n++) {
        struct snug_load_trace trace = {.n = -7};
        struct snug_error err = {.status = SNUG_OK};
        fault_begin(n);
        const snug_status status =
            snug_load_trace_parse("t.csv", text.data, text.len, &trace, &err);
        is_hit = fault_end();
        if (is_hit) {
            n_failed++;
            assert_true(status == SNUG_NO_MEMORY && trace.n == -7 && err.text[0]);
            continue;
        }
        assert_true(status == SNUG_OK && trace.n == 200);
        snug_load_trace_clear(&trace);
    }
    assert_true(n_failed >= 2);
    snug_buffer_clear(&text);
}

static void generator_allocation_that_fails_is_told(void **state)
{
    (void)state;
    /* Without threads: a sanitizer's own work in a new thread cannot bear a failing heap. */
    const struct snug__load_gen_options options = {
        .peak = {.memory_bytes = 1u << 20}, .reserve_bytes = 1u << 20, .n_threads = 1};
    long n_failed = 0;
    bool is_hit = true;
    for (long n = 0; is_hit; n++) {
        struct snug__load_gen *gen = NULL;
        struct snug_error err = {.status = SNUG_OK};
        fault_begin(n);
        const snug_status status = snug__load_gen_start(&options, &gen, &err);
        is_hit = fault_end();
        n_failed += status != SNUG_OK;
        if (status != SNUG_OK)
            assert_true(is_hit && status == SNUG_NO_MEMORY && !gen && err.text[0]);
        else
            assert_non_null(gen);
        snug__load_gen_stop(gen);
    }
    assert_int_equal(n_failed, 4); /* itself and three arrays */
}

static void budget_allocation_that_fails_is_a_fact_less(void **state)
{
    tree_copy("container-v2", *state);
    tree_put(*state, "proc/stat", "cpu  4 0 0 4 0 0 0 0\ncpu0 4 0 0 4 0 0 0 0\n");
    tree_put(*state, "proc/7/stat", "7 (p) S 1 1 1 0 -1 0 0 0 0 0 4 0 0 0 20 0 1\n");
    tree_put(*state, "proc/7/statm", "9 4 1 1 0 1 0\n");
    const struct snug_budget_look earlier = {0};
    const struct snug_budget_options options = {.root = *state, .pid = 7, .earlier = &earlier};
    long n_lost = 0;
    bool is_hit = true;
    for (long n = 0; is_hit; n++) {
        struct snug_budget budget;
        struct snug_budget_look look;
        fault_begin(n);
        snug_budget_read(&options, &budget, &look);
        is_hit = fault_end();
        const struct snug_fact *facts[] = {&budget.memory_usable_bytes, &look.own_s, &look.all_s};
        for (size_t i = 0; i < COUNT(facts); i++) {
            n_lost += !facts[i]->is_known;
            assert_true(facts[i]->source[0] != '\0');
        }
        if (!is_hit)
            assert_true(facts[0]->is_known && facts[1]->is_known && facts[2]->is_known);
    }
    assert_true(n_lost >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trace_allocation_that_fails_is_told),
        cmocka_unit_test(generator_allocation_that_fails_is_told),
        cmocka_unit_test_setup_teardown(budget_allocation_that_fails_is_a_fact_less,
                                        test_folder_open, test_folder_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
