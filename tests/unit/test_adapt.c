/* The decision of snug run --adapt on made-up members and traces: nothing runs, time is a number.
 */
#include <math.h>

#include "test.h"

#include "adapt_sim.h"

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
    assert_int_equal(steps_to(&s, view_of(20, 2), FAST, 5), 2);
}

/* Two thirds more speed make up for a start of half a second after one and a quarter. */
static void wait_is_what_a_start_costs(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    s.step_s = 0.25;
    s.start_s = 0.5;
    sim_run(&s, view_of(20, 1), 40);
    assert_int_equal(s.state.present, ONE);
    assert_int_equal(steps_to(&s, view_of(20, 2), FAST, 20), 6);
    s.members[ONE].points[0].speed = 8; /* a quarter more is waited for longest */
    sim_run(&s, view_of(20, 1), 200);
    assert_int_equal(s.state.present, ONE);
    s.state.start_s = 10;
    s.rules.dwell_starts = 0;
    assert_int_equal(steps_to(&s, view_of(20, 2), FAST, 20), 7); /* 1.5 s at most */
}

/* Half a second of somebody's work is waited out where a start takes longer. */
static void short_bursts_start_no_slow_server(void **state)
{
    (void)state;
    struct sim s;
    sim_open(&s);
    s.step_s = 0.25;
    s.start_s = 2;
    for (int i = 0; i < 20; i++) {
        sim_run(&s, view_of(20, 2), 160);
        sim_run(&s, view_of(20, 1), 4);
    }
    assert_int_equal(s.n_changes, 1);
    s.start_s = 0.2;
    sim_run(&s, view_of(20, 1), 40);
    sim_run(&s, view_of(20, 2), 160);
    assert_int_equal(s.state.present, FAST);
    assert_int_equal(steps_to(&s, view_of(20, 1), ONE, 20), 3); /* 0.5 s */
}

/* What memory forced was not chosen for its speed: the first to serve better may follow at once. */
static void speed_follows_a_forced_change_without_a_dwell(void **state)
{
    (void)state;
    for (int is_forced = 0; is_forced < 2; is_forced++) {
        struct sim s;
        sim_open(&s);
        s.step_s = 0.25;
        s.rules.dwell_s = 20;
        sim_run(&s, view_of(20, 2), 400);
        assert_int_equal(steps_to(&s, is_forced ? view_of(7.5, 1) : view_of(20, 1), ONE, 100),
                         is_forced ? 1 : 3);
        const int n = steps_to(&s, view_of(20, 2), FAST, 100);
        if (is_forced)
            assert_int_in_range(n, 2, 8);
        else
            assert_int_in_range(n, 40, 80);
    }
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
    sim_run(&s, view_of(20, 2),
            74); /* 5 starts are 100 s, and three quarters for two thirds more */
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

/* More threads are taken four times and given up after `quiet_s`; the steps that the first and the
 * last of them took. */
static void take_and_give_up(struct sim *s, int quiet_s, int *first, int *last)
{
    sim_open(s);
    sim_run(s, view_of(20, 1), 10);
    for (int i = 0; i < 4; i++) {
        *last = steps_to(s, view_of(20, 2), FAST, 100);
        *first = i ? *first : *last;
        sim_run(s, view_of(20, 2), quiet_s);
        steps_to(s, view_of(20, 1), ONE, 10);
        sim_run(s, view_of(20, 1), quiet_s);
    }
}

static void returning_too_soon_makes_more_threads_wait(void **state)
{
    (void)state;
    struct sim s;
    int first = 0, last = 0;
    take_and_give_up(&s, 0, &first, &last);
    assert_true(last > 2 * first);
    sim_run(&s, view_of(20, 1), 400); /* long calm: forgotten with the next change */
    steps_to(&s, view_of(20, 2), FAST, 100);
    sim_run(&s, view_of(20, 2), 400);
    steps_to(&s, view_of(20, 1), ONE, 10);
    sim_run(&s, view_of(20, 1), 10);
    assert_int_equal(steps_to(&s, view_of(20, 2), FAST, 100), first);
}

/* Ten seconds of a free CPU are worth a second of too many threads at their end. */
static void more_threads_that_paid_are_taken_as_soon_again(void **state)
{
    (void)state;
    struct sim s;
    int first = 0, last = 0;
    take_and_give_up(&s, 10, &first, &last);
    assert_int_equal(last, first);
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
        cmocka_unit_test(wait_is_what_a_start_costs),
        cmocka_unit_test(short_bursts_start_no_slow_server),
        cmocka_unit_test(speed_follows_a_forced_change_without_a_dwell),
        cmocka_unit_test(memory_that_comes_back_is_used_within_5_s),
        cmocka_unit_test(small_or_short_gains_change_nothing),
        cmocka_unit_test(slow_starts_are_paid_off_first),
        cmocka_unit_test(noisy_memory_does_not_thrash),
        cmocka_unit_test(noisy_cpus_do_not_thrash),
        cmocka_unit_test(returning_too_soon_makes_more_threads_wait),
        cmocka_unit_test(more_threads_that_paid_are_taken_as_soon_again),
        cmocka_unit_test(failed_member_rests_longer_each_time),
        cmocka_unit_test(death_is_followed_by_another_member),
        cmocka_unit_test(when_all_failed_it_waits_and_tries_again),
        cmocka_unit_test(clock_that_falls_changes_nothing),
        cmocka_unit_test(random_traces_keep_the_promises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
