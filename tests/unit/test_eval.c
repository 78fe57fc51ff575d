/* Quality: sums against a plain computation, the reference file against damage, and the evaluation
 * of a real model against itself. */
#include "engine.h"

#include <math.h>

#include "engine/eval_stats.h"
#include "engine/reference.h"
#include "snug/stats.h"

/* ---- sums ---- */

static void softmax_sums_to_one_and_finds_the_top(void **state)
{
    (void)state;
    const float logits[] = {1.0f, 3.0f, -2.0f, 2.5f};
    float log_p[4];
    double sum = 0.0, plain = 0.0;
    assert_int_equal(snug__log_softmax(logits, 4, log_p), 1);
    for (int i = 0; i < 4; i++) {
        sum += exp((double)log_p[i]);
        plain += exp((double)logits[i]);
    }
    assert_true(fabs(sum - 1.0) < 1e-6);
    assert_true(fabs((double)log_p[3] - (2.5 - log(plain))) < 1e-6);
}

static void score_is_the_divergence_from_the_reference(void **state)
{
    (void)state;
    const float p[] = {logf(0.5f), logf(0.25f), logf(0.25f)};
    const float q[] = {logf(0.25f), logf(0.5f), logf(0.25f)};
    struct snug__position s;
    snug__position_score(q, 1, p, 3, 0, &s); /* reference p, this model q, token 0 came */
    assert_true(fabs(s.nll - log(4.0)) < 1e-6);
    assert_true(fabs(s.kld - (0.5 * log(2.0) - 0.25 * log(2.0))) < 1e-6);
    assert_true(fabs(s.dp - -0.25) < 1e-6);
    assert_false(s.same_top);
    snug__position_score(q, 1, NULL, 3, 1, &s);
    assert_true(isnan(s.kld) && fabs(s.nll - log(2.0)) < 1e-6);
}

static void sums_give_means_and_their_errors(void **state)
{
    (void)state;
    const double nll[] = {1.0, 2.0, 3.0, 6.0};
    struct snug__sums sums = {.has_reference = true, .n_bytes = 12.0};
    struct snug_quality q;
    float klds[] = {0.4f, 0.1f, 0.3f, 0.2f};
    snug_quality_init(&q);
    for (int i = 0; i < 4; i++) {
        const struct snug__position p = {
            .nll = nll[i], .kld = (double)klds[i], .dp = 0.1, .same_top = i != 2};
        snug__sums_add(&sums, &p);
    }
    snug__sums_finish(&sums, klds, &q);
    assert_true(fabs(q.nll.value - 3.0) < 1e-12);
    assert_true(fabs(q.nll.se - sqrt((50.0 / 4.0 - 9.0) / 3.0)) < 1e-12);
    assert_true(fabs(q.perplexity.value - exp(3.0)) < 1e-9);
    assert_true(fabs(q.bits_per_byte.value - 12.0 / (12.0 * log(2.0))) < 1e-12);
    assert_true(fabs(q.kld_mean.value - 0.25) < 1e-6 && fabs(q.kld_median - 0.25) < 1e-6);
    assert_true(fabs(q.kld_max - 0.4) < 1e-6 && fabs(q.same_top_frac.value - 0.75) < 1e-12);
    assert_true(fabs(q.dp_rms_frac.value - 0.1) < 1e-12 && q.dp_rms_frac.se < 1e-6);
}

/* ---- reference files ---- */

#define N_VOCAB 5

static const struct snug__reference_head HEAD = {.n_vocab = N_VOCAB,
                                                 .n_ctx = 4,
                                                 .n_chunks = 2,
                                                 .n_scored = 1,
                                                 .text_hash = "aa",
                                                 .model_hash = "bb",
                                                 .model_name = "m.gguf",
                                                 .build = "b"};
static const int32_t TOKENS[8] = {1, 2, 3, 4, 4, 3, 2, 1};

static void row_comes_back_within_its_step(void **state)
{
    (void)state;
    struct snug_rng rng;
    unsigned char row[sizeof(float) + 2 * 1000];
    float log_p[1000], back[1000];
    snug_rng_init(&rng, 5);
    for (int i = 0; i < 1000; i++)
        log_p[i] = (float)(-12.0 * snug_rng_double(&rng)) - 0.5f;
    assert_int_equal(snug__reference_row_bytes(1000), sizeof row);
    snug__reference_pack(log_p, 1000, row);
    snug__reference_unpack(row, 1000, back);
    for (int i = 0; i < 1000; i++)
        assert_true(fabsf(back[i] - log_p[i]) <= SNUG__ROW_SPAN / 65535.0f);
    log_p[0] = -100.0f; /* held at the span's end */
    snug__reference_pack(log_p, 1000, row);
    snug__reference_unpack(row, 1000, back);
    assert_true(back[0] < -16.0f && back[0] > -17.0f);
}

static void write_reference(const char *path)
{
    struct snug_error err;
    struct snug__reference r;
    unsigned char row[sizeof(float) + 2 * N_VOCAB];
    const float log_p[N_VOCAB] = {-1.0f, -2.0f, -3.0f, -4.0f, -5.0f};
    assert_ok(snug__reference_create(path, &HEAD, TOKENS, &r, &err));
    snug__reference_pack(log_p, N_VOCAB, row);
    for (int i = 0; i < 2; i++)
        assert_ok(snug__reference_write(&r, row, sizeof row, &err));
    assert_int_equal(access(path, F_OK), -1); /* not there before it is whole */
    assert_ok(snug__reference_finish(&r, &err));
    snug__reference_close(&r);
}

static void reference_comes_back_whole(void **state)
{
    const char *path = test_path(state, "r.snugref");
    struct snug_error err;
    struct snug__reference r;
    int32_t *tokens = NULL;
    unsigned char row[sizeof(float) + 2 * N_VOCAB];
    float log_p[N_VOCAB];
    write_reference(path);
    assert_ok(snug__reference_open(path, &r, &tokens, &err));
    assert_memory_equal(tokens, TOKENS, sizeof TOKENS);
    assert_int_equal(r.head.n_chunks, 2);
    assert_string_equal(r.head.model_name, "m.gguf");
    assert_ok(snug__reference_read(&r, row, sizeof row, &err));
    snug__reference_unpack(row, N_VOCAB, log_p);
    assert_true(fabsf(log_p[3] + 4.0f) < 1e-3f);
    free(tokens);
    snug__reference_close(&r);
    assert_int_equal(access(path, F_OK), 0); /* reading removes nothing */
}

static void reference_not_finished_leaves_nothing(void **state)
{
    const char *path = test_path(state, "r.snugref");
    struct snug_error err;
    struct snug__reference r;
    assert_ok(snug__reference_create(path, &HEAD, TOKENS, &r, &err));
    char partial[sizeof r.partial];
    snprintf(partial, sizeof partial, "%s", r.partial);
    assert_int_equal(access(partial, F_OK), 0);
    snug__reference_close(&r);
    assert_int_equal(access(partial, F_OK), -1);
}

static void assert_refused(const char *path, const char *data, size_t n, snug_status want)
{
    struct snug_error err = {0};
    struct snug__reference r;
    int32_t *tokens = NULL;
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    assert_fails(want, snug__reference_open(path, &r, &tokens, &err));
    assert_contains(err.text, path);
}

static void reference_cut_anywhere_is_refused(void **state)
{
    const char *path = test_path(state, "r.snugref"), *cut = test_path(state, "cut.snugref");
    struct snug_error err;
    char *data = NULL;
    size_t n = 0;
    write_reference(path);
    assert_ok(snug_file_read(path, 1 << 20, &data, &n, &err));
    for (size_t i = 0; i < n; i++)
        assert_refused(cut, data, i, SNUG_BAD_INPUT);
    data[7] = '9'; /* version */
    assert_refused(cut, data, n, SNUG_BAD_INPUT);
    data[7] = '1';
    for (size_t field = 0; field < 4; field++) { /* each number of the header, made absurd */
        char kept[4];
        memcpy(kept, data + 8 + 4 * field, 4);
        memset(data + 8 + 4 * field, 0x7f, 4);
        assert_refused(cut, data, n, SNUG_BAD_INPUT);
        memset(data + 8 + 4 * field, 0xff, 4);
        assert_refused(cut, data, n, SNUG_BAD_INPUT);
        memcpy(data + 8 + 4 * field, kept, 4);
    }
    free(data);
}

/* ---- a real model ---- */

static const char *data_file(const char *name)
{
    static char path[2][1024];
    static unsigned n;
    const char *folder = getenv("SNUG_TEST_DATA");
    char *out = path[n++ % 2];
    snprintf(out, sizeof path[0], "%s/%s", folder ? folder : "", name);
    return folder && access(out, R_OK) == 0 ? out : NULL;
}

static void eval_real_model_against_itself_is_its_floor(void **state)
{
    struct engine_test *t = *state;
    const char *model_path = data_file("gguf/tales7m-f16.gguf");
    const char *text = data_file("text/tinystories_valid_794k.txt");
    struct snug_error err;
    struct snug_model model;
    if (!model_path || !text) {
        print_message("# SNUG_TEST_DATA has no tales7m-f16.gguf: skipped\n");
        skip();
    }
    assert_ok(snug_model_open(model_path, &model, &err));
    struct snug_engine_options options = engine_test_options(t);
    options.model_path = model_path;
    options.model = &model;
    struct snug_engine *engine = engine_test_start(&options);
    struct snug_config config;
    struct snug_quality first, again, cache;
    snug_space_default(snug_engine_space(engine), &config);
    char reference[600];
    snprintf(reference, sizeof reference, "%s/self.snugref", t->folder);
    struct snug_eval_options eval = {.model_path = model_path,
                                     .model = &model,
                                     .space = snug_engine_space(engine),
                                     .config = &config,
                                     .text_path = text,
                                     .n_ctx = 128,
                                     .n_chunks = 8,
                                     .reference_write = reference,
                                     .folder = t->folder,
                                     .deadline_s = PATIENCE_S};
    assert_ok(snug_engine_eval(&eval, &first, &err));
    assert_int_equal(first.n_tokens, 8 * 63);
    assert_true(first.perplexity.value > 5.0 && first.perplexity.value < 30.0);
    assert_true(isnan(first.kld_mean.value));
    eval.reference_write = NULL;
    eval.reference_read = reference;
    eval.want_floor = true;
    assert_ok(snug_engine_eval(&eval, &again, &err));
    assert_true(fabs(again.perplexity.value - first.perplexity.value) < 1e-4);
    /* What the format rounds off, and no flips to speak of. */
    assert_true(fabs(again.kld_mean.value) < 1e-5 && again.same_top_frac.value > 0.99);
    assert_true(again.floor_kld >= 0.0 && again.floor_kld < 1e-4);
    /* A cache of 4 bits shows. */
    engine_test_set(snug_engine_space(engine), &config, "type_k", "q4_0");
    eval.want_floor = false;
    assert_ok(snug_engine_eval(&eval, &cache, &err));
    assert_true(cache.kld_mean.value > 10.0 * fabs(again.kld_mean.value));
    assert_string_equal(cache.type_k, "q4_0");
    /* The reference is of other chunks. */
    eval.n_ctx = 64;
    assert_fails(SNUG_BAD_INPUT, snug_engine_eval(&eval, &cache, &err));
    assert_contains(err.text, "-c 128");
    snug_model_clear(&model);
}

static void eval_bad_texts_are_one_clear_line(void **state)
{
    struct engine_test *t = *state;
    const struct snug_engine_options options = engine_test_options(t);
    struct snug_engine *engine = engine_test_start(&options);
    struct snug_config config;
    struct snug_quality quality;
    struct snug_error err;
    char path[600];
    snug_space_default(snug_engine_space(engine), &config);
    snprintf(path, sizeof path, "%s/short.txt", t->folder);
    struct snug_eval_options eval = {.model_path = t->path,
                                     .model = &t->model,
                                     .space = snug_engine_space(engine),
                                     .config = &config,
                                     .text_path = path,
                                     .n_ctx = 64,
                                     .folder = t->folder,
                                     .deadline_s = PATIENCE_S};
    assert_fails(SNUG_NOT_FOUND, snug_engine_eval(&eval, &quality, &err));
    assert_ok(snug_file_write(path, "a few words", 11, &err));
    assert_fails(SNUG_BAD_INPUT, snug_engine_eval(&eval, &quality, &err));
    assert_contains(err.text, "fewer than one chunk of 64");
    assert_ok(snug_file_write(path, "", 0, &err));
    assert_fails(SNUG_BAD_INPUT, snug_engine_eval(&eval, &quality, &err));
    assert_contains(err.text, "empty");
    eval.n_ctx = 3;
    assert_fails(SNUG_BAD_INPUT, snug_engine_eval(&eval, &quality, &err));
    eval.n_ctx = 64;
    /* A reference that cannot be written says so, and leaves nothing. */
    char words[4096];
    memset(words, 'a', sizeof words);
    for (size_t i = 5; i < sizeof words; i += 6)
        words[i] = ' ';
    assert_ok(snug_file_write(path, words, sizeof words, &err));
    eval.reference_write = "/nonexistent/r.snugref";
    assert_fails(SNUG_IO, snug_engine_eval(&eval, &quality, &err));
    eval.reference_write = NULL;
    eval.n_chunks = 100000;
    assert_fails(SNUG_BAD_INPUT, snug_engine_eval(&eval, &quality, &err));
    assert_contains(err.text, "not 100000");
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_sums_to_one_and_finds_the_top),
        cmocka_unit_test(score_is_the_divergence_from_the_reference),
        cmocka_unit_test(sums_give_means_and_their_errors),
        cmocka_unit_test(row_comes_back_within_its_step),
        WITH_FOLDER(reference_comes_back_whole),
        WITH_FOLDER(reference_not_finished_leaves_nothing),
        WITH_FOLDER(reference_cut_anywhere_is_refused),
        cmocka_unit_test_teardown(eval_real_model_against_itself_is_its_floor,
                                  engine_test_teardown),
        cmocka_unit_test_teardown(eval_bad_texts_are_one_clear_line, engine_test_teardown),
    };
    return cmocka_run_group_tests(tests, engine_test_open, engine_test_close);
}
