/* Plain Gaussian process (Rasmussen, Williams 2006, algorithm 2.1) and the area one point adds to a
 * front of two maximised objectives. Few points, so loops are plain. */
#include "perf/tunebench/methods/plain_gp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void tb_gp_features(const struct snug__lattice *lattice, const struct snug_config *config,
                    double *x)
{
    snug__lattice_features(lattice, config, x);
    for (int d = 0; d < lattice->n_dims; d++)
        if (lattice->is_named[d])
            x[d] /= lattice->n_levels[d] - 1;
}

void tb_gp_clear(struct tb_gp *gp, int n_dims, bool is_smooth)
{
    gp->n = 0;
    gp->n_dims = n_dims;
    gp->is_smooth = is_smooth;
}

void tb_gp_add(struct tb_gp *gp, const double *x, double y)
{
    if (gp->n == TB_GP_MAX)
        return;
    memcpy(gp->x[gp->n], x, (size_t)gp->n_dims * sizeof *x);
    gp->y[gp->n++] = y;
}

static double kernel(const struct tb_gp *gp, const double *a, const double *b)
{
    double r2 = 0;
    for (int d = 0; d < gp->n_dims; d++)
        r2 += (a[d] - b[d]) * (a[d] - b[d]);
    const double r = sqrt(r2) / gp->length;
    if (gp->is_smooth)
        return (1 + sqrt(5) * r + 5 * r * r / 3) * exp(-sqrt(5) * r);
    return (1 + sqrt(3) * r) * exp(-sqrt(3) * r);
}

/* Factor and alpha at the present length and noise; the log likelihood, up to a constant. */
static double factorise(struct tb_gp *gp)
{
    double sum = 0;
    for (int i = 0; i < gp->n; i++)
        for (int k = 0; k <= i; k++) {
            double v = kernel(gp, gp->x[i], gp->x[k]) + (i == k ? gp->noise_var : 0);
            for (int m = 0; m < k; m++)
                v -= gp->factor[i][m] * gp->factor[k][m];
            gp->factor[i][k] = i == k ? sqrt(fmax(v, 1e-10)) : v / gp->factor[k][k];
        }
    for (int i = 0; i < gp->n; i++) { /* L u = y */
        double v = gp->y[i];
        for (int k = 0; k < i; k++)
            v -= gp->factor[i][k] * gp->alpha[k];
        gp->alpha[i] = v / gp->factor[i][i];
        sum -= 0.5 * gp->alpha[i] * gp->alpha[i] + log(gp->factor[i][i]);
    }
    for (int i = gp->n - 1; i >= 0; i--) { /* L' alpha = u */
        double v = gp->alpha[i];
        for (int k = i + 1; k < gp->n; k++)
            v -= gp->factor[k][i] * gp->alpha[k];
        gp->alpha[i] = v / gp->factor[i][i];
    }
    return sum;
}

static void scale(struct tb_gp *gp)
{
    double sum = 0, sum2 = 0;
    for (int i = 0; i < gp->n; i++)
        sum += gp->y[i];
    gp->mean = gp->n ? sum / gp->n : 0;
    for (int i = 0; i < gp->n; i++)
        sum2 += (gp->y[i] - gp->mean) * (gp->y[i] - gp->mean);
    gp->sd = gp->n > 1 && sum2 > 0 ? sqrt(sum2 / (gp->n - 1)) : 1;
    for (int i = 0; i < gp->n; i++)
        gp->y[i] = (gp->y[i] - gp->mean) / gp->sd;
}

void tb_gp_fit(struct tb_gp *gp)
{
    static const double lengths[] = {0.15, 0.3, 0.6, 1.2, 2.4, 4.8};
    static const double noises[] = {1e-4, 1e-3, 1e-2, 5e-2, 2e-1};
    double best = -INFINITY, best_length = 1, best_noise = 1e-2;
    scale(gp);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (size_t k = 0; k < sizeof noises / sizeof *noises; k++) {
            gp->length = lengths[i];
            gp->noise_var = noises[k];
            const double likelihood = factorise(gp);
            if (likelihood > best) {
                best = likelihood;
                best_length = lengths[i];
                best_noise = noises[k];
            }
        }
    gp->length = best_length;
    gp->noise_var = best_noise;
    factorise(gp);
}

void tb_gp_fit_at(struct tb_gp *gp, double length, double noise_var)
{
    scale(gp);
    gp->length = length;
    gp->noise_var = noise_var;
    factorise(gp);
}

void tb_gp_predict(const struct tb_gp *gp, const double *x, double *out_mean, double *out_sd)
{
    double v[TB_GP_MAX], mean = 0, var = 1;
    for (int i = 0; i < gp->n; i++) {
        const double k = kernel(gp, gp->x[i], x);
        mean += k * gp->alpha[i];
        v[i] = k;
        for (int m = 0; m < i; m++)
            v[i] -= gp->factor[i][m] * v[m];
        v[i] /= gp->factor[i][i];
        var -= v[i] * v[i];
    }
    *out_mean = gp->n ? gp->mean + gp->sd * mean : 0;
    *out_sd = gp->n ? gp->sd * sqrt(fmax(var, 1e-12)) : 1;
}

/* ---- fronts ---- */

static int compare_points(const void *a, const void *b)
{
    const double *p = a, *q = b;
    if (p[0] < q[0] || p[0] > q[0])
        return p[0] < q[0] ? -1 : 1;
    return p[1] < q[1] ? -1 : p[1] > q[1];
}

int tb_area_front(double (*points)[2], int n)
{
    int n_kept = 0;
    qsort(points, (size_t)n, sizeof *points, compare_points);
    /* from the largest a down, a point stays when its b is the largest so far */
    double best = -INFINITY;
    for (int i = n - 1; i >= 0; i--) {
        if (points[i][1] <= best)
            continue;
        best = points[i][1];
        n_kept++;
        const double kept[2] = {points[i][0], points[i][1]};
        memcpy(points[n - n_kept], kept, sizeof kept);
    }
    memmove(points, points[n - n_kept], (size_t)n_kept * sizeof *points);
    return n_kept;
}

double tb_area_gain(const double (*front)[2], int n, const double ref[2], double a, double b)
{
    double area = 0, left = ref[0];
    /* strip i reaches from the point before to point i, whose b is the ceiling there */
    for (int i = 0; i <= n && left < a; i++) {
        const double right = i < n ? fmin(front[i][0], a) : a;
        const double ceiling = i < n ? fmax(front[i][1], ref[1]) : ref[1];
        if (right > left) {
            area += (right - left) * fmax(b - ceiling, 0);
            left = right;
        }
    }
    return area;
}
