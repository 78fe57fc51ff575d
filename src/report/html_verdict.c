/* What came out: a sentence first, its interval second, the command to run, then the figures.
 *
 * A gain counts only when its whole interval lies on one side of 1; else the page says that no
 * difference was shown, whatever the middle is. */
#include "report/html.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/charts.h"

/* ---- the sentence ---- */

static const struct snug_json_node *find_confirm(const struct snug__report *report,
                                                 const char *against)
{
    const struct snug_json_node *confirm = snug_json_get(report->root, "confirm");
    size_t n = snug_json_is_array(confirm) ? snug_json_count(confirm) : 0;
    for (size_t i = 0; i < n; i++) {
        const struct snug_json_node *entry = snug_json_at(confirm, i);
        if (strcmp(snug_json_get_string(entry, "against", ""), against) == 0)
            return entry;
    }
    return NULL;
}

/* "The pick decodes 1.31 times as fast as llama.cpp's default." and its interval. */
static void gain_sentence(struct snug_buffer *out, const struct snug__report *report,
                          const struct snug_json_node *entry)
{
    static const char *const verbs[SNUG_N_OBJECTIVES] = {"decodes", "reads the prompt",
                                                         "answers requests", "decodes per joule"};
    double lo = snug__positive(entry, "lo"), mid = snug__positive(entry, "mid");
    double hi = snug__positive(entry, "hi");
    const char *verb = verbs[report->objective];
    if (!(lo <= mid && mid <= hi)) {
        snug_buffer_puts(out, "<p class=\"verdict\">The pick's gain over the default was not "
                              "measured.</p>\n");
        return;
    }
    if (lo > 1 || hi < 1)
        snug_buffer_printf(out,
                           "<p class=\"verdict\">The pick %s <strong>%.2f times as fast</strong> "
                           "as llama.cpp&#39;s default%s.</p>\n",
                           verb, mid, hi < 1 ? ": it is slower" : "");
    else
        snug_buffer_puts(out, "<p class=\"verdict\"><strong>No difference was shown</strong> "
                              "between the pick and llama.cpp&#39;s default: the interval includes "
                              "1.</p>\n");
    long long n_pairs = snug_json_get_int(entry, "n_pairs", 0);
    snug_buffer_printf(out, "<p class=\"lead\">Interval %.2f to %.2f", lo, hi);
    if (n_pairs > 0)
        snug_buffer_printf(out, ", from %lld pair%s of runs taken in turns", n_pairs,
                           n_pairs == 1 ? "" : "s");
    snug_buffer_puts(out, ".</p>\n");
}

/* There is a pick, but no re-measurement against the default. */
static void unconfirmed_sentence(struct snug_buffer *out, const struct snug__report *report)
{
    const struct snug__row *pick = report->who[SNUG__PICK], *base = report->who[SNUG__DEFAULT];
    char a[SNUG_UNIT_TEXT_MAX], b[SNUG_UNIT_TEXT_MAX];
    if (pick && pick == base) {
        snug_buffer_puts(out, "<p class=\"verdict\"><strong>Keep the default.</strong> No other "
                              "config that was measured is better.</p>\n");
        return;
    }
    snug_buffer_puts(out, "<p class=\"verdict\">A config was picked, but <strong>its gain was not "
                          "confirmed</strong>: pick and default were not re-measured in "
                          "turns.</p>\n");
    if (pick && base && pick->speed > 0 && base->speed > 0)
        snug_buffer_printf(out, "<p class=\"lead\">Single trials gave %s and %s %s.</p>\n",
                           snug__rate_text(pick->speed, a), snug__rate_text(base->speed, b),
                           snug__speed_unit(report));
}

static void sentence(struct snug_buffer *out, const struct snug__report *report)
{
    const struct snug_json_node *entry = find_confirm(report, "default");
    if (snug_json_is_object(snug_json_get(report->root, "pick"))) {
        if (entry)
            gain_sentence(out, report, entry);
        else
            unconfirmed_sentence(out, report);
    } else if (report->n_rows == 0) {
        snug_buffer_puts(out, "<p class=\"verdict\">No trial was run.</p>\n");
    } else if (report->n_ok == 0) {
        snug_buffer_printf(out,
                           "<p class=\"verdict\"><strong>No pick:</strong> all of %zu trials "
                           "failed. The table below says why.</p>\n",
                           report->n_rows);
    } else {
        snug_buffer_puts(out, "<p class=\"verdict\">No config was picked.</p>\n");
    }
}

/* The words that `snug tune` printed for each comparison. */
static void confirm_list(struct snug_buffer *out, const struct snug__report *report)
{
    const struct snug_json_node *confirm = snug_json_get(report->root, "confirm");
    size_t n = snug_json_is_array(confirm) ? snug_json_count(confirm) : 0;
    if (n == 0)
        return;
    snug_buffer_puts(out, "<ul class=\"plain\">\n");
    for (size_t i = 0; i < n; i++) {
        const struct snug_json_node *entry = snug_json_at(confirm, i);
        snug_buffer_puts(out, "<li>against ");
        snug__html_text(out, snug_json_get_string(entry, "against", "(not named)"));
        snug_buffer_puts(out, ": ");
        snug__html_quantity(out, snug_json_get_string(entry, "verdict", ""));
        snug_buffer_puts(out, "</li>\n");
    }
    snug_buffer_puts(out, "</ul>\n");
}

static void command_box(struct snug_buffer *out, const struct snug__report *report)
{
    const struct snug_json_node *pick = snug_json_get(report->root, "pick");
    const char *command = snug_json_get_string(pick, "command", "");
    const char *config = snug_json_get_string(pick, "config_text", "");
    if (!command[0] && !config[0])
        return;
    snug_buffer_puts(out, "<div class=\"command\"><div class=\"command-head\"><span>Run the pick"
                          "</span><button type=\"button\" id=\"copy\" hidden>Copy</button></div>"
                          "<pre id=\"command\" tabindex=\"0\"><code>");
    snug__html_text(out, command[0] ? command : "(no command recorded)");
    snug_buffer_puts(out, "</code></pre></div>\n");
    if (config[0]) {
        snug_buffer_puts(out, "<p class=\"config\">Config: <code>");
        snug__html_text(out, config);
        snug_buffer_puts(out, "</code></p>\n");
    }
}

/* ---- tiles ---- */

static void tile(struct snug_buffer *out, const char *name, const char *value, const char *unit,
                 const char *formula)
{
    snug_buffer_puts(out, "<div class=\"tile\"><dt>");
    snug__html_text(out, name);
    snug_buffer_puts(out, "</dt><dd>");
    snug__html_quantity(out, value);
    if (strcmp(value, "not measured") != 0)
        snug_buffer_printf(out, " <small>%s</small>", unit);
    snug_buffer_printf(out, "<span class=\"formula\">%s</span></dd></div>\n", formula);
}

static void tiles(struct snug_buffer *out, const struct snug__report *report)
{
    const struct snug__row *pick = report->who[SNUG__PICK];
    char text[SNUG_UNIT_TEXT_MAX];
    if (!pick || !pick->is_ok)
        return;
    const struct snug_json_node *m = pick->measurement;
    snug_buffer_puts(out, "<dl class=\"tiles\">\n");
    tile(out, "Decode", snug__rate_text(snug__positive(m, "decode_tps"), text), "tokens/s",
         "n_gen &times; n_parallel / block seconds");
    tile(out, "Prefill", snug__rate_text(snug__positive(m, "prefill_tps"), text), "tokens/s",
         "n_prompt &times; n_parallel / block seconds");
    tile(out, "TTFT", snug__seconds_text(snug__positive(m, "ttft_s"), text), "",
         "end of first token &minus; start of prefill");
    tile(out, "TPOT p50", snug__seconds_text(snug__positive(m, "tpot_p50_s"), text), "",
         "(last &minus; first) / (n &minus; 1)");
    tile(out, "Memory", snug__bytes_text(pick->bytes, text), "", "weights + cache + compute");
    snug_buffer_puts(out, "</dl>\n");
}

void snug__html_verdict(struct snug_buffer *out, const struct snug__report *report)
{
    snug_buffer_puts(out, "<section aria-labelledby=\"result\" class=\"result\">"
                          "<h2 id=\"result\">Result</h2>\n");
    sentence(out, report);
    snug__chart_gain(out, report);
    confirm_list(out, report);
    command_box(out, report);
    tiles(out, report);
    snug_buffer_puts(out, "</section>\n");
}

/* ---- figures ---- */

enum figure_kind { FIGURE_RATE, FIGURE_SECONDS, FIGURE_BYTES };

/* One row of the table of figures: where it lies, how it is written, how it is computed. */
struct figure {
    const char *name, *key, *formula; /* formula is HTML */
    enum figure_kind kind;
    bool in_bytes;    /* key is in measurement.bytes */
    bool may_be_zero; /* zero is a figure, not "not measured" */
};

static const struct figure figures[] = {
    {"Decode, tokens/s", "decode_tps",
     "n_gen &times; n_parallel / seconds of a block; median over blocks", FIGURE_RATE, false,
     false},
    {"Prefill, tokens/s", "prefill_tps",
     "n_prompt &times; n_parallel / seconds of a block; median over blocks", FIGURE_RATE, false,
     false},
    {"TTFT", "ttft_s", "end of first sampled token &minus; start of prefill; median over blocks",
     FIGURE_SECONDS, false, false},
    {"TPOT p50", "tpot_p50_s",
     "gap between tokens of one sequence, median; its mean is (t<sub>last</sub> &minus; "
     "t<sub>first</sub>) / (n &minus; 1)",
     FIGURE_SECONDS, false, false},
    {"TPOT p95", "tpot_p95_s", "the gap that 95 % of tokens stay under", FIGURE_SECONDS, false,
     false},
    {"Weights", "weights", "model buffers on all devices", FIGURE_BYTES, true, false},
    {"Cache", "cache", "keys and values for n_ctx &times; n_parallel", FIGURE_BYTES, true, true},
    {"Compute", "compute", "graph buffers and output logits", FIGURE_BYTES, true, true},
    {"Peak resident set", "rss_peak", "of the worker, its own base included", FIGURE_BYTES, true,
     false},
    {"Load", "load_s", "0 when the model was loaded already", FIGURE_SECONDS, false, true},
    {"Whole trial", "wall_s", "load, warm-up and timed blocks", FIGURE_SECONDS, false, false},
};

static const char *figure_text(const struct figure *figure, const struct snug__row *row,
                               char out[SNUG_UNIT_TEXT_MAX])
{
    const struct snug_json_node *from = row && row->is_ok ? row->measurement : NULL;
    if (figure->in_bytes)
        from = snug_json_get(from, "bytes");
    double v =
        figure->may_be_zero ? snug__number(from, figure->key) : snug__positive(from, figure->key);
    if (figure->kind == FIGURE_RATE)
        return snug__rate_text(v, out);
    return figure->kind == FIGURE_SECONDS ? snug__seconds_text(v, out) : snug__bytes_text(v, out);
}

void snug__html_figures(struct snug_buffer *out, const struct snug__report *report)
{
    char text[SNUG_UNIT_TEXT_MAX];
    if (!report->who[SNUG__PICK] && !report->who[SNUG__DEFAULT] && !report->who[SNUG__FIT]) {
        snug_buffer_puts(out, "<p>Figures: not measured.</p>\n");
        return;
    }
    snug_buffer_puts(
        out, "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Figures of "
             "pick, default and fit\"><table class=\"figures\" id=\"figure-table\"><thead><tr>"
             "<th scope=\"col\">Figure</th>");
    for (int who = 0; who < SNUG__N_WHO; who++)
        snug_buffer_printf(out, "<th scope=\"col\" class=\"n\">%s</th>",
                           snug__who_name((enum snug__who)who));
    snug_buffer_puts(out, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        snug_buffer_printf(out, "<tr><th scope=\"row\">%s<span class=\"formula\">%s</span></th>",
                           figures[i].name, figures[i].formula);
        for (int who = 0; who < SNUG__N_WHO; who++) {
            snug_buffer_puts(out, "<td class=\"n\">");
            snug__html_quantity(out, figure_text(&figures[i], report->who[who], text));
            snug_buffer_puts(out, "</td>");
        }
        snug_buffer_puts(out, "</tr>\n");
    }
    snug_buffer_puts(out, "</tbody></table></div>\n");
}
