/* What snug run shares with its adaptive half. */
#ifndef SNUG_CLI_RUN_H
#define SNUG_CLI_RUN_H

#include "cli/known.h"
#include "cli/task.h"

/* Model, store, the task that is known of it, and an engine for its space. */
snug_status cli_run_open(const struct cli_args *args, struct cli_task *task, struct known *known,
                         struct snug_error *err) SNUG_CHECKED;
/* A stored config in this space; false where it is not possible here any more. */
bool cli_run_config(const struct snug_space *space, const char *json, struct snug_config *out);
/* snug run --adapt */
int cli_run_adapt(const struct cli_args *args);

#endif
