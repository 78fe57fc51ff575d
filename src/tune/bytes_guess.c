/* Additive guess of bytes: the default's, plus for each knob what changing it alone would change.
 *
 * Weights, cache and compute buffers depend on few knobs and mostly one at a time, so the sum is
 * close. It only orders candidates; what is asked in the end has had its true bytes stated. Long
 * rows are probed at some levels and interpolated. A change that cannot run counts as no change. */
#include "tune/bytes_guess.h"

#include <math.h>

static void probe_dim(struct snug__bytes_guess *guess, const struct snug__lattice *lattice, int d,
                      const struct snug_config *reference, snug__bytes_probe_fn probe, void *data)
{
    int r = lattice->row[d], n_levels = lattice->n_levels[d];
    int n = n_levels < SNUG__GUESS_PROBES_MAX ? n_levels : SNUG__GUESS_PROBES_MAX;
    guess->n_probes[d] = n;
    for (int i = 0; i < n; i++) {
        struct snug_config config = *reference;
        int level = (int)((int64_t)i * (n_levels - 1) / (n - 1));
        uint64_t bytes;
        config.value[r] = snug_knob_level(&lattice->space->knobs[r], level);
        guess->level[d][i] = level;
        if (probe(&config, &bytes, data))
            guess->delta[d][i] = (double)bytes - guess->bytes;
    }
}

void snug__bytes_guess_init(struct snug__bytes_guess *guess, const struct snug__lattice *lattice,
                            snug__bytes_probe_fn probe, void *data)
{
    struct snug_config reference = lattice->base;
    uint64_t bytes;
    *guess = (struct snug__bytes_guess){0};
    for (int d = 0; d < lattice->n_dims; d++)
        reference.value[lattice->row[d]] = lattice->space->knobs[lattice->row[d]].def;
    if (!probe(&reference, &bytes, data))
        return; /* no guess: everything looks small until its true bytes are stated */
    guess->bytes = (double)bytes;
    for (int d = 0; d < lattice->n_dims; d++)
        probe_dim(guess, lattice, d, &reference, probe, data);
}

double snug__bytes_guess_at(const struct snug__bytes_guess *guess,
                            const struct snug__lattice *lattice, const struct snug_config *config)
{
    double sum = guess->bytes;
    for (int d = 0; d < lattice->n_dims; d++) {
        int r = lattice->row[d], i = 0;
        int level = snug_knob_index(&lattice->space->knobs[r], config->value[r]);
        while (i + 1 < guess->n_probes[d] && guess->level[d][i + 1] <= level)
            i++;
        sum += guess->delta[d][i];
        if (i + 1 < guess->n_probes[d]) {
            double span = guess->level[d][i + 1] - guess->level[d][i];
            double share = (level - guess->level[d][i]) / span;
            sum += share * (guess->delta[d][i + 1] - guess->delta[d][i]);
        }
    }
    return fmax(sum, 1);
}
