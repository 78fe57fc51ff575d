/* Frozen rows: what the forests say of each, and whether its values need the same of all known. */
#include "tune/inert.h"

#include <math.h>
#include <stdlib.h>

#include "snug/knobs.h"

#define TRIALS_MIN 12 /* below, nearly every row is open anyway */
#define NEGLIGIBLE 0.01
#define BYTES_FRAC 0.001 /* what bytes may differ by and count as the same */

/* Levels and a response of the trials that count for it. */
struct rows {
    struct snug_knobs_knob knobs[SNUG_KNOBS_MAX];
    int levels[SNUG_STRATEGY_TELLS_MAX * SNUG_KNOBS_MAX];
    double y[SNUG_STRATEGY_TELLS_MAX];
    size_t n;
};

static void add_row(struct rows *rows, const struct snug_strategy *s,
                    const struct snug_observation *o, double y)
{
    const struct snug__lattice *lattice = &s->lattice;
    for (int d = 0; d < lattice->n_dims; d++)
        rows->levels[rows->n * (size_t)lattice->n_dims + (size_t)d] = snug_knob_index(
            &lattice->space->knobs[lattice->row[d]], o->config.value[lattice->row[d]]);
    rows->y[rows->n++] = y;
}

/* What a row may matter for: log speed, logs of what else the goal learns, and failing. */
enum { SPEED, AXES, LIMITS = AXES + SNUG_AXES_MAX, FAILS = LIMITS + SNUG_LIMIT_KLD, N_RESPONSES };

static bool is_learned(const struct snug_goal *goal, int response)
{
    const int d = response - AXES;
    if (response == SPEED || response == FAILS)
        return true;
    if (response >= LIMITS)
        return goal->limit[response - LIMITS] > 0;
    return !snug_goal_is_plain(goal) && d < goal->n_axes && snug_axis_is_learned(goal->axis[d]) &&
           goal->axis[d] != (enum snug_axis)snug_goal_lead(goal);
}

/* Not finite where a trial does not tell it. */
static double response_of(const struct snug_observation *o, int response)
{
    const bool is_ok = o->outcome == SNUG_TRIAL_OK;
    if (response == FAILS)
        return is_ok ? 0 : 1;
    return log(!is_ok              ? (double)NAN
               : response == SPEED ? o->speed
               : response < LIMITS ? o->axis[response - AXES].value
                                   : o->limited[response - LIMITS].value);
}

static void fill(struct rows *rows, const struct snug_strategy *s, int response)
{
    rows->n = 0;
    for (int d = 0; d < s->lattice.n_dims; d++)
        rows->knobs[d] = (struct snug_knobs_knob){s->lattice.is_named[d], s->lattice.n_levels[d]};
    for (size_t i = 0; i < s->n_told; i++) {
        const struct snug_observation *o = &s->told[i];
        const double y = response_of(o, response);
        if (snug__lattice_has(&s->lattice, &o->config) && o->rung == 0 && isfinite(y))
            add_row(rows, s, o, y);
    }
}

/* Take rows that this response depends on, or might, out of the frozen ones. */
static snug_status keep_what_matters(struct snug__inert *out, const struct rows *rows,
                                     const struct snug_strategy *s, struct snug_error *err)
{
    const struct snug_knobs_problem problem = {.knobs = rows->knobs,
                                               .n_knobs = s->lattice.n_dims,
                                               .levels = rows->levels,
                                               .y = rows->y,
                                               .n_rows = rows->n,
                                               .negligible = NEGLIGIBLE,
                                               .seed = s->problem.seed};
    struct snug_knobs_ranking ranking;
    const snug_status status = snug_knobs_rank(&problem, &ranking, err);
    if (status != SNUG_OK)
        return status;
    for (int d = 0; d < s->lattice.n_dims; d++)
        out->is_frozen[d] = out->is_frozen[d] && ranking.rank[d].decision == SNUG_KNOBS_DROP;
    snug_knobs_ranking_clear(&ranking);
    return SNUG_OK;
}

/* Where it is an axis; as a limit it settles what can run. */
static double price_of(const struct snug_strategy *s, const struct snug_config *config)
{
    return snug_goal_has(&s->problem.goal, SNUG_AXIS_KLD)
               ? s->problem.kld(config, s->problem.kld_data)
               : 0;
}

/* Does a config need other bytes, or have another price, at any level of a row? */
static bool changes_known(const struct snug_strategy *s, const struct snug_config *at, int d)
{
    const struct snug_knob *knob = &s->lattice.space->knobs[s->lattice.row[d]];
    const int n = s->lattice.n_levels[d], step = s->lattice.is_named[d] || n < 3 ? 1 : n - 1;
    uint64_t here = 0, there = 0;
    if (!snug__strategy_can_run(s, at, &here))
        return true;
    for (int i = 0; i < n; i += step) { /* of an ordered row both ends */
        struct snug_config config = *at;
        config.value[s->lattice.row[d]] = snug_knob_level(knob, i);
        if (!snug__strategy_can_run(s, &config, &there) ||
            fabs((double)there - (double)here) > BYTES_FRAC * (double)here ||
            fabs(price_of(s, &config) - price_of(s, at)) > 0)
            return true;
    }
    return false;
}

static const struct snug_observation *fastest(const struct snug_strategy *s, size_t *out_n)
{
    const struct snug_observation *best = NULL;
    *out_n = 0;
    for (size_t i = 0; i < s->n_told; i++) {
        const struct snug_observation *o = &s->told[i];
        if (o->outcome != SNUG_TRIAL_OK || o->rung > 0 ||
            !snug__lattice_has(&s->lattice, &o->config))
            continue;
        ++*out_n;
        if (!best || o->speed > best->speed)
            best = o;
    }
    return best;
}

snug_status snug__inert_learn(struct snug__inert *out, struct snug_strategy *s,
                              struct snug_error *err)
{
    struct snug__inert inert = {.n_frozen = 0};
    size_t n_ok = 0;
    const struct snug_observation *best = fastest(s, &n_ok);
    const int n_dims = s->lattice.n_dims;
    *out = inert;
    if (n_ok < TRIALS_MIN || n_dims < 2)
        return SNUG_OK;
    struct rows *rows = malloc(sizeof *rows);
    if (!rows)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory to rank %d rows", n_dims);
    for (int d = 0; d < n_dims; d++)
        inert.is_frozen[d] = true;
    snug_status status = SNUG_OK;
    for (int response = 0; status == SNUG_OK && response < N_RESPONSES; response++) {
        if (!is_learned(&s->problem.goal, response))
            continue;
        fill(rows, s, response);
        if (response != FAILS || rows->n > n_ok)
            status = keep_what_matters(&inert, rows, s, err);
    }
    free(rows);
    for (int d = 0; status == SNUG_OK && d < n_dims; d++) {
        inert.is_frozen[d] = inert.is_frozen[d] && !changes_known(s, &best->config, d);
        inert.value[d] = best->config.value[s->lattice.row[d]];
        inert.n_frozen += inert.is_frozen[d];
    }
    if (status == SNUG_OK)
        *out = inert;
    return status;
}

bool snug__inert_allows(const struct snug__inert *inert, const struct snug__lattice *lattice,
                        const struct snug_config *config)
{
    for (int d = 0; d < lattice->n_dims && inert->n_frozen > 0; d++)
        if (inert->is_frozen[d] && config->value[lattice->row[d]] != inert->value[d])
            return false;
    return true;
}
