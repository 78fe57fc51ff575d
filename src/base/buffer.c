/* Growing buffer: capacity doubles, so appending n bytes one by one moves O(n) bytes in all, and
 * one byte is always kept for the NUL. Workload: tables and pages of some kilobytes, protocol
 * lines. */
#include "base/buffer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 64 /* bytes; most error texts, keys and table cells fit */

/* Make room for n more bytes and the NUL; false and is_failed when memory is out. */
static bool reserve(struct snug_buffer *buf, size_t n)
{
    if (buf->is_failed)
        return false;
    if (n >= SIZE_MAX / 2 - buf->len) { /* keeps doubling below SIZE_MAX */
        buf->is_failed = true;
        return false;
    }
    size_t need = buf->len + n + 1;
    if (need <= buf->cap)
        return true;
    size_t cap = buf->cap ? buf->cap : FIRST_CAP;
    while (cap < need)
        cap *= 2;
    char *data = realloc(buf->data, cap);
    if (!data) {
        buf->is_failed = true;
        return false;
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

void snug_buffer_append(struct snug_buffer *buf, const void *data, size_t n)
{
    if (n == 0 || !reserve(buf, n))
        return;
    memcpy(buf->data + buf->len, data, n);
    buf->len += n;
    buf->data[buf->len] = '\0';
}

void snug_buffer_puts(struct snug_buffer *buf, const char *text)
{
    snug_buffer_append(buf, text, strlen(text));
}

void snug_buffer_printf(struct snug_buffer *buf, const char *format, ...)
{
    va_list args, again; /* measured once, then written in place */
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) {
        buf->is_failed = true;
    } else if (reserve(buf, (size_t)n)) {
        vsnprintf(buf->data + buf->len, (size_t)n + 1, format, again);
        buf->len += (size_t)n;
    }
    va_end(again);
}

void snug_buffer_consume(struct snug_buffer *buf, size_t n)
{
    assert(n <= buf->len);
    if (n == 0)
        return;
    buf->len -= n;
    memmove(buf->data, buf->data + n, buf->len + 1); /* with the NUL */
}

const char *snug_buffer_text(const struct snug_buffer *buf)
{
    return buf->len > 0 ? buf->data : "";
}

char *snug_buffer_take(struct snug_buffer *buf)
{
    char *text = NULL;
    if (!buf->is_failed && reserve(buf, 0)) { /* empty is "", which needs a byte too */
        text = buf->data;
        text[buf->len] = '\0';
        buf->data = NULL; /* the caller owns it now */
    }
    snug_buffer_clear(buf);
    return text;
}

void snug_buffer_clear(struct snug_buffer *buf)
{
    free(buf->data);
    *buf = (struct snug_buffer){0};
}
