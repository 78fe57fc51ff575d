/* Temporary name, room on the disk, rename. See part_file.h. */
#include "engine/part_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "snug/units.h"

/* "FOLDER" and "NAME" of a path; "." and "/" where there is none. */
static void split_path(const char *path, char folder[SNUG__PART_PATH_MAX], const char **out_name)
{
    const char *slash = strrchr(path, '/');
    *out_name = slash ? slash + 1 : path;
    if (!slash)
        snprintf(folder, SNUG__PART_PATH_MAX, ".");
    else
        snprintf(folder, SNUG__PART_PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path),
                 path);
}

/* Is nobody writing it? Locks tell better than the process number in its name, which may be a
 * zombie's, another's by now, or of another container. */
static bool is_left(int folder, const char *name)
{
    const int fd = openat(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    const bool is_locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
    close(fd);
    return is_locked;
}

/* Files NAME.partDIGITS that a killed process left. */
static void remove_stale(const char *folder, const char *name)
{
    const size_t n = strlen(name);
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        const char *after = entry->d_name + n;
        if (strncmp(entry->d_name, name, n) != 0 || strncmp(after, ".part", 5) != 0)
            continue;
        const size_t n_digits = strspn(after + 5, "0123456789");
        if (n_digits > 0 && after[5 + n_digits] == '\0' && is_left(dirfd(dir), entry->d_name))
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    closedir(dir);
}

static snug_status check_room(const char *out_path, const char *folder, uint64_t bytes_needed,
                              struct snug_error *err)
{
    struct statvfs fs;
    char need[SNUG_UNIT_TEXT_MAX], room[SNUG_UNIT_TEXT_MAX];
    if (statvfs(folder, &fs) != 0)
        return snug_fail(err, SNUG_IO, "%s: its folder %s: %s", out_path, folder, strerror(errno));
    const uint64_t n_free = (uint64_t)fs.f_bavail * (uint64_t)fs.f_frsize;
    if (n_free < bytes_needed)
        return snug_fail(
            err, SNUG_IO, "%s: needs %s, %s are free in %s: make room, or write to another disk",
            out_path, snug_bytes_text(bytes_needed, need), snug_bytes_text(n_free, room), folder);
    return SNUG_OK;
}

snug_status snug__part_begin(const char *out_path, uint64_t bytes_needed, struct snug__part *out,
                             struct snug_error *err)
{
    char folder[SNUG__PART_PATH_MAX];
    const char *name = NULL;
    struct stat info;
    struct snug__part part;
    const int n = snprintf(part.path, sizeof part.path, "%s.part%ld", out_path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof part.path)
        return snug_fail(err, SNUG_BAD_INPUT, "%.80s...: the path is too long", out_path);
    split_path(out_path, folder, &name);
    if (!name[0])
        return snug_fail(err, SNUG_BAD_INPUT, "'%s': a file's name is expected", out_path);
    if (stat(out_path, &info) == 0 && !S_ISREG(info.st_mode))
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: is a folder or a device; a file's name is expected", out_path);
    if (stat(folder, &info) != 0 || !S_ISDIR(info.st_mode))
        return snug_fail(err, SNUG_IO, "%s: there is no folder %s", out_path, folder);
    remove_stale(folder, name);
    snug_status status = check_room(out_path, folder, bytes_needed, err);
    if (status != SNUG_OK)
        return status;
    part.fd = open(part.path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (part.fd < 0)
        return snug_fail(err, SNUG_IO, "%s: cannot be written: %s", out_path, strerror(errno));
    (void)flock(part.fd, LOCK_EX | LOCK_NB); /* where there are no locks, leftovers stay */
    *out = part;
    return SNUG_OK;
}

void snug__part_drop(struct snug__part *part)
{
    unlink(part->path);
    close(part->fd);
}

snug_status snug__part_finish(struct snug__part *part, const char *out_path, struct snug_error *err)
{
    char folder[SNUG__PART_PATH_MAX];
    const char *name = NULL;
    if (fsync(part->fd) != 0 || rename(part->path, out_path) != 0) {
        const int code = errno;
        snug__part_drop(part);
        return snug_fail(err, SNUG_IO, "%s: cannot be written: %s", out_path, strerror(code));
    }
    close(part->fd);
    split_path(out_path, folder, &name);
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd); /* some file systems refuse that of a folder; the file itself is whole */
        close(fd);
    }
    return SNUG_OK;
}
