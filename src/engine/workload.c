/* Lengths of a workload file in the tokens of a model, asked of a worker with the vocabulary alone.
 */
#include <string.h>

#include "engine/llama_engine.h"
#include "trial/trial_json.h"

static const double LIMIT_S = 60.0;
static const uint64_t LIMIT_BYTES = 2ull << 30;

static snug_status read_lengths(const struct snug_json_node *root,
                                struct snug_workload_lengths *out, struct snug_error *err)
{
    if (strcmp(snug_json_get_string(root, "event", ""), "tokens") != 0)
        return snug_fail(err, SNUG_BAD_INPUT, "%s",
                         snug_json_get_string(root, "reason", "no reason given"));
    out->n_longest = snug_json_get_int(root, "longest", 0);
    out->n_median = snug_json_get_int(root, "median", 0);
    out->is_session = snug_json_get_bool(root, "is_session", false);
    return SNUG_OK;
}

snug_status snug_engine_workload_lengths(const char *model_path, const struct snug_model *model,
                                         const struct snug_workload *workload,
                                         struct snug_workload_lengths *out, struct snug_error *err)
{
    const struct snug_engine_options options = {
        .model_path = model_path, .model = model, .workload = *workload};
    struct snug__link link = {.limit_bytes = LIMIT_BYTES};
    struct snug__link_end end = {0};
    struct snug_json *doc = NULL;
    struct snug_json_writer request = {0};
    snug_status status = snug__link_open(&link, &options, NULL, err);
    if (status != SNUG_OK)
        return status;
    snug_json_begin_object(&request, NULL);
    snug_json_put_string(&request, "op", "tokens");
    snug_json_begin_object(&request, "config");
    snug_json_end(&request);
    snug_workload_to_json(&request, "workload", workload);
    snug_json_end(&request);
    status = snug__link_call(&link, &options, &request, LIMIT_S, &doc, &end, err);
    if (status == SNUG_OK)
        status = read_lengths(snug_json_root(doc), out, err);
    snug_json_free(doc);
    snug__link_close(&link);
    return status;
}
