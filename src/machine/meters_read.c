/* Files that are read again and again, and the parsers of what stands in them.
 *
 * A file is opened once and read from its start at every look: half the cost of opening it anew.
 * Formats: Linux, Documentation/filesystems/proc.rst, accounting/psi.rst,
 * admin-guide/cgroup-v2.rst and cgroup-v1/cpuacct.rst. */
#include "machine/meters_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine/probe.h"

/* More than any processor runs at; a virtual machine may write nonsense. */
#define CLOCK_MHZ_MAX 1e5

const char *snug__meter_errno(int code)
{
    if (code == ENOENT || code == ENOTDIR)
        return "no such file";
    if (code == EACCES || code == EPERM)
        return "permission denied";
    return strerror(code);
}

int snug__meter_open(const char *root, const char *path, char why[SNUG__METERS_WHY_MAX])
{
    char full[2 * SNUG__PROBE_PATH_MAX];
    int fd = -1, code = ENAMETOOLONG;
    if (strstr(path, "/..")) /* a group's path may hold it: it would lead out of the root */
        code = ENOENT;
    else if (snug__format(full, sizeof full, "%s%s", root, path)) {
        fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        code = errno;
    }
    if (fd < 0 && why)
        snug__format(why, SNUG__METERS_WHY_MAX, "%s: %s", path, snug__meter_errno(code));
    return fd;
}

bool snug__meter_text(int fd, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = '\0';
    if (fd < 0) {
        errno = EBADF;
        return false;
    }
    while (n < cap - 1) {
        ssize_t got = pread(fd, out + n, cap - 1 - n, (off_t)n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return false;
        if (got == 0)
            break;
        n += (size_t)got;
    }
    out[n] = '\0';
    return true;
}

double snug__meter_number(int fd)
{
    char text[64];
    double value = NAN;
    if (!snug__meter_text(fd, text, sizeof text) || !snug__parse_number(text, &value))
        return NAN;
    return value;
}

void snug__meter_line(const char *root, const char *path, char *out, size_t cap)
{
    char *text = snug__read(root, path, NULL);
    out[0] = '\0';
    if (text)
        snug__copy_text(out, cap, text, strcspn(text, "\n"));
    free(text);
}

void snug__each_entry(const char *root, const char *folder, const char *prefix, snug__entry_fn fn,
                      void *data)
{
    char full[2 * SNUG__PROBE_PATH_MAX];
    struct dirent **list = NULL;
    if (!snug__format(full, sizeof full, "%s%s", root, folder))
        return;
    int n = scandir(full, &list, NULL, versionsort);
    for (int i = 0; i < n; i++) {
        const char *name = list[i]->d_name;
        if (name[0] != '.' && strncmp(name, prefix, strlen(prefix)) == 0)
            fn(data, name);
        free(list[i]);
    }
    free(list);
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234", in microseconds */
double snug__parse_pressure_s(const char *text)
{
    static const char key[] = " total=";
    double us = NAN;
    const char *line = strncmp(text, "some ", 5) == 0 ? text : strstr(text, "\nsome ");
    const char *total = line ? strstr(line, key) : NULL;
    if (!total || memchr(line + 1, '\n', (size_t)(total - line - 1)))
        return NAN; /* that total= is of another line */
    return snug__parse_number(total + sizeof key - 1, &us) ? us * 1e-6 : NAN;
}

double snug__parse_cpuinfo_hz(const char *text, hwloc_const_bitmap_t cpus)
{
    double sum = 0;
    int n = 0;
    bool is_ours = false;
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *colon = line + strcspn(line, ":\n");
        double value = 0;
        if (*colon != ':' || !snug__parse_number(colon + 1, &value) || !strchr(colon, '\n'))
            continue; /* a last line without its end was cut */
        if (strncmp(line, "processor", 9) == 0)
            is_ours = value < SNUG__PROBE_CPUS_MAX && hwloc_bitmap_isset(cpus, (unsigned)value);
        else if (is_ours && strncmp(line, "cpu MHz", 7) == 0 && value > 0 &&
                 value < CLOCK_MHZ_MAX) {
            sum += value * 1e6;
            n++;
        }
    }
    return n ? sum / n : NAN;
}

/* Number `index` of a line of words, from 0. */
static double number_at(const char *text, int index)
{
    double value = NAN;
    for (int i = 0; i < index; i++) {
        text += strspn(text, " ");
        text += strcspn(text, " \n");
    }
    return snug__parse_number(text, &value) ? value : NAN;
}

double snug__parse_major_faults(const char *text)
{
    /* state ppid pgrp session tty tpgid flags minflt cminflt majflt */
    const char *after_name = strrchr(text, ')');
    return after_name ? number_at(after_name + 1, 9) : NAN;
}

double snug__parse_resident_pages(const char *text)
{
    return number_at(text, 1);
}

bool snug__parse_throttling(const char *text, struct snug__throttling *out)
{
    double us = 0, ns = 0;
    struct snug__throttling read = {0};
    if (!snug__text_number(text, "nr_periods", &read.n_periods) ||
        !snug__text_number(text, "nr_throttled", &read.n_throttled))
        return false;
    if (snug__text_number(text, "throttled_usec", &us))
        read.throttled_s = us * 1e-6;
    else if (snug__text_number(text, "throttled_time", &ns))
        read.throttled_s = ns * 1e-9;
    else
        return false;
    *out = read;
    return true;
}
