/* Hugging Face folders: config.json and safetensors headers as a shape-only GGUF header; private to
 * the room.
 *
 *   config.json -> config + architecture row ----+
 *   *.safetensors -> set of names and shapes ----+--> header in memory --> the reader of GGUF
 *
 * What a row of the architecture expects must be there with the shape that the config gives it. */
#ifndef SNUG_MODEL_HF_H
#define SNUG_MODEL_HF_H

#include "base/buffer.h"
#include "model/safetensors.h"
#include "snug/model.h"

enum snug__hf_bit {
    HF_LLAMA = 1 << 0,
    HF_MIXTRAL = 1 << 1,
    HF_QWEN2 = 1 << 2,
    HF_QWEN2MOE = 1 << 3,
    HF_QWEN3 = 1 << 4,
    HF_QWEN3MOE = 1 << 5,
    HF_PHI3 = 1 << 6,
    HF_GEMMA = 1 << 7,
    HF_GEMMA2 = 1 << 8,
    HF_GEMMA3 = 1 << 9,
    HF_STARCODER2 = 1 << 10,
    HF_GPT2 = 1 << 11,
    HF_MAMBA = 1 << 12,
};
#define HF_ALL ((1u << 13) - 1)
#define HF_MOE (HF_MIXTRAL | HF_QWEN2MOE | HF_QWEN3MOE)
#define HF_GEMMAS (HF_GEMMA | HF_GEMMA2 | HF_GEMMA3)
#define HF_ROPE (HF_ALL & ~(unsigned)(HF_GPT2 | HF_MAMBA))

struct snug__hf_arch {
    const char *name; /* as `architectures` in config.json says: "LlamaForCausalLM" */
    unsigned bit;
    const char *gguf; /* general.architecture */
    const char *root; /* before the names of all tensors but the output: "model." */
    const char *layers;
};

struct snug__hf_config {
    const struct snug__hf_arch *arch;
    int64_t n_layer, n_embd, n_ff, n_head, n_head_kv, n_embd_head, n_vocab, n_ctx, n_swa;
    int64_t n_expert, n_expert_used, n_ff_expert, n_ff_shared;
    int64_t n_inner, n_state, n_conv, n_dt_rank; /* of Mamba */
    int64_t n_ctx_original, n_rot;
    double norm_epsilon, rope_base, rope_base_swa, rope_factor;
    double attn_softcap, logit_softcap; /* 0: none */
    char rope_scaling[16];              /* "linear", "yarn" or "" */
    bool is_tied;
};

#define SNUG__HF_CONFIG_MAX (4u << 20) /* bytes of config.json; published ones have some kB */
#define SNUG__HF_LAYERS_MAX 1024
#define SNUG__HF_EXPERTS_MAX 1024
#define SNUG__HF_WIDTH_MAX (1 << 24)
#define SNUG__HF_VOCAB_MAX (1 << 26)

/* text: n bytes of config.json; label begins error texts.
 * Errors  SNUG_UNSUPPORTED: an architecture (lists the known ones) or a variety of one that is not
 *         known; SNUG_BAD_INPUT: a number that is missing or absurd. */
snug_status snug__hf_config_read(const char *label, const char *text, size_t n,
                                 struct snug__hf_config *out, struct snug_error *err) SNUG_CHECKED;

/* ---- what tensors an architecture has ---- */

enum snug__hf_dim {
    DIM_NONE,
    DIM_EMBD,
    DIM_FF,
    DIM_FF2,
    DIM_FF_EXPERT,
    DIM_FF_SHARED,
    DIM_Q,
    DIM_KV,
    DIM_QKV,
    DIM_HEAD,
    DIM_VOCAB,
    DIM_CTX,
    DIM_EXPERTS,
    DIM_INNER,
    DIM_INNER2,
    DIM_STATE,
    DIM_CONV,
    DIM_DT,
    DIM_X
};

enum snug__hf_flag {
    HF_OPTIONAL = 1,
    HF_TRANSPOSED = 2, /* stored [in, out] (GPT-2's Conv1D) */
    HF_F32 = 4,        /* llama.cpp's converter keeps it in F32 */
    HF_SQUEEZED = 8,   /* dimensions of 1 are dropped */
    HF_PER_EXPERT = 16 /* one tensor per expert, "%d" in its name; one of three dims in a GGUF */
};

struct snug__hf_row {
    unsigned archs;
    const char *hf, *gguf;     /* names below the layer or root: "self_attn.q_proj.weight" */
    enum snug__hf_dim in, out; /* ggml's order: row length, rows; a vector has only `in` */
    unsigned flags;
};

extern const struct snug__hf_arch snug__hf_archs[];
extern const int snug__n_hf_archs;
extern const struct snug__hf_row snug__hf_block_rows[], snug__hf_head_rows[], snug__hf_tail_rows[];
extern const int snug__n_hf_block_rows, snug__n_hf_head_rows, snug__n_hf_tail_rows;
int64_t snug__hf_width(const struct snug__hf_config *config, enum snug__hf_dim dim);

/* The whole header, padded, into an empty buffer, and the bytes of the data behind it. The set is
 * sorted; its tensors' is_used is set. Errors name the tensor that is missing, of another shape or
 * dtype, or left over. */
snug_status snug__hf_header(const char *label, const struct snug__hf_config *config,
                            struct snug__st_set *set, struct snug_buffer *out,
                            uint64_t *out_bytes_data, struct snug_error *err) SNUG_CHECKED;

/* ---- the folder ---- */

/* All tensors of the folder's safetensors files, sorted; set->arena is set before. */
snug_status snug__hf_shards_read(const char *folder, struct snug__st_set *set,
                                 struct snug_error *err) SNUG_CHECKED;
snug_status snug__hf_open(const char *folder, struct snug_model *out,
                          struct snug_error *err) SNUG_CHECKED;

#endif
