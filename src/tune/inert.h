/* Rows that seem to change nothing, by the forest of snug/knobs.h on a strategy's own trials: while
 * they do, candidates keep them at one value. */
#ifndef SNUG_TUNE_INERT_H
#define SNUG_TUNE_INERT_H

#include "tune/strategy.h"

struct snug__inert {
    bool is_frozen[SNUG_KNOBS_MAX]; /* by dimension of the lattice */
    int64_t value[SNUG_KNOBS_MAX];  /* of the fastest trial */
    int n_frozen;
};

/* Decide anew from all that was told. A row is frozen when forests drop it (snug/knobs.h) for log
 * speed, for every other figure that the goal learns and, once something failed, for failing too,
 * and when it changes neither bytes nor an axis that is known. Nothing is frozen before 12 trials
 * ran, nor on an error. Cost: snug_knobs_rank for each of these. */
snug_status snug__inert_learn(struct snug__inert *out, struct snug_strategy *s,
                              struct snug_error *err) SNUG_CHECKED;
/* Does a config keep all frozen rows at their value? */
bool snug__inert_allows(const struct snug__inert *inert, const struct snug__lattice *lattice,
                        const struct snug_config *config);

#endif
