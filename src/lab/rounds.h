/* Rounds: what `snug lab FILE.yaml` measures, read, checked and expanded into a list of rows.
 *
 * Same file, same plan, on any machine: expansion knows nothing of the machine, and a row's key is
 * the SHA-256 of what it asks for. */
#ifndef SNUG_LAB_ROUNDS_H
#define SNUG_LAB_ROUNDS_H

#include "base/arena.h"
#include "base/buffer.h"
#include "snug/base.h"

/* Caps, each tested at cap and cap + 1. */
#define SNUG_LAB_FILE_MAX (1u << 20) /* bytes of a rounds file */
#define SNUG_LAB_ROUNDS_MAX 256      /* after grids are expanded; the baseline not counted */
#define SNUG_LAB_MODELS_MAX 32
#define SNUG_LAB_WORKLOADS_MAX 32
#define SNUG_LAB_ROWS_MAX 20000
#define SNUG_LAB_LIST_MAX 64 /* values of one knob, thresholds, texts, tasks */

struct snug_lab_knob {
    const char *name;  /* a row of the engine's table */
    const char *value; /* in the row's own notation */
};

struct snug_lab_round {
    const char *name;            /* unique; "baseline" for round 0 */
    const char *group;           /* "caching", ...; "" for none */
    struct snug_lab_knob *knobs; /* in the table's order, those of the baseline included */
    int n_knobs;
    const char *weights; /* quantise the model to this type first: "q4_0", "q4_k_m"; NULL: as is */
};

struct snug_lab_model {
    const char *name;  /* unique */
    const char *path;  /* as in the file; relative to the rounds file's folder; NULL for synth */
    const char *synth; /* preset to make when path is NULL: "smollm2-135m" */
    const char *synth_type;
    int64_t synth_layers; /* 0: all */
};

struct snug_lab_workload {
    const char *name;                                    /* unique */
    int64_t n_prompt, n_gen, n_depth, n_parallel, n_ctx; /* n_ctx 0: what the lengths need */
    const char *file; /* workload file, relative as above; NULL: random tokens */
};

/* "improved": better on one metric beyond its interval, worse on none beyond the tolerance. */
struct snug_lab_improved {
    const char *metrics[8]; /* "prefill_tps", "decode_tps", "request_s", "ttft_s", "bytes", "kld" */
    int n_metrics;
    double tolerance_frac; /* default 0.05 */
};

/* One measurement to make. Rows are in the order in which they run. */
struct snug_lab_row {
    char key[65];
    int i_round, i_model, i_workload, repetition, block; /* round 0 is the baseline */
};

struct snug_lab_plan {
    struct snug_arena arena; /* holds everything below */
    const char *title;
    char hash[65]; /* of the plan: same file content (comments aside), same hash */
    uint64_t seed;
    int n_repetitions; /* default 6: fewer pairs carry no 95 % interval */
    double deadline_s; /* per row; default 600 */
    struct snug_lab_model *models;
    int n_models;
    struct snug_lab_workload *workloads;
    int n_workloads;
    struct snug_lab_round *rounds; /* rounds[0]: the baseline */
    int n_rounds;
    const char **texts, **tasks; /* files for quality, relative as above */
    int n_texts, n_tasks;
    const char *reference; /* name of the model that is the quality reference; NULL: none */
    const char **require;  /* thresholds, "tg>=20" */
    int n_require;
    struct snug_lab_improved improved;
    struct snug_lab_row *rows;
    int n_rows;
};

/* Read, check and expand. `name` begins the error text, with field, line and column.
 * Within each repetition every (model, workload) is a block: baseline and rounds in an order drawn
 * from the seed, the baseline once more for each 8 rounds, so drift hits all alike.
 * Errors  SNUG_BAD_INPUT; the plan is untouched. */
snug_status snug_lab_plan_parse(const char *name, const char *text, size_t n,
                                struct snug_lab_plan *out, struct snug_error *err) SNUG_CHECKED;
snug_status snug_lab_plan_read(const char *path, struct snug_lab_plan *out,
                               struct snug_error *err) SNUG_CHECKED;
void snug_lab_plan_clear(struct snug_lab_plan *plan);
/* The plan as text for --dry-run: one line per row with its key, or JSON. */
void snug_lab_plan_write(const struct snug_lab_plan *plan, bool is_json, struct snug_buffer *out);

#endif
