/* Rankings as text, JSON and CSV. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "cli/knobs_rank.h"
#include "report/table.h"

/* Knobs of one metric, the greatest effect first. */
static void order_by_effect(const struct snug_knobs_ranking *r, int *order)
{
    for (int k = 0; k < r->n_knobs; k++) {
        int at = k;
        for (; at > 0 && r->rank[order[at - 1]].effect.mid < r->rank[k].effect.mid; at--)
            order[at] = order[at - 1];
        order[at] = k;
    }
}

/* ---- text ---- */

/* "; inert: a b" of the knobs with this decision. */
static void list_others(const struct knobs_ranks *ranks, int metric, const int *order,
                        enum snug_knobs_decision decision, struct snug_buffer *out)
{
    const struct snug_knobs_ranking *r = &ranks->views[metric].ranking;
    int n = 0;
    for (int i = 0; i < r->n_knobs; i++) {
        if (r->rank[order[i]].decision != decision)
            continue;
        if (n++ == 0)
            snug_buffer_puts(out, decision == SNUG_KNOBS_DROP ? "; inert:" : "; not told apart:");
        snug_buffer_printf(out, " %s", ranks->data->knobs[order[i]].name);
    }
}

static void sentence(const struct knobs_ranks *ranks, int metric, struct snug_buffer *out)
{
    const struct snug_knobs_ranking *r = &ranks->views[metric].ranking;
    int order[SNUG_KNOBS_MAX_RANKED], n = 0;
    order_by_effect(r, order);
    snug_buffer_printf(out, "%s: ", knobs_metrics[metric].name);
    for (int i = 0; i < r->n_knobs; i++) {
        const struct snug_knobs_rank *rank = &r->rank[order[i]];
        const struct snug_interval of = knobs_interval_frac(metric, rank->effect);
        if (rank->decision == SNUG_KNOBS_KEEP)
            snug_buffer_printf(out, "%s%s matters (%.1f %%, %.1f to %.1f)", n++ ? ", " : "",
                               ranks->data->knobs[order[i]].name, 100 * of.mid, 100 * of.lo,
                               100 * of.hi);
    }
    if (n == 0)
        snug_buffer_puts(out, "no knob is told apart from chance");
    else
        list_others(ranks, metric, order, SNUG_KNOBS_OPEN, out);
    list_others(ranks, metric, order, SNUG_KNOBS_DROP, out);
    snug_buffer_puts(out, "\n");
}

/* In per cent. */
static void put_cells(struct snug_table *table, struct snug_interval frac)
{
    snug_table_cell_number(table, 100 * frac.mid, 1);
    snug_table_cell_number(table, 100 * frac.lo, 1);
    snug_table_cell_number(table, 100 * frac.hi, 1);
}

static void table_rows(const struct knobs_ranks *ranks, int metric, struct snug_table *table)
{
    const struct snug_knobs_ranking *r = &ranks->views[metric].ranking;
    int order[SNUG_KNOBS_MAX_RANKED];
    order_by_effect(r, order);
    for (int i = 0; i < r->n_knobs; i++) {
        const struct snug_knobs_rank *rank = &r->rank[order[i]];
        snug_table_cell_text(table, knobs_metrics[metric].key);
        snug_table_cell_text(table, ranks->data->knobs[order[i]].name);
        put_cells(table, knobs_interval_frac(metric, rank->effect));
        snug_table_cell_number(table, 100 * knobs_effect_frac(metric, rank->chance), 1);
        put_cells(table, rank->share);
        snug_table_cell_text(table, snug_knobs_decision_name(rank->decision));
        snug_table_row_end(table);
    }
}

static void put_table(const struct knobs_ranks *ranks, struct snug_buffer *out)
{
    static const char *const names[] = {"metric",   "knob",  "effect_%", "lo",     "hi",
                                        "chance_%", "var_%", "var_lo",   "var_hi", "decision"};
    struct snug_table table = {.n_columns = 0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        snug_table_column(&table, names[i], i < 2 || i > 8 ? SNUG_COLUMN_TEXT : SNUG_COLUMN_NUMBER);
    for (int metric = 0; metric < N_KNOBS_METRICS; metric++)
        if (ranks->views[metric].is_ranked)
            table_rows(ranks, metric, &table);
    snug_table_render(&table, SNUG_TABLE_MD, out);
    snug_table_clear(&table);
}

static void put_ranked(const struct knobs_ranks *ranks, struct snug_buffer *out)
{
    struct snug_table table = {.n_columns = 0};
    snug_table_column(&table, "rank", SNUG_COLUMN_NUMBER);
    snug_table_column(&table, "knob", SNUG_COLUMN_TEXT);
    snug_table_column(&table, "effect_%", SNUG_COLUMN_NUMBER);
    snug_table_column(&table, "lo", SNUG_COLUMN_NUMBER);
    snug_table_column(&table, "hi", SNUG_COLUMN_NUMBER);
    snug_table_column(&table, "on", SNUG_COLUMN_TEXT);
    snug_table_column(&table, "decision", SNUG_COLUMN_TEXT);
    for (int i = 0; i < ranks->data->n_knobs; i++) {
        const int k = ranks->order[i], metric = ranks->best_metric[k];
        snug_table_cell_number(&table, i + 1, 0);
        snug_table_cell_text(&table, ranks->data->knobs[k].name);
        put_cells(&table, knobs_interval_frac(metric, ranks->views[metric].ranking.rank[k].effect));
        snug_table_cell_text(&table, knobs_metrics[metric].name);
        snug_table_cell_text(&table, snug_knobs_decision_name(ranks->decision[k]));
        snug_table_row_end(&table);
    }
    snug_table_render(&table, SNUG_TABLE_MD, out);
    snug_table_clear(&table);
}

void knobs_text(const struct knobs_ranks *ranks, bool is_short, struct snug_buffer *out)
{
    if (is_short) {
        put_ranked(ranks, out);
        return;
    }
    for (int metric = 0; metric < N_KNOBS_METRICS; metric++) {
        const struct knobs_view *view = &ranks->views[metric];
        if (view->is_ranked)
            sentence(ranks, metric, out);
        else
            snug_buffer_printf(out, "%s: %s\n", knobs_metrics[metric].name, view->why_not);
    }
    snug_buffer_puts(out, "\n");
    put_table(ranks, out);
}

/* ---- JSON ---- */

static void put_interval(struct snug_json_writer *w, const char *key, struct snug_interval of)
{
    snug_json_begin_object(w, key);
    snug_json_put_number(w, "lo", of.lo);
    snug_json_put_number(w, "mid", of.mid);
    snug_json_put_number(w, "hi", of.hi);
    snug_json_end(w);
}

static void put_rank(struct snug_json_writer *w, const struct knobs_ranks *ranks, int metric, int k)
{
    const struct snug_knobs_rank *rank = &ranks->views[metric].ranking.rank[k];
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "knob", ranks->data->knobs[k].name);
    put_interval(w, "effect_frac", knobs_interval_frac(metric, rank->effect));
    snug_json_put_number(w, "chance_frac", knobs_effect_frac(metric, rank->chance));
    put_interval(w, "variance_frac", rank->share);
    snug_json_put_string(w, "decision", snug_knobs_decision_name(rank->decision));
    snug_json_end(w);
}

static void put_pairs(struct snug_json_writer *w, const struct knobs_ranks *ranks, int metric)
{
    const struct snug_knobs_ranking *r = &ranks->views[metric].ranking;
    snug_json_begin_array(w, "pairs");
    for (int i = 0; i < r->n_pairs; i++) {
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "a", ranks->data->knobs[r->pair[i].a].name);
        snug_json_put_string(w, "b", ranks->data->knobs[r->pair[i].b].name);
        put_interval(w, "variance_frac", r->pair[i].share);
        snug_json_end(w);
    }
    snug_json_end(w);
}

/* [[level 0..1, Shapley value as a share of the metric, value as text], ...] */
static void put_points(struct snug_json_writer *w, const struct knobs_ranks *ranks, int metric,
                       int k)
{
    const struct knobs_view *view = &ranks->views[metric];
    const struct snug_knobs_ranking *r = &view->ranking;
    const struct knobs_knob *knob = &ranks->data->knobs[k];
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "knob", knob->name);
    snug_json_begin_array(w, "points");
    for (size_t i = 0; i < r->n_explained; i++) {
        const int level = ranks->data->rows[view->rows[r->row[i]]].level[k];
        snug_json_begin_array(w, NULL);
        snug_json_put_number(w, NULL, (double)level / (knob->as.n_levels - 1));
        snug_json_put_number(
            w, NULL, knobs_effect_frac(metric, r->value[i * (size_t)r->n_knobs + (size_t)k]));
        snug_json_put_string(w, NULL, knob->values[level]);
        snug_json_end(w);
    }
    snug_json_end(w);
    snug_json_end(w);
}

static void put_metric(struct snug_json_writer *w, const struct knobs_ranks *ranks, int metric,
                       bool with_points)
{
    const struct knobs_view *view = &ranks->views[metric];
    int order[SNUG_KNOBS_MAX_RANKED];
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "metric", knobs_metrics[metric].key);
    snug_json_put_string(w, "name", knobs_metrics[metric].name);
    snug_json_put_int(w, "n_configs", view->n_configs);
    if (!view->is_ranked) {
        snug_json_put_string(w, "why_not", view->why_not);
        snug_json_end(w);
        return;
    }
    snug_json_put_number(w, "foreseen_frac", view->ranking.foreseen_frac);
    order_by_effect(&view->ranking, order);
    snug_json_begin_array(w, "knobs");
    for (int i = 0; i < ranks->data->n_knobs; i++)
        put_rank(w, ranks, metric, order[i]);
    snug_json_end(w);
    put_pairs(w, ranks, metric);
    if (with_points) {
        snug_json_begin_array(w, "swarms");
        for (int i = 0; i < ranks->data->n_knobs; i++)
            put_points(w, ranks, metric, order[i]);
        snug_json_end(w);
    }
    snug_json_end(w);
}

static void put_order(struct snug_json_writer *w, const struct knobs_ranks *ranks)
{
    snug_json_begin_array(w, "ranked");
    for (int i = 0; i < ranks->data->n_knobs; i++) {
        const int k = ranks->order[i], metric = ranks->best_metric[k];
        snug_json_begin_object(w, NULL);
        snug_json_put_int(w, "rank", i + 1);
        snug_json_put_string(w, "knob", ranks->data->knobs[k].name);
        put_interval(w, "effect_frac",
                     knobs_interval_frac(metric, ranks->views[metric].ranking.rank[k].effect));
        snug_json_put_string(w, "metric", knobs_metrics[metric].key);
        snug_json_put_string(w, "decision", snug_knobs_decision_name(ranks->decision[k]));
        snug_json_end(w);
    }
    snug_json_end(w);
}

char *knobs_json(const struct knobs_ranks *ranks, bool with_points)
{
    const struct knobs_data *data = ranks->data;
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "title", data->model);
    snug_json_put_string(&w, "machine", data->machine);
    snug_json_put_string(&w, "build", data->build);
    snug_json_put_string(&w, "snug", snug_version());
    snug_json_put_number(&w, "generated_unix_s", (double)time(NULL));
    snug_json_put_int(&w, "n_tasks", data->n_tasks);
    snug_json_put_int(&w, "n_trials", data->n_trials);
    snug_json_put_int(&w, "n_configs", data->n_configs);
    snug_json_put_int(&w, "n_disturbed", data->n_disturbed);
    snug_json_put_bool(&w, "has_disturbed", data->has_disturbed);
    snug_json_put_string(&w, "unvaried", data->unvaried);
    put_order(&w, ranks);
    snug_json_begin_array(&w, "metrics");
    for (int metric = 0; metric < N_KNOBS_METRICS; metric++)
        put_metric(&w, ranks, metric, with_points);
    snug_json_end(&w);
    snug_json_end(&w);
    return snug_json_finish(&w, true);
}

char *knobs_bounds_json(const struct knobs_ranks *ranks)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    for (int metric = 0; metric < N_KNOBS_METRICS; metric++) {
        const struct knobs_view *view = &ranks->views[metric];
        if (view->n_rows == 0)
            continue;
        snug_json_begin_object(&w, knobs_metrics[metric].key);
        snug_json_put_string(&w, "unit", knobs_metrics[metric].unit);
        snug_json_put_number(&w, "min", view->lo);
        snug_json_put_number(&w, "max", view->hi);
        snug_json_put_int(&w, "n_configs", view->n_configs);
        snug_json_end(&w);
    }
    snug_json_end(&w);
    return snug_json_finish(&w, true);
}

/* ---- CSV ---- */

void knobs_csv(const struct knobs_data *data, struct snug_buffer *out)
{
    struct snug_table table = {.n_columns = 0};
    snug_table_column(&table, "task", SNUG_COLUMN_NUMBER);
    for (int k = 0; k < data->n_knobs; k++)
        snug_table_column(&table, data->knobs[k].name, SNUG_COLUMN_TEXT);
    for (int metric = 0; metric < N_KNOBS_METRICS; metric++)
        snug_table_column(&table, knobs_metrics[metric].column, SNUG_COLUMN_NUMBER);
    snug_table_column(&table, "trials", SNUG_COLUMN_NUMBER);
    for (int i = 0; i < data->n_rows; i++) {
        const struct knobs_row *row = &data->rows[i];
        snug_table_cell_number(&table, (double)row->task_id, 0);
        for (int k = 0; k < data->n_knobs; k++)
            snug_table_cell_text(&table, data->knobs[k].values[row->level[k]]);
        for (int metric = 0; metric < KNOBS_FAILS; metric++)
            snug_table_cell_positive(&table, row->metric[metric], metric == KNOBS_MEMORY ? 0 : 6);
        snug_table_cell_number(&table, row->metric[KNOBS_FAILS], 3);
        snug_table_cell_number(&table, row->n_trials, 0);
        snug_table_row_end(&table);
    }
    snug_table_render(&table, SNUG_TABLE_CSV, out);
    snug_table_clear(&table);
}
