/* Past tasks of the store that are like the present one, with the trials that can be learned from.
 */
#ifndef SNUG_TUNE_PAST_TASKS_H
#define SNUG_TUNE_PAST_TASKS_H

#include "snug/store.h"
#include "snug/tune.h"
#include "tune/descriptor.h"

#define SNUG__PAST_SIMILARITY_MIN 0.1
#define SNUG__PAST_TRIALS_MAX 512 /* the newest of a task that are read */
#define SNUG__PAST_LABEL_MAX 192
#define SNUG__PAST_RECORD_MAX 256

struct snug__past_task {
    int64_t id, until;                /* in the store; its last trial that counts */
    double similarity;                /* in thousandths, so that a record gives it back */
    char label[SNUG__PAST_LABEL_MAX]; /* model and workload, and the machine where it is another */
    char machine_fingerprint[65], model_hash[65];
    char *model_path; /* where it lay then */
    struct snug_workload workload;
    struct snug_space space;         /* the present rows with the bounds and defaults of then */
    struct snug_observation *trials; /* [SNUG__PAST_TRIALS_MAX] good ones, by id */
    double *expected;                /* the same; NAN */
    int n;
};

struct snug__past_tasks {
    struct snug__past_task tasks[SNUG_PASTS_MAX]; /* the most alike first */
    int n;
};

/* Whom to find tasks for. */
struct snug__past_query {
    struct snug_store *store;
    const struct snug_space *space;
    const struct snug__descriptor *here;
    const char *machine_fingerprint;
    enum snug_objective objective;
};

/* Tasks of any model, machine and build that are alike and have SNUG__TRANSFER_TRIALS_MIN good
 * trials or more, the present one's own among them. What cannot be read teaches nothing.
 * Errors  SNUG_IO: the store cannot be read; SNUG_NO_MEMORY */
snug_status snug__past_tasks_find(const struct snug__past_query *query,
                                  struct snug__past_tasks *out,
                                  struct snug_error *err) SNUG_CHECKED;
/* Those of a record, with the trials that they had then. Errors  SNUG_NOT_FOUND: it is no record,
 * or they are not what they were. */
snug_status snug__past_tasks_find_again(const struct snug__past_query *query, const char *record,
                                        struct snug__past_tasks *out,
                                        struct snug_error *err) SNUG_CHECKED;
void snug__past_tasks_clear(struct snug__past_tasks *tasks);
/* What find_again reads, "task/until/trials/thousandths,..."; "" for none. Returns out. */
const char *snug__past_tasks_record(const struct snug__past_tasks *tasks,
                                    char out[SNUG__PAST_RECORD_MAX]);
/* As a strategy takes them; borrowed. Returns how many. */
int snug__past_tasks_give(const struct snug__past_tasks *tasks,
                          struct snug_past out[SNUG_PASTS_MAX]);

#endif
