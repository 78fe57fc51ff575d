/* CPU masks worth trying: one CPU of each core, and the performance cores alone. */
#include <stdio.h>
#include <string.h>

#include "machine/probe.h"

/* Hex without leading zeros, as llama.cpp's --cpu-mask reads it; "" when it does not fit. */
static void write_mask(hwloc_const_bitmap_t set, char out[SNUG_CPU_MASK_MAX])
{
    size_t n = 2;
    out[0] = '\0';
    const int last = hwloc_bitmap_last(set);
    if (last < 0 || last / 4 + 4 > SNUG_CPU_MASK_MAX)
        return;
    memcpy(out, "0x", 2);
    for (int digit = last / 4; digit >= 0; digit--) {
        unsigned value = 0;
        for (int bit = 0; bit < 4; bit++)
            value |= (unsigned)hwloc_bitmap_isset(set, (unsigned)(digit * 4 + bit)) << bit;
        out[n++] = "0123456789abcdef"[value];
    }
    out[n] = '\0';
}

/* A mask that is all usable CPUs, or none of them, is no choice. */
static void keep_if_smaller(const struct snug__probe *probe, hwloc_bitmap_t set,
                            char out[SNUG_CPU_MASK_MAX])
{
    hwloc_bitmap_and(set, set, probe->cpus);
    if (!hwloc_bitmap_iszero(set) && !hwloc_bitmap_isequal(set, probe->cpus))
        write_mask(set, out);
}

void snug__read_masks(struct snug__probe *probe, hwloc_topology_t topology)
{
    struct snug_machine *machine = probe->machine;
    hwloc_bitmap_t set = hwloc_bitmap_alloc(), one = hwloc_bitmap_alloc();
    hwloc_obj_t core = NULL;
    while (set && one && (core = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_CORE, core))) {
        hwloc_bitmap_and(one, core->cpuset, probe->cpus);
        if (!hwloc_bitmap_iszero(one))
            hwloc_bitmap_set(set, (unsigned)hwloc_bitmap_first(one));
    }
    if (set && one)
        keep_if_smaller(probe, set, machine->mask_cores);
    const int n_kinds = hwloc_cpukinds_get_nr(topology, 0);
    /* hwloc ranks kinds from the most efficient to the fastest. */
    if (set && one && n_kinds > 1 &&
        hwloc_cpukinds_get_info(topology, (unsigned)n_kinds - 1, set, NULL, NULL, NULL, 0) == 0)
        keep_if_smaller(probe, set, machine->mask_performance);
    hwloc_bitmap_free(set);
    hwloc_bitmap_free(one);
}
