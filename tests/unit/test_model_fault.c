/* Memory that runs out at every single allocation while a model is opened or written. */
#include "test.h"

#include "fault.h"
#include "gguf_build.h"
#include "hf_build.h"
#include "model/synth.h"

/* Small enough to fail at each allocation in turn; ends the loop when nothing was refused. */
#define ALLOCATIONS_MAX 2000

static void open_out_of_memory_fails_cleanly(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_buffer b = {0};
    struct snug__source source;
    build_head(&b, 2, 3);
    build_arch(&b);
    build_key_text(&b, "general.name", "a model with a name");
    build_key_array(&b, "llama.feed_forward_length", 4, 2);
    build_u32(&b, 8);
    build_u32(&b, 16);
    build_tensor(&b, "one", 8, 1, 0, 0);
    build_tensor(&b, "two", 8, 1, 0, 32);
    build_data(&b, 64);
    snug__source_memory("memory", b.data, b.len, b.len, &source);
    long n = 0;
    for (;; n++) {
        struct snug_model model = {.n_layer = -7};
        memset(&err, 0, sizeof err);
        fault_begin(n);
        snug_status status = snug__model_open_source("memory", &source, &model, &err);
        if (!fault_end()) {
            assert_ok(status);
            assert_int_equal(model.n_ff, 16);
            snug_model_clear(&model);
            break;
        }
        assert_int_equal(status, SNUG_NO_MEMORY);
        assert_int_equal(err.status, SNUG_NO_MEMORY);
        assert_int_equal(model.n_layer, -7);
        assert_true(n < ALLOCATIONS_MAX);
    }
    assert_true(n >= 4); /* model, arena, window, names: the loop did fail something */
    snug_buffer_clear(&b);
}

static void open_preset_out_of_memory_fails_cleanly(void **state)
{
    (void)state;
    struct snug_error err;
    long n = 0, n_failed = 0;
    for (;; n++) {
        struct snug_model model = {.n_layer = -7};
        fault_begin(n);
        snug_status status = snug_model_open("smollm2-135m", &model, &err);
        bool is_hit = fault_end();
        n_failed += status == SNUG_NO_MEMORY;
        assert_true(n < ALLOCATIONS_MAX);
        if (status == SNUG_OK)
            snug_model_clear(&model); /* where hit: qsort, which then sorts in place */
        else
            assert_int_equal(model.n_layer, -7);
        if (!is_hit) {
            assert_ok(status);
            break;
        }
        assert_true(status == SNUG_OK || status == SNUG_NO_MEMORY);
    }
    assert_true(n_failed >= 6);
}

static void open_folder_out_of_memory_fails_cleanly(void **state)
{
    struct snug_error err;
    const char *folder = test_path(state, "hf");
    hf_folder(folder,
              "{\"architectures\": [\"GPT2LMHeadModel\"], \"n_layer\": 1, \"n_embd\": 8, "
              "\"n_head\": 2, \"n_positions\": 4, \"vocab_size\": 3}",
              "1 wte.weight 3 8\n1 wpe.weight 4 8\n1 ln_f.weight 8\n1 ln_f.bias 8\n"
              "1 h.#.ln_1.weight 8\n1 h.#.ln_1.bias 8\n1 h.#.ln_2.weight 8\n1 h.#.ln_2.bias 8\n"
              "1 h.#.attn.c_attn.weight 8 24\n1 h.#.attn.c_attn.bias 24\n"
              "1 h.#.attn.c_proj.weight 8 8\n1 h.#.attn.c_proj.bias 8\n"
              "1 h.#.mlp.c_fc.weight 8 32\n1 h.#.mlp.c_fc.bias 32\n"
              "1 h.#.mlp.c_proj.weight 32 8\n1 h.#.mlp.c_proj.bias 8\n",
              "F32");
    hf_put(folder, "model.safetensors.index.json",
           "{\"weight_map\": {\"wte.weight\": \"model.safetensors\"}}");
    long n = 0, n_failed = 0;
    for (;; n++) {
        struct snug_model model = {.n_layer = -7};
        memset(&err, 0, sizeof err);
        fault_begin(n);
        snug_status status = snug_model_open(folder, &model, &err);
        bool is_hit = fault_end();
        n_failed += status == SNUG_NO_MEMORY;
        assert_true(n < ALLOCATIONS_MAX);
        if (status == SNUG_OK)
            snug_model_clear(&model); /* where hit: qsort or the name, which are done without */
        else
            assert_true(model.n_layer == -7 && err.text[0]);
        if (!is_hit) {
            assert_ok(status);
            break;
        }
        assert_true(status == SNUG_OK || status == SNUG_NO_MEMORY);
    }
    assert_true(n_failed >= 12);
}

static void synth_out_of_memory_leaves_no_file(void **state)
{
    struct snug_error err;
    const char *path = test_path(state, "m.gguf");
    struct snug_synth_options options = {.type = "q4_0", .is_shape_only = true, .n_layer = 1};
    long n = 0;
    for (;; n++) {
        fault_begin(n);
        snug_status status = snug_model_synth("smollm2-135m", &options, path, NULL, NULL, &err);
        if (!fault_end()) {
            assert_ok(status);
            assert_int_equal(access(path, F_OK), 0);
            break;
        }
        assert_int_equal(status, SNUG_NO_MEMORY);
        assert_int_equal(access(path, F_OK), -1);
        assert_true(n < ALLOCATIONS_MAX);
    }
    assert_true(n >= 3);
}

static void pool_out_of_memory_keeps_the_old_one(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_rng rng;
    struct snug__pool pool = {0};
    struct snug__shape_tensor first = {.type = 2, .n_dims = 2, .ne = {64, 64}};
    struct snug__shape_tensor second = {.type = 14, .n_dims = 2, .ne = {256, 64}};
    snug_rng_init(&rng, 1);
    assert_ok(snug__pool_fill(&pool, &first, 4096, &rng, &err));
    const uint8_t *data = pool.data;
    long n = 0;
    for (;; n++) {
        fault_begin(n);
        snug_status status = snug__pool_fill(&pool, &second, 4096, &rng, &err);
        if (!fault_end()) {
            assert_ok(status);
            break;
        }
        assert_int_equal(status, SNUG_NO_MEMORY);
        assert_ptr_equal(pool.data, data);
        assert_true(n < ALLOCATIONS_MAX);
    }
    assert_int_equal(pool.n_in, 256);
    assert_int_equal(n, 2); /* the blocks and the sample */
    snug__pool_clear(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_out_of_memory_fails_cleanly),
        cmocka_unit_test(open_preset_out_of_memory_fails_cleanly),
        cmocka_unit_test_setup_teardown(open_folder_out_of_memory_fails_cleanly, test_folder_open,
                                        test_folder_close),
        cmocka_unit_test_setup_teardown(synth_out_of_memory_leaves_no_file, test_folder_open,
                                        test_folder_close),
        cmocka_unit_test(pool_out_of_memory_keeps_the_old_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
