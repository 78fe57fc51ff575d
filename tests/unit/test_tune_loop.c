/* Whole tuning sessions on a tiny model with the real engine and store: what they leave in the
 * result and in the store, how they end, and how they go on. */
#include "engine.h"
#include "store.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/json.h"
#include "snug/tune_loop.h"
#include "trial/trial_json.h"
#include "tune/session.h"

struct session {
    struct snug_store *store;
    char store_path[600];
    int64_t task_id;
    volatile int stop;
    int stop_after; /* trials that end before the stop flag is set; 0: never */
    int n_begun, n_ended, n_checked;
    const char *limit_file; /* set a file size limit when the first search trial begins */
    struct snug_tune_options options;
};

/* A store of its own for each test, below the group's folder. */
static struct session *open_session(const struct engine_test *t, struct snug_engine *engine,
                                    const char *name)
{
    static struct session s;
    struct snug_error err;
    int64_t machine = 0, model = 0;
    s = (struct session){.task_id = 0};
    snprintf(s.store_path, sizeof s.store_path, "%s/%s.db", t->folder, name);
    assert_ok(snug_store_open(s.store_path, &s.store, &err));
    assert_ok(snug_store_machine(s.store, "f1", "a machine", "{}", &machine, &err));
    assert_ok(snug_store_model(s.store, "h1", "m.gguf", t->path, "{}", &model, &err));
    assert_ok(snug_store_task(s.store, machine, model, &t->workload, snug_engine_build(engine),
                              "idle", &s.task_id, &err));
    s.options = (struct snug_tune_options){.engine = engine,
                                           .store = s.store,
                                           .task_id = s.task_id,
                                           .model_path = t->path,
                                           .workload = t->workload,
                                           .n_trials = 4,
                                           .strategy = "snug",
                                           .seed = 1,
                                           .effort = t->effort,
                                           .stop = &s.stop,
                                           .event_data = &s};
    return &s;
}

static void close_session(struct session *s)
{
    snug_store_close(s->store);
    s->store = NULL;
    engine_test_stop();
    engine_test_no_children();
}

static void on_event(const struct snug_tune_event *event, void *data)
{
    struct session *s = data;
    s->n_begun += event->kind == SNUG_TUNE_BEGIN;
    s->n_ended += event->kind == SNUG_TUNE_END;
    s->n_checked += event->kind == SNUG_TUNE_CONFIRM;
    assert_true((event->kind == SNUG_TUNE_END) == (event->trial != NULL));
    if (s->stop_after && s->n_ended == s->stop_after)
        s->stop = 1;
    if (s->limit_file && event->kind == SNUG_TUNE_BEGIN && strcmp(event->role, "search") == 0) {
        const struct rlimit none = {0, RLIM_INFINITY};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    }
}

/* ---- what a session leaves ---- */

struct stored {
    int n_all, n_search, n_confirm;
    int64_t ids[64];
};

static bool count_trial(const struct snug_trial_view *view, void *data)
{
    struct stored *stored = data;
    stored->n_all++;
    stored->n_confirm += strcmp(view->role, "confirm") == 0;
    if (strcmp(view->role, "search") == 0)
        stored->ids[stored->n_search++ % 64] = view->id;
    return true;
}

static struct stored read_stored(struct session *s, int64_t session_id)
{
    struct snug_error err;
    struct stored stored = {0};
    const struct snug_trial_filter filter = {.session_id = session_id};
    assert_ok(snug_store_trials(s->store, &filter, count_trial, &stored, &err));
    return stored;
}

static void assert_no_config_twice(const struct snug_space *space, const struct snug_tune_result *r)
{
    for (int i = 0; i < r->n_trials; i++) {
        for (int k = 0; k < i; k++) {
            if (strcmp(r->trials[i].role, "search") == 0 &&
                snug_config_equal(space, &r->trials[i].config, &r->trials[k].config))
                fail_msg("trials %d and %d are of one config", k, i);
        }
    }
}

static int count_role(const struct snug_tune_result *r, const char *role)
{
    int n = 0;
    for (int i = 0; i < r->n_trials; i++)
        n += strcmp(r->trials[i].role, role) == 0;
    return n;
}

static void check_result(const struct session *s, const struct snug_tune_result *r)
{
    assert_true(r->session_id > 0);
    assert_int_equal(r->i_default, 0);
    assert_true(r->i_fit == 1 || r->fit_note[0]);
    assert_int_equal(count_role(r, "search"), s->options.n_trials);
    assert_true(r->i_best >= 0 && r->i_pick >= 0);
    assert_true(r->bounds.speed_ref > 0 && r->bounds.bytes_ref > 0);
    double area = 0.0;
    for (int i = 0; i < r->n_trials; i++) {
        const struct snug_tune_trial *trial = &r->trials[i];
        assert_true(trial->speed <= r->trials[r->i_best].speed);
        assert_true(trial->hypervolume >= area && isfinite(trial->hypervolume));
        assert_null(trial->measurement.gaps_s);
        area = trial->hypervolume;
    }
    assert_no_config_twice(snug_engine_space(s->options.engine), r);
}

static void whole_session_is_measured_stored_and_finished(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    const struct snug_engine_options options = engine_test_options(t);
    struct session *s = open_session(t, engine_test_start(&options), "whole");
    struct snug_tune_result r = {0};
    s->options.n_confirm_pairs = 2;
    s->options.on_event = on_event;
    assert_ok(snug_tune_run(&s->options, &r, &err));
    check_result(s, &r);
    assert_false(r.is_stopped);
    assert_string_equal(r.end_reason, "4 trials done");
    assert_int_equal(s->n_begun, r.n_trials);
    assert_int_equal(s->n_ended, r.n_trials);
    const struct stored stored = read_stored(s, r.session_id);
    assert_int_equal(stored.n_search, 4);
    assert_int_equal(stored.n_all - stored.n_confirm, r.n_trials);
    assert_true(r.n_confirm == 0 || stored.n_confirm >= 4); /* two of each pair */
    assert_int_equal(stored.n_confirm, 2 * s->n_checked);
    for (int i = 0; i < r.n_confirm; i++) {
        assert_int_equal(r.confirm[i].n_pairs, 2);
        assert_true(r.confirm[i].ratio.lo <= r.confirm[i].ratio.mid &&
                    r.confirm[i].ratio.mid <= r.confirm[i].ratio.hi);
        if (r.confirm[i].ratio.lo <= 1.0)
            assert_true(r.i_pick != r.i_best); /* not shown: not recommended */
    }
    int64_t session = 0;
    char *json = NULL;
    struct snug_json *doc = NULL;
    assert_ok(snug_store_result(s->store, s->task_id, "tune", &session, &json, &err));
    assert_int_equal(session, r.session_id);
    assert_ok(snug_json_parse("result", json, strlen(json), &doc, &err));
    assert_int_equal(snug_json_get_int(snug_json_root(doc), "pick_trial", 0),
                     r.trials[r.i_pick].id);
    assert_contains(snug_json_get_string(snug_json_root(doc), "command", ""),
                    "llama-server --model");
    snug_json_free(doc);
    free(json);
    snug_tune_result_clear(&r);
    /* finished: nothing to go on with */
    s->options.is_resumed = true;
    assert_fails(SNUG_NOT_FOUND, snug_tune_run(&s->options, &r, &err));
    close_session(s);
}

static void time_limit_ends_the_search(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    const struct snug_engine_options options = engine_test_options(t);
    struct session *s = open_session(t, engine_test_start(&options), "time");
    struct snug_tune_result r = {0};
    s->options.n_trials = 1000;
    s->options.time_s = 1e-6; /* over before the first search trial */
    assert_ok(snug_tune_run(&s->options, &r, &err));
    assert_contains(r.end_reason, "are over");
    assert_int_equal(count_role(&r, "search"), 0);
    assert_int_equal(r.i_default, 0);
    assert_true(r.i_pick >= 0);
    snug_tune_result_clear(&r);
    close_session(s);
}

static void stopped_session_goes_on_to_exactly_its_trials(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    const struct snug_engine_options options = engine_test_options(t);
    struct session *s = open_session(t, engine_test_start(&options), "resume");
    struct snug_tune_result r = {0};
    s->options.on_event = on_event;
    s->stop_after = 4;
    assert_ok(snug_tune_run(&s->options, &r, &err));
    assert_true(r.is_stopped);
    assert_int_equal(r.n_trials, 4);
    assert_contains(r.end_reason, "stopped");
    const int64_t session = r.session_id;
    const struct stored before = read_stored(s, session);
    assert_int_equal(before.n_all, 4);
    snug_tune_result_clear(&r);
    s->stop = 0;
    s->stop_after = 0;
    s->n_begun = 0;
    s->options.is_resumed = true;
    assert_ok(snug_tune_run(&s->options, &r, &err));
    assert_int_equal(r.session_id, session);
    check_result(s, &r);
    assert_int_equal(s->n_begun, r.n_trials - 4); /* only what was missing */
    const struct stored after = read_stored(s, session);
    assert_int_equal(after.n_search, s->options.n_trials);
    assert_int_equal(after.n_all, r.n_trials);
    snug_tune_result_clear(&r);
    close_session(s);
}

/* The flag is set while a trial runs: that trial is lost, and nothing else. */
static void stop_within_a_trial_loses_only_that_one(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    struct session *s = NULL;
    struct snug_engine_options options = engine_test_options(t);
    static volatile int stop;
    stop = 0;
    options.stop = &stop;
    s = open_session(t, engine_test_start(&options), "within");
    struct snug_tune_result r = {0};
    s->options.on_event = on_event;
    s->options.stop = &stop;
    s->options.n_trials = 1;
    stop = 1; /* the first trial is begun and cut */
    assert_ok(snug_tune_run(&s->options, &r, &err));
    assert_true(r.is_stopped && r.n_trials == 0 && r.i_best == -1 && r.i_pick == -1);
    snug_tune_result_clear(&r);
    stop = 0;
    s->options.is_resumed = true;
    assert_ok(snug_tune_run(&s->options, &r, &err));
    check_result(s, &r);
    snug_tune_result_clear(&r);
    close_session(s);
}

static void nothing_to_resume_is_not_found(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    const struct snug_engine_options options = engine_test_options(t);
    struct session *s = open_session(t, engine_test_start(&options), "nothing");
    struct snug_tune_result r = {.n_trials = -7};
    s->options.is_resumed = true;
    assert_fails(SNUG_NOT_FOUND, snug_tune_run(&s->options, &r, &err));
    assert_int_equal(r.n_trials, -7); /* outputs change only on success */
    close_session(s);
}

static void knobs_fixed_by_hand_stay_in_every_trial(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    const struct snug_engine_options options = engine_test_options(t);
    struct session *s = open_session(t, engine_test_start(&options), "fixed");
    const struct snug_space *space = snug_engine_space(s->options.engine);
    const int rows[] = {snug_space_find(space, "n_ubatch"), snug_space_find(space, "flash_attn")};
    struct snug_tune_result r = {0};
    struct snug_config base;
    bool is_fixed[SNUG_KNOBS_MAX] = {false};
    snug_space_default(space, &base);
    base.value[rows[0]] = 48;
    base.value[rows[1]] = 0;
    is_fixed[rows[0]] = is_fixed[rows[1]] = true;
    s->options.base = &base;
    s->options.is_fixed = is_fixed;
    s->options.n_trials = 2;
    assert_ok(snug_tune_run(&s->options, &r, &err));
    assert_true(r.n_trials >= 3);
    for (int i = 0; i < r.n_trials; i++) {
        assert_int_equal(r.trials[i].config.value[rows[0]], 48);
        assert_int_equal(r.trials[i].config.value[rows[1]], 0);
    }
    snug_tune_result_clear(&r);
    close_session(s);
}

static void session_in_which_nothing_fits_ends_without_a_pick(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    struct snug_engine_options options = engine_test_options(t);
    options.memory_limit_bytes = 1 << 20;
    struct session *s = open_session(t, engine_test_start(&options), "unfit");
    struct snug_tune_result r = {0};
    s->options.memory_limit_bytes = options.memory_limit_bytes;
    s->options.n_trials = 2;
    s->options.n_confirm_pairs = 2;
    assert_ok(snug_tune_run(&s->options, &r, &err));
    assert_true(r.i_default == 0 && r.i_best == -1 && r.i_pick == -1 && r.n_confirm == 0);
    assert_int_equal(r.trials[0].measurement.outcome, SNUG_TRIAL_REFUSED);
    assert_contains(r.trials[0].measurement.reason, "the limit is 1 MiB");
    assert_int_equal(count_role(&r, "search"), 0); /* nothing is asked that is known not to fit */
    snug_tune_result_clear(&r);
    close_session(s);
}

static void crashing_trials_do_not_end_the_session(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    struct snug_engine_options options = engine_test_options(t);
    char path[512];
    snprintf(path, sizeof path, "%s/aborts.gguf", t->folder);
    engine_test_aborting(t, path);
    options.model_path = path;
    struct session *s = open_session(t, engine_test_start(&options), "crash");
    struct snug_tune_result r = {0};
    s->options.n_trials = 2;
    s->options.n_confirm_pairs = 2;
    assert_ok(snug_tune_run(&s->options, &r, &err));
    assert_int_equal(r.i_best, -1);
    assert_int_equal(count_role(&r, "search"), 2);
    for (int i = 0; i < r.n_trials; i++) {
        assert_int_equal(r.trials[i].measurement.outcome, SNUG_TRIAL_CRASH);
        assert_contains(r.trials[i].measurement.reason, "GGML_ASSERT");
    }
    assert_int_equal(read_stored(s, r.session_id).n_all, r.n_trials);
    snug_tune_result_clear(&r);
    close_session(s);
}

static void full_disk_surfaces_and_keeps_the_store_whole(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    const struct snug_engine_options options = engine_test_options(t);
    struct session *s = open_session(t, engine_test_start(&options), "full");
    struct snug_tune_result r = {0};
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    s->options.on_event = on_event;
    s->limit_file = s->store_path;
    const snug_status status = snug_tune_run(&s->options, &r, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
    assert_int_equal(status, SNUG_IO);
    assert_contains(err.text, "full.db");
    assert_int_equal(r.n_trials, 0);
    assert_int_equal(store_ask(s->store_path, "SELECT count(*) FROM trials"), s->n_ended);
    assert_store_whole(s->store_path);
    /* with room again it goes on where it was */
    s->limit_file = NULL;
    s->options.is_resumed = true;
    assert_ok(snug_tune_run(&s->options, &r, &err));
    check_result(s, &r);
    snug_tune_result_clear(&r);
    close_session(s);
}

/* Speeds of the confirm trials that ran a config, as the store has them. */
struct confirmed {
    const struct snug_tune_options *options;
    const struct snug_config *config;
    double speeds[64];
    size_t n;
};

static bool take_confirmed(const struct snug_trial_view *view, void *data)
{
    struct confirmed *c = data;
    const struct snug_space *space = snug_engine_space(c->options->engine);
    struct snug_config config;
    struct snug_json *doc = NULL;
    struct snug_error err;
    if (strcmp(view->role, "confirm") != 0)
        return true;
    snug_space_default(space, &config);
    assert_ok(snug_json_parse("c", view->config_json, strlen(view->config_json), &doc, &err));
    assert_ok(snug_config_from_json(snug_json_root(doc), space, true, &config, &err));
    snug_json_free(doc);
    if (snug_config_equal(space, &config, c->config))
        c->speeds[c->n++] = snug_measurement_speed(view->measurement, &c->options->workload,
                                                   SNUG_OBJECTIVE_REQUEST);
    return true;
}

/* What is quoted of both sides is what the check measured, not what came first. */
static void confirmation_quotes_its_own_medians(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    const struct snug_engine_options options = engine_test_options(t);
    struct session *s = open_session(t, engine_test_start(&options), "quotes");
    const struct snug_space *space = snug_engine_space(s->options.engine);
    struct snug_tune_result r = {0};
    assert_ok(snug_tune_run(&s->options, &r, &err));
    assert_int_equal(r.n_confirm, 0);
    for (int i = 0; i < r.n_trials; i++) {
        if (strcmp(r.trials[i].role, "search") == 0 && r.trials[i].speed > 0.0 &&
            !snug_config_equal(space, &r.trials[i].config, &r.trials[r.i_default].config))
            r.i_best = r.i_pick = i;
    }
    s->options.n_confirm_pairs = 6;
    assert_ok(snug__tune_confirm_run(&s->options, &r, &err));
    assert_true(r.n_confirm >= 1);
    const struct snug_trial_filter filter = {.session_id = r.session_id};
    for (int side = 0; side < 2; side++) {
        struct confirmed c = {.options = &s->options,
                              .config = &r.trials[side ? r.i_default : r.i_best].config};
        assert_ok(snug_store_trials(s->store, &filter, take_confirmed, &c, &err));
        assert_true(c.n >= 6);
        /* Two comparisons, against default and fit, share the best: the first six are the first's.
         */
        const double want = snug_stats_median(c.speeds, 6);
        const double got = side ? r.confirm[0].speed_other : r.confirm[0].speed_best;
        assert_true(fabs(got / want - 1.0) < 1e-9);
    }
    snug_tune_result_clear(&r);
    close_session(s);
}

/* Trials with other knobs set by hand are of another search: refused, and nothing is lost. */
static void resume_with_other_knobs_is_refused(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    const struct snug_engine_options options = engine_test_options(t);
    struct session *s = open_session(t, engine_test_start(&options), "knobs");
    const struct snug_space *space = snug_engine_space(s->options.engine);
    struct snug_tune_result r = {0};
    struct snug_config base, stored_base;
    bool is_fixed[SNUG_KNOBS_MAX] = {false}, stored_fixed[SNUG_KNOBS_MAX];
    const int row = snug_space_find(space, "n_ubatch");
    snug_space_default(space, &base);
    base.value[row] = space->knobs[row].min;
    is_fixed[row] = true;
    s->options.base = &base;
    s->options.is_fixed = is_fixed;
    s->options.on_event = on_event;
    s->stop_after = 2;
    s->options.prior_source = "a law";
    assert_ok(snug_tune_run(&s->options, &r, &err));
    assert_true(r.is_stopped);
    snug_tune_result_clear(&r);
    s->stop = s->stop_after = 0;
    s->options.is_resumed = true;
    is_fixed[row] = false;
    assert_fails(SNUG_BAD_INPUT, snug_tune_run(&s->options, &r, &err));
    assert_contains(err.text, "n_ubatch");
    is_fixed[row] = true;
    const int64_t value = base.value[row];
    base.value[row] = space->knobs[row].max;
    assert_true(base.value[row] != value);
    assert_fails(SNUG_BAD_INPUT, snug_tune_run(&s->options, &r, &err));
    /* What the session was begun with can be read back, and goes on. */
    char *json = NULL;
    struct snug_json *doc = NULL;
    int64_t id = 0;
    assert_ok(snug_store_session_unfinished(s->store, s->task_id, "tune", &id, &json, &err));
    assert_ok(snug_json_parse("s", json, strlen(json), &doc, &err));
    assert_string_equal(snug_json_get_string(snug_json_root(doc), "prior", ""), "a law");
    assert_ok(snug__tune_fixed_read(snug_json_root(doc), space, &stored_base, stored_fixed, &err));
    assert_true(stored_fixed[row] && stored_base.value[row] == value);
    snug_json_free(doc);
    free(json);
    s->options.base = &stored_base;
    s->options.is_fixed = stored_fixed;
    assert_ok(snug_tune_run(&s->options, &r, &err));
    assert_false(r.is_stopped);
    snug_tune_result_clear(&r);
    close_session(s);
}

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
    signal(SIGXFSZ, SIG_IGN); /* as the program does: a limit is an error, not an end */
#define TEST(f) cmocka_unit_test_teardown(f, engine_test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(whole_session_is_measured_stored_and_finished),
        TEST(time_limit_ends_the_search),
        TEST(stopped_session_goes_on_to_exactly_its_trials),
        TEST(stop_within_a_trial_loses_only_that_one),
        TEST(nothing_to_resume_is_not_found),
        TEST(knobs_fixed_by_hand_stay_in_every_trial),
        TEST(session_in_which_nothing_fits_ends_without_a_pick),
        TEST(crashing_trials_do_not_end_the_session),
        TEST(confirmation_quotes_its_own_medians),
        TEST(resume_with_other_knobs_is_refused),
        TEST(full_disk_surfaces_and_keeps_the_store_whole),
    };
    return cmocka_run_group_tests(tests, engine_test_open, engine_test_close);
}
