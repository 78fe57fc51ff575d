/* Record a table for tunebench: a lattice of configs of one model, measured through the engine.
 *
 * Usage  tunebench_record MODEL.gguf TABLE.jsonl.gz --name NAME --knob NAME=VALUE,VALUE...
 *                  [--prompt N] [--gen N] [--context N] [--reps N] [--blocks N] [--minutes X]
 *                  [--beside COMMAND] [--predict FOLDER]
 * Each repetition visits all configs in a new random order within groups of equal load-time knobs,
 * and every trial goes as one line to TABLE.jsonl.gz.part, flushed to disk, before the next begins:
 * the same command goes on where it was stopped or killed, or where --minutes ended. Raw blocks,
 * failures with their cost, and conditions are kept. Whenever it ends, the table is written from
 * what there is; cells that are missing may be missing. --beside runs a command all the while, for
 * a variant under load; --predict asks the law of this machine for every config, calibrating once
 * (30 s) and keeping that in FOLDER. Values of a row must be steps of equal size, or doublings, as
 * the row has them. Run it on a quiet machine. */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/process.h"
#include "engine/probe_worker.h"
#include "engine/worker.h"
#include "perf/tunebench/record.h"

static volatile int stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

/* ---- recording ---- */

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
    snug_status status = snug_engine_run(r->engine, &engine_config, &effort, &m, err);
    if (status != SNUG_OK)
        return status;
    if (is_stated && snug_bytes_stated(&m.bytes) == 0)
        m.bytes = bytes;
    char *line = tb_record_line(r, &config, rep, &m, err);
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
            const size_t at = (size_t)places[k].i * (size_t)r->arguments->n_reps + (size_t)rep;
            if (r->is_done[at])
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
    if (r->lattice.n_configs > TB_RECORD_CONFIGS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%.0f configs: at most %d", r->lattice.n_configs,
                         TB_RECORD_CONFIGS_MAX);
    r->n_configs = (int)r->lattice.n_configs;
    r->is_done = calloc((size_t)(r->n_configs * a->n_reps), sizeof *r->is_done);
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

static snug_status start_beside(const struct tb_record_arguments *a, struct snug_process *p,
                                struct snug_error *err)
{
    char command[1024];
    snprintf(command, sizeof command, "exec %s", a->beside);
    const char *const argv[] = {"sh", "-c", command, NULL};
    return snug_process_start(p, argv, NULL, err);
}

static int record(const struct tb_record_arguments *a)
{
    static struct tb_recorder r;
    struct snug_process beside = {0};
    struct snug_error err = {0};
    r.arguments = a;
    snug_status status = open_recorder(&r, &err);
    const bool has_beside = a->beside && a->beside[0] && status == SNUG_OK;
    if (has_beside)
        status = start_beside(a, &beside, &err);
    if (status == SNUG_OK)
        status = record_all(&r, &err);
    if (has_beside) {
        struct snug_process_exit ended;
        snug_process_signal(&beside, SIGTERM);
        if (snug_process_wait(&beside, 5, &ended) != SNUG_OK)
            fprintf(stderr, "\n%s did not end by itself\n", a->beside);
        snug_process_clear(&beside); /* kills what lives */
    }
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

static bool read_option(const char *name, const char *value, struct tb_record_arguments *a)
{
    const long number = strtol(value, NULL, 10);
    if (strcmp(name, "--name") == 0)
        a->name = value;
    else if (strcmp(name, "--knob") == 0 && a->n_knobs < TB_RECORD_KNOBS_MAX)
        a->knobs[a->n_knobs++] = value;
    else if (strcmp(name, "--prompt") == 0)
        a->n_prompt = number;
    else if (strcmp(name, "--gen") == 0)
        a->n_gen = number;
    else if (strcmp(name, "--context") == 0)
        a->n_ctx = number;
    else if (strcmp(name, "--reps") == 0 && number >= 1 && number <= SNUG__TABLE_REPS_MAX)
        a->n_reps = (int)number;
    else if (strcmp(name, "--blocks") == 0 && number >= 1 && number <= SNUG_BLOCKS_MAX)
        a->n_blocks = (int)number;
    else if (strcmp(name, "--minutes") == 0)
        a->minutes = strtod(value, NULL);
    else if (strcmp(name, "--beside") == 0)
        a->beside = value;
    else if (strcmp(name, "--predict") == 0)
        a->predict = value;
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    struct tb_record_arguments a = {
        .n_reps = 3, .n_blocks = 3, .n_prompt = 128, .n_gen = 16, .n_ctx = 1024, .minutes = 1e6};
    /* The engine starts this program again as its worker. */
    if (argc == 2 && strcmp(argv[1], "__worker") == 0)
        return snug__worker_main();
    if (argc == 2 && strcmp(argv[1], "__probe") == 0)
        return snug__probe_main();
    bool is_good = argc > 3;
    for (int i = 1; is_good && i < argc; i++) {
        if (argv[i][0] != '-' && !a.model)
            a.model = argv[i];
        else if (argv[i][0] != '-' && !a.table)
            a.table = argv[i];
        else if (i + 1 < argc && read_option(argv[i], argv[i + 1], &a))
            i++;
        else
            is_good = false;
    }
    if (!is_good || !a.table || !a.name || a.n_knobs == 0 || !(a.minutes > 0)) {
        fprintf(stderr,
                "usage: tunebench_record MODEL.gguf TABLE.jsonl.gz --name NAME --knob "
                "NAME=VALUE,VALUE ...\n"
                "         [--prompt N] [--gen N] [--context N] [--reps 1..%d] [--blocks 1..%d]\n"
                "         [--minutes X] [--beside COMMAND] [--predict FOLDER]\n",
                SNUG__TABLE_REPS_MAX, SNUG_BLOCKS_MAX);
        return 2;
    }
    const struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return record(&a);
}
