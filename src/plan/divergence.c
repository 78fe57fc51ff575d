/* One file and one evaluation at a time. See divergence.h. */
#include "plan/divergence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double DEADLINE_S = 24.0 * 3600.0; /* of one file or one evaluation */

#define NAME_MAX_BYTES 16 /* of a temporary file */
struct place {
    char path[sizeof((struct snug_scratch *)0)->path + NAME_MAX_BYTES];
};

static struct place place_of(const struct snug__divergence *d, const char *name)
{
    struct place place;
    snprintf(place.path, sizeof place.path, "%s/%.14s", d->scratch.path, name);
    return place;
}

static snug_status evaluate(const struct snug__divergence *d, const struct snug_model *model,
                            bool is_reference, struct snug_quality *out, struct snug_error *err)
{
    const struct place reference = place_of(d, "source.snugref");
    const struct snug_eval_options options = {
        .model_path = model->path,
        .model = model,
        .space = d->space,
        .config = is_reference ? d->config_reference : d->config,
        .text_path = d->text_path,
        .n_ctx = d->n_ctx,
        .n_chunks = is_reference ? 0 : d->n_chunks,
        .n_chunks_max = d->n_chunks_max,
        .reference_read = is_reference ? NULL : reference.path,
        .reference_write = is_reference ? reference.path : NULL,
        .folder = d->scratch.path,
        .deadline_s = DEADLINE_S,
        .stop = d->stop,
    };
    snug_quality_init(out);
    return snug_engine_eval(&options, out, err);
}

snug_status snug__divergence_reference(struct snug__divergence *d, struct snug_error *err)
{
    struct snug_quality quality;
    if (d->n_chunks > 0)
        return SNUG_OK;
    snug_status status =
        d->scratch.path[0] ? SNUG_OK : snug_scratch_open(d->folder, &d->scratch, err);
    if (status == SNUG_OK)
        status = evaluate(d, d->model, true, &quality, err);
    if (status == SNUG_OK)
        d->n_chunks = quality.n_chunks;
    return status;
}

static snug_status list_names(struct snug__divergence *d, struct snug_error *err)
{
    if (d->names)
        return SNUG_OK;
    d->names = malloc(((size_t)d->model->n_tensors + 1) * sizeof *d->names);
    if (!d->names)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for %d tensors", d->model->n_tensors);
    for (int i = 0; i < d->model->n_tensors; i++)
        d->names[i] = d->model->tensors[i].name;
    return SNUG_OK;
}

snug_status snug__divergence_of(struct snug__divergence *d, const int *types,
                                struct snug_estimate *out_kld, uint64_t *out_file_bytes,
                                struct snug_error *err)
{
    struct snug_model made = {.n_tensors = 0};
    struct snug_quality quality;
    struct snug_quantize_result result = {.bytes = 0};
    snug_status status = snug__divergence_reference(d, err);
    if (status == SNUG_OK)
        status = list_names(d, err);
    if (status != SNUG_OK)
        return status;
    const struct place file = place_of(d, "types.gguf");
    const struct snug_quantize_options options = {.model_path = d->model->path,
                                                  .names = d->names,
                                                  .types = types,
                                                  .n_tensors = d->model->n_tensors,
                                                  .imatrix_path = d->imatrix_path,
                                                  .out_path = file.path,
                                                  .deadline_s = DEADLINE_S,
                                                  .stop = d->stop};
    status = snug_engine_quantize_plan(&options, &result, err);
    if (status == SNUG_OK)
        status = snug_model_open(file.path, &made, err);
    if (status == SNUG_OK)
        status = evaluate(d, &made, false, &quality, err);
    snug_model_clear(&made);
    unlink(file.path);
    if (status == SNUG_OK)
        *out_kld = quality.kld_mean;
    if (status == SNUG_OK && out_file_bytes)
        *out_file_bytes = result.bytes;
    return status;
}

void snug__divergence_close(struct snug__divergence *d)
{
    snug_scratch_close(&d->scratch);
    free(d->names);
    d->names = NULL;
}
