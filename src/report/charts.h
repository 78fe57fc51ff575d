/* The charts of a report page. Each writes a whole <figure> with its caption, or a sentence that
 * says why there is nothing to draw. Wide charts are written twice, laid out for a desk and for a
 * phone; the style sheet shows one. Only trials whose outcome is ok have a place on a speed axis.
 */
#ifndef SNUG_REPORT_CHARTS_H
#define SNUG_REPORT_CHARTS_H

#include "report/html_doc.h"
#include "report/svg.h"

/* View boxes. Text is 12 units high, so a chart reads well when drawn near its own width. */
#define SNUG__CHART_WIDE 800.0
#define SNUG__CHART_NARROW 360.0
#define SNUG__CHART_HALF 390.0 /* two beside one another on a desk, one on a phone */

/* Speed against memory: every trial, the front as a step line, the limit, the named trials. */
void snug__chart_front(struct snug_buffer *out, const struct snug__report *report);
/* Best speed and hypervolume over trials, two small charts. */
void snug__chart_progress(struct snug_buffer *out, const struct snug__report *report);
/* Timed blocks of the named trials and of their re-measurements, with medians. */
void snug__chart_blocks(struct snug_buffer *out, const struct snug__report *report);
/* Stated bytes of the named trials by kind, with the measured peak. */
void snug__chart_memory(struct snug_buffer *out, const struct snug__report *report);
/* Intervals of the pick's gain, against the line of no difference. */
void snug__chart_gain(struct snug_buffer *out, const struct snug__report *report);

/* CSS class and shape of the marks of a named trial. */
enum snug__shape snug__who_shape(enum snug__who who);
/* One entry of a legend: the mark and its name. */
void snug__legend_mark(struct snug_buffer *out, enum snug__shape shape, const char *class_name,
                       const char *name);

#endif
