/* The exact part: lists of states over the items that the relaxation leaves open.
 *
 * With the price p of the relaxation every option has a reduced cost r >= 0: its cost + p * bytes,
 * less that of the item's choice at the break. A whole choice costs bound + sum(r) + p * (bytes
 * left over), so a state whose sum(r) is not below the gap cannot lead to anything better. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/knapsack_internal.h"
#include "snug/units.h"

#define STATES_MAX 65536 /* of a list; a longer one is thinned, and nothing is proved then */

struct state {
    int64_t bytes; /* beyond the choice at the break */
    double r;      /* sum of reduced costs */
    int node;      /* how it came about; -1: the choice at the break */
};

struct node {
    int parent, item, option;
};

struct open_item {
    int item;
    double r_least;      /* of its options but the one at the break */
    int64_t most, least; /* change of bytes that its options can bring */
};

struct solving {
    const struct snug__knapsack *k;
    double price, gap;
    int64_t slack; /* bytes that the break leaves over */
    int *at;       /* [n_items] the choice at the break */
    struct open_item *open;
    int n_open;
    struct state *list, *next, *merged;
    int n_list, cap_list;
    struct node *nodes;
    int n_nodes, cap_nodes;
    int best; /* node of the best choice; -2: the greedy one */
    bool is_thinned;
    int n_states;
    int64_t rest_most, rest_least; /* what the items to come can change */
};

static double reduced(const struct solving *s, int item, int option)
{
    const struct snug__knapsack *k = s->k;
    const int base = s->at[item];
    const double bytes = (double)k->bytes[option] - (double)k->bytes[base];
    return fmax(k->cost[option] - k->cost[base] + s->price * bytes, 0.0);
}

static int compare_open(const void *a, const void *b)
{
    const struct open_item *x = a, *y = b;
    if (x->r_least < y->r_least || x->r_least > y->r_least)
        return x->r_least < y->r_least ? -1 : 1;
    return x->item - y->item;
}

static void find_open(struct solving *s)
{
    for (int i = 0; i < s->k->n_items; i++) {
        struct open_item open = {.item = i, .r_least = HUGE_VAL};
        for (int j = s->k->begin[i]; j < s->k->begin[i + 1]; j++) {
            const double r = reduced(s, i, j);
            if (j == s->at[i] || r >= s->gap)
                continue;
            const int64_t change = (int64_t)s->k->bytes[j] - (int64_t)s->k->bytes[s->at[i]];
            open.r_least = fmin(open.r_least, r);
            open.most = change > open.most ? change : open.most;
            open.least = change < open.least ? change : open.least;
        }
        if (open.r_least < HUGE_VAL)
            s->open[s->n_open++] = open;
    }
    qsort(s->open, (size_t)s->n_open, sizeof *s->open, compare_open);
    for (int o = 0; o < s->n_open; o++) {
        s->rest_most += s->open[o].most;
        s->rest_least += s->open[o].least;
    }
}

static snug_status reserve_lists(struct solving *s, int n, struct snug_error *err)
{
    if (n <= s->cap_list)
        return SNUG_OK;
    const int cap = n + n / 2 + 256;
    struct state **lists[] = {&s->list, &s->next, &s->merged};
    for (int i = 0; i < 3; i++) {
        struct state *grown = realloc(*lists[i], (size_t)cap * sizeof *grown);
        if (!grown)
            return snug_fail(err, SNUG_NO_MEMORY, "%d states of a knapsack", cap);
        *lists[i] = grown;
    }
    s->cap_list = cap;
    return SNUG_OK;
}

static snug_status reserve_nodes(struct solving *s, int n, struct snug_error *err)
{
    if (s->n_nodes + n <= s->cap_nodes)
        return SNUG_OK;
    const int cap = 2 * (s->n_nodes + n) + 1024;
    struct node *grown = realloc(s->nodes, (size_t)cap * sizeof *grown);
    if (!grown)
        return snug_fail(err, SNUG_NO_MEMORY, "%d nodes of a knapsack", cap);
    s->nodes = grown;
    s->cap_nodes = cap;
    return SNUG_OK;
}

/* The part of a state's cost that tells states apart. */
static double partial(const struct solving *s, const struct state *x)
{
    return x->r - s->price * (double)x->bytes;
}

/* Can a state still become better than the best? */
static bool is_hopeful(const struct solving *s, const struct state *x)
{
    if (x->bytes + s->rest_least > s->slack)
        return false;
    const int64_t left = s->slack - x->bytes - s->rest_most;
    return x->r + s->price * (left > 0 ? (double)left : 0.0) < s->gap;
}

/* Append unless the last one dominates it; input comes with bytes ascending. */
static int push(const struct solving *s, struct state *list, int n, const struct state *x)
{
    if (n > 0 && partial(s, x) >= partial(s, &list[n - 1]))
        return n;
    if (n > 0 && list[n - 1].bytes == x->bytes)
        n--;
    list[n] = *x;
    return n + 1;
}

/* next := next merged with list shifted by one option. */
static int merge_option(struct solving *s, int n_next, int item, int option)
{
    const int64_t shift = (int64_t)s->k->bytes[option] - (int64_t)s->k->bytes[s->at[item]];
    const double r = reduced(s, item, option);
    int n = 0, a = 0;
    for (int b = 0; b <= s->n_list; b++) {
        struct state moved = {.bytes = INT64_MAX};
        if (b < s->n_list) {
            moved = (struct state){s->list[b].bytes + shift, s->list[b].r + r, -1};
            if (moved.r >= s->gap)
                continue;
        }
        for (; a < n_next && s->next[a].bytes <= moved.bytes; a++)
            n = push(s, s->merged, n, &s->next[a]);
        if (b == s->n_list)
            break;
        moved.node = s->n_nodes; /* kept only when the state is */
        s->nodes[moved.node] = (struct node){s->list[b].node, item, option};
        n = push(s, s->merged, n, &moved);
        s->n_nodes += s->merged[n - 1].node == moved.node;
    }
    struct state *swap = s->next;
    s->next = s->merged;
    s->merged = swap;
    return n;
}

/* The best whole choice among the states: the last that fits, since cost falls with bytes. */
static void look_for_better(struct solving *s)
{
    for (int i = s->n_list - 1; i >= 0; i--) {
        if (s->list[i].bytes > s->slack)
            continue;
        const double gap = s->list[i].r + s->price * (double)(s->slack - s->list[i].bytes);
        if (gap < s->gap) {
            s->gap = gap;
            s->best = s->list[i].node;
        }
        return;
    }
}

static void prune(struct solving *s)
{
    int n = 0;
    for (int i = 0; i < s->n_list; i++) {
        if (is_hopeful(s, &s->list[i]))
            s->list[n++] = s->list[i];
    }
    s->n_list = n;
    if (n <= STATES_MAX)
        return;
    s->is_thinned = true; /* every second: neighbours differ least */
    for (int i = 0; i < n / 2; i++)
        s->list[i] = s->list[2 * i];
    s->n_list = n / 2;
}

static snug_status run(struct solving *s, struct snug_error *err)
{
    snug_status status = reserve_lists(s, 1, err);
    if (status != SNUG_OK)
        return status;
    s->list[0] = (struct state){0, 0.0, -1};
    s->n_list = 1;
    look_for_better(s);
    for (int o = 0; o < s->n_open && s->n_list > 0 && s->gap > 0.0; o++) {
        const struct open_item *open = &s->open[o];
        const int begin = s->k->begin[open->item], end = s->k->begin[open->item + 1];
        if (open->r_least >= s->gap)
            break; /* nor any after it */
        s->rest_most -= open->most;
        s->rest_least -= open->least;
        status = reserve_lists(s, s->n_list * (end - begin), err);
        if (status == SNUG_OK)
            status = reserve_nodes(s, s->n_list * (end - begin), err);
        if (status != SNUG_OK)
            return status;
        memcpy(s->next, s->list, (size_t)s->n_list * sizeof *s->list);
        int n_next = s->n_list;
        for (int j = begin; j < end; j++) {
            if (j != s->at[open->item] && reduced(s, open->item, j) < s->gap)
                n_next = merge_option(s, n_next, open->item, j);
        }
        struct state *swap = s->list;
        s->list = s->next;
        s->next = swap;
        s->n_list = n_next;
        s->n_states += n_next;
        look_for_better(s);
        prune(s);
    }
    return SNUG_OK;
}

static snug_status solve(struct solving *s, int *greedy, struct snug_error *err)
{
    s->open = malloc(((size_t)s->k->n_items + 1) * sizeof *s->open);
    if (!s->open)
        return snug_fail(err, SNUG_NO_MEMORY, "a knapsack of %d items", s->k->n_items);
    find_open(s);
    const snug_status status = run(s, err);
    if (status == SNUG_OK && s->best != -2) {
        memcpy(greedy, s->at, (size_t)s->k->n_items * sizeof *greedy);
        for (int node = s->best; node >= 0; node = s->nodes[node].parent)
            greedy[s->nodes[node].item] = s->nodes[node].option;
    }
    free(s->open);
    free(s->list);
    free(s->next);
    free(s->merged);
    free(s->nodes);
    return status;
}

snug_status snug__knapsack_solve(const struct snug__knapsack *k, uint64_t budget, int *out_choice,
                                 struct snug__knapsack_answer *out, struct snug_error *err)
{
    if (k->bytes_min > budget) {
        char need[SNUG_UNIT_TEXT_MAX], have[SNUG_UNIT_TEXT_MAX];
        return snug_fail(err, SNUG_INFEASIBLE, "even the smallest types need %s, and there are %s",
                         snug_bytes_text(k->bytes_min, need), snug_bytes_text(budget, have));
    }
    uint64_t bytes = 0;
    int *at = malloc(((size_t)k->n_items + 1) * sizeof *at);
    if (!at)
        return snug_fail(err, SNUG_NO_MEMORY, "a knapsack of %d items", k->n_items);
    struct solving s = {.k = k, .at = at, .best = -2};
    s.price = snug__knapsack_relax(k, budget, at, &bytes);
    s.slack = (int64_t)(budget - bytes);
    const double bound = snug__knapsack_cost(k, at) - s.price * (double)s.slack;
    for (int i = 0; i < k->n_items; i++)
        out_choice[i] = at[i];
    snug__knapsack_fill(k, budget, out_choice, &bytes);
    s.gap = snug__knapsack_cost(k, out_choice) - bound;
    snug_status status = SNUG_OK;
    if (s.price > 0.0 && s.gap > 0.0)
        status = solve(&s, out_choice, err);
    if (status == SNUG_OK) {
        *out = (struct snug__knapsack_answer){.cost = snug__knapsack_cost(k, out_choice),
                                              .is_proved = !s.is_thinned,
                                              .n_states = s.n_states};
        out->bound = s.is_thinned ? bound : out->cost;
        for (int i = 0; i < k->n_items; i++) {
            out->bytes += k->bytes[out_choice[i]];
            out_choice[i] = k->id[out_choice[i]];
        }
    }
    free(at);
    return status;
}
