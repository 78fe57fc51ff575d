/* Reference files: what a reference run thought of every scored token, kept compactly.
 *
 *   header, n_chunks * n_ctx token ids (int32), then per scored position one row:
 *   float32 `top`, and per word of the vocabulary a uint16 q: log p = top - SNUG__ROW_SPAN * (1 - q
 * / 65535), what lies below top - SNUG__ROW_SPAN being held at q = 0. Little-endian, written and
 * read row by row, never held whole. */
#ifndef SNUG_ENGINE_REFERENCE_H
#define SNUG_ENGINE_REFERENCE_H

#include <stdio.h>

#include "snug/base.h"

#define SNUG__ROW_SPAN 16.0f /* nats; e^-16 = 1.1e-7 of the most likely token */
#define SNUG__VOCAB_MAX (1 << 22)
#define SNUG__CHUNKS_MAX (1 << 24)
#define SNUG__CHUNK_MAX (1 << 24)

struct snug__reference_head {
    int32_t n_vocab, n_ctx, n_chunks, n_scored; /* n_scored: positions of a chunk */
    char text_hash[65], model_hash[65];         /* 64 hexadecimal digits */
    char model_name[128], build[64];
};

struct snug__reference {
    FILE *file;
    char path[4096],
        partial[4112]; /* partial: the name it has until it is whole; "" when reading */
    struct snug__reference_head head;
};

/* Begin a file beside its final name; tokens: n_chunks * n_ctx ids. */
snug_status snug__reference_create(const char *path, const struct snug__reference_head *head,
                                   const int32_t *tokens, struct snug__reference *out,
                                   struct snug_error *err) SNUG_CHECKED;
/* Open and check; *out_tokens is malloc'ed. Errors  SNUG_BAD_INPUT: not such a file, another
 * version, cut short (length against header). */
snug_status snug__reference_open(const char *path, struct snug__reference *out,
                                 int32_t **out_tokens, struct snug_error *err) SNUG_CHECKED;
size_t snug__reference_row_bytes(int32_t n_vocab);
/* Log probabilities to a row of snug__reference_row_bytes, and back. */
void snug__reference_pack(const float *log_p, int32_t n_vocab, unsigned char *row);
void snug__reference_unpack(const unsigned char *row, int32_t n_vocab, float *log_p);
snug_status snug__reference_write(struct snug__reference *r, const void *rows, size_t n_bytes,
                                  struct snug_error *err) SNUG_CHECKED;
snug_status snug__reference_read(struct snug__reference *r, void *rows, size_t n_bytes,
                                 struct snug_error *err) SNUG_CHECKED;
/* Written whole: flush to disk and take the final name. */
snug_status snug__reference_finish(struct snug__reference *r, struct snug_error *err) SNUG_CHECKED;
/* Close; a file that was not finished is removed. Accepts the zero state. */
void snug__reference_close(struct snug__reference *r);

#endif
