/* What the tests of history files share: files made of lines by hand, a store with something in
 * every column that could tell who its user is, and a store's whole content as text. */
#ifndef SNUG_TEST_HISTORY_H
#define SNUG_TEST_HISTORY_H

#include "store.h"

#include "base/buffer.h"
#include "base/gzip.h"
#include "base/hash.h"
#include "snug/history.h"

#define SECRET_NAME "kunigunde"
#define SECRET_HOST "zugspitze"
#define SECRET_HOME "/home/" SECRET_NAME

static const char GOOD_BODY[] =
    "{\"kind\":\"machine\",\"fingerprint\":\"aa\",\"facts\":{\"cpu_name\":\"A CPU\"}}\n"
    "{\"kind\":\"model\",\"hash\":\"bb\",\"facts\":{\"arch\":\"llama\",\"n_params\":1100000000,"
    "\"file_type\":\"Q4_0\"}}\n"
    "{\"kind\":\"task\",\"machine\":1,\"model\":1,\"build\":\"libllama 0.7.0\","
    "\"load_level\":\"idle\",\"n_prompt\":512,\"n_gen\":32,\"n_depth\":0,\"n_parallel\":1,"
    "\"n_ctx\":4096,\"workload_hash\":\"\"}\n"
    "{\"kind\":\"trial\",\"task\":1,\"role\":\"search\",\"strategy\":\"snug\",\"config\":{"
    "\"n_threads\":2,\"type_k\":\"f16\"},\"effective\":{},\"measurement\":{\"outcome\":\"ok\","
    "\"started_unix_s\":1767225600.25,\"decode_tps\":12.5,\"decode_block_tps\":[12,13]}}\n";

/* A header of these counts: machines, models, tasks, trials, noise floors, qualities,
 * sensitivities. */
struct history_counts {
    long long n[7];
};
static const struct history_counts GOOD_COUNTS = {{1, 1, 1, 1, 0, 0, 0}};

/* Pack a body under a header that fits it; malloc'ed. */
static inline void *history_pack(const char *body, size_t n_body, const char *format, int version,
                                 const struct history_counts *counts, size_t *out_n)
{
    struct snug_buffer all = {0};
    struct snug_error err = {0};
    char sha256[SNUG_SHA256_HEX_MAX];
    void *packed = NULL;
    snug_buffer_printf(&all,
                       "{\"format\":\"%s\",\"version\":%d,\"snug\":\"0.1.0\",\"schema\":4,"
                       "\"created_unix_s\":1767225600,\"n_machines\":%lld,\"n_models\":%lld,"
                       "\"n_tasks\":%lld,\"n_trials\":%lld,\"n_noise\":%lld,\"n_qualities\":%lld,"
                       "\"n_sensitivities\":%lld,"
                       "\"sha256\":\"%s\"}\n",
                       format, version, counts->n[0], counts->n[1], counts->n[2], counts->n[3],
                       counts->n[4], counts->n[5], counts->n[6],
                       snug_sha256_hex(body, n_body, sha256));
    snug_buffer_append(&all, body, n_body);
    assert_false(all.is_failed);
    assert_ok(snug_gzip_pack(all.data, all.len, &packed, out_n, &err));
    snug_buffer_clear(&all);
    return packed;
}

/* The body of a history file as text, malloc'ed. */
static inline char *history_body(const void *data, size_t n)
{
    struct snug_error err = {0};
    char *text = NULL;
    size_t n_text = 0;
    assert_ok(snug_gzip_unpack("file", data, n, SNUG_HISTORY_TEXT_MAX, &text, &n_text, &err));
    char *body = strdup(strchr(text, '\n') + 1);
    assert_non_null(body);
    free(text);
    return body;
}

/* A task of another machine, whose texts tell who and where in every column that takes a text. */
static inline int64_t secret_task(struct snug_store *store, const char *fingerprint)
{
    struct snug_error err = {0};
    struct snug_workload workload = STORE_WORKLOAD;
    int64_t machine = 0, model = 0, task = 0;
    snprintf(workload.name, sizeof workload.name, "letters of " SECRET_NAME);
    snprintf(workload.hash, sizeof workload.hash, "cc");
    snprintf(workload.path, sizeof workload.path, SECRET_HOME "/letters.yaml");
    assert_ok(snug_store_machine(
        store, fingerprint, SECRET_HOST,
        "{\"cpu_name\":\"Intel(R) CPU @ 2.00GHz\",\"hostname\":\"" SECRET_HOST "\","
        "\"os\":\"Linux 6.1-" SECRET_HOST "\",\"n_cores\":2,\"n_cores_usable\":2,"
        "\"n_threads_usable\":4,\"quota_cpus\":{\"value\":1.5,\"source\":\"/sys/fs/cgroup/"
        "user.slice/" SECRET_NAME "\"},\"governor_source\":\"" SECRET_HOME "\","
        "\"caches\":[{\"level\":1,\"size_bytes\":32768,\"n_instances\":2}],"
        "\"devices\":[{\"name\":\"RPC0\",\"description\":\"" SECRET_HOST ":50052\","
        "\"kind\":\"gpu\",\"bytes_total\":7}]}",
        &machine, &err));
    assert_ok(snug_store_model(store, "bb", SECRET_NAME ".gguf", SECRET_HOME "/m.gguf",
                               "{\"arch\":\"llama\",\"name\":\"" SECRET_NAME
                               "\",\"path\":\"" SECRET_HOME "/m.gguf\",\"note\":\"" SECRET_HOME
                               "\",\"n_params\":"
                               "1100000000,\"file_type\":\"Q4_0 - small\",\"types\":[{\"type\":"
                               "\"q4_0\",\"n_tensors\":3,\"n_elements\":4,\"bytes\":5}]}",
                               &model, &err));
    assert_ok(
        snug_store_task(store, machine, model, &workload, "libllama 0.7.0", "idle", &task, &err));
    return task;
}

/* A trial that began at start and failed with a telling reason, or went well. */
static inline int64_t secret_trial(struct snug_store *store, int64_t task, double start, bool is_ok)
{
    struct snug_error err = {0};
    struct snug_measurement m = store_measurement();
    int64_t id = 0;
    m.started_unix_s = start;
    m.outcome = is_ok ? SNUG_TRIAL_OK : SNUG_TRIAL_CRASH;
    snprintf(m.reason, sizeof m.reason, "%s",
             is_ok ? "" : "worker of " SECRET_NAME " died in " SECRET_HOME);
    snug_conditions_init(&m.conditions);
    m.conditions.wall_s = 3.5;
    snprintf(m.conditions.unreadable, sizeof m.conditions.unreadable, "clock: " SECRET_HOME);
    snprintf(m.conditions.energy.source, sizeof m.conditions.energy.source, SECRET_HOST);
    assert_ok(store_add(store, task, 0, &m, &id, &err));
    return id;
}

/* Every row of every table as text, malloc'ed. */
static inline char *store_text(const char *path)
{
    static const char *const tables[] = {"imports",   "import_also", "machines", "models",
                                         "tasks",     "sessions",    "trials",   "conditions",
                                         "details",   "samples",     "gaps",     "noise",
                                         "qualities", "sensitivity", "labs",     "lab_rows"};
    struct snug_buffer out = {0};
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    for (size_t i = 0; i < COUNT(tables); i++) {
        char sql[96];
        sqlite3_stmt *s = NULL;
        snprintf(sql, sizeof sql, "SELECT * FROM %s ORDER BY 1, 2", tables[i]);
        assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
        while (sqlite3_step(s) == SQLITE_ROW) {
            snug_buffer_printf(&out, "%s", tables[i]);
            for (int c = 0; c < sqlite3_column_count(s); c++) {
                const unsigned char *text = sqlite3_column_text(s, c);
                snug_buffer_printf(&out, "|%s", text ? (const char *)text : "NULL");
            }
            snug_buffer_puts(&out, "\n");
        }
        sqlite3_finalize(s);
    }
    sqlite3_close(db);
    char *text = snug_buffer_take(&out);
    assert_non_null(text);
    return text;
}

#endif
