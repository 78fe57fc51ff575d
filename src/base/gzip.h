/* Whole gzip files in memory (RFC 1952), the only file that knows zlib. */
#ifndef SNUG_BASE_GZIP_H
#define SNUG_BASE_GZIP_H

#include "snug/base.h"

/* Do these bytes begin as a gzip file? */
bool snug_gzip_is(const void *data, size_t n);
/* Unpack to NUL-terminated malloc'ed text of at most cap bytes. `name` begins the error text.
 * Errors  SNUG_BAD_INPUT: no gzip file, cut short, damaged (its CRC is checked), more after its
 *         end, or longer than cap; SNUG_NO_MEMORY */
snug_status snug_gzip_unpack(const char *name, const void *data, size_t n, size_t cap,
                             char **out_text, size_t *out_n, struct snug_error *err) SNUG_CHECKED;
/* Pack; malloc'ed. No name and no time go in: same bytes and same zlib, same file. */
snug_status snug_gzip_pack(const void *data, size_t n, void **out_data, size_t *out_n,
                           struct snug_error *err) SNUG_CHECKED;

#endif
