/* The deduplicated candidates of one ask: the whole lattice when it is small, else scrambled Sobol
 * points that stay, and configs added for one ask (neighbours of good ones). */
#ifndef SNUG_TUNE_POOL_H
#define SNUG_TUNE_POOL_H

#include "tune/bytes_guess.h"
#include "tune/strategy.h"

#define SNUG__POOL_WHOLE_MAX 4096 /* a lattice up to this size is listed whole */
#define SNUG__POOL_SAMPLE 512     /* else so many Sobol points of it */
#define SNUG__POOL_ADDED_MAX 1024 /* and so many added per ask */

enum snug__bytes_state { SNUG__BYTES_GUESSED, SNUG__BYTES_STATED, SNUG__BYTES_IMPOSSIBLE };

struct snug__candidate {
    struct snug_config config;
    double bytes, bytes_guess; /* stated once asked for, else the guess */
    enum snug__bytes_state state;
    bool was_told;
    double mean, sd; /* of log speed */
    double chance;   /* that it runs; 1 until it is known */
    bool knows_chance;
    double score; /* with the chance, once that is known */
};

struct snug__pool {
    struct snug__candidate *items; /* [cap] */
    double *x;                     /* [cap][n_dims] features */
    uint64_t *hash;                /* [cap] */
    int n, n_fixed, cap;           /* items n_fixed..n-1 are of this ask only */
    bool is_whole;
    bool is_guessed; /* bytes of the fixed items were guessed */
    struct snug__bytes_guess guess;
};

snug_status snug__pool_open(struct snug__pool *pool, const struct snug_strategy *s,
                            struct snug_error *err) SNUG_CHECKED;
void snug__pool_close(struct snug__pool *pool);
/* Mark a config as told, so that it is no candidate any more. */
void snug__pool_mark_told(struct snug__pool *pool, const struct snug_strategy *s,
                          const struct snug_config *config);
/* Forget what an earlier ask added and had stated (answers must not depend on earlier asks; the
 * owner of the bytes function caches), and guess bytes if that was not done yet. */
void snug__pool_begin(struct snug__pool *pool, struct snug_strategy *s);
/* Add a config of the lattice if it is new, not told, and there is room. */
void snug__pool_add(struct snug__pool *pool, const struct snug_strategy *s,
                    const struct snug_config *config);
/* Add the one-knob neighbours of a config that are new and not told. */
void snug__pool_add_neighbours(struct snug__pool *pool, const struct snug_strategy *s,
                               const struct snug_config *config);
/* Ask for the true bytes of item i; false when it cannot run. */
bool snug__pool_state_bytes(struct snug__pool *pool, const struct snug_strategy *s, int i);
/* The item of highest score in from..n-1 that can still be chosen, or -1; the first among equals.
 */
int snug__pool_best(const struct snug__pool *pool, int from);

#endif
