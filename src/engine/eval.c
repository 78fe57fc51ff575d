/* Evaluating quality, parent side: one worker for one evaluation. */
#include <stdlib.h>
#include <string.h>

#include "engine/llama_engine.h"
#include "engine/reference.h"
#include "trial/quality_json.h"
#include "trial/trial_json.h"

static void write_request(const struct snug_eval_options *o, struct snug_json_writer *w)
{
    const char *slash = strrchr(o->model_path, '/');
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "op", "eval");
    snug_config_to_json(w, "config", o->space, o->config);
    snug_json_put_string(w, "text", o->text_path);
    snug_json_put_int(w, "n_ctx", o->n_ctx);
    snug_json_put_int(w, "n_chunks", o->n_chunks);
    snug_json_put_int(w, "n_chunks_max", o->n_chunks_max);
    snug_json_put_string(w, "read", o->reference_read ? o->reference_read : "");
    snug_json_put_string(w, "write", o->reference_write ? o->reference_write : "");
    snug_json_put_string(w, "model_name", slash ? slash + 1 : o->model_path);
    snug_json_put_string(w, "model_hash", o->model->hash);
    snug_json_put_bool(w, "want_floor", o->want_floor);
    snug_json_put_string(w, "folder", o->folder ? o->folder : "/tmp");
    snug_json_end(w);
}

snug_status snug_engine_eval(const struct snug_eval_options *o, struct snug_quality *out,
                             struct snug_error *err)
{
    const struct snug_engine_options options = {.model_path = o->model_path,
                                                .model = o->model,
                                                .stop = o->stop,
                                                .progress = o->progress,
                                                .progress_data = o->progress_data};
    struct snug__link link = {.limit_bytes = o->memory_limit_bytes};
    struct snug__link_end end = {0};
    struct snug_json *doc = NULL;
    if (o->n_ctx < 4 || o->n_ctx > SNUG__CHUNK_MAX || o->n_chunks < 0 ||
        o->n_chunks > SNUG__CHUNKS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "chunks of 4 to %d tokens, at most %d of them",
                         SNUG__CHUNK_MAX, SNUG__CHUNKS_MAX);
    snug_status status = snug__link_open(&link, &options, NULL, err);
    if (status != SNUG_OK)
        return status;
    struct snug_json_writer request = {0};
    write_request(o, &request);
    status = snug__link_call(&link, &options, &request, o->deadline_s, &doc, &end, err);
    const struct snug_json_node *root = snug_json_root(doc);
    if (status == SNUG_OK && strcmp(snug_json_get_string(root, "event", ""), "eval") == 0)
        snug_quality_from_json(snug_json_get(root, "quality"), out);
    else if (status == SNUG_OK)
        status = snug__link_refusal(root, err);
    snug_json_free(doc);
    snug__link_close(&link);
    return status;
}

snug_status snug_engine_reference_check(const char *path, int64_t n_ctx, int64_t n_chunks,
                                        struct snug_error *err)
{
    struct snug__reference reference = {.file = NULL};
    int32_t *tokens = NULL;
    snug_status status = snug__reference_open(path, &reference, &tokens, err);
    if (status != SNUG_OK)
        return status;
    const struct snug__reference_head *h = &reference.head;
    if (h->n_ctx != n_ctx || (n_chunks > 0 && h->n_chunks < n_chunks))
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: of %d chunks of %d tokens", path, h->n_chunks,
                           h->n_ctx);
    free(tokens);
    snug__reference_close(&reference);
    return status;
}
