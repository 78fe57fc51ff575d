/* Batches and their decoding: what every way of running tokens through the context shares. */
#ifndef SNUG_ENGINE_WORKER_BATCH_H
#define SNUG_ENGINE_WORKER_BATCH_H

#include "engine/worker.h"

/* One more token; the batch must have room for it. */
void snug__batch_add(struct llama_batch *batch, llama_token token, int64_t pos, int64_t seq,
                     bool is_output);
/* llama_decode, with its failures in words; sets w->outcome then. `what` says during what. */
snug_status snug__worker_decode(struct snug__worker *w, struct llama_batch batch, const char *what,
                                struct snug_error *err) SNUG_CHECKED;

#endif
