/* The parts of tunebench_record: rows and lines (record_line.c), the part file and the table
 * (record_part.c), the order of trials and the command line (record.c). */
#ifndef TUNEBENCH_RECORD_H
#define TUNEBENCH_RECORD_H

#include "base/process.h"
#include "perf/tunebench/tunebench.h"
#include "snug/engine.h"
#include "snug/law.h"

enum {
    TB_RECORD_KNOBS_MAX = SNUG_KNOBS_MAX,
    TB_RECORD_CONFIGS_MAX = 4096,
    TB_RECORD_LAWS_MAX = 257
};

struct tb_record_arguments {
    const char *model, *table, *name, *beside, *predict;
    const char *knobs[TB_RECORD_KNOBS_MAX];
    int n_knobs, n_reps, n_blocks;
    int64_t n_prompt, n_gen, n_ctx;
    double minutes;
};

struct tb_recorder {
    const struct tb_record_arguments *arguments;
    struct snug_machine machine;
    struct snug_model model;
    struct snug_workload workload;
    struct snug_engine *engine;
    struct snug_process *beside; /* NULL: none */
    const struct snug_space *engine_space;
    struct snug_space space;        /* the rows that are recorded, at their levels */
    struct snug__lattice lattice;   /* of space */
    int engine_row[SNUG_KNOBS_MAX]; /* row of space -> row of the engine's */
    char part_path[1024];
    FILE *part;
    struct snug_buffer had;                   /* whole lines: of earlier runs, then of this one */
    bool (*is_done)[SNUG__TABLE_REPS_MAX];    /* [n_configs] */
    int n_configs, n_recorded;                /* n_recorded: of the repetitions asked for */
    double estimate_s;                        /* of the trial at hand: stating its bytes */
    struct snug_law laws[TB_RECORD_LAWS_MAX]; /* [n_threads], opened when needed */
};

/* One row of the table, "NAME=VALUE,VALUE": the engine's, narrowed to the listed values. */
snug_status tb_record_add_row(struct tb_recorder *r, const char *argument,
                              struct snug_error *err) SNUG_CHECKED;
/* The engine's config of a config of the table; rows that are not recorded at their default. */
void tb_record_to_engine(const struct tb_recorder *r, const struct snug_config *config,
                         struct snug_config *out);
/* The nearest config of the table; a name that is not recorded, or a switch that is recorded at one
 * of its values, has the table's default. */
void tb_record_from_engine(const struct tb_recorder *r, const struct snug_config *engine_config,
                           struct snug_config *out);
/* One trial as a line, malloc'ed; NULL with err. setup_s is of this trial: 0 where the model was
 * loaded already, which sealing fills in. */
char *tb_record_line(struct tb_recorder *r, const struct snug_config *config, int rep,
                     const struct snug_measurement *m, struct snug_error *err);

/* Take over what earlier runs left, and open the part file to append. */
snug_status tb_record_open_part(struct tb_recorder *r, struct snug_error *err) SNUG_CHECKED;
/* Append a line and have it on disk. */
snug_status tb_record_keep(struct tb_recorder *r, const char *line,
                           struct snug_error *err) SNUG_CHECKED;
/* Write the table from what there is. */
snug_status tb_record_seal(struct tb_recorder *r, struct snug_error *err) SNUG_CHECKED;

#endif
