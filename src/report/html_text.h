/* Text of a report page: escaping, and quantities with a word for those that are missing. */
#ifndef SNUG_REPORT_HTML_TEXT_H
#define SNUG_REPORT_HTML_TEXT_H

#include "base/buffer.h"
#include "base/json.h"
#include "snug/units.h"

/* Escape text for HTML, for element content and for quoted attributes alike. Control characters
 * and those that reorder text on screen become U+FFFD. NULL writes nothing. */
void snug__html_text(struct snug_buffer *out, const char *text);

/* A number of the document, NAN when absent, null, or not a number. */
double snug__number(const struct snug_json_node *object, const char *key);
/* The same, and NAN unless above zero: speeds and resident sets use 0 for "not measured". */
double snug__positive(const struct snug_json_node *object, const char *key);

/* Each writes into out and returns it; "not measured" when the value is NAN, infinite or < 0. */
const char *snug__bytes_text(double bytes, char out[SNUG_UNIT_TEXT_MAX]);
const char *snug__seconds_text(double s, char out[SNUG_UNIT_TEXT_MAX]);
const char *snug__rate_text(double rate, char out[SNUG_UNIT_TEXT_MAX]);
/* "31 %" of a fraction; "1,234,567" of a count; "2025-06-01 12:30 UTC" of Unix seconds. */
const char *snug__percent_text(double frac, char out[SNUG_UNIT_TEXT_MAX]);
const char *snug__count_text(double count, char out[SNUG_UNIT_TEXT_MAX]);
const char *snug__time_text(double unix_s, char out[SNUG_UNIT_TEXT_MAX]);

/* Write a finished quantity, greyed when it is "not measured". */
void snug__html_quantity(struct snug_buffer *out, const char *text);
/* <dt>name</dt><dd>value</dd>; an empty or NULL value is written as "not measured". */
void snug__html_fact(struct snug_buffer *out, const char *name, const char *value);

#endif
