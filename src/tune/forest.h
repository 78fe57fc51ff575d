/* A seeded random forest over the features of a tuning space, and what can be computed exactly from
 * it: Shapley values of a prediction and shares of variance over the lattice.
 *
 * Features are those of tune/lattice.h: an ordered feature of n levels has its levels at
 * i / (n - 1), values between them are allowed; a named one is its level's number, 0 .. n - 1.
 * Trees regress y; with y 0 or 1 the mean prediction is a probability. */
#ifndef SNUG_TUNE_FOREST_H
#define SNUG_TUNE_FOREST_H

#include "snug/base.h"

#define SNUG__FOREST_FEATURES_MAX 64
#define SNUG__FOREST_NAMED_MAX 64 /* levels of a named feature: bits of a mask */
#define SNUG__FOREST_LEVELS_MAX (1 << 20)
#define SNUG__FOREST_ROWS_MAX 4096
#define SNUG__FOREST_TREES_MAX 512
#define SNUG__FOREST_DEPTH_MAX 10 /* 1024 leaves, about 50 kB a tree */

struct snug__forest_feature {
    bool is_named;
    int n_levels; /* >= 1 */
};

struct snug__forest_data {
    const struct snug__forest_feature *features;
    int n_features;
    const double *x; /* [n_rows][n_features] */
    const double *y; /* [n_rows], finite */
    size_t n_rows;
};

struct snug__forest_options {
    int n_trees, depth_max;
    int min_leaf;   /* rows of a leaf at least */
    bool is_bagged; /* each tree grows on its own bootstrap sample; else on the rows as they are */
    uint64_t seed;
};

/* 64 trees, depth 10, leaves of at least 2, bagged. */
extern const struct snug__forest_options snug__forest_defaults;

/* A leaf has feature -1. Left: x <= threshold, or a bit of mask for named features. */
struct snug__forest_node {
    int feature, left, right;
    double threshold;
    uint64_t mask;
    double value; /* mean of the rows */
    double cover; /* number of rows */
};

struct snug__forest {
    struct snug__forest_feature features[SNUG__FOREST_FEATURES_MAX];
    int n_features, n_trees;
    struct snug__forest_node *nodes; /* of all trees, children behind their parent */
    size_t n_nodes, cap;
    int root[SNUG__FOREST_TREES_MAX + 1]; /* the last is the end of the last tree */
};

/* Grow. Same data, options and seed: the same forest, bit for bit. *out is zeroed by the caller and
 * cleared by snug__forest_clear; untouched on failure.
 * Errors  SNUG_BAD_INPUT: no rows, something beyond a cap, or a value that is not finite.
 * Cost    O(n_trees * n_features * n_rows * log(n_rows) * depth_max)
 * Source  Breiman, Random Forests, Machine Learning 45 (2001) */
snug_status snug__forest_grow(const struct snug__forest_data *data,
                              const struct snug__forest_options *options, struct snug__forest *out,
                              struct snug_error *err) SNUG_CHECKED;
void snug__forest_clear(struct snug__forest *forest);
/* Mean over trees of what they predict at x. */
double snug__forest_predict(const struct snug__forest *forest, const double *x);

bool snug__forest_goes_left(const struct snug__forest *forest, const struct snug__forest_node *node,
                            const double *x);

/* Shapley values of the prediction at x, averaged over trees: out[n_features]; features that are
 * not known are averaged over by the rows on both sides (path-dependent). They add up to the
 * prediction less the returned expectation, the mean over trees of their rows' mean.
 * Cost    O(nodes * depth^2)
 * Source  Lundberg et al., From local explanations to global understanding with explainable AI for
 *         trees, Nature Machine Intelligence 2 (2020), algorithm 2 */
double snug__forest_shap(const struct snug__forest *forest, const double *x, double *out);

/* Shares of variance over the whole lattice, every level of a feature as likely as any other. */
struct snug__forest_anova {
    double main[SNUG__FOREST_FEATURES_MAX]; /* of each feature alone */
    /* What a pair adds beyond both alone, as a share; [i][j] for i < j. */
    double pair[SNUG__FOREST_FEATURES_MAX][SNUG__FOREST_FEATURES_MAX];
};
/* Exact for each tree, then averaged: shares over the trees that vary at all. 0 when none does.
 * Cost    O(leaves^2 * depth^2) per tree
 * Source  Hutter, Hoos, Leyton-Brown, An efficient approach for assessing hyperparameter
 * importance, ICML 2014 */
snug_status snug__forest_anova(const struct snug__forest *forest, struct snug__forest_anova *out,
                               struct snug_error *err) SNUG_CHECKED;

#endif
