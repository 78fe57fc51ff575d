/* Synthetic models in libllama: vocabularies load and tokenise, decoding gives finite logits. */
#include "test.h"

#include <math.h>

#include <ggml-backend.h>
#include <llama.h>

#include "model/synth.h"
#include "snug_config.h"

static void drop_log(enum ggml_log_level level, const char *text, void *data)
{
    (void)level;
    (void)text;
    (void)data;
}

/* Save the full header of a preset before a hole: libllama reads the vocabulary alone. */
static void save_header(const char *preset, const char *path)
{
    struct snug_error err;
    struct snug__shape shape = {0};
    struct snug_buffer header = {0};
    struct snug_synth_options options = {.type = "q4_0", .n_layer = 1};
    const struct snug__preset *row = snug__preset_find(preset, strlen(preset));
    assert_non_null(row);
    assert_ok(snug__shape_init(row, &options, &shape, &err));
    assert_ok(snug__synth_header(&shape, &options, &header, &err));
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(header.data, 1, header.len, f), header.len);
    assert_int_equal(ftruncate(fileno(f), (off_t)(header.len + shape.bytes_data)), 0);
    assert_int_equal(fclose(f), 0);
    snug_buffer_clear(&header);
    snug__shape_clear(&shape);
}

static void check_round_trip(const struct llama_vocab *vocab, const char *text)
{
    llama_token tokens[256];
    char back[512];
    int n_text = (int)strlen(text);
    int n = llama_tokenize(vocab, text, n_text, tokens, (int)COUNT(tokens), false, true);
    assert_true(n > 0 && n < n_text); /* pieces, not only bytes */
    int n_back = llama_detokenize(vocab, tokens, n, back, (int)sizeof back - 1, false, true);
    assert_true(n_back > 0);
    back[n_back] = '\0';
    assert_string_equal(back + (back[0] == ' '), text); /* SentencePiece puts a space before */
}

static void synth_vocabulary_loads_and_round_trips_in_libllama(void **state)
{
    /* one of each architecture, tokenizer and word splitter */
    const char *const presets[] = {"llama3-8b", "llama2-7b", "smollm2-135m", "qwen2-7b",
                                   "phi3-mini", "gemma2-9b", "qwen3-0.6b",   "qwen3-30b-a3b"};
    const char *path = test_path(state, "vocabulary.gguf");
    llama_log_set(drop_log, NULL);
    for (size_t i = 0; i < COUNT(presets); i++) {
        save_header(presets[i], path);
        struct llama_model_params params = llama_model_default_params();
        params.vocab_only = true;
        struct llama_model *model = llama_model_load_from_file(path, params);
        if (!model)
            fail_msg("libllama does not load the vocabulary of %s", presets[i]);
        const struct llama_vocab *vocab = llama_model_get_vocab(model);
        const struct snug__preset *row = snug__preset_find(presets[i], strlen(presets[i]));
        assert_int_equal(llama_vocab_n_tokens(vocab), row->n_vocab);
        assert_true(llama_vocab_is_eog(vocab, llama_vocab_eot(vocab)));
        assert_true(llama_vocab_is_eog(vocab, llama_vocab_eos(vocab)));
        assert_non_null(llama_model_chat_template(model, NULL));
        check_round_trip(vocab, "the weather was nice there");
        check_round_trip(vocab,
                         "Hello, WORLD!\n\tthe 42 \xc3\xa9t\xc3\xa9s of \xf0\x9f\x98\x80 there");
        llama_model_free(model);
    }
}

/* One decode of a short text on one thread; every logit of the last token is finite, and they are
 * not all the same. */
static void check_decode(const char *path)
{
    llama_token tokens[64];
    const char *text = "the weather there";
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = 64;
    params.n_threads = params.n_threads_batch = 1; /* OpenMP under a sanitizer: no more threads */
    struct llama_model *model = llama_model_load_from_file(path, llama_model_default_params());
    assert_non_null(model);
    struct llama_context *context = llama_init_from_model(model, params);
    assert_non_null(context);
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    int n = llama_tokenize(vocab, text, (int)strlen(text), tokens, (int)COUNT(tokens), true, true);
    assert_true(n > 0);
    assert_int_equal(llama_decode(context, llama_batch_get_one(tokens, n)), 0);
    const float *logits = llama_get_logits_ith(context, -1);
    double sum = 0, squares = 0;
    int n_vocab = llama_vocab_n_tokens(vocab);
    for (int i = 0; i < n_vocab; i++) {
        sum += (double)logits[i];
        squares += (double)logits[i] * (double)logits[i];
    }
    double mean = sum / n_vocab, sd = sqrt(squares / n_vocab - mean * mean);
    if (!isfinite(sd) || sd < 0.5 || sd > 2.0) /* weights of spread 1 / sqrt(row) give 1 */
        fail_msg("the logits spread by %g", sd);
    llama_free(context);
    llama_model_free(model);
}

static void synth_model_decodes_to_finite_logits(void **state)
{
    const char *const types[] = {"q4_0", "q8_0", "q4_k", "f16"};
    const char *path = test_path(state, "m.gguf");
    llama_log_set(drop_log, NULL);
    if (SNUG_BACKEND_FOLDER[0])
        ggml_backend_load_all_from_path(SNUG_BACKEND_FOLDER);
    else
        ggml_backend_load_all();
    assert_true(ggml_backend_dev_count() > 0);
    for (size_t i = 0; i < COUNT(types); i++) {
        struct snug_error err;
        struct snug_synth_options options = {.type = types[i], .seed = 3, .n_layer = 2};
        assert_ok(snug_model_synth("smollm2-135m", &options, path, NULL, NULL, &err));
        check_decode(path);
    }
}

int main(void)
{
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, test_folder_open, test_folder_close)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(synth_vocabulary_loads_and_round_trips_in_libllama),
        IN_FOLDER(synth_model_decodes_to_finite_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
