/* Past tasks of the store: those alike come first, with their own defaults; what cannot be read, or
 * is of another kind, teaches nothing; a record finds them again, or says what is not as it was. */
#include "store.h"

#include <math.h>

#include "base/json.h"
#include "machine/machine_json.h"
#include "model/model_json.h"
#include "tune/past_tasks.h"
#include "tune/transfer.h"

struct history {
    struct snug_store *store;
    struct snug__descriptor here;
    struct snug__past_query query;
};

static char *model_json_of(double n_params)
{
    const struct snug_model model = {.n_layer = 24,
                                     .n_embd = 1024,
                                     .n_ff = 4096,
                                     .n_head = 16,
                                     .n_params = (uint64_t)n_params,
                                     .bytes_tensors = (uint64_t)(n_params * 0.56)};
    struct snug_json_writer w = {0};
    snug_model_to_json(&w, NULL, &model, false);
    return snug_json_finish(&w, false);
}

static char *machine_json_of(int n_threads)
{
    const struct snug_machine machine = {
        .n_cores_usable = n_threads, .n_threads_usable = n_threads, .ram_bytes = UINT64_C(1) << 34};
    struct snug_json_writer w = {0};
    snug_machine_to_json(&w, NULL, &machine);
    return snug_json_finish(&w, false);
}

/* A task of a model of so many parameters; json NULL: of the model as it is. */
static int64_t add_task(struct history *h, const char *name, double n_params, int n_threads,
                        const char *json)
{
    struct snug_error err;
    int64_t machine = 0, model = 0, task = 0;
    char *machine_text = machine_json_of(n_threads), *model_text = model_json_of(n_params);
    char fingerprint[32];
    snprintf(fingerprint, sizeof fingerprint, "f%d", n_threads);
    assert_true(machine_text && model_text);
    assert_ok(snug_store_machine(h->store, fingerprint, "a machine", json ? json : machine_text,
                                 &machine, &err));
    assert_ok(
        snug_store_model(h->store, name, name, "/m.gguf", json ? json : model_text, &model, &err));
    assert_ok(snug_store_task(h->store, machine, model, &STORE_WORKLOAD, "libllama 0.7.0", "idle",
                              &task, &err));
    free(machine_text);
    free(model_text);
    return task;
}

static void add_trial(struct history *h, int64_t task, const char *role, struct snug_config config,
                      double speed, enum snug_outcome outcome)
{
    struct snug_error err;
    int64_t id = 0;
    struct snug_measurement m = store_measurement();
    m.outcome = outcome;
    m.decode_tps = speed;
    m.warnings = 0;
    assert_ok(snug_store_trial_add(h->store, task, 0, role, "snug", &STORE_SPACE, &config, &m, &id,
                                   &err));
}

static void add_trials(struct history *h, int64_t task, int n)
{
    for (int i = 0; i < n; i++)
        add_trial(h, task, i ? "search" : "default",
                  (struct snug_config){{i ? 1 + i % 8 : 4, i % 2, i % 2}}, 10.0 + i, SNUG_TRIAL_OK);
}

static struct history open_history(void **state)
{
    struct history h = {.store = NULL};
    struct snug_error err;
    assert_ok(snug_store_open(test_path(state, "h.db"), &h.store, &err));
    return h;
}

/* The query of a task of 500 M parameters on 8 threads. */
static void ask(struct history *h)
{
    static char *machine_text, *model_text;
    free(machine_text);
    free(model_text);
    machine_text = machine_json_of(8);
    model_text = model_json_of(5e8);
    const struct snug_task_view view = {.machine_json = machine_text,
                                        .model_json = model_text,
                                        .load_level = "idle",
                                        .workload = STORE_WORKLOAD};
    snug__descriptor_of_task(&h->here, &view, NULL, NULL);
    h->query = (struct snug__past_query){.store = h->store,
                                         .space = &STORE_SPACE,
                                         .here = &h->here,
                                         .machine_fingerprint = "f8",
                                         .objective = SNUG_OBJECTIVE_DECODE};
}

static void past_tasks_come_by_likeness_up_to_their_cap(void **state)
{
    struct history h = open_history(state);
    struct snug_error err;
    struct snug__past_tasks found;
    static const double sizes[] = {7e9, 5e8, 1e12, 6e8, 2e9, 4e8};
    int64_t ids[COUNT(sizes)];
    char name[16];
    ask(&h);
    assert_ok(snug__past_tasks_find(&h.query, &found, &err));
    assert_int_equal(found.n, 0);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        snprintf(name, sizeof name, "m%zu", i);
        ids[i] = add_task(&h, name, sizes[i], 8, NULL);
        add_trials(&h, ids[i], 6);
    }
    assert_ok(snug__past_tasks_find(&h.query, &found, &err));
    assert_int_equal(found.n, SNUG_PASTS_MAX);
    assert_int_equal(found.tasks[0].id, ids[1]);
    assert_true(fabs(found.tasks[0].similarity - 1) < 1e-9);
    for (int i = 1; i < found.n; i++) {
        assert_true(found.tasks[i].similarity <= found.tasks[i - 1].similarity);
        assert_int_not_equal(found.tasks[i].id, ids[2]); /* 1 T is the least alike */
    }
    struct snug_past pasts[SNUG_PASTS_MAX];
    assert_int_equal(snug__past_tasks_give(&found, pasts), found.n);
    assert_int_equal(pasts[0].n_trials, 6);
    assert_true(fabs(pasts[0].trials[5].speed - 15) < 1e-9);
    assert_true(isnan(pasts[0].expected[0]));
    /* its own default and all that was tried */
    assert_int_equal(pasts[0].space->knobs[0].def, 4);
    assert_int_equal(pasts[0].space->knobs[0].max, 8);
    snug__past_tasks_clear(&found);
    snug_store_close(h.store);
}

/* Failed, one good trial, half-written, of another space: none of it teaches, none of it stops. */
static void past_tasks_that_cannot_teach_are_left_out(void **state)
{
    struct history h = open_history(state);
    struct snug_error err;
    struct snug__past_tasks found;
    ask(&h);
    const int64_t one = add_task(&h, "one", 5e8, 8, NULL);
    add_trials(&h, one, 1);
    const int64_t failed = add_task(&h, "failed", 5e8, 8, NULL);
    for (int i = 0; i < 8; i++)
        add_trial(&h, failed, "search", (struct snug_config){{1 + i, 1, 0}}, 0, SNUG_TRIAL_OOM);
    const int64_t other = add_task(&h, "other", 5e8, 8, NULL);
    add_trials(&h, other, 5);
    const int64_t broken = add_task(&h, "broken", 5e8, 8, NULL);
    add_trials(&h, broken, 5);
    const int64_t far = add_task(&h, "far", 5e8, 16, "{\"n_layer\": ");
    add_trials(&h, far, 5);
    char sql[256];
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(test_path(state, "h.db"), &db), SQLITE_OK);
    snprintf(sql, sizeof sql, "UPDATE trials SET config_json='{\"ctx\":7}' WHERE task_id=%lld",
             (long long)other);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    snprintf(sql, sizeof sql, "UPDATE trials SET config_json='{\"n_thre' WHERE task_id=%lld",
             (long long)broken);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_ok(snug__past_tasks_find(&h.query, &found, &err));
    for (int i = 0; i < found.n; i++)
        assert_int_equal(found.tasks[i].id, far); /* far, but its trials can be read */
    snug__past_tasks_clear(&found);
    snug_store_close(h.store);
}

/* Disturbed speeds count where there is nothing else. */
static void past_tasks_of_disturbed_trials_alone_still_teach(void **state)
{
    struct history h = open_history(state);
    struct snug_error err;
    struct snug__past_tasks found;
    struct snug_measurement m = store_measurement(); /* other_load: INVALID */
    int64_t id = 0;
    ask(&h);
    const int64_t task = add_task(&h, "busy", 5e8, 8, NULL);
    for (int i = 0; i < 4; i++)
        assert_ok(store_add(h.store, task, 0, &m, &id, &err));
    assert_ok(snug__past_tasks_find(&h.query, &found, &err));
    assert_int_equal(found.n, 1);
    assert_int_equal(found.tasks[0].n, 4);
    snug__past_tasks_clear(&found);
    add_trials(&h, task, 3);
    assert_ok(snug__past_tasks_find(&h.query, &found, &err));
    assert_int_equal(found.tasks[0].n, 3);
    snug__past_tasks_clear(&found);
    snug_store_close(h.store);
}

static void past_tasks_keep_the_newest_trials_up_to_their_cap(void **state)
{
    struct history h = open_history(state);
    struct snug_error err;
    struct snug__past_tasks found;
    ask(&h);
    const int64_t task = add_task(&h, "long", 5e8, 8, NULL);
    add_trials(&h, task, SNUG__PAST_TRIALS_MAX);
    assert_ok(snug__past_tasks_find(&h.query, &found, &err));
    assert_int_equal(found.tasks[0].n, SNUG__PAST_TRIALS_MAX);
    assert_true(fabs(found.tasks[0].trials[0].speed - 10) < 1e-9);
    snug__past_tasks_clear(&found);
    add_trial(&h, task, "search", (struct snug_config){{1, 1, 0}}, 9999, SNUG_TRIAL_OK);
    assert_ok(snug__past_tasks_find(&h.query, &found, &err));
    const struct snug__past_task *t = &found.tasks[0];
    assert_int_equal(t->n, SNUG__PAST_TRIALS_MAX);
    assert_true(fabs(t->trials[0].speed - 11) < 1e-9);
    assert_true(fabs(t->trials[t->n - 1].speed - 9999) < 1e-9);
    snug__past_tasks_clear(&found);
    snug_store_close(h.store);
}

static void past_tasks_are_found_again_by_their_record(void **state)
{
    struct history h = open_history(state);
    struct snug_error err;
    struct snug__past_tasks found, again;
    char record[SNUG__PAST_RECORD_MAX], same[SNUG__PAST_RECORD_MAX];
    ask(&h);
    const int64_t a = add_task(&h, "a", 5e8, 8, NULL), b = add_task(&h, "b", 3e9, 8, NULL);
    add_trials(&h, a, 5);
    add_trials(&h, b, 7);
    assert_ok(snug__past_tasks_find(&h.query, &found, &err));
    assert_int_equal(found.n, 2);
    snug__past_tasks_record(&found, record);
    add_trials(&h, a, 4); /* what came later does not count */
    assert_ok(snug__past_tasks_find_again(&h.query, record, &again, &err));
    assert_string_equal(snug__past_tasks_record(&again, same), record);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(again.tasks[i].id, found.tasks[i].id);
        assert_int_equal(again.tasks[i].n, found.tasks[i].n);
        assert_true(fabs(again.tasks[i].similarity - found.tasks[i].similarity) < 1e-12);
        assert_memory_equal(again.tasks[i].trials, found.tasks[i].trials,
                            (size_t)found.tasks[i].n * sizeof *found.tasks[i].trials);
    }
    snug__past_tasks_clear(&again);
    snug__past_tasks_clear(&found);
    static const char *const odd[] = {
        "x",         "1",           "1/2/3",      "1/2/3/4/5",
        "1/2/3/4,",  ",1/2/3/4",    "-1/2/3/4",   "99999999999999999999/1/3/4",
        "1/0/3/4",   "1/2/513/500", "1/2/3/1001", "77/9/5/500",
        "77/9/0/500"};
    for (size_t i = 0; i < COUNT(odd); i++)
        assert_fails(SNUG_NOT_FOUND, snug__past_tasks_find_again(&h.query, odd[i], &again, &err));
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(test_path(state, "h.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "DELETE FROM trials WHERE id=2", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_fails(SNUG_NOT_FOUND, snug__past_tasks_find_again(&h.query, record, &again, &err));
    assert_contains(err.text, "had 5 trials");
    snug_store_close(h.store);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, test_folder_open, test_folder_close)
    const struct CMUnitTest tests[] = {
        TEST(past_tasks_come_by_likeness_up_to_their_cap),
        TEST(past_tasks_that_cannot_teach_are_left_out),
        TEST(past_tasks_of_disturbed_trials_alone_still_teach),
        TEST(past_tasks_keep_the_newest_trials_up_to_their_cap),
        TEST(past_tasks_are_found_again_by_their_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
