/* What past trials say of this machine's law: each is predicted, and the ratios correct the next
 * prediction. Only trials that can be trusted, of this build, with the law's threads, whole on the
 * host, and of model files that are still here. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/plan.h"
#include "plan/law_config.h"
#include "snug/store.h"

enum { RESIDUALS_MAX = 512, MODELS_MAX = 16 };

struct past {
    struct cli_planning *p;
    struct snug_store *store;
    struct snug_model model; /* of the task at hand */
    struct snug_workload workload;
    struct snug_law_residual residuals[RESIDUALS_MAX];
    int n, n_models, host;
};

static void add(struct past *past, bool is_prefill, double predicted, double measured)
{
    if (past->n < RESIDUALS_MAX && predicted > 0.0 && measured > 0.0)
        past->residuals[past->n++] = (struct snug_law_residual){
            .is_prefill = is_prefill,
            .is_same_model = strcmp(past->model.hash, past->p->model.hash) == 0,
            .predicted = predicted,
            .measured = measured};
}

static void take(struct past *past, const struct snug_json_node *config,
                 const struct snug_measurement *m)
{
    const struct snug_law *law = &past->p->law;
    const struct snug_workload *w = &past->workload;
    struct snug__law_knobs knobs;
    struct snug_law_load load;
    snug__law_knobs_from_json(config, &knobs);
    if (knobs.n_threads != law->n_threads || knobs.n_threads_batch != law->n_threads ||
        !snug__law_load_of(&knobs, &past->model, past->host, &load))
        return;
    add(past, false, snug__law_load_decode_tps(law, &load, w), m->decode_tps);
    if (w->n_prompt > 0)
        add(past, true, snug__law_load_prefill_tps(law, &load, w), m->prefill_tps);
}

static bool on_trial(const struct snug_trial_view *view, void *data)
{
    struct past *past = data;
    const struct snug_measurement *m = view->measurement;
    struct snug_json *doc = NULL;
    if (m->outcome != SNUG_TRIAL_OK || snug_verdict_of(m->warnings) == SNUG_INVALID ||
        !view->config_json ||
        snug_json_parse("config", view->config_json, strlen(view->config_json), &doc, NULL) !=
            SNUG_OK)
        return true;
    take(past, snug_json_root(doc), m);
    snug_json_free(doc);
    return past->n < RESIDUALS_MAX;
}

/* What --verify measured of a file that is gone: predicted and measured side by side. */
static void take_verified(struct past *past, int64_t task_id)
{
    char *json = NULL;
    int64_t id = 0;
    struct snug_json *doc = NULL;
    if (snug_store_result(past->store, task_id, CLI_PLAN_VERIFY, &id, &json, NULL) != SNUG_OK)
        return;
    if (snug_json_parse("history", json, strlen(json), &doc, NULL) == SNUG_OK) {
        const struct snug_json_node *root = snug_json_root(doc);
        const struct snug_json_node *list = snug_json_get(root, "residuals");
        const char *hash = snug_json_get_string(root, "source_hash", "");
        const size_t n = snug_json_count(list);
        snprintf(past->model.hash, sizeof past->model.hash, "%s", hash);
        for (size_t i = 0; i < n; i++) {
            const struct snug_json_node *one = snug_json_at(list, i);
            add(past, snug_json_get_bool(one, "is_prefill", false),
                snug_json_get_number(one, "predicted", 0.0),
                snug_json_get_number(one, "measured", 0.0));
        }
    }
    snug_json_free(doc);
    free(json);
}

static bool on_task(const struct snug_task_view *view, void *data)
{
    struct past *past = data;
    const struct snug_trial_filter filter = {.task_id = view->id};
    if (strcmp(view->machine_fingerprint, past->p->machine.fingerprint) != 0 ||
        strcmp(view->build, past->p->law.build) != 0 || view->workload.n_parallel != 1 ||
        view->workload.name[0])
        return true;
    take_verified(past, view->id);
    if (view->n_trials == 0 || snug_model_open(view->model_path, &past->model, NULL) != SNUG_OK)
        return past->n < RESIDUALS_MAX;
    past->workload = view->workload;
    if (past->model.has_data && strcmp(past->model.hash, view->model_hash) == 0 &&
        snug_store_trials(past->store, &filter, on_trial, past, NULL) == SNUG_OK)
        past->n_models++;
    snug_model_clear(&past->model);
    return past->n < RESIDUALS_MAX && past->n_models < MODELS_MAX;
}

void cli_plan_correct(struct cli_planning *p)
{
    struct past *past = calloc(1, sizeof *past);
    if (!past || snug_store_open(p->args->store, &past->store, NULL) != SNUG_OK) {
        free(past); /* no history, no correction */
        return;
    }
    past->p = p;
    for (int i = 0; i < p->law.n_tiers; i++)
        past->host = p->law.tiers[i].kind == SNUG_TIER_HOST ? i : past->host;
    if (snug_store_tasks(past->store, NULL, on_task, past, NULL) == SNUG_OK && past->n > 0) {
        snug_law_correct(&p->law, past->residuals, past->n);
        cli_say("corrected by %d past speeds: predicted decode speed x %.2f, prefill x %.2f",
                past->n, p->law.decode_correction > 0.0 ? p->law.decode_correction : 1.0,
                p->law.prefill_correction > 0.0 ? p->law.prefill_correction : 1.0);
    }
    snug_store_close(past->store);
    free(past);
}
