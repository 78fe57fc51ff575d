/* What every fuzz target has: its entry, and how it reports. */
#ifndef SNUG_FUZZ_CHECK_H
#define SNUG_FUZZ_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static inline void check(bool is_kept)
{
    if (!is_kept)
        abort(); /* the fuzzer's way to report */
}

/* The bytes as a text in a block of its own, so that reads past its end are seen; malloc'ed, or
 * NULL: nothing to try. */
static inline char *fuzz_text(const uint8_t *data, size_t n)
{
    char *text = malloc(n + 1);
    if (!text)
        return NULL;
    memcpy(text, data, n);
    text[n] = '\0';
    return text;
}

#endif
