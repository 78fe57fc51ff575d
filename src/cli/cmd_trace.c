/* snug trace: one request as a timeline in a file. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/task.h"
#include "snug/trace.h"
#include "snug/units.h"

static const struct cli_task_defaults DEFAULTS = {.n_prompt = 512, .n_gen = 32, .n_ctx = 4096};
static const double DEADLINE_S = 3600.0;

static void on_progress(const char *phase, void *data)
{
    (void)data;
    cli_live("%s ...", phase);
}

/* The prompt: *out_text NULL for random tokens; *out_owned is the caller's to free. */
static snug_status take_prompt(const struct cli_args *args, const char **out_text, char **out_owned,
                               struct snug_error *err)
{
    const int n_given = args->has_prompt + (args->prompt_text != NULL) + (args->text != NULL);
    if (n_given > 1)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "--prompt, --prompt-text and --text exclude one another: give one");
    *out_text = args->has_prompt    ? NULL
                : args->prompt_text ? args->prompt_text
                                    : snug_trace_default_text();
    if (!args->text)
        return SNUG_OK;
    size_t n = 0;
    const snug_status status = snug_file_read(args->text, SNUG_TRACE_TEXT_MAX, out_owned, &n, err);
    if (status != SNUG_OK)
        return status;
    if (strlen(*out_owned) != n)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: byte %zu is NUL: a prompt is text", args->text,
                         strlen(*out_owned));
    *out_text = *out_owned;
    return SNUG_OK;
}

static double span_s(const struct snug_trace_span *s)
{
    return (double)(s->end_ns - s->start_ns) / 1e9;
}

/* What a reader wants to know before opening the file. */
static void say_summary(const struct snug_trace *t, const char *path)
{
    double load_s = 0.0, prefill_s = 0.0, first_s = 0.0, steps_s = 0.0;
    char load[SNUG_UNIT_TEXT_MAX], first[SNUG_UNIT_TEXT_MAX], step[SNUG_UNIT_TEXT_MAX];
    int64_t request_ns = 0;
    for (size_t i = 0; i < t->n_spans; i++) {
        const struct snug_trace_span *s = &t->spans[i];
        if (s->kind == SNUG_TRACE_LOAD || s->kind == SNUG_TRACE_CONTEXT)
            load_s += span_s(s);
        else if (s->kind == SNUG_TRACE_REQUEST)
            request_ns = s->start_ns;
        else if (s->kind == SNUG_TRACE_PREFILL)
            prefill_s = span_s(s);
        else if (s->kind == SNUG_TRACE_FIRST_SAMPLE)
            first_s = (double)(s->end_ns - request_ns) / 1e9;
        else if (s->kind == SNUG_TRACE_GENERATE)
            steps_s = span_s(s);
    }
    cli_say("loaded in %s; %lld tokens of prompt, the first token %s after the request",
            snug_seconds_text(load_s, load), (long long)t->n_prompt,
            snug_seconds_text(first_s, first));
    cli_say("prefill %.1f tokens/s%s%s%s", prefill_s > 0 ? (double)t->n_prompt / prefill_s : 0.0,
            t->n_gen > 1 ? "; then " : "",
            t->n_gen > 1 ? snug_seconds_text(steps_s / (double)(t->n_gen - 1), step) : "",
            t->n_gen > 1 ? " a token" : "");
    if (t->no_frequency[0])
        cli_say("no CPU frequency: %s", t->no_frequency);
    cli_say("%zu spans in %s; open it at https://ui.perfetto.dev or chrome://tracing", t->n_spans,
            path);
}

static snug_status trace_task(const struct cli_args *args, struct cli_task *task, const char *text,
                              struct snug_trace *out, struct snug_error *err)
{
    const struct snug_space *space = snug_engine_space(task->engine);
    const struct snug_engine_options options = {
        .model_path = task->model.path,
        .machine = &task->machine,
        .model = &task->model,
        .workload = task->workload,
        .memory_limit_bytes = task->memory_limit_bytes,
        .stop = &cli_stop,
        .progress = on_progress,
    };
    const struct snug_trace_request request = {
        .text = text, .seed = args->has_seed ? (uint64_t)args->seed : 1, .deadline_s = DEADLINE_S};
    struct snug_config config;
    struct snug_bytes bytes;
    snug_status status = cli_task_config(args, space, &config, err);
    if (status == SNUG_OK)
        status = snug_engine_estimate(task->engine, &config, &bytes, err);
    char need[SNUG_UNIT_TEXT_MAX], limit[SNUG_UNIT_TEXT_MAX];
    if (status == SNUG_OK && task->memory_limit_bytes > 0 &&
        snug_bytes_stated(&bytes) > task->memory_limit_bytes)
        return snug_fail(
            err, SNUG_INFEASIBLE,
            "%s: needs %s, the limit is %s: give more --memory, or a smaller --context",
            task->model.path, snug_bytes_text(snug_bytes_stated(&bytes), need),
            snug_bytes_text(task->memory_limit_bytes, limit));
    if (status == SNUG_OK)
        status = snug_trace_run(&options, space, &config, &request, out, err);
    return status;
}

/* A text's length in tokens is not known yet: the context is what tune gives, or --context. */
static snug_status set_workload(const struct cli_args *args, const char *text,
                                struct cli_task *task, struct snug_error *err)
{
    const snug_status status = cli_task_workload(args, &DEFAULTS, -1, task, err);
    struct snug_workload *w = &task->workload;
    if (status != SNUG_OK)
        return status;
    if (text)
        w->n_prompt = 0;
    const int64_t need = w->n_prompt + w->n_gen;
    if (!args->n_ctx && w->n_ctx < need)
        w->n_ctx = need;
    if (w->n_ctx < need)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "a context of %lld tokens does not hold a prompt of %lld and %lld more: "
                         "give --context %lld",
                         (long long)w->n_ctx, (long long)w->n_prompt, (long long)w->n_gen,
                         (long long)need);
    return SNUG_OK;
}

static int write_trace(const struct cli_args *args, const struct cli_task *task,
                       const struct snug_trace *trace, struct snug_error *err)
{
    char *json = snug_trace_json(trace, cli_base_name(task->model.path));
    int code = CLI_OK;
    if (!json) {
        code = cli_fail_text(CLI_FAILED, "no memory for the trace");
    } else if (strcmp(args->output, "-") == 0) {
        code = cli_put(json);
    } else if (snug_file_write(args->output, json, strlen(json), err) != SNUG_OK) {
        code = cli_fail_text(CLI_FAILED, "%s", err->text);
    }
    free(json);
    if (code == CLI_OK)
        say_summary(trace, args->output);
    return code;
}

int cmd_trace(const struct cli_args *args)
{
    struct cli_task task = {0};
    struct snug_error err = {0};
    struct snug_trace trace = {.n_spans = 0};
    const char *text = NULL;
    char *owned = NULL;
    if (!args->output)
        return cli_fail_text(CLI_MISUSE, "snug trace needs -o FILE, such as -o trace.json");
    /* A request may take minutes: what it has to say must have a place to go. */
    if (strcmp(args->output, "-") != 0 && snug_file_try_write(args->output, &err) != SNUG_OK)
        return cli_fail_text(CLI_FAILED, "%s", err.text);
    cli_catch_signals();
    snug_status status = take_prompt(args, &text, &owned, &err);
    if (status == SNUG_OK)
        status = cli_task_open_model(args, &task, &err);
    if (status == SNUG_OK)
        status = set_workload(args, text, &task, &err);
    if (status == SNUG_OK)
        status = cli_task_open_engine(args, &task, on_progress, NULL, &err);
    if (status == SNUG_OK)
        status = trace_task(args, &task, text, &trace, &err);
    cli_live_end();
    const int code = status == SNUG_OK ? write_trace(args, &task, &trace, &err) : cli_fail(&err);
    snug_trace_clear(&trace);
    free(owned);
    cli_task_close(&task);
    return code;
}
