/* snug/score.h: text through a model in a worker process: how likely choices are as continuations,
 * and what a model answers. The config's cache types, threads and devices are those of a trial. */
#ifndef SNUG_SCORE_H
#define SNUG_SCORE_H

#include "snug/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

struct snug_scorer; /* one worker, which keeps the model loaded between calls */

/* Caps, each tested at cap and cap + 1. */
#define SNUG_SCORE_CHOICES_MAX 64
#define SNUG_SCORE_TEXT_MAX (256u << 10) /* bytes of a context, a choice, a prompt */
#define SNUG_SCORE_ITEMS_MAX 256         /* of one call */
#define SNUG_GENERATE_MAX 65536          /* tokens of one answer */

/* Options as for snug_engine_open; n_ctx of the workload is the context that texts must fit. What
 * they point to is kept. No process is started before the first call. */
snug_status snug_scorer_open(const struct snug_engine_options *options, struct snug_scorer **out,
                             struct snug_error *err) SNUG_CHECKED;
void snug_scorer_close(struct snug_scorer *scorer);

struct snug_score_item {
    const char *context;
    const char *const *choices; /* each is appended to the context as it is */
    int n_choices;
};

/* log_prob = sum over the choice's tokens of ln p(token | all before it). Context and choice are
 * tokenised together; tokens that all choices of the item share count as context, so the boundary
 * is the same for all of them. Does not depend on the other choices' order or on other items. */
struct snug_score {
    double log_prob; /* nats */
    int n_tokens;    /* summed over */
    int n_bytes;     /* of the choice, without the spaces that it begins with */
};

struct snug_item_scores {
    struct snug_score choices[SNUG_SCORE_CHOICES_MAX];
    int n_choices;
    int n_context_tokens;
    int n_cut_tokens; /* cut from the front of a context that was too long; 0 mostly */
};

/* Score n items; out[n].
 * Errors  SNUG_BAD_INPUT: past a cap, or a choice that does not fit the context; SNUG_CRASHED: the
 *         worker is gone (its words are quoted; the next call starts another); SNUG_UNSUPPORTED:
 * the engine refuses; SNUG_INTERRUPTED */
snug_status snug_score_run(struct snug_scorer *scorer, const struct snug_space *space,
                           const struct snug_config *config, const struct snug_score_item *items,
                           size_t n, struct snug_item_scores *out,
                           struct snug_error *err) SNUG_CHECKED;

struct snug_generated {
    char *text;                      /* malloc'ed; release with snug_generated_clear */
    bool is_at_end, is_context_full; /* the model ended by itself; else n_max or the context did */
    int64_t n_prompt, n_tokens;
};

/* Continue a prompt greedily (the most likely token each time, the first of equals), for at most
 * n_max tokens or until the model's end token. Special tokens written in the prompt are read as
 * such. Errors as above. */
snug_status snug_generate_run(struct snug_scorer *scorer, const struct snug_space *space,
                              const struct snug_config *config, const char *prompt, int64_t n_max,
                              struct snug_generated *out, struct snug_error *err) SNUG_CHECKED;
void snug_generated_clear(struct snug_generated *generated);

#ifdef __cplusplus
}
#endif
#endif
