/* The history: what goes in comes out. */
#include "store.h"

#include <math.h>

/* ---- trials ---- */

struct seen {
    int n;
    int stop_after;
    int64_t ids[64];
    struct snug_trial_view view;
    struct snug_measurement m;
    double gaps_s[8];
    char texts[4][128];
};

static bool see(const struct snug_trial_view *view, void *data)
{
    struct seen *seen = data;
    const char *const texts[] = {view->role, view->strategy, view->config_json,
                                 view->effective_json};
    seen->ids[seen->n % 64] = view->id;
    seen->view = *view;
    seen->m = *view->measurement;
    for (size_t i = 0; i < COUNT(texts); i++)
        snprintf(seen->texts[i], sizeof seen->texts[i], "%s", texts[i]);
    for (int i = 0; i < view->measurement->n_gaps && i < 8; i++)
        seen->gaps_s[i] = view->measurement->gaps_s[i];
    return ++seen->n != seen->stop_after;
}

static void assert_same_numbers(const struct snug_measurement *a, const struct snug_measurement *b)
{
    const double *const pairs[][2] = {
        {&a->prefill_tps, &b->prefill_tps},
        {&a->decode_tps, &b->decode_tps},
        {&a->ttft_s, &b->ttft_s},
        {&a->tpot_p50_s, &b->tpot_p50_s},
        {&a->tpot_p95_s, &b->tpot_p95_s},
        {&a->load_s, &b->load_s},
        {&a->wall_s, &b->wall_s},
        {&a->warmup_prefill_tps, &b->warmup_prefill_tps},
        {&a->warmup_decode_tps, &b->warmup_decode_tps},
        {&a->throttled_s, &b->throttled_s},
        {&a->other_load_frac, &b->other_load_frac},
        {&a->load_average, &b->load_average},
        {&a->started_unix_s, &b->started_unix_s},
    };
    for (size_t i = 0; i < COUNT(pairs); i++)
        assert_true(*pairs[i][0] == *pairs[i][1]);
    assert_memory_equal(&a->bytes, &b->bytes, sizeof a->bytes);
    assert_int_equal(a->warnings, b->warnings);
    assert_int_equal(a->n_prefill_blocks, b->n_prefill_blocks);
    assert_int_equal(a->n_decode_blocks, b->n_decode_blocks);
    assert_memory_equal(a->prefill_block_tps, b->prefill_block_tps, sizeof a->prefill_block_tps);
    assert_memory_equal(a->decode_block_tps, b->decode_block_tps, sizeof a->decode_block_tps);
}

static void trial_every_field_comes_back(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    const struct snug_measurement want = store_measurement();
    int64_t task = 0, session = 0, id = 0;
    assert_ok(store_task(store, &task, &err));
    assert_ok(snug_store_session(store, task, "tune", "{}", &session, &err));
    assert_ok(store_add(store, task, session, &want, &id, &err));
    snug_store_close(store);
    store = store_open(state, "h.db");
    struct seen seen = {0};
    const struct snug_trial_filter with_gaps = {.with_gaps = true};
    assert_ok(snug_store_trials(store, &with_gaps, see, &seen, &err));
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.view.id, id);
    assert_int_equal(seen.view.task_id, task);
    assert_int_equal(seen.view.session_id, session);
    assert_string_equal(seen.texts[0], "search");
    assert_string_equal(seen.texts[1], "snug");
    assert_string_equal(seen.texts[2],
                        "{\"n_threads\":3,\"flash_attn\":\"on\",\"type_k\":\"f16\"}");
    assert_string_equal(seen.texts[3],
                        "{\"n_threads\":4,\"flash_attn\":\"off\",\"type_k\":\"q8_0\"}");
    assert_int_equal(seen.m.outcome, SNUG_TRIAL_OK);
    assert_string_equal(seen.m.build, want.build);
    assert_string_equal(seen.m.reason, "");
    assert_same_numbers(&seen.m, &want);
    assert_int_equal(seen.m.n_gaps, 4);
    for (int i = 0; i < 4; i++) /* float32: a relative 2^-24 */
        assert_double_equal(seen.gaps_s[i], want.gaps_s[i], want.gaps_s[i] * 6e-8);
    snug_store_close(store);
}

static void trial_failed_keeps_outcome_and_reason(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    int64_t task = 0, id = 0;
    assert_ok(store_task(store, &task, &err));
    for (int outcome = 1; outcome < SNUG_N_OUTCOMES; outcome++) {
        struct snug_measurement m = {.outcome = (enum snug_outcome)outcome,
                                     .reason = "it said \"no\"; DROP TABLE trials; --"};
        struct seen seen = {0};
        assert_ok(store_add(store, task, 0, &m, &id, &err));
        assert_ok(snug_store_trials(store, NULL, see, &seen, &err));
        assert_int_equal(seen.n, outcome);
        assert_int_equal(seen.m.outcome, outcome);
        assert_string_equal(seen.m.reason, m.reason);
        assert_string_equal(seen.texts[3], "{}");
        assert_int_equal(seen.view.session_id, 0);
        assert_null(seen.m.gaps_s);
    }
    snug_store_close(store);
}

static void trial_not_finite_becomes_zero(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    struct snug_measurement m = {.decode_tps = NAN, .ttft_s = INFINITY, .throttled_s = NAN};
    m.decode_block_tps[0] = NAN;
    m.n_decode_blocks = 1;
    m.bytes.weights = UINT64_MAX;
    int64_t task = 0, id = 0;
    assert_ok(store_task(store, &task, &err));
    assert_ok(store_add(store, task, 0, &m, &id, &err));
    struct seen seen = {0};
    assert_ok(snug_store_trials(store, NULL, see, &seen, &err));
    assert_true(seen.m.decode_tps == 0 && seen.m.ttft_s == 0 && seen.m.throttled_s == 0);
    assert_int_equal(seen.m.n_decode_blocks, 1);
    assert_int_equal(seen.m.bytes.weights, INT64_MAX);
    snug_store_close(store);
}

static void trials_filter_by_task_and_session(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    const struct snug_measurement m = store_measurement();
    struct snug_workload other = STORE_WORKLOAD;
    int64_t tasks[2] = {0}, sessions[2] = {0}, id = 0;
    other.n_depth = 7;
    assert_ok(store_task(store, &tasks[0], &err));
    assert_ok(snug_store_task(store, 1, 1, &other, "libllama 0.7.0", "idle", &tasks[1], &err));
    assert_int_not_equal(tasks[0], tasks[1]);
    for (int i = 0; i < 2; i++)
        assert_ok(snug_store_session(store, tasks[i], "tune", "{}", &sessions[i], &err));
    const int64_t rows[][2] = {{tasks[0], 0},
                               {tasks[0], sessions[0]},
                               {tasks[0], sessions[0]},
                               {tasks[1], sessions[1]},
                               {tasks[1], 0}};
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_ok(store_add(store, rows[i][0], rows[i][1], &m, &id, &err));
    const struct {
        struct snug_trial_filter filter;
        int n;
    } asks[] = {{{0}, 5},
                {{.task_id = tasks[0]}, 3},
                {{.task_id = tasks[1]}, 2},
                {{.session_id = sessions[0]}, 2},
                {{.task_id = tasks[0], .session_id = sessions[0]}, 2},
                {{.task_id = tasks[1], .session_id = sessions[0]}, 0},
                {{.task_id = 99}, 0}};
    for (size_t i = 0; i < COUNT(asks); i++) {
        struct seen seen = {0};
        assert_ok(snug_store_trials(store, &asks[i].filter, see, &seen, &err));
        assert_int_equal(seen.n, asks[i].n);
        for (int k = 1; k < seen.n; k++)
            assert_true(seen.ids[k] > seen.ids[k - 1]);
        assert_int_equal(seen.m.n_gaps, 0);
    }
    snug_store_close(store);
}

static void trials_callback_false_stops(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    const struct snug_measurement m = store_measurement();
    int64_t task = 0, id = 0;
    assert_ok(store_task(store, &task, &err));
    for (int i = 0; i < 5; i++)
        assert_ok(store_add(store, task, 0, &m, &id, &err));
    struct seen seen = {.stop_after = 2};
    assert_ok(snug_store_trials(store, NULL, see, &seen, &err));
    assert_int_equal(seen.n, 2);
    snug_store_close(store);
}

struct nested {
    struct snug_store *store;
    int64_t task;
    int n_outer, n_inner;
    snug_status status;
};

static bool see_inner(const struct snug_trial_view *view, void *data)
{
    ((struct nested *)data)->n_inner += view->measurement->n_decode_blocks == 2;
    return true;
}

/* Reads and writes while the outer list is half way. */
static bool see_outer(const struct snug_trial_view *view, void *data)
{
    struct nested *nested = data;
    const struct snug_measurement m = {.outcome = SNUG_TRIAL_OOM};
    int64_t id = 0;
    nested->n_outer += view->measurement->n_prefill_blocks == 3;
    nested->status = snug_store_trials(nested->store, NULL, see_inner, nested, NULL);
    if (nested->n_outer == 1 && nested->status == SNUG_OK)
        nested->status = store_add(nested->store, nested->task, 0, &m, &id, NULL);
    return nested->status == SNUG_OK;
}

static void trials_callback_may_use_the_store(void **state)
{
    struct snug_error err = {0};
    struct nested nested = {.store = store_open(state, "h.db")};
    const struct snug_measurement m = store_measurement();
    int64_t id = 0;
    assert_ok(store_task(nested.store, &nested.task, &err));
    for (int i = 0; i < 3; i++)
        assert_ok(store_add(nested.store, nested.task, 0, &m, &id, &err));
    assert_ok(snug_store_trials(nested.store, NULL, see_outer, &nested, &err));
    assert_int_equal(nested.status, SNUG_OK);
    assert_int_equal(nested.n_outer, 3);
    assert_true(nested.n_inner >= 9);
    snug_store_close(nested.store);
}

static void trial_of_no_task_is_refused_whole(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    const struct snug_measurement m = store_measurement();
    int64_t task = 0, id = -77;
    assert_fails(SNUG_BAD_INPUT, store_add(store, 42, 0, &m, &id, &err));
    assert_contains(err.text, "not there");
    assert_int_equal(id, -77);
    assert_ok(store_task(store, &task, &err));
    assert_fails(SNUG_BAD_INPUT, store_add(store, task, 42, &m, &id, &err));
    assert_ok(store_add(store, task, 0, &m, &id, &err));
    snug_store_close(store);
    assert_int_equal(store_ask(test_path(state, "h.db"), "SELECT count(*) FROM samples"), 5);
}

static void trials_hand_edited_counts_are_held(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    const struct snug_measurement m = store_measurement();
    int64_t task = 0, id = 0;
    assert_ok(store_task(store, &task, &err));
    assert_ok(store_add(store, task, 0, &m, &id, &err));
    snug_store_close(store);
    store_exec(test_path(state, "h.db"),
               "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
               "INSERT INTO samples SELECT 1, 'decode', i, 1.0 FROM n;"
               "UPDATE trials SET outcome = 'splendid', reason = hex(zeroblob(5000)),"
               "  weights_bytes = -1;"
               "UPDATE conditions SET warnings = ' haunted  noisy ';"
               "UPDATE gaps SET seconds_f32 = x'0000803f00';");
    store = store_open(state, "h.db");
    struct seen seen = {0};
    const struct snug_trial_filter filter = {.with_gaps = true};
    assert_ok(snug_store_trials(store, &filter, see, &seen, &err));
    assert_int_equal(seen.m.n_decode_blocks, SNUG_BLOCKS_MAX);
    assert_int_equal(seen.m.outcome, SNUG_TRIAL_REFUSED);
    assert_int_equal(strlen(seen.m.reason), SNUG_REASON_MAX - 1);
    assert_int_equal(seen.m.warnings, SNUG_WARN(NOISY));
    assert_int_equal(seen.m.bytes.weights, 0);
    assert_int_equal(seen.m.n_gaps, 1);
    assert_double_equal(seen.gaps_s[0], 1.0, 0);
    snug_store_close(store);
}

static void gaps_above_the_cap_are_cut(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    struct snug_measurement m = {.n_gaps = SNUG_STORE_GAPS_MAX + 1};
    int64_t task = 0, id = 0;
    m.gaps_s = calloc((size_t)m.n_gaps, sizeof *m.gaps_s);
    assert_non_null(m.gaps_s);
    assert_ok(store_task(store, &task, &err));
    assert_ok(store_add(store, task, 0, &m, &id, &err));
    m.n_gaps--;
    assert_ok(store_add(store, task, 0, &m, &id, &err));
    struct seen seen = {.stop_after = 1};
    const struct snug_trial_filter filter = {.with_gaps = true};
    assert_ok(snug_store_trials(store, &filter, see, &seen, &err));
    assert_int_equal(seen.m.n_gaps, SNUG_STORE_GAPS_MAX);
    free(m.gaps_s);
    snug_store_close(store);
}

/* ---- what trials belong to ---- */

static void rows_same_key_same_id_and_refreshed(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    int64_t a = 0, b = 0, c = 0;
    assert_ok(snug_store_machine(store, "f", "old", "{\"v\":1}", &a, &err));
    assert_ok(snug_store_machine(store, "f", "new", "{\"v\":2}", &b, &err));
    assert_ok(snug_store_machine(store, "g", "new", NULL, &c, &err));
    assert_true(a == b && a != c && a > 0);
    assert_ok(snug_store_model(store, "h", "old", "/old", "{}", &a, &err));
    assert_ok(snug_store_model(store, "h", "new", "/new", "{}", &b, &err));
    assert_true(a == b);
    struct snug_workload w = STORE_WORKLOAD;
    assert_ok(snug_store_task(store, 1, 1, &w, "b1", "idle", &a, &err));
    assert_ok(snug_store_task(store, 1, 1, &w, "b1", "idle", &b, &err));
    assert_true(a == b);
    int64_t *const fields[] = {&w.n_prompt, &w.n_gen, &w.n_depth, &w.n_parallel, &w.n_ctx};
    for (size_t i = 0; i < COUNT(fields); i++) {
        ++*fields[i];
        assert_ok(snug_store_task(store, 1, 1, &w, "b1", "idle", &b, &err));
        assert_int_equal(b, a + 1 + (int64_t)i);
    }
    assert_ok(snug_store_task(store, 1, 1, &STORE_WORKLOAD, "b2", "idle", &b, &err));
    assert_true(b != a);
    assert_fails(SNUG_BAD_INPUT, snug_store_task(store, 99, 1, &w, "b1", "idle", &b, &err));
    snug_store_close(store);
    assert_int_equal(store_ask(test_path(state, "h.db"),
                               "SELECT count(*) FROM machines WHERE name = 'new' "
                               "AND json IN ('{\"v\":2}', '')"),
                     2);
}

struct seen_tasks {
    int n;
    int64_t ids[8], n_trials[8];
    char text[256];
    struct snug_workload workload;
    double last_unix_s;
};

static bool see_task(const struct snug_task_view *view, void *data)
{
    struct seen_tasks *seen = data;
    if (seen->n == 0) {
        snprintf(seen->text, sizeof seen->text, "%s|%s|%s|%s|%s|%s|%s|%s|%s",
                 view->machine_fingerprint, view->machine_name, view->machine_json,
                 view->model_hash, view->model_name, view->model_path, view->model_json,
                 view->build, view->load_level);
        seen->workload = view->workload;
        seen->last_unix_s = view->last_unix_s;
    }
    seen->ids[seen->n] = view->id;
    seen->n_trials[seen->n++] = view->n_trials;
    return true;
}

static void tasks_newest_first_with_all_fields(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    struct snug_measurement m = store_measurement();
    int64_t first = 0, second = 0, model = 0, third = 0, id = 0;
    assert_ok(store_task(store, &first, &err));
    assert_ok(snug_store_task(store, 1, 1, &STORE_WORKLOAD, "b2", "idle", &second, &err));
    assert_ok(snug_store_model(store, "h2", "n.gguf", "/n.gguf", "[]", &model, &err));
    assert_ok(snug_store_task(store, 1, model, &STORE_WORKLOAD, "b2", "idle", &third, &err));
    m.started_unix_s = 4e9; /* long after now */
    assert_ok(store_add(store, first, 0, &m, &id, &err));
    m.started_unix_s = 3e9;
    assert_ok(store_add(store, first, 0, &m, &id, &err));
    assert_ok(store_add(store, second, 0, &m, &id, &err));
    struct seen_tasks all = {0}, some = {0}, none = {0};
    assert_ok(snug_store_tasks(store, NULL, see_task, &all, &err));
    assert_int_equal(all.n, 3);
    assert_true(all.ids[0] == first && all.ids[1] == second && all.ids[2] == third);
    assert_true(all.n_trials[0] == 2 && all.n_trials[1] == 1 && all.n_trials[2] == 0);
    assert_string_equal(all.text, "f1|a machine|{}|h1|m.gguf|/m.gguf|{}|libllama 0.7.0|idle");
    assert_memory_equal(&all.workload, &STORE_WORKLOAD, sizeof STORE_WORKLOAD);
    assert_true(all.last_unix_s == 4e9);
    assert_ok(snug_store_tasks(store, "h2", see_task, &some, &err));
    assert_true(some.n == 1 && some.ids[0] == third);
    assert_ok(snug_store_tasks(store, "h3", see_task, &none, &err));
    assert_int_equal(none.n, 0);
    snug_store_close(store);
}

static void session_unfinished_is_the_last_then_none(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    int64_t task = 0, a = 0, b = 0, found = -77;
    char *text = NULL;
    assert_ok(store_task(store, &task, &err));
    assert_fails(SNUG_NOT_FOUND,
                 snug_store_session_unfinished(store, task, "tune", &found, &text, &err));
    assert_true(found == -77 && !text);
    assert_fails(SNUG_NOT_FOUND, snug_store_result(store, task, "tune", &found, &text, &err));
    assert_ok(snug_store_session(store, task, "tune", "{\"n\":1}", &a, &err));
    assert_ok(snug_store_session(store, task, "tune", "{\"n\":2}", &b, &err));
    assert_fails(SNUG_NOT_FOUND,
                 snug_store_session_unfinished(store, task, "bench", &found, &text, &err));
    assert_ok(snug_store_session_unfinished(store, task, "tune", &found, &text, &err));
    assert_int_equal(found, b);
    assert_string_equal(text, "{\"n\":2}");
    free(text);
    assert_ok(snug_store_session_finish(store, b, "{\"r\":2}", &err));
    assert_ok(snug_store_session_unfinished(store, task, "tune", &found, &text, &err));
    assert_int_equal(found, a);
    free(text);
    assert_ok(snug_store_result(store, task, "tune", &found, &text, &err));
    assert_int_equal(found, b);
    assert_string_equal(text, "{\"r\":2}");
    free(text);
    assert_ok(snug_store_session_finish(store, a, "{\"r\":1}", &err));
    assert_ok(snug_store_result(store, task, "tune", &found, &text, &err));
    assert_int_equal(found, a); /* finished last */
    free(text);
    assert_fails(SNUG_NOT_FOUND, snug_store_session_finish(store, 99, "{}", &err));
    snug_store_close(store);
}

static void session_of_a_dead_process_is_found(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    int64_t task = 0, id = 0, found = 0;
    char *text = NULL;
    assert_ok(store_task(store, &task, &err));
    assert_ok(snug_store_session(store, task, "tune", "{}", &id, &err));
    snug_store_close(store);
    /* Process 1 lives, but did not start then: its number was given again. */
    store_exec(test_path(state, "h.db"), "UPDATE sessions SET owner = '1 12345 of-another-boot'");
    store = store_open(state, "h.db");
    assert_ok(snug_store_session_unfinished(store, task, "tune", &found, &text, &err));
    assert_int_equal(found, id);
    free(text);
    snug_store_close(store);
}

static char *letters(size_t n)
{
    char *text = malloc(n + 1);
    assert_non_null(text);
    memset(text, 'x', n);
    text[n] = '\0';
    return text;
}

static void texts_at_cap_pass_and_above_fail(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    char *name = letters(SNUG_STORE_TEXT_MAX), *json = letters(SNUG_STORE_JSON_MAX);
    char *long_name = letters(SNUG_STORE_TEXT_MAX + 1),
         *long_json = letters(SNUG_STORE_JSON_MAX + 1);
    int64_t id = -77, none = -77;
    assert_ok(snug_store_machine(store, "f", name, json, &id, &err));
    assert_fails(SNUG_BAD_INPUT, snug_store_machine(store, "g", long_name, json, &none, &err));
    assert_contains(err.text, "machine's name");
    assert_contains(err.text, "4096");
    assert_fails(SNUG_BAD_INPUT, snug_store_machine(store, "g", name, long_json, &none, &err));
    assert_contains(err.text, "8388608");
    assert_int_equal(none, -77);
    free(name);
    free(json);
    free(long_name);
    free(long_json);
    snug_store_close(store);
    assert_int_equal(store_ask(test_path(state, "h.db"), "SELECT count(*) FROM machines"), 1);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(trial_every_field_comes_back),
        IN_FOLDER(trial_failed_keeps_outcome_and_reason),
        IN_FOLDER(trial_not_finite_becomes_zero),
        IN_FOLDER(trials_filter_by_task_and_session),
        IN_FOLDER(trials_callback_false_stops),
        IN_FOLDER(trials_callback_may_use_the_store),
        IN_FOLDER(trial_of_no_task_is_refused_whole),
        IN_FOLDER(trials_hand_edited_counts_are_held),
        IN_FOLDER(gaps_above_the_cap_are_cut),
        IN_FOLDER(rows_same_key_same_id_and_refreshed),
        IN_FOLDER(tasks_newest_first_with_all_fields),
        IN_FOLDER(session_unfinished_is_the_last_then_none),
        IN_FOLDER(session_of_a_dead_process_is_found),
        IN_FOLDER(texts_at_cap_pass_and_above_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
