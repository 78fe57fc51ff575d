/* Making a file with a type for every tensor. Whatever can be known to be wrong is found first:
 * shapes, quantised sources and importance matrices by looking, libllama's own mind by its dry run,
 * room by asking the disk. What was made is read back before it gets its name. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ggml.h>

#include "engine/llama_engine.h"
#include "engine/part_file.h"
#include "engine/quantize.h"
#include "snug/imatrix.h"

static const double NO_DEADLINE_S = 30.0 * 86400.0;

struct making {
    const struct snug_quantize_options *o;
    struct snug_model model;
    int *types; /* in the model's order */
    struct snug__quantize_ask ask;
    struct snug__link link;
    struct snug_engine_options options;
    uint64_t bytes;
    struct snug__part part;
};

/* ---- what is asked, in the model's order ---- */

struct named {
    const char *name;
    int i;
};

static int compare_named(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Both sides have the same names, whatever their order. */
static snug_status match_names(struct making *m, struct named *asked, struct snug_error *err)
{
    const struct snug_quantize_options *o = m->o;
    const size_t n = (size_t)m->model.n_tensors;
    for (size_t i = 0; i < n; i++)
        asked[i] = (struct named){o->names[i], (int)i};
    qsort(asked, n, sizeof *asked, compare_named);
    for (int i = 0; i < m->model.n_tensors; i++) {
        const struct named key = {m->model.tensors[i].name, 0};
        const struct named *found = bsearch(&key, asked, n, sizeof *asked, compare_named);
        if (!found)
            return snug_fail(err, SNUG_BAD_INPUT,
                             "%s: tensor %s has no type in the plan: it is for another model",
                             m->model.path, key.name);
        m->types[i] = o->types[found->i];
    }
    for (size_t i = 1; i < n; i++) {
        if (strcmp(asked[i - 1].name, asked[i].name) == 0)
            return snug_fail(err, SNUG_BAD_INPUT, "%s: tensor %s has two types in the plan",
                             m->model.path, asked[i].name);
    }
    return SNUG_OK;
}

static snug_status take_names(struct making *m, struct snug_error *err)
{
    if (m->o->n_tensors != m->model.n_tensors)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: has %d tensors, the plan has types for %d: it is for another model",
                         m->model.path, m->model.n_tensors, m->o->n_tensors);
    struct named *asked = malloc(((size_t)m->o->n_tensors + 1) * sizeof *asked);
    if (!asked)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for %d tensors", m->o->n_tensors);
    const snug_status status = match_names(m, asked, err);
    free(asked);
    return status;
}

/* ---- checks of one tensor each ---- */

static bool is_quantised(int type)
{
    return ggml_is_quantized((enum ggml_type)type);
}

static snug_status check_type(const struct making *m, int i, struct snug_error *err)
{
    const struct snug_tensor *t = &m->model.tensors[i];
    const int type = m->types[i];
    const int64_t n_block =
        type >= 0 && type < GGML_TYPE_COUNT ? ggml_blck_size((enum ggml_type)type) : 0;
    if (n_block <= 0 || (type != t->type && snug__file_type_of(type) == LLAMA_FTYPE_GUESSED))
        return snug_fail(err, SNUG_BAD_INPUT, "%s: tensor %s cannot be quantised to %s",
                         m->model.path, t->name, snug_model_type_name(type));
    if (t->ne[0] % n_block != 0)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: tensor %s has rows of %" PRId64 "; %s needs a multiple of %" PRId64
                         ": give it a type of smaller blocks",
                         m->model.path, t->name, t->ne[0], snug_model_type_name(type), n_block);
    if (type != t->type && is_quantised(t->type) && !m->o->allow_requantize)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: tensor %s is %s already, and a second loss would add to the first: "
                         "start from the f16 or f32 file, or allow it with --allow-requantize",
                         m->model.path, t->name, snug_model_type_name(t->type));
    return SNUG_OK;
}

static snug_status check_imatrix(const struct making *m, int i, const struct snug_imatrix *imatrix,
                                 struct snug_error *err)
{
    const struct snug_tensor *t = &m->model.tensors[i];
    const struct snug_imatrix_row *row = snug_imatrix_find(imatrix, t->name);
    const bool is_changed = m->types[i] != t->type;
    const bool is_needed = is_changed && snug__needs_imatrix(t->name, m->types[i]);
    if (is_needed && !m->o->imatrix_path)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: %s for tensor %s needs an importance matrix: make one with snug "
                         "imatrix, and give it with --imatrix",
                         m->model.path, snug_model_type_name(m->types[i]), t->name);
    if (is_needed && !row)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: nothing about tensor %s, which %s needs: is it of this model?",
                         m->o->imatrix_path, t->name, snug_model_type_name(m->types[i]));
    if (row && is_changed && row->n != t->ne[0] * t->ne[2])
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: %" PRId64 " columns for tensor %s of %" PRId64
                         ": it is of another model",
                         m->o->imatrix_path, row->n, t->name, t->ne[0] * t->ne[2]);
    return SNUG_OK;
}

static snug_status check_all(const struct making *m, struct snug_error *err)
{
    struct snug_imatrix imatrix = {.n_rows = 0};
    snug_status status =
        m->o->imatrix_path ? snug_imatrix_read(m->o->imatrix_path, &imatrix, err) : SNUG_OK;
    for (int i = 0; i < m->model.n_tensors && status == SNUG_OK; i++) {
        status = check_type(m, i, err);
        if (status == SNUG_OK)
            status = check_imatrix(m, i, &imatrix, err);
    }
    snug_imatrix_clear(&imatrix);
    return status;
}

/* ---- steps ---- */

/* general.file_type can name one type only: the one of most weights, of the quantised ones if there
 * are any. libllama takes types by name with a quantised file type alone. */
static enum llama_ftype most_common(const struct making *m)
{
    uint64_t sums[SNUG_MODEL_TYPES_MAX] = {0};
    int best = -1;
    for (int i = 0; i < m->model.n_tensors; i++)
        sums[m->types[i]] += m->model.tensors[i].n_elements;
    for (int type = 0; type < GGML_TYPE_COUNT; type++) {
        if (sums[type] == 0 || snug__file_type_of(type) == LLAMA_FTYPE_GUESSED)
            continue;
        const bool is_better =
            best < 0 || is_quantised(type) > is_quantised(best) ||
            (is_quantised(type) == is_quantised(best) && sums[type] > sums[best]);
        best = is_better ? type : best;
    }
    return best < 0 ? LLAMA_FTYPE_ALL_F32 : snug__file_type_of(best);
}
_Static_assert(GGML_TYPE_COUNT <= SNUG_MODEL_TYPES_MAX, "sums above");

static snug_status check_out(const struct making *m, struct snug_error *err)
{
    struct stat from, to;
    if (m->model.is_preset)
        return snug_fail(err, SNUG_BAD_INPUT, "%s is a preset, not a file with weights",
                         m->model.path);
    if (stat(m->model.path, &from) == 0 && stat(m->o->out_path, &to) == 0 &&
        from.st_dev == to.st_dev && from.st_ino == to.st_ino)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: is the model itself: give another name",
                         m->o->out_path);
    return SNUG_OK;
}

/* Ask libllama what it would do, and hold it against what is wanted (a plan) or take it (a recipe).
 */
static snug_status decide(struct making *m, struct snug_error *err)
{
    const size_t n = (size_t)m->model.n_tensors;
    int *would = malloc((n + 1) * sizeof *would);
    if (!would)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for %zu tensors", n);
    snug_status status = snug__quantize_dry(&m->link, &m->options, &m->ask, would, err);
    for (size_t i = 0; i < n && status == SNUG_OK; i++) {
        if (m->o->recipe)
            m->types[i] = would[i];
        else if (would[i] != m->types[i])
            status = snug_fail(err, SNUG_BAD_INPUT,
                               "%s: tensor %s: the plan says %s, libllama would make it %s: plan "
                               "again with this version",
                               m->model.path, m->model.tensors[i].name,
                               snug_model_type_name(m->types[i]), snug_model_type_name(would[i]));
    }
    free(would);
    if (status == SNUG_OK && m->o->recipe)
        status = check_all(m, err);
    return status;
}

static snug_status size_up(struct making *m, struct snug_error *err)
{
    m->bytes = snug_engine_file_bytes(&m->model, m->types);
    if (m->bytes == 0)
        return snug_fail(err, SNUG_UNSUPPORTED,
                         "%s: its data is not aligned to 32 bytes, and libllama would write the "
                         "copy wrong: convert the model again",
                         m->model.path);
    if (m->o->file_bytes && m->o->file_bytes != m->bytes)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: the file would take %" PRIu64 " bytes, the plan says %" PRIu64
                         ": it is for another file of this model; plan again",
                         m->model.path, m->bytes, m->o->file_bytes);
    return SNUG_OK;
}

/* Types and size of what is on disk now. */
static snug_status read_back(struct making *m, struct snug_quantize_result *out,
                             struct snug_error *err)
{
    struct snug_model made = {0};
    snug_status status = snug_model_open(m->part.path, &made, err);
    if (status != SNUG_OK)
        return snug_fail_prefix(err, status, "read back");
    struct named *names = malloc(((size_t)made.n_tensors + 1) * sizeof *names);
    if (!names)
        status = snug_fail(err, SNUG_NO_MEMORY, "no memory for %d tensors", made.n_tensors);
    else if (made.n_tensors != m->model.n_tensors || made.bytes_file != m->bytes)
        status = snug_fail(err, SNUG_IO,
                           "%s: read back, it has %d tensors in %" PRIu64 " bytes; %d in %" PRIu64
                           " were to be written",
                           m->o->out_path, made.n_tensors, made.bytes_file, m->model.n_tensors,
                           m->bytes);
    for (int i = 0; names && i < made.n_tensors; i++)
        names[i] = (struct named){made.tensors[i].name, i};
    if (names)
        qsort(names, (size_t)made.n_tensors, sizeof *names, compare_named);
    for (int i = 0; i < m->model.n_tensors && status == SNUG_OK; i++) {
        const struct named key = {m->model.tensors[i].name, 0};
        const struct named *found =
            bsearch(&key, names, (size_t)made.n_tensors, sizeof *names, compare_named);
        const int type = found ? made.tensors[found->i].type : -1;
        out->n_changed += type != m->model.tensors[i].type;
        if (type != m->types[i])
            status = snug_fail(err, SNUG_IO, "%s: read back, tensor %s is %s where %s was asked",
                               m->o->out_path, key.name, snug_model_type_name(type),
                               snug_model_type_name(m->types[i]));
    }
    out->bytes = made.bytes_file;
    out->n_tensors = made.n_tensors;
    snprintf(out->file_type, sizeof out->file_type, "%s", made.file_type);
    free(names);
    snug_model_clear(&made);
    return status;
}

static snug_status write_file(struct making *m, struct snug_quantize_result *result,
                              struct snug_error *err)
{
    const struct snug_quantize_options *o = m->o;
    snug_status status = snug__part_begin(o->out_path, m->bytes, &m->part, err);
    if (status != SNUG_OK)
        return status;
    m->ask.to = m->part.path;
    status = snug__quantize_call(&m->link, &m->options, &m->ask,
                                 o->deadline_s > 0 ? o->deadline_s : NO_DEADLINE_S, NULL, err);
    if (status == SNUG_OK)
        status = read_back(m, result, err);
    if (status == SNUG_OK)
        return snug__part_finish(&m->part, o->out_path, err);
    snug__part_drop(&m->part);
    return status;
}

static snug_status make(struct making *m, struct snug_quantize_result *result,
                        struct snug_error *err)
{
    const struct snug_quantize_options *o = m->o;
    snug_status status = check_out(m, err);
    if (status == SNUG_OK && !o->recipe)
        status = take_names(m, err);
    if (status == SNUG_OK && !o->recipe)
        status = check_all(m, err);
    if (status != SNUG_OK)
        return status;
    m->ask = (struct snug__quantize_ask){.from = m->model.path,
                                         .to = "",
                                         .file_type = o->recipe ? snug__weight_type(o->recipe)
                                                                : most_common(m),
                                         .is_pure = !o->recipe,
                                         .may_requantize = o->allow_requantize,
                                         .imatrix_path = o->imatrix_path,
                                         .n_threads = o->n_threads,
                                         .model = &m->model,
                                         .types = o->recipe ? NULL : m->types};
    status = snug__link_open(&m->link, &m->options, NULL, err);
    if (status == SNUG_OK)
        status = decide(m, err);
    if (status == SNUG_OK)
        status = size_up(m, err);
    if (status == SNUG_OK)
        status = write_file(m, result, err);
    snug__link_close(&m->link);
    return status;
}

snug_status snug_engine_quantize_plan(const struct snug_quantize_options *options,
                                      struct snug_quantize_result *out, struct snug_error *err)
{
    struct snug_quantize_result result = {.bytes = 0};
    struct making *m = calloc(1, sizeof *m);
    if (!m)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory to quantise with");
    m->o = options;
    snug_status status = SNUG_OK;
    if (options->recipe && snug__weight_type(options->recipe) == LLAMA_FTYPE_GUESSED)
        status = snug__unknown_recipe(options->recipe, err);
    if (status == SNUG_OK)
        status = snug_model_open(options->model_path, &m->model, err);
    m->options = (struct snug_engine_options){.model_path = options->model_path,
                                              .model = &m->model,
                                              .stop = options->stop,
                                              .progress = options->progress,
                                              .progress_data = options->progress_data};
    m->types = malloc(((size_t)m->model.n_tensors + 1) * sizeof *m->types);
    if (status == SNUG_OK && !m->types)
        status = snug_fail(err, SNUG_NO_MEMORY, "no memory for %d tensors", m->model.n_tensors);
    if (status == SNUG_OK)
        status = make(m, &result, err);
    if (status == SNUG_OK && out)
        *out = result;
    free(m->types);
    snug_model_clear(&m->model);
    free(m);
    return status;
}
