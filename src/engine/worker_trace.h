/* The worker's side of a trace: one request on the prepared context, every step a span. */
#ifndef SNUG_ENGINE_WORKER_TRACE_H
#define SNUG_ENGINE_WORKER_TRACE_H

#include "engine/worker.h"

/* Load, serve the request {"prompt": TEXT or none, "seed": N} and send the spans in events of some
 * hundred each; then begin *out_writer, the event "traced" that the caller ends and sends.
 * Errors  the request cannot be served; *out_outcome says how the trace ends then */
snug_status snug__worker_trace(struct snug__worker *w, const struct snug__settings *settings,
                               const struct snug_workload *workload,
                               const struct snug_json_node *request,
                               struct snug_json_writer *out_writer, enum snug_outcome *out_outcome,
                               struct snug_error *err) SNUG_CHECKED;

#endif
