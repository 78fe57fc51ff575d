/* What the charts of a lab run share: lines of rounds, names that fit, texts of intervals. */
#include "report/lab.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LABEL_WIDE 232.0 /* room for the name, left of the bars */
#define VALUE_WIDE 150.0 /* room for the value, right of them */

void snug__lab_plot_init(struct snug__lab_plot *plot, struct snug_buffer *out, const char *size,
                         size_t n_lines)
{
    *plot = (struct snug__lab_plot){.is_wide = strcmp(size, "wide") == 0};
    struct snug__chart *chart = &plot->chart;
    chart->out = out;
    chart->width = plot->is_wide ? SNUG__CHART_WIDE : SNUG__CHART_NARROW;
    chart->left = plot->is_wide ? LABEL_WIDE : 8;
    chart->right = plot->is_wide ? chart->width - VALUE_WIDE : chart->width - 8;
    chart->top = 8;
    plot->top = chart->top;
    plot->pitch = plot->is_wide ? 26 : 42;
    chart->bottom = chart->top + plot->pitch * (double)n_lines + 4;
    chart->height = chart->bottom + 44;
}

double snug__lab_plot_y(const struct snug__lab_plot *plot, size_t i)
{
    return plot->top + plot->pitch * (double)i + (plot->is_wide ? 14 : 30);
}

void snug__lab_plot_label(struct snug__lab_plot *plot, size_t i, const char *name,
                          const char *class_name, const char *value)
{
    char text[256];
    double y = snug__lab_plot_y(plot, i) + (plot->is_wide ? 4 : -15);
    size_t n_name = plot->is_wide ? 28 : 26, n_value = 24;
    snug__svg_text(&plot->chart, "row-label halo", plot->is_wide ? LABEL_WIDE - 10 : 8, y,
                   plot->is_wide ? "end" : "start", snug__lab_shorten(name, n_name, text));
    char value_class[48]; /* a line of the chart may run below the text */
    snprintf(value_class, sizeof value_class, "%s halo", class_name);
    snug__svg_text(&plot->chart, value_class, plot->chart.width - (plot->is_wide ? 0 : 8), y, "end",
                   snug__lab_shorten(value, n_value, text));
}

void snug__lab_plot_bar(struct snug__lab_plot *plot, size_t i, const char *class_name, double x0,
                        double x1, const char *title)
{
    double a = snug__axis_px(&plot->chart.x, fmin(x0, x1));
    double b = snug__axis_px(&plot->chart.x, fmax(x0, x1));
    snug_buffer_printf(plot->chart.out,
                       "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                       "height=\"14\"><title>",
                       class_name, a, snug__lab_plot_y(plot, i) - 7, b - a);
    snug__html_text(plot->chart.out, title);
    snug_buffer_puts(plot->chart.out, "</title></rect>\n");
}

void snug__lab_plot_interval(struct snug__lab_plot *plot, size_t i, double x0,
                             struct snug_interval of, const char *side)
{
    struct snug__chart *chart = &plot->chart;
    const double y = snug__lab_plot_y(plot, i);
    const double lo = snug__axis_px(&chart->x, of.lo), hi = snug__axis_px(&chart->x, of.hi);
    char class_name[32], text[96];
    snug__lab_interval_text(of, text);
    snprintf(class_name, sizeof class_name, "ratio-bar %s", side);
    snug__lab_plot_bar(plot, i, class_name, x0, of.mid, text);
    snprintf(class_name, sizeof class_name, "ratio-line %s", side);
    snug__svg_line(chart, class_name, lo, y, hi, y);
    snug__svg_line(chart, class_name, lo, y - 4, lo, y + 4);
    snug__svg_line(chart, class_name, hi, y - 4, hi, y + 4);
    snug__svg_mark(chart, strcmp(side, "even") == 0 ? SNUG__RING : SNUG__CIRCLE, side,
                   snug__axis_px(&chart->x, of.mid), y, 4, text);
}

/* Bytes of the first n characters of UTF-8 text. */
static size_t prefix_len(const char *text, size_t n)
{
    size_t len = 0;
    for (; n > 0 && text[len]; n--)
        for (len++; ((unsigned char)text[len] & 0xC0) == 0x80; len++) {
        }
    return len;
}

const char *snug__lab_shorten(const char *name, size_t n_max, char out[256])
{
    size_t n = 0;
    for (const char *at = name; *at; at++)
        n += ((unsigned char)*at & 0xC0) != 0x80;
    if (n <= n_max && strlen(name) < 256) {
        snprintf(out, 256, "%s", name);
        return out;
    }
    size_t n_head = n_max * 2 / 3, n_tail = n_max - n_head - 1;
    size_t head = prefix_len(name, n_head), tail = prefix_len(name, n > n_tail ? n - n_tail : 0);
    if (head > 120 || strlen(name + tail) > 120) /* not UTF-8 as we know it */
        head = tail = strlen(name);
    snprintf(out, 256, "%.*s\xE2\x80\xA6%s", (int)(head < 120 ? head : 120), name, name + tail);
    return out;
}

const char *snug__lab_round_name(const char *round)
{
    return round[0] ? round : "baseline";
}

const char *snug__lab_interval_text(struct snug_interval of, char out[96])
{
    if (!(of.lo <= of.hi))
        snprintf(out, 96, "not measured");
    else if (of.hi >= 1e6 || of.hi < 0.01)
        snprintf(out, 96, "%.3g (%.3g to %.3g)", of.mid, of.lo, of.hi);
    else
        snprintf(out, 96, "%.*f (%.*f to %.*f)", of.hi < 100 ? 2 : 0, of.mid, of.hi < 100 ? 2 : 0,
                 of.lo, of.hi < 100 ? 2 : 0, of.hi);
    return out;
}

const char *snug__lab_failed_text(const struct snug__lab_view *view, const char *round,
                                  char out[SNUG_REASON_MAX + 16])
{
    snprintf(out, SNUG_REASON_MAX + 16, "failed");
    for (size_t i = 0; i < view->lab->n_rows; i++) {
        const struct snug__lab_row *row = &view->lab->rows[i];
        if (row->i_cell != view->i_cell || row->is_ok || strcmp(row->round, round) != 0)
            continue;
        char reason[256];
        snug__lab_shorten(row->reason[0] ? row->reason : row->outcome, 240, reason);
        snprintf(out, SNUG_REASON_MAX + 16, "failed: %s", reason);
        break;
    }
    return out;
}

void snug__lab_left_out(struct snug_buffer *out, size_t n, size_t n_all, const char *what)
{
    if (n_all > n)
        snug_buffer_printf(out, "<p class=\"cut\">The first %zu of %zu %s are shown here.</p>\n", n,
                           n_all, what);
}

void snug__lab_interval_cells(struct snug_buffer *out, struct snug_interval of)
{
    const double values[] = {of.lo, of.mid, of.hi};
    char text[SNUG_UNIT_TEXT_MAX];
    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof text, "%.4g", values[i]);
        snug__cell_number(out, values[i], values[i] >= 0 ? text : "not measured");
    }
}
