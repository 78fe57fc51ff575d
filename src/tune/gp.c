/* Gaussian process: points, Cholesky factor, prediction.
 *
 * Rasmussen, Williams, "Gaussian Processes for Machine Learning" (2006): algorithm 2.1 and section
 * 2.7 for the constant mean. Matrices are column-major and tiny (100 points: 80 kB), so BLAS runs
 * on one thread: starting others costs more than the work.
 *
 * n points, m candidates, L lower factor of K + noise, v = L^-1 k(X, x), u = L^-1 1. */
#include "tune/gp_internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <lapacke.h>

#define BATCH 64 /* candidates per triangular solve: n * 64 doubles stay in L2 */
static_assert(BATCH <= SNUG_GP_POINTS_MAX, "work.k holds a batch");
#define JITTER_TRIES 8

/* openblas's header lies outside the include path of an unpacked sysroot. */
extern void openblas_set_num_threads(int n_threads);

void snug__gp_mean_prior(const double *y, int n, double *out_mean, double *out_sd)
{
    double sum = 0, sum2 = 0;
    for (int i = 0; i < n; i++)
        sum += y[i];
    double mean = sum / n;
    for (int i = 0; i < n; i++)
        sum2 += (y[i] - mean) * (y[i] - mean);
    *out_mean = mean;
    *out_sd = fmax(n > 1 ? sqrt(sum2 / (n - 1)) : 0, 0.05);
}

bool snug__gp_cholesky(const double *k, int n, double *factor)
{
    size_t stride = (size_t)n;
    double largest = 0;
    for (int i = 0; i < n; i++)
        largest = fmax(largest, k[(size_t)i * (stride + 1)]);
    double jitter = 0;
    for (int t = 0; t < JITTER_TRIES; t++) {
        memcpy(factor, k, stride * stride * sizeof *factor);
        for (int i = 0; i < n; i++)
            factor[(size_t)i * (stride + 1)] += jitter;
        if (LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'L', n, factor, n) == 0)
            return true;
        jitter = t ? jitter * 10 : largest * 1e-12;
    }
    return false;
}

double snug__gp_log_det(const double *factor, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += log(factor[(size_t)i * ((size_t)n + 1)]);
    return 2 * sum;
}

void snug__gp_solve(const double *factor, int n, double *b)
{
    LAPACKE_dpotrs_work(LAPACK_COL_MAJOR, 'L', n, 1, factor, n, b, n);
}

static bool alloc_arrays(struct snug_gp *gp)
{
    size_t dims = (size_t)gp->n_dims, points = SNUG_GP_POINTS_MAX, fit = SNUG_GP_FIT_MAX;
    size_t pairs = SNUG_GP_PAIRS_MAX;
    struct snug_gp_work *w = &gp->work;
    gp->x = calloc(dims * points + 1, sizeof *gp->x);
    gp->y = calloc(points, sizeof *gp->y);
    gp->noise_var = calloc(points, sizeof *gp->noise_var);
    gp->alpha = calloc(points, sizeof *gp->alpha);
    gp->ones = calloc(points, sizeof *gp->ones);
    /* calloc of megabytes is not resident until touched: a small run pays for what it uses */
    gp->factor = calloc(points * points, sizeof *gp->factor);
    w->distance = calloc(dims * pairs + 1, sizeof *w->distance);
    w->r2 = calloc(pairs, sizeof *w->r2);
    w->exponent = calloc(pairs, sizeof *w->exponent);
    w->slope = calloc(pairs, sizeof *w->slope);
    w->own = calloc(dims * pairs + 1, sizeof *w->own);
    w->sum = calloc(pairs, sizeof *w->sum);
    w->product = calloc(pairs, sizeof *w->product);
    w->k = calloc(points * points, sizeof *w->k);
    w->factor = calloc(fit * fit, sizeof *w->factor);
    return gp->x && gp->y && gp->noise_var && gp->alpha && gp->ones && gp->factor && w->distance &&
           w->r2 && w->exponent && w->slope && w->own && w->sum && w->product && w->k && w->factor;
}

snug_status snug_gp_new(int n_dims, const bool *is_named, struct snug_gp **out,
                        struct snug_error *err)
{
    if (n_dims < 0 || n_dims > SNUG_GP_DIMS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "gp of %d dimensions: 0 to %d are possible", n_dims,
                         SNUG_GP_DIMS_MAX);
    struct snug_gp *gp = calloc(1, sizeof *gp);
    if (gp)
        gp->n_dims = n_dims;
    if (!gp || !alloc_arrays(gp)) {
        snug_gp_free(gp);
        return snug_fail(err, SNUG_NO_MEMORY, "gp of %d dimensions", n_dims);
    }
    for (int d = 0; d < n_dims; d++)
        gp->is_named[d] = is_named[d];
    openblas_set_num_threads(1);
    *out = gp;
    return SNUG_OK;
}

void snug_gp_free(struct snug_gp *gp)
{
    if (!gp)
        return;
    snug__gp_rows_free(gp->rows);
    free(gp->x);
    free(gp->y);
    free(gp->noise_var);
    free(gp->alpha);
    free(gp->ones);
    free(gp->factor);
    free(gp->work.distance);
    free(gp->work.r2);
    free(gp->work.exponent);
    free(gp->work.slope);
    free(gp->work.own);
    free(gp->work.sum);
    free(gp->work.product);
    free(gp->work.k);
    free(gp->work.factor);
    free(gp);
}

snug_status snug_gp_add(struct snug_gp *gp, const double *x, double y, double noise_sd,
                        struct snug_error *err)
{
    if (gp->n == SNUG_GP_POINTS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "gp: more than %d points", SNUG_GP_POINTS_MAX);
    if (!isfinite(y) || !(noise_sd >= 0) || !isfinite(noise_sd))
        return snug_fail(err, SNUG_BAD_INPUT, "gp: value %g with sd %g is not finite", y, noise_sd);
    for (int d = 0; d < gp->n_dims; d++)
        gp->x[(size_t)d * SNUG_GP_POINTS_MAX + (size_t)gp->n] = x[d];
    gp->y[gp->n] = y;
    gp->noise_var[gp->n] = noise_sd * noise_sd;
    gp->n++;
    return SNUG_OK;
}

void snug_gp_set_values(struct snug_gp *gp, const double *y)
{
    memcpy(gp->y, y, (size_t)gp->n * sizeof *y);
    gp->n_factored = 0;
}

void snug_gp_set_noise(struct snug_gp *gp, int i, double noise_sd)
{
    gp->noise_var[i] = noise_sd * noise_sd;
    gp->n_factored = 0;
}

void snug_gp_expect(struct snug_gp *gp, const struct snug_gp_params *params)
{
    for (int d = 0; d < gp->n_dims; d++)
        gp->centre[d] = log(params->length[d]);
    gp->centre[gp->n_dims + 1] = log(params->noise_sd);
    gp->has_centre = true;
}

void snug_gp_remove_last(struct snug_gp *gp)
{
    if (gp->n > 0)
        gp->n--;
    gp->n_factored = 0;
}

int snug_gp_n(const struct snug_gp *gp)
{
    return gp->n;
}

void snug_gp_get_params(const struct snug_gp *gp, struct snug_gp_params *out)
{
    *out = (struct snug_gp_params){.mean = gp->mean};
    for (int d = 0; d < gp->n_dims; d++)
        out->length[d] = exp(gp->theta[d]);
    out->signal_sd = exp(gp->theta[gp->n_dims]);
    out->noise_sd = exp(gp->theta[gp->n_dims + 1]);
}

/* Factorise all points at the current theta: what predictions need. */
static bool factorise(struct snug_gp *gp)
{
    size_t n = (size_t)gp->n;
    double *k = gp->work.k, noise = exp(2 * gp->theta[gp->n_dims + 1]);
    for (size_t a = 0; a < n; a++) {
        snug__gp_kernel_column(gp, gp->rows, gp->x + a, SNUG_GP_POINTS_MAX, (int)a, k + a * n);
        k[a * n + a] += gp->noise_var[a] + noise;
    }
    if (!snug__gp_cholesky(k, gp->n, gp->factor))
        return false;
    double prior_mean, prior_sd;
    snug__gp_mean_prior(gp->y, gp->n, &prior_mean, &prior_sd);
    for (size_t i = 0; i < n; i++) {
        gp->ones[i] = 1;
        gp->alpha[i] = gp->y[i] - prior_mean;
    }
    LAPACKE_dtrtrs_work(LAPACK_COL_MAJOR, 'L', 'N', 'N', gp->n, 1, gp->factor, gp->n, gp->ones,
                        gp->n);
    LAPACKE_dtrtrs_work(LAPACK_COL_MAJOR, 'L', 'N', 'N', gp->n, 1, gp->factor, gp->n, gp->alpha,
                        gp->n);
    double weight = 1 / (prior_sd * prior_sd), sum = 0;
    for (size_t i = 0; i < n; i++) {
        weight += gp->ones[i] * gp->ones[i];
        sum += gp->ones[i] * gp->alpha[i];
    }
    gp->mean = prior_mean + sum / weight;
    gp->mean_precision = weight;
    for (size_t i = 0; i < n; i++)
        gp->alpha[i] = gp->y[i] - gp->mean;
    snug__gp_solve(gp->factor, gp->n, gp->alpha);
    gp->n_factored = gp->n;
    return true;
}

snug_status snug_gp_fit(struct snug_gp *gp, int n_evaluations, struct snug_error *err)
{
    if (gp->n == 0)
        return snug_fail(err, SNUG_BAD_INPUT, "gp: no points to fit");
    if (!gp->is_learned)
        snug__gp_prior_centre(gp, gp->theta);
    if (n_evaluations > 0 && !snug__gp_learn(gp, n_evaluations))
        return snug_fail(err, SNUG_NO_MEMORY, "gp: optimiser of %d parameters", gp->n_dims + 2);
    snug__gp_rows_free(gp->rows);
    gp->rows = snug__gp_rows_new(gp);
    gp->n_factored = 0;
    if (!gp->rows)
        return snug_fail(err, SNUG_NO_MEMORY, "gp: kernel of %d points", gp->n);
    if (!factorise(gp))
        return snug_fail(err, SNUG_UNSUPPORTED, "gp: kernel of %d points is not positive definite",
                         gp->n);
    return SNUG_OK;
}

/* Predict up to BATCH candidates. */
static void predict_batch(const struct snug_gp *gp, const double *x, int m, double *out_mean,
                          double *out_sd)
{
    size_t n = (size_t)gp->n;
    double variance = exp(2 * gp->theta[gp->n_dims]);
    double *v = gp->work.k; /* a column of n per candidate */
    for (int c = 0; c < m; c++) {
        double *column = v + (size_t)c * n;
        snug__gp_kernel_column(gp, gp->rows, x + (size_t)c * (size_t)gp->n_dims, 1, 0, column);
        double sum = gp->mean;
        for (size_t i = 0; i < n; i++)
            sum += column[i] * gp->alpha[i];
        out_mean[c] = sum;
    }
    if (!out_sd)
        return;
    LAPACKE_dtrtrs_work(LAPACK_COL_MAJOR, 'L', 'N', 'N', gp->n, m, gp->factor, gp->n, v, gp->n);
    for (int c = 0; c < m; c++) {
        const double *column = v + (size_t)c * n;
        double known = 0, share = 0;
        for (size_t i = 0; i < n; i++) {
            known += column[i] * column[i];
            share += column[i] * gp->ones[i];
        }
        /* second term: the mean itself is uncertain where no point is near */
        double var = variance - known + (1 - share) * (1 - share) / gp->mean_precision;
        out_sd[c] = sqrt(fmax(var, 0));
    }
}

snug_status snug_gp_predict(struct snug_gp *gp, const double *x, size_t m, double *out_mean,
                            double *out_sd, struct snug_error *err)
{
    snug_status status = gp->n_factored == gp->n && gp->n ? SNUG_OK : snug_gp_fit(gp, 0, err);
    if (status != SNUG_OK)
        return status;
    for (size_t at = 0; at < m; at += BATCH) {
        int count = (int)(m - at < BATCH ? m - at : BATCH);
        predict_batch(gp, x + at * (size_t)gp->n_dims, count, out_mean + at,
                      out_sd ? out_sd + at : NULL);
    }
    return SNUG_OK;
}

/* Rasmussen, Williams (2006), eq. 5.12. */
snug_status snug_gp_leave_one_out(struct snug_gp *gp, double *out, struct snug_error *err)
{
    snug_status status = gp->n_factored == gp->n && gp->n ? SNUG_OK : snug_gp_fit(gp, 0, err);
    if (status != SNUG_OK)
        return status;
    const size_t n = (size_t)gp->n;
    double *inverse = gp->work.k;
    memcpy(inverse, gp->factor, n * n * sizeof *inverse);
    LAPACKE_dpotri_work(LAPACK_COL_MAJOR, 'L', gp->n, inverse, gp->n);
    for (size_t i = 0; i < n; i++)
        out[i] = gp->y[i] - gp->alpha[i] / inverse[i * (n + 1)];
    return SNUG_OK;
}
