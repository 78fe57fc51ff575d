/* Imports: which there are, and taking one back. A row goes when the import that brought it goes,
 * unless another import brought it too: then it is that one's. Tasks, models and machines go when
 * nothing is left that needs them. */
#include "snug/history.h"
#include "store/store_internal.h"

/* ---- list ---- */

#define IMPORTS_SQL                                                                                \
    "SELECT i.id, i.file, i.snug, i.created_unix_s, i.imported_unix_s, "                           \
    "(SELECT count(DISTINCT task_id) FROM trials WHERE import_id = i.id), "                        \
    "(SELECT count(*) FROM trials WHERE import_id = i.id) FROM imports i ORDER BY i.id"

snug_status snug_history_imports(struct snug_store *store, snug_history_import_fn fn, void *data,
                                 struct snug_error *err)
{
    /* Not a kept statement: the callback may ask again. */
    sqlite3_stmt *s = NULL;
    bool goes_on = true;
    int rc = sqlite3_prepare_v2(store->db, IMPORTS_SQL, -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    while (rc == SQLITE_ROW && goes_on) {
        const struct snug_history_import_view view = {
            .id = sqlite3_column_int64(s, 0),
            .file = snug__column_text(s, 1),
            .snug = snug__column_text(s, 2),
            .created_unix_s = sqlite3_column_double(s, 3),
            .imported_unix_s = sqlite3_column_double(s, 4),
            .n_tasks = sqlite3_column_int64(s, 5),
            .n_trials = sqlite3_column_int64(s, 6),
        };
        goes_on = fn(&view, data);
        if (goes_on)
            rc = sqlite3_step(s);
    }
    const snug_status status = rc == SQLITE_DONE || rc == SQLITE_ROW
                                   ? SNUG_OK
                                   : snug__store_fail(store, rc, "list its imports", err);
    sqlite3_finalize(s);
    return status;
}

/* ---- undo ---- */

/* Rows with an owner of their own: hand over what another import has too, then remove. */
#define HAND_OVER(table, key)                                                                      \
    "UPDATE " table                                                                                \
    " SET import_id = (SELECT min(import_id) FROM import_also WHERE kind = '" table                \
    "' AND key = " key ") WHERE import_id = ?1 AND EXISTS(SELECT 1 FROM import_also WHERE "        \
    "kind = '" table "' AND key = " key ")"
/* What was handed over is a claim no more. */
#define SETTLE(table, key)                                                                         \
    "DELETE FROM import_also WHERE kind = '" table "' AND (import_also.key, import_id) IN "        \
    "(SELECT " key ", import_id FROM " table " WHERE import_id IS NOT NULL)"
#define CLAIMED(table, key)                                                                        \
    {HAND_OVER(table, key), -1},                                                                   \
    {                                                                                              \
        SETTLE(table, key), -1                                                                     \
    }
#define REMOVE(table) "DELETE FROM " table " WHERE import_id = ?1"

/* Whose a row is now, of those that need it: one's own (NULL) before any import. */
#define OWNER_OF(rows) "(SELECT i FROM (" rows ") ORDER BY i IS NOT NULL, i LIMIT 1)"
#define TASK_NEEDED                                                                                \
    "SELECT import_id AS i FROM trials WHERE task_id = tasks.id UNION ALL "                        \
    "SELECT NULL FROM sessions WHERE task_id = tasks.id"
#define MODEL_NEEDED                                                                               \
    "SELECT import_id AS i FROM tasks WHERE model_id = models.id UNION ALL "                       \
    "SELECT import_id FROM qualities WHERE model_id = models.id"
#define MACHINE_NEEDED "SELECT import_id AS i FROM tasks WHERE machine_id = machines.id"
#define REMOVE_UNNEEDED(table, rows) REMOVE(table) " AND NOT EXISTS(" rows ")"
#define KEEP_NEEDED(table, rows)                                                                   \
    "UPDATE " table " SET import_id = " OWNER_OF(rows) " WHERE import_id = ?1"

/* In this order: what refers goes before what is referred to. counted: the kind whose rows the
 * statement removes, or -1. */
static const struct {
    const char *sql;
    int counted;
} UNDO[] = {
    CLAIMED("trials", SNUG__ID_KEY("trials")),
    CLAIMED("noise", SNUG__NOISE_KEY),
    CLAIMED("qualities", SNUG__ID_KEY("qualities")),
    CLAIMED("sensitivity", SNUG__SENSITIVITY_KEY),
    {REMOVE("trials"), SNUG_HISTORY_TRIAL},
    {REMOVE("noise"), SNUG_HISTORY_NOISE},
    {REMOVE("qualities"), SNUG_HISTORY_QUALITY},
    {REMOVE("sensitivity"), SNUG_HISTORY_SENSITIVITY},
    {REMOVE_UNNEEDED("tasks", TASK_NEEDED), SNUG_HISTORY_TASK},
    {KEEP_NEEDED("tasks", TASK_NEEDED), -1},
    {REMOVE_UNNEEDED("models", MODEL_NEEDED), SNUG_HISTORY_MODEL},
    {KEEP_NEEDED("models", MODEL_NEEDED), -1},
    {REMOVE_UNNEEDED("machines", MACHINE_NEEDED), SNUG_HISTORY_MACHINE},
    {KEEP_NEEDED("machines", MACHINE_NEEDED), -1},
    {"DELETE FROM import_also WHERE import_id = ?1", -1},
    {"DELETE FROM imports WHERE id = ?1", -1},
};

static snug_status run(struct snug_store *store, const char *sql, int64_t import_id,
                       int64_t *out_changed, struct snug_error *err)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(store->db, sql, -1, &s, NULL);
    if (rc == SQLITE_OK && sqlite3_bind_parameter_count(s) > 0)
        rc = sqlite3_bind_int64(s, 1, import_id);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    snug_status status = SNUG_OK;
    if (rc != SQLITE_DONE)
        status = snug__store_fail(store, rc, "take an import back", err);
    sqlite3_finalize(s);
    *out_changed = sqlite3_changes(store->db);
    return status;
}

snug_status snug_history_undo(struct snug_store *store, int64_t id,
                              struct snug_history_counts *out_removed, struct snug_error *err)
{
    struct snug_history_counts removed = {{0}};
    int64_t n = 0;
    snug_status status = snug__store_begin(store, err);
    for (size_t i = 0; status == SNUG_OK && i < sizeof UNDO / sizeof *UNDO; i++) {
        status = run(store, UNDO[i].sql, id, &n, err);
        if (status == SNUG_OK && UNDO[i].counted >= 0)
            removed.n[UNDO[i].counted] = n;
    }
    if (status == SNUG_OK && n == 0) /* of the last one, the import's own row */
        status = snug_fail(err, SNUG_NOT_FOUND, "%s: no import %lld; see snug history", store->path,
                           (long long)id);
    if (status == SNUG_OK)
        status = snug__store_commit(store, "take an import back", err);
    snug__store_rollback(store);
    if (status == SNUG_OK)
        *out_removed = removed;
    return status;
}
