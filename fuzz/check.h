/* What every fuzz target has: its entry, and how it reports. */
#ifndef SNUG_FUZZ_CHECK_H
#define SNUG_FUZZ_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static inline void check(bool is_kept)
{
    if (!is_kept)
        abort(); /* the fuzzer's way to report */
}

#endif
