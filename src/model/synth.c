/* Writing a synthetic model: header, then each tensor in runs taken from pools of random blocks.
 *
 *   pool   |block|block|block|block|...      8 MiB per (type, row length)
 *   file   runs of up to 1 MiB, each from a random block of the pool on
 *
 * Speed is that of the disk: drawing a pool costs some 10 ms, copying nothing. The file has a
 * temporary name until it is whole, and its space is reserved before the first byte. */
#include "model/synth.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <ggml.h>

#include "model/gguf_read.h"
#include "snug/units.h"

#define RUN_BYTES (1u << 20) /* longest run from one place of a pool */
#define N_POOLS 8            /* more pairs of type and row length than any preset has */
#define NORM_SPREAD 0.05     /* of norm weights around 1, as trained ones have */
#define BIAS_SPREAD 0.02

struct writing {
    int fd;
    const char *path; /* the name it will have; for error texts */
    const char *temp; /* the name until it is whole */
    uint64_t bytes_total, bytes_done;
    struct snug_rng rng;
    struct snug__pool pools[N_POOLS];
    snug_progress_fn progress;
    void *progress_data;
};

/* ---- header ---- */

static void put_architecture(struct snug__gguf_writer *w, const struct snug__shape *shape)
{
    const struct snug__preset *p = shape->preset;
    snug__gguf_put_arch_u32(w, "block_count", shape->n_layer);
    snug__gguf_put_arch_u32(w, "context_length", p->n_ctx_train);
    snug__gguf_put_arch_u32(w, "embedding_length", p->n_embd);
    snug__gguf_put_arch_u32(w, "feed_forward_length", p->n_ff);
    snug__gguf_put_arch_u32(w, "attention.head_count", p->n_head);
    snug__gguf_put_arch_u32(w, "attention.head_count_kv", p->n_head_kv);
    snug__gguf_put_arch_u32(w, "attention.key_length", p->n_embd_head);
    snug__gguf_put_arch_u32(w, "attention.value_length", p->n_embd_head);
    snug__gguf_put_arch_f32(w, "attention.layer_norm_rms_epsilon", p->norm_epsilon);
    snug__gguf_put_arch_u32(w, "rope.dimension_count", p->n_embd_head);
    snug__gguf_put_arch_f32(w, "rope.freq_base", p->rope_base);
    snug__gguf_put_arch_u32(w, "vocab_size", p->n_vocab);
    if (p->n_swa > 0)
        snug__gguf_put_arch_u32(w, "attention.sliding_window", p->n_swa);
    if (p->n_expert > 0) {
        snug__gguf_put_arch_u32(w, "expert_count", p->n_expert);
        snug__gguf_put_arch_u32(w, "expert_used_count", p->n_expert_used);
        snug__gguf_put_arch_u32(w, "expert_feed_forward_length", p->n_ff);
    }
    if (p->arch == SNUG__ARCH_PHI3)
        snug__gguf_put_arch_u32(w, "rope.scaling.original_context_length", p->n_ctx_train);
    if (p->arch == SNUG__ARCH_GEMMA2) {
        snug__gguf_put_arch_f32(w, "attn_logit_softcapping", 50.0f);
        snug__gguf_put_arch_f32(w, "final_logit_softcapping", 30.0f);
    }
}

snug_status snug__synth_header(const struct snug__shape *shape,
                               const struct snug_synth_options *options, struct snug_buffer *out,
                               struct snug_error *err)
{
    const struct snug__preset *p = shape->preset;
    struct snug__gguf_writer w;
    snug__gguf_begin(&w, snug__preset_arch(p));
    snug__gguf_put_string(&w, "general.architecture", snug__preset_arch(p));
    snug__gguf_put_string(&w, "general.type", "model");
    snug__gguf_put_string(&w, "general.name", p->name);
    snug__gguf_put_string(&w, "general.description", "random weights of a real shape");
    snug__gguf_put_u32(&w, "general.file_type", (uint32_t)shape->weight_type->file_type);
    snug__gguf_put_u32(&w, "general.quantization_version", GGML_QNT_VERSION);
    put_architecture(&w, shape);
    if (options->is_shape_only)
        snug__gguf_put_string(&w, "tokenizer.ggml.model", "no_vocab");
    else
        snug__vocabulary_put(&w, p);
    for (int i = 0; i < shape->n_tensors; i++) {
        const struct snug__shape_tensor *t = &shape->tensors[i];
        snug__gguf_put_tensor(&w, t->name, t->n_dims, t->ne, t->type, t->offset);
    }
    snug__gguf_end(&w);
    if (w.buf.is_failed) {
        snug_buffer_clear(&w.buf);
        return snug_fail(err, SNUG_NO_MEMORY, "header of %s", p->name);
    }
    *out = w.buf;
    return SNUG_OK;
}

/* ---- tensors ---- */

static snug_status write_all(struct writing *wr, const void *data, size_t n, struct snug_error *err)
{
    const uint8_t *p = data;
    while (n > 0) {
        ssize_t wrote = write(wr->fd, p, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return snug_fail(err, SNUG_IO, "%s: byte %" PRIu64 " of %" PRIu64 ": cannot write: %s",
                             wr->path, wr->bytes_done, wr->bytes_total, strerror(errno));
        p += wrote;
        n -= (size_t)wrote;
        wr->bytes_done += (uint64_t)wrote;
    }
    if (wr->progress &&
        !wr->progress((double)wr->bytes_done / (double)wr->bytes_total, wr->progress_data))
        return snug_fail(err, SNUG_INTERRUPTED, "%s: stopped; the part written is removed",
                         wr->path);
    return SNUG_OK;
}

/* The pool of this kind of tensor, or a free one. */
static struct snug__pool *find_pool(struct writing *wr, const struct snug__shape_tensor *t)
{
    for (int i = 0; i < N_POOLS; i++) {
        struct snug__pool *pool = &wr->pools[i];
        if (!pool->data || (pool->type == t->type && pool->n_in == t->ne[0]))
            return pool;
    }
    return &wr->pools[N_POOLS - 1];
}

static snug_status write_matrix(struct writing *wr, const struct snug__shape_tensor *t,
                                struct snug_error *err)
{
    struct snug__pool *pool = find_pool(wr, t);
    snug_status status = snug__pool_fill(pool, t, wr->bytes_total / N_POOLS, &wr->rng, err);
    size_t block_bytes = ggml_type_size((enum ggml_type)t->type);
    uint64_t left = t->bytes;
    while (status == SNUG_OK && left > 0) {
        size_t at = (size_t)snug_rng_below(&wr->rng, pool->n_bytes / block_bytes) * block_bytes;
        size_t n = pool->n_bytes - at < RUN_BYTES ? pool->n_bytes - at : RUN_BYTES;
        n = n / block_bytes * block_bytes;
        if (n > left)
            n = (size_t)left;
        status = write_all(wr, pool->data + at, n, err);
        left -= n;
    }
    return status;
}

/* Norms, biases and routers: all of F32. */
static snug_status write_floats(struct writing *wr, const struct snug__shape_tensor *t,
                                struct snug_error *err)
{
    float *values = malloc(t->bytes);
    if (!values)
        return snug_fail(err, SNUG_NO_MEMORY, "%s", t->name);
    const double spread = t->role == SNUG__NORM   ? NORM_SPREAD
                          : t->role == SNUG__BIAS ? BIAS_SPREAD
                                                  : 1.0 / sqrt((double)t->ne[0]);
    for (uint64_t i = 0; i < t->bytes / sizeof *values; i++)
        values[i] = (float)((t->role == SNUG__NORM) + spread * snug_rng_normal(&wr->rng));
    snug_status status = write_all(wr, values, t->bytes, err);
    free(values);
    return status;
}

static snug_status write_tensors(struct writing *wr, const struct snug__shape *shape,
                                 struct snug_error *err)
{
    static const uint8_t zeros[SNUG__GGUF_ALIGNMENT];
    snug_status status = SNUG_OK;
    for (int i = 0; status == SNUG_OK && i < shape->n_tensors; i++) {
        const struct snug__shape_tensor *t = &shape->tensors[i];
        uint64_t end = i + 1 < shape->n_tensors ? shape->tensors[i + 1].offset : shape->bytes_data;
        status = t->role == SNUG__MATRIX ? write_matrix(wr, t, err) : write_floats(wr, t, err);
        if (status == SNUG_OK)
            status = write_all(wr, zeros, (size_t)(end - t->offset - t->bytes), err);
    }
    for (int i = 0; i < N_POOLS; i++)
        snug__pool_clear(&wr->pools[i]);
    return status;
}

/* ---- the file ---- */

/* Enough free space, and reserve it where the file system can. */
static snug_status reserve_space(const struct writing *wr, struct snug_error *err)
{
    struct statvfs fs;
    char needed[SNUG_UNIT_TEXT_MAX], there[SNUG_UNIT_TEXT_MAX];
    if (fstatvfs(wr->fd, &fs) == 0) {
        uint64_t bytes_free = (uint64_t)fs.f_bavail * (uint64_t)fs.f_frsize;
        if (bytes_free < wr->bytes_total)
            return snug_fail(err, SNUG_INFEASIBLE, "%s: needs %s, the disk has %s free", wr->path,
                             snug_bytes_text(wr->bytes_total, needed),
                             snug_bytes_text(bytes_free, there));
    }
    if (fallocate(wr->fd, 0, 0, (off_t)wr->bytes_total) != 0 &&
        (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
        return snug_fail(err, SNUG_IO, "%s: cannot reserve %s: %s", wr->path,
                         snug_bytes_text(wr->bytes_total, needed), strerror(errno));
    return SNUG_OK;
}

static snug_status write_file(struct writing *wr, const struct snug__shape *shape,
                              const struct snug_buffer *header, bool is_shape_only,
                              struct snug_error *err)
{
    snug_status status = is_shape_only ? SNUG_OK : reserve_space(wr, err);
    if (status == SNUG_OK)
        status = write_all(wr, header->data, header->len, err);
    if (status != SNUG_OK)
        return status;
    if (!is_shape_only)
        return write_tensors(wr, shape, err);
    if (ftruncate(wr->fd, (off_t)wr->bytes_total) != 0) /* a hole: takes no space */
        return snug_fail(err, SNUG_IO, "%s: cannot make a hole of %" PRIu64 " bytes: %s", wr->path,
                         wr->bytes_total, strerror(errno));
    return SNUG_OK;
}

/* Write under the temporary name, then rename. */
static snug_status write_whole(struct writing *wr, const struct snug__shape *shape,
                               const struct snug_buffer *header, bool is_shape_only,
                               struct snug_error *err)
{
    wr->fd = open(wr->temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (wr->fd < 0)
        return snug_fail(err, SNUG_IO, "%s: cannot create: %s", wr->path, strerror(errno));
    snug_status status = write_file(wr, shape, header, is_shape_only, err);
    if (close(wr->fd) != 0 && status == SNUG_OK)
        status = snug_fail(err, SNUG_IO, "%s: cannot write: %s", wr->path, strerror(errno));
    if (status == SNUG_OK && rename(wr->temp, wr->path) != 0)
        status = snug_fail(err, SNUG_IO, "%s: cannot rename %s to it: %s", wr->path, wr->temp,
                           strerror(errno));
    if (status != SNUG_OK)
        unlink(wr->temp);
    return status;
}

static snug_status find_preset(const char *name, const struct snug__preset **out,
                               struct snug_error *err)
{
    char list[256];
    size_t n = 0;
    *out = snug__preset_find(name, strlen(name));
    if (*out)
        return SNUG_OK;
    for (int i = 0; i < snug__n_presets && n < sizeof list; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, " %s", snug__presets[i].name);
    return snug_fail(err, SNUG_NOT_FOUND, "no preset '%.100s'; presets:%s", name, list);
}

snug_status snug_model_synth(const char *preset, const struct snug_synth_options *options,
                             const char *path, snug_progress_fn progress, void *progress_data,
                             struct snug_error *err)
{
    const struct snug__preset *row = NULL;
    struct snug__shape shape = {0};
    struct snug_buffer header = {0};
    struct writing wr = {.fd = -1, .progress = progress, .progress_data = progress_data};
    size_t n_temp = strlen(path) + 32;
    char *temp = malloc(n_temp);
    snug_status status = temp ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "path");
    if (status == SNUG_OK)
        status = find_preset(preset, &row, err);
    if (status == SNUG_OK)
        status = snug__shape_init(row, options, &shape, err);
    if (status == SNUG_OK)
        status = snug__synth_header(&shape, options, &header, err);
    if (status != SNUG_OK)
        goto done;
    snprintf(temp, n_temp, "%s.tmp%d", path, (int)getpid());
    wr.path = path;
    wr.temp = temp;
    wr.bytes_total = header.len + shape.bytes_data;
    snug_rng_init(&wr.rng, options->seed);
    status = write_whole(&wr, &shape, &header, options->is_shape_only, err);
done:
    snug_buffer_clear(&header);
    snug__shape_clear(&shape);
    free(temp);
    return status;
}
