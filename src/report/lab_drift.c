/* Drift of the baseline, which recurs through a run: its speed over time, and the share per hour
 * by which it rose or fell. */
#include "report/lab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct drift {
    const char *name;
    double t[SNUG_REPORT_LAB_POINTS_MAX],
        v[SNUG_REPORT_LAB_POINTS_MAX]; /* seconds since the first point */
    size_t n, n_all;
    double t_hi, v_lo, v_hi;
};

/* A share per hour may be below zero, unlike all that snug__positive reads. */
static void words(struct snug_buffer *out, const struct snug_json_node *entry, const char *name)
{
    const struct snug_json_node *of = snug_json_get(entry, "frac_per_hour");
    double lo = snug__number(of, "lo"), mid = snug__number(of, "mid"), hi = snug__number(of, "hi");
    snug_buffer_puts(out, "<p>Baseline, ");
    snug__html_text(out, name);
    if (!(lo <= mid && mid <= hi && fabs(lo) < 1e6 && fabs(hi) < 1e6)) {
        snug_buffer_puts(out, ": drift not measured.</p>\n");
        return;
    }
    snug_buffer_printf(out, ": %+.2f %% per hour (interval of 95 %%: %+.2f to %+.2f). %s</p>\n",
                       100 * mid, 100 * lo, 100 * hi,
                       lo > 0 || hi < 0 ? "It drifted." : "No drift was shown.");
}

static void read_drift(const struct snug_json_node *entry, const char *name, struct drift *drift)
{
    const struct snug_json_node *list = snug_json_get(entry, "points"),
                                *nodes[SNUG_REPORT_LAB_POINTS_MAX];
    double start = INFINITY;
    *drift = (struct drift){.name = name, .v_lo = INFINITY};
    size_t n = snug_json_elements(list, nodes, SNUG_REPORT_LAB_POINTS_MAX);
    drift->n_all = snug_json_is_array(list) ? snug_json_count(list) : 0;
    for (size_t i = 0; i < n; i++) {
        double t = snug_json_number(snug_json_at(nodes[i], 0), NAN);
        double v = snug_json_number(snug_json_at(nodes[i], 1), NAN);
        if (!(t > 0 && t < 1e12) || !(v > 0) || !snug__svg_is_drawable(v))
            continue;
        start = fmin(start, t);
        drift->t[drift->n] = t;
        drift->v[drift->n++] = v;
        drift->v_lo = fmin(drift->v_lo, v);
        drift->v_hi = fmax(drift->v_hi, v);
    }
    for (size_t i = 0; i < drift->n; i++) {
        drift->t[i] = drift->t[i] - start;
        drift->t_hi = fmax(drift->t_hi, drift->t[i]);
    }
}

static void draw(struct snug_buffer *out, const struct drift *drift, const char *size)
{
    bool is_wide = strcmp(size, "wide") == 0;
    char title[SNUG_UNIT_TEXT_MAX], label[128];
    struct snug__chart chart = {
        .out = out, .width = is_wide ? SNUG__CHART_WIDE : SNUG__CHART_NARROW, .height = 220};
    chart.left = 50;
    chart.right = chart.width - 14;
    chart.top = 26;
    chart.bottom = chart.height - 44;
    double unit_s = drift->t_hi < 3 * 3600 ? 60 : 3600;
    snug__axis_fit(&chart.x, SNUG__AXIS_LINEAR, 0, drift->t_hi / unit_s, chart.left, chart.right);
    snug__axis_fit(&chart.y, SNUG__AXIS_LINEAR, drift->v_lo, drift->v_hi, chart.bottom, chart.top);
    snprintf(label, sizeof label, "%.80s of the baseline over the run", drift->name);
    snug__svg_open(&chart, size, label);
    snug__svg_x_axis(&chart,
                     unit_s > 60 ? "hours since its first row" : "minutes since its first row");
    snug__svg_y_axis(&chart, drift->name);
    for (size_t i = 0; i < drift->n; i++)
        snug__svg_mark(&chart, SNUG__RING, "default", snug__axis_px(&chart.x, drift->t[i] / unit_s),
                       snug__axis_px(&chart.y, drift->v[i]), 4,
                       snug__rate_text(drift->v[i], title));
    snug__svg_close(&chart);
}

static void figure(struct snug_buffer *out, const struct drift *drift)
{
    const char *names[] = {"Point", "Seconds", drift->name};
    char text[SNUG_UNIT_TEXT_MAX];
    snug__figure_begin(out, "Baseline over time", NULL);
    draw(out, drift, "wide");
    draw(out, drift, "narrow");
    snug__data_begin(out, names, 3);
    for (size_t i = 0; i < drift->n; i++) {
        snprintf(text, sizeof text, "%zu", i + 1);
        snug__row_head(out, text);
        snprintf(text, sizeof text, "%.0f", drift->t[i]);
        snug__cell_number(out, drift->t[i], text);
        snug__cell_number(out, drift->v[i], snug__rate_text(drift->v[i], text));
        snug_buffer_puts(out, "</tr>\n");
    }
    snug__data_end(out);
    snug__lab_left_out(out, SNUG_REPORT_LAB_POINTS_MAX, drift->n_all, "points");
    snug__figure_end(out, "One ring per row of the baseline. The axis need not begin at 0.");
}

void snug__lab_drift(struct snug_buffer *out, const struct snug__lab_view *view)
{
    const struct snug_json_node *list = snug_json_get(view->lab->root, "baseline_drift");
    size_t n = snug_json_is_array(list) ? snug_json_count(list) : 0, n_found = 0;
    struct drift *drift = malloc(sizeof *drift); /* 64 kB */
    if (!drift) {
        out->is_failed = true;
        return;
    }
    snug_buffer_puts(out, "<h3>Drift of the baseline</h3>\n");
    for (size_t i = 0; i < n; i++) {
        const struct snug_json_node *entry = snug_json_at(list, i);
        if (strcmp(snug_json_get_string(entry, "model", ""), view->cell->model) != 0 ||
            strcmp(snug_json_get_string(entry, "workload", ""), view->cell->workload) != 0)
            continue;
        char name[256];
        snug__lab_shorten(snug__lab_metric_name(snug_json_get_string(entry, "metric", "")), 60,
                          name);
        words(out, entry, name);
        read_drift(entry, name, drift);
        if (drift->n > 0)
            figure(out, drift);
        n_found++;
    }
    if (n_found == 0)
        snug_buffer_puts(out, "<p>Drift of the baseline: not measured.</p>\n");
    free(drift);
}
