/* Temporary name, room on the disk, rename. See part_file.h. */
#include "engine/part_file.h"

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

/* Files NAME.partPID whose process is gone. One that lives may be writing its own copy. */
static void remove_stale(const char *folder, const char *name)
{
    const size_t n = strlen(name);
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char *end = NULL;
        if (strncmp(entry->d_name, name, n) != 0 || strncmp(entry->d_name + n, ".part", 5) != 0)
            continue;
        const char *digits = entry->d_name + n + 5;
        const long pid = strtol(digits, &end, 10);
        if (end == digits || *end || pid <= 0 || kill((pid_t)pid, 0) == 0 || errno != ESRCH)
            continue;
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

snug_status snug__part_begin(const char *out_path, uint64_t bytes_needed,
                             char out_part[SNUG__PART_PATH_MAX], struct snug_error *err)
{
    char folder[SNUG__PART_PATH_MAX];
    const char *name = NULL;
    struct stat info;
    const int n = snprintf(out_part, SNUG__PART_PATH_MAX, "%s.part%ld", out_path, (long)getpid());
    if (n < 0 || n >= SNUG__PART_PATH_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%.80s...: the path is too long", out_path);
    split_path(out_path, folder, &name);
    if (!name[0])
        return snug_fail(err, SNUG_BAD_INPUT, "'%s': a file's name is expected", out_path);
    if (stat(out_path, &info) == 0 && !S_ISREG(info.st_mode))
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: is a folder or a device; a file's name is expected", out_path);
    if (stat(folder, &info) != 0 || !S_ISDIR(info.st_mode))
        return snug_fail(err, SNUG_IO, "%s: there is no folder %s", out_path, folder);
    if (access(folder, W_OK | X_OK) != 0)
        return snug_fail(err, SNUG_IO, "%s: cannot write in %s: %s", out_path, folder,
                         strerror(errno));
    remove_stale(folder, name);
    return check_room(out_path, folder, bytes_needed, err);
}

/* 0, or the errno. */
static int sync_path(const char *path, int flags)
{
    const int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        return errno;
    const int code = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return code;
}

snug_status snug__part_finish(const char *part, const char *out_path, struct snug_error *err)
{
    char folder[SNUG__PART_PATH_MAX];
    const char *name = NULL;
    int code = sync_path(part, O_RDWR);
    if (code == 0 && rename(part, out_path) != 0)
        code = errno;
    if (code != 0)
        return snug_fail(err, SNUG_IO, "%s: cannot be written: %s", out_path, strerror(code));
    split_path(out_path, folder, &name);
    (void)sync_path(folder,
                    O_RDONLY | O_DIRECTORY); /* some file systems refuse; the file is whole */
    return SNUG_OK;
}
