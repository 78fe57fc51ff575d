/* The check at the end: the best config against the default and the --fit choice, re-measured
 * alternately in random order within each pair, so that drift of the machine hits both alike.
 * The first measurement of a winner is biased upwards (it won partly by luck); only these fresh
 * pairs count for the gain that is printed. Interval: paired bootstrap of the median ratio. */
#include <string.h>

#include "tune/loop_goal.h"
#include "tune/session.h"

#define PAIRS_MAX 64
/* With fewer, the bootstrap's 95 % interval covers less than it says: of six pairs even the
 * smallest and the largest ratio enclose the median only in 97 % of all cases. */
#define PAIRS_MIN 6
static const size_t N_RESAMPLES = 2000;
static const double LEVEL = 0.95;

bool snug__tune_is_short(const char *role)
{
    return strcmp(role, "front") == 0 || strcmp(role, "confirm") == 0;
}

snug_status snug__tune_measure_short(const struct snug_tune_options *o, struct snug_tune_result *r,
                                     const char *role, const struct snug_config *config,
                                     double *out_speed, double *out_wall_s, struct snug_error *err)
{
    const enum snug_objective lead = snug_goal_lead(&o->goal);
    struct snug_effort effort = o->effort;
    effort.blocks_min = effort.blocks_max = 2;
    effort.want_prefill = lead == SNUG_OBJECTIVE_PREFILL || lead == SNUG_OBJECTIVE_REQUEST ||
                          o->goal.limit[SNUG_LIMIT_TTFT] > 0;
    effort.want_decode = lead != SNUG_OBJECTIVE_PREFILL || o->goal.limit[SNUG_LIMIT_TPOT] > 0;
    struct snug_measurement m = {0};
    int64_t id = 0;
    snug_status status = snug_engine_run(o->engine, config, &effort, &m, err);
    if (status != SNUG_OK)
        return status;
    status = snug_store_trial_add(o->store, o->task_id, r->session_id, role, "",
                                  snug_engine_space(o->engine), config, &m, &id, err);
    *out_speed = snug_measurement_speed(&m, &o->workload, lead);
    struct snug_tune_trial again = {.config = *config, .measurement = m, .speed = *out_speed};
    snug__tune_goal_judge(o, &again);
    if (*out_speed > 0.0 && !again.keeps_limits)
        snug__tune_goal_drop(snug_engine_space(o->engine), config, r);
    if (out_wall_s)
        *out_wall_s = m.wall_s;
    snug_measurement_clear(&m);
    return status;
}

struct pairs {
    double a[PAIRS_MAX], b[PAIRS_MAX];
    int n;
    int n_failed; /* runs of a that failed */
};

static snug_status measure_pairs(const struct snug_tune_options *o, struct snug_tune_result *r,
                                 const struct snug_config *a, const struct snug_config *b,
                                 struct pairs *out, struct snug_error *err)
{
    struct snug_rng rng;
    snug_rng_init(&rng, o->seed ^ 0x636f6e6669726dULL);
    const int n = o->n_confirm_pairs < PAIRS_MAX ? o->n_confirm_pairs : PAIRS_MAX;
    const struct snug_tune_trial *best = &r->trials[r->i_best];
    for (int i = 0; i < n && best->is_safe && !(o->stop && *o->stop); i++) {
        double speed_a = 0.0, speed_b = 0.0;
        const bool a_first = snug_rng_below(&rng, 2) == 0;
        if (o->on_event) {
            const struct snug_tune_event event = {
                .kind = SNUG_TUNE_CONFIRM, .config = a, .n_done = i, .n_planned = n};
            o->on_event(&event, o->event_data);
        }
        snug_status status = snug__tune_measure_short(o, r, "confirm", a_first ? a : b,
                                                      a_first ? &speed_a : &speed_b, NULL, err);
        if (status == SNUG_OK)
            status = snug__tune_measure_short(o, r, "confirm", a_first ? b : a,
                                              a_first ? &speed_b : &speed_a, NULL, err);
        if (status != SNUG_OK)
            return status;
        out->n_failed += speed_a <= 0.0;
        if (speed_a > 0.0 && speed_b > 0.0) {
            out->a[out->n] = speed_a;
            out->b[out->n++] = speed_b;
        }
    }
    return SNUG_OK;
}

static snug_status confirm_against(const struct snug_tune_options *o, struct snug_tune_result *r,
                                   const char *against, int i_other, struct snug_error *err)
{
    struct pairs pairs = {.n = 0};
    const snug_status status =
        measure_pairs(o, r, &r->trials[r->i_best].config, &r->trials[i_other].config, &pairs, err);
    if (status != SNUG_OK)
        return status;
    if (pairs.n < PAIRS_MIN) {
        /* A best that fails when it is run again is none. */
        if (pairs.n_failed > 0 && r->trials[i_other].is_safe)
            r->i_pick = i_other;
        return SNUG_OK;
    }
    struct snug_tune_confirm *c = &r->confirm[r->n_confirm++];
    c->against = against;
    c->n_pairs = pairs.n;
    c->speed_best = snug_stats_median(pairs.a, (size_t)pairs.n);
    c->speed_other = snug_stats_median(pairs.b, (size_t)pairs.n);
    c->ratio =
        snug_stats_ratio_pairs(pairs.a, pairs.b, (size_t)pairs.n, LEVEL, N_RESAMPLES, o->seed);
    /* What was not shown to be faster is not recommended, unless the other breaks a limit; the
     * default goes before the fit choice. */
    if (c->ratio.lo <= 1.0 && r->i_pick == r->i_best && r->trials[i_other].is_safe)
        r->i_pick = i_other;
    return SNUG_OK;
}

static snug_status check_best(const struct snug_tune_options *options,
                              struct snug_tune_result *result, struct snug_error *err)
{
    const struct snug_space *space = snug_engine_space(options->engine);
    const struct snug_config *best = &result->trials[result->i_best].config;
    const struct {
        const char *name;
        int i;
    } others[] = {{"default", result->i_default}, {"fit", result->i_fit}};
    snug_status status = SNUG_OK;
    for (size_t k = 0; k < 2 && status == SNUG_OK; k++) {
        const int i = others[k].i;
        if (i < 0 || result->trials[i].speed <= 0.0 ||
            snug_config_equal(space, best, &result->trials[i].config))
            continue;
        /* The fit choice is often the default itself: one comparison says it all. */
        if (k == 1 && result->n_confirm == 1 &&
            snug_config_equal(space, &result->trials[others[0].i].config,
                              &result->trials[i].config)) {
            result->confirm[1] = result->confirm[0];
            result->confirm[1].against = "fit";
            result->n_confirm = 2;
            continue;
        }
        status = confirm_against(options, result, others[k].name, i, err);
    }
    return status;
}

snug_status snug__tune_confirm_run(const struct snug_tune_options *o, struct snug_tune_result *r,
                                   struct snug_error *err)
{
    snug_status status = check_best(o, r, err);
    /* A best that breaks a limit when it is run again is none. */
    while (status == SNUG_OK && !r->trials[r->i_best].is_safe) {
        r->i_pick = r->i_best = snug__tune_goal_best(r);
        r->n_confirm = 0;
        if (r->i_best < 0)
            return SNUG_OK;
        status = check_best(o, r, err);
    }
    if (!r->trials[r->i_pick].is_safe) /* the default was, until it was run again */
        r->i_pick = r->i_best;
    return status;
}
