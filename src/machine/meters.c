/* The meters of one trial: looks at the machine from a thread of its own, keeps a bounded row of
 * samples, and sums up what lay between the first look and the last.
 *
 * Two locks: `lock` wakes and stops the thread; `energy_lock` is held only while the energy source
 * is read, so that a change of phase never waits for a slow clock or sensor. */
#include "machine/meters_internal.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/process.h"
#include "machine/probe.h"

#define PERIOD_S 0.1
/* A shorter one would cost more than the 1 % of a core that is promised. */
#define PERIOD_S_MIN 0.01

/* fmin and fmax pass a NAN over. Without sampling there is nothing between the two ends, where the
 * machine rests. */
static void take_extremes(struct snug_meters *meters, const struct snug__look *look)
{
    if (!meters->is_sampling)
        return;
    meters->clock_hz_min = fmin(meters->clock_hz_min, look->clock_hz);
    meters->clock_hz_max = fmax(meters->clock_hz_max, look->clock_hz);
    meters->temperature_c_max = fmax(meters->temperature_c_max, look->temperature_c);
}

/* Halve a full row: every second sample stays, and from here on every second look is left out. */
static void make_room(struct snug_meters *meters)
{
    if (meters->n_samples < SNUG_CONDITION_SAMPLES_MAX)
        return;
    for (int i = 0; 2 * i < meters->n_samples; i++)
        meters->samples[i] = meters->samples[2 * i];
    meters->n_samples = (meters->n_samples + 1) / 2;
    meters->period_s *= 2;
}

static void add_sample(struct snug_meters *meters, const struct snug__look *from,
                       const struct snug__look *to, double power_w)
{
    double passed_s = to->t_s - from->t_s;
    double pressure[3];
    for (int i = 0; i < 3; i++)
        pressure[i] =
            snug__frac_of(snug__increase(from->pressure_s[i], to->pressure_s[i]), passed_s);
    make_room(meters);
    meters->samples[meters->n_samples++] = (struct snug_condition_sample){
        .t_s = (float)to->t_s,
        .clock_hz = (float)to->clock_hz,
        .temperature_c = (float)to->temperature_c,
        .other_load_frac = (float)snug__other_load_between(from, to),
        .throttled_frac =
            (float)(snug__throttled_between(&meters->sources, from, to).throttled_s / passed_s),
        .pressure_cpu_frac = (float)pressure[0],
        .pressure_memory_frac = (float)pressure[1],
        .pressure_io_frac = (float)pressure[2],
        .power_w = (float)power_w,
        .rss_bytes = (float)to->rss_bytes,
    };
}

/* Reads the energy source; returns the mean power since the look before, NAN when not known. */
static double look_at_energy(struct snug_meters *meters, double t_s, double passed_s)
{
    pthread_mutex_lock(&meters->energy_lock);
    snug__energy_look(&meters->energy, t_s);
    bool is_known = meters->energy.kind != SNUG__ENERGY_NONE && !meters->energy.is_lost;
    double j = meters->energy.total_j - meters->energy_j;
    meters->energy_j = meters->energy.total_j;
    pthread_mutex_unlock(&meters->energy_lock);
    return is_known && passed_s > 0 ? j / passed_s : NAN;
}

double snug__meters_look(struct snug_meters *meters, double t_s)
{
    struct snug__look now;
    double passed_s = t_s - meters->last.t_s;
    double power_w = look_at_energy(meters, t_s, passed_s);
    snug__sources_look(&meters->sources, t_s, &now);
    take_extremes(meters, &now);
    if (passed_s > 0) {
        add_sample(meters, &meters->last, &now, power_w);
        meters->last = now;
    }
    return meters->period_s;
}

void snug__meters_phase_at(struct snug_meters *meters, double t_s, enum snug_meters_phase phase)
{
    pthread_mutex_lock(&meters->energy_lock);
    snug__energy_phase(&meters->energy, t_s, phase);
    pthread_mutex_unlock(&meters->energy_lock);
}

void snug_meters_phase(struct snug_meters *meters, enum snug_meters_phase phase)
{
    if (meters)
        snug__meters_phase_at(meters, snug_clock_s() - meters->started_s, phase);
}

static void free_meters(struct snug_meters *meters)
{
    if (!meters)
        return;
    snug__sources_close(&meters->sources);
    snug__energy_close(&meters->energy);
    snug__ends_clear(&meters->ends);
    free(meters->samples);
    pthread_mutex_destroy(&meters->energy_lock);
    pthread_mutex_destroy(&meters->lock);
    pthread_cond_destroy(&meters->wake);
    free(meters);
}

static void init_locks(struct snug_meters *meters)
{
    pthread_condattr_t attributes;
    pthread_mutex_init(&meters->energy_lock, NULL);
    pthread_mutex_init(&meters->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&meters->wake, &attributes);
    pthread_condattr_destroy(&attributes);
}

static void look_first(struct snug_meters *meters, const char *model_path)
{
    struct snug_fact load = {0};
    char *why = meters->sources.why[SNUG__METER_RESIDENCY];
    meters->resident_frac = NAN;
    if (model_path)
        meters->resident_frac = snug__resident_frac(model_path, why);
    snug__read_fact(meters->sources.root, "/proc/loadavg", 1, &load);
    meters->load_average = load.is_known ? load.value : NAN;
    if (!load.is_known && !meters->sources.why[SNUG__METER_LOAD][0])
        snug__format(meters->sources.why[SNUG__METER_LOAD], SNUG__METERS_WHY_MAX, "%s",
                     load.source);
    meters->clock_hz_min = meters->clock_hz_max = meters->temperature_c_max = NAN;
    snug__energy_open(&meters->energy, meters->sources.root, 0);
    snug__sources_look(&meters->sources, 0, &meters->first);
    meters->last = meters->first;
}

snug_status snug__meters_open(const struct snug_meters_options *options, struct snug_meters **out,
                              struct snug_error *err)
{
    const char *root = options->root ? options->root : "";
    struct stat info;
    if (root[0] && (stat(root, &info) != 0 || !S_ISDIR(info.st_mode)))
        return snug_fail(err, SNUG_NOT_FOUND,
                         "machine root %s: not a folder; expected one with proc/ and sys/ below",
                         root);
    struct snug_meters *meters = calloc(1, sizeof *meters);
    if (!meters)
        return snug_fail(err, SNUG_NO_MEMORY, "meters");
    init_locks(meters);
    meters->is_sampling = !options->is_sampling_off;
    meters->idle_w = options->idle_w;
    meters->period_s = options->period_s > 0 ? options->period_s : PERIOD_S;
    meters->period_s = meters->period_s > PERIOD_S_MIN ? meters->period_s : PERIOD_S_MIN;
    meters->started_s = snug_clock_s();
    snug_status status = snug__sources_open(&meters->sources, root, err);
    if (status == SNUG_OK)
        status = snug__ends_read(&meters->sources, &meters->ends, err);
    if (status == SNUG_OK && meters->is_sampling) {
        meters->samples = calloc(SNUG_CONDITION_SAMPLES_MAX, sizeof *meters->samples);
        if (!meters->samples)
            status = snug_fail(err, SNUG_NO_MEMORY, "samples of the meters");
    }
    if (status != SNUG_OK)
        goto done;
    meters->started_s = snug_clock_s(); /* finding the sources is not part of the run */
    look_first(meters, options->model_path);
    *out = meters;
    meters = NULL; /* the caller owns it now */
done:
    free_meters(meters);
    return status;
}

/* ---- the thread ---- */

static struct timespec after(double s)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    long ns = at.tv_nsec + (long)(fmod(s, 1) * 1e9);
    at.tv_sec += (time_t)s + ns / 1000000000;
    at.tv_nsec = ns % 1000000000;
    return at;
}

static void *sample(void *data)
{
    struct snug_meters *meters = data;
    struct timespec used = {0};
    double wait_s = meters->period_s;
    pthread_mutex_lock(&meters->lock);
    while (!meters->is_stopping) {
        struct timespec due = after(wait_s);
        while (!meters->is_stopping &&
               pthread_cond_timedwait(&meters->wake, &meters->lock, &due) == 0)
            ; /* woken early without cause */
        if (meters->is_stopping)
            break;
        pthread_mutex_unlock(&meters->lock);
        wait_s = snug__meters_look(meters, snug_clock_s() - meters->started_s);
        pthread_mutex_lock(&meters->lock);
    }
    pthread_mutex_unlock(&meters->lock);
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0)
        meters->sampler_cpu_s = (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
    return NULL;
}

snug_status snug_meters_start(const struct snug_meters_options *options, struct snug_meters **out,
                              struct snug_error *err)
{
    sigset_t all, old;
    struct snug_meters *meters = NULL;
    snug_status status = snug__meters_open(options, &meters, err);
    if (status != SNUG_OK)
        return status;
    if (meters->is_sampling) {
        /* Signals are for the caller's threads: this one inherits a mask without any. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        int code = pthread_create(&meters->thread, NULL, sample, meters);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (code != 0) {
            free_meters(meters);
            return snug_fail(err, SNUG_NO_MEMORY, "thread of the meters: %s", strerror(code));
        }
        meters->is_threaded = true;
    }
    *out = meters;
    return SNUG_OK;
}

/* ---- the end ---- */

void snug__meters_close(struct snug_meters *meters, double t_s, struct snug_conditions *out,
                        struct snug_condition_sample **out_samples, int *out_n_samples)
{
    struct snug__look now;
    double passed_s = t_s - meters->last.t_s;
    double power_w = look_at_energy(meters, t_s, passed_s);
    snug__sources_look(&meters->sources, t_s, &now);
    take_extremes(meters, &now);
    /* The rest of a period is too short for rates: counters move in steps of their own. */
    if (meters->is_sampling && passed_s > meters->period_s / 2) {
        add_sample(meters, &meters->last, &now, power_w);
        meters->last = now;
    }
    snug__meters_sum(meters, &now, out);
    if (out_samples) {
        *out_samples = meters->n_samples ? meters->samples : NULL;
        if (meters->n_samples)
            meters->samples = NULL; /* the caller owns them now */
    }
    if (out_n_samples)
        *out_n_samples = meters->n_samples;
    free_meters(meters);
}

void snug_meters_stop(struct snug_meters *meters, struct snug_conditions *out,
                      struct snug_condition_sample **out_samples, int *out_n_samples)
{
    if (!meters) {
        snug_conditions_init(out);
        if (out_samples)
            *out_samples = NULL;
        if (out_n_samples)
            *out_n_samples = 0;
        return;
    }
    if (meters->is_threaded) {
        pthread_mutex_lock(&meters->lock);
        meters->is_stopping = true;
        pthread_cond_signal(&meters->wake);
        pthread_mutex_unlock(&meters->lock);
        pthread_join(meters->thread, NULL);
    }
    snug__meters_close(meters, snug_clock_s() - meters->started_s, out, out_samples, out_n_samples);
}

bool snug_meters_has_energy(const char *root, char *out, size_t cap)
{
    struct snug__energy energy;
    snug__energy_find(&energy, root ? root : "");
    const bool is_found = energy.kind != SNUG__ENERGY_NONE;
    if (out)
        snug__format(out, cap, "%s", energy.source);
    snug__energy_close(&energy);
    return is_found;
}

double snug_meters_idle(const char *root, double wait_s)
{
    struct snug__energy energy;
    struct snug_energy sum;
    double start_s = snug_clock_s(), passed_s = 0;
    snug__energy_open(&energy, root ? root : "", 0);
    snug__energy_phase(&energy, 0,
                       SNUG_METERS_DECODE); /* a phase for the sum; which is no matter */
    while (passed_s < wait_s && energy.kind != SNUG__ENERGY_NONE && !energy.is_lost) {
        snug_sleep_s(fmin(wait_s - passed_s, PERIOD_S)); /* power is read on the way */
        passed_s = snug_clock_s() - start_s;
        snug__energy_look(&energy, passed_s);
    }
    snug__energy_finish(&energy, NAN, &sum);
    snug__energy_close(&energy);
    return sum.is_known && sum.decode_s > 0 ? sum.decode_j / sum.decode_s : NAN;
}
