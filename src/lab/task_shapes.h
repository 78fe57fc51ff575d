/* One item of a task file from its JSON: a row of a table per shape. Part of task_file.c. */
#ifndef SNUG_LAB_TASK_SHAPES_H
#define SNUG_LAB_TASK_SHAPES_H

#include "base/json.h"
#include "lab/task_file.h"

/* The shape whose keys the item has, or SNUG_N_TASK_SHAPES. */
enum snug_task_shape snug__task_shape_find(const struct snug_json_node *item);
/* Fill everything but `line`. place ("FILE:LINE") begins the error text. */
snug_status snug__task_item_read(struct snug_arena *arena, enum snug_task_shape shape,
                                 const struct snug_json_node *node, const char *place,
                                 struct snug_task_item *out, struct snug_error *err) SNUG_CHECKED;

#endif
