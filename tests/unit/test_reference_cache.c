/* The folder of kept references: oldest first, the one in use never, parts of dead processes go,
 * and a reference that does not fit the disk is refused before anything is written. */
#include "test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/process.h"
#include "engine/reference.h"
#include "snug/engine.h"

static const char *make(void **state, const char *name, int age_s)
{
    static char bytes[100];
    struct snug_error err;
    const char *path = test_path(state, name);
    const struct timespec times[2] = {{1000000 - age_s, 0}, {1000000 - age_s, 0}};
    assert_ok(snug_file_write(path, bytes, sizeof bytes, &err));
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    return path;
}

static bool is_there(void **state, const char *name)
{
    return access(test_path(state, name), F_OK) == 0;
}

static void oldest_references_go_until_the_rest_fit(void **state)
{
    struct snug_error err;
    make(state, "new.snugref", 1);
    make(state, "old.snugref", 30);
    make(state, "older.snugref", 40);
    make(state, "notes.txt", 50);
    char keep[512];
    snprintf(keep, sizeof keep, "%s", make(state, "oldest.snugref", 60));
    /* At the limit nothing goes. */
    assert_ok(snug_engine_references_tidy(*state, keep, 400, &err));
    assert_true(is_there(state, "older.snugref"));
    assert_ok(snug_engine_references_tidy(*state, keep, 399, &err));
    assert_false(is_there(state, "older.snugref"));
    assert_true(is_there(state, "old.snugref") && is_there(state, "oldest.snugref"));
    /* Room for none: the one in use stays, and so does what is none of ours. */
    assert_ok(snug_engine_references_tidy(*state, keep, 1, &err));
    assert_false(is_there(state, "old.snugref") || is_there(state, "new.snugref"));
    assert_true(is_there(state, "oldest.snugref") && is_there(state, "notes.txt"));
    assert_ok(snug_engine_references_tidy(*state, NULL, 1, &err));
    assert_false(is_there(state, "oldest.snugref"));
    assert_ok(snug_engine_references_tidy("/nonexistent/folder", NULL, 1, &err));
}

static void parts_of_dead_processes_go(void **state)
{
    struct snug_error err;
    char dead[64], own[64];
    struct snug_process p = SNUG_PROCESS_INIT;
    struct snug_process_exit end;
    const char *const argv[] = {"true", NULL};
    assert_ok(snug_process_start(&p, argv, NULL, &err));
    snprintf(dead, sizeof dead, "a.snugref.part%ld", (long)p.pid);
    assert_int_equal(snug_process_wait(&p, 60.0, &end), SNUG_OK);
    snug_process_clear(&p); /* reaped: no process has that id */
    snprintf(own, sizeof own, "a.snugref.part%ld", (long)getpid());
    make(state, dead, 1);
    make(state, own, 1);
    make(state, "a.snugref.part", 1);
    make(state, "a.snugref.part0", 1);
    make(state, "a.snugref.part12x", 1);
    assert_ok(snug_engine_references_tidy(*state, NULL, 0, &err));
    assert_false(is_there(state, dead));
    assert_true(is_there(state, own) && is_there(state, "a.snugref.part"));
    assert_true(is_there(state, "a.snugref.part0") && is_there(state, "a.snugref.part12x"));
}

static void reference_larger_than_the_disk_is_refused_at_once(void **state)
{
    struct snug_error err;
    struct snug__reference reference = {.file = NULL};
    /* 2^51 bytes of rows; no token is looked at. */
    const struct snug__reference_head head = {
        .n_vocab = 1 << 20, .n_ctx = 2048, .n_chunks = 1 << 20, .n_scored = 1024};
    const int32_t none = 0;
    const char *path = test_path(state, "large.snugref");
    assert_fails(SNUG_IO, snug__reference_create(path, &head, &none, &reference, &err));
    assert_contains(err.text, "large.snugref: the reference needs");
    assert_contains(err.text, "--chunks");
    assert_null(reference.file);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(oldest_references_go_until_the_rest_fit),
        IN_FOLDER(parts_of_dead_processes_go),
        IN_FOLDER(reference_larger_than_the_disk_is_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
