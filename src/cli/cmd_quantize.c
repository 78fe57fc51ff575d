/* snug quantize: the file that a plan or a recipe describes. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/process.h"
#include "cli/task.h"
#include "snug/plan.h"
#include "snug/units.h"

static snug_status check_args(const struct cli_args *args, struct snug_error *err)
{
    if (!args->output)
        return snug_fail(err, SNUG_BAD_INPUT, "snug quantize needs -o FILE, such as -o model.gguf");
    if (!args->plan && !args->type)
        return snug_fail(
            err, SNUG_BAD_INPUT,
            "give --plan FILE (made by snug plan %s -o FILE), or a recipe with --type, "
            "such as --type q4_k_m",
            args->operand);
    if (args->plan && args->type)
        return snug_fail(err, SNUG_BAD_INPUT, "--plan and --type exclude one another: give one");
    return SNUG_OK;
}

/* A plan is for one file of weights. Without a hash it was made before there was one. */
static snug_status check_plan(const struct cli_args *args, const struct snug_plan *plan,
                              struct snug_error *err)
{
    struct snug_model model = {.n_tensors = 0};
    snug_status status = snug_model_open(args->operand, &model, err);
    if (status != SNUG_OK)
        return status;
    if (plan->model_hash[0] && strcmp(plan->model_hash, model.hash) != 0)
        status =
            snug_fail(err, SNUG_BAD_INPUT,
                      "%s: is for '%.60s' (%.12s), %s is '%.60s' (%.12s): plan again with snug "
                      "plan %s",
                      args->plan, plan->model_name, plan->model_hash, args->operand, model.name,
                      model.hash, args->operand);
    snug_model_clear(&model);
    return status;
}

static int answer(const struct cli_args *args, const struct snug_quantize_result *result,
                  double took_s)
{
    char size[SNUG_UNIT_TEXT_MAX], took[SNUG_UNIT_TEXT_MAX];
    cli_say("%s: %s, %s by the count of weights, %d of %d tensors changed, in %s", args->output,
            snug_bytes_text(result->bytes, size), result->file_type, result->n_changed,
            result->n_tensors, snug_seconds_text(took_s, took));
    cli_say("next: snug eval %s --reference %s --text TEXT, or snug tune %s", args->output,
            args->operand, args->output);
    if (!args->json)
        return CLI_OK;
    struct snug_json_writer w = {0};
    struct snug_buffer out = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "file", args->output);
    snug_json_put_int(&w, "bytes", (int64_t)result->bytes);
    snug_json_put_string(&w, "file_type", result->file_type);
    snug_json_put_int(&w, "n_tensors", result->n_tensors);
    snug_json_put_int(&w, "n_changed", result->n_changed);
    snug_json_put_number(&w, "wall_s", took_s);
    snug_json_end(&w);
    cli_buffer_json(&out, snug_json_finish(&w, true));
    const int code = cli_put_buffer(&out);
    snug_buffer_clear(&out);
    return code;
}

int cmd_quantize(const struct cli_args *args)
{
    struct snug_error err = {0};
    struct snug_quantize_result result = {.bytes = 0};
    struct snug_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return cli_fail_text(CLI_FAILED, "no memory for a plan");
    cli_catch_signals();
    const double start = snug_clock_s();
    snug_status status = check_args(args, &err);
    if (status == SNUG_OK && args->plan)
        status = snug_plan_read(args->plan, plan, &err);
    if (status == SNUG_OK && args->plan)
        status = check_plan(args, plan, &err);
    const struct snug_quantize_options options = {
        .model_path = args->operand,
        .recipe = args->type,
        .names = plan->names,
        .types = plan->types,
        .n_tensors = plan->n_tensors,
        .file_bytes = plan->model_hash[0] ? plan->file_bytes : 0, /* of this very file */
        .imatrix_path = args->imatrix,
        .out_path = args->output,
        .allow_requantize = args->allow_requantize,
        .stop = &cli_stop,
        .progress = cli_live_phase,
        .progress_data = (void *)(uintptr_t)cli_base_name(args->operand),
    };
    if (status == SNUG_OK)
        status = snug_engine_quantize_plan(&options, &result, &err);
    cli_live_end();
    const int code =
        status == SNUG_OK ? answer(args, &result, snug_clock_s() - start) : cli_fail(&err);
    snug_plan_clear(plan);
    free(plan);
    return code;
}
