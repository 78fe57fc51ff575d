/* snug/model.h: what a model is: architecture, tensors, sizes; read from a GGUF or a preset. */
#ifndef SNUG_MODEL_H
#define SNUG_MODEL_H

#include "snug/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Caps on what a file may claim; each is tested at cap and cap + 1. */
#define SNUG_GGUF_TENSORS_MAX 65536
#define SNUG_GGUF_KEYS_MAX 65536
#define SNUG_GGUF_STRING_MAX (64u << 20)
#define SNUG_GGUF_KEY_MAX 1024          /* bytes of a key */
#define SNUG_GGUF_TENSOR_NAME_MAX 63    /* bytes; ggml's own limit */
#define SNUG_GGUF_ARRAY_MAX (16u << 20) /* elements */
#define SNUG_GGUF_HEADER_MAX (1u << 30) /* bytes before the tensor data */
#define SNUG_GGUF_SPLITS_MAX 1024
#define SNUG_MODEL_TEXT_MAX 128

struct snug_tensor {
    const char *name;
    int type; /* enum ggml_type */
    int n_dims;
    int64_t ne[4]; /* ggml's order: ne[0] is the contiguous one */
    uint64_t n_elements;
    uint64_t bytes;
    uint64_t offset; /* in its file's data section */
    int split;       /* which file of a split model */
};

struct snug_model_type_sum {
    int type;
    int n_tensors;
    uint64_t n_elements, bytes;
};
#define SNUG_MODEL_TYPES_MAX 48

struct snug_model {
    char path[4096]; /* first file, or "preset:NAME[:TYPE]" */
    bool is_preset;
    char name[SNUG_MODEL_TEXT_MAX]; /* general.name, or "" */
    char arch[SNUG_MODEL_TEXT_MAX]; /* general.architecture: "llama" */
    char file_type[32];             /* "Q4_0 - ..." as general.file_type says, or most bytes */
    int64_t n_layer, n_embd, n_ff, n_head, n_head_kv, n_embd_head_k, n_embd_head_v;
    int64_t n_vocab, n_ctx_train;
    uint64_t n_embd_k_all, n_embd_v_all; /* cache elements of a token, all layers; where head counts
                                            differ by layer the fields above hold the largest */
    int64_t n_expert, n_expert_used;     /* 0 for dense */
    int64_t n_swa;                       /* sliding window, 0 for none */
    bool is_tied;                        /* output shares the token embedding */
    char tokenizer[SNUG_MODEL_TEXT_MAX]; /* tokenizer.ggml.model */
    uint64_t n_params, bytes_tensors, bytes_file;
    /* Of the header's metadata, what a quantised copy keeps; 0 where libllama makes no right copy:
     * there is no GGUF, or its data is aligned to other than 32 bytes. */
    uint64_t bytes_keys_kept;
    int n_splits;
    struct snug_tensor *tensors;
    int n_tensors;
    struct snug_model_type_sum types[SNUG_MODEL_TYPES_MAX]; /* by bytes, largest first */
    int n_types;
    char hash[65]; /* content hash: headers + sampled tensor data, hex */
    void *owner;   /* arena that holds the strings above */
};

/* Read a GGUF (also a split one: name any part) or a preset: "llama3-8b", "llama3-8b:q4_0", with or
 * without "preset:" before it; the type is f16 if none is given. A preset gives what its GGUF would
 * give (hash and bytes_file: those of its shape-only file). A file of a preset's name is meant by
 * "./NAME". Every count, length and offset is checked before use; the data is not read except for
 * the hash's samples. An architecture that is not known is no error: its sizes are read by the
 * usual keys, and are 0 where those are missing.
 * Errors  SNUG_NOT_FOUND (lists presets near the name), SNUG_BAD_INPUT with file, offset, found,
 *         expected. Cost: some ms; memory proportional to the header, vocabulary skipped. */
snug_status snug_model_open(const char *path_or_preset, struct snug_model *out,
                            struct snug_error *err) SNUG_CHECKED;
void snug_model_clear(struct snug_model *model);

/* Bytes of the key-value cache for n_cells cells per sequence stream, by the plain formula
 * n_layer * n_cells * (n_embd_k_gqa * size(type_k) + n_embd_v_gqa * size(type_v)), sliding window
 * ignored; types are ggml_type numbers, 0 bytes for one that ggml does not know; UINT64_MAX when it
 * is more than that. The engine's own statement is what counts. */
uint64_t snug_model_cache_bytes(const struct snug_model *model, uint64_t n_cells, int type_k,
                                int type_v);

/* ggml's name of a tensor type: "q4_0"; "?" for one that it does not know. */
const char *snug_model_type_name(int type);

/* Names of presets, NULL at the end. */
const char *const *snug_model_presets(void);

struct snug_synth_options {
    const char *type; /* of the big matrices, NULL for f16: f32 f16 bf16 q4_0 q4_1 q5_0 q5_1 q8_0
                         q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs. Output, embedding and odd rows
                         get what llama-quantize gives; K types are otherwise not mixed */
    uint64_t seed;
    bool is_shape_only; /* sparse file of a few kB on disk with only headers; cannot answer */
    int64_t n_layer;    /* 0: the preset's; else cut to so many layers (tests) */
};

typedef bool (*snug_progress_fn)(double done_frac, void *data); /* false stops */

/* Write a model of a preset's shape with seeded random weights and a valid vocabulary of the right
 * size. Written to a temporary name and renamed when whole. Cost: seconds for 400 MB. */
snug_status snug_model_synth(const char *preset, const struct snug_synth_options *options,
                             const char *path, snug_progress_fn progress, void *progress_data,
                             struct snug_error *err) SNUG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
