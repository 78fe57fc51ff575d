/* Reading a history file: unpacked within a cap, its header first, then a line at a time. Every
 * line goes through the rules (history_rules.c) before anybody sees it; the sum over all lines
 * tells a damaged file, the counts in the header a cut one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/gzip.h"
#include "base/hash.h"
#include "store/history_file.h"

#define AGAIN "get the file again, or write it anew with snug history export"

static snug_status fail_foreign(const char *name, struct snug_error *err)
{
    return snug_fail(err, SNUG_BAD_INPUT,
                     "%s: no history file; expected what snug history export writes", name);
}

/* ---- header ---- */

static snug_status take_counts(const char *name, const struct snug_json_node *header,
                               struct snug_history_counts *out, struct snug_error *err)
{
    for (int k = 0; k < SNUG_HISTORY_N_KINDS; k++) {
        const struct snug__history_kind *kind = &snug__history_kinds[k];
        const double n = snug_json_get_number(header, kind->counted, -1.0);
        out->n[k] = snug_json_get_int(header, kind->counted, -1);
        if (!(n >= 0.0 && n <= (double)kind->max) || n != (double)out->n[k])
            return snug_fail(err, SNUG_BAD_INPUT,
                             "%s:1: \"%s\" must be a whole number from 0 to %lld; write the file "
                             "anew, of one model: snug history export FILE MODEL",
                             name, kind->counted, (long long)kind->max);
    }
    return SNUG_OK;
}

static snug_status take_header(const char *name, const struct snug_json_node *header,
                               struct snug__history_file *out, struct snug_error *err)
{
    const int64_t version = snug_json_get_int(header, "version", 0);
    const double created = snug_json_get_number(header, "created_unix_s", -1.0);
    const char *snug = snug_json_get_string(header, "snug", "");
    const char *sha256 = snug_json_get_string(header, "sha256", "");
    if (strcmp(snug_json_get_string(header, "format", ""), SNUG__HISTORY_FORMAT) != 0)
        return fail_foreign(name, err);
    if (version > SNUG__HISTORY_VERSION)
        return snug_fail(err, SNUG_NEWER,
                         "%s: history file of version %lld, this snug knows up to %d; use a newer "
                         "snug here, or an older one there",
                         name, (long long)version, SNUG__HISTORY_VERSION);
    if (version < 1 || strlen(sha256) != SNUG_SHA256_HEX_MAX - 1 || strlen(snug) > 31 ||
        strspn(snug, "0123456789.abcdefghijklmnopqrstuvwxyz+-") != strlen(snug) ||
        !(created >= 0.0 && created <= 1e11))
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s:1: a damaged header (version, snug, created_unix_s or sha256); " AGAIN,
                         name);
    snprintf(out->snug, sizeof out->snug, "%s", snug);
    snprintf(out->sha256, sizeof out->sha256, "%s", sha256);
    out->created_unix_s = created;
    return take_counts(name, header, &out->counts, err);
}

static snug_status read_header(const char *name, const char *text, size_t n,
                               struct snug__history_file *out, struct snug_error *err)
{
    const char *end = memchr(text, '\n', n);
    struct snug_json *doc = NULL;
    if (!end || end - text > SNUG_HISTORY_LINE_MAX)
        return fail_foreign(name, err);
    snug_status status = snug_json_parse(name, text, (size_t)(end - text), &doc, err);
    if (status == SNUG_BAD_INPUT)
        return fail_foreign(name, err);
    if (status == SNUG_OK)
        status = take_header(name, snug_json_root(doc), out, err);
    snug_json_free(doc);
    out->body = end + 1;
    out->n_body = n - (size_t)(end + 1 - text);
    return status;
}

snug_status snug__history_open(const char *name, const void *data, size_t n,
                               struct snug__history_file *out, struct snug_error *err)
{
    struct snug__history_file file = {.text = NULL};
    char sha256[SNUG_SHA256_HEX_MAX];
    size_t n_text = 0;
    if (!snug_gzip_is(data, n))
        return fail_foreign(name, err);
    if (n > SNUG_HISTORY_PACKED_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: longer than the %u bytes allowed; export one model at a time", name,
                         SNUG_HISTORY_PACKED_MAX);
    snug_status status =
        snug_gzip_unpack(name, data, n, SNUG_HISTORY_TEXT_MAX, &file.text, &n_text, err);
    if (status != SNUG_OK && err && status == SNUG_BAD_INPUT) {
        const struct snug_error why = *err;
        return snug_fail(err, status, "%.300s; " AGAIN, why.text);
    }
    if (status == SNUG_OK)
        status = read_header(name, file.text, n_text, &file, err);
    if (status == SNUG_OK && strcmp(snug_sha256_hex(file.body, file.n_body, sha256), file.sha256))
        status = snug_fail(err, SNUG_BAD_INPUT,
                           "%s: damaged: its lines do not add up to the sum in its header; " AGAIN,
                           name);
    if (status != SNUG_OK) {
        free(file.text);
        return status;
    }
    *out = file;
    return SNUG_OK;
}

void snug__history_close(struct snug__history_file *file)
{
    free(file->text);
    *file = (struct snug__history_file){.text = NULL};
}

/* ---- lines ---- */

struct reading {
    const char *name;
    int line; /* from 1; the header is the first */
    struct snug_history_counts seen;
    snug__history_line_fn fn;
    void *data;
    struct snug_error *err;
};

/* What rules of single members cannot say. */
static snug_status check_line(const struct reading *r, const struct snug_json_node *line,
                              enum snug_history_kind kind)
{
    for (int to = SNUG_HISTORY_MACHINE; to <= SNUG_HISTORY_TASK; to++) {
        const char *key = snug__history_kinds[to].name;
        const int64_t i = snug_json_get_int(line, key, 0);
        if (i > r->seen.n[to])
            return snug_fail(r->err, SNUG_BAD_INPUT, "\"%s\" is %lld, but only %lld stood before",
                             key, (long long)i, (long long)r->seen.n[to]);
    }
    if (kind != SNUG_HISTORY_TRIAL)
        return SNUG_OK;
    const char *outcome = snug_json_get_string(snug_json_get(line, "measurement"), "outcome", "");
    if (snug_outcome_from_name(outcome) == SNUG_N_OUTCOMES)
        return snug_fail(r->err, SNUG_BAD_INPUT,
                         "no outcome '%s'; expected ok, oom, crash, timeout or refused", outcome);
    return SNUG_OK;
}

static snug_status kind_of(const struct snug_json_node *line, enum snug_history_kind *out,
                           struct snug_error *err)
{
    const char *name = snug_json_get_string(line, "kind", "");
    for (int k = 0; k < SNUG_HISTORY_N_KINDS; k++) {
        *out = (enum snug_history_kind)k;
        if (strcmp(name, snug__history_kinds[k].name) == 0)
            return SNUG_OK;
    }
    return snug_fail(err, SNUG_BAD_INPUT,
                     "no \"kind\" of machine, model, task, trial, noise, quality or sensitivity");
}

/* A line that is one JSON object, cut down to what the rules allow. */
static snug_status take_line(struct reading *r, const struct snug_json_node *line)
{
    enum snug_history_kind kind = SNUG_HISTORY_MACHINE;
    char *json = NULL;
    struct snug_json *doc = NULL;
    snug_status status = kind_of(line, &kind, r->err);
    if (status == SNUG_OK)
        status = snug__history_sieve(line, kind, true, &json, r->err);
    if (status == SNUG_OK)
        status = snug_json_parse("line", json, strlen(json), &doc, r->err);
    if (status == SNUG_OK)
        status = check_line(r, snug_json_root(doc), kind);
    if (status == SNUG_OK)
        r->seen.n[kind]++;
    if (status == SNUG_OK && r->fn)
        status = r->fn(snug_json_root(doc), kind, r->data, r->err);
    snug_json_free(doc);
    free(json);
    return status;
}

static snug_status read_line(struct reading *r, const char *text, size_t n)
{
    struct snug_json *doc = NULL;
    snug_status status = n > SNUG_HISTORY_LINE_MAX ? snug_fail(r->err, SNUG_BAD_INPUT,
                                                               "longer than the %u bytes of a line",
                                                               SNUG_HISTORY_LINE_MAX)
                                                   : snug_json_parse("JSON", text, n, &doc, r->err);
    if (status == SNUG_OK)
        status = take_line(r, snug_json_root(doc));
    snug_json_free(doc);
    if (status != SNUG_BAD_INPUT || !r->err)
        return status;
    const struct snug_error why = *r->err;
    return snug_fail(r->err, status, "%s:%d: %.300s; " AGAIN, r->name, r->line, why.text);
}

static snug_status check_counts(const struct reading *r, const struct snug__history_file *file)
{
    for (int k = 0; k < SNUG_HISTORY_N_KINDS; k++)
        if (r->seen.n[k] != file->counts.n[k])
            return snug_fail(r->err, SNUG_BAD_INPUT,
                             "%s: its header promises %lld lines of kind %s, it has %lld; " AGAIN,
                             r->name, (long long)file->counts.n[k], snug__history_kinds[k].name,
                             (long long)r->seen.n[k]);
    return SNUG_OK;
}

snug_status snug__history_lines(const char *name, const struct snug__history_file *file,
                                const volatile int *stop, snug__history_line_fn fn, void *data,
                                struct snug_error *err)
{
    struct reading r = {.name = name, .line = 1, .fn = fn, .data = data, .err = err};
    const char *at = file->body, *end = file->body + file->n_body;
    snug_status status = SNUG_OK;
    while (at < end && status == SNUG_OK) {
        const char *stop_at = memchr(at, '\n', (size_t)(end - at));
        const size_t n = (size_t)((stop_at ? stop_at : end) - at);
        r.line++;
        if (stop && *stop)
            status = snug_fail(err, SNUG_INTERRUPTED, "%s: stopped; nothing was imported", name);
        else
            status = read_line(&r, at, n);
        at += n + 1;
    }
    return status == SNUG_OK ? check_counts(&r, file) : status;
}
