/* Writing a history file. Every line is made of what the store holds and then cut down by the rules
 * (history_rules.c), so that nothing gets out because it was forgotten here. One read transaction:
 * what is written belongs together, whoever works on the store meanwhile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/gzip.h"
#include "base/hash.h"
#include "store/history_file.h"
#include "store/store_internal.h"
#include "trial/trial_json.h"

#define ONE_BY_ONE "export one model at a time: snug history export FILE MODEL"

enum { /* lines at most, by kind */
#define LINES(name, text, counted, max) MAX_##name = (max),
       SNUG_HISTORY_KINDS(LINES)
#undef LINES
};

struct writing {
    struct snug_store *store;
    struct snug_arena arena;
    struct snug_buffer body;
    struct snug_history_exported done;
    const char *machines[MAX_MACHINE]; /* fingerprints of the lines so far */
    const char *models[MAX_MODEL];     /* hashes */
    int64_t task;                      /* number of the line whose trials are written */
    snug_status status;                /* of callbacks */
    struct snug_error *err;
};

/* ---- lines ---- */

/* One line of a kind, with room for a header left. */
static snug_status append_line(struct writing *x, enum snug_history_kind kind, const char *line)
{
    const struct snug__history_kind *of = &snug__history_kinds[kind];
    if (x->done.counts.n[kind] == of->max ||
        x->body.len + strlen(line) > SNUG_HISTORY_TEXT_MAX - SNUG_HISTORY_LINE_MAX)
        return snug_fail(x->err, SNUG_BAD_INPUT,
                         "%s: more than one file may hold (%lld %s, or %u bytes); " ONE_BY_ONE,
                         x->store->path, (long long)of->max, of->counted + 2,
                         SNUG_HISTORY_TEXT_MAX);
    snug_buffer_printf(&x->body, "%s\n", line);
    x->done.counts.n[kind]++;
    return SNUG_OK;
}

/* Takes what was written into raw. *out_is_told false: it lacks what its kind needs, and is left
 * out. */
static snug_status write_line(struct writing *x, enum snug_history_kind kind,
                              struct snug_json_writer *raw, bool *out_is_told)
{
    char *text = snug_json_finish(raw, false), *line = NULL;
    struct snug_json *doc = NULL;
    snug_status status = text ? snug_json_parse("history", text, strlen(text), &doc, x->err)
                              : snug_fail(x->err, SNUG_NO_MEMORY, "no memory for a line");
    if (status == SNUG_OK)
        status = snug__history_sieve(snug_json_root(doc), kind, false, &line, x->err);
    if (status == SNUG_OK)
        status = append_line(x, kind, line);
    else if (status == SNUG_BAD_INPUT)
        status = SNUG_OK;
    *out_is_told = line != NULL;
    snug_json_free(doc);
    free(text);
    free(line);
    return status;
}

static void put_stored(struct snug_json_writer *w, const char *key, const char *json)
{
    struct snug_json *doc = NULL;
    const snug_status status = snug_json_parse(key, json, strlen(json), &doc, NULL);
    if (status == SNUG_OK)
        snug_json_put_node(w, key, snug_json_root(doc));
    else if (status == SNUG_NO_MEMORY)
        w->is_failed = true;
    snug_json_free(doc);
}

/* The number of the line that tells of a machine or model, written now if it was not yet; 0 with
 * x->status SNUG_OK: it cannot be told. */
static int64_t line_of(struct writing *x, enum snug_history_kind kind, const char *id_key,
                       const char *id, const char *json)
{
    const char **ids = kind == SNUG_HISTORY_MACHINE ? x->machines : x->models;
    struct snug_json_writer w = {0};
    bool is_told = false;
    for (int64_t i = 0; i < x->done.counts.n[kind]; i++)
        if (strcmp(ids[i], id) == 0)
            return i + 1;
    const char *copy = snug_arena_strdup(&x->arena, id);
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, id_key, id);
    put_stored(&w, "facts", json);
    snug_json_end(&w);
    x->status = write_line(x, kind, &w, &is_told);
    if (x->status == SNUG_OK && !copy)
        x->status = snug_fail(x->err, SNUG_NO_MEMORY, "no memory for a line");
    if (x->status != SNUG_OK || !is_told)
        return 0;
    ids[x->done.counts.n[kind] - 1] = copy;
    return x->done.counts.n[kind];
}

/* ---- tasks and their trials ---- */

static bool write_trial(const struct snug_trial_view *view, void *data)
{
    struct writing *x = data;
    struct snug_json_writer w = {0};
    bool is_told = false;
    snug_json_begin_object(&w, NULL);
    snug_json_put_int(&w, "task", x->task);
    snug_json_put_string(&w, "role", view->role);
    snug_json_put_string(&w, "strategy", view->strategy);
    put_stored(&w, "config", view->config_json);
    put_stored(&w, "effective", view->effective_json);
    snug_measurement_to_json(&w, "measurement", view->measurement);
    snug_json_end(&w);
    x->status = write_line(x, SNUG_HISTORY_TRIAL, &w, &is_told);
    x->done.n_left_out += !is_told;
    return x->status == SNUG_OK;
}

static snug_status write_task_line(struct writing *x, const struct snug_task_view *view,
                                   int64_t machine, int64_t model, bool *out_is_told)
{
    const struct snug_workload *workload = &view->workload;
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_int(&w, "machine", machine);
    snug_json_put_int(&w, "model", model);
    snug_json_put_string(&w, "build", view->build);
    snug_json_put_string(&w, "load_level", view->load_level);
    snug_json_put_int(&w, "n_prompt", workload->n_prompt);
    snug_json_put_int(&w, "n_gen", workload->n_gen);
    snug_json_put_int(&w, "n_depth", workload->n_depth);
    snug_json_put_int(&w, "n_parallel", workload->n_parallel);
    snug_json_put_int(&w, "n_ctx", workload->n_ctx);
    snug_json_put_string(&w, "workload_hash", workload->hash);
    snug_json_end(&w);
    return write_line(x, SNUG_HISTORY_TASK, &w, out_is_told);
}

static bool write_task(const struct snug_task_view *view, void *data)
{
    struct writing *x = data;
    const struct snug_trial_filter filter = {.task_id = view->id};
    bool is_told = false;
    if (view->n_trials == 0)
        return true;
    const int64_t machine = line_of(x, SNUG_HISTORY_MACHINE, "fingerprint",
                                    view->machine_fingerprint, view->machine_json);
    const int64_t model =
        machine ? line_of(x, SNUG_HISTORY_MODEL, "hash", view->model_hash, view->model_json) : 0;
    if (machine && model)
        x->status = write_task_line(x, view, machine, model, &is_told);
    x->task = x->done.counts.n[SNUG_HISTORY_TASK];
    if (x->status == SNUG_OK && is_told) {
        const snug_status read = snug_store_trials(x->store, &filter, write_trial, x, x->err);
        x->status = x->status == SNUG_OK ? read : x->status;
    } else {
        x->done.n_left_out += view->n_trials;
    }
    return x->status == SNUG_OK;
}

/* ---- noise floors and qualities of what was written, sensitivities ---- */

/* A row of a statement whose columns are called as the members of a line. */
static void put_columns(struct snug_json_writer *w, sqlite3_stmt *s)
{
    snug_json_begin_object(w, NULL);
    for (int i = 0; i < sqlite3_column_count(s); i++) {
        const char *key = sqlite3_column_name(s, i);
        const int type = sqlite3_column_type(s, i);
        if (!key)
            w->is_failed = true; /* no memory for the name */
        else if (type == SQLITE_INTEGER)
            snug_json_put_int(w, key, sqlite3_column_int64(s, i));
        else if (type == SQLITE_FLOAT)
            snug_json_put_number(w, key, sqlite3_column_double(s, i));
        else if (strcmp(key, "figures") == 0)
            put_stored(w, key, snug__column_text(s, i));
        else
            snug_json_put_string(w, key, snug__column_text(s, i));
    }
    snug_json_end(w);
}

/* Every row of a statement as a line. id: whose, NULL: of all; i: the number of its line. */
static snug_status write_rows(struct writing *x, enum snug_history_kind kind,
                              enum snug__statement which, const char *id, int64_t i)
{
    snug_status status = SNUG_OK;
    bool is_told = false;
    struct snug__use use = snug__use_begin(x->store, which, x->err);
    if (id)
        snug__use_text(&use, 1, snug__history_kinds[kind].name, id, SNUG_STORE_TEXT_MAX);
    if (i)
        snug__use_int(&use, 2, i);
    while (status == SNUG_OK && snug__use_step(&use, "be read")) {
        struct snug_json_writer w = {0};
        put_columns(&w, use.statement);
        status = write_line(x, kind, &w, &is_told);
    }
    const snug_status end = snug__use_end(&use);
    return status == SNUG_OK ? end : status;
}

static snug_status write_rest(struct writing *x, const char *model_hash)
{
    const int64_t *n = x->done.counts.n;
    snug_status status =
        write_rows(x, SNUG_HISTORY_SENSITIVITY, SNUG__SQL_SENSITIVITIES, model_hash, 0);
    for (int64_t i = 1; status == SNUG_OK && i <= n[SNUG_HISTORY_MACHINE]; i++)
        status = write_rows(x, SNUG_HISTORY_NOISE, SNUG__SQL_NOISE_OF, x->machines[i - 1], i);
    for (int64_t i = 1; status == SNUG_OK && i <= n[SNUG_HISTORY_MODEL]; i++)
        status = write_rows(x, SNUG_HISTORY_QUALITY, SNUG__SQL_QUALITIES_OF, x->models[i - 1], i);
    return status;
}

/* ---- the file ---- */

static snug_status write_body(struct writing *x, const char *model_hash)
{
    snug_status status = snug__store_exec(x->store, "BEGIN", "be read", x->err);
    if (status == SNUG_OK)
        status = snug_store_tasks(x->store, model_hash, write_task, x, x->err);
    if (status == SNUG_OK)
        status = x->status;
    if (status == SNUG_OK)
        status = write_rest(x, model_hash);
    if (status == SNUG_OK)
        status = snug__store_exec(x->store, "COMMIT", "be read", x->err);
    snug__store_rollback(x->store);
    if (status == SNUG_OK && x->done.counts.n[SNUG_HISTORY_TRIAL] == 0 &&
        x->done.counts.n[SNUG_HISTORY_SENSITIVITY] == 0)
        status =
            snug_fail(x->err, SNUG_INFEASIBLE, "%s: nothing to export%s: run snug tune MODEL first",
                      x->store->path, model_hash ? " of this model" : "");
    if (status == SNUG_OK && x->body.is_failed)
        status = snug_fail(x->err, SNUG_NO_MEMORY, "no memory for the history file");
    return status;
}

static char *header_of(const struct writing *x)
{
    char sha256[SNUG_SHA256_HEX_MAX];
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "format", SNUG__HISTORY_FORMAT);
    snug_json_put_int(&w, "version", SNUG__HISTORY_VERSION);
    snug_json_put_string(&w, "snug", snug_version());
    snug_json_put_int(&w, "schema", snug__store_version()); /* for people: nothing depends on it */
    snug_json_put_int(&w, "created_unix_s", (int64_t)snug__store_now_s());
    for (int k = 0; k < SNUG_HISTORY_N_KINDS; k++)
        snug_json_put_int(&w, snug__history_kinds[k].counted, x->done.counts.n[k]);
    snug_json_put_string(&w, "sha256", snug_sha256_hex(x->body.data, x->body.len, sha256));
    snug_json_end(&w);
    return snug_json_finish(&w, false);
}

static snug_status pack(const struct writing *x, void **out_data, size_t *out_n)
{
    struct snug_buffer all = {0};
    char *header = header_of(x);
    snug_buffer_puts(&all, header ? header : "");
    snug_buffer_puts(&all, "\n");
    snug_buffer_append(&all, x->body.data, x->body.len);
    snug_status status = header && !all.is_failed
                             ? snug_gzip_pack(all.data, all.len, out_data, out_n, x->err)
                             : snug_fail(x->err, SNUG_NO_MEMORY, "no memory for a history file");
    free(header);
    snug_buffer_clear(&all);
    return status;
}

snug_status snug_history_export(struct snug_store *store, const char *model_hash, void **out_data,
                                size_t *out_n, struct snug_history_exported *out,
                                struct snug_error *err)
{
    struct snug_error why = {0}; /* lines are left out by their error, so there must be one */
    struct writing *x = calloc(1, sizeof *x);
    if (!x)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a history file");
    x->store = store;
    x->err = &why;
    snug_status status = write_body(x, model_hash);
    if (status == SNUG_OK)
        status = pack(x, out_data, out_n);
    if (status == SNUG_OK && *out_n > SNUG_HISTORY_PACKED_MAX) {
        free(*out_data);
        *out_data = NULL;
        status = snug_fail(&why, SNUG_BAD_INPUT,
                           "%s: the file would be longer than %u bytes; " ONE_BY_ONE, store->path,
                           SNUG_HISTORY_PACKED_MAX);
    }
    if (status == SNUG_OK)
        *out = x->done;
    else
        (void)snug_fail(err, status, "%s", why.text);
    snug_buffer_clear(&x->body);
    snug_arena_clear(&x->arena);
    free(x);
    return status;
}
