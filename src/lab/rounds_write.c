/* A plan as text: what --dry-run shows. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "lab/rounds.h"

static void write_text(const struct snug_lab_plan *plan, struct snug_buffer *out)
{
    snug_buffer_printf(
        out, "# %s\n# plan %s\n# %d rounds, %d models, %d workloads, %d repetitions\n", plan->title,
        plan->hash, plan->n_rounds - 1, plan->n_models, plan->n_workloads, plan->n_repetitions);
    for (int i = 0; i < plan->n_rows; i++) {
        const struct snug_lab_row *row = &plan->rows[i];
        snug_buffer_printf(out, "%s %d %s | %s | %s\n", row->key, row->repetition + 1,
                           plan->models[row->i_model].name, plan->workloads[row->i_workload].name,
                           plan->rounds[row->i_round].name);
    }
}

static void put_model(struct snug_json_writer *w, const struct snug_lab_model *model)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "name", model->name);
    snug_json_put_string(w, "path", model->path);
    if (model->synth) {
        snug_json_put_string(w, "synth", model->synth);
        snug_json_put_string(w, "type", model->synth_type);
        snug_json_put_int(w, "layers", model->synth_layers);
    }
    snug_json_end(w);
}

static void put_workload(struct snug_json_writer *w, const struct snug_lab_workload *workload)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "name", workload->name);
    snug_json_put_int(w, "n_prompt", workload->n_prompt);
    snug_json_put_int(w, "n_gen", workload->n_gen);
    snug_json_put_int(w, "n_depth", workload->n_depth);
    snug_json_put_int(w, "n_parallel", workload->n_parallel);
    snug_json_put_int(w, "n_ctx", workload->n_ctx);
    snug_json_put_string(w, "file", workload->file);
    snug_json_end(w);
}

static void put_round(struct snug_json_writer *w, const struct snug_lab_round *round)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "name", round->name);
    snug_json_put_string(w, "group", round->group);
    snug_json_put_string(w, "weights", round->weights);
    snug_json_begin_object(w, "knobs");
    for (int i = 0; i < round->n_knobs; i++)
        snug_json_put_string(w, round->knobs[i].name, round->knobs[i].value);
    snug_json_end(w);
    snug_json_end(w);
}

static void put_row(struct snug_json_writer *w, const struct snug_lab_plan *plan,
                    const struct snug_lab_row *row)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "key", row->key);
    snug_json_put_string(w, "round", plan->rounds[row->i_round].name);
    snug_json_put_string(w, "model", plan->models[row->i_model].name);
    snug_json_put_string(w, "workload", plan->workloads[row->i_workload].name);
    snug_json_put_int(w, "repetition", row->repetition);
    snug_json_put_int(w, "block", row->block);
    snug_json_end(w);
}

static void write_json(const struct snug_lab_plan *plan, struct snug_buffer *out)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "title", plan->title);
    snug_json_put_string(&w, "plan_hash", plan->hash);
    snug_json_put_int(&w, "seed", (int64_t)plan->seed);
    snug_json_put_int(&w, "repetitions", plan->n_repetitions);
    snug_json_put_number(&w, "deadline_s", plan->deadline_s);
    snug_json_begin_array(&w, "models");
    for (int i = 0; i < plan->n_models; i++)
        put_model(&w, &plan->models[i]);
    snug_json_end(&w);
    snug_json_begin_array(&w, "workloads");
    for (int i = 0; i < plan->n_workloads; i++)
        put_workload(&w, &plan->workloads[i]);
    snug_json_end(&w);
    snug_json_begin_array(&w, "rounds");
    for (int i = 0; i < plan->n_rounds; i++)
        put_round(&w, &plan->rounds[i]);
    snug_json_end(&w);
    snug_json_begin_array(&w, "rows");
    for (int i = 0; i < plan->n_rows; i++)
        put_row(&w, plan, &plan->rows[i]);
    snug_json_end(&w);
    snug_json_end(&w);
    char *text = snug_json_finish(&w, true);
    if (text)
        snug_buffer_printf(out, "%s\n", text);
    else
        out->is_failed = true;
    free(text);
}

void snug_lab_plan_write(const struct snug_lab_plan *plan, bool is_json, struct snug_buffer *out)
{
    if (is_json)
        write_json(plan, out);
    else
        write_text(plan, out);
}
