/* What lay between two looks: rates of a sample, totals of a run, and the words for what could not
 * be read. */
#include "machine/meters_internal.h"

#include <math.h>
#include <string.h>

#include "machine/probe.h"
#include "snug/stats.h"

double snug__increase(double from, double to)
{
    return to >= from ? to - from : NAN;
}

double snug__frac_of(double part, double whole)
{
    if (!(whole > 0) || isnan(part))
        return NAN;
    double frac = part / whole;
    return frac < 0 ? 0 : frac > 1 ? 1 : frac;
}

struct snug__throttling snug__throttled_between(const struct snug__sources *sources,
                                                const struct snug__look *from,
                                                const struct snug__look *to)
{
    struct snug__throttling most = {NAN, NAN, NAN};
    for (int i = 0; i < sources->n_levels; i++) {
        struct snug__throttling now = {
            snug__increase(from->levels[i].n_periods, to->levels[i].n_periods),
            snug__increase(from->levels[i].n_throttled, to->levels[i].n_throttled),
            snug__increase(from->levels[i].throttled_s, to->levels[i].throttled_s),
        };
        bool is_first = isnan(most.n_periods) && !isnan(now.n_periods);
        bool is_more = now.throttled_s > most.throttled_s ||
                       (now.throttled_s == most.throttled_s && most.n_periods == 0);
        if (is_first || is_more)
            most = now;
    }
    return most;
}

double snug__other_load_between(const struct snug__look *from, const struct snug__look *to)
{
    double busy_s = snug__increase(from->busy_s, to->busy_s);
    return snug__frac_of(busy_s - snug__increase(from->own_s, to->own_s),
                         snug__increase(from->total_s, to->total_s));
}

static void find_clock_median(const struct snug_meters *meters, double last_hz, double *out)
{
    double known[SNUG_CONDITION_SAMPLES_MAX];
    size_t n = 0;
    for (int i = 0; i < meters->n_samples; i++)
        if (!isnan(meters->samples[i].clock_hz))
            known[n++] = (double)meters->samples[i].clock_hz;
    *out = n ? snug_stats_median(known, n) : last_hz;
    /* Samples are floats: their median may lie a hair outside. */
    *out = isnan(*out) ? NAN : fmin(fmax(*out, meters->clock_hz_min), meters->clock_hz_max);
}

/* "clock: no cpufreq; temperature: no sensor". The figure decides: a reason alone is none. */
static void tell_unreadable(const struct snug_meters *meters, struct snug_conditions *out)
{
    static const char *const names[] = {
#define METER_TEXT(name, text) text,
        SNUG__METERS(METER_TEXT)
#undef METER_TEXT
    };
    const bool is_missing[SNUG__N_METERS] = {
        [SNUG__METER_CLOCK] = isnan(out->clock_hz_median),
        [SNUG__METER_TEMPERATURE] = isnan(out->temperature_c_max),
        [SNUG__METER_THERMAL] = isnan(out->n_thermal_events),
        [SNUG__METER_QUOTA] = isnan(out->throttled_s),
        [SNUG__METER_PRESSURE] =
            isnan(out->pressure_cpu_frac + out->pressure_memory_frac + out->pressure_io_frac),
        [SNUG__METER_LOAD] = isnan(out->other_load_frac + out->load_average),
        [SNUG__METER_FAULTS] = isnan(out->n_major_faults),
        [SNUG__METER_SWAP] = isnan(out->swapped_bytes),
        [SNUG__METER_RSS] = isnan(meters->last.rss_bytes),
        [SNUG__METER_RESIDENCY] =
            isnan(out->resident_frac) && meters->sources.why[SNUG__METER_RESIDENCY][0],
    };
    char *text = out->unreadable;
    size_t cap = sizeof out->unreadable, n = 0;
    for (int i = 0; i < SNUG__N_METERS && n < cap - 1; i++) {
        const char *why = meters->sources.why[i];
        if (!is_missing[i])
            continue;
        snug__format(text + n, cap - n, "%s%s: %s", n ? "; " : "", names[i],
                     why[0]                ? why
                     : meters->is_sampling ? "no time passed"
                                           : "not sampled");
        n = strlen(text);
    }
    if (!out->energy.is_known && n < cap - 1)
        snug__format(text + n, cap - n, "%senergy: %s", n ? "; " : "", out->energy.source);
}

/* Differences between the first look and this one. */
static void sum_up(const struct snug_meters *meters, const struct snug__look *now,
                   struct snug_conditions *out)
{
    const struct snug__look *first = &meters->first;
    struct snug__throttling throttling = snug__throttled_between(&meters->sources, first, now);
    double *const pressure[] = {&out->pressure_cpu_frac, &out->pressure_memory_frac,
                                &out->pressure_io_frac};
    out->wall_s = now->t_s - first->t_s;
    for (int i = 0; i < 3; i++)
        *pressure[i] =
            snug__frac_of(snug__increase(first->pressure_s[i], now->pressure_s[i]), out->wall_s);
    out->n_quota_periods = throttling.n_periods;
    out->n_quota_throttled = throttling.n_throttled;
    out->throttled_s = throttling.throttled_s;
    out->other_load_frac = snug__other_load_between(first, now);
    out->load_average = meters->load_average;
    out->resident_frac = meters->resident_frac;
    out->sampler_cpu_s = meters->sampler_cpu_s;
    out->clock_hz_min = meters->clock_hz_min;
    out->clock_hz_max = meters->clock_hz_max;
    out->temperature_c_max = meters->temperature_c_max;
    find_clock_median(meters, meters->is_sampling ? now->clock_hz : NAN, &out->clock_hz_median);
    snug__energy_finish(&meters->energy, meters->idle_w, &out->energy);
}

static void compare_ends(struct snug_meters *meters, struct snug_conditions *out)
{
    struct snug__ends ends = {0};
    if (snug__ends_read(&meters->sources, &ends, NULL) == SNUG_OK) {
        out->n_thermal_events = snug__ends_thermal(&meters->ends, &ends);
        out->n_major_faults = snug__increase(meters->ends.n_major_faults, ends.n_major_faults);
        out->swapped_bytes = snug__increase(meters->ends.swapped_bytes, ends.swapped_bytes);
    }
    snug__ends_clear(&ends);
}

void snug__meters_sum(struct snug_meters *meters, const struct snug__look *now,
                      struct snug_conditions *out)
{
    snug_conditions_init(out);
    sum_up(meters, now, out);
    compare_ends(meters, out);
    tell_unreadable(meters, out);
}
