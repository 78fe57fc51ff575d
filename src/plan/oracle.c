/* libllama as the oracle of cache and compute bytes: one engine per context, asked per shape. */
#include <stdlib.h>
#include <string.h>

#include "plan/config.h"

#define ENGINES_MAX 8
static const uint64_t BASE_GRAIN = 4u << 20;

struct snug_plan_oracle {
    struct snug_model model; /* a copy: the engine wants the path of a file that is here */
    const struct snug_machine *machine;
    const volatile int *stop;
    struct {
        int64_t n_ctx, n_parallel; /* n_ctx of one sequence */
        struct snug_engine *engine;
    } engines[ENGINES_MAX];
    int n_engines, next; /* next: to be replaced when all are taken */
};

snug_status snug_plan_oracle_open(const struct snug_model *model, const char *gguf_path,
                                  const struct snug_machine *machine, const volatile int *stop,
                                  struct snug_plan_oracle **out, struct snug_error *err)
{
    struct snug_plan_oracle *oracle = calloc(1, sizeof *oracle);
    if (!oracle)
        return snug_fail(err, SNUG_NO_MEMORY, "an oracle of bytes");
    if (strlen(gguf_path) >= sizeof oracle->model.path) {
        free(oracle);
        return snug_fail(err, SNUG_BAD_INPUT, "%.80s...: the path is too long", gguf_path);
    }
    oracle->model = *model;
    memcpy(oracle->model.path, gguf_path, strlen(gguf_path) + 1);
    oracle->machine = machine;
    oracle->stop = stop;
    *out = oracle;
    return SNUG_OK;
}

void snug_plan_oracle_close(struct snug_plan_oracle *oracle)
{
    for (int i = 0; oracle && i < oracle->n_engines; i++)
        snug_engine_close(oracle->engines[i].engine);
    free(oracle);
}

static snug_status engine_for(struct snug_plan_oracle *o, int64_t n_ctx, int64_t n_parallel,
                              struct snug_engine **out, struct snug_error *err)
{
    for (int i = 0; i < o->n_engines; i++) {
        if (o->engines[i].n_ctx == n_ctx && o->engines[i].n_parallel == n_parallel) {
            *out = o->engines[i].engine;
            return SNUG_OK;
        }
    }
    const struct snug_engine_options options = {
        .model_path = o->model.path,
        .machine = o->machine,
        .model = &o->model,
        .workload = {.n_prompt = 1, .n_gen = 1, .n_parallel = n_parallel, .n_ctx = n_ctx},
        .allow_quality = true,
        .stop = o->stop};
    struct snug_engine *engine = NULL;
    const snug_status status = snug_engine_open("llama", &options, &engine, err);
    if (status != SNUG_OK)
        return status;
    int slot = o->n_engines;
    if (slot < ENGINES_MAX) {
        o->n_engines++;
    } else {
        slot = o->next;
        o->next = (o->next + 1) % ENGINES_MAX;
        snug_engine_close(o->engines[slot].engine);
    }
    o->engines[slot].n_ctx = n_ctx;
    o->engines[slot].n_parallel = n_parallel;
    o->engines[slot].engine = engine;
    *out = engine;
    return SNUG_OK;
}

snug_status snug_plan_oracle_bytes(const struct snug_plan_shape *shape, struct snug_plan_bytes *out,
                                   void *data, struct snug_error *err)
{
    struct snug_plan_oracle *o = data;
    struct snug_engine *engine = NULL;
    struct snug_config config;
    struct snug_bytes bytes = {0};
    const int64_t n_parallel = shape->n_parallel > 0 ? shape->n_parallel : 1;
    snug_status status = engine_for(o, shape->n_ctx / n_parallel, n_parallel, &engine, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_space *space = snug_engine_space(engine);
    snug_space_default(space, &config);
    status = snug__config_shape(space, shape, &config, err);
    if (status == SNUG_OK)
        status = snug_engine_estimate(engine, &config, &bytes, err);
    if (status != SNUG_OK)
        return status;
    /* The process's own bytes differ by some pages from start to start; a plan should not. */
    *out = (struct snug_plan_bytes){.cache = bytes.cache,
                                    .compute = bytes.compute,
                                    .base =
                                        (bytes.rss_base + BASE_GRAIN - 1) / BASE_GRAIN * BASE_GRAIN,
                                    .tied_repacked = snug_engine_tied_repacked(engine)};
    return SNUG_OK;
}

snug_status snug_plan_oracle_fit(struct snug_plan_oracle *o, int64_t n_ctx, int64_t n_parallel,
                                 int64_t *out_n_gpu_layers, struct snug_error *err)
{
    struct snug_engine *engine = NULL;
    struct snug_config config;
    const struct snug_workload workload = {.n_parallel = n_parallel, .n_ctx = n_ctx / n_parallel};
    snug_status status = engine_for(o, n_ctx / n_parallel, n_parallel, &engine, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_space *space = snug_engine_space(engine);
    status = snug_engine_fit(space, &workload, o->model.path, &config, err);
    const int row = snug_space_find(space, "n_gpu_layers");
    if (status == SNUG_OK)
        *out_n_gpu_layers = row < 0 ? 0 : config.value[row];
    return status;
}
