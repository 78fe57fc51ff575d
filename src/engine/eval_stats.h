/* Sums behind the quality figures, in llama-perplexity's terms. */
#ifndef SNUG_ENGINE_EVAL_STATS_H
#define SNUG_ENGINE_EVAL_STATS_H

#include "snug/quality.h"

/* What one scored position gave. All in nats. */
struct snug__position {
    double nll;    /* of the token that came */
    double kld;    /* against the reference; NAN without one */
    double dp;     /* change of the token's probability against the reference */
    bool same_top; /* the most likely token is the reference's */
};

/* Natural log of the softmax of n logits; returns the index of the largest. Sums in double. */
int32_t snug__log_softmax(const float *logits, int32_t n, float *out_log_p);
/* Score a position from its log probabilities and, when not NULL, the reference's. */
void snug__position_score(const float *log_p, int32_t top, const float *reference, int32_t n,
                          int32_t token, struct snug__position *out);

struct snug__sums {
    double nll, nll2, kld, kld2, dp2, dp4, n_same;
    double n, n_bytes; /* positions, bytes of their tokens */
    bool has_reference;
};

void snug__sums_add(struct snug__sums *s, const struct snug__position *p);
/* Means and their standard errors into the figures of out; klds: one per position, sorted here. */
void snug__sums_finish(const struct snug__sums *s, float *klds, struct snug_quality *out);

#endif
