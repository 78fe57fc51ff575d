/* A tuning session in the store: options when it begins, past trials when it resumes, result when
 * it ends. */
#include "tune/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trial/trial_json.h"
#include "tune/ladder.h"
#include "tune/loop_goal.h"

static const char KIND[] = "tune";

static bool is_fixed(const struct snug_tune_options *o, int row)
{
    return o->base && o->is_fixed && o->is_fixed[row];
}

/* Knobs set by hand: their names, and the config that has their values. */
static void put_fixed(struct snug_json_writer *w, const struct snug_tune_options *o)
{
    const struct snug_space *space = snug_engine_space(o->engine);
    snug_json_begin_array(w, "fixed");
    for (int i = 0; i < space->n; i++) {
        if (is_fixed(o, i))
            snug_json_put_string(w, NULL, space->knobs[i].name);
    }
    snug_json_end(w);
    if (o->base)
        snug_config_to_json(w, "base", space, o->base);
}

snug_status snug__tune_fixed_read(const struct snug_json_node *stored,
                                  const struct snug_space *space, struct snug_config *out_base,
                                  bool *out_is_fixed, struct snug_error *err)
{
    const struct snug_json_node *names = snug_json_get(stored, "fixed");
    const struct snug_json_node *base = snug_json_get(stored, "base");
    struct snug_config config;
    snug_space_default(space, &config);
    if (base) {
        const snug_status status = snug_config_from_json(base, space, true, &config, err);
        if (status != SNUG_OK)
            return status;
    }
    for (int i = 0; i < space->n; i++)
        out_is_fixed[i] = false;
    for (size_t k = 0; k < snug_json_count(names); k++) {
        const int row = snug_space_find(space, snug_json_string(snug_json_at(names, k), ""));
        if (row >= 0)
            out_is_fixed[row] = true;
    }
    *out_base = config;
    return SNUG_OK;
}

/* Trials with other knobs set by hand are of another search. */
static snug_status check_fixed(const struct snug_tune_options *o, const char *json,
                               struct snug_error *err)
{
    const struct snug_space *space = snug_engine_space(o->engine);
    struct snug_json *doc = NULL;
    struct snug_config base;
    bool was_fixed[SNUG_KNOBS_MAX] = {false};
    char text[256];
    snug_status status = snug_json_parse("stored session", json, strlen(json), &doc, err);
    const struct snug_json_node *stored = snug_json_root(doc);
    /* Sessions of earlier versions do not tell. */
    const bool is_told = status == SNUG_OK && snug_json_get(stored, "fixed");
    if (is_told)
        status = snug__tune_fixed_read(stored, space, &base, was_fixed, err);
    for (int i = 0; is_told && status == SNUG_OK && i < space->n; i++) {
        const bool is_same =
            is_fixed(o, i) == was_fixed[i] && (!was_fixed[i] || o->base->value[i] == base.value[i]);
        if (!is_same)
            status = snug_fail(err, SNUG_BAD_INPUT,
                               "the unfinished session was begun with other knobs set by hand (%s, "
                               "differs in %s): give the same ones or none with --resume, or "
                               "begin anew without it",
                               snug_config_text(space, &base, true, text, sizeof text),
                               space->knobs[i].name);
    }
    snug_json_free(doc);
    return status;
}

/* So are trials of another goal. A session without objectives had a speed and memory. */
static snug_status check_goal(const struct snug_tune_options *o, const char *json,
                              struct snug_error *err)
{
    struct snug_json *doc = NULL;
    struct snug_goal goal;
    char had[96], want[96];
    snug_status status = snug_json_parse("stored session", json, strlen(json), &doc, err);
    if (status != SNUG_OK)
        return status;
    snug__tune_goal_read(snug_json_root(doc), &goal);
    snug_json_free(doc);
    if (snug_goal_equal(&o->goal, &goal))
        return SNUG_OK;
    snug_goal_text(&goal, had, sizeof had);
    snug_goal_text(&o->goal, want, sizeof want);
    return snug_fail(err, SNUG_BAD_INPUT,
                     "the unfinished session was begun with %s (--objective %s): give the "
                     "same ones or none with --resume, or begin anew without it",
                     strcmp(had, want) == 0 ? "other limits" : "other objectives", had);
}

static char *options_json(const struct snug_tune_options *o)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "objective", snug_objective_name(snug_goal_lead(&o->goal)));
    snug_json_put_int(&w, "memory_limit_bytes", (int64_t)o->memory_limit_bytes);
    snug_json_put_int(&w, "n_trials", o->n_trials);
    snug_json_put_number(&w, "time_s", o->time_s);
    snug_json_put_int(&w, "n_front_trials", o->n_front_trials);
    snug_json_put_bool(&w, "has_ladder", o->has_ladder);
    snug_json_put_bool(&w, "drops_inert", o->drops_inert);
    snug_json_put_string(&w, "strategy", o->strategy);
    snug_json_put_int(&w, "seed", (int64_t)o->seed);
    snug_json_put_string(&w, "prior", o->prior_source ? o->prior_source : "");
    snug_json_put_string(&w, "past", o->past_source ? o->past_source : "");
    snug__tune_goal_put(&w, &o->goal);
    put_fixed(&w, o);
    snug_json_end(&w);
    return snug_json_finish(&w, false);
}

snug_status snug__tune_session_new(const struct snug_tune_options *options, int64_t *out_id,
                                   struct snug_error *err)
{
    char *json = options_json(options);
    if (!json)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a session");
    const snug_status status =
        snug_store_session(options->store, options->task_id, KIND, json, out_id, err);
    free(json);
    return status;
}

struct loading {
    const struct snug_space *space;
    struct snug__tune_past past;
    size_t cap;
    bool is_failed;
};

/* Roles are kept as literals, so that trials need no string of their own. */
static const char *role_literal(const char *role)
{
    static const char *const roles[] = {"default", "fit", "search", "front"};
    const int rung = snug__ladder_rung(role);
    if (rung > 0)
        return snug__ladder_role(rung);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(roles[i], role) == 0)
            return roles[i];
    }
    return NULL;
}

static bool load_one(const struct snug_trial_view *view, void *data)
{
    struct loading *l = data;
    const char *role = role_literal(view->role);
    if (!role)
        return true;
    if ((size_t)l->past.n == l->cap) {
        const size_t cap = l->cap ? l->cap * 2 : 32;
        struct snug_tune_trial *grown = realloc(l->past.trials, cap * sizeof *grown);
        if (!grown) {
            l->is_failed = true;
            return false;
        }
        l->past.trials = grown;
        l->cap = cap;
    }
    struct snug_tune_trial trial = {
        .id = view->id, .role = role, .measurement = *view->measurement};
    snug_measurement_forget(&trial.measurement);
    snug_space_default(l->space, &trial.config);
    struct snug_json *doc = NULL;
    if (snug_json_parse("stored config", view->config_json, strlen(view->config_json), &doc,
                        NULL) != SNUG_OK)
        return true; /* a row that cannot be read teaches nothing */
    if (snug_config_from_json(snug_json_root(doc), l->space, true, &trial.config, NULL) == SNUG_OK)
        l->past.trials[l->past.n++] = trial;
    snug_json_free(doc);
    return true;
}

snug_status snug__tune_past_load(const struct snug_tune_options *options, int64_t *out_id,
                                 struct snug__tune_past *out, struct snug_error *err)
{
    char *json = NULL;
    int64_t id = 0;
    snug_status status =
        snug_store_session_unfinished(options->store, options->task_id, KIND, &id, &json, err);
    if (status == SNUG_OK)
        status = check_fixed(options, json, err);
    if (status == SNUG_OK)
        status = check_goal(options, json, err);
    free(json);
    if (status != SNUG_OK)
        return status;
    struct loading l = {.space = snug_engine_space(options->engine)};
    const struct snug_trial_filter filter = {.task_id = options->task_id, .session_id = id};
    status = snug_store_trials(options->store, &filter, load_one, &l, err);
    if (status == SNUG_OK && l.is_failed)
        status = snug_fail(err, SNUG_NO_MEMORY, "no memory for past trials");
    if (status != SNUG_OK) {
        free(l.past.trials);
        return status;
    }
    *out_id = id;
    *out = l.past;
    return SNUG_OK;
}

static void put_trial_id(struct snug_json_writer *w, const char *key,
                         const struct snug_tune_result *r, int i)
{
    if (i >= 0)
        snug_json_put_int(w, key, r->trials[i].id);
}

static void put_progress(struct snug_json_writer *w, const struct snug_tune_result *r)
{
    double best = 0.0, elapsed = 0.0;
    snug_json_begin_array(w, "progress");
    for (int i = 0; i < r->n_trials; i++) {
        const struct snug_tune_trial *trial = &r->trials[i];
        best = trial->speed > best ? trial->speed : best;
        elapsed += trial->measurement.wall_s;
        snug_json_begin_object(w, NULL);
        snug_json_put_int(w, "trial", trial->id);
        snug_json_put_number(w, "best_speed", best);
        snug_json_put_number(w, "hypervolume", trial->hypervolume);
        snug_json_put_number(w, "elapsed_s", elapsed);
        snug_json_end(w);
    }
    snug_json_end(w);
}

static void put_command(struct snug_json_writer *w, const struct snug_tune_options *o,
                        const struct snug_tune_result *r)
{
    char **words = NULL;
    if (r->i_pick < 0 ||
        snug_engine_flags(snug_engine_space(o->engine), &r->trials[r->i_pick].config, &o->workload,
                          &words, NULL) != SNUG_OK)
        return;
    char *line = snug_engine_command_line("llama-server", o->model_path, words);
    snug_json_put_string(w, "command", line);
    free(line);
    snug_engine_flags_free(words);
}

void snug__tune_confirm_json(struct snug_json_writer *w, const struct snug_tune_result *r)
{
    char verdict[64];
    snug_json_begin_array(w, "confirm");
    for (int i = 0; i < r->n_confirm; i++) {
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "against", r->confirm[i].against);
        snug_json_put_number(w, "lo", r->confirm[i].ratio.lo);
        snug_json_put_number(w, "mid", r->confirm[i].ratio.mid);
        snug_json_put_number(w, "hi", r->confirm[i].ratio.hi);
        snug_json_put_int(w, "n_pairs", r->confirm[i].n_pairs);
        snug_json_put_number(w, "speed_best", r->confirm[i].speed_best);
        snug_json_put_number(w, "speed_other", r->confirm[i].speed_other);
        snprintf(verdict, sizeof verdict,
                 r->confirm[i].ratio.lo > 1.0 ? "%.2fx faster" : "no gain shown (ratio %.2f)",
                 r->confirm[i].ratio.mid);
        snug_json_put_string(w, "verdict", verdict);
        snug_json_end(w);
    }
    snug_json_end(w);
}

void snug__tune_front_json(struct snug_json_writer *w, const struct snug_tune_result *r)
{
    if (r->n_members == 0)
        return;
    snug_json_begin_array(w, "front");
    for (int i = 0; i < r->n_members; i++) {
        const struct snug_tune_member *member = &r->members[i];
        snug_json_begin_object(w, NULL);
        snug_json_put_int(w, "trial", r->trials[member->i_trial].id);
        snug_json_put_number(w, "lo", member->speed.lo);
        snug_json_put_number(w, "mid", member->speed.mid);
        snug_json_put_number(w, "hi", member->speed.hi);
        snug_json_put_int(w, "n_repeats", member->n_repeats);
        snug_json_end(w);
    }
    snug_json_end(w);
    snug_json_put_bool(w, "is_order_known", r->is_order_known);
    snug_json_put_int(w, "n_front_trials", r->n_repeats);
}

char *snug__tune_result_json(const struct snug_tune_options *o, const struct snug_tune_result *r)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "objective", snug_objective_name(snug_goal_lead(&o->goal)));
    snug_json_put_int(&w, "memory_limit_bytes", (int64_t)o->memory_limit_bytes);
    snug__tune_goal_put(&w, &o->goal);
    if (r->limit_note[0])
        snug_json_put_string(&w, "limit_note", r->limit_note);
    snug_json_put_string(&w, "end_reason", r->end_reason);
    snug_json_put_string(&w, "fit_note", r->fit_note);
    snug_json_put_number(&w, "elapsed_s", r->elapsed_s);
    put_command(&w, o, r);
    put_trial_id(&w, "pick_trial", r, r->i_pick);
    put_trial_id(&w, "best_trial", r, r->i_best);
    put_trial_id(&w, "default_trial", r, r->i_default);
    put_trial_id(&w, "fit_trial", r, r->i_fit);
    snug__tune_front_json(&w, r);
    snug__tune_confirm_json(&w, r);
    put_progress(&w, r);
    snug_json_end(&w);
    return snug_json_finish(&w, false);
}
