/* snug/meters.h: sampling the machine beside a run, from a thread of its own.
 *
 * Every source is read below a root, so recorded machines replay. A source that is missing gives
 * NAN and a reason. Cost: under 1 % of a core at the default period (measured: sampler_cpu_s). */
#ifndef SNUG_METERS_H
#define SNUG_METERS_H

#include "snug/conditions.h"

#ifdef __cplusplus
extern "C" {
#endif

struct snug_meters;

struct snug_meters_options {
    const char *root;       /* "" for the real machine */
    const char *model_path; /* whose page-cache residency is looked at; NULL: none */
    double period_s;        /* between looks; 0: 0.1; at least 0.01 */
    double idle_w;          /* as snug_meters_idle measured it; NAN: not known */
    bool is_sampling_off;   /* totals by difference only, no thread, no samples */
};

/* Begin. The process that is watched as "own" is the calling one, all its threads. */
snug_status snug_meters_start(const struct snug_meters_options *options, struct snug_meters **out,
                              struct snug_error *err) SNUG_CHECKED;
enum snug_meters_phase { SNUG_METERS_NONE, SNUG_METERS_PREFILL, SNUG_METERS_DECODE };
/* From here on joules and seconds count for this phase (NONE: for none). Cheap; any thread, one at
 * a time. */
void snug_meters_phase(struct snug_meters *meters, enum snug_meters_phase phase);
/* End, and say what went on. *out_samples (may be NULL) is malloc'ed, or NULL when there are none.
 * meters is freed. NULL meters: out is what snug_conditions_init gives. */
void snug_meters_stop(struct snug_meters *meters, struct snug_conditions *out,
                      struct snug_condition_sample **out_samples, int *out_n_samples);

/* Share of a file's pages that are in the page cache (mincore on a mapping that touches nothing).
 * NAN when it cannot be told. Cost: about 10 us per MiB. */
double snug_meters_resident_frac(const char *path);
/* Is there an energy source that can be read? out (may be NULL) gets its name, or why not. */
bool snug_meters_has_energy(const char *root, char *out, size_t cap);
/* Watts of the energy source while this process sleeps for about wait_s; NAN when there is no
 * source. */
double snug_meters_idle(const char *root, double wait_s);

#ifdef __cplusplus
}
#endif
#endif
