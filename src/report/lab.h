/* Sections and charts of the page of a lab run. Each chart writes a whole <figure> with its data in
 * a folded table, or a sentence that says why there is nothing to draw. */
#ifndef SNUG_REPORT_LAB_H
#define SNUG_REPORT_LAB_H

#include "report/charts.h"
#include "report/html_page.h"
#include "report/lab_doc.h"
#include "snug/report.h"

/* The rounds of one cell that are drawn, the first SNUG_REPORT_LAB_ROUNDS_MAX. */
struct snug__lab_view {
    const struct snug__lab *lab;
    const struct snug__lab_cell *cell;
    size_t i_cell;
    const struct snug__lab_sum *sums[SNUG_REPORT_LAB_ROUNDS_MAX];
    size_t n, n_all;
};

/* One line of bars per round: its name beside it on a desk, above it on a phone. */
struct snug__lab_plot {
    struct snug__chart chart;
    double top, pitch; /* of the lines */
    bool is_wide;
};
/* size: "wide" or "narrow". Sets view box and plot area; the caller fits chart.x and opens. */
void snug__lab_plot_init(struct snug__lab_plot *plot, struct snug_buffer *out, const char *size,
                         size_t n_lines);
/* Middle of the bar of line i. */
double snug__lab_plot_y(const struct snug__lab_plot *plot, size_t i);
/* Name and value of a line; class_name of the value's text. */
void snug__lab_plot_label(struct snug__lab_plot *plot, size_t i, const char *name,
                          const char *class_name, const char *value);
/* <rect> of bar i from data x0 to x1; does not check that they are drawable. */
void snug__lab_plot_bar(struct snug__lab_plot *plot, size_t i, const char *class_name, double x0,
                        double x1, const char *title);
/* Bar i from x0 to the middle, its interval as a line with ends, and a mark on the middle.
 * side: "better", "worse", or "even", whose mark is hollow. */
void snug__lab_plot_interval(struct snug__lab_plot *plot, size_t i, double x0,
                             struct snug_interval of, const char *side);

/* A name with its middle left out when it has more than n_max characters. Returns out. */
const char *snug__lab_shorten(const char *name, size_t n_max, char out[256]);
/* "baseline" for a round without a name. */
const char *snug__lab_round_name(const char *round);
/* "1.07 (1.05 to 1.09)", "not measured". Returns out. */
const char *snug__lab_interval_text(struct snug_interval of, char out[96]);
/* "failed: REASON" of the first failed row of a round; "failed" when no row tells. */
const char *snug__lab_failed_text(const struct snug__lab_view *view, const char *round,
                                  char out[SNUG_REASON_MAX + 16]);
/* The sentence about what a cap left out; nothing when n_all <= n. */
void snug__lab_left_out(struct snug_buffer *out, size_t n, size_t n_all, const char *what);
/* <td> with lo, mid, hi. */
void snug__lab_interval_cells(struct snug_buffer *out, struct snug_interval of);

/* ---- sections ---- */

/* What improved, what failed, thresholds: of the whole run. */
void snug__lab_words(struct snug_buffer *out, const struct snug__lab *lab);
/* Of one model with one workload. */
void snug__lab_ratios(struct snug_buffer *out, const struct snug__lab_view *view);
void snug__lab_verdicts(struct snug_buffer *out, const struct snug__lab_view *view);
void snug__lab_latency(struct snug_buffer *out, const struct snug__lab_view *view);
void snug__lab_memory(struct snug_buffer *out, const struct snug__lab_view *view);
void snug__lab_heat(struct snug_buffer *out, const struct snug__lab_view *view);
void snug__lab_timeline(struct snug_buffer *out, const struct snug__lab_view *view);
void snug__lab_scatter(struct snug_buffer *out, const struct snug__lab_view *view);
void snug__lab_drift(struct snug_buffer *out, const struct snug__lab_view *view);
/* Models, workloads, rounds, and how the run was made. */
void snug__lab_facts(struct snug_buffer *out, const struct snug__lab *lab);
/* Every row. */
void snug__lab_rows(struct snug_buffer *out, const struct snug__lab *lab);

#endif
