/* Strategy "snug": learn log speed with a Gaussian process, ask where the front is expected to grow
 * most.
 *
 * 1. Start: the first max(4, min(n_dims / 2 + 1, n_trials / 4)) trials, the default and --fit's
 *    among them, are points of the scrambled Sobol sequence; 2 with a prior.
 * 2. Then one at a time: hyper-parameters are learned at every tell; ask scores candidates by exact
 *    expected hypervolume improvement (ehvi.c) times the chance that they run at all, and takes the
 *    best. Bytes are known, not learned. The front stands on the model's mean at the measured
 *    configs, not on their measured speeds: the luckiest of noisy maxima would raise the bar.
 * 3. Candidates: pool.c; for a lattice too large to list, hill climbs by single knobs start from
 *    the best candidates and from the front.
 * 4. Failures: a second process of the same kind learns 0 for what ran and 1 for what failed (least
 *    squares classification, Rasmussen and Williams 2006, section 6.5), so it finds the knobs that
 *    make trials fail. Chance to run = P(its value is below 1/2). Not used before a first failure.
 * 5. Prior: where a cost model predicts speeds, the process learns the log of what is left when a
 *    share of the prediction is taken out. The share, 0 to 1, is the one under which all that was
 *    told is likeliest, so a prior that misleads is dropped after a few trials.
 * 6. Past tasks (transfer.c): what they expect beyond the cost model is a second prior, with a
 *    share of its own that is found together with the first and thought to be near the trust that
 *    the past has earned by ranking what was told. Lengths and noise are expected to be as they
 *    were, and the configs that were best are candidates.
 * 7. Stop: the expected gain of the best candidate is under 0.5 % of the hypervolume, and the last
 *    four trials (eight with a past) together grew it by less than that, not before start + 5
 *    trials (+ 9 with a past). Both sides are needed: a model that just missed can be sure of
 *    itself. It looks at tells only, so a resumed session stops where an unbroken one would.
 * 8. A goal of other axes, or with limits: axes.c. What is said of speed here holds for its first
 *    learned axis. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "tune/axes.h"
#include "tune/ehvi.h"
#include "tune/gp.h"
#include "tune/pool.h"
#include "tune/transfer.h"

#define STOP_GAIN_FRAC 0.005
#define STOP_WINDOW 4 /* trials that must have brought less */
#define STOP_AFTER 5  /* trials past the start before a stop */
#define CLIMBS 3
#define CLIMB_STEPS 8
#define CHANCE_MIN 1e-3 /* never out of the question: the last resort is still ordered by gain */
/* Likelihood evaluations per tell and start: one costs O(n^3), 0.7 ms at 100 points. */
#define FIT_WORK 2000
#define FIT_EVALUATIONS_MIN 20
#define FIT_EVALUATIONS_MAX 60
/* True bytes stated per ask once one candidate is known to run. */
#define STATE_BYTES_MAX 64

/* The weight of the prior is one of so many steps from 0 to 1, and thought to be near 1. */
#define WEIGHT_STEPS 8
#define WEIGHT_SD 1.5
/* Of the past's, around its trust. */
#define PAST_SD 0.3
#define N_WEIGHTS (WEIGHT_STEPS + 1)

struct state {
    struct snug_gp *gp;       /* log speed of good trials */
    struct snug_gp *failures; /* 0 or 1 of all trials; fitted once there is a failure */
    int n_failed;
    struct snug__axes *axes; /* NULL: the goal is speed and bytes */
    struct snug__pool pool;
    int n_start;
    int told_of_point[SNUG_STRATEGY_TELLS_MAX];                        /* GP point -> trial */
    double y[SNUG_STRATEGY_TELLS_MAX], prior[SNUG_STRATEGY_TELLS_MAX]; /* [GP point] log speed */
    double prior_level;              /* mean of what the prior said of good trials */
    double prior_weight;             /* 0 to 1; 0 without a prior */
    struct snug__transfer *transfer; /* NULL: no past */
    double past_weight;              /* 0 to 1; 0 without a past */
    double rest[N_WEIGHTS * N_WEIGHTS * SNUG_STRATEGY_TELLS_MAX]; /* [weights][GP point] */
    double x[SNUG_STRATEGY_TELLS_MAX * SNUG_KNOBS_MAX];           /* [n_told][n_dims] features */
    struct snug_point points[SNUG_STRATEGY_TELLS_MAX]; /* [n_told]; speed 0 for failures */
    double front_bytes[SNUG_STRATEGY_TELLS_MAX], front_log[SNUG_STRATEGY_TELLS_MAX];
    size_t front_told[SNUG_STRATEGY_TELLS_MAX], index[SNUG_STRATEGY_TELLS_MAX];
    double mean[SNUG_STRATEGY_TELLS_MAX], sd[SNUG_STRATEGY_TELLS_MAX];
    double pool_mean[SNUG__POOL_WHOLE_MAX], pool_sd[SNUG__POOL_WHOLE_MAX];
    struct snug_ehvi_front front;
};
static_assert(SNUG__POOL_SAMPLE + SNUG__POOL_ADDED_MAX <= SNUG__POOL_WHOLE_MAX, "pool_mean fits");
static_assert(SNUG_STRATEGY_TELLS_MAX <= SNUG_GP_POINTS_MAX, "every trial fits the model");
static_assert(SNUG_KNOBS_MAX <= SNUG_GP_DIMS_MAX && SNUG_KNOBS_MAX <= SNUG_SOBOL_DIMS_MAX, "dims");

static int at_least(int a, int b)
{
    return a > b ? a : b;
}

static int at_most(int a, int b)
{
    return a < b ? a : b;
}

static void close_state(struct snug_strategy *s)
{
    struct state *st = s->state;
    if (!st)
        return;
    snug_gp_free(st->gp);
    snug_gp_free(st->failures);
    snug__axes_close(st->axes);
    snug__pool_close(&st->pool);
    snug__transfer_free(st->transfer);
    free(st);
    s->state = NULL;
}

/* What past tasks know, where there are any that can teach. */
static snug_status open_past(struct snug_strategy *s, struct snug_error *err)
{
    struct state *st = s->state;
    struct snug_gp_params params;
    snug_status status = snug__transfer_new(&s->problem, &s->lattice, &st->transfer, err);
    s->problem.pasts = NULL; /* they need not outlive this */
    if (status != SNUG_OK || !st->transfer)
        return status;
    st->past_weight = snug__transfer_trust(st->transfer);
    st->n_start = 2; /* as with a cost model */
    if (snug__transfer_params(st->transfer, &params))
        snug_gp_expect(st->gp, &params);
    return snug__transfer_keep(st->transfer, st->pool.x, (size_t)st->pool.n_fixed, err);
}

static snug_status open_state(struct snug_strategy *s, struct snug_error *err)
{
    struct state *st = calloc(1, sizeof *st);
    if (!st)
        return snug_fail(err, SNUG_NO_MEMORY, "strategy snug");
    s->state = st;
    st->prior_weight = s->problem.prior ? 1 : 0;
    st->n_start = at_least(4, at_most(s->lattice.n_dims / 2 + 1, s->problem.n_trials / 4));
    if (s->problem.prior) /* one good trial says how far off it is, and it has the shape */
        st->n_start = 2;
    snug_status status = snug_gp_new(s->lattice.n_dims, s->lattice.is_named, &st->gp, err);
    if (status == SNUG_OK)
        status = snug_gp_new(s->lattice.n_dims, s->lattice.is_named, &st->failures, err);
    if (status == SNUG_OK)
        status = snug__axes_open(s, &st->axes, err);
    if (status == SNUG_OK)
        status = snug__pool_open(&st->pool, s, err);
    if (status == SNUG_OK)
        status = open_past(s, err);
    return status;
}

static int fit_evaluations(int n)
{
    return at_most(at_least(FIT_EVALUATIONS_MIN, FIT_WORK / n), FIT_EVALUATIONS_MAX);
}

/* What the cost model expects, in log speed: where it says nothing, what it says on average. */
static double prior_or_level(const struct state *st, double prior)
{
    return isfinite(prior) ? prior : st->prior_level;
}

static double ask_prior(const struct snug_strategy *s, const struct snug_config *config)
{
    return s->problem.prior ? s->problem.prior(config, s->problem.prior_data) : (double)NAN;
}

static double past_of_told(const struct state *st, int i)
{
    return st->transfer ? snug__transfer_told(st->transfer, i) : 0;
}

/* What is expected of GP point i before its own process is asked. */
static double expected_of_told(const struct state *st, int i)
{
    return st->prior_weight * prior_or_level(st, st->prior[i]) +
           st->past_weight * past_of_told(st, i);
}

/* Let the process model what the priors, weighed, leave over. */
static void set_weights(struct state *st, double prior_weight, double past_weight)
{
    double rest[SNUG_STRATEGY_TELLS_MAX];
    const int n = snug_gp_n(st->gp);
    st->prior_weight = prior_weight;
    st->past_weight = past_weight;
    for (int i = 0; i < n; i++)
        rest[i] = st->y[i] - expected_of_told(st, i);
    snug_gp_set_values(st->gp, rest);
}

static void set_level(struct state *st)
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
    struct state *st = s->state;
    const int n = snug_gp_n(st->gp), n_prior = s->problem.prior ? N_WEIGHTS : 1;
    const int n_past = st->transfer ? N_WEIGHTS : 1;
    const double trust = st->transfer ? snug__transfer_trust(st->transfer) : 0;
    double value[N_WEIGHTS * N_WEIGHTS], best = -INFINITY;
    for (int k = 0; k < n_prior * n_past; k++) {
        const double prior = (double)(k % n_prior) / WEIGHT_STEPS;
        const double past = (double)(k / n_prior) / WEIGHT_STEPS;
        for (int i = 0; i < n; i++)
            st->rest[k * n + i] =
                st->y[i] - prior * prior_or_level(st, st->prior[i]) - past * past_of_told(st, i);
    }
    snug_gp_evidences(st->gp, st->rest, n_prior * n_past, value);
    for (int k = 0; k < n_prior * n_past; k++) {
        const double prior = (double)(k % n_prior) / WEIGHT_STEPS;
        const double past = (double)(k / n_prior) / WEIGHT_STEPS;
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
static snug_status weigh_pasts(struct state *st, struct snug_error *err)
{
    double own[SNUG_STRATEGY_TELLS_MAX], base[SNUG_STRATEGY_TELLS_MAX];
    double rest[SNUG_STRATEGY_TELLS_MAX];
    const int n = snug_gp_n(st->gp);
    const double past_weight = st->past_weight;
    set_weights(st, st->prior_weight, 0);
    snug_status status = snug_gp_leave_one_out(st->gp, own, err);
    for (int i = 0; i < n; i++) {
        base[i] = expected_of_told(st, i);
        rest[i] = st->y[i] - base[i];
    }
    if (status == SNUG_OK)
        snug__transfer_weigh(st->transfer, rest, own, base);
    set_weights(st, st->prior_weight, past_weight);
    return status;
}

static snug_status fit_speed(struct snug_strategy *s, struct snug_error *err)
{
    struct state *st = s->state;
    const int n_evaluations = fit_evaluations(snug_gp_n(st->gp));
    set_level(st);
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

static snug_status learn_speed(struct snug_strategy *s, size_t at, const double *x,
                               const struct snug_observation *o, struct snug_error *err)
{
    struct state *st = s->state;
    int n = snug_gp_n(st->gp);
    snug_status status = snug_gp_add(st->gp, x, log(o->speed), o->log_speed_sd, err);
    if (status != SNUG_OK)
        return status;
    st->told_of_point[n] = (int)at;
    st->y[n] = log(o->speed);
    st->prior[n] = ask_prior(s, &o->config);
    status = st->transfer ? snug__transfer_tell(st->transfer, x, err) : SNUG_OK;
    const bool is_past_told = status == SNUG_OK && st->transfer;
    if (status == SNUG_OK)
        status = fit_speed(s, err);
    if (status != SNUG_OK)
        snug_gp_remove_last(st->gp);
    if (status != SNUG_OK && is_past_told)
        snug__transfer_remove_last(st->transfer);
    return status;
}

static snug_status learn_failure(struct state *st, const double *x, bool is_failed,
                                 struct snug_error *err)
{
    snug_status status = snug_gp_add(st->failures, x, is_failed, 0, err);
    if (status != SNUG_OK)
        return status;
    if (st->n_failed + is_failed > 0)
        status = snug_gp_fit(st->failures, fit_evaluations(snug_gp_n(st->failures)), err);
    if (status == SNUG_OK)
        st->n_failed += is_failed;
    else
        snug_gp_remove_last(st->failures);
    return status;
}

static snug_status tell(struct snug_strategy *s, struct snug_error *err)
{
    struct state *st = s->state;
    size_t at = s->n_told - 1;
    const struct snug_observation *o = &s->told[at];
    bool is_ok = o->outcome == SNUG_TRIAL_OK;
    double *x = st->x + at * (size_t)s->lattice.n_dims;
    snug_status status = SNUG_OK;
    snug__lattice_features(&s->lattice, &o->config, x);
    st->points[at] = is_ok ? (struct snug_point){o->speed, o->bytes} : (struct snug_point){0};
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
                snug_gp_remove_last(st->gp);
        }
        if (status != SNUG_OK && snug_gp_n(st->failures) > n_before)
            snug_gp_remove_last(st->failures); /* as if nothing had been told */
    }
    if (status == SNUG_OK)
        snug__pool_mark_told(&st->pool, s, &o->config);
    return status;
}

/* Put the model's mean in the place of measured speeds. */
static snug_status smooth_points(struct snug_strategy *s, struct snug_error *err)
{
    struct state *st = s->state;
    size_t n_dims = (size_t)s->lattice.n_dims, n = (size_t)snug_gp_n(st->gp);
    double *x = calloc(n * n_dims + 1, sizeof *x);
    if (!x)
        return snug_fail(err, SNUG_NO_MEMORY, "strategy snug: %zu points", n);
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < n_dims; d++)
            x[i * n_dims + d] = st->x[(size_t)st->told_of_point[i] * n_dims + d];
    snug_status status = snug_gp_predict(st->gp, x, n, st->mean, st->sd, err);
    for (size_t i = 0; status == SNUG_OK && i < n; i++)
        st->points[st->told_of_point[i]].speed = exp(st->mean[i] + expected_of_told(st, (int)i));
    free(x);
    if (status == SNUG_OK && st->axes)
        status = snug__axes_smooth(st->axes, s, st->x, err);
    return status;
}

/* What the process thinks of measured configs is less lucky than what was measured. */
static snug_status believe(struct snug_strategy *s, double *out_speed, struct snug_error *err)
{
    const struct state *st = s->state;
    snug_status status = snug_gp_n(st->gp) > 0 ? smooth_points(s, err) : SNUG_OK;
    for (size_t i = 0; status == SNUG_OK && i < s->n_told; i++)
        out_speed[i] = st->points[i].speed;
    return status;
}

/* The front of the first n trials within bounds, and its area. */
static snug_status build_front(struct snug_strategy *s, size_t n, double *out_area,
                               struct snug_error *err)
{
    struct state *st = s->state;
    if (st->axes) {
        const snug_status status =
            snug__axes_front(st->axes, s, st->points, n, st->front_told, &st->front.n, err);
        *out_area = snug__axes_volume(st->axes);
        return status;
    }
    const struct snug_front_bounds *bounds = &s->problem.bounds;
    size_t n_front = snug_front_compute(st->points, n, st->index);
    st->front = (struct snug_ehvi_front){st->front_bytes, st->front_log, 0, log(bounds->speed_ref)};
    for (size_t k = 0; k < n_front; k++) {
        const struct snug_point *p = &st->points[st->index[k]];
        if (p->bytes >= bounds->bytes_ref || p->speed <= bounds->speed_ref)
            continue;
        st->front_bytes[st->front.n] = (double)p->bytes / (double)bounds->bytes_ref;
        st->front_log[st->front.n] = log(p->speed);
        st->front_told[st->front.n++] = st->index[k];
    }
    *out_area = snug_ehvi_area(&st->front);
    return SNUG_OK;
}

/* Expected gain of item i at the bytes it is thought to need. */
static double gain_of(const struct snug_strategy *s, int i)
{
    const struct state *st = s->state;
    const struct snug__candidate *item = &st->pool.items[i];
    double frac = item->bytes / (double)s->problem.bounds.bytes_ref;
    uint64_t limit = s->problem.bytes_limit;
    /* a guess near the limit may be wrong: it gets its true bytes, and its verdict, if it matters
     */
    if (limit && item->bytes > 1.1 * (double)limit)
        return 0;
    if (st->axes)
        return snug__axes_gain(st->axes, s, &st->pool, i) * item->chance;
    return snug_ehvi(&st->front, item->mean, item->sd, frac) * item->chance;
}

/* P(item runs) of items from..n-1. */
static snug_status predict_chances(struct snug_strategy *s, int from, struct snug_error *err)
{
    struct state *st = s->state;
    struct snug__pool *pool = &st->pool;
    const double *x = pool->x + (size_t)from * (size_t)s->lattice.n_dims;
    snug_status status = SNUG_OK;
    if (st->n_failed)
        status = snug_gp_predict(st->failures, x, (size_t)(pool->n - from), st->pool_mean,
                                 st->pool_sd, err);
    for (int i = from; status == SNUG_OK && i < pool->n; i++) {
        double mean = st->pool_mean[i - from], sd = fmax(st->pool_sd[i - from], 1e-9);
        double chance = st->n_failed ? 0.5 * erfc((mean - 0.5) / (sd * sqrt(2))) : 1;
        pool->items[i].chance = fmax(chance, CHANCE_MIN);
    }
    return status;
}

/* Add what past tasks expect, weighed, to the means of items from..n-1. */
static snug_status add_past(struct snug_strategy *s, int from, struct snug_error *err)
{
    struct state *st = s->state;
    struct snug__pool *pool = &st->pool;
    const int first = from > pool->n_fixed ? from : pool->n_fixed;
    snug_status status = SNUG_OK;
    for (int i = from; i < pool->n_fixed; i++)
        pool->items[i].mean += st->past_weight * snug__transfer_kept(st->transfer, (size_t)i);
    if (first < pool->n)
        status =
            snug__transfer_expect(st->transfer, pool->x + (size_t)first * (size_t)s->lattice.n_dims,
                                  (size_t)(pool->n - first), st->pool_mean, err);
    for (int i = first; status == SNUG_OK && i < pool->n; i++)
        pool->items[i].mean += st->past_weight * st->pool_mean[i - first];
    return status;
}

/* Predict and score items from..n-1. */
static snug_status score_items(struct snug_strategy *s, int from, struct snug_error *err)
{
    struct state *st = s->state;
    struct snug__pool *pool = &st->pool;
    const double *x = pool->x + (size_t)from * (size_t)s->lattice.n_dims;
    snug_status status = predict_chances(s, from, err);
    if (status == SNUG_OK)
        status =
            snug_gp_predict(st->gp, x, (size_t)(pool->n - from), st->pool_mean, st->pool_sd, err);
    if (status == SNUG_OK && st->axes)
        status = snug__axes_predict(st->axes, s, pool, from, err);
    for (int i = from; status == SNUG_OK && i < pool->n; i++) {
        pool->items[i].mean = st->pool_mean[i - from];
        if (s->problem.prior)
            pool->items[i].mean +=
                st->prior_weight * prior_or_level(st, ask_prior(s, &pool->items[i].config));
        pool->items[i].sd = st->pool_sd[i - from];
    }
    if (status == SNUG_OK && st->past_weight > 0)
        status = add_past(s, from, err);
    for (int i = from; status == SNUG_OK && i < pool->n; i++)
        pool->items[i].score = pool->items[i].was_told ? -1 : gain_of(s, i);
    return status;
}

/* Steps by single knobs from item `at` while the score grows. */
static snug_status climb(struct snug_strategy *s, int at, struct snug_error *err)
{
    struct state *st = s->state;
    for (int step = 0; step < CLIMB_STEPS; step++) {
        int from = st->pool.n;
        snug__pool_add_neighbours(&st->pool, s, &st->pool.items[at].config);
        snug_status status = from < st->pool.n ? score_items(s, from, err) : SNUG_OK;
        int next = snug__pool_best(&st->pool, from);
        if (status != SNUG_OK)
            return status;
        if (next < 0 || st->pool.items[next].score <= st->pool.items[at].score)
            break;
        at = next;
    }
    return SNUG_OK;
}

/* Neighbours of the front, then climbs from the best candidates; only where not all are listed. */
static snug_status refine(struct snug_strategy *s, struct snug_error *err)
{
    struct state *st = s->state;
    int start[CLIMBS], n_start = 0;
    for (size_t k = 0; k < st->front.n && st->pool.n < st->pool.cap / 4 * 3; k++) {
        const struct snug_config *config = &s->told[st->front_told[k]].config;
        if (snug__lattice_has(&s->lattice, config))
            snug__pool_add_neighbours(&st->pool, s, config);
    }
    struct snug_config best;
    for (int k = 0; st->transfer && snug__transfer_best(st->transfer, k, &best); k++)
        snug__pool_add(&st->pool, s, &best);
    snug_status status =
        st->pool.n > st->pool.n_fixed ? score_items(s, st->pool.n_fixed, err) : SNUG_OK;
    for (; n_start < CLIMBS; n_start++) {
        start[n_start] = snug__pool_best(&st->pool, 0);
        if (start[n_start] < 0)
            break;
        st->pool.items[start[n_start]].score *= -1; /* set aside, to find the next */
    }
    for (int k = 0; k < n_start; k++)
        st->pool.items[start[k]].score *= -1;
    for (int k = 0; k < n_start && status == SNUG_OK; k++)
        status = climb(s, start[k], err);
    return status;
}

/* The best item whose bytes were truly stated, or -1. Items come up in the order of their guess;
 * each gets its true bytes and score, until none left could win. */
static int choose(struct snug_strategy *s)
{
    struct state *st = s->state;
    int chosen = -1;
    for (int n_stated = 0; n_stated < STATE_BYTES_MAX || chosen < 0;) {
        int i = snug__pool_best(&st->pool, 0);
        if (i < 0 || (chosen >= 0 && i == chosen))
            break;
        if (st->pool.items[i].state != SNUG__BYTES_GUESSED) {
            chosen = i;
            break;
        }
        bool can_run = snug__pool_state_bytes(&st->pool, s, i);
        st->pool.items[i].score = can_run ? gain_of(s, i) : -1;
        n_stated += can_run;
        if (can_run && (chosen < 0 || st->pool.items[i].score > st->pool.items[chosen].score))
            chosen = i;
    }
    return chosen;
}

static bool is_converged(struct snug_strategy *s, double area, double gain)
{
    const struct state *st = s->state;
    double before = 0;
    /* who begins where a past ended grows little from the start, and has seen little yet */
    const size_t window = st->transfer || s->problem.prior ? 2 * STOP_WINDOW : STOP_WINDOW;
    const size_t least = (size_t)st->n_start + STOP_AFTER + window - STOP_WINDOW;
    if (s->n_told < least || !(gain < STOP_GAIN_FRAC * area))
        return false;
    return build_front(s, s->n_told - window, &before, NULL) == SNUG_OK &&
           area - before < STOP_GAIN_FRAC * area;
}

static snug_status ask_model(struct snug_strategy *s, struct snug_config *out_config,
                             struct snug_ask_info *out_info, struct snug_error *err)
{
    struct state *st = s->state;
    snug_status status = smooth_points(s, err);
    if (status != SNUG_OK)
        return status;
    double area = 0;
    status = build_front(s, s->n_told, &area, err);
    if (status != SNUG_OK)
        return status;
    snug__pool_begin(&st->pool, s);
    status = score_items(s, 0, err);
    if (status == SNUG_OK && !st->pool.is_whole)
        status = refine(s, err);
    if (status != SNUG_OK)
        return status;
    int best = choose(s);
    double gain = best < 0 ? 0 : st->pool.items[best].score;
    if (is_converged(s, area, gain))
        return snug_fail(err, SNUG_NOT_FOUND,
                         "converged: the best candidate would add %.2g %% to the front",
                         100 * gain / area);
    if (best < 0) /* nothing is expected to gain, but it is too early to stop */
        return snug__strategy_sobol_config(s, out_config, err);
    const struct snug__candidate *item = &st->pool.items[best];
    *out_config = item->config;
    out_info->expected_gain = area > 0 ? gain / area : (double)NAN;
    out_info->predicted_speed = exp(item->mean);
    out_info->predicted_log_sd = item->sd;
    for (int i = 0; i < st->pool.n; i++)
        out_info->n_candidates += !st->pool.items[i].was_told;
    return SNUG_OK;
}

static snug_status ask(struct snug_strategy *s, struct snug_config *out_config,
                       struct snug_ask_info *out_info, struct snug_error *err)
{
    const struct state *st = s->state;
    if (s->n_told < (size_t)st->n_start || snug_gp_n(st->gp) < 1)
        return snug__strategy_sobol_config(s, out_config, err);
    return ask_model(s, out_config, out_info, err);
}

const struct snug__strategy_kind snug__strategy_snug = {
    .open = open_state,
    .close = close_state,
    .ask = ask,
    .tell = tell,
    .believe = believe,
};
