/* Knob rows, configs and measurements: lattice properties, text and JSON round trips. */
#include "test.h"

#include <limits.h>
#include <math.h>

#include "trial/trial_json.h"

static const struct snug_knob INT_ROW = {
    .name = "n_threads", .kind = SNUG_KNOB_INT, .min = 1, .max = 12, .step = 4, .def = 4};
static const struct snug_knob LOG2_ROW = {
    .name = "n_ubatch", .kind = SNUG_KNOB_LOG2, .min = 32, .max = 1000, .def = 512};
static const struct snug_knob ENUM_ROW = {.name = "type_k",
                                          .kind = SNUG_KNOB_ENUM,
                                          .max = 2,
                                          .values = {"f16", "q8_0", "q4_0"},
                                          .n_values = 3};
static const struct snug_knob BOOL_ROW = {
    .name = "flash_attn", .kind = SNUG_KNOB_BOOL, .max = 1, .def = 1};
static const struct snug_knob MASK_ROW = {
    .name = "cpu_mask",
    .kind = SNUG_KNOB_ENUM,
    .max = 1,
    .values = {"all", "0x55555555555555555555555555555555555"},
    .n_values = 2};

static struct snug_space space_of_all(void)
{
    return (struct snug_space){.knobs = {INT_ROW, LOG2_ROW, ENUM_ROW, BOOL_ROW, MASK_ROW}, .n = 5};
}

/* ---- lattice ---- */

static void level_every_row_inverts_index(void **state)
{
    (void)state;
    const struct snug_knob rows[] = {
        INT_ROW,
        LOG2_ROW,
        ENUM_ROW,
        BOOL_ROW,
        {.kind = SNUG_KNOB_INT, .min = -1, .max = 3, .step = 1},
        {.kind = SNUG_KNOB_INT, .min = 7, .max = 7, .step = 3},
        {.kind = SNUG_KNOB_INT, .min = INT64_MIN, .max = INT64_MAX, .step = INT64_MAX / 3},
        {.kind = SNUG_KNOB_LOG2, .min = 1, .max = 1},
        {.kind = SNUG_KNOB_LOG2, .min = 0, .max = 100},
        {.kind = SNUG_KNOB_LOG2, .min = 3, .max = INT64_MAX},
        {.kind = SNUG_KNOB_LOG2, .min = 32, .max = 2048},
    };
    for (size_t r = 0; r < COUNT(rows); r++) {
        const int n = snug_knob_n_levels(&rows[r]);
        assert_true(n >= 1);
        for (int i = 0; i < n; i++) {
            const int64_t value = snug_knob_level(&rows[r], i);
            assert_int_equal(snug_knob_index(&rows[r], value), i);
            assert_true(i == 0 || value > snug_knob_level(&rows[r], i - 1));
        }
        if (rows[r].kind == SNUG_KNOB_INT || rows[r].kind == SNUG_KNOB_LOG2) {
            assert_true(snug_knob_level(&rows[r], 0) == rows[r].min);
            assert_true(snug_knob_level(&rows[r], n - 1) == rows[r].max);
        }
    }
}

static void assert_levels(const struct snug_knob *knob, const int64_t *want, int n)
{
    assert_int_equal(snug_knob_n_levels(knob), n);
    for (int i = 0; i < n; i++)
        assert_int_equal(snug_knob_level(knob, i), want[i]);
}

static void level_step_not_dividing_the_range_keeps_max(void **state)
{
    (void)state;
    assert_levels(&INT_ROW, (const int64_t[]){1, 5, 9, 12}, 4);
    const struct snug_knob even = {.kind = SNUG_KNOB_INT, .min = 0, .max = 100, .step = 50};
    assert_levels(&even, (const int64_t[]){0, 50, 100}, 3);
}

static void index_of_a_row_with_more_levels_than_an_int_stays_within(void **state)
{
    (void)state;
    const struct snug_knob wide = {.kind = SNUG_KNOB_INT, .min = -1, .max = INT64_MAX, .step = 1};
    assert_int_equal(snug_knob_n_levels(&wide), INT_MAX);
    assert_int_equal(snug_knob_index(&wide, INT64_MAX - 1), INT_MAX - 1);
    assert_int_equal(snug_knob_index(&wide, (int64_t)INT_MAX * 2), INT_MAX - 1);
    assert_int_equal(snug_knob_index(&wide, 100), 101);
}

static void level_log2_with_odd_max_keeps_it(void **state)
{
    (void)state;
    assert_levels(&LOG2_ROW, (const int64_t[]){32, 64, 128, 256, 512, 1000}, 6);
}

static void level_out_of_range_is_held_at_the_ends(void **state)
{
    (void)state;
    assert_int_equal(snug_knob_level(&INT_ROW, -3), 1);
    assert_int_equal(snug_knob_level(&INT_ROW, 99), 12);
    assert_int_equal(snug_knob_level(&ENUM_ROW, 99), 2);
}

/* No level may be nearer than the one that index names; LOG2 is judged by ratio. */
static double distance(const struct snug_knob *knob, int64_t a, int64_t b)
{
    if (knob->kind == SNUG_KNOB_LOG2)
        return fabs(log2((double)a) - log2((double)b));
    return fabs((double)a - (double)b);
}

static void index_any_value_is_the_nearest_level(void **state)
{
    (void)state;
    const struct snug_knob *rows[] = {&INT_ROW, &LOG2_ROW};
    for (size_t r = 0; r < COUNT(rows); r++) {
        for (int64_t v = 1; v <= 1200; v++) {
            const int at = snug_knob_index(rows[r], v);
            const double d = distance(rows[r], v, snug_knob_level(rows[r], at));
            for (int i = 0; i < snug_knob_n_levels(rows[r]); i++)
                assert_true(d <= distance(rows[r], v, snug_knob_level(rows[r], i)) + 1e-12);
        }
    }
}

/* ---- text ---- */

static void parse_text_of_every_level_returns_it(void **state)
{
    (void)state;
    struct snug_error err = {0};
    const struct snug_space space = space_of_all();
    for (int r = 0; r < space.n; r++) {
        for (int i = 0; i < snug_knob_n_levels(&space.knobs[r]); i++) {
            char text[32];
            int64_t want = snug_knob_level(&space.knobs[r], i), got = -77;
            assert_ok(snug_knob_parse(&space.knobs[r], snug_knob_text(&space.knobs[r], want, text),
                                      &got, &err));
            assert_int_equal(got, want);
        }
    }
}

static void parse_value_between_levels_is_accepted(void **state)
{
    (void)state;
    struct snug_error err = {0};
    int64_t value = 0;
    assert_ok(snug_knob_parse(&LOG2_ROW, "777", &value, &err));
    assert_int_equal(value, 777);
}

static void parse_number_out_of_bounds_names_row_and_bounds(void **state)
{
    (void)state;
    struct snug_error err = {0};
    static const char *const texts[] = {"31", "1001", "", "x", "64k", "99999999999999999999"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        int64_t value = -77;
        assert_fails(SNUG_BAD_INPUT, snug_knob_parse(&LOG2_ROW, texts[i], &value, &err));
        assert_contains(err.text, "n_ubatch");
        assert_contains(err.text, "32");
        assert_contains(err.text, "1000");
        assert_int_equal(value, -77);
    }
}

static void parse_enum_slip_suggests_the_nearest(void **state)
{
    (void)state;
    struct snug_error err = {0};
    int64_t value = -77;
    assert_fails(SNUG_BAD_INPUT, snug_knob_parse(&ENUM_ROW, "q8-0", &value, &err));
    assert_contains(err.text, "type_k");
    assert_contains(err.text, "did you mean q8_0?");
    assert_contains(err.text, "one of f16, q8_0, q4_0");
    assert_int_equal(value, -77);
    assert_fails(SNUG_BAD_INPUT, snug_knob_parse(&ENUM_ROW, "f61", &value, &err));
    assert_contains(err.text, "did you mean f16?");
}

static void parse_enum_far_word_suggests_nothing(void **state)
{
    (void)state;
    struct snug_error err = {0};
    int64_t value = -77;
    char longest[4000];
    memset(longest, 'q', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    const char *const texts[] = {"potato", "", longest};
    for (size_t i = 0; i < COUNT(texts); i++) {
        assert_fails(SNUG_BAD_INPUT, snug_knob_parse(&ENUM_ROW, texts[i], &value, &err));
        assert_null(strstr(err.text, "did you mean"));
        assert_contains(err.text, "one of f16, q8_0, q4_0");
    }
}

static void parse_bool_takes_usual_words(void **state)
{
    (void)state;
    struct snug_error err = {0};
    static const char *const on[] = {"on", "1", "true", "yes"};
    static const char *const off[] = {"off", "0", "false", "no"};
    for (size_t i = 0; i < COUNT(on); i++) {
        int64_t value = -77;
        assert_ok(snug_knob_parse(&BOOL_ROW, on[i], &value, &err));
        assert_int_equal(value, 1);
        assert_ok(snug_knob_parse(&BOOL_ROW, off[i], &value, &err));
        assert_int_equal(value, 0);
    }
    int64_t value = -77;
    assert_fails(SNUG_BAD_INPUT, snug_knob_parse(&BOOL_ROW, "auto", &value, &err));
    assert_contains(err.text, "flash_attn: 'auto' is neither on nor off");
}

static void knob_text_long_name_comes_whole(void **state)
{
    (void)state;
    char text[32];
    assert_string_equal(snug_knob_text(&MASK_ROW, 1, text), MASK_ROW.values[1]);
    assert_int_equal(strlen(text), 31);
}

static void config_text_short_lists_what_differs(void **state)
{
    (void)state;
    const struct snug_space space = space_of_all();
    struct snug_config config;
    char text[256];
    snug_space_default(&space, &config);
    assert_string_equal(snug_config_text(&space, &config, true, text, sizeof text), "default");
    config.value[1] = 64;
    config.value[3] = 0;
    assert_string_equal(snug_config_text(&space, &config, true, text, sizeof text),
                        "n_ubatch=64 flash_attn=off");
    assert_string_equal(snug_config_text(&space, &config, false, text, sizeof text),
                        "n_threads=4 n_ubatch=64 type_k=f16 flash_attn=off cpu_mask=all");
    for (size_t cap = 1; cap < 40; cap++) {
        memset(text, 'x', sizeof text);
        snug_config_text(&space, &config, false, text, cap);
        assert_int_equal(strlen(text), cap - 1);
        assert_int_equal(text[cap], 'x');
    }
}

static void space_find_unknown_name_is_minus_one(void **state)
{
    (void)state;
    const struct snug_space space = space_of_all();
    assert_int_equal(snug_space_find(&space, "type_k"), 2);
    assert_int_equal(snug_space_find(&space, "type"), -1);
}

/* ---- JSON ---- */

static struct snug_json *parse(char *text)
{
    struct snug_error err = {0};
    struct snug_json *doc = NULL;
    assert_non_null(text);
    assert_ok(snug_json_parse("test", text, strlen(text), &doc, &err));
    free(text);
    return doc;
}

static void config_json_every_level_comes_back(void **state)
{
    (void)state;
    struct snug_error err = {0};
    const struct snug_space space = space_of_all();
    for (int i = 0; i < 6; i++) {
        struct snug_config config, got;
        struct snug_json_writer w = {0};
        memset(&config, 0, sizeof config);
        for (int r = 0; r < space.n; r++)
            config.value[r] = snug_knob_level(&space.knobs[r], i);
        snug_config_to_json(&w, NULL, &space, &config);
        struct snug_json *doc = parse(snug_json_finish(&w, false));
        snug_space_default(&space, &got);
        assert_ok(snug_config_from_json(snug_json_root(doc), &space, true, &got, &err));
        assert_true(snug_config_equal(&space, &config, &got));
        snug_json_free(doc);
    }
}

static void config_json_absent_rows_are_kept(void **state)
{
    (void)state;
    struct snug_error err = {0};
    const struct snug_space space = space_of_all();
    struct snug_config config;
    snug_space_default(&space, &config);
    config.value[0] = 9;
    struct snug_json *doc = parse(strdup("{\"n_ubatch\": \"64\", \"flash_attn\": false}"));
    assert_ok(snug_config_from_json(snug_json_root(doc), &space, true, &config, &err));
    assert_int_equal(config.value[0], 9);
    assert_int_equal(config.value[1], 64);
    assert_int_equal(config.value[3], 0);
    snug_json_free(doc);
}

static void config_json_bad_row_fails_only_when_strict(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"{\"n_threads\": 9, \"n_ubtach\": 64}", "did you mean n_ubatch"},
        {"{\"n_threads\": 9, \"n_ubatch\": 8}", "n_ubatch: '8' is not a whole number from 32"},
        {"{\"n_threads\": 9, \"n_ubatch\": 64.5}", "n_ubatch: 64.5 is not a whole number"},
        {"{\"n_threads\": 9, \"n_ubatch\": 1e30}", "n_ubatch: 1e+30 is not a whole number"},
        {"{\"n_threads\": 9, \"n_ubatch\": null}", "n_ubatch: neither"},
        {"{\"n_threads\": 9, \"type_k\": true}", "type_k: neither"},
    };
    struct snug_error err = {0};
    const struct snug_space space = space_of_all();
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct snug_config config;
        snug_space_default(&space, &config);
        struct snug_json *doc = parse(strdup(rows[i].text));
        assert_fails(SNUG_BAD_INPUT,
                     snug_config_from_json(snug_json_root(doc), &space, true, &config, &err));
        assert_contains(err.text, rows[i].want);
        assert_int_equal(config.value[0], 4);
        assert_ok(snug_config_from_json(snug_json_root(doc), &space, false, &config, &err));
        assert_int_equal(config.value[0], 9);
        assert_int_equal(config.value[1], 512);
        snug_json_free(doc);
    }
}

static void workload_json_comes_back(void **state)
{
    (void)state;
    const struct snug_workload want = {
        .n_prompt = 1, .n_gen = 2, .n_depth = 3, .n_parallel = 4, .n_ctx = INT64_C(1) << 40};
    struct snug_workload got = {0};
    struct snug_json_writer w = {0};
    snug_workload_to_json(&w, NULL, &want);
    struct snug_json *doc = parse(snug_json_finish(&w, false));
    snug_workload_from_json(snug_json_root(doc), &got);
    assert_memory_equal(&got, &want, sizeof got);
    snug_json_free(doc);
}

/* Every scalar has a value of its own, so that two that are swapped show. */
static void fill(struct snug_measurement *m)
{
    *m = (struct snug_measurement){
        .outcome = SNUG_TRIAL_TIMEOUT,
        .reason = "deadline of 2 s passed in \"decode\"",
        .prefill_tps = 1.5,
        .decode_tps = 2.5,
        .ttft_s = 3.5,
        .tpot_p50_s = 4.5,
        .tpot_p95_s = 5.5,
        .load_s = 6.5,
        .wall_s = 7.5,
        .bytes = {INT64_C(1) << 50, 12, 13, 14, 15, 16},
        .warmup_prefill_tps = 8.5,
        .warmup_decode_tps = 0.1,
        .warnings = SNUG_WARN(NOISY) | SNUG_WARN(UNSETTLED),
        .throttled_s = 9.5,
        .other_load_frac = 0.25,
        .load_average = 10.5,
        .started_unix_s = 1767225600.123456,
        .build = "libllama 0.7.0, ggml 0.27.0",
        .n_prefill_blocks = 3,
        .n_decode_blocks = SNUG_BLOCKS_MAX,
    };
    for (int i = 0; i < SNUG_BLOCKS_MAX; i++)
        m->decode_block_tps[i] = 1.0 / (i + 3);
    for (int i = 0; i < 3; i++)
        m->prefill_block_tps[i] = 100.0 / (i + 3);
}

static void measurement_json_comes_back_to_the_bit(void **state)
{
    (void)state;
    struct snug_measurement want, got;
    struct snug_json_writer w = {0};
    fill(&want);
    snug_measurement_to_json(&w, NULL, &want);
    struct snug_json *doc = parse(snug_json_finish(&w, false));
    memset(&got, 0xff, sizeof got);
    snug_measurement_from_json(snug_json_root(doc), &got);
    assert_int_equal(got.outcome, want.outcome);
    assert_string_equal(got.reason, want.reason);
    assert_string_equal(got.build, want.build);
    assert_memory_equal(&got.bytes, &want.bytes, sizeof got.bytes);
    assert_memory_equal(got.prefill_block_tps, want.prefill_block_tps, 3 * sizeof(double));
    assert_memory_equal(got.decode_block_tps, want.decode_block_tps, sizeof got.decode_block_tps);
    const double *const pairs[][2] = {
        {&got.prefill_tps, &want.prefill_tps},
        {&got.decode_tps, &want.decode_tps},
        {&got.ttft_s, &want.ttft_s},
        {&got.tpot_p50_s, &want.tpot_p50_s},
        {&got.tpot_p95_s, &want.tpot_p95_s},
        {&got.load_s, &want.load_s},
        {&got.wall_s, &want.wall_s},
        {&got.warmup_prefill_tps, &want.warmup_prefill_tps},
        {&got.warmup_decode_tps, &want.warmup_decode_tps},
        {&got.throttled_s, &want.throttled_s},
        {&got.other_load_frac, &want.other_load_frac},
        {&got.load_average, &want.load_average},
        {&got.started_unix_s, &want.started_unix_s},
    };
    for (size_t i = 0; i < COUNT(pairs); i++)
        assert_true(*pairs[i][0] == *pairs[i][1]);
    assert_int_equal(got.n_prefill_blocks, 3);
    assert_int_equal(got.n_decode_blocks, SNUG_BLOCKS_MAX);
    assert_int_equal(got.warnings, want.warnings);
    assert_null(got.gaps_s);
    snug_json_free(doc);
}

static void measurement_json_hostile_is_bounded(void **state)
{
    (void)state;
    struct snug_measurement got;
    struct snug_json_writer w = {0};
    char longest[2000];
    memset(longest, 'r', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "outcome", "splendid");
    snug_json_put_string(&w, "reason", longest);
    snug_json_put_string(&w, "build", longest);
    snug_json_begin_array(&w, "decode_block_tps");
    for (int i = 0; i <= SNUG_BLOCKS_MAX; i++)
        snug_json_put_number(&w, NULL, i);
    snug_json_end(&w);
    snug_json_begin_object(&w, "bytes");
    snug_json_put_int(&w, "weights", -5);
    snug_json_end(&w);
    snug_json_begin_array(&w, "warnings");
    snug_json_put_string(&w, NULL, "noisy");
    snug_json_put_string(&w, NULL, "haunted");
    snug_json_end(&w);
    snug_json_end(&w);
    struct snug_json *doc = parse(snug_json_finish(&w, false));
    snug_measurement_from_json(snug_json_root(doc), &got);
    assert_int_equal(got.outcome, SNUG_TRIAL_REFUSED);
    assert_int_equal(strlen(got.reason), SNUG_REASON_MAX - 1);
    assert_int_equal(strlen(got.build), sizeof got.build - 1);
    assert_int_equal(got.n_decode_blocks, SNUG_BLOCKS_MAX);
    assert_int_equal(got.bytes.weights, 0);
    assert_int_equal(got.warnings, SNUG_WARN(NOISY));
    snug_json_free(doc);
}

static void measurement_json_nothing_is_not_ok(void **state)
{
    (void)state;
    struct snug_measurement got;
    snug_measurement_from_json(NULL, &got);
    assert_int_equal(got.outcome, SNUG_TRIAL_REFUSED);
    assert_int_equal(got.n_decode_blocks, 0);
}

static void space_json_has_bounds_in_own_notation(void **state)
{
    (void)state;
    const struct snug_space space = space_of_all();
    struct snug_json_writer w = {0};
    snug_space_to_json(&w, NULL, &space);
    struct snug_json *doc = parse(snug_json_finish(&w, false));
    const struct snug_json_node *root = snug_json_root(doc);
    assert_int_equal(snug_json_count(root), space.n);
    assert_int_equal(snug_json_get_int(snug_json_at(root, 1), "max", 0), 1000);
    assert_string_equal(snug_json_get_string(snug_json_at(root, 2), "default", ""), "f16");
    assert_int_equal(snug_json_count(snug_json_get(snug_json_at(root, 2), "values")), 3);
    assert_string_equal(snug_json_get_string(snug_json_at(root, 3), "default", ""), "on");
    snug_json_free(doc);
}

static void measurement_clear_accepts_null_and_zero(void **state)
{
    (void)state;
    struct snug_measurement m = {0};
    snug_measurement_clear(NULL);
    m.gaps_s = calloc(3, sizeof *m.gaps_s);
    m.n_gaps = 3;
    snug_measurement_clear(&m);
    assert_null(m.gaps_s);
    assert_int_equal(m.n_gaps, 0);
    snug_measurement_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(level_every_row_inverts_index),
        cmocka_unit_test(level_step_not_dividing_the_range_keeps_max),
        cmocka_unit_test(index_of_a_row_with_more_levels_than_an_int_stays_within),
        cmocka_unit_test(level_log2_with_odd_max_keeps_it),
        cmocka_unit_test(level_out_of_range_is_held_at_the_ends),
        cmocka_unit_test(index_any_value_is_the_nearest_level),
        cmocka_unit_test(parse_text_of_every_level_returns_it),
        cmocka_unit_test(parse_value_between_levels_is_accepted),
        cmocka_unit_test(parse_number_out_of_bounds_names_row_and_bounds),
        cmocka_unit_test(parse_enum_slip_suggests_the_nearest),
        cmocka_unit_test(parse_enum_far_word_suggests_nothing),
        cmocka_unit_test(parse_bool_takes_usual_words),
        cmocka_unit_test(knob_text_long_name_comes_whole),
        cmocka_unit_test(config_text_short_lists_what_differs),
        cmocka_unit_test(space_find_unknown_name_is_minus_one),
        cmocka_unit_test(config_json_every_level_comes_back),
        cmocka_unit_test(config_json_absent_rows_are_kept),
        cmocka_unit_test(config_json_bad_row_fails_only_when_strict),
        cmocka_unit_test(workload_json_comes_back),
        cmocka_unit_test(measurement_json_comes_back_to_the_bit),
        cmocka_unit_test(measurement_json_hostile_is_bounded),
        cmocka_unit_test(measurement_json_nothing_is_not_ok),
        cmocka_unit_test(space_json_has_bounds_in_own_notation),
        cmocka_unit_test(measurement_clear_accepts_null_and_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
