/* Private to the room: what a load is made of. The generator (threads and memory) knows nothing of
 * processes or traces; the worker drives it; the parent talks to the worker. */
#ifndef SNUG_MACHINE_LOAD_INTERNAL_H
#define SNUG_MACHINE_LOAD_INTERNAL_H

#include <stdatomic.h>

#include "base/buffer.h"
#include "machine/load_worker.h"
#include "snug/load.h"

#define SNUG__LOAD_TICK_S 0.05   /* how often memory and shares are looked at */
#define SNUG__LOAD_REPORT_S 0.25 /* how often the worker reports */

/* ---- load_trace.c ---- */

/* The trace as CSV that parses to the same steps. */
void snug__load_trace_print(const struct snug_load_trace *trace, struct snug_buffer *out);
/* Bytes that traffic streams over, so that caches hold little of them; 0: too little memory. */
uint64_t snug__load_stream_bytes(const struct snug_machine *machine);
/* Refuse what no load may be (SNUG_BAD_INPUT with the cap of load.h), and what this machine cannot
 * bear now (SNUG_INFEASIBLE with what is free): more memory than is available less the reserve of
 * snug_budget_usable_bytes, or more than 4 threads busy on each CPU. */
snug_status snug__load_check(const struct snug_load_trace *trace,
                             const struct snug_machine *machine,
                             struct snug_error *err) SNUG_CHECKED;

/* ---- load.c ---- */

int snug__load_pid(const struct snug_load *load);

/* ---- load_gen.c: threads and memory in this process ---- */

struct snug__load_gen;

struct snug__load_gen_options {
    struct snug_load_level peak; /* the most that will be asked */
    uint64_t reserve_bytes;      /* of available memory that is never taken */
    uint64_t stream_bytes;
    int n_threads;      /* that may run at once */
    const char *folder; /* of the scratch file; NULL: none */
};

/* What was done since the start. */
struct snug__load_counters {
    double cpu_s;       /* all threads of this process */
    double held_byte_s; /* memory held, over time */
    double streamed_bytes, disk_bytes;
    double disk_s; /* inside reads and writes */
    uint64_t held_bytes, held_bytes_peak, given_back_bytes;
    bool is_settled;
    int disk_errno; /* why the disk's thread ended, or 0 */
};

snug_status snug__load_gen_start(const struct snug__load_gen_options *options,
                                 struct snug__load_gen **out, struct snug_error *err) SNUG_CHECKED;
/* Ask for a level within the peak and look after memory: call it every SNUG__LOAD_TICK_S.
 * available_bytes: of the system and the control groups now. */
void snug__load_gen_tick(struct snug__load_gen *gen, const struct snug_load_level *level,
                         double available_bytes);
/* Less is held than was asked for, and there may be room for more: tick again at once. */
bool snug__load_gen_is_filling(const struct snug__load_gen *gen);
void snug__load_gen_counters(const struct snug__load_gen *gen, struct snug__load_counters *out);
/* End all threads, release all memory. Accepts NULL. */
void snug__load_gen_stop(struct snug__load_gen *gen);

/* ---- load_spin.c, load_stream.c, load_disk.c: what a thread does until *stop ---- */

/* One busy thread: `share` of its time, set from outside. */
struct snug__load_spin {
    _Atomic double share;
    _Atomic double cpu_s; /* this thread's, so far */
    const atomic_bool *stop;
    uint64_t sum; /* keeps the work from being left out */
};
void *snug__load_spin_run(void *spin);

struct snug__load_stream {
    _Atomic double bps;
    _Atomic double bytes; /* read so far */
    const atomic_bool *stop;
    const void *data; /* its part of the buffer, aligned to 64 bytes */
    size_t n_bytes;   /* a multiple of 256 */
    uint64_t sum;
};
void *snug__load_stream_run(void *stream);

struct snug__load_disk {
    _Atomic double share;
    _Atomic double bytes, busy_s;
    atomic_int error; /* an errno that ended the thread */
    const atomic_bool *stop;
    int fd; /* nameless: it is gone with us */
    size_t n_bytes;
    void *block;
};
/* Make the scratch file in the folder: no name, or none for longer than its opening.
 * Errors  SNUG_INFEASIBLE: too little room; SNUG_UNSUPPORTED: a file system in memory; SNUG_IO */
snug_status snug__load_disk_open(struct snug__load_disk *disk, const char *folder,
                                 struct snug_error *err) SNUG_CHECKED;
void snug__load_disk_close(struct snug__load_disk *disk);
void *snug__load_disk_run(void *disk);

/* Sleep, but not past a stop by more than 20 ms. */
void snug__load_rest(const atomic_bool *stop, double s);

#endif
