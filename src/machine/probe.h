/* Private to the room: what the sources of a probe share. A source reads files below a root and
 * fills its part of the machine; whatever it cannot read stays unknown, with the reason. */
#ifndef SNUG_MACHINE_PROBE_H
#define SNUG_MACHINE_PROBE_H

#include <hwloc.h>

#include "snug/machine.h"

/* Largest file a probe reads, bytes: /proc/cpuinfo of 1024 x86 threads has about 1.6 MB. */
#define SNUG__PROBE_FILE_MAX (4u << 20)
/* CPU numbers accepted in a list; Linux's own build limit (CONFIG_NR_CPUS). */
#define SNUG__PROBE_CPUS_MAX 8192
#define SNUG__PROBE_PATH_MAX 1024

struct snug__probe {
    const char *root; /* "" for the real machine */
    bool is_real;
    struct snug_machine *machine;
    hwloc_bitmap_t cpus;                /* this process may use: affinity and cpusets */
    struct snug_fact memory_room_bytes; /* least that a cgroup level still leaves */
    int n_cores_allowed;                /* cores that hold a CPU of `cpus`; 0 unknown */
};

/* What the control groups of this process allow, v1 and v2, tightest level of each. */
struct snug__limits {
    struct snug_fact quota_cpus;
    struct snug_fact throttled_s; /* of the level that holds the quota, else of the own group */
    struct snug_fact memory_limit_bytes;
    struct snug_fact memory_room_bytes; /* limit - usage + file cache that can be dropped */
    hwloc_bitmap_t cpus;                /* narrowed in place; NULL when not asked for */
};

/* ---- read.c ---- */

void snug__fact_set(struct snug_fact *fact, double value, const char *source);
void snug__fact_unknown(struct snug_fact *fact, const char *format, ...) SNUG_PRINTF(2, 3);
/* Copy text from outside without surrounding space, control characters as '?'; cut to cap. */
void snug__copy_text(char *out, size_t cap, const char *text, size_t n);
/* false when the text was cut */
bool snug__format(char *out, size_t cap, const char *format, ...) SNUG_PRINTF(3, 4);
/* malloc'ed text of a file below root, or NULL with why_not (may be NULL) saying why. */
char *snug__read(const char *root, const char *path, struct snug_fact *why_not);
/* A file that begins with one number, times scale, into fact. */
void snug__read_fact(const char *root, const char *path, double scale, struct snug_fact *fact);
/* The number after `key` where a line begins with it ("MemTotal:", "throttled_usec"). */
bool snug__text_number(const char *text, const char *key, double *out);
/* The number at the start of text, after blanks; no sign, no NAN. */
bool snug__parse_number(const char *text, double *out);
/* CPU seconds of all CPUs in the text of /proc/stat. */
bool snug__parse_busy(const char *text, double *out_busy_s, double *out_total_s);
/* "0-3,8" into set. false, set unchanged, for anything else or a CPU >= SNUG__PROBE_CPUS_MAX. */
bool snug__cpu_list_parse(const char *text, hwloc_bitmap_t set);

/* ---- sources, in the order in which they run ---- */

void snug__source_system(struct snug__probe *probe);
void snug__source_cpuinfo(struct snug__probe *probe);
void snug__source_ram(struct snug__probe *probe);
void snug__source_load(struct snug__probe *probe);
void snug__source_affinity(struct snug__probe *probe);
void snug__source_limits(struct snug__probe *probe);
void snug__source_topology(struct snug__probe *probe);
void snug__source_clocks(struct snug__probe *probe);
/* Fills mask_cores and mask_performance; probe->cpus must be what the process may use. */
void snug__read_masks(struct snug__probe *probe, hwloc_topology_t topology);

/* Whether hwloc can be let loose on this tree: it asserts on files of the wrong form. */
bool snug__sysfs_is_fit(const char *root, bool is_real);
void snug__limits_read(const char *root, struct snug__limits *limits);
/* Only memory_room_bytes: for those who look many times a second. */
void snug__limits_read_room(const char *root, struct snug_fact *out_room_bytes);
/* The folders of this process's control group and those above it up to the mount, own first.
 * groups, mounts: text of /proc/self/cgroup and mountinfo (may be NULL); controller "" is v2. false
 * when groups does not name the hierarchy. */
typedef void (*snug__cgroup_fn)(void *data, const char *folder);
bool snug__cgroup_walk(const char *groups, const char *mounts, const char *controller,
                       snug__cgroup_fn visit, void *data);
/* Hash of the lasting facts and limits into machine->fingerprint. */
void snug__fingerprint(struct snug_machine *machine);

#endif
