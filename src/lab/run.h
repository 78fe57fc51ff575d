/* Running the rows of a plan, in its order, into the store.
 *
 * A row is one trial of two timed blocks per phase; it is stored, with its key, before the next one
 * begins. So a run that was killed goes on where it stopped: rows that are stored are not measured
 * again. Models that the plan asks for (synthetic ones, quantised ones) are made in the output
 * folder on the way and removed at the end, however it comes. */
#ifndef SNUG_LAB_RUN_H
#define SNUG_LAB_RUN_H

#include "lab/rounds.h"
#include "lab/task_run.h"
#include "snug/engine.h"
#include "snug/store.h"

enum snug_lab_event_kind {
    SNUG_LAB_MAKE,  /* a model file is being made: `what` */
    SNUG_LAB_BEGIN, /* of a row */
    SNUG_LAB_PHASE, /* inside one: `what` */
    SNUG_LAB_END    /* its measurement */
};

struct snug_lab_event {
    enum snug_lab_event_kind kind;
    const struct snug_lab_plan *plan;
    const struct snug_lab_row *row; /* NULL with MAKE */
    const char *what;
    const struct snug_measurement *measurement; /* END only */
    const struct snug_workload *workload;       /* END only */
    int n_done, n_rows;                         /* rows in the store */
    double remaining_s;                         /* guess; NAN: not known yet */
};
typedef void (*snug_lab_event_fn)(const struct snug_lab_event *event, void *data);

struct snug_lab_run_options {
    const struct snug_lab_plan *plan;
    const char *file_path; /* of the rounds file: what its paths are relative to */
    const char *output;    /* folder; made when it is missing */
    struct snug_store *store;
    const struct snug_machine *machine;
    const char *machine_json; /* for the store */
    uint64_t memory_limit_bytes;
    double noise_frac;
    bool is_resumed;
    const volatile int *stop;
    snug_lab_event_fn on_event;
    void *event_data;
};

/* A model as it was measured. */
struct snug_lab_model_facts {
    char path[4096];
    char hash[65], arch[SNUG_MODEL_TEXT_MAX], file_type[32];
    uint64_t bytes_file, n_params;
};

struct snug_lab_run_result {
    int64_t lab_id;                      /* in the store */
    char build[64];                      /* of the engine */
    struct snug_lab_model_facts *models; /* one per model of the plan */
    struct snug_workload *workloads;     /* [i_model * n_workloads + i_workload] */
    /* Figures NAN: not measured. Of each text, and accuracies of each task, in turn:
     * [i_round * n_models + i_model]; n_scored 0: not measured. */
    struct snug_quality *qualities;
    struct snug_task_result *tasks;
    int n_done, n_kept, n_failed; /* rows in the store; of earlier runs; not ok, of this run */
    bool is_stopped; /* by the user, with rows or their quality missing: can be resumed */
};
void snug_lab_run_result_clear(struct snug_lab_run_result *result);

/* Run what is missing. Ends OK also when the user stopped it, and then it can be resumed.
 * Errors  SNUG_NOT_FOUND: nothing to resume, or a file of the plan is missing; SNUG_BAD_INPUT: a
 *         model or workload is not accepted, or the run to resume is of another machine or other
 *         models; SNUG_IO. Rows so far are in the store. */
snug_status snug_lab_run(const struct snug_lab_run_options *options,
                         struct snug_lab_run_result *out, struct snug_error *err) SNUG_CHECKED;

#endif
