/* The document of `snug knobs` as its page needs it, and the sections made from it. */
#ifndef SNUG_REPORT_KNOBS_DOC_H
#define SNUG_REPORT_KNOBS_DOC_H

#include "report/lab.h"

/* One metric; knobs and swarms are elements of the document, in its order. */
struct snug__knobs_view {
    const struct snug_json_node *node;
    const char *name; /* "decode speed"; never NULL */
    const char *unit; /* what effects are a per cent of */
    const struct snug_json_node *knobs[SNUG_REPORT_KNOBS_MAX];
    const struct snug_json_node *swarms[SNUG_REPORT_KNOBS_MAX];
    size_t n, n_swarms;
};

/* Effect of each knob as a bar with its interval, and what chance gives as a tick. */
void snug__knobs_bars(struct snug_buffer *out, const struct snug__knobs_view *view);
/* Shapley value of each config, knob by knob, shaded by the knob's value. */
void snug__knobs_swarms(struct snug_buffer *out, const struct snug__knobs_view *view);

#endif
