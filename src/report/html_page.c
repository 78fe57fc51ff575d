/* The frame of a page, and the pieces that every section is built of. Style and script are pinned
 * by SHA-256 in the Content-Security-Policy, so that even a text that slipped through escaping
 * could neither run nor load anything. img-src data: is for the script, which draws a chart onto a
 * canvas to save it; nothing on the page has an address. */
#include "report/html_page.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "report/html.h"
#include "snug/report.h"
#include "snug/trial.h"

snug_status snug__doc_open(const char *origin, const char *json_text, size_t n,
                           struct snug_json **out_doc, struct snug_error *err)
{
    struct snug_json *doc = NULL;
    if (n > SNUG_REPORT_JSON_BYTES_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: %zu bytes, at most %u accepted", origin, n,
                         SNUG_REPORT_JSON_BYTES_MAX);
    const snug_status status = snug_json_parse(origin, json_text, n, &doc, err);
    if (status != SNUG_OK)
        return status;
    if (!snug_json_is_object(snug_json_root(doc))) {
        snug_json_free(doc);
        return snug_fail(err, SNUG_BAD_INPUT, "%s: no object at the top", origin);
    }
    *out_doc = doc;
    return SNUG_OK;
}

/* ---- frame ---- */

/* 'sha256-...': base64 (RFC 4648) of the hash of an inline element's content. */
static void csp_hash(struct snug_buffer *out, const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t hash[SNUG_SHA256_BYTES + 1] = {0}; /* 33 bytes: 11 groups of three, the last padded */
    char base64[45];
    struct snug_sha256 state;
    snug_sha256_init(&state);
    snug_sha256_update(&state, text, strlen(text));
    snug_sha256_final(&state, hash);
    for (int i = 0; i < 11; i++) {
        uint32_t group =
            (uint32_t)hash[3 * i] << 16 | (uint32_t)hash[3 * i + 1] << 8 | hash[3 * i + 2];
        for (int j = 0; j < 4; j++)
            base64[4 * i + j] = digits[group >> (18 - 6 * j) & 63];
    }
    base64[43] = '='; /* 32 bytes are 43 digits and one pad */
    base64[44] = '\0';
    snug_buffer_printf(out, "'sha256-%s'", base64);
}

void snug__page_begin(struct snug_buffer *out, const char *title)
{
    snug_buffer_puts(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src "
                          "'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src ");
    csp_hash(out, snug__html_style);
    snug_buffer_puts(out, "; script-src ");
    csp_hash(out, snug__html_script);
    snug_buffer_puts(out,
                     "\">\n<meta name=\"viewport\" content=\"width=device-width, "
                     "initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n"
                     "<meta name=\"referrer\" content=\"no-referrer\">\n"
                     "<link rel=\"icon\" href=\"data:,\">\n<title>");
    snug__html_text(out, title);
    snug_buffer_puts(out, "</title>\n<style>");
    snug_buffer_puts(out, snug__html_style);
    snug_buffer_puts(out, "</style></head>\n<body><main>\n");
}

void snug__page_end(struct snug_buffer *out)
{
    snug_buffer_puts(out, "</main>\n<script>");
    snug_buffer_puts(out, snug__html_script);
    snug_buffer_puts(out, "</script></body></html>\n");
}

void snug__page_header(struct snug_buffer *out, const struct snug_json_node *root,
                       const char *command, const char *title, const char *last)
{
    char time[SNUG_UNIT_TEXT_MAX];
    const double made = snug__positive(root, "generated_unix_s");
    snug_buffer_printf(out, "<header><p class=\"eyebrow\">%s</p><h1>", command);
    snug__html_text(out, title);
    snug_buffer_puts(out, "</h1>\n<p class=\"by\">");
    snug__html_text(out, made > 0 ? snug__time_text(made, time) : "time not recorded");
    snug_buffer_puts(out, " &middot; snug ");
    snug__html_text(out, snug_json_get_string(root, "snug", "(version not recorded)"));
    snug_buffer_puts(out, " &middot; ");
    snug__html_text(out, snug_json_get_string(root, "build", "engine not recorded"));
    snug_buffer_puts(out, " &middot; ");
    snug__html_text(out, last);
    snug_buffer_puts(out, "</p></header>\n");
}

snug_status snug__page_take(struct snug_buffer *out, char **out_html, size_t *out_n,
                            struct snug_error *err)
{
    const size_t len = out->len;
    char *html = snug_buffer_take(out);
    if (!html)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a page, %zu bytes so far", len);
    *out_html = html;
    *out_n = len;
    return SNUG_OK;
}

/* ---- figures ---- */

void snug__figure_begin(struct snug_buffer *out, const char *name, const char *table_id)
{
    snug_buffer_puts(out, "<figure data-name=\"");
    snug__html_text(out, name);
    if (table_id)
        snug_buffer_printf(out, "\" data-table=\"%s", table_id);
    snug_buffer_puts(out, "\">\n");
}

void snug__figure_end(struct snug_buffer *out, const char *caption)
{
    snug_buffer_printf(out, "<figcaption>%s</figcaption></figure>\n", caption);
}

void snug__data_begin(struct snug_buffer *out, const char *const *names, int n)
{
    snug_buffer_puts(out, "<details><summary>Data of this chart</summary>");
    snug__table_begin(out, names, n, "Data of the chart above");
}

void snug__data_end(struct snug_buffer *out)
{
    snug__table_end(out);
    snug_buffer_puts(out, "</details>\n");
}

/* ---- tables ---- */

void snug__table_begin(struct snug_buffer *out, const char *const *names, int n, const char *label)
{
    snug_buffer_puts(out, "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"");
    snug__html_text(out, label);
    snug_buffer_puts(out, "\"><table><thead><tr>");
    for (int i = 0; i < n; i++) {
        snug_buffer_printf(out, "<th scope=\"col\"%s>", i > 0 ? " class=\"n\"" : "");
        snug__html_text(out, names[i]);
        snug_buffer_puts(out, "</th>");
    }
    snug_buffer_puts(out, "</tr></thead><tbody>\n");
}

void snug__table_end(struct snug_buffer *out)
{
    snug_buffer_puts(out, "</tbody></table></div>\n");
}

void snug__cell(struct snug_buffer *out, const char *text)
{
    snug_buffer_puts(out, "<td class=\"n\">");
    snug__html_quantity(out, text);
    snug_buffer_puts(out, "</td>");
}

void snug__row_head(struct snug_buffer *out, const char *text)
{
    snug_buffer_puts(out, "<tr><th scope=\"row\">");
    snug__html_quantity(out, text);
    snug_buffer_puts(out, "</th>");
}

void snug__cell_number(struct snug_buffer *out, double v, const char *text)
{
    if (v >= 0)
        snug_buffer_printf(out, "<td class=\"n\" data-v=\"%.9g\">", v);
    else
        snug_buffer_puts(out, "<td class=\"n\">");
    snug__html_quantity(out, text);
    snug_buffer_puts(out, "</td>");
}

void snug__cell_text(struct snug_buffer *out, const char *text)
{
    snug_buffer_puts(out, "<td>");
    snug__html_text(out, text);
    snug_buffer_puts(out, "</td>");
}

/* ---- verdict and quality ---- */

void snug__html_verdict_word(struct snug_buffer *out, const char *verdict)
{
    static const char *const classes[SNUG_N_VERDICTS] = {"valid", "note", "invalid"};
    for (int i = 0; i < SNUG_N_VERDICTS; i++) {
        const char *name = snug_verdict_name((enum snug_verdict)i);
        if (strcmp(verdict, name) != 0)
            continue;
        snug_buffer_printf(out, "<span class=\"judged %s\">%s</span>", classes[i], name);
        return;
    }
    snug_buffer_puts(out, "<span class=\"none\">not judged</span>");
}

static const char *rule_meaning(const char *name)
{
    for (int bit = 0; bit < SNUG_N_WARNINGS; bit++)
        if (strcmp(name, snug_warning_name((enum snug_warning_bit)bit)) == 0)
            return snug_warning_meaning((enum snug_warning_bit)bit);
    return "a rule this page does not know";
}

void snug__html_rules(struct snug_buffer *out, const struct snug_json_node *rules, bool in_full)
{
    size_t n = snug_json_is_array(rules) ? snug_json_count(rules) : 0;
    for (size_t i = 0; i < n && i < SNUG_N_WARNINGS; i++) {
        const char *name = snug_json_string(snug_json_at(rules, i), "?");
        if (in_full)
            snug_buffer_puts(out, "<small>");
        else
            snug_buffer_printf(out, "%s<abbr title=\"%s\">", i ? ", " : "", rule_meaning(name));
        snug__html_text(out, name);
        if (in_full)
            snug_buffer_printf(out, ": %s</small>", rule_meaning(name));
        else
            snug_buffer_puts(out, "</abbr>");
    }
}

uint32_t snug__rules_bits(const struct snug_json_node *rules)
{
    uint32_t bits = 0;
    size_t n = snug_json_is_array(rules) ? snug_json_count(rules) : 0;
    for (size_t i = 0; i < n && i < SNUG_N_WARNINGS; i++)
        bits |= snug_warnings_from_text(snug_json_string(snug_json_at(rules, i), ""));
    return bits;
}

/* One figure that is measured, with its error where that is; false when it is not. */
static bool estimate_text(const struct snug_json_node *estimate, const char *name, int decimals,
                          char out[96])
{
    double value = snug__number(estimate, "value"), se = snug__number(estimate, "se");
    if (!(value >= 0 && value < 1e12)) /* a wider figure would not fit, and means nothing */
        return false;
    int n = snprintf(out, 96, "%s %.*f", name, decimals, value);
    if (se >= 0 && se < 1e12)
        snprintf(out + n, 96 - (size_t)n, " +- %.*f", decimals, se);
    return true;
}

const char *snug__quality_text(const struct snug_json_node *quality, char out[96])
{
    if (snug_json_is_string(quality))
        snprintf(out, 96, "%s", snug_json_string(quality, ""));
    else if (!estimate_text(snug_json_get(quality, "kld_mean"), "KLD", 5, out) &&
             !estimate_text(snug_json_get(quality, "perplexity"), "PPL", 4, out))
        snprintf(out, 96, "not measured");
    return out;
}
