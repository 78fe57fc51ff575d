/* snug plan --verify: make the planned file, run it at full context, and hold every predicted
 * number against the measured one. The file is temporary; the trials stay in the history. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/scratch.h"
#include "cli/plan.h"
#include "cli/task.h"
#include "report/table.h"
#include "snug/units.h"

static const double DEADLINE_S = 3600.0;
enum { N_GEN = 32 };

struct verifying {
    const struct cli_planning *p;
    struct snug_scratch scratch;
    char path[sizeof((struct snug_scratch *)0)->path + 16]; /* of the file made */
    struct cli_task task;
    struct snug_table table;
    struct snug_json_writer residuals; /* for the history: corrects the next prediction */
    int n, n_outside;
};

/* ---- the file ---- */

static bool on_synth(double done_frac, void *data)
{
    (void)data;
    cli_live("verify: random weights of its shape, %.0f %%", 100.0 * done_frac);
    return !cli_stop;
}

/* The weights are not here: random ones of the same types are as large and as fast. */
static snug_status synthesise(struct verifying *v, struct snug_error *err)
{
    char preset[64];
    const char *operand = v->p->args->operand;
    operand += strncmp(operand, "preset:", 7) == 0 ? 7 : 0;
    snprintf(preset, sizeof preset, "%.*s", (int)strcspn(operand, ":"), operand);
    const struct snug_synth_options options = {
        .seed = 1, .types = v->p->plan.types, .n_types = v->p->plan.n_tensors};
    return snug_model_synth(preset, &options, v->path, on_synth, NULL, err);
}

static snug_status make_file(struct verifying *v, struct snug_error *err)
{
    const struct cli_planning *p = v->p;
    char folder[4000];
    snug_status status = snug_file_cache_folder(folder, sizeof folder, err);
    if (status != SNUG_OK)
        return status;
    status = snug_scratch_open(folder, &v->scratch, err);
    if (status != SNUG_OK)
        return status;
    snprintf(v->path, sizeof v->path, "%s/plan.gguf", v->scratch.path);
    if (p->model.is_preset)
        return synthesise(v, err);
    const struct snug_quantize_options options = {.model_path = p->model.path,
                                                  .names = p->plan.names,
                                                  .types = p->plan.types,
                                                  .n_tensors = p->plan.n_tensors,
                                                  .imatrix_path = p->args->imatrix,
                                                  .out_path = v->path,
                                                  .stop = &cli_stop,
                                                  .progress = cli_live_phase};
    return snug_engine_quantize_plan(&options, NULL, err);
}

/* ---- one row ---- */

static void put_row(struct verifying *v, const char *const cells[4], double predicted,
                    double measured)
{
    for (int i = 0; i < 4; i++)
        snug_table_cell_text(&v->table, cells[i]);
    snug_table_cell_number(&v->table, predicted > 0.0 ? 100.0 * (measured / predicted - 1.0) : 0.0,
                           1);
    snug_table_row_end(&v->table);
}

static void put_bytes(struct verifying *v, const char *name, uint64_t predicted, uint64_t measured)
{
    char a[SNUG_UNIT_TEXT_MAX], b[SNUG_UNIT_TEXT_MAX];
    const char *const cells[4] = {name, snug_bytes_text(predicted, a), "",
                                  snug_bytes_text(measured, b)};
    put_row(v, cells, (double)predicted, (double)measured);
}

static const char *bytes_text(double bytes, char out[SNUG_UNIT_TEXT_MAX])
{
    return snug_bytes_text((uint64_t)bytes, out);
}

/* A figure with an interval, which it meets or misses. */
static void put_judged(struct verifying *v, const char *name, const struct snug_prediction *p,
                       double measured, const char *(*text)(double, char *))
{
    char a[SNUG_UNIT_TEXT_MAX], b[SNUG_UNIT_TEXT_MAX], c[SNUG_UNIT_TEXT_MAX], range[80];
    const bool is_inside = measured >= p->lo && measured <= p->hi;
    snprintf(range, sizeof range, "%s to %s%s", text(p->lo, a), text(p->hi, b),
             is_inside ? "" : ": missed");
    const char *const cells[4] = {name, text(p->value, c), range, text(measured, a)};
    put_row(v, cells, p->value, measured);
    v->n++;
    v->n_outside += !is_inside;
}

static void put_rate(struct verifying *v, const char *name, const struct snug_prediction *predicted,
                     double measured)
{
    const bool is_prefill = strncmp(name, "prefill", 7) == 0;
    const struct snug_law *law = &v->p->law;
    const double correction = is_prefill ? law->prefill_correction : law->decode_correction;
    put_judged(v, name, predicted, measured, snug_rate_text);
    snug_json_begin_object(&v->residuals, NULL);
    snug_json_put_bool(&v->residuals, "is_prefill", is_prefill);
    snug_json_put_number(&v->residuals, "predicted",
                         predicted->value / (correction > 0.0 ? correction : 1.0));
    snug_json_put_number(&v->residuals, "measured", measured);
    snug_json_end(&v->residuals);
}

/* ---- trials ---- */

/* Prefill of n_prompt and decode behind depth tokens, in the planned context. */
static snug_status run(struct verifying *v, int64_t n_prompt, int64_t depth,
                       struct snug_measurement *out, struct snug_error *err)
{
    const struct snug_plan *plan = &v->p->plan;
    struct snug_effort effort;
    struct snug_config config;
    snug_engine_close(v->task.engine);
    v->task.engine = NULL;
    v->task.workload = (struct snug_workload){.n_prompt = n_prompt,
                                              .n_gen = N_GEN,
                                              .n_depth = depth,
                                              .n_parallel = plan->n_parallel,
                                              .n_ctx = plan->n_ctx / plan->n_parallel};
    snug_status status = cli_task_open_engine(v->p->args, &v->task, cli_live_phase, NULL, err);
    if (status == SNUG_OK)
        status = snug_plan_config(plan, snug_engine_space(v->task.engine), &config, err);
    snug_effort_default(&effort);
    effort.deadline_s = DEADLINE_S;
    effort.want_prefill = n_prompt > 0;
    if (status == SNUG_OK)
        status = snug_engine_run(v->task.engine, &config, &effort, out, err);
    if (status == SNUG_OK && out->outcome != SNUG_TRIAL_OK) {
        status = snug_fail(err, SNUG_INFEASIBLE, "the planned run ended %s: %s",
                           snug_outcome_name(out->outcome), out->reason);
        snug_measurement_clear(out);
    }
    return status;
}

/* Kept as a session of its task, so that cli_plan_correct finds it when the file is gone. */
static snug_status keep(struct verifying *v, struct snug_error *err)
{
    int64_t id = 0;
    snug_json_end(&v->residuals);
    snug_json_put_string(&v->residuals, "source_hash", v->p->model.hash);
    snug_json_end(&v->residuals);
    char *json = snug_json_finish(&v->residuals, false);
    snug_status status = json ? cli_task_open_store(v->p->args, &v->task, err)
                              : snug_fail(err, SNUG_NO_MEMORY, "no memory for residuals");
    if (status == SNUG_OK)
        status = snug_store_session(v->task.store, v->task.id, CLI_PLAN_VERIFY, "{}", &id, err);
    if (status == SNUG_OK)
        status = snug_store_session_finish(v->task.store, id, json, err);
    free(json);
    return status;
}

static void put_sums(struct verifying *v, const struct snug_bytes *measured)
{
    struct snug_plan_tier sum = {.weights = 0};
    for (int i = 0; i < v->p->plan.n_tiers; i++) {
        sum.weights += v->p->plan.tiers[i].weights;
        sum.cache += v->p->plan.tiers[i].cache;
        sum.compute += v->p->plan.tiers[i].compute;
    }
    put_bytes(v, "weights", sum.weights, measured->weights);
    put_bytes(v, "cache", sum.cache, measured->cache);
    put_bytes(v, "compute", sum.compute, measured->compute);
}

/* Decode at every depth of the plan; the last is the full context, where memory is at its peak. */
static snug_status run_depths(struct verifying *v, struct snug_error *err)
{
    const struct snug_plan *plan = &v->p->plan;
    const int64_t room = plan->n_ctx / plan->n_parallel - N_GEN;
    uint64_t peak = 0;
    snug_status status = SNUG_OK;
    struct snug_measurement m;
    for (int i = 0; i < plan->n_depths && status == SNUG_OK && !cli_stop; i++) {
        const int64_t depth = plan->depths[i] < room ? plan->depths[i] : room;
        char name[64];
        const bool is_first = i == 0;
        const int64_t n_prompt = is_first ? plan->n_prompt : 0;
        status = run(v, n_prompt, depth, &m, err);
        if (status != SNUG_OK)
            break;
        if (is_first) {
            put_sums(v, &m.bytes);
            put_rate(v, "prefill tokens/s", &plan->prefill_tps, m.prefill_tps);
        }
        snprintf(name, sizeof name, "decode behind %lld", (long long)depth);
        put_rate(v, name, &plan->decode_tps[i], m.decode_tps / (double)plan->n_parallel);
        peak = m.bytes.rss_peak > peak ? m.bytes.rss_peak : peak;
        snug_measurement_clear(&m);
    }
    if (status == SNUG_OK)
        put_judged(v, "peak of the process", &plan->host_bytes, (double)peak, bytes_text);
    return status;
}

static snug_status verify(struct verifying *v, struct snug_error *err)
{
    const struct cli_planning *p = v->p;
    snug_status status = SNUG_OK;
    if (p->model.header && !p->model.is_preset)
        return snug_fail(err, SNUG_UNSUPPORTED,
                         "--verify needs the weights here: download the model, or verify a preset "
                         "of its shape");
    status = make_file(v, err);
    struct cli_args args = *p->args;
    args.operand = v->path;
    if (status == SNUG_OK)
        status = cli_task_open_model(&args, &v->task, err);
    if (status != SNUG_OK)
        return status;
    put_bytes(v, "file", p->plan.file_bytes, v->task.model.bytes_file);
    snug_json_begin_object(&v->residuals, NULL);
    snug_json_begin_array(&v->residuals, "residuals");
    status = run_depths(v, err);
    /* A device, or weights that are read as they are in the file, say nothing of the host's law,
     * which is what is corrected. */
    const bool is_of_law = p->plan.n_gpu_layers == 0 && !p->plan.use_mmap;
    return status == SNUG_OK && is_of_law ? keep(v, err) : status;
}

snug_status cli_plan_put_verify(struct snug_buffer *out, const struct cli_planning *p,
                                struct snug_error *err)
{
    struct verifying *v = calloc(1, sizeof *v);
    if (!v)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory to verify a plan");
    v->p = p;
    snug_table_column(&v->table, "figure", SNUG_COLUMN_TEXT);
    snug_table_column(&v->table, "predicted", SNUG_COLUMN_TEXT);
    snug_table_column(&v->table, "interval", SNUG_COLUMN_TEXT);
    snug_table_column(&v->table, "measured", SNUG_COLUMN_TEXT);
    snug_table_column(&v->table, "off %", SNUG_COLUMN_NUMBER);
    const snug_status status = verify(v, err);
    cli_live_end();
    if (status == SNUG_OK) {
        snug_buffer_printf(out, "\npredicted against measured; %d of %d intervals hold\n",
                           v->n - v->n_outside, v->n);
        snug_table_render(&v->table, SNUG_TABLE_MD, out);
    }
    snug_table_clear(&v->table);
    snug_json_writer_clear(&v->residuals);
    cli_task_close(&v->task);
    snug_scratch_close(&v->scratch);
    free(v);
    return status;
}
