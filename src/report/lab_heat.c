/* Heat map of request latency: a line per round, a column per repetition. The baseline runs more
 * than once in a repetition; its field is then split. Failed rows are crossed fields without a
 * colour. */
#include "report/lab.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STEPS 7             /* colours h0 .. h6 of the style */
#define FIRST_DEEP 4        /* from this one on the text on it is of the paper's colour */
#define TEXT_WIDTH_MIN 42.0 /* a field narrower than this has no text, its tooltip tells */

struct heat {
    const struct snug__lab_view *view;
    int64_t first;    /* repetition of the first column */
    size_t n_columns; /* drawn */
    double lo, hi;    /* seconds */
    size_t n_rows, n_cut;
};

static bool is_of(const struct snug__lab_view *view, const struct snug__lab_row *row,
                  const struct snug__lab_sum *sum)
{
    return row->i_cell == view->i_cell && row->repetition >= 0 &&
           strcmp(row->round, sum->round) == 0;
}

/* False when no row has a latency. */
static bool read_heat(const struct snug__lab_view *view, struct heat *heat)
{
    int64_t last = -1;
    *heat = (struct heat){.view = view, .first = INT64_MAX, .lo = INFINITY, .hi = 0};
    for (size_t i = 0; i < view->lab->n_rows; i++) {
        const struct snug__lab_row *row = &view->lab->rows[i];
        if (row->i_cell != view->i_cell || row->repetition < 0)
            continue;
        heat->first = row->repetition < heat->first ? row->repetition : heat->first;
        last = row->repetition > last ? row->repetition : last;
    }
    if (last < 0)
        return false;
    int64_t n = last - heat->first; /* one less than the columns, which might not fit */
    heat->n_columns =
        n < SNUG_REPORT_LAB_REPETITIONS_MAX ? (size_t)n + 1 : SNUG_REPORT_LAB_REPETITIONS_MAX;
    for (size_t i = 0; i < view->lab->n_rows; i++) {
        const struct snug__lab_row *row = &view->lab->rows[i];
        if (row->i_cell != view->i_cell || row->repetition < 0)
            continue;
        bool is_cut = row->repetition - heat->first >= (int64_t)heat->n_columns;
        heat->n_rows++;
        heat->n_cut += is_cut;
        if (is_cut || !(row->request_s > 0))
            continue;
        heat->lo = fmin(heat->lo, row->request_s);
        heat->hi = fmax(heat->hi, row->request_s);
    }
    return heat->hi > 0;
}

static int step_of(const struct heat *heat, double s)
{
    double at = heat->hi > heat->lo ? (s - heat->lo) / (heat->hi - heat->lo) : 0;
    int step = (int)(at * STEPS);
    return step < STEPS ? step : STEPS - 1;
}

/* One field; width is that of its share of the column. */
static void draw_field(struct snug__lab_plot *plot, const struct heat *heat,
                       const struct snug__lab_row *row, double x, double width, double y)
{
    struct snug_buffer *out = plot->chart.out;
    char text[SNUG_UNIT_TEXT_MAX], class_name[32] = "cell-failed";
    bool has_value = row->request_s > 0;
    int step = has_value ? step_of(heat, row->request_s) : 0;
    double inset = row->is_ok ? 0 : 0.8; /* room for its frame beside the next field */
    if (has_value)
        snprintf(class_name, sizeof class_name, "h%d", step);
    snug_buffer_printf(out,
                       "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"22\">"
                       "<title>repetition %lld: ",
                       class_name, x + inset, y - 11, width - 2 * inset,
                       (long long)row->repetition);
    if (has_value)
        snug__html_text(out, snug__seconds_text(row->request_s, text));
    else
        snug__html_text(out, row->is_ok       ? "not measured"
                             : row->reason[0] ? row->reason
                                              : row->outcome);
    snug_buffer_puts(out, "</title></rect>\n");
    if (!row->is_ok)
        snug__svg_mark(&plot->chart, SNUG__CROSS, "failed", x + width / 2, y, 4, "failed");
    else if (width >= TEXT_WIDTH_MIN && has_value)
        snug__svg_text(&plot->chart, step >= FIRST_DEEP ? "value heat-deep" : "value",
                       x + width / 2, y + 4, "middle", snug__seconds_text(row->request_s, text));
}

static void draw_line(struct snug__lab_plot *plot, const struct heat *heat, size_t i)
{
    const struct snug__lab_view *view = heat->view;
    const struct snug__lab_sum *sum = view->sums[i];
    size_t n_in[SNUG_REPORT_LAB_REPETITIONS_MAX] = {0},
           n_done[SNUG_REPORT_LAB_REPETITIONS_MAX] = {0};
    double column = (plot->chart.right - plot->chart.left) / (double)heat->n_columns;
    for (int pass = 0; pass < 2; pass++)
        for (size_t r = 0; r < view->lab->n_rows; r++) {
            const struct snug__lab_row *row = &view->lab->rows[r];
            if (!is_of(view, row, sum) || row->repetition - heat->first >= (int64_t)heat->n_columns)
                continue;
            size_t c = (size_t)(row->repetition - heat->first);
            if (pass == 0) {
                n_in[c]++;
                continue;
            }
            double width = column / (double)n_in[c];
            draw_field(plot, heat, row,
                       plot->chart.left + column * (double)c + width * (double)n_done[c]++, width,
                       snug__lab_plot_y(plot, i));
        }
    snug__lab_plot_label(plot, i, snug__lab_round_name(sum->round), "failed-text",
                         sum->state == SNUG__LAB_FAILED && !plot->is_wide ? "failed" : "");
}

static void draw(struct snug_buffer *out, const struct heat *heat, const char *size)
{
    struct snug__lab_plot plot;
    char text[32];
    snug__lab_plot_init(&plot, out, size, heat->view->n);
    struct snug__chart *chart = &plot.chart;
    chart->right = chart->width - 8; /* no values beside it */
    double column = (chart->right - chart->left) / (double)heat->n_columns;
    snug__svg_open(chart, size, "Heat map of request latency by round and repetition");
    for (size_t i = 0; i < heat->view->n; i++)
        draw_line(&plot, heat, i);
    size_t each = 1 + (size_t)(24 / column); /* numbers of two digits need that room */
    for (size_t c = 0; c < heat->n_columns; c += each) {
        snprintf(text, sizeof text, "%lld", (long long)heat->first + (long long)c);
        snug__svg_text(chart, "tick", chart->left + column * ((double)c + 0.5), chart->bottom + 15,
                       "middle", text);
    }
    snug__svg_text(chart, "axis-title", chart->right, chart->bottom + 34, "end", "repetition");
    snug__svg_close(chart);
}

static void legend(struct snug_buffer *out, const struct heat *heat)
{
    char lo[SNUG_UNIT_TEXT_MAX], hi[SNUG_UNIT_TEXT_MAX], text[96];
    snug_buffer_puts(out, "<ul class=\"legend\">");
    snprintf(text, sizeof text, "fastest, %s", snug__seconds_text(heat->lo, lo));
    snug__legend_mark(out, SNUG__SQUARE, "h0", text);
    snprintf(text, sizeof text, "slowest, %s", snug__seconds_text(heat->hi, hi));
    snug__legend_mark(out, SNUG__SQUARE, "h6", text);
    snug__legend_mark(out, SNUG__CROSS, "failed", "failed");
    snug_buffer_puts(out, "</ul>\n");
}

static void data(struct snug_buffer *out, const struct heat *heat)
{
    static const char *const names[] = {"Round", "Repetition", "Latency", "Outcome"};
    const struct snug__lab *lab = heat->view->lab;
    char text[SNUG_UNIT_TEXT_MAX], number[32];
    size_t n = 0;
    snug__data_begin(out, names, 4);
    for (size_t i = 0; i < lab->n_rows && n < SNUG_REPORT_LAB_TABLE_MAX; i++) {
        const struct snug__lab_row *row = &lab->rows[i];
        if (row->i_cell != heat->view->i_cell || row->repetition < 0)
            continue;
        snprintf(number, sizeof number, "%lld", (long long)row->repetition);
        snug__row_head(out, snug__lab_round_name(row->round));
        snug__cell(out, number);
        snug__cell_number(out, row->request_s, snug__seconds_text(row->request_s, text));
        snug__cell_text(out, row->outcome);
        snug_buffer_puts(out, "</tr>\n");
        n++;
    }
    snug__data_end(out);
    snug__lab_left_out(out, n, heat->n_rows, "rows");
}

void snug__lab_heat(struct snug_buffer *out, const struct snug__lab_view *view)
{
    struct heat heat;
    snug_buffer_puts(out, "<h3>Latency by round and repetition</h3>\n");
    if (!read_heat(view, &heat) || view->n == 0) {
        snug_buffer_puts(out, "<p>Latency of single rows: not measured.</p>\n");
        return;
    }
    snug__figure_begin(out, "Latency by round and repetition", NULL);
    legend(out, &heat);
    draw(out, &heat, "wide");
    draw(out, &heat, "narrow");
    data(out, &heat);
    snug__figure_end(out, "Seconds of one request: prompt / prefill speed + tokens generated / "
                          "decode speed, per sequence. A split field: the round ran more than "
                          "once in that repetition.");
    if (heat.n_cut > 0)
        snug_buffer_printf(out,
                           "<p class=\"cut\">%zu rows of repetitions past the first %d are not "
                           "drawn.</p>\n",
                           heat.n_cut, SNUG_REPORT_LAB_REPETITIONS_MAX);
}
