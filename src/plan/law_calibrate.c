/* Calibration: the engine itself is timed on small models of random weights, since what counts is
 * what libllama reaches, not what a kernel alone does.
 *
 * What tells the coefficients apart: the same shape in many types (time per byte and per FLOP of
 * each), the same model with more and with fewer layers (time per layer against time per step),
 * two widths (per element against per layer and token), depths with two ratios of query to key
 * heads (cache bytes against attention FLOPs), cache types. Every trial runs with all threads and
 * with one. The rows below are in order of worth: when time runs out the last ones are left out,
 * and their types take the figures of relatives. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <ggml.h>

#include "base/process.h"
#include "base/scratch.h"
#include "plan/config.h"
#include "plan/law_fit.h"
#include "snug/engine.h"
#include "snug/stats.h"

struct shape {
    const char *preset, *type;
    int64_t n_layer;
    int64_t n_prompt, n_gen, depth;
    const char *cache; /* type of K and V */
};

static const struct shape SHAPES[] = {
    /* This one three times: by how much one process differs from the next. */
    {"tinyllama-1.1b", "q4_0", 2, 128, 12, 0, "f16"},
    {"tinyllama-1.1b", "q4_0", 2, 128, 12, 0, "f16"},
    {"tinyllama-1.1b", "q4_0", 2, 96, 12, 512, "f16"},
    {"smollm2-135m", "q4_0", 6, 128, 16, 0, "f16"},
    {"smollm2-135m", "q4_0", 6, 128, 12, 1024, "f16"},
    {"smollm2-135m", "q4_0", 24, 128, 16, 0, "f16"},
    {"tinyllama-1.1b", "q4_0", 6, 128, 12, 0, "f16"},
    {"tinyllama-1.1b", "q8_0", 2, 96, 12, 0, "f16"},
    {"tinyllama-1.1b", "q6_k", 2, 128, 12, 0, "f16"},
    {"tinyllama-1.1b", "q4_k", 2, 128, 12, 0, "f16"},
    {"tinyllama-1.1b", "f16", 2, 32, 8, 0, "f16"},
    {"tinyllama-1.1b", "q4_0", 2, 128, 12, 0, "f16"},
    {"tinyllama-1.1b", "iq4_nl", 2, 128, 12, 0, "f16"},
    {"smollm2-135m", "q4_0", 6, 64, 8, 512, "q8_0"},
    {"tinyllama-1.1b", "q5_k", 2, 64, 8, 0, "f16"},
    {"tinyllama-1.1b", "q3_k", 2, 64, 8, 0, "f16"},
    {"tinyllama-1.1b", "q2_k", 2, 64, 8, 0, "f16"},
    {"tinyllama-1.1b", "iq4_xs", 2, 64, 8, 0, "f16"},
    {"tinyllama-1.1b", "q5_0", 2, 64, 8, 0, "f16"},
};
enum { N_SHAPES = sizeof SHAPES / sizeof *SHAPES };

#define TRIALS_MAX (N_SHAPES)
/* A step to the next tier: copies of one activation, tens of microseconds on a bus. */
static const double HOP_S = 3e-5;
/* How far trials that were not fitted lie from the law, as a standard deviation of the logarithm,
 * the machine's drift between calibration and use included (perf/plan_speed.py; docs/RESULTS.md,
 * plans, speed). What runs of this calibration differ by among themselves comes on top. */
static const double DECODE_SD = 0.17, PREFILL_SD = 0.17;
static const double Z_90 = 1.645;
/* A calibration with more disturbed trials than this is used, said to be so, and not kept. */
static const double DISTURBED_FRAC_MAX = 0.2;
static const double TRIAL_DEADLINE_S = 30.0;
/* A row is begun when so many times the one before it still fits the budget. */
static const double ROW_MARGIN = 1.5;
/* Part of the budget that a device takes where there is one. */
static const double DEVICE_SHARE = 0.4;

struct calibration {
    const struct snug_machine *machine;
    const struct snug_law_request *request;
    double start_s, budget_s;
    bool is_device; /* the tier that is timed */
    int n_threads[SNUG__LAW_COUNTS_MAX], n_counts;
    struct snug__law_trial trials[SNUG__LAW_COUNTS_MAX][TRIALS_MAX];
    int n_trials[SNUG__LAW_COUNTS_MAX];
    double latest_s; /* that the latest row took */
    struct snug_scratch scratch;
    char path[sizeof((struct snug_scratch *)0)->path + 16]; /* of the model of the moment */
    const struct shape *at;
    struct snug_model model; /* of that file */
    bool has_model;
    int n_left_out, n_disturbed, n_done;
    double disk_bps; /* 0: not known */
};

static bool is_stopped(const struct calibration *c)
{
    return c->request->stop && *c->request->stop;
}

static void drop_model(struct calibration *c)
{
    if (c->has_model)
        snug_model_clear(&c->model);
    c->has_model = false;
    if (c->path[0])
        unlink(c->path);
    c->path[0] = '\0';
}

static bool is_same_model(const struct shape *a, const struct shape *b)
{
    return a && strcmp(a->preset, b->preset) == 0 && strcmp(a->type, b->type) == 0 &&
           a->n_layer == b->n_layer;
}

static bool may_go_on(double done_frac, void *data)
{
    (void)done_frac;
    return !is_stopped(data);
}

/* The file of a shape, unless it is there from the row before. */
static snug_status make_model(struct calibration *c, const struct shape *shape,
                              struct snug_error *err)
{
    if (c->has_model && is_same_model(c->at, shape))
        return SNUG_OK;
    drop_model(c);
    const struct snug_synth_options synth = {
        .type = shape->type, .seed = 1, .n_layer = shape->n_layer};
    snprintf(c->path, sizeof c->path, "%s/calibrate.gguf", c->scratch.path);
    snug_status status = snug_model_synth(shape->preset, &synth, c->path, may_go_on, c, err);
    if (status == SNUG_OK)
        status = snug_model_open(c->path, &c->model, err);
    c->has_model = status == SNUG_OK;
    c->at = shape;
    return status;
}

static snug_status make_config(const struct calibration *c, const struct shape *shape,
                               int n_threads, const struct snug_space *space,
                               struct snug_config *config, struct snug_error *err)
{
    const char *const words[][2] = {{"type_k", shape->cache},
                                    {"type_v", shape->cache},
                                    {"flash_attn", "on"},
                                    {"device", c->is_device ? "auto" : "none"}};
    snug_status status = SNUG_OK;
    snug_space_default(space, config);
    snug__config_number(space, config, "n_threads", n_threads);
    snug__config_number(space, config, "n_threads_batch", n_threads);
    if (!c->is_device)
        snug__config_number(space, config, "n_gpu_layers", 0);
    for (size_t i = 0; i < sizeof words / sizeof *words && status == SNUG_OK; i++)
        status = snug__config_word(space, config, words[i][0], words[i][1], err);
    return status;
}

/* The median of the blocks, as a trial is judged by; where other programs took time away, the best
 * is nearer to what the machine can do. */
static double speed_of(const struct snug_measurement *m, const double *tps, int n)
{
    double most = 0.0;
    for (int i = 0; i < n; i++)
        most = tps[i] > most ? tps[i] : most;
    return m->warnings & SNUG_WARN(OTHER_LOAD) ? most : snug_stats_median(tps, (size_t)n);
}

static snug_status run_trial(struct calibration *c, const struct shape *shape,
                             struct snug_engine *engine, int count, struct snug_error *err)
{
    struct snug_measurement m = {0};
    struct snug_config config;
    struct snug_effort effort;
    snug_effort_default(&effort);
    effort.blocks_min = 3;
    effort.blocks_max = 4;
    effort.phase_s = 0.2;
    effort.warmup_max = 1;
    effort.may_cut = true;
    effort.deadline_s = TRIAL_DEADLINE_S; /* a row that was begun is finished */
    effort.is_sampling_off = true;
    snug_status status =
        make_config(c, shape, c->n_threads[count], snug_engine_space(engine), &config, err);
    if (status == SNUG_OK)
        status = snug_engine_run(engine, &config, &effort, &m, err);
    if (status == SNUG_OK && m.outcome == SNUG_TRIAL_OK) {
        struct snug__law_trial *trial = &c->trials[count][c->n_trials[count]++];
        *trial = (struct snug__law_trial){
            .n_prompt = shape->n_prompt, .n_gen = shape->n_gen, .depth = shape->depth};
        const int type = snug_model_type_from_name(shape->cache);
        snug_law_load_init(&c->model, NULL, 0, type, type, 512, &trial->load);
        trial->prefill_tps = speed_of(&m, m.prefill_block_tps, m.n_prefill_blocks);
        trial->decode_tps = speed_of(&m, m.decode_block_tps, m.n_decode_blocks);
        snug_log(SNUG_LOG_INFO,
                 "event=calibrate preset=%s type=%s n_layer=%lld depth=%lld cache=%s n_threads=%d "
                 "prefill_tps=%.2f decode_tps=%.2f load_s=%.2f wall_s=%.2f",
                 shape->preset, shape->type, (long long)shape->n_layer, (long long)shape->depth,
                 shape->cache, c->n_threads[count], trial->prefill_tps, trial->decode_tps, m.load_s,
                 m.wall_s);
        c->n_done++;
        c->n_disturbed += (m.warnings & (SNUG_WARN(OTHER_LOAD) | SNUG_WARN(THROTTLED))) != 0;
    } else {
        c->n_left_out++;
    }
    snug_measurement_clear(&m);
    return status;
}

static snug_status run_shape(struct calibration *c, const struct shape *shape,
                             struct snug_error *err)
{
    struct snug_engine *engine = NULL;
    snug_status status = make_model(c, shape, err);
    if (status != SNUG_OK)
        return status;
    const int64_t room = shape->n_prompt > shape->n_gen ? shape->n_prompt : shape->n_gen;
    const struct snug_engine_options options = {.model_path = c->path,
                                                .machine = c->machine,
                                                .model = &c->model,
                                                .rpc = c->is_device ? c->request->rpc : NULL,
                                                .stop = c->request->stop,
                                                .workload = {.n_prompt = shape->n_prompt,
                                                             .n_gen = shape->n_gen,
                                                             .n_depth = shape->depth,
                                                             .n_parallel = 1,
                                                             .n_ctx = shape->depth + room}};
    status = snug_engine_open("llama", &options, &engine, err);
    /* The host's threads are no matter to a device. */
    const int n_counts = c->is_device ? 1 : c->n_counts;
    for (int count = 0; count < n_counts && status == SNUG_OK; count++)
        status = run_trial(c, shape, engine, count, err);
    snug_engine_close(engine);
    return status;
}

/* Read the model of the moment from the disk that the cache folder is on. It was just written: only
 * what the disk has can be dropped from the page cache first. */
static void measure_disk(struct calibration *c)
{
    struct snug_fact fact;
    const int fd = open(c->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    const bool is_written = fdatasync(fd) == 0;
    close(fd);
    if (is_written && snug_machine_measure_disk(c->path, &fact, NULL) == SNUG_OK && fact.is_known)
        c->disk_bps = fact.value;
}

/* Rows while they fit the budget. */
static snug_status run_shapes(struct calibration *c, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    for (int i = 0; i < N_SHAPES && status == SNUG_OK; i++) {
        const double start = snug_clock_s();
        char phase[96];
        snprintf(phase, sizeof phase, "calibrate %d of %d: %s %s", i + 1, (int)N_SHAPES,
                 SHAPES[i].preset, SHAPES[i].type);
        if (start - c->start_s + ROW_MARGIN * c->latest_s > c->budget_s) {
            c->n_left_out += N_SHAPES - i;
            break;
        }
        if (c->request->progress)
            c->request->progress(phase, c->request->progress_data);
        status = run_shape(c, &SHAPES[i], err);
        if (i == 0)
            measure_disk(c);
        c->latest_s = snug_clock_s() - start;
    }
    drop_model(c);
    return is_stopped(c) ? snug_fail(err, SNUG_INTERRUPTED, "calibration stopped") : status;
}

static const struct snug_device *find_device(const struct snug_machine *machine)
{
    for (int i = 0; i < machine->n_devices; i++)
        if (strcmp(machine->devices[i].kind, "gpu") == 0 ||
            strcmp(machine->devices[i].kind, "igpu") == 0)
            return &machine->devices[i];
    return NULL;
}

/* Trials of the first row's load: the standard deviation of the logarithm of their speeds. */
static double spread_of(const struct calibration *c, int count, bool is_prefill)
{
    const struct snug__law_trial *trials = c->trials[count];
    double sum = 0.0, squares = 0.0;
    int n = 0;
    for (int i = 0; i < c->n_trials[count]; i++) {
        const double tps = is_prefill ? trials[i].prefill_tps : trials[i].decode_tps;
        if (memcmp(&trials[i].load, &trials[0].load, sizeof trials[i].load) != 0 ||
            trials[i].depth != trials[0].depth || !(tps > 0.0))
            continue;
        sum += log(tps);
        squares += log(tps) * log(tps);
        n++;
    }
    return n > 1 ? sqrt(fmax(0.0, (squares - sum * sum / n) / (n - 1))) : 0.0;
}

static void set_interval(const struct calibration *c, int count, struct snug_law *law)
{
    const double decode = Z_90 * hypot(DECODE_SD, spread_of(c, count, false));
    const double prefill = Z_90 * hypot(PREFILL_SD, spread_of(c, count, true));
    law->decode_lo_frac = exp(-decode);
    law->decode_hi_frac = exp(decode);
    law->prefill_lo_frac = exp(-prefill);
    law->prefill_hi_frac = exp(prefill);
}

/* One tier timed whole, appended to the laws of every thread count. */
static snug_status run_tier(struct calibration *c, const struct snug_device *device,
                            struct snug__calibration *out, struct snug_error *err)
{
    memset(c->n_trials, 0, sizeof c->n_trials);
    c->is_device = device != NULL;
    c->latest_s = 0.0;
    snug_status status = run_shapes(c, err);
    for (int i = 0; i < c->n_counts && status == SNUG_OK; i++) {
        struct snug_law *law = &out->laws[i];
        struct snug_law fitted = {.n_tiers = 1};
        struct snug_law_tier *tier = &fitted.tiers[0];
        tier->kind = device ? SNUG_TIER_DEVICE : SNUG_TIER_HOST;
        snprintf(tier->name, sizeof tier->name, "%.60s", device ? device->name : "CPU");
        tier->hop_s = HOP_S;
        const int count = device ? 0 : i;
        if (!snug__law_fit(c->trials[count], c->n_trials[count], 0, &fitted))
            status = snug_fail(err, SNUG_CRASHED, "calibration: no trial on %s gave a speed",
                               tier->name);
        if (law->n_tiers == 0) { /* what a step costs outside layers is of the first tier */
            law->step_s = fitted.step_s;
            law->ubatch_s = fitted.ubatch_s;
        }
        law->tiers[law->n_tiers++] = *tier;
        set_interval(c, count, law); /* the host's, which is timed last */
    }
    return status;
}

static void describe(const struct calibration *c, struct snug__calibration *out)
{
    char date[16] = "";
    const time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc))
        strftime(date, sizeof date, "%Y-%m-%d", &utc);
    snprintf(out->fingerprint, sizeof out->fingerprint, "%s", c->machine->fingerprint);
    snug_engine_build_here(out->build, sizeof out->build);
    out->is_disturbed = c->n_disturbed > DISTURBED_FRAC_MAX * c->n_done;
    for (int i = 0; i < out->n_laws; i++) {
        struct snug_law *law = &out->laws[i];
        snprintf(law->machine, sizeof law->machine, "this machine");
        snprintf(law->build, sizeof law->build, "%s", out->build);
        snprintf(law->source, sizeof law->source, "calibrated in %.0f s on %s%s%s",
                 snug_clock_s() - c->start_s, date, c->n_left_out ? ", cut short" : "",
                 c->n_disturbed ? ", while other programs ran" : "");
        law->n_threads = c->n_threads[i];
    }
}

snug_status snug__law_calibrate(const struct snug_machine *machine, const char *folder,
                                double budget_s, const struct snug_law_request *request,
                                struct snug__calibration *out, struct snug_error *err)
{
    struct calibration *c = calloc(1, sizeof *c);
    struct snug__calibration made = {.n_laws = 0};
    const struct snug_device *device = find_device(machine);
    if (!c)
        return snug_fail(err, SNUG_NO_MEMORY, "calibration");
    c->machine = machine;
    c->request = request;
    c->start_s = snug_clock_s();
    c->n_threads[c->n_counts++] = machine->n_threads_usable > 0 ? machine->n_threads_usable : 1;
    if (c->n_threads[0] > 1)
        c->n_threads[c->n_counts++] = 1;
    made.n_laws = c->n_counts;
    snug_status status = snug_scratch_open(folder, &c->scratch, err);
    if (status == SNUG_OK && device) {
        c->budget_s = budget_s * DEVICE_SHARE;
        status = run_tier(c, device, &made, err);
    }
    c->budget_s = budget_s;
    if (status == SNUG_OK)
        status = run_tier(c, NULL, &made, err);
    if (status == SNUG_OK) {
        for (int i = 0; i < made.n_laws; i++)
            snug__law_add_disk(&made.laws[i], c->disk_bps, 0);
        describe(c, &made);
        *out = made;
    }
    drop_model(c);
    snug_scratch_close(&c->scratch);
    free(c);
    return status;
}
