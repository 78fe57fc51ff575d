/* "restune-like": ReSTune (Zhang et al., SIGMOD 2021) keeps a floor of speed and minimises a
 * resource by constrained expected improvement, with plain processes (Matern 5/2) for both. A front
 * has many floors: so the floor is swept over the range of speeds seen, one step per trial. With a
 * past table its processes join the target's, each weighed by how well it ranks what was measured
 * here: 1 less twice the share of pairs it has the wrong way round, the target's own by leaving
 * each trial out. Without one, the target's own process is all. */
#include <math.h>
#include <stdlib.h>

#include "perf/tunebench/methods.h"
#include "perf/tunebench/methods/plain_gp.h"
#include "perf/tunebench/tunebench.h"
#include "snug/stats.h"
#include "tune/ehvi.h"

enum { N_START = 5, N_CANDIDATES = 1000, N_FLOORS = 8, N_PAST = 40 };

/* Log speed, and bytes as a share of the reference's. */
struct state {
    struct tb_gp speed, bytes, left_out;
    struct tb_gp past_speed, past_bytes; /* without points: no past */
    double past_share;                   /* weight of the past, 0 to 1 */
};

/* Features of a past config in the dims of this space; a row that was not there: its middle. */
static void past_features(const struct snug_strategy *s, const struct snug__lattice *past,
                          const struct snug_config *config, double *x)
{
    double had[SNUG_KNOBS_MAX];
    tb_gp_features(past, config, had);
    for (int d = 0; d < s->lattice.n_dims; d++) {
        const char *name = s->problem.space->knobs[s->lattice.row[d]].name;
        const int row = snug_space_find(past->space, name);
        x[d] = 0.5;
        for (int k = 0; k < past->n_dims; k++)
            if (past->row[k] == row)
                x[d] = had[k];
    }
}

/* What a past task left: so many trials of random configs that ran. */
static void learn_past(struct snug_strategy *s, const struct tb_table *past)
{
    struct state *st = s->state;
    struct snug__lattice lattice;
    struct snug_rng rng;
    snug__lattice_init(&lattice, &past->table->space, &(struct snug_config){0});
    snug_rng_init(&rng, s->problem.seed + 17);
    while (st->past_speed.n < N_PAST) {
        const struct snug__table_cell *cell =
            &past->table->cells[snug_rng_below(&rng, past->table->n_cells)];
        const struct snug_point p = tb_table_point(past, &cell->config);
        double x[SNUG_KNOBS_MAX];
        if (!(p.speed > 0))
            continue;
        past_features(s, &lattice, &cell->config, x);
        tb_gp_add(&st->past_speed, x, log(p.speed));
        tb_gp_add(&st->past_bytes, x, (double)p.bytes);
    }
    tb_gp_fit(&st->past_speed);
    tb_gp_fit(&st->past_bytes);
}

static snug_status open_state(struct snug_strategy *s, struct snug_error *err)
{
    struct state *st = calloc(1, sizeof *st);
    s->state = st;
    if (!st)
        return snug_fail(err, SNUG_NO_MEMORY, "restune");
    tb_gp_clear(&st->past_speed, s->lattice.n_dims, true);
    tb_gp_clear(&st->past_bytes, s->lattice.n_dims, true);
    const struct tb_session *past = tb_sessions_of(s->problem.seed);
    if (past)
        learn_past(s, past->table);
    return SNUG_OK;
}

static void close_state(struct snug_strategy *s)
{
    free(s->state);
    s->state = NULL;
}

static void learn(struct snug_strategy *s)
{
    struct state *st = s->state;
    tb_gp_clear(&st->speed, s->lattice.n_dims, true);
    tb_gp_clear(&st->bytes, s->lattice.n_dims, true);
    for (size_t i = 0; i < s->n_told; i++) {
        const struct snug_observation *o = &s->told[i];
        double x[SNUG_KNOBS_MAX];
        if (o->outcome != SNUG_TRIAL_OK)
            continue;
        tb_gp_features(&s->lattice, &o->config, x);
        tb_gp_add(&st->speed, x, log(o->speed));
        tb_gp_add(&st->bytes, x, (double)o->bytes / (double)s->problem.bounds.bytes_ref);
    }
    tb_gp_fit(&st->speed);
    tb_gp_fit(&st->bytes);
}

/* Share of pairs that predictions put the wrong way round. */
static double misranked(const struct tb_gp *target, const double *predicted)
{
    int n_wrong = 0, n_pairs = 0;
    for (int i = 0; i < target->n; i++)
        for (int k = 0; k < i; k++, n_pairs++)
            n_wrong += (target->y[i] < target->y[k]) != (predicted[i] < predicted[k]);
    return n_pairs ? (double)n_wrong / n_pairs : 0.5;
}

/* Predict each of the target's points from all others, at the target's length and noise. */
static void predict_left_out(struct state *st, double *out)
{
    for (int i = 0; i < st->speed.n; i++) {
        double sd;
        tb_gp_clear(&st->left_out, st->speed.n_dims, true);
        for (int k = 0; k < st->speed.n; k++)
            if (k != i)
                tb_gp_add(&st->left_out, st->speed.x[k], st->speed.y[k]);
        tb_gp_fit_at(&st->left_out, st->speed.length, st->speed.noise_var);
        tb_gp_predict(&st->left_out, st->speed.x[i], &out[i], &sd);
    }
}

static void weigh_past(struct state *st)
{
    double own[TB_GP_MAX], past[TB_GP_MAX], sd;
    st->past_share = 0;
    if (st->past_speed.n == 0 || st->speed.n < 2)
        return;
    predict_left_out(st, own);
    for (int i = 0; i < st->speed.n; i++)
        tb_gp_predict(&st->past_speed, st->speed.x[i], &past[i], &sd);
    const double a = fmax(1 - 2 * misranked(&st->speed, own), 0);
    const double b = fmax(1 - 2 * misranked(&st->speed, past), 0);
    st->past_share = a + b > 0 ? b / (a + b) : 0;
}

/* The target's process and the past's, in the target's units: means are mixed, and so is spread. */
static void predict(const struct tb_gp *own, const struct tb_gp *past, double share,
                    const double *x, double *out_mean, double *out_sd)
{
    tb_gp_predict(own, x, out_mean, out_sd);
    if (!(share > 0))
        return;
    double mean, sd;
    tb_gp_predict(past, x, &mean, &sd);
    *out_mean =
        (1 - share) * *out_mean + share * (own->mean + own->sd * (mean - past->mean) / past->sd);
    *out_sd = (1 - share) * *out_sd + share * own->sd * sd / past->sd;
}

/* This trial's floor, between the slowest and the fastest seen, and the least bytes above it. */
static double choose_floor(const struct snug_strategy *s, double *out_least)
{
    double lo = INFINITY, hi = -INFINITY;
    for (size_t i = 0; i < s->n_told; i++)
        if (s->told[i].outcome == SNUG_TRIAL_OK) {
            lo = fmin(lo, log(s->told[i].speed));
            hi = fmax(hi, log(s->told[i].speed));
        }
    const double floor = lo + (hi - lo) * (double)(s->n_told % N_FLOORS + 1) / N_FLOORS;
    *out_least = 1;
    for (size_t i = 0; i < s->n_told; i++)
        if (s->told[i].outcome == SNUG_TRIAL_OK && log(s->told[i].speed) >= floor)
            *out_least =
                fmin(*out_least, (double)s->told[i].bytes / (double)s->problem.bounds.bytes_ref);
    return floor;
}

static double score(const struct snug_strategy *s, const struct snug_config *config, double floor,
                    double least)
{
    const struct state *st = s->state;
    double x[SNUG_KNOBS_MAX], mean, sd, bytes, bytes_sd;
    tb_gp_features(&s->lattice, config, x);
    predict(&st->speed, &st->past_speed, st->past_share, x, &mean, &sd);
    predict(&st->bytes, &st->past_bytes, st->past_share, x, &bytes, &bytes_sd);
    const double chance = 0.5 * erfc((floor - mean) / (sd * sqrt(2)));
    return chance * snug_ehvi_expected_excess(-bytes, bytes_sd, -least);
}

static snug_status ask(struct snug_strategy *s, struct snug_config *out_config,
                       struct snug_ask_info *out_info, struct snug_error *err)
{
    struct snug_rng rng;
    double least = 1, best = -1;
    (void)out_info;
    if (s->n_told < N_START)
        return snug__strategy_sobol_config(s, out_config, err);
    learn(s);
    weigh_past(s->state);
    const double floor = choose_floor(s, &least);
    snug_rng_init(&rng, s->problem.seed ^ (UINT64_C(0x2f2e9ad1b1a5b3c7) * (s->n_told + 1)));
    for (int i = 0; i < N_CANDIDATES; i++) {
        double u[SNUG_KNOBS_MAX];
        struct snug_config config;
        for (int d = 0; d < s->lattice.n_dims; d++)
            u[d] = snug_rng_double(&rng);
        snug__lattice_from_unit(&s->lattice, u, &config);
        if (snug__strategy_was_told(s, &config) || !snug__strategy_can_run(s, &config, NULL))
            continue;
        const double gain = score(s, &config, floor, least);
        if (gain > best) {
            best = gain;
            *out_config = config;
        }
    }
    return best >= 0 ? SNUG_OK : snug__strategy_sobol_config(s, out_config, err);
}

const struct snug__strategy_kind tb_kind_restune = {
    .open = open_state, .close = close_state, .ask = ask};
