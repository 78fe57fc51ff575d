/* Reference files on disk. The header has fixed fields; nothing of it is trusted before its numbers
 * and the length of the file agree. */
#include "engine/reference.h"

#include <endian.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "snug/units.h"

static const char MAGIC[8] = "SNUGREF1";

enum { HEAD_BYTES = 8 + 4 * 4 + 64 + 64 + 128 + 64 };

size_t snug__reference_row_bytes(int32_t n_vocab)
{
    return sizeof(float) + (size_t)n_vocab * sizeof(uint16_t);
}

/* ---- rows ---- */

static void put_u32(unsigned char *at, uint32_t value)
{
    const uint32_t little = htole32(value);
    memcpy(at, &little, sizeof little);
}

static uint32_t get_u32(const unsigned char *at)
{
    uint32_t little;
    memcpy(&little, at, sizeof little);
    return le32toh(little);
}

void snug__reference_pack(const float *log_p, int32_t n_vocab, unsigned char *row)
{
    float top = log_p[0];
    for (int32_t i = 1; i < n_vocab; i++)
        top = log_p[i] > top ? log_p[i] : top;
    uint32_t bits;
    memcpy(&bits, &top, sizeof bits);
    put_u32(row, bits);
    const float scale = 65535.0f / SNUG__ROW_SPAN, low = top - SNUG__ROW_SPAN;
    for (int32_t i = 0; i < n_vocab; i++) {
        const float x = log_p[i] > low ? (log_p[i] - low) * scale + 0.5f : 0.0f;
        const uint16_t q = htole16((uint16_t)(x < 65535.0f ? x : 65535.0f));
        memcpy(row + sizeof(float) + (size_t)i * sizeof q, &q, sizeof q);
    }
}

void snug__reference_unpack(const unsigned char *row, int32_t n_vocab, float *log_p)
{
    const uint32_t bits = get_u32(row);
    float top;
    memcpy(&top, &bits, sizeof top);
    const float scale = SNUG__ROW_SPAN / 65535.0f, low = top - SNUG__ROW_SPAN;
    for (int32_t i = 0; i < n_vocab; i++) {
        uint16_t q;
        memcpy(&q, row + sizeof(float) + (size_t)i * sizeof q, sizeof q);
        log_p[i] = low + (float)le16toh(q) * scale;
    }
}

/* ---- header ---- */

static void pack_head(const struct snug__reference_head *h, unsigned char out[HEAD_BYTES])
{
    memset(out, 0, HEAD_BYTES);
    memcpy(out, MAGIC, 8);
    const int32_t numbers[] = {h->n_vocab, h->n_ctx, h->n_chunks, h->n_scored};
    for (size_t i = 0; i < 4; i++)
        put_u32(out + 8 + 4 * i, (uint32_t)numbers[i]);
    memcpy(out + 24, h->text_hash, 64);
    memcpy(out + 88, h->model_hash, 64);
    memcpy(out + 152, h->model_name, strnlen(h->model_name, 127));
    memcpy(out + 280, h->build, strnlen(h->build, 63));
}

static void unpack_head(const unsigned char in[HEAD_BYTES], struct snug__reference_head *h)
{
    int32_t *const numbers[] = {&h->n_vocab, &h->n_ctx, &h->n_chunks, &h->n_scored};
    memset(h, 0, sizeof *h);
    for (size_t i = 0; i < 4; i++)
        *numbers[i] = (int32_t)get_u32(in + 8 + 4 * i);
    memcpy(h->text_hash, in + 24, 64);
    memcpy(h->model_hash, in + 88, 64);
    memcpy(h->model_name, in + 152, 127);
    memcpy(h->build, in + 280, 63);
}

static bool is_head_sound(const struct snug__reference_head *h)
{
    return h->n_vocab > 0 && h->n_vocab <= SNUG__VOCAB_MAX && h->n_ctx > 1 &&
           h->n_ctx <= SNUG__CHUNK_MAX && h->n_chunks > 0 && h->n_chunks <= SNUG__CHUNKS_MAX &&
           h->n_scored > 0 && h->n_scored < h->n_ctx;
}

static uint64_t expected_bytes(const struct snug__reference_head *h)
{
    return HEAD_BYTES + (uint64_t)h->n_chunks * (uint64_t)h->n_ctx * 4 +
           (uint64_t)h->n_chunks * (uint64_t)h->n_scored * snug__reference_row_bytes(h->n_vocab);
}

/* ---- files ---- */

static snug_status fail_io(const struct snug__reference *r, const char *doing,
                           struct snug_error *err)
{
    return snug_fail(err, SNUG_IO, "%s: cannot %s: %s", r->path, doing, strerror(errno));
}

snug_status snug__reference_write(struct snug__reference *r, const void *rows, size_t n_bytes,
                                  struct snug_error *err)
{
    return fwrite(rows, 1, n_bytes, r->file) == n_bytes ? SNUG_OK : fail_io(r, "be written", err);
}

snug_status snug__reference_read(struct snug__reference *r, void *rows, size_t n_bytes,
                                 struct snug_error *err)
{
    if (fread(rows, 1, n_bytes, r->file) == n_bytes)
        return SNUG_OK;
    if (ferror(r->file))
        return fail_io(r, "be read", err);
    return snug_fail(err, SNUG_BAD_INPUT, "%s: ends too early: make the reference again", r->path);
}

/* Before hours of work: the length is known from the start. */
static snug_status check_room(const char *path, const struct snug__reference_head *head,
                              struct snug_error *err)
{
    char folder[4096], need[SNUG_UNIT_TEXT_MAX], room[SNUG_UNIT_TEXT_MAX];
    const char *slash = strrchr(path, '/');
    struct statvfs disk;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path + 1) : 1,
             slash ? path : ".");
    if (statvfs(folder, &disk) != 0)
        return SNUG_OK; /* opening the file says why */
    const uint64_t bytes_need = expected_bytes(head);
    const uint64_t bytes_free = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (bytes_need <= bytes_free)
        return SNUG_OK;
    return snug_fail(err, SNUG_IO,
                     "%s: the reference needs %s, its disk has %s free: give fewer --chunks, or "
                     "make room",
                     path, snug_bytes_text(bytes_need, need), snug_bytes_text(bytes_free, room));
}

snug_status snug__reference_create(const char *path, const struct snug__reference_head *head,
                                   const int32_t *tokens, struct snug__reference *out,
                                   struct snug_error *err)
{
    unsigned char packed[HEAD_BYTES];
    struct snug__reference r = {.head = *head};
    const snug_status has_room = check_room(path, head, err);
    if (has_room != SNUG_OK)
        return has_room;
    snprintf(r.path, sizeof r.path, "%s", path);
    snprintf(r.partial, sizeof r.partial, "%s.part%ld", r.path, (long)getpid());
    r.file = fopen(r.partial, "wbe");
    if (!r.file)
        return fail_io(&r, "be written", err);
    pack_head(head, packed);
    snug_status status = snug__reference_write(&r, packed, sizeof packed, err);
    const size_t n = (size_t)head->n_chunks * (size_t)head->n_ctx;
    for (size_t i = 0; i < n && status == SNUG_OK; i++) {
        unsigned char token[4];
        put_u32(token, (uint32_t)tokens[i]);
        status = snug__reference_write(&r, token, sizeof token, err);
    }
    if (status != SNUG_OK) {
        snug__reference_close(&r);
        return status;
    }
    *out = r;
    return SNUG_OK;
}

static snug_status check_length(struct snug__reference *r, struct snug_error *err)
{
    if (fseeko(r->file, 0, SEEK_END) != 0)
        return fail_io(r, "be read", err);
    const off_t n = ftello(r->file);
    if (n < 0 || (uint64_t)n != expected_bytes(&r->head))
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: %lld bytes where its header says %llu: make the reference again",
                         r->path, (long long)n, (unsigned long long)expected_bytes(&r->head));
    return fseeko(r->file, HEAD_BYTES, SEEK_SET) == 0 ? SNUG_OK : fail_io(r, "be read", err);
}

static snug_status read_tokens(struct snug__reference *r, int32_t **out, struct snug_error *err)
{
    const size_t n = (size_t)r->head.n_chunks * (size_t)r->head.n_ctx;
    int32_t *tokens = malloc(n * sizeof *tokens);
    if (!tokens)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for %zu tokens", r->path, n);
    const snug_status status = snug__reference_read(r, tokens, n * sizeof *tokens, err);
    if (status != SNUG_OK) {
        free(tokens);
        return status;
    }
    for (size_t i = 0; i < n; i++)
        tokens[i] = (int32_t)le32toh((uint32_t)tokens[i]);
    *out = tokens;
    return SNUG_OK;
}

snug_status snug__reference_open(const char *path, struct snug__reference *out,
                                 int32_t **out_tokens, struct snug_error *err)
{
    unsigned char packed[HEAD_BYTES];
    struct snug__reference r = {.partial = ""};
    snug_status status = SNUG_OK;
    snprintf(r.path, sizeof r.path, "%s", path);
    r.file = fopen(path, "rbe");
    if (!r.file)
        return snug_fail(err, errno == ENOENT ? SNUG_NOT_FOUND : SNUG_IO, "%s: cannot be read: %s",
                         path, strerror(errno));
    const size_t got = fread(packed, 1, sizeof packed, r.file);
    if (got < sizeof packed || memcmp(packed, MAGIC, 7) != 0)
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: not a reference file of snug eval", path);
    else if (packed[7] != (unsigned char)MAGIC[7])
        status = snug_fail(err, SNUG_BAD_INPUT,
                           "%s: reference of version '%c', this snug reads '%c': make it again",
                           path, packed[7] >= ' ' && packed[7] < 127 ? packed[7] : '?', MAGIC[7]);
    if (status == SNUG_OK) {
        unpack_head(packed, &r.head);
        if (!is_head_sound(&r.head))
            status = snug_fail(err, SNUG_BAD_INPUT, "%s: damaged header: make the reference again",
                               path);
    }
    if (status == SNUG_OK)
        status = check_length(&r, err);
    if (status == SNUG_OK)
        status = read_tokens(&r, out_tokens, err);
    if (status != SNUG_OK) {
        snug__reference_close(&r);
        return status;
    }
    *out = r;
    return SNUG_OK;
}

snug_status snug__reference_finish(struct snug__reference *r, struct snug_error *err)
{
    if (fflush(r->file) != 0 || fsync(fileno(r->file)) != 0 || rename(r->partial, r->path) != 0)
        return fail_io(r, "be written", err);
    r->partial[0] = '\0';
    return SNUG_OK;
}

void snug__reference_close(struct snug__reference *r)
{
    if (r->file)
        fclose(r->file);
    if (r->partial[0])
        remove(r->partial);
    *r = (struct snug__reference){.file = NULL};
}
