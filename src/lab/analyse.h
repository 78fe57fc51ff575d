/* What the rows of a run say together.
 *
 * A round is compared with the baseline inside each block: its row against the nearest baseline row
 * of the same repetition, model and workload, so that drift hits both alike. Failed rows take part
 * in nothing; they are counted and named. */
#ifndef SNUG_LAB_ANALYSE_H
#define SNUG_LAB_ANALYSE_H

#include "lab/run.h"
#include "snug/stats.h"

/* Metrics that rounds are compared by: name in files, and whether more is better. */
#define SNUG_LAB_METRICS(X)                                                                        \
    X(PREFILL, "prefill_tps", true)                                                                \
    X(DECODE, "decode_tps", true)                                                                  \
    X(REQUEST, "request_s", false)                                                                 \
    X(TTFT, "ttft_s", false)                                                                       \
    X(BYTES, "bytes", false)

enum snug_lab_metric {
#define SNUG_LAB_METRIC_ENUM(name, text, is_more_better) SNUG_LAB_##name,
    SNUG_LAB_METRICS(SNUG_LAB_METRIC_ENUM)
#undef SNUG_LAB_METRIC_ENUM
        SNUG_LAB_N_METRICS
};
const char *snug_lab_metric_name(enum snug_lab_metric metric);

struct snug_lab_comparison {
    int i_round, i_model, i_workload;
    enum snug_lab_metric metric;
    struct snug_interval ratio; /* round / baseline of the metric itself */
    int n_pairs;
    char words[256];
};

enum snug_lab_answer { SNUG_LAB_NO, SNUG_LAB_YES, SNUG_LAB_UNKNOWN };

/* One round on one model and workload; medians over its rows that ran. */
struct snug_lab_summary {
    int i_round, i_model, i_workload;
    int n_ok, n_failed;
    enum snug_outcome last_outcome; /* of a failed row ... */
    char reason[SNUG_REASON_MAX];   /* ... and why */
    struct snug_interval prefill_tps, decode_tps;
    double ttft_s, tpot_p50_s, load_s, first_sample_s; /* NAN: not measured */
    struct snug_bytes bytes;
    /* Rules over all rows: one that tells of the set-up counts when any row shows it, one that
     * tells of a moment (quota, other load, paging, cold cache) when more than a fifth do, as in
     * lab/compare.h: medians and pairs bear a disturbed row. */
    uint32_t warnings;
    enum snug_lab_answer improved; /* by the rule of the file; UNKNOWN for the baseline */
    char why[256];
};

/* How the baseline changed through the run. */
struct snug_lab_drift {
    int i_model, i_workload;
    enum snug_lab_metric metric; /* PREFILL or DECODE */
    /* Slope of log speed, and what it makes of the speed from first to last; NAN: under 4 rows. */
    struct snug_interval frac_per_hour, frac_over_run;
    double (*points)[2]; /* [i]: Unix seconds, speed */
    int n_points;
};

struct snug_lab_analysis {
    struct snug_arena arena; /* holds everything below */
    struct snug_lab_summary *summaries;
    int n_summaries;
    struct snug_lab_comparison *comparisons;
    int n_comparisons;
    struct snug_lab_drift *drifts;
    int n_drifts;
};

/* Measurements by row of the plan; NULL where there is none yet. qualities as in a run's result;
 * NULL: not measured. */
snug_status snug_lab_analyse(const struct snug_lab_plan *plan,
                             const struct snug_workload *workloads,
                             const struct snug_measurement *const *rows,
                             const struct snug_quality *qualities, struct snug_lab_analysis *out,
                             struct snug_error *err) SNUG_CHECKED;
void snug_lab_analysis_clear(struct snug_lab_analysis *analysis);

#endif
