/* Opens any bytes as a sensitivity file of a model of two tensors: what is accepted must hold
 * losses for both, and come back the same when it is written. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snug/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct snug_tensor tensors[] = {
    {.name = "blk.0.attn_q.weight", .type = 1, .n_dims = 2, .ne = {256, 4, 1, 1}},
    {.name = "output_norm.weight", .n_dims = 1, .ne = {256, 1, 1, 1}},
};
static const struct snug_model model = {
    .path = "m.gguf", .n_layer = 1, .hash = "aa", .tensors = tensors, .n_tensors = 2};

static void check(const struct snug_sensitivity *s)
{
    if (s->n_tensors != 2 || s->n_types < 1 || s->n_types > SNUG_PLAN_TYPES_MAX)
        abort();
    for (int i = 0; i < s->n_tensors; i++) {
        bool is_any = false;
        for (int k = 0; k < s->n_types; k++) {
            const struct snug_loss *loss = &s->loss[i * s->n_types + k];
            is_any = is_any || isfinite(loss->value);
            if (isinf(loss->value) || loss->value < 0.0f || !(loss->se >= 0.0f))
                abort();
        }
        if (!is_any)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[64];
    struct snug_error err = {0};
    struct snug_sensitivity s = {0}, again = {0};
    snprintf(path, sizeof path, "/tmp/snug-fuzz-%ld.sens", (long)getpid());
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0)
        return 0;
    if (snug_sensitivity_read(path, &model, &s, &err) == SNUG_OK) {
        check(&s);
        if (snug_sensitivity_write(&s, &model, path, &err) != SNUG_OK ||
            snug_sensitivity_read(path, &model, &again, &err) != SNUG_OK ||
            again.n_types != s.n_types || again.method != s.method)
            abort();
        snug_sensitivity_clear(&again);
    } else if (err.text[0] == '\0') {
        abort(); /* a fault without a word about it */
    }
    snug_sensitivity_clear(&s);
    remove(path);
    return 0;
}
