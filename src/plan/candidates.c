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

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

void snug__candidate_budget(const struct snug__problem *p, struct snug__candidate *c)
{
    const double share =
        p->device < 0
            ? 0.0
            : (double)(c->shape.n_gpu_layers < p->n_layer ? c->shape.n_gpu_layers : p->n_layer) /
                  (double)p->n_layer;
    const uint64_t cache_device = (uint64_t)(share * (double)c->bytes.cache);
    const uint64_t cache_host = c->bytes.cache - cache_device;
    const struct snug_law_tier *host = &p->law->tiers[p->host];
    c->budget[0] = 0;
    if (p->device >= 0 && c->shape.n_gpu_layers > 0)
        c->budget[0] = minus(p->law->tiers[p->device].bytes, cache_device + c->bytes.compute);
    /* Layers on the host need its own compute buffer; without any there are inputs and little more.
     */
    const uint64_t compute_host = share < 1.0 ? c->bytes.compute : c->bytes.compute / 8;
    c->budget[1] = minus(host->bytes, cache_host + compute_host + c->bytes.base);
    c->host_room = c->budget[1];
    const uint64_t disk = p->request->disk_bytes;
    if (disk > 0) {
        const uint64_t most = minus(disk, p->header_bytes);
        c->budget[0] = c->budget[0] < most ? c->budget[0] : most;
        const uint64_t rest = minus(most, c->budget[0]);
        c->budget[1] = c->budget[1] < rest ? c->budget[1] : rest;
    }
    c->is_over_disk = p->disk >= 0 && disk == 0 && cache_host + compute_host < host->bytes;
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
