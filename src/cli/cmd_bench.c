/* snug bench: configs measured well. Rows and names as llama-bench prints them, plus time to first
 * token, time per token, load time, memory by kind, number of blocks and spread. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/gate.h"
#include "cli/task.h"
#include "report/table.h"
#include "snug/stats.h"
#include "snug/units.h"

#define CONFIGS_MAX 512
static const int64_t DEPTH_MAX = 1 << 24;

static const struct cli_task_defaults DEFAULTS = {.n_prompt = 512, .n_gen = 128};

/* ---- which configs: the grid of every comma list ---- */

struct grid {
    struct snug_config configs[CONFIGS_MAX];
    int n;
};

static snug_status multiply(struct grid *grid, const struct snug_space *space, int row,
                            const char *list, struct snug_error *err)
{
    int64_t values[CLI_LIST_MAX];
    int n_values = 0;
    for (const char *p = list; *p;) {
        char word[64];
        const size_t n = strcspn(p, ",");
        if (n_values == CLI_LIST_MAX || n >= sizeof word)
            return snug_fail(err, SNUG_BAD_INPUT, "%s: more than %d values, or one too long",
                             space->knobs[row].name, CLI_LIST_MAX);
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        const snug_status status =
            cli_parse_knob(&space->knobs[row], word, &values[n_values++], err);
        if (status != SNUG_OK)
            return status;
        p += n + (p[n] == ',');
    }
    if (n_values == 0 || grid->n * n_values > CONFIGS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: a grid of 1 to %d configs, not %d",
                         space->knobs[row].name, CONFIGS_MAX, grid->n * n_values);
    const int before = grid->n;
    for (int v = n_values - 1; v >= 0; v--) {
        for (int i = 0; i < before; i++) {
            struct snug_config *c = &grid->configs[v * before + i];
            *c = grid->configs[i];
            c->value[row] = values[v];
        }
    }
    grid->n = before * n_values;
    return SNUG_OK;
}

static snug_status make_grid(const struct cli_args *args, const struct snug_space *space,
                             struct grid *grid, struct snug_error *err)
{
    snug_space_default(space, &grid->configs[0]);
    grid->n = 1;
    for (int i = 0; i < args->n_knobs; i++) {
        const int row = snug_space_find(space, args->knobs[i].name);
        const snug_status status = multiply(grid, space, row, args->knobs[i].text, err);
        if (status != SNUG_OK)
            return status;
    }
    for (int i = 0; i < grid->n; i++)
        cli_follow_threads(args, space, &grid->configs[i]);
    return SNUG_OK;
}

/* ---- the table ---- */

static const char *const COLUMNS[] = {
    "model",   "size_bytes",  "params",    "backend",     "config",       "test",
    "t/s",     "+-",          "n",         "ttft_s",      "tpot_p50_s",   "tpot_p95_s",
    "load_s",  "weights_MiB", "cache_MiB", "compute_MiB", "rss_peak_MiB", "J/token",
    "verdict", "quality",     "notes"};

static void make_columns(struct snug_table *table)
{
    for (size_t i = 0; i < sizeof COLUMNS / sizeof *COLUMNS; i++) {
        const bool is_text = i == 0 || (i >= 3 && i <= 5) || i >= 18;
        snug_table_column(table, COLUMNS[i], is_text ? SNUG_COLUMN_TEXT : SNUG_COLUMN_NUMBER);
    }
}

static void notes_text(const struct snug_measurement *m, char *out, size_t cap)
{
    if (m->outcome != SNUG_TRIAL_OK)
        snprintf(out, cap, "%s: %s", snug_outcome_name(m->outcome), m->reason);
    else
        snug_warnings_text(m->warnings, ", ", out, cap);
}

/* llama-bench's names: pp512, tg128, tg128 @ d4096; parallel sequences are added as " x 4". */
static void test_name(const struct snug_workload *w, bool is_prefill, char *out, size_t cap)
{
    int n = snprintf(out, cap, "%s%lld", is_prefill ? "pp" : "tg",
                     (long long)(is_prefill ? w->n_prompt : w->n_gen));
    if (w->n_depth > 0)
        n += snprintf(out + n, cap - (size_t)n, " @ d%lld", (long long)w->n_depth);
    if (w->n_parallel > 1)
        n += snprintf(out + n, cap - (size_t)n, " x %lld", (long long)w->n_parallel);
    if (w->name[0])
        snprintf(out + n, cap - (size_t)n, " %.32s", w->name);
}

static void put_row(struct snug_table *table, const struct cli_task *task,
                    const struct snug_config *config, const struct snug_measurement *m,
                    bool is_prefill)
{
    const struct snug_space *space = snug_engine_space(task->engine);
    const double *blocks = is_prefill ? m->prefill_block_tps : m->decode_block_tps;
    const int n = is_prefill ? m->n_prefill_blocks : m->n_decode_blocks;
    char text[512], test[128];
    snug_table_cell_text(table, cli_base_name(task->model.path));
    snug_table_cell_number(table, (double)task->model.bytes_tensors, 0);
    snug_table_cell_number(table, (double)task->model.n_params, 0);
    snug_table_cell_text(table, m->bytes.device > 0 ? "GPU" : "CPU");
    snug_table_cell_text(table, snug_config_text(space, config, true, text, sizeof text));
    test_name(&task->workload, is_prefill, test, sizeof test);
    snug_table_cell_text(table, test);
    snug_table_cell_positive(table, is_prefill ? m->prefill_tps : m->decode_tps, 2);
    if (n > 0)
        snug_table_cell_number(table, snug_stats_mad(blocks, (size_t)n), 2);
    else
        snug_table_cell_empty(table);
    snug_table_cell_number(table, n, 0);
    snug_table_cell_positive(table, is_prefill ? m->ttft_s : 0.0, 4);
    snug_table_cell_positive(table, is_prefill ? 0.0 : m->tpot_p50_s, 5);
    snug_table_cell_positive(table, is_prefill ? 0.0 : m->tpot_p95_s, 5);
    snug_table_cell_positive(table, m->load_s, 3);
    const double mib = 1 << 20;
    snug_table_cell_number(table, (double)m->bytes.weights / mib, 1);
    snug_table_cell_number(table, (double)m->bytes.cache / mib, 1);
    snug_table_cell_number(table, (double)m->bytes.compute / mib, 1);
    snug_table_cell_positive(table, (double)m->bytes.rss_peak / mib, 1);
    snug_table_cell_positive(table,
                             is_prefill ? snug_measurement_prefill_j(m, &task->workload, NULL)
                                        : snug_measurement_decode_j(m, &task->workload, NULL),
                             4);
    snug_table_cell_text(table, n > 0 ? snug_verdict_name(snug_verdict_of(m->warnings)) : "");
    cli_task_quality(task, config, text, sizeof text, NULL);
    snug_table_cell_text(table, text);
    notes_text(m, text, sizeof text);
    snug_table_cell_text(table, text);
    snug_table_row_end(table);
}

static void on_progress(const char *phase, void *data)
{
    (void)data;
    cli_live("%s ...", phase);
}

static void warn(const struct snug_measurement *m)
{
    char words[256];
    for (int bit = 0; bit < SNUG_N_WARNINGS; bit++) {
        if (m->warnings & (1u << bit))
            cli_say("%s: %s: %s", snug_verdict_name(snug_verdict_of(1u << bit)),
                    snug_warning_name((enum snug_warning_bit)bit),
                    snug_warning_words(m, (enum snug_warning_bit)bit, words, sizeof words));
    }
}

static struct snug_effort bench_effort(const struct cli_args *args)
{
    struct snug_effort effort;
    snug_effort_default(&effort);
    effort.phase_s = 10.0;
    effort.deadline_s = 3600.0;
    if (args->repetitions)
        effort.blocks_min = effort.blocks_max = (int)args->repetitions;
    effort.is_sampling_off = args->no_sampling;
    return effort;
}

/* What one command measures: a grid of configs at each depth. */
struct bench {
    const struct cli_args *args;
    struct cli_task task;
    struct grid grid;
    struct snug_table table;
    struct cli_gate gate;
    int n_failed;
};

static snug_status run_one(struct bench *b, const struct snug_config *config,
                           const struct snug_effort *effort, struct snug_error *err)
{
    struct cli_task *task = &b->task;
    struct snug_measurement m = {0};
    int64_t id = 0;
    snug_status status = snug_engine_run(task->engine, config, effort, &m, err);
    if (status == SNUG_OK)
        status = snug_store_trial_add(task->store, task->id, 0, "bench", "",
                                      snug_engine_space(task->engine), config, &m, &id, err);
    if (status == SNUG_OK) {
        double kld = NAN;
        char text[128];
        cli_live_end();
        warn(&m);
        b->n_failed += m.outcome != SNUG_TRIAL_OK;
        cli_task_quality(task, config, text, sizeof text, &kld);
        cli_gate_trial(&b->gate, &m, &task->workload, kld);
        if (task->workload.n_prompt > 0)
            put_row(&b->table, task, config, &m, true);
        if (task->workload.n_gen > 0)
            put_row(&b->table, task, config, &m, false);
    }
    snug_measurement_clear(&m);
    return status;
}

static snug_status run_all(struct bench *b, struct snug_error *err)
{
    const struct snug_effort effort = bench_effort(b->args);
    snug_status status = SNUG_OK;
    for (int i = 0; i < b->grid.n && status == SNUG_OK && !cli_stop; i++)
        status = run_one(b, &b->grid.configs[i], &effort, err);
    return status == SNUG_INTERRUPTED ? SNUG_OK : status;
}

/* Bytes alone, as libllama states them without allocating. */
static snug_status state_all(struct cli_task *task, const struct grid *grid,
                             struct snug_table *table, struct snug_error *err)
{
    for (int i = 0; i < grid->n && !cli_stop; i++) {
        struct snug_measurement m = {.outcome = SNUG_TRIAL_OK};
        struct snug_error why = {0};
        const snug_status status =
            snug_engine_estimate(task->engine, &grid->configs[i], &m.bytes, &why);
        if (status != SNUG_OK && status != SNUG_INFEASIBLE)
            return snug_fail(err, status, "%s", why.text);
        if (status == SNUG_INFEASIBLE) {
            m.outcome = SNUG_TRIAL_REFUSED;
            snprintf(m.reason, sizeof m.reason, "%.200s", why.text);
        }
        put_row(table, task, &grid->configs[i], &m, true);
    }
    return SNUG_OK;
}

/* ---- depths ---- */

/* "0,512,4096" */
static snug_status read_depths(const char *list, int64_t out[CLI_LIST_MAX], int *out_n,
                               struct snug_error *err)
{
    *out_n = 0;
    for (const char *p = list; *p;) {
        char word[32];
        const size_t n = strcspn(p, ",");
        if (*out_n == CLI_LIST_MAX || n >= sizeof word)
            return snug_fail(err, SNUG_BAD_INPUT, "--depth: more than %d values, or one too long",
                             CLI_LIST_MAX);
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        const snug_status status =
            snug_int_parse("--depth", word, 0, DEPTH_MAX, &out[(*out_n)++], err);
        if (status != SNUG_OK)
            return status;
        p += n + (p[n] == ',');
    }
    return *out_n > 0 ? SNUG_OK : snug_fail(err, SNUG_BAD_INPUT, "--depth: an empty list");
}

/* All configs at one depth; a workload of its own, so an engine of its own. */
static snug_status bench_depth(struct bench *b, int64_t depth, struct snug_error *err)
{
    struct cli_args args = *b->args;
    args.n_depth = depth;
    cli_task_close(&b->task);
    snug_status status = cli_task_open_model(&args, &b->task, err);
    if (status == SNUG_OK)
        status = cli_task_workload(&args, &DEFAULTS, -1, &b->task, err);
    if (status == SNUG_OK)
        status = cli_task_open_engine(&args, &b->task, on_progress, NULL, err);
    if (status == SNUG_OK)
        status = make_grid(&args, snug_engine_space(b->task.engine), &b->grid, err);
    if (status == SNUG_OK && args.dry_run)
        return state_all(&b->task, &b->grid, &b->table, err);
    if (status == SNUG_OK)
        status = cli_task_open_store(&args, &b->task, err);
    return status == SNUG_OK ? run_all(b, err) : status;
}

int cmd_bench(const struct cli_args *args)
{
    struct snug_error err = {0};
    struct snug_buffer out = {0};
    int64_t depths[CLI_LIST_MAX];
    int n_depths = 0;
    struct bench *b = calloc(1, sizeof *b);
    if (!b)
        return cli_fail_text(CLI_FAILED, "no memory for a grid");
    b->args = args;
    cli_catch_signals();
    make_columns(&b->table);
    snug_status status = read_depths(args->depths ? args->depths : "0", depths, &n_depths, &err);
    if (status == SNUG_OK)
        status = cli_gate_open(args, &b->gate, &err);
    for (int i = 0; i < n_depths && status == SNUG_OK && !cli_stop; i++)
        status = bench_depth(b, depths[i], &err);
    /* What was measured before something failed is shown all the same. */
    int result = CLI_OK;
    if (status == SNUG_OK || b->table.n_cells > 0) {
        const int gate = args->dry_run ? CLI_OK : cli_gate_close(&b->gate, CLI_OK);
        snug_table_render(&b->table, cli_table_format(args), &out);
        result = cli_put_buffer(&out);
        result = result == CLI_OK ? gate : result;
    }
    if (status != SNUG_OK)
        result = cli_fail(&err);
    if ((result == CLI_OK || result == CLI_NOT_MET) && (b->n_failed > 0 || cli_stop))
        result = CLI_FAILED;
    snug_buffer_clear(&out);
    snug_table_clear(&b->table);
    cli_task_close(&b->task);
    free(b);
    return result;
}
