/* What is known of a task, seen by a goal with limits: which trials can break one. */
#include "store.h"

#include "cli/known.h"

struct trial {
    const char *role;
    int64_t n_threads;
    double ttft_s, prefill_tps; /* 0: not timed */
};

/* A task with these trials and a session that ended with a TTFT limit of 0.2 s. */
static void load(const char *path, const struct trial *trials, size_t n, struct known *out)
{
    static const char result[] =
        "{\"objectives\":[\"decode\",\"memory\"],\"limits\":{\"max-ttft\":0.2}}";
    const struct cli_args args = {0};
    struct snug_store *store = NULL;
    struct snug_error err = {0};
    int64_t task = 0, session = 0, id = 0;
    assert_ok(snug_store_open(path, &store, &err));
    assert_ok(store_task(store, &task, &err));
    assert_ok(snug_store_session(store, task, "tune", "{}", &session, &err));
    for (size_t i = 0; i < n; i++) {
        const struct snug_config config = {{trials[i].n_threads, 1, 0}};
        const struct snug_measurement m = {.outcome = SNUG_TRIAL_OK,
                                           .ttft_s = trials[i].ttft_s,
                                           .prefill_tps = trials[i].prefill_tps,
                                           .decode_tps = 10,
                                           .bytes = {.weights = 1000}};
        assert_ok(snug_store_trial_add(store, task, session, trials[i].role, "snug", &STORE_SPACE,
                                       &config, &m, &id, &err));
    }
    assert_ok(snug_store_session_finish(store, session, result, &err));
    *out = (struct known){.task_id = task, .workload = STORE_WORKLOAD};
    assert_ok(known_load(&args, store, out, &err));
    snug_store_close(store);
}

/* A short trial for decode times no prompt; what was only begun was cold. */
static void trials_that_did_not_time_a_limit_do_not_break_it(void **state)
{
    static const struct trial trials[] = {
        {"default", 2, 0.1, 100}, {"probe", 2, 0.5, 20}, {"front", 2, 0, 0}, {"confirm", 2, 0, 0}};
    struct known k;
    load(test_path(state, "h.db"), trials, COUNT(trials), &k);
    assert_true(k.goal.limit[SNUG_LIMIT_TTFT] > 0.19);
    for (int i = 0; i < k.n_trials; i++)
        assert_true(k.trials[i].is_safe);
    assert_true(k.trials[0].on_front);
    known_close(&k);
}

static void short_trial_past_a_limit_breaks_it_for_its_config(void **state)
{
    static const char *const roles[] = {"front", "confirm", "search"};
    for (size_t r = 0; r < COUNT(roles); r++) {
        const struct trial trials[] = {
            {"default", 2, 0.1, 100}, {"search", 3, 0.1, 100}, {roles[r], 3, 0.3, 40}};
        struct known k;
        load(test_path(state, roles[r]), trials, COUNT(trials), &k);
        assert_true(k.trials[0].is_safe);
        assert_false(k.trials[1].is_safe || k.trials[1].on_front);
        known_close(&k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(trials_that_did_not_time_a_limit_do_not_break_it,
                                        test_folder_open, test_folder_close),
        cmocka_unit_test_setup_teardown(short_trial_past_a_limit_breaks_it_for_its_config,
                                        test_folder_open, test_folder_close),
    };
    return cmocka_run_group_tests_name("known_goal", tests, NULL, NULL);
}
