/* Gaussian process: the kernel between points.
 *
 * Log speed is close to a sum of what each knob does, so most of the variance goes to a sum of
 * one-knob kernels and the rest to their joint product (Duvenaud, Nickisch, Rasmussen, "Additive
 * Gaussian Processes", 2011, orders 1 and n). One trial then teaches about every config that
 * shares a value with it, which is what makes 16 trials in 10 dimensions useful. */
#include "tune/gp_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SQRT5 2.23606797749978969641
#define SLOTS 16 /* values remembered per dim; more take turns in the last */

struct snug__gp_rows {
    int n_used[SNUG_GP_DIMS_MAX];
    double value[SNUG_GP_DIMS_MAX][SLOTS];
    double *own;           /* [n_dims][SLOTS][n] own kernel times its variance */
    double *apart;         /* [n_dims][SLOTS][n] part of r^2 (ordered) or of the exponent (named) */
    double *r2, *exponent; /* [n] scratch */
};

void snug__gp_shares(int n_dims, const double *theta, double *out_alone, double *out_together)
{
    double variance = exp(2 * theta[n_dims]), share = n_dims ? SNUG_GP_OWN_SHARE : 0;
    *out_alone = n_dims ? variance * share / n_dims : 0;
    *out_together = variance * (1 - share);
}

struct snug__gp_rows *snug__gp_rows_new(const struct snug_gp *gp)
{
    struct snug__gp_rows *rows = calloc(1, sizeof *rows);
    size_t n = (size_t)gp->n, size = (size_t)gp->n_dims * SLOTS * n + 1;
    if (!rows)
        return NULL;
    rows->own = calloc(size, sizeof *rows->own);
    rows->apart = calloc(size, sizeof *rows->apart);
    rows->r2 = calloc(n + 1, sizeof *rows->r2);
    rows->exponent = calloc(n + 1, sizeof *rows->exponent);
    if (rows->own && rows->apart && rows->r2 && rows->exponent)
        return rows;
    snug__gp_rows_free(rows);
    return NULL;
}

void snug__gp_rows_free(struct snug__gp_rows *rows)
{
    if (!rows)
        return;
    free(rows->own);
    free(rows->apart);
    free(rows->r2);
    free(rows->exponent);
    free(rows);
}

static void fill_row(const struct snug_gp *gp, int d, double value, double *own, double *apart)
{
    const double *points = gp->x + (size_t)d * SNUG_GP_POINTS_MAX;
    double inverse = exp(-gp->theta[d]), differ = exp(-inverse), alone, together;
    snug__gp_shares(gp->n_dims, gp->theta, &alone, &together);
    for (int i = 0; i < gp->n; i++) {
        double gap = fabs(points[i] - value), s = SQRT5 * gap * inverse;
        if (gp->is_named[d]) {
            own[i] = alone * (gap > 0.25 ? differ : 1);
            apart[i] = gap > 0.25 ? inverse / gp->n_dims : 0;
        } else {
            own[i] = alone * (1 + s + s * s / 3) * exp(-s);
            apart[i] = gap * gap * inverse * inverse / gp->n_dims;
        }
    }
}

/* Slot of a value of dim d, filled. */
static size_t find_slot(const struct snug_gp *gp, struct snug__gp_rows *rows, int d, double value)
{
    size_t n = (size_t)gp->n, first = (size_t)d * SLOTS, slot = 0;
    size_t n_used = (size_t)rows->n_used[d];
    while (slot < n_used && fabs(rows->value[d][slot] - value) > 0)
        slot++;
    if (slot < n_used)
        return first + slot;
    if (n_used < SLOTS)
        rows->n_used[d]++;
    else
        slot = SLOTS - 1;
    rows->value[d][slot] = value;
    fill_row(gp, d, value, rows->own + (first + slot) * n, rows->apart + (first + slot) * n);
    return first + slot;
}

void snug__gp_kernel_column(const struct snug_gp *gp, struct snug__gp_rows *rows, const double *x,
                            size_t stride, int from, double *out)
{
    size_t n = (size_t)gp->n, start = (size_t)from, bytes = (n - start) * sizeof *out;
    double alone, together;
    snug__gp_shares(gp->n_dims, gp->theta, &alone, &together);
    memset(out + start, 0, bytes);
    memset(rows->r2 + start, 0, bytes);
    memset(rows->exponent + start, 0, bytes);
    for (int d = 0; d < gp->n_dims; d++) {
        size_t slot = find_slot(gp, rows, d, x[(size_t)d * stride]);
        const double *restrict own = rows->own + slot * n, *restrict apart = rows->apart + slot * n;
        double *restrict sum = gp->is_named[d] ? rows->exponent : rows->r2;
        for (size_t i = start; i < n; i++) {
            out[i] += own[i];
            sum[i] += apart[i];
        }
    }
    for (size_t i = start; i < n; i++) {
        double s = SQRT5 * sqrt(rows->r2[i]);
        out[i] += together * (1 + s + s * s / 3) * exp(-s - rows->exponent[i]);
    }
}
