/* The table of verdicts: every round of a cell, its figures with intervals, and the rules that its
 * rows broke in words. */
#include "report/lab.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void interval_cell(struct snug_buffer *out, const struct snug__lab_sum *sum, const char *key)
{
    struct snug_interval of = snug__lab_interval(sum->node, key);
    char text[SNUG_UNIT_TEXT_MAX], lo[SNUG_UNIT_TEXT_MAX], hi[SNUG_UNIT_TEXT_MAX];
    if (!(of.mid > 0)) {
        snug__cell(out, "not measured");
        return;
    }
    snug_buffer_printf(out, "<td class=\"n\" data-v=\"%.9g\">%s", of.mid,
                       snug__rate_text(of.mid, text));
    if (of.lo < of.hi)
        snug_buffer_printf(out, "<br><small>%s to %s</small>", snug__rate_text(of.lo, lo),
                           snug__rate_text(of.hi, hi));
    snug_buffer_puts(out, "</td>");
}

/* "5 ok", "4 ok, 1 failed" */
static void counts_cell(struct snug_buffer *out, const struct snug__lab_sum *sum)
{
    if (sum->n_ok < 0 && sum->n_failed < 0) {
        snug__cell(out, "not measured");
        return;
    }
    snug_buffer_printf(out, "<td class=\"n\">%lld ok", (long long)(sum->n_ok > 0 ? sum->n_ok : 0));
    if (sum->n_failed > 0)
        snug_buffer_printf(out, "<br><span class=\"not-ok\">%lld failed</span>",
                           (long long)sum->n_failed);
    snug_buffer_puts(out, "</td>");
}

static void improved_cell(struct snug_buffer *out, const struct snug__lab_sum *sum)
{
    const struct snug_json_node *node = snug_json_get(sum->node, "improved");
    bool is_yes = snug_json_bool(node, false), is_no = !snug_json_bool(node, true);
    const char *why = snug_json_get_string(sum->node, "why", "");
    snug_buffer_puts(out, is_yes  ? "<td>yes"
                          : is_no ? "<td>no"
                                  : "<td><span class=\"none\">not judged</span>");
    if (why[0]) {
        snug_buffer_puts(out, "<br><small>");
        snug__html_text(out, why);
        snug_buffer_puts(out, "</small>");
    }
    snug_buffer_puts(out, "</td>");
}

static void verdict_row(struct snug_buffer *out, const struct snug__lab_view *view,
                        const struct snug__lab_sum *sum)
{
    char text[SNUG_REASON_MAX + 16];
    bool is_failed = sum->state == SNUG__LAB_FAILED;
    snug_buffer_printf(out, "<tr%s><th scope=\"row\">", is_failed ? " class=\"bad\"" : "");
    snug__html_text(out, snug__lab_round_name(sum->round));
    snug_buffer_puts(out, "</th>");
    counts_cell(out, sum);
    if (is_failed) {
        snug_buffer_puts(out, "<td class=\"reason\" colspan=\"5\">");
        snug__html_text(out, snug__lab_failed_text(view, sum->round, text));
        snug_buffer_puts(out, "</td></tr>\n");
        return;
    }
    interval_cell(out, sum, "prefill_tps");
    interval_cell(out, sum, "decode_tps");
    improved_cell(out, sum);
    snug_buffer_puts(out, "<td>");
    snug__html_verdict_word(out, snug_json_get_string(sum->node, "verdict", ""));
    snug_buffer_puts(out, "</td><td class=\"rules\">");
    snug__html_rules(out, snug_json_get(sum->node, "rules"), true);
    snug_buffer_puts(out, "</td></tr>\n");
}

void snug__lab_verdicts(struct snug_buffer *out, const struct snug__lab_view *view)
{
    snug_buffer_puts(out, "<h3>Verdicts</h3>\n");
    if (view->n_all == 0) {
        snug_buffer_puts(out, "<p>Verdicts: no round was summed up.</p>\n");
        return;
    }
    snug_buffer_puts(
        out, "<p>INVALID: the numbers are of something else than the config alone. NOTE: know "
             "this before you quote them.</p>\n<div class=\"scroll\" tabindex=\"0\" "
             "role=\"region\" aria-label=\"Verdicts\"><table class=\"verdicts\"><thead><tr>"
             "<th scope=\"col\">Round</th><th scope=\"col\" class=\"n\">Rows</th>"
             "<th scope=\"col\" class=\"n\">Prefill t/s</th><th scope=\"col\" class=\"n\">"
             "Decode t/s</th><th scope=\"col\">Improved</th><th scope=\"col\">Verdict</th>"
             "<th scope=\"col\">Rules</th></tr></thead><tbody>\n");
    size_t n = 0;
    for (size_t i = 0; i < view->lab->n_sums && n < SNUG_REPORT_LIST_MAX; i++) {
        if (view->lab->sums[i].i_cell != view->i_cell)
            continue;
        verdict_row(out, view, &view->lab->sums[i]);
        n++;
    }
    snug_buffer_puts(out, "</tbody></table></div>\n");
    snug__lab_left_out(out, n, view->n_all, "verdicts");
}
