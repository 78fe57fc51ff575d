/* Bars of importance: the middle of the effect as a bar, its interval as a line, and a dashed tick
 * where a shuffled copy of the knob comes by chance. */
#include "report/knobs_doc.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* {lo, mid, hi} of a key in per cent; all NAN unless 0 <= lo <= mid <= hi and drawable. */
static struct snug_interval percent(const struct snug_json_node *object, const char *key)
{
    const struct snug_json_node *of = snug_json_get(object, key);
    const struct snug_interval p = {100 * snug__number(of, "lo"), 100 * snug__number(of, "mid"),
                                    100 * snug__number(of, "hi")};
    const bool is_sound =
        p.lo >= 0 && p.lo <= p.mid && p.mid <= p.hi && snug__svg_is_drawable(p.hi);
    return is_sound ? p : (struct snug_interval){NAN, NAN, NAN};
}

static const char *name_of(const struct snug_json_node *knob)
{
    return snug_json_get_string(knob, "knob", "?");
}

static const char *decision_of(const struct snug_json_node *knob)
{
    return snug_json_get_string(knob, "decision", "");
}

static void draw_bar(struct snug__lab_plot *plot, size_t i, const struct snug_json_node *knob)
{
    const double chance = 100 * snug__number(knob, "chance_frac");
    const double y = snug__lab_plot_y(plot, i);
    if (snug__svg_is_drawable(chance)) {
        const double x = snug__axis_px(&plot->chart.x, chance);
        snug__svg_line(&plot->chart, "reference", x, y - 10, x, y + 10);
    }
    snug__lab_plot_interval(plot, i, 0, percent(knob, "effect_frac"),
                            strcmp(decision_of(knob), "keep") == 0 ? "better" : "even");
}

static void draw(struct snug_buffer *out, const struct snug__knobs_view *view, double hi,
                 const char *size)
{
    struct snug__lab_plot plot;
    char title[160], text[96];
    snug__lab_plot_init(&plot, out, size, view->n);
    snug__axis_fit(&plot.chart.x, SNUG__AXIS_LINEAR, 0, hi, plot.chart.left, plot.chart.right);
    snprintf(title, sizeof title, "Bars of the effect of each knob on %.60s", view->name);
    snug__svg_open(&plot.chart, size, title);
    snug__svg_x_axis(&plot.chart, view->unit);
    for (size_t i = 0; i < view->n; i++) {
        const struct snug_interval effect = percent(view->knobs[i], "effect_frac");
        if (effect.mid >= 0)
            draw_bar(&plot, i, view->knobs[i]);
        const char *decision = decision_of(view->knobs[i]);
        snug__lab_plot_label(&plot, i, name_of(view->knobs[i]), effect.mid >= 0 ? "value" : "tick",
                             strcmp(decision, "open") == 0 ? "not told apart"
                             : strcmp(decision, "drop") == 0
                                 ? "inert"
                                 : snug__lab_interval_text(effect, text));
    }
    snug__svg_close(&plot.chart);
}

static void data_row(struct snug_buffer *out, const struct snug_json_node *knob)
{
    const struct snug_interval of[] = {percent(knob, "effect_frac"),
                                       percent(knob, "variance_frac")};
    const double chance = 100 * snug__number(knob, "chance_frac");
    char text[32];
    snug__row_head(out, name_of(knob));
    snug__lab_interval_cells(out, of[0]);
    snprintf(text, sizeof text, "%.4g", chance);
    snug__cell_number(out, chance, chance >= 0 ? text : "not measured");
    snug__lab_interval_cells(out, of[1]);
    snug__cell_text(out, decision_of(knob));
    snug_buffer_puts(out, "</tr>\n");
}

void snug__knobs_bars(struct snug_buffer *out, const struct snug__knobs_view *view)
{
    static const char *const names[] = {"Knob",        "Low, %",           "Effect, %",
                                        "High, %",     "Chance, %",        "Variance low, %",
                                        "Variance, %", "Variance high, %", "Decision"};
    double hi = 0;
    char name[128];
    for (size_t i = 0; i < view->n; i++)
        hi = fmax(hi, percent(view->knobs[i], "effect_frac").hi);
    if (!(hi > 0)) {
        snug_buffer_puts(out, "<p>Effects of knobs: not measured.</p>\n");
        return;
    }
    snprintf(name, sizeof name, "Knobs and %.60s", view->name);
    snug__figure_begin(out, name, NULL);
    draw(out, view, hi, "wide");
    draw(out, view, hi, "narrow");
    snug__data_begin(out, names, sizeof names / sizeof *names);
    for (size_t i = 0; i < view->n; i++)
        data_row(out, view->knobs[i]);
    snug__data_end(out);
    snug__figure_end(out,
                     "Mean |Shapley value| over the configs, interval of 95 % over resampled "
                     "configs and trees. Dashed: what a shuffled copy of the knob gets by chance. "
                     "Filled dot: the whole interval is above it. Ring: it is not.");
}
