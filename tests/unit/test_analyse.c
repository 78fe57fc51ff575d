/* What rows say together: pairs within blocks, failed rows in no figure, the rule of "improved". */
#include "test.h"

#include <math.h>

#include "lab/analyse.h"
#include "lab/noise.h"

static const char FILE_TEXT[] =
    "title: t\nrepetitions: 8\nmodels: [{name: m, path: m}]\nworkloads: [{name: w, prompt: 100, "
    "gen: 10}]\nrounds: [{name: a, knobs: {n_ubatch: 64}}, {name: b, knobs: {n_ubatch: 128}}]\n";

struct fake {
    struct snug_lab_plan plan;
    struct snug_workload workload;
    struct snug_measurement m[64];
    const struct snug_measurement *rows[64];
    struct snug_lab_analysis analysis;
};

/* Speed falls by 0.1 % from row to row; round a is `gain` times as fast in both phases. */
static void make(struct fake *fake, double gain)
{
    struct snug_error err = {0};
    memset(fake, 0, sizeof *fake);
    assert_ok(snug_lab_plan_parse("f", FILE_TEXT, strlen(FILE_TEXT), &fake->plan, &err));
    assert_int_equal(fake->plan.n_rows, 24);
    fake->workload =
        (struct snug_workload){.n_prompt = 100, .n_gen = 10, .n_parallel = 1, .n_ctx = 100};
    for (int i = 0; i < fake->plan.n_rows; i++) {
        const double fall = pow(0.999, i);
        const double speed = fall * (fake->plan.rows[i].i_round == 1 ? gain : 1.0);
        fake->m[i] = (struct snug_measurement){.outcome = SNUG_TRIAL_OK,
                                               .prefill_tps = 100.0 * speed,
                                               .decode_tps = 10.0 * speed,
                                               .ttft_s = 1.0 / speed,
                                               .bytes = {.weights = 1000},
                                               .started_unix_s = 1e9 + 60.0 * i};
        fake->rows[i] = &fake->m[i];
    }
}

static void analyse(struct fake *fake)
{
    struct snug_error err = {0};
    assert_ok(
        snug_lab_analyse(&fake->plan, &fake->workload, fake->rows, NULL, &fake->analysis, &err));
}

static void clear(struct fake *fake)
{
    snug_lab_analysis_clear(&fake->analysis);
    snug_lab_plan_clear(&fake->plan);
}

static const struct snug_lab_comparison *find(const struct fake *fake, int i_round,
                                              enum snug_lab_metric metric)
{
    for (int i = 0; i < fake->analysis.n_comparisons; i++) {
        const struct snug_lab_comparison *c = &fake->analysis.comparisons[i];
        if (c->i_round == i_round && c->metric == metric)
            return c;
    }
    return NULL;
}

static void faster_round_is_found_and_improved(void **state)
{
    (void)state;
    struct fake fake;
    make(&fake, 1.2);
    analyse(&fake);
    const struct snug_lab_comparison *decode = find(&fake, 1, SNUG_LAB_DECODE);
    const struct snug_lab_comparison *ttft = find(&fake, 1, SNUG_LAB_TTFT);
    assert_int_equal(decode->n_pairs, 8);
    assert_true(decode->ratio.mid > 1.19 && decode->ratio.mid < 1.21 && decode->ratio.lo > 1.0);
    assert_contains(decode->words, "a is 1.20 times faster than baseline");
    assert_true(ttft->ratio.mid < 0.85);
    assert_contains(ttft->words, "a is 1.20 times faster than baseline");
    assert_int_equal(fake.analysis.n_summaries, 3);
    assert_int_equal(fake.analysis.summaries[0].improved, SNUG_LAB_UNKNOWN);
    assert_int_equal(fake.analysis.summaries[1].improved, SNUG_LAB_YES);
    assert_int_equal(fake.analysis.summaries[2].improved, SNUG_LAB_NO);
    clear(&fake);
}

/* A round that is faster in one phase and slower in the other beyond the tolerance. */
static void round_that_is_worse_in_one_metric_is_not_improved(void **state)
{
    (void)state;
    struct fake fake;
    make(&fake, 1.3);
    for (int i = 0; i < fake.plan.n_rows; i++) {
        if (fake.plan.rows[i].i_round == 1)
            fake.m[i].decode_tps /= 1.5;
    }
    analyse(&fake);
    assert_int_equal(fake.analysis.summaries[1].improved, SNUG_LAB_NO);
    assert_contains(fake.analysis.summaries[1].why, "worse in decode_tps");
    clear(&fake);
}

static void failed_rows_are_counted_and_in_no_figure(void **state)
{
    (void)state;
    struct fake fake;
    make(&fake, 1.2);
    int n_failed = 0;
    for (int i = 0; i < fake.plan.n_rows; i++) {
        if (fake.plan.rows[i].i_round == 1 && n_failed < 2) {
            fake.m[i] = (struct snug_measurement){
                .outcome = SNUG_TRIAL_OOM, .prefill_tps = 1e9, .reason = "no room"};
            n_failed++;
        }
    }
    analyse(&fake);
    const struct snug_lab_summary *s = &fake.analysis.summaries[1];
    assert_int_equal(s->n_ok, 6);
    assert_int_equal(s->n_failed, 2);
    assert_true(s->prefill_tps.hi < 200.0);
    assert_int_equal(find(&fake, 1, SNUG_LAB_DECODE)->n_pairs, 6);
    assert_int_equal(s->improved, SNUG_LAB_UNKNOWN);
    assert_contains(s->why, "2 of 8 rows failed: no room");
    clear(&fake);
}

static void few_pairs_say_nothing(void **state)
{
    (void)state;
    struct fake fake;
    make(&fake, 1.2);
    for (int i = 15; i < fake.plan.n_rows; i++)
        fake.rows[i] = NULL; /* a run that was stopped after 5 blocks */
    analyse(&fake);
    assert_int_equal(find(&fake, 1, SNUG_LAB_DECODE)->n_pairs, 5);
    assert_contains(find(&fake, 1, SNUG_LAB_DECODE)->words, "too few");
    assert_int_equal(fake.analysis.summaries[1].improved, SNUG_LAB_UNKNOWN);
    clear(&fake);
}

static void rules_of_the_moment_need_more_than_a_fifth_of_the_rows(void **state)
{
    (void)state;
    for (int n = 1; n <= 2; n++) {
        struct fake fake;
        int n_marked = 0;
        make(&fake, 1.2);
        for (int i = 0; i < fake.plan.n_rows; i++) {
            if (fake.plan.rows[i].i_round == 1 && n_marked < n) {
                fake.m[i].warnings = SNUG_WARN(OTHER_LOAD);
                n_marked++;
            }
        }
        analyse(&fake);
        const struct snug_lab_summary *s = &fake.analysis.summaries[1];
        assert_int_equal(snug_verdict_of(s->warnings), n == 1 ? SNUG_VALID : SNUG_INVALID);
        assert_int_equal(s->improved, n == 1 ? SNUG_LAB_YES : SNUG_LAB_UNKNOWN);
        clear(&fake);
    }
    struct fake fake;
    make(&fake, 1.2);
    for (int i = 0; i < fake.plan.n_rows; i++) {
        if (fake.plan.rows[i].i_round == 1) {
            fake.m[i].warnings = SNUG_WARN(CONFIG_DIFFERS);
            break;
        }
    }
    analyse(&fake);
    assert_int_equal(snug_verdict_of(fake.analysis.summaries[1].warnings), SNUG_INVALID);
    clear(&fake);
}

/* 0.1 % a minute: 24 rows a minute apart, baseline rows among them. */
static void drift_of_the_baseline_is_its_slope(void **state)
{
    (void)state;
    struct fake fake;
    make(&fake, 1.2);
    analyse(&fake);
    assert_int_equal(fake.analysis.n_drifts, 2);
    const struct snug_lab_drift *drift = &fake.analysis.drifts[0];
    assert_int_equal(drift->n_points, 8);
    assert_true(fabs(drift->frac_per_hour.mid - 60.0 * log(0.999)) < 1e-6);
    assert_true(drift->frac_over_run.mid < -0.01 && drift->frac_over_run.mid > -0.03);
    clear(&fake);
}

/* Baseline speeds v (1 + 0.01 k): MAD / median follows from the definition. */
static void noise_is_the_spread_of_the_baseline(void **state)
{
    (void)state;
    struct fake fake;
    double frac = -1.0, speeds[8];
    int n = 0, k = 0;
    make(&fake, 1.2);
    for (int i = 0; i < fake.plan.n_rows; i++) {
        fake.m[i].decode_tps = 10.0;
        if (fake.plan.rows[i].i_round == 0) {
            speeds[k] = 100.0 * (1.0 + 0.01 * ((k * 5) % 8)); /* no drift: not in order */
            fake.m[i].prefill_tps = speeds[k++];
        }
    }
    assert_int_equal(k, 8);
    analyse(&fake);
    assert_int_equal(snug_verdict_of(fake.analysis.summaries[0].warnings), SNUG_VALID);
    assert_true(snug_lab_noise(&fake.plan, fake.rows, &fake.analysis, &frac, &n));
    assert_int_equal(n, 8);
    const double want = snug_stats_mad(speeds, 8) / snug_stats_median(speeds, 8);
    assert_true(want > 0.01 && fabs(frac - want) < 1e-12);
    /* Five rows are too few, and a baseline that is not VALID counts for nothing. */
    struct snug_lab_summary *baseline = &fake.analysis.summaries[0];
    baseline->warnings = SNUG_WARN(DRIFT);
    frac = -1.0;
    assert_false(snug_lab_noise(&fake.plan, fake.rows, &fake.analysis, &frac, &n));
    baseline->warnings = 0;
    for (int i = 0; i < fake.plan.n_rows && k > 5; i++) {
        if (fake.plan.rows[i].i_round == 0) {
            fake.m[i].outcome = SNUG_TRIAL_CRASH;
            k--;
        }
    }
    assert_false(snug_lab_noise(&fake.plan, fake.rows, &fake.analysis, &frac, &n));
    assert_true(frac < 0.0);
    clear(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faster_round_is_found_and_improved),
        cmocka_unit_test(round_that_is_worse_in_one_metric_is_not_improved),
        cmocka_unit_test(noise_is_the_spread_of_the_baseline),
        cmocka_unit_test(failed_rows_are_counted_and_in_no_figure),
        cmocka_unit_test(few_pairs_say_nothing),
        cmocka_unit_test(rules_of_the_moment_need_more_than_a_fifth_of_the_rows),
        cmocka_unit_test(drift_of_the_baseline_is_its_slope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
