/* Any bytes as /proc/PID/stat and as /proc/stat: what is taken is a process, or CPU times that make
 * sense. */
#include <math.h>
#include <stdlib.h>

#include "fuzz/check.h"
#include "machine/budget_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = fuzz_text(data, n);
    hwloc_bitmap_t cpus = hwloc_bitmap_alloc_full();
    struct snug__process_stat stat = {.pid = -7};
    double idle_s = -1, all_s = -1;
    if (text && cpus) {
        if (snug__parse_process_stat(text, &stat))
            check(stat.pid > 0 && isfinite(stat.ticks));
        else
            check(stat.pid == -7);
        const int n_cpus = snug__parse_cpu_idle(text, cpus, &idle_s, &all_s);
        check(n_cpus >= 0 && idle_s >= 0 && idle_s <= all_s);
        check(n_cpus > 0 || all_s == 0);
    }
    hwloc_bitmap_free(cpus);
    free(text);
    return 0;
}
