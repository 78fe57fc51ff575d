/* What the tests of the store share: a small space, a measurement in which every field has a value
 * of its own, and a task to hang trials on. */
#ifndef SNUG_TEST_STORE_H
#define SNUG_TEST_STORE_H

#include "test.h"

#include <sqlite3.h>

#include "snug/store.h"

static const struct snug_space STORE_SPACE = {
    .knobs = {{.name = "n_threads", .kind = SNUG_KNOB_INT, .min = 1, .max = 8, .step = 1, .def = 2},
              {.name = "flash_attn", .kind = SNUG_KNOB_BOOL, .max = 1, .def = 1},
              {.name = "type_k",
               .kind = SNUG_KNOB_ENUM,
               .max = 1,
               .values = {"f16", "q8_0"},
               .n_values = 2}},
    .n = 3};

/* Migrations so far: schema.c. */
#define STORE_VERSION 4

static const struct snug_workload STORE_WORKLOAD = {
    .n_prompt = 512, .n_gen = 32, .n_depth = 0, .n_parallel = 1, .n_ctx = 4096};

/* gaps_s points to a static array: never clear this one. */
static inline struct snug_measurement store_measurement(void)
{
    static double gaps_s[4] = {0.0625, 0.125, 0.1, 3.0};
    struct snug_measurement m = {
        .outcome = SNUG_TRIAL_OK,
        .prefill_tps = 101.5,
        .decode_tps = 102.5,
        .ttft_s = 103.5,
        .tpot_p50_s = 104.5,
        .tpot_p95_s = 105.5,
        .load_s = 106.5,
        .wall_s = 107.5,
        .bytes = {UINT64_C(1) << 40, 202, 203, 204, 205, 206},
        .prefill_block_tps = {100.1, 101.5, 102.2},
        .decode_block_tps = {99.5, 102.5},
        .n_prefill_blocks = 3,
        .n_decode_blocks = 2,
        .warmup_prefill_tps = 108.5,
        .warmup_decode_tps = 109.5,
        .gaps_s = gaps_s,
        .n_gaps = 4,
        .warnings = SNUG_WARN(NOISY) | SNUG_WARN(OTHER_LOAD),
        .throttled_s = 110.5,
        .other_load_frac = 0.25,
        .load_average = 111.5,
        .effective = {{4, 0, 1}},
        .started_unix_s = 1767225600.25,
        .build = "libllama 0.7.0, ggml 0.27.0",
    };
    return m;
}

/* In the test's folder. */
static inline struct snug_store *store_open(void **state, const char *name)
{
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    assert_ok(snug_store_open(test_path(state, name), &store, &err));
    return store;
}

static inline snug_status store_task(struct snug_store *store, int64_t *out_id,
                                     struct snug_error *err)
{
    int64_t machine = 0, model = 0;
    snug_status status = snug_store_machine(store, "f1", "a machine", "{}", &machine, err);
    if (status == SNUG_OK)
        status = snug_store_model(store, "h1", "m.gguf", "/m.gguf", "{}", &model, err);
    if (status == SNUG_OK)
        status = snug_store_task(store, machine, model, &STORE_WORKLOAD, "libllama 0.7.0", "idle",
                                 out_id, err);
    return status;
}

static inline snug_status store_add(struct snug_store *store, int64_t task, int64_t session,
                                    const struct snug_measurement *m, int64_t *out_id,
                                    struct snug_error *err)
{
    const struct snug_config config = {{3, 1, 0}};
    return snug_store_trial_add(store, task, session, "search", "snug", &STORE_SPACE, &config, m,
                                out_id, err);
}

/* One number of the file, asked past the store. */
static inline int64_t store_ask(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    const int64_t answer = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return answer;
}

/* Change the file past the store. */
static inline void store_exec(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static inline void assert_store_whole(const char *path)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(s, 0), "ok");
    sqlite3_finalize(s);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA foreign_key_check", -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_DONE);
    sqlite3_finalize(s);
    sqlite3_close(db);
}

#endif
