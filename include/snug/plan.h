/* snug/plan.h: one joint plan, without running: a type per tensor, cache types, context, placement.
 *
 *   snug_model_open -> snug_law_open -> snug_sensitivity_* -> snug_plan_solve -> snug_plan_write
 *
 * The loss of a plan is a KL divergence against the source weights, in nats per token: the sum of
 * the losses of its tensors (additive) and of its cache types. The solver is exact for that sum. */
#ifndef SNUG_PLAN_H
#define SNUG_PLAN_H

#include "snug/engine.h"
#include "snug/law.h"
#include "snug/model.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SNUG_PLAN_TYPES_MAX 32
#define SNUG_PLAN_DEPTHS_MAX 8
#define SNUG_PLAN_NOTES_MAX 16
#define SNUG_PLAN_NOTE_MAX 256

/* ---- what a type costs in quality ---- */

#define SNUG_SENSITIVITY_METHODS(X)                                                                \
    X(POSITION, "position", "a guess by role and position; the last resort")                       \
    X(WEIGHTS, "weights", "reconstruction error of the weights, no text needed")                   \
    X(IMATRIX, "imatrix", "reconstruction error weighted by activation statistics")                \
    X(KLD, "kld", "measured: KL divergence when one tensor group at a time is quantised")
enum snug_sensitivity_method {
#define X(id, name, text) SNUG_SENSITIVITY_##id,
    SNUG_SENSITIVITY_METHODS(X)
#undef X
        SNUG_N_SENSITIVITY_METHODS
};

struct snug_loss {
    float value, se; /* nats per token; value NAN: this tensor cannot have this type */
};

struct snug_sensitivity {
    enum snug_sensitivity_method method;
    char model_hash[65], text_hash[65], build[64];
    int n_tensors;                  /* of the model, in its order */
    int types[SNUG_PLAN_TYPES_MAX]; /* ggml_type, fewest bits first */
    int n_types;
    struct snug_loss *loss; /* [n_tensors][n_types], malloc'ed */
    /* A plan's true loss lies between loss * lo and loss * hi in 90 of 100. */
    double lo_frac, hi_frac;
};

struct snug_store;

/* What the methods that look at weights need. */
struct snug_sensitivity_options {
    const struct snug_model *model; /* a file with f32, f16 or bf16 weights */
    const char *imatrix_path;       /* activation statistics, or NULL */
    const int *types;               /* ggml_type each; NULL: every one that libllama makes */
    int n_types;
    const volatile int *stop; /* may be NULL */
    snug_engine_progress_fn progress;
    void *progress_data;
};
/* Loss by the relative squared error of sampled weights (weighted by activations, with an imatrix),
 * times what such an error costs by role and depth; see src/plan/sensitivity_loss.c for the rule
 * and what it was fitted to.
 * Errors  SNUG_BAD_INPUT: no weights, quantised ones, an imatrix of another model
 * Cost    about a minute on two cores for 8 B parameters */
snug_status snug_sensitivity_weights(const struct snug_sensitivity_options *options,
                                     struct snug_sensitivity *out,
                                     struct snug_error *err) SNUG_CHECKED;

struct snug_sensitivity_kld_options {
    struct snug_sensitivity_options base; /* its types: those to measure, NULL for two */
    const struct snug_space *space;       /* of an engine opened on this model */
    const struct snug_config *config;
    const char *build; /* of that engine */
    const char *text_path;
    int64_t n_ctx, n_chunks;  /* tokens of a chunk, and how many */
    bool is_per_tensor;       /* else role by band of layers */
    struct snug_store *store; /* what is in it is not measured again; NULL: nothing is kept */
    const char *folder;       /* for temporary files of the model's size */
};
/* Measured: a group of tensors at a time is quantised and the divergence from the model is taken.
 * Types that were not measured follow by the ratio of their reconstruction errors, and so do the
 * shares of the tensors of a group.
 * Errors  SNUG_INTERRUPTED: what was measured is in the store; SNUG_BAD_INPUT as above, and for a
 *         text that is too short
 * Cost    one quantisation and one evaluation of the text for each group and type */
snug_status snug_sensitivity_kld(const struct snug_sensitivity_kld_options *options,
                                 struct snug_sensitivity *out, struct snug_error *err) SNUG_CHECKED;

/* Last resort, for models whose weights are not here: per type the error of quantising Gaussian
 * weights, times a guess by role and position. */
snug_status snug_sensitivity_position(const struct snug_model *model, struct snug_sensitivity *out,
                                      struct snug_error *err) SNUG_CHECKED;
void snug_sensitivity_clear(struct snug_sensitivity *s);
const char *snug_sensitivity_method_name(enum snug_sensitivity_method method);
/* sens.json, version 1: all of it, tensors by name. */
snug_status snug_sensitivity_write(const struct snug_sensitivity *s, const struct snug_model *model,
                                   const char *path, struct snug_error *err) SNUG_CHECKED;
/* As text; malloc'ed, NULL when memory is out. */
char *snug_sensitivity_to_json(const struct snug_sensitivity *s, const struct snug_model *model);
/* Errors  SNUG_BAD_INPUT: of another model or version, or names the field and what is expected. */
snug_status snug_sensitivity_read(const char *path, const struct snug_model *model,
                                  struct snug_sensitivity *out,
                                  struct snug_error *err) SNUG_CHECKED;

/* ---- a plan ---- */

enum snug_plan_grade {
    SNUG_PLAN_USABLE,
    SNUG_PLAN_SLOW,
    SNUG_PLAN_IMPRACTICAL,
    SNUG_PLAN_INFEASIBLE
};
const char *snug_plan_grade_name(enum snug_plan_grade grade);

enum snug_plan_goal { SNUG_PLAN_CHAT, SNUG_PLAN_BATCH, SNUG_PLAN_LONG };

struct snug_plan_tier {
    char name[64];
    uint64_t bytes_usable;                     /* limit of the tier */
    uint64_t weights, cache, compute, reserve; /* planned bytes */
    int64_t n_layer;
};

struct snug_plan {
    char model_name[SNUG_MODEL_TEXT_MAX], model_hash[65], arch[SNUG_MODEL_TEXT_MAX];
    char machine[SNUG_NAME_MAX], law_source[SNUG_SOURCE_MAX];
    enum snug_plan_grade grade;
    char reason[SNUG_PLAN_NOTE_MAX]; /* of the grade, in words */
    /* the choice */
    int n_tensors;
    const char **names; /* of tensors, in the model's order; one block with the names, malloc'ed */
    int *types;         /* ggml_type of each, malloc'ed */
    int type_k, type_v; /* ggml_type of the cache */
    bool flash_attn;
    int64_t n_ctx; /* of all sequences together */
    int64_t n_parallel, n_gpu_layers, n_batch, n_ubatch, n_threads;
    bool use_mmap;
    /* predictions */
    uint64_t file_bytes; /* of the GGUF that snug quantize makes */
    uint64_t n_params;
    struct snug_plan_tier tiers[SNUG_TIERS_MAX];
    int n_tiers;
    uint64_t total_bytes; /* peak of memory, all tiers but disk */
    /* The process's own resident set at its peak: what the host holds. Of mapped weights the kernel
     * may drop all, so that the interval is wide. */
    struct snug_prediction host_bytes;
    int64_t depths[SNUG_PLAN_DEPTHS_MAX];
    struct snug_prediction decode_tps[SNUG_PLAN_DEPTHS_MAX]; /* at each depth */
    int n_depths;
    int64_t n_prompt; /* that prefill and TTFT hold for */
    struct snug_prediction prefill_tps, ttft_s;
    struct snug_prediction loss;         /* KL divergence, nats per token */
    enum snug_sensitivity_method method; /* of the loss */
    double gap_frac; /* loss is within this share of the least possible; 0: proved least */
    char notes[SNUG_PLAN_NOTES_MAX][SNUG_PLAN_NOTE_MAX]; /* what gave way, what is assumed */
    int n_notes;
};

void snug_plan_clear(struct snug_plan *plan);
/* Decode speed at half the context of a sequence, as predicted: what grades and targets go by. */
double snug_plan_mid_tps(const struct snug_plan *plan);

/* ---- solving ---- */

/* What a context of this shape takes beside the weights. */
struct snug_plan_shape {
    int64_t n_ctx, n_parallel, n_batch, n_ubatch, n_gpu_layers;
    int type_k, type_v;
    bool flash_attn;
    bool use_mmap; /* mapped although it fits; what does not fit is mapped anyway */
};
struct snug_plan_bytes {
    uint64_t cache, compute; /* all tiers together */
    uint64_t base;           /* of the process with its vocabulary and without a model */
    uint64_t tied_repacked;  /* snug_engine_tied_repacked */
};
/* Errors  SNUG_INFEASIBLE: the engine refuses the shape. The answer must not depend on anything but
 * the shape; it is asked once for each. */
typedef snug_status (*snug_plan_bytes_fn)(const struct snug_plan_shape *shape,
                                          struct snug_plan_bytes *out, void *data,
                                          struct snug_error *err);

struct snug_plan_request {
    const struct snug_model *model;
    const struct snug_law *law; /* its tiers' bytes are the budget */
    const struct snug_sensitivity *sensitivity;
    snug_plan_bytes_fn bytes; /* NULL: snug_plan_bytes_formula */
    void *bytes_data;
    enum snug_plan_goal goal;
    int64_t n_ctx;        /* of one sequence; 0: 8192, or what the model was trained with if less;
                             goal long: all that it was trained with */
    int64_t n_parallel;   /* 0: 1, goal batch: 8 */
    int64_t n_prompt;     /* for prefill and TTFT; 0: 512, goal long: half of n_ctx */
    double target_tps;    /* decode at half the context; 0: none */
    double target_ttft_s; /* 0: none */
    double loss_max;      /* quality floor: no plan loses more; 0: none */
    int type_floor;       /* quality floor: no tensor gets fewer bits per weight; -1: none */
    uint64_t disk_bytes;  /* the file is not larger; 0: any size */
};
/* Zero with type_floor -1. */
void snug_plan_request_init(struct snug_plan_request *out);

/* The plan of least loss among those that fit and meet the targets; where no target is given:
 * usable (SNUG_PLAN_USABLE_TPS) if that is to be had for a loss below SNUG_PLAN_LOSS_FAIR, else
 * slow, else the least loss. Below SNUG_PLAN_LOSS_NONE plans count as equal, and the fastest is
 * taken. The grade is INFEASIBLE, with the reason and what would do, when nothing fits or no plan
 * meets the targets (it is then the fastest, or of least loss); that is no error.
 *
 * Errors  SNUG_BAD_INPUT: model, law and sensitivity do not belong together.
 * Cost    milliseconds; with many placements some 100 ms. Same request, same plan. */
snug_status snug_plan_solve(const struct snug_plan_request *request, struct snug_plan *out,
                            struct snug_error *err) SNUG_CHECKED;
#define SNUG_PLAN_USABLE_TPS 6.0  /* faster than people read */
#define SNUG_PLAN_SLOW_TPS 1.5    /* an answer of a paragraph takes a minute */
#define SNUG_PLAN_LOSS_NONE 0.001 /* nats per token */
#define SNUG_PLAN_LOSS_FAIR 0.1

/* What given types (per tensor of the model, NULL: its own) and a given shape come to: bytes,
 * speed, loss, grade. Types that the sensitivity does not know have no loss: NAN. */
snug_status snug_plan_evaluate(const struct snug_plan_request *request, const int *types,
                               const struct snug_plan_shape *shape, struct snug_plan *out,
                               struct snug_error *err) SNUG_CHECKED;

/* The same at the placement (n_gpu_layers) that fits and makes these types fastest; where none
 * fits, at the one of most layers. Cost: n_layer + 2 of the above where there is a device. */
snug_status snug_plan_place(const struct snug_plan_request *request, const int *types,
                            const struct snug_plan_shape *like, struct snug_plan *out,
                            struct snug_error *err) SNUG_CHECKED;

struct snug_plan_shape snug_plan_shape_of(const struct snug_plan *plan);
/* The plan as a config of an engine's space; knobs that the space has not are left out.
 * Errors  SNUG_BAD_INPUT: the engine has no such cache type. */
snug_status snug_plan_config(const struct snug_plan *plan, const struct snug_space *space,
                             struct snug_config *out, struct snug_error *err) SNUG_CHECKED;

/* ---- the top few, measured ---- */

#define SNUG_PLAN_RERANK_MAX 12
struct snug_plan_rerank_options {
    const struct snug_plan_request
        *request;                         /* what the plan was solved for; its model has weights */
    const struct snug_space *space;       /* of an engine opened on the model */
    const char *text_path, *imatrix_path; /* the latter may be NULL */
    int64_t n_ctx, n_chunks;              /* tokens of a chunk, and how many at most */
    uint64_t bytes_max; /* no candidate's file is larger: what the plan was allowed */
    const char *folder; /* for a temporary file of the plan's size, and a reference */
    const volatile int *stop;
    snug_engine_progress_fn progress;
    void *progress_data;
};
struct snug_plan_rerank_row {
    char name[48]; /* "the plan", "by position", "q4_k_m" */
    uint64_t file_bytes;
    struct snug_estimate kld;
};
/* Make and measure the plan, what the search gives with bent losses, and the recipes that fit, and
 * put the best in the plan's place: additive losses can mis-rank what lies close together.
 *
 * Out     out_rows[SNUG_PLAN_RERANK_MAX], the plan first
 * Errors  as snug_engine_quantize_plan and snug_engine_eval; the plan is untouched then
 * Cost    some ten quantisations and evaluations of the text */
snug_status snug_plan_rerank(const struct snug_plan_rerank_options *options, struct snug_plan *plan,
                             struct snug_plan_rerank_row *out_rows, int *out_n,
                             struct snug_error *err) SNUG_CHECKED;

/* The choice of the AHMP planner's rule as published ("AHMP-like"), to stand beside a plan: types
 * of the whole model and the shape, without placement (set n_gpu_layers before evaluating).
 * budget_frac: of the memory it may fill; a target of speed makes it fill less, step by step.
 * types_mid and types_low: what Q4_K_M and Q4_0 make of the model (snug_engine_recipe).
 *
 * Errors  SNUG_INFEASIBLE: the rule finds nothing that fits. */
snug_status snug_plan_rule_ahmp(const struct snug_plan_request *request, const int *types_mid,
                                const int *types_low, double budget_frac, int *out_types,
                                struct snug_plan_shape *out_shape,
                                struct snug_error *err) SNUG_CHECKED;

/* The menu: plans that no other beats in both loss and decode speed, fastest first; at most n_max,
 * malloc'ed. Cost: n_max times that of one plan. */
snug_status snug_plan_menu(const struct snug_plan_request *request, int n_max,
                           struct snug_plan **out_plans, int *out_n,
                           struct snug_error *err) SNUG_CHECKED;

/* Cache and compute bytes by formulas: all layers of full attention, or a window on every layer
 * that has one. Some 10 % from what libllama states, and without a process. */
snug_status snug_plan_bytes_formula(const struct snug_plan_shape *shape,
                                    struct snug_plan_bytes *out, void *model,
                                    struct snug_error *err) SNUG_CHECKED;
/* Cache and compute bytes as libllama states them for a model that need not have its weights here
 * (a no-alloc load of its header, about 10 ms a shape). Pass snug_plan_oracle_bytes and the oracle
 * as bytes and bytes_data of a request. One oracle serves one thread. */
struct snug_plan_oracle;
/* gguf_path: a file of the model, or of its header alone (snug_model_shape_file); both pointers are
 * kept. stop may be NULL. */
snug_status snug_plan_oracle_open(const struct snug_model *model, const char *gguf_path,
                                  const struct snug_machine *machine, const volatile int *stop,
                                  struct snug_plan_oracle **out,
                                  struct snug_error *err) SNUG_CHECKED;
snug_status snug_plan_oracle_bytes(const struct snug_plan_shape *shape, struct snug_plan_bytes *out,
                                   void *oracle, struct snug_error *err);
/* Layers that llama.cpp's own --fit would place on the devices of this machine. n_ctx: of all
 * sequences together. */
snug_status snug_plan_oracle_fit(struct snug_plan_oracle *oracle, int64_t n_ctx, int64_t n_parallel,
                                 int64_t *out_n_gpu_layers, struct snug_error *err) SNUG_CHECKED;
void snug_plan_oracle_close(struct snug_plan_oracle *oracle);
/* What K and V of these types lose, in nats per token (measured on small models; see
 * src/plan/cache.c). */
double snug_plan_cache_loss(int type_k, int type_v);
void snug_plan_note(struct snug_plan *plan, const char *format, ...) SNUG_PRINTF(2, 3);

/* plan.json, version 1: everything above. */
snug_status snug_plan_write(const struct snug_plan *plan, const char *path,
                            struct snug_error *err) SNUG_CHECKED;
/* Errors  SNUG_BAD_INPUT: names the field and what is expected; also for another version. */
snug_status snug_plan_read(const char *path, struct snug_plan *out,
                           struct snug_error *err) SNUG_CHECKED;
/* As text; malloc'ed, NULL when memory is out. */
char *snug_plan_to_json(const struct snug_plan *plan);

#ifdef __cplusplus
}
#endif
#endif
