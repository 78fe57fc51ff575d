/* Sections of the report page of a task; snug/report.h says what they are made from. */
#ifndef SNUG_REPORT_HTML_H
#define SNUG_REPORT_HTML_H

#include "report/html_doc.h"
#include "report/html_page.h"

/* Inline style and script, whole elements' contents. */
extern const char *const snug__html_style;
extern const char *const snug__html_script;

/* What came out, in words, with its interval, the command line and the key figures. */
void snug__html_verdict(struct snug_buffer *out, const struct snug__report *report);
/* Figures of pick, default and fit side by side, each with its formula. */
void snug__html_figures(struct snug_buffer *out, const struct snug__report *report);
/* From "machine" and "speed" of a document. */
void snug__html_machine(struct snug_buffer *out, const struct snug_json_node *root);
void snug__html_model(struct snug_buffer *out, const struct snug__report *report);
/* Front of other objectives than a speed and memory; nothing where there are none. */
void snug__html_axes(struct snug_buffer *out, const struct snug__report *report);
void snug__html_trials(struct snug_buffer *out, const struct snug__report *report);

#endif
