/* The page of `snug knobs`: the list over all metrics, then each metric with its charts. */
#include <stdio.h>
#include <string.h>

#include "report/html.h"
#include "report/knobs_doc.h"

#define METRICS_MAX 16

static void count(struct snug_buffer *out, const struct snug_json_node *root, const char *key,
                  const char *what)
{
    char text[SNUG_UNIT_TEXT_MAX];
    snug__html_text(out, snug__count_text(snug__number(root, key), text));
    snug_buffer_puts(out, what);
}

static void lead(struct snug_buffer *out, const struct snug_json_node *root)
{
    const char *unvaried = snug_json_get_string(root, "unvaried", "");
    snug_buffer_puts(out, "<p class=\"lead\">Trials: ");
    count(out, root, "n_trials", ", of different configs: ");
    count(out, root, "n_configs", ", of tasks: ");
    count(out, root, "n_tasks", ". Disturbed trials, whose speeds are ");
    snug_buffer_puts(out, snug_json_get_bool(root, "has_disturbed", false)
                              ? "taken all the same, for want of better ones: "
                              : "left out: ");
    count(out, root, "n_disturbed", ".");
    if (unvaried[0]) {
        snug_buffer_puts(out, " Not varied, so nothing is known of: ");
        snug__html_text(out, unvaried);
        snug_buffer_puts(out, ".");
    }
    snug_buffer_puts(out, "</p>\n");
}

static void ranked(struct snug_buffer *out, const struct snug_json_node *root)
{
    static const char *const names[] = {"Knob", "Decision", "On", "Effect, %", "Low", "High"};
    const struct snug_json_node *rows[SNUG_REPORT_KNOBS_MAX];
    const size_t n = snug_json_elements(snug_json_get(root, "ranked"), rows, SNUG_REPORT_KNOBS_MAX);
    snug_buffer_puts(out, "<section aria-labelledby=\"ranked\"><h2 id=\"ranked\">Which knobs "
                          "matter</h2>\n<p>Each knob on the metric that decides. Keep: told apart "
                          "from chance, however small. Drop: its effect is under 1 %, and more "
                          "would have been seen. Open: not told apart from chance yet.</p>\n");
    snug__table_begin(out, names, 6, "Knobs by effect");
    for (size_t i = 0; i < n; i++) {
        const struct snug_json_node *effect = snug_json_get(rows[i], "effect_frac");
        static const char *const keys[] = {"mid", "lo", "hi"};
        snug__row_head(out, snug_json_get_string(rows[i], "knob", ""));
        snug__cell(out, snug_json_get_string(rows[i], "decision", ""));
        snug__cell(out, snug_json_get_string(rows[i], "metric", ""));
        for (int k = 0; k < 3; k++) {
            char text[32];
            const double v = 100 * snug__number(effect, keys[k]);
            snprintf(text, sizeof text, "%.3g", v);
            snug__cell_number(out, v, v >= 0 ? text : "not measured");
        }
        snug_buffer_puts(out, "</tr>\n");
    }
    snug__table_end(out);
    snug_buffer_puts(out, "</section>\n");
}

static void pairs(struct snug_buffer *out, const struct snug_json_node *metric)
{
    const struct snug_json_node *rows[SNUG_REPORT_KNOBS_MAX];
    const size_t n =
        snug_json_elements(snug_json_get(metric, "pairs"), rows, SNUG_REPORT_KNOBS_MAX);
    if (n == 0)
        return;
    snug_buffer_puts(out, "<p>Strongest pairs, beyond what each knob does alone: ");
    for (size_t i = 0; i < n; i++) {
        char text[SNUG_UNIT_TEXT_MAX];
        const double share = snug__number(snug_json_get(rows[i], "variance_frac"), "mid");
        snug_buffer_puts(out, i ? "; " : "");
        snug__html_text(out, snug_json_get_string(rows[i], "a", "?"));
        snug_buffer_puts(out, " with ");
        snug__html_text(out, snug_json_get_string(rows[i], "b", "?"));
        snug_buffer_puts(out, " ");
        snug__html_text(out, snug__percent_text(share, text));
    }
    snug_buffer_puts(out, " of the variance.</p>\n");
}

static void facts(struct snug_buffer *out, const struct snug_json_node *metric)
{
    char text[SNUG_UNIT_TEXT_MAX];
    const double foreseen = snug__number(metric, "foreseen_frac");
    snug_buffer_puts(out, "<p>");
    count(out, metric, "n_configs", " configs. ");
    if (foreseen > 0) {
        snug_buffer_puts(out,
                         "Of the variance of configs left out of a round, its forest foresaw ");
        snug__html_text(out, snug__percent_text(foreseen, text));
        snug_buffer_puts(out, ".</p>\n");
    } else {
        snug_buffer_puts(out, "The forests did not foresee configs they had not seen.</p>\n");
    }
}

static void section(struct snug_buffer *out, const struct snug_json_node *metric, size_t i)
{
    struct snug__knobs_view view = {.node = metric};
    view.name = snug_json_get_string(metric, "name", "metric without a name");
    view.unit = strcmp(snug_json_get_string(metric, "metric", ""), "fails") == 0
                    ? "points of the share that fails"
                    : "% of the metric";
    view.n = snug_json_elements(snug_json_get(metric, "knobs"), view.knobs, SNUG_REPORT_KNOBS_MAX);
    view.n_swarms =
        snug_json_elements(snug_json_get(metric, "swarms"), view.swarms, SNUG_REPORT_KNOBS_MAX);
    snug_buffer_printf(out, "<section aria-labelledby=\"m-%zu\"><h2 id=\"m-%zu\">", i, i);
    snug__html_text(out, view.name);
    snug_buffer_puts(out, "</h2>\n");
    if (view.n == 0) {
        snug_buffer_puts(out, "<p>Not ranked: ");
        snug__html_text(out, snug_json_get_string(metric, "why_not", "not measured"));
        snug_buffer_puts(out, ".</p></section>\n");
        return;
    }
    facts(out, metric);
    snug__knobs_bars(out, &view);
    snug__knobs_swarms(out, &view);
    pairs(out, metric);
    snug_buffer_puts(out, "</section>\n");
}

static void page(struct snug_buffer *out, const struct snug_json_node *root)
{
    const struct snug_json_node *metrics[METRICS_MAX];
    const size_t n = snug_json_elements(snug_json_get(root, "metrics"), metrics, METRICS_MAX);
    const char *title = snug_json_get_string(root, "title", "");
    if (!title[0])
        title = "Knobs of a model without a name";
    snug__page_begin(out, title);
    snug__page_header(out, root, "snug knobs", title,
                      snug_json_get_string(root, "machine", "machine not recorded"));
    lead(out, root);
    ranked(out, root);
    for (size_t i = 0; i < n; i++)
        section(out, metrics[i], i);
    snug__page_end(out);
}

snug_status snug_report_knobs_html(const char *json_text, size_t n, char **out_html, size_t *out_n,
                                   struct snug_error *err)
{
    struct snug_json *doc = NULL;
    struct snug_buffer out = {0};
    const snug_status status = snug__doc_open("knobs document", json_text, n, &doc, err);
    if (status != SNUG_OK)
        return status;
    page(&out, snug_json_root(doc));
    snug_json_free(doc);
    return snug__page_take(&out, out_html, out_n, err);
}
