/* A server that exists only as numbers: three members, and what the decision does with them. */
#ifndef SNUG_TEST_ADAPT_SIM_H
#define SNUG_TEST_ADAPT_SIM_H

#include <string.h>

#include "snug/adapt.h"
#include "snug/stats.h"

#define GIB ((uint64_t)1 << 30)

/* Two threads are faster, one needs less, and a small one is slow. */
enum { FAST, ONE, SMALL, N_USUAL };

static inline void usual_members(struct snug_adapt_member out[N_USUAL])
{
    static const struct {
        uint64_t bytes;
        int n_threads;
        double speed;
    } ROWS[N_USUAL] = {{8 * GIB, 2, 10}, {7 * GIB, 1, 6}, {3 * GIB, 1, 2}};
    memset(out, 0, N_USUAL * sizeof *out);
    for (int i = 0; i < N_USUAL; i++) {
        out[i].bytes = ROWS[i].bytes;
        out[i].n_threads = ROWS[i].n_threads;
        out[i].points[0] = (struct snug_adapt_point){
            .speed = ROWS[i].speed, .ttft_s = 1 / ROWS[i].speed, .tpot_s = 0.1 / ROWS[i].speed};
        out[i].n_points = 1;
    }
}

static inline struct snug_adapt_view view_of(double free_gib, double cpus_free)
{
    return (struct snug_adapt_view){.knows_memory = true,
                                    .knows_cpus = true,
                                    .free_bytes = free_gib * (double)GIB,
                                    .cpus_free = cpus_free,
                                    .cpus_all = 2};
}

/* A server whose starts take start_s and never fail, asked every step_s. */
struct sim {
    struct snug_adapt_member members[N_USUAL];
    struct snug_adapt_rules rules;
    struct snug_adapt_state state;
    struct snug_adapt_decision decision;
    double now_s, step_s, start_s;
    int n_changes;
};

static inline void sim_open(struct sim *s)
{
    *s = (struct sim){.step_s = 1, .start_s = 0.3};
    usual_members(s->members);
    snug_adapt_rules_default(&s->rules);
    snug_adapt_init(&s->state, &s->rules);
}

static inline void sim_step(struct sim *s, struct snug_adapt_view view)
{
    s->now_s += s->step_s;
    snug_adapt_decide(&s->state, &s->rules, s->members, N_USUAL, &view, s->now_s, &s->decision);
    if (s->decision.action == SNUG_ADAPT_KEEP)
        return;
    s->n_changes++;
    snug_adapt_started(&s->state, &s->rules, s->members, s->decision.member, s->start_s, s->now_s);
}

static inline void sim_run(struct sim *s, struct snug_adapt_view view, int n)
{
    for (int i = 0; i < n; i++)
        sim_step(s, view);
}

static inline double uniform(struct snug_rng *rng, double lo, double hi)
{
    return lo + (hi - lo) * snug_rng_double(rng);
}

#endif
