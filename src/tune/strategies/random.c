/* Strategy "random": uniform over the lattice, the yardstick every other strategy must beat. */
#include "snug/stats.h"
#include "tune/strategy.h"

#define DRAWS_MAX 16384 /* then the lattice is walked from a random cell */

static snug_status ask(struct snug_strategy *s, struct snug_config *out_config,
                       struct snug_ask_info *out_info, struct snug_error *err)
{
    (void)out_info; /* predicts nothing */
    struct snug_rng rng;
    /* the generator is a function of how many were told, so that asking twice changes nothing */
    snug_rng_init(&rng, s->problem.seed ^ (UINT64_C(0xa0761d6478bd642f) * (s->n_told + 1)));
    for (int i = 0; i < DRAWS_MAX; i++) {
        double u[SNUG_KNOBS_MAX];
        struct snug_config config;
        for (int d = 0; d < s->lattice.n_dims; d++)
            u[d] = snug_rng_double(&rng);
        snug__lattice_from_unit(&s->lattice, u, &config);
        if (!snug__strategy_was_told(s, &config) && snug__strategy_can_run(s, &config, NULL)) {
            *out_config = config;
            return SNUG_OK;
        }
    }
    return snug__strategy_walk(s, snug_rng_next(&rng) >> 12, out_config, err);
}

const struct snug__strategy_kind snug__strategy_random = {.ask = ask};
