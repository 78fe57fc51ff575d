/* The probe: a table of sources that each fill a part of the machine, then what follows from the
 * parts (how many threads may run, how much memory is left), then the fingerprint. */
#include "machine/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/buffer.h"
#include "base/process.h"

/* In this order: limits need the affinity, the topology needs the limits, clocks the topology. */
static void (*const source_table[])(struct snug__probe *probe) = {
    snug__source_system,   snug__source_cpuinfo, snug__source_ram,      snug__source_load,
    snug__source_affinity, snug__source_limits,  snug__source_topology, snug__source_clocks,
};

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* A quota of 1.5 CPUs lets two threads run, three quarters of the time each. */
static void derive_threads(struct snug__probe *probe)
{
    struct snug_machine *machine = probe->machine;
    int n = machine->n_cpus_allowed;
    int n_cores = probe->n_cores_allowed;
    if (n <= 0 && probe->is_real)
        n = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (n <= 0)
        n = machine->n_threads > 0 ? machine->n_threads : 1;
    if (n_cores <= 0)
        n_cores = n;
    if (machine->quota_cpus.is_known) {
        int quota = (int)ceil(machine->quota_cpus.value);
        n = min_int(n, quota);
        n_cores = min_int(n_cores, quota);
    }
    machine->n_threads_usable = n > 1 ? n : 1;
    machine->n_cores_usable = n_cores > 1 ? n_cores : 1;
}

static void derive_available(struct snug__probe *probe)
{
    struct snug_fact *available = &probe->machine->available_bytes;
    const struct snug_fact *room = &probe->memory_room_bytes;
    if (room->is_known && (!available->is_known || room->value < available->value))
        *available = *room;
}

static void hash_limit(struct snug_buffer *text, const char *name, const struct snug_fact *fact)
{
    if (fact->is_known)
        snug_buffer_printf(text, "%s=%.6g\n", name, fact->value);
}

/* The system's name is left out: a kernel update must not make all knowledge of a machine void. RAM
 * is rounded to 1/4 GiB, since the kernel's own share varies from start to start. */
void snug__fingerprint(struct snug_machine *machine)
{
    struct snug_buffer text = {0};
    snug_buffer_printf(&text, "cpu=%s\narch=%s\nisa=%s\ncores=%d threads=%d numa=%d\n",
                       machine->cpu_name, machine->arch, machine->isa, machine->n_cores,
                       machine->n_threads, machine->n_numa);
    for (int i = 0; i < machine->n_caches; i++)
        snug_buffer_printf(&text, "L%d=%llu x%d\n", machine->caches[i].level,
                           (unsigned long long)machine->caches[i].size_bytes,
                           machine->caches[i].n_instances);
    for (int i = 0; i < machine->n_kinds; i++)
        snug_buffer_printf(&text, "kind=%s %d %d %.4g\n", machine->kinds[i].name,
                           machine->kinds[i].n_cores, machine->kinds[i].n_threads,
                           machine->kinds[i].max_hz);
    snug_buffer_printf(&text, "ram=%.0f\nallowed=%d\n", round((double)machine->ram_bytes / 0x1p28),
                       machine->n_cpus_allowed);
    hash_limit(&text, "quota", &machine->quota_cpus);
    hash_limit(&text, "memory", &machine->memory_limit_bytes);
    snug_sha256_hex(snug_buffer_text(&text), text.len, machine->fingerprint);
    snug_buffer_clear(&text);
}

snug_status snug_machine_probe(const char *root, struct snug_machine *out, struct snug_error *err)
{
    struct stat info;
    bool is_real = root[0] == '\0' || strcmp(root, "/") == 0;
    if (!is_real && (stat(root, &info) != 0 || !S_ISDIR(info.st_mode)))
        return snug_fail(err, SNUG_NOT_FOUND,
                         "machine root %s: not a folder; expected one with proc/ and sys/ below",
                         root);
    struct snug_machine *machine = calloc(1, sizeof *machine);
    struct snug__probe probe = {
        .root = is_real ? "" : root,
        .is_real = is_real,
        .machine = machine,
        .cpus = hwloc_bitmap_alloc_full(),
    };
    if (!machine || !probe.cpus) {
        free(machine);
        hwloc_bitmap_free(probe.cpus);
        return snug_fail(err, SNUG_NO_MEMORY, "machine probe");
    }
    for (size_t i = 0; i < sizeof source_table / sizeof source_table[0]; i++)
        source_table[i](&probe);
    derive_threads(&probe);
    derive_available(&probe);
    snug__fingerprint(machine);
    *out = *machine;
    hwloc_bitmap_free(probe.cpus);
    free(machine);
    return SNUG_OK;
}

static void read_busy(const char *root, struct snug_machine_load *out)
{
    char *text = snug__read(root, "/proc/stat", NULL);
    if (text)
        (void)snug__parse_busy(text, &out->busy_s, &out->total_s); /* else both stay 0 */
    free(text);
}

void snug_machine_load_read(const char *root, struct snug_machine_load *out)
{
    struct snug__limits limits = {0};
    struct snug_fact load = {0};
    memset(out, 0, sizeof *out);
    read_busy(root, out);
    snug__limits_read(root, &limits);
    out->throttled_s = limits.throttled_s.is_known ? limits.throttled_s.value : 0;
    snug__read_fact(root, "/proc/loadavg", 1, &load);
    out->load_average = load.value;
    out->wall_s = snug_clock_s();
}
