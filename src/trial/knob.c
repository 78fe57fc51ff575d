/* Knob rows: the lattice of each, and its values as text.
 *
 * A lattice is the list of values worth trying: every step of INT, doublings of LOG2, all names of
 * ENUM, off and on. It always holds both bounds, so that the largest allowed value is never lost to
 * a step that does not divide the range. Values between levels are valid too: a user may give them.
 */
#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "snug/trial.h"
#include "snug/units.h"
#include "trial/knob.h"

#define LISTED_MAX 320 /* bytes of an error text spent on what would be accepted */

/* ---- lattice ---- */

/* Width of the range; bounds may lie on both ends of int64. */
static uint64_t span(const struct snug_knob *knob)
{
    assert(knob->min <= knob->max);
    return (uint64_t)knob->max - (uint64_t)knob->min;
}

static uint64_t step_of(const struct snug_knob *knob)
{
    return knob->step > 0 ? (uint64_t)knob->step : 1;
}

static int int_n_levels(const struct snug_knob *knob)
{
    const uint64_t width = span(knob), step = step_of(knob);
    const uint64_t n = width / step + (width % step != 0);
    return n < INT_MAX ? (int)n + 1 : INT_MAX;
}

/* The level after v: a doubling, held at max. From 0 or below the next is 1. */
static int64_t log2_next(const struct snug_knob *knob, int64_t v)
{
    int64_t next = 1;
    if (v >= 1 && __builtin_mul_overflow(v, 2, &next))
        return knob->max;
    return next < knob->max ? next : knob->max;
}

static int log2_n_levels(const struct snug_knob *knob)
{
    int n = 1;
    for (int64_t v = knob->min; v < knob->max; v = log2_next(knob, v))
        n++;
    return n;
}

/* All names, or those up to max where a row holds back the rest for setting by hand. */
static int enum_n_levels(const struct snug_knob *knob)
{
    const bool is_held_back = knob->max > 0 && knob->max < knob->n_values - 1;
    const int n = is_held_back ? (int)knob->max + 1 : knob->n_values;
    return n > 1 ? n : 1;
}

int snug_knob_n_levels(const struct snug_knob *knob)
{
    switch (knob->kind) {
    case SNUG_KNOB_INT:
        return int_n_levels(knob);
    case SNUG_KNOB_LOG2:
        return log2_n_levels(knob);
    case SNUG_KNOB_ENUM:
        return enum_n_levels(knob);
    case SNUG_KNOB_BOOL:
        return 2;
    }
    return 1;
}

int64_t snug_knob_level(const struct snug_knob *knob, int i)
{
    const int last = snug_knob_n_levels(knob) - 1;
    i = i < 0 ? 0 : i > last ? last : i;
    if (knob->kind == SNUG_KNOB_ENUM || knob->kind == SNUG_KNOB_BOOL)
        return i;
    if (i == last)
        return knob->max;
    if (knob->kind == SNUG_KNOB_INT)
        return (int64_t)((uint64_t)knob->min + (uint64_t)i * step_of(knob));
    int64_t v = knob->min;
    while (i-- > 0)
        v = log2_next(knob, v);
    return v;
}

/* Is value nearer to hi than to lo? Half way goes to lo; LOG2 compares ratios. */
static bool is_upper_nearer(const struct snug_knob *knob, int64_t value, int64_t lo, int64_t hi)
{
    const double v = (double)value, a = (double)lo, b = (double)hi;
    if (knob->kind == SNUG_KNOB_LOG2 && lo > 0)
        return v * v > a * b;
    return v - a > b - v;
}

int snug_knob_index(const struct snug_knob *knob, int64_t value)
{
    const int last = snug_knob_n_levels(knob) - 1;
    if (value <= snug_knob_level(knob, 0))
        return 0;
    if (value >= snug_knob_level(knob, last))
        return last;
    int i = 0;
    if (knob->kind == SNUG_KNOB_INT) {
        const uint64_t steps = ((uint64_t)value - (uint64_t)knob->min) / step_of(knob);
        i = steps < (uint64_t)last ? (int)steps : last; /* levels are cut at INT_MAX */
    } else {
        while (i < last && snug_knob_level(knob, i + 1) <= value)
            i++;
    }
    if (i >= last)
        return last;
    const int64_t lo = snug_knob_level(knob, i), hi = snug_knob_level(knob, i + 1);
    return is_upper_nearer(knob, value, lo, hi) ? i + 1 : i;
}

/* ---- text ---- */

const char *snug__knob_name_of(const struct snug_knob *knob, int64_t value)
{
    if (knob->kind == SNUG_KNOB_BOOL)
        return value ? "on" : "off";
    if (knob->kind == SNUG_KNOB_ENUM && value >= 0 && value < knob->n_values)
        return knob->values[value];
    return NULL;
}

const char *snug_knob_text(const struct snug_knob *knob, int64_t value, char out[32])
{
    const char *name = snug__knob_name_of(knob, value);
    if (name)
        snprintf(out, 32, "%s", name);
    else
        snprintf(out, 32, "%lld", (long long)value);
    return name && strlen(name) >= 32 ? name : out;
}

static snug_status fail_enum(const struct snug_knob *knob, const char *text, struct snug_error *err)
{
    char listed[LISTED_MAX] = "";
    size_t n = 0;
    for (int i = 0; i < knob->n_values && n < sizeof listed; i++)
        n +=
            (size_t)snprintf(listed + n, sizeof listed - n, "%s%s", i ? ", " : "", knob->values[i]);
    const char *near = snug__near_word(text, knob->values, knob->n_values);
    if (near)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: '%.40s' is not known, did you mean %s? one of %s", knob->name, text,
                         near, listed);
    return snug_fail(err, SNUG_BAD_INPUT, "%s: '%.40s' is not known; one of %s", knob->name, text,
                     listed);
}

static snug_status parse_bool(const struct snug_knob *knob, const char *text, int64_t *out_value,
                              struct snug_error *err)
{
    /* Off words at even places, on words at odd ones. */
    static const char *const words[] = {"off", "on", "0", "1", "false", "true", "no", "yes"};
    for (int i = 0; i < (int)(sizeof words / sizeof *words); i++) {
        if (strcmp(text, words[i]) == 0) {
            *out_value = i % 2;
            return SNUG_OK;
        }
    }
    return snug_fail(err, SNUG_BAD_INPUT, "%s: '%.40s' is neither on nor off", knob->name, text);
}

snug_status snug_knob_parse(const struct snug_knob *knob, const char *text, int64_t *out_value,
                            struct snug_error *err)
{
    if (knob->kind == SNUG_KNOB_BOOL)
        return parse_bool(knob, text, out_value, err);
    if (knob->kind != SNUG_KNOB_ENUM)
        return snug_int_parse(knob->name, text, knob->min, knob->max, out_value, err);
    for (int i = 0; i < knob->n_values; i++) {
        if (strcmp(text, knob->values[i]) == 0) {
            *out_value = i;
            return SNUG_OK;
        }
    }
    return fail_enum(knob, text, err);
}
