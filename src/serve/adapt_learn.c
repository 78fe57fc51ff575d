/* What requests tell of the members, and what that says of the others.
 *
 * The log of observed / predicted of a phase is taken for a sum of three parts: one that all
 * members share (longer prompts than were measured, a slower machine), one of those with the same
 * thread count (what load does to threads that wait for one another), and one of the member alone.
 * Each fades with the distance between levels of load. The mean of such a process at each member is
 * the correction (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, eq. 2.25);
 * without requests it is 1.
 *
 * Workload: some requests a second, some ten members four times a second; a few cells. */
#include <math.h>
#include <stdlib.h>

#include "snug/adapt.h"

static const double LEVELS = 4;       /* a level of load is so much of the CPUs: a quarter */
static const double LEVEL_FADE = 0.5; /* correlation of neighbouring levels */
static const double SIGNAL_VAR = 0.3 * 0.3;
/* Shares of it that are everybody's, the thread count's and the member's own. The last is small:
 * else a load that slows all alike sends the server from each of several like members to the next.
 */
static const double ALL_PART = 1 / 3.0, THREADS_PART = 1 / 2.0, OWN_PART = 1 / 6.0;
static const double NOISE_VAR = 0.1 * 0.1;        /* of one second of requests */
static const double FLOOR_VAR = 0.02 * 0.02;      /* however many: neighbours make them alike */
static const double LOG_MAX = 2.0794415416798357; /* log 8 */
static const double REQUEST_S = 4; /* one request is no more than so many seconds of evidence */
static const double WEIGHT_S = 12, WEIGHT_LEAST_S = 1;
static const int REQUESTS_LEAST = 3;
static const double HALF_S = 600;       /* age at which evidence counts half */
static const double UPPER_SDS = 1.6449; /* of 20 requests one is slower */

static int level_of(const struct snug_adapt_view *view)
{
    return view->knows_cpus ? (int)lround((1 - view->cpus_free / view->cpus_all) * LEVELS) : 0;
}

/* ---- remembering ---- */

static double left_s(const struct snug_adapt_seen *seen, double now_s)
{
    return seen->weight_s * exp2(-fmax(now_s - seen->seen_s, 0) / HALF_S);
}

static double weight_of(const struct snug_adapt_cell *cell, int phase, double now_s)
{
    const struct snug_adapt_seen *seen = &cell->seen[phase];
    const bool counts = seen->n >= REQUESTS_LEAST && seen->weight_s >= WEIGHT_LEAST_S;
    return counts ? left_s(seen, now_s) : 0;
}

static double last_s(const struct snug_adapt_cell *cell)
{
    return fmax(cell->seen[SNUG_ADAPT_PREFILL].seen_s, cell->seen[SNUG_ADAPT_DECODE].seen_s);
}

/* The cell of a member and level; a new one takes the place of the oldest where there is no room.
 */
static struct snug_adapt_cell *cell_of(struct snug_adapt_state *state, int member, int level)
{
    struct snug_adapt_cell *oldest = &state->cells[0];
    for (int i = 0; i < state->n_cells; i++) {
        struct snug_adapt_cell *cell = &state->cells[i];
        if (cell->member == member && cell->level == level)
            return cell;
        if (last_s(cell) < last_s(oldest))
            oldest = cell;
    }
    if (state->n_cells < SNUG_ADAPT_CELLS_MAX)
        oldest = &state->cells[state->n_cells++];
    *oldest = (struct snug_adapt_cell){.member = member, .level = level};
    return oldest;
}

static void see(struct snug_adapt_seen *seen, double tps, double predicted_tps, double s,
                double now_s)
{
    if (!(tps > 0 && predicted_tps > 0 && s > 0))
        return;
    const double y = fmax(-LOG_MAX, fmin(log(tps / predicted_tps), LOG_MAX));
    const double more_s = fmin(s, REQUEST_S);
    seen->weight_s = fmin(left_s(seen, now_s), WEIGHT_S - more_s) + more_s;
    seen->seen_s = fmax(seen->seen_s, now_s);
    const double part = more_s / seen->weight_s, step = y - seen->mean;
    seen->mean += part * step;
    seen->var = (1 - part) * (seen->var + part * step * step);
    seen->tps += part * (tps - seen->tps);
    seen->n++;
}

void snug_adapt_observe(struct snug_adapt_state *state, const struct snug_adapt_member *members,
                        const struct snug_adapt_view *view, const struct snug_adapt_sample *sample,
                        double now_s)
{
    const struct snug_adapt_point predicted = snug_adapt_predict(&members[sample->member], view);
    struct snug_adapt_seen *seen = cell_of(state, sample->member, level_of(view))->seen;
    see(&seen[SNUG_ADAPT_PREFILL], sample->prefill_tps, predicted.prefill_tps, sample->prefill_s,
        now_s);
    see(&seen[SNUG_ADAPT_DECODE], sample->decode_tps, predicted.decode_tps, sample->decode_s,
        now_s);
}

/* ---- what it says of all ---- */

static double covariance(const struct snug_adapt_member *members, const struct snug_adapt_cell *a,
                         int member, int level)
{
    double parts = ALL_PART;
    if (members[a->member].n_threads == members[member].n_threads)
        parts += THREADS_PART;
    if (a->member == member)
        parts += OWN_PART;
    return SIGNAL_VAR * parts * pow(LEVEL_FADE, abs(a->level - level));
}

/* Cells that count, and the weight of each in a mean. */
struct fit {
    const struct snug_adapt_cell *cells[SNUG_ADAPT_CELLS_MAX];
    double alpha[SNUG_ADAPT_CELLS_MAX];
    int n;
};

/* In place: k x = b for a symmetric positive definite k of n rows, by elimination; its diagonal has
 * noise on it, so that no pivot vanishes. */
static void solve(double k[][SNUG_ADAPT_CELLS_MAX], int n, double *b)
{
    for (int i = 0; i < n; i++) {
        for (int r = i + 1; r < n; r++) {
            const double factor = k[r][i] / k[i][i];
            for (int c = i; c < n; c++)
                k[r][c] -= factor * k[i][c];
            b[r] -= factor * b[i];
        }
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int c = i + 1; c < n; c++)
            b[i] -= k[i][c] * b[c];
        b[i] /= k[i][i];
    }
}

static void learn(const struct snug_adapt_state *state, const struct snug_adapt_member *members,
                  int phase, double now_s, struct fit *out)
{
    double k[SNUG_ADAPT_CELLS_MAX][SNUG_ADAPT_CELLS_MAX];
    out->n = 0;
    for (int i = 0; i < state->n_cells; i++) {
        if (weight_of(&state->cells[i], phase, now_s) > 0)
            out->cells[out->n++] = &state->cells[i];
    }
    for (int r = 0; r < out->n; r++) {
        const struct snug_adapt_cell *cell = out->cells[r];
        for (int c = 0; c < out->n; c++)
            k[r][c] = covariance(members, cell, out->cells[c]->member, out->cells[c]->level);
        k[r][r] += FLOOR_VAR + NOISE_VAR / weight_of(cell, phase, now_s);
        out->alpha[r] = cell->seen[phase].mean;
    }
    solve(k, out->n, out->alpha);
}

static double log_ratio(const struct fit *fit, const struct snug_adapt_member *members, int member,
                        int level)
{
    double mean = 0;
    for (int i = 0; i < fit->n; i++)
        mean += fit->alpha[i] * covariance(members, fit->cells[i], member, level);
    return fmax(-LOG_MAX, fmin(mean, LOG_MAX));
}

static const struct snug_adapt_seen *seen_at(const struct fit *fit, int phase, int member,
                                             int level)
{
    for (int i = 0; i < fit->n; i++) {
        if (fit->cells[i]->member == member && fit->cells[i]->level == level)
            return &fit->cells[i]->seen[phase];
    }
    return NULL;
}

static void correct(struct snug_adapt_outlook *out, const double spread[SNUG_ADAPT_N_PHASES])
{
    struct snug_adapt_point *p = &out->expected;
    const double prefill = out->ratio[SNUG_ADAPT_PREFILL], decode = out->ratio[SNUG_ADAPT_DECODE];
    p->speed /= p->prefill_frac / prefill + (1 - p->prefill_frac) / decode;
    p->prefill_tps *= prefill;
    p->decode_tps *= decode;
    p->ttft_s *= spread[SNUG_ADAPT_PREFILL] / prefill;
    p->tpot_s *= spread[SNUG_ADAPT_DECODE] / decode;
}

void snug_adapt_look_ahead(const struct snug_adapt_state *state,
                           const struct snug_adapt_member *members, int n,
                           const struct snug_adapt_view *view, double now_s,
                           struct snug_adapt_outlook *out)
{
    const int level = level_of(view);
    struct fit fits[SNUG_ADAPT_N_PHASES];
    for (int phase = 0; phase < SNUG_ADAPT_N_PHASES; phase++)
        learn(state, members, phase, now_s, &fits[phase]);
    for (int i = 0; i < n; i++) {
        const struct snug_adapt_point point = snug_adapt_predict(&members[i], view);
        double spread[SNUG_ADAPT_N_PHASES];
        out[i] = (struct snug_adapt_outlook){.predicted = point, .expected = point};
        for (int phase = 0; phase < SNUG_ADAPT_N_PHASES; phase++) {
            const struct snug_adapt_seen *seen = seen_at(&fits[phase], phase, i, level);
            out[i].ratio[phase] = exp(log_ratio(&fits[phase], members, i, level));
            out[i].tps[phase] = seen ? seen->tps : 0;
            /* How far the slower requests lie from the mean, as a factor. */
            spread[phase] = seen ? exp(UPPER_SDS * sqrt(seen->var)) : 1;
        }
        correct(&out[i], spread);
    }
}
