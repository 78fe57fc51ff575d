/* The meters on a machine whose counters the test moves between looks, at times the test states;
 * then the real machine, once. tests/machines/powercap-intel is the start of most. */
#include <fcntl.h>
#include <math.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "test.h"

#include "tree.h"

#include "base/process.h"
#include "machine/meters_internal.h"
#include "machine/probe.h"

#define MACHINE "powercap-intel"
#define GROUPS "sys/fs/cgroup/user.slice/"
#define CPU_FOLDER "sys/devices/system/cpu/"

#define assert_near(want, have)                                                                    \
    do {                                                                                           \
        double near_have = (have), near_want = (want);                                             \
        if (!(fabs(near_have - near_want) <= 1e-6 * fabs(near_want) + 1e-12))                      \
            fail_msg("%s is %.9g, not %.9g", #have, near_have, near_want);                         \
    } while (0)

static struct snug_meters *open_at(const char *root)
{
    struct snug_error err;
    struct snug_meters *meters = NULL;
    struct snug_meters_options options = {.root = root, .idle_w = NAN, .period_s = 1};
    assert_ok(snug__meters_open(&options, &meters, &err));
    return meters;
}

static struct snug_conditions close_at(struct snug_meters *meters, double t_s)
{
    struct snug_conditions out;
    snug__meters_close(meters, t_s, &out, NULL, NULL);
    return out;
}

static void put_group(const char *folder, const char *path, double periods, double throttled,
                      double us)
{
    char text[256];
    snprintf(text, sizeof text,
             "usage_usec 1\nnr_periods %.0f\nnr_throttled %.0f\nthrottled_usec %.0f\n", periods,
             throttled, us);
    tree_put(folder, path, text);
}

/* ---- totals and samples ---- */

static void meters_counters_that_move_give_differences(void **state)
{
    const char *folder = *state;
    struct snug_condition_sample *samples = NULL;
    struct snug_conditions c;
    int n = 0;
    tree_copy(MACHINE, folder);
    struct snug_meters *meters = open_at(folder);
    /* 400 ticks pass on 4 CPUs in a second, 100 of them busy */
    tree_put(folder, "proc/stat", "cpu  102440 520 30110 4880300 2100 0 900 0 0 0\n");
    tree_put(folder, "proc/pressure/cpu",
             "some avg10=0.00 avg60=0.00 avg300=0.00 total=1750000\n"
             "full avg10=0.00 avg60=0.00 avg300=0.00 total=9\n");
    tree_put(folder, "proc/pressure/io", "some avg10=0 avg60=0 avg300=0 total=320000\n");
    put_group(folder, GROUPS "user-1000.slice/cpu.stat", 5010, 44, 2500000);
    tree_put(folder, "sys/class/thermal/thermal_zone1/temp", "83500\n");
    tree_put(folder, CPU_FOLDER "cpu0/cpufreq/scaling_cur_freq", "1200000\n");
    assert_near(1, snug__meters_look(meters, 1));
    tree_put(folder, CPU_FOLDER "cpu0/cpufreq/scaling_cur_freq", "3600000\n");
    tree_put(folder, "sys/class/thermal/thermal_zone1/temp", "70000\n");
    tree_put(folder, "proc/stat", "cpu  102840 520 30110 4880300 2100 0 900 0 0 0\n");
    tree_put(folder, "proc/self/stat",
             "7 (a) b) R 1 1 1 0 -1 4194304 91000 0 40 0 1200 90 0 0 20 0 5 0\n");
    tree_put(folder, "proc/vmstat", "pgmajfault 3120\npswpin 101\npswpout 252\n");
    tree_put(folder, CPU_FOLDER "cpu2/thermal_throttle/core_throttle_count", "5\n");
    tree_put(folder, CPU_FOLDER "cpu3/thermal_throttle/core_throttle_count", "4\n");
    tree_put(folder, CPU_FOLDER "cpu0/thermal_throttle/package_throttle_count", "17\n");
    tree_put(folder, CPU_FOLDER "cpu1/thermal_throttle/package_throttle_count", "17\n");
    snug__meters_close(meters, 2, &c, &samples, &n);
    assert_int_equal(n, 2);
    assert_near(1, samples[0].t_s);
    assert_near(0.25, samples[0].other_load_frac);
    assert_near(0.25, samples[0].pressure_cpu_frac);
    assert_near(0, samples[0].pressure_memory_frac);
    assert_near(0.01f, samples[0].pressure_io_frac);
    assert_near(0.5, samples[0].throttled_frac);
    assert_near(83.5, samples[0].temperature_c);
    assert_near(150000.0 * (double)sysconf(_SC_PAGESIZE), samples[0].rss_bytes);
    assert_near(2.25e9, samples[0].clock_hz); /* 1.2, 2.5, 2.6, 2.7 GHz */
    assert_near(1, samples[1].other_load_frac);
    assert_near(0, samples[1].throttled_frac);
    assert_near(2, c.wall_s);
    assert_near(500.0 / 800, c.other_load_frac);
    assert_near(0.125, c.pressure_cpu_frac);
    assert_near(10, c.n_quota_periods);
    assert_near(4, c.n_quota_throttled);
    assert_near(0.5, c.throttled_s);
    assert_near(83.5, c.temperature_c_max);
    assert_near(2.25e9, c.clock_hz_min);
    assert_near(2.85e9, c.clock_hz_max);
    assert_near(2.55e9, c.clock_hz_median);
    assert_near(3, c.n_major_faults);
    assert_near(3.0 * (double)sysconf(_SC_PAGESIZE), c.swapped_bytes);
    assert_near(2 + 1 + 10, c.n_thermal_events); /* cores 2 and 3, and the package once */
    assert_near(0.52, c.load_average);
    assert_true(isnan(c.resident_frac) && isnan(c.resident_before_frac));
    assert_string_equal(c.unreadable, "energy: powercap package-0: stands still");
    free(samples);
}

static void meters_sampling_off_gives_totals_alone(void **state)
{
    const char *folder = *state;
    struct snug_error err;
    struct snug_meters *meters = NULL;
    struct snug_condition_sample *samples = (void *)&err;
    struct snug_conditions c;
    int n = 7;
    tree_copy(MACHINE, folder);
    struct snug_meters_options options = {.root = folder, .idle_w = 3, .is_sampling_off = true};
    assert_ok(snug_meters_start(&options, &meters, &err));
    put_group(folder, GROUPS "user-1000.slice/cpu.stat", 5010, 44, 2500000);
    snug_meters_stop(meters, &c, &samples, &n);
    assert_true(samples == NULL && n == 0);
    assert_near(0.5, c.throttled_s);
    assert_near(0, c.sampler_cpu_s);
    assert_near(3, c.energy.idle_w);
    assert_true(isnan(c.clock_hz_median) && isnan(c.clock_hz_max) && isnan(c.temperature_c_max));
    assert_contains(c.unreadable, "clock: not sampled; temperature: not sampled");
}

static void meters_null_gives_empty_conditions(void **state)
{
    (void)state;
    struct snug_condition_sample *samples = (void *)&samples;
    struct snug_conditions c;
    int n = 7;
    snug_meters_phase(NULL, SNUG_METERS_DECODE);
    snug_meters_stop(NULL, &c, &samples, &n);
    assert_true(samples == NULL && n == 0 && isnan(c.wall_s) && !c.energy.is_known);
}

static void meters_root_that_is_none_is_not_found(void **state)
{
    struct snug_error err;
    struct snug_meters *meters = NULL;
    struct snug_meters_options options = {.root = test_path(state, "none")};
    assert_fails(SNUG_NOT_FOUND, snug_meters_start(&options, &meters, &err));
    assert_null(meters);
    assert_contains(err.text, "none: not a folder");
}

static void meters_samples_at_cap_stay_and_beyond_are_halved(void **state)
{
    const char *folder = *state;
    struct snug_condition_sample *samples = NULL;
    struct snug_conditions c;
    int n = 0;
    tree_put(folder, "proc/stat", "cpu  1 1 1 1 1 1 1 1\n");
    for (int beyond = 0; beyond < 2; beyond++) {
        struct snug_meters *meters = open_at(folder);
        double due_s = 0;
        for (int i = 1; i <= SNUG_CONDITION_SAMPLES_MAX + beyond; i++)
            due_s = snug__meters_look(meters, i);
        snug__meters_close(meters, SNUG_CONDITION_SAMPLES_MAX + beyond, &c, &samples, &n);
        assert_int_equal(n,
                         beyond ? SNUG_CONDITION_SAMPLES_MAX / 2 + 1 : SNUG_CONDITION_SAMPLES_MAX);
        assert_near(beyond ? 2 : 1, due_s);
        for (int i = 0; i < n; i++) /* at equal distance, the first and the newest kept */
            assert_near(1 + i * due_s, samples[i].t_s);
        free(samples);
    }
}

/* 20 ms after the last look a rate would be noise. */
static void meters_rest_of_a_period_gives_no_sample(void **state)
{
    const char *folder = *state;
    struct snug_condition_sample *samples = NULL;
    struct snug_conditions c;
    int n = 0;
    tree_put(folder, "proc/stat", "cpu  1 1 1 1 1 1 1 1\n");
    struct snug_meters *meters = open_at(folder);
    snug__meters_look(meters, 1);
    snug__meters_close(meters, 1.02, &c, &samples, &n);
    assert_int_equal(n, 1);
    assert_near(1.02, c.wall_s);
    free(samples);
}

/* ---- control groups ---- */

static void meters_own_and_upper_quota_take_the_one_that_stopped_us(void **state)
{
    const char *folder = *state;
    tree_copy(MACHINE, folder);
    put_group(folder, GROUPS "user-1000.slice/session-2.scope/cpu.stat", 100, 1, 1000);
    for (int upper = 0; upper < 2; upper++) {
        struct snug_meters *meters = open_at(folder);
        put_group(folder, GROUPS "user-1000.slice/session-2.scope/cpu.stat", 120 + 20 * upper,
                  3 + 2 * upper, 301000 + 300000 * upper);
        put_group(folder, GROUPS "user-1000.slice/cpu.stat", 5007 + upper, 40 + 5 * upper,
                  2000000 + 900000 * upper);
        struct snug_conditions c = close_at(meters, 1);
        assert_near(upper ? 5 : 2, c.n_quota_throttled);
        assert_near(upper ? 1 : 20, c.n_quota_periods);
        assert_near(upper ? 0.9 : 0.3, c.throttled_s);
    }
}

/* Whoever sets a quota while a trial runs is found out. */
static void meters_quota_set_on_the_way_is_seen(void **state)
{
    const char *folder = *state;
    tree_copy(MACHINE, folder);
    put_group(folder, GROUPS "user-1000.slice/session-2.scope/cpu.stat", 0, 0, 0);
    struct snug_meters *meters = open_at(folder);
    put_group(folder, GROUPS "user-1000.slice/session-2.scope/cpu.stat", 9, 8, 700000);
    struct snug_conditions c = close_at(meters, 1);
    assert_near(8, c.n_quota_throttled);
    assert_near(0.7, c.throttled_s);
}

static void meters_v1_counts_nanoseconds(void **state)
{
    const char *folder = *state;
    static const char path[] = "sys/fs/cgroup/cpu,cpuacct/cpu.stat";
    tree_copy("container-v1", folder);
    tree_put(folder, path, "nr_periods 10\nnr_throttled 3\nthrottled_time 1000000000\n");
    struct snug_meters *meters = open_at(folder);
    tree_put(folder, path, "nr_periods 30\nnr_throttled 8\nthrottled_time 2500000000\n");
    struct snug_conditions c = close_at(meters, 2);
    assert_near(20, c.n_quota_periods);
    assert_near(5, c.n_quota_throttled);
    assert_near(1.5, c.throttled_s);
}

/* SNUG__METERS_LEVELS_MAX levels are watched, the nearest: a quota one level further is missed. */
static void meters_levels_at_cap_are_watched_and_beyond_are_not(void **state)
{
    const char *folder = *state;
    for (int beyond = 0; beyond < 2; beyond++) {
        char group[512] = "", path[1024], top[64];
        tree_put(folder, "proc/self/mountinfo",
                 "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        for (int i = 0; i < SNUG__METERS_LEVELS_MAX + beyond; i++) {
            size_t n = strlen(group);
            snprintf(group + n, sizeof group - n, "/b%d-%d", beyond, i);
            snprintf(path, sizeof path, "sys/fs/cgroup%s/cpu.stat", group);
            put_group(folder, path, 0, 0, 0);
        }
        snprintf(path, sizeof path, "0::%s\n", group);
        tree_put(folder, "proc/self/cgroup", path);
        struct snug_meters *meters = open_at(folder);
        snprintf(top, sizeof top, "sys/fs/cgroup/b%d-0/cpu.stat", beyond);
        put_group(folder, top, 10, 5, 1000000);
        assert_near(beyond ? 0 : 5, close_at(meters, 1).n_quota_throttled);
    }
}

/* ---- what is not there, and what is nonsense ---- */

static void meters_empty_root_gives_nan_and_reasons(void **state)
{
    struct snug_conditions c = close_at(open_at(*state), 1);
    assert_near(1, c.wall_s);
    assert_true(isnan(c.clock_hz_min) && isnan(c.clock_hz_median) && isnan(c.clock_hz_max));
    assert_true(isnan(c.temperature_c_max) && isnan(c.n_thermal_events));
    assert_true(isnan(c.n_quota_periods) && isnan(c.throttled_s) && isnan(c.other_load_frac));
    assert_true(isnan(c.pressure_cpu_frac) && isnan(c.pressure_io_frac));
    assert_true(isnan(c.load_average) && isnan(c.n_major_faults) && isnan(c.swapped_bytes));
    assert_false(c.energy.is_known);
    assert_string_equal(c.energy.source, "no powercap, battery or power sensor");
    assert_contains(c.unreadable, "clock: no cpufreq; temperature: no sensor; thermal events: no "
                                  "counter; quota: /proc/self/cgroup: no such file; pressure: ");
    assert_int_equal(strlen(c.unreadable), sizeof c.unreadable - 1); /* cut, not overrun */
}

static void meters_garbage_in_every_file_gives_nan_or_bounded(void **state)
{
    const char *folder = *state;
    static const char *const texts[] = {
        "",
        "\n\n\n",
        "nonsense",
        "cpu \nsome total=\nnr_periods x\nprocessor : a\ncpu MHz : -\n",
        "-5\n",
        "nan\n",
        "99999999999999999999999999999999999999999999\n",
        "cpu  99999999999999999999 -1 1 1\nsome avg10=0 total=-3\nprocessor : 0\ncpu MHz : 1e300\n",
    };
    static const char *const paths[] = {
        "proc/stat",
        "proc/loadavg",
        "proc/vmstat",
        "proc/cpuinfo",
        "proc/self/stat",
        "proc/self/statm",
        "proc/pressure/cpu",
        "proc/pressure/memory",
        "proc/pressure/io",
        GROUPS "user-1000.slice/cpu.stat",
        CPU_FOLDER "cpu0/cpufreq/scaling_cur_freq",
        CPU_FOLDER "cpu0/thermal_throttle/core_throttle_count",
        "sys/class/thermal/thermal_zone1/temp",
        "sys/class/powercap/intel-rapl:0/energy_uj",
        "sys/class/powercap/intel-rapl:0/name",
        "sys/class/powercap/intel-rapl:0/max_energy_range_uj",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        tree_copy(MACHINE, folder);
        struct snug_meters *meters = open_at(folder);
        for (size_t k = 0; k < COUNT(paths); k++)
            tree_put(folder, paths[k], texts[i]);
        snug__meters_look(meters, 1);
        struct snug_conditions c = close_at(meters, 2);
        assert_false(c.energy.is_known);
        assert_true(isnan(c.pressure_cpu_frac) && isnan(c.temperature_c_max));
        assert_true(!(c.other_load_frac < 0) && !(c.other_load_frac > 1));
        assert_near(2.6e9, c.clock_hz_max); /* of the three CPUs that still tell */
        assert_contains(c.unreadable, "temperature: every CPU sensor: not in the known form");
        c = close_at(open_at(folder), 1); /* and garbage from the start */
        assert_true(isnan(c.pressure_cpu_frac) && isnan(c.temperature_c_max));
        assert_false(c.energy.is_known);
    }
}

static void meters_counter_that_goes_back_is_not_known(void **state)
{
    const char *folder = *state;
    tree_copy(MACHINE, folder);
    struct snug_meters *meters = open_at(folder);
    tree_put(folder, "proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=3\n");
    tree_put(folder, "proc/vmstat", "pswpin 1\npswpout 1\n");
    put_group(folder, GROUPS "user-1000.slice/cpu.stat", 1, 1, 1);
    tree_drop(folder, GROUPS "cpu.stat");
    struct snug_conditions c = close_at(meters, 1);
    assert_true(isnan(c.pressure_cpu_frac) && isnan(c.swapped_bytes));
    assert_near(0, c.pressure_memory_frac);
}

/* ---- clocks and sensors ---- */

static void meters_no_cpufreq_reads_cpuinfo_of_allowed_cpus(void **state)
{
    const char *folder = *state;
    tree_put(folder, "proc/self/status", "Cpus_allowed_list:\t1-2\n");
    tree_put(folder, "proc/cpuinfo",
             "processor\t: 0\ncpu MHz\t\t: 5000.000\n\nprocessor\t: 1\ncpu MHz\t\t: 2000.500\n\n"
             "processor\t: 2\ncpu MHz\t\t: 3000.500\n\nprocessor\t: 3\ncpu MHz\t\t: 10.0\n");
    struct snug_meters *meters = open_at(folder);
    snug__meters_look(meters, 1);
    assert_near(2500.5e6, close_at(meters, 1).clock_hz_median);
}

/* Of more CPUs than the cap every second one is read, so that the last ones count too. */
static void meters_clocks_at_cap_are_read_and_beyond_are_thinned(void **state)
{
    const char *folder = *state;
    for (int n = SNUG__METERS_CLOCKS_MAX; n <= SNUG__METERS_CLOCKS_MAX + 1; n++) {
        char path[128];
        double sum = 0;
        int n_read = 0;
        for (int i = 0; i < n; i++) {
            snprintf(path, sizeof path, CPU_FOLDER "cpu%d/cpufreq/scaling_cur_freq", i);
            tree_put_number(folder, path, 1e6 + 1e3 * i);
            if (n <= SNUG__METERS_CLOCKS_MAX || i % 2 == 0) {
                sum += 1e9 + 1e6 * i;
                n_read++;
            }
        }
        struct snug_meters *meters = open_at(folder);
        snug__meters_look(meters, 1);
        assert_near(sum / n_read, close_at(meters, 1).clock_hz_max);
    }
}

static void meters_hwmon_is_read_where_no_zone_is_of_the_cpu(void **state)
{
    const char *folder = *state;
    tree_copy(MACHINE, folder);
    tree_put(folder, "sys/class/thermal/thermal_zone1/type", "iwlwifi_1\n");
    tree_put(folder, "sys/class/hwmon/hwmon0/temp3_input", "77000\n");
    tree_put(folder, "sys/class/hwmon/hwmon0/temp2_input", "-300000\n");
    tree_put(folder, "sys/class/hwmon/hwmon1/name", "nvme\n");
    tree_put(folder, "sys/class/hwmon/hwmon1/temp1_input", "90000\n");
    struct snug_meters *meters = open_at(folder);
    snug__meters_look(meters, 1);
    assert_near(77, close_at(meters, 1).temperature_c_max);
}

static void meters_sensors_at_cap_are_read_and_beyond_are_not(void **state)
{
    const char *folder = *state;
    tree_put(folder, "sys/class/hwmon/hwmon0/name", "k10temp\n");
    for (int n = SNUG__METERS_SENSORS_MAX; n <= SNUG__METERS_SENSORS_MAX + 1; n++) {
        char path[128];
        for (int i = 1; i <= n; i++) {
            snprintf(path, sizeof path, "sys/class/hwmon/hwmon0/temp%d_input", i);
            tree_put_number(folder, path, 40000 + 1000 * i);
        }
        struct snug_meters *meters = open_at(folder);
        snug__meters_look(meters, 1);
        assert_near(40 + SNUG__METERS_SENSORS_MAX, close_at(meters, 1).temperature_c_max);
    }
}

/* ---- the real machine ---- */

static double cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void meters_real_machine_is_watched_cheaply(void **state)
{
    struct snug_error err;
    struct snug_meters *meters = NULL;
    struct snug_condition_sample *samples = NULL;
    struct snug_conditions c;
    struct snug_meters_options options = {.root = "", .period_s = 0.02, .idle_w = NAN};
    int n = -1;
    options.model_path = test_path(state, "model");
    tree_put(*state, "model", "GGUF");
    assert_ok(snug_meters_start(&options, &meters, &err));
    snug_meters_phase(meters, SNUG_METERS_DECODE);
    for (double end_s = cpu_s() + 0.2; cpu_s() < end_s;)
        ;
    snug_meters_phase(meters, SNUG_METERS_NONE);
    snug_meters_stop(meters, &c, &samples, &n);
    assert_true(c.wall_s > 0 && n >= 1 && samples);
    assert_true(c.sampler_cpu_s > 0 && c.sampler_cpu_s < 0.1 * c.wall_s);
    print_message("# sampler: %.3f ms in %d samples\n", c.sampler_cpu_s * 1e3, n);
    for (int i = 1; i < n; i++)
        assert_true(samples[i].t_s > samples[i - 1].t_s);
    assert_true(samples[0].rss_bytes > 1e5 && c.load_average >= 0 && c.n_major_faults >= 0);
    assert_true(isnan(c.other_load_frac) ? strstr(c.unreadable, "load: ") != NULL
                                         : c.other_load_frac >= 0 && c.other_load_frac <= 1);
    assert_true(isnan(c.clock_hz_median)
                    ? strstr(c.unreadable, "clock: ") != NULL
                    : c.clock_hz_min <= c.clock_hz_median && c.clock_hz_median <= c.clock_hz_max);
    assert_true(isnan(c.temperature_c_max) == (strstr(c.unreadable, "temperature: ") != NULL));
    assert_true(c.energy.is_known ? c.energy.decode_j > 0 && c.energy.decode_s > 0
                                  : c.energy.source[0] != '\0');
    assert_near(1, c.resident_frac);
    free(samples);
}

/* ---- page cache ---- */

static void resident_frac_follows_the_page_cache(void **state)
{
    const char *path = test_path(state, "file");
    static char block[1 << 16];
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    for (int i = 0; i < 64; i++)
        assert_int_equal(write(fd, block, sizeof block), sizeof block);
    assert_int_equal(fsync(fd), 0);
    assert_near(1, snug_meters_resident_frac(path));
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    double dropped = snug_meters_resident_frac(path);
    if (dropped > 0.5) {
        print_message("# this file system keeps its pages: the fall is not tested\n");
        close(fd);
        skip();
    }
    for (int i = 0; i < 64; i++)
        assert_int_equal(pread(fd, block, sizeof block, i * (off_t)sizeof block), sizeof block);
    assert_near(1, snug_meters_resident_frac(path));
    close(fd);
}

static void resident_frac_of_what_is_no_file_is_nan_with_reason(void **state)
{
    char why[SNUG__METERS_WHY_MAX] = "";
    assert_true(isnan(snug_meters_resident_frac(NULL)));
    assert_true(isnan(snug__resident_frac(test_path(state, "none"), why)));
    assert_string_equal(why, "model file: no such file");
    assert_true(isnan(snug__resident_frac(*state, why)));
    assert_contains(why, "not a file with bytes");
    tree_put(*state, "empty", "");
    assert_true(isnan(snug__resident_frac(test_path(state, "empty"), why)));
}

/* Of a file that is neither the caller's nor writable the kernel would say "all resident". */
static void resident_frac_of_someone_elses_file_is_nan(void **state)
{
    char why[SNUG__METERS_WHY_MAX] = "";
    if (geteuid() != 0) {
        print_message("# only root can make a file that is not its own\n");
        skip();
    }
    const char *path = test_path(state, "theirs");
    tree_put(*state, "theirs", "GGUF");
    assert_int_equal(chmod(*state, 0755), 0);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(seteuid(65534), 0);
    double frac = snug__resident_frac(path, why);
    assert_int_equal(seteuid(0), 0);
    assert_true(isnan(frac));
    assert_string_equal(why, "model file: neither owned nor writable");
}

#define FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FOLDER(meters_counters_that_move_give_differences),
        FOLDER(meters_sampling_off_gives_totals_alone),
        cmocka_unit_test(meters_null_gives_empty_conditions),
        FOLDER(meters_root_that_is_none_is_not_found),
        FOLDER(meters_samples_at_cap_stay_and_beyond_are_halved),
        FOLDER(meters_rest_of_a_period_gives_no_sample),
        FOLDER(meters_own_and_upper_quota_take_the_one_that_stopped_us),
        FOLDER(meters_quota_set_on_the_way_is_seen),
        FOLDER(meters_v1_counts_nanoseconds),
        FOLDER(meters_levels_at_cap_are_watched_and_beyond_are_not),
        FOLDER(meters_empty_root_gives_nan_and_reasons),
        FOLDER(meters_garbage_in_every_file_gives_nan_or_bounded),
        FOLDER(meters_counter_that_goes_back_is_not_known),
        FOLDER(meters_no_cpufreq_reads_cpuinfo_of_allowed_cpus),
        FOLDER(meters_clocks_at_cap_are_read_and_beyond_are_thinned),
        FOLDER(meters_hwmon_is_read_where_no_zone_is_of_the_cpu),
        FOLDER(meters_sensors_at_cap_are_read_and_beyond_are_not),
        FOLDER(meters_real_machine_is_watched_cheaply),
        FOLDER(resident_frac_follows_the_page_cache),
        FOLDER(resident_frac_of_what_is_no_file_is_nan_with_reason),
        FOLDER(resident_frac_of_someone_elses_file_is_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
