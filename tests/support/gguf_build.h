/* GGUF bytes by hand, right or wrong: what the tests of the reader are made of. */
#ifndef SNUG_TEST_GGUF_BUILD_H
#define SNUG_TEST_GGUF_BUILD_H

#include "base/buffer.h"
#include "test.h"

static inline void build_u32(struct snug_buffer *b, uint32_t x)
{
    uint8_t bytes[4];
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(x >> (8 * i));
    snug_buffer_append(b, bytes, sizeof bytes);
}

static inline void build_u64(struct snug_buffer *b, uint64_t x)
{
    build_u32(b, (uint32_t)x);
    build_u32(b, (uint32_t)(x >> 32));
}

static inline void build_bytes(struct snug_buffer *b, const char *text, size_t n)
{
    build_u64(b, n);
    snug_buffer_append(b, text, n);
}

static inline void build_text(struct snug_buffer *b, const char *text)
{
    build_bytes(b, text, strlen(text));
}

static inline void build_head(struct snug_buffer *b, uint64_t n_tensors, uint64_t n_keys)
{
    snug_buffer_append(b, "GGUF", 4);
    build_u32(b, 3);
    build_u64(b, n_tensors);
    build_u64(b, n_keys);
}

static inline void build_key(struct snug_buffer *b, const char *key, uint32_t type)
{
    build_text(b, key);
    build_u32(b, type);
}

static inline void build_key_u32(struct snug_buffer *b, const char *key, uint32_t x)
{
    build_key(b, key, 4);
    build_u32(b, x);
}

static inline void build_key_text(struct snug_buffer *b, const char *key, const char *text)
{
    build_key(b, key, 8);
    build_text(b, text);
}

/* n elements of item_type follow. */
static inline void build_key_array(struct snug_buffer *b, const char *key, uint32_t item_type,
                                   uint64_t n)
{
    build_key(b, key, 9);
    build_u32(b, item_type);
    build_u64(b, n);
}

static inline void build_arch(struct snug_buffer *b)
{
    build_key_text(b, "general.architecture", "llama");
}

/* Two dimensions in ggml's order. */
static inline void build_tensor(struct snug_buffer *b, const char *name, uint64_t ne0, uint64_t ne1,
                                uint32_t type, uint64_t offset)
{
    build_text(b, name);
    build_u32(b, 2);
    build_u64(b, ne0);
    build_u64(b, ne1);
    build_u32(b, type);
    build_u64(b, offset);
}

/* Pad the header, then n zero bytes of data. */
static inline void build_data(struct snug_buffer *b, size_t n)
{
    while (b->len % 32 != 0)
        snug_buffer_append(b, "", 1);
    for (size_t i = 0; i < n; i++)
        snug_buffer_append(b, "", 1);
}

static inline void build_save(const struct snug_buffer *b, const char *path)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b->data, 1, b->len, f), b->len);
    assert_int_equal(fclose(f), 0);
}

#endif
