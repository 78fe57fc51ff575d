/* Scores for goals other than one speed and memory: the true gains of every cell, within references
 * that belong to the table alone, and the exact volume that a declared front covers. */
#include "perf/tunebench/tunebench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tune/ehvi.h"

/* Median over the repetitions that ran. */
static double cell_value(const struct tb_table *t, const struct snug__table_cell *cell,
                         enum snug_axis axis)
{
    double values[SNUG__TABLE_REPS_MAX];
    const struct snug__table_rep *first;
    const int n = snug__table_reps_of(cell, 0, &first);
    size_t n_ok = 0;
    if (axis == SNUG_AXIS_MEMORY)
        return (double)snug__table_memory(t->table, cell);
    for (int i = 0; i < n; i++) {
        struct snug_measurement m;
        snug__table_measurement(cell, &first[i], &m);
        const double value = snug_axis_value(axis, &m, &t->table->workloads[0], (double)NAN);
        if (isfinite(value))
            values[n_ok++] = value;
    }
    return n_ok ? snug_stats_median(values, n_ok) : (double)NAN;
}

/* Just beyond the worst cell that runs, so that each of them counts. */
static double worst_of(const struct tb_table *t, enum snug_axis axis)
{
    double worst = (double)NAN;
    for (size_t i = 0; i < t->table->n_cells; i++) {
        if (!tb_table_is_feasible(t, &t->table->cells[i]))
            continue;
        const double value = cell_value(t, &t->table->cells[i], axis);
        worst = snug_axis_is_learned(axis) ? fmin(worst, value) : fmax(worst, value);
    }
    return worst * (snug_axis_is_learned(axis) ? 0.999 : 1.001);
}

snug_status tb_table_set_goal(struct tb_table *t, const struct snug_goal *goal,
                              struct snug_error *err)
{
    const size_t n = t->table->n_cells;
    double(*gain)[SNUG_AXES_MAX] = calloc(n + 1, sizeof *gain);
    if (!gain)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for %zu cells", n);
    t->goal = *goal;
    for (int d = 0; d < goal->n_axes; d++)
        t->ref[d] = worst_of(t, goal->axis[d]);
    for (size_t i = 0; i < n; i++)
        for (int d = 0; d < SNUG_AXES_MAX; d++)
            gain[i][d] =
                !tb_table_is_feasible(t, &t->table->cells[i]) ? -(double)INFINITY
                : d >= goal->n_axes
                    ? 1
                    : snug_axis_gain(goal->axis[d],
                                     cell_value(t, &t->table->cells[i], goal->axis[d]), t->ref[d]);
    free(t->gain);
    t->gain = gain;
    t->area = snug_goal_hypervolume((const double(*)[SNUG_AXES_MAX])gain, n);
    if (!(t->area > 0))
        return snug_fail(err, SNUG_BAD_INPUT, "table %s has no figures for these objectives",
                         t->table->name);
    return SNUG_OK;
}

const double *tb_table_gain(const struct tb_table *t, const struct snug_config *config)
{
    const struct snug__table_cell *cell = snug__table_find(t->table, config);
    return cell && tb_table_is_feasible(t, cell) ? t->gain[cell - t->table->cells] : NULL;
}

double tb_table_share_of_gains(const struct tb_table *t, const double (*gain)[SNUG_AXES_MAX],
                               size_t n)
{
    return snug_goal_hypervolume(gain, n) / t->area;
}

snug_status tb_table_greedy_of_gains(const struct tb_table *t, int n, double *out_share,
                                     struct snug_error *err)
{
    static const double known[SNUG_AXES_MAX] = {0};
    double(*found)[SNUG_AXES_MAX] = calloc((size_t)n + 1, sizeof *found);
    snug_status status =
        found ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "no memory for %d trials", n);
    for (int i = 0; status == SNUG_OK && i < n; i++) {
        struct snug_ehvi_boxes boxes;
        double best = -1;
        status =
            snug_ehvi_boxes_init(&boxes, (const double(*)[SNUG_AXES_MAX])found, (size_t)i, err);
        for (size_t k = 0; status == SNUG_OK && k < t->table->n_cells; k++) {
            const double gained = snug_ehvi_boxes_gain(&boxes, t->gain[k], known);
            if (gained > best) {
                best = gained;
                memcpy(found[i], t->gain[k], sizeof found[i]);
            }
        }
        if (status == SNUG_OK) {
            snug_ehvi_boxes_clear(&boxes);
            out_share[i] =
                tb_table_share_of_gains(t, (const double(*)[SNUG_AXES_MAX])found, (size_t)i + 1);
        }
    }
    free(found);
    return status;
}

void tb_goal_observe(const struct tb_table *t, const struct snug_measurement *m,
                     struct snug_observation *out)
{
    const struct snug_workload *w = &t->table->workloads[0];
    for (int d = 0; d < t->goal.n_axes; d++)
        if (snug_axis_is_learned(t->goal.axis[d]))
            out->axis[d] = (struct snug_told){
                snug_axis_value(t->goal.axis[d], m, w, (double)NAN),
                snug__strategy_speed_sd(m, w, (enum snug_objective)t->goal.axis[d])};
}

void tb_goal_region(const struct tb_table *t, const struct snug_observation *first,
                    struct snug_problem *problem)
{
    problem->goal = t->goal;
    for (int d = 0; d < t->goal.n_axes; d++) {
        if (t->goal.axis[d] == SNUG_AXIS_MEMORY)
            problem->ref[d] = (double)problem->bounds.bytes_ref;
        else
            problem->ref[d] = snug__strategy_axis_ref(first ? first->axis[d].value : 0);
    }
}
