/* "scoot-like": SCOOT (Cheng et al., WWW 2025). Sobol points begin; then plain processes (Matern
 * 3/2) of speed and bytes, expected hypervolume improvement over random candidates and neighbours
 * of what ran, among those whose chance to run, by a random forest of 200 trees over what ran and
 * what failed, is above a threshold: 0.5 at first, 0.05 more after each failure, 0.05 less after
 * five good trials in a row, within 0.25 to 0.75. Known constraints are applied to all methods. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "perf/tunebench/methods.h"
#include "perf/tunebench/methods/plain_gp.h"
#include "snug/stats.h"
#include "tune/forest.h"

enum { N_CANDIDATES = 1000, N_NORMALS = 256, N_TREES = 200 };

struct state {
    struct tb_gp speed, bytes;
    double front[SNUG_STRATEGY_TELLS_MAX][2], ref[2];
    int n_front;
    double normals[N_NORMALS][2];
    struct snug__forest forest;
    bool has_forest; /* something failed already */
};

static snug_status open_state(struct snug_strategy *s, struct snug_error *err)
{
    s->state = calloc(1, sizeof(struct state));
    return s->state ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "scoot");
}

static void close_state(struct snug_strategy *s)
{
    struct state *st = s->state;
    if (st)
        snug__forest_clear(&st->forest);
    free(st);
    s->state = NULL;
}

/* What ran, to both processes and the front; speed and less bytes are more. */
static void learn_values(struct snug_strategy *s)
{
    struct state *st = s->state;
    tb_gp_clear(&st->speed, s->lattice.n_dims, false);
    tb_gp_clear(&st->bytes, s->lattice.n_dims, false);
    st->ref[0] = st->ref[1] = INFINITY;
    st->n_front = 0;
    for (size_t i = 0; i < s->n_told; i++) {
        const struct snug_observation *o = &s->told[i];
        double x[SNUG_KNOBS_MAX];
        const double y[2] = {o->speed, -(double)o->bytes};
        if (o->outcome != SNUG_TRIAL_OK)
            continue;
        tb_gp_features(&s->lattice, &o->config, x);
        tb_gp_add(&st->speed, x, y[0]);
        tb_gp_add(&st->bytes, x, y[1]);
        for (int f = 0; f < 2; f++)
            st->ref[f] = fmin(st->ref[f], y[f]);
        memcpy(st->front[st->n_front++], y, sizeof y);
    }
    st->n_front = tb_area_front(st->front, st->n_front);
    tb_gp_fit(&st->speed);
    tb_gp_fit(&st->bytes);
}

static snug_status learn_failures(struct snug_strategy *s, struct snug_error *err)
{
    struct state *st = s->state;
    struct snug__forest_feature features[SNUG_KNOBS_MAX];
    static const struct snug__forest_options like_default = {
        .n_trees = N_TREES, .depth_max = 10, .min_leaf = 1, .is_bagged = true};
    struct snug__forest_options options = like_default;
    const size_t n_dims = (size_t)s->lattice.n_dims;
    double *x = calloc(s->n_told * n_dims + 1, sizeof *x);
    double *y = calloc(s->n_told + 1, sizeof *y);
    snug_status status = x && y ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "scoot");
    st->has_forest = false;
    snug__forest_clear(&st->forest);
    memset(&st->forest, 0, sizeof st->forest);
    for (size_t i = 0; status == SNUG_OK && i < s->n_told; i++) {
        snug__lattice_features(&s->lattice, &s->told[i].config, x + i * n_dims);
        y[i] = s->told[i].outcome == SNUG_TRIAL_OK;
        st->has_forest |= s->told[i].outcome != SNUG_TRIAL_OK;
    }
    for (size_t d = 0; d < n_dims; d++)
        features[d] = (struct snug__forest_feature){s->lattice.is_named[d], s->lattice.n_levels[d]};
    const struct snug__forest_data data = {features, s->lattice.n_dims, x, y, s->n_told};
    options.seed = s->problem.seed + s->n_told;
    if (status == SNUG_OK && st->has_forest)
        status = snug__forest_grow(&data, &options, &st->forest, err);
    free(x);
    free(y);
    return status;
}

/* The threshold that the trials so far have led to. */
static double threshold(const struct snug_strategy *s)
{
    double delta = 0.5;
    int n_good = 0;
    for (size_t i = 0; i < s->n_told; i++) {
        if (s->told[i].outcome != SNUG_TRIAL_OK) {
            delta += 0.05;
            n_good = 0;
        } else if (++n_good == 5) {
            delta -= 0.05;
            n_good = 0;
        }
        delta = fmin(fmax(delta, 0.25), 0.75);
    }
    return delta;
}

static double chance(const struct snug_strategy *s, const struct snug_config *config)
{
    const struct state *st = s->state;
    double x[SNUG_KNOBS_MAX];
    snug__lattice_features(&s->lattice, config, x);
    return st->has_forest ? snug__forest_predict(&st->forest, x) : 1;
}

static double expected_gain(const struct snug_strategy *s, const struct snug_config *config)
{
    const struct state *st = s->state;
    double x[SNUG_KNOBS_MAX], mean[2], sd[2], sum = 0;
    tb_gp_features(&s->lattice, config, x);
    tb_gp_predict(&st->speed, x, &mean[0], &sd[0]);
    tb_gp_predict(&st->bytes, x, &mean[1], &sd[1]);
    for (int i = 0; i < N_NORMALS; i++)
        sum +=
            tb_area_gain((const double(*)[2])st->front, st->n_front, st->ref,
                         mean[0] + sd[0] * st->normals[i][0], mean[1] + sd[1] * st->normals[i][1]);
    return sum / N_NORMALS;
}

/* The better of two picks: what may run beats what may not, then gain (or chance) counts. */
struct pick {
    struct snug_config config;
    bool may_run;
    double score;
};

static void consider(const struct snug_strategy *s, const struct snug_config *config, double delta,
                     struct pick *best)
{
    if (snug__strategy_was_told(s, config) || !snug__strategy_can_run(s, config, NULL))
        return;
    const double p = chance(s, config);
    const bool may_run = p >= delta;
    if (best->may_run && !may_run)
        return;
    const double score = may_run ? expected_gain(s, config) : p;
    if ((may_run && !best->may_run) || score > best->score)
        *best = (struct pick){*config, may_run, score};
}

static snug_status ask(struct snug_strategy *s, struct snug_config *out_config,
                       struct snug_ask_info *out_info, struct snug_error *err)
{
    struct state *st = s->state;
    struct snug_rng rng;
    struct pick best = {.score = -INFINITY};
    (void)out_info;
    if (s->n_told < (size_t)s->lattice.n_dims + 1)
        return snug__strategy_sobol_config(s, out_config, err);
    learn_values(s);
    const snug_status status = learn_failures(s, err);
    if (status != SNUG_OK)
        return status;
    const double delta = threshold(s);
    snug_rng_init(&rng, s->problem.seed ^ (UINT64_C(0x9fb21c651e98df25) * (s->n_told + 1)));
    for (int i = 0; i < N_NORMALS; i++)
        for (int f = 0; f < 2; f++)
            st->normals[i][f] = snug_rng_normal(&rng);
    for (int i = 0; i < N_CANDIDATES; i++) {
        double u[SNUG_KNOBS_MAX];
        struct snug_config config;
        for (int d = 0; d < s->lattice.n_dims; d++)
            u[d] = snug_rng_double(&rng);
        snug__lattice_from_unit(&s->lattice, u, &config);
        consider(s, &config, delta, &best);
    }
    for (size_t i = 0; i < s->n_told; i++) {
        struct snug_config near[SNUG__NEIGHBOURS_MAX];
        const int n = s->told[i].outcome == SNUG_TRIAL_OK
                          ? snug__lattice_neighbours(&s->lattice, &s->told[i].config, near)
                          : 0;
        for (int k = 0; k < n; k++)
            consider(s, &near[k], delta, &best);
    }
    if (!isfinite(best.score))
        return snug__strategy_sobol_config(s, out_config, err);
    *out_config = best.config;
    return SNUG_OK;
}

const struct snug__strategy_kind tb_kind_scoot = {
    .open = open_state, .close = close_state, .ask = ask};
