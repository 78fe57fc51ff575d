/* What the calibrated law of this machine expects of a config: the tuner's prior. Nothing is
 * calibrated for it, so that a search costs what it says: it takes the law that `snug plan` left on
 * disk, which it does where nothing disturbed the calibration. The strategy learns how far to trust
 * it. */
#include "cli/tune_prior.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/cli.h"
#include "plan/law_config.h"
#include "plan/law_fit.h"
#include "snug/budget.h"

struct cli_prior {
    const struct cli_task *task;
    enum snug_objective objective;
    struct snug__calibration calibration;
    struct snug_law law; /* of n_threads; the last that was asked */
};

static const struct snug_law *law_of(struct cli_prior *prior, int64_t n_threads)
{
    const int n = n_threads > 0 ? (int)n_threads : prior->task->machine.n_threads_usable;
    if (prior->law.n_threads != n)
        snug__calibration_at(&prior->calibration, n, &prior->law);
    return &prior->law;
}

double cli_prior_log_speed(const struct snug_config *config, void *data)
{
    struct cli_prior *prior = data;
    const struct cli_task *task = prior->task;
    const struct snug_workload *w = &task->workload;
    struct snug__law_knobs knobs;
    struct snug_law_load load;
    snug__law_knobs_of(snug_engine_space(task->engine), config, &knobs);
    if (!snug__law_load_of(&knobs, &task->model, 0, &load))
        return (double)NAN;
    struct snug_measurement m = {.outcome = SNUG_TRIAL_OK};
    m.decode_tps = snug__law_load_decode_tps(law_of(prior, knobs.n_threads), &load, w);
    m.prefill_tps = snug__law_load_prefill_tps(law_of(prior, knobs.n_threads_batch), &load, w);
    const double speed = snug_measurement_speed(&m, w, prior->objective);
    return speed > 0.0 ? log(speed) : (double)NAN;
}

struct cli_prior *cli_prior_open(const struct cli_task *task, enum snug_objective objective)
{
    struct cli_prior *prior = calloc(1, sizeof *prior);
    char folder[4096], build[64];
    if (!prior)
        return NULL;
    prior->task = task;
    prior->objective = objective;
    if (snug_file_cache_folder(folder, sizeof folder, NULL) == SNUG_OK &&
        snug__calibration_load(folder, task->machine.fingerprint,
                               snug_engine_build_here(build, sizeof build), &prior->calibration,
                               NULL) == SNUG_OK &&
        prior->calibration.laws[0].tiers[0].kind == SNUG_TIER_HOST)
        return prior;
    free(prior);
    return NULL;
}

/* CPUs that others keep busy from here on change what threads are worth: the law, made where
 * nothing disturbed it, then misleads more than it helps (tunebench, cpu-s-load: area 0.87 with it,
 * 0.93 without). */
static const double OTHERS_MAX_CPUS = 0.5, LOOK_S = 1.0;

double cli_prior_others_cpus(void)
{
    struct snug_budget budget;
    const struct snug_budget_options options = {.interval_s = LOOK_S};
    snug_budget_read(&options, &budget, NULL);
    return budget.cpus_others.is_known ? budget.cpus_others.value : 0.0;
}

struct cli_prior *cli_prior_choose(const struct cli_task *task, enum snug_objective objective,
                                   const char *begun_with, double (*others_cpus)(void))
{
    struct cli_prior *prior = cli_prior_open(task, objective);
    const char *source = prior ? cli_prior_source(prior) : "";
    if (begun_with && strcmp(begun_with, source) != 0) {
        cli_say("the session began %s%s, which is not what snug plan knows now: goes on without",
                begun_with[0] ? "with " : "without a law of this machine", begun_with);
        cli_prior_close(prior);
        return NULL;
    }
    const double busy = prior && !begun_with ? others_cpus() : 0.0;
    if (busy > OTHERS_MAX_CPUS) {
        cli_say("other programs keep %.1f CPUs busy: begins without what snug plan knows, which is "
                "of a quiet machine",
                busy);
        cli_prior_close(prior);
        return NULL;
    }
    if (prior)
        cli_say("begins with what snug plan knows of this machine (%s)", source);
    return prior;
}

const char *cli_prior_source(const struct cli_prior *prior)
{
    return prior->calibration.laws[0].source;
}

void cli_prior_close(struct cli_prior *prior)
{
    free(prior);
}
