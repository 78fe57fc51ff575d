/* The packaged programs take what the emitters write: each text is run by a shell, as a user would,
 * on a small model whose path wants quoting. */
#include "plan.h"

#include "base/process.h"
#include "loopback.h"
#include "snug/engine.h"

struct tools_test {
    struct plan_test run; /* the model that is run */
    char *folder;
    char path[600];
    char tools[4096]; /* folder of the programs, "" when they are not here */
};

/* Group fixture: smollm2-135m cut to one layer, 33 MB, some 50 ms. */
static int open_tools(void **state)
{
    static struct tools_test t;
    struct snug_error err = {0};
    const struct snug_synth_options synth = {.type = "q4_0", .seed = 1, .n_layer = 1};
    void *folder = NULL;
    if (test_folder_open(&folder) != 0)
        return -1;
    t.folder = folder;
    snprintf(t.path, sizeof t.path, "%s/it's a model.gguf", t.folder);
    if (snug_model_synth("smollm2-135m", &synth, t.path, NULL, NULL, &err) != SNUG_OK) {
        print_error("%s\n", err.text);
        return -1;
    }
    plan_test_open(&t.run, t.path);
    if (snug_engine_tool("llama-server", t.tools, sizeof t.tools, &err) == SNUG_OK)
        *strrchr(t.tools, '/') = '\0';
    *state = &t;
    return 0;
}

static int close_tools(void **state)
{
    struct tools_test *t = *state;
    plan_test_close(&t->run);
    *state = t->folder;
    return test_folder_close(state);
}

static void need_tools(const struct tools_test *t)
{
    if (!t->tools[0]) {
        print_message("llama.cpp's programs are not on this machine\n");
        skip();
    }
}

/* A script of a text with words put behind its `after` and at its end. */
static void script_of(const struct tools_test *t, const char *text, const char *after,
                      const char *words, const char *ending, struct snug_buffer *out)
{
    const char *at = strstr(text, after);
    assert_non_null(at);
    at += strlen(after);
    snug_buffer_printf(out, "PATH='%s':$PATH\nexport PATH\n%.*s%s%.*s%s\n", t->tools,
                       (int)(at - text), text, words, (int)(strlen(at) - 1), at, ending);
    assert_false(out->is_failed);
}

static void run(const struct tools_test *t, const char *text, const char *ending)
{
    struct snug_error err;
    struct snug_buffer script = {0}, out = {0};
    script_of(t, text, "", "", ending, &script);
    const char *const argv[] = {"/bin/sh", "-c", snug_buffer_text(&script), NULL};
    const snug_status status = snug_process_run(argv, NULL, PATIENCE_S, 1 << 20, &out, &err);
    if (status != SNUG_OK)
        fail_msg("%s\nin: %s\nsaid: %s", err.text, snug_buffer_text(&script),
                 snug_buffer_text(&out));
    snug_buffer_clear(&script);
    snug_buffer_clear(&out);
}

/* Plans whose flags differ in every choice. */
static void vary(struct snug_plan *plan, int i)
{
    plan->use_mmap = i == 1;
    plan->flash_attn = i != 1;
    plan->type_k = i == 0 ? GGML_TYPE_Q8_0 : i == 1 ? GGML_TYPE_F16 : GGML_TYPE_Q5_1;
    plan->type_v = i == 0 ? GGML_TYPE_Q4_0 : i == 1 ? GGML_TYPE_F16 : GGML_TYPE_IQ4_NL;
    plan->n_parallel = i + 1;
    plan->n_threads = i == 2 ? 0 : 1;
    plan->n_gpu_layers = i == 2 ? 2 : 0; /* no GPU: asked for in vain, but taken */
}
enum { N_VARIED = 3 };

/* ---- running ---- */

static void serve(const struct tools_test *t, const char *text, int port)
{
    struct snug_error err;
    struct snug_buffer script = {0};
    struct snug_process server = SNUG_PROCESS_INIT;
    struct snug_process_exit end;
    char tail[2048];
    bool is_up = false;
    snug_buffer_printf(&script, "PATH='%s':$PATH; exec %s", t->tools, text);
    const char *const argv[] = {"/bin/sh", "-c", snug_buffer_text(&script), NULL};
    assert_ok(snug_process_start(&server, argv, NULL, &err));
    const double until = snug_clock_s() + PATIENCE_S;
    while (!is_up && snug_clock_s() < until && snug_process_wait(&server, 0.05, &end) != SNUG_OK)
        is_up = loopback_is_healthy(port);
    snprintf(tail, sizeof tail, "%s", snug_buffer_text(&server.tail));
    snug_process_clear(&server);
    if (!is_up)
        fail_msg("llama-server does not serve: %s\nsaid: %s", text, tail);
    snug_buffer_clear(&script);
}

static void server_serves_with_the_line(void **state)
{
    struct tools_test *t = *state;
    need_tools(t);
    for (int i = 0; i < N_VARIED; i++) {
        const struct snug_command_options options = {.gguf_path = t->path, .port = loopback_port()};
        vary(&t->run.plan, i);
        char *text = plan_test_text(&t->run, "llama-server", &options);
        serve(t, text, options.port);
        free(text);
    }
}

static void cli_answers_with_the_line(void **state)
{
    struct tools_test *t = *state;
    need_tools(t);
    for (int i = 0; i < N_VARIED; i++) {
        vary(&t->run.plan, i);
        char *text = plan_test_text(&t->run, "llama-cli",
                                    &(struct snug_command_options){.gguf_path = t->path});
        run(t, text, " --no-warmup --prompt there --predict 1 --single-turn --simple-io");
        free(text);
    }
}

static void bench_measures_with_the_lines(void **state)
{
    struct tools_test *t = *state;
    need_tools(t);
    for (int i = 0; i < N_VARIED; i++) {
        vary(&t->run.plan, i);
        char *text = plan_test_text(&t->run, "llama-bench",
                                    &(struct snug_command_options){.gguf_path = t->path});
        char *second = strchr(text, '\n');
        assert_non_null(second);
        /* Each line by itself, so that both can be made short. */
        char *first = strndup(text, (size_t)(second - text) + 1);
        assert_non_null(first);
        run(t, first, " -r 1");
        run(t, second + 1, " -r 1");
        free(first);
        free(text);
    }
}

/* ---- quantising ---- */

/* One tensor of llama-quantize's report: "[ 1/ 9] NAME - [..], type = f16, ... -> ... (q8_0)".
 * Without an arrow it keeps its type. Returns false for another line. */
static bool read_report(const char *line, size_t n, char name[64], char type[32])
{
    char copy[512];
    snprintf(copy, sizeof copy, "%.*s", (int)(n < 511 ? n : 511), line);
    if (sscanf(copy, "[%*d/%*d] %63s", name) != 1)
        return false;
    const char *arrow = strstr(copy, "->"), *bracket = arrow ? strchr(arrow, '(') : NULL;
    const char *given = strstr(copy, "type =");
    if (bracket)
        return sscanf(bracket, "(%31[^)])", type) == 1;
    return given && sscanf(given, "type = %31[^, ]", type) == 1;
}

/* The types that llama-quantize --dry-run says are the plan's. */
static void check_dry_run(const struct tools_test *t, const struct plan_test *p, const char *source)
{
    struct snug_error err;
    struct snug_buffer script = {0}, out = {0};
    const struct snug_command_options options = {.gguf_path = "/nosuch/out.gguf",
                                                 .source_path = source};
    char *text = plan_test_text(p, "llama-quantize", &options);
    script_of(t, text, "\nllama-quantize", " --dry-run", " 2>&1", &script);
    const char *const argv[] = {"/bin/sh", "-c", snug_buffer_text(&script), NULL};
    if (snug_process_run(argv, NULL, PATIENCE_S, 4 << 20, &out, &err) != SNUG_OK)
        fail_msg("%s\nof: %s\n%s", err.text, text, snug_buffer_text(&out));
    int n_seen = 0;
    for (const char *line = snug_buffer_text(&out); *line;) {
        const size_t n = strcspn(line, "\n");
        char name[64], type[32];
        if (read_report(line, n, name, type)) {
            int i = 0;
            while (i < p->plan.n_tensors && strcmp(p->plan.names[i], name) != 0)
                i++;
            assert_true(i < p->plan.n_tensors);
            if (strcmp(type, snug_model_type_name(p->plan.types[i])) != 0)
                fail_msg("%s is %s, not %s, by %s", name, type,
                         snug_model_type_name(p->plan.types[i]), text);
            n_seen++;
        }
        line += n + (line[n] == '\n');
    }
    assert_int_equal(n_seen, p->plan.n_tensors);
    free(text);
    snug_buffer_clear(&script);
    snug_buffer_clear(&out);
}

/* A large model's header alone; K types fit its rows. */
static void quantize_plans_the_types_of_the_recipe(void **state)
{
    struct tools_test *t = *state;
    need_tools(t);
    static const int types[] = {GGML_TYPE_Q8_0,   GGML_TYPE_Q6_K,  GGML_TYPE_Q5_K, GGML_TYPE_Q4_K,
                                GGML_TYPE_IQ4_XS, GGML_TYPE_Q3_K,  GGML_TYPE_Q2_K, GGML_TYPE_F16,
                                GGML_TYPE_IQ3_S,  GGML_TYPE_BF16,  GGML_TYPE_Q4_0, GGML_TYPE_Q5_1,
                                GGML_TYPE_F32,    GGML_TYPE_IQ4_NL};
    const char *const presets[] = {"llama3-8b", "gemma2-9b", "qwen2-7b"};
    const struct snug_synth_options synth = {.type = "f16", .is_shape_only = true};
    for (size_t k = 0; k < COUNT(presets); k++) {
        struct snug_error err;
        struct plan_test p;
        char path[600];
        snprintf(path, sizeof path, "%s/8b '%s'.gguf", t->folder, presets[k]);
        assert_ok(snug_model_synth(presets[k], &synth, path, NULL, NULL, &err));
        plan_test_open(&p, path);
        /* All of one type too: the mixtures of the whole file's type must not come through. */
        plan_test_fill(&p, GGML_TYPE_Q4_K);
        check_dry_run(t, &p, path);
        for (uint64_t seed = 1; seed <= 3; seed++) {
            plan_test_draw(&p, types, (int)COUNT(types), seed);
            check_dry_run(t, &p, path);
        }
        plan_test_close(&p);
    }
}

/* Made for real: every tensor of the file has the plan's type. */
static void check_made(const struct tools_test *t, const char *source, const int *types, int n)
{
    struct snug_error err;
    struct plan_test p;
    struct snug_model made;
    char path[600];
    snprintf(path, sizeof path, "%s/8b made.gguf", t->folder);
    plan_test_open(&p, source);
    plan_test_draw(&p, types, n, 3);
    char *text =
        plan_test_text(&p, "llama-quantize",
                       &(struct snug_command_options){.gguf_path = path, .source_path = source});
    run(t, text, " 2");
    assert_ok(snug_model_open(path, &made, &err));
    assert_int_equal(made.n_tensors, p.plan.n_tensors);
    for (int i = 0; i < made.n_tensors; i++) {
        int j = 0;
        while (strcmp(p.plan.names[j], made.tensors[i].name) != 0)
            j++;
        if (p.plan.types[j] != made.tensors[i].type)
            fail_msg("%s is made as %s, not %s, by %s", made.tensors[i].name,
                     snug_model_type_name(made.tensors[i].type),
                     snug_model_type_name(p.plan.types[j]), text);
    }
    free(text);
    snug_model_clear(&made);
    plan_test_close(&p);
    remove(path);
}

static void quantize_makes_the_types_of_the_recipe(void **state)
{
    struct tools_test *t = *state;
    need_tools(t);
    struct snug_error err;
    static const int odd[] = {GGML_TYPE_Q8_0, GGML_TYPE_Q5_0, GGML_TYPE_F16}; /* rows of 576 */
    static const int even[] = {GGML_TYPE_Q8_0, GGML_TYPE_Q6_K, GGML_TYPE_Q4_K, GGML_TYPE_Q3_K};
    char path[600];
    const struct snug_synth_options synth = {.type = "f16", .seed = 1, .n_layer = 1};
    snprintf(path, sizeof path, "%s/f16.gguf", t->folder);
    assert_ok(snug_model_synth("smollm2-135m", &synth, path, NULL, NULL, &err));
    check_made(t, path, odd, (int)COUNT(odd));
    const char *data = getenv("SNUG_TEST_DATA");
    snprintf(path, sizeof path, "%s/gguf/tales7m-f16.gguf", data ? data : "");
    if (!data || access(path, R_OK) != 0)
        print_message("# SNUG_TEST_DATA has no tales7m-f16.gguf: the synthetic model only\n");
    else
        check_made(t, path, even, (int)COUNT(even));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(server_serves_with_the_line),
        cmocka_unit_test(cli_answers_with_the_line),
        cmocka_unit_test(bench_measures_with_the_lines),
        cmocka_unit_test(quantize_plans_the_types_of_the_recipe),
        cmocka_unit_test(quantize_makes_the_types_of_the_recipe),
    };
    return cmocka_run_group_tests(tests, open_tools, close_tools);
}
