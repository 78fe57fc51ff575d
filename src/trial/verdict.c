/* The verdict on a trial: rules over what a measurement holds, and their words.
 *
 * A rule is one function and one row of SNUG_WARNINGS. It looks at blocks, warm-up, gaps and
 * conditions only; nothing is read here, so recorded trials are judged again exactly. A figure that
 * could not be read (NAN) fires no rule: the unreadable ones are listed in the conditions.
 *
 * Drift: Mann-Kendall test of trend (Mann 1945; Kendall 1975) with the Theil-Sen slope (Sen 1968).
 * Two groups: the split of sorted blocks that leaves the least variance within (Fisher 1958). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snug/stats.h"
#include "snug/trial.h"

/* Spread that is normal where the noise floor was never measured. */
static const double NOISE_UNKNOWN_FRAC = 0.05;
/* Blocks of a trial may spread somewhat more than the floor, which is itself an estimate. */
static const double NOISE_FACTOR = 2.0, NOISE_MIN_FRAC = 0.02;
/* A first warm-up block pays for page faults, threads and rising clocks, some 50 ms: only so much
 * more is worth a word. The timed ones had better be alike. */
static const double SLOW_WARMUP_FRAC = 0.5, SLOW_WARMUP_S = 0.2, SLOW_FIRST_FRAC = 0.9;
static const double THROTTLED_FRAC = 0.005; /* of the time: less stops no block noticeably */
static const double OTHER_LOAD_FRAC = 0.10; /* of all CPUs */
static const double RESIDENT_FRAC = 0.90;
static const double MAJOR_FAULTS = 64.0; /* programs page in some of their own code */
static const double SWAPPED_BYTES = 1 << 20;
static const double DRIFT_FRAC = 0.05; /* first to last block, along the slope */
static const double DRIFT_Z = 1.96;    /* two-sided 5 % */
#define DRIFT_BLOCKS_MIN 6
static const double GROUPS_GAP_FRAC = 0.08, GROUPS_GAP_SD = 4.0;
#define GROUPS_BLOCKS_MIN 8

struct blocks {
    const char *name;
    const double *tps;
    size_t n;
    const double *warmup_tps;
    size_t n_warmup;
    double n_tokens; /* of a block, over all sequences; 0 where nobody asks */
};

static struct blocks blocks_of(const struct snug_measurement *m, bool is_prefill)
{
    return is_prefill ? (struct blocks){"prefill",
                                        m->prefill_block_tps,
                                        (size_t)m->n_prefill_blocks,
                                        m->warmup_prefill_block_tps,
                                        (size_t)m->n_warmup_prefill_blocks,
                                        0.0}
                      : (struct blocks){"decode",
                                        m->decode_block_tps,
                                        (size_t)m->n_decode_blocks,
                                        m->warmup_decode_block_tps,
                                        (size_t)m->n_warmup_decode_blocks,
                                        0.0};
}

/* ---- figures ---- */

static double noise_limit(const struct snug_measurement *m)
{
    if (!(m->noise_frac > 0.0))
        return NOISE_UNKNOWN_FRAC;
    return fmax(NOISE_FACTOR * m->noise_frac, NOISE_MIN_FRAC);
}

static double spread_frac(const struct blocks *b)
{
    return b->n < 3 ? 0.0 : snug_stats_mad(b->tps, b->n) / snug_stats_median(b->tps, b->n);
}

/* How slow the first run was against the settled ones, as a share; 1 when nothing tells. */
static double first_frac(const struct blocks *b)
{
    return b->n_warmup > 0 && b->n > 0 ? b->warmup_tps[0] / snug_stats_median(b->tps, b->n) : 1.0;
}

static bool is_first_slow(const struct blocks *b)
{
    const double frac = first_frac(b);
    const double lost_s = b->n_warmup > 0 ? b->n_tokens / b->warmup_tps[0] * (1.0 - frac) : 0.0;
    return frac < SLOW_WARMUP_FRAC && lost_s > SLOW_WARMUP_S;
}

static double first_block_frac(const struct blocks *b)
{
    return b->n > 1 ? b->tps[0] / snug_stats_median(b->tps + 1, b->n - 1) : 1.0;
}

/* Relative change from the first to the last block along the median slope; 0 when no trend is
 * shown. */
static double drift_frac(const struct blocks *b)
{
    double slopes[SNUG_BLOCKS_MAX * (SNUG_BLOCKS_MAX - 1) / 2];
    size_t n_slopes = 0;
    double score = 0.0;
    const double n = (double)b->n;
    if (b->n < DRIFT_BLOCKS_MIN)
        return 0.0;
    for (size_t i = 0; i < b->n; i++) {
        for (size_t j = i + 1; j < b->n; j++) {
            const double d = b->tps[j] - b->tps[i];
            score += (d > 0.0) - (d < 0.0);
            slopes[n_slopes++] = d / (double)(j - i);
        }
    }
    const double variance = n * (n - 1.0) * (2.0 * n + 5.0) / 18.0;
    const double z = (fabs(score) - 1.0) / sqrt(variance);
    if (z < DRIFT_Z)
        return 0.0;
    return snug_stats_median(slopes, n_slopes) * (n - 1.0) / snug_stats_median(b->tps, b->n);
}

static int compare_numbers(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double squares_about_mean(const double *x, size_t n)
{
    const double mean = snug_stats_mean(x, n);
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return sum;
}

/* Distance of the two groups' means relative to the median, when blocks fall into two that are well
 * apart and neither is a mere outlier; else 0. */
static double groups_frac(const struct blocks *b)
{
    double sorted[SNUG_BLOCKS_MAX], best_within = INFINITY, best_gap = 0.0;
    if (b->n < GROUPS_BLOCKS_MIN)
        return 0.0;
    memcpy(sorted, b->tps, b->n * sizeof *sorted);
    qsort(sorted, b->n, sizeof *sorted, compare_numbers);
    for (size_t k = (b->n + 3) / 4; k <= b->n - (b->n + 3) / 4; k++) {
        const double within =
            squares_about_mean(sorted, k) + squares_about_mean(sorted + k, b->n - k);
        if (within < best_within) {
            best_within = within;
            best_gap = snug_stats_mean(sorted + k, b->n - k) - snug_stats_mean(sorted, k);
        }
    }
    const double sd = sqrt(best_within / (double)(b->n - 2));
    const double frac = best_gap / snug_stats_median(sorted, b->n);
    return best_gap > GROUPS_GAP_SD * sd && frac > GROUPS_GAP_FRAC ? frac : 0.0;
}

/* ---- rules ---- */

static uint32_t judge_blocks(const struct snug_measurement *m, const struct blocks *b)
{
    uint32_t found = 0;
    if (b->n == 0)
        return 0;
    if (spread_frac(b) > noise_limit(m))
        found |= SNUG_WARN(NOISY);
    if (is_first_slow(b) || first_block_frac(b) < SLOW_FIRST_FRAC)
        found |= SNUG_WARN(SLOW_FIRST);
    if (fabs(drift_frac(b)) > DRIFT_FRAC)
        found |= SNUG_WARN(DRIFT);
    if (groups_frac(b) > 0.0)
        found |= SNUG_WARN(BIMODAL);
    return found;
}

static uint32_t judge_conditions(const struct snug_measurement *m)
{
    const struct snug_conditions *c = &m->conditions;
    uint32_t found = 0;
    if (c->throttled_s > THROTTLED_FRAC * c->wall_s)
        found |= SNUG_WARN(THROTTLED);
    if (c->other_load_frac > OTHER_LOAD_FRAC)
        found |= SNUG_WARN(OTHER_LOAD);
    if (c->n_thermal_events > 0.0)
        found |= SNUG_WARN(THERMAL);
    if (m->load_s > 0.0 && c->resident_before_frac < RESIDENT_FRAC)
        found |= SNUG_WARN(COLD_CACHE);
    if (c->n_major_faults > MAJOR_FAULTS)
        found |= SNUG_WARN(PAGING);
    if (c->swapped_bytes > SWAPPED_BYTES)
        found |= SNUG_WARN(SWAPPING);
    return found;
}

/* libllama holds no larger batch than its context, and says so; everything else must be as asked.
 */
static bool ran_as_asked(const struct snug_space *space, const struct snug_config *asked,
                         const struct snug_config *effective, const struct snug_workload *workload)
{
    const int64_t n_cells = workload->n_ctx * workload->n_parallel;
    for (int i = 0; i < space->n; i++) {
        const int64_t want = asked->value[i], got = effective->value[i];
        const bool is_batch = strcmp(space->knobs[i].name, "n_batch") == 0 ||
                              strcmp(space->knobs[i].name, "n_ubatch") == 0;
        if (got != want && !(is_batch && got < want && got >= n_cells))
            return false;
    }
    return true;
}

void snug_verdict_judge(struct snug_measurement *m, const struct snug_space *space,
                        const struct snug_config *asked, const struct snug_workload *workload,
                        double noise_frac)
{
    m->noise_frac = noise_frac > 0.0 ? noise_frac : 0.0;
    uint32_t found = m->warnings & SNUG_WARN(UNSETTLED); /* only who warmed up knows */
    struct blocks prefill = blocks_of(m, true), decode = blocks_of(m, false);
    prefill.n_tokens = (double)(workload->n_prompt * workload->n_parallel);
    decode.n_tokens = (double)(workload->n_gen * workload->n_parallel);
    found |= judge_blocks(m, &prefill) | judge_blocks(m, &decode) | judge_conditions(m);
    if (m->n_decode_blocks > 0 && m->n_gaps < snug_stats_quantile_needs(0.95))
        found |= SNUG_WARN(FEW_SAMPLES);
    if (!ran_as_asked(space, asked, &m->effective, workload))
        found |= SNUG_WARN(CONFIG_DIFFERS);
    if (m->n_cached_hits > 0)
        found |= SNUG_WARN(CACHE_HITS);
    if (m->n_decode_blocks > 0 && m->n_output >= 0 && m->n_output != workload->n_gen)
        found |= SNUG_WARN(OUTPUT_LENGTH);
    m->warnings = found;
}

/* ---- words ---- */

/* The phase in which a figure is worse, and the figure. */
static double worse(const struct snug_measurement *m, double (*figure)(const struct blocks *b),
                    bool is_low_bad, const char **out_phase)
{
    const struct blocks prefill = blocks_of(m, true), decode = blocks_of(m, false);
    const double a = figure(&prefill), b = figure(&decode);
    const bool is_first =
        prefill.n > 0 && (decode.n == 0 || (is_low_bad ? a <= b : fabs(a) >= fabs(b)));
    *out_phase = is_first ? prefill.name : decode.name;
    return is_first ? a : b;
}

static void words_of_blocks(const struct snug_measurement *m, enum snug_warning_bit bit, char *out,
                            size_t cap)
{
    const char *phase = "";
    double x = 0.0;
    switch (bit) {
    case SNUG_WARN_BIT_NOISY:
        x = worse(m, spread_frac, false, &phase);
        snprintf(out, cap, "%s blocks spread %.1f %% (MAD), more than the %.1f %% that %s", phase,
                 100.0 * x, 100.0 * noise_limit(m),
                 m->noise_frac > 0.0 ? "this machine's noise floor allows" : "is usual");
        break;
    case SNUG_WARN_BIT_SLOW_FIRST:
        x = fmin(worse(m, first_frac, true, &phase), 1.0);
        if (x >= SLOW_WARMUP_FRAC)
            x = worse(m, first_block_frac, true, &phase);
        snprintf(out, cap, "the first %s run was %.1f times slower than the settled ones", phase,
                 x > 0.0 ? 1.0 / x : INFINITY);
        break;
    case SNUG_WARN_BIT_DRIFT:
        x = worse(m, drift_frac, false, &phase);
        snprintf(out, cap, "%s speed %s by %.0f %% over the timed blocks", phase,
                 x > 0.0 ? "rose" : "fell", 100.0 * fabs(x));
        break;
    default:
        x = worse(m, groups_frac, false, &phase);
        snprintf(out, cap, "%s blocks fall into two groups %.0f %% apart", phase, 100.0 * x);
        break;
    }
}

/* "n_threads asked 2, ran 1" is not told here: the asked config is not part of a measurement. */
static void words_of_conditions(const struct snug_measurement *m, enum snug_warning_bit bit,
                                char *out, size_t cap)
{
    const struct snug_conditions *c = &m->conditions;
    switch (bit) {
    case SNUG_WARN_BIT_THROTTLED:
        snprintf(out, cap, "a CPU quota stopped the process for %.1f of %.1f s", c->throttled_s,
                 c->wall_s);
        break;
    case SNUG_WARN_BIT_OTHER_LOAD:
        snprintf(out, cap, "other processes took %.0f %% of the CPUs", 100.0 * c->other_load_frac);
        break;
    case SNUG_WARN_BIT_THERMAL:
        snprintf(out, cap, "the CPU throttled itself for heat %.0f times", c->n_thermal_events);
        break;
    case SNUG_WARN_BIT_COLD_CACHE:
        snprintf(out, cap, "only %.0f %% of the model was in the page cache when it was loaded",
                 100.0 * c->resident_before_frac);
        break;
    case SNUG_WARN_BIT_PAGING:
        snprintf(out, cap, "%.0f major page faults while it was timed", c->n_major_faults);
        break;
    case SNUG_WARN_BIT_SWAPPING:
        snprintf(out, cap, "the machine swapped %.0f MiB", c->swapped_bytes / (1 << 20));
        break;
    case SNUG_WARN_BIT_FEW_SAMPLES:
        snprintf(out, cap, "%d token gaps, a 95 %% quantile needs %d: the maximum is shown",
                 m->n_gaps, snug_stats_quantile_needs(0.95));
        break;
    case SNUG_WARN_BIT_CACHE_HITS:
        snprintf(out, cap, "%lld prompt tokens were in the cache already",
                 (long long)m->n_cached_hits);
        break;
    case SNUG_WARN_BIT_OUTPUT_LENGTH:
        snprintf(out, cap, "%lld tokens came out per sequence, not as many as asked",
                 (long long)m->n_output);
        break;
    default:
        snprintf(out, cap, "%s", snug_warning_meaning(bit));
        break;
    }
}

const char *snug_warning_words(const struct snug_measurement *m, enum snug_warning_bit bit,
                               char *out, size_t cap)
{
    const uint32_t of_blocks =
        SNUG_WARN(NOISY) | SNUG_WARN(SLOW_FIRST) | SNUG_WARN(DRIFT) | SNUG_WARN(BIMODAL);
    if (of_blocks >> bit & 1u)
        words_of_blocks(m, bit, out, cap);
    else
        words_of_conditions(m, bit, out, cap);
    return out;
}
