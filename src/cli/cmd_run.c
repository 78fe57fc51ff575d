/* snug pick and snug run: the best known safe config of this moment, and the program started with
 * it. Nothing is measured here. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/run.h"
#include "snug/stats.h"
#include "snug/units.h"
#include "trial/trial_json.h"
#include "tune/loop_goal.h"

static const uint64_t CACHE_RAM_DEFAULT_MIB = 8192; /* llama-server's own */

/* A config as it was measured, over all its trials. */
struct choice {
    const struct known_trial *trial; /* the newest of them */
    double speed;                    /* median */
    int n_trials;
};

bool cli_run_config(const struct snug_space *space, const char *json, struct snug_config *out)
{
    struct snug_json *doc = NULL;
    snug_space_default(space, out);
    if (snug_json_parse("config", json, strlen(json), &doc, NULL) != SNUG_OK)
        return false;
    const bool is_valid =
        snug_config_from_json(snug_json_root(doc), space, true, out, NULL) == SNUG_OK;
    snug_json_free(doc);
    return is_valid;
}

/* Median over every good trial of the same config; a config that ever failed is not safe. */
static bool judge(const struct known *k, const struct known_trial *trial, struct choice *out)
{
    double *speeds = calloc((size_t)k->n_trials, sizeof *speeds);
    size_t n = 0;
    bool is_safe = speeds != NULL;
    for (int i = 0; is_safe && i < k->n_trials; i++) {
        if (strcmp(k->trials[i].config_json, trial->config_json) != 0)
            continue;
        const struct snug_measurement *m = &k->trials[i].measurement;
        /* A check at the end times only what the objective needs: a good trial without this speed.
         */
        if (m->outcome != SNUG_TRIAL_OK)
            is_safe = false;
        else if (k->trials[i].speed > 0.0)
            speeds[n++] = k->trials[i].speed;
        if (m->prefill_tps > 0.0 && m->decode_tps > 0.0)
            out->trial = &k->trials[i];
    }
    out->speed = n ? snug_stats_median(speeds, n) : 0.0;
    out->n_trials = (int)n;
    free(speeds);
    return is_safe && n > 0 && out->trial;
}

/* What the last tuning upheld, when it fits; else the fastest that fits. */
static bool choose(const struct known *k, uint64_t limit, const struct snug_space *space,
                   struct choice *out)
{
    struct snug_json *doc = NULL;
    int64_t upheld = 0;
    if (k->result_json &&
        snug_json_parse("result", k->result_json, strlen(k->result_json), &doc, NULL) == SNUG_OK) {
        const struct snug_json_node *root = snug_json_root(doc);
        struct snug_goal goal;
        snug__tune_goal_read(root, &goal);
        if (snug_goal_equal(&goal, &k->goal))
            upheld = snug_json_get_int(root, "pick_trial", 0);
    }
    snug_json_free(doc);
    struct choice best = {.speed = 0.0};
    bool is_found = false;
    for (int i = 0; i < k->n_trials; i++) {
        const struct known_trial *trial = &k->trials[i];
        struct choice choice = {.speed = 0.0};
        struct snug_config config;
        if (trial->speed <= 0.0 || !trial->is_safe || (limit && trial->bytes > limit) ||
            !cli_run_config(space, trial->config_json, &config) || !judge(k, trial, &choice))
            continue;
        if (trial->id == upheld || choice.speed > best.speed) {
            best = choice;
            is_found = true;
        }
        if (trial->id == upheld)
            break;
    }
    *out = best;
    return is_found;
}

struct picked {
    struct cli_task task;
    struct known known;
    struct choice choice;
    struct snug_config config;
    char **words;
};

static void picked_close(struct picked *p)
{
    snug_engine_flags_free(p->words);
    known_close(&p->known);
    cli_task_close(&p->task);
}

snug_status cli_run_open(const struct cli_args *args, struct cli_task *task, struct known *known,
                         struct snug_error *err)
{
    snug_status status = cli_task_open_model(args, task, err);
    if (status == SNUG_OK)
        status = snug_store_open(args->store, &task->store, err);
    if (status == SNUG_OK)
        status = known_open(args, task->store, task->machine.fingerprint, known, err);
    if (status != SNUG_OK)
        return status;
    task->workload = known->workload;
    return cli_task_open_engine(args, task, NULL, NULL, err);
}

static snug_status pick(const struct cli_args *args, struct picked *p, struct snug_error *err)
{
    snug_status status = cli_run_open(args, &p->task, &p->known, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_space *space = snug_engine_space(p->task.engine);
    char limit[SNUG_UNIT_TEXT_MAX];
    const double *limits = p->known.goal.limit;
    const bool has_limits =
        limits[SNUG_LIMIT_TTFT] > 0 || limits[SNUG_LIMIT_TPOT] > 0 || limits[SNUG_LIMIT_KLD] > 0;
    if (!choose(&p->known, p->task.memory_limit_bytes, space, &p->choice))
        return snug_fail(err, SNUG_INFEASIBLE,
                         "no config that is known to work fits %s%s: allow more with --memory, or "
                         "run snug tune %s --memory %s",
                         snug_bytes_text(p->task.memory_limit_bytes, limit),
                         has_limits ? " and keeps the limits of the last tuning" : "",
                         args->operand, "SIZE");
    if (!cli_run_config(space, p->choice.trial->config_json, &p->config))
        return snug_fail(err, SNUG_INFEASIBLE,
                         "the known config is not possible here any more: "
                         "run snug tune %s",
                         args->operand);
    return snug_engine_flags(space, &p->config, &p->task.workload, &p->words, err);
}

static const char *tool_of(const struct cli_args *args)
{
    return args->tool ? args->tool : "llama-server";
}

static void put_pick_json(const struct picked *p, const char *line, struct snug_buffer *out)
{
    struct snug_json_writer w = {0};
    const struct snug_measurement *m = &p->choice.trial->measurement;
    snug_json_begin_object(&w, NULL);
    snug_json_put_int(&w, "trial", p->choice.trial->id);
    snug_config_to_json(&w, "config", snug_engine_space(p->task.engine), &p->config);
    snug_json_put_string(&w, "objective", snug_objective_name(p->known.objective));
    snug_json_put_number(&w, "speed", p->choice.speed);
    snug_json_put_int(&w, "n_trials", p->choice.n_trials);
    snug_json_put_number(&w, "prefill_tps", m->prefill_tps);
    snug_json_put_number(&w, "decode_tps", m->decode_tps);
    snug_json_put_int(&w, "bytes", (int64_t)p->choice.trial->bytes);
    snug_json_put_int(&w, "memory_limit_bytes", (int64_t)p->task.memory_limit_bytes);
    snug_json_put_string(&w, "command", line);
    snug_json_end(&w);
    char *json = snug_json_finish(&w, true);
    snug_buffer_printf(out, "%s\n", json ? json : "null");
    free(json);
}

static void put_pick_text(const struct picked *p, const char *line, struct snug_buffer *out)
{
    const struct snug_measurement *m = &p->choice.trial->measurement;
    char need[SNUG_UNIT_TEXT_MAX], limit[SNUG_UNIT_TEXT_MAX], pp[SNUG_UNIT_TEXT_MAX],
        tg[SNUG_UNIT_TEXT_MAX], ttft[SNUG_UNIT_TEXT_MAX];
    snug_buffer_printf(out, "%s\n", p->choice.trial->config_text);
    snug_buffer_printf(out,
                       "needs %s of %s; reads %s and writes %s tokens/s, first token of %lld after "
                       "%s (measured, %d trial%s)\n\n",
                       snug_bytes_text(p->choice.trial->bytes, need),
                       snug_bytes_text(p->task.memory_limit_bytes, limit),
                       snug_rate_text(m->prefill_tps, pp), snug_rate_text(m->decode_tps, tg),
                       (long long)p->known.workload.n_prompt, snug_seconds_text(m->ttft_s, ttft),
                       p->choice.n_trials, p->choice.n_trials == 1 ? "" : "s");
    snug_buffer_printf(out, "  %s\n", line);
}

int cmd_pick(const struct cli_args *args)
{
    struct picked p = {.words = NULL};
    struct snug_error err = {0};
    struct snug_buffer out = {0};
    int code = CLI_OK;
    if (pick(args, &p, &err) != SNUG_OK) {
        code = cli_fail(&err);
    } else {
        char *line = snug_engine_command_line(tool_of(args), p.task.model.path, p.words);
        if (line && args->json)
            put_pick_json(&p, line, &out);
        else if (line)
            put_pick_text(&p, line, &out);
        free(line);
        code = cli_put_buffer(&out);
    }
    snug_buffer_clear(&out);
    picked_close(&p);
    return code;
}

char **cli_run_words(const struct run_words *words, char *const *flags, const struct cli_args *args)
{
    size_t n = 7, at = 0; /* all that stands here */
    for (char *const *w = flags; *w; w++)
        n++;
    const char **argv = calloc(n + (size_t)args->n_rest + 1, sizeof *argv);
    if (!argv)
        return NULL;
    if (words->through) {
        argv[at++] = words->through;
        argv[at++] = "__engine";
    }
    argv[at++] = words->tool;
    argv[at++] = "--model";
    argv[at++] = words->model_path;
    for (char *const *w = flags; *w; w++)
        argv[at++] = *w;
    if (words->cache_ram) {
        argv[at++] = "--cache-ram";
        argv[at++] = words->cache_ram;
    }
    for (int i = 0; i < args->n_rest; i++)
        argv[at++] = args->rest[i];
    return (char **)argv;
}

int cli_run_exec(char **argv)
{
    signal(SIGPIPE, SIG_DFL); /* ignored here, and that would outlive the exec */
    signal(SIGXFSZ, SIG_DFL);
    execv(argv[0], argv);
    return cli_fail_text(CLI_FAILED, "cannot start '%s': %s", argv[0], strerror(errno));
}

static int start(const struct cli_args *args, struct picked *p)
{
    char tool[4096], cache_ram[32];
    struct snug_error err = {0};
    snprintf(tool, sizeof tool, "%s", tool_of(args));
    if (!args->print && snug_engine_tool(tool_of(args), tool, sizeof tool, &err) != SNUG_OK)
        return cli_fail_text(CLI_FAILED, "%s", err.text);
    struct run_words words = {.tool = tool, .model_path = p->task.model.path};
    /* The server keeps prompts of earlier requests, 8 GiB of them by default: what the limit
     * leaves. */
    const uint64_t spare = p->task.memory_limit_bytes - p->choice.trial->bytes;
    if (strcmp(tool_of(args), "llama-server") == 0 && spare >> 20 < CACHE_RAM_DEFAULT_MIB) {
        snprintf(cache_ram, sizeof cache_ram, "%llu", (unsigned long long)(spare >> 20));
        words.cache_ram = cache_ram;
    }
    char **argv = cli_run_words(&words, p->words, args);
    if (!argv)
        return cli_fail_text(CLI_FAILED, "no memory for a command line");
    char *line = snug_engine_command_line(tool_of(args), p->task.model.path, argv + 3);
    if (args->print || !line) {
        const int code = line ? cli_put(line) : CLI_FAILED;
        if (line)
            puts("");
        free(line);
        free(argv);
        return code;
    }
    cli_say("%s", line);
    free(line);
    /* The workers must be gone before this process becomes the server. */
    snug_engine_close(p->task.engine);
    p->task.engine = NULL;
    const int code = cli_run_exec(argv);
    free(argv);
    return code;
}

int cmd_run(const struct cli_args *args)
{
    if (args->adapt)
        return cli_run_adapt(args);
    if (args->has_port || args->host || args->ttft_s > 0 || args->tpot_s > 0 || args->budget ||
        args->log || args->allow_cache_types)
        return cli_fail_text(CLI_MISUSE, "--port, --host, --ttft, --tpot, --budget, --log and "
                                         "--allow-cache-types belong to --adapt; what llama-server "
                                         "is to get stands behind --");
    struct picked p = {.words = NULL};
    struct snug_error err = {0};
    const int code = pick(args, &p, &err) == SNUG_OK ? start(args, &p) : cli_fail(&err);
    picked_close(&p);
    return code;
}
