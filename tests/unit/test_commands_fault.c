/* Emitters when memory runs out at any allocation: a clean failure each time. */
#include "fault.h"
#include "plan.h"

static void every_allocation_that_fails_is_told(void **state)
{
    struct plan_test *t = *state;
    for (const struct snug_emitter *e = snug_plan_emitters(); e->name; e++) {
        long n = 0;
        for (bool is_hit = true; is_hit; n++) {
            struct snug_error err = {0};
            char *text = NULL;
            fault_begin(n);
            const snug_status status =
                snug_plan_command(&t->plan, &t->model, e->name, NULL, &text, &err);
            is_hit = fault_end();
            /* A lookup of the tool, or a sort, without scratch memory does without. */
            if (status != SNUG_OK && (status != SNUG_NO_MEMORY || !is_hit || text))
                fail_msg("%s, allocation %ld: %s, %s", e->name, n, snug_status_name(status),
                         err.text);
            if (status == SNUG_OK)
                assert_non_null(text);
            free(text);
        }
        assert_true(n > 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_allocation_that_fails_is_told, plan_test_setup,
                                        plan_test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
