/* LaTune's search, twice. Two plain processes (speed, bytes; Matern 3/2, z-scored), expected
 * hypervolume improvement by random normals, the worst seen as reference; what failed enters as
 * speed 0 and the limit's bytes, a good observation like others. Five Sobol points begin.
 *
 * "latune-like" is as described: all data, standard deviations, one pick at a time out of 1000
 * candidates with common normals. "latune-as-coded" keeps three defects of its published code: it
 * learns from the last 5 observations only, takes a variance for a standard deviation, and picks
 * the top 5 of 100 candidates at once with new normals for each. Knob selection has nothing to do
 * on tables of few knobs (it keeps five), and is not charged; nor is there a task to start from. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "perf/tunebench/methods.h"
#include "perf/tunebench/methods/plain_gp.h"
#include "snug/stats.h"

enum { N_START = 5, BATCH = 5, WINDOW = 5, CANDIDATES_MAX = 1000, N_NORMALS = 128 };

struct state {
    struct tb_gp speed, bytes;
    double front[SNUG_STRATEGY_TELLS_MAX][2], ref[2];
    int n_front;
    double normals[N_NORMALS][2];
    struct snug_config candidates[CANDIDATES_MAX];
    double score[CANDIDATES_MAX];
    struct snug_config batch[BATCH]; /* as coded: what is left of the last top 5 */
    int n_batch;
    size_t n_batch_told; /* told when the batch was made */
};

static snug_status open_state(struct snug_strategy *s, struct snug_error *err)
{
    s->state = calloc(1, sizeof(struct state));
    return s->state ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "latune");
}

static void close_state(struct snug_strategy *s)
{
    free(s->state);
    s->state = NULL;
}

/* The pair LaTune learns of a trial: speed, and bytes so that more is better. */
static void values_of(const struct snug_strategy *s, const struct snug_observation *o,
                      double out[2])
{
    const bool is_ok = o->outcome == SNUG_TRIAL_OK;
    const uint64_t limit =
        s->problem.bytes_limit ? s->problem.bytes_limit : s->problem.bounds.bytes_ref;
    out[0] = is_ok ? o->speed : 0;
    out[1] = -(double)(is_ok ? o->bytes : limit);
}

static void learn(struct snug_strategy *s, size_t from)
{
    struct state *st = s->state;
    tb_gp_clear(&st->speed, s->lattice.n_dims, false);
    tb_gp_clear(&st->bytes, s->lattice.n_dims, false);
    st->ref[0] = st->ref[1] = INFINITY;
    st->n_front = 0;
    for (size_t i = 0; i < s->n_told; i++) {
        double x[SNUG_KNOBS_MAX], y[2];
        values_of(s, &s->told[i], y);
        for (int f = 0; f < 2; f++)
            st->ref[f] = fmin(st->ref[f], y[f]);
        memcpy(st->front[st->n_front++], y, sizeof y);
        tb_gp_features(&s->lattice, &s->told[i].config, x);
        if (i >= from) {
            tb_gp_add(&st->speed, x, y[0]);
            tb_gp_add(&st->bytes, x, y[1]);
        }
    }
    st->n_front = tb_area_front(st->front, st->n_front);
    tb_gp_fit(&st->speed);
    tb_gp_fit(&st->bytes);
}

static void draw_normals(struct state *st, struct snug_rng *rng)
{
    for (int i = 0; i < N_NORMALS; i++)
        for (int f = 0; f < 2; f++)
            st->normals[i][f] = snug_rng_normal(rng);
}

/* Expected area gained, in units of the two values. */
static double expected_gain(const struct snug_strategy *s, const struct snug_config *config,
                            bool is_coded)
{
    const struct state *st = s->state;
    double x[SNUG_KNOBS_MAX], mean[2], sd[2], sum = 0;
    tb_gp_features(&s->lattice, config, x);
    tb_gp_predict(&st->speed, x, &mean[0], &sd[0]);
    tb_gp_predict(&st->bytes, x, &mean[1], &sd[1]);
    for (int i = 0; i < N_NORMALS; i++) {
        double y[2];
        for (int f = 0; f < 2; f++)
            y[f] = mean[f] + (is_coded ? sd[f] * sd[f] : sd[f]) * st->normals[i][f];
        sum += tb_area_gain((const double(*)[2])st->front, st->n_front, st->ref, y[0], y[1]);
    }
    return sum / N_NORMALS;
}

/* Uniform candidates that can run and were not told; returns how many. */
static int draw_candidates(const struct snug_strategy *s, int n_wanted, struct snug_rng *rng)
{
    struct state *st = s->state;
    int n = 0;
    for (int i = 0; i < 4 * n_wanted && n < n_wanted; i++) {
        double u[SNUG_KNOBS_MAX];
        for (int d = 0; d < s->lattice.n_dims; d++)
            u[d] = snug_rng_double(rng);
        snug__lattice_from_unit(&s->lattice, u, &st->candidates[n]);
        n += !snug__strategy_was_told(s, &st->candidates[n]) &&
             snug__strategy_can_run(s, &st->candidates[n], NULL);
    }
    return n;
}

static int best_of(const struct state *st, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (st->score[i] > st->score[best])
            best = i;
    return best;
}

static snug_status ask_described(struct snug_strategy *s, struct snug_config *out_config,
                                 struct snug_ask_info *out_info, struct snug_error *err)
{
    struct state *st = s->state;
    struct snug_rng rng;
    (void)out_info;
    if (s->n_told < N_START)
        return snug__strategy_sobol_config(s, out_config, err);
    learn(s, 0);
    snug_rng_init(&rng, s->problem.seed ^ (UINT64_C(0x1d8e4e27c47d124f) * (s->n_told + 1)));
    draw_normals(st, &rng);
    const int n = draw_candidates(s, CANDIDATES_MAX, &rng);
    for (int i = 0; i < n; i++)
        st->score[i] = expected_gain(s, &st->candidates[i], false);
    if (n == 0)
        return snug__strategy_sobol_config(s, out_config, err);
    *out_config = st->candidates[best_of(st, n)];
    return SNUG_OK;
}

/* A new batch: the top 5 of 100, each scored by its own normals. */
static void make_batch(struct snug_strategy *s)
{
    struct state *st = s->state;
    struct snug_rng rng;
    learn(s, s->n_told > WINDOW ? s->n_told - WINDOW : 0);
    snug_rng_init(&rng, s->problem.seed ^ (UINT64_C(0xeb44accab455d165) * (s->n_told + 1)));
    const int n = draw_candidates(s, 100, &rng);
    for (int i = 0; i < n; i++) {
        draw_normals(st, &rng);
        st->score[i] = expected_gain(s, &st->candidates[i], true);
    }
    st->n_batch_told = s->n_told;
    st->n_batch = n < BATCH ? n : BATCH;
    for (int k = 0; k < st->n_batch; k++) {
        const int best = best_of(st, n);
        st->batch[k] = st->candidates[best];
        st->score[best] = -INFINITY;
    }
}

static snug_status ask_coded(struct snug_strategy *s, struct snug_config *out_config,
                             struct snug_ask_info *out_info, struct snug_error *err)
{
    struct state *st = s->state;
    (void)out_info;
    if (s->n_told < N_START)
        return snug__strategy_sobol_config(s, out_config, err);
    if (s->n_told >= st->n_batch_told + (size_t)st->n_batch)
        make_batch(s);
    if (st->n_batch == 0)
        return snug__strategy_sobol_config(s, out_config, err);
    *out_config = st->batch[s->n_told - st->n_batch_told];
    return SNUG_OK;
}

const struct snug__strategy_kind tb_kind_latune = {
    .open = open_state, .close = close_state, .ask = ask_described};
const struct snug__strategy_kind tb_kind_latune_coded = {
    .open = open_state, .close = close_state, .ask = ask_coded, .may_repeat = true};
