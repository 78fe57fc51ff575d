/* A big file that a worker writes: under a temporary name beside the final one, which it takes when
 * it is whole and on disk. */
#ifndef SNUG_ENGINE_PART_FILE_H
#define SNUG_ENGINE_PART_FILE_H

#include "snug/base.h"

#define SNUG__PART_PATH_MAX 4096

/* Make ready for bytes_needed bytes at out_path: it may be a new or a regular file, its folder must
 * have the room; what an interrupted process left there is removed. out_part: OUT.partPID.
 * Errors  SNUG_BAD_INPUT: out_path cannot be a file; SNUG_IO: no folder, or not enough room. */
snug_status snug__part_begin(const char *out_path, uint64_t bytes_needed,
                             char out_part[SNUG__PART_PATH_MAX],
                             struct snug_error *err) SNUG_CHECKED;
/* To disk, then to its name. On failure the part file stays the caller's to unlink. */
snug_status snug__part_finish(const char *part, const char *out_path,
                              struct snug_error *err) SNUG_CHECKED;

#endif
