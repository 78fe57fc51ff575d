/* snug tune: the search, seen by a person. Talk on stderr while it runs; the answer on stdout. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/process.h"
#include "cli/cli.h"
#include "cli/task.h"
#include "cli/tune_front.h"
#include "cli/tune_goal.h"
#include "cli/tune_past.h"
#include "cli/tune_prior.h"
#include "snug/tune_loop.h"
#include "snug/units.h"
#include "trial/trial_json.h"
#include "tune/loop_goal.h"
#include "tune/past_tasks.h"
#include "tune/session.h"

static const int N_TRIALS_DEFAULT = 16;
static const int N_CONFIRM_PAIRS = 8;
static const double TRIAL_LIMIT_S = 120.0, TRIAL_LIMIT_S_PER_GIB = 30.0;

struct screen {
    const struct snug_space *space;
    struct snug_goal goal;
    enum snug_objective objective; /* its lead */
    const struct snug_workload *workload;
    struct snug_tune_event last;
    double time_s;
    bool has_fixed;                         /* knobs set by hand: they hold in the default too */
    char begun_with[SNUG_SOURCE_MAX];       /* the prior of the session that is resumed; "": none */
    char begun_past[SNUG__PAST_RECORD_MAX]; /* and its past tasks; "": none */
    char phase[64];
};

static void left_text(const struct screen *s, char out[64])
{
    const struct snug_tune_event *e = &s->last;
    char text[SNUG_UNIT_TEXT_MAX];
    double left = 0.0;
    if (e->n_done > 0)
        left = e->elapsed_s / (e->n_done + 2) * (e->n_planned - e->n_done);
    if (s->time_s > 0.0 && s->time_s - e->elapsed_s < left)
        left = fmax(s->time_s - e->elapsed_s, 0.0);
    out[0] = '\0';
    if (left > 0.0)
        snprintf(out, 64, ", about %s left", snug_seconds_text(left, text));
}

static void draw(struct screen *s)
{
    char best[64], left[64];
    left_text(s, left);
    if (s->last.kind == SNUG_TUNE_FRONT)
        cli_live("front again, trial %d of at most %d: %s", s->last.n_done + 1, s->last.n_planned,
                 s->phase);
    else if (s->last.kind == SNUG_TUNE_CONFIRM)
        cli_live("check %d of %d: %s", s->last.n_done + 1, s->last.n_planned, s->phase);
    else
        cli_live("trial %d of %d, best %s%s: %s", s->last.n_done + 1, s->last.n_planned,
                 cli_speed_text(s->objective, s->last.best_speed, best), left, s->phase);
}

static void on_phase(const char *phase, void *data)
{
    struct screen *s = data;
    snprintf(s->phase, sizeof s->phase, "%s", phase);
    draw(s);
}

static void on_event(const struct snug_tune_event *event, void *data)
{
    struct screen *s = data;
    char config[512], speed[64], bytes[SNUG_UNIT_TEXT_MAX], label[64], rules[128], axes[256];
    s->last = *event;
    s->phase[0] = '\0';
    if (event->kind != SNUG_TUNE_END) {
        draw(s);
        return;
    }
    const struct snug_tune_trial *trial = event->trial;
    if (strcmp(event->role, "search") == 0 || trial->rung > 0)
        snprintf(label, sizeof label, "%3d/%d", event->n_done, event->n_planned);
    else
        snprintf(label, sizeof label, "%-6s", event->role);
    snug_config_text(s->space, event->config, true, config, sizeof config);
    const bool is_invalid = snug_verdict_of(trial->measurement.warnings) == SNUG_INVALID;
    if (trial->rung > 0 && trial->measurement.outcome == SNUG_TRIAL_OK)
        cli_say("%-7s %-22s %9s  %s  (begun%s)", label,
                cli_speed_text(
                    s->objective,
                    snug_measurement_speed(&trial->measurement, s->workload, s->objective), speed),
                "", config, trial->rung > 1 ? " further" : "");
    else if (trial->measurement.outcome == SNUG_TRIAL_OK && !snug_goal_is_plain(&s->goal))
        cli_say("%-7s %s  %s%s%s", label,
                cli_axes_text(&s->goal, s->workload, trial, axes, sizeof axes), config,
                is_invalid ? "  INVALID: " : "",
                is_invalid ? snug_warnings_text(trial->measurement.warnings, ", ", rules, 128)
                           : "");
    else if (trial->measurement.outcome == SNUG_TRIAL_OK)
        cli_say("%-7s %-22s %9s  %s%s%s%s", label,
                cli_speed_text(s->objective, trial->speed, speed),
                snug_bytes_text(snug_bytes_stated(&trial->measurement.bytes), bytes), config,
                is_invalid ? "  INVALID: " : "",
                is_invalid ? snug_warnings_text(trial->measurement.warnings, ", ", rules, 128) : "",
                trial->speed >= event->best_speed && event->default_speed > 0.0 &&
                        trial->speed > event->default_speed
                    ? "  (best)"
                    : "");
    else
        cli_say("%-7s %-22s %9s  %s  (%s)", label, snug_outcome_name(trial->measurement.outcome),
                "", config, trial->measurement.reason);
}

/* ---- the answer ---- */

/* The speed to quote of a trial: what the check at the end measured, where it did. A first
 * measurement of a winner is too good: it won partly by luck. */
static double checked_speed(const struct snug_tune_result *r, int i)
{
    for (int k = 0; k < r->n_confirm; k++) {
        const int other = strcmp(r->confirm[k].against, "fit") == 0 ? r->i_fit : r->i_default;
        if (i == r->i_best)
            return r->confirm[k].speed_best;
        if (i == other)
            return r->confirm[k].speed_other;
    }
    for (int k = 0; k < r->n_members; k++)
        if (r->members[k].i_trial == i)
            return r->members[k].speed.mid;
    return r->trials[i].speed;
}

/* Words first, number second, why third. */
static void put_verdict(const struct snug_tune_result *r, const struct screen *s,
                        struct snug_buffer *out)
{
    char a[64], b[64];
    if (r->i_pick < 0 && r->limit_note[0]) {
        snug_buffer_printf(out, "%s\n", r->limit_note);
        return;
    }
    if (r->i_best < 0 || r->i_pick < 0) {
        snug_buffer_puts(out, "No config ran. The reasons stand above; a smaller context or model, "
                              "or more --memory, may help.\n");
        return;
    }
    const bool is_default =
        r->i_default >= 0 &&
        snug_config_equal(s->space, &r->trials[r->i_best].config, &r->trials[r->i_default].config);
    if (is_default || r->n_confirm == 0)
        snug_buffer_printf(out, "%s\n",
                           is_default
                               ? "llama.cpp's default is already the fastest config that was tried."
                               : "Not checked against the default: these are first measurements.");
    for (int i = 0; i < r->n_confirm; i++) {
        const struct snug_tune_confirm *c = &r->confirm[i];
        char name[96];
        const bool is_fit = strcmp(c->against, "fit") == 0;
        const bool is_past = !r->trials[is_fit ? r->i_fit : r->i_default].is_safe;
        snprintf(name, sizeof name, "llama.cpp's %s%s%s", is_fit ? "--fit choice" : "default",
                 s->has_fixed ? " with the knobs set by hand" : "",
                 is_past ? ", which is past a limit" : "");
        if (c->ratio.lo > 1.0)
            snug_buffer_printf(out,
                               "%.2fx faster than %s (95 %% interval %.2f to %.2f, %d pairs "
                               "measured alternately).\n",
                               c->ratio.mid, name, c->ratio.lo, c->ratio.hi, c->n_pairs);
        else
            snug_buffer_printf(
                out,
                "No gain shown over %s: ratio %.2f, the 95 %% interval %.2f to %.2f includes 1 "
                "or lies below (%d pairs).\n",
                name, c->ratio.mid, c->ratio.lo, c->ratio.hi, c->n_pairs);
    }
    const struct snug_tune_trial *pick = &r->trials[r->i_pick];
    /* The same config measured twice is no comparison. */
    const bool has_other = r->i_default >= 0 && !snug_config_equal(s->space, &pick->config,
                                                                   &r->trials[r->i_default].config);
    snug_buffer_printf(
        out, "Pick: %s%s%s.\n", cli_speed_text(s->objective, checked_speed(r, r->i_pick), a),
        has_other ? "; default " : " (the default)",
        has_other ? cli_speed_text(s->objective, checked_speed(r, r->i_default), b) : "");
}

/* Of the pick; malloc'ed, NULL where there is none. */
static char *command_of(const struct cli_task *task, const struct snug_tune_result *r)
{
    char **words = NULL;
    if (r->i_pick < 0 ||
        snug_engine_flags(snug_engine_space(task->engine), &r->trials[r->i_pick].config,
                          &task->workload, &words, NULL) != SNUG_OK)
        return NULL;
    char *line = snug_engine_command_line("llama-server", task->model.path, words);
    snug_engine_flags_free(words);
    return line;
}

static void put_answer(const struct cli_args *args, const struct cli_task *task,
                       const struct snug_tune_result *r, const struct screen *s,
                       struct snug_buffer *out)
{
    char took[SNUG_UNIT_TEXT_MAX];
    if (args->json) {
        char *json = cli_tune_json(task, r, &s->goal);
        snug_buffer_printf(out, "%s\n", json ? json : "null");
        free(json);
        return;
    }
    snug_buffer_printf(out, "\nFront of %d trials, in %s (%s):\n\n", r->n_trials,
                       snug_seconds_text(r->elapsed_s, took), r->end_reason);
    cli_tune_front(task, r, &s->goal, out);
    snug_buffer_puts(out, "\n");
    put_verdict(r, s, out);
    char *command = command_of(task, r);
    if (command)
        snug_buffer_printf(out, "\n  %s\n", command);
    free(command);
    if (r->fit_note[0])
        snug_buffer_printf(out, "\nThe --fit choice was not measured: %s\n", r->fit_note);
}

static void put_trials_json(struct snug_json_writer *w, const struct snug_space *space,
                            const struct snug_tune_result *r, const struct snug_goal *goal)
{
    size_t *index = calloc((size_t)r->n_trials + 1, sizeof *index), n_front = 0;
    if (index && snug_tune_front(r, goal, index, &n_front, NULL) != SNUG_OK)
        n_front = 0;
    snug_json_begin_array(w, "trials");
    for (int i = 0; i < r->n_trials; i++) {
        snug_json_begin_object(w, NULL);
        snug_json_put_int(w, "id", r->trials[i].id);
        snug_json_put_string(w, "role", r->trials[i].role);
        snug_config_to_json(w, "config", space, &r->trials[i].config);
        snug_json_put_number(w, "speed", r->trials[i].speed);
        snug_json_put_number(w, "hypervolume", r->trials[i].hypervolume);
        cli_trial_axes_json(w, goal, r->trials[i].axis);
        bool is_on_front = false;
        for (size_t k = 0; k < n_front; k++)
            is_on_front |= index[k] == (size_t)i;
        snug_json_put_bool(w, "on_front", is_on_front);
        if (!snug_goal_is_plain(goal))
            snug_json_put_bool(w, "keeps_limits", r->trials[i].keeps_limits);
        snug_measurement_to_json(w, "measurement", &r->trials[i].measurement);
        snug_json_end(w);
    }
    snug_json_end(w);
    free(index);
}

char *cli_tune_json(const struct cli_task *task, const struct snug_tune_result *r,
                    const struct snug_goal *goal)
{
    char *command = command_of(task, r);
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "objective", snug_objective_name(snug_goal_lead(goal)));
    snug__tune_goal_put(&w, goal);
    if (r->limit_note[0])
        snug_json_put_string(&w, "limit_note", r->limit_note);
    snug_json_put_int(&w, "session", r->session_id);
    snug_json_put_string(&w, "end_reason", r->end_reason);
    snug_json_put_bool(&w, "is_stopped", r->is_stopped);
    snug_json_put_number(&w, "elapsed_s", r->elapsed_s);
    put_trials_json(&w, snug_engine_space(task->engine), r, goal);
    snug__tune_front_json(&w, r);
    snug__tune_confirm_json(&w, r);
    if (command) {
        snug_json_put_int(&w, "pick_trial", r->trials[r->i_pick].id);
        snug_json_put_string(&w, "command", command);
    }
    free(command);
    snug_json_end(&w);
    return snug_json_finish(&w, true);
}

/* ---- the run ---- */

static void say_task(const struct cli_args *args, const struct cli_task *task,
                     const struct snug_tune_options *o)
{
    char size[SNUG_UNIT_TEXT_MAX], limit[SNUG_UNIT_TEXT_MAX];
    cli_say("%s, %s on %s (%d threads usable); memory %s%s; context %lld; prompt %lld, output %lld",
            cli_base_name(task->model.path), snug_bytes_text(task->model.bytes_tensors, size),
            task->machine.cpu_name, task->machine.n_threads_usable,
            o->memory_limit_bytes ? snug_bytes_text(o->memory_limit_bytes, limit) : "unlimited",
            args->memory_bytes ? "" : " (free now, less a reserve)",
            (long long)task->workload.n_ctx, (long long)task->workload.n_prompt,
            (long long)task->workload.n_gen);
}

/* What a resumed session was begun with, where nothing else is said now. */
static snug_status take_stored_options(const struct cli_args *args, struct cli_task *task,
                                       struct screen *screen, struct snug_tune_options *o,
                                       struct snug_config *base, bool *is_fixed,
                                       struct snug_error *err)
{
    int64_t id = 0;
    char *json = NULL;
    struct snug_json *doc = NULL;
    snug_status status =
        snug_store_session_unfinished(task->store, task->id, "tune", &id, &json, err);
    if (status == SNUG_OK)
        status = snug_json_parse("stored session", json, strlen(json), &doc, err);
    const struct snug_json_node *stored = snug_json_root(doc);
    if (status == SNUG_OK) {
        struct snug_goal goal;
        snug__tune_goal_read(stored, &goal);
        status = cli_goal_resume(args, &goal, &screen->goal, err);
        o->goal = screen->goal;
        screen->objective = snug_goal_lead(&o->goal);
    }
    if (status == SNUG_OK && !args->n_trials)
        o->n_trials = (int)snug_json_get_int(stored, "n_trials", o->n_trials);
    if (status == SNUG_OK && !args->n_trials)
        o->n_front_trials = (int)snug_json_get_int(stored, "n_front_trials", o->n_trials);
    if (status == SNUG_OK) {
        o->has_ladder = o->has_ladder || snug_json_get_bool(stored, "has_ladder", false);
        o->drops_inert = o->drops_inert || snug_json_get_bool(stored, "drops_inert", false);
    }
    if (status == SNUG_OK && args->time_s <= 0.0)
        screen->time_s = o->time_s = snug_json_get_number(stored, "time_s", 0.0);
    if (status == SNUG_OK && !args->has_seed)
        o->seed = (uint64_t)snug_json_get_int(stored, "seed", 1);
    if (status == SNUG_OK && !args->memory_bytes)
        o->memory_limit_bytes = (uint64_t)snug_json_get_int(stored, "memory_limit_bytes", 0);
    if (status == SNUG_OK && args->n_knobs == 0)
        status = snug__tune_fixed_read(stored, screen->space, base, is_fixed, err);
    for (int i = 0; status == SNUG_OK && i < screen->space->n; i++)
        screen->has_fixed = screen->has_fixed || is_fixed[i];
    snprintf(screen->begun_with, sizeof screen->begun_with, "%s",
             snug_json_get_string(stored, "prior", ""));
    snprintf(screen->begun_past, sizeof screen->begun_past, "%s",
             snug_json_get_string(stored, "past", ""));
    const char *strategy = snug_json_get_string(stored, "strategy", "snug");
    for (const struct snug_strategy_row *row = snug_strategy_rows();
         status == SNUG_OK && !args->strategy && row->name; row++) {
        if (strcmp(row->name, strategy) == 0)
            o->strategy = row->name;
    }
    snug_json_free(doc);
    free(json);
    return status;
}

static snug_status tune(const struct cli_args *args, struct cli_task *task, struct screen *screen,
                        struct snug_tune_result *result, struct snug_error *err)
{
    struct snug_config base;
    struct cli_kld kld;
    bool is_fixed[SNUG_KNOBS_MAX] = {false};
    snug_status status = cli_task_config(args, screen->space, &base, err);
    if (status != SNUG_OK)
        return status;
    for (int i = 0; i < args->n_knobs; i++)
        is_fixed[snug_space_find(screen->space, args->knobs[i].name)] = true;
    struct snug_tune_options options = {
        .engine = task->engine,
        .store = task->store,
        .task_id = task->id,
        .model_path = task->model.path,
        .workload = task->workload,
        .goal = screen->goal,
        .kld = cli_kld_of,
        .kld_data = &kld,
        .memory_limit_bytes = task->memory_limit_bytes,
        .base = &base,
        .is_fixed = is_fixed,
        .n_trials = args->n_trials ? (int)args->n_trials : N_TRIALS_DEFAULT,
        .time_s = args->time_s,
        .strategy = args->strategy ? args->strategy : "snug",
        .seed = args->has_seed ? (uint64_t)args->seed : 1,
        .n_front_trials = args->n_trials ? (int)args->n_trials : N_TRIALS_DEFAULT,
        .has_ladder = args->ladder,
        .drops_inert = args->drop_inert,
        .n_confirm_pairs = N_CONFIRM_PAIRS,
        .is_resumed = args->resume,
        .stop = &cli_stop,
        .on_event = on_event,
        .event_data = screen,
    };
    if (args->resume)
        status = take_stored_options(args, task, screen, &options, &base, is_fixed, err);
    if (status == SNUG_OK)
        status = cli_kld_open(task, &options.goal, &base, &kld, err);
    if (status != SNUG_OK)
        return status;
    snug_effort_default(&options.effort);
    options.effort.blocks_max = 8;
    options.effort.warmup_max = 4;
    options.effort.phase_s = 2.0;
    options.effort.deadline_s =
        TRIAL_LIMIT_S + TRIAL_LIMIT_S_PER_GIB * (double)task->model.bytes_tensors / (1 << 30);
    options.effort.may_cut = true;
    say_task(args, task, &options);
    struct cli_prior *prior = NULL;
    if (strcmp(options.strategy, "snug") == 0 &&    /* the others learn nothing */
        screen->objective != SNUG_OBJECTIVE_ENERGY) /* and a law says nothing of joules */
        prior = cli_prior_choose(task, screen->objective, args->resume ? screen->begun_with : NULL,
                                 cli_prior_others_cpus);
    if (prior) {
        options.prior = cli_prior_log_speed;
        options.prior_data = prior;
        options.prior_source = cli_prior_source(prior);
    }
    struct cli_past *past = NULL;
    if (strcmp(options.strategy, "snug") == 0)
        past = cli_past_choose(args, task, screen->objective, prior != NULL,
                               args->resume ? screen->begun_past : NULL);
    cli_past_give(past, &options);
    status = snug_tune_run(&options, result, err);
    cli_past_close(past);
    cli_prior_close(prior);
    return status;
}

int cmd_tune(const struct cli_args *args)
{
    struct cli_task task = {0};
    struct snug_error err = {0};
    struct snug_tune_result result = {.i_default = -1, .i_fit = -1, .i_best = -1, .i_pick = -1};
    struct screen screen = {
        .workload = &task.workload, .time_s = args->time_s, .has_fixed = args->n_knobs > 0};
    struct snug_buffer out = {0};
    cli_catch_signals();
    snug_status status = cli_goal_open(args, &screen.goal, &err);
    screen.objective = snug_goal_lead(&screen.goal);
    if (status == SNUG_OK)
        status = cli_task_open_model(args, &task, &err);
    if (status == SNUG_OK)
        status = cli_task_workload(args, &cli_tune_defaults, (int)screen.objective, &task, &err);
    if (status == SNUG_OK)
        status = cli_goal_check_workload(&screen.goal, &task.workload, &err);
    if (status == SNUG_OK)
        status = cli_task_open_engine(args, &task, on_phase, &screen, &err);
    if (status == SNUG_OK) {
        screen.space = snug_engine_space(task.engine);
        status = cli_task_open_store(args, &task, &err);
    }
    if (status == SNUG_OK)
        status = tune(args, &task, &screen, &result, &err);
    int code = status == SNUG_OK ? CLI_OK : cli_fail(&err);
    if (status == SNUG_OK) {
        cli_live_end();
        put_answer(args, &task, &result, &screen, &out);
        code = cli_put_buffer(&out);
        if (result.is_stopped)
            cli_say("\nstopped; every finished trial is kept. Go on with the same command and "
                    "--resume");
        else if (result.i_pick >= 0)
            cli_say("\nnext: snug run %s, or snug report %s -o report.html", args->operand,
                    args->operand);
        if (code == CLI_OK && (result.is_stopped || result.i_pick < 0))
            code = CLI_FAILED;
    }
    snug_buffer_clear(&out);
    snug_tune_result_clear(&result);
    cli_task_close(&task);
    return code;
}
