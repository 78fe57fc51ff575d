/* Any bytes as a report document. */
#include "fuzz/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return fuzz_page(snug_report_html, data, n);
}
