/* A command that runs under a load, and the live line of both ways to run one. */
#ifndef SNUG_CLI_LOAD_UNDER_H
#define SNUG_CLI_LOAD_UNDER_H

#include "cli/cli.h"
#include "snug/load.h"

#define LOAD_REPORT_S 30 /* no report for so long: the load hangs */

/* Wait until the load is there, run args->rest under it, return its exit status: 128 + N where
 * signal N ended it, 1 where it was 0 but the load did not last. */
int load_under_run(const struct cli_args *args, struct snug_load *load);
/* "load 12.3 s: 0.98 of 1.00 cores, 1.2 GiB of 2.0 GiB, 3.91 of 4.00 GB/s, disk 320 MB/s" */
void load_draw(const struct snug_load_report *report);

#endif
