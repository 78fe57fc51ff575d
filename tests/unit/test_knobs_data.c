/* From stored trials to what is ranked: rows, levels, medians, and tasks that differ in speed. */
#include "store.h"

#include <math.h>

#include "cli/knobs_rank.h"

static const struct cli_args NO_ARGS = {.operand = NULL};

struct history {
    struct snug_store *store;
    int64_t task;
};

static struct history open_history(void **state)
{
    struct history h = {.store = NULL};
    struct snug_error err = {0};
    assert_ok(snug_store_open(test_path(state, "h.db"), &h.store, &err));
    assert_ok(store_task(h.store, &h.task, &err));
    return h;
}

static struct snug_measurement measured(double decode_tps)
{
    struct snug_measurement m = store_measurement();
    m.warnings = 0;
    m.decode_tps = decode_tps;
    return m;
}

static void add(const struct history *h, int64_t task, struct snug_config config,
                const struct snug_measurement *m)
{
    struct snug_error err = {0};
    int64_t id = 0;
    assert_ok(snug_store_trial_add(h->store, task, 0, "search", "random", &STORE_SPACE, &config, m,
                                   &id, &err));
}

static snug_status read_history(const struct history *h, const struct cli_args *args,
                                struct knobs_data *out, struct snug_error *err)
{
    struct known *list = NULL;
    int n = 0;
    snug_status status = known_list(&NO_ARGS, h->store, "f1", &list, &n, err);
    if (status == SNUG_OK)
        status = knobs_data_read(args, h->store, list, n, out, err);
    known_list_free(list, n);
    return status;
}

static const struct knobs_knob *knob_of(const struct knobs_data *data, const char *name)
{
    for (int k = 0; k < data->n_knobs; k++)
        if (strcmp(data->knobs[k].name, name) == 0)
            return &data->knobs[k];
    return NULL;
}

/* Threads 1, 2, 4, 8 with fused attention on and off: eight configs. */
static struct snug_config config_at(int i)
{
    return (struct snug_config){{1 << (i % 4), i / 4, 0}};
}

static void read_gives_a_row_per_config(void **state)
{
    struct history h = open_history(state);
    struct snug_error err = {0};
    struct knobs_data data;
    for (int i = 0; i < 8; i++) {
        const struct snug_measurement m = measured(10.0 + i);
        add(&h, h.task, config_at(7 - i), &m); /* largest first: levels are in order all the same */
    }
    const struct snug_measurement again[] = {measured(100), measured(12)};
    add(&h, h.task, config_at(7), &again[0]); /* 10, 100, 12 */
    add(&h, h.task, config_at(7), &again[1]);
    assert_ok(read_history(&h, &NO_ARGS, &data, &err));
    assert_int_equal(data.n_rows, 8);
    assert_int_equal(data.n_trials, 10);
    assert_int_equal(data.n_knobs, 2);
    assert_string_equal(data.unvaried, "type_k");
    const struct knobs_knob *threads = knob_of(&data, "n_threads");
    assert_int_equal(threads->as.n_levels, 4);
    assert_false(threads->as.is_named);
    assert_string_equal(threads->values[0], "1");
    assert_string_equal(threads->values[3], "8");
    const struct knobs_knob *attention = knob_of(&data, "flash_attn");
    assert_true(attention->as.is_named);
    assert_string_equal(attention->values[0], "off");
    assert_int_equal(data.rows[0].level[threads - data.knobs], 3);
    assert_int_equal(data.rows[0].level[attention - data.knobs], 1);
    assert_float_equal(data.rows[0].metric[KNOBS_DECODE], 12, 1e-9);
    assert_int_equal(data.rows[0].n_trials, 3);
    knobs_data_clear(&data);
    snug_store_close(h.store);
}

static void read_leaves_failures_out_of_metrics(void **state)
{
    struct history h = open_history(state);
    struct snug_error err = {0};
    struct knobs_data data;
    for (int i = 0; i < 8; i++) {
        struct snug_measurement m = measured(10.0 + i);
        m.outcome = i % 4 == 3 ? SNUG_TRIAL_OOM : SNUG_TRIAL_OK;
        add(&h, h.task, config_at(i), &m);
    }
    const struct snug_measurement m = measured(20);
    add(&h, h.task, config_at(3), &m); /* failed once, ran once */
    assert_ok(read_history(&h, &NO_ARGS, &data, &err));
    assert_int_equal(data.n_rows, 8);
    assert_true(isnan(data.rows[7].metric[KNOBS_DECODE]));
    assert_true(isnan(data.rows[7].metric[KNOBS_MEMORY]));
    assert_float_equal(data.rows[7].metric[KNOBS_FAILS], 1, 0);
    assert_float_equal(data.rows[3].metric[KNOBS_FAILS], 0.5, 0);
    assert_float_equal(data.rows[3].metric[KNOBS_DECODE], 20, 1e-9);
    assert_float_equal(data.rows[0].metric[KNOBS_FAILS], 0, 0);
    knobs_data_clear(&data);
    snug_store_close(h.store);
}

/* Disturbed trials count only when too few others are there. */
static void read_takes_disturbed_trials_for_want_of_others(void **state)
{
    struct history h = open_history(state);
    struct snug_error err = {0};
    struct knobs_data data;
    for (int i = 0; i < 7; i++) {
        const struct snug_measurement m = measured(10);
        add(&h, h.task, config_at(i), &m);
    }
    struct snug_measurement bad = measured(99);
    bad.warnings = SNUG_WARN(OTHER_LOAD);
    add(&h, h.task, config_at(0), &bad);
    assert_ok(read_history(&h, &NO_ARGS, &data, &err));
    assert_true(data.has_disturbed);
    assert_int_equal(data.n_disturbed, 1);
    assert_float_equal(data.rows[0].metric[KNOBS_DECODE], (10 + 99) / 2.0, 1e-9);
    knobs_data_clear(&data);
    const struct snug_measurement eighth = measured(10);
    add(&h, h.task, config_at(7), &eighth);
    assert_ok(read_history(&h, &NO_ARGS, &data, &err));
    assert_false(data.has_disturbed);
    assert_float_equal(data.rows[0].metric[KNOBS_DECODE], 10, 1e-9);
    knobs_data_clear(&data);
    snug_store_close(h.store);
}

/* A second workload, ten times as fast, where only slow configs were tried: as if it were a knob.
 */
static void rank_takes_the_task_off_first(void **state)
{
    struct history h = open_history(state);
    struct snug_error err = {0};
    struct snug_workload other = STORE_WORKLOAD;
    struct knobs_data data;
    struct knobs_ranks ranks;
    int64_t task = 0;
    other.n_prompt = 64;
    assert_ok(snug_store_task(h.store, 1, 1, &other, "libllama 0.7.0", "idle", &task, &err));
    for (int i = 0; i < 8; i++) {
        const struct snug_measurement m = measured(10 * (1 << (i % 4)));
        add(&h, h.task, config_at(i), &m);
    }
    for (int i = 0; i < 8; i += 4) {
        const struct snug_measurement m = measured(1000);
        add(&h, task, config_at(i), &m);
    }
    assert_ok(read_history(&h, &NO_ARGS, &data, &err));
    assert_int_equal(data.n_tasks, 2);
    assert_int_equal(data.n_rows, 10);
    assert_ok(knobs_ranks_make(&NO_ARGS, &data, &ranks, &err));
    const struct knobs_view *view = &ranks.views[KNOBS_DECODE];
    assert_int_equal(view->n_rows, 10);
    assert_float_equal(view->hi, 1000, 1e-9);
    const ptrdiff_t threads = knob_of(&data, "n_threads") - data.knobs;
    assert_int_equal(view->ranking.rank[threads].decision, SNUG_KNOBS_KEEP);
    /* Speed doubles with each level; a task of log(1000 / 28) more would show in the effect. */
    assert_true(knobs_effect_frac(KNOBS_DECODE, view->ranking.rank[threads].effect.hi) < 1.7);
    assert_string_equal(ranks.views[KNOBS_PREFILL].why_not, "never differs");
    assert_string_equal(ranks.views[KNOBS_FAILS].why_not, "none");
    knobs_ranks_clear(&ranks);
    knobs_data_clear(&data);
    struct cli_args args = {.n_prompt = 64, .has_prompt = true};
    assert_ok(read_history(&h, &args, &data, &err));
    assert_int_equal(data.n_rows, 2);
    args.operand = "m.gguf"; /* named in the error */
    assert_fails(SNUG_INFEASIBLE, knobs_ranks_make(&args, &data, &ranks, &err));
    assert_non_null(strstr(err.text, "at least 8"));
    knobs_data_clear(&data);
    args.n_prompt = 65;
    assert_fails(SNUG_INFEASIBLE, read_history(&h, &args, &data, &err));
    snug_store_close(h.store);
}

/* Configs of a space that had fewer rows: what not all of them say cannot be ranked. */
static void read_leaves_out_knobs_that_some_configs_lack(void **state)
{
    struct history h = open_history(state);
    struct snug_error err = {0};
    struct snug_space old = STORE_SPACE;
    struct knobs_data data;
    const struct snug_measurement m = measured(10);
    const struct snug_config config = {{1, 1, 0}};
    int64_t id = 0;
    old.n = 1;
    assert_ok(
        snug_store_trial_add(h.store, h.task, 0, "search", "random", &old, &config, &m, &id, &err));
    for (int i = 0; i < 8; i++)
        add(&h, h.task, config_at(i), &m);
    assert_ok(read_history(&h, &NO_ARGS, &data, &err));
    assert_int_equal(data.n_rows, 9);
    assert_int_equal(data.n_knobs, 1);
    assert_string_equal(data.knobs[0].name, "n_threads");
    assert_string_equal(data.unvaried, "flash_attn, type_k");
    knobs_data_clear(&data);
    snug_store_close(h.store);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(read_gives_a_row_per_config),
        IN_FOLDER(read_leaves_failures_out_of_metrics),
        IN_FOLDER(read_takes_disturbed_trials_for_want_of_others),
        IN_FOLDER(rank_takes_the_task_off_first),
        IN_FOLDER(read_leaves_out_knobs_that_some_configs_lack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
