/* The worker's main loop: requests in, events out. See worker.h for the protocol. */
#include "engine/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/process.h"
#include "engine/imatrix.h"
#include "engine/quantize.h"
#include "engine/rpc.h"
#include "engine/worker_eval.h"
#include "engine/sensitivity.h"
#include "engine/worker_tokens.h"
#include "engine/worker_trace.h"
#include "trial/trial_json.h"

/* Private memory beyond the limit that is not the model's: thread stacks (8 MiB each), the heap of
 * libllama's vocabulary and graphs. The parent's watchdog holds the limit itself. */
static const uint64_t SLACK_BYTES = 512ull << 20;

/* ---- events ---- */

void snug__worker_send(struct snug__worker *w, struct snug_json_writer *writer)
{
    char *line = snug_json_finish(writer, false);
    if (!line)
        return;
    size_t n = strlen(line);
    line[n++] = '\n'; /* over the terminator: the length travels with it */
    for (size_t done = 0; done < n;) {
        const ssize_t got = write(w->fd_events, line + done, n - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            _exit(1); /* the parent is gone: nobody is left to report to */
        done += (size_t)got;
    }
    free(line);
}

void snug__worker_phase(struct snug__worker *w, const char *name, int index)
{
    struct snug_json_writer writer = {0};
    snug_json_begin_object(&writer, NULL);
    snug_json_put_string(&writer, "event", "phase");
    snug_json_put_string(&writer, "name", name);
    snug_json_put_int(&writer, "index", index);
    snug_json_end(&writer);
    snug__worker_send(w, &writer);
}

static void send_refused(struct snug__worker *w, enum snug_outcome outcome, const char *reason)
{
    struct snug_json_writer writer = {0};
    snug_json_begin_object(&writer, NULL);
    snug_json_put_string(&writer, "event", "refused");
    snug_json_put_string(&writer, "outcome", snug_outcome_name(outcome));
    snug_json_put_string(&writer, "reason", reason);
    snug_json_end(&writer);
    snug__worker_send(w, &writer);
}

static void put_bytes(struct snug_json_writer *writer, const struct snug_bytes *bytes)
{
    snug_json_begin_object(writer, "bytes");
    snug_json_put_int(writer, "weights", (int64_t)bytes->weights);
    snug_json_put_int(writer, "cache", (int64_t)bytes->cache);
    snug_json_put_int(writer, "compute", (int64_t)bytes->compute);
    snug_json_put_int(writer, "device", (int64_t)bytes->device);
    snug_json_end(writer);
}

/* ---- effective config, in the notation of the knob rows ---- */

static void put_effective(struct snug__worker *w, struct snug_json_writer *writer,
                          const struct snug__settings *s)
{
    snug_json_begin_object(writer, "effective");
    snug_json_put_string(writer, "load_mode", llama_load_mode_name(s->load_mode));
    snug_json_put_string(writer, "repack", s->use_repack ? "on" : "off");
    snug_json_put_int(writer, "n_gpu_layers", s->n_gpu_layers);
    snug_json_put_string(writer, "device", s->device);
    if (w->context) {
        snug_json_put_int(writer, "n_threads", llama_n_threads(w->context));
        snug_json_put_int(writer, "n_threads_batch", llama_n_threads_batch(w->context));
        snug_json_put_int(writer, "n_batch", llama_n_batch(w->context));
        snug_json_put_int(writer, "n_ubatch", llama_n_ubatch(w->context));
        snug_json_put_int(writer, "n_ctx", llama_n_ctx_seq(w->context));
    }
    snug_json_put_string(writer, "flash_attn", w->is_flash_attn_on ? "on" : "off");
    snug_json_put_string(writer, "type_k", ggml_type_name(s->type_k));
    snug_json_put_string(writer, "type_v", ggml_type_name(s->type_v));
    snug_json_put_string(writer, "kv_offload", s->use_kv_offload ? "on" : "off");
    snug_json_put_string(writer, "kv_unified", s->use_kv_unified ? "on" : "off");
    snug_json_put_int(writer, "poll", s->poll);
    snug_json_put_int(writer, "prio", s->priority);
    snug_json_end(writer);
}

/* ---- requests ---- */

static bool has_cpu_feature(const char *name)
{
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (!cpu)
        return false;
    const ggml_backend_get_features_t get =
        (ggml_backend_get_features_t)ggml_backend_reg_get_proc_address(
            ggml_backend_dev_backend_reg(cpu), "ggml_backend_get_features");
    for (struct ggml_backend_feature *f = get ? get(ggml_backend_dev_backend_reg(cpu)) : NULL;
         f && f->name; f++) {
        if (strcmp(f->name, name) == 0)
            return strcmp(f->value, "0") != 0;
    }
    return false;
}

static const char *device_kind(ggml_backend_dev_t device)
{
    switch (ggml_backend_dev_type(device)) {
    case GGML_BACKEND_DEVICE_TYPE_CPU:
        return "cpu";
    case GGML_BACKEND_DEVICE_TYPE_GPU:
        return "gpu";
    case GGML_BACKEND_DEVICE_TYPE_IGPU:
        return "igpu";
    default:
        return "accel";
    }
}

static void put_devices(struct snug_json_writer *writer)
{
    snug_json_begin_array(writer, "devices");
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        size_t bytes_free = 0, bytes_total = 0;
        ggml_backend_dev_memory(device, &bytes_free, &bytes_total);
        snug_json_begin_object(writer, NULL);
        snug_json_put_string(writer, "name", ggml_backend_dev_name(device));
        snug_json_put_string(writer, "description", ggml_backend_dev_description(device));
        snug_json_put_string(writer, "kind", device_kind(device));
        snug_json_put_int(writer, "bytes_free", (int64_t)bytes_free);
        snug_json_put_int(writer, "bytes_total", (int64_t)bytes_total);
        snug_json_end(writer);
    }
    snug_json_end(writer);
}

/* Private memory mapped already, used or not: drivers and sanitizers reserve far more than there
 * is. Second last field of proc(5) statm, in pages. */
static uint64_t data_bytes(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    if (fscanf(file, "%*u %*u %*u %*u %*u %llu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* A bit per ggml_type. */
static int64_t tied_repacked(const struct snug__worker *w)
{
    int64_t types = 0;
    for (int type = 0; w->tied_ne0 > 0 && type < SNUG_MODEL_TYPES_MAX; type++) {
        const int64_t block =
            snug_model_type_bits(type) > 0.0 ? ggml_blck_size((enum ggml_type)type) : 0;
        if (block > 0 && w->tied_ne0 % block == 0 && snug__worker_repacks_tied(w, type))
            types |= INT64_C(1) << type;
    }
    return types;
}

static void on_open(struct snug__worker *w, const struct snug_json_node *request)
{
    const char *path = snug_json_get_string(request, "model", "");
    snprintf(w->model_path, sizeof w->model_path, "%s", path);
    const struct snug_json_node *tied = snug_json_get(request, "tied");
    w->tied_type = (int)snug_json_get_int(tied, "type", 0);
    w->tied_ne0 = snug_json_get_int(tied, "ne0", 0);
    w->tied_ne1 = snug_json_get_int(tied, "ne1", 0);
    struct snug_error err = {0};
    if (snug_machine_load_backends(&err) != SNUG_OK) {
        send_refused(w, SNUG_TRIAL_REFUSED, err.text);
        return;
    }
    if (snug__rpc_add(snug_json_get_string(request, "rpc", ""), &err) != SNUG_OK) {
        send_refused(w, SNUG_TRIAL_REFUSED, err.text);
        return;
    }
    llama_backend_init();
    const uint64_t limit = (uint64_t)snug_json_get_int(request, "limit_bytes", 0);
    if (limit > 0) {
        const uint64_t most = data_bytes() + limit + SLACK_BYTES;
        const struct rlimit data = {most, most};
        setrlimit(RLIMIT_DATA, &data); /* the watchdog stands behind it when this is refused */
    }
    uint64_t peak = 0;
    snug_process_rss(getpid(), &w->rss_base, &peak);
    struct snug_json_writer writer = {0};
    snug_json_begin_object(&writer, NULL);
    snug_json_put_string(&writer, "event", "ready");
    char build[64];
    snug_json_put_string(&writer, "build", snug_engine_build_here(build, sizeof build));
    snug_json_put_bool(&writer, "has_openmp", has_cpu_feature("OPENMP"));
    snug_json_put_bool(&writer, "has_repack", has_cpu_feature("REPACK"));
    snug_json_put_int(&writer, "rss_base", (int64_t)w->rss_base);
    snug_json_put_int(&writer, "tied_repacked", tied_repacked(w));
    put_devices(&writer);
    snug_json_end(&writer);
    snug__worker_send(w, &writer);
}

static void on_estimate(struct snug__worker *w, const struct snug__settings *settings,
                        const struct snug_workload *workload)
{
    struct snug_error err = {0};
    struct snug_bytes bytes = {0};
    if (snug__worker_estimate(w, settings, workload, &bytes, &err) != SNUG_OK) {
        send_refused(w, SNUG_TRIAL_REFUSED, err.text);
        return;
    }
    uint64_t rss = 0, peak = 0;
    snug_process_rss(getpid(), &rss, &peak);
    struct snug_json_writer writer = {0};
    snug_json_begin_object(&writer, NULL);
    snug_json_put_string(&writer, "event", "estimate");
    put_bytes(&writer, &bytes);
    /* A dry model holds the vocabulary and no weights: the empty footprint of a worker that has it.
     */
    snug_json_put_int(&writer, "rss", (int64_t)rss);
    put_effective(w, &writer, settings);
    snug_json_end(&writer);
    snug__worker_send(w, &writer);
}

/* How long the texts of a workload are in this vocabulary. */
static void on_tokens(struct snug__worker *w, const struct snug__settings *settings,
                      const struct snug_workload *workload)
{
    struct snug_error err = {0};
    struct snug__tokens tokens = {.n_prompts = 0};
    struct snug_workload roomy = *workload; /* whether a context holds them is asked later */
    roomy.n_ctx = INT32_MAX;
    snug_status status = snug__worker_load_dry(w, settings, &err);
    if (status == SNUG_OK)
        status = snug__tokens_init(&tokens, llama_model_get_vocab(w->dry_model), &roomy, 1, &err);
    if (status != SNUG_OK) {
        send_refused(w, SNUG_TRIAL_REFUSED, err.text);
        return;
    }
    struct snug_json_writer writer = {0};
    snug_json_begin_object(&writer, NULL);
    snug_json_put_string(&writer, "event", "tokens");
    snug_json_put_int(&writer, "longest", snug__tokens_longest(&tokens));
    snug_json_put_int(&writer, "median", snug__tokens_median(&tokens));
    snug_json_put_bool(&writer, "is_session", tokens.n_sessions > 0);
    int64_t n_user = 0, n_answer = 0;
    for (int i = 0; i < tokens.n_sessions; i++) {
        for (int k = 0; k < tokens.sessions[i].n_turns; k++) {
            n_user += tokens.sessions[i].turns[k].user.n;
            n_answer += tokens.sessions[i].turns[k].assistant.n;
        }
    }
    snug_json_put_int(&writer, "user", n_user);
    snug_json_put_int(&writer, "answer", n_answer);
    snug_json_end(&writer);
    snug__worker_send(w, &writer);
    snug__tokens_clear(&tokens);
}

static void send_done(struct snug__worker *w, const struct snug_measurement *m)
{
    struct snug_json_writer writer = {0};
    snug_json_begin_object(&writer, NULL);
    snug_json_put_string(&writer, "event", "done");
    snug_measurement_to_json(&writer, "measurement", m);
    put_effective(w, &writer, &w->settings);
    snug_json_begin_array(&writer, "gaps");
    for (int i = 0; i < m->n_gaps; i++)
        snug_json_put_number(&writer, NULL, m->gaps_s[i]);
    snug_json_end(&writer);
    snug_json_end(&writer);
    snug__worker_send(w, &writer);
}

static void on_run(struct snug__worker *w, const struct snug__settings *settings,
                   const struct snug_workload *workload, const struct snug_effort *effort)
{
    struct snug_error err = {0};
    enum snug_outcome outcome = SNUG_TRIAL_OK;
    struct snug_measurement m = {0};
    snug_status status = snug__worker_prepare(w, settings, workload, &outcome, &err);
    if (status != SNUG_OK) {
        send_refused(w, outcome, err.text);
        return;
    }
    m.load_s = w->load_s;
    m.bytes = w->bytes;
    m.bytes.rss_base = w->rss_base;
    w->outcome = SNUG_TRIAL_REFUSED;
    status = snug__worker_measure(w, workload, effort, &m, &err);
    if (status == SNUG_OK) {
        uint64_t rss = 0;
        snug_process_rss(getpid(), &rss, &m.bytes.rss_peak);
        send_done(w, &m);
    } else {
        send_refused(w, w->outcome, err.text);
    }
    snug_measurement_clear(&m);
}

static void on_trace(struct snug__worker *w, const struct snug__settings *settings,
                     const struct snug_workload *workload, const struct snug_json_node *request)
{
    struct snug_error err = {0};
    struct snug_json_writer writer = {0};
    enum snug_outcome outcome = SNUG_TRIAL_REFUSED;
    if (snug__worker_trace(w, settings, workload, request, &writer, &outcome, &err) != SNUG_OK) {
        send_refused(w, outcome, err.text);
        return;
    }
    put_effective(w, &writer, settings);
    snug_json_end(&writer);
    snug__worker_send(w, &writer);
}

typedef snug_status (*text_op_fn)(struct snug__worker *w, const struct snug__settings *settings,
                                  const struct snug_json_node *request,
                                  enum snug_outcome *out_outcome, struct snug_error *err);

static void on_text(struct snug__worker *w, text_op_fn op, const struct snug__settings *settings,
                    const struct snug_json_node *request)
{
    struct snug_error err = {0};
    enum snug_outcome outcome = SNUG_TRIAL_REFUSED;
    if (op(w, settings, request, &outcome, &err) != SNUG_OK)
        send_refused(w, outcome, err.text);
}

static void on_request(struct snug__worker *w, const char *line)
{
    struct snug_error err = {0};
    struct snug_json *doc = NULL;
    if (snug_json_parse("request", line, strlen(line), &doc, &err) != SNUG_OK) {
        send_refused(w, SNUG_TRIAL_REFUSED, err.text);
        return;
    }
    const struct snug_json_node *request = snug_json_root(doc);
    const char *op = snug_json_get_string(request, "op", "");
    struct snug__settings settings;
    struct snug_workload workload = {0};
    snug_workload_from_json(snug_json_get(request, "workload"), &workload);
    if (strcmp(op, "open") == 0) {
        on_open(w, request);
    } else if (strcmp(op, "quantize") == 0) {
        snug__worker_quantize(w, request);
    } else if (strcmp(op, "errors") == 0) {
        snug__worker_errors(w, request);
    } else if (snug__settings_from_json(snug_json_get(request, "config"), &settings, &err) !=
               SNUG_OK) {
        send_refused(w, SNUG_TRIAL_REFUSED, err.text);
    } else if (workload.n_parallel > settings.n_batch) {
        /* libllama would abort: one step of decode is one token of every sequence. */
        send_refused(w, SNUG_TRIAL_REFUSED, "more sequences at once than n_batch");
    } else if (strcmp(op, "estimate") == 0) {
        on_estimate(w, &settings, &workload);
    } else if (strcmp(op, "score") == 0) {
        on_text(w, snug__worker_score, &settings, request);
    } else if (strcmp(op, "generate") == 0) {
        on_text(w, snug__worker_generate, &settings, request);
    } else if (strcmp(op, "eval") == 0) {
        snug__worker_eval(w, &settings, request);
    } else if (strcmp(op, "imatrix") == 0) {
        snug__worker_imatrix(w, &settings, request);
    } else if (strcmp(op, "tokens") == 0) {
        on_tokens(w, &settings, &workload);
    } else if (strcmp(op, "trace") == 0) {
        on_trace(w, &settings, &workload, request);
    } else {
        struct snug_effort effort;
        snug__effort_from_json(snug_json_get(request, "effort"), &effort);
        on_run(w, &settings, &workload, &effort);
    }
    snug_json_free(doc);
}

void snug__effort_from_json(const struct snug_json_node *node, struct snug_effort *effort)
{
    snug_effort_default(effort);
    effort->blocks_min = (int)snug_json_get_int(node, "blocks_min", effort->blocks_min);
    effort->blocks_max = (int)snug_json_get_int(node, "blocks_max", effort->blocks_max);
    effort->spread_frac = snug_json_get_number(node, "spread_frac", effort->spread_frac);
    effort->phase_s = snug_json_get_number(node, "phase_s", effort->phase_s);
    effort->deadline_s = snug_json_get_number(node, "deadline_s", effort->deadline_s);
    effort->want_prefill = snug_json_get_bool(node, "want_prefill", effort->want_prefill);
    effort->want_decode = snug_json_get_bool(node, "want_decode", effort->want_decode);
    effort->may_cut = snug_json_get_bool(node, "may_cut", effort->may_cut);
    effort->warmup_max = (int)snug_json_get_int(node, "warmup_max", effort->warmup_max);
    effort->n_gen_max = snug_json_get_int(node, "n_gen_max", effort->n_gen_max);
    effort->is_sampling_off = snug_json_get_bool(node, "is_sampling_off", effort->is_sampling_off);
}

int snug__worker_main(void)
{
    snug_process_die_with_parent(SIGKILL);
    signal(SIGINT, SIG_IGN); /* Ctrl-C is the parent's to handle */
    struct snug__worker w = {.fd_events = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)};
    if (w.fd_events < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return 1;
    snug__llama_log_install();
    char *line = NULL;
    size_t cap = 0;
    while (getline(&line, &cap, stdin) > 0)
        on_request(&w, line);
    free(line);
    snug__worker_unload(&w);
    if (w.dry_model)
        llama_model_free(w.dry_model);
    return 0;
}
