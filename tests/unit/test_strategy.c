/* The ask/tell contract, which every strategy must keep. */
#include "test.h"

#include <math.h>

#include "cpu_task.h"
#include "fault.h"
#include "tune/strategy.h"

/* A space of 4 * 5 * 2 * 3 = 120 configs, and one row that is held. */
static const struct snug_space SMALL = {
    .n = 5,
    .knobs = {{.name = "threads",
               .kind = SNUG_KNOB_INT,
               .min = 1,
               .max = 4,
               .step = 1,
               .def = 2,
               .is_tuned = true},
              {.name = "held", .kind = SNUG_KNOB_INT, .min = 0, .max = 9, .step = 1, .def = 3},
              {.name = "ubatch",
               .kind = SNUG_KNOB_LOG2,
               .min = 32,
               .max = 500,
               .def = 128,
               .is_tuned = true},
              {.name = "flash", .kind = SNUG_KNOB_BOOL, .max = 1, .step = 1, .is_tuned = true},
              {.name = "type",
               .kind = SNUG_KNOB_ENUM,
               .max = 2,
               .step = 1,
               .values = {"f16", "q8_0", "q4_0"},
               .n_values = 3,
               .is_tuned = true}},
};
#define N_SMALL 120

/* 1 MiB per unit of ubatch; threads = 3 with flash cannot run. */
static bool small_bytes(const struct snug_config *config, uint64_t *out_bytes, void *data)
{
    long *n_calls = data;
    if (n_calls)
        ++*n_calls;
    *out_bytes = (uint64_t)config->value[2] << 20;
    return !(config->value[0] == 3 && config->value[3]);
}

static double small_speed(const struct snug_config *config)
{
    const int64_t *v = config->value;
    return 10 * exp(0.2 * (double)v[0] - 0.1 * (double)v[4] + 0.05 * log2((double)v[2]));
}

static struct snug_problem small_problem(uint64_t seed)
{
    struct snug_problem p = {.space = &SMALL,
                             .bytes = small_bytes,
                             .bounds = {2, 800u << 20},
                             .seed = seed,
                             .n_trials = 16};
    snug_space_default(&SMALL, &p.base);
    p.base.value[1] = 7;
    return p;
}

static struct snug_observation small_run(const struct snug_config *config)
{
    struct snug_observation o = {.config = *config,
                                 .outcome = SNUG_TRIAL_OK,
                                 .speed = small_speed(config),
                                 .log_speed_sd = 0.01};
    (void)small_bytes(config, &o.bytes, NULL);
    return o;
}

#define EACH_STRATEGY(row)                                                                         \
    for (const struct snug_strategy_row *row = snug_strategy_rows(); row->name; row++)

static void strategy_rows_start_with_the_default(void **state)
{
    (void)state;
    const struct snug_strategy_row *rows = snug_strategy_rows();
    assert_string_equal(rows[0].name, "snug");
    int n = 0;
    EACH_STRATEGY(row)
    {
        assert_true(row->help && strlen(row->help) > 10);
        n++;
    }
    assert_int_equal(n, 3);
}

static void strategy_new_names_what_is_wrong(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct snug_strategy *s = NULL;
    struct snug_problem p = small_problem(1);
    assert_fails(SNUG_BAD_INPUT, snug_strategy_new("bayes", &p, &s, &err));
    assert_contains(err.text, "\"bayes\" is unknown; known: snug, sobol, random");
    assert_fails(SNUG_BAD_INPUT, snug_strategy_new(NULL, &p, &s, &err));
    p.bounds.speed_ref = 0;
    assert_fails(SNUG_BAD_INPUT, snug_strategy_new("snug", &p, &s, &err));
    p = small_problem(1);
    p.bounds.bytes_ref = 0;
    assert_fails(SNUG_BAD_INPUT, snug_strategy_new("snug", &p, &s, &err));
    p = small_problem(1);
    p.n_trials = 0;
    assert_fails(SNUG_BAD_INPUT, snug_strategy_new("snug", &p, &s, &err));
    p = small_problem(1);
    p.space = NULL;
    assert_fails(SNUG_BAD_INPUT, snug_strategy_new("snug", &p, &s, &err));
    p = small_problem(1);
    p.bytes = NULL;
    assert_fails(SNUG_BAD_INPUT, snug_strategy_new("snug", &p, &s, &err));
    p = small_problem(1);
    p.n_pasts = 1;
    assert_fails(SNUG_BAD_INPUT, snug_strategy_new("snug", &p, &s, &err));
    assert_null(s);
    snug_strategy_free(NULL);
}

static void strategy_tell_refuses_what_is_no_measurement(void **state)
{
    (void)state;
    struct snug_error err = {0};
    EACH_STRATEGY(row)
    {
        struct snug_strategy *s = NULL;
        struct snug_problem p = small_problem(1);
        assert_ok(snug_strategy_new(row->name, &p, &s, &err));
        struct snug_observation o = small_run(&p.base), bad = o;
        bad.speed = 0;
        assert_fails(SNUG_BAD_INPUT, snug_strategy_tell(s, &bad, &err));
        bad.speed = (double)NAN;
        assert_fails(SNUG_BAD_INPUT, snug_strategy_tell(s, &bad, &err));
        bad = o;
        bad.log_speed_sd = -0.1;
        assert_fails(SNUG_BAD_INPUT, snug_strategy_tell(s, &bad, &err));
        bad = o;
        bad.outcome = SNUG_N_OUTCOMES;
        assert_fails(SNUG_BAD_INPUT, snug_strategy_tell(s, &bad, &err));
        assert_int_equal(s->n_told, 0);
        assert_ok(snug_strategy_tell(s, &o, &err));
        snug_strategy_free(s);
    }
}

/* Ask until nothing is left; check each answer. Returns how many were asked. */
static int exhaust(struct snug_strategy *s, const struct snug_problem *p, snug_status want_end)
{
    struct snug_error err = {0};
    static struct snug_config seen[N_SMALL + 1];
    int n = 0;
    for (;;) {
        struct snug_config config;
        uint64_t bytes;
        snug_status status = snug_strategy_ask(s, &config, NULL, &err);
        if (status != SNUG_OK) {
            assert_int_equal(status, want_end);
            return n;
        }
        assert_true(n < N_SMALL);
        for (int i = 0; i < n; i++)
            assert_false(snug_config_equal(&SMALL, &seen[i], &config));
        seen[n++] = config;
        assert_int_equal(config.value[1], 7);
        for (int r = 0; r < SMALL.n; r++) {
            const struct snug_knob *knob = &SMALL.knobs[r];
            assert_int_equal(snug_knob_level(knob, snug_knob_index(knob, config.value[r])),
                             config.value[r]);
        }
        assert_true(small_bytes(&config, &bytes, NULL));
        assert_true(!p->bytes_limit || bytes <= p->bytes_limit);
        struct snug_observation o = small_run(&config);
        assert_ok(snug_strategy_tell(s, &o, &err));
    }
}

static void strategy_ask_gives_each_config_that_can_run_once(void **state)
{
    (void)state;
    struct snug_error err = {0};
    for (uint64_t seed = 0; seed < 5; seed++)
        for (int is_limited = 0; is_limited < 2; is_limited++) {
            struct snug_problem p = small_problem(seed);
            p.bytes_limit = is_limited ? 128u << 20 : 0;
            /* of 120: threads = 3 with flash is one in eight; the limit leaves 3 ubatches of 5 */
            int n_can_run = is_limited ? 63 : 105;
            struct snug_strategy *s = NULL;
            assert_ok(snug_strategy_new("random", &p, &s, &err));
            assert_int_equal(exhaust(s, &p, SNUG_NOT_FOUND), n_can_run);
            snug_strategy_free(s);
            assert_ok(snug_strategy_new("sobol", &p, &s, &err));
            assert_int_equal(exhaust(s, &p, SNUG_NOT_FOUND), n_can_run);
            snug_strategy_free(s);
            assert_ok(snug_strategy_new("snug", &p, &s, &err)); /* ends when it has converged */
            assert_int_in_range(exhaust(s, &p, SNUG_NOT_FOUND), 9, n_can_run);
            snug_strategy_free(s);
        }
}

static void strategy_ask_finds_the_only_config_left(void **state)
{
    (void)state;
    struct snug_error err = {0};
    EACH_STRATEGY(row)
    {
        struct snug_strategy *s = NULL;
        struct snug_problem p = small_problem(3);
        struct snug_config config, only;
        assert_ok(snug_strategy_new(row->name, &p, &s, &err));
        for (uint64_t i = 0; i < N_SMALL; i++) {
            snug__lattice_at(&s->lattice, i, &config);
            if (i == 77)
                only = config;
            else {
                struct snug_observation o = {.config = config, .outcome = SNUG_TRIAL_CRASH};
                assert_ok(snug_strategy_tell(s, &o, &err));
            }
        }
        assert_ok(snug_strategy_ask(s, &config, NULL, &err));
        assert_true(snug_config_equal(&SMALL, &config, &only));
        struct snug_observation o = small_run(&config);
        assert_ok(snug_strategy_tell(s, &o, &err));
        assert_fails(SNUG_NOT_FOUND, snug_strategy_ask(s, &config, NULL, &err));
        snug_strategy_free(s);
    }
}

static void strategy_with_nothing_to_tune_asks_the_base_once(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct snug_space space = SMALL;
    for (int r = 0; r < space.n; r++)
        space.knobs[r].is_tuned = false;
    EACH_STRATEGY(row)
    {
        struct snug_strategy *s = NULL;
        struct snug_problem p = small_problem(1);
        struct snug_config config;
        p.space = &space;
        assert_ok(snug_strategy_new(row->name, &p, &s, &err));
        assert_ok(snug_strategy_ask(s, &config, NULL, &err));
        assert_true(snug_config_equal(&space, &config, &p.base));
        struct snug_observation o = small_run(&config);
        assert_ok(snug_strategy_tell(s, &o, &err));
        assert_fails(SNUG_NOT_FOUND, snug_strategy_ask(s, &config, NULL, &err));
        snug_strategy_free(s);
    }
}

static void strategy_when_nothing_can_run_finds_nothing(void **state)
{
    (void)state;
    struct snug_error err = {0};
    EACH_STRATEGY(row)
    {
        struct snug_strategy *s = NULL;
        struct snug_problem p = small_problem(1);
        struct snug_config config;
        p.bytes_limit = 1;
        assert_ok(snug_strategy_new(row->name, &p, &s, &err));
        assert_fails(SNUG_NOT_FOUND, snug_strategy_ask(s, &config, NULL, &err));
        snug_strategy_free(s);
    }
}

#define N_TRACE 20

/* The configs a session asks on the CPU task; n_extra asks between tells must change nothing. */
static void trace(const char *name, uint64_t seed, int n_extra, struct snug_config *out)
{
    struct snug_error err = {0};
    struct cpu_task task;
    struct snug_rng rng;
    struct snug_strategy *s = NULL;
    cpu_task_init(&task, 5);
    struct snug_problem p = cpu_task_problem(&task, seed, N_TRACE);
    snug_rng_init(&rng, 6);
    assert_ok(snug_strategy_new(name, &p, &s, &err));
    memset(out, 0, N_TRACE * sizeof *out);
    for (int i = 0; i < N_TRACE; i++) {
        struct snug_config config;
        for (int k = 0; k <= n_extra; k++) {
            snug_status status = snug_strategy_ask(s, &config, NULL, &err);
            if (status == SNUG_NOT_FOUND)
                goto done;
            assert_int_equal(status, SNUG_OK);
        }
        out[i] = config;
        struct snug_observation o = cpu_task_run(&task, &config, &rng);
        if (i % 7 == 3)
            o = (struct snug_observation){.config = config, .outcome = SNUG_TRIAL_TIMEOUT};
        assert_ok(snug_strategy_tell(s, &o, &err));
    }
done:
    snug_strategy_free(s);
}

static void strategy_same_seed_and_tells_give_the_same_trace(void **state)
{
    (void)state;
    EACH_STRATEGY(row)
    {
        struct snug_config a[N_TRACE], b[N_TRACE], c[N_TRACE];
        trace(row->name, 9, 0, a);
        trace(row->name, 9, 2, b);
        trace(row->name, 10, 0, c);
        assert_memory_equal(a, b, sizeof a);
        assert_memory_not_equal(a, c, sizeof a);
    }
}

/* A session that is told its history again goes on as if it had not stopped. */
static void strategy_resumed_gives_the_same_trace(void **state)
{
    (void)state;
    struct snug_error err = {0};
    EACH_STRATEGY(row)
    {
        struct cpu_task task;
        struct snug_strategy *whole = NULL;
        struct snug_config config;
        struct snug_rng rng;
        struct snug_observation told[12];
        cpu_task_init(&task, 8);
        struct snug_problem p = cpu_task_problem(&task, 4, 16);
        snug_rng_init(&rng, 1);
        assert_ok(snug_strategy_new(row->name, &p, &whole, &err));
        for (size_t n = 0; n < COUNT(told); n++) {
            assert_ok(snug_strategy_ask(whole, &config, NULL, &err));
            struct snug_strategy *resumed = NULL;
            struct snug_config again;
            assert_ok(snug_strategy_new(row->name, &p, &resumed, &err));
            for (size_t i = 0; i < n; i++)
                assert_ok(snug_strategy_tell(resumed, &told[i], &err));
            assert_ok(snug_strategy_ask(resumed, &again, NULL, &err));
            assert_true(snug_config_equal(&task.space, &config, &again));
            snug_strategy_free(resumed);
            told[n] = cpu_task_run(&task, &config, &rng);
            assert_ok(snug_strategy_tell(whole, &told[n], &err));
        }
        snug_strategy_free(whole);
    }
}

static void strategy_takes_tells_up_to_its_cap(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct snug_strategy *s = NULL;
    struct snug_problem p = small_problem(1);
    struct snug_observation o = small_run(&p.base);
    assert_ok(snug_strategy_new("random", &p, &s, &err));
    for (int i = 0; i < SNUG_STRATEGY_TELLS_MAX; i++)
        assert_ok(snug_strategy_tell(s, &o, &err));
    assert_fails(SNUG_BAD_INPUT, snug_strategy_tell(s, &o, &err));
    snug_strategy_free(s);
}

static void strategy_takes_tells_off_the_lattice(void **state)
{
    (void)state;
    struct snug_error err = {0};
    EACH_STRATEGY(row)
    {
        struct snug_strategy *s = NULL;
        struct snug_problem p = small_problem(1);
        struct snug_config config;
        assert_ok(snug_strategy_new(row->name, &p, &s, &err));
        struct snug_observation o = small_run(&p.base);
        o.config.value[2] = 200; /* between two levels */
        o.bytes = 0;             /* to be asked for */
        assert_ok(snug_strategy_tell(s, &o, &err));
        assert_int_equal(s->told[0].bytes, 200u << 20);
        o.config.value[1] = 0; /* another base */
        assert_ok(snug_strategy_tell(s, &o, &err));
        for (int i = 0; i < 8; i++) {
            assert_ok(snug_strategy_ask(s, &config, NULL, &err));
            o = small_run(&config);
            assert_ok(snug_strategy_tell(s, &o, &err));
        }
        snug_strategy_free(s);
    }
}

/* Default, then ten trials. */
static snug_status short_session(const char *name, struct snug_error *err)
{
    struct snug_problem p = small_problem(2);
    struct snug_strategy *s = NULL;
    struct snug_config config = p.base;
    snug_status status = snug_strategy_new(name, &p, &s, err);
    for (int i = 0; status == SNUG_OK && i < 10; i++) {
        struct snug_observation o = small_run(&config);
        if (i == 5)
            o = (struct snug_observation){.config = config, .outcome = SNUG_TRIAL_OOM};
        status = snug_strategy_tell(s, &o, err);
        if (status == SNUG_OK)
            status = snug_strategy_ask(s, &config, NULL, err);
    }
    snug_strategy_free(s);
    return status == SNUG_NOT_FOUND ? SNUG_OK : status;
}

/* An allocation inside the optimiser may fail without harm (the best parameters so far are kept),
 * so a session may also succeed; when it fails, it says why. */
static void strategy_survives_failed_allocations(void **state)
{
    (void)state;
    struct snug_error err = {0};
    EACH_STRATEGY(row)
    {
        long n_failed = 0;
        assert_ok(short_session(row->name, &err)); /* BLAS allocates on first use */
        for (long n = 0;; n += n < 60 ? 1 : 7) {
            struct snug_error why = {0};
            fault_begin(n);
            snug_status status = short_session(row->name, &why);
            if (!fault_end())
                break;
            assert_true(status == SNUG_OK || status == SNUG_NO_MEMORY);
            assert_true(status == SNUG_OK || why.text[0]);
            n_failed += status != SNUG_OK;
        }
        assert_true(n_failed >= 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strategy_rows_start_with_the_default),
        cmocka_unit_test(strategy_new_names_what_is_wrong),
        cmocka_unit_test(strategy_tell_refuses_what_is_no_measurement),
        cmocka_unit_test(strategy_ask_gives_each_config_that_can_run_once),
        cmocka_unit_test(strategy_ask_finds_the_only_config_left),
        cmocka_unit_test(strategy_with_nothing_to_tune_asks_the_base_once),
        cmocka_unit_test(strategy_when_nothing_can_run_finds_nothing),
        cmocka_unit_test(strategy_same_seed_and_tells_give_the_same_trace),
        cmocka_unit_test(strategy_resumed_gives_the_same_trace),
        cmocka_unit_test(strategy_takes_tells_up_to_its_cap),
        cmocka_unit_test(strategy_takes_tells_off_the_lattice),
        cmocka_unit_test(strategy_survives_failed_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
