/* Configs, workloads and measurements as JSON: worker protocol, store, exports. */
#ifndef SNUG_TRIAL_JSON_H
#define SNUG_TRIAL_JSON_H

#include "base/arena.h"
#include "base/json.h"
#include "snug/trial.h"

/* {"n_threads": 2, "type_k": "f16", ...}: values in each row's own notation. */
void snug_config_to_json(struct snug_json_writer *w, const char *key,
                         const struct snug_space *space, const struct snug_config *config);
/* Rows that are absent keep what *config holds. Unknown names and values out of bounds fail when
 * is_strict, else they are skipped. */
snug_status snug_config_from_json(const struct snug_json_node *node, const struct snug_space *space,
                                  bool is_strict, struct snug_config *config,
                                  struct snug_error *err) SNUG_CHECKED;
void snug_workload_to_json(struct snug_json_writer *w, const char *key,
                           const struct snug_workload *workload);
void snug_workload_from_json(const struct snug_json_node *node, struct snug_workload *workload);
/* Everything but gaps and the effective config; samples when there are any. */
void snug_measurement_to_json(struct snug_json_writer *w, const char *key,
                              const struct snug_measurement *m);
/* The part of it that stands beside the figures: warm-up, conditions, samples, counts. The reader
 * sets these alone; samples become malloc'ed. */
void snug_measurement_details_to_json(struct snug_json_writer *w, const char *key,
                                      const struct snug_measurement *m);
void snug_measurement_details_from_json(const struct snug_json_node *node,
                                        struct snug_measurement *m);
/* Overwrites *m (release it with snug_measurement_clear), gaps NULL, with what
 * snug_measurement_to_json wrote. An outcome that is not known becomes refused, never ok. */
void snug_measurement_from_json(const struct snug_json_node *node, struct snug_measurement *m);
/* Rows of a space with bounds and defaults, for --json and the report. */
void snug_space_to_json(struct snug_json_writer *w, const char *key,
                        const struct snug_space *space);
#define SNUG_SPACE_LEVELS_MAX 65536 /* lattice values of one row that is read */
/* Read them back: names lie in the arena; flags and help are "". Errors name the row. */
snug_status snug_space_from_json(const struct snug_json_node *rows, struct snug_arena *arena,
                                 struct snug_space *out, struct snug_error *err) SNUG_CHECKED;

#endif
