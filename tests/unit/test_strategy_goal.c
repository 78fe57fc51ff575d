/* The contract of strategies for goals that are not plain: what is refused, the same trace after a
 * resume, no harm by failed allocations. What they find stands in test_tune_goal.c. */
#include "test.h"

#include <math.h>

#include "fault.h"
#include "tune/strategy.h"

static const struct snug_space SPACE = {
    .n = 3,
    .knobs = {{"threads", SNUG_KNOB_INT, SNUG_KNOB_CONTEXT, 1, 6, 1, 3, .is_tuned = true},
              {"batch", SNUG_KNOB_LOG2, SNUG_KNOB_CONTEXT, 32, 512, 0, 512, .is_tuned = true},
              {"type", SNUG_KNOB_ENUM, SNUG_KNOB_CONTEXT, 0, 2, 1, 0,
               .values = {"f16", "q8_0", "q4_0"}, .n_values = 3, .is_tuned = true}}};

static bool bytes_of(const struct snug_config *config, uint64_t *out_bytes, void *data)
{
    (void)data;
    *out_bytes = (uint64_t)(300 + config->value[1] + 100 / (1 + config->value[2])) << 20;
    return true;
}

static double kld_of(const struct snug_config *config, void *data)
{
    (void)data;
    return 0.01 * (double)config->value[2];
}

/* Decode, prefill and memory, TTFT limited. */
static struct snug_problem problem_of(uint64_t seed)
{
    struct snug_problem p = {
        .space = &SPACE,
        .bytes = bytes_of,
        .bounds = {2, UINT64_C(1200) << 20},
        .seed = seed,
        .n_trials = 16,
        .goal = {.axis = {SNUG_AXIS_DECODE, SNUG_AXIS_PREFILL, SNUG_AXIS_MEMORY},
                 .n_axes = 3,
                 .limit = {[SNUG_LIMIT_TTFT] = 0.7}},
        .ref = {2, 10, 0x1p30},
        .kld = kld_of};
    snug_space_default(&SPACE, &p.base);
    return p;
}

static struct snug_observation run(const struct snug_config *config)
{
    const double threads = (double)config->value[0], batch = log2((double)config->value[1]);
    struct snug_observation o = {.config = *config,
                                 .outcome = SNUG_TRIAL_OK,
                                 .speed = 10 * sqrt(threads),
                                 .log_speed_sd = 0.01};
    o.axis[0] = (struct snug_told){o.speed, 0.01};
    o.axis[1] = (struct snug_told){100 * batch / threads, 0.01};
    o.limited[SNUG_LIMIT_TTFT] = (struct snug_told){64 / o.axis[1].value, 0};
    (void)bytes_of(config, &o.bytes, NULL);
    return o;
}

#define EACH_STRATEGY(row)                                                                         \
    for (const struct snug_strategy_row *row = snug_strategy_rows(); row->name; row++)

static void goal_without_what_it_needs_is_refused(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct snug_strategy *s = NULL;
    struct snug_problem p = problem_of(1);
    p.ref[1] = 0;
    assert_fails(SNUG_BAD_INPUT, snug_strategy_new("snug", &p, &s, &err));
    assert_contains(err.text, "reference 0 of prefill");
    p = problem_of(1);
    p.goal.n_axes = 0;
    assert_fails(SNUG_BAD_INPUT, snug_strategy_new("snug", &p, &s, &err));
    assert_contains(err.text, "limits need the axes");
    p = problem_of(1);
    p.goal.axis[2] = SNUG_AXIS_KLD;
    p.kld = NULL;
    assert_fails(SNUG_BAD_INPUT, snug_strategy_new("snug", &p, &s, &err));
    assert_contains(err.text, "KLD");
    assert_null(s);
}

static void tell_refuses_spreads_that_are_none(void **state)
{
    (void)state;
    struct snug_error err = {0};
    EACH_STRATEGY(row)
    {
        struct snug_strategy *s = NULL;
        struct snug_problem p = problem_of(1);
        assert_ok(snug_strategy_new(row->name, &p, &s, &err));
        const struct snug_observation good = run(&p.base);
        struct snug_observation bad = good;
        bad.axis[1].log_sd = (double)NAN;
        assert_fails(SNUG_BAD_INPUT, snug_strategy_tell(s, &bad, &err));
        bad = good;
        bad.limited[SNUG_LIMIT_TTFT].log_sd = -1;
        assert_fails(SNUG_BAD_INPUT, snug_strategy_tell(s, &bad, &err));
        assert_int_equal(s->n_told, 0);
        assert_ok(snug_strategy_tell(s, &good, &err));
        snug_strategy_free(s);
    }
}

/* A figure that is not known makes no point, and teaches nothing. */
static void tell_takes_trials_whose_figures_are_not_known(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct snug_strategy *s = NULL;
    struct snug_config config;
    size_t index[4], n = 9;
    double speed[4];
    struct snug_problem p = problem_of(1);
    assert_ok(snug_strategy_new("snug", &p, &s, &err));
    struct snug_observation o = run(&p.base);
    o.axis[1].value = (double)NAN;
    assert_ok(snug_strategy_tell(s, &o, &err));
    assert_ok(snug__strategy_front(s, index, speed, &n, &err));
    assert_int_equal(n, 0);
    for (int i = 0; i < 6; i++) {
        assert_ok(snug_strategy_ask(s, &config, NULL, &err));
        o = run(&config);
        if (i < 3)
            o.limited[SNUG_LIMIT_TTFT].value = 0;
        assert_ok(snug_strategy_tell(s, &o, &err));
    }
    snug_strategy_free(s);
}

static void declared_front_keeps_limits_and_dominates_nothing_of_itself(void **state)
{
    (void)state;
    struct snug_error err = {0};
    EACH_STRATEGY(row)
    {
        struct snug_strategy *s = NULL;
        size_t index[32], n = 0;
        double speed[32];
        struct snug_problem p = problem_of(3);
        struct snug_config config = p.base;
        assert_ok(snug_strategy_new(row->name, &p, &s, &err));
        for (int i = 0; i < 24; i++) {
            const struct snug_observation o = run(&config);
            assert_ok(snug_strategy_tell(s, &o, &err));
            if (snug_strategy_ask(s, &config, NULL, &err) != SNUG_OK)
                break;
        }
        assert_ok(snug__strategy_front(s, index, speed, &n, &err));
        assert_true(n > 1);
        for (size_t k = 0; k < n; k++)
            assert_true(s->told[index[k]].limited[SNUG_LIMIT_TTFT].value <= 0.7);
        snug_strategy_free(s);
    }
}

/* A single axis: the front is one point, the fastest. */
static void goal_of_one_axis_finds_its_best(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct snug_strategy *s = NULL;
    size_t index[32], n = 0;
    double speed[32];
    struct snug_problem p = problem_of(5);
    p.goal = (struct snug_goal){.axis = {SNUG_AXIS_DECODE}, .n_axes = 1};
    struct snug_config config = p.base;
    assert_ok(snug_strategy_new("snug", &p, &s, &err));
    for (int i = 0; i < 14; i++) {
        const struct snug_observation o = run(&config);
        assert_ok(snug_strategy_tell(s, &o, &err));
        if (snug_strategy_ask(s, &config, NULL, &err) != SNUG_OK)
            break;
    }
    assert_ok(snug__strategy_front(s, index, speed, &n, &err));
    assert_int_equal(n, 1);
    assert_int_equal(s->told[index[0]].config.value[0], 6);
    snug_strategy_free(s);
}

static void resumed_strategy_gives_the_same_trace(void **state)
{
    (void)state;
    struct snug_error err = {0};
    EACH_STRATEGY(row)
    {
        struct snug_strategy *whole = NULL;
        struct snug_config config;
        struct snug_observation told[12];
        const struct snug_problem p = problem_of(4);
        assert_ok(snug_strategy_new(row->name, &p, &whole, &err));
        for (size_t n = 0; n < COUNT(told); n++) {
            struct snug_strategy *resumed = NULL;
            struct snug_config again;
            assert_ok(snug_strategy_ask(whole, &config, NULL, &err));
            assert_ok(snug_strategy_new(row->name, &p, &resumed, &err));
            for (size_t i = 0; i < n; i++)
                assert_ok(snug_strategy_tell(resumed, &told[i], &err));
            assert_ok(snug_strategy_ask(resumed, &again, NULL, &err));
            assert_true(snug_config_equal(&SPACE, &config, &again));
            snug_strategy_free(resumed);
            told[n] = run(&config);
            assert_ok(snug_strategy_tell(whole, &told[n], &err));
        }
        snug_strategy_free(whole);
    }
}

static snug_status short_session(struct snug_error *err)
{
    struct snug_problem p = problem_of(2);
    struct snug_strategy *s = NULL;
    struct snug_config config = p.base;
    snug_status status = snug_strategy_new("snug", &p, &s, err);
    for (int i = 0; status == SNUG_OK && i < 8; i++) {
        const struct snug_observation o = run(&config);
        status = snug_strategy_tell(s, &o, err);
        if (status == SNUG_OK)
            status = snug_strategy_ask(s, &config, NULL, err);
    }
    snug_strategy_free(s);
    return status == SNUG_NOT_FOUND ? SNUG_OK : status;
}

static void failed_allocations_do_no_harm(void **state)
{
    (void)state;
    struct snug_error err = {0};
    long n_failed = 0;
    assert_ok(short_session(&err)); /* BLAS allocates on first use */
    for (long n = 0;; n += n < 60 ? 1 : 7) {
        struct snug_error why = {0};
        fault_begin(n);
        const snug_status status = short_session(&why);
        if (!fault_end())
            break;
        assert_true(status == SNUG_OK || status == SNUG_NO_MEMORY);
        assert_true(status == SNUG_OK || why.text[0]);
        n_failed += status != SNUG_OK;
    }
    assert_true(n_failed >= 8); /* strategy, told, state, pool, processes, front, boxes */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goal_without_what_it_needs_is_refused),
        cmocka_unit_test(tell_refuses_spreads_that_are_none),
        cmocka_unit_test(tell_takes_trials_whose_figures_are_not_known),
        cmocka_unit_test(declared_front_keeps_limits_and_dominates_nothing_of_itself),
        cmocka_unit_test(goal_of_one_axis_finds_its_best),
        cmocka_unit_test(resumed_strategy_gives_the_same_trace),
        cmocka_unit_test(failed_allocations_do_no_harm),
    };
    return cmocka_run_group_tests_name("strategy_goal", tests, NULL, NULL);
}
