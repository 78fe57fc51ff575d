/* Making an importance matrix, parent side: one worker for one text. */
#include <string.h>

#include "engine/imatrix.h"
#include "engine/llama_engine.h"
#include "engine/part_file.h"

static const double NO_DEADLINE_S = 30.0 * 86400.0;
enum { CHUNK_DEFAULT = 512, CHUNK_MIN = 16 };

static void write_request(const struct snug_imatrix_options *o, const char *part,
                          struct snug_json_writer *w)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "op", "imatrix");
    snug_json_begin_object(w, "config");
    if (o->n_threads > 0) {
        snug_json_put_int(w, "n_threads", o->n_threads);
        snug_json_put_int(w, "n_threads_batch", o->n_threads);
    }
    snug_json_end(w);
    snug_json_put_string(w, "text", o->text_path);
    snug_json_put_string(w, "to", part);
    snug_json_put_int(w, "n_ctx", o->n_ctx ? o->n_ctx : CHUNK_DEFAULT);
    snug_json_put_int(w, "n_chunks", o->n_chunks);
    snug_json_end(w);
}

static snug_status collect(const struct snug_imatrix_options *o, const struct snug_model *model,
                           const char *part, int64_t *out_n_chunks, struct snug_error *err)
{
    const struct snug_engine_options options = {.model_path = o->model_path,
                                                .model = model,
                                                .stop = o->stop,
                                                .progress = o->progress,
                                                .progress_data = o->progress_data};
    struct snug__link link = {.is_open = false};
    struct snug__link_end end = {0};
    struct snug_json *doc = NULL;
    struct snug_json_writer request = {0};
    snug_status status = snug__link_open(&link, &options, NULL, err);
    if (status != SNUG_OK)
        return status;
    write_request(o, part, &request);
    status = snug__link_call(&link, &options, &request,
                             o->deadline_s > 0 ? o->deadline_s : NO_DEADLINE_S, &doc, &end, err);
    const struct snug_json_node *root = snug_json_root(doc);
    if (status == SNUG_OK && strcmp(snug_json_get_string(root, "event", ""), "imatrix") != 0)
        status = snug__link_refusal(root, err);
    if (status == SNUG_OK)
        *out_n_chunks = snug_json_get_int(root, "n_chunks", 0);
    snug_json_free(doc);
    snug__link_close(&link);
    return status;
}

snug_status snug_engine_imatrix(const struct snug_imatrix_options *o, int64_t *out_n_chunks,
                                struct snug_error *err)
{
    struct snug__part part;
    struct snug_model model = {.n_tensors = 0};
    struct snug_imatrix made = {.n_rows = 0};
    int64_t n_chunks = 0;
    if (o->n_ctx != 0 && (o->n_ctx < CHUNK_MIN || o->n_ctx > SNUG_IMATRIX_CHUNK_MAX))
        return snug_fail(err, SNUG_BAD_INPUT, "chunks of %d to %d tokens are accepted", CHUNK_MIN,
                         SNUG_IMATRIX_CHUNK_MAX);
    snug_status status = snug_model_open(o->model_path, &model, err);
    if (status == SNUG_OK && model.is_preset)
        status = snug_fail(err, SNUG_BAD_INPUT, "%s is a preset, not a file with weights",
                           o->model_path);
    if (status == SNUG_OK)
        status = snug__part_begin(o->out_path, 0, &part, err);
    if (status == SNUG_OK) {
        status = collect(o, &model, part.path, &n_chunks, err);
        if (status == SNUG_OK)
            status = snug_imatrix_read(part.path, &made, err); /* what is kept can be read */
        if (status == SNUG_OK)
            status = snug__part_finish(&part, o->out_path, err);
        else
            snug__part_drop(&part);
    }
    if (status == SNUG_OK && out_n_chunks)
        *out_n_chunks = n_chunks;
    snug_imatrix_clear(&made);
    snug_model_clear(&model);
    return status;
}
