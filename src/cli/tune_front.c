/* The front that snug tune ends with: of repeated measurements where there are any. */
#include "cli/tune_front.h"

#include <math.h>
#include <stdlib.h>

#include "cli/tune_goal.h"
#include "report/table.h"
#include "snug/units.h"

static void end_columns(struct snug_table *table)
{
    snug_table_column(table, "verdict", SNUG_COLUMN_TEXT);
    snug_table_column(table, "quality", SNUG_COLUMN_TEXT);
    snug_table_column(table, "config", SNUG_COLUMN_TEXT);
}

static void end_row(const struct cli_task *task, const struct snug_tune_trial *trial,
                    struct snug_table *table)
{
    char text[512];
    const unsigned warnings = trial->measurement.warnings;
    snug_table_cell_text(table, snug_verdict_name(snug_verdict_of(warnings)));
    snug_table_cell_text(table, cli_task_quality(task, &trial->config, text, 128, NULL));
    snug_table_cell_text(table, snug_config_text(snug_engine_space(task->engine), &trial->config,
                                                 true, text, sizeof text));
    snug_table_row_end(table);
}

/* ---- a speed and memory ---- */

static void plain_columns(struct snug_table *table)
{
    snug_table_column(table, "memory", SNUG_COLUMN_TEXT);
    snug_table_column(table, "pp t/s", SNUG_COLUMN_NUMBER);
    snug_table_column(table, "tg t/s", SNUG_COLUMN_NUMBER);
    snug_table_column(table, "ttft s", SNUG_COLUMN_NUMBER);
    snug_table_column(table, "speed", SNUG_COLUMN_TEXT);
    snug_table_column(table, "95 %", SNUG_COLUMN_TEXT);
    snug_table_column(table, "again", SNUG_COLUMN_NUMBER);
    end_columns(table);
}

/* "12.1 to 12.5 tokens/s"; "" for a point. */
static const char *interval_text(const struct snug_tune_member *m, enum snug_objective objective,
                                 char out[160])
{
    char lo[SNUG_UNIT_TEXT_MAX], hi[SNUG_UNIT_TEXT_MAX];
    out[0] = '\0';
    if (m->n_repeats < 2)
        return out;
    if (objective == SNUG_OBJECTIVE_REQUEST)
        snprintf(out, 160, "%s to %s", snug_seconds_text(1.0 / m->speed.hi, lo),
                 snug_seconds_text(1.0 / m->speed.lo, hi));
    else
        snprintf(out, 160, "%s to %s", snug_rate_text(m->speed.lo, lo),
                 snug_rate_text(m->speed.hi, hi));
    return out;
}

static void plain_row(const struct cli_task *task, const struct snug_tune_result *r,
                      enum snug_objective objective, const struct snug_tune_member *member,
                      struct snug_table *table)
{
    const struct snug_tune_trial *trial = &r->trials[member->i_trial];
    const struct snug_measurement *m = &trial->measurement;
    char text[160];
    snug_table_cell_text(table, snug_bytes_text(snug_bytes_stated(&m->bytes), text));
    snug_table_cell_number(table, m->prefill_tps, 1);
    snug_table_cell_number(table, m->decode_tps, 1);
    snug_table_cell_number(table, m->ttft_s, 3);
    snug_table_cell_text(table, cli_speed_text(objective, member->speed.mid, text));
    snug_table_cell_text(table, interval_text(member, objective, text));
    snug_table_cell_positive(table, member->n_repeats, 0);
    end_row(task, trial, table);
}

static void put_order(const struct snug_tune_result *r, struct snug_buffer *out)
{
    if (r->n_repeats > 0)
        snug_buffer_printf(out,
                           "\nSpeeds are medians over %d short trials of the front after the "
                           "search; its order is %s.\n",
                           r->n_repeats,
                           r->is_order_known ? "known" : "not fully known: some are too close");
    else if (r->n_members > 1)
        snug_buffer_puts(out, "\nThe front was not measured again: no time or trials were left; "
                              "speeds are what the model of them believes.\n");
}

/* ---- other axes, and limits ---- */

static void axis_column(struct snug_table *table, enum snug_axis axis)
{
    static const char *const names[SNUG_N_AXES] = {"tg t/s",  "pp t/s", "request s",
                                                   "J/token", "memory", "KLD"};
    snug_table_column(table, names[axis],
                      axis == SNUG_AXIS_MEMORY ? SNUG_COLUMN_TEXT : SNUG_COLUMN_NUMBER);
}

static void axis_cell(struct snug_table *table, enum snug_axis axis, double value)
{
    char text[SNUG_UNIT_TEXT_MAX];
    if (!isfinite(value))
        snug_table_cell_empty(table);
    else if (axis == SNUG_AXIS_MEMORY)
        snug_table_cell_text(table, snug_bytes_text((uint64_t)value, text));
    else if (axis == SNUG_AXIS_REQUEST || axis == SNUG_AXIS_ENERGY)
        snug_table_cell_number(table, 1.0 / value, 3);
    else if (axis == SNUG_AXIS_KLD)
        snug_table_cell_number(table, fmax(value, 0), 5);
    else
        snug_table_cell_number(table, value, 1);
}

static void goal_columns(const struct snug_goal *goal, struct snug_table *table)
{
    for (int d = 0; d < goal->n_axes; d++)
        axis_column(table, goal->axis[d]);
    if (goal->limit[SNUG_LIMIT_TTFT] > 0)
        snug_table_column(table, "ttft s", SNUG_COLUMN_NUMBER);
    if (goal->limit[SNUG_LIMIT_TPOT] > 0)
        snug_table_column(table, "tpot s", SNUG_COLUMN_NUMBER);
    end_columns(table);
}

static void goal_row(const struct cli_task *task, const struct snug_goal *goal,
                     const struct snug_tune_trial *trial, struct snug_table *table)
{
    const struct snug_measurement *m = &trial->measurement;
    for (int d = 0; d < goal->n_axes; d++)
        axis_cell(table, goal->axis[d], trial->axis[d]);
    for (int l = 0; l < SNUG_LIMIT_KLD; l++)
        if (goal->limit[l] > 0)
            snug_table_cell_number(
                table, snug_limit_value((enum snug_limit)l, m, &task->workload, (double)NAN, NULL),
                4);
    end_row(task, trial, table);
}

void cli_tune_front(const struct cli_task *task, const struct snug_tune_result *r,
                    const struct snug_goal *goal, struct snug_buffer *out)
{
    const bool is_plain = snug_goal_is_plain(goal);
    const enum snug_objective lead = snug_goal_lead(goal);
    size_t *index = calloc((size_t)r->n_trials + 1, sizeof *index), n = 0;
    struct snug_table table = {0};
    if (r->n_members == 0 && (!index || snug_tune_front(r, goal, index, &n, NULL) != SNUG_OK))
        out->is_failed = true;
    if (is_plain)
        plain_columns(&table);
    else
        goal_columns(goal, &table);
    for (int i = 0; i < r->n_members; i++)
        plain_row(task, r, lead, &r->members[i], &table);
    for (size_t k = 0; k < n; k++) {
        const struct snug_tune_trial *trial = &r->trials[index[k]];
        const struct snug_tune_member once = {.i_trial = (int)index[k],
                                              .speed = {.mid = trial->speed}};
        if (is_plain)
            plain_row(task, r, lead, &once, &table);
        else
            goal_row(task, goal, trial, &table);
    }
    if (n > 0 || r->n_members > 0) /* where nothing ran, or kept the limits, the verdict speaks */
        snug_table_render(&table, SNUG_TABLE_MD, out);
    put_order(r, out);
    snug_table_clear(&table);
    free(index);
}
