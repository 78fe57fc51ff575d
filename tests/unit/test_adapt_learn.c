/* What the decision of snug run --adapt learns from requests: made-up members, time is a number. */
#include <math.h>

#include "test.h"

#include "adapt_sim.h"

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
    assert_float_equal(ratio_of(&s, SMALL, quiet), pow(0.5, 5 / 6.0), 0.01); /* as many threads */
    assert_float_equal(ratio_of(&s, FAST, quiet), pow(0.5, 1 / 3.0), 0.01);
    assert_float_equal(ratio_of(&s, ONE, busy), pow(0.5, 1 / 2.0), 0.01); /* a level away */
    ask(&s, FAST, quiet, 0.5, 12);
    assert_float_equal(ratio_of(&s, FAST, quiet), 0.5, 0.01);
    assert_true(ratio_of(&s, SMALL, quiet) < pow(0.5, 5 / 6.0)); /* more of it is everybody's */
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

/* Each phase ages by its own last request, and a new one does not make the old ones young. */
static void what_was_seen_long_ago_counts_little(void **state)
{
    (void)state;
    struct sim s;
    struct snug_adapt_outlook outlooks[N_USUAL];
    const struct snug_adapt_view view = view_of(20, 2);
    sim_open(&s);
    give_rates(&s);
    ask(&s, FAST, view, 0.5, 12);
    s.now_s += 6000; /* ten half-lives */
    const struct snug_adapt_sample decode = {.member = FAST, .decode_tps = 10, .decode_s = 1};
    snug_adapt_observe(&s.state, s.members, &view, &decode, s.now_s);
    snug_adapt_look_ahead(&s.state, s.members, N_USUAL, &view, s.now_s, outlooks);
    assert_float_equal(outlooks[FAST].ratio[SNUG_ADAPT_DECODE], 1, 0.02);
    assert_true(outlooks[FAST].ratio[SNUG_ADAPT_PREFILL] > 0.6);
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
    assert_contains(s.decision.reason, "the present one at 0.3");
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
        cmocka_unit_test(nothing_seen_corrects_nothing),
        cmocka_unit_test(requests_correct_the_member_most_and_others_in_part),
        cmocka_unit_test(corrections_are_bounded_and_follow_changes),
        cmocka_unit_test(what_was_seen_long_ago_counts_little),
        cmocka_unit_test(full_cells_forget_the_oldest),
        cmocka_unit_test(slower_than_measured_is_left),
        cmocka_unit_test(observed_times_count_for_the_limits),
        cmocka_unit_test(constant_truth_is_settled_for),
        cmocka_unit_test(wrong_table_is_found_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
