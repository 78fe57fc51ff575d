/* Rounds against the baseline: one chart per metric, a bar from 1 to the middle of the ratio and
 * its interval as a line. Green and filled: better beyond the interval; orange: worse; grey and
 * hollow: not told apart. */
#include "report/lab.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct bars {
    const struct snug__lab_view *view;
    const char *metric;
    const struct snug__lab_ratio *ratios[SNUG_REPORT_LAB_ROUNDS_MAX]; /* drawable ones, or NULL */
    const struct snug__lab_sum *sums[SNUG_REPORT_LAB_ROUNDS_MAX];     /* the lines, no baseline */
    size_t n;
    double lo, hi;
};

static const struct snug__lab_ratio *find_ratio(const struct snug__lab_view *view,
                                                const char *round, const char *metric)
{
    for (size_t i = 0; i < view->lab->n_ratios; i++) {
        const struct snug__lab_ratio *ratio = &view->lab->ratios[i];
        if (ratio->i_cell == view->i_cell && strcmp(ratio->metric, metric) == 0 &&
            strcmp(ratio->round, round) == 0)
            return ratio;
    }
    return NULL;
}

/* False when there is no interval to draw. */
static bool read_bars(const struct snug__lab_view *view, const char *metric, struct bars *bars)
{
    bool has_any = false;
    *bars = (struct bars){.view = view, .metric = metric, .lo = 1, .hi = 1};
    for (size_t i = 0; i < view->n; i++) {
        const struct snug__lab_sum *sum = view->sums[i];
        if (strcmp(snug__lab_round_name(sum->round), "baseline") == 0)
            continue;
        const struct snug__lab_ratio *ratio = find_ratio(view, sum->round, metric);
        /* a ratio of a failed round would be of nothing */
        if (sum->state == SNUG__LAB_FAILED || (ratio && !snug__svg_is_drawable(ratio->of.hi)))
            ratio = NULL;
        bars->sums[bars->n] = sum;
        bars->ratios[bars->n++] = ratio;
        if (!ratio)
            continue;
        has_any = true;
        bars->lo = fmin(bars->lo, ratio->of.lo);
        bars->hi = fmax(bars->hi, ratio->of.hi);
    }
    return has_any;
}

static void draw_bars(struct snug_buffer *out, const struct bars *bars, const char *size)
{
    static const char *const sides[] = {"worse", "even", "better"};
    struct snug__lab_plot plot;
    const struct snug__lab_metric *metric = snug__lab_metric_of(bars->metric);
    char text[96], title[160];
    snug__lab_plot_init(&plot, out, size, bars->n);
    snug__axis_fit(&plot.chart.x, SNUG__AXIS_AUTO, bars->lo, bars->hi, plot.chart.left,
                   plot.chart.right);
    snprintf(title, sizeof title, "Bars of %.60s over the baseline's, with intervals",
             snug__lab_metric_name(bars->metric));
    snug__svg_open(&plot.chart, size, title);
    snug__svg_x_axis(&plot.chart, !metric                  ? "times the baseline"
                                  : metric->is_more_better ? "times the baseline, more is better"
                                                           : "times the baseline, less is better");
    double one = snug__axis_px(&plot.chart.x, 1);
    snug__svg_line(&plot.chart, "reference", one, plot.chart.top, one, plot.chart.bottom);
    for (size_t i = 0; i < bars->n; i++) {
        bool is_failed = bars->sums[i]->state == SNUG__LAB_FAILED;
        if (bars->ratios[i])
            snug__lab_plot_interval(&plot, i, 1, bars->ratios[i]->of,
                                    sides[snug__lab_ratio_side(bars->ratios[i]) + 1]);
        snug__lab_plot_label(&plot, i, bars->sums[i]->round,
                             is_failed         ? "failed-text"
                             : bars->ratios[i] ? "value"
                                               : "tick",
                             is_failed         ? "failed"
                             : bars->ratios[i] ? snug__lab_interval_text(bars->ratios[i]->of, text)
                                               : "not measured");
    }
    snug__svg_close(&plot.chart);
}

static void data_row(struct snug_buffer *out, const struct bars *bars, size_t i)
{
    static const struct snug_interval none = {NAN, NAN, NAN};
    char text[SNUG_UNIT_TEXT_MAX], failed[SNUG_REASON_MAX + 16];
    const struct snug__lab_ratio *ratio = bars->ratios[i];
    double n_pairs = ratio ? snug__positive(ratio->node, "n_pairs") : NAN;
    snug__row_head(out, bars->sums[i]->round);
    snug__lab_interval_cells(out, ratio ? ratio->of : none);
    snug__cell_number(out, n_pairs, snug__count_text(n_pairs, text));
    if (bars->sums[i]->state == SNUG__LAB_FAILED)
        snug__cell_text(out, snug__lab_failed_text(bars->view, bars->sums[i]->round, failed));
    else
        snug__cell_text(out, ratio ? snug_json_get_string(ratio->node, "words", "") : "");
    snug_buffer_puts(out, "</tr>\n");
}

static void figure(struct snug_buffer *out, const struct bars *bars)
{
    static const char *const names[] = {"Round", "Low", "Middle", "High", "Pairs", "In words"};
    char name[128];
    snprintf(name, sizeof name, "%.60s against the baseline", snug__lab_metric_name(bars->metric));
    snug_buffer_puts(out, "<h4>");
    snug__html_text(out, snug__lab_metric_name(bars->metric));
    snug_buffer_puts(out, "</h4>\n");
    snug__figure_begin(out, name, NULL);
    draw_bars(out, bars, "wide");
    draw_bars(out, bars, "narrow");
    snug__data_begin(out, names, 6);
    for (size_t i = 0; i < bars->n; i++)
        data_row(out, bars, i);
    snug__data_end(out);
    snug__figure_end(out, "Ratio to the baseline of the same repetition, interval of 95 %. Filled "
                          "dot: told apart from 1. Ring: no difference shown.");
}

void snug__lab_ratios(struct snug_buffer *out, const struct snug__lab_view *view)
{
    const char *metrics[16]; /* of this cell, in the order of the document */
    size_t n = 0, n_drawn = 0;
    for (size_t i = 0; i < view->lab->n_ratios && n < 16; i++) {
        const struct snug__lab_ratio *ratio = &view->lab->ratios[i];
        bool is_known = ratio->i_cell != view->i_cell;
        for (size_t j = 0; j < n && !is_known; j++)
            is_known = strcmp(metrics[j], ratio->metric) == 0;
        if (!is_known)
            metrics[n++] = ratio->metric;
    }
    snug_buffer_puts(out, "<h3>Against the baseline</h3>\n");
    for (size_t i = 0; i < n; i++) {
        struct bars bars;
        if (!read_bars(view, metrics[i], &bars))
            continue;
        figure(out, &bars);
        n_drawn++;
    }
    if (n_drawn == 0)
        snug_buffer_puts(out, "<p>Ratios to the baseline: not measured.</p>\n");
}
