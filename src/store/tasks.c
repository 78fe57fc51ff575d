/* Machines, models, tasks and sessions: what trials belong to. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_internal.h"

#define TEXT SNUG_STORE_TEXT_MAX, &status, err
#define JSON SNUG_STORE_JSON_MAX, &status, err

/* After the texts are bound: numbers cannot fail, except for an index that does not exist. */
static snug_status finish_id(struct snug_store *store, sqlite3_stmt *s, snug_status status,
                             const char *doing, int64_t *out_id, struct snug_error *err)
{
    if (status == SNUG_OK)
        return snug__store_run_id(store, s, doing, out_id, err);
    snug__store_end(s);
    return status;
}

/* ---- machines, models, tasks ---- */

snug_status snug_store_machine(struct snug_store *store, const char *fingerprint, const char *name,
                               const char *json, int64_t *out_id, struct snug_error *err)
{
    sqlite3_stmt *s = NULL;
    snug_status status = snug__store_statement(store, SNUG__SQL_MACHINE, &s, err);
    if (status != SNUG_OK)
        return status;
    snug__bind_text(store, s, 1, "the machine's fingerprint", fingerprint, TEXT);
    snug__bind_text(store, s, 2, "the machine's name", name, TEXT);
    snug__bind_text(store, s, 3, "the machine's description", json, JSON);
    if (status == SNUG_OK && snug__bind_number(s, 4, snug__store_now_s()) != SQLITE_OK)
        status = snug__store_fail(store, sqlite3_errcode(store->db), "be written", err);
    return finish_id(store, s, status, "add a machine", out_id, err);
}

snug_status snug_store_model(struct snug_store *store, const char *hash, const char *name,
                             const char *path, const char *json, int64_t *out_id,
                             struct snug_error *err)
{
    sqlite3_stmt *s = NULL;
    snug_status status = snug__store_statement(store, SNUG__SQL_MODEL, &s, err);
    if (status != SNUG_OK)
        return status;
    snug__bind_text(store, s, 1, "the model's hash", hash, TEXT);
    snug__bind_text(store, s, 2, "the model's name", name, TEXT);
    snug__bind_text(store, s, 3, "the model's path", path, TEXT);
    snug__bind_text(store, s, 4, "the model's description", json, JSON);
    if (status == SNUG_OK && snug__bind_number(s, 5, snug__store_now_s()) != SQLITE_OK)
        status = snug__store_fail(store, sqlite3_errcode(store->db), "be written", err);
    return finish_id(store, s, status, "add a model", out_id, err);
}

static int bind_workload(sqlite3_stmt *s, int first, const struct snug_workload *workload)
{
    const int64_t values[] = {workload->n_prompt, workload->n_gen, workload->n_depth,
                              workload->n_parallel, workload->n_ctx};
    int rc = SQLITE_OK;
    for (int i = 0; rc == SQLITE_OK && i < (int)(sizeof values / sizeof *values); i++)
        rc = sqlite3_bind_int64(s, first + i, values[i]);
    return rc;
}

snug_status snug_store_task(struct snug_store *store, int64_t machine_id, int64_t model_id,
                            const struct snug_workload *workload, const char *build,
                            const char *load_level, int64_t *out_id, struct snug_error *err)
{
    sqlite3_stmt *s = NULL;
    snug_status status = snug__store_statement(store, SNUG__SQL_TASK, &s, err);
    if (status != SNUG_OK)
        return status;
    int rc = sqlite3_bind_int64(s, 1, machine_id);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(s, 2, model_id);
    if (rc == SQLITE_OK)
        rc = bind_workload(s, 5, workload);
    if (rc == SQLITE_OK)
        rc = snug__bind_number(s, 10, snug__store_now_s());
    if (rc != SQLITE_OK)
        status = snug__store_fail(store, rc, "be written", err);
    snug__bind_text(store, s, 3, "the engine's build", build, TEXT);
    snug__bind_text(store, s, 4, "the load level", load_level, TEXT);
    return finish_id(store, s, status, "add a task", out_id, err);
}

/* Columns in the order of the view; the last is the time of the newest trial, or of the task. */
#define TASKS_SQL                                                                                  \
    "SELECT t.id, m.fingerprint, m.name, m.json, o.hash, o.name, o.path, o.json, t.build, "        \
    "t.load_level, t.n_prompt, t.n_gen, t.n_depth, t.n_parallel, t.n_ctx, "                        \
    "(SELECT count(*) FROM trials WHERE task_id = t.id), "                                         \
    "coalesce((SELECT max(started_unix_s) FROM trials WHERE task_id = t.id), t.seen_unix_s) "      \
    "AS last FROM tasks t JOIN machines m ON m.id = t.machine_id "                                 \
    "JOIN models o ON o.id = t.model_id WHERE ?1 IS NULL OR o.hash = ?1 "                          \
    "ORDER BY last DESC, t.id DESC"

static void read_task(sqlite3_stmt *s, struct snug_task_view *view)
{
    *view = (struct snug_task_view){
        .id = sqlite3_column_int64(s, 0),
        .machine_fingerprint = snug__column_text(s, 1),
        .machine_name = snug__column_text(s, 2),
        .machine_json = snug__column_text(s, 3),
        .model_hash = snug__column_text(s, 4),
        .model_name = snug__column_text(s, 5),
        .model_path = snug__column_text(s, 6),
        .model_json = snug__column_text(s, 7),
        .build = snug__column_text(s, 8),
        .load_level = snug__column_text(s, 9),
        .workload = {sqlite3_column_int64(s, 10), sqlite3_column_int64(s, 11),
                     sqlite3_column_int64(s, 12), sqlite3_column_int64(s, 13),
                     sqlite3_column_int64(s, 14)},
        .n_trials = sqlite3_column_int64(s, 15),
        .last_unix_s = sqlite3_column_double(s, 16),
    };
}

snug_status snug_store_tasks(struct snug_store *store, const char *model_hash, snug_task_fn fn,
                             void *data, struct snug_error *err)
{
    /* Not a kept statement: the callback may ask for tasks too. */
    sqlite3_stmt *s = NULL;
    struct snug_task_view view;
    snug_status status = SNUG_OK;
    int rc = sqlite3_prepare_v2(store->db, TASKS_SQL, -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(s, 1, model_hash, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    while (rc == SQLITE_ROW) {
        read_task(s, &view);
        if (!fn(&view, data)) {
            rc = SQLITE_DONE;
            break;
        }
        rc = sqlite3_step(s);
    }
    if (rc != SQLITE_DONE)
        status = snug__store_fail(store, rc, "list its tasks", err);
    sqlite3_finalize(s);
    return status;
}

/* ---- sessions ---- */

snug_status snug_store_session(struct snug_store *store, int64_t task_id, const char *kind,
                               const char *options_json, int64_t *out_id, struct snug_error *err)
{
    char owner[SNUG__OWNER_MAX];
    sqlite3_stmt *s = NULL;
    snug_status status = snug__store_statement(store, SNUG__SQL_SESSION, &s, err);
    if (status != SNUG_OK)
        return status;
    snug__owner_self(owner);
    int rc = sqlite3_bind_int64(s, 1, task_id);
    if (rc == SQLITE_OK)
        rc = snug__bind_number(s, 5, snug__store_now_s());
    if (rc != SQLITE_OK)
        status = snug__store_fail(store, rc, "be written", err);
    snug__bind_text(store, s, 2, "the session's kind", kind, TEXT);
    snug__bind_text(store, s, 3, "the session's options", options_json, JSON);
    snug__bind_text(store, s, 4, "the session's owner", owner, TEXT);
    return finish_id(store, s, status, "add a session", out_id, err);
}

/* A session found in the list, and why none was. */
struct found {
    int64_t id;
    char *options;
    int64_t busy_id; /* newest one that another living process works on */
    int busy_pid;
};

static snug_status find_unfinished(struct snug_store *store, int64_t task_id, const char *kind,
                                   struct found *found, struct snug_error *err)
{
    sqlite3_stmt *s = NULL;
    snug_status status = snug__store_statement(store, SNUG__SQL_SESSION_UNFINISHED, &s, err);
    if (status != SNUG_OK)
        return status;
    snug__bind_text(store, s, 2, "the session's kind", kind, TEXT);
    int rc = status == SNUG_OK ? sqlite3_bind_int64(s, 1, task_id) : SQLITE_MISUSE;
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    for (; rc == SQLITE_ROW && !found->id; rc = found->id ? rc : sqlite3_step(s)) {
        int pid = 0;
        if (!snug__owner_is_other_alive(snug__column_text(s, 2), &pid)) {
            found->id = sqlite3_column_int64(s, 0);
            found->options = strdup(snug__column_text(s, 1));
        } else if (!found->busy_id) {
            found->busy_id = sqlite3_column_int64(s, 0);
            found->busy_pid = pid;
        }
    }
    if (status == SNUG_OK && rc != SQLITE_DONE && rc != SQLITE_ROW)
        status = snug__store_fail(store, rc, "list its sessions", err);
    if (status == SNUG_OK && found->id && !found->options)
        status = snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for a session", store->path);
    snug__store_end(s);
    return status;
}

static snug_status take_session(struct snug_store *store, int64_t id, struct snug_error *err)
{
    char owner[SNUG__OWNER_MAX];
    sqlite3_stmt *s = NULL;
    int64_t none = 0;
    snug_status status = snug__store_statement(store, SNUG__SQL_SESSION_TAKE, &s, err);
    if (status != SNUG_OK)
        return status;
    snug__owner_self(owner);
    snug__bind_text(store, s, 2, "the session's owner", owner, TEXT);
    const int rc = sqlite3_bind_int64(s, 1, id);
    if (status == SNUG_OK && rc != SQLITE_OK)
        status = snug__store_fail(store, rc, "be written", err);
    return finish_id(store, s, status, "take a session", &none, err);
}

static snug_status fail_unfinished(const struct found *found, const char *kind,
                                   struct snug_error *err)
{
    if (found->busy_id)
        return snug_fail(err, SNUG_NOT_FOUND,
                         "no unfinished %s session of this task that could go on; session %lld is "
                         "still running as process %d",
                         kind, (long long)found->busy_id, found->busy_pid);
    return snug_fail(err, SNUG_NOT_FOUND, "no unfinished %s session of this task", kind);
}

/* Found and taken in one transaction: of two processes that resume at once, one gets it. */
snug_status snug_store_session_unfinished(struct snug_store *store, int64_t task_id,
                                          const char *kind, int64_t *out_id, char **out_options,
                                          struct snug_error *err)
{
    struct found found = {0};
    snug_status status = snug__store_begin(store, err);
    if (status == SNUG_OK)
        status = find_unfinished(store, task_id, kind, &found, err);
    if (status == SNUG_OK && !found.id)
        status = fail_unfinished(&found, kind, err);
    if (status == SNUG_OK)
        status = take_session(store, found.id, err);
    if (status == SNUG_OK)
        status = snug__store_commit(store, "take a session", err);
    snug__store_rollback(store);
    if (status == SNUG_OK) {
        *out_id = found.id;
        *out_options = found.options;
        found.options = NULL; /* the caller owns it now */
    }
    free(found.options);
    return status;
}

snug_status snug_store_session_finish(struct snug_store *store, int64_t session_id,
                                      const char *result_json, struct snug_error *err)
{
    sqlite3_stmt *s = NULL;
    int64_t id = 0;
    snug_status status = snug__store_statement(store, SNUG__SQL_SESSION_FINISH, &s, err);
    if (status != SNUG_OK)
        return status;
    int rc = sqlite3_bind_int64(s, 1, session_id);
    if (rc == SQLITE_OK)
        rc = snug__bind_number(s, 3, snug__store_now_s());
    if (rc != SQLITE_OK)
        status = snug__store_fail(store, rc, "be written", err);
    snug__bind_text(store, s, 2, "the session's result", result_json, JSON);
    status = finish_id(store, s, status, "finish a session", &id, err);
    if (status == SNUG_OK && id == 0)
        status = snug_fail(err, SNUG_NOT_FOUND, "%s: no session %lld", store->path,
                           (long long)session_id);
    return status;
}

snug_status snug_store_result(struct snug_store *store, int64_t task_id, const char *kind,
                              int64_t *out_session_id, char **out_json, struct snug_error *err)
{
    sqlite3_stmt *s = NULL;
    char *json = NULL;
    snug_status status = snug__store_statement(store, SNUG__SQL_RESULT, &s, err);
    if (status != SNUG_OK)
        return status;
    snug__bind_text(store, s, 2, "the session's kind", kind, TEXT);
    if (status != SNUG_OK)
        goto done;
    int rc = sqlite3_bind_int64(s, 1, task_id);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc == SQLITE_DONE)
        status = snug_fail(err, SNUG_NOT_FOUND, "no finished %s session of this task", kind);
    else if (rc != SQLITE_ROW)
        status = snug__store_fail(store, rc, "be read", err);
    else if (!(json = strdup(snug__column_text(s, 1))))
        status = snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for a result", store->path);
    if (status == SNUG_OK) {
        *out_session_id = sqlite3_column_int64(s, 0);
        *out_json = json;
    }
done:
    snug__store_end(s);
    return status;
}
