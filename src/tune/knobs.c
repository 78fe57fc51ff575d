/* Which knobs matter: rounds of forests on resampled configs, each knob beside a shuffled copy.
 *
 * A round draws configs with replacement, each with all its rows (a config that ran in several
 * tasks is no several trials of it), shuffles each knob's values over the configs for its copy,
 * grows a small forest on the draw, and explains all configs with it. Quantiles over rounds hold
 * the luck of the configs and of the trees together; the same round gives a knob and its copy, so
 * both suffer the same. The copy has the knob's own levels: one of many values splits more easily
 * than one of two, by chance too. */
#include "snug/knobs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tune/forest.h"

#define N_ROUNDS 64
#define EXPLAINED_MAX 128 /* rows: means over more change little, and cost grows with them */
#define PAIRS_MAX (SNUG_KNOBS_MAX_RANKED * (SNUG_KNOBS_MAX_RANKED - 1) / 2)

/* Rows of a draw: beyond it intervals are those of fewer rows, too wide rather than too narrow. */
static const size_t DRAWN_MAX = 512;
static const int N_TREES = 16;  /* of a round */
static const int DEPTH_MAX = 6; /* six knobs on a path are more than trials can tell */
static const double TAIL_FRAC = 0.025;
/* Of what shuffled copies seem to matter, and what a ranking can resolve. The median for chance: a
 * higher quantile costs more in strong knobs that stay open at 16 to 24 configs than it saves in
 * inert ones that are kept. */
static const double CHANCE_QUANTILE = 0.5, RESOLVED_QUANTILE = 0.95;

_Static_assert(2 * SNUG_KNOBS_MAX_RANKED <= SNUG__FOREST_FEATURES_MAX, "each knob and its copy");
_Static_assert(SNUG_KNOBS_ROWS_MAX <= SNUG__FOREST_ROWS_MAX, "a forest takes every row");
_Static_assert(SNUG_KNOBS_NAMED_MAX <= SNUG__FOREST_NAMED_MAX, "a forest takes every name");

struct work {
    const struct snug_knobs_problem *problem;
    struct snug_knobs_ranking *ranking;
    struct snug__forest_feature features[SNUG__FOREST_FEATURES_MAX]; /* knobs, then copies */
    struct snug_rng rng;
    int n_features, round;
    size_t n_drawn; /* rows of a draw */
    size_t n_groups;
    size_t *member, *group_at; /* rows by group; where each group begins, and the end */
    double *x;                 /* [n_rows][n_features], copies shuffled anew each round */
    double *drawn_x;           /* rows of the draw */
    double *drawn_y;
    size_t *order; /* a permutation of groups */
    bool *is_drawn;
    double effect[SNUG_KNOBS_MAX_RANKED][N_ROUNDS];
    double chance[SNUG_KNOBS_MAX_RANKED][N_ROUNDS];
    double share[SNUG_KNOBS_MAX_RANKED][N_ROUNDS];
    double pair[PAIRS_MAX][N_ROUNDS]; /* (0,1) (0,2) (1,2) (0,3) ... */
    double missed, spread;            /* squared errors over rows left out: forest, mean */
    struct snug__forest_anova anova;
};

/* ---- checks ---- */

static snug_status check_knob(const struct snug_knobs_problem *p, int k, struct snug_error *err)
{
    const struct snug_knobs_knob *knob = &p->knobs[k];
    const int n_max = knob->is_named ? SNUG_KNOBS_NAMED_MAX : SNUG_KNOBS_ROWS_MAX;
    if (knob->n_levels < 1 || knob->n_levels > n_max)
        return snug_fail(err, SNUG_BAD_INPUT, "knob %d has %d values: 1 to %d are possible", k,
                         knob->n_levels, n_max);
    for (size_t i = 0; i < p->n_rows; i++) {
        const int level = p->levels[i * (size_t)p->n_knobs + (size_t)k];
        if (level < 0 || level >= knob->n_levels)
            return snug_fail(err, SNUG_BAD_INPUT, "row %zu, knob %d: level %d of %d", i, k, level,
                             knob->n_levels);
    }
    return SNUG_OK;
}

static snug_status too_few(size_t n, struct snug_error *err)
{
    return snug_fail(err, SNUG_INFEASIBLE, "%zu different configs are too few: at least %d", n,
                     SNUG_KNOBS_CONFIGS_MIN);
}

static snug_status check(const struct snug_knobs_problem *p, struct snug_error *err)
{
    if (p->n_rows < SNUG_KNOBS_CONFIGS_MIN)
        return too_few(p->n_rows, err);
    if (p->n_rows > SNUG_KNOBS_ROWS_MAX || p->n_knobs < 1 || p->n_knobs > SNUG_KNOBS_MAX_RANKED)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%d knobs over %zu rows: 1 to %d over at most %d are possible", p->n_knobs,
                         p->n_rows, SNUG_KNOBS_MAX_RANKED, SNUG_KNOBS_ROWS_MAX);
    for (size_t i = 0; i < p->n_rows; i++)
        if (!isfinite(p->y[i]))
            return snug_fail(err, SNUG_BAD_INPUT, "row %zu: the response %g is not finite", i,
                             p->y[i]);
    snug_status status = SNUG_OK;
    for (int k = 0; k < p->n_knobs && status == SNUG_OK; k++)
        status = check_knob(p, k, err);
    return status;
}

/* ---- one round ---- */

/* As in tune/lattice.h. */
static double feature_of(const struct snug_knobs_knob *knob, int level)
{
    if (knob->is_named || knob->n_levels == 1)
        return level;
    return (double)level / (knob->n_levels - 1);
}

static double *row_of(const struct work *w, double *x, size_t row)
{
    return x + row * (size_t)w->n_features;
}

static void shuffle(struct work *w, size_t *order)
{
    for (size_t i = 0; i < w->n_groups; i++)
        order[i] = i;
    for (size_t i = w->n_groups; i > 1; i--) {
        const size_t j = (size_t)snug_rng_below(&w->rng, i), kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
}

/* A copy of knob k: every group gets the value of another one. */
static void shuffle_copy(struct work *w, int k)
{
    const int n_knobs = w->problem->n_knobs;
    shuffle(w, w->order);
    for (size_t g = 0; g < w->n_groups; g++) {
        const double value = row_of(w, w->x, w->member[w->group_at[w->order[g]]])[k];
        for (size_t i = w->group_at[g]; i < w->group_at[g + 1]; i++)
            row_of(w, w->x, w->member[i])[n_knobs + k] = value;
    }
}

/* Whole groups, until the draw is full: only of the last one some rows may be left out. */
static void draw(struct work *w)
{
    for (int k = 0; k < w->problem->n_knobs; k++)
        shuffle_copy(w, k);
    memset(w->is_drawn, 0, w->problem->n_rows * sizeof *w->is_drawn);
    for (size_t n = 0; n < w->n_drawn;) {
        const size_t g = (size_t)snug_rng_below(&w->rng, w->n_groups);
        for (size_t i = w->group_at[g]; i < w->group_at[g + 1]; i++) {
            const size_t row = w->member[i];
            w->is_drawn[row] = true;
            if (n == w->n_drawn)
                continue;
            memcpy(row_of(w, w->drawn_x, n), row_of(w, w->x, row),
                   (size_t)w->n_features * sizeof *w->x);
            w->drawn_y[n++] = w->problem->y[row];
        }
    }
}

static void explain(struct work *w, const struct snug__forest *forest)
{
    struct snug_knobs_ranking *r = w->ranking;
    const int n_knobs = w->problem->n_knobs;
    double shap[SNUG__FOREST_FEATURES_MAX];
    for (size_t i = 0; i < r->n_explained; i++) {
        snug__forest_shap(forest, row_of(w, w->x, r->row[i]), shap);
        for (int k = 0; k < n_knobs; k++) {
            w->effect[k][w->round] += fabs(shap[k]) / (double)r->n_explained;
            w->chance[k][w->round] += fabs(shap[n_knobs + k]) / (double)r->n_explained;
            r->value[i * (size_t)n_knobs + (size_t)k] += shap[k] / N_ROUNDS;
        }
    }
}

static void foresee(struct work *w, const struct snug__forest *forest)
{
    const double mean = snug_stats_mean(w->drawn_y, w->n_drawn);
    for (size_t i = 0; i < w->problem->n_rows; i++) {
        if (w->is_drawn[i])
            continue;
        const double y = w->problem->y[i];
        const double off = y - snug__forest_predict(forest, row_of(w, w->x, i));
        w->missed += off * off;
        w->spread += (y - mean) * (y - mean);
    }
}

static snug_status share_out(struct work *w, const struct snug__forest *forest,
                             struct snug_error *err)
{
    const int n_knobs = w->problem->n_knobs;
    snug_status status = snug__forest_anova(forest, &w->anova, err);
    if (status != SNUG_OK)
        return status;
    for (int j = 0, at = 0; j < n_knobs; j++) {
        w->share[j][w->round] = w->anova.main[j];
        for (int i = 0; i < j; i++)
            w->pair[at++][w->round] = w->anova.pair[i][j];
    }
    return SNUG_OK;
}

static snug_status run_round(struct work *w, struct snug_error *err)
{
    struct snug__forest forest = {.n_features = 0};
    draw(w);
    const struct snug__forest_data data = {w->features, w->n_features, w->drawn_x, w->drawn_y,
                                           w->n_drawn};
    struct snug__forest_options options = snug__forest_defaults;
    options.n_trees = N_TREES;
    options.depth_max = DEPTH_MAX;
    options.is_bagged = false; /* the draw is the bag: two would leave 40 % of the configs */
    options.seed = snug_rng_next(&w->rng);
    snug_status status = snug__forest_grow(&data, &options, &forest, err);
    if (status != SNUG_OK)
        return status;
    explain(w, &forest);
    foresee(w, &forest);
    status = share_out(w, &forest, err);
    snug__forest_clear(&forest);
    return status;
}

/* ---- what the rounds say ---- */

static struct snug_interval interval_of(const double *x)
{
    return (struct snug_interval){snug_stats_quantile(x, N_ROUNDS, TAIL_FRAC),
                                  snug_stats_median(x, N_ROUNDS),
                                  snug_stats_quantile(x, N_ROUNDS, 1 - TAIL_FRAC)};
}

static void rank_knob(const struct work *w, int k)
{
    struct snug_knobs_rank *rank = &w->ranking->rank[k];
    *rank = (struct snug_knobs_rank){
        .effect = interval_of(w->effect[k]),
        .share = interval_of(w->share[k]),
        .chance = snug_stats_quantile(w->chance[k], N_ROUNDS, CHANCE_QUANTILE),
    };
    /* Forests understate weak knobs beside strong ones: a small effect says little where copies
     * reach a greater one. */
    const double resolved = snug_stats_quantile(w->chance[k], N_ROUNDS, RESOLVED_QUANTILE);
    const bool is_small =
        rank->effect.hi < w->problem->negligible && resolved < w->problem->negligible;
    rank->decision = rank->effect.lo > rank->chance                  ? SNUG_KNOBS_KEEP
                     : is_small && w->problem->knobs[k].n_levels > 1 ? SNUG_KNOBS_DROP
                                                                     : SNUG_KNOBS_OPEN;
}

/* Keep the SNUG_KNOBS_PAIRS_MAX greatest, in order. */
static void offer_pair(struct snug_knobs_ranking *r, struct snug_knobs_pair pair)
{
    int at = r->n_pairs;
    while (at > 0 && r->pair[at - 1].share.mid < pair.share.mid)
        at--;
    if (at >= SNUG_KNOBS_PAIRS_MAX || !(pair.share.mid > 0.0))
        return;
    const int n_kept = r->n_pairs < SNUG_KNOBS_PAIRS_MAX ? r->n_pairs : SNUG_KNOBS_PAIRS_MAX - 1;
    memmove(&r->pair[at + 1], &r->pair[at], (size_t)(n_kept - at) * sizeof *r->pair);
    r->pair[at] = pair;
    r->n_pairs = n_kept + 1;
}

/* Quantiles are NAN when there was no memory to sort in. */
static bool is_whole(const struct snug_knobs_rank *rank)
{
    return !isnan(rank->effect.lo) && !isnan(rank->effect.mid) && !isnan(rank->effect.hi) &&
           !isnan(rank->share.lo) && !isnan(rank->share.mid) && !isnan(rank->share.hi) &&
           !isnan(rank->chance);
}

static snug_status conclude(const struct work *w, struct snug_error *err)
{
    for (int j = 0, at = 0; j < w->problem->n_knobs; j++) {
        rank_knob(w, j);
        if (!is_whole(&w->ranking->rank[j]))
            return snug_fail(err, SNUG_NO_MEMORY, "no memory for the intervals of knob %d", j);
        for (int i = 0; i < j; i++)
            offer_pair(w->ranking, (struct snug_knobs_pair){i, j, interval_of(w->pair[at++])});
    }
    w->ranking->foreseen_frac = w->spread > 0.0 ? 1.0 - w->missed / w->spread : 0.0;
    return SNUG_OK;
}

/* ---- public ---- */

static bool make_room(struct work *w)
{
    const struct snug_knobs_problem *p = w->problem;
    struct snug_knobs_ranking *r = w->ranking;
    const size_t n = p->n_rows;
    w->n_drawn = n < DRAWN_MAX ? n : DRAWN_MAX;
    r->n_explained = n < EXPLAINED_MAX ? n : EXPLAINED_MAX;
    r->row = calloc(r->n_explained, sizeof *r->row);
    r->value = calloc(r->n_explained * (size_t)p->n_knobs, sizeof *r->value);
    w->x = calloc(n * (size_t)w->n_features, sizeof *w->x);
    w->drawn_x = calloc(n * (size_t)w->n_features, sizeof *w->drawn_x);
    w->drawn_y = calloc(n, sizeof *w->drawn_y);
    w->member = calloc(n, sizeof *w->member);
    w->group_at = calloc(n + 1, sizeof *w->group_at);
    w->order = calloc(n, sizeof *w->order);
    w->is_drawn = calloc(n, sizeof *w->is_drawn);
    return r->row && r->value && w->x && w->drawn_x && w->drawn_y && w->member && w->group_at &&
           w->order && w->is_drawn;
}

struct grouped {
    size_t row;
    int group;
};

static int by_group(const void *a, const void *b)
{
    const struct grouped *p = a, *q = b;
    if (p->group != q->group)
        return p->group < q->group ? -1 : 1;
    return (p->row > q->row) - (p->row < q->row);
}

static snug_status find_groups(struct work *w, struct snug_error *err)
{
    const struct snug_knobs_problem *p = w->problem;
    struct grouped *rows = calloc(p->n_rows + 1, sizeof *rows);
    if (!rows)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory to group %zu rows", p->n_rows);
    for (size_t i = 0; i < p->n_rows; i++)
        rows[i] = (struct grouped){i, p->group ? p->group[i] : (int)i};
    qsort(rows, p->n_rows, sizeof *rows, by_group);
    for (size_t i = 0; i < p->n_rows; i++) {
        if (i == 0 || rows[i].group != rows[i - 1].group)
            w->group_at[w->n_groups++] = i;
        w->member[i] = rows[i].row;
    }
    w->group_at[w->n_groups] = p->n_rows;
    free(rows);
    return w->n_groups < SNUG_KNOBS_CONFIGS_MIN ? too_few(w->n_groups, err) : SNUG_OK;
}

static void fill(struct work *w)
{
    const struct snug_knobs_problem *p = w->problem;
    for (int k = 0; k < p->n_knobs; k++) {
        w->features[k] = (struct snug__forest_feature){p->knobs[k].is_named, p->knobs[k].n_levels};
        w->features[p->n_knobs + k] = w->features[k];
        for (size_t i = 0; i < p->n_rows; i++)
            row_of(w, w->x, i)[k] =
                feature_of(&p->knobs[k], p->levels[i * (size_t)p->n_knobs + (size_t)k]);
    }
    for (size_t i = 0; i < w->ranking->n_explained; i++)
        w->ranking->row[i] = i * p->n_rows / w->ranking->n_explained;
}

static void work_free(struct work *w)
{
    if (!w)
        return;
    free(w->x);
    free(w->drawn_x);
    free(w->drawn_y);
    free(w->member);
    free(w->group_at);
    free(w->order);
    free(w->is_drawn);
    free(w);
}

snug_status snug_knobs_rank(const struct snug_knobs_problem *problem,
                            struct snug_knobs_ranking *out_ranking, struct snug_error *err)
{
    struct snug_knobs_ranking ranking = {.n_knobs = problem->n_knobs};
    snug_status status = check(problem, err);
    if (status != SNUG_OK)
        return status;
    struct work *w = calloc(1, sizeof *w);
    if (w) {
        w->problem = problem;
        w->ranking = &ranking;
        w->n_features = 2 * problem->n_knobs;
        snug_rng_init(&w->rng, problem->seed);
    }
    if (!w || !make_room(w)) {
        status = snug_fail(err, SNUG_NO_MEMORY, "no memory to rank %d knobs over %zu rows",
                           problem->n_knobs, problem->n_rows);
        goto done;
    }
    status = find_groups(w, err);
    if (status != SNUG_OK)
        goto done;
    fill(w);
    for (w->round = 0; w->round < N_ROUNDS && status == SNUG_OK; w->round++)
        status = run_round(w, err);
    if (status != SNUG_OK)
        goto done;
    status = conclude(w, err);
    if (status != SNUG_OK)
        goto done;
    *out_ranking = ranking;
    ranking = (struct snug_knobs_ranking){.n_knobs = 0}; /* the caller owns its arrays now */
done:
    work_free(w);
    snug_knobs_ranking_clear(&ranking);
    return status;
}

void snug_knobs_ranking_clear(struct snug_knobs_ranking *ranking)
{
    free(ranking->row);
    free(ranking->value);
    *ranking = (struct snug_knobs_ranking){.n_knobs = 0};
}

const char *snug_knobs_decision_name(enum snug_knobs_decision decision)
{
    static const char *const names[] = {"keep", "drop", "open"};
    return names[decision];
}

enum snug_knobs_decision snug_knobs_decide(const enum snug_knobs_decision *decisions, size_t n)
{
    bool is_open = n == 0;
    for (size_t i = 0; i < n; i++) {
        if (decisions[i] == SNUG_KNOBS_KEEP)
            return SNUG_KNOBS_KEEP;
        is_open = is_open || decisions[i] == SNUG_KNOBS_OPEN;
    }
    return is_open ? SNUG_KNOBS_OPEN : SNUG_KNOBS_DROP;
}
