/* snug run --adapt: what the history knows becomes the members of a server that adapts.
 *
 * A member is a config that was measured and never failed, of the same cache types as the default
 * unless others are allowed. Its memory is the most that any of its trials stated, with what a
 * process has besides, or held. Its trials are put together by the load that other programs made
 * beside them: the median of the speeds, the worst of the times. A trial whose verdict is INVALID
 * for anything but that load is left out where a better one is known. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/process.h"
#include "cli/cli.h"
#include "cli/run.h"
#include "snug/serve.h"
#include "snug/stats.h"
#include "snug/units.h"

static const double SAME_LOAD_FRAC = 0.1; /* of the CPUs: nearer loads are one level */
enum { PORT_DEFAULT = 8080 };

struct adapting {
    char names[SNUG_ADAPT_MEMBERS_MAX][256];
    struct cli_task task;
    struct known known;
    struct snug_space space;
    struct snug_adapt_member members[SNUG_ADAPT_MEMBERS_MAX];
    struct snug_serve_config configs[SNUG_ADAPT_MEMBERS_MAX];
    char **words[SNUG_ADAPT_MEMBERS_MAX]; /* of the engine, owned */
    int n;
    char self[4096], tool[4096];
    FILE *log;
};

static void adapting_close(struct adapting *a)
{
    for (int i = 0; i < a->n; i++) {
        snug_engine_flags_free(a->words[i]);
        free((void *)(uintptr_t)a->configs[i].argv);
    }
    if (a->log)
        fclose(a->log);
    known_close(&a->known);
    cli_task_close(&a->task);
}

/* ---- members ---- */

static bool is_same_config(const struct known_trial *a, const struct known_trial *b)
{
    return strcmp(a->config_json, b->config_json) == 0;
}

static bool is_clean(const struct known_trial *trial)
{
    const uint32_t load = SNUG_WARN(OTHER_LOAD);
    return trial->speed > 0 && snug_verdict_of(trial->measurement.warnings & ~load) != SNUG_INVALID;
}

/* The load beside a trial. One that came and went is no level: what was timed beside it is taken
 * for what the config can do at best, which is what it does beside no load. */
static double level_of(const struct known_trial *trial)
{
    const uint32_t unsteady = SNUG_WARN(NOISY) | SNUG_WARN(BIMODAL) | SNUG_WARN(DRIFT) |
                              SNUG_WARN(SLOW_FIRST) | SNUG_WARN(UNSETTLED);
    return trial->measurement.warnings & unsteady ? 0 : trial->measurement.other_load_frac;
}

/* Figures of trials, of one kind each. */
struct figures {
    double *speeds, *prefill_tps, *decode_tps; /* [n_trials + 1] */
};

static double prefill_frac_of(const struct known *k, const struct snug_adapt_point *point)
{
    if (k->objective != SNUG_OBJECTIVE_REQUEST)
        return k->objective == SNUG_OBJECTIVE_PREFILL;
    /* A phase without tokens has no speed either. */
    const double n_prompt = (double)k->workload.n_prompt, n_gen = (double)k->workload.n_gen;
    const double prefill_s = point->prefill_tps > 0 ? n_prompt / point->prefill_tps : 0;
    const double decode_s = point->decode_tps > 0 ? n_gen / point->decode_tps : 0;
    return prefill_s > 0 ? prefill_s / (prefill_s + decode_s) : 0;
}

/* Put the trials of one config and level of load, from i on, into a point. */
static struct snug_adapt_point point_of(const struct known *k, int i, bool want_clean,
                                        const struct figures *figures)
{
    const struct known_trial *first = &k->trials[i];
    struct snug_adapt_point point = {.other_frac = level_of(first)};
    size_t n = 0, n_prefill = 0, n_decode = 0;
    for (int j = i; j < k->n_trials; j++) {
        const struct known_trial *trial = &k->trials[j];
        const struct snug_measurement *m = &trial->measurement;
        if (!is_same_config(trial, first) || trial->speed <= 0 ||
            (want_clean && !is_clean(trial)) ||
            fabs(level_of(trial) - point.other_frac) > SAME_LOAD_FRAC)
            continue;
        figures->speeds[n++] = trial->speed;
        figures->prefill_tps[n_prefill] = m->prefill_tps;
        n_prefill += m->prefill_tps > 0;
        figures->decode_tps[n_decode] = m->decode_tps;
        n_decode += m->decode_tps > 0;
        point.ttft_s = fmax(point.ttft_s, m->ttft_s);
        point.tpot_s = fmax(point.tpot_s, fmax(m->tpot_p50_s, m->tpot_p95_s));
    }
    point.speed = snug_stats_median(figures->speeds, n);
    point.prefill_tps = n_prefill ? snug_stats_median(figures->prefill_tps, n_prefill) : 0;
    point.decode_tps = n_decode ? snug_stats_median(figures->decode_tps, n_decode) : 0;
    point.prefill_frac = prefill_frac_of(k, &point);
    return point;
}

static bool has_level(const struct snug_adapt_member *m, double other_frac)
{
    for (int i = 0; i < m->n_points; i++) {
        if (fabs(m->points[i].other_frac - other_frac) <= SAME_LOAD_FRAC)
            return true;
    }
    return false;
}

/* All that is known of trial i's config; false when it ever failed, or when nothing was timed. */
static bool gather(const struct known *k, int i, const struct figures *figures,
                   struct snug_adapt_member *out)
{
    bool has_clean = false;
    for (int j = 0; j < k->n_trials; j++) {
        const struct known_trial *trial = &k->trials[j];
        if (!is_same_config(trial, &k->trials[i]))
            continue;
        if (trial->measurement.outcome != SNUG_TRIAL_OK)
            return false;
        const struct snug_bytes *bytes = &trial->measurement.bytes;
        /* A trial may touch only part of its buffers; a server's life touches them all. */
        const uint64_t stated = trial->bytes > bytes->device ? trial->bytes - bytes->device : 0;
        const uint64_t host = stated + bytes->rss_base;
        const uint64_t most = host > bytes->rss_peak ? host : bytes->rss_peak;
        out->bytes = out->bytes > most ? out->bytes : most;
        has_clean |= is_clean(trial);
    }
    for (int j = 0; j < k->n_trials && out->n_points < SNUG_ADAPT_POINTS_MAX; j++) {
        const struct known_trial *trial = &k->trials[j];
        if (!is_same_config(trial, &k->trials[i]) || trial->speed <= 0 ||
            (has_clean && !is_clean(trial)) || has_level(out, level_of(trial)))
            continue;
        out->points[out->n_points++] = point_of(k, j, has_clean, figures);
    }
    return out->n_points > 0;
}

static int threads_of(const struct snug_space *space, const struct snug_config *config)
{
    const int decode = snug_space_find(space, "n_threads"),
              batch = snug_space_find(space, "n_threads_batch");
    const int64_t a = decode < 0 ? 1 : config->value[decode],
                  b = batch < 0 ? 1 : config->value[batch];
    return (int)(a > b ? a : b);
}

static bool answers_alike(const struct snug_space *space, const struct snug_config *config)
{
    for (int i = 0; i < space->n; i++) {
        if (space->knobs[i].is_quality && config->value[i] != space->knobs[i].def)
            return false;
    }
    return true;
}

static snug_status put_argv(const struct cli_args *args, struct adapting *a, int i,
                            const struct snug_config *config, struct snug_error *err)
{
    /* 8 GiB of old prompts by default, which no trial has measured and no budget gets back. */
    const struct run_words words = {
        .through = a->self, .tool = a->tool, .model_path = a->task.model.path, .cache_ram = "0"};
    const snug_status status =
        snug_engine_flags(&a->space, config, &a->task.workload, &a->words[i], err);
    if (status != SNUG_OK)
        return status;
    a->configs[i].argv = (const char *const *)cli_run_words(&words, a->words[i], args);
    return a->configs[i].argv ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "a command line");
}

/* Trial i as a new member, where it is a first of its config and may be one. */
static snug_status add_member(const struct cli_args *args, struct adapting *a, int i,
                              const struct figures *figures, struct snug_error *err)
{
    const struct known *k = &a->known;
    struct snug_adapt_member member = {.bytes = 0};
    struct snug_config config;
    for (int j = 0; j < i; j++) {
        if (is_same_config(&k->trials[j], &k->trials[i]))
            return SNUG_OK;
    }
    if (!cli_run_config(&a->space, k->trials[i].config_json, &config) ||
        !(answers_alike(&a->space, &config) ||
          (args->allow_cache_types &&
           snug_limit_holds(&k->goal, SNUG_LIMIT_KLD, k->trials[i].kld_nats))) ||
        !gather(k, i, figures, &member))
        return SNUG_OK;
    member.n_threads = threads_of(&a->space, &config);
    a->members[a->n] = member;
    snug_config_text(&a->space, &config, true, a->names[a->n], sizeof a->names[a->n]);
    a->configs[a->n] = (struct snug_serve_config){.trial = k->trials[i].id, .name = a->names[a->n]};
    return put_argv(args, a, a->n++, &config, err);
}

static snug_status find_members(const struct cli_args *args, struct adapting *a,
                                struct snug_error *err)
{
    const size_t n = (size_t)a->known.n_trials + 1;
    double *all = calloc(3 * n, sizeof *all);
    const struct figures figures = {
        .speeds = all, .prefill_tps = all ? all + n : NULL, .decode_tps = all ? all + 2 * n : NULL};
    snug_status status = all ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "speeds");
    /* Newest last: of more than can be held those that are on the front come first. */
    for (int round = 0; round < 2; round++) {
        for (int i = 0; status == SNUG_OK && i < a->known.n_trials; i++) {
            if (a->known.trials[i].on_front == (round == 0) && a->n < SNUG_ADAPT_MEMBERS_MAX)
                status = add_member(args, a, i, &figures, err);
        }
    }
    free(all);
    if (status == SNUG_OK && a->n == 0)
        status = snug_fail(err, SNUG_INFEASIBLE, "no config is known to work: run snug tune %s",
                           args->operand);
    return status;
}

/* ---- running ---- */

/* What would break the way to the server behind, or undo what was measured; snug_engine_flags
 * writes the long names. */
static const char *const TAKEN[] = {
    "--port", "--host", "--reuse-port", "--api-prefix", "--ssl-key-file", "--ssl-cert-file",
    /* the model */
    "-m", "--model", "-mu", "--model-url", "-dr", "--docker-repo", "-hf", "-hfr", "--hf-repo",
    "-hff", "--hf-file", "--models-dir", "--models-preset",
    /* the workload */
    "-c", "--ctx-size", "-np", "--parallel", "-fit", "--fit",
    /* the knobs */
    "-lm", "--load-mode", "--mmap", "--no-mmap", "--mlock", "-dio", "--direct-io", "-ndio",
    "--no-direct-io", "--repack", "-nr", "--no-repack", "-ngl", "--gpu-layers", "--n-gpu-layers",
    "-dev", "--device", "--numa", "-t", "--threads", "-tb", "--threads-batch", "-b", "--batch-size",
    "-ub", "--ubatch-size", "-fa", "--flash-attn", "-ctk", "--cache-type-k", "-ctv",
    "--cache-type-v", "-kvo", "--kv-offload", "-nkvo", "--no-kv-offload", "-kvu", "--kv-unified",
    "-no-kvu", "--no-kv-unified", "--poll", "--prio", "-C", "--cpu-mask"};

/* llama-server takes "--ctx_size" for "--ctx-size". */
static bool is_same_flag(const char *word, const char *flag)
{
    for (; *word && *flag; word++, flag++) {
        if (*word != *flag && !(*word == '_' && *flag == '-'))
            return false;
    }
    return *word == *flag;
}

static snug_status check_rest(const struct cli_args *args, struct snug_error *err)
{
    for (int i = 0; i < args->n_rest; i++) {
        for (size_t k = 0; k < sizeof TAKEN / sizeof *TAKEN; k++) {
            if (is_same_flag(args->rest[i], TAKEN[k]))
                return snug_fail(err, SNUG_BAD_INPUT,
                                 "%s behind --: with --adapt snug sets it, or needs it unset, for "
                                 "the server behind; its own options stand before --",
                                 args->rest[i]);
        }
    }
    if (args->print || (args->tool && strcmp(args->tool, "llama-server") != 0))
        return snug_fail(err, SNUG_BAD_INPUT, "--adapt serves with llama-server: leave --%s away",
                         args->print ? "print" : "tool");
    return SNUG_OK;
}

/* llama-server reads its options from there too, those of TAKEN among them. */
static void drop_variables(void)
{
    static const char PREFIX[] = "LLAMA_ARG_";
    for (size_t i = 0; environ[i];) {
        const size_t n = strcspn(environ[i], "=");
        const bool is_one = strncmp(environ[i], PREFIX, sizeof PREFIX - 1) == 0 && environ[i][n];
        char *name = is_one ? strndup(environ[i], n) : NULL;
        if (name) {
            cli_say("%s is not passed on: options of llama-server stand behind --", name);
            unsetenv(name); /* the next one moves up */
        }
        i += !name;
        free(name);
    }
}

static snug_status prepare(const struct cli_args *args, struct adapting *a, struct snug_error *err)
{
    snug_status status = check_rest(args, err);
    if (status == SNUG_OK)
        status = snug_engine_tool("llama-server", a->tool, sizeof a->tool, err);
    if (status == SNUG_OK)
        status = snug_process_self(a->self, sizeof a->self, err);
    if (status == SNUG_OK)
        status = cli_run_open(args, &a->task, &a->known, err);
    if (status != SNUG_OK)
        return status;
    a->space = *snug_engine_space(a->task.engine);
    status = find_members(args, a, err);
    /* Its workers would count as ours, and nothing is measured from now on. */
    snug_engine_close(a->task.engine);
    a->task.engine = NULL;
    if (status == SNUG_OK && args->log) {
        a->log = fopen(args->log, "ae");
        if (!a->log)
            status = snug_fail(err, SNUG_IO, "--log %s: %s", args->log, strerror(errno));
    }
    return status;
}

static void on_event(const char *text, const char *json, void *data)
{
    struct adapting *a = data;
    cli_say("%s", text);
    if (a->log && (fprintf(a->log, "%s\n", json) < 0 || fflush(a->log) != 0)) {
        cli_say("the log cannot be written: %s; going on without it", strerror(errno));
        fclose(a->log);
        a->log = NULL;
    }
}

static snug_status serve(const struct cli_args *args, struct adapting *a, struct snug_error *err)
{
    struct snug_serve_summary sum = {0};
    struct snug_serve_options options = {.host = args->host ? args->host : "127.0.0.1",
                                         .port = args->has_port ? (int)args->port : PORT_DEFAULT,
                                         .members = a->members,
                                         .configs = a->configs,
                                         .n_members = a->n,
                                         .n_parallel = (int)a->known.workload.n_parallel,
                                         .n_prompt = (int)a->known.workload.n_prompt,
                                         .memory_limit_bytes = args->memory_bytes,
                                         .budget_path = args->budget,
                                         .stop = &cli_stop,
                                         .event = on_event,
                                         .event_data = a};
    snug_adapt_rules_default(&options.rules);
    const double *limits = a->known.goal.limit;
    options.rules.ttft_s = args->ttft_s > 0 ? args->ttft_s : limits[SNUG_LIMIT_TTFT];
    options.rules.tpot_s = args->tpot_s > 0 ? args->tpot_s : limits[SNUG_LIMIT_TPOT];
    drop_variables();
    cli_catch_signals();
    const snug_status status = snug_serve_run(&options, &sum, err);
    if (status == SNUG_OK)
        cli_say("%lld requests served, %lld failed, %lld refused, %lld left by their clients, %lld "
                "begun again; %d switch%s",
                (long long)sum.n_served, (long long)sum.n_failed, (long long)sum.n_refused,
                (long long)sum.n_gone, (long long)sum.n_retried, sum.n_switches,
                sum.n_switches == 1 ? "" : "es");
    return status;
}

int cli_run_adapt(const struct cli_args *args)
{
    struct snug_error err = {0};
    struct adapting *a = calloc(1, sizeof *a);
    if (!a)
        return cli_fail_text(CLI_FAILED, "no memory for the known configs");
    snug_status status = prepare(args, a, &err);
    if (status == SNUG_OK)
        status = serve(args, a, &err);
    adapting_close(a);
    free(a);
    return status == SNUG_OK ? CLI_OK : cli_fail(&err);
}

int cli_run_engine(char **argv)
{
    snug_process_die_with_parent(SIGKILL); /* stays over the exec */
    unsetenv(SNUG_PROCESS_PARENT_VARIABLE);
    return cli_run_exec(argv);
}
