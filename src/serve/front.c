/* Listening, and a request until it is whole: heads and bodies are bounded here, and what is over a
 * bound is refused with a status and a JSON body before it is read. A chunked body tells its length
 * by its end alone: over a bound its connection is closed.
 *
 * A thread for each connection, because an answer may wait long for its next bytes. Workload: some
 * ten clients, seconds to minutes each; most threads sleep. */
#include "serve/front.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve/front_internal.h"

static const size_t STACK_BYTES = 512u << 10; /* libcurl keeps some tens of KiB on it */
static const double BODY_S = 300;             /* for all of a body */
static const char OWN_PREFIX[] = "/snug/";    /* answered here, and not counted */

/* ---- counting ---- */

void snug__front_counts(struct snug__front *front, struct snug__front_counts *out)
{
    pthread_mutex_lock(&front->lock);
    *out = front->counts;
    pthread_mutex_unlock(&front->lock);
}

void snug__front_count_retry(struct snug__front *front)
{
    pthread_mutex_lock(&front->lock);
    front->counts.n_retried++;
    pthread_mutex_unlock(&front->lock);
}

static void count_end(struct snug__request *r, bool is_whole)
{
    struct snug__front_counts *counts = &r->front->counts;
    pthread_mutex_lock(&r->front->lock);
    r->front->n_body_bytes -= r->n_body_held;
    counts->n_now -= !r->is_own;
    if (r->is_own)
        goto done;
    if (r->fate == SNUG__FATE_FAILED)
        counts->n_failed++;
    else if (r->fate == SNUG__FATE_REFUSED)
        counts->n_refused++;
    else if (r->fate == SNUG__FATE_SERVED && is_whole)
        counts->n_served++;
    else
        counts->n_gone++;
done:
    pthread_mutex_unlock(&r->front->lock);
}

/* ---- a request ---- */

static bool is_clean(const char *target)
{
    for (const char *c = target; *c; c++) {
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 127)
            return false;
    }
    return target[0] == '/';
}

/* libmicrohttpd decodes paths; this is the one place where they are as they came. */
static void *on_target(void *user, const char *target, struct MHD_Connection *connection)
{
    struct snug__request *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->front = user;
    r->connection = connection;
    r->target = strdup(target);
    r->is_own = strncmp(target, OWN_PREFIX, sizeof OWN_PREFIX - 1) == 0;
    r->client_fd = -1;
    r->began_s = snug_clock_s();
    pthread_mutex_lock(&r->front->lock);
    r->front->counts.n_now += !r->is_own;
    pthread_mutex_unlock(&r->front->lock);
    return r;
}

/* Count n bytes of a body as held; false, and nothing is counted, where that is over the bound. */
static bool hold_body(struct snug__request *r, uint64_t n)
{
    struct snug__front *front = r->front;
    pthread_mutex_lock(&front->lock);
    const bool has_room = n <= SNUG__FRONT_BODIES_MAX - front->n_body_bytes;
    if (has_room) {
        front->n_body_bytes += (size_t)n;
        r->n_body_held += (size_t)n;
    }
    pthread_mutex_unlock(&front->lock);
    return has_room;
}

static enum MHD_Result refuse_busy(struct snug__request *r, const char *text)
{
    const enum MHD_Result result =
        snug__front_refuse(r, MHD_HTTP_SERVICE_UNAVAILABLE, "unavailable_error", text);
    r->fate = SNUG__FATE_REFUSED;
    return result;
}

/* The head is there. */
static enum MHD_Result begin(struct snug__request *r, const char *method)
{
    struct snug__front_counts counts;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const char *length =
        MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, "Content-Length");
    r->is_begun = true;
    r->method = method;
    r->client_fd = info ? info->connect_fd : -1;
    snug__front_counts(r->front, &counts);
    if (!r->target)
        return MHD_NO;
    if (!is_clean(r->target) || strlen(r->target) > SNUG__FRONT_TARGET_MAX)
        return snug__front_refuse(
            r, MHD_HTTP_BAD_REQUEST, "invalid_request_error",
            "the path must begin with / and be plain ASCII of up to 8190 bytes");
    const uint64_t n_body = length ? strtoull(length, NULL, 10) : 0;
    if (n_body > SNUG__FRONT_BODY_MAX)
        return snug__front_refuse(r, MHD_HTTP_CONTENT_TOO_LARGE, "invalid_request_error",
                                  "a request may have 16 MiB at most");
    if (!r->is_own && counts.n_now > SNUG__FRONT_REQUESTS_MAX)
        return refuse_busy(r, "too many requests at once: try again later");
    if (!hold_body(r, n_body))
        return refuse_busy(r, "the requests of this moment have 64 MiB together: try again later");
    return MHD_YES;
}

/* A piece of the body, counted already where its length was told. Over a bound the connection ends,
 * since an answer is only possible after the last piece, and that may never come. */
static enum MHD_Result take_piece(struct snug__request *r, const char *data, size_t n)
{
    const size_t n_all = r->body.len + n;
    if (n_all <= SNUG__FRONT_BODY_MAX && snug_clock_s() - r->began_s < BODY_S &&
        (n_all <= r->n_body_held || hold_body(r, n_all - r->n_body_held)))
        snug_buffer_append(&r->body, data, n);
    else
        r->body.is_failed = true;
    r->fate = r->body.is_failed ? SNUG__FATE_REFUSED : r->fate;
    return r->body.is_failed ? MHD_NO : MHD_YES;
}

static enum MHD_Result answer_status(struct snug__request *r)
{
    struct snug__front_counts counts;
    snug__front_counts(r->front, &counts);
    char *json = r->front->options.status(&counts, r->front->options.data);
    struct MHD_Response *response =
        json ? MHD_create_response_from_buffer_with_free_callback(strlen(json), json, free) : NULL;
    if (!response) {
        free(json);
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", "application/json");
    r->fate = SNUG__FATE_SERVED;
    const enum MHD_Result result = MHD_queue_response(r->connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

/* The request is whole. */
static enum MHD_Result finish(struct snug__request *r)
{
    if (!r->is_own)
        return snug__front_forward(r);
    if (strcmp(r->target, "/snug/status") != 0)
        return snug__front_refuse(r, MHD_HTTP_NOT_FOUND, "not_found_error",
                                  "below /snug/ there is /snug/status");
    if (strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0)
        return snug__front_refuse(r, MHD_HTTP_METHOD_NOT_ALLOWED, "invalid_request_error",
                                  "/snug/status is for GET");
    return answer_status(r);
}

/* snug:long the parameters are libmicrohttpd's */
static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n, void **request)
{
    (void)user, (void)connection, (void)url, (void)version;
    struct snug__request *r = *request;
    if (!r)
        return MHD_NO;
    if (!r->is_begun)
        return begin(r, method);
    if (*n == 0)
        return finish(r);
    const size_t n_piece = *n;
    *n = 0;
    return take_piece(r, data, n_piece);
}

static void on_end(void *user, struct MHD_Connection *connection, void **request,
                   enum MHD_RequestTerminationCode code)
{
    (void)user, (void)connection;
    struct snug__request *r = *request;
    if (!r)
        return;
    if (code == MHD_REQUEST_TERMINATED_COMPLETED_OK && r->fate == SNUG__FATE_SERVED)
        snug__front_observe(r);
    snug__front_release(r);
    count_end(r, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    for (char **line = r->headers; line && *line; line++)
        free(*line);
    free(r->headers);
    snug_buffer_clear(&r->body);
    free(r->target);
    free(r);
    *request = NULL;
}

/* ---- listening ---- */

static int bound_port(int fd)
{
    struct sockaddr_storage at;
    socklen_t n = sizeof at;
    char port[16];
    if (getsockname(fd, (struct sockaddr *)&at, &n) != 0 ||
        getnameinfo((struct sockaddr *)&at, n, NULL, 0, port, sizeof port, NI_NUMERICSERV) != 0)
        return 0;
    return (int)strtol(port, NULL, 10);
}

static snug_status listen_on(const char *host, int port, int *out_fd, struct snug_error *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    char service[16];
    const int one = 1;
    int fd = -1, code = 0;
    snprintf(service, sizeof service, "%d", port);
    const int found = getaddrinfo(host, service, &hints, &list);
    if (found != 0)
        return snug_fail(err, SNUG_BAD_INPUT, "--host %s: %s", host, gai_strerror(found));
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0)
            setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (fd >= 0 && bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, 128) == 0)
            break;
        code = errno;
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    if (fd < 0)
        return snug_fail(err, SNUG_IO, "cannot listen on %s port %d: %s%s", host, port,
                         strerror(code), code == EADDRINUSE ? "; choose another with --port" : "");
    *out_fd = fd;
    return SNUG_OK;
}

snug_status snug__front_open(const struct snug__front_options *options, struct snug__front **out,
                             struct snug_error *err)
{
    struct snug__front *front = calloc(1, sizeof *front);
    if (!front || pthread_mutex_init(&front->lock, NULL) != 0) {
        free(front);
        return snug_fail(err, SNUG_NO_MEMORY, "a server");
    }
    front->options = *options;
    front->fd = -1;
    snug_status status = listen_on(options->host, options->port, &front->fd, err);
    if (status == SNUG_OK) {
        front->port = bound_port(front->fd);
        front->daemon = MHD_start_daemon(
            MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
                MHD_USE_ITC,
            0, NULL, NULL, on_request, front, MHD_OPTION_LISTEN_SOCKET, front->fd,
            MHD_OPTION_URI_LOG_CALLBACK, on_target, front, MHD_OPTION_NOTIFY_COMPLETED, on_end,
            front, MHD_OPTION_CONNECTION_LIMIT, (unsigned)SNUG__FRONT_CONNECTIONS_MAX,
            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SNUG__FRONT_HEAD_MAX,
            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SNUG__FRONT_IDLE_S,
            MHD_OPTION_THREAD_STACK_SIZE, STACK_BYTES, MHD_OPTION_END);
        if (!front->daemon)
            status = snug_fail(err, SNUG_IO, "the server on %s port %d does not start",
                               options->host, front->port);
    }
    if (status != SNUG_OK) {
        snug__front_close(front, NULL);
        return status;
    }
    *out = front;
    return SNUG_OK;
}

int snug__front_port(const struct snug__front *front)
{
    return front->port;
}

void snug__front_quiesce(struct snug__front *front)
{
    if (front->fd < 0)
        return;
    MHD_quiesce_daemon(front->daemon);
    close(front->fd);
    front->fd = -1;
}

void snug__front_close(struct snug__front *front, struct snug__front_counts *out_counts)
{
    if (!front)
        return;
    if (front->daemon)
        MHD_stop_daemon(front->daemon);
    else if (front->fd >= 0)
        close(front->fd);
    if (out_counts)
        *out_counts = front->counts;
    pthread_mutex_destroy(&front->lock);
    free(front);
}
