/* The page of a lab run: words first, then each model with each workload, then how it was made. */
#include <stdio.h>
#include <string.h>

#include "report/html.h"
#include "report/lab.h"

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
    snug__page_header(out, lab->root, "snug lab", title,
                      snug_json_get_string(lab->root, "file", "rounds file not recorded"));
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
    snug__lab_clear(&lab);
    return snug__page_take(&out, out_html, out_n, err);
}
