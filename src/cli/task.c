/* Opening a task: what is run, where, under which limits. */
#include "cli/task.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "machine/machine_json.h"
#include "model/model_json.h"
#include "snug/units.h"
#include "trial/workload_file.h"

const struct cli_task_defaults cli_tune_defaults = {.n_prompt = 512, .n_gen = 32, .n_ctx = 4096};

uint64_t cli_reserve_bytes(uint64_t available_bytes)
{
    const uint64_t low = 256ull << 20, high = 2ull << 30, part = available_bytes / 16;
    return part < low ? low : part > high ? high : part;
}

const char *cli_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

uint64_t cli_memory_limit(const struct cli_args *args, const struct snug_machine *machine)
{
    if (args->memory_bytes)
        return args->memory_bytes;
    if (!machine->available_bytes.is_known)
        return 0;
    const uint64_t available = (uint64_t)machine->available_bytes.value;
    const uint64_t reserve = cli_reserve_bytes(available);
    return available > reserve ? available - reserve : 1;
}

snug_status cli_task_open_model(const struct cli_args *args, struct cli_task *task,
                                struct snug_error *err)
{
    snug_status status = snug_machine_probe("", &task->machine, err);
    if (status == SNUG_OK)
        status = snug_model_open(args->operand, &task->model, err);
    if (status != SNUG_OK)
        return status;
    if (task->model.is_preset)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s is a preset, not a file; make one of its shape: snug synth %s --type "
                         "q4_0 -o %s.gguf",
                         args->operand, args->operand, args->operand);
    if (!task->model.has_data)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: its weights are not here as a GGUF; download one, or convert the "
                         "folder with llama.cpp's convert_hf_to_gguf.py",
                         args->operand);
    /* The worker and llama-server may be started elsewhere: only an absolute path is safe. */
    char absolute[PATH_MAX];
    if (realpath(task->model.path, absolute))
        snprintf(task->model.path, sizeof task->model.path, "%s", absolute);
    task->memory_limit_bytes = cli_memory_limit(args, &task->machine);
    return SNUG_OK;
}

/* A workload file gives the lengths; what is set by hand besides is depth, sequences, context. */
static snug_status take_workload_file(const struct cli_args *args, struct cli_task *task,
                                      struct snug_workload *w, int64_t *out_need,
                                      struct snug_error *err)
{
    struct snug_workload_text text = {.n_prompts = 0};
    struct snug_workload_lengths lengths = {0};
    if (args->has_prompt)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "--workload brings its own prompts: leave --prompt away");
    snug_status status = snug_workload_file_read(args->workload, w, &text, err);
    snug_workload_text_clear(&text);
    if (status == SNUG_OK)
        status = snug_engine_workload_lengths(task->model.path, &task->model, w, &lengths, err);
    if (status != SNUG_OK)
        return status;
    if (args->has_gen)
        w->n_gen = args->n_gen;
    if (lengths.is_session && w->n_parallel > 1)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: sessions are replayed one at a time: leave --parallel away",
                         args->workload);
    w->n_prompt = lengths.is_session ? lengths.n_user : lengths.n_median;
    w->n_gen = lengths.is_session ? lengths.n_answer : w->n_gen;
    /* Engines ask for room for the longer of the two, whatever is run. */
    int64_t longest = lengths.n_longest;
    longest = longest > w->n_gen ? longest : w->n_gen;
    longest = longest > w->n_prompt ? longest : w->n_prompt;
    *out_need = w->n_depth + longest;
    return SNUG_OK;
}

snug_status cli_task_workload(const struct cli_args *args, const struct cli_task_defaults *defaults,
                              int objective, struct cli_task *task, struct snug_error *err)
{
    struct snug_workload w = {.n_prompt = args->has_prompt ? args->n_prompt : defaults->n_prompt,
                              .n_gen = args->has_gen ? args->n_gen : defaults->n_gen,
                              .n_depth = args->n_depth,
                              .n_parallel = args->n_parallel ? args->n_parallel : 1};
    int64_t need = w.n_depth + (w.n_prompt > w.n_gen ? w.n_prompt : w.n_gen);
    const int64_t trained = task->model.n_ctx_train;
    const snug_status status =
        args->workload ? take_workload_file(args, task, &w, &need, err) : SNUG_OK;
    if (status != SNUG_OK)
        return status;
    if (w.n_prompt == 0 && (w.n_gen == 0 || objective == SNUG_OBJECTIVE_PREFILL))
        return snug_fail(err, SNUG_BAD_INPUT, "--prompt 0 leaves nothing to time");
    if (w.n_gen == 0 && objective == SNUG_OBJECTIVE_DECODE)
        return snug_fail(err, SNUG_BAD_INPUT, "--gen 0 leaves nothing to time");
    w.n_ctx = defaults->n_ctx;
    if (trained > 0 && w.n_ctx > trained)
        w.n_ctx = trained;
    if (w.n_ctx < need)
        w.n_ctx = need;
    if (args->n_ctx)
        w.n_ctx = args->n_ctx;
    task->workload = w;
    return SNUG_OK;
}

double cli_noise_frac(const struct cli_args *args, const struct snug_machine *machine)
{
    struct snug_store *store = NULL;
    double frac = 0.0;
    int n_blocks = 0;
    if (snug_store_open(args->store, &store, NULL) == SNUG_OK &&
        snug_store_noise_get(store, machine->fingerprint, &frac, &n_blocks, NULL) != SNUG_OK)
        frac = 0.0;
    snug_store_close(store);
    return frac;
}

/* The types of a config in words. */
static const char *type_of(const struct snug_space *space, const struct snug_config *config,
                           const char *name)
{
    const int row = snug_space_find(space, name);
    const int64_t value = row < 0 ? -1 : config->value[row];
    return row >= 0 && value >= 0 && value < space->knobs[row].n_values
               ? space->knobs[row].values[value]
               : "";
}

const char *cli_task_quality(const struct cli_task *task, const struct snug_config *config,
                             char *out, size_t cap, double *out_kld)
{
    struct snug_quality quality;
    const struct snug_space *space = snug_engine_space(task->engine);
    snug_quality_init(&quality);
    if (task->store &&
        snug_store_quality_find(task->store, task->model.hash, type_of(space, config, "type_k"),
                                type_of(space, config, "type_v"), &quality, NULL) != SNUG_OK)
        snug_quality_init(&quality);
    if (out_kld)
        *out_kld = quality.kld_mean.value;
    return snug_quality_text(&quality, out, cap);
}

snug_status cli_task_open_engine(const struct cli_args *args, struct cli_task *task,
                                 snug_engine_progress_fn progress, void *progress_data,
                                 struct snug_error *err)
{
    const struct snug_engine_options options = {
        .model_path = task->model.path,
        .machine = &task->machine,
        .model = &task->model,
        .workload = task->workload,
        .memory_limit_bytes = task->memory_limit_bytes,
        .rpc = args->rpc,
        .allow_quality = args->allow_cache_types,
        .noise_frac = args->dry_run ? 0.0 : cli_noise_frac(args, &task->machine),
        .stop = &cli_stop,
        .progress = progress,
        .progress_data = progress_data,
    };
    return snug_engine_open("llama", &options, &task->engine, err);
}

char *cli_machine_json(const struct snug_machine *machine)
{
    struct snug_json_writer w = {0};
    snug_machine_to_json(&w, NULL, machine);
    return snug_json_finish(&w, false);
}

char *cli_model_json(const struct snug_model *model)
{
    struct snug_json_writer w = {0};
    snug_model_to_json(&w, NULL, model, false);
    return snug_json_finish(&w, false);
}

snug_status cli_task_open_store(const struct cli_args *args, struct cli_task *task,
                                struct snug_error *err)
{
    char *machine = cli_machine_json(&task->machine), *model = cli_model_json(&task->model);
    snug_status status = machine && model ? snug_store_open(args->store, &task->store, err)
                                          : snug_fail(err, SNUG_NO_MEMORY, "no memory for a task");
    if (status == SNUG_OK)
        status = snug_store_machine(task->store, task->machine.fingerprint, task->machine.cpu_name,
                                    machine, &task->machine_id, err);
    if (status == SNUG_OK)
        status = snug_store_model(task->store, task->model.hash, cli_base_name(task->model.path),
                                  task->model.path, model, &task->model_id, err);
    if (status == SNUG_OK)
        status = snug_store_task(task->store, task->machine_id, task->model_id, &task->workload,
                                 snug_engine_build(task->engine), "idle", &task->id, err);
    free(machine);
    free(model);
    return status;
}

void cli_task_close(struct cli_task *task)
{
    snug_engine_close(task->engine);
    snug_store_close(task->store);
    snug_model_clear(&task->model);
    *task = (struct cli_task){0};
}

snug_status cli_parse_knob(const struct snug_knob *knob, const char *text, int64_t *out,
                           struct snug_error *err)
{
    const struct snug_space *widest = snug_engine_rows();
    const int row = snug_space_find(widest, knob->name);
    const bool is_free = knob->kind == SNUG_KNOB_LOG2 && strncmp(knob->name, "n_threads", 9) != 0;
    struct snug_knob wide = *knob;
    if (strncmp(knob->name, "n_threads", 9) == 0)
        wide.min = 1; /* the lattice of a large machine begins higher */
    return snug_knob_parse(is_free ? &widest->knobs[row] : &wide, text, out, err);
}

void cli_follow_threads(const struct cli_args *args, const struct snug_space *space,
                        struct snug_config *config)
{
    const int decode = snug_space_find(space, "n_threads");
    const int prefill = snug_space_find(space, "n_threads_batch");
    bool has_decode = false, has_prefill = false;
    for (int i = 0; i < args->n_knobs; i++) {
        has_decode = has_decode || strcmp(args->knobs[i].name, "n_threads") == 0;
        has_prefill = has_prefill || strcmp(args->knobs[i].name, "n_threads_batch") == 0;
    }
    if (has_decode && !has_prefill)
        config->value[prefill] = config->value[decode];
}

snug_status cli_task_config(const struct cli_args *args, const struct snug_space *space,
                            struct snug_config *config, struct snug_error *err)
{
    snug_space_default(space, config);
    for (int i = 0; i < args->n_knobs; i++) {
        const int row = snug_space_find(space, args->knobs[i].name);
        const snug_status status =
            row < 0
                ? snug_fail(err, SNUG_BAD_INPUT, "no knob '%s'", args->knobs[i].name)
                : cli_parse_knob(&space->knobs[row], args->knobs[i].text, &config->value[row], err);
        if (status != SNUG_OK)
            return status;
    }
    cli_follow_threads(args, space, config);
    return SNUG_OK;
}

_Static_assert(sizeof(((struct snug_model *)0)->path) >= PATH_MAX, "paths fit");
