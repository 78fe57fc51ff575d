/* The goal of snug tune: from its options, what it needs to be there, and how trials show it. */
#ifndef SNUG_CLI_TUNE_GOAL_H
#define SNUG_CLI_TUNE_GOAL_H

#include "cli/task.h"
#include "snug/tune_loop.h"

/* Quality prices of all cache types, read from the store once. */
struct cli_kld {
    const struct snug_space *space;
    int row_k, row_v;                                        /* -1: no such knob */
    double nats[SNUG_KNOB_VALUES_MAX][SNUG_KNOB_VALUES_MAX]; /* [k][v]; NAN: not measured */
};

/* --objective and the limits. Errors  SNUG_BAD_INPUT: one of them makes no sense without another
 * option; SNUG_UNSUPPORTED: energy, and no meter. */
snug_status cli_goal_open(const struct cli_args *args, struct snug_goal *out,
                          struct snug_error *err) SNUG_CHECKED;
/* What a resumed session was begun with, where args, which made *goal, say nothing else. Errors: as
 * above. */
snug_status cli_goal_resume(const struct cli_args *args, const struct snug_goal *stored,
                            struct snug_goal *goal, struct snug_error *err) SNUG_CHECKED;
/* Does the workload have what the goal looks at? */
snug_status cli_goal_check_workload(const struct snug_goal *goal, const struct snug_workload *w,
                                    struct snug_error *err) SNUG_CHECKED;
/* Errors  SNUG_INFEASIBLE: the goal looks at KLD, and the store has none of the config `base`, or
 * of no other cache types; names the command that measures it. */
snug_status cli_kld_open(const struct cli_task *task, const struct snug_goal *goal,
                         const struct snug_config *base, struct cli_kld *out,
                         struct snug_error *err) SNUG_CHECKED;
/* snug_kld_fn; data is the struct. */
double cli_kld_of(const struct snug_config *config, void *data);

/* "60.0 tokens/s", "1.2 s per request", "0.41 J per token"; "-" for none. Returns out. */
const char *cli_speed_text(enum snug_objective objective, double speed, char out[64]);
/* All axes of a trial, as a line of progress has them: "decode 60.0 t/s, prefill 410 t/s"; and what
 * limit it breaks. Returns out. */
const char *cli_axes_text(const struct snug_goal *goal, const struct snug_workload *w,
                          const struct snug_tune_trial *trial, char *out, size_t cap);
/* Key "axes" of a trial, for a goal that is not plain. */
struct snug_json_writer;
void cli_trial_axes_json(struct snug_json_writer *w, const struct snug_goal *goal,
                         const double value[SNUG_AXES_MAX]);

#endif
