/* Opens any bytes as a model. The sanitizers watch; what opens must also add up. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/synth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snug_error err = {0};
    struct snug_model model;
    struct snug__source source;
    snug__source_memory("fuzz", data, n, n, &source);
    snug_status status = snug__model_open_source("fuzz", &source, &model, &err);
    if (status != SNUG_OK) {
        if (err.text[0] == '\0' || err.status != status)
            abort(); /* a fault without a word about it */
        return 0;
    }
    uint64_t bytes = 0;
    for (int i = 0; i < model.n_tensors; i++)
        bytes += model.tensors[i].bytes;
    if (bytes != model.bytes_tensors || bytes > n || strlen(model.hash) != 64)
        abort();
    snug_model_clear(&model);
    return 0;
}
