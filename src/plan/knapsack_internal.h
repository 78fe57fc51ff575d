/* Shared by the knapsack's two files. */
#ifndef SNUG_PLAN_KNAPSACK_INTERNAL_H
#define SNUG_PLAN_KNAPSACK_INTERNAL_H

#include "plan/knapsack.h"

struct snug__knapsack_step {
    double gain; /* cost saved per byte, > 0 */
    int item, from, to;
};

double snug__knapsack_relax(const struct snug__knapsack *k, uint64_t budget, int *at,
                            uint64_t *out_bytes);
void snug__knapsack_fill(const struct snug__knapsack *k, uint64_t budget, int *at, uint64_t *bytes);
double snug__knapsack_cost(const struct snug__knapsack *k, const int *at);

#endif
