/* A big file that a worker writes: under a temporary name beside the final one, which it takes when
 * it is whole and on disk. */
#ifndef SNUG_ENGINE_PART_FILE_H
#define SNUG_ENGINE_PART_FILE_H

#include "snug/base.h"

#define SNUG__PART_PATH_MAX 4096

/* Held open and locked for as long as it is being written: a part file without a lock is what a
 * process left that was killed. */
struct snug__part {
    char path[SNUG__PART_PATH_MAX]; /* OUT.partPID */
    int fd;
};

/* Make ready for bytes_needed bytes at out_path: it may be a new or a regular file, its folder must
 * have the room; what an interrupted process left there is removed.
 * Errors  SNUG_BAD_INPUT: out_path cannot be a file; SNUG_IO: no folder, or not enough room. */
snug_status snug__part_begin(const char *out_path, uint64_t bytes_needed, struct snug__part *out,
                             struct snug_error *err) SNUG_CHECKED;
/* To disk, then to its name. The part is closed either way, and gone when it fails. */
snug_status snug__part_finish(struct snug__part *part, const char *out_path,
                              struct snug_error *err) SNUG_CHECKED;
/* Close and remove it. */
void snug__part_drop(struct snug__part *part);

#endif
