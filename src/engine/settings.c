/* Configs in libllama's own terms: names of knobs to parameters of a model and of a context. */
#include "engine/worker.h"

#include <stdio.h>
#include <string.h>

static enum ggml_type type_from_name(const char *name)
{
    for (int t = 0; t < GGML_TYPE_COUNT; t++) {
        const char *known = ggml_type_name((enum ggml_type)t);
        if (known && strcmp(known, name) == 0)
            return (enum ggml_type)t;
    }
    return GGML_TYPE_COUNT;
}

static enum ggml_numa_strategy numa_from_name(const char *name)
{
    if (strcmp(name, "distribute") == 0)
        return GGML_NUMA_STRATEGY_DISTRIBUTE;
    if (strcmp(name, "isolate") == 0)
        return GGML_NUMA_STRATEGY_ISOLATE;
    return GGML_NUMA_STRATEGY_DISABLED;
}

static void defaults(struct snug__settings *s)
{
    const struct llama_model_params m = llama_model_default_params();
    const struct llama_context_params c = llama_context_default_params();
    *s = (struct snug__settings){
        .load_mode = m.load_mode,
        .use_repack = m.use_extra_bufts,
        .n_gpu_layers = m.n_gpu_layers,
        .device = "auto",
        .n_threads = c.n_threads,
        .n_threads_batch = c.n_threads_batch,
        .n_batch = (int)c.n_batch,
        .n_ubatch = (int)c.n_ubatch,
        .flash_attn = c.flash_attn_type,
        .type_k = c.type_k,
        .type_v = c.type_v,
        .use_kv_offload = c.offload_kqv,
        .use_kv_unified = c.kv_unified,
        .poll = 50,
    };
}

/* One knob by name into its field; false for a name that is not known. */
static bool set_one(struct snug__settings *s, const char *key, const struct snug_json_node *value)
{
    const char *text = snug_json_string(value, "");
    const int number = (int)snug_json_int(value, 0);
    const bool on =
        snug_json_is_string(value) ? strcmp(text, "on") == 0 : snug_json_bool(value, false);
    if (strcmp(key, "load_mode") == 0)
        s->load_mode = llama_load_mode_from_str(text);
    else if (strcmp(key, "repack") == 0)
        s->use_repack = on;
    else if (strcmp(key, "n_gpu_layers") == 0)
        s->n_gpu_layers = number;
    else if (strcmp(key, "device") == 0)
        snprintf(s->device, sizeof s->device, "%s", text);
    else if (strcmp(key, "numa") == 0)
        s->numa = numa_from_name(text);
    else if (strcmp(key, "n_threads") == 0)
        s->n_threads = number;
    else if (strcmp(key, "n_threads_batch") == 0)
        s->n_threads_batch = number;
    else if (strcmp(key, "n_batch") == 0)
        s->n_batch = number;
    else if (strcmp(key, "n_ubatch") == 0)
        s->n_ubatch = number;
    else if (strcmp(key, "flash_attn") == 0)
        s->flash_attn = on ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    else if (strcmp(key, "type_k") == 0)
        s->type_k = type_from_name(text);
    else if (strcmp(key, "type_v") == 0)
        s->type_v = type_from_name(text);
    else if (strcmp(key, "kv_offload") == 0)
        s->use_kv_offload = on;
    else if (strcmp(key, "kv_unified") == 0)
        s->use_kv_unified = on;
    else if (strcmp(key, "poll") == 0)
        s->poll = number;
    else if (strcmp(key, "prio") == 0)
        s->priority = number;
    else if (strcmp(key, "cpu_mask") == 0)
        /* "all" is the absence of a mask, not hex digits. */
        snprintf(s->cpu_mask, sizeof s->cpu_mask, "%s", strcmp(text, "all") == 0 ? "" : text);
    else
        return false;
    return true;
}

/* What libllama 0.7 would abort on, or accept in silence and do something else with. */
static snug_status check(const struct snug__settings *s, struct snug_error *err)
{
    if (s->n_batch < 1 || s->n_ubatch < 1)
        return snug_fail(err, SNUG_BAD_INPUT, "n_batch and n_ubatch must be at least 1");
    if (s->n_ubatch > s->n_batch)
        return snug_fail(err, SNUG_BAD_INPUT, "n_ubatch %d is larger than n_batch %d", s->n_ubatch,
                         s->n_batch);
    if (s->n_threads < 1 || s->n_threads_batch < 1 || s->n_threads > GGML_MAX_N_THREADS ||
        s->n_threads_batch > GGML_MAX_N_THREADS)
        return snug_fail(err, SNUG_BAD_INPUT, "threads must be 1 to %d", GGML_MAX_N_THREADS);
    if (s->type_k == GGML_TYPE_COUNT || s->type_v == GGML_TYPE_COUNT)
        return snug_fail(err, SNUG_BAD_INPUT, "unknown cache type");
    if (ggml_is_quantized(s->type_v) && s->flash_attn == LLAMA_FLASH_ATTN_TYPE_DISABLED)
        return snug_fail(err, SNUG_BAD_INPUT, "a quantised V cache needs flash attention");
    return SNUG_OK;
}

snug_status snug__settings_from_json(const struct snug_json_node *config,
                                     struct snug__settings *out, struct snug_error *err)
{
    struct snug__settings s;
    defaults(&s);
    const char *key = NULL;
    const struct snug_json_node *value = NULL;
    for (size_t i = 0; snug_json_member(config, i, &key, &value); i++) {
        if (!set_one(&s, key, value))
            return snug_fail(err, SNUG_BAD_INPUT, "the engine knows no knob '%s'", key);
    }
    const snug_status status = check(&s, err);
    if (status == SNUG_OK)
        *out = s;
    return status;
}

bool snug__settings_same_load(const struct snug__settings *a, const struct snug__settings *b)
{
    return a->load_mode == b->load_mode && a->use_repack == b->use_repack &&
           a->n_gpu_layers == b->n_gpu_layers && strcmp(a->device, b->device) == 0 &&
           a->numa == b->numa;
}

bool snug__settings_same_context(const struct snug__settings *a, const struct snug__settings *b)
{
    return a->n_threads == b->n_threads && a->n_threads_batch == b->n_threads_batch &&
           a->n_batch == b->n_batch && a->n_ubatch == b->n_ubatch && a->poll == b->poll &&
           a->priority == b->priority && a->flash_attn == b->flash_attn && a->type_k == b->type_k &&
           a->type_v == b->type_v && a->use_kv_offload == b->use_kv_offload &&
           a->use_kv_unified == b->use_kv_unified && strcmp(a->cpu_mask, b->cpu_mask) == 0 &&
           a->n_outputs == b->n_outputs;
}

struct llama_model_params snug__model_params(const struct snug__settings *s,
                                             ggml_backend_dev_t devices[SNUG_DEVICES_MAX + 1])
{
    struct llama_model_params p = llama_model_default_params();
    p.load_mode = s->load_mode;
    p.use_extra_bufts = s->use_repack;
    p.n_gpu_layers = s->n_gpu_layers;
    devices[0] = NULL;
    if (strcmp(s->device, "none") == 0) {
        p.devices = devices;
    } else if (strcmp(s->device, "auto") != 0) {
        devices[0] = ggml_backend_dev_by_name(s->device);
        devices[1] = NULL;
        p.devices = devices;
    }
    return p;
}

struct llama_context_params snug__context_params(const struct snug__settings *s,
                                                 const struct snug_workload *workload)
{
    struct llama_context_params p = llama_context_default_params();
    /* libllama's n_ctx is the sum over sequences; each one gets the context that was asked for. */
    p.n_ctx = (uint32_t)(workload->n_ctx * workload->n_parallel);
    p.n_seq_max = (uint32_t)workload->n_parallel;
    /* Only last tokens have logits, as in llama-server: the worst case that libllama reserves for
     * would else hold logits for a whole batch. */
    p.n_outputs_max = s->n_outputs ? (uint32_t)s->n_outputs : (uint32_t)workload->n_parallel;
    p.n_batch = (uint32_t)s->n_batch;
    p.n_ubatch = (uint32_t)s->n_ubatch;
    p.n_threads = s->n_threads;
    p.n_threads_batch = s->n_threads_batch;
    p.flash_attn_type = s->flash_attn;
    p.type_k = s->type_k;
    p.type_v = s->type_v;
    p.offload_kqv = s->use_kv_offload;
    p.kv_unified = s->use_kv_unified;
    p.no_perf = true;
    /* As llama-server and llama-bench start it; the bare API default is the full window. */
    p.swa_full = false;
    return p;
}
