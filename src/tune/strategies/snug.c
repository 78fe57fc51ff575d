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
 * 6. Stop: the expected gain of the best candidate is under 0.5 % of the hypervolume, and the last
 *    four trials together grew it by less than that, not before start + 5 trials. Both sides are
 *    needed: a model that just missed can be sure of itself. It looks at tells only, so a resumed
 *    session stops where an unbroken one would.
 * 7. Seconds (trial_cost.h): where loading is dear, of candidates that gain as much as the best but
 *    for a guess's width the one that gains most per second is asked, mostly one that loads
 *    nothing.
 * 8. On wish, rows that seem to change nothing (inert.h) are kept at one value by three asks of
 *    four; it is decided anew every four tells, from the twelfth trial on. The kernel's lengths do
 *    the same more softly, and as well on all tables: so not by default.
 * 9. Low rungs of the effort ladder (ladder.h) are points with a learned bias and more noise, until
 *    the full trial of the config is told. One is promoted when it gains as much per second as the
 *    best of the others would. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "tune/ehvi.h"
#include "tune/gp.h"
#include "tune/inert.h"
#include "tune/ladder.h"
#include "tune/pool.h"
#include "tune/trial_cost.h"

#define STOP_GAIN_FRAC 0.005
#define STOP_WINDOW 4 /* trials that must have brought less */
#define STOP_AFTER 5  /* trials past the start before a stop */
/* Candidates with this part of the best one's gain are as good: the gain itself is a guess. Ties
 * this narrow save a fifth of the loads (test_strategy_snug.c). Wider ones lose on tunebench where
 * loading is dear (--loads 30, 8 seeds): area over trials falls from 0.894 to 0.887 at 0.5 and
 * 0.877 at 0, which is gain per second alone, and area over seconds from 0.891 to 0.886 at both. */
#define NEAR_FRAC 0.97
#define NEAR_STATED_MAX 8 /* true bytes stated for them */
/* A point this uncertain says nothing. */
#define NO_NEWS_SD 1e3
#define INERT_EVERY 4 /* trials between two decisions */
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
#define WEIGHT_SD 0.5

struct state {
    struct snug_gp *gp;       /* log speed of good trials */
    struct snug_gp *failures; /* 0 or 1 of all trials; fitted once there is a failure */
    int n_failed, n_low;      /* n_low: points of the GP that are of low rungs */
    struct snug__pool pool;
    int n_start;
    bool is_wide;                               /* the next ask looks at frozen rows too */
    struct snug__inert inert;                   /* as of the last trial that let it be decided */
    int told_of_point[SNUG_STRATEGY_TELLS_MAX]; /* GP point -> trial */
    double y[SNUG_STRATEGY_TELLS_MAX], prior[SNUG_STRATEGY_TELLS_MAX]; /* [GP point] log speed */
    double prior_level;  /* mean of what the prior said of good trials */
    double prior_weight; /* 0 to 1; 0 without a prior */
    double x[SNUG_STRATEGY_TELLS_MAX * SNUG_KNOBS_MAX]; /* [n_told][n_dims] features */
    struct snug_point points[SNUG_STRATEGY_TELLS_MAX];  /* [n_told]; speed 0 for failures */
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
    snug__pool_close(&st->pool);
    free(st);
    s->state = NULL;
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
        status = snug__pool_open(&st->pool, s, err);
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

/* Let the process model what the prior, weighed, leaves over. */
static void set_weight(struct state *st, double weight)
{
    double rest[SNUG_STRATEGY_TELLS_MAX];
    const int n = snug_gp_n(st->gp);
    for (int i = 0; i < n; i++)
        rest[i] = st->y[i] - weight * prior_or_level(st, st->prior[i]);
    snug_gp_set_values(st->gp, rest);
    st->prior_weight = weight;
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

/* The weight that explains best what was measured, at the present hyper-parameters. */
static double best_weight(struct state *st)
{
    double best = 0, best_value = -INFINITY;
    for (int k = 0; k <= WEIGHT_STEPS; k++) {
        const double weight = (double)k / WEIGHT_STEPS, off = (1 - weight) / WEIGHT_SD;
        set_weight(st, weight);
        const double value = snug_gp_evidence(st->gp) - 0.5 * off * off;
        if (value > best_value) {
            best_value = value;
            best = weight;
        }
    }
    return best;
}

/* Low rungs, as what is known of their bias by now makes them; nothing where the full trial of the
 * same config is told. */
static void correct_low_rungs(struct snug_strategy *s)
{
    struct state *st = s->state;
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
    struct state *st = s->state;
    const int n_evaluations = fit_evaluations(snug_gp_n(st->gp));
    set_level(st);
    correct_low_rungs(s);
    if (s->problem.prior || st->n_low > 0) /* first with the weight that the last tell left */
        set_weight(st, st->prior_weight);
    snug_status status = snug_gp_fit(st->gp, n_evaluations, err);
    if (status != SNUG_OK || !s->problem.prior)
        return status;
    const double before = st->prior_weight, weight = best_weight(st);
    set_weight(st, weight);
    return snug_gp_fit(st->gp, fabs(weight - before) > 0 ? n_evaluations : 0, err);
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
    st->n_low += o->rung > 0;
    status = fit_speed(s, err);
    if (status != SNUG_OK) {
        snug_gp_remove_last(st->gp);
        st->n_low -= o->rung > 0;
    }
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
    st->points[at] =
        is_ok && o->rung == 0 ? (struct snug_point){o->speed, o->bytes} : (struct snug_point){0};
    /* with another base a config may be on the front, but it is no point of the models */
    if (snug__lattice_has(&s->lattice, &o->config)) {
        int n_before = snug_gp_n(st->failures);
        status = learn_failure(st, x, !is_ok, err);
        if (status == SNUG_OK && is_ok)
            status = learn_speed(s, at, x, o, err);
        if (status != SNUG_OK && snug_gp_n(st->failures) > n_before)
            snug_gp_remove_last(st->failures); /* as if nothing had been told */
    }
    if (s->problem.drops_inert && s->n_told % INERT_EVERY == 0 &&
        snug__inert_learn(&st->inert, s, NULL) != SNUG_OK)
        st->inert.n_frozen = 0; /* a help, and no need */
    st->is_wide = s->n_told % INERT_EVERY == INERT_EVERY - 1;
    if (status == SNUG_OK && (o->rung == 0 || !is_ok))
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
        if (s->told[st->told_of_point[i]].rung == 0)
            st->points[st->told_of_point[i]].speed =
                exp(st->mean[i] + st->prior_weight * prior_or_level(st, st->prior[i]));
    free(x);
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

/* The front of the first n trials within bounds. */
static void build_front(struct snug_strategy *s, size_t n)
{
    struct state *st = s->state;
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
    for (int i = from; status == SNUG_OK && i < pool->n; i++) {
        pool->items[i].mean = st->pool_mean[i - from];
        if (s->problem.prior)
            pool->items[i].mean +=
                st->prior_weight * prior_or_level(st, ask_prior(s, &pool->items[i].config));
        pool->items[i].sd = st->pool_sd[i - from];
        const bool is_out =
            pool->items[i].was_told ||
            (!st->is_wide && !snug__inert_allows(&st->inert, &s->lattice, &pool->items[i].config));
        pool->items[i].score = is_out ? -1 : gain_of(s, i);
    }
    return status;
}

/* The item of highest score in from..n-1 that can still be chosen, or -1; the first among equals.
 */
static int best_item(const struct snug__pool *pool, int from)
{
    int best = -1;
    for (int i = from; i < pool->n; i++)
        if (pool->items[i].score > (best < 0 ? 0 : pool->items[best].score))
            best = i;
    return best;
}

/* Steps by single knobs from item `at` while the score grows. */
static snug_status climb(struct snug_strategy *s, int at, struct snug_error *err)
{
    struct state *st = s->state;
    for (int step = 0; step < CLIMB_STEPS; step++) {
        int from = st->pool.n;
        snug__pool_add_neighbours(&st->pool, s, &st->pool.items[at].config);
        snug_status status = from < st->pool.n ? score_items(s, from, err) : SNUG_OK;
        int next = best_item(&st->pool, from);
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
    snug_status status =
        st->pool.n > st->pool.n_fixed ? score_items(s, st->pool.n_fixed, err) : SNUG_OK;
    for (; n_start < CLIMBS; n_start++) {
        start[n_start] = best_item(&st->pool, 0);
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
        int i = best_item(&st->pool, 0);
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

/* Of the items that gain nearly as much as the best, the one that gains most per second. */
static int choose_cheaper(struct snug_strategy *s, int best)
{
    struct snug__pool *pool = &((struct state *)s->state)->pool;
    const double enough = NEAR_FRAC * pool->items[best].score;
    for (int n_stated = 0; n_stated < NEAR_STATED_MAX;) {
        const int i = snug__trial_cost_choose(s, pool, best, enough, false);
        if (pool->items[i].state != SNUG__BYTES_GUESSED)
            return i;
        const bool can_run = snug__pool_state_bytes(pool, s, i);
        pool->items[i].score = can_run ? gain_of(s, i) : -1;
        n_stated += can_run;
    }
    return snug__trial_cost_choose(s, pool, best, enough, true);
}

static bool is_converged(struct snug_strategy *s, double area, double gain)
{
    const struct state *st = s->state;
    if (s->n_told < (size_t)st->n_start + STOP_AFTER || !(gain < STOP_GAIN_FRAC * area))
        return false;
    build_front(s, s->n_told - STOP_WINDOW);
    return area - snug_ehvi_area(&st->front) < STOP_GAIN_FRAC * area;
}

/* The front as it is believed, and all candidates scored against it. */
static snug_status rank_candidates(struct snug_strategy *s, struct snug_error *err)
{
    struct state *st = s->state;
    snug_status status = smooth_points(s, err);
    if (status != SNUG_OK)
        return status;
    build_front(s, s->n_told);
    snug__pool_begin(&st->pool, s);
    status = score_items(s, 0, err);
    if (status == SNUG_OK && !st->pool.is_whole)
        status = refine(s, err);
    return status;
}

static snug_status ask_model(struct snug_strategy *s, struct snug_config *out_config,
                             struct snug_ask_info *out_info, struct snug_error *err)
{
    struct state *st = s->state;
    const snug_status status = rank_candidates(s, err);
    if (status != SNUG_OK)
        return status;
    double area = snug_ehvi_area(&st->front);
    int best = choose(s);
    double gain = best < 0 ? 0 : st->pool.items[best].score;
    if (is_converged(s, area, gain))
        return snug_fail(err, SNUG_NOT_FOUND,
                         "converged: the best candidate would add %.2g %% to the front",
                         100 * gain / area);
    if (best < 0) /* nothing is expected to gain, but it is too early to stop */
        return snug__strategy_sobol_config(s, out_config, err);
    const struct snug__candidate *item = &st->pool.items[choose_cheaper(s, best)];
    gain = item->score;
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

/* The config told last is no candidate of its own rival. */
static void set_last_aside(struct snug_strategy *s)
{
    struct snug__pool *pool = &((struct state *)s->state)->pool;
    const uint64_t hash = snug__lattice_hash(&s->lattice, &s->told[s->n_told - 1].config);
    for (int i = 0; i < pool->n; i++)
        if (pool->hash[i] == hash)
            pool->items[i].score = -1;
}

/* Gain per second of the last trial, were it measured in full, against that of the best other. */
static snug_status promotes(struct snug_strategy *s, bool *out, struct snug_error *err)
{
    struct state *st = s->state;
    const int last = snug_gp_n(st->gp) - 1, at = (int)s->n_told - 1;
    if (at + 1 < st->n_start || last < 0 || st->told_of_point[last] != at)
        return SNUG_OK; /* the model needs trials that it can rely on */
    const snug_status status = rank_candidates(s, err); /* st->mean is of GP points then */
    if (status != SNUG_OK)
        return status;
    set_last_aside(s);
    const int best = choose(s);
    if (best < 0)
        return SNUG_OK;
    const struct snug__candidate *item = &st->pool.items[best];
    const double mean = st->mean[last] + st->prior_weight * prior_or_level(st, st->prior[last]);
    const double frac = (double)s->told[at].bytes / (double)s->problem.bounds.bytes_ref;
    struct snug__trial_cost cost;
    snug__trial_cost_learn(&cost, s->told, s->n_told);
    const bool must_load =
        snug__trial_cost_must_load(s->problem.space, s->told, s->n_told, &item->config);
    *out = snug_ehvi(&st->front, mean, st->sd[last], frac) /
               snug__trial_cost_seconds(&cost, mean, false) >=
           item->score / snug__trial_cost_seconds(&cost, item->mean, must_load);
    return SNUG_OK;
}

const struct snug__strategy_kind snug__strategy_snug = {
    .open = open_state,
    .promotes = promotes,
    .close = close_state,
    .ask = ask,
    .tell = tell,
    .believe = believe,
};
