/* Reading the results document of a lab run. Nothing here trusts it: absent keys, null figures and
 * unknown names end as "not measured"; only the caps of snug/report.h refuse. */
#include "report/lab_doc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/html_page.h"
#include "snug/report.h"
#include "trial/trial_json.h"

#define ORIGIN "results document"

/* ---- metrics ---- */

static const struct snug__lab_metric METRICS[] = {
    {"decode_tps", "decode", "decode speed", true},
    {"prefill_tps", "prefill", "prefill speed", true},
    {"request_tps", "request", "requests per second", true},
    {"request_s", "latency", "request latency", false},
    {"ttft_s", "ttft", "time to first token", false},
    {"tpot_p50_s", "tpot", "time per token", false},
    {"bytes", "memory", "memory", false},
    {"kld", "kld_mean", "divergence (KLD)", false},
    {"perplexity", "ppl", "perplexity", false},
};

const struct snug__lab_metric *snug__lab_metric_of(const char *key)
{
    for (size_t i = 0; i < sizeof METRICS / sizeof METRICS[0]; i++)
        if (strcmp(key, METRICS[i].key) == 0 || strcmp(key, METRICS[i].alias) == 0)
            return &METRICS[i];
    return NULL;
}

const char *snug__lab_metric_name(const char *key)
{
    const struct snug__lab_metric *metric = snug__lab_metric_of(key);
    return metric ? metric->name : key;
}

int snug__lab_ratio_side(const struct snug__lab_ratio *ratio)
{
    const struct snug__lab_metric *metric = snug__lab_metric_of(ratio->metric);
    if (!metric || !(ratio->of.lo > 1 || ratio->of.hi < 1))
        return 0;
    return (ratio->of.lo > 1) == metric->is_more_better ? 1 : -1;
}

struct snug_interval snug__lab_interval(const struct snug_json_node *object, const char *key)
{
    const struct snug_json_node *node = snug_json_get(object, key);
    struct snug_interval of = {snug__positive(node, "lo"), snug__positive(node, "mid"),
                               snug__positive(node, "hi")};
    if (snug_json_is_number(node))
        of.lo = of.mid = of.hi = snug__positive(object, key);
    if (!(of.lo <= of.mid && of.mid <= of.hi))
        of.lo = of.mid = of.hi = NAN;
    return of;
}

/* ---- cells ---- */

/* The cell of an entry, made when it is new; n_cells when the cap is reached. */
static size_t cell_of(struct snug__lab *lab, const struct snug_json_node *entry)
{
    const char *model = snug_json_get_string(entry, "model", "");
    const char *workload = snug_json_get_string(entry, "workload", "");
    for (size_t i = 0; i < lab->n_cells; i++)
        if (strcmp(lab->cells[i].model, model) == 0 &&
            strcmp(lab->cells[i].workload, workload) == 0)
            return i;
    if (lab->n_cells == SNUG_REPORT_LIST_MAX)
        return lab->n_cells;
    lab->cells[lab->n_cells] = (struct snug__lab_cell){.model = model, .workload = workload};
    return lab->n_cells++;
}

/* Lengths of every cell's workload, from the list of workloads. */
static void read_lengths(struct snug__lab *lab)
{
    const struct snug_json_node *list = snug_json_get(lab->root, "workloads");
    size_t n = snug_json_is_array(list) ? snug_json_count(list) : 0;
    for (size_t w = 0; w < n; w++) {
        const struct snug_json_node *node = snug_json_at(list, w);
        const char *name = snug_json_get_string(node, "name", "");
        for (size_t i = 0; i < lab->n_cells; i++) {
            struct snug__lab_cell *cell = &lab->cells[i];
            if (cell->has_lengths || strcmp(cell->workload, name) != 0)
                continue;
            snug_workload_from_json(node, &cell->lengths);
            cell->has_lengths = true;
        }
    }
}

/* ---- entries ---- */

static void read_sum(const struct snug_json_node *node, struct snug__lab_sum *sum)
{
    sum->node = node;
    sum->round = snug_json_get_string(node, "round", "");
    sum->n_ok = snug_json_get_int(node, "n_ok", -1);
    sum->n_failed = snug_json_get_int(node, "n_failed", -1);
    sum->state = sum->n_ok > 0       ? SNUG__LAB_OK
                 : sum->n_failed > 0 ? SNUG__LAB_FAILED
                                     : SNUG__LAB_UNKNOWN;
}

static void read_ratio(const struct snug_json_node *node, struct snug__lab_ratio *ratio)
{
    ratio->node = node;
    ratio->round = snug_json_get_string(node, "round", "");
    ratio->metric = snug_json_get_string(node, "metric", "");
    ratio->of = snug__lab_interval(node, "ratio");
}

static void read_row(const struct snug_json_node *node, struct snug__lab_row *row)
{
    row->node = node;
    row->measurement = snug_json_get(node, "measurement");
    row->round = snug_json_get_string(node, "round", "");
    row->outcome = snug_json_get_string(row->measurement, "outcome", "unknown");
    row->reason = snug_json_get_string(row->measurement, "reason", "");
    row->config_text = snug_json_get_string(node, "config_text", "");
    row->repetition = snug_json_get_int(node, "repetition", -1);
    row->is_ok = strcmp(row->outcome, "ok") == 0;
    row->is_baseline = strcmp(snug_json_get_string(node, "role", ""), "baseline") == 0;
    row->started_unix_s = snug__positive(row->measurement, "started_unix_s");
    row->request_s = NAN;
}

/* Seconds of one request, when the lengths and the speeds are there. */
static void read_request(const struct snug__lab *lab, struct snug__lab_row *row)
{
    const struct snug__lab_cell *cell = &lab->cells[row->i_cell];
    struct snug_measurement m = {.outcome = SNUG_TRIAL_OK};
    if (!row->is_ok || !cell->has_lengths)
        return;
    m.prefill_tps = snug_json_get_number(row->measurement, "prefill_tps", 0);
    m.decode_tps = snug_json_get_number(row->measurement, "decode_tps", 0);
    double s = snug_measurement_request_s(&m, &cell->lengths);
    row->request_s = s > 0 && s < 1e9 ? s : NAN;
}

/* Elements of a list in one pass; *out is malloc'ed. */
static snug_status elements_of(const struct snug_json_node *root, const char *key,
                               const struct snug_json_node ***out, size_t *out_n,
                               struct snug_error *err)
{
    const struct snug_json_node *list = snug_json_get(root, key);
    size_t n = snug_json_is_array(list) ? snug_json_count(list) : 0;
    const struct snug_json_node **nodes = calloc(n ? n : 1, sizeof(const struct snug_json_node *));
    if (!nodes)
        return snug_fail(err, SNUG_NO_MEMORY, ORIGIN ": %zu %s", n, key);
    *out_n = snug_json_elements(list, nodes, n);
    *out = nodes;
    return SNUG_OK;
}

static snug_status too_many_cells(struct snug_error *err)
{
    return snug_fail(err, SNUG_BAD_INPUT,
                     ORIGIN ": more than %d combinations of model and workload found, at most %d "
                            "accepted",
                     SNUG_REPORT_LIST_MAX, SNUG_REPORT_LIST_MAX);
}

/* The three lists have one shape: an array of structs that are filled from one node each. */
#define READ_LIST(name, type, key, array, n_array, read)                                           \
    static snug_status name(struct snug__lab *lab, struct snug_error *err)                         \
    {                                                                                              \
        const struct snug_json_node **nodes = NULL;                                                \
        size_t n = 0;                                                                              \
        snug_status status = elements_of(lab->root, key, &nodes, &n, err);                         \
        if (status != SNUG_OK)                                                                     \
            return status;                                                                         \
        lab->array = calloc(n ? n : 1, sizeof(struct type));                                       \
        if (!lab->array)                                                                           \
            status = snug_fail(err, SNUG_NO_MEMORY, ORIGIN ": %zu %s", n, key);                    \
        for (size_t i = 0; i < n && status == SNUG_OK; i++) {                                      \
            read(nodes[i], &lab->array[i]);                                                        \
            lab->array[i].i_cell = cell_of(lab, nodes[i]);                                         \
            if (lab->array[i].i_cell == SNUG_REPORT_LIST_MAX)                                      \
                status = too_many_cells(err);                                                      \
            lab->n_array = i + 1;                                                                  \
        }                                                                                          \
        free((void *)nodes);                                                                       \
        return status;                                                                             \
    }
READ_LIST(read_sums, snug__lab_sum, "summary", sums, n_sums, read_sum)
READ_LIST(read_ratios, snug__lab_ratio, "comparisons", ratios, n_ratios, read_ratio)
READ_LIST(read_rows, snug__lab_row, "rows", rows, n_rows, read_row)

/* ---- document ---- */

static snug_status check_caps(const struct snug_json_node *root, struct snug_error *err)
{
    static const struct {
        const char *key;
        size_t max;
    } caps[] = {{"rows", SNUG_REPORT_LAB_ROWS_MAX},
                {"summary", SNUG_REPORT_LAB_ROWS_MAX},
                {"comparisons", SNUG_REPORT_LAB_COMPARISONS_MAX},
                {"rounds", SNUG_REPORT_LIST_MAX},
                {"models", SNUG_REPORT_LIST_MAX},
                {"workloads", SNUG_REPORT_LIST_MAX},
                {"thresholds", SNUG_REPORT_LIST_MAX},
                {"baseline_drift", SNUG_REPORT_LIST_MAX}};
    for (size_t i = 0; i < sizeof caps / sizeof caps[0]; i++) {
        size_t n = snug_json_count(snug_json_get(root, caps[i].key));
        if (n > caps[i].max)
            return snug_fail(err, SNUG_BAD_INPUT, ORIGIN ": %zu %s found, at most %zu accepted", n,
                             caps[i].key, caps[i].max);
    }
    return SNUG_OK;
}

static snug_status read_all(struct snug__lab *lab, struct snug_error *err)
{
    lab->root = snug_json_root(lab->doc);
    snug_status status = check_caps(lab->root, err);
    if (status != SNUG_OK)
        return status;
    lab->cells = calloc(SNUG_REPORT_LIST_MAX, sizeof *lab->cells);
    if (!lab->cells)
        return snug_fail(err, SNUG_NO_MEMORY, ORIGIN ": list of models and workloads");
    status = read_sums(lab, err);
    if (status == SNUG_OK)
        status = read_ratios(lab, err);
    if (status == SNUG_OK)
        status = read_rows(lab, err);
    if (status != SNUG_OK)
        return status;
    read_lengths(lab);
    for (size_t i = 0; i < lab->n_rows; i++) {
        read_request(lab, &lab->rows[i]);
        lab->n_rows_ok += lab->rows[i].is_ok;
    }
    return SNUG_OK;
}

snug_status snug__lab_read(const char *json_text, size_t n, struct snug__lab *lab,
                           struct snug_error *err)
{
    *lab = (struct snug__lab){0};
    snug_status status = snug__doc_open(ORIGIN, json_text, n, &lab->doc, err);
    if (status == SNUG_OK)
        status = read_all(lab, err);
    if (status != SNUG_OK)
        snug__lab_clear(lab);
    return status;
}

void snug__lab_clear(struct snug__lab *lab)
{
    free(lab->cells);
    free(lab->sums);
    free(lab->ratios);
    free(lab->rows);
    snug_json_free(lab->doc);
    *lab = (struct snug__lab){0};
}
