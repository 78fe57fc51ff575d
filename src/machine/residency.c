/* How much of a file lies in the page cache: mincore over a mapping that touches no page. */
#include "machine/meters_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine/probe.h"

/* Pages asked for at a time: one byte each. */
#define PAGES_AT_ONCE 8192

/* Since 5.2 the kernel says "all resident" of a file that the caller neither owns nor may write:
 * the answer would be a leak. Source: mm/mincore.c, can_do_mincore. */
static bool may_look(const char *path, const struct stat *info)
{
    return geteuid() == 0 || info->st_uid == geteuid() ||
           faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

/* Resident pages of a mapping, or -1. */
static double count_resident(unsigned char *map, size_t n_bytes, size_t page)
{
    unsigned char is_in[PAGES_AT_ONCE];
    double n = 0;
    for (size_t at = 0; at < n_bytes; at += page * PAGES_AT_ONCE) {
        size_t left = n_bytes - at;
        size_t now = left < page * PAGES_AT_ONCE ? left : page * PAGES_AT_ONCE;
        if (mincore(map + at, now, is_in) != 0)
            return -1;
        for (size_t i = 0; i < (now + page - 1) / page; i++)
            n += is_in[i] & 1;
    }
    return n;
}

double snug__resident_frac(const char *path, char why[SNUG__METERS_WHY_MAX])
{
    double frac = NAN;
    struct stat info;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0) {
        snug__format(why, SNUG__METERS_WHY_MAX, "model file: %s", snug__meter_errno(errno));
        goto done;
    }
    if (!S_ISREG(info.st_mode) || info.st_size <= 0) {
        snug__format(why, SNUG__METERS_WHY_MAX, "model file: not a file with bytes in it");
        goto done;
    }
    if (!may_look(path, &info)) {
        snug__format(why, SNUG__METERS_WHY_MAX, "model file: neither owned nor writable");
        goto done;
    }
    size_t n_bytes = (size_t)info.st_size;
    unsigned char *map = mmap(NULL, n_bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        snug__format(why, SNUG__METERS_WHY_MAX, "model file: %s", snug__meter_errno(errno));
        goto done;
    }
    double n = count_resident(map, n_bytes, page);
    if (n >= 0)
        frac = n / (double)((n_bytes + page - 1) / page);
    else
        snug__format(why, SNUG__METERS_WHY_MAX, "model file: %s", snug__meter_errno(errno));
    munmap(map, n_bytes);
done:
    if (fd >= 0)
        close(fd);
    return frac;
}

double snug_meters_resident_frac(const char *path)
{
    char why[SNUG__METERS_WHY_MAX];
    return path ? snug__resident_frac(path, why) : NAN;
}
