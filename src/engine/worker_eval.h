/* Quality inside the worker: perplexity and divergence over the chunks of a text.
 *   ->
 * {"op":"eval","config":{..},"text":PATH,"n_ctx":N,"n_chunks":N,"write":PATH|"","read":PATH|"",
 *       "model_name":..,"model_hash":..,"want_floor":BOOL}
 *   <- {"event":"phase","name":"chunk I of N"}* {"event":"eval","quality":{..},"note":..} | refused
 */
#ifndef SNUG_ENGINE_WORKER_EVAL_H
#define SNUG_ENGINE_WORKER_EVAL_H

#include "engine/worker.h"

void snug__worker_eval(struct snug__worker *w, const struct snug__settings *settings,
                       const struct snug_json_node *request);

#endif
