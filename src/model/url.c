/* Opening a model by URL. A file's header is fetched in pieces that double, as far as the reader
 * walks: nobody knows its length before the last tensor is read.
 *
 *   |-- 256 KiB --|-- 256 KiB --|-------- 512 KiB --------|-------------- 1 MiB ...
 *   ^ magic, keys, vocabulary ...                  ^ tensors end: no more is fetched */
#include "model/url.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/http.h"
#include "model/gguf_read.h"
#include "model/model_fill.h"
#include "model/shape_file.h"

#define CHECK_BYTES 24 /* magic, version, counts: compared with those kept */
#define SPLIT_SUFFIX_MAX 40

bool snug__url_is(const char *path)
{
    return snug_http_is_url(path) || strncmp(path, "hf:", 3) == 0;
}

const char *snug__url_token(const char *url)
{
    char endpoint[SNUG__URL_MAX + 1];
    const char *token = getenv("HF_TOKEN");
    if (!token || !*token || strlen(token) > 1024 ||
        !snug_http_same_host(snug__hub_endpoint(endpoint, sizeof endpoint), url))
        return NULL;
    for (const char *c = token; *c; c++) {
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 127)
            return NULL; /* a line end in it would be a header of its own */
    }
    return token;
}

snug_status snug__url_refused(const char *url, long code, struct snug_error *err)
{
    switch (code) {
    case 401:
    case 403:
        return snug_fail(err, SNUG_BAD_INPUT, "%.200s: the server wants permission (%ld): %s", url,
                         code,
                         snug__url_token(url) ? "HF_TOKEN does not give it; was access to the "
                                                "model granted?"
                                              : "for a private or gated model, or one that does "
                                                "not exist, set HF_TOKEN to a token of the hub");
    case 404:
    case 410:
        return snug_fail(err, SNUG_NOT_FOUND, "%.200s: there is no such file or repository (%ld)",
                         url, code);
    case 416:
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%.200s: the server has no bytes there (416): an empty file?", url);
    default:
        return snug_fail(err, code == 429 || code >= 500 ? SNUG_IO : SNUG_BAD_INPUT,
                         "%.200s: the server answers %ld; a GGUF file is expected", url, code);
    }
}

bool snug__url_is_offline(snug_status status)
{
    return status == SNUG_IO || status == SNUG_TIMEOUT;
}

/* ---- pieces ---- */

struct remote {
    const char *url;
    struct snug_buffer bytes; /* from the beginning on */
    uint64_t size;            /* 0 until the first answer */
    char etag[256];
};

static bool is_web_page(const struct snug_http_reply *reply)
{
    const char *text = snug_buffer_text(&reply->body);
    text += strspn(text, " \t\r\n\xef\xbb\xbf");
    return strncasecmp(reply->type, "text/html", 9) == 0 ||
           strncasecmp(text, "<!doctype", 9) == 0 || strncasecmp(text, "<html", 5) == 0;
}

static snug_status judge(const struct remote *r, const struct snug_http_reply *reply,
                         uint64_t first, uint64_t last, struct snug_error *err)
{
    bool is_whole = reply->code == 200;
    if ((is_whole || reply->code == 206) && is_web_page(reply))
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%.200s: is a web page (looks like HTML), not a GGUF file; on the hub a "
                         "file's address has /resolve/ in it, not /blob/",
                         r->url);
    if (is_whole)
        return snug_fail(err, SNUG_UNSUPPORTED,
                         "%.200s: the server does not support range requests; download the file "
                         "and name it",
                         r->url);
    if (reply->code != 206)
        return snug__url_refused(r->url, reply->code, err);
    if (!reply->has_range)
        return snug_fail(err, SNUG_UNSUPPORTED,
                         "%.200s: the server does not state the size of the file (Content-Range)",
                         r->url);
    uint64_t last_there = last < reply->total ? last : reply->total - 1;
    if (reply->first != first || reply->last != last_there)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%.200s: asked for bytes %" PRIu64 " to %" PRIu64 ", the server says "
                         "that it sends %" PRIu64 " to %" PRIu64,
                         r->url, first, last_there, reply->first, reply->last);
    if (reply->body.len != reply->last - reply->first + 1)
        return snug_fail(err, SNUG_IO,
                         "%.200s: the server sent %zu bytes and said %" PRIu64 ": truncated",
                         r->url, reply->body.len, reply->last - reply->first + 1);
    if (r->size != 0 && (reply->total != r->size || strcmp(reply->etag, r->etag) != 0))
        return snug_fail(err, SNUG_IO,
                         "%.200s: the file changed while it was read: %" PRIu64 " bytes, now "
                         "%" PRIu64 "; try again",
                         r->url, r->size, reply->total);
    return SNUG_OK;
}

/* Append bytes from the end of those there up to `last`. */
static snug_status fetch(struct remote *r, uint64_t last, struct snug_error *err)
{
    struct snug_http_reply reply = {0};
    const struct snug_http_request request = {.url = r->url,
                                              .bearer = snug__url_token(r->url),
                                              .is_range = true,
                                              .first = r->bytes.len,
                                              .last = last};
    snug_status status = snug_http_get(&request, &reply, err);
    if (status == SNUG_OK)
        status = judge(r, &reply, request.first, last, err);
    if (status == SNUG_OK) {
        r->size = reply.total;
        snprintf(r->etag, sizeof r->etag, "%s", reply.etag);
        snug_buffer_append(&r->bytes, reply.body.data, reply.body.len);
        if (r->bytes.is_failed)
            status = snug_fail(err, SNUG_NO_MEMORY, "%.200s: header", r->url);
    }
    snug_http_reply_clear(&reply);
    return status;
}

/* snug__source's way to bytes that are not there yet. */
static snug_status read_remote(void *state, uint64_t offset, void *out, size_t n,
                               struct snug_error *err)
{
    struct remote *r = state;
    uint64_t end = offset + n;
    if (end > SNUG__URL_HEADER_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%.200s: the header passes %u bytes, the most that is fetched", r->url,
                         SNUG__URL_HEADER_MAX);
    while (r->bytes.len < end) {
        uint64_t last = 2 * (uint64_t)r->bytes.len;
        if (last < SNUG__URL_PIECE_BYTES)
            last = SNUG__URL_PIECE_BYTES;
        snug_status status = fetch(r, last - 1, err);
        if (status != SNUG_OK)
            return status;
    }
    memcpy(out, r->bytes.data + offset, n);
    return SNUG_OK;
}

/* The header and nothing behind it, padded with zeros where the last piece ended before. */
static snug_status cut_header(struct remote *r, const struct snug__gguf *gguf,
                              struct snug_error *err)
{
    static const char zeros[4096];
    uint64_t n = gguf->data_offset < r->size ? gguf->data_offset : r->size;
    if (n > SNUG__URL_HEADER_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%.200s: the data begins at byte %" PRIu64
                         "; the first %u bytes are the most that is fetched",
                         r->url, n, SNUG__URL_HEADER_MAX);
    while (r->bytes.len < n && !r->bytes.is_failed) {
        uint64_t left = n - r->bytes.len;
        snug_buffer_append(&r->bytes, zeros, left < sizeof zeros ? (size_t)left : sizeof zeros);
    }
    if (r->bytes.is_failed)
        return snug_fail(err, SNUG_NO_MEMORY, "%.200s: header", r->url);
    r->bytes.len = (size_t)n;
    return SNUG_OK;
}

static snug_status fetch_header(const char *url, struct snug__url_header *out,
                                struct snug_error *err)
{
    struct remote r = {.url = url};
    struct snug_arena arena = {0};
    struct snug__source source;
    struct snug__gguf gguf;
    snug_status status = fetch(&r, SNUG__URL_PIECE_BYTES - 1, err);
    if (status == SNUG_OK) {
        snug__source_fetched(url, r.size, read_remote, &r, &source);
        status = snug__gguf_read(&source, &arena, &gguf, err);
    }
    if (status == SNUG_OK)
        status = cut_header(&r, &gguf, err);
    snug_arena_clear(&arena);
    if (status != SNUG_OK) {
        snug_buffer_clear(&r.bytes);
        return status;
    }
    *out = (struct snug__url_header){.bytes = r.bytes, .size = r.size};
    memcpy(out->etag, r.etag, sizeof out->etag);
    return SNUG_OK;
}

/* ---- what was kept ---- */

/* Is the server's file still the one kept? One small request. */
static snug_status check_kept(const char *url, const struct snug__url_header *kept,
                              bool *out_is_same, struct snug_error *err)
{
    struct remote r = {.url = url};
    snug_status status = fetch(&r, CHECK_BYTES - 1, err);
    if (status == SNUG_OK)
        *out_is_same = r.size == kept->size && strcmp(r.etag, kept->etag) == 0 &&
                       r.bytes.len <= kept->bytes.len &&
                       memcmp(r.bytes.data, kept->bytes.data, r.bytes.len) == 0;
    snug_buffer_clear(&r.bytes);
    return status;
}

snug_status snug__url_header(const char *url, struct snug__url_header *out, struct snug_error *err)
{
    struct snug__url_header header = {0};
    snug_status status = snug__url_cache_load(url, &header, NULL);
    if (status == SNUG_OK) {
        bool is_same = false;
        struct snug_error why = {0};
        status = check_kept(url, &header, &is_same, &why);
        if (snug__url_is_offline(status)) {
            snprintf(header.note, sizeof header.note,
                     "the header kept from an earlier call is used: %.200s", why.text);
            is_same = true;
        } else if (status != SNUG_OK) {
            snug_buffer_clear(&header.bytes);
            return snug_fail(err, status, "%s", why.text);
        }
        if (is_same) {
            *out = header;
            return SNUG_OK;
        }
        snug_buffer_clear(&header.bytes);
    }
    status = fetch_header(url, &header, err);
    if (status != SNUG_OK)
        return status;
    snug__url_cache_save(url, &header);
    *out = header;
    return SNUG_OK;
}

/* ---- one or several files ---- */

/* Where "-00001-of-00003.gguf" begins in the URL, before what follows its path. */
static snug_status find_suffix(const char *url, int64_t no, int n_parts, size_t *out_at,
                               size_t *out_end, struct snug_error *err)
{
    char suffix[SPLIT_SUFFIX_MAX];
    int n = snprintf(suffix, sizeof suffix, "-%05" PRId64 "-of-%05d.gguf", no + 1, n_parts);
    size_t end = strcspn(url, "?#");
    if (end <= (size_t)n || strncmp(url + end - n, suffix, (size_t)n) != 0)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%.200s: is part %" PRId64 " of %d of a split model; its name must end in "
                         "%s",
                         url, no + 1, n_parts, suffix);
    *out_at = end - (size_t)n;
    *out_end = end;
    return SNUG_OK;
}

/* split.no and split.count of a header; 0 and 1 where it is no part. */
static snug_status read_split(const char *url, const struct snug__url_header *header,
                              int64_t *out_no, int64_t *out_n_parts, struct snug_error *err)
{
    struct snug_arena arena = {0};
    struct snug__source source;
    struct snug__gguf gguf;
    snug__source_memory(url, header->bytes.data, header->bytes.len, header->size, &source);
    snug_status status = snug__gguf_read(&source, &arena, &gguf, err);
    if (status == SNUG_OK)
        status =
            snug__model_count(&gguf, url, "split.count", 1, SNUG_GGUF_SPLITS_MAX, out_n_parts, err);
    if (status == SNUG_OK)
        status = snug__model_count(&gguf, url, "split.no", 0, INT16_MAX, out_no, err);
    snug_arena_clear(&arena);
    return status;
}

/* All parts, the one at hand included, and one header of them. */
static snug_status fetch_parts(const char *url, int64_t no, int n_parts,
                               struct snug__url_header *header, struct snug_error *err)
{
    size_t at = 0, end = 0;
    struct snug__url_header merged = {0};
    snug_status status = find_suffix(url, no, n_parts, &at, &end, err);
    if (status != SNUG_OK)
        return status;
    struct snug__url_header *parts = calloc((size_t)n_parts, sizeof *parts);
    if (!parts)
        return snug_fail(err, SNUG_NO_MEMORY, "%.200s: %d parts", url, n_parts);
    for (int i = 0; status == SNUG_OK && i < n_parts; i++) {
        char part[SNUG__URL_MAX + 1];
        int n = snprintf(part, sizeof part, "%.*s-%05d-of-%05d.gguf%s", (int)at, url, i + 1,
                         n_parts, url + end);
        if (n < 0 || (size_t)n >= sizeof part)
            status = snug_fail(err, SNUG_BAD_INPUT, "%.200s: too long", url);
        else if (i == no) {
            parts[i] = *header; /* ours now */
            header->bytes = (struct snug_buffer){0};
        } else {
            status = snug__url_header(part, &parts[i], err);
            if (status != SNUG_OK)
                status = snug_fail_prefix(err, status, "part %d of %d", i + 1, n_parts);
        }
    }
    if (status == SNUG_OK)
        status = snug__url_merge(url, parts, n_parts, &merged, err);
    for (int i = 0; i < n_parts; i++)
        snug_buffer_clear(&parts[i].bytes);
    free(parts);
    if (status == SNUG_OK) {
        snug_buffer_clear(&header->bytes);
        *header = merged;
    }
    return status;
}

snug_status snug__url_open(const char *path, struct snug_model *out, struct snug_error *err)
{
    char url[SNUG__URL_MAX + 1], note[256] = "";
    struct snug__url_header header = {0};
    struct snug_model model;
    int64_t no = 0, n_parts = 1;
    snug_status status = SNUG_OK;
    if (strlen(path) > SNUG__URL_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "a URL of %zu bytes; up to %d are accepted",
                         strlen(path), SNUG__URL_MAX);
    if (strncmp(path, "hf:", 3) == 0)
        status = snug__hub_resolve(path, url, note, err);
    else
        snprintf(url, sizeof url, "%s", path);
    if (status == SNUG_OK)
        status = snug__url_header(url, &header, err);
    if (status == SNUG_OK && header.note[0])
        memcpy(note, header.note, sizeof note);
    if (status == SNUG_OK)
        status = read_split(url, &header, &no, &n_parts, err);
    if (status == SNUG_OK && n_parts > 1)
        status = fetch_parts(url, no, (int)n_parts, &header, err);
    if (status == SNUG_OK)
        status = snug__model_open_header(path, &header.bytes, header.size, &model, err);
    snug_buffer_clear(&header.bytes);
    if (status != SNUG_OK)
        return status;
    if (n_parts > 1)
        model.n_splits = (int)n_parts;
    memcpy(model.note, note, sizeof model.note);
    *out = model;
    return SNUG_OK;
}
