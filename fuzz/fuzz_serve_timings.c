/* Any bytes as an answer: the same in pieces as at once, and figures within bounds. The first byte
 * is the size of the pieces. */
#include "fuzz/check.h"
#include "serve/timings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snug__timings_tail whole = {.n = 0}, pieces = {.n = 0};
    struct snug__timings at_once = {.gen_s = -7}, in_pieces = {.gen_s = -7};
    if (n == 0)
        return 0;
    const size_t step = (size_t)data[0] * 8 + 1;
    const char *bytes = (const char *)data + 1;
    n--;
    snug__timings_pass(&whole, bytes, n);
    for (size_t i = 0; i < n; i += step)
        snug__timings_pass(&pieces, bytes + i, step < n - i ? step : n - i);
    const bool is_found = snug__timings_find(&whole, &at_once);
    check(snug__timings_find(&pieces, &in_pieces) == is_found);
    if (!is_found) {
        check(at_once.gen_s == -7);
        return 0;
    }
    check(at_once.n_prompt == in_pieces.n_prompt && at_once.gen_s == in_pieces.gen_s);
    check(at_once.n_prompt >= 0 && at_once.n_prompt <= 1e9 && at_once.prompt_s <= 1e6);
    check(at_once.n_gen >= 0 && at_once.n_gen <= 1e9 && at_once.gen_s <= 1e6);
    check((at_once.n_gen > 0) == (at_once.gen_s > 0));
    check(at_once.n_gen > 0 || at_once.n_prompt > 0);
    return 0;
}
