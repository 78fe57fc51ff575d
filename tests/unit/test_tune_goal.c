/* Sessions for goals of several axes and with limits, on a replayed table whose truth is known: 6
 * threads x 3 micro batches x 3 cache types. More threads decode faster and read the prompt slower;
 * a larger micro batch reads faster and needs more memory; smaller cache types need less memory. */
#include "table_session.h"

#include <math.h>

#include "base/buffer.h"

enum { THREADS = 6, BATCHES = 3, TYPES = 3, N_CELLS = THREADS * BATCHES * TYPES };

static double decode_tps(int threads, int batch, int type)
{
    return 10 * threads * (1 - 0.03 * type) * (1 + 0.002 * batch);
}

static double prefill_tps(int threads, int batch)
{
    return 1200.0 / threads * (1 + 0.2 * batch);
}

/* A prompt of 64 and the first sample. */
static double ttft_s(int threads, int batch)
{
    return 64 / prefill_tps(threads, batch) + 0.01;
}

static int memory(int batch, int type)
{
    return 1000 + 300 * batch + 400 / (1 << type);
}

static const char *const TYPE_NAMES[TYPES] = {"f16", "q8_0", "q4_0"};

/* 4 blocks each; the slowest of prefill takes slow_frac longer. Of several repetitions the last
 * takes half a second to its first token where more threads than by default run. */
static char *table(double slow_frac, int n_reps)
{
    static const char head[] =
        "\"snug_table\":1,\"name\":\"goals\",\"space\":["
        "{\"name\":\"threads\",\"kind\":\"int\",\"min\":1,\"max\":6,\"step\":1,\"default\":3},"
        "{\"name\":\"batch\",\"kind\":\"int\",\"min\":0,\"max\":2,\"step\":1,\"default\":1},"
        "{\"name\":\"type_k\",\"kind\":\"enum\",\"values\":[\"f16\",\"q8_0\",\"q4_0\"],"
        "\"min\":0,\"max\":2,\"default\":\"f16\"}],"
        "\"workloads\":[{\"n_prompt\":64,\"n_gen\":16,\"n_ctx\":128}],\"estimate_s\":0.1";
    struct snug_buffer body = {0};
    for (int i = 0; i < N_CELLS * n_reps; i++) {
        const int rep = i / N_CELLS, cell = i % N_CELLS;
        const int threads = 1 + cell % THREADS, batch = cell / THREADS % BATCHES;
        const int type = cell / THREADS / BATCHES;
        const double pp = prefill_tps(threads, batch), tg = decode_tps(threads, batch, type);
        const bool is_late = rep > 0 && rep == n_reps - 1 && threads > 3;
        snug_buffer_printf(&body,
                           "{\"config\":{\"threads\":%d,\"batch\":%d,\"type_k\":\"%s\"},\"rep\":%d,"
                           "\"outcome\":\"ok\",\"prefill_block_tps\":[%.6f,%.6f,%.6f,%.6f],"
                           "\"decode_block_tps\":[%.6f,%.6f],\"ttft_s\":%.6f,"
                           "\"bytes\":{\"weights\":%d,\"cache\":1,\"compute\":1},\"wall_s\":1,"
                           "\"setup_s\":0}\n",
                           threads, batch, TYPE_NAMES[type], rep, pp, pp / (1 + slow_frac), pp, pp,
                           tg, tg, is_late ? 0.5 : ttft_s(threads, batch), memory(batch, type));
    }
    char *text = table_text(head, snug_buffer_text(&body), N_CELLS * n_reps);
    snug_buffer_clear(&body);
    return text;
}

/* snug_kld_fn: f16 costs nothing, q8_0 a little, q4_0 more; or q4_0 was never measured. */
static bool is_q4_measured = true;

static double kld_nats(const struct snug_config *config, void *data)
{
    static const double price[TYPES] = {0.0005, 0.002, 0.03};
    (void)data;
    return config->value[2] == 2 && !is_q4_measured ? (double)NAN : price[config->value[2]];
}

static int stop_after; /* trials until the session is stopped; 0: never */
static volatile int stop;

static void on_event(const struct snug_tune_event *event, void *data)
{
    (void)data;
    stop |= event->kind == SNUG_TUNE_END && --stop_after == 0;
}

struct asked {
    const char *objectives;
    double limit[SNUG_N_LIMITS];
    double slow_frac;
    int n_reps; /* 0: 1 */
    const char *strategy;
    int n_trials;
    bool is_resumed, has_ladder;
};

static snug_status run(void **state, const struct asked *asked, struct snug_tune_result *out,
                       struct snug_goal *out_goal, struct snug_error *out_err)
{
    struct table_session s;
    struct snug_error err = {0};
    table_session_open(state, "h.db", table(asked->slow_frac, asked->n_reps ? asked->n_reps : 1),
                       &s);
    assert_ok(snug_goal_parse(asked->objectives, &s.tune.goal, &err));
    memcpy(s.tune.goal.limit, asked->limit, sizeof s.tune.goal.limit);
    s.tune.kld = kld_nats;
    s.tune.n_trials = asked->n_trials ? asked->n_trials : 24;
    s.tune.strategy = asked->strategy ? asked->strategy : "snug";
    s.tune.is_resumed = asked->is_resumed;
    s.tune.has_ladder = asked->has_ladder;
    s.tune.n_confirm_pairs = 6;
    s.tune.stop = &stop;
    s.tune.on_event = on_event;
    stop = 0;
    const snug_status status = snug_tune_run(&s.tune, out, out_err);
    *out_goal = s.tune.goal;
    table_session_close(&s);
    return status;
}

static bool is_on_front(const struct snug_tune_result *r, const struct snug_goal *goal, int i)
{
    size_t index[64], n = 0;
    struct snug_error err;
    bool found = false;
    assert_true(r->n_trials <= 64);
    assert_ok(snug_tune_front(r, goal, index, &n, &err));
    for (size_t k = 0; k < n; k++)
        found |= index[k] == (size_t)i;
    return found;
}

/* ---- axes ---- */

/* Share of the volume of all 54 cells that the trials found. */
static double found_share(const struct snug_tune_result *r, const struct snug_goal *goal)
{
    double all[N_CELLS][SNUG_AXES_MAX], found[64][SNUG_AXES_MAX];
    for (int i = 0; i < N_CELLS; i++) {
        const int threads = 1 + i % THREADS, batch = i / THREADS % BATCHES;
        const int type = i / THREADS / BATCHES;
        const struct snug_config config = {.value = {threads, batch, type}};
        const double value[SNUG_N_AXES] = {
            [SNUG_AXIS_DECODE] = decode_tps(threads, batch, type),
            [SNUG_AXIS_PREFILL] = prefill_tps(threads, batch),
            [SNUG_AXIS_REQUEST] =
                1 / (64 / prefill_tps(threads, batch) + 16 / decode_tps(threads, batch, type)),
            [SNUG_AXIS_MEMORY] = memory(batch, type) + 2,
            [SNUG_AXIS_KLD] = kld_nats(&config, NULL)};
        for (int d = 0; d < SNUG_AXES_MAX; d++)
            all[i][d] = d < goal->n_axes
                            ? snug_axis_gain(goal->axis[d], value[goal->axis[d]], r->ref[d])
                            : 1;
    }
    for (int i = 0; i < r->n_trials; i++)
        for (int d = 0; d < SNUG_AXES_MAX; d++)
            found[i][d] = d < goal->n_axes
                              ? snug_axis_gain(goal->axis[d], r->trials[i].axis[d], r->ref[d])
                              : 1;
    return snug_goal_hypervolume(found, (size_t)r->n_trials) / snug_goal_hypervolume(all, N_CELLS);
}

static void goals_of_two_and_three_axes_find_their_front(void **state)
{
    static const char *const goals[] = {"decode,prefill", "decode,prefill,memory",
                                        "prefill,memory,kld", "request,kld", "memory,decode,kld"};
    for (size_t g = 0; g < COUNT(goals); g++) {
        struct snug_tune_result r;
        struct snug_goal goal;
        struct snug_error err;
        const struct asked asked = {.objectives = goals[g]};
        assert_ok(run(state, &asked, &r, &goal, &err));
        const double share = found_share(&r, &goal);
        print_message("# %s: %.3f of the volume in %d trials\n", goals[g], share, r.n_trials);
        assert_true(share > 0.95 && share <= 1 + 1e-9);
        assert_true(r.i_pick >= 0 && r.i_best >= 0 && r.trials[r.n_trials - 1].hypervolume > 0);
        for (int i = 1; i < r.n_trials; i++)
            assert_true(r.trials[i].hypervolume >= r.trials[i - 1].hypervolume - 1e-12);
        assert_true(is_on_front(&r, &goal, r.i_best));
        snug_tune_result_clear(&r);
    }
}

/* Both ends of a front of two speeds are on it: one of them is slower in memory's plane. */
static void front_of_two_speeds_keeps_both_ends(void **state)
{
    struct snug_tune_result r;
    struct snug_goal goal;
    struct snug_error err;
    size_t index[64], n = 0;
    const struct asked asked = {.objectives = "decode,prefill"};
    assert_ok(run(state, &asked, &r, &goal, &err));
    assert_ok(snug_tune_front(&r, &goal, index, &n, &err));
    assert_true(n >= 4);
    assert_int_equal(r.trials[index[0]].config.value[0], THREADS);
    assert_int_equal(r.trials[index[n - 1]].config.value[0], 1);
    for (size_t k = 1; k < n; k++) {
        assert_true(r.trials[index[k]].axis[0] < r.trials[index[k - 1]].axis[0]);
        assert_true(r.trials[index[k]].axis[1] > r.trials[index[k - 1]].axis[1]);
    }
    snug_tune_result_clear(&r);
}

static void energy_that_no_meter_counts_is_unsupported(void **state)
{
    struct snug_tune_result r;
    struct snug_goal goal;
    struct snug_error err;
    const struct asked asked = {.objectives = "decode,energy"};
    assert_fails(SNUG_UNSUPPORTED, run(state, &asked, &r, &goal, &err));
    assert_contains(err.text, "energy was not measured");
}

/* ---- limits ---- */

/* The most threads decode fastest and need 0.33 s to the first token at the least. */
static void fastest_config_that_breaks_ttft_is_neither_pick_nor_front(void **state)
{
    static const char *const strategies[] = {"snug", "sobol", "random"};
    static const char *const goals[] = {"decode", "decode,prefill"};
    for (size_t k = 0; k < COUNT(strategies) * COUNT(goals); k++) {
        struct snug_tune_result r;
        struct snug_goal goal;
        struct snug_error err;
        const double limit_s = 0.2;
        const struct asked asked = {.objectives = goals[k % 2],
                                    .limit = {[SNUG_LIMIT_TTFT] = limit_s},
                                    .strategy = strategies[k / 2],
                                    .n_trials = 40};
        assert_ok(run(state, &asked, &r, &goal, &err));
        int n_broken = 0;
        for (int i = 0; i < r.n_trials; i++) {
            const bool is_past = r.trials[i].measurement.ttft_s > limit_s;
            n_broken += is_past;
            assert_int_equal(r.trials[i].keeps_limits, !is_past);
            if (is_past)
                assert_false(is_on_front(&r, &goal, i));
        }
        print_message("# %s, %s: %d of %d trials past the limit\n", goals[k % 2], strategies[k / 2],
                      n_broken, r.n_trials);
        assert_true(r.i_pick >= 0 && r.trials[r.i_pick].measurement.ttft_s <= limit_s);
        /* the best of all cells that keep it: 4 threads at the largest micro batch */
        if (k / 2 == 0)
            assert_true(r.trials[r.i_best].config.value[0] == 4 &&
                        r.trials[r.i_best].config.value[1] == 2);
        assert_string_equal(r.limit_note, "");
        snug_tune_result_clear(&r);
    }
}

/* A limit on the share of trials that "snug" spends beyond it, against one that learns nothing. */
static void snug_learns_where_a_limit_is_broken(void **state)
{
    int n_broken[2] = {0}, n[2] = {0};
    for (int k = 0; k < 2; k++) {
        struct snug_tune_result r;
        struct snug_goal goal;
        struct snug_error err;
        const struct asked asked = {.objectives = "decode",
                                    .limit = {[SNUG_LIMIT_TTFT] = 0.12},
                                    .strategy = k ? "random" : "snug"};
        assert_ok(run(state, &asked, &r, &goal, &err));
        for (int i = 0; i < r.n_trials; i++)
            n_broken[k] += !r.trials[i].keeps_limits;
        n[k] = r.n_trials;
        snug_tune_result_clear(&r);
    }
    print_message("# past the limit: snug %d of %d, random %d of %d\n", n_broken[0], n[0],
                  n_broken[1], n[1]);
    assert_true(n_broken[0] * n[1] < n_broken[1] * n[0]);
}

/* The slowest of four blocks takes 1.5 times as long: what is near the limit may not be picked. */
static void pick_uses_the_upper_limit_of_blocks(void **state)
{
    struct snug_tune_result r;
    struct snug_goal goal;
    struct snug_error err;
    const struct asked asked = {
        .objectives = "decode", .limit = {[SNUG_LIMIT_TTFT] = 0.2}, .slow_frac = 0.5};
    assert_ok(run(state, &asked, &r, &goal, &err));
    int n_near = 0;
    for (int i = 0; i < r.n_trials; i++)
        n_near += r.trials[i].keeps_limits && !r.trials[i].is_safe;
    assert_true(n_near > 0);
    assert_true(r.i_pick >= 0 && 1.5 * r.trials[r.i_pick].measurement.ttft_s <= 0.2);
    snug_tune_result_clear(&r);
}

/* Every config of more than the default's three threads breaks the limit once in five runs, so in
 * six pairs: each best that does is none, and the next one is checked in its place, down to the
 * default. */
static void best_that_breaks_a_limit_when_checked_makes_room_for_the_next(void **state)
{
    struct snug_tune_result r;
    struct snug_goal goal;
    struct snug_error err;
    const struct asked asked = {
        .objectives = "decode", .limit = {[SNUG_LIMIT_TTFT] = 0.4}, .n_reps = 5};
    assert_ok(run(state, &asked, &r, &goal, &err));
    int n_dropped = 0;
    for (int i = 0; i < r.n_trials; i++)
        n_dropped += !r.trials[i].keeps_limits && r.trials[i].measurement.ttft_s < 0.4;
    assert_true(n_dropped > 1);
    assert_int_equal(r.i_pick, r.i_best);
    assert_int_equal(r.trials[r.i_best].config.value[0], 3);
    /* the default is what is left: nothing is said of it beside those that were dropped */
    assert_int_equal(r.i_best, r.i_default);
    assert_int_equal(r.n_confirm, 0);
    snug_tune_result_clear(&r);
}

static void limit_that_nothing_keeps_says_which_and_by_how_much(void **state)
{
    struct snug_tune_result r;
    struct snug_goal goal;
    struct snug_error err;
    size_t index[64], n = 1;
    const struct asked asked = {
        .objectives = "decode",
        .limit = {[SNUG_LIMIT_TTFT] = 0.04, [SNUG_LIMIT_TPOT] = 10}}; /* least: 0.048 s */
    assert_ok(run(state, &asked, &r, &goal, &err));
    assert_true(r.i_best == -1 && r.i_pick == -1 && r.n_trials > 4);
    assert_ok(snug_tune_front(&r, &goal, index, &n, &err));
    assert_int_equal(n, 0);
    assert_contains(r.limit_note, "--max-ttft binds");
    assert_contains(r.limit_note, "20 % more than 40");
    assert_contains(r.limit_note, "threads=1 batch=2");
    snug_tune_result_clear(&r);
}

static void cache_types_past_max_kld_or_never_measured_are_not_tried(void **state)
{
    struct snug_tune_result r;
    struct snug_goal goal;
    struct snug_error err;
    const struct asked limited = {
        .objectives = "decode", .limit = {[SNUG_LIMIT_KLD] = 0.01}, .n_trials = 60};
    const struct asked axis = {.objectives = "decode,kld", .n_trials = 60};
    for (int k = 0; k < 2; k++) {
        is_q4_measured = k == 0;
        assert_ok(run(state, k ? &axis : &limited, &r, &goal, &err));
        is_q4_measured = true;
        int n_q8 = 0;
        for (int i = 0; i < r.n_trials; i++) {
            assert_true(r.trials[i].config.value[2] != 2);
            n_q8 += r.trials[i].config.value[2] == 1;
        }
        assert_true(n_q8 > 0 || k == 1);
        assert_true(r.i_pick >= 0);
        snug_tune_result_clear(&r);
    }
}

/* What a begun trial is worth is known of a speed and memory alone. */
static void ladder_of_a_goal_that_is_not_plain_is_refused(void **state)
{
    struct snug_tune_result r;
    struct snug_goal goal;
    struct snug_error err;
    const struct asked axes = {.objectives = "decode,prefill", .has_ladder = true};
    const struct asked limit = {
        .objectives = "decode", .limit = {[SNUG_LIMIT_TTFT] = 1}, .has_ladder = true};
    assert_fails(SNUG_BAD_INPUT, run(state, &axes, &r, &goal, &err));
    assert_contains(err.text, "--ladder");
    assert_fails(SNUG_BAD_INPUT, run(state, &limit, &r, &goal, &err));
}

/* ---- resume ---- */

static void session_of_another_goal_is_not_resumed(void **state)
{
    struct snug_tune_result r;
    struct snug_goal goal;
    struct snug_error err;
    struct asked asked = {.objectives = "decode,prefill", .limit = {[SNUG_LIMIT_TTFT] = 0.2}};
    stop_after = 4;
    assert_ok(run(state, &asked, &r, &goal, &err));
    assert_true(r.is_stopped);
    snug_tune_result_clear(&r);
    struct asked other = {.objectives = "decode", .is_resumed = true};
    assert_fails(SNUG_BAD_INPUT, run(state, &other, &r, &goal, &err));
    assert_contains(err.text, "begun with other objectives (--objective decode,prefill");
    other = asked;
    other.is_resumed = true;
    other.limit[SNUG_LIMIT_TTFT] = 0.3;
    assert_fails(SNUG_BAD_INPUT, run(state, &other, &r, &goal, &err));
    assert_contains(err.text, "begun with other limits");
    asked.is_resumed = true;
    assert_ok(run(state, &asked, &r, &goal, &err));
    assert_true(r.n_trials > 4 && !r.is_stopped);
    snug_tune_result_clear(&r);
}

/* ---- words ---- */

static void goals_are_read_from_words(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want; /* NULL: refused */
    } cases[] = {{"decode", "decode,memory"},
                 {"energy", "energy,memory"},
                 {"prefill,decode", "prefill,decode"},
                 {"kld,memory,request", "kld,memory,request"},
                 {"memory", NULL},
                 {"memory,kld", NULL},
                 {"decode,decode", NULL},
                 {"decode,prefill,memory,kld", NULL},
                 {"speed", NULL},
                 {"", NULL},
                 {"decode,", NULL},
                 {",decode", NULL}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct snug_goal goal = {.limit = {1, 2, 3}};
        struct snug_error err;
        char text[64];
        if (!cases[i].want) {
            assert_fails(SNUG_BAD_INPUT, snug_goal_parse(cases[i].text, &goal, &err));
            assert_int_equal(goal.n_axes, 0);
            continue;
        }
        assert_ok(snug_goal_parse(cases[i].text, &goal, &err));
        assert_string_equal(snug_goal_text(&goal, text, sizeof text), cases[i].want);
        assert_true(goal.limit[2] > 2.9); /* limits stay */
    }
}

static void upper_limits_are_of_the_blocks(void **state)
{
    (void)state;
    struct snug_measurement m = {.outcome = SNUG_TRIAL_OK,
                                 .prefill_tps = 100,
                                 .decode_tps = 10,
                                 .ttft_s = 1,
                                 .prefill_block_tps = {100, 50, 100},
                                 .decode_block_tps = {10},
                                 .n_prefill_blocks = 3,
                                 .n_decode_blocks = 1};
    const struct snug_workload w = {.n_prompt = 64, .n_gen = 16, .n_parallel = 2};
    double hi = 0;
    assert_double_equal(snug_limit_value(SNUG_LIMIT_TTFT, &m, &w, NAN, &hi), 1, 1e-12);
    assert_double_equal(hi, 2, 1e-12);
    assert_double_equal(snug_limit_value(SNUG_LIMIT_TPOT, &m, &w, NAN, &hi), 0.2, 1e-12);
    assert_double_equal(hi, 0.2, 1e-12);
    m.ttft_s = 0; /* not recorded: the prompt's own time */
    assert_double_equal(snug_limit_value(SNUG_LIMIT_TTFT, &m, &w, NAN, NULL), 1.28, 1e-12);
    for (int i = 0; i < 40; i++) /* enough for a quantile: one bad block of 40 is beyond it */
        m.prefill_block_tps[i] = i ? 100 : 1;
    m.n_prefill_blocks = 40;
    (void)snug_limit_value(SNUG_LIMIT_TTFT, &m, &w, NAN, &hi);
    assert_double_equal(hi, 1.28, 1e-12);
    m.outcome = SNUG_TRIAL_OOM;
    assert_true(isnan(snug_limit_value(SNUG_LIMIT_TTFT, &m, &w, NAN, &hi)) && isnan(hi));
    const struct snug_goal goal = {.limit = {[SNUG_LIMIT_TTFT] = 1}};
    assert_false(snug_limit_holds(&goal, SNUG_LIMIT_TTFT, NAN));
    assert_true(snug_limit_holds(&goal, SNUG_LIMIT_TPOT, NAN));
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(goals_of_two_and_three_axes_find_their_front),
        IN_FOLDER(front_of_two_speeds_keeps_both_ends),
        IN_FOLDER(energy_that_no_meter_counts_is_unsupported),
        IN_FOLDER(fastest_config_that_breaks_ttft_is_neither_pick_nor_front),
        IN_FOLDER(snug_learns_where_a_limit_is_broken),
        IN_FOLDER(pick_uses_the_upper_limit_of_blocks),
        IN_FOLDER(best_that_breaks_a_limit_when_checked_makes_room_for_the_next),
        IN_FOLDER(limit_that_nothing_keeps_says_which_and_by_how_much),
        IN_FOLDER(cache_types_past_max_kld_or_never_measured_are_not_tried),
        IN_FOLDER(ladder_of_a_goal_that_is_not_plain_is_refused),
        IN_FOLDER(session_of_another_goal_is_not_resumed),
        cmocka_unit_test(goals_are_read_from_words),
        cmocka_unit_test(upper_limits_are_of_the_blocks),
    };
    return cmocka_run_group_tests_name("tune_goal", tests, NULL, NULL);
}
