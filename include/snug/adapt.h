/* snug/adapt.h: which measured config to serve with under the budget of this moment, and when to
 * change it. Pure: no clock, no reading; the same calls give the same decisions.
 *
 * A member is a config that was measured and never failed. What it needs is held against what is
 * free now, our own memory added back; what it does is its speed at the load nearest to the present
 * one, times slow(n_threads, CPUs free now) / slow(n_threads, CPUs free then), at most 1:
 *
 *   slow = 1                    where the threads fit on the free CPUs (a quarter CPU is ignored)
 *   slow = cpus / n_threads     for a single thread
 *   slow = cpus / n_threads / 4 for several: ggml's threads meet at a barrier after every operation
 *                               and spin there, so that one without a CPU stops all of them
 *
 * While it serves, requests tell what it really does, and predictions are corrected by it: see
 * snug_adapt_observe.
 *
 * The member of the greatest speed that fits and keeps the limits is never a dominated one, so that
 * a front is not asked for: with a thread count the front itself changes with the load. */
#ifndef SNUG_ADAPT_H
#define SNUG_ADAPT_H

#include "snug/base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SNUG_ADAPT_MEMBERS_MAX 64
#define SNUG_ADAPT_POINTS_MAX 8

/* What trials at one level of load gave. */
struct snug_adapt_point {
    double other_frac;              /* share of the CPUs that other processes had, 0..1 */
    double speed;                   /* of the objective, median */
    double ttft_s, tpot_s;          /* upper limits: the worst of its trials; 0: not measured */
    double prefill_tps, decode_tps; /* medians, of all sequences together; 0: not measured */
    double prefill_frac;            /* share of prefill in the time that speed is made of, 0..1 */
};

struct snug_adapt_member {
    uint64_t bytes; /* upper limit of host memory, mapped weights included */
    int n_threads;  /* that meet at a barrier */
    struct snug_adapt_point points[SNUG_ADAPT_POINTS_MAX];
    int n_points; /* 1 or more */
};

struct snug_adapt_rules {
    double margin_frac;  /* a new member must leave so much of its need free besides */
    double gain_frac;    /* ... and be so much faster, unless the present one does not fit */
    double hold_s;       /* ... all the time for so long; for less where waiting loses what a start
                            costs sooner, but for 0.5 s */
    double hold_more_s;  /* at least so long for a member with more threads; doubles each time these
                            are given up again within 4 s */
    double dwell_s;      /* least time between changes for speed; less where it is much faster, none
                            after one that memory forced */
    double dwell_starts; /* and that many times what the last change took to start */
    double ttft_s, tpot_s; /* hard limits, 0: none */
};
/* 5 %, 10 %, 1.5 s, 0.75 s, 3 s, 5, none. */
void snug_adapt_rules_default(struct snug_adapt_rules *out);

/* The budget of this moment. */
struct snug_adapt_view {
    bool knows_memory, knows_cpus; /* what is not known limits nothing */
    double free_bytes; /* available less reserve plus our own; below 0 when the reserve is used */
    double cpus_free, cpus_all; /* > 0; free ones are what others leave, ours included */
};

/* What a request told of the member that answered it. */
struct snug_adapt_sample {
    int member;
    /* Of all sequences together, as the trials' are, and the seconds that this was seen for; 0: not
     * seen. */
    double prefill_tps, prefill_s, decode_tps, decode_s;
};

enum snug_adapt_phase { SNUG_ADAPT_PREFILL, SNUG_ADAPT_DECODE, SNUG_ADAPT_N_PHASES };
#define SNUG_ADAPT_CELLS_MAX 32

/* A member at a level of load, as its requests saw it: log(observed / predicted) of each phase. */
struct snug_adapt_cell {
    int member, level;
    struct snug_adapt_seen {
        int n;                           /* requests; 0: nothing */
        double seen_s;                   /* clock of the last of them */
        double weight_s, mean, var, tps; /* seconds that count then; of the log; speed itself */
    } seen[SNUG_ADAPT_N_PHASES];
};

/* Zero state, but for snug_adapt_init. */
struct snug_adapt_state {
    int present;        /* member that serves, or -1 */
    double since_s;     /* since when */
    double start_s;     /* what its start took */
    int n_threads_last; /* of the last one that served; 0: none yet */
    int wanted;         /* a better one, or -1, and since when it is better all the time */
    double wanted_since_s;
    double hold_more_s;  /* as it stands now */
    bool was_forced;     /* the last change was for memory, not for speed */
    double more_since_s; /* last change to more threads; -INFINITY: none */
    struct snug_adapt_record {
        int n_failures;  /* starts and runs in a row */
        double failed_s; /* the last of them */
    } records[SNUG_ADAPT_MEMBERS_MAX];
    struct snug_adapt_cell cells[SNUG_ADAPT_CELLS_MAX];
    int n_cells;
};

enum snug_adapt_action {
    SNUG_ADAPT_KEEP, /* the present one; with none present: wait */
    SNUG_ADAPT_SWITCH,
    SNUG_ADAPT_SWITCH_NOW /* the present one does not fit: do not wait for it for long */
};

struct snug_adapt_decision {
    enum snug_adapt_action action;
    int member;       /* to serve with from now on; present when kept; -1: all rest, wait */
    bool is_fitting;  /* false: nothing fits, and this is the smallest */
    bool is_together; /* with the present one it fits in memory, so that no request has to wait */
    double gain;      /* in expected speed, 1 for twice as fast; 0 where that is not the reason */
    char reason[256];
};

void snug_adapt_init(struct snug_adapt_state *state, const struct snug_adapt_rules *rules);

/* What a member would do now by its trials: its nearest point, scaled. */
struct snug_adapt_point snug_adapt_predict(const struct snug_adapt_member *member,
                                           const struct snug_adapt_view *view);

/* A request of a member was answered under this view, and nothing else of ours ran beside it.
 * Its log ratio to the prediction (bounded to a factor of 8) goes into the mean of its cell,
 * weighed by seconds; the last 12 s count. A cell counts from its third request on and one second.
 */
void snug_adapt_observe(struct snug_adapt_state *state, const struct snug_adapt_member *members,
                        const struct snug_adapt_view *view, const struct snug_adapt_sample *sample,
                        double now_s);

/* What a member would do now, and what of that was seen. */
struct snug_adapt_outlook {
    struct snug_adapt_point predicted; /* by its trials alone */
    struct snug_adapt_point expected;  /* corrected; its times are upper limits */
    double ratio[SNUG_ADAPT_N_PHASES]; /* corrected / predicted; 1: nothing is known */
    double tps[SNUG_ADAPT_N_PHASES];   /* of its requests at this level; 0: none counts */
};
/* Of all members. What was seen of one says a third of itself about any other, five sixths about
 * one of the same thread count; half as much with each quarter of the CPUs between the loads: the
 * mean of a Gaussian process over members and levels, from no more than SNUG_ADAPT_CELLS_MAX cells.
 * What was seen counts half after 10 min. Cost: microseconds to some 20 us with every cell in use.
 */
void snug_adapt_look_ahead(const struct snug_adapt_state *state,
                           const struct snug_adapt_member *members, int n,
                           const struct snug_adapt_view *view, double now_s,
                           struct snug_adapt_outlook *out);

/* Decide, four times a second or more often; now_s never falls (one that does is taken as no time
 * passed).
 * Only what is remembered of wanted members changes in state; the caller reports what came of it.
 * n: 1 .. SNUG_ADAPT_MEMBERS_MAX. Cost: microseconds. */
void snug_adapt_decide(struct snug_adapt_state *state, const struct snug_adapt_rules *rules,
                       const struct snug_adapt_member *members, int n,
                       const struct snug_adapt_view *view, double now_s,
                       struct snug_adapt_decision *out);

/* A member serves from now on; its start took start_s. */
void snug_adapt_started(struct snug_adapt_state *state, const struct snug_adapt_rules *rules,
                        const struct snug_adapt_member *members, int member, double start_s,
                        double now_s);
/* A member did not start, or the one that served died: it is left alone for 5 s, twice that after
 * the next failure, at most 10 min; where nothing else serves or is left, a fifth of that. */
void snug_adapt_failed(struct snug_adapt_state *state, int member, double now_s);
/* Nothing serves: stopped on purpose, before the next is started. */
void snug_adapt_stopped(struct snug_adapt_state *state);

#ifdef __cplusplus
}
#endif
#endif
