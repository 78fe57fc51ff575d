/* A scanner that fails a test when a page is not well-formed: every tag closed in order, attributes
 * quoted, no bare & or >. Stricter than browsers, and knows only the void elements our pages use.
 */
#ifndef SNUG_TEST_HTML_SCAN_H
#define SNUG_TEST_HTML_SCAN_H

#include "test.h"

#define SCAN_DEPTH_MAX 64

struct scan {
    const char *at;
    char open[SCAN_DEPTH_MAX][16];
    int n_open;
};

static inline bool scan_is_void(const char *name)
{
    static const char *const names[] = {"meta", "link", "br"};
    for (size_t i = 0; i < COUNT(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static inline void scan_name(struct scan *scan, char name[16])
{
    size_t n = strspn(scan->at, "abcdefghijklmnopqrstuvwxyz0123456789");
    if (n == 0 || n >= 16)
        fail_msg("no tag name at '%.40s'", scan->at);
    memcpy(name, scan->at, n);
    name[n] = '\0';
    scan->at += n;
}

static inline void scan_close(struct scan *scan)
{
    char name[16];
    scan_name(scan, name);
    if (scan->n_open == 0 || strcmp(scan->open[scan->n_open - 1], name) != 0)
        fail_msg("</%s> closes <%s>, before '%.60s'", name,
                 scan->n_open ? scan->open[scan->n_open - 1] : "nothing", scan->at);
    assert_int_equal(*scan->at++, '>');
    scan->n_open--;
}

/* Attributes up to '>': bare words, or name="value" with no bare < in the value. */
static inline bool scan_attributes(struct scan *scan)
{
    bool is_closed = false;
    for (; *scan->at != '>'; scan->at++) {
        assert_int_not_equal(*scan->at, '\0');
        assert_int_not_equal(*scan->at, '<');
        is_closed = *scan->at == '/';
        if (*scan->at != '"')
            continue;
        size_t n = strcspn(scan->at + 1, "\"<");
        if (scan->at[1 + n] != '"')
            fail_msg("attribute without end: '%.60s'", scan->at);
        scan->at += 1 + n;
    }
    scan->at++;
    return is_closed;
}

static inline void scan_open(struct scan *scan)
{
    char name[16], end[20];
    scan_name(scan, name);
    if (scan_attributes(scan) || scan_is_void(name))
        return;
    if (strcmp(name, "style") == 0 || strcmp(name, "script") == 0) { /* text up to its end tag */
        snprintf(end, sizeof end, "</%s>", name);
        scan->at = strstr(scan->at, end);
        assert_non_null(scan->at);
        scan->at += strlen(end);
        return;
    }
    assert_true(scan->n_open < SCAN_DEPTH_MAX);
    memcpy(scan->open[scan->n_open++], name, sizeof name);
}

static inline void assert_well_formed(const char *html)
{
    static const char start[] = "<!DOCTYPE html>\n";
    struct scan scan = {.at = html + strlen(start)};
    assert_memory_equal(html, start, strlen(start));
    while (*scan.at) {
        char c = *scan.at++;
        if (c == '&' && scan.at[strcspn(scan.at, "; <\n")] != ';')
            fail_msg("bare ampersand at '%.40s'", scan.at);
        if (c == '>')
            fail_msg("bare > before '%.40s'", scan.at);
        if (c == '<' && *scan.at == '/') {
            scan.at++;
            scan_close(&scan);
        } else if (c == '<') {
            scan_open(&scan);
        }
    }
    if (scan.n_open)
        fail_msg("<%s> is never closed", scan.open[scan.n_open - 1]);
}

#endif
