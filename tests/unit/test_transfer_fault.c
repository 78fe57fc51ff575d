/* Past tasks when memory runs out at any allocation: a clean failure, or less knowledge. */
#include "fault.h"
#include "store.h"

#include <math.h>

#include "cpu_task.h"
#include "tune/past_tasks.h"
#include "tune/strategies/snug_model.h"

/* A problem whose past is eight trials of the same task; all lasts as long as the test. */
struct with_past {
    struct cpu_task task;
    struct snug_observation trials[8];
    struct snug_past past;
    struct snug_problem problem;
};

static void open_with_past(struct with_past *w)
{
    struct snug_rng rng;
    cpu_task_init(&w->task, 2);
    w->problem = cpu_task_problem(&w->task, 1, 16);
    snug_rng_init(&rng, 3);
    for (int i = 0; i < 8; i++) {
        struct snug_config config = w->problem.base;
        config.value[CPU_THREADS] = 1 + i;
        w->trials[i] = cpu_task_run(&w->task, &config, &rng);
        w->trials[i].axis[0] = w->trials[i].axis[1] = (struct snug_told){w->trials[i].speed, 0};
    }
    w->past = (struct snug_past){
        .space = &w->task.space, .trials = w->trials, .n_trials = 8, .similarity = 1};
    w->problem.pasts = &w->past;
    w->problem.n_pasts = 1;
}

static void transfer_fails_cleanly_at_every_allocation(void **state)
{
    (void)state;
    static struct with_past w;
    struct snug__lattice lattice;
    open_with_past(&w);
    snug__lattice_init(&lattice, &w.task.space, &w.problem.base);
    long n = 0;
    for (bool is_hit = true; is_hit; n++) {
        struct snug_error err = {0};
        struct snug__transfer *t = NULL;
        double x[2 * SNUG_KNOBS_MAX] = {0}, e[2];
        fault_begin(n);
        snug_status status = snug__transfer_new(&w.problem, &lattice, &t, &err);
        if (status == SNUG_OK)
            status = snug__transfer_keep(t, x, 2, &err);
        if (status == SNUG_OK)
            status = snug__transfer_expect(t, x, 2, e, &err);
        is_hit = fault_end();
        snug__transfer_free(t);
        assert_true(status == SNUG_OK || (is_hit && status == SNUG_NO_MEMORY));
    }
    assert_true(n > 20);
}

/* Learning of one trial fails somewhere, of speed or of another axis; the next one takes its place
 * in what the past expects of each. */
static void tell_that_fails_leaves_the_past_in_step(void **state)
{
    (void)state;
    static struct with_past w;
    open_with_past(&w);
    struct snug_problem *p = &w.problem;
    p->goal = (struct snug_goal){.axis = {SNUG_AXIS_DECODE, SNUG_AXIS_PREFILL, SNUG_AXIS_MEMORY},
                                 .n_axes = 3};
    p->ref[0] = p->ref[1] = 1;
    p->ref[2] = (double)p->bounds.bytes_ref;
    long n = 0;
    for (bool is_hit = true; is_hit; n++) {
        struct snug_error err = {0};
        struct snug_strategy *s = NULL;
        double expected[4];
        assert_ok(snug_strategy_new("snug", p, &s, &err));
        for (int i = 0; i < 3; i++)
            assert_ok(snug_strategy_tell(s, &w.trials[i], &err));
        fault_begin(n);
        const snug_status status = snug_strategy_tell(s, &w.trials[7], &err);
        is_hit = fault_end();
        const struct snug__model_state *st = s->state;
        if (status != SNUG_OK) {
            assert_true(is_hit && status == SNUG_NO_MEMORY);
            assert_ok(snug_strategy_tell(s, &w.trials[3], &err));
        }
        assert_int_equal(snug_gp_n(st->gp), 4);
        assert_ok(snug__transfer_expect(st->transfer, st->x, 4, expected, &err));
        for (int i = 0; i < 4; i++)
            assert_true(fabs(snug__transfer_told(st->transfer, i) - expected[i]) < 1e-9);
        snug_strategy_free(s);
    }
    assert_true(n > 10);
}

static void past_tasks_fail_cleanly_at_every_allocation(void **state)
{
    struct snug_store *store = NULL;
    struct snug__descriptor here;
    struct snug_error err = {0};
    int64_t task = 0, id = 0;
    assert_ok(snug_store_open(test_path(state, "h.db"), &store, &err));
    assert_ok(store_task(store, &task, &err));
    const struct snug_measurement m = store_measurement();
    for (int i = 0; i < 4; i++)
        assert_ok(store_add(store, task, 0, &m, &id, &err));
    const struct snug__descriptor_parts parts = {.workload = &STORE_WORKLOAD};
    snug__descriptor_init(&here, &parts);
    const struct snug__past_query query = {.store = store,
                                           .space = &STORE_SPACE,
                                           .here = &here,
                                           .machine_fingerprint = "f1",
                                           .objective = SNUG_OBJECTIVE_DECODE};
    int n_found = 0;
    long n = 0;
    for (bool is_hit = true; is_hit; n++) {
        struct snug__past_tasks found = {.n = -1};
        fault_begin(n);
        const snug_status status = snug__past_tasks_find(&query, &found, &err);
        is_hit = fault_end();
        if (status != SNUG_OK) {
            assert_true(is_hit && found.n == -1);
            continue;
        }
        n_found = found.n;
        snug__past_tasks_clear(&found);
    }
    assert_int_equal(n_found, 1); /* once nothing failed */
    assert_true(n > 20);
    snug_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transfer_fails_cleanly_at_every_allocation),
        cmocka_unit_test(tell_that_fails_leaves_the_past_in_step),
        cmocka_unit_test_setup_teardown(past_tasks_fail_cleanly_at_every_allocation,
                                        test_folder_open, test_folder_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
