/* A folder for the big temporary files of one job, that nothing outlives: not a failure, and not a
 * kill either, since the next job removes what a dead one left. */
#ifndef SNUG_BASE_SCRATCH_H
#define SNUG_BASE_SCRATCH_H

#include "snug/base.h"

/* Zero state is closed. */
struct snug_scratch {
    char path[4096]; /* "FOLDER/scratch-PID-N"; "" while closed */
    int fd;          /* of the folder: its lock tells that somebody is at work */
};

/* Make FOLDER where it is missing, remove what dead processes left there, make a folder of our own.
 * Errors  SNUG_IO with the path; SNUG_BAD_INPUT: the path is too long. */
snug_status snug_scratch_open(const char *folder, struct snug_scratch *out,
                              struct snug_error *err) SNUG_CHECKED;
/* Remove it with the files in it. A closed one stays closed. */
void snug_scratch_close(struct snug_scratch *scratch);

#endif
