/* Growing text or byte buffer. Zero state is empty. After a failed allocation `is_failed` stays set
 * and further appends do nothing, so that a writer checks once at its end. */
#ifndef SNUG_BASE_BUFFER_H
#define SNUG_BASE_BUFFER_H

#include "snug/base.h"

struct snug_buffer {
    char *data; /* NUL-terminated when len > 0 */
    size_t len;
    size_t cap;
    bool is_failed;
};

void snug_buffer_append(struct snug_buffer *buf, const void *data, size_t n);
void snug_buffer_puts(struct snug_buffer *buf, const char *text);
void snug_buffer_printf(struct snug_buffer *buf, const char *format, ...) SNUG_PRINTF(2, 3);
/* Drop the first n bytes. */
void snug_buffer_consume(struct snug_buffer *buf, size_t n);
/* The text so far; "" when empty. */
const char *snug_buffer_text(const struct snug_buffer *buf);
/* Hand the malloc'ed text to the caller; NULL when an append had failed. Leaves buf empty. */
char *snug_buffer_take(struct snug_buffer *buf);
void snug_buffer_clear(struct snug_buffer *buf);

#endif
