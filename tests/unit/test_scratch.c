/* Scratch folders on a real file system: nothing outlives its job, and the living are let be. */
#include "test.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/scratch.h"

static bool is_there(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

static void put(const char *folder, const char *name, char *out, size_t cap)
{
    struct snug_error err;
    snprintf(out, cap, "%s/%s", folder, name);
    assert_ok(snug_file_write(out, "x", 1, &err));
}

static void closing_removes_the_folder_and_its_files(void **state)
{
    struct snug_error err;
    struct snug_scratch scratch = {.path = ""};
    char folder[600], file[5000];
    snprintf(folder, sizeof folder, "%s/made/for/it", (const char *)*state);
    assert_ok(snug_scratch_open(folder, &scratch, &err));
    put(scratch.path, "a.gguf", file, sizeof file);
    char path[sizeof scratch.path];
    memcpy(path, scratch.path, sizeof path);
    snug_scratch_close(&scratch);
    assert_false(is_there(path));
    assert_true(is_there(folder));
    assert_string_equal(scratch.path, "");
    snug_scratch_close(&scratch); /* a closed one stays closed */
}

static void what_a_dead_process_left_goes_at_the_next_opening(void **state)
{
    struct snug_error err;
    struct snug_scratch scratch;
    char left[600], file[700], other[700];
    snprintf(left, sizeof left, "%s/scratch-1-0", (const char *)*state);
    assert_ok(snug_file_make_folder(left, &err));
    put(left, "big.gguf", file, sizeof file);
    put(*state, "scratch-notes.txt", other, sizeof other); /* no folder */
    assert_ok(snug_scratch_open(*state, &scratch, &err));
    assert_false(is_there(left));
    assert_true(is_there(other));
    snug_scratch_close(&scratch);
}

static void what_somebody_works_in_stays(void **state)
{
    struct snug_error err;
    struct snug_scratch first, second;
    char file[5000];
    assert_ok(snug_scratch_open(*state, &first, &err));
    put(first.path, "a.gguf", file, sizeof file);
    assert_ok(snug_scratch_open(*state, &second, &err));
    assert_string_not_equal(first.path, second.path);
    assert_true(is_there(file));
    snug_scratch_close(&second);
    assert_true(is_there(file));
    snug_scratch_close(&first);
    assert_false(is_there(file));
}

static void a_folder_that_cannot_be_is_named(void **state)
{
    struct snug_error err;
    struct snug_scratch scratch;
    char file[600], folder[5000];
    put(*state, "file", file, sizeof file);
    assert_fails(SNUG_IO, snug_scratch_open(file, &scratch, &err));
    assert_contains(err.text, "not a folder");
    snprintf(folder, sizeof folder, "%s", (const char *)*state);
    const size_t n = strlen(folder);
    for (size_t i = n; i < 4093; i++)
        folder[i] = i % 2 ? '.' : '/';
    folder[4093] = '\0';
    assert_fails(SNUG_BAD_INPUT, snug_scratch_open(folder, &scratch, &err));
    assert_contains(err.text, "path is too long");
}

int main(void)
{
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, test_folder_open, test_folder_close)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(closing_removes_the_folder_and_its_files),
        IN_FOLDER(what_a_dead_process_left_goes_at_the_next_opening),
        IN_FOLDER(what_somebody_works_in_stays),
        IN_FOLDER(a_folder_that_cannot_be_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
