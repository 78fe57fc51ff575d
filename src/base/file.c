/* Whole files and folders. Reading grows until the end of the file, because /proc and /sys state no
 * size; writing goes through a temporary neighbour and rename(2). */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_FIRST_BYTES 4096 /* one page: nearly all of /proc and /sys in one read */

/* "PATH: doing: why"; what callers act on (absent, no memory) gets a status of its own. */
static snug_status fail_errno(struct snug_error *err, const char *doing, const char *path, int code)
{
    snug_status status = SNUG_IO;
    if (code == ENOENT || code == ENOTDIR)
        status = SNUG_NOT_FOUND;
    else if (code == ENOMEM)
        status = SNUG_NO_MEMORY;
    return snug_fail(err, status, "%s: %s: %s", path, doing, strerror(code));
}

static ssize_t read_some(int fd, void *data, size_t n)
{
    ssize_t got;
    do {
        got = read(fd, data, n);
    } while (got < 0 && errno == EINTR);
    return got;
}

/* Everything up to the end of fd, NUL-terminated; one byte above cap is asked for, to see excess.
 */
static snug_status read_all(int fd, const char *path, size_t cap, char **out_text, size_t *out_n,
                            struct snug_error *err)
{
    snug_status status = SNUG_OK;
    size_t n = 0, room = cap < READ_FIRST_BYTES ? cap + 1 : READ_FIRST_BYTES;
    char *text = malloc(room + 1);
    for (;;) {
        if (!text)
            return snug_fail(err, SNUG_NO_MEMORY, "%s: %zu bytes", path, room);
        ssize_t got = read_some(fd, text + n, room - n);
        if (got < 0) {
            status = fail_errno(err, "cannot read", path, errno);
            goto done;
        }
        if (got == 0)
            break;
        n += (size_t)got;
        if (n > cap) {
            status = snug_fail(err, SNUG_BAD_INPUT, "%s: longer than %zu bytes", path, cap);
            goto done;
        }
        if (n < room)
            continue;
        room = room > cap / 2 ? cap + 1 : room * 2; /* never more than cap + 1 */
        char *more = realloc(text, room + 1);
        if (!more)
            free(text);
        text = more;
    }
    text[n] = '\0';
    *out_text = text;
    if (out_n)
        *out_n = n;
    text = NULL; /* the caller owns it now */
done:
    free(text);
    return status;
}

snug_status snug_file_read(const char *path, size_t cap, char **out_text, size_t *out_n,
                           struct snug_error *err)
{
    if (cap > SIZE_MAX / 4)
        cap = SIZE_MAX / 4; /* "no cap" must not overflow */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(err, "cannot open", path, errno);
    snug_status status = read_all(fd, path, cap, out_text, out_n, err);
    close(fd);
    return status;
}

/* A cgroup path as the kernel prints it may hold "..": it would lead out of the root. */
static bool has_dot_dot(const char *path)
{
    for (const char *at = path; (at = strstr(at, "/..")); at += 3) {
        if (at[3] == '/' || at[3] == '\0')
            return true;
    }
    return false;
}

snug_status snug_file_read_below(const char *root, const char *path, size_t cap, char **out_text,
                                 size_t *out_n, struct snug_error *err)
{
    if (path[0] != '/' || has_dot_dot(path))
        return snug_fail(err, SNUG_BAD_INPUT, "'%s' is not an absolute path without '..'", path);
    size_t n = strlen(root); /* without the slashes at its end, which path begins with */
    while (n > 0 && root[n - 1] == '/')
        n--;
    char *full = NULL;
    if (asprintf(&full, "%.*s%s", (int)n, root, path) < 0)
        return snug_fail(err, SNUG_NO_MEMORY, "path below '%s'", root);
    snug_status status = snug_file_read(full, cap, out_text, out_n, err);
    free(full);
    return status;
}

/* 0, or the errno of the first write that failed. */
static int write_all(int fd, const void *data, size_t n)
{
    const char *at = data;
    while (n > 0) {
        ssize_t put = write(fd, at, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return errno;
        at += put;
        n -= (size_t)put;
    }
    return 0;
}

/* Write beside path, then take its place. mode: permission bits of the new file. */
static snug_status write_regular(const char *path, mode_t mode, const void *data, size_t n,
                                 struct snug_error *err)
{
    snug_status status = SNUG_OK;
    char *temp = NULL;
    /* The thread id is the process id on the main thread, and lets two threads write at once. */
    if (asprintf(&temp, "%s.tmp%ld", path, (long)gettid()) < 0)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: temporary name", path);
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0) {
        status = fail_errno(err, "cannot create", temp, errno);
        goto done;
    }
    /* The data must be on disk before the name points to it, and NFS tells of a full disk in close.
     */
    int code = write_all(fd, data, n);
    if (code == 0 && fsync(fd) != 0)
        code = errno;
    if (close(fd) != 0 && code == 0)
        code = errno;
    if (code == 0 && rename(temp, path) != 0)
        code = errno;
    if (code != 0) {
        unlink(temp);
        status = fail_errno(err, "cannot write", path, code);
    }
done:
    free(temp);
    return status;
}

/* Pipes, terminals and /dev/null: there is nothing to replace. */
static snug_status write_special(const char *path, const void *data, size_t n,
                                 struct snug_error *err)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(err, "cannot open", path, errno);
    int code = write_all(fd, data, n);
    if (close(fd) != 0 && code == 0)
        code = errno;
    return code == 0 ? SNUG_OK : fail_errno(err, "cannot write", path, code);
}

snug_status snug_file_write(const char *path, const void *data, size_t n, struct snug_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return write_regular(path, 0666, data, n, err);
    if (S_ISDIR(info.st_mode))
        return snug_fail(err, SNUG_IO, "%s: is a folder", path);
    if (!S_ISREG(info.st_mode))
        return write_special(path, data, n, err);
    /* Through symbolic links, so that a linked file stays linked; a private file stays private. */
    char *real = realpath(path, NULL);
    if (!real)
        return fail_errno(err, "cannot resolve", path, errno);
    snug_status status = write_regular(real, info.st_mode & 0777, data, n, err);
    free(real);
    return status;
}

snug_status snug_file_write_in(const char *folder, const char *name, const void *data, size_t n,
                               struct snug_error *err)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path)
        return snug_fail(err, SNUG_BAD_INPUT, "%.80s...: the path is too long", folder);
    return snug_file_write(path, data, n, err);
}

snug_status snug_file_try_write(const char *path, struct snug_error *err)
{
    struct stat info;
    const bool is_there = stat(path, &info) == 0;
    if (is_there && S_ISDIR(info.st_mode))
        return snug_fail(err, SNUG_IO, "%s: is a folder", path);
    if (is_there && !S_ISREG(info.st_mode))
        return access(path, W_OK) == 0 ? SNUG_OK : fail_errno(err, "cannot write", path, errno);
    snug_status status = SNUG_OK;
    char *temp = NULL, *real = is_there ? realpath(path, NULL) : NULL;
    if (is_there && !real)
        return fail_errno(err, "cannot resolve", path, errno);
    if (asprintf(&temp, "%s.tmp%ld", real ? real : path, (long)gettid()) < 0) {
        free(real);
        return snug_fail(err, SNUG_NO_MEMORY, "%s: temporary name", path);
    }
    const int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        status = fail_errno(err, "cannot create", temp, errno);
    } else {
        close(fd);
        unlink(temp);
    }
    free(temp);
    free(real);
    return status;
}

/* mkdir that is content with an existing folder. */
static snug_status make_one(const char *path, struct snug_error *err)
{
    struct stat info;
    if (mkdir(path, 0777) == 0)
        return SNUG_OK;
    int code = errno;
    /* mkdir of an existing folder may say EROFS or EACCES instead of EEXIST. */
    if (stat(path, &info) == 0) {
        if (S_ISDIR(info.st_mode))
            return SNUG_OK;
        return snug_fail(err, SNUG_IO, "%s: exists and is not a folder", path);
    }
    return fail_errno(err, "cannot create folder", path, code);
}

snug_status snug_file_make_folder(const char *path, struct snug_error *err)
{
    if (path[0] == '\0')
        return snug_fail(err, SNUG_BAD_INPUT, "a folder needs a name");
    char *part = strdup(path);
    if (!part)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: folder name", path);
    snug_status status = SNUG_OK;
    /* Cut at each slash in turn; of "a//b" only the first one ends a name. */
    for (char *at = part + 1; status == SNUG_OK && *at; at++) {
        if (*at != '/' || at[-1] == '/')
            continue;
        *at = '\0';
        status = make_one(part, err);
        *at = '/';
    }
    if (status == SNUG_OK)
        status = make_one(part, err);
    free(part);
    return status;
}

/* Source: XDG Base Directory Specification 0.8; a relative value must be ignored. */
static snug_status xdg_folder(const char *variable, const char *below_home, char *out, size_t cap,
                              struct snug_error *err)
{
    char *path = NULL;
    const char *base = getenv(variable);
    const char *home = getenv("HOME");
    int n;
    if (base && base[0] == '/')
        n = asprintf(&path, "%s/snug", base);
    else if (home && home[0] == '/')
        n = asprintf(&path, "%s/%s/snug", home, below_home);
    else
        return snug_fail(err, SNUG_NOT_FOUND, "set %s or HOME to an absolute path", variable);
    if (n < 0)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: path", variable);
    snug_status status = SNUG_OK;
    if ((size_t)n < cap)
        memcpy(out, path, (size_t)n + 1);
    else
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: path longer than %zu bytes", variable, cap);
    free(path);
    return status;
}

snug_status snug_file_data_folder(char *out, size_t cap, struct snug_error *err)
{
    return xdg_folder("XDG_DATA_HOME", ".local/share", out, cap, err);
}

snug_status snug_file_cache_folder(char *out, size_t cap, struct snug_error *err)
{
    return xdg_folder("XDG_CACHE_HOME", ".cache", out, cap, err);
}
