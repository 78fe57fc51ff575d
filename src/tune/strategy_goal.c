/* What a strategy makes of goals that are more than speed and bytes: the gain of what was told. */
#include <math.h>

#include "tune/strategy.h"

static bool is_known(const struct snug_told *told)
{
    return told->value > 0 && isfinite(told->value);
}

/* Did every trial of the config of trial i keep the limits? */
static bool keeps_limits(const struct snug_strategy *s, size_t i)
{
    const struct snug_goal *goal = &s->problem.goal;
    bool holds = true;
    for (size_t k = 0; k < s->n_told && holds; k++) {
        const struct snug_observation *o = &s->told[k];
        if (o->outcome != SNUG_TRIAL_OK ||
            !snug_config_equal(s->problem.space, &s->told[i].config, &o->config))
            continue;
        for (int l = 0; l < SNUG_LIMIT_KLD; l++)
            holds &= snug_limit_holds(goal, (enum snug_limit)l,
                                      is_known(&o->limited[l]) ? o->limited[l].value : (double)NAN);
    }
    return holds;
}

/* Geometric mean of a learned axis over the trials of the config of trial i; NAN for none. */
static double mean_value(const struct snug_strategy *s, size_t i, int axis)
{
    double sum = 0;
    int n = 0;
    for (size_t k = 0; k < s->n_told; k++) {
        const struct snug_observation *o = &s->told[k];
        if (o->outcome != SNUG_TRIAL_OK || !is_known(&o->axis[axis]) ||
            !snug_config_equal(s->problem.space, &s->told[i].config, &o->config))
            continue;
        sum += log(o->axis[axis].value);
        n++;
    }
    return n ? exp(sum / n) : (double)NAN;
}

static double value_of(const struct snug_strategy *s, size_t i, int axis, double speed)
{
    const struct snug_problem *p = &s->problem;
    const struct snug_observation *o = &s->told[i];
    switch (p->goal.axis[axis]) {
    case SNUG_AXIS_MEMORY:
        return o->bytes ? (double)o->bytes : (double)NAN;
    case SNUG_AXIS_KLD:
        return p->kld(&o->config, p->kld_data);
    default:
        return p->goal.axis[axis] == (enum snug_axis)snug_goal_lead(&p->goal)
                   ? speed
                   : mean_value(s, i, axis);
    }
}

void snug__strategy_gain(const struct snug_strategy *s, size_t i, double speed,
                         double out[SNUG_AXES_MAX])
{
    const struct snug_goal *goal = &s->problem.goal;
    const struct snug_observation *o = &s->told[i];
    bool is_point = o->outcome == SNUG_TRIAL_OK && keeps_limits(s, i);
    if (is_point && snug_goal_needs_kld(goal))
        is_point =
            snug_limit_holds(goal, SNUG_LIMIT_KLD, s->problem.kld(&o->config, s->problem.kld_data));
    for (int d = 0; d < SNUG_AXES_MAX; d++)
        out[d] = !is_point ? -(double)INFINITY
                 : d >= goal->n_axes
                     ? 1
                     : snug_axis_gain(goal->axis[d], value_of(s, i, d, speed), s->problem.ref[d]);
}
