/* What is known of a task, as JSON: exports, the report's document, the answer of tune. */
#ifndef SNUG_CLI_KNOWN_JSON_H
#define SNUG_CLI_KNOWN_JSON_H

#include "cli/known.h"
#include "snug/report.h"

/* One object per trial, each with its machine and model: a JSON array, or one per line. */
void known_export(const struct known *k, bool is_array, struct snug_buffer *out);
/* The document of snug_report_html; malloc'ed, NULL when memory is out. */
char *known_report_json(const struct known *k);

#endif
