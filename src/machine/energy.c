/* Joules of the energy source, added up look by look and split into phases.
 *
 * A counter (powercap) gives joules by difference, over at most one wrap-around between two looks:
 * at 60 W one takes an hour. Power (battery, hwmon) is integrated by the trapezoid rule, so its
 * joules are as fine as the looks are. Once a reading fails the whole is not known: a sum with a
 * hole in it would look like thrift. */
#include "machine/meters_internal.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "machine/probe.h"

/* A RAPL counter is updated about once in this time (Intel SDM 3B, 15.10.3). */
#define COUNTER_STEP_S 1e-3

/* No machine that snug runs on draws more: beyond it a reading is nonsense. */
#define POWER_W_MAX 1e5

static void lose(struct snug__energy *energy, const struct snug__energy_part *part,
                 const char *reason)
{
    if (energy->is_lost)
        return;
    energy->is_lost = true;
    snug__format(energy->source, sizeof energy->source, "%s: %s", part->name, reason);
}

/* Microjoules since the reading before; NAN with the loss noted. */
static double read_counter(struct snug__energy *energy, struct snug__energy_part *part)
{
    double now = snug__meter_number(part->fd);
    double delta = now - part->last;
    if (delta < 0)
        delta += part->range; /* NAN where the range is not known */
    if (isnan(now) || now > part->range)
        lose(energy, part, "counter not readable or beyond its range");
    else if (!(delta >= 0))
        lose(energy, part, "counter went back further than its range");
    part->last = now;
    return delta;
}

static double read_power_w(struct snug__energy *energy, const struct snug__energy_part *part)
{
    char status[32];
    if (part->fd_status >= 0 && (!snug__meter_text(part->fd_status, status, sizeof status) ||
                                 strncmp(status, "Discharging", 11) != 0)) {
        lose(energy, part, "no longer discharging");
        return NAN;
    }
    char text[64];
    double volt = 1e6, value = NAN;
    bool is_read = snug__meter_text(part->fd, text, sizeof text);
    /* Some drivers give the current out of a battery a minus sign. */
    is_read = is_read && snug__parse_number(text + (text[0] == '-'), &value);
    if (part->fd_volt >= 0)
        volt = snug__meter_number(part->fd_volt);
    if (!is_read || isnan(volt)) {
        lose(energy, part, "power not readable");
        return NAN;
    }
    double power_w = value * 1e-6 * volt * 1e-6;
    if (power_w > POWER_W_MAX)
        lose(energy, part, "more power than a machine draws");
    return power_w;
}

static double counted_j(struct snug__energy *energy)
{
    double sum_uj = 0;
    for (int i = 0; i < energy->n_parts; i++)
        sum_uj += read_counter(energy, &energy->parts[i]);
    return sum_uj * 1e-6;
}

static double sum_power_w(struct snug__energy *energy)
{
    double sum_w = 0;
    for (int i = 0; i < energy->n_parts; i++)
        sum_w += read_power_w(energy, &energy->parts[i]);
    return sum_w;
}

static void take_power(struct snug__energy *energy, double power_w, double t_s)
{
    if (t_s - energy->t_changed_s > energy->hold_s)
        energy->hold_s = t_s - energy->t_changed_s;
    if (power_w != energy->power_w)
        energy->t_changed_s = t_s;
    energy->power_min_w = power_w < energy->power_min_w ? power_w : energy->power_min_w;
    energy->power_max_w = power_w > energy->power_max_w ? power_w : energy->power_max_w;
    energy->power_w = power_w;
}

void snug__energy_open(struct snug__energy *energy, const char *root, double t_s)
{
    snug__energy_find(energy, root);
    energy->t_first_s = energy->t_s = energy->t_changed_s = t_s;
    energy->power_w = NAN;
    if (energy->kind == SNUG__ENERGY_COUNTER) {
        (void)counted_j(energy); /* from 0: sets the first reading */
    } else if (energy->kind == SNUG__ENERGY_POWER) {
        energy->power_w = sum_power_w(energy);
        energy->power_min_w = energy->power_max_w = energy->power_w;
    }
}

void snug__energy_close(struct snug__energy *energy)
{
    for (int i = 0; i < energy->n_parts; i++) {
        const int fds[] = {energy->parts[i].fd, energy->parts[i].fd_volt,
                           energy->parts[i].fd_status};
        for (size_t k = 0; k < sizeof fds / sizeof fds[0]; k++)
            if (fds[k] >= 0)
                close(fds[k]);
    }
    energy->n_parts = 0;
    energy->kind = SNUG__ENERGY_NONE;
}

void snug__energy_look(struct snug__energy *energy, double t_s)
{
    double passed_s = t_s > energy->t_s ? t_s - energy->t_s : 0, j = 0;
    energy->t_s += passed_s;
    if (energy->kind == SNUG__ENERGY_NONE || energy->is_lost)
        return;
    if (energy->kind == SNUG__ENERGY_COUNTER) {
        j = counted_j(energy);
        if (j > POWER_W_MAX * (passed_s + COUNTER_STEP_S))
            lose(energy, &energy->parts[0], "more joules than a machine draws");
    } else {
        double before_w = energy->power_w, now_w = sum_power_w(energy);
        j = (before_w + now_w) / 2 * passed_s;
        take_power(energy, now_w, energy->t_s);
    }
    if (energy->is_lost)
        return;
    energy->total_j += j;
    energy->phases[energy->phase].j += j;
    energy->phases[energy->phase].s += passed_s;
}

void snug__energy_phase(struct snug__energy *energy, double t_s, enum snug_meters_phase phase)
{
    snug__energy_look(energy, t_s);
    if (phase != energy->phase)
        energy->phases[phase].n_stretches++;
    energy->phase = phase;
}

/* How far the joules of a phase may be off: at both ends of each of its stretches a reading is as
 * old as the source's step. For a counter that is the phase's power over the step; power is taken
 * to be anywhere in what was seen while the reading stood still, which a battery's does for
 * seconds. */
static double uncertainty_j(const struct snug__energy *energy, enum snug_meters_phase phase)
{
    double s = energy->phases[phase].s, n_ends = 2.0 * energy->phases[phase].n_stretches;
    if (s <= 0)
        return 0;
    if (energy->kind == SNUG__ENERGY_COUNTER)
        return n_ends * energy->phases[phase].j / s * COUNTER_STEP_S;
    return n_ends * (energy->power_max_w - energy->power_min_w) * energy->hold_s;
}

void snug__energy_finish(const struct snug__energy *energy, double idle_w, struct snug_energy *out)
{
    *out = (struct snug_energy){.idle_w = idle_w};
    snug__format(out->source, sizeof out->source, "%s", energy->source);
    if (energy->kind == SNUG__ENERGY_NONE || energy->is_lost)
        return;
    if (energy->total_j <= 0) { /* as in virtual machines that fake a counter */
        snug__format(out->source, sizeof out->source, "%.70s: stands still", energy->source);
        return;
    }
    double prefill_j = uncertainty_j(energy, SNUG_METERS_PREFILL);
    double decode_j = uncertainty_j(energy, SNUG_METERS_DECODE);
    out->is_known = true;
    out->prefill_j = energy->phases[SNUG_METERS_PREFILL].j;
    out->prefill_s = energy->phases[SNUG_METERS_PREFILL].s;
    out->decode_j = energy->phases[SNUG_METERS_DECODE].j;
    out->decode_s = energy->phases[SNUG_METERS_DECODE].s;
    out->uncertainty_j = prefill_j > decode_j ? prefill_j : decode_j;
}
