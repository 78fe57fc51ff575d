/* The trial worker: the same program, spawned as `snug __worker`, with libllama in process.
 *
 * Protocol: one JSON object per line. Requests on stdin, events on the original stdout; libllama
 * and ggml may print what they like, because descriptor 1 points to stderr from the first moment.
 *   -> {"op":"open","model":PATH,"limit_bytes":N,"tied":{"type":T,"ne0":..,"ne1":..}}
 *   <- {"event":"ready","build":..,"has_openmp":..,"rss_base":..,"devices":[..]} | refused
 *   -> {"op":"estimate","config":{..},"workload":{..}}
 *   <- {"event":"estimate","bytes":{..},"effective":{..}} | refused
 *   -> {"op":"tokens","config":{},"workload":{..}}
 *   <- {"event":"tokens","longest":N,"median":N,"is_session":..} | refused
 *   -> {"op":"run","config":{..},"workload":{..},"effort":{..}}
 *   <- {"event":"phase","name":..}*, then one of
 *      {"event":"done","measurement":{..},"effective":{..},"gaps":[..]}
 *      {"event":"refused","outcome":"oom"|"refused","reason":..}
 *   -> {"op":"score","config":{..},"n_ctx":N,"items":[{"context":..,"choices":[..]}..]}
 *   <- {"event":"scored","items":[{"n_context":..,"n_cut":..,"choices":[{"lp":..,"n":..}..]}..]} |
 *      refused
 *   -> {"op":"generate","config":{..},"n_ctx":N,"n_max":N,"prompt":..}
 *   <- {"event":"generated","text":..,"finish":"stop"|"length"|"context","n_prompt":..,"n":..} |
 *      refused
 *   -> {"op":"trace","config":{..},"workload":{..},"prompt":TEXT,"seed":N}
 *   <- phase*, {"event":"trace","rows":[..]}*, {"event":"traced",..,"effective":{..}} | refused
 *   -> {"op":"quantize",..}  (see quantize.h)
 *   <- phase*, {"event":"quantized",..} | refused
 *   -> {"op":"imatrix",..}  (see imatrix.h)
 *   <- phase*, {"event":"imatrix",..} | refused
 *   -> {"op":"errors",..}  (see sensitivity.h)
 * End of input ends the worker, and so does the death of its parent. */
#ifndef SNUG_ENGINE_WORKER_H
#define SNUG_ENGINE_WORKER_H

#include <ggml-backend.h>
#include <llama.h>
#include <sched.h>

#include "base/buffer.h"
#include "base/json.h"
#include "snug/engine.h"
#include "snug/trial.h"

/* Runs until its input ends; returns the exit status of the process. */
int snug__worker_main(void);

/* What a config asks of libllama, in libllama's own terms. */
struct snug__settings {
    /* load time */
    enum llama_load_mode load_mode;
    bool use_repack;
    int n_gpu_layers; /* -1: all */
    char device[64];  /* "auto", "none" or a device name */
    enum ggml_numa_strategy numa;
    /* context time */
    int n_threads, n_threads_batch, n_batch, n_ubatch, poll, priority;
    enum llama_flash_attn_type flash_attn;
    enum ggml_type type_k, type_v;
    bool use_kv_offload, use_kv_unified;
    char cpu_mask[132]; /* hex, "" for none */
    int n_outputs;      /* most tokens with logits in one decode; 0: one per sequence. No knob */
};

/* Fills out from a config object; unknown names are refused, missing ones keep libllama's default.
 */
snug_status snug__settings_from_json(const struct snug_json_node *config,
                                     struct snug__settings *out,
                                     struct snug_error *err) SNUG_CHECKED;
bool snug__settings_same_load(const struct snug__settings *a, const struct snug__settings *b);
bool snug__settings_same_context(const struct snug__settings *a, const struct snug__settings *b);

/* Sizes and choices that libllama states only in its log. One global capture per process, since
 * libllama's log callback is global. */
struct snug__llama_log {
    uint64_t device_model;   /* part of bytes.device that is the model\'s */
    struct snug_bytes bytes; /* summed since the last reset of each kind */
    bool is_flash_attn_on;   /* what "auto" became */
    char last_error[SNUG_REASON_MAX];
    /* Called with every piece of log, which need not be a line; may be NULL. */
    void (*on_line)(const char *line, void *data);
    void *on_line_data;
};
extern struct snug__llama_log snug__llama_log;
/* Install the callbacks of libllama and ggml. */
void snug__llama_log_install(void);
void snug__llama_log_reset_model(void);
void snug__llama_log_reset_context(void);

/* The worker's state: at most one model and one context. */
struct snug__worker {
    int fd_events;
    char model_path[4096];
    struct snug__settings settings; /* of what is loaded */
    struct snug_workload workload;  /* the context was made for */
    struct llama_model *model;
    struct llama_context *context;
    void *threadpool, *threadpool_batch;
    bool is_pinned;          /* some trial had a CPU mask */
    cpu_set_t cpus;          /* what was allowed before that */
    struct snug_bytes bytes; /* stated by libllama for what is loaded */
    uint64_t rss_base;
    bool is_flash_attn_on;
    enum snug_outcome outcome;   /* of a measurement that failed */
    double load_s;               /* of the last load */
    double resident_before_frac; /* of the model file in the page cache before that load */
    double idle_w;               /* of this machine without a model; NAN: no meter */
    bool has_idle;               /* it was asked for */
    /* Dry runs: a model without weights, kept for as long as the load knobs stay the same. */
    struct llama_model *dry_model;
    struct snug__settings dry_settings;
    /* Token embedding that also serves as output, ne0 = 0 when there is none. */
    int tied_type;
    int64_t tied_ne0, tied_ne1;
};

/* Whether some extra buffer type (repacked, AMX) of the CPU would take the tied embedding, as this
 * type, for its matrix product: it is then stored twice. The question is put to the device as
 * libllama's loader puts it, with a weight that lies in an empty buffer of that type. */
bool snug__worker_repacks_tied(const struct snug__worker *w, int type);

/* Make model and context match settings and workload; reuses what it can. On failure nothing that
 * does not match stays. outcome tells oom from refused. */
snug_status snug__worker_prepare(struct snug__worker *w, const struct snug__settings *settings,
                                 const struct snug_workload *workload,
                                 enum snug_outcome *out_outcome,
                                 struct snug_error *err) SNUG_CHECKED;
/* The model alone, for those who make contexts of their own. */
snug_status snug__worker_load(struct snug__worker *w, const struct snug__settings *settings,
                              enum snug_outcome *out_outcome, struct snug_error *err) SNUG_CHECKED;
void snug__worker_unload(struct snug__worker *w);
/* Bytes of a config without allocating: libllama's no_alloc dry run for cache and compute. Leaves
 * the loaded model alone. */
snug_status snug__worker_estimate(struct snug__worker *w, const struct snug__settings *settings,
                                  const struct snug_workload *workload, struct snug_bytes *out,
                                  struct snug_error *err) SNUG_CHECKED;

/* Load vocabulary and shapes alone into w->dry_model, unless they are there. */
snug_status snug__worker_load_dry(struct snug__worker *w, const struct snug__settings *settings,
                                  struct snug_error *err) SNUG_CHECKED;

struct llama_model_params snug__model_params(const struct snug__settings *settings,
                                             ggml_backend_dev_t devices[SNUG_DEVICES_MAX + 1]);
struct llama_context_params snug__context_params(const struct snug__settings *settings,
                                                 const struct snug_workload *workload);

/* Time the prepared context: warm-up, then blocks of prefill and of decode. Sends phase events. */
snug_status snug__worker_measure(struct snug__worker *w, const struct snug_workload *workload,
                                 const struct snug_effort *effort, struct snug_measurement *out,
                                 struct snug_error *err) SNUG_CHECKED;

/* Answer a request to score choices or to continue a prompt (worker_score.c). A failure of one is
 * returned, with its outcome, and nothing is sent. */
snug_status snug__worker_score(struct snug__worker *w, const struct snug__settings *settings,
                               const struct snug_json_node *request, enum snug_outcome *out_outcome,
                               struct snug_error *err) SNUG_CHECKED;
snug_status snug__worker_generate(struct snug__worker *w, const struct snug__settings *settings,
                                  const struct snug_json_node *request,
                                  enum snug_outcome *out_outcome,
                                  struct snug_error *err) SNUG_CHECKED;

/* Send one finished writer as a line; the worker ends itself when the parent is gone. */
void snug__worker_send(struct snug__worker *w, struct snug_json_writer *writer);
void snug__worker_phase(struct snug__worker *w, const char *name, int index);

void snug__effort_from_json(const struct snug_json_node *node, struct snug_effort *effort);

#endif
