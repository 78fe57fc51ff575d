/* Thresholds: one row per metric that can be required. */
#include "trial/threshold.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snug/units.h"
#include "trial/knob.h"

static const struct {
    const char *name, *alias;
    enum { PLAIN, SECONDS, BYTES } unit;
} METRICS[SNUG_N_METRICS] = {
    [SNUG_METRIC_DECODE] = {"tg", "decode_tps", PLAIN},
    [SNUG_METRIC_PREFILL] = {"pp", "prefill_tps", PLAIN},
    [SNUG_METRIC_TTFT] = {"ttft_s", "ttft", SECONDS},
    [SNUG_METRIC_TPOT] = {"tpot_s", "tpot_p50_s", SECONDS},
    [SNUG_METRIC_TPOT_P95] = {"tpot_p95_s", "tpot_p95", SECONDS},
    [SNUG_METRIC_REQUEST] = {"request_s", "request", SECONDS},
    [SNUG_METRIC_LOAD] = {"load_s", "load", SECONDS},
    [SNUG_METRIC_MEMORY] = {"memory", "bytes", BYTES},
    [SNUG_METRIC_DECODE_J] = {"j_per_token", "decode_j", PLAIN},
    [SNUG_METRIC_KLD] = {"kld", "kld_mean", PLAIN},
    [SNUG_METRIC_RATIO] = {"ratio", "gain", PLAIN},
};

const char *snug_threshold_metric_name(enum snug_threshold_metric metric)
{
    return (unsigned)metric < SNUG_N_METRICS ? METRICS[metric].name : "unknown";
}

static int find_metric(const char *text, size_t n)
{
    for (int i = 0; i < SNUG_N_METRICS; i++) {
        if ((strlen(METRICS[i].name) == n && strncmp(METRICS[i].name, text, n) == 0) ||
            (strlen(METRICS[i].alias) == n && strncmp(METRICS[i].alias, text, n) == 0))
            return i;
    }
    return -1;
}

static snug_status fail_metric(const char *text, size_t n, struct snug_error *err)
{
    char name[48], list[256];
    const char *names[SNUG_N_METRICS];
    size_t len = 0;
    for (int i = 0; i < SNUG_N_METRICS; i++) {
        names[i] = METRICS[i].name;
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", i ? ", " : "", names[i]);
    }
    snprintf(name, sizeof name, "%.*s", (int)n, text);
    const char *near = snug__near_word(name, names, SNUG_N_METRICS);
    return snug_fail(err, SNUG_BAD_INPUT, "no metric '%s' in '%.60s'%s%s; there are: %s", name,
                     text, near ? ", did you mean " : "", near ? near : "", list);
}

static snug_status parse_value(int metric, const char *text, double *out, struct snug_error *err)
{
    if (METRICS[metric].unit == BYTES) {
        uint64_t bytes = 0;
        const snug_status status = snug_bytes_parse(text, &bytes, err);
        *out = (double)bytes;
        return status;
    }
    char *end = NULL;
    *out = strtod(text, &end);
    if (METRICS[metric].unit == SECONDS && end != text && *end)
        return snug_seconds_parse(text, out, err);
    if (end == text || *end || !isfinite(*out) || *out < 0.0)
        return snug_fail(err, SNUG_BAD_INPUT, "'%.40s' is not a number", text);
    return SNUG_OK;
}

snug_status snug_threshold_parse(const char *text, struct snug_threshold *out,
                                 struct snug_error *err)
{
    const size_t at = strcspn(text, "<>");
    size_t n = at;
    while (n > 0 && text[n - 1] == ' ')
        n--;
    if (!text[at])
        return snug_fail(err, SNUG_BAD_INPUT,
                         "'%.60s' is not a threshold; one is METRIC>=VALUE or METRIC<=VALUE, such "
                         "as 'tg>=20'",
                         text);
    const int metric = find_metric(text, n);
    if (metric < 0)
        return fail_metric(text, n, err);
    const bool has_equal = text[at + 1] == '=';
    const char *value = text + at + 1 + has_equal;
    value += strspn(value, " ");
    double number = 0.0;
    const snug_status status = parse_value(metric, value, &number, err);
    if (status != SNUG_OK)
        return snug_fail_prefix(err, status, "'%.60s'", text);
    *out = (struct snug_threshold){.metric = (enum snug_threshold_metric)metric,
                                   .is_at_least = text[at] == '>',
                                   .is_strict = !has_equal,
                                   .value = number,
                                   .text = text};
    return SNUG_OK;
}

static double positive(double x)
{
    return x > 0.0 ? x : NAN;
}

double snug_threshold_figure(const struct snug_threshold *threshold,
                             const struct snug_measurement *m, const struct snug_workload *workload)
{
    if (m->outcome != SNUG_TRIAL_OK)
        return NAN;
    switch (threshold->metric) {
    case SNUG_METRIC_DECODE:
        return positive(m->decode_tps);
    case SNUG_METRIC_PREFILL:
        return positive(m->prefill_tps);
    case SNUG_METRIC_TTFT:
        return positive(m->ttft_s);
    case SNUG_METRIC_TPOT:
        return positive(m->tpot_p50_s);
    case SNUG_METRIC_TPOT_P95:
        return positive(m->tpot_p95_s);
    case SNUG_METRIC_REQUEST: {
        const double s = snug_measurement_request_s(m, workload);
        return isfinite(s) ? positive(s) : NAN;
    }
    case SNUG_METRIC_LOAD:
        return positive(m->load_s);
    case SNUG_METRIC_MEMORY:
        return positive((double)snug_bytes_stated(&m->bytes));
    case SNUG_METRIC_DECODE_J:
        return snug_measurement_decode_j(m, workload, NULL);
    default:
        return NAN;
    }
}

bool snug_threshold_is_met(const struct snug_threshold *threshold, double figure)
{
    if (threshold->is_at_least)
        return threshold->is_strict ? figure > threshold->value : figure >= threshold->value;
    return threshold->is_strict ? figure < threshold->value : figure <= threshold->value;
}
