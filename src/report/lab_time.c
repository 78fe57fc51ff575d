/* Timeline of a cell: speed of each row when it ran, and under it what went on beside: clock, other
 * load, pressure, from the samples of each row (thinned to SNUG_REPORT_LAB_POINTS_MAX a panel) or,
 * where a row has none, from its overall figure. */
#include "report/lab.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "snug/conditions.h"

#define POINTS_OF_ROW_MAX 64
#define N_CONDITIONS 3
#define SPEED_HEIGHT 190.0
#define PANEL_HEIGHT 52.0
#define PANEL_GAP 34.0

static const struct condition {
    const char *name, *key, *overall_key; /* in samples, and in conditions */
    double scale;
    const char *title;
} CONDITIONS[N_CONDITIONS] = {
    {"Clock GHz", "clock_hz", "clock_hz_median", 1e-9, "clock, GHz"},
    {"Other load %", "other_load_frac", "other_load_frac", 100, "other load, %"},
    {"Pressure %", "pressure_cpu_frac", "pressure_cpu_frac", 100, "CPU pressure (PSI), %"},
};

struct timeline {
    const struct snug__lab_view *view;
    const char *speed_key, *speed_title;
    double start, unit_s; /* Unix seconds of x = 0; seconds of one unit of x */
    double x_hi, speed_lo, speed_hi;
    double lo[N_CONDITIONS], hi[N_CONDITIONS]; /* hi < lo: nothing to draw */
    size_t n_rows, n_points_each;
};

/* Points of one condition of one row, in seconds since its start. */
struct trace {
    double t[POINTS_OF_ROW_MAX], v[POINTS_OF_ROW_MAX];
    size_t n;
};

static bool is_timed(const struct timeline *line, const struct snug__lab_row *row)
{
    return row->i_cell == line->view->i_cell && row->started_unix_s > 0;
}

static double speed_of(const struct timeline *line, const struct snug__lab_row *row)
{
    double v = row->is_ok ? snug__positive(row->measurement, line->speed_key) : NAN;
    return snug__svg_is_drawable(v) ? v : NAN;
}

/* The one figure that a row has without samples, as a line over its whole time. */
static void overall_trace(const struct snug__lab_row *row, const struct condition *condition,
                          struct trace *out)
{
    const struct snug_json_node *conditions = snug_json_get(row->measurement, "conditions");
    double v = snug__number(conditions, condition->overall_key) * condition->scale;
    double wall = snug__positive(row->measurement, "wall_s");
    out->n = 0;
    if (!snug__svg_is_drawable(v))
        return;
    out->t[0] = 0;
    out->t[1] = wall > 0 && wall < 1e7 ? wall : 1;
    out->v[0] = out->v[1] = v;
    out->n = 2;
}

/* Means over runs of samples, so that at most n_max points are left. */
static void read_trace(const struct snug__lab_row *row, const struct condition *condition,
                       size_t n_max, struct trace *out)
{
    const struct snug_json_node *nodes_t[SNUG_CONDITION_SAMPLES_MAX];
    const struct snug_json_node *nodes_v[SNUG_CONDITION_SAMPLES_MAX];
    const struct snug_json_node *samples = snug_json_get(row->measurement, "samples");
    size_t n =
        snug_json_elements(snug_json_get(samples, "t_s"), nodes_t, SNUG_CONDITION_SAMPLES_MAX);
    size_t n_v = snug_json_elements(snug_json_get(samples, condition->key), nodes_v,
                                    SNUG_CONDITION_SAMPLES_MAX);
    size_t each = 1, n_in = 0;
    double t = 0, v = 0;
    n = n < n_v ? n : n_v;
    if (n_max < n)
        each = (n + n_max - 1) / n_max;
    out->n = 0;
    for (size_t i = 0; i < n; i++) {
        double at = snug_json_number(nodes_t[i], NAN), value = snug_json_number(nodes_v[i], NAN);
        value *= condition->scale;
        if (at >= 0 && at < 1e7 && snug__svg_is_drawable(value)) {
            t += at;
            v += value;
            n_in++;
        }
        if (n_in > 0 && ((i + 1) % each == 0 || i + 1 == n)) {
            out->t[out->n] = t / (double)n_in;
            out->v[out->n++] = v / (double)n_in;
            t = v = 0;
            n_in = 0;
        }
    }
    if (out->n == 0)
        overall_trace(row, condition, out);
}

static void read_conditions(struct timeline *line)
{
    struct trace trace;
    for (size_t i = 0; i < line->view->lab->n_rows; i++) {
        const struct snug__lab_row *row = &line->view->lab->rows[i];
        for (int c = 0; c < N_CONDITIONS && is_timed(line, row); c++) {
            read_trace(row, &CONDITIONS[c], line->n_points_each, &trace);
            for (size_t p = 0; p < trace.n; p++) {
                line->lo[c] = fmin(line->lo[c], trace.v[p]);
                line->hi[c] = fmax(line->hi[c], trace.v[p]);
                line->x_hi = fmax(line->x_hi, row->started_unix_s + trace.t[p] - line->start);
            }
        }
    }
}

/* Extent in time and speed; false when no row of the cell tells when it ran and how fast. */
static bool read_timeline(const struct snug__lab_view *view, struct timeline *line,
                          const char *speed_key, const char *speed_title)
{
    *line = (struct timeline){.view = view,
                              .speed_key = speed_key,
                              .speed_title = speed_title,
                              .start = INFINITY,
                              .speed_lo = INFINITY};
    double last = 0;
    for (size_t i = 0; i < view->lab->n_rows; i++) {
        const struct snug__lab_row *row = &view->lab->rows[i];
        if (!is_timed(line, row))
            continue;
        double v = speed_of(line, row);
        line->n_rows++;
        line->start = fmin(line->start, row->started_unix_s);
        last = fmax(last, row->started_unix_s);
        line->speed_lo = v > 0 ? fmin(line->speed_lo, v) : line->speed_lo;
        line->speed_hi = v > 0 ? fmax(line->speed_hi, v) : line->speed_hi;
    }
    if (!(line->speed_hi > 0) || !(last - line->start < 1e9)) /* 30 years are no run */
        return false;
    line->x_hi = fmax(last - line->start, 1);
    line->n_points_each = SNUG_REPORT_LAB_POINTS_MAX / line->n_rows;
    line->n_points_each =
        line->n_points_each < POINTS_OF_ROW_MAX ? line->n_points_each : POINTS_OF_ROW_MAX;
    line->n_points_each += line->n_points_each == 0;
    for (int c = 0; c < N_CONDITIONS; c++) {
        line->lo[c] = INFINITY;
        line->hi[c] = -1;
    }
    read_conditions(line);
    line->unit_s = line->x_hi < 300 ? 1 : line->x_hi < 3 * 3600 ? 60 : 3600;
    return true;
}

static double x_of(const struct timeline *line, double unix_s)
{
    return (unix_s - line->start) / line->unit_s;
}

static void draw_speed(struct snug__chart *chart, const struct timeline *line)
{
    const struct snug__lab *lab = line->view->lab;
    char rate[SNUG_UNIT_TEXT_MAX], name[256], title[384];
    snug__svg_y_axis(chart, line->speed_title);
    for (size_t i = 0; i < lab->n_rows; i++) {
        const struct snug__lab_row *row = &lab->rows[i];
        if (!is_timed(line, row))
            continue;
        double v = speed_of(line, row),
               x = snug__axis_px(&chart->x, x_of(line, row->started_unix_s));
        snug__lab_shorten(snug__lab_round_name(row->round), 80, name);
        snprintf(title, sizeof title, "%s: %s", name,
                 row->is_ok ? snug__rate_text(v, rate) : "failed");
        if (!row->is_ok)
            snug__svg_mark(chart, SNUG__CROSS, "failed", x, chart->bottom - 7, 4, title);
        else if (v > 0)
            snug__svg_mark(chart, row->is_baseline ? SNUG__RING : SNUG__CIRCLE,
                           row->is_baseline ? "default" : "search", x, snug__axis_px(&chart->y, v),
                           4, title);
    }
}

static void draw_trace(struct snug__chart *chart, const struct timeline *line, double start,
                       const struct trace *trace)
{
    if (trace->n == 0)
        return;
    snug_buffer_puts(chart->out, "<path class=\"trace\" d=\"");
    for (size_t p = 0; p < trace->n; p++)
        snug_buffer_printf(chart->out, "%c%.1f %.1f", p ? 'L' : 'M',
                           snug__axis_px(&chart->x, x_of(line, start + trace->t[p])),
                           snug__axis_px(&chart->y, trace->v[p]));
    snug_buffer_puts(chart->out, "\"/>\n");
}

static void draw_condition(struct snug__chart *chart, const struct timeline *line, int c)
{
    struct trace trace;
    snug__axis_fit(&chart->y, SNUG__AXIS_LINEAR, line->lo[c], line->hi[c], chart->bottom,
                   chart->top);
    snug__svg_y_axis(chart, CONDITIONS[c].title);
    for (size_t i = 0; i < line->view->lab->n_rows; i++) {
        const struct snug__lab_row *row = &line->view->lab->rows[i];
        if (!is_timed(line, row))
            continue;
        read_trace(row, &CONDITIONS[c], line->n_points_each, &trace);
        draw_trace(chart, line, row->started_unix_s, &trace);
    }
}

static void draw(struct snug_buffer *out, const struct timeline *line, const char *size)
{
    bool is_wide = strcmp(size, "wide") == 0;
    struct snug__chart chart = {.out = out,
                                .width = is_wide ? SNUG__CHART_WIDE : SNUG__CHART_NARROW};
    int n_panels = 0;
    for (int c = 0; c < N_CONDITIONS; c++)
        n_panels += line->hi[c] >= line->lo[c];
    chart.left = 46;
    chart.right = chart.width - 12;
    double top = 24, bottom = top + SPEED_HEIGHT + n_panels * (PANEL_GAP + PANEL_HEIGHT);
    chart.height = bottom + 44;
    chart.top = top;
    chart.bottom = bottom;
    snug__axis_fit(&chart.x, SNUG__AXIS_LINEAR, 0, line->x_hi / line->unit_s, chart.left,
                   chart.right);
    snug__svg_open(&chart, size, "Speed of every row over time, conditions under it");
    snug__svg_x_axis(&chart, line->unit_s < 2    ? "seconds since the first row"
                             : line->unit_s < 61 ? "minutes since the first row"
                                                 : "hours since the first row");
    chart.bottom = top + SPEED_HEIGHT;
    snug__axis_fit(&chart.y, SNUG__AXIS_AUTO, line->speed_lo, line->speed_hi, chart.bottom,
                   chart.top);
    draw_speed(&chart, line);
    for (int c = 0; c < N_CONDITIONS; c++) {
        if (!(line->hi[c] >= line->lo[c]))
            continue;
        chart.top = chart.bottom + PANEL_GAP;
        chart.bottom = chart.top + PANEL_HEIGHT;
        draw_condition(&chart, line, c);
    }
    snug__svg_close(&chart);
}

/* Mean of what is drawn of a row; NAN for none. */
static double trace_mean(const struct trace *trace)
{
    double sum = 0;
    for (size_t p = 0; p < trace->n; p++)
        sum += trace->v[p];
    return trace->n ? sum / (double)trace->n : NAN;
}

static void data_row(struct snug_buffer *out, const struct timeline *line,
                     const struct snug__lab_row *row)
{
    struct trace trace;
    char text[64];
    double v = speed_of(line, row);
    snug__row_head(out, snug__lab_round_name(row->round));
    snprintf(text, sizeof text, "%.1f", row->started_unix_s - line->start);
    snug__cell_number(out, row->started_unix_s - line->start, text);
    snug__cell_number(out, v, snug__rate_text(v, text));
    for (int c = 0; c < N_CONDITIONS; c++) {
        read_trace(row, &CONDITIONS[c], line->n_points_each, &trace);
        double mean = trace_mean(&trace);
        snprintf(text, sizeof text, "%.3g", mean);
        snug__cell_number(out, mean, mean >= 0 ? text : "not measured");
    }
    snug__cell_text(out, row->outcome);
    snug_buffer_puts(out, "</tr>\n");
}

static void data(struct snug_buffer *out, const struct timeline *line)
{
    const char *names[] = {"Round",
                           "Seconds",
                           line->speed_title,
                           CONDITIONS[0].name,
                           CONDITIONS[1].name,
                           CONDITIONS[2].name,
                           "Outcome"};
    size_t n = 0;
    snug__data_begin(out, names, 7);
    for (size_t i = 0; i < line->view->lab->n_rows && n < SNUG_REPORT_LAB_TABLE_MAX; i++) {
        if (!is_timed(line, &line->view->lab->rows[i]))
            continue;
        data_row(out, line, &line->view->lab->rows[i]);
        n++;
    }
    snug__data_end(out);
    snug__lab_left_out(out, n, line->n_rows, "rows");
}

void snug__lab_timeline(struct snug_buffer *out, const struct snug__lab_view *view)
{
    struct timeline line;
    snug_buffer_puts(out, "<h3>Over time</h3>\n");
    if (!read_timeline(view, &line, "decode_tps", "decode, tokens/s") &&
        !read_timeline(view, &line, "prefill_tps", "prefill, tokens/s")) {
        snug_buffer_puts(out, "<p>Speed over time: not measured.</p>\n");
        return;
    }
    snug__figure_begin(out, "Speed and conditions over time", NULL);
    snug_buffer_puts(out, "<ul class=\"legend\">");
    snug__legend_mark(out, SNUG__RING, "default", "baseline");
    snug__legend_mark(out, SNUG__CIRCLE, "search", "round");
    snug__legend_mark(out, SNUG__CROSS, "failed", "failed, no speed");
    snug_buffer_puts(out, "</ul>\n");
    draw(out, &line, "wide");
    draw(out, &line, "narrow");
    data(out, &line);
    snug__figure_end(out, "A mark where each row began. Under it, what was sampled while it ran; a "
                          "panel is missing where this machine could not tell.");
}
