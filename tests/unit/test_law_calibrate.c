/* A calibration cut to its first rows, through the real engine: it ends, its figures are positive
 * and finite, and it leaves no file and no child. How good they are perf/plan_speed.py says. */
#include "engine.h"

#include <math.h>

#include <ggml.h>

#include "plan/law_fit.h"

static int n_phases;
static void count_phase(const char *phase, void *data)
{
    (void)data;
    assert_contains(phase, "calibrate");
    n_phases++;
}

static void check_tier(const struct snug_law_tier *tier)
{
    for (int y = 0; y < SNUG_MODEL_TYPES_MAX; y++) {
        if (!snug__law_is_type(y))
            continue;
        assert_true(isfinite(tier->decode_s_per_byte[y]) && tier->decode_s_per_byte[y] > 0.0);
        assert_true(isfinite(tier->prefill_s_per_flop[y]) && tier->prefill_s_per_flop[y] > 0.0);
        assert_true(tier->cache_s_per_byte[y] >= 0.0 && tier->attention_s_per_flop[y] >= 0.0);
    }
    assert_true(isfinite(tier->layer_s) && tier->layer_s >= 0.0);
}

static int n_files(const char *folder)
{
    DIR *dir = opendir(folder);
    int n = 0;
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2; /* . and .. */
}

static struct snug_machine one_cpu(void)
{
    struct snug_machine machine = {.n_cores = 1, .n_threads = 1, .n_numa = 1};
    machine.n_cores_usable = machine.n_threads_usable = 1;
    memset(machine.fingerprint, 'a', 64);
    return machine;
}

static void calibration_ends_with_positive_figures(void **state)
{
    static struct snug__calibration c;
    struct snug_error err;
    const struct snug_machine machine = one_cpu();
    const struct snug_law_request request = {.progress = count_phase};
    n_phases = 0;
    /* the first row always runs */
    assert_ok(snug__law_calibrate(&machine, *state, 0.5, &request, &c, &err));
    assert_true(n_phases >= 1);
    assert_int_equal(c.n_laws, 1);
    assert_int_equal(c.laws[0].n_threads, 1);
    assert_contains(c.build, "libllama ");
    assert_contains(c.laws[0].source, "calibrated");
    assert_int_equal(c.laws[0].tiers[0].kind, SNUG_TIER_HOST);
    for (int t = 0; t < c.laws[0].n_tiers; t++)
        check_tier(&c.laws[0].tiers[t]);
    assert_true(c.laws[0].tiers[0].is_measured[GGML_TYPE_Q4_0]);
    assert_int_equal(n_files(*state), 0);
    engine_test_no_children();
}

static void calibration_stopped_leaves_nothing(void **state)
{
    static struct snug__calibration c;
    struct snug_error err;
    const struct snug_machine machine = one_cpu();
    const volatile int stop = 1;
    const struct snug_law_request request = {.stop = &stop};
    assert_fails(SNUG_INTERRUPTED, snug__law_calibrate(&machine, *state, 30.0, &request, &c, &err));
    assert_int_equal(n_files(*state), 0);
    engine_test_no_children();
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(int argc, char **argv)
{
    engine_test_worker(argc, argv);
    const struct CMUnitTest tests[] = {
        IN_FOLDER(calibration_ends_with_positive_figures),
        IN_FOLDER(calibration_stopped_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
