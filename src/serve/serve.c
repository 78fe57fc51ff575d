/* The control: one loop that reads the budget, decides, and turns from one server to the next.
 *
 *   starting --ready--> serving --retired--> draining --empty, or late--> stopping --> gone
 *
 * It is also the thread that starts every server, since they die with the thread that started them.
 * Workload: a turn of the loop every 50 ms, a budget four times a second. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "serve/serve_internal.h"
#include "snug/units.h"

static const double TICK_S = 0.05;
static const double LOOK_S = 0.25;      /* between two budgets; each costs about 1 ms */
static const double START_S = 600;      /* a large model from a slow disk */
static const double DRAIN_WARM_S = 600; /* nobody waits for it */
static const double DRAIN_COLD_S = 60;  /* the next one cannot start before */
/* From so much on requests without an answer leave a slow server: one that has run for a while has
 * as long to go, as far as anybody knows, and must begin again. */
static const double MOVE_GAIN = 1;
static const double DRAIN_NOW_S = 10; /* somebody else needs the memory */
static const double DRAIN_END_S = 30; /* after Ctrl-C */
static const double GONE_S = 10;      /* processes told to end, then killed */
static const int STARTS_MAX = 3;      /* members that may fail before any has served */

static const char *name_of(const struct snug__serve *s, int member)
{
    return s->options->configs[member].name;
}

/* ---- the budget ---- */

static snug_status read_caps(struct snug__serve *s, struct snug_error *err)
{
    const char *path = s->options->budget_path;
    char *text = NULL;
    size_t n = 0;
    if (!path)
        return SNUG_OK;
    snug_status status = snug_file_read(path, SNUG_SERVE_CAPS_BYTES_MAX, &text, &n, err);
    if (status == SNUG_OK)
        status = snug_serve_caps_parse(path, text, n, &s->caps, err);
    free(text);
    return status;
}

/* A file that is being written, or was spoilt, leaves the limits as they were. */
static void follow_caps(struct snug__serve *s)
{
    struct snug_error err = {0};
    if (read_caps(s, &err) != SNUG_OK && strcmp(err.text, s->caps_error) != 0)
        snug__serve_say(s, "budget", -1, "%s; the limits stay as they were", err.text);
    snprintf(s->caps_error, sizeof s->caps_error, "%s", err.text);
}

static void limit(bool *knows, double *value, double cap)
{
    if (cap > 0 && (!*knows || *value > cap))
        *value = cap;
    *knows = *knows || cap > 0;
}

/* Was the file written since the last time? Cheap enough for every turn of the loop. */
static bool has_new_caps(struct snug__serve *s)
{
    struct stat now = {.st_size = 0};
    if (!s->options->budget_path)
        return false;
    if (stat(s->options->budget_path, &now) != 0)
        now = (struct stat){.st_size = -1};
    const struct stat *before = &s->caps_stat;
    const bool is_new = now.st_ino != before->st_ino || now.st_size != before->st_size ||
                        now.st_mtim.tv_sec != before->st_mtim.tv_sec ||
                        now.st_mtim.tv_nsec != before->st_mtim.tv_nsec;
    s->caps_stat = now;
    return is_new;
}

static void look(struct snug__serve *s, double now_s)
{
    struct snug_budget budget;
    const struct snug_budget_options options = {.earlier = s->has_look ? &s->look : NULL};
    struct snug_adapt_view view = {0};
    s->look_s = now_s;
    snug_budget_read(&options, &budget, &s->look);
    s->has_look = true;
    view.knows_memory = budget.memory_available_bytes.is_known && budget.memory_own_bytes.is_known;
    if (view.knows_memory)
        view.free_bytes = budget.memory_available_bytes.value - budget.memory_reserve_bytes.value +
                          budget.memory_own_bytes.value;
    view.knows_cpus = budget.cpus_free.is_known && budget.cpus_allowed.is_known;
    view.cpus_all = view.knows_cpus ? budget.cpus_allowed.value : 0;
    view.cpus_free = view.knows_cpus ? fmin(budget.cpus_free.value, view.cpus_all) : 0;
    s->there = view;
}

/* The view is what is there within the limits. */
static void apply_limits(struct snug__serve *s)
{
    struct snug_adapt_view view = s->there;
    if (!view.knows_cpus)
        view.cpus_all = s->caps.cpus;
    limit(&view.knows_memory, &view.free_bytes, (double)s->options->memory_limit_bytes);
    limit(&view.knows_memory, &view.free_bytes, s->caps.memory_bytes);
    s->is_capped = s->caps.cpus > 0 && s->caps.cpus < view.cpus_free;
    limit(&view.knows_cpus, &view.cpus_free, s->caps.cpus);
    pthread_mutex_lock(&s->lock);
    s->view = view;
    pthread_mutex_unlock(&s->lock);
}

/* ---- starting and turning ---- */

static void note_failure(struct snug__serve *s, int member, const char *words, double now_s)
{
    snug_adapt_failed(&s->state, member, now_s);
    snprintf(s->words, sizeof s->words, "%s", words);
    s->n_failed_starts++;
    s->next = NULL;
    s->is_due = true;
    snug__serve_say(s, "failed", member, "%s did not start: %s", name_of(s, member), words);
}

static void begin_start(struct snug__serve *s, int member, double now_s)
{
    struct snug_error err = {0};
    if (snug__backends_start(&s->backends, member, s->options->configs[member].argv, now_s,
                             &s->next, &err) != SNUG_OK) {
        note_failure(s, member, err.text, now_s);
        return;
    }
    snug__serve_say(s, "start", member, "starting %s (%s)", name_of(s, member), s->decision.reason);
}

static void follow_start(struct snug__serve *s, double now_s)
{
    struct snug__backend *next = s->next;
    char took[SNUG_UNIT_TEXT_MAX];
    if (!next)
        return;
    const double start_s = now_s - next->since_s;
    if (!snug__backend_is_ready(next)) {
        if (start_s < START_S)
            return;
        snug__backends_retire(&s->backends, next, false, now_s, now_s);
        note_failure(s, next->member, "it was not ready in 10 minutes", now_s);
        return;
    }
    const int member = next->member;
    const bool is_switch = s->was_ready && s->last_member != member;
    pthread_mutex_lock(&s->lock);
    s->n_switches += is_switch;
    pthread_mutex_unlock(&s->lock);
    snug__backends_turn_to(&s->backends, next, s->decision.gain >= MOVE_GAIN, now_s,
                           now_s + DRAIN_WARM_S);
    snug_adapt_started(&s->state, &s->options->rules, s->options->members, member, start_s, now_s);
    s->next = NULL;
    s->was_ready = true;
    s->last_member = member;
    snug__serve_say(s, is_switch ? "switch" : "ready", member, "%s serves after %s",
                    name_of(s, member), snug_seconds_text(start_s, took));
}

/* ---- what happens by itself ---- */

static void follow_deaths(struct snug__serve *s, double now_s)
{
    struct snug__backend_death death;
    while (snug__backends_tend(&s->backends, now_s, &death)) {
        if (death.before == SNUG__BACKEND_STARTING) {
            note_failure(s, death.member, death.words, now_s);
        } else if (death.before == SNUG__BACKEND_SERVING) {
            snug_adapt_failed(&s->state, death.member, now_s);
            s->is_due = true;
            snug__serve_say(s, "died", death.member,
                            "%s %s; its requests without an answer begin again",
                            name_of(s, death.member), death.words);
        } else {
            snug__serve_say(s, "died", death.member, "%s, which was to end, %s",
                            name_of(s, death.member), death.words);
        }
    }
}

/* ---- memory ---- */

/* Every server that is there, and `more` (a member, or -1: none) besides. */
static bool fits_beside(const struct snug__serve *s, int more)
{
    double need = more < 0 ? 0 : (double)s->options->members[more].bytes;
    for (int i = 0; i < SNUG__BACKENDS_MAX; i++) {
        const struct snug__backend *b = &s->backends.list[i];
        if (b->state != SNUG__BACKEND_NONE && b->state != SNUG__BACKEND_DEAD)
            need += (double)s->options->members[b->member].bytes;
    }
    return !s->view.knows_memory || need <= s->view.free_bytes;
}

static void hurry(struct snug__serve *s, struct snug__backend *b, double left_s, const char *why,
                  double now_s)
{
    if (b->state != SNUG__BACKEND_DRAINING || b->deadline_s <= now_s + left_s)
        return;
    snug__serve_say(s, "hurry", b->member, "%s: %s has %.0f s to end", why, name_of(s, b->member),
                    left_s);
    snug__backends_hurry(&s->backends, b, now_s + left_s);
}

static void hurry_all(struct snug__serve *s, double left_s, const char *why, double now_s)
{
    for (int i = 0; i < SNUG__BACKENDS_MAX; i++)
        hurry(s, &s->backends.list[i], left_s, why, now_s);
}

/* Memory got short while several servers are there: the one that starts is given up, where another
 * serves; else those that drain have little time left, unless one is about to be gone. */
static void ease_memory(struct snug__serve *s, double now_s)
{
    if (fits_beside(s, -1))
        return;
    if (s->next && s->state.present >= 0) {
        snug__serve_say(s, "give_up", s->next->member, "memory got short: %s is not started",
                        name_of(s, s->next->member));
        snug__backends_retire(&s->backends, s->next, false, now_s, now_s);
        s->next = NULL;
    } else if (!snug__backends_find(&s->backends, SNUG__BACKEND_STOPPING)) {
        hurry_all(s, DRAIN_NOW_S, "memory got short", now_s);
    }
}

/* ---- deciding ---- */

static bool is_any_alive(struct snug__serve *s)
{
    return snug__backends_find(&s->backends, SNUG__BACKEND_SERVING) ||
           snug__backends_find(&s->backends, SNUG__BACKEND_DRAINING) ||
           snug__backends_find(&s->backends, SNUG__BACKEND_STOPPING);
}

static void hurry_oldest(struct snug__serve *s, double now_s)
{
    struct snug__backend *oldest = NULL;
    for (int i = 0; i < SNUG__BACKENDS_MAX; i++) {
        struct snug__backend *b = &s->backends.list[i];
        if (b->state == SNUG__BACKEND_DRAINING && (!oldest || b->since_s < oldest->since_s))
            oldest = b;
    }
    if (oldest)
        hurry(s, oldest, DRAIN_COLD_S, "several configs are still to end", now_s);
}

static void retire_present(struct snug__serve *s, bool is_urgent, double now_s)
{
    struct snug__backend *serving = snug__backends_find(&s->backends, SNUG__BACKEND_SERVING);
    snug__serve_say(s, "stop", serving->member, "%s ends before %s starts, both do not fit (%s)",
                    name_of(s, serving->member), name_of(s, s->decision.member),
                    s->decision.reason);
    snug__backends_retire(&s->backends, serving, s->decision.gain >= MOVE_GAIN, now_s,
                          now_s + (is_urgent ? DRAIN_NOW_S : DRAIN_COLD_S));
    snug_adapt_stopped(&s->state);
}

/* Said once: that nothing fits, or that every config failed a moment ago. */
static void note(struct snug__serve *s, const struct snug_adapt_decision *d)
{
    const char *const kind = !d->is_fitting ? "misfit" : d->member < 0 ? "wait" : NULL;
    if (kind && (!s->noted || strcmp(kind, s->noted) != 0))
        snug__serve_say(s, kind, d->member, "%s", d->reason);
    s->noted = kind;
}

/* While another one serves nobody waits for a gain, and what drains keeps its time. */
static void act(struct snug__serve *s, const struct snug_adapt_decision *d, double now_s)
{
    const bool is_serving = s->state.present >= 0;
    note(s, d);
    if (d->action == SNUG_ADAPT_KEEP)
        return;
    if (is_serving && !d->is_together)
        retire_present(s, d->action == SNUG_ADAPT_SWITCH_NOW, now_s);
    else if (!snug__backends_find(&s->backends, SNUG__BACKEND_NONE))
        hurry_oldest(s, now_s);
    else if (!is_any_alive(s) || fits_beside(s, d->member))
        begin_start(s, d->member, now_s);
    else if (!is_serving)
        hurry_all(s, DRAIN_COLD_S, "the next config has no room beside it", now_s);
}

/* Limits given from outside are followed at once, what others take when it is looked for. */
static void follow_budget(struct snug__serve *s, double now_s)
{
    const bool is_time = now_s - s->look_s >= LOOK_S;
    const bool is_new = has_new_caps(s);
    if (!is_time && !is_new)
        return;
    follow_caps(s);
    if (is_time) /* CPU time is counted over an interval: not more often */
        look(s, now_s);
    apply_limits(s);
    if (is_time)
        snug__serve_learn(s, now_s);
    ease_memory(s, now_s);
    s->is_due = true;
}

/* With each look; at once after a death or new limits, and often while nothing serves. */
static void decide(struct snug__serve *s, double now_s)
{
    struct snug_adapt_decision decision;
    follow_budget(s, now_s);
    if (s->next || !(s->is_due || s->state.present < 0))
        return; /* one change at a time */
    s->is_due = false;
    snug_adapt_decide(&s->state, &s->options->rules, s->options->members, s->options->n_members,
                      &s->view, now_s, &decision);
    pthread_mutex_lock(&s->lock);
    s->decision = decision;
    pthread_mutex_unlock(&s->lock);
    act(s, &decision, now_s);
}

/* ---- the whole ---- */

static snug_status serve_until_stopped(struct snug__serve *s, struct snug_error *err)
{
    const int n = s->options->n_members;
    while (!*s->options->stop) {
        const double now_s = snug_clock_s();
        follow_deaths(s, now_s);
        follow_start(s, now_s);
        if (!s->was_ready && s->n_failed_starts >= (n < STARTS_MAX ? n : STARTS_MAX))
            return snug_fail(err, SNUG_CRASHED, "llama-server does not start: %s", s->words);
        decide(s, now_s);
        snug_sleep_s(TICK_S);
    }
    return SNUG_OK;
}

/* Requests in flight may end, then every process has to. */
static void end(struct snug__serve *s, struct snug__front_counts *out_counts)
{
    struct snug__backend_death death;
    const double begin_s = snug_clock_s();
    snug__serve_say(s, "end", -1,
                    "stopping: requests in flight have %.0f s (Ctrl-C again ends at once)",
                    DRAIN_END_S);
    snug__front_quiesce(s->front);
    snug__backends_close(&s->backends, false);
    while (snug__backends_busy(&s->backends) > 0 && snug_clock_s() - begin_s < DRAIN_END_S) {
        snug__backends_tend(&s->backends, snug_clock_s(), &death);
        snug_sleep_s(TICK_S);
    }
    snug__backends_close(&s->backends, true);
    snug__front_close(s->front, out_counts);
    s->front = NULL;
    const double late_s = snug_clock_s() + GONE_S;
    for (int i = 0; i < SNUG__BACKENDS_MAX; i++) {
        const enum snug__backend_state state = s->backends.list[i].state;
        if (state == SNUG__BACKEND_STARTING || state == SNUG__BACKEND_SERVING)
            snug__backends_retire(&s->backends, &s->backends.list[i], false, 0, 0);
    }
    while (is_any_alive(s) && snug_clock_s() < late_s) {
        snug__backends_tend(&s->backends, snug_clock_s(), &death);
        snug_sleep_s(TICK_S);
    }
}

static snug_status open_front(struct snug__serve *s, struct snug_error *err)
{
    const struct snug_serve_options *options = s->options;
    const struct snug__front_options front = {.host = options->host,
                                              .port = options->port,
                                              .backends = &s->backends,
                                              .status = snug__serve_status,
                                              .observe = snug__serve_observe,
                                              .data = s};
    const snug_status status = snug__front_open(&front, &s->front, err);
    if (status == SNUG_OK)
        snug__serve_say(s, "listen", -1, "http://%s%s%s:%d, %d config%s to choose from",
                        strchr(options->host, ':') ? "[" : "", options->host,
                        strchr(options->host, ':') ? "]" : "", snug__front_port(s->front),
                        options->n_members, options->n_members == 1 ? "" : "s");
    return status;
}

snug_status snug_serve_run(const struct snug_serve_options *options, struct snug_serve_summary *out,
                           struct snug_error *err)
{
    struct snug__front_counts counts = {0};
    struct snug__serve s = {
        .options = options, .look_s = -INFINITY, .decision = {.member = -1, .is_fitting = true}};
    pthread_mutex_init(&s.lock, NULL);
    snug_adapt_init(&s.state, &options->rules);
    snug_adapt_look_ahead(&s.state, options->members, options->n_members, &s.view, 0, s.outlooks);
    snug_status status = snug__backends_init(&s.backends, err);
    if (status == SNUG_OK) {
        status = read_caps(&s, err);
        if (status == SNUG_OK)
            status = open_front(&s, err);
        if (status == SNUG_OK)
            status = serve_until_stopped(&s, err);
        if (s.front)
            end(&s, &counts);
        snug__backends_clear(&s.backends);
    }
    pthread_mutex_destroy(&s.lock);
    *out = (struct snug_serve_summary){.n_served = counts.n_served,
                                       .n_failed = counts.n_failed,
                                       .n_refused = counts.n_refused,
                                       .n_gone = counts.n_gone,
                                       .n_retried = counts.n_retried,
                                       .n_switches = s.n_switches};
    return status;
}
