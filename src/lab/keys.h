/* Rows of a plan by their keys. */
#ifndef SNUG_LAB_KEYS_H
#define SNUG_LAB_KEYS_H

#include "lab/rounds.h"

struct snug__lab_keys {
    const struct snug_lab_plan *plan;
    const struct snug_lab_row **sorted;
};

/* Borrows the plan. */
snug_status snug__lab_keys_init(struct snug__lab_keys *keys, const struct snug_lab_plan *plan,
                                struct snug_error *err) SNUG_CHECKED;
/* Place of a row in the plan, or -1. O(log n). */
int snug__lab_keys_find(const struct snug__lab_keys *keys, const char *key);
void snug__lab_keys_clear(struct snug__lab_keys *keys);

#endif
