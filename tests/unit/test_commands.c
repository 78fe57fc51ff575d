/* The table of emitters, what they refuse, command lines and recipes as text. Whether the tools
 * take them is test_commands_tools's concern. */
#include "plan.h"

#include <regex.h>

static const int MANY_TYPES[] = {GGML_TYPE_Q8_0,   GGML_TYPE_Q6_K, GGML_TYPE_Q5_K, GGML_TYPE_Q4_K,
                                 GGML_TYPE_IQ4_NL, GGML_TYPE_Q3_K, GGML_TYPE_Q2_K, GGML_TYPE_F16};

/* ---- the table ---- */

static void every_emitter_has_a_text(void **state)
{
    struct plan_test *t = *state;
    int n = 0;
    for (const struct snug_emitter *e = snug_plan_emitters(); e->name; e++) {
        assert_true(e->summary[0] && e->file[0]);
        free(plan_test_text(t, e->name, NULL));
        n++;
    }
    assert_int_equal(n, 7);
}

static void emitter_that_is_none_names_the_near_one(void **state)
{
    struct plan_test *t = *state;
    struct snug_error err;
    char *text = NULL;
    assert_fails(SNUG_NOT_FOUND,
                 snug_plan_command(&t->plan, &t->model, "lama-server", NULL, &text, &err));
    assert_contains(err.text, "did you mean llama-server?");
    assert_contains(err.text, "transformers, systemd");
    assert_null(text);
}

/* ---- refusals ---- */

static void fails_in_all(const struct plan_test *t, const struct snug_command_options *options,
                         const char *part)
{
    struct snug_error err;
    for (const struct snug_emitter *e = snug_plan_emitters(); e->name; e++) {
        char *text = NULL;
        assert_fails(SNUG_BAD_INPUT,
                     snug_plan_command(&t->plan, &t->model, e->name, options, &text, &err));
        assert_contains(err.text, part);
        assert_null(text);
    }
}

static void path_with_a_line_break_is_refused(void **state)
{
    struct plan_test *t = *state;
    fails_in_all(t, &(struct snug_command_options){.gguf_path = "a\nb.gguf"}, "GGUF file");
    fails_in_all(t, &(struct snug_command_options){.source_path = "a\rb"}, "source");
    fails_in_all(t, &(struct snug_command_options){.imatrix_path = "\n"}, "importance matrix");
    fails_in_all(t, &(struct snug_command_options){.gguf_path = ""}, "empty");
    fails_in_all(t, &(struct snug_command_options){.port = 65536}, "65535");
    fails_in_all(t, &(struct snug_command_options){.port = -1}, "65535");
    /* The model's own path, where no source is given. */
    t->model.is_preset = false;
    snprintf(t->model.path, sizeof t->model.path, "/a\n/m.gguf");
    fails_in_all(t, NULL, "line break");
}

static void path_is_taken_up_to_its_cap(void **state)
{
    struct plan_test *t = *state;
    char path[SNUG_COMMAND_PATH_MAX + 2];
    memset(path, 'p', sizeof path);
    path[SNUG_COMMAND_PATH_MAX + 1] = '\0';
    const struct snug_command_options options = {.gguf_path = path};
    fails_in_all(t, &options, "at most 4095");
    path[SNUG_COMMAND_PATH_MAX] = '\0';
    for (const struct snug_emitter *e = snug_plan_emitters(); e->name; e++) {
        char *text = plan_test_text(t, e->name, &options);
        if (strcmp(e->name, "transformers") != 0) /* which loads the source */
            assert_contains(text, path);
        free(text);
    }
}

static void plan_of_another_model_is_refused(void **state)
{
    struct plan_test *t = *state;
    const char *name = t->plan.names[3];
    t->plan.names[3] = "blk.0.nothing.weight";
    fails_in_all(t, NULL, "another model");
    t->plan.names[3] = name;
    t->plan.types[3] = 4; /* ggml removed it */
    fails_in_all(t, NULL, "type 4");
    t->plan.types[3] = GGML_TYPE_COUNT;
    fails_in_all(t, NULL, "which ggml has not");
    t->plan.types[3] = -1;
    fails_in_all(t, NULL, "type -1");
    t->plan.types[3] = GGML_TYPE_Q8_0;
    t->plan.n_tensors--;
    fails_in_all(t, NULL, "another model");
}

static void plan_of_impossible_numbers_is_refused(void **state)
{
    struct plan_test *t = *state;
    const struct snug_plan good = t->plan;
    t->plan.n_parallel = 0;
    fails_in_all(t, NULL, "0 sequences");
    t->plan = good;
    t->plan.n_ctx = 1;
    fails_in_all(t, NULL, "context of 1");
    t->plan = good;
    t->plan.n_ubatch = 65;
    fails_in_all(t, NULL, "n_ubatch 65");
    t->plan = good;
    t->plan.n_gpu_layers = -1;
    fails_in_all(t, NULL, "-1 layers");
    t->plan = good;
    t->plan.type_k = 99;
    fails_in_all(t, NULL, "99");
    t->plan = good;
    t->plan.flash_attn = false;
    fails_in_all(t, NULL, "without flash attention");
    t->plan = good;
}

static void cache_type_without_a_flag_is_refused(void **state)
{
    struct plan_test *t = *state;
    struct snug_error err;
    char *text = NULL;
    t->plan.type_k = GGML_TYPE_Q4_K;
    assert_fails(SNUG_BAD_INPUT,
                 snug_plan_command(&t->plan, &t->model, "llama-server", NULL, &text, &err));
    assert_contains(err.text, "the plan: type_k: 'q4_K' is not known");
}

/* ---- command lines ---- */

static void server_line_has_every_choice_of_the_plan(void **state)
{
    struct plan_test *t = *state;
    char *text = plan_test_text(
        t, "llama-server", &(struct snug_command_options){.gguf_path = "/m/it's.gguf", .port = 81});
    assert_string_equal(
        text,
        "llama-server --model '/m/it'\\''s.gguf' --ctx-size 512 --parallel 2 --load-mode none "
        "--gpu-layers 0 --threads 1 --threads-batch 1 --batch-size 64 --ubatch-size 32 "
        "--flash-attn on --cache-type-k q8_0 --cache-type-v q4_0 --fit off --cache-ram 1024 "
        "--port 81\n");
    free(text);
    t->plan.use_mmap = true;
    t->plan.n_threads = 0;
    t->plan.type_k = t->plan.type_v = GGML_TYPE_F16;
    t->plan.flash_attn = false;
    t->plan.n_ctx = 513; /* does not divide: each sequence gets what is whole */
    t->plan.tiers[0].weights = t->plan.tiers[0].bytes_usable;
    text = plan_test_text(t, "llama-server", NULL);
    assert_string_equal(
        text, "llama-server --model ./smollm2-135m-plan.gguf --ctx-size 512 --parallel 2 "
              "--load-mode mmap --no-repack --gpu-layers 0 --batch-size 64 --ubatch-size 32 "
              "--flash-attn off --cache-type-k f16 --cache-type-v f16 --fit off "
              "--cache-ram 0\n");
    free(text);
    text = plan_test_text(t, "llama-bench", NULL);
    assert_non_null(strstr(text, "--load-mode mmap --repack 0 --n-gpu-layers 0 --batch-size 64"));
    free(text);
}

static void bench_line_has_the_flags_of_its_own(void **state)
{
    struct plan_test *t = *state;
    const char flags[] = "--load-mode none --n-gpu-layers 0 --threads 1 --batch-size 64 "
                         "--ubatch-size 32 --flash-attn on --cache-type-k q8_0 --cache-type-v q4_0";
    char want[1024];
    snprintf(want, sizeof want,
             "llama-bench --model ./m.gguf --n-prompt 16 --n-gen 0 %s\n"
             "llama-bench --model ./m.gguf --n-prompt 0 --n-gen 64 --n-depth 0,128,192 %s\n",
             flags, flags);
    char *text =
        plan_test_text(t, "llama-bench", &(struct snug_command_options){.gguf_path = "m.gguf"});
    assert_string_equal(text, want);
    free(text);
}

/* ---- the recipe ---- */

/* The type that the patterns of a recipe give a name: the first that matches. */
static int recipe_type(const char *text, const char *name)
{
    static const char flag[] = "--tensor-type '";
    for (const char *at = text; (at = strstr(at, flag));) {
        char pattern[65536];
        at += sizeof flag - 1;
        const size_t n = strcspn(at, "=");
        assert_true(n < sizeof pattern);
        snprintf(pattern, sizeof pattern, "%.*s", (int)n, at);
        regex_t regex;
        assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
        const bool is_match = regexec(&regex, name, 0, NULL, 0) == 0;
        regfree(&regex);
        for (int type = 0; is_match && type < GGML_TYPE_COUNT; type++) {
            const char *known = snug_model_type_name(type);
            if (strncmp(at + n + 1, known, strlen(known)) == 0 && at[n + 1 + strlen(known)] == '\'')
                return type;
        }
        assert_false(is_match);
    }
    return -1;
}

static void recipe_gives_every_matrix_its_type(void **state)
{
    struct plan_test *t = *state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        plan_test_draw(t, MANY_TYPES, (int)COUNT(MANY_TYPES), seed);
        char *text = plan_test_text(t, "llama-quantize", NULL);
        for (int i = 0; i < t->plan.n_tensors; i++) {
            const int want = plan_test_is_free(&t->model.tensors[i]) ? t->plan.types[i] : -1;
            const int got = recipe_type(text, t->plan.names[i]);
            if (got != want)
                fail_msg("seed %llu: %s is %d, not %d, by %s", (unsigned long long)seed,
                         t->plan.names[i], got, want, text);
        }
        free(text);
    }
}

static void recipe_of_agreeing_layers_is_short(void **state)
{
    struct plan_test *t = *state;
    char *text = plan_test_text(t, "llama-quantize", NULL);
    assert_int_equal(plan_test_count(text, "--tensor-type"),
                     2); /* the embedding; all of the blocks */
    assert_contains(text, "'^token_embd\\.weight$=q4_0'");
    assert_contains(text, "blk\\.[0-9]+\\.(attn_k|attn_output|attn_q|attn_v|ffn_down|ffn_gate|"
                          "ffn_up)\\.weight$=q4_0'");
    assert_contains(text, " ./smollm2-135m-f16.gguf ./smollm2-135m-plan.gguf ");
    free(text);
    for (int i = 0; i < t->plan.n_tensors; i++) {
        if (strcmp(t->plan.names[i], "blk.0.attn_v.weight") == 0 ||
            strcmp(t->plan.names[i], "blk.11.attn_v.weight") == 0)
            t->plan.types[i] = GGML_TYPE_Q8_0;
    }
    text = plan_test_text(t, "llama-quantize", NULL);
    assert_int_equal(plan_test_count(text, "--tensor-type"), 4);
    const char *few = strstr(text, "'^blk\\.(0|11)\\.attn_v\\.weight$=q8_0'");
    const char *most = strstr(text, "'^blk\\.[0-9]+\\.attn_v\\.weight$=q4_0'");
    assert_true(few && most && few < most);
    free(text);
}

/* Some versions of llama-quantize do not count a match whose type is the file's. */
static void recipe_labels_the_file_with_a_type_that_no_tensor_has(void **state)
{
    struct plan_test *t = *state;
    const struct {
        int type;
        const char *base;
    } cases[] = {
        {GGML_TYPE_Q4_0, "IQ4_NL\n"}, {GGML_TYPE_Q8_0, "Q6_K\n"}, {GGML_TYPE_F16, "Q8_0\n"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        plan_test_fill(t, cases[i].type);
        char *text = plan_test_text(t, "llama-quantize", NULL);
        const char *last = strrchr(text, ' ');
        if (strcmp(last + 1, cases[i].base) != 0 &&
            !(cases[i].type == GGML_TYPE_Q4_0 && strcmp(last + 1, "Q4_K_S\n") == 0))
            fail_msg("all %s: labelled%s", snug_model_type_name(cases[i].type), last);
        free(text);
    }
}

static void recipe_refuses_what_llama_quantize_would(void **state)
{
    struct plan_test *t = *state;
    struct snug_error err;
    char *text = NULL;
    int norm = 0;
    while (plan_test_is_free(&t->model.tensors[norm]))
        norm++;
    t->plan.types[norm] = GGML_TYPE_F16;
    assert_fails(SNUG_BAD_INPUT,
                 snug_plan_command(&t->plan, &t->model, "llama-quantize", NULL, &text, &err));
    assert_contains(err.text, "llama-quantize leaves it at f32");
    t->plan.types[norm] = t->model.tensors[norm].type;
    plan_test_fill(t, GGML_TYPE_IQ2_XXS);
    assert_fails(SNUG_BAD_INPUT,
                 snug_plan_command(&t->plan, &t->model, "llama-quantize", NULL, &text, &err));
    assert_contains(err.text, "--imatrix");
    text = plan_test_text(t, "llama-quantize",
                          &(struct snug_command_options){.imatrix_path = "i m.gguf"});
    assert_contains(text, "llama-quantize --imatrix './i m.gguf' \\\n");
    free(text);
}

static void recipe_of_a_quantised_source_says_so(void **state)
{
    struct plan_test *t = *state;
    t->model.is_preset = false;
    plan_test_fill(t, GGML_TYPE_Q8_0);
    char *text = plan_test_text(t, "llama-quantize", NULL);
    assert_null(strstr(text, "--allow-requantize"));
    free(text);
    for (int i = 0; i < t->model.n_tensors; i++)
        t->model.tensors[i].type = t->plan.types[i];
    text = plan_test_text(t, "llama-quantize", NULL);
    assert_null(strstr(text, "--allow-requantize")); /* copied as they are */
    free(text);
    plan_test_fill(t, GGML_TYPE_Q4_0);
    text = plan_test_text(t, "llama-quantize", NULL);
    assert_contains(text, "\nllama-quantize --allow-requantize \\\n");
    assert_contains(text, "comes on top");
    free(text);
}

/* Whatever the source is, the recipe reads a GGUF of this folder. */
static void recipe_names_a_local_file_for_any_source(void **state)
{
    struct plan_test *t = *state;
    const struct {
        const char *source, *file, *hint;
    } cases[] = {
        {"https://h/a/b-f16.gguf?download=true", " ./b-f16.gguf ./", "# First fetch this"},
        {"hf:user/repo:f16", " ./repo.gguf ./", "below: hf:user/repo:f16\n"},
        {"hf:user/repo", " ./repo.gguf ./", "hf:user/repo\n"},
        {"8b.gguf", " ./8b.gguf ./", "label.\nllama-quantize"},
        {"../m.gguf", " ../m.gguf ./", "label.\nllama-quantize"},
        {"http://h/", " ./h.gguf ./", "http://h/\n"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *text = plan_test_text(t, "llama-quantize",
                                    &(struct snug_command_options){.source_path = cases[i].source});
        assert_contains(text, cases[i].file);
        assert_contains(text, cases[i].hint);
        free(text);
    }
    void *folder = NULL;
    char path[600], want[1400];
    assert_int_equal(test_folder_open(&folder), 0);
    snprintf(path, sizeof path, "%s/", (char *)folder);
    char *text =
        plan_test_text(t, "llama-quantize", &(struct snug_command_options){.source_path = path});
    const char *name = strrchr(folder, '/') + 1;
    snprintf(want, sizeof want, "convert_hf_to_gguf.py --outtype f16 --outfile ./%s-f16.gguf %s\n",
             name, path);
    assert_contains(text, want);
    snprintf(want, sizeof want, "\n    ./%s-f16.gguf ./smollm2-135m-plan.gguf ", name);
    assert_contains(text, want);
    free(text);
    test_folder_close(&folder);
}

static void recipe_hides_what_a_pattern_cannot_hold(void **state)
{
    struct plan_test *t = *state;
    struct snug_tensor *tensor = &t->model.tensors[0];
    while (!plan_test_is_free(tensor))
        tensor++;
    const int i = (int)(tensor - t->model.tensors);
    tensor->name = t->plan.names[i] = "Odd=n(a)me' $x\n.weight";
    t->plan.types[i] = GGML_TYPE_Q6_K;
    char *text = plan_test_text(t, "llama-quantize", NULL);
    assert_contains(text, "'^.dd.n.a.me...x.\\.weight$=q6_K'");
    free(text);
}

/* A model of n matrices with names of their own; the last is n_more bytes longer than the rest. */
static size_t recipe_bytes(int n, size_t n_more, snug_status *out_status)
{
    struct snug_tensor *tensors = calloc((size_t)n, sizeof *tensors);
    const char **names = calloc((size_t)n, sizeof *names);
    int *types = calloc((size_t)n, sizeof *types);
    assert_true(tensors && names && types);
    for (int i = 0; i < n; i++) {
        char *name = NULL;
        /* What is spread over the names stays below ggml's 63 bytes. */
        const size_t n_own = n_more / (size_t)n + ((size_t)i < n_more % (size_t)n);
        assert_true(asprintf(&name, "t%06d%.*s", i, (int)n_own,
                             "________________________________________________________") > 0);
        tensors[i] = (struct snug_tensor){
            .name = name, .type = GGML_TYPE_Q8_0, .n_dims = 2, .n_elements = 256};
        names[i] = name;
        types[i] = GGML_TYPE_Q8_0;
    }
    struct snug_model model = {.is_preset = true, .tensors = tensors, .n_tensors = n};
    struct snug_plan plan = {.n_tensors = n,
                             .names = names,
                             .types = types,
                             .n_ctx = 64,
                             .n_parallel = 1,
                             .n_batch = 32,
                             .n_ubatch = 32,
                             .type_k = 1,
                             .type_v = 1};
    struct snug_error err;
    char *text = NULL;
    *out_status = snug_plan_command(&plan, &model, "llama-quantize", NULL, &text, &err);
    /* The text up to the source is what the cap counts. */
    const size_t bytes = text ? (size_t)(strstr(text, " ./model-f16.gguf") - text) : 0;
    free(text);
    for (int i = 0; i < n; i++)
        free((void *)(uintptr_t)names[i]);
    free(tensors);
    free(names);
    free(types);
    return bytes;
}

static void recipe_is_taken_up_to_its_cap(void **state)
{
    (void)state;
    snug_status status;
    const int n = 4096;
    const size_t bytes = recipe_bytes(n, 0, &status);
    assert_int_equal(status, SNUG_OK);
    assert_true(bytes > 0 && bytes < SNUG_COMMAND_RECIPE_MAX);
    const size_t n_more = SNUG_COMMAND_RECIPE_MAX - bytes;
    assert_int_equal(recipe_bytes(n, n_more, &status), SNUG_COMMAND_RECIPE_MAX);
    assert_int_equal(status, SNUG_OK);
    (void)recipe_bytes(n, n_more + 1, &status);
    assert_int_equal(status, SNUG_UNSUPPORTED);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, plan_test_setup, plan_test_teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_emitter_has_a_text),
        TEST(emitter_that_is_none_names_the_near_one),
        TEST(path_with_a_line_break_is_refused),
        TEST(path_is_taken_up_to_its_cap),
        TEST(plan_of_another_model_is_refused),
        TEST(plan_of_impossible_numbers_is_refused),
        TEST(cache_type_without_a_flag_is_refused),
        TEST(server_line_has_every_choice_of_the_plan),
        TEST(bench_line_has_the_flags_of_its_own),
        TEST(recipe_gives_every_matrix_its_type),
        TEST(recipe_of_agreeing_layers_is_short),
        TEST(recipe_labels_the_file_with_a_type_that_no_tensor_has),
        TEST(recipe_refuses_what_llama_quantize_would),
        TEST(recipe_of_a_quantised_source_says_so),
        TEST(recipe_names_a_local_file_for_any_source),
        TEST(recipe_hides_what_a_pattern_cannot_hold),
        TEST(recipe_is_taken_up_to_its_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
