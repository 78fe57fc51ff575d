/* The decision: which member should serve, and whether it is worth a change now.
 *
 * Three things keep it calm. A new member needs a margin of memory that the present one does not. A
 * gain must hold for some seconds, and a change must have paid for its start. And more threads are
 * taken up later each time they had to be given up again soon: threads too many cost several times
 * the speed, threads too few at most their own share.
 *
 * Workload: some ten members, four times a second. */
#include "snug/adapt.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "snug/units.h"

/* Speed that is left of a fair share where threads wait for one another; see the header. Measured
 * with one of two cores taken: 0.14 (training) to 0.56 (requests to llama-server, tales7m). */
static const double BARRIER_FRAC = 0.25;
static const double CPU_SLACK = 0.25;  /* CPUs that something small may take unnoticed */
static const double CPUS_LEAST = 0.05; /* however busy, the scheduler gives a thread something */
static const double REST_S = 5, REST_MAX_S = 600; /* after a failure, doubled by each further one */
static const double REST_ALONE_FRAC = 0.2;        /* of it where nothing serves */
static const double LIMIT_SLACK_FRAC = 0.05; /* nearer to a limit by less is no reason to change */
static const double HOLD_LEAST_S = 0.5;      /* two looks or three that agree */
static const double HOLD_GAIN_FRAC = 0.5;    /* from here on a gain is waited for less long */
static const double HOLD_MORE_MAX_S = 60;
static const double SEEN_LOG = 0.05; /* a smaller correction is not worth a word */
/* More threads given up so soon were a mistake: they gain at most their share for that time, and
 * cost several times the speed for about a second, until it is seen. */
static const double UNDONE_S = 4;
static const double CALM_S = 300; /* after so long that counts no more */

void snug_adapt_rules_default(struct snug_adapt_rules *out)
{
    *out = (struct snug_adapt_rules){.margin_frac = 0.05,
                                     .gain_frac = 0.10,
                                     .hold_s = 1.5,
                                     .hold_more_s = 0.75,
                                     .dwell_s = 3,
                                     .dwell_starts = 5};
}

void snug_adapt_init(struct snug_adapt_state *state, const struct snug_adapt_rules *rules)
{
    memset(state, 0, sizeof *state);
    state->present = state->wanted = -1;
    state->hold_more_s = rules->hold_more_s;
    state->more_since_s = -INFINITY;
}

/* ---- what a member would do ---- */

static double slow_frac(int n_threads, double cpus)
{
    cpus = cpus > CPUS_LEAST ? cpus : CPUS_LEAST;
    if (n_threads <= cpus + CPU_SLACK)
        return 1;
    return cpus / n_threads * (n_threads > 1 ? BARRIER_FRAC : 1);
}

struct snug_adapt_point snug_adapt_predict(const struct snug_adapt_member *member,
                                           const struct snug_adapt_view *view)
{
    const double now = view->knows_cpus ? 1 - view->cpus_free / view->cpus_all : 0;
    struct snug_adapt_point nearest = member->points[0];
    for (int i = 1; i < member->n_points; i++) {
        if (fabs(member->points[i].other_frac - now) < fabs(nearest.other_frac - now))
            nearest = member->points[i];
    }
    if (!view->knows_cpus)
        return nearest;
    const double then = view->cpus_all * (1 - nearest.other_frac);
    const double ratio =
        fmin(1, slow_frac(member->n_threads, view->cpus_free) / slow_frac(member->n_threads, then));
    nearest.other_frac = now;
    nearest.speed *= ratio;
    nearest.ttft_s /= ratio;
    nearest.tpot_s /= ratio;
    nearest.prefill_tps *= ratio;
    nearest.decode_tps *= ratio;
    return nearest;
}

/* By how much of itself the worse of both limits is passed; 0 when they are kept. */
static double excess_of(const struct snug_adapt_rules *rules, const struct snug_adapt_point *point)
{
    double excess = 0;
    if (rules->ttft_s > 0)
        excess = fmax(excess, point->ttft_s / rules->ttft_s - 1);
    if (rules->tpot_s > 0)
        excess = fmax(excess, point->tpot_s / rules->tpot_s - 1);
    return excess;
}

/* ---- which would be best ---- */

struct field {
    const struct snug_adapt_state *state;
    const struct snug_adapt_rules *rules;
    const struct snug_adapt_member *members;
    int n;
    const struct snug_adapt_view *view;
    double now_s;
    struct snug_adapt_point points[SNUG_ADAPT_MEMBERS_MAX]; /* what each would do now */
    double present_ratio; /* what of its trials' speed the present one is expected to reach */
};

static double elapsed_s(double since_s, double now_s)
{
    return now_s > since_s ? now_s - since_s : 0;
}

static bool fits(const struct field *f, int i, double margin_frac)
{
    return !f->view->knows_memory ||
           (double)f->members[i].bytes * (1 + margin_frac) <= f->view->free_bytes;
}

/* rest_frac: part of the usual rest after a failure that must have passed. */
static bool is_resting(const struct field *f, int i, double rest_frac)
{
    const struct snug_adapt_record *record = &f->state->records[i];
    if (record->n_failures == 0)
        return false;
    const double rest_s = fmin(REST_S * exp2(record->n_failures - 1), REST_MAX_S);
    return elapsed_s(record->failed_s, f->now_s) < rest_s * rest_frac;
}

/* The one within the limits (else nearest to them) of the greatest speed, or -1. The present one
 * needs no margin and wins ties. */
static int find_best(const struct field *f, double margin_frac, double rest_frac)
{
    int best = -1;
    double best_excess = 0;
    for (int k = -1; k < f->n; k++) {
        const int i = k < 0 ? f->state->present : k;
        if (i < 0 || !fits(f, i, k < 0 ? 0 : margin_frac) || is_resting(f, i, rest_frac))
            continue;
        const double excess = excess_of(f->rules, &f->points[i]);
        if (best < 0 || excess < best_excess ||
            (excess <= best_excess && f->points[i].speed > f->points[best].speed)) {
            best = i;
            best_excess = excess;
        }
    }
    return best;
}

static int find_smallest(const struct field *f, double rest_frac)
{
    int smallest = f->state->present;
    for (int i = 0; i < f->n; i++) {
        if (!is_resting(f, i, rest_frac) &&
            (smallest < 0 || f->members[i].bytes < f->members[smallest].bytes))
            smallest = i;
    }
    return smallest;
}

/* ---- whether to change ---- */

static bool is_more(const struct field *f, int i)
{
    return f->members[i].n_threads > f->members[f->state->present].n_threads;
}

static double gain_of(const struct field *f, int i)
{
    return f->points[i].speed / f->points[f->state->present].speed - 1;
}

static bool is_worth_it(const struct field *f, int i)
{
    const struct snug_adapt_point *now = &f->points[f->state->present], *then = &f->points[i];
    const double now_excess = excess_of(f->rules, now), then_excess = excess_of(f->rules, then);
    if (now_excess > 0)
        return then_excess < now_excess - LIMIT_SLACK_FRAC ||
               (then_excess <= 0 && then->speed >= now->speed);
    return then_excess <= 0 && then->speed >= now->speed * (1 + f->rules->gain_frac);
}

/* Remember since when something better is there; another better one of the same kind goes on with
 * the time of the first, or two that alternate would never be taken. */
static void remember(struct snug_adapt_state *state, const struct field *f, int wanted)
{
    const bool is_same_kind =
        wanted >= 0 && state->wanted >= 0 && is_more(f, wanted) == is_more(f, state->wanted);
    if (!is_same_kind)
        state->wanted_since_s = f->now_s;
    state->wanted = wanted;
}

static void say_memory(const struct field *f, int i, const char *what, char *out, size_t cap)
{
    char need[SNUG_UNIT_TEXT_MAX], left[SNUG_UNIT_TEXT_MAX];
    const double left_bytes = fmax(f->view->free_bytes, 0);
    snprintf(out, cap, "%s: it needs %s of %s free", what,
             snug_bytes_text(f->members[i].bytes, need),
             snug_bytes_text((uint64_t)left_bytes, left));
}

/* The best that fits, with its margin rather than without, else the smallest; -1: all rest. */
static int choose(const struct field *f, double rest_frac, bool *is_fitting)
{
    int best = find_best(f, f->rules->margin_frac, rest_frac);
    best = best < 0 ? find_best(f, 0, rest_frac) : best;
    *is_fitting = best >= 0;
    return best < 0 ? find_smallest(f, rest_frac) : best;
}

/* Nothing serves, or what serves does not fit. */
static void decide_at_once(const struct field *f, struct snug_adapt_decision *out)
{
    const int present = f->state->present;
    int best = choose(f, 1, &out->is_fitting);
    if (best < 0)
        best = choose(f, REST_ALONE_FRAC, &out->is_fitting);
    if (best < 0) {
        out->is_fitting = true; /* whether any would fit is not the matter now */
        snprintf(out->reason, sizeof out->reason, "every config failed a moment ago: waiting");
        return;
    }
    out->member = best;
    if (best != present)
        out->action = present < 0 ? SNUG_ADAPT_SWITCH : SNUG_ADAPT_SWITCH_NOW;
    if (!out->is_fitting)
        say_memory(f, best, "nothing fits, this is the smallest", out->reason, sizeof out->reason);
    else if (present >= 0)
        say_memory(f, present, "the present config fits no more", out->reason, sizeof out->reason);
    else
        say_memory(f, best, "the fastest that fits", out->reason, sizeof out->reason);
    if (out->is_fitting && !f->view->knows_memory)
        snprintf(out->reason, sizeof out->reason, "the fastest; free memory is not known");
}

/* What waiting costs grows with the gain, so that much is waited for less long: from 50 % on wait *
 * gain is constant. */
static double shorter(double wait_s, double gain)
{
    return gain > HOLD_GAIN_FRAC ? wait_s * HOLD_GAIN_FRAC / gain : wait_s;
}

/* Until what waiting has lost is what a change costs, about a start: never more than twice the loss
 * of who knew how long it lasts. */
static double hold_of(const struct field *f, double gain)
{
    const double even_s = fmax(HOLD_LEAST_S, f->state->start_s * (1 + gain) / gain);
    return fmin(f->rules->hold_s, even_s);
}

/* What serves fits: change for a gain that lasts. */
static void decide_for_gain(struct snug_adapt_state *state, const struct field *f,
                            struct snug_adapt_decision *out)
{
    const int best = find_best(f, f->rules->margin_frac, 1);
    const bool is_better = best >= 0 && best != state->present && is_worth_it(f, best);
    remember(state, f, is_better ? best : -1);
    if (!is_better) {
        snprintf(out->reason, sizeof out->reason, "nothing better fits");
        return;
    }
    const double gain = gain_of(f, best);
    const double least_s = hold_of(f, gain);
    const double hold_s = is_more(f, best) ? fmax(least_s, state->hold_more_s) : least_s;
    const double paid_s = f->rules->dwell_starts * state->start_s;
    const double dwell_s =
        shorter(state->was_forced ? paid_s : fmax(f->rules->dwell_s, paid_s), gain);
    const double held_s = elapsed_s(state->wanted_since_s, f->now_s);
    const bool is_due = held_s >= hold_s && elapsed_s(state->since_s, f->now_s) >= dwell_s;
    const bool is_over = excess_of(f->rules, &f->points[state->present]) > 0;
    const char *limit = is_over ? ", nearer to the limits" : "";
    char seen[64] = "";
    if (fabs(log(f->present_ratio)) > SEEN_LOG)
        snprintf(seen, sizeof seen, ", the present one at %.2f of its trials' speed",
                 f->present_ratio);
    snprintf(out->reason, sizeof out->reason, "%+.0f %% speed expected%s with %.1f CPUs free%s%s",
             100 * gain, limit, f->view->knows_cpus ? f->view->cpus_free : 0, seen,
             is_due ? "" : ": if that lasts");
    if (!is_due)
        return;
    state->was_forced = false;
    out->action = SNUG_ADAPT_SWITCH;
    out->member = best;
    out->gain = gain;
}

void snug_adapt_decide(struct snug_adapt_state *state, const struct snug_adapt_rules *rules,
                       const struct snug_adapt_member *members, int n,
                       const struct snug_adapt_view *view, double now_s,
                       struct snug_adapt_decision *out)
{
    struct field f = {
        .state = state, .rules = rules, .members = members, .n = n, .view = view, .now_s = now_s};
    struct snug_adapt_outlook outlooks[SNUG_ADAPT_MEMBERS_MAX];
    snug_adapt_look_ahead(state, members, n, view, now_s, outlooks);
    for (int i = 0; i < n; i++)
        f.points[i] = outlooks[i].expected;
    if (state->present >= 0)
        f.present_ratio =
            outlooks[state->present].expected.speed / outlooks[state->present].predicted.speed;
    *out = (struct snug_adapt_decision){.member = state->present, .is_fitting = true};
    if (state->present < 0 || !fits(&f, state->present, 0)) {
        state->wanted = -1;
        decide_at_once(&f, out);
        state->was_forced |= state->present >= 0 && out->member != state->present;
    } else {
        decide_for_gain(state, &f, out);
    }
    const int present = state->present;
    if (present >= 0 && out->member != present)
        out->is_together = !view->knows_memory ||
                           (double)members[present].bytes +
                                   (double)members[out->member].bytes * (1 + rules->margin_frac) <=
                               view->free_bytes;
}

/* ---- what came of it ---- */

void snug_adapt_started(struct snug_adapt_state *state, const struct snug_adapt_rules *rules,
                        const struct snug_adapt_member *members, int member, double start_s,
                        double now_s)
{
    const int before = state->n_threads_last;
    const int more = before == 0 ? 0 : members[member].n_threads - before;
    const double more_s = elapsed_s(state->more_since_s, now_s);
    if (more < 0 && more_s < UNDONE_S)
        state->hold_more_s = fmin(2 * state->hold_more_s, HOLD_MORE_MAX_S);
    else if (more_s > CALM_S)
        state->hold_more_s = rules->hold_more_s;
    if (more > 0)
        state->more_since_s = now_s;
    state->n_threads_last = members[member].n_threads;
    state->present = member;
    state->since_s = now_s;
    state->start_s = start_s;
    state->wanted = -1;
}

void snug_adapt_failed(struct snug_adapt_state *state, int member, double now_s)
{
    struct snug_adapt_record *record = &state->records[member];
    if (state->present == member && elapsed_s(state->since_s, now_s) > CALM_S)
        record->n_failures = 0; /* it served well for long: this has another cause */
    record->n_failures++;
    record->failed_s = now_s;
    if (state->present == member)
        state->present = -1;
}

void snug_adapt_stopped(struct snug_adapt_state *state)
{
    state->present = -1;
}
