/* Where a timed block takes its tokens from: random ones of fixed lengths, as llama-bench feeds
 * them, or the texts of a workload file in the words of the model's vocabulary.
 *
 * All sequences of one block take the same prompt, each behind a prefix of its own, so that their
 * lengths are equal and no cache of prompts could help. The next block takes the next prompt. */
#ifndef SNUG_ENGINE_WORKER_TOKENS_H
#define SNUG_ENGINE_WORKER_TOKENS_H

#include <llama.h>

#include "snug/stats.h"
#include "snug/trial.h"

/* Random tokens before a prompt, after the vocabulary's own first token if it has one. */
#define SNUG__PREFIX_TOKENS 4

struct snug__token_list {
    llama_token *tokens;
    int64_t n;
};

struct snug__token_turn {
    struct snug__token_list user, assistant;
};

struct snug__token_session {
    struct snug__token_turn *turns;
    int n_turns;
    int64_t n_tokens; /* of all turns, prefix included */
};

/* Zero state is empty; clear releases it. */
struct snug__tokens {
    const struct llama_vocab *vocab;
    struct snug_rng rng;
    int64_t n_random; /* length of a prompt of random tokens */
    /* Of a workload file; a prompt begins with room for its prefix when has_prefix. */
    struct snug__token_list *prompts;
    int n_prompts;
    struct snug__token_session *sessions;
    int n_sessions;
    bool has_prefix;
    int n_first;  /* tokens of every prompt that stand before the prefix: 1 where there is a BOS */
    int i_prompt; /* of this block; -1 before the first */
    int i_step;   /* where the text of single steps has got to */
    int64_t i_step_token;
};

/* Read and tokenise the workload's file, if it names one. The same seed gives the same tokens.
 * Errors  SNUG_BAD_INPUT: the file says something else than when it was hashed; a prompt or a
 *         session does not fit workload->n_ctx behind the depth; and what reading it may say. */
snug_status snug__tokens_init(struct snug__tokens *t, const struct llama_vocab *vocab,
                              const struct snug_workload *workload, uint64_t seed,
                              struct snug_error *err) SNUG_CHECKED;
void snug__tokens_clear(struct snug__tokens *t);
/* Go on to the next prompt; returns its length in tokens, equal for every sequence. Cheap, but not
 * free: call it before the clock starts. */
int64_t snug__tokens_next_block(struct snug__tokens *t);
/* Token i of this block's prompt. Ask in order, each sequence from 0 on: the prefix is drawn when
 * a sequence's first one is asked for. */
llama_token snug__tokens_prompt(struct snug__tokens *t, int64_t i);
/* A token to decode on its own, or to fill the depth with: random, or the next one of the texts. */
llama_token snug__tokens_step(struct snug__tokens *t);
/* Lengths of the prompts (of whole sessions, in a workload of sessions). */
int64_t snug__tokens_longest(const struct snug__tokens *t);
int64_t snug__tokens_median(const struct snug__tokens *t);
/* Draw a new prefix into the first turn of session i. */
void snug__tokens_renew_session(struct snug__tokens *t, int i);

/* A text in tokens (malloc'ed), text and not control: what looks like a control token is not one.
 * add_special: with the vocabulary's own first token. */
snug_status snug__tokenise(const struct llama_vocab *vocab, const char *text, bool add_special,
                           struct snug__token_list *out, struct snug_error *err) SNUG_CHECKED;

#endif
