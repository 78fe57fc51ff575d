/* What the machine can do: timing of repeated passes, and the measurement as a whole. Nothing here
 * knows what is timed. */
#include "machine/measure.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ggml.h>

#include "base/process.h"
#include "machine/probe.h"

#define BANDWIDTH_BUDGET_S 3.0
#define MUL_MAT_BUDGET_S 9.0

#define COLD_MIN_BYTES (64ull << 20)
#define COLD_LEAST_BYTES (16ull << 20) /* below, figures would be of the caches */

#define DISK_READ_BYTES (4u << 20) /* per read call */
#define DISK_MAX_BYTES (1ull << 30)
#define DISK_LEAST_BYTES (1u << 20)
#define DISK_BUDGET_S 5.0

int snug__time_passes(const struct snug__timing *timing, snug__pass_fn pass, void *data,
                      double *out_s)
{
    int n = 0;
    if (!pass(data))
        return 0;
    double begin_s = snug_clock_s(), spent_s = 0;
    do {
        double best_s = 0;
        for (int i = 0; i < timing->n_best; i++) {
            double from_s = snug_clock_s();
            if (!pass(data))
                return 0;
            double pass_s = snug_clock_s() - from_s;
            best_s = i == 0 || pass_s < best_s ? pass_s : best_s;
        }
        out_s[n++] = best_s;
        spent_s = snug_clock_s() - begin_s;
    } while (n < SNUG__SAMPLES_MAX && spent_s < 2 * timing->budget_s &&
             (n < timing->n_min || spent_s < timing->budget_s));
    return n;
}

struct snug_interval snug__rate(double amount, const double *seconds, int n)
{
    double rates[SNUG__SAMPLES_MAX];
    for (int i = 0; i < n; i++)
        rates[i] = amount / (seconds[i] > 1e-9 ? seconds[i] : 1e-9);
    return snug_stats_median_interval(rates, (size_t)n, 0.95, 1000, 1);
}

uint64_t snug__cold_bytes(const struct snug_machine *machine, uint64_t max_bytes)
{
    uint64_t last_bytes = 0, bytes = 0, room_bytes = COLD_MIN_BYTES;
    int last_level = 0;
    for (int i = 0; i < machine->n_caches; i++) {
        const struct snug_cache *cache = &machine->caches[i];
        if (cache->level > last_level) {
            last_level = cache->level;
            last_bytes = 0;
        }
        if (cache->level == last_level)
            last_bytes += cache->size_bytes * (uint64_t)cache->n_instances;
    }
    bytes = last_bytes < max_bytes ? 4 * last_bytes : max_bytes;
    bytes = bytes > COLD_MIN_BYTES ? bytes : COLD_MIN_BYTES;
    bytes = bytes < max_bytes ? bytes : max_bytes;
    if (machine->available_bytes.is_known)
        room_bytes = (uint64_t)(machine->available_bytes.value / 8);
    bytes = bytes < room_bytes ? bytes : room_bytes;
    return bytes < COLD_LEAST_BYTES ? 0 : bytes;
}

snug_status snug_machine_measure(const struct snug_machine *machine, struct snug_machine_speed *out,
                                 struct snug_error *err)
{
    double begin_s = snug_clock_s();
    struct snug_machine_speed speed = {.n_threads = machine->n_threads_usable};
    if (machine->n_threads_usable < 1 || machine->n_threads_usable > SNUG__PROBE_CPUS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "n_threads_usable is %d; expected 1 to %d",
                         machine->n_threads_usable, SNUG__PROBE_CPUS_MAX);
    snug_status status = snug_machine_load_backends(err);
    if (status == SNUG_OK)
        status = snug__measure_bandwidth(machine, BANDWIDTH_BUDGET_S, &speed, err);
    if (status == SNUG_OK)
        status = snug__measure_mul_mat(machine, MUL_MAT_BUDGET_S, &speed, err);
    if (status != SNUG_OK)
        return status;
    memcpy(speed.fingerprint, machine->fingerprint, sizeof speed.fingerprint);
    snug__speed_build(speed.build, sizeof speed.build);
    snug__fact_unknown(&speed.disk_bps, "not asked for");
    speed.wall_s = snug_clock_s() - begin_s;
    *out = speed;
    return SNUG_OK;
}

/* Read from the start until the end, DISK_MAX_BYTES or the budget; bytes read, or -1. */
static double read_through(int fd, void *buffer)
{
    double begin_s = snug_clock_s(), total = 0;
    while (total < (double)DISK_MAX_BYTES && snug_clock_s() - begin_s < DISK_BUDGET_S) {
        ssize_t n = read(fd, buffer, DISK_READ_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        total += (double)n;
    }
    return total;
}

/* Share of the file's first bytes that are in the page cache; 0 where that cannot be told. */
static double cached_frac(int fd, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n_pages = (size + page - 1) / page, n_in = 0;
    unsigned char *in_core = malloc(n_pages);
    void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (in_core && map != MAP_FAILED && mincore(map, size, in_core) == 0)
        for (size_t i = 0; i < n_pages; i++)
            n_in += in_core[i] & 1;
    if (map != MAP_FAILED)
        munmap(map, size);
    free(in_core);
    return (double)n_in / (double)n_pages;
}

static snug_status time_disk(int fd, const char *path, struct snug_fact *out,
                             struct snug_error *err)
{
    struct stat info;
    char source[SNUG__PROBE_PATH_MAX];
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size < DISK_LEAST_BYTES)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: disk speed needs a regular file of 1 MiB or more", path);
    size_t size = (size_t)info.st_size < DISK_MAX_BYTES ? (size_t)info.st_size : DISK_MAX_BYTES;
    /* Dirty pages are not dropped: write them first. Both are best effort. */
    (void)fdatasync(fd);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    double cached = cached_frac(fd, size);
    void *buffer = malloc(DISK_READ_BYTES);
    if (!buffer)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: a read buffer", path);
    double begin_s = snug_clock_s();
    double bytes = read_through(fd, buffer);
    double s = snug_clock_s() - begin_s;
    free(buffer);
    if (bytes <= 0)
        return snug_fail(err, SNUG_IO, "%s: cannot read: %s", path, strerror(errno));
    if (cached > 0.05)
        snug__format(source, sizeof source, "%.0f %% from the page cache: %s", 100 * cached, path);
    else
        snug__format(source, sizeof source, "sequential read of %s", path);
    snug__fact_set(out, bytes / (s > 1e-9 ? s : 1e-9), source);
    return SNUG_OK;
}

snug_status snug_machine_measure_disk(const char *path, struct snug_fact *out,
                                      struct snug_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang */
    if (fd < 0)
        return snug_fail(err, errno == ENOENT ? SNUG_NOT_FOUND : SNUG_IO, "%s: %s", path,
                         strerror(errno));
    snug_status status = time_disk(fd, path, out, err);
    close(fd);
    return status;
}
