/* snug plan: what fits, how fast, at what loss. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/plan.h"
#include "engine/sensitivity.h"
#include "snug/commands.h"
#include "snug/units.h"

static const double BYTES_PER_GB = 1e9;

/* ---- opening ---- */

static snug_status open_law(struct cli_planning *p, struct snug_error *err)
{
    char folder[4096];
    const struct cli_args *args = p->args;
    snug_status status = snug_file_cache_folder(folder, sizeof folder, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_law_request request = {.machine = args->machine ? args->machine : "this",
                                             .memory_bytes = args->ram_bytes ? args->ram_bytes
                                                                             : args->memory_bytes,
                                             .vram_bytes = args->vram_bytes,
                                             .disk_bytes = 0,
                                             .gpu_bps = args->gpu_gbps * BYTES_PER_GB,
                                             .ram_bps = args->ram_gbps * BYTES_PER_GB,
                                             .disk_bps = args->disk_gbps * BYTES_PER_GB,
                                             .rpc = args->rpc,
                                             .cache_folder = folder,
                                             .is_fresh = args->refresh,
                                             .stop = &cli_stop,
                                             .progress = cli_live_phase};
    return snug_law_open(&request, &p->law, err);
}

static bool is_quantised(const struct snug_model *model)
{
    for (int i = 0; i < model->n_types; i++) {
        if (!snug__type_is_source(model->types[i].type))
            return true;
    }
    return false;
}

/* Losses: from the file given, else from the weights where they are here, else by position; none
 * for weights that are quantised already, which stay as they are. */
static snug_status open_sensitivity(struct cli_planning *p, struct snug_error *err)
{
    if (p->args->sensitivity)
        return snug_sensitivity_read(p->args->sensitivity, &p->model, &p->sensitivity, err);
    if (is_quantised(&p->model)) {
        p->sensitivity = (struct snug_sensitivity){.method = SNUG_SENSITIVITY_POSITION,
                                                   .n_tensors = p->model.n_tensors,
                                                   .lo_frac = 1.0,
                                                   .hi_frac = 1.0};
        cli_say("%s is quantised already: its types stay. Plan from the F16 file to choose types",
                p->args->operand);
        return SNUG_OK;
    }
    if (!p->model.has_data && p->args->imatrix)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "--imatrix weighs the errors of weights, and those of %s are not here",
                         p->args->operand);
    if (!p->model.has_data)
        return snug_sensitivity_position(&p->model, &p->sensitivity, err);
    const struct snug_sensitivity_options options = {.model = &p->model,
                                                     .imatrix_path = p->args->imatrix,
                                                     .stop = &cli_stop,
                                                     .progress = cli_live_phase};
    return snug_sensitivity_weights(&options, &p->sensitivity, err);
}

static snug_status open_oracle(struct cli_planning *p, struct snug_error *err)
{
    char folder[4000], shape[4096];
    snug_status status = snug_file_cache_folder(folder, sizeof folder, err);
    if (status == SNUG_OK)
        status = snug_model_shape_file(&p->model, folder, shape, sizeof shape, err);
    if (status == SNUG_OK)
        status = snug_plan_oracle_open(&p->model, shape, &p->machine, &cli_stop, &p->oracle, err);
    return status;
}

/* ---- the request ---- */

static snug_status read_quality(const char *text, struct snug_plan_request *r,
                                struct snug_error *err)
{
    char *end = NULL;
    const double share = strtod(text, &end);
    if (end != text && !*end) {
        if (!(share > 0.0 && share < 1.0))
            return snug_fail(err, SNUG_BAD_INPUT, "--min-quality %s: a share between 0 and 1",
                             text);
        r->loss_max = -log(share);
        return SNUG_OK;
    }
    r->type_floor = snug_model_type_from_name(text);
    if (r->type_floor >= 0)
        return SNUG_OK;
    return snug_fail(err, SNUG_BAD_INPUT,
                     "--min-quality %s: neither a type such as q4_k nor a share such as 0.98",
                     text);
}

static snug_status make_request(struct cli_planning *p, struct snug_error *err)
{
    const struct cli_args *args = p->args;
    struct snug_plan_request *r = &p->request;
    snug_plan_request_init(r);
    r->model = &p->model;
    r->law = &p->law;
    r->sensitivity = &p->sensitivity;
    r->bytes = snug_plan_oracle_bytes;
    r->bytes_data = p->oracle;
    r->n_ctx = args->n_ctx;
    r->n_parallel = args->n_parallel;
    r->n_prompt = args->n_prompt;
    r->target_tps = args->target_tps;
    r->target_ttft_s = args->target_ttft_s;
    r->disk_bytes = args->disk_bytes;
    if (args->goal)
        r->goal = strcmp(args->goal, "batch") == 0  ? SNUG_PLAN_BATCH
                  : strcmp(args->goal, "long") == 0 ? SNUG_PLAN_LONG
                                                    : SNUG_PLAN_CHAT;
    return args->min_quality ? read_quality(args->min_quality, r, err) : SNUG_OK;
}

/* What contradicts itself, before minutes of calibration. */
static snug_status check_args(const struct cli_args *args, struct snug_error *err)
{
    const struct {
        const char *name;
        bool is_given;
    } tables[] = {{"--compare", args->compare},
                  {"--pareto", args->pareto},
                  {"--shadow", args->shadow},
                  {"--commands", args->commands},
                  {"--verify", args->verify}};
    for (size_t i = 0; args->json && i < sizeof tables / sizeof *tables; i++) {
        if (tables[i].is_given)
            return snug_fail(err, SNUG_BAD_INPUT,
                             "--json gives the plan alone: leave %s or --json away",
                             tables[i].name);
    }
    const char *const files[] = {args->sensitivity, args->imatrix, args->text};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (files[i] && access(files[i], R_OK) != 0)
            return snug_fail(err, SNUG_NOT_FOUND, "%s: %s", files[i], strerror(errno));
    }
    if (args->verify && args->machine && strcmp(args->machine, "this") != 0)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "--verify runs the plan here: leave --machine %s away", args->machine);
    return SNUG_OK;
}

static snug_status open_all(struct cli_planning *p, struct snug_error *err)
{
    snug_status status = check_args(p->args, err);
    if (status == SNUG_OK)
        status = snug_machine_probe("", &p->machine, err);
    if (status == SNUG_OK)
        status = snug_model_open(p->args->operand, &p->model, err);
    if (status == SNUG_OK && p->model.note[0])
        cli_say("note: %s", p->model.note);
    if (status == SNUG_OK)
        status = open_law(p, err);
    if (status == SNUG_OK && (!p->args->machine || strcmp(p->args->machine, "this") == 0))
        cli_plan_correct(p);
    if (status == SNUG_OK)
        status = open_sensitivity(p, err);
    if (status == SNUG_OK)
        status = open_oracle(p, err);
    if (status == SNUG_OK)
        status = make_request(p, err);
    return status;
}

/* ---- output ---- */

/* Every emitter's text; one that cannot express this plan says why in its place. */
static snug_status put_commands(struct snug_buffer *out, const struct cli_planning *p,
                                struct snug_error *err)
{
    const struct snug_command_options options = {
        .gguf_path = "planned.gguf", .imatrix_path = p->args->imatrix, .port = 8080};
    for (const struct snug_emitter *e = snug_plan_emitters(); e->name; e++) {
        char *text = NULL;
        const snug_status status =
            snug_plan_command(&p->plan, &p->model, e->name, &options, &text, err);
        if (status == SNUG_NO_MEMORY)
            return status;
        snug_buffer_printf(out, "\n# %s: %s\n", e->name, e->summary);
        if (status == SNUG_OK)
            snug_buffer_puts(out, text);
        else
            snug_buffer_printf(out, "# not for this plan: %s\n", err->text);
        free(text);
    }
    return SNUG_OK;
}

static snug_status put_text(struct snug_buffer *out, const struct cli_planning *p,
                            struct snug_error *err)
{
    const struct cli_args *args = p->args;
    snug_status status = SNUG_OK;
    cli_plan_put(out, p);
    if (p->measured.len > 0)
        snug_buffer_printf(out, "\n%s", snug_buffer_text(&p->measured));
    if (args->compare)
        status = cli_plan_put_compare(out, p, err);
    if (status == SNUG_OK && args->pareto)
        status = cli_plan_put_menu(out, p, err);
    if (status == SNUG_OK && args->shadow)
        status = cli_plan_put_shadow(out, p, err);
    if (status == SNUG_OK && args->verify && p->plan.grade == SNUG_PLAN_INFEASIBLE)
        cli_say("nothing to verify: the plan is infeasible");
    else if (status == SNUG_OK && args->verify)
        status = cli_plan_put_verify(out, p, err);
    if (status == SNUG_OK && args->commands)
        status = put_commands(out, p, err);
    if (status == SNUG_OK && args->output)
        snug_buffer_printf(out, "%-11s snug quantize %s --plan %s%s%s -o out.gguf\n", "next",
                           args->operand, args->output, args->imatrix ? " --imatrix " : "",
                           args->imatrix ? args->imatrix : "");
    return status;
}

static int answer(const struct cli_planning *p, struct snug_error *err)
{
    struct snug_buffer out = {0};
    snug_status status = SNUG_OK;
    if (p->args->output)
        status = snug_plan_write(&p->plan, p->args->output, err);
    if (status == SNUG_OK && p->args->json)
        cli_buffer_json(&out, snug_plan_to_json(&p->plan));
    else if (status == SNUG_OK)
        status = put_text(&out, p, err);
    const int code = status == SNUG_OK ? cli_put_buffer(&out) : cli_fail(err);
    snug_buffer_clear(&out);
    return code == CLI_OK && p->plan.grade == SNUG_PLAN_INFEASIBLE ? CLI_FAILED : code;
}

int cmd_plan(const struct cli_args *args)
{
    struct snug_error err = {0};
    struct cli_planning *p = calloc(1, sizeof *p);
    if (!p)
        return cli_fail_text(CLI_FAILED, "no memory for a plan");
    p->args = args;
    cli_catch_signals();
    snug_status status = open_all(p, &err);
    if (status == SNUG_OK)
        status = snug_plan_solve(&p->request, &p->plan, &err);
    if (status == SNUG_OK && args->text)
        status = cli_plan_rerank(p, &p->measured, &err);
    cli_live_end();
    const int code = status == SNUG_OK ? answer(p, &err) : cli_fail(&err);
    snug_plan_clear(&p->plan);
    snug_buffer_clear(&p->measured);
    snug_plan_oracle_close(p->oracle);
    snug_sensitivity_clear(&p->sensitivity);
    snug_model_clear(&p->model);
    free(p);
    return code;
}
