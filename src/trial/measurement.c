/* Measurements: names of outcomes and warnings, and the speeds that are compared.
 *
 * Speeds of a request are computed per sequence: prefill_tps and decode_tps are sums over
 * n_parallel sequences, and a request waits for its own share only. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snug/trial.h"

static const char *const OUTCOMES[SNUG_N_OUTCOMES] = {"ok", "oom", "crash", "timeout", "refused"};
static const char *const OBJECTIVES[SNUG_N_OBJECTIVES] = {"decode", "prefill", "request", "energy"};

static int find_name(const char *const *names, int n, const char *name)
{
    for (int i = 0; name && i < n; i++) {
        if (strcmp(names[i], name) == 0)
            return i;
    }
    return -1;
}

const char *snug_outcome_name(enum snug_outcome outcome)
{
    return (unsigned)outcome < SNUG_N_OUTCOMES ? OUTCOMES[outcome] : "unknown";
}

enum snug_outcome snug_outcome_from_name(const char *name)
{
    const int i = find_name(OUTCOMES, SNUG_N_OUTCOMES, name);
    return i < 0 ? SNUG_N_OUTCOMES : (enum snug_outcome)i;
}

const char *snug_objective_name(enum snug_objective objective)
{
    return (unsigned)objective < SNUG_N_OBJECTIVES ? OBJECTIVES[objective] : "unknown";
}

int snug_objective_from_name(const char *name)
{
    return find_name(OBJECTIVES, SNUG_N_OBJECTIVES, name);
}

const char *snug_warning_name(enum snug_warning_bit bit)
{
    static const char *const names[SNUG_N_WARNINGS] = {
#define WARNING_NAME(name, text, level, meaning) text,
        SNUG_WARNINGS(WARNING_NAME)
#undef WARNING_NAME
    };
    return (unsigned)bit < SNUG_N_WARNINGS ? names[bit] : "unknown";
}

const char *snug_warning_meaning(enum snug_warning_bit bit)
{
    static const char *const meanings[SNUG_N_WARNINGS] = {
#define WARNING_MEANING(name, text, level, meaning) meaning,
        SNUG_WARNINGS(WARNING_MEANING)
#undef WARNING_MEANING
    };
    return (unsigned)bit < SNUG_N_WARNINGS ? meanings[bit] : "no such warning";
}

const char *snug_verdict_name(enum snug_verdict verdict)
{
    static const char *const names[SNUG_N_VERDICTS] = {"VALID", "NOTE", "INVALID"};
    return (unsigned)verdict < SNUG_N_VERDICTS ? names[verdict] : "unknown";
}

enum snug_verdict snug_verdict_of(uint32_t warnings)
{
    static const enum snug_verdict levels[SNUG_N_WARNINGS] = {
#define WARNING_LEVEL(name, text, level, meaning) SNUG_##level,
        SNUG_WARNINGS(WARNING_LEVEL)
#undef WARNING_LEVEL
    };
    enum snug_verdict worst = SNUG_VALID;
    for (int bit = 0; bit < SNUG_N_WARNINGS; bit++) {
        if (warnings >> bit & 1u && levels[bit] > worst)
            worst = levels[bit];
    }
    return worst;
}

const char *snug_warnings_text(uint32_t warnings, const char *separator, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = '\0';
    for (int bit = 0; bit < SNUG_N_WARNINGS && n < cap; bit++) {
        if (warnings >> bit & 1u)
            n += (size_t)snprintf(out + n, cap - n, "%s%s", n ? separator : "",
                                  snug_warning_name((enum snug_warning_bit)bit));
    }
    return out;
}

uint32_t snug_warnings_from_text(const char *text)
{
    static const char between[] = " ,";
    uint32_t warnings = 0;
    for (text += strspn(text, between); *text; text += strspn(text, between)) {
        const size_t n = strcspn(text, between);
        for (int bit = 0; bit < SNUG_N_WARNINGS; bit++) {
            const char *name = snug_warning_name((enum snug_warning_bit)bit);
            if (strlen(name) == n && memcmp(name, text, n) == 0)
                warnings |= 1u << bit;
        }
        text += n;
    }
    return warnings;
}

void snug_conditions_init(struct snug_conditions *out)
{
    *out = (struct snug_conditions){
        .wall_s = NAN,
        .clock_hz_min = NAN,
        .clock_hz_median = NAN,
        .clock_hz_max = NAN,
        .temperature_c_max = NAN,
        .n_thermal_events = NAN,
        .n_quota_periods = NAN,
        .n_quota_throttled = NAN,
        .throttled_s = NAN,
        .pressure_cpu_frac = NAN,
        .pressure_memory_frac = NAN,
        .pressure_io_frac = NAN,
        .other_load_frac = NAN,
        .load_average = NAN,
        .n_major_faults = NAN,
        .swapped_bytes = NAN,
        .resident_before_frac = NAN,
        .resident_frac = NAN,
        .sampler_cpu_s = NAN,
        .energy = {.idle_w = NAN},
    };
}

uint64_t snug_bytes_stated(const struct snug_bytes *bytes)
{
    return bytes->weights + bytes->cache + bytes->compute;
}

void snug_measurement_clear(struct snug_measurement *m)
{
    if (!m)
        return;
    free(m->gaps_s);
    free(m->samples);
    memset(m, 0, sizeof *m);
}

void snug_measurement_forget(struct snug_measurement *m)
{
    m->gaps_s = NULL;
    m->samples = NULL;
    m->n_gaps = m->n_samples = 0;
}

/* ---- speeds ---- */

static double n_sequences(const struct snug_workload *workload)
{
    return workload->n_parallel > 1 ? (double)workload->n_parallel : 1.0;
}

/* Seconds that n tokens of one sequence take at tps tokens per second over all of them. */
static double phase_s(int64_t n, double tps, const struct snug_workload *workload)
{
    if (n <= 0)
        return 0.0;
    return tps > 0.0 ? (double)n * n_sequences(workload) / tps : INFINITY;
}

static double request_s(double prefill_tps, double decode_tps, const struct snug_workload *workload)
{
    return phase_s(workload->n_prompt, prefill_tps, workload) +
           phase_s(workload->n_gen, decode_tps, workload);
}

double snug_measurement_request_s(const struct snug_measurement *m,
                                  const struct snug_workload *workload)
{
    if (m->outcome != SNUG_TRIAL_OK)
        return INFINITY;
    return request_s(m->prefill_tps, m->decode_tps, workload);
}

static double speed_of(double prefill_tps, double decode_tps, const struct snug_workload *workload,
                       enum snug_objective objective)
{
    if (objective == SNUG_OBJECTIVE_DECODE)
        return decode_tps;
    if (objective == SNUG_OBJECTIVE_PREFILL)
        return prefill_tps;
    const double s = request_s(prefill_tps, decode_tps, workload);
    return s > 0.0 ? n_sequences(workload) / s : 0.0;
}

double snug_measurement_speed(const struct snug_measurement *m,
                              const struct snug_workload *workload, enum snug_objective objective)
{
    if (m->outcome != SNUG_TRIAL_OK)
        return 0.0;
    if (objective == SNUG_OBJECTIVE_ENERGY) {
        const double joules = snug_measurement_decode_j(m, workload, NULL);
        return joules > 0.0 ? 1.0 / joules : 0.0;
    }
    return speed_of(m->prefill_tps, m->decode_tps, workload, objective);
}

/* Blocks of a phase that the workload has no tokens for do not limit the pairs. */
static int n_blocks(const struct snug_measurement *m, const struct snug_workload *workload,
                    enum snug_objective objective)
{
    const int n_prefill = m->n_prefill_blocks, n_decode = m->n_decode_blocks;
    if (objective == SNUG_OBJECTIVE_ENERGY)
        return 0;
    if (objective == SNUG_OBJECTIVE_PREFILL)
        return n_prefill;
    if (objective == SNUG_OBJECTIVE_DECODE || workload->n_prompt <= 0)
        return n_decode;
    return workload->n_gen <= 0 || n_prefill < n_decode ? n_prefill : n_decode;
}

int snug_measurement_block_speeds(const struct snug_measurement *m,
                                  const struct snug_workload *workload,
                                  enum snug_objective objective, double out[SNUG_BLOCKS_MAX])
{
    const int n = m->outcome == SNUG_TRIAL_OK ? n_blocks(m, workload, objective) : 0;
    for (int i = 0; i < n && i < SNUG_BLOCKS_MAX; i++)
        out[i] = speed_of(m->prefill_block_tps[i], m->decode_block_tps[i], workload, objective);
    return n < SNUG_BLOCKS_MAX ? n : SNUG_BLOCKS_MAX;
}
