/* Bytes of a GGUF, from a file, from memory or fetched on demand, and a cursor that reads them in
 * order.
 *
 * A memory source may end in zeros that are not there: n_data bytes, then zeros up to size. So a
 * preset, whose weights do not exist, is read by the code that reads files. */
#ifndef SNUG_MODEL_SOURCE_H
#define SNUG_MODEL_SOURCE_H

#include "snug/base.h"

#define SNUG__LABEL_MAX 200 /* of a path in an error text; the tail of longer ones */
#define SNUG__WINDOW_BYTES                                                                         \
    (64u << 10) /* read at once; also the longest piece a cursor can take                          \
                 */

/* All n bytes from offset on, which are within the source's size. */
typedef snug_status (*snug__fetch_fn)(void *state, uint64_t offset, void *out, size_t n,
                                      struct snug_error *err);

struct snug__source {
    char label[SNUG__LABEL_MAX];
    uint64_t size;
    int fd; /* or -1: memory */
    const uint8_t *data;
    uint64_t n_data;
    snug__fetch_fn fetch; /* or NULL */
    void *fetch_state;
};

/* The text as it stands in errors: whole, or "..." and its tail. */
void snug__label_set(const char *text, char out[SNUG__LABEL_MAX]);

/* A regular file, or SNUG_NOT_FOUND, or SNUG_BAD_INPUT for a folder, pipe or device. */
snug_status snug__source_open(const char *path, struct snug__source *out,
                              struct snug_error *err) SNUG_CHECKED;
/* Borrows data. size >= n_data. */
void snug__source_memory(const char *label, const void *data, uint64_t n_data, uint64_t size,
                         struct snug__source *out);
/* Bytes come from fetch(state, ...), which the source borrows. */
void snug__source_fetched(const char *label, uint64_t size, snug__fetch_fn fetch, void *state,
                          struct snug__source *out);
void snug__source_close(struct snug__source *source);
/* All n bytes from offset on, or an error. */
snug_status snug__source_read(const struct snug__source *source, uint64_t offset, void *out,
                              size_t n, struct snug_error *err) SNUG_CHECKED;

struct snug__cursor {
    const struct snug__source *source;
    uint64_t pos;        /* of the next byte; <= source->size */
    uint64_t window_pos; /* offset of window[0] */
    size_t n_window;
    uint8_t window[SNUG__WINDOW_BYTES];
};

void snug__cursor_init(struct snug__cursor *cursor, const struct snug__source *source);
/* Fail with SNUG_BAD_INPUT and "LABEL: byte AT: text". */
snug_status snug__cursor_bad(const struct snug__cursor *cursor, struct snug_error *err, uint64_t at,
                             const char *format, ...) SNUG_PRINTF(4, 5);
/* Borrow the next n <= SNUG__WINDOW_BYTES bytes, until the next call. `what` names them. */
snug_status snug__cursor_take(struct snug__cursor *cursor, size_t n, const char *what,
                              const uint8_t **out, struct snug_error *err) SNUG_CHECKED;
snug_status snug__cursor_skip(struct snug__cursor *cursor, uint64_t n, const char *what,
                              struct snug_error *err) SNUG_CHECKED;
snug_status snug__cursor_u32(struct snug__cursor *cursor, const char *what, uint32_t *out,
                             struct snug_error *err) SNUG_CHECKED;
snug_status snug__cursor_u64(struct snug__cursor *cursor, const char *what, uint64_t *out,
                             struct snug_error *err) SNUG_CHECKED;

/* Little endian at any address, on any machine. */
static inline uint64_t snug__load_le(const uint8_t *p, int n_bytes)
{
    uint64_t x = 0;
    for (int i = n_bytes - 1; i >= 0; i--)
        x = x << 8 | p[i];
    return x;
}

#endif
