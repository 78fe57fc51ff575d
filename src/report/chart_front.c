/* The front plot: speed (up is better) against stated memory (left is better).
 *
 * A trial is a mark by role; a failed trial has no speed, so it lies in a lane of its own below the
 * plot, at the bytes it asked for. Labels of the named trials are placed greedily: of ten positions
 * around the mark the one that covers least. */
#include "report/charts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/html_page.h"

#define LANE_HEIGHT 26.0 /* px of the lane for failed trials */
#define FAR_FACTOR 1.6   /* limits and failed trials further out do not stretch the axis */
#define CROWD 300        /* from so many trials on marks are small and faint */
#define CHARACTER_PX 6.6 /* mean advance at 12 px; only label placement uses it */
#define LABEL_HEIGHT_PX 15.0
#define LABEL_POSITIONS 10
#define ON_LINE_COST                                                                               \
    60.0 /* px^2: the step line leaves a mark on the front to the right or upwards */

struct box {
    double x0, y0, x1, y1;
};

/* What one drawing of the plot needs besides the document. */
struct front_plot {
    struct snug__chart chart;
    const struct snug__report *report;
    bool has_failed;
    double floor; /* px: lower end of the speed axis; the lane lies between it and chart.bottom */
    struct box taken[2 * SNUG__N_WHO]; /* named marks and placed labels */
    int n_taken;
};

enum snug__shape snug__who_shape(enum snug__who who)
{
    static const enum snug__shape shapes[SNUG__N_WHO] = {SNUG__STAR, SNUG__SQUARE, SNUG__DIAMOND};
    return shapes[who];
}

void snug__legend_mark(struct snug_buffer *out, enum snug__shape shape, const char *class_name,
                       const char *name)
{
    struct snug__chart chart = {.out = out, .width = 14, .height = 14};
    snug_buffer_puts(out, "<li><svg class=\"key\" viewBox=\"0 0 14 14\" aria-hidden=\"true\">");
    snug__svg_mark(&chart, shape, class_name, 7, 7, 4, NULL);
    snug_buffer_puts(out, "</svg>");
    snug__html_text(out, name);
    snug_buffer_puts(out, "</li>");
}

static bool is_drawn(const struct snug__row *row)
{
    return row->is_ok && snug__svg_is_drawable(row->speed) && snug__svg_is_drawable(row->bytes);
}

static double drawable_or(double v, double fallback)
{
    return snug__svg_is_drawable(v) && v > 0 ? v : fallback;
}

/* Axes over all drawn trials; false when there is none. */
static bool fit_axes(struct front_plot *plot)
{
    double s_lo = INFINITY, s_hi = 0, b_lo = INFINITY, b_hi = 0;
    const struct snug__report *report = plot->report;
    for (size_t i = 0; i < report->n_rows; i++) {
        const struct snug__row *row = &report->rows[i];
        plot->has_failed |= !row->is_ok;
        if (!is_drawn(row))
            continue;
        s_lo = fmin(s_lo, drawable_or(row->speed_lo, row->speed));
        s_hi = fmax(s_hi, drawable_or(row->speed_hi, row->speed));
        b_lo = fmin(b_lo, row->bytes);
        b_hi = fmax(b_hi, row->bytes);
    }
    if (s_hi <= 0)
        return false;
    double b_most = b_hi;
    for (size_t i = 0; i < report->n_rows; i++)
        if (!report->rows[i].is_ok && report->rows[i].bytes <= FAR_FACTOR * b_most)
            b_hi = fmax(b_hi, report->rows[i].bytes);
    if (report->limit_bytes <= FAR_FACTOR * b_most)
        b_hi = fmax(b_hi, report->limit_bytes);
    struct snug__chart *chart = &plot->chart;
    chart->left = 52;
    chart->right = chart->width - 14;
    chart->top = 30;
    chart->bottom = chart->height - 44;
    plot->floor = chart->bottom - (plot->has_failed ? LANE_HEIGHT : 0);
    snug__axis_fit(&chart->x, SNUG__AXIS_BYTES, b_lo, b_hi, chart->left, chart->right);
    snug__axis_fit(&chart->y, SNUG__AXIS_AUTO, s_lo, s_hi, plot->floor, chart->top);
    return true;
}

/* Plain text of a tooltip; out is emptied first. */
static void row_title(const struct snug__report *report, const struct snug__row *row,
                      struct snug_buffer *out)
{
    char a[SNUG_UNIT_TEXT_MAX], b[SNUG_UNIT_TEXT_MAX];
    snug_buffer_consume(out, out->len);
    snug_buffer_printf(out, "trial %lld, %s%s%s: ", (long long)row->id,
                       row->role[0] ? row->role : "no role", row->strategy[0] ? " by " : "",
                       row->strategy);
    if (!row->is_ok)
        snug_buffer_printf(out, "failed, %s: %s", row->outcome,
                           row->reason[0] ? row->reason : "no reason recorded");
    else
        snug_buffer_printf(out, "%s %s", snug__rate_text(row->speed, a), snug__speed_unit(report));
    if (row->speed_lo > 0 && row->speed_hi > 0)
        snug_buffer_printf(out, " (%s to %s)", snug__rate_text(row->speed_lo, a),
                           snug__rate_text(row->speed_hi, b));
    snug_buffer_printf(out, "; memory %s%s\n%s", snug__bytes_text(row->bytes, a),
                       row->on_front ? "; on the front" : "", row->config_text);
}

static int by_bytes(const void *a, const void *b)
{
    const struct snug__row *p = *(const struct snug__row *const *)a;
    const struct snug__row *q = *(const struct snug__row *const *)b;
    if (p->bytes != q->bytes)
        return p->bytes < q->bytes ? -1 : 1;
    return (p->speed > q->speed) - (p->speed < q->speed);
}

/* The best speed that so much memory buys, as a step line with the dominated side shaded. */
static void draw_front(struct front_plot *plot)
{
    struct snug__chart *chart = &plot->chart;
    const struct snug__row **front = calloc(plot->report->n_rows, sizeof *front);
    struct snug_buffer path = {0};
    size_t n = 0;
    chart->out->is_failed |= !front;
    for (size_t i = 0; front && i < plot->report->n_rows; i++)
        if (plot->report->rows[i].on_front && is_drawn(&plot->report->rows[i]))
            front[n++] = &plot->report->rows[i];
    if (n > 0) {
        qsort(front, n, sizeof *front, by_bytes);
        double x0 = snug__axis_px(&chart->x, front[0]->bytes);
        snug_buffer_printf(&path, "M%.1f %.1f", x0, snug__axis_px(&chart->y, front[0]->speed));
        for (size_t i = 1; i < n; i++)
            snug_buffer_printf(&path, "H%.1fV%.1f", snug__axis_px(&chart->x, front[i]->bytes),
                               snug__axis_px(&chart->y, front[i]->speed));
        snug_buffer_printf(&path, "H%.1f", chart->right);
        snug_buffer_printf(chart->out, "<path class=\"front-area\" d=\"%sV%.1fH%.1fz\"/>\n",
                           snug_buffer_text(&path), plot->floor, x0);
        snug_buffer_printf(chart->out, "<path class=\"front-line\" d=\"%s\"/>\n",
                           snug_buffer_text(&path));
    }
    chart->out->is_failed |= path.is_failed;
    snug_buffer_clear(&path);
    free(front);
}

static void draw_limit(struct front_plot *plot)
{
    struct snug__chart *chart = &plot->chart;
    char size[SNUG_UNIT_TEXT_MAX], text[64];
    double limit = plot->report->limit_bytes;
    if (!(limit > 0))
        return;
    bool is_inside = limit <= chart->x.hi;
    double x = snug__axis_px(&chart->x, limit);
    snprintf(text, sizeof text, is_inside ? "limit %s" : "limit %s, further right",
             snug__bytes_text(limit, size));
    bool is_left = is_inside && x < (chart->left + chart->right) / 2;
    if (is_inside)
        snug__svg_line(chart, "limit", x, chart->top, x, chart->bottom);
    snug__svg_text(chart, "limit-text",
                   !is_inside ? chart->right
                   : is_left  ? x + 5
                              : x - 5,
                   plot->floor - 7, is_left ? "start" : "end", text);
}

static bool is_named(const struct snug__report *report, const struct snug__row *row)
{
    for (int who = 0; who < SNUG__N_WHO; who++)
        if (report->who[who] == row)
            return true;
    return false;
}

static void draw_interval(struct snug__chart *chart, const struct snug__row *row,
                          const char *class_name)
{
    if (!snug__svg_is_drawable(row->speed_lo) || !snug__svg_is_drawable(row->speed_hi))
        return;
    double x = snug__axis_px(&chart->x, row->bytes);
    snug__svg_line(chart, class_name, x, snug__axis_px(&chart->y, row->speed_lo), x,
                   snug__axis_px(&chart->y, row->speed_hi));
}

static double lane_y(const struct front_plot *plot)
{
    return (plot->floor + plot->chart.bottom) / 2;
}

/* Every trial but the named ones. */
static void draw_rows(struct front_plot *plot)
{
    struct snug__chart *chart = &plot->chart;
    const struct snug__report *report = plot->report;
    struct snug_buffer title = {0};
    double r = report->n_rows > CROWD ? 2.5 : 4;
    snug_buffer_printf(chart->out, "<g%s>\n", report->n_rows > CROWD ? " class=\"crowd\"" : "");
    for (size_t i = 0; i < report->n_rows; i++) {
        const struct snug__row *row = &report->rows[i];
        if (is_named(report, row) || (row->is_ok && !is_drawn(row)))
            continue;
        row_title(report, row, &title);
        double x = snug__axis_px(&chart->x, drawable_or(row->bytes, chart->x.lo));
        if (!row->is_ok) {
            snug__svg_mark(chart, SNUG__CROSS, "failed", x, lane_y(plot), r,
                           snug_buffer_text(&title));
            continue;
        }
        draw_interval(chart, row, "interval");
        snug__svg_mark(chart, snug__row_is_again(row) ? SNUG__RING : SNUG__CIRCLE,
                       row->on_front ? "search on-front" : "search", x,
                       snug__axis_px(&chart->y, row->speed), r, snug_buffer_text(&title));
    }
    snug_buffer_puts(chart->out, "</g>\n");
    chart->out->is_failed |= title.is_failed;
    snug_buffer_clear(&title);
}

static double overlap(const struct box *a, const struct box *b)
{
    double w = fmin(a->x1, b->x1) - fmax(a->x0, b->x0);
    double h = fmin(a->y1, b->y1) - fmax(a->y0, b->y0);
    return w > 0 && h > 0 ? w * h : 0;
}

/* How badly a label would sit in box: over other labels, marks, or outside the plot. */
static double label_cost(const struct front_plot *plot, const struct box *box)
{
    const struct snug__chart *chart = &plot->chart;
    struct box inside = {chart->left, chart->top - 6, chart->right, plot->floor};
    double area = (box->x1 - box->x0) * (box->y1 - box->y0);
    double cost = 20 * (area - overlap(box, &inside));
    for (int i = 0; i < plot->n_taken; i++)
        cost += 10 * overlap(box, &plot->taken[i]);
    for (size_t i = 0; i < plot->report->n_rows; i++) {
        const struct snug__row *row = &plot->report->rows[i];
        double x = snug__axis_px(&chart->x, row->bytes), y = snug__axis_px(&chart->y, row->speed);
        struct box mark = {x - 4, y - 4, x + 4, y + 4};
        if (is_drawn(row))
            cost += overlap(box, &mark);
    }
    return cost;
}

/* Write text near the mark of a row where it covers least. */
static void place_label(struct front_plot *plot, const struct snug__row *row, const char *text)
{
    static const struct {
        double dx, dy; /* of the text's anchor from the mark, px */
        int side;      /* -1: text ends there, 0: centred, 1: begins */
    } at[LABEL_POSITIONS] = {{11, 4, 1}, {-11, 4, -1},  {0, -13, 0},  {0, 22, 0},   {9, -11, 1},
                             {9, 19, 1}, {-9, -11, -1}, {-9, 19, -1}, {14, -26, 1}, {14, 34, 1}};
    static const char *const anchors[] = {"end", "middle", "start"};
    double x = snug__axis_px(&plot->chart.x, row->bytes);
    double y = snug__axis_px(&plot->chart.y, row->speed);
    double width = CHARACTER_PX * (double)strlen(text), best_cost = INFINITY;
    struct box best = {0};
    int chosen = 0;
    bool is_near_line = row->on_front || row == plot->report->who[SNUG__PICK];
    for (int i = 0; i < LABEL_POSITIONS; i++) {
        double x0 = x + at[i].dx - width * (1 - at[i].side) / 2, base = y + at[i].dy;
        struct box box = {x0, base - LABEL_HEIGHT_PX + 3, x0 + width, base + 3};
        double cost = label_cost(plot, &box) + i; /* equal ones: the earlier */
        if (is_near_line && at[i].side >= 0 && at[i].dy < 10)
            cost += ON_LINE_COST;
        if (cost < best_cost) {
            best_cost = cost;
            best = box;
            chosen = i;
        }
    }
    plot->taken[plot->n_taken++] = best;
    snug__svg_text(&plot->chart, "mark-label", x + at[chosen].dx, y + at[chosen].dy,
                   anchors[at[chosen].side + 1], text);
}

/* "pick = default  54.3": all names of one trial at once. */
static void label_text(const struct snug__report *report, const struct snug__row *row, char out[96])
{
    char rate[SNUG_UNIT_TEXT_MAX], names[48] = "";
    int at = 0;
    for (int who = 0; who < SNUG__N_WHO; who++)
        if (report->who[who] == row)
            at += snprintf(names + at, sizeof names - (size_t)at, "%s%s", at ? " = " : "",
                           snug__who_name((enum snug__who)who));
    snprintf(out, 96, "%s %s", names, snug__rate_text(row->speed, rate));
}

static void draw_named(struct front_plot *plot)
{
    struct snug__chart *chart = &plot->chart;
    const struct snug__report *report = plot->report;
    struct snug_buffer title = {0};
    double r = chart->width > 500 ? 6.5 : 5.5;
    for (int who = SNUG__N_WHO - 1; who >= 0; who--) { /* the pick last, on top */
        const struct snug__row *row = report->who[who];
        if (!row || !is_drawn(row))
            continue;
        const char *name = snug__who_name((enum snug__who)who);
        double x = snug__axis_px(&chart->x, row->bytes), y = snug__axis_px(&chart->y, row->speed);
        row_title(report, row, &title);
        draw_interval(chart, row, "interval named");
        snug__svg_mark(chart, snug__who_shape((enum snug__who)who), name, x, y, r,
                       snug_buffer_text(&title));
        plot->taken[plot->n_taken++] = (struct box){x - r, y - r, x + r, y + r};
    }
    for (int who = 0; who < SNUG__N_WHO; who++) {
        const struct snug__row *row = report->who[who];
        bool is_first = true; /* one trial may carry several names: one label */
        for (int before = 0; before < who; before++)
            is_first &= report->who[before] != row;
        if (!row || !is_drawn(row) || !is_first)
            continue;
        char text[96];
        label_text(report, row, text);
        place_label(plot, row, text);
    }
    chart->out->is_failed |= title.is_failed;
    snug_buffer_clear(&title);
}

static void draw(struct front_plot *plot, const char *class_name)
{
    struct snug__chart *chart = &plot->chart;
    char title[64], label[160];
    snprintf(title, sizeof title, "%s, %s", snug__speed_name(plot->report),
             snug__speed_unit(plot->report));
    snprintf(label, sizeof label,
             "Scatter plot of %s against memory, %zu trials, with the front as a step line",
             snug__speed_name(plot->report), plot->report->n_rows);
    snug__svg_open(chart, class_name, label);
    draw_front(plot);
    if (plot->has_failed) {
        snug__svg_line(chart, "axis", chart->left, plot->floor, chart->right, plot->floor);
        snug__svg_text(chart, "tick", chart->left - 8, lane_y(plot) + 4, "end", "failed");
    }
    snug__svg_y_axis(chart, title);
    snug__svg_x_axis(chart, "memory");
    draw_limit(plot);
    draw_rows(plot);
    draw_named(plot);
    snug__svg_close(chart);
}

/* Only what occurs. */
static void legend(struct snug_buffer *out, const struct snug__report *report)
{
    bool has_search = false, has_front = false, has_again = false;
    for (size_t i = 0; i < report->n_rows; i++) {
        const struct snug__row *row = &report->rows[i];
        has_again |= row->is_ok && snug__row_is_again(row);
        has_front |= row->on_front && !is_named(report, row);
        has_search |= row->is_ok && !row->on_front && !is_named(report, row);
    }
    snug_buffer_puts(out, "<ul class=\"legend\">");
    for (int who = 0; who < SNUG__N_WHO; who++)
        if (report->who[who] && is_drawn(report->who[who]))
            snug__legend_mark(out, snug__who_shape((enum snug__who)who),
                              snug__who_name((enum snug__who)who),
                              snug__who_name((enum snug__who)who));
    if (has_search)
        snug__legend_mark(out, SNUG__CIRCLE, "search", "trial");
    if (has_front)
        snug__legend_mark(out, SNUG__CIRCLE, "search on-front", "trial on the front");
    if (has_again)
        snug__legend_mark(out, SNUG__RING, "search", "re-measured");
    if (report->n_ok < report->n_rows)
        snug__legend_mark(out, SNUG__CROSS, "failed", "failed, no speed");
    snug_buffer_puts(out, "<li><span class=\"key-line\"></span>front</li></ul>\n");
}

void snug__chart_front(struct snug_buffer *out, const struct snug__report *report)
{
    struct front_plot wide = {.report = report,
                              .chart = {.out = out, .width = SNUG__CHART_WIDE, .height = 420}};
    struct front_plot narrow = {.report = report,
                                .chart = {.out = out, .width = SNUG__CHART_NARROW, .height = 340}};
    struct snug_buffer caption = {0};
    if (!fit_axes(&wide) || !fit_axes(&narrow)) {
        snug_buffer_puts(out, "<p>No trial gave both a speed and its bytes, so there is no front "
                              "to draw.</p>\n");
        return;
    }
    snug__figure_begin(out, "speed against memory", "trial-table");
    legend(out, report);
    draw(&wide, "wide");
    draw(&narrow, "narrow");
    const bool has_objectives = snug_json_count(snug_json_get(report->root, "objectives")) > 0;
    snug_buffer_puts(&caption, "Up and to the left is better. ");
    snug_buffer_puts(&caption, has_objectives
                                   ? "Trials on the front are those of the objectives above"
                                   : "A trial is on the front when no other is both faster and "
                                     "smaller");
    snug_buffer_puts(&caption,
                     "; the step line is the best speed that so much memory "
                     "buys. Memory = weights + cache + compute buffers as the engine states "
                     "them. Bars are intervals of the speed.");
    snug__figure_end(out, snug_buffer_text(&caption));
    out->is_failed |= caption.is_failed;
    snug_buffer_clear(&caption);
}
