/* snug front, history MODEL and export: what is known, as table, CSV, JSON or JSON lines. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/known.h"
#include "cli/known_json.h"
#include "cli/task.h"
#include "snug/units.h"

static void trial_columns(const struct known *k, struct snug_table *table)
{
    static const struct {
        const char *name;
        enum snug_column_kind kind;
    } columns[] = {
        {"trial", SNUG_COLUMN_NUMBER},     {"role", SNUG_COLUMN_TEXT},
        {"outcome", SNUG_COLUMN_TEXT},     {"memory_MiB", SNUG_COLUMN_NUMBER},
        {"pp t/s", SNUG_COLUMN_NUMBER},    {"tg t/s", SNUG_COLUMN_NUMBER},
        {"ttft_s", SNUG_COLUMN_NUMBER},    {"tpot_p95_s", SNUG_COLUMN_NUMBER},
        {"request_s", SNUG_COLUMN_NUMBER}, {"front", SNUG_COLUMN_TEXT},
        {"verdict", SNUG_COLUMN_TEXT},     {"quality", SNUG_COLUMN_TEXT},
        {"config", SNUG_COLUMN_TEXT},      {"notes", SNUG_COLUMN_TEXT},
    };
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        snug_table_column(table, columns[i].name, columns[i].kind);
    if (snug_goal_has(&k->goal, SNUG_AXIS_ENERGY))
        snug_table_column(table, "J/token", SNUG_COLUMN_NUMBER);
}

static void trial_row(const struct known *k, const struct known_trial *trial,
                      struct snug_table *table)
{
    const struct snug_measurement *m = &trial->measurement;
    const bool is_ok = m->outcome == SNUG_TRIAL_OK;
    char notes[512];
    if (is_ok)
        snug_warnings_text(m->warnings, ", ", notes, sizeof notes);
    else
        snprintf(notes, sizeof notes, "%s", m->reason);
    snug_table_cell_number(table, (double)trial->id, 0);
    snug_table_cell_text(table, trial->role);
    snug_table_cell_text(table, snug_outcome_name(m->outcome));
    snug_table_cell_positive(table, (double)trial->bytes / (1 << 20), 1);
    snug_table_cell_positive(table, m->prefill_tps, 2);
    snug_table_cell_positive(table, m->decode_tps, 2);
    snug_table_cell_positive(table, m->ttft_s, 4);
    snug_table_cell_positive(table, m->tpot_p95_s, 5);
    snug_table_cell_positive(table, is_ok ? snug_measurement_request_s(m, &k->workload) : 0.0, 4);
    snug_table_cell_text(table, trial->on_front ? "*" : "");
    snug_table_cell_text(table, is_ok ? snug_verdict_name(snug_verdict_of(m->warnings)) : "");
    snug_table_cell_text(table, trial->quality_text);
    snug_table_cell_text(table, trial->config_text);
    snug_table_cell_text(table, notes);
    if (snug_goal_has(&k->goal, SNUG_AXIS_ENERGY))
        snug_table_cell_positive(table, snug_measurement_decode_j(m, &k->workload, NULL), 5);
    snug_table_row_end(table);
}

enum snug_table_format cli_table_format(const struct cli_args *args)
{
    const int found = args->format ? snug_table_format_from_name(args->format) : -1;
    return found >= 0   ? (enum snug_table_format)found
           : args->json ? SNUG_TABLE_JSON
                        : SNUG_TABLE_MD;
}

static void render_trials(const struct cli_args *args, const struct known *k, bool only_front,
                          struct snug_buffer *out)
{
    struct snug_table table = {0};
    const enum snug_table_format format = cli_table_format(args);
    trial_columns(k, &table);
    for (int i = 0; i < k->n_trials; i++) {
        if (!only_front || k->trials[i].on_front)
            trial_row(k, &k->trials[i], &table);
    }
    if (format == SNUG_TABLE_MD)
        cli_say("%s on %s, %s; prompt %lld, output %lld, depth %lld, %lld at once, context %lld",
                k->model_name, k->machine_name, k->build, (long long)k->workload.n_prompt,
                (long long)k->workload.n_gen, (long long)k->workload.n_depth,
                (long long)k->workload.n_parallel, (long long)k->workload.n_ctx);
    snug_table_render(&table, format, out);
    snug_table_clear(&table);
}

/* Open the store and one task of it, do the work, close. */
static int with_known(const struct cli_args *args,
                      int (*work)(const struct cli_args *args, const struct known *k))
{
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    struct known known = {.task_id = 0};
    int code = CLI_OK;
    if (snug_store_open(args->store, &store, &err) != SNUG_OK ||
        known_open(args, store, NULL, &known, &err) != SNUG_OK)
        code = cli_fail(&err);
    else
        code = work(args, &known);
    known_close(&known);
    snug_store_close(store);
    return code;
}

/* The same for every task of the model, oldest first. */
static int with_each(const struct cli_args *args,
                     int (*work)(const struct cli_args *args, const struct known *k,
                                 struct snug_buffer *out),
                     struct snug_buffer *out)
{
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    struct known *list = NULL;
    int n = 0, code = CLI_OK;
    if (snug_store_open(args->store, &store, &err) != SNUG_OK ||
        known_list(args, store, NULL, &list, &n, &err) != SNUG_OK)
        code = cli_fail(&err);
    for (int i = n - 1; code == CLI_OK && i >= 0; i--)
        code = known_load(args, store, &list[i], &err) == SNUG_OK ? work(args, &list[i], out)
                                                                  : cli_fail(&err);
    known_list_free(list, n);
    snug_store_close(store);
    return code;
}

static int work_front(const struct cli_args *args, const struct known *k)
{
    struct snug_buffer out = {0};
    render_trials(args, k, !args->all, &out);
    const int code = cli_put_buffer(&out);
    snug_buffer_clear(&out);
    return code;
}

int cmd_front(const struct cli_args *args)
{
    return with_known(args, work_front);
}

/* ---- history of a model: every trial of each of its tasks ---- */

static int work_history(const struct cli_args *args, const struct known *k, struct snug_buffer *out)
{
    snug_buffer_clear(out);
    render_trials(args, k, false, out);
    return cli_put_buffer(out);
}

int cli_known_trials(const struct cli_args *args)
{
    struct snug_buffer out = {0};
    const int code = with_each(args, work_history, &out);
    snug_buffer_clear(&out);
    return code;
}

/* ---- export ---- */

/* JSON lines where nothing else is asked for. */
static enum snug_table_format export_format(const struct cli_args *args)
{
    return args->format || args->json ? cli_table_format(args) : SNUG_TABLE_JSONL;
}

static int work_export(const struct cli_args *args, const struct known *k, struct snug_buffer *out)
{
    const enum snug_table_format format = export_format(args);
    if (format == SNUG_TABLE_CSV || format == SNUG_TABLE_MD)
        known_export_table(k, format, out);
    else
        known_export(k, format == SNUG_TABLE_JSON, out);
    return out->is_failed ? cli_fail_text(CLI_FAILED, "no memory for the export") : CLI_OK;
}

int cmd_export(const struct cli_args *args)
{
    struct snug_buffer out = {0};
    struct snug_error err = {0};
    int code = with_each(args, work_export, &out);
    if (code == CLI_OK && export_format(args) == SNUG_TABLE_JSON)
        snug_buffer_puts(&out, "\n]\n");
    if (code == CLI_OK && args->output && strcmp(args->output, "-") != 0) {
        if (snug_file_write(args->output, out.data, out.len, &err) != SNUG_OK)
            code = cli_fail(&err);
        else
            cli_say("written: %s", args->output);
    } else if (code == CLI_OK) {
        code = cli_put_buffer(&out);
    }
    snug_buffer_clear(&out);
    return code;
}

/* ---- report ---- */

static int work_report(const struct cli_args *args, const struct known *k)
{
    const char *path = args->output ? args->output : "snug-report.html";
    struct snug_error err = {0};
    char *json = known_report_json(k), *html = NULL;
    size_t n = 0;
    int code = CLI_OK;
    if (!json)
        code = cli_fail_text(CLI_FAILED, "no memory for the report");
    else if (snug_report_html(json, strlen(json), &html, &n, &err) != SNUG_OK)
        code = cli_fail(&err);
    else if (strcmp(path, "-") == 0)
        code = cli_put(html);
    else if (snug_file_write(path, html, n, &err) != SNUG_OK)
        code = cli_fail(&err);
    else
        cli_say("%s: %d trials of %s on %s", path, k->n_trials, k->model_name, k->machine_name);
    free(json);
    free(html);
    return code;
}

int cmd_report(const struct cli_args *args)
{
    return with_known(args, work_report);
}
