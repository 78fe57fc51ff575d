/* Models and contexts inside the worker: load, reuse, unload, and the dry run that states bytes. */
#include "engine/worker.h"

#include <ctype.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/process.h"
#include "snug/meters.h"

static const double IDLE_WAIT_S = 0.5; /* once per worker, where there is a meter at all */

/* ---- thread pools: declared by ggml, defined in the CPU backend that is loaded at run time ----
 */

typedef struct ggml_threadpool *(*threadpool_new_fn)(struct ggml_threadpool_params *params);
typedef void (*threadpool_free_fn)(struct ggml_threadpool *pool);

static void *cpu_proc(const char *name)
{
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    return cpu ? ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu), name) : NULL;
}

/* Hex digits, most significant first, "0x" allowed; as llama.cpp's --cpu-mask. */
static void fill_mask(const char *hex, bool mask[GGML_MAX_N_THREADS])
{
    const char *digits = strncmp(hex, "0x", 2) == 0 ? hex + 2 : hex;
    const size_t n = strlen(digits);
    for (size_t i = 0; i < n && i * 4 < GGML_MAX_N_THREADS; i++) {
        const char c = digits[n - 1 - i];
        const int value = isdigit((unsigned char)c) ? c - '0' : (tolower(c) - 'a' + 10) & 15;
        for (size_t bit = 0; bit < 4; bit++)
            mask[i * 4 + bit] = (value >> bit) & 1;
    }
}

/* ggml pins threads by a mask and never frees them again, and OpenMP keeps its threads: after a
 * trial with a mask, "no mask" must name every CPU that this process began with. */
static void choose_mask(struct snug__worker *w, const char *hex, bool mask[GGML_MAX_N_THREADS])
{
    if (hex[0]) {
        if (!w->is_pinned && sched_getaffinity(0, sizeof w->cpus, &w->cpus) != 0)
            return; /* nothing to come back to: stay with all */
        w->is_pinned = true;
        fill_mask(hex, mask);
    } else if (w->is_pinned) {
        for (size_t i = 0; i < GGML_MAX_N_THREADS && i < CPU_SETSIZE; i++)
            mask[i] = CPU_ISSET(i, &w->cpus);
    }
}

static struct ggml_threadpool *make_pool(struct snug__worker *w, const struct snug__settings *s,
                                         int n_threads)
{
    const threadpool_new_fn make = (threadpool_new_fn)cpu_proc("ggml_threadpool_new");
    if (!make)
        return NULL;
    struct ggml_threadpool_params params;
    ggml_threadpool_params_init(&params, n_threads);
    params.poll = (uint32_t)s->poll;
    params.prio = (enum ggml_sched_priority)s->priority;
    choose_mask(w, s->cpu_mask, params.cpumask);
    return make(&params);
}

static void free_pool(void **pool)
{
    const threadpool_free_fn release = (threadpool_free_fn)cpu_proc("ggml_threadpool_free");
    if (*pool && release)
        release(*pool);
    *pool = NULL;
}

/* ---- load and unload ---- */

/* Let VmHWM start again from the present resident set (Linux: proc(5), clear_refs). */
static void reset_peak(void)
{
    const int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    const ssize_t got = write(fd, "5", 1);
    (void)got; /* an old kernel keeps the peak of the whole life: larger, never smaller */
    close(fd);
}

static void drop_context(struct snug__worker *w)
{
    if (w->context) {
        llama_detach_threadpool(w->context);
        llama_free(w->context);
    }
    w->context = NULL;
    free_pool(&w->threadpool);
    free_pool(&w->threadpool_batch);
}

void snug__worker_unload(struct snug__worker *w)
{
    drop_context(w);
    if (w->model)
        llama_model_free(w->model);
    w->model = NULL;
}

/* libllama says only NULL; its log tells an allocation from a refusal. */
static enum snug_outcome outcome_of_log(void)
{
    static const char *const words[] = {"alloc", "memory", "mmap failed", "mlock", "bad_alloc"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strstr(snug__llama_log.last_error, words[i]))
            return SNUG_TRIAL_OOM;
    }
    return SNUG_TRIAL_REFUSED;
}

static snug_status load_model(struct snug__worker *w, const struct snug__settings *s,
                              enum snug_outcome *out_outcome, struct snug_error *err)
{
    ggml_backend_dev_t devices[SNUG_DEVICES_MAX + 1];
    const struct llama_model_params params = snug__model_params(s, devices);
    snug__worker_phase(w, "load", 0);
    if (s->numa != GGML_NUMA_STRATEGY_DISABLED)
        llama_numa_init(s->numa);
    if (!w->has_idle)
        w->idle_w = snug_meters_idle("", IDLE_WAIT_S);
    w->has_idle = true;
    w->resident_before_frac = snug_meters_resident_frac(w->model_path);
    snug__llama_log_reset_model();
    const double start = snug_clock_s();
    w->model = llama_model_load_from_file(w->model_path, params);
    w->load_s = snug_clock_s() - start;
    snug__llama_log.device_model = snug__llama_log.bytes.device;
    if (w->model)
        return SNUG_OK;
    *out_outcome = outcome_of_log();
    return snug_fail(err, SNUG_UNSUPPORTED, "libllama did not load the model: %s",
                     snug__llama_log.last_error[0] ? snug__llama_log.last_error
                                                   : "no reason given");
}

/* ggml's CPU backend keeps a work buffer that libllama does not state. Without flash attention its
 * largest user is the product with V, for which the scores [n_ctx, n_ubatch, n_head] are converted
 * to V's 16-bit type (ggml_graph_plan, MUL_MAT). With flash attention it stays below some MiB. */
static uint64_t work_bytes(const struct llama_model *model, const struct snug__settings *s,
                           const struct snug_workload *workload, bool is_flash_attn_on)
{
    if (is_flash_attn_on || s->type_v == GGML_TYPE_F32)
        return 0;
    return (uint64_t)workload->n_ctx * (uint64_t)s->n_ubatch * (uint64_t)llama_model_n_head(model) *
           sizeof(uint16_t);
}

static snug_status make_context(struct snug__worker *w, const struct snug__settings *s,
                                const struct snug_workload *workload,
                                enum snug_outcome *out_outcome, struct snug_error *err)
{
    snug__worker_phase(w, "context", 0);
    snug__llama_log_reset_context();
    snug__llama_log.is_flash_attn_on = s->flash_attn != LLAMA_FLASH_ATTN_TYPE_DISABLED;
    w->context = llama_init_from_model(w->model, snug__context_params(s, workload));
    if (!w->context) {
        *out_outcome = outcome_of_log();
        return snug_fail(err, SNUG_UNSUPPORTED, "libllama made no context: %s",
                         snug__llama_log.last_error[0] ? snug__llama_log.last_error
                                                       : "no reason given");
    }
    w->threadpool = make_pool(w, s, s->n_threads);
    if (s->n_threads_batch != s->n_threads)
        w->threadpool_batch = make_pool(w, s, s->n_threads_batch);
    if (w->threadpool)
        llama_attach_threadpool(w->context, w->threadpool, w->threadpool_batch);
    w->bytes = snug__llama_log.bytes;
    w->is_flash_attn_on = snug__llama_log.is_flash_attn_on;
    w->bytes.compute += work_bytes(w->model, s, workload, w->is_flash_attn_on);
    return SNUG_OK;
}

snug_status snug__worker_load(struct snug__worker *w, const struct snug__settings *settings,
                              enum snug_outcome *out_outcome, struct snug_error *err)
{
    drop_context(w);
    if (w->model && snug__settings_same_load(settings, &w->settings))
        return SNUG_OK;
    snug__worker_unload(w);
    const snug_status status = load_model(w, settings, out_outcome, err);
    w->settings = *settings;
    return status;
}

snug_status snug__worker_prepare(struct snug__worker *w, const struct snug__settings *settings,
                                 const struct snug_workload *workload,
                                 enum snug_outcome *out_outcome, struct snug_error *err)
{
    *out_outcome = SNUG_TRIAL_OK;
    if (w->dry_model)
        llama_model_free(w->dry_model);
    w->dry_model = NULL;
    w->load_s = 0.0;
    const bool same_model = w->model && snug__settings_same_load(settings, &w->settings);
    const bool same_context = same_model && w->context &&
                              snug__settings_same_context(settings, &w->settings) &&
                              memcmp(workload, &w->workload, sizeof *workload) == 0;
    if (same_context) {
        reset_peak();
        return SNUG_OK;
    }
    drop_context(w);
    if (!same_model)
        snug__worker_unload(w);
    reset_peak(); /* what the last trial held is gone: this one's peak begins here */
    snug_status status = SNUG_OK;
    if (!same_model) {
        status = load_model(w, settings, out_outcome, err);
        /* From here on this is what is loaded, whether a context follows or not. */
        w->settings = *settings;
    }
    if (status == SNUG_OK)
        status = make_context(w, settings, workload, out_outcome, err);
    if (status != SNUG_OK) {
        drop_context(w);
        return status;
    }
    w->settings = *settings;
    w->workload = *workload;
    return SNUG_OK;
}

/* ---- dry run ---- */

bool snug__worker_repacks_tied(const struct snug__worker *w, int type)
{
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    const ggml_backend_dev_get_extra_bufts_t get =
        (ggml_backend_dev_get_extra_bufts_t)cpu_proc("ggml_backend_dev_get_extra_bufts");
    ggml_backend_buffer_type_t *types = get ? get(cpu) : NULL;
    bool is_taken = false;
    for (; types && *types && !is_taken; types++) {
        struct ggml_init_params init = {.mem_size = 8 * ggml_tensor_overhead(), .no_alloc = true};
        struct ggml_context *ctx = ggml_init(init);
        if (!ctx)
            return false;
        struct ggml_tensor *weight =
            ggml_new_tensor_2d(ctx, (enum ggml_type)type, w->tied_ne0, w->tied_ne1);
        struct ggml_tensor *input = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, w->tied_ne0, 512);
        struct ggml_tensor *product = ggml_mul_mat(ctx, weight, input);
        weight->buffer = ggml_backend_buft_alloc_buffer(*types, 0);
        is_taken = weight->buffer && ggml_backend_dev_supports_op(cpu, product);
        ggml_backend_buffer_free(weight->buffer);
        ggml_free(ctx);
    }
    return is_taken;
}

/* A tied output is stored a second time when it goes to another buffer than the embedding. */
static uint64_t tied_copy_bytes(const struct snug__worker *w, const struct snug__settings *s)
{
    if (w->tied_ne0 <= 0)
        return 0;
    /* The output is the first to go when any layer does. */
    const bool is_offloaded = s->n_gpu_layers != 0 && strcmp(s->device, "none") != 0 &&
                              ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_GPU) != NULL;
    if (is_offloaded || (s->use_repack && snug__worker_repacks_tied(w, w->tied_type)))
        return ggml_row_size((enum ggml_type)w->tied_type, w->tied_ne0) * (uint64_t)w->tied_ne1;
    return 0;
}

snug_status snug__worker_load_dry(struct snug__worker *w, const struct snug__settings *s,
                                  struct snug_error *err)
{
    if (w->dry_model && snug__settings_same_load(s, &w->dry_settings))
        return SNUG_OK;
    if (w->dry_model)
        llama_model_free(w->dry_model);
    ggml_backend_dev_t devices[SNUG_DEVICES_MAX + 1];
    struct llama_model_params params = snug__model_params(s, devices);
    params.no_alloc = true;
    params.load_mode = LLAMA_LOAD_MODE_NONE; /* a dry run maps nothing */
    snug__llama_log_reset_model();
    w->dry_model = llama_model_load_from_file(w->model_path, params);
    if (!w->dry_model)
        return snug_fail(err, SNUG_UNSUPPORTED, "libllama does not take this model: %s",
                         snug__llama_log.last_error[0] ? snug__llama_log.last_error
                                                       : "no reason given");
    w->dry_settings = *s;
    return SNUG_OK;
}

snug_status snug__worker_estimate(struct snug__worker *w, const struct snug__settings *settings,
                                  const struct snug_workload *workload, struct snug_bytes *out,
                                  struct snug_error *err)
{
    const snug_status status = snug__worker_load_dry(w, settings, err);
    if (status != SNUG_OK)
        return status;
    const struct snug__llama_log saved = snug__llama_log;
    snug__llama_log_reset_context();
    snug__llama_log.bytes.device = 0;
    snug__llama_log.is_flash_attn_on = settings->flash_attn != LLAMA_FLASH_ATTN_TYPE_DISABLED;
    struct llama_context *context =
        llama_init_from_model(w->dry_model, snug__context_params(settings, workload));
    struct snug_bytes bytes = snug__llama_log.bytes;
    const bool is_flash_attn_on = snug__llama_log.is_flash_attn_on;
    char reason[SNUG_REASON_MAX];
    snprintf(reason, sizeof reason, "%s", snug__llama_log.last_error);
    snug__llama_log = saved;
    if (!context)
        return snug_fail(err, SNUG_INFEASIBLE, "libllama refuses this config: %s",
                         reason[0] ? reason : "no reason given");
    llama_free(context);
    bytes.weights = llama_model_size(w->dry_model) + tied_copy_bytes(w, settings);
    bytes.compute += work_bytes(w->dry_model, settings, workload, is_flash_attn_on);
    w->is_flash_attn_on = is_flash_attn_on;
    *out = bytes;
    return SNUG_OK;
}
