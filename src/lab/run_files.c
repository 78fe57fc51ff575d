/* The model files of a run: opened, made, quantised, and removed again when they were made. Names
 * hold the run's number in the store: two runs in one folder do not meet, and a run that goes on
 * after kill -9 writes over what it left. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "lab/run_internal.h"
#include "model/model_json.h"

static const double QUANTIZE_LIMIT_S = 3600.0;

snug_status snug__lab_resolve(const struct snug__lab_run *run, const char *path, char *out,
                              size_t cap, struct snug_error *err)
{
    const char *file = run->options->file_path;
    const char *slash = strrchr(file, '/');
    const int n_folder = path[0] == '/' || !slash ? 0 : (int)(slash + 1 - file);
    if ((size_t)snprintf(out, cap, "%.*s%s", n_folder, file, path) >= cap)
        return snug_fail(err, SNUG_BAD_INPUT, "%.80s...: the path is too long", path);
    return SNUG_OK;
}

/* ---- the list ---- */

static int find_file(const struct snug__lab_run *run, int i_model, const char *weights)
{
    for (int i = 0; i < run->n_files; i++) {
        const struct snug__lab_file *file = &run->files[i];
        if (file->i_model == i_model &&
            strcmp(file->weights ? file->weights : "", weights ? weights : "") == 0)
            return i;
    }
    return -1;
}

snug_status snug__lab_files_list(struct snug__lab_run *run, struct snug_error *err)
{
    const struct snug_lab_plan *plan = run->plan;
    const size_t most = (size_t)plan->n_models * (size_t)(plan->n_rounds + 1);
    run->files = calloc(most, sizeof *run->files);
    run->result.models = calloc((size_t)plan->n_models, sizeof *run->result.models);
    if (!run->files || !run->result.models)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for the models of a plan");
    for (int i = 0; i < plan->n_models; i++)
        run->files[run->n_files++] = (struct snug__lab_file){.i_model = i};
    for (int r = 0; r < plan->n_rounds; r++) {
        const char *weights = plan->rounds[r].weights;
        for (int i = 0; weights && i < plan->n_models; i++) {
            if (find_file(run, i, weights) < 0)
                run->files[run->n_files++] =
                    (struct snug__lab_file){.i_model = i, .weights = weights};
        }
    }
    return SNUG_OK;
}

/* ---- opening ---- */

static snug_status store_model(struct snug__lab_run *run, struct snug__lab_file *file,
                               struct snug_error *err)
{
    struct snug_json_writer w = {0};
    snug_model_to_json(&w, NULL, &file->model, false);
    char *json = snug_json_finish(&w, false);
    const char *slash = strrchr(file->path, '/');
    const snug_status status = json ? snug_store_model(run->options->store, file->model.hash,
                                                       slash ? slash + 1 : file->path, file->path,
                                                       json, &file->model_id, err)
                                    : snug_fail(err, SNUG_NO_MEMORY, "no memory for a model");
    free(json);
    return status;
}

static void note_facts(struct snug__lab_run *run, const struct snug__lab_file *file)
{
    struct snug_lab_model_facts *facts = &run->result.models[file->i_model];
    const struct snug_model *model = &file->model;
    snprintf(facts->path, sizeof facts->path, "%s", file->path);
    snprintf(facts->hash, sizeof facts->hash, "%s", model->hash);
    snprintf(facts->arch, sizeof facts->arch, "%s", model->arch);
    snprintf(facts->file_type, sizeof facts->file_type, "%s", model->file_type);
    facts->bytes_file = model->bytes_file;
    facts->n_params = model->n_params;
}

/* file->path holds a whole file. */
static snug_status open_file(struct snug__lab_run *run, struct snug__lab_file *file,
                             struct snug_error *err)
{
    char absolute[PATH_MAX];
    snug_status status = SNUG_OK;
    /* Workers may be started elsewhere. */
    if (!realpath(file->path, absolute))
        return snug_fail(err, errno == ENOENT ? SNUG_NOT_FOUND : SNUG_IO, "%s: %s", file->path,
                         strerror(errno));
    snprintf(file->path, sizeof file->path, "%s", absolute);
    status = snug_model_open(file->path, &file->model, err);
    if (status == SNUG_OK)
        status = store_model(run, file, err);
    if (status == SNUG_OK && !file->weights)
        note_facts(run, file);
    file->is_ready = status == SNUG_OK;
    return status;
}

snug_status snug__lab_files_open(struct snug__lab_run *run, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    for (int i = 0; status == SNUG_OK && i < run->plan->n_models; i++) {
        const struct snug_lab_model *model = &run->plan->models[i];
        struct snug__lab_file *file = &run->files[i];
        if (!model->path)
            continue;
        status = snug__lab_resolve(run, model->path, file->path, sizeof file->path, err);
        if (status == SNUG_OK)
            status = open_file(run, file, err);
        if (status != SNUG_OK)
            status = snug_fail_prefix(err, status, "model %s", model->name);
    }
    return status;
}

/* ---- making ---- */

/* FOLDER/lab7-1-NAME-TYPE.gguf, with what a path should not hold replaced. */
static snug_status name_file(const struct snug__lab_run *run, struct snug__lab_file *file,
                             struct snug_error *err)
{
    const char *name = run->plan->models[file->i_model].name;
    const int n = snprintf(file->path, sizeof file->path, "%s/lab%lld-%d-%s%s%s.gguf",
                           run->options->output, (long long)run->result.lab_id, file->i_model + 1,
                           name, file->weights ? "-" : "", file->weights ? file->weights : "");
    if (n < 0 || (size_t)n >= sizeof file->path)
        return snug_fail(err, SNUG_BAD_INPUT, "%.80s...: the path is too long",
                         run->options->output);
    for (char *p = file->path + strlen(run->options->output) + 1; *p; p++) {
        if (!isalnum((unsigned char)*p) && *p != '.' && *p != '_')
            *p = '-';
    }
    return SNUG_OK;
}

static bool on_synth(double done_frac, void *data)
{
    const struct snug__lab_run *run = data;
    (void)done_frac;
    return !(run->options->stop && *run->options->stop);
}

snug_status snug__lab_files_name(struct snug__lab_run *run, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    for (int i = 0; status == SNUG_OK && i < run->n_files; i++) {
        struct snug__lab_file *file = &run->files[i];
        if (!file->weights && run->plan->models[file->i_model].path)
            continue;
        status = name_file(run, file, err);
        file->is_made = status == SNUG_OK;
    }
    return status;
}

snug_status snug__lab_files_synth(struct snug__lab_run *run, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    for (int i = 0; status == SNUG_OK && i < run->plan->n_models; i++) {
        const struct snug_lab_model *model = &run->plan->models[i];
        struct snug__lab_file *file = &run->files[i];
        const struct snug_synth_options options = {
            .type = model->synth_type, .seed = 1, .n_layer = model->synth_layers};
        if (model->path)
            continue;
        snug__lab_tell(run, SNUG_LAB_MAKE, model->name);
        status = snug_model_synth(model->synth, &options, file->path, on_synth, run, err);
        if (status == SNUG_OK)
            status = open_file(run, file, err);
    }
    return status;
}

static snug_status quantize(struct snug__lab_run *run, struct snug__lab_file *file,
                            struct snug_error *err)
{
    const struct snug__lab_file *from = &run->files[file->i_model];
    struct snug_error why = {0};
    char what[160];
    snprintf(what, sizeof what, "%s as %s", run->plan->models[file->i_model].name, file->weights);
    snug__lab_tell(run, SNUG_LAB_MAKE, what);
    const struct snug_quantize_options options = {.model_path = from->path,
                                                  .recipe = file->weights,
                                                  .out_path = file->path,
                                                  .deadline_s = QUANTIZE_LIMIT_S,
                                                  .stop = run->options->stop};
    const snug_status status = snug_engine_quantize_plan(&options, NULL, &why);
    if (status == SNUG_OK)
        return open_file(run, file, err);
    if (status == SNUG_INTERRUPTED || status == SNUG_IO || status == SNUG_NO_MEMORY)
        return snug_fail(err, status, "%s", why.text);
    file->is_refused = true;
    snprintf(file->reason, sizeof file->reason, "%.250s", why.text);
    return SNUG_OK;
}

snug_status snug__lab_files_get(struct snug__lab_run *run, int i_model, const char *weights,
                                int *out_i, struct snug_error *err)
{
    const int i = find_file(run, i_model, weights);
    struct snug__lab_file *file = &run->files[i];
    *out_i = i;
    return file->is_ready || file->is_refused ? SNUG_OK : quantize(run, file, err);
}

void snug__lab_files_clear(struct snug__lab_run *run)
{
    for (int i = 0; i < run->n_files; i++) {
        struct snug__lab_file *file = &run->files[i];
        if (file->is_made)
            unlink(file->path);
        snug_model_clear(&file->model);
    }
    free(run->files);
    run->files = NULL;
    run->n_files = 0;
}
