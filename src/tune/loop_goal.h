/* A session's goal: what its trials are worth, and what it says when nothing keeps the limits. */
#ifndef SNUG_TUNE_LOOP_GOAL_H
#define SNUG_TUNE_LOOP_GOAL_H

#include "base/json.h"
#include "snug/tune_loop.h"

/* Fill axis, keeps_limits and is_safe from the trial's measurement. */
void snug__tune_goal_judge(const struct snug_tune_options *o, struct snug_tune_trial *trial);
/* Fill what the strategy is told besides the speed. */
void snug__tune_goal_observe(const struct snug_tune_options *o, const struct snug_tune_trial *trial,
                             struct snug_observation *out);
/* References of the axes around a trial that ran (speed 0: none did). */
void snug__tune_goal_refs(const struct snug_tune_options *o, const struct snug_tune_trial *around,
                          struct snug_tune_result *r);
/* Hypervolume of the first n trials; 0 when memory is out. */
double snug__tune_goal_hypervolume(const struct snug_goal *goal, const struct snug_tune_result *r,
                                   int n);
/* A trial that ran has no energy although an axis needs it: SNUG_UNSUPPORTED, with the reason. */
snug_status snug__tune_goal_check(const struct snug_tune_options *o,
                                  const struct snug_tune_trial *trial,
                                  struct snug_error *err) SNUG_CHECKED;
/* Trials of a config that broke a limit when it was run again are no longer safe. */
void snug__tune_goal_drop(const struct snug_space *space, const struct snug_config *config,
                          struct snug_tune_result *r);
/* The fastest that is safe, or -1. */
int snug__tune_goal_best(const struct snug_tune_result *r);
/* Set limit_note when trials ran and none of them is safe. */
void snug__tune_goal_note(const struct snug_tune_options *o, struct snug_tune_result *r);

/* Keys "objectives" and "limits" of a goal that is not plain; nothing of a plain one. */
void snug__tune_goal_put(struct snug_json_writer *w, const struct snug_goal *goal);
/* The goal of stored options or of a result, also of those that name only an objective. */
void snug__tune_goal_read(const struct snug_json_node *stored, struct snug_goal *out);

#endif
