/* A made-up tuning task with the shape of a CPU one: known truth, chosen noise, seeded details.
 *
 * Threads scale as Amdahl says and roll off past the physical cores; prefill likes large micro
 * batches up to a cache limit; flash attention and repacking help or hurt by a seeded amount and
 * depend on each other; memory grows with the micro batch, with repacking (a second copy of some
 * weights) and with the cache type. Speed is one request's: prefill and decode mixed. */
#ifndef SNUG_TEST_CPU_TASK_H
#define SNUG_TEST_CPU_TASK_H

#include <math.h>
#include <string.h>

#include "snug/stats.h"
#include "snug/tune.h"

enum cpu_task_row {
    CPU_THREADS,
    CPU_THREADS_BATCH,
    CPU_BATCH,
    CPU_UBATCH,
    CPU_FLASH,
    CPU_REPACK,
    CPU_MMAP,
    CPU_POLL,
    CPU_TYPE_K,
    CPU_NUMA,
    CPU_N_ROWS
};

struct cpu_task {
    struct snug_space space;
    double n_cores, serial_frac, roll_off;        /* threads */
    double flash_gain, repack_gain, flash_repack; /* in log speed */
    double ubatch_best, poll_gain, type_gain[3], numa_gain[3];
    double prefill_share;
    double noise_sd; /* of log speed, per trial */
};

static inline double cpu_task_uniform(struct snug_rng *rng, double lo, double hi)
{
    return lo + (hi - lo) * snug_rng_double(rng);
}

static inline void cpu_task_init(struct cpu_task *task, uint64_t seed)
{
    static const struct snug_space space = {
        .n = CPU_N_ROWS,
        .knobs = {
            {"n_threads", SNUG_KNOB_INT, SNUG_KNOB_CONTEXT, 1, 8, 1, 4, .is_tuned = true},
            {"n_threads_batch", SNUG_KNOB_INT, SNUG_KNOB_CONTEXT, 1, 8, 1, 4, .is_tuned = true},
            {"n_batch", SNUG_KNOB_LOG2, SNUG_KNOB_CONTEXT, 64, 2048, 0, 2048, .is_tuned = true},
            {"n_ubatch", SNUG_KNOB_LOG2, SNUG_KNOB_CONTEXT, 32, 1024, 0, 512, .is_tuned = true},
            {"flash_attn", SNUG_KNOB_BOOL, SNUG_KNOB_CONTEXT, 0, 1, 1, 0, .is_tuned = true},
            {"repack", SNUG_KNOB_BOOL, SNUG_KNOB_LOAD, 0, 1, 1, 0, .is_tuned = true},
            {"mmap", SNUG_KNOB_BOOL, SNUG_KNOB_LOAD, 0, 1, 1, 1, .is_tuned = true},
            {"poll", SNUG_KNOB_INT, SNUG_KNOB_CONTEXT, 0, 100, 50, 50, .is_tuned = true},
            {"type_k", SNUG_KNOB_ENUM, SNUG_KNOB_CONTEXT, 0, 2, 1, 0,
             .values = {"f16", "q8_0", "q4_0"}, .n_values = 3, .is_tuned = true},
            {"numa", SNUG_KNOB_ENUM, SNUG_KNOB_CONTEXT, 0, 2, 1, 0,
             .values = {"off", "distribute", "isolate"}, .n_values = 3, .is_tuned = true},
        }};
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    *task = (struct cpu_task){.space = space, .noise_sd = 0.03};
    task->n_cores = 2 + (double)snug_rng_below(&rng, 5);
    task->serial_frac = cpu_task_uniform(&rng, 0.05, 0.3);
    task->roll_off = cpu_task_uniform(&rng, 0.05, 0.4);
    task->flash_gain = cpu_task_uniform(&rng, -0.2, 0.3);
    task->repack_gain = cpu_task_uniform(&rng, -0.1, 0.6);
    task->flash_repack = cpu_task_uniform(&rng, -0.15, 0.15);
    task->ubatch_best = cpu_task_uniform(&rng, 6, 9.5);
    task->poll_gain = cpu_task_uniform(&rng, 0, 0.1);
    for (int i = 1; i < 3; i++) {
        task->type_gain[i] = cpu_task_uniform(&rng, -0.2, 0.1);
        task->numa_gain[i] = cpu_task_uniform(&rng, -0.05, 0.02);
    }
    task->prefill_share = cpu_task_uniform(&rng, 0.2, 0.8);
}

/* Time of a unit of work on n threads. */
static inline double cpu_task_time(const struct cpu_task *task, double n)
{
    double over = fmax(n - task->n_cores, 0);
    double time = task->serial_frac + (1 - task->serial_frac) / fmin(n, task->n_cores);
    return time * (1 + task->roll_off * over);
}

/* The true speed of a config. */
static inline double cpu_task_speed(const struct cpu_task *task, const struct snug_config *config)
{
    const int64_t *v = config->value;
    double ubatch = log2((double)(v[CPU_UBATCH] < v[CPU_BATCH] ? v[CPU_UBATCH] : v[CPU_BATCH]));
    double miss = ubatch - task->ubatch_best;
    double prefill = cpu_task_time(task, (double)v[CPU_THREADS_BATCH]) * (1 + 0.08 * miss * miss);
    double decode = cpu_task_time(task, (double)v[CPU_THREADS]);
    double gain = task->flash_gain * (double)v[CPU_FLASH] +
                  task->repack_gain * (double)v[CPU_REPACK] +
                  task->flash_repack * (double)(v[CPU_FLASH] * v[CPU_REPACK]) +
                  task->type_gain[v[CPU_TYPE_K]] * (v[CPU_FLASH] ? 1 : 2) +
                  task->numa_gain[v[CPU_NUMA]] + task->poll_gain * (double)v[CPU_POLL] / 100;
    double time = task->prefill_share * prefill + (1 - task->prefill_share) * decode;
    return 20 * exp(gain) / time;
}

#define CPU_TASK_MIB (UINT64_C(1) << 20)

/* snug_bytes_fn; data is the task. */
static inline bool cpu_task_bytes(const struct snug_config *config, uint64_t *out_bytes, void *data)
{
    (void)data;
    static const uint64_t CACHE_MIB[3] = {112, 60, 32};
    const int64_t *v = config->value;
    uint64_t ubatch = (uint64_t)v[CPU_UBATCH];
    uint64_t mib = 360 + CACHE_MIB[v[CPU_TYPE_K]] + (v[CPU_REPACK] ? 150 : 0) +
                   ubatch * (v[CPU_FLASH] ? 300 : 420) / 1024 + (v[CPU_MMAP] ? 0 : 20);
    *out_bytes = mib * CPU_TASK_MIB;
    return true;
}

/* Measure: truth times noise. */
static inline struct snug_observation
cpu_task_run(const struct cpu_task *task, const struct snug_config *config, struct snug_rng *rng)
{
    struct snug_observation o = {.config = *config, .outcome = SNUG_TRIAL_OK};
    o.speed = cpu_task_speed(task, config) * exp(task->noise_sd * snug_rng_normal(rng));
    o.log_speed_sd = 0.3 * task->noise_sd; /* blocks of one trial spread less than trials do */
    (void)cpu_task_bytes(config, &o.bytes, NULL);
    return o;
}

/* The problem a tuner would pose: the default is the start, bounds around it. */
static inline struct snug_problem cpu_task_problem(struct cpu_task *task, uint64_t seed,
                                                   int n_trials)
{
    struct snug_problem p = {.space = &task->space,
                             .bytes = cpu_task_bytes,
                             .bytes_data = task,
                             .seed = seed,
                             .n_trials = n_trials};
    snug_space_default(&task->space, &p.base);
    p.bounds.speed_ref = cpu_task_speed(task, &p.base) / 4;
    p.bounds.bytes_ref = 1200 * CPU_TASK_MIB;
    return p;
}

#define CPU_TASK_TRIALS_MAX 128

/* Tell the default, then ask and tell until n_trials or NOT_FOUND. Returns the hypervolume of the
 * true speeds of the front that was found; a negative number when something failed. */
static inline double cpu_task_tune(struct cpu_task *task, const char *strategy, uint64_t seed,
                                   int n_trials, int *out_n_asked)
{
    struct snug_problem problem = cpu_task_problem(task, seed, n_trials);
    struct snug_point seen[CPU_TASK_TRIALS_MAX], truth[CPU_TASK_TRIALS_MAX];
    struct snug_strategy *s = NULL;
    struct snug_config config = problem.base;
    struct snug_rng rng;
    double area = -1;
    int n = 0;
    snug_rng_init(&rng, seed + 77);
    if (snug_strategy_new(strategy, &problem, &s, NULL) != SNUG_OK)
        return -1;
    while (n < n_trials && n < CPU_TASK_TRIALS_MAX) {
        struct snug_observation o = cpu_task_run(task, &config, &rng);
        seen[n] = (struct snug_point){o.speed, o.bytes};
        truth[n++] = (struct snug_point){cpu_task_speed(task, &config), o.bytes};
        if (snug_strategy_tell(s, &o, NULL) != SNUG_OK)
            goto done;
        snug_status status = snug_strategy_ask(s, &config, NULL, NULL);
        if (status == SNUG_NOT_FOUND)
            break;
        if (status != SNUG_OK)
            goto done;
    }
    size_t index[CPU_TASK_TRIALS_MAX], n_front = snug_front_compute(seen, (size_t)n, index);
    struct snug_point found[CPU_TASK_TRIALS_MAX];
    for (size_t k = 0; k < n_front; k++)
        found[k] = truth[index[k]];
    area = snug_front_hypervolume(found, n_front, &problem.bounds);
    if (out_n_asked)
        *out_n_asked = n;
done:
    snug_strategy_free(s);
    return area;
}

/* Of 12 tasks, a seed each: mean true hypervolume after each of 12 trials of "snug", which holds
 * what it has once it converged. `pose` may change the problem before. NAN when something failed.
 */
static inline double cpu_task_mean_area(void (*pose)(struct snug_problem *problem,
                                                     struct cpu_task *task, uint64_t seed))
{
    enum { N = 12 };
    snug_status status = SNUG_OK;
    double sum = 0;
    for (uint64_t seed = 0; seed < N && (status == SNUG_OK || status == SNUG_NOT_FOUND); seed++) {
        struct cpu_task task;
        struct snug_strategy *s = NULL;
        struct snug_rng rng;
        struct snug_point truth[N];
        cpu_task_init(&task, seed + 20);
        struct snug_problem p = cpu_task_problem(&task, seed, 16);
        if (pose)
            pose(&p, &task, seed + 20);
        struct snug_config config = p.base;
        snug_rng_init(&rng, seed);
        status = snug_strategy_new("snug", &p, &s, NULL);
        for (size_t i = 0; i < N; i++) {
            const struct snug_observation o = cpu_task_run(&task, &config, &rng);
            truth[i] = (struct snug_point){cpu_task_speed(&task, &config), o.bytes};
            sum += snug_front_hypervolume(truth, i + 1, &p.bounds) / (N * N);
            if (status == SNUG_OK)
                status = snug_strategy_tell(s, &o, NULL);
            if (status == SNUG_OK)
                status = snug_strategy_ask(s, &config, NULL, NULL);
        }
        snug_strategy_free(s);
    }
    return status == SNUG_OK || status == SNUG_NOT_FOUND ? sum : (double)NAN;
}

#endif
