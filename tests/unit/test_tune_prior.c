/* The calibrated law as the tuner's prior: it says what the law says, and nothing without one. */
#include "engine.h"

#include <math.h>
#include <sys/stat.h>

#include <ggml.h>

#include "cli/tune_prior.h"
#include "plan/law_config.h"
#include "plan/law_fit.h"
#include "trial/trial_json.h"

static const double LAYER_S = 1e-3;

/* A law in which a thread does half of what two do, kept where snug looks for one. */
static void keep_law(const struct engine_test *t, struct snug__calibration *c)
{
    struct snug_error err;
    char folder[600];
    memset(c, 0, sizeof *c);
    snprintf(c->fingerprint, sizeof c->fingerprint, "%064d", 7);
    snug_engine_build_here(c->build, sizeof c->build);
    c->n_laws = 2;
    for (int i = 0; i < 2; i++) {
        struct snug_law *law = &c->laws[i];
        struct snug_law_tier *tier = &law->tiers[0];
        law->n_tiers = 1;
        law->n_threads = i ? 1 : 2;
        law->decode_lo_frac = law->prefill_lo_frac = 0.9;
        law->decode_hi_frac = law->prefill_hi_frac = 1.1;
        snprintf(law->machine, sizeof law->machine, "this machine");
        snprintf(law->build, sizeof law->build, "%s", c->build);
        snprintf(law->source, sizeof law->source, "calibrated in a test");
        tier->kind = SNUG_TIER_HOST;
        snprintf(tier->name, sizeof tier->name, "CPU");
        tier->layer_s = i ? 2 * LAYER_S : LAYER_S;
        tier->decode_s_per_byte[GGML_TYPE_Q4_0] = 1e-15;
        tier->prefill_s_per_flop[GGML_TYPE_Q4_0] = 1e-18;
        tier->cache_s_per_byte[GGML_TYPE_F16] = 1e-15;
        snug__law_fill_types(tier);
    }
    snprintf(folder, sizeof folder, "%s/snug", t->folder);
    assert_true(mkdir(folder, 0700) == 0);
    assert_ok(snug__calibration_save(folder, c, &err));
}

/* The law is calibrated with everything on and on the host: of the rest it says nothing, also where
 * the config comes from the history. */
static void says_nothing_of_what_no_calibration_runs(const struct cli_task *task,
                                                     struct cli_prior *prior)
{
    static const struct {
        const char *name;
        int64_t value;
    } others[] = {{"n_gpu_layers", 1}, {"repack", 0}, {"flash_attn", 0}, {"none of them", 0}};
    const struct snug_space *space = snug_engine_space(task->engine);
    for (size_t i = 0; i < COUNT(others); i++) {
        struct snug_config config;
        struct snug__law_knobs knobs;
        struct snug_law_load load;
        struct snug_json *doc = NULL;
        struct snug_json_writer w = {0};
        struct snug_error err;
        const int row = snug_space_find(space, others[i].name);
        snug_space_default(space, &config);
        config.value[snug_space_find(space, "flash_attn")] = 1;
        if (row >= 0)
            config.value[row] = others[i].value;
        snug_config_to_json(&w, NULL, space, &config);
        char *json = snug_json_finish(&w, false);
        assert_non_null(json);
        assert_ok(snug_json_parse("config", json, strlen(json), &doc, &err));
        snug__law_knobs_from_json(snug_json_root(doc), &knobs);
        assert_true(snug__law_load_of(&knobs, &task->model, 0, &load) == (row < 0));
        assert_true(isnan(cli_prior_log_speed(&config, prior)) == (row >= 0));
        snug_json_free(doc);
        free(json);
    }
}

static double busy_cpus;
static int n_looks;

static double look(void)
{
    n_looks++;
    return busy_cpus;
}

static void prior_is_the_law_of_the_threads_asked(void **state)
{
    struct engine_test *t = *state;
    const struct snug_engine_options options = engine_test_options(t);
    static struct snug__calibration c;
    static struct cli_task task;
    struct snug_config config;
    task.engine = engine_test_start(&options);
    task.model = t->model; /* borrowed */
    task.machine = t->machine;
    task.machine.n_threads_usable = 2;
    task.workload = t->workload;
    snprintf(task.machine.fingerprint, sizeof task.machine.fingerprint, "%064d", 7);
    assert_int_equal(setenv("XDG_CACHE_HOME", t->folder, 1), 0);
    assert_null(cli_prior_choose(&task, SNUG_OBJECTIVE_DECODE, NULL, look));
    assert_int_equal(n_looks, 0); /* there is nothing to give up, so none is taken of the time */
    keep_law(t, &c);
    struct cli_prior *prior = cli_prior_open(&task, SNUG_OBJECTIVE_DECODE);
    assert_non_null(prior);
    assert_string_equal(cli_prior_source(prior), "calibrated in a test");
    /* A session that is resumed has the prior that it began with, or none; a new one none where
     * others keep the machine busy. */
    static const struct {
        const char *begun_with;
        double others_cpus;
        bool has_prior;
    } sessions[] = {{NULL, 0.4, true},
                    {NULL, 0.6, false},
                    {"calibrated in a test", 0.0, true},
                    {"calibrated in a test", 2.0, true},
                    {"", 0.0, false},
                    {"other", 0.0, false}};
    for (size_t i = 0; i < COUNT(sessions); i++) {
        busy_cpus = sessions[i].others_cpus;
        struct cli_prior *chosen =
            cli_prior_choose(&task, SNUG_OBJECTIVE_DECODE, sessions[i].begun_with, look);
        assert_true((chosen != NULL) == sessions[i].has_prior);
        cli_prior_close(chosen);
    }
    const struct snug_space *space = snug_engine_space(task.engine);
    snug_space_default(space, &config);
    const int threads = snug_space_find(space, "n_threads");
    for (int n = 1; n <= 2; n++) { /* one layer, and nothing else takes time */
        config.value[threads] = n;
        const double expected = log(1.0 / (n == 1 ? 2 * LAYER_S : LAYER_S));
        assert_true(fabs(cli_prior_log_speed(&config, prior) - expected) < 0.01);
    }
    says_nothing_of_what_no_calibration_runs(&task, prior);
    cli_prior_close(prior);
    /* Of another machine, or with a device in front, it says nothing. */
    task.machine.fingerprint[0] = 'f';
    assert_null(cli_prior_open(&task, SNUG_OBJECTIVE_DECODE));
    snug_engine_close(task.engine);
    engine_test_running = NULL;
}

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
    const struct CMUnitTest tests[] = {cmocka_unit_test(prior_is_the_law_of_the_threads_asked)};
    return cmocka_run_group_tests(tests, engine_test_open, engine_test_close);
}
