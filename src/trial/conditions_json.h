/* Conditions of a trial as JSON: worker protocol, store, exports, report. */
#ifndef SNUG_TRIAL_CONDITIONS_JSON_H
#define SNUG_TRIAL_CONDITIONS_JSON_H

#include "base/json.h"
#include "snug/conditions.h"

void snug_conditions_to_json(struct snug_json_writer *w, const char *key,
                             const struct snug_conditions *c);
void snug_conditions_from_json(const struct snug_json_node *node, struct snug_conditions *out);
/* {"t_s": [..], "clock_hz": [..], ...}: one array per figure. */
void snug_samples_to_json(struct snug_json_writer *w, const char *key,
                          const struct snug_condition_sample *samples, int n);
/* malloc'ed, NULL when there are none; at most SNUG_CONDITION_SAMPLES_MAX. */
struct snug_condition_sample *snug_samples_from_json(const struct snug_json_node *node, int *out_n);

#endif
