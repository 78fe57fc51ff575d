/* gzip through zlib: one stream, unpacked into a growing block that has a cap. */
#include "base/gzip.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#define GZIP_WINDOW (15 + 16) /* zlib's largest window, gzip's header and trailer */
#define GROW_FIRST ((size_t)64 << 10)

bool snug_gzip_is(const void *data, size_t n)
{
    const uint8_t *p = data;
    return n >= 2 && p[0] == 0x1f && p[1] == 0x8b;
}

/* Room for more output, NUL included, never past cap; false when memory is out or cap is reached.
 */
static bool grow(char **text, size_t *room, size_t cap)
{
    if (*room > cap)
        return false;
    size_t larger = *room ? 2 * *room : GROW_FIRST;
    if (larger > cap + 1)
        larger = cap + 1;
    char *grown = realloc(*text, larger + 1);
    if (!grown)
        return false;
    *text = grown;
    *room = larger;
    return true;
}

/* Inflate all of z's input; rc is zlib's last answer. */
static int inflate_all(z_stream *z, size_t cap, char **text, size_t *out_n)
{
    size_t room = 0, used = 0;
    int rc = Z_OK;
    while (rc == Z_OK) {
        if (used == room && !grow(text, &room, cap))
            return Z_MEM_ERROR;
        z->next_out = (Bytef *)*text + used;
        z->avail_out = (uInt)(room - used);
        rc = inflate(z, Z_NO_FLUSH);
        used = room - z->avail_out;
    }
    *out_n = used;
    return rc;
}

snug_status snug_gzip_unpack(const char *name, const void *data, size_t n, size_t cap,
                             char **out_text, size_t *out_n, struct snug_error *err)
{
    z_stream z = {0};
    char *text = NULL;
    size_t used = 0;
    if (n > UINT32_MAX || cap > UINT32_MAX - 1)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: more than 4 GiB", name);
    if (inflateInit2(&z, GZIP_WINDOW) != Z_OK)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory to unpack it", name);
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)n;
    const int rc = inflate_all(&z, cap, &text, &used);
    const bool has_rest = z.avail_in > 0;
    inflateEnd(&z);
    snug_status status = SNUG_OK;
    if (used > cap)
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: unpacks to more than %zu bytes", name, cap);
    else if (rc == Z_MEM_ERROR)
        status = snug_fail(err, SNUG_NO_MEMORY, "%s: no memory to unpack it", name);
    else if (rc != Z_STREAM_END)
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: %s", name,
                           rc == Z_DATA_ERROR ? "damaged gzip data" : "the gzip data is cut short");
    else if (has_rest)
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: bytes after the end of the gzip data", name);
    if (status != SNUG_OK) {
        free(text);
        return status;
    }
    text[used] = '\0';
    *out_text = text;
    *out_n = used;
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
    *out_n = room - z.avail_out;
    deflateEnd(&z);
    if (!is_done) {
        free(packed);
        return snug_fail(err, SNUG_NO_MEMORY, "no memory to pack %zu bytes", n);
    }
    *out_data = packed;
    return SNUG_OK;
}
