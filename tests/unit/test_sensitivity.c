/* Which tensors deserve the bits: errors against a hand computation, and the whole way on a real
 * small model. */
#include "sensitivity.h"

#include <ggml.h>

#include "engine/sensitivity.h"
#include "gguf_build.h"
#include "plan/divergence.h"
#include "snug/store.h"

enum { F32 = 0, Q4_0 = 2, Q8_0 = 8, Q3_K = 11, Q4_K = 12, IQ2_S = 22, N_COLUMNS = 64 };
enum { N_ROWS = 8 };

/* ---- a file of two matrices and a norm ---- */

static float weight_of(int tensor, int row, int column)
{
    /* no rounding ties, every block another largest weight */
    return (float)sin(1.0 + 7.3 * tensor + 1.7 * row + 0.613 * column) * (1.0f + 0.1f * (float)row);
}

static void build_model(const char *path, int n_broken)
{
    struct snug_buffer b = {0};
    const uint64_t n_bytes = N_ROWS * N_COLUMNS * sizeof(float);
    build_head(&b, 3, 1);
    build_arch(&b);
    build_tensor(&b, "blk.0.attn_q.weight", N_COLUMNS, N_ROWS, F32, 0);
    build_tensor(&b, "output.weight", N_COLUMNS, N_ROWS, F32, n_bytes);
    build_tensor(&b, "output_norm.weight", N_COLUMNS, 1, F32, 2 * n_bytes);
    build_data(&b, 0);
    for (int t = 0; t < 2; t++) {
        for (int i = 0; i < N_ROWS * N_COLUMNS; i++) {
            const float w =
                t == 1 && i < n_broken ? (float)NAN : weight_of(t, i / N_COLUMNS, i % N_COLUMNS);
            snug_buffer_append(&b, &w, sizeof w);
        }
    }
    build_data(&b, N_COLUMNS * sizeof(float));
    assert_false(b.is_failed);
    build_save(&b, path);
    snug_buffer_clear(&b);
}

static float column_weight(int column)
{
    return column % 3 == 0 ? 9.0f : 0.5f;
}

/* Sums over 4 activations of one tensor's columns. */
static void build_imatrix(const char *path, const char *name, int n_columns)
{
    struct snug_buffer b = {0};
    char text[128];
    build_head(&b, 2, 2);
    build_key_text(&b, "general.type", "imatrix");
    build_key_u32(&b, "imatrix.chunk_count", 3);
    snprintf(text, sizeof text, "%s.in_sum2", name);
    build_tensor(&b, text, (uint64_t)n_columns, 1, F32, 0);
    snprintf(text, sizeof text, "%s.counts", name);
    build_tensor(&b, text, 1, 1, F32, (uint64_t)n_columns * sizeof(float));
    build_data(&b, 0);
    for (int c = 0; c < n_columns; c++) {
        const float sum = 4.0f * column_weight(c);
        snug_buffer_append(&b, &sum, sizeof sum);
    }
    const float count = 4.0f;
    snug_buffer_append(&b, &count, sizeof count);
    build_save(&b, path);
    snug_buffer_clear(&b);
}

/* Blocks of 32 as the formats define them: a scale in half precision, and integers. */
static void by_hand(const float *w, int type, float *out)
{
    float most = 0.0f; /* the weight that is largest in absolute value, with its sign */
    for (int i = 0; i < 32; i++)
        most = fabsf(w[i]) > fabsf(most) ? w[i] : most;
    const float scale = type == Q8_0 ? fabsf(most) / 127.0f : most / -8.0f;
    const float half = ggml_fp16_to_fp32(ggml_fp32_to_fp16(scale));
    for (int i = 0; i < 32; i++) {
        if (type == Q8_0) {
            out[i] = half * roundf(w[i] * (1.0f / scale));
        } else {
            const int q = (int)(w[i] * (1.0f / scale) + 8.5f);
            out[i] = half * (float)((q > 15 ? 15 : q) - 8);
        }
    }
}

static double error_by_hand(int tensor, int type, bool is_weighted)
{
    double e = 0.0, d = 0.0;
    for (int row = 0; row < N_ROWS; row++) {
        for (int begin = 0; begin < N_COLUMNS; begin += 32) {
            float w[32], back[32];
            for (int i = 0; i < 32; i++)
                w[i] = weight_of(tensor, row, begin + i);
            by_hand(w, type, back);
            for (int i = 0; i < 32; i++) {
                const double a = is_weighted ? (double)column_weight(begin + i) : 1.0;
                const double miss = (double)w[i] - (double)back[i];
                e += a * miss * miss;
                d += a * (double)w[i] * (double)w[i];
            }
        }
    }
    return e / d;
}

static const int TYPES[] = {Q4_0, Q4_K, Q8_0, F32};

static snug_status errors_of(const struct snug_model *model, const char *imatrix,
                             struct snug_estimate *out, struct snug_error *err)
{
    const struct snug__errors_request request = {.model = model,
                                                 .imatrix_path = imatrix,
                                                 .types = TYPES,
                                                 .n_types = COUNT(TYPES),
                                                 .deadline_s = PATIENCE_S};
    return snug__sensitivity_errors(&request, out, err);
}

static void assert_near(double found, double want)
{
    if (!(fabs(found - want) <= 1e-5 * want))
        fail_msg("%.9g is not %.9g", found, want);
}

static void errors_of_all_rows_are_those_by_hand(void **state)
{
    const char *path = test_path(state, "m.gguf");
    struct snug_error err;
    struct snug_model model;
    struct snug_estimate e[3 * COUNT(TYPES)];
    build_model(path, 0);
    assert_ok(snug_model_open(path, &model, &err));
    assert_ok(errors_of(&model, NULL, e, &err));
    for (int t = 0; t < 2; t++) {
        const struct snug_estimate *mine = e + t * (int)COUNT(TYPES);
        assert_near(mine[0].value, error_by_hand(t, Q4_0, false));
        assert_true(isnan(mine[1].value)); /* 64 columns are no block of 256 */
        assert_near(mine[2].value, error_by_hand(t, Q8_0, false));
        assert_true(mine[3].value == 0.0);
        assert_true(mine[0].se == 0.0); /* every row was looked at */
    }
    /* A norm is never quantised. */
    assert_true(isnan(e[2 * COUNT(TYPES)].value) && e[2 * COUNT(TYPES) + 3].value == 0.0);
    snug_model_clear(&model);
}

static void errors_with_an_imatrix_are_weighted_by_column(void **state)
{
    const char *path = test_path(state, "m.gguf"), *imatrix = test_path(state, "i.gguf");
    struct snug_error err;
    struct snug_model model;
    struct snug_estimate plain[3 * COUNT(TYPES)], e[3 * COUNT(TYPES)];
    build_model(path, 0);
    build_imatrix(imatrix, "blk.0.attn_q.weight", N_COLUMNS);
    assert_ok(snug_model_open(path, &model, &err));
    assert_ok(errors_of(&model, NULL, plain, &err));
    assert_ok(errors_of(&model, imatrix, e, &err));
    /* Q8_0 does not look at the weights when it rounds, so only the sums change. */
    assert_near(e[2].value, error_by_hand(0, Q8_0, true));
    assert_true(fabs(e[2].value - plain[2].value) > 1e-3 * plain[2].value);
    /* A tensor without statistics is taken as it is. */
    assert_near(e[COUNT(TYPES)].value, error_by_hand(1, Q4_0, false));
    snug_model_clear(&model);
}

static void imatrix_of_another_model_is_refused(void **state)
{
    const char *path = test_path(state, "m.gguf"), *imatrix = test_path(state, "i.gguf");
    struct snug_error err;
    struct snug_model model;
    struct snug_estimate e[3 * COUNT(TYPES)];
    build_model(path, 0);
    assert_ok(snug_model_open(path, &model, &err));
    build_imatrix(imatrix, "blk.0.attn_q.weight", N_COLUMNS / 2);
    assert_fails(SNUG_BAD_INPUT, errors_of(&model, imatrix, e, &err));
    assert_contains(err.text, "32 columns of blk.0.attn_q.weight, this model has 64");
    build_imatrix(imatrix, "blk.0.ffn_up.weight", N_COLUMNS);
    assert_fails(SNUG_BAD_INPUT, errors_of(&model, imatrix, e, &err));
    assert_contains(err.text, "another model");
    assert_fails(SNUG_BAD_INPUT, errors_of(&model, path, e, &err)); /* a GGUF, and no imatrix */
    assert_contains(err.text, "no importance matrix");
    assert_fails(SNUG_NOT_FOUND, errors_of(&model, test_path(state, "none"), e, &err));
    snug_model_clear(&model);
}

static void weights_that_are_not_finite_are_named(void **state)
{
    const char *path = test_path(state, "m.gguf");
    struct snug_error err;
    struct snug_model model;
    struct snug_estimate e[3 * COUNT(TYPES)];
    build_model(path, 1);
    assert_ok(snug_model_open(path, &model, &err));
    assert_fails(SNUG_BAD_INPUT, errors_of(&model, NULL, e, &err));
    assert_contains(err.text, "output.weight, row 0, column 0 is not finite");
    snug_model_clear(&model);
}

/* ---- a real model ---- */

struct real {
    struct snug_model model;
    struct snug_engine *engine;
    struct snug_config config;
    struct snug_store *store;
    struct snug_sensitivity_kld_options options;
    int n_measured, stop_after;
    volatile int stop;
    char store_path[600], text[1024];
};

static void count_measured(const char *what, void *data)
{
    struct real *r = data;
    if (strstr(what, " to "))
        r->n_measured++;
    if (r->stop_after > 0 && r->n_measured == r->stop_after)
        r->stop = 1;
}

/* NULL, with a message, where there is no such data. */
static const char *data_file(const char *name, char out[1024])
{
    const char *folder = getenv("SNUG_TEST_DATA");
    snprintf(out, 1024, "%s/%s", folder ? folder : "", name);
    if (folder && access(out, R_OK) == 0)
        return out;
    print_message("# SNUG_TEST_DATA has no %s: skipped\n", name);
    return NULL;
}

static void open_real(struct engine_test *t, struct real *r)
{
    char path[1024];
    struct snug_error err;
    *r = (struct real){.n_measured = 0};
    if (!data_file("gguf/tales7m-f16.gguf", path) ||
        !data_file("text/tinystories_valid_794k.txt", r->text))
        skip();
    assert_ok(snug_model_open(path, &r->model, &err));
    struct snug_engine_options options = engine_test_options(t);
    options.model_path = r->model.path;
    options.model = &r->model;
    r->engine = engine_test_start(&options);
    snug_space_default(snug_engine_space(r->engine), &r->config);
    snprintf(r->store_path, sizeof r->store_path, "%s/h.db", t->folder);
    assert_ok(snug_store_open(r->store_path, &r->store, &err));
    static const int TYPE[] = {Q3_K};
    r->options = (struct snug_sensitivity_kld_options){.base = {.model = &r->model,
                                                                .types = TYPE,
                                                                .n_types = 1,
                                                                .stop = &r->stop,
                                                                .progress = count_measured,
                                                                .progress_data = r},
                                                       .space = snug_engine_space(r->engine),
                                                       .config = &r->config,
                                                       .build = snug_engine_build(r->engine),
                                                       .text_path = r->text,
                                                       .n_ctx = 64,
                                                       .n_chunks = 8,
                                                       .store = r->store,
                                                       .folder = t->folder};
}

static void close_real(struct real *r)
{
    snug_store_close(r->store);
    snug_model_clear(&r->model);
}

/* Divergence of the model with every tensor in one type. */
static double whole_kld(struct engine_test *t, struct real *r, int type)
{
    int types[256];
    struct snug_error err;
    struct snug_estimate kld;
    struct snug__divergence d = {.model = &r->model,
                                 .space = r->options.space,
                                 .config = &r->config,
                                 .config_reference = &r->config,
                                 .text_path = r->text,
                                 .n_ctx = r->options.n_ctx,
                                 .n_chunks_max = r->options.n_chunks,
                                 .folder = t->folder};
    assert_true(r->model.n_tensors <= (int)COUNT(types));
    for (int i = 0; i < r->model.n_tensors; i++) {
        const struct snug_tensor *tensor = &r->model.tensors[i];
        types[i] = snug__tensor_is_quantisable(tensor) ? type : tensor->type;
    }
    assert_ok(snug__divergence_of(&d, types, &kld, NULL, &err));
    snug__divergence_close(&d);
    return kld.value;
}

static int n_files(const char *folder, const char *part)
{
    int n = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        n += strstr(entry->d_name, part) != NULL;
    closedir(dir);
    return n;
}

static void measured_losses_add_up_and_go_on_after_a_stop(void **state)
{
    struct engine_test *t = *state;
    struct snug_error err;
    struct snug_sensitivity s;
    struct real r;
    open_real(t, &r);
    /* Stopped in its third measurement: two are kept, and no file is left. */
    r.stop_after = 3;
    assert_fails(SNUG_INTERRUPTED, snug_sensitivity_kld(&r.options, &s, &err));
    assert_contains(err.text, "2 of 22 measurements are kept");
    assert_int_equal(n_files(t->folder, "scratch-"), 0);
    r.stop = r.stop_after = r.n_measured = 0;
    assert_ok(snug_sensitivity_kld(&r.options, &s, &err));
    assert_int_equal(r.n_measured, 20);
    assert_int_equal(n_files(t->folder, "scratch-"), 0);
    /* Once more, and nothing is left to measure. */
    struct snug_sensitivity again;
    r.n_measured = 0;
    assert_ok(snug_sensitivity_kld(&r.options, &again, &err));
    assert_int_equal(r.n_measured, 0);
    assert_same_sensitivity(&s, &again);
    /* Every tensor got a share, and a coarser type loses more. */
    double sum = 0.0;
    const int k3 = sensitivity_column(&s, "q3_k"), k6 = sensitivity_column(&s, "q6_k");
    for (int i = 0; i < s.n_tensors; i++) {
        const struct snug_loss *loss = s.loss + i * s.n_types;
        if (!snug__tensor_is_quantisable(&r.model.tensors[i]))
            continue;
        assert_true(loss[k3].value > 0.0f && loss[k6].value < loss[k3].value);
        sum += (double)loss[k3].value;
    }
    /* The whole in that type costs the sum of its parts, nearly. */
    const double whole = whole_kld(t, &r, Q3_K);
    if (!(whole > 0.6 * sum && whole < 1.6 * sum))
        fail_msg("the whole costs %.5f, its parts %.5f", whole, sum);
    snug_sensitivity_clear(&again);
    snug_sensitivity_clear(&s);
    close_real(&r);
}

static void measuring_what_cannot_be_is_refused(void **state)
{
    struct engine_test *t = *state;
    static const int NEEDS_IMATRIX[] = {IQ2_S};
    struct snug_error err;
    struct snug_sensitivity s;
    struct real r;
    char text[600];
    open_real(t, &r);
    r.options.base.types = NEEDS_IMATRIX;
    assert_fails(SNUG_BAD_INPUT, snug_sensitivity_kld(&r.options, &s, &err));
    assert_contains(err.text, "--imatrix is missing");
    r.options.base.types = NULL;
    snprintf(text, sizeof text, "%s/short.txt", t->folder);
    assert_ok(snug_file_write(text, "A fox.", 6, &err));
    r.options.text_path = text;
    assert_fails(SNUG_BAD_INPUT, snug_sensitivity_kld(&r.options, &s, &err));
    assert_contains(err.text, "fewer than one chunk of 64");
    assert_int_equal(n_files(t->folder, "scratch-"), 0);
    r.options.n_chunks = 0;
    assert_fails(SNUG_BAD_INPUT, snug_sensitivity_kld(&r.options, &s, &err));
    close_real(&r);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
    const struct CMUnitTest tests[] = {
        IN_FOLDER(errors_of_all_rows_are_those_by_hand),
        IN_FOLDER(errors_with_an_imatrix_are_weighted_by_column),
        IN_FOLDER(imatrix_of_another_model_is_refused),
        IN_FOLDER(weights_that_are_not_finite_are_named),
        cmocka_unit_test_teardown(measured_losses_add_up_and_go_on_after_a_stop,
                                  engine_test_teardown),
        cmocka_unit_test_teardown(measuring_what_cannot_be_is_refused, engine_test_teardown),
    };
    return cmocka_run_group_tests(tests, engine_test_open, engine_test_close);
}
