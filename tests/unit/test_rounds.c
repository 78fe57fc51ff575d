/* Rounds files: what they become, that they become it everywhere, and what is refused. */
#include "test.h"

#include "lab/rounds.h"

#define GOLDEN_HASH "247bc85d03fb8bca2a8b861442afc0671d0769dfc63c2be1d6c580a40e7b09c8"
#define GOLDEN_FIRST "faea5027dd561205dfdf51ac8f1d5e50d19ad98e3ee5eb99e8ad5a26b50e345b"
#define GOLDEN_LAST "45d468f72d9958c4f17ffe2e4084611fd69edcd91134326a4ee6c2c6a15c6947"
#define GOLDEN_ORDER                                                                               \
    0, 5, 4, 1, 3, 2, 6, 5, 0, 4, 6, 2, 3, 1, 1, 0, 3, 2, 4, 5, 6, 0, 6, 3, 2, 5, 1, 4

#define HEAD                                                                                       \
    "title: t\nmodels: [{name: m, path: m.gguf}]\nworkloads: [{name: w, prompt: 64, gen: 16}]\n"

static struct snug_lab_plan plan_of(const char *text)
{
    struct snug_error err = {0};
    struct snug_lab_plan plan = {0};
    assert_ok(snug_lab_plan_parse("r.yaml", text, strlen(text), &plan, &err));
    return plan;
}

static void refuse(const char *text, const char *want)
{
    struct snug_error err = {0};
    struct snug_lab_plan plan = {0};
    assert_fails(SNUG_BAD_INPUT, snug_lab_plan_parse("r.yaml", text, strlen(text), &plan, &err));
    assert_null(plan.rows);
    assert_contains(err.text, "r.yaml:");
    assert_contains(err.text, want);
}

static const char FILE_TEXT[] =
    "title: golden\nseed: 7\nrepetitions: 2\ndeadline: 2m\n"
    "models:\n  - {name: a, path: a.gguf}\n"
    "  - {name: s, synth: smollm2-135m, type: q8_0, layers: 4}\n"
    "workloads:\n  - {name: w, prompt: 64, gen: 16, depth: 8, parallel: 2, context: 256}\n"
    "baseline: {n_batch: 512}\n"
    "rounds:\n"
    "  - {name: kv, group: caching, knobs: {type_k: [f16, q8_0]}}\n"
    "  - {name: both, grid: true, weights: [q4_0, Q8_0], knobs: {type_v: [q8_0, q4_0], threads: "
    "2}}\n"
    "quality: {texts: [t.txt], tasks: [a.jsonl, b.jsonl], reference: a}\n"
    "require: ['tg>=20']\n"
    "improved: {metrics: [decode_tps, bytes], tolerance: 3 %}\n";

static void file_becomes_the_plan_it_says(void **state)
{
    (void)state;
    struct snug_lab_plan plan = plan_of(FILE_TEXT);
    static const char *const names[] = {"baseline",
                                        "kv type_k=f16",
                                        "kv type_k=q8_0",
                                        "both weights=q4_0 type_v=q8_0",
                                        "both weights=q4_0 type_v=q4_0",
                                        "both weights=q8_0 type_v=q8_0",
                                        "both weights=q8_0 type_v=q4_0"};
    assert_int_equal(plan.n_rounds, COUNT(names));
    for (size_t i = 0; i < COUNT(names); i++)
        assert_string_equal(plan.rounds[i].name, names[i]);
    assert_string_equal(plan.title, "golden");
    assert_int_equal(plan.seed, 7);
    assert_int_equal(plan.n_repetitions, 2);
    assert_true(plan.deadline_s == 120.0);
    assert_string_equal(plan.models[1].synth, "smollm2-135m");
    assert_int_equal(plan.models[1].synth_layers, 4);
    assert_int_equal(plan.workloads[0].n_parallel, 2);
    assert_int_equal(plan.workloads[0].n_ctx, 256);
    assert_string_equal(plan.rounds[0].knobs[0].name, "n_batch");
    assert_string_equal(plan.rounds[1].group, "caching");
    assert_null(plan.rounds[1].weights);
    assert_string_equal(plan.rounds[3].weights, "q4_0");
    /* llama.cpp's name of a flag is taken, the table's own is kept, in the table's order, and the
     * baseline's knobs hold in every round. */
    assert_int_equal(plan.rounds[3].n_knobs, 3);
    assert_string_equal(plan.rounds[3].knobs[0].name, "n_threads");
    assert_string_equal(plan.rounds[3].knobs[1].name, "n_batch");
    assert_string_equal(plan.rounds[3].knobs[2].name, "type_v");
    assert_string_equal(plan.texts[0], "t.txt");
    assert_int_equal(plan.n_tasks, 2);
    assert_string_equal(plan.reference, "a");
    assert_string_equal(plan.require[0], "tg>=20");
    assert_int_equal(plan.improved.n_metrics, 2);
    assert_true(plan.improved.tolerance_frac > 0.0299 && plan.improved.tolerance_frac < 0.0301);
    assert_int_equal(plan.n_rows, 2 * 2 * 1 * 7);
    snug_lab_plan_clear(&plan);
}

/* Keys computed by Python's hashlib from the text that rounds_expand.c describes; hash and order
 * recorded from the first run. Another machine, compiler or release must give the same, or --resume
 * and every stored row would be lost. */
static void plan_and_rows_are_the_recorded_ones(void **state)
{
    (void)state;
    struct snug_lab_plan plan = plan_of(FILE_TEXT);
    assert_string_equal(plan.hash, GOLDEN_HASH);
    assert_string_equal(plan.rows[0].key, GOLDEN_FIRST);
    assert_string_equal(plan.rows[27].key, GOLDEN_LAST);
    static const int order[] = {GOLDEN_ORDER};
    for (size_t i = 0; i < COUNT(order); i++)
        assert_int_equal(plan.rows[i].i_round, order[i]);
    snug_lab_plan_clear(&plan);
}

static void comments_and_order_of_keys_change_nothing(void **state)
{
    (void)state;
    static const char other[] =
        "# said differently\nrequire: [\"tg>=20\"]\nimproved: {tolerance: 0.03, metrics: "
        "[decode_tps, bytes]}\nbaseline:\n  n_batch: 512 # tokens\nrounds:\n"
        "  - knobs:\n      type_k:\n        - f16\n        - q8_0\n    group: caching\n    name: "
        "kv\n"
        "  - {grid: on, name: both, knobs: {n-threads: 2, --cache-type-v: [q8_0, q4_0]}, weights: "
        "[q4_0, q8_0]}\n"
        "workloads:\n- {gen: 16, prompt: 64, context: 256, name: w, parallel: 2, depth: 8}\n"
        "models:\n- {path: a.gguf, name: a}\n- {name: s, layers: 4, synth: smollm2-135m, type: "
        "q8_0}\n"
        "quality: {reference: a, tasks: [a.jsonl, b.jsonl], texts: [t.txt]}\n"
        "deadline: 120\nrepetitions: 2\nseed: 7\ntitle: golden\n";
    struct snug_lab_plan a = plan_of(FILE_TEXT), b = plan_of(other);
    assert_string_equal(a.hash, b.hash);
    assert_int_equal(a.n_rows, b.n_rows);
    for (int i = 0; i < a.n_rows; i++)
        assert_string_equal(a.rows[i].key, b.rows[i].key);
    snug_lab_plan_clear(&a);
    snug_lab_plan_clear(&b);
}

static void seed_changes_the_order_and_no_key(void **state)
{
    (void)state;
    static const char head[] =
        HEAD "rounds: [{name: r, knobs: {n_ubatch: [32, 64, 128, 256, 512]}}]\n";
    char other[512];
    snprintf(other, sizeof other, "%sseed: 2\n", head);
    struct snug_lab_plan a = plan_of(head), b = plan_of(other);
    int n_found = 0, n_moved = 0;
    assert_int_equal(a.n_rows, b.n_rows);
    assert_string_not_equal(a.hash, b.hash);
    for (int i = 0; i < a.n_rows; i++) {
        n_moved += strcmp(a.rows[i].key, b.rows[i].key) != 0;
        for (int k = 0; k < b.n_rows; k++)
            n_found += strcmp(a.rows[i].key, b.rows[k].key) == 0;
    }
    assert_int_equal(n_found, a.n_rows);
    assert_true(n_moved > 0);
    snug_lab_plan_clear(&a);
    snug_lab_plan_clear(&b);
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(((const struct snug_lab_row *)a)->key, ((const struct snug_lab_row *)b)->key);
}

/* Every block has every round once and enough baselines, none far from any round. */
static void blocks_hold_every_round_and_recurring_baselines(void **state)
{
    (void)state;
    struct snug_lab_plan plan = plan_of(
        "title: t\nrepetitions: 3\nmodels: [{name: m, path: m}, {name: n, path: n}]\n"
        "workloads: [{name: w}, {name: v, prompt: 1}]\n"
        "rounds: [{name: r, grid: true, knobs: {n_ubatch: [32, 64, 128, 256, 512], n_batch: [32, "
        "64, 128, 256]}}]\n");
    const int n_block = 20 + 1 + 20 / 8;
    assert_int_equal(plan.n_rows, 3 * 4 * n_block);
    for (int from = 0; from < plan.n_rows; from += n_block) {
        int seen[21] = {0}, since = 0;
        for (int i = from; i < from + n_block; i++) {
            const struct snug_lab_row *row = &plan.rows[i];
            seen[row->i_round]++;
            since = row->i_round == 0 ? 0 : since + 1;
            assert_true(since <= 2 * 8);
            assert_int_equal(row->block, from / n_block);
            assert_int_equal(row->i_model, plan.rows[from].i_model);
            assert_int_equal(row->i_workload, plan.rows[from].i_workload);
            assert_int_equal(row->repetition, plan.rows[from].repetition);
        }
        assert_int_equal(seen[0], 3);
        for (int round = 1; round < 21; round++)
            assert_int_equal(seen[round], 1);
    }
    qsort(plan.rows, (size_t)plan.n_rows, sizeof *plan.rows, compare_keys);
    for (int i = 1; i < plan.n_rows; i++)
        assert_string_not_equal(plan.rows[i - 1].key, plan.rows[i].key);
    snug_lab_plan_clear(&plan);
}

static const struct {
    const char *text, *want;
} WRONG[] = {
    {HEAD "rounds: [{name: r, knobs: {n_thread: 2}}]\n",
     "r.yaml:4:28: rounds[1].knobs.n_thread: the engine has no such knob; did you mean "
     "'n_threads'?"},
    {HEAD "rounds: [{name: r, knobs: {frobnicate: 2}}]\n", "it has load_mode, repack"},
    {HEAD "rounds: [{name: r, knobs: {weights: q4_0}}]\n", "write weights beside knobs"},
    {HEAD "rounds: [{name: r, knobs: {type_k: q8_1}}]\n", "q8_0"},
    {HEAD "rounds: [{name: r, knobs: {type_k: [f16, q9]}}]\n", "rounds[1].knobs.type_k[2]"},
    {HEAD "rounds: [{name: r, knobs: {n_ubatch: 0}}]\n", "n_ubatch"},
    {HEAD "rounds: [{name: r, knobs: {n_threads: 513}}]\n", "512"},
    {HEAD "rounds: [{name: r, knobs: {n_threads: two}}]\n", "two"},
    {HEAD "rounds: [{name: r, knobs: {flash_attn: maybe}}]\n", "neither on nor off"},
    {HEAD "rounds: [{name: r, knobs: {cpu_mask: 0xg}}]\n", "hex mask"},
    {HEAD "rounds: [{name: r, knobs: {type_k: []}}]\n", "an empty list"},
    {HEAD "rounds: [{name: r, knobs: {type_k: }}]\n", "a value is expected"},
    {HEAD "rounds: [{name: r, knobs: {type_k: {a: b}}}]\n", "a value is expected"},
    {HEAD "rounds: [{name: r, knobs: [n_threads]}]\n", "a mapping of knobs"},
    {HEAD "rounds: [{name: r, knobs: {n_threads: 2, threads: 3}}]\n", "set twice"},
    {HEAD "rounds: [{name: r, knobs: {type_k: [f16, q8_0], type_v: [f16, q8_0]}}]\n", "grid: true"},
    {HEAD "rounds: [{name: r, knobs: {type_k: [q8_0, q8_0]}}]\n", "second round called"},
    {HEAD "rounds: [{name: r, knobs: {type_k: q8_0}}, {name: q, knobs: {type_k: q8_0}}]\n",
     "the same as 'r'"},
    {HEAD "rounds: [{name: r}]\n", "sets nothing"},
    {HEAD "rounds: [{name: baseline, knobs: {type_k: q8_0}}]\n", "second round called"},
    {HEAD "rounds: [{name: r, weights: q4}]\n", "no type to quantise to"},
    {HEAD "rounds: []\n", "Insufficient entries"},
    {HEAD "rounds: [{knobs: {n_threads: 1}}]\n", "name"},
    {HEAD "rounds: [{name: \"a\\nb\", knobs: {n_threads: 1}}]\n", "line break"},
    {HEAD "rounds: 3\n", "SEQUENCE"},
    {HEAD, "rounds"},
    {HEAD "baseline: {type_k: [f16, q8_0]}\nrounds: [{name: r, weights: q4_0}]\n", "not a list"},
    {HEAD "rounds: [{name: r, weights: q4_0}]\nrepetitons: 3\n", "did you mean 'repetitions'"},
    {HEAD "rounds: [{name: r, weights: q4_0}]\nrepetitions: 0\n", "repetitions"},
    {HEAD "rounds: [{name: r, weights: q4_0}]\nseed: -1\n", "seed"},
    {HEAD "rounds: [{name: r, weights: q4_0}]\ndeadline: soon\n", "r.yaml:5:1: deadline"},
    {HEAD "rounds: [{name: r, weights: q4_0}]\nimproved: {metrics: [speed]}\n", "prefill_tps"},
    {HEAD "rounds: [{name: r, weights: q4_0}]\nimproved: {tolerance: lots}\n", "no share"},
    {HEAD "rounds: [{name: r, weights: q4_0}]\nimproved: {tolerance: 101 %}\n", "no share"},
    {HEAD "rounds: [{name: r, weights: q4_0}]\nquality: {reference: other}\n", "one of m"},
    {"title: t\nmodels: [{name: m}]\nworkloads: [{name: w}]\nrounds: [{name: r, weights: "
     "q4_0}]\n",
     "either path"},
    {"title: t\nmodels: [{name: m, synth: smollm2-135n}]\nworkloads: [{name: w}]\nrounds: "
     "[{name: r, weights: q4_0}]\n",
     "did you mean smollm2-135m"},
    {"title: t\nmodels: [{name: m, path: a, layers: 3}]\nworkloads: [{name: w}]\nrounds: "
     "[{name: r, weights: q4_0}]\n",
     "go with synth"},
    {"title: t\nmodels: [{name: m, path: a}, {name: n, path: a}]\nworkloads: [{name: "
     "w}]\nrounds: [{name: r, weights: q4_0}]\n",
     "the same model"},
    {"title: t\nmodels: [{name: m, path: a}]\nworkloads: [{name: w, prompt: 0, gen: "
     "0}]\nrounds: [{name: r, weights: q4_0}]\n",
     "nothing to time"},
    {"title: t\nmodels: [{name: m, path: a}]\nworkloads: [{name: w, context: 100}]\nrounds: "
     "[{name: r, weights: q4_0}]\n",
     "512 are needed"},
    {"title: t\nmodels: [{name: m, path: a}]\nworkloads: [{name: w}, {name: v}]\nrounds: "
     "[{name: r, weights: q4_0}]\n",
     "the same workload"},
    {"models: [{name: m, path: a}]\nworkloads: [{name: w}]\nrounds: [{name: r, weights: "
     "q4_0}]\n",
     "title"},
};

static void what_is_wrong_is_refused_with_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(WRONG); i++)
        refuse(WRONG[i].text, WRONG[i].want);
}

/* HEAD with `n` rounds of a knob that has so many values. */
static void many_rounds(struct snug_buffer *out, int n)
{
    snug_buffer_puts(out, HEAD "rounds:\n");
    for (int i = 0; i < n; i++)
        snug_buffer_printf(out, "  - {name: r%d, knobs: {n_batch: %d}}\n", i, 32 + i);
}

static void check_cap(const struct snug_buffer *text, bool is_beyond, const char *want)
{
    struct snug_error err = {0};
    struct snug_lab_plan plan = {0};
    if (is_beyond) {
        refuse(text->data, want);
        return;
    }
    assert_ok(snug_lab_plan_parse("r.yaml", text->data, text->len, &plan, &err));
    snug_lab_plan_clear(&plan);
}

static void caps_hold_at_cap_and_one_more(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        struct snug_buffer rounds = {0}, models = {0}, workloads = {0}, values = {0};
        many_rounds(&rounds, SNUG_LAB_ROUNDS_MAX + more);
        check_cap(&rounds, more, "Excessive entries (256 max)");
        snug_buffer_puts(&models, "title: t\nworkloads: [{name: w}]\nrounds: [{name: r, weights: "
                                  "q4_0}]\nmodels:\n");
        for (int i = 0; i < SNUG_LAB_MODELS_MAX + more; i++)
            snug_buffer_printf(&models, "  - {name: m%d, path: p%d}\n", i, i);
        check_cap(&models, more, "Excessive entries (32 max)");
        snug_buffer_puts(&workloads, "title: t\nmodels: [{name: m, path: p}]\nrounds: [{name: r, "
                                     "weights: q4_0}]\nworkloads:\n");
        for (int i = 0; i < SNUG_LAB_WORKLOADS_MAX + more; i++)
            snug_buffer_printf(&workloads, "  - {name: w%d, prompt: %d}\n", i, i + 1);
        check_cap(&workloads, more, "Excessive entries (32 max)");
        snug_buffer_puts(&values, HEAD "rounds: [{name: r, knobs: {n_batch: [32");
        for (int i = 1; i < SNUG_LAB_LIST_MAX + more; i++)
            snug_buffer_printf(&values, ", %d", 32 + i);
        snug_buffer_puts(&values, "]}}]\n");
        check_cap(&values, more, "more than 64 values");
        snug_buffer_clear(&rounds);
        snug_buffer_clear(&models);
        snug_buffer_clear(&workloads);
        snug_buffer_clear(&values);
    }
}

static void expanded_rounds_hold_at_cap_and_one_more(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        struct snug_buffer expanded = {0};
        /* 16 x 16 rounds by lists, and one more. */
        snug_buffer_puts(&expanded, HEAD "rounds:\n  - {name: g, grid: true, knobs: {n_batch: [32");
        for (int i = 1; i < 16; i++)
            snug_buffer_printf(&expanded, ", %d", 32 + i);
        snug_buffer_puts(&expanded, "], n_ubatch: [32");
        for (int i = 1; i < 16; i++)
            snug_buffer_printf(&expanded, ", %d", 32 + i);
        snug_buffer_puts(&expanded, "]}}\n");
        if (more)
            snug_buffer_puts(&expanded, "  - {name: r, weights: q4_0}\n");
        check_cap(&expanded, more, "more than 256 rounds");
        snug_buffer_clear(&expanded);
    }
}

/* 20000 = 100 repetitions x 2 x 4 blocks x 25 rows (22 rounds, 3 baselines). */
static void rows_hold_at_cap_and_one_more(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        struct snug_buffer text = {0};
        snug_buffer_puts(&text, "title: t\nrepetitions: 100\nmodels: [{name: m, path: m}, {name: "
                                "n, path: n}]\nworkloads: [{name: a, prompt: 1}, {name: b, prompt: "
                                "2}, {name: c, prompt: 3}, {name: d, prompt: 4}]\nrounds:\n");
        for (int i = 0; i < 22 + more; i++)
            snug_buffer_printf(&text, "  - {name: r%d, knobs: {n_batch: %d}}\n", i, 32 + i);
        check_cap(&text, more, "at most 20000");
        snug_buffer_clear(&text);
    }
}

static void file_of_the_cap_is_read_and_one_byte_more_is_not(void **state)
{
    (void)state;
    static const char text[] = HEAD "rounds: [{name: r, weights: q4_0}]\n";
    struct snug_error err = {0};
    struct snug_lab_plan plan = {0};
    char *whole = malloc(SNUG_LAB_FILE_MAX + 1);
    assert_non_null(whole);
    memset(whole, '#', SNUG_LAB_FILE_MAX + 1); /* one long comment after the text */
    memcpy(whole, text, sizeof text - 1);
    assert_ok(snug_lab_plan_parse("r.yaml", whole, SNUG_LAB_FILE_MAX, &plan, &err));
    snug_lab_plan_clear(&plan);
    assert_fails(SNUG_BAD_INPUT,
                 snug_lab_plan_parse("r.yaml", whole, SNUG_LAB_FILE_MAX + 1, &plan, &err));
    assert_contains(err.text, "1048576");
    free(whole);
}

static void shipped_examples_are_plans(void **state)
{
    (void)state;
    static const char *const names[] = {"smoke",  "caching", "parallel",
                                        "memory", "quants",  "hybrid"};
    const char *root = getenv("SNUG_SOURCE_ROOT");
    if (!root) {
        print_message("SNUG_SOURCE_ROOT is not set\n");
        skip();
    }
    for (size_t i = 0; i < COUNT(names); i++) {
        struct snug_error err = {0};
        struct snug_lab_plan plan = {0};
        char path[1024];
        snprintf(path, sizeof path, "%s/examples/rounds/%s.yaml", root, names[i]);
        assert_ok(snug_lab_plan_read(path, &plan, &err));
        assert_true(plan.n_rounds > 3);
        snug_lab_plan_clear(&plan);
    }
}

static void plan_as_text_has_a_line_per_row(void **state)
{
    (void)state;
    struct snug_lab_plan plan = plan_of(FILE_TEXT);
    struct snug_buffer text = {0}, json = {0};
    snug_lab_plan_write(&plan, false, &text);
    snug_lab_plan_write(&plan, true, &json);
    assert_contains(snug_buffer_text(&text), plan.hash);
    assert_contains(snug_buffer_text(&text), plan.rows[27].key);
    assert_contains(snug_buffer_text(&json), plan.rows[27].key);
    assert_contains(snug_buffer_text(&json), "\"plan_hash\"");
    snug_buffer_clear(&text);
    snug_buffer_clear(&json);
    snug_lab_plan_clear(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_becomes_the_plan_it_says),
        cmocka_unit_test(plan_and_rows_are_the_recorded_ones),
        cmocka_unit_test(comments_and_order_of_keys_change_nothing),
        cmocka_unit_test(seed_changes_the_order_and_no_key),
        cmocka_unit_test(blocks_hold_every_round_and_recurring_baselines),
        cmocka_unit_test(what_is_wrong_is_refused_with_its_place),
        cmocka_unit_test(caps_hold_at_cap_and_one_more),
        cmocka_unit_test(expanded_rounds_hold_at_cap_and_one_more),
        cmocka_unit_test(rows_hold_at_cap_and_one_more),
        cmocka_unit_test(file_of_the_cap_is_read_and_one_byte_more_is_not),
        cmocka_unit_test(shipped_examples_are_plans),
        cmocka_unit_test(plan_as_text_has_a_line_per_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
