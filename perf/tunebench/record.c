/* Record a table for tunebench: a lattice of configs of one model, measured through the engine.
 *
 * Usage  tunebench_record MODEL.gguf TABLE.jsonl.gz --name NAME --knob NAME=VALUE,VALUE...
 *                  [--prompt N] [--gen N] [--context N] [--reps N] [--blocks N] [--minutes X]
 *                  [--beside COMMAND] [--predict FOLDER]
 * Each repetition visits all configs in a new random order within groups of equal load-time knobs,
 * and every trial goes as one line to TABLE.jsonl.gz.part, flushed to disk, before the next begins:
 * the same command goes on where it was stopped or killed, or where --minutes ended, also with
 * another number of repetitions; none that was recorded is dropped. Raw blocks, failures with their
 * cost, and conditions are kept. When it ends or is stopped, the table is written from what there
 * is; cells may be missing. --beside runs a command of the shell all the while, for a variant under
 * load: a trial that it did not outlive is not kept. --predict asks the law of this machine for
 * every config, calibrating once (30 s) and keeping that in FOLDER; not with --beside, since the
 * law is one of a quiet machine. Values of a row of numbers must
 * be steps of equal size, or doublings, as the row has them. Run it on a quiet machine. */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "engine/probe_worker.h"
#include "engine/worker.h"
#include "perf/tunebench/record.h"
#include "snug/units.h"

static volatile int stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

/* ---- recording ---- */

/* What is recorded as beside a command ran beside it. */
static snug_status check_beside(struct tb_recorder *r, struct snug_error *err)
{
    struct snug_process_exit ended;
    char how[400];
    if (!r->beside || snug_process_wait(r->beside, 0, &ended) == SNUG_TIMEOUT)
        return SNUG_OK;
    snug_process_exit_text(r->beside, &ended, how, sizeof how);
    return snug_fail(err, SNUG_CRASHED, "--beside %.200s %s", r->arguments->beside, how);
}

static snug_status record_one(struct tb_recorder *r, int i, int rep, struct snug_error *err)
{
    struct snug_config config, engine_config;
    struct snug_measurement m = {0};
    struct snug_effort effort;
    snug_effort_default(&effort);
    effort.blocks_min = effort.blocks_max = r->arguments->n_blocks;
    effort.warmup_max = 2;
    snug__lattice_at(&r->lattice, (uint64_t)i, &config);
    tb_record_to_engine(r, &config, &engine_config);
    const double start_s = snug_clock_s();
    struct snug_bytes bytes = {0};
    const bool is_stated = snug_engine_estimate(r->engine, &engine_config, &bytes, NULL) == SNUG_OK;
    r->estimate_s = snug_clock_s() - start_s;
    snug_status status = check_beside(r, err);
    if (status == SNUG_OK)
        status = snug_engine_run(r->engine, &engine_config, &effort, &m, err);
    if (status != SNUG_OK)
        return status;
    if (is_stated && snug_bytes_stated(&m.bytes) == 0)
        m.bytes = bytes;
    status = check_beside(r, err);
    char *line = status == SNUG_OK ? tb_record_line(r, &config, rep, &m, err) : NULL;
    status = line ? tb_record_keep(r, line, err) : err->status;
    free(line);
    r->n_recorded += status == SNUG_OK;
    fprintf(stderr, "\r%d of %d trials, %s, %.1f s   ", r->n_recorded,
            r->n_configs * r->arguments->n_reps, snug_outcome_name(m.outcome), m.wall_s);
    snug_measurement_clear(&m);
    return status;
}

/* Configs of one load-time choice together: a number that is equal for them, and drawn by rep. */
static uint64_t load_key(const struct tb_recorder *r, int i, int rep)
{
    struct snug_config config;
    uint64_t key = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(rep + 1);
    snug__lattice_at(&r->lattice, (uint64_t)i, &config);
    for (int k = 0; k < r->space.n; k++)
        if (r->space.knobs[k].when == SNUG_KNOB_LOAD)
            key = (key ^ (uint64_t)config.value[k]) * UINT64_C(0xbf58476d1ce4e5b9);
    return key;
}

struct place {
    uint64_t group, draw;
    int i;
};

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    return x->draw < y->draw ? -1 : x->draw > y->draw;
}

static snug_status record_all(struct tb_recorder *r, struct snug_error *err)
{
    static struct place places[TB_RECORD_CONFIGS_MAX];
    const double end_s = snug_clock_s() + 60 * r->arguments->minutes;
    snug_status status = SNUG_OK;
    for (int rep = 0; rep < r->arguments->n_reps && status == SNUG_OK && !stop; rep++) {
        struct snug_rng rng;
        snug_rng_init(&rng, (uint64_t)rep);
        for (int i = 0; i < r->n_configs; i++)
            places[i] = (struct place){load_key(r, i, rep), snug_rng_next(&rng), i};
        qsort(places, (size_t)r->n_configs, sizeof *places, compare_places);
        for (int k = 0; k < r->n_configs && status == SNUG_OK && !stop; k++) {
            if (r->is_done[places[k].i][rep])
                continue;
            if (snug_clock_s() > end_s)
                return SNUG_OK;
            status = record_one(r, places[k].i, rep, err);
        }
    }
    return status == SNUG_INTERRUPTED ? SNUG_OK : status;
}

/* ---- all of it ---- */

static snug_status open_recorder(struct tb_recorder *r, struct snug_error *err)
{
    const struct tb_record_arguments *a = r->arguments;
    snug_status status = snug_machine_probe("", &r->machine, err);
    if (status == SNUG_OK)
        status = snug_model_open(a->model, &r->model, err);
    if (status != SNUG_OK)
        return status;
    r->workload = (struct snug_workload){
        .n_prompt = a->n_prompt, .n_gen = a->n_gen, .n_parallel = 1, .n_ctx = a->n_ctx};
    const struct snug_engine_options options = {.model_path = a->model,
                                                .machine = &r->machine,
                                                .model = &r->model,
                                                .workload = r->workload,
                                                .allow_quality = true,
                                                .stop = &stop};
    status = snug_engine_open("llama", &options, &r->engine, err);
    if (status != SNUG_OK)
        return status;
    r->engine_space = snug_engine_space(r->engine);
    for (int i = 0; status == SNUG_OK && i < a->n_knobs; i++)
        status = tb_record_add_row(r, a->knobs[i], err);
    if (status != SNUG_OK)
        return status;
    snug__lattice_init(&r->lattice, &r->space, &(struct snug_config){0});
    snug_space_default(&r->space, &r->lattice.base);
    if (r->lattice.n_configs > TB_RECORD_CONFIGS_MAX ||
        r->lattice.n_configs * a->n_reps > SNUG__TABLE_LINES_MAX)
        return snug_fail(
            err, SNUG_BAD_INPUT, "%.0f configs, %d times each: at most %d configs, and %d trials",
            r->lattice.n_configs, a->n_reps, TB_RECORD_CONFIGS_MAX, SNUG__TABLE_LINES_MAX);
    r->n_configs = (int)r->lattice.n_configs;
    r->is_done = calloc((size_t)r->n_configs, sizeof *r->is_done);
    return r->is_done ? tb_record_open_part(r, err)
                      : snug_fail(err, SNUG_NO_MEMORY, "no memory for %d trials", r->n_configs);
}

static void close_recorder(struct tb_recorder *r)
{
    if (r->part)
        fclose(r->part);
    snug_engine_close(r->engine);
    snug_model_clear(&r->model);
    snug_buffer_clear(&r->had);
    free(r->is_done);
}

static snug_status start_beside(struct tb_recorder *r, struct snug_process *p,
                                struct snug_error *err)
{
    const char *const argv[] = {"sh", "-c", r->arguments->beside, NULL};
    const snug_status status = snug_process_start(p, argv, NULL, err);
    r->beside = status == SNUG_OK ? p : NULL;
    return status;
}

/* Also when it has ended by itself, and what it started has not. */
static void end_beside(struct tb_recorder *r)
{
    struct snug_process_exit ended;
    if (!r->beside)
        return;
    snug_process_signal(r->beside, SIGTERM);
    if (snug_process_wait(r->beside, 5, &ended) != SNUG_OK)
        fprintf(stderr, "\n%s did not end by itself\n", r->arguments->beside);
    snug_process_clear(r->beside); /* kills what lives */
    r->beside = NULL;
}

static int record(const struct tb_record_arguments *a)
{
    static struct tb_recorder r;
    struct snug_process beside = {0};
    struct snug_error err = {0};
    r.arguments = a;
    snug_status status = open_recorder(&r, &err);
    if (status == SNUG_OK && a->beside)
        status = start_beside(&r, &beside, &err);
    if (status == SNUG_OK)
        status = record_all(&r, &err);
    end_beside(&r);
    if (status == SNUG_OK && r.n_recorded > 0)
        status = tb_record_seal(&r, &err);
    if (status == SNUG_OK && r.n_recorded < r.n_configs * a->n_reps)
        fprintf(stderr, "%d of %d trials are recorded; the same command goes on\n", r.n_recorded,
                r.n_configs * a->n_reps);
    close_recorder(&r);
    if (status != SNUG_OK)
        fprintf(stderr, "\ntunebench_record: %s\n", err.text);
    return status == SNUG_OK ? 0 : 1;
}

/* ---- arguments ---- */

enum { REPS, BLOCKS, PROMPT, GEN, CONTEXT, N_COUNTS };
static const struct {
    const char *name;
    int64_t min, max;
} COUNTS[N_COUNTS] = {
    [REPS] = {"--reps", 1, SNUG__TABLE_REPS_MAX},
    [BLOCKS] = {"--blocks", 1, SNUG_BLOCKS_MAX},
    [PROMPT] = {"--prompt", 0, SNUG__TABLE_TOKENS_MAX},
    [GEN] = {"--gen", 0, SNUG__TABLE_TOKENS_MAX},
    [CONTEXT] = {"--context", 1, SNUG__TABLE_TOKENS_MAX},
};

static bool read_positive(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end && *out > 0 && isfinite(*out);
}

static snug_status read_option(const char *name, const char *value, struct tb_record_arguments *a,
                               int64_t *counts, struct snug_error *err)
{
    const char **const texts[] = {&a->name, &a->beside, &a->predict};
    static const char *const names[] = {"--name", "--beside", "--predict"};
    for (int i = 0; i < N_COUNTS; i++)
        if (strcmp(name, COUNTS[i].name) == 0)
            return snug_int_parse(name, value, COUNTS[i].min, COUNTS[i].max, &counts[i], err);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(name, names[i]) == 0) {
            *texts[i] = value;
            return value[0] ? SNUG_OK : snug_fail(err, SNUG_BAD_INPUT, "%s is empty", name);
        }
    if (strcmp(name, "--minutes") == 0)
        return read_positive(value, &a->minutes)
                   ? SNUG_OK
                   : snug_fail(err, SNUG_BAD_INPUT, "--minutes %.40s: a number above 0", value);
    if (strcmp(name, "--knob") != 0)
        return snug_fail(err, SNUG_BAD_INPUT, "%.40s is not known", name);
    if (a->n_knobs == TB_RECORD_KNOBS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "more than %d --knob", TB_RECORD_KNOBS_MAX);
    a->knobs[a->n_knobs++] = value;
    return SNUG_OK;
}

static snug_status read_arguments(int argc, char **argv, struct tb_record_arguments *a,
                                  struct snug_error *err)
{
    int64_t counts[N_COUNTS] = {
        [REPS] = 3, [BLOCKS] = 3, [PROMPT] = 128, [GEN] = 16, [CONTEXT] = 1024};
    *a = (struct tb_record_arguments){.minutes = 1e6};
    for (int i = 1; i < argc; i++) {
        const char **const place = !a->model ? &a->model : &a->table;
        if (argv[i][0] != '-' && !a->table) {
            *place = argv[i];
            continue;
        }
        if (i + 1 == argc || argv[i][0] != '-')
            return snug_fail(err, SNUG_BAD_INPUT, "%.40s: an option and its value are needed",
                             argv[i]);
        const snug_status status = read_option(argv[i], argv[i + 1], a, counts, err);
        if (status != SNUG_OK)
            return status;
        i++;
    }
    a->n_reps = (int)counts[REPS];
    a->n_blocks = (int)counts[BLOCKS];
    a->n_prompt = counts[PROMPT];
    a->n_gen = counts[GEN];
    a->n_ctx = counts[CONTEXT];
    if (!a->table || !a->name || a->n_knobs == 0)
        return snug_fail(err, SNUG_BAD_INPUT, "MODEL, TABLE, --name and a --knob are needed");
    if (strlen(a->name) > SNUG_WORKLOAD_NAME_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "--name of more than %d characters",
                         SNUG_WORKLOAD_NAME_MAX);
    if (a->n_prompt + a->n_gen == 0)
        return snug_fail(err, SNUG_BAD_INPUT, "--prompt and --gen are both 0");
    if (a->beside && a->predict)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "--predict with --beside: the law is one of a quiet machine");
    if (strlen(a->table) + sizeof ".part" > sizeof((struct tb_recorder *)NULL)->part_path)
        return snug_fail(err, SNUG_BAD_INPUT, "the path of TABLE is too long");
    return SNUG_OK;
}

static int usage(FILE *out)
{
    fprintf(out,
            "usage: tunebench_record MODEL.gguf TABLE.jsonl.gz --name NAME --knob "
            "NAME=VALUE,VALUE ...\n"
            "         [--prompt N] [--gen N] [--context N] [--reps 1..%d] [--blocks 1..%d]\n"
            "         [--minutes X] [--beside COMMAND] [--predict FOLDER]\n",
            SNUG__TABLE_REPS_MAX, SNUG_BLOCKS_MAX);
    return fflush(out) == 0 && out == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
    struct tb_record_arguments a;
    struct snug_error err = {0};
    /* The engine starts this program again as its worker. */
    if (argc == 2 && strcmp(argv[1], "__worker") == 0)
        return snug__worker_main();
    if (argc == 2 && strcmp(argv[1], "__probe") == 0)
        return snug__probe_main();
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout);
    if (read_arguments(argc, argv, &a, &err) != SNUG_OK) {
        fprintf(stderr, "tunebench_record: %s\n", err.text);
        return usage(stderr);
    }
    const struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return record(&a);
}
