/* Exact Shapley values of trees. A path holds the features split on from the root to a node; for
 * each, the share of rows that goes this way when the feature is not known (zero) and whether x
 * itself goes this way when it is (one), and for every size of subset the sum of the weights of
 * all subsets of that size. Extending and unwinding the path changes these sums by one feature. */
#include <string.h>

#include "tune/forest.h"

/* A feature for every split of the deepest leaf, and the root's empty entry before them. */
#define PATH_MAX_LEN (SNUG__FOREST_DEPTH_MAX + 2)

struct step {
    int feature; /* -1: the root's entry */
    double zero, one;
    double weight; /* of subsets of as many features as stand before this one */
};

struct path {
    struct step step[PATH_MAX_LEN];
    int n;
};

struct explainer {
    const struct snug__forest *forest;
    const double *x;
    double *out;
};

static void extend(struct path *p, int feature, double zero, double one)
{
    const int n = p->n;
    p->step[n] = (struct step){feature, zero, one, n == 0 ? 1.0 : 0.0};
    for (int i = n - 1; i >= 0; i--) {
        p->step[i + 1].weight += one * p->step[i].weight * (i + 1) / (n + 1);
        p->step[i].weight *= zero * (n - i) / (n + 1);
    }
    p->n = n + 1;
}

/* Undo the extension by the feature of entry k, wherever in the path it was made. */
static void unwind(struct path *p, int k)
{
    const int n = p->n - 1;
    const double zero = p->step[k].zero, one = p->step[k].one;
    double carried = p->step[n].weight;
    for (int i = n - 1; i >= 0; i--) {
        if (one != 0.0) {
            const double before = p->step[i].weight;
            p->step[i].weight = carried * (n + 1) / ((i + 1) * one);
            carried = before - p->step[i].weight * zero * (n - i) / (n + 1);
        } else {
            p->step[i].weight = p->step[i].weight * (n + 1) / (zero * (n - i));
        }
    }
    for (int i = k; i < n; i++) {
        p->step[i].feature = p->step[i + 1].feature;
        p->step[i].zero = p->step[i + 1].zero;
        p->step[i].one = p->step[i + 1].one;
    }
    p->n = n;
}

/* The sum of weights that unwind(p, k) would leave, without doing it. */
static double unwound_sum(const struct path *p, int k)
{
    const int n = p->n - 1;
    const double zero = p->step[k].zero, one = p->step[k].one;
    double carried = p->step[n].weight, sum = 0.0;
    for (int i = n - 1; i >= 0; i--) {
        if (one != 0.0) {
            const double weight = carried * (n + 1) / ((i + 1) * one);
            carried = p->step[i].weight - weight * zero * (n - i) / (n + 1);
            sum += weight;
        } else {
            sum += p->step[i].weight * (n + 1) / (zero * (n - i));
        }
    }
    return sum;
}

static void explain_leaf(const struct explainer *e, const struct path *path, double value)
{
    for (int k = 1; k < path->n; k++) {
        const struct step *step = &path->step[k];
        e->out[step->feature] += unwound_sum(path, k) * (step->one - step->zero) * value;
    }
}

/* Recursion is as deep as the tree, at most SNUG__FOREST_DEPTH_MAX + 1. */
static void explain(const struct explainer *e, int at, const struct path *above, struct step last)
{
    const struct snug__forest_node *nodes = e->forest->nodes, *node = &nodes[at];
    struct path path; /* only its first steps are set: most of the cost would be the copy */
    path.n = above->n;
    memcpy(path.step, above->step, (size_t)above->n * sizeof *path.step);
    extend(&path, last.feature, last.zero, last.one);
    if (node->feature < 0) {
        explain_leaf(e, &path, node->value);
        return;
    }
    double zero = 1.0, one = 1.0;
    for (int k = 1; k < path.n; k++) {
        if (path.step[k].feature != node->feature)
            continue;
        zero = path.step[k].zero;
        one = path.step[k].one;
        unwind(&path, k);
        break;
    }
    const bool is_left = snug__forest_goes_left(e->forest, node, e->x);
    const double left = nodes[node->left].cover / node->cover;
    const double right = nodes[node->right].cover / node->cover;
    explain(e, node->left, &path,
            (struct step){node->feature, zero * left, is_left ? one : 0.0, 0.0});
    explain(e, node->right, &path,
            (struct step){node->feature, zero * right, is_left ? 0.0 : one, 0.0});
}

double snug__forest_shap(const struct snug__forest *forest, const double *x, double *out)
{
    const struct path empty = {.n = 0};
    const struct explainer e = {forest, x, out};
    double expectation = 0.0;
    memset(out, 0, (size_t)forest->n_features * sizeof *out);
    for (int t = 0; t < forest->n_trees; t++) {
        explain(&e, forest->root[t], &empty, (struct step){-1, 1.0, 1.0, 0.0});
        expectation += forest->nodes[forest->root[t]].value / forest->n_trees;
    }
    for (int j = 0; j < forest->n_features; j++)
        out[j] /= forest->n_trees;
    return expectation;
}
