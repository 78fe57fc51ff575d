/* A shape-only GGUF header out of a config and the names and shapes in safetensors headers. Tensors
 * are written in the order of computation, each at the offset a converter would give it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <ggml.h>

#include "model/gguf_read.h"
#include "model/gguf_write.h"
#include "model/hf.h"

#define FILE_TYPE_F32 0 /* of enum llama_ftype */
#define FILE_TYPE_F16 1
#define FILE_TYPE_BF16 32
#define EXTRA_NAMES_MAX 200 /* bytes of the list of tensors left over */

struct building {
    const char *label;
    const struct snug__hf_config *config;
    struct snug__st_set *set;
    struct snug__gguf_writer w;
    const char *root; /* "model.", or "transformer." where a GPT-2 has it */
    int embedding_type;
    uint64_t bytes_data;
};

/* ---- metadata ---- */

static void put_rope(struct snug__gguf_writer *w, const struct snug__hf_config *c)
{
    snug__gguf_put_arch_u32(w, "rope.dimension_count", c->n_rot);
    snug__gguf_put_arch_f32(w, "rope.freq_base", (float)c->rope_base);
    if (c->arch->bit & HF_GEMMA3)
        snug__gguf_put_arch_f32(w, "rope.freq_base_swa", (float)c->rope_base_swa);
    if (c->arch->bit & HF_PHI3)
        snug__gguf_put_arch_u32(w, "rope.scaling.original_context_length", c->n_ctx_original);
    if (c->rope_scaling[0]) {
        char key[64];
        snprintf(key, sizeof key, "%s.rope.scaling.type", c->arch->gguf);
        snug__gguf_put_string(w, key, c->rope_scaling);
        snug__gguf_put_arch_f32(w, "rope.scaling.factor", (float)c->rope_factor);
    }
}

static void put_attention(struct snug__gguf_writer *w, const struct snug__hf_config *c)
{
    bool is_layer_norm = c->arch->bit & (HF_GPT2 | HF_STARCODER2);
    snug__gguf_put_arch_u32(w, "feed_forward_length", c->n_ff);
    snug__gguf_put_arch_u32(w, "attention.head_count", c->n_head);
    snug__gguf_put_arch_u32(w, "attention.head_count_kv", c->n_head_kv);
    snug__gguf_put_arch_u32(w, "attention.key_length", c->n_embd_head);
    snug__gguf_put_arch_u32(w, "attention.value_length", c->n_embd_head);
    snug__gguf_put_arch_f32(
        w, is_layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
        (float)c->norm_epsilon);
    if (c->n_swa > 0)
        snug__gguf_put_arch_u32(w, "attention.sliding_window", c->n_swa);
    if (c->attn_softcap > 0)
        snug__gguf_put_arch_f32(w, "attn_logit_softcapping", (float)c->attn_softcap);
    if (c->logit_softcap > 0)
        snug__gguf_put_arch_f32(w, "final_logit_softcapping", (float)c->logit_softcap);
    if (c->n_expert > 0) {
        snug__gguf_put_arch_u32(w, "expert_count", c->n_expert);
        snug__gguf_put_arch_u32(w, "expert_used_count", c->n_expert_used);
    }
    if (c->n_ff_expert > 0)
        snug__gguf_put_arch_u32(w, "expert_feed_forward_length", c->n_ff_expert);
    if (c->n_ff_shared > 0)
        snug__gguf_put_arch_u32(w, "expert_shared_feed_forward_length", c->n_ff_shared);
    if (c->arch->bit & HF_ROPE)
        put_rope(w, c);
}

static void put_mamba(struct snug__gguf_writer *w, const struct snug__hf_config *c)
{
    snug__gguf_put_arch_u32(w, "feed_forward_length", 0);
    snug__gguf_put_arch_u32(w, "attention.head_count", 0);
    snug__gguf_put_arch_u32(w, "ssm.conv_kernel", c->n_conv);
    snug__gguf_put_arch_u32(w, "ssm.inner_size", c->n_inner);
    snug__gguf_put_arch_u32(w, "ssm.state_size", c->n_state);
    snug__gguf_put_arch_u32(w, "ssm.time_step_rank", c->n_dt_rank);
    snug__gguf_put_arch_f32(w, "attention.layer_norm_rms_epsilon", (float)c->norm_epsilon);
}

static void put_metadata(struct building *b)
{
    const struct snug__hf_config *c = b->config;
    struct snug__gguf_writer *w = &b->w;
    uint32_t file_type = b->embedding_type == GGML_TYPE_F32    ? FILE_TYPE_F32
                         : b->embedding_type == GGML_TYPE_BF16 ? FILE_TYPE_BF16
                                                               : FILE_TYPE_F16;
    snug__gguf_put_string(w, "general.architecture", c->arch->gguf);
    snug__gguf_put_string(w, "general.type", "model");
    snug__gguf_put_u32(w, "general.file_type", file_type);
    snug__gguf_put_arch_u32(w, "block_count", c->n_layer);
    snug__gguf_put_arch_u32(w, "context_length", c->n_ctx);
    snug__gguf_put_arch_u32(w, "embedding_length", c->n_embd);
    snug__gguf_put_arch_u32(w, "vocab_size", c->n_vocab);
    if (c->arch->bit & HF_MAMBA)
        put_mamba(w, c);
    else
        put_attention(w, c);
    snug__gguf_put_string(w, "tokenizer.ggml.model", "no_vocab");
}

/* ---- tensors ---- */

/* Shape as the row wants it, outermost first; returns how many dims. */
static int expected_shape(const struct building *b, const struct snug__hf_row *row, int64_t out[2])
{
    int64_t n_in = snug__hf_width(b->config, row->in), n_out = snug__hf_width(b->config, row->out);
    if (row->out == DIM_NONE) {
        out[0] = n_in;
        return 1;
    }
    bool is_transposed = row->flags & HF_TRANSPOSED;
    out[0] = is_transposed ? n_in : n_out;
    out[1] = is_transposed ? n_out : n_in;
    return 2;
}

static snug_status check_tensor(const struct building *b, const struct snug__hf_row *row,
                                const struct snug__st_tensor *t, struct snug_error *err)
{
    int64_t wanted[2], shape[SNUG__ST_DIMS_MAX];
    int n_wanted = expected_shape(b, row, wanted), n = 0;
    for (int i = 0; i < t->n_dims; i++) {
        if (!(row->flags & HF_SQUEEZED) || t->shape[i] != 1)
            shape[n++] = t->shape[i];
    }
    if (n != n_wanted || memcmp(shape, wanted, (size_t)n * sizeof *shape) != 0) {
        char found[128] = "";
        size_t at = 0;
        for (int i = 0; i < t->n_dims && at < sizeof found; i++)
            at += (size_t)snprintf(found + at, sizeof found - at, "%s%" PRId64, i ? ", " : "",
                                   t->shape[i]);
        char second[32] = "";
        if (n_wanted == 2)
            snprintf(second, sizeof second, ", %" PRId64, wanted[1]);
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: tensor %s has shape [%s]; config.json means [%" PRId64 "%s]", t->file,
                         t->name, found, wanted[0], second);
    }
    if (t->type < 0)
        return snug_fail(err, SNUG_UNSUPPORTED,
                         "%s: tensor %s is of dtype %s; F32, F16 and BF16 weights are accepted",
                         t->file, t->name, t->dtype);
    return SNUG_OK;
}

/* Look one tensor up and check it. *out is NULL where an optional one is not there. */
static snug_status take(struct building *b, const struct snug__hf_row *row, const char *name,
                        struct snug__st_tensor **out, struct snug_error *err)
{
    struct snug__st_tensor *t = snug__st_find(b->set, name);
    *out = NULL;
    if (!t && (row->flags & HF_OPTIONAL))
        return SNUG_OK;
    if (!t)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: tensor %s is missing; a %s of %" PRId64 " layers has it", b->label,
                         name, b->config->arch->name, b->config->n_layer);
    snug_status status = check_tensor(b, row, t, err);
    if (status != SNUG_OK)
        return status;
    t->is_used = true;
    *out = t;
    return SNUG_OK;
}

static snug_status put_tensor(struct building *b, const char *name, int n_dims, const int64_t *ne,
                              int type, struct snug_error *err)
{
    /* Widths are capped at 2^26, so that this cannot overflow; their sum over layers could. */
    uint64_t bytes = ggml_row_size((enum ggml_type)type, ne[0]), end = 0;
    for (int i = 1; i < n_dims; i++)
        bytes *= (uint64_t)ne[i];
    if (__builtin_add_overflow(b->bytes_data, bytes, &end) || end > INT64_MAX / 2)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: more than 2^62 bytes of tensors", b->label);
    snug__gguf_put_tensor(&b->w, name, n_dims, ne, type, b->bytes_data);
    b->bytes_data = (end + SNUG__GGUF_ALIGNMENT - 1) / SNUG__GGUF_ALIGNMENT * SNUG__GGUF_ALIGNMENT;
    return SNUG_OK;
}

/* One row as one tensor of the GGUF; layer -1 for those outside of the layers. */
static snug_status put_row(struct building *b, const struct snug__hf_row *row, int64_t layer,
                           struct snug_error *err)
{
    const struct snug__hf_config *c = b->config;
    char prefix[64], name[SNUG__ST_NAME_MAX + 1], gguf[64];
    int64_t n_experts = row->flags & HF_PER_EXPERT ? c->n_expert : 1;
    struct snug__st_tensor *t = NULL;
    if (layer >= 0) {
        snprintf(prefix, sizeof prefix, "%s%s%d.", b->root, c->arch->layers, (int)layer);
        snprintf(gguf, sizeof gguf, "blk.%d.%s", (int)layer, row->gguf);
    } else {
        snprintf(prefix, sizeof prefix, "%s", b->root);
        snprintf(gguf, sizeof gguf, "%s", row->gguf);
    }
    int type = -1;
    const char *mark = strstr(row->hf, "%d");
    for (int64_t i = 0; i < n_experts; i++) {
        if (mark)
            snprintf(name, sizeof name, "%s%.*s%d%s", prefix, (int)(mark - row->hf), row->hf,
                     (int)i, mark + 2);
        else
            snprintf(name, sizeof name, "%s%s", prefix, row->hf);
        snug_status status = take(b, row, name, &t, err);
        if (status != SNUG_OK || !t)
            return status;
        if (i > 0 && t->type != type)
            return snug_fail(err, SNUG_UNSUPPORTED,
                             "%s: tensor %s is of another dtype than the experts before it",
                             t->file, t->name);
        type = t->type;
    }
    const int64_t ne[3] = {snug__hf_width(c, row->in), snug__hf_width(c, row->out), n_experts};
    int n_dims = row->out == DIM_NONE ? 1 : row->flags & HF_PER_EXPERT ? 3 : 2;
    if (n_dims == 1 || (row->flags & HF_F32))
        type = GGML_TYPE_F32;
    return put_tensor(b, gguf, n_dims, ne, type, err);
}

static snug_status put_rows(struct building *b, const struct snug__hf_row *rows, int n,
                            int64_t layer, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    for (int i = 0; status == SNUG_OK && i < n; i++) {
        if (rows[i].archs & b->config->arch->bit)
            status = put_row(b, &rows[i], layer, err);
    }
    return status;
}

/* The output has no root before its name. A tied one may be stored all the same. */
static snug_status put_output(struct building *b, struct snug_error *err)
{
    static const struct snug__hf_row row = {HF_ALL,   "lm_head.weight", "output.weight",
                                            DIM_EMBD, DIM_VOCAB,        HF_OPTIONAL};
    if (b->config->is_tied)
        return SNUG_OK;
    const char *root = b->root;
    b->root = "";
    snug_status status = put_row(b, &row, -1, err);
    b->root = root;
    return status;
}

/* ---- what is left over ---- */

/* Buffers and copies that no converter writes. */
static bool is_ignored(const char *name)
{
    static const char *const ends[] = {"rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias",
                                       "position_ids", "lm_head.weight"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t n_end = strlen(ends[i]);
        if (n >= n_end && strcmp(name + n - n_end, ends[i]) == 0)
            return true;
    }
    return false;
}

static snug_status check_left_over(const struct building *b, struct snug_error *err)
{
    char list[EXTRA_NAMES_MAX] = "";
    size_t n = 0, at = 0;
    for (size_t i = 0; i < b->set->n; i++) {
        const struct snug__st_tensor *t = &b->set->tensors[i];
        if (t->is_used || is_ignored(t->name))
            continue;
        if (n++ < 3 && at < sizeof list)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%.60s", at ? ", " : "", t->name);
    }
    if (n == 0)
        return SNUG_OK;
    return snug_fail(err, SNUG_UNSUPPORTED,
                     "%s: %zu tensor%s that a %s of %" PRId64 " layers does not have: %s%s",
                     b->label, n, n > 1 ? "s" : "", b->config->arch->name, b->config->n_layer, list,
                     n > 3 ? " ..." : "");
}

/* ---- all of it ---- */

static void find_root(struct building *b)
{
    b->root = b->config->arch->root;
    /* saved from a GPT2LMHeadModel the names have a root, from a GPT2Model they have none */
    if ((b->config->arch->bit & HF_GPT2) && snug__st_find(b->set, "transformer.wte.weight"))
        b->root = "transformer.";
}

static void find_embedding_type(struct building *b)
{
    char name[128];
    b->embedding_type = GGML_TYPE_F16;
    for (int i = 0; i < snug__n_hf_head_rows; i++) {
        const struct snug__hf_row *row = &snug__hf_head_rows[i];
        snprintf(name, sizeof name, "%s%s", b->root, row->hf);
        const struct snug__st_tensor *t = snug__st_find(b->set, name);
        if ((row->archs & b->config->arch->bit) && strcmp(row->gguf, "token_embd.weight") == 0 && t)
            b->embedding_type = t->type;
    }
}

snug_status snug__hf_header(const char *label, const struct snug__hf_config *config,
                            struct snug__st_set *set, struct snug_buffer *out,
                            uint64_t *out_bytes_data, struct snug_error *err)
{
    struct building b = {.label = label, .config = config, .set = set};
    find_root(&b);
    find_embedding_type(&b);
    snug__gguf_begin(&b.w, config->arch->gguf);
    put_metadata(&b);
    snug_status status = put_rows(&b, snug__hf_head_rows, snug__n_hf_head_rows, -1, err);
    for (int64_t i = 0; status == SNUG_OK && i < config->n_layer; i++)
        status = put_rows(&b, snug__hf_block_rows, snug__n_hf_block_rows, i, err);
    if (status == SNUG_OK)
        status = put_rows(&b, snug__hf_tail_rows, snug__n_hf_tail_rows, -1, err);
    if (status == SNUG_OK)
        status = put_output(&b, err);
    if (status == SNUG_OK)
        status = check_left_over(&b, err);
    snug__gguf_end(&b.w);
    if (status == SNUG_OK && b.w.buf.is_failed)
        status = snug_fail(err, SNUG_NO_MEMORY, "%s: header", label);
    if (status != SNUG_OK) {
        snug_buffer_clear(&b.w.buf);
        return status;
    }
    *out = b.w.buf;
    *out_bytes_data = b.bytes_data;
    return SNUG_OK;
}
