/* Compare strategies by replaying a table of recorded trials.
 *
 * Usage  compare_strategies TABLE.jsonl [--seeds N] [--trials N] [--objective decode]
 * Table  first line {"space": [rows as snug_space_to_json writes them], "workload": {...}?}; each
 *        further line one recorded trial: {"config": {...}, "outcome": "ok", "bytes": {...},
 *        "prefill_block_tps": [...], "decode_block_tps": [...]}. Lines of one config are joined.
 * Replay the default is told first, then a strategy asks. A trial answers with one recorded block
 * of that config, picked by the seed, so its noise is the recorded one. Configs outside the table
 * cannot run (the bytes function says so), and rows that never vary are not tuned. Score
 * hypervolume of the true speeds (median of all blocks) of the front that was declared from what
 * was seen, over that of the whole table. The region is the tuner's: above a quarter of the
 * default's speed, below 1.5 times its bytes. Same seeds for all: differences are paired, intervals
 * are bootstrap intervals of their median at 95 %. Output JSON on stdout, the same in words on
 * stderr. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/json.h"
#include "snug/stats.h"
#include "snug/tune.h"
#include "trial/trial_json.h"
#include "tune/lattice.h"

#define TABLE_BYTES_MAX ((size_t)64 << 20)
#define CELLS_MAX 16384
#define SEEDS_MAX 1000
#define TRIALS_MAX 256
#define BLOCKS_MAX 256 /* per config, all its lines together */
#define N_STRATEGIES_MAX 8
#define N_RESAMPLES 2000

struct cell {
    struct snug_config config;
    uint64_t hash;
    uint64_t bytes;
    enum snug_outcome outcome;
    double block[BLOCKS_MAX]; /* speed of each recorded block */
    size_t n_blocks;
    double truth; /* their median */
};

struct table {
    struct snug_space space;
    struct snug_workload workload;
    struct snug__lattice lattice;
    struct snug_arena arena; /* names of the space */
    struct cell *cells;      /* sorted by hash */
    size_t n_cells, cap;
    enum snug_objective objective;
    struct snug_front_bounds bounds;
    double best_area; /* hypervolume of all cells' true speeds */
};

struct options {
    const char *path;
    int n_seeds, n_trials;
    enum snug_objective objective;
};

/* ---- reading the table ---- */

static snug_status read_level(const struct snug_knob *knob, const struct snug_json_node *node,
                              int64_t *out, struct snug_error *err)
{
    if (snug_json_is_string(node))
        return snug_knob_parse(knob, snug_json_string(node, ""), out, err);
    *out = snug_json_int(node, 0);
    return SNUG_OK;
}

static snug_status read_knob(struct table *t, const struct snug_json_node *node,
                             struct snug_knob *knob, struct snug_error *err)
{
    static const char *const kinds[] = {"int", "log2", "enum", "bool"};
    const char *kind = snug_json_get_string(node, "kind", "");
    const struct snug_json_node *values = snug_json_get(node, "values");
    int k = 0;
    while (k < 4 && strcmp(kinds[k], kind) != 0)
        k++;
    if (k == 4 || snug_json_count(values) > SNUG_KNOB_VALUES_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "space: kind \"%s\" with %zu values", kind,
                         snug_json_count(values));
    *knob = (struct snug_knob){
        .name = snug_arena_strdup(&t->arena, snug_json_get_string(node, "name", "")),
        .kind = (enum snug_knob_kind)k,
        .min = snug_json_get_int(node, "min", 0),
        .max = snug_json_get_int(node, "max", 1),
        .step = snug_json_get_int(node, "step", 1),
        .is_tuned = snug_json_get_bool(node, "is_tuned", true),
        .n_values = (int)snug_json_count(values),
        .flag = "",
        .help = "",
    };
    for (int i = 0; i < knob->n_values; i++)
        knob->values[i] =
            snug_arena_strdup(&t->arena, snug_json_string(snug_json_at(values, (size_t)i), ""));
    if (knob->kind == SNUG_KNOB_ENUM)
        knob->max = knob->n_values - 1;
    if (knob->step < 1 || knob->max < knob->min || (k == SNUG_KNOB_LOG2 && knob->min < 1))
        return snug_fail(err, SNUG_BAD_INPUT, "space: bounds of %s", knob->name);
    return read_level(knob, snug_json_get(node, "default"), &knob->def, err);
}

static snug_status read_header(struct table *t, const struct snug_json_node *root,
                               struct snug_error *err)
{
    const struct snug_json_node *rows = snug_json_get(root, "space");
    size_t n = snug_json_count(rows);
    if (n == 0 || n > SNUG_KNOBS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "first line: \"space\" of 1 to %d rows is needed",
                         SNUG_KNOBS_MAX);
    t->workload = (struct snug_workload){
        .n_prompt = 512, .n_gen = 128, .n_depth = 0, .n_parallel = 1, .n_ctx = 1024};
    if (snug_json_get(root, "workload"))
        snug_workload_from_json(snug_json_get(root, "workload"), &t->workload);
    for (size_t i = 0; i < n; i++) {
        snug_status status = read_knob(t, snug_json_at(rows, i), &t->space.knobs[i], err);
        if (status != SNUG_OK)
            return status;
        t->space.n++;
    }
    snug__lattice_init(&t->lattice, &t->space, &(struct snug_config){0});
    return SNUG_OK;
}

static struct cell *cell_of(struct table *t, const struct snug_config *config)
{
    for (size_t i = 0; i < t->n_cells; i++)
        if (snug_config_equal(&t->space, &t->cells[i].config, config))
            return &t->cells[i];
    if (t->n_cells == CELLS_MAX)
        return NULL;
    if (t->n_cells == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 64;
        struct cell *grown = realloc(t->cells, cap * sizeof *grown);
        if (!grown)
            return NULL;
        t->cells = grown;
        t->cap = cap;
    }
    struct cell *cell = &t->cells[t->n_cells++];
    *cell = (struct cell){.config = *config, .hash = snug__lattice_hash(&t->lattice, config)};
    return cell;
}

static snug_status read_trial(struct table *t, const struct snug_json_node *root,
                              struct snug_error *err)
{
    struct snug_config config;
    struct snug_measurement m;
    double speeds[SNUG_BLOCKS_MAX];
    snug_space_default(&t->space, &config);
    snug_status status =
        snug_config_from_json(snug_json_get(root, "config"), &t->space, true, &config, err);
    if (status != SNUG_OK)
        return status;
    struct cell *cell = cell_of(t, &config);
    if (!cell)
        return snug_fail(err, SNUG_BAD_INPUT, "more than %d configs, or no memory", CELLS_MAX);
    snug_measurement_from_json(root, &m);
    cell->outcome = m.outcome;
    cell->bytes = snug_bytes_stated(&m.bytes);
    int n = m.outcome == SNUG_TRIAL_OK
                ? snug_measurement_block_speeds(&m, &t->workload, t->objective, speeds)
                : 0;
    for (int i = 0; i < n && cell->n_blocks < BLOCKS_MAX; i++)
        if (speeds[i] > 0 && isfinite(speeds[i]))
            cell->block[cell->n_blocks++] = speeds[i];
    snug_measurement_clear(&m);
    return SNUG_OK;
}

static int compare_cells(const void *a, const void *b)
{
    const struct cell *x = a, *y = b;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

static const struct cell *find_cell(const struct table *t, const struct snug_config *config)
{
    struct cell key = {.hash = snug__lattice_hash(&t->lattice, config)};
    const struct cell *cell = bsearch(&key, t->cells, t->n_cells, sizeof *t->cells, compare_cells);
    return cell && snug_config_equal(&t->space, &cell->config, config) ? cell : NULL;
}

/* Hold rows that never vary, and shrink the others to what was recorded. */
static void fit_space(struct table *t)
{
    for (int r = 0; r < t->space.n; r++) {
        struct snug_knob *knob = &t->space.knobs[r];
        int64_t lo = t->cells[0].config.value[r], hi = lo;
        for (size_t i = 1; i < t->n_cells; i++) {
            int64_t v = t->cells[i].config.value[r];
            lo = v < lo ? v : lo;
            hi = v > hi ? v : hi;
        }
        knob->is_tuned = lo < hi;
        if (knob->kind == SNUG_KNOB_INT || knob->kind == SNUG_KNOB_LOG2) {
            knob->min = lo;
            knob->max = hi;
        }
        if (knob->def < lo || knob->def > hi || !knob->is_tuned)
            knob->def = lo;
    }
}

/* True speeds, the start config, bounds, and the best that can be reached. */
static snug_status finish_table(struct table *t, struct snug_error *err)
{
    struct snug_point *points = calloc(t->n_cells + 1, sizeof *points);
    struct snug_config def;
    if (!points || t->n_cells < 2) {
        free(points);
        return snug_fail(err, SNUG_BAD_INPUT, "at least two recorded configs are needed");
    }
    for (size_t i = 0; i < t->n_cells; i++) {
        struct cell *cell = &t->cells[i];
        if (cell->n_blocks == 0 && cell->outcome == SNUG_TRIAL_OK)
            cell->outcome = SNUG_TRIAL_REFUSED;
        cell->truth = cell->n_blocks ? snug_stats_median(cell->block, cell->n_blocks) : 0;
        points[i] = (struct snug_point){cell->truth, cell->bytes};
    }
    fit_space(t);
    qsort(t->cells, t->n_cells, sizeof *t->cells, compare_cells);
    snug_space_default(&t->space, &def);
    const struct cell *start = find_cell(t, &def);
    if (!start || !(start->truth > 0)) {
        free(points);
        return snug_fail(err, SNUG_BAD_INPUT, "the default config has no good recorded trial");
    }
    t->bounds = (struct snug_front_bounds){0.25 * start->truth, start->bytes / 2 * 3};
    t->best_area = snug_front_hypervolume(points, t->n_cells, &t->bounds);
    free(points);
    return SNUG_OK;
}

static snug_status read_line(struct table *t, const char *path, size_t line, const char *text,
                             size_t n, struct snug_error *err)
{
    struct snug_json *doc = NULL;
    snug_status status = snug_json_parse("json", text, n, &doc, err);
    if (status == SNUG_OK)
        status = line == 1 ? read_header(t, snug_json_root(doc), err)
                           : read_trial(t, snug_json_root(doc), err);
    snug_json_free(doc);
    return status == SNUG_OK ? SNUG_OK : snug_fail_prefix(err, status, "%s:%zu", path, line);
}

static snug_status read_table(struct table *t, const char *path, struct snug_error *err)
{
    char *text = NULL;
    size_t n = 0, line = 0;
    snug_status status = snug_file_read(path, TABLE_BYTES_MAX, &text, &n, err);
    for (const char *p = text; status == SNUG_OK && p < text + n;) {
        const char *end = memchr(p, '\n', (size_t)(text + n - p));
        end = end ? end : text + n;
        line++;
        if (end > p)
            status = read_line(t, path, line, p, (size_t)(end - p), err);
        p = end + 1;
    }
    free(text);
    return status == SNUG_OK ? finish_table(t, err) : status;
}

/* ---- replaying ---- */

static bool table_bytes(const struct snug_config *config, uint64_t *out_bytes, void *data)
{
    const struct cell *cell = find_cell(data, config);
    if (cell)
        *out_bytes = cell->bytes;
    return cell != NULL;
}

static struct snug_observation replay(const struct cell *cell, struct snug_rng *rng)
{
    struct snug_observation o = {
        .config = cell->config, .outcome = cell->outcome, .bytes = cell->bytes};
    if (cell->outcome != SNUG_TRIAL_OK)
        return o;
    o.speed = cell->block[snug_rng_below(rng, cell->n_blocks)];
    o.log_speed_sd = snug_stats_mad(cell->block, cell->n_blocks) / cell->truth;
    return o;
}

/* Share of the table's hypervolume that one run finds. */
static snug_status run_once(struct table *t, const char *name, uint64_t seed, int n_trials,
                            double *out_share, struct snug_error *err)
{
    struct snug_problem problem = {.space = &t->space,
                                   .bounds = t->bounds,
                                   .bytes = table_bytes,
                                   .bytes_data = t,
                                   .seed = seed,
                                   .n_trials = n_trials};
    struct snug_point seen[TRIALS_MAX] = {0}, truth[TRIALS_MAX] = {0}, found[TRIALS_MAX];
    struct snug_strategy *s = NULL;
    struct snug_rng rng;
    size_t index[TRIALS_MAX];
    snug_space_default(&t->space, &problem.base);
    struct snug_config config = problem.base;
    snug_rng_init(&rng, seed ^ UINT64_C(0x5deece66d));
    snug_status status = snug_strategy_new(name, &problem, &s, err);
    int n = 0;
    while (status == SNUG_OK && n < n_trials) {
        const struct cell *cell = find_cell(t, &config);
        struct snug_observation o = replay(cell, &rng);
        seen[n] = (struct snug_point){o.speed, o.bytes};
        truth[n++] = (struct snug_point){cell->truth, cell->bytes};
        status = snug_strategy_tell(s, &o, err);
        if (status == SNUG_OK && n < n_trials)
            status = snug_strategy_ask(s, &config, NULL, err);
    }
    snug_strategy_free(s);
    if (status != SNUG_OK && status != SNUG_NOT_FOUND)
        return status;
    size_t n_front = snug_front_compute(seen, (size_t)n, index);
    for (size_t k = 0; k < n_front; k++)
        found[k] = truth[index[k]];
    *out_share = snug_front_hypervolume(found, n_front, &t->bounds) / t->best_area;
    return SNUG_OK;
}

/* ---- reporting ---- */

static void put_interval(struct snug_json_writer *w, const char *key, struct snug_interval x)
{
    snug_json_begin_array(w, key);
    snug_json_put_number(w, NULL, x.lo);
    snug_json_put_number(w, NULL, x.mid);
    snug_json_put_number(w, NULL, x.hi);
    snug_json_end(w);
}

/* One strategy against the last one of the table, "random". */
static void report(struct snug_json_writer *w, const char *name, const double *share,
                   const double *yardstick, size_t n)
{
    double gap[SEEDS_MAX];
    size_t n_wins = 0;
    for (size_t i = 0; i < n; i++) {
        gap[i] = share[i] - yardstick[i];
        n_wins += gap[i] > 0;
    }
    struct snug_interval interval = snug_stats_median_interval(gap, n, 0.95, N_RESAMPLES, 1);
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "strategy", name);
    snug_json_put_number(w, "hypervolume_share_median", snug_stats_median(share, n));
    snug_json_put_number(w, "hypervolume_share_mad", snug_stats_mad(share, n));
    put_interval(w, "minus_random_median", interval);
    snug_json_put_int(w, "n_better_than_random", (int64_t)n_wins);
    snug_json_end(w);
    fprintf(stderr,
            "%-8s finds %.1f %% of the table's front; against random %+.1f %% [%+.1f, %+.1f]"
            ", better in %zu of %zu\n",
            name, 100 * snug_stats_median(share, n), 100 * interval.mid, 100 * interval.lo,
            100 * interval.hi, n_wins, n);
}

static snug_status compare(struct table *t, const struct options *o, struct snug_json_writer *w,
                           struct snug_error *err)
{
    static double share[N_STRATEGIES_MAX][SEEDS_MAX];
    const struct snug_strategy_row *rows = snug_strategy_rows();
    int n_rows = 0, i_random = 0;
    for (; rows[n_rows].name && n_rows < N_STRATEGIES_MAX; n_rows++) {
        if (strcmp(rows[n_rows].name, "random") == 0)
            i_random = n_rows;
        for (int i = 0; i < o->n_seeds; i++) {
            snug_status status =
                run_once(t, rows[n_rows].name, (uint64_t)i, o->n_trials, &share[n_rows][i], err);
            if (status != SNUG_OK)
                return status;
        }
    }
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "objective", snug_objective_name(o->objective));
    snug_json_put_int(w, "n_configs", (int64_t)t->n_cells);
    snug_json_put_int(w, "n_seeds", o->n_seeds);
    snug_json_put_int(w, "n_trials", o->n_trials);
    snug_json_put_number(w, "hypervolume_of_table", t->best_area);
    snug_json_begin_array(w, "strategies");
    for (int k = 0; k < n_rows; k++)
        report(w, rows[k].name, share[k], share[i_random], (size_t)o->n_seeds);
    snug_json_end(w);
    snug_json_end(w);
    return SNUG_OK;
}

static bool read_options(int argc, char **argv, struct options *o)
{
    *o = (struct options){.n_seeds = 40, .n_trials = 16, .objective = SNUG_OBJECTIVE_DECODE};
    for (int i = 1; i < argc; i++) {
        bool has_value = i + 1 < argc;
        if (argv[i][0] != '-' && !o->path)
            o->path = argv[i];
        else if (has_value && strcmp(argv[i], "--seeds") == 0)
            o->n_seeds = (int)strtol(argv[++i], NULL, 10);
        else if (has_value && strcmp(argv[i], "--trials") == 0)
            o->n_trials = (int)strtol(argv[++i], NULL, 10);
        else if (has_value && strcmp(argv[i], "--objective") == 0) {
            int objective = snug_objective_from_name(argv[++i]);
            if (objective < 0)
                return false;
            o->objective = (enum snug_objective)objective;
        } else
            return false;
    }
    return o->path && o->n_seeds >= 1 && o->n_seeds <= SEEDS_MAX && o->n_trials >= 1 &&
           o->n_trials <= TRIALS_MAX;
}

int main(int argc, char **argv)
{
    struct options o;
    if (!read_options(argc, argv, &o)) {
        fprintf(stderr,
                "usage: compare_strategies TABLE.jsonl [--seeds 1..%d] [--trials 1..%d] "
                "[--objective decode|prefill|request]\n",
                SEEDS_MAX, TRIALS_MAX);
        return 2;
    }
    struct table table = {.objective = o.objective};
    struct snug_json_writer w = {0};
    struct snug_error err = {0};
    snug_status status = read_table(&table, o.path, &err);
    if (status == SNUG_OK)
        status = compare(&table, &o, &w, &err);
    char *text = status == SNUG_OK ? snug_json_finish(&w, true) : NULL;
    if (text)
        puts(text);
    else
        fprintf(stderr, "compare_strategies: %s\n", err.text);
    snug_json_writer_clear(&w);
    free(text);
    free(table.cells);
    snug_arena_clear(&table.arena);
    return status == SNUG_OK && text ? 0 : 1;
}
