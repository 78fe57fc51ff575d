/* Loads as they are asked for: traces, profiles and refusals. */
#include <math.h>

#include "test.h"

#include "machine/load_internal.h"
#include "snug/stats.h"

#define HEAD "t_s,cpu,memory_bytes,bandwidth_bps,disk\n"
#define MIB ((uint64_t)1 << 20)

static snug_status parse(const char *text, struct snug_load_trace *out, struct snug_error *err)
{
    return snug_load_trace_parse("t.csv", text, strlen(text), out, err);
}

/* ---- traces ---- */

static void trace_takes_units_blanks_and_comments(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_load_trace t;
    assert_ok(parse("# made by hand\r\n" HEAD "0, 1.5 ,2GiB,,\r\n\n# later\n10.25,0,,3GB,0.5\n"
                    "20,,,,",
                    &t, &err));
    assert_int_equal(t.n, 3);
    assert_true(t.steps[0].level.cpu == 1.5);
    assert_int_equal(t.steps[0].level.memory_bytes, 2ull << 30);
    assert_true(t.steps[0].level.bandwidth_bps == 0 && t.steps[0].level.disk_frac == 0);
    assert_true(t.steps[1].t_s == 10.25 && t.steps[1].level.bandwidth_bps == 3e9);
    assert_true(t.steps[1].level.disk_frac == 0.5);
    assert_true(t.steps[2].t_s == 20);
    snug_load_trace_clear(&t);
    assert_null(t.steps);
}

static void trace_errors_name_the_line_and_what_is_wanted(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } ROWS[] = {
        {"", "no rows"},
        {HEAD, "no rows"},
        {HEAD "0,1,,,\n", "only one row"},
        {"t,cpu\n0,1\n", "t.csv:1: expected the header t_s,cpu"},
        {"0,1,,,\n1,,,,\n", "t.csv:1: expected the header"},
        {HEAD "0,1,,,\n\n0,1,,,\n", "t.csv:4: t_s is 0, not after the row before (0)"},
        {HEAD "5,1,,,\n4,1,,,\n", "t.csv:3: t_s is 4"},
        {HEAD "0,1,,\n1,,,,\n", "t.csv:2: expected the 5 fields"},
        {HEAD "0,1,,,,\n1,,,,\n", "t.csv:2: expected the 5 fields"},
        {HEAD ",1,,,\n1,,,,\n", "t.csv:2: t_s is ''"},
        {HEAD "-1,1,,,\n1,,,,\n", "t_s is '-1'"},
        {HEAD "604801,1,,,\n", "t_s is '604801'; expected seconds from 0 to 604800"},
        {HEAD "0,nan,,,\n", "cpu is 'nan'; expected cores from 0 to 1024"},
        {HEAD "0,0x10,,,\n", "cpu is '0x10'"},
        {HEAD "0,1024.5,,,\n", "cpu is '1024.5'"},
        {HEAD "0,1,lots,,\n", "memory_bytes is 'lots'; expected bytes"},
        {HEAD "0,1,,11TB,\n", "bandwidth_bps is '11TB'; expected at most 10TB"},
        {HEAD "0,1,,,1.5\n", "disk is '1.5'; expected a share"},
        {HEAD "0,1,,,on\n", "disk is 'on'"},
        /* 48 bytes in a field */
        {HEAD "0,000000000000000000000000000000000000000000000001,,,\n", "t.csv:2: expected the 5"},
    };
    struct snug_error err;
    struct snug_load_trace t = {.n = -7};
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        assert_fails(SNUG_BAD_INPUT, parse(ROWS[i].text, &t, &err));
        assert_contains(err.text, ROWS[i].part);
        assert_int_equal(t.n, -7);
    }
    assert_fails(SNUG_BAD_INPUT, snug_load_trace_parse("t.csv", "a\0b", 3, &t, &err));
    assert_fails(SNUG_NOT_FOUND, snug_load_trace_read("/nowhere/t.csv", &t, &err));
}

static void trace_values_at_their_caps_are_taken(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_load_trace t;
    assert_ok(parse(HEAD "0,1024,9223372036854775807,10TB,1\n"
                         "604800,00000000000000000000000000000000000000000000001,,,\n", /* 47 */
                    &t, &err));
    assert_true(t.steps[0].level.cpu == 1024 && t.steps[0].level.bandwidth_bps == 1e13);
    assert_true(t.steps[1].t_s == 604800 && t.steps[1].level.cpu == 1);
    snug_load_trace_clear(&t);
}

static void trace_rows_and_bytes_have_caps(void **state)
{
    struct snug_error err;
    struct snug_load_trace t;
    struct snug_buffer text = {0};
    snug_buffer_puts(&text, HEAD);
    for (int i = 0; i < SNUG_LOAD_STEPS_MAX; i++)
        snug_buffer_printf(&text, "%d,,,,\n", i);
    assert_ok(snug_load_trace_parse("t.csv", text.data, text.len, &t, &err));
    assert_int_equal(t.n, SNUG_LOAD_STEPS_MAX);
    snug_load_trace_clear(&t);
    snug_buffer_printf(&text, "%d,,,,\n", SNUG_LOAD_STEPS_MAX);
    assert_fails(SNUG_BAD_INPUT, snug_load_trace_parse("t.csv", text.data, text.len, &t, &err));
    assert_contains(err.text, "more than 100000 rows");
    snug_buffer_clear(&text);

    const char *path = test_path(state, "t.csv");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(HEAD "0,1,,,\n1,,,,\n#", file);
    for (long i = ftell(file); i < (long)SNUG_LOAD_TRACE_BYTES_MAX; i++)
        fputc('x', file);
    fflush(file);
    assert_ok(snug_load_trace_read(path, &t, &err));
    snug_load_trace_clear(&t);
    fputc('x', file);
    fclose(file);
    assert_fails(SNUG_BAD_INPUT, snug_load_trace_read(path, &t, &err));
}

static void trace_survives_being_printed_and_parsed(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_rng rng;
    const uint64_t seed = 20;
    snug_rng_init(&rng, seed);
    print_message("# seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < 200; round++) {
        struct snug_load_step steps[8] = {0};
        struct snug_load_trace t = {.steps = steps, .n = 2 + (int)snug_rng_below(&rng, 7)}, back;
        struct snug_buffer text = {0};
        for (int i = 0; i < t.n; i++) {
            steps[i].t_s = i * 10 + snug_rng_double(&rng) * 10;
            steps[i].level.cpu = snug_rng_double(&rng) * SNUG_LOAD_CPUS_MAX;
            steps[i].level.memory_bytes = snug_rng_next(&rng) >> (2 + snug_rng_below(&rng, 60));
            steps[i].level.bandwidth_bps = floor(snug_rng_double(&rng) * SNUG_LOAD_BPS_MAX);
            steps[i].level.disk_frac = snug_rng_double(&rng);
        }
        snug__load_trace_print(&t, &text);
        assert_ok(snug_load_trace_parse("again", text.data, text.len, &back, &err));
        assert_int_equal(back.n, t.n);
        for (int i = 0; i < t.n; i++)
            assert_memory_equal(&back.steps[i], &steps[i], sizeof steps[i]);
        snug_load_trace_clear(&back);
        snug_buffer_clear(&text);
    }
}

static void level_holds_until_the_next_step(void **state)
{
    (void)state;
    struct snug_load_step steps[] = {{1, {.cpu = 1}}, {2, {.cpu = 2}}, {4, {.cpu = 4}}};
    const struct snug_load_trace t = {.steps = steps, .n = 3};
    static const struct {
        double t_s, cpu;
        bool is_on;
    } ROWS[] = {{0, 0, true},   {1, 1, true},  {1.999, 1, true}, {2, 2, true},
                {3.9, 2, true}, {4, 0, false}, {1e9, 0, false}};
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        struct snug_load_level level = {.cpu = -1};
        assert_true(snug_load_trace_at(&t, ROWS[i].t_s, &level) == ROWS[i].is_on);
        assert_true(level.cpu == ROWS[i].cpu);
    }
    struct snug_load_level peak;
    snug_load_trace_peak(&t, &peak);
    assert_true(peak.cpu == 2); /* the last step never runs */
}

/* ---- this machine ---- */

static struct snug_machine machine_of(int n_threads, double available)
{
    struct snug_machine m = {.n_threads_usable = n_threads, .n_cores_usable = n_threads};
    m.available_bytes = (struct snug_fact){true, available, "test"};
    return m;
}

static void profiles_are_shares_of_the_machine(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_load_level level;
    struct snug_machine m = machine_of(8, 0x1p30 * 100);
    assert_ok(snug_load_profile("low", &m, &level, &err));
    assert_true(level.cpu == 2 && level.bandwidth_bps == 0 && level.disk_frac == 0);
    assert_int_equal(level.memory_bytes, (95ull << 30) / 4);
    assert_ok(snug_load_profile("high", &m, &level, &err));
    assert_true(level.cpu == 8);
    m.quota_cpus = (struct snug_fact){true, 1.5, "test"};
    assert_ok(snug_load_profile("mid", &m, &level, &err));
    assert_true(level.cpu == 0.75);
    assert_fails(SNUG_NOT_FOUND, snug_load_profile("middle", &m, &level, &err));
    m.available_bytes.is_known = false;
    assert_ok(snug_load_profile("high", &m, &level, &err));
    assert_int_equal(level.memory_bytes, 0);
}

static snug_status check_level(const struct snug_load_level *level, const struct snug_machine *m,
                               struct snug_error *err)
{
    struct snug_load_step steps[] = {{0, *level}, {.t_s = 1}};
    const struct snug_load_trace t = {.steps = steps, .n = 2};
    return snug__load_check(&t, m, err);
}

static void what_the_machine_cannot_bear_is_refused(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_machine m = machine_of(2, 0x1p30);
    /* 1 GiB less 256 MiB of reserve and 32 MiB for the load itself */
    struct snug_load_level level = {.cpu = 8, .memory_bytes = (1024 - 256 - 32) * MIB};
    assert_ok(check_level(&level, &m, &err));
    level.memory_bytes++;
    assert_fails(SNUG_INFEASIBLE, check_level(&level, &m, &err));
    assert_contains(err.text, "at most 736 MiB");
    assert_contains(err.text, "256 MiB of it a reserve");
    level.memory_bytes = INT64_MAX;
    assert_fails(SNUG_INFEASIBLE, check_level(&level, &m, &err));

    level = (struct snug_load_level){.cpu = 8.01};
    assert_fails(SNUG_INFEASIBLE, check_level(&level, &m, &err));
    assert_contains(err.text, "at most 8 here");

    level = (struct snug_load_level){.bandwidth_bps = 1e9}; /* 64 MiB to stream over */
    assert_ok(check_level(&level, &m, &err));
    m = machine_of(2, 300.0 * (double)MIB);
    assert_fails(SNUG_INFEASIBLE, check_level(&level, &m, &err));
    assert_contains(err.text, "larger than the caches");

    m.available_bytes = (struct snug_fact){.source = "/proc/meminfo: no such file"};
    level = (struct snug_load_level){.cpu = 1};
    assert_fails(SNUG_INFEASIBLE, check_level(&level, &m, &err));
    assert_contains(err.text, "/proc/meminfo: no such file");
}

static void what_no_load_may_be_is_refused(void **state)
{
    (void)state;
    struct snug_error err;
    const struct snug_machine m = machine_of(2, 0x1p40);
    struct snug_load_step steps[] = {{.level = {.bandwidth_bps = SNUG_LOAD_BPS_MAX}},
                                     {.t_s = SNUG_LOAD_SECONDS_MAX}};
    const struct snug_load_trace t = {.steps = steps, .n = 2};
    assert_ok(snug__load_check(&t, &m, &err));
    steps[1].t_s++;
    assert_fails(SNUG_BAD_INPUT, snug__load_check(&t, &m, &err));
    assert_contains(err.text, "asked for; at most ");
    steps[1].t_s = 1;
    steps[0].level.bandwidth_bps = SNUG_LOAD_BPS_MAX + 1e6;
    assert_fails(SNUG_BAD_INPUT, snug__load_check(&t, &m, &err));
    assert_contains(err.text, "at most 10000 GB/s");
    steps[0].level = (struct snug_load_level){.disk_frac = 1.001};
    assert_fails(SNUG_BAD_INPUT, snug__load_check(&t, &m, &err));
    assert_contains(err.text, "at most 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trace_takes_units_blanks_and_comments),
        cmocka_unit_test(trace_errors_name_the_line_and_what_is_wanted),
        cmocka_unit_test(trace_values_at_their_caps_are_taken),
        cmocka_unit_test_setup_teardown(trace_rows_and_bytes_have_caps, test_folder_open,
                                        test_folder_close),
        cmocka_unit_test(trace_survives_being_printed_and_parsed),
        cmocka_unit_test(level_holds_until_the_next_step),
        cmocka_unit_test(profiles_are_shares_of_the_machine),
        cmocka_unit_test(what_the_machine_cannot_bear_is_refused),
        cmocka_unit_test(what_no_load_may_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
