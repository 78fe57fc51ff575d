/* The link to a worker process: start, call, watch, end.
 *
 * While a call waits, the parent looks at the clock, at the user's stop flag and at the worker's
 * anonymous memory. A worker that passes its limits is killed with its group; whatever happens, the
 * call ends with a reason. */
#include "engine/llama_engine.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"

static const double SLICE_S = 0.05;       /* how often the watchdog looks */
static const double START_LIMIT_S = 60.0; /* a worker that does not even start */
static const double EXIT_LIMIT_S = 5.0;

/* Anonymous resident bytes (RssAnon): what a config really takes from the machine. File pages of a
 * mapped model can be dropped at any time and do not count. */
static uint64_t anonymous_bytes(pid_t pid)
{
    char path[64];
    char *text = NULL;
    size_t n = 0;
    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    if (snug_file_read(path, 65536, &text, &n, NULL) != SNUG_OK)
        return 0;
    const char *line = strstr(text, "RssAnon:");
    const uint64_t kib = line ? strtoull(line + 8, NULL, 10) : 0;
    free(text);
    return kib << 10;
}

static void describe_exit(struct snug__link *link, uint64_t last_anonymous,
                          struct snug__link_end *end)
{
    struct snug_process_exit status = {0};
    char words[sizeof end->reason - sizeof "worker "];
    if (snug_process_wait(&link->process, EXIT_LIMIT_S, &status) != SNUG_OK) {
        snug_process_signal(&link->process, SIGKILL);
        end->outcome = SNUG_TRIAL_TIMEOUT;
        snprintf(end->reason, sizeof end->reason, "the worker neither answered nor ended");
        return;
    }
    end->outcome = SNUG_TRIAL_CRASH;
    if (status.signal == SIGKILL) {
        /* Not by us. On Linux that is nearly always the out-of-memory killer. */
        end->outcome = SNUG_TRIAL_OOM;
        snprintf(end->reason, sizeof end->reason,
                 "killed from outside at %.0f MiB: the kernel's out-of-memory killer, or someone",
                 (double)last_anonymous / (1 << 20));
    } else {
        snug_process_exit_text(&link->process, &status, words, sizeof words);
        snprintf(end->reason, sizeof end->reason, "worker %s", words);
    }
}

void snug__link_close(struct snug__link *link)
{
    if (link->is_open)
        snug_process_clear(&link->process);
    link->is_open = false;
}

static snug_status kill_with(struct snug__link *link, enum snug_outcome outcome, const char *reason,
                             struct snug__link_end *end, struct snug_error *err)
{
    end->outcome = outcome;
    snprintf(end->reason, sizeof end->reason, "%s", reason);
    snug__link_close(link);
    return snug_fail(err, SNUG_CRASHED, "%s", reason);
}

/* Read one event; "phase" events go to the progress callback and are not returned. */
static snug_status take_event(const char *line, const struct snug_engine_options *options,
                              struct snug_json **out_doc, struct snug_error *err)
{
    struct snug_json *doc = NULL;
    const snug_status status = snug_json_parse("worker", line, strlen(line), &doc, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_json_node *root = snug_json_root(doc);
    if (strcmp(snug_json_get_string(root, "event", ""), "phase") != 0) {
        *out_doc = doc;
        return SNUG_OK;
    }
    if (options->progress) {
        char text[64];
        const int64_t index = snug_json_get_int(root, "index", 0);
        snprintf(text, sizeof text, index > 0 ? "%s %lld" : "%s",
                 snug_json_get_string(root, "name", "?"), (long long)index);
        options->progress(text, options->progress_data);
    }
    snug_json_free(doc);
    return SNUG_OK;
}

/* What the parent keeps an eye on while it waits. */
struct watch {
    double deadline_s, until_s; /* length, and the moment it ends */
    double next_look_s;
    uint64_t anonymous; /* bytes, when last looked at */
};

/* SNUG_OK while the worker keeps its limits and nobody asked to stop; else it is gone. */
static snug_status look_after(struct snug__link *link, const struct snug_engine_options *options,
                              struct watch *watch, struct snug__link_end *end,
                              struct snug_error *err)
{
    char reason[SNUG_REASON_MAX];
    const double now = snug_clock_s();
    if (options->stop && *options->stop) {
        snug__link_close(link);
        return snug_fail(err, SNUG_INTERRUPTED, "stopped by the user");
    }
    if (now > watch->until_s) {
        snprintf(reason, sizeof reason, "not done after %.3g s", watch->deadline_s);
        return kill_with(link, SNUG_TRIAL_TIMEOUT, reason, end, err);
    }
    if (now < watch->next_look_s)
        return SNUG_OK;
    watch->next_look_s = now + SLICE_S;
    watch->anonymous = anonymous_bytes(link->process.pid);
    if (link->limit_bytes && watch->anonymous > link->limit_bytes) {
        snprintf(reason, sizeof reason, "passed the memory limit: %.0f of %.0f MiB",
                 (double)watch->anonymous / (1 << 20), (double)link->limit_bytes / (1 << 20));
        return kill_with(link, SNUG_TRIAL_OOM, reason, end, err);
    }
    return SNUG_OK;
}

static snug_status wait_event(struct snug__link *link, const struct snug_engine_options *options,
                              double deadline_s, struct snug_json **out_doc,
                              struct snug__link_end *end, struct snug_error *err)
{
    struct watch watch = {.deadline_s = deadline_s, .until_s = snug_clock_s() + deadline_s};
    struct snug_json *doc = NULL;
    while (!doc) {
        const char *line = NULL;
        snug_status status =
            snug_process_read_line(&link->process, SLICE_S, options->stop, &line, err);
        if (status == SNUG_OK) {
            status = take_event(line, options, &doc, err);
            if (status != SNUG_OK)
                return kill_with(link, SNUG_TRIAL_CRASH, "the worker sent nonsense", end, err);
        } else if (status != SNUG_TIMEOUT && status != SNUG_INTERRUPTED) {
            describe_exit(link, watch.anonymous, end);
            snug__link_close(link);
            return snug_fail(err, SNUG_CRASHED, "%s", end->reason);
        }
        /* Also between events: a worker that talks all the time has a deadline too. */
        status = doc ? SNUG_OK : look_after(link, options, &watch, end, err);
        if (status != SNUG_OK)
            return status;
    }
    *out_doc = doc;
    return SNUG_OK;
}

snug_status snug__link_call(struct snug__link *link, const struct snug_engine_options *options,
                            struct snug_json_writer *request, double deadline_s,
                            struct snug_json **out_doc, struct snug__link_end *out_end,
                            struct snug_error *err)
{
    char *text = snug_json_finish(request, false);
    if (!text)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a request");
    size_t n = strlen(text);
    text[n++] = '\n';
    const snug_status status = snug_process_write(&link->process, text, n, EXIT_LIMIT_S, err);
    free(text);
    if (status != SNUG_OK) {
        describe_exit(link, 0, out_end);
        snug__link_close(link);
        return snug_fail(err, SNUG_CRASHED, "%s", out_end->reason);
    }
    return wait_event(link, options, deadline_s, out_doc, out_end, err);
}

snug_status snug__link_next(struct snug__link *link, const struct snug_engine_options *options,
                            double deadline_s, struct snug_json **out_doc,
                            struct snug__link_end *out_end, struct snug_error *err)
{
    return wait_event(link, options, deadline_s, out_doc, out_end, err);
}

static void read_caps(const struct snug_json_node *root, struct snug__llama_caps *caps)
{
    snprintf(caps->build, sizeof caps->build, "%s", snug_json_get_string(root, "build", ""));
    caps->has_openmp = snug_json_get_bool(root, "has_openmp", false);
    caps->has_repack = snug_json_get_bool(root, "has_repack", false);
    caps->rss_base = (uint64_t)snug_json_get_int(root, "rss_base", 0);
    caps->tied_repacked = (uint64_t)snug_json_get_int(root, "tied_repacked", 0);
    const struct snug_json_node *devices = snug_json_get(root, "devices");
    caps->n_gpus = 0; /* a worker that was started again tells them again */
    for (size_t i = 0; i < snug_json_count(devices) && caps->n_gpus < SNUG_DEVICES_MAX; i++) {
        const struct snug_json_node *device = snug_json_at(devices, i);
        const char *kind = snug_json_get_string(device, "kind", "");
        if (strcmp(kind, "gpu") == 0 || strcmp(kind, "igpu") == 0)
            snprintf(caps->gpu_names[caps->n_gpus++], sizeof caps->gpu_names[0], "%s",
                     snug_json_get_string(device, "name", ""));
    }
}

static void write_open(struct snug_json_writer *w, const struct snug__link *link,
                       const struct snug_engine_options *options)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "op", "open");
    snug_json_put_string(w, "rpc", options->rpc ? options->rpc : "");
    snug_json_put_string(w, "model", options->model_path);
    snug_json_put_int(w, "limit_bytes", (int64_t)link->limit_bytes);
    const struct snug_model *model = options->model;
    for (int i = 0; model->is_tied && i < model->n_tensors; i++) {
        if (strcmp(model->tensors[i].name, "token_embd.weight") != 0)
            continue;
        snug_json_begin_object(w, "tied");
        snug_json_put_int(w, "type", model->tensors[i].type);
        snug_json_put_int(w, "ne0", model->tensors[i].ne[0]);
        snug_json_put_int(w, "ne1", model->tensors[i].ne[1]);
        snug_json_end(w);
        break;
    }
    snug_json_end(w);
}

snug_status snug__link_open(struct snug__link *link, const struct snug_engine_options *options,
                            struct snug__llama_caps *caps, struct snug_error *err)
{
    struct snug_process_exit gone;
    /* One that died while it had nothing to do is no fault of the next config. */
    if (link->is_open && snug_process_wait(&link->process, 0.0, &gone) == SNUG_OK)
        snug__link_close(link);
    if (link->is_open)
        return SNUG_OK;
    char self[4096];
    snug_status status = snug_process_self(self, sizeof self, err);
    if (status != SNUG_OK)
        return status;
    const char *const argv[] = {self, "__worker", NULL};
    /* ggml would start a debugger on abort; its backtrace is of no use here. */
    const char *const env[] = {"GGML_NO_BACKTRACE=1", NULL};
    const struct snug_process fresh = SNUG_PROCESS_INIT;
    link->process = fresh;
    status = snug_process_start(&link->process, argv, env, err);
    if (status != SNUG_OK)
        return status;
    link->is_open = true;
    struct snug_json_writer request = {0};
    write_open(&request, link, options);
    struct snug_json *doc = NULL;
    struct snug__link_end end = {0};
    status = snug__link_call(link, options, &request, START_LIMIT_S, &doc, &end, err);
    if (status == SNUG_CRASHED)
        return snug_fail(err, SNUG_IO, "the worker process did not start: %s", end.reason);
    if (status != SNUG_OK)
        return status;
    const struct snug_json_node *root = snug_json_root(doc);
    if (strcmp(snug_json_get_string(root, "event", ""), "ready") != 0) {
        status = snug_fail(err, SNUG_UNSUPPORTED, "the engine cannot start: %s",
                           snug_json_get_string(root, "reason", "no reason given"));
        snug__link_close(link);
    } else if (caps) {
        read_caps(root, caps);
    }
    snug_json_free(doc);
    return status;
}

snug_status snug__link_refusal(const struct snug_json_node *root, struct snug_error *err)
{
    const char *name = snug_json_get_string(root, "status", "");
    snug_status status = SNUG_UNSUPPORTED;
    for (int i = 1; i < SNUG_N_STATUSES; i++) {
        if (strcmp(snug_status_name((snug_status)i), name) == 0)
            status = (snug_status)i;
    }
    return snug_fail(err, status, "%s", snug_json_get_string(root, "reason", "no reason given"));
}

void snug__effort_to_json(struct snug_json_writer *w, const char *key,
                          const struct snug_effort *effort)
{
    snug_json_begin_object(w, key);
    snug_json_put_int(w, "blocks_min", effort->blocks_min);
    snug_json_put_int(w, "blocks_max", effort->blocks_max);
    snug_json_put_number(w, "spread_frac", effort->spread_frac);
    snug_json_put_number(w, "phase_s", effort->phase_s);
    snug_json_put_number(w, "deadline_s", effort->deadline_s);
    snug_json_put_bool(w, "want_prefill", effort->want_prefill);
    snug_json_put_bool(w, "want_decode", effort->want_decode);
    snug_json_put_bool(w, "may_cut", effort->may_cut);
    snug_json_put_int(w, "warmup_max", effort->warmup_max);
    snug_json_put_int(w, "n_gen_max", effort->n_gen_max);
    snug_json_put_bool(w, "is_sampling_off", effort->is_sampling_off);
    snug_json_end(w);
}
