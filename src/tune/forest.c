/* Random forest: bootstrap samples, random subsets of features, splits that take away the most
 * squared error. Made for some dozens to some thousands of trials.
 *
 * Ordered features split at the middle between two neighbouring values. For named ones the levels
 * are ordered by their mean response and cut there: for squared error one of these cuts is the best
 * of all subsets (Fisher, On grouping for maximum homogeneity, 1958). One value against the rest is
 * among them. */
#include "tune/forest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "snug/stats.h"

const struct snug__forest_options snug__forest_defaults = {
    .n_trees = 64, .depth_max = SNUG__FOREST_DEPTH_MAX, .min_leaf = 2, .is_bagged = true};

static const double GAIN_MIN_FRAC = 1e-10;   /* of a node's squared error: below that is rounding */
static const double SPREAD_MIN_FRAC = 1e-12; /* sd over mean: below that is rounding too */

struct pair {
    double x, y;
};

struct split {
    int feature; /* -1: none found */
    double threshold, gain;
    uint64_t mask;
};

struct grower {
    const struct snug__forest_data *data;
    struct snug__forest_options options;
    struct snug__forest *forest;
    struct snug_rng rng;
    size_t *rows;       /* of the tree, reordered node by node */
    struct pair *pairs; /* one feature of one node */
    bool is_failed;
};

/* ---- splits of one node ---- */

static int by_x(const void *a, const void *b)
{
    const struct pair *p = a, *q = b;
    if (p->x != q->x)
        return p->x < q->x ? -1 : 1;
    return (p->y > q->y) - (p->y < q->y); /* the order of equals must not hang on qsort */
}

/* Squared error that a cut takes away, y being centred on the node's mean. */
static double cut_gain(double sum_left, size_t n_left, size_t n)
{
    const double l = (double)n_left, r = (double)(n - n_left);
    return sum_left * sum_left * (1.0 / l + 1.0 / r);
}

static void split_ordered(const struct grower *g, int feature, size_t n, struct split *best)
{
    const struct pair *p = g->pairs;
    const size_t min_leaf = (size_t)g->options.min_leaf;
    double sum = 0.0;
    for (size_t i = 1; i + min_leaf <= n; i++) {
        sum += p[i - 1].y;
        if (i < min_leaf || p[i - 1].x == p[i].x)
            continue;
        const double gain = cut_gain(sum, i, n);
        if (gain > best->gain)
            *best = (struct split){feature, p[i - 1].x + (p[i].x - p[i - 1].x) / 2, gain, 0};
    }
}

struct level {
    double sum;
    size_t n;
    int index;
};

static int by_mean(const void *a, const void *b)
{
    const struct level *p = a, *q = b;
    const double u = p->sum / (double)p->n, v = q->sum / (double)q->n;
    if (u != v)
        return u < v ? -1 : 1;
    return p->index - q->index;
}

/* Levels that no row of the node has go with the larger side. */
static void split_named(const struct grower *g, int feature, size_t n, struct split *best)
{
    struct level levels[SNUG__FOREST_NAMED_MAX] = {{0}};
    const size_t min_leaf = (size_t)g->options.min_leaf;
    int n_levels = 0;
    uint64_t seen = 0, left = 0;
    for (size_t i = 0; i < n; i++) { /* sorted: equal levels lie together */
        const int index = (int)g->pairs[i].x;
        if (n_levels == 0 || levels[n_levels - 1].index != index)
            levels[n_levels++] = (struct level){.index = index};
        levels[n_levels - 1].sum += g->pairs[i].y;
        levels[n_levels - 1].n++;
        seen |= UINT64_C(1) << index;
    }
    qsort(levels, (size_t)n_levels, sizeof *levels, by_mean);
    double sum = 0.0;
    size_t n_left = 0;
    for (int i = 0; i + 1 < n_levels; i++) {
        sum += levels[i].sum;
        n_left += levels[i].n;
        left |= UINT64_C(1) << levels[i].index;
        if (n_left < min_leaf || n - n_left < min_leaf)
            continue;
        const double gain = cut_gain(sum, n_left, n);
        if (gain > best->gain)
            *best = (struct split){feature, 0.0, gain, 2 * n_left > n ? left | ~seen : left & seen};
    }
}

static const double *row_x(const struct grower *g, size_t row)
{
    return g->data->x + row * (size_t)g->data->n_features;
}

/* Sort the node's rows by a feature; false when it does not vary. */
static bool sort_by(struct grower *g, int feature, const size_t *rows, size_t n, double mean)
{
    for (size_t i = 0; i < n; i++)
        g->pairs[i] = (struct pair){row_x(g, rows[i])[feature], g->data->y[rows[i]] - mean};
    qsort(g->pairs, n, sizeof *g->pairs, by_x);
    return g->pairs[0].x != g->pairs[n - 1].x;
}

/* The best cut among two thirds of the features, of those that vary, in random order. */
static struct split find_split(struct grower *g, const size_t *rows, size_t n, double mean,
                               double error)
{
    int order[SNUG__FOREST_FEATURES_MAX];
    const int n_features = g->data->n_features;
    const int n_try = (2 * n_features + 2) / 3;
    struct split best = {.feature = -1, .gain = GAIN_MIN_FRAC * error};
    for (int i = 0; i < n_features; i++)
        order[i] = i;
    for (int i = 0, n_tried = 0; i < n_features && n_tried < n_try; i++) {
        const int j = i + (int)snug_rng_below(&g->rng, (uint64_t)(n_features - i));
        const int feature = order[j];
        order[j] = order[i];
        if (!sort_by(g, feature, rows, n, mean))
            continue;
        n_tried++;
        if (g->data->features[feature].is_named)
            split_named(g, feature, n, &best);
        else
            split_ordered(g, feature, n, &best);
    }
    return best;
}

/* ---- trees ---- */

bool snug__forest_goes_left(const struct snug__forest *forest, const struct snug__forest_node *node,
                            const double *x)
{
    if (forest->features[node->feature].is_named)
        return node->mask >> (int)x[node->feature] & 1;
    return x[node->feature] <= node->threshold;
}

static int add_node(struct grower *g, struct snug__forest_node node)
{
    struct snug__forest *f = g->forest;
    if (f->n_nodes == f->cap) {
        const size_t cap = f->cap ? 2 * f->cap : 256;
        struct snug__forest_node *grown = realloc(f->nodes, cap * sizeof *grown);
        if (!grown) {
            g->is_failed = true;
            return -1;
        }
        f->nodes = grown;
        f->cap = cap;
    }
    f->nodes[f->n_nodes] = node;
    return (int)f->n_nodes++;
}

/* Rows that go left to the front; returns how many. */
static size_t partition(const struct grower *g, const struct snug__forest_node *node, size_t *rows,
                        size_t n)
{
    size_t n_left = 0;
    for (size_t i = 0; i < n; i++) {
        if (!snug__forest_goes_left(g->forest, node, row_x(g, rows[i])))
            continue;
        const size_t row = rows[i];
        rows[i] = rows[n_left];
        rows[n_left++] = row;
    }
    return n_left;
}

/* Depth is at most SNUG__FOREST_DEPTH_MAX, so recursion is safe. Returns the node or -1. */
static int grow_node(struct grower *g, size_t *rows, size_t n, int depth)
{
    double mean = 0.0, error = 0.0;
    for (size_t i = 0; i < n; i++)
        mean += g->data->y[rows[i]] / (double)n;
    for (size_t i = 0; i < n; i++)
        error += (g->data->y[rows[i]] - mean) * (g->data->y[rows[i]] - mean);
    struct snug__forest_node node = {
        .feature = -1, .left = -1, .right = -1, .value = mean, .cover = (double)n};
    const bool is_done = depth >= g->options.depth_max || n < 2 * (size_t)g->options.min_leaf ||
                         error <= (double)n * SPREAD_MIN_FRAC * SPREAD_MIN_FRAC * mean * mean;
    const struct split split =
        is_done ? (struct split){.feature = -1} : find_split(g, rows, n, mean, error);
    node.feature = split.feature;
    node.threshold = split.threshold;
    node.mask = split.mask;
    const int at = add_node(g, node);
    if (at < 0 || split.feature < 0)
        return at;
    const size_t n_left = partition(g, &node, rows, n);
    const int left = grow_node(g, rows, n_left, depth + 1);
    const int right = left < 0 ? -1 : grow_node(g, rows + n_left, n - n_left, depth + 1);
    if (right < 0)
        return -1;
    g->forest->nodes[at].left = left;
    g->forest->nodes[at].right = right;
    return at;
}

static void grow_trees(struct grower *g)
{
    const size_t n = g->data->n_rows;
    for (int t = 0; t < g->options.n_trees && !g->is_failed; t++) {
        for (size_t i = 0; i < n; i++)
            g->rows[i] = g->options.is_bagged ? (size_t)snug_rng_below(&g->rng, n) : i;
        g->forest->root[t] = (int)g->forest->n_nodes;
        g->is_failed = grow_node(g, g->rows, n, 0) < 0;
        g->forest->n_trees = t + 1;
        g->forest->root[t + 1] = (int)g->forest->n_nodes;
    }
}

/* ---- checks ---- */

static snug_status check_row(const struct snug__forest_data *data, size_t row,
                             struct snug_error *err)
{
    for (int j = 0; j < data->n_features; j++) {
        const double x = data->x[row * (size_t)data->n_features + (size_t)j];
        const struct snug__forest_feature *f = &data->features[j];
        const bool is_level = x >= 0.0 && x < f->n_levels && x == floor(x);
        if (!isfinite(x) || (f->is_named && !is_level))
            return snug_fail(err, SNUG_BAD_INPUT, "row %zu, feature %d: %g is not a level of it",
                             row, j, x);
    }
    if (!isfinite(data->y[row]))
        return snug_fail(err, SNUG_BAD_INPUT, "row %zu: the response %g is not finite", row,
                         data->y[row]);
    return SNUG_OK;
}

static snug_status check(const struct snug__forest_data *data, const struct snug__forest_options *o,
                         struct snug_error *err)
{
    if (data->n_rows < 1 || data->n_rows > SNUG__FOREST_ROWS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "a forest of %zu rows: 1 to %d are possible",
                         data->n_rows, SNUG__FOREST_ROWS_MAX);
    if (data->n_features < 1 || data->n_features > SNUG__FOREST_FEATURES_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "a forest of %d features: 1 to %d are possible",
                         data->n_features, SNUG__FOREST_FEATURES_MAX);
    if (o->n_trees < 1 || o->n_trees > SNUG__FOREST_TREES_MAX || o->min_leaf < 1 ||
        o->depth_max < 0 || o->depth_max > SNUG__FOREST_DEPTH_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "a forest of %d trees of depth %d and leaves of %d: 1 to %d trees, depth "
                         "up to %d and leaves of 1 or more are possible",
                         o->n_trees, o->depth_max, o->min_leaf, SNUG__FOREST_TREES_MAX,
                         SNUG__FOREST_DEPTH_MAX);
    for (int j = 0; j < data->n_features; j++) {
        const struct snug__forest_feature *f = &data->features[j];
        const int n_max = f->is_named ? SNUG__FOREST_NAMED_MAX : SNUG__FOREST_LEVELS_MAX;
        if (f->n_levels < 1 || f->n_levels > n_max)
            return snug_fail(err, SNUG_BAD_INPUT, "feature %d has %d levels: 1 to %d are possible",
                             j, f->n_levels, n_max);
    }
    snug_status status = SNUG_OK;
    for (size_t i = 0; i < data->n_rows && status == SNUG_OK; i++)
        status = check_row(data, i, err);
    return status;
}

/* ---- public ---- */

snug_status snug__forest_grow(const struct snug__forest_data *data,
                              const struct snug__forest_options *options, struct snug__forest *out,
                              struct snug_error *err)
{
    snug_status status = check(data, options, err);
    if (status != SNUG_OK)
        return status;
    struct snug__forest forest = {.n_features = data->n_features};
    memcpy(forest.features, data->features, (size_t)data->n_features * sizeof *data->features);
    struct grower g = {.data = data, .options = *options, .forest = &forest};
    snug_rng_init(&g.rng, options->seed);
    g.rows = calloc(data->n_rows, sizeof *g.rows);
    g.pairs = calloc(data->n_rows, sizeof *g.pairs);
    g.is_failed = !g.rows || !g.pairs;
    grow_trees(&g);
    free(g.rows);
    free(g.pairs);
    if (g.is_failed) {
        snug__forest_clear(&forest);
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a forest of %d trees over %zu rows",
                         options->n_trees, data->n_rows);
    }
    *out = forest;
    return SNUG_OK;
}

void snug__forest_clear(struct snug__forest *forest)
{
    free(forest->nodes);
    *forest = (struct snug__forest){.n_features = 0};
}

static const struct snug__forest_node *leaf_of(const struct snug__forest *forest, int tree,
                                               const double *x)
{
    const struct snug__forest_node *node = &forest->nodes[forest->root[tree]];
    while (node->feature >= 0)
        node = &forest->nodes[snug__forest_goes_left(forest, node, x) ? node->left : node->right];
    return node;
}

double snug__forest_predict(const struct snug__forest *forest, const double *x)
{
    double sum = 0.0;
    for (int t = 0; t < forest->n_trees; t++)
        sum += leaf_of(forest, t, x)->value;
    return sum / forest->n_trees;
}
