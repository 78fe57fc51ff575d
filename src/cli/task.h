/* What the measuring commands open: machine, model, engine, store, and the task they make. */
#ifndef SNUG_CLI_TASK_H
#define SNUG_CLI_TASK_H

#include "cli/cli.h"
#include "report/table.h"
#include "snug/engine.h"
#include "snug/machine.h"
#include "snug/model.h"
#include "snug/store.h"

struct cli_task {
    struct snug_machine machine;
    struct snug_model model;
    struct snug_workload workload;
    struct snug_engine *engine;
    struct snug_store *store;
    int64_t machine_id, model_id, id; /* in the store */
    uint64_t memory_limit_bytes;      /* given, or what is free now less a reserve */
};

struct cli_task_defaults {
    int64_t n_prompt, n_gen;
    int64_t n_ctx; /* 0: what the test needs */
};

/* What tune, pick and run assume when nothing is said. */
extern const struct cli_task_defaults cli_tune_defaults;

/* Kept free for everything else when the user names no limit: 1/16 of what is free, 256 MiB to
 * 2 GiB. */
uint64_t cli_reserve_bytes(uint64_t available_bytes);
/* What may be used: the limit that was given, else what is free now less a reserve; 0: none. */
uint64_t cli_memory_limit(const struct cli_args *args, const struct snug_machine *machine);
/* Model and machine; a preset is refused with the way to make a file of it. */
snug_status cli_task_open_model(const struct cli_args *args, struct cli_task *task,
                                struct snug_error *err) SNUG_CHECKED;
/* Fails when there would be nothing to time for the objective (objective -1: any). */
snug_status cli_task_workload(const struct cli_args *args, const struct cli_task_defaults *defaults,
                              int objective, struct cli_task *task,
                              struct snug_error *err) SNUG_CHECKED;
/* The engine with its worker; progress may be NULL. */
snug_status cli_task_open_engine(const struct cli_args *args, struct cli_task *task,
                                 snug_engine_progress_fn progress, void *progress_data,
                                 struct snug_error *err) SNUG_CHECKED;
/* The store, and this task's rows in it. */
snug_status cli_task_open_store(const struct cli_args *args, struct cli_task *task,
                                struct snug_error *err) SNUG_CHECKED;
void cli_task_close(struct cli_task *task);

/* The noise floor of this machine from the history, 0 when it was never measured. */
double cli_noise_frac(const struct cli_args *args, const struct snug_machine *machine);
/* Quality price of a config's weights and cache types in words: "KLD 0.0123 +- 0.0004", or "not
 * measured". Returns out; *out_kld (may be NULL): NAN when there is none. */
const char *cli_task_quality(const struct cli_task *task, const struct snug_config *config,
                             char *out, size_t cap, double *out_kld);

/* Knobs given by hand into config; a comma list is refused. */
snug_status cli_task_config(const struct cli_args *args, const struct snug_space *space,
                            struct snug_config *config, struct snug_error *err) SNUG_CHECKED;

/* A knob's text as the user may set it: batch sizes beyond what is worth tuning are allowed. */
snug_status cli_parse_knob(const struct snug_knob *knob, const char *text, int64_t *out,
                           struct snug_error *err) SNUG_CHECKED;
/* llama.cpp's rule: --threads alone sets both counts. */
void cli_follow_threads(const struct cli_args *args, const struct snug_space *space,
                        struct snug_config *config);

char *cli_machine_json(const struct snug_machine *machine);
char *cli_model_json(const struct snug_model *model);
/* model.gguf of /a/b/model.gguf */
const char *cli_base_name(const char *path);
/* --format, else --json, else Markdown. */
enum snug_table_format cli_table_format(const struct cli_args *args);
/* A tuning's result with its trials; malloc'ed or NULL. */
struct snug_tune_result;
struct snug_goal;
char *cli_tune_json(const struct cli_task *task, const struct snug_tune_result *result,
                    const struct snug_goal *goal);

#endif
