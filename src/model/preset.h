/* Presets and the shape (list of tensors) that follows from one; private to the room. */
#ifndef SNUG_MODEL_PRESET_H
#define SNUG_MODEL_PRESET_H

#include "snug/model.h"

enum snug__arch {
    SNUG__ARCH_LLAMA = 1,
    SNUG__ARCH_QWEN2 = 2,
    SNUG__ARCH_QWEN3 = 4,
    SNUG__ARCH_PHI3 = 8,
    SNUG__ARCH_GEMMA2 = 16,
    SNUG__ARCH_QWEN3MOE = 32
};

enum snug__tokenizer { SNUG__SPM, SNUG__BPE };

struct snug__preset {
    const char *name;
    enum snug__arch arch;
    enum snug__tokenizer tokenizer;
    const char *pre; /* tokenizer.ggml.pre: how BPE cuts words */
    int64_t n_layer, n_embd, n_ff, n_head, n_head_kv, n_embd_head, n_vocab, n_ctx_train, n_swa;
    float rope_base, norm_epsilon;
    bool is_tied;
    uint64_t n_params;               /* as published; tests hold the tensor list against it */
    int64_t n_expert, n_expert_used; /* 0: dense; else n_ff is that of one expert */
};

extern const struct snug__preset snug__presets[];
extern const int snug__n_presets;

/* By the first n bytes of name; NULL when there is none. */
const struct snug__preset *snug__preset_find(const char *name, size_t n);
const char *snug__preset_arch(const struct snug__preset *preset);      /* "llama" */
const char *snug__preset_tokenizer(const struct snug__preset *preset); /* "gpt2" */

/* ---- weight types that can be synthesised ---- */

struct snug__weight_type {
    const char *name;
    int type;      /* enum ggml_type */
    int file_type; /* enum llama_ftype, for general.file_type */
    /* A block is random bytes but for one or two F16: a scale and, where a value is
     * scale * q + offset or scale * q - offset, an offset of offset_ratio * scale that centres the
     * values. Byte positions in the block, -1 for none (source: ggml-common.h). */
    int scale_at, offset_at;
    float offset_ratio;
};

/* "q4_0", in any case. Error lists the names. NULL name: f16. */
snug_status snug__weight_type_parse(const char *name, const struct snug__weight_type **out,
                                    struct snug_error *err) SNUG_CHECKED;
/* The row of a ggml type, or NULL. */
const struct snug__weight_type *snug__weight_type_of(int type);

/* ---- shape ---- */

enum snug__role {
    SNUG__MATRIX,
    SNUG__NORM,
    SNUG__BIAS,
    SNUG__ROUTER /* a matrix that chooses experts; stays F32 in every recipe */
};

struct snug__shape_tensor {
    char name[SNUG_GGUF_TENSOR_NAME_MAX + 1];
    enum snug__role role;
    int n_dims;
    int64_t ne[3]; /* ggml's order: input width, output width, experts */
    int type;
    uint64_t bytes, offset; /* in the data section */
};

struct snug__shape {
    const struct snug__preset *preset;
    const struct snug__weight_type *weight_type;
    int64_t n_layer;
    struct snug__shape_tensor *tensors;
    int n_tensors;
    uint64_t bytes_data; /* with padding */
};

/* All tensors of a preset as libllama expects them, with types and offsets. shape->tensors is
 * malloc'ed; options: type and n_layer are used. */
snug_status snug__shape_init(const struct snug__preset *preset,
                             const struct snug_synth_options *options, struct snug__shape *shape,
                             struct snug_error *err) SNUG_CHECKED;
void snug__shape_clear(struct snug__shape *shape);

#endif
