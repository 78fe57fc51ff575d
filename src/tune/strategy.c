/* Strategies: the table, the ask/tell contract, and the two scans all of them share.
 *
 * Here every observation is checked and kept; the strategies below see only good ones. An answer
 * of ask depends on the problem and on what was told, not on how often or when ask was called: so a
 * resumed session that tells its history again goes on as if it had never stopped. */
#include "tune/strategy.h"

#include "tune/ladder.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snug/stats.h"

/* Sobol points in a row that may be old or impossible before the lattice is walked instead. */
#define SOBOL_MISSES_MAX 65536
/* Configs a walk looks at: some seconds of a cheap bytes function. */
#define WALK_MAX (UINT64_C(1) << 20)

static const struct snug_strategy_row rows[] = {
#define STRATEGY_ROW(name, help) {#name, help},
    SNUG_STRATEGIES(STRATEGY_ROW)
#undef STRATEGY_ROW
        {NULL, NULL},
};
static const struct snug__strategy_kind *const kinds[] = {
#define STRATEGY_KIND(name, help) &snug__strategy_##name,
    SNUG_STRATEGIES(STRATEGY_KIND)
#undef STRATEGY_KIND
};

const struct snug_strategy_row *snug_strategy_rows(void)
{
    return rows;
}

static snug_status find_kind(const char *name, const struct snug__strategy_kind **out,
                             struct snug_error *err)
{
    char known[128] = "";
    size_t used = 0;
    for (size_t i = 0; rows[i].name; i++) {
        if (name && strcmp(rows[i].name, name) == 0) {
            *out = kinds[i];
            return SNUG_OK;
        }
        int n = snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", rows[i].name);
        used += n > 0 && (size_t)n < sizeof known - used ? (size_t)n : 0;
    }
    return snug_fail(err, SNUG_BAD_INPUT, "strategy \"%s\" is unknown; known: %s", name ? name : "",
                     known);
}

static snug_status check_problem(const struct snug_problem *p, struct snug_error *err)
{
    if (!p->space || p->space->n < 0 || p->space->n > SNUG_KNOBS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "strategy: a space of 0 to %d rows is needed",
                         SNUG_KNOBS_MAX);
    if (!p->bytes)
        return snug_fail(err, SNUG_BAD_INPUT, "strategy: a function that states bytes is needed");
    if (!(p->bounds.speed_ref > 0) || !isfinite(p->bounds.speed_ref) || p->bounds.bytes_ref == 0)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "strategy: reference speed %g and bytes %llu must be above 0",
                         p->bounds.speed_ref, (unsigned long long)p->bounds.bytes_ref);
    if (p->n_pasts < 0 || (p->n_pasts > 0 && !p->pasts))
        return snug_fail(err, SNUG_BAD_INPUT, "strategy: %d past tasks are no list", p->n_pasts);
    if (p->n_trials < 1)
        return snug_fail(err, SNUG_BAD_INPUT, "strategy: %d trials planned, at least 1 is needed",
                         p->n_trials);
    const bool is_plain = snug_goal_is_plain(&p->goal);
    if (!is_plain && p->goal.n_axes < 1)
        return snug_fail(err, SNUG_BAD_INPUT, "strategy: limits need the axes of their goal");
    for (int i = 0; i < p->goal.n_axes && !is_plain; i++)
        if (!(p->ref[i] > 0) || !isfinite(p->ref[i]))
            return snug_fail(err, SNUG_BAD_INPUT, "strategy: reference %g of %s must be above 0",
                             p->ref[i], snug_axis_name(p->goal.axis[i]));
    if (snug_goal_needs_kld(&p->goal) && !p->kld)
        return snug_fail(err, SNUG_BAD_INPUT, "strategy: a function that states KLD is needed");
    return SNUG_OK;
}

snug_status snug_strategy_new(const char *name, const struct snug_problem *problem,
                              struct snug_strategy **out, struct snug_error *err)
{
    const struct snug__strategy_kind *kind = NULL;
    snug_status status = find_kind(name, &kind, err);
    return status == SNUG_OK ? snug__strategy_new_kind(name, kind, problem, out, err) : status;
}

snug_status snug__strategy_new_kind(const char *name, const struct snug__strategy_kind *kind,
                                    const struct snug_problem *problem, struct snug_strategy **out,
                                    struct snug_error *err)
{
    snug_status status = check_problem(problem, err);
    if (status != SNUG_OK)
        return status;
    struct snug_strategy *s = calloc(1, sizeof *s);
    if (!s)
        return snug_fail(err, SNUG_NO_MEMORY, "strategy %s", name);
    s->kind = kind;
    s->problem = *problem;
    s->told = calloc(SNUG_STRATEGY_TELLS_MAX, sizeof *s->told);
    if (!s->told) {
        status = snug_fail(err, SNUG_NO_MEMORY, "strategy %s", name);
        goto done;
    }
    snug__lattice_init(&s->lattice, problem->space, &problem->base);
    snug_sobol_init(&s->sobol, s->lattice.n_dims, problem->seed);
    if (kind->open)
        status = kind->open(s, err);
    if (status != SNUG_OK)
        goto done;
    *out = s;
    s = NULL; /* the caller owns it now */
done:
    snug_strategy_free(s);
    return status;
}

void snug_strategy_free(struct snug_strategy *s)
{
    if (!s)
        return;
    if (s->kind->close)
        s->kind->close(s);
    free(s->told);
    free(s);
}

snug_status snug_strategy_ask(struct snug_strategy *s, struct snug_config *out_config,
                              struct snug_ask_info *out_info, struct snug_error *err)
{
    struct snug_ask_info info = {.expected_gain = (double)NAN,
                                 .predicted_speed = (double)NAN,
                                 .predicted_log_sd = (double)NAN};
    struct snug_config config;
    snug_status status = s->kind->ask(s, &config, &info, err);
    if (status != SNUG_OK)
        return status;
    assert(s->kind->may_repeat || !snug__strategy_was_told(s, &config));
    *out_config = config;
    if (out_info)
        *out_info = info;
    return SNUG_OK;
}

snug_status snug_strategy_tell(struct snug_strategy *s, const struct snug_observation *observation,
                               struct snug_error *err)
{
    const struct snug_observation *o = observation;
    if (s->n_told == SNUG_STRATEGY_TELLS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "strategy: more than %d trials told",
                         SNUG_STRATEGY_TELLS_MAX);
    if ((int)o->outcome < 0 || o->outcome >= SNUG_N_OUTCOMES)
        return snug_fail(err, SNUG_BAD_INPUT, "strategy: outcome %d is unknown", (int)o->outcome);
    bool is_ok = o->outcome == SNUG_TRIAL_OK;
    if (is_ok && (!(o->speed > 0) || !isfinite(o->speed)))
        return snug_fail(err, SNUG_BAD_INPUT, "strategy: speed %g of a good trial is not above 0",
                         o->speed);
    if (is_ok && (!(o->log_speed_sd >= 0) || !isfinite(o->log_speed_sd)))
        return snug_fail(err, SNUG_BAD_INPUT, "strategy: log_speed_sd %g is not 0 or more",
                         o->log_speed_sd);
    bool is_good = true;
    for (int i = 0; i < SNUG_AXES_MAX; i++)
        is_good &= o->axis[i].log_sd >= 0 && (bool)isfinite(o->axis[i].log_sd);
    for (int i = 0; i < SNUG_N_LIMITS; i++)
        is_good &= o->limited[i].log_sd >= 0 && (bool)isfinite(o->limited[i].log_sd);
    if (!is_good)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "strategy: log_sd of an axis or a limit is not 0 or "
                         "more");
    if (!(o->setup_s >= 0) || !isfinite(o->setup_s) || !(o->work_s >= 0) || !isfinite(o->work_s))
        return snug_fail(err, SNUG_BAD_INPUT, "strategy: %g and %g seconds are not 0 or more",
                         o->setup_s, o->work_s);
    const int rung_max = snug_goal_is_plain(&s->problem.goal) ? SNUG__LADDER_RUNGS : 0;
    if (o->rung < 0 || o->rung > rung_max)
        return snug_fail(err, SNUG_BAD_INPUT, "strategy: rung %d is not 0 to %d", o->rung,
                         rung_max);
    struct snug_observation *kept = &s->told[s->n_told];
    *kept = *o;
    if (is_ok && kept->bytes == 0)
        (void)snug__strategy_can_run(s, &o->config, &kept->bytes);
    s->n_told++;
    snug_status status = s->kind->tell ? s->kind->tell(s, err) : SNUG_OK;
    if (status != SNUG_OK)
        s->n_told--; /* as if it had not been told */
    return status;
}

snug_status snug__strategy_climb(struct snug_strategy *s, int next, int *out_rung,
                                 struct snug_error *err)
{
    const struct snug_observation *last = s->n_told ? &s->told[s->n_told - 1] : NULL;
    const bool goes_on = last && last->rung > 0 && last->outcome == SNUG_TRIAL_OK;
    *out_rung = goes_on ? 0 : SNUG__CLIMB_ENDS;
    return goes_on && s->kind->climb ? s->kind->climb(s, next, out_rung, err) : SNUG_OK;
}

/* The geometric mean of measured speeds over the trials of each config. */
static void believe_means(const struct snug_strategy *s, double *out_speed)
{
    for (size_t i = 0; i < s->n_told; i++) {
        double sum = 0;
        int n = 0;
        for (size_t k = 0; k < s->n_told && s->told[i].outcome == SNUG_TRIAL_OK; k++) {
            if (s->told[k].outcome != SNUG_TRIAL_OK || s->told[k].rung > 0 ||
                !snug_config_equal(s->problem.space, &s->told[i].config, &s->told[k].config))
                continue;
            sum += log(s->told[k].speed);
            n++;
        }
        out_speed[i] = n ? exp(sum / n) : 0;
    }
}

snug_status snug__strategy_front(struct snug_strategy *s, size_t *out_index, double *out_speed,
                                 size_t *out_n, struct snug_error *err)
{
    const size_t n = s->n_told;
    struct snug_point *points = calloc(n + 1, sizeof *points);
    double(*gain)[SNUG_AXES_MAX] = calloc(n + 1, sizeof *gain);
    double *speed = calloc(n + 1, sizeof *speed);
    snug_status status = points && gain && speed
                             ? SNUG_OK
                             : snug_fail(err, SNUG_NO_MEMORY, "front of %zu trials", n);
    if (status == SNUG_OK && s->kind->believe)
        status = s->kind->believe(s, speed, err);
    else if (status == SNUG_OK)
        believe_means(s, speed);
    for (size_t i = 0; status == SNUG_OK && i < n; i++) {
        if (s->told[i].outcome == SNUG_TRIAL_OK && s->told[i].rung == 0)
            points[i] = (struct snug_point){speed[i], s->told[i].bytes};
        snug__strategy_gain(s, i, speed[i], gain[i]);
    }
    if (status == SNUG_OK) {
        *out_n = snug_goal_is_plain(&s->problem.goal)
                     ? snug_front_compute(points, n, out_index)
                     : snug_goal_front((const double(*)[SNUG_AXES_MAX])gain, n, out_index);
        for (size_t k = 0; k < *out_n; k++)
            out_speed[k] = speed[out_index[k]];
    }
    free(points);
    free(gain);
    free(speed);
    return status;
}

double snug__strategy_speed_sd(const struct snug_measurement *m, const struct snug_workload *w,
                               enum snug_objective objective)
{
    double speeds[SNUG_BLOCKS_MAX];
    const int n = snug_measurement_block_speeds(m, w, objective, speeds);
    if (n < 2)
        return 0.0;
    const double sd = snug_stats_mad(speeds, (size_t)n) / snug_stats_median(speeds, (size_t)n);
    return fmax(sd / sqrt((double)n), 0.003);
}

/* What keeps little on a GPU is some ten times slower, and still of use. */
static const double REGION_SPEED_FRAC = 0.1;
static const double REGION_BYTES_FACTOR = 1.5;

double snug__strategy_axis_ref(double value)
{
    return value > 0.0 ? REGION_SPEED_FRAC * value : 1e-3;
}

struct snug_front_bounds snug__strategy_region(double speed, uint64_t bytes, uint64_t limit_bytes)
{
    uint64_t bytes_ref = bytes ? (uint64_t)(REGION_BYTES_FACTOR * (double)bytes) : limit_bytes;
    if (limit_bytes && limit_bytes < bytes_ref)
        bytes_ref = limit_bytes;
    return (struct snug_front_bounds){snug__strategy_axis_ref(speed), bytes_ref ? bytes_ref : 1};
}

bool snug__strategy_was_told(const struct snug_strategy *s, const struct snug_config *config)
{
    for (size_t i = 0; i < s->n_told; i++)
        if ((s->told[i].rung == 0 || s->told[i].outcome != SNUG_TRIAL_OK) &&
            snug_config_equal(s->problem.space, &s->told[i].config, config))
            return true;
    return false;
}

bool snug__strategy_can_run(const struct snug_strategy *s, const struct snug_config *config,
                            uint64_t *out_bytes)
{
    uint64_t bytes = 0;
    if (!s->problem.bytes(config, &bytes, s->problem.bytes_data))
        return false;
    if (s->problem.bytes_limit && bytes > s->problem.bytes_limit)
        return false;
    if (snug_goal_needs_kld(&s->problem.goal)) {
        const double kld_nats = s->problem.kld(config, s->problem.kld_data);
        if (!isfinite(kld_nats) || !snug_limit_holds(&s->problem.goal, SNUG_LIMIT_KLD, kld_nats))
            return false;
    }
    if (out_bytes)
        *out_bytes = bytes;
    return true;
}

static bool is_askable(const struct snug_strategy *s, const struct snug_config *config)
{
    return !snug__strategy_was_told(s, config) && snug__strategy_can_run(s, config, NULL);
}

snug_status snug__strategy_walk(const struct snug_strategy *s, uint64_t start,
                                struct snug_config *out, struct snug_error *err)
{
    double n_configs = s->lattice.n_configs;
    uint64_t n = n_configs < (double)WALK_MAX ? (uint64_t)n_configs : WALK_MAX;
    for (uint64_t i = 0; i < n; i++) {
        struct snug_config config;
        snug__lattice_at(&s->lattice, (start + i) % n, &config);
        if (is_askable(s, &config)) {
            *out = config;
            return SNUG_OK;
        }
    }
    return snug_fail(err, SNUG_NOT_FOUND,
                     "nothing is left to measure: all of %.0f configs were measured or do not fit",
                     n_configs);
}

snug_status snug__strategy_sobol_config(struct snug_strategy *s, struct snug_config *out,
                                        struct snug_error *err)
{
    /* a lattice of n cells is covered by a few n points, so a small one ends soon */
    double enough = 16 * s->lattice.n_configs;
    uint32_t misses_max = enough < SOBOL_MISSES_MAX ? (uint32_t)enough : SOBOL_MISSES_MAX;
    for (uint32_t misses = 0; misses < misses_max && s->sobol_next < UINT32_MAX; misses++) {
        double u[SNUG_SOBOL_DIMS_MAX];
        struct snug_config config;
        snug_sobol_point(&s->sobol, s->sobol_next, u);
        snug__lattice_from_unit(&s->lattice, u, &config);
        if (is_askable(s, &config)) {
            *out = config;
            return SNUG_OK;
        }
        s->sobol_next++;
    }
    return snug__strategy_walk(s, 0, out, err);
}
