/* Quantising in the worker: one call into libllama. */
#include "engine/quantize.h"

#include "engine/worker.h"

void snug__worker_quantize(struct snug__worker *w, const struct snug_json_node *request)
{
    const char *from = snug_json_get_string(request, "model", "");
    const char *to = snug_json_get_string(request, "to", "");
    struct llama_model_quantize_params params = llama_model_quantize_default_params();
    struct snug_json_writer writer = {0};
    params.ftype = snug__weight_type(snug_json_get_string(request, "type", ""));
    snug__llama_log.last_error[0] = '\0';
    const bool is_done =
        params.ftype != LLAMA_FTYPE_GUESSED && llama_model_quantize(from, to, &params) == 0;
    snug_json_begin_object(&writer, NULL);
    snug_json_put_string(&writer, "event", is_done ? "quantized" : "refused");
    if (!is_done)
        snug_json_put_string(&writer, "reason",
                             snug__llama_log.last_error[0] ? snug__llama_log.last_error
                                                           : "libllama cannot quantise it");
    snug_json_end(&writer);
    snug__worker_send(w, &writer);
}
