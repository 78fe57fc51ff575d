/* What the store knows of one task, for front, history, export, report: read without an engine. */
#ifndef SNUG_CLI_KNOWN_H
#define SNUG_CLI_KNOWN_H

#include "base/arena.h"
#include "base/json.h"
#include "cli/cli.h"
#include "report/table.h"
#include "snug/goal.h"
#include "snug/store.h"

struct known_trial {
    int64_t id, session_id;
    const char *role, *strategy, *config_json, *effective_json;
    char *config_text;                   /* what differs from the task's default trial */
    struct snug_measurement measurement; /* gaps_s NULL */
    double speed, speed_lo, speed_hi;    /* of the objective; 0 when not OK */
    uint64_t bytes;
    double axis[SNUG_AXES_MAX]; /* values of the goal's axes; NAN: not known */
    double kld_nats;            /* of its cache types; NAN: not measured */
    bool on_front, is_safe;     /* is_safe: no trial of its config is past a limit */
    const char *quality_text;   /* "KLD 0.0123 +- 0.0004", or "not measured" */
};

struct known {
    struct snug_arena arena; /* holds every string */
    int64_t task_id;
    bool is_imported; /* every trial of it */
    struct snug_workload workload;
    const char *machine_json, *machine_name, *model_json, *model_name, *model_path, *build;
    const char *model_hash;
    struct snug_goal goal;         /* with the limits of the last tuning */
    enum snug_objective objective; /* its lead */
    struct known_trial *trials;
    int n_trials;
    char *result_json; /* last finished tuning, or NULL */
    int64_t result_session_id;
};

/* Tasks that have trials, newest first, of the model named or of all, on the machine of that
 * fingerprint or (NULL) on all; without their trials. */
snug_status known_list(const struct cli_args *args, struct snug_store *store,
                       const char *fingerprint, struct known **out, int *out_n,
                       struct snug_error *err) SNUG_CHECKED;
void known_list_free(struct known *list, int n);
/* Is it the workload that args name, as far as they name one? */
bool known_matches(const struct cli_args *args, const struct snug_workload *w);
/* SNUG_INFEASIBLE: no task is of the workload that args name. */
snug_status known_none(struct snug_error *err);
/* Read the trials of a listed task; on failure it is closed. Speeds and front by objective: the one
 * given, else that of the last tuning. Front: one point per config (its median over trials), failed
 * trials and those of configs past a limit left out. */
snug_status known_load(const struct cli_args *args, struct snug_store *store, struct known *k,
                       struct snug_error *err) SNUG_CHECKED;
/* The newest listed task that was tuned to its end, else the newest that was measured here, else
 * the newest; where args name a workload, of those that match it. Loaded. */
snug_status known_open(const struct cli_args *args, struct snug_store *store,
                       const char *fingerprint, struct known *out,
                       struct snug_error *err) SNUG_CHECKED;
void known_close(struct known *known);
/* snug history MODEL: every trial of each of its tasks, printed; an exit status. */
int cli_known_trials(const struct cli_args *args);
/* --objective where it is given, else that of the last tuning; its limits in both cases. */
void known_find_goal(const struct cli_args *args, struct known *k);
/* Axes, prices and safety of every trial. */
void known_judge_goal(struct snug_store *store, struct known *k);
/* Marks the front of a goal that is not plain. is_believed[n_trials]
 * Errors  SNUG_NO_MEMORY */
snug_status known_goal_front(struct known *k, const bool *is_believed,
                             struct snug_error *err) SNUG_CHECKED;
const struct known_trial *known_find(const struct known *known, int64_t id);

#endif
