/* Whole files, paths and folders. */
#ifndef SNUG_BASE_FILE_H
#define SNUG_BASE_FILE_H

#include "snug/base.h"

/* Read at most cap bytes of a file (regular, /proc or /sys) as NUL-terminated malloc'ed text.
 * SNUG_NOT_FOUND when absent, SNUG_BAD_INPUT when longer than cap. */
snug_status snug_file_read(const char *path, size_t cap, char **out_text, size_t *out_n,
                           struct snug_error *err) SNUG_CHECKED;
/* The same below a root folder ("" or "/" for the real one): path must begin with '/' and have no
 * ".." in it, which would lead out of the root. */
snug_status snug_file_read_below(const char *root, const char *path, size_t cap, char **out_text,
                                 size_t *out_n, struct snug_error *err) SNUG_CHECKED;
/* Write to PATH.tmpTID (thread id), fsync, rename: the old file stays whole whatever happens. Links
 * and permissions of an existing file are kept; devices and pipes are written to, not replaced. */
snug_status snug_file_write(const char *path, const void *data, size_t n,
                            struct snug_error *err) SNUG_CHECKED;
/* The same of a file in a folder. */
snug_status snug_file_write_in(const char *folder, const char *name, const void *data, size_t n,
                               struct snug_error *err) SNUG_CHECKED;
/* Whether snug_file_write could begin: its temporary file is made and removed again, nothing else
 * is touched. For work that takes long before it writes. Errors as there. */
snug_status snug_file_try_write(const char *path, struct snug_error *err) SNUG_CHECKED;
/* mkdir -p */
snug_status snug_file_make_folder(const char *path, struct snug_error *err) SNUG_CHECKED;
/* $XDG_DATA_HOME/snug, $XDG_CACHE_HOME/snug (or ~/.local/share/snug, ~/.cache/snug) into out. */
snug_status snug_file_data_folder(char *out, size_t cap, struct snug_error *err) SNUG_CHECKED;
snug_status snug_file_cache_folder(char *out, size_t cap, struct snug_error *err) SNUG_CHECKED;

#endif
