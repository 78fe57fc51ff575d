/* Prompts whose answers are to be measured, from files that the user names: JSON lines of
 *   {"prompt": TEXT, "reference": TEXT, "required": [FIELD ...], "tools": [{"name", "arguments"}
 * ..]} all but the prompt optional. A row without any of them is generated, and nothing is
 * measured. */
#ifndef SNUG_LAB_ANSWER_FILE_H
#define SNUG_LAB_ANSWER_FILE_H

#include "base/arena.h"
#include "base/json.h"
#include "snug/base.h"

/* Caps, each tested at cap and cap + 1. */
#define SNUG_ANSWER_FILE_MAX (16u << 20) /* bytes */
#define SNUG_ANSWER_ROWS_MAX 10000
#define SNUG_ANSWER_FIELDS_MAX 64 /* of "required" */
#define SNUG_ANSWER_LINES_KEPT 16 /* places of rows with nothing to measure that are kept */

struct snug_answer_row {
    const char *prompt;
    const char *reference;              /* NULL: none */
    const char *const *required;        /* NULL: none; ended by NULL */
    const struct snug_json_node *tools; /* NULL: none; an array or an object */
    int64_t line;                       /* from 1 */
};

struct snug_answer_file {
    struct snug_arena arena; /* holds rows and texts */
    struct snug_json **docs; /* of rows with tools, in the arena; each is the file's own */
    int n_docs;
    struct snug_answer_row *rows;
    int n_rows;
    int n_bare; /* rows with nothing to measure */
    int64_t bare_lines[SNUG_ANSWER_LINES_KEPT];
};

/* name begins the error text, with the line.
 * Out     *out on success only; release with snug_answer_file_clear
 * Errors  SNUG_BAD_INPUT: not JSON, no prompt, a member of another kind, past a cap, empty */
snug_status snug_answer_file_parse(const char *name, const char *text, size_t n,
                                   struct snug_answer_file *out,
                                   struct snug_error *err) SNUG_CHECKED;
snug_status snug_answer_file_read(const char *path, struct snug_answer_file *out,
                                  struct snug_error *err) SNUG_CHECKED;
void snug_answer_file_clear(struct snug_answer_file *file);

#endif
