/* What the history knows of tasks like this one, for snug tune. Nothing of it stops a tuning: what
 * cannot be read is said, and the search begins cold. */
#include "cli/tune_past.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "tune/past_tasks.h"

struct cli_past {
    struct snug__past_tasks tasks;
    struct snug_past given[SNUG_PASTS_MAX];
    char record[SNUG__PAST_RECORD_MAX];
};

/* What this task is like, with the machine's speeds where snug probe --measure left them. */
static void describe(const struct cli_task *task, struct snug__descriptor *out)
{
    char folder[4096];
    struct snug_machine_speed speed;
    struct snug__descriptor_parts parts = {
        .machine = &task->machine, .model = &task->model, .workload = &task->workload};
    if (snug_file_cache_folder(folder, sizeof folder, NULL) == SNUG_OK &&
        snug_machine_speed_load(folder, task->machine.fingerprint, &speed, NULL) == SNUG_OK)
        parts.speed = &speed;
    snug__descriptor_init(out, &parts);
}

/* The law of this machine on the trials of a task that was run on it, with its model where that
 * still lies. */
static void expect(const struct cli_task *task, enum snug_objective objective,
                   struct snug__past_task *past)
{
    struct cli_task then = *task;
    struct snug_model model = {.n_layer = 0};
    const bool is_same_model = strcmp(past->model_hash, task->model.hash) == 0;
    if (strcmp(past->machine_fingerprint, task->machine.fingerprint) != 0)
        return;
    if (!is_same_model && (snug_model_open(past->model_path, &model, NULL) != SNUG_OK ||
                           strcmp(model.hash, past->model_hash) != 0)) {
        snug_model_clear(&model);
        return;
    }
    then.workload = past->workload;
    if (!is_same_model)
        then.model = model;
    struct cli_prior *prior = cli_prior_open(&then, objective);
    for (int i = 0; prior && i < past->n; i++)
        past->expected[i] = cli_prior_log_speed(&past->trials[i].config, prior);
    cli_prior_close(prior);
    snug_model_clear(&model);
}

static void say(const struct snug__past_tasks *tasks)
{
    struct snug_buffer words = {0};
    for (int i = 0; i < tasks->n; i++)
        snug_buffer_printf(&words, "%s%s (%d trials)", i ? "; " : "", tasks->tasks[i].label,
                           tasks->tasks[i].n);
    cli_say("knows %d similar task%s: %s", tasks->n, tasks->n == 1 ? "" : "s",
            words.is_failed ? "" : snug_buffer_text(&words));
    snug_buffer_clear(&words);
}

/* SNUG_NOT_FOUND: nothing to learn from. */
static snug_status find(const struct snug__past_query *query, const char *begun_with,
                        struct snug__past_tasks *out)
{
    struct snug_error err = {0};
    snug_status status = begun_with ? snug__past_tasks_find_again(query, begun_with, out, &err)
                                    : snug__past_tasks_find(query, out, &err);
    if (status != SNUG_OK && begun_with)
        cli_say("the session began with past tasks that are not what they were (%s): goes on "
                "without",
                err.text);
    else if (status != SNUG_OK)
        cli_say("nothing is learned from past tasks: %s", err.text);
    return status == SNUG_OK && out->n == 0 ? SNUG_NOT_FOUND : status;
}

struct cli_past *cli_past_choose(const struct cli_args *args, const struct cli_task *task,
                                 enum snug_objective objective, bool has_prior,
                                 const char *begun_with)
{
    struct snug__descriptor here;
    const struct snug__past_query query = {.store = task->store,
                                           .space = snug_engine_space(task->engine),
                                           .here = &here,
                                           .machine_fingerprint = task->machine.fingerprint,
                                           .objective = objective};
    if (args->no_transfer && begun_with && begun_with[0])
        cli_say("the session began with past tasks: goes on without");
    if (args->no_transfer || (begun_with && !begun_with[0]))
        return NULL;
    struct cli_past *past = calloc(1, sizeof *past);
    describe(task, &here);
    if (!past || find(&query, begun_with, &past->tasks) != SNUG_OK) {
        free(past);
        return NULL;
    }
    for (int i = 0; has_prior && i < past->tasks.n; i++)
        expect(task, objective, &past->tasks.tasks[i]);
    snug__past_tasks_record(&past->tasks, past->record);
    say(&past->tasks);
    return past;
}

void cli_past_close(struct cli_past *past)
{
    if (past)
        snug__past_tasks_clear(&past->tasks);
    free(past);
}

void cli_past_give(struct cli_past *past, struct snug_tune_options *options)
{
    if (!past)
        return;
    options->n_pasts = snug__past_tasks_give(&past->tasks, past->given);
    options->pasts = past->given;
    options->past_source = past->record;
}
