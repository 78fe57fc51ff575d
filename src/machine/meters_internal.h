/* Private to the room: the layers under snug/meters.h. Time is an argument down here, so that tests
 * replay a run without waiting: sources read counters, energy adds joules, meters keeps samples. */
#ifndef SNUG_MACHINE_METERS_INTERNAL_H
#define SNUG_MACHINE_METERS_INTERNAL_H

#include <hwloc.h>
#include <pthread.h>

#include "snug/meters.h"

/* CPUs whose clock is read; of more, every n-th: a read can take the kernel 10 ms each. */
#define SNUG__METERS_CLOCKS_MAX 32
/* Temperature inputs; further ones are not looked at. */
#define SNUG__METERS_SENSORS_MAX 32
/* Levels of control groups whose throttling is watched, nearest first. */
#define SNUG__METERS_LEVELS_MAX 12
/* Bytes read of one file at a look: the first 40 CPUs or so of an x86 /proc/cpuinfo. */
#define SNUG__METERS_TEXT_MAX (64u << 10)
/* Packages, batteries or power sensors that are added up; with more, energy is not known. */
#define SNUG__ENERGY_PARTS_MAX 16
#define SNUG__METERS_WHY_MAX 96

/* ---- meters_read.c: open files and pure parsers; a figure that is not there is NAN ---- */

/* Open root + path for reading again and again, or -1 with why (may be NULL): "PATH: permission
 * denied". */
int snug__meter_open(const char *root, const char *path, char why[SNUG__METERS_WHY_MAX]);
/* What is in the file now, from its start, NUL-terminated, cut to cap. false with errno set. */
bool snug__meter_text(int fd, char *out, size_t cap);
double snug__meter_number(int fd);
/* The first line of root + path without blanks at its ends; "" when there is none. */
void snug__meter_line(const char *root, const char *path, char *out, size_t cap);
/* "permission denied", "no such file" or what the system says. */
const char *snug__meter_errno(int code);
/* Names in root + folder that begin with prefix, in the order of their numbers. */
typedef void (*snug__entry_fn)(void *data, const char *name);
void snug__each_entry(const char *root, const char *folder, const char *prefix, snug__entry_fn fn,
                      void *data);

/* Seconds behind "total=" of the "some" line of a pressure file. */
double snug__parse_pressure_s(const char *text);
/* Mean of the "cpu MHz" lines of the CPUs in the set, Hz. */
double snug__parse_cpuinfo_hz(const char *text, hwloc_const_bitmap_t cpus);
/* majflt of /proc/self/stat; the name before it may hold blanks and brackets. */
double snug__parse_major_faults(const char *text);
/* Pages of /proc/self/statm that are resident. */
double snug__parse_resident_pages(const char *text);

/* One level's cpu.stat, v1 or v2: it has nr_periods where a quota can be set. */
struct snug__throttling {
    double n_periods, n_throttled, throttled_s;
};
bool snug__parse_throttling(const char *text, struct snug__throttling *out);

/* ---- meters_sources.c ---- */

/* What can be missing, in the order in which `unreadable` names it. */
#define SNUG__METERS(X)                                                                            \
    X(CLOCK, "clock")                                                                              \
    X(TEMPERATURE, "temperature")                                                                  \
    X(THERMAL, "thermal events")                                                                   \
    X(QUOTA, "quota")                                                                              \
    X(PRESSURE, "pressure")                                                                        \
    X(LOAD, "load")                                                                                \
    X(FAULTS, "major faults")                                                                      \
    X(SWAP, "swap")                                                                                \
    X(RSS, "rss")                                                                                  \
    X(RESIDENCY, "residency")
enum snug__meter {
#define SNUG__METER_ENUM(name, text) SNUG__METER_##name,
    SNUG__METERS(SNUG__METER_ENUM)
#undef SNUG__METER_ENUM
        SNUG__N_METERS
};

struct snug__sources {
    char *root; /* "" for the real machine */
    bool is_real;
    hwloc_bitmap_t cpus; /* this process may use, and sysfs shows */
    int fd_stat, fd_statm, fd_cpuinfo;
    int fd_pressure[3]; /* cpu, memory, io */
    int fd_clock[SNUG__METERS_CLOCKS_MAX], n_clocks;
    int fd_sensor[SNUG__METERS_SENSORS_MAX], n_sensors;
    int fd_level[SNUG__METERS_LEVELS_MAX], n_levels;
    char why[SNUG__N_METERS][SNUG__METERS_WHY_MAX]; /* "" while it can be read */
    char text[SNUG__METERS_TEXT_MAX];               /* of the file being read */
};

/* What every look reads. */
struct snug__look {
    double t_s;
    double busy_s, total_s, own_s; /* CPU seconds: all processes, all there was, this process */
    double pressure_s[3];
    double clock_hz, temperature_c, rss_bytes;
    struct snug__throttling levels[SNUG__METERS_LEVELS_MAX];
};

/* What is read at the start and at the end alone. */
struct snug__ends {
    double n_major_faults, swapped_bytes;
    double *core, *package; /* thermal throttle counts of each CPU in the set; NAN: none */
    int n_cpus;
};

/* Accepts the zero state; close releases what open took, even when open failed. */
snug_status snug__sources_open(struct snug__sources *sources, const char *root,
                               struct snug_error *err) SNUG_CHECKED;
void snug__sources_close(struct snug__sources *sources);
void snug__sources_look(struct snug__sources *sources, double t_s, struct snug__look *out);
snug_status snug__ends_read(struct snug__sources *sources, struct snug__ends *out,
                            struct snug_error *err) SNUG_CHECKED;
void snug__ends_clear(struct snug__ends *ends);
/* Events between two ends: those of all cores, and the most that one CPU saw of its package. */
double snug__ends_thermal(const struct snug__ends *from, const struct snug__ends *to);

/* ---- energy.c, energy_open.c ---- */

enum snug__energy_kind { SNUG__ENERGY_NONE, SNUG__ENERGY_COUNTER, SNUG__ENERGY_POWER };

struct snug__energy_part {
    char name[64]; /* "package-0", "BAT0", "power_meter" */
    int fd;        /* microjoules, microwatts, or microamperes where fd_volt is open */
    int fd_volt;   /* microvolts, or -1 */
    int fd_status; /* must read "Discharging", or -1 */
    double range;  /* microjoules at which a counter begins anew; NAN: not known */
    double last;   /* microjoules */
};

struct snug__energy {
    enum snug__energy_kind kind;
    struct snug__energy_part parts[SNUG__ENERGY_PARTS_MAX];
    int n_parts;
    char source[SNUG__METERS_WHY_MAX]; /* what is read, or why nothing is */
    bool is_lost;                      /* a reading failed on the way; source says which */
    double t_first_s, t_s;             /* first and newest reading */
    double total_j;                    /* since the first */
    double power_w;                    /* newest reading of a power source */
    double power_min_w, power_max_w;
    double t_changed_s, hold_s; /* a power reading stood still for at most hold_s */
    enum snug_meters_phase phase;
    struct {
        double j, s;
        int n_stretches;
    } phases[3]; /* by enum snug_meters_phase */
};

/* Finds the source and reads it for the first time. Never fails: kind tells. */
void snug__energy_open(struct snug__energy *energy, const char *root, double t_s);
void snug__energy_find(struct snug__energy *energy, const char *root); /* the first half of it */
void snug__energy_close(struct snug__energy *energy);
/* Add what was used since the look before to the present phase. */
void snug__energy_look(struct snug__energy *energy, double t_s);
void snug__energy_phase(struct snug__energy *energy, double t_s, enum snug_meters_phase phase);
void snug__energy_finish(const struct snug__energy *energy, double idle_w, struct snug_energy *out);

/* ---- meters.c ---- */

struct snug_meters {
    struct snug__sources sources;
    struct snug__look first, last; /* looks at the counters */
    struct snug__ends ends;        /* at the start */
    double load_average, resident_frac;
    double idle_w;

    pthread_mutex_t energy_lock;
    struct snug__energy energy;
    double energy_j; /* of the source at the look before */

    bool is_sampling;
    double period_s;
    struct snug_condition_sample *samples; /* room for SNUG_CONDITION_SAMPLES_MAX */
    int n_samples;
    double clock_hz_min, clock_hz_max, temperature_c_max; /* over all looks, dropped ones too */

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_threaded, is_stopping;
    double started_s; /* on snug_clock_s */
    double sampler_cpu_s;
};

/* Everything but the thread: the first look is at 0 s. */
snug_status snug__meters_open(const struct snug_meters_options *options, struct snug_meters **out,
                              struct snug_error *err) SNUG_CHECKED;
/* One look and its sample. Returns the time until the next one is due. */
double snug__meters_look(struct snug_meters *meters, double t_s);
void snug__meters_phase_at(struct snug_meters *meters, double t_s, enum snug_meters_phase phase);
/* snug_meters_stop without the thread. */
void snug__meters_close(struct snug_meters *meters, double t_s, struct snug_conditions *out,
                        struct snug_condition_sample **out_samples, int *out_n_samples);

/* ---- meters_sum.c ---- */

/* Of a counter: NAN where one end is not known or it went back. */
double snug__increase(double from, double to);
/* Within 0..1; NAN where there is no whole. */
double snug__frac_of(double part, double whole);
/* The level of control groups that stopped us longest; the nearest of equals. */
struct snug__throttling snug__throttled_between(const struct snug__sources *sources,
                                                const struct snug__look *from,
                                                const struct snug__look *to);
double snug__other_load_between(const struct snug__look *from, const struct snug__look *to);
/* From the first look to `now`; reads the second of the two ends. */
void snug__meters_sum(struct snug_meters *meters, const struct snug__look *now,
                      struct snug_conditions *out);

/* ---- residency.c ---- */

/* As snug_meters_resident_frac, with the reason where it is NAN. */
double snug__resident_frac(const char *path, char why[SNUG__METERS_WHY_MAX]);

#endif
