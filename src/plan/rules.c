/* Rules of others, to stand beside a plan.
 *
 * AHMP-like: one precision per block out of three (as it is, Q4_K_M, Q4_0), chosen by a knapsack
 * over a U-shaped sensitivity times a prior per precision; all in the device's memory if that can
 * be, with the cache's type stepped down first, else device and host together. Source: the
 * description and the published run of the AHMP planner (llm-optimizer); its code was not at hand,
 * so this is a re-implementation. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "plan/problem.h"

/* Perplexity per cent over the original, as its published run has them. */
static const double PRIOR_MID = 1.078, PRIOR_LOW = 3.4;

struct rule {
    const struct snug__problem *p;
    const int *types[3]; /* own, mid, low */
    int *out;
};

/* First and last blocks matter most: 2 at the ends, 1 in the middle. */
static double u_shape(int64_t block, int64_t n)
{
    const double x = n > 1 ? 2.0 * (double)block / (double)(n - 1) - 1.0 : 0.0;
    return 1.0 + x * x;
}

static bool choose(const struct rule *r, uint64_t budget, struct snug_error *err,
                   snug_status *out_status)
{
    const struct snug__problem *p = r->p;
    const int64_t n = p->n_layer;
    struct snug__knapsack_item *items = calloc((size_t)n, sizeof *items);
    struct snug__knapsack_option *options = calloc(3 * (size_t)n, sizeof *options);
    int *choice = calloc((size_t)n, sizeof *choice);
    struct snug__knapsack k = {.n_items = 0};
    struct snug__knapsack_answer answer;
    uint64_t rest = 0;
    bool fits = false;
    *out_status = items && options && choice ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "a rule");
    for (int t = 0; t < p->n_tensors && *out_status == SNUG_OK; t++) {
        const struct snug_tensor *tensor = &p->model->tensors[t];
        if (p->layer[t] < 0 || p->layer[t] >= n) {
            rest += snug_model_tensor_bytes(tensor, r->types[1][t]);
            continue;
        }
        for (int o = 0; o < 3; o++)
            options[3 * p->layer[t] + o].bytes += snug_model_tensor_bytes(tensor, r->types[o][t]);
    }
    for (int64_t b = 0; b < n && *out_status == SNUG_OK; b++) {
        items[b] = (struct snug__knapsack_item){options + 3 * b, 3};
        options[3 * b + 1].cost = u_shape(b, n) * PRIOR_MID;
        options[3 * b + 2].cost = u_shape(b, n) * PRIOR_LOW;
    }
    if (*out_status == SNUG_OK)
        *out_status = snug__knapsack_init(&k, items, (int)n, err);
    if (*out_status == SNUG_OK && rest <= budget && k.bytes_min <= budget - rest) {
        *out_status = snug__knapsack_solve(&k, budget - rest, choice, &answer, err);
        fits = *out_status == SNUG_OK;
    }
    for (int t = 0; t < p->n_tensors && fits; t++)
        r->out[t] =
            p->layer[t] < 0 || p->layer[t] >= n ? r->types[1][t] : r->types[choice[p->layer[t]]][t];
    snug__knapsack_clear(&k);
    free(items);
    free(options);
    free(choice);
    return fits;
}

/* Budget of all memory (or the device's alone) with this cache. */
static snug_status budget_of(const struct snug__problem *p, struct snug__candidate *c,
                             bool on_device, uint64_t *out, struct snug_error *err)
{
    c->shape.n_gpu_layers = p->device >= 0 ? p->n_layer + 1 : 0;
    const snug_status status = snug__candidate_bytes(p, c, err);
    if (status != SNUG_OK)
        return status;
    snug__candidate_budget(p, c);
    *out = on_device ? c->budget[0] : c->budget[0] + c->budget[1];
    return SNUG_OK;
}

snug_status snug_plan_rule_ahmp(const struct snug_plan_request *request, const int *types_mid,
                                const int *types_low, double budget_frac, int *out_types,
                                struct snug_plan_shape *out_shape, struct snug_error *err)
{
    static const int caches[] = {GGML_TYPE_F16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0};
    struct snug__problem p;
    snug_status status = snug__problem_init(&p, request, err);
    if (status != SNUG_OK)
        return status;
    int *own = malloc((size_t)p.n_tensors * sizeof *own);
    if (!own)
        status = snug_fail(err, SNUG_NO_MEMORY, "a rule");
    for (int t = 0; t < p.n_tensors && own; t++)
        own[t] = p.model->tensors[t].type;
    const struct rule rule = {&p, {own, types_mid, types_low}, out_types};
    bool is_found = false;
    for (int step = p.device >= 0 ? 0 : 3; step < 6 && status == SNUG_OK && !is_found; step++) {
        struct snug__candidate c = {.shape = {.n_ctx = p.n_ctx * p.n_parallel,
                                              .n_parallel = p.n_parallel,
                                              .n_batch = 2048,
                                              .n_ubatch = 512,
                                              .type_k = caches[step % 3],
                                              .type_v = caches[step % 3],
                                              .flash_attn = true}};
        uint64_t budget = 0;
        status = budget_of(&p, &c, step < 3, &budget, err);
        if (status == SNUG_INFEASIBLE) {
            status = SNUG_OK;
            continue;
        }
        budget = (uint64_t)(budget_frac * (double)budget);
        is_found = status == SNUG_OK && choose(&rule, budget, err, &status);
        if (is_found)
            *out_shape = c.shape;
    }
    if (status == SNUG_OK && !is_found)
        status = snug_fail(err, SNUG_INFEASIBLE, "the rule finds nothing that fits");
    free(own);
    snug__problem_clear(&p);
    return status;
}
