/* In which order the members of a front really stand: they are measured again in rounds, each
 * beside its rival, until each rival's order is known. Pure: it counts, others measure.
 *
 * A member's rival is the fastest of those that need less memory: it must be beaten, or the member
 * has no place on the front. Rivals are compared round by round, so that drift of the machine and
 * the luck of a process, which a round shares, cancel. */
#ifndef SNUG_TUNE_FRONT_ORDER_H
#define SNUG_TUNE_FRONT_ORDER_H

#include "snug/stats.h"
#include "snug/tune.h"

#define SNUG__ORDER_MEMBERS_MAX 32
#define SNUG__ORDER_ROUNDS_MAX 32

struct snug__order {
    int n_members, n_rounds;
    struct snug_point point[SNUG__ORDER_MEMBERS_MAX]; /* as believed at first, by bytes ascending */
    /* Speed in each round; 0: not measured in it, below 0: it failed. */
    double speed[SNUG__ORDER_MEMBERS_MAX][SNUG__ORDER_ROUNDS_MAX];
};

/* Begin with n members by bytes ascending; of more than SNUG__ORDER_MEMBERS_MAX the fastest. */
void snug__order_init(struct snug__order *order, const struct snug_point *points, int n);
/* A member was measured again; speed 0: it failed. One that the running round has already begins
 * the next; past SNUG__ORDER_ROUNDS_MAX rounds nothing is kept. */
void snug__order_add(struct snug__order *order, int member, double speed);
/* Members to measure in the next round, rivals beside one another, the closest first:
 * out_members[SNUG__ORDER_MEMBERS_MAX]. 0: all orders are known, or no round is left. */
int snug__order_next(const struct snug__order *order, int *out_members);
/* Is the order of every pair of rivals known: their interval apart, or within 1 %? */
bool snug__order_is_known(const struct snug__order *order);
/* Median of what was measured again, its interval at 95 %, and of how many; before that, what was
 * believed. All 0 for a member that failed when it was run again. */
struct snug_interval snug__order_speed(const struct snug__order *order, int member, int *out_n);

#endif
