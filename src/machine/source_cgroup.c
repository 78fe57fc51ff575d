/* Control groups of this process, v1 and v2, also both at once: CPU quota, cpuset, memory.
 *
 * /proc/self/cgroup names the group of each hierarchy and /proc/self/mountinfo where it is mounted;
 * a limit may stand on any level above, so each is walked up to its mount and the tightest counts.
 * Source: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/. */
#include "machine/probe.h"

#include <stdlib.h>
#include <string.h>

/* v1 writes "no limit" as the largest multiple of a page below 2^63. */
#define NO_LIMIT_BYTES 0x1p60

/* Where the walk begins and where it ends, both below the probe's root. */
struct place {
    char mount[SNUG__PROBE_PATH_MAX];
    char folder[SNUG__PROBE_PATH_MAX]; /* begins with mount */
};

/* "cpu" within "rw,cpu,cpuacct" */
static bool has_item(const char *list, size_t n, const char *item)
{
    size_t len = strlen(item);
    for (size_t i = 0; i + len <= n; i++) {
        bool starts = i == 0 || list[i - 1] == ',';
        bool ends = i + len == n || list[i + len] == ',';
        if (starts && ends && memcmp(list + i, item, len) == 0)
            return true;
    }
    return false;
}

/* The path of the group in "ID:CONTROLLERS:PATH" lines; controller "" asks for v2 ("0::PATH"). */
static bool find_group(const char *text, const char *controller, char *out, size_t cap)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        const char *list = memchr(text, ':', n);
        const char *path = list ? memchr(list + 1, ':', n - (size_t)(list + 1 - text)) : NULL;
        if (path) {
            size_t n_list = (size_t)(path - list - 1);
            bool is_it = *controller ? has_item(list + 1, n_list, controller) : n_list == 0;
            if (is_it && path[1] == '/') {
                snug__copy_text(out, cap, path + 1, n - (size_t)(path + 1 - text));
                return true;
            }
        }
        text += n + (text[n] == '\n');
    }
    return false;
}

/* Fields of one mountinfo line: "ID PARENT DEV ROOT MOUNT OPTIONS... - TYPE SOURCE SUPER". */
struct mount {
    char root[SNUG__PROBE_PATH_MAX], point[SNUG__PROBE_PATH_MAX];
    bool is_it; /* carries the controller asked for */
};

static void copy_word(const char **text, const char *end, char *out, size_t cap)
{
    const char *p = *text;
    while (p < end && *p == ' ')
        p++;
    const char *stop = p;
    while (stop < end && *stop != ' ')
        stop++;
    snug__copy_text(out, cap, p, (size_t)(stop - p));
    *text = stop;
}

static void parse_mount(const char *line, size_t n, const char *controller, struct mount *out)
{
    char skipped[64], type[32], super[256];
    const char *end = line + n;
    const char *dash = memmem(line, n, " - ", 3);
    memset(out, 0, sizeof *out);
    if (!dash)
        return;
    for (int i = 0; i < 3; i++)
        copy_word(&line, dash, skipped, sizeof skipped);
    copy_word(&line, dash, out->root, sizeof out->root);
    copy_word(&line, dash, out->point, sizeof out->point);
    line = dash + 3;
    copy_word(&line, end, type, sizeof type);
    copy_word(&line, end, skipped, sizeof skipped);
    copy_word(&line, end, super, sizeof super);
    if (*controller)
        out->is_it = strcmp(type, "cgroup") == 0 && has_item(super, strlen(super), controller);
    else
        out->is_it = strcmp(type, "cgroup2") == 0;
}

/* path without its leading `prefix`, or NULL when it does not lie there. */
static const char *path_below(const char *path, const char *prefix)
{
    size_t n = strcmp(prefix, "/") == 0 ? 0 : strlen(prefix);
    if (strncmp(path, prefix, n) != 0 || (path[n] != '/' && path[n] != '\0'))
        return NULL;
    return strcmp(path + n, "/") == 0 ? "" : path + n;
}

/* Without a mountinfo, or where none of its lines fits, the usual place of the hierarchy. */
static void set_default_mount(const char *controller, struct place *out)
{
    if (*controller)
        snug__format(out->mount, sizeof out->mount, "/sys/fs/cgroup/%s", controller);
    else
        snug__format(out->mount, sizeof out->mount, "/sys/fs/cgroup");
}

/* A group whose path leaves the mount ("/../x", or another container's) is judged by the mount. */
static void find_place(const char *mountinfo, const char *controller, const char *group,
                       struct place *out)
{
    const char *below = group;
    set_default_mount(controller, out);
    for (const char *line = mountinfo; line && *line;) {
        struct mount mount;
        size_t n = strcspn(line, "\n");
        parse_mount(line, n, controller, &mount);
        line += n + (line[n] == '\n');
        if (!mount.is_it || mount.point[0] != '/')
            continue;
        below = path_below(group, mount.root);
        snug__format(out->mount, sizeof out->mount, "%s", mount.point);
        if (below)
            break;
    }
    if (!below || strcmp(below, "/") == 0 || strstr(below, "/.."))
        below = "";
    if (!snug__format(out->folder, sizeof out->folder, "%s%s", out->mount, below))
        snug__format(out->folder, sizeof out->folder, "%s", out->mount);
}

/* Fewer CPUs than so far: take them, and the throttled time of this very level. */
static void take_quota(struct snug__limits *limits, double cpus, const char *source)
{
    if (cpus <= 0 || (limits->quota_cpus.is_known && limits->quota_cpus.value <= cpus))
        return;
    snug__fact_set(&limits->quota_cpus, cpus, source);
    limits->throttled_s.is_known = false;
}

static void take_throttled(struct snug__limits *limits, const char *root, const char *folder,
                           const char *key, double scale_s)
{
    char path[SNUG__PROBE_PATH_MAX];
    double value = 0;
    if (limits->throttled_s.is_known || !snug__format(path, sizeof path, "%s/cpu.stat", folder))
        return;
    char *text = snug__read(root, path, NULL);
    if (text && snug__text_number(text, key, &value))
        snug__fact_set(&limits->throttled_s, value * scale_s, path);
    free(text);
}

/* cpu.max: "150000 100000" (quota and period in us) or "max 100000" */
static void read_quota_v2(struct snug__limits *limits, const char *root, const char *folder)
{
    char path[SNUG__PROBE_PATH_MAX];
    if (!snug__format(path, sizeof path, "%s/cpu.max", folder))
        return;
    char *text = snug__read(root, path, NULL);
    if (text) {
        char *end = NULL;
        double quota_us = strtod(text, &end);
        double period_us = end != text ? strtod(end, NULL) : 0;
        if (period_us > 0 && quota_us / period_us < SNUG__PROBE_CPUS_MAX)
            take_quota(limits, quota_us / period_us, path);
    }
    free(text);
    take_throttled(limits, root, folder, "throttled_usec", 1e-6);
}

/* cpu.cfs_quota_us: -1 for none */
static void read_quota_v1(struct snug__limits *limits, const char *root, const char *folder)
{
    char path[SNUG__PROBE_PATH_MAX];
    struct snug_fact quota_us = {0}, period_us = {0};
    if (!snug__format(path, sizeof path, "%s/cpu.cfs_period_us", folder))
        return;
    snug__read_fact(root, path, 1, &period_us);
    if (!snug__format(path, sizeof path, "%s/cpu.cfs_quota_us", folder))
        return;
    snug__read_fact(root, path, 1, &quota_us);
    if (quota_us.is_known && period_us.is_known && period_us.value > 0 &&
        quota_us.value / period_us.value < SNUG__PROBE_CPUS_MAX)
        take_quota(limits, quota_us.value / period_us.value, path);
    take_throttled(limits, root, folder, "throttled_time", 1e-9);
}

/* Narrow limits->cpus by a list; an empty file ("inherit from above") changes nothing. */
static void narrow_cpus(struct snug__limits *limits, const char *root, const char *folder,
                        const char *name)
{
    char path[SNUG__PROBE_PATH_MAX];
    hwloc_bitmap_t read = limits->cpus ? hwloc_bitmap_alloc() : NULL;
    if (!read || !snug__format(path, sizeof path, "%s/%s", folder, name)) {
        hwloc_bitmap_free(read);
        return;
    }
    char *text = snug__read(root, path, NULL);
    if (text && snug__cpu_list_parse(text, read) && hwloc_bitmap_intersects(limits->cpus, read))
        hwloc_bitmap_and(limits->cpus, limits->cpus, read);
    free(text);
    hwloc_bitmap_free(read);
}

static void read_cpuset_v2(struct snug__limits *limits, const char *root, const char *folder)
{
    narrow_cpus(limits, root, folder, "cpuset.cpus.effective");
}

static void read_cpuset_v1(struct snug__limits *limits, const char *root, const char *folder)
{
    narrow_cpus(limits, root, folder, "cpuset.cpus");
}

/* One level's names of the same things in v1 and v2. */
struct memory_names {
    const char *limit, *usage, *active, *inactive;
};

/* The file cache a group holds is dropped before its limit is hit, so it counts as free. */
static void read_memory(struct snug__limits *limits, const char *root, const char *folder,
                        const struct memory_names *names)
{
    char path[SNUG__PROBE_PATH_MAX];
    struct snug_fact limit = {0}, usage = {0};
    double active = 0, inactive = 0;
    if (!snug__format(path, sizeof path, "%s/%s", folder, names->limit))
        return;
    snug__read_fact(root, path, 1, &limit);
    if (!limit.is_known || limit.value >= NO_LIMIT_BYTES)
        return;
    if (!limits->memory_limit_bytes.is_known || limit.value < limits->memory_limit_bytes.value)
        snug__fact_set(&limits->memory_limit_bytes, limit.value, path);

    if (!snug__format(path, sizeof path, "%s/memory.stat", folder))
        return;
    char *text = snug__read(root, path, NULL);
    if (!text || !snug__text_number(text, names->active, &active))
        active = 0;
    if (!text || !snug__text_number(text, names->inactive, &inactive))
        inactive = 0;
    free(text);
    if (!snug__format(path, sizeof path, "%s/%s", folder, names->usage))
        return;
    snug__read_fact(root, path, 1, &usage);
    double cache = active + inactive < usage.value ? active + inactive : usage.value;
    double room = limit.value - (usage.value - cache);
    room = room > 0 ? room : 0;
    if (!limits->memory_room_bytes.is_known || room < limits->memory_room_bytes.value)
        snug__fact_set(&limits->memory_room_bytes, room, path);
}

static void read_memory_v2(struct snug__limits *limits, const char *root, const char *folder)
{
    static const struct memory_names hard = {"memory.max", "memory.current", "active_file",
                                             "inactive_file"};
    /* Beyond memory.high a group is slowed down until it shrinks: as good as a limit. */
    static const struct memory_names high = {"memory.high", "memory.current", "active_file",
                                             "inactive_file"};
    read_memory(limits, root, folder, &hard);
    read_memory(limits, root, folder, &high);
}

static void read_memory_v1(struct snug__limits *limits, const char *root, const char *folder)
{
    static const struct memory_names names = {"memory.limit_in_bytes", "memory.usage_in_bytes",
                                              "total_active_file", "total_inactive_file"};
    read_memory(limits, root, folder, &names);
}

/* What is read on each level of which hierarchy; controller "" is v2. */
static const struct {
    const char *controller;
    void (*read)(struct snug__limits *limits, const char *root, const char *folder);
    bool is_memory;
} hierarchy_table[] = {
    {"", read_quota_v2, false},  {"cpu", read_quota_v1, false},
    {"", read_cpuset_v2, false}, {"cpuset", read_cpuset_v1, false},
    {"", read_memory_v2, true},  {"memory", read_memory_v1, true},
};

bool snug__cgroup_walk(const char *groups, const char *mounts, const char *controller,
                       snug__cgroup_fn visit, void *data)
{
    struct place place;
    char group[SNUG__PROBE_PATH_MAX];
    if (!find_group(groups, controller, group, sizeof group))
        return false;
    find_place(mounts, controller, group, &place);
    size_t n_mount = strlen(place.mount);
    for (;;) {
        visit(data, place.folder);
        char *slash = strrchr(place.folder, '/');
        if (strlen(place.folder) <= n_mount || !slash)
            return true;
        *slash = '\0';
    }
}

/* What a level is visited with. */
struct visit {
    struct snug__limits *limits;
    const char *root;
    size_t row; /* of hierarchy_table */
};

static void visit_level(void *data, const char *folder)
{
    const struct visit *visit = data;
    hierarchy_table[visit->row].read(visit->limits, visit->root, folder);
}

static void read_levels(const char *root, bool is_memory_only, struct snug__limits *limits)
{
    struct snug_fact why = {0};
    snug__fact_unknown(&limits->quota_cpus, "no control group sets a CPU quota");
    snug__fact_unknown(&limits->throttled_s, "no control group counts throttled time");
    snug__fact_unknown(&limits->memory_limit_bytes, "no control group limits memory");
    snug__fact_unknown(&limits->memory_room_bytes, "no control group limits memory");
    char *groups = snug__read(root, "/proc/self/cgroup", &why);
    char *mounts = snug__read(root, "/proc/self/mountinfo", NULL);
    if (!groups) {
        limits->quota_cpus = limits->throttled_s = why;
        limits->memory_limit_bytes = limits->memory_room_bytes = why;
    }
    struct visit visit = {.limits = limits, .root = root};
    for (; groups && visit.row < sizeof hierarchy_table / sizeof hierarchy_table[0]; visit.row++)
        if (hierarchy_table[visit.row].is_memory || !is_memory_only)
            (void)snug__cgroup_walk(groups, mounts, hierarchy_table[visit.row].controller,
                                    visit_level, &visit);
    free(groups);
    free(mounts);
}

void snug__limits_read(const char *root, struct snug__limits *limits)
{
    read_levels(root, false, limits);
}

void snug__limits_read_room(const char *root, struct snug_fact *out_room_bytes)
{
    struct snug__limits limits = {0};
    read_levels(root, true, &limits);
    *out_room_bytes = limits.memory_room_bytes;
}

void snug__source_limits(struct snug__probe *probe)
{
    struct snug_machine *machine = probe->machine;
    struct snug__limits limits = {.cpus = probe->cpus};
    snug__limits_read(probe->root, &limits);
    machine->quota_cpus = limits.quota_cpus;
    machine->throttled_s = limits.throttled_s;
    machine->memory_limit_bytes = limits.memory_limit_bytes;
    probe->memory_room_bytes = limits.memory_room_bytes;
}
