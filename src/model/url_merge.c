/* One header of a split model's parts. Keys are copied as they are; tensors get the place that they
 * have when the parts' data follows one another. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf_read.h"
#include "model/gguf_write.h"
#include "model/model_fill.h"
#include "model/url.h"

struct merging {
    const char *label;
    struct snug_arena arena;
    struct snug__gguf_writer w;
    uint64_t alignment; /* of the first part */
    uint64_t bytes_data;
    int64_t n_tensors_said;
};

static snug_status read_part(struct merging *m, const struct snug__url_header *part, int no,
                             int n_parts, struct snug__gguf *out, struct snug_error *err)
{
    struct snug__source source;
    int64_t no_said = 0, n_said = 0;
    snug__source_memory(m->label, part->bytes.data, part->bytes.len, part->size, &source);
    snug_status status = snug__gguf_read(&source, &m->arena, out, err);
    if (status == SNUG_OK)
        status = snug__model_count(out, m->label, "split.no", 0, INT16_MAX, &no_said, err);
    if (status == SNUG_OK)
        status = snug__model_count(out, m->label, "split.count", 0, INT16_MAX, &n_said, err);
    if (status == SNUG_OK && no == 0)
        status = snug__model_count(out, m->label, "split.tensors.count", -1, SNUG_GGUF_TENSORS_MAX,
                                   &m->n_tensors_said, err);
    if (status != SNUG_OK)
        return snug_fail_prefix(err, status, "part %d of %d", no + 1, n_parts);
    if (no_said != no || n_said != n_parts)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%.200s: part %d of %d says that it is part %" PRId64 " of %" PRId64
                         " (split.no, split.count)",
                         m->label, no + 1, n_parts, no_said + 1, n_said);
    return SNUG_OK;
}

static int compare_places(const void *a, const void *b)
{
    const struct snug__gguf_value *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

/* The bytes of each key and its value reach to the next key. Orders the values by place. */
static void put_keys(struct merging *m, const struct snug__url_header *part,
                     struct snug__gguf *gguf)
{
    qsort(gguf->values, gguf->n_values, sizeof *gguf->values, compare_places);
    for (size_t i = 0; i < gguf->n_values; i++) {
        const struct snug__gguf_value *value = &gguf->values[i];
        uint64_t end = i + 1 < gguf->n_values ? gguf->values[i + 1].at : gguf->keys_end;
        if (strncmp(value->key, "split.", 6) == 0)
            continue;
        snug_buffer_append(&m->w.buf, part->bytes.data + value->at, (size_t)(end - value->at));
        m->w.n_keys++;
    }
}

static snug_status put_tensors(struct merging *m, const struct snug__url_header *part,
                               const struct snug__gguf *gguf, struct snug_error *err)
{
    uint64_t n_data = part->size > gguf->data_offset ? part->size - gguf->data_offset : 0, end = 0;
    for (int i = 0; i < gguf->n_tensors; i++) {
        const struct snug_tensor *t = &gguf->tensors[i];
        snug__gguf_put_tensor(&m->w, t->name, t->n_dims, t->ne, t->type, m->bytes_data + t->offset);
    }
    if (m->w.n_tensors > SNUG_GGUF_TENSORS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%.200s: more than %d tensors in all parts", m->label,
                         SNUG_GGUF_TENSORS_MAX);
    if (__builtin_add_overflow(m->bytes_data, n_data, &end) || end > INT64_MAX - m->alignment)
        return snug_fail(err, SNUG_BAD_INPUT, "%.200s: more than 2^63 bytes in all parts",
                         m->label);
    m->bytes_data = (end + m->alignment - 1) / m->alignment * m->alignment;
    return SNUG_OK;
}

snug_status snug__url_merge(const char *label, const struct snug__url_header *parts, int n_parts,
                            struct snug__url_header *out, struct snug_error *err)
{
    struct merging m = {.label = label, .n_tensors_said = -1};
    snug_status status = SNUG_OK;
    snug__gguf_begin(&m.w, "");
    for (int i = 0; status == SNUG_OK && i < n_parts; i++) {
        struct snug__gguf gguf;
        status = read_part(&m, &parts[i], i, n_parts, &gguf, err);
        if (status != SNUG_OK)
            break;
        if (i == 0) {
            m.alignment = gguf.alignment;
            put_keys(&m, &parts[i], &gguf);
        }
        status = put_tensors(&m, &parts[i], &gguf, err);
    }
    if (status == SNUG_OK && m.n_tensors_said >= 0 && (uint64_t)m.n_tensors_said != m.w.n_tensors)
        status = snug_fail(err, SNUG_BAD_INPUT,
                           "%.200s: %" PRIu64 " tensors in %d parts, split.tensors.count says "
                           "%" PRId64,
                           label, m.w.n_tensors, n_parts, m.n_tensors_said);
    snug__gguf_end(&m.w);
    while (status == SNUG_OK && !m.w.buf.is_failed && m.w.buf.len % m.alignment != 0)
        snug_buffer_append(&m.w.buf, "", 1);
    if (status == SNUG_OK && m.w.buf.is_failed)
        status = snug_fail(err, SNUG_NO_MEMORY, "%.200s: header of %d parts", label, n_parts);
    snug_arena_clear(&m.arena);
    if (status != SNUG_OK) {
        snug_buffer_clear(&m.w.buf);
        return status;
    }
    *out = (struct snug__url_header){.bytes = m.w.buf, .size = m.w.buf.len + m.bytes_data};
    return SNUG_OK;
}
