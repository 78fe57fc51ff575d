/* Trials that end badly: each becomes an outcome with a reason, leaves no process, and the next
 * trial works. Workers are killed from the progress callback, in the middle of their work. */
#include "engine.h"

#include "base/process.h"

/* What a progress callback does once, when a trial is under way. */
struct blow {
    int signal;         /* 0: none */
    int after;          /* phase events before it falls */
    volatile int *stop; /* set instead, when not NULL */
    pid_t spared;       /* the worker of dry runs */
    pid_t hit;
};

static void strike(const char *phase, void *data)
{
    struct blow *blow = data;
    pid_t pids[8];
    if (strncmp(phase, "warm-up", 7) != 0 || blow->after-- > 0)
        return;
    if (blow->stop)
        *blow->stop = 1;
    const int n = blow->signal ? engine_test_children(pids, 8) : 0;
    for (int i = 0; i < n; i++) {
        if (pids[i] == blow->spared)
            continue;
        blow->hit = pids[i];
        kill(pids[i], blow->signal);
    }
    blow->signal = 0;
    blow->stop = NULL;
}

static struct snug_engine *start(const struct engine_test *t, struct blow *blow,
                                 const volatile int *stop)
{
    struct snug_engine_options options = engine_test_options(t);
    options.progress = strike;
    options.progress_data = blow;
    options.stop = stop;
    struct snug_engine *engine = engine_test_start(&options);
    assert_int_equal(engine_test_children(&blow->spared, 1), 1);
    return engine;
}

static void assert_next_trial_works(struct snug_engine *engine, const struct engine_test *t)
{
    struct snug_config config;
    snug_space_default(snug_engine_space(engine), &config);
    struct snug_measurement m = engine_test_run(engine, &config, &t->effort, SNUG_TRIAL_OK);
    assert_true(m.decode_tps > 0 && m.load_s > 0); /* a fresh worker has loaded */
    snug_measurement_clear(&m);
    engine_test_stop();
    engine_test_no_children();
}

static void worker_killed_in_a_trial_becomes_an_outcome(void **state)
{
    const struct {
        int signal;
        enum snug_outcome outcome;
        const char *reason;
    } cases[] = {{SIGKILL, SNUG_TRIAL_OOM, "out-of-memory killer"},
                 {SIGABRT, SNUG_TRIAL_CRASH, "signal 6"},
                 {SIGSEGV, SNUG_TRIAL_CRASH, HAS_ASAN ? "worker" : "signal 11"},
                 {SIGTERM, SNUG_TRIAL_CRASH, "signal 15"}};
    struct engine_test *t = *state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct blow blow = {.signal = cases[i].signal};
        struct snug_engine *engine = start(t, &blow, NULL);
        struct snug_effort effort;
        struct snug_config config;
        engine_test_long(&effort);
        snug_space_default(snug_engine_space(engine), &config);
        struct snug_measurement m = engine_test_run(engine, &config, &effort, cases[i].outcome);
        assert_true(blow.hit > 0);
        assert_contains(m.reason, cases[i].reason);
        assert_true(m.decode_tps == 0.0 && m.prefill_tps == 0.0);
        assert_true(snug_bytes_stated(&m.bytes) > 0); /* stated before it ran */
        snug_measurement_clear(&m);
        assert_next_trial_works(engine, t);
    }
}

/* Says nothing of the config, so that is asked again. */
static void dry_worker_killed_is_replaced(void **state)
{
    struct snug_error err;
    struct blow blow = {.signal = 0};
    struct snug_engine *engine = start(*state, &blow, NULL);
    struct snug_config config;
    struct snug_bytes bytes = {0};
    snug_space_default(snug_engine_space(engine), &config);
    engine_test_set(snug_engine_space(engine), &config, "n_ubatch", "32"); /* not known yet */
    kill(blow.spared, SIGKILL);
    assert_ok(snug_engine_estimate(engine, &config, &bytes, &err));
    assert_true(bytes.weights > 0);
    engine_test_stop();
    engine_test_no_children();
}

static void deadline_passed_is_a_timeout(void **state)
{
    struct engine_test *t = *state;
    struct blow blow = {.signal = 0};
    struct snug_engine *engine = start(t, &blow, NULL);
    struct snug_effort effort;
    struct snug_config config;
    engine_test_long(&effort);
    effort.deadline_s = 0.001;
    snug_space_default(snug_engine_space(engine), &config);
    struct snug_measurement m = engine_test_run(engine, &config, &effort, SNUG_TRIAL_TIMEOUT);
    assert_contains(m.reason, "not done after 0.001 s");
    snug_measurement_clear(&m);
    assert_next_trial_works(engine, t);
}

/* The weights fit the limit to the byte, the worker's own heap comes on top. */
static void memory_limit_passed_in_a_trial_is_oom(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    struct snug_bytes bytes = {0};
    struct snug_config config;
    struct snug_engine_options options = engine_test_options(t);
    if (HAS_ASAN) {
        print_message("a sanitizer's own memory is past every limit\n");
        skip();
    }
    struct snug_engine *engine = engine_test_start(&options);
    snug_space_default(snug_engine_space(engine), &config);
    engine_test_set(snug_engine_space(engine), &config, "load_mode", "none");
    assert_ok(snug_engine_estimate(engine, &config, &bytes, &err));
    engine_test_stop();
    options.memory_limit_bytes = snug_bytes_stated(&bytes);
    engine = engine_test_start(&options);
    struct snug_effort effort;
    engine_test_long(&effort);
    struct snug_measurement m = engine_test_run(engine, &config, &effort, SNUG_TRIAL_OOM);
    assert_contains(m.reason, "passed the memory limit");
    snug_measurement_clear(&m);
    engine_test_stop();
    engine_test_no_children();
}

static void stop_in_a_trial_interrupts_and_leaves_no_child(void **state)
{
    volatile int stop = 0;
    struct engine_test *t = *state;
    struct snug_error err;
    struct blow blow = {.stop = &stop};
    struct snug_engine *engine = start(t, &blow, &stop);
    struct snug_effort effort;
    struct snug_config config;
    struct snug_measurement m = {0};
    pid_t pids[8];
    engine_test_long(&effort);
    snug_space_default(snug_engine_space(engine), &config);
    assert_fails(SNUG_INTERRUPTED, snug_engine_run(engine, &config, &effort, &m, &err));
    assert_true(m.gaps_s == NULL && m.wall_s == 0.0);
    assert_int_equal(engine_test_children(pids, 8), 1); /* only dry runs' */
    assert_int_equal(pids[0], blow.spared);
    stop = 0;
    assert_next_trial_works(engine, t);
}

static void assertion_in_ggml_is_a_crash_that_quotes_it(void **state)
{
    struct engine_test *t = *state;
    struct snug_engine_options options = engine_test_options(t);
    struct snug_config config;
    char path[512];
    snprintf(path, sizeof path, "%s/aborts.gguf", t->folder);
    engine_test_aborting(t, path);
    options.model_path = path;
    struct snug_engine *engine = engine_test_start(&options);
    snug_space_default(snug_engine_space(engine), &config);
    for (int i = 0; i < 2; i++) { /* each gets a worker of its own */
        struct snug_measurement m = engine_test_run(engine, &config, &t->effort, SNUG_TRIAL_CRASH);
        assert_contains(m.reason, "GGML_ASSERT(eps >= 0.0f) failed");
        assert_contains(m.reason, "signal 6");
        snug_measurement_clear(&m);
    }
    engine_test_stop();
    engine_test_no_children();
}

static void more_sequences_than_a_batch_holds_are_refused(void **state)
{
    struct engine_test *t = *state;
    struct snug_engine_options options = engine_test_options(t);
    options.workload = (struct snug_workload){
        .n_prompt = 0, .n_gen = 2, .n_depth = 0, .n_parallel = 64, .n_ctx = 32};
    struct snug_engine *engine = engine_test_start(&options);
    struct snug_config bad, good;
    snug_space_default(snug_engine_space(engine), &good);
    bad = good;
    engine_test_set(snug_engine_space(engine), &bad, "n_batch", "32"); /* libllama would abort */
    engine_test_set(snug_engine_space(engine), &bad, "n_ubatch", "32");
    struct snug_measurement m = engine_test_run(engine, &bad, &t->effort, SNUG_TRIAL_REFUSED);
    assert_contains(m.reason, "n_batch");
    snug_measurement_clear(&m);
    m = engine_test_run(engine, &good, &t->effort, SNUG_TRIAL_OK);
    assert_true(m.decode_tps > 0);
    snug_measurement_clear(&m);
    engine_test_stop();
}

/* ---- models that libllama does not take ---- */

static void models_that_libllama_refuses_are_bad_input_in_its_words(void **state)
{
    const char *const cases[][3] = {
        {"blk.0.attn_q.weight", "blk.0.attn_x.weight", "blk.0.attn_q.weight"},
        {"llama.embedding_length", "llama.embedding_lengzz", "embedding_length"},
        {"tokenizer.ggml.tokens", "tokenizer.ggml.tokenz", "vocab"}};
    struct engine_test *t = *state;
    char path[512];
    snprintf(path, sizeof path, "%s/changed.gguf", t->folder);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct snug_error err = {0};
        struct snug_model model = {0};
        struct snug_engine *engine = NULL;
        struct snug_engine_options options = engine_test_options(t);
        engine_test_change(t, path, cases[i][0], 0, cases[i][1], strlen(cases[i][1]));
        options.model_path = path;
        if (snug_model_open(path, &model, &err) == SNUG_OK)
            options.model = &model;
        const snug_status status = snug_engine_open("llama", &options, &engine, &err);
        snug_model_clear(&model);
        assert_int_equal(status, SNUG_BAD_INPUT);
        assert_contains(err.text, "changed.gguf");
        assert_contains(err.text, cases[i][2]);
        assert_null(strchr(err.text, '\n'));
        engine_test_no_children();
    }
}

static void model_that_disappears_is_refused_in_the_trial(void **state)
{
    struct engine_test *t = *state;
    char path[512];
    snprintf(path, sizeof path, "%s/gone.gguf", t->folder);
    assert_int_equal(link(t->path, path), 0);
    struct snug_engine_options options = engine_test_options(t);
    options.model_path = path;
    struct snug_engine *engine = engine_test_start(&options);
    struct snug_config config;
    snug_space_default(snug_engine_space(engine), &config);
    assert_int_equal(unlink(path), 0);
    struct snug_measurement m = engine_test_run(engine, &config, &t->effort, SNUG_TRIAL_REFUSED);
    assert_contains(m.reason, "gone.gguf");
    snug_measurement_clear(&m);
    engine_test_stop();
}

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
#define TEST(f) cmocka_unit_test_teardown(f, engine_test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(worker_killed_in_a_trial_becomes_an_outcome),
        TEST(dry_worker_killed_is_replaced),
        TEST(deadline_passed_is_a_timeout),
        TEST(memory_limit_passed_in_a_trial_is_oom),
        TEST(stop_in_a_trial_interrupts_and_leaves_no_child),
        TEST(assertion_in_ggml_is_a_crash_that_quotes_it),
        TEST(more_sequences_than_a_batch_holds_are_refused),
        TEST(models_that_libllama_refuses_are_bad_input_in_its_words),
        TEST(model_that_disappears_is_refused_in_the_trial),
    };
    return cmocka_run_group_tests(tests, engine_test_open, engine_test_close);
}
