/* From lists to rounds, and from rounds to the order in which they are measured.
 *
 * Within each repetition every (model, workload) is a block. Its rounds are shuffled (Fisher and
 * Yates, Knuth 3.4.2 algorithm P) and cut into as many nearly equal runs as the block has
 * baselines; each baseline falls on a random place of its run. So drift, slow or fast, meets
 * baseline and rounds alike, and every round has a baseline near it. */
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "lab/rounds_internal.h"
#include "snug/engine.h"
#include "snug/stats.h"

#define ROUNDS_PER_BASELINE 8

static snug_status fail_memory(struct snug_error *err)
{
    return snug_fail(err, SNUG_NO_MEMORY, "no memory for a plan");
}

/* ---- rounds ---- */

static bool is_same(const struct snug_lab_round *a, const struct snug_lab_round *b)
{
    if (a->n_knobs != b->n_knobs ||
        strcmp(a->weights ? a->weights : "", b->weights ? b->weights : ""))
        return false;
    for (int i = 0; i < a->n_knobs; i++) {
        if (strcmp(a->knobs[i].name, b->knobs[i].name) != 0 ||
            strcmp(a->knobs[i].value, b->knobs[i].value) != 0)
            return false;
    }
    return true;
}

static snug_status check_unique(const struct snug_yaml *doc, const struct snug__lab_group *group,
                                const struct snug_lab_plan *plan,
                                const struct snug_lab_round *round, struct snug_error *err)
{
    for (int i = 0; i < plan->n_rounds; i++) {
        if (strcmp(plan->rounds[i].name, round->name) == 0)
            return snug_yaml_fail(doc, group->node, err, "a second round called '%.80s'",
                                  round->name);
        if (is_same(&plan->rounds[i], round))
            return snug_yaml_fail(doc, group->node, err,
                                  "'%.80s' asks for the same as '%.80s': leave one out",
                                  round->name, plan->rounds[i].name);
    }
    return SNUG_OK;
}

/* What the baseline sets holds in every round that does not say otherwise. Knobs stay in the
 * table's order. */
static void add_of_baseline(const struct snug_lab_plan *plan, struct snug_lab_round *round)
{
    const struct snug_lab_round *baseline = plan->n_rounds > 0 ? &plan->rounds[0] : NULL;
    const struct snug_space *rows = snug_engine_rows();
    for (int i = 0; baseline && i < baseline->n_knobs; i++) {
        const int row = snug_space_find(rows, baseline->knobs[i].name);
        int at = 0;
        while (at < round->n_knobs && snug_space_find(rows, round->knobs[at].name) < row)
            at++;
        if (at < round->n_knobs && strcmp(round->knobs[at].name, baseline->knobs[i].name) == 0)
            continue;
        memmove(round->knobs + at + 1, round->knobs + at,
                (size_t)(round->n_knobs - at) * sizeof *round->knobs);
        round->knobs[at] = baseline->knobs[i];
        round->n_knobs++;
    }
}

/* The round of one choice per axis. */
static snug_status add_round(const struct snug_yaml *doc, const struct snug__lab_group *group,
                             const struct snug__lab_axes *axes, const int *choice,
                             struct snug_lab_plan *plan, struct snug_error *err)
{
    struct snug_arena *arena = &plan->arena;
    struct snug_lab_round round = {.name = group->name, .group = group->group};
    round.knobs = snug_arena_alloc(arena, SNUG_KNOBS_MAX, sizeof *round.knobs);
    if (!round.knobs)
        return fail_memory(err);
    for (int i = 0; i < axes->n; i++) {
        const struct snug__lab_axis *axis = &axes->list[i];
        const char *name = axis->knob ? axis->knob->name : "weights";
        const char *value = axis->values[choice[i]];
        if (axis->knob)
            round.knobs[round.n_knobs++] = (struct snug_lab_knob){name, value};
        else
            round.weights = value;
        if (axis->is_list)
            round.name = snug_arena_printf(arena, "%s %s=%s", round.name, name, value);
        if (!round.name)
            return fail_memory(err);
    }
    add_of_baseline(plan, &round);
    if (plan->n_rounds > SNUG_LAB_ROUNDS_MAX)
        return snug_yaml_fail(doc, group->node, err, "more than %d rounds: shorten its lists",
                              SNUG_LAB_ROUNDS_MAX);
    const snug_status status = check_unique(doc, group, plan, &round, err);
    if (status == SNUG_OK)
        plan->rounds[plan->n_rounds++] = round;
    return status;
}

/* The next choice, the last axis fastest; false after the last one. */
static bool next_choice(const struct snug__lab_axes *axes, int *choice)
{
    for (int i = axes->n - 1; i >= 0; i--) {
        if (++choice[i] < axes->list[i].n)
            return true;
        choice[i] = 0;
    }
    return false;
}

snug_status snug__lab_expand(const struct snug_yaml *doc, const struct snug__lab_group *group,
                             const struct snug__lab_axes *axes, struct snug_lab_plan *plan,
                             struct snug_error *err)
{
    int choice[SNUG__LAB_AXES_MAX] = {0}, n_lists = 0;
    snug_status status = SNUG_OK;
    for (int i = 0; i < axes->n; i++)
        n_lists += axes->list[i].is_list;
    if (n_lists > 1 && !group->is_grid)
        return snug_yaml_fail(doc, group->node, err,
                              "%d lists: set 'grid: true' to measure every combination of them, or "
                              "make it several rounds",
                              n_lists);
    do {
        status = add_round(doc, group, axes, choice, plan, err);
    } while (status == SNUG_OK && next_choice(axes, choice));
    return status;
}

/* ---- rows ---- */

static void put_model(struct snug_buffer *out, const struct snug_lab_model *model)
{
    if (model->path)
        snug_buffer_printf(out, "model path=%s\n", model->path);
    else
        snug_buffer_printf(out, "model synth=%s type=%s layers=%lld\n", model->synth,
                           model->synth_type, (long long)model->synth_layers);
}

static void put_workload(struct snug_buffer *out, const struct snug_lab_workload *w)
{
    snug_buffer_printf(out, "workload prompt=%lld gen=%lld depth=%lld parallel=%lld context=%lld",
                       (long long)w->n_prompt, (long long)w->n_gen, (long long)w->n_depth,
                       (long long)w->n_parallel, (long long)w->n_ctx);
    snug_buffer_printf(out, " file=%s\n", w->file ? w->file : "");
}

static void put_round(struct snug_buffer *out, const struct snug_lab_round *round)
{
    snug_buffer_printf(out, "weights %s\n", round->weights ? round->weights : "");
    for (int i = 0; i < round->n_knobs; i++)
        snug_buffer_printf(out, "knob %s=%s\n", round->knobs[i].name, round->knobs[i].value);
}

/* What a row is for ever: its names are left out, so that a rename measures nothing again. `again`
 * tells the baselines of one block apart. */
static bool make_key(const struct snug_lab_plan *plan, struct snug_lab_row *row, int again)
{
    struct snug_buffer text = {0};
    put_model(&text, &plan->models[row->i_model]);
    put_workload(&text, &plan->workloads[row->i_workload]);
    put_round(&text, &plan->rounds[row->i_round]);
    snug_buffer_printf(&text, "repetition %d %d\n", row->repetition, again);
    const bool is_made = !text.is_failed;
    if (is_made)
        snug_sha256_hex(text.data, text.len, row->key);
    snug_buffer_clear(&text);
    return is_made;
}

static int n_baselines(const struct snug_lab_plan *plan)
{
    return 1 + (plan->n_rounds - 1) / ROUNDS_PER_BASELINE;
}

/* The rounds of one block in order; baselines are 0. out has room for all. */
static void draw_block(const struct snug_lab_plan *plan, struct snug_rng *rng, int *out)
{
    const int n = plan->n_rounds - 1, n_runs = n_baselines(plan);
    int shuffled[SNUG_LAB_ROUNDS_MAX];
    for (int i = 0; i < n; i++)
        shuffled[i] = i + 1;
    for (int i = n - 1; i > 0; i--) {
        const int j = (int)snug_rng_below(rng, (uint64_t)i + 1);
        const int kept = shuffled[i];
        shuffled[i] = shuffled[j];
        shuffled[j] = kept;
    }
    int at = 0;
    for (int run = 0; run < n_runs; run++) {
        const int from = run * n / n_runs, to = (run + 1) * n / n_runs;
        const int baseline = from + (int)snug_rng_below(rng, (uint64_t)(to - from) + 1);
        for (int i = from; i < to; i++) {
            if (i == baseline)
                out[at++] = 0;
            out[at++] = shuffled[i];
        }
        if (baseline == to)
            out[at++] = 0;
    }
}

static bool put_block(struct snug_lab_plan *plan, const struct snug_lab_row *block,
                      struct snug_rng *rng)
{
    int order[2 * SNUG_LAB_ROUNDS_MAX + 1], again = 0;
    const int n = plan->n_rounds - 1 + n_baselines(plan);
    draw_block(plan, rng, order);
    for (int i = 0; i < n; i++) {
        struct snug_lab_row *row = &plan->rows[plan->n_rows++];
        *row = *block;
        row->i_round = order[i];
        if (!make_key(plan, row, order[i] == 0 ? again++ : 0))
            return false;
    }
    return true;
}

snug_status snug__lab_order(const char *name, struct snug_lab_plan *plan, struct snug_error *err)
{
    const int64_t n_blocks = (int64_t)plan->n_repetitions * plan->n_models * plan->n_workloads;
    const int64_t n_rows = n_blocks * (plan->n_rounds - 1 + n_baselines(plan));
    struct snug_rng rng;
    struct snug_lab_row block = {0};
    if (n_rows > SNUG_LAB_ROWS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: %lld rows (%d repetitions, %d models, %d workloads, %d rounds), at "
                         "most %d are taken",
                         name, (long long)n_rows, plan->n_repetitions, plan->n_models,
                         plan->n_workloads, plan->n_rounds - 1, SNUG_LAB_ROWS_MAX);
    plan->rows = snug_arena_alloc(&plan->arena, (size_t)n_rows, sizeof *plan->rows);
    if (!plan->rows)
        return fail_memory(err);
    snug_rng_init(&rng, plan->seed);
    for (block.repetition = 0; block.repetition < plan->n_repetitions; block.repetition++) {
        for (block.i_model = 0; block.i_model < plan->n_models; block.i_model++) {
            for (block.i_workload = 0; block.i_workload < plan->n_workloads; block.i_workload++) {
                if (!put_block(plan, &block, &rng))
                    return fail_memory(err);
                block.block++;
            }
        }
    }
    return SNUG_OK;
}

/* ---- hash ---- */

snug_status snug__lab_hash(struct snug_lab_plan *plan, struct snug_error *err)
{
    struct snug_buffer text = {0};
    snug_buffer_printf(&text, "rounds 1\ntitle %s\nseed %llu\nrepetitions %d\ndeadline %.17g\n",
                       plan->title, (unsigned long long)plan->seed, plan->n_repetitions,
                       plan->deadline_s);
    for (int i = 0; i < plan->n_models; i++) {
        snug_buffer_printf(&text, "name %s\n", plan->models[i].name);
        put_model(&text, &plan->models[i]);
    }
    for (int i = 0; i < plan->n_workloads; i++) {
        snug_buffer_printf(&text, "name %s\n", plan->workloads[i].name);
        put_workload(&text, &plan->workloads[i]);
    }
    for (int i = 0; i < plan->n_rounds; i++) {
        snug_buffer_printf(&text, "name %s\ngroup %s\n", plan->rounds[i].name,
                           plan->rounds[i].group);
        put_round(&text, &plan->rounds[i]);
    }
    for (int i = 0; i < plan->n_texts; i++)
        snug_buffer_printf(&text, "text %s\n", plan->texts[i]);
    for (int i = 0; i < plan->n_tasks; i++)
        snug_buffer_printf(&text, "task %s\n", plan->tasks[i]);
    snug_buffer_printf(&text, "reference %s\n", plan->reference ? plan->reference : "");
    for (int i = 0; i < plan->n_require; i++)
        snug_buffer_printf(&text, "require %s\n", plan->require[i]);
    for (int i = 0; i < plan->improved.n_metrics; i++)
        snug_buffer_printf(&text, "metric %s\n", plan->improved.metrics[i]);
    snug_buffer_printf(&text, "tolerance %.17g\n", plan->improved.tolerance_frac);
    const bool is_made = !text.is_failed;
    if (is_made)
        snug_sha256_hex(text.data, text.len, plan->hash);
    snug_buffer_clear(&text);
    return is_made ? SNUG_OK : fail_memory(err);
}
