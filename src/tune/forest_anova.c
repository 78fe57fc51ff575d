/* Functional ANOVA of trees, exact, from pairs of leaves.
 *
 * A leaf a is a box: a set A_k of levels of each feature k, with the share f_k(a) of all its
 * levels. With w(a) = value(a) prod_k f_k(a) and r_k(a, b) = |A_k & B_k| / (n_k f_k(a) f_k(b)),
 *   variance of the marginal of k        = sum over a, b of w(a) w(b) (r_k - 1)
 *   what the pair k, l has beyond both   = sum over a, b of w(a) w(b) (r_k - 1) (r_l - 1)
 * A feature that either leaf does not restrict has r_k = 1 and drops out, so only splits that both
 * paths share cost anything. Values are centred first, which changes nothing but rounding. */
#include <stdlib.h>
#include <string.h>

#include "tune/forest.h"

#define LEAVES_MAX (1 << SNUG__FOREST_DEPTH_MAX)

/* Levels of a feature that are left: [lo, hi) for an ordered one, bits for a named one. */
struct side {
    int feature, lo, hi;
    uint64_t mask;
};

struct box {
    struct side side[SNUG__FOREST_DEPTH_MAX]; /* restricted features only */
    int n;
};

struct sums {
    const struct snug__forest *forest;
    double total;
    double main[SNUG__FOREST_FEATURES_MAX];
    double pair[SNUG__FOREST_FEATURES_MAX][SNUG__FOREST_FEATURES_MAX];
};

static int count_of(const struct snug__forest *forest, const struct side *side)
{
    if (forest->features[side->feature].is_named)
        return __builtin_popcountll(side->mask);
    return side->hi > side->lo ? side->hi - side->lo : 0;
}

static double share_of(const struct snug__forest *forest, const struct side *side)
{
    return (double)count_of(forest, side) / forest->features[side->feature].n_levels;
}

/* How many levels lie at or below a threshold: those with i / (n - 1) <= t. */
static int levels_below(int n_levels, double threshold)
{
    if (n_levels == 1)
        return threshold >= 0.0;
    int lo = 0, hi = n_levels; /* the first level above lies in lo..hi */
    while (lo < hi) {
        const int mid = (lo + hi) / 2;
        if ((double)mid / (n_levels - 1) <= threshold)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct side *side_of(const struct snug__forest *forest, struct box *box, int feature)
{
    for (int i = 0; i < box->n; i++)
        if (box->side[i].feature == feature)
            return &box->side[i];
    const int n_levels = forest->features[feature].n_levels;
    struct side *side = &box->side[box->n++];
    *side = (struct side){feature, 0, n_levels,
                          n_levels >= 64 ? UINT64_MAX : (UINT64_C(1) << n_levels) - 1};
    return side;
}

static void narrow(const struct snug__forest *forest, const struct snug__forest_node *node,
                   bool is_left, struct box *box)
{
    struct side *side = side_of(forest, box, node->feature);
    const int cut = levels_below(forest->features[node->feature].n_levels, node->threshold);
    side->mask &= is_left ? node->mask : ~node->mask;
    if (is_left && cut < side->hi)
        side->hi = cut;
    if (!is_left && cut > side->lo)
        side->lo = cut;
}

struct leaves {
    struct box box[LEAVES_MAX];
    double weight[LEAVES_MAX], value[LEAVES_MAX];
    int n;
};

/* Leaves whose box holds no level (a cut between two values off the lattice) are left out. */
static void collect(const struct snug__forest *forest, int at, struct box box,
                    struct leaves *leaves)
{
    const struct snug__forest_node *node = &forest->nodes[at];
    if (node->feature >= 0) {
        struct box left = box;
        narrow(forest, node, true, &left);
        narrow(forest, node, false, &box);
        collect(forest, node->left, left, leaves);
        collect(forest, node->right, box, leaves);
        return;
    }
    double share = 1.0;
    for (int i = 0; i < box.n; i++)
        share *= share_of(forest, &box.side[i]);
    if (share <= 0.0)
        return;
    leaves->box[leaves->n] = box;
    leaves->weight[leaves->n] = share;
    leaves->value[leaves->n++] = node->value;
}

static const struct side *find_side(const struct box *box, int feature)
{
    for (int i = 0; i < box->n; i++)
        if (box->side[i].feature == feature)
            return &box->side[i];
    return NULL;
}

/* r_k - 1 of a feature that both leaves restrict. */
static double excess(const struct snug__forest *forest, const struct side *a, const struct side *b)
{
    const struct side both = {a->feature, a->lo > b->lo ? a->lo : b->lo,
                              a->hi < b->hi ? a->hi : b->hi, a->mask & b->mask};
    return share_of(forest, &both) / (share_of(forest, a) * share_of(forest, b)) - 1.0;
}

static void add_pair(struct sums *sums, const struct box *a, const struct box *b, double weight)
{
    int feature[SNUG__FOREST_DEPTH_MAX], n = 0;
    double r[SNUG__FOREST_DEPTH_MAX];
    for (int i = 0; i < a->n; i++) {
        const struct side *other = find_side(b, a->side[i].feature);
        if (!other)
            continue;
        feature[n] = a->side[i].feature;
        r[n++] = excess(sums->forest, &a->side[i], other);
    }
    for (int i = 0; i < n; i++) {
        sums->main[feature[i]] += weight * r[i];
        for (int j = 0; j < i; j++) {
            const bool is_less = feature[j] < feature[i];
            sums->pair[is_less ? feature[j] : feature[i]][is_less ? feature[i] : feature[j]] +=
                weight * r[i] * r[j];
        }
    }
}

static void sum_tree(struct sums *sums, const struct leaves *leaves)
{
    double mean = 0.0;
    for (int i = 0; i < leaves->n; i++)
        mean += leaves->weight[i] * leaves->value[i];
    for (int i = 0; i < leaves->n; i++) {
        const double w = leaves->weight[i] * (leaves->value[i] - mean);
        sums->total += w * (leaves->value[i] - mean);
        for (int j = 0; j <= i; j++) {
            const double v = leaves->weight[j] * (leaves->value[j] - mean);
            add_pair(sums, &leaves->box[i], &leaves->box[j], (i == j ? 1 : 2) * w * v);
        }
    }
}

static void add_shares(const struct sums *sums, int n_features, struct snug__forest_anova *out)
{
    for (int i = 0; i < n_features; i++) {
        out->main[i] += sums->main[i] / sums->total;
        for (int j = i + 1; j < n_features; j++)
            out->pair[i][j] += sums->pair[i][j] / sums->total;
    }
}

snug_status snug__forest_anova(const struct snug__forest *forest, struct snug__forest_anova *out,
                               struct snug_error *err)
{
    struct leaves *leaves = malloc(sizeof *leaves);
    struct sums *sums = malloc(sizeof *sums);
    int n_varying = 0;
    if (!leaves || !sums) {
        free(leaves);
        free(sums);
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for an analysis of variance");
    }
    memset(out, 0, sizeof *out);
    for (int t = 0; t < forest->n_trees; t++) {
        *sums = (struct sums){.forest = forest};
        leaves->n = 0;
        collect(forest, forest->root[t], (struct box){.n = 0}, leaves);
        sum_tree(sums, leaves);
        if (sums->total <= 0.0)
            continue;
        n_varying++;
        add_shares(sums, forest->n_features, out);
    }
    for (int i = 0; i < forest->n_features && n_varying > 0; i++) {
        out->main[i] /= n_varying;
        for (int j = i + 1; j < forest->n_features; j++)
            out->pair[i][j] /= n_varying;
    }
    free(leaves);
    free(sums);
    return SNUG_OK;
}
