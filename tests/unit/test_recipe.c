/* Recipes: the same types, sizes and files as the packaged llama-quantize. */
#include "engine.h"
#include "peer.h"

#include <ggml.h>

#include "engine/quantize.h"

static void upper(const char *name, char *out, size_t cap)
{
    snprintf(out, cap, "%s", name);
    for (char *p = out; *p; p++)
        *p = *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
}

static char *whole_file(const char *path, size_t *out_n)
{
    struct snug_error err;
    char *text = NULL;
    assert_ok(snug_file_read(path, 256u << 20, &text, out_n, &err));
    return text;
}

static void recipe_gives_the_file_of_llama_quantize_byte_for_byte(void **state)
{
    const char *tales = peer_data(PEER_TALES);
    static const char *const NAMES[] = {"q4_k_m", "q8_0", "iq4_xs", "q3_k_l", "f16"};
    char tool[4096], type[32];
    if (!tales || !peer_find("llama-quantize", tool))
        skip();
    for (size_t i = 0; i < COUNT(NAMES); i++) {
        struct snug_error err;
        struct snug_buffer talk = {0};
        size_t n_ours = 0, n_theirs = 0;
        const struct snug_quantize_options options = {.model_path = tales,
                                                      .recipe = NAMES[i],
                                                      .n_threads = 2,
                                                      .deadline_s = PATIENCE_S,
                                                      .out_path = test_path(state, "ours.gguf")};
        assert_ok(snug_engine_quantize_plan(&options, NULL, &err));
        upper(NAMES[i], type, sizeof type);
        const char *const argv[] = {tool, tales, test_path(state, "theirs.gguf"), type, "2", NULL};
        peer_run(argv, &talk);
        snug_buffer_clear(&talk);
        char *ours = whole_file(options.out_path, &n_ours);
        char *theirs = whole_file(test_path(state, "theirs.gguf"), &n_theirs);
        assert_int_equal(n_ours, n_theirs);
        if (memcmp(ours, theirs, n_ours) != 0)
            fail_msg("%s: the files differ", NAMES[i]);
        free(ours);
        free(theirs);
    }
}

/* What the tool's dry run says of one tensor: "[ 1/ 20] NAME - [..], type = f16, size = .. (q4_K)".
 */
static int tool_type(const char *talk, const struct snug_tensor *t)
{
    char key[128];
    snprintf(key, sizeof key, "] %s ", t->name);
    const char *at = strstr(talk, key);
    const char *size = at ? strstr(at, "size = ") : NULL;
    if (!size)
        fail_msg("the tool says nothing of %s", t->name);
    const char *end = strchr(size, '\n'), *open = strchr(size, '(');
    if (!open || (end && open > end))
        return t->type;
    char name[32];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(open + 1, ")"), open + 1);
    return snug_model_type_from_name(name);
}

static void compare_recipe(const char *tool, const struct snug_model *model, const char *path,
                           const char *recipe, const int *types)
{
    char type[32];
    struct snug_buffer talk = {0};
    upper(recipe, type, sizeof type);
    /* The lines go to either stream. */
    char command[9000];
    snprintf(command, sizeof command, "exec '%s' --dry-run '%s' %s 2>&1", tool, path, type);
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    peer_run(argv, &talk);
    double mib = 0.0, sum = 0.0;
    const char *total = strstr(snug_buffer_text(&talk), "quant size  = ");
    assert_non_null(total);
    assert_int_equal(sscanf(total, "quant size  = %lf MiB", &mib), 1);
    for (int i = 0; i < model->n_tensors; i++) {
        const struct snug_tensor *t = &model->tensors[i];
        const int theirs = tool_type(snug_buffer_text(&talk), t);
        if (types[i] != theirs)
            fail_msg("%s as %s: %s is %s here, %s there", path, recipe, t->name,
                     snug_model_type_name(types[i]), snug_model_type_name(theirs));
        sum += (double)(t->n_elements / (uint64_t)ggml_blck_size((enum ggml_type)types[i]) *
                        ggml_type_size((enum ggml_type)types[i]));
    }
    const double ours = sum / 1048576.0;
    if (ours < mib - 0.0051 || ours > mib + 0.0051)
        fail_msg("%s as %s: %.4f MiB here, %.2f there", path, recipe, ours, mib);
    snug_buffer_clear(&talk);
}

static void recipes_are_libllamas_own_for_every_architecture_and_type(void **state)
{
    static const char *const PRESETS[] = {"llama3-8b", "qwen2-7b", "gemma2-9b", "phi3-mini",
                                          "qwen3-0.6b"};
    char tool[4096];
    const char *const *names = snug_engine_recipe_names();
    int n = 0;
    while (names[n])
        n++;
    if (!peer_find("llama-quantize", tool))
        skip();
    for (size_t p = 0; p < COUNT(PRESETS); p++) {
        struct snug_error err;
        struct snug_model model = {0};
        const struct snug_synth_options synth = {.type = "f16", .is_shape_only = true};
        const char *path = test_path(state, "shape.gguf");
        assert_ok(snug_model_synth(PRESETS[p], &synth, path, NULL, NULL, &err));
        assert_ok(snug_model_open(path, &model, &err));
        int *types = malloc((size_t)n * (size_t)model.n_tensors * sizeof *types);
        assert_non_null(types);
        uint64_t bytes[64];
        assert_true(n <= 64);
        assert_ok(snug_engine_recipes(&model, names, n, false, types, bytes, &err));
        for (int i = 0; i < n; i++) {
            const int *mine = types + (size_t)i * (size_t)model.n_tensors;
            assert_int_equal(bytes[i], snug_engine_file_bytes(&model, mine));
            compare_recipe(tool, &model, path, names[i], mine);
        }
        free(types);
        snug_model_clear(&model);
    }
}

static void recipe_of_a_preset_needs_no_file(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_model model = {0};
    uint64_t without = 0, with = 0;
    assert_ok(snug_model_open("llama3-8b", &model, &err));
    int *a = malloc((size_t)model.n_tensors * sizeof *a), *b = malloc((size_t)model.n_tensors * 4);
    assert_true(a && b);
    assert_ok(snug_engine_recipe("llama3-8b", "q4_0", false, a, &without, &err));
    assert_ok(snug_engine_recipe("llama3-8b", "q4_0", true, b, &with, &err));
    /* 8.03e9 weights of 4.5 bits, and the output with 6.5625. */
    assert_true(without > 4600000000 && without < 4700000000);
    assert_true(with > without); /* with an imatrix the first ffn_down get q4_1 */
    assert_true(memcmp(a, b, (size_t)model.n_tensors * sizeof *a) != 0);
    assert_fails(SNUG_BAD_INPUT, snug_engine_recipe("llama3-8b", "q4_k_x", false, a, NULL, &err));
    assert_contains(err.text, "did you mean 'q4_k_");
    free(a);
    free(b);
    snug_model_clear(&model);
    engine_test_no_children();
}

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, test_folder_open, test_folder_close)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(recipe_gives_the_file_of_llama_quantize_byte_for_byte),
        IN_FOLDER(recipes_are_libllamas_own_for_every_architecture_and_type),
        cmocka_unit_test(recipe_of_a_preset_needs_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
