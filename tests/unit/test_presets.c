/* Presets: parameter counts as published, types as llama-quantize chooses them, cache sizes. */
#include "test.h"

#include <ggml.h>

#include "base/arena.h"
#include "model/preset.h"
#include "snug/model.h"

/* Counts as the models' published weights have them. */
static const struct {
    const char *name;
    int64_t n_params;
} published[] = {
    {"llama3-8b", 8030261248},   {"llama3-70b", 70553706496},    {"llama2-7b", 6738415616},
    {"llama2-13b", 13015864320}, {"mistral-7b", 7241732096},     {"qwen2-7b", 7615616512},
    {"phi3-mini", 3821079552},   {"gemma2-9b", 9241705984},      {"qwen3-0.6b", 596049920},
    {"qwen3-1.7b", 1720574976},  {"qwen3-4b", 4022468096},       {"smollm2-135m", 134515008},
    {"llama3.2-1b", 1235814400}, {"tinyllama-1.1b", 1100048384}, {"qwen3-30b-a3b", 30532122624},
};

static const struct snug_tensor *find_tensor(const struct snug_model *model, const char *name)
{
    for (int i = 0; i < model->n_tensors; i++) {
        if (strcmp(model->tensors[i].name, name) == 0)
            return &model->tensors[i];
    }
    return NULL;
}

static void open_each_preset_has_published_parameters(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_model model;
    for (size_t i = 0; i < COUNT(published); i++) {
        assert_ok(snug_model_open(published[i].name, &model, &err));
        if ((int64_t)model.n_params != published[i].n_params)
            fail_msg("%s has %lld parameters, not %lld", published[i].name,
                     (long long)model.n_params, (long long)published[i].n_params);
        assert_true(model.is_preset);
        assert_int_equal(model.is_tied, find_tensor(&model, "output.weight") == NULL);
        assert_int_equal(find_tensor(&model, "token_embd.weight")->ne[1], model.n_vocab);
        snug_model_clear(&model);
    }
}

static void presets_list_holds_all_and_their_table_agrees(void **state)
{
    (void)state;
    const char *const *names = snug_model_presets();
    size_t n = 0;
    for (; names[n]; n++) {
        const struct snug__preset *preset = snug__preset_find(names[n], strlen(names[n]));
        assert_non_null(preset);
        size_t i = 0;
        while (i < COUNT(published) && strcmp(published[i].name, names[n]) != 0)
            i++;
        assert_true(i < COUNT(published));
        assert_int_equal(preset->n_params, published[i].n_params);
    }
    assert_int_equal(n, COUNT(published));
    assert_null(snug__preset_find("llama3-8", 8));
    assert_null(snug__preset_find("llama3-8bx", 10));
}

static void open_preset_by_prefix_and_type_is_the_same_model(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_model a, b;
    assert_ok(snug_model_open("qwen3-0.6b:q4_0", &a, &err));
    assert_string_equal(a.path, "preset:qwen3-0.6b:q4_0");
    assert_string_equal(a.file_type, "Q4_0");
    assert_string_equal(a.arch, "qwen3");
    assert_string_equal(a.tokenizer, "gpt2");
    assert_int_equal(a.n_embd_head_k, 128);
    assert_int_equal(a.n_ctx_train, 40960);
    assert_ok(snug_model_open(a.path, &b, &err));
    assert_string_equal(a.hash, b.hash);
    snug_model_clear(&b);
    assert_ok(snug_model_open("qwen3-0.6b", &b, &err));
    assert_string_equal(b.file_type, "F16");
    assert_string_not_equal(a.hash, b.hash);
    snug_model_clear(&a);
    snug_model_clear(&b);
}

static void open_shape_only_file_equals_its_preset(void **state)
{
    struct snug_error err;
    struct snug_model file, preset;
    struct snug_synth_options options = {.type = "q4_0", .is_shape_only = true};
    const char *path = test_path(state, "shape.gguf");
    for (size_t i = 0; i < COUNT(published); i++) {
        char name[64];
        assert_ok(snug_model_synth(published[i].name, &options, path, NULL, NULL, &err));
        assert_ok(snug_model_open(path, &file, &err));
        snprintf(name, sizeof name, "%s:q4_0", published[i].name);
        assert_ok(snug_model_open(name, &preset, &err));
        assert_string_equal(file.hash, preset.hash);
        assert_int_equal(file.bytes_file, preset.bytes_file);
        assert_int_equal(file.bytes_tensors, preset.bytes_tensors);
        assert_int_equal(file.n_layer, preset.n_layer);
        assert_int_equal(file.n_vocab, preset.n_vocab);
        assert_int_equal(file.n_tensors, preset.n_tensors);
        assert_string_equal(file.name, published[i].name);
        assert_true(((struct snug_arena *)file.owner)->bytes_used < 1 << 20);
        snug_model_clear(&file);
        snug_model_clear(&preset);
    }
}

/* Types of the matrices that llama-quantize 0.7.0 (--dry-run, on our F16 shape-only files) gives;
 * counts are of 2-dimensional tensors. */
static void open_preset_types_are_those_of_llama_quantize(void **state)
{
    (void)state;
    const struct {
        const char *name;
        enum ggml_type embedding, output, ffn_down; /* output: GGML_TYPE_COUNT when tied */
    } rows[] = {
        {"llama3-8b:q4_0", GGML_TYPE_Q4_0, GGML_TYPE_Q6_K, GGML_TYPE_Q4_0},
        {"llama3-8b:q8_0", GGML_TYPE_Q8_0, GGML_TYPE_Q8_0, GGML_TYPE_Q8_0},
        {"llama3-8b:q5_k", GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_Q5_K},
        {"llama3-8b:bf16", GGML_TYPE_BF16, GGML_TYPE_BF16, GGML_TYPE_BF16},
        {"qwen3-0.6b:q4_0", GGML_TYPE_Q6_K, GGML_TYPE_COUNT, GGML_TYPE_Q4_0},
        {"gemma2-9b:q4_1", GGML_TYPE_Q6_K, GGML_TYPE_COUNT, GGML_TYPE_Q4_1},
        /* rows of 576 are no multiple of 256: Q6_K falls back */
        {"smollm2-135m:q4_0", GGML_TYPE_Q8_0, GGML_TYPE_COUNT, GGML_TYPE_Q4_0},
        {"smollm2-135m:q6_k", GGML_TYPE_Q8_0, GGML_TYPE_COUNT, GGML_TYPE_Q6_K},
        {"smollm2-135m:f16", GGML_TYPE_F16, GGML_TYPE_COUNT, GGML_TYPE_F16},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct snug_error err;
        struct snug_model model;
        assert_ok(snug_model_open(rows[i].name, &model, &err));
        assert_int_equal(find_tensor(&model, "token_embd.weight")->type, rows[i].embedding);
        const struct snug_tensor *output = find_tensor(&model, "output.weight");
        assert_int_equal(output ? output->type : GGML_TYPE_COUNT, rows[i].output);
        assert_int_equal(find_tensor(&model, "blk.1.ffn_down.weight")->type, rows[i].ffn_down);
        assert_int_equal(find_tensor(&model, "output_norm.weight")->type, GGML_TYPE_F32);
        snug_model_clear(&model);
    }
    struct snug_error err;
    struct snug_model model;
    const struct {
        const char *name, *tensor;
        enum ggml_type type;
    } fallbacks[] = {
        {"smollm2-135m:q6_k", "blk.0.attn_q.weight", GGML_TYPE_Q8_0},
        {"smollm2-135m:q5_k", "blk.0.attn_q.weight", GGML_TYPE_Q5_1},
        {"smollm2-135m:q4_k", "blk.0.attn_q.weight", GGML_TYPE_Q5_0},
        {"smollm2-135m:q3_k", "blk.0.attn_q.weight", GGML_TYPE_Q4_0},
        {"smollm2-135m:q2_k", "blk.0.attn_q.weight", GGML_TYPE_Q4_0},
        {"smollm2-135m:iq4_xs", "blk.0.attn_q.weight", GGML_TYPE_IQ4_NL},
    };
    for (size_t i = 0; i < COUNT(fallbacks); i++) {
        assert_ok(snug_model_open(fallbacks[i].name, &model, &err));
        assert_int_equal(find_tensor(&model, fallbacks[i].tensor)->type, fallbacks[i].type);
        snug_model_clear(&model);
    }
}

static void open_wrong_name_offers_the_near_ones(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_model model = {.n_layer = -7};
    assert_fails(SNUG_NOT_FOUND, snug_model_open("lama3-8b", &model, &err));
    assert_contains(err.text, "llama3-8b");
    assert_null(strstr(err.text, "qwen2-7b"));
    assert_fails(SNUG_NOT_FOUND, snug_model_open("preset:something-else", &model, &err));
    assert_contains(err.text, "qwen2-7b");
    assert_contains(err.text, "gemma2-9b");
    assert_fails(SNUG_BAD_INPUT, snug_model_open("llama3-8b:q9_9", &model, &err));
    assert_contains(err.text, "q9_9");
    assert_contains(err.text, "q4_0");
    assert_fails(SNUG_NOT_FOUND, snug_model_open("", &model, &err));
    assert_int_equal(model.n_layer, -7);
}

static void open_path_at_cap_passes_and_beyond_fails(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_model model;
    char path[sizeof model.path + 1];
    memset(path, '/', sizeof path);
    path[sizeof model.path - 1] = '\0'; /* 4095 slashes are the root: found, and a folder */
    assert_fails(SNUG_BAD_INPUT, snug_model_open(path, &model, &err));
    assert_contains(err.text, "is a folder");
    path[sizeof model.path - 1] = '/';
    path[sizeof model.path] = '\0';
    assert_fails(SNUG_BAD_INPUT, snug_model_open(path, &model, &err));
    assert_contains(err.text, "a path of 4096 bytes; up to 4095 are accepted");
}

static void cache_bytes_follow_the_formula(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_model model;
    assert_ok(snug_model_open("llama2-7b", &model, &err));
    /* 2 * 32 layers * 4096 cells * 4096 wide * 2 bytes */
    assert_int_equal(snug_model_cache_bytes(&model, 4096, GGML_TYPE_F16, GGML_TYPE_F16), UINT64_C(2)
                                                                                             << 30);
    assert_int_equal(snug_model_cache_bytes(&model, 4096, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0),
                     (UINT64_C(1) << 29) / 32 * (34 + 18));
    assert_int_equal(snug_model_cache_bytes(&model, 0, GGML_TYPE_F16, GGML_TYPE_F16), 0);
    assert_int_equal(snug_model_cache_bytes(&model, 8, 999, -1), 0);
    assert_true(snug_model_cache_bytes(&model, UINT64_MAX, GGML_TYPE_F16, GGML_TYPE_F16) ==
                UINT64_MAX);
    snug_model_clear(&model);
    struct snug_model by_hand = {
        .n_layer = 2, .n_head_kv = 3, .n_embd_head_k = 32, .n_embd_head_v = 64};
    assert_int_equal(snug_model_cache_bytes(&by_hand, 10, GGML_TYPE_F16, GGML_TYPE_F16),
                     10 * 2 * 3 * (32 + 64) * 2);
}

static void type_name_of_unknown_is_a_question_mark(void **state)
{
    (void)state;
    assert_string_equal(snug_model_type_name(GGML_TYPE_Q4_0), "q4_0");
    assert_string_equal(snug_model_type_name(GGML_TYPE_Q6_K), "q6_K");
    assert_string_equal(snug_model_type_name(GGML_TYPE_COUNT), "?");
    assert_string_equal(snug_model_type_name(-1), "?");
    assert_string_equal(snug_model_type_name(4), "?"); /* dropped by ggml */
}

static void clear_twice_and_null_are_harmless(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_model model;
    assert_ok(snug_model_open("smollm2-135m", &model, &err));
    snug_model_clear(&model);
    snug_model_clear(&model);
    snug_model_clear(NULL);
    assert_int_equal(model.n_tensors, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_each_preset_has_published_parameters),
        cmocka_unit_test(presets_list_holds_all_and_their_table_agrees),
        cmocka_unit_test(open_preset_by_prefix_and_type_is_the_same_model),
        cmocka_unit_test_setup_teardown(open_shape_only_file_equals_its_preset, test_folder_open,
                                        test_folder_close),
        cmocka_unit_test(open_preset_types_are_those_of_llama_quantize),
        cmocka_unit_test(open_wrong_name_offers_the_near_ones),
        cmocka_unit_test(open_path_at_cap_passes_and_beyond_fails),
        cmocka_unit_test(cache_bytes_follow_the_formula),
        cmocka_unit_test(type_name_of_unknown_is_a_question_mark),
        cmocka_unit_test(clear_twice_and_null_are_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
