/* snug/machine.h: what the machine is, what is free now, how fast it is. */
#ifndef SNUG_MACHINE_H
#define SNUG_MACHINE_H

#include "snug/base.h"
#include "snug/stats.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SNUG_NAME_MAX 128
#define SNUG_SOURCE_MAX 96
#define SNUG_CACHES_MAX 8
#define SNUG_CORE_KINDS_MAX 4
#define SNUG_DEVICES_MAX 16
#define SNUG_CPU_MASK_MAX 132 /* hex digits of 512 CPUs, "0x" and the end */
#define SNUG_PROBE_THREADS_MAX 16
#define SNUG_PROBE_TYPES_MAX 16

/* A number with where it came from. is_known false: value is meaningless and source says why. */
struct snug_fact {
    bool is_known;
    double value;
    char source[SNUG_SOURCE_MAX]; /* "/sys/fs/cgroup/cpu.max", or the reason it is unknown */
};

struct snug_cache {
    int level;           /* 1, 2, 3 */
    uint64_t size_bytes; /* of one instance */
    int n_instances;
};

struct snug_core_kind {
    char name[32]; /* "performance", "efficiency", "" for the only kind */
    int n_cores;
    int n_threads;
    double max_hz; /* 0: unknown */
};

struct snug_device {
    char name[SNUG_NAME_MAX]; /* ggml's: "CPU", "CUDA0" */
    char description[SNUG_NAME_MAX];
    char kind[16]; /* "cpu", "gpu", "igpu", "accel" */
    uint64_t bytes_free, bytes_total;
};

struct snug_machine {
    /* lasting: what the fingerprint is made of */
    char cpu_name[SNUG_NAME_MAX];
    char arch[32];          /* "x86_64" */
    char os[SNUG_NAME_MAX]; /* "Debian GNU/Linux 12 (bookworm), Linux 6.18" */
    char isa[256];          /* "avx2 avx512f ..." only what matters to ggml */
    int n_cores, n_threads; /* whole machine */
    int n_numa;
    struct snug_cache caches[SNUG_CACHES_MAX];
    int n_caches;
    struct snug_core_kind kinds[SNUG_CORE_KINDS_MAX];
    int n_kinds;
    uint64_t ram_bytes;   /* of the machine */
    char fingerprint[65]; /* SHA-256 of the lasting facts but `os`, and of the limits */
    /* limits on this process */
    int n_cpus_allowed;          /* affinity and cpuset */
    struct snug_fact quota_cpus; /* cgroup cpu quota, in CPUs: 1.5 */
    int n_threads_usable; /* what may really run at once: min of all, quota rounded up, >= 1 */
    int n_cores_usable;   /* the same without SMT siblings */
    /* Hex masks of usable CPUs, as llama.cpp's --cpu-mask; "" when it would be all of them. */
    char mask_cores[SNUG_CPU_MASK_MAX];       /* one CPU of each core */
    char mask_performance[SNUG_CPU_MASK_MAX]; /* performance cores only */
    struct snug_fact memory_limit_bytes;      /* tightest cgroup limit */
    /* now */
    struct snug_fact available_bytes; /* MemAvailable, and what the cgroup limit leaves */
    struct snug_fact swap_total_bytes, swap_free_bytes;
    struct snug_fact load_average_1m;
    struct snug_fact pressure_cpu_frac, pressure_memory_frac, pressure_io_frac; /* PSI some avg10 */
    char governor[32]; /* "" when unreadable */
    char governor_source[SNUG_SOURCE_MAX];
    struct snug_fact clock_hz, clock_max_hz;
    struct snug_fact throttled_s; /* cumulative cgroup throttled time of this process's group */
    /* ggml's devices; filled by snug_machine_devices in a worker, empty on a replayed machine */
    struct snug_device devices[SNUG_DEVICES_MAX];
    int n_devices;
};

/* Read the machine below root ("" for the real one; tests/machines/NAME replays a recorded one).
 * Cost: some ms. A missing source makes a fact unknown; it never fails for that. */
snug_status snug_machine_probe(const char *root, struct snug_machine *out,
                               struct snug_error *err) SNUG_CHECKED;

/* Load ggml's backends once per process; later calls do nothing. Folder: $SNUG_BACKENDS, else
 * PREFIX/lib/snug/ggml where libggml lies in PREFIX/lib/snug, else the one fixed at build time,
 * else ggml's own. Turns ggml's log into debug lines of snug_log. Call it in a worker, never before
 * a fork. */
snug_status snug_machine_load_backends(struct snug_error *err) SNUG_CHECKED;
/* List the loaded backends' devices with their free memory into machine->devices. */
void snug_machine_devices(struct snug_machine *machine);

/* Counters that conditions are judged by; differences of two of them. */
struct snug_machine_load {
    double busy_s, total_s; /* CPU seconds of the whole machine, all CPUs (/proc/stat) */
    double throttled_s;     /* cgroup throttled time; 0 when unknown */
    double load_average;
    double wall_s; /* monotonic */
};
void snug_machine_load_read(const char *root, struct snug_machine_load *out);

/* ---- measured speeds ---- */

struct snug_speed_point {
    int n_threads;
    struct snug_interval bandwidth_bps; /* read bandwidth */
};

struct snug_mul_mat_speed {
    char type[16];                   /* ggml's type name: "q4_0" */
    char buffer[32];                 /* ggml's buffer type the weights lay in: "CPU_REPACK" */
    char prefill_device[32];         /* "CPU", or what large batches go to instead: "BLAS" */
    struct snug_interval decode_bps; /* weight bytes per second at batch 1 */
    struct snug_interval decode_flops;
    struct snug_interval prefill_flops; /* at batch 512 */
};

struct snug_machine_speed {
    char fingerprint[65];
    char build[64]; /* "ggml 0.27.0" */
    struct snug_speed_point bandwidth[SNUG_PROBE_THREADS_MAX];
    int n_bandwidth;
    struct snug_mul_mat_speed mul_mat[SNUG_PROBE_TYPES_MAX];
    int n_mul_mat;
    int n_threads;             /* threads the mul_mat figures were taken with */
    struct snug_fact disk_bps; /* only on request */
    double wall_s;             /* what measuring cost */
};

/* Measure in this process (call it in a worker: ggml computes here). Budget about 15 s. */
snug_status snug_machine_measure(const struct snug_machine *machine, struct snug_machine_speed *out,
                                 struct snug_error *err) SNUG_CHECKED;
/* Sequential read speed of a file, page cache dropped for it first (posix_fadvise). */
snug_status snug_machine_measure_disk(const char *path, struct snug_fact *out,
                                      struct snug_error *err) SNUG_CHECKED;
/* The cached speeds of this fingerprint and build in cache folder, or SNUG_NOT_FOUND. */
snug_status snug_machine_speed_load(const char *folder, const char *fingerprint,
                                    struct snug_machine_speed *out,
                                    struct snug_error *err) SNUG_CHECKED;
snug_status snug_machine_speed_save(const char *folder, const struct snug_machine_speed *speed,
                                    struct snug_error *err) SNUG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
