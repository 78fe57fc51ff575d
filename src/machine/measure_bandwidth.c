/* Memory read bandwidth per number of threads: a team of threads sums disjoint slices of one buffer
 * that is far larger than the caches. The sum is kept, so that no read can be left out. */
#include "machine/measure.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BUFFER_MAX_BYTES (1ull << 30)

/* 64 bytes as 8 counters, summed lane by lane: vector code at every optimisation level. */
typedef uint64_t lanes __attribute__((vector_size(64)));
#define LANES_PER_STEP 4 /* independent sums, so that additions do not wait for one another */

struct team {
    const lanes *data;
    size_t n_lanes; /* multiple of LANES_PER_STEP */
    int n_threads;
    pthread_mutex_t gate; /* held until all threads exist */
    pthread_barrier_t start, end;
    bool is_over;
    uint64_t sum; /* of all passes */
};

struct member {
    struct team *team;
    pthread_t thread;
    int index;
    uint64_t sum;
};

uint64_t snug__sum_bytes(const void *data, size_t n_bytes)
{
    const lanes *p = data, *end = p + n_bytes / sizeof(lanes);
    lanes sums[LANES_PER_STEP] = {0};
    uint64_t total = 0;
    for (; p < end; p += LANES_PER_STEP)
        for (int k = 0; k < LANES_PER_STEP; k++)
            sums[k] += p[k];
    for (int k = 0; k < LANES_PER_STEP; k++)
        for (int lane = 0; lane < 8; lane++)
            total += sums[k][lane];
    return total;
}

static uint64_t sum_slice(const struct team *team, int index)
{
    size_t n_steps = team->n_lanes / LANES_PER_STEP, n = (size_t)team->n_threads, i = (size_t)index;
    size_t from = n_steps * i / n * LANES_PER_STEP;
    size_t to = n_steps * (i + 1) / n * LANES_PER_STEP;
    return snug__sum_bytes(team->data + from, (to - from) * sizeof(lanes));
}

static void *run_member(void *data)
{
    struct member *member = data;
    struct team *team = member->team;
    pthread_mutex_lock(&team->gate);
    pthread_mutex_unlock(&team->gate);
    bool is_started = !team->is_over;
    while (is_started) {
        pthread_barrier_wait(&team->start);
        if (team->is_over)
            break;
        member->sum += sum_slice(team, member->index);
        pthread_barrier_wait(&team->end);
    }
    return NULL;
}

/* The caller is member 0. */
static bool read_all_once(void *data)
{
    struct member *member = data;
    pthread_barrier_wait(&member->team->start);
    member->sum += sum_slice(member->team, 0);
    pthread_barrier_wait(&member->team->end);
    return true;
}

/* Start members 1 .. n-1; returns how many of the n there are, member 0 included. */
static int start_members(struct team *team, struct member *members)
{
    int n_made = 1;
    team->is_over = false;
    members[0].team = team;
    pthread_mutex_lock(&team->gate);
    for (; n_made < team->n_threads; n_made++) {
        members[n_made] = (struct member){.team = team, .index = n_made};
        if (pthread_create(&members[n_made].thread, NULL, run_member, &members[n_made]) != 0)
            break;
    }
    team->is_over = n_made < team->n_threads; /* then nobody goes to a barrier */
    pthread_mutex_unlock(&team->gate);
    return n_made;
}

/* Time one size of team. Returns the number of samples, 0 when threads could not be had. */
static int time_team(struct team *team, const struct snug__timing *timing, double *out_s)
{
    struct member *members = calloc((size_t)team->n_threads, sizeof *members);
    int n = 0;
    if (!members)
        return 0;
    pthread_mutex_init(&team->gate, NULL);
    pthread_barrier_init(&team->start, NULL, (unsigned)team->n_threads);
    pthread_barrier_init(&team->end, NULL, (unsigned)team->n_threads);
    int n_made = start_members(team, members);
    if (n_made == team->n_threads) {
        n = snug__time_passes(timing, read_all_once, &members[0], out_s);
        team->is_over = true; /* all others wait at start and see it behind the barrier */
        pthread_barrier_wait(&team->start);
    }
    for (int i = 1; i < n_made; i++)
        pthread_join(members[i].thread, NULL);
    for (int i = 0; i < n_made; i++)
        team->sum += members[i].sum;
    pthread_barrier_destroy(&team->start);
    pthread_barrier_destroy(&team->end);
    pthread_mutex_destroy(&team->gate);
    free(members);
    return n;
}

/* Every number up to 16 threads; beyond, 16 numbers in a geometric row from 1 to n. */
static int thread_counts(int n, int out[SNUG_PROBE_THREADS_MAX])
{
    int n_out = 0, last = SNUG_PROBE_THREADS_MAX - 1;
    for (int i = 0; i <= last; i++) {
        double step = n <= last + 1 ? i + 1 : pow(n, (double)i / last);
        int count = (int)lround(step);
        if (count <= n && (n_out == 0 || count > out[n_out - 1]))
            out[n_out++] = count;
    }
    return n_out;
}

snug_status snug__measure_bandwidth(const struct snug_machine *machine, double budget_s,
                                    struct snug_machine_speed *speed, struct snug_error *err)
{
    int counts[SNUG_PROBE_THREADS_MAX];
    int n = thread_counts(machine->n_threads_usable, counts);
    struct snug__timing timing = {.n_best = 3, .n_min = 5, .budget_s = budget_s / n};
    size_t size = (size_t)snug__cold_bytes(machine, BUFFER_MAX_BYTES);
    if (size == 0)
        return snug_fail(err, SNUG_INFEASIBLE,
                         "memory bandwidth: less than 128 MiB of memory is available");
    void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return snug_fail(err, SNUG_NO_MEMORY, "memory bandwidth: a buffer of %zu bytes", size);
    (void)madvise(data, size, MADV_HUGEPAGE); /* else it measures page walks; may be refused */
    memset(data, 1, size);

    struct team team = {.data = data, .n_lanes = size / sizeof(lanes)};
    speed->n_bandwidth = 0;
    for (int i = 0; i < n; i++) {
        double seconds[SNUG__SAMPLES_MAX];
        team.n_threads = counts[i];
        int n_samples = time_team(&team, &timing, seconds);
        if (n_samples == 0)
            continue;
        struct snug_speed_point *point = &speed->bandwidth[speed->n_bandwidth++];
        point->n_threads = counts[i];
        point->bandwidth_bps = snug__rate((double)size, seconds, n_samples);
    }
    munmap(data, size);
    if (speed->n_bandwidth == 0)
        return snug_fail(err, SNUG_NO_MEMORY, "memory bandwidth: no thread could be started");
    snug_log(SNUG_LOG_DEBUG, "event=bandwidth bytes=%zu points=%d sum=%llu", size,
             speed->n_bandwidth, (unsigned long long)team.sum);
    return SNUG_OK;
}
