/* Goals: the words of the option, and what a measurement is worth on each axis. */
#include "snug/goal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "snug/stats.h"

static const char *const AXES[SNUG_N_AXES] = {"decode", "prefill", "request",
                                              "energy", "memory",  "kld"};
static const char *const LIMITS[SNUG_N_LIMITS] = {"max-ttft", "max-tpot", "max-kld"};

const char *snug_axis_name(enum snug_axis axis)
{
    return (unsigned)axis < SNUG_N_AXES ? AXES[axis] : "unknown";
}

bool snug_axis_is_learned(enum snug_axis axis)
{
    return (unsigned)axis < SNUG_N_OBJECTIVES;
}

const char *snug_limit_name(enum snug_limit limit)
{
    return (unsigned)limit < SNUG_N_LIMITS ? LIMITS[limit] : "unknown";
}

/* ---- words ---- */

static int find_axis(const char *text, size_t n)
{
    for (int i = 0; i < SNUG_N_AXES; i++)
        if (strlen(AXES[i]) == n && strncmp(AXES[i], text, n) == 0)
            return i;
    return -1;
}

static snug_status take_axis(const char *at, size_t n, struct snug_goal *goal,
                             struct snug_error *err)
{
    const int found = find_axis(at, n);
    if (found < 0)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "'%.*s' is none of decode|prefill|request|energy|memory|kld",
                         n < 40 ? (int)n : 40, at);
    if (snug_goal_has(goal, (enum snug_axis)found))
        return snug_fail(err, SNUG_BAD_INPUT, "%s stands twice", AXES[found]);
    if (goal->n_axes == SNUG_AXES_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "more than %d objectives", SNUG_AXES_MAX);
    goal->axis[goal->n_axes++] = (enum snug_axis)found;
    return SNUG_OK;
}

snug_status snug_goal_parse(const char *text, struct snug_goal *out, struct snug_error *err)
{
    struct snug_goal goal = *out;
    bool is_learned = false;
    goal.n_axes = 0;
    for (const char *at = text;; at++) {
        const size_t n = strcspn(at, ",");
        const snug_status status = take_axis(at, n, &goal, err);
        if (status != SNUG_OK)
            return status;
        is_learned |= snug_axis_is_learned(goal.axis[goal.n_axes - 1]);
        at += n;
        if (!*at)
            break;
    }
    if (!is_learned)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "'%.60s' is known without a trial: name decode, prefill, request or "
                         "energy too",
                         text);
    if (goal.n_axes == 1)
        goal.axis[goal.n_axes++] = SNUG_AXIS_MEMORY;
    *out = goal;
    return SNUG_OK;
}

const char *snug_goal_text(const struct snug_goal *goal, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < goal->n_axes && n < cap; i++)
        n += (size_t)snprintf(out + n, cap - n, "%s%s", i ? "," : "", AXES[goal->axis[i]]);
    return out;
}

enum snug_objective snug_goal_lead(const struct snug_goal *goal)
{
    for (int i = 0; i < goal->n_axes; i++)
        if (snug_axis_is_learned(goal->axis[i]))
            return (enum snug_objective)goal->axis[i];
    return SNUG_OBJECTIVE_REQUEST;
}

bool snug_goal_has(const struct snug_goal *goal, enum snug_axis axis)
{
    bool has = false;
    for (int i = 0; i < goal->n_axes; i++)
        has |= goal->axis[i] == axis;
    return has;
}

static bool has_limits(const struct snug_goal *goal)
{
    bool has = false;
    for (int i = 0; i < SNUG_N_LIMITS; i++)
        has |= goal->limit[i] > 0;
    return has;
}

bool snug_goal_is_plain(const struct snug_goal *goal)
{
    if (has_limits(goal))
        return false;
    return goal->n_axes == 0 || (goal->n_axes == 2 && snug_goal_has(goal, SNUG_AXIS_MEMORY));
}

bool snug_goal_needs_kld(const struct snug_goal *goal)
{
    return goal->limit[SNUG_LIMIT_KLD] > 0 || snug_goal_has(goal, SNUG_AXIS_KLD);
}

bool snug_goal_equal(const struct snug_goal *a, const struct snug_goal *b)
{
    if (snug_goal_is_plain(a) && snug_goal_is_plain(b))
        return snug_goal_lead(a) == snug_goal_lead(b); /* whichever is named first */
    bool is_equal = a->n_axes == b->n_axes;
    for (int i = 0; is_equal && i < a->n_axes; i++)
        is_equal = a->axis[i] == b->axis[i];
    for (int i = 0; is_equal && i < SNUG_N_LIMITS; i++)
        is_equal = !(fabs(a->limit[i] - b->limit[i]) > 1e-9 * a->limit[i]);
    return is_equal;
}

/* ---- figures ---- */

static double positive(double x)
{
    return x > 0 && isfinite(x) ? x : (double)NAN;
}

double snug_axis_value(enum snug_axis axis, const struct snug_measurement *m,
                       const struct snug_workload *workload, double kld_nats)
{
    if (m->outcome != SNUG_TRIAL_OK)
        return (double)NAN;
    if (snug_axis_is_learned(axis))
        return positive(snug_measurement_speed(m, workload, (enum snug_objective)axis));
    if (axis == SNUG_AXIS_MEMORY)
        return positive((double)snug_bytes_stated(&m->bytes));
    return kld_nats; /* an estimate near 0 may lie below it */
}

double snug_axis_gain(enum snug_axis axis, double value, double ref)
{
    if (!isfinite(value))
        return -(double)INFINITY;
    return snug_axis_is_learned(axis) ? log(value / ref) : 1 - fmax(value, 0) / ref;
}

/* The slow end of timed blocks: how many times as long as the median block takes, the 0.95 quantile
 * of blocks takes; the worst of blocks too few for a quantile. */
static double slow_ratio(const double *tps, int n)
{
    static const double LEVEL = 0.95;
    if (n < 1)
        return 1;
    const double at = n < snug_stats_quantile_needs(LEVEL) ? 0 : 1 - LEVEL;
    return snug_stats_median(tps, (size_t)n) / snug_stats_quantile(tps, (size_t)n, at);
}

double snug_limit_value(enum snug_limit limit, const struct snug_measurement *m,
                        const struct snug_workload *workload, double kld_nats, double *out_hi)
{
    const double n_sequences = workload->n_parallel > 1 ? (double)workload->n_parallel : 1;
    double value = (double)NAN, ratio = 1;
    if (m->outcome == SNUG_TRIAL_OK && limit == SNUG_LIMIT_TTFT) {
        /* without a time of the first token at least the prompt's own */
        value = m->ttft_s > 0 ? m->ttft_s
                              : positive((double)workload->n_prompt * n_sequences / m->prefill_tps);
        ratio = slow_ratio(m->prefill_block_tps, m->n_prefill_blocks);
    } else if (m->outcome == SNUG_TRIAL_OK && limit == SNUG_LIMIT_TPOT) {
        value = m->tpot_p50_s > 0 ? m->tpot_p50_s : positive(n_sequences / m->decode_tps);
        ratio = slow_ratio(m->decode_block_tps, m->n_decode_blocks);
    } else if (limit == SNUG_LIMIT_KLD) {
        value = kld_nats;
    }
    if (out_hi)
        *out_hi = value * ratio;
    return value;
}

bool snug_limit_holds(const struct snug_goal *goal, enum snug_limit limit, double value)
{
    return !(goal->limit[limit] > 0) || value <= goal->limit[limit];
}
