/* Reading and writing importance matrices, see imatrix.h. The reader believes nothing: the GGUF is
 * checked by the room that reads models, sums against counts here. */
#include "engine/imatrix.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "base/arena.h"
#include "model/gguf_read.h"
#include "model/gguf_write.h"

#define SUMS ".in_sum2"
#define COUNTS ".counts"

/* ---- reading ---- */

struct opening {
    const struct snug__source *source;
    struct snug__gguf gguf;
    struct snug_arena *arena;
    const struct snug_tensor **sorted; /* by name */
    struct snug_imatrix m;
    int64_t n_values;
};

static bool has_suffix(const char *name, const char *suffix)
{
    const size_t n = strlen(name), n_suffix = strlen(suffix);
    return n > n_suffix && strcmp(name + n - n_suffix, suffix) == 0;
}

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

static snug_status bad(const struct opening *o, struct snug_error *err, const char *name,
                       const char *what)
{
    return snug_fail(err, SNUG_BAD_INPUT, "%s: %s: %s", o->source->label, name, what);
}

static snug_status read_floats(const struct opening *o, const struct snug_tensor *t, float *out,
                               struct snug_error *err)
{
    const snug_status status = snug__source_read(o->source, o->gguf.data_offset + t->offset, out,
                                                 (size_t)t->n_elements * sizeof *out, err);
    for (uint64_t i = 0; i < t->n_elements && status == SNUG_OK; i++) {
        uint8_t bytes[4];
        memcpy(bytes, &out[i], sizeof bytes);
        const uint32_t bits = (uint32_t)snug__load_le(bytes, 4);
        memcpy(&out[i], &bits, sizeof bits);
        if (!isfinite(out[i]) || out[i] < 0.0f)
            return bad(o, err, t->name, "a sum of squares is not a number of 0 or more");
    }
    return status;
}

/* Sums to means; a matrix that no activation reached counts as even. False when one is beyond
 * float. */
static bool divide(struct snug_imatrix_row *row, const float *counts, uint64_t n_counts)
{
    const int64_t n_each = row->n / (int64_t)n_counts;
    bool is_finite = true;
    for (uint64_t k = 0; k < n_counts; k++) {
        float *values = row->values + (int64_t)k * n_each;
        for (int64_t i = 0; i < n_each; i++) {
            values[i] = counts[k] > 0.0f ? values[i] / counts[k] : 1.0f;
            is_finite = is_finite && isfinite(values[i]);
        }
        row->count += (double)counts[k];
    }
    return is_finite;
}

static snug_status read_row(struct opening *o, const struct snug_tensor *sums,
                            struct snug_error *err)
{
    const size_t n_name = strlen(sums->name) - strlen(SUMS);
    char name[SNUG_GGUF_TENSOR_NAME_MAX + sizeof COUNTS];
    snprintf(name, sizeof name, "%.*s%s", (int)n_name, sums->name, COUNTS);
    const struct snug_tensor **found =
        bsearch(name, o->sorted, (size_t)o->gguf.n_tensors, sizeof *o->sorted, compare_name);
    const struct snug_tensor *counts = found ? *found : NULL;
    if (!counts)
        return bad(o, err, sums->name, "there are no counts for it");
    if (sums->type != GGML_TYPE_F32 || counts->type != GGML_TYPE_F32)
        return bad(o, err, sums->name, "sums and counts are expected as f32");
    if (sums->n_elements % counts->n_elements != 0)
        return bad(o, err, sums->name, "its sums are no multiple of its counts");
    if (sums->n_elements > (uint64_t)(SNUG_IMATRIX_VALUES_MAX - o->n_values))
        return bad(o, err, sums->name, "more than 2^29 sums up to here");
    struct snug_imatrix_row *row = &o->m.rows[o->m.n_rows];
    float *n = snug_arena_alloc(o->arena, counts->n_elements, sizeof *n);
    row->name = snug_arena_strndup(o->arena, sums->name, n_name);
    row->values = snug_arena_alloc(o->arena, sums->n_elements, sizeof *row->values);
    if (!n || !row->name || !row->values)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: %" PRIu64 " sums", o->source->label,
                         sums->n_elements);
    row->n = (int64_t)sums->n_elements;
    snug_status status = read_floats(o, sums, row->values, err);
    if (status == SNUG_OK)
        status = read_floats(o, counts, n, err);
    if (status != SNUG_OK)
        return status;
    if (!divide(row, n, counts->n_elements))
        return bad(o, err, counts->name, "a count is no number of activations");
    o->n_values += row->n;
    o->m.n_rows++;
    return SNUG_OK;
}

/* The first text of imatrix.datasets: key, type, item type, count, then length and text. */
static snug_status read_dataset(struct opening *o, struct snug_error *err)
{
    const struct snug__gguf_value *v = snug__gguf_find(&o->gguf, "imatrix.datasets");
    uint8_t length[8];
    if (!v || v->type != SNUG__GGUF_ARRAY || v->item_type != SNUG__GGUF_STRING || v->n == 0)
        return SNUG_OK;
    const int n_length = o->gguf.version < 2 ? 4 : 8;
    const uint64_t at = v->at + (uint64_t)n_length + strlen(v->key) + 4 + 4 + (uint64_t)n_length;
    snug_status status = snug__source_read(o->source, at, length, (size_t)n_length, err);
    if (status != SNUG_OK)
        return status;
    uint64_t n = snug__load_le(length, n_length);
    n = n < sizeof o->m.dataset ? n : sizeof o->m.dataset - 1;
    status = snug__source_read(o->source, at + (uint64_t)n_length, o->m.dataset, (size_t)n, err);
    o->m.dataset[n] = '\0';
    return status;
}

static snug_status check_kind(const struct opening *o, struct snug_error *err)
{
    const struct snug__gguf_value *kind = snug__gguf_find(&o->gguf, "general.type");
    if (!kind || kind->type != SNUG__GGUF_STRING || strcmp(kind->text, "imatrix") != 0)
        return snug_fail(
            err, SNUG_BAD_INPUT, "%s: a GGUF, but no importance matrix (general.type is '%.40s')",
            o->source->label, kind && kind->type == SNUG__GGUF_STRING ? kind->text : "");
    return SNUG_OK;
}

static snug_status read_all(struct opening *o, struct snug_error *err)
{
    const int n = o->gguf.n_tensors;
    int n_rows = 0;
    o->sorted = snug_arena_alloc(o->arena, (size_t)n + 1, sizeof *o->sorted);
    if (!o->sorted)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: %d tensors", o->source->label, n);
    for (int i = 0; i < n; i++) {
        o->sorted[i] = &o->gguf.tensors[i];
        n_rows += has_suffix(o->gguf.tensors[i].name, SUMS);
    }
    if (n_rows == 0 || n_rows > SNUG_IMATRIX_ROWS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: sums of %d weights; 1 to %d are accepted",
                         o->source->label, n_rows, SNUG_IMATRIX_ROWS_MAX);
    qsort(o->sorted, (size_t)n, sizeof *o->sorted, compare_tensors);
    o->m.rows = snug_arena_alloc(o->arena, (size_t)n_rows, sizeof *o->m.rows);
    if (!o->m.rows)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: %d rows", o->source->label, n_rows);
    snug_status status = SNUG_OK;
    for (int i = 0; i < n && status == SNUG_OK; i++) {
        if (has_suffix(o->sorted[i]->name, SUMS))
            status = read_row(o, o->sorted[i], err);
    }
    return status;
}

static int compare_rows(const void *a, const void *b)
{
    const struct snug_imatrix_row *x = a, *y = b;
    return strcmp(x->name, y->name);
}

snug_status snug__imatrix_read_source(const struct snug__source *source, struct snug_imatrix *out,
                                      struct snug_error *err)
{
    struct opening o = {.source = source, .arena = calloc(1, sizeof *o.arena)};
    uint8_t magic[4] = {0};
    if (!o.arena)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: importance matrix", source->label);
    snug_status status = SNUG_OK;
    if (source->size >= sizeof magic)
        status = snug__source_read(source, 0, magic, sizeof magic, err);
    if (status == SNUG_OK && memcmp(magic, SNUG__GGUF_MAGIC, 4) != 0)
        status = snug_fail(err, SNUG_BAD_INPUT,
                           "%s: not a GGUF: an importance matrix of llama.cpp's older .dat format "
                           "must be made again, with snug imatrix",
                           source->label);
    if (status == SNUG_OK)
        status = snug__gguf_read(source, o.arena, &o.gguf, err);
    if (status == SNUG_OK)
        status = check_kind(&o, err);
    if (status == SNUG_OK)
        status = read_dataset(&o, err);
    if (status == SNUG_OK)
        status = read_all(&o, err);
    if (status != SNUG_OK) {
        snug_arena_clear(o.arena);
        free(o.arena);
        return status;
    }
    /* "a.b.in_sum2" sorts otherwise than "a.b" where names go on in characters below '.'. */
    qsort(o.m.rows, (size_t)o.m.n_rows, sizeof *o.m.rows, compare_rows);
    const struct snug__gguf_value *n_chunks = snug__gguf_find(&o.gguf, "imatrix.chunk_count");
    o.m.n_chunks = n_chunks && snug__gguf_is_integer(n_chunks->type) ? n_chunks->integer : 0;
    o.m.owner = o.arena;
    *out = o.m;
    return SNUG_OK;
}

snug_status snug_imatrix_read(const char *path, struct snug_imatrix *out, struct snug_error *err)
{
    struct snug__source source;
    snug_status status = snug__source_open(path, &source, err);
    if (status != SNUG_OK)
        return status;
    status = snug__imatrix_read_source(&source, out, err);
    snug__source_close(&source);
    return status;
}

static int compare_row_name(const void *name, const void *row)
{
    return strcmp(name, ((const struct snug_imatrix_row *)row)->name);
}

const struct snug_imatrix_row *snug_imatrix_find(const struct snug_imatrix *m, const char *name)
{
    return m->n_rows > 0
               ? bsearch(name, m->rows, (size_t)m->n_rows, sizeof *m->rows, compare_row_name)
               : NULL;
}

void snug_imatrix_clear(struct snug_imatrix *m)
{
    if (!m)
        return;
    if (m->owner)
        snug_arena_clear(m->owner);
    free(m->owner);
    memset(m, 0, sizeof *m);
}

/* ---- writing ---- */

static int compare_sums(const void *a, const void *b)
{
    const struct snug__imatrix_sums *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static uint64_t pad(uint64_t n)
{
    return (n + SNUG__GGUF_ALIGNMENT - 1) / SNUG__GGUF_ALIGNMENT * SNUG__GGUF_ALIGNMENT;
}

static void put_tensor(struct snug__gguf_writer *w, const char *name, const char *suffix,
                       const int64_t ne[2], uint64_t *offset)
{
    char full[SNUG_GGUF_TENSOR_NAME_MAX + 16];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    snug__gguf_put_tensor(w, full, ne[1] > 1 ? 2 : 1, ne, GGML_TYPE_F32, *offset);
    *offset += pad((uint64_t)ne[0] * (uint64_t)ne[1] * sizeof(float));
}

static bool write_floats(FILE *file, const double *values, int64_t n)
{
    static const uint8_t zeros[SNUG__GGUF_ALIGNMENT];
    const uint64_t bytes = (uint64_t)n * sizeof(float);
    bool is_ok = true;
    for (int64_t i = 0; i < n && is_ok; i++) {
        const float value = (float)values[i];
        uint32_t bits = 0;
        memcpy(&bits, &value, sizeof bits);
        const uint8_t le[4] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                               (uint8_t)(bits >> 24)};
        is_ok = fwrite(le, 1, sizeof le, file) == sizeof le;
    }
    const size_t n_pad = (size_t)(pad(bytes) - bytes);
    return is_ok && fwrite(zeros, 1, n_pad, file) == n_pad;
}

static void put_header(struct snug__gguf_writer *w, const struct snug__imatrix_sums *rows,
                       int n_rows, const char *dataset, int64_t n_chunks, int64_t chunk_size)
{
    uint64_t offset = 0;
    snug__gguf_begin(w, "");
    snug__gguf_put_string(w, "general.type", "imatrix");
    snug__gguf_begin_array(w, "imatrix.datasets", SNUG__GGUF_STRING, 1);
    snug__gguf_item_string(w, dataset, strlen(dataset));
    snug__gguf_put_u32(w, "imatrix.chunk_count", (uint32_t)n_chunks);
    snug__gguf_put_u32(w, "imatrix.chunk_size", (uint32_t)chunk_size);
    for (int i = 0; i < n_rows; i++) {
        const struct snug__imatrix_sums *row = &rows[i];
        const int64_t all = row->n_cols * row->n_mats;
        put_tensor(w, row->name, SUMS, (const int64_t[2]){all / row->n_counts, row->n_counts},
                   &offset);
        put_tensor(w, row->name, COUNTS, (const int64_t[2]){1, row->n_counts}, &offset);
    }
    snug__gguf_end(w);
}

snug_status snug__imatrix_write(const char *path, struct snug__imatrix_sums *rows, int n_rows,
                                const char *dataset, int64_t n_chunks, int64_t chunk_size,
                                struct snug_error *err)
{
    struct snug__gguf_writer w;
    qsort(rows, (size_t)n_rows, sizeof *rows, compare_sums);
    for (int i = 0; i < n_rows; i++) {
        if (strlen(rows[i].name) + strlen(SUMS) > SNUG_GGUF_TENSOR_NAME_MAX)
            return snug_fail(err, SNUG_UNSUPPORTED,
                             "tensor %s: its name is too long for the format", rows[i].name);
    }
    put_header(&w, rows, n_rows, dataset, n_chunks, chunk_size);
    FILE *file = w.buf.is_failed ? NULL : fopen(path, "wbe");
    bool is_ok = file && fwrite(w.buf.data, 1, w.buf.len, file) == w.buf.len;
    snug_buffer_clear(&w.buf);
    for (int i = 0; i < n_rows && is_ok; i++)
        is_ok = write_floats(file, rows[i].sums, rows[i].n_cols * rows[i].n_mats) &&
                write_floats(file, rows[i].counts, rows[i].n_counts);
    if (file && fclose(file) != 0)
        is_ok = false;
    return is_ok ? SNUG_OK : snug_fail(err, SNUG_IO, "%s: cannot be written", path);
}
