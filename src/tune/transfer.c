/* Transfer from past tasks.
 *
 * Each past task has a Gaussian process on the log of its speeds, or on what its cost model left
 * over of them, fitted once over features of the present space. Its mean, less its average, is what
 * it expects here: on a log scale the effect of a knob is a ratio, which carries over as it is.
 *
 * Weights are those of a ranking-weighted ensemble (Feurer, Letham, Bakshy, "Scalable meta-learning
 * for Bayesian optimization", 2018; ReSTune, SIGMOD 2021, weighs alike): in draws of the measured
 * trials with replacement, the model with the fewest misranked pairs wins; the target's own is
 * judged by leaving each trial out. The share of draws that the pasts win, rather than the target,
 * is how far they are trusted; similarity stands for draws while there are few trials. */
#include "tune/transfer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "snug/stats.h"

#define DRAWS 64
/* Without a cost model a past speaks of whole effects, which depend on how fast the parts of a
 * machine are beside one another; so it is believed less: 0.6 to 1 were tried with generated tables
 * of perf/tunebench. */
#define TRUST_OF_WHOLE 0.6
/* Similarity counts as so many trials. */
#define TRIALS_OF_SIMILARITY 4.0
/* Likelihood evaluations of a fit: one costs some ms at the cap. */
#define EVALUATIONS_MAX 60
#define FIT_WORK 4000
/* Shares of the cost model's prediction that are tried on a past task. */
#define SHARE_STEPS 8
#define SHARE_SD 0.5

struct past {
    struct snug_gp *gp;
    double level; /* its average over its own trials */
    double similarity, weight;
    bool is_rest; /* it is of what a cost model left over */
    double *told; /* [SNUG_GP_POINTS_MAX] its expectation of each good trial here */
    double *kept; /* [n_kept] */
};

struct snug__transfer {
    struct past pasts[SNUG_PASTS_MAX];
    int n_pasts, n_told;
    int n_dims;
    uint64_t seed;
    double trust;
    struct snug_config best[SNUG_PASTS_MAX * SNUG__TRANSFER_BEST_MAX];
    int n_best;
    double *room; /* [room_n] of one past's answers */
    size_t room_n;
};

/* ---- past tasks ---- */

/* Good trials of a past, translated. */
struct lesson {
    struct snug_config config[SNUG_PAST_TRIALS_MAX];
    double x[SNUG_PAST_TRIALS_MAX * SNUG_KNOBS_MAX]; /* [n][n_dims] */
    double y[SNUG_PAST_TRIALS_MAX], expected[SNUG_PAST_TRIALS_MAX], sd[SNUG_PAST_TRIALS_MAX];
    double rest[SNUG_PAST_TRIALS_MAX * (SHARE_STEPS + 1)];
    struct snug_point points[SNUG_PAST_TRIALS_MAX];
    int n;
    bool has_expected;
};

static bool is_good(const struct snug_observation *o)
{
    return o->outcome == SNUG_TRIAL_OK && o->rung == 0 && o->speed > 0 && isfinite(o->speed) &&
           o->log_speed_sd >= 0 && isfinite(o->log_speed_sd);
}

/* The newest trials that fit, in their order. */
static void read_past(const struct snug_past *past, const struct snug__lattice *lattice,
                      bool has_prior, struct lesson *out)
{
    int first = past->n_trials;
    struct snug_config config;
    for (int n = 0; first > 0 && n < SNUG_PAST_TRIALS_MAX; first--)
        n += is_good(&past->trials[first - 1]) &&
             snug__transfer_config(past->space, &past->trials[first - 1].config, lattice, &config);
    out->n = 0;
    out->has_expected = has_prior && past->expected != NULL;
    for (int i = first; i < past->n_trials; i++) {
        const struct snug_observation *o = &past->trials[i];
        if (!is_good(o) || !snug__transfer_config(past->space, &o->config, lattice, &config))
            continue;
        const int n = out->n++;
        out->config[n] = config;
        snug__lattice_features(lattice, &config, out->x + n * lattice->n_dims);
        out->y[n] = log(o->speed);
        out->sd[n] = o->log_speed_sd;
        out->expected[n] = past->expected ? past->expected[i] : 0;
        out->points[n] = (struct snug_point){o->speed, o->bytes};
        out->has_expected = out->has_expected && isfinite(out->expected[n]);
    }
}

/* The share of the cost model's prediction that explains the past best, to the process. */
static void take_share(struct snug_gp *gp, struct lesson *l)
{
    double evidence[SHARE_STEPS + 1];
    int best = 0;
    for (int k = 0; k <= SHARE_STEPS; k++)
        for (int i = 0; i < l->n; i++)
            l->rest[k * l->n + i] = l->y[i] - l->expected[i] * k / SHARE_STEPS;
    snug_gp_evidences(gp, l->rest, SHARE_STEPS + 1, evidence);
    for (int k = 0; k <= SHARE_STEPS; k++) {
        const double off = (1 - (double)k / SHARE_STEPS) / SHARE_SD;
        evidence[k] -= 0.5 * off * off;
        if (evidence[k] > evidence[best])
            best = k;
    }
    snug_gp_set_values(gp, l->rest + best * l->n);
}

static snug_status fit_past(struct snug_gp *gp, struct lesson *l, int n_dims,
                            struct snug_error *err)
{
    const int work = FIT_WORK / l->n,
              n_evaluations = work < EVALUATIONS_MAX ? work : EVALUATIONS_MAX;
    snug_status status = SNUG_OK;
    for (int i = 0; status == SNUG_OK && i < l->n; i++)
        status = snug_gp_add(gp, l->x + i * n_dims,
                             l->y[i] - (l->has_expected ? l->expected[i] : 0), l->sd[i], err);
    if (status == SNUG_OK)
        status = snug_gp_fit(gp, n_evaluations, err);
    if (status != SNUG_OK || !l->has_expected)
        return status;
    take_share(gp, l);
    return snug_gp_fit(gp, n_evaluations, err);
}

/* The fastest of a past front, each at the levels nearest to it. */
static void take_best(struct snug__transfer *t, const struct lesson *l,
                      const struct snug__lattice *lattice)
{
    size_t index[SNUG_PAST_TRIALS_MAX];
    size_t n = snug_front_compute(l->points, (size_t)l->n, index);
    for (int k = 0; n > 0 && k < SNUG__TRANSFER_BEST_MAX; k++) {
        struct snug_config *out = &t->best[t->n_best++];
        *out = l->config[index[--n]];
        for (int d = 0; d < lattice->n_dims; d++) {
            const struct snug_knob *knob = &lattice->space->knobs[lattice->row[d]];
            int64_t *value = &out->value[lattice->row[d]];
            *value = snug_knob_level(knob, snug_knob_index(knob, *value));
        }
    }
}

static snug_status predict_level(struct past *past, const struct lesson *l, struct snug_error *err)
{
    double mean[SNUG_PAST_TRIALS_MAX];
    const snug_status status = snug_gp_predict(past->gp, l->x, (size_t)l->n, mean, NULL, err);
    if (status == SNUG_OK)
        past->level = snug_stats_mean(mean, (size_t)l->n);
    return status;
}

static snug_status add_past(struct snug__transfer *t, const struct snug_problem *problem, int i,
                            const struct snug__lattice *lattice, struct lesson *l,
                            struct snug_error *err)
{
    const struct snug_past *past = &problem->pasts[i];
    struct past *p = &t->pasts[t->n_pasts];
    read_past(past, lattice, problem->prior != NULL, l);
    if (l->n < SNUG__TRANSFER_TRIALS_MIN)
        return SNUG_OK;
    t->n_pasts++;
    p->is_rest = l->has_expected;
    p->similarity = fmin(fmax(past->similarity, 0), 1) * (p->is_rest ? 1 : TRUST_OF_WHOLE);
    p->told = calloc(SNUG_GP_POINTS_MAX, sizeof *p->told);
    if (!p->told)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a past task");
    snug_status status = snug_gp_new(lattice->n_dims, lattice->is_named, &p->gp, err);
    if (status == SNUG_OK)
        status = fit_past(p->gp, l, lattice->n_dims, err);
    if (status == SNUG_OK)
        status = predict_level(p, l, err);
    if (status == SNUG_OK)
        take_best(t, l, lattice);
    return status;
}

/* Weights while nothing was told, and what draws are mixed with later. */
static void weigh_by_similarity(struct snug__transfer *t)
{
    double sum = 0, most = 0;
    for (int j = 0; j < t->n_pasts; j++) {
        sum += t->pasts[j].similarity;
        most = fmax(most, t->pasts[j].similarity);
    }
    for (int j = 0; j < t->n_pasts; j++)
        t->pasts[j].weight = sum > 0 ? t->pasts[j].similarity / sum : 1.0 / t->n_pasts;
    t->trust = most;
}

snug_status snug__transfer_new(const struct snug_problem *problem,
                               const struct snug__lattice *lattice, struct snug__transfer **out,
                               struct snug_error *err)
{
    struct snug__transfer *t = calloc(1, sizeof *t);
    struct lesson *lesson = calloc(1, sizeof *lesson);
    snug_status status =
        t && lesson ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "no memory for past tasks");
    for (int i = 0; status == SNUG_OK && i < problem->n_pasts && i < SNUG_PASTS_MAX; i++)
        status = add_past(t, problem, i, lattice, lesson, err);
    free(lesson);
    if (status != SNUG_OK || t->n_pasts == 0) {
        snug__transfer_free(t);
        t = NULL;
    } else {
        t->n_dims = lattice->n_dims;
        t->seed = problem->seed;
        weigh_by_similarity(t);
    }
    if (status == SNUG_OK)
        *out = t;
    return status;
}

void snug__transfer_free(struct snug__transfer *t)
{
    for (int j = 0; t && j < t->n_pasts; j++) {
        snug_gp_free(t->pasts[j].gp);
        free(t->pasts[j].told);
        free(t->pasts[j].kept);
    }
    if (t)
        free(t->room);
    free(t);
}

bool snug__transfer_best(const struct snug__transfer *t, int k, struct snug_config *out)
{
    if (k < t->n_best)
        *out = t->best[k];
    return k < t->n_best;
}

bool snug__transfer_params(const struct snug__transfer *t, struct snug_gp_params *out)
{
    struct snug_gp_params sum = {.noise_sd = 0};
    for (int j = 0; j < t->n_pasts; j++) { /* on a log scale, as their priors are */
        struct snug_gp_params p;
        if (!t->pasts[j].is_rest)
            return false;
        snug_gp_get_params(t->pasts[j].gp, &p);
        for (int d = 0; d < t->n_dims; d++)
            sum.length[d] += t->pasts[j].weight * log(p.length[d]);
        sum.noise_sd += t->pasts[j].weight * log(p.noise_sd);
    }
    *out = (struct snug_gp_params){.noise_sd = exp(sum.noise_sd)};
    for (int d = 0; d < t->n_dims; d++)
        out->length[d] = exp(sum.length[d]);
    return true;
}

/* ---- expectations ---- */

static snug_status expect_of(struct past *past, const double *x, size_t m, double *out,
                             struct snug_error *err)
{
    const snug_status status = snug_gp_predict(past->gp, x, m, out, NULL, err);
    for (size_t i = 0; status == SNUG_OK && i < m; i++)
        out[i] -= past->level;
    return status;
}

snug_status snug__transfer_expect(struct snug__transfer *t, const double *x, size_t m, double *out,
                                  struct snug_error *err)
{
    snug_status status = SNUG_OK;
    if (m > t->room_n) {
        double *grown = realloc(t->room, m * sizeof *grown);
        if (!grown)
            return snug_fail(err, SNUG_NO_MEMORY, "no memory for %zu expectations", m);
        t->room = grown;
        t->room_n = m;
    }
    memset(out, 0, m * sizeof *out);
    for (int j = 0; status == SNUG_OK && j < t->n_pasts; j++) {
        if (!(t->pasts[j].weight > 0))
            continue;
        status = expect_of(&t->pasts[j], x, m, t->room, err);
        for (size_t i = 0; status == SNUG_OK && i < m; i++)
            out[i] += t->pasts[j].weight * t->room[i];
    }
    return status;
}

snug_status snug__transfer_keep(struct snug__transfer *t, const double *x, size_t m,
                                struct snug_error *err)
{
    snug_status status = SNUG_OK;
    for (int j = 0; status == SNUG_OK && j < t->n_pasts; j++) {
        free(t->pasts[j].kept);
        t->pasts[j].kept = calloc(m + 1, sizeof(double));
        status = t->pasts[j].kept
                     ? expect_of(&t->pasts[j], x, m, t->pasts[j].kept, err)
                     : snug_fail(err, SNUG_NO_MEMORY, "no memory for %zu expectations", m);
    }
    return status;
}

double snug__transfer_kept(const struct snug__transfer *t, size_t i)
{
    double sum = 0;
    for (int j = 0; j < t->n_pasts; j++)
        sum += t->pasts[j].weight * t->pasts[j].kept[i];
    return sum;
}

snug_status snug__transfer_tell(struct snug__transfer *t, const double *x, struct snug_error *err)
{
    snug_status status = SNUG_OK;
    for (int j = 0; status == SNUG_OK && j < t->n_pasts; j++)
        status = expect_of(&t->pasts[j], x, 1, &t->pasts[j].told[t->n_told], err);
    if (status == SNUG_OK)
        t->n_told++;
    return status;
}

void snug__transfer_remove_last(struct snug__transfer *t)
{
    if (t->n_told > 0)
        t->n_told--;
}

double snug__transfer_told(const struct snug__transfer *t, int i)
{
    double sum = 0;
    for (int j = 0; j < t->n_pasts; j++)
        sum += t->pasts[j].weight * t->pasts[j].told[i];
    return sum;
}

/* ---- weights ---- */

/* Pairs of the drawn trials that a model has the wrong way round; it expects e + base. */
static int misranked(const int *drawn, int n, const double *y, const double *e, const double *base)
{
    int n_wrong = 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++) {
            const int a = drawn[i], b = drawn[k];
            const double truth = y[a] + base[a] - y[b] - base[b];
            const double said = e[a] + base[a] - e[b] - base[b];
            n_wrong += (truth < 0) != (said < 0) && a != b;
        }
    return n_wrong;
}

/* One draw: those with the fewest misranked pairs share it. wins[n_pasts] is the target's. */
static void judge_draw(const struct snug__transfer *t, const int *drawn, const double *y,
                       const double *own, const double *base, double *wins)
{
    int wrong[SNUG_PASTS_MAX + 1], least, n_least = 0;
    for (int j = 0; j < t->n_pasts; j++)
        wrong[j] = misranked(drawn, t->n_told, y, t->pasts[j].told, base);
    wrong[t->n_pasts] = least = misranked(drawn, t->n_told, y, own, base);
    for (int j = 0; j < t->n_pasts; j++)
        least = wrong[j] < least ? wrong[j] : least;
    for (int j = 0; j <= t->n_pasts; j++)
        n_least += wrong[j] == least;
    for (int j = 0; j <= t->n_pasts; j++)
        wins[j] += wrong[j] == least ? 1.0 / n_least : 0;
}

void snug__transfer_weigh(struct snug__transfer *t, const double *y, const double *own,
                          const double *base)
{
    double wins[SNUG_PASTS_MAX + 1] = {0};
    int drawn[SNUG_GP_POINTS_MAX];
    struct snug_rng rng;
    weigh_by_similarity(t);
    if (t->n_told < 2)
        return;
    snug_rng_init(&rng, t->seed ^ (UINT64_C(0x9e6c63d0876a9a99) * (uint64_t)t->n_told));
    for (int k = 0; k < DRAWS; k++) {
        for (int i = 0; i < t->n_told; i++)
            drawn[i] = (int)snug_rng_below(&rng, (uint64_t)t->n_told);
        judge_draw(t, drawn, y, own, base, wins);
    }
    const double told = t->n_told, shown = told / (told + TRIALS_OF_SIMILARITY);
    const double won = 1 - wins[t->n_pasts] / DRAWS;
    for (int j = 0; j < t->n_pasts; j++) {
        const double by_draws = won > 0 ? wins[j] / DRAWS / won : t->pasts[j].weight;
        t->pasts[j].weight += shown * (by_draws - t->pasts[j].weight);
    }
    t->trust += shown * (won - t->trust);
}

double snug__transfer_trust(const struct snug__transfer *t)
{
    return t->trust;
}
