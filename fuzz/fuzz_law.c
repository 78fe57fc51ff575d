/* Any bytes as a calibration on disk and as a saved probe: refused with a text, or a law that gives
 * speeds which are not negative. */
#include <math.h>
#include <stdlib.h>

#include <ggml.h>

#include "fuzz/check.h"
#include "plan/law_fit.h"

static void predict(const struct snug_law *law)
{
    struct snug_law_load load = {.type_k = GGML_TYPE_F16, .type_v = GGML_TYPE_Q8_0, .n_head = 8};
    check(law->n_tiers >= 1 && law->n_tiers <= SNUG_TIERS_MAX && law->n_threads >= 1);
    for (int t = 0; t < law->n_tiers; t++) {
        load.n_layer[t] = 3;
        load.weight_bytes[t][GGML_TYPE_Q4_0] = load.weight_elements[t][GGML_TYPE_Q4_0] = 1 << 20;
    }
    load.n_ubatch = 64;
    check(!(snug_law_decode_tps(law, &load, 100).value < 0.0));
    check(!(snug_law_prefill_tps(law, &load, 100, 10).value < 0.0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct snug__calibration c;
    struct snug_law law;
    struct snug_error err = {0};
    const struct snug_law_request request = {.machine = "fuzz"};
    if (snug__calibration_parse("fuzz", (const char *)data, n, &c, &err) == SNUG_OK) {
        snug__calibration_at(&c, 1, &law);
        predict(&law);
        predict(&c.laws[0]);
    } else {
        check(err.text[0] != '\0');
    }
    if (snug__law_from_probe("fuzz", (const char *)data, n, &request, &law, &err) == SNUG_OK)
        predict(&law);
    return 0;
}
