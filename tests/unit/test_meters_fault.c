/* The meters on a heap that fails: allocation N is refused, for every N that a whole run makes. A
 * refusal either fails the start with a text or costs single figures, and leaks nothing. */
#include <math.h>

#include "test.h"

#include "fault.h"
#include "tree.h"

#include "machine/meters_internal.h"

static void meters_allocation_that_fails_is_told_or_costs_a_figure(void **state)
{
    const char *folder = *state;
    struct snug_meters_options options = {.root = folder, .period_s = 1, .idle_w = NAN};
    bool is_hit = true;
    long n_failed = 0;
    tree_copy("powercap-intel", folder);
    for (long n = 0; is_hit; n++) {
        struct snug_error err = {0};
        struct snug_meters *meters = NULL;
        struct snug_condition_sample *samples = NULL;
        struct snug_conditions c;
        int n_samples = 0;
        fault_begin(n);
        snug_status status = snug__meters_open(&options, &meters, &err);
        if (status == SNUG_OK)
            snug__meters_close(meters, 1, &c, &samples, &n_samples);
        is_hit = fault_end();
        if (status != SNUG_OK) {
            n_failed++;
            assert_true(is_hit && status == SNUG_NO_MEMORY && !meters && err.text[0]);
        } else {
            assert_true(samples && n_samples == 1);
        }
        if (!is_hit)
            assert_true(status == SNUG_OK && c.temperature_c_max == 61 && c.throttled_s == 0);
        free(samples);
    }
    assert_true(n_failed >= 4); /* meters, root, CPU set, samples, thermal counters */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(meters_allocation_that_fails_is_told_or_costs_a_figure,
                                        test_folder_open, test_folder_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
