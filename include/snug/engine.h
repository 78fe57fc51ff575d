/* snug/engine.h: the trial contract. An engine turns a config into a measurement. */
#ifndef SNUG_ENGINE_H
#define SNUG_ENGINE_H

#include "snug/machine.h"
#include "snug/model.h"
#include "snug/quality.h"
#include "snug/trial.h"

#ifdef __cplusplus
extern "C" {
#endif

struct snug_engine;

/* What a trial may cost and how sure it must be. */
struct snug_effort {
    int blocks_min, blocks_max; /* timed blocks per phase; min >= 1, max <= SNUG_BLOCKS_MAX */
    double spread_frac;         /* stop adding blocks when MAD / median of each phase is below */
    double phase_s;             /* and begin no more blocks after so many timed seconds */
    double deadline_s;          /* whole trial, load included; then outcome timeout */
    int warmup_max;             /* blocks per phase before the timed ones, at most; >= 0 */
    bool want_prefill, want_decode;
    /* A block of more than 2 phase_s counts at once, decode cut after a whole token. */
    bool may_cut;
    int64_t n_gen_max;    /* generate at most so many tokens per block; 0: as the workload says */
    bool is_sampling_off; /* conditions by difference only, no thread beside the run */
};
/* 3..16 blocks, 2 %, 4 s per phase, deadline 120 s, up to 8 warm-up blocks, both phases. */
void snug_effort_default(struct snug_effort *out);

/* Progress inside a trial: "load", "warm-up", "prefill 2", "decode 1"; may be NULL. */
typedef void (*snug_engine_progress_fn)(const char *phase, void *data);

struct snug_engine_options {
    const char *model_path; /* GGUF */
    const struct snug_machine *machine;
    const struct snug_model *model; /* for sizes that libllama does not state without loading */
    struct snug_workload workload;
    uint64_t memory_limit_bytes; /* 0: none. See snug_engine_run */
    double noise_frac;           /* the machine's noise floor, for verdicts; 0: not known */
    const char *rpc;             /* "HOST:PORT,..." of ggml RPC servers whose devices are used
                                    like GPUs; NULL: none */
    uint64_t replay_seed;        /* order in which the engine "replay" answers; others: no use */
    bool allow_quality;          /* also tune knobs that change the answer (cache types) */
    const volatile int *stop;    /* set by a signal handler: end the running trial; may be NULL */
    snug_engine_progress_fn progress;
    void *progress_data;
};

/* Start an engine by name: "llama", or "replay", which answers from a recorded table
 * (engine/table.h) that model_path names, and runs nothing. Options are copied, what they point to
 * is kept. Errors  SNUG_BAD_INPUT: the engine refuses the model (its own words are quoted), or no
 * context holds the workload; SNUG_INFEASIBLE: the memory limit holds no such context. */
snug_status snug_engine_open(const char *name, const struct snug_engine_options *options,
                             struct snug_engine **out, struct snug_error *err) SNUG_CHECKED;
void snug_engine_close(struct snug_engine *engine);
/* The knob rows with bounds and defaults for this machine and model; borrowed. */
const struct snug_space *snug_engine_space(const struct snug_engine *engine);
/* Engine and version: "libllama 0.7.0, ggml 0.27.0". */
const char *snug_engine_build(const struct snug_engine *engine);
/* The same without an engine; returns out. */
const char *snug_engine_build_here(char *out, size_t cap);
/* Types, a bit per ggml_type, as which this CPU would store a tied embedding a second time: its
 * kernels want the matrix of the output in another layout than the rows that are looked up. 0 for a
 * model whose embedding is not tied. */
uint64_t snug_engine_tied_repacked(const struct snug_engine *engine);
/* Bytes a config will need, stated without allocating (about 10 ms the first time, then cached).
 * Errors  SNUG_INFEASIBLE: the engine refuses the config, with its reason. */
snug_status snug_engine_estimate(struct snug_engine *engine, const struct snug_config *config,
                                 struct snug_bytes *out, struct snug_error *err) SNUG_CHECKED;
/* Run one trial. Returns SNUG_OK for every outcome of the trial; release out with
 * snug_measurement_clear. The memory limit is held three ways: a config stated to need more is
 * refused before it runs; the worker has RLIMIT_DATA at the limit plus slack, so that most
 * allocations fail cleanly; and the parent kills it when its anonymous memory passes the limit.
 * Errors  SNUG_INTERRUPTED when *stop was set; SNUG_IO when no worker can be started. */
snug_status snug_engine_run(struct snug_engine *engine, const struct snug_config *config,
                            const struct snug_effort *effort, struct snug_measurement *out,
                            struct snug_error *err) SNUG_CHECKED;

/* The next trial starts a new worker process. A process draws its addresses and pages once, and is
 * some per cent faster or slower for it as long as it lives: who compares draws again. */
void snug_engine_restart(struct snug_engine *engine);

/* Every knob row with its widest bounds, for option parsing and help; what a machine and a model
 * narrow them to is the engine's space. */
const struct snug_space *snug_engine_rows(void);

/* Recipes of libllama that weights can be quantised by, NULL at the end: "q4_0", "q4_k_m"; those
 * that need no importance matrix, and all of them. */
const char *const *snug_engine_weight_types(void);
const char *const *snug_engine_recipe_names(void);
/* Bytes of the file that a quantised copy of the model takes with these types (ggml_type, one per
 * tensor in the model's order; NULL: its own), header included, exactly. 0 when a type does not fit
 * its tensor's rows, or the model has no GGUF header. */
uint64_t snug_engine_file_bytes(const struct snug_model *model, const int *types);

/* What libllama's recipes would make of a model, by its own dry run in one worker: a header alone
 * (a shape-only file, a preset) will do. out_types [n_names][n_tensors], tensors in the model's
 * order; out_bytes [n_names]: of the whole file. Each may be NULL. Of several recipes one that
 * libllama refuses for this model has 0 bytes and types of -1. Cost: about 0.1 s, and some ms each.
 * Errors  SNUG_BAD_INPUT: a name is not known, or the model or the only recipe is refused
 *         (libllama's words are quoted) */
snug_status snug_engine_recipes(const struct snug_model *model, const char *const *names,
                                int n_names, bool has_imatrix, int *out_types, uint64_t *out_bytes,
                                struct snug_error *err) SNUG_CHECKED;
/* The same of one, for a file. */
snug_status snug_engine_recipe(const char *model_path, const char *name, bool has_imatrix,
                               int *out_types, uint64_t *out_bytes,
                               struct snug_error *err) SNUG_CHECKED;

struct snug_quantize_options {
    const char
        *model_path; /* GGUF with its data, f32, f16 or bf16; of a split one the first part */
    /* Either a recipe by name, or a type for every tensor of the model, by name in any order. */
    const char *recipe;
    const char *const *names;
    const int *types;
    int n_tensors;
    uint64_t file_bytes; /* what the plan says the file takes; 0: nothing. Another is refused */
    const char *imatrix_path; /* NULL: none */
    const char *out_path;
    bool allow_requantize; /* also of weights that are quantised already, and that change type */
    int n_threads;         /* 0: one per core */
    double deadline_s;     /* 0: none */
    const volatile int *stop;
    snug_engine_progress_fn progress; /* "12 of 291 tensors" */
    void *progress_data;
};
struct snug_quantize_result {
    uint64_t bytes;     /* of the file */
    char file_type[32]; /* general.file_type: the recipe, or the type of most weights: "Q4_K_M" */
    int n_tensors, n_changed;
};
/* Write a quantised copy: what is wrong is found before anything is written; then to OUT.partPID,
 * read back, compared with what was asked, and renamed. Metadata is the model's; only
 * general.file_type and general.quantization_version are set, as libllama does.
 * Errors  SNUG_BAD_INPUT: the model, the imatrix or a type does not fit, with tensor and remedy;
 *         SNUG_IO: no room on the disk; SNUG_CRASHED, SNUG_TIMEOUT, SNUG_INTERRUPTED. Nothing is
 *         left behind then. out may be NULL. */
snug_status snug_engine_quantize_plan(const struct snug_quantize_options *options,
                                      struct snug_quantize_result *out,
                                      struct snug_error *err) SNUG_CHECKED;

/* Ask a worker for ggml's devices (into machine) and, when speed is not NULL, for the measured
 * speeds of this machine (about 15 s of both). Nothing of ggml runs in this process. */
snug_status snug_engine_probe(struct snug_machine *machine, struct snug_machine_speed *speed,
                              const volatile int *stop, struct snug_error *err) SNUG_CHECKED;

/* A workload file in tokens of a model's vocabulary. */
struct snug_workload_lengths {
    int64_t n_longest, n_median; /* of its prompts, or of whole sessions; prefixes included */
    int64_t n_user, n_answer;    /* of all turns of all sessions; 0 for prompts */
    bool is_session;
};
/* Tokenise the file that workload->path names, in a worker that holds the vocabulary alone (some
 * 100 ms). Errors  SNUG_BAD_INPUT: the file or the model is not accepted, in the worker's words. */
snug_status snug_engine_workload_lengths(const char *model_path, const struct snug_model *model,
                                         const struct snug_workload *workload,
                                         struct snug_workload_lengths *out,
                                         struct snug_error *err) SNUG_CHECKED;

/* What `snug eval` asks of a worker. */
struct snug_eval_options {
    const char *model_path;
    const struct snug_model *model;
    const struct snug_space *space;   /* of an engine opened on this model, with its config */
    const struct snug_config *config; /* cache types, flash attention, n_batch, threads ... count */
    uint64_t memory_limit_bytes;      /* 0: none */
    const char *text_path;            /* at most SNUG_EVAL_TEXT_MAX bytes */
    int64_t n_ctx;                    /* tokens of a chunk, 4 at the least */
    int64_t n_chunks;                 /* exactly so many; 0: all of the text ... */
    int64_t n_chunks_max;             /* ... but not more than this; 0: no limit */
    const char *reference_read;       /* a reference file to measure against, or NULL */
    const char *reference_write;      /* make one of this run, or NULL */
    const char *folder;               /* for the temporary file of the floor */
    bool want_floor;                  /* also the determinism floor: three passes of 4 chunks */
    double deadline_s;
    const volatile int *stop;
    snug_engine_progress_fn progress;
    void *progress_data;
};
/* Perplexity and, with a reference, divergence of one configuration over a text.
 * Errors  SNUG_BAD_INPUT: text or reference do not fit, in one line with the remedy; SNUG_CRASHED,
 *         SNUG_INTERRUPTED; SNUG_IO: the reference cannot be written (nothing of it is left).
 * Cost    one prefill of the text, and 2 bytes per scored token and word of the vocabulary on disk
 * Source  llama.cpp, tools/perplexity: chunks, scoring and errors follow it, so that numbers agree
 */
snug_status snug_engine_eval(const struct snug_eval_options *options, struct snug_quality *out,
                             struct snug_error *err) SNUG_CHECKED;
/* Does this reference file exist, and is it of that text chunking? Header only. */
snug_status snug_engine_reference_check(const char *path, int64_t n_ctx, int64_t n_chunks,
                                        struct snug_error *err) SNUG_CHECKED;

/* References that are kept for later: at most 4 GiB, and at most a tenth of what their disk has
 * free. */
#define SNUG_REFERENCES_BYTES_MAX (UINT64_C(4) << 30)
#define SNUG_REFERENCES_DISK_FRAC 0.1
/* Tidy a folder of kept references (NAME.snugref): what a dead process left half written
 * (NAME.snugref.partPID) is removed, then the ones that were not used for longest, until all have
 * max_bytes together; 0 for the limits above. keep (may be NULL) is a path in it that stays. */
snug_status snug_engine_references_tidy(const char *folder, const char *keep, uint64_t max_bytes,
                                        struct snug_error *err) SNUG_CHECKED;

/* The choice of llama.cpp's own --fit for this model and context, asked of the packaged
 * llama-fit-params, in terms of this space; starts from the default.
 * Errors  SNUG_NOT_FOUND: no such program; SNUG_CRASHED: it failed (its last line is quoted). */
snug_status snug_engine_fit(const struct snug_space *space, const struct snug_workload *workload,
                            const char *model_path, struct snug_config *out_config,
                            struct snug_error *err) SNUG_CHECKED;
/* Absolute path of a packaged llama.cpp program: $SNUG_TOOLS, the build's own, next to an installed
 * snug, then PATH. */
snug_status snug_engine_tool(const char *name, char *out, size_t cap,
                             struct snug_error *err) SNUG_CHECKED;

/* The llama.cpp options that pin every tuned knob of a config, as argv words appended to
 * `out` (malloc'ed strings, NULL at the end): "--threads" "2" .... Workload adds context, parallel.
 */
snug_status snug_engine_flags(const struct snug_space *space, const struct snug_config *config,
                              const struct snug_workload *workload, char ***out_words,
                              struct snug_error *err) SNUG_CHECKED;
void snug_engine_flags_free(char **words);
/* "llama-server --model F --ctx-size ...": words quoted for a shell where needed. malloc'ed, or
 * NULL when memory is out. */
char *snug_engine_command_line(const char *tool, const char *model_path, char *const *words);

#ifdef __cplusplus
}
#endif
#endif
