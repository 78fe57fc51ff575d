/* Scores of runs, and their report: areas, trials to a goal, optimism, cost, and differences to the
 * first method, paired by seed, with bootstrap intervals. */
#include "perf/tunebench/tunebench.h"

#include <math.h>

#define LEVEL 0.95
#define N_RESAMPLES 2000

double tb_area_trials(const struct tb_run *run, int n)
{
    double sum = 0;
    for (int i = 0; i < n && run->n_trials > 0; i++)
        sum += run->share[i < run->n_trials ? i : run->n_trials - 1];
    return sum / n;
}

double tb_area_seconds(const struct tb_run *run, double horizon_s)
{
    double sum = 0, share = 0, at_s = 0;
    for (int i = 0; i < run->n_trials && run->clock_s[i] < horizon_s; i++) {
        sum += share * (run->clock_s[i] - at_s);
        at_s = run->clock_s[i];
        share = run->share[i];
    }
    return (sum + share * (horizon_s - at_s)) / horizon_s;
}

int tb_trials_to(const struct tb_run *run, double goal, int n)
{
    for (int i = 0; i < run->n_trials; i++)
        if (run->share[i] >= goal)
            return i + 1;
    return n + 1;
}

/* One figure of every run of a method. */
struct figures {
    double area[TB_SEEDS_MAX], area_s[TB_SEEDS_MAX], last[TB_SEEDS_MAX];
    double to_90[TB_SEEDS_MAX], to_95[TB_SEEDS_MAX];
    double failed_frac[TB_SEEDS_MAX], optimism[TB_SEEDS_MAX], cpu_ms[TB_SEEDS_MAX];
    int n_violations;
    size_t heap_bytes;
};

static void gather(const struct tb_result *r, int method, struct figures *f)
{
    f->n_violations = 0;
    f->heap_bytes = 0;
    for (int i = 0; i < r->n_seeds; i++) {
        const struct tb_run *run = &r->runs[method * r->n_seeds + i];
        const size_t n = (size_t)run->n_trials;
        f->area[i] = tb_area_trials(run, r->n_trials);
        f->area_s[i] = tb_area_seconds(run, r->n_trials * r->table->trial_s);
        f->last[i] = n ? run->share[n - 1] : 0;
        f->to_90[i] = tb_trials_to(run, 0.90, r->n_trials);
        f->to_95[i] = tb_trials_to(run, 0.95, r->n_trials);
        f->failed_frac[i] = n ? run->n_failed / (double)n : 0;
        f->optimism[i] = run->optimism;
        f->cpu_ms[i] = n ? snug_stats_median(run->cpu_ms, n) : 0;
        f->n_violations += run->n_violations;
        if (run->heap_bytes > f->heap_bytes)
            f->heap_bytes = run->heap_bytes;
    }
}

/* Mean of the paired differences, and its bootstrap interval over seeds. */
static struct snug_interval mean_difference(const double *a, const double *b, int n)
{
    double gap[TB_SEEDS_MAX], means[N_RESAMPLES];
    struct snug_rng rng;
    snug_rng_init(&rng, 1);
    for (int i = 0; i < n; i++)
        gap[i] = a[i] - b[i];
    for (int k = 0; k < N_RESAMPLES; k++) {
        double sum = 0;
        for (int i = 0; i < n; i++)
            sum += gap[snug_rng_below(&rng, (uint64_t)n)];
        means[k] = sum / n;
    }
    return (struct snug_interval){snug_stats_quantile(means, N_RESAMPLES, (1 - LEVEL) / 2),
                                  snug_stats_mean(gap, (size_t)n),
                                  snug_stats_quantile(means, N_RESAMPLES, (1 + LEVEL) / 2)};
}

static void put_interval(struct snug_json_writer *w, const char *key, struct snug_interval x)
{
    snug_json_begin_array(w, key);
    snug_json_put_number(w, NULL, x.lo);
    snug_json_put_number(w, NULL, x.mid);
    snug_json_put_number(w, NULL, x.hi);
    snug_json_end(w);
}

static void put_method(struct snug_json_writer *w, const struct tb_result *r, int i,
                       const struct figures *f, const struct snug_interval *gap)
{
    const size_t n = (size_t)r->n_seeds;
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "method", r->methods[i]->name);
    snug_json_put_number(w, "area_trials", snug_stats_mean(f->area, n));
    snug_json_put_number(w, "area_seconds", snug_stats_mean(f->area_s, n));
    snug_json_put_number(w, "share_at_end", snug_stats_mean(f->last, n));
    snug_json_put_number(w, "trials_to_90", snug_stats_median(f->to_90, n));
    snug_json_put_number(w, "trials_to_95", snug_stats_median(f->to_95, n));
    snug_json_put_number(w, "failed_frac", snug_stats_mean(f->failed_frac, n));
    snug_json_put_number(w, "optimism", snug_stats_mean(f->optimism, n));
    snug_json_put_int(w, "n_violations", f->n_violations);
    snug_json_put_number(w, "cpu_ms_per_trial", snug_stats_median(f->cpu_ms, n));
    snug_json_put_int(w, "heap_bytes", (int64_t)f->heap_bytes);
    put_interval(w, "first_minus_this_area", gap[0]);
    put_interval(w, "first_minus_this_area_seconds", gap[1]);
    snug_json_put_string(w, "trace_sha256", r->runs[i * r->n_seeds].sha256);
    snug_json_end(w);
}

static void print_goal(FILE *words, const double *to, const struct tb_result *r)
{
    const double median = snug_stats_median(to, (size_t)r->n_seeds);
    if (median > r->n_trials)
        fprintf(words, "  >%-4d", r->n_trials);
    else
        fprintf(words, "  %5.1f", median);
}

static void print_method(FILE *words, const struct tb_result *r, int i, const struct figures *f,
                         const struct snug_interval *gap)
{
    const size_t n = (size_t)r->n_seeds;
    fprintf(words, "  %-18s %.3f  %.3f  %.3f", r->methods[i]->name, snug_stats_mean(f->area, n),
            snug_stats_mean(f->area_s, n), snug_stats_mean(f->last, n));
    print_goal(words, f->to_90, r);
    print_goal(words, f->to_95, r);
    fprintf(words, "  %5.1f %%  %+5.1f %%  %7.2f  %7.1f", 100 * snug_stats_mean(f->failed_frac, n),
            100 * snug_stats_mean(f->optimism, n), snug_stats_median(f->cpu_ms, n),
            (double)f->heap_bytes / 1048576);
    if (i > 0)
        fprintf(words, "  %+.3f [%+.3f, %+.3f]", gap[0].mid, gap[0].lo, gap[0].hi);
    fprintf(words, "%s\n", f->n_violations ? "  declares what breaks the limit" : "");
}

/* What is reachable, in the words and the JSON of its table. */
static void report_greedy(const struct tb_result *r, FILE *words, struct snug_json_writer *w)
{
    struct tb_run greedy = {.n_trials = r->n_trials};
    struct snug_error err;
    double area[2];
    int to_95[2];
    if (r->table->gain) {
        if (tb_table_greedy_of_gains(r->table, r->n_trials, greedy.share, &err) != SNUG_OK)
            return;
        area[0] = tb_area_trials(&greedy, r->n_trials);
        to_95[0] = tb_trials_to(&greedy, 0.95, r->n_trials);
        fprintf(words, "  who knew all would reach an area of %.3f, and 95 %% in %d trials\n",
                area[0], to_95[0]);
        snug_json_put_number(w, "area_trials_greedy", area[0]);
        snug_json_put_int(w, "trials_to_95_greedy", to_95[0]);
        return;
    }
    for (int with_start = 0; with_start < 2; with_start++) {
        if (tb_table_greedy(r->table, with_start, r->n_trials, greedy.share, &err) != SNUG_OK)
            return;
        area[with_start] = tb_area_trials(&greedy, r->n_trials);
        to_95[with_start] = tb_trials_to(&greedy, 0.95, r->n_trials);
    }
    fprintf(words,
            "  who knew all would reach an area of %.3f, and 95 %% in %d trials; after the default "
            "and --fit's choice, %.3f and %d\n",
            area[0], to_95[0], area[1], to_95[1]);
    snug_json_put_number(w, "area_trials_greedy", area[0]);
    snug_json_put_int(w, "trials_to_95_greedy", to_95[0]);
    snug_json_put_number(w, "area_trials_greedy_after_start", area[1]);
    snug_json_put_int(w, "trials_to_95_greedy_after_start", to_95[1]);
}

void tb_report(const struct tb_result *r, FILE *words, struct snug_json_writer *w)
{
    static struct figures first, other;
    const struct tb_table *t = r->table;
    char goal[96] = "";
    if (t->gain)
        snug_goal_text(&t->goal, goal, sizeof goal);
    fprintf(words, "%s%s%s: %zu cells, %zu of them run; %d seeds, %d trials of about %.1f s\n",
            t->table->name, goal[0] ? " for " : "", goal, t->table->n_cells, t->n_feasible,
            r->n_seeds, r->n_trials, t->trial_s);
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "table", t->table->name);
    snug_json_put_string(w, "objective", snug_objective_name(t->objective));
    if (goal[0])
        snug_json_put_string(w, "objectives", goal);
    snug_json_put_int(w, "n_cells", (int64_t)t->table->n_cells);
    snug_json_put_int(w, "n_feasible", (int64_t)t->n_feasible);
    snug_json_put_int(w, "n_seeds", r->n_seeds);
    snug_json_put_int(w, "n_trials", r->n_trials);
    snug_json_put_number(w, "trial_s", t->trial_s);
    report_greedy(r, words, w);
    fprintf(words, "  %-18s %s\n", "method",
            "area   by s   end    to 90  to 95   failed  optimism  CPU ms  heap MiB"
            "  area of the first less this");
    snug_json_begin_array(w, "methods");
    gather(r, 0, &first);
    for (int i = 0; i < r->n_methods; i++) {
        gather(r, i, &other);
        const struct snug_interval gap[2] = {
            mean_difference(first.area, other.area, r->n_seeds),
            mean_difference(first.area_s, other.area_s, r->n_seeds)};
        put_method(w, r, i, &other, gap);
        print_method(words, r, i, &other, gap);
    }
    snug_json_end(w);
    snug_json_end(w);
}
