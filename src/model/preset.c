/* Tables: presets, weight types, and the tensors of each architecture.
 * Sources: the published configurations of the models (config.json) and their parameter counts;
 * tensor names and shapes as libllama expects them; types as llama-quantize chooses them. */
#include "model/preset.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <ggml.h>

#include "model/gguf_read.h"

#define LLAMA SNUG__ARCH_LLAMA
#define QWEN2 SNUG__ARCH_QWEN2
#define QWEN3 SNUG__ARCH_QWEN3
#define PHI3 SNUG__ARCH_PHI3
#define GEMMA2 SNUG__ARCH_GEMMA2
#define QWEN3MOE SNUG__ARCH_QWEN3MOE

/* name, arch, tokenizer, pre, | layers, embd, ff, heads, kv heads, head, vocab, context, window |
 * rope base, norm epsilon, tied, parameters | experts, experts per token; ff is that of one expert.
 * llama3.2's rope_freqs (32 numbers) are left out, as the published count leaves them out. */
/* clang-format off */
const struct snug__preset snug__presets[] = {
    {"llama3-8b", LLAMA, SNUG__BPE, "llama-bpe", 32, 4096, 14336, 32, 8, 128, 128256, 8192, 0,
     5e5f, 1e-5f, false, 8030261248, 0, 0},
    {"llama3-70b", LLAMA, SNUG__BPE, "llama-bpe", 80, 8192, 28672, 64, 8, 128, 128256, 8192, 0,
     5e5f, 1e-5f, false, 70553706496, 0, 0},
    {"llama3.2-1b", LLAMA, SNUG__BPE, "llama-bpe", 16, 2048, 8192, 32, 8, 64, 128256, 131072, 0,
     5e5f, 1e-5f, true, 1235814400, 0, 0},
    {"llama2-7b", LLAMA, SNUG__SPM, "default", 32, 4096, 11008, 32, 32, 128, 32000, 4096, 0,
     1e4f, 1e-5f, false, 6738415616, 0, 0},
    {"llama2-13b", LLAMA, SNUG__SPM, "default", 40, 5120, 13824, 40, 40, 128, 32000, 4096, 0,
     1e4f, 1e-5f, false, 13015864320, 0, 0},
    {"mistral-7b", LLAMA, SNUG__SPM, "default", 32, 4096, 14336, 32, 8, 128, 32000, 32768, 0,
     1e4f, 1e-5f, false, 7241732096, 0, 0},
    {"tinyllama-1.1b", LLAMA, SNUG__SPM, "default", 22, 2048, 5632, 32, 4, 64, 32000, 2048, 0,
     1e4f, 1e-5f, false, 1100048384, 0, 0},
    {"smollm2-135m", LLAMA, SNUG__BPE, "smollm", 30, 576, 1536, 9, 3, 64, 49152, 8192, 0,
     1e5f, 1e-5f, true, 134515008, 0, 0},
    {"qwen2-7b", QWEN2, SNUG__BPE, "qwen2", 28, 3584, 18944, 28, 4, 128, 152064, 32768, 0,
     1e6f, 1e-6f, false, 7615616512, 0, 0},
    {"qwen3-0.6b", QWEN3, SNUG__BPE, "qwen2", 28, 1024, 3072, 16, 8, 128, 151936, 40960, 0,
     1e6f, 1e-6f, true, 596049920, 0, 0},
    {"qwen3-1.7b", QWEN3, SNUG__BPE, "qwen2", 28, 2048, 6144, 16, 8, 128, 151936, 40960, 0,
     1e6f, 1e-6f, true, 1720574976, 0, 0},
    {"qwen3-4b", QWEN3, SNUG__BPE, "qwen2", 36, 2560, 9728, 32, 8, 128, 151936, 40960, 0,
     1e6f, 1e-6f, true, 4022468096, 0, 0},
    {"phi3-mini", PHI3, SNUG__SPM, "default", 32, 3072, 8192, 32, 32, 96, 32064, 4096, 2047,
     1e4f, 1e-5f, false, 3821079552, 0, 0},
    {"gemma2-9b", GEMMA2, SNUG__SPM, "default", 42, 3584, 14336, 16, 8, 256, 256000, 8192, 4096,
     1e4f, 1e-6f, true, 9241705984, 0, 0},
    {"qwen3-30b-a3b", QWEN3MOE, SNUG__BPE, "qwen2", 48, 2048, 768, 32, 4, 128, 151936, 40960, 0,
     1e6f, 1e-6f, false, 30532122624, 128, 8},
};
/* clang-format on */
#define N_PRESETS (sizeof snug__presets / sizeof snug__presets[0])
const int snug__n_presets = (int)N_PRESETS;

/* name, ggml type, file type (the plain or S variety), then where a block keeps its scales. The
 * ratio is the mean of what the offset has to undo: 4-bit quants average 7.5, and so on. */
static const struct snug__weight_type weight_types[] = {
    {"f32", GGML_TYPE_F32, 0, -1, -1, 0},       {"f16", GGML_TYPE_F16, 1, -1, -1, 0},
    {"bf16", GGML_TYPE_BF16, 32, -1, -1, 0},    {"q4_0", GGML_TYPE_Q4_0, 2, 0, -1, 0},
    {"q4_1", GGML_TYPE_Q4_1, 3, 0, 2, -7.5f},   {"q5_0", GGML_TYPE_Q5_0, 8, 0, -1, 0},
    {"q5_1", GGML_TYPE_Q5_1, 9, 0, 2, -15.5f},  {"q8_0", GGML_TYPE_Q8_0, 7, 0, -1, 0},
    {"q2_k", GGML_TYPE_Q2_K, 21, 80, 82, 1.5f}, {"q3_k", GGML_TYPE_Q3_K, 11, 108, -1, 0},
    {"q4_k", GGML_TYPE_Q4_K, 14, 0, 2, 7.5f},   {"q5_k", GGML_TYPE_Q5_K, 16, 0, 2, 15.5f},
    {"q6_k", GGML_TYPE_Q6_K, 18, 208, -1, 0},   {"iq4_nl", GGML_TYPE_IQ4_NL, 25, 0, -1, 0},
    {"iq4_xs", GGML_TYPE_IQ4_XS, 30, 0, -1, 0},
};
#define N_WEIGHT_TYPES (sizeof weight_types / sizeof weight_types[0])

/* ---- lookups ---- */

const struct snug__preset *snug__preset_find(const char *name, size_t n)
{
    for (size_t i = 0; i < N_PRESETS; i++) {
        if (strlen(snug__presets[i].name) == n && strncmp(snug__presets[i].name, name, n) == 0)
            return &snug__presets[i];
    }
    return NULL;
}

static const char *preset_names[N_PRESETS + 1];

static void fill_names(void)
{
    for (size_t i = 0; i < N_PRESETS; i++)
        preset_names[i] = snug__presets[i].name;
}

const char *const *snug_model_presets(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill_names);
    return preset_names;
}

const char *snug__preset_arch(const struct snug__preset *preset)
{
    switch (preset->arch) {
    case SNUG__ARCH_QWEN2:
        return "qwen2";
    case SNUG__ARCH_QWEN3:
        return "qwen3";
    case SNUG__ARCH_PHI3:
        return "phi3";
    case SNUG__ARCH_GEMMA2:
        return "gemma2";
    case SNUG__ARCH_QWEN3MOE:
        return "qwen3moe";
    default:
        return "llama";
    }
}

const char *snug__preset_tokenizer(const struct snug__preset *preset)
{
    return preset->tokenizer == SNUG__BPE ? "gpt2" : "llama";
}

snug_status snug__weight_type_parse(const char *name, const struct snug__weight_type **out,
                                    struct snug_error *err)
{
    char list[256];
    size_t n = 0;
    for (size_t i = 0; i < N_WEIGHT_TYPES; i++) {
        if (strcasecmp(weight_types[i].name, name ? name : "f16") == 0) {
            *out = &weight_types[i];
            return SNUG_OK;
        }
        n += (size_t)snprintf(list + n, sizeof list - n, " %s", weight_types[i].name);
    }
    return snug_fail(err, SNUG_BAD_INPUT, "type '%.40s' cannot be synthesised; accepted are%s",
                     name, list);
}

const struct snug__weight_type *snug__weight_type_of(int type)
{
    for (size_t i = 0; i < N_WEIGHT_TYPES; i++) {
        if (weight_types[i].type == type)
            return &weight_types[i];
    }
    return NULL;
}

/* ---- shape ---- */

enum dim {
    DIM_NONE,
    DIM_EMBD,
    DIM_FF,
    DIM_FF2,
    DIM_Q,
    DIM_KV,
    DIM_QKV,
    DIM_HEAD,
    DIM_EXPERTS,
    DIM_VOCAB
};

struct part {
    unsigned archs;
    const char *name;
    enum snug__role role;
    enum dim in, out; /* a vector has only `in` */
    bool is_stack;    /* one such matrix per expert */
};

#define ALL (LLAMA | QWEN2 | QWEN3 | PHI3 | GEMMA2 | QWEN3MOE)
#define SPLIT_QKV (ALL & ~PHI3) /* q, k and v are tensors of their own */
#define DENSE (ALL & ~QWEN3MOE)
#define SPLIT_FFN (DENSE & ~PHI3) /* so are gate and up */
#define QK_NORM (QWEN3 | QWEN3MOE)

/* One layer, in the order of computation. */
static const struct part block_parts[] = {
    {ALL, "attn_norm.weight", SNUG__NORM, DIM_EMBD, DIM_NONE, false},
    {SPLIT_QKV, "attn_q.weight", SNUG__MATRIX, DIM_EMBD, DIM_Q, false},
    {SPLIT_QKV, "attn_k.weight", SNUG__MATRIX, DIM_EMBD, DIM_KV, false},
    {SPLIT_QKV, "attn_v.weight", SNUG__MATRIX, DIM_EMBD, DIM_KV, false},
    {QWEN2, "attn_q.bias", SNUG__BIAS, DIM_Q, DIM_NONE, false},
    {QWEN2, "attn_k.bias", SNUG__BIAS, DIM_KV, DIM_NONE, false},
    {QWEN2, "attn_v.bias", SNUG__BIAS, DIM_KV, DIM_NONE, false},
    {QK_NORM, "attn_q_norm.weight", SNUG__NORM, DIM_HEAD, DIM_NONE, false},
    {QK_NORM, "attn_k_norm.weight", SNUG__NORM, DIM_HEAD, DIM_NONE, false},
    {PHI3, "attn_qkv.weight", SNUG__MATRIX, DIM_EMBD, DIM_QKV, false},
    {ALL, "attn_output.weight", SNUG__MATRIX, DIM_Q, DIM_EMBD, false},
    {GEMMA2, "post_attention_norm.weight", SNUG__NORM, DIM_EMBD, DIM_NONE, false},
    {ALL, "ffn_norm.weight", SNUG__NORM, DIM_EMBD, DIM_NONE, false},
    {SPLIT_FFN, "ffn_gate.weight", SNUG__MATRIX, DIM_EMBD, DIM_FF, false},
    {SPLIT_FFN, "ffn_up.weight", SNUG__MATRIX, DIM_EMBD, DIM_FF, false},
    {PHI3, "ffn_up.weight", SNUG__MATRIX, DIM_EMBD, DIM_FF2, false},
    {DENSE, "ffn_down.weight", SNUG__MATRIX, DIM_FF, DIM_EMBD, false},
    {QWEN3MOE, "ffn_gate_inp.weight", SNUG__ROUTER, DIM_EMBD, DIM_EXPERTS, false},
    {QWEN3MOE, "ffn_gate_exps.weight", SNUG__MATRIX, DIM_EMBD, DIM_FF, true},
    {QWEN3MOE, "ffn_up_exps.weight", SNUG__MATRIX, DIM_EMBD, DIM_FF, true},
    {QWEN3MOE, "ffn_down_exps.weight", SNUG__MATRIX, DIM_FF, DIM_EMBD, true},
    {GEMMA2, "post_ffw_norm.weight", SNUG__NORM, DIM_EMBD, DIM_NONE, false},
};
#define N_BLOCK_PARTS ((int)(sizeof block_parts / sizeof block_parts[0]))

static const struct part embedding = {ALL,      "token_embd.weight", SNUG__MATRIX,
                                      DIM_EMBD, DIM_VOCAB,           false};
static const struct part output_norm = {ALL,  "output_norm.weight", SNUG__NORM, DIM_EMBD, DIM_NONE,
                                        false};
static const struct part output = {ALL, "output.weight", SNUG__MATRIX, DIM_EMBD, DIM_VOCAB, false};

static int64_t width(const struct snug__preset *p, enum dim dim)
{
    switch (dim) {
    case DIM_NONE:
        return 1;
    case DIM_EMBD:
        return p->n_embd;
    case DIM_FF:
        return p->n_ff;
    case DIM_FF2:
        return 2 * p->n_ff;
    case DIM_Q:
        return p->n_head * p->n_embd_head;
    case DIM_KV:
        return p->n_head_kv * p->n_embd_head;
    case DIM_QKV:
        return (p->n_head + 2 * p->n_head_kv) * p->n_embd_head;
    case DIM_HEAD:
        return p->n_embd_head;
    case DIM_EXPERTS:
        return p->n_expert;
    default:
        return p->n_vocab;
    }
}

static bool is_row_whole(int64_t n, int type)
{
    return n % ggml_blck_size((enum ggml_type)type) == 0;
}

/* Where a row is not whole blocks: the next type of smaller blocks, then F16. */
static int fit_row(int64_t n, int type)
{
    if (is_row_whole(n, type))
        return type;
    static const int next[][2] = {
        {GGML_TYPE_Q2_K, GGML_TYPE_Q4_0},     {GGML_TYPE_Q3_K, GGML_TYPE_Q4_0},
        {GGML_TYPE_IQ4_XS, GGML_TYPE_IQ4_NL}, {GGML_TYPE_Q4_K, GGML_TYPE_Q5_0},
        {GGML_TYPE_Q5_K, GGML_TYPE_Q5_1},     {GGML_TYPE_Q6_K, GGML_TYPE_Q8_0},
    };
    int smaller = GGML_TYPE_F16;
    for (size_t i = 0; i < sizeof next / sizeof next[0]; i++) {
        if (next[i][0] == type)
            smaller = next[i][1];
    }
    return is_row_whole(n, smaller) ? smaller : GGML_TYPE_F16;
}

/* Type of one matrix. The one that makes the logits gets more bits: Q6_K, or Q8_0. */
static int choose_type(const struct snug__preset *preset, const struct part *part, int64_t n_row,
                       int type)
{
    bool is_logits = part == &output || (part == &embedding && preset->is_tied);
    if (is_logits && ggml_is_quantized((enum ggml_type)type) && type != GGML_TYPE_Q8_0)
        type = is_row_whole(n_row, type) ? GGML_TYPE_Q6_K : GGML_TYPE_Q8_0;
    return fit_row(n_row, type);
}

/* Bytes of a tensor of this type, and its place behind those that are there. */
static void place(struct snug__shape *shape, struct snug__shape_tensor *t, int type)
{
    t->type = type;
    t->bytes = ggml_row_size((enum ggml_type)type, t->ne[0]) * (uint64_t)(t->ne[1] * t->ne[2]);
    t->offset = shape->bytes_data;
    shape->bytes_data = (t->offset + t->bytes + SNUG__GGUF_ALIGNMENT - 1) / SNUG__GGUF_ALIGNMENT *
                        SNUG__GGUF_ALIGNMENT;
}

static void add_tensor(struct snug__shape *shape, const struct part *part, int64_t layer)
{
    struct snug__shape_tensor *t = &shape->tensors[shape->n_tensors++];
    if (layer >= 0)
        snprintf(t->name, sizeof t->name, "blk.%d.%s", (int)layer, part->name);
    else
        snprintf(t->name, sizeof t->name, "%s", part->name);
    t->role = part->role;
    t->n_dims = part->out == DIM_NONE ? 1 : part->is_stack ? 3 : 2;
    t->ne[0] = width(shape->preset, part->in);
    t->ne[1] = width(shape->preset, part->out);
    t->ne[2] = part->is_stack ? shape->preset->n_expert : 1;
    place(shape, t,
          part->role != SNUG__MATRIX
              ? GGML_TYPE_F32
              : choose_type(shape->preset, part, t->ne[0], shape->weight_type->type));
}

/* The types of a plan in place of those of the recipe; offsets follow. */
static snug_status set_types(struct snug__shape *shape, const struct snug_synth_options *options,
                             struct snug_error *err)
{
    if (options->n_types != shape->n_tensors)
        return snug_fail(err, SNUG_BAD_INPUT, "%d types for %d tensors of %s", options->n_types,
                         shape->n_tensors, shape->preset->name);
    shape->bytes_data = 0;
    for (int i = 0; i < shape->n_tensors; i++) {
        struct snug__shape_tensor *t = &shape->tensors[i];
        const int type = options->types[i];
        if (t->role == SNUG__MATRIX && !snug__weight_type_of(type))
            return snug_fail(err, SNUG_UNSUPPORTED, "%s: type %s cannot be synthesised", t->name,
                             snug_model_type_name(type));
        if (t->role == SNUG__MATRIX && !is_row_whole(t->ne[0], type))
            return snug_fail(err, SNUG_BAD_INPUT, "%s: rows of %lld are not whole blocks of %s",
                             t->name, (long long)t->ne[0], snug_model_type_name(type));
        place(shape, t, t->role == SNUG__MATRIX ? type : t->type);
    }
    return SNUG_OK;
}

snug_status snug__shape_init(const struct snug__preset *preset,
                             const struct snug_synth_options *options, struct snug__shape *shape,
                             struct snug_error *err)
{
    struct snug__shape s = {.preset = preset, .n_layer = preset->n_layer};
    snug_status status = snug__weight_type_parse(options->type, &s.weight_type, err);
    if (status != SNUG_OK)
        return status;
    if (options->n_layer < 0 || options->n_layer > preset->n_layer)
        return snug_fail(err, SNUG_BAD_INPUT, "%s has %d layers: cannot cut it to %lld",
                         preset->name, (int)preset->n_layer, (long long)options->n_layer);
    if (options->n_layer > 0)
        s.n_layer = options->n_layer;
    s.tensors = calloc((size_t)(s.n_layer * N_BLOCK_PARTS + 3), sizeof *s.tensors);
    if (!s.tensors)
        return snug_fail(err, SNUG_NO_MEMORY, "shape of %s", preset->name);
    add_tensor(&s, &embedding, -1);
    for (int64_t layer = 0; layer < s.n_layer; layer++) {
        for (int i = 0; i < N_BLOCK_PARTS; i++) {
            if (block_parts[i].archs & preset->arch)
                add_tensor(&s, &block_parts[i], layer);
        }
    }
    add_tensor(&s, &output_norm, -1);
    if (!preset->is_tied)
        add_tensor(&s, &output, -1);
    status = options->types ? set_types(&s, options, err) : SNUG_OK;
    if (status != SNUG_OK) {
        free(s.tensors);
        return status;
    }
    *shape = s;
    return SNUG_OK;
}

void snug__shape_clear(struct snug__shape *shape)
{
    free(shape->tensors);
    *shape = (struct snug__shape){0};
}
