/* Reading activation statistics: a GGUF with two tensors for each of the model's, NAME.in_sum2 (sum
 * of squared activations, by column and expert) and NAME.counts (activations summed, by expert).
 * The header goes through our own reader, which checks every number; ggml's would abort. */
#include "snug/imatrix.h"

#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "base/arena.h"
#include "model/gguf_read.h"

static const char SUMS[] = ".in_sum2", COUNTS[] = ".counts";

struct reading {
    struct snug__source source;
    struct snug__gguf gguf;
    struct snug_arena *arena;
};

static const struct snug_tensor *find(const struct reading *r, const char *name)
{
    for (int i = 0; i < r->gguf.n_tensors; i++) {
        if (strcmp(r->gguf.tensors[i].name, name) == 0)
            return &r->gguf.tensors[i];
    }
    return NULL;
}

static snug_status read_floats(struct reading *r, const struct snug_tensor *t, float **out,
                               struct snug_error *err)
{
    if (t->type != GGML_TYPE_F32 || t->n_elements < 1 || t->n_elements > SIZE_MAX / sizeof **out)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: %s holds no f32 numbers", r->source.label,
                         t->name);
    *out = snug_arena_alloc(r->arena, (size_t)t->n_elements, sizeof **out);
    if (!*out)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for %s", r->source.label, t->name);
    return snug__source_read(&r->source, r->gguf.data_offset + t->offset, *out,
                             (size_t)t->n_elements * sizeof **out, err);
}

/* Sums to means. An expert that no token chose has no statistics: all its columns count alike. */
static snug_status read_row(struct reading *r, const struct snug_tensor *sums,
                            struct snug_imatrix_row *out, struct snug_error *err)
{
    char name[SNUG_GGUF_TENSOR_NAME_MAX + 16];
    float *counts = NULL;
    const size_t n_name = strlen(sums->name) - (sizeof SUMS - 1);
    snprintf(name, sizeof name, "%.*s%s", (int)n_name, sums->name, COUNTS);
    const struct snug_tensor *t = find(r, name);
    if (!t || t->n_elements < 1 || sums->n_elements % t->n_elements != 0)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: %s has no counts beside it", r->source.label,
                         sums->name);
    snug_status status = read_floats(r, sums, &out->values, err);
    if (status == SNUG_OK)
        status = read_floats(r, t, &counts, err);
    if (status != SNUG_OK)
        return status;
    out->name = snug_arena_strndup(r->arena, sums->name, n_name);
    out->n = (int64_t)sums->n_elements;
    const uint64_t n_columns = sums->n_elements / t->n_elements;
    for (uint64_t i = 0; i < sums->n_elements; i++) {
        const float count = counts[i / n_columns];
        const float mean = count > 0.0f ? out->values[i] / count : 1.0f;
        if (!(mean >= 0.0f && mean <= 3.0e38f))
            return snug_fail(err, SNUG_BAD_INPUT, "%s: %s: value %llu is no mean of squares",
                             r->source.label, sums->name, (unsigned long long)i);
        out->values[i] = mean;
    }
    for (uint64_t i = 0; i < t->n_elements; i++)
        out->count += (double)counts[i];
    return out->name ? SNUG_OK
                     : snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for a name", r->source.label);
}

static bool is_sums(const struct snug_tensor *t)
{
    const size_t n = strlen(t->name);
    return n > sizeof SUMS - 1 && strcmp(t->name + n - (sizeof SUMS - 1), SUMS) == 0;
}

static snug_status read_all(struct reading *r, struct snug_imatrix *out, struct snug_error *err)
{
    snug_status status = snug__gguf_read(&r->source, r->arena, &r->gguf, err);
    if (status != SNUG_OK)
        return status;
    const struct snug__gguf_value *kind = snug__gguf_find(&r->gguf, "general.type");
    const struct snug__gguf_value *chunks = snug__gguf_find(&r->gguf, "imatrix.chunk_count");
    if (!kind || kind->type != SNUG__GGUF_STRING || strcmp(kind->text, "imatrix") != 0)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: a GGUF, but no imatrix; llama-imatrix makes one",
                         r->source.label);
    if (chunks && snug__gguf_is_integer(chunks->type))
        out->n_chunks = chunks->integer;
    out->rows = snug_arena_alloc(r->arena, (size_t)r->gguf.n_tensors + 1, sizeof *out->rows);
    if (!out->rows)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for its rows", r->source.label);
    for (int i = 0; status == SNUG_OK && i < r->gguf.n_tensors; i++) {
        if (is_sums(&r->gguf.tensors[i]))
            status = read_row(r, &r->gguf.tensors[i], &out->rows[out->n_rows++], err);
    }
    if (status == SNUG_OK && out->n_rows == 0)
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: no statistics in it", r->source.label);
    return status;
}

snug_status snug_imatrix_read(const char *path, struct snug_imatrix *out, struct snug_error *err)
{
    struct reading r = {.arena = calloc(1, sizeof *r.arena)};
    struct snug_imatrix read = {.owner = r.arena};
    if (!r.arena)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory", path);
    snug_status status = snug__source_open(path, &r.source, err);
    if (status == SNUG_OK) {
        status = read_all(&r, &read, err);
        snug__source_close(&r.source);
    }
    if (status == SNUG_OK)
        *out = read;
    else
        snug_imatrix_clear(&read);
    return status;
}

const struct snug_imatrix_row *snug_imatrix_find(const struct snug_imatrix *imatrix,
                                                 const char *name)
{
    for (int i = 0; i < imatrix->n_rows; i++) {
        if (strcmp(imatrix->rows[i].name, name) == 0)
            return &imatrix->rows[i];
    }
    return NULL;
}

void snug_imatrix_clear(struct snug_imatrix *imatrix)
{
    if (!imatrix)
        return;
    if (imatrix->owner)
        snug_arena_clear(imatrix->owner);
    free(imatrix->owner);
    *imatrix = (struct snug_imatrix){.n_rows = 0};
}
