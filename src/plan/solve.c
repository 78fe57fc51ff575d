/* The joint search: types by knapsack inside, cache types, placement and ubatch around it.
 *
 * A candidate fixes everything but the types; its bound is the relaxation's. Candidates are looked
 * at in order of their bounds, and the search ends when the next bound is no better than what is
 * known: the rest cannot win. A target of speed is priced: types minimise loss + price * seconds,
 * and the smallest price that meets the target is found by bisection. Every price gives a lower
 * bound on the loss of all plans that meet the target (Lagrangian duality), so the gap is known.
 * Source: H. Everett, Generalized Lagrange multiplier method, Operations Research 11 (1963). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan/problem.h"
#include "plan/solve.h"
#include "snug/units.h"

#define BISECTIONS 24
static const double WORTH = 1.02; /* times as fast */

/* ---- one candidate ---- */

/* Seconds that types may cost: what a target leaves after everything that types do not change. */
struct allowance {
    double decode_s, prompt_s; /* HUGE_VAL: no target */
};

/* A hair of tolerance: bisection ends at the target from above. */
static bool is_met(const struct snug__targets *g, const struct snug_plan *plan)
{
    return (g->tps <= 0.0 || snug_plan_mid_tps(plan) >= g->tps * (1.0 - 1e-9)) &&
           (g->ttft_s <= 0.0 || plan->ttft_s.value <= g->ttft_s * (1.0 + 1e-9));
}

struct attempt {
    const struct snug__problem *p;
    const struct snug__candidate *c;
    const struct snug__targets *targets;
    struct allowance allowance;
    double fixed_decode_s, fixed_prompt_s; /* of a step, of a prompt: what types do not change */
    int *types, *best_types;
    double best_loss; /* of best_types: weights alone; HUGE_VAL: none meets the targets */
    double bound;     /* of weights alone */
    double beaten_at; /* a bound that is no better than this ends the attempt */
    double *price;    /* of the last attempt that met the targets: a good first guess */
};

/* Whether types use no more seconds than allowed. */
static bool is_allowed(const struct attempt *a, const int *types)
{
    const double slack = 1.0 + 1e-12;
    return (isinf(a->allowance.decode_s) ||
            snug__types_decode_s(a->p, a->c, types) <= a->allowance.decode_s * slack) &&
           (isinf(a->allowance.prompt_s) ||
            snug__types_prompt_s(a->p, a->c, types) <= a->allowance.prompt_s * slack);
}

/* price: nats for using all of what is allowed once. */
static snug_status attempt_price(struct attempt *a, double price, bool is_exact, bool *out_is_met,
                                 struct snug_error *err)
{
    const bool has_decode = !isinf(a->allowance.decode_s),
               has_prompt = !isinf(a->allowance.prompt_s);
    struct snug__types_answer answer;
    const struct snug__prices prices = {
        .loss = isinf(price) ? 0.0 : 1.0,
        .decode = has_decode ? (isinf(price) ? 1.0 : price) / a->allowance.decode_s : 0.0,
        .prompt = has_prompt ? (isinf(price) ? 1.0 : price) / a->allowance.prompt_s : 0.0};
    const snug_status status =
        snug__types_solve(a->p, a->c, &prices, is_exact, a->types, &answer, err);
    if (status != SNUG_OK)
        return status;
    *out_is_met = is_allowed(a, a->types);
    if (!isinf(price))
        a->bound = fmax(a->bound, answer.bound - price * (has_decode + has_prompt));
    if (*out_is_met && answer.loss < a->best_loss) {
        a->best_loss = answer.loss;
        memcpy(a->best_types, a->types, (size_t)a->p->n_tensors * sizeof *a->types);
    }
    return SNUG_OK;
}

static snug_status bisect(struct attempt *a, struct snug_error *err)
{
    bool met = false;
    snug_status status = attempt_price(a, HUGE_VAL, false, &met, err);
    if (status != SNUG_OK || !met)
        return status;               /* even the fastest types are too slow */
    double low = -30.0, high = 20.0; /* ln of the price */
    for (int i = 0; i < BISECTIONS && status == SNUG_OK; i++) {
        const double mid = (low + high) / 2.0;
        status = attempt_price(a, exp(mid), false, &met, err);
        *(met ? &high : &low) = mid;
    }
    /* The relaxation's choice is good; the exact one at the same price, a little better. */
    if (status == SNUG_OK)
        status = attempt_price(a, exp(high), true, &met, err);
    *a->price = exp(high);
    return status;
}

static void set_allowance(struct attempt *a)
{
    a->allowance = (struct allowance){HUGE_VAL, HUGE_VAL};
    if (a->targets->tps > 0.0)
        a->allowance.decode_s = fmax(1.0 / a->targets->tps - a->fixed_decode_s, 1e-12);
    if (a->targets->ttft_s > 0.0)
        a->allowance.prompt_s = fmax(a->targets->ttft_s - a->fixed_prompt_s, 1e-12);
}

/* When nothing is lost that anybody sees, take speed for it: the largest price of seconds at which
 * the loss stays below SNUG_PLAN_LOSS_NONE. */
static snug_status take_speed(struct attempt *a, double loss_free, struct snug_plan *plan,
                              struct snug_error *err)
{
    const double decode = snug__types_decode_s(a->p, a->c, plan->types);
    double low = -30.0, high = 20.0;
    bool has_found = false;
    snug_status status = SNUG_OK;
    for (int i = 0; i < BISECTIONS && status == SNUG_OK; i++) {
        const double mid = (low + high) / 2.0;
        struct snug__types_answer answer;
        const struct snug__prices prices = {.loss = 1.0, .decode = exp(mid) / decode};
        status =
            snug__types_solve(a->p, a->c, &prices, i == BISECTIONS - 1, a->types, &answer, err);
        const bool is_free = status == SNUG_OK && answer.loss <= loss_free;
        *(is_free ? &low : &high) = mid;
        if (is_free) {
            memcpy(a->best_types, a->types, (size_t)a->p->n_tensors * sizeof *a->types);
            has_found = true;
        }
    }
    struct snug_plan faster;
    if (status != SNUG_OK || !has_found)
        return status;
    status = snug__plan_fill(a->p, a->c, a->best_types, &faster, err);
    if (status != SNUG_OK)
        return status;
    if (snug_plan_mid_tps(&faster) > snug_plan_mid_tps(plan) && is_met(a->targets, &faster)) {
        faster.gap_frac = plan->gap_frac;
        snug_plan_clear(plan);
        *plan = faster;
    } else {
        snug_plan_clear(&faster);
    }
    return SNUG_OK;
}

static snug_status solve_free(struct attempt *a, struct snug_plan *out, struct snug_error *err)
{
    struct snug__types_answer answer;
    const struct snug__prices prices = {.loss = 1.0};
    snug_status status = snug__types_solve(a->p, a->c, &prices, true, a->types, &answer, err);
    if (status == SNUG_OK)
        status = snug__plan_fill(a->p, a->c, a->types, out, err);
    if (status != SNUG_OK)
        return status;
    a->bound = fmax(a->bound, answer.bound);
    a->best_loss = answer.loss;
    return SNUG_OK;
}

static snug_status solve_candidate(struct attempt *a, struct snug_plan *out, bool *out_is_met,
                                   struct snug_error *err)
{
    snug_status status = SNUG_OK;
    bool met = false;
    *out_is_met = false;
    set_allowance(a);
    /* The price that met the targets elsewhere mostly shows at once that this cannot be better. */
    if (*a->price > 0.0 && a->beaten_at < HUGE_VAL)
        status = attempt_price(a, *a->price, false, &met, err);
    if (status != SNUG_OK || a->bound > a->beaten_at)
        return status;
    a->best_loss = HUGE_VAL;
    status = solve_free(a, out, err);
    if (status != SNUG_OK)
        return status;
    *out_is_met = out->grade != SNUG_PLAN_INFEASIBLE && is_met(a->targets, out);
    if (out->grade != SNUG_PLAN_INFEASIBLE && !*out_is_met) {
        a->best_loss = HUGE_VAL;
        status = bisect(a, err);
        if (status == SNUG_OK && a->best_loss < HUGE_VAL) {
            snug_plan_clear(out);
            status = snug__plan_fill(a->p, a->c, a->best_types, out, err);
            if (status != SNUG_OK)
                return status;
            *out_is_met = is_met(a->targets, out);
        }
    }
    const double gap = out->loss.value - (a->bound + a->c->cache_loss);
    out->gap_frac = gap > 1e-12 && out->loss.value > 0.0 ? gap / out->loss.value : 0.0;
    const double loss_free = SNUG_PLAN_LOSS_NONE - a->c->cache_loss;
    if (status == SNUG_OK && *out_is_met && a->best_loss < loss_free)
        status = take_speed(a, loss_free, out, err);
    if (status != SNUG_OK)
        snug_plan_clear(out);
    return status;
}

/* ---- all candidates ---- */

/* Least possible loss and most possible speed of a candidate, cheaply: for the order of the search
 * and for its end. */
struct ranked {
    struct snug__candidate c;
    double floor;   /* max(bound, what counts as none) */
    double tps_max; /* at half the context with the smallest seconds of every tensor */
    double fixed_decode_s, fixed_prompt_s; /* what types do not change */
    int index;
};

static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->floor < y->floor || x->floor > y->floor)
        return x->floor < y->floor ? -1 : 1;
    return x->index - y->index;
}

/* Whether the smallest types fit each side. */
static bool is_possible(const struct snug__problem *p, const struct snug__candidate *c)
{
    uint64_t least[2];
    snug__least_bytes(p, c, least);
    if (p->tied >= 0) {
        uint64_t copy = UINT64_MAX;
        for (int o = p->begin[p->tied]; o < p->begin[p->tied + 1]; o++) {
            const uint64_t bytes = snug__tied_copy_bytes(p, c, p->options[o].type);
            copy = bytes < copy ? bytes : copy;
        }
        if (least[1] + copy > c->host_room && !c->is_over_disk)
            return false;
    }
    return least[0] <= c->budget[0] && (least[1] <= c->budget[1] || c->is_over_disk);
}

/* The speed with the fastest type of every tensor, wherever its bytes would go. */
static snug_status most_speed(const struct snug__problem *p, struct ranked *r, int *types,
                              struct snug_error *err)
{
    const struct snug__candidate *c = &r->c;
    struct snug__candidate roomy = *c;
    struct snug_plan plan;
    roomy.budget[0] = roomy.budget[1] = roomy.host_room = UINT64_MAX / 4;
    for (int t = 0; t < p->n_tensors; t++) {
        const int side = snug__problem_side(p, c, t);
        const double *s_per_byte = p->law->tiers[side == 0 ? p->device : p->host].decode_s_per_byte;
        double least = HUGE_VAL;
        for (int o = p->begin[t]; o < p->begin[t + 1]; o++) {
            const double seconds = (double)p->options[o].bytes * s_per_byte[p->options[o].type];
            if (seconds < least) {
                least = seconds;
                types[t] = p->options[o].type;
            }
        }
    }
    const snug_status status = snug__plan_fill(p, &roomy, types, &plan, err);
    if (status != SNUG_OK)
        return status;
    r->tps_max = snug_plan_mid_tps(&plan);
    r->fixed_decode_s = 1.0 / r->tps_max - snug__types_decode_s(p, c, types);
    r->fixed_prompt_s = plan.ttft_s.value - snug__types_prompt_s(p, c, types);
    snug_plan_clear(&plan);
    return SNUG_OK;
}

/* Both sides' bytes taken together can only lose less: a bound for every placement from one list.
 */
static snug_status rank_one(const struct snug__search *s, const struct snug__knapsack *whole,
                            struct ranked *r, struct snug_error *err)
{
    r->floor = HUGE_VAL;
    if (!is_possible(&s->p, &r->c))
        return SNUG_OK;
    uint64_t budget = r->c.budget[0] + r->c.budget[1];
    budget = budget < whole->bytes_min ? whole->bytes_min : budget; /* the rest stays on disk */
    r->c.bound = snug__knapsack_bound(whole, budget, s->types, NULL) + r->c.cache_loss;
    r->floor = fmax(r->c.bound, SNUG_PLAN_LOSS_NONE);
    return most_speed(&s->p, r, s->types, err);
}

/* All tensors as items, by loss alone. */
static snug_status whole_knapsack(const struct snug__problem *p, struct snug__knapsack *out,
                                  struct snug_error *err)
{
    const size_t n = (size_t)p->n_tensors;
    struct snug__knapsack_item *items = malloc(n * sizeof *items);
    struct snug__knapsack_option *options = malloc((size_t)p->begin[n] * sizeof *options);
    snug_status status =
        items && options ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "a plan of %zu tensors", n);
    for (int t = 0; t < p->n_tensors && status == SNUG_OK; t++) {
        items[t] =
            (struct snug__knapsack_item){options + p->begin[t], p->begin[t + 1] - p->begin[t]};
        for (int o = p->begin[t]; o < p->begin[t + 1]; o++)
            options[o] = (struct snug__knapsack_option){p->options[o].bytes, p->options[o].loss};
    }
    if (status == SNUG_OK)
        status = snug__knapsack_init(out, items, p->n_tensors, err);
    free(items);
    free(options);
    return status;
}

static snug_status rank_all(struct snug__search *s, const struct snug__candidate *list, int n,
                            struct snug_error *err)
{
    struct snug__knapsack whole = {.n_items = 0};
    snug_status status = whole_knapsack(&s->p, &whole, err);
    for (int i = 0; i < n && status == SNUG_OK; i++) {
        s->ranked[s->n] = (struct ranked){.c = list[i], .index = i};
        status = rank_one(s, &whole, &s->ranked[s->n], err);
        s->n += status == SNUG_OK && s->ranked[s->n].floor < HUGE_VAL;
    }
    snug__knapsack_clear(&whole);
    return status;
}

snug_status snug__search_open(struct snug__search *s, const struct snug_plan_request *request,
                              struct snug_error *err)
{
    struct snug__candidate *list = NULL;
    *s = (struct snug__search){.n = 0};
    snug_status status = snug__problem_init(&s->p, request, err);
    if (status != SNUG_OK)
        return status;
    int n = 0;
    status = snug__candidates(&s->p, &list, &n, err);
    s->types = malloc((size_t)s->p.n_tensors * sizeof *s->types);
    s->best_types = malloc((size_t)s->p.n_tensors * sizeof *s->best_types);
    s->ranked = status == SNUG_OK ? calloc((size_t)n + 1, sizeof *s->ranked) : NULL;
    if (status == SNUG_OK && (!s->types || !s->best_types || !s->ranked))
        status = snug_fail(err, SNUG_NO_MEMORY, "%d candidates of a plan", n);
    if (status == SNUG_OK)
        status = rank_all(s, list, n, err);
    free(list);
    if (status != SNUG_OK) {
        snug__search_close(s);
        return status;
    }
    qsort(s->ranked, (size_t)s->n, sizeof *s->ranked, compare_ranked);
    return SNUG_OK;
}

void snug__search_close(struct snug__search *s)
{
    snug__problem_clear(&s->p);
    free(s->types);
    free(s->best_types);
    free(s->ranked);
    *s = (struct snug__search){.n = 0};
}

/* Better: less loss, both above what counts as none; then more speed, if it is worth another cache
 * type or placement than the milder one that came first. */
static bool is_better(const struct snug_plan *a, const struct snug_plan *b)
{
    const double x = fmax(a->loss.value, SNUG_PLAN_LOSS_NONE);
    const double y = fmax(b->loss.value, SNUG_PLAN_LOSS_NONE);
    return x < y || (x <= y && snug_plan_mid_tps(a) > WORTH * snug_plan_mid_tps(b));
}

snug_status snug__search_run(struct snug__search *s, const struct snug__targets *targets,
                             struct snug_plan *out, bool *out_is_found, struct snug_error *err)
{
    struct snug_plan best = {.n_tensors = 0};
    snug_status status = SNUG_OK;
    *out_is_found = false;
    for (int i = 0; i < s->n && status == SNUG_OK; i++) {
        const struct ranked *r = &s->ranked[i];
        const double known = fmax(best.loss.value, SNUG_PLAN_LOSS_NONE);
        if (targets->loss_max > 0.0 && r->c.bound > targets->loss_max)
            continue;
        if (*out_is_found && r->floor > known)
            break; /* sorted: nor can any later one be better */
        if (*out_is_found && r->floor >= known && r->tps_max <= WORTH * snug_plan_mid_tps(&best))
            continue;
        if (targets->tps > 0.0 && r->tps_max < targets->tps)
            continue;
        struct snug_plan plan = {.n_tensors = 0};
        struct attempt a = {.p = &s->p,
                            .c = &r->c,
                            .targets = targets,
                            .fixed_decode_s = r->fixed_decode_s,
                            .fixed_prompt_s = r->fixed_prompt_s,
                            .types = s->types,
                            .best_types = s->best_types,
                            .best_loss = HUGE_VAL,
                            .beaten_at = *out_is_found ? known - r->c.cache_loss : HUGE_VAL,
                            .price = &s->price};
        bool met = false;
        status = solve_candidate(&a, &plan, &met, err);
        if (status == SNUG_INFEASIBLE) {
            status = SNUG_OK;
            continue;
        }
        if (status != SNUG_OK)
            break;
        met = met && (targets->loss_max <= 0.0 || plan.loss.value <= targets->loss_max);
        if (met && (!*out_is_found || is_better(&plan, &best))) {
            snug_plan_clear(&best);
            best = plan;
            *out_is_found = true;
        } else {
            snug_plan_clear(&plan);
        }
    }
    if (status != SNUG_OK)
        snug_plan_clear(&best);
    else
        *out = best;
    return status;
}

snug_status snug__search_fastest(struct snug__search *s, double loss_max, struct snug_plan *out,
                                 bool *out_is_found, struct snug_error *err)
{
    const struct snug__prices prices = {.loss = 1e-9, .decode = 1.0};
    snug_status status = SNUG_OK;
    *out_is_found = false;
    for (int i = 0; i < s->n && status == SNUG_OK; i++) {
        struct snug__types_answer answer;
        struct snug_plan plan;
        status = snug__types_solve(&s->p, &s->ranked[i].c, &prices, false, s->types, &answer, err);
        if (status == SNUG_INFEASIBLE) {
            status = SNUG_OK;
            continue;
        }
        if (status == SNUG_OK)
            status = snug__plan_fill(&s->p, &s->ranked[i].c, s->types, &plan, err);
        if (status != SNUG_OK)
            break;
        const bool is_fit =
            plan.grade != SNUG_PLAN_INFEASIBLE && (loss_max <= 0.0 || plan.loss.value <= loss_max);
        if (is_fit && (!*out_is_found || snug_plan_mid_tps(&plan) > snug_plan_mid_tps(out))) {
            if (*out_is_found)
                snug_plan_clear(out);
            *out = plan;
            *out_is_found = true;
        } else {
            snug_plan_clear(&plan);
        }
    }
    return status;
}

/* ---- the public call ---- */

/* Nothing fits: what would. */
static snug_status refuse(struct snug__search *s, struct snug_plan *out, struct snug_error *err)
{
    struct snug__candidate *list = NULL;
    int n = 0, best = 0;
    snug_status status = snug__candidates(&s->p, &list, &n, err);
    if (status == SNUG_OK && n == 0)
        status = snug_fail(err, SNUG_INFEASIBLE, "the engine refuses every context of this shape");
    if (status != SNUG_OK)
        return status;
    for (int t = 0; t < s->p.n_tensors; t++) {
        s->types[t] = snug__option_least(&s->p, t)->type;
    }
    for (int i = 1; i < n; i++) {
        if (list[i].budget[0] + list[i].budget[1] > list[best].budget[0] + list[best].budget[1])
            best = i;
    }
    status = snug__plan_fill(&s->p, &list[best], s->types, out, err);
    free(list);
    if (status != SNUG_OK)
        return status;
    char need[SNUG_UNIT_TEXT_MAX];
    out->grade = SNUG_PLAN_INFEASIBLE;
    snprintf(out->reason, sizeof out->reason,
             "does not fit: even the smallest types take %s with this context",
             snug_bytes_text(out->total_bytes, need));
    snug_plan_note(out, "a shorter context (--context), fewer sequences (--parallel), or a smaller "
                        "model would fit sooner");
    return SNUG_OK;
}

/* Targets that nothing meets: the nearest plan, and what it reaches. */
static snug_status miss(struct snug__search *s, const struct snug__targets *g,
                        struct snug_plan *out, struct snug_error *err)
{
    bool has_found = false;
    snug_status status = snug__search_fastest(s, g->loss_max, out, &has_found, err);
    const bool is_floor_in_the_way = status == SNUG_OK && !has_found;
    const struct snug__targets free_targets = {.tps = 0.0};
    if (is_floor_in_the_way)
        status = snug__search_run(s, &free_targets, out, &has_found, err);
    if (status != SNUG_OK)
        return status;
    if (!has_found)
        return refuse(s, out, err);
    char asked[SNUG_UNIT_TEXT_MAX], got[SNUG_UNIT_TEXT_MAX];
    out->grade = SNUG_PLAN_INFEASIBLE;
    if (is_floor_in_the_way)
        snprintf(out->reason, sizeof out->reason,
                 "no plan that fits loses less than %.3g nats per token; %.3g was the most allowed",
                 out->loss.value, g->loss_max);
    else if (g->tps > 0.0 && snug_plan_mid_tps(out) < g->tps)
        snprintf(out->reason, sizeof out->reason,
                 "no plan reaches %s tokens per second; the fastest makes about %s",
                 snug_rate_text(g->tps, asked), snug_rate_text(snug_plan_mid_tps(out), got));
    else
        snprintf(out->reason, sizeof out->reason,
                 "no plan answers %lld tokens within %s; the fastest takes about %s",
                 (long long)s->p.n_prompt, snug_seconds_text(g->ttft_s, asked),
                 snug_seconds_text(out->ttft_s.value, got));
    return SNUG_OK;
}

/* Usable if it costs little, then slow, then whatever is least bad. */
static snug_status by_grades(struct snug__search *s, const struct snug__targets *g,
                             struct snug_plan *out, bool *found, struct snug_error *err)
{
    const double fair = g->loss_max > 0.0 ? g->loss_max : SNUG_PLAN_LOSS_FAIR;
    const struct snug__targets steps[] = {
        {.tps = SNUG_PLAN_USABLE_TPS, .ttft_s = g->ttft_s, .loss_max = fair},
        {.tps = SNUG_PLAN_SLOW_TPS, .ttft_s = g->ttft_s, .loss_max = fair},
        {.ttft_s = g->ttft_s, .loss_max = g->loss_max},
    };
    snug_status status = SNUG_OK;
    *found = false;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && status == SNUG_OK && !*found; i++)
        status = snug__search_run(s, &steps[i], out, found, err);
    return status;
}

snug_status snug_plan_solve(const struct snug_plan_request *request, struct snug_plan *out,
                            struct snug_error *err)
{
    struct snug__search s;
    struct snug_plan plan;
    bool found = false;
    snug_status status = snug__search_open(&s, request, err);
    if (status != SNUG_OK)
        return status;
    const struct snug__targets g = {.tps = request->target_tps,
                                    .ttft_s = request->target_ttft_s,
                                    .loss_max = request->loss_max};
    if (s.n == 0)
        status = refuse(&s, &plan, err);
    else if (g.tps > 0.0)
        status = snug__search_run(&s, &g, &plan, &found, err);
    else
        status = by_grades(&s, &g, &plan, &found, err);
    if (status == SNUG_OK && s.n > 0 && !found)
        status = miss(&s, &g, &plan, err);
    if (status == SNUG_OK) {
        snug__plan_notes(&s.p, &plan);
        *out = plan;
    }
    snug__search_close(&s);
    return status;
}
