/* snug/tune_loop.h: a whole tuning session: default, fit, search, confirmation. */
#ifndef SNUG_TUNE_LOOP_H
#define SNUG_TUNE_LOOP_H

#include "snug/engine.h"
#include "snug/stats.h"
#include "snug/store.h"
#include "snug/tune.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One trial of the session, without its gaps. */
struct snug_tune_trial {
    int64_t id; /* in the store */
    const char *role;
    struct snug_config config;
    struct snug_measurement measurement; /* gaps_s is NULL */
    int rung;                            /* of the effort ladder; 0: the full workload */
    double speed;               /* of the lead; 0 when not OK, and at a low rung: no result */
    double axis[SNUG_AXES_MAX]; /* values of the goal's axes; NAN: not known */
    bool keeps_limits;          /* OK, and no value measured is past its limit */
    bool is_safe;               /* nor is a 95 % upper limit: it may be picked */
    double hypervolume;         /* of everything up to and with this one */
    struct snug_ask_info ask;   /* what the strategy expected; zero for others */
};

/* Pick against another config, re-measured alternately. */
struct snug_tune_confirm {
    const char *against;        /* "default" or "fit"; NULL: not done */
    struct snug_interval ratio; /* pick / other; > 1 is faster */
    int n_pairs;
    double speed_best, speed_other; /* medians over the pairs, in the units of a trial's speed */
};

/* A member of the front, measured again after the search. */
struct snug_tune_repeat {
    struct snug_config config;
    double speed; /* 0: it failed */
    double wall_s;
};

/* A member of the declared front. */
struct snug_tune_member {
    int i_trial;                /* that showed it first */
    struct snug_interval speed; /* median of its repeats at 95 %; of one, or none: a point */
    int n_repeats;              /* 0: what the strategy believes of it */
};
#define SNUG_TUNE_MEMBERS_MAX 32

struct snug_tune_result {
    int64_t session_id;
    struct snug_tune_trial *trials; /* confirm trials not included */
    int n_trials;
    int i_default, i_fit, i_best, i_pick; /* index, or -1. pick: the best that the check upheld */
    struct snug_front_bounds bounds;
    double ref[SNUG_AXES_MAX]; /* of the goal's axes, as in snug_problem */
    struct snug_tune_confirm confirm[2];
    int n_confirm;
    struct snug_tune_repeat *repeats; /* in the order of time */
    int n_repeats;
    /* By bytes and speed ascending; none where no front was measured again. i_best is the last. */
    struct snug_tune_member members[SNUG_TUNE_MEMBERS_MAX];
    int n_members;
    bool is_order_known;  /* of the members: none could as well stand elsewhere, or is within 1 % */
    bool is_stopped;      /* by the user */
    char end_reason[128]; /* "16 trials", "5 min", "nothing left that promises 1 %" */
    char fit_note[256];   /* why there is no fit trial; "" else */
    char limit_note[512]; /* which limit kept everything from being picked, by how much; "" else */
    double elapsed_s;
};
void snug_tune_result_clear(struct snug_tune_result *result);

enum snug_tune_event_kind { SNUG_TUNE_BEGIN, SNUG_TUNE_END, SNUG_TUNE_FRONT, SNUG_TUNE_CONFIRM };

/* Before and after each trial; before each of the front's and of the check's. */
struct snug_tune_event {
    enum snug_tune_event_kind kind;
    const char *role;
    const struct snug_config *config;
    const struct snug_tune_trial *trial; /* END only */
    int n_done, n_planned;               /* search trials */
    double best_speed, default_speed;    /* 0: none yet */
    double elapsed_s;
};
typedef void (*snug_tune_event_fn)(const struct snug_tune_event *event, void *data);

struct snug_tune_options {
    struct snug_engine *engine;
    struct snug_store *store;
    int64_t task_id;
    const char *model_path;
    struct snug_workload workload;
    struct snug_goal goal; /* configs are picked by its lead; n_axes 0: request and memory */
    snug_kld_fn kld;       /* where the goal looks at KLD; see snug_problem */
    void *kld_data;
    uint64_t memory_limit_bytes;    /* 0: none */
    const struct snug_config *base; /* knobs set by hand, or NULL */
    const bool *is_fixed;           /* per row of the space: stays at base in every trial, default
                                       and fit too; NULL: none does */
    int n_trials;                   /* search trials, besides default and fit */
    double time_s;                  /* of everything but the check at the end; 0: no limit */
    int n_front_trials;             /* at most so many short ones that measure members of the front
                                       again, of a plain goal, in the last fifth of time_s; 0: none
                                     */
    const char *strategy;
    snug_prior_fn prior; /* NULL: none; see snug_problem */
    void *prior_data;
    const char *prior_source;      /* what it is, to be told apart on a resume; NULL: none */
    const struct snug_past *pasts; /* see snug_problem */
    int n_pasts;
    const char *past_source; /* which they are, to be found again on a resume; NULL: none */
    uint64_t seed;
    struct snug_effort effort;
    bool drops_inert;    /* see snug_problem */
    bool has_ladder;     /* trials of the search begin at a low rung of the effort ladder (role
                            "probe", at most 16 tokens), and go on to the next ("probe64", at most
                            64) and to the full workload where that promises more per second; for a
                            plain goal only */
    int n_confirm_pairs; /* 0: no confirmation */
    bool is_resumed;
    const volatile int *stop;
    snug_tune_event_fn on_event;
    void *event_data;
};

/* Run it. Every trial is stored before the next begins; with is_resumed the trials of the last
 * unfinished session of this task are taken over first; its knobs set by hand must be the same.
 * Ends OK also when the user stopped it. A default that does not fit is a trial like others: the
 * search goes on, and when nothing ran i_best stays -1.
 *
 * Errors  SNUG_NOT_FOUND: nothing to resume; SNUG_BAD_INPUT: other knobs set by hand, or another
 *         goal, than the session to resume, or a ladder for a goal that is not plain;
 *         SNUG_UNSUPPORTED: energy is an axis, and the first trial that ran came without; SNUG_IO:
 *         the store cannot be written (trials so far are in it). */
snug_status snug_tune_run(const struct snug_tune_options *options, struct snug_tune_result *out,
                          struct snug_error *err) SNUG_CHECKED;
/* Trials on the front of the goal, limits kept, as measured; by bytes ascending, for a goal that is
 * not plain the best of its first axis first. out_index has room for n_trials. */
snug_status snug_tune_front(const struct snug_tune_result *result, const struct snug_goal *goal,
                            size_t *out_index, size_t *out_n, struct snug_error *err) SNUG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
