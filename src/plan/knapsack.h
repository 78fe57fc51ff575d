/* The multiple-choice knapsack: one option of every item, least total cost, bytes within a budget.
 *
 * Exact to the byte, without a grain: the linear relaxation gives a price per byte and with it a
 * lower bound; an option whose reduced cost is above the gap between the best known choice and the
 * bound is out; what is left, items nearest to the price first, goes through a dynamic program over
 * lists of (bytes, cost) from which dominated and too dear states are dropped. Source: D. Pisinger,
 * A minimal algorithm for the multiple-choice knapsack problem, European Journal of Operational
 * Research 83 (1995), sections 3-5; the lists as in its section 5. */
#ifndef SNUG_PLAN_KNAPSACK_H
#define SNUG_PLAN_KNAPSACK_H

#include "snug/base.h"

#define SNUG__KNAPSACK_ITEMS_MAX 65536
#define SNUG__KNAPSACK_OPTIONS_MAX 64 /* of an item */

struct snug__knapsack_option {
    uint64_t bytes; /* below 2^53: sums are exact */
    double cost;    /* any finite number */
};

struct snug__knapsack_item {
    const struct snug__knapsack_option *options;
    int n; /* 1 .. SNUG__KNAPSACK_OPTIONS_MAX */
};

/* Items made ready; opaque. Zero state is empty. */
struct snug__knapsack {
    int n_items;
    int *begin;      /* [n_items + 1] into the arrays below */
    uint64_t *bytes; /* of each option that nothing dominates, by item, bytes ascending */
    double *cost;    /* strictly descending */
    int *id;         /* index in the item as given */
    struct snug__knapsack_step *steps; /* of the convex hulls, best gain per byte first */
    int n_steps;
    uint64_t bytes_min, bytes_max; /* of the smallest choice; of the one of least cost */
    double cost_min;
};

struct snug__knapsack_answer {
    uint64_t bytes;
    double cost;
    double bound;   /* no choice costs less; equal to cost when proved */
    bool is_proved; /* false: the lists grew beyond their cap and were thinned */
    int n_states;   /* looked at */
};

/* Copies the items. Cost: n log n in the number of options.
 * Errors  SNUG_BAD_INPUT for an item without options or above a cap, or a cost that is not finite.
 */
snug_status snug__knapsack_init(struct snug__knapsack *k, const struct snug__knapsack_item *items,
                                int n_items, struct snug_error *err) SNUG_CHECKED;
void snug__knapsack_clear(struct snug__knapsack *k);

/* out_choice[n_items]: indices into the items' options as given. Same input, same answer.
 * Errors  SNUG_INFEASIBLE: even the smallest options need more; says how many bytes. */
snug_status snug__knapsack_solve(const struct snug__knapsack *k, uint64_t budget_bytes,
                                 int *out_choice, struct snug__knapsack_answer *out,
                                 struct snug_error *err) SNUG_CHECKED;
/* The lower bound of the linear relaxation alone, and the bytes and cost of the greedy choice (out
 * may be NULL); HUGE_VAL when nothing fits. Cost: linear. */
double snug__knapsack_bound(const struct snug__knapsack *k, uint64_t budget_bytes, int *out_choice,
                            struct snug__knapsack_answer *out);

#endif
