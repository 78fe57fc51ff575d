/* snug imatrix: activation statistics of a text. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/process.h"
#include "cli/task.h"
#include "snug/imatrix.h"
#include "snug/units.h"

/* "m-imatrix.gguf" of "/a/b/m.gguf". */
static void default_output(const char *model, char *out, size_t cap)
{
    const char *name = cli_base_name(model);
    const size_t n = strlen(name);
    const bool is_gguf = n > 5 && strcmp(name + n - 5, ".gguf") == 0;
    snprintf(out, cap, "%.*s-imatrix.gguf", (int)(is_gguf ? n - 5 : n), name);
}

static int answer(const struct cli_args *args, const char *path, int64_t n_chunks, double took_s)
{
    struct snug_imatrix m = {.n_rows = 0};
    struct snug_error err = {0};
    char took[SNUG_UNIT_TEXT_MAX];
    if (snug_imatrix_read(path, &m, &err) != SNUG_OK)
        return cli_fail(&err);
    cli_say("%s: %d weights over %lld chunks, in %s", path, m.n_rows, (long long)n_chunks,
            snug_seconds_text(took_s, took));
    cli_say("next: snug quantize %s --type q4_k_m --imatrix %s -o OUT.gguf", args->operand, path);
    int code = CLI_OK;
    if (args->json) {
        struct snug_json_writer w = {0};
        struct snug_buffer out = {0};
        snug_json_begin_object(&w, NULL);
        snug_json_put_string(&w, "file", path);
        snug_json_put_int(&w, "n_weights", m.n_rows);
        snug_json_put_int(&w, "n_chunks", n_chunks);
        snug_json_put_number(&w, "wall_s", took_s);
        snug_json_end(&w);
        cli_buffer_json(&out, snug_json_finish(&w, true));
        code = cli_put_buffer(&out);
        snug_buffer_clear(&out);
    }
    snug_imatrix_clear(&m);
    return code;
}

int cmd_imatrix(const struct cli_args *args)
{
    struct snug_error err = {0};
    char path[4096];
    int64_t n_chunks = 0;
    if (!args->text)
        return cli_fail_text(CLI_MISUSE, "give a text to collect from with --text FILE: some pages "
                                         "of what the model is for");
    default_output(args->operand, path, sizeof path);
    if (args->output)
        snprintf(path, sizeof path, "%s", args->output);
    cli_catch_signals();
    const double start = snug_clock_s();
    struct snug_machine *machine = calloc(1, sizeof *machine);
    snug_status status = machine ? snug_machine_probe("", machine, &err)
                                 : snug_fail(&err, SNUG_NO_MEMORY, "no memory for a machine");
    const struct snug_imatrix_options options = {
        .model_path = args->operand,
        .text_path = args->text,
        .out_path = path,
        .n_ctx = args->n_ctx,
        .n_chunks = args->n_chunks,
        .n_threads = machine ? machine->n_cores_usable : 0,
        .stop = &cli_stop,
        .progress = cli_live_phase,
        .progress_data = (void *)(uintptr_t)cli_base_name(args->operand),
    };
    if (status == SNUG_OK)
        status = snug_engine_imatrix(&options, &n_chunks, &err);
    cli_live_end();
    free(machine);
    return status == SNUG_OK ? answer(args, path, n_chunks, snug_clock_s() - start)
                             : cli_fail(&err);
}
