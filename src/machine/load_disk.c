/* A thread that writes and reads a scratch file, block by block, past the page cache where the file
 * system can (O_DIRECT), else with its pages written out and dropped.
 *
 * The file has no name (O_TMPFILE), so that nothing remains whatever ends us; where the file system
 * cannot do that it lies for a moment in a scratch folder that the next job sweeps. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/process.h"
#include "base/scratch.h"
#include "machine/load_internal.h"
#include "snug/budget.h"
#include "snug/stats.h"
#include "snug/units.h"

#define BLOCK_BYTES ((size_t)4 << 20)
#define LEAST_BYTES (4 * BLOCK_BYTES)
#define IDLE_S 0.02

/* Bytes of the file that the folder has room for; an error where there are too few. */
static snug_status find_size(const char *folder, size_t *out_bytes, struct snug_error *err)
{
    char text[SNUG_UNIT_TEXT_MAX];
    struct statvfs space;
    struct statfs kind;
    if (statvfs(folder, &space) != 0 || statfs(folder, &kind) != 0)
        return snug_fail(err, errno == ENOENT ? SNUG_NOT_FOUND : SNUG_IO, "%s: %s", folder,
                         strerror(errno));
    if (kind.f_type == TMPFS_MAGIC || kind.f_type == RAMFS_MAGIC)
        return snug_fail(err, SNUG_UNSUPPORTED,
                         "%s lies in memory, not on a disk: give another --folder", folder);
    const uint64_t bytes_free = (uint64_t)space.f_bavail * (uint64_t)space.f_frsize;
    uint64_t bytes = snug_budget_usable_bytes(bytes_free);
    bytes = bytes < SNUG_LOAD_DISK_BYTES_MAX ? bytes : SNUG_LOAD_DISK_BYTES_MAX;
    bytes -= bytes % BLOCK_BYTES;
    if (bytes < LEAST_BYTES)
        return snug_fail(err, SNUG_INFEASIBLE,
                         "%s: no room for a scratch file: %s are free, and 5 %% of it or 256 MiB "
                         "stay free",
                         folder, snug_bytes_text(bytes_free, text));
    *out_bytes = (size_t)bytes;
    return SNUG_OK;
}

/* A file with a name that is taken away at once; -1 with errno. */
static int open_named(const char *folder, struct snug_error *err)
{
    struct snug_scratch scratch = {.path = ""};
    char path[sizeof scratch.path + 8];
    if (snug_scratch_open(folder, &scratch, err) != SNUG_OK)
        return -1;
    snprintf(path, sizeof path, "%s/disk", scratch.path);
    const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        (void)snug_fail(err, SNUG_IO, "%s: %s", path, strerror(errno));
    snug_scratch_close(&scratch);
    return fd;
}

static snug_status open_file(const char *folder, int *out_fd, struct snug_error *err)
{
    struct snug_error named = {.status = SNUG_OK};
    int fd = open(folder, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    if (fd < 0 && errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)
        return snug_fail(err, SNUG_IO, "%s: cannot make a scratch file: %s", folder,
                         strerror(errno));
    if (fd < 0)
        fd = open_named(folder, &named);
    if (fd < 0)
        return snug_fail(err, named.status, "%s", named.text);
    *out_fd = fd;
    return SNUG_OK;
}

/* A block that no file system can make smaller. */
static void *make_block(void)
{
    struct snug_rng rng;
    uint64_t *block =
        mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return NULL;
    snug_rng_init(&rng, 1);
    for (size_t i = 0; i < BLOCK_BYTES / sizeof *block; i++)
        block[i] = snug_rng_next(&rng);
    return block;
}

snug_status snug__load_disk_open(struct snug__load_disk *disk, const char *folder,
                                 struct snug_error *err)
{
    disk->fd = -1;
    snug_status status = snug_file_make_folder(folder, err);
    if (status == SNUG_OK)
        status = find_size(folder, &disk->n_bytes, err);
    if (status == SNUG_OK)
        status = open_file(folder, &disk->fd, err);
    if (status != SNUG_OK)
        return status;
    disk->block = make_block();
    if (!disk->block) {
        snug__load_disk_close(disk);
        return snug_fail(err, SNUG_NO_MEMORY, "a block of the scratch file");
    }
    /* The room is taken now, where the file system can do that, so that a later write cannot fail
     * for want of it. */
    const int code = posix_fallocate(disk->fd, 0, (off_t)disk->n_bytes);
    if (code == ENOSPC || code == EDQUOT || code == EFBIG) {
        snug__load_disk_close(disk);
        return snug_fail(err, SNUG_INFEASIBLE, "%s: no room for a scratch file of %zu bytes: %s",
                         folder, disk->n_bytes, strerror(code));
    }
    (void)fcntl(disk->fd, F_SETFL, O_DIRECT);
    return SNUG_OK;
}

void snug__load_disk_close(struct snug__load_disk *disk)
{
    if (disk->fd >= 0)
        close(disk->fd);
    if (disk->block)
        munmap(disk->block, BLOCK_BYTES);
    disk->fd = -1;
    disk->block = NULL;
}

/* Write one block, read another, half of what is written away: room that is only taken reads as
 * zeros without the disk. 0 or an errno. */
static int turn(struct snug__load_disk *disk, size_t i)
{
    const size_t n_blocks = disk->n_bytes / BLOCK_BYTES;
    const size_t n_written = i + 1 < n_blocks ? i + 1 : n_blocks;
    const off_t to = (off_t)(i % n_blocks * BLOCK_BYTES);
    const off_t from = (off_t)((i + n_written / 2) % n_written * BLOCK_BYTES);
    ssize_t n = pwrite(disk->fd, disk->block, BLOCK_BYTES, to);
    if (n < 0 && errno == EINVAL) { /* O_DIRECT was taken, and is refused now */
        (void)fcntl(disk->fd, F_SETFL, 0);
        n = pwrite(disk->fd, disk->block, BLOCK_BYTES, to);
    }
    if (n < 0)
        return errno;
    if (!(fcntl(disk->fd, F_GETFL) & O_DIRECT)) {
        (void)fdatasync(disk->fd);
        (void)posix_fadvise(disk->fd, 0, 0, POSIX_FADV_DONTNEED);
    }
    const ssize_t n_read = pread(disk->fd, disk->block, BLOCK_BYTES, from);
    if (n_read < 0)
        return errno;
    atomic_store(&disk->bytes, atomic_load(&disk->bytes) + (double)(n + n_read));
    return 0;
}

void *snug__load_disk_run(void *data)
{
    struct snug__load_disk *disk = data;
    double busy_s = 0;
    for (size_t i = 0; !atomic_load(disk->stop);) {
        const double share = atomic_load(&disk->share);
        if (share <= 0) {
            snug__load_rest(disk->stop, IDLE_S);
            continue;
        }
        const double begin_s = snug_clock_s();
        const int code = turn(disk, i++);
        const double took_s = snug_clock_s() - begin_s;
        atomic_store(&disk->busy_s, busy_s += took_s);
        if (code != 0) {
            atomic_store(&disk->error, code);
            break;
        }
        if (share < 1)
            snug__load_rest(disk->stop, took_s * (1 / share - 1));
    }
    return NULL;
}
