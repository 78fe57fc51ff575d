/* Past tasks of the history as what a tuner learns from. */
#ifndef SNUG_CLI_TUNE_PAST_H
#define SNUG_CLI_TUNE_PAST_H

#include "cli/task.h"
#include "cli/tune_prior.h"
#include "snug/tune_loop.h"

struct cli_past;

/* Tasks of the history that are like this one, said in a line; NULL where there is none. A session
 * that is resumed goes on with what it began with (its record; "": none) or with none, as with its
 * prior; begun_with NULL: a new session. has_prior: what the law of this machine expects of the
 * past trials that were run here is found too. Keeps task. */
struct cli_past *cli_past_choose(const struct cli_args *args, const struct cli_task *task,
                                 enum snug_objective objective, bool has_prior,
                                 const char *begun_with);
void cli_past_close(struct cli_past *past);
/* Set pasts, n_pasts and past_source; all borrowed. past may be NULL. */
void cli_past_give(struct cli_past *past, struct snug_tune_options *options);

#endif
