/* Synthetic models: the file is whole and finite, nothing is left behind when writing fails. */
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <ggml.h>

#include "model/synth.h"

static int count_files(void **state)
{
    int n = 0;
    DIR *dir = opendir(*state);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* ---- weights ---- */

/* Every value finite; matrices spread by 1 / sqrt(row), norms around 1. `data` is the whole file.
 */
static void check_tensor(const struct snug_tensor *t, const uint8_t *data)
{
    enum ggml_type type = (enum ggml_type)t->type;
    int64_t n = (int64_t)t->n_elements;
    float *values = malloc((size_t)n * sizeof *values);
    assert_non_null(values);
    if (type == GGML_TYPE_F32)
        memcpy(values, data + t->offset, t->bytes);
    else
        ggml_get_type_traits(type)->to_float(data + t->offset, values, n);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    free(values);
    double mean = sum / (double)n, sd = sqrt(squares / (double)n - mean * mean);
    double wanted = t->n_dims == 2 ? 1.0 / sqrt((double)t->ne[0]) : 0.05;
    assert_true(isfinite(mean) && isfinite(sd));
    if (sd < 0.8 * wanted || sd > 1.2 * wanted)
        fail_msg("%s has spread %g, not %g", t->name, sd, wanted);
    if (fabs(mean - (t->n_dims == 2 ? 0.0 : 1.0)) > 0.15 * wanted + 0.01 * (t->n_dims == 1))
        fail_msg("%s has mean %g", t->name, mean);
}

static uint8_t *read_whole(const char *path, size_t *out_n)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    uint8_t *data = malloc((size_t)st.st_size);
    assert_non_null(data);
    *out_n = (size_t)st.st_size;
    for (size_t at = 0; at < *out_n;) {
        ssize_t got = read(fd, data + at, *out_n - at);
        assert_true(got > 0);
        at += (size_t)got;
    }
    close(fd);
    return data;
}

static void synth_each_type_has_finite_weights_of_the_right_spread(void **state)
{
    const char *const types[] = {"f32",  "f16",  "bf16", "q4_0", "q4_1", "q5_0",   "q5_1",  "q8_0",
                                 "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "IQ4_XS"};
    const char *path = test_path(state, "w.gguf");
    for (size_t i = 0; i < COUNT(types); i++) {
        struct snug_error err;
        struct snug_model model;
        struct snug_synth_options options = {.type = types[i], .seed = 7, .n_layer = 1};
        assert_ok(snug_model_synth("smollm2-135m", &options, path, NULL, NULL, &err));
        assert_ok(snug_model_open(path, &model, &err));
        assert_int_equal(model.n_layer, 1);
        assert_int_equal(model.n_vocab, 49152);
        size_t n = 0;
        uint8_t *data = read_whole(path, &n);
        assert_int_equal(n, model.bytes_file);
        const struct snug_tensor *last = &model.tensors[model.n_tensors - 1];
        size_t data_offset = n - (last->offset + (last->bytes + 31) / 32 * 32);
        for (int k = 0; k < model.n_tensors; k++)
            check_tensor(&model.tensors[k], data + data_offset);
        free(data);
        snug_model_clear(&model);
    }
    assert_int_equal(count_files(state), 1);
}

static void synth_same_seed_gives_the_same_bytes(void **state)
{
    struct snug_error err;
    const char *names[] = {"a.gguf", "b.gguf", "c.gguf"};
    const uint64_t seeds[] = {1, 1, 2};
    uint8_t *data[3];
    size_t n[3];
    for (size_t i = 0; i < COUNT(names); i++) {
        struct snug_synth_options options = {.type = "q4_0", .seed = seeds[i], .n_layer = 1};
        const char *path = test_path(state, names[i]);
        assert_ok(snug_model_synth("smollm2-135m", &options, path, NULL, NULL, &err));
        data[i] = read_whole(path, &n[i]);
    }
    assert_int_equal(n[0], n[1]);
    assert_int_equal(n[0], n[2]);
    assert_memory_equal(data[0], data[1], n[0]);
    assert_true(memcmp(data[0], data[2], n[0]) != 0);
    for (size_t i = 0; i < COUNT(names); i++)
        free(data[i]);
}

static void synth_shape_only_takes_a_few_kilobytes(void **state)
{
    struct snug_error err;
    struct snug_model model;
    struct stat st;
    struct snug_synth_options options = {.type = "f16", .is_shape_only = true};
    const char *path = test_path(state, "llama3-70b.gguf");
    assert_ok(snug_model_synth("llama3-70b", &options, path, NULL, NULL, &err));
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > INT64_C(141000000000));
    assert_true(st.st_blocks * 512 < 256 << 10);
    assert_ok(snug_model_open(path, &model, &err));
    assert_int_equal(model.n_params, INT64_C(70553706496));
    assert_string_equal(model.tokenizer, "no_vocab");
    snug_model_clear(&model);
}

/* ---- failures ---- */

static bool stop_at_half(double done_frac, void *data)
{
    *(double *)data = done_frac;
    return done_frac < 0.5;
}

static void synth_stopped_leaves_nothing(void **state)
{
    struct snug_error err;
    double reached = 0;
    struct snug_synth_options options = {.type = "q4_0", .n_layer = 1};
    assert_fails(SNUG_INTERRUPTED,
                 snug_model_synth("smollm2-135m", &options, test_path(state, "m.gguf"),
                                  stop_at_half, &reached, &err));
    assert_true(reached >= 0.5 && reached < 1.0);
    assert_int_equal(count_files(state), 0);
}

struct progress {
    double last;
    bool is_rising;
};

static bool note_progress(double done_frac, void *data)
{
    struct progress *seen = data;
    seen->is_rising = seen->is_rising && done_frac >= seen->last;
    seen->last = done_frac;
    return true;
}

static void synth_progress_rises_to_one(void **state)
{
    struct snug_error err;
    struct progress seen = {.is_rising = true};
    struct snug_synth_options options = {.type = "q4_0", .n_layer = 1};
    assert_ok(snug_model_synth("smollm2-135m", &options, test_path(state, "m.gguf"), note_progress,
                               &seen, &err));
    assert_true(seen.is_rising);
    assert_true(seen.last == 1.0);
}

static void synth_file_limit_cleans_up(void **state)
{
    struct snug_error err;
    struct rlimit old, small = {.rlim_cur = 4 << 20};
    struct snug_synth_options options = {.type = "q4_0", .n_layer = 1};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    memset(&err, 0, sizeof err);
    snug_status status =
        snug_model_synth("smollm2-135m", &options, test_path(state, "m.gguf"), NULL, NULL, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, SNUG_IO);
    assert_contains(err.text, "File too large");
    assert_int_equal(count_files(state), 0);
}

static void synth_beyond_free_space_says_how_much(void **state)
{
    struct snug_error err;
    struct statvfs fs;
    struct snug_synth_options options = {.type = "f32"}; /* 263 GiB */
    assert_int_equal(statvfs(*state, &fs), 0);
    if ((double)fs.f_bavail * (double)fs.f_frsize > 282e9) {
        print_message("# the disk of the temporary folder has room for 70 G F32 weights\n");
        skip();
    }
    assert_fails(SNUG_INFEASIBLE, snug_model_synth("llama3-70b", &options,
                                                   test_path(state, "m.gguf"), NULL, NULL, &err));
    assert_contains(err.text, "needs 263 GiB, the disk has");
    assert_int_equal(count_files(state), 0);
}

static void synth_bad_options_are_refused(void **state)
{
    struct snug_error err;
    const char *path = test_path(state, "m.gguf");
    const char *nowhere = test_path(state, "no/such/folder/m.gguf");
    struct snug_synth_options bad_type = {.type = "q4_9"};
    struct snug_synth_options last_layer = {.is_shape_only = true, .n_layer = 30};
    struct snug_synth_options beyond = {.is_shape_only = true, .n_layer = 31};
    struct snug_synth_options negative = {.is_shape_only = true, .n_layer = -1};
    assert_fails(SNUG_BAD_INPUT,
                 snug_model_synth("smollm2-135m", &bad_type, path, NULL, NULL, &err));
    assert_fails(SNUG_BAD_INPUT, snug_model_synth("smollm2-135m", &beyond, path, NULL, NULL, &err));
    assert_contains(err.text, "has 30 layers: cannot cut it to 31");
    assert_fails(SNUG_BAD_INPUT,
                 snug_model_synth("smollm2-135m", &negative, path, NULL, NULL, &err));
    assert_fails(SNUG_NOT_FOUND,
                 snug_model_synth("nobody-1b", &last_layer, path, NULL, NULL, &err));
    assert_contains(err.text, "smollm2-135m");
    assert_fails(SNUG_IO, snug_model_synth("smollm2-135m", &last_layer, nowhere, NULL, NULL, &err));
    assert_int_equal(count_files(state), 0);
    assert_ok(snug_model_synth("smollm2-135m", &last_layer, path, NULL, NULL, &err));
    assert_int_equal(count_files(state), 1);
}

int main(void)
{
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, test_folder_open, test_folder_close)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(synth_each_type_has_finite_weights_of_the_right_spread),
        IN_FOLDER(synth_same_seed_gives_the_same_bytes),
        IN_FOLDER(synth_shape_only_takes_a_few_kilobytes),
        IN_FOLDER(synth_stopped_leaves_nothing),
        IN_FOLDER(synth_progress_rises_to_one),
        IN_FOLDER(synth_file_limit_cleans_up),
        IN_FOLDER(synth_beyond_free_space_says_how_much),
        IN_FOLDER(synth_bad_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
