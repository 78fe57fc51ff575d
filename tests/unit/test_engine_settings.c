/* What lies around the trials: configs into libllama's terms, sizes out of its log, flags that its
 * own programs take, and command lines. */
#include "engine.h"
#include "loopback.h"

#include <sys/stat.h>

#include "base/json.h"
#include "base/process.h"

static snug_status settings(const char *json, struct snug__settings *out, struct snug_error *err)
{
    struct snug_json *doc = NULL;
    assert_int_equal(snug_json_parse("test", json, strlen(json), &doc, err), SNUG_OK);
    const snug_status status = snug__settings_from_json(snug_json_root(doc), out, err);
    snug_json_free(doc);
    return status;
}

static void settings_of_an_empty_config_are_libllamas(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug__settings s;
    const struct llama_context_params defaults = llama_context_default_params();
    assert_ok(settings("{}", &s, &err));
    assert_int_equal(s.n_batch, defaults.n_batch);
    assert_int_equal(s.n_ubatch, defaults.n_ubatch);
    assert_int_equal(s.type_k, defaults.type_k);
    assert_int_equal(s.load_mode, llama_model_default_params().load_mode);
    assert_string_equal(s.cpu_mask, "");
}

static void settings_take_every_knob_row(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug__settings s;
    const struct snug_space *rows = snug_engine_rows();
    for (int i = 0; i < rows->n; i++) {
        const struct snug_knob *knob = &rows->knobs[i];
        char text[32], json[128];
        const int64_t value = knob->def > 0 ? knob->def : knob->min;
        snprintf(json, sizeof json, "{\"%s\":%s%s%s}", knob->name,
                 knob->kind >= SNUG_KNOB_ENUM ? "\"" : "", snug_knob_text(knob, value, text),
                 knob->kind >= SNUG_KNOB_ENUM ? "\"" : "");
        if (strcmp(knob->name, "n_batch") == 0 || strcmp(knob->name, "n_ubatch") == 0)
            snprintf(json, sizeof json, "{\"n_batch\":512,\"n_ubatch\":512}");
        assert_ok(settings(json, &s, &err));
    }
}

static void settings_of_no_mask_name_no_cpu(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug__settings s;
    assert_ok(settings("{\"cpu_mask\":\"all\"}", &s, &err));
    assert_string_equal(s.cpu_mask, "");
    assert_ok(settings("{\"cpu_mask\":\"0x3\"}", &s, &err));
    assert_string_equal(s.cpu_mask, "0x3");
}

static void settings_refuse_what_libllama_would_abort_on_or_change(void **state)
{
    (void)state;
    const char *const cases[][2] = {
        {"{\"frobnicate\":1}", "frobnicate"},
        {"{\"n_batch\":0}", "n_batch"},
        {"{\"n_ubatch\":0}", "n_ubatch"},
        {"{\"n_batch\":64,\"n_ubatch\":65}", "n_ubatch 65"},
        {"{\"n_threads\":0}", "threads"},
        {"{\"n_threads\":-1}", "threads"},
        {"{\"n_threads\":513}", "512"},
        {"{\"n_threads_batch\":100000}", "512"},
        {"{\"type_k\":\"q9_9\"}", "cache type"},
        {"{\"type_v\":\"\"}", "cache type"},
        {"{\"type_v\":\"q8_0\",\"flash_attn\":\"off\"}", "flash attention"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct snug_error err;
        struct snug__settings s = {.n_batch = -7};
        assert_fails(SNUG_BAD_INPUT, settings(cases[i][0], &s, &err));
        assert_contains(err.text, cases[i][1]);
        assert_int_equal(s.n_batch, -7); /* outputs change only on success */
    }
    struct snug_error err;
    struct snug__settings s;
    assert_ok(settings("{\"n_batch\":64,\"n_ubatch\":64,\"n_threads\":512}", &s, &err));
    assert_ok(settings("{\"type_v\":\"q8_0\",\"flash_attn\":\"on\"}", &s, &err));
}

static void settings_tell_a_new_load_from_a_new_context(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug__settings a, b;
    const struct {
        const char *json;
        bool same_load, same_context;
    } cases[] = {{"{}", true, true},
                 {"{\"repack\":\"off\"}", false, true},
                 {"{\"load_mode\":\"none\"}", false, true},
                 {"{\"n_threads\":3}", true, false},
                 {"{\"cpu_mask\":\"0x1\"}", true, false},
                 {"{\"type_k\":\"q8_0\"}", true, false}};
    assert_ok(settings("{\"n_threads\":2}", &a, &err));
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_ok(settings(cases[i].json, &b, &err));
        if (strstr(cases[i].json, "n_threads\"") == NULL)
            b.n_threads = 2; /* the default is the machine's */
        assert_int_equal(snug__settings_same_load(&a, &b), cases[i].same_load);
        assert_int_equal(snug__settings_same_context(&a, &b), cases[i].same_context);
    }
}

/* ---- the log ---- */

static void say(enum ggml_log_level level, const char *line)
{
    ggml_log_callback callback = NULL;
    void *data = NULL;
    llama_log_get(&callback, &data);
    assert_non_null(callback);
    callback(level, line, data);
}

static void log_lines_are_summed_by_kind(void **state)
{
    (void)state;
    const struct snug_bytes *b = &snug__llama_log.bytes;
    const uint64_t mib = 1 << 20;
    snug__llama_log_install();
    snug__llama_log_reset_model();
    snug__llama_log_reset_context();
    const char *const lines[] = {
        "load_tensors:   CPU_Mapped model buffer size =    30.00 MiB\n",
        "load_tensors:   CPU_REPACK model buffer size =    12.50 MiB\n",
        "load_tensors:        CUDA0 model buffer size =   100.00 MiB\n",
        "llama_kv_cache:        CPU KV buffer size =     7.00 MiB\n",
        "llama_kv_cache:      CUDA0 KV buffer size =     9.00 MiB\n",
        "llama_kv_cache: size =   16.00 MiB (  4096 cells,  30 layers,  1/1 seqs)\n",
        "sched_reserve:        CPU compute buffer size =     2.00 MiB\n",
        "sched_reserve:  CUDA_Host compute buffer size =     1.00 MiB\n",
        "llama_context:        CPU  output buffer size =     0.50 MiB\n",
        "load_tensors: offloaded 3/3 layers to GPU\n",
        "model has -5 MiB of nothing, KV buffer size = x MiB, compute buffer size = 1e300 MiB\n"};
    for (size_t i = 0; i < COUNT(lines); i++)
        say(GGML_LOG_LEVEL_INFO, lines[i]);
    assert_int_equal(b->weights, 142 * mib + mib / 2);
    assert_int_equal(b->cache, 16 * mib);
    assert_int_equal(b->compute, 3 * mib + mib / 2);
    assert_int_equal(b->device, 109 * mib);
    snug__llama_log_reset_context();
    assert_true(b->cache == 0 && b->compute == 0 && b->weights > 0);
}

static void log_keeps_the_first_error(void **state)
{
    (void)state;
    snug__llama_log_install();
    snug__llama_log_reset_context();
    say(GGML_LOG_LEVEL_INFO, "all is well\n");
    assert_string_equal(snug__llama_log.last_error, "");
    say(GGML_LOG_LEVEL_ERROR, "the cause\n");
    say(GGML_LOG_LEVEL_ERROR, "what follows\n");
    assert_string_equal(snug__llama_log.last_error, "the cause");
    snug__llama_log_reset_context();
    assert_string_equal(snug__llama_log.last_error, "");
}

/* ---- flags and command lines ---- */

static void command_line_quotes_what_a_shell_would_change(void **state)
{
    (void)state;
    char *const words[] = {(char *)"--a", (char *)"b c", (char *)"it's",
                           (char *)"",    (char *)"$X",  NULL};
    char *line = snug_engine_command_line("llama-server", "/m odels/é.gguf", words);
    assert_string_equal(line,
                        "llama-server --model '/m odels/é.gguf' --a 'b c' 'it'\\''s' '' '$X'");
    free(line);
    line = snug_engine_command_line("llama-cli", "m.gguf", NULL);
    assert_string_equal(line, "llama-cli --model m.gguf");
    free(line);
}

static void command_line_reads_back_the_same_in_a_shell(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_buffer out = {0};
    char *const words[] = {(char *)"a  b", (char *)"'", (char *)"\\", (char *)"*", NULL};
    char *line = snug_engine_command_line("printf", "%s|%s|%s|%s|%s", words);
    char script[256];
    snprintf(script, sizeof script, "shift_() { shift 1; printf '%%s|' \"$@\"; }; shift_ %s",
             line + strlen("printf "));
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    assert_ok(snug_process_run(argv, NULL, PATIENCE_S, 4096, &out, &err));
    assert_string_equal(snug_buffer_text(&out), "%s|%s|%s|%s|%s|a  b|'|\\|*|");
    snug_buffer_clear(&out);
    free(line);
}

/* Start the packaged llama-server with the flags of a config and wait until it serves. */
static void serve(const char *tool, const struct engine_test *t, char **words)
{
    struct snug_error err;
    struct snug_process server = SNUG_PROCESS_INIT;
    const char *argv[80] = {tool, "--model", t->path, "--host", "127.0.0.1", "--port"};
    char port_text[16];
    size_t n = 6;
    const int port = loopback_port();
    snprintf(port_text, sizeof port_text, "%d", port);
    argv[n++] = port_text;
    argv[n++] = "--no-warmup";
    for (char **w = words; *w; w++) {
        assert_true(n + 1 < COUNT(argv));
        argv[n++] = *w;
    }
    assert_ok(snug_process_start(&server, argv, NULL, &err));
    const double until = snug_clock_s() + PATIENCE_S;
    bool is_up = false;
    struct snug_process_exit end;
    while (!is_up && snug_clock_s() < until && snug_process_wait(&server, 0.05, &end) != SNUG_OK)
        is_up = loopback_is_healthy(port);
    char tail[2048];
    snprintf(tail, sizeof tail, "%s", snug_buffer_text(&server.tail));
    snug_process_clear(&server);
    if (!is_up)
        fail_msg("llama-server does not serve with these flags: %s", tail);
}

static void flags_are_accepted_by_the_packaged_server(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    char tool[4096];
    if (snug_engine_tool("llama-server", tool, sizeof tool, &err) != SNUG_OK) {
        print_message("%s\n", err.text);
        skip();
    }
    struct snug_engine_options options = engine_test_options(t);
    options.allow_quality = true;
    struct snug_engine *engine = engine_test_start(&options);
    const struct snug_space *space = snug_engine_space(engine);
    const char *const knobs[][2] = {{"load_mode", "none"}, {"repack", "off"},    {"n_ubatch", "64"},
                                    {"n_batch", "256"},    {"type_k", "q8_0"},   {"type_v", "q4_0"},
                                    {"poll", "0"},         {"kv_unified", "on"}, {"prio", "-1"},
                                    {"kv_offload", "off"}, {"device", "none"}};
    struct snug_config config;
    snug_space_default(space, &config);
    for (int is_changed = 0; is_changed <= 1; is_changed++) {
        char **words = NULL;
        for (size_t i = 0; is_changed && i < COUNT(knobs); i++)
            engine_test_set(space, &config, knobs[i][0], knobs[i][1]);
        assert_ok(snug_engine_flags(space, &config, &t->workload, &words, &err));
        serve(tool, t, words);
        snug_engine_flags_free(words);
    }
    engine_test_stop();
    engine_test_no_children();
}

static void fit_starts_from_the_default_of_the_space(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    char tool[4096];
    if (snug_engine_tool("llama-fit-params", tool, sizeof tool, &err) != SNUG_OK) {
        print_message("%s\n", err.text);
        skip();
    }
    const struct snug_engine_options options = engine_test_options(t);
    struct snug_engine *engine = engine_test_start(&options);
    const struct snug_space *space = snug_engine_space(engine);
    struct snug_config config, plain;
    snug_space_default(space, &plain);
    assert_ok(snug_engine_fit(space, &t->workload, t->path, &config, &err));
    if (!space->knobs[snug_space_find(space, "n_gpu_layers")].is_tuned)
        engine_test_effective(space, &plain, &config); /* nothing to fit without a GPU */
    assert_fails(SNUG_CRASHED, snug_engine_fit(space, &t->workload, "/nosuch.gguf", &config, &err));
    engine_test_stop();
    engine_test_no_children();
}

static void tool_that_is_nowhere_is_not_found(void **state)
{
    (void)state;
    struct snug_error err;
    char tool[64];
    assert_fails(SNUG_NOT_FOUND, snug_engine_tool("llama-frobnicate", tool, sizeof tool, &err));
    assert_contains(err.text, "SNUG_TOOLS");
}

static void tool_named_by_the_variable_comes_first(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    char path[600], tool[600];
    snprintf(path, sizeof path, "%s/llama-server", t->folder);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(setenv("SNUG_TOOLS", t->folder, 1), 0);
    if (snug_engine_tool("llama-server", tool, sizeof tool, &err) == SNUG_OK)
        assert_string_not_equal(tool, path); /* not executable: no program */
    assert_int_equal(chmod(path, 0755), 0);
    assert_ok(snug_engine_tool("llama-server", tool, sizeof tool, &err));
    assert_string_equal(tool, path);
    unsetenv("SNUG_TOOLS");
}

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
#define TEST(f) cmocka_unit_test_teardown(f, engine_test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(settings_of_an_empty_config_are_libllamas),
        TEST(settings_take_every_knob_row),
        TEST(settings_of_no_mask_name_no_cpu),
        TEST(settings_refuse_what_libllama_would_abort_on_or_change),
        TEST(settings_tell_a_new_load_from_a_new_context),
        TEST(log_lines_are_summed_by_kind),
        TEST(log_keeps_the_first_error),
        TEST(command_line_quotes_what_a_shell_would_change),
        TEST(command_line_reads_back_the_same_in_a_shell),
        TEST(flags_are_accepted_by_the_packaged_server),
        TEST(fit_starts_from_the_default_of_the_space),
        TEST(tool_that_is_nowhere_is_not_found),
        TEST(tool_named_by_the_variable_comes_first),
    };
    return cmocka_run_group_tests(tests, engine_test_open, engine_test_close);
}
