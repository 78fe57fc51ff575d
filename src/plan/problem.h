/* A request in the planner's terms: options of every tensor, candidates of everything else. */
#ifndef SNUG_PLAN_PROBLEM_H
#define SNUG_PLAN_PROBLEM_H

#include "plan/knapsack.h"
#include "snug/plan.h"

#define SNUG__CANDIDATES_MAX 8192

struct snug__plan_option {
    int type;
    uint64_t bytes;
    double loss;
};

struct snug__problem {
    const struct snug_plan_request *request;
    const struct snug_model *model;
    const struct snug_law *law;
    int n_tensors;
    int64_t n_layer;
    int64_t *layer;      /* of each tensor; n_layer for the output, -1 for what stays on the host */
    double *read_frac;   /* share of its bytes that one decode step reads */
    double *prompt_frac; /* share of its elements that each token of a prompt multiplies */
    int *begin;          /* [n_tensors + 1] into options */
    struct snug__plan_option *options;
    int device, host, disk; /* indices of the law's tiers, -1 for none */
    int tied;               /* the embedding that is the output too, -1 for none */
    int64_t n_ctx, n_parallel, n_prompt;
    uint64_t header_bytes; /* of the file, and padding */
};

/* Errors  SNUG_BAD_INPUT: the three do not belong together, or a target makes no sense. */
snug_status snug__problem_init(struct snug__problem *p, const struct snug_plan_request *request,
                               struct snug_error *err) SNUG_CHECKED;
void snug__problem_clear(struct snug__problem *p);

/* Everything but the types. */
struct snug__candidate {
    struct snug_plan_shape shape;
    struct snug_plan_bytes bytes;
    double cache_loss;
    uint64_t budget[2]; /* for weights: device, host */
    uint64_t host_room; /* of memory alone: without the limit of the file */
    bool is_over_disk;  /* weights of the host beyond its budget may stay on disk */
    double bound;       /* no types lose less here; HUGE_VAL: nothing fits */
};

/* 0 device, 1 host: where a tensor lies under this placement. */
int snug__problem_side(const struct snug__problem *p, const struct snug__candidate *c, int tensor);
/* The smallest type that a tensor can have, and what each side's take (device, host). */
const struct snug__plan_option *snug__option_least(const struct snug__problem *p, int tensor);
void snug__least_bytes(const struct snug__problem *p, const struct snug__candidate *c,
                       uint64_t out[2]);
/* What of bytes is above a limit. */
uint64_t snug__above(uint64_t bytes, uint64_t limit);
/* Host memory that a tied embedding of this type takes beside the tensor itself: rows are looked up
 * on the host though the output lies on the device, or in another layout. 0 for none. */
uint64_t snug__tied_copy_bytes(const struct snug__problem *p, const struct snug__candidate *c,
                               int type);
/* Cache and compute bytes of a candidate's shape: the request's statement, or the formula's. */
snug_status snug__candidate_bytes(const struct snug__problem *p, struct snug__candidate *c,
                                  struct snug_error *err) SNUG_CHECKED;
/* What each side (device, host) keeps beside weights: layers, cache, compute, reserve. */
void snug__candidate_beside(const struct snug__problem *p, const struct snug__candidate *c,
                            struct snug_plan_tier out[2]);
/* Budgets of a candidate whose shape and bytes are set. */
void snug__candidate_budget(const struct snug__problem *p, struct snug__candidate *c);
/* All candidates worth a look, malloc'ed. */
snug_status snug__candidates(const struct snug__problem *p, struct snug__candidate **out,
                             int *out_n, struct snug_error *err) SNUG_CHECKED;

/* Prices: what a second of decode, or of a prompt, costs in loss. */
struct snug__prices {
    double loss, decode, prompt;
};
struct snug__types_answer {
    double bound; /* of the priced sum */
    double loss;  /* of the weights alone */
    uint64_t bytes;
    bool is_proved;
};
/* Types of least priced sum within the candidate's budgets; exact, or the greedy of the relaxation.
 * out_types[n_tensors] are ggml types.
 * Errors  SNUG_INFEASIBLE: they do not fit. */
snug_status snug__types_solve(const struct snug__problem *p, const struct snug__candidate *c,
                              const struct snug__prices *prices, bool is_exact, int *out_types,
                              struct snug__types_answer *out, struct snug_error *err) SNUG_CHECKED;
/* Seconds that the weights alone cost: of one decode step, and of the request's prompt. */
double snug__types_decode_s(const struct snug__problem *p, const struct snug__candidate *c,
                            const int *types);
double snug__types_prompt_s(const struct snug__problem *p, const struct snug__candidate *c,
                            const int *types);

/* The plan that types and candidate make, predictions and grade by the usual thresholds. */
snug_status snug__plan_fill(const struct snug__problem *p, const struct snug__candidate *c,
                            const int *types, struct snug_plan *out,
                            struct snug_error *err) SNUG_CHECKED;

#endif
