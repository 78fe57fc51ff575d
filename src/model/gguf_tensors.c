/* Tensor infos of a GGUF file: each one alone, then the layout of all of them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "model/gguf_read.h"

/* Elements and bytes of a tensor whose dims and type are set. Shapes in ggml's order: ne[0] is the
 * row, which is cut into blocks. */
static snug_status measure(const struct snug__cursor *cursor, uint64_t at,
                           struct snug_tensor *tensor, struct snug_error *err)
{
    /* ggml asserts on types outside its enum; types that it dropped have no block size. */
    bool is_known = tensor->type >= 0 && tensor->type < GGML_TYPE_COUNT &&
                    ggml_blck_size((enum ggml_type)tensor->type) > 0 &&
                    ggml_type_size((enum ggml_type)tensor->type) > 0;
    if (!is_known) {
        snug__cursor_bad(cursor, err, at,
                         "tensor %s has type %d, which this ggml does not know (0 to %d, some of "
                         "them dropped)",
                         tensor->name, tensor->type, GGML_TYPE_COUNT - 1);
        if (err)
            err->status = SNUG_UNSUPPORTED;
        return SNUG_UNSUPPORTED;
    }
    uint64_t n_block = (uint64_t)ggml_blck_size((enum ggml_type)tensor->type);
    uint64_t block_bytes = ggml_type_size((enum ggml_type)tensor->type);
    uint64_t n = 1;
    for (int i = 0; i < 4; i++) {
        if (__builtin_mul_overflow(n, (uint64_t)tensor->ne[i], &n) || n > INT64_MAX)
            return snug__cursor_bad(cursor, err, at, "tensor %s has more than 2^63 elements",
                                    tensor->name);
    }
    if ((uint64_t)tensor->ne[0] % n_block != 0)
        return snug__cursor_bad(cursor, err, at,
                                "tensor %s has rows of %" PRId64 " elements; %s needs a multiple "
                                "of %" PRIu64,
                                tensor->name, tensor->ne[0],
                                ggml_type_name((enum ggml_type)tensor->type), n_block);
    tensor->n_elements = n;
    if (__builtin_mul_overflow(n / n_block, block_bytes, &tensor->bytes) ||
        tensor->bytes > INT64_MAX)
        return snug__cursor_bad(cursor, err, at, "tensor %s has more than 2^63 bytes",
                                tensor->name);
    return SNUG_OK;
}

static snug_status read_dims(struct snug__cursor *cursor, struct snug_tensor *tensor,
                             struct snug_error *err)
{
    uint64_t at = cursor->pos;
    uint32_t n_dims = 0;
    snug_status status = snug__cursor_u32(cursor, "number of dimensions", &n_dims, err);
    if (status != SNUG_OK)
        return status;
    if (n_dims < 1 || n_dims > 4)
        return snug__cursor_bad(cursor, err, at,
                                "tensor %s has %" PRIu32 " dimensions; 1 to 4 are accepted",
                                tensor->name, n_dims);
    tensor->n_dims = (int)n_dims;
    for (int i = 0; i < 4; i++)
        tensor->ne[i] = 1;
    for (uint32_t i = 0; i < n_dims; i++) {
        uint64_t ne = 0;
        at = cursor->pos;
        status = snug__cursor_u64(cursor, "dimension", &ne, err);
        if (status != SNUG_OK)
            return status;
        if (ne < 1 || ne > INT64_MAX)
            return snug__cursor_bad(cursor, err, at,
                                    "dimension %" PRIu32 " of tensor %s is %" PRId64
                                    "; 1 or more is expected",
                                    i, tensor->name, (int64_t)ne);
        tensor->ne[i] = (int64_t)ne;
    }
    return SNUG_OK;
}

static snug_status read_info(struct snug__cursor *cursor, struct snug_arena *arena,
                             uint64_t alignment, struct snug_tensor *tensor, struct snug_error *err)
{
    snug_status status = snug__gguf_read_name(cursor, arena, "tensor name",
                                              SNUG_GGUF_TENSOR_NAME_MAX, &tensor->name, err);
    if (status == SNUG_OK)
        status = read_dims(cursor, tensor, err);
    if (status != SNUG_OK)
        return status;
    uint64_t at = cursor->pos;
    uint32_t type = 0;
    status = snug__cursor_u32(cursor, "tensor type", &type, err);
    if (status != SNUG_OK)
        return status;
    tensor->type = (int)type;
    status = measure(cursor, at, tensor, err);
    if (status != SNUG_OK)
        return status;
    at = cursor->pos;
    status = snug__cursor_u64(cursor, "tensor offset", &tensor->offset, err);
    if (status != SNUG_OK)
        return status;
    if (tensor->offset % alignment != 0)
        return snug__cursor_bad(cursor, err, at,
                                "tensor %s is at offset %" PRIu64
                                " of the data; a multiple of %" PRIu64 " is expected",
                                tensor->name, tensor->offset, alignment);
    return snug__gguf_check_header(cursor, err);
}

static int compare_offsets(const void *a, const void *b)
{
    const struct snug_tensor *x = *(const struct snug_tensor *const *)a;
    const struct snug_tensor *y = *(const struct snug_tensor *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static int compare_names(const void *a, const void *b)
{
    const struct snug_tensor *x = *(const struct snug_tensor *const *)a;
    const struct snug_tensor *y = *(const struct snug_tensor *const *)b;
    return strcmp(x->name, y->name);
}

/* All inside the file, none over another, no name twice. `order` has room for all. */
static snug_status check_layout(const struct snug__cursor *cursor, const struct snug__gguf *gguf,
                                const struct snug_tensor **order, struct snug_error *err)
{
    uint64_t size = cursor->source->size;
    uint64_t n_data = size > gguf->data_offset ? size - gguf->data_offset : 0;
    for (int i = 0; i < gguf->n_tensors; i++) {
        const struct snug_tensor *t = &gguf->tensors[i];
        order[i] = t;
        if (t->offset > n_data || t->bytes > n_data - t->offset)
            return snug__cursor_bad(cursor, err, gguf->data_offset,
                                    "tensor %s takes bytes %" PRIu64 " to %" PRIu64
                                    " of the data, the file holds %" PRIu64 ": truncated?",
                                    t->name, t->offset, t->offset + t->bytes, n_data);
    }
    size_t n = (size_t)gguf->n_tensors;
    qsort(order, n, sizeof *order, compare_offsets);
    for (size_t i = 1; i < n; i++) {
        const struct snug_tensor *a = order[i - 1], *b = order[i];
        if (b->offset < a->offset + a->bytes)
            return snug__cursor_bad(cursor, err, gguf->data_offset + b->offset,
                                    "tensors %s and %s overlap", a->name, b->name);
    }
    qsort(order, n, sizeof *order, compare_names);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(order[i - 1]->name, order[i]->name) == 0)
            return snug__cursor_bad(cursor, err, gguf->n_header, "tensor %s is there twice",
                                    order[i]->name);
    }
    return SNUG_OK;
}

snug_status snug__gguf_read_tensors(struct snug__cursor *cursor, struct snug_arena *arena,
                                    struct snug__gguf *gguf, struct snug_error *err)
{
    size_t n = (size_t)gguf->n_tensors;
    gguf->tensors = snug_arena_alloc(arena, n, sizeof *gguf->tensors);
    if (!gguf->tensors)
        return snug_fail(err, SNUG_NO_MEMORY, "%zu tensors of a GGUF", n);
    for (size_t i = 0; i < n; i++) {
        snug_status status = read_info(cursor, arena, gguf->alignment, &gguf->tensors[i], err);
        if (status != SNUG_OK)
            return status;
    }
    gguf->n_header = cursor->pos;
    gguf->data_offset = (cursor->pos + gguf->alignment - 1) / gguf->alignment * gguf->alignment;
    if (n == 0)
        return SNUG_OK;
    const struct snug_tensor **order = malloc(n * sizeof *order);
    if (!order)
        return snug_fail(err, SNUG_NO_MEMORY, "%zu tensors of a GGUF", n);
    snug_status status = check_layout(cursor, gguf, order, err);
    free(order);
    return status;
}
