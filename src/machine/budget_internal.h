/* Private to the room: the parsers of a budget's files, and the memory that is left, which a load
 * reads many times a second. */
#ifndef SNUG_MACHINE_BUDGET_INTERNAL_H
#define SNUG_MACHINE_BUDGET_INTERNAL_H

#include "machine/probe.h"
#include "snug/budget.h"

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
