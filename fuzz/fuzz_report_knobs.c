/* Any bytes as a document of knobs: refused with a text, or a page with one script,
 * one style, and no byte that ends it early. */
#include <stdlib.h>
#include <string.h>

#include "snug/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(bool is_kept)
{
    if (!is_kept)
        abort(); /* the fuzzer's way to report */
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        n++;
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct snug_error err = {0};
    char *html = NULL;
    size_t n_html = 0;
    if (snug_report_knobs_html((const char *)data, n, &html, &n_html, &err) != SNUG_OK) {
        check(err.text[0] && !html);
        return 0;
    }
    check(strlen(html) == n_html);
    check(count(html, "<script") == 1 && count(html, "<style") == 1);
    check(count(html, "<svg") == count(html, "</svg>"));
    check(count(html, "<table") == count(html, "</table>"));
    free(html);
    return 0;
}
