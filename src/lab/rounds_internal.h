/* Parts of the rounds file that its files share: what is read, and how it is expanded. */
#ifndef SNUG_LAB_ROUNDS_INTERNAL_H
#define SNUG_LAB_ROUNDS_INTERNAL_H

#include "base/yaml.h"
#include "lab/rounds.h"
#include "snug/trial.h"

/* One thing that a round sets: a knob, or the type that weights are quantised to. */
struct snug__lab_axis {
    const struct snug_knob *knob; /* NULL: weights */
    const struct snug_yaml_node *node;
    bool is_list;
    const char *values[SNUG_LAB_LIST_MAX]; /* in the row's own notation */
    int n;
};

/* At most one axis per row of the engine's table, in its order, and weights before them. */
#define SNUG__LAB_AXES_MAX (SNUG_KNOBS_MAX + 1)

struct snug__lab_axes {
    struct snug__lab_axis list[SNUG__LAB_AXES_MAX];
    int n;
};

/* What a round is made of before its lists are expanded. */
struct snug__lab_group {
    const char *name, *group;
    bool is_grid;
    const struct snug_yaml_node *node; /* the round, for places */
};

/* Read a mapping of knobs (NULL: none) and a weights node (NULL: none). Values are checked against
 * the engine's rows with the widest bounds that any machine has. */
snug_status snug__lab_axes_read(const struct snug_yaml *doc, const struct snug_yaml_node *knobs,
                                const struct snug_yaml_node *weights, struct snug_arena *arena,
                                struct snug__lab_axes *out, struct snug_error *err) SNUG_CHECKED;
/* Add the rounds that a group and its axes make to the plan. */
snug_status snug__lab_expand(const struct snug_yaml *doc, const struct snug__lab_group *group,
                             const struct snug__lab_axes *axes, struct snug_lab_plan *plan,
                             struct snug_error *err) SNUG_CHECKED;
/* Rows of a plan whose rounds are complete: keys and order. `name` begins the error text. */
snug_status snug__lab_order(const char *name, struct snug_lab_plan *plan,
                            struct snug_error *err) SNUG_CHECKED;
/* SHA-256 of everything that the plan says but its rows. */
snug_status snug__lab_hash(struct snug_lab_plan *plan, struct snug_error *err) SNUG_CHECKED;

#endif
