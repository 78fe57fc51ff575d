/* Hugging Face folders: published models come out with their published sizes and libllama takes
 * their headers; folders that are not sound are refused in one line. */
#include "test.h"

#include <sys/stat.h>

#include "engine.h"
#include "hf_build.h"
#include "hf_models.h"
#include "model/gguf_read.h"
#include "model/hf.h"
#include "model/shape_file.h"

static const struct hf_model *model_of(const char *name)
{
    for (size_t i = 0; i < COUNT(hf_models); i++) {
        if (strcmp(hf_models[i].name, name) == 0)
            return &hf_models[i];
    }
    fail_msg("no model %s", name);
    return NULL;
}

/* One after another in the same folder. */
static const char *put_model(void **state, const struct hf_model *m)
{
    const char *folder = test_path(state, "model");
    hf_folder(folder, m->config, m->tensors, m->dtype);
    return folder;
}

static void open_published_models_have_their_parameters(void **state)
{
    struct snug_error err;
    for (size_t i = 0; i < COUNT(hf_models); i++) {
        const struct hf_model *m = &hf_models[i];
        struct snug_model model;
        const char *folder = put_model(state, m);
        assert_ok(snug_model_open(folder, &model, &err));
        if (model.n_params != m->n_params)
            fail_msg("%s: %" PRIu64 " parameters, published are %" PRIu64, m->name, model.n_params,
                     m->n_params);
        assert_string_equal(model.arch, m->gguf);
        assert_string_equal(model.path, folder);
        assert_string_equal(model.name, "model");
        assert_false(model.has_data);
        assert_non_null(model.header);
        assert_true(model.n_header > 0 && model.bytes_file >= model.n_header + model.bytes_tensors);
        assert_true(model.n_vocab > 0 && model.n_layer > 0 && model.n_ctx_train > 0);
        snug_model_clear(&model);
    }
}

static void open_experts_are_one_tensor_of_three_dims(void **state)
{
    struct snug_error err;
    struct snug_model model;
    assert_ok(snug_model_open(put_model(state, model_of("mixtral_8x7b")), &model, &err));
    assert_int_equal(model.n_expert, 8);
    assert_int_equal(model.n_expert_used, 2);
    int n_found = 0;
    for (int i = 0; i < model.n_tensors; i++) {
        const struct snug_tensor *t = &model.tensors[i];
        if (strcmp(t->name, "blk.31.ffn_down_exps.weight") == 0) {
            n_found++;
            assert_int_equal(t->n_dims, 3);
            assert_int_equal(t->ne[0], 14336);
            assert_int_equal(t->ne[1], 4096);
            assert_int_equal(t->ne[2], 8);
            assert_string_equal(snug_model_type_name(t->type), "bf16");
        }
        if (strcmp(t->name, "blk.0.ffn_gate_inp.weight") == 0) {
            n_found++;
            assert_string_equal(snug_model_type_name(t->type), "f32");
        }
    }
    assert_int_equal(n_found, 2);
    snug_model_clear(&model);
}

static void open_folder_equals_the_preset_of_the_model(void **state)
{
    static const struct {
        const char *hf, *preset;
    } pairs[] = {{"llama3_8b", "llama3-8b:bf16"},
                 {"qwen2_7b", "qwen2-7b:bf16"},
                 {"qwen3_0_6b", "qwen3-0.6b:bf16"},
                 {"phi3_mini", "phi3-mini:bf16"},
                 {"gemma2_9b", "gemma2-9b:f32"}};
    struct snug_error err;
    for (size_t i = 0; i < COUNT(pairs); i++) {
        struct snug_model a, b;
        assert_ok(snug_model_open(put_model(state, model_of(pairs[i].hf)), &a, &err));
        assert_ok(snug_model_open(pairs[i].preset, &b, &err));
        assert_int_equal(a.bytes_tensors, b.bytes_tensors);
        assert_int_equal(a.n_tensors, b.n_tensors);
        for (int t = 0; t < a.n_tensors; t++) {
            assert_string_equal(a.tensors[t].name, b.tensors[t].name);
            assert_memory_equal(a.tensors[t].ne, b.tensors[t].ne, sizeof a.tensors[t].ne);
            assert_int_equal(a.tensors[t].type, b.tensors[t].type);
        }
        assert_int_equal(a.n_embd_k_all, b.n_embd_k_all);
        assert_int_equal(a.n_swa, b.n_swa);
        snug_model_clear(&a);
        snug_model_clear(&b);
    }
}

/* ---- libllama ---- */

/* libllama states the weights of the model's shape file, as many as its header has. */
static void check_estimate(void **state, const char *name, const struct snug_model *model)
{
    const struct snug_machine machine = {
        .n_cores = 1, .n_threads = 1, .n_numa = 1, .n_cores_usable = 1, .n_threads_usable = 1};
    struct snug_error err;
    char path[1024];
    struct snug_engine *engine = NULL;
    struct snug_config config = {0};
    struct snug_bytes bytes = {0};
    assert_ok(snug_model_shape_file(model, test_path(state, "shapes"), path, sizeof path, &err));
    const struct snug_engine_options options = {
        .model_path = path,
        .machine = &machine,
        .model = model,
        .workload = {.n_prompt = 64, .n_gen = 16, .n_parallel = 1, .n_ctx = 512}};
    assert_ok(snug_engine_open("llama", &options, &engine, &err));
    snug_space_default(snug_engine_space(engine), &config);
    if (snug_engine_estimate(engine, &config, &bytes, &err) != SNUG_OK)
        fail_msg("%s: %s", name, err.text);
    /* exact, but for a tied output, which may be counted a second time */
    uint64_t tied = model->is_tied ? model->tensors[0].bytes : 0;
    if (bytes.weights != model->bytes_tensors && bytes.weights != model->bytes_tensors + tied)
        fail_msg("%s: libllama says %" PRIu64 " bytes of weights, the header %" PRIu64, name,
                 bytes.weights, model->bytes_tensors);
    snug_engine_close(engine);
}

static void estimate_libllama_takes_every_header(void **state)
{
    struct snug_error err;
    for (size_t i = 0; i < COUNT(hf_models); i++) {
        struct snug_model model;
        assert_ok(snug_model_open(put_model(state, &hf_models[i]), &model, &err));
        check_estimate(state, hf_models[i].name, &model);
        snug_model_clear(&model);
    }
}

/* As a URL gives it: the header of a real file, vocabulary included, without its data. */
static void estimate_libllama_takes_a_fetched_header(void **state)
{
    const char *data = getenv("SNUG_TEST_DATA");
    struct snug_error err;
    struct snug_arena arena = {0};
    struct snug__source source;
    struct snug__gguf gguf;
    struct snug_buffer header = {0};
    struct snug_model model;
    char path[1024];
    char *bytes = NULL;
    size_t n = 0;
    if (!data) {
        print_message("SNUG_TEST_DATA is not set\n");
        skip();
    }
    snprintf(path, sizeof path, "%s/gguf/tales7m-f16.gguf", data);
    assert_ok(snug_file_read(path, 64u << 20, &bytes, &n, &err));
    snug__source_memory(path, bytes, n, n, &source);
    assert_ok(snug__gguf_read(&source, &arena, &gguf, &err));
    snug_buffer_append(&header, bytes, (size_t)gguf.data_offset);
    assert_ok(snug__model_open_header("http://a/b.gguf", &header, n, &model, &err));
    check_estimate(state, "tales7m", &model);
    snug_model_clear(&model);
    snug_buffer_clear(&header);
    snug_arena_clear(&arena);
    free(bytes);
}

/* ---- shape files ---- */

static void shape_file_is_written_once_and_is_the_model(void **state)
{
    struct snug_error err;
    struct snug_model model, file;
    struct stat first, again;
    char path[1024], path_2[1024];
    const char *folder = test_path(state, "shapes");
    assert_ok(snug_model_open(put_model(state, model_of("gpt2")), &model, &err));
    assert_ok(snug_model_shape_file(&model, folder, path, sizeof path, &err));
    assert_contains(path, model.hash);
    assert_int_equal(stat(path, &first), 0);
    assert_int_equal(first.st_size, model.bytes_file);
    assert_true(first.st_blocks * 512 < 1 << 20); /* a hole */
    assert_ok(snug_model_shape_file(&model, folder, path_2, sizeof path_2, &err));
    assert_string_equal(path, path_2);
    assert_int_equal(stat(path, &again), 0);
    assert_int_equal(first.st_ino, again.st_ino);
    assert_ok(snug_model_open(path, &file, &err));
    assert_string_equal(file.hash, model.hash);
    assert_true(file.has_data);
    assert_null(file.header);
    assert_ok(snug_model_shape_file(&file, folder, path_2, sizeof path_2, &err));
    assert_string_equal(path_2, path);
    /* no room for the path */
    assert_fails(SNUG_BAD_INPUT, snug_model_shape_file(&model, folder, path_2, strlen(path), &err));
    assert_ok(snug_model_shape_file(&model, folder, path_2, strlen(path) + 1, &err));
    /* a file where the folder should be */
    assert_fails(SNUG_IO, snug_model_shape_file(&model, path, path_2, sizeof path_2, &err));
    snug_model_clear(&file);
    snug_model_clear(&model);
    assert_ok(snug_model_open("smollm2-135m:q4_0", &model, &err));
    assert_ok(snug_model_shape_file(&model, folder, path, sizeof path, &err));
    assert_ok(snug_model_open(path, &file, &err));
    assert_string_equal(file.hash, model.hash);
    snug_model_clear(&file);
    snug_model_clear(&model);
}

/* ---- caps ---- */

static void config_numbers_at_cap_pass_and_beyond_fail(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        int64_t cap;
    } rows[] = {
        {"num_hidden_layers", SNUG__HF_LAYERS_MAX},  {"hidden_size", SNUG__HF_WIDTH_MAX},
        {"intermediate_size", SNUG__HF_WIDTH_MAX},   {"vocab_size", SNUG__HF_VOCAB_MAX},
        {"num_local_experts", SNUG__HF_EXPERTS_MAX}, {"max_position_embeddings", INT32_MAX}};
    struct snug_error err;
    struct snug__hf_config config;
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (int64_t beyond = 0; beyond <= 1; beyond++) {
            char text[1024];
            /* the first of two equal keys counts */
            int n = snprintf(text, sizeof text,
                             "{\"%s\": %" PRId64 ", \"architectures\": [\"MixtralForCausalLM\"], "
                             "\"num_hidden_layers\": 1, \"hidden_size\": 64, "
                             "\"intermediate_size\": 64, \"num_attention_heads\": 4, "
                             "\"head_dim\": 16, \"vocab_size\": 9, \"max_position_embeddings\": 9, "
                             "\"num_local_experts\": 4, \"num_experts_per_tok\": 2}",
                             rows[i].key, rows[i].cap + beyond);
            snug_status status = snug__hf_config_read("c", text, (size_t)n, &config, &err);
            if ((status == SNUG_OK) != (beyond == 0))
                fail_msg("%s of %" PRId64 " is %s", rows[i].key, rows[i].cap + beyond,
                         snug_status_name(status));
        }
    }
}

static void config_file_at_cap_passes_and_beyond_fails(void **state)
{
    const struct hf_model *m = model_of("gpt2");
    struct snug_error err;
    struct snug_model model;
    const char *folder = put_model(state, m);
    char *text = malloc(SNUG__HF_CONFIG_MAX + 2);
    assert_non_null(text);
    memset(text, ' ', SNUG__HF_CONFIG_MAX + 1);
    memcpy(text, m->config, strlen(m->config));
    text[SNUG__HF_CONFIG_MAX] = '\0';
    hf_put(folder, "config.json", text);
    assert_ok(snug_model_open(folder, &model, &err));
    snug_model_clear(&model);
    text[SNUG__HF_CONFIG_MAX] = ' ';
    text[SNUG__HF_CONFIG_MAX + 1] = '\0';
    hf_put(folder, "config.json", text);
    assert_fails(SNUG_BAD_INPUT, snug_model_open(folder, &model, &err));
    assert_contains(err.text, "longer than 4194304 bytes");
    free(text);
}

static void index_files_at_cap_pass_and_beyond_fail(void **state)
{
    struct snug_error err;
    struct snug_model model;
    const char *folder = put_model(state, model_of("gpt2"));
    for (int n = SNUG_GGUF_SPLITS_MAX; n <= SNUG_GGUF_SPLITS_MAX + 1; n++) {
        struct snug_buffer index = {0};
        for (int i = 0; i < n; i++)
            snug_buffer_printf(&index, "%s\"t%d\": \"f%d.safetensors\"",
                               i ? ", " : "{\"weight_map\": {", i, i);
        snug_buffer_puts(&index, "}}");
        hf_put(folder, "model.safetensors.index.json", snug_buffer_text(&index));
        snug_buffer_clear(&index);
        if (n == SNUG_GGUF_SPLITS_MAX)
            assert_fails(SNUG_NOT_FOUND, snug_model_open(folder, &model, &err));
        else
            assert_fails(SNUG_BAD_INPUT, snug_model_open(folder, &model, &err));
        assert_contains(err.text, n == SNUG_GGUF_SPLITS_MAX ? "1024 files, 1024 of them missing"
                                                            : "more than 1024");
    }
}

/* ---- what is refused ---- */

static void open_folder_without_its_files_is_refused(void **state)
{
    struct snug_error err;
    struct snug_model model;
    const char *folder = test_path(state, "empty");
    assert_ok(snug_file_make_folder(folder, &err));
    assert_fails(SNUG_BAD_INPUT, snug_model_open(folder, &model, &err));
    assert_contains(err.text, "without config.json");
    hf_put(folder, "config.json", model_of("gpt2")->config);
    assert_fails(SNUG_NOT_FOUND, snug_model_open(folder, &model, &err));
    assert_contains(err.text, "no *.safetensors");
    hf_put(folder, "config.json", "{\"architectures\": [\"T5ForConditionalGeneration\"]}");
    assert_fails(SNUG_UNSUPPORTED, snug_model_open(folder, &model, &err));
    assert_contains(err.text, "T5ForConditionalGeneration");
    assert_contains(err.text, "Llama");
    assert_contains(err.text, "Mamba");
}

/* Two shards and an index; the caller damages them. */
static const char *put_shards(void **state)
{
    const struct hf_model *m = model_of("gpt2");
    struct snug_error err;
    struct st_file one = {0}, two = {0};
    const char *folder = test_path(state, "shards");
    char path[1024];
    assert_ok(snug_file_make_folder(folder, &err));
    hf_put(folder, "config.json", m->config);
    const char *cut = strstr(m->tensors, "12 h.#.mlp.c_fc.weight");
    char *head = strndup(m->tensors, (size_t)(cut - m->tensors));
    st_add_all(&one, head, "F32");
    st_add_all(&two, cut, "F32");
    free(head);
    struct snug_buffer index = {0};
    snug_buffer_puts(&index, "{\"metadata\": {}, \"weight_map\": {\"wte.weight\": "
                             "\"model-00001-of-00002.safetensors\", \"h.11.mlp.c_proj.bias\": "
                             "\"model-00002-of-00002.safetensors\"}}");
    hf_put(folder, "model.safetensors.index.json", snug_buffer_text(&index));
    snug_buffer_clear(&index);
    snprintf(path, sizeof path, "%s/model-00001-of-00002.safetensors", folder);
    st_save(&one, path);
    snprintf(path, sizeof path, "%s/model-00002-of-00002.safetensors", folder);
    st_save(&two, path);
    return folder;
}

static void open_shards_with_and_without_index(void **state)
{
    struct snug_error err;
    struct snug_model model;
    const char *folder = put_shards(state);
    char path[1024];
    assert_ok(snug_model_open(folder, &model, &err));
    assert_int_equal(model.n_params, 124439808);
    snug_model_clear(&model);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    assert_int_equal(unlink(path), 0);
    assert_ok(snug_model_open(folder, &model, &err));
    assert_int_equal(model.n_params, 124439808);
    snug_model_clear(&model);
    snprintf(path, sizeof path, "%s/model-00002-of-00002.safetensors", folder);
    assert_int_equal(unlink(path), 0);
    assert_fails(SNUG_NOT_FOUND, snug_model_open(folder, &model, &err));
    assert_contains(err.text, "2 files, 1 of them missing: model-00002-of-00002.safetensors");
}

static void open_index_that_lies_is_refused(void **state)
{
    static const struct {
        const char *index, *words;
        snug_status status;
    } rows[] = {
        {"{\"weight_map\": {\"wte.weight\": \"model-00003-of-00002.safetensors\"}}",
         "missing: model-00003-of-00002.safetensors", SNUG_NOT_FOUND},
        {"{\"weight_map\": {\"wte.weight\": \"model-00002-of-00002.safetensors\", \"ln_f.bias\": "
         "\"model-00001-of-00002.safetensors\"}}",
         "the index says model-00002", SNUG_BAD_INPUT},
        {"{\"weight_map\": {\"no.such\": \"model-00002-of-00002.safetensors\"}}", "is in no file",
         SNUG_BAD_INPUT},
        {"{\"weight_map\": {\"wte.weight\": \"../model.safetensors\"}}", "no name of a file",
         SNUG_BAD_INPUT},
        {"{\"weight_map\": {\"wte.weight\": 7}}", "no name of a file", SNUG_BAD_INPUT},
        {"{\"weight_map\": {}}", "weight_map", SNUG_BAD_INPUT},
        {"{\"weight_map\": 1}", "weight_map", SNUG_BAD_INPUT},
        {"[]", "weight_map", SNUG_BAD_INPUT},
        {"{", "index.json", SNUG_BAD_INPUT},
    };
    struct snug_error err;
    struct snug_model model;
    const char *folder = put_shards(state);
    for (size_t i = 0; i < COUNT(rows); i++) {
        hf_put(folder, "model.safetensors.index.json", rows[i].index);
        assert_fails(rows[i].status, snug_model_open(folder, &model, &err));
        assert_contains(err.text, rows[i].words);
    }
}

/* The first place where `from` stands, as `to`. */
static char *replaced(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    char *out = NULL;
    assert_non_null(at);
    assert_true(asprintf(&out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
    return out;
}

static void open_absurd_config_is_refused(void **state)
{
    static const struct {
        const char *from, *to, *words;
    } rows[] = {
        {"\"num_hidden_layers\": 32", "\"num_hidden_layers\": -1", "num_hidden_layers is -1"},
        {"\"num_hidden_layers\": 32", "\"num_hidden_layers\": 1025", "from 1 to 1024"},
        {"\"num_hidden_layers\": 32", "\"num_hidden_layers\": 1024", "layers.32."},
        {"\"num_hidden_layers\": 32", "\"num_hidden_layers\": 31", "does not have"},
        {"\"num_hidden_layers\": 32", "\"num_hidden_layers\": 31.5", "num_hidden_layers is 31.5"},
        {"\"num_hidden_layers\": 32", "\"num_hidden_layers\": \"many\"", "is no number"},
        {"\"num_hidden_layers\": 32", "\"x\": 32", "num_hidden_layers is missing"},
        {"\"hidden_size\": 4096", "\"hidden_size\": 1e18", "hidden_size is 1e+18"},
        {"\"hidden_size\": 4096", "\"hidden_size\": 16777217", "to 16777216"},
        {"\"num_attention_heads\": 32", "\"num_attention_heads\": 0", "num_attention_heads is 0"},
        {"\"num_attention_heads\": 32", "\"num_attention_heads\": 31", "no multiple"},
        {"\"num_key_value_heads\": 8", "\"num_key_value_heads\": 7", "num_key_value_heads"},
        {"\"num_key_value_heads\": 8", "\"num_key_value_heads\": 4", "has shape [1024, 4096]"},
        {"\"vocab_size\": 128256", "\"vocab_size\": 128255", "embed_tokens.weight has shape"},
        {"\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": -1", "rms_norm_eps"},
        {"\"rope_theta\"", "\"quantization_config\": {\"quant_method\": \"gptq\"}, \"rope_theta\"",
         "gptq"},
    };
    const struct hf_model *m = model_of("llama3_8b");
    struct snug_error err;
    struct snug_model model;
    const char *folder = put_model(state, m);
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *config = replaced(m->config, rows[i].from, rows[i].to);
        hf_put(folder, "config.json", config);
        free(config);
        snug_status status = snug_model_open(folder, &model, &err);
        if (status == SNUG_OK)
            fail_msg("%s is accepted", rows[i].to);
        assert_contains(err.text, rows[i].words);
    }
}

static void open_tensor_missing_or_left_over_is_named(void **state)
{
    const struct hf_model *m = model_of("llama3_8b");
    struct snug_error err;
    struct snug_model model;
    const char *folder = test_path(state, "model");
    char *tensors =
        replaced(m->tensors, "32 model.layers.#.mlp.up_proj", "31 model.layers.#.mlp.up_proj");
    hf_folder(folder, m->config, tensors, "BF16");
    free(tensors);
    assert_fails(SNUG_BAD_INPUT, snug_model_open(folder, &model, &err));
    assert_contains(err.text, "model.layers.31.mlp.up_proj.weight is missing");
    tensors =
        replaced(m->tensors, "1 model.norm.weight", "1 model.norm.strange 4\n1 model.norm.weight");
    hf_folder(folder, m->config, tensors, "BF16");
    free(tensors);
    assert_fails(SNUG_UNSUPPORTED, snug_model_open(folder, &model, &err));
    assert_contains(err.text, "model.norm.strange");
    hf_folder(folder, m->config, m->tensors, "I16");
    assert_fails(SNUG_UNSUPPORTED, snug_model_open(folder, &model, &err));
    assert_contains(err.text, "dtype I16");
}

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, test_folder_open, test_folder_close)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(open_published_models_have_their_parameters),
        IN_FOLDER(open_experts_are_one_tensor_of_three_dims),
        IN_FOLDER(open_folder_equals_the_preset_of_the_model),
        IN_FOLDER(estimate_libllama_takes_every_header),
        IN_FOLDER(estimate_libllama_takes_a_fetched_header),
        IN_FOLDER(shape_file_is_written_once_and_is_the_model),
        cmocka_unit_test(config_numbers_at_cap_pass_and_beyond_fail),
        IN_FOLDER(config_file_at_cap_passes_and_beyond_fails),
        IN_FOLDER(index_files_at_cap_pass_and_beyond_fail),
        IN_FOLDER(open_folder_without_its_files_is_refused),
        IN_FOLDER(open_shards_with_and_without_index),
        IN_FOLDER(open_index_that_lies_is_refused),
        IN_FOLDER(open_absurd_config_is_refused),
        IN_FOLDER(open_tensor_missing_or_left_over_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
