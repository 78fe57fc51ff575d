/* The report page: one HTML document, sections in the order a reader asks for them. Style and
 * script are pinned by SHA-256 in the Content-Security-Policy, so that even a text that slipped
 * through escaping could neither run nor load anything. */
#include "snug/report.h"

#include <string.h>

#include "base/hash.h"
#include "report/charts.h"
#include "report/html.h"

/* 'sha256-...': base64 (RFC 4648) of the hash of an inline element's content. */
static void csp_hash(struct snug_buffer *out, const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t hash[SNUG_SHA256_BYTES + 1] = {0}; /* 33 bytes: 11 groups of three, the last padded */
    char base64[45];
    struct snug_sha256 state;
    snug_sha256_init(&state);
    snug_sha256_update(&state, text, strlen(text));
    snug_sha256_final(&state, hash);
    for (int i = 0; i < 11; i++) {
        uint32_t group =
            (uint32_t)hash[3 * i] << 16 | (uint32_t)hash[3 * i + 1] << 8 | hash[3 * i + 2];
        for (int j = 0; j < 4; j++)
            base64[4 * i + j] = digits[group >> (18 - 6 * j) & 63];
    }
    base64[43] = '='; /* 32 bytes are 43 digits and one pad */
    base64[44] = '\0';
    snug_buffer_printf(out, "'sha256-%s'", base64);
}

static void page_head(struct snug_buffer *out, const char *title)
{
    snug_buffer_puts(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src "
                          "'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src ");
    csp_hash(out, snug__html_style);
    snug_buffer_puts(out, "; script-src ");
    csp_hash(out, snug__html_script);
    snug_buffer_puts(out,
                     "\">\n<meta name=\"viewport\" content=\"width=device-width, "
                     "initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n"
                     "<meta name=\"referrer\" content=\"no-referrer\">\n"
                     "<link rel=\"icon\" href=\"data:,\">\n<title>");
    snug__html_text(out, title);
    snug_buffer_puts(out, "</title>\n<style>");
    snug_buffer_puts(out, snug__html_style);
    snug_buffer_puts(out, "</style></head>\n<body><main>\n");
}

static void header(struct snug_buffer *out, const struct snug__report *report, const char *title)
{
    const struct snug_json_node *root = report->root;
    char text[SNUG_UNIT_TEXT_MAX];
    snug_buffer_puts(out, "<header><p class=\"eyebrow\">snug report</p><h1>");
    snug__html_text(out, title);
    snug_buffer_puts(out, "</h1>\n<p class=\"by\">");
    double made = snug__positive(root, "generated_unix_s");
    snug__html_text(out, made > 0 ? snug__time_text(made, text) : "time not recorded");
    snug_buffer_puts(out, " &middot; snug ");
    snug__html_text(out, snug_json_get_string(root, "snug", "(version not recorded)"));
    snug_buffer_puts(out, " &middot; ");
    snug__html_text(out, snug_json_get_string(root, "build", "engine not recorded"));
    snug_buffer_printf(out, " &middot; tuned for %s", snug__speed_name(report));
    if (report->limit_bytes > 0)
        snug_buffer_printf(out, " within %s", snug__bytes_text(report->limit_bytes, text));
    snug_buffer_puts(out, "</p></header>\n");
}

static void notes(struct snug_buffer *out, const struct snug__report *report)
{
    const struct snug_json_node *list = snug_json_get(report->root, "notes");
    size_t n = snug_json_is_array(list) ? snug_json_count(list) : 0;
    if (n == 0)
        return;
    snug_buffer_puts(out, "<section aria-labelledby=\"notes\"><h2 id=\"notes\">Notes</h2>\n<ul>\n");
    for (size_t i = 0; i < n; i++) {
        snug_buffer_puts(out, "<li>");
        snug__html_text(out, snug_json_string(snug_json_at(list, i), ""));
        snug_buffer_puts(out, "</li>\n");
    }
    snug_buffer_puts(out, "</ul></section>\n");
}

static void charts(struct snug_buffer *out, const struct snug__report *report)
{
    snug_buffer_puts(out, "<section aria-labelledby=\"front\"><h2 id=\"front\">Speed against "
                          "memory</h2>\n");
    snug__chart_front(out, report);
    snug_buffer_puts(out, "</section>\n<section aria-labelledby=\"compare\"><h2 id=\"compare\">"
                          "Pick, default and fit</h2>\n<p>Default: the engine as it starts without "
                          "options. Fit: what llama.cpp&#39;s <code>--fit</code> chooses. Figures "
                          "are those of each one&#39;s own trial.</p>\n");
    snug__html_figures(out, report);
    snug_buffer_puts(out, "<h3>Timed blocks</h3>\n");
    snug__chart_blocks(out, report);
    snug_buffer_puts(out, "<h3>Memory by kind</h3>\n");
    snug__chart_memory(out, report);
    snug_buffer_puts(out, "</section>\n<section aria-labelledby=\"progress\"><h2 id=\"progress\">"
                          "Progress</h2>\n");
    snug__chart_progress(out, report);
    snug_buffer_puts(out, "</section>\n");
}

static void page(struct snug_buffer *out, const struct snug__report *report)
{
    const char *title = snug_json_get_string(report->root, "title", "");
    if (!title[0])
        title = "Report without a title";
    page_head(out, title);
    header(out, report, title);
    snug__html_verdict(out, report);
    charts(out, report);
    snug__html_trials(out, report);
    snug__html_machine(out, report);
    snug__html_model(out, report);
    notes(out, report);
    snug_buffer_puts(out, "</main>\n<script>");
    snug_buffer_puts(out, snug__html_script);
    snug_buffer_puts(out, "</script></body></html>\n");
}

snug_status snug_report_html(const char *json_text, size_t n, char **out_html, size_t *out_n,
                             struct snug_error *err)
{
    struct snug__report report;
    struct snug_buffer out = {0};
    snug_status status = snug__report_read(json_text, n, &report, err);
    if (status != SNUG_OK)
        return status;
    page(&out, &report);
    size_t len = out.len;
    char *html = snug_buffer_take(&out);
    snug__report_clear(&report);
    if (!html)
        return snug_fail(err, SNUG_NO_MEMORY, "report page of %zu bytes so far", len);
    *out_html = html;
    *out_n = len;
    return SNUG_OK;
}
