/* Budgets: the pure half on numbers, the reading half on recorded machines whose counters the test
 * moves between two looks, and once on the machine at hand. */
#include <math.h>

#include "test.h"

#include "tree.h"

#include "base/process.h"
#include "machine/budget_internal.h"

#define MIB (1024.0 * 1024.0)

#define assert_near(want, have)                                                                    \
    do {                                                                                           \
        double near_have = (have), near_want = (want);                                             \
        if (!(fabs(near_have - near_want) <= 1e-9 * fabs(near_want) + 1e-9))                       \
            fail_msg("%s is %.9g, not %.9g", #have, near_have, near_want);                         \
    } while (0)

#define assert_unknown(fact, reason)                                                               \
    do {                                                                                           \
        assert_false((fact).is_known);                                                             \
        assert_contains((fact).source, (reason));                                                  \
    } while (0)

static struct snug_fact known(double value)
{
    struct snug_fact fact;
    snug__fact_set(&fact, value, "test");
    return fact;
}

static struct snug_budget_look look(int n_cpus, double all_s, double idle_s, double own_s)
{
    return (struct snug_budget_look){.own_s = known(own_s),
                                     .idle_s = known(idle_s),
                                     .all_s = known(all_s),
                                     .own_bytes = known(0),
                                     .n_cpus = n_cpus};
}

/* ---- the reserve ---- */

static void usable_keeps_the_larger_reserve(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes, want;
    } ROWS[] = {
        {0, 0},
        {256u << 20, 0},
        {(256u << 20) + 1, 1},
        {1ull << 30, (1ull << 30) - (256u << 20)},
        {100ull << 30, 95ull << 30}, /* 5 % */
    };
    for (size_t i = 0; i < COUNT(ROWS); i++)
        assert_int_equal(snug_budget_usable_bytes(ROWS[i].bytes), ROWS[i].want);
}

/* ---- numbers in, budget out ---- */

static void memory_is_the_tighter_of_system_and_group(void **state)
{
    (void)state;
    struct snug__budget_numbers in = {.memory_system_bytes = known(10240 * MIB),
                                      .memory_group_bytes = known(1024 * MIB)};
    struct snug_budget out;
    snug__budget_compute(&in, &out);
    assert_near(1024 * MIB, out.memory_available_bytes.value);
    assert_near(256 * MIB, out.memory_reserve_bytes.value);
    assert_near(768 * MIB, out.memory_usable_bytes.value);

    in.memory_group_bytes.is_known = false;
    snug__budget_compute(&in, &out);
    assert_near(10240 * 0.95 * MIB, out.memory_usable_bytes.value);

    in.memory_system_bytes.is_known = false;
    snprintf(in.memory_system_bytes.source, sizeof in.memory_system_bytes.source, "no such file");
    snug__budget_compute(&in, &out);
    assert_unknown(out.memory_usable_bytes, "no such file");
    assert_unknown(out.memory_reserve_bytes, "no such file");

    in.memory_group_bytes = known(1024 * MIB);
    snug__budget_compute(&in, &out);
    assert_near(768 * MIB, out.memory_usable_bytes.value);
}

static void others_are_what_is_neither_idle_nor_ours(void **state)
{
    (void)state;
    /* 4 CPUs over 1 s: 1.5 idle, 1 ours, so that others kept 1.5 busy. */
    struct snug__budget_numbers in = {.from = look(4, 100, 50, 7), .to = look(4, 104, 51.5, 8)};
    struct snug_budget out;
    snug__budget_compute(&in, &out);
    assert_near(4, out.cpus_allowed.value);
    assert_near(1, out.cpus_own.value);
    assert_near(1.5, out.cpus_others.value);
    assert_near(2.5, out.cpus_free.value);

    in.quota_cpus = known(2);
    snug__budget_compute(&in, &out);
    assert_near(2, out.cpus_allowed.value);
    assert_near(2, out.cpus_free.value);
    assert_near(1.5, out.cpus_others.value);
}

static void counters_that_jump_stay_within_the_machine(void **state)
{
    (void)state;
    /* A child that ended hands 100 s to us at once; idle goes back, as the kernel's may. */
    struct snug__budget_numbers in = {.from = look(2, 100, 50, 7), .to = look(2, 101, 49.9, 107)};
    struct snug_budget out;
    snug__budget_compute(&in, &out);
    assert_near(2, out.cpus_own.value);
    assert_near(0, out.cpus_others.value);
    assert_near(2, out.cpus_free.value);
}

static void cpus_that_cannot_be_told_say_why(void **state)
{
    (void)state;
    struct snug__budget_numbers in = {.from = look(2, 100, 50, 7), .to = look(2, 100, 50, 7)};
    struct snug_budget out;
    snug__budget_compute(&in, &out);
    assert_unknown(out.cpus_free, "too close");

    in.to = look(3, 110, 55, 8);
    snug__budget_compute(&in, &out);
    assert_unknown(out.cpus_others, "changed");

    in.from = in.to;
    in.from.n_cpus = in.to.n_cpus = 0;
    snug__budget_compute(&in, &out);
    assert_unknown(out.cpus_allowed, "no CPU");
    assert_unknown(out.cpus_own, "no CPU");

    in.to.own_s = (struct snug_fact){.source = "/proc: cannot be listed"};
    snug__budget_compute(&in, &out);
    assert_unknown(out.cpus_free, "cannot be listed");

    in = (struct snug__budget_numbers){.to = look(2, 100, 50, 7)};
    snug__budget_compute(&in, &out);
    assert_unknown(out.cpus_free, "the earlier look saw no CPU time");
}

static void device_memory_keeps_a_reserve_too(void **state)
{
    (void)state;
    struct snug__budget_numbers in = {.device_free_bytes = known(1024 * MIB)};
    struct snug_budget out;
    snug__budget_compute(&in, &out);
    assert_near(768 * MIB, out.device_usable_bytes.value);
    in.device_free_bytes = (struct snug_fact){.source = "no device was asked"};
    snug__budget_compute(&in, &out);
    assert_unknown(out.device_usable_bytes, "no device was asked");
}

/* ---- parsers ---- */

static void process_stat_survives_odd_names(void **state)
{
    (void)state;
    struct snug__process_stat stat = {0};
    assert_true(snug__parse_process_stat(
        "42 (a) b (c) S 7 42 42 0 -1 4194304 1 2 3 4 100 20 3 1 20 0 1 0 5 6 7", &stat));
    assert_int_equal(stat.pid, 42);
    assert_int_equal(stat.ppid, 7);
    assert_near(124, stat.ticks);
    static const char *const BAD[] = {
        "",
        "42",
        "42 (x)",
        "42 (x) ",
        "(x) S 1 2",
        "x (y) S 7 4 4 0 -1 4 1 2 3 4 1 2 3 1",
        "42 (x) S 7 42 42 0 -1 4194304 1 2 3 4 100 20 3", /* ends before cstime */
        "-3 (x) S 7 42 42 0 -1 4194304 1 2 3 4 100 20 3 1 20",
    };
    for (size_t i = 0; i < COUNT(BAD); i++)
        if (snug__parse_process_stat(BAD[i], &stat))
            fail_msg("'%s' was taken", BAD[i]);
    assert_int_equal(stat.pid, 42);
}

static void cpu_idle_counts_only_cpus_of_the_set(void **state)
{
    (void)state;
    const double hz = (double)sysconf(_SC_CLK_TCK);
    hwloc_bitmap_t cpus = hwloc_bitmap_alloc();
    double idle_s = 0, all_s = 0;
    static const char TEXT[] = "cpu  9 9 9 9 9 9 9 9 9 9\n"
                               "cpu0 1 2 3 100 50 4 5 6 70 80\n"
                               "cpu1 1000 0 0 0 0 0 0 0 0 0\n"
                               "cpu12 10 0 0 20 0 0 0 0 0 0\nintr 5\n";
    hwloc_bitmap_set(cpus, 0);
    hwloc_bitmap_set(cpus, 12);
    hwloc_bitmap_set(cpus, 99);
    assert_int_equal(snug__parse_cpu_idle(TEXT, cpus, &idle_s, &all_s), 2);
    assert_near(170 / hz, idle_s);       /* idle and iowait */
    assert_near((171 + 30) / hz, all_s); /* guests are part of user */
    assert_int_equal(snug__parse_cpu_idle("cpu  1 2 3 4\n", cpus, &idle_s, &all_s), 0);
    assert_int_equal(snug__parse_cpu_idle("", cpus, &idle_s, &all_s), 0);
    hwloc_bitmap_free(cpus);
}

/* ---- recorded machines ---- */

/* The file of one process: only what is read is true. */
static void put_process(const char *folder, int pid, int ppid, int ticks, int private_pages)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "proc/%d/stat", pid);
    snprintf(text, sizeof text, "%d (p) S %d 1 1 0 -1 0 0 0 0 0 %d 0 0 0 20 0 1\n", pid, ppid,
             ticks);
    tree_put(folder, path, text);
    snprintf(path, sizeof path, "proc/%d/statm", pid);
    snprintf(text, sizeof text, "9000 %d 100 5 0 50 0\n", private_pages + 100);
    tree_put(folder, path, text);
}

/* All four CPUs together, spread evenly. */
static void put_stat(const char *folder, int busy_ticks, int idle_ticks)
{
    char text[512];
    size_t n = 0;
    for (int i = 0; i < 4; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "cpu%d %d 0 0 %d 0 0 0 0 0 0\n", i,
                              busy_ticks / 4, idle_ticks / 4);
    tree_put(folder, "proc/stat", text);
}

static struct snug_budget read_with(const struct snug_budget_options *options)
{
    struct snug_budget out;
    snug_budget_read(options, &out, NULL);
    return out;
}

static void recorded_memory_is_that_of_the_tightest_level(void **state)
{
    static const struct {
        const char *machine, *source;
        double available;
    } ROWS[] = {
        {"container-v2", "/sys/fs/cgroup/memory.current", 1073741824.0},
        {"container-v2-nested", "/sys/fs/cgroup/kubepods/pod7/memory.current", 3221225472.0},
        {"container-v1", "/sys/fs/cgroup/memory/memory.usage_in_bytes", 536870912.0},
        {"board-no-cpufreq", "/proc/meminfo", 7599104000.0},
        {"laptop-hybrid", "/proc/meminfo", 10046668800.0},
    };
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        tree_copy(ROWS[i].machine, *state);
        const struct snug_budget_look earlier = {0};
        const struct snug_budget_options options = {.root = *state, .earlier = &earlier};
        const struct snug_budget b = read_with(&options);
        assert_true(b.memory_available_bytes.is_known);
        assert_near(ROWS[i].available, b.memory_available_bytes.value);
        assert_string_equal(b.memory_usable_bytes.source, ROWS[i].source);
        assert_near((double)snug_budget_usable_bytes((uint64_t)ROWS[i].available),
                    b.memory_usable_bytes.value);
        tree_drop(*state, "proc");
        if (access(test_path(state, "sys"), F_OK) == 0)
            tree_drop(*state, "sys");
    }
}

static void own_tree_is_told_from_others(void **state)
{
    tree_copy("container-v2", *state);
    struct snug_budget_options options = {.root = *state, .pid = 10};
    struct snug_budget_look earlier;
    put_stat(*state, 1000, 1000);
    put_process(*state, 10, 1, 100, 256);  /* we */
    put_process(*state, 11, 10, 100, 256); /* our child */
    put_process(*state, 12, 11, 100, 0);   /* and its child */
    put_process(*state, 20, 1, 100, 512);  /* another program */
    put_process(*state, 21, 20, 100, 0);
    put_process(*state, 30, 1, 100, 1024); /* a server that somebody else started */
    snug__budget_look_now(&options, &earlier);
    assert_near(3, earlier.own_s.value * (double)sysconf(_SC_CLK_TCK) / 100);

    /* 400 ticks of 4 CPUs: 40 idle; of the 360 busy ones 60 are ours, 40 the program's, 50
     * the server's, the rest of some that are not listed. */
    put_stat(*state, 1360, 1040);
    put_process(*state, 10, 1, 110, 256);
    put_process(*state, 11, 10, 120, 256);
    put_process(*state, 12, 11, 130, 0);
    put_process(*state, 20, 1, 120, 512);
    put_process(*state, 21, 20, 120, 0);
    put_process(*state, 30, 1, 150, 1024);
    options.earlier = &earlier;
    struct snug_budget b = read_with(&options);
    const double page = (double)sysconf(_SC_PAGESIZE);
    assert_near(512 * page, b.memory_own_bytes.value);
    assert_near(0.6, b.cpus_own.value);
    assert_near(3, b.cpus_others.value);
    assert_near(1, b.cpus_free.value);
    assert_near(1.5, b.cpus_allowed.value); /* the quota */
    assert_near(0.184, b.pressure_cpu_frac.value);

    /* The same machine seen from the program. */
    options.pid = 20;
    b = read_with(&options);
    assert_near(512 * page, b.memory_own_bytes.value);
    assert_near(0, b.cpus_own.value);
}

static void missing_files_are_unknown_with_the_reason(void **state)
{
    tree_copy("laptop-hybrid", *state);
    tree_drop(*state, "proc/meminfo");
    tree_drop(*state, "proc/pressure");
    const struct snug_budget_look earlier = {0};
    const struct snug_budget_options options = {.root = *state, .pid = 77, .earlier = &earlier};
    const struct snug_budget b = read_with(&options);
    assert_unknown(b.memory_usable_bytes, "/proc/meminfo: no such file");
    assert_unknown(b.pressure_cpu_frac, "no such file");
    assert_unknown(b.memory_own_bytes, "no process is shown");
    assert_unknown(b.device_usable_bytes, "no device was asked");
    assert_unknown(b.cpus_free, "no line of a CPU");
}

static void a_replayed_machine_without_a_pid_has_nothing_of_ours(void **state)
{
    tree_copy("laptop-hybrid", *state);
    const struct snug_budget_options options = {.root = *state};
    struct snug_budget_look l;
    snug__budget_look_now(&options, &l);
    assert_true(l.own_s.is_known);
    assert_near(0, l.own_s.value);
    assert_unknown(l.all_s, "no line of a CPU"); /* recorded without the lines of single CPUs */
}

/* ---- the machine at hand ---- */

static void this_machine_has_a_budget(void **state)
{
    (void)state;
    struct snug_budget b;
    struct snug_budget_look first, second;
    const struct snug_budget_options options = {.interval_s = 0.1};
    snug__budget_look_now(&options, &first);
    snug_budget_read(&options, &b, &second);
    assert_true(b.memory_usable_bytes.is_known && b.memory_usable_bytes.value > 0);
    assert_true(b.memory_own_bytes.is_known && b.memory_own_bytes.value > 0);
    assert_true(b.cpus_allowed.is_known && b.cpus_allowed.value > 0);
    assert_true(b.cpus_free.is_known && b.cpus_free.value >= 0 &&
                b.cpus_free.value <= b.cpus_allowed.value);
    assert_true(second.own_s.value >= first.own_s.value);
    assert_true(second.all_s.value > first.all_s.value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usable_keeps_the_larger_reserve),
        cmocka_unit_test(memory_is_the_tighter_of_system_and_group),
        cmocka_unit_test(others_are_what_is_neither_idle_nor_ours),
        cmocka_unit_test(counters_that_jump_stay_within_the_machine),
        cmocka_unit_test(cpus_that_cannot_be_told_say_why),
        cmocka_unit_test(device_memory_keeps_a_reserve_too),
        cmocka_unit_test(process_stat_survives_odd_names),
        cmocka_unit_test(cpu_idle_counts_only_cpus_of_the_set),
        cmocka_unit_test_setup_teardown(recorded_memory_is_that_of_the_tightest_level,
                                        test_folder_open, test_folder_close),
        cmocka_unit_test_setup_teardown(own_tree_is_told_from_others, test_folder_open,
                                        test_folder_close),
        cmocka_unit_test_setup_teardown(missing_files_are_unknown_with_the_reason, test_folder_open,
                                        test_folder_close),
        cmocka_unit_test_setup_teardown(a_replayed_machine_without_a_pid_has_nothing_of_ours,
                                        test_folder_open, test_folder_close),
        cmocka_unit_test(this_machine_has_a_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
