/* Reading safetensors headers. Lengths, offsets and shapes are believed only after they agree with
 * one another and with the size of the file. */
#include "model/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "base/json.h"

#define LENGTH_BYTES 8 /* of the header's length, at the file's beginning */

static const struct {
    const char *name;
    uint64_t bytes;
    int type;
} dtypes[] = {
    {"F32", 4, GGML_TYPE_F32},
    {"F16", 2, GGML_TYPE_F16},
    {"BF16", 2, GGML_TYPE_BF16},
    {"F64", 8, -1},
    {"I64", 8, -1},
    {"I32", 4, -1},
    {"I16", 2, -1},
    {"I8", 1, -1},
    {"U64", 8, -1},
    {"U32", 4, -1},
    {"U16", 2, -1},
    {"U8", 1, -1},
    {"BOOL", 1, -1},
    {"F8_E4M3", 1, -1},
    {"F8_E5M2", 1, -1},
    {"F8_E8M0", 1, -1},
};
#define N_DTYPES (sizeof dtypes / sizeof dtypes[0])

/* ---- one tensor ---- */

/* Bytes of the elements, out of dtype and shape. */
static snug_status read_shape(const char *file, const struct snug_json_node *entry,
                              struct snug__st_tensor *t, uint64_t *out_bytes,
                              struct snug_error *err)
{
    const char *dtype = snug_json_get_string(entry, "dtype", "");
    const struct snug_json_node *shape = snug_json_get(entry, "shape");
    uint64_t n = 0;
    for (size_t i = 0; i < N_DTYPES && n == 0; i++) {
        if (strcmp(dtypes[i].name, dtype) == 0) {
            t->dtype = dtypes[i].name;
            t->type = dtypes[i].type;
            n = dtypes[i].bytes;
        }
    }
    if (n == 0)
        return snug_fail(err, SNUG_UNSUPPORTED,
                         "%s: tensor %s: dtype '%.20s' is not known; F32, F16, BF16 and other "
                         "whole-byte types are",
                         file, t->name, dtype);
    size_t n_dims = snug_json_count(shape);
    if (!snug_json_is_array(shape) || n_dims > SNUG__ST_DIMS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: tensor %s: shape is no list of at most %d numbers", file, t->name,
                         SNUG__ST_DIMS_MAX);
    const struct snug_json_node *dims[SNUG__ST_DIMS_MAX];
    t->n_dims = (int)snug_json_elements(shape, dims, SNUG__ST_DIMS_MAX);
    for (int i = 0; i < t->n_dims; i++) {
        t->shape[i] = snug_json_int(dims[i], -1);
        if (t->shape[i] < 0 || __builtin_mul_overflow(n, (uint64_t)t->shape[i], &n) ||
            n > INT64_MAX)
            return snug_fail(err, SNUG_BAD_INPUT,
                             "%s: tensor %s: dimension %d of its shape is %.17g; 0 or more, and "
                             "less than 2^63 bytes of all, are accepted",
                             file, t->name, i, snug_json_number(dims[i], -1));
    }
    *out_bytes = n;
    return SNUG_OK;
}

static snug_status read_tensor(const char *file, const struct snug_json_node *entry,
                               uint64_t n_data, struct snug__st_tensor *t, struct snug_error *err)
{
    uint64_t n_bytes = 0;
    if (!snug_json_is_object(entry))
        return snug_fail(err, SNUG_BAD_INPUT, "%s: tensor %s is no object", file, t->name);
    snug_status status = read_shape(file, entry, t, &n_bytes, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_json_node *offsets = snug_json_get(entry, "data_offsets");
    int64_t begin = snug_json_int(snug_json_at(offsets, 0), -1);
    int64_t end = snug_json_int(snug_json_at(offsets, 1), -1);
    if (snug_json_count(offsets) != 2 || begin < 0 || end < begin)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: tensor %s: data_offsets are no two numbers, begin and end", file,
                         t->name);
    t->begin = (uint64_t)begin;
    t->end = (uint64_t)end;
    if (t->end - t->begin != n_bytes)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: tensor %s: data_offsets span %" PRIu64 " bytes, %s of its shape "
                         "takes %" PRIu64,
                         file, t->name, t->end - t->begin, t->dtype, n_bytes);
    if (t->end > n_data)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: tensor %s ends at byte %" PRIu64 " of the data, the file holds "
                         "%" PRIu64 ": truncated?",
                         file, t->name, t->end, n_data);
    return SNUG_OK;
}

/* ---- one file ---- */

static snug_status make_room(struct snug__st_set *set, size_t n_more, const char *file,
                             struct snug_error *err)
{
    size_t n = set->n + n_more;
    if (n > SNUG__ST_TENSORS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: %zu tensors so far; up to %d are accepted", file,
                         n, SNUG__ST_TENSORS_MAX);
    if (n <= set->cap)
        return SNUG_OK;
    size_t cap = n > 2 * set->cap ? n : 2 * set->cap;
    struct snug__st_tensor *tensors = realloc(set->tensors, cap * sizeof *tensors);
    if (!tensors)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: %zu tensors", file, n);
    set->tensors = tensors;
    set->cap = cap;
    return SNUG_OK;
}

static int compare_begins(const void *a, const void *b)
{
    const struct snug__st_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end); /* an empty tensor before its neighbour */
}

/* Nothing over another, no hole, nothing behind. Orders the tensors by place. */
static snug_status check_cover(const char *file, struct snug__st_tensor *tensors, size_t n,
                               uint64_t n_data, struct snug_error *err)
{
    uint64_t at = 0;
    if (n > 0)
        qsort(tensors, n, sizeof *tensors, compare_begins);
    for (size_t i = 0; i < n; i++) {
        const struct snug__st_tensor *t = &tensors[i];
        if (t->begin != at)
            return snug_fail(err, SNUG_BAD_INPUT,
                             "%s: tensor %s begins at byte %" PRIu64 " of the data; %" PRIu64
                             ", the end of the one before, is expected",
                             file, t->name, t->begin, at);
        at = t->end;
    }
    if (at != n_data)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: the tensors take %" PRIu64 " bytes, the file holds %" PRIu64
                         " behind its header",
                         file, at, n_data);
    return SNUG_OK;
}

/* The members of the root as tensors at set->tensors[n ..]; n grows by those found. */
static snug_status read_members(const struct snug_json_node *root, const char *file,
                                uint64_t n_data, struct snug__st_set *set, struct snug_error *err)
{
    size_t n = snug_json_count(root), first = set->n;
    snug_status status = make_room(set, n, file, err);
    if (status != SNUG_OK)
        return status;
    const char **keys = calloc(n + 1, sizeof *keys);
    const struct snug_json_node **values = calloc(n + 1, sizeof *values);
    const char *label = snug_arena_strdup(set->arena, file);
    if (!keys || !values || !label) {
        status = snug_fail(err, SNUG_NO_MEMORY, "%s: %zu tensors", file, n);
        goto done;
    }
    n = snug_json_members(root, keys, values, n);
    for (size_t i = 0; i < n; i++) {
        size_t n_name = strlen(keys[i]);
        if (strcmp(keys[i], "__metadata__") == 0)
            continue;
        if (n_name < 1 || n_name > SNUG__ST_NAME_MAX) {
            status = snug_fail(err, SNUG_BAD_INPUT,
                               "%s: a tensor name of %zu bytes; 1 to %d are accepted", file, n_name,
                               SNUG__ST_NAME_MAX);
            goto done;
        }
        struct snug__st_tensor t = {.file = label};
        t.name = snug_arena_strdup(set->arena, keys[i]);
        status = t.name ? read_tensor(file, values[i], n_data, &t, err)
                        : snug_fail(err, SNUG_NO_MEMORY, "%s: tensor names", file);
        if (status != SNUG_OK)
            goto done;
        set->tensors[set->n++] = t;
    }
    status = check_cover(file, set->tensors + first, set->n - first, n_data, err);
done:
    free(keys);
    free(values);
    return status;
}

static snug_status read_length(const struct snug__source *source, uint64_t *out,
                               struct snug_error *err)
{
    uint8_t bytes[LENGTH_BYTES];
    if (source->size < LENGTH_BYTES)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: %" PRIu64 " bytes; a safetensors file begins with 8 of its header's "
                         "length: truncated?",
                         source->label, source->size);
    snug_status status = snug__source_read(source, 0, bytes, sizeof bytes, err);
    if (status != SNUG_OK)
        return status;
    uint64_t n = snug__load_le(bytes, LENGTH_BYTES);
    if (n > SNUG__ST_HEADER_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: says that its header has %" PRIu64 " bytes; up to %d are accepted: "
                         "not a safetensors file?",
                         source->label, n, SNUG__ST_HEADER_MAX);
    if (n > source->size - LENGTH_BYTES)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: says that its header has %" PRIu64 " bytes, the file has %" PRIu64
                         " left: truncated?",
                         source->label, n, source->size - LENGTH_BYTES);
    *out = n;
    return SNUG_OK;
}

snug_status snug__st_read(const struct snug__source *source, struct snug__st_set *set,
                          struct snug_error *err)
{
    uint64_t n = 0;
    snug_status status = read_length(source, &n, err);
    if (status != SNUG_OK)
        return status;
    char *text = malloc((size_t)n + 1);
    struct snug_json *json = NULL;
    if (!text)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: header", source->label);
    status = snug__source_read(source, LENGTH_BYTES, text, (size_t)n, err);
    if (status == SNUG_OK)
        status = snug_json_parse(source->label, text, (size_t)n, &json, err);
    free(text);
    if (status != SNUG_OK)
        return status;
    if (!snug_json_is_object(snug_json_root(json)))
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: the header is no JSON object", source->label);
    else
        status = read_members(snug_json_root(json), source->label, source->size - LENGTH_BYTES - n,
                              set, err);
    snug_json_free(json);
    return status;
}

/* ---- the set ---- */

static int compare_names(const void *a, const void *b)
{
    const struct snug__st_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

snug_status snug__st_sort(struct snug__st_set *set, struct snug_error *err)
{
    if (set->n > 0)
        qsort(set->tensors, set->n, sizeof *set->tensors, compare_names);
    for (size_t i = 1; i < set->n; i++) {
        const struct snug__st_tensor *a = &set->tensors[i - 1], *b = &set->tensors[i];
        if (strcmp(a->name, b->name) == 0)
            return snug_fail(err, SNUG_BAD_INPUT, "%s: tensor %s is there twice (also in %s)",
                             b->file, b->name, a->file);
    }
    return SNUG_OK;
}

struct snug__st_tensor *snug__st_find(const struct snug__st_set *set, const char *name)
{
    struct snug__st_tensor wanted = {.name = name};
    if (set->n == 0)
        return NULL;
    return bsearch(&wanted, set->tensors, set->n, sizeof wanted, compare_names);
}

void snug__st_clear(struct snug__st_set *set)
{
    free(set->tensors);
    set->tensors = NULL;
    set->n = set->cap = 0;
}
