/* The front of a tuning for other objectives than a speed and memory: a row for each member, a
 * column for each objective. */
#include "report/html.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/html_page.h"

enum unit { UNIT_RATE, UNIT_SECONDS_OF_RATE, UNIT_JOULES_OF_RATE, UNIT_BYTES, UNIT_NATS };

/* Objectives by the name that the document has for them, and the key of a trial's value. */
static const struct objective {
    const char *name, *key, *head;
    enum unit unit;
} objectives[] = {
    {"decode", "decode_tps", "Decode tokens/s", UNIT_RATE},
    {"prefill", "prefill_tps", "Prefill tokens/s", UNIT_RATE},
    {"request", "requests_per_s", "Request", UNIT_SECONDS_OF_RATE},
    {"energy", "tokens_per_j", "J per token", UNIT_JOULES_OF_RATE},
    {"memory", "memory_bytes", "Memory", UNIT_BYTES},
    {"kld", "kld_nats", "KL divergence", UNIT_NATS},
};
#define N_OBJECTIVES (sizeof objectives / sizeof objectives[0])
#define COLUMNS_MAX 3 /* of one goal; what a document has beyond is left out */

static const struct objective *find(const char *name)
{
    for (size_t i = 0; i < N_OBJECTIVES; i++)
        if (strcmp(objectives[i].name, name) == 0)
            return &objectives[i];
    return NULL;
}

static int read_columns(const struct snug__report *report, const struct objective **out)
{
    const struct snug_json_node *list = snug_json_get(report->root, "objectives");
    const size_t n = snug_json_is_array(list) ? snug_json_count(list) : 0;
    int n_columns = 0;
    for (size_t i = 0; i < n && i < N_OBJECTIVES && n_columns < COLUMNS_MAX; i++) {
        const struct objective *found = find(snug_json_string(snug_json_at(list, i), ""));
        if (found)
            out[n_columns++] = found;
    }
    return n_columns;
}

static const char *value_text(enum unit unit, double v, char out[SNUG_UNIT_TEXT_MAX])
{
    if (unit == UNIT_BYTES)
        return snug__bytes_text(v, out);
    if (unit == UNIT_SECONDS_OF_RATE)
        return snug__seconds_text(v > 0 ? 1 / v : (double)NAN, out);
    if (unit == UNIT_NATS && fabs(v) < 1e9)
        snprintf(out, SNUG_UNIT_TEXT_MAX, "%.5f", fmax(v, 0)); /* an estimate may lie below */
    else if (unit == UNIT_JOULES_OF_RATE && v > 1e-9 && v < 1e9)
        snprintf(out, SNUG_UNIT_TEXT_MAX, "%.3g", 1 / v);
    else
        snug__rate_text(v, out); /* also of what is no figure */
    return out;
}

static void limits(struct snug_buffer *out, const struct snug__report *report)
{
    static const struct {
        const char *name, *words;
        bool is_seconds;
    } known[] = {{"max-ttft", "TTFT", true}, {"max-tpot", "TPOT", true}, {"max-kld", "KLD", false}};
    const struct snug_json_node *node = snug_json_get(report->root, "limits");
    bool is_first = true;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const double limit = snug__positive(node, known[i].name);
        char text[SNUG_UNIT_TEXT_MAX];
        if (!(limit > 0))
            continue;
        snug_buffer_printf(out, "%s%s at most %s", is_first ? " Limits: " : ", ", known[i].words,
                           known[i].is_seconds ? snug__seconds_text(limit, text)
                                               : value_text(UNIT_NATS, limit, text));
        is_first = false;
    }
    if (!is_first)
        snug_buffer_puts(out, "; what was measured past one of them is not here.");
}

static void member(struct snug_buffer *out, const struct snug__row *row,
                   const struct objective *const *columns, int n_columns)
{
    char text[SNUG_UNIT_TEXT_MAX];
    snprintf(text, sizeof text, "%lld", (long long)row->id);
    snug__row_head(out, text);
    for (int c = 0; c < n_columns; c++) {
        const double v = snug__number(row->axes, columns[c]->key);
        snug__cell_number(out, v, value_text(columns[c]->unit, v, text));
    }
    snug__cell_text(out, row->config_text);
    snug_buffer_puts(out, "</tr>\n");
}

void snug__html_axes(struct snug_buffer *out, const struct snug__report *report)
{
    const struct objective *columns[COLUMNS_MAX];
    const char *heads[COLUMNS_MAX + 2] = {"Trial"};
    const int n_columns = read_columns(report, columns);
    if (n_columns == 0)
        return;
    for (int c = 0; c < n_columns; c++)
        heads[1 + c] = columns[c]->head;
    heads[1 + n_columns] = "Config";
    snug_buffer_puts(out, "<section aria-labelledby=\"objectives\"><h2 id=\"objectives\">Front of "
                          "the objectives</h2>\n<p>No other config is at least as good in all "
                          "columns and better in one.");
    limits(out, report);
    snug_buffer_puts(out, "</p>\n");
    snug__table_begin(out, heads, n_columns + 2, "Front of the objectives");
    for (size_t i = 0; i < report->n_rows; i++)
        if (report->rows[i].on_front && report->rows[i].is_ok)
            member(out, &report->rows[i], columns, n_columns);
    snug__table_end(out);
    snug_buffer_puts(out, "</section>\n");
}
