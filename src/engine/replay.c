/* The engine "replay": answers from a recorded table instead of a model.
 *
 * As model_path it takes the table; the workload asked selects the fidelity. It runs nothing, so it
 * answers alike on every machine: tuners can be compared on it, and tests need no model. */
#include "engine/replay.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine_row.h"
#include "snug/stats.h"

snug_status snug__replay_open(struct snug__replay *replay, const struct snug__table *table,
                              uint64_t seed, struct snug_error *err)
{
    *replay = (struct snug__replay){.table = table, .seed = seed};
    replay->n_asked = calloc(table->n_cells * (size_t)table->n_fidelities, sizeof *replay->n_asked);
    replay->was_stated = calloc(table->n_cells, sizeof *replay->was_stated);
    if (replay->n_asked && replay->was_stated)
        return SNUG_OK;
    snug__replay_close(replay);
    return snug_fail(err, SNUG_NO_MEMORY, "no memory to replay %zu cells", table->n_cells);
}

void snug__replay_close(struct snug__replay *replay)
{
    free(replay->n_asked);
    free(replay->was_stated);
    *replay = (struct snug__replay){0};
}

const struct snug__table_cell *snug__replay_estimate(struct snug__replay *replay,
                                                     const struct snug_config *config)
{
    const struct snug__table_cell *cell = snug__table_find(replay->table, config);
    if (!cell) {
        replay->clock_s += replay->table->estimate_s;
        return NULL;
    }
    bool *was_stated = &replay->was_stated[cell - replay->table->cells];
    if (!*was_stated)
        replay->clock_s += replay->table->estimate_s;
    *was_stated = true;
    return snug__table_memory(replay->table, cell) ? cell : NULL;
}

/* Element k of a permutation of 0..n-1 that belongs to this cell, fidelity and seed. */
static int permuted(const struct snug__replay *replay, const struct snug__table_cell *cell,
                    int fidelity, int n, uint32_t k)
{
    int order[SNUG__TABLE_REPS_MAX];
    struct snug_rng rng;
    snug_rng_init(&rng, cell->hash ^ (replay->seed * UINT64_C(0x9e3779b97f4a7c15)) ^
                            ((uint64_t)fidelity << 56));
    for (int i = 0; i < n; i++)
        order[i] = i;
    for (int i = n - 1; i > 0; i--) {
        const int j = (int)snug_rng_below(&rng, (uint64_t)i + 1), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    return order[k % (uint32_t)n];
}

static bool needs_load(const struct snug__replay *replay, const struct snug_config *config)
{
    const struct snug_space *space = &replay->table->space;
    for (int r = 0; r < space->n && replay->is_loaded; r++)
        if (space->knobs[r].when == SNUG_KNOB_LOAD && replay->loaded.value[r] != config->value[r])
            return true;
    return !replay->is_loaded;
}

/* Keep the first n of *n_had speeds; their median. */
static double keep_blocks(const double *tps, int *n_had, int n)
{
    *n_had = *n_had < n ? *n_had : n;
    return *n_had > 0 ? snug_stats_median(tps, (size_t)*n_had) : 0;
}

/* Seconds of n_blocks of both phases. */
static double blocks_s(const struct snug_workload *w, const struct snug_measurement *m,
                       double n_blocks, double n_gen)
{
    const double prompt_s = m->prefill_tps > 0 ? (double)w->n_prompt / m->prefill_tps : 0;
    return n_blocks * (prompt_s + (m->decode_tps > 0 ? n_gen / m->decode_tps : 0));
}

/* Blocks of n_gen tokens, as noisy as so few are. */
static void shorten_blocks(struct snug_measurement *m, double share)
{
    for (int i = 0; i < m->n_decode_blocks; i++)
        m->decode_block_tps[i] =
            m->decode_tps * pow(m->decode_block_tps[i] / m->decode_tps, 1 / sqrt(share));
}

/* Cut a measurement to its first blocks; returns their share of the recorded seconds. */
static double shorten(const struct snug_workload *w, const struct snug__replay_effort *effort,
                      struct snug_measurement *m)
{
    const int n_had =
        m->n_prefill_blocks > m->n_decode_blocks ? m->n_prefill_blocks : m->n_decode_blocks;
    const bool is_shorter = effort->n_gen_max > 0 && effort->n_gen_max < w->n_gen;
    const bool is_fewer = effort->n_blocks > 0 && effort->n_blocks < n_had;
    if (m->outcome != SNUG_TRIAL_OK || (!is_shorter && !is_fewer))
        return 1;
    const int n_kept = is_fewer ? effort->n_blocks : n_had;
    const double n_all = (double)w->n_gen, n_gen = is_shorter ? (double)effort->n_gen_max : n_all;
    const double n_blocks = n_kept + (effort->is_cold ? 0.0 : 1.0);
    const double all_s = blocks_s(w, m, n_had + 1.0, n_all);
    const double kept_s = blocks_s(w, m, n_blocks, n_gen);
    if (is_shorter && m->decode_tps > 0)
        shorten_blocks(m, n_gen / n_all);
    m->prefill_tps = keep_blocks(m->prefill_block_tps, &m->n_prefill_blocks, n_kept);
    m->decode_tps = keep_blocks(m->decode_block_tps, &m->n_decode_blocks, n_kept);
    return all_s > 0 ? kept_s / all_s : n_blocks / (n_had + 1.0);
}

static void charge(struct snug__replay *replay, const struct snug_workload *workload,
                   const struct snug__table_rep *rep, const struct snug__replay_effort *effort,
                   struct snug_measurement *out)
{
    const double deadline_s = effort->deadline_s, share = shorten(workload, effort, out);
    out->load_s = needs_load(replay, &out->effective) ? rep->setup_s : 0;
    out->wall_s = share * rep->wall_s + out->load_s;
    if (deadline_s > 0 && out->wall_s > deadline_s) {
        *out = (struct snug_measurement){.outcome = SNUG_TRIAL_TIMEOUT,
                                         .wall_s = deadline_s,
                                         .bytes = out->bytes,
                                         .effective = out->effective};
        snprintf(out->reason, sizeof out->reason, "recorded as longer than %.1f s", deadline_s);
    }
    replay->clock_s += out->wall_s;
    replay->is_loaded = out->outcome == SNUG_TRIAL_OK;
    replay->loaded = out->effective;
}

void snug__replay_run(struct snug__replay *replay, const struct snug_config *config, int fidelity,
                      const struct snug__replay_effort *effort, struct snug_measurement *out)
{
    const struct snug__table *t = replay->table;
    const struct snug__table_cell *cell = snug__table_find(t, config);
    const struct snug__table_rep *first = NULL;
    const int n = cell ? snug__table_reps_of(cell, fidelity, &first) : 0;
    if (n == 0) {
        *out = (struct snug_measurement){
            .outcome = SNUG_TRIAL_REFUSED, .wall_s = t->estimate_s, .effective = *config};
        snprintf(out->reason, sizeof out->reason, "this config was not recorded");
        replay->clock_s += t->estimate_s;
        return;
    }
    uint32_t *n_asked =
        &replay->n_asked[(size_t)(cell - t->cells) * (size_t)t->n_fidelities + (size_t)fidelity];
    const struct snug__table_rep *rep = first + permuted(replay, cell, fidelity, n, *n_asked);
    snug__table_measurement(cell, rep, out);
    *n_asked += !effort->is_cold; /* what is only begun goes on with the same repetition */
    charge(replay, &t->workloads[fidelity], rep, effort, out);
}

/* ---- the engine ---- */

struct state {
    struct snug__table *table;
    struct snug__replay replay;
    int fidelity;
    char build[64];
};

static void close_state(void *state)
{
    struct state *s = state;
    if (!s)
        return;
    snug__replay_close(&s->replay);
    snug__table_free(s->table);
    free(s);
}

static snug_status find_fidelity(const struct snug__table *t, const struct snug_workload *w,
                                 int *out, struct snug_error *err)
{
    for (int i = 0; i < t->n_fidelities; i++) {
        const struct snug_workload *had = &t->workloads[i];
        if (had->n_prompt == w->n_prompt && had->n_gen == w->n_gen && had->n_depth == w->n_depth &&
            had->n_parallel == w->n_parallel) {
            *out = i;
            return SNUG_OK;
        }
    }
    return snug_fail(err, SNUG_BAD_INPUT,
                     "table %s was not recorded with a prompt of %lld and %lld new tokens; with "
                     "%lld and %lld it was",
                     t->name, (long long)w->n_prompt, (long long)w->n_gen,
                     (long long)t->workloads[0].n_prompt, (long long)t->workloads[0].n_gen);
}

/* A table does not keep what llama.cpp calls its rows. */
static void name_flags(struct snug_space *space)
{
    const struct snug_space *rows = snug_engine_rows();
    for (int i = 0; i < space->n; i++) {
        const int row = snug_space_find(rows, space->knobs[i].name);
        if (row < 0 || rows->knobs[row].kind != space->knobs[i].kind)
            continue;
        space->knobs[i].flag = rows->knobs[row].flag;
        space->knobs[i].flag_off = rows->knobs[row].flag_off;
        space->knobs[i].help = rows->knobs[row].help;
    }
}

static snug_status open_state(const struct snug_engine_options *options, void **out_state,
                              struct snug_error *err)
{
    struct state *s = calloc(1, sizeof *s);
    if (!s)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for an engine");
    snug_status status = snug__table_read(options->model_path, &s->table, err);
    if (status == SNUG_OK)
        status = find_fidelity(s->table, &options->workload, &s->fidelity, err);
    if (status == SNUG_OK)
        status = snug__replay_open(&s->replay, s->table, options->replay_seed, err);
    if (status != SNUG_OK) {
        close_state(s);
        return status;
    }
    name_flags(&s->table->space);
    snprintf(s->build, sizeof s->build, "replay %d of %.40s", SNUG__TABLE_VERSION, s->table->name);
    *out_state = s;
    return SNUG_OK;
}

static const struct snug_space *get_space(const void *state)
{
    return &((const struct state *)state)->table->space;
}

static const char *get_build(const void *state)
{
    return ((const struct state *)state)->build;
}

static snug_status estimate(void *state, const struct snug_config *config, struct snug_bytes *out,
                            struct snug_error *err)
{
    struct state *s = state;
    const struct snug__table_cell *cell = snug__replay_estimate(&s->replay, config);
    if (!cell)
        return snug_fail(err, SNUG_INFEASIBLE, "table %s has no such config that runs",
                         s->table->name);
    *out = cell->bytes;
    return SNUG_OK;
}

static snug_status run(void *state, const struct snug_config *config,
                       const struct snug_effort *effort, struct snug_measurement *out,
                       struct snug_error *err)
{
    struct state *s = state;
    (void)err; /* every trial ends in a measurement */
    const struct snug__replay_effort wanted = {
        .n_blocks = effort->blocks_max,
        .n_gen_max = effort->n_gen_max,
        .is_cold = effort->warmup_max == 0,
        .deadline_s = effort->deadline_s,
    };
    snug__replay_run(&s->replay, config, s->fidelity, &wanted, out);
    snprintf(out->build, sizeof out->build, "%s", s->build);
    return SNUG_OK;
}

static void restart(void *state)
{
    ((struct state *)state)->replay.is_loaded = false;
}

const struct snug__engine_row snug__engine_replay = {
    .name = "replay",
    .open = open_state,
    .close = close_state,
    .space = get_space,
    .build = get_build,
    .estimate = estimate,
    .run = run,
    .restart = restart,
};
