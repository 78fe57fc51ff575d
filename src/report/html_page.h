/* What the report pages share: the frame of a page, figures that can be saved, cells of tables,
 * verdict and quality price in words. */
#ifndef SNUG_REPORT_HTML_PAGE_H
#define SNUG_REPORT_HTML_PAGE_H

#include "base/json.h"
#include "report/html_text.h"

/* Parse a document, called origin in errors; its root is an object.
 * Errors  SNUG_BAD_INPUT: no JSON, no object, more than SNUG_REPORT_JSON_BYTES_MAX bytes */
snug_status snug__doc_open(const char *origin, const char *json_text, size_t n,
                           struct snug_json **out_doc, struct snug_error *err) SNUG_CHECKED;

/* From the document type to the open <main>, and from there to the end. */
void snug__page_begin(struct snug_buffer *out, const char *title);
void snug__page_end(struct snug_buffer *out);
/* The title; under it when the document was made, by what, and last. */
void snug__page_header(struct snug_buffer *out, const struct snug_json_node *root,
                       const char *command, const char *title, const char *last);
/* The finished page becomes the caller's; *out is empty then. SNUG_NO_MEMORY: it has holes. */
snug_status snug__page_take(struct snug_buffer *out, char **out_html, size_t *out_n,
                            struct snug_error *err) SNUG_CHECKED;

/* A figure whose charts the script offers as PNG under this name. Its CSV is the table inside it,
 * or the one with the id table_id (NULL: inside). caption is HTML. */
void snug__figure_begin(struct snug_buffer *out, const char *name, const char *table_id);
void snug__figure_end(struct snug_buffer *out, const char *caption);
/* The folded table of a figure's data. Rows are written between the two. */
void snug__data_begin(struct snug_buffer *out, const char *const *names, int n);
void snug__data_end(struct snug_buffer *out);

/* A scrolling table; label is its name for a screen reader. First column text, the rest numbers. */
void snug__table_begin(struct snug_buffer *out, const char *const *names, int n, const char *label);
void snug__table_end(struct snug_buffer *out);
/* <tr> and its heading; a cell to the right; each "not measured" when empty. */
void snug__row_head(struct snug_buffer *out, const char *text);
void snug__cell(struct snug_buffer *out, const char *text);
/* A cell that sorts and saves by v (left out when it is not >= 0) and shows text. */
void snug__cell_number(struct snug_buffer *out, double v, const char *text);
void snug__cell_text(struct snug_buffer *out, const char *text);

/* "VALID", "NOTE" or "INVALID" as a coloured word; anything else is said not to be judged. */
void snug__html_verdict_word(struct snug_buffer *out, const char *verdict);
/* Names of rules of a verdict, from an array of texts, each with its meaning beside or under it. */
void snug__html_rules(struct snug_buffer *out, const struct snug_json_node *rules, bool in_full);
/* Bits of the names in such an array. */
uint32_t snug__rules_bits(const struct snug_json_node *rules);
/* "KLD 0.0123 +- 0.0004" or "PPL 12.30 +- 0.10" of a text or of {kld_mean, perplexity}, each
 * {value, se}; "not measured" else. Returns out. */
const char *snug__quality_text(const struct snug_json_node *quality, char out[96]);

#endif
