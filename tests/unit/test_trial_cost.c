/* Seconds of a trial: what loads, and what work costs over speed. */
#include "test.h"

#include <math.h>

#include "tune/trial_cost.h"

static struct snug_space space_of_two(void)
{
    return (struct snug_space){
        .n = 2,
        .knobs = {{"threads", SNUG_KNOB_INT, SNUG_KNOB_CONTEXT, 1, 8, 1, 1, .is_tuned = true},
                  {"repack", SNUG_KNOB_BOOL, SNUG_KNOB_LOAD, 0, 1, 1, 0, .is_tuned = true}}};
}

static struct snug_observation ran(int64_t threads, int64_t repack, double speed, double setup_s,
                                   double work_s)
{
    return (struct snug_observation){.config = {{threads, repack}},
                                     .outcome = SNUG_TRIAL_OK,
                                     .speed = speed,
                                     .setup_s = setup_s,
                                     .work_s = work_s};
}

static void cost_of_nothing_told_is_the_same_for_all(void **state)
{
    (void)state;
    struct snug__trial_cost cost;
    const struct snug_observation silent = ran(1, 0, 10, 0, 0);
    snug__trial_cost_learn(&cost, NULL, 0);
    assert_false(cost.is_known);
    snug__trial_cost_learn(&cost, &silent, 1);
    assert_true(snug__trial_cost_seconds(&cost, log(5), true) ==
                snug__trial_cost_seconds(&cost, log(50), false));
}

static void cost_of_fixed_work_falls_with_speed_and_of_fixed_time_does_not(void **state)
{
    (void)state;
    struct snug_observation work[24], time[24];
    struct snug__trial_cost cost;
    for (int i = 0; i < 24; i++) {
        const double speed = 10 * exp(0.1 * i);
        work[i] = ran(1 + i % 8, 0, speed, 0, 300 / speed);
        time[i] = ran(1 + i % 8, 0, speed, 0, 8);
    }
    snug__trial_cost_learn(&cost, work, 24);
    assert_true(cost.slope < -0.9);
    assert_true(fabs(snug__trial_cost_seconds(&cost, log(30), false) / 10 - 1) < 0.05);
    snug__trial_cost_learn(&cost, time, 24);
    assert_true(fabs(cost.slope) < 0.1);
    assert_true(fabs(snug__trial_cost_seconds(&cost, log(30), false) / 8 - 1) < 0.05);
}

static void cost_of_loading_is_learned_from_loads_alone(void **state)
{
    (void)state;
    const struct snug_observation told[] = {
        ran(1, 0, 10, 4, 2),
        ran(2, 0, 10, 0, 2),
        ran(2, 1, 10, 9, 2),
        {.config = {{1, 1}}, .outcome = SNUG_TRIAL_OOM, .setup_s = 100, .work_s = 100}};
    struct snug__trial_cost cost;
    snug__trial_cost_learn(&cost, told, 4);
    assert_true(fabs(cost.setup_s - 6) < 1e-9); /* geometric mean of 4 and 9 */
    assert_true(fabs(snug__trial_cost_seconds(&cost, log(10), false) - 2) < 1e-9);
    assert_true(fabs(snug__trial_cost_seconds(&cost, log(10), true) - 8) < 1e-9);
}

static void config_loads_when_a_load_knob_differs_or_the_last_trial_failed(void **state)
{
    (void)state;
    const struct snug_space space = space_of_two();
    const struct snug_observation told[] = {ran(1, 0, 10, 4, 2),
                                            {.config = {{1, 1}}, .outcome = SNUG_TRIAL_OOM}};
    const struct snug_config same = {{8, 0}}, other = {{1, 1}};
    assert_true(snug__trial_cost_must_load(&space, told, 0, &same));
    assert_false(snug__trial_cost_must_load(&space, told, 1, &same));
    assert_true(snug__trial_cost_must_load(&space, told, 1, &other));
    assert_true(snug__trial_cost_must_load(&space, told, 2, &other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cost_of_nothing_told_is_the_same_for_all),
        cmocka_unit_test(cost_of_fixed_work_falls_with_speed_and_of_fixed_time_does_not),
        cmocka_unit_test(cost_of_loading_is_learned_from_loads_alone),
        cmocka_unit_test(config_loads_when_a_load_knob_differs_or_the_last_trial_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
