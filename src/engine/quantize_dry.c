/* What libllama would make of a model: its own dry run, so that a recipe is known exactly without a
 * copy of its rules; and the size of the file, which follows from the types alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/near.h"
#include "engine/llama_engine.h"
#include "engine/quantize.h"
#include "model/gguf_read.h"

static const double DRY_LIMIT_S = 120.0; /* of some ms each; a file server may be slow */

/* ---- size ---- */

/* libllama writes with GGUF's default always. */
static uint64_t pad(uint64_t n)
{
    return (n + SNUG__GGUF_ALIGNMENT - 1) / SNUG__GGUF_ALIGNMENT * SNUG__GGUF_ALIGNMENT;
}

uint64_t snug_engine_file_bytes(const struct snug_model *model, const int *types)
{
    if (model->bytes_keys_kept == 0)
        return 0;
    uint64_t header = 4 + 4 + 8 + 8 + model->bytes_keys_kept, data = 0;
    /* Two keys of libllama's own, u32 each: length, text, type, value. */
    header += 8 + strlen("general.quantization_version") + 4 + 4;
    header += 8 + strlen("general.file_type") + 4 + 4;
    for (int i = 0; i < model->n_tensors; i++) {
        const struct snug_tensor *t = &model->tensors[i];
        const uint64_t bytes = snug_model_tensor_bytes(t, types ? types[i] : t->type);
        int n_dims = 4; /* as ggml writes them: without ones at the end */
        while (n_dims > 1 && t->ne[n_dims - 1] == 1)
            n_dims--;
        if (bytes == 0)
            return 0;
        header += 8 + strlen(t->name) + 4 + 8 * (uint64_t)n_dims + 4 + 8;
        if (__builtin_add_overflow(data, pad(bytes), &data))
            return 0;
    }
    return __builtin_add_overflow(data, pad(header), &data) ? 0 : data;
}

/* ---- types ---- */

static int compare_tensors(const void *a, const void *b)
{
    const struct snug_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int compare_name(const void *name, const void *tensor)
{
    const struct snug_tensor *const *t = tensor;
    return strcmp(name, (*t)->name);
}

/* The answer's types to the model's order; libllama has its own. */
static snug_status take_types(const struct snug_model *model, const struct snug_json_node *list,
                              int *out_types, struct snug_error *err)
{
    const size_t n = (size_t)model->n_tensors;
    const struct snug_tensor **sorted = malloc((n + 1) * sizeof *sorted);
    const struct snug_json_node **rows = malloc((n + 1) * sizeof *rows);
    snug_status status = SNUG_OK;
    if (!sorted || !rows) {
        status = snug_fail(err, SNUG_NO_MEMORY, "no memory for %zu tensors", n);
        goto done;
    }
    if (snug_json_count(list) != n) {
        status =
            snug_fail(err, SNUG_UNSUPPORTED, "%s: libllama's dry run told of %zu of %zu tensors",
                      model->path, snug_json_count(list), n);
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        sorted[i] = &model->tensors[i];
        out_types[i] = -1;
    }
    qsort(sorted, n, sizeof *sorted, compare_tensors);
    snug_json_elements(list, rows, n);
    for (size_t i = 0; i < n && status == SNUG_OK; i++) {
        const char *name = snug_json_get_string(rows[i], "name", "");
        const int type = snug_model_type_from_name(snug_json_get_string(rows[i], "type", ""));
        const struct snug_tensor **found = bsearch(name, sorted, n, sizeof *sorted, compare_name);
        if (!found || type < 0 || out_types[*found - model->tensors] >= 0)
            status = snug_fail(err, SNUG_UNSUPPORTED,
                               "%s: libllama's dry run is not understood at tensor '%s' of type "
                               "'%s'",
                               model->path, name, snug_json_get_string(rows[i], "type", ""));
        else
            out_types[*found - model->tensors] = type;
    }
done:
    free(sorted);
    free(rows);
    return status;
}

snug_status snug__quantize_dry(struct snug__link *link, const struct snug_engine_options *options,
                               const struct snug__quantize_ask *ask, int *out_types,
                               struct snug_error *err)
{
    struct snug__quantize_ask dry = *ask;
    struct snug_json *doc = NULL;
    dry.is_dry = true;
    snug_status status = snug__quantize_call(link, options, &dry, DRY_LIMIT_S, &doc, err);
    if (status == SNUG_OK)
        status = take_types(options->model, snug_json_get(snug_json_root(doc), "tensors"),
                            out_types, err);
    snug_json_free(doc);
    return status;
}

/* ---- recipes ---- */

snug_status snug__unknown_recipe(const char *name, struct snug_error *err)
{
    const char *const *names = snug_engine_recipe_names();
    int n = 0;
    while (names[n])
        n++;
    const char *near = snug__near_word(name, names, n);
    return snug_fail(err, SNUG_BAD_INPUT, "'%.40s' is no type to quantise to%s%s%s", name,
                     near ? "; did you mean '" : "; known are q8_0, q6_k, q4_k_m and others",
                     near ? near : "", near ? "'?" : "");
}

snug_status snug_engine_recipes(const struct snug_model *model, const char *const *names,
                                int n_names, bool has_imatrix, int *out_types, uint64_t *out_bytes,
                                struct snug_error *err)
{
    char folder[4000], path[4096];
    const size_t n = (size_t)model->n_tensors;
    struct snug__link link = {0};
    for (int i = 0; i < n_names; i++) {
        if (snug__weight_type(names[i]) == LLAMA_FTYPE_GUESSED)
            return snug__unknown_recipe(names[i], err);
    }
    int *types = malloc((n + 1) * sizeof *types);
    if (!types)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for %zu tensors", n);
    snug_status status = snug_file_cache_folder(folder, sizeof folder, err);
    if (status == SNUG_OK)
        status = snug_model_shape_file(model, folder, path, sizeof path, err);
    const struct snug_engine_options options = {.model_path = path, .model = model};
    if (status == SNUG_OK)
        status = snug__link_open(&link, &options, NULL, err);
    for (int i = 0; i < n_names && status == SNUG_OK; i++) {
        const struct snug__quantize_ask ask = {.from = path,
                                               .to = "",
                                               .file_type = snug__weight_type(names[i]),
                                               .has_imatrix = has_imatrix,
                                               .may_requantize = true};
        struct snug_error why = {0};
        status = snug__quantize_dry(&link, &options, &ask, types, &why);
        const bool is_refused = status == SNUG_BAD_INPUT && n_names > 1;
        if (status != SNUG_OK && !is_refused) {
            status = snug_fail(err, status, "%s", why.text);
            break;
        }
        status = SNUG_OK;
        for (size_t k = 0; is_refused && k < n; k++)
            types[k] = -1;
        if (out_types)
            memcpy(out_types + (size_t)i * n, types, n * sizeof *types);
        if (out_bytes)
            out_bytes[i] = snug_engine_file_bytes(model, types);
    }
    snug__link_close(&link);
    free(types);
    return status;
}

snug_status snug_engine_recipe(const char *model_path, const char *name, bool has_imatrix,
                               int *out_types, uint64_t *out_bytes, struct snug_error *err)
{
    struct snug_model model = {0};
    snug_status status = snug_model_open(model_path, &model, err);
    if (status == SNUG_OK)
        status = snug_engine_recipes(&model, &name, 1, has_imatrix, out_types, out_bytes, err);
    snug_model_clear(&model);
    return status;
}
