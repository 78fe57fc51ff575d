/* Charts as inline SVG: axes with ticks people would choose, and marks that differ by shape as well
 * as by colour. Knows nothing of trials. Pixels grow rightwards and downwards. */
#ifndef SNUG_REPORT_SVG_H
#define SNUG_REPORT_SVG_H

#include "base/buffer.h"

#define SNUG_SVG_TICKS_MAX 16
#define SNUG_SVG_VALUE_MAX 1e24 /* larger values are not drawn */

enum snug__axis_kind {
    SNUG__AXIS_LINEAR, /* zero is included when it is near */
    SNUG__AXIS_AUTO,   /* logarithmic when the data spans more than a factor of 20 */
    SNUG__AXIS_COUNT,  /* linear, whole ticks only */
    SNUG__AXIS_BYTES   /* as AUTO, ticks in B, KiB, MiB ... */
};

struct snug__axis {
    double lo, hi; /* data at both ends, lo < hi */
    double px_lo, px_hi;
    bool is_log;
    double unit;           /* labels show tick / unit */
    const char *unit_text; /* "MiB", or "" */
    double tick[SNUG_SVG_TICKS_MAX];
    int n_ticks;
    int decimals; /* of the labels of a linear axis */
};

struct snug__chart {
    struct snug_buffer *out;
    double width, height;            /* of the view box */
    double left, right, top, bottom; /* plot area */
    struct snug__axis x, y;
};

/* Can v be drawn on any axis? Finite, 0 <= v <= SNUG_SVG_VALUE_MAX. */
bool snug__svg_is_drawable(double v);
/* Fit an axis to data lo..hi (drawable, lo <= hi) that lands on px_lo..px_hi. Of a linear axis lo
 * may be below zero, where -lo is drawable. */
void snug__axis_fit(struct snug__axis *axis, enum snug__axis_kind kind, double lo, double hi,
                    double px_lo, double px_hi);
double snug__axis_px(const struct snug__axis *axis, double v);

/* Open <svg> of the chart's size; class_name picks the screen width it is for, label is what a
 * screen reader says. */
void snug__svg_open(struct snug__chart *chart, const char *class_name, const char *label);
void snug__svg_close(struct snug__chart *chart);
/* Grid lines, tick labels and titles; a NULL title leaves that axis out. */
void snug__svg_x_axis(struct snug__chart *chart, const char *title);
void snug__svg_y_axis(struct snug__chart *chart, const char *title);
void snug__svg_line(struct snug__chart *chart, const char *class_name, double x1, double y1,
                    double x2, double y2);
/* anchor: "start", "middle", "end". */
void snug__svg_text(struct snug__chart *chart, const char *class_name, double x, double y,
                    const char *anchor, const char *text);

enum snug__shape { SNUG__CIRCLE, SNUG__RING, SNUG__SQUARE, SNUG__DIAMOND, SNUG__STAR, SNUG__CROSS };
/* A mark of half-width r; title is the tooltip, NULL for none. */
void snug__svg_mark(struct snug__chart *chart, enum snug__shape shape, const char *class_name,
                    double x, double y, double r, const char *title);

#endif
