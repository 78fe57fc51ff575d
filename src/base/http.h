/* One HTTP GET, bounded in bytes, time and redirects. Only serve/upstream knows libcurl besides. */
#ifndef SNUG_BASE_HTTP_H
#define SNUG_BASE_HTTP_H

#include "base/buffer.h"

#define SNUG_HTTP_REDIRECTS_MAX 5
#define SNUG_HTTP_CONNECT_S 10
#define SNUG_HTTP_STALL_S 30      /* under SNUG_HTTP_SLOW_BPS for so long; $SNUG_HTTP_STALL_S */
#define SNUG_HTTP_SLOW_BPS 1024   /* bytes per second */
#define SNUG_HTTP_TOTAL_S 900     /* of one request, whatever it does */
#define SNUG_HTTP_URL_MAX 4095    /* bytes */
#define SNUG_HTTP_REFUSAL_MAX 512 /* bytes kept of an answer that is not what was asked for */

struct snug_http_request {
    const char *url;
    const char *bearer; /* NULL: none. Sent to the URL's own host alone, never over a redirect to
                           another */
    bool is_range;
    uint64_t first, last; /* bytes wanted, both included */
    size_t cap;           /* most bytes of an answer without range */
};

struct snug_http_reply {
    long code; /* 206, 200, 404 ... */
    struct snug_buffer body;
    char etag[256]; /* "" where none was sent, as are the others */
    char type[128];
    bool has_range; /* first, last, total stand in Content-Range */
    uint64_t first, last, total;
};

/* Start libcurl for the life of the process: any thread, as often as wanted. snug_http_get does. */
snug_status snug_http_init(struct snug_error *err) SNUG_CHECKED;

/* Any status code is SNUG_OK; the caller judges it. The body of another status than was asked for
 * (206 for a range, else 200) is cut to SNUG_HTTP_REFUSAL_MAX bytes, and not waited for further.
 * Errors  SNUG_IO: no connection, or it broke; SNUG_TIMEOUT: too slow; SNUG_BAD_INPUT: no http URL,
 *         more bytes than asked for, too many redirects. The text begins with the URL. */
snug_status snug_http_get(const struct snug_http_request *request, struct snug_http_reply *out,
                          struct snug_error *err) SNUG_CHECKED;
void snug_http_reply_clear(struct snug_http_reply *reply);

/* "http://" or "https://" at the beginning, in any case. */
bool snug_http_is_url(const char *text);
/* Scheme, host and port of both are the same. */
bool snug_http_same_host(const char *a, const char *b);

#endif
