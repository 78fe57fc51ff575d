/* The load of one process: busy threads, threads of memory traffic, one of disk traffic, and memory
 * that is held.
 *
 * Memory is one mapping of the most that will be asked, of which a prefix is touched. It grows by
 * steps while more than the reserve stays available, and its end is given back as soon as less is.
 * Traffic and disk need CPU too: what they use is taken off the busy threads, so that `cpu` is what
 * the whole load computes. Threads, not processes: they share one mapping and end together. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/process.h"
#include "machine/load_internal.h"

#define STEP_BYTES (16ull << 20) /* of growth between two looks at the clock */
#define GROW_S 0.03              /* spent growing per tick, the rest is for looking after it */
#define SMOOTH 0.3               /* weight of the newest tick in what other threads use */
/* One thread reads at least this much on machines of the last ten years, so that fewer threads than
 * CPUs do where little traffic is asked. */
#define STREAM_BPS_PER_THREAD 4e9
#define STACK_BYTES (256u << 10)

struct snug__load_gen {
    struct snug__load_gen_options options;
    atomic_bool stop;
    pthread_t *threads;
    int n_threads;
    struct snug__load_spin *spins;
    int n_spins;
    struct snug__load_stream *streams;
    int n_streams;
    struct snug__load_disk disk;
    bool has_disk;
    char *memory, *stream_data;
    size_t n_memory, n_stream; /* bytes mapped */
    size_t target, held;       /* bytes of the prefix: asked, touched */
    size_t held_peak, given_back;
    bool is_short; /* something was given back, and the room has not come back */
    double held_byte_s, t_held_s;
    double cpu_s, spin_cpu_s, t_s; /* at the last tick */
    double other_cpus;             /* busy in threads other than the spinning ones, smoothed */
};

static double process_cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double spin_cpu_s(const struct snug__load_gen *gen)
{
    double s = 0;
    for (int i = 0; i < gen->n_spins; i++)
        s += atomic_load(&gen->spins[i].cpu_s);
    return s;
}

/* ---- memory ---- */

static void note_held(struct snug__load_gen *gen)
{
    const double now_s = snug_clock_s();
    gen->held_byte_s += (double)gen->held * (now_s - gen->t_held_s);
    gen->t_held_s = now_s;
}

/* Each page gets another number: equal pages could be merged (KSM), zero pages shared. */
static void touch(struct snug__load_gen *gen, size_t to)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t at = gen->held; at < to; at += page) {
        const uint64_t number = at * 0x9e3779b97f4a7c15u + 1;
        memcpy(gen->memory + at, &number, sizeof number);
    }
    gen->held = to;
    gen->held_peak = to > gen->held_peak ? to : gen->held_peak;
}

static void shrink(struct snug__load_gen *gen, size_t to)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    to = (to + page - 1) / page * page;
    if (to >= gen->held)
        return;
    (void)madvise(gen->memory + to, gen->n_memory - to, MADV_DONTNEED);
    gen->held = to;
}

/* After something was given back it grows again only when a step more than the reserve is there:
 * else the two would alternate. */
static void look_after_memory(struct snug__load_gen *gen, double available_bytes)
{
    const double reserve = (double)gen->options.reserve_bytes;
    double spare = available_bytes - reserve;
    note_held(gen);
    if (gen->held > gen->target)
        shrink(gen, gen->target);
    if (spare < 0 && gen->held > 0) {
        const size_t before = gen->held;
        const double wanted = -spare + (double)STEP_BYTES;
        shrink(gen, wanted < (double)gen->held ? gen->held - (size_t)wanted : 0);
        gen->given_back += before - gen->held;
        gen->is_short = true;
    }
    if (spare < (gen->is_short ? 2.0 : 1.0) * (double)STEP_BYTES)
        return;
    gen->is_short = false;
    const double end_s = snug_clock_s() + GROW_S;
    while (gen->held < gen->target && spare >= (double)STEP_BYTES && snug_clock_s() < end_s) {
        const size_t left = gen->target - gen->held;
        const size_t step = left < STEP_BYTES ? left : STEP_BYTES;
        touch(gen, gen->held + step);
        spare -= (double)step;
    }
}

bool snug__load_gen_is_filling(const struct snug__load_gen *gen)
{
    return gen->held < gen->target && !gen->is_short;
}

/* ---- shares ---- */

static void share_out(struct snug__load_gen *gen, const struct snug_load_level *level)
{
    const double now_s = snug_clock_s(), cpu_s = process_cpu_s(), spin_s = spin_cpu_s(gen);
    const double dt = now_s - gen->t_s;
    if (dt > 0) {
        const double others = (cpu_s - gen->cpu_s - (spin_s - gen->spin_cpu_s)) / dt;
        /* Below 0 now and then, as busy threads tell their time by turns: cut only once it is
         * smooth, else that would be taken for work. */
        gen->other_cpus += SMOOTH * (others - gen->other_cpus);
    }
    gen->t_s = now_s;
    gen->cpu_s = cpu_s;
    gen->spin_cpu_s = spin_s;
    double left = fmax(level->cpu - fmax(gen->other_cpus, 0), 0);
    for (int i = 0; i < gen->n_spins; i++) {
        const double share = fmin(left, 1);
        atomic_store(&gen->spins[i].share, share);
        left -= share;
    }
    for (int i = 0; i < gen->n_streams; i++)
        atomic_store(&gen->streams[i].bps, level->bandwidth_bps / gen->n_streams);
    atomic_store(&gen->disk.share, level->disk_frac);
}

void snug__load_gen_tick(struct snug__load_gen *gen, const struct snug_load_level *level,
                         double available_bytes)
{
    gen->target = level->memory_bytes < gen->n_memory ? level->memory_bytes : gen->n_memory;
    share_out(gen, level);
    look_after_memory(gen, available_bytes);
}

void snug__load_gen_counters(const struct snug__load_gen *gen, struct snug__load_counters *out)
{
    struct snug__load_counters c = {
        .cpu_s = process_cpu_s(),
        .held_byte_s = gen->held_byte_s + (double)gen->held * (snug_clock_s() - gen->t_held_s),
        .held_bytes = gen->held,
        .held_bytes_peak = gen->held_peak,
        .given_back_bytes = gen->given_back,
        .is_settled = !snug__load_gen_is_filling(gen),
    };
    for (int i = 0; i < gen->n_streams; i++)
        c.streamed_bytes += atomic_load(&gen->streams[i].bytes);
    if (gen->has_disk) {
        c.disk_bytes = atomic_load(&gen->disk.bytes);
        c.disk_s = atomic_load(&gen->disk.busy_s);
        c.disk_errno = atomic_load(&gen->disk.error);
    }
    *out = c;
}

/* ---- start and end ---- */

/* Room for n bytes, none of it taken yet; NULL for none. */
static snug_status map(size_t n, char **out, struct snug_error *err)
{
    if (n == 0)
        return SNUG_OK;
    void *data =
        mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED)
        return snug_fail(err, SNUG_NO_MEMORY,
                         "a load of %zu bytes of memory: the system does not promise so much "
                         "(limits of this shell, or vm.overcommit_memory)",
                         n);
    (void)madvise(data, n, MADV_HUGEPAGE); /* else it is filled slowly and walks pages */
    *out = data;
    return SNUG_OK;
}

static snug_status make_parts(struct snug__load_gen *gen, struct snug_error *err)
{
    const struct snug__load_gen_options *o = &gen->options;
    const double streams = ceil(o->peak.bandwidth_bps / STREAM_BPS_PER_THREAD);
    gen->n_spins = (int)ceil(o->peak.cpu);
    gen->n_streams = streams < o->n_threads ? (int)streams : o->n_threads;
    gen->n_stream = gen->n_streams > 0 ? o->stream_bytes : 0;
    gen->n_memory = o->peak.memory_bytes;
    const size_t n = (size_t)gen->n_spins + (size_t)gen->n_streams + 1;
    gen->spins = calloc((size_t)gen->n_spins + 1, sizeof *gen->spins);
    gen->streams = calloc((size_t)gen->n_streams + 1, sizeof *gen->streams);
    gen->threads = calloc(n, sizeof *gen->threads);
    if (!gen->spins || !gen->streams || !gen->threads)
        return snug_fail(err, SNUG_NO_MEMORY, "a load of %zu threads", n);
    snug_status status = map(gen->n_memory, &gen->memory, err);
    if (status == SNUG_OK)
        status = map(gen->n_stream, &gen->stream_data, err);
    if (status == SNUG_OK && o->peak.disk_frac > 0)
        status = snug__load_disk_open(&gen->disk, o->folder, err);
    gen->has_disk = status == SNUG_OK && o->peak.disk_frac > 0;
    return status;
}

static snug_status start_thread(struct snug__load_gen *gen, void *(*run)(void *), void *data,
                                struct snug_error *err)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    const int code = pthread_create(&gen->threads[gen->n_threads], &attributes, run, data);
    pthread_attr_destroy(&attributes);
    if (code != 0)
        return snug_fail(err, SNUG_NO_MEMORY, "thread %d of the load: %s", gen->n_threads + 1,
                         strerror(code));
    gen->n_threads++;
    return SNUG_OK;
}

static snug_status start_threads(struct snug__load_gen *gen, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    for (int i = 0; i < gen->n_spins && status == SNUG_OK; i++) {
        gen->spins[i].stop = &gen->stop;
        status = start_thread(gen, snug__load_spin_run, &gen->spins[i], err);
    }
    for (int i = 0; i < gen->n_streams && status == SNUG_OK; i++) {
        struct snug__load_stream *stream = &gen->streams[i];
        stream->stop = &gen->stop;
        stream->n_bytes = gen->n_stream / (size_t)gen->n_streams / 4096 * 4096;
        stream->data = gen->stream_data + (size_t)i * stream->n_bytes;
        status = start_thread(gen, snug__load_stream_run, stream, err);
    }
    gen->disk.stop = &gen->stop;
    if (status == SNUG_OK && gen->has_disk)
        status = start_thread(gen, snug__load_disk_run, &gen->disk, err);
    return status;
}

snug_status snug__load_gen_start(const struct snug__load_gen_options *options,
                                 struct snug__load_gen **out, struct snug_error *err)
{
    struct snug__load_gen *gen = calloc(1, sizeof *gen);
    if (!gen)
        return snug_fail(err, SNUG_NO_MEMORY, "a load");
    gen->options = *options;
    gen->disk.fd = -1;
    snug_status status = make_parts(gen, err);
    if (status == SNUG_OK && gen->stream_data) {
        memset(gen->stream_data, 1, gen->n_stream);
    }
    if (status == SNUG_OK)
        status = start_threads(gen, err);
    gen->t_held_s = gen->t_s = snug_clock_s();
    gen->cpu_s = process_cpu_s();
    if (status == SNUG_OK)
        *out = gen;
    else
        snug__load_gen_stop(gen);
    return status;
}

void snug__load_gen_stop(struct snug__load_gen *gen)
{
    if (!gen)
        return;
    atomic_store(&gen->stop, true);
    for (int i = 0; i < gen->n_threads; i++)
        pthread_join(gen->threads[i], NULL);
    if (gen->memory)
        munmap(gen->memory, gen->n_memory);
    if (gen->stream_data)
        munmap(gen->stream_data, gen->n_stream);
    if (gen->has_disk)
        snug__load_disk_close(&gen->disk);
    free(gen->threads);
    free(gen->spins);
    free(gen->streams);
    free(gen);
}
