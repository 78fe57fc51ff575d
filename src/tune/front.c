/* Fronts of speed against memory, and the area they dominate.
 *
 * Owns the two-objective dominance rule (faster is better, fewer bytes is better). Sort by bytes,
 * sweep once, keep what is faster than everything smaller. Fonseca, Paquete, Lopez-Ibanez (2006)
 * describe the general case; in two dimensions the sorted sweep is the whole algorithm. */
#include "snug/tune.h"

#include <math.h>
#include <stdlib.h>

static bool is_point(const struct snug_point *p)
{
    return p->speed > 0 && isfinite(p->speed) && p->bytes > 0;
}

/* Bytes ascending, then speed descending, then order of arrival: a total order, so the result does
 * not depend on the sort. What is no point goes last. */
static int compare_points(const void *a, const void *b, void *data)
{
    const struct snug_point *points = data;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    const struct snug_point *p = &points[i], *q = &points[j];
    if (is_point(p) != is_point(q))
        return is_point(p) ? -1 : 1;
    if (p->bytes != q->bytes)
        return p->bytes < q->bytes ? -1 : 1;
    if (p->speed > q->speed || p->speed < q->speed)
        return p->speed > q->speed ? -1 : 1;
    return i < j ? -1 : i > j;
}

size_t snug_front_compute(const struct snug_point *points, size_t n, size_t *out_index)
{
    for (size_t i = 0; i < n; i++)
        out_index[i] = i;
    if (n > 1)
        qsort_r(out_index, n, sizeof *out_index, compare_points, (void *)(uintptr_t)points);
    size_t n_front = 0;
    double fastest = 0;
    for (size_t k = 0; k < n; k++) {
        size_t i = out_index[k];
        if (!is_point(&points[i]))
            break;
        if (points[i].speed > fastest) {
            fastest = points[i].speed;
            out_index[n_front++] = i;
        }
    }
    return n_front;
}

double snug_front_hypervolume(const struct snug_point *points, size_t n,
                              const struct snug_front_bounds *bounds)
{
    if (n == 0)
        return 0;
    size_t *index = calloc(n, sizeof *index);
    if (!index)
        return NAN;
    size_t n_front = snug_front_compute(points, n, index);
    double log_ref = log(bounds->speed_ref), bytes_ref = (double)bounds->bytes_ref;
    double area = 0, log_done = log_ref;
    /* Each member adds the slab between the last speed and its own, from its bytes to the bound. */
    for (size_t k = 0; k < n_front; k++) {
        const struct snug_point *p = &points[index[k]];
        double log_speed = log(p->speed);
        if (p->bytes >= bounds->bytes_ref || log_speed <= log_done)
            continue;
        area += (log_speed - log_done) * (1 - (double)p->bytes / bytes_ref);
        log_done = log_speed;
    }
    free(index);
    return area;
}
