/* Decode speed against quality, with the front of rounds that no other beats on both. Quality is
 * divergence from the reference (KLD) where two rounds have it, else perplexity: less is better. */
#include "report/lab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_WIDTH 150.0 /* of a name of 22 characters */
#define LABEL_HEIGHT 13.0

struct point {
    const char *name;
    double x, se; /* quality and its standard error; se NAN: not measured */
    struct snug_interval speed;
    bool on_front, is_trusted; /* trusted: its verdict is not INVALID */
};

struct scatter {
    const char *title; /* of the x axis */
    struct point points[SNUG_REPORT_LAB_ROUNDS_MAX];
    size_t n;
};

static int by_quality(const void *a, const void *b)
{
    const struct point *p = a, *q = b;
    if (p->x < q->x || p->x > q->x)
        return p->x < q->x ? -1 : 1;
    return (p->speed.mid < q->speed.mid) - (p->speed.mid > q->speed.mid);
}

/* Points of all rounds that are ok and have both figures, in order of quality, front marked. */
static void read_scatter(const struct snug__lab_view *view, const char *key, const char *title,
                         struct scatter *scatter)
{
    double best = 0;
    scatter->title = title;
    scatter->n = 0;
    for (size_t i = 0; i < view->n; i++) {
        const struct snug__lab_sum *sum = view->sums[i];
        const struct snug_json_node *quality =
            snug_json_get(snug_json_get(sum->node, "quality"), key);
        struct point point = {
            .name = snug__lab_round_name(sum->round),
            .x = snug__number(quality, "value"),
            .se = snug__number(quality, "se"),
            .speed = snug__lab_interval(sum->node, "decode_tps"),
            .is_trusted = strcmp(snug_json_get_string(sum->node, "verdict", ""), "INVALID") != 0};
        if (sum->state == SNUG__LAB_OK && snug__svg_is_drawable(point.x) &&
            snug__svg_is_drawable(point.speed.hi))
            scatter->points[scatter->n++] = point;
    }
    qsort(scatter->points, scatter->n, sizeof scatter->points[0], by_quality);
    /* A front is of trusted figures: an INVALID round is drawn, and beats nobody. */
    for (size_t i = 0; i < scatter->n; i++) {
        if (!scatter->points[i].is_trusted)
            continue;
        scatter->points[i].on_front = scatter->points[i].speed.mid > best;
        best = fmax(best, scatter->points[i].speed.mid);
    }
}

/* Steps from each point of the front to the next: what is above and left of it was not reached. */
static void draw_front(struct snug__chart *chart, const struct scatter *scatter)
{
    double y = 0;
    bool is_first = true;
    snug_buffer_puts(chart->out, "<path class=\"front-line\" d=\"");
    for (size_t i = 0; i < scatter->n; i++) {
        const struct point *point = &scatter->points[i];
        if (!point->on_front)
            continue;
        double x = snug__axis_px(&chart->x, point->x);
        if (!is_first)
            snug_buffer_printf(chart->out, "L%.1f %.1f", x, y);
        y = snug__axis_px(&chart->y, point->speed.mid);
        snug_buffer_printf(chart->out, "%c%.1f %.1f", is_first ? 'M' : 'L', x, y);
        is_first = false;
    }
    snug_buffer_printf(chart->out, "L%.1f %.1f\"/>\n", chart->right, y);
}

/* Names that are drawn already, so that none lies on another. */
struct labels {
    double x[SNUG_REPORT_LAB_ROUNDS_MAX], y[SNUG_REPORT_LAB_ROUNDS_MAX];
    size_t n;
};

static bool is_free(const struct labels *labels, double x, double y)
{
    for (size_t i = 0; i < labels->n; i++)
        if (fabs(labels->x[i] - x) < LABEL_WIDTH && fabs(labels->y[i] - y) < LABEL_HEIGHT)
            return false;
    return true;
}

/* Above the mark, else below it, else not at all: the table has every name. */
static void draw_name(struct snug__chart *chart, const struct point *point, double x, double y,
                      struct labels *labels)
{
    char name[256];
    bool is_right = x > (chart->left + chart->right) / 2; /* then there is room on its left */
    double at = is_free(labels, x, y - 8) ? y - 8 : y + 17;
    if (!is_free(labels, x, at) || labels->n == SNUG_REPORT_LAB_ROUNDS_MAX)
        return;
    labels->x[labels->n] = x;
    labels->y[labels->n++] = at;
    snug__svg_text(chart, "mark-label", is_right ? x - 9 : x + 9, at, is_right ? "end" : "start",
                   snug__lab_shorten(point->name, 22, name));
}

static void draw_point(struct snug__chart *chart, const struct point *point, struct labels *labels)
{
    char name[256], rate[SNUG_UNIT_TEXT_MAX], title[384];
    double x = snug__axis_px(&chart->x, point->x), y = snug__axis_px(&chart->y, point->speed.mid);
    bool is_baseline = strcmp(point->name, "baseline") == 0;
    snug__svg_line(chart, "interval", x, snug__axis_px(&chart->y, point->speed.lo), x,
                   snug__axis_px(&chart->y, point->speed.hi));
    if (point->se >= 0 && point->se <= SNUG_SVG_VALUE_MAX)
        snug__svg_line(chart, "interval", snug__axis_px(&chart->x, point->x - point->se), y,
                       snug__axis_px(&chart->x, point->x + point->se), y);
    snug__lab_shorten(point->name, 80, name);
    snprintf(title, sizeof title, "%s: %s tokens/s, %.4g", name,
             snug__rate_text(point->speed.mid, rate), point->x);
    snug__svg_mark(chart, is_baseline ? SNUG__RING : SNUG__CIRCLE,
                   is_baseline       ? "default"
                   : point->on_front ? "search on-front"
                                     : "search",
                   x, y, 5, title);
    if (point->on_front || is_baseline)
        draw_name(chart, point, x, y, labels);
}

static void draw(struct snug_buffer *out, const struct scatter *scatter, const char *size)
{
    bool is_wide = strcmp(size, "wide") == 0;
    struct snug__chart chart = {.out = out,
                                .width = is_wide ? SNUG__CHART_WIDE : SNUG__CHART_NARROW,
                                .height = is_wide ? 360 : 320};
    struct labels labels = {.n = 0};
    double y_lo = INFINITY, y_hi = 0, x_lo = scatter->points[0].x;
    double x_hi = scatter->points[scatter->n - 1].x;
    for (size_t i = 0; i < scatter->n; i++) {
        y_lo = fmin(y_lo, scatter->points[i].speed.lo);
        y_hi = fmax(y_hi, scatter->points[i].speed.hi);
    }
    chart.left = 50;
    chart.right = chart.width - 14;
    chart.top = 26;
    chart.bottom = chart.height - 44;
    snug__axis_fit(&chart.x, SNUG__AXIS_LINEAR, x_lo, x_hi, chart.left + 6, chart.right);
    snug__axis_fit(&chart.y, SNUG__AXIS_AUTO, y_lo, y_hi, chart.bottom, chart.top);
    snug__svg_open(&chart, size, "Scatter plot of decode speed against quality, with its front");
    snug__svg_x_axis(&chart, scatter->title);
    snug__svg_y_axis(&chart, "decode, tokens/s");
    draw_front(&chart, scatter);
    for (size_t i = 0; i < scatter->n; i++)
        draw_point(&chart, &scatter->points[i], &labels);
    snug__svg_close(&chart);
}

static void data(struct snug_buffer *out, const struct scatter *scatter)
{
    const char *names[] = {"Round",      scatter->title, "Standard error", "Low t/s",
                           "Decode t/s", "High t/s",     "Front"};
    char text[SNUG_UNIT_TEXT_MAX];
    snug__data_begin(out, names, 7);
    for (size_t i = 0; i < scatter->n; i++) {
        const struct point *point = &scatter->points[i];
        snug__row_head(out, point->name);
        snprintf(text, sizeof text, "%.5g", point->x);
        snug__cell_number(out, point->x, text);
        snprintf(text, sizeof text, "%.2g", point->se);
        snug__cell_number(out, point->se, point->se >= 0 ? text : "not measured");
        snug__lab_interval_cells(out, point->speed);
        snug__cell_text(out, point->on_front ? "yes" : "no");
        snug_buffer_puts(out, "</tr>\n");
    }
    snug__data_end(out);
}

void snug__lab_scatter(struct snug_buffer *out, const struct snug__lab_view *view)
{
    struct scatter scatter;
    snug_buffer_puts(out, "<h3>Speed against quality</h3>\n");
    read_scatter(view, "kld_mean", "divergence from the reference (mean KLD)", &scatter);
    if (scatter.n < 2)
        read_scatter(view, "perplexity", "perplexity", &scatter);
    if (scatter.n < 2) {
        snug_buffer_printf(out,
                           "<p>No front: %s both a decode speed and a quality, and a front "
                           "needs two.</p>\n",
                           scatter.n == 0 ? "no round has" : "only one round has");
        return;
    }
    snug__figure_begin(out, "Speed against quality", NULL);
    snug_buffer_puts(out, "<ul class=\"legend\">");
    snug__legend_mark(out, SNUG__RING, "default", "baseline");
    snug__legend_mark(out, SNUG__CIRCLE, "search", "round");
    snug__legend_mark(out, SNUG__CIRCLE, "search on-front", "round on the front");
    snug_buffer_puts(out, "<li><span class=\"key-line\"></span>front</li></ul>\n");
    draw(out, &scatter, "wide");
    draw(out, &scatter, "narrow");
    data(out, &scatter);
    snug__figure_end(out, "Up is faster, left is closer to the reference. On the front: no other "
                          "round is at least as good and faster. Lines: interval of the speed, "
                          "standard error of the quality.");
}
