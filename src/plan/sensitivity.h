/* What the files of sensitivity share: roles, groups of tensors, the rule from error to loss. */
#ifndef SNUG_PLAN_SENSITIVITY_H
#define SNUG_PLAN_SENSITIVITY_H

#include "snug/plan.h"

#define SNUG__ROLE_MAX 64
#define SNUG__BANDS 3               /* of layers: first, middle, last third */
#define SNUG__SENSITIVITY_VERSION 1 /* of its file */

/* What a tensor does: "attn_q" of blk.3.attn_q.weight, "output" of output.weight. *out_layer: 3, or
 * -1 outside layers. Returns out. */
const char *snug__tensor_role(const char *name, char out[SNUG__ROLE_MAX], int64_t *out_layer);
/* Nats per token that a relative squared error of 1 in this tensor would cost, were the law linear
 * so far. The fit behind it is told in sensitivity_loss.c. */
double snug__tensor_factor(const struct snug_model *model, int i_tensor,
                           enum snug_sensitivity_method method);
/* The interval that goes with a method. */
void snug__loss_interval(enum snug_sensitivity_method method, double *out_lo, double *out_hi);

/* All types that snug considers, fewest bits first. */
const int *snug__sensitivity_types(int *out_n);

/* An empty table for a model: types that some tensor can have, every loss NAN but 0 for a tensor's
 * own type. types NULL: all. */
snug_status snug__sensitivity_init(const struct snug_model *model, const int *types, int n_types,
                                   bool has_imatrix, struct snug_sensitivity *out,
                                   struct snug_error *err) SNUG_CHECKED;
/* Refuse what has no weights, or quantised ones. */
snug_status snug__sensitivity_check(const struct snug_model *model,
                                    struct snug_error *err) SNUG_CHECKED;

struct snug__tensor_group {
    char name[SNUG__ROLE_MAX + 48]; /* "attn_q 0-9", "output", or a tensor's */
    char role[SNUG__ROLE_MAX];
    int64_t layer_begin, layer_end; /* half open; -1, -1 outside layers */
    int *tensors;                   /* of the model, ascending */
    int n;
};
struct snug__tensor_groups {
    struct snug__tensor_group *groups;
    int n;
};
/* The tensors that can be quantised: by role and band of layers, or each alone. */
snug_status snug__tensor_groups(const struct snug_model *model, bool is_per_tensor,
                                struct snug__tensor_groups *out,
                                struct snug_error *err) SNUG_CHECKED;
void snug__tensor_groups_clear(struct snug__tensor_groups *groups);

#endif
