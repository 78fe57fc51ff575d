/* Candidates: building, deduplication by 64-bit hash, bytes on demand. */
#include "tune/pool.h"

#include <stdlib.h>

static bool has_hash(const struct snug__pool *pool, uint64_t hash)
{
    bool found = false;
    for (int i = 0; i < pool->n; i++) /* no early exit: the loop vectorises, most are new */
        found |= pool->hash[i] == hash;
    return found;
}

static void append(struct snug__pool *pool, const struct snug__lattice *lattice,
                   const struct snug_config *config, uint64_t hash)
{
    int i = pool->n++;
    pool->items[i] = (struct snug__candidate){.config = *config};
    pool->hash[i] = hash;
    snug__lattice_features(lattice, config, pool->x + (size_t)i * (size_t)lattice->n_dims);
}

static void list_whole(struct snug__pool *pool, const struct snug_strategy *s)
{
    for (uint64_t i = 0; i < (uint64_t)s->lattice.n_configs; i++) {
        struct snug_config config;
        snug__lattice_at(&s->lattice, i, &config);
        append(pool, &s->lattice, &config, snug__lattice_hash(&s->lattice, &config));
    }
}

static void list_sample(struct snug__pool *pool, const struct snug_strategy *s)
{
    for (uint32_t i = 0; i < 4 * SNUG__POOL_SAMPLE && pool->n < SNUG__POOL_SAMPLE; i++) {
        double u[SNUG_SOBOL_DIMS_MAX];
        struct snug_config config;
        snug_sobol_point(&s->sobol, i, u);
        snug__lattice_from_unit(&s->lattice, u, &config);
        uint64_t hash = snug__lattice_hash(&s->lattice, &config);
        if (!has_hash(pool, hash))
            append(pool, &s->lattice, &config, hash);
    }
}

snug_status snug__pool_open(struct snug__pool *pool, const struct snug_strategy *s,
                            struct snug_error *err)
{
    *pool = (struct snug__pool){.is_whole = s->lattice.n_configs <= SNUG__POOL_WHOLE_MAX};
    pool->cap =
        pool->is_whole ? (int)s->lattice.n_configs : SNUG__POOL_SAMPLE + SNUG__POOL_ADDED_MAX;
    size_t cap = (size_t)pool->cap;
    pool->items = calloc(cap, sizeof *pool->items);
    pool->x = calloc(cap * (size_t)s->lattice.n_dims + 1, sizeof *pool->x);
    pool->hash = calloc(cap, sizeof *pool->hash);
    if (!pool->items || !pool->x || !pool->hash) {
        snug__pool_close(pool);
        return snug_fail(err, SNUG_NO_MEMORY, "strategy: %zu candidates", cap);
    }
    if (pool->is_whole)
        list_whole(pool, s);
    else
        list_sample(pool, s);
    pool->n_fixed = pool->n;
    return SNUG_OK;
}

void snug__pool_close(struct snug__pool *pool)
{
    free(pool->items);
    free(pool->x);
    free(pool->hash);
    *pool = (struct snug__pool){0};
}

void snug__pool_mark_told(struct snug__pool *pool, const struct snug_strategy *s,
                          const struct snug_config *config)
{
    uint64_t hash = snug__lattice_hash(&s->lattice, config);
    for (int i = 0; i < pool->n; i++)
        if (pool->hash[i] == hash)
            pool->items[i].was_told = true;
}

static bool probe_bytes(const struct snug_config *config, uint64_t *out, void *data)
{
    const struct snug_strategy *s = data;
    return s->problem.bytes(config, out, s->problem.bytes_data);
}

void snug__pool_begin(struct snug__pool *pool, struct snug_strategy *s)
{
    pool->n = pool->n_fixed;
    if (!pool->is_guessed)
        snug__bytes_guess_init(&pool->guess, &s->lattice, probe_bytes, s);
    for (int i = 0; i < pool->n; i++) {
        struct snug__candidate *item = &pool->items[i];
        if (!pool->is_guessed)
            item->bytes_guess = snug__bytes_guess_at(&pool->guess, &s->lattice, &item->config);
        item->bytes = item->bytes_guess;
        item->state = SNUG__BYTES_GUESSED;
    }
    pool->is_guessed = true;
}

void snug__pool_add(struct snug__pool *pool, const struct snug_strategy *s,
                    const struct snug_config *config)
{
    uint64_t hash = snug__lattice_hash(&s->lattice, config);
    if (pool->n == pool->cap || has_hash(pool, hash) || snug__strategy_was_told(s, config))
        return;
    append(pool, &s->lattice, config, hash);
    pool->items[pool->n - 1].bytes = snug__bytes_guess_at(&pool->guess, &s->lattice, config);
}

void snug__pool_add_neighbours(struct snug__pool *pool, const struct snug_strategy *s,
                               const struct snug_config *config)
{
    struct snug_config near[SNUG__NEIGHBOURS_MAX];
    int n = snug__lattice_neighbours(&s->lattice, config, near);
    for (int k = 0; k < n; k++)
        snug__pool_add(pool, s, &near[k]);
}

bool snug__pool_state_bytes(struct snug__pool *pool, const struct snug_strategy *s, int i)
{
    struct snug__candidate *item = &pool->items[i];
    uint64_t bytes;
    if (item->state != SNUG__BYTES_GUESSED)
        return item->state == SNUG__BYTES_STATED;
    if (!snug__strategy_can_run(s, &item->config, &bytes)) {
        item->state = SNUG__BYTES_IMPOSSIBLE;
        return false;
    }
    item->state = SNUG__BYTES_STATED;
    item->bytes = (double)bytes;
    return true;
}

int snug__pool_best(const struct snug__pool *pool, int from)
{
    int best = -1;
    for (int i = from; i < pool->n; i++)
        if (pool->items[i].score > (best < 0 ? 0 : pool->items[best].score))
            best = i;
    return best;
}
