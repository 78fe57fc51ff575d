/* A cheap guess of a config's bytes, so that only promising configs are asked for the true ones
 * (the engine needs some 10 ms for a config it has not seen). */
#ifndef SNUG_TUNE_BYTES_GUESS_H
#define SNUG_TUNE_BYTES_GUESS_H

#include "tune/lattice.h"

#define SNUG__GUESS_PROBES_MAX SNUG_KNOB_VALUES_MAX

struct snug__bytes_guess {
    double bytes; /* of the default config; 0 when it cannot run */
    int n_probes[SNUG_KNOBS_MAX];
    int level[SNUG_KNOBS_MAX][SNUG__GUESS_PROBES_MAX];    /* ascending */
    double delta[SNUG_KNOBS_MAX][SNUG__GUESS_PROBES_MAX]; /* bytes more than the default's */
};

/* Bytes of a config, false when it cannot run: snug__strategy_can_run behind a plain signature. */
typedef bool (*snug__bytes_probe_fn)(const struct snug_config *config, uint64_t *out, void *data);

/* State the default and its one-knob changes: at most SNUG__GUESS_PROBES_MAX + 1 per dim. */
void snug__bytes_guess_init(struct snug__bytes_guess *guess, const struct snug__lattice *lattice,
                            snug__bytes_probe_fn probe, void *data);
/* Never below 1. */
double snug__bytes_guess_at(const struct snug__bytes_guess *guess,
                            const struct snug__lattice *lattice, const struct snug_config *config);

#endif
