/* The quality price of each round: every combination of weights and cache types that the plan has
 * is measured once per model and text, against the plan's reference (or, where it names none,
 * against the model as it is, with F16 caches). Rounds that change only speed inherit it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "lab/run_internal.h"
#include "lab/task_run.h"

static const int64_t CHUNKS_MAX = 64; /* some ten thousand scored tokens: errors of a percent */
static const double DEADLINE_S = 3600.0;
#define TASK_ITEMS_MAX 1000 /* standard errors of 1.6 % at the most */

struct pricing {
    struct snug__lab_run *run;
    int i_text;
    char text[4096];
    char reference[4200]; /* file; made by the first that needs it */
    int i_reference;      /* its model */
    bool is_made;
};

/* Between two steps that may be short enough never to look themselves. */
static snug_status check_stop(const struct snug__lab_run *run, struct snug_error *err)
{
    return run->options->stop && *run->options->stop
               ? snug_fail(err, SNUG_INTERRUPTED, "stopped by the user")
               : SNUG_OK;
}

static snug_status find_text(struct pricing *p, struct snug_error *err)
{
    char *text = NULL;
    size_t n = 0;
    snug_status status =
        snug__lab_resolve(p->run, p->run->plan->texts[p->i_text], p->text, sizeof p->text, err);
    if (status == SNUG_OK)
        status = snug_file_read(p->text, SNUG_EVAL_TEXT_MAX, &text, &n, err);
    free(text);
    return status;
}

static int find_model(const struct snug_lab_plan *plan, const char *name, int fallback)
{
    for (int i = 0; name && i < plan->n_models; i++) {
        if (strcmp(plan->models[i].name, name) == 0)
            return i;
    }
    return fallback;
}

static snug_status evaluate(struct pricing *p, int i_file, const struct snug_config *config,
                            bool is_reference, struct snug_quality *out, struct snug_error *err)
{
    struct snug__lab_run *run = p->run;
    const struct snug__lab_file *file = &run->files[i_file];
    const struct snug_eval_options options = {
        .model_path = file->path,
        .model = &file->model,
        .space = snug_engine_space(run->engine),
        .config = config,
        .text_path = p->text,
        .n_ctx = snug_quality_chunk(run->files[p->i_reference].model.n_ctx_train),
        .n_chunks = 0,
        .n_chunks_max = CHUNKS_MAX,
        .reference_read = is_reference ? NULL : p->reference,
        .reference_write = is_reference ? p->reference : NULL,
        .folder = run->options->output,
        .deadline_s = DEADLINE_S,
        .stop = run->options->stop,
    };
    return snug_engine_eval(&options, out, err);
}

/* The model as it is with its default config: what the others are measured against. */
static snug_status make_reference(struct pricing *p, struct snug_error *err)
{
    struct snug_config config;
    struct snug_quality quality;
    if (p->is_made)
        return SNUG_OK;
    snug__lab_tell(p->run, SNUG_LAB_MAKE, "the reference of quality");
    snug_status status = snug__lab_engine_open(p->run, p->i_reference, 0, err);
    if (status != SNUG_OK)
        return status;
    snug_space_default(snug_engine_space(p->run->engine), &config);
    status = evaluate(p, p->i_reference, &config, true, &quality, err);
    p->is_made = status == SNUG_OK;
    return status;
}

static const char *type_of(const struct snug_space *space, const struct snug_config *config,
                           const char *name)
{
    const int row = snug_space_find(space, name);
    return row < 0 ? "" : space->knobs[row].values[config->value[row]];
}

/* One round on one model. A round that cannot run has no quality either: that is no failure. */
static snug_status price(struct pricing *p, int i_round, int i_model, struct snug_error *err)
{
    struct snug__lab_run *run = p->run;
    const struct snug_lab_round *round = &run->plan->rounds[i_round];
    struct snug_quality *qualities = snug__lab_qualities(&run->result, run->plan, p->i_text);
    struct snug_quality *out = &qualities[i_round * run->plan->n_models + i_model];
    struct snug_config config;
    struct snug_error why = {0};
    int i_file = 0;
    snug_status status = check_stop(run, err);
    if (status == SNUG_OK)
        status = snug__lab_files_get(run, i_model, round->weights, &i_file, err);
    if (status != SNUG_OK || run->files[i_file].is_refused)
        return status;
    status = make_reference(p, err);
    if (status != SNUG_OK)
        return status;
    status = snug__lab_engine_open(run, i_file, 0, &why);
    if (status == SNUG_OK)
        status = snug__lab_config_make(snug_engine_space(run->engine), round, &config, &why);
    if (status != SNUG_OK)
        return status == SNUG_INTERRUPTED ? snug_fail(err, status, "%s", why.text) : SNUG_OK;
    const struct snug_space *space = snug_engine_space(run->engine);
    const char *type_k = type_of(space, &config, "type_k");
    const char *type_v = type_of(space, &config, "type_v");
    /* Another round with the same weights and caches has it already. */
    for (int r = 0; r < i_round; r++) {
        const struct snug_quality *other = &qualities[r * run->plan->n_models + i_model];
        const char *weights = run->plan->rounds[r].weights;
        if (strcmp(weights ? weights : "", round->weights ? round->weights : "") == 0 &&
            strcmp(other->type_k, type_k) == 0 && strcmp(other->type_v, type_v) == 0) {
            *out = *other;
            return SNUG_OK;
        }
    }
    char what[200];
    snprintf(what, sizeof what, "quality of %.60s, %.100s", run->plan->models[i_model].name,
             round->name);
    snug__lab_tell(run, SNUG_LAB_MAKE, what);
    status = evaluate(p, i_file, &config, false, out, &why);
    if (status != SNUG_OK) {
        snug_quality_init(out);
        return status == SNUG_INTERRUPTED || status == SNUG_IO
                   ? snug_fail(err, status, "%s", why.text)
                   : SNUG_OK;
    }
    return snug_store_quality_add(run->options->store, run->files[i_file].model_id,
                                  run->result.build, out, err);
}

static snug_status price_text(struct snug__lab_run *run, int i_text, struct snug_error *err)
{
    const struct snug_lab_plan *plan = run->plan;
    struct pricing p = {.run = run, .i_text = i_text};
    snug_status status = find_text(&p, err);
    for (int m = 0; status == SNUG_OK && m < plan->n_models; m++) {
        p.i_reference = find_model(plan, plan->reference, m);
        if (!plan->reference || m == 0) {
            p.is_made = false;
            snprintf(p.reference, sizeof p.reference, "%s/lab%lld-%d.snugref", run->options->output,
                     (long long)run->result.lab_id, m);
        }
        for (int r = 0; status == SNUG_OK && r < plan->n_rounds; r++)
            status = price(&p, r, m, err);
        if (!plan->reference || m == plan->n_models - 1)
            unlink(p.reference);
    }
    if (status != SNUG_OK)
        unlink(p.reference);
    return status;
}

/* ---- tasks ---- */

/* One task file on one round of one model. What cannot run has no accuracy: that is no failure. */
static snug_status score(struct snug__lab_run *run, const struct snug_task_file *file, int i_round,
                         int i_model, struct snug_task_result *out, struct snug_error *err)
{
    const struct snug_lab_round *round = &run->plan->rounds[i_round];
    const struct snug_task_options options = {.n_max = TASK_ITEMS_MAX};
    struct snug_config config;
    struct snug_error why = {0};
    struct snug_scorer *scorer = NULL;
    char what[200];
    int i_file = 0;
    snug_status status = check_stop(run, err);
    if (status == SNUG_OK)
        status = snug__lab_files_get(run, i_model, round->weights, &i_file, err);
    if (status != SNUG_OK || run->files[i_file].is_refused)
        return status;
    status = snug__lab_engine_open(run, i_file, 0, &why);
    if (status == SNUG_OK)
        status = snug__lab_config_make(snug_engine_space(run->engine), round, &config, &why);
    if (status != SNUG_OK)
        return status == SNUG_INTERRUPTED ? snug_fail(err, status, "%s", why.text) : SNUG_OK;
    snprintf(what, sizeof what, "%.60s of %.60s, %.60s", file->name,
             run->plan->models[i_model].name, round->name);
    snug__lab_tell(run, SNUG_LAB_MAKE, what);
    const struct snug__lab_file *model = &run->files[i_file];
    const int64_t n_ctx = snug_quality_chunk(model->model.n_ctx_train);
    const struct snug_engine_options engine = {
        .model_path = model->path,
        .machine = run->options->machine,
        .model = &model->model,
        .workload = {.n_prompt = n_ctx, .n_parallel = 1, .n_ctx = n_ctx},
        .stop = run->options->stop};
    status = snug_scorer_open(&engine, &scorer, &why);
    if (status == SNUG_OK)
        status = snug_task_run(scorer, snug_engine_space(run->engine), &config, file, &options, out,
                               &why);
    snug_scorer_close(scorer);
    /* An accuracy of some of the items is not comparable with the other rounds'. */
    if (status == SNUG_OK && out->is_interrupted)
        status = snug_fail(&why, SNUG_INTERRUPTED, "stopped by the user");
    if (status != SNUG_OK)
        *out = (struct snug_task_result){.n_scored = 0};
    return status == SNUG_INTERRUPTED ? snug_fail(err, status, "%s", why.text) : SNUG_OK;
}

static snug_status score_task(struct snug__lab_run *run, int i_task, struct snug_error *err)
{
    const struct snug_lab_plan *plan = run->plan;
    struct snug_task_file file;
    char path[4096];
    snug_status status = snug__lab_resolve(run, plan->tasks[i_task], path, sizeof path, err);
    if (status == SNUG_OK)
        status = snug_task_file_read(path, NULL, &file, err);
    if (status != SNUG_OK)
        return status;
    struct snug_task_result *results =
        run->result.tasks + (size_t)i_task * (size_t)(plan->n_rounds * plan->n_models);
    for (int m = 0; status == SNUG_OK && m < plan->n_models; m++) {
        for (int r = 0; status == SNUG_OK && r < plan->n_rounds; r++)
            status = score(run, &file, r, m, &results[r * plan->n_models + m], err);
    }
    snug_task_file_clear(&file);
    return status;
}

struct snug_quality *snug__lab_qualities(const struct snug_lab_run_result *result,
                                         const struct snug_lab_plan *plan, int i_text)
{
    return result->qualities + (size_t)i_text * (size_t)(plan->n_rounds * plan->n_models);
}

snug_status snug__lab_quality(struct snug__lab_run *run, struct snug_error *err)
{
    const struct snug_lab_plan *plan = run->plan;
    const size_t n = (size_t)plan->n_rounds * (size_t)plan->n_models;
    const size_t n_texts = plan->n_texts > 0 ? (size_t)plan->n_texts : 1;
    run->result.qualities = calloc(n * n_texts, sizeof *run->result.qualities);
    run->result.tasks = calloc(n * (size_t)plan->n_tasks + 1, sizeof *run->result.tasks);
    if (!run->result.qualities || !run->result.tasks)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for the quality of %zu rounds", n);
    for (size_t i = 0; i < n * n_texts; i++)
        snug_quality_init(&run->result.qualities[i]);
    snug_status status = SNUG_OK;
    for (int t = 0; status == SNUG_OK && t < plan->n_texts; t++)
        status = price_text(run, t, err);
    for (int t = 0; status == SNUG_OK && t < plan->n_tasks; t++)
        status = score_task(run, t, err);
    return status == SNUG_OK ? SNUG_OK : snug_fail_prefix(err, status, "quality");
}
