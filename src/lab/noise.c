/* The noise floor from a lab's baseline rows. */
#include "lab/noise.h"

#include <math.h>
#include <stdlib.h>

#include "lab/compare.h"

/* Speeds of one metric in the rows of a group; returns how many. */
static int collect(const struct snug_lab_plan *plan, const struct snug_measurement *const *rows,
                   const struct snug_lab_summary *group, bool is_decode, double *out)
{
    int n = 0;
    for (int i = 0; i < plan->n_rows; i++) {
        const struct snug_lab_row *row = &plan->rows[i];
        const struct snug_measurement *m = rows[i];
        if (row->i_round != group->i_round || row->i_model != group->i_model ||
            row->i_workload != group->i_workload || !m || m->outcome != SNUG_TRIAL_OK ||
            snug_verdict_of(m->warnings) == SNUG_INVALID)
            continue;
        const double speed = is_decode ? m->decode_tps : m->prefill_tps;
        if (speed > 0.0)
            out[n++] = speed;
    }
    return n;
}

bool snug_lab_noise(const struct snug_lab_plan *plan, const struct snug_measurement *const *rows,
                    const struct snug_lab_analysis *analysis, double *out_frac, int *out_n)
{
    double *speeds = calloc((size_t)plan->n_rows + 1, sizeof *speeds);
    double floor = 0.0;
    int n_least = 0;
    for (int g = 0; speeds && g < analysis->n_summaries; g++) {
        const struct snug_lab_summary *group = &analysis->summaries[g];
        if (group->i_round != 0 || snug_verdict_of(group->warnings) != SNUG_VALID)
            continue;
        for (int is_decode = 0; is_decode < 2; is_decode++) {
            const int n = collect(plan, rows, group, is_decode, speeds);
            if (n < SNUG_COMPARE_PAIRS_MIN)
                continue;
            floor = fmax(floor,
                         snug_stats_mad(speeds, (size_t)n) / snug_stats_median(speeds, (size_t)n));
            n_least = n_least == 0 || n < n_least ? n : n_least;
        }
    }
    free(speeds);
    if (n_least == 0)
        return false;
    *out_frac = floor;
    *out_n = n_least;
    return true;
}
