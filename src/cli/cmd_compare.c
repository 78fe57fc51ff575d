/* snug compare: two configs measured alternately, two stored trials, or two rounds of a lab. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/compare_known.h"
#include "cli/gate.h"
#include "cli/task.h"
#include "lab/compare.h"
#include "snug/units.h"
#include "trial/trial_json.h"

static const struct cli_task_defaults DEFAULTS = {.n_prompt = 128, .n_gen = 32};
/* Until the interval is 2 % to either side: a difference of 5 % then shows. */
static const int N_PAIRS_MIN = 12, N_PAIRS_MAX = 48;
static const double WIDTH_FRAC = 0.02;
static const double VISIT_PHASE_S = 0.2;

/* ---- the two sides ---- */

struct side {
    char *spec; /* own copy, cut up */
    char name[256];
    struct cli_args args;
    struct cli_task task;
    struct snug_config config;
};

struct comparing {
    struct side side[2];
    struct snug_compare_side *sides; /* 2 */
    struct snug_compare_result result;
    struct cli_gate gate;
    int n_pairs;
    char phase[64];
    snug_status store_status;
};

/* "KNOB=VALUE,..." of one side behind what holds for both. */
static snug_status take_knobs(struct side *s, char *list, struct snug_error *err)
{
    for (char *p = list; *p;) {
        const size_t n = strcspn(p, ","), n_name = strcspn(p, "=");
        const char *knob = n_name < n ? cli_find_knob(p, n_name) : NULL;
        if (!knob)
            return snug_fail(err, SNUG_BAD_INPUT,
                             "'%.*s' is no KNOB=VALUE; see the knobs of snug compare --help",
                             (int)n, p);
        if (s->args.n_knobs == CLI_KNOBS_MAX)
            return snug_fail(err, SNUG_BAD_INPUT, "more than %d knobs", CLI_KNOBS_MAX);
        const bool is_last = p[n] == '\0';
        p[n] = '\0';
        s->args.knobs[s->args.n_knobs].name = knob;
        s->args.knobs[s->args.n_knobs++].text = p + n_name + 1;
        p += is_last ? n : n + 1;
    }
    return SNUG_OK;
}

/* MODEL, MODEL:KNOBS, KNOBS or "default"; the last two of `other`'s model. */
static snug_status read_side(const struct cli_args *args, const char *spec, const char *other,
                             struct side *s, struct snug_error *err)
{
    s->args = *args;
    s->spec = strdup(spec);
    if (!s->spec)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a comparison");
    snprintf(s->name, sizeof s->name, "%s", cli_base_name(spec));
    char *equal = strchr(s->spec, '='), *colon = NULL;
    for (char *p = s->spec; equal && p < equal; p++)
        colon = *p == ':' ? p : colon;
    if (!equal && !(other && strcmp(spec, "default") == 0)) {
        s->args.operand = s->spec;
        return SNUG_OK;
    }
    if (!colon && !other)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "'%s': the first side needs a model, as in model.gguf:%s", spec, spec);
    if (colon)
        *colon = '\0';
    s->args.operand = colon ? s->spec : other;
    return equal ? take_knobs(s, colon ? colon + 1 : s->spec, err) : SNUG_OK;
}

static void on_progress(const char *phase, void *data)
{
    struct comparing *c = data;
    snprintf(c->phase, sizeof c->phase, "%s", phase);
    cli_live("pair %d of %d: %s", c->result.n_pairs + 1, c->n_pairs, phase);
}

static snug_status open_side(struct comparing *c, struct side *s, struct snug_error *err)
{
    snug_status status = cli_task_open_model(&s->args, &s->task, err);
    if (status == SNUG_OK)
        status = cli_task_workload(&s->args, &DEFAULTS, -1, &s->task, err);
    if (status == SNUG_OK)
        status = cli_task_open_engine(&s->args, &s->task, on_progress, c, err);
    if (status == SNUG_OK)
        status = cli_task_config(&s->args, snug_engine_space(s->task.engine), &s->config, err);
    if (status == SNUG_OK)
        status = cli_task_open_store(&s->args, &s->task, err);
    return status;
}

/* Both loaded at once where the limit holds both; else one worker that loads in turn. */
static snug_status share_engine(struct comparing *c, struct snug_error *err)
{
    struct snug_bytes bytes[2];
    for (int i = 0; i < 2; i++) {
        const snug_status status =
            snug_engine_estimate(c->side[i].task.engine, &c->side[i].config, &bytes[i], err);
        if (status != SNUG_OK)
            return snug_fail_prefix(err, status, "%s", c->side[i].name);
        c->sides[i].engine = c->side[i].task.engine;
        c->sides[i].config = c->side[i].config;
    }
    const uint64_t limit = c->side[0].task.memory_limit_bytes;
    if (limit == 0 || snug_bytes_stated(&bytes[0]) + snug_bytes_stated(&bytes[1]) <= limit)
        return SNUG_OK;
    if (strcmp(c->side[0].task.model.path, c->side[1].task.model.path) != 0)
        return snug_fail(err, SNUG_INFEASIBLE,
                         "the two models do not fit the memory limit together: give more --memory");
    c->sides[1].engine = c->sides[0].engine;
    cli_say("both do not fit at once: the model is loaded in turn, which takes longer");
    return SNUG_OK;
}

/* ---- the run ---- */

static bool on_visit(int which, int i_pair, const struct snug_measurement *m, void *data,
                     struct snug_error *err)
{
    struct comparing *c = data;
    struct side *s = &c->side[which];
    int64_t id = 0;
    c->result.n_pairs = i_pair;
    cli_live("pair %d of %d: %s", i_pair + 1, c->n_pairs, c->phase);
    c->store_status =
        snug_store_trial_add(s->task.store, s->task.id, 0, "compare", "",
                             snug_engine_space(s->task.engine), &s->config, m, &id, err);
    return c->store_status == SNUG_OK;
}

/* Whether either worker could run either side as it is loaded. */
static bool may_swap(const struct comparing *c)
{
    const struct snug_space *space = snug_engine_space(c->side[0].task.engine);
    bool is_same = strcmp(c->side[0].task.model.path, c->side[1].task.model.path) == 0 &&
                   c->sides[0].engine != c->sides[1].engine;
    for (int i = 0; i < space->n; i++)
        is_same = is_same && (space->knobs[i].when != SNUG_KNOB_LOAD ||
                              c->sides[0].config.value[i] == c->sides[1].config.value[i]);
    return is_same;
}

static snug_status run(const struct cli_args *args, struct comparing *c, struct snug_error *err)
{
    struct snug_compare_options options = {
        .workload = c->side[0].task.workload,
        .n_pairs = c->n_pairs,
        .width_frac = args->n_pairs ? 0.0 : WIDTH_FRAC,
        .n_pairs_min = N_PAIRS_MIN,
        .may_swap = may_swap(c),
        .seed = args->has_seed ? (uint64_t)args->seed : 1,
        .stop = &cli_stop,
        .on_visit = on_visit,
        .data = c,
    };
    snug_effort_default(&options.effort);
    /* A visit is short, so that pairs lie close in time, but not shorter than a scheduler's whims.
     */
    options.effort.blocks_min = 2;
    options.effort.blocks_max = SNUG_BLOCKS_MAX;
    options.effort.spread_frac = 0.0; /* by time alone */
    options.effort.phase_s = VISIT_PHASE_S;
    options.effort.deadline_s = 3600.0;
    options.effort.want_prefill = options.workload.n_prompt > 0;
    options.effort.want_decode = options.workload.n_gen > 0;
    const snug_status status = snug_compare_run(c->sides, &options, &c->result, err);
    return status == SNUG_OK ? c->store_status : status;
}

/* Each side repeated one config n_pairs times: its spread is the machine's noise floor. The larger
 * of the two counts, and a disturbed comparison counts for nothing. */
static snug_status keep_noise(struct comparing *c, struct snug_error *err)
{
    double floor = 0.0;
    const int n = c->result.n_pairs;
    if (c->result.verdict != SNUG_VALID || n < SNUG_COMPARE_PAIRS_MIN)
        return SNUG_OK;
    for (int s = 0; s < 2; s++) {
        for (int k = 0; k < SNUG_COMPARE_N_METRICS; k++) {
            const double *speed = c->sides[s].speed[k];
            if (c->result.has_metric[k])
                floor = fmax(floor, snug_stats_mad(speed, (size_t)n) /
                                        snug_stats_median(speed, (size_t)n));
        }
    }
    const struct cli_task *task = &c->side[0].task;
    return snug_store_noise_set(task->store, task->machine.fingerprint,
                                snug_engine_build(task->engine), floor, n, err);
}

/* ---- the answer ---- */

static void put_warnings(const struct comparing *c, struct snug_buffer *out)
{
    for (int bit = 0; bit < SNUG_N_WARNINGS; bit++) {
        if (c->result.warnings >> bit & 1u)
            snug_buffer_printf(out, "  %s: %s\n", snug_warning_name((enum snug_warning_bit)bit),
                               snug_warning_meaning((enum snug_warning_bit)bit));
    }
    for (int s = 0; s < 2; s++) {
        if (c->sides[s].n_failed > 0)
            snug_buffer_printf(out, "  %s failed %d times, the last as %s: %s\n", c->side[s].name,
                               c->sides[s].n_failed, snug_outcome_name(c->sides[s].last_outcome),
                               c->sides[s].last_reason);
    }
}

static void put_words(const struct comparing *c, struct snug_buffer *out)
{
    char words[512], bytes[2][SNUG_UNIT_TEXT_MAX], config[2][512];
    for (int s = 0; s < 2; s++)
        snug_buffer_printf(out, "%c: %s (%s)\n", 'A' + s, c->side[s].name,
                           snug_config_text(snug_engine_space(c->side[s].task.engine),
                                            &c->side[s].config, true, config[s], 512));
    for (int k = 0; k < SNUG_COMPARE_N_METRICS && c->result.n_pairs >= SNUG_COMPARE_PAIRS_MIN;
         k++) {
        if (c->result.has_metric[k])
            snug_buffer_printf(
                out, "%-8s %s\n", snug_compare_metric_name((enum snug_compare_metric)k),
                snug_compare_words(&c->result.ratio[k], "A", "B", words, sizeof words));
    }
    if (c->result.n_pairs > 0)
        snug_buffer_printf(out, "%-8s A %s, B %s\n", "memory",
                           snug_bytes_text(snug_bytes_stated(&c->sides[0].bytes), bytes[0]),
                           snug_bytes_text(snug_bytes_stated(&c->sides[1].bytes), bytes[1]));
    snug_buffer_printf(out, "%s: %d pairs in random order%s\n",
                       snug_verdict_name(c->result.verdict), c->result.n_pairs,
                       c->result.n_pairs < SNUG_COMPARE_PAIRS_MIN ? ", too few for an interval"
                                                                  : "");
    put_warnings(c, out);
}

static void put_interval(struct snug_json_writer *w, const char *key,
                         const struct snug_interval *interval)
{
    snug_json_begin_object(w, key);
    snug_json_put_number(w, "lo", interval->lo);
    snug_json_put_number(w, "mid", interval->mid);
    snug_json_put_number(w, "hi", interval->hi);
    snug_json_end(w);
}

static void put_side(struct snug_json_writer *w, const char *key, const struct comparing *c, int s)
{
    const struct snug_compare_side *side = &c->sides[s];
    char text[256];
    snug_json_begin_object(w, key);
    snug_json_put_string(w, "name", c->side[s].name);
    snug_json_put_string(w, "model", c->side[s].task.model.path);
    snug_config_to_json(w, "config", snug_engine_space(c->side[s].task.engine), &side->config);
    snug_json_put_int(w, "bytes", (int64_t)snug_bytes_stated(&side->bytes));
    snug_json_put_int(w, "n_failed", side->n_failed);
    snug_json_put_string(w, "rules", snug_warnings_text(side->warnings, " ", text, sizeof text));
    for (int k = 0; k < SNUG_COMPARE_N_METRICS; k++) {
        snug_json_begin_array(w, snug_compare_metric_name((enum snug_compare_metric)k));
        for (int i = 0; i < c->result.n_pairs && c->result.has_metric[k]; i++)
            snug_json_put_number(w, NULL, side->speed[k][i]);
        snug_json_end(w);
    }
    snug_json_end(w);
}

static char *json_text(const struct comparing *c)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "verdict", snug_verdict_name(c->result.verdict));
    snug_json_put_int(&w, "n_pairs", c->result.n_pairs);
    snug_json_begin_object(&w, "ratio");
    for (int k = 0; k < SNUG_COMPARE_N_METRICS; k++) {
        if (c->result.has_metric[k])
            put_interval(&w, snug_compare_metric_name((enum snug_compare_metric)k),
                         &c->result.ratio[k]);
    }
    snug_json_end(&w);
    put_side(&w, "a", c, 0);
    put_side(&w, "b", c, 1);
    cli_gate_json(&c->gate, &w, "thresholds");
    snug_json_end(&w);
    return snug_json_finish(&w, true);
}

/* All but the ratio are A's. */
static void gate_figures(struct comparing *c, double ratio)
{
    static const enum snug_threshold_metric metrics[SNUG_COMPARE_N_METRICS] = {
        SNUG_METRIC_PREFILL, SNUG_METRIC_DECODE, SNUG_METRIC_REQUEST};
    const struct snug_compare_side *a = &c->sides[0];
    const double n_parallel = (double)c->side[0].task.workload.n_parallel;
    for (int k = 0; k < SNUG_COMPARE_N_METRICS; k++) {
        const double speed = c->result.has_metric[k]
                                 ? snug_stats_median(a->speed[k], (size_t)c->result.n_pairs)
                                 : NAN;
        cli_gate_figure(&c->gate, metrics[k],
                        k == SNUG_COMPARE_REQUEST ? n_parallel / speed : speed);
    }
    cli_gate_figure(&c->gate, SNUG_METRIC_MEMORY,
                    c->result.n_pairs > 0 ? (double)snug_bytes_stated(&a->bytes) : NAN);
    cli_gate_figure(&c->gate, SNUG_METRIC_RATIO, ratio);
}

static int answer(const struct cli_args *args, struct comparing *c)
{
    struct snug_buffer out = {0};
    const struct snug_compare_result *r = &c->result;
    const bool has_ratio = r->n_pairs >= SNUG_COMPARE_PAIRS_MIN;
    const int main_metric = r->has_metric[SNUG_COMPARE_REQUEST]  ? SNUG_COMPARE_REQUEST
                            : r->has_metric[SNUG_COMPARE_DECODE] ? SNUG_COMPARE_DECODE
                                                                 : SNUG_COMPARE_PREFILL;
    gate_figures(c, has_ratio ? r->ratio[main_metric].mid : NAN);
    cli_gate_verdict(&c->gate, r->verdict);
    const int gate = cli_gate_close(&c->gate, CLI_OK);
    if (args->json) {
        cli_buffer_json(&out, json_text(c));
    } else {
        put_words(c, &out);
    }
    int code = cli_put_buffer(&out);
    snug_buffer_clear(&out);
    if (code == CLI_OK)
        code = gate;
    return code == CLI_OK && (!has_ratio || r->is_stopped) ? CLI_FAILED : code;
}

static int compare_configs(const struct cli_args *args)
{
    struct comparing *c = calloc(1, sizeof *c);
    struct snug_error err = {0};
    snug_status status = SNUG_OK;
    if (c)
        c->sides = calloc(2, sizeof *c->sides);
    if (!c || !c->sides) {
        free(c);
        return cli_fail_text(CLI_FAILED, "no memory for a comparison");
    }
    c->n_pairs = args->n_pairs ? (int)args->n_pairs : N_PAIRS_MAX;
    status = cli_gate_open(args, &c->gate, &err);
    if (status == SNUG_OK)
        status = read_side(args, args->operand, NULL, &c->side[0], &err);
    if (status == SNUG_OK)
        status = read_side(args, args->operand2, c->side[0].args.operand, &c->side[1], &err);
    for (int i = 0; i < 2 && status == SNUG_OK; i++)
        status = open_side(c, &c->side[i], &err);
    if (status == SNUG_OK)
        status = share_engine(c, &err);
    if (status == SNUG_OK)
        status = run(args, c, &err);
    if (status == SNUG_OK)
        status = keep_noise(c, &err);
    cli_live_end();
    const int code = status == SNUG_OK ? answer(args, c) : cli_fail(&err);
    for (int i = 0; i < 2; i++) {
        cli_task_close(&c->side[i].task);
        free(c->side[i].spec);
    }
    free(c->sides);
    free(c);
    return code;
}

int cmd_compare(const struct cli_args *args)
{
    cli_catch_signals();
    if (cli_compare_is_known(args))
        return cli_compare_known(args);
    return compare_configs(args);
}
