/* Multiple-choice tasks of snug eval. */
#include "cli/eval_tasks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lab/task_run.h"

snug_status cli_eval_scorer_open(const struct cli_task *task, struct snug_engine_options *options,
                                 struct snug_scorer **out, struct snug_error *err)
{
    *options = (struct snug_engine_options){.model_path = task->model.path,
                                            .machine = &task->machine,
                                            .model = &task->model,
                                            .workload = task->workload,
                                            .stop = &cli_stop};
    return snug_scorer_open(options, out, err);
}

static void on_items(int n_done, int n, double accuracy, void *data)
{
    (void)data;
    cli_live("item %d of %d, accuracy %.1f %%", n_done, n, 100.0 * accuracy);
}

static const char *type_of(const struct snug_space *space, const struct snug_config *config,
                           const char *name)
{
    const int row = snug_space_find(space, name);
    return row < 0 ? "" : space->knobs[row].values[config->value[row]];
}

static snug_status keep_task(const struct cli_task *task, const struct snug_config *config,
                             const struct snug_task_result *result, struct snug_error *err)
{
    const struct snug_space *space = snug_engine_space(task->engine);
    const struct snug_quality_place place = {.model_id = task->model_id,
                                             .build = snug_engine_build(task->engine),
                                             .type_k = type_of(space, config, "type_k"),
                                             .type_v = type_of(space, config, "type_v"),
                                             .text_hash = result->hash,
                                             .reference_hash = "",
                                             .n_ctx = task->workload.n_ctx,
                                             .is_task = true};
    struct snug_json_writer w = {0};
    snug_task_result_to_json(&w, NULL, result);
    char *json = snug_json_finish(&w, false);
    const snug_status status =
        json ? snug_store_quality_json_add(task->store, &place, json, err)
             : snug_fail(err, SNUG_NO_MEMORY, "no memory for a task's result");
    free(json);
    return status;
}

static void put_task_words(const struct snug_task_result *r, struct snug_buffer *out)
{
    if (r->is_interrupted)
        snug_buffer_printf(out, "%s (%s): interrupted after %d of %d items%s\n", r->name,
                           snug_task_shape_name(r->shape), r->n_scored + r->n_unanswerable,
                           r->n_asked, r->n_scored > 0 ? "; of these:" : "");
    if (r->n_scored == 0)
        return;
    snug_buffer_printf(out,
                       "%s (%s): accuracy %.2f +- %.2f %%, length-normalised %.2f +- %.2f %%, over "
                       "%d items; guessing reaches %.1f %%\n",
                       r->name, snug_task_shape_name(r->shape), 100.0 * r->accuracy.value,
                       100.0 * r->accuracy.se, 100.0 * r->accuracy_norm.value,
                       100.0 * r->accuracy_norm.se, r->n_scored, 100.0 * r->chance_frac);
    if (r->n_unanswerable > 0) {
        snug_buffer_printf(out, "  %d items tell no answer and were left out: line",
                           r->n_unanswerable);
        for (int i = 0; i < r->n_unanswerable && i < SNUG_TASK_LINES_KEPT; i++)
            snug_buffer_printf(out, "%s %lld", i ? "," : "", (long long)r->unanswerable_lines[i]);
        snug_buffer_puts(out, r->n_unanswerable > SNUG_TASK_LINES_KEPT ? ", ...\n" : "\n");
    }
    if (r->n_cut > 0)
        snug_buffer_printf(out, "  %d contexts were cut at the front to fit: give a larger -c\n",
                           r->n_cut);
}

snug_status cli_eval_task(const struct cli_args *args, const struct cli_task *task,
                          const struct snug_config *config, struct snug_json_writer *w,
                          struct snug_buffer *out, bool *out_is_interrupted, struct snug_error *err)
{
    struct snug_task_file file;
    struct snug_engine_options options;
    struct snug_scorer *scorer = NULL;
    struct snug_task_result result;
    const struct snug_task_options run = {.n_max = (int)args->n_items, .progress = on_items};
    snug_status status = snug_task_file_read(args->task, args->labels, &file, err);
    if (status != SNUG_OK)
        return status;
    status = cli_eval_scorer_open(task, &options, &scorer, err);
    if (status == SNUG_OK)
        status = snug_task_run(scorer, snug_engine_space(task->engine), config, &file, &run,
                               &result, err);
    cli_live_end();
    /* Some of the items are no result of the task: it is shown, not kept. */
    if (status == SNUG_OK && !result.is_interrupted)
        status = keep_task(task, config, &result, err);
    if (status == SNUG_OK) {
        *out_is_interrupted = result.is_interrupted;
        snug_task_result_to_json(w, "task", &result);
        put_task_words(&result, out);
    }
    snug_scorer_close(scorer);
    snug_task_file_clear(&file);
    return status;
}
