/* Rungs and their bias: a normal mean with a normal prior, its spread drawn to a prior too. */
#include "tune/ladder.h"

#include <math.h>
#include <string.h>

#define BIAS_SD 0.10   /* before anything is known of a rung */
#define SPREAD_SD 0.05 /* of one config about the bias, before three pairs are known ... */
#define SPREAD_N 3.0   /* ... counts as so many of them */

static const struct {
    const char *role;
    int64_t n_gen_max;
    int n_blocks, n_warmups;
} RUNGS[SNUG__LADDER_RUNGS] = {{"probe", 16, 1, 0}};

const char *snug__ladder_role(int rung)
{
    return RUNGS[rung - 1].role;
}

int snug__ladder_rung(const char *role)
{
    for (int i = 0; i < SNUG__LADDER_RUNGS; i++)
        if (strcmp(RUNGS[i].role, role) == 0)
            return i + 1;
    return 0;
}

void snug__ladder_effort(const struct snug_effort *full, int rung, struct snug_effort *out)
{
    *out = *full;
    out->n_gen_max = RUNGS[rung - 1].n_gen_max;
    out->blocks_min = out->blocks_max = RUNGS[rung - 1].n_blocks;
    out->warmup_max = RUNGS[rung - 1].n_warmups;
}

/* The first later trial of the same config at full effort that ran; n: there is none. */
static size_t find_full(const struct snug_space *space, const struct snug_observation *told,
                        size_t n, size_t i)
{
    for (size_t k = i + 1; k < n; k++)
        if (told[k].rung == 0 && told[k].outcome == SNUG_TRIAL_OK &&
            snug_config_equal(space, &told[i].config, &told[k].config))
            return k;
    return n;
}

bool snug__ladder_is_past(const struct snug_space *space, const struct snug_observation *told,
                          size_t n, size_t i)
{
    return find_full(space, told, n, i) < n;
}

void snug__ladder_learn(const struct snug_space *space, const struct snug_observation *told,
                        size_t n, int rung, struct snug__ladder_bias *out)
{
    double sum = 0, squares = 0, n_pairs = 0;
    for (size_t i = 0; i < n; i++) {
        if (told[i].rung != rung || told[i].outcome != SNUG_TRIAL_OK)
            continue;
        const size_t full = find_full(space, told, n, i);
        if (full == n)
            continue;
        const double gap = log(told[i].speed / told[full].speed);
        sum += gap;
        squares += gap * gap;
        n_pairs++;
    }
    const double mean = n_pairs > 0 ? sum / n_pairs : 0;
    const double spread_var =
        (SPREAD_N * SPREAD_SD * SPREAD_SD + squares - n_pairs * mean * mean) / (SPREAD_N + n_pairs);
    const double precision = n_pairs / spread_var + 1 / (BIAS_SD * BIAS_SD);
    out->mean = sum / spread_var / precision;
    out->sd = sqrt(spread_var + 1 / precision);
}
