/* The lock on the folder is what tells the living from the dead: process numbers come back, and are
 * others in another container. A sweeper holds the lock while it removes; who made a folder and
 * then finds it gone, or another in its place, makes another. */
#include "base/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define PREFIX "scratch-"
#define TRIES_MAX 16

/* The files in an open folder, then the folder; what is in folders below stays, and so do they. */
static void remove_all(int fd, const char *path)
{
    const int copy = dup(fd);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir) {
        if (copy >= 0)
            close(copy);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(fd, entry->d_name, 0);
    }
    closedir(dir);
    rmdir(path);
}

static int open_folder(const char *path)
{
    return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static void sweep(const char *folder)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[4096 + 256];
        if (strncmp(entry->d_name, PREFIX, sizeof PREFIX - 1) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        const int fd = open_folder(path);
        if (fd < 0)
            continue;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            remove_all(fd, path);
        close(fd);
    }
    closedir(dir);
}

/* Made, locked, and still what the path names. */
static bool take(const char *path, int *out_fd)
{
    struct stat mine, there;
    const int fd = open_folder(path);
    if (fd < 0)
        return false;
    (void)!flock(fd, LOCK_EX); /* where there are no locks, leftovers stay */
    if (fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_dev == there.st_dev &&
        mine.st_ino == there.st_ino) {
        *out_fd = fd;
        return true;
    }
    close(fd);
    return false;
}

snug_status snug_scratch_open(const char *folder, struct snug_scratch *out, struct snug_error *err)
{
    static atomic_int n_made;
    struct snug_scratch made = {.path = ""};
    snug_status status = snug_file_make_folder(folder, err);
    if (status != SNUG_OK)
        return status;
    sweep(folder);
    for (int i = 0; i < TRIES_MAX; i++) {
        const int n = snprintf(made.path, sizeof made.path, "%s/" PREFIX "%ld-%d", folder,
                               (long)getpid(), atomic_fetch_add(&n_made, 1));
        if (n < 0 || (size_t)n >= sizeof made.path)
            return snug_fail(err, SNUG_BAD_INPUT, "%.80s...: the path is too long", folder);
        const int code = mkdir(made.path, 0700) == 0 ? 0 : errno;
        if (code != 0 && code != EEXIST)
            return snug_fail(err, SNUG_IO, "%s: cannot create folder: %s", made.path,
                             strerror(code));
        if (code == 0 && take(made.path, &made.fd)) {
            *out = made;
            return SNUG_OK;
        }
    }
    return snug_fail(err, SNUG_IO, "%s: another program removes folders there", folder);
}

void snug_scratch_close(struct snug_scratch *scratch)
{
    if (!scratch->path[0])
        return;
    remove_all(scratch->fd, scratch->path);
    close(scratch->fd);
    *scratch = (struct snug_scratch){.path = ""};
}
