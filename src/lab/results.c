/* Reading a run back from the store, and results.json. */
#include "lab/results.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "lab/keys.h"
#include "lab/results_internal.h"
#include "machine/machine_json.h"
#include "trial/quality_json.h"
#include "trial/trial_json.h"

/* Samples of a whole results.json, and of one row at the least: a chart shows no more. */
enum { SAMPLES_MAX = 50000, ROW_SAMPLES_MIN = 16 };

/* ---- reading ---- */

struct reading {
    struct snug_lab_results *results;
    struct snug__lab_keys keys;
    int n;
};

static bool take_row(const struct snug_trial_view *view, void *data)
{
    struct reading *reading = data;
    struct snug_lab_results *results = reading->results;
    const int i = snug__lab_keys_find(&reading->keys, view->lab_key);
    if (i < 0 || results->rows[i])
        return true;
    struct snug_measurement *m = &results->measurements[reading->n++];
    *m = *view->measurement;
    snug_measurement_forget(m);
    results->rows[i] = m;
    return true;
}

snug_status snug_lab_results_read(struct snug_lab_results *results, struct snug_error *err)
{
    const struct snug_trial_filter filter = {.lab_id = results->run->lab_id};
    const size_t n = (size_t)results->plan->n_rows;
    struct reading reading = {.results = results};
    results->measurements = calloc(n, sizeof *results->measurements);
    results->rows = calloc(n, sizeof *results->rows);
    snug_status status = results->measurements && results->rows
                             ? snug__lab_keys_init(&reading.keys, results->plan, err)
                             : snug_fail(err, SNUG_NO_MEMORY, "no memory for results");
    if (status == SNUG_OK)
        status = snug_store_trials(results->store, &filter, take_row, &reading, err);
    if (status == SNUG_OK)
        status = snug_lab_analyse(results->plan, results->run->workloads, results->rows,
                                  results->run->qualities, &results->analysis, err);
    snug__lab_keys_clear(&reading.keys);
    return status;
}

void snug_lab_results_clear(struct snug_lab_results *results)
{
    free(results->measurements);
    free(results->rows);
    snug_lab_analysis_clear(&results->analysis);
    results->measurements = NULL;
    results->rows = NULL;
}

/* ---- parts of results.json ---- */

const char *snug__lab_config_text(const struct snug_lab_round *round, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = '\0';
    if (round->weights)
        n = (size_t)snprintf(out, cap, "weights=%s", round->weights);
    for (int i = 0; i < round->n_knobs && n < cap; i++)
        n += (size_t)snprintf(out + n, cap - n, "%s%s=%s", n ? " " : "", round->knobs[i].name,
                              round->knobs[i].value);
    if (n == 0)
        snprintf(out, cap, "default");
    return out;
}

const char *snug__lab_build(const struct snug_lab_results *r)
{
    const char *build = r->run->build;
    for (int i = 0; !build[0] && i < r->plan->n_rows; i++)
        build = r->rows[i] ? r->rows[i]->build : "";
    return build;
}

static void put_interval(struct snug_json_writer *w, const char *key,
                         const struct snug_interval *interval)
{
    snug_json_begin_object(w, key);
    snug_json_put_number(w, "lo", interval->lo);
    snug_json_put_number(w, "mid", interval->mid);
    snug_json_put_number(w, "hi", interval->hi);
    snug_json_end(w);
}

static void put_models(struct snug_json_writer *w, const struct snug_lab_results *r)
{
    snug_json_begin_array(w, "models");
    for (int i = 0; i < r->plan->n_models; i++) {
        const struct snug_lab_model *model = &r->plan->models[i];
        const struct snug_lab_model_facts *facts = &r->run->models[i];
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "name", model->name);
        snug_json_put_string(w, "path", facts->path);
        snug_json_put_string(w, "synth", model->synth);
        snug_json_put_string(w, "hash", facts->hash);
        snug_json_put_string(w, "arch", facts->arch);
        snug_json_put_string(w, "file_type", facts->file_type);
        snug_json_put_int(w, "bytes", (int64_t)facts->bytes_file);
        snug_json_put_int(w, "n_params", (int64_t)facts->n_params);
        snug_json_end(w);
    }
    snug_json_end(w);
}

/* Lengths of a workload file are those in tokens of the first model. */
static void put_workloads(struct snug_json_writer *w, const struct snug_lab_results *r)
{
    snug_json_begin_array(w, "workloads");
    for (int i = 0; i < r->plan->n_workloads; i++) {
        const struct snug_workload *workload = &r->run->workloads[i];
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "name", r->plan->workloads[i].name);
        snug_json_put_int(w, "n_prompt", workload->n_prompt);
        snug_json_put_int(w, "n_gen", workload->n_gen);
        snug_json_put_int(w, "n_depth", workload->n_depth);
        snug_json_put_int(w, "n_parallel", workload->n_parallel);
        snug_json_put_int(w, "n_ctx", workload->n_ctx);
        snug_json_put_string(w, "file", r->plan->workloads[i].file);
        snug_json_put_string(w, "hash", workload->hash);
        snug_json_end(w);
    }
    snug_json_end(w);
}

static void put_rounds(struct snug_json_writer *w, const struct snug_lab_plan *plan)
{
    snug_json_begin_array(w, "rounds");
    for (int i = 0; i < plan->n_rounds; i++) {
        const struct snug_lab_round *round = &plan->rounds[i];
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "name", round->name);
        snug_json_put_string(w, "group", round->group);
        snug_json_put_string(w, "weights", round->weights);
        snug_json_begin_object(w, "knobs");
        for (int k = 0; k < round->n_knobs; k++)
            snug_json_put_string(w, round->knobs[k].name, round->knobs[k].value);
        snug_json_end(w);
        snug_json_end(w);
    }
    snug_json_end(w);
}

/* ---- rows ---- */

struct writing {
    const struct snug_lab_results *results;
    struct snug_json_writer *w;
    struct snug__lab_keys keys;
    struct snug_condition_sample *samples; /* scratch */
    bool *is_written;                      /* per row */
};

/* Evenly spaced samples, so that a long run does not make a file that no page can hold. */
static void thin(const struct writing *x, struct snug_measurement *m)
{
    const int share = SAMPLES_MAX / x->results->plan->n_rows;
    const int most = share > ROW_SAMPLES_MIN ? share : ROW_SAMPLES_MIN;
    const int step = m->n_samples > 0 ? (m->n_samples + most - 1) / most : 1;
    int n = 0;
    if (step <= 1 || m->n_samples > SNUG_CONDITION_SAMPLES_MAX)
        return;
    for (int i = 0; i < m->n_samples; i += step)
        x->samples[n++] = m->samples[i];
    m->samples = x->samples;
    m->n_samples = n;
}

static void put_parsed(struct snug_json_writer *w, const char *key, const char *json)
{
    struct snug_json *doc = NULL;
    if (snug_json_parse(key, json, strlen(json), &doc, NULL) == SNUG_OK)
        snug_json_put_node(w, key, snug_json_root(doc));
    snug_json_free(doc);
}

static bool put_row(const struct snug_trial_view *view, void *data)
{
    struct writing *x = data;
    const struct snug_lab_plan *plan = x->results->plan;
    const int i = snug__lab_keys_find(&x->keys, view->lab_key);
    if (i < 0 || x->is_written[i])
        return true;
    x->is_written[i] = true;
    const struct snug_lab_row *row = &plan->rows[i];
    struct snug_measurement m = *view->measurement;
    struct snug_json_writer *w = x->w;
    char text[512];
    thin(x, &m);
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "key", row->key);
    snug_json_put_int(w, "order", i);
    snug_json_put_string(w, "round", plan->rounds[row->i_round].name);
    snug_json_put_string(w, "model", plan->models[row->i_model].name);
    snug_json_put_string(w, "workload", plan->workloads[row->i_workload].name);
    snug_json_put_int(w, "repetition", row->repetition);
    snug_json_put_string(w, "role", row->i_round == 0 ? "baseline" : "round");
    put_parsed(w, "config", view->config_json);
    snug_json_put_string(w, "config_text",
                         snug__lab_config_text(&plan->rounds[row->i_round], text, sizeof text));
    put_parsed(w, "effective", view->effective_json);
    snug_json_put_string(w, "verdict",
                         m.outcome == SNUG_TRIAL_OK ? snug_verdict_name(snug_verdict_of(m.warnings))
                                                    : NULL);
    snug_measurement_to_json(w, "measurement", &m);
    const struct snug_workload *workload =
        &x->results->run->workloads[row->i_model * plan->n_workloads + row->i_workload];
    snug_json_put_number(w, "prefill_j_per_token",
                         snug_measurement_prefill_j(view->measurement, workload, NULL));
    snug_json_put_number(w, "decode_j_per_token",
                         snug_measurement_decode_j(view->measurement, workload, NULL));
    snug_json_put_string(w, "machine_fingerprint", x->results->machine->fingerprint);
    snug_json_end(w);
    return true;
}

static snug_status put_rows(struct snug_json_writer *w, const struct snug_lab_results *r,
                            struct snug_error *err)
{
    const struct snug_trial_filter filter = {.lab_id = r->run->lab_id};
    struct writing x = {.results = r, .w = w};
    x.samples = calloc(SNUG_CONDITION_SAMPLES_MAX, sizeof *x.samples);
    x.is_written = calloc((size_t)r->plan->n_rows, sizeof *x.is_written);
    snug_status status = x.samples && x.is_written
                             ? snug__lab_keys_init(&x.keys, r->plan, err)
                             : snug_fail(err, SNUG_NO_MEMORY, "no memory for results");
    snug_json_begin_array(w, "rows");
    if (status == SNUG_OK)
        status = snug_store_trials(r->store, &filter, put_row, &x, err);
    snug_json_end(w);
    snug__lab_keys_clear(&x.keys);
    free(x.samples);
    free(x.is_written);
    return status;
}

/* ---- what they say ---- */

static void put_names(struct snug_json_writer *w, const struct snug_lab_plan *plan, int i_round,
                      int i_model, int i_workload)
{
    if (i_round >= 0)
        snug_json_put_string(w, "round", plan->rounds[i_round].name);
    snug_json_put_string(w, "model", plan->models[i_model].name);
    snug_json_put_string(w, "workload", plan->workloads[i_workload].name);
}

static void put_comparisons(struct snug_json_writer *w, const struct snug_lab_results *r)
{
    snug_json_begin_array(w, "comparisons");
    for (int i = 0; i < r->analysis.n_comparisons; i++) {
        const struct snug_lab_comparison *c = &r->analysis.comparisons[i];
        snug_json_begin_object(w, NULL);
        put_names(w, r->plan, c->i_round, c->i_model, c->i_workload);
        snug_json_put_string(w, "metric", snug_lab_metric_name(c->metric));
        put_interval(w, "ratio", &c->ratio);
        snug_json_put_int(w, "n_pairs", c->n_pairs);
        snug_json_put_string(w, "words", c->words);
        snug_json_end(w);
    }
    snug_json_end(w);
}

static void put_null(struct snug_json_writer *w, const char *key)
{
    snug_json_put_string(w, key, NULL);
}

/* Beyond the first text: every text and every task by name. */
static void put_qualities(struct snug_json_writer *w, const struct snug_lab_results *r,
                          const struct snug_lab_summary *s)
{
    const struct snug_lab_plan *plan = r->plan;
    const size_t at = (size_t)(s->i_round * plan->n_models + s->i_model);
    const size_t n = (size_t)(plan->n_rounds * plan->n_models);
    snug_json_begin_array(w, "texts");
    for (int t = 0; r->run->qualities && t < plan->n_texts; t++) {
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "text", plan->texts[t]);
        snug_quality_to_json(w, "quality", &r->run->qualities[(size_t)t * n + at]);
        snug_json_end(w);
    }
    snug_json_end(w);
    snug_json_begin_array(w, "tasks");
    for (int t = 0; r->run->tasks && t < plan->n_tasks; t++) {
        const struct snug_task_result *task = &r->run->tasks[(size_t)t * n + at];
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "task", plan->tasks[t]);
        if (task->n_scored > 0)
            snug_task_result_to_json(w, "result", task);
        else
            put_null(w, "result");
        snug_json_end(w);
    }
    snug_json_end(w);
}

static void put_summary(struct snug_json_writer *w, const struct snug_lab_results *r,
                        const struct snug_lab_summary *s)
{
    snug_json_begin_object(w, NULL);
    put_names(w, r->plan, s->i_round, s->i_model, s->i_workload);
    snug_json_put_int(w, "n_ok", s->n_ok);
    snug_json_put_int(w, "n_failed", s->n_failed);
    if (s->n_failed > 0) {
        snug_json_put_string(w, "outcome", snug_outcome_name(s->last_outcome));
        snug_json_put_string(w, "reason", s->reason);
    }
    put_interval(w, "prefill_tps", &s->prefill_tps);
    put_interval(w, "decode_tps", &s->decode_tps);
    snug_json_put_number(w, "ttft_s", s->ttft_s);
    snug_json_put_number(w, "tpot_p50_s", s->tpot_p50_s);
    snug_json_put_number(w, "load_s", s->load_s);
    snug_json_put_number(w, "first_sample_s", s->first_sample_s);
    snug_json_begin_object(w, "bytes");
    snug_json_put_int(w, "weights", (int64_t)s->bytes.weights);
    snug_json_put_int(w, "cache", (int64_t)s->bytes.cache);
    snug_json_put_int(w, "compute", (int64_t)s->bytes.compute);
    snug_json_end(w);
    snug_json_put_string(w, "verdict",
                         s->n_ok > 0 ? snug_verdict_name(snug_verdict_of(s->warnings)) : NULL);
    snug_json_begin_array(w, "rules");
    for (int bit = 0; bit < SNUG_N_WARNINGS; bit++) {
        if (s->warnings >> bit & 1u)
            snug_json_put_string(w, NULL, snug_warning_name((enum snug_warning_bit)bit));
    }
    snug_json_end(w);
    if (s->improved == SNUG_LAB_UNKNOWN)
        put_null(w, "improved");
    else
        snug_json_put_bool(w, "improved", s->improved == SNUG_LAB_YES);
    snug_json_put_string(w, "why", s->why);
    const struct snug_quality *quality =
        r->run->qualities ? &r->run->qualities[s->i_round * r->plan->n_models + s->i_model] : NULL;
    if (quality && isfinite(quality->perplexity.value))
        snug_quality_to_json(w, "quality", quality);
    else
        put_null(w, "quality");
    put_qualities(w, r, s);
    snug_json_end(w);
}

static void put_drifts(struct snug_json_writer *w, const struct snug_lab_results *r)
{
    snug_json_begin_array(w, "baseline_drift");
    for (int i = 0; i < r->analysis.n_drifts; i++) {
        const struct snug_lab_drift *drift = &r->analysis.drifts[i];
        snug_json_begin_object(w, NULL);
        put_names(w, r->plan, -1, drift->i_model, drift->i_workload);
        snug_json_put_string(w, "metric", snug_lab_metric_name(drift->metric));
        put_interval(w, "frac_per_hour", &drift->frac_per_hour);
        put_interval(w, "frac_over_run", &drift->frac_over_run);
        snug_json_begin_array(w, "points");
        for (int k = 0; k < drift->n_points; k++) {
            snug_json_begin_array(w, NULL);
            snug_json_put_number(w, NULL, drift->points[k][0]);
            snug_json_put_number(w, NULL, drift->points[k][1]);
            snug_json_end(w);
        }
        snug_json_end(w);
        snug_json_end(w);
    }
    snug_json_end(w);
}

static void put_thresholds(struct snug_json_writer *w, const struct snug_lab_results *r)
{
    snug_json_begin_array(w, "thresholds");
    for (int i = 0; i < r->n_thresholds; i++) {
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "text", r->thresholds[i].text);
        snug_json_put_bool(w, "ok", r->thresholds[i].is_met);
        snug_json_put_number(w, "value", r->thresholds[i].value);
        snug_json_end(w);
    }
    snug_json_end(w);
}

static double unix_now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

snug_status snug_lab_results_json(struct snug_lab_results *results, char **out_json,
                                  struct snug_error *err)
{
    const struct snug_lab_plan *plan = results->plan;
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "snug", snug_version());
    snug_json_put_string(&w, "build", snug__lab_build(results));
    snug_json_put_number(&w, "generated_unix_s", unix_now_s());
    snug_json_put_string(&w, "title", plan->title);
    snug_json_put_string(&w, "plan_hash", plan->hash);
    snug_json_put_int(&w, "seed", (int64_t)plan->seed);
    snug_json_put_string(&w, "file", results->file_path);
    snug_json_put_int(&w, "n_rows", plan->n_rows);
    snug_json_put_bool(&w, "complete", results->run->n_done == plan->n_rows);
    snug_machine_to_json(&w, "machine", results->machine);
    put_models(&w, results);
    put_workloads(&w, results);
    put_rounds(&w, plan);
    const snug_status status = put_rows(&w, results, err);
    put_comparisons(&w, results);
    snug_json_begin_array(&w, "summary");
    for (int i = 0; i < results->analysis.n_summaries; i++)
        put_summary(&w, results, &results->analysis.summaries[i]);
    snug_json_end(&w);
    put_drifts(&w, results);
    put_thresholds(&w, results);
    snug_json_end(&w);
    char *json = snug_json_finish(&w, true);
    if (status == SNUG_OK && json) {
        *out_json = json;
        return SNUG_OK;
    }
    free(json);
    return status != SNUG_OK ? status : snug_fail(err, SNUG_NO_MEMORY, "no memory for results");
}

/* ---- files ---- */

static snug_status write_buffer(const char *folder, const char *name, struct snug_buffer *text,
                                struct snug_error *err)
{
    const snug_status status =
        text->is_failed ? snug_fail(err, SNUG_NO_MEMORY, "no memory for %s", name)
                        : snug_file_write_in(folder, name, snug_buffer_text(text), text->len, err);
    snug_buffer_clear(text);
    return status;
}

snug_status snug_lab_results_write(struct snug_lab_results *results, const char *folder,
                                   struct snug_error *err)
{
    struct snug_buffer text = {0};
    char *json = NULL;
    snug_status status = snug_lab_results_json(results, &json, err);
    if (status == SNUG_OK)
        status = snug_file_write_in(folder, "results.json", json, strlen(json), err);
    free(json);
    if (status == SNUG_OK) {
        snug__lab_table(results, true, &text);
        status = write_buffer(folder, "results.csv", &text, err);
    }
    if (status == SNUG_OK) {
        snug__lab_table(results, false, &text);
        status = write_buffer(folder, "results.jsonl", &text, err);
    }
    if (status == SNUG_OK) {
        snug__lab_markdown(results, &text);
        status = write_buffer(folder, "report.md", &text, err);
    }
    if (status == SNUG_OK) {
        snug__lab_latex(results, &text);
        status = write_buffer(folder, "report.tex", &text, err);
    }
    return status;
}
