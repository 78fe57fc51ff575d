/* What is known of a task, as JSON: exports, the report's document, the answer of tune. */
#ifndef SNUG_CLI_KNOWN_JSON_H
#define SNUG_CLI_KNOWN_JSON_H

#include "cli/known.h"
#include "snug/report.h"

/* Append one object per trial, each with its machine and model: one per line, or elements of an
 * array that the caller closes. */
void known_export(const struct known *k, bool is_array, struct snug_buffer *out);
/* Append the same as rows of CSV or Markdown; a heading only when out is empty. */
void known_export_table(const struct known *k, enum snug_table_format format,
                        struct snug_buffer *out);
/* The document of snug_report_html; malloc'ed, NULL when memory is out. */
char *known_report_json(const struct known *k);

#endif
