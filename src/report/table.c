/* Tables. Widths count code points, which is right for what snug prints (no wide or combining
 * characters of its own; a model's name may look crooked, never wrong). */
#include "report/table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

void snug_table_column(struct snug_table *table, const char *name, enum snug_column_kind kind)
{
    if (table->n_columns == SNUG_TABLE_COLUMNS_MAX) {
        table->is_failed = true;
        return;
    }
    table->names[table->n_columns] = name;
    table->kinds[table->n_columns++] = kind;
}

static void add_cell(struct snug_table *table, const char *text, double number)
{
    if (table->n_cells == table->cells_cap) {
        const size_t cap = table->cells_cap ? table->cells_cap * 2 : 64;
        struct snug_table_cell *grown = realloc(table->cells, cap * sizeof *grown);
        if (!grown) {
            table->is_failed = true;
            return;
        }
        table->cells = grown;
        table->cells_cap = cap;
    }
    char *copy = text ? strdup(text) : NULL;
    table->is_failed = table->is_failed || (text && !copy);
    table->cells[table->n_cells++] = (struct snug_table_cell){copy, number};
}

void snug_table_cell_text(struct snug_table *table, const char *text)
{
    add_cell(table, text, NAN);
}

void snug_table_cell_number(struct snug_table *table, double value, int decimals)
{
    char text[64];
    if (!isfinite(value)) {
        snug_table_cell_empty(table);
        return;
    }
    snprintf(text, sizeof text, "%.*f", decimals, value);
    add_cell(table, text, value);
}

void snug_table_cell_empty(struct snug_table *table)
{
    add_cell(table, NULL, NAN);
}

void snug_table_cell_positive(struct snug_table *table, double value, int decimals)
{
    if (value > 0.0)
        snug_table_cell_number(table, value, decimals);
    else
        snug_table_cell_empty(table);
}

void snug_table_row_end(struct snug_table *table)
{
    const size_t n = (size_t)table->n_columns;
    while (n > 0 && !table->is_failed && table->n_cells % n != 0)
        snug_table_cell_empty(table);
}

static int width_of(const char *text)
{
    int n = 0;
    for (; text && *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static size_t n_rows(const struct snug_table *table)
{
    return table->n_columns ? table->n_cells / (size_t)table->n_columns : 0;
}

static const struct snug_table_cell *cell(const struct snug_table *table, size_t row, int column)
{
    return &table->cells[row * (size_t)table->n_columns + (size_t)column];
}

static void pad(struct snug_buffer *out, int n, char c)
{
    for (int i = 0; i < n; i++)
        snug_buffer_append(out, &c, 1);
}

static void put_md_cell(struct snug_buffer *out, const char *text, int width, bool is_right)
{
    const int gap = width - width_of(text);
    snug_buffer_puts(out, "| ");
    if (is_right)
        pad(out, gap, ' ');
    for (const char *p = text ? text : ""; *p; p++) {
        /* A bar or a line end inside a cell would break the row. */
        const char c = *p == '\n' || *p == '\r' ? ' ' : *p == '|' ? '/' : *p;
        snug_buffer_append(out, &c, 1);
    }
    if (!is_right)
        pad(out, gap, ' ');
    snug_buffer_puts(out, " ");
}

static void render_md(const struct snug_table *table, struct snug_buffer *out)
{
    int widths[SNUG_TABLE_COLUMNS_MAX];
    for (int c = 0; c < table->n_columns; c++) {
        widths[c] = width_of(table->names[c]) > 3 ? width_of(table->names[c]) : 3;
        for (size_t r = 0; r < n_rows(table); r++) {
            const int w = width_of(cell(table, r, c)->text);
            widths[c] = w > widths[c] ? w : widths[c];
        }
    }
    for (int c = 0; c < table->n_columns && !table->is_headless; c++)
        put_md_cell(out, table->names[c], widths[c], table->kinds[c] == SNUG_COLUMN_NUMBER);
    snug_buffer_puts(out, table->is_headless ? "" : "|\n");
    for (int c = 0; c < table->n_columns && !table->is_headless; c++) {
        const bool is_right = table->kinds[c] == SNUG_COLUMN_NUMBER;
        snug_buffer_puts(out, "| ");
        pad(out, widths[c] - (is_right ? 1 : 0), '-');
        snug_buffer_puts(out, is_right ? ": " : " ");
    }
    snug_buffer_puts(out, table->is_headless ? "" : "|\n");
    for (size_t r = 0; r < n_rows(table); r++) {
        for (int c = 0; c < table->n_columns; c++)
            put_md_cell(out, cell(table, r, c)->text, widths[c],
                        table->kinds[c] == SNUG_COLUMN_NUMBER);
        snug_buffer_puts(out, "|\n");
    }
}

static void put_csv_cell(struct snug_buffer *out, const char *text)
{
    if (!text)
        return;
    if (!text[strcspn(text, ",\"\r\n")]) {
        snug_buffer_puts(out, text);
        return;
    }
    snug_buffer_puts(out, "\"");
    for (; *text; text++)
        snug_buffer_append(out, *text == '"' ? "\"\"" : text, *text == '"' ? 2 : 1);
    snug_buffer_puts(out, "\"");
}

static void render_csv(const struct snug_table *table, struct snug_buffer *out)
{
    for (int c = 0; c < table->n_columns && !table->is_headless; c++) {
        snug_buffer_puts(out, c ? "," : "");
        put_csv_cell(out, table->names[c]);
    }
    snug_buffer_puts(out, table->is_headless ? "" : "\n");
    for (size_t r = 0; r < n_rows(table); r++) {
        for (int c = 0; c < table->n_columns; c++) {
            snug_buffer_puts(out, c ? "," : "");
            put_csv_cell(out, cell(table, r, c)->text);
        }
        snug_buffer_puts(out, "\n");
    }
}

static void put_json_row(const struct snug_table *table, size_t row, struct snug_json_writer *w)
{
    snug_json_begin_object(w, NULL);
    for (int c = 0; c < table->n_columns; c++) {
        if (table->kinds[c] == SNUG_COLUMN_NUMBER)
            snug_json_put_number(w, table->names[c], cell(table, row, c)->number);
        else
            snug_json_put_string(w, table->names[c], cell(table, row, c)->text);
    }
    snug_json_end(w);
}

/* Finish the writer onto out. */
static void put_json(struct snug_json_writer *w, bool is_pretty, struct snug_buffer *out)
{
    char *text = snug_json_finish(w, is_pretty);
    if (text)
        snug_buffer_printf(out, "%s\n", text);
    else
        out->is_failed = true;
    free(text);
}

static void render_json(const struct snug_table *table, bool is_lines, struct snug_buffer *out)
{
    struct snug_json_writer w = {0};
    if (!is_lines)
        snug_json_begin_array(&w, NULL);
    for (size_t r = 0; r < n_rows(table); r++) {
        put_json_row(table, r, &w);
        if (is_lines)
            put_json(&w, false, out);
    }
    if (is_lines)
        return;
    snug_json_end(&w);
    put_json(&w, true, out);
}

void snug_table_render(const struct snug_table *table, enum snug_table_format format,
                       struct snug_buffer *out)
{
    if (table->is_failed)
        out->is_failed = true;
    else if (format == SNUG_TABLE_MD)
        render_md(table, out);
    else if (format == SNUG_TABLE_CSV)
        render_csv(table, out);
    else
        render_json(table, format == SNUG_TABLE_JSONL, out);
}

int snug_table_format_from_name(const char *name)
{
    static const char *const names[] = {"md", "csv", "json", "jsonl"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(names[i], name) == 0)
            return i;
    }
    return -1;
}

void snug_table_clear(struct snug_table *table)
{
    for (size_t i = 0; i < table->n_cells; i++)
        free(table->cells[i].text);
    free(table->cells);
    *table = (struct snug_table){.n_cells = 0};
}
