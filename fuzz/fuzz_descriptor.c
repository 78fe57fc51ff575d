/* Any bytes as the stored machine and the stored model of a task: a descriptor that is the same
 * again, with distances that are finite and the same both ways. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/check.h"
#include "tune/descriptor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snug__descriptor d, again, none;
    int64_t n_layer = -1;
    int n_threads = -1;
    char *text = strndup((const char *)data, n);
    if (!text)
        return 0;
    const struct snug_task_view view = {.machine_json = text,
                                        .model_json = text,
                                        .load_level = text,
                                        .workload = {(int64_t)n, 128, 0, 1, 4096, "", "", ""}};
    const struct snug_task_view empty = {.workload = view.workload};
    snug__descriptor_of_task(&d, &view, &n_layer, &n_threads);
    snug__descriptor_of_task(&again, &view, NULL, NULL);
    snug__descriptor_of_task(&none, &empty, NULL, NULL);
    check(n_layer >= 0 && n_threads >= 0);
    for (int i = 0; i < SNUG__N_DESCRIPTOR; i++)
        check(isnan(d.value[i]) ? isnan(again.value[i]) : fabs(d.value[i] - again.value[i]) < 1e-9);
    const double far = snug__descriptor_distance(&d, &none);
    check(isfinite(far) && fabs(far - snug__descriptor_distance(&none, &d)) < 1e-9);
    const double similarity = snug__descriptor_similarity(&d, &none);
    check(similarity > 0 && similarity <= 1);
    free(text);
    return 0;
}
