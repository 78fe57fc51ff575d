/* Lattice of configs: levels, features, neighbours.
 *
 * A feature is where a value lies between the levels of its row, so a LOG2 row is on a log scale
 * and an INT row on a linear one, both in [0, 1]. Values off the lattice (a user's own, or --fit's)
 * get the position they have between two levels. */
#include "tune/lattice.h"

#include <math.h>

static bool is_named_kind(enum snug_knob_kind kind)
{
    return kind == SNUG_KNOB_ENUM || kind == SNUG_KNOB_BOOL;
}

void snug__lattice_init(struct snug__lattice *lattice, const struct snug_space *space,
                        const struct snug_config *base)
{
    *lattice = (struct snug__lattice){.space = space, .base = *base, .n_configs = 1};
    for (int r = 0; r < space->n; r++) {
        const struct snug_knob *knob = &space->knobs[r];
        int n_levels = snug_knob_n_levels(knob);
        if (!knob->is_tuned || n_levels < 2)
            continue;
        int d = lattice->n_dims++;
        lattice->row[d] = r;
        lattice->n_levels[d] = n_levels;
        lattice->is_named[d] = is_named_kind(knob->kind);
        lattice->n_configs *= n_levels;
    }
}

static void set_level(const struct snug__lattice *lattice, int d, int level,
                      struct snug_config *config)
{
    int r = lattice->row[d];
    config->value[r] = snug_knob_level(&lattice->space->knobs[r], level);
}

void snug__lattice_at(const struct snug__lattice *lattice, uint64_t index, struct snug_config *out)
{
    *out = lattice->base;
    for (int d = 0; d < lattice->n_dims; d++) {
        uint64_t n = (uint64_t)lattice->n_levels[d];
        set_level(lattice, d, (int)(index % n), out);
        index /= n;
    }
}

void snug__lattice_from_unit(const struct snug__lattice *lattice, const double *u,
                             struct snug_config *out)
{
    *out = lattice->base;
    for (int d = 0; d < lattice->n_dims; d++)
        set_level(lattice, d, (int)(u[d] * lattice->n_levels[d]), out);
}

/* Fractional level of a value of an ordered row. */
static double position(const struct snug_knob *knob, int n_levels, int64_t value)
{
    int i = snug_knob_index(knob, value);
    int64_t at = snug_knob_level(knob, i);
    int next = value > at ? i + 1 : i - 1;
    if (value == at || next < 0 || next >= n_levels)
        return i;
    double a = (double)at, b = (double)snug_knob_level(knob, next), v = (double)value;
    if (knob->kind == SNUG_KNOB_LOG2 && a > 0 && b > 0 && v > 0)
        return i + (next - i) * (log2(v / a) / log2(b / a));
    return i + (next - i) * ((v - a) / (b - a));
}

void snug__lattice_features(const struct snug__lattice *lattice, const struct snug_config *config,
                            double *x)
{
    for (int d = 0; d < lattice->n_dims; d++) {
        int r = lattice->row[d], n_levels = lattice->n_levels[d];
        const struct snug_knob *knob = &lattice->space->knobs[r];
        if (lattice->is_named[d])
            x[d] = (double)config->value[r];
        else
            x[d] = position(knob, n_levels, config->value[r]) / (n_levels - 1);
    }
}

int snug__lattice_neighbours(const struct snug__lattice *lattice, const struct snug_config *config,
                             struct snug_config *out)
{
    int n = 0;
    for (int d = 0; d < lattice->n_dims; d++) {
        int r = lattice->row[d], n_levels = lattice->n_levels[d], far = n_levels / 8;
        int at = snug_knob_index(&lattice->space->knobs[r], config->value[r]);
        for (int k = 0; lattice->is_named[d] && k < n_levels; k++)
            if (k != at) {
                out[n] = *config;
                set_level(lattice, d, k, &out[n++]);
            }
        const int step[4] = {-far, -1, 1, far};
        for (int k = 0; !lattice->is_named[d] && k < 4; k++) {
            bool is_double = (k == 0 || k == 3) && far < 2;
            if (is_double || at + step[k] < 0 || at + step[k] >= n_levels)
                continue;
            out[n] = *config;
            set_level(lattice, d, at + step[k], &out[n++]);
        }
    }
    return n;
}

bool snug__lattice_has(const struct snug__lattice *lattice, const struct snug_config *config)
{
    int d = 0;
    for (int r = 0; r < lattice->space->n; r++) {
        if (d < lattice->n_dims && lattice->row[d] == r)
            d++;
        else if (config->value[r] != lattice->base.value[r])
            return false;
    }
    return true;
}

uint64_t snug__lattice_hash(const struct snug__lattice *lattice, const struct snug_config *config)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (int r = 0; r < lattice->space->n; r++) {
        hash ^= (uint64_t)config->value[r];
        hash *= UINT64_C(0x9e3779b97f4a7c15); /* odd: keeps every bit */
        hash ^= hash >> 29;
    }
    return hash;
}
