/* Seconds of a trial: a mean for loads, and a line for work over speed, both in logs; the slope is
 * drawn to its prior, since a handful of trials cannot tell it alone. */
#include "tune/trial_cost.h"

#include <math.h>

/* Between a fixed amount of work (-1) and a fixed time (0), where timed blocks stop by either. */
#define SLOPE_MEAN (-0.5)
#define SLOPE_SD 0.5
/* A load cheaper than this part of a trial's work is not worth another config. */
#define LOAD_FRAC_MIN 0.1
/* Work of the first rung by that of the full trial, and of the next by the one before (four times
 * the tokens, the same prompt), before any were timed. */
#define FIRST_RUNG_FRAC 0.15
#define NEXT_RUNG_FACTOR 3.0
#define WORK_LOG_SD 0.3 /* trials of one speed differ by about so much: warm-up, blocks, phases */

static bool has_seconds(const struct snug_observation *o)
{
    return o->outcome == SNUG_TRIAL_OK && o->rung == 0 && o->work_s > 0;
}

/* The share of a full trial's work that low rungs were, from theirs so far and a guess that counts
 * as one. */
static void learn_rungs(struct snug__trial_cost *out, const struct snug_observation *told, size_t n)
{
    double guess = FIRST_RUNG_FRAC;
    for (int rung = 1; rung <= SNUG__LADDER_RUNGS; rung++, guess *= NEXT_RUNG_FACTOR) {
        double sum = log(guess), count = 1;
        for (size_t i = 0; i < n && out->is_known; i++) {
            const struct snug_observation *o = &told[i];
            if (o->outcome != SNUG_TRIAL_OK || o->rung != rung || !(o->work_s > 0))
                continue;
            sum += log(o->work_s / snug__trial_cost_seconds(out, log(o->speed), false));
            count++;
        }
        out->rung_frac[rung] = guess = exp(sum / count);
    }
}

static void learn_full(struct snug__trial_cost *out, const struct snug_observation *told, size_t n)
{
    double sum_speed = 0, sum_work = 0, sum_setup = 0, n_work = 0, n_setup = 0;
    for (size_t i = 0; i < n; i++) {
        if (!has_seconds(&told[i]))
            continue;
        sum_speed += log(told[i].speed);
        sum_work += log(told[i].work_s);
        n_work++;
        if (told[i].setup_s > 0) {
            sum_setup += log(told[i].setup_s);
            n_setup++;
        }
    }
    *out = (struct snug__trial_cost){.is_known = n_work > 0, .slope = SLOPE_MEAN};
    if (!out->is_known)
        return;
    out->setup_s = n_setup > 0 ? exp(sum_setup / n_setup) : 0;
    out->speed_log = sum_speed / n_work;
    out->work_log = sum_work / n_work;
    double square = WORK_LOG_SD * WORK_LOG_SD / (SLOPE_SD * SLOPE_SD);
    double product = SLOPE_MEAN * square;
    for (size_t i = 0; i < n; i++) {
        if (!has_seconds(&told[i]))
            continue;
        const double x = log(told[i].speed) - out->speed_log;
        square += x * x;
        product += x * (log(told[i].work_s) - out->work_log);
    }
    out->slope = product / square;
}

void snug__trial_cost_learn(struct snug__trial_cost *out, const struct snug_observation *told,
                            size_t n)
{
    learn_full(out, told, n);
    learn_rungs(out, told, n);
}

bool snug__trial_cost_must_load(const struct snug_space *space, const struct snug_observation *told,
                                size_t n, const struct snug_config *config)
{
    if (n == 0 || told[n - 1].outcome != SNUG_TRIAL_OK)
        return true;
    for (int r = 0; r < space->n; r++)
        if (space->knobs[r].when == SNUG_KNOB_LOAD &&
            told[n - 1].config.value[r] != config->value[r])
            return true;
    return false;
}

double snug__trial_cost_seconds(const struct snug__trial_cost *cost, double log_speed,
                                bool must_load)
{
    if (!cost->is_known)
        return 1;
    const double work_log = cost->work_log + cost->slope * (log_speed - cost->speed_log);
    return exp(work_log) + (must_load ? cost->setup_s : 0);
}

int snug__trial_cost_choose(const struct snug_strategy *s, const struct snug__pool *pool, int best,
                            double enough, bool only_stated)
{
    struct snug__trial_cost cost;
    double most = 0;
    int chosen = best;
    snug__trial_cost_learn(&cost, s->told, s->n_told);
    if (!(cost.setup_s > LOAD_FRAC_MIN * exp(cost.work_log)))
        return best;
    for (int i = 0; i < pool->n; i++) {
        const struct snug__candidate *item = &pool->items[i];
        if (item->score < enough || !(item->score > 0) ||
            (only_stated && item->state == SNUG__BYTES_GUESSED))
            continue;
        const bool must_load =
            snug__trial_cost_must_load(s->problem.space, s->told, s->n_told, &item->config);
        const double rate = item->score / snug__trial_cost_seconds(&cost, item->mean, must_load);
        if (rate > most || (i == best && rate >= most)) {
            most = rate;
            chosen = i;
        }
    }
    return chosen;
}
