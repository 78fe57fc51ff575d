/* What types and a candidate come to: bytes by tier, speed at depths, loss, grade. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan/problem.h"
#include "snug/units.h"

/* Measured peaks lie within this share and so many bytes of what is stated (perf/plan_memory.py):
 * a graph may touch less than the worst case reserved for it, and an allocator keeps some pages. */
static const double HOST_FRAC = 0.03, HOST_BYTES = 4.0 * (1 << 20);

/* Bytes on the wrong side of memory are read again by every step: the page cache drops what is
 * needed next when a scan is larger than it. */
static void spill(const struct snug__problem *p, struct snug_law_load *load, uint64_t over,
                  uint64_t host_bytes)
{
    if (over == 0 || host_bytes == 0 || p->disk < 0)
        return;
    const double share = fmin((double)over / (double)host_bytes, 1.0);
    uint64_t(*const sums[])[SNUG_MODEL_TYPES_MAX] = {load->weight_bytes, load->weight_elements,
                                                     load->once_bytes, load->once_elements};
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) {
        for (int type = 0; type < SNUG_MODEL_TYPES_MAX; type++) {
            const uint64_t moved = (uint64_t)(share * (double)sums[i][p->host][type]);
            sums[i][p->host][type] -= moved;
            sums[i][p->disk][type] += moved;
        }
    }
}

static int tier_of(const struct snug__problem *p, const struct snug__candidate *c, int t)
{
    return snug__problem_side(p, c, t) == 0 ? p->device : p->host;
}

static void fill_load(const struct snug__problem *p, const struct snug__candidate *c,
                      const struct snug_plan *plan, struct snug_law_load *load)
{
    const struct snug_model *m = p->model;
    snug_law_load_init(m, plan->types, -1, c->shape.type_k, c->shape.type_v, c->shape.n_ubatch,
                       load);
    for (int t = 0; t < p->n_tensors; t++)
        snug_law_load_add(load, m, t, plan->types[t], tier_of(p, c, t));
    load->n_parallel = p->n_parallel;
    const uint64_t cache = snug_model_cache_bytes(m, 1, c->shape.type_k, c->shape.type_v);
    for (int i = 0; i < plan->n_tiers; i++) {
        load->n_layer[i] = plan->tiers[i].n_layer;
        load->cache_bytes_per_token[i] =
            cache / (uint64_t)p->n_layer * (uint64_t)plan->tiers[i].n_layer;
    }
    load->n_hops = p->device >= 0 && plan->tiers[p->device].n_layer > 0 ? 2 : 0;
}

static void fill_tiers(const struct snug__problem *p, const struct snug__candidate *c,
                       struct snug_plan *plan)
{
    struct snug_plan_tier beside[2];
    snug__candidate_beside(p, c, beside);
    plan->n_tiers = p->law->n_tiers;
    for (int i = 0; i < plan->n_tiers; i++) {
        struct snug_plan_tier *tier = &plan->tiers[i];
        *tier = i == p->device ? beside[0] : i == p->host ? beside[1] : (struct snug_plan_tier){0};
        tier->bytes_usable = p->law->tiers[i].bytes;
        snprintf(tier->name, sizeof tier->name, "%s", p->law->tiers[i].name);
    }
}

/* Weights by tier; what the host cannot hold stays on disk. Returns the bytes that do not fit. */
static uint64_t fill_weights(const struct snug__problem *p, const struct snug__candidate *c,
                             struct snug_plan *plan, uint64_t *out_over)
{
    uint64_t sum[2] = {0, 0}, missing = 0;
    for (int t = 0; t < p->n_tensors; t++) {
        sum[snug__problem_side(p, c, t)] +=
            snug_model_tensor_bytes(&p->model->tensors[t], plan->types[t]);
    }
    plan->file_bytes = snug_engine_file_bytes(p->model, plan->types);
    if (plan->file_bytes == 0) /* no GGUF behind the model: without its header's padding */
        plan->file_bytes = sum[0] + sum[1] + p->header_bytes;
    if (p->device >= 0) {
        plan->tiers[p->device].weights = sum[0];
        missing += snug__above(sum[0], c->budget[0]);
    }
    uint64_t copy = p->tied < 0 ? 0 : snug__tied_copy_bytes(p, c, plan->types[p->tied]);
    uint64_t over = snug__above(sum[1] + copy, c->host_room);
    plan->use_mmap = c->shape.use_mmap || (c->is_over_disk && over > 0);
    if (!c->is_over_disk) { /* there may be a limit of the file besides */
        const uint64_t over_file = snug__above(sum[1], c->budget[1]);
        missing += over_file > over ? over_file : over;
        over = 0;
    } else if (plan->use_mmap && copy > 0 && snug__problem_side(p, c, p->tied) == 1) {
        copy = 0; /* mapped weights stay as they are in the file */
        over = snug__above(sum[1], c->host_room);
    }
    plan->tiers[p->host].weights = sum[1] + copy - over;
    if (p->disk >= 0)
        plan->tiers[p->disk].weights = over;
    for (int i = 0; i < plan->n_tiers; i++) {
        const struct snug_plan_tier *tier = &plan->tiers[i];
        if (i != p->disk)
            plan->total_bytes += tier->weights + tier->cache + tier->compute + tier->reserve;
    }
    *out_over = over;
    return missing;
}

static void fill_host(const struct snug__problem *p, struct snug_plan *plan)
{
    const struct snug_plan_tier *host = &plan->tiers[p->host];
    const double fixed = (double)(host->cache + host->compute + host->reserve);
    const double weights = (double)host->weights;
    /* Of mapped weights the kernel may keep every page, and drop every one. */
    const double least = plan->use_mmap ? fixed : fixed + weights;
    const double most =
        fixed + weights + (p->disk >= 0 ? (double)plan->tiers[p->disk].weights : 0.0);
    plan->host_bytes =
        (struct snug_prediction){fixed + weights, least * (1.0 - HOST_FRAC) - HOST_BYTES,
                                 most * (1.0 + HOST_FRAC) + HOST_BYTES};
    plan->host_bytes.lo = fmax(plan->host_bytes.lo, 0.0);
}

static void fill_speeds(const struct snug__problem *p, const struct snug_law_load *load,
                        struct snug_plan *plan)
{
    const int64_t half = p->n_ctx / 2;
    const int64_t depths[] = {0, half / 4, half, p->n_ctx - 1};
    plan->n_depths = 0;
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        if (i > 0 && depths[i] <= plan->depths[plan->n_depths - 1])
            continue;
        plan->depths[plan->n_depths] = depths[i];
        plan->decode_tps[plan->n_depths++] = snug_law_decode_tps(p->law, load, depths[i]);
    }
    plan->n_prompt = p->n_prompt;
    plan->prefill_tps = snug_law_prefill_tps(p->law, load, p->n_prompt, 0);
    const struct snug_prediction first = snug_law_decode_tps(p->law, load, p->n_prompt);
    const double n = (double)p->n_prompt;
    plan->ttft_s = (struct snug_prediction){n / plan->prefill_tps.value + 1.0 / first.value,
                                            n / plan->prefill_tps.hi + 1.0 / first.hi,
                                            n / plan->prefill_tps.lo + 1.0 / first.lo};
}

static void fill_loss(const struct snug__problem *p, const struct snug__candidate *c,
                      struct snug_plan *plan)
{
    const struct snug_sensitivity *s = p->request->sensitivity;
    double loss = 0.0;
    for (int t = 0; t < p->n_tensors; t++) {
        double value = plan->types[t] == p->model->tensors[t].type ? 0.0 : NAN;
        for (int o = p->begin[t]; o < p->begin[t + 1]; o++)
            value = p->options[o].type == plan->types[t] ? p->options[o].loss : value;
        loss += value;
    }
    plan->method = s->method;
    plan->loss =
        (struct snug_prediction){loss + c->cache_loss, loss * s->lo_frac + c->cache_loss / 2.0,
                                 loss * s->hi_frac + c->cache_loss * 2.0};
}

static void grade(uint64_t missing, struct snug_plan *plan)
{
    char text[SNUG_UNIT_TEXT_MAX], limit[SNUG_UNIT_TEXT_MAX];
    const double tps = snug_plan_mid_tps(plan);
    if (missing > 0) {
        plan->grade = SNUG_PLAN_INFEASIBLE;
        snprintf(plan->reason, sizeof plan->reason, "%s more memory is needed",
                 snug_bytes_text(missing, text));
        return;
    }
    plan->grade = tps >= SNUG_PLAN_USABLE_TPS ? SNUG_PLAN_USABLE
                  : tps >= SNUG_PLAN_SLOW_TPS ? SNUG_PLAN_SLOW
                                              : SNUG_PLAN_IMPRACTICAL;
    const char *meaning = plan->grade == SNUG_PLAN_USABLE ? "faster than people read"
                          : plan->grade == SNUG_PLAN_SLOW ? "slower than people read"
                                                          : "minutes for a paragraph";
    const double threshold = plan->grade == SNUG_PLAN_USABLE ? SNUG_PLAN_USABLE_TPS
                             : plan->grade == SNUG_PLAN_SLOW ? SNUG_PLAN_SLOW_TPS
                                                             : 0.0;
    snprintf(plan->reason, sizeof plan->reason,
             "about %s tokens per second at half the context: %s (%s from %s on)",
             snug_rate_text(tps, text), meaning, snug_plan_grade_name(plan->grade),
             snug_rate_text(threshold, limit));
}

static snug_status copy_names(const struct snug__problem *p, const int *types,
                              struct snug_plan *plan, struct snug_error *err)
{
    size_t n = 0;
    for (int t = 0; t < p->n_tensors; t++)
        n += strlen(p->model->tensors[t].name) + 1;
    plan->n_tensors = p->n_tensors;
    plan->names = malloc((size_t)p->n_tensors * sizeof *plan->names + n);
    plan->types = malloc((size_t)p->n_tensors * sizeof *plan->types);
    if (!plan->names || !plan->types) {
        snug_plan_clear(plan);
        return snug_fail(err, SNUG_NO_MEMORY, "a plan of %d tensors", p->n_tensors);
    }
    char *text = (char *)(plan->names + p->n_tensors);
    for (int t = 0; t < p->n_tensors; t++) {
        const size_t length = strlen(p->model->tensors[t].name) + 1;
        plan->names[t] = memcpy(text, p->model->tensors[t].name, length);
        text += length;
        plan->types[t] = types[t];
    }
    return SNUG_OK;
}

snug_status snug__plan_fill(const struct snug__problem *p, const struct snug__candidate *c,
                            const int *types, struct snug_plan *out, struct snug_error *err)
{
    struct snug_plan plan = {.type_k = c->shape.type_k,
                             .type_v = c->shape.type_v,
                             .flash_attn = c->shape.flash_attn,
                             .n_ctx = c->shape.n_ctx,
                             .n_parallel = c->shape.n_parallel,
                             .n_gpu_layers = c->shape.n_gpu_layers,
                             .n_batch = c->shape.n_batch,
                             .n_ubatch = c->shape.n_ubatch,
                             .n_threads = p->law->n_threads,
                             .n_params = p->model->n_params};
    struct snug_law_load load;
    uint64_t over = 0;
    const snug_status status = copy_names(p, types, &plan, err);
    if (status != SNUG_OK)
        return status;
    snprintf(plan.model_name, sizeof plan.model_name, "%s", p->model->name);
    /* A file that is not here yet will have a hash of its own. */
    snprintf(plan.model_hash, sizeof plan.model_hash, "%s",
             p->model->has_data ? p->model->hash : "");
    snprintf(plan.arch, sizeof plan.arch, "%s", p->model->arch);
    snprintf(plan.machine, sizeof plan.machine, "%s", p->law->machine);
    snprintf(plan.law_source, sizeof plan.law_source, "%s", p->law->source);
    fill_tiers(p, c, &plan);
    const uint64_t missing = fill_weights(p, c, &plan, &over);
    fill_host(p, &plan);
    fill_load(p, c, &plan, &load);
    spill(p, &load, over, plan.tiers[p->host].weights + over);
    fill_speeds(p, &load, &plan);
    fill_loss(p, c, &plan);
    grade(missing, &plan);
    *out = plan;
    return SNUG_OK;
}
