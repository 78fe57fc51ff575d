/* Translation of configs between spaces, by the names of their rows.
 *
 * What a value means depends on the row: a batch of 512 is one anywhere, while 8 threads are all of
 * one machine and few of another. The default tells them apart: where machine or model set it, a
 * value keeps its place around it; where it is the same everywhere, the value itself. */
#include "tune/transfer.h"

#include <math.h>
#include <string.h>

static bool is_named(const struct snug_knob *knob)
{
    return knob->kind == SNUG_KNOB_ENUM || knob->kind == SNUG_KNOB_BOOL;
}

static double scaled(const struct snug_knob *knob, int64_t value)
{
    return knob->kind == SNUG_KNOB_LOG2 && value > 0 ? log2((double)value) : (double)value;
}

static double unscaled(const struct snug_knob *knob, double value)
{
    return knob->kind == SNUG_KNOB_LOG2 ? exp2(value) : value;
}

/* Where v lies between a and b, put between c and d. */
static double between(double v, double a, double b, double c, double d)
{
    return b > a ? c + (d - c) * (v - a) / (b - a) : c;
}

/* A value of an ordered row: as it is, or at its place between least, default and most. */
static int64_t ordered_value(const struct snug_knob *from, int64_t value,
                             const struct snug_knob *to)
{
    double v = scaled(from, value);
    if (from->def != to->def) {
        const double def = scaled(from, from->def), def_to = scaled(to, to->def);
        if (v <= def)
            v = between(v, scaled(from, from->min), def, scaled(to, to->min), def_to);
        else
            v = between(v, def, scaled(from, from->max), def_to, scaled(to, to->max));
        v = unscaled(to, v);
    } else {
        v = (double)value;
    }
    return (int64_t)llround(fmin(fmax(v, (double)to->min), (double)to->max));
}

/* -1: there is no such value. */
static int64_t named_value(const struct snug_knob *from, int64_t value, const struct snug_knob *to)
{
    if (from->kind == SNUG_KNOB_BOOL || to->kind == SNUG_KNOB_BOOL)
        return from->kind == to->kind && (value == 0 || value == 1) ? value : -1;
    if (value < 0 || value >= from->n_values)
        return -1;
    for (int i = 0; i < to->n_values; i++)
        if (strcmp(to->values[i], from->values[value]) == 0)
            return i;
    return -1;
}

static bool take_value(const struct snug_knob *from, int64_t value, const struct snug_knob *to,
                       int64_t *out)
{
    if (is_named(from) != is_named(to))
        return false;
    *out = is_named(to) ? named_value(from, value, to) : ordered_value(from, value, to);
    return !is_named(to) || *out >= 0;
}

bool snug__transfer_config(const struct snug_space *past, const struct snug_config *config,
                           const struct snug__lattice *here, struct snug_config *out)
{
    const struct snug_space *space = here->space;
    struct snug_config found = here->base;
    for (int r = 0; r < past->n; r++) /* a row that is gone must have been at its default */
        if (config->value[r] != past->knobs[r].def &&
            snug_space_find(space, past->knobs[r].name) < 0)
            return false;
    for (int r = 0, d = 0; r < space->n; r++) {
        const bool is_free = d < here->n_dims && here->row[d] == r;
        const int at = snug_space_find(past, space->knobs[r].name);
        int64_t value = is_free ? space->knobs[r].def : here->base.value[r];
        if (at >= 0 && !take_value(&past->knobs[at], config->value[at], &space->knobs[r], &value))
            return false;
        if (!is_free && value != here->base.value[r])
            return false;
        found.value[r] = value;
        d += is_free;
    }
    *out = found;
    return true;
}
