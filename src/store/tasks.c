/* Machines, models and tasks: what trials belong to. Each is found by its key or made, in one
 * statement (INSERT ... ON CONFLICT ... RETURNING), so that two processes cannot both make it. */
#include <stdio.h>

#include "store/store_internal.h"

#define TEXT_MAX SNUG_STORE_TEXT_MAX
#define JSON_MAX SNUG_STORE_JSON_MAX

/* ---- machines, models, tasks ---- */

snug_status snug_store_machine(struct snug_store *store, const char *fingerprint, const char *name,
                               const char *json, int64_t *out_id, struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_MACHINE, err);
    snug__use_text(&use, 1, "the machine's fingerprint", fingerprint, TEXT_MAX);
    snug__use_text(&use, 2, "the machine's name", name, TEXT_MAX);
    snug__use_text(&use, 3, "the machine's description", json, JSON_MAX);
    snug__use_number(&use, 4, snug__store_now_s());
    return snug__use_run(&use, "add a machine", out_id);
}

snug_status snug_store_model(struct snug_store *store, const char *hash, const char *name,
                             const char *path, const char *json, int64_t *out_id,
                             struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_MODEL, err);
    snug__use_text(&use, 1, "the model's hash", hash, TEXT_MAX);
    snug__use_text(&use, 2, "the model's name", name, TEXT_MAX);
    snug__use_text(&use, 3, "the model's path", path, TEXT_MAX);
    snug__use_text(&use, 4, "the model's description", json, JSON_MAX);
    snug__use_number(&use, 5, snug__store_now_s());
    return snug__use_run(&use, "add a model", out_id);
}

/* snug:long a task is its key: seven values that belong to one row */
snug_status snug_store_task(struct snug_store *store, int64_t machine_id, int64_t model_id,
                            const struct snug_workload *workload, const char *build,
                            const char *load_level, int64_t *out_id, struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_TASK, err);
    snug__use_int(&use, 1, machine_id);
    snug__use_int(&use, 2, model_id);
    snug__use_text(&use, 3, "the engine's build", build, TEXT_MAX);
    snug__use_text(&use, 4, "the load level", load_level, TEXT_MAX);
    snug__use_int(&use, 5, workload->n_prompt);
    snug__use_int(&use, 6, workload->n_gen);
    snug__use_int(&use, 7, workload->n_depth);
    snug__use_int(&use, 8, workload->n_parallel);
    snug__use_int(&use, 9, workload->n_ctx);
    snug__use_number(&use, 10, snug__store_now_s());
    snug__use_text(&use, 11, "the workload's name", workload->name, TEXT_MAX);
    snug__use_text(&use, 12, "the workload's hash", workload->hash, TEXT_MAX);
    snug__use_text(&use, 13, "the workload's path", workload->path, TEXT_MAX);
    return snug__use_run(&use, "add a task", out_id);
}

/* Columns in the order of the view; `last` is the time of the newest trial, or of the task. */
#define TASKS_SQL                                                                                  \
    "SELECT t.id, m.fingerprint, m.name, m.json, o.hash, o.name, o.path, o.json, t.build, "        \
    "t.load_level, t.n_prompt, t.n_gen, t.n_depth, t.n_parallel, t.n_ctx, t.workload_name, "       \
    "t.workload_hash, t.workload_path, "                                                           \
    "(SELECT count(*) FROM trials WHERE task_id = t.id), "                                         \
    "coalesce((SELECT max(started_unix_s) FROM trials WHERE task_id = t.id), t.seen_unix_s) "      \
    "AS last, (SELECT count(import_id) FROM trials WHERE task_id = t.id), "                        \
    "(SELECT group_concat(i) FROM (SELECT DISTINCT import_id AS i FROM trials "                    \
    "WHERE task_id = t.id AND import_id IS NOT NULL ORDER BY i)) "                                 \
    "FROM tasks t JOIN machines m ON m.id = t.machine_id "                                         \
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
        .n_trials = sqlite3_column_int64(s, 18),
        .last_unix_s = sqlite3_column_double(s, 19),
        .n_imported = sqlite3_column_int64(s, 20),
        .imports = snug__column_text(s, 21),
    };
    struct snug_workload *w = &view->workload;
    int64_t *const lengths[] = {&w->n_prompt, &w->n_gen, &w->n_depth, &w->n_parallel, &w->n_ctx};
    for (int i = 0; i < 5; i++)
        *lengths[i] = sqlite3_column_int64(s, 10 + i);
    snprintf(w->name, sizeof w->name, "%s", snug__column_text(s, 15));
    snprintf(w->hash, sizeof w->hash, "%s", snug__column_text(s, 16));
    snprintf(w->path, sizeof w->path, "%s", snug__column_text(s, 17));
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
