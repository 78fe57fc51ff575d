/* The Gaussian process against a plain one, its own definitions, and data of known make. */
#include "test.h"

#include <math.h>

#include "snug/stats.h"
#include "tune/gp.h"
#include "tune/gp_internal.h"

#define SQRT5 2.23606797749978969641
#define D 4

static const bool NAMED[D] = {false, false, true, false};

static double truth(const double *x)
{
    return sin(3 * x[0]) + 0.5 * x[1] * (x[2] > 0.5 ? 1 : 0.3) + 0.1 * x[2];
}

static void random_x(struct snug_rng *rng, double *x)
{
    for (int d = 0; d < D; d++)
        x[d] = NAMED[d] ? (double)snug_rng_below(rng, 3) : snug_rng_double(rng);
}

/* n points of `truth` with noise; x and y are kept for the caller. */
static struct snug_gp *make_gp(struct snug_rng *rng, int n, double noise, double known, double *x,
                               double *y)
{
    struct snug_error err = {0};
    struct snug_gp *gp = NULL;
    assert_ok(snug_gp_new(D, NAMED, &gp, &err));
    for (int i = 0; i < n; i++) {
        random_x(rng, x + i * D);
        y[i] = truth(x + i * D) + noise * snug_rng_normal(rng);
        assert_ok(snug_gp_add(gp, x + i * D, y[i], known, &err));
    }
    return gp;
}

/* ---- plain reference ---- */

static double plain_kernel(const struct snug_gp_params *p, const double *a, const double *b)
{
    double r2 = 0, exponent = 0, sum = 0;
    for (int d = 0; d < D; d++) {
        double gap = fabs(a[d] - b[d]), s = SQRT5 * gap / p->length[d];
        if (NAMED[d]) {
            double e = gap > 0 ? 1 / p->length[d] : 0;
            sum += exp(-e);
            exponent += e / D;
        } else {
            sum += (1 + s + s * s / 3) * exp(-s);
            r2 += gap * gap / (p->length[d] * p->length[d]) / D;
        }
    }
    double s = SQRT5 * sqrt(r2), joint = (1 + s + s * s / 3) * exp(-s - exponent);
    double share = SNUG_GP_OWN_SHARE;
    return p->signal_sd * p->signal_sd * (share * sum / D + (1 - share) * joint);
}

#define PLAIN_MAX 40

/* Solve A x = b by elimination; A is symmetric positive definite, both are used up. */
static void plain_solve(double a[PLAIN_MAX][PLAIN_MAX], double *b, int n)
{
    for (int k = 0; k < n; k++)
        for (int i = k + 1; i < n; i++) {
            double factor = a[i][k] / a[k][k];
            for (int j = k; j < n; j++)
                a[i][j] -= factor * a[k][j];
            b[i] -= factor * b[k];
        }
    for (int k = n - 1; k >= 0; k--) {
        for (int j = k + 1; j < n; j++)
            b[k] -= a[k][j] * b[j];
        b[k] /= a[k][k];
    }
}

/* x, y, n points with known noise sd; solves K z = b at the parameters p. */
static void plain_k_solve(const struct snug_gp_params *p, const double *x, int n, double known,
                          double *b)
{
    static double k[PLAIN_MAX][PLAIN_MAX];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            k[i][j] = plain_kernel(p, x + i * D, x + j * D) +
                      (i == j ? p->noise_sd * p->noise_sd + known * known : 0);
    plain_solve(k, b, n);
}

/* x and y of n points with known noise sd. */
struct plain_data {
    const double *x, *y;
    int n;
    double known;
};

static void plain_predict(const struct snug_gp_params *p, const struct plain_data *data,
                          const double *at, double *out_mean, double *out_sd)
{
    double ones[PLAIN_MAX], alpha[PLAIN_MAX], near[PLAIN_MAX], mean0 = 0, var0 = 0;
    const double *x = data->x, *y = data->y, known = data->known;
    int n = data->n;
    for (int i = 0; i < n; i++)
        mean0 += y[i] / n;
    for (int i = 0; i < n; i++)
        var0 += (y[i] - mean0) * (y[i] - mean0) / (n - 1);
    double weight = 1 / var0, sum = 0;
    for (int i = 0; i < n; i++) {
        ones[i] = 1;
        alpha[i] = y[i] - mean0;
        near[i] = plain_kernel(p, at, x + i * D);
    }
    plain_k_solve(p, x, n, known, ones);
    plain_k_solve(p, x, n, known, alpha);
    for (int i = 0; i < n; i++) {
        weight += ones[i];
        sum += alpha[i];
    }
    double shift = sum / weight, mean = mean0 + shift, var = plain_kernel(p, at, at), share = 0;
    double solved[PLAIN_MAX];
    memcpy(solved, near, sizeof near);
    plain_k_solve(p, x, n, known, solved);
    for (int i = 0; i < n; i++) {
        mean += near[i] * (alpha[i] - shift * ones[i]);
        var -= near[i] * solved[i];
        share += near[i] * ones[i];
    }
    *out_mean = mean;
    *out_sd = sqrt(var + (1 - share) * (1 - share) / weight);
}

/* 1e-7: both solve systems of condition up to about 1e6. 200 candidates with values of their own
 * also run through more than one batch and more values than are remembered per dim. */
static void gp_predictions_match_a_plain_reference(void **state)
{
    (void)state;
    uint64_t seed = 41;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_rng rng;
    struct snug_error err = {0};
    double x[PLAIN_MAX * D], y[PLAIN_MAX];
    snug_rng_init(&rng, seed);
    struct snug_gp *gp = make_gp(&rng, 30, 0.02, 0.01, x, y);
    struct snug_gp_params p;
    assert_ok(snug_gp_fit(gp, 30, &err));
    snug_gp_get_params(gp, &p);
    enum { M = 200 };
    double at[M * D], mean[M], sd[M];
    struct plain_data data = {x, y, 30, 0.01};
    for (int i = 0; i < M; i++)
        random_x(&rng, at + i * D);
    assert_ok(snug_gp_predict(gp, at, M, mean, sd, &err));
    for (int i = 0; i < M; i++) {
        double want_mean, want_sd;
        plain_predict(&p, &data, at + i * D, &want_mean, &want_sd);
        assert_double_equal(mean[i], want_mean, 1e-7);
        assert_double_equal(sd[i], want_sd, 1e-6);
    }
    snug_gp_free(gp);
}

static void gp_gradient_matches_differences(void **state)
{
    (void)state;
    uint64_t seed = 42;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_rng rng;
    double x[40 * D], y[40];
    snug_rng_init(&rng, seed);
    struct snug_gp *gp = make_gp(&rng, 40, 0.05, 0.02, x, y);
    for (int round = 0; round < 10; round++) {
        double theta[D + 2], gradient[D + 2];
        for (int j = 0; j < D; j++)
            theta[j] = 2 * snug_rng_double(&rng) - 1;
        theta[D] = snug_rng_double(&rng) - 1;
        theta[D + 1] = -4 + 2 * snug_rng_double(&rng);
        assert_true(isfinite(snug_gp_log_posterior(gp, theta, gradient)));
        for (int j = 0; j < D + 2; j++) {
            double at = theta[j], step = 1e-5;
            theta[j] = at + step;
            double up = snug_gp_log_posterior(gp, theta, NULL);
            theta[j] = at - step;
            double slope = (up - snug_gp_log_posterior(gp, theta, NULL)) / (2 * step);
            theta[j] = at;
            assert_double_equal(gradient[j], slope, 1e-4 * (1 + fabs(slope)));
        }
    }
    snug_gp_free(gp);
}

static void gp_fit_climbs_the_posterior(void **state)
{
    (void)state;
    struct snug_rng rng;
    struct snug_error err = {0};
    double x[40 * D], y[40], theta[D + 2];
    snug_rng_init(&rng, 43);
    struct snug_gp *gp = make_gp(&rng, 40, 0.02, 0, x, y);
    snug__gp_prior_centre(gp, theta);
    double before = snug_gp_log_posterior(gp, theta, NULL);
    double last = before;
    for (int n = 5; n <= 40; n *= 2) { /* each starts where the one before stopped */
        assert_ok(snug_gp_fit(gp, n, &err));
        double now = snug_gp_log_posterior(gp, gp->theta, NULL);
        assert_true(now >= last - 1e-9);
        last = now;
    }
    assert_true(last > before + 10);
    snug_gp_free(gp);
}

static void gp_without_noise_interpolates(void **state)
{
    (void)state;
    struct snug_rng rng;
    struct snug_error err = {0};
    double x[60 * D], y[60], mean[60], sd[60], far[60 * D];
    snug_rng_init(&rng, 44);
    struct snug_gp *gp = make_gp(&rng, 60, 0, 0, x, y);
    assert_ok(snug_gp_fit(gp, 60, &err));
    assert_ok(snug_gp_predict(gp, x, 60, mean, sd, &err));
    for (int i = 0; i < 60; i++)
        assert_double_equal(mean[i], y[i], 0.02);
    double miss = 0, spread = 0;
    for (int i = 0; i < 60; i++)
        random_x(&rng, far + i * D);
    assert_ok(snug_gp_predict(gp, far, 60, mean, sd, &err));
    for (int i = 0; i < 60; i++) {
        miss += pow(mean[i] - truth(far + i * D), 2);
        spread += pow(truth(far + i * D) - 0.6, 2);
    }
    assert_true(miss < 0.02 * spread); /* it explains 98 % of what it never saw */
    snug_gp_free(gp);
}

static void gp_intervals_cover_the_truth(void **state)
{
    (void)state;
    uint64_t seed = 45;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_rng rng;
    struct snug_error err = {0};
    int n_in = 0, n = 0;
    snug_rng_init(&rng, seed);
    for (int round = 0; round < 10; round++) {
        double x[24 * D], y[24], at[50 * D], mean[50], sd[50];
        struct snug_gp *gp = make_gp(&rng, 24, 0.03, 0, x, y);
        assert_ok(snug_gp_fit(gp, 40, &err));
        for (int i = 0; i < 50; i++)
            random_x(&rng, at + i * D);
        assert_ok(snug_gp_predict(gp, at, 50, mean, sd, &err));
        for (int i = 0; i < 50; i++, n++)
            n_in += fabs(mean[i] - truth(at + i * D)) < 2 * sd[i];
        snug_gp_free(gp);
    }
    assert_int_in_range(n_in, n * 85 / 100, n); /* 95 % is meant; few points make it a bit sure */
}

static void gp_learns_the_noise(void **state)
{
    (void)state;
    const double noises[] = {0.01, 0.03, 0.1};
    for (size_t k = 0; k < COUNT(noises); k++) {
        struct snug_rng rng;
        struct snug_error err = {0};
        static double x[150 * D], y[150];
        struct snug_gp_params p;
        snug_rng_init(&rng, 46 + k);
        struct snug_gp *gp = make_gp(&rng, 150, noises[k], 0, x, y);
        assert_ok(snug_gp_fit(gp, 80, &err));
        snug_gp_get_params(gp, &p);
        assert_true(p.noise_sd > 0.7 * noises[k] && p.noise_sd < 1.4 * noises[k]);
        snug_gp_free(gp);
    }
}

static void gp_trusts_a_noisy_point_less(void **state)
{
    (void)state;
    struct snug_error err = {0};
    double sd[2], mean[2];
    for (int k = 0; k < 2; k++) {
        struct snug_gp *gp = NULL;
        const double x[3] = {0, 0.5, 1};
        assert_ok(snug_gp_new(1, (const bool[]){false}, &gp, &err));
        assert_ok(snug_gp_add(gp, x, 1, 0.01, &err));
        assert_ok(snug_gp_add(gp, x + 1, 2, k ? 1.0 : 0.01, &err));
        assert_ok(snug_gp_add(gp, x + 2, 1, 0.01, &err));
        assert_ok(snug_gp_fit(gp, 0, &err));
        assert_ok(snug_gp_predict(gp, x + 1, 1, &mean[k], &sd[k], &err));
        snug_gp_free(gp);
    }
    assert_true(mean[0] > 1.8 && mean[1] < 1.5);
    assert_true(sd[1] > 2 * sd[0]);
}

static void gp_takes_points_up_to_its_cap(void **state)
{
    (void)state;
    struct snug_rng rng;
    struct snug_error err = {0};
    static double x[SNUG_GP_POINTS_MAX * D], y[SNUG_GP_POINTS_MAX];
    double mean, sd;
    snug_rng_init(&rng, 47);
    struct snug_gp *gp = make_gp(&rng, SNUG_GP_POINTS_MAX, 0.02, 0, x, y);
    assert_fails(SNUG_BAD_INPUT, snug_gp_add(gp, x, 1, 0, &err));
    assert_int_equal(snug_gp_n(gp), SNUG_GP_POINTS_MAX);
    assert_ok(snug_gp_fit(gp, 5, &err));
    assert_ok(snug_gp_predict(gp, x, 1, &mean, &sd, &err));
    assert_double_equal(mean, y[0], 0.1);
    snug_gp_free(gp);
}

static void gp_of_equal_points_stays_solvable(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct snug_gp *gp = NULL;
    const double x[2] = {0.5, 1};
    double mean, sd;
    assert_ok(snug_gp_new(2, (const bool[]){false, true}, &gp, &err));
    for (int i = 0; i < 20; i++)
        assert_ok(snug_gp_add(gp, x, 3, 0, &err));
    assert_ok(snug_gp_fit(gp, 40, &err));
    assert_ok(snug_gp_predict(gp, x, 1, &mean, &sd, &err));
    assert_double_equal(mean, 3, 1e-6);
    assert_true(isfinite(sd));
    snug_gp_free(gp);
}

static void gp_without_dims_predicts_the_mean(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct snug_gp *gp = NULL;
    double mean, sd;
    assert_ok(snug_gp_new(0, NULL, &gp, &err));
    assert_ok(snug_gp_add(gp, NULL, 1, 0, &err));
    assert_ok(snug_gp_add(gp, NULL, 2, 0, &err));
    assert_ok(snug_gp_fit(gp, 20, &err));
    assert_ok(snug_gp_predict(gp, NULL, 1, &mean, &sd, &err));
    assert_double_equal(mean, 1.5, 0.05);
    snug_gp_free(gp);
}

static void gp_refuses_bad_calls(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct snug_gp *gp = NULL;
    const bool named[SNUG_GP_DIMS_MAX + 1] = {false};
    const double x[SNUG_GP_DIMS_MAX] = {0};
    double mean, sd;
    assert_fails(SNUG_BAD_INPUT, snug_gp_new(-1, named, &gp, &err));
    assert_fails(SNUG_BAD_INPUT, snug_gp_new(SNUG_GP_DIMS_MAX + 1, named, &gp, &err));
    assert_ok(snug_gp_new(SNUG_GP_DIMS_MAX, named, &gp, &err));
    assert_fails(SNUG_BAD_INPUT, snug_gp_fit(gp, 10, &err));
    assert_fails(SNUG_BAD_INPUT, snug_gp_predict(gp, x, 1, &mean, &sd, &err));
    assert_fails(SNUG_BAD_INPUT, snug_gp_add(gp, x, (double)NAN, 0, &err));
    assert_fails(SNUG_BAD_INPUT, snug_gp_add(gp, x, 1, -1, &err));
    assert_fails(SNUG_BAD_INPUT, snug_gp_add(gp, x, 1, (double)INFINITY, &err));
    assert_int_equal(snug_gp_n(gp), 0);
    snug_gp_free(gp);
    snug_gp_free(NULL);
}

/* Leaving a point out in one go is what leaving it out by hand gives. */
static void gp_leave_one_out_matches_doing_it(void **state)
{
    (void)state;
    enum { N = 12 };
    struct snug_error err = {0};
    struct snug_rng rng;
    double x[N * D], y[N], out[N], mean, sd;
    snug_rng_init(&rng, 21);
    struct snug_gp *gp = make_gp(&rng, N, 0.05, 0.02, x, y);
    assert_ok(snug_gp_fit(gp, 60, &err));
    assert_ok(snug_gp_leave_one_out(gp, out, &err));
    for (int i = 0; i < N; i++) {
        struct snug_gp *rest = NULL;
        assert_ok(snug_gp_new(D, NAMED, &rest, &err));
        for (int k = 0; k < N; k++)
            if (k != i)
                assert_ok(snug_gp_add(rest, x + k * D, y[k], 0.02, &err));
        assert_ok(snug_gp_fit(rest, 1, &err));
        memcpy(rest->theta, gp->theta, sizeof rest->theta);
        assert_ok(snug_gp_fit(rest, 0, &err));
        rest->mean = gp->mean; /* the constant is not found anew for each */
        for (int k = 0; k < N - 1; k++)
            rest->alpha[k] = rest->y[k] - rest->mean;
        snug__gp_solve(rest->factor, N - 1, rest->alpha);
        assert_ok(snug_gp_predict(rest, x + i * D, 1, &mean, &sd, &err));
        assert_true(fabs(out[i] - mean) < 1e-6);
        snug_gp_free(rest);
    }
    snug_gp_free(gp);
}

/* Many vectors of values at once, as if each were set and asked for; the present ones stay. */
static void gp_evidences_match_one_by_one(void **state)
{
    (void)state;
    enum { N = 15, SETS = 3 };
    struct snug_error err = {0};
    struct snug_rng rng;
    double x[N * D], y[N], values[SETS * N], got[SETS];
    snug_rng_init(&rng, 22);
    struct snug_gp *gp = make_gp(&rng, N, 0.05, 0, x, y);
    assert_ok(snug_gp_fit(gp, 60, &err));
    const double before = snug_gp_log_posterior(gp, gp->theta, NULL);
    for (int k = 0; k < SETS; k++)
        for (int i = 0; i < N; i++)
            values[k * N + i] = y[i] * (1 - 0.4 * k) + 0.1 * k * x[i * D];
    snug_gp_evidences(gp, values, SETS, got);
    assert_true(fabs(snug_gp_log_posterior(gp, gp->theta, NULL) - before) < 1e-9);
    for (int k = 0; k < SETS; k++) {
        snug_gp_set_values(gp, values + k * N);
        assert_true(fabs(snug_gp_log_posterior(gp, gp->theta, NULL) - got[k]) < 1e-9);
    }
    assert_true(fabs(got[0] - before) < 1e-9);
    assert_true(fabs(got[1] - got[0]) > 1e-3);
    snug_gp_free(gp);
}

/* With few points the lengths are what was expected of them. */
static void gp_expects_lengths_that_it_is_told(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct snug_rng rng;
    double x[2 * D], y[2];
    struct snug_gp_params want = {.length = {0.2, 5, 0.3, 2}, .noise_sd = 0.05}, got;
    snug_rng_init(&rng, 23);
    struct snug_gp *gp = make_gp(&rng, 2, 0, 0, x, y);
    snug_gp_expect(gp, &want);
    assert_ok(snug_gp_fit(gp, 60, &err));
    snug_gp_get_params(gp, &got);
    for (int d = 0; d < D; d++)
        assert_true(fabs(log(got.length[d] / want.length[d])) < 0.7);
    snug_gp_free(gp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gp_predictions_match_a_plain_reference),
        cmocka_unit_test(gp_gradient_matches_differences),
        cmocka_unit_test(gp_fit_climbs_the_posterior),
        cmocka_unit_test(gp_without_noise_interpolates),
        cmocka_unit_test(gp_intervals_cover_the_truth),
        cmocka_unit_test(gp_learns_the_noise),
        cmocka_unit_test(gp_trusts_a_noisy_point_less),
        cmocka_unit_test(gp_takes_points_up_to_its_cap),
        cmocka_unit_test(gp_of_equal_points_stays_solvable),
        cmocka_unit_test(gp_without_dims_predicts_the_mean),
        cmocka_unit_test(gp_leave_one_out_matches_doing_it),
        cmocka_unit_test(gp_evidences_match_one_by_one),
        cmocka_unit_test(gp_expects_lengths_that_it_is_told),
        cmocka_unit_test(gp_refuses_bad_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
