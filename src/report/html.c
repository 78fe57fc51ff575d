/* The report page of one task: sections in the order a reader asks for them. */
#include "snug/report.h"

#include <stdio.h>

#include "report/charts.h"
#include "report/html.h"

static void header(struct snug_buffer *out, const struct snug__report *report, const char *title)
{
    char limit[SNUG_UNIT_TEXT_MAX], last[128];
    const bool has_limit = report->limit_bytes > 0;
    snprintf(last, sizeof last, "tuned for %s%s%s", snug__speed_name(report),
             has_limit ? " within " : "",
             has_limit ? snug__bytes_text(report->limit_bytes, limit) : "");
    snug__page_header(out, report->root, "snug report", title, last);
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
    snug__page_begin(out, title);
    header(out, report, title);
    snug__html_verdict(out, report);
    snug__html_axes(out, report);
    charts(out, report);
    snug__html_trials(out, report);
    snug__html_machine(out, report->root);
    snug__html_model(out, report);
    notes(out, report);
    snug__page_end(out);
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
    snug__report_clear(&report);
    return snug__page_take(&out, out_html, out_n, err);
}
