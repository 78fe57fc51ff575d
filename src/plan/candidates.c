/* Everything but the types: cache types, placement, ubatch; what is left for weights then. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "plan/problem.h"

/* Mildest first. Flash attention throughout: libllama holds a quantised V only with it. */
static const int cache_types[][2] = {
    {GGML_TYPE_F16, GGML_TYPE_F16},
    {GGML_TYPE_Q8_0, GGML_TYPE_Q8_0},
    {GGML_TYPE_Q8_0, GGML_TYPE_Q4_0},
    {GGML_TYPE_Q4_0, GGML_TYPE_Q4_0},
};
#define N_CACHE_TYPES (sizeof cache_types / sizeof cache_types[0])

/* Smaller ones make room; larger ones than libllama's default gain nothing but compute bytes. */
static const int64_t ubatches[] = {512, 128};
#define N_UBATCHES (sizeof ubatches / sizeof ubatches[0])
static const int64_t N_BATCH = 2048;

static bool is_cache_type_possible(const struct snug_model *m, int type_k, int type_v)
{
    return m->n_embd_head_k % ggml_blck_size((enum ggml_type)type_k) == 0 &&
           m->n_embd_head_v % ggml_blck_size((enum ggml_type)type_v) == 0;
}

void snug__candidate_beside(const struct snug__problem *p, const struct snug__candidate *c,
                            struct snug_plan_tier out[2])
{
    /* The output counts as a layer, and goes first. */
    const int64_t g = p->device < 0 ? 0 : c->shape.n_gpu_layers;
    const int64_t n = g <= 0 ? 0 : g - 1 < p->n_layer ? g - 1 : p->n_layer;
    const uint64_t cache = (uint64_t)((double)c->bytes.cache * (double)n / (double)p->n_layer);
    out[0] = (struct snug_plan_tier){
        .n_layer = n, .cache = cache, .compute = g > 0 ? c->bytes.compute : 0};
    /* Layers on the host need its own compute buffer; without any there are inputs and little more.
     */
    out[1] =
        (struct snug_plan_tier){.n_layer = p->n_layer - n,
                                .cache = c->bytes.cache - cache,
                                .compute = n < p->n_layer ? c->bytes.compute : c->bytes.compute / 8,
                                .reserve = c->bytes.base};
}

void snug__candidate_budget(const struct snug__problem *p, struct snug__candidate *c)
{
    const uint64_t host = p->law->tiers[p->host].bytes;
    struct snug_plan_tier beside[2];
    snug__candidate_beside(p, c, beside);
    c->budget[0] = 0;
    if (p->device >= 0 && c->shape.n_gpu_layers > 0)
        c->budget[0] =
            snug__above(p->law->tiers[p->device].bytes, beside[0].cache + beside[0].compute);
    const uint64_t fixed = beside[1].cache + beside[1].compute + beside[1].reserve;
    c->budget[1] = snug__above(host, fixed);
    c->host_room = c->budget[1];
    const uint64_t disk = p->request->disk_bytes;
    if (disk > 0) {
        const uint64_t most = snug__above(disk, p->header_bytes);
        c->budget[0] = c->budget[0] < most ? c->budget[0] : most;
        const uint64_t rest = snug__above(most, c->budget[0]);
        c->budget[1] = c->budget[1] < rest ? c->budget[1] : rest;
    }
    c->is_over_disk = p->disk >= 0 && disk == 0 && fixed < host;
}

snug_status snug__candidate_bytes(const struct snug__problem *p, struct snug__candidate *c,
                                  struct snug_error *err)
{
    const struct snug_plan_request *r = p->request;
    struct snug_model model = *p->model;
    return r->bytes ? r->bytes(&c->shape, &c->bytes, r->bytes_data, err)
                    : snug_plan_bytes_formula(&c->shape, &c->bytes, &model, err);
}

/* Of one pair of cache types and one ubatch: all placements. */
static snug_status add_placements(const struct snug__problem *p, const struct snug__candidate *like,
                                  struct snug__candidate *list, int *n, struct snug_error *err)
{
    struct snug__candidate c = *like;
    const snug_status status = snug__candidate_bytes(p, &c, err);
    if (status == SNUG_INFEASIBLE)
        return SNUG_OK; /* refused by the engine: no candidate */
    if (status != SNUG_OK)
        return status;
    const int64_t most = p->device >= 0 ? p->n_layer + 1 : 0;
    for (int64_t g = most; g >= 0 && *n < SNUG__CANDIDATES_MAX; g--) {
        c.shape.n_gpu_layers = g;
        snug__candidate_budget(p, &c);
        list[(*n)++] = c;
    }
    return SNUG_OK;
}

snug_status snug__candidates(const struct snug__problem *p, struct snug__candidate **out,
                             int *out_n, struct snug_error *err)
{
    const int64_t n_placements = p->device >= 0 ? p->n_layer + 2 : 1;
    const size_t cap = N_CACHE_TYPES * N_UBATCHES * (size_t)n_placements;
    struct snug__candidate *list =
        calloc(cap < SNUG__CANDIDATES_MAX ? cap : SNUG__CANDIDATES_MAX, sizeof *list);
    snug_status status = SNUG_OK;
    int n = 0;
    if (!list)
        return snug_fail(err, SNUG_NO_MEMORY, "%zu candidates of a plan", cap);
    for (size_t k = 0; k < N_CACHE_TYPES && status == SNUG_OK; k++) {
        const int type_k = cache_types[k][0], type_v = cache_types[k][1];
        if (k > 0 && !is_cache_type_possible(p->model, type_k, type_v))
            continue;
        for (size_t u = 0; u < N_UBATCHES && status == SNUG_OK; u++) {
            const struct snug__candidate like = {.shape = {.n_ctx = p->n_ctx * p->n_parallel,
                                                           .n_parallel = p->n_parallel,
                                                           .n_batch = N_BATCH,
                                                           .n_ubatch = ubatches[u],
                                                           .type_k = type_k,
                                                           .type_v = type_v,
                                                           .flash_attn = true},
                                                 .cache_loss =
                                                     snug_plan_cache_loss(type_k, type_v)};
            status = add_placements(p, &like, list, &n, err);
        }
    }
    if (status != SNUG_OK) {
        free(list);
        return status;
    }
    *out = list;
    *out_n = n;
    return SNUG_OK;
}
