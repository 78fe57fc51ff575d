/* GGUF version 2 and 3, little endian: metadata and tensor infos of one file.
 *
 *   "GGUF" version n_tensors n_keys | key type value ... | name dims type offset ... | pad | data
 *
 * Format after ggml's docs/gguf.md. Nothing in the file is believed: every count, length and offset
 * is checked against the caps of snug/model.h and against the bytes that are there before use. */
#ifndef SNUG_MODEL_GGUF_READ_H
#define SNUG_MODEL_GGUF_READ_H

#include "base/arena.h"
#include "model/source.h"
#include "snug/model.h"

#define SNUG__GGUF_MAGIC "GGUF"
#define SNUG__GGUF_ALIGNMENT 32 /* where general.alignment says nothing */

enum snug__gguf_type {
    SNUG__GGUF_U8,
    SNUG__GGUF_I8,
    SNUG__GGUF_U16,
    SNUG__GGUF_I16,
    SNUG__GGUF_U32,
    SNUG__GGUF_I32,
    SNUG__GGUF_F32,
    SNUG__GGUF_BOOL,
    SNUG__GGUF_STRING,
    SNUG__GGUF_ARRAY,
    SNUG__GGUF_U64,
    SNUG__GGUF_I64,
    SNUG__GGUF_F64,
    SNUG__GGUF_N_TYPES
};

struct snug__gguf_value {
    const char *key;
    uint64_t at; /* offset of the key in the file */
    enum snug__gguf_type type;
    enum snug__gguf_type item_type; /* of an array */
    uint64_t n;                     /* array: elements; string: bytes */
    int64_t integer;                /* integers and bool; beyond 2^63 - 1 that */
    double number;                  /* integers, bool and floats */
    const char *text;               /* string: its first SNUG__TEXT_KEPT_MAX bytes */
    const int64_t *items;           /* integer array that is not long, else NULL */
};

#define SNUG__TEXT_KEPT_MAX 255    /* bytes of a string value; the rest is skipped */
#define SNUG__ITEMS_KEPT_MAX 65536 /* array elements kept of one file, over all its arrays */

struct snug__gguf {
    uint32_t version;
    uint64_t alignment;
    uint64_t keys_end;    /* offset behind the last value */
    uint64_t n_header;    /* bytes before the padding */
    uint64_t data_offset; /* n_header rounded up to alignment; may be past a file without tensors */
    struct snug__gguf_value *values; /* by key */
    size_t n_values;
    struct snug_tensor *tensors; /* as in the file */
    int n_tensors;
};

/* Read and check it all. Memory comes from the arena, strings included. */
snug_status snug__gguf_read(const struct snug__source *source, struct snug_arena *arena,
                            struct snug__gguf *out, struct snug_error *err) SNUG_CHECKED;
/* NULL when there is no such key. */
const struct snug__gguf_value *snug__gguf_find(const struct snug__gguf *gguf, const char *key);
bool snug__gguf_is_integer(enum snug__gguf_type type);

/* The second half, in gguf_tensors.c: n_tensors infos at the cursor, then layout checks. */
snug_status snug__gguf_read_tensors(struct snug__cursor *cursor, struct snug_arena *arena,
                                    struct snug__gguf *gguf, struct snug_error *err) SNUG_CHECKED;
/* A length-prefixed string of 1..cap bytes without NUL, into the arena. */
snug_status snug__gguf_read_name(struct snug__cursor *cursor, struct snug_arena *arena,
                                 const char *what, uint64_t cap, const char **out,
                                 struct snug_error *err) SNUG_CHECKED;
/* The header is not over SNUG_GGUF_HEADER_MAX yet. */
snug_status snug__gguf_check_header(const struct snug__cursor *cursor,
                                    struct snug_error *err) SNUG_CHECKED;

#endif
