/* A load's report as JSON: from the worker to its parent, and to users of --json. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "machine/machine_json.h"

static void level_to_json(struct snug_json_writer *w, const char *key,
                          const struct snug_load_level *level)
{
    snug_json_begin_object(w, key);
    snug_json_put_number(w, "cpu", level->cpu);
    snug_json_put_int(w, "memory_bytes", (int64_t)level->memory_bytes);
    snug_json_put_number(w, "bandwidth_bps", level->bandwidth_bps);
    snug_json_put_number(w, "disk_frac", level->disk_frac);
    snug_json_end(w);
}

void snug_load_report_to_json(struct snug_json_writer *w, const char *key,
                              const struct snug_load_report *report)
{
    snug_json_begin_object(w, key);
    snug_json_put_number(w, "t_s", report->t_s);
    level_to_json(w, "asked", &report->asked);
    level_to_json(w, "reached", &report->reached);
    level_to_json(w, "asked_mean", &report->asked_mean);
    level_to_json(w, "reached_mean", &report->reached_mean);
    snug_json_put_number(w, "disk_bps", report->disk_bps);
    snug_json_put_number(w, "disk_bps_mean", report->disk_bps_mean);
    snug_json_put_int(w, "memory_bytes_peak", (int64_t)report->memory_bytes_peak);
    snug_json_put_int(w, "given_back_bytes", (int64_t)report->given_back_bytes);
    snug_json_put_bool(w, "is_settled", report->is_settled);
    snug_json_put_bool(w, "is_over", report->is_over);
    snug_json_put_string(w, "note", report->note);
    snug_json_end(w);
}

/* A number within 0..2^63, else the whole report is refused. */
static double get(const struct snug_json_node *node, const char *key, bool *is_good)
{
    const double value = snug_json_get_number(node, key, NAN);
    *is_good = *is_good && value >= 0 && value < 0x1p63;
    return *is_good ? value : 0;
}

static void get_level(const struct snug_json_node *node, struct snug_load_level *out, bool *is_good)
{
    out->cpu = get(node, "cpu", is_good);
    out->memory_bytes = (uint64_t)get(node, "memory_bytes", is_good);
    out->bandwidth_bps = get(node, "bandwidth_bps", is_good);
    out->disk_frac = get(node, "disk_frac", is_good);
}

snug_status snug_load_report_from_json(const struct snug_json_node *node,
                                       struct snug_load_report *out, struct snug_error *err)
{
    struct snug_load_report report = {0};
    bool is_good = true;
    report.t_s = get(node, "t_s", &is_good);
    get_level(snug_json_get(node, "asked"), &report.asked, &is_good);
    get_level(snug_json_get(node, "reached"), &report.reached, &is_good);
    get_level(snug_json_get(node, "asked_mean"), &report.asked_mean, &is_good);
    get_level(snug_json_get(node, "reached_mean"), &report.reached_mean, &is_good);
    report.disk_bps = get(node, "disk_bps", &is_good);
    report.disk_bps_mean = get(node, "disk_bps_mean", &is_good);
    report.memory_bytes_peak = (uint64_t)get(node, "memory_bytes_peak", &is_good);
    report.given_back_bytes = (uint64_t)get(node, "given_back_bytes", &is_good);
    report.is_settled = snug_json_get_bool(node, "is_settled", false);
    report.is_over = snug_json_get_bool(node, "is_over", false);
    snprintf(report.note, sizeof report.note, "%s", snug_json_get_string(node, "note", ""));
    if (!is_good)
        return snug_fail(err, SNUG_CRASHED, "load: a report that is none");
    *out = report;
    return SNUG_OK;
}
