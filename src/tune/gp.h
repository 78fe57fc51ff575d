/* Gaussian process on log speed over a few ordered and named knobs.
 *
 * Kernel   signal^2 * (share / n_dims * sum over dims of k_d + (1 - share) * joint)
 *          k_d = matern52(|a - b| / length) for ordered dims, inputs scaled to [0, 1];
 *          k_d = exp(-[a != b] / length) for named ones
 *          joint = matern52(r) * exp(-sum over named dims of [a != b] / (n_dims length))
 *          r^2 = sum over ordered dims of (a - b)^2 / (n_dims length^2)
 * Noise    of point i: its own sd^2 + a floor^2 that is learned
 * Mean     a constant, integrated out under a broad prior at the average of the data
 * Same points, same calls: same numbers. One thread. */
#ifndef SNUG_TUNE_GP_H
#define SNUG_TUNE_GP_H

#include "snug/base.h"

#define SNUG_GP_DIMS_MAX 24
#define SNUG_GP_POINTS_MAX 512 /* adding more fails */
#define SNUG_GP_FIT_MAX 160    /* the likelihood looks at the newest so many */

struct snug_gp;

/* What was learned. */
struct snug_gp_params {
    double length[SNUG_GP_DIMS_MAX];
    double signal_sd, noise_sd; /* in log speed */
    double mean;
};

/* n_dims in 0..SNUG_GP_DIMS_MAX. is_named[d]: values of dim d are names, only equal or not. */
snug_status snug_gp_new(int n_dims, const bool *is_named, struct snug_gp **out,
                        struct snug_error *err) SNUG_CHECKED;
void snug_gp_free(struct snug_gp *gp);
/* noise_sd: known standard error of y; 0 when unknown. Parameters stay until the next fit.
 * Errors  SNUG_BAD_INPUT past SNUG_GP_POINTS_MAX points. */
snug_status snug_gp_add(struct snug_gp *gp, const double *x, double y, double noise_sd,
                        struct snug_error *err) SNUG_CHECKED;
/* Replace the values of all points, y[n], finite. Parameters stay until the next fit. */
void snug_gp_set_values(struct snug_gp *gp, const double *y);
/* Replace the known standard error of point i. */
void snug_gp_set_noise(struct snug_gp *gp, int i, double noise_sd);
/* Log posterior density (up to a constant) of the present parameters for each of n_sets vectors of
 * values, [n_sets][n]; the present values stay. Cost of one factorisation and O(n^2) for each. */
void snug_gp_evidences(struct snug_gp *gp, const double *values, int n_sets, double *out);
/* Expect lengths and noise to be about these, learned elsewhere from the same dims; before a fit.
 */
void snug_gp_expect(struct snug_gp *gp, const struct snug_gp_params *params);
/* What each point would be predicted to be by the others, out[n], at the present parameters.
 * Cost O(n^3). */
snug_status snug_gp_leave_one_out(struct snug_gp *gp, double *out,
                                  struct snug_error *err) SNUG_CHECKED;
/* Take the last point back. */
void snug_gp_remove_last(struct snug_gp *gp);
int snug_gp_n(const struct snug_gp *gp);

/* Learn hyper-parameters (maximum a posteriori, at most n_evaluations of the posterior, starting
 * from the last ones learned and, while points are few, from the prior too) and factorise.
 * 0 evaluations keeps the parameters. Needs at least one point. */
snug_status snug_gp_fit(struct snug_gp *gp, int n_evaluations, struct snug_error *err) SNUG_CHECKED;
void snug_gp_get_params(const struct snug_gp *gp, struct snug_gp_params *out);

/* Mean and sd of the noise-free value at m points x, [m][n_dims]. out_sd NULL: the mean alone.
 * Cost O(m * n * (n + n_dims)), of the mean O(m * n * n_dims). */
snug_status snug_gp_predict(struct snug_gp *gp, const double *x, size_t m, double *out_mean,
                            double *out_sd, struct snug_error *err) SNUG_CHECKED;

/* Log posterior density (up to a constant) of theta = log length [n_dims], log signal, log noise,
 * and its gradient when that is not NULL; -INFINITY when the matrix cannot be factorised. */
double snug_gp_log_posterior(struct snug_gp *gp, const double *theta, double *out_gradient);

#endif
