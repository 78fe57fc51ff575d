/* Observations for `snug knobs`, read from the store without an engine: the levels of a knob are
 * the values that trials took, so that rows of an older space count as well. */
#include "cli/knobs_data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "snug/stats.h"
#include "tune/ladder.h"

const struct knobs_metric knobs_metrics[N_KNOBS_METRICS] = {
    {"decode", "decode speed", "t/s", "decode_tps"},
    {"prefill", "prefill speed", "t/s", "prefill_tps"},
    {"request", "request time", "s", "request_s"},
    {"ttft", "time to first token", "s", "ttft_s"},
    {"memory", "memory", "bytes", "memory_bytes"},
    {"fails", "failed trials", "share", "failed_frac"},
};

/* A value of a knob as it was stored. */
struct value {
    const char *text; /* NULL: this config lacks the knob */
    bool is_number;
};

/* A knob while it is read; its values by row. */
struct column {
    const char *name;
    struct value *values; /* [n_rows] */
};

struct reader {
    struct knobs_data *data;
    struct column columns[SNUG_KNOBS_MAX_RANKED];
    int n_columns;
};

/* ---- rows ---- */

static snug_status no_memory(struct snug_error *err)
{
    return snug_fail(err, SNUG_NO_MEMORY, "no memory for the trials of this model");
}

static int find_row(const struct knobs_data *data, int64_t task_id, const char *config_json)
{
    for (int i = data->n_rows - 1; i >= 0; i--) /* repetitions follow one another */
        if (data->rows[i].task_id == task_id && strcmp(data->rows[i].config_json, config_json) == 0)
            return i;
    return -1;
}

static bool is_ok(const struct known_trial *trial)
{
    return trial->measurement.outcome == SNUG_TRIAL_OK;
}

static bool is_valid(const struct known_trial *trial)
{
    return is_ok(trial) && snug_verdict_of(trial->measurement.warnings) != SNUG_INVALID;
}

static snug_status add_trial(struct knobs_data *data, const struct known *k,
                             const struct known_trial *trial, struct snug_error *err)
{
    if (snug__ladder_rung(trial->role) > 0) /* only begun: what it shows is biased */
        return SNUG_OK;
    int at = find_row(data, k->task_id, trial->config_json);
    if (at < 0 && data->n_rows == SNUG_KNOBS_ROWS_MAX)
        return snug_fail(
            err, SNUG_BAD_INPUT,
            "more than %d configs and tasks are known: name a workload, such as --prompt N",
            SNUG_KNOBS_ROWS_MAX);
    if (at < 0) {
        at = data->n_rows++;
        data->rows[at] = (struct knobs_row){.task_id = k->task_id};
        data->rows[at].config_json = snug_arena_strdup(&data->arena, trial->config_json);
        if (!data->rows[at].config_json)
            return no_memory(err);
    }
    struct knobs_row *row = &data->rows[at];
    row->n_trials++;
    row->n_failed += !is_ok(trial);
    row->n_valid += is_valid(trial);
    data->n_trials++;
    data->n_disturbed += is_ok(trial) && !is_valid(trial);
    return SNUG_OK;
}

/* ---- metrics ---- */

/* NAN when the trial does not have it. */
static double metric_of(const struct known *k, const struct known_trial *trial, int metric)
{
    const struct snug_measurement *m = &trial->measurement;
    if (metric == KNOBS_FAILS)
        return !is_ok(trial);
    if (!is_ok(trial))
        return NAN;
    const double values[] = {
        [KNOBS_DECODE] = m->decode_tps,
        [KNOBS_PREFILL] = m->prefill_tps,
        [KNOBS_REQUEST] = snug_measurement_request_s(m, &k->workload),
        [KNOBS_TTFT] = m->ttft_s,
        [KNOBS_MEMORY] = (double)trial->bytes,
    };
    return values[metric] > 0.0 && isfinite(values[metric]) ? values[metric] : (double)NAN;
}

/* Bytes are stated, so that a disturbed run has them right. */
static bool is_counted(const struct knobs_data *data, const struct known_trial *trial, int metric)
{
    return metric == KNOBS_MEMORY || metric == KNOBS_FAILS || data->has_disturbed ||
           is_valid(trial);
}

/* Median of a metric over the trials of a row; of failures the mean. NAN: none has it. */
static double metric_of_row(const struct knobs_data *data, const struct known *k, const int *row_of,
                            int row, int metric, double *values)
{
    size_t n = 0;
    for (int i = 0; i < k->n_trials; i++) {
        const double v = row_of[i] == row ? metric_of(k, &k->trials[i], metric) : (double)NAN;
        if (!isnan(v) && is_counted(data, &k->trials[i], metric))
            values[n++] = v;
    }
    return metric == KNOBS_FAILS ? snug_stats_mean(values, n) : snug_stats_median(values, n);
}

static snug_status fill_metrics(struct knobs_data *data, const struct known *k,
                                struct snug_error *err)
{
    double *values = calloc((size_t)k->n_trials + 1, sizeof *values);
    int *row_of = calloc((size_t)k->n_trials + 1, sizeof *row_of);
    const bool has_room = values && row_of;
    for (int i = 0; has_room && i < k->n_trials; i++)
        row_of[i] = find_row(data, k->task_id, k->trials[i].config_json);
    for (int r = 0; has_room && r < data->n_rows; r++) {
        if (data->rows[r].task_id != k->task_id)
            continue;
        for (int metric = 0; metric < N_KNOBS_METRICS; metric++)
            data->rows[r].metric[metric] = metric_of_row(data, k, row_of, r, metric, values);
    }
    free(values);
    free(row_of);
    return has_room ? SNUG_OK : no_memory(err);
}

/* ---- knobs ---- */

static struct column *column_of(struct reader *r, const char *name, struct snug_error *err)
{
    for (int c = 0; c < r->n_columns; c++)
        if (strcmp(r->columns[c].name, name) == 0)
            return &r->columns[c];
    if (r->n_columns == SNUG_KNOBS_MAX_RANKED) {
        snug_fail(err, SNUG_BAD_INPUT, "the stored configs have more than %d knobs",
                  SNUG_KNOBS_MAX_RANKED);
        return NULL;
    }
    struct column *column = &r->columns[r->n_columns];
    column->name = snug_arena_strdup(&r->data->arena, name);
    column->values =
        snug_arena_alloc(&r->data->arena, (size_t)r->data->n_rows, sizeof *column->values);
    if (!column->name || !column->values) {
        snug_fail(err, SNUG_NO_MEMORY, "no memory for the knobs of this model");
        return NULL;
    }
    r->n_columns++;
    return column;
}

static snug_status read_config(struct reader *r, int row, struct snug_error *err)
{
    struct snug_json *doc = NULL;
    const char *json = r->data->rows[row].config_json, *name = NULL;
    const struct snug_json_node *node = NULL;
    snug_status status = snug_json_parse("a stored config", json, strlen(json), &doc, err);
    for (size_t i = 0; status == SNUG_OK && snug_json_member(snug_json_root(doc), i, &name, &node);
         i++) {
        struct column *column = column_of(r, name, err);
        if (!column) {
            status = err ? err->status : SNUG_BAD_INPUT;
            break;
        }
        struct value *value = &column->values[row];
        value->is_number = snug_json_is_number(node);
        value->text =
            value->is_number
                ? snug_arena_printf(&r->data->arena, "%lld", (long long)snug_json_int(node, 0))
                : snug_arena_strdup(&r->data->arena, snug_json_string(node, ""));
        if (!value->text)
            status = no_memory(err);
    }
    snug_json_free(doc);
    return status;
}

/* By the alphabet, so that off comes before on. */
static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int by_number(const void *a, const void *b)
{
    const long long p = strtoll(*(const char *const *)a, NULL, 10);
    const long long q = strtoll(*(const char *const *)b, NULL, 10);
    return (p > q) - (p < q);
}

/* The different values of a column in order; 0 when some config lacks it. */
static int distinct(const struct column *column, int n_rows, const char **values, bool *out_named)
{
    int n = 0;
    *out_named = false;
    for (int i = 0; i < n_rows; i++) {
        const struct value *value = &column->values[i];
        bool is_known = false;
        if (!value->text)
            return 0;
        *out_named = *out_named || !value->is_number;
        for (int j = 0; j < n && !is_known; j++)
            is_known = strcmp(values[j], value->text) == 0;
        if (!is_known)
            values[n++] = value->text;
    }
    qsort(values, (size_t)n, sizeof *values, *out_named ? by_name : by_number);
    return n;
}

static snug_status add_knob(struct knobs_data *data, const struct column *column,
                            struct snug_error *err)
{
    struct knobs_knob *knob = &data->knobs[data->n_knobs];
    const char **values = snug_arena_alloc(&data->arena, (size_t)data->n_rows, sizeof *values);
    bool is_named = false;
    if (!values)
        return no_memory(err);
    const int n = distinct(column, data->n_rows, values, &is_named);
    if (n < 2) {
        data->unvaried = snug_arena_printf(&data->arena, "%s%s%s", data->unvaried,
                                           data->unvaried[0] ? ", " : "", column->name);
        return data->unvaried ? SNUG_OK : no_memory(err);
    }
    if (is_named && n > SNUG_KNOBS_NAMED_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%s has %d values: at most %d can be ranked",
                         column->name, n, SNUG_KNOBS_NAMED_MAX);
    *knob = (struct knobs_knob){column->name, values, {is_named, n}};
    for (int i = 0; i < data->n_rows; i++)
        for (int j = 0; j < n; j++)
            if (strcmp(values[j], column->values[i].text) == 0)
                data->rows[i].level[data->n_knobs] = j;
    data->n_knobs++;
    return SNUG_OK;
}

static snug_status read_knobs(struct knobs_data *data, struct snug_error *err)
{
    struct reader *r = calloc(1, sizeof *r);
    snug_status status = SNUG_OK;
    if (!r)
        return no_memory(err);
    r->data = data;
    for (int i = 0; i < data->n_rows && status == SNUG_OK; i++)
        status = read_config(r, i, err);
    for (int c = 0; c < r->n_columns && status == SNUG_OK; c++)
        status = add_knob(data, &r->columns[c], err);
    free(r);
    return status;
}

/* ---- all ---- */

static bool name_of(struct knobs_data *data, const struct known *k)
{
    data->model = snug_arena_strdup(&data->arena, k->model_name);
    data->machine = snug_arena_strdup(&data->arena, k->machine_name);
    data->build = snug_arena_strdup(&data->arena, k->build);
    return data->model && data->machine && data->build;
}

static snug_status read_tasks(const struct cli_args *args, struct snug_store *store,
                              struct known *list, int n, struct knobs_data *data,
                              struct snug_error *err)
{
    snug_status status = SNUG_OK;
    for (int i = 0; i < n && status == SNUG_OK; i++) {
        if (!known_matches(args, &list[i].workload))
            continue;
        status = known_load(args, store, &list[i], err);
        if (status == SNUG_OK && data->n_tasks++ == 0 && !name_of(data, &list[i]))
            status = no_memory(err);
        for (int j = 0; status == SNUG_OK && j < list[i].n_trials; j++)
            status = add_trial(data, &list[i], &list[i].trials[j], err);
    }
    if (status == SNUG_OK && data->n_tasks == 0)
        status = known_none(err);
    return status;
}

/* Number the configs, and see whether enough of them were measured undisturbed. */
static void find_configs(struct knobs_data *data)
{
    int rows[SNUG_KNOBS_ROWS_MAX], n_valid = 0;
    for (int i = 0; i < data->n_rows; i++) {
        struct knobs_row *row = &data->rows[i];
        int j = 0;
        while (memcmp(data->rows[j].level, row->level, sizeof row->level) != 0)
            j++;
        row->config = j;
        data->n_configs += j == i;
        if (row->n_valid > 0)
            rows[n_valid++] = i;
    }
    data->has_disturbed = knobs_data_configs(data, rows, n_valid) < SNUG_KNOBS_CONFIGS_MIN;
}

int knobs_data_configs(const struct knobs_data *data, const int *rows, int n_rows)
{
    bool is_seen[SNUG_KNOBS_ROWS_MAX] = {false};
    int n = 0;
    for (int i = 0; i < n_rows; i++) {
        const int config = data->rows[rows[i]].config;
        n += !is_seen[config];
        is_seen[config] = true;
    }
    return n;
}

snug_status knobs_data_read(const struct cli_args *args, struct snug_store *store,
                            struct known *list, int n, struct knobs_data *out,
                            struct snug_error *err)
{
    struct knobs_data data = {.unvaried = ""};
    data.rows = snug_arena_alloc(&data.arena, SNUG_KNOBS_ROWS_MAX, sizeof *data.rows);
    snug_status status = data.rows ? read_tasks(args, store, list, n, &data, err) : no_memory(err);
    if (status == SNUG_OK)
        status = read_knobs(&data, err);
    if (status == SNUG_OK)
        find_configs(&data);
    for (int i = 0; i < n && status == SNUG_OK; i++)
        if (list[i].n_trials > 0)
            status = fill_metrics(&data, &list[i], err);
    if (status != SNUG_OK) {
        knobs_data_clear(&data);
        return status;
    }
    *out = data;
    return SNUG_OK;
}

void knobs_data_clear(struct knobs_data *data)
{
    snug_arena_clear(&data->arena);
    *data = (struct knobs_data){.n_rows = 0};
}
