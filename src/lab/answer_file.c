/* Reading files of prompts: a line at a time, so that every error knows its line. Rows are counted
 * first: their array is made once. */
#include "lab/answer_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

struct reader {
    const char *name;
    struct snug_answer_file *file;
    int64_t line; /* the one that is read */
};

static snug_status fail(const struct reader *r, const char *what, struct snug_error *err)
{
    return snug_fail(err, SNUG_BAD_INPUT, "%s:%lld: %s", r->name, (long long)r->line, what);
}

static snug_status fail_memory(const struct reader *r, struct snug_error *err)
{
    return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for its rows", r->name);
}

/* The parser calls every line the first. */
static snug_status parse_line(const struct reader *r, const char *text, size_t n,
                              struct snug_json **out_doc, struct snug_error *err)
{
    struct snug_error inner = {0};
    size_t line = 1, column = 1;
    int at = 0;
    const snug_status status = snug_json_parse("", text, n, out_doc, &inner);
    if (status == SNUG_OK)
        return SNUG_OK;
    if (status != SNUG_BAD_INPUT || sscanf(inner.text, ":%zu:%zu: %n", &line, &column, &at) != 2)
        return snug_fail(err, status, "%s:%lld: %s", r->name, (long long)r->line, inner.text);
    return snug_fail(err, SNUG_BAD_INPUT, "%s:%lld:%zu: %s", r->name, (long long)r->line, column,
                     inner.text + at);
}

/* A text in the arena; NULL stays NULL. */
static snug_status take_text(const struct reader *r, const struct snug_json_node *node,
                             const char *what, const char **out, struct snug_error *err)
{
    if (!snug_json_is_string(node))
        return fail(r, what, err);
    *out = snug_arena_strdup(&r->file->arena, snug_json_string(node, ""));
    return *out ? SNUG_OK : fail_memory(r, err);
}

static bool is_given(const struct snug_json_node *node)
{
    return node && !snug_json_is_null(node);
}

static snug_status take_required(const struct reader *r, const struct snug_json_node *node,
                                 struct snug_answer_row *row, struct snug_error *err)
{
    static const char kind[] = "\"required\": expected a list of field names, such as [\"city\"]";
    const struct snug_json_node *names[SNUG_ANSWER_FIELDS_MAX];
    const size_t n = snug_json_count(node);
    if (!snug_json_is_array(node))
        return fail(r, kind, err);
    if (n > SNUG_ANSWER_FIELDS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s:%lld: \"required\": %zu fields, at most %d are "
                         "taken",
                         r->name, (long long)r->line, n, SNUG_ANSWER_FIELDS_MAX);
    if (n == 0)
        return fail(r, "\"required\": an empty list requires nothing: leave it out", err);
    const char **fields = snug_arena_alloc(&r->file->arena, n + 1, sizeof *fields);
    if (!fields)
        return fail_memory(r, err);
    snug_json_elements(node, names, n);
    snug_status status = SNUG_OK;
    for (size_t i = 0; i < n && status == SNUG_OK; i++)
        status = take_text(r, names[i], kind, &fields[i], err);
    fields[n] = NULL;
    row->required = fields;
    return status;
}

static snug_status take_row(const struct reader *r, const struct snug_json_node *node,
                            struct snug_answer_row *row, struct snug_error *err)
{
    const struct snug_json_node *reference = snug_json_get(node, "reference");
    const struct snug_json_node *required = snug_json_get(node, "required");
    const struct snug_json_node *tools = snug_json_get(node, "tools");
    if (!snug_json_is_object(node))
        return fail(r, "expected an object: {\"prompt\": ...}", err);
    snug_status status =
        take_text(r, snug_json_get(node, "prompt"), "no \"prompt\" text", &row->prompt, err);
    if (status == SNUG_OK && !row->prompt[0])
        status = fail(r, "an empty \"prompt\"", err);
    if (status == SNUG_OK && is_given(reference))
        status = take_text(r, reference, "\"reference\": expected a text", &row->reference, err);
    if (status == SNUG_OK && is_given(required))
        status = take_required(r, required, row, err);
    if (status == SNUG_OK && is_given(tools) && !snug_json_is_array(tools) &&
        !snug_json_is_object(tools))
        status = fail(r, "\"tools\": expected a list of {\"name\", \"arguments\"}", err);
    if (status == SNUG_OK && is_given(tools))
        row->tools = tools;
    return status;
}

static snug_status add_row(const struct reader *r, const char *text, size_t n,
                           struct snug_error *err)
{
    struct snug_answer_file *f = r->file;
    struct snug_answer_row row = {.line = r->line};
    struct snug_json *doc = NULL;
    snug_status status = parse_line(r, text, n, &doc, err);
    if (status == SNUG_OK)
        status = take_row(r, snug_json_root(doc), &row, err);
    if (status != SNUG_OK || !row.tools) {
        snug_json_free(doc);
        doc = NULL;
    }
    if (status != SNUG_OK)
        return status;
    if (doc)
        f->docs[f->n_docs++] = doc;
    if (!row.reference && !row.required && !row.tools) {
        if (f->n_bare < SNUG_ANSWER_LINES_KEPT)
            f->bare_lines[f->n_bare] = row.line;
        f->n_bare++;
    }
    f->rows[f->n_rows++] = row;
    return SNUG_OK;
}

/* The next line with something on it, from *at; false at the end. */
static bool next_line(const char **at, const char *end, int64_t *line, const char **out_text,
                      size_t *out_n)
{
    while (*at < end) {
        const char *text = *at;
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const size_t n = (size_t)((newline ? newline : end) - text);
        size_t blank = 0;
        while (blank < n && (text[blank] == ' ' || text[blank] == '\t' || text[blank] == '\r'))
            blank++;
        *at = newline ? newline + 1 : end;
        ++*line;
        if (blank < n) {
            *out_text = text;
            *out_n = n;
            return true;
        }
    }
    return false;
}

static snug_status read_rows(struct reader *r, const char *text, size_t n, struct snug_error *err)
{
    struct snug_answer_file *f = r->file;
    const char *at = text, *end = text + n, *one = NULL;
    size_t n_one = 0, n_rows = 0;
    for (r->line = 0; next_line(&at, end, &r->line, &one, &n_one); n_rows++) {
        if (n_rows == SNUG_ANSWER_ROWS_MAX)
            return snug_fail(err, SNUG_BAD_INPUT, "%s:%lld: more than %d prompts: cut the file",
                             r->name, (long long)r->line, SNUG_ANSWER_ROWS_MAX);
    }
    if (n_rows == 0)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: no prompts: a line is {\"prompt\": ...}",
                         r->name);
    f->rows = snug_arena_alloc(&f->arena, n_rows, sizeof *f->rows);
    f->docs = snug_arena_alloc(&f->arena, n_rows, sizeof(struct snug_json *));
    if (!f->rows || !f->docs)
        return fail_memory(r, err);
    snug_status status = SNUG_OK;
    at = text;
    r->line = 0;
    while (status == SNUG_OK && next_line(&at, end, &r->line, &one, &n_one))
        status = add_row(r, one, n_one, err);
    return status;
}

snug_status snug_answer_file_parse(const char *name, const char *text, size_t n,
                                   struct snug_answer_file *out, struct snug_error *err)
{
    struct snug_answer_file file = {0};
    struct reader r = {.name = name, .file = &file};
    if (n > SNUG_ANSWER_FILE_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: more than %u bytes: cut the file", name,
                         SNUG_ANSWER_FILE_MAX);
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark says nothing here */
        text += 3;
        n -= 3;
    }
    const snug_status status = read_rows(&r, text, n, err);
    if (status == SNUG_OK)
        *out = file;
    else
        snug_answer_file_clear(&file);
    return status;
}

snug_status snug_answer_file_read(const char *path, struct snug_answer_file *out,
                                  struct snug_error *err)
{
    char *text = NULL;
    size_t n = 0;
    snug_status status = snug_file_read(path, SNUG_ANSWER_FILE_MAX, &text, &n, err);
    if (status == SNUG_OK)
        status = snug_answer_file_parse(path, text, n, out, err);
    free(text);
    return status;
}

void snug_answer_file_clear(struct snug_answer_file *file)
{
    for (int i = 0; i < file->n_docs; i++)
        snug_json_free(file->docs[i]);
    snug_arena_clear(&file->arena);
    *file = (struct snug_answer_file){0};
}
