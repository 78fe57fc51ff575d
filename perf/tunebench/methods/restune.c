/* "restune-like": ReSTune (Zhang et al., SIGMOD 2021) keeps a floor of speed and minimises a
 * resource by constrained expected improvement, with plain processes (Matern 5/2) for both. A front
 * has many floors: so the floor is swept over the range of speeds seen, one step per trial. Without
 * past tasks its weighted ensemble is the target's own process, which is what runs here. */
#include <math.h>
#include <stdlib.h>

#include "perf/tunebench/methods.h"
#include "perf/tunebench/methods/plain_gp.h"
#include "snug/stats.h"
#include "tune/ehvi.h"

enum { N_START = 5, N_CANDIDATES = 1000, N_FLOORS = 8 };

struct state {
    struct tb_gp speed, bytes; /* log speed; bytes as a share of the reference's */
};

static snug_status open_state(struct snug_strategy *s, struct snug_error *err)
{
    s->state = calloc(1, sizeof(struct state));
    return s->state ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "restune");
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
    tb_gp_predict(&st->speed, x, &mean, &sd);
    tb_gp_predict(&st->bytes, x, &bytes, &bytes_sd);
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
