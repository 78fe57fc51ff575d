/* "nsga2-like": Deb, Pratap, Agarwal, Meyarivan (2002), "A fast and elitist multiobjective genetic
 * algorithm". Population 8; parents are the best 8 of all that was told in whole generations, by
 * rank of non-domination, then crowding distance, what failed last; binary tournaments, uniform
 * crossover, each gene mutated with probability 1 / n_dims. No config twice. Few trials, so ranks
 * are counted the plain way. */
#include <math.h>
#include <stdlib.h>

#include "perf/tunebench/methods.h"
#include "snug/stats.h"

enum { POPULATION = 8, TRIES_MAX = 64 };

struct member {
    const struct snug_observation *o;
    int rank;        /* 0: nothing dominates it; a large number for what failed */
    double crowding; /* larger is lonelier */
};

static bool dominates(const struct snug_observation *a, const struct snug_observation *b)
{
    return a->speed >= b->speed && a->bytes <= b->bytes &&
           (a->speed > b->speed || a->bytes < b->bytes);
}

/* Peel fronts off: rank 0 first. */
static void set_ranks(struct member *members, int n)
{
    for (int i = 0; i < n; i++)
        members[i].rank = members[i].o->outcome == SNUG_TRIAL_OK ? -1 : n + 1;
    for (int rank = 0, n_left = n; rank < n && n_left > 0; rank++) {
        n_left = 0;
        for (int i = 0; i < n; i++) {
            bool is_beaten = false;
            for (int k = 0; k < n && members[i].rank < 0; k++)
                is_beaten |= (members[k].rank < 0 || members[k].rank == rank) &&
                             dominates(members[k].o, members[i].o);
            if (members[i].rank < 0 && !is_beaten)
                members[i].rank = rank;
            n_left += members[i].rank < 0;
        }
    }
}

/* Gap between the neighbours in one front along both objectives, as a share of the front's span. */
static double crowding(const struct member *members, int n, int i)
{
    const double log_speed = log(members[i].o->speed), bytes = (double)members[i].o->bytes;
    double up[2] = {INFINITY, INFINITY}, down[2] = {INFINITY, INFINITY};
    double lo[2] = {log_speed, bytes}, hi[2] = {log_speed, bytes};
    for (int k = 0; k < n; k++) {
        if (k == i || members[k].rank != members[i].rank)
            continue;
        const double x[2] = {log(members[k].o->speed), (double)members[k].o->bytes};
        const double at[2] = {log_speed, bytes};
        for (int f = 0; f < 2; f++) {
            lo[f] = fmin(lo[f], x[f]);
            hi[f] = fmax(hi[f], x[f]);
            if (x[f] >= at[f])
                up[f] = fmin(up[f], x[f] - at[f]);
            if (x[f] <= at[f])
                down[f] = fmin(down[f], at[f] - x[f]);
        }
    }
    double sum = 0;
    for (int f = 0; f < 2; f++)
        sum += hi[f] > lo[f] ? (up[f] + down[f]) / (hi[f] - lo[f]) : 0;
    return sum;
}

static int compare_members(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->crowding < y->crowding || x->crowding > y->crowding)
        return x->crowding > y->crowding ? -1 : 1;
    return x->o < y->o ? -1 : x->o > y->o;
}

/* Of two drawn from the sorted members the earlier. */
static const struct snug_config *tournament(const struct member *members, struct snug_rng *rng)
{
    const uint64_t a = snug_rng_below(rng, POPULATION), b = snug_rng_below(rng, POPULATION);
    return &members[a < b ? a : b].o->config;
}

static void make_child(const struct snug_strategy *s, const struct member *members,
                       struct snug_rng *rng, struct snug_config *out)
{
    const struct snug_config *a = members ? tournament(members, rng) : &s->lattice.base;
    const struct snug_config *b = members ? tournament(members, rng) : a;
    const double mutation = members ? 1.0 / s->lattice.n_dims : 1;
    double u[SNUG_KNOBS_MAX];
    struct snug_config drawn;
    for (int d = 0; d < s->lattice.n_dims; d++)
        u[d] = snug_rng_double(rng);
    snug__lattice_from_unit(&s->lattice, u, &drawn);
    *out = s->lattice.base;
    for (int d = 0; d < s->lattice.n_dims; d++) {
        const int r = s->lattice.row[d];
        out->value[r] = snug_rng_double(rng) < 0.5 ? a->value[r] : b->value[r];
        if (snug_rng_double(rng) < mutation)
            out->value[r] = drawn.value[r];
    }
}

static snug_status ask(struct snug_strategy *s, struct snug_config *out_config,
                       struct snug_ask_info *out_info, struct snug_error *err)
{
    struct member members[SNUG_STRATEGY_TELLS_MAX];
    const int n = (int)(s->n_told / POPULATION) * POPULATION;
    struct snug_rng rng;
    (void)out_info;
    for (int i = 0; i < n; i++)
        members[i] = (struct member){.o = &s->told[i]};
    set_ranks(members, n);
    for (int i = 0; i < n; i++)
        members[i].crowding = members[i].rank <= n ? crowding(members, n, i) : 0;
    qsort(members, (size_t)n, sizeof *members, compare_members);
    snug_rng_init(&rng, s->problem.seed ^ (UINT64_C(0x8ebc6af09c88c6e3) * (s->n_told + 1)));
    for (int i = 0; i < TRIES_MAX; i++) {
        struct snug_config child;
        make_child(s, n ? members : NULL, &rng, &child);
        if (!snug__strategy_was_told(s, &child) && snug__strategy_can_run(s, &child, NULL)) {
            *out_config = child;
            return SNUG_OK;
        }
    }
    return snug__strategy_sobol_config(s, out_config, err);
}

const struct snug__strategy_kind tb_kind_nsga2 = {.ask = ask};
