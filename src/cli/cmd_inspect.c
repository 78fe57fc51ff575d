/* snug inspect and snug synth: what a model is, and one made to measure. */
#include <stdlib.h>
#include <string.h>

#include "base/process.h"
#include "cli/cli.h"
#include "cli/task.h"
#include "model/model_json.h"
#include "snug/units.h"

enum { TYPE_F16 = 1 }; /* ggml's number, fixed by the file format */

static void put_text(struct snug_buffer *out, const struct snug_model *m)
{
    char a[SNUG_UNIT_TEXT_MAX], b[SNUG_UNIT_TEXT_MAX];
    snug_buffer_printf(out, "%-12s %s%s%s\n", "model", m->name[0] ? m->name : "(no name)",
                       m->is_preset ? "" : ", ", m->is_preset ? "" : m->path);
    snug_buffer_printf(out, "%-12s %s, %s\n", "architecture", m->arch, m->file_type);
    snug_buffer_printf(out, "%-12s %lld (%.2f B)\n", "parameters", (long long)m->n_params,
                       (double)m->n_params / 1e9);
    snug_buffer_printf(out, "%-12s %s of tensors, %s of file%s", "size",
                       snug_bytes_text(m->bytes_tensors, a), snug_bytes_text(m->bytes_file, b),
                       m->n_splits > 1 ? "s" : "");
    if (m->n_splits > 1)
        snug_buffer_printf(out, " (%d parts)", m->n_splits);
    snug_buffer_printf(out, ", %.2f bits per weight\n",
                       m->n_params ? 8.0 * (double)m->bytes_tensors / (double)m->n_params : 0.0);
    snug_buffer_printf(out, "%-12s %lld layers, width %lld, ffn %lld, heads %lld/%lld of %lld\n",
                       "shape", (long long)m->n_layer, (long long)m->n_embd, (long long)m->n_ff,
                       (long long)m->n_head, (long long)m->n_head_kv, (long long)m->n_embd_head_k);
    if (m->n_expert > 0)
        snug_buffer_printf(out, "%-12s %lld, %lld used per token\n", "experts",
                           (long long)m->n_expert, (long long)m->n_expert_used);
    snug_buffer_printf(out, "%-12s %lld tokens (%s)%s\n", "vocabulary", (long long)m->n_vocab,
                       m->tokenizer[0] ? m->tokenizer : "unknown",
                       m->is_tied ? ", output shares the embedding" : "");
    snug_buffer_printf(out, "%-12s %lld tokens trained", "context", (long long)m->n_ctx_train);
    if (m->n_swa > 0)
        snug_buffer_printf(out, ", sliding window %lld", (long long)m->n_swa);
    snug_buffer_printf(out, "; f16 cache of 4096: %s\n",
                       snug_bytes_text(snug_model_cache_bytes(m, 4096, TYPE_F16, TYPE_F16), a));
    for (int i = 0; i < m->n_types; i++)
        snug_buffer_printf(out, "%-12s %-8s %5d tensors  %14llu weights  %s\n", i ? "" : "types",
                           snug_model_type_name(m->types[i].type), m->types[i].n_tensors,
                           (unsigned long long)m->types[i].n_elements,
                           snug_bytes_text(m->types[i].bytes, a));
    snug_buffer_printf(out, "%-12s %.16s\n", "hash", m->hash);
}

int cmd_inspect(const struct cli_args *args)
{
    struct snug_model model = {0};
    struct snug_error err = {0};
    if (snug_model_open(args->operand, &model, &err) != SNUG_OK)
        return cli_fail(&err);
    if (model.note[0])
        cli_say("note: %s", model.note);
    struct snug_buffer out = {0};
    if (args->json) {
        struct snug_json_writer w = {0};
        snug_model_to_json(&w, NULL, &model, true);
        cli_buffer_json(&out, snug_json_finish(&w, true));
    } else {
        put_text(&out, &model);
    }
    snug_model_clear(&model);
    const int result = cli_put_buffer(&out);
    snug_buffer_clear(&out);
    return result;
}

static bool on_progress(double done_frac, void *data)
{
    (void)data;
    cli_live("writing ... %3.0f %%", 100.0 * done_frac);
    return !cli_stop;
}

int cmd_synth(const struct cli_args *args)
{
    struct snug_error err = {0};
    if (!args->output)
        return cli_fail_text(CLI_MISUSE,
                             "snug synth needs -o FILE; for example: snug synth %s -o "
                             "%s.gguf",
                             args->operand, args->operand);
    const struct snug_synth_options options = {
        .type = args->type ? args->type : "q4_0",
        .seed = args->has_seed ? (uint64_t)args->seed : 1,
        .is_shape_only = args->shape_only,
        .n_layer = args->n_layer,
    };
    cli_catch_signals();
    const double start = snug_clock_s();
    if (snug_model_synth(args->operand, &options, args->output, on_progress, NULL, &err) != SNUG_OK)
        return cli_fail(&err);
    cli_live_end();
    struct snug_model model = {0};
    if (snug_model_open(args->output, &model, &err) != SNUG_OK)
        return cli_fail(&err);
    char size[SNUG_UNIT_TEXT_MAX], took[SNUG_UNIT_TEXT_MAX];
    cli_say("%s: %s, %lld parameters, %s%s, in %s", args->output, args->operand,
            (long long)model.n_params, snug_bytes_text(model.bytes_file, size),
            args->shape_only ? " (sparse)" : "", snug_seconds_text(snug_clock_s() - start, took));
    cli_say("next: snug %s %s", args->shape_only ? "inspect" : "tune", args->output);
    snug_model_clear(&model);
    return CLI_OK;
}
