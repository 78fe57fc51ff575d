/* Any bytes as the hub's list of files; what is chosen is a file name of the list. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const quants[] = {NULL, "q4_k_m", "f16"};
    for (size_t i = 0; i < sizeof quants / sizeof quants[0]; i++) {
        struct snug_error err = {0};
        char out[64] = "";
        snug_status status =
            snug__hub_choose("hf:a/b", quants[i], (const char *)data, n, out, sizeof out, &err);
        if (status == SNUG_OK ? strlen(out) < 6 : err.text[0] == '\0')
            abort();
    }
    return 0;
}
