/* The file of the history: made, refused, left alone. Every refusal is one line with a way out. */
#include "store.h"

#include <sys/stat.h>

#include "base/file.h"

static char *letters(size_t n)
{
    char *text = malloc(n + 1);
    assert_non_null(text);
    memset(text, 'x', n);
    text[n] = '\0';
    return text;
}

static void assert_left_alone(const char *path, snug_status want, const char *part)
{
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    char *before = NULL, *after = NULL;
    size_t n_before = 0, n_after = 0;
    assert_ok(snug_file_read(path, 1 << 22, &before, &n_before, &err));
    assert_fails(want, snug_store_open(path, &store, &err));
    assert_null(store);
    assert_contains(err.text, path);
    assert_contains(err.text, part);
    assert_contains(err.text, "--store");
    assert_null(strchr(err.text, '\n'));
    assert_ok(snug_file_read(path, 1 << 22, &after, &n_after, &err));
    assert_int_equal(n_before, n_after);
    assert_memory_equal(before, after, n_before);
    free(before);
    free(after);
}

static void open_newer_store_is_refused_untouched(void **state)
{
    const char *path = test_path(state, "h.db");
    snug_store_close(store_open(state, "h.db"));
    store_exec(path, "PRAGMA user_version = 5");
    assert_left_alone(path, SNUG_NEWER, "version 5, this snug knows up to 4");
    store_exec(path, "PRAGMA user_version = 4");
    snug_store_close(store_open(state, "h.db"));
}

/* The file as version 3 left it, which knew no imports. */
static const char WITHOUT_IMPORTS[] =
    "PRAGMA foreign_keys = OFF; DROP INDEX trials_of_import; DROP INDEX trials_by_start;"
    "ALTER TABLE machines DROP COLUMN import_id; ALTER TABLE models DROP COLUMN import_id;"
    "ALTER TABLE tasks DROP COLUMN import_id; ALTER TABLE trials DROP COLUMN import_id;"
    "ALTER TABLE noise DROP COLUMN import_id; ALTER TABLE qualities DROP COLUMN import_id;"
    "ALTER TABLE sensitivity DROP COLUMN import_id;"
    "DROP TABLE import_also; DROP TABLE imports; PRAGMA user_version = 3;";
/* The file as the first version left it: tasks without workloads, none of the later tables. */
static const char FIRST_VERSION[] =
    "PRAGMA foreign_keys = OFF;"
    "CREATE TABLE tasks_1(id INTEGER PRIMARY KEY,"
    "  machine_id INTEGER NOT NULL REFERENCES machines(id),"
    "  model_id INTEGER NOT NULL REFERENCES models(id), build TEXT NOT NULL,"
    "  load_level TEXT NOT NULL, n_prompt INTEGER NOT NULL, n_gen INTEGER NOT NULL,"
    "  n_depth INTEGER NOT NULL, n_parallel INTEGER NOT NULL, n_ctx INTEGER NOT NULL,"
    "  seen_unix_s REAL NOT NULL, UNIQUE(machine_id, model_id, build, load_level, n_prompt, n_gen,"
    "  n_depth, n_parallel, n_ctx)) STRICT;"
    "INSERT INTO tasks_1 SELECT id, machine_id, model_id, build, load_level, n_prompt, n_gen,"
    "  n_depth, n_parallel, n_ctx, seen_unix_s FROM tasks;"
    "DROP TABLE tasks; ALTER TABLE tasks_1 RENAME TO tasks;"
    "CREATE INDEX tasks_of_model ON tasks(model_id);"
    "DROP TABLE details; DROP TABLE noise; DROP TABLE qualities; DROP TABLE lab_rows;"
    "DROP TABLE labs; DROP TABLE sensitivity; PRAGMA user_version = 1;";

static bool count_trial(const struct snug_trial_view *view, void *data)
{
    assert_true(view->measurement->decode_tps == 102.5 && view->measurement->n_output == -1);
    assert_int_equal(view->measurement->warnings, SNUG_WARN(NOISY) | SNUG_WARN(OTHER_LOAD));
    ++*(int *)data;
    return true;
}

static void open_older_store_keeps_what_it_holds(void **state)
{
    const char *path = test_path(state, "h.db");
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    struct snug_measurement m = store_measurement();
    struct snug_workload named = STORE_WORKLOAD;
    int64_t task = 0, again = 0, other = 0, id = 0;
    int n = 0;
    assert_ok(store_task(store, &task, &err));
    assert_ok(store_add(store, task, 0, &m, &id, &err));
    snug_store_close(store);
    store_exec(path, WITHOUT_IMPORTS);
    store_exec(path, FIRST_VERSION);
    store = store_open(state, "h.db");
    assert_ok(snug_store_trials(store, NULL, count_trial, &n, &err));
    assert_int_equal(n, 1);
    /* The same task is found again, and one with a workload file is another. */
    assert_ok(store_task(store, &again, &err));
    assert_int_equal(again, task);
    snprintf(named.hash, sizeof named.hash, "aa");
    assert_ok(snug_store_task(store, 1, 1, &named, "libllama 0.7.0", "idle", &other, &err));
    assert_int_not_equal(other, task);
    assert_ok(store_add(store, other, 0, &m, &id, &err));
    snug_store_close(store);
    assert_int_equal(store_ask(path, "PRAGMA user_version"), STORE_VERSION);
    assert_store_whole(path);
}

static bool count_any(const struct snug_trial_view *view, void *data)
{
    assert_true(view->measurement->decode_tps == 102.5);
    ++*(int *)data;
    return true;
}

/* Version 2 had everything but what was measured of tensors. */
static void open_store_of_version_2_gains_sensitivities(void **state)
{
    const char *path = test_path(state, "h.db");
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    struct snug_measurement m = store_measurement();
    const struct snug_store_sensitivity_place place = {.model_hash = "m",
                                                       .text_hash = "t",
                                                       .imatrix_hash = "",
                                                       .build = "b",
                                                       .n_ctx = 64,
                                                       .n_chunks = 1,
                                                       .tensors = "output",
                                                       .type = "q8_0"};
    int64_t task = 0, id = 0;
    int n = 0;
    assert_ok(store_task(store, &task, &err));
    assert_ok(store_add(store, task, 0, &m, &id, &err));
    snug_store_close(store);
    store_exec(path, WITHOUT_IMPORTS);
    store_exec(path, "DROP TABLE sensitivity; PRAGMA user_version = 2");
    store = store_open(state, "h.db");
    assert_ok(snug_store_trials(store, NULL, count_any, &n, &err));
    assert_int_equal(n, 1);
    assert_ok(snug_store_sensitivity_add(store, &place, (struct snug_estimate){0.5, 0.1}, &err));
    snug_store_close(store);
    assert_int_equal(store_ask(path, "PRAGMA user_version"), STORE_VERSION);
    assert_store_whole(path);
}

/* What was there is one's own, and stays when an import is taken back. */
static void open_store_of_version_3_gains_imports(void **state)
{
    const char *path = test_path(state, "h.db");
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    struct snug_measurement m = store_measurement();
    int64_t task = 0, id = 0;
    assert_ok(store_task(store, &task, &err));
    assert_ok(store_add(store, task, 0, &m, &id, &err));
    snug_store_close(store);
    store_exec(path, WITHOUT_IMPORTS);
    snug_store_close(store_open(state, "h.db"));
    assert_int_equal(store_ask(path, "PRAGMA user_version"), STORE_VERSION);
    assert_int_equal(store_ask(path, "SELECT count(*) FROM trials WHERE import_id IS NULL"), 1);
    assert_int_equal(store_ask(path, "SELECT count(*) FROM imports"), 0);
    assert_store_whole(path);
}

/* A newer snug that was killed leaves its version in the log; the log must survive the refusal. */
static void open_newer_store_with_a_log_keeps_the_log(void **state)
{
    const char *path = test_path(state, "h.db"), *log = test_path(state, "h.db-wal");
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    sqlite3 *db = NULL;
    struct stat info;
    snug_store_close(store_open(state, "h.db"));
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 5", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(stat(log, &info), 0);
    const off_t size = info.st_size;
    assert_true(size > 0);
    assert_fails(SNUG_NEWER, snug_store_open(path, &store, &err));
    assert_int_equal(stat(log, &info), 0);
    assert_int_equal(info.st_size, size);
}

static void open_file_of_others_is_refused_untouched(void **state)
{
    struct snug_error err = {0};
    const char *path = test_path(state, "other.db");
    store_exec(path, "CREATE TABLE t(x)");
    assert_left_alone(path, SNUG_IO, "another program");
    path = test_path(state, "note.txt");
    char *text = letters(5000);
    assert_ok(snug_file_write(path, text, 5000, &err));
    assert_left_alone(path, SNUG_IO, "not a snug store");
    assert_ok(snug_file_write(path, text, 10, &err));
    assert_left_alone(path, SNUG_IO, "not a snug store");
    free(text);
}

static void open_damaged_store_is_one_clear_line(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    const struct snug_measurement m = store_measurement();
    const char *path = test_path(state, "h.db");
    int64_t task = 0, id = 0;
    size_t n = 0;
    char *data = NULL;
    assert_ok(store_task(store, &task, &err));
    assert_ok(store_add(store, task, 0, &m, &id, &err));
    snug_store_close(store);
    assert_ok(snug_file_read(path, 1 << 22, &data, &n, &err));
    assert_true(n > 8192);
    memset(data + 100, 0xff, n - 100);
    assert_ok(snug_file_write(path, data, n, &err));
    free(data);
    assert_left_alone(path, SNUG_IO, "damaged");
}

static void open_unwritable_places_name_path_and_remedy(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    const char *folder = *state;
    assert_fails(SNUG_IO, snug_store_open(folder, &store, &err));
    assert_contains(err.text, folder);
    assert_contains(err.text, "--store");
    assert_fails(SNUG_IO, snug_store_open("/proc/snug/h.db", &store, &err));
    assert_contains(err.text, "/proc/snug");
    assert_contains(err.text, "--store");
    assert_fails(SNUG_BAD_INPUT, snug_store_open("", &store, &err));
    assert_null(store);
}

/* Root may write anywhere: be nobody meanwhile. */
static void open_read_only_folder_or_file_is_refused(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    const char *path = test_path(state, "h.db"), *fresh = test_path(state, "new.db");
    snug_store_close(store_open(state, "h.db"));
    assert_int_equal(chmod(path, 0444), 0);
    assert_int_equal(chmod(*state, 0555), 0);
    if (geteuid() == 0)
        assert_int_equal(seteuid(65534), 0);
    snug_status of_file = snug_store_open(path, &store, &err);
    const struct snug_error file_err = err;
    snug_status of_folder = snug_store_open(fresh, &store, &err);
    if (getuid() == 0)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(*state, 0755), 0);
    assert_int_equal(of_file, SNUG_IO);
    assert_contains(file_err.text, path);
    assert_contains(file_err.text, "make the file and its folder writable");
    assert_int_equal(of_folder, SNUG_IO);
    assert_contains(err.text, fresh);
    assert_contains(err.text, "writable");
}

static void open_makes_folders_and_odd_names_are_files(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    struct stat info;
    const char *deep = test_path(state, "a/b/h.db");
    assert_ok(snug_store_open(deep, &store, &err));
    assert_string_equal(snug_store_path(store), deep);
    snug_store_close(store);
    assert_int_equal(stat(deep, &info), 0);
    char *back = getcwd(NULL, 0);
    assert_non_null(back);
    assert_int_equal(chdir(*state), 0);
    static const char *const names[] = {":memory:", "file:x?mode=memory"};
    for (size_t i = 0; i < COUNT(names); i++) {
        assert_ok(snug_store_open(names[i], &store, &err));
        snug_store_close(store);
        assert_int_equal(stat(names[i], &info), 0);
    }
    assert_int_equal(chdir(back), 0);
    free(back);
}

static void open_default_path_is_below_data_home(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    assert_int_equal(setenv("XDG_DATA_HOME", *state, 1), 0);
    assert_ok(snug_store_open(NULL, &store, &err));
    assert_string_equal(snug_store_path(store), test_path(state, "snug/history.db"));
    snug_store_close(store);
    assert_int_equal(unsetenv("XDG_DATA_HOME"), 0);
}

static void open_again_writes_nothing(void **state)
{
    const char *path = test_path(state, "h.db");
    struct snug_error err = {0};
    snug_store_close(store_open(state, "h.db"));
    char *before = NULL, *after = NULL;
    size_t n_before = 0, n_after = 0;
    assert_ok(snug_file_read(path, 1 << 22, &before, &n_before, &err));
    snug_store_close(store_open(state, "h.db"));
    assert_ok(snug_file_read(path, 1 << 22, &after, &n_after, &err));
    assert_int_equal(n_before, n_after);
    assert_memory_equal(before, after, n_before);
    free(before);
    free(after);
    assert_int_equal(store_ask(path, "PRAGMA user_version"), STORE_VERSION);
    assert_int_equal(store_ask(path, "SELECT count(*) FROM pragma_table_list "
                                     "WHERE schema = 'main' AND name NOT LIKE 'sqlite%' "
                                     "AND NOT strict"),
                     0);
    snug_store_close(NULL);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(open_newer_store_is_refused_untouched),
        IN_FOLDER(open_older_store_keeps_what_it_holds),
        IN_FOLDER(open_store_of_version_2_gains_sensitivities),
        IN_FOLDER(open_store_of_version_3_gains_imports),
        IN_FOLDER(open_newer_store_with_a_log_keeps_the_log),
        IN_FOLDER(open_file_of_others_is_refused_untouched),
        IN_FOLDER(open_damaged_store_is_one_clear_line),
        IN_FOLDER(open_unwritable_places_name_path_and_remedy),
        IN_FOLDER(open_read_only_folder_or_file_is_refused),
        IN_FOLDER(open_makes_folders_and_odd_names_are_files),
        IN_FOLDER(open_default_path_is_below_data_home),
        IN_FOLDER(open_again_writes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
