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
} RUNGS[SNUG__LADDER_RUNGS] = {{"probe", 16, 1, 0}, {"probe64", 64, 1, 0}};

int snug__ladder_next(const struct snug_workload *workload, int rung)
{
    if (rung == SNUG__LADDER_RUNGS || (rung > 0 && workload->n_gen <= RUNGS[rung].n_gen_max))
        return 0;
    return rung + 1;
}

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

bool snug__ladder_is_more(int rung, int than)
{
    return rung == 0 || rung > than;
}

int snug__ladder_reached(const struct snug_space *space, const struct snug_observation *told,
                         size_t n, const struct snug_config *config)
{
    int rung = 0;
    for (size_t i = 0; i < n; i++)
        if (told[i].rung > rung && snug_config_equal(space, &told[i].config, config))
            rung = told[i].rung;
    return rung;
}

bool snug__ladder_is_past(const struct snug_space *space, const struct snug_observation *told,
                          size_t n, size_t i)
{
    for (size_t k = i + 1; k < n; k++)
        if (snug__ladder_is_more(told[k].rung, told[i].rung) && told[k].outcome == SNUG_TRIAL_OK &&
            snug_config_equal(space, &told[i].config, &told[k].config))
            return true;
    return false;
}

struct belief {
    double mean, mean_var; /* of the bias of all configs */
    double spread_var;     /* of one config about it */
};

static struct belief update(const struct belief *prior, const struct snug_space *space,
                            const struct snug_observation *told, size_t n, int rung)
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
    struct belief out;
    out.spread_var =
        (SPREAD_N * prior->spread_var + squares - n_pairs * mean * mean) / (SPREAD_N + n_pairs);
    const double precision = n_pairs / out.spread_var + 1 / prior->mean_var;
    out.mean = (sum / out.spread_var + prior->mean / prior->mean_var) / precision;
    out.mean_var = 1 / precision;
    return out;
}

void snug__ladder_learn(const struct snug_space *space, const struct snug_observation *told,
                        size_t n, int rung, struct snug__ladder_bias *out)
{
    struct belief belief = {0, BIAS_SD * BIAS_SD, SPREAD_SD * SPREAD_SD};
    for (int k = 1; k <= rung; k++) {
        if (k > 1) { /* four times the tokens: about half as far off, and not on the other side */
            belief.mean /= 2;
            belief.mean_var += belief.mean * belief.mean;
            belief.spread_var /= 4;
        }
        belief = update(&belief, space, told, n, k);
    }
    out->mean = belief.mean;
    out->sd = sqrt(belief.spread_var + belief.mean_var);
}
