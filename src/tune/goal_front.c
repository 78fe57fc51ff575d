/* Fronts of up to three gains. Sort by the first gain, best first: what dominates a point then
 * stands before it, so that one pass against the members so far is enough. */
#include "snug/goal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tune/ehvi.h"

_Static_assert(SNUG_AXES_MAX == SNUG_EHVI_DIMS, "gains are points of the boxes");

static bool is_point(const double gain[SNUG_AXES_MAX])
{
    bool is_finite = true;
    for (int d = 0; d < SNUG_AXES_MAX; d++)
        is_finite &= (bool)isfinite(gain[d]);
    return is_finite;
}

/* Every gain in turn, better first, then order of arrival; what is no point goes last. */
static int compare_gains(const void *a, const void *b, void *data)
{
    const double(*gain)[SNUG_AXES_MAX] = data;
    const size_t i = *(const size_t *)a, j = *(const size_t *)b;
    if (is_point(gain[i]) != is_point(gain[j]))
        return is_point(gain[i]) ? -1 : 1;
    for (int d = 0; d < SNUG_AXES_MAX && is_point(gain[i]); d++)
        if (gain[i][d] > gain[j][d] || gain[i][d] < gain[j][d])
            return gain[i][d] > gain[j][d] ? -1 : 1;
    return i < j ? -1 : i > j;
}

/* At least as good everywhere; equal points too, of which the first is kept. */
static bool covers(const double a[SNUG_AXES_MAX], const double b[SNUG_AXES_MAX])
{
    bool is_covered = true;
    for (int d = 0; d < SNUG_AXES_MAX; d++)
        is_covered &= a[d] >= b[d];
    return is_covered;
}

size_t snug_goal_front(const double (*gain)[SNUG_AXES_MAX], size_t n, size_t *out_index)
{
    size_t n_front = 0;
    for (size_t i = 0; i < n; i++)
        out_index[i] = i;
    if (n > 1)
        qsort_r(out_index, n, sizeof *out_index, compare_gains, (void *)(uintptr_t)gain);
    for (size_t k = 0; k < n && is_point(gain[out_index[k]]); k++) {
        const size_t i = out_index[k];
        bool is_covered = false;
        for (size_t m = 0; m < n_front && !is_covered; m++)
            is_covered = covers(gain[out_index[m]], gain[i]);
        if (!is_covered)
            out_index[n_front++] = i;
    }
    return n_front;
}

double snug_goal_hypervolume(const double (*gain)[SNUG_AXES_MAX], size_t n)
{
    struct snug_ehvi_boxes boxes;
    if (snug_ehvi_boxes_init(&boxes, gain, n, NULL) != SNUG_OK)
        return (double)NAN;
    const double volume = boxes.volume;
    snug_ehvi_boxes_clear(&boxes);
    return volume;
}
