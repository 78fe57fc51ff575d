/* Any bytes as what stands in the kernel's files that the meters read: each parser gives a finite
 * figure that is not negative, or NAN, or refuses. */
#include <math.h>
#include <stdlib.h>

#include "fuzz/check.h"
#include "machine/meters_internal.h"
#include "machine/probe.h"

static void check_figure(double value)
{
    check(isnan(value) || (isfinite(value) && value >= 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snug__throttling throttling = {-1, -1, -1};
    double busy_s = -1, total_s = -1;
    char *text = fuzz_text(data, n);
    hwloc_bitmap_t cpus = hwloc_bitmap_alloc_full();
    if (!text || !cpus)
        goto done;
    check_figure(snug__parse_pressure_s(text));
    check_figure(snug__parse_cpuinfo_hz(text, cpus));
    check_figure(snug__parse_major_faults(text));
    check_figure(snug__parse_resident_pages(text));
    if (snug__parse_throttling(text, &throttling)) {
        check(throttling.n_periods >= 0 && throttling.n_throttled >= 0);
        check(throttling.throttled_s >= 0);
    } else {
        check(throttling.n_periods == -1);
    }
    if (snug__parse_busy(text, &busy_s, &total_s))
        check(busy_s >= 0 && busy_s <= total_s);
    else
        check(busy_s == -1 && total_s == -1);
done:
    hwloc_bitmap_free(cpus);
    free(text);
    return 0;
}
