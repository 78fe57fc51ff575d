/* "ofat": one factor at a time. From the fastest config told first, each knob in turn is tried at
 * its levels (long rows at five, evenly) and left at the fastest; rounds until one changes nothing.
 * It reads the whole search out of what was told, so it keeps no state. */
#include "perf/tunebench/methods.h"

#define LEVELS_TRIED_MAX 5

/* Mean speed told of a config: 0 failed, -1 not told. */
static double told_speed(const struct snug_strategy *s, const struct snug_config *config)
{
    for (size_t i = 0; i < s->n_told; i++)
        if (snug_config_equal(s->problem.space, &s->told[i].config, config))
            return s->told[i].outcome == SNUG_TRIAL_OK ? s->told[i].speed : 0;
    return -1;
}

/* Try the levels of dim d from *at; true: *out is the one to ask. Else *at has the best of them. */
static bool try_levels(struct snug_strategy *s, int d, struct snug_config *at,
                       struct snug_config *out)
{
    const int r = s->lattice.row[d], n = s->lattice.n_levels[d];
    const int n_tried = n < LEVELS_TRIED_MAX ? n : LEVELS_TRIED_MAX;
    struct snug_config best = *at;
    for (int k = 0; k < n_tried; k++) {
        struct snug_config config = *at;
        config.value[r] = snug_knob_level(&s->problem.space->knobs[r], k * (n - 1) / (n_tried - 1));
        const double speed = told_speed(s, &config);
        if (speed < 0 && snug__strategy_can_run(s, &config, NULL)) {
            *out = config;
            return true;
        }
        if (speed > told_speed(s, &best))
            best = config;
    }
    *at = best;
    return false;
}

static snug_status ask(struct snug_strategy *s, struct snug_config *out_config,
                       struct snug_ask_info *out_info, struct snug_error *err)
{
    struct snug_config at = s->problem.base;
    (void)out_info;
    for (size_t i = 0; i < s->n_told && i < 2; i++)
        if (told_speed(s, &s->told[i].config) > told_speed(s, &at))
            at = s->told[i].config;
    for (bool has_moved = true; has_moved;) {
        const struct snug_config before = at;
        for (int d = 0; d < s->lattice.n_dims; d++)
            if (try_levels(s, d, &at, out_config))
                return SNUG_OK;
        has_moved = !snug_config_equal(s->problem.space, &before, &at);
    }
    return snug_fail(err, SNUG_NOT_FOUND, "no single knob makes it faster");
}

const struct snug__strategy_kind tb_kind_ofat = {.ask = ask};
