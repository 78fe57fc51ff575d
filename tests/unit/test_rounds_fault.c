/* Rounds files, their results' arithmetic and their text when memory runs out at any allocation:
 * a clean failure each time, ours and libcyaml's alike. */
#include "fault.h"
#include "test.h"

#include "lab/analyse.h"

static const char FILE_TEXT[] =
    "title: t\nrepetitions: 2\nmodels: [{name: m, path: m}, {name: s, synth: smollm2-135m}]\n"
    "workloads: [{name: w}]\nbaseline: {n_batch: 64}\nrounds: [{name: r, grid: on, weights: [q4_0, "
    "q8_0], knobs: {threads: [1, 2]}}]\nquality: {texts: [a], reference: m}\nrequire: ['tg>=1']\n";

static snug_status use(struct snug_lab_plan *plan, struct snug_error *err)
{
    static const struct snug_workload workloads[2] = {{.n_prompt = 512, .n_gen = 128},
                                                      {.n_prompt = 512, .n_gen = 128}};
    static const struct snug_measurement m = {
        .outcome = SNUG_TRIAL_OK, .prefill_tps = 2.0, .decode_tps = 1.0, .ttft_s = 1.0};
    const struct snug_measurement *rows[64];
    struct snug_lab_analysis analysis = {.n_summaries = 0};
    struct snug_buffer text = {0};
    snug_status status = snug_lab_plan_parse("r.yaml", FILE_TEXT, sizeof FILE_TEXT - 1, plan, err);
    if (status != SNUG_OK)
        return status;
    for (int i = 0; i < plan->n_rows && i < 64; i++)
        rows[i] = &m;
    status = snug_lab_analyse(plan, workloads, rows, NULL, &analysis, err);
    snug_lab_analysis_clear(&analysis);
    if (status == SNUG_OK) {
        snug_lab_plan_write(plan, true, &text);
        if (text.is_failed)
            status = snug_fail(err, SNUG_NO_MEMORY, "no memory for a text");
    }
    snug_buffer_clear(&text);
    return status;
}

static void every_allocation_that_fails_is_told(void **state)
{
    (void)state;
    long n_faults = 0, n_survived = 0;
    for (long n = 0;; n++) {
        struct snug_error err = {0};
        struct snug_lab_plan plan = {0};
        fault_begin(n);
        const snug_status status = use(&plan, &err);
        const bool is_hit = fault_end();
        if (is_hit && status == SNUG_OK)
            n_survived++; /* a bootstrap or a sort without scratch memory does without */
        else if (is_hit && status != SNUG_NO_MEMORY)
            fail_msg("allocation %ld: %s, %s", n, snug_status_name(status), err.text);
        if (!is_hit)
            assert_int_equal(status, SNUG_OK);
        snug_lab_plan_clear(&plan);
        if (!is_hit)
            break;
        n_faults++;
    }
    assert_true(n_faults > 100);
    assert_true(n_survived < n_faults / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_that_fails_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
