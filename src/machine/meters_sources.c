/* Where the figures of a look come from: finds the files once, then reads what stands in them.
 *
 * Throttling is watched on every level of control groups that can have a quota, whether it has one
 * or not: a quota may be set while a trial runs, and one far up stops us just as well.
 * Sources: Linux, Documentation/admin-guide/{cgroup-v2,pm/cpufreq}.rst, driver-api/thermal/,
 * hwmon/, ABI/testing/sysfs-devices-system-cpu. */
#include "machine/meters_internal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "machine/probe.h"

#define CPU_FOLDER "/sys/devices/system/cpu"
/* Sensors of faulty drivers read -273 or 65535. */
#define TEMPERATURE_C_MAX 200
#define CLOCK_HZ_MAX 1e11

static const char *const pressure_paths[] = {"/proc/pressure/cpu", "/proc/pressure/memory",
                                             "/proc/pressure/io"};

/* ---- finding ---- */

/* CPUs that this process may use and that sysfs shows: cpus_found of cpus_allowed. */
struct cpu_search {
    hwloc_bitmap_t allowed, found;
};

static void take_cpu(void *data, const char *name)
{
    struct cpu_search *search = data;
    char *end = NULL;
    unsigned long cpu = strtoul(name + 3, &end, 10);
    if (end != name + 3 && *end == '\0' && cpu < SNUG__PROBE_CPUS_MAX &&
        hwloc_bitmap_isset(search->allowed, (unsigned)cpu))
        hwloc_bitmap_set(search->found, (unsigned)cpu);
}

static void find_cpus(struct snug__sources *sources)
{
    struct snug__probe probe = {.root = sources->root, .is_real = sources->is_real};
    struct cpu_search search = {hwloc_bitmap_alloc_full(), hwloc_bitmap_alloc()};
    struct snug__limits limits = {.cpus = search.allowed};
    if (search.allowed && search.found) {
        probe.cpus = search.allowed;
        snug__source_affinity(&probe);
        snug__limits_read(sources->root, &limits);
        snug__each_entry(sources->root, CPU_FOLDER, "cpu", take_cpu, &search);
        /* Without the folder /proc/cpuinfo may still know the allowed ones. */
        hwloc_bitmap_copy(sources->cpus,
                          hwloc_bitmap_iszero(search.found) ? search.allowed : search.found);
    }
    hwloc_bitmap_free(search.allowed);
    hwloc_bitmap_free(search.found);
}

static void open_clocks(struct snug__sources *sources)
{
    char path[SNUG__PROBE_PATH_MAX], why[SNUG__METERS_WHY_MAX] = "";
    int n_cpus = hwloc_bitmap_weight(sources->cpus); /* -1: no end */
    int stride = n_cpus > 0 ? (n_cpus - 1) / SNUG__METERS_CLOCKS_MAX + 1 : 1;
    int i = 0;
    for (int cpu = hwloc_bitmap_first(sources->cpus); cpu >= 0 && i < n_cpus;
         cpu = hwloc_bitmap_next(sources->cpus, cpu), i++) {
        if (i % stride)
            continue;
        snug__format(path, sizeof path, CPU_FOLDER "/cpu%d/cpufreq/scaling_cur_freq", cpu);
        int fd = snug__meter_open(sources->root, path, why);
        if (fd >= 0)
            sources->fd_clock[sources->n_clocks++] = fd;
    }
    if (sources->n_clocks)
        return;
    sources->fd_cpuinfo = snug__meter_open(sources->root, "/proc/cpuinfo", NULL);
    if (snug__meter_text(sources->fd_cpuinfo, sources->text, sizeof sources->text) &&
        !isnan(snug__parse_cpuinfo_hz(sources->text, sources->cpus)))
        return;
    if (strstr(why, "permission"))
        snug__format(sources->why[SNUG__METER_CLOCK], SNUG__METERS_WHY_MAX, "%s", why);
    else
        snug__format(sources->why[SNUG__METER_CLOCK], SNUG__METERS_WHY_MAX, "no cpufreq");
}

/* Beginnings of names that the drivers of CPU sensors give: thermal zones, then hwmon chips.
 * acpitz is left out: on many machines it is a fixed number or the case. */
static bool is_cpu_sensor(const char *name)
{
    static const char *const names[] = {
        "x86_pkg_temp", "coretemp", "k10temp", "k8temp", "zenpower", "via_cputemp", "cpu-thermal",
        "cpu_thermal",  "cpu",      "CPU",     "TCPU",   "soc",      "bigcore",     "littlecore",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(name, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static void take_sensor(struct snug__sources *sources, const char *path)
{
    if (sources->n_sensors == SNUG__METERS_SENSORS_MAX)
        return;
    int fd = snug__meter_open(sources->root, path, sources->why[SNUG__METER_TEMPERATURE]);
    if (fd >= 0)
        sources->fd_sensor[sources->n_sensors++] = fd;
}

static void take_zone(void *data, const char *zone)
{
    static const char folder[] = "/sys/class/thermal";
    struct snug__sources *sources = data;
    char path[SNUG__PROBE_PATH_MAX], type[64];
    snug__format(path, sizeof path, "%s/%s/type", folder, zone);
    snug__meter_line(sources->root, path, type, sizeof type);
    snug__format(path, sizeof path, "%s/%s/temp", folder, zone);
    if (is_cpu_sensor(type))
        take_sensor(sources, path);
}

/* The chip whose inputs are being listed. */
struct chip {
    struct snug__sources *sources;
    char folder[SNUG__PROBE_PATH_MAX];
};

static void take_chip_input(void *data, const char *name)
{
    struct chip *chip = data;
    char path[SNUG__PROBE_PATH_MAX];
    size_t n = strlen(name);
    if (n > 6 && strcmp(name + n - 6, "_input") == 0 &&
        snug__format(path, sizeof path, "%s/%s", chip->folder, name))
        take_sensor(chip->sources, path);
}

static void take_chip(void *data, const char *name)
{
    struct chip chip = {.sources = data};
    char path[SNUG__PROBE_PATH_MAX], type[64];
    snug__format(chip.folder, sizeof chip.folder, "/sys/class/hwmon/%s", name);
    snug__format(path, sizeof path, "/sys/class/hwmon/%s/name", name);
    snug__meter_line(chip.sources->root, path, type, sizeof type);
    if (is_cpu_sensor(type))
        snug__each_entry(chip.sources->root, chip.folder, "temp", take_chip_input, &chip);
}

/* A zone has the package's hottest spot; hwmon's coretemp would ask every core in turn. */
static void open_sensors(struct snug__sources *sources)
{
    char *why = sources->why[SNUG__METER_TEMPERATURE];
    snug__each_entry(sources->root, "/sys/class/thermal", "thermal_zone", take_zone, sources);
    if (!sources->n_sensors)
        snug__each_entry(sources->root, "/sys/class/hwmon", "hwmon", take_chip, sources);
    if (sources->n_sensors)
        why[0] = '\0';
    else if (!why[0])
        snug__format(why, SNUG__METERS_WHY_MAX, "no sensor");
}

static void take_level(void *data, const char *folder)
{
    struct snug__sources *sources = data;
    struct snug__throttling now;
    char path[SNUG__PROBE_PATH_MAX], text[1024];
    if (sources->n_levels == SNUG__METERS_LEVELS_MAX ||
        !snug__format(path, sizeof path, "%s/cpu.stat", folder))
        return;
    int fd = snug__meter_open(sources->root, path, NULL);
    if (snug__meter_text(fd, text, sizeof text) && snug__parse_throttling(text, &now))
        sources->fd_level[sources->n_levels++] = fd;
    else if (fd >= 0)
        close(fd);
}

static void open_levels(struct snug__sources *sources)
{
    struct snug_fact why = {0};
    char *groups = snug__read(sources->root, "/proc/self/cgroup", &why);
    char *mounts = snug__read(sources->root, "/proc/self/mountinfo", NULL);
    if (groups) {
        (void)snug__cgroup_walk(groups, mounts, "", take_level, sources);
        (void)snug__cgroup_walk(groups, mounts, "cpu", take_level, sources);
    }
    if (!sources->n_levels)
        snug__format(sources->why[SNUG__METER_QUOTA], SNUG__METERS_WHY_MAX, "%s",
                     groups ? "no control group counts periods" : why.source);
    free(groups);
    free(mounts);
}

snug_status snug__sources_open(struct snug__sources *sources, const char *root,
                               struct snug_error *err)
{
    memset(sources, 0, sizeof *sources);
    sources->fd_stat = sources->fd_statm = sources->fd_cpuinfo = -1;
    for (int i = 0; i < 3; i++)
        sources->fd_pressure[i] = -1;
    sources->is_real = root[0] == '\0' || strcmp(root, "/") == 0;
    sources->root = strdup(sources->is_real ? "" : root);
    sources->cpus = hwloc_bitmap_alloc();
    if (!sources->root || !sources->cpus)
        return snug_fail(err, SNUG_NO_MEMORY, "sources of the meters");
    find_cpus(sources);
    open_clocks(sources);
    open_sensors(sources);
    open_levels(sources);
    sources->fd_stat =
        snug__meter_open(sources->root, "/proc/stat", sources->why[SNUG__METER_LOAD]);
    sources->fd_statm =
        snug__meter_open(sources->root, "/proc/self/statm", sources->why[SNUG__METER_RSS]);
    for (int i = 0; i < 3; i++)
        sources->fd_pressure[i] =
            snug__meter_open(sources->root, pressure_paths[i], sources->why[SNUG__METER_PRESSURE]);
    return SNUG_OK;
}

static void close_all(int *fds, int n)
{
    for (int i = 0; i < n; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

void snug__sources_close(struct snug__sources *sources)
{
    if (!sources->root)
        return; /* never opened */
    close_all(&sources->fd_stat, 1);
    close_all(&sources->fd_statm, 1);
    close_all(&sources->fd_cpuinfo, 1);
    close_all(sources->fd_pressure, 3);
    close_all(sources->fd_clock, sources->n_clocks);
    close_all(sources->fd_sensor, sources->n_sensors);
    close_all(sources->fd_level, sources->n_levels);
    hwloc_bitmap_free(sources->cpus);
    free(sources->root);
    memset(sources, 0, sizeof *sources);
}

/* ---- reading ---- */

/* The first reason is kept: later ones follow from it. */
static void note(struct snug__sources *sources, enum snug__meter meter, const char *path, int code)
{
    char *why = sources->why[meter];
    if (!why[0])
        snug__format(why, SNUG__METERS_WHY_MAX, "%s: %s", path,
                     code ? snug__meter_errno(code) : "not in the known form");
}

static double read_clock(struct snug__sources *sources)
{
    double sum = 0;
    int n = 0;
    if (!sources->n_clocks) {
        if (!snug__meter_text(sources->fd_cpuinfo, sources->text, sizeof sources->text))
            return NAN;
        return snug__parse_cpuinfo_hz(sources->text, sources->cpus);
    }
    for (int i = 0; i < sources->n_clocks; i++) {
        double hz = snug__meter_number(sources->fd_clock[i]) * 1e3; /* kHz */
        if (hz > 0 && hz < CLOCK_HZ_MAX) {                          /* a CPU may go offline */
            sum += hz;
            n++;
        }
    }
    if (!n)
        note(sources, SNUG__METER_CLOCK, "cpufreq/scaling_cur_freq", 0);
    return n ? sum / n : NAN;
}

static double read_temperature(struct snug__sources *sources)
{
    double hottest = NAN;
    for (int i = 0; i < sources->n_sensors; i++) {
        double c = snug__meter_number(sources->fd_sensor[i]) * 1e-3;
        if (c < TEMPERATURE_C_MAX && !(c <= hottest))
            hottest = c;
    }
    if (isnan(hottest))
        note(sources, SNUG__METER_TEMPERATURE, "every CPU sensor", 0);
    return hottest;
}

/* Own CPU time: of every thread, and nothing where a recorded machine is replayed. */
static double own_cpu_s(const struct snug__sources *sources)
{
    struct rusage used;
    if (!sources->is_real)
        return 0;
    if (getrusage(RUSAGE_SELF, &used) != 0)
        return NAN;
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

/* Text of an open file, or "" with the reason noted. */
static const char *read_text(struct snug__sources *sources, int fd, size_t cap,
                             enum snug__meter meter, const char *path)
{
    cap = cap < sizeof sources->text ? cap : sizeof sources->text;
    if (!snug__meter_text(fd, sources->text, cap)) {
        note(sources, meter, path, errno);
        return "";
    }
    return sources->text;
}

void snug__sources_look(struct snug__sources *sources, double t_s, struct snug__look *out)
{
    *out = (struct snug__look){.t_s = t_s, .busy_s = NAN, .total_s = NAN};
    /* The first line of /proc/stat is all that counts. Own time is read next to it. */
    const char *text = read_text(sources, sources->fd_stat, 512, SNUG__METER_LOAD, "/proc/stat");
    out->own_s = own_cpu_s(sources);
    if (!snug__parse_busy(text, &out->busy_s, &out->total_s))
        note(sources, SNUG__METER_LOAD, "/proc/stat", 0);
    for (int i = 0; i < 3; i++) {
        text = read_text(sources, sources->fd_pressure[i], 512, SNUG__METER_PRESSURE,
                         pressure_paths[i]);
        out->pressure_s[i] = snug__parse_pressure_s(text);
        if (isnan(out->pressure_s[i]))
            note(sources, SNUG__METER_PRESSURE, pressure_paths[i], 0);
    }
    for (int i = 0; i < sources->n_levels; i++) {
        text = read_text(sources, sources->fd_level[i], 1024, SNUG__METER_QUOTA, "cpu.stat");
        if (!snug__parse_throttling(text, &out->levels[i])) {
            out->levels[i] = (struct snug__throttling){NAN, NAN, NAN};
            note(sources, SNUG__METER_QUOTA, "cpu.stat", 0);
        }
    }
    text = read_text(sources, sources->fd_statm, 256, SNUG__METER_RSS, "/proc/self/statm");
    out->rss_bytes = snug__parse_resident_pages(text) * (double)sysconf(_SC_PAGESIZE);
    if (isnan(out->rss_bytes))
        note(sources, SNUG__METER_RSS, "/proc/self/statm", 0);
    out->clock_hz = read_clock(sources);
    out->temperature_c = read_temperature(sources);
}

/* ---- the two ends ---- */

static double read_major_faults(struct snug__sources *sources)
{
    struct rusage used;
    if (sources->is_real)
        return getrusage(RUSAGE_SELF, &used) == 0 ? (double)used.ru_majflt : NAN;
    struct snug_fact why = {0};
    char *text = snug__read(sources->root, "/proc/self/stat", &why);
    double n = text ? snug__parse_major_faults(text) : NAN;
    if (isnan(n) && !sources->why[SNUG__METER_FAULTS][0])
        snug__format(sources->why[SNUG__METER_FAULTS], SNUG__METERS_WHY_MAX, "%s",
                     text ? "/proc/self/stat: not in the known form" : why.source);
    free(text);
    return n;
}

static double read_swapped(struct snug__sources *sources)
{
    double in = 0, out = 0, bytes = NAN;
    struct snug_fact why = {0};
    char *text = snug__read(sources->root, "/proc/vmstat", &why);
    if (text && snug__text_number(text, "pswpin", &in) && snug__text_number(text, "pswpout", &out))
        bytes = (in + out) * (double)sysconf(_SC_PAGESIZE);
    else if (!sources->why[SNUG__METER_SWAP][0])
        snug__format(sources->why[SNUG__METER_SWAP], SNUG__METERS_WHY_MAX, "%s",
                     text ? "/proc/vmstat: no pswpin and pswpout" : why.source);
    free(text);
    return bytes;
}

static double read_throttle_count(const struct snug__sources *sources, int cpu, const char *name)
{
    char path[SNUG__PROBE_PATH_MAX];
    struct snug_fact count = {0};
    snug__format(path, sizeof path, CPU_FOLDER "/cpu%d/thermal_throttle/%s", cpu, name);
    snug__read_fact(sources->root, path, 1, &count);
    return count.is_known ? count.value : NAN;
}

snug_status snug__ends_read(struct snug__sources *sources, struct snug__ends *out,
                            struct snug_error *err)
{
    int n = hwloc_bitmap_weight(sources->cpus);
    bool is_found = false;
    *out = (struct snug__ends){.n_major_faults = read_major_faults(sources),
                               .swapped_bytes = read_swapped(sources)};
    if (n > 0) {
        out->core = calloc((size_t)n, sizeof *out->core);
        out->package = calloc((size_t)n, sizeof *out->package);
    }
    if (n > 0 && (!out->core || !out->package)) {
        snug__ends_clear(out);
        return snug_fail(err, SNUG_NO_MEMORY, "thermal counters of %d CPUs", n);
    }
    int cpu = -1;
    for (int i = 0; i < n; i++) {
        cpu = hwloc_bitmap_next(sources->cpus, cpu);
        out->core[i] = read_throttle_count(sources, cpu, "core_throttle_count");
        out->package[i] = read_throttle_count(sources, cpu, "package_throttle_count");
        is_found = is_found || !isnan(out->core[i]) || !isnan(out->package[i]);
    }
    out->n_cpus = n > 0 ? n : 0;
    if (!is_found && !sources->why[SNUG__METER_THERMAL][0])
        snug__format(sources->why[SNUG__METER_THERMAL], SNUG__METERS_WHY_MAX, "no counter");
    return SNUG_OK;
}

void snug__ends_clear(struct snug__ends *ends)
{
    free(ends->core);
    free(ends->package);
    ends->core = ends->package = NULL;
    ends->n_cpus = 0;
}

double snug__ends_thermal(const struct snug__ends *from, const struct snug__ends *to)
{
    double cores = 0, package = 0;
    bool is_known = false;
    int n = from->n_cpus < to->n_cpus ? from->n_cpus : to->n_cpus;
    for (int i = 0; i < n; i++) {
        double core = to->core[i] - from->core[i], own = to->package[i] - from->package[i];
        is_known = is_known || core >= 0 || own >= 0;
        cores += core > 0 ? core : 0; /* each CPU counts its own core's */
        package = own > package ? own : package;
    }
    return is_known ? cores + package : NAN;
}
