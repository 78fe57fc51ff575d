/* The writers behind lab/results.h. */
#ifndef SNUG_LAB_RESULTS_INTERNAL_H
#define SNUG_LAB_RESULTS_INTERNAL_H

#include "lab/results.h"

/* CSV (is_csv) or JSON lines: one flat row per measurement, the machine in each. */
void snug__lab_table(const struct snug_lab_results *results, bool is_csv, struct snug_buffer *out);
void snug__lab_markdown(const struct snug_lab_results *results, struct snug_buffer *out);
void snug__lab_latex(const struct snug_lab_results *results, struct snug_buffer *out);
/* Of the engine; from the rows when this process ran none. */
const char *snug__lab_build(const struct snug_lab_results *results);
/* "n_ubatch=32 flash_attn=off", "weights=q4_0 ...", or "default". Returns out. */
const char *snug__lab_config_text(const struct snug_lab_round *round, char *out, size_t cap);

#endif
