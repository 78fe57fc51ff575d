/* Rows that change nothing: frozen when enough was seen, and only those. */
#include "test.h"

#include <math.h>

#include "cpu_task.h"
#include "tune/inert.h"

static const struct snug_goal PLAIN = {.n_axes = 0};

enum { N = 300 }; /* few enough for the cap of tells, and enough to be sure */

/* Random trials of a task in which polling and NUMA change nothing, or NUMA much. Another speed,
 * which counts by the goal alone, depends on polling. */
static struct snug_strategy *tell_random(struct cpu_task *task, double numa_gain,
                                         const struct snug_goal *goal, int n)
{
    struct snug_error err = {0};
    struct snug_strategy *s = NULL;
    struct snug_rng rng;
    cpu_task_init(task, 11);
    task->noise_sd = 0.01;
    task->poll_gain = 0;
    task->numa_gain[1] = numa_gain;
    task->numa_gain[2] = -numa_gain;
    struct snug_problem p = cpu_task_problem(task, 3, 64);
    p.goal = *goal;
    p.ref[0] = p.ref[1] = p.ref[2] = 1;
    struct snug_config config = p.base;
    snug_rng_init(&rng, 3);
    assert_ok(snug_strategy_new("random", &p, &s, &err));
    for (int i = 0; i < n; i++) {
        struct snug_observation o = cpu_task_run(task, &config, &rng);
        o.axis[0].value = o.speed;
        o.axis[1].value = 10 * exp(0.01 * (double)config.value[CPU_POLL]);
        o.limited[SNUG_LIMIT_TTFT].value = 1 / o.axis[1].value;
        assert_ok(snug_strategy_tell(s, &o, &err));
        assert_ok(snug_strategy_ask(s, &config, NULL, &err));
    }
    return s;
}

/* Rows and dimensions of this task are the same: all are tuned. */
static void row_is_frozen_when_it_changes_neither_speed_nor_bytes(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct cpu_task task;
    struct snug__inert inert;
    struct snug_strategy *s = tell_random(&task, 0, &PLAIN, N);
    assert_int_equal(s->lattice.n_dims, CPU_N_ROWS);
    assert_ok(snug__inert_learn(&inert, s, &err));
    assert_true(inert.is_frozen[CPU_POLL] && inert.is_frozen[CPU_NUMA]);
    assert_false(inert.is_frozen[CPU_THREADS]);
    assert_false(inert.is_frozen[CPU_MMAP]); /* 20 MiB, and no speed */
    assert_false(inert.is_frozen[CPU_UBATCH]);
    struct snug_config config = s->told[0].config;
    for (int d = 0; d < CPU_N_ROWS; d++)
        if (inert.is_frozen[d])
            config.value[d] = inert.value[d];
    assert_true(snug__inert_allows(&inert, &s->lattice, &config));
    config.value[CPU_NUMA] = (config.value[CPU_NUMA] + 1) % 3;
    assert_false(snug__inert_allows(&inert, &s->lattice, &config));
    snug_strategy_free(s);
}

static void row_comes_back_when_it_is_seen_to_matter(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct cpu_task task;
    struct snug__inert inert;
    struct snug_strategy *s = tell_random(&task, 0.8, &PLAIN, N);
    assert_ok(snug__inert_learn(&inert, s, &err));
    assert_false(inert.is_frozen[CPU_NUMA]);
    snug_strategy_free(s);
}

static void row_that_matters_for_another_axis_or_a_limit_stays_free(void **state)
{
    (void)state;
    static const struct snug_goal goals[] = {
        {.axis = {SNUG_AXIS_DECODE, SNUG_AXIS_PREFILL, SNUG_AXIS_MEMORY}, .n_axes = 3},
        {.axis = {SNUG_AXIS_DECODE, SNUG_AXIS_MEMORY},
         .n_axes = 2,
         .limit = {[SNUG_LIMIT_TTFT] = 1}}};
    for (size_t i = 0; i < COUNT(goals); i++) {
        struct snug_error err = {0};
        struct cpu_task task;
        struct snug__inert inert;
        struct snug_strategy *s = tell_random(&task, 0, &goals[i], N);
        assert_ok(snug__inert_learn(&inert, s, &err));
        assert_true(inert.is_frozen[CPU_NUMA]);
        assert_false(inert.is_frozen[CPU_POLL]);
        snug_strategy_free(s);
    }
}

static void nothing_is_frozen_while_trials_are_few(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct cpu_task task;
    struct snug__inert inert;
    struct snug_strategy *s = tell_random(&task, 0, &PLAIN, 11);
    assert_ok(snug__inert_learn(&inert, s, &err));
    assert_int_equal(inert.n_frozen, 0);
    assert_true(snug__inert_allows(&inert, &s->lattice, &s->told[3].config));
    snug_strategy_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_is_frozen_when_it_changes_neither_speed_nor_bytes),
        cmocka_unit_test(row_comes_back_when_it_is_seen_to_matter),
        cmocka_unit_test(row_that_matters_for_another_axis_or_a_limit_stays_free),
        cmocka_unit_test(nothing_is_frozen_while_trials_are_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
