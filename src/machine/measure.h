/* Private to the room: timing of repeated passes, and the two things that are measured by it. */
#ifndef SNUG_MACHINE_MEASURE_H
#define SNUG_MACHINE_MEASURE_H

#include "snug/machine.h"

#define SNUG__SAMPLES_MAX 15

/* How often a pass is repeated. One sample is the fastest of n_best passes; samples are taken until
 * budget_s is over, but at least n_min unless those take twice the budget, and at least one. */
struct snug__timing {
    int n_best, n_min;
    double budget_s;
};

/* One pass; false stops the measurement as failed. */
typedef bool (*snug__pass_fn)(void *data);

/* Warm up once, then fill out_s[SNUG__SAMPLES_MAX] with seconds per pass. Returns how many, 0 when
 * a pass failed. */
int snug__time_passes(const struct snug__timing *timing, snug__pass_fn pass, void *data,
                      double *out_s);
/* Interval of the median of amount / seconds[i]. */
struct snug_interval snug__rate(double amount, const double *seconds, int n);

/* Bytes that a read must cover so that the caches hold little of them: 4 x the last level, within
 * 64 MiB .. max_bytes, never above 1/8 of what is available. 0: too little is available. */
uint64_t snug__cold_bytes(const struct snug_machine *machine, uint64_t max_bytes);

/* Read all of data once, as fast as memory gives it: its sum as 64-bit words. data is aligned to 64
 * bytes, n_bytes a multiple of 256. */
uint64_t snug__sum_bytes(const void *data, size_t n_bytes);

/* "ggml 0.27.0" */
void snug__speed_build(char *out, size_t cap);

/* Fill speed->bandwidth within budget_s, for 1 .. n_threads_usable threads. */
snug_status snug__measure_bandwidth(const struct snug_machine *machine, double budget_s,
                                    struct snug_machine_speed *speed,
                                    struct snug_error *err) SNUG_CHECKED;
/* Fill speed->mul_mat within about budget_s, backends loaded before. */
snug_status snug__measure_mul_mat(const struct snug_machine *machine, double budget_s,
                                  struct snug_machine_speed *speed,
                                  struct snug_error *err) SNUG_CHECKED;

#endif
