/* --require and --strict: what a run must meet, said first, and the exit status that follows. */
#ifndef SNUG_CLI_GATE_H
#define SNUG_CLI_GATE_H

#include "base/json.h"
#include "cli/cli.h"
#include "trial/threshold.h"

struct cli_gate {
    struct snug_threshold thresholds[SNUG_THRESHOLDS_MAX];
    double worst[SNUG_THRESHOLDS_MAX]; /* figure furthest from being met; NAN: not measured */
    bool is_seen[SNUG_THRESHOLDS_MAX];
    int n;
    bool is_strict, is_invalid;
};

/* Parse before anything is measured. */
snug_status cli_gate_open(const struct cli_args *args, struct cli_gate *gate,
                          struct snug_error *err) SNUG_CHECKED;
/* Take one trial; of several the worst counts. kld: of its quality, NAN when not measured. */
void cli_gate_trial(struct cli_gate *gate, const struct snug_measurement *m,
                    const struct snug_workload *workload, double kld);
/* Take one figure of a comparison. */
void cli_gate_figure(struct cli_gate *gate, enum snug_threshold_metric metric, double figure);
void cli_gate_verdict(struct cli_gate *gate, enum snug_verdict verdict);
/* A line per threshold with a tick or a cross, on stderr; the exit status that code becomes:
 * failures stay what they are, an unmet threshold is 99, an INVALID under --strict 1. */
int cli_gate_close(const struct cli_gate *gate, int code);
void cli_gate_json(const struct cli_gate *gate, struct snug_json_writer *w, const char *key);

#endif
