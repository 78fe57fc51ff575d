/* The probe on recorded machines (tests/machines/NAME, expected.json beside), on damaged ones, and
 * on the machine at hand. expected.json was checked by hand against the recorded files. */
#include <fcntl.h>
#include <sys/stat.h>

#include "test.h"

#include "base/file.h"
#include "machine/machine_json.h"
#include "machine/probe.h"

#define CPU_FOLDER "sys/devices/system/cpu/"

/* ---- helpers ---- */

static const char *recorded(const char *name)
{
    static char path[1024];
    const char *root = getenv("SNUG_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/tests/machines/%s", root ? root : ".", name);
    return path;
}

/* Write FOLDER/path, making folders on the way. */
static void put_bytes(const char *folder, const char *path, const void *data, size_t n)
{
    struct snug_error err;
    char full[2048], parent[2048];
    snprintf(full, sizeof full, "%s/%s", folder, path);
    snprintf(parent, sizeof parent, "%s", full);
    *strrchr(parent, '/') = '\0';
    assert_ok(snug_file_make_folder(parent, &err));
    assert_ok(snug_file_write(full, data, n, &err));
}

static void put(const char *folder, const char *path, const char *text)
{
    put_bytes(folder, path, text, strlen(text));
}

#define FILES_MAX 512
static char file_names[FILES_MAX][512];
static size_t n_files, n_root;

static int note_file(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)place;
    if (kind == FTW_F && n_files < FILES_MAX && !strstr(path, "expected.json"))
        snprintf(file_names[n_files++], sizeof file_names[0], "%s", path + n_root + 1);
    return 0;
}

/* Copy a recorded machine into folder and list its files in file_names. */
static void copy_machine(const char *name, const char *folder)
{
    struct snug_error err;
    const char *root = recorded(name);
    n_files = 0;
    n_root = strlen(root);
    assert_int_equal(nftw(root, note_file, 16, FTW_PHYS), 0);
    assert_true(n_files >= 8 && n_files < FILES_MAX);
    for (size_t i = 0; i < n_files; i++) {
        char path[2048], *text = NULL;
        size_t n = 0;
        snprintf(path, sizeof path, "%s/%s", root, file_names[i]);
        assert_ok(snug_file_read(path, SNUG__PROBE_FILE_MAX, &text, &n, &err));
        put_bytes(folder, file_names[i], text, n);
        free(text);
    }
}

static void probe(const char *root, struct snug_machine *out)
{
    struct snug_error err;
    assert_ok(snug_machine_probe(root, out, &err));
    assert_true(out->n_threads_usable >= 1 && out->n_threads_usable <= SNUG__PROBE_CPUS_MAX);
    assert_true(out->n_cores_usable >= 1 && out->n_cores_usable <= out->n_threads_usable);
    assert_int_equal(strlen(out->fingerprint), 64);
}

/* Deep comparison, naming the path of the first difference. */
static void compare_json(const char *path, const struct snug_json_node *want,
                         const struct snug_json_node *have)
{
    char below[512];
    size_t n = snug_json_count(want);
    if (snug_json_count(have) != n || snug_json_is_number(want) != snug_json_is_number(have) ||
        snug_json_is_string(want) != snug_json_is_string(have) ||
        snug_json_is_object(want) != snug_json_is_object(have))
        fail_msg("%s: other kind or count than expected", path);
    for (size_t i = 0; i < n && snug_json_is_object(want); i++) {
        const char *key = NULL;
        const struct snug_json_node *value = NULL;
        assert_true(snug_json_member(want, i, &key, &value));
        snprintf(below, sizeof below, "%s.%s", path, key);
        compare_json(below, value, snug_json_get(have, key));
    }
    for (size_t i = 0; i < n && snug_json_is_array(want); i++) {
        snprintf(below, sizeof below, "%s[%zu]", path, i);
        compare_json(below, snug_json_at(want, i), snug_json_at(have, i));
    }
    double a = snug_json_number(want, 0), b = snug_json_number(have, 0);
    if (a - b > 1e-12 * a || b - a > 1e-12 * a)
        fail_msg("%s: %.17g, expected %.17g", path, b, a);
    if (strcmp(snug_json_string(want, ""), snug_json_string(have, "")) != 0)
        fail_msg("%s: '%s', expected '%s'", path, snug_json_string(have, ""),
                 snug_json_string(want, ""));
}

static struct snug_json *parse(const char *name, const char *text)
{
    struct snug_error err;
    struct snug_json *doc = NULL;
    assert_ok(snug_json_parse(name, text, strlen(text), &doc, &err));
    return doc;
}

/* ---- recorded machines ---- */

static void probe_recorded_machine_equals_expected(void **state)
{
    const char *name = *state;
    struct snug_machine machine;
    struct snug_error err;
    struct snug_json_writer w = {0};
    char *want_text = NULL, *have_text = NULL;
    size_t n = 0;
    probe(recorded(name), &machine);
    snug_machine_to_json(&w, NULL, &machine);
    have_text = snug_json_finish(&w, false);
    assert_non_null(have_text);
    assert_ok(
        snug_file_read_below(recorded(name), "/expected.json", 1u << 20, &want_text, &n, &err));
    struct snug_json *want = parse("expected.json", want_text), *have = parse("probe", have_text);
    compare_json(name, snug_json_root(want), snug_json_root(have));
    snug_json_free(want);
    snug_json_free(have);
    free(want_text);
    free(have_text);
}

static void probe_quota_of_one_and_a_half_lets_two_threads_run(void **state)
{
    (void)state;
    struct snug_machine machine;
    probe(recorded("container-v2"), &machine);
    assert_true(machine.quota_cpus.is_known && machine.quota_cpus.value == 1.5);
    assert_int_equal(machine.n_threads_usable, 2);
    assert_int_equal(machine.n_threads, 4);
}

static void probe_hybrid_laptop_tells_kinds_and_siblings(void **state)
{
    (void)state;
    struct snug_machine machine;
    probe(recorded("laptop-hybrid"), &machine);
    assert_int_equal(machine.n_kinds, 2);
    assert_string_equal(machine.kinds[0].name, "performance");
    assert_int_equal(machine.kinds[0].n_threads, 4);
    assert_int_equal(machine.kinds[1].n_cores, 4);
    assert_int_equal(machine.n_cores_usable, 6);
    assert_int_equal(machine.n_threads_usable, 8);
}

/* A quota far up the tree counts, and the throttled time is that of its level. */
static void probe_nested_groups_take_the_tightest_level(void **state)
{
    (void)state;
    struct snug_machine machine;
    probe(recorded("container-v2-nested"), &machine);
    assert_true(machine.quota_cpus.value == 2.5);
    assert_contains(machine.quota_cpus.source, "pod7/cpu.max");
    assert_true(machine.throttled_s.value == 2.0);
    assert_true(machine.memory_limit_bytes.value == 0x1p32);
}

static void load_recorded_machine_counts_ticks(void **state)
{
    (void)state;
    struct snug_machine_load load;
    long hz = sysconf(_SC_CLK_TCK);
    snug_machine_load_read(recorded("container-v2"), &load);
    assert_true(load.total_s == 3100000.0 / (double)hz);
    assert_true(load.busy_s == 1090000.0 / (double)hz); /* less idle and iowait */
    assert_true(load.throttled_s == 12.5 && load.load_average == 1.92 && load.wall_s > 0);
}

/* ---- fingerprint and surroundings ---- */

static void fingerprint_lasts_unless_a_limit_changes(void **state)
{
    struct snug_machine first, second;
    copy_machine("container-v2", *state);
    probe(*state, &first);
    put(*state, "proc/loadavg", "9.00 1.40 0.90 3/412 77\n");
    put(*state, "proc/sys/kernel/osrelease", "6.1.0-99-cloud-amd64\n");
    put(*state, "sys/fs/cgroup/memory.current", "1000000000\n");
    probe(*state, &second);
    assert_string_equal(first.fingerprint, second.fingerprint);
    assert_true(first.available_bytes.value != second.available_bytes.value);
    put(*state, "sys/fs/cgroup/cpu.max", "160000 100000\n");
    probe(*state, &second);
    assert_string_not_equal(first.fingerprint, second.fingerprint);
}

static void probe_replay_leaves_the_environment_as_it_was(void **state)
{
    (void)state;
    struct snug_machine machine;
    setenv("HWLOC_COMPONENTS", "mine", 1);
    unsetenv("HWLOC_FSROOT");
    probe(recorded("laptop-hybrid"), &machine);
    assert_string_equal(getenv("HWLOC_COMPONENTS"), "mine");
    assert_null(getenv("HWLOC_FSROOT"));
    unsetenv("HWLOC_COMPONENTS");
}

static void probe_real_machine_is_consistent(void **state)
{
    (void)state;
    struct snug_machine machine, again;
    probe("", &machine);
    probe("/", &again);
    assert_string_equal(machine.fingerprint, again.fingerprint);
    assert_true(machine.n_threads >= machine.n_cores && machine.n_cores >= 1);
    assert_true(machine.n_threads_usable <= machine.n_threads);
    assert_true(machine.available_bytes.is_known);
    assert_true(machine.available_bytes.value <= (double)machine.ram_bytes);
}

/* ---- damaged and odd sources ---- */

static void probe_missing_root_is_not_found(void **state)
{
    struct snug_machine machine;
    struct snug_error err;
    assert_fails(SNUG_NOT_FOUND, snug_machine_probe(test_path(state, "none"), &machine, &err));
    assert_contains(err.text, "none");
}

static void probe_empty_root_knows_nothing_and_says_why(void **state)
{
    struct snug_machine machine;
    probe(*state, &machine);
    const struct snug_fact *facts[] = {
        &machine.quota_cpus,           &machine.memory_limit_bytes, &machine.available_bytes,
        &machine.swap_total_bytes,     &machine.swap_free_bytes,    &machine.load_average_1m,
        &machine.pressure_cpu_frac,    &machine.pressure_io_frac,   &machine.clock_hz,
        &machine.pressure_memory_frac, &machine.clock_max_hz,       &machine.throttled_s,
    };
    for (size_t i = 0; i < COUNT(facts); i++) {
        assert_false(facts[i]->is_known);
        assert_contains(facts[i]->source, "no such file");
    }
    assert_int_equal(machine.n_threads_usable, 1);
    assert_int_equal(machine.n_threads, 0); /* and not those of the machine that runs the test */
    assert_string_equal(machine.arch, "");
}

enum damage { DAMAGE_EMPTY, DAMAGE_RANDOM, DAMAGE_NUMBERS, DAMAGE_LONG, N_DAMAGES };

static void damage_file(const char *folder, const char *path, enum damage damage,
                        struct snug_rng *rng)
{
    char data[4096];
    size_t n = 1 + snug_rng_below(rng, sizeof data - 1);
    if (damage == DAMAGE_EMPTY)
        n = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t byte = snug_rng_below(rng, 256);
        data[i] = (char)(damage == DAMAGE_RANDOM ? (int)byte : "0123456789abcdef,- \n"[byte % 20]);
    }
    if (damage != DAMAGE_LONG) {
        put_bytes(folder, path, data, n);
        return;
    }
    char *big = malloc(SNUG__PROBE_FILE_MAX + 1); /* no line end in sight */
    assert_non_null(big);
    memset(big, '7', SNUG__PROBE_FILE_MAX + 1);
    put_bytes(folder, path, big, SNUG__PROBE_FILE_MAX + 1);
    free(big);
}

/* Each file in turn: probing goes on, and a file restored brings its facts back. */
static void probe_any_one_damaged_file_never_fails(void **state)
{
    struct snug_machine whole, machine;
    struct snug_rng rng;
    snug_rng_init(&rng, 20240611);
    copy_machine("container-v2", *state);
    probe(*state, &whole);
    for (size_t i = 0; i < n_files; i++) {
        char from[2048], *text = NULL;
        size_t n = 0;
        struct snug_error err;
        snprintf(from, sizeof from, "%s/%s", (const char *)*state, file_names[i]);
        assert_ok(snug_file_read(from, SNUG__PROBE_FILE_MAX, &text, &n, &err));
        for (int damage = 0; damage < N_DAMAGES; damage++) {
            damage_file(*state, file_names[i], (enum damage)damage, &rng);
            probe(*state, &machine);
            struct snug_machine_load load;
            snug_machine_load_read(*state, &load);
        }
        put_bytes(*state, file_names[i], text, n);
        free(text);
    }
    probe(*state, &machine);
    assert_string_equal(machine.fingerprint, whole.fingerprint);
}

static void probe_all_files_damaged_never_fails(void **state)
{
    static const char *const names[] = {"laptop-hybrid", "container-v1", "board-no-cpufreq"};
    struct snug_rng rng;
    snug_rng_init(&rng, 7);
    for (size_t m = 0; m < COUNT(names); m++)
        for (int damage = 0; damage < DAMAGE_LONG; damage++) {
            struct snug_machine machine;
            copy_machine(names[m], *state);
            for (size_t i = 0; i < n_files; i++)
                damage_file(*state, file_names[i], (enum damage)damage, &rng);
            probe(*state, &machine);
        }
}

static void probe_file_of_the_cap_is_read_and_one_more_is_not(void **state)
{
    struct snug_machine machine;
    static const char start[] = "MemTotal: 1024 kB\nMemAvailable: 512 kB\n";
    char *text = malloc(SNUG__PROBE_FILE_MAX + 1);
    assert_non_null(text);
    memset(text, '\n', SNUG__PROBE_FILE_MAX + 1);
    memcpy(text, start, sizeof start - 1);
    put_bytes(*state, "proc/meminfo", text, SNUG__PROBE_FILE_MAX);
    probe(*state, &machine);
    assert_int_equal(machine.ram_bytes, 1 << 20);
    put_bytes(*state, "proc/meminfo", text, SNUG__PROBE_FILE_MAX + 1);
    probe(*state, &machine);
    assert_false(machine.available_bytes.is_known);
    assert_contains(machine.available_bytes.source, "longer than");
    free(text);
}

static void cpu_list_reads_ranges_within_the_cap_only(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int weight; /* -1: refused */
    } rows[] = {
        {"0-3,8\n", 5}, {" 5 ", 1}, {"0-8191", 8192}, {"0-8192", -1}, {"8191", 1},
        {"8192", -1},   {"", -1},   {"3-1", -1},      {"1,", -1},     {"1 2", -1},
        {"a", -1},      {"1-", -1}, {"-1", -1},       {"0x3", -1},    {"99999999999999999999", -1},
    };
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    for (size_t i = 0; i < COUNT(rows); i++) {
        hwloc_bitmap_only(set, 77);
        bool is_read = snug__cpu_list_parse(rows[i].text, set);
        if (is_read != (rows[i].weight >= 0) ||
            hwloc_bitmap_weight(set) != (is_read ? rows[i].weight : 1))
            fail_msg("'%s' gave %d CPUs", rows[i].text, hwloc_bitmap_weight(set));
    }
    hwloc_bitmap_free(set);
}

/* n CPUs whose L1 caches all differ in size. */
static void put_odd_cpus(const char *folder, int n)
{
    char path[256], text[64];
    snprintf(text, sizeof text, "0-%d\n", n - 1);
    put(folder, CPU_FOLDER "online", text);
    for (int cpu = 0; cpu < n; cpu++) {
        const struct {
            const char *name;
            int base, value;
        } files[] = {
            {"topology/core_id", 10, cpu},        {"topology/physical_package_id", 10, 0},
            {"topology/core_cpus", 16, 1 << cpu}, {"topology/package_cpus", 16, (1 << n) - 1},
            {"cache/index0/level", 10, 1},        {"cache/index0/shared_cpu_map", 16, 1 << cpu},
        };
        for (size_t i = 0; i < COUNT(files); i++) {
            snprintf(path, sizeof path, CPU_FOLDER "cpu%d/%s", cpu, files[i].name);
            if (files[i].base == 16)
                snprintf(text, sizeof text, "%x\n", (unsigned)files[i].value);
            else
                snprintf(text, sizeof text, "%d\n", files[i].value);
            put(folder, path, text);
        }
        snprintf(path, sizeof path, CPU_FOLDER "cpu%d/cache/index0/type", cpu);
        put(folder, path, "Data\n");
        snprintf(path, sizeof path, CPU_FOLDER "cpu%d/cache/index0/size", cpu);
        snprintf(text, sizeof text, "%dK\n", 16 + cpu);
        put(folder, path, text);
    }
}

static void probe_more_cache_sizes_than_the_cap_keeps_the_first(void **state)
{
    struct snug_machine machine;
    for (int extra = 0; extra <= 1; extra++) {
        put_odd_cpus(*state, SNUG_CACHES_MAX + extra);
        probe(*state, &machine);
        assert_int_equal(machine.n_threads, SNUG_CACHES_MAX + extra);
        assert_int_equal(machine.n_caches, SNUG_CACHES_MAX);
        assert_int_equal(machine.caches[SNUG_CACHES_MAX - 1].size_bytes,
                         (16 + SNUG_CACHES_MAX - 1) * 1024);
    }
}

static void fact_long_source_keeps_its_end(void **state)
{
    (void)state;
    struct snug_fact fact = {0};
    char path[400];
    memset(path, 'a', sizeof path);
    memcpy(path + sizeof path - 9, "/cpu.max", 9);
    snug__fact_set(&fact, 2, path);
    assert_int_equal(strlen(fact.source), SNUG_SOURCE_MAX - 1);
    assert_contains(fact.source, "/cpu.max");
    assert_contains(fact.source, "...a");
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)
#define RECORDED(name)                                                                             \
    {                                                                                              \
        "probe_" name "_equals_expected", probe_recorded_machine_equals_expected, NULL, NULL,      \
            (void *)(uintptr_t)name                                                                \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        RECORDED("laptop-hybrid"),
        RECORDED("container-v2"),
        RECORDED("container-v2-nested"),
        RECORDED("container-v1"),
        RECORDED("board-no-cpufreq"),
        cmocka_unit_test(probe_quota_of_one_and_a_half_lets_two_threads_run),
        cmocka_unit_test(probe_hybrid_laptop_tells_kinds_and_siblings),
        cmocka_unit_test(probe_nested_groups_take_the_tightest_level),
        cmocka_unit_test(load_recorded_machine_counts_ticks),
        IN_FOLDER(fingerprint_lasts_unless_a_limit_changes),
        cmocka_unit_test(probe_replay_leaves_the_environment_as_it_was),
        cmocka_unit_test(probe_real_machine_is_consistent),
        IN_FOLDER(probe_missing_root_is_not_found),
        IN_FOLDER(probe_empty_root_knows_nothing_and_says_why),
        IN_FOLDER(probe_any_one_damaged_file_never_fails),
        IN_FOLDER(probe_all_files_damaged_never_fails),
        IN_FOLDER(probe_file_of_the_cap_is_read_and_one_more_is_not),
        cmocka_unit_test(cpu_list_reads_ranges_within_the_cap_only),
        IN_FOLDER(probe_more_cache_sizes_than_the_cap_keeps_the_first),
        cmocka_unit_test(fact_long_source_keeps_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
