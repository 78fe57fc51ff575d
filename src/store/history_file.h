/* The parts of a history file: which members may stand in a line, and reading it line by line. */
#ifndef SNUG_STORE_HISTORY_FILE_H
#define SNUG_STORE_HISTORY_FILE_H

#include "base/json.h"
#include "snug/history.h"

#define SNUG__HISTORY_FORMAT "snug-history"
#define SNUG__HISTORY_VERSION 1

/* Of each kind: "machine", "n_machines", how many at most. */
struct snug__history_kind {
    const char *name, *counted;
    int64_t max;
};
extern const struct snug__history_kind snug__history_kinds[SNUG_HISTORY_N_KINDS];

/* Copy of a line in which nothing stands but what the rules of its kind allow; malloc'ed JSON.
 * Strict (reading): a member that does not fit is SNUG_BAD_INPUT, named. Else (writing): it is left
 * out, words of a text one by one; a line without a member that it needs is SNUG_BAD_INPUT. */
snug_status snug__history_sieve(const struct snug_json_node *line, enum snug_history_kind kind,
                                bool is_strict, char **out_json,
                                struct snug_error *err) SNUG_CHECKED;

struct snug__history_file {
    char *text; /* malloc'ed, unpacked */
    const char *body;
    size_t n_body; /* bytes behind the header's line */
    struct snug_history_counts counts;
    double created_unix_s;
    char snug[64];
    char sha256[65]; /* of the body */
};

/* Unpack, read the header, check the sum; release with snug__history_close. Errors as of
 * snug_history_import, with name. */
snug_status snug__history_open(const char *name, const void *data, size_t n,
                               struct snug__history_file *out, struct snug_error *err) SNUG_CHECKED;
void snug__history_close(struct snug__history_file *file);

/* line: a whole line that was checked, with its members at hand. */
typedef snug_status (*snug__history_line_fn)(const struct snug_json_node *line,
                                             enum snug_history_kind kind, void *data,
                                             struct snug_error *err);
/* Check every line, its references and the counts; fn, which may be NULL, is called for each.
 * A reference is the number, from 1, of a line of its kind that stood before. */
snug_status snug__history_lines(const char *name, const struct snug__history_file *file,
                                const volatile int *stop, snug__history_line_fn fn, void *data,
                                struct snug_error *err) SNUG_CHECKED;

#endif
