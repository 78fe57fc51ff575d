/* Gaussian process: the posterior of its hyper-parameters, and its maximum.
 *
 * Log marginal likelihood and gradient: Rasmussen, Williams (2006), eq. 5.8 and 5.9; the constant
 * mean is put at its best value, so by the envelope theorem it adds nothing to the gradient.
 * Priors keep few points sane, all log-normal. Lengths: around most of a knob's range. Signal:
 * around the spread of the data. Noise: around 1.5 %, what timed blocks on a quiet machine show.
 * NLopt's L-BFGS climbs; the best point seen is kept, whatever it returns. */
#include "tune/gp_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <lapacke.h>
#include <nlopt.h>

#define SQRT5 2.23606797749978969641

/* Bounds of the search, and spread of the log-normal priors. */
#define LENGTH_MIN 0.05
#define LENGTH_MAX 30.0
#define LENGTH_LOG_SD 1.0
#define ORDERED_MEDIAN 0.7
#define NAMED_MEDIAN 1.0
#define SIGNAL_MIN 0.01
#define SIGNAL_MAX 5.0
#define SIGNAL_LOG_SD 0.7
#define NOISE_MIN 5e-4
#define NOISE_MAX 0.5
#define NOISE_MEDIAN 0.015
#define NOISE_LOG_SD 0.8
#define TWO_STARTS_MAX 48 /* points up to which a climb from the prior is tried too */

static int first_point(const struct snug_gp *gp)
{
    return gp->n > SNUG_GP_FIT_MAX ? gp->n - SNUG_GP_FIT_MAX : 0;
}

void snug__gp_prior_centre(const struct snug_gp *gp, double *theta)
{
    int d = gp->n_dims, from = first_point(gp);
    double mean, sd;
    snug__gp_mean_prior(gp->y + from, gp->n - from, &mean, &sd);
    for (int j = 0; j < d; j++)
        theta[j] =
            gp->has_centre ? gp->centre[j] : log(gp->is_named[j] ? NAMED_MEDIAN : ORDERED_MEDIAN);
    theta[d] = log(fmin(sd, SIGNAL_MAX));
    theta[d + 1] = gp->has_centre ? gp->centre[d + 1] : log(NOISE_MEDIAN);
}

static double prior_log_sd(const struct snug_gp *gp, int j)
{
    return j < gp->n_dims ? LENGTH_LOG_SD : j == gp->n_dims ? SIGNAL_LOG_SD : NOISE_LOG_SD;
}

/* Distances of every pair, which all evaluations of one fit share. */
static void fill_distances(struct snug_gp *gp, int from, int n)
{
    for (int d = 0; d < gp->n_dims; d++) {
        const double *x = gp->x + (size_t)d * SNUG_GP_POINTS_MAX + from;
        double *out = gp->work.distance + (size_t)d * SNUG_GP_PAIRS_MAX;
        for (int a = 0; a < n; a++)
            for (int b = a + 1; b < n; b++) {
                double gap = x[b] - x[a];
                *out++ = gp->is_named[d] ? fabs(gap) > 0.25 : gap * gap;
            }
    }
}

static void add_scaled(double *restrict out, const double *restrict in, double scale, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] += scale * in[i];
}

static double dot(const double *restrict a, const double *restrict b, size_t n)
{
    double sum[4] = {0}; /* four chains: one would wait for each addition */
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (size_t c = 0; c < 4; c++)
            sum[c] += a[i + c] * b[i + c];
    for (; i < n; i++)
        sum[0] += a[i] * b[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* One dim's own kernel, added to work.sum, and its derivative by log length. */
static void add_own(struct snug_gp_work *w, int d, bool is_named, double theta, size_t pairs)
{
    const double *restrict distance = w->distance + (size_t)d * SNUG_GP_PAIRS_MAX;
    double *restrict own = w->own + (size_t)d * SNUG_GP_PAIRS_MAX, *restrict sum = w->sum;
    double inverse = exp(-theta), differ = exp(-inverse);
    for (size_t p = 0; is_named && p < pairs; p++) {
        bool is_other = distance[p] > 0;
        sum[p] += is_other ? differ : 1;
        own[p] = is_other ? inverse * differ : 0;
    }
    for (size_t p = 0; !is_named && p < pairs; p++) {
        double s = SQRT5 * inverse * sqrt(distance[p]), decay = exp(-s);
        sum[p] += (1 + s + s * s / 3) * decay;
        own[p] = s * s * (1 + s) * decay / 3;
    }
}

/* Fill work.k (lower), work.slope and work.own at theta. */
static void fill_kernel(struct snug_gp *gp, const double *theta, int from, int n)
{
    struct snug_gp_work *w = &gp->work;
    size_t pairs = (size_t)n * (size_t)(n - 1) / 2;
    memset(w->r2, 0, pairs * sizeof *w->r2);
    memset(w->exponent, 0, pairs * sizeof *w->exponent);
    memset(w->sum, 0, pairs * sizeof *w->sum);
    for (int d = 0; d < gp->n_dims; d++) {
        const double *distance = w->distance + (size_t)d * SNUG_GP_PAIRS_MAX;
        if (gp->is_named[d])
            add_scaled(w->exponent, distance, exp(-theta[d]) / gp->n_dims, pairs);
        else
            add_scaled(w->r2, distance, exp(-2 * theta[d]) / gp->n_dims, pairs);
        add_own(w, d, gp->is_named[d], theta[d], pairs);
    }
    double variance = exp(2 * theta[gp->n_dims]), noise = exp(2 * theta[gp->n_dims + 1]);
    double alone, together;
    snug__gp_shares(gp->n_dims, theta, &alone, &together);
    size_t p = 0;
    for (int a = 0; a < n; a++) {
        double *column = w->k + (size_t)a * (size_t)n;
        column[a] = variance + noise + gp->noise_var[from + a];
        for (int b = a + 1; b < n; b++, p++) {
            double s = SQRT5 * sqrt(w->r2[p]);
            double scale = together * exp(-s - w->exponent[p]);
            w->slope[p] = scale * (1 + s) * (5.0 / 3.0);
            w->product[p] = scale * (1 + s + s * s / 3);
            column[b] = w->product[p] + alone * w->sum[p];
        }
    }
}

/* Gradient of the likelihood from G = alpha alpha' - K^-1: d/d theta = 1/2 tr(G dK / d theta).
 * Off the diagonal each pair counts twice, which cancels the half. On entry work.factor holds the
 * lower half of K^-1. */
static void likelihood_gradient(struct snug_gp *gp, const double *theta, const double *alpha, int n,
                                double *gradient)
{
    struct snug_gp_work *w = &gp->work;
    double variance = exp(2 * theta[gp->n_dims]), noise = exp(2 * theta[gp->n_dims + 1]);
    double signal = 0, trace = 0;
    size_t p = 0;
    for (int a = 0; a < n; a++) {
        const double *inverse = w->factor + (size_t)a * (size_t)n;
        const double *kernel = w->k + (size_t)a * (size_t)n;
        trace += alpha[a] * alpha[a] - inverse[a];
        for (int b = a + 1; b < n; b++, p++) {
            double g = alpha[a] * alpha[b] - inverse[b];
            signal += g * kernel[b];
            w->sum[p] = g;
            w->r2[p] = g * w->slope[p];
            w->exponent[p] = g * w->product[p];
        }
    }
    double alone, together;
    snug__gp_shares(gp->n_dims, theta, &alone, &together);
    for (int d = 0; d < gp->n_dims; d++) {
        const double *distance = w->distance + (size_t)d * SNUG_GP_PAIRS_MAX;
        const double *own = w->own + (size_t)d * SNUG_GP_PAIRS_MAX;
        double shared = gp->is_named[d] ? exp(-theta[d]) * dot(w->exponent, distance, p)
                                        : exp(-2 * theta[d]) * dot(w->r2, distance, p);
        gradient[d] = shared / gp->n_dims + alone * dot(w->sum, own, p);
    }
    gradient[gp->n_dims] = 2 * signal + variance * trace;
    gradient[gp->n_dims + 1] = noise * trace;
}

/* Likelihood of the present values under a factor, with the mean at its best; leaves alpha. */
static double likelihood(struct snug_gp *gp, int from, int n, double *alpha)
{
    struct snug_gp_work *w = &gp->work;
    double ones[SNUG_GP_FIT_MAX], y[SNUG_GP_FIT_MAX], prior_mean, prior_sd;
    snug__gp_mean_prior(gp->y + from, n, &prior_mean, &prior_sd);
    for (int i = 0; i < n; i++) {
        ones[i] = 1;
        y[i] = gp->y[from + i] - prior_mean;
        alpha[i] = y[i];
    }
    snug__gp_solve(w->factor, n, ones);
    snug__gp_solve(w->factor, n, alpha);
    double weight = 1 / (prior_sd * prior_sd), sum = 0;
    for (int i = 0; i < n; i++) {
        weight += ones[i];
        sum += alpha[i];
    }
    double mean = sum / weight, fit = 0;
    for (int i = 0; i < n; i++) {
        alpha[i] -= mean * ones[i];
        fit += (y[i] - mean) * alpha[i];
    }
    double shift = mean / prior_sd;
    return -0.5 * (fit + snug__gp_log_det(w->factor, n) + shift * shift);
}

/* Add the prior of theta, whose signal lies around the spread of the values. */
static double add_prior(const struct snug_gp *gp, const double *theta, double value,
                        double *gradient)
{
    double centre[SNUG_GP_THETA_MAX];
    snug__gp_prior_centre(gp, centre);
    for (int j = 0; j < gp->n_dims + 2; j++) {
        double sd = prior_log_sd(gp, j), z = (theta[j] - centre[j]) / sd;
        value -= 0.5 * z * z;
        if (gradient)
            gradient[j] -= z / sd;
    }
    return value;
}

/* The part that repeats within one fit: distances are filled already. */
static double posterior(struct snug_gp *gp, const double *theta, double *gradient)
{
    double alpha[SNUG_GP_FIT_MAX];
    int from = first_point(gp), n = gp->n - from;
    fill_kernel(gp, theta, from, n);
    if (!snug__gp_cholesky(gp->work.k, n, gp->work.factor))
        return -INFINITY;
    double value = likelihood(gp, from, n, alpha);
    if (!isfinite(value))
        return -INFINITY;
    if (gradient) {
        LAPACKE_dpotri_work(LAPACK_COL_MAJOR, 'L', n, gp->work.factor, n);
        likelihood_gradient(gp, theta, alpha, n, gradient);
    }
    return add_prior(gp, theta, value, gradient);
}

double snug_gp_log_posterior(struct snug_gp *gp, const double *theta, double *out_gradient)
{
    int from = first_point(gp);
    fill_distances(gp, from, gp->n - from);
    return posterior(gp, theta, out_gradient);
}

void snug_gp_evidences(struct snug_gp *gp, const double *values, int n_sets, double *out)
{
    double alpha[SNUG_GP_FIT_MAX], kept[SNUG_GP_POINTS_MAX];
    const int from = first_point(gp), n = gp->n - from;
    memcpy(kept, gp->y, (size_t)gp->n * sizeof *kept);
    fill_distances(gp, from, n);
    fill_kernel(gp, gp->theta, from, n);
    const bool is_definite = snug__gp_cholesky(gp->work.k, n, gp->work.factor);
    for (int k = 0; k < n_sets; k++) {
        memcpy(gp->y, values + (size_t)k * (size_t)gp->n, (size_t)gp->n * sizeof *values);
        out[k] = is_definite ? add_prior(gp, gp->theta, likelihood(gp, from, n, alpha), NULL)
                             : -(double)INFINITY;
    }
    memcpy(gp->y, kept, (size_t)gp->n * sizeof *kept);
}

struct climb {
    struct snug_gp *gp;
    double best, best_theta[SNUG_GP_THETA_MAX];
};

static double climb_value(unsigned n, const double *theta, double *gradient, void *data)
{
    struct climb *climb = data;
    double value = posterior(climb->gp, theta, gradient);
    if (value > climb->best) {
        climb->best = value;
        memcpy(climb->best_theta, theta, n * sizeof *theta);
    }
    if (isfinite(value))
        return value;
    if (gradient)
        memset(gradient, 0, n * sizeof *gradient);
    return -1e30;
}

static void climb_from(nlopt_opt opt, const double *start)
{
    double theta[SNUG_GP_THETA_MAX], value;
    unsigned n = nlopt_get_dimension(opt);
    memcpy(theta, start, n * sizeof *theta);
    /* the result code is of no use: running out of evaluations is normal, the best is kept */
    (void)nlopt_optimize(opt, theta, &value);
}

bool snug__gp_learn(struct snug_gp *gp, int n_evaluations)
{
    int d = gp->n_dims, from = first_point(gp);
    double lo[SNUG_GP_THETA_MAX], hi[SNUG_GP_THETA_MAX], start[SNUG_GP_THETA_MAX];
    nlopt_opt opt = nlopt_create(NLOPT_LD_LBFGS, (unsigned)d + 2);
    if (!opt)
        return false;
    for (int j = 0; j < d + 2; j++) {
        lo[j] = log(j < d ? LENGTH_MIN : j == d ? SIGNAL_MIN : NOISE_MIN);
        hi[j] = log(j < d ? LENGTH_MAX : j == d ? SIGNAL_MAX : NOISE_MAX);
    }
    struct climb climb = {.gp = gp, .best = -INFINITY};
    bool has_two = gp->is_learned && gp->n <= TWO_STARTS_MAX;
    bool is_set = nlopt_set_max_objective(opt, climb_value, &climb) > 0 &&
                  nlopt_set_lower_bounds(opt, lo) > 0 && nlopt_set_upper_bounds(opt, hi) > 0 &&
                  nlopt_set_ftol_abs(opt, 1e-3) > 0 && nlopt_set_maxeval(opt, n_evaluations) > 0;
    fill_distances(gp, from, gp->n - from);
    if (is_set)
        climb_from(opt, gp->theta);
    if (is_set && has_two) {
        snug__gp_prior_centre(gp, start);
        climb_from(opt, start);
    }
    nlopt_destroy(opt);
    if (isfinite(climb.best)) {
        memcpy(gp->theta, climb.best_theta, (size_t)(d + 2) * sizeof *gp->theta);
        gp->is_learned = true;
    }
    return is_set;
}
