/* snug:long one row per option: the table is the manual */
/* The option table. A row gives parsing, --help and the error texts; a bit mask says which commands
 * take it. Knob rows of the engine become options of the commands that measure. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "snug/engine.h"
#include "snug/trace.h"
#include "snug/units.h"

enum {
    PROBE = 1,
    INSPECT = 2,
    SYNTH = 4,
    BENCH = 8,
    TUNE = 16,
    FRONT = 32,
    HISTORY = 64,
    EXPORT = 128,
    PICK = 256,
    RUN = 512,
    REPORT = 1024,
    EVAL = 2048,
    COMPARE = 4096,
    LAB = 8192,
    TRACE = 16384,
    QUANTIZE = 32768,
    IMATRIX = 65536,
    SENSITIVITY = 131072,
    PLAN = 262144,
    KNOBS = 524288,
    LOAD = 1048576,
    TASK = BENCH | TUNE | PICK | RUN | COMPARE,
    STORED = BENCH | TUNE | FRONT | HISTORY | EXPORT | PICK | RUN | REPORT | COMPARE | EVAL | LAB |
             SENSITIVITY | PLAN | KNOBS,
    ALL =
        2047 | COMPARE | EVAL | TRACE | LAB | QUANTIZE | IMATRIX | SENSITIVITY | PLAN | LOAD | KNOBS
};

/* LIST: this word and those behind it that hold < or >. */
enum kind { FLAG, TEXT, CHOICE, BYTES, SECONDS, INT, NUMBER, LIST };

struct option {
    const char *name; /* without "--" */
    char letter;      /* or 0 */
    enum kind kind;
    size_t at;         /* in struct cli_args */
    size_t at_has;     /* of the bool that says it was given, or 0 */
    const char *value; /* metavar; CHOICE: "a|b|c" */
    unsigned commands;
    int64_t min, max;
    const char *help;
};

#define AT(field) offsetof(struct cli_args, field)

static const struct option OPTIONS[] = {
    {"memory", 0, BYTES, AT(memory_bytes), 0, "SIZE",
     TUNE | PICK | RUN | BENCH | COMPARE | EVAL | TRACE | LAB, 0, 0,
     "memory the model may use, such as 2GiB (default: what is free now, less a reserve)"},
    {"trials", 0, INT, AT(n_trials), 0, "N", TUNE, 1, 500,
     "configs to try besides llama.cpp's default and its --fit choice (default 16)"},
    {"time", 0, SECONDS, AT(time_s), 0, "TIME", TUNE, 0, 0,
     "stop searching after this, such as 5m (default: no limit)"},
    {"objective", 0, CHOICE, AT(objective), 0, "decode|prefill|request",
     TUNE | FRONT | PICK | RUN | REPORT, 0, 0,
     "what to make fast: tokens out, tokens in, or a whole request (default request)"},
    {"strategy", 0, CHOICE, AT(strategy), 0, "snug|sobol|random", TUNE, 0, 0,
     "how to choose the next config (default snug)"},
    {"resume", 0, FLAG, AT(resume), 0, NULL, TUNE, 0, 0,
     "go on with the last tuning of this model that did not finish"},
    {"resume", 0, FLAG, AT(resume), 0, NULL, LAB, 0, 0,
     "go on with the last run of this file that did not finish: stored rows are not run again"},
    {"allow-cache-types", 0, FLAG, AT(allow_cache_types), 0, NULL, TUNE, 0, 0,
     "also try quantised caches, which change the answer a little"},
    {"prompt", 'p', INT, AT(n_prompt), AT(has_prompt), "N", TASK, 0, 1 << 20,
     "tokens of prompt that are timed (default 512)"},
    {"prompt", 'p', INT, AT(n_prompt), AT(has_prompt), "N", TRACE, 1, 1 << 20,
     "a prompt of so many random tokens"},
    {"prompt-text", 0, TEXT, AT(prompt_text), 0, "TEXT", TRACE, 0, 0,
     "the prompt (default: a short letter to write)"},
    {"text", 0, TEXT, AT(text), 0, "FILE", TRACE, 0, 0, "a file that holds the prompt"},
    {"gen", 'n', INT, AT(n_gen), AT(has_gen), "N", TASK, 0, 1 << 20,
     "tokens generated that are timed (default 128; tune: 32)"},
    {"gen", 'n', INT, AT(n_gen), AT(has_gen), "N", TRACE, 1, SNUG_TRACE_GEN_MAX,
     "tokens to generate (default 32)"},
    {"depth", 'd', TEXT, AT(depths), AT(has_depth), "N,...", BENCH, 0, 0,
     "tokens already in the cache before both; a comma list is a sweep (default 0)"},
    {"depth", 'd', INT, AT(n_depth), AT(has_depth), "N", TASK & ~BENCH, 0, 1 << 24,
     "tokens already in the cache before both (default 0)"},
    {"rank", 0, FLAG, AT(rank), 0, NULL, KNOBS, 0, 0,
     "one list over all metrics: each knob where its effect is greatest, and keep, drop or open"},
    {"prompt", 'p', INT, AT(n_prompt), AT(has_prompt), "N", KNOBS, 0, 1 << 20,
     "only trials with so many tokens of prompt (default: any; so the four below)"},
    {"gen", 'n', INT, AT(n_gen), AT(has_gen), "N", KNOBS, 0, 1 << 20,
     "only trials with so many tokens generated"},
    {"depth", 'd', INT, AT(n_depth), AT(has_depth), "N", KNOBS, 0, 1 << 24,
     "only trials at this depth"},
    {"parallel", 0, INT, AT(n_parallel), 0, "N", KNOBS, 1, 256,
     "only trials of so many sequences at once"},
    {"context", 'c', INT, AT(n_ctx), 0, "N", KNOBS, 1, 1 << 28,
     "only trials with this context per sequence"},
    {"workload", 'w', TEXT, AT(workload), 0, "FILE", TASK, 0, 0,
     "texts to measure with instead of random tokens: examples/workloads has chats, code, "
     "documents, "
     "JSON and sessions"},
    {"parallel", 0, INT, AT(n_parallel), 0, "N", TASK, 1, 256, "sequences at once (default 1)"},
    {"context", 'c', INT, AT(n_ctx), 0, "N", TASK | TRACE, 1, 1 << 28,
     "context every sequence must have (default: 4096, or what the model was trained for; bench: "
     "what the test needs)"},
    {"text", 'f', TEXT, AT(text), 0, "FILE", EVAL, 0, 0,
     "text to measure on: what the model is for, and not what it was tuned on"},
    {"reference", 0, TEXT, AT(reference), 0, "MODEL", EVAL, 0, 0,
     "also the divergence from this model (usually the F16 file) or .snugref file"},
    {"context", 'c', INT, AT(n_ctx), 0, "N", EVAL, 4, 1 << 24,
     "tokens of a chunk, of which the second half is scored (default 512, or what the model was "
     "trained for)"},
    {"chunks", 0, INT, AT(n_chunks), 0, "N", EVAL, 1, 1 << 24, "only the first N chunks"},
    {"task", 0, TEXT, AT(task), 0, "FILE", EVAL, 0, 0,
     "multiple-choice items as JSON lines: PIQA, ARC, OpenBookQA, WinoGrande or HellaSwag"},
    {"labels", 0, TEXT, AT(labels), 0, "FILE", EVAL, 0, 0,
     "right choices of the task, a number a line (default: NAME-labels.lst beside it)"},
    {"items", 0, INT, AT(n_items), 0, "N", EVAL, 1, 100000, "only the first N items of the task"},
    {"answers", 0, TEXT, AT(answers), 0, "FILE", EVAL, 0, 0,
     "JSON lines of {prompt, reference, required, tools}: generate answers and measure them"},
    {"gen", 'n', INT, AT(n_gen), AT(has_gen), "N", EVAL, 1, 65536,
     "longest answer in tokens (default 128)"},
    {"floor", 0, FLAG, AT(floor), 0, NULL, EVAL, 0, 0,
     "also how much the same config differs from itself at another batch shape"},
    {"rpc", 0, TEXT, AT(rpc), 0, "HOST:PORT,...", BENCH | PLAN, 0, 0,
     "devices of these ggml RPC servers too (llama.cpp's ggml-rpc-server), used like GPUs; plan "
     "takes "
     "one server, and --vram"},
    {"machine", 0, TEXT, AT(machine), 0, "M", PLAN, 0, 0,
     "this (default: measured once), a preset such as rtx4090 or cpu-32g, a file of snug probe "
     "--json, or custom"},
    {"memory", 0, BYTES, AT(memory_bytes), 0, "SIZE", PLAN, 0, 0,
     "memory of the host that the model may use (default: what is free, less a reserve)"},
    {"vram", 0, BYTES, AT(vram_bytes), 0, "SIZE", PLAN, 0, 0,
     "memory of the GPU that may be used (default: the machine's, less a reserve)"},
    {"ram", 0, BYTES, AT(ram_bytes), 0, "SIZE", PLAN, 0, 0, "memory of a custom machine"},
    {"disk", 0, BYTES, AT(disk_bytes), 0, "SIZE", PLAN, 0, 0, "most bytes of the file"},
    {"gpu-bw", 0, NUMBER, AT(gpu_gbps), 0, "GB/S", PLAN, 0, 0, "GPU bandwidth of a custom machine"},
    {"ram-bw", 0, NUMBER, AT(ram_gbps), 0, "GB/S", PLAN, 0, 0,
     "memory bandwidth of a custom machine"},
    {"disk-bw", 0, NUMBER, AT(disk_gbps), 0, "GB/S", PLAN, 0, 0,
     "disk bandwidth of a custom machine"},
    {"context", 'c', INT, AT(n_ctx), 0, "N", PLAN, 16, 1 << 28,
     "context of each sequence (default 8192, or what the model was trained for if less)"},
    {"parallel", 0, INT, AT(n_parallel), 0, "N", PLAN, 1, 256, "sequences at once (default 1)"},
    {"prompt", 'p', INT, AT(n_prompt), AT(has_prompt), "N", PLAN, 1, 1 << 24,
     "tokens of prompt that TTFT is stated for (default 512)"},
    {"for", 0, CHOICE, AT(goal), 0, "chat|batch|long", PLAN, 0, 0,
     "what it is for: one chat, many sequences, or the longest context (default chat)"},
    {"target-tps", 0, NUMBER, AT(target_tps), 0, "X", PLAN, 0, 0,
     "decode speed to reach, tokens per second at half the context"},
    {"target-ttft", 0, SECONDS, AT(target_ttft_s), 0, "TIME", PLAN, 0, 0,
     "time to the first token of the prompt not to exceed"},
    {"min-quality", 0, TEXT, AT(min_quality), 0, "Q", PLAN, 0, 0,
     "quality floor: a type (no tensor below it: q4_0, q4_k), or a share of 1 (0.98: the chosen "
     "token's probability on average, exp(-KLD))"},
    {"sensitivity", 0, TEXT, AT(sensitivity), 0, "FILE", PLAN, 0, 0,
     "losses from snug sensitivity -o FILE (default: made from the weights where they are here)"},
    {"text", 'f', TEXT, AT(text), 0, "FILE", PLAN, 0, 0,
     "also make and measure the top few plans over this text, and take the best (needs the "
     "weights)"},
    {"chunks", 0, INT, AT(n_chunks), 0, "N", PLAN, 1, 1 << 24,
     "chunks of the text at most (default 32)"},
    {"imatrix", 0, TEXT, AT(imatrix), 0, "FILE", PLAN, 0, 0,
     "importance matrix (snug imatrix): weighs errors, and allows types below 3 bits"},
    {"pareto", 0, FLAG, AT(pareto), 0, NULL, PLAN, 0, 0,
     "the whole menu: plans that nothing beats in both speed and loss"},
    {"compare", 0, FLAG, AT(compare), 0, NULL, PLAN, 0, 0,
     "beside it the uniform recipes (Q4_K_M and others) on the same machine"},
    {"shadow", 0, FLAG, AT(shadow), 0, NULL, PLAN, 0, 0,
     "what 1 GiB more, less context or one step of cache type would buy (solved again)"},
    {"commands", 0, FLAG, AT(commands), 0, NULL, PLAN, 0, 0,
     "the commands that make and run it: llama.cpp, Ollama, Transformers, systemd"},
    {"verify", 0, FLAG, AT(verify), 0, NULL, PLAN, 0, 0,
     "make the file and run it at full context: predicted against measured"},
    {"refresh", 0, FLAG, AT(refresh), 0, NULL, PLAN, 0, 0, "measure this machine again"},
    {"repetitions", 'r', INT, AT(repetitions), 0, "N", BENCH, 1, SNUG_BLOCKS_MAX,
     "exactly so many timed blocks (default: 3 to 16, until the spread is under 2 %)"},
    {"method", 0, CHOICE, AT(method), 0, "weights|imatrix|kld|position", SENSITIVITY, 0, 0,
     "how to tell (default: weights, or imatrix where one is given)"},
    {"text", 'f', TEXT, AT(text), 0, "FILE", SENSITIVITY, 0, 0,
     "kld: text to measure on, what the model is for"},
    {"types", 0, TEXT, AT(types), 0, "TYPE,...", SENSITIVITY, 0, 0,
     "only these tensor types; kld: those to measure (default q2_k,q4_k, or where rows are no "
     "blocks of 256 q4_0,q5_0)"},
    {"per-tensor", 0, FLAG, AT(per_tensor), 0, NULL, SENSITIVITY, 0, 0,
     "kld: each tensor by itself, not role by thirds of the layers"},
    {"context", 'c', INT, AT(n_ctx), 0, "N", SENSITIVITY, 4, 1 << 24,
     "kld: tokens of a chunk (default 512, or what the model was trained for)"},
    {"chunks", 0, INT, AT(n_chunks), 0, "N", SENSITIVITY, 1, 1 << 24,
     "kld: chunks of the text at most (default 32)"},
    {"dry-run", 0, FLAG, AT(dry_run), 0, NULL, BENCH, 0, 0,
     "only state the bytes each config would need; nothing is loaded or stored"},
    {"dry-run", 0, FLAG, AT(dry_run), 0, NULL, LAB, 0, 0,
     "only check the file and show its rows in order, with their keys"},
    {"pairs", 0, INT, AT(n_pairs), 0, "N", COMPARE, 6, 256,
     "pairs to measure, alternately (default: 12 to 48, until the interval is 2 % to either side)"},
    {"require", 0, LIST, AT(require), 0, "'tg>=20' ...", BENCH | COMPARE | EVAL | LAB, 0, 0,
     "thresholds, printed first; exit status 99 when one is not met. Metrics: tg, pp, ttft_s, "
     "tpot_s, "
     "tpot_p95_s, request_s, load_s, memory, j_per_token, kld; compare: ratio"},
    {"strict", 0, FLAG, AT(strict), 0, NULL, BENCH | COMPARE | LAB, 0, 0,
     "exit status 1 when a verdict is INVALID"},
    {"no-sampling", 0, FLAG, AT(no_sampling), 0, NULL, BENCH, 0, 0,
     "no thread that samples clocks, pressure and power beside the run"},
    {"seed", 0, INT, AT(seed), AT(has_seed), "N", TUNE | SYNTH | COMPARE | TRACE | KNOBS, 0,
     INT64_MAX, "seed of everything random (default 1)"},
    {"plan", 0, TEXT, AT(plan), 0, "FILE", QUANTIZE, 0, 0, "a plan of this model by snug plan -o"},
    {"type", 0, TEXT, AT(type), 0, "TYPE", QUANTIZE, 0, 0,
     "instead of a plan one of libllama's recipes: q8_0, q6_k, q5_k_m, q4_k_m, iq4_xs, q2_k ..."},
    {"imatrix", 0, TEXT, AT(imatrix), 0, "FILE", PLAN | SENSITIVITY | QUANTIZE, 0, 0,
     "activation statistics of this model, by snug imatrix or llama-imatrix"},
    {"allow-requantize", 0, FLAG, AT(allow_requantize), 0, NULL, QUANTIZE, 0, 0,
     "also of weights that are quantised already: the losses add up"},
    {"text", 'f', TEXT, AT(text), 0, "FILE", IMATRIX, 0, 0,
     "text to collect from: what the model is for, and not what it is judged on"},
    {"context", 'c', INT, AT(n_ctx), 0, "N", IMATRIX, 16, 65536, "tokens of a chunk (default 512)"},
    {"chunks", 0, INT, AT(n_chunks), 0, "N", IMATRIX, 1, 1 << 24, "only the first N chunks"},
    {"type", 0, TEXT, AT(type), 0, "TYPE", SYNTH, 0, 0, "tensor type: q4_0, q8_0, f16, q4_k ..."},
    {"shape-only", 0, FLAG, AT(shape_only), 0, NULL, SYNTH, 0, 0,
     "a sparse file with headers and no weights, a few kB on disk"},
    {"layers", 0, INT, AT(n_layer), 0, "N", SYNTH, 1, 1024, "cut the model to so many layers"},
    {"output", 'o', TEXT, AT(output), 0, "FILE",
     SYNTH | REPORT | EXPORT | TRACE | QUANTIZE | SENSITIVITY | PLAN, 0, 0, "where to write"},
    {"output", 'o', TEXT, AT(output), 0, "FILE", IMATRIX, 0, 0,
     "where to write (default ./MODEL-imatrix.gguf)"},
    {"output", 'o', TEXT, AT(output), 0, "FOLDER", LAB, 0, 0,
     "where results go (default ./snug-lab-TITLE)"},
    {"output", 'o', CHOICE, AT(format), 0, "md|csv|json|jsonl", BENCH, 0, 0,
     "form of the table, as llama-bench's -o (default md)"},
    {"output", 'o', TEXT, AT(output), 0, "FOLDER", KNOBS, 0, 0,
     "also write observations.csv, knobs.json, bounds.json and knobs.html there"},
    {"format", 0, CHOICE, AT(format), 0, "md|csv|json|jsonl", BENCH | FRONT | HISTORY | EXPORT, 0,
     0, "form of the table (default md; export: jsonl)"},
    {"measure", 0, FLAG, AT(measure), 0, NULL, PROBE, 0, 0,
     "also measure memory bandwidth and matrix speed (about 15 s, kept for next time)"},
    {"refresh", 0, FLAG, AT(refresh), 0, NULL, PROBE, 0, 0, "measure again although it is known"},
    {"disk", 0, TEXT, AT(disk), 0, "FILE", PROBE, 0, 0,
     "also measure how fast this file is read from its disk"},
    {"tool", 0, CHOICE, AT(tool), 0, "llama-server|llama-cli", RUN | PICK, 0, 0,
     "program the config is for (default llama-server)"},
    {"print", 0, FLAG, AT(print), 0, NULL, RUN, 0, 0, "only show the command line"},
    {"adapt", 0, FLAG, AT(adapt), 0, NULL, RUN, 0, 0,
     "serve on one port, and change the config with what is free, without losing a request"},
    {"port", 0, INT, AT(port), AT(has_port), "N", RUN, 0, 65535,
     "adapt: port to serve on, 0: any free one (default 8080)"},
    {"host", 0, TEXT, AT(host), 0, "ADDRESS", RUN, 0, 0,
     "adapt: address to serve on (default 127.0.0.1)"},
    {"ttft", 0, SECONDS, AT(ttft_s), 0, "TIME", RUN, 0, 0,
     "adapt: time to the first token that no config may exceed, where one can keep it"},
    {"tpot", 0, SECONDS, AT(tpot_s), 0, "TIME", RUN, 0, 0,
     "adapt: the same of the time between two tokens"},
    {"allow-cache-types", 0, FLAG, AT(allow_cache_types), 0, NULL, RUN, 0, 0,
     "adapt: also configs with other cache types, which change the answer a little"},
    {"budget", 0, TEXT, AT(budget), 0, "FILE", RUN, 0, 0,
     "adapt: limits that another program sets meanwhile, JSON {\"memory_bytes\": N, \"cpus\": X}, "
     "read every second"},
    {"log", 0, TEXT, AT(log), 0, "FILE", RUN, 0, 0,
     "adapt: also append every decision there, a JSON object a line"},
    {"all", 0, FLAG, AT(all), 0, NULL, FRONT, 0, 0,
     "every trial, also those that are not on the front"},
    {"cpu", 0, NUMBER, AT(cpu), 0, "N", LOAD, 0, 0,
     "cores to keep busy, such as 1.5; what traffic and disk compute is part of it"},
    {"memory", 0, BYTES, AT(memory_bytes), 0, "SIZE", LOAD, 0, 0,
     "memory to take and touch, such as 2GiB"},
    {"bandwidth", 0, BYTES, AT(bandwidth_bps), 0, "SIZE", LOAD, 0, 0,
     "memory to read, bytes per second, such as 4GB"},
    {"disk", 0, FLAG, AT(disk_load), 0, NULL, LOAD, 0, 0,
     "write and read a scratch file of at most 256 MiB without pause"},
    {"folder", 0, TEXT, AT(folder), 0, "FOLDER", LOAD, 0, 0,
     "where that file lies (default: snug's cache folder)"},
    {"profile", 0, TEXT, AT(profile), 0, "low|mid|high|FILE", LOAD, 0, 0,
     "shares of this machine: 1/4, 1/2, all of the CPUs, and 1/4, 1/2, 3/4 of the memory that is "
     "free; or a trace: CSV of t_s,cpu,memory_bytes,bandwidth_bps,disk"},
    {"duration", 0, SECONDS, AT(time_s), 0, "TIME", LOAD, 0, 0,
     "end after this, such as 90s (default: the end of the trace or of the command, or Ctrl-C)"},
    {"output", 'o', TEXT, AT(output), 0, "FILE", LOAD, 0, 0,
     "also write the summary there, as JSON"},
    {"store", 0, TEXT, AT(store), 0, "FILE", STORED, 0, 0,
     "history file (default: snug/history.db in the XDG data folder)"},
    {"json", 0, FLAG, AT(json), 0, NULL, ALL & ~(SYNTH | REPORT | RUN | TRACE), 0, 0, "print JSON"},
    {"quiet", 'q', FLAG, AT(quiet), 0, NULL, ALL, 0, 0, "no talk on stderr but errors"},
    {"help", 'h', FLAG, AT(help), 0, NULL, ALL, 0, 0, "this help"},
};

enum { N_OPTIONS = sizeof OPTIONS / sizeof *OPTIONS };

/* ---- finding ---- */

static const struct option *find_option(const struct cli_command *command, const char *name,
                                        size_t n, char letter)
{
    for (int i = 0; i < N_OPTIONS; i++) {
        const struct option *o = &OPTIONS[i];
        if (!(o->commands & command->bit))
            continue;
        if (letter ? o->letter == letter : strlen(o->name) == n && strncmp(o->name, name, n) == 0)
            return o;
    }
    return NULL;
}

/* llama.cpp's short names of knobs. */
static const struct {
    const char *word, *knob;
} SHORT_KNOBS[] = {
    {"-t", "n_threads"}, {"-tb", "n_threads_batch"}, {"-b", "n_batch"},
    {"-ub", "n_ubatch"}, {"-fa", "flash_attn"},      {"-ctk", "type_k"},
    {"-ctv", "type_v"},  {"-lm", "load_mode"},       {"-ngl", "n_gpu_layers"},
    {"-dev", "device"},  {"-C", "cpu_mask"},         {"-kvu", "kv_unified"},
};

static const char *find_short_knob(const char *word)
{
    for (size_t i = 0; i < sizeof SHORT_KNOBS / sizeof *SHORT_KNOBS; i++) {
        if (strcmp(SHORT_KNOBS[i].word, word) == 0)
            return SHORT_KNOBS[i].knob;
    }
    return NULL;
}

/* Knobs answer to their own name with dashes and to llama.cpp's flag. */
const char *cli_find_knob(const char *name, size_t n)
{
    const struct snug_space *rows = snug_engine_rows();
    char dashed[64];
    for (int i = 0; i < rows->n; i++) {
        const struct snug_knob *knob = &rows->knobs[i];
        snprintf(dashed, sizeof dashed, "%s", knob->name);
        for (char *p = dashed; *p; p++)
            *p = *p == '_' ? '-' : *p;
        const char *flag = knob->flag + 2;
        const size_t n_flag = strcspn(flag, " ");
        if ((strlen(dashed) == n && strncmp(dashed, name, n) == 0) ||
            (strlen(knob->name) == n && strncmp(knob->name, name, n) == 0) ||
            (n_flag == n && strncmp(flag, name, n) == 0))
            return knob->name;
    }
    return NULL;
}

static const struct cli_command *nearest_for;

static const char *next_option(int i)
{
    int seen = 0;
    for (int k = 0; k < N_OPTIONS; k++) {
        if ((OPTIONS[k].commands & nearest_for->bit) && seen++ == i)
            return OPTIONS[k].name;
    }
    return NULL;
}

/* ---- values ---- */

static bool is_choice(const char *choices, const char *text)
{
    const size_t n = strlen(text);
    for (const char *p = choices; n > 0 && *p;) {
        const size_t len = strcspn(p, "|");
        if (len == n && strncmp(p, text, n) == 0)
            return true;
        p += len + (p[len] == '|');
    }
    return false;
}

static bool parse_number(const char *text, double above, double *out)
{
    char *end = NULL;
    const double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value <= above)
        return false;
    *out = value;
    return true;
}

static bool take_value(const struct option *o, const char *text, struct cli_args *out)
{
    char *base = (char *)out;
    struct snug_error err = {0};
    snug_status status = SNUG_OK;
    char name[64];
    snprintf(name, sizeof name, "--%s", o->name);
    switch (o->kind) {
    case FLAG:
        *(bool *)(base + o->at) = true;
        break;
    case TEXT:
        *(const char **)(base + o->at) = text;
        break;
    case CHOICE:
        if (!is_choice(o->value, text))
            status = snug_fail(&err, SNUG_BAD_INPUT, "'%s' is none of %s", text, o->value);
        *(const char **)(base + o->at) = text;
        break;
    case BYTES:
        status = snug_bytes_parse(text, (uint64_t *)(base + o->at), &err);
        if (status == SNUG_OK && *(uint64_t *)(base + o->at) == 0)
            status = snug_fail(&err, SNUG_BAD_INPUT, "0 is no limit that anything fits");
        break;
    case SECONDS:
        status = snug_seconds_parse(text, (double *)(base + o->at), &err);
        break;
    case NUMBER:
        if (!parse_number(text, (double)o->min, (double *)(base + o->at)))
            status = snug_fail(&err, SNUG_BAD_INPUT, "'%s' is no number above %lld", text,
                               (long long)o->min);
        break;
    case INT:
        status = snug_int_parse(name, text, o->min, o->max, (int64_t *)(base + o->at), &err);
        break;
    case LIST:
        if (out->n_require == CLI_LIST_MAX)
            status = snug_fail(&err, SNUG_BAD_INPUT, "more than %d thresholds", CLI_LIST_MAX);
        else
            out->require[out->n_require++] = text;
        break;
    }
    if (status != SNUG_OK) {
        cli_fail_text(CLI_MISUSE, o->kind == INT ? "%s%s" : "%s: %s", o->kind == INT ? "" : name,
                      err.text);
        return false;
    }
    if (o->at_has)
        *(bool *)(base + o->at_has) = true;
    return true;
}

static bool unknown_option(const struct cli_command *command, const char *word)
{
    nearest_for = command;
    const char *near = cli_nearest(word + strspn(word, "-"), next_option);
    if (near)
        cli_fail_text(CLI_MISUSE, "snug %s has no option '%s'; did you mean --%s?", command->name,
                      word, near);
    else
        cli_fail_text(CLI_MISUSE, "snug %s has no option '%s'; see snug %s --help", command->name,
                      word, command->name);
    return false;
}

static bool take_knob(const char *name, const char *text, struct cli_args *out)
{
    if (out->n_knobs == CLI_KNOBS_MAX) {
        cli_fail_text(CLI_MISUSE, "more than %d knobs", CLI_KNOBS_MAX);
        return false;
    }
    out->knobs[out->n_knobs].name = name;
    out->knobs[out->n_knobs++].text = text;
    return true;
}

/* One option word at argv[i]; returns how many words it took, 0 on misuse. */
static int take_option(const struct cli_command *command, int argc, char **argv, int i,
                       struct cli_args *out)
{
    const char *word = argv[i];
    const bool is_long = word[1] == '-';
    const char *short_knob = command->takes_knobs ? find_short_knob(word) : NULL;
    if (short_knob && i + 1 < argc)
        return take_knob(short_knob, argv[i + 1], out) ? 2 : 0;
    const char *name = word + (is_long ? 2 : 1);
    const size_t n = is_long ? strcspn(name, "=") : 1;
    const char *inline_value =
        is_long ? (name[n] == '=' ? name + n + 1 : NULL) : (name[1] ? name + 1 : NULL);
    const struct option *o = find_option(command, name, n, is_long ? 0 : name[0]);
    const char *knob = !o && is_long && command->takes_knobs ? cli_find_knob(name, n) : NULL;
    if (!o && !knob)
        return unknown_option(command, word);
    if (o && o->kind == FLAG) {
        if (inline_value) {
            cli_fail_text(CLI_MISUSE, "--%s takes no value", o->name);
            return 0;
        }
        return take_value(o, NULL, out);
    }
    const char *value = inline_value ? inline_value : i + 1 < argc ? argv[i + 1] : NULL;
    if (!value) {
        cli_fail_text(CLI_MISUSE, "%s needs a value%s%s", word, o ? ": " : "", o ? o->value : "");
        return 0;
    }
    const bool is_taken = o ? take_value(o, value, out) : take_knob(knob, value, out);
    int n_words = inline_value ? 1 : 2;
    while (is_taken && o && o->kind == LIST && i + n_words < argc && argv[i + n_words][0] != '-' &&
           strpbrk(argv[i + n_words], "<>")) {
        if (!take_value(o, argv[i + n_words], out))
            return 0;
        n_words++;
    }
    return is_taken ? n_words : 0;
}

/* Commands of two operands name them with a space between: "A B". */
static bool take_operand(const struct cli_command *command, char *word, struct cli_args *out)
{
    if (command->operands[0] && !out->operand)
        out->operand = word;
    else if (out->operand && !out->operand2 && strchr(command->operands, ' '))
        out->operand2 = word;
    else
        return false;
    return true;
}

bool cli_parse(const struct cli_command *command, int argc, char **argv, struct cli_args *out)
{
    *out = (struct cli_args){0};
    for (int i = 0; i < argc;) {
        if (strcmp(argv[i], "--") == 0 && command->takes_rest) {
            out->rest = argv + i + 1;
            out->n_rest = argc - i - 1;
            break;
        }
        if (argv[i][0] == '-' && argv[i][1]) {
            const int took = take_option(command, argc, argv, i, out);
            if (took == 0)
                return false;
            i += took;
            continue;
        }
        if (!take_operand(command, argv[i], out)) {
            cli_fail_text(CLI_MISUSE, "snug %s does not know what to do with '%s'", command->name,
                          argv[i]);
            return false;
        }
        i++;
    }
    const bool is_short = !out->operand || (strchr(command->operands, ' ') && !out->operand2);
    if (!out->help && is_short && command->operands[0] && command->operands[0] != '[') {
        cli_fail_text(CLI_MISUSE, "snug %s needs %s; see snug %s --help", command->name,
                      command->operands, command->name);
        return false;
    }
    return true;
}

/* ---- help ---- */

static void help_option(FILE *out, const struct option *o)
{
    char left[96];
    const int n = o->letter ? snprintf(left, sizeof left, "-%c, --%s", o->letter, o->name)
                            : snprintf(left, sizeof left, "    --%s", o->name);
    if (o->value)
        snprintf(left + n, sizeof left - (size_t)n, " %s", o->value);
    if (strlen(left) > 28)
        fprintf(out, "  %s\n  %-28s  %s\n", left, "", o->help);
    else
        fprintf(out, "  %-28s  %s\n", left, o->help);
}

static void help_knobs(FILE *out, const struct cli_command *command)
{
    const struct snug_space *rows = snug_engine_rows();
    fprintf(out, "\nKnobs (also by llama.cpp's names, such as --threads or -t; %s):\n",
            command->bit == BENCH   ? "a comma list measures every combination"
            : command->bit == TRACE ? "one value each"
                                    : "what is set here stays so in every trial");
    for (int i = 0; i < rows->n; i++) {
        const struct snug_knob *knob = &rows->knobs[i];
        char left[96];
        snprintf(left, sizeof left, "--%s", knob->name);
        for (char *p = left; *p; p++)
            *p = *p == '_' ? '-' : *p;
        fprintf(out, "      %-24s  %s", left, knob->help);
        if (knob->kind == SNUG_KNOB_ENUM) {
            fputs(": ", out);
            for (int v = 0; v < knob->n_values; v++)
                fprintf(out, "%s%s", v ? ", " : "", knob->values[v]);
        } else if (knob->kind == SNUG_KNOB_BOOL) {
            fputs(": on, off", out);
        }
        fputc('\n', out);
    }
}

void cli_help_command(FILE *out, const struct cli_command *command)
{
    fprintf(out, "snug %s: %s\n\nUsage: snug %s %s%s[options]%s\n\n%s\n\nOptions:\n", command->name,
            command->summary, command->name, command->operands, command->operands[0] ? " " : "",
            !command->takes_rest   ? ""
            : command->bit == LOAD ? " [-- COMMAND ...]"
                                   : " [-- extra flags]",
            command->about);
    for (int i = 0; i < N_OPTIONS; i++) {
        if (OPTIONS[i].commands & command->bit)
            help_option(out, &OPTIONS[i]);
    }
    if (command->takes_knobs)
        help_knobs(out, command);
    fprintf(out, "\nExample:\n  %s\n", command->example);
}
