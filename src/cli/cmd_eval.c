/* snug eval: perplexity of a configuration over a text, and its divergence from a reference. */
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/eval_tasks.h"
#include "cli/gate.h"
#include "cli/task.h"
#include "snug/units.h"
#include "trial/quality_json.h"
#include "trial/trial_json.h"

static const double DEADLINE_S = 24.0 * 3600.0;

struct evaluating {
    const struct cli_args *args;
    struct cli_task task;
    struct snug_config config;
    struct snug_quality quality;
    struct cli_gate gate;
    char reference[4096]; /* file; "" for none */
    int64_t n_ctx;
    const char *what;    /* for the live line */
    bool is_interrupted; /* the user stopped it with something to show */
};

static void on_progress(const char *phase, void *data)
{
    const struct evaluating *e = data;
    cli_live("%s: %s", e->what, phase);
}

static snug_status check_text(const char *path, struct snug_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return snug_fail(err, SNUG_NOT_FOUND, "%s: no such text", path);
    if (!S_ISREG(info.st_mode))
        return snug_fail(err, SNUG_BAD_INPUT, "%s: not a file", path);
    if (info.st_size == 0)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: empty", path);
    if ((uint64_t)info.st_size > SNUG_EVAL_TEXT_MAX) {
        char size[SNUG_UNIT_TEXT_MAX], most[SNUG_UNIT_TEXT_MAX];
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: a text of %s; at most %s are read: give a piece of it, such as its "
                         "first megabytes",
                         path, snug_bytes_text((uint64_t)info.st_size, size),
                         snug_bytes_text(SNUG_EVAL_TEXT_MAX, most));
    }
    return SNUG_OK;
}

static snug_status open_model(struct evaluating *e, const struct cli_args *args,
                              struct cli_task *task, struct snug_config *config,
                              struct snug_error *err)
{
    snug_status status = cli_task_open_model(args, task, err);
    if (status != SNUG_OK)
        return status;
    if (e->n_ctx == 0)
        e->n_ctx = args->n_ctx ? args->n_ctx : snug_quality_chunk(task->model.n_ctx_train);
    task->workload =
        (struct snug_workload){.n_prompt = e->n_ctx, .n_parallel = 1, .n_ctx = e->n_ctx};
    status = cli_task_open_engine(args, task, NULL, NULL, err);
    if (status == SNUG_OK)
        status = cli_task_config(args, snug_engine_space(task->engine), config, err);
    return status;
}

static struct snug_eval_options options_for(struct evaluating *e, const struct cli_task *task,
                                            const struct snug_config *config)
{
    return (struct snug_eval_options){
        .model_path = task->model.path,
        .model = &task->model,
        .space = snug_engine_space(task->engine),
        .config = config,
        .memory_limit_bytes = 0, /* logits of a vocabulary are not what the limit is about */
        .text_path = e->args->text,
        .n_ctx = e->n_ctx,
        .n_chunks = e->args->n_chunks,
        .deadline_s = DEADLINE_S,
        .stop = &cli_stop,
        .progress = on_progress,
        .progress_data = e,
    };
}

/* ---- the reference ---- */

static bool is_reference_file(const char *path)
{
    const size_t n = strlen(path);
    return n > 8 && strcmp(path + n - 8, ".snugref") == 0;
}

/* Where the reference run of a model over a text is kept: named by all that it depends on. */
static snug_status reference_path(const struct evaluating *e, const struct cli_task *task,
                                  char out[4096], struct snug_error *err)
{
    char folder[3072], hex[SNUG_SHA256_HEX_MAX], identity[512], *text = NULL;
    size_t n = 0;
    struct snug_sha256 hash;
    snug_status status = snug_file_cache_folder(folder, sizeof folder - 16, err);
    if (status == SNUG_OK)
        status = snug_file_read(e->args->text, SNUG_EVAL_TEXT_MAX, &text, &n, err);
    if (status != SNUG_OK)
        return status;
    snprintf(identity, sizeof identity, "%s %lld %lld %s ", task->model.hash, (long long)e->n_ctx,
             (long long)e->args->n_chunks, snug_engine_build(task->engine));
    snug_sha256_init(&hash);
    snug_sha256_update(&hash, identity, strlen(identity));
    snug_sha256_update(&hash, text, n);
    snug_sha256_final_hex(&hash, hex);
    free(text);
    memcpy(folder + strlen(folder), "/references", sizeof "/references");
    status = snug_file_make_folder(folder, err);
    snprintf(out, 4096, "%s/%.32s.snugref", folder, hex);
    return status;
}

/* Kept references stay bounded; this run's own is never the one that goes. */
static snug_status tidy_references(const char *reference, struct snug_error *err)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(reference, '/') - reference), reference);
    return snug_engine_references_tidy(folder, reference, 0, err);
}

/* Measure the reference model once, with its default config and F16 caches. */
static snug_status make_reference(struct evaluating *e, struct snug_error *err)
{
    struct cli_args args = *e->args;
    struct cli_task task = {0};
    struct snug_config config;
    struct snug_quality quality;
    args.operand = e->args->reference;
    args.n_knobs = 0;
    snug_status status = open_model(e, &args, &task, &config, err);
    if (status == SNUG_OK)
        status = reference_path(e, &task, e->reference, err);
    if (status == SNUG_OK)
        status = tidy_references(e->reference, err);
    const bool is_kept =
        status == SNUG_OK &&
        snug_engine_reference_check(e->reference, e->n_ctx, e->args->n_chunks, NULL) == SNUG_OK;
    if (is_kept) /* used now: the last to go; a date that cannot be set costs no more than that */
        (void)utimensat(AT_FDCWD, e->reference, NULL, 0);
    if (status == SNUG_OK && !is_kept) {
        struct snug_eval_options options = options_for(e, &task, &config);
        options.reference_write = e->reference;
        e->what = "reference";
        status = snug_engine_eval(&options, &quality, err);
        cli_live_end();
        if (status == SNUG_OK)
            status = tidy_references(e->reference, err);
    }
    if (status != SNUG_OK)
        status = snug_fail_prefix(err, status, "reference");
    cli_task_close(&task);
    return status;
}

static snug_status find_reference(struct evaluating *e, struct snug_error *err)
{
    const char *reference = e->args->reference;
    if (!reference)
        return SNUG_OK;
    if (!is_reference_file(reference))
        return make_reference(e, err);
    snprintf(e->reference, sizeof e->reference, "%s", reference);
    return SNUG_OK;
}

/* ---- the answer ---- */

static void put_reference_words(const struct snug_quality *q, struct snug_buffer *out)
{
    const double flips = 1.0 - q->same_top_frac.value;
    const bool is_floor_known = isfinite(q->floor_flip_frac);
    snug_buffer_printf(
        out,
        "KL divergence from %s: mean %.6f +- %.6f, median %.6f, 99 %% %.5f, max %.4f "
        "nats\n",
        q->reference_name, q->kld_mean.value, q->kld_mean.se, q->kld_median, q->kld_p99,
        q->kld_max);
    if (is_floor_known && flips <= q->floor_flip_frac)
        snug_buffer_printf(out, "same most likely token: no flips beyond the determinism floor\n");
    else
        snug_buffer_printf(out, "same most likely token: %.3f +- %.3f %%\n",
                           100.0 * q->same_top_frac.value, 100.0 * q->same_top_frac.se);
    snug_buffer_printf(out, "probability of the token that came: RMS change %.3f +- %.3f %%\n",
                       100.0 * q->dp_rms_frac.value, 100.0 * q->dp_rms_frac.se);
}

static void put_words(const struct evaluating *e, struct snug_buffer *out)
{
    const struct snug_quality *q = &e->quality;
    snug_buffer_printf(out, "perplexity %.4f +- %.4f, %.4f bits per byte\n", q->perplexity.value,
                       q->perplexity.se, q->bits_per_byte.value);
    if (q->reference_name[0])
        put_reference_words(q, out);
    if (isfinite(q->floor_kld))
        snug_buffer_printf(
            out,
            "determinism floor: the same config at another batch shape differs by KL "
            "%.7f, and in %.3f %% of the most likely tokens\n",
            q->floor_kld, 100.0 * q->floor_flip_frac);
    snug_buffer_printf(out,
                       "over %lld tokens, the second halves of %lld chunks of %lld; cache %s, %s; "
                       "%.0f tokens/s\n",
                       (long long)q->n_tokens, (long long)q->n_chunks, (long long)q->n_ctx,
                       q->type_k, q->type_v, q->tokens_per_s);
}

/* What the command was asked for, one after the other: a text, a task, answers. Words go to out,
 * the same as JSON to w. */
static snug_status evaluate_text(struct evaluating *e, struct snug_json_writer *w,
                                 struct snug_buffer *out, struct snug_error *err)
{
    char folder[4096];
    snug_status status = check_text(e->args->text, err);
    if (status == SNUG_OK)
        status = find_reference(e, err);
    if (status == SNUG_OK)
        status = snug_file_cache_folder(folder, sizeof folder, err);
    if (status == SNUG_OK)
        status = snug_file_make_folder(folder, err);
    if (status != SNUG_OK)
        return status;
    struct snug_eval_options options = options_for(e, &e->task, &e->config);
    options.reference_read = e->reference[0] ? e->reference : NULL;
    options.want_floor = e->args->floor;
    options.folder = folder;
    e->what = cli_base_name(e->task.model.path);
    status = snug_engine_eval(&options, &e->quality, err);
    cli_live_end();
    if (status == SNUG_OK)
        status = snug_store_quality_add(e->task.store, e->task.model_id,
                                        snug_engine_build(e->task.engine), &e->quality, err);
    if (status == SNUG_OK) {
        snug_quality_to_json(w, "quality", &e->quality);
        put_words(e, out);
    }
    return status;
}

static snug_status evaluate(struct evaluating *e, struct snug_json_writer *w,
                            struct snug_buffer *out, struct snug_error *err)
{
    snug_status status = e->args->text ? check_text(e->args->text, err) : SNUG_OK;
    if (status == SNUG_OK)
        status = open_model(e, e->args, &e->task, &e->config, err);
    if (status == SNUG_OK)
        status = cli_task_open_store(e->args, &e->task, err);
    if (status != SNUG_OK)
        return status;
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "model", e->task.model.path);
    snug_json_put_string(w, "build", snug_engine_build(e->task.engine));
    snug_config_to_json(w, "config", snug_engine_space(e->task.engine), &e->config);
    if (e->args->text)
        status = evaluate_text(e, w, out, err);
    if (status == SNUG_OK && e->args->task)
        status = cli_eval_task(e->args, &e->task, &e->config, w, out, &e->is_interrupted, err);
    if (status == SNUG_OK && e->args->answers && !e->is_interrupted)
        status = cli_eval_answers(e->args, &e->task, &e->config, w, out, &e->is_interrupted, err);
    if (status == SNUG_OK) {
        cli_gate_figure(&e->gate, SNUG_METRIC_KLD, e->quality.kld_mean.value);
        cli_gate_json(&e->gate, w, "thresholds");
        snug_json_end(w);
    }
    return status;
}

static int answer(struct evaluating *e, struct snug_json_writer *w, struct snug_buffer *out)
{
    const int gate = cli_gate_close(&e->gate, CLI_OK);
    if (e->args->json) {
        snug_buffer_clear(out);
        cli_buffer_json(out, snug_json_finish(w, true));
    } else if (e->args->text && !e->args->reference && !e->is_interrupted) {
        cli_say("next: snug eval %s --reference THE-F16-FILE --text %s", e->args->operand,
                e->args->text);
    }
    const int code = cli_put_buffer(out);
    if (e->is_interrupted) {
        cli_say("stopped; what was done until then is shown above, and is not kept as a result");
        return CLI_FAILED;
    }
    return code == CLI_OK ? gate : code;
}

int cmd_eval(const struct cli_args *args)
{
    struct evaluating *e = calloc(1, sizeof *e);
    struct snug_error err = {0};
    struct snug_json_writer w = {0};
    struct snug_buffer out = {0};
    if (!e)
        return cli_fail_text(CLI_FAILED, "no memory for an evaluation");
    e->args = args;
    snug_quality_init(&e->quality);
    cli_catch_signals();
    snug_status status = cli_gate_open(args, &e->gate, &err);
    if (status == SNUG_OK && !args->text && !args->task && !args->answers)
        status = snug_fail(&err, SNUG_BAD_INPUT,
                           "give a text to measure on with --text FILE: some pages of what the "
                           "model is for (none is bundled); or --task FILE, or --answers FILE");
    if (status == SNUG_OK)
        status = evaluate(e, &w, &out, &err);
    const int code = status == SNUG_OK ? answer(e, &w, &out) : cli_fail(&err);
    snug_json_writer_clear(&w);
    snug_buffer_clear(&out);
    cli_task_close(&e->task);
    free(e);
    return code;
}
