/* Command lines of llama-server, llama-cli and llama-bench. Flags are those of the knob rows, which
 * are the only table of them; here stands what a plan sets, and how llama-bench differs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan/emit.h"

#define BENCH_PROMPT 512          /* tokens, where the plan has none */
#define BENCH_GEN 64              /* tokens that decode is timed on */
#define PROMPT_CACHE_MIB_MAX 8192 /* llama-server's own default */

/* ---- the plan as knob rows ---- */

/* Rows that a plan sets. They are emitted even at their defaults: what llama.cpp does by itself may
 * change with its version. */
static const char *const ROWS[] = {"load_mode",  "n_gpu_layers", "n_batch", "n_ubatch",
                                   "flash_attn", "type_k",       "type_v"};
static const char *const THREAD_ROWS[] = {"n_threads", "n_threads_batch"};

static void emit_rows(struct snug_space *space, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        space->knobs[snug_space_find(space, names[i])].is_tuned = true;
}

/* Words for n_parallel sequences of n_ctx_seq tokens. */
static snug_status plan_words(const struct snug_command *c, int64_t n_parallel, char ***out_words,
                              struct snug_error *err)
{
    const struct snug_workload workload = {.n_ctx = c->n_ctx_seq, .n_parallel = n_parallel};
    struct snug_space space = *snug_engine_rows();
    struct snug_config config;
    for (int i = 0; i < space.n; i++)
        space.knobs[i].is_tuned = false;
    emit_rows(&space, ROWS, sizeof ROWS / sizeof *ROWS);
    if (c->plan->n_threads > 0)
        emit_rows(&space, THREAD_ROWS, sizeof THREAD_ROWS / sizeof *THREAD_ROWS);
    const snug_status status = snug_plan_config(c->plan, &space, &config, err);
    return status == SNUG_OK ? snug_engine_flags(&space, &config, &workload, out_words, err)
                             : status;
}

/* ---- words ---- */

/* Append "flag value"; on failure the list is as it was. */
static bool add_pair(char ***words, const char *flag, const char *value)
{
    size_t n = 0;
    while ((*words)[n])
        n++;
    char *a = strdup(flag), *b = strdup(value);
    char **grown = a && b ? realloc(*words, (n + 3) * sizeof *grown) : NULL;
    if (!grown) {
        free(a);
        free(b);
        return false;
    }
    grown[n] = a;
    grown[n + 1] = b;
    grown[n + 2] = NULL;
    *words = grown;
    return true;
}

static bool add_number(char ***words, const char *flag, int64_t value)
{
    char number[32];
    snprintf(number, sizeof number, "%lld", (long long)value);
    return add_pair(words, flag, number);
}

static snug_status put_line(struct snug_buffer *out, const char *tool, const char *path,
                            char *const *words, struct snug_error *err)
{
    char *line = snug_engine_command_line(tool, path, words);
    if (!line)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a line of %s", tool);
    snug_buffer_puts(out, line);
    snug_buffer_puts(out, "\n");
    free(line);
    return SNUG_OK;
}

/* ---- llama-server, llama-cli ---- */

int64_t snug__prompt_cache_mib(const struct snug_plan *plan)
{
    for (int i = 0; i < plan->n_tiers; i++) {
        const struct snug_plan_tier *t = &plan->tiers[i];
        const uint64_t planned = t->weights + t->cache + t->compute + t->reserve;
        if (!snug__tier_is_host(t) || planned >= t->bytes_usable)
            continue;
        const uint64_t mib = (t->bytes_usable - planned) >> 20;
        return mib < PROMPT_CACHE_MIB_MAX ? (int64_t)mib : PROMPT_CACHE_MIB_MAX;
    }
    return 0;
}

snug_status snug__server_words(const struct snug_command *c, char ***out_words,
                               struct snug_error *err)
{
    char **words = NULL;
    snug_status status = plan_words(c, c->plan->n_parallel, &words, err);
    if (status != SNUG_OK)
        return status;
    /* Prompts of closed chats would take up to 8 GiB that no plan counts. */
    if (!add_number(&words, "--cache-ram", snug__prompt_cache_mib(c->plan)) ||
        (c->port > 0 && !add_number(&words, "--port", c->port))) {
        snug_engine_flags_free(words);
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for the words of llama-server");
    }
    *out_words = words;
    return SNUG_OK;
}

snug_status snug__emit_server(const struct snug_command *c, char **out_text, struct snug_error *err)
{
    struct snug_buffer out = {0};
    char **words = NULL;
    snug_status status = snug__server_words(c, &words, err);
    if (status == SNUG_OK)
        status = put_line(&out, "llama-server", c->gguf_path, words, err);
    if (status == SNUG_OK)
        status = snug__emit_end(&out, out_text, err);
    snug_engine_flags_free(words);
    snug_buffer_clear(&out);
    return status;
}

/* One conversation, so one sequence with its share of the context. */
snug_status snug__emit_cli(const struct snug_command *c, char **out_text, struct snug_error *err)
{
    struct snug_buffer out = {0};
    char **words = NULL;
    snug_status status = plan_words(c, 1, &words, err);
    if (status == SNUG_OK)
        status = put_line(&out, "llama-cli", c->gguf_path, words, err);
    if (status == SNUG_OK)
        status = snug__emit_end(&out, out_text, err);
    snug_engine_flags_free(words);
    snug_buffer_clear(&out);
    return status;
}

/* ---- llama-bench ---- */

/* Its flag for one of the others' tools, NULL for what it does not have. */
static const char *bench_flag(const char *flag)
{
    static const char *const none[] = {"--ctx-size", "--parallel", "--threads-batch", "--fit"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        if (strcmp(flag, none[i]) == 0)
            return NULL;
    }
    return strcmp(flag, "--gpu-layers") == 0 ? "--n-gpu-layers" : flag;
}

/* "0,2048,4032": the plan's depths, so that what is generated at each still fits the context. */
static void depths_text(const struct snug_command *c, char *out, size_t cap)
{
    const int64_t top = c->n_ctx_seq > BENCH_GEN ? c->n_ctx_seq - BENCH_GEN : 0;
    int64_t last = -1;
    size_t n = 0;
    snprintf(out, cap, "0");
    for (int i = 0; i < c->plan->n_depths && i < SNUG_PLAN_DEPTHS_MAX; i++) {
        int64_t depth = c->plan->depths[i] < top ? c->plan->depths[i] : top;
        depth = depth > 0 ? depth : 0;
        if (depth == last)
            continue;
        n += (size_t)snprintf(out + n, cap - n, "%s%lld", n ? "," : "", (long long)depth);
        last = depth;
    }
}

/* The plan's flags in llama-bench's terms, behind what is measured. */
static snug_status bench_line(const struct snug_command *c, char *const *flags, bool is_prefill,
                              struct snug_buffer *out, struct snug_error *err)
{
    char depths[SNUG_PLAN_DEPTHS_MAX * 24];
    const int64_t n_prompt = c->plan->n_prompt > 0 ? c->plan->n_prompt : BENCH_PROMPT;
    char **words = calloc(1, sizeof *words);
    bool is_ok = words && add_number(&words, "--n-prompt", is_prefill ? n_prompt : 0) &&
                 add_number(&words, "--n-gen", is_prefill ? 0 : BENCH_GEN);
    depths_text(c, depths, sizeof depths);
    is_ok = is_ok && (is_prefill || add_pair(&words, "--n-depth", depths));
    for (size_t i = 0; is_ok && flags[i]; i++) {
        const char *flag = bench_flag(flags[i]);
        if (strcmp(flags[i], "--no-repack") == 0) /* the one word without a value */
            is_ok = add_pair(&words, "--repack", "0");
        else if (flags[++i])
            is_ok = !flag || add_pair(&words, flag, flags[i]);
    }
    const snug_status status =
        is_ok ? put_line(out, "llama-bench", c->gguf_path, words, err)
              : snug_fail(err, SNUG_NO_MEMORY, "no memory for the words of llama-bench");
    snug_engine_flags_free(words);
    return status;
}

/* Two lines, since prefill is predicted at depth 0 alone. */
snug_status snug__emit_bench(const struct snug_command *c, char **out_text, struct snug_error *err)
{
    struct snug_buffer out = {0};
    char **flags = NULL;
    snug_status status = plan_words(c, 1, &flags, err);
    if (status == SNUG_OK)
        status = bench_line(c, flags, true, &out, err);
    if (status == SNUG_OK)
        status = bench_line(c, flags, false, &out, err);
    if (status == SNUG_OK)
        status = snug__emit_end(&out, out_text, err);
    snug_engine_flags_free(flags);
    snug_buffer_clear(&out);
    return status;
}
