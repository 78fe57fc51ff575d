/* Loads: traces, profiles and refusals; the generator in this process, asked by hand; the process
 * itself through the public calls. What must happen is polled for, never slept for. */
#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/vfs.h>
#include <linux/magic.h>

#include "test.h"

#include "base/process.h"
#include "machine/load_internal.h"
#include "machine/machine_json.h"
#include "snug/budget.h"
#include "snug/stats.h"

#define HEAD "t_s,cpu,memory_bytes,bandwidth_bps,disk\n"
#define MIB ((uint64_t)1 << 20)

static snug_status parse(const char *text, struct snug_load_trace *out, struct snug_error *err)
{
    return snug_load_trace_parse("t.csv", text, strlen(text), out, err);
}

static double patience(void)
{
    return snug_clock_s() + PATIENCE_S;
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
    print_message("seed %llu\n", (unsigned long long)seed);
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

/* ---- the generator ---- */

static struct snug__load_gen *start_gen(const struct snug_load_level *peak, const char *folder)
{
    struct snug_error err;
    struct snug__load_gen *gen = NULL;
    const struct snug__load_gen_options options = {.peak = *peak,
                                                   .reserve_bytes = 100 * MIB,
                                                   .stream_bytes = 64 * MIB,
                                                   .n_threads = 2,
                                                   .folder = folder};
    assert_ok(snug__load_gen_start(&options, &gen, &err));
    return gen;
}

static struct snug__load_counters counters(const struct snug__load_gen *gen)
{
    struct snug__load_counters c;
    snug__load_gen_counters(gen, &c);
    return c;
}

/* Tick until nothing is missing; as many ticks as this machine needs. */
static void fill(struct snug__load_gen *gen, const struct snug_load_level *level, double available)
{
    const double end_s = patience();
    do {
        snug__load_gen_tick(gen, level, available);
        assert_true(snug_clock_s() < end_s);
    } while (snug__load_gen_is_filling(gen));
}

static void memory_is_really_held_and_given_back(void **state)
{
    (void)state;
    const struct snug_load_level level = {.memory_bytes = 96 * MIB + 4096};
    struct snug__load_gen *gen = start_gen(&level, NULL);
    uint64_t before = 0, now = 0;
    assert_true(snug_process_rss(getpid(), &before, NULL));
    fill(gen, &level, 10000.0 * (double)MIB);
    assert_int_equal(counters(gen).held_bytes, level.memory_bytes);
    assert_true(snug_process_rss(getpid(), &now, NULL));
    assert_true(now >= before + 90 * MIB);

    /* 40 MiB less than the reserve: these go, and one step more. */
    snug__load_gen_tick(gen, &level, 60.0 * (double)MIB);
    assert_int_equal(counters(gen).held_bytes, 40 * MIB + 4096);
    assert_int_equal(counters(gen).given_back_bytes, 56 * MIB);
    assert_true(snug_process_rss(getpid(), &now, NULL));
    assert_true(now <= before + 60 * MIB);

    /* Just above the reserve nothing grows; well above it does. */
    snug__load_gen_tick(gen, &level, 120.0 * (double)MIB);
    assert_int_equal(counters(gen).held_bytes, 40 * MIB + 4096);
    assert_true(counters(gen).is_settled);
    fill(gen, &level, 10000.0 * (double)MIB);
    assert_int_equal(counters(gen).held_bytes, level.memory_bytes);

    /* Nothing left at all: everything goes. Less is asked: so much goes. */
    snug__load_gen_tick(gen, &level, 0);
    assert_int_equal(counters(gen).held_bytes, 0);
    fill(gen, &level, 10000.0 * (double)MIB);
    const struct snug_load_level less = {.memory_bytes = 10 * MIB};
    snug__load_gen_tick(gen, &less, 10000.0 * (double)MIB);
    assert_int_equal(counters(gen).held_bytes, 10 * MIB);
    assert_int_equal(counters(gen).held_bytes_peak, level.memory_bytes);
    assert_true(counters(gen).held_byte_s > 0);
    snug__load_gen_stop(gen);
    assert_true(snug_process_rss(getpid(), &now, NULL));
    assert_true(now <= before + 16 * MIB);
}

static void memory_stops_growing_at_the_reserve(void **state)
{
    (void)state;
    const struct snug_load_level level = {.memory_bytes = 96 * MIB};
    struct snug__load_gen *gen = start_gen(&level, NULL);
    /* 140 MiB available, 100 of them reserved: two steps of 16 fit, and a tick takes no more. */
    snug__load_gen_tick(gen, &level, 140.0 * (double)MIB);
    assert_true(counters(gen).held_bytes <= 32 * MIB);
    for (int i = 0; i < 5; i++)
        snug__load_gen_tick(gen, &level, 110.0 * (double)MIB);
    assert_true(counters(gen).held_bytes <= 32 * MIB);
    assert_int_equal(counters(gen).given_back_bytes, 0);
    snug__load_gen_stop(gen);
}

static void threads_work_and_read(void **state)
{
    (void)state;
    const struct snug_load_level level = {.cpu = 0.5, .bandwidth_bps = 100e6};
    struct snug__load_gen *gen = start_gen(&level, NULL);
    const double cpu_s = counters(gen).cpu_s, end_s = patience();
    struct snug__load_counters c;
    do {
        snug__load_gen_tick(gen, &level, 10000.0 * (double)MIB);
        snug_sleep_s(0.005);
        c = counters(gen);
        assert_true(snug_clock_s() < end_s);
    } while (c.cpu_s < cpu_s + 0.1 || c.streamed_bytes < 10e6);
    /* After a request for nothing, no more than the slice in work (2 ms of traffic) is read. */
    const struct snug_load_level nothing = {0};
    snug__load_gen_tick(gen, &nothing, 0);
    const double streamed_bytes = counters(gen).streamed_bytes;
    for (int i = 0; i < 10; i++) {
        snug_sleep_s(0.005);
        assert_true(counters(gen).streamed_bytes <= streamed_bytes + 200e3);
    }
    snug__load_gen_stop(gen);
}

static int count_entries(const char *path)
{
    int n = 0;
    DIR *folder = opendir(path);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(folder);
    return n;
}

static void disk_is_used_without_a_file_that_could_remain(void **state)
{
    struct snug_error err;
    struct snug__load_gen *gen = NULL;
    const struct snug_load_level level = {.disk_frac = 1};
    const struct snug__load_gen_options options = {
        .peak = level, .reserve_bytes = MIB, .n_threads = 2, .folder = *state};
    const snug_status status = snug__load_gen_start(&options, &gen, &err);
    if (status == SNUG_UNSUPPORTED || status == SNUG_INFEASIBLE) { /* no disk, or a full one */
        print_message("skipped: %s\n", err.text);
        skip();
    }
    assert_int_equal(status, SNUG_OK);
    const double end_s = patience();
    struct snug__load_counters c;
    do {
        snug__load_gen_tick(gen, &level, 10000.0 * (double)MIB);
        snug_sleep_s(0.005);
        assert_int_equal(count_entries(*state), 0);
        c = counters(gen);
        assert_int_equal(c.disk_errno, 0);
        assert_true(snug_clock_s() < end_s);
    } while (c.disk_bytes <= 8.0 * (double)MIB || c.disk_s <= 0);
    snug__load_gen_stop(gen);
    assert_int_equal(count_entries(*state), 0);
}

/* What is read lands in the block that is written: of room that was only taken it would be zeros,
 * which the file system gives without the disk. */
static void disk_reads_only_what_was_written(void **state)
{
    struct snug_error err;
    struct snug__load_disk disk = {.share = 1};
    atomic_bool stop = false;
    pthread_t thread;
    uint64_t before[16];
    const snug_status status = snug__load_disk_open(&disk, *state, &err);
    if (status == SNUG_UNSUPPORTED || status == SNUG_INFEASIBLE) {
        print_message("skipped: %s\n", err.text);
        skip();
    }
    assert_int_equal(status, SNUG_OK);
    disk.stop = &stop;
    memcpy(before, disk.block, sizeof before);
    assert_int_equal(pthread_create(&thread, NULL, snug__load_disk_run, &disk), 0);
    const double end_s = patience();
    while (atomic_load(&disk.bytes) < 24.0 * (double)MIB) { /* three turns */
        snug_sleep_s(0.005);
        assert_int_equal(atomic_load(&disk.error), 0);
        assert_true(snug_clock_s() < end_s);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    assert_memory_equal(disk.block, before, sizeof before);
    snug__load_disk_close(&disk);
}

static void scratch_file_is_refused_where_there_is_no_disk(void **state)
{
    struct snug_error err;
    struct snug__load_disk disk = {.fd = -1};
    struct statfs kind;
    if (statfs("/dev/shm", &kind) == 0 && kind.f_type == TMPFS_MAGIC) {
        assert_fails(SNUG_UNSUPPORTED, snug__load_disk_open(&disk, "/dev/shm", &err));
        assert_contains(err.text, "lies in memory");
    }
    FILE *file = fopen(test_path(state, "file"), "w");
    assert_non_null(file);
    fclose(file);
    assert_fails(SNUG_IO, snug__load_disk_open(&disk, test_path(state, "file/below"), &err));
    assert_int_equal(disk.fd, -1);
}

/* ---- reports ---- */

static void report_survives_json(void **state)
{
    (void)state;
    struct snug_error err;
    const struct snug_load_report report = {
        .t_s = 1.5,
        .asked = {1, 2, 3, 0.25},
        .reached = {0.5, 1, 2, 0.125},
        .asked_mean = {4, 5, 6, 1},
        .reached_mean = {7, 8, 9, 0},
        .disk_bps = 10,
        .disk_bps_mean = 11,
        .memory_bytes_peak = 12,
        .given_back_bytes = 13,
        .is_settled = true,
        .is_over = true,
        .note = "disk: No space left on device",
    };
    struct snug_load_report back = {0};
    struct snug_json_writer w = {0};
    struct snug_json *doc = NULL;
    snug_load_report_to_json(&w, NULL, &report);
    char *text = snug_json_finish(&w, false);
    assert_non_null(text);
    assert_ok(snug_json_parse("report", text, strlen(text), &doc, &err));
    assert_ok(snug_load_report_from_json(snug_json_root(doc), &back, &err));
    assert_memory_equal(&back, &report, sizeof report);
    snug_json_free(doc);
    free(text);
    assert_ok(snug_json_parse("report", "{\"t_s\":-1}", 10, &doc, &err));
    assert_fails(SNUG_CRASHED, snug_load_report_from_json(snug_json_root(doc), &back, &err));
    snug_json_free(doc);
}

/* ---- the process ---- */

/* The program under test: without a name the load would start this one, and all tests again. */
static const char *program(void)
{
    const char *path = getenv("SNUG_BIN");
    if (!path)
        skip();
    return path;
}

static struct snug_load *start_load(const struct snug_load_level *level, double duration_s)
{
    struct snug_error err;
    struct snug_load *load = NULL;
    struct snug_load_trace trace;
    struct snug_machine machine;
    assert_ok(snug_machine_probe("", &machine, &err));
    assert_ok(snug_load_trace_steady(level, duration_s, &trace, &err));
    const struct snug_load_options options = {
        .trace = &trace, .machine = &machine, .program = program()};
    assert_ok(snug_load_start(&options, &load, &err));
    snug_load_trace_clear(&trace);
    return load;
}

static void load_runs_reports_and_ends(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_load_report r = {0};
    const struct snug_load_level level = {.cpu = 0.5, .memory_bytes = 24 * MIB};
    struct snug_load *load = start_load(&level, 0);
    const int pid = snug__load_pid(load);
    const double end_s = patience();
    uint64_t rss = 0;
    do {
        assert_ok(snug_load_poll(load, PATIENCE_S, NULL, &r, &err));
        assert_true(snug_clock_s() < end_s);
    } while (!r.is_settled || r.reached_mean.cpu <= 0);
    assert_false(r.is_over);
    assert_int_equal(r.reached.memory_bytes, 24 * MIB);
    assert_true(r.asked.cpu == 0.5);
    assert_true(snug_process_rss(pid, &rss, NULL));
    assert_true(rss >= 24 * MIB);
    const volatile int stop = 1;
    assert_fails(SNUG_INTERRUPTED, snug_load_poll(load, PATIENCE_S, &stop, &r, &err));
    assert_ok(snug_load_stop(&load, &r, &err));
    assert_null(load);
    assert_true(r.is_over && r.memory_bytes_peak == 24 * MIB && r.reached_mean.cpu > 0);
    assert_int_equal(kill(pid, 0), -1); /* gone, and reaped */
    assert_ok(snug_load_stop(&load, &r, &err));
}

static void load_starts_where_there_are_more_cpus_than_it_may_use(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_load *load = NULL;
    struct snug_load_step steps[] = {{0, {.cpu = 0.1}}, {.t_s = 1}};
    const struct snug_load_trace trace = {.steps = steps, .n = 2};
    struct snug_machine machine;
    assert_ok(snug_machine_probe("", &machine, &err));
    machine.n_threads_usable = SNUG_LOAD_CPUS_MAX + 1;
    const struct snug_load_options options = {
        .trace = &trace, .machine = &machine, .program = program()};
    assert_ok(snug_load_start(&options, &load, &err));
    assert_ok(snug_load_stop(&load, NULL, &err));
}

static void load_ends_with_its_trace(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_load_report r = {0};
    const struct snug_load_level level = {.cpu = 0.1};
    struct snug_load *load = start_load(&level, 0.3);
    const double end_s = patience();
    do {
        assert_ok(snug_load_poll(load, PATIENCE_S, NULL, &r, &err));
        assert_true(snug_clock_s() < end_s);
    } while (!r.is_over);
    assert_true(r.t_s >= 0.3);
    assert_ok(snug_load_stop(&load, &r, &err));
}

static void load_that_is_killed_is_a_crash(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_load_report r = {0};
    const struct snug_load_level level = {.cpu = 0.1};
    struct snug_load *load = start_load(&level, 0);
    assert_int_equal(kill(snug__load_pid(load), SIGKILL), 0);
    snug_status status = SNUG_OK;
    while (status == SNUG_OK) /* what it said before may still be in the pipe */
        status = snug_load_poll(load, PATIENCE_S, NULL, &r, &err);
    assert_int_equal(status, SNUG_CRASHED);
    assert_contains(err.text, "died");
    assert_fails(SNUG_CRASHED, snug_load_stop(&load, &r, &err));
    assert_null(load);
}

static void load_says_why_it_does_not_start(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_load *load = NULL;
    struct snug_load_step steps[] = {{0, {.disk_frac = 1}}, {.t_s = 1}};
    const struct snug_load_trace trace = {.steps = steps, .n = 2};
    struct snug_machine machine;
    assert_ok(snug_machine_probe("", &machine, &err));
    struct snug_load_options options = {.trace = &trace, .machine = &machine, .program = program()};
    assert_fails(SNUG_BAD_INPUT, snug_load_start(&options, &load, &err));
    options.folder = "/proc/self/nowhere";
    assert_fails(SNUG_NOT_FOUND, snug_load_start(&options, &load, &err));
    assert_contains(err.text, "/proc/self/nowhere");
    char folder[4097]; /* longest, and one byte more */
    memset(folder, '/', sizeof folder);
    folder[4095] = folder[4096] = '\0';
    memcpy(folder, "/proc/self/nowhere", 18);
    options.folder = folder;
    assert_fails(SNUG_NOT_FOUND, snug_load_start(&options, &load, &err));
    folder[4095] = '/';
    assert_fails(SNUG_BAD_INPUT, snug_load_start(&options, &load, &err));
    assert_contains(err.text, "has a path of 4096 bytes; at most 4095");
    options.folder = "/tmp";
    options.program = "/nowhere/snug";
    assert_fails(SNUG_NOT_FOUND, snug_load_start(&options, &load, &err));
    options.program = "/bin/true"; /* ends without a word */
    assert_fails(SNUG_CRASHED, snug_load_start(&options, &load, &err));
    assert_null(load);
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
        cmocka_unit_test(memory_is_really_held_and_given_back),
        cmocka_unit_test(memory_stops_growing_at_the_reserve),
        cmocka_unit_test(threads_work_and_read),
        cmocka_unit_test_setup_teardown(disk_is_used_without_a_file_that_could_remain,
                                        test_folder_open, test_folder_close),
        cmocka_unit_test_setup_teardown(disk_reads_only_what_was_written, test_folder_open,
                                        test_folder_close),
        cmocka_unit_test_setup_teardown(scratch_file_is_refused_where_there_is_no_disk,
                                        test_folder_open, test_folder_close),
        cmocka_unit_test(report_survives_json),
        cmocka_unit_test(load_runs_reports_and_ends),
        cmocka_unit_test(load_starts_where_there_are_more_cpus_than_it_may_use),
        cmocka_unit_test(load_ends_with_its_trace),
        cmocka_unit_test(load_that_is_killed_is_a_crash),
        cmocka_unit_test(load_says_why_it_does_not_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
