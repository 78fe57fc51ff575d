/* Replaying a table: which repetition answers, what is charged, and the engine of that name. */
#include "table.h"

#include <math.h>

#include "base/file.h"
#include "engine/replay.h"
#include "snug/engine.h"

static const struct snug__replay_effort all; /* zero: nothing is left out */

static struct snug_config config_of(int64_t threads, int64_t repack)
{
    return (struct snug_config){{threads, repack}};
}

/* The decode speed of one trial. */
static double ask(struct snug__replay *r, int64_t threads, int64_t repack)
{
    const struct snug_config config = config_of(threads, repack);
    struct snug_measurement m;
    snug__replay_run(r, &config, 0, &all, &m);
    return m.decode_tps;
}

static void replay_answers_with_each_repetition_once_then_wraps(void **state)
{
    (void)state;
    struct snug__table *t = table_small();
    struct snug__replay r;
    struct snug_error err;
    bool was_first[3] = {false};
    for (uint64_t seed = 0; seed < 20; seed++) {
        assert_ok(snug__replay_open(&r, t, seed, &err));
        double speed[6];
        int seen[3] = {0};
        for (int k = 0; k < 6; k++) {
            speed[k] = ask(&r, 1, 0);
            ask(&r, 2, 0); /* other cells do not move this one's turn */
            seen[(int)speed[k] - 10]++;
        }
        was_first[(int)speed[0] - 10] = true;
        for (int k = 0; k < 3; k++)
            assert_true(seen[k] == 2 && speed[k] == speed[k + 3]);
        snug__replay_close(&r);
    }
    assert_true(was_first[0] && was_first[1] && was_first[2]); /* the seed draws the order */
    snug__table_free(t);
}

static void replay_charges_loading_when_the_model_must_be_loaded(void **state)
{
    (void)state;
    struct snug__table *t = table_small();
    struct snug__replay r;
    struct snug_error err;
    assert_ok(snug__replay_open(&r, t, 1, &err));
    ask(&r, 1, 0);
    assert_true(r.clock_s == 5); /* 2 s of loading, 3 s of running */
    ask(&r, 2, 0);
    assert_true(r.clock_s == 8); /* the same model */
    ask(&r, 1, 1);
    assert_true(r.clock_s == 10.25); /* a load-time knob: loaded again, and OOM */
    ask(&r, 2, 0);
    assert_true(r.clock_s == 15.25); /* what failed has left nothing loaded */
    snug__replay_close(&r);
    snug__table_free(t);
}

/* The first blocks of the repetition that is next, for their share of its 3 s; what was only begun
 * goes on with the same one. */
static void replay_of_fewer_blocks_is_their_beginning_and_their_share(void **state)
{
    (void)state;
    struct snug__table *t = table_small();
    struct snug__replay r;
    struct snug_error err;
    const struct snug_config config = config_of(2, 0);
    const struct snug__replay_effort cold = {.n_blocks = 1, .is_cold = true};
    const struct snug__replay_effort two = {.n_blocks = 2}, more = {.n_blocks = 3};
    struct snug_measurement m;
    assert_ok(snug__replay_open(&r, t, 1, &err));
    snug__replay_run(&r, &config, 0, &cold, &m);
    assert_int_equal(m.n_prefill_blocks, 1);
    assert_true(m.prefill_tps == 100 && m.decode_tps == 20);
    assert_true(m.load_s == 2 && fabs(m.wall_s - (2 + 3 * 0.25)) < 1e-9);
    snug__replay_run(&r, &config, 0, &two, &m);
    assert_true(m.prefill_tps == 105 && fabs(m.wall_s - 3 * 0.75) < 1e-9);
    snug__replay_run(&r, &config, 0, &more, &m);
    assert_true(m.prefill_tps == 110 && fabs(m.wall_s - 3) < 1e-9);
    assert_true(fabs(r.clock_s - (2 + 3 * 2)) < 1e-9);
    /* 4 of 16 tokens: of a block of 64 / 110 + 16 / 20 s, the prompt and a quarter of the rest */
    const struct snug__replay_effort few = {.n_blocks = 1, .n_gen_max = 4, .is_cold = true};
    const double prompt_s = 64.0 / 110, gen_s = 16.0 / 20;
    snug__replay_run(&r, &config, 0, &few, &m);
    assert_true(fabs(m.wall_s - 3 * 0.25 * (prompt_s + gen_s / 4) / (prompt_s + gen_s)) < 1e-9);
    const struct snug__replay_effort as_many = {.n_blocks = 3, .n_gen_max = 4, .is_cold = true};
    snug__replay_run(&r, &config, 0, &as_many, &m);
    assert_true(fabs(m.wall_s - 3 * 0.75 * (prompt_s + gen_s / 4) / (prompt_s + gen_s)) < 1e-9);
    const uint32_t n_before = r.n_asked[0] + r.n_asked[1] + r.n_asked[2];
    snug__replay_run(&r, &config, 0, &cold, &m);
    assert_int_equal(r.n_asked[0] + r.n_asked[1] + r.n_asked[2], n_before);
    snug__replay_run(&r, &config, 0, &two, &m);
    assert_int_equal(r.n_asked[0] + r.n_asked[1] + r.n_asked[2], n_before + 1);
    snug__replay_close(&r);
    snug__table_free(t);
}

static void replay_of_a_cell_that_was_not_recorded_is_refused_and_charged(void **state)
{
    (void)state;
    struct snug__table *t = table_small();
    struct snug__replay r;
    struct snug_error err;
    struct snug_measurement m;
    const struct snug_config missing = config_of(3, 0), there = config_of(1, 0);
    assert_ok(snug__replay_open(&r, t, 1, &err));
    snug__replay_run(&r, &missing, 0, &all, &m);
    assert_int_equal(m.outcome, SNUG_TRIAL_REFUSED);
    assert_contains(m.reason, "not recorded");
    assert_true(r.clock_s == 0.5);
    snug__replay_run(&r, &there, 1, &all, &m); /* no repetition of that fidelity */
    assert_int_equal(m.outcome, SNUG_TRIAL_REFUSED);
    assert_true(r.clock_s == 1);
    snug__replay_close(&r);
    snug__table_free(t);
}

static void replay_charges_an_estimate_once(void **state)
{
    (void)state;
    struct snug__table *t = table_small();
    struct snug__replay r;
    struct snug_error err;
    const struct snug_config there = config_of(1, 0), missing = config_of(3, 1);
    assert_ok(snug__replay_open(&r, t, 1, &err));
    assert_non_null(snug__replay_estimate(&r, &there));
    assert_non_null(snug__replay_estimate(&r, &there));
    assert_true(r.clock_s == 0.5);
    assert_null(snug__replay_estimate(&r, &missing));
    assert_true(r.clock_s == 1);
    snug__replay_close(&r);
    snug__table_free(t);
}

static void replay_past_the_deadline_is_a_timeout_at_its_cost(void **state)
{
    (void)state;
    struct snug__table *t = table_small();
    struct snug__replay r;
    struct snug_error err;
    struct snug_measurement m;
    const struct snug_config config = config_of(2, 0);
    assert_ok(snug__replay_open(&r, t, 1, &err));
    snug__replay_run(&r, &config, 0, &(struct snug__replay_effort){.deadline_s = 4.5}, &m);
    assert_int_equal(m.outcome, SNUG_TRIAL_TIMEOUT);
    assert_true(r.clock_s == 4.5 && m.wall_s == 4.5 && !(m.decode_tps > 0));
    snug__replay_run(&r, &config, 0, &(struct snug__replay_effort){.deadline_s = 5}, &m);
    assert_int_equal(m.outcome, SNUG_TRIAL_OK);
    snug__replay_close(&r);
    snug__table_free(t);
}

/* ---- the engine ---- */

static struct snug_engine *open_engine(void **state, int64_t n_prompt, int64_t n_gen,
                                       struct snug_error *err)
{
    char *text = table_text(TABLE_HEAD, TABLE_BODY, TABLE_N_LINES);
    struct snug_engine_options options = {
        .model_path = test_path(state, "t.jsonl"),
        .workload = {.n_prompt = n_prompt, .n_gen = n_gen, .n_parallel = 1, .n_ctx = 128}};
    struct snug_engine *engine = NULL;
    assert_int_equal(snug_file_write(options.model_path, text, strlen(text), err), SNUG_OK);
    free(text);
    const snug_status status = snug_engine_open("replay", &options, &engine, err);
    assert_true((status == SNUG_OK) == (engine != NULL));
    return engine;
}

static void engine_replay_keeps_the_trial_contract(void **state)
{
    struct snug_error err = {0};
    struct snug_effort effort;
    struct snug_measurement m;
    struct snug_bytes bytes;
    struct snug_engine *engine = open_engine(state, 64, 16, &err);
    const struct snug_config good = config_of(2, 0), missing = config_of(3, 1);
    assert_non_null(engine);
    snug_effort_default(&effort);
    assert_int_equal(snug_engine_space(engine)->n, 2);
    assert_string_equal(snug_engine_build(engine), "replay 1 of small");
    assert_ok(snug_engine_estimate(engine, &good, &bytes, &err));
    assert_int_equal(snug_bytes_stated(&bytes), 1230);
    assert_fails(SNUG_INFEASIBLE, snug_engine_estimate(engine, &missing, &bytes, &err));
    assert_ok(snug_engine_run(engine, &good, &effort, &m, &err));
    assert_true(m.outcome == SNUG_TRIAL_OK && m.decode_tps == 20 && m.wall_s == 5);
    assert_ok(snug_engine_run(engine, &good, &effort, &m, &err));
    assert_true(m.wall_s == 3 && !(m.load_s > 0));
    snug_engine_restart(engine);
    assert_ok(snug_engine_run(engine, &good, &effort, &m, &err));
    assert_true(m.wall_s == 5 && m.load_s == 2);
    snug_engine_close(engine);
}

static void engine_replay_of_another_workload_is_refused(void **state)
{
    struct snug_error err = {0};
    struct snug_engine *engine = open_engine(state, 8, 8, &err); /* the second fidelity */
    assert_non_null(engine);
    snug_engine_close(engine);
    assert_null(open_engine(state, 8, 16, &err));
    assert_int_equal(err.status, SNUG_BAD_INPUT);
    assert_contains(err.text, "with 64 and 16 it was");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replay_answers_with_each_repetition_once_then_wraps),
        cmocka_unit_test(replay_charges_loading_when_the_model_must_be_loaded),
        cmocka_unit_test(replay_of_fewer_blocks_is_their_beginning_and_their_share),
        cmocka_unit_test(replay_of_a_cell_that_was_not_recorded_is_refused_and_charged),
        cmocka_unit_test(replay_charges_an_estimate_once),
        cmocka_unit_test(replay_past_the_deadline_is_a_timeout_at_its_cost),
        cmocka_unit_test_setup_teardown(engine_replay_keeps_the_trial_contract, test_folder_open,
                                        test_folder_close),
        cmocka_unit_test_setup_teardown(engine_replay_of_another_workload_is_refused,
                                        test_folder_open, test_folder_close),
    };
    return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
