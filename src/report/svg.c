/* Inline SVG. Ticks: the step is 1, 2 or 5 times a power of ten (of the unit) that gives about
 * about one tick per 70 px across and 42 px up; a logarithmic axis has 1, 2, 5 per decade, or whole
 * decades when it spans many. */
#include "report/svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/html_text.h"

#define PX_PER_TICK_X 70.0 /* room for a label such as "1250.5" at 12 px */
#define PX_PER_TICK_Y 42.0
#define LOG_SPAN 20.0      /* ratio above which a linear axis hides the small end */
#define MIN_SPAN_FRAC 0.02 /* of the value: below that the axis would magnify rounding */
#define PAD_FRAC 0.06      /* free room at both ends, so that marks do not touch the frame */

bool snug__svg_is_drawable(double v)
{
    return v >= 0 && v <= SNUG_SVG_VALUE_MAX;
}

/* 1, 2 or 5 times a power of ten, the smallest that is >= v. */
static double nice_step(double v)
{
    double power = pow(10, floor(log10(v)));
    static const double steps[] = {1, 2, 5, 10};
    for (int i = 0; i < 3; i++)
        if (v <= steps[i] * power * (1 + 1e-9))
            return steps[i] * power;
    return 10 * power;
}

static void set_unit(struct snug__axis *axis, bool is_bytes)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    int i = 0;
    axis->unit = 1;
    axis->unit_text = "";
    if (!is_bytes)
        return;
    while (i < 5 && axis->hi >= 1024 * axis->unit) {
        axis->unit *= 1024;
        i++;
    }
    axis->unit_text = names[i];
}

static void add_tick(struct snug__axis *axis, double v)
{
    double eps = 1e-9 * axis->hi;
    if (axis->n_ticks < SNUG_SVG_TICKS_MAX && v >= axis->lo - eps && v <= axis->hi + eps)
        axis->tick[axis->n_ticks++] = v;
}

static void linear_ticks(struct snug__axis *axis, double n_wanted, bool is_count)
{
    double step = nice_step((axis->hi - axis->lo) / axis->unit / n_wanted);
    if (is_count && step < 1)
        step = 1;
    double first = ceil(axis->lo / axis->unit / step);
    axis->decimals = step < 1 ? (int)fmin(9, ceil(-log10(step) - 1e-9)) : 0;
    for (int i = 0; i < SNUG_SVG_TICKS_MAX; i++)
        add_tick(axis, (first + i) * step * axis->unit);
}

static void log_ticks(struct snug__axis *axis, double n_wanted)
{
    int from = (int)floor(log10(axis->lo / axis->unit));
    int to = (int)ceil(log10(axis->hi / axis->unit));
    int each = 1 + (int)((to - from) / fmax(n_wanted, 2));
    static const double within[] = {1, 2, 5};
    int n_within = (to - from) * 3 <= n_wanted + 3 ? 3 : 1;
    for (int e = from; e <= to; e += each)
        for (int i = 0; i < n_within; i++)
            add_tick(axis, within[i] * pow(10, e) * axis->unit);
}

void snug__axis_fit(struct snug__axis *axis, enum snug__axis_kind kind, double lo, double hi,
                    double px_lo, double px_hi)
{
    bool may_log = kind == SNUG__AXIS_AUTO || kind == SNUG__AXIS_BYTES;
    hi = hi > 0 ? hi : 1; /* all zero: still an axis */
    *axis = (struct snug__axis){.lo = lo, .hi = hi, .px_lo = px_lo, .px_hi = px_hi};
    axis->is_log = may_log && lo > 0 && hi / lo > LOG_SPAN;
    if (axis->is_log) {
        double pad = pow(hi / lo, PAD_FRAC);
        axis->lo = lo / pad;
        axis->hi = hi * pad;
    } else {
        double span = fmax(hi - lo, fmax(MIN_SPAN_FRAC * hi, 1e-9));
        axis->hi = fmax(hi, lo + span / 2) + PAD_FRAC * span;
        axis->lo = lo < 0           ? lo - PAD_FRAC * span
                   : lo < 0.35 * hi ? 0
                                    : fmax(0, fmin(lo, hi - span / 2) - PAD_FRAC * span);
    }
    set_unit(axis, kind == SNUG__AXIS_BYTES);
    double n_wanted = fabs(px_hi - px_lo) / (px_hi > px_lo ? PX_PER_TICK_X : PX_PER_TICK_Y);
    n_wanted = fmax(2, n_wanted);
    if (axis->is_log)
        log_ticks(axis, n_wanted);
    else
        linear_ticks(axis, n_wanted, kind == SNUG__AXIS_COUNT);
}

double snug__axis_px(const struct snug__axis *axis, double v)
{
    double at = axis->is_log ? log(fmax(v, axis->lo) / axis->lo) / log(axis->hi / axis->lo)
                             : (v - axis->lo) / (axis->hi - axis->lo);
    at = fmin(1, fmax(0, at)); /* what lies outside is drawn at the edge */
    return axis->px_lo + at * (axis->px_hi - axis->px_lo);
}

static void tick_text(const struct snug__axis *axis, double v, char out[32])
{
    if (axis->is_log)
        snprintf(out, 32, "%.4g", v / axis->unit);
    else
        snprintf(out, 32, "%.*f", axis->decimals, v / axis->unit);
}

void snug__svg_open(struct snug__chart *chart, const char *class_name, const char *label)
{
    snug_buffer_printf(chart->out, "<svg class=\"%s\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" ",
                       class_name, chart->width, chart->height);
    snug_buffer_puts(chart->out, "aria-label=\"");
    snug__html_text(chart->out, label);
    snug_buffer_puts(chart->out, "\">\n");
}

void snug__svg_close(struct snug__chart *chart)
{
    snug_buffer_puts(chart->out, "</svg>\n");
}

void snug__svg_line(struct snug__chart *chart, const char *class_name, double x1, double y1,
                    double x2, double y2)
{
    snug_buffer_printf(chart->out,
                       "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
                       class_name, x1, y1, x2, y2);
}

void snug__svg_text(struct snug__chart *chart, const char *class_name, double x, double y,
                    const char *anchor, const char *text)
{
    snug_buffer_printf(chart->out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">",
                       class_name, x, y, anchor);
    snug__html_text(chart->out, text);
    snug_buffer_puts(chart->out, "</text>\n");
}

/* "memory, MiB" */
static void axis_title(const struct snug__axis *axis, const char *title, char *out, size_t cap)
{
    snprintf(out, cap, "%s%s%s%s", title, axis->unit_text[0] ? ", " : "", axis->unit_text,
             axis->is_log ? " (log)" : "");
}

void snug__svg_x_axis(struct snug__chart *chart, const char *title)
{
    char text[96];
    for (int i = 0; i < chart->x.n_ticks; i++) {
        double x = snug__axis_px(&chart->x, chart->x.tick[i]);
        tick_text(&chart->x, chart->x.tick[i], text);
        snug__svg_line(chart, "grid", x, chart->top, x, chart->bottom);
        snug__svg_text(chart, "tick", x, chart->bottom + 17, "middle", text);
    }
    snug__svg_line(chart, "axis", chart->left, chart->bottom, chart->right, chart->bottom);
    axis_title(&chart->x, title, text, sizeof text);
    snug__svg_text(chart, "axis-title", chart->right, chart->bottom + 36, "end", text);
}

void snug__svg_y_axis(struct snug__chart *chart, const char *title)
{
    char text[96];
    for (int i = 0; i < chart->y.n_ticks; i++) {
        double y = snug__axis_px(&chart->y, chart->y.tick[i]);
        tick_text(&chart->y, chart->y.tick[i], text);
        snug__svg_line(chart, "grid", chart->left, y, chart->right, y);
        snug__svg_text(chart, "tick", chart->left - 8, y + 4, "end", text);
    }
    axis_title(&chart->y, title, text, sizeof text);
    snug__svg_text(chart, "axis-title", 0, chart->top - 10, "start", text);
}

static void shape_path(char out[192], enum snug__shape shape, double x, double y, double r)
{
    switch (shape) {
    case SNUG__CIRCLE:
    case SNUG__RING:
        snprintf(out, 192, "M%.1f %.1fa%.1f %.1f 0 1 0 %.1f 0a%.1f %.1f 0 1 0 %.1f 0z", x - r, y, r,
                 r, 2 * r, r, r, -2 * r);
        break;
    case SNUG__SQUARE:
        snprintf(out, 192, "M%.1f %.1fh%.1fv%.1fh%.1fz", x - r, y - r, 2 * r, 2 * r, -2 * r);
        break;
    case SNUG__DIAMOND:
        snprintf(out, 192, "M%.1f %.1fL%.1f %.1fL%.1f %.1fL%.1f %.1fz", x, y - 1.25 * r,
                 x + 1.25 * r, y, x, y + 1.25 * r, x - 1.25 * r, y);
        break;
    case SNUG__CROSS:
        snprintf(out, 192, "M%.1f %.1fl%.1f %.1fM%.1f %.1fl%.1f %.1f", x - r, y - r, 2 * r, 2 * r,
                 x - r, y + r, 2 * r, -2 * r);
        break;
    case SNUG__STAR: { /* five points, radius 1.4 r outside and 0.6 r inside */
        int at = 0;
        for (int i = 0; i < 10; i++) {
            double angle = 0.62831853 * i, radius = (i % 2 ? 0.6 : 1.4) * r;
            at += snprintf(out + at, (size_t)(192 - at), "%c%.1f %.1f", i ? 'L' : 'M',
                           x + radius * sin(angle), y - radius * cos(angle));
        }
        snprintf(out + at, (size_t)(192 - at), "z");
        break;
    }
    }
}

void snug__svg_mark(struct snug__chart *chart, enum snug__shape shape, const char *class_name,
                    double x, double y, double r, const char *title)
{
    char path[192]; /* a star: 10 corners of at most 15 characters */
    shape_path(path, shape, x, y, r);
    snug_buffer_printf(chart->out, "<path class=\"%s%s\" d=\"%s\">", class_name,
                       shape == SNUG__RING ? " hollow" : "", path);
    if (title) {
        snug_buffer_puts(chart->out, "<title>");
        snug__html_text(chart->out, title);
        snug_buffer_puts(chart->out, "</title>");
    }
    snug_buffer_puts(chart->out, "</path>\n");
}
