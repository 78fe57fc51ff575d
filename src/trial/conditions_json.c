/* Conditions and their samples as JSON. A figure that was not read is null, and comes back as NAN.
 */
#include "trial/conditions_json.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT(table) (sizeof(table) / sizeof(table)[0])

/* ---- tables ---- */

#define NUMBERS(X)                                                                                 \
    X(wall_s)                                                                                      \
    X(clock_hz_min)                                                                                \
    X(clock_hz_median)                                                                             \
    X(clock_hz_max)                                                                                \
    X(temperature_c_max)                                                                           \
    X(n_thermal_events)                                                                            \
    X(n_quota_periods)                                                                             \
    X(n_quota_throttled)                                                                           \
    X(throttled_s)                                                                                 \
    X(pressure_cpu_frac)                                                                           \
    X(pressure_memory_frac)                                                                        \
    X(pressure_io_frac)                                                                            \
    X(other_load_frac)                                                                             \
    X(load_average)                                                                                \
    X(n_major_faults)                                                                              \
    X(swapped_bytes)                                                                               \
    X(resident_before_frac)                                                                        \
    X(resident_frac)                                                                               \
    X(sampler_cpu_s)
#define ENERGIES(X) X(prefill_j) X(prefill_s) X(decode_j) X(decode_s) X(idle_w) X(uncertainty_j)
#define SAMPLES(X)                                                                                 \
    X(t_s)                                                                                         \
    X(clock_hz)                                                                                    \
    X(temperature_c)                                                                               \
    X(other_load_frac)                                                                             \
    X(throttled_frac)                                                                              \
    X(pressure_cpu_frac)                                                                           \
    X(pressure_memory_frac)                                                                        \
    X(pressure_io_frac)                                                                            \
    X(power_w)                                                                                     \
    X(rss_bytes)

struct place {
    const char *key;
    size_t offset;
};

#define NUMBER_PLACE(name) {#name, offsetof(struct snug_conditions, name)},
#define ENERGY_PLACE(name) {#name, offsetof(struct snug_energy, name)},
#define SAMPLE_PLACE(name) {#name, offsetof(struct snug_condition_sample, name)},
static const struct place NUMBER_PLACES[] = {NUMBERS(NUMBER_PLACE)};
static const struct place ENERGY_PLACES[] = {ENERGIES(ENERGY_PLACE)};
static const struct place SAMPLE_PLACES[] = {SAMPLES(SAMPLE_PLACE)};

static double *number_at(void *object, const struct place *place)
{
    return (double *)(void *)((char *)object + place->offset);
}

static float *float_at(void *object, const struct place *place)
{
    return (float *)(void *)((char *)object + place->offset);
}

/* ---- both ways ---- */

static void put_numbers(struct snug_json_writer *w, const struct place *places, size_t n,
                        const void *object)
{
    for (size_t i = 0; i < n; i++)
        snug_json_put_number(
            w, places[i].key,
            *(const double *)(const void *)((const char *)object + places[i].offset));
}

void snug_conditions_to_json(struct snug_json_writer *w, const char *key,
                             const struct snug_conditions *c)
{
    snug_json_begin_object(w, key);
    put_numbers(w, NUMBER_PLACES, COUNT(NUMBER_PLACES), c);
    snug_json_begin_object(w, "energy");
    snug_json_put_bool(w, "is_known", c->energy.is_known);
    snug_json_put_string(w, "source", c->energy.source);
    put_numbers(w, ENERGY_PLACES, COUNT(ENERGY_PLACES), &c->energy);
    snug_json_end(w);
    snug_json_put_string(w, "unreadable", c->unreadable);
    snug_json_end(w);
}

void snug_conditions_from_json(const struct snug_json_node *node, struct snug_conditions *out)
{
    snug_conditions_init(out);
    for (size_t i = 0; i < COUNT(NUMBER_PLACES); i++)
        *number_at(out, &NUMBER_PLACES[i]) = snug_json_get_number(node, NUMBER_PLACES[i].key, NAN);
    const struct snug_json_node *energy = snug_json_get(node, "energy");
    out->energy.is_known = snug_json_get_bool(energy, "is_known", false);
    snprintf(out->energy.source, sizeof out->energy.source, "%s",
             snug_json_get_string(energy, "source", ""));
    for (size_t i = 0; i < COUNT(ENERGY_PLACES); i++)
        *number_at(&out->energy, &ENERGY_PLACES[i]) =
            snug_json_get_number(energy, ENERGY_PLACES[i].key, NAN);
    snprintf(out->unreadable, sizeof out->unreadable, "%s",
             snug_json_get_string(node, "unreadable", ""));
}

/* One array per figure: a ninth of the keys that one object per sample would repeat. */
void snug_samples_to_json(struct snug_json_writer *w, const char *key,
                          const struct snug_condition_sample *samples, int n)
{
    snug_json_begin_object(w, key);
    for (size_t f = 0; f < COUNT(SAMPLE_PLACES); f++) {
        snug_json_begin_array(w, SAMPLE_PLACES[f].key);
        for (int i = 0; i < n; i++) {
            const char *at = (const char *)&samples[i] + SAMPLE_PLACES[f].offset;
            snug_json_put_number(w, NULL, (double)*(const float *)(const void *)at);
        }
        snug_json_end(w);
    }
    snug_json_end(w);
}

struct snug_condition_sample *snug_samples_from_json(const struct snug_json_node *node, int *out_n)
{
    size_t n = snug_json_count(snug_json_get(node, "t_s"));
    n = n < SNUG_CONDITION_SAMPLES_MAX ? n : SNUG_CONDITION_SAMPLES_MAX;
    struct snug_condition_sample *samples = n ? calloc(n, sizeof *samples) : NULL;
    for (size_t f = 0; samples && f < COUNT(SAMPLE_PLACES); f++) {
        const struct snug_json_node *list = snug_json_get(node, SAMPLE_PLACES[f].key);
        for (size_t i = 0; i < n; i++)
            *float_at(&samples[i], &SAMPLE_PLACES[f]) =
                (float)snug_json_number(snug_json_at(list, i), NAN);
    }
    *out_n = samples ? (int)n : 0;
    return samples;
}
