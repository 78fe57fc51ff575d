/* What a process knows of itself and of its neighbours: the clock, its file, its parent, memory. */
#include "base/process.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

double snug_clock_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void snug_sleep_s(double s)
{
    if (!(s > 0))
        return;
    double whole = floor(s);
    struct timespec left = {.tv_sec = (time_t)whole, .tv_nsec = (long)((s - whole) * 1e9)};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
        continue;
}

void snug_process_die_with_parent(int signal)
{
    prctl(PR_SET_PDEATHSIG, signal);
    /* A parent that ended before the line above raised nothing. Comparing with 1 would not do: in a
     * container the parent may be process 1, and orphans may go to a subreaper. */
    const char *text = getenv(SNUG_PROCESS_PARENT_VARIABLE);
    pid_t parent = getppid();
    char now[32];
    snprintf(now, sizeof now, "%ld", (long)parent);
    if (text && parent != 0 && strcmp(text, now) != 0) /* 0: the parent is outside our namespace */
        raise(SIGKILL);
}

/* Was this program started as an argument of the dynamic loader? The kernel then names the loader.
 */
static bool is_loader(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    return strncmp(name, "ld-", 3) == 0 && strstr(name, ".so") != NULL;
}

snug_status snug_process_self(char *out, size_t cap, struct snug_error *err)
{
    static const char DELETED[] = " (deleted)"; /* the file was replaced while running */
    char path[4096];
    ssize_t got = readlink("/proc/self/exe", path, sizeof path - 1);
    if (got < 0)
        return snug_fail(err, SNUG_IO, "/proc/self/exe: %s", strerror(errno));
    size_t n = (size_t)got, n_deleted = sizeof DELETED - 1;
    path[n] = '\0';
    if (n > n_deleted && memcmp(path + n - n_deleted, DELETED, n_deleted) == 0)
        path[n -= n_deleted] = '\0';
    const char *launcher = is_loader(path) ? getenv(SNUG_PROCESS_SELF_VARIABLE) : NULL;
    const char *self = launcher && launcher[0] == '/' ? launcher : path;
    n = strlen(self);
    if (n >= cap)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: path longer than %zu bytes",
                         self == path ? "/proc/self/exe" : SNUG_PROCESS_SELF_VARIABLE, cap);
    memcpy(out, self, n + 1);
    return SNUG_OK;
}

/* "NAME:   123 kB" in the text of a status file, in bytes. */
static bool find_kib(const char *text, const char *name, uint64_t *out_bytes)
{
    const char *at = strstr(text, name);
    unsigned long long kib = 0;
    if (!at || sscanf(at + strlen(name), "%llu", &kib) != 1)
        return false;
    *out_bytes = (uint64_t)kib << 10;
    return true;
}

bool snug_process_rss(pid_t pid, uint64_t *out_bytes, uint64_t *out_bytes_peak)
{
    char path[64];
    char *text = NULL;
    uint64_t bytes = 0, bytes_peak = 0;
    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    if (snug_file_read(path, 65536, &text, NULL, NULL) != SNUG_OK)
        return false;
    /* A zombie has a status but no memory. */
    bool is_found = find_kib(text, "\nVmRSS:", &bytes) && find_kib(text, "\nVmHWM:", &bytes_peak);
    free(text);
    if (is_found && out_bytes)
        *out_bytes = bytes;
    if (is_found && out_bytes_peak)
        *out_bytes_peak = bytes_peak;
    return is_found;
}
