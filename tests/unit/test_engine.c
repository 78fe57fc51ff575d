/* The llama engine on a tiny model: its space, its statements of memory, its trials. The worker is
 * the real one, this program started again. */
#include "engine.h"

#include <math.h>

#include "base/process.h"

/* libllama's log rounds to 0.01 MiB; a few lines are summed. */
static const double ROUNDING_BYTES = 65536;

static void space_states_every_knob_with_sane_bounds(void **state)
{
    const struct snug_engine_options options = engine_test_options(*state);
    struct snug_engine *engine = engine_test_start(&options);
    const struct snug_space *space = snug_engine_space(engine);
    assert_true(space->n > 10);
    assert_int_equal(space->n, snug_engine_rows()->n);
    for (int i = 0; i < space->n; i++) {
        const struct snug_knob *knob = &space->knobs[i];
        if (knob->min > knob->def || knob->def > knob->max)
            fail_msg("%s: %ld is not in %ld to %ld", knob->name, (long)knob->def, (long)knob->min,
                     (long)knob->max);
        assert_true(snug_knob_n_levels(knob) >= (knob->is_tuned ? 2 : 1));
        assert_true(knob->is_tuned ? !knob->why_not : knob->why_not != NULL);
        assert_true(strncmp(knob->flag, "--", 2) == 0 && knob->help[0]);
        assert_true(knob->kind != SNUG_KNOB_BOOL || knob->flag_off);
    }
    assert_int_equal(space->knobs[snug_space_find(space, "n_threads")].max, 1);
    assert_false(space->knobs[snug_space_find(space, "type_k")].is_tuned);
    assert_contains(snug_engine_build(engine), "libllama ");
    assert_contains(snug_engine_build(engine), "ggml ");
    engine_test_stop();
    engine_test_no_children();
}

static void space_with_quality_allowed_tunes_cache_types(void **state)
{
    struct snug_engine_options options = engine_test_options(*state);
    options.allow_quality = true;
    struct snug_engine *engine = engine_test_start(&options);
    const struct snug_space *space = snug_engine_space(engine);
    assert_true(space->knobs[snug_space_find(space, "type_k")].is_tuned);
    assert_true(space->knobs[snug_space_find(space, "type_v")].is_tuned);
    engine_test_stop();
}

/* ---- trials ---- */

static void check_ok(const struct snug_measurement *m, const struct snug_workload *w)
{
    assert_int_equal(m->outcome, SNUG_TRIAL_OK);
    assert_string_equal(m->reason, "");
    assert_true(isfinite(m->prefill_tps) && m->prefill_tps > 0);
    assert_true(isfinite(m->decode_tps) && m->decode_tps > 0);
    assert_true(isfinite(m->ttft_s) && m->ttft_s > 0);
    assert_true(m->tpot_p50_s > 0 && m->tpot_p95_s >= m->tpot_p50_s);
    assert_true(m->wall_s > 0 && m->started_unix_s > 1e9);
    assert_int_in_range(m->n_prefill_blocks, 1, SNUG_BLOCKS_MAX);
    assert_int_in_range(m->n_decode_blocks, 1, SNUG_BLOCKS_MAX);
    for (int i = 0; i < m->n_prefill_blocks; i++)
        assert_true(m->prefill_block_tps[i] > 0);
    assert_non_null(m->gaps_s);
    assert_int_equal(m->n_gaps, m->n_decode_blocks * w->n_gen);
    for (int i = 0; i < m->n_gaps; i++)
        assert_true(isfinite(m->gaps_s[i]) && m->gaps_s[i] > 0);
    assert_contains(m->build, "libllama ");
    assert_true(m->bytes.weights > 0 && m->bytes.cache > 0 && m->bytes.compute > 0);
    assert_true(m->bytes.rss_peak > 0 && m->bytes.rss_base > 0);
    /* A sanitizer keeps what was freed: its empty worker may be the larger one. */
    assert_true(HAS_ASAN || m->bytes.rss_peak > m->bytes.rss_base);
}

static void trial_of_default_measures_and_reads_back_its_config(void **state)
{
    struct engine_test *t = *state;
    struct snug_engine_options options = engine_test_options(t);
    options.workload.n_ctx = 2048;
    struct snug_engine *engine = engine_test_start(&options);
    const struct snug_space *space = snug_engine_space(engine);
    struct snug_config config;
    snug_space_default(space, &config);
    struct snug_measurement m = engine_test_run(engine, &config, &t->effort, SNUG_TRIAL_OK);
    check_ok(&m, &t->workload);
    assert_true(m.load_s > 0);
    assert_int_equal(m.n_prefill_blocks, 2);
    engine_test_effective(space, &config, &m.effective);
    snug_measurement_clear(&m);
    /* the same worker, the model still loaded */
    m = engine_test_run(engine, &config, &t->effort, SNUG_TRIAL_OK);
    assert_true(m.load_s == 0.0);
    snug_measurement_clear(&m);
    engine_test_stop();
    engine_test_no_children();
}

static void trial_of_other_knobs_reads_them_back(void **state)
{
    struct engine_test *t = *state;
    struct snug_engine_options options = engine_test_options(t);
    options.workload.n_ctx = 2048;
    struct snug_engine *engine = engine_test_start(&options);
    const struct snug_space *space = snug_engine_space(engine);
    struct snug_config config;
    snug_space_default(space, &config);
    const char *const knobs[][2] = {{"load_mode", "none"}, {"repack", "off"}, {"n_batch", "256"},
                                    {"n_ubatch", "64"},    {"poll", "0"},     {"type_k", "q8_0"},
                                    {"flash_attn", "off"}};
    for (size_t i = 0; i < COUNT(knobs); i++)
        engine_test_set(space, &config, knobs[i][0], knobs[i][1]);
    struct snug_measurement m = engine_test_run(engine, &config, &t->effort, SNUG_TRIAL_OK);
    check_ok(&m, &t->workload);
    engine_test_effective(space, &config, &m.effective);
    snug_measurement_clear(&m);
    engine_test_stop();
}

/* libllama cuts the batch to the context: what runs is told apart from what was asked. */
static void trial_in_a_short_context_reads_back_the_smaller_batch(void **state)
{
    struct engine_test *t = *state;
    const struct snug_engine_options options = engine_test_options(t);
    struct snug_engine *engine = engine_test_start(&options);
    const struct snug_space *space = snug_engine_space(engine);
    struct snug_config config;
    snug_space_default(space, &config);
    struct snug_measurement m = engine_test_run(engine, &config, &t->effort, SNUG_TRIAL_OK);
    assert_int_equal(m.effective.value[snug_space_find(space, "n_batch")], t->workload.n_ctx);
    snug_measurement_clear(&m);
}

static void trial_of_one_phase_measures_only_that(void **state)
{
    struct engine_test *t = *state;
    const struct snug_engine_options options = engine_test_options(t);
    struct snug_engine *engine = engine_test_start(&options);
    struct snug_effort effort = t->effort;
    struct snug_config config;
    snug_space_default(snug_engine_space(engine), &config);
    effort.want_decode = false;
    struct snug_measurement m = engine_test_run(engine, &config, &effort, SNUG_TRIAL_OK);
    assert_true(m.prefill_tps > 0 && m.decode_tps == 0.0 && m.n_gaps == 0);
    snug_measurement_clear(&m);
    engine_test_stop();
}

static void trial_of_fewer_tokens_generates_no_more_and_is_no_fault(void **state)
{
    struct engine_test *t = *state;
    const struct snug_engine_options options = engine_test_options(t);
    struct snug_engine *engine = engine_test_start(&options);
    struct snug_effort effort = t->effort;
    struct snug_config config;
    snug_space_default(snug_engine_space(engine), &config);
    assert_true(t->workload.n_gen > 2);
    effort.n_gen_max = 2;
    struct snug_measurement m = engine_test_run(engine, &config, &effort, SNUG_TRIAL_OK);
    assert_true(m.prefill_tps > 0 && m.decode_tps > 0);
    assert_int_equal(m.n_gaps, 2 * m.n_decode_blocks);
    assert_int_equal(m.warnings & SNUG_WARN(OUTPUT_LENGTH), 0);
    snug_measurement_clear(&m);
    engine_test_stop();
}

static void trial_at_depth_with_two_sequences_measures(void **state)
{
    struct engine_test *t = *state;
    struct snug_engine_options options = engine_test_options(t);
    options.workload = (struct snug_workload){
        .n_prompt = 8, .n_gen = 4, .n_depth = 32, .n_parallel = 2, .n_ctx = 64};
    struct snug_engine *engine = engine_test_start(&options);
    struct snug_config config;
    snug_space_default(snug_engine_space(engine), &config);
    struct snug_measurement m = engine_test_run(engine, &config, &t->effort, SNUG_TRIAL_OK);
    check_ok(&m, &options.workload);
    snug_measurement_clear(&m);
    engine_test_stop();
}

/* Compute threads of a worker run on every CPU that this process may use: a mask that nobody asked
 * for would put two of them on one. */
static void trial_without_a_mask_leaves_the_worker_unpinned(void **state)
{
    struct engine_test *t = *state;
    const struct snug_engine_options options = engine_test_options(t);
    struct snug_engine *engine = engine_test_start(&options);
    struct snug_config config;
    cpu_set_t own, its;
    pid_t pids[8];
    snug_space_default(snug_engine_space(engine), &config);
    struct snug_measurement m = engine_test_run(engine, &config, &t->effort, SNUG_TRIAL_OK);
    snug_measurement_clear(&m);
    assert_int_equal(sched_getaffinity(0, sizeof own, &own), 0);
    const int n = engine_test_children(pids, 8);
    assert_int_equal(n, 2); /* dry runs, trials */
    for (int i = 0; i < n; i++) {
        assert_int_equal(sched_getaffinity(pids[i], sizeof its, &its), 0);
        assert_memory_equal(&own, &its, sizeof own);
    }
    engine_test_stop();
}

static void mask_of_one_trial_does_not_outlive_it(void **state)
{
    struct engine_test *t = *state;
    cpu_set_t own, its;
    pid_t pids[8];
    struct snug_machine machine = t->machine;
    struct snug_engine_options options = engine_test_options(t);
    options.machine = &machine;
    assert_int_equal(sched_getaffinity(0, sizeof own, &own), 0);
    size_t first = 0;
    while (!CPU_ISSET(first, &own))
        first++;
    if (CPU_COUNT(&own) < 2 || first > 3)
        skip(); /* needs two CPUs, one of them among the first four */
    machine.n_cores = machine.n_threads_usable = 2; /* one thread alone is never pinned */
    options.workload = (struct snug_workload){
        .n_prompt = 2, .n_gen = 1, .n_depth = 0, .n_parallel = 1, .n_ctx = 64};
    snprintf(machine.mask_cores, sizeof machine.mask_cores, "0x%x", 1u << first);
    struct snug_engine *engine = engine_test_start(&options);
    struct snug_config config;
    snug_space_default(snug_engine_space(engine), &config);
    const int row = snug_space_find(snug_engine_space(engine), "cpu_mask");
    const int n_pinned[] = {1, 0}; /* workers pinned after a trial with the mask, and one without */
    for (size_t i = 0; i < COUNT(n_pinned); i++) {
        int n = 0;
        config.value[row] = i == 0;
        struct snug_measurement m = engine_test_run(engine, &config, &t->effort, SNUG_TRIAL_OK);
        snug_measurement_clear(&m);
        const int n_children = engine_test_children(pids, 8);
        for (int k = 0; k < n_children; k++) {
            assert_int_equal(sched_getaffinity(pids[k], sizeof its, &its), 0);
            n += CPU_COUNT(&its) == 1;
        }
        assert_int_equal(n, n_pinned[i]);
    }
    engine_test_stop();
}

/* ---- statements of memory ---- */

static void assert_close(const char *what, uint64_t stated, uint64_t real)
{
    if (fabs((double)stated - (double)real) > ROUNDING_BYTES)
        fail_msg("%s: %llu stated, %llu in a real load", what, (unsigned long long)stated,
                 (unsigned long long)real);
}

static void check_statement(struct snug_engine *engine, const struct snug_config *config,
                            const struct snug_effort *effort)
{
    struct snug_error err;
    struct snug_bytes bytes = {0};
    assert_ok(snug_engine_estimate(engine, config, &bytes, &err));
    assert_true(bytes.weights > 0 && bytes.cache > 0 && bytes.compute > 0);
    struct snug_measurement m = engine_test_run(engine, config, effort, SNUG_TRIAL_OK);
    assert_close("weights", bytes.weights, m.bytes.weights);
    assert_close("cache", bytes.cache, m.bytes.cache);
    assert_close("compute", bytes.compute, m.bytes.compute);
    assert_int_equal(m.bytes.device, 0);
    snug_measurement_clear(&m);
}

static void estimate_equals_what_a_real_load_states(void **state)
{
    struct engine_test *t = *state;
    struct snug_engine_options options = engine_test_options(t);
    options.workload.n_ctx = 1024;
    struct snug_engine *engine = engine_test_start(&options);
    const struct snug_space *space = snug_engine_space(engine);
    const char *const knobs[][2] = {{"repack", "on"},      {"repack", "off"},  {"n_ubatch", "32"},
                                    {"flash_attn", "off"}, {"type_k", "q8_0"}, {"type_k", "f32"},
                                    {"load_mode", "none"}};
    for (size_t i = 0; i < COUNT(knobs); i++) {
        struct snug_config config;
        snug_space_default(space, &config);
        engine_test_set(space, &config, knobs[i][0], knobs[i][1]);
        check_statement(engine, &config, &t->effort);
    }
    engine_test_stop();
}

static void estimate_moves_with_what_it_should(void **state)
{
    struct snug_error err;
    struct snug_engine_options options = engine_test_options(*state);
    options.workload.n_ctx = 1024;
    struct snug_engine *engine = engine_test_start(&options);
    const struct snug_space *space = snug_engine_space(engine);
    struct snug_config config;
    struct snug_bytes plain = {0}, small = {0}, again = {0};
    snug_space_default(space, &config);
    assert_ok(snug_engine_estimate(engine, &config, &plain, &err));
    engine_test_set(space, &config, "type_k", "q4_0");
    engine_test_set(space, &config, "n_ubatch", "32");
    assert_ok(snug_engine_estimate(engine, &config, &small, &err));
    assert_true(small.cache < plain.cache && small.compute < plain.compute);
    engine_test_set(space, &config, "poll", "100"); /* moves no bytes */
    assert_ok(snug_engine_estimate(engine, &config, &again, &err));
    assert_memory_equal(&small, &again, sizeof small);
    engine_test_stop();
}

/* ---- refusals ---- */

static void refused_configs_say_why_and_do_not_run(void **state)
{
    struct engine_test *t = *state;
    const struct snug_engine_options options = engine_test_options(t);
    struct snug_engine *engine = engine_test_start(&options);
    const struct snug_space *space = snug_engine_space(engine);
    const struct {
        const char *knobs[2][2], *reason;
    } cases[] = {{{{"type_v", "q8_0"}, {"flash_attn", "off"}}, "flash attention"},
                 {{{"n_batch", "64"}, {"n_ubatch", "128"}}, "n_ubatch 128"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct snug_error err;
        struct snug_bytes bytes = {0};
        struct snug_config config;
        snug_space_default(space, &config);
        for (size_t k = 0; k < 2; k++)
            engine_test_set(space, &config, cases[i].knobs[k][0], cases[i].knobs[k][1]);
        assert_fails(SNUG_INFEASIBLE, snug_engine_estimate(engine, &config, &bytes, &err));
        assert_contains(err.text, cases[i].reason);
        struct snug_measurement m =
            engine_test_run(engine, &config, &t->effort, SNUG_TRIAL_REFUSED);
        assert_contains(m.reason, cases[i].reason);
        assert_true(m.decode_tps == 0.0 && m.n_gaps == 0);
        snug_measurement_clear(&m);
    }
    pid_t pids[8];
    assert_int_equal(engine_test_children(pids, 8), 1); /* no trial worker was started */
    engine_test_stop();
}

static void memory_limit_below_the_statement_refuses_before_running(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    struct snug_engine_options options = engine_test_options(t);
    struct snug_engine *engine = engine_test_start(&options);
    struct snug_config config;
    struct snug_bytes bytes = {0};
    snug_space_default(snug_engine_space(engine), &config);
    assert_ok(snug_engine_estimate(engine, &config, &bytes, &err));
    engine_test_stop();
    options.memory_limit_bytes = snug_bytes_stated(&bytes) - 1;
    engine = engine_test_start(&options);
    struct snug_measurement m = engine_test_run(engine, &config, &t->effort, SNUG_TRIAL_REFUSED);
    assert_contains(m.reason, "the limit is");
    assert_int_equal(snug_bytes_stated(&m.bytes), snug_bytes_stated(&bytes));
    pid_t pids[8];
    assert_int_equal(engine_test_children(pids, 8), 1);
    snug_measurement_clear(&m);
    engine_test_stop();
}

static void open_refuses_workloads_that_no_context_holds(void **state)
{
    struct engine_test *t = *state;
    /* prompt, output, depth, sequences, context */
    const int64_t workloads[][5] = {{16, 4, 0, 0, 64},        {-1, 4, 0, 1, 64},
                                    {16, 4, 0, 1, 0},         {65, 4, 0, 1, 64},
                                    {16, 4, 49, 1, 64},       {16, 4, 0, 257, 64},
                                    {16, 4, 0, 2, 1 << 30},   {16, 4, 0, 1, INT64_MAX},
                                    {INT64_MAX, 4, 0, 1, 64}, {16, 4, INT64_MAX, 1, 64}};
    for (size_t i = 0; i < COUNT(workloads); i++) {
        struct snug_error err;
        struct snug_engine *engine = NULL;
        struct snug_engine_options options = engine_test_options(t);
        const int64_t *w = workloads[i];
        options.workload = (struct snug_workload){
            .n_prompt = w[0], .n_gen = w[1], .n_depth = w[2], .n_parallel = w[3], .n_ctx = w[4]};
        assert_fails(SNUG_BAD_INPUT, snug_engine_open("llama", &options, &engine, &err));
        assert_null(engine);
    }
    struct snug_error err;
    struct snug_engine *engine = NULL;
    const struct snug_engine_options options = engine_test_options(t);
    assert_fails(SNUG_BAD_INPUT, snug_engine_open("vllm", &options, &engine, &err));
    assert_contains(err.text, "llama");
    engine_test_no_children();
}

static void open_refuses_a_context_that_no_memory_holds(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    struct snug_engine *engine = NULL;
    struct snug_engine_options options = engine_test_options(t);
    options.memory_limit_bytes = 1ull << 30;
    options.workload.n_ctx = 1 << 28;
    assert_fails(SNUG_INFEASIBLE, snug_engine_open("llama", &options, &engine, &err));
    assert_contains(err.text, "268435456 tokens");
    assert_contains(err.text, "--context");
    /* With no limit to compare with, libllama's own list of cells is too much for a dry run. */
    options.memory_limit_bytes = 0;
    options.workload.n_ctx = 1 << 30;
    assert_fails(SNUG_BAD_INPUT, snug_engine_open("llama", &options, &engine, &err));
    assert_contains(err.text, "m.gguf");
    engine_test_no_children();
}

/* ---- real models ---- */

static void trained_models_run_and_their_statements_hold(void **state)
{
    const char *const names[] = {"stories260K-f32.gguf", "tales7m-f16.gguf"};
    struct engine_test *t = *state;
    const char *data = getenv("SNUG_TEST_DATA");
    if (!data || access(data, R_OK) != 0) {
        print_message("SNUG_TEST_DATA names no folder\n");
        skip();
    }
    for (size_t i = 0; i < COUNT(names); i++) {
        struct snug_error err;
        struct snug_model model = {0};
        char path[4096];
        snprintf(path, sizeof path, "%s/gguf/%s", data, names[i]);
        assert_ok(snug_model_open(path, &model, &err));
        struct snug_engine_options options = engine_test_options(t);
        options.model_path = path;
        options.model = &model;
        struct snug_engine *engine = engine_test_start(&options);
        struct snug_config config;
        snug_space_default(snug_engine_space(engine), &config);
        check_statement(engine, &config, &t->effort);
        engine_test_stop();
        snug_model_clear(&model);
    }
}

static void probe_lists_the_cpu(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_machine machine = {0};
    assert_ok(snug_engine_probe(&machine, NULL, NULL, &err));
    bool has_cpu = false;
    for (int i = 0; i < machine.n_devices; i++)
        has_cpu = has_cpu || strcmp(machine.devices[i].kind, "cpu") == 0;
    assert_true(has_cpu);
    engine_test_no_children();
}

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
#define TEST(f) cmocka_unit_test_teardown(f, engine_test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(space_states_every_knob_with_sane_bounds),
        TEST(space_with_quality_allowed_tunes_cache_types),
        TEST(trial_of_default_measures_and_reads_back_its_config),
        TEST(trial_of_other_knobs_reads_them_back),
        TEST(trial_in_a_short_context_reads_back_the_smaller_batch),
        TEST(trial_of_one_phase_measures_only_that),
        TEST(trial_of_fewer_tokens_generates_no_more_and_is_no_fault),
        TEST(trial_at_depth_with_two_sequences_measures),
        TEST(trial_without_a_mask_leaves_the_worker_unpinned),
        TEST(mask_of_one_trial_does_not_outlive_it),
        TEST(estimate_equals_what_a_real_load_states),
        TEST(estimate_moves_with_what_it_should),
        TEST(refused_configs_say_why_and_do_not_run),
        TEST(memory_limit_below_the_statement_refuses_before_running),
        TEST(open_refuses_workloads_that_no_context_holds),
        TEST(open_refuses_a_context_that_no_memory_holds),
        TEST(trained_models_run_and_their_statements_hold),
        TEST(probe_lists_the_cpu),
    };
    return cmocka_run_group_tests(tests, engine_test_open, engine_test_close);
}
