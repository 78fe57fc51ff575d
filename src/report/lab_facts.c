/* How a lab run was made: file, models, workloads and rounds; and the table of every row, where a
 * failed one shows its reason in place of speeds. */
#include "report/lab.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define KNOBS_MAX 64 /* of a round */
#define FAILED_SPAN 4

/* is_number: a digit per column, '1' for one that stands on the right. */
static void heads(struct snug_buffer *out, const char *const *names, const char *is_number,
                  const char *table_attributes)
{
    snug_buffer_printf(out, "<table%s><thead><tr>", table_attributes);
    for (size_t i = 0; is_number[i]; i++)
        snug_buffer_printf(out, "<th scope=\"col\"%s>%s</th>",
                           is_number[i] == '1' ? " class=\"n\"" : "", names[i]);
    snug_buffer_puts(out, "</tr></thead><tbody>\n");
}

static void open_scroll(struct snug_buffer *out, const char *label)
{
    snug_buffer_printf(out,
                       "<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
                       "aria-label=\"%s\">",
                       label);
}

static size_t list_of(const struct snug__lab *lab, const char *key,
                      const struct snug_json_node **out)
{
    *out = snug_json_get(lab->root, key);
    return snug_json_is_array(*out) ? snug_json_count(*out) : 0;
}

static void text_cell(struct snug_buffer *out, const struct snug_json_node *node, const char *key)
{
    const char *text = snug_json_get_string(node, key, "");
    snug_buffer_puts(out, "<td>");
    snug__html_quantity(out, text);
    snug_buffer_puts(out, "</td>");
}

/* The first 12 digits of a hash, the rest in its tooltip. */
static void hash_cell(struct snug_buffer *out, const struct snug_json_node *node, const char *key)
{
    const char *hash = snug_json_get_string(node, key, "");
    char text[256];
    snug_buffer_puts(out, "<td><code title=\"");
    snug__html_text(out, hash);
    snug_buffer_puts(out, "\">");
    snug__html_quantity(out, snug__lab_shorten(hash, 13, text));
    snug_buffer_puts(out, "</code></td>");
}

static void models(struct snug_buffer *out, const struct snug__lab *lab)
{
    static const char *const names[] = {"Model", "Size", "File", "Hash"};
    const struct snug_json_node *list;
    char text[SNUG_UNIT_TEXT_MAX];
    size_t n = list_of(lab, "models", &list);
    snug_buffer_puts(out, "<h3>Models</h3>\n");
    if (n == 0) {
        snug_buffer_puts(out, "<p>Models: not recorded.</p>\n");
        return;
    }
    open_scroll(out, "Models");
    heads(out, names, "0100", "");
    for (size_t i = 0; i < n; i++) {
        const struct snug_json_node *model = snug_json_at(list, i);
        double bytes = snug__positive(model, "bytes");
        snug__row_head(out, snug_json_get_string(model, "name", ""));
        snug__cell_number(out, bytes, snug__bytes_text(bytes, text));
        text_cell(out, model, "path");
        hash_cell(out, model, "hash");
        snug_buffer_puts(out, "</tr>\n");
    }
    snug__table_end(out);
}

static void workloads(struct snug_buffer *out, const struct snug__lab *lab)
{
    static const char *const names[] = {"Workload", "Prompt",    "Generated",
                                        "Depth",    "Sequences", "Context"};
    static const char *const keys[] = {"n_prompt", "n_gen", "n_depth", "n_parallel", "n_ctx"};
    const struct snug_json_node *list;
    char text[SNUG_UNIT_TEXT_MAX];
    size_t n = list_of(lab, "workloads", &list);
    snug_buffer_puts(out, "<h3>Workloads</h3>\n");
    if (n == 0) {
        snug_buffer_puts(out, "<p>Workloads: not recorded.</p>\n");
        return;
    }
    snug__table_begin(out, names, 6, "Workloads, in tokens");
    for (size_t i = 0; i < n; i++) {
        const struct snug_json_node *workload = snug_json_at(list, i);
        snug__row_head(out, snug_json_get_string(workload, "name", ""));
        for (size_t k = 0; k < 5; k++) {
            double v = snug__number(workload, keys[k]);
            snug__cell_number(out, v, snug__count_text(v, text));
        }
        snug_buffer_puts(out, "</tr>\n");
    }
    snug__table_end(out);
}

/* "n_threads=1 flash_attn=on" of an object of texts, numbers and truth values. */
static void knobs_cell(struct snug_buffer *out, const struct snug_json_node *knobs)
{
    const char *key = NULL;
    const struct snug_json_node *value = NULL;
    size_t i = 0;
    snug_buffer_puts(out, "<td><code>");
    for (; i < KNOBS_MAX && snug_json_member(knobs, i, &key, &value); i++) {
        snug_buffer_puts(out, i ? " " : "");
        snug__html_text(out, key);
        snug_buffer_puts(out, "=");
        if (snug_json_is_string(value))
            snug__html_text(out, snug_json_string(value, ""));
        else if (snug_json_is_number(value))
            snug_buffer_printf(out, "%.10g", snug_json_number(value, 0));
        else
            snug_buffer_puts(out, snug_json_bool(value, false) ? "on" : "off");
    }
    snug_buffer_puts(out, i ? "</code></td>" : "as it is</code></td>");
}

static void rounds(struct snug_buffer *out, const struct snug__lab *lab)
{
    static const char *const names[] = {"Round", "Group", "Knobs"};
    const struct snug_json_node *list;
    size_t n = list_of(lab, "rounds", &list);
    snug_buffer_puts(out, "<h3>Rounds</h3>\n");
    if (n == 0) {
        snug_buffer_puts(out, "<p>Rounds: not recorded.</p>\n");
        return;
    }
    open_scroll(out, "Rounds");
    heads(out, names, "000", "");
    for (size_t i = 0; i < n; i++) {
        const struct snug_json_node *round = snug_json_at(list, i);
        snug__row_head(out, snug_json_get_string(round, "name", ""));
        snug__cell_text(out, snug_json_get_string(round, "group", ""));
        knobs_cell(out, snug_json_get(round, "knobs"));
        snug_buffer_puts(out, "</tr>\n");
    }
    snug__table_end(out);
}

void snug__lab_facts(struct snug_buffer *out, const struct snug__lab *lab)
{
    char text[64] = "";
    long long seed = (long long)snug_json_get_int(lab->root, "seed", -1);
    if (seed >= 0)
        snprintf(text, sizeof text, "%lld", seed);
    snug_buffer_puts(out, "<section aria-labelledby=\"run\"><h2 id=\"run\">The run</h2>\n"
                          "<dl class=\"facts\">\n");
    snug__html_fact(out, "Rounds file", snug_json_get_string(lab->root, "file", ""));
    snug__html_fact(out, "Plan", snug_json_get_string(lab->root, "plan_hash", ""));
    snug__html_fact(out, "Seed", text);
    snug_buffer_puts(out, "</dl>\n");
    models(out, lab);
    workloads(out, lab);
    rounds(out, lab);
    snug_buffer_puts(out, "</section>\n");
}

/* ---- rows ---- */

static const char *const ENERGY_KEYS[] = {"prefill_j_per_token", "decode_j_per_token"};

static bool has_energy(const struct snug__lab *lab)
{
    for (size_t i = 0; i < lab->n_rows; i++)
        if (lab->rows[i].is_ok && (snug__positive(lab->rows[i].node, ENERGY_KEYS[0]) > 0 ||
                                   snug__positive(lab->rows[i].node, ENERGY_KEYS[1]) > 0))
            return true;
    return false;
}

/* Once per page: what the columns are, or why there are none, in the words of the first row that
 * was measured. */
static void energy_words(struct snug_buffer *out, const struct snug__lab *lab, bool is_shown)
{
    const char *source = "";
    for (size_t i = 0; i < lab->n_rows && !source[0]; i++) {
        const struct snug_json_node *conditions =
            snug_json_get(lab->rows[i].measurement, "conditions");
        source = snug_json_get_string(snug_json_get(conditions, "energy"), "source", "");
    }
    snug_buffer_puts(out, is_shown ? "<p>Energy: joules per token with the idle power taken off"
                                   : "<p>Energy per token: not readable");
    if (source[0]) {
        snug_buffer_puts(out, is_shown ? ", from " : ": ");
        snug__html_text(out, source);
    }
    snug_buffer_puts(out, ".</p>\n");
}

static void energy_cells(struct snug_buffer *out, const struct snug__lab_row *row)
{
    char text[SNUG_UNIT_TEXT_MAX];
    for (size_t i = 0; i < 2; i++) {
        const double joules = snug__positive(row->node, ENERGY_KEYS[i]);
        snprintf(text, sizeof text, "%.3g J", joules);
        snug__cell_number(out, joules, joules > 0 ? text : "not measured");
    }
}

static void speed_cells(struct snug_buffer *out, const struct snug__lab_row *row, bool is_energy)
{
    static const char *const keys[] = {"prefill_tps", "decode_tps"};
    char text[SNUG_UNIT_TEXT_MAX];
    if (!row->is_ok) {
        snug_buffer_printf(out, "<td class=\"reason\" colspan=\"%d\">not measured: ",
                           FAILED_SPAN + (is_energy ? 2 : 0));
        snug__html_text(out, row->reason[0] ? row->reason : "no reason recorded");
        snug_buffer_puts(out, "</td>");
        return;
    }
    for (size_t i = 0; i < 2; i++) {
        double v = snug__positive(row->measurement, keys[i]);
        snug__cell_number(out, v, snug__rate_text(v, text));
    }
    double ttft = snug__positive(row->measurement, "ttft_s");
    snug__cell_number(out, ttft, snug__seconds_text(ttft, text));
    snug__cell_number(out, row->request_s, snug__seconds_text(row->request_s, text));
    if (is_energy)
        energy_cells(out, row);
}

/* A failed row has nothing that could be judged. */
static void verdict_cell(struct snug_buffer *out, const struct snug__lab_row *row)
{
    snug_buffer_puts(out, "<td>");
    if (row->is_ok) {
        snug__html_verdict_word(out, snug_json_get_string(row->measurement, "verdict", ""));
        snug_buffer_puts(out, "<br><small>");
        snug__html_rules(out, snug_json_get(row->measurement, "warnings"), false);
        snug_buffer_puts(out, "</small>");
    }
    snug_buffer_puts(out, "</td>");
}

static void whole_row(struct snug_buffer *out, const struct snug__lab *lab,
                      const struct snug__lab_row *row, bool is_energy)
{
    char text[SNUG_UNIT_TEXT_MAX];
    const struct snug__lab_cell *cell = &lab->cells[row->i_cell];
    double order = snug__number(row->node, "order"), repetition = (double)row->repetition;
    snug_buffer_printf(out, "<tr%s>", row->is_ok ? "" : " class=\"bad\"");
    snug__cell_number(out, order, snug__count_text(order, text));
    snug__cell_text(out, snug__lab_round_name(row->round));
    snug__cell_text(out, cell->model);
    snug__cell_text(out, cell->workload);
    snug__cell_number(out, repetition, snug__count_text(repetition, text));
    snug_buffer_printf(out, "<td><span class=\"outcome%s\">", row->is_ok ? "" : " not-ok");
    snug__html_text(out, row->outcome);
    snug_buffer_puts(out, "</span></td>");
    speed_cells(out, row, is_energy);
    verdict_cell(out, row);
    snug_buffer_puts(out, "<td class=\"outcome\">");
    snug__html_quantity(out, snug__time_text(row->started_unix_s, text));
    snug_buffer_puts(out, "</td>");
    snug_buffer_puts(out, "<td class=\"cfg\"><code>");
    snug__html_text(out, row->config_text);
    snug_buffer_puts(out, "</code></td>");
    hash_cell(out, row->node, "machine_fingerprint");
    hash_cell(out, row->node, "key");
    snug_buffer_puts(out, "</tr>\n");
}

void snug__lab_rows(struct snug_buffer *out, const struct snug__lab *lab)
{
    static const char *const names[] = {"#",       "Round",   "Model",  "Workload", "Repetition",
                                        "Outcome", "Prefill", "Decode", "TTFT",     "Request",
                                        "Verdict", "Started", "Config", "Machine",  "Key"};
    static const char *const with_energy[] = {
        "#",      "Round",   "Model",   "Workload",        "Repetition",     "Outcome", "Prefill",
        "Decode", "TTFT",    "Request", "Prefill J/token", "Decode J/token", "Verdict", "Started",
        "Config", "Machine", "Key"};
    const bool is_energy = has_energy(lab);
    size_t n = lab->n_rows < SNUG_REPORT_LAB_TABLE_MAX ? lab->n_rows : SNUG_REPORT_LAB_TABLE_MAX;
    snug_buffer_puts(out, "<section class=\"wide-page\" aria-labelledby=\"rows\"><h2 "
                          "id=\"rows\">Every row</h2>\n");
    if (n == 0) {
        snug_buffer_puts(out, "<p>No row was run.</p></section>\n");
        return;
    }
    snug_buffer_puts(out, "<p>Speeds in tokens/s. A failed row has a reason in place of speeds "
                          "and takes no part in any figure.</p>\n");
    energy_words(out, lab, is_energy);
    snug__lab_left_out(out, n, lab->n_rows, "rows");
    snug_buffer_puts(out, "<div class=\"scroll bleed\" tabindex=\"0\" role=\"region\" "
                          "aria-labelledby=\"rows\">");
    heads(out, is_energy ? with_energy : names, is_energy ? "10001011111100000" : "100010111100000",
          " class=\"trials\" id=\"trial-table\"");
    for (size_t i = 0; i < n; i++)
        whole_row(out, lab, &lab->rows[i], is_energy);
    snug_buffer_puts(out, "</tbody></table></div></section>\n");
}
