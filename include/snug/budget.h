/* snug/budget.h: what may be used at this moment, as opposed to what is there.
 *
 * Memory is what the system calls available, or what the tightest control group still leaves, less
 * a reserve. Swap never counts. CPUs are those that other processes leave idle plus those that we
 * use ourselves: CPU time is counted over an interval, between two looks. */
#ifndef SNUG_BUDGET_H
#define SNUG_BUDGET_H

#include "snug/machine.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SNUG_BUDGET_INTERVAL_S 0.25 /* default; the kernel counts in steps of 10 ms */

/* bytes less max(5 %, 256 MiB), which the system and other programs keep; 0 when less is there. The
 * one rule of planning, budgets and loads. */
uint64_t snug_budget_usable_bytes(uint64_t bytes);

/* Counters at one moment; the difference of two gives what others left between them. */
struct snug_budget_look {
    struct snug_fact own_s;         /* CPU seconds of our processes, those that ended included */
    struct snug_fact idle_s, all_s; /* CPU seconds of the CPUs that we may use: nobody's, and all */
    struct snug_fact own_bytes;     /* memory that is our processes' alone (resident - shared) */
    int n_cpus;                     /* that we may use, 0: unknown */
};

/* Zero state: this process and its children are ours, the real machine. */
struct snug_budget_options {
    const char *root; /* NULL or "": the real one; tests replay a recorded one */
    int pid;          /* whose tree is ours; 0: this process (on a replayed machine: none) */
    /* What ggml says is free on the device, and the reason where it is not known; NULL: nobody
     * asked. No device is asked in this room. */
    const struct snug_fact *device_free_bytes;
    /* An earlier look to compare with; NULL waits interval_s (0: SNUG_BUDGET_INTERVAL_S) instead.
     */
    const struct snug_budget_look *earlier;
    double interval_s;
};

/* Each fact with its source, or unknown with the reason. */
struct snug_budget {
    struct snug_fact memory_available_bytes; /* the lesser of system and control groups */
    struct snug_fact memory_reserve_bytes;   /* kept of it */
    struct snug_fact memory_usable_bytes;    /* the rest: what may be taken now */
    struct snug_fact memory_own_bytes;       /* would be free as well without our own processes */
    struct snug_fact cpus_allowed;           /* by affinity, cpusets and quota */
    struct snug_fact cpus_own, cpus_others;  /* kept busy by us, and by anybody else */
    struct snug_fact cpus_free;              /* what others leave us, quota included */
    struct snug_fact pressure_cpu_frac, pressure_memory_frac, pressure_io_frac; /* last 10 s */
    struct snug_fact device_usable_bytes;                                       /* less reserve */
};

/* Read what may be used now; where a source is missing the fact is unknown. out_look (may be NULL)
 * is a look for the next call's `earlier`.
 * Cost    a look or two, and the interval where no earlier look is given. A look reads a file of
 *         each process of the machine */
void snug_budget_read(const struct snug_budget_options *options, struct snug_budget *out,
                      struct snug_budget_look *out_look);

#ifdef __cplusplus
}
#endif
#endif
