/* Replays the fuzz corpus of the GGUF reader, then seeded mutations of the files in it that open.
 * Rule of the corpus: valid-* opens, everything else is refused. */
#include "test.h"

#include <dirent.h>

#include "base/file.h"
#include "model/synth.h"
#include "snug/stats.h"

#define FILES_MAX 200
#define FILE_BYTES_MAX (64u << 10)
#define N_MUTATIONS 20000
#define SEED 20250601

struct seed_file {
    char name[256];
    char *data;
    size_t n;
};

static struct seed_file files[FILES_MAX];
static size_t n_files;

static int load_corpus(void **state)
{
    (void)state;
    const char *root = getenv("SNUG_SOURCE_ROOT");
    char folder[512], path[1024];
    struct snug_error err;
    snprintf(folder, sizeof folder, "%s/fuzz/corpus/gguf", root ? root : ".");
    DIR *dir = opendir(folder);
    if (!dir) {
        print_message("# no folder %s: set SNUG_SOURCE_ROOT\n", folder);
        return -1;
    }
    for (struct dirent *entry; (entry = readdir(dir)) && n_files < FILES_MAX;) {
        struct seed_file *file = &files[n_files];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(file->name, sizeof file->name, "%s", entry->d_name);
        snprintf(path, sizeof path, "%s/%s", folder, file->name);
        assert_ok(snug_file_read(path, FILE_BYTES_MAX, &file->data, &file->n, &err));
        n_files++;
    }
    closedir(dir);
    return 0;
}

static int free_corpus(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_files; i++)
        free(files[i].data);
    return 0;
}

static bool is_valid(const struct seed_file *file)
{
    return strncmp(file->name, "valid-", 6) == 0;
}

/* Open from a block of exactly n bytes, so that a sanitizer sees a read beyond them; what opens
 * must add up, what does not must say why. */
static snug_status open_bytes(const void *data, size_t n, struct snug_error *err)
{
    struct snug_model model;
    struct snug__source source;
    uint8_t *exact = malloc(n ? n : 1);
    assert_non_null(exact);
    memcpy(exact, data, n);
    memset(err, 0, sizeof *err);
    snug__source_memory("bytes", exact, n, n, &source);
    snug_status status = snug__model_open_source("bytes", &source, &model, err);
    if (status == SNUG_OK) {
        uint64_t bytes = 0;
        for (int i = 0; i < model.n_tensors; i++) {
            assert_true(model.tensors[i].offset + model.tensors[i].bytes <= n);
            bytes += model.tensors[i].bytes;
        }
        assert_int_equal(bytes, model.bytes_tensors);
        assert_true(bytes <= n);
        snug_model_clear(&model);
    } else {
        assert_true(err->text[0] != '\0');
        assert_true(status == SNUG_BAD_INPUT || status == SNUG_UNSUPPORTED);
    }
    free(exact);
    return status;
}

static void open_corpus_file_valid_opens_others_fail(void **state)
{
    (void)state;
    struct snug_error err;
    size_t n_valid = 0;
    for (size_t i = 0; i < n_files; i++) {
        snug_status status = open_bytes(files[i].data, files[i].n, &err);
        n_valid += is_valid(&files[i]);
        if (is_valid(&files[i]) != (status == SNUG_OK))
            fail_msg("%s: %s %s", files[i].name, snug_status_name(status), err.text);
    }
    assert_true(n_valid >= 5);
    assert_true(n_files - n_valid >= 40);
}

static void open_corpus_prefix_of_tensors_fails(void **state)
{
    (void)state;
    struct snug_error err;
    for (size_t i = 0; i < n_files; i++) {
        if (strcmp(files[i].name, "valid-tiny.gguf") != 0)
            continue;
        for (size_t n = 0; n < files[i].n; n += n < 1200 ? 1 : 97)
            assert_int_equal(open_bytes(files[i].data, n, &err), SNUG_BAD_INPUT);
        return;
    }
    fail_msg("no valid-tiny.gguf in the corpus");
}

/* One to four edits: a bit, a byte, or a whole little-endian number of the kind that hurts. */
static void mutate(uint8_t *data, size_t n, struct snug_rng *rng)
{
    static const uint64_t numbers[] = {0,         1,          0x7fffffff, UINT32_MAX,
                                       INT64_MAX, UINT64_MAX, 1 << 16};
    uint64_t n_edits = 1 + snug_rng_below(rng, 4);
    for (uint64_t i = 0; i < n_edits; i++) {
        size_t at = (size_t)snug_rng_below(rng, n < 1100 ? n : 1100); /* mostly the header */
        uint64_t number = numbers[snug_rng_below(rng, COUNT(numbers))];
        switch (snug_rng_below(rng, 3)) {
        case 0:
            data[at] ^= (uint8_t)(1u << snug_rng_below(rng, 8));
            break;
        case 1:
            data[at] = (uint8_t)snug_rng_next(rng);
            break;
        default:
            memcpy(data + at, &number, n - at < 8 ? n - at : 8);
        }
    }
}

static void open_mutated_seeds_end_in_a_status(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_rng rng;
    size_t n_ok = 0, n_done = 0;
    uint8_t *copy = malloc(FILE_BYTES_MAX);
    assert_non_null(copy);
    print_message("# seed %d\n", SEED);
    snug_rng_init(&rng, SEED);
    while (n_done < N_MUTATIONS) {
        const struct seed_file *file = &files[snug_rng_below(&rng, n_files)];
        if (!is_valid(file))
            continue;
        memcpy(copy, file->data, file->n);
        mutate(copy, file->n, &rng);
        n_ok += open_bytes(copy, file->n, &err) == SNUG_OK;
        n_done++;
    }
    free(copy);
    /* Both must happen often, or the mutations no longer reach anything. */
    assert_true(n_ok > N_MUTATIONS / 50 && n_ok < N_MUTATIONS / 10 * 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_corpus_file_valid_opens_others_fail),
        cmocka_unit_test(open_corpus_prefix_of_tensors_fails),
        cmocka_unit_test(open_mutated_seeds_end_in_a_status),
    };
    return cmocka_run_group_tests(tests, load_corpus, free_corpus);
}
