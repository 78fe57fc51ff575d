/* Seconds of a trial, learned from those told: loading the model, where a knob that needs it
 * differs from the trial before, and the work, which depends on speed. */
#ifndef SNUG_TUNE_TRIAL_COST_H
#define SNUG_TUNE_TRIAL_COST_H

#include "tune/ladder.h"
#include "tune/pool.h"

struct snug__trial_cost {
    bool is_known;  /* a trial that ran has told its seconds */
    double setup_s; /* of one load: geometric mean of those seen; 0: none was */
    /* log work seconds = work_log + slope * (log speed - speed_log). A trial of a fixed amount of
     * work has slope -1, one of fixed time 0. */
    double work_log, speed_log, slope;
    double rung_frac[SNUG__LADDER_RUNGS + 1]; /* work of a low rung by that of a trial in full */
};

/* From n trials in the order of telling; failed ones say nothing of what runs. O(n). */
void snug__trial_cost_learn(struct snug__trial_cost *out, const struct snug_observation *told,
                            size_t n);
/* Would this config load the model, after these n trials? After a failure every one does: the
 * process that held the model is gone. */
bool snug__trial_cost_must_load(const struct snug_space *space, const struct snug_observation *told,
                                size_t n, const struct snug_config *config);
/* Expected seconds; 1 while nothing is known, so that all trials cost alike. */
double snug__trial_cost_seconds(const struct snug__trial_cost *cost, double log_speed,
                                bool must_load);
/* The item of a pool that gains (its score) most per second among those that gain `enough`; `best`
 * where none is better, or where a load costs less than a tenth of a trial's work. What was told to
 * the strategy says what trials cost. only_stated: of those whose true bytes are known. */
int snug__trial_cost_choose(const struct snug_strategy *s, const struct snug__pool *pool, int best,
                            double enough, bool only_stated);

#endif
