/* Cores, threads, kinds of core, caches and NUMA nodes, read by hwloc; the CPUs this process may
 * use; the clocks of cpufreq.
 *
 * A recorded machine is read by hwloc's own Linux reader below the recorded root. hwloc 2 takes
 * that root from the environment only (HWLOC_FSROOT), so the probe sets four variables around the
 * load and puts the old values back. A probe therefore belongs before other threads start. */
#include "machine/probe.h"

#include <hwloc/glibc-sched.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CPU_FOLDER "/sys/devices/system/cpu"
/* Governors are compared over the first allowed CPUs only: each costs a file. */
#define GOVERNOR_CPUS_MAX 256

/* Affinity of the real process; of a recorded one its status file has it. */
static bool read_affinity(hwloc_bitmap_t set)
{
    size_t size = CPU_ALLOC_SIZE(SNUG__PROBE_CPUS_MAX);
    cpu_set_t *mask = CPU_ALLOC(SNUG__PROBE_CPUS_MAX);
    bool is_read = mask && sched_getaffinity(0, size, mask) == 0;
    if (is_read)
        hwloc_bitmap_zero(set);
    for (int cpu = 0; is_read && cpu < SNUG__PROBE_CPUS_MAX; cpu++)
        if (CPU_ISSET_S((size_t)cpu, size, mask))
            hwloc_bitmap_set(set, (unsigned)cpu);
    CPU_FREE(mask);
    return is_read;
}

void snug__source_affinity(struct snug__probe *probe)
{
    static const char key[] = "Cpus_allowed_list:";
    if (probe->is_real && read_affinity(probe->cpus))
        return;
    char *text = snug__read(probe->root, "/proc/self/status", NULL);
    char *line = text ? strstr(text, key) : NULL;
    if (line) {
        line += sizeof key - 1;
        line[strcspn(line, "\n")] = '\0';
        (void)snug__cpu_list_parse(line, probe->cpus); /* else all CPUs stay allowed */
    }
    free(text);
}

/* Variables that a replayed load needs; on the real machine only the first. */
static const struct {
    const char *name, *value; /* NULL: the root */
} env_table[] = {
    {"HWLOC_HIDE_ERRORS", "2"}, /* a library does not print */
    {"HWLOC_FSROOT", NULL},
    {"HWLOC_THISSYSTEM", "0"},
    {"HWLOC_COMPONENTS", "linux,stop"}, /* not this machine's CPUID */
};
#define N_ENV (sizeof env_table / sizeof env_table[0])

static hwloc_topology_t load_topology(const struct snug__probe *probe)
{
    char *old[N_ENV] = {0};
    hwloc_topology_t topology = NULL;
    size_t n_env = probe->is_real ? 1 : N_ENV;
    for (size_t i = 0; i < n_env; i++) {
        const char *was = getenv(env_table[i].name);
        old[i] = was ? strdup(was) : NULL;
        setenv(env_table[i].name, env_table[i].value ? env_table[i].value : probe->root, 1);
    }
    if (hwloc_topology_init(&topology) == 0) {
        /* The whole machine; what is allowed is worked out by the affinity and cgroup sources. */
        hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
        if (hwloc_topology_load(topology) != 0) {
            hwloc_topology_destroy(topology);
            topology = NULL;
        }
    }
    for (size_t i = 0; i < n_env; i++) {
        if (old[i])
            setenv(env_table[i].name, old[i], 1);
        else
            unsetenv(env_table[i].name);
        free(old[i]);
    }
    return topology;
}

/* One row per level and size: hybrid chips have two sizes of L1 and L2. */
static void take_cache(struct snug_machine *machine, int level, uint64_t size_bytes)
{
    if (size_bytes == 0)
        return;
    for (int i = 0; i < machine->n_caches; i++) {
        struct snug_cache *cache = &machine->caches[i];
        if (cache->level == level && cache->size_bytes == size_bytes) {
            cache->n_instances++;
            return;
        }
    }
    if (machine->n_caches < SNUG_CACHES_MAX)
        machine->caches[machine->n_caches++] = (struct snug_cache){level, size_bytes, 1};
}

static void read_caches(hwloc_topology_t topology, struct snug_machine *machine)
{
    static const hwloc_obj_type_t types[] = {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE,
                                             HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L4CACHE};
    machine->n_caches = 0;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        hwloc_obj_t cache = NULL;
        while ((cache = hwloc_get_next_obj_by_type(topology, types[i], cache)))
            take_cache(machine, (int)i + 1, cache->attr->cache.size);
    }
}

static int count_cores(hwloc_topology_t topology, hwloc_const_bitmap_t cpus)
{
    int n = 0;
    hwloc_obj_t core = NULL;
    while ((core = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_CORE, core)))
        n += hwloc_bitmap_intersects(core->cpuset, cpus);
    return n;
}

static double read_max_hz(const struct snug__probe *probe, int cpu, struct snug_fact *fact)
{
    char path[SNUG__PROBE_PATH_MAX];
    snug__format(path, sizeof path, CPU_FOLDER "/cpu%d/cpufreq/cpuinfo_max_freq", cpu);
    snug__read_fact(probe->root, path, 1e3, fact); /* kHz */
    return fact->is_known ? fact->value : 0;
}

/* hwloc ranks kinds from the most efficient to the fastest; the fastest comes first here. Kinds
 * beyond the cap are added to the last row. */
static void take_kind(struct snug__probe *probe, hwloc_topology_t topology, hwloc_bitmap_t cpus,
                      const char *name)
{
    struct snug_machine *machine = probe->machine;
    struct snug_fact max_hz = {0};
    if (machine->n_kinds < SNUG_CORE_KINDS_MAX)
        machine->n_kinds++;
    struct snug_core_kind *kind = &machine->kinds[machine->n_kinds - 1];
    double hz = read_max_hz(probe, hwloc_bitmap_first(cpus), &max_hz);
    snug__copy_text(kind->name, sizeof kind->name, name, strlen(name));
    kind->n_threads += hwloc_bitmap_weight(cpus);
    kind->n_cores += count_cores(topology, cpus);
    kind->max_hz = hz > kind->max_hz ? hz : kind->max_hz;
}

static void read_kinds(struct snug__probe *probe, hwloc_topology_t topology)
{
    int n = hwloc_cpukinds_get_nr(topology, 0);
    hwloc_bitmap_t cpus = hwloc_bitmap_alloc();
    probe->machine->n_kinds = 0;
    for (int i = n - 1; cpus && n > 1 && i >= 0; i--) {
        int efficiency = 0;
        if (hwloc_cpukinds_get_info(topology, (unsigned)i, cpus, &efficiency, NULL, NULL, 0) != 0)
            continue;
        const char *name = i == n - 1 ? "performance" : i == 0 ? "efficiency" : "middle";
        take_kind(probe, topology, cpus, efficiency < 0 ? "unranked" : name);
    }
    if (cpus && probe->machine->n_kinds == 0) {
        hwloc_bitmap_copy(cpus, hwloc_topology_get_topology_cpuset(topology));
        take_kind(probe, topology, cpus, "");
    }
    hwloc_bitmap_free(cpus);
}

/* Without a folder of CPUs hwloc would count those of the machine it runs on. */
static bool has_cpu_folder(const struct snug__probe *probe)
{
    char path[SNUG__PROBE_PATH_MAX];
    return snug__format(path, sizeof path, "%s" CPU_FOLDER "/cpu0/topology", probe->root) &&
           access(path, R_OK) == 0;
}

void snug__source_topology(struct snug__probe *probe)
{
    struct snug_machine *machine = probe->machine;
    hwloc_topology_t topology = NULL;
    if ((probe->is_real || has_cpu_folder(probe)) &&
        snug__sysfs_is_fit(probe->root, probe->is_real))
        topology = load_topology(probe);
    if (topology) {
        hwloc_const_bitmap_t all = hwloc_topology_get_topology_cpuset(topology);
        machine->n_threads = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU);
        machine->n_cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
        machine->n_numa = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE);
        if (machine->n_cores <= 0)
            machine->n_cores = machine->n_threads;
        hwloc_bitmap_and(probe->cpus, probe->cpus, all);
        probe->n_cores_allowed = count_cores(topology, probe->cpus);
        read_caches(topology, machine);
        read_kinds(probe, topology);
        snug__read_masks(probe, topology);
        hwloc_topology_destroy(topology);
    } else if (machine->n_threads > 0) {
        /* /proc/cpuinfo only counted them; on Linux they are numbered from 0. */
        hwloc_bitmap_t all = hwloc_bitmap_alloc();
        if (all) {
            hwloc_bitmap_set_range(all, 0, machine->n_threads - 1);
            hwloc_bitmap_and(probe->cpus, probe->cpus, all);
        }
        hwloc_bitmap_free(all);
    }
    int n = hwloc_bitmap_weight(probe->cpus); /* -1: endless, for want of any source */
    machine->n_cpus_allowed = n > 0 ? n : 0;
}

/* One name when all allowed CPUs agree, else "mixed". */
static void read_governor(struct snug__probe *probe)
{
    struct snug_machine *machine = probe->machine;
    struct snug_fact why = {0};
    int n = 0;
    machine->governor[0] = '\0';
    for (int cpu = hwloc_bitmap_first(probe->cpus); cpu >= 0 && n < GOVERNOR_CPUS_MAX;
         cpu = hwloc_bitmap_next(probe->cpus, cpu), n++) {
        char path[SNUG__PROBE_PATH_MAX], name[sizeof machine->governor];
        snug__format(path, sizeof path, CPU_FOLDER "/cpu%d/cpufreq/scaling_governor", cpu);
        char *text = snug__read(probe->root, path, &why);
        if (!text)
            break;
        snug__copy_text(name, sizeof name, text, strlen(text));
        free(text);
        if (!machine->governor[0]) {
            memcpy(machine->governor, name, sizeof name);
            snug__fact_set(&why, 0, path);
        } else if (strcmp(machine->governor, name) != 0) {
            snug__format(machine->governor, sizeof machine->governor, "mixed");
            break;
        }
    }
    memcpy(machine->governor_source, why.source, sizeof why.source);
}

/* x86 without cpufreq, as in most virtual machines, still shows "cpu MHz". */
static void read_cpuinfo_clock(const struct snug__probe *probe, struct snug_fact *fact)
{
    double mhz = 0;
    char *text = snug__read(probe->root, "/proc/cpuinfo", NULL);
    const char *line = text ? strstr(text, "\ncpu MHz") : NULL;
    const char *colon = line ? strchr(line, ':') : NULL;
    if (colon)
        mhz = strtod(colon + 1, NULL);
    if (mhz > 0 && mhz < 1e5)
        snug__fact_set(fact, mhz * 1e6, "/proc/cpuinfo");
    free(text);
}

void snug__source_clocks(struct snug__probe *probe)
{
    struct snug_machine *machine = probe->machine;
    struct snug_fact max_hz = {0};
    char path[SNUG__PROBE_PATH_MAX];
    int n = 0, first = hwloc_bitmap_first(probe->cpus);
    read_governor(probe);
    /* Only one CPU's present clock: for each the kernel may take 10 ms. */
    snug__format(path, sizeof path, CPU_FOLDER "/cpu%d/cpufreq/scaling_cur_freq",
                 first > 0 ? first : 0);
    snug__read_fact(probe->root, path, 1e3, &machine->clock_hz);
    if (!machine->clock_hz.is_known)
        read_cpuinfo_clock(probe, &machine->clock_hz);
    read_max_hz(probe, first > 0 ? first : 0, &machine->clock_max_hz);
    for (int cpu = first; cpu >= 0 && n < GOVERNOR_CPUS_MAX && machine->clock_max_hz.is_known;
         cpu = hwloc_bitmap_next(probe->cpus, cpu), n++)
        if (read_max_hz(probe, cpu, &max_hz) > machine->clock_max_hz.value)
            machine->clock_max_hz = max_hz;
}
