/* Setting knobs of a config by name; rows that the space has not are left out. */
#ifndef SNUG_PLAN_CONFIG_H
#define SNUG_PLAN_CONFIG_H

#include "snug/plan.h"

/* In the row's own notation: "q8_0", "on". */
snug_status snug__config_word(const struct snug_space *space, struct snug_config *config,
                              const char *name, const char *text,
                              struct snug_error *err) SNUG_CHECKED;
/* As it is, also beyond the bounds that this machine gives the row. */
void snug__config_number(const struct snug_space *space, struct snug_config *config,
                         const char *name, int64_t value);
/* What a shape sets beside the length of its context and its placement. */
snug_status snug__config_shape(const struct snug_space *space, const struct snug_plan_shape *shape,
                               struct snug_config *config, struct snug_error *err) SNUG_CHECKED;

#endif
