/* What may be used now, from numbers: the pure half of a budget. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "machine/budget_internal.h"

/* What the system and other programs keep of a memory: a share of it, and no less than so much. */
static const double RESERVE_FRAC = 0.05;
static const uint64_t RESERVE_BYTES = 256u << 20;

uint64_t snug_budget_usable_bytes(uint64_t bytes)
{
    const uint64_t share = (uint64_t)(RESERVE_FRAC * (double)bytes);
    const uint64_t reserve = share > RESERVE_BYTES ? share : RESERVE_BYTES;
    return bytes > reserve ? bytes - reserve : 0;
}

static double within(double value, double lo, double hi)
{
    return value < lo ? lo : value > hi ? hi : value;
}

/* The tighter of two limits, of which one or both may be unknown; the first one's reason stays. */
static struct snug_fact tighter(const struct snug_fact *a, const struct snug_fact *b)
{
    if (!a->is_known)
        return b->is_known ? *b : *a;
    return b->is_known && b->value < a->value ? *b : *a;
}

static void compute_memory(const struct snug__budget_numbers *in, struct snug_budget *out)
{
    const struct snug_fact available = tighter(&in->memory_system_bytes, &in->memory_group_bytes);
    out->memory_available_bytes = available;
    out->memory_reserve_bytes = out->memory_usable_bytes = available;
    if (available.is_known) {
        const uint64_t usable = snug_budget_usable_bytes((uint64_t)available.value);
        out->memory_usable_bytes.value = (double)usable;
        snug__fact_set(&out->memory_reserve_bytes, available.value - (double)usable,
                       "5 % of what is available, at least 256 MiB");
    }
    out->memory_own_bytes = in->to.own_bytes;
}

/* Between two looks others kept busy what was neither idle nor ours. A process that ended may hand
 * its whole past to us at once, so that our part is cut to what was busy at all. */
static void compute_shares(const struct snug__budget_numbers *in, double n_cpus,
                           struct snug_budget *out)
{
    const struct snug_budget_look *from = &in->from, *to = &in->to;
    const double all_s = to->all_s.value - from->all_s.value;
    const double idle_s = within(to->idle_s.value - from->idle_s.value, 0, all_s);
    const double own_s = within(to->own_s.value - from->own_s.value, 0, all_s - idle_s);
    const char *source = to->all_s.source;
    snug__fact_set(&out->cpus_own, n_cpus * own_s / all_s, to->own_s.source);
    snug__fact_set(&out->cpus_others, n_cpus * (all_s - idle_s - own_s) / all_s, source);
    snug__fact_set(&out->cpus_free, n_cpus * (idle_s + own_s) / all_s, source);
}

static void compute_cpus(const struct snug__budget_numbers *in, struct snug_budget *out)
{
    const struct snug_budget_look *from = &in->from, *to = &in->to;
    /* The newer look first: its reason is the one of now, and a zero state look has none. */
    const struct snug_fact *missing = !to->all_s.is_known     ? &to->all_s
                                      : !to->own_s.is_known   ? &to->own_s
                                      : !from->all_s.is_known ? &from->all_s
                                      : !from->own_s.is_known ? &from->own_s
                                                              : NULL;
    struct snug_fact cpus = {0};
    if (to->n_cpus > 0)
        snug__fact_set(&cpus, to->n_cpus, "CPUs that this process may run on");
    else
        snug__fact_unknown(&cpus, "no CPU of this process is known");
    out->cpus_allowed = tighter(&cpus, &in->quota_cpus);
    if (!missing && to->n_cpus > 0 && from->n_cpus == to->n_cpus &&
        to->all_s.value > from->all_s.value) {
        compute_shares(in, to->n_cpus, out);
        out->cpus_free = tighter(&out->cpus_free, &in->quota_cpus);
        return;
    }
    struct snug_fact *const facts[] = {&out->cpus_own, &out->cpus_others, &out->cpus_free};
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        if (missing && missing->source[0])
            *facts[i] = *missing;
        else if (missing)
            snug__fact_unknown(facts[i], "the earlier look saw no CPU time");
        else if (to->n_cpus <= 0)
            *facts[i] = cpus;
        else if (from->n_cpus != to->n_cpus)
            snug__fact_unknown(facts[i], "the set of CPUs changed between two looks");
        else
            snug__fact_unknown(facts[i], "two looks too close: the CPU counters stood still");
    }
}

void snug__budget_compute(const struct snug__budget_numbers *numbers, struct snug_budget *out)
{
    memset(out, 0, sizeof *out);
    compute_memory(numbers, out);
    compute_cpus(numbers, out);
    out->pressure_cpu_frac = numbers->pressure_cpu_frac;
    out->pressure_memory_frac = numbers->pressure_memory_frac;
    out->pressure_io_frac = numbers->pressure_io_frac;
    out->device_usable_bytes = numbers->device_free_bytes;
    if (out->device_usable_bytes.is_known)
        out->device_usable_bytes.value =
            (double)snug_budget_usable_bytes((uint64_t)numbers->device_free_bytes.value);
}
