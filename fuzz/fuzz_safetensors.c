/* Reads any bytes as a safetensors file. What is accepted covers the data exactly. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snug_error err = {0};
    struct snug_arena arena = {0};
    struct snug__st_set set = {.arena = &arena};
    struct snug__source source;
    snug__source_memory("fuzz", data, n, n, &source);
    snug_status status = snug__st_read(&source, &set, &err);
    if (status != SNUG_OK && (err.text[0] == '\0' || err.status != status))
        abort(); /* a fault without a word about it */
    uint64_t bytes = 0;
    for (size_t i = 0; status == SNUG_OK && i < set.n; i++)
        bytes += set.tensors[i].end - set.tensors[i].begin;
    if (bytes > n)
        abort();
    if (status == SNUG_OK && snug__st_sort(&set, &err) == SNUG_OK) {
        for (size_t i = 0; i < set.n; i++) {
            if (snug__st_find(&set, set.tensors[i].name) != &set.tensors[i])
                abort();
        }
    }
    snug__st_clear(&set);
    snug_arena_clear(&arena);
    return 0;
}
