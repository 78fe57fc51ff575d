/* A tuning session in the store: its options, its past trials, its result. */
#ifndef SNUG_TUNE_SESSION_H
#define SNUG_TUNE_SESSION_H

#include "base/json.h"
#include "snug/tune_loop.h"

struct snug__tune_past {
    struct snug_tune_trial *trials; /* id, role, config, measurement; of the front's again too */
    int n;
};

snug_status snug__tune_session_new(const struct snug_tune_options *options, int64_t *out_id,
                                   struct snug_error *err) SNUG_CHECKED;
/* Trials of the last unfinished session, confirm trials left out (they are measured again). */
snug_status snug__tune_past_load(const struct snug_tune_options *options, int64_t *out_id,
                                 struct snug__tune_past *out, struct snug_error *err) SNUG_CHECKED;
/* Knobs set by hand of a stored session's options; out_is_fixed has SNUG_KNOBS_MAX. */
snug_status snug__tune_fixed_read(const struct snug_json_node *stored,
                                  const struct snug_space *space, struct snug_config *out_base,
                                  bool *out_is_fixed, struct snug_error *err) SNUG_CHECKED;
/* The array "confirm" of a result. */
void snug__tune_confirm_json(struct snug_json_writer *w, const struct snug_tune_result *result);
/* malloc'ed, or NULL */
char *snug__tune_result_json(const struct snug_tune_options *options,
                             const struct snug_tune_result *result);
/* Re-measure the best against default and fit, alternately; sets confirm[] and i_pick. */
snug_status snug__tune_confirm_run(const struct snug_tune_options *options,
                                   struct snug_tune_result *result,
                                   struct snug_error *err) SNUG_CHECKED;

/* Is it a role of what snug__tune_measure_short stores? */
bool snug__tune_is_short(const char *role);
/* One short measurement of a config, stored under this role, "front" or "confirm"; *out_speed is 0
 * when the trial failed, out_wall_s may be NULL. A config that breaks a limit here is none to be
 * picked. */
snug_status snug__tune_measure_short(const struct snug_tune_options *options,
                                     struct snug_tune_result *result, const char *role,
                                     const struct snug_config *config, double *out_speed,
                                     double *out_wall_s, struct snug_error *err) SNUG_CHECKED;
/* Measure the front that the strategy believes in again; sets members[] and i_best. left_s: of the
 * time budget, where there is one. */
snug_status snug__tune_remeasure(const struct snug_tune_options *options,
                                 struct snug_strategy *strategy, double left_s,
                                 struct snug_tune_result *result,
                                 struct snug_error *err) SNUG_CHECKED;
snug_status snug__tune_repeat_add(struct snug_tune_result *result,
                                  const struct snug_tune_repeat *repeat,
                                  struct snug_error *err) SNUG_CHECKED;
/* The array "front" of a result and what is known of its order; nothing where there is none. */
void snug__tune_front_json(struct snug_json_writer *w, const struct snug_tune_result *result);

#endif
