/* What is true of a table: medians over all repetitions, bounds of all cells, the whole area. */
#include "perf/tunebench/tunebench.h"

#include <math.h>
#include <stdlib.h>

/* Median speed over the repetitions that ran; 0 when at least half of them did not. */
static double cell_truth(const struct tb_table *t, const struct snug__table_cell *cell)
{
    double speeds[SNUG__TABLE_REPS_MAX];
    const struct snug__table_rep *first;
    const int n = snug__table_reps_of(cell, 0, &first);
    size_t n_ok = 0;
    for (int i = 0; i < n; i++) {
        struct snug_measurement m;
        snug__table_measurement(cell, &first[i], &m);
        const double speed = snug_measurement_speed(&m, &t->table->workloads[0], t->objective);
        if (speed > 0)
            speeds[n_ok++] = speed;
    }
    return 2 * n_ok > (size_t)n ? snug_stats_median(speeds, n_ok) : 0;
}

bool tb_table_is_feasible(const struct tb_table *t, const struct snug__table_cell *cell)
{
    const uint64_t memory = snug__table_memory(t->table, cell);
    const uint64_t limit = t->table->limit_bytes;
    return t->truth[cell - t->table->cells] > 0 && memory > 0 && (!limit || memory <= limit);
}

struct snug_point tb_table_point(const struct tb_table *t, const struct snug_config *config)
{
    const struct snug__table_cell *cell = snug__table_find(t->table, config);
    if (!cell || !tb_table_is_feasible(t, cell))
        return (struct snug_point){0};
    return (struct snug_point){t->truth[cell - t->table->cells],
                               snug__table_memory(t->table, cell)};
}

/* Bounds just beyond the worst cell that can run, so that each of them counts. */
static void set_bounds(struct tb_table *t, const struct snug_point *points, size_t n)
{
    double slowest = INFINITY;
    uint64_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        slowest = fmin(slowest, points[i].speed);
        largest = points[i].bytes > largest ? points[i].bytes : largest;
    }
    t->bounds = (struct snug_front_bounds){slowest * 0.999, largest + largest / 1000 + 1};
}

static double median_charge(const struct tb_table *t, double *room)
{
    size_t n = 0;
    for (size_t i = 0; i < t->table->n_cells; i++) {
        const struct snug__table_rep *first;
        if (tb_table_is_feasible(t, &t->table->cells[i]) &&
            snug__table_reps_of(&t->table->cells[i], 0, &first) > 0)
            room[n++] = first->wall_s + first->setup_s;
    }
    return snug_stats_median(room, n);
}

static snug_status measure(struct tb_table *t, struct snug_point *points, double *room,
                           struct snug_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < t->table->n_cells; i++) {
        const struct snug__table_cell *cell = &t->table->cells[i];
        t->truth[i] = cell_truth(t, cell);
        if (tb_table_is_feasible(t, cell))
            points[n++] = (struct snug_point){t->truth[i], snug__table_memory(t->table, cell)};
    }
    if (n < 2)
        return snug_fail(err, SNUG_BAD_INPUT, "table %s: %zu of its %zu cells run within the limit",
                         t->table->name, n, t->table->n_cells);
    t->n_feasible = n;
    set_bounds(t, points, n);
    t->area = snug_front_hypervolume(points, n, &t->bounds);
    t->trial_s = median_charge(t, room);
    return isfinite(t->area) ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "no memory for a front");
}

snug_status tb_table_init(struct tb_table *t, struct snug__table *table,
                          enum snug_objective objective, struct snug_error *err)
{
    *t = (struct tb_table){.table = table, .objective = objective};
    const size_t n = table->n_cells;
    struct snug_point *points = calloc(n + 1, sizeof *points);
    double *room = calloc(n + 1, sizeof *room);
    t->truth = calloc(n + 1, sizeof *t->truth);
    snug_status status = points && room && t->truth
                             ? measure(t, points, room, err)
                             : snug_fail(err, SNUG_NO_MEMORY, "no memory for %zu cells", n);
    free(points);
    free(room);
    if (status != SNUG_OK)
        tb_table_clear(t);
    return status;
}

void tb_table_clear(struct tb_table *t)
{
    free(t->truth);
    snug__table_free(t->table);
    *t = (struct tb_table){0};
}

double tb_table_share(const struct tb_table *t, const struct snug_point *points, size_t n)
{
    return snug_front_hypervolume(points, n, &t->bounds) / t->area;
}
