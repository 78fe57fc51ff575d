/* The folder in which reference runs are kept: bounded, the ones that were not used for longest go
 * first. Files are named and dated by snug eval; anything else in the folder is left alone. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "snug/engine.h"

static const char SUFFIX[] = ".snugref";
#define FILES_MAX 4096 /* more are left for the next time */

struct kept {
    char name[256];
    uint64_t bytes;
    struct timespec used;
};

/* NAME.snugref.partPID: the process id; 0 for any other name. */
static long part_pid(const char *name)
{
    const char *at = strstr(name, ".snugref.part");
    char *end = NULL;
    if (!at)
        return 0;
    at += strlen(".snugref.part");
    const long pid = *at >= '1' && *at <= '9' ? strtol(at, &end, 10) : 0;
    return end && *end == '\0' && pid > 0 && pid <= 0x3fffffff ? pid : 0;
}

static bool is_kept_name(const char *name)
{
    const size_t n = strlen(name), n_suffix = sizeof SUFFIX - 1;
    return n > n_suffix && n < sizeof((struct kept *)0)->name &&
           strcmp(name + n - n_suffix, SUFFIX) == 0;
}

static int by_use(const void *x, const void *y)
{
    const struct kept *a = x, *b = y;
    if (a->used.tv_sec != b->used.tv_sec)
        return a->used.tv_sec < b->used.tv_sec ? -1 : 1;
    if (a->used.tv_nsec != b->used.tv_nsec)
        return a->used.tv_nsec < b->used.tv_nsec ? -1 : 1;
    return strcmp(a->name, b->name);
}

static uint64_t limit_of(const char *folder)
{
    struct statvfs disk;
    if (statvfs(folder, &disk) != 0)
        return SNUG_REFERENCES_BYTES_MAX;
    const double share = SNUG_REFERENCES_DISK_FRAC * (double)disk.f_bavail * (double)disk.f_frsize;
    return share < (double)SNUG_REFERENCES_BYTES_MAX ? (uint64_t)share : SNUG_REFERENCES_BYTES_MAX;
}

/* Kept files into out; parts of dead processes go at once. */
static size_t list(DIR *dir, struct kept *out)
{
    size_t n = 0;
    for (struct dirent *entry; n < FILES_MAX && (entry = readdir(dir));) {
        struct stat info;
        const long pid = part_pid(entry->d_name);
        if (pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH)
            unlinkat(dirfd(dir), entry->d_name, 0);
        if (!is_kept_name(entry->d_name) ||
            fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(info.st_mode))
            continue;
        struct kept *kept = &out[n++];
        snprintf(kept->name, sizeof kept->name, "%s", entry->d_name);
        kept->bytes = (uint64_t)info.st_size;
        kept->used = info.st_mtim;
    }
    return n;
}

snug_status snug_engine_references_tidy(const char *folder, const char *keep, uint64_t max_bytes,
                                        struct snug_error *err)
{
    const uint64_t limit = max_bytes ? max_bytes : limit_of(folder);
    const char *slash = keep ? strrchr(keep, '/') : NULL;
    const char *keep_name = slash ? slash + 1 : keep;
    struct kept *files = calloc(FILES_MAX, sizeof *files);
    DIR *dir = opendir(folder);
    snug_status status = SNUG_OK;
    if (!files)
        status = snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for its list", folder);
    else if (!dir && errno != ENOENT)
        status = snug_fail(err, SNUG_IO, "%s: cannot be read: %s", folder, strerror(errno));
    if (status == SNUG_OK && dir) {
        const size_t n = list(dir, files);
        uint64_t sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += files[i].bytes;
        qsort(files, n, sizeof *files, by_use);
        for (size_t i = 0; i < n && sum > limit; i++) {
            if (keep_name && strcmp(files[i].name, keep_name) == 0)
                continue;
            /* A reader that has it open keeps it until it is done. */
            if (unlinkat(dirfd(dir), files[i].name, 0) == 0 || errno == ENOENT)
                sum -= files[i].bytes;
        }
    }
    if (dir)
        closedir(dir);
    free(files);
    return status;
}
