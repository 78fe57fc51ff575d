/* The search over candidates, for one plan and for the menu. */
#ifndef SNUG_PLAN_SOLVE_H
#define SNUG_PLAN_SOLVE_H

#include "plan/problem.h"

struct snug__targets {
    double tps;      /* decode at half the context; 0: none */
    double ttft_s;   /* 0: none */
    double loss_max; /* 0: none */
};

struct ranked;

/* A problem with its candidates, ranked by their bounds. */
struct snug__search {
    struct snug__problem p;
    struct ranked *ranked;
    int n;                   /* candidates that can hold any types at all */
    int *types, *best_types; /* scratch */
    double price;            /* of speed, at the last target that was met; 0: none yet */
};

snug_status snug__search_open(struct snug__search *s, const struct snug_plan_request *request,
                              struct snug_error *err) SNUG_CHECKED;
void snug__search_close(struct snug__search *s);
/* The best plan that meets the targets, if any. */
snug_status snug__search_run(struct snug__search *s, const struct snug__targets *targets,
                             struct snug_plan *out, bool *out_is_found,
                             struct snug_error *err) SNUG_CHECKED;
/* The fastest that fits and loses at most loss_max (0: anything), by the relaxation. */
snug_status snug__search_fastest(struct snug__search *s, double loss_max, struct snug_plan *out,
                                 bool *out_is_found, struct snug_error *err) SNUG_CHECKED;
/* What gave way and what is assumed, in words. */
void snug__plan_notes(const struct snug__problem *p, struct snug_plan *plan);

#endif
