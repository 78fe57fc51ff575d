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

static bool is_inert(const struct snug_json_node *knob)
{
    return snug_json_get_bool(knob, "is_inert", true);
}

static void draw_bar(struct snug__lab_plot *plot, size_t i, const struct snug_json_node *knob)
{
    struct snug__chart *chart = &plot->chart;
    const struct snug_interval effect = percent(knob, "effect_frac");
    const double chance = 100 * snug__number(knob, "chance_frac");
    const double y = snug__lab_plot_y(plot, i);
    const char *side = is_inert(knob) ? "even" : "better";
    char class_name[32], text[96];
    snug__lab_interval_text(effect, text);
    snprintf(class_name, sizeof class_name, "ratio-bar %s", side);
    snug__lab_plot_bar(plot, i, class_name, 0, effect.mid, text);
    snprintf(class_name, sizeof class_name, "ratio-line %s", side);
    const double lo = snug__axis_px(&chart->x, effect.lo), hi = snug__axis_px(&chart->x, effect.hi);
    snug__svg_line(chart, class_name, lo, y, hi, y);
    snug__svg_line(chart, class_name, lo, y - 4, lo, y + 4);
    snug__svg_line(chart, class_name, hi, y - 4, hi, y + 4);
    if (snug__svg_is_drawable(chance)) {
        const double x = snug__axis_px(&chart->x, chance);
        snug__svg_line(chart, "reference", x, y - 10, x, y + 10);
    }
    snug__svg_mark(chart, is_inert(knob) ? SNUG__RING : SNUG__CIRCLE, side,
                   snug__axis_px(&chart->x, effect.mid), y, 4, text);
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
        const bool is_open =
            strcmp(snug_json_get_string(view->knobs[i], "decision", ""), "open") == 0;
        snug__lab_plot_label(&plot, i, name_of(view->knobs[i]), effect.mid >= 0 ? "value" : "tick",
                             !is_inert(view->knobs[i]) ? snug__lab_interval_text(effect, text)
                             : is_open                 ? "inert so far"
                                                       : "inert");
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
    snug__cell_text(out, is_inert(knob) ? "inert" : "matters");
    snug__cell_text(out, snug_json_get_string(knob, "decision", ""));
    snug_buffer_puts(out, "</tr>\n");
}

void snug__knobs_bars(struct snug_buffer *out, const struct snug__knobs_view *view)
{
    static const char *const names[] = {
        "Knob",        "Low, %",           "Effect, %", "High, %", "Chance, %", "Variance low, %",
        "Variance, %", "Variance high, %", "Verdict",   "Decision"};
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
                     "Filled dot: the whole interval is above it. Ring: inert.");
}
