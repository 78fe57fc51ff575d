/* Counters of a trace. A thread of its own, so that reading /proc costs the request nothing but its
 * share of a core: some 20 us each 10 ms, and the slower frequency each 100 ms. */
#include "engine/trace_meters.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/process.h"

static const double PERIOD_S = 0.01;
#define FREQUENCY_EACH 10            /* samples; the kernel may have to ask every core */
#define CPUINFO_BYTES_MAX (4u << 20) /* some kB a CPU */
#define CPUS_MAX CPU_SETSIZE

/* ---- frequency ---- */

/* "cpu MHz : 2400.000" of every allowed "processor : N"; -1 when there is no such line. */
static double mhz_of_cpuinfo(const char *text, const cpu_set_t *allowed)
{
    double sum = 0.0;
    int n = 0;
    long cpu = -1;
    for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        const char *colon = line + strcspn(line, ":\n");
        if (*colon != ':')
            continue;
        if (strncmp(line, "processor", 9) == 0) {
            cpu = strtol(colon + 1, NULL, 10);
        } else if (strncmp(line, "cpu MHz", 7) == 0 && cpu >= 0 && cpu < CPUS_MAX &&
                   CPU_ISSET((size_t)cpu, allowed)) {
            const double mhz = strtod(colon + 1, NULL);
            if (!isfinite(mhz) || mhz <= 0.0)
                continue;
            sum += mhz;
            n++;
        }
    }
    return n > 0 ? sum / n : -1.0;
}

static double mhz_of_cpufreq(const char *root, const cpu_set_t *allowed)
{
    double sum = 0.0;
    int n = 0;
    for (int cpu = 0; cpu < CPUS_MAX; cpu++) {
        char path[96];
        char *text = NULL;
        if (!CPU_ISSET((size_t)cpu, allowed))
            continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", cpu);
        if (snug_file_read_below(root, path, 64, &text, NULL, NULL) != SNUG_OK)
            continue;
        const double khz = strtod(text, NULL);
        free(text);
        if (!isfinite(khz) || khz <= 0.0)
            continue;
        sum += khz / 1000.0;
        n++;
    }
    return n > 0 ? sum / n : -1.0;
}

double snug__trace_cpu_mhz(const char *root, char *why, size_t cap)
{
    cpu_set_t allowed;
    char *text = NULL;
    struct snug_error err = {0};
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        memset(&allowed, 0xff, sizeof allowed); /* more CPUs than the set holds: take all */
    double mhz = -1.0;
    if (snug_file_read_below(root, "/proc/cpuinfo", CPUINFO_BYTES_MAX, &text, NULL, &err) ==
        SNUG_OK)
        mhz = mhz_of_cpuinfo(text, &allowed);
    free(text);
    if (mhz < 0.0)
        mhz = mhz_of_cpufreq(root, &allowed);
    why[0] = '\0';
    if (mhz < 0.0)
        snprintf(why, cap, "%s, and cpufreq shows no scaling_cur_freq",
                 err.text[0] ? err.text : "/proc/cpuinfo has no 'cpu MHz'");
    return mhz < 0.0 ? 0.0 : mhz;
}

/* ---- samples ---- */

void snug__trace_meters_add(struct snug__trace_meters *m, struct snug_trace_sample sample)
{
    if (m->n == SNUG_TRACE_SAMPLES_MAX) {
        for (size_t i = 0; i < m->n / 2; i++)
            m->samples[i] = m->samples[2 * i];
        m->n /= 2;
        m->period_s *= 2.0;
    }
    m->samples[m->n++] = sample;
}

static void take(struct snug__trace_meters *m, bool want_frequency)
{
    struct snug_trace_sample sample = {.at_ns = (int64_t)((snug_clock_s() - m->origin_s) * 1e9)};
    if (!snug_process_rss(getpid(), &sample.rss_bytes, NULL))
        snprintf(m->no_memory, sizeof m->no_memory, "/proc/self/status is not readable");
    if (want_frequency && m->no_frequency[0] == '\0')
        sample.cpu_mhz = snug__trace_cpu_mhz("", m->no_frequency, sizeof m->no_frequency);
    snug__trace_meters_add(m, sample);
}

static void *run(void *data)
{
    struct snug__trace_meters *m = data;
    pthread_mutex_lock(&m->lock);
    for (int i = 1; !m->is_stopping; i++) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += (long)(fmod(m->period_s, 1.0) * 1e9);
        until.tv_sec += (time_t)m->period_s + until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        /* A wake that nobody meant takes its sample a little early: no harm. */
        pthread_cond_timedwait(&m->wake, &m->lock, &until);
        if (!m->is_stopping)
            take(m, i % FREQUENCY_EACH == 0);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

void snug__trace_meters_start(struct snug__trace_meters *m, double origin_s)
{
    *m = (struct snug__trace_meters){.origin_s = origin_s, .period_s = PERIOD_S};
    m->samples = calloc(SNUG_TRACE_SAMPLES_MAX, sizeof *m->samples);
    if (!m->samples) {
        snprintf(m->no_memory, sizeof m->no_memory, "no memory for samples");
        snprintf(m->no_frequency, sizeof m->no_frequency, "no memory for samples");
        return;
    }
    take(m, true);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->wake, &clock);
    pthread_condattr_destroy(&clock);
    m->is_running = pthread_create(&m->thread, NULL, run, m) == 0;
    if (!m->is_running) {
        pthread_cond_destroy(&m->wake);
        pthread_mutex_destroy(&m->lock);
    }
}

void snug__trace_meters_stop(struct snug__trace_meters *m)
{
    if (m->is_running) {
        pthread_mutex_lock(&m->lock);
        m->is_stopping = true;
        pthread_cond_signal(&m->wake);
        pthread_mutex_unlock(&m->lock);
        pthread_join(m->thread, NULL);
        pthread_cond_destroy(&m->wake);
        pthread_mutex_destroy(&m->lock);
        m->is_running = false;
    }
    if (m->samples)
        take(m, true);
}
