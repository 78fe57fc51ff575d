/* A session's goal: the values of its axes in each trial, limits by what was measured and by upper
 * limits, the region around the first trial, and the words when no trial keeps the limits. */
#include "tune/loop_goal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snug/units.h"
#include "tune/strategy.h"

/* A quality price counts up to a tenth more than the largest that may be paid. */
static const double KLD_REF_FACTOR = 1.1, KLD_REF_MIN = 1e-6;

static double kld_of(const struct snug_tune_options *o, const struct snug_config *config)
{
    return o->kld ? o->kld(config, o->kld_data) : (double)NAN;
}

void snug__tune_goal_judge(const struct snug_tune_options *o, struct snug_tune_trial *trial)
{
    const struct snug_goal *goal = &o->goal;
    const struct snug_measurement *m = &trial->measurement;
    const double kld_nats = kld_of(o, &trial->config);
    for (int d = 0; d < SNUG_AXES_MAX; d++)
        trial->axis[d] = d < goal->n_axes
                             ? snug_axis_value(goal->axis[d], m, &o->workload, kld_nats)
                             : (double)NAN;
    trial->keeps_limits = trial->is_safe = trial->speed > 0.0;
    for (int l = 0; l < SNUG_N_LIMITS; l++) {
        double hi = (double)NAN;
        const double value = snug_limit_value((enum snug_limit)l, m, &o->workload, kld_nats, &hi);
        trial->keeps_limits &= snug_limit_holds(goal, (enum snug_limit)l, value);
        trial->is_safe &= snug_limit_holds(goal, (enum snug_limit)l, hi);
    }
    trial->is_safe &= trial->keeps_limits;
}

void snug__tune_goal_observe(const struct snug_tune_options *o, const struct snug_tune_trial *trial,
                             struct snug_observation *out)
{
    static const enum snug_objective of_limit[] = {
        [SNUG_LIMIT_TTFT] = SNUG_OBJECTIVE_PREFILL, [SNUG_LIMIT_TPOT] = SNUG_OBJECTIVE_DECODE};
    const struct snug_measurement *m = &trial->measurement;
    for (int d = 0; d < o->goal.n_axes; d++)
        if (snug_axis_is_learned(o->goal.axis[d]))
            out->axis[d] = (struct snug_told){
                trial->axis[d],
                snug__strategy_speed_sd(m, &o->workload, (enum snug_objective)o->goal.axis[d])};
    for (int l = 0; l < SNUG_LIMIT_KLD; l++)
        if (o->goal.limit[l] > 0)
            out->limited[l] = (struct snug_told){
                snug_limit_value((enum snug_limit)l, m, &o->workload, (double)NAN, NULL),
                snug__strategy_speed_sd(m, &o->workload, of_limit[l])};
}

/* ---- the region ---- */

/* The largest price among cache types that may be used. */
static double largest_kld(const struct snug_tune_options *o)
{
    const struct snug_space *space = snug_engine_space(o->engine);
    const int rows[] = {snug_space_find(space, "type_k"), snug_space_find(space, "type_v")};
    struct snug_config config;
    double largest = 0;
    snug_space_default(space, &config);
    const int n_k = rows[0] < 0 ? 1 : snug_knob_n_levels(&space->knobs[rows[0]]);
    const int n_v = rows[1] < 0 ? 1 : snug_knob_n_levels(&space->knobs[rows[1]]);
    for (int i = 0; i < n_k * n_v; i++) {
        if (rows[0] >= 0)
            config.value[rows[0]] = snug_knob_level(&space->knobs[rows[0]], i % n_k);
        if (rows[1] >= 0)
            config.value[rows[1]] = snug_knob_level(&space->knobs[rows[1]], i / n_k);
        const double kld_nats = kld_of(o, &config);
        if (isfinite(kld_nats) && snug_limit_holds(&o->goal, SNUG_LIMIT_KLD, kld_nats))
            largest = fmax(largest, kld_nats);
    }
    return largest;
}

void snug__tune_goal_refs(const struct snug_tune_options *o, const struct snug_tune_trial *around,
                          struct snug_tune_result *r)
{
    for (int d = 0; d < o->goal.n_axes; d++) {
        if (o->goal.axis[d] == SNUG_AXIS_MEMORY)
            r->ref[d] = (double)r->bounds.bytes_ref;
        else if (o->goal.axis[d] == SNUG_AXIS_KLD)
            r->ref[d] = fmax(KLD_REF_FACTOR * largest_kld(o), KLD_REF_MIN);
        else
            r->ref[d] = snug__strategy_axis_ref(around->axis[d]);
    }
}

/* Gains of the first n trials; a trial that failed or broke a limit is no point. */
static double (*gains_of(const struct snug_goal *goal, const struct snug_tune_result *r,
                         int n))[SNUG_AXES_MAX]
{
    double(*gain)[SNUG_AXES_MAX] = calloc((size_t)n + 1, sizeof *gain);
    for (int i = 0; gain && i < n; i++)
        for (int d = 0; d < SNUG_AXES_MAX; d++)
            gain[i][d] = !r->trials[i].keeps_limits ? -(double)INFINITY
                         : d >= goal->n_axes
                             ? 1
                             : snug_axis_gain(goal->axis[d], r->trials[i].axis[d], r->ref[d]);
    return gain;
}

double snug__tune_goal_hypervolume(const struct snug_goal *goal, const struct snug_tune_result *r,
                                   int n)
{
    double(*gain)[SNUG_AXES_MAX] = gains_of(goal, r, n);
    const double volume =
        gain ? snug_goal_hypervolume((const double(*)[SNUG_AXES_MAX])gain, (size_t)n) : 0.0;
    free(gain);
    return isfinite(volume) ? volume : 0.0;
}

static size_t plain_front(const struct snug_tune_result *r, struct snug_point *points,
                          size_t *out_index)
{
    for (int i = 0; i < r->n_trials; i++)
        if (r->trials[i].speed > 0.0)
            points[i] = (struct snug_point){r->trials[i].speed,
                                            snug_bytes_stated(&r->trials[i].measurement.bytes)};
    return snug_front_compute(points, (size_t)r->n_trials, out_index);
}

snug_status snug_tune_front(const struct snug_tune_result *result, const struct snug_goal *goal,
                            size_t *out_index, size_t *out_n, struct snug_error *err)
{
    const size_t n = (size_t)result->n_trials;
    struct snug_point *points = calloc(n + 1, sizeof *points);
    double(*gain)[SNUG_AXES_MAX] = gains_of(goal, result, result->n_trials);
    const bool has_room = points && gain;
    if (has_room && snug_goal_is_plain(goal))
        *out_n = plain_front(result, points, out_index);
    else if (has_room)
        *out_n = snug_goal_front((const double(*)[SNUG_AXES_MAX])gain, n, out_index);
    free(points);
    free(gain);
    return has_room ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "no memory for a front");
}

/* ---- what may be picked ---- */

snug_status snug__tune_goal_check(const struct snug_tune_options *o,
                                  const struct snug_tune_trial *trial, struct snug_error *err)
{
    const struct snug_measurement *m = &trial->measurement;
    if (m->outcome != SNUG_TRIAL_OK || m->conditions.energy.is_known ||
        !snug_goal_has(&o->goal, SNUG_AXIS_ENERGY))
        return SNUG_OK;
    return snug_fail(err, SNUG_UNSUPPORTED, "energy was not measured (%s): name other objectives",
                     m->conditions.energy.source[0] ? m->conditions.energy.source : "no meter");
}

void snug__tune_goal_drop(const struct snug_space *space, const struct snug_config *config,
                          struct snug_tune_result *r)
{
    for (int i = 0; i < r->n_trials; i++)
        if (snug_config_equal(space, config, &r->trials[i].config))
            r->trials[i].keeps_limits = r->trials[i].is_safe = false;
}

int snug__tune_goal_best(const struct snug_tune_result *r)
{
    int best = -1;
    for (int i = 0; i < r->n_trials; i++)
        if (r->trials[i].is_safe && (best < 0 || r->trials[i].speed > r->trials[best].speed))
            best = i;
    return best;
}

static const char *limit_text(enum snug_limit limit, double value, char out[SNUG_UNIT_TEXT_MAX])
{
    if (limit == SNUG_LIMIT_KLD)
        snprintf(out, SNUG_UNIT_TEXT_MAX, "%.5g", value);
    else
        snug_seconds_text(value, out);
    return out;
}

struct miss {
    int i;
    enum snug_limit limit;
    double ratio, hi; /* of the upper limit to what is allowed */
};

/* The limit that a trial misses by most. */
static struct miss worst_limit(const struct snug_tune_options *o, const struct snug_tune_trial *t,
                               int i)
{
    struct miss worst = {.i = i, .ratio = 0};
    for (int l = 0; l < SNUG_N_LIMITS; l++) {
        double hi = (double)NAN;
        if (!(o->goal.limit[l] > 0))
            continue;
        (void)snug_limit_value((enum snug_limit)l, &t->measurement, &o->workload,
                               kld_of(o, &t->config), &hi);
        const double ratio = isfinite(hi) ? hi / o->goal.limit[l] : (double)INFINITY;
        if (ratio > worst.ratio)
            worst = (struct miss){i, (enum snug_limit)l, ratio, hi};
    }
    return worst;
}

void snug__tune_goal_note(const struct snug_tune_options *o, struct snug_tune_result *r)
{
    struct miss nearest = {.i = -1, .ratio = (double)INFINITY};
    char has[SNUG_UNIT_TEXT_MAX], limit[SNUG_UNIT_TEXT_MAX], config[256];
    for (int i = 0; i < r->n_trials && !snug_goal_is_plain(&o->goal); i++) {
        const struct miss miss = worst_limit(o, &r->trials[i], i);
        if (r->trials[i].is_safe)
            return;
        if (r->trials[i].speed > 0.0 && (nearest.i < 0 || miss.ratio < nearest.ratio))
            nearest = miss;
    }
    if (nearest.i < 0 || !isfinite(nearest.ratio) || !(nearest.ratio > 0))
        return;
    const struct snug_tune_trial *t = &r->trials[nearest.i];
    snug_config_text(snug_engine_space(o->engine), &t->config, true, config, sizeof config);
    limit_text(nearest.limit, nearest.hi, has);
    limit_text(nearest.limit, o->goal.limit[nearest.limit], limit);
    char more[48];
    if (nearest.ratio < 3)
        snprintf(more, sizeof more, "%.2g %% more than", 100 * (nearest.ratio - 1));
    else
        snprintf(more, sizeof more, "%.3g times", nearest.ratio);
    if (nearest.ratio > 1)
        snprintf(r->limit_note, sizeof r->limit_note,
                 "No config that ran keeps the limits: --%s binds. The nearest has up to %s, "
                 "%s %s: %s",
                 snug_limit_name(nearest.limit), has, more, limit, config);
    else /* only when it was run again */
        snprintf(r->limit_note, sizeof r->limit_note,
                 "No config keeps the limits when it is run again. The nearest to --%s %s: %s",
                 snug_limit_name(nearest.limit), limit, config);
}

/* ---- in the store ---- */

void snug__tune_goal_put(struct snug_json_writer *w, const struct snug_goal *goal)
{
    if (snug_goal_is_plain(goal))
        return;
    snug_json_begin_array(w, "objectives");
    for (int d = 0; d < goal->n_axes; d++)
        snug_json_put_string(w, NULL, snug_axis_name(goal->axis[d]));
    snug_json_end(w);
    snug_json_begin_object(w, "limits");
    for (int l = 0; l < SNUG_N_LIMITS; l++)
        if (goal->limit[l] > 0)
            snug_json_put_number(w, snug_limit_name((enum snug_limit)l), goal->limit[l]);
    snug_json_end(w);
}

void snug__tune_goal_read(const struct snug_json_node *stored, struct snug_goal *out)
{
    const struct snug_json_node *axes = snug_json_get(stored, "objectives");
    const struct snug_json_node *limits = snug_json_get(stored, "limits");
    struct snug_goal goal = {.n_axes = 0};
    char text[128] = "";
    size_t used = 0;
    for (size_t i = 0; i < snug_json_count(axes) && i < SNUG_AXES_MAX && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? "," : "",
                                 snug_json_string(snug_json_at(axes, i), ""));
    if (!text[0])
        snprintf(text, sizeof text, "%s", snug_json_get_string(stored, "objective", ""));
    if (snug_goal_parse(text, &goal, NULL) != SNUG_OK &&
        snug_goal_parse("request", &goal, NULL) != SNUG_OK)
        goal.n_axes = 0;
    for (int l = 0; l < SNUG_N_LIMITS; l++) {
        const double limit = snug_json_get_number(limits, snug_limit_name((enum snug_limit)l), 0.0);
        goal.limit[l] = limit > 0 && isfinite(limit) ? limit : 0.0;
    }
    *out = goal;
}
