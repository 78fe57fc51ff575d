/* Strategy "snug": learn log speed with a Gaussian process, ask where the front is expected to grow
 * most.
 *
 * 1. Start: the first max(4, min(n_dims / 2 + 1, n_trials / 4)) trials, the default and --fit's
 *    among them, are points of the scrambled Sobol sequence; 2 with a prior or a past.
 * 2. Then one at a time: hyper-parameters are learned at every tell, past 48 points seldom; ask
 *    scores candidates by exact expected hypervolume improvement (ehvi.c) times the chance that
 *    they run at all, and takes the best. Bytes are known, not learned. The front stands on the
 *    model's mean at the measured configs, not on their measured speeds: the luckiest of noisy
 *    maxima would raise the bar.
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
 *    four trials (eight with a prior or a past) together grew it by less than that, not before
 *    start + 5 trials (+ 9). Both sides are needed: a model that just missed can be sure of itself.
 *    It looks at tells only, so a resumed session stops where an unbroken one would.
 * 8. A goal of other axes, or with limits: axes.c. What is said of speed here holds for its first
 *    learned axis.
 * 9. Seconds (trial_cost.h): where loading is dear, of candidates that gain as much as the best but
 *    for a guess's width the one that gains most per second is asked, mostly one that loads
 *    nothing.
 * 10. On wish, rows that seem to change nothing (inert.h) are kept at one value by three asks of
 *    four; it is decided anew every four tells, from the twelfth trial on. The kernel's lengths do
 *    the same more softly, and as well on all tables: so not by default.
 * 11. Low rungs of the effort ladder (ladder.h) are points with a learned bias and more noise,
 *    until more of the config is told. One goes on in full when it gains as much per second as the
 *    best of the others would, and by the next rung first where knowing that much more before the
 *    full trial is worth the rung's seconds. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tune/ladder.h"
#include "tune/strategies/snug_model.h"
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
#define CLIMBS 3
#define CLIMB_STEPS 8
#define CHANCE_MIN 1e-3    /* never out of the question: the last resort is still ordered by gain */
#define CHANCES_AT_ONCE 64 /* most are never asked for: see settle */
/* True bytes stated per ask once one candidate is known to run. */
#define STATE_BYTES_MAX 64

static_assert(SNUG__POOL_SAMPLE + SNUG__POOL_ADDED_MAX <= SNUG__POOL_WHOLE_MAX, "pool_mean fits");
static_assert(SNUG_STRATEGY_TELLS_MAX <= SNUG_GP_POINTS_MAX, "every trial fits the model");
static_assert(SNUG_KNOBS_MAX <= SNUG_GP_DIMS_MAX && SNUG_KNOBS_MAX <= SNUG_SOBOL_DIMS_MAX, "dims");

static void close_state(struct snug_strategy *s)
{
    struct snug__model_state *st = s->state;
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
    struct snug__model_state *st = s->state;
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
    struct snug__model_state *st = calloc(1, sizeof *st);
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

/* The front of the first n trials within bounds, and its area. */
static snug_status build_front(struct snug_strategy *s, size_t n, double *out_area,
                               struct snug_error *err)
{
    struct snug__model_state *st = s->state;
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
    const struct snug__model_state *st = s->state;
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

/* P(item runs) of the items listed, and their scores with it. */
static snug_status take_chances(struct snug_strategy *s, const int *items, int n,
                                struct snug_error *err)
{
    struct snug__model_state *st = s->state;
    double x[CHANCES_AT_ONCE * SNUG_KNOBS_MAX] = {0}, mean[CHANCES_AT_ONCE], sd[CHANCES_AT_ONCE];
    const size_t n_dims = (size_t)s->lattice.n_dims;
    for (int k = 0; k < n; k++)
        memcpy(x + (size_t)k * n_dims, st->pool.x + (size_t)items[k] * n_dims, n_dims * sizeof *x);
    const snug_status status = snug_gp_predict(st->failures, x, (size_t)n, mean, sd, err);
    for (int k = 0; status == SNUG_OK && k < n; k++) {
        struct snug__candidate *item = &st->pool.items[items[k]];
        item->chance =
            fmax(0.5 * erfc((mean[k] - 0.5) / (fmax(sd[k], 1e-9) * sqrt(2))), CHANCE_MIN);
        item->knows_chance = true;
        item->score *= item->chance;
    }
    return status;
}

/* Put i among the n highest scores, of at most cap, in descending order; returns how many there
 * are. */
static int insert_highest(const struct snug__pool *pool, int *items, int n, int cap, int i)
{
    int at = n < cap ? n : cap - 1;
    if (n == cap && pool->items[i].score <= pool->items[items[at]].score)
        return n;
    for (; at > 0 && pool->items[items[at - 1]].score < pool->items[i].score; at--)
        items[at] = items[at - 1];
    items[at] = i;
    return n < cap ? n + 1 : n;
}

/* Ask for chances only where they matter: until they are known of the best n of items from.. and
 * of all that come within frac of the last of these. The score of another is what it would be if
 * it ran for sure. */
static snug_status settle(struct snug_strategy *s, int from, int n, double frac,
                          struct snug_error *err)
{
    const struct snug__pool *pool = &((struct snug__model_state *)s->state)->pool;
    snug_status status = SNUG_OK;
    int n_open = 1;
    while (status == SNUG_OK && n_open > 0) {
        int known[CLIMBS], open[CHANCES_AT_ONCE], n_known = 0;
        for (int i = from; i < pool->n; i++)
            if (pool->items[i].knows_chance && pool->items[i].score > 0)
                n_known = insert_highest(pool, known, n_known, n, i);
        const double least = n_known < n ? 0 : frac * pool->items[known[n - 1]].score;
        n_open = 0;
        for (int i = from; i < pool->n; i++)
            if (!pool->items[i].knows_chance && pool->items[i].score > 0 &&
                pool->items[i].score >= least)
                n_open = insert_highest(pool, open, n_open, CHANCES_AT_ONCE, i);
        if (n_open > 0)
            status = take_chances(s, open, n_open, err);
    }
    return status;
}

/* Add what past tasks expect, weighed, to the means of items from..n-1. */
static snug_status add_past(struct snug_strategy *s, int from, struct snug_error *err)
{
    struct snug__model_state *st = s->state;
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

static bool is_out(const struct snug_strategy *s, const struct snug__candidate *item)
{
    const struct snug__model_state *st = s->state;
    return item->was_told ||
           (!st->is_wide && !snug__inert_allows(&st->inert, &s->lattice, &item->config));
}

/* Predict and score items from..n-1, as if they ran for sure: see settle. */
static snug_status score_items(struct snug_strategy *s, int from, struct snug_error *err)
{
    struct snug__model_state *st = s->state;
    struct snug__pool *pool = &st->pool;
    const double *x = pool->x + (size_t)from * (size_t)s->lattice.n_dims;
    snug_status status =
        snug_gp_predict(st->gp, x, (size_t)(pool->n - from), st->pool_mean, st->pool_sd, err);
    if (status == SNUG_OK && st->axes)
        status = snug__axes_predict(st->axes, s, pool, from, err);
    for (int i = from; status == SNUG_OK && i < pool->n; i++) {
        pool->items[i].chance = 1;
        pool->items[i].knows_chance = st->n_failed == 0;
        pool->items[i].mean = st->pool_mean[i - from];
        if (s->problem.prior)
            pool->items[i].mean +=
                st->prior_weight *
                snug__model_prior_or_level(st, snug__model_ask_prior(s, &pool->items[i].config));
        pool->items[i].sd = st->pool_sd[i - from];
    }
    if (status == SNUG_OK && st->past_weight > 0)
        status = add_past(s, from, err);
    for (int i = from; status == SNUG_OK && i < pool->n; i++)
        pool->items[i].score = is_out(s, &pool->items[i]) ? -1 : gain_of(s, i);
    return status;
}

/* Steps by single knobs from item `at` while the score grows. */
static snug_status climb(struct snug_strategy *s, int at, struct snug_error *err)
{
    struct snug__model_state *st = s->state;
    for (int step = 0; step < CLIMB_STEPS; step++) {
        int from = st->pool.n;
        snug__pool_add_neighbours(&st->pool, s, &st->pool.items[at].config);
        snug_status status = from < st->pool.n ? score_items(s, from, err) : SNUG_OK;
        if (status == SNUG_OK)
            status = settle(s, from, 1, 1, err);
        int next = snug__pool_best(&st->pool, from);
        if (status != SNUG_OK)
            return status;
        if (next < 0 || st->pool.items[next].score <= st->pool.items[at].score)
            break;
        at = next;
    }
    return SNUG_OK;
}

/* Neighbours of the front, what was best in the past, then climbs from the best candidates; only
 * where not all are listed. */
static snug_status refine(struct snug_strategy *s, struct snug_error *err)
{
    struct snug__model_state *st = s->state;
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
    if (status == SNUG_OK)
        status = settle(s, 0, CLIMBS, 1, err);
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
 * each gets its true bytes and score, until none left could win. Chances are known of all that
 * nearly win. */
static snug_status choose(struct snug_strategy *s, int *out_item, struct snug_error *err)
{
    struct snug__model_state *st = s->state;
    int chosen = -1;
    for (int n_stated = 0; n_stated < STATE_BYTES_MAX || chosen < 0;) {
        const snug_status status = settle(s, 0, 1, NEAR_FRAC, err);
        if (status != SNUG_OK)
            return status;
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
    *out_item = chosen;
    return SNUG_OK;
}

/* Of the items that gain nearly as much as the best, the one that gains most per second. */
static int choose_cheaper(struct snug_strategy *s, int best)
{
    struct snug__pool *pool = &((struct snug__model_state *)s->state)->pool;
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

/* Leaves the front of earlier trials behind. */
static bool is_converged(struct snug_strategy *s, double area, double gain)
{
    const struct snug__model_state *st = s->state;
    double before = 0;
    /* who begins where a past ended grows little from the start, and has seen little yet */
    const size_t window = st->transfer || s->problem.prior ? 2 * STOP_WINDOW : STOP_WINDOW;
    const size_t least = (size_t)st->n_start + STOP_AFTER + window - STOP_WINDOW;
    if (s->n_told < least || !(gain < STOP_GAIN_FRAC * area))
        return false;
    return build_front(s, s->n_told - window, &before, NULL) == SNUG_OK &&
           area - before < STOP_GAIN_FRAC * area;
}

/* The front as it is believed, its area, and all candidates scored against it. */
static snug_status rank_candidates(struct snug_strategy *s, double *out_area,
                                   struct snug_error *err)
{
    struct snug__model_state *st = s->state;
    snug_status status = snug__model_smooth(s, err);
    if (status != SNUG_OK)
        return status;
    status = build_front(s, s->n_told, out_area, err);
    if (status != SNUG_OK)
        return status;
    snug__pool_begin(&st->pool, s);
    status = score_items(s, 0, err);
    if (status == SNUG_OK && !st->pool.is_whole)
        status = refine(s, err);
    return status;
}

static snug_status ask_model(struct snug_strategy *s, struct snug_config *out_config,
                             struct snug_ask_info *out_info, struct snug_error *err)
{
    struct snug__model_state *st = s->state;
    double area = 0;
    int best = -1;
    snug_status status = rank_candidates(s, &area, err);
    if (status == SNUG_OK)
        status = choose(s, &best, err);
    if (status != SNUG_OK)
        return status;
    const int chosen = best < 0 ? best : choose_cheaper(s, best); /* by the front of all told */
    double gain = best < 0 ? 0 : st->pool.items[best].score;
    if (is_converged(s, area, gain))
        return snug_fail(err, SNUG_NOT_FOUND,
                         "converged: the best candidate would add %.2g %% to the front",
                         100 * gain / area);
    if (best < 0) /* nothing is expected to gain, but it is too early to stop */
        return snug__strategy_sobol_config(s, out_config, err);
    const struct snug__candidate *item = &st->pool.items[chosen];
    gain = item->score;
    *out_config = item->config;
    out_info->expected_gain = area > 0 ? gain / area : (double)NAN;
    out_info->predicted_speed = exp(item->mean);
    out_info->predicted_log_sd = item->sd;
    for (int i = 0; i < st->pool.n; i++)
        out_info->n_candidates += !is_out(s, &st->pool.items[i]);
    return SNUG_OK;
}

static snug_status ask(struct snug_strategy *s, struct snug_config *out_config,
                       struct snug_ask_info *out_info, struct snug_error *err)
{
    const struct snug__model_state *st = s->state;
    if (s->n_told < (size_t)st->n_start || snug_gp_n(st->gp) < 1)
        return snug__strategy_sobol_config(s, out_config, err);
    return ask_model(s, out_config, out_info, err);
}

/* The config told last is no candidate of its own rival. */
static void set_last_aside(struct snug_strategy *s)
{
    struct snug__pool *pool = &((struct snug__model_state *)s->state)->pool;
    const uint64_t hash = snug__lattice_hash(&s->lattice, &s->told[s->n_told - 1].config);
    for (int i = 0; i < pool->n; i++)
        if (pool->hash[i] == hash)
            pool->items[i].score = -1;
}

/* What the speed of a config would be worth, were it measured in full. */
struct offer {
    double mean, sd, bytes_frac;
    double full_s;    /* seconds of that trial */
    double elsewhere; /* gain per second of the best other config */
};

/* Of gain over what the seconds are worth elsewhere, the expectation after a rung that measures
 * within noise_sd: it will go on in full only where that pays (Gauss-Hermite, five points). */
static double worth_of_rung(const struct snug__model_state *st, const struct offer *o,
                            double noise_sd, double rung_s)
{
    static const double z[] = {-2.8569700138728056, -1.3556261799742659, 0, 1.3556261799742659,
                               2.8569700138728056};
    static const double weight[] = {0.011257411327720693, 0.2220759220056126, 0.5333333333333333,
                                    0.2220759220056126, 0.011257411327720693};
    const double told = o->sd / hypot(o->sd, noise_sd), left = noise_sd / hypot(o->sd, noise_sd);
    double sum = 0;
    for (size_t k = 0; k < sizeof z / sizeof *z; k++) {
        const double mean = o->mean + z[k] * told * o->sd;
        const double gain = snug_ehvi(&st->front, mean, left * o->sd, o->bytes_frac);
        sum += weight[k] * fmax(gain - o->elsewhere * o->full_s, 0);
    }
    return sum - o->elsewhere * rung_s;
}

/* Whatever gains most over what its seconds would gain with the best other config. */
static snug_status climb_ladder(struct snug_strategy *s, int next, int *out_rung,
                                struct snug_error *err)
{
    struct snug__model_state *st = s->state;
    const int last = snug_gp_n(st->gp) - 1, at = (int)s->n_told - 1;
    if (at + 1 < st->n_start || last < 0 || st->told_of_point[last] != at)
        return SNUG_OK; /* the model needs trials that it can rely on */
    double area = 0;
    int best = -1;
    snug_status status = rank_candidates(s, &area, err); /* st->mean is of GP points then */
    if (status != SNUG_OK)
        return status;
    set_last_aside(s);
    status = choose(s, &best, err);
    if (status != SNUG_OK || best < 0)
        return status;
    const struct snug__candidate *item = &st->pool.items[best];
    struct snug__trial_cost cost;
    snug__trial_cost_learn(&cost, s->told, s->n_told);
    const bool must_load =
        snug__trial_cost_must_load(s->problem.space, s->told, s->n_told, &item->config);
    struct offer offer = {
        .mean = st->mean[last] + snug__model_expected(st, last),
        .sd = st->sd[last],
        .bytes_frac = (double)s->told[at].bytes / (double)s->problem.bounds.bytes_ref,
        .elsewhere = item->score / snug__trial_cost_seconds(&cost, item->mean, must_load),
    };
    offer.full_s = snug__trial_cost_seconds(&cost, offer.mean, false);
    const double full = snug_ehvi(&st->front, offer.mean, offer.sd, offer.bytes_frac) -
                        offer.elsewhere * offer.full_s;
    double more = -1;
    if (next > 0) {
        struct snug__ladder_bias bias;
        snug__ladder_learn(s->problem.space, s->told, s->n_told, next, &bias);
        more = worth_of_rung(st, &offer, bias.sd, cost.rung_frac[next] * offer.full_s);
    }
    *out_rung = full >= fmax(more, 0) ? 0 : more >= 0 ? next : SNUG__CLIMB_ENDS;
    return SNUG_OK;
}

const struct snug__strategy_kind snug__strategy_snug = {
    .open = open_state,
    .climb = climb_ladder,
    .close = close_state,
    .ask = ask,
    .tell = snug__model_tell,
    .believe = snug__model_believe,
};
