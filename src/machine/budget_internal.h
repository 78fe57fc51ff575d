/* Private to the room: the two halves of a budget, the parsers of its files, and the memory that is
 * left, which a load reads many times a second. */
#ifndef SNUG_MACHINE_BUDGET_INTERNAL_H
#define SNUG_MACHINE_BUDGET_INTERNAL_H

#include "machine/probe.h"
#include "snug/budget.h"

/* What the numbers are taken from; all that snug__budget_compute needs. */
struct snug__budget_numbers {
    struct snug_fact memory_system_bytes; /* MemAvailable */
    struct snug_fact memory_group_bytes;  /* least that a level of control groups leaves */
    struct snug_fact quota_cpus;
    struct snug_fact pressure_cpu_frac, pressure_memory_frac, pressure_io_frac;
    struct snug_fact device_free_bytes;
    struct snug_budget_look from, to;
};
/* Numbers in, budget out; reads nothing. */
void snug__budget_compute(const struct snug__budget_numbers *numbers, struct snug_budget *out);
/* The counters of this moment. */
void snug__budget_look_now(const struct snug_budget_options *options, struct snug_budget_look *out);

/* Processes looked at; of a machine with more, own CPU time is unknown. */
#define SNUG__BUDGET_PROCESSES_MAX 65536

/* What a line of /proc/PID/stat says of a process. Ticks include those of children that ended. */
struct snug__process_stat {
    int pid, ppid;
    double ticks;
};
/* The name in brackets may hold blanks and brackets. false for anything else than such a line. */
bool snug__parse_process_stat(const char *text, struct snug__process_stat *out);

/* CPU seconds of the CPUs in the set, by the "cpuN" lines of /proc/stat: idle and waiting for I/O,
 * and all. Returns how many of them there are, 0 for a text without any. */
int snug__parse_cpu_idle(const char *text, hwloc_const_bitmap_t cpus, double *out_idle_s,
                         double *out_all_s);

/* MemAvailable, and what the tightest control group leaves; both as facts. */
void snug__memory_now(const char *root, struct snug_fact *out_system, struct snug_fact *out_group);

#endif
