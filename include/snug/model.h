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
    char path[4096]; /* first file, folder, URL, or "preset:NAME[:TYPE]" */
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
    char hash[65]; /* content hash: headers + sampled tensor data, hex; of a model whose data is
                      not here, that of its shape-only file */
    bool has_data; /* the tensors' data can be read from path: false for presets, folders, URLs */
    const void *header; /* of such a model: its GGUF header, padded, data follows; else NULL */
    uint64_t n_header;
    char note[256]; /* "" or a line for the user: no connection, what was kept is used */
    void *owner;    /* arena that holds the strings above */
};

/* Read a model, its header only. What may be named:
 *
 *   a GGUF file       also a split one: any part
 *   a preset          "llama3-8b", "llama3-8b:q4_0", with or without "preset:" before it; the type
 *                     is f16 if none is given. A file of that name is meant by "./NAME"
 *   a folder          of Hugging Face: config.json and the headers of *.safetensors, as the GGUF
 *                     that llama.cpp's converter makes of it at the same types, without vocabulary
 *   a URL             "http://..." or "https://..." of a GGUF, or "hf:USER/REPO[:QUANT]" of one on
 *                     $HF_ENDPOINT (https://huggingface.co; QUANT as in the file's name, Q4_K_M or
 *                     the first one if none is given)
 *
 * Of a URL only the header is fetched, by range requests, and kept below $XDG_CACHE_HOME/snug;
 * $HF_TOKEN goes to the hub's host alone. A server that keeps silent is waited for 30 s, or
 * $SNUG_HTTP_STALL_S. Presets, folders and URLs give what their GGUF would give; hash and
 * bytes_file are those of its shape-only file.
 *
 * Every count, length and offset is checked before use; the data is not read except for the hash's
 * samples. A GGUF architecture that is not known is no error: its sizes are read by the usual keys,
 * and are 0 where those are missing.
 *
 * Errors  SNUG_NOT_FOUND (lists presets near the name; parts that are missing), SNUG_BAD_INPUT with
 *         file, offset, found, expected, SNUG_UNSUPPORTED (a folder's architecture, a server
 *         without range requests), SNUG_IO (no connection)
 * Cost    some ms without a network; memory proportional to the header, vocabulary skipped */
snug_status snug_model_open(const char *path_or_preset, struct snug_model *out,
                            struct snug_error *err) SNUG_CHECKED;
void snug_model_clear(struct snug_model *model);

/* A GGUF with the model's header, which libllama loads with no_alloc: a file's own path; for models
 * without data here FOLDER/HASH.gguf, the header before a hole that takes no space, written once
 * (temporary name, rename; the folder is made). Errors: SNUG_IO with the path. */
snug_status snug_model_shape_file(const struct snug_model *model, const char *folder,
                                  char *out_path, size_t cap, struct snug_error *err) SNUG_CHECKED;

/* Bytes of the key-value cache for n_cells cells per sequence stream, by the plain formula
 * n_layer * n_cells * (n_embd_k_gqa * size(type_k) + n_embd_v_gqa * size(type_v)), sliding window
 * ignored; types are ggml_type numbers, 0 bytes for one that ggml does not know; UINT64_MAX when it
 * is more than that. The engine's own statement is what counts. */
uint64_t snug_model_cache_bytes(const struct snug_model *model, uint64_t n_cells, int type_k,
                                int type_v);

/* ggml's name of a tensor type: "q4_0"; "?" for one that it does not know. */
const char *snug_model_type_name(int type);
/* The type of a name in any case, or -1. */
int snug_model_type_from_name(const char *name);
/* Bits per weight with block overhead: 4.5 for q4_0; 0 for a type that ggml does not know. */
double snug_model_type_bits(int type);
/* Bytes of a tensor in another type; 0 when its rows are not whole blocks of it. */
uint64_t snug_model_tensor_bytes(const struct snug_tensor *tensor, int type);

/* Names of presets, NULL at the end. */
const char *const *snug_model_presets(void);

struct snug_synth_options {
    const char *type; /* of the big matrices, NULL for f16: f32 f16 bf16 q4_0 q4_1 q5_0 q5_1 q8_0
                         q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs. Output, embedding and odd rows
                         get what llama-quantize gives; K types are otherwise not mixed */
    uint64_t seed;
    bool is_shape_only; /* sparse file of a few kB on disk with only headers; cannot answer */
    int64_t n_layer;    /* 0: the preset's; else cut to so many layers (tests) */
    const int *types;   /* NULL, or the ggml_type of each tensor in the order of the preset's model,
                           n_types of them: what a plan says; vectors stay f32 */
    int n_types;
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
