/* Rows of a plan by their keys: a sorted list of pointers. */
#include "lab/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare_rows(const void *a, const void *b)
{
    return strcmp((*(const struct snug_lab_row *const *)a)->key,
                  (*(const struct snug_lab_row *const *)b)->key);
}

snug_status snug__lab_keys_init(struct snug__lab_keys *keys, const struct snug_lab_plan *plan,
                                struct snug_error *err)
{
    keys->plan = plan;
    keys->sorted = calloc((size_t)plan->n_rows + 1, sizeof *keys->sorted);
    if (!keys->sorted)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for the rows of a plan");
    for (int i = 0; i < plan->n_rows; i++)
        keys->sorted[i] = &plan->rows[i];
    qsort(keys->sorted, (size_t)plan->n_rows, sizeof *keys->sorted, compare_rows);
    return SNUG_OK;
}

int snug__lab_keys_find(const struct snug__lab_keys *keys, const char *key)
{
    struct snug_lab_row wanted = {.block = 0};
    const struct snug_lab_row *at = &wanted;
    snprintf(wanted.key, sizeof wanted.key, "%s", key);
    const struct snug_lab_row **found =
        bsearch(&at, keys->sorted, (size_t)keys->plan->n_rows, sizeof *keys->sorted, compare_rows);
    return found ? (int)(*found - keys->plan->rows) : -1;
}

void snug__lab_keys_clear(struct snug__lab_keys *keys)
{
    free(keys->sorted);
    keys->sorted = NULL;
}
