/* Pick, default and fit side by side: interval of the gain, timed blocks, memory by kind. */
#include "report/charts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/html_page.h"
#include "snug/stats.h"

#define ROW_HEIGHT 40.0
#define POOLED_MAX (SNUG_BLOCKS_MAX * 32) /* blocks of re-measurements that one median uses */

/* ---- gain ---- */

struct gain {
    double lo, mid, hi;
    const char *against;
};

static bool read_gain(const struct snug_json_node *entry, struct gain *gain)
{
    gain->lo = snug__positive(entry, "lo");
    gain->mid = snug__positive(entry, "mid");
    gain->hi = snug__positive(entry, "hi");
    gain->against = snug_json_get_string(entry, "against", "");
    return gain->lo <= gain->mid && gain->mid <= gain->hi && snug__svg_is_drawable(gain->hi);
}

static void draw_gain(struct snug__chart *chart, const struct gain *gain, double y)
{
    char text[128];
    bool is_even = gain->lo <= 1 && gain->hi >= 1;
    double lo = snug__axis_px(&chart->x, gain->lo), hi = snug__axis_px(&chart->x, gain->hi);
    snprintf(text, sizeof text, "%.2f times (%.2f to %.2f)", gain->mid, gain->lo, gain->hi);
    const char *class_name = is_even ? "gain even" : "gain";
    snug__svg_line(chart, class_name, lo, y, hi, y);
    snug__svg_line(chart, class_name, lo, y - 5, lo, y + 5);
    snug__svg_line(chart, class_name, hi, y - 5, hi, y + 5);
    snug__svg_mark(chart, is_even ? SNUG__RING : SNUG__CIRCLE, "pick",
                   snug__axis_px(&chart->x, gain->mid), y, 5, text);
    snprintf(text, sizeof text, "vs %.12s", gain->against);
    snug__svg_text(chart, "row-label", 0, y + 4, "start", text);
}

static void draw_gains(struct snug_buffer *out, const struct gain *gains, int n, const char *size)
{
    double width = strcmp(size, "wide") == 0 ? SNUG__CHART_WIDE : SNUG__CHART_NARROW;
    struct snug__chart chart = {.out = out, .width = width, .height = 58 + 30.0 * n};
    double lo = 1, hi = 1;
    for (int i = 0; i < n; i++) {
        lo = fmin(lo, gains[i].lo);
        hi = fmax(hi, gains[i].hi);
    }
    chart.left = 76;
    chart.right = width - 16;
    chart.top = 6;
    chart.bottom = chart.height - 44;
    snug__axis_fit(&chart.x, SNUG__AXIS_AUTO, lo, hi, chart.left, chart.right);
    snug__svg_open(&chart, size,
                   "Intervals of the speed of the pick over the speed it is compared "
                   "with; 1 is no difference");
    snug__svg_x_axis(&chart, "speed of the pick / speed of the other");
    double one = snug__axis_px(&chart.x, 1);
    snug__svg_line(&chart, "reference", one, chart.top, one, chart.bottom);
    for (int i = 0; i < n; i++)
        draw_gain(&chart, &gains[i], chart.top + 20 + 30.0 * i);
    snug__svg_close(&chart);
}

static void gain_data(struct snug_buffer *out, const struct gain *gains, int n)
{
    static const char *const names[] = {"Against", "Ratio from", "Ratio", "Ratio to"};
    char text[SNUG_UNIT_TEXT_MAX];
    snug__data_begin(out, names, 4);
    for (int i = 0; i < n; i++) {
        const double v[] = {gains[i].lo, gains[i].mid, gains[i].hi};
        snug__row_head(out, gains[i].against);
        for (int j = 0; j < 3; j++)
            snug__cell_number(out, v[j], snug__rate_text(v[j], text));
        snug_buffer_puts(out, "</tr>\n");
    }
    snug__data_end(out);
}

void snug__chart_gain(struct snug_buffer *out, const struct snug__report *report)
{
    const struct snug_json_node *confirm = snug_json_get(report->root, "confirm");
    struct gain gains[4]; /* default and fit, and room for two more */
    int n = 0;
    size_t n_entries = snug_json_is_array(confirm) ? snug_json_count(confirm) : 0;
    for (size_t i = 0; i < n_entries && n < 4; i++)
        n += read_gain(snug_json_at(confirm, i), &gains[n]);
    if (n == 0)
        return;
    snug__figure_begin(out, "gain of the pick", NULL);
    draw_gains(out, gains, n, "wide");
    draw_gains(out, gains, n, "narrow");
    gain_data(out, gains, n);
    snug_buffer_puts(out, "</figure>\n");
}

/* ---- blocks ---- */

/* Blocks of one named trial: its own, and those of the re-measurements of its config. */
struct strip {
    enum snug__who who;
    double own[SNUG_BLOCKS_MAX], again[POOLED_MAX];
    int n_own, n_again;
    double median; /* of `again` when there are any, else of `own` */
};

struct strips {
    struct strip strip[SNUG__N_WHO];
    int n;
};

static void read_strip(const struct snug__report *report, enum snug__who who, const char *key,
                       struct strip *strip)
{
    const struct snug__row *of = report->who[who];
    strip->who = who;
    strip->n_own = snug__row_blocks(of, key, strip->own);
    strip->n_again = 0;
    for (size_t i = 0; i < report->n_rows; i++)
        if (strip->n_again + SNUG_BLOCKS_MAX <= POOLED_MAX &&
            snug__row_confirms(&report->rows[i], of))
            strip->n_again +=
                snug__row_blocks(&report->rows[i], key, strip->again + strip->n_again);
    strip->median = strip->n_again > 0 ? snug_stats_median(strip->again, (size_t)strip->n_again)
                                       : snug_stats_median(strip->own, (size_t)strip->n_own);
}

static void read_strips(const struct snug__report *report, const char *key, struct strips *strips)
{
    strips->n = 0;
    for (int who = 0; who < SNUG__N_WHO; who++) {
        if (!report->who[who])
            continue;
        read_strip(report, (enum snug__who)who, key, &strips->strip[strips->n]);
        strips->n += strips->strip[strips->n].n_own + strips->strip[strips->n].n_again > 0;
    }
}

static void draw_dots(struct snug__chart *chart, const double *tps, int n, enum snug__shape shape,
                      const char *class_name, double y)
{
    char rate[SNUG_UNIT_TEXT_MAX], title[64];
    for (int i = 0; i < n; i++) {
        if (!snug__svg_is_drawable(tps[i]))
            continue;
        snprintf(title, sizeof title, "%s tokens/s", snug__rate_text(tps[i], rate));
        snug__svg_mark(chart, shape, class_name, snug__axis_px(&chart->x, tps[i]), y, 3.5, title);
    }
}

static void draw_strip(struct snug__chart *chart, const struct strip *strip, double y)
{
    const char *name = snug__who_name(strip->who);
    char rate[SNUG_UNIT_TEXT_MAX];
    double x = snug__axis_px(&chart->x, strip->median);
    chart->out->is_failed |= isnan(strip->median); /* of numbers: only when memory is out */
    snug__svg_text(chart, "row-label", 0, y + 4, "start", name);
    snug__svg_line(chart, "median", x, y - 15, x, y + 11);
    draw_dots(chart, strip->own, strip->n_own, SNUG__CIRCLE, name, y - 5);
    draw_dots(chart, strip->again, strip->n_again, SNUG__RING, name, y + 5);
    snug__svg_text(chart, "mark-label", x, y - 18, "middle", snug__rate_text(strip->median, rate));
}

static void draw_strips(struct snug_buffer *out, const struct strips *strips, const char *title,
                        const char *label)
{
    struct snug__chart chart = {.out = out, .width = SNUG__CHART_HALF};
    double lo = INFINITY, hi = 0;
    for (int i = 0; i < strips->n; i++) {
        const struct strip *strip = &strips->strip[i];
        for (int j = 0; j < strip->n_own + strip->n_again; j++) {
            double v = j < strip->n_own ? strip->own[j] : strip->again[j - strip->n_own];
            lo = fmin(lo, v);
            hi = fmax(hi, snug__svg_is_drawable(v) ? v : 0);
        }
    }
    if (hi <= 0)
        return;
    chart.left = 56;
    chart.right = chart.width - 24;
    chart.top = 8;
    chart.bottom = chart.top + 10 + (ROW_HEIGHT + 10) * strips->n;
    chart.height = chart.bottom + 44;
    snug__axis_fit(&chart.x, SNUG__AXIS_AUTO, fmin(lo, hi), hi, chart.left, chart.right);
    snug__svg_open(&chart, "half", label);
    snug__svg_x_axis(&chart, title);
    for (int i = 0; i < strips->n; i++)
        draw_strip(&chart, &strips->strip[i], chart.top + 34 + (ROW_HEIGHT + 10) * i);
    snug__svg_close(&chart);
}

static void block_rows(struct snug_buffer *out, const struct strips *strips, const char *phase)
{
    char text[SNUG_UNIT_TEXT_MAX];
    for (int i = 0; i < strips->n; i++) {
        const struct strip *strip = &strips->strip[i];
        for (int j = 0; j < strip->n_own + strip->n_again; j++) {
            bool is_own = j < strip->n_own;
            double v = is_own ? strip->own[j] : strip->again[j - strip->n_own];
            snug__row_head(out, snug__who_name(strip->who));
            snug__cell_text(out, phase);
            snug__cell_text(out, is_own ? "the trial" : "re-measured");
            snug__cell_number(out, v, snug__rate_text(v, text));
            snug_buffer_puts(out, "</tr>\n");
        }
    }
}

static void block_data(struct snug_buffer *out, const struct strips *decode,
                       const struct strips *prefill)
{
    static const char *const names[] = {"Config", "Phase", "Of", "Tokens/s"};
    snug__data_begin(out, names, 4);
    block_rows(out, decode, "decode");
    block_rows(out, prefill, "prefill");
    snug__data_end(out);
}

void snug__chart_blocks(struct snug_buffer *out, const struct snug__report *report)
{
    struct strips decode, prefill; /* 51 kB each: fits any stack */
    read_strips(report, "decode_block_tps", &decode);
    read_strips(report, "prefill_block_tps", &prefill);
    if (decode.n + prefill.n == 0) {
        snug_buffer_puts(out, "<p>Timed blocks: not measured.</p>\n");
        return;
    }
    snug__figure_begin(out, "timed blocks", NULL);
    snug_buffer_puts(out, "<div class=\"pair\">\n");
    draw_strips(out, &decode, "decode, tokens/s", "Dot plot of the timed decode blocks");
    draw_strips(out, &prefill, "prefill, tokens/s", "Dot plot of the timed prefill blocks");
    snug_buffer_puts(out, "</div>\n");
    block_data(out, &decode, &prefill);
    snug_buffer_puts(out, "<figcaption>One dot per timed block. Filled: the trial itself. "
                          "Open: its re-measurements, taken in turns so that drift of the machine "
                          "hits all alike. Line and number: median of the open dots, or of the "
                          "filled ones where there are none.</figcaption></figure>\n");
}

/* ---- memory ---- */

/* Kinds in the order they are stacked; key in measurement.bytes and CSS class. */
static const char *const kinds[] = {"weights", "cache", "compute"};
#define N_KINDS 3

struct stack {
    enum snug__who who;
    double bytes[N_KINDS], total;
    double peak; /* resident peak less the empty process; NAN: not measured */
};

static bool read_stack(const struct snug__report *report, enum snug__who who, struct stack *stack)
{
    const struct snug__row *row = report->who[who];
    const struct snug_json_node *bytes = row ? snug_json_get(row->measurement, "bytes") : NULL;
    *stack = (struct stack){.who = who};
    for (int i = 0; i < N_KINDS; i++) {
        double v = snug__number(bytes, kinds[i]);
        stack->bytes[i] = snug__svg_is_drawable(v) ? v : 0;
        stack->total += stack->bytes[i];
    }
    stack->peak = snug__positive(bytes, "rss_peak") - snug__number(bytes, "rss_base");
    return stack->total > 0;
}

static void draw_part(struct snug__chart *chart, const struct stack *stack, int kind, double from,
                      double y)
{
    char size[SNUG_UNIT_TEXT_MAX], title[96];
    double x0 = snug__axis_px(&chart->x, from);
    double x1 = snug__axis_px(&chart->x, from + stack->bytes[kind]);
    snprintf(title, sizeof title, "%s, %s: %s", snug__who_name(stack->who), kinds[kind],
             snug__bytes_text(stack->bytes[kind], size));
    snug_buffer_printf(chart->out,
                       "<rect class=\"kind-%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                       "height=\"18\"><title>",
                       kinds[kind], x0, y - 9, fmax(0, x1 - x0));
    snug__html_text(chart->out, title);
    snug_buffer_puts(chart->out, "</title></rect>\n");
}

static void draw_stack(struct snug__chart *chart, const struct stack *stack, double y)
{
    char size[SNUG_UNIT_TEXT_MAX], title[64];
    double from = 0;
    snug__svg_text(chart, "row-label", 0, y + 4, "start", snug__who_name(stack->who));
    for (int kind = 0; kind < N_KINDS; kind++) {
        draw_part(chart, stack, kind, from, y);
        from += stack->bytes[kind];
    }
    snug__svg_text(chart, "mark-label", snug__axis_px(&chart->x, stack->total), y - 13, "end",
                   snug__bytes_text(stack->total, size));
    if (!snug__svg_is_drawable(stack->peak))
        return;
    snprintf(title, sizeof title, "measured peak: %s", snug__bytes_text(stack->peak, size));
    double x = snug__axis_px(&chart->x, stack->peak);
    snug__svg_mark(chart, SNUG__DIAMOND, "peak", x, y + 13, 3.5, title);
    snug__svg_line(chart, "median", x, y - 11, x, y + 11);
}

static void draw_stacks(struct snug_buffer *out, const struct stack *stacks, int n, double limit,
                        const char *size)
{
    double width = strcmp(size, "wide") == 0 ? SNUG__CHART_WIDE : SNUG__CHART_NARROW, most = 0;
    struct snug__chart chart = {.out = out, .width = width};
    for (int i = 0; i < n; i++)
        most = fmax(most, fmax(stacks[i].total, stacks[i].peak));
    bool has_limit = limit <= 1.6 * most; /* further out it would squeeze the bars */
    chart.left = 56;
    chart.right = width - 16;
    chart.top = 18;
    chart.bottom = chart.top + 4 + (ROW_HEIGHT + 6) * n;
    chart.height = chart.bottom + 44;
    snug__axis_fit(&chart.x, SNUG__AXIS_BYTES, 0, has_limit ? fmax(limit, most) : most, chart.left,
                   chart.right);
    snug__svg_open(&chart, size, "Stacked bars of memory by kind");
    snug__svg_x_axis(&chart, "memory");
    for (int i = 0; i < n; i++)
        draw_stack(&chart, &stacks[i], chart.top + 26 + (ROW_HEIGHT + 6) * i);
    if (has_limit) {
        double x = snug__axis_px(&chart.x, limit);
        snug__svg_line(&chart, "limit", x, chart.top, x, chart.bottom);
        snug__svg_text(&chart, "limit-text", x, chart.top - 5, "end", "limit");
    }
    snug__svg_close(&chart);
}

void snug__chart_memory(struct snug_buffer *out, const struct snug__report *report)
{
    struct stack stacks[SNUG__N_WHO];
    int n = 0;
    for (int who = 0; who < SNUG__N_WHO; who++)
        n += read_stack(report, (enum snug__who)who, &stacks[n]);
    if (n == 0) {
        snug_buffer_puts(out, "<p>Memory by kind: not measured.</p>\n");
        return;
    }
    snug__figure_begin(out, "memory by kind", "figure-table");
    snug_buffer_puts(out, "<ul class=\"legend\">");
    for (int i = 0; i < N_KINDS; i++) {
        char class_name[32];
        snprintf(class_name, sizeof class_name, "kind-%s", kinds[i]);
        snug__legend_mark(out, SNUG__SQUARE, class_name, kinds[i]);
    }
    snug__legend_mark(out, SNUG__DIAMOND, "peak", "measured peak");
    snug_buffer_puts(out, "</ul>\n");
    draw_stacks(out, stacks, n, report->limit_bytes, "wide");
    draw_stacks(out, stacks, n, report->limit_bytes, "narrow");
    snug_buffer_puts(out,
                     "<figcaption>Bars: bytes as the engine states them. Measured peak = "
                     "highest resident set of the worker less its own before any model; with a "
                     "mapped file it counts only the pages that were touched."
                     "</figcaption></figure>\n");
}
