/* The random forest, its Shapley values and its shares of variance, against definitions written as
 * plainly as possible: subsets enumerated, lattices walked. */
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "snug/stats.h"
#include "tune/forest.h"

#define EXACT 1e-9 /* sums of some hundred terms of size 10 */
#define N_FEATURES 5
#define N_ROWS 40

static const struct snug__forest_feature FEATURES[N_FEATURES] = {
    {false, 4}, {true, 3}, {true, 2}, {false, 7}, {false, 1}};

struct sample {
    double x[N_ROWS * N_FEATURES], y[N_ROWS];
    struct snug__forest_data data;
};

static double level_of(int feature, int level)
{
    const struct snug__forest_feature *f = &FEATURES[feature];
    return f->is_named || f->n_levels == 1 ? level : (double)level / (f->n_levels - 1);
}

static void random_x(struct snug_rng *rng, double *x)
{
    for (int j = 0; j < N_FEATURES; j++)
        x[j] = level_of(j, (int)snug_rng_below(rng, (uint64_t)FEATURES[j].n_levels));
}

/* Interactions on purpose; noise so that no two trees agree. */
static double truth(const double *x, struct snug_rng *rng)
{
    return 3 * x[0] + (x[1] == 1) * (2 + 4 * x[3]) - (x[2] == 1) * x[0] + snug_rng_normal(rng);
}

static void sample_init(struct sample *s, uint64_t seed)
{
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    for (size_t i = 0; i < N_ROWS; i++) {
        random_x(&rng, &s->x[i * N_FEATURES]);
        s->y[i] = truth(&s->x[i * N_FEATURES], &rng);
    }
    s->data = (struct snug__forest_data){FEATURES, N_FEATURES, s->x, s->y, N_ROWS};
}

static struct snug__forest grown(const struct sample *s, int n_trees, uint64_t seed)
{
    struct snug__forest forest = {0};
    struct snug__forest_options options = snug__forest_defaults;
    options.n_trees = n_trees;
    options.seed = seed;
    assert_int_equal(snug__forest_grow(&s->data, &options, &forest, NULL), SNUG_OK);
    return forest;
}

/* ---- growing ---- */

static void grow_same_seed_gives_same_forest(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s, 1);
    struct snug__forest a = grown(&s, 8, 7), b = grown(&s, 8, 7), c = grown(&s, 8, 8);
    assert_int_equal(a.n_nodes, b.n_nodes);
    for (size_t i = 0; i < a.n_nodes; i++) {
        assert_int_equal(a.nodes[i].feature, b.nodes[i].feature);
        assert_true(a.nodes[i].value == b.nodes[i].value);
        assert_true(a.nodes[i].threshold == b.nodes[i].threshold);
        assert_int_equal(a.nodes[i].mask, b.nodes[i].mask);
    }
    bool differs = a.n_nodes != c.n_nodes;
    for (size_t i = 0; i < a.n_nodes && !differs; i++)
        differs = a.nodes[i].value != c.nodes[i].value;
    assert_true(differs);
    snug__forest_clear(&a);
    snug__forest_clear(&b);
    snug__forest_clear(&c);
}

static void grow_leaves_hold_the_least_number_of_rows(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct sample s;
        struct snug__forest forest = {0};
        struct snug__forest_options options = snug__forest_defaults;
        sample_init(&s, seed);
        options.min_leaf = 3;
        options.depth_max = 4;
        options.seed = seed;
        assert_int_equal(snug__forest_grow(&s.data, &options, &forest, NULL), SNUG_OK);
        for (size_t i = 0; i < forest.n_nodes; i++)
            if (forest.nodes[i].cover < 3)
                fail_msg("seed %llu: node %zu holds %g rows", (unsigned long long)seed, i,
                         forest.nodes[i].cover);
        assert_true(forest.n_nodes <= 64u * 31u); /* 2^5 - 1 nodes each */
        snug__forest_clear(&forest);
    }
}

/* One tree on the rows as they are, leaves of one row: it must give back what it saw. */
static void grow_full_tree_predicts_its_rows(void **state)
{
    (void)state;
    const double x[] = {0, 0, 0, 1, 0, 2, 1, 0, 1, 1, 1, 2};
    const double y[] = {5, 1, 9, 4, 4, 20};
    const struct snug__forest_feature features[] = {{true, 2}, {true, 3}};
    const struct snug__forest_data data = {features, 2, x, y, 6};
    const struct snug__forest_options options = {
        .n_trees = 1, .depth_max = 10, .min_leaf = 1, .seed = 1};
    struct snug__forest forest = {0};
    assert_int_equal(snug__forest_grow(&data, &options, &forest, NULL), SNUG_OK);
    for (size_t i = 0; i < 6; i++)
        assert_float_equal(snug__forest_predict(&forest, &x[2 * i]), y[i], EXACT);
    snug__forest_clear(&forest);
}

/* Failures as 0 and 1: the forest is a classifier. */
static void predict_of_zeros_and_ones_is_a_probability(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s, 3);
    for (size_t i = 0; i < N_ROWS; i++)
        s.y[i] = s.x[i * N_FEATURES + 1] == 2 && s.x[i * N_FEATURES] > 0.2;
    struct snug__forest forest = grown(&s, 64, 1);
    double bad[N_FEATURES] = {1, 2, 0, 0.5, 0}, good[N_FEATURES] = {0, 0, 0, 0.5, 0};
    assert_true(snug__forest_predict(&forest, bad) > 0.5);
    assert_true(snug__forest_predict(&forest, bad) <= 1);
    assert_true(snug__forest_predict(&forest, good) < 0.1);
    snug__forest_clear(&forest);
}

static void grow_constant_response_is_one_leaf(void **state)
{
    (void)state;
    struct sample s;
    double shap[N_FEATURES];
    struct snug__forest_anova anova;
    sample_init(&s, 1);
    for (size_t i = 0; i < N_ROWS; i++)
        s.y[i] = 0.1; /* no binary fraction: its mean rounds */
    struct snug__forest forest = grown(&s, 4, 1);
    assert_int_equal(forest.n_nodes, 4);
    assert_float_equal(snug__forest_shap(&forest, s.x, shap), 0.1, EXACT);
    assert_int_equal(snug__forest_anova(&forest, &anova, NULL), SNUG_OK);
    for (int j = 0; j < N_FEATURES; j++)
        assert_true(shap[j] == 0.0 && anova.main[j] == 0.0);
    snug__forest_clear(&forest);
}

static snug_status try_grow(const struct snug__forest_data *data, int n_trees)
{
    struct snug__forest forest = {0};
    struct snug__forest_options options = snug__forest_defaults;
    struct snug_error err = {0};
    options.n_trees = n_trees;
    options.depth_max = 1;
    const snug_status status = snug__forest_grow(data, &options, &forest, &err);
    assert_true(status == SNUG_OK || err.text[0]);
    snug__forest_clear(&forest);
    return status;
}

static void grow_caps_hold(void **state)
{
    (void)state;
    const size_t n_max = SNUG__FOREST_ROWS_MAX + 1;
    double *x = calloc(n_max * (SNUG__FOREST_FEATURES_MAX + 1), sizeof *x);
    double *y = calloc(n_max, sizeof *y);
    struct snug__forest_feature features[SNUG__FOREST_FEATURES_MAX + 1];
    assert_non_null(x);
    assert_non_null(y);
    for (size_t j = 0; j < COUNT(features); j++)
        features[j] = (struct snug__forest_feature){false, 2};
    struct snug__forest_data data = {features, 1, x, y, SNUG__FOREST_ROWS_MAX};
    assert_int_equal(try_grow(&data, 1), SNUG_OK);
    data.n_rows++;
    assert_int_equal(try_grow(&data, 1), SNUG_BAD_INPUT);
    data.n_rows = 2;
    assert_int_equal(try_grow(&data, SNUG__FOREST_TREES_MAX), SNUG_OK);
    assert_int_equal(try_grow(&data, SNUG__FOREST_TREES_MAX + 1), SNUG_BAD_INPUT);
    data.n_features = SNUG__FOREST_FEATURES_MAX;
    assert_int_equal(try_grow(&data, 1), SNUG_OK);
    data.n_features++;
    assert_int_equal(try_grow(&data, 1), SNUG_BAD_INPUT);
    data.n_features = 1;
    features[0].n_levels = SNUG__FOREST_LEVELS_MAX;
    assert_int_equal(try_grow(&data, 1), SNUG_OK);
    features[0].n_levels++;
    assert_int_equal(try_grow(&data, 1), SNUG_BAD_INPUT);
    features[0] = (struct snug__forest_feature){true, SNUG__FOREST_NAMED_MAX};
    assert_int_equal(try_grow(&data, 1), SNUG_OK);
    x[0] = SNUG__FOREST_NAMED_MAX - 1;
    assert_int_equal(try_grow(&data, 1), SNUG_OK);
    x[0]++; /* no level */
    assert_int_equal(try_grow(&data, 1), SNUG_BAD_INPUT);
    features[0].n_levels++;
    assert_int_equal(try_grow(&data, 1), SNUG_BAD_INPUT);
    free(x);
    free(y);
}

static void grow_refuses_what_is_not_finite(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s, 1);
    s.y[3] = (double)NAN;
    assert_int_equal(try_grow(&s.data, 1), SNUG_BAD_INPUT);
    s.y[3] = 0;
    s.x[0] = (double)INFINITY;
    assert_int_equal(try_grow(&s.data, 1), SNUG_BAD_INPUT);
    s.x[0] = 0;
    s.x[1] = 0.5; /* between two names */
    assert_int_equal(try_grow(&s.data, 1), SNUG_BAD_INPUT);
    s.data.n_rows = 0;
    assert_int_equal(try_grow(&s.data, 1), SNUG_BAD_INPUT);
}

/* ---- Shapley values ---- */

/* What a tree predicts when only the features of `known` are: the others by the rows. */
static double expected(const struct snug__forest *forest, int at, const double *x, unsigned known)
{
    const struct snug__forest_node *node = &forest->nodes[at];
    if (node->feature < 0)
        return node->value;
    if (known >> node->feature & 1)
        return expected(forest, snug__forest_goes_left(forest, node, x) ? node->left : node->right,
                        x, known);
    return (forest->nodes[node->left].cover * expected(forest, node->left, x, known) +
            forest->nodes[node->right].cover * expected(forest, node->right, x, known)) /
           node->cover;
}

static double factorial(int n)
{
    return n < 2 ? 1 : n * factorial(n - 1);
}

static double brute_shap(const struct snug__forest *forest, const double *x, int feature)
{
    double sum = 0;
    for (unsigned known = 0; known < 1u << N_FEATURES; known++) {
        if (known >> feature & 1)
            continue;
        const int k = __builtin_popcount(known);
        const double weight = factorial(k) * factorial(N_FEATURES - k - 1) / factorial(N_FEATURES);
        for (int t = 0; t < forest->n_trees; t++)
            sum += weight *
                   (expected(forest, forest->root[t], x, known | 1u << feature) -
                    expected(forest, forest->root[t], x, known)) /
                   forest->n_trees;
    }
    return sum;
}

static void shap_equals_enumeration_of_subsets(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct sample s;
        struct snug_rng rng;
        double x[N_FEATURES], shap[N_FEATURES];
        sample_init(&s, seed);
        snug_rng_init(&rng, seed + 1000);
        struct snug__forest forest = grown(&s, 3, seed);
        for (int i = 0; i < 5; i++) {
            random_x(&rng, x);
            snug__forest_shap(&forest, x, shap);
            for (int j = 0; j < N_FEATURES; j++)
                if (fabs(shap[j] - brute_shap(&forest, x, j)) > EXACT)
                    fail_msg("seed %llu, feature %d: %.12g, by subsets %.12g",
                             (unsigned long long)seed, j, shap[j], brute_shap(&forest, x, j));
        }
        snug__forest_clear(&forest);
    }
}

static void shap_adds_up_to_the_prediction(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct sample s;
        double shap[N_FEATURES];
        sample_init(&s, seed);
        struct snug__forest forest = grown(&s, 32, seed);
        for (size_t i = 0; i < N_ROWS; i++) {
            double sum = snug__forest_shap(&forest, &s.x[i * N_FEATURES], shap);
            for (int j = 0; j < N_FEATURES; j++)
                sum += shap[j];
            const double want = snug__forest_predict(&forest, &s.x[i * N_FEATURES]);
            if (fabs(sum - want) > EXACT)
                fail_msg("seed %llu, row %zu: %.12g, predicted %.12g", (unsigned long long)seed, i,
                         sum, want);
            assert_true(shap[4] == 0.0); /* one level only: nothing can hang on it */
        }
        snug__forest_clear(&forest);
    }
}

/* ---- variance ---- */

#define N_LATTICE (4 * 3 * 2 * 7 * 1)

static void lattice_at(int index, int level[N_FEATURES])
{
    for (int j = 0; j < N_FEATURES; j++) {
        level[j] = index % FEATURES[j].n_levels;
        index /= FEATURES[j].n_levels;
    }
}

/* Variance of the mean of f over all features but i and j (j == i: all but one). */
static double brute_variance(const double *f, int i, int j)
{
    double sum[7][7] = {{0}}, mean = 0, variance = 0;
    int n[7][7] = {{0}};
    for (int k = 0; k < N_LATTICE; k++) {
        int level[N_FEATURES];
        lattice_at(k, level);
        sum[level[i]][level[j]] += f[k];
        n[level[i]][level[j]]++;
        mean += f[k] / N_LATTICE;
    }
    for (int a = 0; a < 7; a++)
        for (int b = 0; b < 7; b++)
            if (n[a][b] > 0)
                variance += pow(sum[a][b] / n[a][b] - mean, 2) * n[a][b] / N_LATTICE;
    return variance;
}

static void check_anova(const struct snug__forest *forest, uint64_t seed)
{
    static double f[N_LATTICE];
    struct snug__forest_anova anova;
    double total = 0, mean = 0;
    assert_int_equal(snug__forest_anova(forest, &anova, NULL), SNUG_OK);
    for (int k = 0; k < N_LATTICE; k++) {
        int level[N_FEATURES];
        double x[N_FEATURES];
        lattice_at(k, level);
        for (int j = 0; j < N_FEATURES; j++)
            x[j] = level_of(j, level[j]);
        f[k] = snug__forest_predict(forest, x);
        mean += f[k] / N_LATTICE;
    }
    for (int k = 0; k < N_LATTICE; k++)
        total += (f[k] - mean) * (f[k] - mean) / N_LATTICE;
    for (int i = 0; i < N_FEATURES; i++) {
        const double alone = brute_variance(f, i, i);
        if (fabs(anova.main[i] * total - alone) > EXACT)
            fail_msg("seed %llu, feature %d: %.12g, walked %.12g", (unsigned long long)seed, i,
                     anova.main[i] * total, alone);
        for (int j = i + 1; j < N_FEATURES; j++) {
            const double both = brute_variance(f, i, j) - alone - brute_variance(f, j, j);
            if (fabs(anova.pair[i][j] * total - both) > EXACT)
                fail_msg("seed %llu, pair %d %d: %.12g, walked %.12g", (unsigned long long)seed, i,
                         j, anova.pair[i][j] * total, both);
        }
    }
}

static void anova_equals_a_walk_over_the_lattice(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct sample s;
        sample_init(&s, seed);
        struct snug__forest forest = grown(&s, 1, seed);
        check_anova(&forest, seed);
        snug__forest_clear(&forest);
    }
}

/* Values between levels, as --fit's choice may be: a cut may then leave one side without a level.
 */
static void anova_holds_for_rows_off_the_lattice(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct sample s;
        struct snug_rng rng;
        sample_init(&s, seed);
        snug_rng_init(&rng, seed);
        for (size_t i = 0; i < N_ROWS; i += 2)
            s.x[i * N_FEATURES + 3] = snug_rng_double(&rng);
        struct snug__forest forest = grown(&s, 1, seed);
        check_anova(&forest, seed);
        snug__forest_clear(&forest);
    }
}

static void anova_of_many_trees_is_their_mean(void **state)
{
    (void)state;
    struct sample s;
    sample_init(&s, 5);
    struct snug__forest forest = grown(&s, 16, 5);
    struct snug__forest_anova all, one;
    double main[N_FEATURES] = {0};
    assert_int_equal(snug__forest_anova(&forest, &all, NULL), SNUG_OK);
    for (int t = 0; t < 16; t++) {
        struct snug__forest single = forest;
        single.n_trees = 1;
        single.root[0] = forest.root[t];
        assert_int_equal(snug__forest_anova(&single, &one, NULL), SNUG_OK);
        for (int j = 0; j < N_FEATURES; j++)
            main[j] += one.main[j] / 16;
    }
    for (int j = 0; j < N_FEATURES; j++)
        assert_float_equal(all.main[j], main[j], EXACT);
    snug__forest_clear(&forest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grow_same_seed_gives_same_forest),
        cmocka_unit_test(grow_leaves_hold_the_least_number_of_rows),
        cmocka_unit_test(grow_full_tree_predicts_its_rows),
        cmocka_unit_test(predict_of_zeros_and_ones_is_a_probability),
        cmocka_unit_test(grow_constant_response_is_one_leaf),
        cmocka_unit_test(grow_caps_hold),
        cmocka_unit_test(grow_refuses_what_is_not_finite),
        cmocka_unit_test(shap_equals_enumeration_of_subsets),
        cmocka_unit_test(shap_adds_up_to_the_prediction),
        cmocka_unit_test(anova_equals_a_walk_over_the_lattice),
        cmocka_unit_test(anova_holds_for_rows_off_the_lattice),
        cmocka_unit_test(anova_of_many_trees_is_their_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
