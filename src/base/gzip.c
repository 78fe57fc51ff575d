/* gzip through zlib: one stream, unpacked into a buffer that has a cap. */
#include "base/gzip.h"

#include <stdlib.h>

#include <zlib.h>

#include "base/buffer.h"

#define GZIP_WINDOW (15 + 16)         /* zlib's largest window, gzip's header and trailer */
#define PART_BYTES ((size_t)16 << 10) /* on the stack */

bool snug_gzip_is(const void *data, size_t n)
{
    const uint8_t *p = data;
    return n >= 2 && p[0] == 0x1f && p[1] == 0x8b;
}

/* Inflate all of z's input, and stop soon past the cap; zlib's last answer. */
static int inflate_all(z_stream *z, size_t cap, struct snug_buffer *text)
{
    Bytef part[PART_BYTES];
    int rc = Z_OK;
    while (rc == Z_OK && text->len <= cap && !text->is_failed) {
        z->next_out = part;
        z->avail_out = sizeof part;
        rc = inflate(z, Z_NO_FLUSH);
        snug_buffer_append(text, part, sizeof part - z->avail_out);
    }
    return rc;
}

snug_status snug_gzip_unpack(const char *name, const void *data, size_t n, size_t cap,
                             char **out_text, size_t *out_n, struct snug_error *err)
{
    z_stream z = {0};
    struct snug_buffer text = {0};
    if (n > UINT32_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: more than 4 GiB", name);
    if (inflateInit2(&z, GZIP_WINDOW) != Z_OK)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory to unpack it", name);
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)n;
    const int rc = inflate_all(&z, cap, &text);
    const bool has_rest = z.avail_in > 0;
    const size_t n_text = text.len;
    inflateEnd(&z);
    snug_status status = SNUG_OK;
    if (text.is_failed || rc == Z_MEM_ERROR)
        status = snug_fail(err, SNUG_NO_MEMORY, "%s: no memory to unpack it", name);
    else if (n_text > cap)
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: unpacks to more than %zu bytes", name, cap);
    else if (rc != Z_STREAM_END)
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: %s", name,
                           rc == Z_DATA_ERROR ? "damaged gzip data" : "the gzip data is cut short");
    else if (has_rest)
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: bytes after the end of the gzip data", name);
    char *taken = status == SNUG_OK ? snug_buffer_take(&text) : NULL;
    snug_buffer_clear(&text);
    if (status == SNUG_OK && !taken)
        status = snug_fail(err, SNUG_NO_MEMORY, "%s: no memory to unpack it", name);
    if (status != SNUG_OK)
        return status;
    *out_text = taken;
    *out_n = n_text;
    return SNUG_OK;
}

snug_status snug_gzip_pack(const void *data, size_t n, void **out_data, size_t *out_n,
                           struct snug_error *err)
{
    z_stream z = {0};
    if (n > UINT32_MAX / 2)
        return snug_fail(err, SNUG_BAD_INPUT, "%zu bytes are too many to pack at once", n);
    if (deflateInit2(&z, 9, Z_DEFLATED, GZIP_WINDOW, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory to pack %zu bytes", n);
    const size_t room = deflateBound(&z, n);
    void *packed = malloc(room);
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)n;
    z.next_out = packed;
    z.avail_out = (uInt)room;
    const bool is_done = packed && deflate(&z, Z_FINISH) == Z_STREAM_END;
    deflateEnd(&z);
    if (!is_done) {
        free(packed);
        return snug_fail(err, SNUG_NO_MEMORY, "no memory to pack %zu bytes", n);
    }
    *out_data = packed;
    *out_n = room - z.avail_out;
    return SNUG_OK;
}
