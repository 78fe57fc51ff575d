/* Any bytes as plan.json. What is accepted keeps the caps, and is written and read again alike. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/check.h"
#include "plan/plan_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snug_error err = {0};
    struct snug_plan plan = {.n_tensors = -7}, again;
    if (snug__plan_parse("fuzz", (const char *)data, n, &plan, &err) != SNUG_OK) {
        check(err.text[0] && plan.n_tensors == -7);
        return 0;
    }
    check(plan.n_tensors >= 0 && plan.n_tensors <= SNUG_GGUF_TENSORS_MAX);
    check(plan.n_tiers >= 0 && plan.n_tiers <= SNUG_TIERS_MAX);
    check(plan.n_depths >= 0 && plan.n_depths <= SNUG_PLAN_DEPTHS_MAX);
    check(plan.n_notes >= 0 && plan.n_notes <= SNUG_PLAN_NOTES_MAX);
    check(strcmp(snug_model_type_name(plan.type_k), "?") != 0);
    for (int i = 0; i < plan.n_tensors; i++) {
        check(plan.names[i][0] && strlen(plan.names[i]) <= SNUG_GGUF_TENSOR_NAME_MAX);
        check(strcmp(snug_model_type_name(plan.types[i]), "?") != 0);
    }
    char *text = snug_plan_to_json(&plan);
    check(text && snug__plan_parse("again", text, strlen(text), &again, &err) == SNUG_OK);
    char *same = snug_plan_to_json(&again);
    check(same && strcmp(text, same) == 0);
    free(text);
    free(same);
    snug_plan_clear(&plan);
    snug_plan_clear(&again);
    return 0;
}
