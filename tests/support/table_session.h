/* A tuning session on a replayed table: no model, no process. */
#ifndef SNUG_TEST_TABLE_SESSION_H
#define SNUG_TEST_TABLE_SESSION_H

#include "table.h"

#include "base/file.h"
#include "snug/tune_loop.h"

struct table_session {
    char path[512];
    struct snug_tune_options tune; /* of "snug", seed 1, 8 trials; a test adds what it is about */
};

/* The table is what table_text makes, of this workload. The store stays where it is from one
 * session to the next of a test, so that they can be resumed. */
static inline void table_session_open_of(void **state, const char *store_name, char *text,
                                         struct snug_workload workload, struct table_session *out)
{
    struct snug_error err = {0};
    struct snug_engine *engine = NULL;
    struct snug_store *store = NULL;
    int64_t machine = 0, model = 0, task = 0;
    snprintf(out->path, sizeof out->path, "%s", test_path(state, "t.jsonl"));
    assert_ok(snug_file_write(out->path, text, strlen(text), &err));
    free(text);
    const struct snug_engine_options options = {.model_path = out->path, .workload = workload};
    assert_ok(snug_engine_open("replay", &options, &engine, &err));
    assert_ok(snug_store_open(test_path(state, store_name), &store, &err));
    assert_ok(snug_store_machine(store, "f", "a machine", "{}", &machine, &err));
    assert_ok(snug_store_model(store, "h", "t", out->path, "{}", &model, &err));
    assert_ok(snug_store_task(store, machine, model, &options.workload, snug_engine_build(engine),
                              "idle", &task, &err));
    out->tune = (struct snug_tune_options){.engine = engine,
                                           .store = store,
                                           .task_id = task,
                                           .model_path = out->path,
                                           .workload = options.workload,
                                           .n_trials = 8,
                                           .strategy = "snug",
                                           .seed = 1};
    snug_effort_default(&out->tune.effort);
}

static inline void table_session_open(void **state, const char *store_name, char *text,
                                      struct table_session *out)
{
    const struct snug_workload w = {.n_prompt = 64, .n_gen = 16, .n_parallel = 1, .n_ctx = 128};
    table_session_open_of(state, store_name, text, w, out);
}

static inline void table_session_close(struct table_session *s)
{
    snug_store_close(s->tune.store);
    snug_engine_close(s->tune.engine);
}

#endif
