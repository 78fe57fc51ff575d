/* xoshiro256++ 1.0 and splitmix64 (Blackman, Vigna 2019; prng.di.unimi.it). State is four words, so
 * a strategy stores and replays it freely. */
#include "snug/stats.h"

#include <assert.h>
#include <math.h>

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static uint64_t splitmix64(uint64_t *x)
{
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void snug_rng_init(struct snug_rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        rng->s[i] = splitmix64(&seed);
}

uint64_t snug_rng_next(struct snug_rng *rng)
{
    uint64_t *s = rng->s; /* the letters are the authors', to be compared with their code */
    uint64_t result = rotl(s[0] + s[3], 23) + s[0];
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

double snug_rng_double(struct snug_rng *rng)
{
    return (double)(snug_rng_next(rng) >> 11) * 0x1p-53; /* the upper bits are the better ones */
}

uint64_t snug_rng_below(struct snug_rng *rng, uint64_t n)
{
    assert(n >= 1);
    /* 2^64 mod n values at the bottom would be drawn once too often: draw again. No 128-bit
     * product, so that 32-bit boards give the same numbers. */
    uint64_t n_extra = (0 - n) % n;
    uint64_t x = snug_rng_next(rng);
    while (x < n_extra)
        x = snug_rng_next(rng);
    return x % n;
}

double snug_rng_normal(struct snug_rng *rng)
{
    /* Marsaglia's polar method. The second value is dropped: keeping it would be hidden state. */
    for (;;) {
        double u = 2.0 * snug_rng_double(rng) - 1.0;
        double v = 2.0 * snug_rng_double(rng) - 1.0;
        double r2 = u * u + v * v;
        if (r2 > 0.0 && r2 < 1.0)
            return u * sqrt(-2.0 * log(r2) / r2);
    }
}
