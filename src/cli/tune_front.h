/* The front that snug tune ends with, as a table. */
#ifndef SNUG_CLI_TUNE_FRONT_H
#define SNUG_CLI_TUNE_FRONT_H

#include "cli/task.h"
#include "snug/tune_loop.h"

/* Of a plain goal the front as it was measured again, with what is known of its order, else that of
 * the trials; of another one a column for each axis and limit. No table where nothing ran. */
void cli_tune_front(const struct cli_task *task, const struct snug_tune_result *result,
                    const struct snug_goal *goal, struct snug_buffer *out);

#endif
