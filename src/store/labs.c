/* Runs of a rounds file: which trial answers which row, so that a run that was killed goes on. */
#include <stdlib.h>
#include <string.h>

#include "store/store_internal.h"

#define TEXT_MAX SNUG_STORE_TEXT_MAX
#define JSON_MAX SNUG_STORE_JSON_MAX

snug_status snug_store_lab_begin(struct snug_store *store, const char *plan_hash, const char *name,
                                 const char *plan_json, int64_t *out_id, struct snug_error *err)
{
    char owner[SNUG__OWNER_MAX];
    struct snug__use use = snug__use_begin(store, SNUG__SQL_LAB, err);
    snug__owner_self(owner);
    snug__use_text(&use, 1, "the plan's hash", plan_hash, TEXT_MAX);
    snug__use_text(&use, 2, "the plan's name", name, TEXT_MAX);
    snug__use_text(&use, 3, "the plan", plan_json, JSON_MAX);
    snug__use_text(&use, 4, "the run's owner", owner, TEXT_MAX);
    snug__use_number(&use, 5, snug__store_now_s());
    return snug__use_run(&use, "begin rounds", out_id);
}

/* A run found in the list, or why there is none. */
struct found {
    int64_t id;
    char *plan;
    int64_t busy_id; /* newest one that another living process works on */
    int busy_pid;
};

static snug_status find_unfinished(struct snug_store *store, const char *plan_hash,
                                   struct found *found, struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_LAB_UNFINISHED, err);
    snug__use_text(&use, 1, "the plan's hash", plan_hash, TEXT_MAX);
    while (!found->id && snug__use_step(&use, "list its rounds")) {
        int pid = 0;
        const int64_t id = sqlite3_column_int64(use.statement, 0);
        if (!snug__owner_is_other_alive(snug__column_text(use.statement, 2), &pid)) {
            found->id = id;
            found->plan = strdup(snug__column_text(use.statement, 1));
        } else if (!found->busy_id) {
            found->busy_id = id;
            found->busy_pid = pid;
        }
    }
    if (found->id && !found->plan)
        use.status = snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for a plan", store->path);
    return snug__use_end(&use);
}

static snug_status take(struct snug_store *store, int64_t id, struct snug_error *err)
{
    char owner[SNUG__OWNER_MAX];
    struct snug__use use = snug__use_begin(store, SNUG__SQL_LAB_TAKE, err);
    snug__owner_self(owner);
    snug__use_int(&use, 1, id);
    snug__use_text(&use, 2, "the run's owner", owner, TEXT_MAX);
    return snug__use_run(&use, "take over rounds", NULL);
}

static snug_status fail_unfinished(const struct found *found, struct snug_error *err)
{
    if (found->busy_id)
        return snug_fail(err, SNUG_NOT_FOUND,
                         "no unfinished run of this plan that could go on; run %lld is still "
                         "working as process %d",
                         (long long)found->busy_id, found->busy_pid);
    return snug_fail(err, SNUG_NOT_FOUND, "no unfinished run of this plan");
}

/* Found and taken in one transaction: of two processes that resume at once, one gets it. */
snug_status snug_store_lab_unfinished(struct snug_store *store, const char *plan_hash,
                                      int64_t *out_id, char **out_plan_json, struct snug_error *err)
{
    struct found found = {0};
    snug_status status = snug__store_begin(store, err);
    if (status == SNUG_OK)
        status = find_unfinished(store, plan_hash, &found, err);
    if (status == SNUG_OK && !found.id)
        status = fail_unfinished(&found, err);
    if (status == SNUG_OK)
        status = take(store, found.id, err);
    if (status == SNUG_OK)
        status = snug__store_commit(store, "take over rounds", err);
    snug__store_rollback(store);
    if (status == SNUG_OK) {
        *out_id = found.id;
        *out_plan_json = found.plan;
        found.plan = NULL; /* the caller owns it now */
    }
    free(found.plan);
    return status;
}

snug_status snug_store_lab_finish(struct snug_store *store, int64_t lab_id, const char *result_json,
                                  struct snug_error *err)
{
    int64_t id = 0;
    struct snug__use use = snug__use_begin(store, SNUG__SQL_LAB_FINISH, err);
    snug__use_int(&use, 1, lab_id);
    snug__use_text(&use, 2, "the run's result", result_json, JSON_MAX);
    snug__use_number(&use, 3, snug__store_now_s());
    snug_status status = snug__use_run(&use, "finish rounds", &id);
    if (status == SNUG_OK && id == 0)
        status =
            snug_fail(err, SNUG_NOT_FOUND, "%s: no rounds %lld", store->path, (long long)lab_id);
    return status;
}
