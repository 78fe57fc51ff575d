/* snug/conditions.h: what went on beside a trial: clocks, heat, quotas, pressure, faults, energy.
 *
 * A figure that could not be read is NAN, and `unreadable` says why; nothing is guessed. */
#ifndef SNUG_CONDITIONS_H
#define SNUG_CONDITIONS_H

#include "snug/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One look at the machine. Shares and rates are over the time since the look before. */
struct snug_condition_sample {
    float t_s;             /* since measuring began */
    float clock_hz;        /* mean over the CPUs that may be used */
    float temperature_c;   /* the hottest CPU sensor */
    float other_load_frac; /* CPU time of other processes, share of all CPUs */
    float throttled_frac;  /* seconds stopped by the cgroup quota, per second */
    float pressure_cpu_frac, pressure_memory_frac, pressure_io_frac; /* PSI, "some" */
    float power_w;   /* of the energy source; idle not subtracted */
    float rss_bytes; /* resident set of the worker */
};
#define SNUG_CONDITION_SAMPLES_MAX 512 /* after that every second one is dropped, and so on */

/* Joules of the timed blocks, whole source (package or battery), idle not subtracted. */
struct snug_energy {
    bool is_known;
    char source[96];             /* "powercap package-0 + package-1", or why there is none */
    double prefill_j, prefill_s; /* over the timed blocks of each phase */
    double decode_j, decode_s;
    double idle_w;        /* measured before the model was loaded; NAN: not known */
    double uncertainty_j; /* of each phase: one update of the counter, both ends */
};

/* Over the whole measuring time of one trial, warm-up included unless said otherwise. */
struct snug_conditions {
    double wall_s;
    double clock_hz_min, clock_hz_median, clock_hz_max;
    double temperature_c_max;
    double n_thermal_events; /* CPU thermal throttle counters, increase */
    double n_quota_periods;  /* cgroup periods that passed, and in which we were stopped */
    double n_quota_throttled;
    double throttled_s; /* cgroup throttled time */
    double pressure_cpu_frac, pressure_memory_frac,
        pressure_io_frac;        /* PSI "some", share of time */
    double other_load_frac;      /* CPU time of other processes, share of all CPUs */
    double load_average;         /* 1 min, when measuring began */
    double n_major_faults;       /* of the worker */
    double swapped_bytes;        /* in and out, of the machine */
    double resident_before_frac; /* of the model file in the page cache: before its load ... */
    double resident_frac;        /* ... and when measuring began */
    double sampler_cpu_s;        /* CPU time of the sampling thread */
    struct snug_energy energy;
    char unreadable[256]; /* "clock: no cpufreq; temperature: no sensor"; "" for nothing */
};

/* Every figure NAN, energy not known: what a trial has that was not watched. */
void snug_conditions_init(struct snug_conditions *out);

#ifdef __cplusplus
}
#endif
#endif
