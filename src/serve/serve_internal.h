/* What the control loop and its reports share. */
#ifndef SNUG_SERVE_INTERNAL_H
#define SNUG_SERVE_INTERNAL_H

#include <sys/stat.h>

#include "serve/backends.h"
#include "serve/front.h"
#include "snug/budget.h"
#include "snug/serve.h"

#define SNUG__OBSERVATIONS_MAX 64 /* between two looks; further ones are dropped */

struct snug__serve {
    const struct snug_serve_options *options;
    struct snug__backends backends;
    struct snug__front *front;
    /* The control's own. */
    struct snug_adapt_state state;
    struct snug_budget_look look;
    struct snug_serve_caps caps;
    struct stat caps_stat;        /* of the file they are from, when it was read */
    struct snug_adapt_view there; /* budget without the limits that are given */
    bool has_look, is_due;
    double look_s;              /* of the last budget */
    double busy_frac;           /* that others had of the CPUs when this epoch began */
    bool is_capped;             /* fewer CPUs are allowed than are free: others do not slow us */
    struct snug__backend *next; /* starting, or NULL */
    bool was_ready;             /* some member has served */
    const char *noted;          /* "misfit" or "wait", said already; NULL: neither */
    int n_failed_starts, last_member;
    char words[256];                      /* of the last one that did not start */
    char caps_error[SNUG_ERROR_TEXT_MAX]; /* said already; "": the limits are good */
    pthread_mutex_t lock;                 /* of what follows, which the status shows */
    struct snug_adapt_view view;
    struct snug_adapt_decision decision;
    int n_switches;
    struct snug_adapt_outlook outlooks[SNUG_ADAPT_MEMBERS_MAX];
    struct snug__observation observed[SNUG__OBSERVATIONS_MAX];
    int n_observed;
};

/* Of the front's threads. data: the struct snug__serve. */
void snug__serve_observe(const struct snug__observation *observation, void *data);
/* After a look at the budget: what came in since the last one is learned from, where the load was
 * the same at both; and what is expected of each member is put where the status finds it. */
void snug__serve_learn(struct snug__serve *s, double now_s);

/* An event: "event=KIND" with the text, its member (-1: none) and the budget. */
void snug__serve_say(struct snug__serve *s, const char *kind, int member, const char *format, ...)
    SNUG_PRINTF(4, 5);
/* The status of this moment as JSON; any thread. data: the struct snug__serve. */
char *snug__serve_status(const struct snug__front_counts *counts, void *data);

#endif
