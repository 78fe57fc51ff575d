/* Thresholds that a run must meet: --require 'tg>=20' 'ttft_s<=0.5'. */
#ifndef SNUG_TRIAL_THRESHOLD_H
#define SNUG_TRIAL_THRESHOLD_H

#include "snug/trial.h"

#define SNUG_THRESHOLDS_MAX 16

enum snug_threshold_metric {
    SNUG_METRIC_DECODE,
    SNUG_METRIC_PREFILL,
    SNUG_METRIC_TTFT,
    SNUG_METRIC_TPOT,
    SNUG_METRIC_TPOT_P95,
    SNUG_METRIC_REQUEST,
    SNUG_METRIC_LOAD,
    SNUG_METRIC_MEMORY,
    SNUG_METRIC_DECODE_J,
    SNUG_METRIC_KLD,
    SNUG_METRIC_RATIO,
    SNUG_N_METRICS
};

struct snug_threshold {
    enum snug_threshold_metric metric;
    bool is_at_least; /* >= or >, else <= or < */
    bool is_strict;   /* > or < */
    double value;     /* bytes for memory, seconds for times */
    const char *text; /* as given; borrowed */
};

/* "tg>=20", "ttft_s <= 0.5", "memory<=2GiB". text is kept. The error lists the metrics. */
snug_status snug_threshold_parse(const char *text, struct snug_threshold *out,
                                 struct snug_error *err) SNUG_CHECKED;
/* The figure of a measurement that the threshold looks at; NAN when it was not measured, and for
 * KLD and RATIO, which the caller knows. */
double snug_threshold_figure(const struct snug_threshold *threshold,
                             const struct snug_measurement *m,
                             const struct snug_workload *workload);
/* NAN never meets a threshold. */
bool snug_threshold_is_met(const struct snug_threshold *threshold, double figure);
/* "tg", "tg or decode_tps, ...": for help and errors. */
const char *snug_threshold_metric_name(enum snug_threshold_metric metric);

#endif
