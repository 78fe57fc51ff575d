/* GGUF version 3 header, see gguf_read.h for the layout. */
#include "model/gguf_write.h"

#include <stdio.h>
#include <string.h>

#include "model/gguf_read.h"

#define VERSION 3
#define TENSORS_AT 8 /* byte offsets of the two counts, patched at the end */
#define KEYS_AT 16

static void store_le(uint8_t *p, uint64_t x, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++)
        p[i] = (uint8_t)(x >> (8 * i));
}

static void put_le(struct snug__gguf_writer *w, uint64_t x, int n_bytes)
{
    uint8_t bytes[8];
    store_le(bytes, x, n_bytes);
    snug_buffer_append(&w->buf, bytes, (size_t)n_bytes);
}

static void put_key(struct snug__gguf_writer *w, const char *key, uint32_t type)
{
    snug__gguf_item_string(w, key, strlen(key));
    put_le(w, type, 4);
    w->n_keys++;
}

static void put_arch_key(struct snug__gguf_writer *w, const char *key, uint32_t type)
{
    char full[SNUG_GGUF_KEY_MAX];
    snprintf(full, sizeof full, "%s.%s", w->prefix, key);
    put_key(w, full, type);
}

void snug__gguf_begin(struct snug__gguf_writer *w, const char *prefix)
{
    *w = (struct snug__gguf_writer){.prefix = prefix};
    snug_buffer_append(&w->buf, SNUG__GGUF_MAGIC, 4);
    put_le(w, VERSION, 4);
    put_le(w, 0, 8);
    put_le(w, 0, 8);
}

void snug__gguf_item_u32(struct snug__gguf_writer *w, uint32_t value)
{
    put_le(w, value, 4);
}

void snug__gguf_item_f32(struct snug__gguf_writer *w, float value)
{
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    put_le(w, bits, 4);
}

void snug__gguf_item_string(struct snug__gguf_writer *w, const char *text, size_t n)
{
    put_le(w, n, 8);
    snug_buffer_append(&w->buf, text, n);
}

void snug__gguf_put_u32(struct snug__gguf_writer *w, const char *key, uint32_t value)
{
    put_key(w, key, SNUG__GGUF_U32);
    put_le(w, value, 4);
}

void snug__gguf_put_bool(struct snug__gguf_writer *w, const char *key, bool value)
{
    put_key(w, key, SNUG__GGUF_BOOL);
    put_le(w, value, 1);
}

void snug__gguf_put_string(struct snug__gguf_writer *w, const char *key, const char *value)
{
    put_key(w, key, SNUG__GGUF_STRING);
    snug__gguf_item_string(w, value, strlen(value));
}

void snug__gguf_put_arch_u32(struct snug__gguf_writer *w, const char *key, int64_t value)
{
    put_arch_key(w, key, SNUG__GGUF_U32);
    put_le(w, (uint32_t)value, 4);
}

void snug__gguf_put_arch_f32(struct snug__gguf_writer *w, const char *key, float value)
{
    put_arch_key(w, key, SNUG__GGUF_F32);
    snug__gguf_item_f32(w, value);
}

void snug__gguf_begin_array(struct snug__gguf_writer *w, const char *key, uint32_t item_type,
                            uint64_t n)
{
    put_key(w, key, SNUG__GGUF_ARRAY);
    put_le(w, item_type, 4);
    put_le(w, n, 8);
}

void snug__gguf_put_tensor(struct snug__gguf_writer *w, const char *name, int n_dims,
                           const int64_t *ne, int type, uint64_t offset)
{
    snug__gguf_item_string(w, name, strlen(name));
    put_le(w, (uint64_t)n_dims, 4);
    for (int i = 0; i < n_dims; i++)
        put_le(w, (uint64_t)ne[i], 8);
    put_le(w, (uint64_t)type, 4);
    put_le(w, offset, 8);
    w->n_tensors++;
}

void snug__gguf_end(struct snug__gguf_writer *w)
{
    static const uint8_t zeros[SNUG__GGUF_ALIGNMENT];
    snug_buffer_append(&w->buf, zeros,
                       (SNUG__GGUF_ALIGNMENT - w->buf.len % SNUG__GGUF_ALIGNMENT) %
                           SNUG__GGUF_ALIGNMENT);
    if (w->buf.is_failed)
        return;
    store_le((uint8_t *)w->buf.data + TENSORS_AT, w->n_tensors, 8);
    store_le((uint8_t *)w->buf.data + KEYS_AT, w->n_keys, 8);
}
