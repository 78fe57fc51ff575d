/* What gp.c (data, factor, prediction) and gp_fit.c (likelihood, learning) share. */
#ifndef SNUG_TUNE_GP_INTERNAL_H
#define SNUG_TUNE_GP_INTERNAL_H

#include "tune/gp.h"

#define SNUG_GP_PAIRS_MAX (SNUG_GP_FIT_MAX * (SNUG_GP_FIT_MAX - 1) / 2)
/* Share of the signal's variance that knobs explain one by one. Fixed: 16 trials cannot learn it,
 * and 0.5 to 0.98 gave equal fronts on made-up tasks, while 0 was no better than random. */
#define SNUG_GP_OWN_SHARE 0.85
#define SNUG_GP_THETA_MAX (SNUG_GP_DIMS_MAX + 2)

/* Room for the likelihood. Pairs are (column a, row b > a), a outermost. */
struct snug_gp_work {
    double *distance; /* [n_dims][SNUG_GP_PAIRS_MAX]: squared difference, or 0 / 1 for named dims */
    double *own;      /* [n_dims][SNUG_GP_PAIRS_MAX]: d own kernel / d log length */
    double *r2;       /* [pairs] scaled squared distance, later a weight of gradients */
    double *exponent; /* [pairs] of named dims, later a weight of gradients */
    double *sum;      /* [pairs] sum of own kernels, later a weight of gradients */
    double *product;  /* [pairs] the joint kernel with its variance */
    double *k;        /* [n][n] column-major, lower: kernel of the points looked at; or scratch */
    double *factor;   /* its Cholesky factor, later its inverse */
    double *slope;    /* [pairs] -2 signal^2 * d matern52 / d r2 * named factor */
};

struct snug_gp {
    int n_dims, n;
    bool is_named[SNUG_GP_DIMS_MAX];
    double *x;                       /* [n_dims][SNUG_GP_POINTS_MAX] */
    double *y;                       /* [n] */
    double *noise_var;               /* [n] known part */
    double theta[SNUG_GP_THETA_MAX]; /* log length, log signal sd, log noise sd */
    bool is_learned;                 /* theta comes from data */
    bool has_centre;
    double centre[SNUG_GP_THETA_MAX]; /* of the prior of theta, where has_centre; signal unused */
    /* State of predictions, valid while n_factored == n. */
    int n_factored;
    double *factor;              /* [n][n] column-major lower Cholesky factor of K + noise */
    double *alpha;               /* [n] K^-1 (y - mean) */
    double *ones;                /* [n] L^-1 1 */
    double mean, mean_precision; /* constant mean and 1 / its variance */
    struct snug__gp_rows *rows;  /* of these points and this theta */
    struct snug_gp_work work;
};

/* Prior of the constant mean: average of the data and its sd, never below 5 %. */
void snug__gp_mean_prior(const double *y, int n, double *out_mean, double *out_sd);
/* Cholesky of the lower triangle of k into factor, both [n][n] column-major; more is added to the
 * diagonal, ten times each try, while rounding makes it indefinite. */
bool snug__gp_cholesky(const double *k, int n, double *factor);
/* In place: log det of a factor. */
double snug__gp_log_det(const double *factor, int n);
/* Solve L L' out = b; out may be b. */
void snug__gp_solve(const double *factor, int n, double *b);
/* Share and scales at n_dims: variance of each dim's own kernel and of the joint one. */
void snug__gp_shares(int n_dims, const double *theta, double *out_alone, double *out_together);

/* Kernel values of one dim between a value and every point: candidates share few values, so each is
 * computed once. Made for the current theta and points. */
struct snug__gp_rows;
struct snug__gp_rows *snug__gp_rows_new(const struct snug_gp *gp);
void snug__gp_rows_free(struct snug__gp_rows *rows);
/* Kernel, without noise, of the point whose dim d is x[d * stride] with points from..n-1, to
 * out[from..n-1]. */
void snug__gp_kernel_column(const struct snug_gp *gp, struct snug__gp_rows *rows, const double *x,
                            size_t stride, int from, double *out);
/* theta at the centre of its prior. */
void snug__gp_prior_centre(const struct snug_gp *gp, double *theta);
/* Move theta to the best posterior found in n_evaluations per start; false when memory is out. */
bool snug__gp_learn(struct snug_gp *gp, int n_evaluations);

#endif
