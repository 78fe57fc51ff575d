/* The front of a session on a replayed table, measured again after the search: what is declared,
 * what is in the store, what the budgets hold, and how a stopped session goes on. */
#include "table_session.h"

#include <math.h>

#include "base/buffer.h"
#include "tune/strategy.h"

/* Three threads are fast and need most memory; two only look good the first time they are asked,
 * whichever repetition that is, so they are told as what they are by the median of all. */
#define LINE(threads, rep, decode, cache)                                                          \
    "{\"config\":{\"threads\":" #threads ",\"repack\":\"off\"},\"rep\":" #rep                      \
    ",\"outcome\":\"ok\",\"prefill_block_tps\":[100,101,102],\"decode_block_tps\":[" #decode "]"   \
    ",\"bytes\":{\"weights\":1000,\"cache\":" #cache ",\"compute\":30,\"device\":0}"               \
    ",\"wall_s\":3,\"setup_s\":2}\n"
#define BODY                                                                                       \
    LINE(1, 0, 10, 100)                                                                            \
    LINE(1, 1, 10.1, 100)                                                                          \
    LINE(1, 2, 10.2, 100)                                                                          \
    LINE(2, 0, 14.1, 200)                                                                          \
    LINE(2, 1, 14.3, 200)                                                                          \
    LINE(2, 2, 14.2, 200)                                                                          \
    LINE(3, 0, 20.0, 300)                                                                          \
    LINE(3, 1, 20.2, 300)                                                                          \
    LINE(3, 2, 20.1, 300)
#define N_LINES 9

struct watch {
    int n_front, stop_at;   /* stop at so many begun of the front; 0: never */
    const char *objectives; /* NULL: decode */
    bool has_ladder;
    double time_s;
    int n_probes, stop_at_probe; /* stop when so many have ended; 0: never */
    volatile int stop;
};

static void on_event(const struct snug_tune_event *event, void *data)
{
    struct watch *watch = data;
    if (event->kind == SNUG_TUNE_END && strcmp(event->role, "probe") == 0) {
        assert_true(event->trial->rung == 1 && event->trial->speed == 0);
        assert_int_equal(event->trial->measurement.n_prefill_blocks, 1);
        watch->n_probes++;
        if (watch->n_probes == watch->stop_at_probe)
            watch->stop = 1;
    }
    if (event->kind != SNUG_TUNE_FRONT)
        return;
    assert_non_null(event->config);
    assert_true(event->n_done < event->n_planned);
    watch->n_front++;
    if (watch->n_front == watch->stop_at)
        watch->stop = 1;
}

struct stored {
    int n_front, n_search, n_probes;
};

static bool count(const struct snug_trial_view *view, void *data)
{
    struct stored *stored = data;
    stored->n_front += strcmp(view->role, "front") == 0;
    stored->n_search += strcmp(view->role, "search") == 0;
    stored->n_probes += strcmp(view->role, "probe") == 0;
    return true;
}

/* Returns how many of each role the store has of the session. */
static struct stored tune(void **state, const char *store_name, int n_front_trials, bool is_resumed,
                          struct watch *watch, struct snug_tune_result *out)
{
    struct snug_error err = {0};
    struct table_session s;
    struct stored stored = {0};
    table_session_open(state, store_name, table_text(TABLE_HEAD, BODY, N_LINES), &s);
    assert_ok(
        snug_goal_parse(watch->objectives ? watch->objectives : "decode", &s.tune.goal, &err));
    s.tune.n_front_trials = n_front_trials;
    s.tune.has_ladder = watch->has_ladder;
    s.tune.time_s = watch->time_s;
    s.tune.is_resumed = is_resumed;
    s.tune.stop = &watch->stop;
    s.tune.on_event = on_event;
    s.tune.event_data = watch;
    assert_ok(snug_tune_run(&s.tune, out, &err));
    const struct snug_trial_filter filter = {.session_id = out->session_id};
    assert_ok(snug_store_trials(s.tune.store, &filter, count, &stored, &err));
    table_session_close(&s);
    return stored;
}

static void front_is_declared_by_medians_once_its_order_is_known(void **state)
{
    struct snug_tune_result r;
    struct watch watch = {0};
    const struct stored stored = tune(state, "a.db", 30, false, &watch, &r);
    assert_true(r.is_order_known);
    assert_int_equal(r.n_members, 3);
    assert_int_equal(r.n_repeats, 9); /* three rounds, and the search's own are not among them */
    assert_int_equal(stored.n_front, 9);
    assert_int_equal(watch.n_front, 9);
    for (int i = 0; i < 3; i++) {
        const struct snug_tune_member *m = &r.members[i];
        assert_int_equal(m->n_repeats, 3);
        assert_int_equal(r.trials[m->i_trial].config.value[0], i + 1);
        assert_true(m->speed.lo <= m->speed.mid && m->speed.mid <= m->speed.hi);
    }
    assert_true(fabs(r.members[2].speed.mid - 20.1) < 1e-6);
    assert_int_equal(r.i_best, r.members[2].i_trial);
    for (int i = 0; i < r.n_trials; i++)
        assert_string_not_equal(r.trials[i].role, "front");
    snug_tune_result_clear(&r);
}

static void front_trials_stop_at_their_budget(void **state)
{
    struct snug_tune_result r;
    struct watch watch = {0};
    const struct stored stored = tune(state, "b.db", 4, false, &watch, &r);
    assert_int_equal(r.n_repeats, 4);
    assert_int_equal(stored.n_front, 4);
    assert_false(r.is_order_known);
    assert_int_equal(r.n_members, 3);
    snug_tune_result_clear(&r);
    const struct stored none = tune(state, "c.db", 0, false, &watch, &r);
    assert_int_equal(none.n_front, 0);
    assert_int_equal(r.n_members, 0);
    snug_tune_result_clear(&r);
}

/* The default is measured all the same: there is no session without it. */
static void time_that_is_over_ends_the_search_and_the_front(void **state)
{
    struct snug_tune_result r;
    struct watch watch = {.time_s = 1e-9};
    const struct stored stored = tune(state, "g.db", 30, false, &watch, &r);
    assert_int_equal(stored.n_search + stored.n_front, 0);
    assert_non_null(strstr(r.end_reason, "over"));
    assert_int_equal(r.n_members, 1);
    snug_tune_result_clear(&r);
}

/* A fifth of the time is kept for a front that is measured again, and only for such a one. */
static void time_of_a_front_is_kept_where_there_is_one(void **state)
{
    static const struct {
        const char *objectives, *searched;
    } cases[] = {{"decode", "80.0 us"}, {"decode,prefill", "100 us"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct snug_tune_result r;
        struct watch watch = {.objectives = cases[i].objectives, .time_s = 1e-4};
        (void)tune(state, cases[i].objectives, 30, false, &watch, &r);
        assert_contains(r.end_reason, cases[i].searched);
        snug_tune_result_clear(&r);
    }
}

/* Stopped in the middle of a round: what was measured counts, and is not measured again. */
static void stopped_front_goes_on_where_it_was(void **state)
{
    struct snug_tune_result r;
    struct watch watch = {.stop_at = 5};
    struct stored stored = tune(state, "d.db", 30, false, &watch, &r);
    assert_true(r.is_stopped);
    assert_int_equal(stored.n_front, 5);
    const int n_search = stored.n_search, n_trials = r.n_trials;
    snug_tune_result_clear(&r);
    watch = (struct watch){0};
    stored = tune(state, "d.db", 30, true, &watch, &r);
    assert_false(r.is_stopped);
    assert_true(r.is_order_known);
    assert_int_equal(r.n_trials, n_trials);
    assert_int_equal(stored.n_search, n_search);
    assert_int_equal(stored.n_front, 5 + watch.n_front);
    assert_int_equal(r.n_repeats, stored.n_front);
    assert_true(stored.n_front < 5 + 9);
    snug_tune_result_clear(&r);
}

/* While the model knows nothing every trial goes on: two configs beside the default, each begun. */
static void trials_on_a_ladder_begin_low_and_only_full_ones_are_results(void **state)
{
    struct snug_tune_result r;
    struct watch watch = {.has_ladder = true};
    const struct stored stored = tune(state, "e.db", 0, false, &watch, &r);
    assert_int_equal(stored.n_search, 2);
    assert_int_equal(stored.n_probes, 2);
    assert_int_equal(r.n_trials, 5);
    assert_int_equal(r.trials[r.i_best].config.value[0], 3);
    assert_int_equal(r.trials[r.i_best].rung, 0);
    assert_true(r.trials[4].hypervolume > r.trials[0].hypervolume);
    snug_tune_result_clear(&r);
}

struct rungs {
    int n_low[3], n_full, n_told; /* n_low by rung */
    bool is_in_order;             /* each config: rung 1 first, and no rung twice */
};

static bool count_rungs(const struct snug_trial_view *view, void *data)
{
    struct rungs *rungs = data;
    rungs->n_low[1] += strcmp(view->role, "probe") == 0;
    rungs->n_low[2] += strcmp(view->role, "probe64") == 0;
    rungs->n_full += strcmp(view->role, "search") == 0;
    rungs->is_in_order &= rungs->n_low[2] <= rungs->n_low[1] && rungs->n_full <= rungs->n_low[1];
    rungs->n_told++;
    return true;
}

/* Many configs of a workload of 256 tokens: some end at 16, some are looked at with 64 too, and a
 * stopped session goes on with what it has begun, once at each rung. */
static void ladder_of_a_long_workload_has_two_low_rungs(void **state)
{
    enum { N_CONFIGS = 64 };
    struct snug_error err = {0};
    struct snug_buffer body = {0};
    const struct snug_workload workload = {
        .n_prompt = 64, .n_gen = 256, .n_parallel = 1, .n_ctx = 512};
    struct rungs rungs[2] = {{.is_in_order = true}, {.is_in_order = true}};
    for (int i = 1; i <= N_CONFIGS; i++)
        for (int rep = 0; rep < 3; rep++) {
            const double top = 20 - 0.01 * (i - 40) * (i - 40) + 0.4 * ((i * 7 + rep * 3) % 5);
            snug_buffer_printf(&body,
                               "{\"config\":{\"threads\":%d},\"rep\":%d,\"outcome\":\"ok\","
                               "\"prefill_block_tps\":[900,910,905],"
                               "\"decode_block_tps\":[%.2f,%.2f,%.2f],"
                               "\"bytes\":{\"weights\":1000},\"wall_s\":30,\"setup_s\":0.1}\n",
                               i, rep, top, top + 0.2, top - 0.1);
        }
    for (int resumed = 0; resumed < 2; resumed++) {
        struct table_session s;
        struct snug_tune_result r;
        table_session_open_of(state, "r.db",
                              table_text("\"snug_table\":1,\"name\":\"long\",\"space\":[{"
                                         "\"name\":\"threads\",\"kind\":\"int\",\"min\":1,"
                                         "\"max\":64,\"step\":1,\"default\":1}],\"workloads\":[{"
                                         "\"n_prompt\":64,\"n_gen\":256,\"n_ctx\":512}],"
                                         "\"estimate_s\":0.5",
                                         snug_buffer_text(&body), 3 * N_CONFIGS),
                              workload, &s);
        struct watch watch = {.stop_at_probe = resumed ? 0 : 4};
        s.tune.has_ladder = true;
        s.tune.n_trials = 24;
        s.tune.is_resumed = resumed;
        s.tune.stop = &watch.stop;
        s.tune.on_event = on_event;
        s.tune.event_data = &watch;
        assert_ok(snug_tune_run(&s.tune, &r, &err));
        assert_int_equal(r.is_stopped, !resumed);
        const struct snug_trial_filter filter = {.session_id = r.session_id};
        assert_ok(snug_store_trials(s.tune.store, &filter, count_rungs, &rungs[resumed], &err));
        assert_true(rungs[resumed].is_in_order);
        for (int i = 0; i < r.n_trials; i++)
            for (int k = 0; k < i; k++)
                assert_true(r.trials[i].rung != r.trials[k].rung ||
                            r.trials[i].config.value[0] != r.trials[k].config.value[0]);
        assert_int_equal(r.trials[r.i_best].rung, 0);
        snug_tune_result_clear(&r);
        table_session_close(&s);
    }
    snug_buffer_clear(&body);
    assert_int_equal(rungs[0].n_low[1], 4);
    assert_true(rungs[1].n_low[2] > 0);
    assert_true(rungs[1].n_full > 0 && rungs[1].n_full < rungs[1].n_low[1]);
    assert_true(rungs[1].n_told > rungs[0].n_told);
}

static void probe_of_a_stopped_session_is_not_made_again(void **state)
{
    struct snug_tune_result r;
    struct watch watch = {.has_ladder = true, .stop_at_probe = 1};
    struct stored stored = tune(state, "f.db", 0, false, &watch, &r);
    assert_true(r.is_stopped && stored.n_probes == 1 && stored.n_search == 0);
    snug_tune_result_clear(&r);
    watch = (struct watch){.has_ladder = true};
    stored = tune(state, "f.db", 0, true, &watch, &r);
    assert_int_equal(stored.n_probes, 2);
    assert_int_equal(stored.n_search, 2);
    assert_int_equal(r.trials[r.i_best].config.value[0], 3);
    snug_tune_result_clear(&r);
}

/* 300 configs, each begun and then measured in full, are more than a strategy keeps. */
static void trials_end_where_no_more_are_learned_from(void **state)
{
    enum { N_CONFIGS = 300 };
    struct snug_buffer body = {0};
    struct table_session s;
    struct snug_tune_result r;
    struct snug_error err = {0};
    for (int i = 1; i <= N_CONFIGS; i++)
        snug_buffer_printf(&body,
                           "{\"config\":{\"threads\":%d},\"rep\":0,\"outcome\":\"ok\","
                           "\"prefill_block_tps\":[100,101],\"decode_block_tps\":[10,11],"
                           "\"bytes\":{\"weights\":1000},\"wall_s\":3}\n",
                           i);
    table_session_open(state, "h.db",
                       table_text("\"snug_table\":1,\"name\":\"many\",\"space\":[{\"name\":"
                                  "\"threads\",\"kind\":\"int\",\"min\":1,\"max\":300,\"step\":1,"
                                  "\"default\":1}],\"workloads\":[{\"n_prompt\":64,\"n_gen\":16,"
                                  "\"n_ctx\":128}],\"estimate_s\":0.5",
                                  snug_buffer_text(&body), N_CONFIGS),
                       &s);
    s.tune.strategy = "random";
    s.tune.has_ladder = true;
    s.tune.n_trials = 500;
    assert_ok(snug_tune_run(&s.tune, &r, &err));
    assert_int_equal(r.n_trials, SNUG_STRATEGY_TELLS_MAX - 1); /* the default, and pairs */
    assert_contains(r.end_reason, "no more are learned from");
    snug_tune_result_clear(&r);
    table_session_close(&s);
    snug_buffer_clear(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(front_is_declared_by_medians_once_its_order_is_known,
                                        test_folder_open, test_folder_close),
        cmocka_unit_test_setup_teardown(front_trials_stop_at_their_budget, test_folder_open,
                                        test_folder_close),
        cmocka_unit_test_setup_teardown(time_that_is_over_ends_the_search_and_the_front,
                                        test_folder_open, test_folder_close),
        cmocka_unit_test_setup_teardown(time_of_a_front_is_kept_where_there_is_one,
                                        test_folder_open, test_folder_close),
        cmocka_unit_test_setup_teardown(stopped_front_goes_on_where_it_was, test_folder_open,
                                        test_folder_close),
        cmocka_unit_test_setup_teardown(trials_on_a_ladder_begin_low_and_only_full_ones_are_results,
                                        test_folder_open, test_folder_close),
        cmocka_unit_test_setup_teardown(ladder_of_a_long_workload_has_two_low_rungs,
                                        test_folder_open, test_folder_close),
        cmocka_unit_test_setup_teardown(trials_end_where_no_more_are_learned_from, test_folder_open,
                                        test_folder_close),
        cmocka_unit_test_setup_teardown(probe_of_a_stopped_session_is_not_made_again,
                                        test_folder_open, test_folder_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
