/* The words that a page of a lab run begins with: what improved and by how much, what failed, which
 * thresholds hold. A gain counts when the run says so ("improved"), which is its own rule. */
#include "report/lab.h"

#include <stdio.h>
#include <string.h>

#define LIST_MAX 40 /* entries of each list; the rest is counted */

static void sentence(struct snug_buffer *out, const struct snug__lab *lab, size_t n_improved,
                     size_t n_failed)
{
    size_t n_judged = 0;
    for (size_t i = 0; i < lab->n_sums; i++)
        n_judged += strcmp(snug__lab_round_name(lab->sums[i].round), "baseline") != 0;
    snug_buffer_puts(out, "<p class=\"verdict\">");
    if (n_judged == 0)
        snug_buffer_puts(out, "No round was measured, so nothing can be said.");
    else if (n_improved == 0)
        snug_buffer_printf(out, "<strong>No round improved</strong> on the baseline, of %zu tried.",
                           n_judged);
    else
        snug_buffer_printf(out, "<strong>%zu of %zu rounds improved</strong> on the baseline.",
                           n_improved, n_judged);
    if (n_failed > 0)
        snug_buffer_printf(out, " %zu failed.", n_failed);
    snug_buffer_printf(out,
                       "</p>\n<p class=\"lead\">%zu row%s, %zu ok, %zu failed. A round counts in "
                       "each model and workload on its own; a failed one has no number and takes "
                       "no part in any.</p>\n",
                       lab->n_rows, lab->n_rows == 1 ? "" : "s", lab->n_rows_ok,
                       lab->n_rows - lab->n_rows_ok);
}

/* "NAME (MODEL, WORKLOAD)" */
static void round_name(struct snug_buffer *out, const struct snug__lab *lab,
                       const struct snug__lab_sum *sum)
{
    const struct snug__lab_cell *cell = &lab->cells[sum->i_cell];
    snug_buffer_puts(out, "<strong>");
    snug__html_text(out, snug__lab_round_name(sum->round));
    snug_buffer_puts(out, "</strong>");
    if (lab->n_cells > 1) {
        snug_buffer_puts(out, " <small>(");
        snug__html_text(out, cell->model);
        snug_buffer_puts(out, ", ");
        snug__html_text(out, cell->workload);
        snug_buffer_puts(out, ")</small>");
    }
}

/* Ratios of one round, "decode speed 1.07 (1.05 to 1.09)", those told apart from 1 first. */
static void ratios_of(struct snug_buffer *out, const struct snug__lab *lab,
                      const struct snug__lab_sum *sum)
{
    char text[96];
    bool is_first = true;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < lab->n_ratios; i++) {
            const struct snug__lab_ratio *ratio = &lab->ratios[i];
            if (ratio->i_cell != sum->i_cell || strcmp(ratio->round, sum->round) != 0 ||
                (snug__lab_ratio_side(ratio) == 0) != (pass == 1) || !(ratio->of.lo > 0))
                continue;
            snug_buffer_puts(out, is_first ? ": " : "; ");
            snug__html_text(out, snug__lab_metric_name(ratio->metric));
            snug_buffer_printf(out, " &times; %s", snug__lab_interval_text(ratio->of, text));
            is_first = false;
        }
    const char *why = snug_json_get_string(sum->node, "why", "");
    if (why[0]) {
        snug_buffer_puts(out, is_first ? ": " : ". ");
        snug__html_text(out, why);
    }
}

static bool is_improved(const struct snug__lab_sum *sum)
{
    return sum->state == SNUG__LAB_OK && snug_json_get_bool(sum->node, "improved", false);
}

static void improved(struct snug_buffer *out, const struct snug__lab *lab, size_t n)
{
    size_t n_listed = 0;
    if (n == 0)
        return;
    snug_buffer_puts(out, "<h3>Improved</h3>\n<p class=\"lead\">Times the baseline&#39;s, with "
                          "intervals of 95 %; less is better for times, memory and "
                          "divergence.</p>\n<ul class=\"ticks\">\n");
    for (size_t i = 0; i < lab->n_sums && n_listed < LIST_MAX; i++) {
        if (!is_improved(&lab->sums[i]))
            continue;
        snug_buffer_puts(out, "<li class=\"yes\">");
        round_name(out, lab, &lab->sums[i]);
        ratios_of(out, lab, &lab->sums[i]);
        snug_buffer_puts(out, "</li>\n");
        n_listed++;
    }
    snug_buffer_puts(out, "</ul>\n");
    snug__lab_left_out(out, n_listed, n, "rounds that improved");
}

static void failed(struct snug_buffer *out, const struct snug__lab *lab, size_t n)
{
    size_t n_listed = 0;
    char text[SNUG_REASON_MAX + 16];
    if (n == 0)
        return;
    snug_buffer_puts(out, "<h3>Failed</h3>\n<ul class=\"ticks\">\n");
    for (size_t i = 0; i < lab->n_sums && n_listed < LIST_MAX; i++) {
        const struct snug__lab_sum *sum = &lab->sums[i];
        const struct snug__lab_view view = {.lab = lab, .i_cell = sum->i_cell};
        if (sum->n_failed <= 0)
            continue;
        snug_buffer_puts(out, "<li class=\"no\">");
        round_name(out, lab, sum);
        if (sum->n_ok > 0)
            snug_buffer_printf(out, ", %lld of %lld rows ", (long long)sum->n_failed,
                               (long long)(sum->n_failed + sum->n_ok));
        else
            snug_buffer_printf(out, ", all of %lld rows ", (long long)sum->n_failed);
        snug__html_text(out, snug__lab_failed_text(&view, sum->round, text));
        snug_buffer_puts(out, "</li>\n");
        n_listed++;
    }
    snug_buffer_puts(out, "</ul>\n");
    snug__lab_left_out(out, n_listed, n, "rounds that failed");
}

static void threshold(struct snug_buffer *out, const struct snug_json_node *entry)
{
    char text[SNUG_UNIT_TEXT_MAX];
    const struct snug_json_node *ok = snug_json_get(entry, "ok");
    const struct snug_json_node *value = snug_json_get(entry, "value");
    /* neither true nor false: not known */
    bool is_yes = snug_json_bool(ok, false), is_no = !snug_json_bool(ok, true);
    snug_buffer_printf(out, "<li%s>", is_yes ? " class=\"yes\"" : is_no ? " class=\"no\"" : "");
    snug_buffer_puts(out, "<code>");
    snug__html_text(out, snug_json_get_string(entry, "text", "threshold without a text"));
    snug_buffer_puts(out, is_yes  ? "</code> holds"
                          : is_no ? "</code> does not hold"
                                  : "</code> could not be decided");
    if (snug_json_is_string(value)) {
        snug_buffer_puts(out, ": ");
        snug__html_text(out, snug_json_string(value, ""));
    } else if (snug_json_is_number(value) && snug__number(entry, "value") < 1e15) {
        snprintf(text, sizeof text, "%.4g", snug__number(entry, "value"));
        snug_buffer_printf(out, ": %s", text);
    } else {
        snug_buffer_puts(out, ": not measured");
    }
    snug_buffer_puts(out, "</li>\n");
}

static void thresholds(struct snug_buffer *out, const struct snug__lab *lab)
{
    const struct snug_json_node *list = snug_json_get(lab->root, "thresholds");
    size_t n = snug_json_is_array(list) ? snug_json_count(list) : 0;
    if (n == 0)
        return;
    snug_buffer_puts(out, "<h3>Thresholds</h3>\n<ul class=\"ticks\">\n");
    for (size_t i = 0; i < n; i++)
        threshold(out, snug_json_at(list, i));
    snug_buffer_puts(out, "</ul>\n");
}

void snug__lab_words(struct snug_buffer *out, const struct snug__lab *lab)
{
    size_t n_improved = 0, n_failed = 0;
    for (size_t i = 0; i < lab->n_sums; i++) {
        n_improved += is_improved(&lab->sums[i]);
        n_failed += lab->sums[i].n_failed > 0;
    }
    snug_buffer_puts(out, "<section class=\"result\" aria-labelledby=\"result\"><h2 "
                          "id=\"result\">Result</h2>\n");
    sentence(out, lab, n_improved, n_failed);
    improved(out, lab, n_improved);
    failed(out, lab, n_failed);
    thresholds(out, lab);
    snug_buffer_puts(out, "</section>\n");
}
