/* snug/quality.h: what a configuration costs in quality, measured in process on libllama.
 *
 * Quality belongs to (model file, cache types, text, chunk length, build, reference): runs that
 * change only threads, batches or loading inherit it. */
#ifndef SNUG_QUALITY_H
#define SNUG_QUALITY_H

#include "snug/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A figure and its standard error; value NAN: not measured. */
struct snug_estimate {
    double value, se;
};

/* All logarithms natural. Over the scored tokens: the second half of every chunk, as
 * llama-perplexity scores them. */
struct snug_quality {
    char text_hash[65];      /* SHA-256 of the text file */
    char reference_hash[65]; /* of the reference file's identity; "" without a reference */
    char reference_name[128];
    char type_k[16], type_v[16];
    int64_t n_ctx, n_chunks, n_tokens; /* n_tokens: scored */
    struct snug_estimate nll;          /* mean negative log likelihood, nats per token */
    struct snug_estimate perplexity;   /* exp(nll) */
    struct snug_estimate bits_per_byte;
    /* against the reference; NAN without one */
    struct snug_estimate kld_mean; /* KL(reference || this), nats */
    double kld_median, kld_p99, kld_max;
    struct snug_estimate same_top_frac; /* share of equal most likely token */
    struct snug_estimate dp_rms_frac;   /* RMS change of the chosen token's probability */
    /* determinism floor: the same config twice and at another batch shape; NAN: not measured */
    double floor_kld, floor_flip_frac;
    double wall_s, tokens_per_s; /* of the evaluation, load not included */
};
void snug_quality_init(struct snug_quality *out); /* every figure NAN, texts "" */
/* "KLD 0.01230 +- 0.00040", "PPL 2.0130 +- 0.0120" without a reference, or "not measured". */
const char *snug_quality_text(const struct snug_quality *q, char *out, size_t cap);

#define SNUG_EVAL_TEXT_MAX (256u << 20) /* bytes of a text */
#define SNUG_EVAL_CHUNK_DEFAULT 512     /* llama-perplexity's */
/* Tokens of a chunk where nothing is said: the above, or what the model was trained with if less.
 */
int64_t snug_quality_chunk(int64_t n_ctx_train);

#ifdef __cplusplus
}
#endif
#endif
