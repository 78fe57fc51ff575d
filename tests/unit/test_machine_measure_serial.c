/* Measured speeds: the timing rules on a pass of known behaviour, and one real measurement, of
 * which only order and consistency are checked, never a duration. */
#include <sys/stat.h>

#include "test.h"

#include "base/file.h"
#include "machine/measure.h"

struct passes {
    int n, fails_at; /* the pass that reports failure; 0 never */
};

static bool count_pass(void *data)
{
    struct passes *passes = data;
    return ++passes->n != passes->fails_at;
}

static void time_passes_takes_the_best_of_several_after_a_warm_up(void **state)
{
    (void)state;
    double seconds[SNUG__SAMPLES_MAX];
    struct passes passes = {0};
    const struct snug__timing endless = {.n_best = 3, .n_min = 1, .budget_s = 1e9};
    assert_int_equal(snug__time_passes(&endless, count_pass, &passes, seconds), SNUG__SAMPLES_MAX);
    assert_int_equal(passes.n, 1 + 3 * SNUG__SAMPLES_MAX);
    /* No time at all still gives one sample. */
    const struct snug__timing none = {.n_best = 2, .n_min = 5, .budget_s = 0};
    passes.n = 0;
    assert_int_equal(snug__time_passes(&none, count_pass, &passes, seconds), 1);
    assert_int_equal(passes.n, 3);
}

static void time_passes_failed_pass_gives_no_samples(void **state)
{
    (void)state;
    double seconds[SNUG__SAMPLES_MAX];
    const struct snug__timing timing = {.n_best = 1, .n_min = 3, .budget_s = 1e9};
    for (int fails_at = 1; fails_at <= 4; fails_at++) {
        struct passes passes = {.fails_at = fails_at};
        assert_int_equal(snug__time_passes(&timing, count_pass, &passes, seconds), 0);
        assert_int_equal(passes.n, fails_at);
    }
}

static void rate_is_amount_by_the_median_time(void **state)
{
    (void)state;
    const double seconds[] = {2, 1, 4};
    struct snug_interval rate = snug__rate(8, seconds, 3);
    assert_true(rate.mid == 4 && rate.lo >= 2 && rate.hi <= 8 && rate.lo <= rate.hi);
}

static void cold_bytes_cover_the_caches_within_their_bounds(void **state)
{
    (void)state;
    static const struct {
        uint64_t l3_bytes;
        int n_l3;
        uint64_t available_mib, max_mib, want_mib;
    } rows[] = {
        {32 << 20, 1, 8000, 512, 128},   {32 << 20, 2, 8000, 512, 256}, {1 << 20, 1, 8000, 512, 64},
        {256 << 20, 4, 64000, 512, 512}, {32 << 20, 1, 400, 512, 50},   {32 << 20, 1, 128, 512, 16},
        {32 << 20, 1, 127, 512, 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct snug_machine machine = {.n_caches = 2};
        machine.caches[0] = (struct snug_cache){2, 1 << 20, 4};
        machine.caches[1] = (struct snug_cache){3, rows[i].l3_bytes, rows[i].n_l3};
        machine.available_bytes.is_known = true;
        machine.available_bytes.value = (double)(rows[i].available_mib << 20);
        assert_int_equal(snug__cold_bytes(&machine, rows[i].max_mib << 20) >> 20, rows[i].want_mib);
    }
}

static void load_backends_wrong_folder_is_named(void **state)
{
    struct snug_error err;
    char *was = getenv("SNUG_BACKENDS") ? strdup(getenv("SNUG_BACKENDS")) : NULL;
    setenv("SNUG_BACKENDS", test_path(state, "none"), 1);
    assert_fails(SNUG_NOT_FOUND, snug_machine_load_backends(&err));
    assert_contains(err.text, "SNUG_BACKENDS");
    if (was)
        setenv("SNUG_BACKENDS", was, 1);
    else
        unsetenv("SNUG_BACKENDS");
    free(was);
}

static void load_backends_twice_lists_a_cpu_once(void **state)
{
    (void)state;
    struct snug_error err;
    static struct snug_machine machine;
    int n_cpu = 0;
    assert_ok(snug_machine_load_backends(&err));
    assert_ok(snug_machine_load_backends(&err));
    snug_machine_devices(&machine);
    for (int i = 0; i < machine.n_devices; i++)
        n_cpu += strcmp(machine.devices[i].kind, "cpu") == 0;
    assert_int_equal(n_cpu, 1);
    assert_true(machine.devices[0].bytes_total > 0);
}

static void assert_interval(const char *what, struct snug_interval x)
{
    if (!(x.lo > 0 && x.lo <= x.mid && x.mid <= x.hi && x.hi < 1e18))
        fail_msg("%s: %g %g %g", what, x.lo, x.mid, x.hi);
}

/* Room is cut to 32 MiB of buffers, to be quick; at most four threads. */
static void measure_gives_every_type_and_thread_count(void **state)
{
    (void)state;
    static struct snug_machine machine;
    static struct snug_machine_speed speed;
    struct snug_error err;
    static const char *const types[] = {"f16", "q8_0", "q4_0", "q4_K", "q5_K", "q6_K", "iq4_nl"};
    assert_ok(snug_machine_probe("", &machine, &err));
    machine.available_bytes.value = 256.0 * (1 << 20);
    if (machine.n_threads_usable > 4)
        machine.n_threads_usable = 4;
    assert_ok(snug_machine_measure(&machine, &speed, &err));
    assert_int_equal(speed.n_bandwidth, machine.n_threads_usable);
    for (int i = 0; i < speed.n_bandwidth; i++) {
        assert_int_equal(speed.bandwidth[i].n_threads, i + 1);
        assert_interval("bandwidth", speed.bandwidth[i].bandwidth_bps);
    }
    assert_int_equal(speed.n_mul_mat, COUNT(types));
    for (size_t i = 0; i < COUNT(types); i++) {
        assert_string_equal(speed.mul_mat[i].type, types[i]);
        assert_interval(types[i], speed.mul_mat[i].decode_bps);
        assert_interval(types[i], speed.mul_mat[i].decode_flops);
        assert_interval(types[i], speed.mul_mat[i].prefill_flops);
        assert_true(speed.mul_mat[i].buffer[0] && speed.mul_mat[i].prefill_device[0]);
    }
    /* F16 has 2 bytes a weight and 2 FLOP a weight, so that both figures are one. */
    assert_true(speed.mul_mat[0].decode_bps.mid == speed.mul_mat[0].decode_flops.mid);
    assert_string_equal(speed.fingerprint, machine.fingerprint);
    assert_contains(speed.build, "ggml ");
    assert_false(speed.disk_bps.is_known);
}

static void measure_without_memory_is_infeasible(void **state)
{
    (void)state;
    static struct snug_machine_speed speed;
    static struct snug_machine machine = {.n_threads_usable = 1};
    struct snug_error err;
    machine.available_bytes = (struct snug_fact){.is_known = true, .value = 1 << 20};
    assert_fails(SNUG_INFEASIBLE, snug_machine_measure(&machine, &speed, &err));
    machine.n_threads_usable = 0;
    assert_fails(SNUG_BAD_INPUT, snug_machine_measure(&machine, &speed, &err));
}

static void measure_disk_wants_a_regular_file_of_some_size(void **state)
{
    struct snug_error err;
    struct snug_fact fact = {0};
    size_t n = 1 << 20;
    char *data = calloc(n, 1);
    assert_non_null(data);
    assert_ok(snug_file_write(test_path(state, "small"), data, n - 1, &err));
    assert_ok(snug_file_write(test_path(state, "enough"), data, n, &err));
    assert_int_equal(mkfifo(test_path(state, "pipe"), 0600), 0);
    assert_fails(SNUG_BAD_INPUT, snug_machine_measure_disk(test_path(state, "small"), &fact, &err));
    assert_fails(SNUG_BAD_INPUT, snug_machine_measure_disk(test_path(state, "pipe"), &fact, &err));
    assert_fails(SNUG_BAD_INPUT, snug_machine_measure_disk(*state, &fact, &err));
    assert_fails(SNUG_NOT_FOUND, snug_machine_measure_disk(test_path(state, "no"), &fact, &err));
    assert_false(fact.is_known);
    assert_ok(snug_machine_measure_disk(test_path(state, "enough"), &fact, &err));
    assert_true(fact.is_known && fact.value > 0);
    assert_contains(fact.source, "enough");
    free(data);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_passes_takes_the_best_of_several_after_a_warm_up),
        cmocka_unit_test(time_passes_failed_pass_gives_no_samples),
        cmocka_unit_test(rate_is_amount_by_the_median_time),
        cmocka_unit_test(cold_bytes_cover_the_caches_within_their_bounds),
        IN_FOLDER(load_backends_wrong_folder_is_named),
        cmocka_unit_test(load_backends_twice_lists_a_cpu_once),
        cmocka_unit_test(measure_gives_every_type_and_thread_count),
        cmocka_unit_test(measure_without_memory_is_infeasible),
        IN_FOLDER(measure_disk_wants_a_regular_file_of_some_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
