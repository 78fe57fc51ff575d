/* Batches and their decoding. See worker_batch.h. */
#include "engine/worker_batch.h"

void snug__batch_add(struct llama_batch *batch, llama_token token, int64_t pos, int64_t seq,
                     bool is_output)
{
    const int32_t i = batch->n_tokens++;
    batch->token[i] = token;
    batch->pos[i] = (llama_pos)pos;
    batch->n_seq_id[i] = 1;
    batch->seq_id[i][0] = (llama_seq_id)seq;
    batch->logits[i] = is_output;
}

/* -2 is libllama's word for an allocation that failed. */
snug_status snug__worker_decode(struct snug__worker *w, struct llama_batch batch, const char *what,
                                struct snug_error *err)
{
    const int rc = llama_decode(w->context, batch);
    if (rc == 0)
        return SNUG_OK;
    w->outcome = rc == -2 ? SNUG_TRIAL_OOM : SNUG_TRIAL_REFUSED;
    return snug_fail(err, SNUG_UNSUPPORTED, "llama_decode returned %d during %s: %s", rc, what,
                     snug__llama_log.last_error[0] ? snug__llama_log.last_error
                     : rc == 1                     ? "the cache is full"
                                                   : "no reason given");
}
