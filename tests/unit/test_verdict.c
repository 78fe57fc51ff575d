/* The rules of the verdict: a clean trial is VALID, and each plant is found by its rule alone. */
#include "test.h"

#include <math.h>

#include "base/json.h"
#include "snug/stats.h"
#include "snug/trial.h"
#include "trial/trial_json.h"

#define N_BLOCKS 12

static const struct snug_space SPACE = {
    .n = 2,
    .knobs = {{.name = "n_threads", .kind = SNUG_KNOB_INT, .min = 1, .max = 8, .step = 1, .def = 2},
              {.name = "n_batch", .kind = SNUG_KNOB_LOG2, .min = 32, .max = 8192, .def = 2048}},
};
static const struct snug_config ASKED = {.value = {2, 2048}};
static const struct snug_workload WORKLOAD = {
    .n_prompt = 512, .n_gen = 32, .n_parallel = 1, .n_ctx = 4096};
/* Spread like that of a quiet machine, in no order. */
static const double NOISE[N_BLOCKS] = {0.3, -0.5, 0.1,  0.4, -0.2, -0.4,
                                       0.5, 0.0,  -0.1, 0.2, -0.3, 0.1};

static void make_clean(struct snug_measurement *m)
{
    *m = (struct snug_measurement){.outcome = SNUG_TRIAL_OK,
                                   .effective = ASKED,
                                   .load_s = 1.0,
                                   .n_gaps = 100,
                                   .n_output = WORKLOAD.n_gen,
                                   .n_prefill_blocks = N_BLOCKS,
                                   .n_decode_blocks = N_BLOCKS,
                                   .warmup_prefill_block_tps = {300.0, 398.0},
                                   .warmup_decode_block_tps = {40.0, 49.9},
                                   .n_warmup_prefill_blocks = 2,
                                   .n_warmup_decode_blocks = 2};
    snug_conditions_init(&m->conditions);
    m->conditions.wall_s = 20.0;
    m->conditions.throttled_s = 0.0;
    m->conditions.other_load_frac = 0.01;
    m->conditions.n_major_faults = 3.0;
    m->conditions.swapped_bytes = 0.0;
    m->conditions.resident_before_frac = 1.0;
    for (int i = 0; i < N_BLOCKS; i++) {
        m->prefill_block_tps[i] = 400.0 * (1.0 + 0.01 * NOISE[i]);
        m->decode_block_tps[i] = 50.0 * (1.0 + 0.01 * NOISE[i]);
    }
}

static void assert_rules(struct snug_measurement *m, double noise_frac, const char *want)
{
    char got[256];
    snug_verdict_judge(m, &SPACE, &ASKED, &WORKLOAD, noise_frac);
    snug_warnings_text(m->warnings, " ", got, sizeof got);
    assert_string_equal(got, want);
}

static void judge_clean_trial_is_valid(void **state)
{
    (void)state;
    struct snug_measurement m;
    make_clean(&m);
    assert_rules(&m, 0.01, "");
    assert_int_equal(snug_verdict_of(m.warnings), SNUG_VALID);
    /* Nothing readable: nothing is guessed. */
    snug_conditions_init(&m.conditions);
    assert_rules(&m, 0.0, "");
}

static void plant_slow_warmup(struct snug_measurement *m)
{
    m->warmup_prefill_block_tps[0] = 100.0; /* 5.1 s where 1.3 s are usual */
}
static void plant_slow_block(struct snug_measurement *m)
{
    m->decode_block_tps[0] = 40.0;
}
static void plant_drift(struct snug_measurement *m)
{
    for (int i = 0; i < N_BLOCKS; i++)
        m->decode_block_tps[i] *= 1.0 - 0.006 * i;
}
static void plant_groups(struct snug_measurement *m)
{
    for (int i = 0; i < N_BLOCKS; i += 3)
        m->prefill_block_tps[i] *= 1.3;
}
static void plant_noise(struct snug_measurement *m)
{
    for (int i = 0; i < N_BLOCKS; i++)
        m->decode_block_tps[i] = 50.0 * (1.0 + 0.1 * NOISE[i]);
}
static void plant_quota(struct snug_measurement *m)
{
    m->conditions.throttled_s = 2.0;
}
static void plant_load(struct snug_measurement *m)
{
    m->conditions.other_load_frac = 0.5;
}
static void plant_heat(struct snug_measurement *m)
{
    m->conditions.n_thermal_events = 1.0;
}
static void plant_cold(struct snug_measurement *m)
{
    m->conditions.resident_before_frac = 0.2;
}
static void plant_faults(struct snug_measurement *m)
{
    m->conditions.n_major_faults = 5000.0;
}
static void plant_swap(struct snug_measurement *m)
{
    m->conditions.swapped_bytes = 64.0 * (1 << 20);
}
static void plant_few(struct snug_measurement *m)
{
    m->n_gaps = 19;
}
static void plant_config(struct snug_measurement *m)
{
    m->effective.value[0] = 1;
}
static void plant_hits(struct snug_measurement *m)
{
    m->n_cached_hits = 512;
}
static void plant_length(struct snug_measurement *m)
{
    m->n_output = 8;
}
static void plant_unsettled(struct snug_measurement *m)
{
    m->warnings = SNUG_WARN(UNSETTLED) | SNUG_WARN(THROTTLED); /* only the first is the worker's */
}

static const struct {
    void (*plant)(struct snug_measurement *m);
    const char *rules;
    enum snug_verdict verdict;
    const char *words; /* part of them */
} PLANTS[] = {
    {plant_slow_warmup, "slow_first_run", SNUG_NOTE, "prefill run was 4.0 times slower"},
    {plant_slow_block, "slow_first_run", SNUG_NOTE, "decode run was 1.2 times slower"},
    {plant_drift, "drift", SNUG_NOTE, "decode speed fell by 7 %"},
    {plant_groups, "bimodal", SNUG_NOTE, "prefill blocks fall into two groups 31 % apart"},
    {plant_noise, "noisy", SNUG_NOTE, "more than the 3.0 % that this machine's noise floor"},
    {plant_quota, "throttled", SNUG_INVALID, "for 2.0 of 20.0 s"},
    {plant_load, "other_load", SNUG_INVALID, "50 % of the CPUs"},
    {plant_heat, "thermal", SNUG_INVALID, "1 times"},
    {plant_cold, "cold_cache", SNUG_NOTE, "only 20 % of the model"},
    {plant_faults, "paging", SNUG_INVALID, "5000 major page faults"},
    {plant_swap, "swapping", SNUG_INVALID, "64 MiB"},
    {plant_few, "few_samples", SNUG_NOTE, "19 token gaps"},
    {plant_config, "config_differs", SNUG_INVALID, "another config"},
    {plant_hits, "cache_hits", SNUG_INVALID, "512 prompt tokens"},
    {plant_length, "output_length", SNUG_INVALID, "8 tokens came out"},
    {plant_unsettled, "unsettled", SNUG_NOTE, "warm-up"},
};

static void judge_each_plant_is_found_by_its_rule_alone(void **state)
{
    (void)state;
    _Static_assert(COUNT(PLANTS) == SNUG_N_WARNINGS + 1,
                   "one plant per rule, two for a slow start");
    for (size_t i = 0; i < COUNT(PLANTS); i++) {
        struct snug_measurement m;
        char words[256];
        make_clean(&m);
        PLANTS[i].plant(&m);
        assert_rules(&m, 0.015, PLANTS[i].rules); /* a drift spreads blocks too */
        assert_int_equal(snug_verdict_of(m.warnings), PLANTS[i].verdict);
        const uint32_t bits = snug_warnings_from_text(PLANTS[i].rules);
        for (int bit = 0; bit < SNUG_N_WARNINGS; bit++) {
            if (bits >> bit & 1u)
                assert_contains(
                    snug_warning_words(&m, (enum snug_warning_bit)bit, words, sizeof words),
                    PLANTS[i].words);
        }
    }
}

static void judge_noise_floor_decides_what_is_noisy(void **state)
{
    (void)state;
    struct snug_measurement m;
    make_clean(&m);
    for (int i = 0; i < N_BLOCKS; i++)
        m.decode_block_tps[i] = 50.0 * (1.0 + 0.07 * NOISE[i]); /* MAD about 3 % */
    assert_rules(&m, 0.01, "noisy");
    assert_rules(&m, 0.03, "");
    assert_rules(&m, 0.0, ""); /* not measured: 5 % */
}

static void judge_batch_held_by_context_is_as_asked(void **state)
{
    (void)state;
    struct snug_measurement m;
    make_clean(&m);
    m.effective.value[1] = 4096; /* never larger than asked */
    assert_rules(&m, 0.01, "config_differs");
    make_clean(&m);
    const struct snug_config asked = {.value = {2, 8192}};
    m.effective.value[1] = WORKLOAD.n_ctx;
    snug_verdict_judge(&m, &SPACE, &asked, &WORKLOAD, 0.01);
    assert_int_equal(m.warnings, 0);
    m.effective.value[1] = 2048;
    snug_verdict_judge(&m, &SPACE, &asked, &WORKLOAD, 0.01);
    assert_int_equal(m.warnings, SNUG_WARN(CONFIG_DIFFERS));
}

static void details_come_back_from_json(void **state)
{
    (void)state;
    struct snug_measurement m, got;
    struct snug_json *doc = NULL;
    struct snug_error err;
    struct snug_condition_sample samples[2] = {{.t_s = 0.5f, .clock_hz = 2e9f, .power_w = NAN},
                                               {.t_s = 1.0f, .clock_hz = 3e9f, .power_w = 7.5f}};
    make_clean(&m);
    m.samples = samples;
    m.n_samples = 2;
    m.first_sample_s = 0.25;
    m.noise_frac = 0.02;
    m.conditions.energy = (struct snug_energy){
        .is_known = true, .source = "powercap", .decode_j = 5.0, .decode_s = 2.0, .idle_w = NAN};
    struct snug_json_writer w = {0};
    snug_measurement_to_json(&w, NULL, &m);
    char *text = snug_json_finish(&w, false);
    assert_non_null(text);
    assert_ok(snug_json_parse("m", text, strlen(text), &doc, &err));
    snug_measurement_from_json(snug_json_root(doc), &got);
    assert_int_equal(got.n_samples, 2);
    assert_true(isnan(got.samples[0].power_w) && got.samples[1].power_w == 7.5f);
    assert_true(got.samples[1].clock_hz == 3e9f);
    assert_true(isnan(got.conditions.clock_hz_min) && got.conditions.wall_s == 20.0);
    assert_true(got.conditions.energy.is_known && isnan(got.conditions.energy.idle_w));
    assert_true(got.conditions.energy.decode_j == 5.0);
    assert_string_equal(got.conditions.energy.source, "powercap");
    assert_int_equal(got.n_warmup_decode_blocks, 2);
    assert_true(got.warmup_decode_block_tps[0] == 40.0 && got.first_sample_s == 0.25);
    assert_int_equal(got.n_output, WORKLOAD.n_gen);
    snug_measurement_clear(&got);
    snug_json_free(doc);
    free(text);
}

static void energy_per_token_subtracts_idle(void **state)
{
    (void)state;
    struct snug_measurement m;
    double error = 0.0;
    make_clean(&m);
    assert_true(isnan(snug_measurement_decode_j(&m, &WORKLOAD, &error)) && isnan(error));
    m.conditions.energy = (struct snug_energy){.is_known = true,
                                               .decode_j = 100.0,
                                               .decode_s = 4.0,
                                               .idle_w = 10.0,
                                               .uncertainty_j = 3.84};
    m.n_decode_blocks = 12; /* 384 tokens */
    assert_true(fabs(snug_measurement_decode_j(&m, &WORKLOAD, &error) - 60.0 / 384.0) < 1e-12);
    assert_true(fabs(error - 0.01) < 1e-12);
    m.conditions.energy.idle_w = NAN; /* not known: nothing is subtracted */
    assert_true(fabs(snug_measurement_decode_j(&m, &WORKLOAD, NULL) - 100.0 / 384.0) < 1e-12);
}

static void quantile_needs_as_many_samples_as_its_tail(void **state)
{
    (void)state;
    assert_int_equal(snug_stats_quantile_needs(0.95), 20);
    assert_int_equal(snug_stats_quantile_needs(0.99), 100);
    assert_int_equal(snug_stats_quantile_needs(0.5), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judge_clean_trial_is_valid),
        cmocka_unit_test(judge_each_plant_is_found_by_its_rule_alone),
        cmocka_unit_test(judge_noise_floor_decides_what_is_noisy),
        cmocka_unit_test(judge_batch_held_by_context_is_as_asked),
        cmocka_unit_test(details_come_back_from_json),
        cmocka_unit_test(energy_per_token_subtracts_idle),
        cmocka_unit_test(quantile_needs_as_many_samples_as_its_tail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
