/* The table of every trial. A failed trial shows its reason where the speeds would be, so that no
 * column holds a number that was not measured. With the script, a click on a heading sorts by the
 * data-v of its cells; failed trials then stay at the end. */
#include "report/html.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "snug/trial.h"

enum column_kind { COLUMN_RATE, COLUMN_SECONDS, COLUMN_BYTES, COLUMN_PERCENT, COLUMN_PLAIN };

struct column {
    const char *name, *title, *key;
    enum column_kind kind;
    bool may_be_zero; /* zero is a figure */
};

/* Columns that only a trial with outcome ok fills, after the speed of the objective. */
static const struct column speed_columns[] = {
    {"Prefill t/s", "n_prompt * n_parallel / block seconds, median over blocks", "prefill_tps",
     COLUMN_RATE, false},
    {"Decode t/s", "n_gen * n_parallel / block seconds, median over blocks", "decode_tps",
     COLUMN_RATE, false},
    {"TTFT", "end of first sampled token - start of prefill, median over blocks", "ttft_s",
     COLUMN_SECONDS, false},
    {"TPOT p50", "median gap between tokens; mean gap = (last - first) / (n - 1)", "tpot_p50_s",
     COLUMN_SECONDS, false},
    {"TPOT p95", "the gap that 95 % of tokens stay under", "tpot_p95_s", COLUMN_SECONDS, false},
};

/* Columns of measurement.bytes; a failed trial may have them too. */
static const struct column bytes_columns[] = {
    {"Weights", "model buffers, as the engine states them", "weights", COLUMN_BYTES, false},
    {"Cache", "key-value cache, as the engine states it", "cache", COLUMN_BYTES, true},
    {"Compute", "graph buffers and logits, as the engine states them", "compute", COLUMN_BYTES,
     true},
    {"Device", "part of the three that lies on other devices than the CPU", "device", COLUMN_BYTES,
     true},
    {"Peak RSS", "highest resident set of the worker", "rss_peak", COLUMN_BYTES, false},
};

static const struct column run_columns[] = {
    {"Load", "loading the model; 0 when it was loaded already", "load_s", COLUMN_SECONDS, true},
    {"Wall", "the whole trial, load and warm-up included", "wall_s", COLUMN_SECONDS, false},
    {"Throttled", "stopped by the CPU quota", "throttled_s", COLUMN_SECONDS, true},
    {"Other load", "share of CPU time that other processes took", "other_load_frac", COLUMN_PERCENT,
     true},
    {"Load avg", "1 minute load average", "load_average", COLUMN_PLAIN, true},
};

#define N_COLUMNS(table) (sizeof(table) / sizeof(table)[0])
#define FAILED_SPAN (1 + (int)N_COLUMNS(speed_columns)) /* the objective's speed and the speeds */

static const char *value_text(enum column_kind kind, double v, char out[SNUG_UNIT_TEXT_MAX])
{
    switch (kind) {
    case COLUMN_SECONDS:
        return snug__seconds_text(v, out);
    case COLUMN_BYTES:
        return snug__bytes_text(v, out);
    case COLUMN_PERCENT:
        return snug__percent_text(v, out);
    default:
        return snug__rate_text(v, out);
    }
}

/* A zero that nothing filled in, as in a failed trial, is no figure: is_filled false. */
static void column_cells(struct snug_buffer *out, const struct column *columns, size_t n,
                         const struct snug_json_node *from, bool is_filled)
{
    char text[SNUG_UNIT_TEXT_MAX];
    for (size_t i = 0; i < n; i++) {
        double v = columns[i].may_be_zero && is_filled ? snug__number(from, columns[i].key)
                                                       : snug__positive(from, columns[i].key);
        snug__cell_number(out, v, value_text(columns[i].kind, v, text));
    }
}

static void column_heads(struct snug_buffer *out, const struct column *columns, size_t n)
{
    for (size_t i = 0; i < n; i++)
        snug_buffer_printf(out, "<th scope=\"col\" class=\"n\" title=\"%s\">%s</th>",
                           columns[i].title, columns[i].name);
}

/* The verdict of the document, with the rules that it rests on; without one, that of the rules. */
static void verdict_cell(struct snug_buffer *out, const struct snug__row *row)
{
    const struct snug_json_node *rules = snug_json_get(row->measurement, "warnings");
    const char *verdict = row->verdict;
    snug_buffer_puts(out, "<td>");
    if (!row->is_ok) {
        snug_buffer_puts(out, "<span class=\"none\">failed</span></td>");
        return;
    }
    if (!verdict[0] && snug_json_is_array(rules) && snug_json_count(rules) > 0)
        verdict = snug_verdict_name(snug_verdict_of(snug__rules_bits(rules)));
    snug__html_verdict_word(out, verdict);
    snug_buffer_puts(out, "<br><small>");
    snug__html_rules(out, rules, false);
    snug_buffer_puts(out, "</small></td>");
}

static void quality_cell(struct snug_buffer *out, const struct snug__row *row)
{
    char text[96];
    snug_buffer_puts(out, "<td class=\"n\">");
    snug__html_quantity(out, row->is_ok ? snug__quality_text(row->quality, text) : "");
    snug_buffer_puts(out, "</td>");
}

/* Role, and what else the trial is: "search, pick, on the front". */
static void role_cell(struct snug_buffer *out, const struct snug__report *report,
                      const struct snug__row *row)
{
    snug_buffer_puts(out, "<td>");
    snug__html_text(out, row->role[0] ? row->role : "not known");
    for (int who = 0; who < SNUG__N_WHO; who++)
        if (report->who[who] == row && strcmp(row->role, snug__who_name((enum snug__who)who)) != 0)
            snug_buffer_printf(out, " <span class=\"tag %s\">%s</span>",
                               snug__who_name((enum snug__who)who),
                               snug__who_name((enum snug__who)who));
    if (row->on_front)
        snug_buffer_puts(out, " <span class=\"tag\">front</span>");
    if (row->strategy[0]) {
        snug_buffer_puts(out, "<br><small>");
        snug__html_text(out, row->strategy);
        snug_buffer_puts(out, "</small>");
    }
    snug_buffer_puts(out, "</td>");
}

static void speed_cells(struct snug_buffer *out, const struct snug__row *row)
{
    char a[SNUG_UNIT_TEXT_MAX], b[SNUG_UNIT_TEXT_MAX];
    if (!row->is_ok) {
        snug_buffer_printf(out, "<td class=\"reason\" colspan=\"%d\">not measured: ", FAILED_SPAN);
        snug__html_text(out, row->reason[0] ? row->reason : "no reason recorded");
        snug_buffer_puts(out, "</td>");
        return;
    }
    if (row->speed > 0)
        snug_buffer_printf(out, "<td class=\"n\" data-v=\"%.9g\"><strong>%s</strong>", row->speed,
                           snug__rate_text(row->speed, a));
    else
        snug_buffer_puts(out, "<td class=\"n\"><span class=\"none\">not measured</span>");
    if (row->speed_lo > 0 && row->speed_hi > 0)
        snug_buffer_printf(out, "<br><small>%s to %s</small>", snug__rate_text(row->speed_lo, a),
                           snug__rate_text(row->speed_hi, b));
    snug_buffer_puts(out, "</td>");
    column_cells(out, speed_columns, N_COLUMNS(speed_columns), row->measurement, true);
}

static void trial_row(struct snug_buffer *out, const struct snug__report *report,
                      const struct snug__row *row)
{
    char text[SNUG_UNIT_TEXT_MAX];
    const struct snug_json_node *bytes = snug_json_get(row->measurement, "bytes");
    snug_buffer_printf(out, "<tr%s><th scope=\"row\" class=\"n\" data-v=\"%lld\">%lld</th>",
                       row->is_ok ? "" : " class=\"bad\"", (long long)row->id, (long long)row->id);
    role_cell(out, report, row);
    snug_buffer_printf(out, "<td><span class=\"outcome%s\">", row->is_ok ? "" : " not-ok");
    snug__html_text(out, row->outcome);
    snug_buffer_puts(out, "</span></td><td class=\"cfg\"><code>");
    snug__html_text(out, row->config_text);
    snug_buffer_puts(out, "</code></td>");
    speed_cells(out, row);
    snug__cell_number(out, row->bytes, snug__bytes_text(row->bytes, text));
    column_cells(out, bytes_columns, N_COLUMNS(bytes_columns), bytes, row->bytes > 0);
    column_cells(out, run_columns, N_COLUMNS(run_columns), row->measurement, row->is_ok);
    quality_cell(out, row);
    verdict_cell(out, row);
    snug_buffer_puts(out, "</tr>\n");
}

static void heads(struct snug_buffer *out, const struct snug__report *report)
{
    snug_buffer_puts(out,
                     "<thead><tr><th scope=\"col\" class=\"n\">#</th><th scope=\"col\">Role</th>"
                     "<th scope=\"col\">Outcome</th><th scope=\"col\">Config</th>");
    snug_buffer_printf(out,
                       "<th scope=\"col\" class=\"n\" title=\"the speed that is tuned, with its "
                       "interval\">Speed <small>%s</small></th>",
                       snug__speed_unit(report));
    column_heads(out, speed_columns, N_COLUMNS(speed_columns));
    snug_buffer_puts(out, "<th scope=\"col\" class=\"n\" title=\"weights + cache + compute\">"
                          "Memory</th>");
    column_heads(out, bytes_columns, N_COLUMNS(bytes_columns));
    column_heads(out, run_columns, N_COLUMNS(run_columns));
    snug_buffer_puts(out,
                     "<th scope=\"col\" class=\"n\" title=\"KL divergence from the reference in "
                     "nats, or perplexity, with its standard error\">Quality price</th>"
                     "<th scope=\"col\">Verdict</th></tr></thead>\n");
}

static void rules_legend(struct snug_buffer *out)
{
    snug_buffer_puts(out, "<dl class=\"warnings\">\n");
    for (int bit = 0; bit < SNUG_N_WARNINGS; bit++)
        snug_buffer_printf(out, "<div><dt>%s</dt><dd>%s</dd></div>\n",
                           snug_warning_name((enum snug_warning_bit)bit),
                           snug_warning_meaning((enum snug_warning_bit)bit));
    snug_buffer_puts(out, "</dl>\n");
}

void snug__html_trials(struct snug_buffer *out, const struct snug__report *report)
{
    snug_buffer_puts(out, "<section class=\"wide-page\" aria-labelledby=\"trials\"><h2 "
                          "id=\"trials\">Every trial</h2>\n");
    if (report->n_rows == 0) {
        snug_buffer_puts(out, "<p>No trial was run.</p></section>\n");
        return;
    }
    snug_buffer_printf(out,
                       "<p>%zu trial%s, %zu ok, %zu failed. A failed trial has a reason in "
                       "place of speeds and takes no part in any median.</p>\n",
                       report->n_rows, report->n_rows == 1 ? "" : "s", report->n_ok,
                       report->n_rows - report->n_ok);
    snug_buffer_puts(out,
                     "<div class=\"scroll bleed\" tabindex=\"0\" role=\"region\" "
                     "aria-labelledby=\"trials\"><table class=\"trials\" id=\"trial-table\">\n");
    heads(out, report);
    snug_buffer_puts(out, "<tbody>\n");
    for (size_t i = 0; i < report->n_rows; i++)
        trial_row(out, report, &report->rows[i]);
    snug_buffer_puts(out, "</tbody></table></div>\n<h3>Verdict</h3>\n<p>VALID: quote it. NOTE: "
                          "know the rule below before you quote it. INVALID: the number is of "
                          "something else than the config alone.</p>\n");
    rules_legend(out);
    snug_buffer_puts(out, "</section>\n");
}
