/* The calibrated law of this machine as what a tuner expects before it has measured. */
#ifndef SNUG_CLI_TUNE_PRIOR_H
#define SNUG_CLI_TUNE_PRIOR_H

#include "cli/task.h"
#include "snug/law.h"

struct cli_prior;

/* The law that is on disk for this machine and build; NULL where there is none, or where the first
 * tier is a device, whose share of a config the law of placements does not tell. Keeps task. */
struct cli_prior *cli_prior_open(const struct cli_task *task, enum snug_objective objective);
/* The same for a session, and say so. One that is resumed goes on with the prior it began with
 * (its source; "": none) or with none: what it was told before was asked for under that one. NULL:
 * a new session, which has none where others keep the machine busy: others_cpus is asked where
 * there is a law. */
struct cli_prior *cli_prior_choose(const struct cli_task *task, enum snug_objective objective,
                                   const char *begun_with, double (*others_cpus)(void));
/* CPUs that other processes keep busy, looked at for a second; 0 when that is not known. */
double cli_prior_others_cpus(void);
void cli_prior_close(struct cli_prior *prior);
/* "calibrated in 24 s on 2026-11-27" */
const char *cli_prior_source(const struct cli_prior *prior);
/* snug_prior_fn; data is the prior. */
double cli_prior_log_speed(const struct snug_config *config, void *data);

#endif
