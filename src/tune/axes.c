/* Goals of several axes and limits, for strategy "snug".
 *
 * Every figure that is learned has a Gaussian process of its own on its log; they are taken as
 * independent. A candidate's worth is the exact expected gain of volume (ehvi_boxes.c) times, for
 * each learned limit, the chance that it holds: constrained expected improvement, Schonlau, Welch,
 * Jones (1998); Gardner et al. (2014). Trials that broke a limit teach the processes like others,
 * but are no points of the front. */
#include "tune/axes.h"

#include <math.h>
#include <stdlib.h>

#include "tune/ehvi.h"
#include "tune/gp.h"

/* A chance is never quite 0, so that where nothing kept the limits yet the likeliest is tried. */
#define CHANCE_MIN 1e-9
#define MODELS_MAX (SNUG_AXES_MAX - 1 + SNUG_LIMIT_KLD) /* the known limit needs none */

struct model {
    struct snug_gp *gp;
    bool is_limit;
    int of;                                     /* axis of the goal, or limit */
    int told_of_point[SNUG_STRATEGY_TELLS_MAX]; /* GP point -> trial */
    double told_mean[SNUG_STRATEGY_TELLS_MAX];  /* [trial] smoothed; NAN: no point of the process */
    double mean[SNUG__POOL_WHOLE_MAX], sd[SNUG__POOL_WHOLE_MAX]; /* [pool item] */
};

struct snug__axes {
    struct model model[MODELS_MAX];
    int n_models;
    int lead; /* axis of the goal that the strategy's own process learns */
    double log_ref[SNUG_AXES_MAX];
    double gain[SNUG_STRATEGY_TELLS_MAX][SNUG_AXES_MAX]; /* [trial] */
    struct snug_ehvi_boxes boxes;
    double room[SNUG_STRATEGY_TELLS_MAX * SNUG_KNOBS_MAX]; /* features of a process's points */
    double room_mean[SNUG_STRATEGY_TELLS_MAX], room_sd[SNUG_STRATEGY_TELLS_MAX];
};

static snug_status add_model(struct snug__axes *axes, const struct snug_strategy *s, bool is_limit,
                             int of, struct snug_error *err)
{
    struct model *model = &axes->model[axes->n_models];
    model->is_limit = is_limit;
    model->of = of;
    const snug_status status = snug_gp_new(s->lattice.n_dims, s->lattice.is_named, &model->gp, err);
    axes->n_models += status == SNUG_OK;
    return status;
}

snug_status snug__axes_open(const struct snug_strategy *s, struct snug__axes **out,
                            struct snug_error *err)
{
    const struct snug_goal *goal = &s->problem.goal;
    if (snug_goal_is_plain(goal)) {
        *out = NULL;
        return SNUG_OK;
    }
    struct snug__axes *axes = calloc(1, sizeof *axes);
    snug_status status =
        axes ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "processes of %d axes", goal->n_axes);
    for (int d = 0; status == SNUG_OK && d < goal->n_axes; d++) {
        axes->log_ref[d] = log(s->problem.ref[d]);
        if (goal->axis[d] == (enum snug_axis)snug_goal_lead(goal))
            axes->lead = d;
        else if (snug_axis_is_learned(goal->axis[d]))
            status = add_model(axes, s, false, d, err);
    }
    for (int l = 0; status == SNUG_OK && l < SNUG_LIMIT_KLD; l++)
        if (goal->limit[l] > 0)
            status = add_model(axes, s, true, l, err);
    if (status != SNUG_OK) {
        snug__axes_close(axes);
        return status;
    }
    *out = axes;
    return SNUG_OK;
}

void snug__axes_close(struct snug__axes *axes)
{
    if (!axes)
        return;
    for (int m = 0; m < axes->n_models; m++)
        snug_gp_free(axes->model[m].gp);
    snug_ehvi_boxes_clear(&axes->boxes);
    free(axes);
}

static snug_status learn(struct model *model, const struct snug_observation *o, size_t at,
                         const double *x, int n_evaluations, struct snug_error *err)
{
    const struct snug_told *told = model->is_limit ? &o->limited[model->of] : &o->axis[model->of];
    const int n = snug_gp_n(model->gp);
    if (!(told->value > 0) || !isfinite(told->value))
        return SNUG_OK;
    snug_status status = snug_gp_add(model->gp, x, log(told->value), told->log_sd, err);
    if (status != SNUG_OK)
        return status;
    model->told_of_point[n] = (int)at;
    status = snug_gp_fit(model->gp, n_evaluations, err);
    if (status != SNUG_OK)
        snug_gp_remove_last(model->gp);
    return status;
}

snug_status snug__axes_tell(struct snug__axes *axes, const struct snug_strategy *s, size_t at,
                            const double *x, int n_evaluations, struct snug_error *err)
{
    int n_before[MODELS_MAX], m = 0;
    snug_status status = SNUG_OK;
    for (; status == SNUG_OK && m < axes->n_models; m++) {
        n_before[m] = snug_gp_n(axes->model[m].gp);
        status = learn(&axes->model[m], &s->told[at], at, x, n_evaluations, err);
    }
    while (status != SNUG_OK && m-- > 0) /* as if nothing had been told */
        if (snug_gp_n(axes->model[m].gp) > n_before[m])
            snug_gp_remove_last(axes->model[m].gp);
    return status;
}

snug_status snug__axes_smooth(struct snug__axes *axes, const struct snug_strategy *s,
                              const double *x, struct snug_error *err)
{
    const size_t n_dims = (size_t)s->lattice.n_dims;
    snug_status status = SNUG_OK;
    for (int m = 0; status == SNUG_OK && m < axes->n_models; m++) {
        struct model *model = &axes->model[m];
        const size_t n = (size_t)snug_gp_n(model->gp);
        for (size_t i = 0; i < s->n_told; i++)
            model->told_mean[i] = (double)NAN;
        if (model->is_limit || n == 0) /* limits are judged as measured */
            continue;
        for (size_t i = 0; i < n; i++)
            for (size_t d = 0; d < n_dims; d++)
                axes->room[i * n_dims + d] = x[(size_t)model->told_of_point[i] * n_dims + d];
        status = snug_gp_predict(model->gp, axes->room, n, axes->room_mean, axes->room_sd, err);
        for (size_t i = 0; status == SNUG_OK && i < n; i++)
            model->told_mean[model->told_of_point[i]] = axes->room_mean[i];
    }
    return status;
}

snug_status snug__axes_front(struct snug__axes *axes, const struct snug_strategy *s,
                             const struct snug_point *points, size_t n, size_t *out_told,
                             size_t *out_n, struct snug_error *err)
{
    struct snug_ehvi_boxes boxes;
    for (size_t i = 0; i < n; i++) {
        double *gain = axes->gain[i];
        snug__strategy_gain(s, i, points[i].speed, gain);
        for (int m = 0; m < axes->n_models; m++) {
            const struct model *model = &axes->model[m];
            if (!model->is_limit && isfinite(gain[model->of]) && isfinite(model->told_mean[i]))
                gain[model->of] = model->told_mean[i] - axes->log_ref[model->of];
        }
    }
    const double(*gain)[SNUG_AXES_MAX] = (const double(*)[SNUG_AXES_MAX])axes->gain;
    const snug_status status = snug_ehvi_boxes_init(&boxes, gain, n, err);
    if (status != SNUG_OK)
        return status;
    snug_ehvi_boxes_clear(&axes->boxes);
    axes->boxes = boxes;
    *out_n = snug_goal_front(gain, n, out_told);
    return SNUG_OK;
}

double snug__axes_volume(const struct snug__axes *axes)
{
    return axes->boxes.volume;
}

snug_status snug__axes_predict(struct snug__axes *axes, const struct snug_strategy *s,
                               const struct snug__pool *pool, int from, struct snug_error *err)
{
    const double *x = pool->x + (size_t)from * (size_t)s->lattice.n_dims;
    snug_status status = SNUG_OK;
    for (int m = 0; status == SNUG_OK && m < axes->n_models; m++) {
        struct model *model = &axes->model[m];
        if (snug_gp_n(model->gp) > 0)
            status = snug_gp_predict(model->gp, x, (size_t)(pool->n - from), model->mean + from,
                                     model->sd + from, err);
    }
    return status;
}

/* P(the figure keeps its limit); 1 while nothing is known of it. */
static double chance(const struct model *model, const struct snug_goal *goal, int i)
{
    if (snug_gp_n(model->gp) == 0)
        return 1;
    const double gap = model->mean[i] - log(goal->limit[model->of]);
    return 0.5 * erfc(gap / (fmax(model->sd[i], 1e-9) * sqrt(2)));
}

/* Gains of the axes that are known of a candidate, and of those that a goal lacks. */
static double known_gain(const struct snug_strategy *s, int d, const struct snug__candidate *item)
{
    const struct snug_problem *p = &s->problem;
    if (d >= p->goal.n_axes)
        return 1;
    const double value =
        p->goal.axis[d] == SNUG_AXIS_MEMORY ? item->bytes : p->kld(&item->config, p->kld_data);
    return snug_axis_gain(p->goal.axis[d], value, p->ref[d]);
}

double snug__axes_gain(const struct snug__axes *axes, const struct snug_strategy *s,
                       const struct snug__pool *pool, int i)
{
    const struct snug_goal *goal = &s->problem.goal;
    const struct snug__candidate *item = &pool->items[i];
    double mean[SNUG_AXES_MAX], sd[SNUG_AXES_MAX] = {0}, holds = 1;
    for (int d = 0; d < SNUG_AXES_MAX; d++)
        mean[d] = d < goal->n_axes && snug_axis_is_learned(goal->axis[d])
                      ? 1 /* of an axis that nothing told of yet: any gain will do */
                      : known_gain(s, d, item);
    mean[axes->lead] = item->mean - axes->log_ref[axes->lead];
    sd[axes->lead] = item->sd;
    for (int m = 0; m < axes->n_models; m++) {
        const struct model *model = &axes->model[m];
        if (model->is_limit) {
            holds *= chance(model, goal, i);
        } else if (snug_gp_n(model->gp) > 0) {
            mean[model->of] = model->mean[i] - axes->log_ref[model->of];
            sd[model->of] = model->sd[i];
        }
    }
    return snug_ehvi_boxes_gain(&axes->boxes, mean, sd) * fmax(holds, CHANCE_MIN);
}
