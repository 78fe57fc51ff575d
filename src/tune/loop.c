/* The tuning session: default, --fit choice, search, confirmation.
 *
 * Order of things: a trial is asked for, run, stored, told. The store comes before the strategy, so
 * that a session killed at any moment resumes from what the store has. */
#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/process.h"
#include "snug/tune_loop.h"
#include "snug/units.h"
#include "tune/ladder.h"
#include "tune/loop_goal.h"
#include "tune/session.h"
#include "tune/strategy.h"

/* Of a time budget, kept for measuring the front again. */
static const double FRONT_TIME_FRAC = 0.2;

struct loop {
    const struct snug_tune_options *options;
    const struct snug_space *space;
    struct snug_space searched; /* space less the rows that are fixed by hand */
    struct snug_tune_result *result;
    struct snug_strategy *strategy;
    double start_s, earlier_s; /* earlier_s: spent before a resume */
    size_t trials_cap;
};

static double elapsed_s(const struct loop *l)
{
    return l->earlier_s + snug_clock_s() - l->start_s;
}

static bool is_stopped(const struct loop *l)
{
    return l->options->stop && *l->options->stop;
}

/* Did the trial at a low rung go on, or was its config measured with more effort later? */
static bool went_on(const struct loop *l, int i)
{
    const struct snug_tune_result *r = l->result;
    for (int k = i + 1; k < r->n_trials; k++)
        if (snug__ladder_is_more(r->trials[k].rung, r->trials[i].rung) &&
            snug_config_equal(l->space, &r->trials[i].config, &r->trials[k].config))
            return true;
    return false;
}

/* Configs that the search measured, however much of each. */
static int n_searched(const struct loop *l)
{
    const struct snug_tune_result *r = l->result;
    int n = 0;
    for (int i = 0; i < r->n_trials; i++)
        n += strcmp(r->trials[i].role, "search") == 0 || (r->trials[i].rung > 0 && !went_on(l, i));
    return n;
}

/* ---- one trial ---- */

static bool stated_bytes(const struct snug_config *config, uint64_t *out_bytes, void *data)
{
    const struct loop *l = data;
    struct snug_bytes bytes = {0};
    if (snug_engine_estimate(l->options->engine, config, &bytes, NULL) != SNUG_OK)
        return false;
    *out_bytes = snug_bytes_stated(&bytes);
    return true;
}

static snug_status tell(struct loop *l, const struct snug_tune_trial *trial, struct snug_error *err)
{
    if (!l->strategy)
        return SNUG_OK;
    const struct snug_tune_options *o = l->options;
    const enum snug_objective lead = snug_goal_lead(&o->goal);
    struct snug_observation observation = {
        .config = trial->config,
        .outcome = trial->measurement.outcome,
        .speed = snug_measurement_speed(&trial->measurement, &o->workload, lead),
        .log_speed_sd = snug__strategy_speed_sd(&trial->measurement, &o->workload, lead),
        .bytes = snug_bytes_stated(&trial->measurement.bytes),
        .setup_s = trial->measurement.load_s,
        .work_s = fmax(trial->measurement.wall_s - trial->measurement.load_s, 0.0),
        .rung = trial->rung,
    };
    snug__tune_goal_observe(o, trial, &observation);
    if (observation.outcome == SNUG_TRIAL_OK && !(observation.speed > 0.0))
        observation.outcome =
            SNUG_TRIAL_REFUSED; /* it ran, but gave no figure: energy below idle */
    return snug_strategy_tell(l->strategy, &observation, err);
}

static void event(struct loop *l, enum snug_tune_event_kind kind, const char *role,
                  const struct snug_config *config, const struct snug_tune_trial *trial)
{
    const struct snug_tune_result *r = l->result;
    if (!l->options->on_event)
        return;
    const struct snug_tune_event e = {
        .kind = kind,
        .role = role,
        .config = config,
        .trial = trial,
        .n_done = n_searched(l),
        .n_planned = l->options->n_trials,
        .best_speed = r->i_best >= 0 ? r->trials[r->i_best].speed : 0.0,
        .default_speed = r->i_default >= 0 ? r->trials[r->i_default].speed : 0.0,
        .elapsed_s = elapsed_s(l),
    };
    l->options->on_event(&e, l->options->event_data);
}

/* Of the first n_trials trials. */
static double hypervolume(const struct loop *l, int n_trials)
{
    const struct snug_tune_result *r = l->result;
    if (!snug_goal_is_plain(&l->options->goal))
        return snug__tune_goal_hypervolume(&l->options->goal, r, n_trials);
    struct snug_point *points = calloc((size_t)n_trials + 1, sizeof *points);
    size_t n = 0;
    for (int i = 0; points && i < n_trials; i++) {
        if (r->trials[i].speed > 0.0)
            points[n++] = (struct snug_point){r->trials[i].speed,
                                              snug_bytes_stated(&r->trials[i].measurement.bytes)};
    }
    const double area = points ? snug_front_hypervolume(points, n, &r->bounds) : 0.0;
    free(points);
    return area;
}

/* Take a finished trial into the result; owns nothing of m but its plain values. */
static snug_status keep(struct loop *l, int64_t id, const char *role,
                        const struct snug_config *config, const struct snug_measurement *m,
                        struct snug_error *err)
{
    struct snug_tune_result *r = l->result;
    if ((size_t)r->n_trials == l->trials_cap) {
        const size_t cap = l->trials_cap ? l->trials_cap * 2 : 32;
        struct snug_tune_trial *grown = realloc(r->trials, cap * sizeof *grown);
        if (!grown)
            return snug_fail(err, SNUG_NO_MEMORY, "no memory for %zu trials", cap);
        r->trials = grown;
        l->trials_cap = cap;
    }
    struct snug_tune_trial *trial = &r->trials[r->n_trials];
    *trial = (struct snug_tune_trial){.id = id, .role = role, .config = *config, .measurement = *m};
    snug_measurement_forget(&trial->measurement);
    trial->rung = snug__ladder_rung(role);
    if (trial->rung == 0)
        trial->speed =
            snug_measurement_speed(m, &l->options->workload, snug_goal_lead(&l->options->goal));
    snug__tune_goal_judge(l->options, trial);
    const int at = r->n_trials++;
    if (strcmp(role, "default") == 0)
        r->i_default = at;
    if (strcmp(role, "fit") == 0)
        r->i_fit = at;
    if (trial->is_safe && (r->i_best < 0 || trial->speed > r->trials[r->i_best].speed))
        r->i_best = at;
    trial->hypervolume = r->bounds.bytes_ref ? hypervolume(l, r->n_trials) : 0.0;
    return snug__tune_goal_check(l->options, trial, err);
}

static snug_status run_trial(struct loop *l, const char *role, const char *strategy,
                             const struct snug_config *config, const struct snug_ask_info *ask,
                             struct snug_error *err)
{
    const struct snug_tune_options *o = l->options;
    struct snug_measurement m = {0};
    struct snug_effort effort = o->effort;
    int64_t id = 0;
    if (snug__ladder_rung(role) > 0)
        snug__ladder_effort(&o->effort, snug__ladder_rung(role), &effort);
    event(l, SNUG_TUNE_BEGIN, role, config, NULL);
    snug_status status = snug_engine_run(o->engine, config, &effort, &m, err);
    if (status != SNUG_OK)
        return status;
    status = snug_store_trial_add(o->store, o->task_id, l->result->session_id, role, strategy,
                                  l->space, config, &m, &id, err);
    if (status == SNUG_OK)
        status = keep(l, id, role, config, &m, err);
    if (status == SNUG_OK) {
        struct snug_tune_trial *trial = &l->result->trials[l->result->n_trials - 1];
        if (ask)
            trial->ask = *ask;
        status = tell(l, trial, err);
        event(l, SNUG_TUNE_END, role, config, trial);
    }
    snug_measurement_clear(&m);
    return status;
}

/* Up the ladder while it is worth it; the worker keeps the model. A config that ended at a low rung
 * before goes on with the next. */
static snug_status climb(struct loop *l, const struct snug_config *config,
                         const struct snug_ask_info *ask, struct snug_error *err)
{
    const struct snug_tune_options *o = l->options;
    const struct snug_strategy *s = l->strategy;
    const int reached = snug__ladder_reached(l->space, s->told, s->n_told, config);
    int rung = o->has_ladder ? snug__ladder_next(&o->workload, reached) : 0;
    while (rung > 0) {
        const int next = snug__ladder_next(&o->workload, rung);
        snug_status status = run_trial(l, snug__ladder_role(rung), o->strategy, config, ask, err);
        if (status == SNUG_OK)
            status = snug__strategy_climb(l->strategy, next, &rung, err);
        if (status != SNUG_OK || rung == SNUG__CLIMB_ENDS || is_stopped(l))
            return status;
    }
    return run_trial(l, "search", o->strategy, config, ask, err);
}

/* ---- the phases ---- */

static bool is_fixed(const struct loop *l, int row)
{
    return l->options->base && l->options->is_fixed && l->options->is_fixed[row];
}

/* What was set by hand holds everywhere: a pick that breaks it would be none. */
static void keep_fixed(const struct loop *l, struct snug_config *config)
{
    for (int i = 0; i < l->space->n; i++) {
        if (is_fixed(l, i))
            config->value[i] = l->options->base->value[i];
    }
}

/* The region of the hypervolume, fixed once the default is known; where it does not run, once
 * --fit's choice is: a region around nothing would be all memory. */
static void fix_bounds(struct loop *l, bool has_tried_fit)
{
    struct snug_tune_result *r = l->result;
    const bool has_failed = r->i_default >= 0 && !(r->trials[r->i_default].speed > 0.0);
    if (r->bounds.bytes_ref || r->i_default < 0 || (has_failed && !has_tried_fit))
        return;
    const bool use_fit = has_failed && r->i_fit >= 0 && r->trials[r->i_fit].speed > 0.0;
    const struct snug_tune_trial *d = &r->trials[use_fit ? r->i_fit : r->i_default];
    r->bounds = snug__strategy_region(d->speed, snug_bytes_stated(&d->measurement.bytes),
                                      l->options->memory_limit_bytes);
    snug__tune_goal_refs(l->options, d, r);
    for (int i = 0; i < r->n_trials; i++) /* those that came before the region, also by a resume */
        r->trials[i].hypervolume = hypervolume(l, i + 1);
}

static snug_status measure_references(struct loop *l, struct snug_error *err)
{
    struct snug_tune_result *r = l->result;
    struct snug_config config;
    snug_status status = SNUG_OK;
    snug_space_default(l->space, &config);
    keep_fixed(l, &config);
    if (r->i_default < 0)
        status = run_trial(l, "default", "", &config, NULL, err);
    if (status != SNUG_OK)
        return status;
    fix_bounds(l, r->i_fit >= 0 || is_stopped(l));
    if (r->i_fit >= 0 || is_stopped(l))
        return SNUG_OK;
    struct snug_error why = {0};
    if (snug_engine_fit(l->space, &l->options->workload, l->options->model_path, &config, &why) !=
        SNUG_OK) {
        snprintf(r->fit_note, sizeof r->fit_note, "%.200s", why.text);
        fix_bounds(l, true);
        return SNUG_OK;
    }
    keep_fixed(l, &config);
    status = run_trial(l, "fit", "", &config, NULL, err);
    fix_bounds(l, true);
    return status;
}

static snug_status start_strategy(struct loop *l, struct snug_error *err)
{
    struct snug_problem problem = {
        .space = &l->searched,
        .bounds = l->result->bounds,
        .bytes_limit = l->options->memory_limit_bytes,
        .bytes = stated_bytes,
        .bytes_data = l,
        .prior = l->options->prior,
        .prior_data = l->options->prior_data,
        .pasts = l->options->pasts,
        .n_pasts = l->options->n_pasts,
        .seed = l->options->seed,
        .drops_inert = l->options->drops_inert,
        .n_trials = l->options->n_trials + 2,
        .goal = l->options->goal,
        .kld = l->options->kld,
        .kld_data = l->options->kld_data,
    };
    memcpy(problem.ref, l->result->ref, sizeof problem.ref);
    if (l->options->base)
        problem.base = *l->options->base;
    else
        snug_space_default(l->space, &problem.base);
    for (int i = 0; i < l->searched.n; i++)
        l->searched.knobs[i].is_tuned = l->searched.knobs[i].is_tuned && !is_fixed(l, i);
    snug_status status = snug_strategy_new(l->options->strategy, &problem, &l->strategy, err);
    for (int i = 0; status == SNUG_OK && i < l->result->n_trials; i++)
        status = tell(l, &l->result->trials[i], err);
    return status;
}

/* Fronts of other axes stand as they were measured at first. */
static bool has_front_phase(const struct snug_tune_options *o)
{
    return o->n_front_trials > 0 && snug_goal_is_plain(&o->goal);
}

static double search_s(const struct snug_tune_options *o)
{
    return has_front_phase(o) ? (1.0 - FRONT_TIME_FRAC) * o->time_s : o->time_s;
}

static snug_status search(struct loop *l, struct snug_error *err)
{
    const struct snug_tune_options *o = l->options;
    struct snug_tune_result *r = l->result;
    char text[SNUG_UNIT_TEXT_MAX];
    while (!is_stopped(l)) {
        if (n_searched(l) >= o->n_trials) {
            snprintf(r->end_reason, sizeof r->end_reason, "%d trials done", o->n_trials);
            return SNUG_OK;
        }
        if (r->n_trials + SNUG__LADDER_RUNGS >= SNUG_STRATEGY_TELLS_MAX) {
            snprintf(r->end_reason, sizeof r->end_reason,
                     "%d trials and begun ones, no more are learned from", r->n_trials);
            return SNUG_OK;
        }
        if (o->time_s > 0.0 && elapsed_s(l) >= search_s(o)) {
            snprintf(r->end_reason, sizeof r->end_reason, "%s are over",
                     snug_seconds_text(search_s(o), text));
            return SNUG_OK;
        }
        struct snug_config config;
        struct snug_ask_info info = {0};
        struct snug_error why = {0};
        snug_status status = snug_strategy_ask(l->strategy, &config, &info, &why);
        if (status != SNUG_OK && status != SNUG_NOT_FOUND)
            return snug_fail(err, status, "%s", why.text);
        if (status == SNUG_NOT_FOUND) {
            snprintf(r->end_reason, sizeof r->end_reason, "%.120s", why.text);
            return SNUG_OK;
        }
        if (status == SNUG_OK)
            status = climb(l, &config, &info, err);
        if (status != SNUG_OK)
            return status;
    }
    return SNUG_OK;
}

static snug_status finish(struct loop *l, struct snug_error *err)
{
    struct snug_tune_result *r = l->result;
    r->elapsed_s = elapsed_s(l);
    r->is_stopped = is_stopped(l);
    if (r->is_stopped) {
        snprintf(r->end_reason, sizeof r->end_reason, "stopped by the user");
        return SNUG_OK; /* stays unfinished: --resume goes on */
    }
    char *json = snug__tune_result_json(l->options, r);
    if (!json)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for the result");
    const snug_status status =
        snug_store_session_finish(l->options->store, r->session_id, json, err);
    free(json);
    return status;
}

static snug_status keep_repeat(struct loop *l, const struct snug_tune_trial *trial,
                               struct snug_error *err)
{
    const struct snug_tune_options *o = l->options;
    const struct snug_tune_repeat repeat = {
        .config = trial->config,
        .speed =
            snug_measurement_speed(&trial->measurement, &o->workload, snug_goal_lead(&o->goal)),
        .wall_s = trial->measurement.wall_s};
    return snug__tune_repeat_add(l->result, &repeat, err);
}

static snug_status take_over(struct loop *l, struct snug_error *err)
{
    struct snug_tune_result *r = l->result;
    struct snug__tune_past past = {0};
    snug_status status = snug__tune_past_load(l->options, &r->session_id, &past, err);
    for (int i = 0; status == SNUG_OK && i < past.n; i++) {
        l->earlier_s += past.trials[i].measurement.wall_s;
        if (strcmp(past.trials[i].role, "front") == 0) {
            status = keep_repeat(l, &past.trials[i], err);
            continue;
        }
        status = keep(l, past.trials[i].id, past.trials[i].role, &past.trials[i].config,
                      &past.trials[i].measurement, err);
        fix_bounds(l, r->i_fit >= 0);
    }
    free(past.trials);
    return status;
}

static snug_status run_phases(struct loop *l, struct snug_error *err)
{
    const struct snug_tune_options *o = l->options;
    struct snug_tune_result *r = l->result;
    if (o->has_ladder && !snug_goal_is_plain(&o->goal)) /* what is worth its seconds is not known */
        return snug_fail(err, SNUG_BAD_INPUT,
                         "trials can begin low (--ladder) for a speed and memory alone: leave the "
                         "other objectives and the limits out, or the ladder");
    snug_status status =
        o->is_resumed ? take_over(l, err) : snug__tune_session_new(o, &r->session_id, err);
    if (status == SNUG_OK)
        status = measure_references(l, err);
    if (status == SNUG_OK && !is_stopped(l))
        status = start_strategy(l, err);
    if (status == SNUG_OK && !is_stopped(l))
        status = search(l, err);
    if (status == SNUG_OK && !is_stopped(l) && r->i_best >= 0 && has_front_phase(o))
        status = snug__tune_remeasure(o, l->strategy, o->time_s - elapsed_s(l), r, err);
    r->i_pick = r->i_best;
    if (status == SNUG_OK && !is_stopped(l) && r->i_best >= 0 && o->n_confirm_pairs > 0)
        status = snug__tune_confirm_run(o, r, err);
    snug__tune_goal_note(o, r);
    /* A trial cut short by Ctrl-C ends the session as it is; what is stored stays. */
    if (status == SNUG_INTERRUPTED)
        status = SNUG_OK;
    return status == SNUG_OK ? finish(l, err) : status;
}

snug_status snug_tune_run(const struct snug_tune_options *options, struct snug_tune_result *out,
                          struct snug_error *err)
{
    struct snug_tune_result result = {.i_default = -1, .i_fit = -1, .i_best = -1, .i_pick = -1};
    struct loop l = {.options = options,
                     .space = snug_engine_space(options->engine),
                     .searched = *snug_engine_space(options->engine),
                     .result = &result,
                     .start_s = snug_clock_s()};
    const snug_status status = run_phases(&l, err);
    snug_strategy_free(l.strategy);
    if (status != SNUG_OK) {
        snug_tune_result_clear(&result);
        return status;
    }
    *out = result;
    return SNUG_OK;
}

void snug_tune_result_clear(struct snug_tune_result *result)
{
    free(result->trials);
    free(result->repeats);
    *result = (struct snug_tune_result){.i_default = -1, .i_fit = -1, .i_best = -1, .i_pick = -1};
}
