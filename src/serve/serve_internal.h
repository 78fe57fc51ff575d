/* What the control loop and its reports share. */
#ifndef SNUG_SERVE_INTERNAL_H
#define SNUG_SERVE_INTERNAL_H

#include "serve/backends.h"
#include "serve/front.h"
#include "snug/budget.h"
#include "snug/serve.h"

struct snug__serve {
    const struct snug_serve_options *options;
    struct snug__backends backends;
    struct snug__front *front;
    /* The control's own. */
    struct snug_adapt_state state;
    struct snug_budget_look look;
    struct snug_serve_caps caps;
    bool has_look, is_due;
    double look_s;              /* of the last budget */
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
};

/* An event: "event=KIND" with the text, its member (-1: none) and the budget. */
void snug__serve_say(struct snug__serve *s, const char *kind, int member, const char *format, ...)
    SNUG_PRINTF(4, 5);
/* The status of this moment as JSON; any thread. data: the struct snug__serve. */
char *snug__serve_status(void *data);

#endif
