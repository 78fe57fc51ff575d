/* JSON of what is known: exports and the report's document. */
#include "cli/known_json.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/task.h"
#include "trial/trial_json.h"

static void put_text_as_json(struct snug_json_writer *w, const char *key, const char *json)
{
    struct snug_json *doc = NULL;
    if (json && snug_json_parse(key, json, strlen(json), &doc, NULL) == SNUG_OK)
        snug_json_put_node(w, key, snug_json_root(doc));
    else
        snug_json_put_string(w, key, NULL);
    snug_json_free(doc);
}

static void put_trial(struct snug_json_writer *w, const struct known_trial *trial)
{
    snug_json_put_int(w, "id", trial->id);
    snug_json_put_string(w, "role", trial->role);
    snug_json_put_string(w, "strategy", trial->strategy);
    put_text_as_json(w, "config", trial->config_json);
    snug_json_put_string(w, "config_text", trial->config_text);
    put_text_as_json(w, "effective", trial->effective_json);
    snug_json_put_bool(w, "on_front", trial->on_front);
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
        put_trial(&w, &k->trials[i]);
        snug_json_end(&w);
        char *text = snug_json_finish(&w, false);
        if (!text)
            out->is_failed = true;
        snug_buffer_puts(out, !is_array ? "" : i == 0 ? "[\n" : ",\n");
        snug_buffer_printf(out, "%s%s", text ? text : "", is_array ? "" : "\n");
        free(text);
    }
    if (is_array)
        snug_buffer_puts(out, "\n]\n");
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
    static const char *const copied[] = {"memory_limit_bytes", "progress", "default_trial",
                                         "fit_trial", "confirm"};
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++) {
        if (snug_json_get(result, copied[i]))
            snug_json_put_node(w, copied[i], snug_json_get(result, copied[i]));
    }
    put_pick(w, k, result);
    const char *note = snug_json_get_string(result, "fit_note", "");
    snug_json_begin_array(w, "notes");
    snug_json_put_string(w, NULL, snug_json_get_string(result, "end_reason", ""));
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
    put_text_as_json(&w, "machine", k->machine_json);
    put_text_as_json(&w, "model", k->model_json);
    snug_workload_to_json(&w, "workload", &k->workload);
    snug_json_begin_array(&w, "trials");
    for (int i = 0; i < k->n_trials; i++) {
        snug_json_begin_object(&w, NULL);
        put_trial(&w, &k->trials[i]);
        snug_json_end(&w);
    }
    snug_json_end(&w);
    put_result(&w, k);
    snug_json_end(&w);
    return snug_json_finish(&w, false);
}
