/* snug/load.h: real, bounded load beside which to measure: busy cores, touched memory, memory
 * traffic, disk traffic; steady or after a trace.
 *
 * It runs in a process of its own ("snug __load"): to /proc it is another program, the kernel takes
 * it first when memory runs out (oom_score_adj), and one kill frees everything. Inside are threads.
 * It dies with the thread that started it, also when that is killed; of its scratch file nothing
 * remains, but for a folder that was made for it. It never lowers its priority: it is there to
 * compete. */
#ifndef SNUG_LOAD_H
#define SNUG_LOAD_H

#include "snug/machine.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SNUG_LOAD_CPUS_MAX 1024
#define SNUG_LOAD_BPS_MAX 1e13
#define SNUG_LOAD_SECONDS_MAX (7 * 86400.0) /* of a trace */
#define SNUG_LOAD_STEPS_MAX 100000
#define SNUG_LOAD_TRACE_BYTES_MAX (8u << 20)  /* of a trace file */
#define SNUG_LOAD_DISK_BYTES_MAX (256u << 20) /* of the scratch file */

/* What is asked, or what was reached. */
struct snug_load_level {
    double cpu;            /* cores busy, all that the load computes: 1.5. At most 1024 */
    uint64_t memory_bytes; /* anonymous memory, touched */
    double bandwidth_bps;  /* memory read, bytes per second */
    double disk_frac;      /* share of the time in which a scratch file is written and read, 0..1,
                              as fast as the disk does it: disk traffic has no rate to ask for */
};

struct snug_load_step {
    double t_s; /* since the start; the level holds until the next step's time */
    struct snug_load_level level;
};

/* Two steps or more, times rising. The last one ends the load: its level is not run. */
struct snug_load_trace {
    struct snug_load_step *steps; /* owned */
    int n;
};

/* Parse a trace: CSV with the header `t_s,cpu,memory_bytes,bandwidth_bps,disk`, then rows; sizes as
 * snug_bytes_parse has them ("2GiB"), an empty field is 0. Blank lines and lines that begin with #
 * are skipped.
 * Errors  SNUG_BAD_INPUT with "NAME:LINE: ..."; SNUG_NO_MEMORY */
snug_status snug_load_trace_parse(const char *name, const char *text, size_t n,
                                  struct snug_load_trace *out, struct snug_error *err) SNUG_CHECKED;
/* The same of a file. SNUG_NOT_FOUND, SNUG_IO. */
snug_status snug_load_trace_read(const char *path, struct snug_load_trace *out,
                                 struct snug_error *err) SNUG_CHECKED;
/* One level for duration_s (0: SNUG_LOAD_SECONDS_MAX). */
snug_status snug_load_trace_steady(const struct snug_load_level *level, double duration_s,
                                   struct snug_load_trace *out,
                                   struct snug_error *err) SNUG_CHECKED;
void snug_load_trace_clear(struct snug_load_trace *trace);
/* The level at t_s; false, and nothing asked, from the last step on. */
bool snug_load_trace_at(const struct snug_load_trace *trace, double t_s,
                        struct snug_load_level *out);
/* The most of each, over all steps that run. */
void snug_load_trace_peak(const struct snug_load_trace *trace, struct snug_load_level *out);

/* low, mid, high as shares of this machine: of the CPUs that may be used (1/4, 1/2, all), and of
 * the memory that may be taken now (1/4, 1/2, 3/4). No traffic. SNUG_NOT_FOUND for another name. */
snug_status snug_load_profile(const char *name, const struct snug_machine *machine,
                              struct snug_load_level *out, struct snug_error *err) SNUG_CHECKED;

struct snug_load_options {
    const struct snug_load_trace *trace;
    const struct snug_machine *machine; /* probed just now */
    const char *folder;  /* of the scratch file, made where it is not there, and left there; needed
                            where the trace asks for disk */
    const char *program; /* a snug to start as "PROGRAM __load"; NULL: this one */
};

/* What is asked and what is reached, by the load's own counters. */
struct snug_load_report {
    double t_s;
    struct snug_load_level asked, reached; /* over the last fraction of a second; memory: now */
    struct snug_load_level asked_mean, reached_mean; /* since the start */
    double disk_bps, disk_bps_mean;                  /* written and read */
    uint64_t memory_bytes_peak;
    uint64_t given_back_bytes; /* in all, because less than the reserve was available */
    bool is_settled;           /* the memory asked for is held, or as much as may be */
    bool is_over;              /* the trace's end, or a stop */
    char note[160];            /* what went wrong on the way: "disk: No space left on device"; "" */
};

struct snug_load;

/* Check, then start. The trace begins when this returns.
 * Errors  SNUG_BAD_INPUT: past a cap of the above; SNUG_INFEASIBLE with what is free: more memory
 *         than is available less the reserve of snug_budget_usable_bytes, or more than 4 threads
 *         busy on each CPU; SNUG_IO, SNUG_UNSUPPORTED: the scratch file (no room, not a disk);
 *         SNUG_NO_MEMORY, SNUG_CRASHED: the process did not come up */
snug_status snug_load_start(const struct snug_load_options *options, struct snug_load **out,
                            struct snug_error *err) SNUG_CHECKED;
/* Wait for a report newer than 1 s, at most timeout_s. Optional: a load runs without being asked.
 * Errors  SNUG_TIMEOUT; SNUG_INTERRUPTED when *stop (may be NULL) is set; SNUG_CRASHED: it died */
snug_status snug_load_poll(struct snug_load *load, double timeout_s, const volatile int *stop,
                           struct snug_load_report *out, struct snug_error *err) SNUG_CHECKED;
/* End it, wait until it is gone, release it. *load is NULL afterwards, whatever happens; accepts
 * NULL in it. out (may be NULL) is the last report, is_over set. */
snug_status snug_load_stop(struct snug_load **load, struct snug_load_report *out,
                           struct snug_error *err) SNUG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
