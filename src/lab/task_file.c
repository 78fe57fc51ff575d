/* Reading task files: where items begin and end, caps, labels, items without an answer.
 *
 * A file is cut into the texts of its items first, lines or elements of one array, and each is
 * parsed alone: memory stays that of one item, and every error knows its line. */
#include "lab/task_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hash.h"
#include "lab/task_shapes.h"
#include "snug/units.h"

/* ---- the texts of items ---- */

struct cutter {
    const char *at, *end;
    int64_t line; /* of `at` */
    bool is_array, is_done;
};

/* One item's text; n = 0 at the end. */
struct piece {
    const char *text;
    size_t n;
    int64_t line;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_space(struct cutter *c)
{
    for (; c->at < c->end && is_space(*c->at); c->at++)
        c->line += *c->at == '\n';
}

/* JSON lines: up to the end of the line. */
static struct piece cut_line(struct cutter *c)
{
    skip_space(c);
    struct piece piece = {.text = c->at, .line = c->line};
    const char *newline = memchr(c->at, '\n', (size_t)(c->end - c->at));
    c->at = newline ? newline : c->end;
    piece.n = (size_t)(c->at - piece.text);
    return piece;
}

/* An array: up to the comma or bracket outside of strings and of brackets within. What is wrong
 * inside the piece, its parser says. */
static struct piece cut_element(struct cutter *c)
{
    skip_space(c);
    struct piece piece = {.text = c->at, .line = c->line};
    size_t depth = 0;
    bool is_string = false;
    for (; c->at < c->end; c->at++) {
        const char ch = *c->at;
        c->line += ch == '\n';
        if (is_string) {
            is_string = ch != '"';
            if (ch == '\\' && c->at + 1 < c->end)
                c->line += *++c->at == '\n';
        } else if (ch == '"') {
            is_string = true;
        } else if (ch == '[' || ch == '{') {
            depth++;
        } else if (depth > 0 && (ch == ']' || ch == '}')) {
            depth--;
        } else if (depth == 0 && (ch == ',' || ch == ']')) {
            break;
        }
    }
    piece.n = (size_t)(c->at - piece.text);
    return piece;
}

static snug_status fail_at(const char *name, int64_t line, const char *what, struct snug_error *err)
{
    return snug_fail(err, SNUG_BAD_INPUT, "%s:%lld: %s", name, (long long)line, what);
}

/* The next item, or n = 0 behind the last one. */
static snug_status cut(struct cutter *c, const char *name, struct piece *out,
                       struct snug_error *err)
{
    *out = (struct piece){0};
    if (!c->is_array) {
        *out = cut_line(c);
        return SNUG_OK;
    }
    if (c->is_done)
        return SNUG_OK;
    const bool is_first = c->at[-1] == '[';
    struct piece piece = cut_element(c);
    if (c->at == c->end)
        return fail_at(name, c->line, "the array does not end: a ']' is missing", err);
    c->is_done = *c->at == ']';
    c->at++;
    if (piece.n == 0 && !(is_first && c->is_done))
        return fail_at(name, piece.line, "an item is missing beside a comma", err);
    if (c->is_done) {
        skip_space(c);
        if (c->at < c->end)
            return fail_at(name, c->line, "more text behind the array", err);
    }
    *out = piece;
    return SNUG_OK;
}

static void begin(struct cutter *c, const char *text, size_t n)
{
    *c = (struct cutter){.at = text, .end = text + n, .line = 1};
    skip_space(c);
    c->is_array = c->at < c->end && *c->at == '[';
    c->at += c->is_array;
}

/* ---- items ---- */

/* Reading one file: what all its items share. */
struct reader {
    const char *name;
    struct snug_task_file *file;
    size_t cap;
    bool has_shape;
    const char *labels; /* the rest of them, or NULL */
    int64_t labels_line;
    bool is_blind; /* it ended with items, but no answer to any */
};

/* The parser counts lines from the item's own first. */
static snug_status parse_piece(const struct reader *r, const struct piece *piece,
                               struct snug_json **out_doc, struct snug_error *err)
{
    struct snug_error inner = {0};
    size_t line = 1, column = 1;
    int n = 0;
    const snug_status status = snug_json_parse("", piece->text, piece->n, out_doc, &inner);
    if (status == SNUG_OK)
        return SNUG_OK;
    if (status != SNUG_BAD_INPUT || sscanf(inner.text, ":%zu:%zu: %n", &line, &column, &n) != 2)
        return snug_fail(err, status, "%s:%lld: %s", r->name, (long long)piece->line, inner.text);
    return snug_fail(err, SNUG_BAD_INPUT, "%s:%lld:%zu: %s", r->name,
                     (long long)piece->line + (long long)line - 1, column, inner.text + n);
}

/* One label per line; -1 (as in hidden test sets) and an empty line are "none". */
static snug_status take_label(struct reader *r, struct snug_task_item *item, struct snug_error *err)
{
    char *end = NULL;
    if (!*r->labels)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: the labels end after line %lld, the items do not: one label per item",
                         r->name, (long long)r->labels_line);
    r->labels_line++;
    const size_t n = strcspn(r->labels, "\n");
    const long value = strtol(r->labels, &end, 10);
    const bool is_empty = strspn(r->labels, " \t\r") >= n;
    if (!is_empty && (size_t)(end - r->labels) + strspn(end, " \t\r") < n)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: line %lld of the labels is no number: '%.*s'",
                         r->name, (long long)r->labels_line, n < 40 ? (int)n : 40, r->labels);
    if (!is_empty && (value < -1 || value >= item->n_choices))
        return snug_fail(
            err, SNUG_BAD_INPUT,
            "%s: line %lld of the labels: %ld names none of the %d choices (they count "
            "from 0)",
            r->name, (long long)r->labels_line, value, item->n_choices);
    item->i_answer = is_empty ? -1 : (int)value;
    r->labels += n + (r->labels[n] == '\n');
    return SNUG_OK;
}

static snug_status grow(struct reader *r, struct snug_error *err)
{
    struct snug_task_file *f = r->file;
    if ((size_t)f->n_items < r->cap)
        return SNUG_OK;
    /* The old array stays in the arena: twice the size in all, at the most. */
    const size_t cap = r->cap ? r->cap * 2 : 256;
    struct snug_task_item *items = snug_arena_alloc(&f->arena, cap, sizeof *items);
    if (!items)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for %zu items", r->name, cap);
    if (f->n_items)
        memcpy(items, f->items, (size_t)f->n_items * sizeof *items);
    f->items = items;
    r->cap = cap;
    return SNUG_OK;
}

static snug_status find_shape(struct reader *r, const struct snug_json_node *node,
                              const char *place, struct snug_error *err)
{
    const enum snug_task_shape shape = snug__task_shape_find(node);
    if (shape == SNUG_N_TASK_SHAPES)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: not an item of a known shape: PIQA (goal, sol1, sol2), ARC "
                         "(question, choices, answerKey), OpenBookQA (question_stem), WinoGrande "
                         "(sentence, option1, option2), HellaSwag (ctx, endings) or llm-adapters "
                         "(instruction, answer)",
                         place);
    if (r->has_shape && shape != r->file->shape)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: an item of shape %s among those of shape %s",
                         place, snug_task_shape_name(shape), snug_task_shape_name(r->file->shape));
    r->file->shape = shape;
    r->has_shape = true;
    return SNUG_OK;
}

static snug_status add_item(struct reader *r, const struct piece *piece, struct snug_error *err)
{
    struct snug_task_file *f = r->file;
    struct snug_task_item item = {0};
    struct snug_json *doc = NULL;
    char place[512];
    if (f->n_items == SNUG_TASK_ITEMS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%s:%lld: more than %d items: cut the file", r->name,
                         (long long)piece->line, SNUG_TASK_ITEMS_MAX);
    snprintf(place, sizeof place, "%s:%lld", r->name, (long long)piece->line);
    snug_status status = grow(r, err);
    if (status == SNUG_OK)
        status = parse_piece(r, piece, &doc, err);
    if (status == SNUG_OK)
        status = find_shape(r, snug_json_root(doc), place, err);
    if (status == SNUG_OK)
        status = snug__task_item_read(&f->arena, f->shape, snug_json_root(doc), place, &item, err);
    if (status == SNUG_OK && r->labels)
        status = take_label(r, &item, err);
    snug_json_free(doc);
    if (status != SNUG_OK)
        return status;
    item.line = piece->line;
    if (item.i_answer < 0) {
        if (f->n_unanswerable < SNUG_TASK_LINES_KEPT)
            f->unanswerable_lines[f->n_unanswerable] = item.line;
        f->n_unanswerable++;
    }
    f->items[f->n_items++] = item;
    return SNUG_OK;
}

static snug_status check_whole(struct reader *r, struct snug_error *err)
{
    const struct snug_task_file *f = r->file;
    r->is_blind = f->n_items > 0 && f->n_unanswerable == f->n_items;
    if (f->n_items == 0)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: no items: an empty task file", r->name);
    if (r->labels && strspn(r->labels, " \t\r\n") < strlen(r->labels))
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: %d items, but more labels than that: one label per item", r->name,
                         f->n_items);
    if (r->is_blind)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: none of the %d items tells its answer: give a file with answers (a "
                         "validation set; for PIQA, its labels beside it as NAME-labels.lst)",
                         r->name, f->n_items);
    return SNUG_OK;
}

static void hash_both(const char *text, size_t n, const char *labels, char out[65])
{
    struct snug_sha256 hash;
    snug_sha256_init(&hash);
    snug_sha256_update(&hash, text, n);
    if (labels)
        snug_sha256_update(&hash, labels, strlen(labels));
    snug_sha256_final_hex(&hash, out);
}

static snug_status read_items(struct reader *r, const char *text, size_t n, struct snug_error *err)
{
    struct cutter c;
    struct piece piece = {0};
    snug_status status = SNUG_OK;
    begin(&c, text, n);
    do {
        status = cut(&c, r->name, &piece, err);
        if (status == SNUG_OK && piece.n > 0)
            status = add_item(r, &piece, err);
    } while (status == SNUG_OK && piece.n > 0);
    return status == SNUG_OK ? check_whole(r, err) : status;
}

/* out_is_blind: failed only because no item tells its answer. */
static snug_status parse(const char *name, const char *text, size_t n, const char *labels,
                         struct snug_task_file *out, bool *out_is_blind, struct snug_error *err)
{
    struct snug_task_file file = {0};
    struct reader r = {.name = name, .file = &file, .labels = labels};
    if (n > SNUG_TASK_FILE_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: more than %u bytes: cut the file", name,
                         SNUG_TASK_FILE_MAX);
    hash_both(text, n, labels, file.hash);
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark says nothing here */
        text += 3;
        n -= 3;
    }
    snug_status status = read_items(&r, text, n, err);
    const char *slash = strrchr(name, '/');
    if (status == SNUG_OK) {
        file.name = snug_arena_strdup(&file.arena, slash ? slash + 1 : name);
        if (!file.name)
            status = snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for its name", name);
    }
    *out_is_blind = r.is_blind;
    if (status == SNUG_OK)
        *out = file;
    else
        snug_arena_clear(&file.arena);
    return status;
}

snug_status snug_task_file_parse(const char *name, const char *text, size_t n, const char *labels,
                                 struct snug_task_file *out, struct snug_error *err)
{
    bool is_blind = false;
    return parse(name, text, n, labels, out, &is_blind, err);
}

/* ---- from disk ---- */

static snug_status read_capped(const char *path, char **out, size_t *out_n, struct snug_error *err)
{
    struct stat info;
    char have[SNUG_UNIT_TEXT_MAX], most[SNUG_UNIT_TEXT_MAX];
    /* Asked before gigabytes are read; a pipe has no size and is read up to the cap. */
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > SNUG_TASK_FILE_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: %s, a task file has at most %s: cut it, as with head -n 10000", path,
                         snug_bytes_text((uint64_t)info.st_size, have),
                         snug_bytes_text(SNUG_TASK_FILE_MAX, most));
    return snug_file_read(path, SNUG_TASK_FILE_MAX, out, out_n, err);
}

/* PIQA's own labels lie in a second file; NULL when there is none. */
static snug_status read_neighbour(const char *path, char **out_labels, struct snug_error *err)
{
    static const char *const ends[] = {"-labels.lst", ".lst"};
    char beside[4096];
    const char *slash = strrchr(path, '/');
    const char *dot = strrchr(path, '.');
    const size_t n = dot && (!slash || dot > slash) ? (size_t)(dot - path) : strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (n + strlen(ends[i]) >= sizeof beside)
            continue;
        snprintf(beside, sizeof beside, "%.*s%s", (int)n, path, ends[i]);
        const snug_status status = read_capped(beside, out_labels, NULL, err);
        if (status != SNUG_NOT_FOUND)
            return status;
    }
    return SNUG_OK;
}

snug_status snug_task_file_read(const char *path, const char *labels_path,
                                struct snug_task_file *out, struct snug_error *err)
{
    char *text = NULL, *labels = NULL;
    size_t n = 0;
    bool is_blind = false;
    snug_status status = read_capped(path, &text, &n, err);
    if (status != SNUG_OK)
        return status;
    if (labels_path)
        status = read_capped(labels_path, &labels, NULL, err);
    if (status == SNUG_OK)
        status = parse(path, text, n, labels, out, &is_blind, err);
    /* Only a file without answers of its own asks for the one beside it. */
    if (is_blind && !labels) {
        struct snug_error beside = {0};
        const snug_status got = read_neighbour(path, &labels, &beside);
        if (got != SNUG_OK)
            status = snug_fail(err, got, "%s", beside.text);
        else if (labels)
            status = parse(path, text, n, labels, out, &is_blind, err);
    }
    free(text);
    free(labels);
    return status;
}

void snug_task_file_clear(struct snug_task_file *file)
{
    snug_arena_clear(&file->arena);
    *file = (struct snug_task_file){0};
}
