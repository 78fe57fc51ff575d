/* The port that clients see: HTTP by libmicrohttpd, a thread for each connection, everything but
 * /snug/ passed to the server behind that serves at this moment. */
#ifndef SNUG_SERVE_FRONT_H
#define SNUG_SERVE_FRONT_H

#include "serve/backends.h"
#include "serve/timings.h"

#define SNUG__FRONT_BODY_MAX (16u << 20)   /* bytes of one request's body */
#define SNUG__FRONT_BODIES_MAX (64u << 20) /* of all at once, told or held */
#define SNUG__FRONT_HEAD_MAX (32u << 10)   /* of a request's head: libmicrohttpd's own refusal */
#define SNUG__FRONT_TARGET_MAX 8190        /* bytes of path and query */
#define SNUG__FRONT_CONNECTIONS_MAX 256    /* further ones wait to be accepted */
#define SNUG__FRONT_REQUESTS_MAX 128       /* under way at once; further ones: 503 */
#define SNUG__FRONT_IDLE_S 60              /* a connection on which nothing moves */
#define SNUG__FRONT_WAIT_S 300             /* a request without a server to go to */

struct snug__front;

/* An answer that came whole, and what it says of its speed. */
struct snug__observation {
    int member, epoch;
    double n_at_once; /* requests that its server had meanwhile, itself included */
    struct snug__timings timings;
};

/* Of requests that are not for /snug/. */
struct snug__front_counts {
    int64_t n_served;  /* answered by a server to the end, whatever it said */
    int64_t n_failed;  /* lost by us: no server, or it broke off twice or in the middle */
    int64_t n_refused; /* too large, too many, malformed */
    int64_t n_gone;    /* the client left first */
    int64_t n_retried; /* begun again at another server; counted above too */
    int n_now;
};

struct snug__front_options {
    const char *host;
    int port;                        /* 0: any */
    struct snug__backends *backends; /* kept */
    /* JSON of GET /snug/status, malloc'ed; any thread, also before the front is open. */
    char *(*status)(const struct snug__front_counts *counts, void *data);
    /* A request was answered and its server had a steady time meanwhile; any thread. */
    void (*observe)(const struct snug__observation *observation, void *data);
    void *data; /* of both */
};

/* Errors  SNUG_IO: the address cannot be listened on, with the reason; SNUG_NO_MEMORY */
snug_status snug__front_open(const struct snug__front_options *options, struct snug__front **out,
                             struct snug_error *err) SNUG_CHECKED;
int snug__front_port(const struct snug__front *front);
void snug__front_counts(struct snug__front *front, struct snug__front_counts *out);
/* Accept no more connections; those that are there go on. */
void snug__front_quiesce(struct snug__front *front);
/* The backends must be closed before, so that no request waits. Accepts NULL. out_counts (may be
 * NULL): the last ones. */
void snug__front_close(struct snug__front *front, struct snug__front_counts *out_counts);

#endif
