/* Any bytes as the results document of a lab run. */
#include "fuzz/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return fuzz_page(snug_report_lab_html, data, n);
}
