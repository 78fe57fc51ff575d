/* Loads that run: the generator in this process, asked by hand; the process itself through the
 * public calls. What must happen is polled for, never slept for. */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/vfs.h>
#include <linux/magic.h>

#include "test.h"

#include "load.h"

#include "base/process.h"
#include "machine/load_internal.h"
#include "machine/machine_json.h"

#define MIB ((uint64_t)1 << 20)

static double patience(void)
{
    return snug_clock_s() + PATIENCE_S;
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
    /* 140 MiB available, 100 of them reserved: two steps of 16 fit. */
    const double available = 140.0 * (double)MIB, end_s = patience();
    while (counters(gen).held_bytes < 32 * MIB) {
        snug__load_gen_tick(gen, &level, available - (double)counters(gen).held_bytes);
        assert_true(snug_clock_s() < end_s);
    }
    for (int i = 0; i < 5; i++)
        snug__load_gen_tick(gen, &level, available - (double)counters(gen).held_bytes);
    assert_int_equal(counters(gen).held_bytes, 32 * MIB);
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
        print_message("# skipped: %s\n", err.text);
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
        print_message("# skipped: %s\n", err.text);
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
    struct snug__load_disk disk = {0};
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

static void load_runs_reports_and_ends(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_load_report r = {0};
    const struct snug_load_level level = {.cpu = 0.5, .memory_bytes = 24 * MIB};
    struct snug_load *load = load_start(&level, 0);
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
        .trace = &trace, .machine = &machine, .program = load_program()};
    assert_ok(snug_load_start(&options, &load, &err));
    assert_ok(snug_load_stop(&load, NULL, &err));
}

static void load_ends_with_its_trace(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_load_report r = {0};
    const struct snug_load_level level = {.cpu = 0.1};
    struct snug_load *load = load_start(&level, 0.3);
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
    struct snug_load *load = load_start(&level, 0);
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
    struct snug_load_options options = {
        .trace = &trace, .machine = &machine, .program = load_program()};
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
