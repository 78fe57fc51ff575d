/* snug/trace.h: one request, moment by moment, for chrome://tracing and ui.perfetto.dev.
 *
 * A fresh worker loads the model, makes a context and serves one request: tokenise, prefill one
 * ubatch at a time, sample the first token, then decode and sample until n_gen tokens are there,
 * detokenise. An end of text does not end it. Nothing is warmed up: the first ubatch also pays for
 * what is touched for the first time. Resident memory and CPU frequency are sampled by a thread of
 * the worker every 10 and 100 ms. */
#ifndef SNUG_TRACE_H
#define SNUG_TRACE_H

#include "snug/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SNUG_TRACE_GEN_MAX 65536
#define SNUG_TRACE_PROMPT_MAX (1 << 20)  /* random tokens */
#define SNUG_TRACE_TEXT_MAX (4u << 20)   /* bytes of a prompt */
#define SNUG_TRACE_OUTPUT_MAX (1u << 20) /* bytes of the answer that are kept */
#define SNUG_TRACE_SAMPLES_MAX                                                                     \
    16384 /* beyond that every second one is dropped, as often as needed */

/* One row per kind: constant suffix, name in the trace. A request holds the tokenise, prefill,
 * first sample, generate and detokenise that follow it without gaps; a prefill holds ubatches, a
 * generate holds decodes and samples. */
#define SNUG_TRACE_SPANS(X)                                                                        \
    X(LOAD, "load")                                                                                \
    X(CONTEXT, "context")                                                                          \
    X(REQUEST, "request")                                                                          \
    X(TOKENISE, "tokenise")                                                                        \
    X(PREFILL, "prefill")                                                                          \
    X(UBATCH, "prefill ubatch")                                                                    \
    X(FIRST_SAMPLE, "first sample")                                                                \
    X(GENERATE, "generate")                                                                        \
    X(DECODE, "decode")                                                                            \
    X(SAMPLE, "sample")                                                                            \
    X(DETOKENISE, "detokenise")

enum snug_trace_kind {
#define SNUG_TRACE_ENUM(name, text) SNUG_TRACE_##name,
    SNUG_TRACE_SPANS(SNUG_TRACE_ENUM)
#undef SNUG_TRACE_ENUM
        SNUG_N_TRACE_KINDS
};
const char *snug_trace_kind_name(enum snug_trace_kind kind);

struct snug_trace_span {
    enum snug_trace_kind kind;
    int64_t start_ns, end_ns; /* since the worker was asked */
    int64_t n_tokens;         /* of this span; 0 where it has none */
    int64_t n_cached;         /* tokens in the cache when it ends */
};

struct snug_trace_sample {
    int64_t at_ns;
    uint64_t rss_bytes; /* 0: not read this time */
    double cpu_mhz;     /* mean over the CPUs the worker may use; 0: not read this time */
};

/* What to ask. */
struct snug_trace_request {
    const char *text;  /* UTF-8; NULL: options->workload.n_prompt random tokens */
    uint64_t seed;     /* of random tokens and of the sampler */
    double deadline_s; /* load included */
};

struct snug_trace {
    struct snug_trace_span *spans; /* by start, a parent before its children; malloc'ed */
    size_t n_spans;
    struct snug_trace_sample *samples; /* malloc'ed */
    size_t n_samples;
    int64_t n_prompt, n_gen; /* tokens */
    char *output;            /* what was answered; malloc'ed */
    char no_frequency[SNUG_REASON_MAX], no_memory[SNUG_REASON_MAX]; /* why not read; "" else */
    char sampler[96];                                               /* how tokens were chosen */
    char build[64];
    char effective[512]; /* "n_threads=2 ...": read back from the engine */
};

/* The prompt that is used when the user names none. */
const char *snug_trace_default_text(void);

/* Run one request of options->workload.n_gen tokens. For a text n_prompt is not looked at; n_ctx
 * must hold prompt and answer. space and config: an engine's own, see snug_engine_space.
 * Errors  SNUG_BAD_INPUT: lengths or text; SNUG_UNSUPPORTED: the engine refused, with its words;
 *         SNUG_CRASHED, SNUG_INTERRUPTED. */
snug_status snug_trace_run(const struct snug_engine_options *options,
                           const struct snug_space *space, const struct snug_config *config,
                           const struct snug_trace_request *request, struct snug_trace *out,
                           struct snug_error *err) SNUG_CHECKED;
void snug_trace_clear(struct snug_trace *trace);
/* Trace Event Format, JSON object form, malloc'ed: complete events (ph X, microseconds), counters
 * (C) and names (M); what else is known is in otherData. NULL when memory is out. */
char *snug_trace_json(const struct snug_trace *trace, const char *model_name);

#ifdef __cplusplus
}
#endif
#endif
