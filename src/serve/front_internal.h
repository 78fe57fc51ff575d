/* What the two halves of the front share: a request from its first byte to its last. */
#ifndef SNUG_SERVE_FRONT_INTERNAL_H
#define SNUG_SERVE_FRONT_INTERNAL_H

#include <microhttpd.h>

#include "serve/front.h"
#include "serve/upstream.h"

struct snug__front {
    struct snug__front_options options;
    struct MHD_Daemon *daemon;
    int fd, port;
    pthread_mutex_t lock; /* of what follows */
    struct snug__front_counts counts;
    size_t n_body_bytes; /* of all requests, SNUG__FRONT_BODIES_MAX at most */
};

enum snug__fate { SNUG__FATE_GONE, SNUG__FATE_SERVED, SNUG__FATE_FAILED, SNUG__FATE_REFUSED };

struct snug__request {
    struct snug__front *front;
    struct MHD_Connection *connection;
    char *target;       /* as the client wrote it */
    const char *method; /* libmicrohttpd's */
    int client_fd;
    bool is_begun, is_own; /* own: for us, not for a server behind */
    double began_s;
    struct snug_buffer body;
    size_t n_body_held; /* counted in n_body_bytes: what was told, or is there */
    char **headers;     /* "Name: value" for the server behind, NULL at the end */
    struct snug__backend_lease lease;
    struct snug__upstream *upstream;
    struct snug__timings_tail tail; /* of the answer */
    bool has_moved;                 /* from a slow server; once, so that it ends somewhere */
    bool has_ended;                 /* the error event was written */
    enum snug__fate fate;
};

/* Answer with an error in OpenAI's form. */
enum MHD_Result snug__front_refuse(struct snug__request *r, unsigned code, const char *type,
                                   const char *text);
/* The request is whole: pass it on and answer. */
enum MHD_Result snug__front_forward(struct snug__request *r);
/* Give back what the exchange holds. */
void snug__front_release(struct snug__request *r);
/* It ended, and its answer is whole: what that says is passed on. */
void snug__front_observe(struct snug__request *r);
void snug__front_count_retry(struct snug__front *front);

#endif
