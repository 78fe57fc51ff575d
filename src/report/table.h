/* One table, four forms: Markdown (aligned, as llama-bench prints), CSV (RFC 4180), JSON, JSON
 * lines. Cells are filled row by row, left to right. */
#ifndef SNUG_REPORT_TABLE_H
#define SNUG_REPORT_TABLE_H

#include "base/buffer.h"
#include "snug/base.h"

#define SNUG_TABLE_COLUMNS_MAX 48

enum snug_column_kind { SNUG_COLUMN_TEXT, SNUG_COLUMN_NUMBER };
enum snug_table_format { SNUG_TABLE_MD, SNUG_TABLE_CSV, SNUG_TABLE_JSON, SNUG_TABLE_JSONL };

struct snug_table_cell {
    char *text;    /* as printed; NULL: empty */
    double number; /* of a number cell, for JSON */
};

/* Zero state is an empty table. is_failed: an allocation failed, or there were too many columns;
 * render then gives nothing. */
struct snug_table {
    const char *names[SNUG_TABLE_COLUMNS_MAX];
    enum snug_column_kind kinds[SNUG_TABLE_COLUMNS_MAX];
    int n_columns;
    bool is_headless;              /* Markdown and CSV without their heading: rows that go on */
    struct snug_table_cell *cells; /* n_rows * n_columns, the last row may be unfinished */
    size_t n_cells, cells_cap;
    bool is_failed;
};

/* All columns before the first cell; name is kept. */
void snug_table_column(struct snug_table *table, const char *name, enum snug_column_kind kind);
void snug_table_cell_text(struct snug_table *table, const char *text);
/* decimals: digits after the point in Markdown and CSV; JSON gets the full number. */
void snug_table_cell_number(struct snug_table *table, double value, int decimals);
/* A figure that is 0 or not finite when it was not measured: empty then. */
void snug_table_cell_positive(struct snug_table *table, double value, int decimals);
void snug_table_cell_empty(struct snug_table *table);
/* Fill what is missing of the row with empty cells. */
void snug_table_row_end(struct snug_table *table);
/* Append to out; out->is_failed when the table had failed or memory is out. */
void snug_table_render(const struct snug_table *table, enum snug_table_format format,
                       struct snug_buffer *out);
/* "md", "csv", "json", "jsonl"; -1 for anything else. */
int snug_table_format_from_name(const char *name);
void snug_table_clear(struct snug_table *table);

#endif
