/* The Sobol table and its scramble, by the properties that define them. */
#include "test.h"

#include "snug/stats.h"
#include "tune/sobol.h"

#define D SNUG_SOBOL_DIMS_MAX

static void sobol_first_points_are_the_published_ones(void **state)
{
    (void)state;
    /* Points 0..7 of three dimensions in Sobol's own order, in eighths. Programs that follow Joe
     * and Kuo's print them in Gray code order: 0, 1, 3, 2, 6, 7, 5, 4. */
    static const uint32_t want[8][3] = {{0, 0, 0}, {4, 4, 4}, {2, 6, 6}, {6, 2, 2},
                                        {1, 5, 3}, {5, 1, 7}, {3, 3, 5}, {7, 7, 1}};
    struct snug_sobol sobol;
    snug_sobol_init(&sobol, 3, 0);
    for (uint32_t i = 0; i < 8; i++)
        for (int d = 0; d < 3; d++)
            assert_int_equal(snug_sobol_bits(&sobol, d, i) >> 29, want[i][d]);
}

/* Joe and Kuo's set has property A for these dimensions: the matrix of the first binary digits of
 * the first D direction numbers of D dimensions is regular over GF(2). A wrong entry of the table
 * most likely breaks it. */
static void sobol_table_has_property_a(void **state)
{
    (void)state;
    struct snug_sobol sobol;
    snug_sobol_init(&sobol, D, 0);
    for (int n = 1; n <= D; n++) {
        uint32_t row[D] = {0};
        for (int d = 0; d < n; d++)
            for (int k = 0; k < n; k++)
                row[d] |= (sobol.direction[d][k] >> 31) << k;
        int rank = 0;
        for (int k = 0; k < n; k++) {
            int pivot = rank;
            while (pivot < n && !((row[pivot] >> k) & 1))
                pivot++;
            if (pivot == n)
                continue;
            uint32_t swap = row[rank];
            row[rank] = row[pivot];
            row[pivot] = swap;
            for (int d = 0; d < n; d++)
                if (d != rank && ((row[d] >> k) & 1))
                    row[d] ^= row[rank];
            rank++;
        }
        assert_int_equal(rank, n);
    }
}

static void sobol_direction_matrices_are_unit_triangular(void **state)
{
    (void)state;
    struct snug_sobol sobol;
    snug_sobol_init(&sobol, D, 0);
    for (int d = 0; d < D; d++)
        for (int k = 0; k < SNUG_SOBOL_BITS; k++) {
            assert_int_equal((sobol.direction[d][k] >> (31 - k)) & 1, 1);
            assert_int_equal(k < 31 ? sobol.direction[d][k] << (k + 1) : 0, 0);
        }
}

/* Any 2^m points that start at a multiple of 2^m put one in each of 2^m slices, scrambled or not.
 */
static void sobol_scrambled_points_fill_every_slice_once(void **state)
{
    (void)state;
    uint64_t seed = 21;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_sobol sobol;
    snug_sobol_init(&sobol, D, seed);
    for (uint32_t start = 0; start < 256; start += 64) {
        bool is_hit[D][64] = {{false}};
        for (uint32_t i = 0; i < 64; i++) {
            double u[D];
            snug_sobol_point(&sobol, start + i, u);
            for (int d = 0; d < D; d++) {
                assert_true(u[d] >= 0 && u[d] < 1);
                int slice = (int)(u[d] * 64);
                assert_false(is_hit[d][slice]);
                is_hit[d][slice] = true;
            }
        }
    }
}

static void sobol_first_two_dims_fill_every_box_once(void **state)
{
    (void)state;
    struct snug_sobol sobol;
    snug_sobol_init(&sobol, 2, 22);
    bool is_hit[16][16] = {{false}};
    for (uint32_t i = 0; i < 256; i++) {
        double u[2];
        snug_sobol_point(&sobol, i, u);
        bool *box = &is_hit[(int)(u[0] * 16)][(int)(u[1] * 16)];
        assert_false(*box);
        *box = true;
    }
}

static void sobol_seed_decides_the_points(void **state)
{
    (void)state;
    struct snug_sobol a, b, c;
    snug_sobol_init(&a, 8, 1);
    snug_sobol_init(&b, 8, 1);
    snug_sobol_init(&c, 8, 2);
    int n_same = 0;
    for (uint32_t i = 0; i < 100; i++) {
        double x[8], y[8], z[8];
        snug_sobol_point(&a, i, x);
        snug_sobol_point(&b, i, y);
        snug_sobol_point(&c, i, z);
        assert_memory_equal(x, y, sizeof x);
        for (int d = 0; d < 8; d++)
            n_same += !(x[d] < z[d]) && !(x[d] > z[d]);
    }
    assert_int_equal(n_same, 0);
}

static void sobol_mean_of_a_product_is_close_to_its_integral(void **state)
{
    (void)state;
    uint64_t seed = 23;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_sobol sobol;
    snug_sobol_init(&sobol, 10, seed);
    double sum = 0;
    for (uint32_t i = 0; i < 1024; i++) {
        double u[10], product = 1;
        snug_sobol_point(&sobol, i, u);
        for (int d = 0; d < 10; d++)
            product *= 1 + (u[d] - 0.5) / (d + 1);
        sum += product;
    }
    /* plain Monte Carlo has a standard error of 0.011 here */
    assert_double_equal(sum / 1024, 1, 0.002);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sobol_first_points_are_the_published_ones),
        cmocka_unit_test(sobol_table_has_property_a),
        cmocka_unit_test(sobol_direction_matrices_are_unit_triangular),
        cmocka_unit_test(sobol_scrambled_points_fill_every_slice_once),
        cmocka_unit_test(sobol_first_two_dims_fill_every_box_once),
        cmocka_unit_test(sobol_seed_decides_the_points),
        cmocka_unit_test(sobol_mean_of_a_product_is_close_to_its_integral),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
