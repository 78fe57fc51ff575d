/* Names of outcomes and objectives, and the speeds a measurement is compared by. */
#include "test.h"

#include <math.h>

#include "snug/trial.h"

/* ---- names ---- */

static void names_every_value_comes_back(void **state)
{
    (void)state;
    for (int i = 0; i < SNUG_N_OUTCOMES; i++)
        assert_int_equal(snug_outcome_from_name(snug_outcome_name((enum snug_outcome)i)), i);
    assert_int_equal(snug_outcome_from_name("fine"), SNUG_N_OUTCOMES);
    assert_int_equal(snug_outcome_from_name(NULL), SNUG_N_OUTCOMES);
    for (int i = 0; i < SNUG_N_OBJECTIVES; i++)
        assert_int_equal(snug_objective_from_name(snug_objective_name((enum snug_objective)i)), i);
    assert_int_equal(snug_objective_from_name("speed"), -1);
    assert_string_equal(snug_warning_name(SNUG_WARN_BIT_SLOW_FIRST), "slow_first_run");
    assert_contains(snug_warning_meaning(SNUG_WARN_BIT_THROTTLED), "quota");
    assert_string_equal(snug_outcome_name((enum snug_outcome)99), "unknown");
}

/* ---- speeds ---- */

static void request_two_sequences_share_the_speed(void **state)
{
    (void)state;
    const struct snug_workload workload = {.n_prompt = 100, .n_gen = 50, .n_parallel = 2};
    const struct snug_measurement m = {.prefill_tps = 200, .decode_tps = 20};
    /* Each sequence gets 100 and 10 tokens per second. */
    assert_double_equal(snug_measurement_request_s(&m, &workload), 1.0 + 5.0, 1e-12);
    assert_double_equal(snug_measurement_speed(&m, &workload, SNUG_OBJECTIVE_REQUEST), 2.0 / 6.0,
                        1e-12);
    assert_double_equal(snug_measurement_speed(&m, &workload, SNUG_OBJECTIVE_DECODE), 20, 1e-12);
    assert_double_equal(snug_measurement_speed(&m, &workload, SNUG_OBJECTIVE_PREFILL), 200, 1e-12);
}

static void request_missing_speed_is_infinite(void **state)
{
    (void)state;
    const struct snug_workload workload = {.n_prompt = 100, .n_gen = 50, .n_parallel = 1};
    struct snug_measurement m = {.prefill_tps = 200};
    assert_true(isinf(snug_measurement_request_s(&m, &workload)));
    assert_true(snug_measurement_speed(&m, &workload, SNUG_OBJECTIVE_REQUEST) == 0.0);
    const struct snug_workload prompt_only = {.n_prompt = 100};
    assert_double_equal(snug_measurement_request_s(&m, &prompt_only), 0.5, 1e-12);
}

static void speed_failed_trial_is_zero(void **state)
{
    (void)state;
    const struct snug_workload workload = {.n_prompt = 100, .n_gen = 50, .n_parallel = 1};
    const struct snug_measurement m = {.outcome = SNUG_TRIAL_OOM,
                                       .prefill_tps = 200,
                                       .decode_tps = 20,
                                       .prefill_block_tps = {1},
                                       .decode_block_tps = {1},
                                       .n_prefill_blocks = 1,
                                       .n_decode_blocks = 1};
    double out[SNUG_BLOCKS_MAX];
    for (int i = 0; i < SNUG_N_OBJECTIVES; i++) {
        const enum snug_objective objective = (enum snug_objective)i;
        assert_true(snug_measurement_speed(&m, &workload, objective) == 0.0);
        assert_int_equal(snug_measurement_block_speeds(&m, &workload, objective, out), 0);
    }
    assert_true(isinf(snug_measurement_request_s(&m, &workload)));
}

static void block_speeds_request_pairs_by_index(void **state)
{
    (void)state;
    const struct snug_workload both = {.n_prompt = 100, .n_gen = 50, .n_parallel = 1};
    const struct snug_workload prompt = {.n_prompt = 100}, gen = {.n_gen = 50};
    const struct snug_measurement m = {.prefill_block_tps = {100, 200, 400},
                                       .decode_block_tps = {50, 25},
                                       .n_prefill_blocks = 3,
                                       .n_decode_blocks = 2};
    double out[SNUG_BLOCKS_MAX];
    assert_int_equal(snug_measurement_block_speeds(&m, &both, SNUG_OBJECTIVE_REQUEST, out), 2);
    assert_double_equal(out[0], 1.0 / 2.0, 1e-12);
    assert_double_equal(out[1], 1.0 / 2.5, 1e-12);
    assert_int_equal(snug_measurement_block_speeds(&m, &both, SNUG_OBJECTIVE_PREFILL, out), 3);
    assert_double_equal(out[2], 400, 1e-12);
    assert_int_equal(snug_measurement_block_speeds(&m, &prompt, SNUG_OBJECTIVE_REQUEST, out), 3);
    assert_int_equal(snug_measurement_block_speeds(&m, &gen, SNUG_OBJECTIVE_REQUEST, out), 2);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_every_value_comes_back),
        cmocka_unit_test(request_two_sequences_share_the_speed),
        cmocka_unit_test(request_missing_speed_is_infinite),
        cmocka_unit_test(speed_failed_trial_is_zero),
        cmocka_unit_test(block_speeds_request_pairs_by_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
