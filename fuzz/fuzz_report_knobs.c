/* Any bytes as a document of knobs. */
#include "fuzz/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return fuzz_page(snug_report_knobs_html, data, n);
}
