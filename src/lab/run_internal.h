/* A run in progress: what its files share. */
#ifndef SNUG_LAB_RUN_INTERNAL_H
#define SNUG_LAB_RUN_INTERNAL_H

#include "lab/run.h"

/* One model file: a model as it is, or its weights in another type. */
struct snug__lab_file {
    int i_model;
    const char *weights;                /* NULL: as it is */
    bool is_ready, is_made, is_refused; /* is_made: by this run, so it is removed at the end */
    char reason[SNUG_REASON_MAX];       /* why refused */
    char path[4096];
    struct snug_model model;
    int64_t model_id; /* in the store */
};

struct snug__lab_run {
    const struct snug_lab_run_options *options;
    const struct snug_lab_plan *plan;
    struct snug_lab_run_result result;
    struct snug__lab_file *files; /* the models first, in the plan's order */
    int n_files;
    int64_t machine_id;
    bool *is_done; /* per row */
    bool is_whole; /* all rows, and what they cost in quality */
    /* the open engine */
    struct snug_engine *engine;
    int i_file, i_workload; /* what it is open for */
    int64_t task_id;
    double started_s;
    int n_run;
    const struct snug_lab_row *row; /* the one that runs, for progress inside it */
};

void snug__lab_tell(const struct snug__lab_run *run, enum snug_lab_event_kind kind,
                    const char *what);

/* Room for one entry per model and per (model, type) that the plan asks for. */
snug_status snug__lab_files_list(struct snug__lab_run *run, struct snug_error *err) SNUG_CHECKED;
/* Open the models that are files already; those to be made come with their first use. */
snug_status snug__lab_files_open(struct snug__lab_run *run, struct snug_error *err) SNUG_CHECKED;
/* Name those that are to be made: clear removes what an earlier process left of them, too. */
snug_status snug__lab_files_name(struct snug__lab_run *run, struct snug_error *err) SNUG_CHECKED;
/* Make the synthetic models. */
snug_status snug__lab_files_synth(struct snug__lab_run *run, struct snug_error *err) SNUG_CHECKED;
/* The file of a round on a model, made when needed. A type that libllama refuses is no error: the
 * file is refused then. */
snug_status snug__lab_files_get(struct snug__lab_run *run, int i_model, const char *weights,
                                int *out_i, struct snug_error *err) SNUG_CHECKED;
/* Leave the engine open for a file and a workload, and its task found. */
snug_status snug__lab_engine_open(struct snug__lab_run *run, int i_file, int i_workload,
                                  struct snug_error *err) SNUG_CHECKED;
/* The knobs of a round over the defaults of a space. */
snug_status snug__lab_config_make(const struct snug_space *space,
                                  const struct snug_lab_round *round, struct snug_config *out,
                                  struct snug_error *err) SNUG_CHECKED;
/* Those of one text, [i_round * n_models + i_model]. */
struct snug_quality *snug__lab_qualities(const struct snug_lab_run_result *result,
                                         const struct snug_lab_plan *plan, int i_text);
/* Measure the quality of every round, where the plan has texts or tasks; else it is not known. */
snug_status snug__lab_quality(struct snug__lab_run *run, struct snug_error *err) SNUG_CHECKED;
/* Remove what was made. */
void snug__lab_files_clear(struct snug__lab_run *run);
/* path, relative to the rounds file's folder, into out. */
snug_status snug__lab_resolve(const struct snug__lab_run *run, const char *path, char *out,
                              size_t cap, struct snug_error *err) SNUG_CHECKED;

#endif
