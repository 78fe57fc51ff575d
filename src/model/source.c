/* Byte sources and the cursor over them. Files are read with pread into one window: no mapping, so
 * that a file cut short meanwhile is an error here and not a SIGBUS. */
#include "model/source.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void snug__label_set(const char *text, char out[SNUG__LABEL_MAX])
{
    size_t n = strlen(text);
    if (n < SNUG__LABEL_MAX)
        memcpy(out, text, n + 1);
    else
        snprintf(out, SNUG__LABEL_MAX, "...%s", text + n - (SNUG__LABEL_MAX - 4));
}

snug_status snug__source_open(const char *path, struct snug__source *out, struct snug_error *err)
{
    struct snug__source source = {.fd = -1};
    snug__label_set(path, source.label);
    /* Not blocking: a pipe without a writer must not hang us before we see that it is a pipe. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return snug_fail(err, errno == ENOENT ? SNUG_NOT_FOUND : SNUG_IO, "%s: cannot open: %s",
                         source.label, strerror(errno));
    struct stat st;
    snug_status status = SNUG_OK;
    if (fstat(fd, &st) != 0)
        status = snug_fail(err, SNUG_IO, "%s: cannot stat: %s", source.label, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: is a %s; a GGUF file is expected",
                           source.label, S_ISDIR(st.st_mode) ? "folder" : "pipe or device");
    if (status != SNUG_OK) {
        close(fd);
        return status;
    }
    source.fd = fd;
    source.size = (uint64_t)st.st_size;
    *out = source;
    return SNUG_OK;
}

void snug__source_memory(const char *label, const void *data, uint64_t n_data, uint64_t size,
                         struct snug__source *out)
{
    assert(size >= n_data);
    *out = (struct snug__source){.fd = -1, .data = data, .n_data = n_data, .size = size};
    snug__label_set(label, out->label);
}

void snug__source_fetched(const char *label, uint64_t size, snug__fetch_fn fetch, void *state,
                          struct snug__source *out)
{
    *out = (struct snug__source){.fd = -1, .size = size, .fetch = fetch, .fetch_state = state};
    snug__label_set(label, out->label);
}

void snug__source_close(struct snug__source *source)
{
    if (source->fd >= 0)
        close(source->fd);
    source->fd = -1;
}

static void read_memory(const struct snug__source *source, uint64_t offset, uint8_t *out, size_t n)
{
    size_t n_there = 0;
    if (offset < source->n_data) {
        uint64_t left = source->n_data - offset;
        n_there = left < n ? (size_t)left : n;
        memcpy(out, source->data + offset, n_there);
    }
    memset(out + n_there, 0, n - n_there);
}

snug_status snug__source_read(const struct snug__source *source, uint64_t offset, void *out,
                              size_t n, struct snug_error *err)
{
    assert(offset <= source->size && n <= source->size - offset);
    if (source->fetch)
        return source->fetch(source->fetch_state, offset, out, n, err);
    if (source->fd < 0) {
        read_memory(source, offset, out, n);
        return SNUG_OK;
    }
    uint8_t *to = out;
    while (n > 0) {
        ssize_t got = pread(source->fd, to, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return snug_fail(err, SNUG_IO, "%s: byte %" PRIu64 ": cannot read: %s", source->label,
                             offset, strerror(errno));
        if (got == 0)
            return snug_fail(err, SNUG_IO, "%s: byte %" PRIu64 ": the file became shorter",
                             source->label, offset);
        to += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return SNUG_OK;
}

void snug__cursor_init(struct snug__cursor *cursor, const struct snug__source *source)
{
    cursor->source = source;
    cursor->pos = 0;
    cursor->window_pos = 0;
    cursor->n_window = 0;
}

snug_status snug__cursor_bad(const struct snug__cursor *cursor, struct snug_error *err, uint64_t at,
                             const char *format, ...)
{
    char text[SNUG_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return snug_fail(err, SNUG_BAD_INPUT, "%s: byte %" PRIu64 ": %s", cursor->source->label, at,
                     text);
}

/* Bytes n from pos on are within the source. */
static snug_status check_left(const struct snug__cursor *cursor, uint64_t n, const char *what,
                              struct snug_error *err)
{
    uint64_t left = cursor->source->size - cursor->pos;
    if (n <= left)
        return SNUG_OK;
    return snug__cursor_bad(cursor, err, cursor->pos,
                            "%s needs %" PRIu64 " bytes, the file has %" PRIu64 " left: truncated?",
                            what, n, left);
}

snug_status snug__cursor_take(struct snug__cursor *cursor, size_t n, const char *what,
                              const uint8_t **out, struct snug_error *err)
{
    assert(n <= SNUG__WINDOW_BYTES);
    uint64_t begin = cursor->pos - cursor->window_pos; /* huge when pos is before the window */
    if (begin > cursor->n_window || n > cursor->n_window - begin) {
        snug_status status = check_left(cursor, n, what, err);
        if (status != SNUG_OK)
            return status;
        uint64_t left = cursor->source->size - cursor->pos;
        size_t n_window = left < SNUG__WINDOW_BYTES ? (size_t)left : SNUG__WINDOW_BYTES;
        cursor->n_window = 0;
        status = snug__source_read(cursor->source, cursor->pos, cursor->window, n_window, err);
        if (status != SNUG_OK)
            return status;
        cursor->window_pos = cursor->pos;
        cursor->n_window = n_window;
        begin = 0;
    }
    *out = cursor->window + begin;
    cursor->pos += n;
    return SNUG_OK;
}

snug_status snug__cursor_skip(struct snug__cursor *cursor, uint64_t n, const char *what,
                              struct snug_error *err)
{
    snug_status status = check_left(cursor, n, what, err);
    if (status == SNUG_OK)
        cursor->pos += n;
    return status;
}

snug_status snug__cursor_u32(struct snug__cursor *cursor, const char *what, uint32_t *out,
                             struct snug_error *err)
{
    const uint8_t *p = NULL;
    snug_status status = snug__cursor_take(cursor, 4, what, &p, err);
    if (status == SNUG_OK)
        *out = (uint32_t)snug__load_le(p, 4);
    return status;
}

snug_status snug__cursor_u64(struct snug__cursor *cursor, const char *what, uint64_t *out,
                             struct snug_error *err)
{
    const uint8_t *p = NULL;
    snug_status status = snug__cursor_take(cursor, 8, what, &p, err);
    if (status == SNUG_OK)
        *out = snug__load_le(p, 8);
    return status;
}
