/* Progress over the session: best speed so far, and hypervolume, each a step line over trials. */
#include "report/charts.h"

#include <math.h>
#include <stdio.h>

#include "report/html_page.h"

#define DOTS_MAX 80 /* with more entries the line alone is clearer */

struct series {
    const struct snug_json_node *entries;
    size_t n;
    const char *key, *name, *unit;
    double reference; /* drawn as a dashed line with its name; NAN: none */
};

static double value_at(const struct series *series, size_t i)
{
    double v = snug__number(snug_json_at(series->entries, i), series->key);
    return snug__svg_is_drawable(v) ? v : NAN;
}

/* False when no entry has a value. */
static bool fit_axes(struct snug__chart *chart, const struct series *series)
{
    double lo = INFINITY, hi = -INFINITY;
    for (size_t i = 0; i < series->n; i++) {
        double v = value_at(series, i);
        lo = fmin(lo, v); /* fmin and fmax pass over NAN */
        hi = fmax(hi, v);
    }
    if (hi < 0)
        return false;
    lo = fmin(lo, series->reference);
    hi = fmax(hi, series->reference);
    chart->left = 48;
    chart->right = chart->width - 12;
    chart->top = 30;
    chart->bottom = chart->height - 44;
    snug__axis_fit(&chart->y, SNUG__AXIS_LINEAR, lo, hi, chart->bottom, chart->top);
    snug__axis_fit(&chart->x, SNUG__AXIS_COUNT, 1, fmax(2, (double)series->n), chart->left + 6,
                   chart->right);
    return true;
}

static void draw_line(struct snug__chart *chart, const struct series *series)
{
    bool is_begun = false;
    for (size_t i = 0; i < series->n; i++) {
        double v = value_at(series, i);
        if (!(v >= 0))
            continue;
        double x = snug__axis_px(&chart->x, (double)i + 1), y = snug__axis_px(&chart->y, v);
        if (is_begun)
            snug_buffer_printf(chart->out, "H%.1fV%.1f", x, y);
        else
            snug_buffer_printf(chart->out, "<path class=\"front-line\" d=\"M%.1f %.1f", x, y);
        is_begun = true;
    }
    snug_buffer_puts(chart->out, "\"/>\n");
}

static void draw_dots(struct snug__chart *chart, const struct series *series)
{
    char rate[SNUG_UNIT_TEXT_MAX], elapsed[SNUG_UNIT_TEXT_MAX], title[160];
    for (size_t i = 0; i < series->n && series->n <= DOTS_MAX; i++) {
        const struct snug_json_node *entry = snug_json_at(series->entries, i);
        double v = value_at(series, i);
        if (!(v >= 0))
            continue;
        snprintf(title, sizeof title, "after trial %lld, %s: %s %s",
                 (long long)snug_json_get_int(entry, "trial", -1),
                 snug__seconds_text(snug__number(entry, "elapsed_s"), elapsed),
                 snug__rate_text(v, rate), series->unit);
        snug__svg_mark(chart, SNUG__CIRCLE, "search on-front",
                       snug__axis_px(&chart->x, (double)i + 1), snug__axis_px(&chart->y, v), 3,
                       title);
    }
}

static bool draw(struct snug_buffer *out, const struct series *series)
{
    struct snug__chart chart = {.out = out, .width = SNUG__CHART_HALF, .height = 240};
    char title[64], label[128];
    if (!fit_axes(&chart, series))
        return false;
    snprintf(title, sizeof title, "%s%s%s", series->name, series->unit[0] ? ", " : "",
             series->unit);
    snprintf(label, sizeof label, "Line plot of the %s over %zu trials", series->name, series->n);
    snug__svg_open(&chart, "half", label);
    snug__svg_y_axis(&chart, title);
    snug__svg_x_axis(&chart, "trials done");
    if (series->reference >= 0) {
        double y = snug__axis_px(&chart.y, series->reference);
        snug__svg_line(&chart, "reference", chart.left, y, chart.right, y);
        snug__svg_text(&chart, "tick", chart.right, y - 5, "end", "default");
    }
    draw_line(&chart, series);
    draw_dots(&chart, series);
    snug__svg_close(&chart);
    return true;
}

/* The drawn points as a table. */
static void data(struct snug_buffer *out, const struct series *speed)
{
    static const char *const names[] = {"After trial", "Seconds", "Best speed so far",
                                        "Hypervolume"};
    static const char *const keys[] = {"elapsed_s", "best_speed", "hypervolume"};
    char text[SNUG_UNIT_TEXT_MAX];
    snug__data_begin(out, names, 4);
    for (size_t i = 0; i < speed->n; i++) {
        const struct snug_json_node *entry = snug_json_at(speed->entries, i);
        snug_buffer_printf(out, "<tr><th scope=\"row\">%lld</th>",
                           (long long)snug_json_get_int(entry, "trial", -1));
        for (int j = 0; j < 3; j++) {
            double v = snug__number(entry, keys[j]);
            snug__cell_number(out, v, snug__rate_text(v, text));
        }
        snug_buffer_puts(out, "</tr>\n");
    }
    snug__data_end(out);
}

void snug__chart_progress(struct snug_buffer *out, const struct snug__report *report)
{
    const struct snug_json_node *entries = snug_json_get(report->root, "progress");
    const struct snug__row *row = report->who[SNUG__DEFAULT];
    struct series speed = {.entries = entries,
                           .n = snug_json_is_array(entries) ? snug_json_count(entries) : 0,
                           .key = "best_speed",
                           .name = "best speed so far",
                           .unit = snug__speed_unit(report),
                           .reference =
                               row && snug__svg_is_drawable(row->speed) ? row->speed : NAN};
    struct series volume = speed;
    volume.key = "hypervolume";
    volume.name = "hypervolume of the front";
    volume.unit = "";
    volume.reference = NAN;
    snug__figure_begin(out, "progress", NULL);
    snug_buffer_puts(out, "<div class=\"pair\">\n");
    bool has_speed = draw(out, &speed), has_volume = draw(out, &volume);
    snug_buffer_puts(out, "</div>\n");
    if (has_speed || has_volume)
        data(out, &speed);
    snug_buffer_puts(out, "<figcaption>");
    if (has_speed || has_volume)
        snug_buffer_puts(out,
                         "Hypervolume = the area that the front dominates, in log(speed) times "
                         "memory as a share of the reference: it grows when a trial is faster at "
                         "its size, or smaller at its speed, than any before.");
    else
        snug_buffer_puts(out, "Progress: not measured.");
    snug_buffer_puts(out, "</figcaption></figure>\n");
}
