/* Writing the header of a GGUF version 3 into a buffer, little endian. */
#ifndef SNUG_MODEL_GGUF_WRITE_H
#define SNUG_MODEL_GGUF_WRITE_H

#include "base/buffer.h"

/* Begin, then all keys, then all tensors, then end. Running out of memory shows in buf.is_failed.
 */
struct snug__gguf_writer {
    struct snug_buffer buf;
    const char *prefix; /* architecture: the writers with `_arch` put "PREFIX." before the key */
    uint64_t n_keys, n_tensors;
};

void snug__gguf_begin(struct snug__gguf_writer *w, const char *prefix);
void snug__gguf_put_u32(struct snug__gguf_writer *w, const char *key, uint32_t value);
void snug__gguf_put_bool(struct snug__gguf_writer *w, const char *key, bool value);
void snug__gguf_put_string(struct snug__gguf_writer *w, const char *key, const char *value);
void snug__gguf_put_arch_u32(struct snug__gguf_writer *w, const char *key, int64_t value);
void snug__gguf_put_arch_f32(struct snug__gguf_writer *w, const char *key, float value);
/* Then n elements by the functions below. item_type: enum snug__gguf_type. */
void snug__gguf_begin_array(struct snug__gguf_writer *w, const char *key, uint32_t item_type,
                            uint64_t n);
void snug__gguf_item_u32(struct snug__gguf_writer *w, uint32_t value);
void snug__gguf_item_f32(struct snug__gguf_writer *w, float value);
void snug__gguf_item_string(struct snug__gguf_writer *w, const char *text, size_t n);
/* ne: n_dims numbers in ggml's order. */
void snug__gguf_put_tensor(struct snug__gguf_writer *w, const char *name, int n_dims,
                           const int64_t *ne, int type, uint64_t offset);
/* Patch the counts, pad to the alignment. */
void snug__gguf_end(struct snug__gguf_writer *w);

#endif
