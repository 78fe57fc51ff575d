/* Rounds in the store: a row is answered once, with its trial or not at all. */
#include "store.h"

static snug_status add_row(struct snug_store *store, int64_t lab, const char *key, int64_t task,
                           int64_t *out_id, struct snug_error *err)
{
    const struct snug_config config = {{3, 1, 0}};
    const struct snug_measurement m = store_measurement();
    const struct snug_store_lab_trial trial = {.lab_id = lab,
                                               .key = key,
                                               .task_id = task,
                                               .role = "round",
                                               .space = &STORE_SPACE,
                                               .config = &config,
                                               .measurement = &m};
    return snug_store_lab_trial_add(store, &trial, out_id, err);
}

struct seen {
    int n;
    char keys[4][16];
    double decode_tps;
};

static bool see(const struct snug_trial_view *view, void *data)
{
    struct seen *seen = data;
    snprintf(seen->keys[seen->n++ % 4], sizeof seen->keys[0], "%s", view->lab_key);
    seen->decode_tps = view->measurement->decode_tps;
    return true;
}

static void row_comes_back_with_its_key(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    struct seen seen = {0};
    int64_t lab = 0, other = 0, task = 0, id = 0;
    assert_ok(store_task(store, &task, &err));
    assert_ok(snug_store_lab_begin(store, "hash", "name", "{}", &lab, &err));
    assert_ok(snug_store_lab_begin(store, "hash2", "name", "{}", &other, &err));
    assert_ok(add_row(store, lab, "a", task, &id, &err));
    assert_ok(add_row(store, other, "a", task, &id, &err));
    assert_ok(add_row(store, lab, "b", task, &id, &err));
    const struct snug_trial_filter filter = {.lab_id = lab};
    assert_ok(snug_store_trials(store, &filter, see, &seen, &err));
    assert_int_equal(seen.n, 2);
    assert_string_equal(seen.keys[0], "a");
    assert_string_equal(seen.keys[1], "b");
    assert_true(seen.decode_tps == store_measurement().decode_tps);
    snug_store_close(store);
}

static void second_answer_to_a_row_leaves_nothing(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    int64_t lab = 0, task = 0, id = 0;
    assert_ok(store_task(store, &task, &err));
    assert_ok(snug_store_lab_begin(store, "hash", "name", "{}", &lab, &err));
    assert_ok(add_row(store, lab, "a", task, &id, &err));
    assert_fails(SNUG_BAD_INPUT, add_row(store, lab, "a", task, &id, &err));
    assert_contains(err.text, "answered already");
    assert_int_equal(store_ask(test_path(state, "h.db"), "SELECT count(*) FROM trials"), 1);
    snug_store_close(store);
}

static void unknown_run_takes_no_row(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    int64_t task = 0, id = 0;
    assert_ok(store_task(store, &task, &err));
    assert_fails(SNUG_BAD_INPUT, add_row(store, 77, "a", task, &id, &err));
    assert_int_equal(store_ask(test_path(state, "h.db"), "SELECT count(*) FROM trials"), 0);
    snug_store_close(store);
}

static void unfinished_run_is_found_until_it_is_finished(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    int64_t lab = 0, found = 0;
    char *plan = NULL;
    assert_fails(SNUG_NOT_FOUND, snug_store_lab_unfinished(store, "hash", &found, &plan, &err));
    assert_ok(snug_store_lab_begin(store, "hash", "name", "{\"a\":1}", &lab, &err));
    assert_fails(SNUG_NOT_FOUND, snug_store_lab_unfinished(store, "other", &found, &plan, &err));
    assert_ok(snug_store_lab_unfinished(store, "hash", &found, &plan, &err));
    assert_int_equal(found, lab);
    assert_string_equal(plan, "{\"a\":1}");
    free(plan);
    assert_ok(snug_store_lab_finish(store, lab, "{}", &err));
    assert_fails(SNUG_NOT_FOUND, snug_store_lab_unfinished(store, "hash", &found, &plan, &err));
    assert_fails(SNUG_NOT_FOUND, snug_store_lab_finish(store, lab + 1, "{}", &err));
    snug_store_close(store);
}

/* Process 1 lives, and is not this one. */
static void run_of_a_living_process_is_left_alone(void **state)
{
    struct snug_error err = {0};
    struct snug_store *store = store_open(state, "h.db");
    int64_t lab = 0, found = 0;
    char *plan = NULL, sql[400];
    char stat[1024] = "", boot[64] = "";
    FILE *f = fopen("/proc/1/stat", "r");
    if (f) {
        (void)!fread(stat, 1, sizeof stat - 1, f);
        fclose(f);
    }
    f = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (f) {
        (void)!fread(boot, 1, sizeof boot - 1, f);
        fclose(f);
    }
    const char *at = strrchr(stat, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (!at || !boot[0]) {
        print_message("process 1 cannot be looked at here\n");
        snug_store_close(store);
        skip();
    }
    boot[strcspn(boot, "\n")] = '\0';
    assert_ok(snug_store_lab_begin(store, "hash", "name", "{}", &lab, &err));
    snprintf(sql, sizeof sql, "UPDATE labs SET owner = '1 %llu %.40s' RETURNING 1",
             strtoull(at, NULL, 10), boot);
    assert_int_equal(store_ask(test_path(state, "h.db"), sql), 1);
    assert_fails(SNUG_NOT_FOUND, snug_store_lab_unfinished(store, "hash", &found, &plan, &err));
    assert_contains(err.text, "process 1");
    snug_store_close(store);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(row_comes_back_with_its_key),
        STORE_TEST(second_answer_to_a_row_leaves_nothing),
        STORE_TEST(unknown_run_takes_no_row),
        STORE_TEST(unfinished_run_is_found_until_it_is_finished),
        STORE_TEST(run_of_a_living_process_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
