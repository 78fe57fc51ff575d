/* Ranking of knobs: what was planted is found, what was not is not, whatever the seed. */
#include "test.h"

#include <math.h>

#include "snug/knobs.h"

#define N_KNOBS 5
#define N_ROWS_MAX 200
#define EXACT 1e-12

static const struct snug_knobs_knob KNOBS[N_KNOBS] = {
    {false, 4}, {true, 3}, {false, 6}, {true, 2}, {true, 2}};

struct sample {
    int levels[N_ROWS_MAX * N_KNOBS];
    double y[N_ROWS_MAX];
    struct snug_knobs_problem problem;
};

static int level_of(const struct sample *s, size_t row, int knob)
{
    return s->levels[row * N_KNOBS + (size_t)knob];
}

/* Random configs; y is 0 until planted. */
static void sample_init(struct sample *s, size_t n_rows, uint64_t seed)
{
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    memset(s, 0, sizeof *s);
    for (size_t i = 0; i < n_rows * N_KNOBS; i++)
        s->levels[i] = (int)snug_rng_below(&rng, (uint64_t)KNOBS[i % N_KNOBS].n_levels);
    s->problem = (struct snug_knobs_problem){.knobs = KNOBS,
                                             .n_knobs = N_KNOBS,
                                             .levels = s->levels,
                                             .y = s->y,
                                             .n_rows = n_rows,
                                             .negligible = 0.01,
                                             .seed = seed};
}

/* A knob of 25 % a step and one of 10 % for one name, with 1 % of noise. */
static void plant(struct sample *s, uint64_t seed)
{
    struct snug_rng rng;
    snug_rng_init(&rng, seed + 1000);
    for (size_t i = 0; i < s->problem.n_rows; i++)
        s->y[i] = 0.25 * level_of(s, i, 0) + 0.1 * (level_of(s, i, 1) == 2) +
                  0.01 * snug_rng_normal(&rng);
}

static struct snug_knobs_ranking ranked(const struct snug_knobs_problem *problem)
{
    struct snug_knobs_ranking ranking = {.n_knobs = 0};
    struct snug_error err = {0};
    assert_ok(snug_knobs_rank(problem, &ranking, &err));
    return ranking;
}

static void rank_finds_what_was_planted(void **state)
{
    (void)state;
    int n_kept = 0, n_false = 0, n_dropped = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sample s;
        sample_init(&s, 24, seed);
        plant(&s, seed);
        struct snug_knobs_ranking r = ranked(&s.problem);
        n_kept += r.rank[0].decision == SNUG_KNOBS_KEEP;
        n_dropped += r.rank[0].decision == SNUG_KNOBS_DROP;
        n_dropped += r.rank[1].decision == SNUG_KNOBS_DROP;
        for (int k = 2; k < N_KNOBS; k++)
            n_false += r.rank[k].decision == SNUG_KNOBS_KEEP;
        for (int k = 1; k < N_KNOBS; k++)
            if (r.rank[k].effect.mid >= r.rank[0].effect.mid)
                fail_msg("seed %llu: knob %d has %g, the planted one %g", (unsigned long long)seed,
                         k, r.rank[k].effect.mid, r.rank[0].effect.mid);
        snug_knobs_ranking_clear(&r);
    }
    /* Of 20: nearly all; of 60 inert ones hardly any; what matters is never dropped. */
    assert_int_in_range(n_kept, 18, 20);
    assert_int_in_range(n_false, 0, 3);
    assert_int_equal(n_dropped, 0);
}

static void rank_drops_inert_knobs_when_trials_suffice(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s, 200, 1);
    for (size_t i = 0; i < 200; i++)
        s.y[i] = 0.02 * level_of(&s, i, 0);
    struct snug_knobs_ranking r = ranked(&s.problem);
    assert_int_equal(r.rank[0].decision, SNUG_KNOBS_KEEP);
    for (int k = 1; k < N_KNOBS; k++)
        assert_int_equal(r.rank[k].decision, SNUG_KNOBS_DROP);
    assert_true(r.foreseen_frac > 0.9);
    assert_true(r.rank[0].share.mid > 0.9);
    snug_knobs_ranking_clear(&r);
}

/* Nothing but noise, and more of it than what is negligible: not told apart is not the same as
 * inert. */
static void rank_keeps_open_what_it_could_not_see(void **state)
{
    (void)state;
    struct sample s;
    struct snug_rng rng;
    sample_init(&s, 16, 3);
    snug_rng_init(&rng, 3);
    for (size_t i = 0; i < 16; i++)
        s.y[i] = snug_rng_normal(&rng);
    struct snug_knobs_ranking r = ranked(&s.problem);
    for (int k = 0; k < N_KNOBS; k++)
        assert_int_equal(r.rank[k].decision, SNUG_KNOBS_OPEN);
    assert_true(r.foreseen_frac < 0.3);
    snug_knobs_ranking_clear(&r);
}

static void rank_effect_is_in_the_unit_of_the_response(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct sample s;
        sample_init(&s, 20, seed);
        plant(&s, seed);
        struct snug_knobs_ranking once = ranked(&s.problem);
        for (size_t i = 0; i < 20; i++)
            s.y[i] *= 2; /* exact */
        struct snug_knobs_ranking twice = ranked(&s.problem);
        for (int k = 0; k < N_KNOBS; k++)
            if (fabs(twice.rank[k].effect.mid - 2 * once.rank[k].effect.mid) > EXACT ||
                fabs(twice.rank[k].share.mid - once.rank[k].share.mid) > EXACT)
                fail_msg("seed %llu, knob %d: %g of y, %g of 2 y", (unsigned long long)seed, k,
                         once.rank[k].effect.mid, twice.rank[k].effect.mid);
        snug_knobs_ranking_clear(&once);
        snug_knobs_ranking_clear(&twice);
    }
}

static void rank_same_problem_gives_same_ranking(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s, 30, 4);
    plant(&s, 4);
    struct snug_knobs_ranking a = ranked(&s.problem), b = ranked(&s.problem);
    assert_memory_equal(a.rank, b.rank, sizeof a.rank);
    assert_memory_equal(a.value, b.value, 30 * N_KNOBS * sizeof *a.value);
    s.problem.seed++;
    struct snug_knobs_ranking c = ranked(&s.problem);
    assert_true(c.rank[0].effect.mid != a.rank[0].effect.mid);
    snug_knobs_ranking_clear(&a);
    snug_knobs_ranking_clear(&b);
    snug_knobs_ranking_clear(&c);
}

/* Two names that are good together and bad apart: neither shows much alone. */
static void rank_names_the_pair_that_acts_together(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s, 80, 5);
    for (size_t i = 0; i < 80; i++)
        s.y[i] = (level_of(&s, i, 3) == level_of(&s, i, 4)) + 0.1 * level_of(&s, i, 0);
    struct snug_knobs_ranking r = ranked(&s.problem);
    assert_true(r.n_pairs >= 1);
    assert_int_equal(r.pair[0].a, 3);
    assert_int_equal(r.pair[0].b, 4);
    assert_true(r.pair[0].share.mid > r.rank[3].share.mid);
    assert_true(r.pair[0].share.mid > r.rank[4].share.mid);
    for (int i = 1; i < r.n_pairs; i++)
        assert_true(r.pair[i].share.mid <= r.pair[i - 1].share.mid);
    snug_knobs_ranking_clear(&r);
}

static void rank_constant_response_has_no_effects(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s, 20, 6);
    for (size_t i = 0; i < 20; i++)
        s.y[i] = 0.1;
    struct snug_knobs_ranking r = ranked(&s.problem);
    for (int k = 0; k < N_KNOBS; k++) {
        assert_true(r.rank[k].effect.hi == 0.0 && r.rank[k].share.hi == 0.0);
        assert_int_not_equal(r.rank[k].decision, SNUG_KNOBS_KEEP);
    }
    assert_int_equal(r.n_pairs, 0);
    snug_knobs_ranking_clear(&r);
}

static void rank_explains_rows_spread_evenly(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s, 200, 7);
    plant(&s, 7);
    struct snug_knobs_ranking r = ranked(&s.problem);
    assert_int_equal(r.n_explained, 128);
    for (size_t i = 1; i < r.n_explained; i++)
        assert_true(r.row[i] > r.row[i - 1] && r.row[i] - r.row[i - 1] <= 2);
    assert_true(r.row[127] >= 198 && r.row[127] < 200);
    snug_knobs_ranking_clear(&r);
}

/* Noise of 12 configs, each seen in five tasks: 12 trials of chance, not 60. */
static void rank_is_not_fooled_by_repeated_configs(void **state)
{
    (void)state;
    int group[60], n_kept = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sample s;
        struct snug_rng rng;
        sample_init(&s, 12, seed);
        snug_rng_init(&rng, seed + 1000);
        s.problem.n_rows = 60;
        s.problem.group = group;
        for (int i = 0; i < 60; i++) {
            group[i] = 100 - i % 12;
            s.y[i] = i < 12 ? snug_rng_normal(&rng) : s.y[i % 12];
            memcpy(&s.levels[i * N_KNOBS], &s.levels[i % 12 * N_KNOBS], N_KNOBS * sizeof *s.levels);
        }
        struct snug_knobs_ranking r = ranked(&s.problem);
        for (int k = 0; k < N_KNOBS; k++)
            n_kept += r.rank[k].decision == SNUG_KNOBS_KEEP;
        snug_knobs_ranking_clear(&r);
    }
    assert_int_in_range(n_kept, 0, 3); /* of 100 */
}

/* ---- bad input ---- */

static snug_status try_rank(const struct snug_knobs_problem *problem)
{
    struct snug_knobs_ranking ranking = {.n_knobs = -1};
    struct snug_error err = {0};
    const snug_status status = snug_knobs_rank(problem, &ranking, &err);
    if (status == SNUG_OK)
        snug_knobs_ranking_clear(&ranking);
    else
        assert_true(ranking.n_knobs == -1 && err.text[0]);
    return status;
}

static void rank_needs_some_configs(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s, SNUG_KNOBS_CONFIGS_MIN, 1);
    plant(&s, 1);
    assert_int_equal(try_rank(&s.problem), SNUG_OK);
    s.problem.n_rows--;
    assert_int_equal(try_rank(&s.problem), SNUG_INFEASIBLE);
    const int group[9] = {7, 6, 5, 4, 3, 2, 1, 1, 0};
    s.problem.group = group;
    s.problem.n_rows = 9;
    assert_int_equal(try_rank(&s.problem), SNUG_OK);
    s.problem.n_rows = 8; /* of seven configs */
    assert_int_equal(try_rank(&s.problem), SNUG_INFEASIBLE);
}

static void rank_caps_hold(void **state)
{
    (void)state;
    const size_t n_max = (SNUG_KNOBS_ROWS_MAX + 1) * 2;
    int *levels = calloc(n_max, sizeof *levels);
    double *y = calloc(n_max, sizeof *y); /* all the same: every tree is one leaf, and quick */
    struct snug_knobs_knob knobs[SNUG_KNOBS_MAX_RANKED + 1];
    assert_non_null(levels);
    assert_non_null(y);
    for (size_t k = 0; k < COUNT(knobs); k++)
        knobs[k] = (struct snug_knobs_knob){true, 2};
    struct snug_knobs_problem p = {
        .knobs = knobs, .n_knobs = 1, .levels = levels, .y = y, .n_rows = SNUG_KNOBS_ROWS_MAX};
    assert_int_equal(try_rank(&p), SNUG_OK);
    p.n_rows++;
    assert_int_equal(try_rank(&p), SNUG_BAD_INPUT);
    p.n_rows = 8;
    p.n_knobs = SNUG_KNOBS_MAX_RANKED;
    assert_int_equal(try_rank(&p), SNUG_OK);
    p.n_knobs++;
    assert_int_equal(try_rank(&p), SNUG_BAD_INPUT);
    p.n_knobs = 1;
    knobs[0].n_levels = SNUG_KNOBS_NAMED_MAX;
    levels[0] = SNUG_KNOBS_NAMED_MAX - 1;
    assert_int_equal(try_rank(&p), SNUG_OK);
    levels[0]++; /* no level of it */
    assert_int_equal(try_rank(&p), SNUG_BAD_INPUT);
    levels[0] = 0;
    knobs[0].n_levels++;
    assert_int_equal(try_rank(&p), SNUG_BAD_INPUT);
    knobs[0].n_levels = 2;
    y[3] = (double)INFINITY;
    assert_int_equal(try_rank(&p), SNUG_BAD_INPUT);
    free(levels);
    free(y);
}

static void decide_drops_only_when_every_metric_does(void **state)
{
    (void)state;
    const enum snug_knobs_decision k = SNUG_KNOBS_KEEP, d = SNUG_KNOBS_DROP, o = SNUG_KNOBS_OPEN;
    assert_int_equal(snug_knobs_decide((enum snug_knobs_decision[]){d, d}, 2), d);
    assert_int_equal(snug_knobs_decide((enum snug_knobs_decision[]){d, o}, 2), o);
    assert_int_equal(snug_knobs_decide((enum snug_knobs_decision[]){o, d, k}, 3), k);
    assert_int_equal(snug_knobs_decide(NULL, 0), o);
    assert_string_equal(snug_knobs_decision_name(d), "drop");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rank_finds_what_was_planted),
        cmocka_unit_test(rank_drops_inert_knobs_when_trials_suffice),
        cmocka_unit_test(rank_keeps_open_what_it_could_not_see),
        cmocka_unit_test(rank_effect_is_in_the_unit_of_the_response),
        cmocka_unit_test(rank_same_problem_gives_same_ranking),
        cmocka_unit_test(rank_names_the_pair_that_acts_together),
        cmocka_unit_test(rank_constant_response_has_no_effects),
        cmocka_unit_test(rank_explains_rows_spread_evenly),
        cmocka_unit_test(rank_is_not_fooled_by_repeated_configs),
        cmocka_unit_test(rank_needs_some_configs),
        cmocka_unit_test(rank_caps_hold),
        cmocka_unit_test(decide_drops_only_when_every_metric_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
