/* Sobol sequence in base 2.
 *
 * Direction numbers: Joe, Kuo, "Constructing Sobol sequences with better two-dimensional
 * projections", SIAM J. Sci. Comput. 30 (2008), set D(6), first 32 dimensions.
 * Scramble: Owen, "Randomly permuted (t,m,s)-nets" (1995): each bit is flipped by a coin that
 * depends on all bits above it. Coins come from a hash, so a point needs no table and no history.
 */
#include "tune/sobol.h"

#include <assert.h>

/* One row per dimension from the second: degree and inner coefficients of a primitive polynomial
 * over GF(2), and the first `degree` odd initial numbers. */
struct joe_kuo_row {
    unsigned char degree, coefficients, initial[7];
};

static const struct joe_kuo_row joe_kuo[SNUG_SOBOL_DIMS_MAX - 1] = {
    {1, 0, {1}},
    {2, 1, {1, 3}},
    {3, 1, {1, 3, 1}},
    {3, 2, {1, 1, 1}},
    {4, 1, {1, 1, 3, 3}},
    {4, 4, {1, 3, 5, 13}},
    {5, 2, {1, 1, 5, 5, 17}},
    {5, 4, {1, 1, 5, 5, 5}},
    {5, 7, {1, 1, 7, 11, 19}},
    {5, 11, {1, 1, 5, 1, 1}},
    {5, 13, {1, 1, 1, 3, 11}},
    {5, 14, {1, 3, 5, 5, 31}},
    {6, 1, {1, 3, 3, 9, 7, 49}},
    {6, 13, {1, 1, 1, 15, 21, 21}},
    {6, 16, {1, 3, 1, 13, 27, 49}},
    {6, 19, {1, 1, 1, 15, 7, 5}},
    {6, 22, {1, 3, 1, 15, 13, 25}},
    {6, 25, {1, 1, 5, 5, 19, 61}},
    {7, 1, {1, 3, 7, 11, 23, 15, 103}},
    {7, 4, {1, 3, 7, 13, 13, 15, 69}},
    {7, 7, {1, 1, 3, 13, 7, 35, 63}},
    {7, 8, {1, 3, 5, 9, 1, 25, 53}},
    {7, 14, {1, 3, 1, 13, 9, 35, 107}},
    {7, 19, {1, 3, 1, 5, 27, 61, 31}},
    {7, 21, {1, 1, 5, 11, 19, 41, 61}},
    {7, 28, {1, 3, 5, 3, 3, 13, 69}},
    {7, 31, {1, 1, 7, 13, 1, 19, 1}},
    {7, 32, {1, 3, 7, 5, 13, 19, 59}},
    {7, 37, {1, 1, 3, 9, 25, 29, 41}},
    {7, 41, {1, 3, 5, 13, 23, 1, 55}},
    {7, 42, {1, 3, 7, 3, 13, 59, 17}},
};

/* v[k] = m[k] << (31 - k); the recurrence of degree s links v[k] to v[k - 1] .. v[k - s]. */
static void fill_direction(const struct joe_kuo_row *row, uint32_t v[SNUG_SOBOL_BITS])
{
    int s = row->degree;
    for (int k = 0; k < s; k++)
        v[k] = (uint32_t)row->initial[k] << (31 - k);
    for (int k = s; k < SNUG_SOBOL_BITS; k++) {
        v[k] = v[k - s] ^ (v[k - s] >> s);
        for (int i = 1; i < s; i++)
            if ((row->coefficients >> (s - 1 - i)) & 1)
                v[k] ^= v[k - i];
    }
}

void snug_sobol_init(struct snug_sobol *sobol, int n_dims, uint64_t seed)
{
    assert(n_dims >= 0 && n_dims <= SNUG_SOBOL_DIMS_MAX);
    *sobol = (struct snug_sobol){.n_dims = n_dims, .seed = seed};
    for (int k = 0; k < SNUG_SOBOL_BITS; k++) /* the first dimension is van der Corput's */
        sobol->direction[0][k] = UINT32_C(1) << (31 - k);
    for (int d = 1; d < n_dims; d++)
        fill_direction(&joe_kuo[d - 1], sobol->direction[d]);
}

uint32_t snug_sobol_bits(const struct snug_sobol *sobol, int dim, uint32_t index)
{
    uint32_t x = 0;
    for (int k = 0; index; k++, index >>= 1)
        if (index & 1)
            x ^= sobol->direction[dim][k];
    return x;
}

/* The finaliser of splitmix64: every input bit reaches every output bit. */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint32_t scramble(uint32_t x, uint64_t seed)
{
    uint32_t flips = 0;
    for (int b = 0; b < SNUG_SOBOL_BITS; b++) {
        uint64_t above = b ? x >> (SNUG_SOBOL_BITS - b) : 0;
        uint64_t coin = mix(seed ^ (above | (uint64_t)(b + 1) << 40)) >> 63;
        flips |= (uint32_t)coin << (31 - b);
    }
    return x ^ flips;
}

void snug_sobol_point(const struct snug_sobol *sobol, uint32_t index, double *out)
{
    for (int d = 0; d < sobol->n_dims; d++) {
        uint64_t seed = mix(sobol->seed ^ mix((uint64_t)d + 1));
        out[d] = scramble(snug_sobol_bits(sobol, d, index), seed) * 0x1p-32;
    }
}
