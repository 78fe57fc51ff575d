/* Importance matrices: the format both ways, damage, agreement with the packaged llama-imatrix, and
 * use by both quantisers. */
#include "engine.h"

#include <ggml.h>
#include <math.h>

#include "engine/imatrix.h"
#include "engine/quantize.h"
#include "gguf_build.h"
#include "peer.h"

/* ---- the format ---- */

static void write_sample(const char *path)
{
    struct snug_error err;
    double plain[] = {2.0, 4.0, 6.0, 0.0}, n_plain[] = {2.0};
    double experts[] = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, n_experts[] = {1.0, 0.0, 4.0};
    struct snug__imatrix_sums rows[] = {
        {.name = "blk.1.ffn_up_exps.weight",
         .n_cols = 2,
         .n_mats = 3,
         .n_counts = 3,
         .sums = experts,
         .counts = n_experts},
        {.name = "blk.0.attn_q.weight",
         .n_cols = 4,
         .n_mats = 1,
         .n_counts = 1,
         .sums = plain,
         .counts = n_plain},
    };
    assert_ok(snug__imatrix_write(path, rows, 2, "some/text.txt", 7, 512, &err));
}

static void imatrix_comes_back_as_means(void **state)
{
    struct snug_error err;
    struct snug_imatrix m;
    const char *path = test_path(state, "m.gguf");
    write_sample(path);
    assert_ok(snug_imatrix_read(path, &m, &err));
    assert_int_equal(m.n_rows, 2);
    assert_int_equal(m.n_chunks, 7);
    assert_string_equal(m.dataset, "some/text.txt");
    const struct snug_imatrix_row *q = snug_imatrix_find(&m, "blk.0.attn_q.weight");
    assert_non_null(q);
    assert_int_equal(q->n, 4);
    assert_true(q->count == 2.0);
    assert_true(q->values[0] == 1.0f && q->values[2] == 3.0f && q->values[3] == 0.0f);
    const struct snug_imatrix_row *up = snug_imatrix_find(&m, "blk.1.ffn_up_exps.weight");
    assert_non_null(up);
    assert_int_equal(up->n, 6);
    assert_true(up->count == 5.0);
    /* The second expert met no token: even weights. */
    const float want[] = {1.0f, 2.0f, 1.0f, 1.0f, 1.25f, 1.5f};
    for (int i = 0; i < 6; i++)
        assert_true(up->values[i] == want[i]);
    assert_null(snug_imatrix_find(&m, "blk.0.attn_k.weight"));
    snug_imatrix_clear(&m);
    assert_null(snug_imatrix_find(&m, "blk.0.attn_q.weight"));
}

/* A GGUF of one weight with n_sums sums and n_counts counts, the names as given. */
static void build(struct snug_buffer *b, const char *kind, const char *sums, const char *counts,
                  uint64_t n_sums, uint64_t n_counts)
{
    build_head(b, 2, 1);
    build_key_text(b, "general.type", kind);
    build_tensor(b, sums, n_sums, 1, GGML_TYPE_F32, 0);
    build_tensor(b, counts, n_counts, 1, GGML_TYPE_F32, (n_sums * 4 + 31) / 32 * 32);
    while (b->len % 32)
        snug_buffer_append(b, "", 1);
}

static void put_floats(struct snug_buffer *b, float value, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        snug_buffer_append(b, &value, sizeof value);
    while (b->len % 32)
        snug_buffer_append(b, "", 1);
}

static void damaged_imatrix_is_refused_with_its_fault(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *sums, *counts;
        uint64_t n_sums, n_counts;
        float sum, count;
        const char *want;
    } ROWS[] = {
        {"imatrix", "w.in_sum2", "w.counts", 4, 1, 1.0f, 2.0f, NULL},
        {"model", "w.in_sum2", "w.counts", 4, 1, 1.0f, 2.0f, "general.type is 'model'"},
        {"imatrix", "w.in_sum2", "v.counts", 4, 1, 1.0f, 2.0f, "there are no counts for it"},
        {"imatrix", "w.sum2", "w.counts", 4, 1, 1.0f, 2.0f, "sums of 0 weights"},
        {"imatrix", "w.in_sum2", "w.counts", 4, 3, 1.0f, 2.0f, "no multiple of its counts"},
        {"imatrix", "w.in_sum2", "w.counts", 4, 2, NAN, 2.0f, "not a number of 0 or more"},
        {"imatrix", "w.in_sum2", "w.counts", 4, 2, -1.0f, 2.0f, "not a number of 0 or more"},
        {"imatrix", "w.in_sum2", "w.counts", 4, 2, 1.0f, -2.0f, "not a number of 0 or more"},
        {"imatrix", "w.in_sum2", "w.counts", 4, 2, 1e38f, 1e-38f, "no number of activations"},
    };
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        struct snug_error err = {0};
        struct snug_buffer b = {0};
        struct snug__source source;
        struct snug_imatrix m = {.n_rows = -7};
        build(&b, ROWS[i].kind, ROWS[i].sums, ROWS[i].counts, ROWS[i].n_sums, ROWS[i].n_counts);
        put_floats(&b, ROWS[i].sum, ROWS[i].n_sums);
        put_floats(&b, ROWS[i].count, ROWS[i].n_counts);
        snug__source_memory("i.gguf", b.data, b.len, b.len, &source);
        if (ROWS[i].want) {
            assert_fails(SNUG_BAD_INPUT, snug__imatrix_read_source(&source, &m, &err));
            assert_contains(err.text, ROWS[i].want);
            assert_contains(err.text, "i.gguf");
            assert_int_equal(m.n_rows, -7);
        } else {
            assert_ok(snug__imatrix_read_source(&source, &m, &err));
            snug_imatrix_clear(&m);
            for (size_t cut = 0; cut < b.len; cut += 8) { /* any prefix is refused */
                snug__source_memory("i.gguf", b.data, cut, cut, &source);
                if (cut + 32 <= b.len)
                    assert_fails(SNUG_BAD_INPUT, snug__imatrix_read_source(&source, &m, &err));
            }
        }
        snug_buffer_clear(&b);
    }
}

static void as_many_rows_as_the_cap_are_read_and_no_more(void **state)
{
    struct snug_error err;
    struct snug_imatrix m;
    const char *path = test_path(state, "m.gguf");
    struct snug__imatrix_sums *rows = calloc(SNUG_IMATRIX_ROWS_MAX + 1, sizeof *rows);
    double one[] = {1.0};
    assert_non_null(rows);
    for (int i = 0; i <= SNUG_IMATRIX_ROWS_MAX; i++) {
        rows[i] = (struct snug__imatrix_sums){
            .n_cols = 1, .n_mats = 1, .n_counts = 1, .sums = one, .counts = one};
        snprintf(rows[i].name, sizeof rows[i].name, "blk.%d.w", i);
    }
    assert_ok(snug__imatrix_write(path, rows, SNUG_IMATRIX_ROWS_MAX, "t", 1, 16, &err));
    assert_ok(snug_imatrix_read(path, &m, &err));
    assert_int_equal(m.n_rows, SNUG_IMATRIX_ROWS_MAX);
    assert_non_null(snug_imatrix_find(&m, "blk.32767.w"));
    snug_imatrix_clear(&m);
    assert_ok(snug__imatrix_write(path, rows, SNUG_IMATRIX_ROWS_MAX + 1, "t", 1, 16, &err));
    assert_fails(SNUG_BAD_INPUT, snug_imatrix_read(path, &m, &err));
    free(rows);
}

static void more_sums_than_the_cap_are_refused_before_memory_is_taken(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct snug_buffer b = {0};
    struct snug__source source;
    struct snug_imatrix m;
    const uint64_t n = (uint64_t)SNUG_IMATRIX_VALUES_MAX + 1;
    build(&b, "imatrix", "w.in_sum2", "w.counts", n, 1);
    snug__source_memory("i.gguf", b.data, b.len, b.len + 4 * n + 4096, &source); /* zeros */
    assert_fails(SNUG_BAD_INPUT, snug__imatrix_read_source(&source, &m, &err));
    assert_contains(err.text, "more than 2^29 sums");
    snug_buffer_clear(&b);
}

static void other_file_is_told_from_an_imatrix(void **state)
{
    struct snug_error err;
    struct snug_imatrix m;
    const char *path = test_path(state, "old.dat");
    assert_fails(SNUG_NOT_FOUND, snug_imatrix_read(path, &m, &err));
    assert_ok(snug_file_write(path, "\x02\0\0\0\x05\0\0\0abcde", 13, &err));
    assert_fails(SNUG_BAD_INPUT, snug_imatrix_read(path, &m, &err));
    assert_contains(err.text, ".dat format");
}

static void name_too_long_for_the_format_is_refused(void **state)
{
    struct snug_error err;
    double one[] = {1.0};
    struct snug__imatrix_sums row = {
        .n_cols = 1, .n_mats = 1, .n_counts = 1, .sums = one, .counts = one};
    const char *path = test_path(state, "m.gguf");
    memset(row.name, 'n', SNUG_GGUF_TENSOR_NAME_MAX - 8); /* with ".in_sum2" just 63 */
    assert_ok(snug__imatrix_write(path, &row, 1, "t", 1, 16, &err));
    row.name[SNUG_GGUF_TENSOR_NAME_MAX - 8] = 'n';
    assert_fails(SNUG_UNSUPPORTED, snug__imatrix_write(path, &row, 1, "t", 1, 16, &err));
    assert_contains(err.text, "too long");
}

/* ---- a real model ---- */

static char model_path[4096], text_path[4096];

static bool has_data(void)
{
    const char *model = peer_data(PEER_TALES);
    const char *text = peer_data("text/tinystories_heldout_1p5M.txt");
    snprintf(model_path, sizeof model_path, "%s", model ? model : "");
    snprintf(text_path, sizeof text_path, "%s", text ? text : "");
    return model && text;
}

static struct snug_imatrix_options options_for(const char *out_path)
{
    return (struct snug_imatrix_options){.model_path = model_path,
                                         .text_path = text_path,
                                         .out_path = out_path,
                                         .n_ctx = 128,
                                         .n_chunks = 6,
                                         .n_threads = 1,
                                         .deadline_s = PATIENCE_S};
}

static void run_quietly(const char *const *argv)
{
    struct snug_buffer out = {0};
    peer_run(argv, &out);
    snug_buffer_clear(&out);
}

static void sums_agree_with_the_packaged_llama_imatrix(void **state)
{
    struct snug_error err;
    char tool[4096];
    struct snug_imatrix ours, theirs;
    int64_t n_chunks = 0;
    const char *mine = test_path(state, "ours.gguf"), *other = test_path(state, "theirs.gguf");
    if (!has_data())
        skip();
    if (!peer_find("llama-imatrix", tool))
        skip();
    const struct snug_imatrix_options options = options_for(mine);
    assert_ok(snug_engine_imatrix(&options, &n_chunks, &err));
    assert_int_equal(n_chunks, 6);
    const char *const argv[] = {tool, "-m",  model_path, "-f", text_path, "-o", other,
                                "-c", "128", "--chunks", "6",  "-t",      "1",  NULL};
    run_quietly(argv);
    assert_ok(snug_imatrix_read(mine, &ours, &err));
    assert_ok(snug_imatrix_read(other, &theirs, &err));
    assert_int_equal(ours.n_rows, theirs.n_rows);
    assert_int_equal(ours.n_chunks, theirs.n_chunks);
    for (int i = 0; i < ours.n_rows; i++) {
        const struct snug_imatrix_row *a = &ours.rows[i], *b = &theirs.rows[i];
        double difference = 0.0, size = 0.0;
        assert_string_equal(a->name, b->name);
        assert_int_equal(a->n, b->n);
        assert_true(a->count == b->count && a->count == 6.0 * 128.0);
        for (int64_t k = 0; k < a->n; k++) {
            difference += fabs((double)a->values[k] - (double)b->values[k]);
            size += fabs((double)b->values[k]);
        }
        /* Measured: 6e-7, from sums in double here and in float there. */
        if (!(difference <= 1e-4 * size))
            fail_msg("%s differs by %.2g of its size", a->name, difference / size);
    }
    snug_imatrix_clear(&ours);
    snug_imatrix_clear(&theirs);
    engine_test_no_children();
}

static void quantisers_take_it_and_low_types_need_it(void **state)
{
    struct snug_error err;
    char tool[4096];
    const char *path = test_path(state, "i.gguf"), *out = test_path(state, "out.gguf");
    if (!has_data())
        skip();
    const struct snug_imatrix_options options = options_for(path);
    assert_ok(snug_engine_imatrix(&options, NULL, &err));
    struct snug_quantize_options quantize = {.model_path = model_path,
                                             .recipe = "iq2_xxs",
                                             .out_path = out,
                                             .n_threads = 2,
                                             .deadline_s = PATIENCE_S};
    assert_fails(SNUG_BAD_INPUT, snug_engine_quantize_plan(&quantize, NULL, &err));
    assert_contains(err.text, "importance matrix");
    quantize.imatrix_path = path;
    assert_ok(snug_engine_quantize_plan(&quantize, NULL, &err));
    if (peer_find("llama-quantize", tool)) {
        const char *const argv[] = {tool,      "--imatrix", path, model_path, test_path(state, "t"),
                                    "IQ2_XXS", "2",         NULL};
        run_quietly(argv);
    }
    /* One of another model: 576 columns where 256 are. */
    write_sample(path);
    assert_fails(SNUG_BAD_INPUT, snug_engine_quantize_plan(&quantize, NULL, &err));
    assert_contains(err.text, "i.gguf");
}

static volatile int stop;

static void stop_at_the_first_chunk(const char *phase, void *data)
{
    (void)data;
    stop = stop || strncmp(phase, "chunk ", 6) == 0;
}

static void interrupted_imatrix_leaves_nothing(void **state)
{
    struct snug_error err;
    if (!has_data())
        skip();
    struct snug_imatrix_options options = options_for(test_path(state, "i.gguf"));
    options.n_chunks = 0; /* all of the text: minutes */
    options.stop = &stop;
    options.progress = stop_at_the_first_chunk;
    stop = 0;
    assert_fails(SNUG_INTERRUPTED, snug_engine_imatrix(&options, NULL, &err));
    assert_int_not_equal(access(options.out_path, F_OK), 0);
    engine_test_no_children();
    DIR *folder = opendir(*state);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));)
        assert_true(entry->d_name[0] == '.');
    closedir(folder);
}

static void text_and_chunks_that_cannot_be_are_refused(void **state)
{
    struct snug_error err;
    if (!has_data())
        skip();
    struct snug_imatrix_options options = options_for(test_path(state, "i.gguf"));
    options.n_ctx = 15;
    assert_fails(SNUG_BAD_INPUT, snug_engine_imatrix(&options, NULL, &err));
    options.n_ctx = SNUG_IMATRIX_CHUNK_MAX + 1;
    assert_fails(SNUG_BAD_INPUT, snug_engine_imatrix(&options, NULL, &err));
    options.n_ctx = 16;
    options.text_path = test_path(state, "short.txt");
    assert_ok(snug_file_write(options.text_path, "Once", 4, &err));
    assert_fails(SNUG_BAD_INPUT, snug_engine_imatrix(&options, NULL, &err));
    assert_contains(err.text, "fewer than one chunk of 16");
    assert_int_not_equal(access(options.out_path, F_OK), 0);
}

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, test_folder_open, test_folder_close)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(imatrix_comes_back_as_means),
        cmocka_unit_test(damaged_imatrix_is_refused_with_its_fault),
        IN_FOLDER(as_many_rows_as_the_cap_are_read_and_no_more),
        cmocka_unit_test(more_sums_than_the_cap_are_refused_before_memory_is_taken),
        IN_FOLDER(other_file_is_told_from_an_imatrix),
        IN_FOLDER(name_too_long_for_the_format_is_refused),
        IN_FOLDER(sums_agree_with_the_packaged_llama_imatrix),
        IN_FOLDER(quantisers_take_it_and_low_types_need_it),
        IN_FOLDER(interrupted_imatrix_leaves_nothing),
        IN_FOLDER(text_and_chunks_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
