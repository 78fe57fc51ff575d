/* The parts of snug eval that ask a model questions: multiple choice, and answers of its own. */
#ifndef SNUG_CLI_EVAL_TASKS_H
#define SNUG_CLI_EVAL_TASKS_H

#include "base/json.h"
#include "cli/task.h"

/* Score the task file args->task and append what came of it to w as member "task", and to out in
 * words; keep it in the store. */
snug_status cli_eval_task(const struct cli_args *args, const struct cli_task *task,
                          const struct snug_config *config, struct snug_json_writer *w,
                          struct snug_buffer *out, struct snug_error *err) SNUG_CHECKED;
/* Generate an answer to each line of args->answers, {"prompt": TEXT, "reference": TEXT,
 * "required": [FIELD ...], "tools": [{"name", "arguments"} ...]}, all but the prompt optional, and
 * append the means of the measures and each answer as member "answers". */
snug_status cli_eval_answers(const struct cli_args *args, const struct cli_task *task,
                             const struct snug_config *config, struct snug_json_writer *w,
                             struct snug_buffer *out, struct snug_error *err) SNUG_CHECKED;

#endif
