/* A plan's own small matters: its end, its notes, its grades. */
#include "snug/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *snug_plan_grade_name(enum snug_plan_grade grade)
{
    static const char *const NAMES[] = {[SNUG_PLAN_USABLE] = "usable",
                                        [SNUG_PLAN_SLOW] = "slow",
                                        [SNUG_PLAN_IMPRACTICAL] = "impractical",
                                        [SNUG_PLAN_INFEASIBLE] = "infeasible"};
    return (unsigned)grade < sizeof NAMES / sizeof *NAMES ? NAMES[grade] : "?";
}

void snug_plan_clear(struct snug_plan *plan)
{
    if (!plan)
        return;
    free(plan->names); /* the texts are in the same block */
    free(plan->types);
    memset(plan, 0, sizeof *plan);
}

void snug_plan_note(struct snug_plan *plan, const char *format, ...)
{
    if (plan->n_notes >= SNUG_PLAN_NOTES_MAX)
        return; /* the first ones say what matters most */
    va_list args;
    va_start(args, format);
    vsnprintf(plan->notes[plan->n_notes], sizeof plan->notes[0], format, args);
    va_end(args);
    plan->n_notes++;
}

double snug_plan_mid_tps(const struct snug_plan *plan)
{
    const int64_t half = plan->n_ctx / (plan->n_parallel > 0 ? plan->n_parallel : 1) / 2;
    double tps = plan->n_depths > 0 ? plan->decode_tps[0].value : 0.0;
    for (int i = 0; i < plan->n_depths; i++)
        tps = plan->depths[i] <= half ? plan->decode_tps[i].value : tps;
    return tps;
}
