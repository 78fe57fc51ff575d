/* The llama engine, parent side. Two workers: one for dry runs, which holds the vocabulary and no
 * weights, and one for trials, which keeps the model loaded between trials with the same load
 * knobs. Either may die; the next call starts another. */
#include "engine/engine_row.h"
#include "engine/llama_engine.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <ggml.h>

#include "snug/units.h"
#include "trial/trial_json.h"

#define ESTIMATES_MAX 4096
static const double ESTIMATE_LIMIT_S = 60.0;
/* A dry run holds no weights and no cache, but libllama's list of cells, some 50 bytes a token. */
static const uint64_t DRY_LIMIT_MIN_BYTES = 256ull << 20, DRY_LIMIT_MAX_BYTES = 2ull << 30;

struct estimate {
    struct snug_config key; /* knobs that do not move bytes are at their default */
    bool is_feasible;
    bool is_killed; /* the worker was killed from outside: says nothing of the config */
    struct snug_bytes bytes;
    char reason[SNUG_REASON_MAX];
};

struct llama_engine {
    struct snug_engine_options options;
    struct snug_space space;
    struct snug__llama_caps caps;
    struct snug__link dry, trial;
    int64_t numa;            /* of the last trial */
    uint64_t rss_vocabulary; /* a worker with vocabulary and without weights */
    struct estimate *estimates;
    size_t n_estimates;
};

/* Threads, priorities and the way of loading do not change what libllama states. */
static void bytes_key(const struct llama_engine *e, const struct snug_config *config,
                      struct snug_config *out)
{
    static const char *const inert[] = {"n_threads", "n_threads_batch", "poll", "prio", "cpu_mask",
                                        "numa",      "load_mode"};
    *out = *config;
    for (size_t i = 0; i < sizeof inert / sizeof *inert; i++) {
        const int at = snug_space_find(&e->space, inert[i]);
        out->value[at] = e->space.knobs[at].def;
    }
}

static void begin_request(struct snug_json_writer *w, const char *op, const struct llama_engine *e,
                          const struct snug_config *config)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "op", op);
    if (config)
        snug_config_to_json(w, "config", &e->space, config);
    snug_workload_to_json(w, "workload", &e->options.workload);
}

static void read_bytes(const struct snug_json_node *node, struct snug_bytes *out)
{
    out->weights = (uint64_t)snug_json_get_int(node, "weights", 0);
    out->cache = (uint64_t)snug_json_get_int(node, "cache", 0);
    out->compute = (uint64_t)snug_json_get_int(node, "compute", 0);
    out->device = (uint64_t)snug_json_get_int(node, "device", 0);
}

static snug_status ask_dry(struct llama_engine *e, const struct snug_config *config,
                           struct estimate *out, bool *out_flash_attn, struct snug_error *err)
{
    if (e->options.rpc)
        snug__link_close(&e->trial); /* an RPC server talks to one client at a time */
    snug_status status = snug__link_open(&e->dry, &e->options, &e->caps, err);
    if (status != SNUG_OK)
        return status;
    struct snug_json_writer request = {0};
    begin_request(&request, "estimate", e, config);
    snug_json_end(&request);
    struct snug_json *doc = NULL;
    struct snug__link_end end = {0};
    status = snug__link_call(&e->dry, &e->options, &request, ESTIMATE_LIMIT_S, &doc, &end, err);
    if (status == SNUG_CRASHED) {
        out->is_killed = end.outcome == SNUG_TRIAL_OOM;
        snprintf(out->reason, sizeof out->reason, "%s", end.reason);
        return SNUG_OK; /* the config is infeasible; the next dry run gets a new worker */
    }
    if (status != SNUG_OK)
        return status;
    const struct snug_json_node *root = snug_json_root(doc);
    if (strcmp(snug_json_get_string(root, "event", ""), "estimate") == 0) {
        out->is_feasible = true;
        read_bytes(snug_json_get(root, "bytes"), &out->bytes);
        e->rss_vocabulary = (uint64_t)snug_json_get_int(root, "rss", 0);
        out->bytes.rss_base = e->rss_vocabulary;
        const char *fa = snug_json_get_string(snug_json_get(root, "effective"), "flash_attn", "");
        *out_flash_attn = strcmp(fa, "on") == 0;
    } else {
        snprintf(out->reason, sizeof out->reason, "%s",
                 snug_json_get_string(root, "reason", "no reason given"));
    }
    snug_json_free(doc);
    return SNUG_OK;
}

/* One dry run. config NULL: libllama's own defaults. *out_flash_attn: what is in effect. Asked
 * again when the worker was killed: twice, and the config itself is too much. */
static snug_status dry_run(struct llama_engine *e, const struct snug_config *config,
                           struct estimate *out, bool *out_flash_attn, struct snug_error *err)
{
    const snug_status status = ask_dry(e, config, out, out_flash_attn, err);
    if (status != SNUG_OK || !out->is_killed)
        return status;
    out->is_killed = false;
    return ask_dry(e, config, out, out_flash_attn, err);
}

static snug_status find_estimate(struct llama_engine *e, const struct snug_config *config,
                                 const struct estimate **out, struct snug_error *err)
{
    struct snug_config key;
    bytes_key(e, config, &key);
    for (size_t i = 0; i < e->n_estimates; i++) {
        if (snug_config_equal(&e->space, &e->estimates[i].key, &key)) {
            *out = &e->estimates[i];
            return SNUG_OK;
        }
    }
    struct estimate fresh = {.key = key};
    bool is_flash_attn_on = false;
    const snug_status status = dry_run(e, &key, &fresh, &is_flash_attn_on, err);
    if (status != SNUG_OK)
        return status;
    /* A full cache starts over: dry runs are cheap, and spaces this large are rare. */
    if (e->n_estimates == ESTIMATES_MAX)
        e->n_estimates = 0;
    e->estimates[e->n_estimates] = fresh;
    *out = &e->estimates[e->n_estimates++];
    return SNUG_OK;
}

static snug_status estimate(void *state, const struct snug_config *config, struct snug_bytes *out,
                            struct snug_error *err)
{
    struct llama_engine *e = state;
    const struct estimate *found = NULL;
    const snug_status status = find_estimate(e, config, &found, err);
    if (status != SNUG_OK)
        return status;
    if (!found->is_feasible)
        return snug_fail(err, SNUG_INFEASIBLE, "%s", found->reason);
    *out = found->bytes;
    return SNUG_OK;
}

/* ---- trials ---- */

static double unix_now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void end_with(struct snug_measurement *m, enum snug_outcome outcome, const char *reason)
{
    m->outcome = outcome;
    snprintf(m->reason, sizeof m->reason, "%s", reason);
}

static void take_done(struct llama_engine *e, const struct snug_json_node *root,
                      const struct snug_config *asked, struct snug_measurement *m)
{
    snug_measurement_from_json(snug_json_get(root, "measurement"), m);
    m->outcome = SNUG_TRIAL_OK;
    m->effective = *asked;
    if (snug_config_from_json(snug_json_get(root, "effective"), &e->space, false, &m->effective,
                              NULL) != SNUG_OK)
        m->effective = *asked;
    const struct snug_json_node *gaps = snug_json_get(root, "gaps");
    const size_t n = snug_json_count(gaps);
    m->gaps_s = n ? calloc(n, sizeof *m->gaps_s) : NULL;
    for (size_t i = 0; m->gaps_s && i < n; i++)
        m->gaps_s[i] = snug_json_number(snug_json_at(gaps, i), 0.0);
    m->n_gaps = m->gaps_s ? (int)n : 0;
    snug_verdict_judge(m, &e->space, asked, &e->options.workload, e->options.noise_frac);
    if (e->rss_vocabulary > m->bytes.rss_base)
        m->bytes.rss_base = e->rss_vocabulary;
}

/* Ask the trial worker; every way it can end becomes an outcome. */
static snug_status call_trial(struct llama_engine *e, const struct snug_config *config,
                              const struct snug_effort *effort, struct snug_measurement *m,
                              struct snug_error *err)
{
    /* ggml sets NUMA placement once per process. */
    const int64_t numa = config->value[snug_space_find(&e->space, "numa")];
    if (numa != e->numa)
        snug__link_close(&e->trial);
    e->numa = numa;
    if (e->options.rpc)
        snug__link_close(&e->dry);
    snug_status status = snug__link_open(&e->trial, &e->options, NULL, err);
    if (status != SNUG_OK)
        return status;
    struct snug_json_writer request = {0};
    begin_request(&request, "run", e, config);
    snug__effort_to_json(&request, "effort", effort);
    snug_json_end(&request);
    struct snug_json *doc = NULL;
    struct snug__link_end end = {0};
    status = snug__link_call(&e->trial, &e->options, &request, effort->deadline_s, &doc, &end, err);
    if (status == SNUG_CRASHED) {
        end_with(m, end.outcome, end.reason);
        return SNUG_OK;
    }
    if (status != SNUG_OK)
        return status;
    const struct snug_json_node *root = snug_json_root(doc);
    if (strcmp(snug_json_get_string(root, "event", ""), "done") == 0)
        take_done(e, root, config, m);
    else
        end_with(m, snug_outcome_from_name(snug_json_get_string(root, "outcome", "refused")),
                 snug_json_get_string(root, "reason", "no reason given"));
    snug_json_free(doc);
    return SNUG_OK;
}

static snug_status run(void *state, const struct snug_config *config,
                       const struct snug_effort *effort, struct snug_measurement *out,
                       struct snug_error *err)
{
    struct llama_engine *e = state;
    struct snug_measurement m = {.effective = *config, .n_output = -1};
    snug_conditions_init(&m.conditions);
    const double start = snug_clock_s(), started_unix_s = unix_now_s();
    const struct estimate *found = NULL;
    snug_status status = find_estimate(e, config, &found, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_bytes stated = found->bytes;
    const uint64_t limit = e->options.memory_limit_bytes;
    if (!found->is_feasible) {
        end_with(&m, SNUG_TRIAL_REFUSED, found->reason);
    } else if (limit && snug_bytes_stated(&stated) > limit) {
        char reason[SNUG_REASON_MAX];
        snprintf(reason, sizeof reason, "needs %.0f MiB, the limit is %.0f MiB",
                 (double)snug_bytes_stated(&stated) / (1 << 20), (double)limit / (1 << 20));
        end_with(&m, SNUG_TRIAL_REFUSED, reason);
    } else {
        status = call_trial(e, config, effort, &m, err);
    }
    if (status != SNUG_OK) {
        snug_measurement_clear(&m);
        return status;
    }
    if (m.bytes.weights == 0 && found->is_feasible)
        m.bytes = stated; /* a trial that did not get so far still has its stated bytes */
    m.wall_s = snug_clock_s() - start;
    m.started_unix_s = started_unix_s;
    snprintf(m.build, sizeof m.build, "%s", e->caps.build);
    *out = m;
    return SNUG_OK;
}

/* ---- open and close ---- */

static void close_engine(void *state)
{
    struct llama_engine *e = state;
    snug__link_close(&e->dry);
    snug__link_close(&e->trial);
    free(e->estimates);
    free(e);
}

static void restart_trials(void *state)
{
    struct llama_engine *e = state;
    snug__link_close(&e->trial);
}

static void find_masks(struct llama_engine *e)
{
    const struct snug_machine *machine = e->options.machine;
    const char *const masks[] = {machine->mask_cores, machine->mask_performance};
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        if (masks[i][0] && e->caps.n_masks < SNUG__MASKS_MAX)
            snprintf(e->caps.masks[e->caps.n_masks++], SNUG_CPU_MASK_MAX, "%s", masks[i]);
    }
}

static uint64_t dry_limit(uint64_t limit)
{
    if (limit == 0 || limit > DRY_LIMIT_MAX_BYTES)
        return DRY_LIMIT_MAX_BYTES;
    return limit < DRY_LIMIT_MIN_BYTES ? DRY_LIMIT_MIN_BYTES : limit;
}

/* A context that no cache type could fit is refused before libllama is asked, which would list its
 * cells for half a minute. Where layers look back a window only, they may need next to nothing. */
static snug_status check_context(const struct snug_engine_options *o, struct snug_error *err)
{
    const uint64_t n_cells = (uint64_t)(o->workload.n_ctx * o->workload.n_parallel);
    const uint64_t bytes =
        snug_model_cache_bytes(o->model, n_cells, GGML_TYPE_Q4_0, GGML_TYPE_Q4_0) /
        (o->model->n_swa > 0 ? 8 : 1);
    char need[SNUG_UNIT_TEXT_MAX], limit[SNUG_UNIT_TEXT_MAX];
    if (o->memory_limit_bytes == 0 || bytes <= o->memory_limit_bytes)
        return SNUG_OK;
    return snug_fail(err, SNUG_INFEASIBLE,
                     "%s: a context of %lld tokens needs %s for its cache at the least, the limit "
                     "is %s: give a smaller --context, or more --memory",
                     o->model_path, (long long)n_cells, snug_bytes_text(bytes, need),
                     snug_bytes_text(o->memory_limit_bytes, limit));
}

static snug_status open_engine(const struct snug_engine_options *options, void **out_state,
                               struct snug_error *err)
{
    const snug_status fits = check_context(options, err);
    if (fits != SNUG_OK)
        return fits;
    struct llama_engine *e = calloc(1, sizeof *e);
    if (!e)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for an engine");
    e->options = *options;
    e->trial.limit_bytes = options->memory_limit_bytes;
    e->dry.limit_bytes = dry_limit(options->memory_limit_bytes);
    e->estimates = calloc(ESTIMATES_MAX, sizeof *e->estimates);
    struct estimate first = {0};
    snug_status status = e->estimates
                             ? dry_run(e, NULL, &first, &e->caps.is_flash_attn_default, err)
                             : snug_fail(err, SNUG_NO_MEMORY, "no memory for estimates");
    if (status == SNUG_OK && !first.is_feasible)
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: %s", options->model_path, first.reason);
    if (status != SNUG_OK) {
        close_engine(e);
        return status;
    }
    find_masks(e);
    snug__llama_space(&e->caps, options, &e->space);
    *out_state = e;
    return SNUG_OK;
}

static const struct snug_space *get_space(const void *state)
{
    return &((const struct llama_engine *)state)->space;
}

static const char *get_build(const void *state)
{
    return ((const struct llama_engine *)state)->caps.build;
}

static uint64_t get_tied_repacked(const void *state)
{
    return ((const struct llama_engine *)state)->caps.tied_repacked;
}

const struct snug__engine_row snug__engine_llama = {
    .name = "llama",
    .open = open_engine,
    .close = close_engine,
    .space = get_space,
    .build = get_build,
    .tied_repacked = get_tied_repacked,
    .estimate = estimate,
    .run = run,
    .restart = restart_trials,
};
