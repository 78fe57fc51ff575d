/* Summaries, comparisons within blocks, the rule of "improved", drift of the baseline. */
#include "lab/analyse.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lab/compare.h"

static const double LEVEL = 0.95;
static const double KLD_NOTHING = 1e-5; /* nats: what the reference's format rounds off */
static const size_t N_RESAMPLES = 2000;
static const double MOMENT_FRAC = 0.2; /* of the rows */
static const uint32_t OF_MOMENT =
    SNUG_WARN(THROTTLED) | SNUG_WARN(OTHER_LOAD) | SNUG_WARN(PAGING) | SNUG_WARN(COLD_CACHE);
/* Two blocks of a row cannot be judged for these; repetitions are what spreads. */
static const uint32_t OF_BLOCKS = SNUG_WARN(NOISY) | SNUG_WARN(DRIFT) | SNUG_WARN(BIMODAL) |
                                  SNUG_WARN(FEW_SAMPLES) | SNUG_WARN(SLOW_FIRST) |
                                  SNUG_WARN(UNSETTLED);
#define DRIFT_POINTS_MIN 4
#define SLOPE_POINTS_MAX 400 /* slopes are taken of every pair of points */

static const char *const METRIC_NAMES[] = {
#define METRIC_NAME(name, text, is_more_better) text,
    SNUG_LAB_METRICS(METRIC_NAME)
#undef METRIC_NAME
};
static const bool IS_MORE_BETTER[] = {
#define METRIC_MORE(name, text, is_more_better) is_more_better,
    SNUG_LAB_METRICS(METRIC_MORE)
#undef METRIC_MORE
};

const char *snug_lab_metric_name(enum snug_lab_metric metric)
{
    return (unsigned)metric < SNUG_LAB_N_METRICS ? METRIC_NAMES[metric] : "unknown";
}

struct analyser {
    const struct snug_lab_plan *plan;
    const struct snug_workload *workloads;
    const struct snug_measurement *const *rows;
    const struct snug_quality *qualities; /* or NULL */
    struct snug_lab_analysis *out;
    double *a, *b; /* scratch, one per row of the plan each */
    int *index;    /* places in the plan of the rows of one model and workload */
    int n_index;
};

static const struct snug_workload *workload_of(const struct analyser *z, int i_model, int i)
{
    return &z->workloads[i_model * z->plan->n_workloads + i];
}

static bool is_ok(const struct snug_measurement *m)
{
    return m && m->outcome == SNUG_TRIAL_OK;
}

/* NAN when the workload has none of it. */
static double figure(const struct snug_measurement *m, const struct snug_workload *w,
                     enum snug_lab_metric metric)
{
    double value = NAN;
    if (metric == SNUG_LAB_PREFILL)
        value = m->prefill_tps;
    else if (metric == SNUG_LAB_DECODE)
        value = m->decode_tps;
    else if (metric == SNUG_LAB_REQUEST)
        value = snug_measurement_request_s(m, w);
    else if (metric == SNUG_LAB_TTFT)
        value = m->ttft_s;
    else
        value = (double)snug_bytes_stated(&m->bytes);
    return isfinite(value) && value > 0.0 ? value : NAN;
}

/* ---- comparisons ---- */

/* The nearest baseline row of the same block that ran, or -1. Blocks lie together. */
static int nearest_baseline(const struct analyser *z, int i)
{
    const struct snug_lab_row *rows = z->plan->rows;
    for (int away = 1; away < z->plan->n_rows; away++) {
        const int places[2] = {i - away, i + away};
        bool is_inside = false;
        for (int side = 0; side < 2; side++) {
            const int k = places[side];
            if (k < 0 || k >= z->plan->n_rows || rows[k].block != rows[i].block)
                continue;
            is_inside = true;
            if (rows[k].i_round == 0 && is_ok(z->rows[k]))
                return k;
        }
        if (!is_inside)
            break;
    }
    return -1;
}

static int take_pairs(const struct analyser *z, struct snug_lab_comparison *c)
{
    const struct snug_workload *w = workload_of(z, c->i_model, c->i_workload);
    int n = 0;
    for (int at = 0; at < z->n_index; at++) {
        const int i = z->index[at];
        if (z->plan->rows[i].i_round != c->i_round || !is_ok(z->rows[i]))
            continue;
        const int k = nearest_baseline(z, i);
        if (k < 0)
            continue;
        z->a[n] = figure(z->rows[i], w, c->metric);
        z->b[n] = figure(z->rows[k], w, c->metric);
        n += isfinite(z->a[n]) && isfinite(z->b[n]);
    }
    return n;
}

static void put_words(const struct analyser *z, struct snug_lab_comparison *c)
{
    char name[64];
    struct snug_interval faster = c->ratio;
    snprintf(name, sizeof name, "%.60s", z->plan->rounds[c->i_round].name);
    if (c->metric == SNUG_LAB_BYTES) {
        snprintf(c->words, sizeof c->words, "%s needs %.3f times the memory of baseline", name,
                 c->ratio.mid);
        return;
    }
    if (c->n_pairs < SNUG_COMPARE_PAIRS_MIN) {
        snprintf(c->words, sizeof c->words, "%s: %d pairs are too few to say (ratio %.3f)", name,
                 c->n_pairs, c->ratio.mid);
        return;
    }
    if (!IS_MORE_BETTER[c->metric])
        faster = (struct snug_interval){1.0 / c->ratio.hi, 1.0 / c->ratio.mid, 1.0 / c->ratio.lo};
    snug_compare_words(&faster, name, "baseline", c->words, sizeof c->words);
}

static void compare(struct analyser *z, int i_round, int i_model, int i_workload)
{
    for (int metric = 0; metric < SNUG_LAB_N_METRICS; metric++) {
        struct snug_lab_comparison c = {i_round, i_model, i_workload, (enum snug_lab_metric)metric,
                                        .n_pairs = 0};
        c.n_pairs = take_pairs(z, &c);
        if (c.n_pairs == 0)
            continue;
        c.ratio = snug_stats_ratio_pairs(z->a, z->b, (size_t)c.n_pairs, LEVEL, N_RESAMPLES,
                                         z->plan->seed);
        put_words(z, &c);
        z->out->comparisons[z->out->n_comparisons++] = c;
    }
}

static const struct snug_lab_comparison *
find_comparison(const struct analyser *z, const struct snug_lab_summary *s, const char *metric)
{
    /* Those of the summary are the last ones. */
    for (int i = z->out->n_comparisons - 1; i >= 0; i--) {
        const struct snug_lab_comparison *c = &z->out->comparisons[i];
        if (c->i_round != s->i_round || c->i_model != s->i_model || c->i_workload != s->i_workload)
            break;
        if (strcmp(METRIC_NAMES[c->metric], metric) == 0)
            return c;
    }
    return NULL;
}

/* ---- summaries ---- */

static double median_of(const double *x, int n)
{
    return n > 0 ? snug_stats_median(x, (size_t)n) : NAN;
}

static struct snug_interval interval_of(const struct analyser *z, const double *x, int n)
{
    const struct snug_interval none = {NAN, NAN, NAN};
    return n > 0 ? snug_stats_median_interval(x, (size_t)n, LEVEL, N_RESAMPLES, z->plan->seed)
                 : none;
}

/* Figures of the rows of a summary that ran and are positive, by their place in the measurement. */
static int gather(const struct analyser *z, const struct snug_lab_summary *s, size_t offset)
{
    int n = 0;
    for (int at = 0; at < z->n_index; at++) {
        const int i = z->index[at];
        double value;
        if (z->plan->rows[i].i_round != s->i_round || !is_ok(z->rows[i]))
            continue;
        memcpy(&value, (const char *)z->rows[i] + offset, sizeof value);
        if (isfinite(value) && value > 0.0)
            z->a[n++] = value;
    }
    return n;
}

#define GATHER(field) gather(z, s, offsetof(struct snug_measurement, field))

static void count_rows(const struct analyser *z, struct snug_lab_summary *s)
{
    int n_bits[SNUG_N_WARNINGS] = {0};
    for (int at = 0; at < z->n_index; at++) {
        const struct snug_measurement *m = z->rows[z->index[at]];
        if (!m || z->plan->rows[z->index[at]].i_round != s->i_round)
            continue;
        if (!is_ok(m)) {
            s->n_failed++;
            s->last_outcome = m->outcome;
            snprintf(s->reason, sizeof s->reason, "%s", m->reason);
            continue;
        }
        s->n_ok++;
        s->bytes = m->bytes;
        for (int bit = 0; bit < SNUG_N_WARNINGS; bit++)
            n_bits[bit] += (m->warnings >> bit & 1u) != 0;
    }
    for (int bit = 0; bit < SNUG_N_WARNINGS; bit++) {
        const uint32_t mask = 1u << bit;
        const double limit = mask & OF_MOMENT ? MOMENT_FRAC * s->n_ok : 0.0;
        if (!(mask & OF_BLOCKS) && n_bits[bit] > limit)
            s->warnings |= mask;
    }
}

static void summarise(const struct analyser *z, struct snug_lab_summary *s)
{
    count_rows(z, s);
    s->prefill_tps = interval_of(z, z->a, GATHER(prefill_tps));
    s->decode_tps = interval_of(z, z->a, GATHER(decode_tps));
    s->ttft_s = median_of(z->a, GATHER(ttft_s));
    s->tpot_p50_s = median_of(z->a, GATHER(tpot_p50_s));
    s->load_s = median_of(z->a, GATHER(load_s));
    s->first_sample_s = median_of(z->a, GATHER(first_sample_s));
}

/* ---- improved ---- */

enum change { SAME, BETTER, WORSE, UNSURE };

/* In the direction in which more is better. Bytes have no spread: beyond the tolerance counts. */
static enum change change_of(const struct snug_lab_comparison *c, double tolerance)
{
    struct snug_interval r = c->ratio;
    if (!IS_MORE_BETTER[c->metric])
        r = (struct snug_interval){1.0 / c->ratio.hi, 1.0 / c->ratio.mid, 1.0 / c->ratio.lo};
    if (c->metric == SNUG_LAB_BYTES)
        return r.mid > 1.0 + tolerance ? BETTER : r.mid < 1.0 / (1.0 + tolerance) ? WORSE : SAME;
    if (c->n_pairs < SNUG_COMPARE_PAIRS_MIN)
        return UNSURE;
    /* Past the tolerance, and the interval says that it is so: worse. Past it by chance: unsure. */
    if (r.mid < 1.0 - tolerance)
        return r.hi < 1.0 ? WORSE : UNSURE;
    return r.lo > 1.0 ? BETTER : SAME;
}

/* KL divergence against the baseline's: beyond the tolerance and two standard errors of both. */
static enum change change_of_kld(const struct analyser *z, const struct snug_lab_summary *s)
{
    if (!z->qualities)
        return UNSURE;
    const struct snug_estimate mine =
        z->qualities[s->i_round * z->plan->n_models + s->i_model].kld_mean;
    const struct snug_estimate base = z->qualities[s->i_model].kld_mean;
    const double margin = 2.0 * hypot(mine.se, base.se);
    const double tolerance = z->plan->improved.tolerance_frac;
    if (!isfinite(mine.value) || !isfinite(base.value))
        return UNSURE;
    if (mine.value > base.value * (1.0 + tolerance) + margin + KLD_NOTHING)
        return WORSE;
    return mine.value < base.value * (1.0 - tolerance) - margin - KLD_NOTHING ? BETTER : SAME;
}

/* Better on one metric beyond its interval, shown to be worse on none beyond the tolerance. */
static void judge_improved(const struct analyser *z, struct snug_lab_summary *s)
{
    const struct snug_lab_improved *rule = &z->plan->improved;
    const char *better = NULL, *worse = NULL, *unsure = NULL;
    s->improved = SNUG_LAB_UNKNOWN;
    for (int i = 0; i < rule->n_metrics; i++) {
        const struct snug_lab_comparison *c = find_comparison(z, s, rule->metrics[i]);
        const enum change change = strcmp(rule->metrics[i], "kld") == 0 ? change_of_kld(z, s)
                                   : c ? change_of(c, rule->tolerance_frac)
                                       : UNSURE;
        better = change == BETTER && !better ? rule->metrics[i] : better;
        worse = change == WORSE && !worse ? rule->metrics[i] : worse;
        unsure = change == UNSURE && !unsure ? rule->metrics[i] : unsure;
    }
    if (s->n_failed > 0)
        snprintf(s->why, sizeof s->why, "%d of %d rows failed: %.180s", s->n_failed,
                 s->n_failed + s->n_ok, s->reason);
    else if (snug_verdict_of(s->warnings) == SNUG_INVALID)
        snprintf(s->why, sizeof s->why, "its figures are INVALID");
    else if (worse) {
        s->improved = SNUG_LAB_NO;
        snprintf(s->why, sizeof s->why, "worse in %s by more than %.3g %%", worse,
                 100.0 * rule->tolerance_frac);
    } else if (unsure)
        snprintf(s->why, sizeof s->why, "%s is not known well enough", unsure);
    else if (better) {
        s->improved = SNUG_LAB_YES;
        snprintf(s->why, sizeof s->why, "better in %s, worse in none", better);
    } else {
        s->improved = SNUG_LAB_NO;
        snprintf(s->why, sizeof s->why, "no difference shown");
    }
}

/* ---- drift ---- */

static int compare_numbers(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Theil's median of slopes of log speed, with Sen's interval (1968): robust against a disturbed
 * row. Points are thinned to what pairs can be taken of. */
static struct snug_interval slope_of(const struct snug_lab_drift *drift)
{
    const struct snug_interval none = {NAN, NAN, NAN};
    const int step = 1 + (drift->n_points - 1) / SLOPE_POINTS_MAX;
    const int n = drift->n_points > 0 ? (drift->n_points - 1) / step + 1 : 0;
    double *slopes =
        n >= DRIFT_POINTS_MIN ? malloc((size_t)n * (size_t)n / 2 * sizeof *slopes) : NULL;
    size_t n_slopes = 0;
    if (!slopes)
        return none;
    for (int i = 0; i < n; i++) {
        for (int k = i + 1; k < n; k++) {
            const double *p = drift->points[i * step], *q = drift->points[k * step];
            const double hours = (q[0] - p[0]) / 3600.0;
            if (hours > 0.0)
                slopes[n_slopes++] = log(q[1] / p[1]) / hours;
        }
    }
    qsort(slopes, n_slopes, sizeof *slopes, compare_numbers);
    const double c = 1.96 * sqrt((double)n * (n - 1) * (2.0 * n + 5) / 18.0);
    struct snug_interval out = none;
    if (n_slopes > 0) {
        const double lo = ((double)n_slopes - c) / 2.0, hi = ((double)n_slopes + c) / 2.0;
        const size_t last = n_slopes - 1;
        out = (struct snug_interval){slopes[lo > 0.0 ? (size_t)lo : 0],
                                     snug_stats_median(slopes, n_slopes),
                                     slopes[hi < (double)last ? (size_t)hi : last]};
    }
    free(slopes);
    return out;
}

static bool add_drift(struct analyser *z, int i_model, int i_workload, enum snug_lab_metric metric)
{
    const struct snug_workload *w = workload_of(z, i_model, i_workload);
    struct snug_lab_drift drift = {i_model, i_workload, metric, .n_points = 0};
    int n = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int at = 0; at < z->n_index; at++) {
            const int i = z->index[at];
            if (z->plan->rows[i].i_round != 0 || !is_ok(z->rows[i]))
                continue;
            const double value = figure(z->rows[i], w, metric);
            if (!isfinite(value))
                continue;
            if (pass == 0) {
                n++;
            } else {
                drift.points[drift.n_points][0] = z->rows[i]->started_unix_s;
                drift.points[drift.n_points++][1] = value;
            }
        }
        if (n == 0)
            return true;
        if (pass == 0)
            drift.points = snug_arena_alloc(&z->out->arena, (size_t)n, sizeof *drift.points);
        if (!drift.points)
            return false;
    }
    drift.frac_per_hour = slope_of(&drift);
    const double hours = (drift.points[drift.n_points - 1][0] - drift.points[0][0]) / 3600.0;
    drift.frac_over_run = (struct snug_interval){expm1(drift.frac_per_hour.lo * hours),
                                                 expm1(drift.frac_per_hour.mid * hours),
                                                 expm1(drift.frac_per_hour.hi * hours)};
    z->out->drifts[z->out->n_drifts++] = drift;
    return true;
}

/* ---- all ---- */

static bool has_rows(const struct analyser *z, int i_round)
{
    for (int at = 0; at < z->n_index; at++) {
        if (z->rows[z->index[at]] && z->plan->rows[z->index[at]].i_round == i_round)
            return true;
    }
    return false;
}

static void index_rows(struct analyser *z, int i_model, int i_workload)
{
    z->n_index = 0;
    for (int i = 0; i < z->plan->n_rows; i++) {
        if (z->plan->rows[i].i_model == i_model && z->plan->rows[i].i_workload == i_workload)
            z->index[z->n_index++] = i;
    }
}

static bool analyse_one(struct analyser *z, int i_model, int i_workload)
{
    index_rows(z, i_model, i_workload);
    for (int r = 0; r < z->plan->n_rounds; r++) {
        if (!has_rows(z, r))
            continue;
        struct snug_lab_summary *s = &z->out->summaries[z->out->n_summaries++];
        *s = (struct snug_lab_summary){r, i_model, i_workload, .improved = SNUG_LAB_UNKNOWN};
        summarise(z, s);
        if (r > 0) {
            compare(z, r, i_model, i_workload);
            judge_improved(z, s);
        }
    }
    return add_drift(z, i_model, i_workload, SNUG_LAB_PREFILL) &&
           add_drift(z, i_model, i_workload, SNUG_LAB_DECODE);
}

snug_status snug_lab_analyse(const struct snug_lab_plan *plan,
                             const struct snug_workload *workloads,
                             const struct snug_measurement *const *rows,
                             const struct snug_quality *qualities, struct snug_lab_analysis *out,
                             struct snug_error *err)
{
    struct snug_lab_analysis found = {.n_summaries = 0};
    const size_t n_blocks = (size_t)plan->n_models * (size_t)plan->n_workloads;
    const size_t n = n_blocks * (size_t)plan->n_rounds, n_rows = (size_t)plan->n_rows;
    struct snug_arena *arena = &found.arena;
    found.summaries = snug_arena_alloc(arena, n, sizeof *found.summaries);
    found.comparisons = snug_arena_alloc(arena, n * SNUG_LAB_N_METRICS, sizeof *found.comparisons);
    found.drifts = snug_arena_alloc(arena, n_blocks * 2, sizeof *found.drifts);
    struct analyser z = {
        .plan = plan,
        .workloads = workloads,
        .rows = rows,
        .qualities = qualities,
        .out = &found,
        .a = snug_arena_alloc(arena, n_rows, sizeof(double)),
        .b = snug_arena_alloc(arena, n_rows, sizeof(double)),
        .index = snug_arena_alloc(arena, n_rows, sizeof(int)),
    };
    bool is_made = found.summaries && found.comparisons && found.drifts && z.a && z.b && z.index;
    for (int m = 0; is_made && m < plan->n_models; m++) {
        for (int w = 0; is_made && w < plan->n_workloads; w++)
            is_made = analyse_one(&z, m, w);
    }
    if (!is_made) {
        snug_lab_analysis_clear(&found);
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for an analysis");
    }
    *out = found;
    return SNUG_OK;
}

void snug_lab_analysis_clear(struct snug_lab_analysis *analysis)
{
    snug_arena_clear(&analysis->arena);
    memset(analysis, 0, sizeof *analysis);
}
