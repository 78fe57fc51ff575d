/* "tpe-like": tree of Parzen estimators (Bergstra, Bardenet, Bengio, Kegl 2011) on speed alone, as
 * llama-optimus has it from Optuna. Ten random trials, then the best tenth of all (at least one)
 * makes the density `good`, the others and what failed make `bad`, each a product over knobs of
 * smoothed counts of levels with one count of prior spread evenly; of 24 draws from `good` the one
 * with the largest good / bad. */
#include <math.h>
#include <stdlib.h>

#include "perf/tunebench/methods.h"
#include "snug/stats.h"

enum { N_START = 10, N_DRAWS = 24, TRIES_MAX = 64, LEVELS_MAX = 512 };
#define GOOD_FRAC 0.1

static int level_of(const struct snug_strategy *s, const struct snug_config *config, int d)
{
    const int r = s->lattice.row[d];
    return snug_knob_index(&s->problem.space->knobs[r], config->value[r]);
}

/* Density over the levels of dim d of the trials index[from..to-1]; ordered levels lend weight to
 * their neighbours by a normal kernel as wide as the levels shared out among the trials. */
static void density(const struct snug_strategy *s, int d, const size_t *index, size_t n,
                    double *out)
{
    const int n_levels = s->lattice.n_levels[d];
    const double width = fmax(n_levels / (double)(n + 1), 0.5);
    for (int k = 0; k < n_levels; k++)
        out[k] = 1.0 / n_levels;
    for (size_t i = 0; i < n; i++) {
        const int at = level_of(s, &s->told[index[i]].config, d);
        double weight[LEVELS_MAX], sum = 0;
        for (int k = 0; k < n_levels; k++) {
            const double z = (k - at) / width;
            weight[k] = s->lattice.is_named[d] ? k == at : exp(-0.5 * z * z);
            sum += weight[k];
        }
        for (int k = 0; k < n_levels; k++)
            out[k] += weight[k] / sum;
    }
    for (int k = 0; k < n_levels; k++)
        out[k] /= (double)n + 1;
}

static int compare_speeds(const void *a, const void *b, void *data)
{
    const struct snug_observation *told = data;
    const size_t i = *(const size_t *)a, j = *(const size_t *)b;
    const double x = told[i].outcome == SNUG_TRIAL_OK ? told[i].speed : 0;
    const double y = told[j].outcome == SNUG_TRIAL_OK ? told[j].speed : 0;
    if (x > y || x < y)
        return x > y ? -1 : 1;
    return i < j ? -1 : i > j;
}

static int draw_level(const double *p, int n, struct snug_rng *rng)
{
    double u = snug_rng_double(rng);
    for (int k = 0; k < n - 1; k++) {
        u -= p[k];
        if (u < 0)
            return k;
    }
    return n - 1;
}

struct densities {
    double good[SNUG_KNOBS_MAX][LEVELS_MAX], bad[SNUG_KNOBS_MAX][LEVELS_MAX];
};

static double draw_config(const struct snug_strategy *s, const struct densities *p,
                          struct snug_rng *rng, struct snug_config *out)
{
    double score = 0;
    *out = s->lattice.base;
    for (int d = 0; d < s->lattice.n_dims; d++) {
        const int r = s->lattice.row[d], k = draw_level(p->good[d], s->lattice.n_levels[d], rng);
        out->value[r] = snug_knob_level(&s->problem.space->knobs[r], k);
        score += log(p->good[d][k] / p->bad[d][k]);
    }
    return score;
}

static snug_status open_state(struct snug_strategy *s, struct snug_error *err)
{
    for (int d = 0; d < s->lattice.n_dims; d++)
        if (s->lattice.n_levels[d] > LEVELS_MAX)
            return snug_fail(err, SNUG_UNSUPPORTED, "tpe: more than %d levels", LEVELS_MAX);
    s->state = calloc(1, sizeof(struct densities));
    return s->state ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "tpe");
}

static void close_state(struct snug_strategy *s)
{
    free(s->state);
    s->state = NULL;
}

static void learn(struct snug_strategy *s)
{
    struct densities *p = s->state;
    size_t index[SNUG_STRATEGY_TELLS_MAX];
    const size_t n = s->n_told, n_good = (size_t)ceil(GOOD_FRAC * (double)n);
    for (size_t i = 0; i < n; i++)
        index[i] = i;
    qsort_r(index, n, sizeof *index, compare_speeds, s->told);
    for (int d = 0; d < s->lattice.n_dims; d++) {
        density(s, d, index, n_good, p->good[d]);
        density(s, d, index + n_good, n - n_good, p->bad[d]);
    }
}

static snug_status ask(struct snug_strategy *s, struct snug_config *out_config,
                       struct snug_ask_info *out_info, struct snug_error *err)
{
    struct snug_rng rng;
    double best = -INFINITY;
    int n_drawn = 0;
    (void)out_info;
    if (s->n_told < N_START)
        return snug__strategy_random.ask(s, out_config, out_info, err);
    learn(s);
    snug_rng_init(&rng, s->problem.seed ^ (UINT64_C(0x589965cc75374cc3) * (s->n_told + 1)));
    for (int i = 0; i < TRIES_MAX * N_DRAWS && n_drawn < N_DRAWS; i++) {
        struct snug_config config;
        const double score = draw_config(s, s->state, &rng, &config);
        if (snug__strategy_was_told(s, &config) || !snug__strategy_can_run(s, &config, NULL))
            continue;
        n_drawn++;
        if (score > best) {
            best = score;
            *out_config = config;
        }
    }
    return n_drawn ? SNUG_OK : snug__strategy_sobol_config(s, out_config, err);
}

const struct snug__strategy_kind tb_kind_tpe = {
    .open = open_state, .close = close_state, .ask = ask};
