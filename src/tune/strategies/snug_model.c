/* What strategy "snug" learns: log speed with what the cost model and past tasks expect taken out,
 * the chance of a failure, and what low rungs of the effort ladder say. See snug.c, 4 to 6, 10
 * and 11.
 */
#include "tune/strategies/snug_model.h"

#include <math.h>
#include <stdlib.h>

#include "tune/ladder.h"

/* A point this uncertain says nothing. */
#define NO_NEWS_SD 1e3
#define INERT_EVERY 4 /* trials between two decisions */
/* Likelihood evaluations per learning and start: one costs O(n^3), 0.7 ms at 100 points. */
#define FIT_WORK 2000
#define FIT_EVALUATIONS_MIN 20
#define FIT_EVALUATIONS_MAX 60
/* One more point among many moves hyper-parameters little: past so many they are learned each time
 * there are a twelfth more. */
#define LEARN_EACH_MAX 48
#define LEARN_GROWTH 12

/* How sure it is that the weight of the prior is near 1. */
#define WEIGHT_SD 1.5
/* Of the past's, around its trust. */
#define PAST_SD 0.3

static int learn_evaluations(int n)
{
    return at_most(at_least(FIT_EVALUATIONS_MIN, FIT_WORK / n), FIT_EVALUATIONS_MAX);
}

static int fit_evaluations(int n)
{
    return n <= LEARN_EACH_MAX || n % (n / LEARN_GROWTH) == 0 ? learn_evaluations(n) : 0;
}

double snug__model_prior_or_level(const struct snug__model_state *st, double prior)
{
    return isfinite(prior) ? prior : st->prior_level;
}

double snug__model_ask_prior(const struct snug_strategy *s, const struct snug_config *config)
{
    return s->problem.prior ? s->problem.prior(config, s->problem.prior_data) : (double)NAN;
}

static double past_of_told(const struct snug__model_state *st, int i)
{
    return st->transfer ? snug__transfer_told(st->transfer, i) : 0;
}

double snug__model_expected(const struct snug__model_state *st, int i)
{
    return st->prior_weight * snug__model_prior_or_level(st, st->prior[i]) +
           st->past_weight * past_of_told(st, i);
}

/* Let the process model what the priors, weighed, leave over. */
static void set_weights(struct snug__model_state *st, double prior_weight, double past_weight)
{
    double rest[SNUG_STRATEGY_TELLS_MAX];
    const int n = snug_gp_n(st->gp);
    st->prior_weight = prior_weight;
    st->past_weight = past_weight;
    for (int i = 0; i < n; i++)
        rest[i] = st->y[i] - snug__model_expected(st, i);
    snug_gp_set_values(st->gp, rest);
}

static void set_level(struct snug__model_state *st)
{
    double sum = 0;
    int n_said = 0;
    for (int i = 0; i < snug_gp_n(st->gp); i++)
        if (isfinite(st->prior[i])) {
            sum += st->prior[i];
            n_said++;
        }
    st->prior_level = n_said ? sum / n_said : 0;
}

/* The weights that explain best what was measured, at the present hyper-parameters. */
static void best_weights(struct snug_strategy *s, double *out_prior, double *out_past)
{
    struct snug__model_state *st = s->state;
    const int n = snug_gp_n(st->gp), n_prior = s->problem.prior ? SNUG__WEIGHTS : 1;
    const int n_past = st->transfer ? SNUG__WEIGHTS : 1;
    const double trust = st->transfer ? snug__transfer_trust(st->transfer) : 0;
    double value[SNUG__WEIGHTS * SNUG__WEIGHTS], best = -INFINITY;
    for (int k = 0; k < n_prior * n_past; k++) {
        const double prior = (double)(k % n_prior) / SNUG__WEIGHT_STEPS;
        const double past = (double)(k / n_prior) / SNUG__WEIGHT_STEPS;
        for (int i = 0; i < n; i++)
            st->rest[k * n + i] = st->y[i] - prior * snug__model_prior_or_level(st, st->prior[i]) -
                                  past * past_of_told(st, i);
    }
    snug_gp_evidences(st->gp, st->rest, n_prior * n_past, value);
    for (int k = 0; k < n_prior * n_past; k++) {
        const double prior = (double)(k % n_prior) / SNUG__WEIGHT_STEPS;
        const double past = (double)(k / n_prior) / SNUG__WEIGHT_STEPS;
        const double off = n_prior > 1 ? (1 - prior) / WEIGHT_SD : 0;
        const double past_off = n_past > 1 ? (past - trust) / PAST_SD : 0;
        value[k] -= 0.5 * (off * off + past_off * past_off);
        if (value[k] > best) {
            best = value[k];
            *out_prior = prior;
            *out_past = past;
        }
    }
}

/* Judge the pasts by what the process makes of the trials without them. */
static snug_status weigh_pasts(struct snug__model_state *st, struct snug_error *err)
{
    double own[SNUG_STRATEGY_TELLS_MAX], base[SNUG_STRATEGY_TELLS_MAX];
    double rest[SNUG_STRATEGY_TELLS_MAX];
    const int n = snug_gp_n(st->gp);
    const double past_weight = st->past_weight;
    set_weights(st, st->prior_weight, 0);
    snug_status status = snug_gp_leave_one_out(st->gp, own, err);
    for (int i = 0; i < n; i++) {
        base[i] = snug__model_expected(st, i);
        rest[i] = st->y[i] - base[i];
    }
    if (status == SNUG_OK)
        snug__transfer_weigh(st->transfer, rest, own, base);
    set_weights(st, st->prior_weight, past_weight);
    return status;
}

/* Low rungs, as what is known of their bias by now makes them; nothing where the full trial of the
 * same config is told. */
static void correct_low_rungs(struct snug_strategy *s)
{
    struct snug__model_state *st = s->state;
    struct snug__ladder_bias bias[SNUG__LADDER_RUNGS + 1] = {{0, 0}};
    for (int rung = 1; rung <= SNUG__LADDER_RUNGS && st->n_low > 0; rung++)
        snug__ladder_learn(s->problem.space, s->told, s->n_told, rung, &bias[rung]);
    for (int i = 0; i < snug_gp_n(st->gp) && st->n_low > 0; i++) {
        const size_t at = (size_t)st->told_of_point[i];
        const struct snug_observation *o = &s->told[at];
        if (o->rung == 0)
            continue;
        const bool is_past = snug__ladder_is_past(s->problem.space, s->told, s->n_told, at);
        st->y[i] = log(o->speed) - bias[o->rung].mean;
        snug_gp_set_noise(st->gp, i,
                          is_past ? NO_NEWS_SD : hypot(o->log_speed_sd, bias[o->rung].sd));
    }
}

static snug_status fit_speed(struct snug_strategy *s, struct snug_error *err)
{
    struct snug__model_state *st = s->state;
    const int n_evaluations = fit_evaluations(snug_gp_n(st->gp));
    set_level(st);
    correct_low_rungs(s);
    /* first with the weights that the last tell left */
    set_weights(st, st->prior_weight, st->past_weight);
    snug_status status = snug_gp_fit(st->gp, n_evaluations, err);
    if (status == SNUG_OK && st->transfer)
        status = weigh_pasts(st, err);
    if (status != SNUG_OK || (!s->problem.prior && !st->transfer))
        return status;
    double prior_weight = 0, past_weight = 0;
    best_weights(s, &prior_weight, &past_weight);
    const bool has_moved = fabs(prior_weight - st->prior_weight) > 0 || st->transfer != NULL;
    set_weights(st, prior_weight, past_weight);
    return snug_gp_fit(st->gp, has_moved ? n_evaluations : 0, err);
}

/* As if the good trial that was told last had not been. */
static void unlearn_speed(struct snug__model_state *st, const struct snug_observation *o)
{
    snug_gp_remove_last(st->gp);
    st->n_low -= o->rung > 0;
    if (st->transfer)
        snug__transfer_remove_last(st->transfer);
}

static snug_status learn_speed(struct snug_strategy *s, size_t at, const double *x,
                               const struct snug_observation *o, struct snug_error *err)
{
    struct snug__model_state *st = s->state;
    int n = snug_gp_n(st->gp);
    snug_status status = snug_gp_add(st->gp, x, log(o->speed), o->log_speed_sd, err);
    if (status != SNUG_OK)
        return status;
    if (st->transfer)
        status = snug__transfer_tell(st->transfer, x, err);
    if (status != SNUG_OK) {
        snug_gp_remove_last(st->gp);
        return status;
    }
    st->told_of_point[n] = (int)at;
    st->y[n] = log(o->speed);
    st->prior[n] = snug__model_ask_prior(s, &o->config);
    st->n_low += o->rung > 0;
    status = fit_speed(s, err);
    if (status != SNUG_OK)
        unlearn_speed(st, o);
    return status;
}

static snug_status learn_failure(struct snug__model_state *st, const double *x, bool is_failed,
                                 struct snug_error *err)
{
    snug_status status = snug_gp_add(st->failures, x, is_failed, 0, err);
    if (status != SNUG_OK)
        return status;
    const int n = snug_gp_n(st->failures);
    if (st->n_failed == 0 && is_failed) /* there is something to learn from now */
        status = snug_gp_fit(st->failures, learn_evaluations(n), err);
    else if (st->n_failed > 0)
        status = snug_gp_fit(st->failures, fit_evaluations(n), err);
    if (status == SNUG_OK)
        st->n_failed += is_failed;
    else
        snug_gp_remove_last(st->failures);
    return status;
}

/* What went on up the ladder is of one ask. */
static size_t n_asks(const struct snug_strategy *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_told; i++)
        n += i == 0 || s->told[i - 1].rung == 0 ||
             !snug_config_equal(s->problem.space, &s->told[i - 1].config, &s->told[i].config);
    return n;
}

snug_status snug__model_tell(struct snug_strategy *s, struct snug_error *err)
{
    struct snug__model_state *st = s->state;
    size_t at = s->n_told - 1;
    const struct snug_observation *o = &s->told[at];
    bool is_ok = o->outcome == SNUG_TRIAL_OK;
    double *x = st->x + at * (size_t)s->lattice.n_dims;
    snug_status status = SNUG_OK;
    snug__lattice_features(&s->lattice, &o->config, x);
    st->points[at] =
        is_ok && o->rung == 0 ? (struct snug_point){o->speed, o->bytes} : (struct snug_point){0};
    /* with another base a config may be on the front, but it is no point of the models */
    if (snug__lattice_has(&s->lattice, &o->config)) {
        int n_before = snug_gp_n(st->failures);
        status = learn_failure(st, x, !is_ok, err);
        if (status == SNUG_OK && is_ok)
            status = learn_speed(s, at, x, o, err);
        if (status == SNUG_OK && is_ok && st->axes) {
            const int n_evaluations = fit_evaluations(snug_gp_n(st->gp));
            status = snug__axes_tell(st->axes, s, at, x, n_evaluations, err);
            if (status != SNUG_OK)
                unlearn_speed(st, o);
        }
        if (status != SNUG_OK && snug_gp_n(st->failures) > n_before)
            snug_gp_remove_last(st->failures); /* as if nothing had been told */
    }
    if (s->problem.drops_inert && s->n_told % INERT_EVERY == 0 &&
        snug__inert_learn(&st->inert, s, NULL) != SNUG_OK)
        st->inert.n_frozen = 0; /* a help, and no need */
    st->is_wide = n_asks(s) % INERT_EVERY == INERT_EVERY - 1;
    if (status == SNUG_OK && (o->rung == 0 || !is_ok))
        snug__pool_mark_told(&st->pool, s, &o->config);
    return status;
}

snug_status snug__model_smooth(struct snug_strategy *s, struct snug_error *err)
{
    struct snug__model_state *st = s->state;
    size_t n_dims = (size_t)s->lattice.n_dims, n = (size_t)snug_gp_n(st->gp);
    double *x = calloc(n * n_dims + 1, sizeof *x);
    if (!x)
        return snug_fail(err, SNUG_NO_MEMORY, "strategy snug: %zu points", n);
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < n_dims; d++)
            x[i * n_dims + d] = st->x[(size_t)st->told_of_point[i] * n_dims + d];
    snug_status status = snug_gp_predict(st->gp, x, n, st->mean, st->sd, err);
    for (size_t i = 0; status == SNUG_OK && i < n; i++)
        if (s->told[st->told_of_point[i]].rung == 0)
            st->points[st->told_of_point[i]].speed =
                exp(st->mean[i] + snug__model_expected(st, (int)i));
    free(x);
    if (status == SNUG_OK && st->axes)
        status = snug__axes_smooth(st->axes, s, st->x, err);
    return status;
}

/* What the process thinks of measured configs is less lucky than what was measured. */
snug_status snug__model_believe(struct snug_strategy *s, double *out_speed, struct snug_error *err)
{
    const struct snug__model_state *st = s->state;
    snug_status status = snug_gp_n(st->gp) > 0 ? snug__model_smooth(s, err) : SNUG_OK;
    for (size_t i = 0; status == SNUG_OK && i < s->n_told; i++)
        out_speed[i] = st->points[i].speed;
    return status;
}
