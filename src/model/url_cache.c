/* Headers kept below $XDG_CACHE_HOME/snug/headers, one file each, written whole or not at all:
 *
 *   HASH.head   {"format":1,"key":URL,"etag":...,"size":N,"n_header":M}\n | M bytes
 *
 * The name is the hash of the key. A file that does not hold what its first line says is as none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "model/url.h"

#define FORMAT 1
#define LINE_MAX_BYTES (16u << 10) /* of the first line: two URLs at the most, escaped */

static snug_status cache_path(const char *key, bool make, char *out, size_t cap,
                              struct snug_error *err)
{
    char folder[3800], hash[SNUG_SHA256_HEX_MAX];
    snug_status status = snug_file_cache_folder(folder, sizeof folder, err);
    if (status != SNUG_OK)
        return status;
    snprintf(out, cap, "%s/headers", folder);
    if (make)
        status = snug_file_make_folder(out, err);
    snug_sha256_hex(key, strlen(key), hash);
    snprintf(out, cap, "%s/headers/%s.head", folder, hash);
    return status;
}

static snug_status parse(const char *path, const char *key, const char *text, size_t n,
                         struct snug__url_header *out, struct snug_error *err)
{
    struct snug_json *json = NULL;
    struct snug__url_header header = {0};
    const char *end = memchr(text, '\n', n);
    if (!end)
        return snug_fail(err, SNUG_NOT_FOUND, "%s: no first line", path);
    snug_status status = snug_json_parse(path, text, (size_t)(end - text), &json, err);
    if (status != SNUG_OK)
        return SNUG_NOT_FOUND;
    const struct snug_json_node *root = snug_json_root(json);
    size_t n_header = n - (size_t)(end + 1 - text);
    int64_t size = snug_json_get_int(root, "size", -1);
    if (snug_json_get_int(root, "format", 0) != FORMAT ||
        strcmp(snug_json_get_string(root, "key", ""), key) != 0 || n_header == 0 ||
        snug_json_get_int(root, "n_header", -1) != (int64_t)n_header || size < (int64_t)n_header)
        status = snug_fail(err, SNUG_NOT_FOUND, "%s: of something else", path);
    snprintf(header.etag, sizeof header.etag, "%s", snug_json_get_string(root, "etag", ""));
    snug_json_free(json);
    if (status != SNUG_OK)
        return status;
    header.size = (uint64_t)size;
    snug_buffer_append(&header.bytes, end + 1, n_header);
    if (header.bytes.is_failed)
        return snug_fail(err, SNUG_NO_MEMORY, "%s", path);
    *out = header;
    return SNUG_OK;
}

snug_status snug__url_cache_load(const char *key, struct snug__url_header *out,
                                 struct snug_error *err)
{
    char path[4096];
    char *text = NULL;
    size_t n = 0;
    snug_status status = cache_path(key, false, path, sizeof path, err);
    if (status == SNUG_OK)
        status = snug_file_read(path, SNUG__URL_HEADER_MAX + LINE_MAX_BYTES, &text, &n, err);
    if (status == SNUG_OK)
        status = parse(path, key, text, n, out, err);
    free(text);
    return status;
}

void snug__url_cache_save(const char *key, const struct snug__url_header *header)
{
    char path[4096];
    struct snug_error err = {0};
    struct snug_json_writer w = {0};
    struct snug_buffer file = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_int(&w, "format", FORMAT);
    snug_json_put_string(&w, "key", key);
    snug_json_put_string(&w, "etag", header->etag);
    snug_json_put_int(&w, "size", (int64_t)header->size);
    snug_json_put_int(&w, "n_header", (int64_t)header->bytes.len);
    snug_json_end(&w);
    char *line = snug_json_finish(&w, false);
    snug_status status = line ? cache_path(key, true, path, sizeof path, &err)
                              : snug_fail(&err, SNUG_NO_MEMORY, "cache of a header");
    if (status == SNUG_OK) {
        snug_buffer_puts(&file, line);
        snug_buffer_puts(&file, "\n");
        snug_buffer_append(&file, header->bytes.data, header->bytes.len);
        status = file.is_failed ? snug_fail(&err, SNUG_NO_MEMORY, "cache of a header")
                                : snug_file_write(path, file.data, file.len, &err);
    }
    if (status != SNUG_OK)
        snug_log(SNUG_LOG_WARN, "header=not-kept reason=\"%s\"", err.text);
    snug_buffer_clear(&file);
    free(line);
}
