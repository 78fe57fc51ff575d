/* History files when memory runs out at any allocation: a clean failure, and a store unchanged. */
#include "fault.h"
#include "history.h"

/* Export from one store, import into another, take it back: all that a file is for. */
static snug_status use(const char *from, const char *to, struct snug_error *err)
{
    struct snug_store *a = NULL, *b = NULL;
    struct snug_history_exported exported;
    struct snug_history_imported imported = {.id = 0};
    struct snug_history_counts removed;
    void *data = NULL;
    size_t n = 0;
    snug_status status = snug_store_open(from, &a, err);
    if (status == SNUG_OK)
        status = snug_history_export(a, NULL, &data, &n, &exported, err);
    if (status == SNUG_OK)
        status = snug_store_open(to, &b, err);
    if (status == SNUG_OK)
        status = snug_history_import(b, "f.snug", data, n, NULL, &imported, err);
    if (status == SNUG_OK && imported.id != 0)
        status = snug_history_undo(b, imported.id, &removed, err);
    snug_store_close(a);
    snug_store_close(b);
    free(data);
    return status;
}

static void out_of_memory_leaves_all_or_nothing(void **state)
{
    const char *from = test_path(state, "a.db"), *to = test_path(state, "b.db");
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    long n_failed = 0;
    assert_ok(snug_store_open(from, &store, &err));
    const int64_t task = secret_task(store, "aa");
    secret_trial(store, task, 1767225600.125, true);
    assert_ok(snug_store_noise_set(store, "aa", "libllama 0.7.0", 0.015, 30, &err));
    snug_store_close(store);
    for (long n = 0;; n++) {
        memset(&err, 0, sizeof err);
        fault_begin(n);
        const snug_status status = use(from, to, &err);
        const bool is_hit = fault_end();
        if (status != SNUG_OK && (!is_hit || status != SNUG_NO_MEMORY || !err.text[0]))
            fail_msg("allocation %ld: %s: '%s'", n, snug_status_name(status), err.text);
        n_failed += status != SNUG_OK;
        if (!is_hit)
            break;
    }
    assert_true(n_failed > 100);
    assert_store_whole(from);
    assert_store_whole(to);
    const int64_t n_imports = store_ask(to, "SELECT count(*) FROM imports");
    assert_int_equal(store_ask(to, "SELECT count(*) FROM trials"), n_imports);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(out_of_memory_leaves_all_or_nothing),
    };
    /* Thousands of small transactions: in memory they take a tenth of the time. */
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
