/* The effort ladder: rungs, their bias, and what a low rung is to a strategy. */
#include "test.h"

#include <math.h>

#include "cpu_task.h"
#include "tune/ladder.h"
#include "tune/strategies/snug_model.h"

static void rung_is_shorter_than_the_full_effort(void **state)
{
    (void)state;
    struct snug_effort full, low;
    snug_effort_default(&full);
    for (int rung = 1; rung <= SNUG__LADDER_RUNGS; rung++) {
        snug__ladder_effort(&full, rung, &low);
        assert_true(low.blocks_max < full.blocks_min && low.warmup_max < full.warmup_max);
        assert_true(low.n_gen_max > 0 && low.deadline_s == full.deadline_s);
        assert_int_equal(snug__ladder_rung(snug__ladder_role(rung)), rung);
    }
    assert_int_equal(snug__ladder_rung("search"), 0);
    struct snug_effort first;
    snug__ladder_effort(&full, 1, &first);
    snug__ladder_effort(&full, 2, &low);
    assert_true(first.n_gen_max == 16 && low.n_gen_max == 64);
}

static void rungs_that_would_measure_the_same_again_are_left_out(void **state)
{
    (void)state;
    struct snug_workload w = {.n_prompt = 64, .n_gen = 65, .n_parallel = 1, .n_ctx = 256};
    assert_int_equal(snug__ladder_next(&w, 0), 1);
    assert_int_equal(snug__ladder_next(&w, 1), 2);
    assert_int_equal(snug__ladder_next(&w, 2), 0);
    w.n_gen = 64;
    assert_int_equal(snug__ladder_next(&w, 1), 0);
    w.n_gen = 0;
    assert_int_equal(snug__ladder_next(&w, 0), 1); /* one block of the prompt is less than three */
    assert_int_equal(snug__ladder_next(&w, 1), 0);
}

/* Pairs of a rung that is 8 % slow, with 2 % noise. */
static void bias_is_learned_from_pairs_and_small_before(void **state)
{
    (void)state;
    struct cpu_task task;
    struct snug_observation told[40];
    struct snug__ladder_bias bias;
    struct snug_rng rng;
    cpu_task_init(&task, 1);
    snug_rng_init(&rng, 1);
    snug__ladder_learn(&task.space, NULL, 0, 1, &bias);
    assert_true(bias.mean == 0 && bias.sd > 0.10 && bias.sd < 0.13);
    struct snug_config config;
    snug_space_default(&task.space, &config);
    for (int i = 0; i < 14; i++) {
        config.value[CPU_POLL] = i;
        const double speed = cpu_task_speed(&task, &config);
        told[2 * i] =
            (struct snug_observation){.config = config,
                                      .outcome = SNUG_TRIAL_OK,
                                      .speed = speed * exp(-0.08 + 0.02 * snug_rng_normal(&rng)),
                                      .rung = 1};
        told[2 * i + 1] = told[2 * i];
        told[2 * i + 1].speed = speed;
        told[2 * i + 1].rung = 0;
    }
    snug__ladder_learn(&task.space, told, 40, 1, &bias);
    assert_true(fabs(bias.mean + 0.08) < 0.02);
    assert_true(bias.sd > 0.01 && bias.sd < 0.05);
    assert_true(snug__ladder_is_past(&task.space, told, 40, 0));
    told[1].rung = 2;
    assert_true(snug__ladder_is_past(&task.space, told, 2, 0));
    told[1].rung = 1;
    assert_false(snug__ladder_is_past(&task.space, told, 2, 0)); /* the same again is no more */
    told[1].rung = 0;
    assert_false(snug__ladder_is_past(&task.space, told, 1, 0));
}

/* A low rung informs the model, is no point of the front, and its config may be asked again. */
static void low_rung_informs_and_is_not_declared(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct cpu_task task;
    struct snug_strategy *s = NULL;
    struct snug_rng rng;
    size_t index[16], n_front = 0;
    double speed[16];
    cpu_task_init(&task, 5);
    struct snug_problem p = cpu_task_problem(&task, 1, 16);
    struct snug_config config = p.base;
    snug_rng_init(&rng, 1);
    assert_ok(snug_strategy_new("snug", &p, &s, &err));
    for (int i = 0; i < 8; i++) {
        struct snug_observation o = cpu_task_run(&task, &config, &rng);
        assert_ok(snug_strategy_tell(s, &o, &err));
        assert_ok(snug_strategy_ask(s, &config, NULL, &err));
    }
    struct snug_observation low = cpu_task_run(&task, &config, &rng);
    double best = 0;
    for (int i = 0; i < 8; i++)
        best = fmax(best, s->told[i].speed);
    low.speed = 1.3 * best;
    low.rung = 1;
    int rung = 1;
    assert_ok(snug_strategy_tell(s, &low, &err));
    assert_false(snug__strategy_was_told(s, &config));
    assert_ok(snug__strategy_climb(s, 0, &rung, &err));
    assert_int_equal(rung, 0);
    assert_ok(snug__strategy_front(s, index, speed, &n_front, &err));
    for (size_t k = 0; k < n_front; k++)
        assert_true(index[k] < 8 && speed[k] < 1.2 * best);
    struct snug_observation full = cpu_task_run(&task, &config, &rng);
    assert_ok(snug_strategy_tell(s, &full, &err));
    assert_true(snug__strategy_was_told(s, &config));
    low = cpu_task_run(&task, &p.base, &rng);
    low.config.value[CPU_POLL] = 0;
    low.speed /= 100;
    low.rung = 1;
    assert_ok(snug_strategy_tell(s, &low, &err));
    for (int next = 0; next <= SNUG__LADDER_RUNGS; next++) {
        assert_ok(snug__strategy_climb(s, next, &rung, &err));
        assert_int_equal(rung, SNUG__CLIMB_ENDS);
    }
    snug_strategy_free(s);
}

/* Where it is nearly free, the middle rung is worth its seconds; one that is dearer than the full
 * trial never is. */
static void middle_rung_is_taken_where_it_may_save_the_full_trial(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct cpu_task task;
    struct snug_rng rng;
    static const double rung_s[] = {0.01, 100};
    bool was_middle[2] = {false, false}, was_full[2] = {false, false}, was_left = false;
    cpu_task_init(&task, 5);
    struct snug_problem p = cpu_task_problem(&task, 1, 16);
    for (int dear = 0; dear < 2; dear++) {
        for (int step = 0; step < 48; step++) {
            struct snug_strategy *s = NULL;
            struct snug_config config = p.base;
            p.seed = 1 + (uint64_t)step / 8;
            snug_rng_init(&rng, p.seed);
            assert_ok(snug_strategy_new("snug", &p, &s, &err));
            double best = 0;
            for (int i = 0; i < 8 + step / 8; i++) {
                struct snug_observation o = cpu_task_run(&task, &config, &rng);
                best = fmax(best, o.speed);
                o.rung = 2;
                o.work_s = rung_s[dear];
                assert_ok(snug_strategy_tell(s, &o, &err));
                o.rung = 0;
                o.work_s = 10;
                assert_ok(snug_strategy_tell(s, &o, &err));
                assert_ok(snug_strategy_ask(s, &config, NULL, &err));
            }
            struct snug_observation low = cpu_task_run(&task, &config, &rng);
            low.speed = best * (0.94 + 0.06 * (step % 8));
            low.rung = 1;
            low.work_s = 0.01;
            int rung = 0;
            assert_ok(snug_strategy_tell(s, &low, &err));
            assert_ok(snug__strategy_climb(s, 2, &rung, &err));
            was_middle[dear] |= rung == 2;
            was_full[dear] |= rung == 0;
            was_left |= rung == SNUG__CLIMB_ENDS;
            snug_strategy_free(s);
        }
    }
    assert_true(was_middle[0] && !was_middle[1]);
    assert_true(was_full[1]);
    assert_true(was_left);
}

/* One ask of four looks at frozen rows too, also where every trial goes on up the ladder. */
static void trial_that_goes_on_is_of_one_ask(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct cpu_task task;
    struct snug_strategy *s = NULL;
    struct snug_rng rng;
    int n_wide = 0;
    cpu_task_init(&task, 5);
    struct snug_problem p = cpu_task_problem(&task, 1, 16);
    p.drops_inert = true;
    struct snug_config config = p.base;
    snug_rng_init(&rng, 1);
    assert_ok(snug_strategy_new("snug", &p, &s, &err));
    for (int i = 0; i < 8; i++) {
        struct snug_observation o = cpu_task_run(&task, &config, &rng);
        o.rung = 1;
        assert_ok(snug_strategy_tell(s, &o, &err));
        o.rung = 0;
        assert_ok(snug_strategy_tell(s, &o, &err));
        n_wide += ((const struct snug__model_state *)s->state)->is_wide;
        assert_ok(snug_strategy_ask(s, &config, NULL, &err));
    }
    assert_int_equal(n_wide, 2);
    snug_strategy_free(s);
}

static void rung_that_does_not_exist_is_refused(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct cpu_task task;
    struct snug_strategy *s = NULL;
    struct snug_rng rng;
    cpu_task_init(&task, 5);
    struct snug_problem p = cpu_task_problem(&task, 1, 16);
    snug_rng_init(&rng, 1);
    assert_ok(snug_strategy_new("snug", &p, &s, &err));
    struct snug_observation o = cpu_task_run(&task, &p.base, &rng);
    o.rung = SNUG__LADDER_RUNGS + 1;
    assert_int_equal(snug_strategy_tell(s, &o, &err), SNUG_BAD_INPUT);
    o.rung = -1;
    assert_int_equal(snug_strategy_tell(s, &o, &err), SNUG_BAD_INPUT);
    o.rung = 0;
    o.work_s = (double)NAN;
    assert_int_equal(snug_strategy_tell(s, &o, &err), SNUG_BAD_INPUT);
    o.work_s = 1;
    assert_ok(snug_strategy_tell(s, &o, &err));
    snug_strategy_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rung_is_shorter_than_the_full_effort),
        cmocka_unit_test(bias_is_learned_from_pairs_and_small_before),
        cmocka_unit_test(low_rung_informs_and_is_not_declared),
        cmocka_unit_test(rungs_that_would_measure_the_same_again_are_left_out),
        cmocka_unit_test(middle_rung_is_taken_where_it_may_save_the_full_trial),
        cmocka_unit_test(trial_that_goes_on_is_of_one_ask),
        cmocka_unit_test(rung_that_does_not_exist_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
