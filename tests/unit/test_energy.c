/* Energy sources on trees whose counters the test moves: which source is taken, joules by phase,
 * wrap-around, and every way in which there is nothing to read. */
#include <math.h>
#include <sys/stat.h>

#include "test.h"

#include "tree.h"

#include "machine/meters_internal.h"

#define MACHINE "powercap-intel"
#define RAPL "sys/class/powercap/intel-rapl"
#define BAT "sys/class/power_supply/BAT"
#define HWMON "sys/class/hwmon/hwmon"
#define RANGE_UJ 262143328850.0

#define assert_near(want, have)                                                                    \
    do {                                                                                           \
        double near_have = (have), near_want = (want);                                             \
        if (!(fabs(near_have - near_want) <= 1e-9 * fabs(near_want) + 1e-9))                       \
            fail_msg("%s is %.9g, not %.9g", #have, near_have, near_want);                         \
    } while (0)

static void put_zone(const char *folder, const char *zone, const char *name, double uj)
{
    char path[256];
    snprintf(path, sizeof path, "%s%s/name", RAPL, zone);
    tree_put(folder, path, name);
    snprintf(path, sizeof path, "%s%s/max_energy_range_uj", RAPL, zone);
    tree_put_number(folder, path, RANGE_UJ);
    snprintf(path, sizeof path, "%s%s/energy_uj", RAPL, zone);
    tree_put_number(folder, path, uj);
}

static void put_battery(const char *folder, int i, const char *status, double power_uw)
{
    char path[256];
    snprintf(path, sizeof path, BAT "%d/type", i);
    tree_put(folder, path, "Battery\n");
    snprintf(path, sizeof path, BAT "%d/status", i);
    tree_put(folder, path, status);
    snprintf(path, sizeof path, BAT "%d/power_now", i);
    tree_put_number(folder, path, power_uw);
}

/* End now, and close. */
static struct snug_energy finish(struct snug__energy *energy)
{
    struct snug_energy out;
    snug__energy_finish(energy, NAN, &out);
    snug__energy_close(energy);
    return out;
}

static struct snug_energy open_and_finish(const char *folder)
{
    struct snug__energy energy;
    snug__energy_open(&energy, folder, 0);
    return finish(&energy);
}

/* ---- powercap ---- */

static void energy_phases_split_at_their_boundaries(void **state)
{
    const char *folder = *state;
    struct snug__energy energy;
    tree_copy(MACHINE, folder);
    put_zone(folder, ":0", "package-0\n", 1e9);
    snug__energy_open(&energy, folder, 10);
    put_zone(folder, ":0", "package-0\n", 1e9 + 5e6); /* 5 J before anything is timed */
    snug__energy_phase(&energy, 11, SNUG_METERS_PREFILL);
    put_zone(folder, ":0", "package-0\n", 1e9 + 25e6);
    snug__energy_look(&energy, 11.5);
    put_zone(folder, ":0", "package-0\n", 1e9 + 65e6);
    snug__energy_phase(&energy, 13, SNUG_METERS_DECODE);
    put_zone(folder, ":0", "package-0\n", 1e9 + 95e6);
    snug__energy_phase(&energy, 16, SNUG_METERS_NONE);
    put_zone(folder, ":0", "package-0\n", 1e9 + 200e6);
    snug__energy_phase(&energy, 20, SNUG_METERS_DECODE);
    put_zone(folder, ":0", "package-0\n", 1e9 + 210e6);
    snug__energy_look(&energy, 21);
    struct snug_energy e = finish(&energy);
    assert_true(e.is_known);
    assert_string_equal(e.source, "powercap package-0");
    assert_near(60, e.prefill_j);
    assert_near(2, e.prefill_s);
    assert_near(40, e.decode_j);
    assert_near(4, e.decode_s);
    /* 1 ms at both ends: prefill 1 stretch of 30 W, decode 2 of 10 W */
    assert_near(2 * 0.030, e.uncertainty_j);
    assert_true(isnan(e.idle_w));
}

/* The recorded counter stands 3.3 J below its range. */
static void energy_counter_that_wraps_goes_on(void **state)
{
    const char *folder = *state;
    struct snug__energy energy;
    tree_copy(MACHINE, folder);
    snug__energy_open(&energy, folder, 0);
    snug__energy_phase(&energy, 0, SNUG_METERS_DECODE);
    tree_put_number(folder, RAPL ":0/energy_uj", 10e6);
    snug__energy_look(&energy, 1);
    tree_put_number(folder, RAPL ":0/energy_uj", 30e6);
    snug__energy_look(&energy, 2);
    tree_put_number(folder, RAPL ":0/energy_uj", 5e6); /* and once more, 45 minutes later */
    snug__energy_look(&energy, 2700);
    struct snug_energy e = finish(&energy);
    assert_true(e.is_known);
    assert_near((RANGE_UJ - 262140e6 + 10e6 + 20e6 + RANGE_UJ - 25e6) * 1e-6, e.decode_j);
}

static void energy_counter_without_a_range_that_goes_back_is_lost(void **state)
{
    const char *folder = *state;
    struct snug__energy energy;
    tree_copy(MACHINE, folder);
    tree_drop(folder, RAPL ":0/max_energy_range_uj");
    snug__energy_open(&energy, folder, 0);
    snug__energy_phase(&energy, 0, SNUG_METERS_DECODE);
    tree_put_number(folder, RAPL ":0/energy_uj", 10e6);
    snug__energy_look(&energy, 1);
    tree_put_number(folder, RAPL ":0/energy_uj", 20e6); /* fine again: the hole stays */
    snug__energy_look(&energy, 2);
    struct snug_energy e = finish(&energy);
    assert_false(e.is_known);
    assert_near(0, e.decode_j);
    assert_string_equal(e.source, "package-0: counter went back further than its range");
}

static void energy_packages_add_up_and_parts_of_them_do_not(void **state)
{
    const char *folder = *state;
    struct snug__energy energy;
    tree_copy(MACHINE, folder);
    put_zone(folder, ":0", "package-0\n", 1e9);
    put_zone(folder, ":2", "package-1\n", RANGE_UJ - 1e6);
    put_zone(folder, "-mmio:1", "package-1\n", 5);
    put_zone(folder, ":3", "platform\n", 5);
    snug__energy_open(&energy, folder, 0);
    snug__energy_phase(&energy, 0, SNUG_METERS_PREFILL);
    put_zone(folder, ":0", "package-0\n", 1e9 + 3e6);
    put_zone(folder, ":2", "package-1\n", 4e6); /* wraps alone */
    static const char *const others[] = {":0:0", ":0:1", ":0:2", ":1", ":3", "-mmio:0", "-mmio:1"};
    for (size_t i = 0; i < COUNT(others); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s/energy_uj", RAPL, others[i]);
        tree_put_number(folder, path, 200e9);
    }
    snug__energy_look(&energy, 1);
    struct snug_energy e = finish(&energy);
    assert_true(e.is_known);
    assert_string_equal(e.source, "powercap package-0 + package-1");
    assert_near(3 + 5, e.prefill_j);
}

/* As on boards with another control type than intel-rapl; psys would hold it twice. */
static void energy_top_level_zone_of_another_name_is_taken(void **state)
{
    const char *folder = *state;
    struct snug__energy energy;
    tree_put(folder, "sys/class/powercap/dtpm:0/name", "soc\n");
    tree_put(folder, "sys/class/powercap/dtpm:0/energy_uj", "1000000\n");
    put_zone(folder, ":0", "psys\n", 1);
    snug__energy_open(&energy, folder, 0);
    snug__energy_phase(&energy, 0, SNUG_METERS_DECODE);
    tree_put(folder, "sys/class/powercap/dtpm:0/energy_uj", "3000000\n");
    snug__energy_look(&energy, 1);
    struct snug_energy e = finish(&energy);
    assert_string_equal(e.source, "powercap soc");
    assert_near(2, e.decode_j);
}

static void energy_packages_at_cap_are_summed_and_beyond_are_refused(void **state)
{
    const char *folder = *state;
    for (int n = SNUG__ENERGY_PARTS_MAX; n <= SNUG__ENERGY_PARTS_MAX + 1; n++) {
        struct snug__energy energy;
        char zone[16], name[32];
        for (int i = 0; i < n; i++) {
            snprintf(zone, sizeof zone, ":%d", i);
            snprintf(name, sizeof name, "package-%d\n", i);
            put_zone(folder, zone, name, 1e6);
        }
        snug__energy_open(&energy, folder, 0);
        snug__energy_phase(&energy, 0, SNUG_METERS_DECODE);
        for (int i = 0; i < n; i++) {
            snprintf(zone, sizeof zone, ":%d", i);
            snprintf(name, sizeof name, "package-%d\n", i);
            put_zone(folder, zone, name, 3e6);
        }
        snug__energy_look(&energy, 1);
        struct snug_energy e = finish(&energy);
        assert_int_equal(e.is_known, n == SNUG__ENERGY_PARTS_MAX);
        if (e.is_known)
            assert_near(2.0 * n, e.decode_j);
        else
            assert_string_equal(e.source, "powercap: more than 16 parts");
    }
}

/* Root reads everything, so the test steps down for the moment of opening. */
static void energy_counter_without_permission_says_so(void **state)
{
    const char *folder = *state;
    struct snug__energy energy;
    char path[1024];
    bool is_root = geteuid() == 0;
    tree_copy(MACHINE, folder);
    put_zone(folder, ":2", "package-1\n", 1e6);
    snprintf(path, sizeof path, "%s/" RAPL ":0/energy_uj", folder);
    assert_int_equal(chmod(path, is_root ? 0400 : 0), 0);
    assert_int_equal(chmod(folder, 0755), 0);
    if (is_root)
        assert_int_equal(seteuid(65534), 0);
    snug__energy_open(&energy, folder, 0);
    if (is_root)
        assert_int_equal(seteuid(0), 0);
    struct snug_energy e = finish(&energy);
    assert_false(e.is_known); /* package-1 alone must not pass for the machine */
    assert_string_equal(e.source, "/sys/class/powercap/intel-rapl:0/energy_uj: permission denied");
}

static void energy_counter_that_vanishes_is_lost(void **state)
{
    const char *folder = *state;
    struct snug__energy energy;
    tree_copy(MACHINE, folder);
    snug__energy_open(&energy, folder, 0);
    snug__energy_phase(&energy, 0, SNUG_METERS_DECODE);
    tree_put(folder, RAPL ":0/energy_uj", "");
    snug__energy_look(&energy, 1);
    struct snug_energy e = finish(&energy);
    assert_false(e.is_known);
    assert_contains(e.source, "package-0: counter not readable");
}

static void energy_counter_beyond_reason_is_lost(void **state)
{
    const char *folder = *state;
    struct snug__energy energy;
    tree_copy(MACHINE, folder);
    put_zone(folder, ":0", "package-0\n", 0);
    snug__energy_open(&energy, folder, 0);
    tree_put(folder, RAPL ":0/energy_uj", "200000000000\n"); /* 200 kJ in a second */
    snug__energy_look(&energy, 1);
    assert_contains(finish(&energy).source, "more joules than a machine draws");
}

/* Some virtual machines show a counter that stays at 0. */
static void energy_counter_that_stands_still_is_not_known(void **state)
{
    const char *folder = *state;
    struct snug__energy energy;
    tree_copy(MACHINE, folder);
    snug__energy_open(&energy, folder, 0);
    snug__energy_look(&energy, 5);
    struct snug_energy e = finish(&energy);
    assert_false(e.is_known);
    assert_string_equal(e.source, "powercap package-0: stands still");
}

/* ---- battery ---- */

static void energy_battery_is_integrated_by_trapezoids(void **state)
{
    const char *folder = *state;
    struct snug__energy energy;
    put_battery(folder, 0, "Discharging\n", 10e6);
    put_battery(folder, 1, "Unknown\n", 99e6); /* rests while the first gives */
    tree_put(folder, "sys/class/power_supply/hidpp_battery_0/type", "Battery\n");
    tree_put(folder, "sys/class/power_supply/hidpp_battery_0/scope", "Device\n");
    tree_put(folder, "sys/class/power_supply/hidpp_battery_0/status", "Discharging\n");
    snug__energy_open(&energy, folder, 0);
    snug__energy_phase(&energy, 0, SNUG_METERS_DECODE);
    put_battery(folder, 0, "Discharging\n", 20e6);
    snug__energy_look(&energy, 2);
    snug__energy_look(&energy, 5);
    put_battery(folder, 0, "Discharging\n", 12e6);
    snug__energy_look(&energy, 6);
    struct snug_energy e = finish(&energy);
    assert_true(e.is_known);
    assert_string_equal(e.source, "battery BAT0");
    assert_near(15 * 2 + 20 * 3 + 16, e.decode_j);
    assert_near(6, e.decode_s);
    /* between 10 and 20 W, and the reading stood still for 4 s (2 to 6), at both ends */
    assert_near(2 * 10 * 4, e.uncertainty_j);
}

static void energy_battery_with_current_and_voltage_multiplies_them(void **state)
{
    const char *folder = *state;
    struct snug__energy energy;
    put_battery(folder, 0, "Discharging\n", 0);
    tree_drop(folder, BAT "0/power_now");
    tree_put(folder, BAT "0/current_now", "-1500000\n"); /* out of it, some drivers say */
    tree_put(folder, BAT "0/voltage_now", "12000000\n");
    snug__energy_open(&energy, folder, 0);
    snug__energy_phase(&energy, 0, SNUG_METERS_PREFILL);
    snug__energy_look(&energy, 2);
    struct snug_energy e = finish(&energy);
    assert_true(e.is_known);
    assert_near(36, e.prefill_j);
    assert_near(0, e.uncertainty_j);
    tree_drop(folder, BAT "0/voltage_now");
    e = open_and_finish(folder);
    assert_false(e.is_known);
    assert_string_equal(e.source, "/sys/class/power_supply/BAT0/voltage_now: no such file");
}

static void energy_battery_that_charges_is_not_taken_or_lost(void **state)
{
    const char *folder = *state;
    struct snug__energy energy;
    put_battery(folder, 0, "Charging\n", 30e6);
    struct snug_energy e = open_and_finish(folder);
    assert_false(e.is_known);
    assert_string_equal(e.source, "battery BAT0: Charging, not Discharging");
    put_battery(folder, 0, "Discharging\n", 30e6);
    snug__energy_open(&energy, folder, 0);
    snug__energy_look(&energy, 1);
    put_battery(folder, 0, "Charging\n", 30e6); /* plugged in on the way */
    snug__energy_look(&energy, 2);
    e = finish(&energy);
    assert_false(e.is_known);
    assert_string_equal(e.source, "BAT0: no longer discharging");
}

/* ---- hwmon ---- */

static void energy_hwmon_takes_chips_that_measure_the_machine(void **state)
{
    const char *folder = *state;
    struct snug__energy energy;
    tree_put(folder, HWMON "0/name", "amdgpu\n");
    tree_put(folder, HWMON "0/power1_average", "200000000\n");
    assert_string_equal(open_and_finish(folder).source, "no powercap, battery or power sensor");
    tree_put(folder, HWMON "1/name", "ina226\n");
    tree_put(folder, HWMON "1/power1_input", "4000000\n");
    tree_put(folder, HWMON "2/name", "ina226\n");
    tree_put(folder, HWMON "2/power1_input", "1000000\n");
    snug__energy_open(&energy, folder, 0);
    snug__energy_phase(&energy, 0, SNUG_METERS_DECODE);
    snug__energy_look(&energy, 2);
    struct snug_energy e = finish(&energy);
    assert_string_equal(e.source, "hwmon ina226 + ina226");
    assert_near(10, e.decode_j);
    tree_put(folder, HWMON "3/name", "power_meter\n"); /* of the whole machine: the better one */
    tree_put(folder, HWMON "3/power1_average", "90000000\n");
    snug__energy_open(&energy, folder, 0);
    snug__energy_phase(&energy, 0, SNUG_METERS_DECODE);
    snug__energy_look(&energy, 1);
    e = finish(&energy);
    assert_string_equal(e.source, "hwmon power_meter");
    assert_near(90, e.decode_j);
}

/* ---- with the meters around it ---- */

static void meters_power_and_phases_reach_the_conditions(void **state)
{
    const char *folder = *state;
    struct snug_error err;
    struct snug_meters *meters = NULL;
    struct snug_meters_options options = {.root = folder, .period_s = 1, .idle_w = 4};
    struct snug_condition_sample *samples = NULL;
    struct snug_conditions c;
    int n = 0;
    tree_copy(MACHINE, folder);
    put_zone(folder, ":0", "package-0\n", 0);
    assert_ok(snug__meters_open(&options, &meters, &err));
    snug__meters_phase_at(meters, 0, SNUG_METERS_PREFILL);
    put_zone(folder, ":0", "package-0\n", 12e6);
    snug__meters_phase_at(meters, 0.5, SNUG_METERS_DECODE);
    put_zone(folder, ":0", "package-0\n", 20e6);
    snug__meters_look(meters, 1);
    put_zone(folder, ":0", "package-0\n", 27e6);
    tree_put(folder, "proc/stat", "cpu  102340 520 30110 4880800 2100 0 900 0 0 0\n");
    snug__meters_close(meters, 2, &c, &samples, &n);
    assert_int_equal(n, 2);
    assert_near(20, samples[0].power_w); /* both sides of the boundary */
    assert_near(7, samples[1].power_w);
    assert_true(c.energy.is_known);
    assert_near(12, c.energy.prefill_j);
    assert_near(15, c.energy.decode_j);
    assert_near(1.5, c.energy.decode_s);
    assert_near(4, c.energy.idle_w);
    assert_string_equal(c.unreadable, "");
    free(samples);
}

static void meters_idle_is_the_mean_power(void **state)
{
    const char *folder = *state;
    assert_true(isnan(snug_meters_idle(folder, 0.01)));
    put_battery(folder, 0, "Discharging\n", 10e6);
    assert_near(10, snug_meters_idle(folder, 0.01));
    assert_true(isnan(snug_meters_idle(folder, 0)));
    tree_copy(MACHINE, folder); /* its counter comes first, and stands still */
    assert_true(isnan(snug_meters_idle(folder, 0.01)));
}

static void meters_say_whether_there_is_energy(void **state)
{
    const char *folder = *state;
    char text[96];
    assert_false(snug_meters_has_energy(folder, text, sizeof text));
    assert_string_equal(text, "no powercap, battery or power sensor");
    tree_copy(MACHINE, folder);
    assert_true(snug_meters_has_energy(folder, text, sizeof text));
    assert_contains(text, "powercap");
    assert_true(snug_meters_has_energy(folder, NULL, 0));
}

#define FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FOLDER(energy_phases_split_at_their_boundaries),
        FOLDER(energy_counter_that_wraps_goes_on),
        FOLDER(energy_counter_without_a_range_that_goes_back_is_lost),
        FOLDER(energy_packages_add_up_and_parts_of_them_do_not),
        FOLDER(energy_top_level_zone_of_another_name_is_taken),
        FOLDER(energy_packages_at_cap_are_summed_and_beyond_are_refused),
        FOLDER(energy_counter_without_permission_says_so),
        FOLDER(energy_counter_that_vanishes_is_lost),
        FOLDER(energy_counter_beyond_reason_is_lost),
        FOLDER(energy_counter_that_stands_still_is_not_known),
        FOLDER(energy_battery_is_integrated_by_trapezoids),
        FOLDER(energy_battery_with_current_and_voltage_multiplies_them),
        FOLDER(energy_battery_that_charges_is_not_taken_or_lost),
        FOLDER(energy_hwmon_takes_chips_that_measure_the_machine),
        FOLDER(meters_power_and_phases_reach_the_conditions),
        FOLDER(meters_idle_is_the_mean_power),
        FOLDER(meters_say_whether_there_is_energy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
