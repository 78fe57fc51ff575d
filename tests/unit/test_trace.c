/* Traces: spans of a real request in a real worker (this program started again), the file made of
 * them, the counters' sources, and what is refused. */
#include "engine.h"

#include <math.h>

#include "base/json.h"
#include "engine/trace_meters.h"
#include "snug/trace.h"

#define PROMPT 100
#define UBATCH "32"

/* One trace of the tiny model with ubatches of 32 tokens; text NULL: PROMPT random tokens. */
static snug_status run_trace(const struct engine_test *t, const struct snug_workload *workload,
                             const char *text, struct snug_trace *out, struct snug_error *err)
{
    struct snug_engine_options options = engine_test_options(t);
    options.workload = *workload;
    struct snug_workload opened = *workload;
    opened.n_gen = opened.n_prompt = 1; /* the space is the same; the request is what is tested */
    struct snug_engine_options first = options;
    first.workload = opened;
    const struct snug_space *space = snug_engine_space(engine_test_start(&first));
    struct snug_config config;
    snug_space_default(space, &config);
    engine_test_set(space, &config, "n_ubatch", UBATCH);
    const struct snug_trace_request request = {.text = text, .seed = 3, .deadline_s = PATIENCE_S};
    const snug_status status = snug_trace_run(&options, space, &config, &request, out, err);
    engine_test_stop();
    return status;
}

static int count_kind(const struct snug_trace *t, enum snug_trace_kind kind)
{
    int n = 0;
    for (size_t i = 0; i < t->n_spans; i++)
        n += t->spans[i].kind == kind;
    return n;
}

static const struct snug_trace_span *only(const struct snug_trace *t, enum snug_trace_kind kind)
{
    assert_int_equal(count_kind(t, kind), 1);
    size_t i = 0;
    while (t->spans[i].kind != kind)
        i++;
    return &t->spans[i];
}

/* The spans that lie directly in parent, by the rules of the header, tile it: the first begins with
 * it, each where the one before it ends, the last ends with it. */
static void check_tiles(const struct snug_trace *t, const struct snug_trace_span *parent,
                        unsigned kinds)
{
    int64_t at_ns = parent->start_ns;
    for (size_t i = 0; i < t->n_spans; i++) {
        const struct snug_trace_span *s = &t->spans[i];
        if (!(kinds >> s->kind & 1u))
            continue;
        assert_int_equal(s->start_ns, at_ns);
        assert_true(s->end_ns >= s->start_ns);
        at_ns = s->end_ns;
    }
    assert_int_equal(at_ns, parent->end_ns);
}

static void spans_tile_the_request_and_count_its_tokens(void **state)
{
    struct snug_error err;
    struct snug_trace t = {0};
    const struct snug_workload w = {.n_prompt = PROMPT, .n_gen = 6, .n_parallel = 1, .n_ctx = 128};
    assert_ok(run_trace(*state, &w, NULL, &t, &err));
    const struct snug_trace_span *request = only(&t, SNUG_TRACE_REQUEST);
    assert_int_equal(t.n_prompt, PROMPT);
    assert_int_equal(t.n_gen, 6);
    assert_int_equal(request->n_tokens, PROMPT + 6);
    check_tiles(&t, request,
                1u << SNUG_TRACE_TOKENISE | 1u << SNUG_TRACE_PREFILL |
                    1u << SNUG_TRACE_FIRST_SAMPLE | 1u << SNUG_TRACE_GENERATE |
                    1u << SNUG_TRACE_DETOKENISE);
    check_tiles(&t, only(&t, SNUG_TRACE_PREFILL), 1u << SNUG_TRACE_UBATCH);
    check_tiles(&t, only(&t, SNUG_TRACE_GENERATE),
                1u << SNUG_TRACE_DECODE | 1u << SNUG_TRACE_SAMPLE);
    /* Load and context come before it, one after the other, from the first moment. */
    assert_int_equal(only(&t, SNUG_TRACE_LOAD)->start_ns, 0);
    assert_int_equal(only(&t, SNUG_TRACE_CONTEXT)->start_ns, only(&t, SNUG_TRACE_LOAD)->end_ns);
    assert_true(only(&t, SNUG_TRACE_CONTEXT)->end_ns <= request->start_ns);
    assert_true(only(&t, SNUG_TRACE_LOAD)->end_ns > 0);
    /* 100 tokens in ubatches of 32; the first token comes from the prefill. */
    static const int64_t want[] = {32, 32, 32, 4};
    int64_t n_cached = 0;
    int k = 0;
    for (size_t i = 0; i < t.n_spans; i++) {
        if (t.spans[i].kind == SNUG_TRACE_UBATCH) {
            assert_true(k < 4);
            n_cached += want[k];
            assert_int_equal(t.spans[i].n_tokens, want[k++]);
            assert_int_equal(t.spans[i].n_cached, n_cached);
        } else if (t.spans[i].kind == SNUG_TRACE_DECODE) {
            assert_int_equal(t.spans[i].n_cached, ++n_cached);
        }
    }
    assert_int_equal(k, 4);
    assert_int_equal(count_kind(&t, SNUG_TRACE_DECODE), 5);
    assert_int_equal(count_kind(&t, SNUG_TRACE_SAMPLE), 5);
    assert_int_equal(n_cached, PROMPT + 5);
    assert_int_equal(only(&t, SNUG_TRACE_DETOKENISE)->n_tokens, 6);
    snug_trace_clear(&t);
    engine_test_no_children();
}

static void samples_cover_the_request_and_the_config_is_read_back(void **state)
{
    struct snug_error err;
    struct snug_trace t = {0};
    const struct snug_workload w = {.n_prompt = 40, .n_gen = 3, .n_parallel = 1, .n_ctx = 64};
    assert_ok(run_trace(*state, &w, NULL, &t, &err));
    assert_true(t.n_samples >= 2);
    assert_true(t.samples[0].at_ns <= only(&t, SNUG_TRACE_REQUEST)->start_ns);
    assert_true(t.samples[t.n_samples - 1].at_ns >= only(&t, SNUG_TRACE_REQUEST)->end_ns);
    for (size_t i = 0; i < t.n_samples; i++) {
        assert_true(t.samples[i].rss_bytes > 0);
        assert_true(i == 0 || t.samples[i].at_ns >= t.samples[i - 1].at_ns);
        assert_true(i > 0 || (t.samples[i].cpu_mhz > 0.0) == (t.no_frequency[0] == '\0'));
    }
    assert_string_equal(t.no_memory, "");
    assert_contains(t.effective, "n_ubatch=" UBATCH);
    assert_contains(t.build, "libllama ");
    assert_contains(t.sampler, "seed 3");
    snug_trace_clear(&t);
}

static void text_prompts_are_tokenised_and_the_same_seed_answers_the_same(void **state)
{
    struct snug_error err;
    struct snug_trace a = {0}, b = {0};
    const struct snug_workload w = {.n_gen = 5, .n_parallel = 1, .n_ctx = 512};
    assert_ok(run_trace(*state, &w, snug_trace_default_text(), &a, &err));
    assert_ok(run_trace(*state, &w, snug_trace_default_text(), &b, &err));
    assert_int_in_range(a.n_prompt, 20, (int64_t)strlen(snug_trace_default_text()) + 1);
    assert_int_equal(only(&a, SNUG_TRACE_TOKENISE)->n_tokens, a.n_prompt);
    assert_int_equal(a.n_prompt, b.n_prompt);
    assert_string_equal(a.output, b.output);
    snug_trace_clear(&a);
    snug_trace_clear(&b);
}

static void one_token_needs_no_decode_step(void **state)
{
    struct snug_error err;
    struct snug_trace t = {0};
    const struct snug_workload w = {.n_prompt = 1, .n_gen = 1, .n_parallel = 1, .n_ctx = 32};
    assert_ok(run_trace(*state, &w, NULL, &t, &err));
    assert_int_equal(count_kind(&t, SNUG_TRACE_DECODE), 0);
    assert_int_equal(count_kind(&t, SNUG_TRACE_GENERATE), 0);
    assert_int_equal(count_kind(&t, SNUG_TRACE_UBATCH), 1);
    assert_int_equal(t.n_gen, 1);
    snug_trace_clear(&t);
}

/* Rows of more than one line of the protocol. */
static void long_answers_arrive_whole(void **state)
{
    struct snug_error err;
    struct snug_trace t = {0};
    const struct snug_workload w = {.n_prompt = 1, .n_gen = 400, .n_parallel = 1, .n_ctx = 512};
    assert_ok(run_trace(*state, &w, NULL, &t, &err));
    assert_int_equal(count_kind(&t, SNUG_TRACE_DECODE), 399);
    assert_int_equal(count_kind(&t, SNUG_TRACE_SAMPLE), 399);
    assert_true(t.n_spans > 512);
    snug_trace_clear(&t);
}

/* ---- the file ---- */

static double number_of(const struct snug_json_node *event, const char *key)
{
    return snug_json_get_number(event, key, NAN);
}

/* In a viewer's eyes: on one thread two complete events nest or are apart. Times are written to the
 * nanosecond. */
static void check_nesting(const struct snug_json_node *events)
{
    const double tick_us = 1e-3;
    for (size_t i = 0; i < snug_json_count(events); i++) {
        const struct snug_json_node *a = snug_json_at(events, i);
        if (strcmp(snug_json_get_string(a, "ph", ""), "X") != 0)
            continue;
        const double a0 = number_of(a, "ts"), a1 = a0 + number_of(a, "dur");
        assert_true(a0 >= 0.0 && a1 >= a0);
        for (size_t k = 0; k < i; k++) {
            const struct snug_json_node *b = snug_json_at(events, k);
            if (strcmp(snug_json_get_string(b, "ph", ""), "X") != 0)
                continue;
            const double b0 = number_of(b, "ts"), b1 = b0 + number_of(b, "dur");
            const bool are_apart = a0 >= b1 - tick_us || b0 >= a1 - tick_us;
            const bool is_inside = a0 >= b0 - tick_us && a1 <= b1 + tick_us;
            if (!are_apart && !is_inside)
                fail_msg("%s at %.3f crosses %s at %.3f", snug_json_get_string(a, "name", ""), a0,
                         snug_json_get_string(b, "name", ""), b0);
        }
    }
}

static int count_events(const struct snug_json_node *events, const char *phase, const char *name)
{
    int n = 0;
    for (size_t i = 0; i < snug_json_count(events); i++) {
        const struct snug_json_node *event = snug_json_at(events, i);
        n += strcmp(snug_json_get_string(event, "ph", ""), phase) == 0 &&
             strcmp(snug_json_get_string(event, "name", ""), name) == 0;
    }
    return n;
}

static void json_nests_and_names_what_it_holds(void **state)
{
    struct snug_error err;
    struct snug_trace t = {0};
    struct snug_json *doc = NULL;
    const struct snug_workload w = {.n_prompt = PROMPT, .n_gen = 6, .n_parallel = 1, .n_ctx = 128};
    assert_ok(run_trace(*state, &w, NULL, &t, &err));
    char *json = snug_trace_json(&t, "m\"odel.gguf");
    assert_non_null(json);
    assert_ok(snug_json_parse("trace", json, strlen(json), &doc, &err));
    const struct snug_json_node *root = snug_json_root(doc);
    const struct snug_json_node *events = snug_json_get(root, "traceEvents");
    check_nesting(events);
    assert_int_equal(count_events(events, "M", "process_name"), 1);
    assert_int_equal(count_events(events, "M", "thread_name"), 1);
    assert_int_equal(count_events(events, "X", "request"), 1);
    assert_int_equal(count_events(events, "X", "prefill ubatch"), 4);
    assert_int_equal(count_events(events, "X", "decode"), 5);
    assert_int_equal(count_events(events, "X", "first sample"), 1);
    assert_int_equal(count_events(events, "C", "tokens in cache"), 1 + 4 + 5);
    assert_int_equal(count_events(events, "C", "resident memory"), t.n_samples);
    const struct snug_json_node *other = snug_json_get(root, "otherData");
    assert_string_equal(snug_json_get_string(other, "model", ""), "m\"odel.gguf");
    assert_int_equal(snug_json_get_int(other, "n_prompt", 0), PROMPT);
    snug_json_free(doc);
    free(json);
    snug_trace_clear(&t);
}

static void json_says_why_a_counter_is_absent(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_json *doc = NULL;
    struct snug_trace_sample sample = {.at_ns = 5, .rss_bytes = 1 << 20};
    struct snug_trace t = {.samples = &sample, .n_samples = 1};
    snprintf(t.no_frequency, sizeof t.no_frequency, "nobody tells");
    char *json = snug_trace_json(&t, "m");
    assert_non_null(json);
    assert_ok(snug_json_parse("trace", json, strlen(json), &doc, &err));
    const struct snug_json_node *root = snug_json_root(doc);
    const struct snug_json_node *events = snug_json_get(root, "traceEvents");
    assert_int_equal(count_events(events, "C", "CPU frequency"), 0);
    assert_int_equal(count_events(events, "C", "resident memory"), 1);
    assert_string_equal(snug_json_get_string(snug_json_get(root, "otherData"), "cpu_frequency", ""),
                        "nobody tells");
    snug_json_free(doc);
    free(json);
}

/* ---- what is refused ---- */

static void lengths_and_texts_beyond_their_caps_are_refused(void **state)
{
    struct snug_error err;
    struct snug_trace t = {0};
    struct snug_workload w = {.n_prompt = 4, .n_gen = 0, .n_parallel = 1, .n_ctx = 64};
    assert_fails(SNUG_BAD_INPUT, run_trace(*state, &w, NULL, &t, &err));
    assert_contains(err.text, "1 to 65536");
    w.n_gen = SNUG_TRACE_GEN_MAX + 1;
    assert_fails(SNUG_BAD_INPUT, run_trace(*state, &w, NULL, &t, &err));
    w.n_gen = SNUG_TRACE_GEN_MAX; /* at the cap it is the context that is too small */
    assert_fails(SNUG_UNSUPPORTED, run_trace(*state, &w, NULL, &t, &err));
    assert_contains(err.text, "--context 65540");
    w = (struct snug_workload){.n_prompt = 0, .n_gen = 1, .n_parallel = 1, .n_ctx = 64};
    assert_fails(SNUG_BAD_INPUT, run_trace(*state, &w, NULL, &t, &err));
    w.n_prompt = SNUG_TRACE_PROMPT_MAX + 1;
    assert_fails(SNUG_BAD_INPUT, run_trace(*state, &w, NULL, &t, &err));
    w.n_prompt = SNUG_TRACE_PROMPT_MAX;
    assert_fails(SNUG_UNSUPPORTED, run_trace(*state, &w, NULL, &t, &err));
    assert_fails(SNUG_BAD_INPUT, run_trace(*state, &w, "", &t, &err));
    assert_fails(SNUG_BAD_INPUT, run_trace(*state, &w, "caf\xe9 noir", &t, &err));
    assert_contains(err.text, "byte 3");
    char *text = malloc(SNUG_TRACE_TEXT_MAX + 2);
    assert_non_null(text);
    memset(text, 'a', SNUG_TRACE_TEXT_MAX + 1);
    text[SNUG_TRACE_TEXT_MAX + 1] = '\0';
    assert_fails(SNUG_BAD_INPUT, run_trace(*state, &w, text, &t, &err));
    assert_contains(err.text, "4194305");
    free(text);
    assert_null(t.spans);
    engine_test_no_children();
}

static void prompt_that_fills_the_context_is_served_and_one_token_more_refused(void **state)
{
    struct snug_error err;
    struct snug_trace t = {0};
    struct snug_workload w = {.n_prompt = 60, .n_gen = 4, .n_parallel = 1, .n_ctx = 64};
    assert_ok(run_trace(*state, &w, NULL, &t, &err));
    snug_trace_clear(&t);
    w.n_prompt = 61;
    assert_fails(SNUG_UNSUPPORTED, run_trace(*state, &w, NULL, &t, &err));
    assert_contains(err.text, "--context 65");
}

static void model_that_aborts_ends_with_its_last_words(void **state)
{
    struct engine_test *t = *state;
    struct engine_test other = *t;
    struct snug_error err;
    struct snug_trace trace = {0};
    const struct snug_workload w = {.n_prompt = 4, .n_gen = 2, .n_parallel = 1, .n_ctx = 64};
    snprintf(other.path, sizeof other.path, "%s/aborts.gguf", t->folder);
    engine_test_aborting(t, other.path);
    assert_fails(SNUG_CRASHED, run_trace(&other, &w, NULL, &trace, &err));
    assert_contains(err.text, "GGML_ASSERT");
    engine_test_no_children();
}

static void stop_flag_ends_the_trace(void **state)
{
    const struct engine_test *t = *state;
    struct snug_error err;
    struct snug_trace trace = {0};
    volatile int stop = 1;
    struct snug_engine_options options = engine_test_options(t);
    const struct snug_space *space = snug_engine_space(engine_test_start(&options));
    struct snug_config config;
    snug_space_default(space, &config);
    options.stop = &stop;
    const struct snug_trace_request request = {.seed = 1, .deadline_s = PATIENCE_S};
    assert_fails(SNUG_INTERRUPTED,
                 snug_trace_run(&options, space, &config, &request, &trace, &err));
    engine_test_stop();
    engine_test_no_children();
}

/* ---- counters ---- */

static void write_below(const char *root, const char *path, const char *text)
{
    struct snug_error err;
    char full[1024];
    snprintf(full, sizeof full, "%s%s", root, path);
    *strrchr(full, '/') = '\0';
    assert_ok(snug_file_make_folder(full, &err));
    snprintf(full, sizeof full, "%s%s", root, path);
    assert_ok(snug_file_write(full, text, strlen(text), &err));
}

static void frequency_comes_from_cpuinfo_then_cpufreq_else_says_why(void **state)
{
    const char *folder = ((const struct engine_test *)*state)->folder;
    char root[600], path[128], text[256], why[SNUG_REASON_MAX];
    snprintf(root, sizeof root, "%s/root", folder);
    cpu_set_t allowed;
    assert_int_equal(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    size_t cpu = 0;
    while (!CPU_ISSET(cpu, &allowed))
        cpu++;
    assert_float_equal(snug__trace_cpu_mhz(root, why, sizeof why), 0.0, 0.0);
    assert_contains(why, "cpuinfo");
    assert_contains(why, "cpufreq");
    write_below(root, "/proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 48.00\n");
    assert_float_equal(snug__trace_cpu_mhz(root, why, sizeof why), 0.0, 0.0);
    assert_contains(why, "no 'cpu MHz'");
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/cpufreq/scaling_cur_freq", cpu);
    write_below(root, path, "1800000\n");
    assert_float_equal(snug__trace_cpu_mhz(root, why, sizeof why), 1800.0, 1e-9);
    assert_string_equal(why, "");
    /* A CPU this process may not use, far above any, does not count; nor does nonsense. */
    snprintf(text, sizeof text,
             "processor : %zu\ncpu MHz\t\t: 2400.500\n\nprocessor : 99999\ncpu MHz : 10\n"
             "processor : %zu\ncpu MHz : nan\n",
             cpu, cpu);
    write_below(root, "/proc/cpuinfo", text);
    assert_float_equal(snug__trace_cpu_mhz(root, why, sizeof why), 2400.5, 1e-9);
}

static void samples_beyond_the_cap_are_thinned_and_keep_their_order(void **state)
{
    (void)state;
    struct snug__trace_meters m = {.period_s = 0.01};
    m.samples = calloc(SNUG_TRACE_SAMPLES_MAX, sizeof *m.samples);
    assert_non_null(m.samples);
    for (int i = 0; i < SNUG_TRACE_SAMPLES_MAX; i++)
        snug__trace_meters_add(&m, (struct snug_trace_sample){.at_ns = i});
    assert_int_equal(m.n, SNUG_TRACE_SAMPLES_MAX);
    assert_float_equal(m.period_s, 0.01, 0.0);
    snug__trace_meters_add(&m, (struct snug_trace_sample){.at_ns = SNUG_TRACE_SAMPLES_MAX});
    assert_int_equal(m.n, SNUG_TRACE_SAMPLES_MAX / 2 + 1);
    assert_float_equal(m.period_s, 0.02, 0.0);
    for (size_t i = 0; i < m.n; i++)
        assert_int_equal(m.samples[i].at_ns, 2 * i);
    free(m.samples);
}

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
#define CLEAN(f) cmocka_unit_test_teardown(f, engine_test_teardown)
    const struct CMUnitTest tests[] = {
        CLEAN(spans_tile_the_request_and_count_its_tokens),
        CLEAN(samples_cover_the_request_and_the_config_is_read_back),
        CLEAN(text_prompts_are_tokenised_and_the_same_seed_answers_the_same),
        CLEAN(one_token_needs_no_decode_step),
        CLEAN(long_answers_arrive_whole),
        CLEAN(json_nests_and_names_what_it_holds),
        CLEAN(json_says_why_a_counter_is_absent),
        CLEAN(lengths_and_texts_beyond_their_caps_are_refused),
        CLEAN(prompt_that_fills_the_context_is_served_and_one_token_more_refused),
        CLEAN(model_that_aborts_ends_with_its_last_words),
        CLEAN(stop_flag_ends_the_trace),
        CLEAN(frequency_comes_from_cpuinfo_then_cpufreq_else_says_why),
        CLEAN(samples_beyond_the_cap_are_thinned_and_keep_their_order),
    };
    return cmocka_run_group_tests(tests, engine_test_open, engine_test_close);
}
