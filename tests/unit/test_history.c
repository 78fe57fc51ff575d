/* History files between stores: what comes over, what stays at home, and how it is taken back. */
#include "history.h"

#include "base/json.h"
#include "machine/machine_json.h"
#include "store/history_file.h"
#include "trial/trial_json.h"

static void *export_all(struct snug_store *store, size_t *out_n)
{
    struct snug_error err = {0};
    struct snug_history_exported done = {.n_left_out = -1};
    void *data = NULL;
    assert_ok(snug_history_export(store, NULL, &data, out_n, &done, &err));
    assert_int_equal(done.n_left_out, 0);
    return data;
}

static struct snug_history_imported import(struct snug_store *store, const void *data, size_t n)
{
    struct snug_error err = {0};
    struct snug_history_imported done = {.id = -1};
    assert_ok(snug_history_import(store, "x/f.snug", data, n, NULL, &done, &err));
    return done;
}

/* A store of two trials on the machine "aa", as a file. */
static void *small_file(void **state, const char *name, size_t *out_n)
{
    struct snug_store *store = store_open(state, name);
    const int64_t task = secret_task(store, "aa");
    secret_trial(store, task, 1767225600.125, true);
    secret_trial(store, task, 1767225601.0, false);
    void *data = export_all(store, out_n);
    snug_store_close(store);
    return data;
}

/* ---- what comes over ---- */

static bool see_trial(const struct snug_trial_view *view, void *data)
{
    const struct snug_measurement *m = view->measurement;
    const bool is_ok = ++*(int *)data == 1;
    assert_string_equal(view->role, "search");
    assert_string_equal(view->strategy, "snug");
    assert_string_equal(view->config_json,
                        "{\"n_threads\":3,\"flash_attn\":\"on\",\"type_k\":\"f16\"}");
    assert_string_equal(view->effective_json,
                        is_ok ? "{\"n_threads\":4,\"flash_attn\":\"off\",\"type_k\":\"q8_0\"}"
                              : "{}");
    assert_int_equal(view->session_id, 0);
    assert_int_equal(m->outcome, is_ok ? SNUG_TRIAL_OK : SNUG_TRIAL_CRASH);
    assert_string_equal(m->reason, "");
    assert_true(m->started_unix_s == (is_ok ? 1767225600.125 : 1767225601.0));
    assert_true(m->prefill_tps == 101.5 && m->decode_tps == 102.5 && m->ttft_s == 103.5);
    assert_true(m->tpot_p50_s == 104.5 && m->tpot_p95_s == 105.5 && m->load_s == 106.5);
    assert_true(m->wall_s == 107.5 && m->warmup_decode_tps == 109.5 && m->throttled_s == 110.5);
    assert_true(m->bytes.weights == UINT64_C(1) << 40 && m->bytes.rss_base == 206);
    assert_int_equal(m->n_prefill_blocks, 3);
    assert_int_equal(m->n_decode_blocks, 2);
    assert_true(m->prefill_block_tps[2] == 102.2 && m->decode_block_tps[0] == 99.5);
    assert_int_equal(m->warnings, SNUG_WARN(NOISY) | SNUG_WARN(OTHER_LOAD));
    assert_true(m->conditions.wall_s == 3.5 && m->conditions.load_average != 0.0);
    assert_string_equal(m->build, "libllama 0.7.0, ggml 0.27.0");
    return true;
}

/* Facts that are not told are not known, and the rest is a machine as any. */
static void check_machine(const char *json)
{
    struct snug_error err = {0};
    struct snug_json *doc = NULL;
    struct snug_machine machine;
    assert_ok(snug_json_parse("machine", json, strlen(json), &doc, &err));
    assert_ok(snug_machine_from_json(snug_json_root(doc), &machine, &err));
    assert_int_equal(machine.n_cores_usable, 2);
    assert_int_equal(machine.caches[0].size_bytes, 32768);
    assert_int_equal(machine.devices[0].bytes_total, 7);
    assert_true(machine.quota_cpus.is_known && machine.quota_cpus.value == 1.5);
    assert_false(machine.memory_limit_bytes.is_known);
    snug_json_free(doc);
}

static bool see_task(const struct snug_task_view *view, void *data)
{
    ++*(int *)data;
    check_machine(view->machine_json);
    assert_string_equal(view->machine_fingerprint, "aa");
    assert_string_equal(view->machine_name, "Intel(R) CPU @ 2.00GHz");
    assert_string_equal(view->model_hash, "bb");
    assert_string_equal(view->model_name, "llama 1.1B Q4_0");
    assert_string_equal(view->model_path, "");
    assert_string_equal(view->workload.name, "workload cc");
    assert_string_equal(view->workload.hash, "cc");
    assert_string_equal(view->workload.path, "");
    assert_int_equal(view->workload.n_prompt, 512);
    assert_int_equal(view->workload.n_ctx, 4096);
    assert_int_equal(view->n_trials, 2);
    assert_int_equal(view->n_imported, 2);
    assert_string_equal(view->imports, "1");
    assert_contains(view->machine_json, "\"n_threads_usable\":4");
    assert_contains(view->machine_json, "\"quota_cpus\":{\"value\":1.5}");
    assert_contains(view->model_json, "\"n_elements\":4");
    return true;
}

static void import_gives_the_trials_that_were_exported(void **state)
{
    struct snug_error err = {0};
    size_t n = 0;
    int n_trials = 0, n_tasks = 0;
    void *data = small_file(state, "a.db", &n);
    struct snug_store *store = store_open(state, "b.db");
    const struct snug_history_imported done = import(store, data, n);
    assert_int_equal(done.id, 1);
    assert_false(done.is_known);
    assert_int_equal(done.added.n[SNUG_HISTORY_TRIAL], 2);
    assert_int_equal(done.in_file.n[SNUG_HISTORY_MACHINE], 1);
    assert_ok(snug_store_trials(store, NULL, see_trial, &n_trials, &err));
    assert_int_equal(n_trials, 2);
    assert_ok(snug_store_tasks(store, NULL, see_task, &n_tasks, &err));
    assert_int_equal(n_tasks, 1);
    snug_store_close(store);
    assert_store_whole(test_path(state, "b.db"));
    free(data);
}

/* What was imported goes on to a third machine unchanged. */
static void export_of_an_import_is_the_same_body(void **state)
{
    size_t n = 0, n_again = 0;
    void *data = small_file(state, "a.db", &n);
    struct snug_store *store = store_open(state, "b.db");
    import(store, data, n);
    void *again = export_all(store, &n_again);
    char *first = history_body(data, n), *second = history_body(again, n_again);
    assert_string_equal(first, second);
    snug_store_close(store);
    free(first);
    free(second);
    free(data);
    free(again);
}

static void noise_and_quality_come_over_and_own_ones_stay(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "a.db");
    struct snug_quality q, back;
    double frac = 0.0;
    int n_blocks = 0;
    size_t n = 0;
    const int64_t task = secret_task(store, "aa");
    secret_trial(store, task, 1767225600.125, true);
    assert_ok(snug_store_noise_set(store, "aa", "libllama 0.7.0", 0.015, 30, &err));
    snug_quality_init(&q);
    snprintf(q.text_hash, sizeof q.text_hash, "dd");
    snprintf(q.reference_name, sizeof q.reference_name, SECRET_HOME "/f16.gguf");
    snprintf(q.type_k, sizeof q.type_k, "q8_0");
    snprintf(q.type_v, sizeof q.type_v, "f16");
    q.n_ctx = 512;
    q.kld_mean = (struct snug_estimate){0.0125, 0.0005};
    assert_ok(snug_store_quality_add(store, 1, "libllama 0.7.0", &q, &err));
    void *data = export_all(store, &n);
    char *body = history_body(data, n);
    assert_null(strstr(body, SECRET_NAME));
    snug_store_close(store);
    store = store_open(state, "b.db");
    import(store, data, n);
    assert_ok(snug_store_noise_get(store, "aa", &frac, &n_blocks, &err));
    assert_true(frac == 0.015 && n_blocks == 30);
    assert_ok(snug_store_quality_find(store, "bb", "q8_0", "f16", &back, &err));
    assert_true(back.kld_mean.value == 0.0125 && back.kld_mean.se == 0.0005);
    assert_string_equal(back.text_hash, "dd");
    assert_string_equal(back.reference_name, "");
    /* Measured here since: that counts, and stays when the import goes. */
    struct snug_history_counts removed;
    assert_ok(snug_store_noise_set(store, "aa", "libllama 0.6.0", 0.04, 5, &err));
    assert_ok(snug_store_noise_get(store, "aa", &frac, &n_blocks, &err));
    assert_true(frac == 0.04);
    q.kld_mean.value = 0.5;
    assert_ok(snug_store_quality_add(store, 1, "libllama 0.7.0", &q, &err));
    assert_ok(snug_history_undo(store, 1, &removed, &err));
    assert_int_equal(removed.n[SNUG_HISTORY_NOISE], 1);
    assert_int_equal(removed.n[SNUG_HISTORY_QUALITY], 0);
    assert_ok(snug_store_quality_find(store, "bb", "q8_0", "f16", &back, &err));
    assert_true(back.kld_mean.value == 0.5);
    snug_store_close(store);
    free(body);
    free(data);
}

/* ---- what stays at home ---- */

/* Everything that was unpacked, header too: no word of who and where, and no slash at all. */
static void export_tells_nothing_of_who_and_where(void **state)
{
    struct snug_error err = {0};
    size_t n = 0, n_text = 0;
    char *text = NULL;
    void *data = small_file(state, "a.db", &n);
    assert_ok(snug_gzip_unpack("f", data, n, SNUG_HISTORY_TEXT_MAX, &text, &n_text, &err));
    assert_null(strstr(text, SECRET_NAME));
    assert_null(strstr(text, SECRET_HOST));
    assert_null(strstr(text, "home"));
    assert_null(strchr(text, '/'));
    assert_null(strchr(text, '\\'));
    assert_contains(text, "\"cpu_name\":\"Intel(R) CPU @ 2.00GHz\""); /* and yet what counts */
    free(text);
    free(data);
}

static void list_missing(const struct snug_json_node *from, const struct snug_json_node *in,
                         const char *path, struct snug_buffer *out)
{
    const struct snug_json_node *value = NULL;
    const char *key = NULL;
    for (size_t i = 0; snug_json_member(from, i, &key, &value); i++) {
        char full[128];
        snprintf(full, sizeof full, "%s.%s", path, key);
        if (!snug_json_get(in, key))
            snug_buffer_printf(out, "%s ", full);
        else
            list_missing(value, snug_json_get(in, key), full, out);
    }
}

/* A figure that somebody adds to a measurement is let out too, or is named here. */
static void trial_line_lacks_texts_and_samples_alone(void **state)
{
    struct snug_error err = {0};
    struct snug_measurement m = store_measurement();
    struct snug_json_writer w = {0};
    struct snug_buffer missing = {0};
    struct snug_json *raw = NULL, *doc = NULL;
    char *line = NULL;
    (void)state;
    snug_conditions_init(&m.conditions);
    snug_json_begin_object(&w, NULL);
    snug_json_put_int(&w, "task", 1);
    snug_json_put_string(&w, "role", "probe");
    snug_json_begin_object(&w, "config");
    snug_json_end(&w);
    snug_measurement_to_json(&w, "measurement", &m);
    snug_json_end(&w);
    char *text = snug_json_finish(&w, false);
    assert_non_null(text);
    for (char *at = text; (at = strstr(at, "null"));)
        memcpy(at, "0.50", 4); /* what was not read, as if it had been */
    assert_ok(snug_json_parse("raw", text, strlen(text), &raw, &err));
    assert_ok(snug__history_sieve(snug_json_root(raw), SNUG_HISTORY_TRIAL, false, &line, &err));
    assert_ok(snug_json_parse("line", line, strlen(line), &doc, &err));
    list_missing(snug_json_root(raw), snug_json_root(doc), "", &missing);
    assert_string_equal(snug_buffer_text(&missing), ".measurement.reason .measurement.verdict "
                                                    ".measurement.conditions.energy.source "
                                                    ".measurement.conditions.unreadable ");
    snug_buffer_clear(&missing);
    snug_json_free(raw);
    snug_json_free(doc);
    free(text);
    free(line);
}

/* A config that names a server has no meaning elsewhere. */
static void trial_on_a_named_server_is_left_out(void **state)
{
    const struct snug_space space = {.knobs = {{.name = "device",
                                                .kind = SNUG_KNOB_ENUM,
                                                .max = 1,
                                                .values = {"auto", "RPC[" SECRET_HOST ":1]"},
                                                .n_values = 2}},
                                     .n = 1};
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "a.db");
    const struct snug_measurement m = store_measurement();
    struct snug_history_exported done;
    void *data = NULL;
    size_t n = 0;
    int64_t task = secret_task(store, "aa"), id = 0;
    for (int64_t value = 0; value < 2; value++) {
        const struct snug_config config = {{value}};
        assert_ok(
            snug_store_trial_add(store, task, 0, "bench", "", &space, &config, &m, &id, &err));
    }
    assert_ok(snug_history_export(store, NULL, &data, &n, &done, &err));
    assert_int_equal(done.counts.n[SNUG_HISTORY_TRIAL], 1);
    assert_int_equal(done.n_left_out, 1);
    free(data);
    snug_store_close(store);
}

static void export_of_one_model_and_of_none(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "a.db");
    struct snug_history_exported done;
    void *data = NULL;
    size_t n = 0;
    int64_t other = 0;
    assert_fails(SNUG_INFEASIBLE, snug_history_export(store, NULL, &data, &n, &done, &err));
    assert_contains(err.text, "snug tune");
    assert_ok(store_task(store, &other, &err));
    secret_trial(store, other, 1767225600.0, true);
    secret_trial(store, secret_task(store, "aa"), 1767225602.0, true);
    assert_ok(snug_history_export(store, "h1", &data, &n, &done, &err));
    assert_int_equal(done.counts.n[SNUG_HISTORY_TASK], 1);
    assert_int_equal(done.counts.n[SNUG_HISTORY_MODEL], 1);
    free(data);
    data = NULL;
    assert_fails(SNUG_INFEASIBLE, snug_history_export(store, "h9", &data, &n, &done, &err));
    assert_contains(err.text, "of this model");
    assert_null(data);
    snug_store_close(store);
}

/* ---- twice, and together ---- */

static void import_again_changes_nothing(void **state)
{
    size_t n = 0;
    void *data = small_file(state, "a.db", &n);
    struct snug_store *store = store_open(state, "b.db");
    import(store, data, n);
    char *before = store_text(test_path(state, "b.db"));
    const struct snug_history_imported again = import(store, data, n);
    assert_true(again.is_known && again.id == 1);
    assert_int_equal(again.added.n[SNUG_HISTORY_TRIAL], 0);
    char *after = store_text(test_path(state, "b.db"));
    assert_string_equal(before, after);
    snug_store_close(store);
    free(before);
    free(after);
    free(data);
}

static void import_of_ones_own_export_changes_nothing(void **state)
{
    size_t n = 0;
    void *data = small_file(state, "a.db", &n);
    struct snug_store *store = store_open(state, "a.db");
    char *before = store_text(test_path(state, "a.db"));
    const struct snug_history_imported done = import(store, data, n);
    assert_true(!done.is_known && done.id == 0);
    char *after = store_text(test_path(state, "a.db"));
    assert_string_equal(before, after);
    snug_store_close(store);
    free(before);
    free(after);
    free(data);
}

static void undo_leaves_the_store_as_it_was(void **state)
{
    struct snug_error err = {0};
    struct snug_history_counts removed;
    size_t n = 0;
    int64_t own = 0;
    void *data = small_file(state, "a.db", &n);
    struct snug_store *store = store_open(state, "b.db");
    const char *path = test_path(state, "b.db");
    assert_ok(store_task(store, &own, &err));
    secret_trial(store, own, 1767225600.125, true);
    char *before = store_text(path);
    import(store, data, n);
    assert_ok(snug_history_undo(store, 1, &removed, &err));
    assert_int_equal(removed.n[SNUG_HISTORY_TRIAL], 2);
    assert_int_equal(removed.n[SNUG_HISTORY_TASK], 1);
    assert_int_equal(removed.n[SNUG_HISTORY_MODEL], 1);
    assert_int_equal(removed.n[SNUG_HISTORY_MACHINE], 1);
    char *after = store_text(path);
    assert_string_equal(before, after);
    assert_fails(SNUG_NOT_FOUND, snug_history_undo(store, 1, &removed, &err));
    assert_contains(err.text, "no import 1");
    snug_store_close(store);
    assert_store_whole(path);
    free(before);
    free(after);
    free(data);
}

/* The same task here: its row, and what was measured since, are one's own. */
static void undo_keeps_later_trials_of_ones_own(void **state)
{
    struct snug_error err = {0};
    struct snug_history_counts removed;
    size_t n = 0;
    void *data = small_file(state, "a.db", &n);
    struct snug_store *store = store_open(state, "b.db");
    import(store, data, n);
    const int64_t task = secret_task(store, "aa");
    assert_int_equal(task, 1);
    const int64_t own = secret_trial(store, task, 1767225700.0, true);
    assert_ok(snug_history_undo(store, 1, &removed, &err));
    assert_int_equal(removed.n[SNUG_HISTORY_TRIAL], 2);
    assert_int_equal(removed.n[SNUG_HISTORY_TASK] + removed.n[SNUG_HISTORY_MACHINE], 0);
    snug_store_close(store);
    const char *path = test_path(state, "b.db");
    assert_int_equal(store_ask(path, "SELECT count(*) FROM trials"), 1);
    assert_int_equal(store_ask(path, "SELECT id FROM trials"), own);
    assert_int_equal(store_ask(path, "SELECT count(*) FROM samples"), 5);
    assert_int_equal(store_ask(path, "SELECT count(*) FROM imports"), 0);
    assert_store_whole(path);
    free(data);
}

static const struct snug_store_sensitivity_place PLACE = {.model_hash = "ee",
                                                          .text_hash = "dd",
                                                          .imatrix_hash = "",
                                                          .build = "libllama 0.7.0",
                                                          .n_ctx = 512,
                                                          .n_chunks = 4,
                                                          .tensors = "attn_q 0-7",
                                                          .type = "q4_k"};

/* Of a model that no task here has, and again measured here since. */
static void sensitivities_come_over_and_own_ones_stay(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "a.db");
    struct snug_history_counts removed;
    struct snug_estimate found;
    size_t n = 0;
    assert_ok(snug_store_sensitivity_add(store, &PLACE, (struct snug_estimate){0.5, 0.25}, &err));
    void *data = export_all(store, &n);
    snug_store_close(store);
    store = store_open(state, "b.db");
    assert_int_equal(import(store, data, n).added.n[SNUG_HISTORY_SENSITIVITY], 1);
    assert_ok(snug_store_sensitivity_find(store, &PLACE, &found, &err));
    assert_true(found.value == 0.5 && found.se == 0.25);
    assert_ok(snug_history_undo(store, 1, &removed, &err));
    assert_int_equal(removed.n[SNUG_HISTORY_SENSITIVITY], 1);
    assert_fails(SNUG_NOT_FOUND, snug_store_sensitivity_find(store, &PLACE, &found, &err));
    import(store, data, n);
    assert_ok(snug_store_sensitivity_add(store, &PLACE, (struct snug_estimate){0.75, 0.1}, &err));
    assert_ok(snug_history_undo(store, 1, &removed, &err));
    assert_ok(snug_store_sensitivity_find(store, &PLACE, &found, &err));
    assert_true(found.value == 0.75);
    snug_store_close(store);
    free(data);
}

/* A weekly export holds the last one's trials: taking back either leaves what the other brought. */
static void undo_of_either_of_two_that_overlap_leaves_the_other(void **state)
{
    struct snug_error err = {0};
    struct snug_store *a = store_open(state, "a.db");
    struct snug_history_counts removed;
    size_t n_first = 0, n_second = 0;
    const int64_t task = secret_task(a, "aa");
    secret_trial(a, task, 1767225600.125, true);
    assert_ok(snug_store_noise_set(a, "aa", "libllama 0.7.0", 0.015, 30, &err));
    assert_ok(snug_store_sensitivity_add(a, &PLACE, (struct snug_estimate){0.5, 0.25}, &err));
    void *first = export_all(a, &n_first);
    secret_trial(a, task, 1767225601.0, false);
    void *second = export_all(a, &n_second);
    snug_store_close(a);
    for (int64_t gone = 1; gone <= 2; gone++) {
        const char *name = gone == 1 ? "b.db" : "c.db", *path = test_path(state, name);
        struct snug_store *store = store_open(state, name);
        import(store, first, n_first);
        const struct snug_history_imported done = import(store, second, n_second);
        assert_int_equal(done.added.n[SNUG_HISTORY_TRIAL], 1);
        assert_ok(snug_history_undo(store, gone, &removed, &err));
        assert_int_equal(removed.n[SNUG_HISTORY_TRIAL], gone == 1 ? 0 : 1);
        assert_int_equal(removed.n[SNUG_HISTORY_TASK], 0);
        assert_int_equal(store_ask(path, "SELECT count(*) FROM trials"), gone == 1 ? 2 : 1);
        assert_int_equal(store_ask(path, "SELECT count(*) FROM noise"), 1);
        assert_int_equal(store_ask(path, "SELECT count(*) FROM sensitivity"), 1);
        assert_int_equal(store_ask(path, "SELECT count(*) FROM import_also"), 0);
        assert_ok(snug_history_undo(store, 3 - gone, &removed, &err));
        snug_store_close(store);
        assert_int_equal(store_ask(path, "SELECT (SELECT count(*) FROM trials) + (SELECT count(*) "
                                         "FROM tasks) + (SELECT count(*) FROM machines) + (SELECT "
                                         "count(*) FROM models) + (SELECT count(*) FROM noise) + "
                                         "(SELECT count(*) FROM sensitivity)"),
                         0);
        assert_store_whole(path);
    }
    free(first);
    free(second);
}

static bool see_import(const struct snug_history_import_view *view, void *data)
{
    ++*(int *)data;
    assert_int_equal(view->id, 1);
    assert_string_equal(view->file, "f.snug");
    assert_string_equal(view->snug, snug_version());
    assert_int_equal(view->n_tasks, 1);
    assert_int_equal(view->n_trials, 2);
    assert_true(view->created_unix_s > 1.7e9 && view->imported_unix_s >= view->created_unix_s);
    return true;
}

static void imports_are_listed_and_found_by_their_file(void **state)
{
    struct snug_error err = {0};
    size_t n = 0;
    int n_imports = 0;
    int64_t id = 0;
    void *data = small_file(state, "a.db", &n);
    struct snug_store *store = store_open(state, "b.db");
    assert_fails(SNUG_NOT_FOUND, snug_history_find(store, "g.snug", data, n, &id, &err));
    assert_contains(err.text, "g.snug: not imported");
    import(store, data, n);
    assert_ok(snug_history_imports(store, see_import, &n_imports, &err));
    assert_int_equal(n_imports, 1);
    assert_ok(snug_history_find(store, "renamed.snug", data, n, &id, &err));
    assert_int_equal(id, 1);
    snug_store_close(store);
    free(data);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(import_gives_the_trials_that_were_exported),
        IN_FOLDER(export_of_an_import_is_the_same_body),
        IN_FOLDER(noise_and_quality_come_over_and_own_ones_stay),
        IN_FOLDER(export_tells_nothing_of_who_and_where),
        cmocka_unit_test(trial_line_lacks_texts_and_samples_alone),
        IN_FOLDER(trial_on_a_named_server_is_left_out),
        IN_FOLDER(export_of_one_model_and_of_none),
        IN_FOLDER(import_again_changes_nothing),
        IN_FOLDER(import_of_ones_own_export_changes_nothing),
        IN_FOLDER(undo_leaves_the_store_as_it_was),
        IN_FOLDER(undo_keeps_later_trials_of_ones_own),
        IN_FOLDER(sensitivities_come_over_and_own_ones_stay),
        IN_FOLDER(undo_of_either_of_two_that_overlap_leaves_the_other),
        IN_FOLDER(imports_are_listed_and_found_by_their_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
