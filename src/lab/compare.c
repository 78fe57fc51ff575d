/* The comparison of two configs: pairs in random order, their ratios, the verdict. */
#include "lab/compare.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double LEVEL = 0.95;
static const size_t N_RESAMPLES = 2000;
static const double MOMENT_FRAC = 0.2; /* of the visits */
#define PAIRS_BETWEEN_LOOKS 4
/* A pair has few blocks: what needs many is judged over pairs, or not at all. */
static const uint32_t OF_BLOCKS = SNUG_WARN(NOISY) | SNUG_WARN(SLOW_FIRST) | SNUG_WARN(UNSETTLED) |
                                  SNUG_WARN(DRIFT) | SNUG_WARN(BIMODAL) | SNUG_WARN(FEW_SAMPLES);
static const uint32_t OF_MOMENT =
    SNUG_WARN(THROTTLED) | SNUG_WARN(OTHER_LOAD) | SNUG_WARN(PAGING) | SNUG_WARN(COLD_CACHE);

const char *snug_compare_metric_name(enum snug_compare_metric metric)
{
    static const char *const names[SNUG_COMPARE_N_METRICS] = {"prefill", "decode", "request"};
    return (unsigned)metric < SNUG_COMPARE_N_METRICS ? names[metric] : "unknown";
}

struct tally {
    int n_visits, n_bits[SNUG_N_WARNINGS];
};

struct run {
    struct snug_compare_side *side;
    const struct snug_compare_options *options;
    struct tally tally[2];
    bool is_stopped, is_swapped, is_first_swapped;
};

static void count(struct tally *tally, uint32_t warnings)
{
    tally->n_visits++;
    for (int bit = 0; bit < SNUG_N_WARNINGS; bit++)
        tally->n_bits[bit] += (warnings >> bit & 1u) != 0;
}

static uint32_t warnings_of(const struct tally *tally)
{
    uint32_t found = 0;
    for (int bit = 0; bit < SNUG_N_WARNINGS; bit++) {
        const uint32_t mask = 1u << bit;
        const double limit = mask & OF_MOMENT ? MOMENT_FRAC * tally->n_visits : 0.0;
        if (!(mask & OF_BLOCKS) && tally->n_bits[bit] > limit)
            found |= mask;
    }
    return found;
}

static bool is_new_each_pair(const struct run *r)
{
    return !r->options->may_swap && r->side[0].engine != r->side[1].engine;
}

/* Who runs in which process: of two whole pairs one each way, in the order of the seed. */
static void assign(struct run *r, int i_pair, int n_whole, struct snug_rng *rng)
{
    if (r->options->may_swap && n_whole % 2 == 0)
        r->is_first_swapped = snug_rng_below(rng, 2) == 1;
    r->is_swapped = r->options->may_swap && r->is_first_swapped == (n_whole % 2 == 0);
    for (int s = 0; s < 2 && i_pair > 0 && is_new_each_pair(r); s++)
        snug_engine_restart(r->side[s].engine);
}

/* One visit; speeds are 0 when the trial failed. */
static snug_status visit(struct run *r, int which, int i_pair, double speed[SNUG_COMPARE_N_METRICS],
                         struct snug_error *err)
{
    static const enum snug_objective objectives[SNUG_COMPARE_N_METRICS] = {
        SNUG_OBJECTIVE_PREFILL, SNUG_OBJECTIVE_DECODE, SNUG_OBJECTIVE_REQUEST};
    const struct snug_compare_options *o = r->options;
    struct snug_compare_side *side = &r->side[which];
    struct snug_effort effort = o->effort;
    struct snug_measurement m = {0};
    struct snug_engine *engine = r->side[r->is_swapped ? 1 - which : which].engine;
    /* Warm for good after the first pair: the model stays loaded and its threads alive. */
    if (i_pair > 0 && !is_new_each_pair(r))
        effort.warmup_max = 1;
    snug_status status = snug_engine_run(engine, &side->config, &effort, &m, err);
    if (status != SNUG_OK)
        return status;
    for (int k = 0; k < SNUG_COMPARE_N_METRICS; k++)
        speed[k] = snug_measurement_speed(&m, &o->workload, objectives[k]);
    if (m.outcome == SNUG_TRIAL_OK) {
        side->bytes = m.bytes;
        count(&r->tally[which], m.warnings);
    } else {
        side->n_failed++;
        side->last_outcome = m.outcome;
        snprintf(side->last_reason, sizeof side->last_reason, "%s", m.reason);
    }
    if (o->on_visit && !o->on_visit(which, i_pair, &m, o->data, err))
        r->is_stopped = true;
    snug_measurement_clear(&m);
    return SNUG_OK;
}

static bool is_whole(const double a[SNUG_COMPARE_N_METRICS], const double b[SNUG_COMPARE_N_METRICS])
{
    bool has_any = false;
    for (int k = 0; k < SNUG_COMPARE_N_METRICS; k++) {
        if ((a[k] > 0.0) != (b[k] > 0.0))
            return false;
        has_any = has_any || a[k] > 0.0;
    }
    return has_any;
}

/* The ratio over pairs. Of two pairs in which the sides changed workers the geometric mean is taken
 * first: what a worker is faster by cancels in it, exactly, and the doubled pairs are alike again.
 */
static struct snug_interval ratio_of(const struct run *r, int metric, int n)
{
    const double *a = r->side[0].speed[metric], *b = r->side[1].speed[metric];
    double doubled[2][SNUG_COMPARE_PAIRS_MAX / 2];
    if (!r->options->may_swap || n / 2 < SNUG_COMPARE_PAIRS_MIN)
        return snug_stats_ratio_pairs(a, b, (size_t)n, LEVEL, N_RESAMPLES, r->options->seed);
    for (int i = 0; i < n / 2; i++) {
        doubled[0][i] = sqrt(a[2 * i] * a[2 * i + 1]);
        doubled[1][i] = sqrt(b[2 * i] * b[2 * i + 1]);
    }
    return snug_stats_ratio_pairs(doubled[0], doubled[1], (size_t)n / 2, LEVEL, N_RESAMPLES,
                                  r->options->seed);
}

/* Looked at now and then: an interval costs some milliseconds. */
static bool is_narrow(const struct run *r, int n)
{
    const struct snug_compare_options *o = r->options;
    bool is_enough = o->width_frac > 0.0 && n >= o->n_pairs_min && n % PAIRS_BETWEEN_LOOKS == 0;
    for (int k = 0; is_enough && k < SNUG_COMPARE_N_METRICS; k++) {
        if (r->side[0].speed[k][0] <= 0.0)
            continue;
        const struct snug_interval ratio = ratio_of(r, k, n);
        is_enough = (ratio.hi - ratio.lo) / 2.0 < o->width_frac;
    }
    return is_enough;
}

static snug_status visit_pairs(struct run *r, int *out_n, struct snug_error *err)
{
    const struct snug_compare_options *o = r->options;
    const int n_most = o->n_pairs < SNUG_COMPARE_PAIRS_MAX ? o->n_pairs : SNUG_COMPARE_PAIRS_MAX;
    struct snug_rng rng;
    snug_rng_init(&rng, o->seed ^ UINT64_C(0x636f6d70617265));
    *out_n = 0;
    for (int i = 0; i < n_most && !r->is_stopped && !(o->stop && *o->stop); i++) {
        double speed[2][SNUG_COMPARE_N_METRICS] = {{0}};
        const int first = (int)snug_rng_below(&rng, 2);
        assign(r, i, *out_n, &rng);
        snug_status status = visit(r, first, i, speed[first], err);
        if (status == SNUG_OK)
            status = visit(r, 1 - first, i, speed[1 - first], err);
        if (status == SNUG_INTERRUPTED) {
            r->is_stopped = true;
            break;
        }
        if (status != SNUG_OK)
            return status;
        if (!is_whole(speed[0], speed[1]))
            continue;
        for (int k = 0; k < SNUG_COMPARE_N_METRICS; k++) {
            r->side[0].speed[k][*out_n] = speed[0][k];
            r->side[1].speed[k][*out_n] = speed[1][k];
        }
        ++*out_n;
        if (is_narrow(r, *out_n))
            break;
    }
    r->is_stopped = r->is_stopped || (o->stop && *o->stop);
    return SNUG_OK;
}

static double ratio_noise(const double *a, const double *b, int n)
{
    double logs[SNUG_COMPARE_PAIRS_MAX];
    for (int i = 0; i < n; i++)
        logs[i] = log(a[i] / b[i]);
    return snug_stats_mad(logs, (size_t)n);
}

snug_status snug_compare_run(struct snug_compare_side side[2],
                             const struct snug_compare_options *options,
                             struct snug_compare_result *out, struct snug_error *err)
{
    struct run r = {.side = side, .options = options};
    struct snug_compare_result result = {.n_pairs = 0};
    for (int s = 0; s < 2; s++)
        side[s].n_failed = 0;
    const snug_status status = visit_pairs(&r, &result.n_pairs, err);
    if (status != SNUG_OK)
        return status;
    const int n = result.n_pairs;
    for (int k = 0; k < SNUG_COMPARE_N_METRICS; k++) {
        const double *a = side[0].speed[k], *b = side[1].speed[k];
        result.has_metric[k] = n > 0 && a[0] > 0.0;
        if (!result.has_metric[k])
            continue;
        result.ratio[k] = ratio_of(&r, k, n);
        result.noise_frac[k] = ratio_noise(a, b, n);
    }
    for (int s = 0; s < 2; s++) {
        side[s].warnings = warnings_of(&r.tally[s]);
        result.warnings |= side[s].warnings;
    }
    result.verdict = snug_verdict_of(result.warnings);
    if (n < SNUG_COMPARE_PAIRS_MIN)
        result.verdict = SNUG_INVALID;
    result.is_stopped = r.is_stopped;
    *out = result;
    return SNUG_OK;
}

const char *snug_compare_words(const struct snug_interval *ratio, const char *a, const char *b,
                               char *out, size_t cap)
{
    if (ratio->lo > 1.0)
        snprintf(out, cap, "%s is %.2f times faster than %s (95 %% interval %.3f to %.3f)", a,
                 ratio->mid, b, ratio->lo, ratio->hi);
    else if (ratio->hi < 1.0)
        snprintf(out, cap, "%s is %.2f times faster than %s (95 %% interval %.3f to %.3f)", b,
                 1.0 / ratio->mid, a, 1.0 / ratio->hi, 1.0 / ratio->lo);
    else
        snprintf(out, cap,
                 "no difference shown between %s and %s: ratio %.3f (95 %% interval %.3f to %.3f)",
                 a, b, ratio->mid, ratio->lo, ratio->hi);
    return out;
}
