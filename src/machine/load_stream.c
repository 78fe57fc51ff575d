/* A thread that reads memory at a given rate: slices of a buffer larger than the caches, in order,
 * each due at a time of its own. Who is late by more than LATE_S has lost the difference: traffic
 * that could not be had is not made up for in a burst. */
#include "base/process.h"
#include "machine/load_internal.h"
#include "machine/measure.h"

#define SLICE_S 0.002                 /* aimed at per slice */
#define SLICE_LEAST_BYTES (64u << 10) /* less would measure the clock */
#define SLICE_MOST_BYTES (4u << 20)
#define LATE_S 0.02
#define IDLE_S 0.02

static size_t slice_bytes(double bps, size_t left)
{
    double n = bps * SLICE_S;
    n = n < SLICE_LEAST_BYTES ? SLICE_LEAST_BYTES : n > SLICE_MOST_BYTES ? SLICE_MOST_BYTES : n;
    const size_t bytes = (size_t)n / 4096 * 4096;
    return bytes < left ? bytes : left;
}

void *snug__load_stream_run(void *data)
{
    struct snug__load_stream *stream = data;
    double due_s = snug_clock_s(), bytes = 0, last_bps = 0;
    uint64_t sum = 0;
    size_t at = 0;
    while (!atomic_load(stream->stop)) {
        const double bps = atomic_load(&stream->bps);
        const double now_s = snug_clock_s();
        if (bps != last_bps)
            due_s = now_s;
        last_bps = bps;
        if (bps <= 0 || due_s > now_s) {
            const double wait_s = bps > 0 ? due_s - now_s : IDLE_S;
            snug__load_rest(stream->stop, wait_s < IDLE_S ? wait_s : IDLE_S);
            continue;
        }
        const size_t n = slice_bytes(bps, stream->n_bytes - at);
        sum += snug__sum_bytes((const char *)stream->data + at, n);
        at = (at + n) % stream->n_bytes;
        bytes += (double)n;
        atomic_store(&stream->bytes, bytes);
        due_s = (due_s < now_s - LATE_S ? now_s - LATE_S : due_s) + (double)n / bps;
    }
    stream->sum = sum;
    return NULL;
}
