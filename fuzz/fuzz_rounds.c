/* Any bytes as a rounds file: refused with a text that names the file, or a plan that keeps its
 * caps, names every row once, and comes out the same when it is read again. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/check.h"
#include "lab/rounds.h"

static void check_plan(const struct snug_lab_plan *plan)
{
    check(plan->n_rounds >= 2 && plan->n_rounds <= SNUG_LAB_ROUNDS_MAX + 1);
    check(plan->n_models >= 1 && plan->n_models <= SNUG_LAB_MODELS_MAX);
    check(plan->n_workloads >= 1 && plan->n_workloads <= SNUG_LAB_WORKLOADS_MAX);
    check(plan->n_rows > 0 && plan->n_rows <= SNUG_LAB_ROWS_MAX);
    check(plan->rounds[0].name && strcmp(plan->rounds[0].name, "baseline") == 0);
    for (int i = 0; i < plan->n_rows; i++) {
        const struct snug_lab_row *row = &plan->rows[i];
        check(strlen(row->key) == 64);
        check(row->i_round >= 0 && row->i_round < plan->n_rounds);
        check(row->i_model >= 0 && row->i_model < plan->n_models);
        check(row->i_workload >= 0 && row->i_workload < plan->n_workloads);
        check(i == 0 || strcmp(row->key, row[-1].key) != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snug_error err = {0};
    struct snug_lab_plan plan = {0}, again = {0};
    if (snug_lab_plan_parse("fuzz", (const char *)data, n, &plan, &err) != SNUG_OK) {
        check(!plan.rows && strncmp(err.text, "fuzz:", 5) == 0);
        return 0;
    }
    check_plan(&plan);
    struct snug_buffer text = {0};
    snug_lab_plan_write(&plan, true, &text);
    check(text.len > 0);
    snug_buffer_clear(&text);
    check(snug_lab_plan_parse("fuzz", (const char *)data, n, &again, &err) == SNUG_OK);
    check(strcmp(plan.hash, again.hash) == 0 && plan.n_rows == again.n_rows);
    check(strcmp(plan.rows[plan.n_rows - 1].key, again.rows[again.n_rows - 1].key) == 0);
    snug_lab_plan_clear(&plan);
    snug_lab_plan_clear(&again);
    return 0;
}
