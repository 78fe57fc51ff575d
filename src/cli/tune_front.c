/* The front that snug tune ends with: of repeated measurements where there are any. */
#include "cli/tune_front.h"

#include <stdlib.h>

#include "cli/tune_goal.h"
#include "report/table.h"
#include "snug/units.h"

/* Members of the front as the trials have them, each measured once. Returns how many. */
static int front_of_trials(const struct snug_tune_result *r, struct snug_tune_member *out, int cap)
{
    struct snug_point *points = calloc((size_t)r->n_trials + 1, sizeof *points);
    size_t *index = calloc((size_t)r->n_trials + 1, sizeof *index);
    int n = 0;
    for (int i = 0; points && i < r->n_trials; i++)
        points[i] = (struct snug_point){r->trials[i].speed,
                                        snug_bytes_stated(&r->trials[i].measurement.bytes)};
    const size_t n_front =
        points && index ? snug_front_compute(points, (size_t)r->n_trials, index) : 0;
    for (size_t k = 0; k < n_front && n < cap; k++) {
        const double speed = points[index[k]].speed;
        out[n++] = (struct snug_tune_member){(int)index[k], {speed, speed, speed}, 0};
    }
    free(points);
    free(index);
    return n;
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

static void put_members(const struct cli_task *task, const struct snug_tune_result *r,
                        enum snug_objective objective, const struct snug_tune_member *members,
                        int n, struct snug_buffer *out)
{
    const struct snug_space *space = snug_engine_space(task->engine);
    struct snug_table table = {0};
    snug_table_column(&table, "memory", SNUG_COLUMN_TEXT);
    snug_table_column(&table, "pp t/s", SNUG_COLUMN_NUMBER);
    snug_table_column(&table, "tg t/s", SNUG_COLUMN_NUMBER);
    snug_table_column(&table, "ttft s", SNUG_COLUMN_NUMBER);
    snug_table_column(&table, "speed", SNUG_COLUMN_TEXT);
    snug_table_column(&table, "95 %", SNUG_COLUMN_TEXT);
    snug_table_column(&table, "again", SNUG_COLUMN_NUMBER);
    snug_table_column(&table, "verdict", SNUG_COLUMN_TEXT);
    snug_table_column(&table, "quality", SNUG_COLUMN_TEXT);
    snug_table_column(&table, "config", SNUG_COLUMN_TEXT);
    for (int i = 0; i < n; i++) {
        const struct snug_tune_trial *trial = &r->trials[members[i].i_trial];
        const struct snug_measurement *m = &trial->measurement;
        char text[512];
        snug_table_cell_text(&table, snug_bytes_text(snug_bytes_stated(&m->bytes), text));
        snug_table_cell_number(&table, m->prefill_tps, 1);
        snug_table_cell_number(&table, m->decode_tps, 1);
        snug_table_cell_number(&table, m->ttft_s, 3);
        snug_table_cell_text(&table, cli_speed_text(objective, members[i].speed.mid, text));
        snug_table_cell_text(&table, interval_text(&members[i], objective, text));
        snug_table_cell_positive(&table, members[i].n_repeats, 0);
        snug_table_cell_text(&table, snug_verdict_name(snug_verdict_of(m->warnings)));
        snug_table_cell_text(&table, cli_task_quality(task, &trial->config, text, 128, NULL));
        snug_table_cell_text(&table,
                             snug_config_text(space, &trial->config, true, text, sizeof text));
        snug_table_row_end(&table);
    }
    snug_table_render(&table, SNUG_TABLE_MD, out);
    snug_table_clear(&table);
}

void cli_tune_front(const struct cli_task *task, const struct snug_tune_result *r,
                    enum snug_objective objective, struct snug_buffer *out)
{
    struct snug_tune_member once[SNUG_TUNE_MEMBERS_MAX];
    if (r->n_members == 0) {
        const int n = front_of_trials(r, once, SNUG_TUNE_MEMBERS_MAX);
        put_members(task, r, objective, once, n, out);
        return;
    }
    put_members(task, r, objective, r->members, r->n_members, out);
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
