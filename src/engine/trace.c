/* The parent's side of a trace: ask a fresh worker, collect its rows, write the Trace Event Format
 * ("Trace Event Format", the Chromium project's document: complete events X, counters C, names M;
 * microseconds as decimal numbers). */
#include "snug/trace.h"

#include <stdio.h>
#include <string.h>

#include "engine/llama_engine.h"
#include "trial/trial_json.h"

#define PID 1
#define TID 1
static const double MIB = 1 << 20;

static const char *const NAMES[SNUG_N_TRACE_KINDS] = {
#define NAME(name, text) text,
    SNUG_TRACE_SPANS(NAME)
#undef NAME
};

const char *snug_trace_kind_name(enum snug_trace_kind kind)
{
    return NAMES[kind];
}

const char *snug_trace_default_text(void)
{
    return "Write a short letter to a friend who has just moved to a town by the sea. Ask what the "
           "weather is like in winter, whether the new house is warm enough, and if there is a "
           "good "
           "place to buy bread. Tell them that the garden at home is full of apples this year, "
           "that "
           "the neighbour's dog has learned to open the gate, and that you plan to visit in "
           "spring, "
           "by train, with two bags and no plans at all.\n";
}

void snug_trace_clear(struct snug_trace *trace)
{
    free(trace->spans);
    free(trace->samples);
    free(trace->output);
    *trace = (struct snug_trace){.n_spans = 0};
}

/* ---- asking ---- */

static snug_status check_request(const struct snug_workload *w,
                                 const struct snug_trace_request *request, struct snug_error *err)
{
    if (w->n_gen < 1 || w->n_gen > SNUG_TRACE_GEN_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "a trace generates 1 to %d tokens, not %lld",
                         SNUG_TRACE_GEN_MAX, (long long)w->n_gen);
    if (!request->text && (w->n_prompt < 1 || w->n_prompt > SNUG_TRACE_PROMPT_MAX))
        return snug_fail(err, SNUG_BAD_INPUT, "a trace needs a prompt of 1 to %d tokens, not %lld",
                         SNUG_TRACE_PROMPT_MAX, (long long)w->n_prompt);
    if (!request->text)
        return SNUG_OK;
    const size_t n = strlen(request->text);
    if (n == 0 || n > SNUG_TRACE_TEXT_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "the prompt has %zu bytes: 1 to %u are accepted", n,
                         SNUG_TRACE_TEXT_MAX);
    for (size_t i = 0; i < n;) {
        const size_t length = snug_utf8_length((const unsigned char *)request->text + i);
        if (length == 0)
            return snug_fail(err, SNUG_BAD_INPUT, "the prompt is no UTF-8 text at byte %zu", i);
        i += length;
    }
    return SNUG_OK;
}

static void write_request(struct snug_json_writer *w, const struct snug_engine_options *options,
                          const struct snug_space *space, const struct snug_config *config,
                          const struct snug_trace_request *request)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "op", "trace");
    snug_config_to_json(w, "config", space, config);
    snug_workload_to_json(w, "workload", &options->workload);
    if (request->text)
        snug_json_put_string(w, "prompt", request->text);
    snug_json_put_int(w, "seed", (int64_t)(request->seed & INT64_MAX));
    snug_json_end(w);
}

/* Room for n more of size; false without memory. */
static bool grow(void **data, size_t n_has, size_t n_more, size_t size)
{
    void *grown = realloc(*data, (n_has + n_more) * size);
    if (grown)
        *data = grown;
    return grown != NULL;
}

static snug_status take_rows(struct snug_trace *t, const struct snug_json_node *rows,
                             struct snug_error *err)
{
    const size_t n = snug_json_count(rows);
    if (n == 0)
        return SNUG_OK;
    void *spans = t->spans, *samples = t->samples;
    const bool has_room = grow(&spans, t->n_spans, n, sizeof *t->spans) &&
                          grow(&samples, t->n_samples, n, sizeof *t->samples);
    t->spans = spans;
    t->samples = samples;
    if (!has_room)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a trace of %zu steps", t->n_spans + n);
    for (size_t i = 0; i < n; i++) {
        const struct snug_json_node *row = snug_json_at(rows, i);
        int64_t v[5];
        for (size_t k = 0; k < 5; k++)
            v[k] = snug_json_int(snug_json_at(row, k), 0);
        if (v[0] < 0)
            t->samples[t->n_samples++] = (struct snug_trace_sample){
                v[1], (uint64_t)v[2], snug_json_number(snug_json_at(row, 3), 0.0)};
        else if (v[0] < SNUG_N_TRACE_KINDS)
            t->spans[t->n_spans++] =
                (struct snug_trace_span){(enum snug_trace_kind)v[0], v[1], v[2], v[3], v[4]};
    }
    return SNUG_OK;
}

static snug_status take_traced(struct snug_trace *t, const struct snug_json_node *root,
                               const struct snug_space *space, const struct snug_config *asked,
                               struct snug_error *err)
{
    struct snug_config effective = *asked;
    const snug_status status =
        snug_config_from_json(snug_json_get(root, "effective"), space, false, &effective, err);
    if (status != SNUG_OK)
        return status;
    t->output = strdup(snug_json_get_string(root, "output", ""));
    if (!t->output)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for the answer");
    t->n_prompt = snug_json_get_int(root, "n_prompt", 0);
    t->n_gen = snug_json_get_int(root, "n_gen", 0);
    snprintf(t->no_frequency, sizeof t->no_frequency, "%s",
             snug_json_get_string(root, "no_frequency", ""));
    snprintf(t->no_memory, sizeof t->no_memory, "%s", snug_json_get_string(root, "no_memory", ""));
    snprintf(t->sampler, sizeof t->sampler, "%s", snug_json_get_string(root, "sampler", ""));
    snug_config_text(space, &effective, false, t->effective, sizeof t->effective);
    return SNUG_OK;
}

/* One event; *out_is_done when it was the last. */
static snug_status take_event(struct snug_trace *t, const struct snug_json_node *root,
                              const struct snug_space *space, const struct snug_config *asked,
                              bool *out_is_done, struct snug_error *err)
{
    const char *event = snug_json_get_string(root, "event", "");
    if (strcmp(event, "trace") == 0)
        return take_rows(t, snug_json_get(root, "rows"), err);
    *out_is_done = true;
    if (strcmp(event, "traced") == 0)
        return take_traced(t, root, space, asked, err);
    return snug_fail(err, SNUG_UNSUPPORTED, "%s",
                     snug_json_get_string(root, "reason", "the worker gave no reason"));
}

static snug_status collect(struct snug__link *link, const struct snug_engine_options *options,
                           const struct snug_space *space, const struct snug_config *config,
                           const struct snug_trace_request *request, struct snug_trace *t,
                           struct snug_error *err)
{
    struct snug_json_writer writer = {0};
    struct snug_json *doc = NULL;
    struct snug__link_end end = {0};
    bool is_done = false;
    write_request(&writer, options, space, config, request);
    snug_status status =
        snug__link_call(link, options, &writer, request->deadline_s, &doc, &end, err);
    while (status == SNUG_OK) {
        status = take_event(t, snug_json_root(doc), space, config, &is_done, err);
        snug_json_free(doc);
        doc = NULL;
        if (status != SNUG_OK || is_done)
            break;
        status = snug__link_next(link, options, request->deadline_s, &doc, &end, err);
    }
    return status;
}

snug_status snug_trace_run(const struct snug_engine_options *options,
                           const struct snug_space *space, const struct snug_config *config,
                           const struct snug_trace_request *request, struct snug_trace *out,
                           struct snug_error *err)
{
    struct snug_trace trace = {.n_spans = 0};
    struct snug__link link = {.limit_bytes = options->memory_limit_bytes};
    struct snug__llama_caps caps = {.n_gpus = 0};
    snug_status status = check_request(&options->workload, request, err);
    if (status == SNUG_OK)
        status = snug__link_open(&link, options, &caps, err);
    if (status == SNUG_OK)
        status = collect(&link, options, space, config, request, &trace, err);
    snug__link_close(&link);
    if (status != SNUG_OK) {
        snug_trace_clear(&trace);
        return status;
    }
    snprintf(trace.build, sizeof trace.build, "%s", caps.build);
    *out = trace;
    return SNUG_OK;
}

/* ---- writing ---- */

static void begin_event(struct snug_json_writer *w, const char *name, const char *phase,
                        int64_t at_ns)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "name", name);
    snug_json_put_string(w, "ph", phase);
    snug_json_put_int(w, "pid", PID);
    snug_json_put_int(w, "tid", TID);
    snug_json_put_number(w, "ts", (double)at_ns / 1e3);
}

static void put_name(struct snug_json_writer *w, const char *what, const char *name)
{
    begin_event(w, what, "M", 0);
    snug_json_begin_object(w, "args");
    snug_json_put_string(w, "name", name);
    snug_json_end(w);
    snug_json_end(w);
}

static void put_counter(struct snug_json_writer *w, const char *name, int64_t at_ns,
                        const char *unit, double value)
{
    begin_event(w, name, "C", at_ns);
    snug_json_begin_object(w, "args");
    snug_json_put_number(w, unit, value);
    snug_json_end(w);
    snug_json_end(w);
}

static void put_span(struct snug_json_writer *w, const struct snug_trace_span *s)
{
    begin_event(w, NAMES[s->kind], "X", s->start_ns);
    snug_json_put_number(w, "dur", (double)(s->end_ns - s->start_ns) / 1e3);
    snug_json_put_string(w, "cat", s->kind < SNUG_TRACE_REQUEST ? "load" : "request");
    snug_json_begin_object(w, "args");
    snug_json_put_int(w, "tokens", s->n_tokens);
    snug_json_put_int(w, "tokens in cache", s->n_cached);
    snug_json_end(w);
    snug_json_end(w);
    if (s->kind == SNUG_TRACE_UBATCH || s->kind == SNUG_TRACE_DECODE)
        put_counter(w, "tokens in cache", s->end_ns, "tokens", (double)s->n_cached);
}

static void put_other(struct snug_json_writer *w, const struct snug_trace *t, const char *model)
{
    snug_json_begin_object(w, "otherData");
    snug_json_put_string(w, "program", "snug");
    snug_json_put_string(w, "version", snug_version());
    snug_json_put_string(w, "build", t->build);
    snug_json_put_string(w, "model", model);
    snug_json_put_string(w, "config", t->effective);
    snug_json_put_string(w, "sampler", t->sampler);
    snug_json_put_int(w, "n_prompt", t->n_prompt);
    snug_json_put_int(w, "n_gen", t->n_gen);
    snug_json_put_string(w, "output", t->output);
    snug_json_put_string(w, "warm_up", "none: the first ubatch also pays for first touches");
    snug_json_put_string(w, "cpu_frequency",
                         t->no_frequency[0] ? t->no_frequency : "mean of the usable CPUs, MHz");
    snug_json_put_string(w, "resident_memory",
                         t->no_memory[0] ? t->no_memory : "VmRSS of the worker, MiB");
    snug_json_end(w);
}

char *snug_trace_json(const struct snug_trace *t, const char *model_name)
{
    struct snug_json_writer w = {0};
    char process[128];
    snprintf(process, sizeof process, "snug trace %s", model_name);
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "displayTimeUnit", "ms");
    snug_json_begin_array(&w, "traceEvents");
    put_name(&w, "process_name", process);
    put_name(&w, "thread_name", "request");
    put_counter(&w, "tokens in cache", 0, "tokens", 0.0);
    for (size_t i = 0; i < t->n_spans; i++)
        put_span(&w, &t->spans[i]);
    for (size_t i = 0; i < t->n_samples; i++) {
        const struct snug_trace_sample *s = &t->samples[i];
        if (s->rss_bytes > 0)
            put_counter(&w, "resident memory", s->at_ns, "MiB", (double)s->rss_bytes / MIB);
        if (s->cpu_mhz > 0.0)
            put_counter(&w, "CPU frequency", s->at_ns, "MHz", s->cpu_mhz);
    }
    snug_json_end(&w);
    put_other(&w, t, model_name);
    snug_json_end(&w);
    return snug_json_finish(&w, false);
}
