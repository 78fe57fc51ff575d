/* The parts of snug eval that ask a model questions: multiple choice, and answers of its own. */
#ifndef SNUG_CLI_EVAL_TASKS_H
#define SNUG_CLI_EVAL_TASKS_H

#include "base/json.h"
#include "cli/task.h"
#include "snug/score.h"

/* A scorer of the task's model; options must live as long as it does. */
snug_status cli_eval_scorer_open(const struct cli_task *task, struct snug_engine_options *options,
                                 struct snug_scorer **out, struct snug_error *err) SNUG_CHECKED;
/* Score the task file args->task and append what came of it to w as member "task", and to out in
 * words; keep it in the store. Stopped by the user, it appends what was scored until then, keeps
 * nothing, and sets *out_is_interrupted. */
snug_status cli_eval_task(const struct cli_args *args, const struct cli_task *task,
                          const struct snug_config *config, struct snug_json_writer *w,
                          struct snug_buffer *out, bool *out_is_interrupted,
                          struct snug_error *err) SNUG_CHECKED;
/* Generate an answer to each row of args->answers (lab/answer_file.h) and append each as member
 * "answers" and the means of the measures as "answer_means". A row whose prompt the model cannot
 * take is reported as failed, with its line; stopped as above. */
snug_status cli_eval_answers(const struct cli_args *args, const struct cli_task *task,
                             const struct snug_config *config, struct snug_json_writer *w,
                             struct snug_buffer *out, bool *out_is_interrupted,
                             struct snug_error *err) SNUG_CHECKED;

#endif
