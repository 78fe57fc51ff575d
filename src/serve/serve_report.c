/* What a server says of itself: events, and GET /snug/status. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "serve/serve_internal.h"

static void put_known(struct snug_json_writer *w, const char *key, bool is_known, double value)
{
    snug_json_put_number(w, key, is_known ? value : NAN); /* null */
}

static void put_view(struct snug_json_writer *w, const struct snug_adapt_view *view)
{
    snug_json_begin_object(w, "budget");
    put_known(w, "free_bytes", view->knows_memory, view->free_bytes);
    put_known(w, "cpus_free", view->knows_cpus, view->cpus_free);
    put_known(w, "cpus", view->knows_cpus, view->cpus_all);
    snug_json_end(w);
}

/* Predicted by trials, observed in requests at this load (null: too few), and the ratio learned. */
static void put_phase(struct snug_json_writer *w, const char *key,
                      const struct snug_adapt_outlook *now, enum snug_adapt_phase phase,
                      double predicted_tps)
{
    snug_json_begin_object(w, key);
    put_known(w, "predicted_tps", predicted_tps > 0, predicted_tps);
    put_known(w, "observed_tps", now->tps[phase] > 0, now->tps[phase]);
    snug_json_put_number(w, "ratio", now->ratio[phase]);
    snug_json_end(w);
}

/* Member i, or null where that is -1. outlooks: of all members. */
static void put_member(struct snug_json_writer *w, const char *key,
                       const struct snug_serve_options *options, int i,
                       const struct snug_adapt_outlook *outlooks)
{
    if (i < 0) {
        snug_json_put_number(w, key, NAN);
        return;
    }
    const struct snug_adapt_member *m = &options->members[i];
    const struct snug_adapt_outlook *now = &outlooks[i];
    snug_json_begin_object(w, key);
    snug_json_put_int(w, "trial", options->configs[i].trial);
    snug_json_put_string(w, "config", options->configs[i].name);
    snug_json_put_int(w, "bytes", (int64_t)m->bytes);
    snug_json_put_int(w, "n_threads", m->n_threads);
    snug_json_put_number(w, "speed_predicted", now->predicted.speed);
    snug_json_put_number(w, "speed_expected", now->expected.speed);
    snug_json_put_number(w, "ttft_s_expected", now->expected.ttft_s);
    snug_json_put_number(w, "tpot_s_expected", now->expected.tpot_s);
    put_phase(w, "prefill", now, SNUG_ADAPT_PREFILL, now->predicted.prefill_tps);
    put_phase(w, "decode", now, SNUG_ADAPT_DECODE, now->predicted.decode_tps);
    snug_json_end(w);
}

void snug__serve_say(struct snug__serve *s, const char *kind, int member, const char *format, ...)
{
    char text[768];
    struct snug__front_counts counts = {0};
    struct snug_json_writer w = {0};
    struct timespec now;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!s->options->event)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    if (s->front)
        snug__front_counts(s->front, &counts);
    snug_json_begin_object(&w, NULL);
    snug_json_put_number(&w, "unix_s", (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
    snug_json_put_string(&w, "event", kind);
    snug_json_put_string(&w, "text", text);
    if (member >= 0)
        put_member(&w, "member", s->options, member, s->outlooks);
    put_view(&w, &s->view);
    snug_json_put_int(&w, "in_flight", counts.n_now);
    snug_json_end(&w);
    char *json = snug_json_finish(&w, false);
    s->options->event(text, json ? json : "null", s->options->event_data);
    free(json);
}

static void put_servers(struct snug_json_writer *w, struct snug__backends *b,
                        const struct snug_serve_options *options)
{
    static const char *const NAMES[] = {"none",     "starting", "serving",
                                        "draining", "stopping", "dead"};
    pthread_mutex_lock(&b->lock);
    snug_json_begin_array(w, "servers");
    for (int i = 0; i < SNUG__BACKENDS_MAX; i++) {
        const struct snug__backend *backend = &b->list[i];
        if (backend->state == SNUG__BACKEND_NONE)
            continue;
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "state", NAMES[backend->state]);
        snug_json_put_int(w, "trial", options->configs[backend->member].trial);
        snug_json_put_int(w, "pid", backend->pid);
        snug_json_put_int(w, "port", backend->port);
        snug_json_put_int(w, "in_flight", backend->n_in_flight);
        snug_json_end(w);
    }
    snug_json_end(w);
    snug_json_put_int(w, "waiting", b->n_waiting);
    pthread_mutex_unlock(&b->lock);
}

char *snug__serve_status(const struct snug__front_counts *counts, void *data)
{
    struct snug__serve *s = data;
    const struct snug_serve_options *options = s->options;
    struct snug_adapt_outlook outlooks[SNUG_ADAPT_MEMBERS_MAX];
    struct snug_json_writer w = {0};
    pthread_mutex_lock(&s->lock);
    memcpy(outlooks, s->outlooks, sizeof outlooks);
    const struct snug_adapt_view view = s->view;
    const struct snug_adapt_decision decision = s->decision;
    const int n_switches = s->n_switches;
    pthread_mutex_unlock(&s->lock);
    snug_json_begin_object(&w, NULL);
    put_member(&w, "member", options, snug__backends_member(&s->backends), outlooks);
    put_member(&w, "wanted", options, decision.member, outlooks);
    snug_json_put_string(&w, "reason", decision.reason);
    snug_json_put_bool(&w, "fits", decision.is_fitting);
    put_view(&w, &view);
    put_servers(&w, &s->backends, options);
    snug_json_put_int(&w, "in_flight", counts->n_now);
    snug_json_put_int(&w, "served", counts->n_served);
    snug_json_put_int(&w, "failed", counts->n_failed);
    snug_json_put_int(&w, "refused", counts->n_refused);
    snug_json_put_int(&w, "gone", counts->n_gone);
    snug_json_put_int(&w, "retried", counts->n_retried);
    snug_json_put_int(&w, "switches", n_switches);
    snug_json_begin_array(&w, "members");
    for (int i = 0; i < options->n_members; i++)
        put_member(&w, NULL, options, i, outlooks);
    snug_json_end(&w);
    snug_json_end(&w);
    return snug_json_finish(&w, true);
}
