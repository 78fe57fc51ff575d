/* The reading half of a budget: counters below a movable root, our processes found by their
 * parents. Source: Linux, Documentation/filesystems/proc.rst (stat, PID/stat, PID/statm). */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/process.h"
#include "machine/budget_internal.h"

/* ---- parsers ---- */

bool snug__parse_process_stat(const char *text, struct snug__process_stat *out)
{
    struct snug__process_stat stat = {0};
    const char *p = strrchr(text, ')');
    char *end = NULL;
    stat.pid = (int)strtol(text, &end, 10);
    if (!p || end == text || stat.pid <= 0 || p[1] != ' ' || !p[2])
        return false;
    p += 3; /* past ") S" */
    for (int field = 4; field <= 17; field++) {
        const long long value = strtoll(p, &end, 10);
        if (end == p)
            return false;
        if (field == 4)
            stat.ppid = (int)value;
        if (field >= 14)
            stat.ticks += (double)value; /* utime, stime, and both of children */
        p = end;
    }
    *out = stat;
    return true;
}

/* "cpu12 user nice system idle iowait irq softirq steal ..." */
int snug__parse_cpu_idle(const char *text, hwloc_const_bitmap_t cpus, double *out_idle_s,
                         double *out_all_s)
{
    const double hz = (double)sysconf(_SC_CLK_TCK);
    double idle = 0, all = 0;
    int n = 0;
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, "cpu", 3) != 0 || !isdigit((unsigned char)line[3]))
            continue;
        char *p = NULL;
        const unsigned long cpu = strtoul(line + 3, &p, 10);
        if (cpu >= SNUG__PROBE_CPUS_MAX || !hwloc_bitmap_isset(cpus, (unsigned)cpu))
            continue;
        for (int i = 0; i < 8 && *p && *p != '\n'; i++) {
            const double ticks = (double)strtoull(p, &p, 10);
            all += ticks;
            idle += i == 3 || i == 4 ? ticks : 0;
        }
        n++;
    }
    *out_idle_s = idle / hz;
    *out_all_s = all / hz;
    return n;
}

/* ---- our processes ---- */

struct table {
    struct snug__process_stat *rows; /* by pid */
    bool *is_own;
    int n, cap;
};

static int compare_pids(const void *a, const void *b)
{
    const int x = ((const struct snug__process_stat *)a)->pid;
    const int y = ((const struct snug__process_stat *)b)->pid;
    return (x > y) - (x < y);
}

static bool add_row(struct table *table, const struct snug__process_stat *row)
{
    if (table->n == table->cap) {
        const int cap = table->cap ? 2 * table->cap : 256;
        struct snug__process_stat *rows =
            cap > SNUG__BUDGET_PROCESSES_MAX
                ? NULL
                : realloc(table->rows, (size_t)cap * sizeof *table->rows);
        if (!rows)
            return false;
        table->rows = rows;
        table->cap = cap;
    }
    table->rows[table->n++] = *row;
    return true;
}

/* All processes below root; false with why in the fact. One that ends meanwhile is left out. */
static bool read_table(const char *root, struct table *table, struct snug_fact *why)
{
    char path[SNUG__PROBE_PATH_MAX];
    snug__format(path, sizeof path, "%s/proc", root);
    DIR *folder = opendir(path);
    bool is_full = false;
    if (!folder) {
        snug__fact_unknown(why, "/proc: cannot be listed");
        return false;
    }
    for (struct dirent *entry; !is_full && (entry = readdir(folder));) {
        struct snug__process_stat row;
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        snug__format(path, sizeof path, "/proc/%s/stat", entry->d_name);
        char *text = snug__read(root, path, NULL);
        if (text && snug__parse_process_stat(text, &row))
            is_full = !add_row(table, &row);
        free(text);
    }
    closedir(folder);
    if (is_full)
        snug__fact_unknown(why, "/proc: more than %d processes, or no memory for them",
                           SNUG__BUDGET_PROCESSES_MAX);
    else if (table->n == 0)
        snug__fact_unknown(why, "/proc: no process is shown");
    return !is_full && table->n > 0;
}

static int find_row(const struct table *table, int pid)
{
    const struct snug__process_stat key = {.pid = pid};
    const struct snug__process_stat *row =
        bsearch(&key, table->rows, (size_t)table->n, sizeof key, compare_pids);
    return row ? (int)(row - table->rows) : -1;
}

/* Children of ours are ours; passes until nothing changes, as many as the tree is deep. */
static void mark_own(struct table *table, int pid)
{
    for (int i = 0; i < table->n; i++)
        table->is_own[i] = table->rows[i].pid == pid;
    for (bool is_changed = true; is_changed;) {
        is_changed = false;
        for (int i = 0; i < table->n; i++) {
            const int parent = table->is_own[i] ? -1 : find_row(table, table->rows[i].ppid);
            if (parent >= 0 && table->is_own[parent])
                is_changed = table->is_own[i] = true;
        }
    }
}

/* Pages that are resident and shared with nobody: "size resident shared ..." of statm. */
static double private_bytes(const char *root, int pid)
{
    char path[SNUG__PROBE_PATH_MAX];
    double pages = 0;
    snug__format(path, sizeof path, "/proc/%d/statm", pid);
    char *text = snug__read(root, path, NULL), *p = text;
    if (text) {
        (void)strtod(p, &p);
        pages = strtod(p, &p);
        pages -= strtod(p, &p);
    }
    free(text);
    return pages > 0 ? pages * (double)sysconf(_SC_PAGESIZE) : 0;
}

static void look_at_own(const struct snug_budget_options *options, const char *root,
                        struct snug_budget_look *out)
{
    struct table table = {0};
    const int pid = options->pid ? options->pid : root[0] ? 0 : (int)getpid();
    if (pid == 0) {
        snug__fact_set(&out->own_s, 0, "no process of this machine is ours");
        out->own_bytes = out->own_s;
        return;
    }
    if (read_table(root, &table, &out->own_s)) {
        table.is_own = calloc((size_t)table.n, sizeof *table.is_own);
        snug__fact_unknown(&out->own_s, "no memory for %d processes", table.n);
    }
    if (table.is_own) {
        double ticks = 0, bytes = 0;
        qsort(table.rows, (size_t)table.n, sizeof *table.rows, compare_pids);
        mark_own(&table, pid);
        for (int i = 0; i < table.n; i++) {
            ticks += table.is_own[i] ? table.rows[i].ticks : 0;
            bytes += table.is_own[i] ? private_bytes(root, table.rows[i].pid) : 0;
        }
        snug__fact_set(&out->own_s, ticks / (double)sysconf(_SC_CLK_TCK), "/proc/PID/stat");
        snug__fact_set(&out->own_bytes, bytes, "/proc/PID/statm");
    } else {
        out->own_bytes = out->own_s;
    }
    free(table.rows);
    free(table.is_own);
}

/* ---- the whole ---- */

void snug__memory_now(const char *root, struct snug_fact *out_system, struct snug_fact *out_group)
{
    struct snug_machine machine = {0};
    struct snug__probe probe = {.root = root, .machine = &machine};
    snug__source_ram(&probe);
    snug__limits_read_room(root, out_group);
    *out_system = machine.available_bytes;
}

/* CPUs of this process: its affinity, narrowed by the cpusets. */
static void read_cpus(const char *root, hwloc_bitmap_t cpus, struct snug__limits *limits)
{
    struct snug__probe probe = {.root = root, .is_real = root[0] == '\0', .cpus = cpus};
    hwloc_bitmap_fill(cpus);
    snug__source_affinity(&probe);
    limits->cpus = cpus;
    snug__limits_read(root, limits);
}

static const char *root_of(const struct snug_budget_options *options)
{
    return options->root && strcmp(options->root, "/") != 0 ? options->root : "";
}

void snug__budget_look_now(const struct snug_budget_options *options, struct snug_budget_look *out)
{
    static const char path[] = "/proc/stat";
    const char *root = root_of(options);
    struct snug__limits limits = {0};
    struct snug_budget_look look = {0};
    hwloc_bitmap_t cpus = hwloc_bitmap_alloc();
    char *text = cpus ? snug__read(root, path, &look.all_s) : NULL;
    double idle_s = 0, all_s = 0;
    if (!cpus)
        snug__fact_unknown(&look.all_s, "no memory for a set of CPUs");
    else
        read_cpus(root, cpus, &limits);
    if (text)
        look.n_cpus = snug__parse_cpu_idle(text, cpus, &idle_s, &all_s);
    if (look.n_cpus > 0) {
        snug__fact_set(&look.idle_s, idle_s, path);
        snug__fact_set(&look.all_s, all_s, path);
    } else if (text) {
        snug__fact_unknown(&look.all_s, "%s: no line of a CPU that this process may use", path);
    }
    free(text);
    hwloc_bitmap_free(cpus);
    look_at_own(options, root, &look);
    *out = look;
}

static void read_numbers(const char *root, struct snug__budget_numbers *numbers)
{
    struct snug_machine machine = {0};
    struct snug__probe probe = {.root = root, .machine = &machine};
    struct snug__limits limits = {0};
    snug__source_ram(&probe);
    snug__source_load(&probe);
    snug__limits_read(root, &limits);
    numbers->memory_system_bytes = machine.available_bytes;
    numbers->memory_group_bytes = limits.memory_room_bytes;
    numbers->quota_cpus = limits.quota_cpus;
    numbers->pressure_cpu_frac = machine.pressure_cpu_frac;
    numbers->pressure_memory_frac = machine.pressure_memory_frac;
    numbers->pressure_io_frac = machine.pressure_io_frac;
}

void snug_budget_read(const struct snug_budget_options *options, struct snug_budget *out,
                      struct snug_budget_look *out_look)
{
    struct snug__budget_numbers numbers = {0};
    if (options->earlier) {
        numbers.from = *options->earlier;
    } else {
        snug__budget_look_now(options, &numbers.from);
        snug_sleep_s(options->interval_s > 0 ? options->interval_s : SNUG_BUDGET_INTERVAL_S);
    }
    snug__budget_look_now(options, &numbers.to);
    read_numbers(root_of(options), &numbers);
    if (options->device_free_bytes)
        numbers.device_free_bytes = *options->device_free_bytes;
    else
        snug__fact_unknown(&numbers.device_free_bytes, "no device was asked");
    snug__budget_compute(&numbers, out);
    if (out_look)
        *out_look = numbers.to;
}
