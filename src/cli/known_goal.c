/* What is known, seen by a goal: values on its axes, prices of cache types, limits, its front. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/known.h"
#include "snug/stats.h"
#include "tune/ladder.h"
#include "tune/loop_goal.h"
#include "tune/session.h"

void known_find_goal(const struct cli_args *args, struct known *k)
{
    struct snug_json *doc = NULL;
    struct snug_goal goal = {.n_axes = 0};
    if (k->result_json &&
        snug_json_parse("result", k->result_json, strlen(k->result_json), &doc, NULL) == SNUG_OK)
        snug__tune_goal_read(snug_json_root(doc), &goal);
    snug_json_free(doc);
    const char *text = args->objective ? args->objective : goal.n_axes ? NULL : "request";
    if (text && snug_goal_parse(text, &goal, NULL) != SNUG_OK)
        goal.n_axes = 0; /* the option's row has refused it already */
    k->goal = goal;
    k->objective = snug_goal_lead(&goal);
}

/* What the store has of the cache types that a config names. */
static void find_price(struct snug_store *store, struct known *k, struct known_trial *trial)
{
    struct snug_json *doc = NULL;
    struct snug_quality quality;
    char text[128];
    trial->kld_nats = (double)NAN;
    if (snug_json_parse("config", trial->config_json, strlen(trial->config_json), &doc, NULL) !=
        SNUG_OK)
        return;
    const struct snug_json_node *config = snug_json_root(doc);
    snug_quality_init(&quality);
    if (snug_store_quality_find(store, k->model_hash, snug_json_get_string(config, "type_k", ""),
                                snug_json_get_string(config, "type_v", ""), &quality,
                                NULL) == SNUG_OK) {
        trial->kld_nats = quality.kld_mean.value;
        snug_quality_text(&quality, text, sizeof text);
        const char *kept = snug_arena_strdup(&k->arena, text);
        trial->quality_text = kept ? kept : trial->quality_text;
    }
    snug_json_free(doc);
}

static bool keeps_limits(const struct known *k, const struct known_trial *trial)
{
    bool holds = true;
    for (int l = 0; l < SNUG_N_LIMITS; l++) {
        const struct snug_measurement *m = &trial->measurement;
        /* Of a short trial, which is two blocks and times only what it needs, what was measured
         * counts, not its slowest block; as the tuning itself had it. */
        const bool is_short = snug__tune_is_short(trial->role);
        const bool is_timed =
            l == SNUG_LIMIT_KLD || (l == SNUG_LIMIT_TTFT ? m->prefill_tps : m->decode_tps) > 0.0;
        double hi = (double)NAN;
        const double value =
            snug_limit_value((enum snug_limit)l, m, &k->workload, trial->kld_nats, &hi);
        if (is_timed || !is_short)
            holds &= snug_limit_holds(&k->goal, (enum snug_limit)l, is_short ? value : hi);
    }
    return holds;
}

static bool is_same_config(const struct known_trial *a, const struct known_trial *b)
{
    return strcmp(a->config_json, b->config_json) == 0;
}

void known_judge_goal(struct snug_store *store, struct known *k)
{
    for (int i = 0; i < k->n_trials; i++) {
        struct known_trial *trial = &k->trials[i];
        find_price(store, k, trial);
        trial->is_safe = true;
        for (int d = 0; d < SNUG_AXES_MAX; d++)
            trial->axis[d] = d < k->goal.n_axes
                                 ? snug_axis_value(k->goal.axis[d], &trial->measurement,
                                                   &k->workload, trial->kld_nats)
                                 : (double)NAN;
    }
    for (int i = 0; i < k->n_trials; i++) {
        const struct known_trial *trial = &k->trials[i];
        /* What was only begun is cold, and says nothing of limits. */
        if (trial->measurement.outcome != SNUG_TRIAL_OK || snug__ladder_rung(trial->role) > 0 ||
            keeps_limits(k, trial))
            continue;
        for (int j = 0; j < k->n_trials; j++)
            k->trials[j].is_safe &= !is_same_config(trial, &k->trials[j]);
    }
}

/* Medians over the believed trials of the config of trial i; false: an earlier trial stands for it,
 * or it is no point. */
static bool point_of(const struct known *k, int i, const bool *is_believed, double *room,
                     double out[SNUG_AXES_MAX])
{
    bool is_point = is_believed[i] && k->trials[i].is_safe;
    for (int j = 0; j < i && is_point; j++)
        is_point = !is_believed[j] || !is_same_config(&k->trials[i], &k->trials[j]);
    for (int d = 0; d < SNUG_AXES_MAX && is_point; d++) {
        size_t n = 0;
        for (int j = i; j < k->n_trials; j++)
            if (is_believed[j] && is_same_config(&k->trials[i], &k->trials[j]) &&
                isfinite(k->trials[j].axis[d]))
                room[n++] = k->trials[j].axis[d];
        out[d] =
            d >= k->goal.n_axes
                ? 1
                : snug_axis_gain(k->goal.axis[d], n ? snug_stats_median(room, n) : (double)NAN, 1);
    }
    return is_point;
}

snug_status known_goal_front(struct known *k, const bool *is_believed, struct snug_error *err)
{
    const size_t cap = (size_t)k->n_trials + 1;
    double(*gain)[SNUG_AXES_MAX] = calloc(cap, sizeof *gain), *room = calloc(cap, sizeof *room);
    size_t *owner = calloc(cap, sizeof *owner), *index = calloc(cap, sizeof *index), n = 0;
    const bool has_room = gain && room && owner && index;
    for (int i = 0; has_room && i < k->n_trials; i++)
        if (point_of(k, i, is_believed, room, gain[n]))
            owner[n++] = (size_t)i;
    const size_t n_front =
        has_room ? snug_goal_front((const double(*)[SNUG_AXES_MAX])gain, n, index) : 0;
    for (size_t i = 0; i < n_front; i++)
        k->trials[owner[index[i]]].on_front = true;
    free(gain);
    free(room);
    free(owner);
    free(index);
    return has_room ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "no memory for a front");
}
