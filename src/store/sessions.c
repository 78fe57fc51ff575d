/* What a run works on, so that one that was killed can go on: --resume. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_internal.h"

#define TEXT_MAX SNUG_STORE_TEXT_MAX
#define JSON_MAX SNUG_STORE_JSON_MAX

snug_status snug_store_session(struct snug_store *store, int64_t task_id, const char *kind,
                               const char *options_json, int64_t *out_id, struct snug_error *err)
{
    char owner[SNUG__OWNER_MAX];
    struct snug__use use = snug__use_begin(store, SNUG__SQL_SESSION, err);
    snug__owner_self(owner);
    snug__use_int(&use, 1, task_id);
    snug__use_text(&use, 2, "the session's kind", kind, TEXT_MAX);
    snug__use_text(&use, 3, "the session's options", options_json, JSON_MAX);
    snug__use_text(&use, 4, "the session's owner", owner, TEXT_MAX);
    snug__use_number(&use, 5, snug__store_now_s());
    return snug__use_run(&use, "add a session", out_id);
}

/* A session found in the list, or why there is none. */
struct found {
    int64_t id;
    char *options;
    int64_t busy_id; /* newest one that another living process works on */
    int busy_pid;
};

static snug_status find_unfinished(struct snug_store *store, int64_t task_id, const char *kind,
                                   struct found *found, struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_SESSION_UNFINISHED, err);
    snug__use_int(&use, 1, task_id);
    snug__use_text(&use, 2, "the session's kind", kind, TEXT_MAX);
    while (!found->id && snug__use_step(&use, "list its sessions")) {
        int pid = 0;
        const int64_t id = sqlite3_column_int64(use.statement, 0);
        if (!snug__owner_is_other_alive(snug__column_text(use.statement, 2), &pid)) {
            found->id = id;
            found->options = strdup(snug__column_text(use.statement, 1));
        } else if (!found->busy_id) {
            found->busy_id = id;
            found->busy_pid = pid;
        }
    }
    if (found->id && !found->options)
        use.status = snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for a session", store->path);
    return snug__use_end(&use);
}

static snug_status take_session(struct snug_store *store, int64_t id, struct snug_error *err)
{
    char owner[SNUG__OWNER_MAX];
    struct snug__use use = snug__use_begin(store, SNUG__SQL_SESSION_TAKE, err);
    snug__owner_self(owner);
    snug__use_int(&use, 1, id);
    snug__use_text(&use, 2, "the session's owner", owner, TEXT_MAX);
    return snug__use_run(&use, "take a session", NULL);
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
    int64_t id = 0;
    struct snug__use use = snug__use_begin(store, SNUG__SQL_SESSION_FINISH, err);
    snug__use_int(&use, 1, session_id);
    snug__use_text(&use, 2, "the session's result", result_json, JSON_MAX);
    snug__use_number(&use, 3, snug__store_now_s());
    snug_status status = snug__use_run(&use, "finish a session", &id);
    if (status == SNUG_OK && id == 0)
        status = snug_fail(err, SNUG_NOT_FOUND, "%s: no session %lld", store->path,
                           (long long)session_id);
    return status;
}

snug_status snug_store_result(struct snug_store *store, int64_t task_id, const char *kind,
                              int64_t *out_session_id, char **out_json, struct snug_error *err)
{
    char *json = NULL;
    int64_t id = 0;
    struct snug__use use = snug__use_begin(store, SNUG__SQL_RESULT, err);
    snug__use_int(&use, 1, task_id);
    snug__use_text(&use, 2, "the session's kind", kind, TEXT_MAX);
    if (snug__use_step(&use, "be read")) {
        id = sqlite3_column_int64(use.statement, 0);
        json = strdup(snug__column_text(use.statement, 1));
        if (!json)
            use.status = snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for a result", store->path);
    } else if (use.status == SNUG_OK) {
        use.status = snug_fail(err, SNUG_NOT_FOUND, "no finished %s session of this task", kind);
    }
    const snug_status status = snug__use_end(&use);
    if (status == SNUG_OK) {
        *out_session_id = id;
        *out_json = json;
    }
    return status;
}
