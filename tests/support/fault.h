/* A heap that fails on demand, for fault loops: with fault_after = N the allocation number N (from
 * 0) returns NULL, once. Include in one test file, whose program it then covers whole, libc
 * included.
 *
 *   for (long n = 0;; n++) {
 *       fault_begin(n);
 *       status = call();
 *       if (!fault_end())
 *           break;           // N allocations suffice: the call must have succeeded
 *       ... the call must have failed cleanly
 *   }
 */
#ifndef SNUG_TEST_FAULT_H
#define SNUG_TEST_FAULT_H

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static long fault_after = -1; /* allocations until the one that fails; -1: none fails */
static bool fault_is_hit;

static void *(*fault_malloc)(size_t);
static void *(*fault_calloc)(size_t, size_t);
static void *(*fault_realloc)(void *, size_t);

/* The next definitions in line: libc's, or the sanitizer's. Early allocations come before any
 * constructor of ours, so each entry looks for itself. */
static void fault_find(void)
{
    *(void **)&fault_realloc = dlsym(RTLD_NEXT, "realloc");
    *(void **)&fault_calloc = dlsym(RTLD_NEXT, "calloc");
    *(void **)&fault_malloc = dlsym(RTLD_NEXT, "malloc");
}

static bool fault_strikes(void)
{
    if (fault_after < 0 || fault_after-- != 0)
        return false;
    fault_is_hit = true;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n)
{
    if (!fault_malloc)
        fault_find();
    return fault_strikes() ? NULL : fault_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    if (!fault_calloc)
        fault_find();
    return fault_strikes() ? NULL : fault_calloc(n, size);
}

void *realloc(void *old, size_t n)
{
    if (!fault_realloc)
        fault_find();
    return fault_strikes() ? NULL : fault_realloc(old, n);
}

static inline void fault_begin(long n)
{
    fault_is_hit = false;
    fault_after = n;
}

/* Stop failing; was an allocation refused since fault_begin? */
static inline bool fault_end(void)
{
    fault_after = -1;
    return fault_is_hit;
}

#endif
