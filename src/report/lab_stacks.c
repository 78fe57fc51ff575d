/* Stacked bars of rounds: seconds of one request by phase, and bytes by kind. A part that was not
 * measured leaves the bar shorter and is named in the table; a failed round has no bar. */
#include "report/lab.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PARTS_MAX 4

struct part {
    const char *name, *class_name;
};
static const struct part PHASES[] = {{"load", "part-load"},
                                     {"prefill", "part-prefill"},
                                     {"first sample", "part-first"},
                                     {"decode", "part-decode"}};
static const struct part KINDS[] = {
    {"weights", "kind-weights"}, {"cache", "kind-cache"}, {"compute", "kind-compute"}};

/* What one chart shows. */
struct stacks {
    const struct snug__lab_view *view;
    const struct part *parts;
    int n_parts;
    enum snug__axis_kind axis;
    const char *title, *label; /* of the axis, and for a screen reader */
    const char *(*text)(double value, char out[SNUG_UNIT_TEXT_MAX]);
    double values[SNUG_REPORT_LAB_ROUNDS_MAX][PARTS_MAX]; /* NAN: not measured */
    double totals[SNUG_REPORT_LAB_ROUNDS_MAX];            /* of what was; 0: nothing to draw */
};

/* Seconds by phase. Prefill is what time to first token leaves when the first sample is taken off;
 * the first token came with that sample, so n_gen - 1 gaps are left to decode. */
static void read_phases(const struct snug__lab_view *view, const struct snug__lab_sum *sum,
                        double out[PARTS_MAX])
{
    const struct snug_workload *lengths = &view->cell->lengths;
    double ttft = snug__positive(sum->node, "ttft_s");
    double first = snug__number(sum->node, "first_sample_s");
    double gap = snug__positive(sum->node, "tpot_p50_s");
    out[0] = snug__number(sum->node, "load_s");
    out[1] = ttft - (first >= 0 && first <= ttft ? first : 0);
    out[2] = first;
    out[3] = lengths->n_gen > 0 ? gap * (double)(lengths->n_gen - 1) : NAN;
}

static void read_kinds(const struct snug__lab_sum *sum, double out[PARTS_MAX])
{
    const struct snug_json_node *bytes = snug_json_get(sum->node, "bytes");
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++)
        out[i] = snug__number(bytes, KINDS[i].name);
}

/* Totals, and the largest of them; 0 when there is nothing to draw. */
static double add_up(struct stacks *stacks)
{
    double most = 0;
    for (size_t i = 0; i < stacks->view->n; i++) {
        double *values = stacks->values[i];
        stacks->totals[i] = 0;
        for (int p = 0; p < stacks->n_parts; p++) {
            bool is_shown =
                stacks->view->sums[i]->state == SNUG__LAB_OK && snug__svg_is_drawable(values[p]);
            values[p] = is_shown ? values[p] : NAN;
            stacks->totals[i] += is_shown ? values[p] : 0;
        }
        most = fmax(most, stacks->totals[i]);
    }
    return most;
}

static void draw_line(struct snug__lab_plot *plot, const struct stacks *stacks, size_t i)
{
    char size[SNUG_UNIT_TEXT_MAX], title[96];
    const struct snug__lab_sum *sum = stacks->view->sums[i];
    double from = 0;
    for (int p = 0; p < stacks->n_parts; p++) {
        double v = stacks->values[i][p];
        if (!(v > 0))
            continue;
        snprintf(title, sizeof title, "%s: %s", stacks->parts[p].name, stacks->text(v, size));
        snug__lab_plot_bar(plot, i, stacks->parts[p].class_name, from, from + v, title);
        from += v;
    }
    bool is_failed = sum->state == SNUG__LAB_FAILED;
    snug__lab_plot_label(plot, i, snug__lab_round_name(sum->round),
                         is_failed  ? "failed-text"
                         : from > 0 ? "value"
                                    : "tick",
                         is_failed  ? "failed"
                         : from > 0 ? stacks->text(from, size)
                                    : "not measured");
}

static void draw(struct snug_buffer *out, const struct stacks *stacks, double most,
                 const char *size)
{
    struct snug__lab_plot plot;
    snug__lab_plot_init(&plot, out, size, stacks->view->n);
    snug__axis_fit(&plot.chart.x, stacks->axis, 0, most, plot.chart.left, plot.chart.right);
    snug__svg_open(&plot.chart, size, stacks->label);
    snug__svg_x_axis(&plot.chart, stacks->title);
    for (size_t i = 0; i < stacks->view->n; i++)
        draw_line(&plot, stacks, i);
    snug__svg_close(&plot.chart);
}

static void data(struct snug_buffer *out, const struct stacks *stacks, const char *const *names)
{
    char text[SNUG_UNIT_TEXT_MAX], failed[SNUG_REASON_MAX + 16];
    snug__data_begin(out, names, stacks->n_parts + 3);
    for (size_t i = 0; i < stacks->view->n; i++) {
        const struct snug__lab_sum *sum = stacks->view->sums[i];
        double total = stacks->totals[i] > 0 ? stacks->totals[i] : NAN;
        snug__row_head(out, snug__lab_round_name(sum->round));
        for (int p = 0; p < stacks->n_parts; p++)
            snug__cell_number(out, stacks->values[i][p], stacks->text(stacks->values[i][p], text));
        snug__cell_number(out, total, stacks->text(total, text));
        snug__cell_text(out, sum->state == SNUG__LAB_FAILED
                                 ? snug__lab_failed_text(stacks->view, sum->round, failed)
                                 : "");
        snug_buffer_puts(out, "</tr>\n");
    }
    snug__data_end(out);
}

static void figure(struct snug_buffer *out, struct stacks *stacks, const char *name,
                   const char *const *names, const char *caption)
{
    double most = add_up(stacks);
    snug_buffer_printf(out, "<h3>%s</h3>\n", name);
    if (!(most > 0)) {
        snug_buffer_printf(out, "<p>%s: not measured.</p>\n", name);
        return;
    }
    snug__figure_begin(out, name, NULL);
    snug_buffer_puts(out, "<ul class=\"legend\">");
    for (int p = 0; p < stacks->n_parts; p++)
        snug__legend_mark(out, SNUG__SQUARE, stacks->parts[p].class_name, stacks->parts[p].name);
    snug_buffer_puts(out, "</ul>\n");
    draw(out, stacks, most, "wide");
    draw(out, stacks, most, "narrow");
    data(out, stacks, names);
    snug__figure_end(out, caption);
}

void snug__lab_latency(struct snug_buffer *out, const struct snug__lab_view *view)
{
    static const char *const names[] = {"Round",  "Load",  "Prefill", "First sample",
                                        "Decode", "Total", "Outcome"};
    struct stacks stacks = {.view = view,
                            .parts = PHASES,
                            .n_parts = 4,
                            .axis = SNUG__AXIS_LINEAR,
                            .title = "seconds",
                            .label = "Stacked bars of the seconds of one request by phase",
                            .text = snug__seconds_text};
    for (size_t i = 0; i < view->n; i++)
        read_phases(view, view->sums[i], stacks.values[i]);
    figure(out, &stacks, "Latency by phase", names,
           "Load of the model, 0 when it was loaded already; prefill = time to first token less "
           "the first sample; decode = (tokens generated - 1) times the median gap between "
           "tokens. Requests do not queue in a lab run.");
}

void snug__lab_memory(struct snug_buffer *out, const struct snug__lab_view *view)
{
    static const char *const names[] = {"Round", "Weights", "Cache", "Compute", "Total", "Outcome"};
    struct stacks stacks = {.view = view,
                            .parts = KINDS,
                            .n_parts = 3,
                            .axis = SNUG__AXIS_BYTES,
                            .title = "memory",
                            .label = "Stacked bars of memory by kind",
                            .text = snug__bytes_text};
    for (size_t i = 0; i < view->n; i++)
        read_kinds(view->sums[i], stacks.values[i]);
    figure(out, &stacks, "Memory by kind", names, "Bytes as the engine states them.");
}
