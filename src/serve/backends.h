/* The servers behind: processes, and who is talking to which.
 *
 * One thread (the control) starts, turns and stops them; any thread takes and gives back the one of
 * the moment. A server that is no longer taken is stopped when the last request gave it back. */
#ifndef SNUG_SERVE_BACKENDS_H
#define SNUG_SERVE_BACKENDS_H

#include <pthread.h>

#include "base/process.h"
#include "snug/base.h"

#define SNUG__BACKENDS_MAX 4 /* one serves, one starts, two end */

enum snug__backend_state {
    SNUG__BACKEND_NONE,
    SNUG__BACKEND_STARTING,
    SNUG__BACKEND_SERVING,  /* new requests go there */
    SNUG__BACKEND_DRAINING, /* those in flight end there, but see is_slow */
    SNUG__BACKEND_STOPPING, /* asked to end */
    SNUG__BACKEND_DEAD      /* gone, but a request has still to notice */
};

struct snug__backend {
    enum snug__backend_state state;
    int serial; /* 1, 2, ...: never used twice */
    int member, port, pid;
    int n_in_flight;
    volatile int cut;            /* set: its requests end at once */
    bool is_slow;                /* drains because another is far faster */
    double since_s, deadline_s;  /* of this state */
    struct snug_process process; /* the control's alone */
};

struct snug__backends {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct snug__backend list[SNUG__BACKENDS_MAX];
    int n_serials;
    int n_waiting;
    int epoch; /* other in each stretch in which the same one serves under the same load */
    bool is_closing;
};

snug_status snug__backends_init(struct snug__backends *b, struct snug_error *err) SNUG_CHECKED;
/* Kills what is left. No request may be under way. */
void snug__backends_clear(struct snug__backends *b);

/* ---- any thread ---- */

struct snug__backend_lease {
    struct snug__backend *backend;
    int serial, port, member;
    const volatile int *cut;
    double taken_s;
    int epoch;     /* when it was taken; -1: other servers were there too */
    int n_at_once; /* requests that held the same one then, this one included */
};

/* Take the one that serves; wait up to timeout_s where there is none, or where it is `failed` (a
 * serial that broke off, 0: none) and may be found dead.
 * Errors  SNUG_TIMEOUT; SNUG_INTERRUPTED: closing, or the client of client_fd went away */
snug_status snug__backends_take(struct snug__backends *b, int failed, double timeout_s,
                                int client_fd, struct snug__backend_lease *out) SNUG_CHECKED;
/* Should a request without any answer yet begin again at the server that serves next? Where this
 * one is slow and has been left for as long as it had been at the request then. */
bool snug__backends_should_move(struct snug__backends *b, const struct snug__backend_lease *lease);
/* The member that serves at this moment, or -1. */
int snug__backends_member(struct snug__backends *b);
void snug__backends_give(struct snug__backends *b, struct snug__backend_lease *lease);
/* Has nothing of ours, and no change of load that was noticed, come between since it was taken?
 * *out_n_at_once: requests that held the server meanwhile, on average. */
bool snug__backends_is_steady(struct snug__backends *b, const struct snug__backend_lease *lease,
                              double *out_n_at_once);

/* ---- the control ---- */

/* Start argv with "--port" and a free one of the loopback added. Not yet taken by anybody.
 * Errors  SNUG_NO_MEMORY: too many at once; as snug_process_start */
snug_status snug__backends_start(struct snug__backends *b, int member, const char *const *argv,
                                 double now_s, struct snug__backend **out,
                                 struct snug_error *err) SNUG_CHECKED;
/* Does it answer that it is ready? Waits a second at most. */
bool snug__backend_is_ready(const struct snug__backend *backend);
/* New requests go there from now on; the one before drains until deadline_s. is_slow: of that one.
 */
void snug__backends_turn_to(struct snug__backends *b, struct snug__backend *next, bool is_slow,
                            double now_s, double deadline_s);
/* Nobody takes it any more; it drains until deadline_s. */
void snug__backends_retire(struct snug__backends *b, struct snug__backend *backend, bool is_slow,
                           double now_s, double deadline_s);
/* One that drains must end by deadline_s. */
void snug__backends_hurry(struct snug__backends *b, struct snug__backend *backend,
                          double deadline_s);
/* Something changed that what is timed now depends on: a new epoch. */
void snug__backends_disturb(struct snug__backends *b);
int snug__backends_epoch(struct snug__backends *b);

struct snug__backend_death {
    int member;
    enum snug__backend_state before;
    char words[256]; /* how it ended, and the last line it wrote */
};
/* Give ended processes' slots free, stop what has drained, kill what does not end. True: one died
 * without being asked to; call again. */
bool snug__backends_tend(struct snug__backends *b, double now_s, struct snug__backend_death *out);
/* The one in this state, or NULL. */
struct snug__backend *snug__backends_find(struct snug__backends *b, enum snug__backend_state state);
/* No request waits for a server any more. is_cut: those in flight end too. */
void snug__backends_close(struct snug__backends *b, bool is_cut);
/* Requests that hold or wait for a server. */
int snug__backends_busy(struct snug__backends *b);

#endif
