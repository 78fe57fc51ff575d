/* The effort ladder: a trial starts with little work, and goes on to more, at last to the full
 * workload, while what it showed is worth the seconds. What stays low is told as a biased
 * observation.
 *
 * Low rungs are shorter where that changes least: at most 16 generated tokens, then at most 64, one
 * block of each phase, no warm-up. A prompt is never shortened: micro batches larger than
 * it would not be seen. */
#ifndef SNUG_TUNE_LADDER_H
#define SNUG_TUNE_LADDER_H

#include "snug/engine.h"
#include "snug/tune.h"

#define SNUG__LADDER_RUNGS 2 /* below the full workload */

/* The effort of a rung, 1..SNUG__LADDER_RUNGS, made of the full one. */
void snug__ladder_effort(const struct snug_effort *full, int rung, struct snug_effort *out);

/* The rung after this one (0: nothing is measured yet), or 0 where the full workload is next: one
 * that generates no more tokens than a rung may is not measured twice. */
int snug__ladder_next(const struct snug_workload *workload, int rung);

/* The role under which a trial of a rung is stored, and back; 0 for any other role. */
const char *snug__ladder_role(int rung);
int snug__ladder_rung(const char *role);

/* By how much the log speed of a rung differs from that of the full workload. */
struct snug__ladder_bias {
    double mean;
    double sd; /* of one config, with what is not known of the mean in it */
};
/* From configs that were told at this rung and then, later, at full effort. Before any there is the
 * prior: for the first rung 0, at 10 %; for another half of what the rung below shows. O(n^2). */
void snug__ladder_learn(const struct snug_space *space, const struct snug_observation *told,
                        size_t n, int rung, struct snug__ladder_bias *out);
/* Is an effort (0: in full) more than that of a low rung? */
bool snug__ladder_is_more(int rung, int than);
/* The highest low rung at which a config was told; 0: none. Its trial goes on from there. */
int snug__ladder_reached(const struct snug_space *space, const struct snug_observation *told,
                         size_t n, const struct snug_config *config);
/* Was trial i of a low rung followed by one of the same config at more effort? */
bool snug__ladder_is_past(const struct snug_space *space, const struct snug_observation *told,
                          size_t n, size_t i);

#endif
