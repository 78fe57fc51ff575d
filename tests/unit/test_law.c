/* The law of a machine: formulas against sums by hand, what may never happen, fits that find the
 * figures they were made from, data sheets, saved probes, and calibrations on disk. */
#include "test.h"

#include <math.h>

#include <ggml.h>

#include "base/file.h"
#include "plan/law_fit.h"
#include "snug/stats.h"

#define FINGERPRINT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define BUILD "libllama 1, ggml 2"

/* One host tier with round figures. */
static struct snug_law plain_law(void)
{
    struct snug_law law = {.n_tiers = 1,
                           .n_threads = 2,
                           .step_s = 1e-3,
                           .ubatch_s = 2e-3,
                           .decode_lo_frac = 0.5,
                           .decode_hi_frac = 2.0,
                           .prefill_lo_frac = 0.25,
                           .prefill_hi_frac = 4.0};
    struct snug_law_tier *tier = &law.tiers[0];
    tier->kind = SNUG_TIER_HOST;
    tier->layer_s = 1e-4;
    tier->layer_token_s = 1e-6;
    tier->token_element_s = 1e-9;
    tier->decode_s_per_byte[GGML_TYPE_Q4_0] = 1e-10;
    tier->decode_s_per_byte[GGML_TYPE_Q6_K] = 2e-10;
    tier->prefill_s_per_flop[GGML_TYPE_Q4_0] = 1e-11;
    tier->prefill_s_per_flop[GGML_TYPE_Q6_K] = 3e-11;
    tier->cache_s_per_byte[GGML_TYPE_F16] = 1e-10;
    tier->attention_s_per_flop[GGML_TYPE_F16] = 1e-11;
    tier->attention_step_s_per_flop[GGML_TYPE_F16] = 1e-10;
    return law;
}

/* 10 layers of 1e6 weights q4_0, a head of 2e6 weights q6_K. */
static struct snug_law_load plain_load(void)
{
    struct snug_law_load load = {.type_k = GGML_TYPE_F16,
                                 .type_v = GGML_TYPE_F16,
                                 .n_head = 8,
                                 .n_embd_head = 64,
                                 .n_embd = 512,
                                 .n_ubatch = 512};
    load.n_layer[0] = 10;
    load.weight_elements[0][GGML_TYPE_Q4_0] = 10000000;
    load.weight_bytes[0][GGML_TYPE_Q4_0] = 5625000;
    load.weight_elements[0][GGML_TYPE_Q6_K] = load.once_elements[0][GGML_TYPE_Q6_K] = 2000000;
    load.weight_bytes[0][GGML_TYPE_Q6_K] = load.once_bytes[0][GGML_TYPE_Q6_K] = 1640625;
    load.cache_bytes_per_token[0] = 10 * 2 * 128 * 2;
    return load;
}

static void assert_near(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-9 * fabs(expected)))
        fail_msg("%.12g is not %.12g", value, expected);
}

static void decode_is_the_sum_by_hand(void **state)
{
    (void)state;
    const struct snug_law law = plain_law();
    const struct snug_law_load load = plain_load();
    const double weights = 5625000 * 1e-10 + 1640625 * 2e-10;
    const double at_0 = weights + 10 * 1e-4 + 1e-3;
    /* 1000 cells: 5120 bytes and 4 * 8 * 64 * 10 FLOPs each */
    const double at_1000 = at_0 + 1000 * (5120 * 1e-10 + 20480 * 1e-10);
    const struct snug_prediction p = snug_law_decode_tps(&law, &load, 0);
    assert_near(p.value, 1.0 / at_0);
    assert_near(p.lo, 0.5 / at_0);
    assert_near(p.hi, 2.0 / at_0);
    assert_near(snug_law_decode_tps(&law, &load, 1000).value, 1.0 / at_1000);
}

static void decode_reads_no_more_than_the_window(void **state)
{
    (void)state;
    const struct snug_law law = plain_law();
    struct snug_law_load load = plain_load();
    const double at_256 = snug_law_decode_tps(&law, &load, 256).value;
    const double at_628 = snug_law_decode_tps(&law, &load, 628).value;
    load.n_swa = 256;
    load.swa_frac = 1.0;
    assert_near(snug_law_decode_tps(&law, &load, 1000).value, at_256);
    load.swa_frac = 0.5; /* 0.5 * 256 + 0.5 * 1000 */
    assert_near(snug_law_decode_tps(&law, &load, 1000).value, at_628);
}

static void prefill_is_the_sum_by_hand(void **state)
{
    (void)state;
    const struct snug_law law = plain_law();
    const struct snug_law_load load = plain_load();
    /* 612 tokens: ubatches of 512 and 100, mean depths 256 and 562; the head's weights once */
    double s = 0.0;
    const double n[] = {512, 100}, depth[] = {256, 562};
    for (int i = 0; i < 2; i++)
        s += 2e-3 + 2 * 1e7 * n[i] * 1e-11 + 10 * 1e-4 + 10 * n[i] * (1e-6 + 512 * 1e-9) +
             n[i] * depth[i] * 20480 * 1e-11;
    s += 1640625 * 2e-10;
    assert_near(snug_law_prefill_tps(&law, &load, 612, 0).value, 612 / s);
}

/* A ubatch of one token is bound by reading the weights, as a step of decode is. */
static void prefill_of_one_token_reads_all_weights(void **state)
{
    (void)state;
    const struct snug_law law = plain_law();
    const struct snug_law_load load = plain_load();
    const double s = 2e-3 + 5625000 * 1e-10 + 10 * 1e-4 + 10 * (1e-6 + 512e-9) +
                     0.5 * 20480 * 1e-11 + 1640625 * 2e-10;
    assert_near(snug_law_prefill_tps(&law, &load, 1, 0).value, 1 / s);
    assert_true(snug_law_prefill_tps(&law, &load, 0, 0).value == 0.0);
}

static void hops_and_corrections_count(void **state)
{
    (void)state;
    struct snug_law law = plain_law();
    struct snug_law_load load = plain_load();
    const double before = snug_law_decode_tps(&law, &load, 0).value;
    law.tiers[0].hop_s = 1e-3;
    load.n_hops = 2;
    assert_near(1.0 / snug_law_decode_tps(&law, &load, 0).value, 1.0 / before + 2e-3);
    load.n_hops = 0;
    law.decode_correction = 1.5;
    assert_near(snug_law_decode_tps(&law, &load, 0).value, 1.5 * before);
}

/* ---- what may never happen ---- */

static void more_work_or_less_bandwidth_is_never_faster(void **state)
{
    (void)state;
    struct snug_rng rng;
    const uint64_t seed = 11;
    snug_rng_init(&rng, seed);
    for (int i = 0; i < 3000; i++) {
        struct snug_law law = plain_law(), slower;
        struct snug_law_load load = plain_load(), more;
        load.weight_bytes[0][GGML_TYPE_Q4_0] = 1 + snug_rng_below(&rng, 1u << 28);
        load.n_ubatch = 1 + (int64_t)snug_rng_below(&rng, 1024);
        const int64_t depth = (int64_t)snug_rng_below(&rng, 5000);
        const int64_t deeper = depth + 1 + (int64_t)snug_rng_below(&rng, 5000);
        const int64_t n = 1 + (int64_t)snug_rng_below(&rng, 2000);
        slower = law;
        slower.tiers[0].decode_s_per_byte[GGML_TYPE_Q4_0] *= 1.0 + snug_rng_double(&rng);
        more = load;
        more.weight_bytes[0][GGML_TYPE_Q4_0] += snug_rng_below(&rng, 1u << 26);
        const double decode = snug_law_decode_tps(&law, &load, depth).value;
        const double prefill = snug_law_prefill_tps(&law, &load, n, depth).value;
        if (!(decode > 0.0 && prefill > 0.0) ||
            snug_law_decode_tps(&law, &load, deeper).value > decode ||
            snug_law_prefill_tps(&law, &load, n, deeper).value > prefill ||
            snug_law_decode_tps(&slower, &load, depth).value > decode ||
            snug_law_decode_tps(&law, &more, depth).value > decode * (1.0 + 1e-12))
            fail_msg("seed %d, case %d", (int)seed, i);
    }
}

/* ---- loads ---- */

static void load_of_a_preset_counts_its_tensors(void **state)
{
    (void)state;
    struct snug_model model;
    struct snug_law_load load;
    struct snug_error err;
    assert_ok(snug_model_open("tinyllama-1.1b:q4_0", &model, &err));
    snug_law_load_init(&model, NULL, 1, GGML_TYPE_F16, GGML_TYPE_Q8_0, 256, &load);
    uint64_t elements = 0, bytes = 0, once = 0;
    for (int y = 0; y < SNUG_MODEL_TYPES_MAX; y++) {
        elements += load.weight_elements[1][y];
        bytes += load.weight_bytes[1][y];
        once += load.once_elements[1][y];
        assert_true(load.weight_bytes[0][y] == 0);
    }
    /* all but the embedding and 45 norms of 2048 */
    assert_int_equal(elements, model.n_params - 32000 * 2048 - 45 * 2048);
    assert_true(bytes > elements / 2 && bytes < elements);
    assert_int_equal(once, 32000 * 2048 + 3 * 2048 * 5632); /* head, feed-forward of the last */
    assert_int_equal(load.n_layer[1], 22);
    assert_int_equal(load.cache_bytes_per_token[1], 22 * (256 * 2 + 256 * 34 / 32));
    assert_int_equal(load.n_embd_head, 64);
    /* other types: bytes of q8_0 everywhere */
    int *types = malloc((size_t)model.n_tensors * sizeof *types);
    for (int i = 0; i < model.n_tensors; i++)
        types[i] = GGML_TYPE_Q8_0;
    snug_law_load_init(&model, types, 0, GGML_TYPE_F16, GGML_TYPE_F16, 256, &load);
    assert_int_equal(load.weight_elements[0][GGML_TYPE_Q8_0], elements);
    assert_int_equal(load.weight_bytes[0][GGML_TYPE_Q8_0], elements / 32 * 34);
    free(types);
    snug_model_clear(&model);
}

static void load_of_a_tied_model_counts_the_embedding_as_head(void **state)
{
    (void)state;
    struct snug_model model;
    struct snug_law_load load;
    struct snug_error err;
    assert_ok(snug_model_open("smollm2-135m:f16", &model, &err));
    snug_law_load_init(&model, NULL, 0, GGML_TYPE_F16, GGML_TYPE_F16, 512, &load);
    assert_int_equal(load.weight_elements[0][GGML_TYPE_F16], model.n_params - 61 * 576);
    assert_int_equal(load.once_elements[0][GGML_TYPE_F16], 49152 * 576 + 3 * 576 * 1536);
    snug_model_clear(&model);
}

/* ---- fits ---- */

static void fit_finds_the_law_that_made_the_trials(void **state)
{
    (void)state;
    static struct snug__law_trial trials[12];
    const struct snug_law truth = plain_law();
    struct snug_law law = {.n_tiers = 1};
    for (int i = 0; i < 12; i++) {
        struct snug__law_trial *t = &trials[i];
        const int type = i % 2 ? GGML_TYPE_Q4_0 : GGML_TYPE_Q6_K;
        t->load = plain_load();
        t->load.n_layer[0] = 2 + 3 * (i % 5);
        t->load.n_head = i % 3 ? 8 : 20;
        t->load.n_embd = i % 4 ? 512 : 2048;
        t->load.weight_elements[0][type] += 3000000 * (uint64_t)(i + 1);
        t->load.weight_bytes[0][type] += 2000000 * (uint64_t)(i + 1);
        t->load.cache_bytes_per_token[0] = 1000 * (uint64_t)(1 + i % 4);
        t->n_prompt = 64 + 32 * (i % 3);
        t->n_gen = 1;
        t->depth = i % 4 == 3 ? 1000 : 300 * (i % 3);
        t->decode_tps = snug_law_decode_tps(&truth, &t->load, t->depth).value;
        t->prefill_tps = snug_law_prefill_tps(&truth, &t->load, t->n_prompt, t->depth).value;
    }
    assert_true(snug__law_fit(trials, 12, 0, &law));
    law.decode_lo_frac = law.decode_hi_frac = 1.0;
    for (int i = 0; i < 12; i++) {
        const double decode = snug_law_decode_tps(&law, &trials[i].load, trials[i].depth).value;
        const double prefill =
            snug_law_prefill_tps(&law, &trials[i].load, trials[i].n_prompt, trials[i].depth).value;
        assert_true(fabs(decode / trials[i].decode_tps - 1.0) < 0.01);
        assert_true(fabs(prefill / trials[i].prefill_tps - 1.0) < 0.01);
    }
    assert_true(fabs(law.tiers[0].decode_s_per_byte[GGML_TYPE_Q4_0] / 1e-10 - 1.0) < 0.05);
    assert_true(law.tiers[0].is_measured[GGML_TYPE_Q4_0]);
    assert_false(law.tiers[0].is_measured[GGML_TYPE_Q8_0]);
    assert_true(law.tiers[0].decode_s_per_byte[GGML_TYPE_IQ3_S] > 0.0);
    assert_false(snug__law_fit(trials, 0, 0, &law));
}

static void fit_is_never_negative(void **state)
{
    (void)state;
    struct snug__fit *fit = calloc(1, sizeof *fit);
    double x[2];
    /* free least squares would give (3, -1) */
    const double rows[3][3] = {{1, 1, 2}, {1, 2, 1}, {2, 1, 5}};
    fit->n_rows = 3;
    fit->n_columns = 2;
    for (int i = 0; i < 3; i++) {
        fit->a[i][0] = rows[i][0];
        fit->a[i][1] = rows[i][1];
        fit->seconds[i] = rows[i][2];
    }
    snug__fit_solve(fit, x);
    assert_true(x[0] > 0.0 && x[1] == 0.0);
    /* relative errors: sum a/b over sum (a/b)^2 = (1/2 + 1 + 2/5) / (1/4 + 1 + 4/25) */
    assert_true(fabs(x[0] - 1.9 / 1.41) < 1e-4);
    free(fit);
}

static void fit_is_not_bent_by_one_disturbed_trial(void **state)
{
    (void)state;
    struct snug__fit *fit = calloc(1, sizeof *fit);
    double plain[2], robust[2];
    fit->n_rows = 12;
    fit->n_columns = 2;
    for (int i = 0; i < fit->n_rows; i++) { /* 2 a + 3 b, 2 % off either way */
        fit->a[i][0] = 1.0 + i;
        fit->a[i][1] = 12.0 - i % 5;
        fit->seconds[i] = (2.0 * fit->a[i][0] + 3.0 * fit->a[i][1]) * (i % 2 ? 1.02 : 0.98);
    }
    fit->seconds[7] *= 0.4;
    snug__fit_solve(fit, plain);
    snug__fit_solve_robust(fit, robust);
    assert_true(fabs(robust[0] - 2.0) < 0.25 && fabs(robust[1] - 3.0) < 0.25);
    assert_true(fabs(robust[0] - 2.0) + fabs(robust[1] - 3.0) <
                0.5 * (fabs(plain[0] - 2.0) + fabs(plain[1] - 3.0)));
    assert_true(fit->weight[7] < 0.2 && fit->weight[3] > 0.9);
    free(fit);
}

static void interval_is_wider_for_types_that_were_not_timed(void **state)
{
    (void)state;
    struct snug_law law = plain_law();
    const struct snug_law_load load = plain_load();
    const struct snug_prediction sheet = snug_law_decode_tps(&law, &load, 0);
    assert_near(sheet.lo, 0.5 * sheet.value); /* none was: the law's own interval knows */
    law.tiers[0].is_measured[GGML_TYPE_Q4_0] = true;
    const struct snug_prediction some = snug_law_decode_tps(&law, &load, 0);
    /* of the seconds of weights 5625000e-10 are timed, 1640625 * 2e-10 are not */
    const double share = 3281250.0 / (3281250.0 + 5625000.0);
    assert_near(some.value, sheet.value);
    assert_near(some.lo, 0.5 * some.value / pow(2.0, share));
    assert_near(some.hi, 2.0 * some.value * pow(2.0, share));
    law.tiers[0].is_measured[GGML_TYPE_Q6_K] = true;
    assert_near(snug_law_decode_tps(&law, &load, 0).hi, sheet.hi);
    const struct snug_prediction prefill = snug_law_prefill_tps(&law, &load, 100, 0);
    assert_near(prefill.hi, 4.0 * prefill.value);
}

/* ---- corrections ---- */

static void correction_is_drawn_to_one_with_few_trials(void **state)
{
    (void)state;
    struct snug_law law = plain_law();
    struct snug_law_residual r[64];
    snug_law_correct(&law, NULL, 0);
    assert_near(law.decode_correction, 1.0);
    for (int i = 0; i < 64; i++)
        r[i] =
            (struct snug_law_residual){.is_same_model = true, .predicted = 10.0, .measured = 12.0};
    double before = 1.0;
    for (int n = 1; n <= 64; n *= 2) {
        snug_law_correct(&law, r, n);
        assert_true(law.decode_correction > before && law.decode_correction < 1.2);
        before = law.decode_correction;
    }
    assert_true(before > 1.19);
    assert_near(law.prefill_correction, 1.0);
    /* an outlier moves no median, nonsense does not count, another model moves less */
    r[0].measured = 1e9;
    r[1].measured = NAN;
    r[2].predicted = 0.0;
    snug_law_correct(&law, r, 64);
    assert_true(law.decode_correction > 1.18 && law.decode_correction < 1.2);
    for (int i = 0; i < 64; i++)
        r[i] = (struct snug_law_residual){.is_prefill = true, .predicted = 10.0, .measured = 12.0};
    snug_law_correct(&law, r, 2);
    const double other = law.prefill_correction;
    r[0].is_same_model = r[1].is_same_model = true;
    snug_law_correct(&law, r, 2);
    assert_true(other > 1.0 && law.prefill_correction > other);
    r[0] = (struct snug_law_residual){.is_same_model = true, .predicted = 1.0, .measured = 1e6};
    snug_law_correct(&law, r, 1);
    assert_true(law.decode_correction <= SNUG_LAW_CORRECTION_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decode_is_the_sum_by_hand),
        cmocka_unit_test(decode_reads_no_more_than_the_window),
        cmocka_unit_test(prefill_is_the_sum_by_hand),
        cmocka_unit_test(prefill_of_one_token_reads_all_weights),
        cmocka_unit_test(hops_and_corrections_count),
        cmocka_unit_test(more_work_or_less_bandwidth_is_never_faster),
        cmocka_unit_test(load_of_a_preset_counts_its_tensors),
        cmocka_unit_test(load_of_a_tied_model_counts_the_embedding_as_head),
        cmocka_unit_test(fit_finds_the_law_that_made_the_trials),
        cmocka_unit_test(fit_is_never_negative),
        cmocka_unit_test(fit_is_not_bent_by_one_disturbed_trial),
        cmocka_unit_test(interval_is_wider_for_types_that_were_not_timed),
        cmocka_unit_test(correction_is_drawn_to_one_with_few_trials),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
