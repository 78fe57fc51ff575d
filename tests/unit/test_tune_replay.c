/* Whole tuning sessions on a replayed table: no model, the same trials for the same seed, and a
 * default that does not run. */
#include "table_session.h"

#include <math.h>

/* The table of table.h with another default of repack. */
static char *table_with_default(const char *def)
{
    char head[1024];
    snprintf(head, sizeof head, "%s", TABLE_HEAD);
    char *at = strstr(head, "\"off\"");
    assert_non_null(at);
    memcpy(at, def, strlen(def));
    return table_text(head, TABLE_BODY, TABLE_N_LINES);
}

static int n_priors_asked;

/* Two threads are thought to be slower, which they are not. */
static double prior_against_threads(const struct snug_config *config, void *data)
{
    assert_ptr_equal(data, &n_priors_asked);
    n_priors_asked++;
    return log(20.0 / (double)config->value[0]);
}

/* Stop the next session after so many trials, 0: never; go on with the one that was stopped. */
static int stop_after;
static bool is_resumed;
static volatile int stop;

static void on_event(const struct snug_tune_event *event, void *data)
{
    (void)data;
    stop |= event->kind == SNUG_TUNE_END && --stop_after == 0;
}

static void tune(void **state, const char *def, const char *store_name, snug_prior_fn prior,
                 struct snug_tune_result *out)
{
    struct snug_error err = {0};
    struct table_session s;
    table_session_open(state, store_name, table_with_default(def), &s);
    assert_ok(snug_goal_parse("decode", &s.tune.goal, &err));
    s.tune.prior = prior;
    s.tune.prior_data = &n_priors_asked;
    s.tune.is_resumed = is_resumed;
    s.tune.stop = &stop;
    s.tune.on_event = on_event;
    stop = 0;
    assert_ok(snug_tune_run(&s.tune, out, &err));
    table_session_close(&s);
}

static void session_on_a_table_finds_its_best_and_repeats_itself(void **state)
{
    struct snug_tune_result a, b;
    tune(state, "\"off\"", "a.db", NULL, &a);
    tune(state, "\"off\"", "b.db", NULL, &b);
    assert_true(a.i_best >= 0 && a.trials[a.i_best].config.value[0] == 2);
    assert_int_equal(a.n_trials, b.n_trials);
    for (int i = 0; i < a.n_trials; i++) {
        assert_memory_equal(&a.trials[i].config, &b.trials[i].config, sizeof a.trials[i].config);
        assert_true(a.trials[i].speed == b.trials[i].speed &&
                    a.trials[i].measurement.wall_s == b.trials[i].measurement.wall_s);
    }
    snug_tune_result_clear(&a);
    snug_tune_result_clear(&b);
}

/* --fit has no say on a table, so the region is all there is; the search goes on all the same. */
static void session_whose_default_fails_has_a_region_and_goes_on(void **state)
{
    struct snug_tune_result r;
    tune(state, "\"on\" ", "c.db", NULL, &r);
    assert_int_equal(r.trials[r.i_default].measurement.outcome, SNUG_TRIAL_OOM);
    assert_int_equal(r.i_fit, -1);
    assert_true(r.bounds.bytes_ref > 0 && r.bounds.speed_ref > 0);
    assert_true(r.i_best >= 0 && r.trials[r.i_best].config.value[0] == 2);
    snug_tune_result_clear(&r);
}

/* Before the region is fixed nothing has an area; what is taken over must get its own. */
static void resumed_session_whose_default_failed_knows_the_areas_of_its_past(void **state)
{
    enum { N = 2 }; /* the default, and one more than it */
    struct snug_tune_result before, after;
    stop_after = N;
    tune(state, "\"on\" ", "e.db", NULL, &before);
    assert_true(before.is_stopped && before.n_trials == N && before.i_fit == -1);
    is_resumed = true;
    tune(state, "\"on\" ", "e.db", NULL, &after);
    is_resumed = false;
    assert_true(after.n_trials > N && before.trials[N - 1].hypervolume > 0);
    for (int i = 0; i < N; i++)
        assert_true(after.trials[i].hypervolume == before.trials[i].hypervolume);
    snug_tune_result_clear(&before);
    snug_tune_result_clear(&after);
}

static void session_asks_the_prior_it_is_given_and_learns_past_it(void **state)
{
    struct snug_tune_result r;
    n_priors_asked = 0;
    tune(state, "\"off\"", "d.db", prior_against_threads, &r);
    assert_true(n_priors_asked > 0);
    assert_true(r.i_best >= 0 && r.trials[r.i_best].config.value[0] == 2);
    snug_tune_result_clear(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(session_on_a_table_finds_its_best_and_repeats_itself,
                                        test_folder_open, test_folder_close),
        cmocka_unit_test_setup_teardown(session_whose_default_fails_has_a_region_and_goes_on,
                                        test_folder_open, test_folder_close),
        cmocka_unit_test_setup_teardown(
            resumed_session_whose_default_failed_knows_the_areas_of_its_past, test_folder_open,
            test_folder_close),
        cmocka_unit_test_setup_teardown(session_asks_the_prior_it_is_given_and_learns_past_it,
                                        test_folder_open, test_folder_close),
    };
    return cmocka_run_group_tests_name("tune_replay", tests, NULL, NULL);
}
