/* The goal of snug tune, at its edges: options and what they need, prices of cache types from the
 * store, words, keys of JSON. What a goal is stands in snug/goal.h. */
#include "cli/tune_goal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "snug/meters.h"
#include "snug/units.h"

/* ---- options ---- */

static snug_status check_kld(const struct cli_args *args, const struct snug_goal *goal,
                             struct snug_error *err)
{
    if (!snug_goal_needs_kld(goal) || args->allow_cache_types)
        return SNUG_OK;
    return snug_fail(err, SNUG_BAD_INPUT,
                     "%s needs --allow-cache-types: without it the cache keeps its type, and with "
                     "it its quality",
                     snug_goal_has(goal, SNUG_AXIS_KLD) ? "--objective kld" : "--max-kld");
}

static snug_status check_energy(const struct snug_goal *goal, struct snug_error *err)
{
    char why[96];
    if (!snug_goal_has(goal, SNUG_AXIS_ENERGY) || snug_meters_has_energy("", why, sizeof why))
        return SNUG_OK;
    return snug_fail(err, SNUG_UNSUPPORTED,
                     "--objective energy: no meter here (%s); Linux shows one of Intel and AMD "
                     "CPUs below /sys/class/powercap, often to root alone: sudo chmod a+r "
                     "/sys/class/powercap/*/energy_uj, or leave energy out",
                     why);
}

static snug_status check_needs(const struct cli_args *args, const struct snug_goal *goal,
                               struct snug_error *err)
{
    const snug_status status = check_kld(args, goal, err);
    return status == SNUG_OK ? check_energy(goal, err) : status;
}

snug_status cli_goal_open(const struct cli_args *args, struct snug_goal *out,
                          struct snug_error *err)
{
    struct snug_goal goal = {.limit = {[SNUG_LIMIT_TTFT] = args->max_ttft_s,
                                       [SNUG_LIMIT_TPOT] = args->max_tpot_s,
                                       [SNUG_LIMIT_KLD] = args->max_kld}};
    snug_status status = snug_goal_parse(args->objective ? args->objective : "request", &goal, err);
    if (status == SNUG_OK)
        status = check_needs(args, &goal, err);
    if (status == SNUG_OK)
        *out = goal;
    return status;
}

snug_status cli_goal_resume(const struct cli_args *args, const struct snug_goal *stored,
                            struct snug_goal *goal, struct snug_error *err)
{
    if (!args->objective) {
        memcpy(goal->axis, stored->axis, sizeof goal->axis);
        goal->n_axes = stored->n_axes;
    }
    for (int l = 0; l < SNUG_N_LIMITS; l++)
        if (!(goal->limit[l] > 0))
            goal->limit[l] = stored->limit[l];
    return check_needs(args, goal, err);
}

snug_status cli_goal_check_workload(const struct snug_goal *goal, const struct snug_workload *w,
                                    struct snug_error *err)
{
    if (w->n_prompt == 0 &&
        (snug_goal_has(goal, SNUG_AXIS_PREFILL) || goal->limit[SNUG_LIMIT_TTFT] > 0))
        return snug_fail(err, SNUG_BAD_INPUT, "--prompt 0 leaves no prefill or TTFT to time");
    if (w->n_gen == 0 &&
        (snug_goal_has(goal, SNUG_AXIS_DECODE) || snug_goal_has(goal, SNUG_AXIS_ENERGY) ||
         goal->limit[SNUG_LIMIT_TPOT] > 0))
        return snug_fail(err, SNUG_BAD_INPUT,
                         "--gen 0 leaves no decode, energy per token or TPOT to time");
    return SNUG_OK;
}

/* ---- prices of cache types ---- */

static int n_levels(const struct snug_space *space, int row)
{
    return row < 0 ? 1 : space->knobs[row].n_values;
}

double cli_kld_of(const struct snug_config *config, void *data)
{
    const struct cli_kld *kld = data;
    const int64_t k = kld->row_k < 0 ? 0 : config->value[kld->row_k];
    const int64_t v = kld->row_v < 0 ? 0 : config->value[kld->row_v];
    if (k < 0 || k >= SNUG_KNOB_VALUES_MAX || v < 0 || v >= SNUG_KNOB_VALUES_MAX)
        return (double)NAN;
    return kld->nats[k][v];
}

/* Ask the store for every pair; returns how many are measured. */
static int read_prices(const struct cli_task *task, struct cli_kld *kld)
{
    struct snug_config config;
    char text[128];
    int n = 0;
    snug_space_default(kld->space, &config);
    for (int k = 0; k < SNUG_KNOB_VALUES_MAX; k++)
        for (int v = 0; v < SNUG_KNOB_VALUES_MAX; v++)
            kld->nats[k][v] = (double)NAN;
    for (int k = 0; k < n_levels(kld->space, kld->row_k); k++)
        for (int v = 0; v < n_levels(kld->space, kld->row_v); v++) {
            if (kld->row_k >= 0)
                config.value[kld->row_k] = k;
            if (kld->row_v >= 0)
                config.value[kld->row_v] = v;
            (void)cli_task_quality(task, &config, text, sizeof text, &kld->nats[k][v]);
            n += (bool)isfinite(kld->nats[k][v]);
        }
    return n;
}

snug_status cli_kld_open(const struct cli_task *task, const struct snug_goal *goal,
                         const struct snug_config *base, struct cli_kld *out,
                         struct snug_error *err)
{
    const struct snug_space *space = snug_engine_space(task->engine);
    *out = (struct cli_kld){.space = space,
                            .row_k = snug_space_find(space, "type_k"),
                            .row_v = snug_space_find(space, "type_v")};
    if (!snug_goal_needs_kld(goal))
        return SNUG_OK;
    const int n = read_prices(task, out);
    if (isfinite(cli_kld_of(base, out)) && n > 1) {
        cli_say("KLD is measured of %d of %d pairs of cache types; the others are not tried", n,
                n_levels(space, out->row_k) * n_levels(space, out->row_v));
        return SNUG_OK;
    }
    return snug_fail(err, SNUG_INFEASIBLE,
                     "KLD of %s is not measured: run snug eval %s --reference REFERENCE --text "
                     "FILE, once as it is and once for each pair to try, such as --type-k q8_0 "
                     "--type-v q8_0",
                     n > 0 ? "enough cache types" : "the cache types",
                     cli_base_name(task->model.path));
}

/* ---- words ---- */

const char *cli_speed_text(enum snug_objective objective, double speed, char out[64])
{
    char text[SNUG_UNIT_TEXT_MAX];
    if (!(speed > 0.0))
        snprintf(out, 64, "-");
    else if (objective == SNUG_OBJECTIVE_REQUEST)
        snprintf(out, 64, "%s per request", snug_seconds_text(1.0 / speed, text));
    else if (objective == SNUG_OBJECTIVE_ENERGY)
        snprintf(out, 64, "%.3g J per token", 1.0 / speed);
    else
        snprintf(out, 64, "%s tokens/s", snug_rate_text(speed, text));
    return out;
}

static const char *value_text(enum snug_axis axis, double value, char out[64])
{
    char text[SNUG_UNIT_TEXT_MAX];
    if (!isfinite(value))
        snprintf(out, 64, "-");
    else if (axis == SNUG_AXIS_MEMORY)
        snprintf(out, 64, "%s", snug_bytes_text((uint64_t)value, text));
    else if (axis == SNUG_AXIS_KLD)
        snprintf(out, 64, "KLD %.5f", fmax(value, 0)); /* an estimate may lie below */
    else
        cli_speed_text((enum snug_objective)axis, value, out);
    return out;
}

const char *cli_axes_text(const struct snug_goal *goal, const struct snug_workload *w,
                          const struct snug_tune_trial *trial, char *out, size_t cap)
{
    char text[64];
    size_t n = 0;
    out[0] = '\0';
    for (int d = 0; d < goal->n_axes && n < cap; d++)
        n += (size_t)snprintf(out + n, cap - n, "%s%s%s", d ? ", " : "",
                              goal->axis[d] == SNUG_AXIS_PREFILL ? "prefill " : "",
                              value_text(goal->axis[d], trial->axis[d], text));
    for (int l = 0; l < SNUG_N_LIMITS && n < cap && trial->speed > 0.0; l++) {
        const double value =
            snug_limit_value((enum snug_limit)l, &trial->measurement, w, (double)NAN, NULL);
        if (l != SNUG_LIMIT_KLD && !snug_limit_holds(goal, (enum snug_limit)l, value))
            n += (size_t)snprintf(out + n, cap - n, ", past --%s (%s)",
                                  snug_limit_name((enum snug_limit)l),
                                  snug_seconds_text(value, text));
    }
    return out;
}

/* ---- JSON ---- */

void cli_trial_axes_json(struct snug_json_writer *w, const struct snug_goal *goal,
                         const double value[SNUG_AXES_MAX])
{
    static const char *const keys[SNUG_N_AXES] = {"decode_tps",   "prefill_tps",  "requests_per_s",
                                                  "tokens_per_j", "memory_bytes", "kld_nats"};
    if (snug_goal_is_plain(goal))
        return;
    snug_json_begin_object(w, "axes");
    for (int d = 0; d < goal->n_axes; d++)
        if (isfinite(value[d]))
            snug_json_put_number(w, keys[goal->axis[d]], value[d]);
    snug_json_end(w);
}
