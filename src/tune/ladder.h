/* The effort ladder: a trial starts with little work, and goes on to the full workload when what it
 * showed is worth the seconds. What stays low is told as a biased observation.
 *
 * Low rungs are shorter where that changes least: fewer generated tokens, one block of each phase,
 * no warm-up. A prompt is never shortened: micro batches larger than it would not be seen. */
#ifndef SNUG_TUNE_LADDER_H
#define SNUG_TUNE_LADDER_H

#include "snug/engine.h"
#include "snug/tune.h"

#define SNUG__LADDER_RUNGS 1 /* below the full workload */

/* The effort of a rung, 1..SNUG__LADDER_RUNGS, made of the full one. */
void snug__ladder_effort(const struct snug_effort *full, int rung, struct snug_effort *out);

/* The role under which a trial of a rung is stored, and back; 0 for any other role. */
const char *snug__ladder_role(int rung);
int snug__ladder_rung(const char *role);

/* By how much the log speed of a rung differs from that of the full workload. */
struct snug__ladder_bias {
    double mean;
    double sd; /* of one config, with what is not known of the mean in it */
};
/* From configs that were told at this rung and then, later, at full effort. Before any there is the
 * prior: 0, at 10 %. O(n^2). */
void snug__ladder_learn(const struct snug_space *space, const struct snug_observation *told,
                        size_t n, int rung, struct snug__ladder_bias *out);
/* Was trial i of a low rung followed by one of the same config at full effort? */
bool snug__ladder_is_past(const struct snug_space *space, const struct snug_observation *told,
                          size_t n, size_t i);

#endif
