/* results.csv and results.jsonl, report.md and report.tex: the same figures, four ways. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lab/compare.h"
#include "lab/results_internal.h"
#include "report/table.h"
#include "snug/units.h"

static const double MIB = 1 << 20;

/* ---- flat rows ---- */

static const struct {
    const char *name;
    enum snug_column_kind kind;
} COLUMNS[] = {
    {"order", SNUG_COLUMN_NUMBER},
    {"key", SNUG_COLUMN_TEXT},
    {"round", SNUG_COLUMN_TEXT},
    {"group", SNUG_COLUMN_TEXT},
    {"role", SNUG_COLUMN_TEXT},
    {"config", SNUG_COLUMN_TEXT},
    {"model", SNUG_COLUMN_TEXT},
    {"model_hash", SNUG_COLUMN_TEXT},
    {"workload", SNUG_COLUMN_TEXT},
    {"n_prompt", SNUG_COLUMN_NUMBER},
    {"n_gen", SNUG_COLUMN_NUMBER},
    {"n_depth", SNUG_COLUMN_NUMBER},
    {"n_parallel", SNUG_COLUMN_NUMBER},
    {"repetition", SNUG_COLUMN_NUMBER},
    {"outcome", SNUG_COLUMN_TEXT},
    {"reason", SNUG_COLUMN_TEXT},
    {"verdict", SNUG_COLUMN_TEXT},
    {"rules", SNUG_COLUMN_TEXT},
    {"prefill_tps", SNUG_COLUMN_NUMBER},
    {"decode_tps", SNUG_COLUMN_NUMBER},
    {"request_s", SNUG_COLUMN_NUMBER},
    {"ttft_s", SNUG_COLUMN_NUMBER},
    {"first_sample_s", SNUG_COLUMN_NUMBER},
    {"tpot_p50_s", SNUG_COLUMN_NUMBER},
    {"tpot_p95_s", SNUG_COLUMN_NUMBER},
    {"load_s", SNUG_COLUMN_NUMBER},
    {"wall_s", SNUG_COLUMN_NUMBER},
    {"weights_bytes", SNUG_COLUMN_NUMBER},
    {"cache_bytes", SNUG_COLUMN_NUMBER},
    {"compute_bytes", SNUG_COLUMN_NUMBER},
    {"rss_peak_bytes", SNUG_COLUMN_NUMBER},
    {"prefill_j_per_token", SNUG_COLUMN_NUMBER},
    {"decode_j_per_token", SNUG_COLUMN_NUMBER},
    {"clock_hz_median", SNUG_COLUMN_NUMBER},
    {"temperature_c_max", SNUG_COLUMN_NUMBER},
    {"other_load_frac", SNUG_COLUMN_NUMBER},
    {"throttled_s", SNUG_COLUMN_NUMBER},
    {"pressure_cpu_frac", SNUG_COLUMN_NUMBER},
    {"started_unix_s", SNUG_COLUMN_NUMBER},
    {"build", SNUG_COLUMN_TEXT},
    {"machine_fingerprint", SNUG_COLUMN_TEXT},
    {"cpu", SNUG_COLUMN_TEXT},
    {"os", SNUG_COLUMN_TEXT},
    {"n_threads_usable", SNUG_COLUMN_NUMBER},
    {"ram_bytes", SNUG_COLUMN_NUMBER},
};

static const struct snug_workload *workload_of(const struct snug_lab_results *r, int i_model, int i)
{
    return &r->run->workloads[i_model * r->plan->n_workloads + i];
}

static void put_place(struct snug_table *t, const struct snug_lab_results *r, int i)
{
    const struct snug_lab_row *row = &r->plan->rows[i];
    const struct snug_lab_round *round = &r->plan->rounds[row->i_round];
    const struct snug_workload *w = workload_of(r, row->i_model, row->i_workload);
    char text[512];
    snug_table_cell_number(t, i, 0);
    snug_table_cell_text(t, row->key);
    snug_table_cell_text(t, round->name);
    snug_table_cell_text(t, round->group);
    snug_table_cell_text(t, row->i_round == 0 ? "baseline" : "round");
    snug_table_cell_text(t, snug__lab_config_text(round, text, sizeof text));
    snug_table_cell_text(t, r->plan->models[row->i_model].name);
    snug_table_cell_text(t, r->run->models[row->i_model].hash);
    snug_table_cell_text(t, r->plan->workloads[row->i_workload].name);
    snug_table_cell_number(t, (double)w->n_prompt, 0);
    snug_table_cell_number(t, (double)w->n_gen, 0);
    snug_table_cell_number(t, (double)w->n_depth, 0);
    snug_table_cell_number(t, (double)w->n_parallel, 0);
    snug_table_cell_number(t, row->repetition, 0);
}

static void put_figures(struct snug_table *t, const struct snug_measurement *m,
                        const struct snug_workload *w)
{
    char text[256];
    const bool is_ok = m->outcome == SNUG_TRIAL_OK;
    snug_table_cell_text(t, snug_outcome_name(m->outcome));
    snug_table_cell_text(t, m->reason);
    snug_table_cell_text(t, is_ok ? snug_verdict_name(snug_verdict_of(m->warnings)) : "");
    snug_table_cell_text(t, snug_warnings_text(m->warnings, " ", text, sizeof text));
    snug_table_cell_positive(t, m->prefill_tps, 3);
    snug_table_cell_positive(t, m->decode_tps, 3);
    snug_table_cell_positive(t, snug_measurement_request_s(m, w), 5);
    snug_table_cell_positive(t, m->ttft_s, 5);
    snug_table_cell_positive(t, m->first_sample_s, 6);
    snug_table_cell_positive(t, m->tpot_p50_s, 6);
    snug_table_cell_positive(t, m->tpot_p95_s, 6);
    snug_table_cell_positive(t, m->load_s, 4);
    snug_table_cell_positive(t, m->wall_s, 4);
    snug_table_cell_number(t, (double)m->bytes.weights, 0);
    snug_table_cell_number(t, (double)m->bytes.cache, 0);
    snug_table_cell_number(t, (double)m->bytes.compute, 0);
    snug_table_cell_positive(t, (double)m->bytes.rss_peak, 0);
    snug_table_cell_positive(t, snug_measurement_prefill_j(m, w, NULL), 5);
    snug_table_cell_positive(t, snug_measurement_decode_j(m, w, NULL), 5);
    snug_table_cell_number(t, m->conditions.clock_hz_median, 0);
    snug_table_cell_number(t, m->conditions.temperature_c_max, 1);
    snug_table_cell_number(t, m->other_load_frac, 4);
    snug_table_cell_number(t, m->throttled_s, 4);
    snug_table_cell_number(t, m->conditions.pressure_cpu_frac, 4);
    snug_table_cell_number(t, m->started_unix_s, 3);
    snug_table_cell_text(t, m->build);
}

void snug__lab_table(const struct snug_lab_results *r, bool is_csv, struct snug_buffer *out)
{
    struct snug_table t = {.n_columns = 0};
    for (size_t i = 0; i < sizeof COLUMNS / sizeof *COLUMNS; i++)
        snug_table_column(&t, COLUMNS[i].name, COLUMNS[i].kind);
    for (int i = 0; i < r->plan->n_rows; i++) {
        if (!r->rows[i])
            continue;
        const struct snug_lab_row *row = &r->plan->rows[i];
        put_place(&t, r, i);
        put_figures(&t, r->rows[i], workload_of(r, row->i_model, row->i_workload));
        snug_table_cell_text(&t, r->machine->fingerprint);
        snug_table_cell_text(&t, r->machine->cpu_name);
        snug_table_cell_text(&t, r->machine->os);
        snug_table_cell_number(&t, r->machine->n_threads_usable, 0);
        snug_table_cell_number(&t, (double)r->machine->ram_bytes, 0);
        snug_table_row_end(&t);
    }
    snug_table_render(&t, is_csv ? SNUG_TABLE_CSV : SNUG_TABLE_JSONL, out);
    snug_table_clear(&t);
}

/* ---- the table of rounds ---- */

static const char *const SUMMARY[] = {"round",   "model",   "workload", "prefill t/s",
                                      "gen t/s", "vs base", "TTFT s",   "memory MiB",
                                      "quality", "rows",    "verdict",  "improved"};
enum { N_SUMMARY = sizeof SUMMARY / sizeof *SUMMARY, CELL_MAX = 320 };

static void speed_text(const struct snug_interval *speed, char *out)
{
    if (isfinite(speed->mid))
        snprintf(out, CELL_MAX, "%.4g (%.4g to %.4g)", speed->mid, speed->lo, speed->hi);
    else
        snprintf(out, CELL_MAX, "-");
}

/* Of the request, the sum of both phases, or of the phase that there is. */
static void ratio_text(const struct snug_lab_results *r, const struct snug_lab_summary *s,
                       char *out)
{
    snprintf(out, CELL_MAX, "-");
    for (int i = 0; i < r->analysis.n_comparisons; i++) {
        const struct snug_lab_comparison *c = &r->analysis.comparisons[i];
        if (c->i_round != s->i_round || c->i_model != s->i_model ||
            c->i_workload != s->i_workload || c->metric != SNUG_LAB_REQUEST)
            continue;
        if (c->n_pairs < SNUG_COMPARE_PAIRS_MIN)
            snprintf(out, CELL_MAX, "x%.3f (%d pairs)", 1.0 / c->ratio.mid, c->n_pairs);
        else
            snprintf(out, CELL_MAX, "x%.3f (%.3f to %.3f)", 1.0 / c->ratio.mid, 1.0 / c->ratio.hi,
                     1.0 / c->ratio.lo);
    }
}

static void verdict_text(const struct snug_lab_summary *s, char *out)
{
    char rules[200];
    if (s->n_ok == 0) {
        snprintf(out, CELL_MAX, "FAILED %s: %.200s", snug_outcome_name(s->last_outcome), s->reason);
        return;
    }
    snug_warnings_text(s->warnings, ", ", rules, sizeof rules);
    snprintf(out, CELL_MAX, "%s%s%s", snug_verdict_name(snug_verdict_of(s->warnings)),
             rules[0] ? ": " : "", rules);
}

static void improved_text(const struct snug_lab_summary *s, char *out)
{
    static const char *const words[] = {"no", "yes", "?"};
    if (s->i_round == 0)
        snprintf(out, CELL_MAX, "-");
    else
        snprintf(out, CELL_MAX, "%s: %s", words[s->improved], s->why);
}

static void summary_cells(const struct snug_lab_results *r, const struct snug_lab_summary *s,
                          char cells[N_SUMMARY][CELL_MAX])
{
    snprintf(cells[0], CELL_MAX, "%s", r->plan->rounds[s->i_round].name);
    snprintf(cells[1], CELL_MAX, "%s", r->plan->models[s->i_model].name);
    snprintf(cells[2], CELL_MAX, "%s", r->plan->workloads[s->i_workload].name);
    speed_text(&s->prefill_tps, cells[3]);
    speed_text(&s->decode_tps, cells[4]);
    ratio_text(r, s, cells[5]);
    snprintf(cells[6], CELL_MAX, "-");
    if (isfinite(s->ttft_s))
        snprintf(cells[6], CELL_MAX, "%.4g", s->ttft_s);
    snprintf(cells[7], CELL_MAX, "%.1f", (double)snug_bytes_stated(&s->bytes) / MIB);
    snprintf(cells[8], CELL_MAX, "not measured");
    if (r->run->qualities)
        snug_quality_text(&r->run->qualities[s->i_round * r->plan->n_models + s->i_model], cells[8],
                          CELL_MAX);
    snprintf(cells[9], CELL_MAX, "%d of %d", s->n_ok, s->n_ok + s->n_failed);
    verdict_text(s, cells[10]);
    improved_text(s, cells[11]);
}

void snug_lab_results_summary(const struct snug_lab_results *r, struct snug_buffer *out)
{
    struct snug_table t = {.n_columns = 0};
    char cells[N_SUMMARY][CELL_MAX];
    for (int i = 0; i < N_SUMMARY; i++)
        snug_table_column(&t, SUMMARY[i], SNUG_COLUMN_TEXT);
    for (int i = 0; i < r->analysis.n_summaries; i++) {
        summary_cells(r, &r->analysis.summaries[i], cells);
        for (int k = 0; k < N_SUMMARY; k++)
            snug_table_cell_text(&t, cells[k]);
        snug_table_row_end(&t);
    }
    snug_table_render(&t, SNUG_TABLE_MD, out);
    snug_table_clear(&t);
}

/* ---- report.md ---- */

static void drift_words(const struct snug_lab_results *r, const struct snug_lab_drift *d, char *out,
                        size_t cap)
{
    const char *model = r->plan->models[d->i_model].name;
    const char *workload = r->plan->workloads[d->i_workload].name;
    const struct snug_interval *f = &d->frac_over_run;
    if (!isfinite(f->mid))
        snprintf(out, cap, "%s of %s, %s: too few baseline rows (%d) to tell",
                 snug_lab_metric_name(d->metric), model, workload, d->n_points);
    else
        snprintf(out, cap,
                 "%s of %s, %s: %+.1f %% over the run (95 %% interval %+.1f to %+.1f): %s",
                 snug_lab_metric_name(d->metric), model, workload, 100.0 * f->mid, 100.0 * f->lo,
                 100.0 * f->hi, f->lo <= 0.0 && f->hi >= 0.0 ? "no drift shown" : "drift");
}

static const char RULES[] =
    "Speeds are medians over the rows of a round, with a bootstrap 95 % interval. \"vs base\" is\n"
    "how many times faster a request is than the baseline's: the median ratio of pairs within a\n"
    "block, a row and the nearest baseline row of the same repetition. Failed rows take part in\n"
    "no figure.\n";

void snug__lab_markdown(const struct snug_lab_results *r, struct snug_buffer *out)
{
    char words[512];
    const struct snug_lab_analysis *a = &r->analysis;
    snug_buffer_printf(out, "# %s\n\n", r->plan->title);
    snug_lab_results_summary(r, out);
    snug_buffer_printf(out, "\n%s\n", RULES);
    snug_buffer_printf(out, "\"Improved\": better in one of");
    for (int i = 0; i < r->plan->improved.n_metrics; i++)
        snug_buffer_printf(out, "%s %s", i ? "," : "", r->plan->improved.metrics[i]);
    snug_buffer_printf(out, " beyond its interval, worse in none by more than %.3g %%.\n",
                       100.0 * r->plan->improved.tolerance_frac);
    snug_buffer_printf(out, "\n## Against the baseline\n\n");
    for (int i = 0; i < a->n_comparisons; i++)
        snug_buffer_printf(out, "- %s, %s: %s: %s\n",
                           r->plan->models[a->comparisons[i].i_model].name,
                           r->plan->workloads[a->comparisons[i].i_workload].name,
                           snug_lab_metric_name(a->comparisons[i].metric), a->comparisons[i].words);
    snug_buffer_printf(out, "\n## Drift of the baseline\n\n");
    for (int i = 0; i < a->n_drifts; i++) {
        drift_words(r, &a->drifts[i], words, sizeof words);
        snug_buffer_printf(out, "- %s\n", words);
    }
    snug_buffer_printf(out,
                       "\n## Where from\n\n- machine: %s, %d threads usable, fingerprint %.12s\n",
                       r->machine->cpu_name, r->machine->n_threads_usable, r->machine->fingerprint);
    snug_buffer_printf(out, "- engine: %s; snug %s\n- plan: %s, seed %llu, %d of %d rows\n",
                       snug__lab_build(r), snug_version(), r->plan->hash,
                       (unsigned long long)r->plan->seed, r->run->n_done, r->plan->n_rows);
}

/* ---- report.tex ---- */

/* Names come from the file: nothing in them may be a command. */
static void put_tex(struct snug_buffer *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '\\')
            snug_buffer_puts(out, "\\textbackslash{}");
        else if (*p == '^' || *p == '~')
            snug_buffer_printf(out, "\\%c{}", *p);
        else if (strchr("&%$#_{}", *p))
            snug_buffer_printf(out, "\\%c", *p);
        else
            snug_buffer_append(out, p, 1);
    }
}

void snug__lab_latex(const struct snug_lab_results *r, struct snug_buffer *out)
{
    char cells[N_SUMMARY][CELL_MAX];
    snug_buffer_puts(out, "% \\usepackage{booktabs,longtable}\n\\begin{longtable}{");
    for (int i = 0; i < N_SUMMARY; i++)
        snug_buffer_puts(out, "l");
    snug_buffer_puts(out, "}\n\\caption{");
    put_tex(out, r->plan->title);
    snug_buffer_puts(out, "}\\\\\n\\toprule\n");
    for (int i = 0; i < N_SUMMARY; i++) {
        snug_buffer_puts(out, i ? " & " : "");
        put_tex(out, SUMMARY[i]);
    }
    snug_buffer_puts(out, " \\\\\n\\midrule\n\\endhead\n");
    for (int i = 0; i < r->analysis.n_summaries; i++) {
        summary_cells(r, &r->analysis.summaries[i], cells);
        for (int k = 0; k < N_SUMMARY; k++) {
            snug_buffer_puts(out, k ? " & " : "");
            put_tex(out, cells[k]);
        }
        snug_buffer_puts(out, " \\\\\n");
    }
    snug_buffer_puts(out, "\\bottomrule\n\\end{longtable}\n");
}
