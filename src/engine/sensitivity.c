/* Reconstruction errors, parent side: in a worker, since ggml ends its process on weights that it
 * does not like. */
#include "engine/sensitivity.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/llama_engine.h"

/* Of the link, not of the worker's words. */
static snug_status explain(snug_status status, const struct snug__link_end *end, const char *path,
                           struct snug_error *err)
{
    if (status != SNUG_CRASHED)
        return status;
    return snug_fail(err, end->outcome == SNUG_TRIAL_TIMEOUT ? SNUG_TIMEOUT : SNUG_CRASHED,
                     "%s: %s", path, end->reason);
}

static void write_errors_request(const struct snug__errors_request *r, struct snug_json_writer *w)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "op", "errors");
    snug_json_put_string(w, "model", r->model->path);
    snug_json_put_string(w, "imatrix", r->imatrix_path ? r->imatrix_path : "");
    snug_json_begin_array(w, "types");
    for (int i = 0; i < r->n_types; i++)
        snug_json_put_int(w, NULL, r->types[i]);
    snug_json_end(w);
    snug_json_end(w);
}

static snug_status take_errors(const struct snug__errors_request *r,
                               const struct snug_json_node *root, struct snug_estimate *out,
                               struct snug_error *err)
{
    const struct snug_json_node *values[2 * SNUG_MODEL_TYPES_MAX];
    const int64_t i_tensor = snug_json_get_int(root, "tensor", -1);
    const size_t n = (size_t)(2 * r->n_types);
    if (i_tensor < 0 || i_tensor >= r->model->n_tensors ||
        snug_json_elements(snug_json_get(root, "values"), values, n) != n)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: changed while it was read", r->model->path);
    for (int i = 0; i < r->n_types; i++)
        out[i_tensor * r->n_types + i] = (struct snug_estimate){
            snug_json_number(values[2 * i], NAN), snug_json_number(values[2 * i + 1], NAN)};
    return SNUG_OK;
}

/* Events until the end of the request; *n_done counts tensors. */
static snug_status collect(struct snug__link *link, const struct snug_engine_options *options,
                           const struct snug__errors_request *r, struct snug_estimate *out,
                           struct snug_error *err)
{
    struct snug_json_writer request = {0};
    struct snug__link_end end = {0};
    struct snug_json *doc = NULL;
    int n_done = 0;
    write_errors_request(r, &request);
    snug_status status = snug__link_call(link, options, &request, r->deadline_s, &doc, &end, err);
    while (status == SNUG_OK) {
        const struct snug_json_node *root = snug_json_root(doc);
        const char *event = snug_json_get_string(root, "event", "");
        if (strcmp(event, "errors") != 0) {
            if (strcmp(event, "done") != 0)
                status = snug__link_refusal(root, err);
            else if (n_done != r->model->n_tensors)
                status =
                    snug_fail(err, SNUG_BAD_INPUT, "%s: changed while it was read", r->model->path);
            break;
        }
        status = take_errors(r, root, out, err);
        if (status != SNUG_OK)
            break;
        n_done++;
        if (r->progress) {
            char text[64];
            snprintf(text, sizeof text, "tensor %d of %d", n_done, r->model->n_tensors);
            r->progress(text, r->progress_data);
        }
        snug_json_free(doc);
        doc = NULL;
        status = snug__link_next(link, options, r->deadline_s, &doc, &end, err);
    }
    snug_json_free(doc);
    return explain(status, &end, r->model->path, err);
}

snug_status snug__sensitivity_errors(const struct snug__errors_request *r,
                                     struct snug_estimate *out, struct snug_error *err)
{
    const struct snug_engine_options options = {
        .model_path = r->model->path, .model = r->model, .stop = r->stop};
    struct snug__link link = {0};
    if (r->n_types < 1 || r->n_types > SNUG_MODEL_TYPES_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "1 to %d types at once", SNUG_MODEL_TYPES_MAX);
    snug_status status = snug__link_open(&link, &options, NULL, err);
    if (status == SNUG_OK)
        status = collect(&link, &options, r, out, err);
    snug__link_close(&link);
    return status;
}
