/* SHA-256 after FIPS 180-4, section 6.2. Plain C, about 300 MB/s: enough for headers and samples
 * of model files; a whole 40 GB model is never hashed. */
#include "base/hash.h"

#include <string.h>

/* First 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate_right(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

/* w: the message schedule of one block; letters are those of the standard. */
static void expand_block(const uint8_t *block, uint32_t w[64])
{
    for (int t = 0; t < 16; t++) {
        const uint8_t *p = block + 4 * t;
        w[t] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    }
    for (int t = 16; t < 64; t++) {
        uint32_t s0 = rotate_right(w[t - 15], 7) ^ rotate_right(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = rotate_right(w[t - 2], 17) ^ rotate_right(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
}

static void hash_block(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64], v[8]; /* v: the working variables a..h */
    expand_block(block, w);
    memcpy(v, state, sizeof v);
    for (int t = 0; t < 64; t++) {
        uint32_t s1 = rotate_right(v[4], 6) ^ rotate_right(v[4], 11) ^ rotate_right(v[4], 25);
        uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t t1 = v[7] + s1 + choice + round_constants[t] + w[t];
        uint32_t s0 = rotate_right(v[0], 2) ^ rotate_right(v[0], 13) ^ rotate_right(v[0], 22);
        uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += t1;
        v[0] = t1 + s0 + majority;
    }
    for (int i = 0; i < 8; i++)
        state[i] += v[i];
}

void snug_sha256_init(struct snug_sha256 *hash)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memset(hash, 0, sizeof *hash);
    memcpy(hash->state, start, sizeof start);
}

void snug_sha256_update(struct snug_sha256 *hash, const void *data, size_t n)
{
    const uint8_t *p = data;
    size_t used = (size_t)(hash->n_bytes % 64);
    hash->n_bytes += n;
    while (n > 0) {
        if (used == 0 && n >= 64) { /* whole blocks are not copied */
            hash_block(hash->state, p);
            p += 64;
            n -= 64;
            continue;
        }
        size_t take = n < 64 - used ? n : 64 - used;
        memcpy(hash->block + used, p, take);
        p += take;
        n -= take;
        used += take;
        if (used == 64) {
            hash_block(hash->state, hash->block);
            used = 0;
        }
    }
}

void snug_sha256_final(struct snug_sha256 *hash, uint8_t out[SNUG_SHA256_BYTES])
{
    /* One bit, zeros up to 56 mod 64, the length in bits as 8 bytes, most significant first. */
    static const uint8_t padding[64] = {0x80};
    uint64_t n_bits = hash->n_bytes * 8;
    size_t used = (size_t)(hash->n_bytes % 64);
    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(n_bits >> (56 - 8 * i));
    snug_sha256_update(hash, padding, used < 56 ? 56 - used : 120 - used);
    snug_sha256_update(hash, length, sizeof length);
    for (int i = 0; i < SNUG_SHA256_BYTES; i++)
        out[i] = (uint8_t)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
}

const char *snug_sha256_final_hex(struct snug_sha256 *hash, char out[SNUG_SHA256_HEX_MAX])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t raw[SNUG_SHA256_BYTES];
    snug_sha256_final(hash, raw);
    for (int i = 0; i < SNUG_SHA256_BYTES; i++) {
        out[2 * i] = digits[raw[i] >> 4];
        out[2 * i + 1] = digits[raw[i] & 15];
    }
    out[2 * SNUG_SHA256_BYTES] = '\0';
    return out;
}

const char *snug_sha256_hex(const void *data, size_t n, char out[SNUG_SHA256_HEX_MAX])
{
    struct snug_sha256 hash;
    snug_sha256_init(&hash);
    snug_sha256_update(&hash, data, n);
    return snug_sha256_final_hex(&hash, out);
}
