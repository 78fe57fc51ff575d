/* Which energy source a machine has: powercap's package counters, else a battery that discharges,
 * else a sensor of power in hwmon. Finds and opens it, or says why there is none.
 *
 * Only whole packages are added up: a subzone (core, uncore, dram) is part of one or beside it on
 * some chips only, psys holds the packages and more, and intel-rapl-mmio is the same package seen
 * through another register.
 * Source: Linux, Documentation/power/powercap/powercap.rst, ABI/testing/sysfs-class-power,
 * hwmon/sysfs-interface.rst. */
#include "machine/meters_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine/probe.h"

#define POWERCAP "/sys/class/powercap"
#define SUPPLY "/sys/class/power_supply"
#define HWMON "/sys/class/hwmon"

struct search {
    struct snug__energy *energy;
    const char *root;
    bool is_mmio;                   /* this pass takes the zones of intel-rapl-mmio */
    const char *chip;               /* of hwmon, this pass */
    char why[SNUG__METERS_WHY_MAX]; /* the best reason so far that nothing was found */
    bool is_broken;                 /* a part of this source is there and cannot be read */
    bool is_full;                   /* more parts than the cap */
};

static void keep_reason(struct search *search, const char *why)
{
    if (!search->why[0])
        snug__format(search->why, sizeof search->why, "%s", why);
}

static bool has_part(const struct snug__energy *energy, const char *name)
{
    for (int i = 0; i < energy->n_parts; i++)
        if (strcmp(energy->parts[i].name, name) == 0)
            return true;
    return false;
}

/* The part to fill next, closed files in it, or NULL at the cap. */
static struct snug__energy_part *next_part(struct search *search, const char *name)
{
    struct snug__energy *energy = search->energy;
    if (energy->n_parts == SNUG__ENERGY_PARTS_MAX) {
        search->is_full = true;
        return NULL;
    }
    struct snug__energy_part *part = &energy->parts[energy->n_parts];
    *part = (struct snug__energy_part){.fd = -1, .fd_volt = -1, .fd_status = -1, .range = NAN};
    snug__format(part->name, sizeof part->name, "%s", name);
    return part;
}

/* ---- powercap ---- */

/* Top-level zones have one colon in their name: "intel-rapl:0", not "intel-rapl:0:1". */
static void take_zone(void *data, const char *zone)
{
    struct search *search = data;
    char path[SNUG__PROBE_PATH_MAX], name[64], why[SNUG__METERS_WHY_MAX];
    const char *colon = strchr(zone, ':');
    bool is_mmio = strstr(zone, "mmio") != NULL;
    if (!colon || strchr(colon + 1, ':') || is_mmio != search->is_mmio)
        return;
    snug__format(path, sizeof path, POWERCAP "/%s/name", zone);
    snug__meter_line(search->root, path, name, sizeof name);
    if (!name[0] || strncmp(name, "psys", 4) == 0 || has_part(search->energy, name))
        return;
    snug__format(path, sizeof path, POWERCAP "/%s/energy_uj", zone);
    int fd = snug__meter_open(search->root, path, why);
    if (fd < 0) {
        keep_reason(search, why);
        search->is_broken = search->is_broken || strncmp(name, "package", 7) == 0;
        return;
    }
    struct snug__energy_part *part = next_part(search, name);
    if (!part) {
        close(fd);
        return;
    }
    struct snug_fact range = {0};
    snug__format(path, sizeof path, POWERCAP "/%s/max_energy_range_uj", zone);
    snug__read_fact(search->root, path, 1, &range);
    part->fd = fd;
    part->range = range.is_known && range.value > 0 ? range.value : NAN;
    search->energy->n_parts++;
}

/* With packages there, other top-level zones hold parts of them or stand for other hardware. */
static void keep_packages(struct snug__energy *energy)
{
    int n = 0;
    for (int i = 0; i < energy->n_parts; i++)
        n += strncmp(energy->parts[i].name, "package", 7) == 0;
    if (n == 0)
        return;
    n = 0;
    for (int i = 0; i < energy->n_parts; i++) {
        if (strncmp(energy->parts[i].name, "package", 7) == 0)
            energy->parts[n++] = energy->parts[i];
        else
            close(energy->parts[i].fd);
    }
    energy->n_parts = n;
}

static void find_powercap(struct search *search)
{
    search->energy->kind = SNUG__ENERGY_COUNTER;
    for (int pass = 0; pass < 2; pass++) {
        search->is_mmio = pass == 1;
        snug__each_entry(search->root, POWERCAP, "", take_zone, search);
    }
    keep_packages(search->energy);
}

/* ---- battery ---- */

static void supply_line(const struct search *search, const char *supply, const char *file,
                        char *out, size_t cap)
{
    char path[SNUG__PROBE_PATH_MAX];
    snug__format(path, sizeof path, SUPPLY "/%s/%s", supply, file);
    snug__meter_line(search->root, path, out, cap);
}

static int supply_open(const struct search *search, const char *supply, const char *file, char *why)
{
    char path[SNUG__PROBE_PATH_MAX];
    snug__format(path, sizeof path, SUPPLY "/%s/%s", supply, file);
    return snug__meter_open(search->root, path, why);
}

/* Power as such, or current times voltage, whichever the driver has. */
static bool open_battery(const struct search *search, const char *supply,
                         struct snug__energy_part *part, char *why)
{
    part->fd_status = supply_open(search, supply, "status", why);
    part->fd = supply_open(search, supply, "power_now", why);
    if (part->fd >= 0 || part->fd_status < 0)
        return part->fd_status >= 0;
    part->fd = supply_open(search, supply, "current_now", why);
    part->fd_volt = supply_open(search, supply, "voltage_now", why);
    return part->fd >= 0 && part->fd_volt >= 0;
}

/* A battery of the machine, not of a mouse ("scope" Device). One that rests beside another that
 * discharges gives nothing. */
static void take_battery(void *data, const char *supply)
{
    struct search *search = data;
    char type[32], scope[32], status[32], why[SNUG__METERS_WHY_MAX] = "";
    supply_line(search, supply, "type", type, sizeof type);
    supply_line(search, supply, "scope", scope, sizeof scope);
    supply_line(search, supply, "status", status, sizeof status);
    if (strcmp(type, "Battery") != 0 || strcmp(scope, "Device") == 0)
        return;
    if (strcmp(status, "Discharging") != 0) {
        snug__format(why, sizeof why, "battery %.32s: %s, not Discharging", supply,
                     status[0] ? status : "no status");
        keep_reason(search, why);
        return;
    }
    struct snug__energy_part *part = next_part(search, supply);
    if (!part)
        return;
    search->energy->n_parts++; /* so that its files are closed in any case */
    if (!open_battery(search, supply, part, why)) {
        search->is_broken = true;
        keep_reason(search, why);
    }
}

static void find_battery(struct search *search)
{
    search->energy->kind = SNUG__ENERGY_POWER;
    snug__each_entry(search->root, SUPPLY, "", take_battery, search);
}

/* ---- hwmon ---- */

static void take_chip(void *data, const char *chip)
{
    struct search *search = data;
    char path[SNUG__PROBE_PATH_MAX], name[64], why[SNUG__METERS_WHY_MAX];
    snug__format(path, sizeof path, HWMON "/%s/name", chip);
    snug__meter_line(search->root, path, name, sizeof name);
    if (strncmp(name, search->chip, strlen(search->chip)) != 0)
        return;
    snug__format(path, sizeof path, HWMON "/%s/power1_input", chip);
    int fd = snug__meter_open(search->root, path, NULL);
    if (fd < 0) {
        snug__format(path, sizeof path, HWMON "/%s/power1_average", chip);
        fd = snug__meter_open(search->root, path, why);
    }
    if (fd < 0) {
        keep_reason(search, why);
        return;
    }
    struct snug__energy_part *part = next_part(search, name);
    if (!part) {
        close(fd);
        return;
    }
    part->fd = fd;
    search->energy->n_parts++;
}

/* Chips known to measure the machine or its processors, the widest first. A graphics card or a
 * disk has power inputs too, and they are not what is asked for. */
static void find_hwmon(struct search *search)
{
    static const char *const chips[] = {"power_meter", "macsmc", "corsairpsu",
                                        "occ",         "fam15h", "ina2"};
    search->energy->kind = SNUG__ENERGY_POWER;
    for (size_t i = 0; i < sizeof chips / sizeof chips[0] && !search->energy->n_parts; i++) {
        search->chip = chips[i];
        snug__each_entry(search->root, HWMON, "hwmon", take_chip, search);
    }
}

/* ---- all ---- */

static void name_source(struct snug__energy *energy, const char *kind)
{
    snug__format(energy->source, sizeof energy->source, "%s", kind);
    for (int i = 0; i < energy->n_parts; i++) {
        size_t n = strlen(energy->source);
        snug__format(energy->source + n, sizeof energy->source - n, "%s%s", i ? " + " : " ",
                     energy->parts[i].name);
    }
}

void snug__energy_find(struct snug__energy *energy, const char *root)
{
    static const struct {
        const char *name;
        void (*find)(struct search *search);
    } table[] = {{"powercap", find_powercap}, {"battery", find_battery}, {"hwmon", find_hwmon}};
    struct search search = {.energy = energy, .root = root};
    memset(energy, 0, sizeof *energy);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        table[i].find(&search);
        if (search.is_full) {
            snug__energy_close(energy);
            snug__format(search.why, sizeof search.why, "%s: more than %d parts", table[i].name,
                         SNUG__ENERGY_PARTS_MAX);
            break;
        }
        if (energy->n_parts && !search.is_broken) {
            name_source(energy, table[i].name);
            return;
        }
        /* Some parts must not pass for the whole. */
        snug__energy_close(energy);
        search.is_broken = false;
    }
    snug__format(energy->source, sizeof energy->source, "%s",
                 search.why[0] ? search.why : "no powercap, battery or power sensor");
}
