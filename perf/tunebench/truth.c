/* What is true of a table: medians over all repetitions, bounds of all cells, the whole area. */
#include "perf/tunebench/tunebench.h"

#include <math.h>
#include <stdlib.h>

#include "tune/ehvi.h"

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
    free(t->gain);
    snug__table_free(t->table);
    *t = (struct tb_table){0};
}

/* Put the front of points[0..n-1] into arrays as ehvi.h has them; room holds 2 n. */
static struct snug_ehvi_front front_of(const struct tb_table *t, const struct snug_point *points,
                                       size_t n, size_t *index, double *room)
{
    const size_t n_front = snug_front_compute(points, n, index);
    for (size_t k = 0; k < n_front; k++) {
        room[k] = (double)points[index[k]].bytes / (double)t->bounds.bytes_ref;
        room[n + k] = log(points[index[k]].speed);
    }
    return (struct snug_ehvi_front){room, room + n, n_front, log(t->bounds.speed_ref)};
}

/* The cell that gains most on a front. */
static struct snug_point best_next(const struct tb_table *t, const struct snug_ehvi_front *front)
{
    struct snug_point best = {0};
    double best_gain = -1;
    for (size_t i = 0; i < t->table->n_cells; i++) {
        const struct snug_point p = tb_table_point(t, &t->table->cells[i].config);
        if (!(p.speed > 0))
            continue;
        const double gain =
            snug_ehvi(front, log(p.speed), 0, (double)p.bytes / (double)t->bounds.bytes_ref);
        if (gain > best_gain) {
            best_gain = gain;
            best = p;
        }
    }
    return best;
}

/* The i-th of the configs that come first; speed 0 where it cannot run. */
static struct snug_point start_point(const struct tb_table *t, int i)
{
    struct snug_config config = t->table->fit;
    if (i == 0)
        snug_space_default(&t->table->space, &config);
    return tb_table_point(t, &config);
}

snug_status tb_table_greedy(const struct tb_table *t, bool with_start, int n, double *out_share,
                            struct snug_error *err)
{
    const int n_start = !with_start ? 0 : t->table->has_fit ? 2 : 1;
    int n_points = 0;
    struct snug_point *points = calloc((size_t)n, sizeof *points);
    size_t *index = calloc((size_t)n, sizeof *index);
    double *room = calloc(2 * (size_t)n, sizeof *room);
    const bool has_room = points && index && room;
    for (int i = 0; has_room && i < n; i++) {
        const struct snug_ehvi_front front = front_of(t, points, (size_t)n_points, index, room);
        const struct snug_point next = i < n_start ? start_point(t, i) : best_next(t, &front);
        if (next.speed > 0)
            points[n_points++] = next;
        out_share[i] = tb_table_share(t, points, (size_t)n_points);
    }
    free(points);
    free(index);
    free(room);
    return has_room ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "no memory for %d trials", n);
}

double tb_table_share(const struct tb_table *t, const struct snug_point *points, size_t n)
{
    return snug_front_hypervolume(points, n, &t->bounds) / t->area;
}
