/* The plain Gaussian process of the yardsticks: one length-scale for all knobs, named values as
 * their index, as the tuners it stands for have it. snug's own is tune/gp.h. */
#ifndef TUNEBENCH_PLAIN_GP_H
#define TUNEBENCH_PLAIN_GP_H

#include "tune/strategy.h"

#define TB_GP_MAX 200 /* points */

struct tb_gp {
    int n, n_dims;
    bool is_smooth;                      /* Matern 5/2, else 3/2 */
    double x[TB_GP_MAX][SNUG_KNOBS_MAX]; /* in [0, 1] */
    double y[TB_GP_MAX];                 /* z-scored by fit */
    double mean, sd;                     /* of the values given */
    double length, noise_var;
    double factor[TB_GP_MAX][TB_GP_MAX]; /* lower Cholesky factor, row-major */
    double alpha[TB_GP_MAX];
};

/* x[n_dims] of a config: levels scaled to [0, 1], named ones too. */
void tb_gp_features(const struct snug__lattice *lattice, const struct snug_config *config,
                    double *x);
void tb_gp_clear(struct tb_gp *gp, int n_dims, bool is_smooth);
/* Points past TB_GP_MAX are not taken. */
void tb_gp_add(struct tb_gp *gp, const double *x, double y);
/* Length and noise of the largest likelihood on a grid of 6 by 5. */
void tb_gp_fit(struct tb_gp *gp);
void tb_gp_fit_at(struct tb_gp *gp, double length, double noise_var);
/* In the units of y. Without a point: mean 0, sd 1. */
void tb_gp_predict(const struct tb_gp *gp, const double *x, double *out_mean, double *out_sd);

/* ---- improvement of a front by one point; both objectives maximised ---- */

/* Area that point (a, b) adds above `front` (n points, none dominated, by a ascending) and right
 * of the reference. */
double tb_area_gain(const double (*front)[2], int n, const double ref[2], double a, double b);
/* Sort points by a, drop the dominated; returns how many stay. */
int tb_area_front(double (*points)[2], int n);

#endif
