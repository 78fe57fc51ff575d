/* The llama engine's parent side: capabilities of the worker, the space built from them, the link
 * to one worker process. */
#ifndef SNUG_ENGINE_LLAMA_ENGINE_H
#define SNUG_ENGINE_LLAMA_ENGINE_H

#include <stdlib.h>

#include "base/json.h"
#include "base/process.h"
#include "snug/engine.h"

#define SNUG__MASKS_MAX 4

/* What a worker told about its libraries and devices. */
struct snug__llama_caps {
    char build[64];
    bool has_openmp, has_repack;
    bool is_flash_attn_default; /* what "auto" becomes for this model */
    char gpu_names[SNUG_DEVICES_MAX][64];
    int n_gpus;
    char masks[SNUG__MASKS_MAX][SNUG_CPU_MASK_MAX]; /* worth trying besides all CPUs */
    int n_masks;
    uint64_t rss_base;      /* empty worker */
    uint64_t tied_repacked; /* a bit per ggml_type */
};

void snug__llama_space(const struct snug__llama_caps *caps,
                       const struct snug_engine_options *options, struct snug_space *out);

/* Its reader is in worker.h. */
void snug__effort_to_json(struct snug_json_writer *w, const char *key,
                          const struct snug_effort *effort);

/* One worker process, started when needed. */
struct snug__link {
    struct snug_process process;
    bool is_open;
    uint64_t limit_bytes; /* 0: none */
};

/* Start the worker unless it runs, and fill caps (may be NULL) when it has just started. */
snug_status snug__link_open(struct snug__link *link, const struct snug_engine_options *options,
                            struct snug__llama_caps *caps, struct snug_error *err) SNUG_CHECKED;
void snug__link_close(struct snug__link *link);

/* How a request ended when not with its event. */
struct snug__link_end {
    enum snug_outcome outcome;
    char reason[SNUG_REASON_MAX];
};

/* Send a request and wait for an event other than "phase". out_doc holds it (free it) when SNUG_OK.
 * SNUG_CRASHED: the worker is gone (crash, deadline, memory limit) and *out_end says how. */
snug_status snug__link_call(struct snug__link *link, const struct snug_engine_options *options,
                            struct snug_json_writer *request, double deadline_s,
                            struct snug_json **out_doc, struct snug__link_end *out_end,
                            struct snug_error *err) SNUG_CHECKED;
/* The worker's own words for why not: its status (SNUG_UNSUPPORTED where it gives none) and reason.
 */
snug_status snug__link_refusal(const struct snug_json_node *root, struct snug_error *err);
/* The next event of a request that answers with several. */
snug_status snug__link_next(struct snug__link *link, const struct snug_engine_options *options,
                            double deadline_s, struct snug_json **out_doc,
                            struct snug__link_end *out_end, struct snug_error *err) SNUG_CHECKED;

#endif
