/* The benchmark of tuners, in short: scores lie where they must, the best scores 1, the same seed
 * leaves the same trace, and what is known to be worse is scored worse. */
#include "table.h"

#include <math.h>

#include "perf/tunebench/tunebench.h"

static struct tb_table table;

static int open_table(void **state)
{
    (void)state;
    const struct tb_offload_options options = {.seed = 7, .noise_frac = 0.03};
    struct snug__table *read = NULL;
    struct snug_error err;
    size_t n = 0;
    char *text = tb_offload_text(&options, &n);
    assert_non_null(text);
    assert_ok(snug__table_parse("generated", text, n, &read, &err));
    free(text);
    assert_ok(tb_table_init(&table, read, SNUG_OBJECTIVE_REQUEST, &err));
    return 0;
}

static int close_table(void **state)
{
    (void)state;
    tb_table_clear(&table);
    return 0;
}

static void run_once(const char *name, uint64_t seed, int n_trials, struct tb_run *out)
{
    struct snug_error err;
    const struct tb_run_options options = {
        .table = &table, .method = tb_method_find(name), .seed = seed, .n_trials = n_trials};
    assert_non_null(options.method);
    assert_ok(tb_run_once(&options, out, &err));
}

static void generated_table_is_the_same_for_the_same_seed(void **state)
{
    (void)state;
    char hash[3][SNUG_SHA256_HEX_MAX];
    for (int i = 0; i < 3; i++) {
        const struct tb_offload_options options = {.seed = i < 2 ? 1 : 2, .noise_frac = 0.03};
        size_t n = 0;
        char *text = tb_offload_text(&options, &n);
        assert_non_null(text);
        snug_sha256_hex(text, n, hash[i]);
        free(text);
    }
    assert_string_equal(hash[0], hash[1]);
    assert_string_not_equal(hash[1], hash[2]);
}

/* What the setting is made for: some run, some end in OOM, some are refused, at a cost each. */
static void generated_table_has_failures_of_each_kind_and_they_cost(void **state)
{
    (void)state;
    size_t n[SNUG_N_OUTCOMES] = {0};
    const struct snug__table *t = table.table;
    for (size_t i = 0; i < t->n_reps; i++) {
        n[t->reps[i].outcome]++;
        assert_true(t->reps[i].wall_s + t->reps[i].setup_s > 0);
    }
    assert_true(n[SNUG_TRIAL_OK] > t->n_reps / 10);
    assert_true(n[SNUG_TRIAL_OOM] > t->n_reps / 100);
    assert_true(n[SNUG_TRIAL_REFUSED] > t->n_reps / 100);
    /* some of it cannot be foreseen: stated to fit, and OOM */
    size_t n_hidden = 0;
    for (size_t i = 0; i < t->n_cells; i++)
        n_hidden += t->cells[i].reps[0].outcome == SNUG_TRIAL_OOM &&
                    snug__table_memory(t, &t->cells[i]) <= t->limit_bytes;
    assert_true(n_hidden > 0);
}

/* All true points together, which is what knowing everything would declare. */
static void share_of_the_whole_table_is_one(void **state)
{
    (void)state;
    const size_t n = table.table->n_cells;
    struct snug_point *points = calloc(n, sizeof *points);
    size_t *index = calloc(n, sizeof *index);
    assert_true(points && index);
    for (size_t i = 0; i < n; i++)
        points[i] = tb_table_point(&table, &table.table->cells[i].config);
    assert_true(fabs(tb_table_share(&table, points, n) - 1) < 1e-12);
    const size_t n_front = snug_front_compute(points, n, index);
    assert_true(n_front > 3);
    struct snug_point best[2] = {points[index[0]], points[index[n_front - 1]]};
    const double share = tb_table_share(&table, best, 2); /* only its ends */
    assert_true(share > 0 && share < 0.999);
    assert_true(!(tb_table_share(&table, NULL, 0) > 0));
    free(points);
    free(index);
}

static void every_method_scores_between_0_and_1_and_breaks_no_limit(void **state)
{
    (void)state;
    static struct tb_run run;
    for (const struct tb_method *m = tb_methods(); m->name; m++) {
        run_once(m->name, 3, 16, &run);
        assert_int_in_range(run.n_trials, 1, 16);
        for (int i = 0; i < run.n_trials; i++) {
            assert_true(run.share[i] >= 0 && run.share[i] <= 1);
            assert_true(run.clock_s[i] > (i ? run.clock_s[i - 1] : 0));
        }
        assert_int_equal(run.n_violations, 0);
        assert_true(fabs(run.optimism) < 0.5);
        const double area = tb_area_trials(&run, 16), seconds = tb_area_seconds(&run, 1e4);
        assert_true(area >= 0 && area <= 1 && seconds >= 0 && seconds <= 1);
    }
}

static void same_seed_leaves_the_same_trace_and_another_seed_another(void **state)
{
    (void)state;
    static struct tb_run a, b, c;
    for (const struct tb_method *m = tb_methods(); m->name; m++) {
        run_once(m->name, 1, 12, &a);
        run_once(m->name, 1, 12, &b);
        run_once(m->name, 2, 12, &c);
        assert_string_equal(a.sha256, b.sha256);
        if (a.n_trials > 2) /* else only the default and --fit's choice were measured */
            assert_string_not_equal(a.sha256, c.sha256);
    }
}

/* A cost model may have nothing to say of the first cell; the rest still counts. */
static void predictions_count_where_the_first_cell_has_none(void **state)
{
    (void)state;
    static struct tb_run with, without;
    struct snug__table_cell *cell = &table.table->cells[0];
    const struct snug__table_cell before = *cell;
    cell->predicted_prefill_tps = cell->predicted_decode_tps = 0;
    run_once("snug", 1, 12, &with);
    run_once("snug-no-prior", 1, 12, &without);
    *cell = before;
    assert_string_not_equal(with.sha256, without.sha256);
}

static void scores_of_a_made_up_run_are_what_they_are_by_hand(void **state)
{
    (void)state;
    static struct tb_run run = {.n_trials = 3, .share = {0.2, 0.92, 0.96}, .clock_s = {10, 20, 40}};
    assert_true(fabs(tb_area_trials(&run, 3) - 2.08 / 3) < 1e-12);
    assert_true(fabs(tb_area_trials(&run, 5) - (2.08 + 2 * 0.96) / 5) < 1e-12); /* it holds */
    /* nothing until 10 s, 0.2 until 20 s, 0.92 until 40 s, then 0.96 */
    assert_true(fabs(tb_area_seconds(&run, 50) - (2 + 18.4 + 9.6) / 50) < 1e-12);
    assert_true(fabs(tb_area_seconds(&run, 15) - 1.0 / 15) < 1e-12);
    assert_int_equal(tb_trials_to(&run, 0.9, 3), 2);
    assert_int_equal(tb_trials_to(&run, 0.95, 3), 3);
    assert_int_equal(tb_trials_to(&run, 0.97, 3), 4);
}

/* Fronts of 30 trials, over 4 seeds: what searches beats one config, and snug beats random. */
static void better_methods_score_better(void **state)
{
    (void)state;
    static struct tb_run run;
    double area[3] = {0};
    const char *names[3] = {"fit", "random", "snug"};
    for (int k = 0; k < 3; k++)
        for (uint64_t seed = 0; seed < 4; seed++) {
            run_once(names[k], seed, 30, &run);
            area[k] += tb_area_trials(&run, 30) / 4;
        }
    assert_true(area[0] < area[1]);
    assert_true(area[1] < area[2]);
}

/* 40 trials, over 4 seeds, of two axes and of three. */
static void goals_of_two_and_three_axes_are_scored_by_their_own_front(void **state)
{
    (void)state;
    static const char *const goals[] = {"decode,prefill", "request,prefill,memory"};
    static struct tb_run run, again;
    const struct tb_table plain = table;
    for (size_t g = 0; g < COUNT(goals); g++) {
        struct snug_error err;
        struct snug_goal goal = {.n_axes = 0};
        double area[2] = {0}, greedy[40];
        assert_ok(snug_goal_parse(goals[g], &goal, &err));
        assert_ok(tb_table_set_goal(&table, &goal, &err));
        const double all = tb_table_share_of_gains(
            &table, (const double(*)[SNUG_AXES_MAX])table.gain, table.table->n_cells);
        assert_true(fabs(all - 1) < 1e-12);
        for (uint64_t seed = 0; seed < 4; seed++)
            for (int k = 0; k < 2; k++) {
                run_once(k ? "random" : "snug", seed, 40, &run);
                for (int i = 0; i < run.n_trials; i++)
                    assert_true(run.share[i] >= 0 && run.share[i] <= 1 + 1e-12);
                assert_int_equal(run.n_violations, 0);
                area[k] += tb_area_trials(&run, 40) / 4;
            }
        run_once("snug", 3, 40, &run);
        run_once("snug", 3, 40, &again);
        assert_string_equal(run.sha256, again.sha256);
        assert_ok(tb_table_greedy_of_gains(&table, 40, greedy, &err));
        print_message("# %s: area of snug %.3f, of random %.3f\n", goals[g], area[0], area[1]);
        assert_true(area[0] > area[1]);
        assert_true(greedy[0] > 0 && greedy[39] <= 1 + 1e-12 && greedy[39] > 0.99);
    }
    free(table.gain);
    table = plain;
}

static void goal_that_a_table_has_no_figures_of_is_refused(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_goal goal = {.n_axes = 0};
    const struct tb_table plain = table;
    assert_ok(snug_goal_parse("decode,energy,prefill", &goal, &err));
    assert_fails(SNUG_BAD_INPUT, tb_table_set_goal(&table, &goal, &err));
    assert_contains(err.text, "no figures for these objectives");
    free(table.gain);
    table = plain;
}

/* A past that is this very table ranks all of it rightly, so its user must gain. */
static void past_table_helps_who_learns_from_it(void **state)
{
    (void)state;
    static struct tb_run run;
    struct snug_error err;
    double area[2] = {0};
    for (int warm = 0; warm < 2; warm++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            run_once("restune-like", seed, 20, &run);
            area[warm] += tb_area_trials(&run, 20) / 4;
        }
        if (!warm)
            assert_ok(tb_sessions_open(&table, 1, 4, &err));
    }
    tb_sessions_close();
    print_message("# area of 20 trials: cold %.3f, with a past %.3f\n", area[0], area[1]);
    assert_true(area[1] > area[0]);
}

/* A past session with another seed is no truth, but snug must gain by it; upside down it costs
 * little, and without one nothing is there to use. */
static void past_session_helps_snug(void **state)
{
    (void)state;
    enum { SEEDS = 6, TRIALS = 30 };
    static struct tb_run run;
    struct snug_error err;
    double cold = 0, warm = 0, cold_prior = 0, wrong = 0;
    char before[SNUG_SHA256_HEX_MAX];
    run_once("snug-past", 0, 12, &run);
    snprintf(before, sizeof before, "%s", run.sha256);
    run_once("snug", 0, 12, &run);
    assert_string_equal(run.sha256, before);
    assert_ok(tb_sessions_open(&table, 1, SEEDS, &err));
    run_once("snug-past", 0, 12, &run); /* the past counts, and the same one alike */
    assert_string_not_equal(run.sha256, before);
    snprintf(before, sizeof before, "%s", run.sha256);
    run_once("snug-past", 0, 12, &run);
    assert_string_equal(run.sha256, before);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        run_once("snug-no-prior", seed, TRIALS, &run);
        cold += tb_area_trials(&run, TRIALS) / SEEDS;
        run_once("snug-past-no-prior", seed, TRIALS, &run);
        warm += tb_area_trials(&run, TRIALS) / SEEDS;
        run_once("snug", seed, TRIALS, &run);
        cold_prior += tb_area_trials(&run, TRIALS) / SEEDS;
        run_once("snug-wrong-past", seed, TRIALS, &run);
        wrong += tb_area_trials(&run, TRIALS) / SEEDS;
    }
    tb_sessions_close();
    print_message(
        "# area of %d trials: cold %.3f, with a past %.3f; with the cost model cold %.3f, "
        "with a past upside down %.3f\n",
        TRIALS, cold, warm, cold_prior, wrong);
    assert_true(warm > cold);
    assert_true(wrong > 0.95 * cold_prior);
}

static void table_on_which_nothing_runs_is_refused(void **state)
{
    (void)state;
    struct snug__table *t = NULL;
    struct tb_table bench;
    struct snug_error err;
    assert_ok(table_parse(TABLE_HEAD ",\"limit_bytes\":1000", TABLE_BODY, TABLE_N_LINES, &t, &err));
    assert_fails(SNUG_BAD_INPUT, tb_table_init(&bench, t, SNUG_OBJECTIVE_DECODE, &err));
    assert_contains(err.text, "0 of its 3 cells run within the limit");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generated_table_is_the_same_for_the_same_seed),
        cmocka_unit_test(generated_table_has_failures_of_each_kind_and_they_cost),
        cmocka_unit_test(share_of_the_whole_table_is_one),
        cmocka_unit_test(every_method_scores_between_0_and_1_and_breaks_no_limit),
        cmocka_unit_test(same_seed_leaves_the_same_trace_and_another_seed_another),
        cmocka_unit_test(predictions_count_where_the_first_cell_has_none),
        cmocka_unit_test(scores_of_a_made_up_run_are_what_they_are_by_hand),
        cmocka_unit_test(better_methods_score_better),
        cmocka_unit_test(goals_of_two_and_three_axes_are_scored_by_their_own_front),
        cmocka_unit_test(goal_that_a_table_has_no_figures_of_is_refused),
        cmocka_unit_test(past_table_helps_who_learns_from_it),
        cmocka_unit_test(past_session_helps_snug),
        cmocka_unit_test(table_on_which_nothing_runs_is_refused),
    };
    return cmocka_run_group_tests_name("tunebench", tests, open_table, close_table);
}
