/* Making ready: dominance, convex hulls, steps in order of gain per byte; and the relaxation. */
#include "plan/knapsack_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "snug/units.h"

static const uint64_t BYTES_MAX = 1ull << 53;

struct sorted {
    uint64_t bytes;
    double cost;
    int id;
};

static int compare_options(const void *a, const void *b)
{
    const struct sorted *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    if (x->cost < y->cost || x->cost > y->cost)
        return x->cost < y->cost ? -1 : 1;
    return x->id - y->id;
}

/* Best first; among equals the order of the items, so that the answer never depends on qsort. */
static int compare_steps(const void *a, const void *b)
{
    const struct snug__knapsack_step *x = a, *y = b;
    if (x->gain < y->gain || x->gain > y->gain)
        return x->gain > y->gain ? -1 : 1;
    return x->item != y->item ? x->item - y->item : x->to - y->to;
}

/* Keep what nothing dominates: bytes ascending, cost strictly descending. */
static snug_status add_item(struct snug__knapsack *k, int i, const struct snug__knapsack_item *item,
                            struct snug_error *err)
{
    struct sorted sorted[SNUG__KNAPSACK_OPTIONS_MAX];
    if (item->n < 1 || item->n > SNUG__KNAPSACK_OPTIONS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "item %d has %d options; 1 to %d are accepted", i,
                         item->n, SNUG__KNAPSACK_OPTIONS_MAX);
    for (int j = 0; j < item->n; j++) {
        sorted[j] = (struct sorted){item->options[j].bytes, item->options[j].cost, j};
        if (!isfinite(sorted[j].cost) || sorted[j].bytes > BYTES_MAX)
            return snug_fail(err, SNUG_BAD_INPUT, "item %d, option %d: cost %g, %" PRIu64 " bytes",
                             i, j, sorted[j].cost, sorted[j].bytes);
    }
    qsort(sorted, (size_t)item->n, sizeof *sorted, compare_options);
    int at = k->begin[i];
    for (int j = 0; j < item->n; j++) {
        if (j > 0 && sorted[j].cost >= k->cost[at - 1])
            continue;
        k->bytes[at] = sorted[j].bytes;
        k->cost[at] = sorted[j].cost;
        k->id[at++] = sorted[j].id;
    }
    k->begin[i + 1] = at;
    return SNUG_OK;
}

/* The lower convex hull of an item's options, as steps from one corner to the next. */
static void add_steps(struct snug__knapsack *k, int i)
{
    int hull[SNUG__KNAPSACK_OPTIONS_MAX], n = 0;
    for (int j = k->begin[i]; j < k->begin[i + 1]; j++) {
        while (n > 1) {
            const int a = hull[n - 2], b = hull[n - 1];
            const double gain_b = (k->cost[a] - k->cost[b]) / (double)(k->bytes[b] - k->bytes[a]);
            const double gain_j = (k->cost[a] - k->cost[j]) / (double)(k->bytes[j] - k->bytes[a]);
            if (gain_j < gain_b)
                break;
            n--;
        }
        hull[n++] = j;
    }
    for (int h = 1; h < n; h++) {
        const int a = hull[h - 1], b = hull[h];
        k->steps[k->n_steps++] = (struct snug__knapsack_step){
            (k->cost[a] - k->cost[b]) / (double)(k->bytes[b] - k->bytes[a]), i, a, b};
    }
}

static snug_status allocate(struct snug__knapsack *k, const struct snug__knapsack_item *items,
                            int n_items, struct snug_error *err)
{
    size_t n = 0;
    for (int i = 0; i < n_items; i++)
        n += items[i].n > 0 ? (size_t)items[i].n : 0;
    k->begin = calloc((size_t)n_items + 1, sizeof *k->begin);
    k->bytes = malloc((n + 1) * sizeof *k->bytes);
    k->cost = malloc((n + 1) * sizeof *k->cost);
    k->id = malloc((n + 1) * sizeof *k->id);
    k->steps = malloc((n + 1) * sizeof *k->steps);
    if (!k->begin || !k->bytes || !k->cost || !k->id || !k->steps)
        return snug_fail(err, SNUG_NO_MEMORY, "a knapsack of %zu options", n);
    return SNUG_OK;
}

snug_status snug__knapsack_init(struct snug__knapsack *k, const struct snug__knapsack_item *items,
                                int n_items, struct snug_error *err)
{
    *k = (struct snug__knapsack){.n_items = n_items};
    if (n_items < 0 || n_items > SNUG__KNAPSACK_ITEMS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%d items; at most %d are accepted", n_items,
                         SNUG__KNAPSACK_ITEMS_MAX);
    snug_status status = allocate(k, items, n_items, err);
    for (int i = 0; status == SNUG_OK && i < n_items; i++) {
        status = add_item(k, i, &items[i], err);
        if (status == SNUG_OK)
            add_steps(k, i);
    }
    if (status != SNUG_OK) {
        snug__knapsack_clear(k);
        return status;
    }
    for (int i = 0; i < n_items; i++) {
        k->bytes_min += k->bytes[k->begin[i]];
        k->bytes_max += k->bytes[k->begin[i + 1] - 1];
        k->cost_min += k->cost[k->begin[i + 1] - 1];
    }
    qsort(k->steps, (size_t)k->n_steps, sizeof *k->steps, compare_steps);
    return SNUG_OK;
}

void snug__knapsack_clear(struct snug__knapsack *k)
{
    free(k->begin);
    free(k->bytes);
    free(k->cost);
    free(k->id);
    free(k->steps);
    *k = (struct snug__knapsack){0};
}

/* ---- the relaxation ---- */

/* at[n_items]: the choice of the relaxation where it breaks. Returns the price per byte there, 0
 * when everything fits. */
double snug__knapsack_relax(const struct snug__knapsack *k, uint64_t budget, int *at,
                            uint64_t *out_bytes)
{
    uint64_t bytes = k->bytes_min;
    for (int i = 0; i < k->n_items; i++)
        at[i] = k->begin[i];
    for (int s = 0; s < k->n_steps; s++) {
        const struct snug__knapsack_step *step = &k->steps[s];
        const uint64_t more = k->bytes[step->to] - k->bytes[step->from];
        if (bytes + more > budget) {
            *out_bytes = bytes;
            return step->gain;
        }
        bytes += more;
        at[step->item] = step->to;
    }
    *out_bytes = bytes;
    return 0.0;
}

/* Use up what the break leaves: later steps that still fit, then any option that does. */
void snug__knapsack_fill(const struct snug__knapsack *k, uint64_t budget, int *at, uint64_t *bytes)
{
    for (int s = 0; s < k->n_steps; s++) {
        const struct snug__knapsack_step *step = &k->steps[s];
        const uint64_t more = k->bytes[step->to] - k->bytes[step->from];
        if (at[step->item] == step->from && *bytes + more <= budget) {
            at[step->item] = step->to;
            *bytes += more;
        }
    }
    for (int i = 0; i < k->n_items; i++) {
        while (at[i] + 1 < k->begin[i + 1] &&
               *bytes + k->bytes[at[i] + 1] - k->bytes[at[i]] <= budget) {
            *bytes += k->bytes[at[i] + 1] - k->bytes[at[i]];
            at[i]++;
        }
    }
}

double snug__knapsack_cost(const struct snug__knapsack *k, const int *at)
{
    double cost = 0.0;
    for (int i = 0; i < k->n_items; i++)
        cost += k->cost[at[i]];
    return cost;
}

double snug__knapsack_bound(const struct snug__knapsack *k, uint64_t budget, int *out_choice,
                            struct snug__knapsack_answer *out)
{
    uint64_t bytes = 0;
    if (k->bytes_min > budget)
        return HUGE_VAL;
    const double price = snug__knapsack_relax(k, budget, out_choice, &bytes);
    const double bound = snug__knapsack_cost(k, out_choice) - price * (double)(budget - bytes);
    snug__knapsack_fill(k, budget, out_choice, &bytes);
    if (out)
        *out = (struct snug__knapsack_answer){
            .bytes = bytes, .cost = snug__knapsack_cost(k, out_choice), .bound = bound};
    for (int i = 0; i < k->n_items; i++)
        out_choice[i] = k->id[out_choice[i]];
    return bound;
}
