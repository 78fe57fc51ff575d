/* The menu of plans, a plan of given types, and the notes of both. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "plan/solve.h"
#include "snug/units.h"

/* ---- notes ---- */

static void note_types(const struct snug__problem *p, struct snug_plan *plan)
{
    int n_changed = 0;
    for (int t = 0; t < plan->n_tensors; t++)
        n_changed += plan->types[t] != p->model->tensors[t].type;
    if (n_changed == 0)
        snug_plan_note(plan, "weights stay as they are: nothing has to be given up");
}

void snug__plan_notes(const struct snug__problem *p, struct snug_plan *plan)
{
    char text[SNUG_UNIT_TEXT_MAX];
    note_types(p, plan);
    if (plan->type_k != GGML_TYPE_F16 || plan->type_v != GGML_TYPE_F16)
        snug_plan_note(plan, "cache in %s (K) and %s (V): what it saves goes to weights or context",
                       snug_model_type_name(plan->type_k), snug_model_type_name(plan->type_v));
    if (p->device >= 0 && plan->tiers[p->host].n_layer > 0)
        snug_plan_note(plan, "%lld of %lld layers stay on the CPU: the device is full",
                       (long long)plan->tiers[p->host].n_layer, (long long)p->n_layer);
    if (p->disk >= 0 && plan->tiers[p->disk].weights > 0)
        snug_plan_note(plan,
                       "%s of weights do not fit in memory and are read from disk at every token",
                       snug_bytes_text(plan->tiers[p->disk].weights, text));
    if (plan->method == SNUG_SENSITIVITY_POSITION)
        snug_plan_note(plan,
                       "the loss is a guess by role and position: snug sensitivity measures it");
    if (p->n_ctx > p->model->n_ctx_train && p->model->n_ctx_train > 0)
        snug_plan_note(plan, "the model was trained with a context of %lld, not %lld",
                       (long long)p->model->n_ctx_train, (long long)p->n_ctx);
    if (plan->gap_frac > 0.0)
        snug_plan_note(plan, "proved within %.2g %% of the least loss that meets the targets",
                       100.0 * plan->gap_frac);
}

/* ---- given types ---- */

snug_status snug_plan_evaluate(const struct snug_plan_request *request, const int *types,
                               const struct snug_plan_shape *shape, struct snug_plan *out,
                               struct snug_error *err)
{
    struct snug__problem p;
    struct snug__candidate c = {.shape = *shape,
                                .cache_loss = snug_plan_cache_loss(shape->type_k, shape->type_v)};
    snug_status status = snug__problem_init(&p, request, err);
    if (status != SNUG_OK)
        return status;
    int *own = malloc((size_t)p.n_tensors * sizeof *own);
    if (!own)
        status = snug_fail(err, SNUG_NO_MEMORY, "a plan of %d tensors", p.n_tensors);
    for (int t = 0; t < p.n_tensors && own; t++)
        own[t] = types ? types[t] : p.model->tensors[t].type;
    if (status == SNUG_OK)
        status = snug__candidate_bytes(&p, &c, err);
    if (status == SNUG_OK) {
        snug__candidate_budget(&p, &c);
        status = snug__plan_fill(&p, &c, own, out, err);
    }
    free(own);
    snug__problem_clear(&p);
    return status;
}

snug_status snug_plan_place(const struct snug_plan_request *request, const int *types,
                            const struct snug_plan_shape *like, struct snug_plan *out,
                            struct snug_error *err)
{
    struct snug_plan best = {.n_tensors = 0};
    struct snug_plan_shape shape = *like;
    bool has_device = false;
    snug_status status = SNUG_OK;
    for (int i = 0; i < request->law->n_tiers; i++)
        has_device = has_device || request->law->tiers[i].kind == SNUG_TIER_DEVICE;
    for (shape.n_gpu_layers = has_device ? request->model->n_layer + 1 : 0;
         shape.n_gpu_layers >= 0 && status == SNUG_OK; shape.n_gpu_layers--) {
        struct snug_plan plan = {.n_tensors = 0};
        status = snug_plan_evaluate(request, types, &shape, &plan, err);
        if (status != SNUG_OK)
            break;
        const bool is_first = best.n_tensors == 0;
        const bool is_better = plan.grade != SNUG_PLAN_INFEASIBLE &&
                               (best.grade == SNUG_PLAN_INFEASIBLE ||
                                snug_plan_mid_tps(&plan) > snug_plan_mid_tps(&best));
        if (is_first || is_better) {
            snug_plan_clear(&best);
            best = plan;
        } else {
            snug_plan_clear(&plan);
        }
    }
    if (status == SNUG_OK)
        *out = best;
    else
        snug_plan_clear(&best);
    return status;
}

/* ---- the menu ---- */

static int compare_plans(const void *a, const void *b)
{
    const struct snug_plan *x = a, *y = b;
    if (snug_plan_mid_tps(x) < snug_plan_mid_tps(y) || snug_plan_mid_tps(x) > snug_plan_mid_tps(y))
        return snug_plan_mid_tps(x) > snug_plan_mid_tps(y) ? -1 : 1;
    return (x->loss.value > y->loss.value) - (x->loss.value < y->loss.value);
}

/* Fastest first, loss strictly falling. Returns how many stay; the rest are released. */
static int keep_front(struct snug_plan *plans, int n)
{
    int kept = 0;
    qsort(plans, (size_t)n, sizeof *plans, compare_plans);
    for (int i = 0; i < n; i++) {
        const bool is_beaten = kept > 0 && plans[i].loss.value >= plans[kept - 1].loss.value;
        if (is_beaten)
            snug_plan_clear(&plans[i]);
        else
            plans[kept++] = plans[i];
    }
    return kept;
}

snug_status snug_plan_menu(const struct snug_plan_request *request, int n_max,
                           struct snug_plan **out_plans, int *out_n, struct snug_error *err)
{
    struct snug__search s;
    struct snug_plan *plans = NULL, slowest, fastest;
    bool found = false, found_fastest = false;
    int n = 0;
    if (n_max < 2 || n_max > 1024)
        return snug_fail(err, SNUG_BAD_INPUT, "a menu of %d plans; 2 to 1024 are accepted", n_max);
    snug_status status = snug__search_open(&s, request, err);
    if (status != SNUG_OK)
        return status;
    const struct snug__targets none = {.loss_max = request->loss_max};
    plans = calloc((size_t)n_max, sizeof *plans);
    if (!plans)
        status = snug_fail(err, SNUG_NO_MEMORY, "a menu of %d plans", n_max);
    if (status == SNUG_OK)
        status = snug__search_run(&s, &none, &slowest, &found, err);
    if (status == SNUG_OK && found) {
        plans[n++] = slowest;
        status = snug__search_fastest(&s, request->loss_max, &fastest, &found_fastest, err);
    }
    if (status == SNUG_OK && found && found_fastest)
        plans[n++] = fastest;
    const double low = n == 2 ? snug_plan_mid_tps(&plans[0]) : 1.0,
                 high = n == 2 ? snug_plan_mid_tps(&plans[1]) : 1.0;
    const int n_between = n == 2 && high > low ? n_max - 2 : 0;
    for (int i = 0; i < n_between && status == SNUG_OK; i++) {
        const double share = (double)(i + 1) / (double)(n_between + 1);
        const struct snug__targets g = {.tps = low * pow(high / low, share),
                                        .loss_max = request->loss_max};
        status = snug__search_run(&s, &g, &plans[n], &found, err);
        n += status == SNUG_OK && found;
    }
    snug__search_close(&s);
    if (status != SNUG_OK) {
        for (int i = 0; i < n; i++)
            snug_plan_clear(&plans[i]);
        free(plans);
        return status;
    }
    *out_n = keep_front(plans, n);
    *out_plans = plans;
    return SNUG_OK;
}
