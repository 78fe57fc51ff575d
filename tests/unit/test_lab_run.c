/* Runs of rounds: every row once, whatever happens in between; what is made is removed again; the
 * results say what the store holds. */
#include "engine.h"
#include "store.h"

#include <math.h>

#include "base/file.h"
#include "base/json.h"
#include "child.h"
#include "lab/results.h"

static const char HEAD[] =
    "title: t\nrepetitions: 2\nmodels: [{name: m, synth: smollm2-135m, type: f16, layers: 1}]\n"
    "workloads: [{name: w, prompt: 16, gen: 4}]\n";
static const char ROUNDS[] = "rounds: [{name: kv, knobs: {type_k: q8_0}}, {name: many, knobs: "
                             "{n_threads: 512}}]\n";

struct lab {
    struct snug_lab_plan plan;
    struct snug_machine machine;
    struct snug_store *store;
    struct snug_lab_run_options options;
    struct snug_lab_run_result result;
    char path[512], output[512];
    volatile int stop;
    int n_rows_to_stop; /* 0: never */
    int n_rows_seen;
    bool is_stopped_in_quality;
};

static void on_event(const struct snug_lab_event *event, void *data)
{
    struct lab *lab = data;
    if (event->kind == SNUG_LAB_MAKE && lab->is_stopped_in_quality &&
        strstr(event->what, "quality of "))
        lab->stop = 1;
    if (event->kind != SNUG_LAB_END)
        return;
    lab->n_rows_seen++;
    if (lab->n_rows_seen == lab->n_rows_to_stop)
        lab->stop = 1;
}

/* A plan, a machine of one CPU and a store below the folder. */
static void open_lab(struct lab *lab, const char *folder, const char *text)
{
    struct snug_error err = {0};
    *lab = (struct lab){.n_rows_seen = 0};
    snprintf(lab->path, sizeof lab->path, "%s/h.db", folder);
    snprintf(lab->output, sizeof lab->output, "%s/out", folder);
    assert_ok(snug_lab_plan_parse("r.yaml", text, strlen(text), &lab->plan, &err));
    assert_ok(snug_store_open(lab->path, &lab->store, &err));
    lab->machine.n_cores = lab->machine.n_threads = lab->machine.n_numa = 1;
    lab->machine.n_cores_usable = lab->machine.n_threads_usable = 1;
    snprintf(lab->machine.fingerprint, sizeof lab->machine.fingerprint, "f1");
    lab->options = (struct snug_lab_run_options){
        .plan = &lab->plan,
        .file_path = "r.yaml",
        .output = lab->output,
        .store = lab->store,
        .machine = &lab->machine,
        .machine_json = "{}",
        .stop = &lab->stop,
        .on_event = on_event,
        .event_data = lab,
    };
}

static void close_lab(struct lab *lab)
{
    snug_lab_run_result_clear(&lab->result);
    snug_store_close(lab->store);
    snug_lab_plan_clear(&lab->plan);
}

static void run_lab(struct lab *lab)
{
    struct snug_error err = {0};
    assert_ok(snug_lab_run(&lab->options, &lab->result, &err));
}

static int count_models(const char *folder)
{
    int n = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        n += strstr(entry->d_name, ".gguf") != NULL;
    closedir(dir);
    return n;
}

static char *text_of(const char *head, const char *rounds)
{
    char *text = NULL;
    assert_true(asprintf(&text, "%s%s", head, rounds) > 0);
    return text;
}

static void every_row_is_measured_and_refused_ones_say_why(void **state)
{
    struct snug_error err = {0};
    struct lab lab;
    char *text = text_of(HEAD, ROUNDS);
    open_lab(&lab, *state, text);
    run_lab(&lab);
    assert_int_equal(lab.result.n_done, 6);
    assert_int_equal(lab.result.n_failed, 2);
    assert_false(lab.result.is_stopped);
    assert_int_equal(store_ask(lab.path, "SELECT count(*) FROM lab_rows"), 6);
    assert_int_equal(store_ask(lab.path, "SELECT count(*) FROM trials"), 6);
    assert_int_equal(store_ask(lab.path, "SELECT count(*) FROM labs WHERE finished_unix_s > 0"), 1);
    assert_int_equal(count_models(lab.output), 0);
    engine_test_no_children();

    struct snug_lab_results results = {.plan = &lab.plan,
                                       .file_path = "r.yaml",
                                       .machine = &lab.machine,
                                       .run = &lab.result,
                                       .store = lab.store};
    char *json = NULL;
    struct snug_json *doc = NULL;
    assert_ok(snug_lab_results_read(&results, &err));
    assert_ok(snug_lab_results_json(&results, &json, &err));
    assert_ok(snug_lab_results_write(&results, lab.output, &err));
    assert_ok(snug_json_parse("results", json, strlen(json), &doc, &err));
    const struct snug_json_node *root = snug_json_root(doc);
    const struct snug_json_node *rows = snug_json_get(root, "rows");
    assert_int_equal(snug_json_count(rows), 6);
    for (size_t i = 0; i < 6; i++) {
        const struct snug_json_node *row = snug_json_at(rows, i);
        assert_string_equal(snug_json_get_string(row, "key", ""), lab.plan.rows[i].key);
        assert_string_equal(snug_json_get_string(row, "machine_fingerprint", ""), "f1");
    }
    const struct snug_json_node *many = snug_json_at(snug_json_get(root, "summary"), 2);
    assert_string_equal(snug_json_get_string(many, "round", ""), "many");
    assert_int_equal(snug_json_get_int(many, "n_ok", -1), 0);
    assert_int_equal(snug_json_get_int(many, "n_failed", -1), 2);
    assert_string_equal(snug_json_get_string(many, "outcome", ""), "refused");
    assert_contains(snug_json_get_string(many, "reason", ""), "n_threads");
    snug_json_free(doc);
    free(json);
    snug_lab_results_clear(&results);
    close_lab(&lab);
    free(text);
}

static void weights_are_quantised_on_the_way_and_removed(void **state)
{
    struct lab lab;
    char *text = text_of(HEAD, "rounds: [{name: q, weights: [q8_0, q4_0]}]\n");
    open_lab(&lab, *state, text);
    run_lab(&lab);
    assert_int_equal(lab.result.n_done, 6);
    assert_int_equal(lab.result.n_failed, 0);
    assert_int_equal(count_models(lab.output), 0);
    /* Three models: as it is, and twice less. */
    assert_int_equal(store_ask(lab.path, "SELECT count(*) FROM models"), 3);
    assert_int_equal(store_ask(lab.path, "SELECT count(DISTINCT weights_bytes) FROM trials"), 3);
    close_lab(&lab);
    free(text);
}

/* Quantised weights are not quantised again: a refused round, and the others run. */
static void model_that_cannot_be_quantised_is_a_failed_round(void **state)
{
    struct lab lab;
    static const char head[] =
        "title: t\nrepetitions: 1\nmodels: [{name: m, synth: smollm2-135m, type: q4_0, layers: "
        "1}]\nworkloads: [{name: w, prompt: 16, gen: 4}]\n";
    char *text = text_of(head, "rounds: [{name: q, weights: q8_0}]\n");
    open_lab(&lab, *state, text);
    run_lab(&lab);
    assert_int_equal(lab.result.n_done, 2);
    assert_int_equal(lab.result.n_failed, 1);
    assert_int_equal(
        store_ask(lab.path,
                  "SELECT count(*) FROM trials WHERE outcome = 'refused' AND reason != ''"),
        1);
    assert_int_equal(count_models(lab.output), 0);
    close_lab(&lab);
    free(text);
}

static void stopped_run_goes_on_where_it_stopped(void **state)
{
    struct snug_error err = {0};
    struct lab lab, again, third;
    char *text = text_of(HEAD, ROUNDS);
    open_lab(&lab, *state, text);
    lab.n_rows_to_stop = 2;
    run_lab(&lab);
    assert_true(lab.result.is_stopped);
    assert_int_equal(lab.result.n_done, 2);
    assert_int_equal(count_models(lab.output), 0);
    const int64_t id = lab.result.lab_id;
    close_lab(&lab);
    open_lab(&again, *state, text);
    again.options.is_resumed = true;
    run_lab(&again);
    assert_int_equal(again.result.lab_id, id);
    assert_int_equal(again.result.n_kept, 2);
    assert_int_equal(again.result.n_done, 6);
    assert_int_equal(again.n_rows_seen, 4);
    assert_int_equal(store_ask(again.path, "SELECT count(DISTINCT key) FROM lab_rows"), 6);
    assert_int_equal(store_ask(again.path, "SELECT count(*) FROM trials"), 6);
    close_lab(&again);
    /* What is finished is not resumed. */
    open_lab(&third, *state, text);
    third.options.is_resumed = true;
    assert_fails(SNUG_NOT_FOUND, snug_lab_run(&third.options, &third.result, &err));
    close_lab(&third);
    free(text);
}

/* All rows are there, but not what they cost: not finished, and another process goes on. */
static void run_stopped_in_its_quality_is_not_finished(void **state)
{
    struct lab lab, again;
    const char *folder = *state;
    char path[512], head[1024], words[2048] = "";
    struct snug_error err;
    snprintf(path, sizeof path, "%s/t.txt", folder);
    for (int i = 0; i < 120; i++)
        snprintf(words + strlen(words), sizeof words - strlen(words), "the cat sat ");
    assert_ok(snug_file_write(path, words, strlen(words), &err));
    snprintf(head, sizeof head,
             "title: t\nrepetitions: 1\nmodels: [{name: m, synth: smollm2-135m, type: q4_0, "
             "layers: 1}]\nworkloads: [{name: w, prompt: 16, gen: 4}]\nquality: {texts: [%s]}\n",
             path);
    char *text = text_of(head, "rounds: [{name: kv, knobs: {type_k: q8_0}}]\n");
    for (int stop_first = 0; stop_first < 2; stop_first++) {
        open_lab(&lab, folder, text);
        lab.is_stopped_in_quality = !stop_first;
        lab.n_rows_to_stop = stop_first ? 2 : 0; /* behind the last row, before any quality */
        run_lab(&lab);
        assert_int_equal(lab.result.n_done, 2);
        assert_true(lab.result.is_stopped);
        assert_int_equal(store_ask(lab.path, "SELECT count(*) FROM labs WHERE finished_unix_s > 0"),
                         stop_first);
        close_lab(&lab);
        open_lab(&again, folder, text);
        again.options.is_resumed = true;
        run_lab(&again);
        assert_false(again.result.is_stopped);
        assert_int_equal(again.n_rows_seen, 0);
        assert_true(isfinite(again.result.qualities[1].kld_mean.value));
        close_lab(&again);
    }
    free(text);
}

static void run_of_another_machine_is_not_gone_on_with(void **state)
{
    struct snug_error err = {0};
    struct lab lab, other;
    char *text = text_of(HEAD, ROUNDS);
    open_lab(&lab, *state, text);
    lab.n_rows_to_stop = 1;
    run_lab(&lab);
    close_lab(&lab);
    open_lab(&other, *state, text);
    other.options.is_resumed = true;
    snprintf(other.machine.fingerprint, sizeof other.machine.fingerprint, "f2");
    assert_fails(SNUG_BAD_INPUT, snug_lab_run(&other.options, &other.result, &err));
    assert_contains(err.text, "another machine");
    close_lab(&other);
    free(text);
}

static void missing_model_is_named_before_anything_runs(void **state)
{
    struct snug_error err = {0};
    struct lab lab;
    open_lab(&lab, *state,
             "title: t\nmodels: [{name: gone, path: nosuch.gguf}]\nworkloads: [{name: w}]\n"
             "rounds: [{name: r, knobs: {n_ubatch: 64}}]\n");
    assert_fails(SNUG_NOT_FOUND, snug_lab_run(&lab.options, &lab.result, &err));
    assert_contains(err.text, "model gone: nosuch.gguf");
    assert_int_equal(store_ask(lab.path, "SELECT count(*) FROM labs"), 0);
    close_lab(&lab);
}

/* ---- kill -9 ---- */

/* In the child: run, and a line per row that is stored. */
static void tell_row(const struct snug_lab_event *event, void *data)
{
    (void)data;
    if (event->kind == SNUG_LAB_END) {
        printf("%s\n", event->row->key);
        fflush(stdout);
    }
}

static int child_main(const char *folder, bool is_resumed)
{
    struct snug_error err = {0};
    struct lab lab;
    char *text = text_of(HEAD, ROUNDS);
    snug_process_die_with_parent(SIGKILL);
    open_lab(&lab, folder, text);
    lab.options.is_resumed = is_resumed;
    lab.options.on_event = tell_row;
    const snug_status status = snug_lab_run(&lab.options, &lab.result, &err);
    if (status != SNUG_OK)
        fprintf(stderr, "%s\n", err.text);
    close_lab(&lab);
    free(text);
    return status == SNUG_OK ? 0 : 1;
}

/* A run that is killed after so many rows. Returns whether it ended by itself. */
static bool run_and_kill(const char *folder, bool is_resumed, int n_rows)
{
    struct snug_error err = {0};
    struct snug_process p = SNUG_PROCESS_INIT;
    char self[4096];
    const char *line = NULL;
    int n = 0;
    assert_ok(snug_process_self(self, sizeof self, &err));
    const char *const argv[] = {self, "__lab", folder, is_resumed ? "resume" : "new", NULL};
    assert_ok(snug_process_start(&p, argv, NULL, &err));
    while (n < n_rows && snug_process_read_line(&p, PATIENCE_S, NULL, &line, &err) == SNUG_OK)
        n++;
    const bool is_ended = n < n_rows;
    if (is_ended)
        assert_int_equal(wait_end(&p).code, 0);
    snug_process_clear(&p); /* SIGKILL to what lives of the group */
    return is_ended;
}

static void run_killed_after_any_row_ends_with_each_row_once(void **state)
{
    bool is_ended = false;
    int n_runs = 0;
    char path[512];
    snprintf(path, sizeof path, "%s/h.db", (const char *)*state);
    for (; !is_ended && n_runs < 8; n_runs++) {
        is_ended = run_and_kill(*state, n_runs > 0, 1 + n_runs % 2);
        if (n_runs == 0)
            assert_true(store_ask(path, "SELECT count(*) FROM lab_rows") >= 1);
    }
    assert_true(is_ended);
    assert_int_equal(store_ask(path, "SELECT count(*) FROM labs"), 1);
    assert_int_equal(store_ask(path, "SELECT count(DISTINCT key) FROM lab_rows"), 6);
    assert_int_equal(store_ask(path, "SELECT count(*) FROM trials"), 6);
    assert_store_whole(path);
}

#define LAB_TEST(f) cmocka_unit_test_setup_teardown(f, test_folder_open, test_folder_close)

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
    if (argc == 4 && strcmp(argv[1], "__lab") == 0)
        return child_main(argv[2], strcmp(argv[3], "resume") == 0);
    const struct CMUnitTest tests[] = {
        LAB_TEST(every_row_is_measured_and_refused_ones_say_why),
        LAB_TEST(weights_are_quantised_on_the_way_and_removed),
        LAB_TEST(model_that_cannot_be_quantised_is_a_failed_round),
        LAB_TEST(stopped_run_goes_on_where_it_stopped),
        LAB_TEST(run_stopped_in_its_quality_is_not_finished),
        LAB_TEST(run_of_another_machine_is_not_gone_on_with),
        LAB_TEST(missing_model_is_named_before_anything_runs),
        LAB_TEST(run_killed_after_any_row_ends_with_each_row_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
