/* Resident memory and CPU frequency over time, by a thread of the traced worker. */
#ifndef SNUG_ENGINE_TRACE_METERS_H
#define SNUG_ENGINE_TRACE_METERS_H

#include <pthread.h>

#include "snug/trace.h"

struct snug__trace_meters {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_running, is_stopping;
    double origin_s, period_s;
    struct snug_trace_sample *samples;
    size_t n;
    char no_frequency[SNUG_REASON_MAX], no_memory[SNUG_REASON_MAX];
};

/* Take one sample and start the thread; times count from origin_s of snug_clock_s. When no
 * thread can be started there are two samples, this one and the last. */
void snug__trace_meters_start(struct snug__trace_meters *m, double origin_s);
/* Take a last sample and end the thread. samples are the caller's to free. */
void snug__trace_meters_stop(struct snug__trace_meters *m);
/* One more sample; with SNUG_TRACE_SAMPLES_MAX of them every second one goes and the period
 * doubles.
 */
void snug__trace_meters_add(struct snug__trace_meters *m, struct snug_trace_sample sample);

/* Mean over the CPUs this process may use, from /proc/cpuinfo or cpufreq below root; 0 with the
 * reason in why when neither says. */
double snug__trace_cpu_mhz(const char *root, char *why, size_t cap);

#endif
