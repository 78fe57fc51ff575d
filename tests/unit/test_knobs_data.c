/* From stored trials to what is ranked: rows, levels, medians, and tasks that differ in speed. */
#include "store.h"

#include <math.h>

#include "cli/knobs_rank.h"
#include "tune/ladder.h"

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
    int64_t id = 0; /* one that was only begun is none */
    assert_ok(snug_store_trial_add(h.store, h.task, 0, snug__ladder_role(1), "snug", &STORE_SPACE,
                                   &(struct snug_config){{16, 0, 0}}, &again[0], &id, &err));
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

static int64_t task_of_prompt(const struct history *h, int n_prompt)
{
    struct snug_error err = {0};
    struct snug_workload workload = STORE_WORKLOAD;
    int64_t task = 0;
    workload.n_prompt = n_prompt;
    assert_ok(snug_store_task(h->store, 1, 1, &workload, "libllama 0.7.0", "idle", &task, &err));
    return task;
}

/* The ranking is refused, with this in the text. */
static void refused(const struct history *h, const struct cli_args *args, const char *text)
{
    struct snug_error err = {0};
    struct knobs_data data;
    struct knobs_ranks ranks;
    assert_ok(read_history(h, args, &data, &err));
    assert_fails(SNUG_INFEASIBLE, knobs_ranks_make(args, &data, &ranks, &err));
    if (!strstr(err.text, text))
        fail_msg("%s: no \"%s\"", err.text, text);
    knobs_data_clear(&data);
}

/* Four configs with three lengths of prompt are four configs, however many rows. */
static void rank_counts_a_config_once(void **state)
{
    struct history h = open_history(state);
    struct snug_error err = {0};
    struct knobs_data data;
    struct cli_args args = {.operand = "m.gguf"};
    for (int task = 0; task < 3; task++)
        for (int i = 0; i < 4; i++) {
            const struct snug_measurement m = measured(10.0 + i);
            add(&h, task_of_prompt(&h, 64 << task), config_at(i), &m);
        }
    assert_ok(read_history(&h, &args, &data, &err));
    assert_int_equal(data.n_rows, 12);
    assert_int_equal(data.n_configs, 4);
    assert_true(data.has_disturbed);
    knobs_data_clear(&data);
    refused(&h, &args, "4 different configs of m.gguf ran (0 did not)");
    snug_store_close(h.store);
}

static void refusal_names_what_was_asked(void **state)
{
    struct history h = open_history(state);
    struct cli_args args = {.operand = "m.gguf",
                            .store = "other.db",
                            .n_prompt = 64,
                            .has_prompt = true,
                            .has_depth = true,
                            .n_ctx = 4096,
                            .n_parallel = 1};
    for (int i = 0; i < 2; i++) {
        const struct snug_measurement m = measured(10);
        add(&h, task_of_prompt(&h, 64), config_at(i), &m);
    }
    refused(&h, &args,
            "run snug tune m.gguf -p 64 -d 0 --parallel 1 -c 4096 --store other.db --trials 16");
    snug_store_close(h.store);
}

static void refusal_tells_when_no_knob_was_varied(void **state)
{
    struct history h = open_history(state);
    const struct cli_args args = {.operand = "m.gguf"};
    for (int i = 0; i < 9; i++) {
        const struct snug_measurement m = measured(10.0 + i);
        add(&h, h.task, config_at(0), &m);
    }
    refused(&h, &args, "no knob of m.gguf took two values in its trials (9)");
    snug_store_close(h.store);
}

/* Too few ran for any speed; which knob makes them fail is told all the same. */
static void rank_of_failures_needs_no_speeds(void **state)
{
    struct history h = open_history(state);
    struct snug_error err = {0};
    struct knobs_data data;
    struct knobs_ranks ranks;
    for (int i = 0; i < 32; i++) {
        struct snug_measurement m = measured(10);
        m.outcome = i % 8 >= 4 ? SNUG_TRIAL_OOM : SNUG_TRIAL_CRASH;
        if (i % 8 == 0)
            m.outcome = SNUG_TRIAL_OK;
        add(&h, h.task, (struct snug_config){{1 + i % 8, i / 8 % 2, i / 16}}, &m);
    }
    assert_ok(read_history(&h, &NO_ARGS, &data, &err));
    assert_ok(knobs_ranks_make(&NO_ARGS, &data, &ranks, &err));
    assert_false(ranks.views[KNOBS_DECODE].is_ranked);
    assert_true(ranks.views[KNOBS_FAILS].is_ranked);
    const ptrdiff_t threads = knob_of(&data, "n_threads") - data.knobs;
    assert_int_equal(ranks.best_metric[threads], KNOBS_FAILS);
    assert_int_equal(ranks.decision[threads], SNUG_KNOBS_KEEP);
    assert_int_equal(ranks.order[0], threads);
    knobs_ranks_clear(&ranks);
    knobs_data_clear(&data);
    snug_store_close(h.store);
}

/* Attention takes 0.5 % of the bytes for sure; the time to the first token is noise, in which it
 * has more by chance. Kept for its bytes, so they are shown. */
static void rank_shows_the_metric_that_decided(void **state)
{
    struct history h = open_history(state);
    struct snug_error err = {0};
    struct snug_rng rng;
    struct knobs_data data;
    struct knobs_ranks ranks;
    snug_rng_init(&rng, 1);
    for (int i = 0; i < 32; i++) {
        struct snug_measurement m = measured(10);
        m.ttft_s = exp(snug_rng_normal(&rng));
        m.bytes.weights = 1000000 + 5000 * (uint64_t)(i / 8 % 2);
        m.bytes.cache = m.bytes.compute = 0;
        add(&h, h.task, (struct snug_config){{1 + i % 8, i / 8 % 2, i / 16}}, &m);
    }
    assert_ok(read_history(&h, &NO_ARGS, &data, &err));
    assert_ok(knobs_ranks_make(&NO_ARGS, &data, &ranks, &err));
    const ptrdiff_t attention = knob_of(&data, "flash_attn") - data.knobs;
    const struct snug_knobs_rank *ttft = &ranks.views[KNOBS_TTFT].ranking.rank[attention],
                                 *memory = &ranks.views[KNOBS_MEMORY].ranking.rank[attention];
    assert_int_equal(memory->decision, SNUG_KNOBS_KEEP);
    assert_int_equal(ttft->decision, SNUG_KNOBS_OPEN);
    assert_true(ttft->effect.mid > memory->effect.mid);
    assert_int_equal(ranks.decision[attention], SNUG_KNOBS_KEEP);
    assert_int_equal(ranks.best_metric[attention], KNOBS_MEMORY);
    knobs_ranks_clear(&ranks);
    knobs_data_clear(&data);
    snug_store_close(h.store);
}

/* Tuning leaves the types of the cache alone unless it is allowed to. */
static void more_trials_vary_what_is_open(void **state)
{
    (void)state;
    const struct cli_args args = {.operand = "m.gguf"};
    struct knobs_data data = {.n_knobs = 2};
    struct knobs_ranks ranks = {.data = &data};
    data.knobs[0].name = "n_threads";
    data.knobs[1].name = "type_v";
    for (int is_open = 0; is_open <= 1; is_open++) {
        struct snug_buffer out = {0};
        ranks.decision[0] = SNUG_KNOBS_OPEN;
        ranks.decision[1] = is_open ? SNUG_KNOBS_OPEN : SNUG_KNOBS_KEEP;
        knobs_put_more(&args, &ranks, &out);
        assert_string_equal(snug_buffer_text(&out),
                            is_open ? "snug tune m.gguf --trials 16 --allow-cache-types"
                                    : "snug tune m.gguf --trials 16");
        snug_buffer_clear(&out);
    }
}

/* ---- files ---- */

/* Eight configs without a prefill speed, of which the last failed. */
static void read_eight(const struct history *h, struct knobs_data *out)
{
    struct snug_error err = {0};
    for (int i = 0; i < 8; i++) {
        struct snug_measurement m = measured(10.5 + i);
        m.prefill_tps = 0;
        m.bytes.weights = 1000 + (uint64_t)i;
        m.bytes.cache = m.bytes.compute = 0;
        m.outcome = i == 7 ? SNUG_TRIAL_OOM : SNUG_TRIAL_OK;
        add(h, h->task, config_at(i), &m);
    }
    assert_ok(read_history(h, &NO_ARGS, out, &err));
}

static void csv_has_a_row_per_config(void **state)
{
    struct history h = open_history(state);
    struct knobs_data data;
    struct snug_buffer csv = {0};
    read_eight(&h, &data);
    knobs_csv(&data, &csv);
    assert_string_equal(snug_buffer_text(&csv), "task,n_threads,flash_attn,decode_tps,prefill_tps,"
                                                "request_s,ttft_s,memory_bytes,failed_frac,trials\n"
                                                "1,1,off,10.500000,,,103.500000,1000,0.000,1\n"
                                                "1,2,off,11.500000,,,103.500000,1001,0.000,1\n"
                                                "1,4,off,12.500000,,,103.500000,1002,0.000,1\n"
                                                "1,8,off,13.500000,,,103.500000,1003,0.000,1\n"
                                                "1,1,on,14.500000,,,103.500000,1004,0.000,1\n"
                                                "1,2,on,15.500000,,,103.500000,1005,0.000,1\n"
                                                "1,4,on,16.500000,,,103.500000,1006,0.000,1\n"
                                                "1,8,on,,,,,,1.000,1\n");
    snug_buffer_clear(&csv);
    knobs_data_clear(&data);
    snug_store_close(h.store);
}

static void check_bounds(const struct snug_json_node *root, const char *metric, const char *unit,
                         double min, double max)
{
    const struct snug_json_node *of = snug_json_get(root, metric);
    assert_string_equal(snug_json_get_string(of, "unit", ""), unit);
    assert_float_equal(snug_json_number(snug_json_get(of, "min"), NAN), min, 1e-9);
    assert_float_equal(snug_json_number(snug_json_get(of, "max"), NAN), max, 1e-9);
}

static void bounds_are_of_what_was_measured(void **state)
{
    struct history h = open_history(state);
    struct snug_error err = {0};
    struct knobs_data data;
    struct knobs_ranks ranks;
    struct snug_json *doc = NULL;
    read_eight(&h, &data);
    assert_ok(knobs_ranks_make(&NO_ARGS, &data, &ranks, &err));
    char *bounds = knobs_bounds_json(&ranks);
    assert_non_null(bounds);
    assert_ok(snug_json_parse("bounds", bounds, strlen(bounds), &doc, &err));
    const struct snug_json_node *root = snug_json_root(doc);
    check_bounds(root, "decode", "t/s", 10.5, 16.5);
    check_bounds(root, "memory", "bytes", 1000, 1006);
    check_bounds(root, "fails", "share", 0, 1);
    assert_int_equal(snug_json_int(snug_json_get(snug_json_get(root, "decode"), "n_configs"), 0),
                     7);
    assert_int_equal(snug_json_int(snug_json_get(snug_json_get(root, "fails"), "n_configs"), 0), 8);
    assert_null(snug_json_get(root, "prefill"));
    snug_json_free(doc);
    free(bounds);
    knobs_ranks_clear(&ranks);
    knobs_data_clear(&data);
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
        IN_FOLDER(rank_counts_a_config_once),
        IN_FOLDER(refusal_names_what_was_asked),
        IN_FOLDER(refusal_tells_when_no_knob_was_varied),
        IN_FOLDER(rank_of_failures_needs_no_speeds),
        IN_FOLDER(rank_shows_the_metric_that_decided),
        cmocka_unit_test(more_trials_vary_what_is_open),
        IN_FOLDER(csv_has_a_row_per_config),
        IN_FOLDER(bounds_are_of_what_was_measured),
        IN_FOLDER(read_leaves_out_knobs_that_some_configs_lack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
