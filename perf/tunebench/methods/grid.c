/* "grid": as few even levels per knob as make a grid of n_trials points, in random order. */
#include <stdlib.h>

#include "perf/tunebench/methods.h"
#include "snug/stats.h"

#define POINTS_MAX 65536

struct state {
    int n_used[SNUG_KNOBS_MAX]; /* levels of each dim that are on the grid */
    uint32_t n_points;
    uint32_t *order; /* [n_points], shuffled */
};

/* The smallest count of levels, the same for all knobs that have so many, that gives enough. */
static void size_grid(const struct snug_strategy *s, struct state *st)
{
    for (int g = 2; g <= SNUG_KNOBS_MAX; g++) {
        double n = 1;
        for (int d = 0; d < s->lattice.n_dims; d++) {
            st->n_used[d] = s->lattice.n_levels[d] < g ? s->lattice.n_levels[d] : g;
            n *= st->n_used[d];
        }
        st->n_points = n < POINTS_MAX ? (uint32_t)n : POINTS_MAX;
        if (n >= s->problem.n_trials)
            return;
    }
}

static snug_status open_state(struct snug_strategy *s, struct snug_error *err)
{
    struct state *st = calloc(1, sizeof *st);
    s->state = st;
    if (st) {
        size_grid(s, st);
        st->order = calloc(st->n_points, sizeof *st->order);
    }
    if (!st || !st->order)
        return snug_fail(err, SNUG_NO_MEMORY, "grid");
    struct snug_rng rng;
    snug_rng_init(&rng, s->problem.seed);
    for (uint32_t i = 0; i < st->n_points; i++) { /* inside-out shuffle */
        const uint32_t j = (uint32_t)snug_rng_below(&rng, i + 1);
        st->order[i] = st->order[j];
        st->order[j] = i;
    }
    return SNUG_OK;
}

static void close_state(struct snug_strategy *s)
{
    struct state *st = s->state;
    if (st)
        free(st->order);
    free(st);
    s->state = NULL;
}

static void grid_point(const struct snug_strategy *s, uint32_t index, struct snug_config *out)
{
    const struct state *st = s->state;
    *out = s->lattice.base;
    for (int d = 0; d < s->lattice.n_dims; d++) {
        const int at = (int)(index % (uint32_t)st->n_used[d]);
        const int level = at * (s->lattice.n_levels[d] - 1) / (st->n_used[d] - 1);
        index /= (uint32_t)st->n_used[d];
        out->value[s->lattice.row[d]] =
            snug_knob_level(&s->problem.space->knobs[s->lattice.row[d]], level);
    }
}

static snug_status ask(struct snug_strategy *s, struct snug_config *out_config,
                       struct snug_ask_info *out_info, struct snug_error *err)
{
    const struct state *st = s->state;
    (void)out_info;
    for (uint32_t i = 0; i < st->n_points; i++) {
        struct snug_config config;
        grid_point(s, st->order[i], &config);
        if (!snug__strategy_was_told(s, &config) && snug__strategy_can_run(s, &config, NULL)) {
            *out_config = config;
            return SNUG_OK;
        }
    }
    return snug__strategy_sobol_config(s, out_config, err);
}

const struct snug__strategy_kind tb_kind_grid = {
    .open = open_state, .close = close_state, .ask = ask};
