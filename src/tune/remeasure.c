/* After the search: members of the front measured again until their order is known (front_order.h),
 * the trials or the time for it are used up, or the user stops.
 *
 * Whoever is on a front of first measurements is there partly by luck; what counts from here on is
 * the median of the fresh ones. They are short, as those of the check at the end, and each is in
 * the store, with role "front", before the next begins: a resumed session takes them over. */
#include "base/process.h"
#include "tune/front_order.h"
#include "tune/session.h"
#include "tune/strategy.h"

#include <math.h>
#include <stdlib.h>

struct again {
    const struct snug_tune_options *options;
    struct snug_tune_result *result;
    struct snug__order order;
    int trial[SNUG__ORDER_MEMBERS_MAX]; /* of the result, that showed this member first */
    double end_s;                       /* on snug_clock_s; INFINITY: no limit */
};

_Static_assert(SNUG__ORDER_MEMBERS_MAX <= SNUG_TUNE_MEMBERS_MAX, "a result has all members");

/* The trial that ran with a config, or -1. */
static int find_trial(const struct again *a, const struct snug_config *config)
{
    const struct snug_space *space = snug_engine_space(a->options->engine);
    for (int i = 0; i < a->result->n_trials; i++)
        if (a->result->trials[i].speed > 0.0 &&
            snug_config_equal(space, &a->result->trials[i].config, config))
            return i;
    return -1;
}

/* The front as the strategy believes it: less lucky than what was measured. */
static snug_status take_members(struct again *a, struct snug_strategy *strategy,
                                struct snug_error *err)
{
    struct snug_point points[SNUG_STRATEGY_TELLS_MAX];
    size_t index[SNUG_STRATEGY_TELLS_MAX], n_front = 0;
    double speed[SNUG_STRATEGY_TELLS_MAX];
    int n = 0, trials[SNUG_STRATEGY_TELLS_MAX];
    const snug_status status = snug__strategy_front(strategy, index, speed, &n_front, err);
    if (status != SNUG_OK)
        return status;
    for (size_t k = 0; k < n_front; k++) {
        const int trial = find_trial(a, &strategy->told[index[k]].config);
        if (trial < 0)
            continue;
        trials[n] = trial;
        points[n++] = (struct snug_point){speed[k], strategy->told[index[k]].bytes};
    }
    snug__order_init(&a->order, points, n);
    for (int i = 0; i < a->order.n_members; i++)
        a->trial[i] = trials[n - a->order.n_members + i];
    return SNUG_OK;
}

/* What a resumed session measured again before. Another model may believe in other members: what
 * is none any more stays in the store. */
static void take_past(struct again *a)
{
    const struct snug_space *space = snug_engine_space(a->options->engine);
    for (int i = 0; i < a->result->n_repeats; i++) {
        const struct snug_tune_repeat *past = &a->result->repeats[i];
        for (int k = 0; k < a->order.n_members; k++)
            if (snug_config_equal(space, &past->config, &a->result->trials[a->trial[k]].config))
                snug__order_add(&a->order, k, past->speed);
    }
}

static bool is_over(const struct again *a)
{
    return (a->options->stop && *a->options->stop) ||
           a->result->n_repeats >= a->options->n_front_trials || snug_clock_s() >= a->end_s;
}

static snug_status measure(struct again *a, int member, struct snug_error *err)
{
    const struct snug_tune_options *o = a->options;
    struct snug_tune_repeat repeat = {.config = a->result->trials[a->trial[member]].config};
    if (o->on_event) {
        const struct snug_tune_event event = {.kind = SNUG_TUNE_FRONT,
                                              .role = "front",
                                              .config = &repeat.config,
                                              .n_done = a->result->n_repeats,
                                              .n_planned = o->n_front_trials};
        o->on_event(&event, o->event_data);
    }
    snug_status status = snug__tune_measure_short(o, a->result, "front", &repeat.config,
                                                  &repeat.speed, &repeat.wall_s, err);
    if (status == SNUG_OK)
        status = snug__tune_repeat_add(a->result, &repeat, err);
    if (status == SNUG_OK)
        snug__order_add(&a->order, member, repeat.speed);
    return status;
}

/* A process is some per cent faster or slower for as long as it lives: each round draws anew. */
static snug_status run_rounds(struct again *a, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    int members[SNUG__ORDER_MEMBERS_MAX];
    int n = snug__order_next(&a->order, members);
    while (status == SNUG_OK && n > 0 && !is_over(a)) {
        snug_engine_restart(a->options->engine);
        for (int i = 0; i < n && status == SNUG_OK && !is_over(a); i++)
            status = measure(a, members[i], err);
        n = snug__order_next(&a->order, members);
    }
    return status;
}

/* The front of the medians, and the fastest of it. */
static void declare(struct again *a)
{
    struct snug_tune_result *r = a->result;
    struct snug_point points[SNUG__ORDER_MEMBERS_MAX];
    size_t index[SNUG__ORDER_MEMBERS_MAX];
    int n_repeats = 0;
    for (int i = 0; i < a->order.n_members; i++) {
        const double speed = snug__order_speed(&a->order, i, &n_repeats).mid;
        points[i] = (struct snug_point){speed, a->order.point[i].bytes};
    }
    const size_t n = snug_front_compute(points, (size_t)a->order.n_members, index);
    for (size_t k = 0; k < n; k++) {
        struct snug_tune_member *member = &r->members[k];
        member->i_trial = a->trial[index[k]];
        member->speed = snug__order_speed(&a->order, (int)index[k], &member->n_repeats);
    }
    r->n_members = (int)n;
    r->is_order_known = snug__order_is_known(&a->order);
    if (n > 0)
        r->i_best = r->members[n - 1].i_trial;
}

snug_status snug__tune_remeasure(const struct snug_tune_options *options,
                                 struct snug_strategy *strategy, double left_s,
                                 struct snug_tune_result *result, struct snug_error *err)
{
    struct again *a = calloc(1, sizeof *a);
    if (!a)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory to measure a front again");
    a->options = options;
    a->result = result;
    a->end_s = options->time_s > 0.0 ? snug_clock_s() + left_s : (double)INFINITY;
    snug_status status = take_members(a, strategy, err);
    if (status == SNUG_OK) {
        take_past(a);
        status = run_rounds(a, err);
    }
    if (status == SNUG_OK)
        declare(a);
    free(a);
    return status;
}

snug_status snug__tune_repeat_add(struct snug_tune_result *result,
                                  const struct snug_tune_repeat *repeat, struct snug_error *err)
{
    const size_t n = (size_t)result->n_repeats;
    if ((n & (n - 1)) == 0) { /* full: room is a power of two */
        struct snug_tune_repeat *grown =
            realloc(result->repeats, (n ? 2 * n : 1) * sizeof *result->repeats);
        if (!grown)
            return snug_fail(err, SNUG_NO_MEMORY, "no memory for %zu trials", n + 1);
        result->repeats = grown;
    }
    result->repeats[result->n_repeats++] = *repeat;
    return SNUG_OK;
}
