/* Fit each metric. Tasks differ in speed for reasons that are no knobs, so the log of a metric is
 * taken less its median over the configs of the same task. */
#include "cli/knobs_rank.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "snug/stats.h"

static const double NEGLIGIBLE = 0.01; /* of a metric: about what a quiet machine can measure */
static const double SAME_FRAC = 1e-9;  /* hi over lo less 1: below that nothing varied */

/* What one fit takes. */
struct fit {
    double *y, *of_task;
    int *levels, *group;
    struct snug_knobs_knob knobs[SNUG_KNOBS_MAX_RANKED];
};

double knobs_effect_frac(int metric, double effect)
{
    return metric == KNOBS_FAILS ? effect : expm1(effect);
}

struct snug_interval knobs_interval_frac(int metric, struct snug_interval effect)
{
    return (struct snug_interval){knobs_effect_frac(metric, effect.lo),
                                  knobs_effect_frac(metric, effect.mid),
                                  knobs_effect_frac(metric, effect.hi)};
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
        fit->group[i] = row->config;
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
    fit.group = calloc(n, sizeof *fit.group);
    snug_status status =
        fit.y && fit.of_task && fit.levels && fit.group
            ? SNUG_OK
            : snug_fail(err, SNUG_NO_MEMORY, "no memory for a ranking of %zu rows", n);
    if (status == SNUG_OK) {
        fill_fit(data, metric, view, &fit);
        const struct snug_knobs_problem problem = {
            .knobs = fit.knobs,
            .n_knobs = data->n_knobs,
            .levels = fit.levels,
            .group = fit.group,
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
    free(fit.group);
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
    view->n_configs = knobs_data_configs(data, view->rows, view->n_rows);
    if (view->n_rows == 0)
        view->why_not = "not measured";
    else if (!(view->hi - view->lo > SAME_FRAC * view->hi))
        view->why_not = metric == KNOBS_FAILS ? view->hi > 0 ? "all" : "none" : "never differs";
    else if (data->n_knobs == 0)
        view->why_not = "no knob was varied";
    else if (view->n_configs < SNUG_KNOBS_CONFIGS_MIN)
        view->why_not = "too few configs";
    else
        return fit_view(args, data, metric, view, err);
    return SNUG_OK;
}

/* ---- over all metrics ---- */

static double best_effect(const struct knobs_ranks *ranks, int k)
{
    const int metric = ranks->best_metric[k];
    return knobs_effect_frac(metric, ranks->views[metric].ranking.rank[k].effect.mid);
}

/* Is this metric a better one to show for knob k than the best so far (-1: none)? A decision counts
 * before anything else; shares of failures do not compare with logs of ratios. */
static bool is_better(const struct knobs_ranks *ranks, int k, int metric, int best)
{
    if (best < 0)
        return true;
    const struct snug_knobs_rank *a = &ranks->views[metric].ranking.rank[k],
                                 *b = &ranks->views[best].ranking.rank[k];
    const bool a_agrees = a->decision == ranks->decision[k],
               b_agrees = b->decision == ranks->decision[k];
    if (a_agrees != b_agrees)
        return a_agrees;
    return metric != KNOBS_FAILS && a->effect.mid > b->effect.mid; /* failures come last */
}

static void decide(struct knobs_ranks *ranks, int k)
{
    enum snug_knobs_decision decisions[N_KNOBS_METRICS + 1];
    size_t n = 0;
    int best = -1;
    for (int metric = 0; metric < N_KNOBS_METRICS; metric++)
        if (ranks->views[metric].is_ranked)
            decisions[n++] = ranks->views[metric].ranking.rank[k].decision;
    if (!ranks->views[KNOBS_REQUEST].is_ranked) /* bytes alone drop no knob of speed */
        decisions[n++] = SNUG_KNOBS_OPEN;
    ranks->decision[k] = snug_knobs_decide(decisions, n);
    for (int metric = 0; metric < N_KNOBS_METRICS; metric++)
        if (ranks->views[metric].is_ranked && is_better(ranks, k, metric, best))
            best = metric;
    ranks->best_metric[k] = best;
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

/* ---- what to run next ---- */

void knobs_put_scope(const struct cli_args *args, struct snug_buffer *out)
{
    const struct {
        const char *name;
        bool is_given;
        int64_t value;
    } filters[] = {{"-p", args->has_prompt, args->n_prompt},
                   {"-n", args->has_gen, args->n_gen},
                   {"-d", args->has_depth, args->n_depth},
                   {"--parallel", args->n_parallel > 0, args->n_parallel},
                   {"-c", args->n_ctx > 0, args->n_ctx}};
    snug_buffer_puts(out, args->operand);
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if (filters[i].is_given)
            snug_buffer_printf(out, " %s %lld", filters[i].name, (long long)filters[i].value);
    if (args->store)
        snug_buffer_printf(out, " --store %s", args->store);
}

void knobs_put_more(const struct cli_args *args, const struct knobs_ranks *ranks,
                    struct snug_buffer *out)
{
    bool has_cache_type = false;
    for (int k = 0; ranks && k < ranks->data->n_knobs; k++)
        has_cache_type = has_cache_type || (ranks->decision[k] == SNUG_KNOBS_OPEN &&
                                            strncmp(ranks->data->knobs[k].name, "type_", 5) == 0);
    snug_buffer_puts(out, "snug tune ");
    knobs_put_scope(args, out);
    snug_buffer_printf(out, " --trials %d%s", 2 * SNUG_KNOBS_CONFIGS_MIN,
                       has_cache_type ? " --allow-cache-types" : "");
}

static int configs_that_ran(const struct knobs_data *data)
{
    int rows[SNUG_KNOBS_ROWS_MAX], n = 0;
    for (int i = 0; i < data->n_rows; i++)
        if (data->rows[i].n_failed < data->rows[i].n_trials)
            rows[n++] = i;
    return knobs_data_configs(data, rows, n);
}

static snug_status too_little(const struct cli_args *args, const struct knobs_data *data,
                              struct snug_error *err)
{
    struct snug_buffer more = {0};
    const int n_ok = configs_that_ran(data);
    knobs_put_more(args, NULL, &more);
    const char *next = snug_buffer_text(&more);
    if (data->n_knobs == 0)
        snug_fail(err, SNUG_INFEASIBLE,
                  "no knob of %s took two values in its trials (%d): run %s, or snug bench with a "
                  "list of values",
                  args->operand, data->n_trials, next);
    else if (n_ok < SNUG_KNOBS_CONFIGS_MIN)
        snug_fail(err, SNUG_INFEASIBLE,
                  "%d different configs of %s ran (%d did not): at least %d are needed to tell "
                  "knobs apart; run %s",
                  n_ok, args->operand, data->n_configs - n_ok, SNUG_KNOBS_CONFIGS_MIN, next);
    else
        snug_fail(err, SNUG_INFEASIBLE,
                  "%d configs of %s ran, and no metric differs among enough of them to be ranked; "
                  "run %s",
                  n_ok, args->operand, next);
    snug_buffer_clear(&more);
    return SNUG_INFEASIBLE;
}

snug_status knobs_ranks_make(const struct cli_args *args, const struct knobs_data *data,
                             struct knobs_ranks *out, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    bool is_ranked = false;
    *out = (struct knobs_ranks){.data = data};
    for (int metric = 0; metric < N_KNOBS_METRICS && status == SNUG_OK; metric++) {
        cli_live("ranking by %s", knobs_metrics[metric].name);
        status = make_view(args, data, metric, &out->views[metric], err);
        is_ranked = is_ranked || out->views[metric].is_ranked;
    }
    cli_live_end();
    if (status == SNUG_OK && !is_ranked)
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
