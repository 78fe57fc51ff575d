/* What past tasks expect of the present one: a process per past task, fitted once in the space of
 * the present, and weights by how each ranks what was measured here. */
#ifndef SNUG_TUNE_TRANSFER_H
#define SNUG_TUNE_TRANSFER_H

#include "tune/gp.h"
#include "tune/lattice.h"
#include "snug/tune.h"

#define SNUG__TRANSFER_BEST_MAX 16  /* configs of a past front */
#define SNUG__TRANSFER_TRIALS_MIN 3 /* good trials that a task must have left to teach anything */

struct snug__transfer;

/* From the pasts of a problem. *out is NULL when none of them can teach: too few good trials that
 * mean anything here.
 * Cost  a fit of at most SNUG_PAST_TRIALS_MAX points for each */
snug_status snug__transfer_new(const struct snug_problem *problem,
                               const struct snug__lattice *lattice, struct snug__transfer **out,
                               struct snug_error *err) SNUG_CHECKED;
void snug__transfer_free(struct snug__transfer *t);

/* A config of a past space in the rows of a lattice; false: it means nothing here. */
bool snug__transfer_config(const struct snug_space *past, const struct snug_config *config,
                           const struct snug__lattice *here, struct snug_config *out);

/* The k-th of the configs that past tasks found best, on the lattice; false past the last. */
bool snug__transfer_best(const struct snug__transfer *t, int k, struct snug_config *out);
/* Lengths and noise that the past tasks had, on average; false where some are of whole speeds: what
 * is left here once they have been taken out is of another kind. */
bool snug__transfer_params(const struct snug__transfer *t, struct snug_gp_params *out);

/* Expected log speed at m points x, [m][n_dims], less the share that a cost model explains and up
 * to a constant: the pasts at their present weights. */
snug_status snug__transfer_expect(struct snug__transfer *t, const double *x, size_t m, double *out,
                                  struct snug_error *err) SNUG_CHECKED;
/* Remember the answer to m points that will be asked for again; weights may change in between. */
snug_status snug__transfer_keep(struct snug__transfer *t, const double *x, size_t m,
                                struct snug_error *err) SNUG_CHECKED;
/* The expectation at point i of those kept. */
double snug__transfer_kept(const struct snug__transfer *t, size_t i);

/* A good trial was told, at features x; at most SNUG_GP_POINTS_MAX. Its expectation at the present
 * weights is asked for by its number. */
snug_status snug__transfer_tell(struct snug__transfer *t, const double *x,
                                struct snug_error *err) SNUG_CHECKED;
void snug__transfer_remove_last(struct snug__transfer *t);
double snug__transfer_told(const struct snug__transfer *t, int i);
/* Weigh the pasts anew: y[n] measured and own[n] what the target's own model expects of each from
 * the others, both less `base`[n], what the cost model explains of each. */
void snug__transfer_weigh(struct snug__transfer *t, const double *y, const double *own,
                          const double *base);
/* How far the pasts together are to be believed before evidence is looked at, 0 to 1. */
double snug__transfer_trust(const struct snug__transfer *t);

#endif
