/* snug/knobs.h: which knobs matter, from trials that were run anyway.
 *
 * A random forest is fitted to a response (log of a metric) over the knobs' values, many times on
 * resampled trials. Each time every knob stands beside a copy of itself with its values shuffled
 * over the trials: what the copy seems to matter is what chance gives (after Kursa and Rudnicki,
 * Feature selection with the Boruta package, J. Stat. Softw. 36, 2010). */
#ifndef SNUG_KNOBS_H
#define SNUG_KNOBS_H

#include "snug/base.h"
#include "snug/stats.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SNUG_KNOBS_CONFIGS_MIN 8 /* different ones: with fewer an interval says nothing */
#define SNUG_KNOBS_ROWS_MAX 4096
#define SNUG_KNOBS_MAX_RANKED 32 /* knobs */
#define SNUG_KNOBS_NAMED_MAX 64  /* values of a knob without an order */
#define SNUG_KNOBS_PAIRS_MAX 3

/* A knob as the trials show it: its values, each a level 0 .. n_levels - 1. Levels of a knob that
 * is not named are in the order of their values; only their order counts. */
struct snug_knobs_knob {
    bool is_named;
    int n_levels; /* >= 1; with one level the knob was never varied */
};

struct snug_knobs_problem {
    const struct snug_knobs_knob *knobs;
    int n_knobs;
    const int *levels; /* [n_rows][n_knobs]; a row is a config, in one task */
    /* [n_rows]: the same number for rows of the same config, of which the first one's levels count.
     * They are no independent trials: they are drawn together. NULL: each row by itself. */
    const int *group;
    const double *y; /* [n_rows]: the response, finite; log of a metric, or 1 failed and 0 not */
    size_t n_rows;
    double negligible; /* a mean effect on y that is not worth a knob; 0.01 is 1 % of a metric */
    uint64_t seed;
};

enum snug_knobs_decision {
    SNUG_KNOBS_KEEP, /* told apart from chance, however small: the whole interval is above it */
    /* not told apart from chance, and neither the interval nor shuffled copies reach past what is
     * negligible, so that more would have been seen */
    SNUG_KNOBS_DROP,
    SNUG_KNOBS_OPEN /* not told apart from chance, and it could still matter: try more */
};
/* "keep", "drop", "open". */
const char *snug_knobs_decision_name(enum snug_knobs_decision decision);

struct snug_knobs_rank {
    struct snug_interval effect; /* mean over rows of |Shapley value|, in units of y; 95 % */
    struct snug_interval share;  /* of variance over all combinations of levels, 0..1; 95 % */
    double chance;               /* effect of a shuffled copy: median over rounds */
    enum snug_knobs_decision decision;
};

/* What two knobs do together beyond what each does alone. */
struct snug_knobs_pair {
    int a, b;
    struct snug_interval share; /* as above */
};

struct snug_knobs_ranking {
    int n_knobs, n_pairs;
    struct snug_knobs_rank rank[SNUG_KNOBS_MAX_RANKED]; /* in the order of the knobs */
    struct snug_knobs_pair pair[SNUG_KNOBS_PAIRS_MAX];  /* greatest middle first */
    /* Share of the variance of rows that a round left out which its forest foresaw; below 0: worse
     * than their mean. */
    double foreseen_frac;
    /* Shapley values of rows, mean over rounds: value[i * n_knobs + k] is of row row[i]. Of every
     * row, or of 128 spread evenly. */
    size_t n_explained, *row;
    double *value;
};

/* Rank the knobs. Same problem: same ranking, bit for bit. *out_ranking only on success; release
 * with snug_knobs_ranking_clear.
 * Errors  SNUG_INFEASIBLE: fewer than SNUG_KNOBS_CONFIGS_MIN groups; SNUG_BAD_INPUT: past a cap, a
 *         level out of range, a response that is not finite.
 * Cost    64 rounds of 16 trees on at most 512 rows, 128 explained: for 10 knobs 20 ms at 16 rows,
 *         0.2 s at 48, at most 4 s */
snug_status snug_knobs_rank(const struct snug_knobs_problem *problem,
                            struct snug_knobs_ranking *out_ranking,
                            struct snug_error *err) SNUG_CHECKED;
void snug_knobs_ranking_clear(struct snug_knobs_ranking *ranking);

/* One decision from those of several metrics: keep when any says keep, drop when all say drop. */
enum snug_knobs_decision snug_knobs_decide(const enum snug_knobs_decision *decisions, size_t n);

#ifdef __cplusplus
}
#endif
#endif
