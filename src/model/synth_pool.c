/* Random quantised blocks. Quantising noise takes 10 to 100 ns per weight; random quants under a
 * fitting scale have the same shape, spread and speed, and cost what drawing random bytes costs.
 * The scale is found by dequantising a sample of such blocks with scale 1. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>

#include "model/synth.h"

#define SAMPLE_ELEMENTS 16384 /* for the spread: known within 1 % */
#define SCALE_STEPS 256       /* scales per pool; blocks of real models differ too */

static void store_f16(uint8_t *p, float value)
{
    ggml_fp16_t bits = ggml_fp32_to_fp16(value);
    memcpy(p, &bits, sizeof bits); /* ggml runs on little-endian machines, as the file is */
}

static void fill_random(uint8_t *p, size_t n, struct snug_rng *rng)
{
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t x = snug_rng_next(rng);
        memcpy(p, &x, 8);
    }
    uint64_t x = snug_rng_next(rng);
    memcpy(p, &x, n);
}

static void set_scale(uint8_t *block, const struct snug__weight_type *type, float scale)
{
    store_f16(block + type->scale_at, scale);
    if (type->offset_at >= 0)
        store_f16(block + type->offset_at, scale * type->offset_ratio);
}

/* Standard deviation of the values of the pool's first blocks. */
static snug_status measure_spread(const struct snug__pool *pool, double *out,
                                  struct snug_error *err)
{
    enum ggml_type type = (enum ggml_type)pool->type;
    int64_t n_block = ggml_blck_size(type);
    int64_t n = (int64_t)(pool->n_bytes / ggml_type_size(type)) * n_block;
    if (n > SAMPLE_ELEMENTS)
        n = SAMPLE_ELEMENTS / n_block * n_block;
    float *values = malloc((size_t)n * sizeof *values);
    if (!values)
        return snug_fail(err, SNUG_NO_MEMORY, "sample of random weights");
    ggml_get_type_traits(type)->to_float(pool->data, values, n);
    double sum = 0, sum_squares = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)values[i];
        sum_squares += (double)values[i] * (double)values[i];
    }
    free(values);
    double mean = sum / (double)n;
    *out = sqrt(sum_squares / (double)n - mean * mean);
    return SNUG_OK;
}

/* Blocks: random bytes, then scales around the one that gives the wanted spread. */
static snug_status fill_blocks(struct snug__pool *pool, const struct snug__weight_type *type,
                               double spread, struct snug_rng *rng, struct snug_error *err)
{
    size_t block_bytes = ggml_type_size((enum ggml_type)type->type);
    size_t n_blocks = pool->n_bytes / block_bytes;
    fill_random(pool->data, pool->n_bytes, rng);
    for (size_t i = 0; i < n_blocks; i++)
        set_scale(pool->data + i * block_bytes, type, 1.0f);
    double spread_at_1 = 0;
    snug_status status = measure_spread(pool, &spread_at_1, err);
    if (status != SNUG_OK)
        return status;
    assert(spread_at_1 > 0);
    uint8_t scaled[SCALE_STEPS][4]; /* scale and offset as stored: converting per block is slow */
    struct snug__weight_type packed = *type;
    packed.scale_at = 0;
    packed.offset_at = type->offset_at >= 0 ? 2 : -1;
    for (int i = 0; i < SCALE_STEPS; i++) /* 0.75 to 1.25 of the mean */
        set_scale(scaled[i], &packed,
                  (float)(spread / spread_at_1 * (0.75 + 0.5 * i / SCALE_STEPS)));
    for (size_t i = 0; i < n_blocks; i++) {
        uint8_t *block = pool->data + i * block_bytes;
        const uint8_t *pair = scaled[snug_rng_next(rng) % SCALE_STEPS];
        memcpy(block + type->scale_at, pair, 2);
        if (type->offset_at >= 0)
            memcpy(block + type->offset_at, pair + 2, 2);
    }
    return SNUG_OK;
}

/* F32, F16, BF16: uniform values of the wanted spread. */
static void fill_floats(struct snug__pool *pool, double spread, struct snug_rng *rng)
{
    size_t value_bytes = ggml_type_size((enum ggml_type)pool->type);
    double reach = spread * sqrt(3.0); /* a uniform value in -reach..reach has this spread */
    for (size_t at = 0; at + value_bytes <= pool->n_bytes; at += value_bytes) {
        float value = (float)(reach * (2.0 * snug_rng_double(rng) - 1.0));
        uint32_t bits = 0;
        memcpy(&bits, &value, sizeof bits);
        bits >>= 16; /* BF16 is the upper half of F32 */
        if (pool->type == GGML_TYPE_F32)
            memcpy(pool->data + at, &value, sizeof value);
        else if (pool->type == GGML_TYPE_F16)
            store_f16(pool->data + at, value);
        else
            memcpy(pool->data + at, &bits, 2);
    }
}

snug_status snug__pool_fill(struct snug__pool *pool, const struct snug__shape_tensor *tensor,
                            uint64_t bytes_max, struct snug_rng *rng, struct snug_error *err)
{
    if (pool->data && pool->type == tensor->type && pool->n_in == tensor->ne[0])
        return SNUG_OK;
    size_t block_bytes = ggml_type_size((enum ggml_type)tensor->type);
    uint64_t wanted = bytes_max < SNUG__POOL_BYTES ? bytes_max : SNUG__POOL_BYTES;
    struct snug__pool made = {.type = tensor->type, .n_in = tensor->ne[0]};
    made.n_bytes = (size_t)(wanted / block_bytes + 1) * block_bytes;
    made.data = malloc(made.n_bytes);
    if (!made.data)
        return snug_fail(err, SNUG_NO_MEMORY, "%zu bytes of random weights", made.n_bytes);
    const struct snug__weight_type *type = snug__weight_type_of(tensor->type);
    assert(type); /* shapes only hold types of the table */
    double spread = 1.0 / sqrt((double)tensor->ne[0]);
    snug_status status = SNUG_OK;
    if (type->scale_at >= 0)
        status = fill_blocks(&made, type, spread, rng, err);
    else
        fill_floats(&made, spread, rng);
    if (status != SNUG_OK) {
        snug__pool_clear(&made);
        return status;
    }
    snug__pool_clear(pool);
    *pool = made;
    return SNUG_OK;
}

void snug__pool_clear(struct snug__pool *pool)
{
    free(pool->data);
    *pool = (struct snug__pool){0};
}
