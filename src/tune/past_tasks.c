/* Reading past tasks from the store: choosing them by their descriptors, and their trials as
 * observations in rows of their own.
 *
 * The store keeps configs by name, not the space they were drawn from. Its rows are those of today,
 * with the defaults of the task's own default trial, and bounds that hold all values tried. */
#include "tune/past_tasks.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trial/trial_json.h"
#include "tune/ladder.h"
#include "tune/session.h"
#include "tune/strategy.h"
#include "tune/transfer.h"

/* Tasks whose trials are looked at, the most alike first, and those that are compared at all. */
#define CANDIDATES_MAX 16
#define TASKS_MAX 4096
/* Any count that a row may have had. */
#define VALUE_MAX (INT64_C(1) << 28)

struct candidate {
    int64_t id;
    double similarity;
};

struct choosing {
    const struct snug__past_query *query;
    struct candidate best[CANDIDATES_MAX]; /* by similarity, the newest first among equals */
    int n, n_seen;
};

static double thousandths(double x)
{
    return round(1000 * x) / 1000;
}

static bool choose(const struct snug_task_view *view, void *data)
{
    struct choosing *c = data;
    struct snug__descriptor d;
    if (view->n_trials < SNUG__TRANSFER_TRIALS_MIN)
        return ++c->n_seen < TASKS_MAX;
    snug__descriptor_of_task(&d, view, NULL, NULL);
    /* speeds are no part of a stored machine; those of the same one are the same */
    static const int speeds[] = {SNUG__DESCRIPTOR_bandwidth_bps, SNUG__DESCRIPTOR_flops};
    const bool is_here = strcmp(view->machine_fingerprint, c->query->machine_fingerprint) == 0;
    for (int i = 0; i < 2 && is_here; i++)
        d.value[speeds[i]] = c->query->here->value[speeds[i]];
    const double similarity = thousandths(snug__descriptor_similarity(&d, c->query->here));
    int at = c->n;
    while (at > 0 && c->best[at - 1].similarity < similarity)
        at--;
    if (similarity >= SNUG__PAST_SIMILARITY_MIN && at < CANDIDATES_MAX) {
        const int n_moved = (c->n < CANDIDATES_MAX ? c->n : CANDIDATES_MAX - 1) - at;
        memmove(&c->best[at + 1], &c->best[at], (size_t)n_moved * sizeof *c->best);
        c->best[at] = (struct candidate){view->id, similarity};
        c->n += c->n < CANDIDATES_MAX;
    }
    return ++c->n_seen < TASKS_MAX;
}

/* ---- one task ---- */

/* Rows that take any value, to read configs of other machines. */
static void widen(const struct snug_space *space, struct snug_space *out)
{
    *out = *space;
    for (int i = 0; i < out->n; i++) {
        struct snug_knob *knob = &out->knobs[i];
        if (knob->kind != SNUG_KNOB_INT && knob->kind != SNUG_KNOB_LOG2)
            continue;
        knob->min = knob->kind == SNUG_KNOB_LOG2 ? 1 : knob->min < 0 ? knob->min : 0;
        knob->max = VALUE_MAX;
        knob->step = 1;
    }
}

struct reading {
    const struct snug__past_query *query;
    struct snug__past_task *task;
    struct snug_space wide;
    int64_t until_max; /* 0: no bound */
    int64_t n_read;    /* good ones; the ring holds the newest */
    bool has_default;
    bool with_disturbed; /* speeds of something else than the config alone count too */
};

static bool read_config(const struct snug_trial_view *view, const struct snug_space *space,
                        struct snug_config *out)
{
    struct snug_json *doc = NULL;
    const char *json = view->config_json;
    snug_space_default(space, out);
    const bool is_read =
        snug_json_parse("stored config", json, strlen(json), &doc, NULL) == SNUG_OK &&
        snug_config_from_json(snug_json_root(doc), space, true, out, NULL) == SNUG_OK;
    snug_json_free(doc);
    return is_read;
}

static bool read_trial(const struct snug_trial_view *view, void *data)
{
    struct reading *r = data;
    struct snug__past_task *task = r->task;
    const struct snug_measurement *m = view->measurement;
    struct snug_config config;
    if (r->until_max && view->id > r->until_max)
        return false;
    if (snug__ladder_rung(view->role) > 0) /* begun and not gone on with: no result */
        return true;
    const double speed = snug_measurement_speed(m, &task->workload, r->query->objective);
    const uint64_t bytes = snug_bytes_stated(&m->bytes);
    const bool is_default = !r->has_default && strcmp(view->role, "default") == 0;
    const bool is_good = m->outcome == SNUG_TRIAL_OK && speed > 0 && isfinite(speed) && bytes > 0 &&
                         (r->with_disturbed || snug_verdict_of(m->warnings) != SNUG_INVALID);
    if ((!is_good && !is_default) || !read_config(view, &r->wide, &config))
        return true;
    for (int i = 0; is_default && i < task->space.n; i++)
        task->space.knobs[i].def = config.value[i];
    r->has_default = r->has_default || is_default;
    if (!is_good)
        return true;
    task->trials[r->n_read++ % SNUG__PAST_TRIALS_MAX] = (struct snug_observation){
        .config = config,
        .outcome = SNUG_TRIAL_OK,
        .speed = speed,
        .log_speed_sd = snug__strategy_speed_sd(m, &task->workload, r->query->objective),
        .bytes = bytes,
    };
    task->until = view->id;
    return true;
}

/* Put the ring in order. */
static bool unroll(struct snug__past_task *task, int64_t n_read)
{
    const size_t n = SNUG__PAST_TRIALS_MAX;
    task->n = n_read < (int64_t)n ? (int)n_read : (int)n;
    const size_t first = n_read > (int64_t)n ? (size_t)(n_read % (int64_t)n) : 0;
    struct snug_observation *turned = calloc(n, sizeof *turned);
    if (!turned)
        return false;
    for (size_t i = 0; i < (size_t)task->n; i++)
        turned[i] = task->trials[(first + i) % n];
    free(task->trials);
    task->trials = turned;
    return true;
}

/* Bounds that hold the default and everything tried. */
static void bound(struct snug__past_task *task, int64_t n_layer, int n_threads)
{
    for (int r = 0; r < task->space.n; r++) {
        struct snug_knob *knob = &task->space.knobs[r];
        int64_t most = knob->def, least = knob->def;
        if (knob->kind != SNUG_KNOB_INT && knob->kind != SNUG_KNOB_LOG2)
            continue;
        if (strcmp(knob->name, "n_gpu_layers") == 0)
            most = n_layer + 1 > most ? n_layer + 1 : most;
        if (strncmp(knob->name, "n_threads", strlen("n_threads")) == 0)
            most = n_threads > most ? n_threads : most;
        for (int i = 0; i < task->n; i++) {
            const int64_t value = task->trials[i].config.value[r];
            most = value > most ? value : most;
            least = value < least ? value : least;
        }
        knob->min = knob->min < least ? knob->min : least;
        knob->max = most;
    }
}

struct filling {
    const struct snug__past_query *query;
    struct snug__past_task *task;
    int64_t n_layer;
    int n_threads;
    bool is_found, is_failed;
};

static bool fill(const struct snug_task_view *view, void *data)
{
    struct filling *f = data;
    struct snug__past_task *task = f->task;
    struct snug__descriptor d;
    if (view->id != task->id)
        return true;
    const bool is_here = strcmp(view->machine_fingerprint, f->query->machine_fingerprint) == 0;
    snug__descriptor_of_task(&d, view, &f->n_layer, &f->n_threads);
    task->workload = view->workload;
    snprintf(task->machine_fingerprint, sizeof task->machine_fingerprint, "%.64s",
             view->machine_fingerprint);
    snprintf(task->model_hash, sizeof task->model_hash, "%.64s", view->model_hash);
    snprintf(task->label, sizeof task->label, "%.60s%s%.40s, prompt %lld, output %lld",
             view->model_name, is_here ? "" : " on ", is_here ? "" : view->machine_name,
             (long long)view->workload.n_prompt, (long long)view->workload.n_gen);
    task->model_path = strdup(view->model_path);
    f->is_failed = !task->model_path;
    f->is_found = true;
    return false;
}

static void clear_task(struct snug__past_task *task)
{
    free(task->trials);
    free(task->expected);
    free(task->model_path);
    *task = (struct snug__past_task){.n = 0};
}

/* task->id and similarity are set. n is 0 when there is nothing to learn. */
static snug_status load(const struct snug__past_query *query, int64_t until_max,
                        struct snug__past_task *task, struct snug_error *err)
{
    struct filling f = {.query = query, .task = task};
    struct reading r = {.query = query, .task = task, .until_max = until_max};
    const struct snug_trial_filter filter = {.task_id = task->id};
    task->trials = calloc(SNUG__PAST_TRIALS_MAX, sizeof *task->trials);
    task->expected = calloc(SNUG__PAST_TRIALS_MAX, sizeof *task->expected);
    if (!task->trials || !task->expected)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for past trials");
    snug_status status = snug_store_tasks(query->store, NULL, fill, &f, err);
    if (status != SNUG_OK || !f.is_found)
        return status;
    if (f.is_failed)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for past trials");
    task->space = *query->space;
    widen(query->space, &r.wide);
    status = snug_store_trials(query->store, &filter, read_trial, &r, err);
    if (status == SNUG_OK && r.n_read < SNUG__TRANSFER_TRIALS_MIN) {
        r.with_disturbed = true; /* better than nothing: what misleads is found out */
        r.n_read = 0;
        status = snug_store_trials(query->store, &filter, read_trial, &r, err);
    }
    if (status == SNUG_OK && !unroll(task, r.n_read))
        status = snug_fail(err, SNUG_NO_MEMORY, "no memory for past trials");
    if (status != SNUG_OK)
        return status;
    bound(task, f.n_layer, f.n_threads);
    for (int i = 0; i < task->n; i++)
        task->expected[i] = (double)NAN;
    return SNUG_OK;
}

snug_status snug__past_tasks_find(const struct snug__past_query *query,
                                  struct snug__past_tasks *out, struct snug_error *err)
{
    struct choosing c = {.query = query};
    struct snug__past_tasks found = {.n = 0};
    snug_status status = snug_store_tasks(query->store, NULL, choose, &c, err);
    for (int i = 0; status == SNUG_OK && i < c.n && found.n < SNUG_PASTS_MAX; i++) {
        struct snug__past_task *task = &found.tasks[found.n];
        *task = (struct snug__past_task){.id = c.best[i].id, .similarity = c.best[i].similarity};
        status = load(query, 0, task, err);
        if (status != SNUG_OK || task->n < SNUG__TRANSFER_TRIALS_MIN)
            clear_task(task);
        else
            found.n++;
    }
    if (status != SNUG_OK) {
        snug__past_tasks_clear(&found);
        return status;
    }
    *out = found;
    return SNUG_OK;
}

void snug__past_tasks_clear(struct snug__past_tasks *tasks)
{
    for (int i = 0; i < tasks->n; i++)
        clear_task(&tasks->tasks[i]);
    tasks->n = 0;
}

const char *snug__past_tasks_record(const struct snug__past_tasks *tasks,
                                    char out[SNUG__PAST_RECORD_MAX])
{
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < tasks->n; i++) {
        const struct snug__past_task *t = &tasks->tasks[i];
        const int n =
            snprintf(out + used, SNUG__PAST_RECORD_MAX - used, "%s%" PRId64 "/%" PRId64 "/%d/%d",
                     i ? "," : "", t->id, t->until, t->n, (int)lround(1000 * t->similarity));
        used += n > 0 ? (size_t)n : 0;
    }
    return out;
}

/* One number and what ends it, the end not counted. */
static bool take_number(const char **at, char end, int64_t max, int64_t *out)
{
    char *stop;
    if (**at < '0' || **at > '9')
        return false;
    *out = strtoll(*at, &stop, 10);
    if (*out > max || *stop != end)
        return false;
    *at = stop + (end != '\0');
    return true;
}

/* "task/until/trials/thousandths", up to a comma or the end. */
static bool take_record(const char **at, struct snug__past_task *task, int *out_n)
{
    int64_t n, similarity;
    const char end = strchr(*at, ',') ? ',' : '\0';
    const bool is_read = take_number(at, '/', INT64_MAX - 1, &task->id) &&
                         take_number(at, '/', INT64_MAX - 1, &task->until) &&
                         take_number(at, '/', SNUG__PAST_TRIALS_MAX, &n) &&
                         take_number(at, end, 1000, &similarity);
    if (!is_read || task->until < 1 || n < SNUG__TRANSFER_TRIALS_MIN)
        return false;
    *out_n = (int)n;
    task->similarity = (double)similarity / 1000;
    return true;
}

snug_status snug__past_tasks_find_again(const struct snug__past_query *query, const char *record,
                                        struct snug__past_tasks *out, struct snug_error *err)
{
    struct snug__past_tasks found = {.n = 0};
    snug_status status = SNUG_OK;
    const char *at = record;
    while (status == SNUG_OK && *at && found.n < SNUG_PASTS_MAX) {
        struct snug__past_task *task = &found.tasks[found.n++];
        int n = 0;
        *task = (struct snug__past_task){.n = 0};
        if (!take_record(&at, task, &n)) {
            status = snug_fail(err, SNUG_NOT_FOUND, "no record of past tasks: %.60s", record);
            break;
        }
        const int64_t until = task->until;
        status = load(query, until, task, err);
        if (status == SNUG_OK && (task->n != n || task->until != until))
            status = snug_fail(err, SNUG_NOT_FOUND,
                               "task %" PRId64 " had %d trials to learn from, and has %d", task->id,
                               n, task->n);
    }
    if (status == SNUG_OK && *at)
        status = snug_fail(err, SNUG_NOT_FOUND, "no record of past tasks: %.60s", record);
    if (status != SNUG_OK) {
        snug__past_tasks_clear(&found);
        return status;
    }
    *out = found;
    return SNUG_OK;
}

int snug__past_tasks_give(const struct snug__past_tasks *tasks,
                          struct snug_past out[SNUG_PASTS_MAX])
{
    for (int i = 0; i < tasks->n; i++) {
        const struct snug__past_task *t = &tasks->tasks[i];
        out[i] = (struct snug_past){.space = &t->space,
                                    .trials = t->trials,
                                    .expected = t->expected,
                                    .n_trials = t->n,
                                    .similarity = t->similarity};
    }
    return tasks->n;
}
