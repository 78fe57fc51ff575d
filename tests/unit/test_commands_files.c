/* What emitters write for Ollama, systemd and Transformers, read back by systemd and Python where
 * they are there; names and paths that try to break out. */
#include "plan.h"

#include "base/process.h"
#include "snug/engine.h"

/* ---- Ollama, systemd ---- */

static void modelfile_has_parameters_and_limits(void **state)
{
    struct plan_test *t = *state;
    char *text =
        plan_test_text(t, "ollama", &(struct snug_command_options){.gguf_path = "/a b/m.gguf"});
    assert_contains(text, "\nFROM /a b/m.gguf\n");
    assert_contains(text, "\nPARAMETER num_ctx 256\nPARAMETER num_gpu 0\nPARAMETER num_thread 1\n");
    assert_contains(text, "\nPARAMETER num_batch 32\n");
    assert_contains(text, "uniform q4_0");
    assert_contains(text, "OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE=q8_0 "
                          "OLLAMA_NUM_PARALLEL=2 ollama serve");
    assert_contains(text, "K as q8_0 and V as q4_0");
    free(text);
    t->plan.type_v = GGML_TYPE_Q8_0;
    plan_test_fill(t, GGML_TYPE_Q6_K);
    text = plan_test_text(t, "ollama", NULL);
    assert_null(strstr(text, "K as q8_0"));
    assert_contains(text, "uniform q6_K");
    free(text);
}

static void names_of_a_model_stay_in_their_comment(void **state)
{
    struct plan_test *t = *state;
    snprintf(t->plan.model_name, sizeof t->plan.model_name,
             "x\nFROM evil\n[Service]\rExecStartPre=/bin/x %%h\\");
    char *text = plan_test_text(t, "ollama", NULL);
    assert_int_equal(plan_test_count(text, "\nFROM "), 1);
    free(text);
    text = plan_test_text(t, "systemd", NULL);
    assert_int_equal(plan_test_count(text, "\n[Service]"), 1);
    assert_null(strstr(text, "\nExecStartPre"));
    assert_contains(text, "Description=llama-server with x?FROM evil?[Service]?ExecStartPre=/bin/x "
                          "%%h?, as planned by snug\n");
    free(text);
}

static void unit_quotes_words_as_systemd_reads_them(void **state)
{
    struct plan_test *t = *state;
    char *text = plan_test_text(
        t, "systemd",
        &(struct snug_command_options){.gguf_path = "/m o/100%\"$HOME\\\x80'.gguf", .port = 99});
    assert_contains(text, " --model \"/m o/100%%\\\"$$HOME\\\\\\x80'.gguf\" --ctx-size 512 ");
    assert_contains(text, " --port 99\nRestart=on-failure\n");
    free(text);
    text = plan_test_text(t, "systemd", &(struct snug_command_options){.gguf_path = "rel.gguf"});
    char folder[4096], want[4200];
    assert_non_null(getcwd(folder, sizeof folder));
    snprintf(want, sizeof want, "%s/rel.gguf", folder);
    assert_contains(text, want);
    free(text);
}

static void unit_bounds_memory_by_the_plan(void **state)
{
    struct plan_test *t = *state;
    /* 5120 MiB planned, 1024 of prompt cache, a margin of 512. */
    char *text =
        plan_test_text(t, "systemd", &(struct snug_command_options){.gguf_path = "/srv/m.gguf"});
    assert_contains(text, "\nMemoryMax=6979321856\n");
    assert_contains(text, "\nDynamicUser=yes\n");
    assert_contains(text, "\nPrivateTmp=yes\n");
    assert_null(strstr(text, "SupplementaryGroups"));
    assert_null(strstr(text, "CPUAffinity"));
    assert_null(strstr(text, "PrivateDevices"));
    assert_null(strstr(text, "MemoryDenyWriteExecute"));
    free(text);
    /* A device's bytes are not the host's; of 20736 MiB a tenth is the margin. */
    t->plan.tiers[1] = t->plan.tiers[0];
    snprintf(t->plan.tiers[0].name, sizeof t->plan.tiers[0].name, "CUDA0");
    t->plan.tiers[1].weights = UINT64_C(20) << 30;
    t->plan.tiers[1].cache = t->plan.tiers[1].compute = 0;
    t->plan.n_tiers = 2;
    t->plan.n_gpu_layers = 5;
    text =
        plan_test_text(t, "systemd", &(struct snug_command_options){.gguf_path = "/home/u/m.gguf"});
    assert_contains(text, "\nMemoryMax=23917599129\n");
    assert_null(strstr(text, "\nDynamicUser"));
    assert_contains(text, "\nSupplementaryGroups=video render\n");
    free(text);
}

/* The unit as systemd itself reads it, where it is there. */
static void unit_is_accepted_by_systemd(void **state)
{
    struct plan_test *t = *state;
    struct snug_error err;
    struct snug_buffer out = {0};
    char unit[600], script[800], tool[4096];
    void *folder = NULL;
    if (snug_engine_tool("llama-server", tool, sizeof tool, &err) != SNUG_OK) {
        print_message("%s\n", err.text); /* systemd asks for the program too */
        skip();
    }
    assert_int_equal(test_folder_open(&folder), 0);
    const struct snug_command_options options = {.gguf_path = "/m o/100% \"$x\".gguf", .port = 99};
    char *text = plan_test_text(t, "systemd", &options);
    snprintf(unit, sizeof unit, "%s/snug-test.service", (char *)folder);
    FILE *f = fopen(unit, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    free(text);
    /* Lines about this unit are slips of ours; other units of the machine are not our concern. */
    snprintf(script, sizeof script,
             "command -v systemd-analyze >/dev/null || { echo none; exit 0; }\n"
             "systemd-analyze verify '%s' 2>&1 | grep -F snug-test; echo done",
             unit);
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    const snug_status status = snug_process_run(argv, NULL, PATIENCE_S, 65536, &out, &err);
    test_folder_close(&folder);
    assert_int_equal(status, SNUG_OK);
    const bool is_there = strcmp(snug_buffer_text(&out), "none\n") != 0;
    if (is_there)
        assert_string_equal(snug_buffer_text(&out), "done\n");
    snug_buffer_clear(&out);
    if (!is_there) {
        print_message("systemd-analyze is not on this machine\n");
        skip();
    }
}

/* ---- Transformers ---- */

/* Prints what the snippet assigns, without Transformers: the skipped modules, then the rest. */
static const char READER[] =
    "import ast, os, sys\n"
    "tree = ast.parse(open(sys.argv[1], encoding='utf-8').read())\n"
    "found = {}\n"
    "for node in tree.body:\n"
    "    if isinstance(node, ast.Assign) and node.targets[0].id in ('skip', 'model_id', "
    "'max_memory'):\n"
    "        code = compile(ast.Expression(node.value), 'x', 'eval')\n"
    "        found[node.targets[0].id] = eval(code, {})\n"
    "calls = {n.func.id: sorted(k.arg for k in n.keywords) for n in ast.walk(tree)\n"
    "         if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}\n"
    "for name in found.get('skip', []):\n"
    "    print(name)\n"
    "print('model', os.fsencode(found['model_id']).hex())\n"
    "print('memory', found['max_memory'])\n"
    "print('config', *calls.get('BitsAndBytesConfig', []))\n";

static struct snug_buffer read_snippet(const char *text)
{
    struct snug_error err;
    struct snug_buffer out = {0};
    char path[600];
    void *folder = NULL;
    assert_int_equal(test_folder_open(&folder), 0);
    snprintf(path, sizeof path, "%s/load.py", (char *)folder);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    const char *const argv[] = {"python3", "-c", READER, path, NULL};
    const snug_status status = snug_process_run(argv, NULL, PATIENCE_S, 1 << 20, &out, &err);
    test_folder_close(&folder);
    if (status == SNUG_NOT_FOUND) {
        print_message("python3 is not on this machine\n");
        skip();
    }
    if (status != SNUG_OK)
        fail_msg("python3: %s, of\n%s", err.text, text);
    return out;
}

/* Hugging Face's names as a table of its own, to hold the snippet against. */
static const char *module_of(const char *name, char *out, size_t cap)
{
    static const char *const names[][2] = {
        {"attn_q", "self_attn.q_proj"}, {"attn_k", "self_attn.k_proj"},
        {"attn_v", "self_attn.v_proj"}, {"attn_output", "self_attn.o_proj"},
        {"ffn_gate", "mlp.gate_proj"},  {"ffn_up", "mlp.up_proj"},
        {"ffn_down", "mlp.down_proj"}};
    int layer = 0;
    char rest[64];
    if (sscanf(name, "blk.%d.%63[a-z_].weight", &layer, rest) != 2)
        return NULL;
    for (size_t i = 0; i < COUNT(names); i++) {
        if (strcmp(names[i][0], rest) == 0) {
            snprintf(out, cap, "\nmodel.layers.%d.%s\n", layer, names[i][1]);
            return out;
        }
    }
    return NULL;
}

static void check_skips(const struct plan_test *t, const char *read, double bits_min)
{
    int n = 1; /* lm_head */
    for (int i = 0; i < t->plan.n_tensors; i++) {
        char module[128];
        if (!module_of(t->plan.names[i], module, sizeof module))
            continue;
        const enum ggml_type type = (enum ggml_type)t->plan.types[i];
        const double bits = 8.0 * (double)ggml_type_size(type) / (double)ggml_blck_size(type);
        const bool is_there = strstr(read, module) != NULL;
        if (is_there != (bits >= bits_min))
            fail_msg("%s as %s is %s", t->plan.names[i], ggml_type_name(type),
                     is_there ? "skipped" : "not skipped");
        n += is_there;
    }
    assert_int_equal(plan_test_count(read, "model.layers.") + 1, n);
}

static void snippet_skips_what_the_plan_keeps(void **state)
{
    struct plan_test *t = *state;
    const struct {
        int types[3];
        double bits_min;
        const char *config;
    } cases[] = {
        {{GGML_TYPE_Q4_K, GGML_TYPE_Q3_K, GGML_TYPE_Q8_0},
         8.0,
         "\nconfig bnb_4bit_compute_dtype bnb_4bit_quant_type bnb_4bit_use_double_quant "
         "llm_int8_skip_modules load_in_4bit\n"},
        {{GGML_TYPE_Q6_K, GGML_TYPE_Q8_0, GGML_TYPE_F16},
         16.0,
         "\nconfig llm_int8_skip_modules load_in_8bit\n"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        plan_test_draw(t, cases[i].types, 3, 7);
        char *text = plan_test_text(t, "transformers", NULL);
        struct snug_buffer read = read_snippet(text);
        free(text);
        check_skips(t, snug_buffer_text(&read), cases[i].bits_min);
        assert_contains(snug_buffer_text(&read), cases[i].config);
        assert_contains(snug_buffer_text(&read), "\nmemory {'cpu': '5120MiB'}\n");
        snug_buffer_clear(&read);
    }
}

static void snippet_of_sixteen_bits_quantises_nothing(void **state)
{
    struct plan_test *t = *state;
    plan_test_fill(t, GGML_TYPE_BF16);
    char *text = plan_test_text(t, "transformers", NULL);
    assert_null(strstr(text, "BitsAndBytes"));
    struct snug_buffer read = read_snippet(text);
    assert_contains(snug_buffer_text(&read), "\nconfig\n");
    snug_buffer_clear(&read);
    free(text);
}

static void snippet_of_a_whole_name_is_one_line(void **state)
{
    struct plan_test *t = *state;
    for (int i = 0; i < t->plan.n_tensors; i++) {
        if (strstr(t->plan.names[i], "attn_v.weight"))
            t->plan.types[i] = GGML_TYPE_Q8_0;
    }
    char *text = plan_test_text(t, "transformers", NULL);
    assert_contains(text, "\n    *(f\"model.layers.{i}.self_attn.v_proj\" for i in range(30)),\n");
    free(text);
}

static void snippet_places_by_tiers(void **state)
{
    struct plan_test *t = *state;
    t->plan.tiers[1] = t->plan.tiers[0];
    snprintf(t->plan.tiers[0].name, sizeof t->plan.tiers[0].name, "CUDA0");
    t->plan.tiers[0].bytes_usable = UINT64_C(3) << 30;
    t->plan.tiers[0].n_layer = 30;
    t->plan.n_tiers = 2;
    char *text = plan_test_text(t, "transformers", NULL);
    assert_null(strstr(text, "cpu_offload")); /* the host has the embedding alone */
    free(text);
    t->plan.tiers[1].n_layer = 1;
    text = plan_test_text(t, "transformers", NULL);
    assert_contains(text, "moved for each step");
    struct snug_buffer read = read_snippet(text);
    free(text);
    assert_contains(snug_buffer_text(&read), "\nmemory {0: '2048MiB', 'cpu': '5120MiB'}\n");
    assert_contains(snug_buffer_text(&read), " llm_int8_enable_fp32_cpu_offload ");
    snug_buffer_clear(&read);
    t->plan.n_tiers = 0;
    text = plan_test_text(t, "transformers", NULL);
    read = read_snippet(text);
    free(text);
    assert_contains(snug_buffer_text(&read), "\nmemory None\n");
    snug_buffer_clear(&read);
}

/* A folder with everything in its name that Python could take amiss, a byte that is not UTF-8 too.
 */
static void snippet_keeps_the_bytes_of_a_folder(void **state)
{
    struct plan_test *t = *state;
    void *folder = NULL;
    char path[600], want[1300] = "\nmodel ";
    assert_int_equal(test_folder_open(&folder), 0);
    snprintf(path, sizeof path, "%s/a \"b\" \\n {i} '\xff\xc3\xa9\x01", (char *)folder);
    const char *const argv[] = {"/bin/mkdir", path, NULL};
    struct snug_error err;
    assert_ok(snug_process_run(argv, NULL, PATIENCE_S, 64, NULL, &err));
    char *text =
        plan_test_text(t, "transformers", &(struct snug_command_options){.source_path = path});
    test_folder_close(&folder);
    struct snug_buffer read = read_snippet(text);
    free(text);
    size_t n = strlen(want);
    for (const char *p = path; *p; p++)
        n += (size_t)snprintf(want + n, sizeof want - n, "%02x", (unsigned char)*p);
    assert_contains(snug_buffer_text(&read), want);
    snug_buffer_clear(&read);
}

static void snippet_of_a_hostile_name_is_still_python(void **state)
{
    struct plan_test *t = *state;
    snprintf(t->plan.model_name, sizeof t->plan.model_name, "x\nimport os\r\xff\"\"\"\\");
    char *text = plan_test_text(t, "transformers", NULL);
    assert_null(strstr(text, "\nimport os"));
    struct snug_buffer read = read_snippet(text);
    assert_contains(snug_buffer_text(&read), "\nmodel 780a696d706f7274206f730dff2222225c\n");
    snug_buffer_clear(&read);
    free(text);
}

static void snippet_knows_fused_and_unknown_modules(void **state)
{
    (void)state;
    struct plan_test t;
    struct snug_error err;
    char *text = NULL;
    plan_test_open(&t, "phi3-mini");
    plan_test_fill(&t, GGML_TYPE_Q4_0);
    for (int i = 0; i < t.plan.n_tensors; i++) {
        if (strstr(t.plan.names[i], "blk.3."))
            t.plan.types[i] = t.model.tensors[i].n_dims < 2 ? t.plan.types[i] : GGML_TYPE_Q8_0;
    }
    text = plan_test_text(&t, "transformers", NULL);
    assert_contains(text, "model.layers.{i}.mlp.gate_up_proj\" for i in [3])");
    assert_contains(text, "model.layers.{i}.self_attn.qkv_proj\" for i in [3])");
    assert_null(strstr(text, "mlp.up_proj"));
    free(text);
    struct snug_tensor *tensor = &t.model.tensors[0];
    while (!strstr(tensor->name, "blk.5.ffn_down"))
        tensor++;
    tensor->name = t.plan.names[tensor - t.model.tensors] = "blk.5.ssm\n_a.weight";
    text = plan_test_text(&t, "transformers", NULL);
    assert_contains(text, "no module is known for blk.5.ssm?_a.weight: they follow");
    free(text);
    text = NULL;
    snprintf(t.plan.arch, sizeof t.plan.arch, "mamba");
    assert_fails(SNUG_UNSUPPORTED,
                 snug_plan_command(&t.plan, &t.model, "transformers", NULL, &text, &err));
    assert_contains(err.text, "'mamba'");
    assert_contains(err.text, "qwen3");
    plan_test_close(&t);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, plan_test_setup, plan_test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(modelfile_has_parameters_and_limits),
        TEST(names_of_a_model_stay_in_their_comment),
        TEST(unit_quotes_words_as_systemd_reads_them),
        TEST(unit_bounds_memory_by_the_plan),
        TEST(unit_is_accepted_by_systemd),
        TEST(snippet_skips_what_the_plan_keeps),
        TEST(snippet_of_sixteen_bits_quantises_nothing),
        TEST(snippet_of_a_whole_name_is_one_line),
        TEST(snippet_places_by_tiers),
        TEST(snippet_keeps_the_bytes_of_a_folder),
        TEST(snippet_of_a_hostile_name_is_still_python),
        TEST(snippet_knows_fused_and_unknown_modules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
