/* The running strategy "snug", in two files: what it learns (snug_model.c) and how it chooses
 * (snug.c). */
#ifndef SNUG_TUNE_SNUG_MODEL_H
#define SNUG_TUNE_SNUG_MODEL_H

#include "tune/axes.h"
#include "tune/ehvi.h"
#include "tune/gp.h"
#include "tune/inert.h"
#include "tune/pool.h"
#include "tune/transfer.h"

/* The weight of the prior, and of the past, is one of so many steps from 0 to 1. */
#define SNUG__WEIGHT_STEPS 8
#define SNUG__WEIGHTS (SNUG__WEIGHT_STEPS + 1)

struct snug__model_state {
    struct snug_gp *gp;       /* log speed of good trials */
    struct snug_gp *failures; /* 0 or 1 of all trials; fitted once there is a failure */
    int n_failed, n_low;      /* n_low: points of the GP that are of low rungs */
    struct snug__axes *axes;  /* NULL: the goal is speed and bytes */
    struct snug__pool pool;
    int n_start;
    bool is_wide;                               /* the next ask looks at frozen rows too */
    struct snug__inert inert;                   /* as of the last trial that let it be decided */
    int told_of_point[SNUG_STRATEGY_TELLS_MAX]; /* GP point -> trial */
    double y[SNUG_STRATEGY_TELLS_MAX], prior[SNUG_STRATEGY_TELLS_MAX]; /* [GP point] log speed */
    double prior_level;              /* mean of what the prior said of good trials */
    double prior_weight;             /* 0 to 1; 0 without a prior */
    struct snug__transfer *transfer; /* NULL: no past */
    double past_weight;              /* 0 to 1; 0 without a past */
    double rest[SNUG__WEIGHTS * SNUG__WEIGHTS * SNUG_STRATEGY_TELLS_MAX]; /* [weights][GP point] */
    double x[SNUG_STRATEGY_TELLS_MAX * SNUG_KNOBS_MAX]; /* [n_told][n_dims] features */
    struct snug_point points[SNUG_STRATEGY_TELLS_MAX];  /* [n_told]; speed 0 for failures */
    double front_bytes[SNUG_STRATEGY_TELLS_MAX], front_log[SNUG_STRATEGY_TELLS_MAX];
    size_t front_told[SNUG_STRATEGY_TELLS_MAX], index[SNUG_STRATEGY_TELLS_MAX];
    double mean[SNUG_STRATEGY_TELLS_MAX], sd[SNUG_STRATEGY_TELLS_MAX];
    double pool_mean[SNUG__POOL_WHOLE_MAX], pool_sd[SNUG__POOL_WHOLE_MAX];
    struct snug_ehvi_front front;
};

static inline int at_least(int a, int b)
{
    return a > b ? a : b;
}

static inline int at_most(int a, int b)
{
    return a < b ? a : b;
}

/* Learn from the trial told last. */
snug_status snug__model_tell(struct snug_strategy *s, struct snug_error *err) SNUG_CHECKED;
/* The speed believed of every trial told: see the strategy's kind. */
snug_status snug__model_believe(struct snug_strategy *s, double *out_speed,
                                struct snug_error *err) SNUG_CHECKED;
/* Put the model's mean in the place of measured speeds. */
snug_status snug__model_smooth(struct snug_strategy *s, struct snug_error *err) SNUG_CHECKED;
/* What the cost model says of a config; NAN: nothing. */
double snug__model_ask_prior(const struct snug_strategy *s, const struct snug_config *config);
/* The same in log speed: where it says nothing, what it says on average. */
double snug__model_prior_or_level(const struct snug__model_state *st, double prior);
/* What prior and past, weighed, expect of GP point i before its own process is asked. */
double snug__model_expected(const struct snug__model_state *st, int i);

#endif
