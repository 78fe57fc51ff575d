/* Reading the report document. Nothing here trusts it: absent keys, null figures, unknown names and
 * ids that no trial has all end as "not known", only the caps of snug/report.h refuse. */
#include "report/html_doc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/html_page.h"
#include "snug/report.h"

static const char *const who_names[SNUG__N_WHO] = {"pick", "default", "fit"};

const char *snug__who_name(enum snug__who who)
{
    return who_names[who];
}

const char *snug__speed_unit(const struct snug__report *report)
{
    static const char *const units[SNUG_N_OBJECTIVES] = {"tokens/s", "tokens/s", "requests/s",
                                                         "tokens/J"};
    return units[report->objective];
}

const char *snug__speed_name(const struct snug__report *report)
{
    static const char *const names[SNUG_N_OBJECTIVES] = {"decode speed", "prefill speed",
                                                         "request rate", "tokens per joule"};
    return names[report->objective];
}

static enum snug_objective read_objective(const struct snug_json_node *root)
{
    const char *name = snug_json_get_string(root, "objective", "decode");
    if (strcmp(name, "prefill") == 0)
        return SNUG_OBJECTIVE_PREFILL;
    return strcmp(name, "request") == 0 ? SNUG_OBJECTIVE_REQUEST : SNUG_OBJECTIVE_DECODE;
}

static void read_row(const struct snug_json_node *node, struct snug__row *row)
{
    row->measurement = snug_json_get(node, "measurement");
    row->axes = snug_json_get(node, "axes");
    row->quality = snug_json_get(node, "quality");
    row->verdict = snug_json_get_string(node, "verdict", "");
    row->id = snug_json_get_int(node, "id", -1);
    row->role = snug_json_get_string(node, "role", "");
    row->strategy = snug_json_get_string(node, "strategy", "");
    row->config_text = snug_json_get_string(node, "config_text", "");
    row->outcome = snug_json_get_string(row->measurement, "outcome", "unknown");
    row->reason = snug_json_get_string(row->measurement, "reason", "");
    row->is_ok = strcmp(row->outcome, "ok") == 0;
    row->on_front = row->is_ok && snug_json_get_bool(node, "on_front", false);
    row->bytes = snug__positive(node, "bytes");
    row->speed = row->is_ok ? snug__positive(node, "speed") : NAN;
    row->speed_lo = row->is_ok ? snug__positive(node, "speed_lo") : NAN;
    row->speed_hi = row->is_ok ? snug__positive(node, "speed_hi") : NAN;
}

static const struct snug__row *find_row(const struct snug__report *report, int64_t id)
{
    for (size_t i = 0; id >= 0 && i < report->n_rows; i++)
        if (report->rows[i].id == id)
            return &report->rows[i];
    return NULL;
}

static void find_named(struct snug__report *report)
{
    const struct snug_json_node *root = report->root;
    int64_t pick = snug_json_get_int(snug_json_get(root, "pick"), "trial", -1);
    report->who[SNUG__PICK] = find_row(report, pick);
    report->who[SNUG__DEFAULT] = find_row(report, snug_json_get_int(root, "default_trial", -1));
    report->who[SNUG__FIT] = find_row(report, snug_json_get_int(root, "fit_trial", -1));
}

static snug_status check_count(const struct snug_json_node *root, const char *key, size_t max,
                               struct snug_error *err)
{
    size_t n = snug_json_count(snug_json_get(root, key));
    if (n > max)
        return snug_fail(err, SNUG_BAD_INPUT, "report document: %zu %s found, at most %zu accepted",
                         n, key, max);
    return SNUG_OK;
}

static snug_status check_caps(const struct snug_json_node *root, struct snug_error *err)
{
    static const struct {
        const char *key;
        size_t max;
    } caps[] = {{"trials", SNUG_REPORT_TRIALS_MAX},
                {"progress", SNUG_REPORT_TRIALS_MAX},
                {"confirm", SNUG_REPORT_LIST_MAX},
                {"notes", SNUG_REPORT_LIST_MAX}};
    snug_status status = SNUG_OK;
    for (size_t i = 0; i < sizeof caps / sizeof caps[0] && status == SNUG_OK; i++)
        status = check_count(root, caps[i].key, caps[i].max, err);
    return status;
}

static snug_status read_rows(struct snug__report *report, struct snug_error *err)
{
    const struct snug_json_node *trials = snug_json_get(report->root, "trials");
    size_t n = snug_json_is_array(trials) ? snug_json_count(trials) : 0;
    report->rows = calloc(n ? n : 1, sizeof *report->rows);
    if (!report->rows)
        return snug_fail(err, SNUG_NO_MEMORY, "report of %zu trials", n);
    report->n_rows = n;
    for (size_t i = 0; i < n; i++) {
        read_row(snug_json_at(trials, i), &report->rows[i]);
        report->n_ok += report->rows[i].is_ok;
    }
    return SNUG_OK;
}

snug_status snug__report_read(const char *json_text, size_t n, struct snug__report *report,
                              struct snug_error *err)
{
    *report = (struct snug__report){0};
    snug_status status = snug__doc_open("report document", json_text, n, &report->doc, err);
    if (status != SNUG_OK)
        return status;
    report->root = snug_json_root(report->doc);
    status = check_caps(report->root, err);
    if (status == SNUG_OK)
        status = read_rows(report, err);
    if (status != SNUG_OK) {
        snug__report_clear(report);
        return status;
    }
    report->objective = read_objective(report->root);
    report->limit_bytes = snug__positive(report->root, "memory_limit_bytes");
    find_named(report);
    return SNUG_OK;
}

void snug__report_clear(struct snug__report *report)
{
    free(report->rows);
    snug_json_free(report->doc);
    *report = (struct snug__report){0};
}

int snug__row_blocks(const struct snug__row *row, const char *key, double out[SNUG_BLOCKS_MAX])
{
    if (!row || !row->is_ok)
        return 0;
    const struct snug_json_node *blocks = snug_json_get(row->measurement, key);
    size_t n = snug_json_is_array(blocks) ? snug_json_count(blocks) : 0;
    int n_out = 0;
    for (size_t i = 0; i < n && n_out < SNUG_BLOCKS_MAX; i++) {
        double tps = snug_json_number(snug_json_at(blocks, i), NAN);
        if (tps > 0 && isfinite(tps))
            out[n_out++] = tps;
    }
    return n_out;
}

bool snug__row_is_again(const struct snug__row *row)
{
    return strcmp(row->role, "confirm") == 0 || strcmp(row->role, "front") == 0;
}

bool snug__row_confirms(const struct snug__row *row, const struct snug__row *of)
{
    return row != of && row->is_ok && strcmp(row->role, "confirm") == 0 && of->config_text[0] &&
           strcmp(row->config_text, of->config_text) == 0;
}
