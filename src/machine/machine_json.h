/* A machine, its speeds, budgets and loads as JSON; read back by `snug report` and the parents of
 * the probe's and the load's processes. */
#ifndef SNUG_MACHINE_JSON_H
#define SNUG_MACHINE_JSON_H

#include "base/json.h"
#include "snug/budget.h"
#include "snug/load.h"
#include "snug/machine.h"

void snug_machine_to_json(struct snug_json_writer *w, const char *key,
                          const struct snug_machine *machine);
snug_status snug_machine_from_json(const struct snug_json_node *node, struct snug_machine *out,
                                   struct snug_error *err) SNUG_CHECKED;
void snug_machine_speed_to_json(struct snug_json_writer *w, const char *key,
                                const struct snug_machine_speed *speed);
snug_status snug_machine_speed_from_json(const struct snug_json_node *node,
                                         struct snug_machine_speed *out,
                                         struct snug_error *err) SNUG_CHECKED;
/* Written only: a budget is of its moment. */
void snug_budget_to_json(struct snug_json_writer *w, const char *key,
                         const struct snug_budget *budget);
void snug_load_report_to_json(struct snug_json_writer *w, const char *key,
                              const struct snug_load_report *report);
snug_status snug_load_report_from_json(const struct snug_json_node *node,
                                       struct snug_load_report *out,
                                       struct snug_error *err) SNUG_CHECKED;

#endif
