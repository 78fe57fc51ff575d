/* Reading one task back from the store. */
#include "cli/known.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "snug/model.h"
#include "snug/stats.h"
#include "snug/tune.h"
#include "tune/ladder.h"

static const size_t N_RESAMPLES = 500;

/* ---- which task ---- */

struct listing {
    struct known *tasks;
    int n, cap;
    const char *fingerprint;
    bool is_failed;
};

static bool take_task(const struct snug_task_view *view, void *data)
{
    struct listing *l = data;
    if (view->n_trials == 0 ||
        (l->fingerprint && strcmp(l->fingerprint, view->machine_fingerprint) != 0))
        return true;
    if (l->n == l->cap) {
        const int cap = l->cap ? l->cap * 2 : 8;
        struct known *grown = realloc(l->tasks, (size_t)cap * sizeof *grown);
        if (!grown) {
            l->is_failed = true;
            return false;
        }
        l->tasks = grown;
        l->cap = cap;
    }
    struct known *k = &l->tasks[l->n++];
    *k = (struct known){.task_id = view->id,
                        .workload = view->workload,
                        .is_imported = view->n_imported == view->n_trials};
    k->machine_json = snug_arena_strdup(&k->arena, view->machine_json);
    k->machine_name = snug_arena_strdup(&k->arena, view->machine_name);
    k->model_json = snug_arena_strdup(&k->arena, view->model_json);
    k->model_name = snug_arena_strdup(&k->arena, view->model_name);
    k->model_hash = snug_arena_strdup(&k->arena, view->model_hash);
    k->model_path = snug_arena_strdup(&k->arena, view->model_path);
    k->build = snug_arena_strdup(&k->arena, view->build);
    l->is_failed = !k->machine_json || !k->machine_name || !k->model_json || !k->model_name ||
                   !k->model_hash || !k->model_path || !k->build;
    return !l->is_failed;
}

snug_status known_list(const struct cli_args *args, struct snug_store *store,
                       const char *fingerprint, struct known **out, int *out_n,
                       struct snug_error *err)
{
    struct snug_model model = {0};
    struct listing l = {.fingerprint = fingerprint};
    snug_status status = SNUG_OK;
    if (args->operand)
        status = snug_model_open(args->operand, &model, err);
    if (status == SNUG_OK)
        status = snug_store_tasks(store, args->operand ? model.hash : NULL, take_task, &l, err);
    snug_model_clear(&model);
    if (status == SNUG_OK && l.is_failed)
        status = snug_fail(err, SNUG_NO_MEMORY, "no memory for %d tasks", l.n);
    if (status == SNUG_OK && l.n == 0)
        status =
            args->operand
                ? snug_fail(err, SNUG_INFEASIBLE, "nothing is known of %s%s yet: run snug tune %s",
                            args->operand, fingerprint ? " on this machine" : "", args->operand)
                : snug_fail(err, SNUG_INFEASIBLE,
                            "the history %s is empty: run snug tune model.gguf",
                            snug_store_path(store));
    if (status != SNUG_OK) {
        known_list_free(l.tasks, l.n);
        return status;
    }
    *out = l.tasks;
    *out_n = l.n;
    return SNUG_OK;
}

void known_list_free(struct known *list, int n)
{
    for (int i = 0; i < n; i++)
        known_close(&list[i]);
    free(list);
}

bool known_matches(const struct cli_args *args, const struct snug_workload *w)
{
    return (!args->has_prompt || args->n_prompt == w->n_prompt) &&
           (!args->has_gen || args->n_gen == w->n_gen) &&
           (!args->has_depth || args->n_depth == w->n_depth) &&
           (!args->n_parallel || args->n_parallel == w->n_parallel) &&
           (!args->n_ctx || args->n_ctx == w->n_ctx);
}

snug_status known_none(struct snug_error *err)
{
    return snug_fail(err, SNUG_INFEASIBLE,
                     "nothing is known for this workload (prompt, output, depth, context, "
                     "sequences): see snug history, or run snug tune with it");
}

static bool is_tuned(struct snug_store *store, const struct known *k)
{
    int64_t id = 0;
    char *json = NULL;
    const bool is_found = snug_store_result(store, k->task_id, "tune", &id, &json, NULL) == SNUG_OK;
    free(json);
    return is_found;
}

/* Tuned to its end before others, measured here before imported. */
static int rank_of(struct snug_store *store, const struct known *k)
{
    return is_tuned(store, k) ? 3 : k->is_imported ? 1 : 2;
}

snug_status known_open(const struct cli_args *args, struct snug_store *store,
                       const char *fingerprint, struct known *out, struct snug_error *err)
{
    struct known *list = NULL;
    int n = 0, chosen = -1;
    snug_status status = known_list(args, store, fingerprint, &list, &n, err);
    if (status != SNUG_OK)
        return status;
    int best = 0;
    for (int i = 0; i < n; i++) { /* newest first */
        const int rank = known_matches(args, &list[i].workload) ? rank_of(store, &list[i]) : 0;
        chosen = rank > best ? i : chosen;
        best = rank > best ? rank : best;
    }
    if (chosen < 0) {
        status = known_none(err);
    } else {
        *out = list[chosen];
        list[chosen] = (struct known){.task_id = 0};
        status = known_load(args, store, out, err);
    }
    known_list_free(list, n);
    return status;
}

/* ---- its trials ---- */

struct reading {
    struct known *known;
    size_t cap;
    bool is_failed;
};

static bool take_trial(const struct snug_trial_view *view, void *data)
{
    struct reading *r = data;
    struct known *k = r->known;
    if ((size_t)k->n_trials == r->cap) {
        const size_t cap = r->cap ? r->cap * 2 : 64;
        struct known_trial *grown = realloc(k->trials, cap * sizeof *grown);
        if (!grown) {
            r->is_failed = true;
            return false;
        }
        k->trials = grown;
        r->cap = cap;
    }
    struct known_trial *trial = &k->trials[k->n_trials++];
    *trial = (struct known_trial){.id = view->id, .session_id = view->session_id};
    trial->role = snug_arena_strdup(&k->arena, view->role);
    trial->strategy = snug_arena_strdup(&k->arena, view->strategy);
    trial->config_json = snug_arena_strdup(&k->arena, view->config_json);
    trial->effective_json = snug_arena_strdup(&k->arena, view->effective_json);
    trial->measurement = *view->measurement;
    snug_measurement_forget(&trial->measurement);
    trial->quality_text = "not measured";
    trial->bytes = snug_bytes_stated(&view->measurement->bytes);
    r->is_failed =
        !trial->role || !trial->strategy || !trial->config_json || !trial->effective_json;
    return !r->is_failed;
}

/* "n_ubatch=256 repack=off": the members that differ from the reference config's. */
static char *difference(struct known *k, const char *config_json,
                        const struct snug_json_node *reference)
{
    struct snug_json *doc = NULL;
    char *text = snug_arena_strdup(&k->arena, "");
    if (snug_json_parse("config", config_json, strlen(config_json), &doc, NULL) != SNUG_OK)
        return text;
    const char *name = NULL;
    const struct snug_json_node *value = NULL;
    for (size_t i = 0; snug_json_member(snug_json_root(doc), i, &name, &value); i++) {
        char mine[64], other[64] = "";
        const struct snug_json_node *theirs = snug_json_get(reference, name);
        snprintf(mine, sizeof mine, "%s", snug_json_string(value, ""));
        if (snug_json_is_number(value))
            snprintf(mine, sizeof mine, "%lld", (long long)snug_json_int(value, 0));
        if (snug_json_is_number(theirs))
            snprintf(other, sizeof other, "%lld", (long long)snug_json_int(theirs, 0));
        else
            snprintf(other, sizeof other, "%s", snug_json_string(theirs, ""));
        if (text && strcmp(mine, other) != 0)
            text = snug_arena_printf(&k->arena, "%s%s%s=%s", text, text[0] ? " " : "", name, mine);
    }
    snug_json_free(doc);
    return text && text[0] ? text : snug_arena_strdup(&k->arena, "default");
}

static void name_configs(struct known *k)
{
    struct snug_json *reference = NULL;
    for (int i = 0; i < k->n_trials && !reference; i++) {
        const char *json = k->trials[i].config_json;
        if (strcmp(k->trials[i].role, "default") == 0 &&
            snug_json_parse("config", json, strlen(json), &reference, NULL) != SNUG_OK)
            reference = NULL;
    }
    for (int i = 0; i < k->n_trials; i++)
        k->trials[i].config_text =
            difference(k, k->trials[i].config_json, snug_json_root(reference));
    snug_json_free(reference);
}

static void find_speeds(struct known *k)
{
    for (int i = 0; i < k->n_trials; i++) {
        struct known_trial *trial = &k->trials[i];
        double blocks[SNUG_BLOCKS_MAX];
        trial->speed = snug_measurement_speed(&trial->measurement, &k->workload, k->objective);
        const int n =
            snug_measurement_block_speeds(&trial->measurement, &k->workload, k->objective, blocks);
        if (trial->speed <= 0.0 || n < 2)
            continue;
        const struct snug_interval interval =
            snug_stats_median_interval(blocks, (size_t)n, 0.95, N_RESAMPLES, 1);
        trial->speed_lo = interval.lo;
        trial->speed_hi = interval.hi;
    }
}

/* A trial of which something else is known than the speed of its config has no place on a front,
 * unless no trial is better. */
static bool is_believed(const struct known_trial *trial, bool has_better)
{
    return trial->speed > 0.0 && snug__ladder_rung(trial->role) == 0 &&
           !(has_better && snug_verdict_of(trial->measurement.warnings) == SNUG_INVALID);
}

/* One point per config: the median of its believed trials, marked on the first of them. */
static snug_status find_front(struct known *k, struct snug_error *err)
{
    const size_t cap = (size_t)k->n_trials + 1;
    struct snug_point *points = calloc(cap, sizeof *points);
    size_t *owner = calloc(cap, sizeof *owner), *index = calloc(cap, sizeof *index);
    double *speeds = calloc(cap, sizeof *speeds);
    size_t n = 0;
    bool *believed = calloc(cap, sizeof *believed);
    const bool has_room = points && owner && index && speeds && believed;
    bool has_better = false;
    for (int i = 0; i < k->n_trials; i++)
        has_better = has_better || is_believed(&k->trials[i], true);
    for (int i = 0; has_room && i < k->n_trials; i++) {
        size_t n_speeds = 0;
        bool is_first = is_believed(&k->trials[i], has_better);
        for (int j = 0; j < k->n_trials && is_first; j++) {
            if (!is_believed(&k->trials[j], has_better) ||
                strcmp(k->trials[j].config_json, k->trials[i].config_json) != 0)
                continue;
            is_first = j >= i;
            speeds[n_speeds++] = k->trials[j].speed;
        }
        if (!is_first)
            continue;
        owner[n] = (size_t)i;
        points[n++] = (struct snug_point){snug_stats_median(speeds, n_speeds), k->trials[i].bytes};
    }
    for (int i = 0; has_room && i < k->n_trials; i++)
        believed[i] = is_believed(&k->trials[i], has_better);
    const bool is_plain = snug_goal_is_plain(&k->goal);
    const snug_status status = has_room && !is_plain ? known_goal_front(k, believed, err) : SNUG_OK;
    const size_t n_front = has_room && n && is_plain ? snug_front_compute(points, n, index) : 0;
    for (size_t i = 0; i < n_front; i++)
        k->trials[owner[index[i]]].on_front = true;
    free(points);
    free(owner);
    free(index);
    free(speeds);
    free(believed);
    return has_room ? status : snug_fail(err, SNUG_NO_MEMORY, "no memory for a front");
}

snug_status known_load(const struct cli_args *args, struct snug_store *store, struct known *k,
                       struct snug_error *err)
{
    struct reading reading = {.known = k};
    const struct snug_trial_filter filter = {.task_id = k->task_id};
    snug_status status = snug_store_trials(store, &filter, take_trial, &reading, err);
    if (status == SNUG_OK && reading.is_failed)
        status = snug_fail(err, SNUG_NO_MEMORY, "no memory for %d trials", k->n_trials);
    if (status == SNUG_OK && snug_store_result(store, k->task_id, "tune", &k->result_session_id,
                                               &k->result_json, NULL) != SNUG_OK)
        k->result_json = NULL; /* never tuned to the end */
    if (status == SNUG_OK) {
        known_find_goal(args, k);
        known_judge_goal(store, k);
        name_configs(k);
        find_speeds(k);
        status = find_front(k, err);
    }
    if (status != SNUG_OK)
        known_close(k);
    return status;
}

void known_close(struct known *known)
{
    snug_arena_clear(&known->arena);
    free(known->trials);
    free(known->result_json);
    *known = (struct known){.task_id = 0};
}

const struct known_trial *known_find(const struct known *known, int64_t id)
{
    for (int i = 0; i < known->n_trials; i++) {
        if (known->trials[i].id == id)
            return &known->trials[i];
    }
    return NULL;
}
