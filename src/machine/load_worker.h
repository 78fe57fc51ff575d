/* The load's process, started as `snug __load`. One JSON object per line.
 *   -> {"n_bytes":N,"reserve_bytes":..,"stream_bytes":..,"n_threads":..,"folder":..} and then N
 *      bytes of a trace as CSV
 *   <- {"event":"ready"} | {"event":"refused","status":..,"reason":..}
 *   <- {"event":"report",..}*, then one with "is_over":true
 * The end of its input ends it, and so does the death of its parent. Reports that nobody reads are
 * dropped when the pipe is full: they hold sums, so that the next one tells as much. */
#ifndef SNUG_MACHINE_LOAD_WORKER_H
#define SNUG_MACHINE_LOAD_WORKER_H

#define SNUG__LOAD_STREAM_BYTES_MAX (1ull << 30)
#define SNUG__LOAD_FOLDER_BYTES_MAX 4095 /* of its path, as the kernel has it */

/* Runs until the trace or its input ends; returns the exit status. */
int snug__load_main(void);

#endif
