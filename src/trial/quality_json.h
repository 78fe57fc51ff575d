/* Quality figures as JSON: worker protocol, store, exports, report. */
#ifndef SNUG_TRIAL_QUALITY_JSON_H
#define SNUG_TRIAL_QUALITY_JSON_H

#include "base/json.h"
#include "snug/quality.h"

void snug_quality_to_json(struct snug_json_writer *w, const char *key,
                          const struct snug_quality *q);
void snug_quality_from_json(const struct snug_json_node *node, struct snug_quality *out);

#endif
