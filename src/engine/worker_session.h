/* A session of several turns on the prepared context, replayed with its growing prefix: a turn
 * prefills only what the user added, and the answer is fed token by token as decode would, so that
 * the next turn finds all of it in the cache. */
#ifndef SNUG_ENGINE_WORKER_SESSION_H
#define SNUG_ENGINE_WORKER_SESSION_H

#include "engine/worker.h"
#include "engine/worker_tokens.h"

/* One turn. Its prompt is n_reused + n_new tokens long; share reused = n_reused / that. */
struct snug__session_turn {
    int64_t n_reused; /* in the cache already, as libllama's memory says when the turn begins */
    int64_t n_new;    /* prefilled */
    int64_t n_gen;    /* of the answer */
    double prefill_s; /* the new tokens */
    double decode_s;  /* the answer; TPOT = decode_s / n_gen */
    double turn_s;    /* from the first new token to the last of the answer */
};

/* Run session i as sequence 0 behind n_cached tokens, which the caller has put into the cache (the
 * depth; what lies behind them is forgotten). Fills out_turns[0 .. n_turns - 1] of that session.
 * Errors  SNUG_UNSUPPORTED: libllama refused, or its memory cannot forget a tail; w->outcome says
 *         how the trial ends then. */
snug_status snug__worker_session(struct snug__worker *w, struct snug__tokens *tokens, int i,
                                 int64_t n_cached, struct snug__session_turn *out_turns,
                                 struct snug_error *err) SNUG_CHECKED;

#endif
