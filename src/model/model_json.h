/* A model as JSON: `snug inspect --json`, the store, the report. */
#ifndef SNUG_MODEL_JSON_H
#define SNUG_MODEL_JSON_H

#include "base/json.h"
#include "snug/model.h"

/* with_tensors adds one object per tensor. */
void snug_model_to_json(struct snug_json_writer *w, const char *key, const struct snug_model *model,
                        bool with_tensors);

#endif
