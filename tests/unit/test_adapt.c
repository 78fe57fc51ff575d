/* The decision of snug run --adapt on made-up members and traces: nothing runs, time is a number.
 */
#include <math.h>

#include "test.h"

#include "snug/adapt.h"
#include "snug/stats.h"

#define GIB ((uint64_t)1 << 30)

/* Two threads are faster, one needs less, and a small one is slow. */
enum { FAST, ONE, SMALL, N_USUAL };

static void usual_members(struct snug_adapt_member out[N_USUAL])
{
    static const struct {
        uint64_t bytes;
        int n_threads;
        double speed;
    } ROWS[N_USUAL] = {{8 * GIB, 2, 10}, {7 * GIB, 1, 6}, {3 * GIB, 1, 2}};
    memset(out, 0, N_USUAL * sizeof *out);
    for (int i = 0; i < N_USUAL; i++) {
        out[i].bytes = ROWS[i].bytes;
        out[i].n_threads = ROWS[i].n_threads;
        out[i].points[0] = (struct snug_adapt_point){
            .speed = ROWS[i].speed, .ttft_s = 1 / ROWS[i].speed, .tpot_s = 0.1 / ROWS[i].speed};
        out[i].n_points = 1;
    }
}

static struct snug_adapt_view view_of(double free_gib, double cpus_free)
{
    return (struct snug_adapt_view){.knows_memory = true,
                                    .knows_cpus = true,
                                    .free_bytes = free_gib * (double)GIB,
                                    .cpus_free = cpus_free,
                                    .cpus_all = 2};
}

/* A server whose starts take start_s and never fail, asked every step_s. */
struct sim {
    struct snug_adapt_member members[N_USUAL];
    struct snug_adapt_rules rules;
    struct snug_adapt_state state;
    struct snug_adapt_decision decision;
    double now_s, step_s, start_s;
    int n_changes;
};

static void sim_open(struct sim *s)
{
    *s = (struct sim){.step_s = 1, .start_s = 0.3};
    usual_members(s->members);
    snug_adapt_rules_default(&s->rules);
    snug_adapt_init(&s->state, &s->rules);
}

static void sim_step(struct sim *s, struct snug_adapt_view view)
{
    s->now_s += s->step_s;
    snug_adapt_decide(&s->state, &s->rules, s->members, N_USUAL, &view, s->now_s, &s->decision);
    if (s->decision.action == SNUG_ADAPT_KEEP)
        return;
    s->n_changes++;
    snug_adapt_started(&s->state, &s->rules, s->members, s->decision.member, s->start_s, s->now_s);
}

static void sim_run(struct sim *s, struct snug_adapt_view view, int n)
{
    for (int i = 0; i < n; i++)
        sim_step(s, view);
}

/* Steps until `member` serves; fails after so many. */
static int steps_to(struct sim *s, struct snug_adapt_view view, int member, int n_max)
{
    for (int i = 1; i <= n_max; i++) {
        sim_step(s, view);
        if (s->state.present == member)
            return i;
    }
    fail_msg("member %d serves after %d s, not %d: %s", s->state.present, n_max, member,
             s->decision.reason);
    return n_max;
}

/* ---- choosing ---- */

static void first_is_the_fastest_that_fits(void **state)
{
    (void)state;
    struct sim s;
    static const struct {
        double free_gib;
        int want;
    } ROWS[] = {{20, FAST}, {8.41, FAST}, {8.39, FAST}, {7.9, ONE}, {4, SMALL}, {3.01, SMALL}};
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        sim_open(&s);
        sim_step(&s, view_of(ROWS[i].free_gib, 2));
        if (i == 2) /* fits without its margin alone: one that has it is preferred */
            assert_int_equal(s.state.present, ONE);
        else
            assert_int_equal(s.state.present, ROWS[i].want);
        assert_true(s.decision.is_fitting);
    }
}

static void nothing_fits_gives_the_smallest_and_says_so(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    sim_step(&s, view_of(2, 2));
    assert_int_equal(s.state.present, SMALL);
    assert_false(s.decision.is_fitting);
    assert_contains(s.decision.reason, "nothing fits");
    assert_contains(s.decision.reason, "3.0 GiB of 2.0 GiB");
    sim_step(&s, view_of(-1, 2)); /* less than the reserve is left: it stays, and says so again */
    assert_int_equal(s.decision.action, SNUG_ADAPT_KEEP);
    assert_false(s.decision.is_fitting);
}

static void unknown_facts_limit_nothing(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    sim_step(&s, (struct snug_adapt_view){.knows_memory = false});
    assert_int_equal(s.state.present, FAST);
    assert_contains(s.decision.reason, "not known");
}

static void threads_beyond_free_cpus_lose(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    sim_step(&s, view_of(20, 1));
    assert_int_equal(s.state.present, ONE);
    const struct snug_adapt_view quiet = view_of(20, 1.8), busy = view_of(20, 1);
    assert_float_equal(snug_adapt_predict(&s.members[FAST], &quiet).speed, 10, 1e-9);
    assert_float_equal(snug_adapt_predict(&s.members[FAST], &busy).speed, 10 * 0.125, 1e-9);
    assert_float_equal(snug_adapt_predict(&s.members[FAST], &busy).ttft_s, 0.1 / 0.125, 1e-9);
    assert_float_equal(snug_adapt_predict(&s.members[ONE], &busy).speed, 6, 1e-9);
}

static void nearest_load_counts(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    struct snug_adapt_member *m = &s.members[FAST];
    m->points[1] = (struct snug_adapt_point){.other_frac = 0.5, .speed = 7, .ttft_s = 0.2};
    m->n_points = 2;
    const struct snug_adapt_view busy = view_of(20, 1.0), busier = view_of(20, 0.5);
    assert_float_equal(snug_adapt_predict(m, &busy).speed, 7, 1e-9); /* measured, not modelled */
    assert_float_equal(snug_adapt_predict(m, &busier).speed, 3.5, 1e-9);
    sim_step(&s, busy);
    assert_int_equal(s.state.present, FAST);
}

static void loaded_point_promises_no_more_when_quiet(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    s.members[FAST].points[0].other_frac = 0.5;
    const struct snug_adapt_view quiet = view_of(20, 2);
    assert_float_equal(snug_adapt_predict(&s.members[FAST], &quiet).speed, 10, 1e-9);
}

static void limits_come_before_speed(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    s.members[FAST].points[0].ttft_s = 5;
    s.rules.ttft_s = 1;
    sim_step(&s, view_of(20, 2));
    assert_int_equal(s.state.present, ONE);
    s.rules.ttft_s = 0.01; /* none keeps it: the nearest */
    sim_run(&s, view_of(20, 2), 10);
    assert_int_equal(s.state.present, ONE);
    s.rules.ttft_s = 0;
    s.rules.tpot_s = 0.011; /* only the fast one keeps this */
    sim_run(&s, view_of(20, 2), 10);
    assert_int_equal(s.state.present, FAST);
}

/* ---- reacting ---- */

static void memory_step_is_answered_at_once(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    sim_run(&s, view_of(20, 2), 2);
    assert_int_equal(s.state.present, FAST);
    assert_int_equal(steps_to(&s, view_of(7.5, 2), ONE, 5), 1);
    assert_int_equal(s.decision.action, SNUG_ADAPT_SWITCH_NOW);
    assert_false(s.decision.is_together);
    assert_contains(s.decision.reason, "8.0 GiB of 7.5 GiB");
    assert_int_equal(steps_to(&s, view_of(3.2, 2), SMALL, 5), 1); /* no dwell in an emergency */
}

static void cpu_steps_are_answered_within_5_s(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    sim_run(&s, view_of(20, 2), 60);
    assert_int_equal(steps_to(&s, view_of(20, 1), ONE, 5), 2); /* 5 times as fast: short */
    assert_int_equal(s.decision.action, SNUG_ADAPT_SWITCH);
    assert_true(s.decision.is_together);
    sim_run(&s, view_of(20, 1), 60);
    assert_int_equal(steps_to(&s, view_of(20, 2), FAST, 5), 3);
}

static void memory_that_comes_back_is_used_within_5_s(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    sim_run(&s, view_of(4, 2), 60);
    assert_int_equal(s.state.present, SMALL);
    steps_to(&s, view_of(20, 2), FAST, 5);
}

/* ---- keeping calm ---- */

static void small_or_short_gains_change_nothing(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    s.members[ONE].points[0].speed = 9.5; /* 5 % below the fast one */
    sim_run(&s, view_of(7.5, 2), 5);
    assert_int_equal(s.state.present, ONE);
    sim_run(&s, view_of(20, 2), 100);
    assert_int_equal(s.state.present, ONE);
    s.members[ONE].points[0].speed = 6;
    for (int i = 0; i < 100; i++) { /* gone again before it has held */
        sim_step(&s, view_of(20, 2));
        sim_step(&s, view_of(7.5, 2));
    }
    assert_int_equal(s.state.present, ONE);
    assert_int_equal(s.n_changes, 1);
}

static void slow_starts_are_paid_off_first(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    s.start_s = 20;
    sim_run(&s, view_of(20, 1), 1);
    assert_int_equal(s.state.present, ONE);
    sim_run(&s, view_of(20, 2), 99); /* 5 starts are 100 s */
    assert_int_equal(s.state.present, ONE);
    steps_to(&s, view_of(20, 2), FAST, 2);
}

static void noisy_memory_does_not_thrash(void **state)
{
    (void)state;
    struct sim s;
    struct snug_rng rng;
    const uint64_t seed = 7;
    snug_rng_init(&rng, seed);
    sim_open(&s);
    for (int i = 0; i < 3600; i++) /* 2 % to either side of what the fast one needs with margin */
        sim_step(&s, view_of(8.4 * (0.98 + 0.04 * snug_rng_double(&rng)), 2));
    print_message("# seed %llu: %d changes in an hour\n", (unsigned long long)seed, s.n_changes);
    assert_int_in_range(s.n_changes, 1, 3);
    assert_int_equal(s.state.present, FAST);
}

/* An unsteady neighbour: each second it takes any part of a CPU. */
static void noisy_cpus_do_not_thrash(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct sim s;
        struct snug_rng rng;
        snug_rng_init(&rng, seed);
        sim_open(&s);
        s.step_s = seed % 2 ? 0.5 : 1;
        for (int i = 0; i < 3600; i++)
            sim_step(&s, view_of(20, 1 + snug_rng_double(&rng)));
        print_message("# seed %llu: %d changes in 3600 looks\n", (unsigned long long)seed,
                      s.n_changes);
        assert_int_in_range(s.n_changes, 1, 30);
    }
}

static void returning_too_soon_makes_more_threads_wait(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    sim_run(&s, view_of(20, 1), 10);
    int before = 0, after = 0;
    for (int i = 0; i < 4; i++) {
        after = steps_to(&s, view_of(20, 2), FAST, 100);
        before = before ? before : after;
        steps_to(&s, view_of(20, 1), ONE, 10);
    }
    assert_true(after > 2 * before);
    sim_run(&s, view_of(20, 1), 400); /* long calm: forgotten with the next change */
    steps_to(&s, view_of(20, 2), FAST, 100);
    sim_run(&s, view_of(20, 2), 400);
    steps_to(&s, view_of(20, 1), ONE, 10);
    assert_int_equal(steps_to(&s, view_of(20, 2), FAST, 100), before);
}

/* ---- failures ---- */

static void failed_member_rests_longer_each_time(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    sim_run(&s, view_of(7.5, 2), 5);
    double last_s = 0;
    for (int i = 0; i < 12; i++) {
        const double failed_s = s.now_s;
        snug_adapt_failed(&s.state, FAST, failed_s);
        const struct snug_adapt_view view = view_of(20, 2);
        do {
            s.now_s += 1;
            snug_adapt_decide(&s.state, &s.rules, s.members, N_USUAL, &view, s.now_s, &s.decision);
        } while (s.decision.action == SNUG_ADAPT_KEEP && s.now_s - failed_s < 1000);
        assert_int_equal(s.decision.member, FAST);
        assert_true(s.now_s - failed_s >= last_s);
        last_s = s.now_s - failed_s;
    }
    assert_int_in_range((int)last_s, 600, 604);
}

static void death_is_followed_by_another_member(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    sim_run(&s, view_of(20, 2), 5);
    snug_adapt_failed(&s.state, FAST, s.now_s);
    assert_int_equal(s.state.present, -1);
    sim_step(&s, view_of(20, 2));
    assert_int_equal(s.state.present, ONE);
}

static void when_all_failed_it_waits_and_tries_again(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    s.now_s = 100;
    for (int i = 0; i < N_USUAL; i++)
        snug_adapt_failed(&s.state, i, s.now_s);
    s.now_s -= 0.5; /* the step is half a second */
    sim_step(&s, view_of(20, 2));
    assert_int_equal(s.decision.action, SNUG_ADAPT_KEEP);
    assert_int_equal(s.decision.member, -1);
    assert_contains(s.decision.reason, "waiting");
    assert_true(s.decision.is_fitting); /* there is room: that is not why */
    sim_step(&s, view_of(20, 2));
    assert_int_equal(s.state.present, FAST);
}

static void clock_that_falls_changes_nothing(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    s.now_s = 1e6;
    sim_run(&s, view_of(20, 1), 10);
    s.now_s = 5;
    sim_run(&s, view_of(20, 2), 100);
    assert_int_equal(s.state.present, ONE);
    s.now_s = 1e6 + 20;
    steps_to(&s, view_of(20, 2), FAST, 10);
}

/* ---- always ---- */

static double uniform(struct snug_rng *rng, double lo, double hi)
{
    return lo + (hi - lo) * snug_rng_double(rng);
}

static void random_traces_keep_the_promises(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct sim s;
        struct snug_rng rng;
        snug_rng_init(&rng, seed);
        sim_open(&s);
        for (int i = 0; i < N_USUAL; i++) {
            s.members[i].bytes = (uint64_t)uniform(&rng, 1e9, 9e9);
            s.members[i].n_threads = 1 + (int)uniform(&rng, 0, 2);
            s.members[i].points[0].speed = uniform(&rng, 1, 20);
        }
        for (int t = 0; t < 200; t++) {
            const struct snug_adapt_view view = view_of(uniform(&rng, -1, 10), uniform(&rng, 0, 2));
            const int before = s.state.present;
            if (snug_rng_double(&rng) < 0.02 && before >= 0)
                snug_adapt_failed(&s.state, before, s.now_s);
            sim_step(&s, view);
            const struct snug_adapt_decision *d = &s.decision;
            const double need = d->member < 0 ? 0 : (double)s.members[d->member].bytes;
            if (d->is_fitting && d->member >= 0 && need > view.free_bytes)
                fail_msg("seed %llu, t %d: member %d does not fit, and it is not said: %s",
                         (unsigned long long)seed, t, d->member, d->reason);
            if (d->action != SNUG_ADAPT_KEEP && d->member < 0)
                fail_msg("seed %llu, t %d: a change to nothing", (unsigned long long)seed, t);
            if (d->reason[0] == '\0')
                fail_msg("seed %llu, t %d: no reason", (unsigned long long)seed, t);
        }
    }
}

/* ---- learning from requests ---- */

static void give_rates(struct sim *s)
{
    for (int i = 0; i < N_USUAL; i++) {
        struct snug_adapt_point *p = &s->members[i].points[0];
        p->decode_tps = p->speed;
        p->prefill_tps = 10 * p->speed;
    }
}

/* So many requests of a member, a second each, at factor times what its trials promise. */
static void ask(struct sim *s, int member, struct snug_adapt_view view, double factor, int n)
{
    const struct snug_adapt_point p = snug_adapt_predict(&s->members[member], &view);
    const struct snug_adapt_sample sample = {.member = member,
                                             .prefill_tps = factor * p.prefill_tps,
                                             .prefill_s = 1,
                                             .decode_tps = factor * p.decode_tps,
                                             .decode_s = 1};
    for (int i = 0; i < n; i++)
        snug_adapt_observe(&s->state, s->members, &view, &sample, s->now_s);
}

static double ratio_of(const struct sim *s, int member, struct snug_adapt_view view)
{
    struct snug_adapt_outlook outlooks[N_USUAL];
    snug_adapt_look_ahead(&s->state, s->members, N_USUAL, &view, s->now_s, outlooks);
    return outlooks[member].expected.speed / outlooks[member].predicted.speed;
}

static void nothing_seen_corrects_nothing(void **state)
{
    (void)state;
    struct sim s;
    struct snug_adapt_outlook outlooks[N_USUAL];
    const struct snug_adapt_view view = view_of(20, 1.3);
    sim_open(&s);
    give_rates(&s);
    ask(&s, FAST, view, 0.3, 2); /* too few */
    s.members[FAST].points[0].decode_tps = s.members[FAST].points[0].prefill_tps = 0;
    ask(&s, FAST, view, 0.3, 20); /* nothing to hold it against */
    snug_adapt_look_ahead(&s.state, s.members, N_USUAL, &view, s.now_s, outlooks);
    for (int i = 0; i < N_USUAL; i++) {
        const struct snug_adapt_point p = snug_adapt_predict(&s.members[i], &view);
        assert_float_equal(outlooks[i].ratio[SNUG_ADAPT_DECODE], 1, 0);
        assert_float_equal(outlooks[i].tps[SNUG_ADAPT_DECODE], 0, 0);
        assert_float_equal(outlooks[i].expected.speed, p.speed, 0);
        assert_float_equal(outlooks[i].expected.ttft_s, p.ttft_s, 0);
    }
}

static void requests_correct_the_member_most_and_others_in_part(void **state)
{
    (void)state;
    struct sim s;
    const struct snug_adapt_view quiet = view_of(20, 2), busy = view_of(20, 1.5);
    sim_open(&s);
    give_rates(&s);
    ask(&s, ONE, quiet, 0.5, 12);
    assert_float_equal(ratio_of(&s, ONE, quiet), 0.5, 0.01);
    assert_float_equal(ratio_of(&s, SMALL, quiet), pow(0.5, 2 / 3.0), 0.01); /* as many threads */
    assert_float_equal(ratio_of(&s, FAST, quiet), pow(0.5, 1 / 3.0), 0.01);
    assert_float_equal(ratio_of(&s, ONE, busy), pow(0.5, 1 / 2.0), 0.01); /* a level away */
    ask(&s, FAST, quiet, 0.5, 12);
    assert_float_equal(ratio_of(&s, FAST, quiet), 0.5, 0.01);
    assert_true(ratio_of(&s, SMALL, quiet) < pow(0.5, 2 / 3.0)); /* more of it is everybody's */
    s.now_s += 6000;
    assert_true(ratio_of(&s, FAST, quiet) > 0.6); /* ten half-lives: forgotten */
}

static void corrections_are_bounded_and_follow_changes(void **state)
{
    (void)state;
    struct sim s;
    const struct snug_adapt_view view = view_of(20, 2);
    sim_open(&s);
    give_rates(&s);
    ask(&s, FAST, view, 1e-30, 50);
    assert_float_equal(ratio_of(&s, FAST, view), 1 / 8.0, 0.01);
    ask(&s, FAST, view, 1e30, 100);
    assert_float_equal(ratio_of(&s, FAST, view), 8, 0.3);
    ask(&s, FAST, view, 1, 100);
    assert_float_equal(ratio_of(&s, FAST, view), 1, 0.02);
}

/* More members and levels than there are cells: the oldest go. */
static void full_cells_forget_the_oldest(void **state)
{
    (void)state;
    struct sim s;
    enum { N = SNUG_ADAPT_CELLS_MAX + 1 };
    static struct snug_adapt_member members[N];
    struct snug_adapt_outlook outlooks[N];
    const struct snug_adapt_view view = view_of(20, 2);
    sim_open(&s);
    for (int i = 0; i < N; i++) {
        members[i] = s.members[FAST];
        members[i].n_threads = i + 1; /* no group in common */
        members[i].points[0].decode_tps = 10;
        const struct snug_adapt_sample sample = {.member = i, .decode_tps = 20, .decode_s = 4};
        for (int k = 0; k < 4; k++)
            snug_adapt_observe(&s.state, members, &view, &sample, i);
        assert_int_equal(s.state.n_cells, i < SNUG_ADAPT_CELLS_MAX ? i + 1 : SNUG_ADAPT_CELLS_MAX);
    }
    snug_adapt_look_ahead(&s.state, members, N, &view, N, outlooks);
    assert_float_equal(outlooks[0].tps[SNUG_ADAPT_DECODE], 0, 0);
    assert_float_equal(outlooks[1].tps[SNUG_ADAPT_DECODE], 20, 1e-9);
    assert_float_equal(outlooks[N - 1].tps[SNUG_ADAPT_DECODE], 20, 1e-9);
}

static void slower_than_measured_is_left(void **state)
{
    (void)state;
    struct sim s;
    const struct snug_adapt_view view = view_of(20, 2);
    sim_open(&s);
    give_rates(&s);
    sim_run(&s, view, 10);
    ask(&s, FAST, view, 0.4, 12); /* 4 of 10; the other is expected at 6 * 0.4^(1/3) = 4.4 */
    sim_run(&s, view, 10);
    assert_int_equal(s.state.present, FAST); /* 10 % more is not enough */
    ask(&s, FAST, view, 0.3, 60);
    sim_run(&s, view, 1);
    assert_contains(s.decision.reason, "the present one at 0.30 of its trials' speed");
    sim_run(&s, view, 10);
    assert_int_equal(s.state.present, ONE);
    ask(&s, ONE, view, 0.3, 12); /* as slow: 1.8 of 6 */
    sim_run(&s, view, 10);
    assert_int_equal(s.state.present, FAST);
}

static void observed_times_count_for_the_limits(void **state)
{
    (void)state;
    struct sim s;
    const struct snug_adapt_view view = view_of(20, 2);
    sim_open(&s);
    give_rates(&s);
    s.rules.tpot_s = 0.02; /* 0.01 and 0.017 by the trials */
    sim_run(&s, view, 10);
    assert_int_equal(s.state.present, FAST);
    for (int i = 0; i < 40; i++) /* 0.018 on average, and up to a quarter more or less */
        ask(&s, FAST, view, i % 2 ? 0.7 : 0.42, 1);
    struct snug_adapt_outlook outlooks[N_USUAL];
    snug_adapt_look_ahead(&s.state, s.members, N_USUAL, &view, s.now_s, outlooks);
    assert_true(outlooks[FAST].expected.tpot_s > 0.02);
    assert_true(1 / outlooks[FAST].ratio[SNUG_ADAPT_DECODE] < 2); /* the mean alone keeps it */
}

/* Trials that were wrong by some factor, each member's own, and requests that say so with noise. */
struct truth {
    double factor[N_USUAL], noise;
};

static double run_truth(struct sim *s, const struct truth *truth, struct snug_rng *rng, int n)
{
    const struct snug_adapt_view view = view_of(20, 2);
    for (int t = 0; t < n; t++) {
        sim_step(s, view);
        const int i = s->state.present;
        ask(s, i, view, truth->factor[i] * exp(truth->noise * (2 * snug_rng_double(rng) - 1)), 1);
    }
    return s->members[s->state.present].points[0].speed * truth->factor[s->state.present];
}

static double best_of(const struct sim *s, const struct truth *truth)
{
    double best = 0;
    for (int i = 0; i < N_USUAL; i++)
        best = fmax(best, s->members[i].points[0].speed * truth->factor[i]);
    return best;
}

static void constant_truth_is_settled_for(void **state)
{
    (void)state;
    double regret = 0, regret_trials = 0;
    enum { SEEDS = 200 };
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim s;
        struct snug_rng rng;
        struct truth truth = {.noise = 0.2};
        snug_rng_init(&rng, seed);
        sim_open(&s);
        int first = 0;
        for (int i = 0; i < N_USUAL; i++) {
            s.members[i].points[0].speed = uniform(&rng, 5, 10);
            truth.factor[i] = exp(uniform(&rng, -0.8, 0.8));
            if (s.members[i].points[0].speed > s.members[first].points[0].speed)
                first = i;
        }
        give_rates(&s);
        const double speed = run_truth(&s, &truth, &rng, 600), best = best_of(&s, &truth);
        if (s.n_changes > 2 * N_USUAL)
            fail_msg("seed %llu: %d changes in 10 min of the same", (unsigned long long)seed,
                     s.n_changes);
        regret += (1 - speed / best) / SEEDS;
        regret_trials +=
            (1 - s.members[first].points[0].speed * truth.factor[first] / best) / SEEDS;
    }
    print_message("# %d seeds: regret %.3f, by trials alone %.3f\n", SEEDS, regret, regret_trials);
    assert_true(regret < 0.6 * regret_trials);
}

static void wrong_table_is_found_out(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sim s;
        struct snug_rng rng;
        const struct truth truth = {.factor = {0.25, 1, 1}, .noise = 0.2};
        snug_rng_init(&rng, seed);
        sim_open(&s);
        give_rates(&s);
        run_truth(&s, &truth, &rng, 60);
        if (s.state.present != ONE || s.n_changes != 2)
            fail_msg("seed %llu: member %d after %d changes", (unsigned long long)seed,
                     s.state.present, s.n_changes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_is_the_fastest_that_fits),
        cmocka_unit_test(nothing_fits_gives_the_smallest_and_says_so),
        cmocka_unit_test(unknown_facts_limit_nothing),
        cmocka_unit_test(threads_beyond_free_cpus_lose),
        cmocka_unit_test(nearest_load_counts),
        cmocka_unit_test(loaded_point_promises_no_more_when_quiet),
        cmocka_unit_test(limits_come_before_speed),
        cmocka_unit_test(memory_step_is_answered_at_once),
        cmocka_unit_test(cpu_steps_are_answered_within_5_s),
        cmocka_unit_test(memory_that_comes_back_is_used_within_5_s),
        cmocka_unit_test(small_or_short_gains_change_nothing),
        cmocka_unit_test(slow_starts_are_paid_off_first),
        cmocka_unit_test(noisy_memory_does_not_thrash),
        cmocka_unit_test(noisy_cpus_do_not_thrash),
        cmocka_unit_test(returning_too_soon_makes_more_threads_wait),
        cmocka_unit_test(failed_member_rests_longer_each_time),
        cmocka_unit_test(death_is_followed_by_another_member),
        cmocka_unit_test(when_all_failed_it_waits_and_tries_again),
        cmocka_unit_test(clock_that_falls_changes_nothing),
        cmocka_unit_test(random_traces_keep_the_promises),
        cmocka_unit_test(nothing_seen_corrects_nothing),
        cmocka_unit_test(requests_correct_the_member_most_and_others_in_part),
        cmocka_unit_test(corrections_are_bounded_and_follow_changes),
        cmocka_unit_test(full_cells_forget_the_oldest),
        cmocka_unit_test(slower_than_measured_is_left),
        cmocka_unit_test(observed_times_count_for_the_limits),
        cmocka_unit_test(constant_truth_is_settled_for),
        cmocka_unit_test(wrong_table_is_found_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
