/* One request to a server behind: sent whole, its answer pulled as it comes. The only file beside
 * base/http that knows libcurl. */
#ifndef SNUG_SERVE_UPSTREAM_H
#define SNUG_SERVE_UPSTREAM_H

#include "base/buffer.h"

#define SNUG__UPSTREAM_HEADERS_MAX 64 /* of an answer; further ones are dropped */

struct snug__upstream; /* one exchange */

/* Borrowed until the exchange is closed. */
struct snug__upstream_request {
    int port;                    /* on the loopback */
    const char *method, *target; /* "/v1/models?x=1", visible ASCII, as the client wrote it */
    char *const *headers;        /* "Name: value", NULL at the end */
    const void *body;
    size_t n_body;
    int client_fd;               /* watched: its end ends the exchange; -1: none */
    const volatile int *cancel;  /* may be NULL */
    bool (*is_left)(void *data); /* may be NULL; true, before the head is there: as *cancel */
    void *data;
};

enum snug__upstream_state {
    SNUG__UPSTREAM_OPEN,
    SNUG__UPSTREAM_DONE,   /* the whole answer is there */
    SNUG__UPSTREAM_BROKEN, /* the connection ended before that, or never came about */
    SNUG__UPSTREAM_GONE    /* the client went away, *cancel was set, or it is left */
};

struct snug__upstream_header {
    const char *name, *value;
};

snug_status snug__upstream_open(const struct snug__upstream_request *request,
                                struct snug__upstream **out, struct snug_error *err) SNUG_CHECKED;
/* Ends the exchange where it is still going on: the server behind sees that. Accepts NULL. */
void snug__upstream_close(struct snug__upstream *u);

/* Work until n_wanted bytes of the body are there, or the end. */
enum snug__upstream_state snug__upstream_wait(struct snug__upstream *u, size_t n_wanted);
/* Until the head is whole; is_stream then tells an event stream. */
enum snug__upstream_state snug__upstream_wait_head(struct snug__upstream *u);
/* The whole answer, timeout_s at the most (then still open). */
enum snug__upstream_state snug__upstream_wait_for(struct snug__upstream *u, double timeout_s);
bool snug__upstream_is_stream(const struct snug__upstream *u);
int snug__upstream_code(const struct snug__upstream *u);
/* What the server said of the body's length; -1: nothing. */
int64_t snug__upstream_length(const struct snug__upstream *u);
/* Header i without those that belong to one connection alone; false past the end. */
bool snug__upstream_header(const struct snug__upstream *u, int i,
                           struct snug__upstream_header *out);
/* Body bytes that are there and not yet taken; take them from its front. */
struct snug_buffer *snug__upstream_body(struct snug__upstream *u);
/* Headers that belong to one connection ("Connection", "Transfer-Encoding" ...). */
bool snug__upstream_is_hop(const char *name);
/* The client's end of a connection was closed; also true where that cannot be told any more. */
bool snug__upstream_is_closed(int fd);

#endif
