/* A target for a page that is made of JSON: refused with a text, or a page with one script, one
 * style, and no byte that ends it early. */
#ifndef SNUG_FUZZ_PAGE_H
#define SNUG_FUZZ_PAGE_H

#include <string.h>

#include "fuzz/check.h"
#include "snug/report.h"

typedef snug_status fuzz_page_fn(const char *text, size_t n, char **out_html, size_t *out_n,
                                 struct snug_error *err);

static inline size_t fuzz_count(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        n++;
    return n;
}

static inline int fuzz_page(fuzz_page_fn *render, const uint8_t *data, size_t n)
{
    struct snug_error err = {0};
    char *html = NULL;
    size_t n_html = 0;
    if (render((const char *)data, n, &html, &n_html, &err) != SNUG_OK) {
        check(err.text[0] && !html);
        return 0;
    }
    check(strlen(html) == n_html);
    check(fuzz_count(html, "<script") == 1 && fuzz_count(html, "<style") == 1);
    check(fuzz_count(html, "<svg") == fuzz_count(html, "</svg>"));
    check(fuzz_count(html, "<table") == fuzz_count(html, "</table>"));
    free(html);
    return 0;
}

#endif
