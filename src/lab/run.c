/* Running a plan: files, engines, rows, in order. One engine is open at a time; rows of a block
 * that share the model file share it, and the worker keeps the model loaded between them. */
#include "lab/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "lab/keys.h"
#include "lab/run_internal.h"
#include "trial/workload_file.h"

static const int BLOCKS = 2;         /* timed blocks of a row: repetitions do the rest */
static const double PHASE_S = 600.0; /* no limit of its own: both blocks are wanted */

void snug__lab_tell(const struct snug__lab_run *run, enum snug_lab_event_kind kind,
                    const char *what)
{
    const double spent_s = snug_clock_s() - run->started_s;
    const struct snug_lab_event event = {
        .kind = kind,
        .plan = run->plan,
        .row = run->row,
        .what = what,
        .n_done = run->result.n_done,
        .n_rows = run->plan->n_rows,
        .remaining_s =
            run->n_run > 0 ? spent_s / run->n_run * (run->plan->n_rows - run->result.n_done) : NAN,
    };
    if (run->options->on_event)
        run->options->on_event(&event, run->options->event_data);
}

static void tell_end(const struct snug__lab_run *run, const struct snug_measurement *m,
                     const struct snug_workload *workload)
{
    const double spent_s = snug_clock_s() - run->started_s;
    const struct snug_lab_event event = {
        .kind = SNUG_LAB_END,
        .plan = run->plan,
        .row = run->row,
        .measurement = m,
        .workload = workload,
        .n_done = run->result.n_done,
        .n_rows = run->plan->n_rows,
        .remaining_s = spent_s / run->n_run * (run->plan->n_rows - run->result.n_done),
    };
    if (run->options->on_event)
        run->options->on_event(&event, run->options->event_data);
}

static void on_phase(const char *phase, void *data)
{
    snug__lab_tell(data, SNUG_LAB_PHASE, phase);
}

static bool is_stopped(const struct snug__lab_run *run)
{
    return run->options->stop && *run->options->stop;
}

/* ---- workloads ---- */

/* A workload file is in tokens of the model: its lengths are that model's. */
static snug_status read_workload_file(const struct snug__lab_run *run,
                                      const struct snug__lab_file *file,
                                      const struct snug_lab_workload *in, struct snug_workload *w,
                                      int64_t *out_need, struct snug_error *err)
{
    struct snug_workload_text text = {.n_prompts = 0};
    struct snug_workload_lengths lengths = {0};
    char path[4096];
    snug_status status = snug__lab_resolve(run, in->file, path, sizeof path, err);
    if (status == SNUG_OK)
        status = snug_workload_file_read(path, w, &text, err);
    snug_workload_text_clear(&text);
    if (status == SNUG_OK)
        status = snug_engine_workload_lengths(file->path, &file->model, w, &lengths, err);
    if (status != SNUG_OK)
        return status;
    if (in->n_gen > 0)
        w->n_gen = in->n_gen;
    w->n_prompt = lengths.n_median;
    *out_need = w->n_depth + (lengths.n_longest > w->n_gen ? lengths.n_longest : w->n_gen);
    return SNUG_OK;
}

static snug_status make_workload(struct snug__lab_run *run, int i_model, int i,
                                 struct snug_error *err)
{
    const struct snug_lab_workload *in = &run->plan->workloads[i];
    struct snug_workload w = {.n_prompt = in->n_prompt,
                              .n_gen = in->n_gen,
                              .n_depth = in->n_depth,
                              .n_parallel = in->n_parallel};
    int64_t need = w.n_depth + (w.n_prompt > w.n_gen ? w.n_prompt : w.n_gen);
    if (in->file) {
        const snug_status status =
            read_workload_file(run, &run->files[i_model], in, &w, &need, err);
        if (status != SNUG_OK)
            return snug_fail_prefix(err, status, "workload %s", in->name);
    }
    w.n_ctx = in->n_ctx > need ? in->n_ctx : need;
    run->result.workloads[i_model * run->plan->n_workloads + i] = w;
    return SNUG_OK;
}

static snug_status make_workloads(struct snug__lab_run *run, struct snug_error *err)
{
    const struct snug_lab_plan *plan = run->plan;
    snug_status status = SNUG_OK;
    run->result.workloads =
        calloc((size_t)plan->n_models * (size_t)plan->n_workloads, sizeof *run->result.workloads);
    if (!run->result.workloads)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for workloads");
    for (int m = 0; status == SNUG_OK && m < plan->n_models; m++) {
        for (int i = 0; status == SNUG_OK && i < plan->n_workloads; i++)
            status = make_workload(run, m, i, err);
    }
    return status;
}

/* ---- beginning and going on ---- */

/* What must be the same for rows of two processes to be of one run. Synthetic models are what the
 * plan says they are. */
static char *identity_text(const struct snug__lab_run *run)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "title", run->plan->title);
    snug_json_put_string(&w, "plan_hash", run->plan->hash);
    snug_json_put_string(&w, "machine", run->options->machine->fingerprint);
    snug_json_begin_array(&w, "models");
    for (int i = 0; i < run->plan->n_models; i++)
        snug_json_put_string(&w, NULL, run->files[i].model.hash);
    snug_json_end(&w);
    snug_json_end(&w);
    return snug_json_finish(&w, false);
}

static snug_status begin(struct snug__lab_run *run, struct snug_error *err)
{
    char *identity = identity_text(run), *stored = NULL;
    snug_status status = SNUG_OK;
    if (!identity)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a plan");
    if (run->options->is_resumed) {
        status = snug_store_lab_unfinished(run->options->store, run->plan->hash,
                                           &run->result.lab_id, &stored, err);
        if (status == SNUG_OK && strcmp(stored, identity) != 0)
            status = snug_fail(err, SNUG_BAD_INPUT,
                               "the unfinished run of this plan is of another machine, or its "
                               "models have changed since: run it without --resume");
    } else {
        status = snug_store_lab_begin(run->options->store, run->plan->hash, run->plan->title,
                                      identity, &run->result.lab_id, err);
    }
    free(identity);
    free(stored);
    return status;
}

struct done {
    struct snug__lab_run *run;
    struct snug__lab_keys keys;
};

static bool mark_done(const struct snug_trial_view *view, void *data)
{
    const struct done *done = data;
    const int i = snug__lab_keys_find(&done->keys, view->lab_key);
    if (i >= 0 && !done->run->is_done[i]) {
        done->run->is_done[i] = true;
        done->run->result.n_done++;
    }
    return true;
}

static snug_status find_done(struct snug__lab_run *run, struct snug_error *err)
{
    const struct snug_trial_filter filter = {.lab_id = run->result.lab_id};
    struct done done = {.run = run};
    run->is_done = calloc((size_t)run->plan->n_rows, sizeof *run->is_done);
    snug_status status = run->is_done ? snug__lab_keys_init(&done.keys, run->plan, err)
                                      : snug_fail(err, SNUG_NO_MEMORY, "no memory for rows");
    if (status == SNUG_OK)
        status = snug_store_trials(run->options->store, &filter, mark_done, &done, err);
    snug__lab_keys_clear(&done.keys);
    run->result.n_kept = run->result.n_done;
    return status;
}

/* ---- engines ---- */

static void close_engine(struct snug__lab_run *run)
{
    snug_engine_close(run->engine);
    run->engine = NULL;
}

static const struct snug_workload *workload_of(const struct snug__lab_run *run, int i_model, int i)
{
    return &run->result.workloads[i_model * run->plan->n_workloads + i];
}

static snug_status make_task(struct snug__lab_run *run, const struct snug__lab_file *file, int i,
                             struct snug_error *err)
{
    return snug_store_task(run->options->store, run->machine_id, file->model_id,
                           workload_of(run, file->i_model, i), run->result.build, "idle",
                           &run->task_id, err);
}

snug_status snug__lab_engine_open(struct snug__lab_run *run, int i_file, int i_workload,
                                  struct snug_error *err)
{
    const struct snug__lab_file *file = &run->files[i_file];
    if (run->engine && run->i_file == i_file && run->i_workload == i_workload)
        return SNUG_OK;
    close_engine(run);
    const struct snug_engine_options options = {
        .model_path = file->path,
        .machine = run->options->machine,
        .model = &file->model,
        .workload = *workload_of(run, file->i_model, i_workload),
        .memory_limit_bytes = run->options->memory_limit_bytes,
        .noise_frac = run->options->noise_frac,
        .allow_quality = true,
        .stop = run->options->stop,
        .progress = on_phase,
        .progress_data = run,
    };
    const snug_status status = snug_engine_open("llama", &options, &run->engine, err);
    if (status != SNUG_OK)
        return status;
    run->i_file = i_file;
    run->i_workload = i_workload;
    snprintf(run->result.build, sizeof run->result.build, "%s", snug_engine_build(run->engine));
    return make_task(run, file, i_workload, err);
}

/* ---- rows ---- */

/* One knob into a config. Bounds are the machine's; batch sizes beyond what is worth tuning, and
 * few threads on a large machine, are for the file to say. */
static snug_status set_knob(const struct snug_space *space, const struct snug_lab_knob *knob,
                            struct snug_config *config, struct snug_error *err)
{
    const struct snug_space *widest = snug_engine_rows();
    const int row = snug_space_find(space, knob->name);
    const int wide_row = snug_space_find(widest, knob->name);
    if (row < 0)
        return snug_fail(err, SNUG_BAD_INPUT, "this engine has no knob '%s'", knob->name);
    struct snug_knob bounds = space->knobs[row];
    if (strncmp(knob->name, "n_threads", 9) == 0)
        bounds.min = 1;
    else if (bounds.kind == SNUG_KNOB_LOG2 && wide_row >= 0)
        bounds = widest->knobs[wide_row];
    return snug_knob_parse(&bounds, knob->value, &config->value[row], err);
}

snug_status snug__lab_config_make(const struct snug_space *space,
                                  const struct snug_lab_round *round, struct snug_config *out,
                                  struct snug_error *err)
{
    const int decode = snug_space_find(space, "n_threads");
    const int prefill = snug_space_find(space, "n_threads_batch");
    bool has_decode = false, has_prefill = false;
    snug_status status = SNUG_OK;
    snug_space_default(space, out);
    for (int i = 0; status == SNUG_OK && i < round->n_knobs; i++) {
        status = set_knob(space, &round->knobs[i], out, err);
        has_decode = has_decode || strcmp(round->knobs[i].name, "n_threads") == 0;
        has_prefill = has_prefill || strcmp(round->knobs[i].name, "n_threads_batch") == 0;
    }
    /* llama.cpp's rule: --threads alone sets both counts. */
    if (status == SNUG_OK && has_decode && !has_prefill)
        out->value[prefill] = out->value[decode];
    return status;
}

static double unix_now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Trial and row in one transaction, then the news. */
static snug_status keep(struct snug__lab_run *run, const struct snug_space *space,
                        const struct snug_config *config, const struct snug_measurement *m,
                        struct snug_error *err)
{
    const struct snug_lab_row *row = run->row;
    const struct snug_store_lab_trial trial = {
        .lab_id = run->result.lab_id,
        .key = row->key,
        .task_id = run->task_id,
        .role = row->i_round == 0 ? "baseline" : "round",
        .space = space,
        .config = config,
        .measurement = m,
    };
    int64_t id = 0;
    const snug_status status = snug_store_lab_trial_add(run->options->store, &trial, &id, err);
    if (status != SNUG_OK)
        return status;
    run->is_done[row - run->plan->rows] = true;
    run->result.n_done++;
    run->result.n_failed += m->outcome != SNUG_TRIAL_OK;
    run->n_run++;
    tell_end(run, m, workload_of(run, row->i_model, row->i_workload));
    return SNUG_OK;
}

/* A row that cannot even be tried is a measurement too: refused, with the reason. */
static snug_status refuse(struct snug__lab_run *run, const char *reason, struct snug_error *err)
{
    const struct snug_space *space =
        run->engine ? snug_engine_space(run->engine) : snug_engine_rows();
    struct snug_measurement m = {.outcome = SNUG_TRIAL_REFUSED, .started_unix_s = unix_now_s()};
    struct snug_config config;
    snug_space_default(space, &config);
    m.effective = config;
    snug_conditions_init(&m.conditions);
    m.n_cached_hits = m.n_output = -1;
    snprintf(m.reason, sizeof m.reason, "%s", reason);
    snprintf(m.build, sizeof m.build, "%s", run->result.build);
    const snug_status status =
        run->engine ? SNUG_OK
                    : make_task(run, &run->files[run->row->i_model], run->row->i_workload, err);
    return status == SNUG_OK ? keep(run, space, &config, &m, err) : status;
}

/* Of the config or the file, not of this computer's state. */
static bool is_refusal(snug_status status)
{
    return status == SNUG_BAD_INPUT || status == SNUG_INFEASIBLE || status == SNUG_UNSUPPORTED;
}

static snug_status run_row(struct snug__lab_run *run, const struct snug_lab_row *row,
                           struct snug_error *err)
{
    const struct snug_lab_round *round = &run->plan->rounds[row->i_round];
    const struct snug_workload *workload = workload_of(run, row->i_model, row->i_workload);
    struct snug_error why = {0};
    struct snug_config config;
    int i_file = 0;
    run->row = row;
    snug__lab_tell(run, SNUG_LAB_BEGIN, NULL);
    snug_status status = snug__lab_files_get(run, row->i_model, round->weights, &i_file, err);
    if (status != SNUG_OK)
        return status;
    if (run->files[i_file].is_refused) {
        close_engine(run);
        return refuse(run, run->files[i_file].reason, err);
    }
    status = snug__lab_engine_open(run, i_file, row->i_workload, &why);
    if (status == SNUG_OK)
        status = snug__lab_config_make(snug_engine_space(run->engine), round, &config, &why);
    if (is_refusal(status))
        return refuse(run, why.text, err);
    if (status != SNUG_OK)
        return snug_fail(err, status, "%s", why.text);
    struct snug_effort effort;
    struct snug_measurement m = {0};
    snug_effort_default(&effort);
    effort.blocks_min = effort.blocks_max = BLOCKS;
    effort.phase_s = PHASE_S;
    effort.deadline_s = run->plan->deadline_s;
    effort.want_prefill = workload->n_prompt > 0;
    effort.want_decode = workload->n_gen > 0;
    status = snug_engine_run(run->engine, &config, &effort, &m, err);
    if (status == SNUG_OK)
        status = keep(run, snug_engine_space(run->engine), &config, &m, err);
    snug_measurement_clear(&m);
    return status;
}

static snug_status run_rows(struct snug__lab_run *run, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    run->started_s = snug_clock_s();
    for (int i = 0; status == SNUG_OK && i < run->plan->n_rows && !is_stopped(run); i++) {
        if (!run->is_done[i])
            status = run_row(run, &run->plan->rows[i], err);
    }
    run->row = NULL;
    /* Asked to stop after the last row: quality says so itself, where there is any to measure. */
    if (status == SNUG_OK && run->result.n_done == run->plan->n_rows) {
        status = snug__lab_quality(run, err);
        run->is_whole = status == SNUG_OK;
    }
    close_engine(run);
    return status;
}

static snug_status finish(struct snug__lab_run *run, struct snug_error *err)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "output", run->options->output);
    snug_json_put_int(&w, "n_rows", run->result.n_done);
    snug_json_end(&w);
    char *json = snug_json_finish(&w, false);
    const snug_status status =
        json ? snug_store_lab_finish(run->options->store, run->result.lab_id, json, err)
             : snug_fail(err, SNUG_NO_MEMORY, "no memory for a result");
    free(json);
    return status;
}

static snug_status run_all(struct snug__lab_run *run, struct snug_error *err)
{
    const struct snug_lab_run_options *o = run->options;
    snug_status status = snug_file_make_folder(o->output, err);
    if (status == SNUG_OK)
        status = snug_store_machine(o->store, o->machine->fingerprint, o->machine->cpu_name,
                                    o->machine_json, &run->machine_id, err);
    if (status == SNUG_OK)
        status = snug__lab_files_list(run, err);
    if (status == SNUG_OK)
        status = snug__lab_files_open(run, err);
    if (status == SNUG_OK)
        status = begin(run, err);
    if (status == SNUG_OK)
        status = find_done(run, err);
    if (status == SNUG_OK)
        status = snug__lab_files_name(run, err);
    if (status == SNUG_OK)
        status = snug__lab_files_synth(run, err);
    if (status == SNUG_OK)
        status = make_workloads(run, err);
    if (status == SNUG_OK)
        status = run_rows(run, err);
    /* What is there when the user has had enough is a result too. */
    if (status == SNUG_INTERRUPTED && is_stopped(run))
        status = SNUG_OK;
    run->result.is_stopped = !run->is_whole;
    if (status == SNUG_OK && !run->result.is_stopped)
        status = finish(run, err);
    return status;
}

snug_status snug_lab_run(const struct snug_lab_run_options *options,
                         struct snug_lab_run_result *out, struct snug_error *err)
{
    struct snug__lab_run run = {.options = options, .plan = options->plan};
    const snug_status status = run_all(&run, err);
    close_engine(&run);
    snug__lab_files_clear(&run);
    free(run.is_done);
    if (status != SNUG_OK) {
        snug_lab_run_result_clear(&run.result);
        return status;
    }
    *out = run.result;
    return SNUG_OK;
}

void snug_lab_run_result_clear(struct snug_lab_run_result *result)
{
    free(result->models);
    free(result->workloads);
    free(result->qualities);
    free(result->tasks);
    memset(result, 0, sizeof *result);
}
