/* Imports that are killed: all of it is there afterwards, or nothing. This program starts itself as
 * the one that imports. */
#include "history.h"

#include <signal.h>

#include "base/file.h"
#include "base/process.h"
#include "snug/stats.h"

#define N_KILLS 16
#define N_TRIALS 400

static char self[4096];

/* ---- the child: open, say so, import when told to ---- */

static int child_import(const char *store_path, const char *file_path)
{
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    struct snug_history_imported done;
    char *data = NULL, line[16];
    size_t n = 0;
    snug_status status = snug_file_read(file_path, SNUG_HISTORY_PACKED_MAX, &data, &n, &err);
    if (status == SNUG_OK)
        status = snug_store_open(store_path, &store, &err);
    printf("ready\n");
    fflush(stdout);
    if (status == SNUG_OK && fgets(line, sizeof line, stdin))
        status = snug_history_import(store, file_path, data, n, NULL, &done, &err);
    snug_store_close(store);
    free(data);
    printf("%s\n", status == SNUG_OK ? "done" : err.text);
    return status != SNUG_OK;
}

/* ---- the parent ---- */

static void start(struct snug_process *p, const char *store, const char *file)
{
    struct snug_error err = {0};
    const char *line = NULL, *const argv[] = {self, "import", store, file, NULL};
    assert_ok(snug_process_start(p, argv, NULL, &err));
    assert_ok(snug_process_read_line(p, PATIENCE_S, NULL, &line, &err));
    assert_string_equal(line, "ready");
    assert_ok(snug_process_write(p, "go\n", 3, PATIENCE_S, &err));
}

static void write_large_file(const char *path)
{
    struct snug_error err = {0};
    struct snug_buffer body = {0};
    const char *trial = strstr(GOOD_BODY, "{\"kind\":\"trial\"");
    const char *start_at = strstr(trial, "1767225600.25");
    const struct history_counts counts = {{1, 1, 1, N_TRIALS, 0, 0, 0}};
    size_t n = 0;
    snug_buffer_append(&body, GOOD_BODY, (size_t)(trial - GOOD_BODY));
    for (int i = 0; i < N_TRIALS; i++)
        snug_buffer_printf(&body, "%.*s%d%s", (int)(start_at - trial), trial, 1767225600 + i,
                           start_at + strlen("1767225600.25"));
    assert_false(body.is_failed);
    void *data = history_pack(body.data, body.len, "snug-history", 1, &counts, &n);
    assert_ok(snug_file_write(path, data, n, &err));
    snug_buffer_clear(&body);
    free(data);
}

/* Seconds that a whole import takes here. */
static double import_whole(const char *store, const char *file)
{
    struct snug_error err = {0};
    struct snug_process p = SNUG_PROCESS_INIT;
    const char *line = NULL;
    start(&p, store, file);
    const double since_s = snug_clock_s();
    assert_ok(snug_process_read_line(&p, PATIENCE_S, NULL, &line, &err));
    assert_string_equal(line, "done");
    snug_process_clear(&p);
    assert_int_equal(store_ask(store, "SELECT count(*) FROM trials"), N_TRIALS);
    return snug_clock_s() - since_s;
}

static void kill_at_any_moment_leaves_all_or_nothing(void **state)
{
    const char *file = test_path(state, "f.snug"), *path = test_path(state, "h.db");
    const uint64_t seed = 20260101;
    struct snug_rng rng;
    int n_all = 0;
    snug_rng_init(&rng, seed);
    print_message("seed %llu\n", (unsigned long long)seed);
    write_large_file(file);
    const double whole_s = import_whole(test_path(state, "first.db"), file);
    for (int round = 0; round < N_KILLS; round++) {
        struct snug_error err = {0};
        struct snug_store *store = NULL;
        struct snug_history_counts removed;
        struct snug_process p = SNUG_PROCESS_INIT;
        start(&p, path, file);
        snug_sleep_s(whole_s * snug_rng_double(&rng));
        snug_process_signal(&p, SIGKILL);
        snug_process_clear(&p);
        const int64_t n = store_ask(path, "SELECT count(*) FROM trials");
        const int64_t n_imports = store_ask(path, "SELECT count(*) FROM imports");
        if (n != (n_imports ? N_TRIALS : 0))
            fail_msg("%lld of %d trials are there", (long long)n, N_TRIALS);
        assert_store_whole(path);
        n_all += n > 0;
        assert_ok(snug_store_open(path, &store, &err));
        if (n > 0)
            assert_ok(snug_history_undo(store, 1, &removed, &err));
        snug_store_close(store);
        assert_int_equal(store_ask(path, "SELECT count(*) FROM samples"), 0);
    }
    print_message("%d of %d imports had ended before the kill\n", n_all, N_KILLS);
    import_whole(path, file);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(kill_at_any_moment_leaves_all_or_nothing),
    };
    struct snug_error err = {0};
    if (argc == 4 && strcmp(argv[1], "import") == 0)
        return child_import(argv[2], argv[3]);
    if (snug_process_self(self, sizeof self, &err) != SNUG_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
