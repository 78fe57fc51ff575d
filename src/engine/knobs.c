/* snug:long the knob table and the bounds each row takes on a machine belong side by side */
/* The knob rows of the llama engine: one row per tunable, with its bounds for this machine, model
 * and workload. Names, flags and help live here and nowhere else. */
#include "engine/llama_engine.h"

#include <stdio.h>
#include <string.h>

/* The rows with what does not depend on the machine. Order is the order of options and columns. */
static const struct snug_knob ROWS[] = {
    {.name = "load_mode",
     .kind = SNUG_KNOB_ENUM,
     .when = SNUG_KNOB_LOAD,
     .max = 5,
     .values = {"auto", "none", "mmap", "mlock", "mmap+mlock", "dio"},
     .n_values = 6,
     .flag = "--load-mode",
     .help = "how weights come into memory: auto maps the file, none reads it, mlock pins it"},
    {.name = "repack",
     .kind = SNUG_KNOB_BOOL,
     .when = SNUG_KNOB_LOAD,
     .max = 1,
     .def = 1,
     .flag = "--repack",
     .flag_off = "--no-repack",
     .help = "rearrange weights at load time for this CPU's matrix kernels"},
    {.name = "n_gpu_layers",
     .kind = SNUG_KNOB_INT,
     .when = SNUG_KNOB_LOAD,
     .step = 1,
     .flag = "--gpu-layers",
     .help = "layers kept on the GPU"},
    {.name = "device",
     .kind = SNUG_KNOB_ENUM,
     .when = SNUG_KNOB_LOAD,
     .values = {"auto", "none"},
     .n_values = 2,
     .max = 1,
     .flag = "--device",
     .help = "device that layers are offloaded to"},
    {.name = "numa",
     .kind = SNUG_KNOB_ENUM,
     .when = SNUG_KNOB_LOAD,
     .max = 2,
     .values = {"off", "distribute", "isolate"},
     .n_values = 3,
     .flag = "--numa",
     .help = "placement on machines with several memory nodes"},
    {.name = "n_threads",
     .kind = SNUG_KNOB_INT,
     .when = SNUG_KNOB_CONTEXT,
     .min = 1,
     .step = 1,
     .flag = "--threads",
     .help = "CPU threads while generating"},
    {.name = "n_threads_batch",
     .kind = SNUG_KNOB_INT,
     .when = SNUG_KNOB_CONTEXT,
     .min = 1,
     .step = 1,
     .flag = "--threads-batch",
     .help = "CPU threads while reading the prompt"},
    {.name = "n_batch",
     .kind = SNUG_KNOB_LOG2,
     .when = SNUG_KNOB_CONTEXT,
     .min = 32,
     .max = 8192,
     .def = 2048,
     .flag = "--batch-size",
     .help = "most tokens handed over at once"},
    {.name = "n_ubatch",
     .kind = SNUG_KNOB_LOG2,
     .when = SNUG_KNOB_CONTEXT,
     .min = 32,
     .max = 8192,
     .def = 512,
     .flag = "--ubatch-size",
     .help = "most tokens computed at once"},
    {.name = "flash_attn",
     .kind = SNUG_KNOB_BOOL,
     .when = SNUG_KNOB_CONTEXT,
     .max = 1,
     .def = 1,
     .flag = "--flash-attn on",
     .flag_off = "--flash-attn off",
     .help = "fused attention kernel"},
    {.name = "type_k",
     .kind = SNUG_KNOB_ENUM,
     .when = SNUG_KNOB_CONTEXT,
     .is_quality = true,
     .values = {"f16", "q8_0", "q4_0", "bf16", "q5_1", "q5_0", "q4_1", "iq4_nl", "f32"},
     .n_values = 9,
     .max = 8,
     .flag = "--cache-type-k",
     .help = "type of the keys in the cache"},
    {.name = "type_v",
     .kind = SNUG_KNOB_ENUM,
     .when = SNUG_KNOB_CONTEXT,
     .is_quality = true,
     .values = {"f16", "q8_0", "q4_0", "bf16", "q5_1", "q5_0", "q4_1", "iq4_nl", "f32"},
     .n_values = 9,
     .max = 8,
     .flag = "--cache-type-v",
     .help = "type of the values in the cache"},
    {.name = "kv_offload",
     .kind = SNUG_KNOB_BOOL,
     .when = SNUG_KNOB_CONTEXT,
     .max = 1,
     .def = 1,
     .flag = "--kv-offload",
     .flag_off = "--no-kv-offload",
     .help = "keep the cache on the GPU"},
    {.name = "kv_unified",
     .kind = SNUG_KNOB_BOOL,
     .when = SNUG_KNOB_CONTEXT,
     .max = 1,
     .flag = "--kv-unified",
     .flag_off = "--no-kv-unified",
     .help = "one cache shared by all sequences"},
    {.name = "poll",
     .kind = SNUG_KNOB_INT,
     .when = SNUG_KNOB_CONTEXT,
     .max = 100,
     .step = 50,
     .def = 50,
     .flag = "--poll",
     .help = "how eagerly idle threads look for work, 0 to 100"},
    {.name = "prio",
     .kind = SNUG_KNOB_INT,
     .when = SNUG_KNOB_CONTEXT,
     .min = -1,
     .max = 3,
     .step = 1,
     .flag = "--prio",
     .help = "thread priority, -1 low to 3 realtime"},
    {.name = "cpu_mask",
     .kind = SNUG_KNOB_ENUM,
     .when = SNUG_KNOB_CONTEXT,
     .values = {"all"},
     .n_values = 1,
     .flag = "--cpu-mask",
     .help = "CPUs that compute threads may use"},
};

enum { N_ROWS = sizeof ROWS / sizeof *ROWS };

static struct snug_knob *row(struct snug_space *space, const char *name)
{
    return &space->knobs[snug_space_find(space, name)];
}

/* Threads: what may really run at once, and llama.cpp's default, which is the number of physical
 * cores whatever a quota says. Where that is more, halving steps keep the small counts in reach. */
static void bound_threads(struct snug_knob *knob, const struct snug_machine *machine)
{
    const int64_t usable = machine->n_threads_usable > 0 ? machine->n_threads_usable : 1;
    const int64_t def = machine->n_cores > 0 ? machine->n_cores : usable;
    knob->def = def;
    knob->max = def > usable ? def : usable;
    if (def > usable && knob->max > 8)
        knob->kind = SNUG_KNOB_LOG2;
    knob->step = knob->max > 16 ? (knob->max + 15) / 16 : 1;
    if (knob->kind == SNUG_KNOB_INT)
        knob->min = knob->step; /* multiples of the step, so that halves are among them */
    knob->is_tuned = knob->max > 1;
    knob->why_not = "one CPU only";
}

static int64_t power_of_two_up(int64_t x)
{
    int64_t p = 1;
    while (p < x && p < (1 << 20))
        p *= 2;
    return p;
}

static void bound_batches(struct snug_space *space, const struct snug_workload *workload)
{
    struct snug_knob *n_batch = row(space, "n_batch");
    n_batch->is_tuned = workload->n_prompt > n_batch->def;
    n_batch->why_not = "the prompt fits one batch";
    struct snug_knob *n_ubatch = row(space, "n_ubatch");
    const int64_t top = power_of_two_up(workload->n_prompt);
    n_ubatch->max = top < 512 ? 512 : top > 2048 ? 2048 : top;
    n_ubatch->is_tuned = true;
}

static void bound_devices(struct snug_space *space, const struct snug__llama_caps *caps,
                          const struct snug_model *model)
{
    struct snug_knob *layers = row(space, "n_gpu_layers");
    const bool has_gpu = caps->n_gpus > 0;
    layers->max = model->n_layer + 1;
    layers->step = (layers->max + 31) / 32;
    layers->def = has_gpu ? layers->max : 0;
    layers->is_tuned = has_gpu;
    layers->why_not = "no GPU";
    struct snug_knob *device = row(space, "device");
    for (int i = 0; i < caps->n_gpus && device->n_values < SNUG_KNOB_VALUES_MAX; i++)
        device->values[device->n_values++] = caps->gpu_names[i];
    device->max = device->n_values - 1;
    device->is_tuned = caps->n_gpus > 1;
    device->why_not = has_gpu ? "one GPU only" : "no GPU";
    struct snug_knob *offload = row(space, "kv_offload");
    offload->is_tuned = has_gpu;
    offload->why_not = "no GPU";
}

static void bound_rest(struct snug_space *space, const struct snug__llama_caps *caps,
                       const struct snug_engine_options *options)
{
    const struct snug_machine *machine = options->machine;
    row(space, "load_mode")->is_tuned = true;
    row(space, "load_mode")->max = 1; /* the others are no faster once loaded: by hand only */
    row(space, "repack")->is_tuned = caps->has_repack;
    row(space, "repack")->why_not = "this ggml has no repacking kernels";
    row(space, "flash_attn")->is_tuned = true;
    row(space, "flash_attn")->def = caps->is_flash_attn_default;
    row(space, "numa")->is_tuned = machine->n_numa > 1;
    row(space, "numa")->why_not = "one memory node";
    row(space, "kv_unified")->is_tuned = options->workload.n_parallel > 1;
    row(space, "kv_unified")->why_not = "one sequence";
    row(space, "type_k")->is_tuned = row(space, "type_v")->is_tuned = options->allow_quality;
    row(space, "type_k")->why_not = row(space, "type_v")->why_not =
        "changes the answer; allow it with --allow-cache-types";
    row(space, "poll")->is_tuned = !caps->has_openmp;
    row(space, "poll")->why_not = "this ggml computes with OpenMP, where it has no effect";
    row(space, "prio")->why_not = "takes time from other programs; set it by hand";
    struct snug_knob *mask = row(space, "cpu_mask");
    for (int i = 0; i < caps->n_masks && mask->n_values < SNUG_KNOB_VALUES_MAX; i++)
        mask->values[mask->n_values++] = caps->masks[i];
    mask->max = mask->n_values - 1;
    mask->is_tuned = mask->n_values > 1;
    mask->why_not = "all cores are alike";
}

void snug__llama_space(const struct snug__llama_caps *caps,
                       const struct snug_engine_options *options, struct snug_space *out)
{
    struct snug_space space = {.n = N_ROWS};
    memcpy(space.knobs, ROWS, sizeof ROWS);
    bound_threads(row(&space, "n_threads"), options->machine);
    bound_threads(row(&space, "n_threads_batch"), options->machine);
    bound_batches(&space, &options->workload);
    bound_devices(&space, caps, options->model);
    bound_rest(&space, caps, options);
    for (int i = 0; i < space.n; i++) {
        if (space.knobs[i].is_tuned)
            space.knobs[i].why_not = NULL;
    }
    *out = space;
}

const struct snug_space *snug_engine_rows(void)
{
    static struct snug_space rows;
    if (rows.n == 0) {
        memcpy(rows.knobs, ROWS, sizeof ROWS);
        rows.n = N_ROWS;
    }
    return &rows;
}

/* ---- emitted flags ---- */

struct words {
    char **list;
    size_t n;
    bool is_failed;
};

static void add_word(struct words *w, const char *text, size_t n)
{
    char **grown = realloc(w->list, (w->n + 2) * sizeof *grown);
    char *copy = grown ? strndup(text, n) : NULL;
    if (grown) {
        w->list = grown;
        w->list[w->n] = NULL;
    }
    if (!copy) {
        w->is_failed = true;
        return;
    }
    w->list[w->n++] = copy;
    w->list[w->n] = NULL;
}

/* "--flash-attn on" is two words. */
static void add_words(struct words *w, const char *text)
{
    while (*text) {
        const size_t n = strcspn(text, " ");
        add_word(w, text, n);
        text += n + strspn(text + n, " ");
    }
}

static void add_pair(struct words *w, const char *flag, int64_t value)
{
    char number[32];
    snprintf(number, sizeof number, "%lld", (long long)value);
    add_words(w, flag);
    add_words(w, number);
}

static void add_knob(struct words *w, const struct snug_knob *knob, int64_t value)
{
    char text[32];
    if (!knob->is_tuned && value == knob->def)
        return;
    if (knob->kind == SNUG_KNOB_BOOL) {
        add_words(w, value ? knob->flag : knob->flag_off);
    } else if (knob->kind != SNUG_KNOB_ENUM || value != knob->def ||
               strncmp(knob->flag, "--cache", 7) == 0) {
        add_words(w, knob->flag);
        add_words(w, snug_knob_text(knob, value, text));
    }
}

snug_status snug_engine_flags(const struct snug_space *space, const struct snug_config *config,
                              const struct snug_workload *workload, char ***out_words,
                              struct snug_error *err)
{
    struct words w = {0};
    add_pair(&w, "--ctx-size", workload->n_ctx * workload->n_parallel);
    add_pair(&w, "--parallel", workload->n_parallel);
    for (int i = 0; i < space->n; i++)
        add_knob(&w, &space->knobs[i], config->value[i]);
    /* The choice is made: llama.cpp's own fit must not change it. */
    add_words(&w, "--fit off");
    if (w.is_failed) {
        snug_engine_flags_free(w.list);
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a command line");
    }
    *out_words = w.list;
    return SNUG_OK;
}

void snug_engine_flags_free(char **words)
{
    for (char **p = words; p && *p; p++)
        free(*p);
    free(words);
}
