/* Comparing two configs so that a second run would say the same.
 *
 * Both sides are loaded, each in a worker of its own where memory allows; they are visited in
 * pairs, A B or B A as the seed says, so that drift of the machine hits both alike. The ratio of a
 * pair cancels what both share. Interval: bootstrap over pairs (snug_stats_ratio_pairs).
 *
 * A process is itself a draw: where its pages lie makes it faster or slower by some per cent for as
 * long as it lives, and no number of pairs shows that. So the sides change workers from pair to
 * pair where one worker can run both, and else every pair has new workers. Source: T. Mytkowicz et
 * al., Producing wrong data without doing anything obviously wrong, ASPLOS 2009, sections 4 and 7;
 * T. Kalibera and R. Jones, Rigorous benchmarking in reasonable time, ISMM 2013, section 5. */
#ifndef SNUG_LAB_COMPARE_H
#define SNUG_LAB_COMPARE_H

#include "snug/engine.h"
#include "snug/stats.h"

#define SNUG_COMPARE_PAIRS_MAX 256
#define SNUG_COMPARE_PAIRS_MIN 6 /* fewer cannot carry a 95 % interval */

enum snug_compare_metric {
    SNUG_COMPARE_PREFILL, /* tokens per second: more is better */
    SNUG_COMPARE_DECODE,
    SNUG_COMPARE_REQUEST, /* requests per second */
    SNUG_COMPARE_N_METRICS
};
/* "prefill", "decode", "request". */
const char *snug_compare_metric_name(enum snug_compare_metric metric);

struct snug_compare_side {
    struct snug_engine *engine;
    struct snug_config config;
    /* filled by the run */
    double speed[SNUG_COMPARE_N_METRICS][SNUG_COMPARE_PAIRS_MAX]; /* of each whole pair */
    struct snug_bytes bytes;
    uint32_t warnings; /* over all visits: see snug_compare_run */
    int n_failed;
    enum snug_outcome last_outcome; /* of a failed visit */
    char last_reason[SNUG_REASON_MAX];
};

struct snug_compare_result {
    int n_pairs;                                        /* in which both ran */
    bool has_metric[SNUG_COMPARE_N_METRICS];            /* false: the workload has none of it */
    struct snug_interval ratio[SNUG_COMPARE_N_METRICS]; /* A / B in speed: > 1, A is faster */
    double noise_frac[SNUG_COMPARE_N_METRICS];          /* MAD of log pair ratios */
    enum snug_verdict verdict;                          /* of the comparison */
    uint32_t warnings;                                  /* of both sides */
    bool is_stopped;
};

/* After each visit; m is borrowed, side 0 or 1. false stops with what is there. */
typedef bool (*snug_compare_visit_fn)(int side, int i_pair, const struct snug_measurement *m,
                                      void *data, struct snug_error *err);

struct snug_compare_options {
    struct snug_workload workload;
    struct snug_effort effort; /* of one visit */
    int n_pairs;               /* at most */
    /* From n_pairs_min pairs on, stop when every interval is narrower than this to either side: a
     * rule of the width alone, so that it does not favour an answer. 0: all n_pairs. */
    double width_frac;
    int n_pairs_min;
    bool may_swap; /* each engine can run both sides without loading anew: same model, same load */
    uint64_t seed;
    const volatile int *stop;
    snug_compare_visit_fn on_visit;
    void *data;
};

/* Visit both sides n_pairs times and judge. A rule that tells of the set-up (another config, cache
 * hits, output length, swapping, heat) counts when any visit shows it; one that tells of the moment
 * (quota, other load, paging) when more than a fifth of the visits do, for a disturbed pair moves a
 * median little. Fewer than SNUG_COMPARE_PAIRS_MIN whole pairs are no comparison: INVALID.
 * Errors  SNUG_IO, SNUG_INTERRUPTED from the engine; failed visits are none, they are counted. */
snug_status snug_compare_run(struct snug_compare_side side[2],
                             const struct snug_compare_options *options,
                             struct snug_compare_result *out, struct snug_error *err) SNUG_CHECKED;

/* "A is 1.07 times faster than B (95 % interval 1.05 to 1.09)", "no difference shown between ...",
 * in the manner of hyperfine. Returns out. */
const char *snug_compare_words(const struct snug_interval *ratio, const char *a, const char *b,
                               char *out, size_t cap);

#endif
