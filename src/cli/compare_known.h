/* snug compare on what was measured before: two stored trials, or two rounds of a lab. */
#ifndef SNUG_CLI_COMPARE_KNOWN_H
#define SNUG_CLI_COMPARE_KNOWN_H

#include "cli/cli.h"

/* Are both operands numbers of trials, or both FILE:ROUND of results.json files? */
bool cli_compare_is_known(const struct cli_args *args);
int cli_compare_known(const struct cli_args *args);

#endif
