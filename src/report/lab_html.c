/* The page of a lab run: words first, then each model with each workload, then how it was made. */
#include <stdio.h>
#include <string.h>

#include "report/html.h"
#include "report/lab.h"

static void header(struct snug_buffer *out, const struct snug__lab *lab, const char *title)
{
    char text[SNUG_UNIT_TEXT_MAX];
    double made = snug__positive(lab->root, "generated_unix_s");
    snug_buffer_puts(out, "<header><p class=\"eyebrow\">snug lab</p><h1>");
    snug__html_text(out, title);
    snug_buffer_puts(out, "</h1>\n<p class=\"by\">");
    snug__html_text(out, made > 0 ? snug__time_text(made, text) : "time not recorded");
    snug_buffer_puts(out, " &middot; snug ");
    snug__html_text(out, snug_json_get_string(lab->root, "snug", "(version not recorded)"));
    snug_buffer_puts(out, " &middot; ");
    snug__html_text(out, snug_json_get_string(lab->root, "build", "engine not recorded"));
    snug_buffer_puts(out, " &middot; ");
    snug__html_text(out, snug_json_get_string(lab->root, "file", "rounds file not recorded"));
    snug_buffer_puts(out, "</p></header>\n");
}

static void view_init(struct snug__lab_view *view, const struct snug__lab *lab, size_t i_cell)
{
    *view = (struct snug__lab_view){.lab = lab, .cell = &lab->cells[i_cell], .i_cell = i_cell};
    for (size_t i = 0; i < lab->n_sums; i++) {
        if (lab->sums[i].i_cell != i_cell)
            continue;
        if (view->n < SNUG_REPORT_LAB_ROUNDS_MAX)
            view->sums[view->n++] = &lab->sums[i];
        view->n_all++;
    }
}

static void cell_section(struct snug_buffer *out, const struct snug__lab *lab, size_t i_cell)
{
    struct snug__lab_view view;
    view_init(&view, lab, i_cell);
    snug_buffer_printf(out, "<section aria-labelledby=\"cell-%zu\"><h2 id=\"cell-%zu\">", i_cell,
                       i_cell);
    snug__html_text(out, view.cell->model[0] ? view.cell->model : "model without a name");
    snug_buffer_puts(out, " &middot; ");
    snug__html_text(out, view.cell->workload[0] ? view.cell->workload : "workload without a name");
    snug_buffer_puts(out, "</h2>\n");
    snug__lab_left_out(out, view.n, view.n_all, "rounds");
    snug__lab_ratios(out, &view);
    snug__lab_verdicts(out, &view);
    snug__lab_latency(out, &view);
    snug__lab_memory(out, &view);
    snug__lab_heat(out, &view);
    snug__lab_timeline(out, &view);
    snug__lab_scatter(out, &view);
    snug__lab_drift(out, &view);
    snug_buffer_puts(out, "</section>\n");
}

static void page(struct snug_buffer *out, const struct snug__lab *lab)
{
    const char *title = snug_json_get_string(lab->root, "title", "");
    if (!title[0])
        title = "Lab run without a title";
    snug__page_begin(out, title);
    header(out, lab, title);
    snug__lab_words(out, lab);
    size_t n_cells =
        lab->n_cells < SNUG_REPORT_LAB_SECTIONS_MAX ? lab->n_cells : SNUG_REPORT_LAB_SECTIONS_MAX;
    for (size_t i = 0; i < n_cells; i++)
        cell_section(out, lab, i);
    snug__lab_left_out(out, n_cells, lab->n_cells, "combinations of model and workload");
    snug__lab_facts(out, lab);
    snug__html_machine(out, lab->root);
    snug__lab_rows(out, lab);
    snug__page_end(out);
}

snug_status snug_report_lab_html(const char *json_text, size_t n, char **out_html, size_t *out_n,
                                 struct snug_error *err)
{
    struct snug__lab lab;
    struct snug_buffer out = {0};
    snug_status status = snug__lab_read(json_text, n, &lab, err);
    if (status != SNUG_OK)
        return status;
    page(&out, &lab);
    size_t len = out.len;
    char *html = snug_buffer_take(&out);
    snug__lab_clear(&lab);
    if (!html)
        return snug_fail(err, SNUG_NO_MEMORY, "page of a lab run, %zu bytes so far", len);
    *out_html = html;
    *out_n = len;
    return SNUG_OK;
}
