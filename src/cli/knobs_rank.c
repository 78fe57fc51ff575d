/* Fit each metric. Tasks differ in speed for reasons that are no knobs, so the log of a metric is
 * taken less its median over the configs of the same task. */
#include "cli/knobs_rank.h"

#include <math.h>
#include <stdlib.h>

#include "snug/stats.h"

static const double NEGLIGIBLE = 0.01; /* of a metric: about what a quiet machine can measure */
static const double SAME_FRAC = 1e-9;  /* hi over lo less 1: below that nothing varied */

/* What one fit takes. */
struct fit {
    double *y, *of_task;
    int *levels;
    struct snug_knobs_knob knobs[SNUG_KNOBS_MAX_RANKED];
};

double knobs_effect_frac(int metric, double effect)
{
    return metric == KNOBS_FAILS ? effect : expm1(effect);
}

/* Take off the median of the row's task. */
static void centre(const struct knobs_data *data, const struct knobs_view *view, struct fit *fit)
{
    int64_t done = -1;
    for (int i = 0; i < view->n_rows; i++) { /* rows of a task follow one another */
        const int64_t task = data->rows[view->rows[i]].task_id;
        size_t n = 0;
        if (task == done)
            continue;
        for (int j = i; j < view->n_rows && data->rows[view->rows[j]].task_id == task; j++)
            fit->of_task[n++] = fit->y[j];
        const double median = snug_stats_median(fit->of_task, n);
        for (size_t j = 0; j < n; j++)
            fit->y[(size_t)i + j] -= median;
        done = task;
    }
}

static void fill_fit(const struct knobs_data *data, int metric, const struct knobs_view *view,
                     struct fit *fit)
{
    for (int k = 0; k < data->n_knobs; k++)
        fit->knobs[k] = data->knobs[k].as;
    for (int i = 0; i < view->n_rows; i++) {
        const struct knobs_row *row = &data->rows[view->rows[i]];
        fit->y[i] = metric == KNOBS_FAILS ? row->metric[metric] : log(row->metric[metric]);
        for (int k = 0; k < data->n_knobs; k++)
            fit->levels[i * data->n_knobs + k] = row->level[k];
    }
    if (metric != KNOBS_FAILS)
        centre(data, view, fit);
}

static snug_status fit_view(const struct cli_args *args, const struct knobs_data *data, int metric,
                            struct knobs_view *view, struct snug_error *err)
{
    const size_t n = (size_t)view->n_rows;
    struct fit fit = {.y = calloc(n, sizeof *fit.y), .of_task = calloc(n, sizeof *fit.of_task)};
    fit.levels = calloc(n * (size_t)data->n_knobs, sizeof *fit.levels);
    snug_status status =
        fit.y && fit.of_task && fit.levels
            ? SNUG_OK
            : snug_fail(err, SNUG_NO_MEMORY, "no memory for a ranking of %zu configs", n);
    if (status == SNUG_OK) {
        fill_fit(data, metric, view, &fit);
        const struct snug_knobs_problem problem = {
            .knobs = fit.knobs,
            .n_knobs = data->n_knobs,
            .levels = fit.levels,
            .y = fit.y,
            .n_rows = n,
            .negligible = metric == KNOBS_FAILS ? NEGLIGIBLE : log1p(NEGLIGIBLE),
            .seed = args->has_seed ? (uint64_t)args->seed : 1,
        };
        status = snug_knobs_rank(&problem, &view->ranking, err);
    }
    free(fit.y);
    free(fit.of_task);
    free(fit.levels);
    view->is_ranked = status == SNUG_OK;
    return status;
}

static snug_status make_view(const struct cli_args *args, const struct knobs_data *data, int metric,
                             struct knobs_view *view, struct snug_error *err)
{
    view->rows = calloc((size_t)data->n_rows + 1, sizeof *view->rows);
    view->lo = INFINITY;
    view->hi = -INFINITY;
    if (!view->rows)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a ranking");
    for (int i = 0; i < data->n_rows; i++) {
        const double v = data->rows[i].metric[metric];
        if (isnan(v))
            continue;
        view->rows[view->n_rows++] = i;
        view->lo = fmin(view->lo, v);
        view->hi = fmax(view->hi, v);
    }
    if (view->n_rows == 0)
        view->why_not = "not measured";
    else if (!(view->hi - view->lo > SAME_FRAC * view->hi))
        view->why_not = metric == KNOBS_FAILS ? view->hi > 0 ? "all" : "none" : "never differs";
    else if (view->n_rows < SNUG_KNOBS_ROWS_MIN)
        view->why_not = "too few configs";
    else if (data->n_knobs == 0)
        view->why_not = "no knob was varied";
    else
        return fit_view(args, data, metric, view, err);
    return SNUG_OK;
}

/* ---- over all metrics ---- */

static double best_effect(const struct knobs_ranks *ranks, int k)
{
    const int metric = ranks->best_metric[k];
    return metric < 0 ? 0.0 : ranks->views[metric].ranking.rank[k].effect.mid;
}

/* Effects are logs of ratios, so that speeds and bytes compare; shares of failures do not. */
static void decide(struct knobs_ranks *ranks, int k)
{
    enum snug_knobs_decision decisions[N_KNOBS_METRICS + 1];
    size_t n = 0;
    ranks->best_metric[k] = -1;
    for (int metric = 0; metric < N_KNOBS_METRICS; metric++) {
        const struct knobs_view *view = &ranks->views[metric];
        if (!view->is_ranked)
            continue;
        decisions[n++] = view->ranking.rank[k].decision;
        if (metric != KNOBS_FAILS &&
            (ranks->best_metric[k] < 0 || view->ranking.rank[k].effect.mid > best_effect(ranks, k)))
            ranks->best_metric[k] = metric;
    }
    if (!ranks->views[KNOBS_REQUEST].is_ranked) /* bytes alone drop no knob of speed */
        decisions[n++] = SNUG_KNOBS_OPEN;
    ranks->decision[k] = snug_knobs_decide(decisions, n);
}

static void sort_knobs(struct knobs_ranks *ranks)
{
    for (int k = 0; k < ranks->data->n_knobs; k++) {
        int at = k;
        decide(ranks, k);
        for (; at > 0 && best_effect(ranks, ranks->order[at - 1]) < best_effect(ranks, k); at--)
            ranks->order[at] = ranks->order[at - 1];
        ranks->order[at] = k;
    }
}

static snug_status too_little(const struct cli_args *args, const struct knobs_data *data,
                              struct snug_error *err)
{
    int n_ok = 0;
    for (int i = 0; i < data->n_rows; i++)
        n_ok += data->rows[i].n_failed < data->rows[i].n_trials;
    if (n_ok < SNUG_KNOBS_ROWS_MIN)
        return snug_fail(err, SNUG_INFEASIBLE,
                         "%d different configs of %s ran (%d did not): at least %d are needed to "
                         "tell knobs apart; run snug tune %s --trials %d",
                         n_ok, args->operand, data->n_rows - n_ok, SNUG_KNOBS_ROWS_MIN,
                         args->operand, 2 * SNUG_KNOBS_ROWS_MIN);
    return snug_fail(err, SNUG_INFEASIBLE,
                     "%d configs of %s ran, and no metric differs among enough of them to be "
                     "ranked; run snug tune %s --trials %d",
                     n_ok, args->operand, args->operand, 2 * SNUG_KNOBS_ROWS_MIN);
}

snug_status knobs_ranks_make(const struct cli_args *args, const struct knobs_data *data,
                             struct knobs_ranks *out, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    *out = (struct knobs_ranks){.data = data};
    for (int metric = 0; metric < N_KNOBS_METRICS && status == SNUG_OK; metric++) {
        cli_live("ranking by %s", knobs_metrics[metric].name);
        status = make_view(args, data, metric, &out->views[metric], err);
        out->n_ranked += metric != KNOBS_FAILS && out->views[metric].is_ranked;
    }
    cli_live_end();
    if (status == SNUG_OK && out->n_ranked == 0)
        status = too_little(args, data, err);
    if (status != SNUG_OK) {
        knobs_ranks_clear(out);
        return status;
    }
    sort_knobs(out);
    return SNUG_OK;
}

void knobs_ranks_clear(struct knobs_ranks *ranks)
{
    for (int metric = 0; metric < N_KNOBS_METRICS; metric++) {
        free(ranks->views[metric].rows);
        snug_knobs_ranking_clear(&ranks->views[metric].ranking);
    }
    *ranks = (struct knobs_ranks){.data = NULL};
}
