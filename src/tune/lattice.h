/* The lattice of configs a strategy chooses from: every tuned row at one of its levels, all other
 * rows at a base value. */
#ifndef SNUG_TUNE_LATTICE_H
#define SNUG_TUNE_LATTICE_H

#include "snug/trial.h"

struct snug__lattice {
    const struct snug_space *space; /* kept */
    struct snug_config base;
    int n_dims;
    int row[SNUG_KNOBS_MAX]; /* dimension -> row of the space */
    int n_levels[SNUG_KNOBS_MAX];
    bool is_named[SNUG_KNOBS_MAX]; /* ENUM and BOOL: no order between values */
    double n_configs;              /* product of n_levels; may be past any integer */
};

#define SNUG__NEIGHBOURS_MAX (SNUG_KNOBS_MAX * SNUG_KNOB_VALUES_MAX)

void snug__lattice_init(struct snug__lattice *lattice, const struct snug_space *space,
                        const struct snug_config *base);
/* Config number `index` in 0..n_configs-1, first dimension fastest; needs n_configs < 2^53. */
void snug__lattice_at(const struct snug__lattice *lattice, uint64_t index, struct snug_config *out);
/* The cell that a point of the unit cube falls in, u[n_dims]. */
void snug__lattice_from_unit(const struct snug__lattice *lattice, const double *u,
                             struct snug_config *out);
/* x[n_dims]: ordered dims as position between levels, scaled to [0, 1]; named dims as the value. */
void snug__lattice_features(const struct snug__lattice *lattice, const struct snug_config *config,
                            double *x);
/* Configs one knob away: named dims to every other value, ordered dims one level up and down, long
 * ones also an eighth of their range. Returns how many, at most SNUG__NEIGHBOURS_MAX. */
int snug__lattice_neighbours(const struct snug__lattice *lattice, const struct snug_config *config,
                             struct snug_config *out);
/* Are all rows that are not tuned at their base value? */
bool snug__lattice_has(const struct snug__lattice *lattice, const struct snug_config *config);
uint64_t snug__lattice_hash(const struct snug__lattice *lattice, const struct snug_config *config);

#endif
