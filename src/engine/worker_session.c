/* Sessions on a prepared context. See worker_session.h. Same calls as worker_measure times. */
#include "engine/worker_session.h"

#include "base/process.h"
#include "engine/worker_batch.h"

struct replay {
    struct snug__worker *w;
    struct llama_batch batch; /* of n_batch tokens */
    int64_t n_cached;         /* position of the next token */
};

/* The user's tokens in batches; only the last one has logits. */
static snug_status prefill(struct replay *r, const struct snug__token_list *list,
                           struct snug_error *err)
{
    const int64_t n_batch = r->w->settings.n_batch;
    for (int64_t done = 0; done < list->n;) {
        r->batch.n_tokens = 0;
        for (; done < list->n && r->batch.n_tokens < n_batch; done++)
            snug__batch_add(&r->batch, list->tokens[done], r->n_cached + done, 0,
                            done + 1 == list->n);
        const snug_status status = snug__worker_decode(r->w, r->batch, "prefill of a session", err);
        if (status != SNUG_OK)
            return status;
    }
    llama_synchronize(r->w->context);
    r->n_cached += list->n;
    return SNUG_OK;
}

/* The answer is known, but is fed one token at a time: what generating it would have cost. */
static snug_status answer(struct replay *r, const struct snug__token_list *list,
                          struct snug_error *err)
{
    for (int64_t i = 0; i < list->n; i++) {
        r->batch.n_tokens = 0;
        snug__batch_add(&r->batch, list->tokens[i], r->n_cached, 0, true);
        const snug_status status = snug__worker_decode(r->w, r->batch, "decode of a session", err);
        if (status != SNUG_OK)
            return status;
        llama_synchronize(r->w->context);
        r->n_cached++;
    }
    return SNUG_OK;
}

static snug_status run_turn(struct replay *r, const struct snug__token_turn *turn,
                            struct snug__session_turn *out, struct snug_error *err)
{
    llama_memory_t memory = llama_get_memory(r->w->context);
    struct snug__session_turn t = {.n_new = turn->user.n, .n_gen = turn->assistant.n};
    t.n_reused = (int64_t)llama_memory_seq_pos_max(memory, 0) + 1;
    const double start = snug_clock_s();
    snug_status status = prefill(r, &turn->user, err);
    t.prefill_s = snug_clock_s() - start;
    if (status != SNUG_OK)
        return status;
    const double first = snug_clock_s();
    status = answer(r, &turn->assistant, err);
    const double end = snug_clock_s();
    t.decode_s = end - first;
    t.turn_s = end - start;
    if (status == SNUG_OK)
        *out = t;
    return status;
}

snug_status snug__worker_session(struct snug__worker *w, struct snug__tokens *tokens, int i,
                                 int64_t n_cached, struct snug__session_turn *out_turns,
                                 struct snug_error *err)
{
    const struct snug__token_session *session = &tokens->sessions[i];
    llama_memory_t memory = llama_get_memory(w->context);
    if (n_cached == 0) {
        llama_memory_clear(memory, false);
    } else if (!llama_memory_seq_rm(memory, 0, (llama_pos)n_cached, -1)) {
        w->outcome = SNUG_TRIAL_REFUSED;
        return snug_fail(err, SNUG_UNSUPPORTED,
                         "this model's memory cannot forget a session behind depth %lld: use "
                         "depth 0",
                         (long long)n_cached);
    }
    snug__tokens_renew_session(tokens, i);
    struct replay r = {.w = w, .n_cached = n_cached};
    r.batch = llama_batch_init(w->settings.n_batch, 0, 1);
    snug_status status = SNUG_OK;
    for (int k = 0; k < session->n_turns && status == SNUG_OK; k++)
        status = run_turn(&r, &session->turns[k], &out_turns[k], err);
    llama_batch_free(r.batch);
    return status;
}
