/* JSON of what is known: exports and the report's document. */
#include "cli/known_json.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/task.h"
#include "cli/tune_goal.h"
#include "trial/trial_json.h"
#include "tune/loop_goal.h"

static void put_text_as_json(struct snug_json_writer *w, const char *key, const char *json)
{
    struct snug_json *doc = NULL;
    if (json && snug_json_parse(key, json, strlen(json), &doc, NULL) == SNUG_OK)
        snug_json_put_node(w, key, snug_json_root(doc));
    else
        snug_json_put_string(w, key, NULL);
    snug_json_free(doc);
}

static void put_trial(struct snug_json_writer *w, const struct known *k,
                      const struct known_trial *trial)
{
    snug_json_put_int(w, "id", trial->id);
    snug_json_put_string(w, "role", trial->role);
    snug_json_put_string(w, "strategy", trial->strategy);
    put_text_as_json(w, "config", trial->config_json);
    snug_json_put_string(w, "config_text", trial->config_text);
    put_text_as_json(w, "effective", trial->effective_json);
    snug_json_put_bool(w, "on_front", trial->on_front);
    if (!snug_goal_is_plain(&k->goal)) {
        cli_trial_axes_json(w, &k->goal, trial->axis);
        snug_json_put_bool(w, "keeps_limits", trial->is_safe);
    }
    if (trial->measurement.outcome == SNUG_TRIAL_OK)
        snug_json_put_string(w, "verdict",
                             snug_verdict_name(snug_verdict_of(trial->measurement.warnings)));
    snug_json_put_string(w, "quality", trial->quality_text);
    if (trial->speed > 0.0) {
        snug_json_put_number(w, "speed", trial->speed);
        if (trial->speed_hi > 0.0) {
            snug_json_put_number(w, "speed_lo", trial->speed_lo);
            snug_json_put_number(w, "speed_hi", trial->speed_hi);
        }
    }
    if (trial->bytes > 0)
        snug_json_put_int(w, "bytes", (int64_t)trial->bytes);
    snug_measurement_to_json(w, "measurement", &trial->measurement);
}

void known_export(const struct known *k, bool is_array, struct snug_buffer *out)
{
    for (int i = 0; i < k->n_trials; i++) {
        struct snug_json_writer w = {0};
        snug_json_begin_object(&w, NULL);
        snug_json_put_string(&w, "snug", snug_version());
        snug_json_put_string(&w, "build", k->build);
        put_text_as_json(&w, "machine", k->machine_json);
        put_text_as_json(&w, "model", k->model_json);
        snug_workload_to_json(&w, "workload", &k->workload);
        put_trial(&w, k, &k->trials[i]);
        snug_json_end(&w);
        char *text = snug_json_finish(&w, false);
        if (!text)
            out->is_failed = true;
        snug_buffer_puts(out, !is_array ? "" : out->len == 0 ? "[\n" : ",\n");
        snug_buffer_printf(out, "%s%s", text ? text : "", is_array ? "" : "\n");
        free(text);
    }
}

static void blocks_text(const double *tps, int n, char *out, size_t cap)
{
    size_t len = 0;
    out[0] = '\0';
    for (int i = 0; i < n && len < cap; i++)
        len += (size_t)snprintf(out + len, cap - len, "%s%.4g", i ? " " : "", tps[i]);
}

static void export_row(const struct known *k, const struct known_trial *trial,
                       struct snug_table *table)
{
    const struct snug_measurement *m = &trial->measurement;
    const int64_t lengths[] = {k->workload.n_prompt, k->workload.n_gen, k->workload.n_depth,
                               k->workload.n_parallel, k->workload.n_ctx};
    const double figures[] = {m->prefill_tps, m->decode_tps, m->ttft_s, m->tpot_p50_s,
                              m->tpot_p95_s,  m->load_s,     m->wall_s};
    const uint64_t bytes[] = {m->bytes.weights, m->bytes.cache, m->bytes.compute,
                              m->bytes.rss_peak};
    char blocks[1024];
    snug_table_cell_text(table, k->model_name);
    snug_table_cell_text(table, k->machine_name);
    snug_table_cell_text(table, k->build);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        snug_table_cell_number(table, (double)lengths[i], 0);
    snug_table_cell_number(table, (double)trial->id, 0);
    snug_table_cell_text(table, trial->role);
    snug_table_cell_text(table, snug_outcome_name(m->outcome));
    snug_table_cell_text(table, m->reason);
    snug_table_cell_text(table, trial->config_text);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        snug_table_cell_number(table, figures[i], 6);
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        snug_table_cell_number(table, (double)bytes[i], 0);
    blocks_text(m->prefill_block_tps, m->n_prefill_blocks, blocks, sizeof blocks);
    snug_table_cell_text(table, blocks);
    blocks_text(m->decode_block_tps, m->n_decode_blocks, blocks, sizeof blocks);
    snug_table_cell_text(table, blocks);
    const bool is_ok = m->outcome == SNUG_TRIAL_OK;
    snug_table_cell_text(table, is_ok ? snug_verdict_name(snug_verdict_of(m->warnings)) : "");
    snug_table_cell_text(table, snug_warnings_text(m->warnings, " ", blocks, sizeof blocks));
    snug_table_cell_text(table, trial->quality_text);
    snug_table_row_end(table);
}

void known_export_table(const struct known *k, enum snug_table_format format,
                        struct snug_buffer *out)
{
    static const char *const columns[] = {"model",
                                          "machine",
                                          "build",
                                          "n_prompt",
                                          "n_gen",
                                          "n_depth",
                                          "n_parallel",
                                          "n_ctx",
                                          "trial",
                                          "role",
                                          "outcome",
                                          "reason",
                                          "config",
                                          "prefill_tps",
                                          "decode_tps",
                                          "ttft_s",
                                          "tpot_p50_s",
                                          "tpot_p95_s",
                                          "load_s",
                                          "wall_s",
                                          "weights_bytes",
                                          "cache_bytes",
                                          "compute_bytes",
                                          "rss_peak_bytes",
                                          "prefill_block_tps",
                                          "decode_block_tps",
                                          "verdict",
                                          "rules",
                                          "quality"};
    struct snug_table table = {.is_headless = out->len > 0};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        const bool is_text = i <= 2 || (i >= 9 && i <= 12) || i >= 24;
        snug_table_column(&table, columns[i], is_text ? SNUG_COLUMN_TEXT : SNUG_COLUMN_NUMBER);
    }
    for (int i = 0; i < k->n_trials; i++)
        export_row(k, &k->trials[i], &table);
    snug_table_render(&table, format, out);
    snug_table_clear(&table);
}

static void put_pick(struct snug_json_writer *w, const struct known *k,
                     const struct snug_json_node *result)
{
    const struct known_trial *pick = known_find(k, snug_json_get_int(result, "pick_trial", 0));
    if (!pick)
        return;
    snug_json_begin_object(w, "pick");
    snug_json_put_int(w, "trial", pick->id);
    snug_json_put_string(w, "config_text", pick->config_text);
    snug_json_put_string(w, "command", snug_json_get_string(result, "command", NULL));
    snug_json_put_number(w, "speed", pick->speed);
    snug_json_put_int(w, "bytes", (int64_t)pick->bytes);
    snug_json_end(w);
}

static void put_result(struct snug_json_writer *w, const struct known *k)
{
    struct snug_json *doc = NULL;
    if (!k->result_json ||
        snug_json_parse("result", k->result_json, strlen(k->result_json), &doc, NULL) != SNUG_OK)
        return;
    const struct snug_json_node *result = snug_json_root(doc);
    struct snug_goal goal;
    snug__tune_goal_read(result, &goal);
    const bool is_same = snug_goal_equal(&goal, &k->goal);
    static const char *const copied[] = {"memory_limit_bytes", "progress", "default_trial",
                                         "fit_trial", "confirm"};
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++) {
        /* Speeds of another objective are in other units: the page must not mix them. */
        const bool has_unit =
            strcmp(copied[i], "progress") == 0 || strcmp(copied[i], "confirm") == 0;
        if (snug_json_get(result, copied[i]) && (is_same || !has_unit))
            snug_json_put_node(w, copied[i], snug_json_get(result, copied[i]));
    }
    if (is_same)
        put_pick(w, k, result);
    const char *note = snug_json_get_string(result, "fit_note", "");
    snug_json_begin_array(w, "notes");
    snug_json_put_string(w, NULL, snug_json_get_string(result, "end_reason", ""));
    if (snug_json_get_string(result, "limit_note", "")[0])
        snug_json_put_string(w, NULL, snug_json_get_string(result, "limit_note", ""));
    if (note[0])
        snug_json_put_string(w, NULL, note);
    snug_json_end(w);
    snug_json_free(doc);
}

char *known_report_json(const struct known *k)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "title", k->model_name);
    snug_json_put_number(&w, "generated_unix_s", (double)time(NULL));
    snug_json_put_string(&w, "snug", snug_version());
    snug_json_put_string(&w, "build", k->build);
    snug_json_put_string(&w, "objective", snug_objective_name(k->objective));
    snug__tune_goal_put(&w, &k->goal);
    put_text_as_json(&w, "machine", k->machine_json);
    put_text_as_json(&w, "model", k->model_json);
    snug_workload_to_json(&w, "workload", &k->workload);
    snug_json_begin_array(&w, "trials");
    for (int i = 0; i < k->n_trials; i++) {
        snug_json_begin_object(&w, NULL);
        put_trial(&w, k, &k->trials[i]);
        snug_json_end(&w);
    }
    snug_json_end(&w);
    put_result(&w, k);
    snug_json_end(&w);
    return snug_json_finish(&w, false);
}
