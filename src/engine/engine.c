/* The engines, one row each, and what does not depend on which one runs. */
#include "engine/engine_row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>
#include <llama.h>

static const int64_t PARALLEL_MAX = 256, CONTEXT_MAX = 1 << 30;

static const struct snug__engine_row *const ENGINES[] = {&snug__engine_llama, &snug__engine_replay};

struct snug_engine {
    const struct snug__engine_row *row;
    void *state;
};

void snug_effort_default(struct snug_effort *out)
{
    *out = (struct snug_effort){.blocks_min = 3,
                                .blocks_max = 16,
                                .spread_frac = 0.02,
                                .phase_s = 4.0,
                                .deadline_s = 120.0,
                                .warmup_max = 8,
                                .want_prefill = true,
                                .want_decode = true};
}

static snug_status check_workload(const struct snug_workload *w, struct snug_error *err)
{
    if (w->n_parallel < 1 || w->n_prompt < 0 || w->n_gen < 0 || w->n_depth < 0 || w->n_ctx < 1)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "a workload needs at least one sequence, and no "
                         "negative lengths");
    const int64_t longest = w->n_prompt > w->n_gen ? w->n_prompt : w->n_gen;
    /* libllama counts in 32 bits, and over all sequences. */
    if (w->n_parallel > PARALLEL_MAX || w->n_ctx > CONTEXT_MAX / w->n_parallel ||
        longest > CONTEXT_MAX || w->n_depth > CONTEXT_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%lld sequences of %lld tokens: at most %lld sequences, and %lld tokens "
                         "in all of them together",
                         (long long)w->n_parallel, (long long)w->n_ctx, (long long)PARALLEL_MAX,
                         (long long)CONTEXT_MAX);
    if (w->n_depth + longest > w->n_ctx)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "a context of %lld tokens does not hold depth %lld and %lld more: give "
                         "--context %lld or shorten the workload",
                         (long long)w->n_ctx, (long long)w->n_depth, (long long)longest,
                         (long long)(w->n_depth + longest));
    return SNUG_OK;
}

snug_status snug_engine_open(const char *name, const struct snug_engine_options *options,
                             struct snug_engine **out, struct snug_error *err)
{
    const struct snug__engine_row *row = NULL;
    for (size_t i = 0; i < sizeof ENGINES / sizeof *ENGINES; i++) {
        if (strcmp(ENGINES[i]->name, name) == 0)
            row = ENGINES[i];
    }
    if (!row)
        return snug_fail(err, SNUG_BAD_INPUT, "no engine '%s'; there are: llama, replay", name);
    snug_status status = check_workload(&options->workload, err);
    if (status != SNUG_OK)
        return status;
    struct snug_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for an engine");
    engine->row = row;
    status = row->open(options, &engine->state, err);
    if (status != SNUG_OK) {
        free(engine);
        return status;
    }
    *out = engine;
    return SNUG_OK;
}

void snug_engine_close(struct snug_engine *engine)
{
    if (!engine)
        return;
    engine->row->close(engine->state);
    free(engine);
}

void snug_engine_restart(struct snug_engine *engine)
{
    if (engine->row->restart)
        engine->row->restart(engine->state);
}

const struct snug_space *snug_engine_space(const struct snug_engine *engine)
{
    return engine->row->space(engine->state);
}

const char *snug_engine_build(const struct snug_engine *engine)
{
    return engine->row->build(engine->state);
}

uint64_t snug_engine_tied_repacked(const struct snug_engine *engine)
{
    return engine->row->tied_repacked ? engine->row->tied_repacked(engine->state) : 0;
}

const char *snug_engine_build_here(char *out, size_t cap)
{
    snprintf(out, cap, "libllama %s, ggml %s", llama_version(), ggml_version());
    return out;
}

snug_status snug_engine_estimate(struct snug_engine *engine, const struct snug_config *config,
                                 struct snug_bytes *out, struct snug_error *err)
{
    return engine->row->estimate(engine->state, config, out, err);
}

snug_status snug_engine_run(struct snug_engine *engine, const struct snug_config *config,
                            const struct snug_effort *effort, struct snug_measurement *out,
                            struct snug_error *err)
{
    return engine->row->run(engine->state, config, effort, out, err);
}
