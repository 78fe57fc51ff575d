/* Beeswarms: one line per knob, one dot per config at its Shapley value, pushed aside where dots
 * would cover one another. Shade is the knob's value from lowest (pale) to highest. */
#include "report/knobs_doc.h"

#include <math.h>
#include <stdio.h>

#define DOT_R 3.0
#define OFFSET_STEP 2.0
#define OFFSETS 5 /* to either side: 10 px, less than half of a line */
#define N_SHADES 7

struct dot {
    double x, y;
};

struct swarm {
    struct snug__lab_plot *plot;
    struct dot dots[SNUG_REPORT_KNOBS_POINTS_MAX];
    size_t n;
};

/* Shapley value of a point in per cent, NAN when it cannot be drawn. */
static double value_of(const struct snug_json_node *point)
{
    const double v = 100 * snug_json_number(snug_json_at(point, 1), NAN);
    return snug__svg_is_drawable(fabs(v)) ? v : (double)NAN;
}

static bool is_free(const struct swarm *s, double x, double y)
{
    for (size_t i = 0; i < s->n; i++) {
        const double dx = s->dots[i].x - x, dy = s->dots[i].y - y;
        if (dx * dx + dy * dy < 4 * DOT_R * DOT_R)
            return false;
    }
    return true;
}

/* The nearest free place above or below the line; on it when all are taken. */
static double place(const struct swarm *s, double x, double y)
{
    for (int k = 0; k <= 2 * OFFSETS; k++) {
        const double offset = (k % 2 ? -1 : 1) * OFFSET_STEP * ((k + 1) / 2);
        if (is_free(s, x, y + offset))
            return y + offset;
    }
    return y;
}

static void draw_points(struct swarm *s, size_t line, const struct snug_json_node *knob)
{
    const struct snug_json_node *points[SNUG_REPORT_KNOBS_POINTS_MAX];
    const size_t n =
        snug_json_elements(snug_json_get(knob, "points"), points, SNUG_REPORT_KNOBS_POINTS_MAX);
    struct snug__chart *chart = &s->plot->chart;
    s->n = 0;
    for (size_t i = 0; i < n; i++) {
        const double v = value_of(points[i]);
        const double level = snug_json_number(snug_json_at(points[i], 0), 0);
        const int shade = level > 0 ? (int)fmin(N_SHADES - 1, level * (N_SHADES - 1) + 0.5) : 0;
        char class_name[16], title[160];
        if (isnan(v))
            continue;
        const double x = snug__axis_px(&chart->x, v);
        const double y = place(s, x, snug__lab_plot_y(s->plot, line));
        snprintf(class_name, sizeof class_name, "h%d", shade);
        snprintf(title, sizeof title, "%.60s=%.60s: %+.2f %%",
                 snug_json_get_string(knob, "knob", "?"),
                 snug_json_string(snug_json_at(points[i], 2), "?"), v);
        snug__svg_mark(chart, SNUG__CIRCLE, class_name, x, y, DOT_R, title);
        s->dots[s->n++] = (struct dot){x, y};
    }
}

static void draw(struct snug_buffer *out, const struct snug__knobs_view *view, double reach,
                 const char *size)
{
    struct snug__lab_plot plot;
    struct swarm swarm = {.plot = &plot};
    char title[160];
    snug__lab_plot_init(&plot, out, size, view->n_swarms);
    snug__axis_fit(&plot.chart.x, SNUG__AXIS_LINEAR, -reach, reach, plot.chart.left,
                   plot.chart.right);
    snprintf(title, sizeof title, "Dots of what each knob did to %.60s in each config", view->name);
    snug__svg_open(&plot.chart, size, title);
    snug__svg_x_axis(&plot.chart, view->unit);
    const double zero = snug__axis_px(&plot.chart.x, 0);
    snug__svg_line(&plot.chart, "reference", zero, plot.chart.top, zero, plot.chart.bottom);
    snug_buffer_puts(out, "<g class=\"swarm\">\n");
    for (size_t i = 0; i < view->n_swarms; i++)
        draw_points(&swarm, i, view->swarms[i]);
    snug_buffer_puts(out, "</g>\n");
    for (size_t i = 0; i < view->n_swarms; i++)
        snug__lab_plot_label(&plot, i, snug_json_get_string(view->swarms[i], "knob", "?"), "tick",
                             "");
    snug__svg_close(&plot.chart);
}

static double reach_of(const struct snug__knobs_view *view)
{
    double reach = 0;
    for (size_t k = 0; k < view->n_swarms; k++) {
        const struct snug_json_node *points[SNUG_REPORT_KNOBS_POINTS_MAX];
        const size_t n = snug_json_elements(snug_json_get(view->swarms[k], "points"), points,
                                            SNUG_REPORT_KNOBS_POINTS_MAX);
        for (size_t i = 0; i < n; i++)
            reach = fmax(reach, fabs(value_of(points[i]))); /* fmax drops NAN */
    }
    return reach;
}

void snug__knobs_swarms(struct snug_buffer *out, const struct snug__knobs_view *view)
{
    const double reach = reach_of(view);
    char name[128];
    if (!(reach > 1e-9)) /* of a per cent: nothing to see */
        return;
    snprintf(name, sizeof name, "What knobs did to %.60s", view->name);
    snug__figure_begin(out, name, NULL);
    draw(out, view, reach, "wide");
    draw(out, view, reach, "narrow");
    snug__figure_end(out, "Each dot is a config: how far the value that this knob has there moves "
                          "the forest&#39;s prediction. Pale: the lowest value, or the first name; "
                          "dark: the highest. Mean over all rounds.");
}
