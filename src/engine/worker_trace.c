/* One request, moment by moment. Every span begins where the one before it ended, by one reading of
 * the clock, so that they tile the request; nothing is sent or printed while it runs. */
#include "engine/worker_trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/process.h"
#include "engine/trace_meters.h"
#include "engine/worker_batch.h"
#include "engine/worker_tokens.h"
#include "snug/trace.h"

#define SPANS_BESIDES 16  /* load, context, the parents, a last ubatch that is not full */
#define ROWS_PER_LINE 512 /* some 30 kB a line */
static const int32_t PIECE_BYTES_GUESS = 8;
/* What llama-server samples with when nothing is said, penalties aside. */
static const struct {
    int top_k;
    float top_p, min_p, temperature;
} SAMPLER = {40, 0.95f, 0.05f, 0.8f};

struct tracer {
    struct snug__worker *w;
    const struct snug_workload *workload;
    const struct llama_vocab *vocab;
    struct snug__token_list prompt;
    llama_token *answer;
    int64_t n_answer;
    char *output; /* the answer in words */
    struct llama_batch batch;
    bool has_batch;
    struct llama_sampler *sampler;
    uint64_t seed;
    struct snug_trace_span *spans;
    size_t n_spans;
    double origin_s;
    int64_t now_ns; /* end of the last span */
    int64_t n_cached;
};

static int64_t clock_ns(const struct tracer *t)
{
    return (int64_t)((snug_clock_s() - t->origin_s) * 1e9);
}

static void add_span(struct tracer *t, enum snug_trace_kind kind, int64_t start_ns,
                     int64_t n_tokens)
{
    t->spans[t->n_spans++] =
        (struct snug_trace_span){kind, start_ns, t->now_ns, n_tokens, t->n_cached};
}

/* From the end of the last span to this moment. */
static void mark(struct tracer *t, enum snug_trace_kind kind, int64_t n_tokens)
{
    const int64_t start_ns = t->now_ns;
    t->now_ns = clock_ns(t);
    add_span(t, kind, start_ns, n_tokens);
}

/* A parent stands before its children: its row is kept free until they are done. */
static size_t open_parent(struct tracer *t)
{
    t->spans[t->n_spans].start_ns = t->now_ns;
    return t->n_spans++;
}

static void close_parent(struct tracer *t, size_t at, enum snug_trace_kind kind, int64_t n_tokens)
{
    t->spans[at] =
        (struct snug_trace_span){kind, t->spans[at].start_ns, t->now_ns, n_tokens, t->n_cached};
}

/* ---- the steps ---- */

/* Room for the steps of this prompt and its answer. */
static snug_status reserve(struct tracer *t, struct snug_error *err)
{
    const int64_t n_steps = t->prompt.n / t->w->settings.n_ubatch + 2 * t->workload->n_gen;
    const size_t cap = t->n_spans + (size_t)n_steps + SPANS_BESIDES;
    struct snug_trace_span *grown = realloc(t->spans, cap * sizeof *grown);
    if (!grown)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a trace of %zu steps", cap);
    t->spans = grown;
    return SNUG_OK;
}

static snug_status tokenise(struct tracer *t, const char *text, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    if (text) {
        status = snug__tokenise(t->vocab, text, true, &t->prompt, err);
    } else {
        struct snug_rng rng;
        snug_rng_init(&rng, t->seed);
        t->prompt.n = t->workload->n_prompt;
        t->prompt.tokens = calloc((size_t)t->prompt.n, sizeof *t->prompt.tokens);
        if (!t->prompt.tokens)
            return snug_fail(err, SNUG_NO_MEMORY, "no memory for the prompt");
        for (int64_t i = 0; i < t->prompt.n; i++)
            t->prompt.tokens[i] =
                (llama_token)snug_rng_below(&rng, (uint64_t)llama_vocab_n_tokens(t->vocab));
    }
    if (status == SNUG_OK)
        status = reserve(t, err);
    if (status != SNUG_OK)
        return status;
    mark(t, SNUG_TRACE_TOKENISE, t->prompt.n);
    const int64_t need = t->prompt.n + t->workload->n_gen;
    if (need > t->workload->n_ctx)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "a context of %lld tokens does not hold a prompt of %lld and %lld more: "
                         "give --context %lld or a shorter prompt",
                         (long long)t->workload->n_ctx, (long long)t->prompt.n,
                         (long long)t->workload->n_gen, (long long)need);
    return SNUG_OK;
}

static snug_status prefill(struct tracer *t, struct snug_error *err)
{
    const int64_t n_ubatch = t->w->settings.n_ubatch;
    const size_t parent = open_parent(t);
    for (int64_t done = 0; done < t->prompt.n;) {
        t->batch.n_tokens = 0;
        for (; done < t->prompt.n && t->batch.n_tokens < n_ubatch; done++)
            snug__batch_add(&t->batch, t->prompt.tokens[done], done, 0, done + 1 == t->prompt.n);
        const snug_status status = snug__worker_decode(t->w, t->batch, "prefill", err);
        if (status != SNUG_OK)
            return status;
        llama_synchronize(t->w->context);
        t->n_cached = done;
        mark(t, SNUG_TRACE_UBATCH, t->batch.n_tokens);
    }
    close_parent(t, parent, SNUG_TRACE_PREFILL, t->prompt.n);
    return SNUG_OK;
}

static void sample(struct tracer *t, enum snug_trace_kind kind)
{
    t->answer[t->n_answer++] = llama_sampler_sample(t->sampler, t->w->context, -1);
    mark(t, kind, 1);
}

static snug_status generate(struct tracer *t, struct snug_error *err)
{
    if (t->workload->n_gen < 2)
        return SNUG_OK;
    const size_t parent = open_parent(t);
    while (t->n_answer < t->workload->n_gen) {
        t->batch.n_tokens = 0;
        snug__batch_add(&t->batch, t->answer[t->n_answer - 1], t->n_cached, 0, true);
        const snug_status status = snug__worker_decode(t->w, t->batch, "decode", err);
        if (status != SNUG_OK)
            return status;
        llama_synchronize(t->w->context);
        t->n_cached++;
        mark(t, SNUG_TRACE_DECODE, 1);
        sample(t, SNUG_TRACE_SAMPLE);
    }
    close_parent(t, parent, SNUG_TRACE_GENERATE, t->workload->n_gen - 1);
    return SNUG_OK;
}

static snug_status detokenise(struct tracer *t, struct snug_error *err)
{
    int32_t room = (int32_t)t->n_answer * PIECE_BYTES_GUESS + 64, n = 0;
    for (int i = 0; i < 2; i++) { /* a negative answer says how much room is needed */
        char *grown = realloc(t->output, (size_t)room + 1);
        if (!grown)
            return snug_fail(err, SNUG_NO_MEMORY, "no memory for the answer");
        t->output = grown;
        n = llama_detokenize(t->vocab, t->answer, (int32_t)t->n_answer, t->output, room, false,
                             true);
        if (n >= 0)
            break;
        room = -n;
    }
    n = n < 0 ? 0 : n;
    t->output[n < (int32_t)SNUG_TRACE_OUTPUT_MAX ? n : (int32_t)SNUG_TRACE_OUTPUT_MAX] = '\0';
    mark(t, SNUG_TRACE_DETOKENISE, t->n_answer);
    return SNUG_OK;
}

static snug_status serve(struct tracer *t, const char *text, struct snug_error *err)
{
    const size_t parent = open_parent(t);
    snug_status status = tokenise(t, text, err);
    if (status == SNUG_OK)
        status = prefill(t, err);
    if (status == SNUG_OK) {
        sample(t, SNUG_TRACE_FIRST_SAMPLE);
        status = generate(t, err);
    }
    if (status == SNUG_OK)
        status = detokenise(t, err);
    if (status == SNUG_OK)
        close_parent(t, parent, SNUG_TRACE_REQUEST, t->prompt.n + t->n_answer);
    return status;
}

/* ---- around them ---- */

static snug_status make_sampler(struct tracer *t, struct snug_error *err)
{
    t->sampler = llama_sampler_chain_init(llama_sampler_chain_default_params());
    if (!t->sampler)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a sampler");
    llama_sampler_chain_add(t->sampler, llama_sampler_init_top_k(SAMPLER.top_k));
    llama_sampler_chain_add(t->sampler, llama_sampler_init_top_p(SAMPLER.top_p, 1));
    llama_sampler_chain_add(t->sampler, llama_sampler_init_min_p(SAMPLER.min_p, 1));
    llama_sampler_chain_add(t->sampler, llama_sampler_init_temp(SAMPLER.temperature));
    llama_sampler_chain_add(t->sampler, llama_sampler_init_dist((uint32_t)t->seed));
    return SNUG_OK;
}

/* prepare states how long the load took; what it took besides is the context's. */
static snug_status load(struct tracer *t, const struct snug__settings *settings,
                        enum snug_outcome *out_outcome, struct snug_error *err)
{
    const snug_status status = snug__worker_prepare(t->w, settings, t->workload, out_outcome, err);
    if (status != SNUG_OK)
        return status;
    t->now_ns = (int64_t)(t->w->load_s * 1e9);
    add_span(t, SNUG_TRACE_LOAD, 0, 0);
    mark(t, SNUG_TRACE_CONTEXT, 0);
    return SNUG_OK;
}

static void send_rows(struct tracer *t, const struct snug__trace_meters *meters)
{
    const size_t n = t->n_spans + meters->n;
    for (size_t from = 0; from < n; from += ROWS_PER_LINE) {
        struct snug_json_writer writer = {0};
        snug_json_begin_object(&writer, NULL);
        snug_json_put_string(&writer, "event", "trace");
        snug_json_begin_array(&writer, "rows");
        for (size_t i = from; i < n && i < from + ROWS_PER_LINE; i++) {
            snug_json_begin_array(&writer, NULL);
            if (i < t->n_spans) {
                const struct snug_trace_span *s = &t->spans[i];
                snug_json_put_int(&writer, NULL, s->kind);
                snug_json_put_int(&writer, NULL, s->start_ns);
                snug_json_put_int(&writer, NULL, s->end_ns);
                snug_json_put_int(&writer, NULL, s->n_tokens);
                snug_json_put_int(&writer, NULL, s->n_cached);
            } else {
                const struct snug_trace_sample *s = &meters->samples[i - t->n_spans];
                snug_json_put_int(&writer, NULL, -1); /* no kind: a sample */
                snug_json_put_int(&writer, NULL, s->at_ns);
                snug_json_put_int(&writer, NULL, (int64_t)s->rss_bytes);
                snug_json_put_number(&writer, NULL, s->cpu_mhz);
            }
            snug_json_end(&writer);
        }
        snug_json_end(&writer);
        snug_json_end(&writer);
        snug__worker_send(t->w, &writer);
    }
}

static void begin_traced(const struct tracer *t, const struct snug__trace_meters *meters,
                         struct snug_json_writer *writer)
{
    char sampler[96];
    snprintf(sampler, sizeof sampler, "top_k %d, top_p %g, min_p %g, temperature %g, seed %llu",
             SAMPLER.top_k, (double)SAMPLER.top_p, (double)SAMPLER.min_p,
             (double)SAMPLER.temperature, (unsigned long long)t->seed);
    snug_json_begin_object(writer, NULL);
    snug_json_put_string(writer, "event", "traced");
    snug_json_put_int(writer, "n_prompt", t->prompt.n);
    snug_json_put_int(writer, "n_gen", t->n_answer);
    snug_json_put_string(writer, "output", t->output);
    snug_json_put_string(writer, "no_frequency", meters->no_frequency);
    snug_json_put_string(writer, "no_memory", meters->no_memory);
    snug_json_put_string(writer, "sampler", sampler);
}

snug_status snug__worker_trace(struct snug__worker *w, const struct snug__settings *settings,
                               const struct snug_workload *workload,
                               const struct snug_json_node *request,
                               struct snug_json_writer *out_writer, enum snug_outcome *out_outcome,
                               struct snug_error *err)
{
    struct tracer t = {.w = w, .workload = workload};
    struct snug__trace_meters meters;
    t.seed = (uint64_t)snug_json_get_int(request, "seed", 1);
    t.origin_s = snug_clock_s();
    *out_outcome = w->outcome = SNUG_TRIAL_REFUSED;
    snug__trace_meters_start(&meters, t.origin_s);
    t.spans = calloc(SPANS_BESIDES, sizeof *t.spans);
    t.answer = calloc((size_t)workload->n_gen, sizeof *t.answer);
    snug_status status = t.spans && t.answer
                             ? load(&t, settings, out_outcome, err)
                             : snug_fail(err, SNUG_NO_MEMORY, "no memory for a trace");
    if (status == SNUG_OK) {
        t.vocab = llama_model_get_vocab(w->model);
        t.batch = llama_batch_init(settings->n_ubatch, 0, 1);
        t.has_batch = true;
        llama_memory_clear(llama_get_memory(w->context), false);
        status = make_sampler(&t, err);
    }
    if (status == SNUG_OK) {
        snug__worker_phase(w, "request", 0);
        t.now_ns = clock_ns(&t);
        status = serve(&t, snug_json_get_string(request, "prompt", NULL), err);
    }
    if (status != SNUG_OK && *out_outcome == SNUG_TRIAL_OK)
        *out_outcome = w->outcome;
    snug__trace_meters_stop(&meters);
    if (status == SNUG_OK) {
        send_rows(&t, &meters);
        begin_traced(&t, &meters, out_writer);
    }
    if (t.has_batch)
        llama_batch_free(t.batch);
    llama_sampler_free(t.sampler);
    free(meters.samples);
    free(t.prompt.tokens);
    free(t.answer);
    free(t.output);
    free(t.spans);
    return status;
}
