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
/* How a program is started. Strings are kept by the command line that is made of them. */
struct run_words {
    const char *through; /* this program, which then ties it to itself; NULL: at once */
    const char *tool, *model_path;
    const char *cache_ram; /* MiB of earlier requests' prompts that the server keeps; NULL: its own
                              default */
};
/* argv of it: flags (of snug_engine_flags), then what the user adds behind --: later options win
 * there. One array to free, or NULL when memory is out. */
char **cli_run_words(const struct run_words *words, char *const *flags,
                     const struct cli_args *args);
/* Become the program argv[0], with the signals that it expects; returns only when that fails. */
int cli_run_exec(char **argv);
/* snug run --adapt */
int cli_run_adapt(const struct cli_args *args);

#endif
