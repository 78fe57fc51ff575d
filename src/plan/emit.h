/* What the emitters of a plan share; private to the room. */
#ifndef SNUG_PLAN_EMIT_H
#define SNUG_PLAN_EMIT_H

#include "base/buffer.h"
#include "snug/commands.h"

#define SNUG__PATH_CAP (SNUG_COMMAND_PATH_MAX + 3) /* "./" and the end */

/* Of which source_gguf is, or has to be made first. */
enum snug__origin {
    SNUG__ORIGIN_NONE, /* a preset: to be had somewhere */
    SNUG__ORIGIN_GGUF,
    SNUG__ORIGIN_FOLDER, /* Hugging Face's format */
    SNUG__ORIGIN_REMOTE  /* an address, or hf:user/repo */
};

/* Everything that a text is made of, defaults filled in and checked: paths have no line breaks, the
 * plan is one of this model, its numbers are positive. */
struct snug_command {
    const struct snug_plan *plan;
    const struct snug_model *model;
    const char *name; /* of the model, for comments */
    /* Absolute, or led by "./" or "../". */
    char gguf_path[SNUG__PATH_CAP];
    char source_gguf[SNUG__PATH_CAP];  /* what llama-quantize reads */
    char imatrix_path[SNUG__PATH_CAP]; /* "" for none */
    enum snug__origin origin;
    char source_path[SNUG__PATH_CAP]; /* the folder, the address; "" when there is none yet */
    int port;
    int64_t n_ctx_seq; /* of one sequence */
    double bits;       /* per weight of the matrices, on average */
};

snug_status snug__emit_server(const struct snug_command *c, char **out_text,
                              struct snug_error *err) SNUG_CHECKED;
snug_status snug__emit_cli(const struct snug_command *c, char **out_text,
                           struct snug_error *err) SNUG_CHECKED;
snug_status snug__emit_bench(const struct snug_command *c, char **out_text,
                             struct snug_error *err) SNUG_CHECKED;
snug_status snug__emit_quantize(const struct snug_command *c, char **out_text,
                                struct snug_error *err) SNUG_CHECKED;
snug_status snug__emit_ollama(const struct snug_command *c, char **out_text,
                              struct snug_error *err) SNUG_CHECKED;
snug_status snug__emit_transformers(const struct snug_command *c, char **out_text,
                                    struct snug_error *err) SNUG_CHECKED;
snug_status snug__emit_systemd(const struct snug_command *c, char **out_text,
                               struct snug_error *err) SNUG_CHECKED;

/* ---- parts ---- */

/* The words behind "llama-server --model F": the plan's flags, its prompt cache, its port. Release
 * with snug_engine_flags_free. */
snug_status snug__server_words(const struct snug_command *c, char ***out_words,
                               struct snug_error *err) SNUG_CHECKED;
/* MiB of host memory that llama-server's prompt cache may take: what the plan leaves free. */
int64_t snug__prompt_cache_mib(const struct snug_plan *plan);
/* Hand over what was written; SNUG_NO_MEMORY when an append failed. Leaves out empty. */
snug_status snug__emit_end(struct snug_buffer *out, char **out_text,
                           struct snug_error *err) SNUG_CHECKED;
/* Text of unknown origin within a comment or a description: what could end its line or carry it
 * over to the next becomes '?'. */
void snug__put_clean(struct snug_buffer *out, const char *text);
/* Is it a matrix, which a quantiser works on, or a vector, which it leaves alone? */
bool snug__is_matrix(const struct snug_tensor *tensor);

/* Kinds of a tier by its name, as the law names them. */
bool snug__tier_is_host(const struct snug_plan_tier *tier);
bool snug__tier_is_device(const struct snug_plan_tier *tier);

/* "blk.12.attn_q.weight": 12 and "attn_q.weight". False, and nothing changes, for another name. */
bool snug__split_name(const char *name, int64_t *out_layer, const char **out_rest);

#endif
