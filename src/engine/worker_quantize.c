/* Quantising in the worker: one call into libllama, whose log tells what it does to each tensor.
 *
 * Of tensor i it logs two pieces: "[   i/   n] NAME - [shape], type =  f16, ", and, when that is
 * done, "size = .." -- in a dry run with the new type in brackets where it changes:
 * "size =   16.00 MiB ->     4.50 MiB (q4_K)". */
#include "engine/quantize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/worker.h"
#include "snug/imatrix.h"

/* The log as it is read. */
struct reading {
    struct snug__worker *w;
    struct snug_json_writer *out; /* dry: the answer, its array of tensors open; else NULL */
    char name[SNUG_GGUF_TENSOR_NAME_MAX + 1], type[32]; /* of the tensor at hand */
    bool has_tensor;
};

static void copy_trimmed(char *out, size_t cap, const char *begin, const char *end)
{
    while (begin < end && *begin == ' ')
        begin++;
    while (end > begin && end[-1] == ' ')
        end--;
    snprintf(out, cap, "%.*s", (int)(end - begin), begin);
}

static const char *find_last(const char *text, const char *part)
{
    const char *last = NULL;
    for (const char *at = text; (at = strstr(at, part)); at++)
        last = at;
    return last;
}

static void begin_tensor(struct reading *r, const char *line)
{
    int i = 0, n = 0;
    const char *name = strchr(line, ']');
    const char *shape = find_last(line, " - ["), *type = find_last(line, "type = ");
    if (sscanf(line, "[%d/%d]", &i, &n) != 2 || !name || !shape || !type || shape < name)
        return;
    copy_trimmed(r->name, sizeof r->name, name + 1, shape);
    type += strlen("type = ");
    copy_trimmed(r->type, sizeof r->type, type, type + strcspn(type, ","));
    r->has_tensor = true;
    if (!r->out) {
        char phase[64];
        snprintf(phase, sizeof phase, "%d of %d tensors", i, n);
        snug__worker_phase(r->w, phase, 0);
    }
}

static void end_tensor(struct reading *r, const char *line)
{
    const char *open = strchr(line, '('), *close = strchr(line, ')');
    if (open && close && close > open)
        copy_trimmed(r->type, sizeof r->type, open + 1, close);
    if (r->out) {
        snug_json_begin_object(r->out, NULL);
        snug_json_put_string(r->out, "name", r->name);
        snug_json_put_string(r->out, "type", r->type);
        snug_json_end(r->out);
    }
    r->has_tensor = false;
}

static void on_line(const char *line, void *data)
{
    struct reading *r = data;
    if (line[0] == '[')
        begin_tensor(r, line);
    else if (r->has_tensor && strncmp(line, "size = ", 7) == 0)
        end_tensor(r, line);
}

/* ---- what is asked ---- */

/* Everything that llama_model_quantize_params points to. */
struct parts {
    struct llama_model_tensor_override *overrides;
    char *patterns;
    struct snug_imatrix imatrix;
    struct llama_model_imatrix_data *rows;
};

static void parts_clear(struct parts *p)
{
    free(p->overrides);
    free(p->patterns);
    free(p->rows);
    snug_imatrix_clear(&p->imatrix);
}

/* "^name$" with every character that a regular expression means something by escaped. */
static void put_pattern(char *out, size_t cap, const char *name)
{
    size_t n = 0;
    out[n++] = '^';
    for (const char *p = name; *p && n + 4 < cap; p++) {
        if (strchr("\\^$.|?*+()[]{}", *p))
            out[n++] = '\\';
        out[n++] = *p;
    }
    out[n++] = '$';
    out[n] = '\0';
}

static bool take_overrides(const struct snug_json_node *list, struct parts *p)
{
    enum { PATTERN_MAX = 2 * SNUG_GGUF_TENSOR_NAME_MAX + 8 };
    const size_t n = snug_json_count(list);
    const struct snug_json_node **rows = malloc((n + 1) * sizeof *rows);
    p->overrides = calloc(n + 1, sizeof *p->overrides);
    p->patterns = malloc((n + 1) * PATTERN_MAX);
    const bool is_ok = rows && p->overrides && p->patterns;
    if (is_ok)
        snug_json_elements(list, rows, n);
    for (size_t i = 0; is_ok && i < n; i++) {
        char *pattern = p->patterns + i * PATTERN_MAX;
        const int type = snug_model_type_from_name(snug_json_get_string(rows[i], "type", ""));
        put_pattern(pattern, PATTERN_MAX, snug_json_get_string(rows[i], "name", ""));
        p->overrides[i] = (struct llama_model_tensor_override){
            .pattern = pattern, .type = type >= 0 ? (enum ggml_type)type : GGML_TYPE_COUNT};
    }
    free(rows);
    return is_ok;
}

/* libllama wants a mean per column, as the reader gives it; ended by name NULL. */
static snug_status take_imatrix(const char *path, bool is_pretended, struct parts *p,
                                struct snug_error *err)
{
    static const float ONE = 1.0f;
    snug_status status = path[0] ? snug_imatrix_read(path, &p->imatrix, err) : SNUG_OK;
    if (status != SNUG_OK || (!path[0] && !is_pretended))
        return status;
    p->rows = calloc((size_t)p->imatrix.n_rows + 2, sizeof *p->rows);
    if (!p->rows)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: %d rows", path, p->imatrix.n_rows);
    if (!path[0]) /* a dry run only asks whether there is one */
        p->rows[0] = (struct llama_model_imatrix_data){.name = "-", .data = &ONE, .size = 1};
    for (int i = 0; i < p->imatrix.n_rows; i++) {
        const struct snug_imatrix_row *row = &p->imatrix.rows[i];
        p->rows[i] = (struct llama_model_imatrix_data){
            .name = row->name, .data = row->values, .size = (size_t)row->n};
    }
    return SNUG_OK;
}

static bool run(const struct snug_json_node *request, struct reading *reading, struct parts *p,
                struct snug_error *err)
{
    struct llama_model_quantize_params params = llama_model_quantize_default_params();
    params.ftype = (enum llama_ftype)snug_json_get_int(request, "file_type", LLAMA_FTYPE_GUESSED);
    params.nthread = (int32_t)snug_json_get_int(request, "n_threads", 0);
    params.dry_run = snug_json_get_bool(request, "dry", false);
    params.pure = snug_json_get_bool(request, "pure", false);
    params.allow_requantize = snug_json_get_bool(request, "requantize", false);
    if (!take_overrides(snug_json_get(request, "overrides"), p)) {
        snug_fail(err, SNUG_NO_MEMORY, "no memory for the types of tensors");
        return false;
    }
    if (take_imatrix(snug_json_get_string(request, "imatrix", ""),
                     snug_json_get_bool(request, "has_imatrix", false), p, err) != SNUG_OK)
        return false;
    params.imatrix = p->rows;
    params.tt_overrides = p->overrides[0].pattern ? p->overrides : NULL;
    snug__llama_log.last_error[0] = '\0';
    snug__llama_log.on_line = on_line;
    snug__llama_log.on_line_data = reading;
    const uint32_t rc = llama_model_quantize(snug_json_get_string(request, "model", ""),
                                             snug_json_get_string(request, "to", ""), &params);
    snug__llama_log.on_line = NULL;
    if (rc != 0)
        snug_fail(err, SNUG_BAD_INPUT, "%s",
                  snug__llama_log.last_error[0] ? snug__llama_log.last_error
                                                : "libllama cannot quantise it");
    return rc == 0;
}

void snug__worker_quantize(struct snug__worker *w, const struct snug_json_node *request)
{
    struct snug_error err = {0};
    struct snug_json_writer done = {0}, refused = {0};
    struct parts parts = {0};
    const bool is_dry = snug_json_get_bool(request, "dry", false);
    struct reading reading = {.w = w, .out = is_dry ? &done : NULL};
    snug_json_begin_object(&done, NULL);
    snug_json_put_string(&done, "event", "quantized");
    snug_json_begin_array(&done, "tensors");
    const bool is_done = run(request, &reading, &parts, &err);
    snug_json_end(&done);
    snug_json_end(&done);
    if (is_done) {
        snug__worker_send(w, &done);
    } else {
        snug_json_begin_object(&refused, NULL);
        snug_json_put_string(&refused, "event", "refused");
        snug_json_put_string(&refused, "reason", err.text);
        snug_json_end(&refused);
        snug__worker_send(w, &refused);
    }
    snug_json_writer_clear(&done);
    parts_clear(&parts);
}
