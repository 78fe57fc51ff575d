/* "ga-like": the genetic baseline of LaTune. Fitness is speed alone, 0 for what failed; population
 * 5, tournaments of 2, uniform crossover, each gene mutated with probability 0.1; children replace
 * their parents. Generation g is trials 5 g .. 5 g + 4, so there is no state. It may measure a
 * config again, as LaTune's does. */
#include "perf/tunebench/methods.h"
#include "snug/stats.h"

enum { POPULATION = 5, TRIES_MAX = 64 };
#define MUTATION 0.1

static double fitness(const struct snug_observation *o)
{
    return o->outcome == SNUG_TRIAL_OK ? o->speed : 0;
}

static const struct snug_observation *tournament(const struct snug_observation *parents,
                                                 struct snug_rng *rng)
{
    const struct snug_observation *a = &parents[snug_rng_below(rng, POPULATION)];
    const struct snug_observation *b = &parents[snug_rng_below(rng, POPULATION)];
    return fitness(a) >= fitness(b) ? a : b;
}

static void draw_config(const struct snug_strategy *s, struct snug_rng *rng,
                        struct snug_config *out)
{
    double u[SNUG_KNOBS_MAX];
    for (int d = 0; d < s->lattice.n_dims; d++)
        u[d] = snug_rng_double(rng);
    snug__lattice_from_unit(&s->lattice, u, out);
}

static void make_child(const struct snug_strategy *s, const struct snug_observation *parents,
                       struct snug_rng *rng, struct snug_config *out)
{
    const struct snug_config *a = &tournament(parents, rng)->config;
    const struct snug_config *b = &tournament(parents, rng)->config;
    struct snug_config drawn;
    draw_config(s, rng, &drawn);
    *out = s->lattice.base;
    for (int d = 0; d < s->lattice.n_dims; d++) {
        const int r = s->lattice.row[d];
        out->value[r] = snug_rng_double(rng) < 0.5 ? a->value[r] : b->value[r];
        if (snug_rng_double(rng) < MUTATION)
            out->value[r] = drawn.value[r];
    }
}

static snug_status ask(struct snug_strategy *s, struct snug_config *out_config,
                       struct snug_ask_info *out_info, struct snug_error *err)
{
    const size_t generation = s->n_told / POPULATION;
    struct snug_rng rng;
    (void)out_info;
    snug_rng_init(&rng, s->problem.seed ^ (UINT64_C(0xe7037ed1a0b428db) * (s->n_told + 1)));
    for (int i = 0; i < TRIES_MAX; i++) {
        struct snug_config child;
        if (generation == 0)
            draw_config(s, &rng, &child);
        else
            make_child(s, &s->told[(generation - 1) * POPULATION], &rng, &child);
        if (snug__strategy_can_run(s, &child, NULL)) {
            *out_config = child;
            return SNUG_OK;
        }
    }
    return snug__strategy_sobol_config(s, out_config, err);
}

const struct snug__strategy_kind tb_kind_ga = {.ask = ask, .may_repeat = true};
