/* Cost of the "snug" strategy's ask and tell with 100 past trials and 10 knobs, one thread.
 *
 * Usage  bench_ask [N_TRIALS [N_REPEATS [N_PASTS [HISTORY]]]]   (default 100, 60 and 0)
 * CPU time of the whole process. HISTORY is a file to write what was told to, as JSON, so that
 * other tuners can be asked with the same past (perf/ask_cost.py).
 * Ask is repeated on the same state (it is a pure function of what was told); tell is timed over
 * the last quarter of the trials, where it learns from 75 % to all of them. Past trials are random
 * configs of a made-up CPU task, with one failure in ten so that the feasibility term is paid for.
 * Past tasks are others of the kind, with as many random trials as one may have. JSON on stdout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "tests/support/cpu_task.h"

#define N_MAX 500

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void put_times(struct snug_json_writer *w, const char *key, const double *ms, size_t n)
{
    snug_json_begin_object(w, key);
    snug_json_put_int(w, "n", (int64_t)n);
    snug_json_put_number(w, "mean_ms", snug_stats_mean(ms, n));
    snug_json_put_number(w, "median_ms", snug_stats_median(ms, n));
    snug_json_put_number(w, "mad_ms", snug_stats_mad(ms, n));
    snug_json_put_number(w, "p95_ms", snug_stats_quantile(ms, n, 0.95));
    snug_json_end(w);
}

static void put_trial(struct snug_json_writer *w, const struct snug_space *space,
                      const struct snug_observation *o)
{
    snug_json_begin_object(w, NULL);
    snug_json_begin_array(w, "levels");
    for (int i = 0; i < space->n; i++)
        snug_json_put_int(w, NULL, snug_knob_index(&space->knobs[i], o->config.value[i]));
    snug_json_end(w);
    snug_json_put_bool(w, "is_ok", o->outcome == SNUG_TRIAL_OK);
    snug_json_put_number(w, "speed", o->speed);
    snug_json_put_int(w, "bytes", (int64_t)o->bytes);
    snug_json_end(w);
}

/* Every row's number of levels, and every trial told, by levels. */
static snug_status write_history(const char *path, const struct snug_space *space,
                                 const struct snug_observation *told, int n, struct snug_error *err)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_begin_array(&w, "n_levels");
    for (int i = 0; i < space->n; i++)
        snug_json_put_int(&w, NULL, snug_knob_n_levels(&space->knobs[i]));
    snug_json_end(&w);
    snug_json_begin_array(&w, "trials");
    for (int i = 0; i < n; i++)
        put_trial(&w, space, &told[i]);
    snug_json_end(&w);
    snug_json_end(&w);
    char *text = snug_json_finish(&w, false);
    const snug_status status = text ? snug_file_write(path, text, strlen(text), err)
                                    : snug_fail(err, SNUG_NO_MEMORY, "%s", path);
    free(text);
    return status;
}

/* Tell n random trials; the time of each tell goes to out_ms, what was told to out_told. */
static snug_status tell_past(struct snug_strategy *s, struct cpu_task *task,
                             const struct snug_problem *problem, int n, double *out_ms,
                             struct snug_observation *out_told, struct snug_error *err)
{
    struct snug_strategy *source = NULL;
    struct snug_rng rng;
    snug_rng_init(&rng, 5);
    snug_status status = snug_strategy_new("random", problem, &source, err);
    for (int i = 0; status == SNUG_OK && i < n; i++) {
        struct snug_config config;
        status = snug_strategy_ask(source, &config, NULL, err);
        if (status != SNUG_OK)
            break;
        struct snug_observation o = cpu_task_run(task, &config, &rng);
        if (i % 10 == 9)
            o = (struct snug_observation){.config = config, .outcome = SNUG_TRIAL_OOM};
        status = snug_strategy_tell(source, &o, err);
        double start = now_ms();
        if (status == SNUG_OK)
            status = snug_strategy_tell(s, &o, err);
        out_ms[i] = now_ms() - start;
        out_told[i] = o;
    }
    snug_strategy_free(source);
    return status;
}

/* Time n_repeats asks; one before them warms up. */
static snug_status time_asks(struct snug_strategy *s, int n_repeats, double *out_ms,
                             struct snug_error *err)
{
    for (int i = -1; i < n_repeats; i++) {
        struct snug_config config;
        double start = now_ms();
        snug_status status = snug_strategy_ask(s, &config, NULL, err);
        if (status != SNUG_OK && status != SNUG_NOT_FOUND)
            return status;
        if (i >= 0)
            out_ms[i] = now_ms() - start;
    }
    return SNUG_OK;
}

/* Tasks that were tuned before; each gets as many trials as count. */
static void make_pasts(struct cpu_task *tasks, struct snug_observation *trials,
                       struct snug_past *pasts, long n_pasts)
{
    struct snug_rng rng;
    snug_rng_init(&rng, 6);
    for (long j = 0; j < n_pasts; j++) {
        struct snug_observation *own = trials + j * SNUG_PAST_TRIALS_MAX;
        cpu_task_init(&tasks[j], 10 + (uint64_t)j);
        for (int i = 0; i < SNUG_PAST_TRIALS_MAX; i++) {
            struct snug_config config = {{0}};
            for (int r = 0; r < tasks[j].space.n; r++) {
                const struct snug_knob *knob = &tasks[j].space.knobs[r];
                const uint64_t n_levels = (uint64_t)snug_knob_n_levels(knob);
                config.value[r] = snug_knob_level(knob, (int)snug_rng_below(&rng, n_levels));
            }
            own[i] = cpu_task_run(&tasks[j], &config, &rng);
        }
        pasts[j] = (struct snug_past){.space = &tasks[j].space,
                                      .trials = own,
                                      .n_trials = SNUG_PAST_TRIALS_MAX,
                                      .similarity = 0.75};
    }
}

int main(int argc, char **argv)
{
    static struct snug_observation trials[SNUG_PASTS_MAX * SNUG_PAST_TRIALS_MAX];
    static struct cpu_task tasks[SNUG_PASTS_MAX];
    static struct snug_past pasts[SNUG_PASTS_MAX];
    long n = argc > 1 ? strtol(argv[1], NULL, 10) : 100;
    long n_repeats = argc > 2 ? strtol(argv[2], NULL, 10) : 60;
    static struct snug_observation told[N_MAX];
    long n_pasts = argc > 3 ? strtol(argv[3], NULL, 10) : 0;
    if (n < 8 || n > N_MAX || n_repeats < 1 || n_repeats > N_MAX || n_pasts < 0 ||
        n_pasts > SNUG_PASTS_MAX) {
        fprintf(stderr,
                "usage: bench_ask [N_TRIALS 8..%d [N_REPEATS 1..%d [N_PASTS 0..%d [HISTORY]]]]\n",
                N_MAX, N_MAX, SNUG_PASTS_MAX);
        return 2;
    }
    struct cpu_task task;
    struct snug_strategy *s = NULL;
    struct snug_error err = {0};
    double tell_ms[N_MAX], ask_ms[N_MAX];
    cpu_task_init(&task, 1);
    struct snug_problem problem = cpu_task_problem(&task, 1, (int)n + 1);
    make_pasts(tasks, trials, pasts, n_pasts);
    problem.pasts = pasts;
    problem.n_pasts = (int)n_pasts;
    const double start = now_ms();
    snug_status status = snug_strategy_new("snug", &problem, &s, &err);
    const double new_ms = now_ms() - start;
    problem.n_pasts = 0; /* for whoever draws the trials */
    if (status == SNUG_OK)
        status = tell_past(s, &task, &problem, (int)n, tell_ms, told, &err);
    if (status == SNUG_OK && argc > 4)
        status = write_history(argv[4], &task.space, told, (int)n, &err);
    if (status == SNUG_OK)
        status = time_asks(s, (int)n_repeats, ask_ms, &err);
    snug_strategy_free(s);
    if (status != SNUG_OK) {
        fprintf(stderr, "bench_ask: %s\n", err.text);
        return 1;
    }
    struct snug_json_writer w = {0};
    size_t late = (size_t)n * 3 / 4;
    snug_json_begin_object(&w, NULL);
    snug_json_put_int(&w, "n_past_trials", n);
    snug_json_put_int(&w, "n_knobs", task.space.n);
    snug_json_put_int(&w, "n_past_tasks", n_pasts);
    snug_json_put_number(&w, "new_ms", new_ms);
    put_times(&w, "ask", ask_ms, (size_t)n_repeats);
    put_times(&w, "tell", tell_ms + late, (size_t)n - late);
    snug_json_end(&w);
    char *text = snug_json_finish(&w, true);
    if (!text)
        return 1;
    puts(text);
    free(text);
    return 0;
}
