/* The history when memory runs out at any allocation: a clean failure, and a whole file. */
#include "fault.h"
#include "store.h"

static bool see(const struct snug_trial_view *view, void *data)
{
    *(int *)data += view->measurement->n_gaps == 4;
    return true;
}

/* All that a tuning run asks of a store. */
static snug_status use(const char *path, int *out_n, struct snug_error *err)
{
    struct snug_store *store = NULL;
    const struct snug_measurement m = store_measurement();
    struct snug_trial_filter filter = {.with_gaps = true};
    int64_t task = 0, session = 0, id = 0;
    char *text = NULL;
    snug_status status = snug_store_open(path, &store, err);
    if (status == SNUG_OK)
        status = store_task(store, &task, err);
    if (status == SNUG_OK)
        status = snug_store_session(store, task, "tune", "{}", &session, err);
    if (status == SNUG_OK)
        status = store_add(store, task, session, &m, &id, err);
    filter.session_id = session; /* its only trial: the work must not grow with each round */
    if (status == SNUG_OK)
        status = snug_store_trials(store, &filter, see, out_n, err);
    if (status == SNUG_OK)
        status = snug_store_session_unfinished(store, task, "tune", &id, &text, err);
    free(text);
    text = NULL;
    if (status == SNUG_OK)
        status = snug_store_session_finish(store, session, "{}", err);
    if (status == SNUG_OK)
        status = snug_store_result(store, task, "tune", &id, &text, err);
    free(text);
    snug_store_close(store);
    return status;
}

static void remove_store(const char *path)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < COUNT(ends); i++) {
        char name[512];
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
}

/* SQLite can do without some allocations, so a call may also succeed. */
static void run_loop(const char *path, bool is_fresh)
{
    long n_failed = 0;
    for (long n = 0;; n++) {
        struct snug_error err = {0};
        int n_seen = 0;
        if (is_fresh)
            remove_store(path);
        fault_begin(n);
        const snug_status status = use(path, &n_seen, &err);
        const bool is_hit = fault_end();
        if (status != SNUG_OK) {
            if (!is_hit || status != SNUG_NO_MEMORY || err.status != status || !err.text[0])
                fail_msg("allocation %ld: %s: '%s'", n, snug_status_name(status), err.text);
            n_failed++;
        } else {
            assert_true(n_seen > 0);
        }
        if (!is_hit)
            break;
    }
    assert_true(n_failed > 20);
    assert_store_whole(path);
}

static void out_of_memory_on_a_new_store_fails_cleanly(void **state)
{
    run_loop(test_path(state, "h.db"), true);
}

static void out_of_memory_on_a_used_store_keeps_it_whole(void **state)
{
    run_loop(test_path(state, "h.db"), false);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(out_of_memory_on_a_new_store_fails_cleanly),
        IN_FOLDER(out_of_memory_on_a_used_store_keeps_it_whole),
    };
    /* Thousands of small transactions: in memory they take a tenth of the time. */
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
