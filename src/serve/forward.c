/* One request from the front to a server and its answer back.
 *
 * Nothing goes to the client before there is something worth it: the first event of a stream, the
 * whole of any other answer up to ANSWER_HELD bytes. Until then a server that breaks off costs
 * nothing but time: the request begins again, once, at the one that serves next; and once more
 * where a server was left because it had become slow. After that an event stream ends with an error
 * event, and another answer with a closed connection. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "serve/front_internal.h"

static const size_t ANSWER_HELD = 256u << 10;
static const size_t BLOCK_BYTES = 32u << 10; /* that libmicrohttpd asks for at once */

static char *error_json(unsigned code, const char *type, const char *text)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_begin_object(&w, "error");
    snug_json_put_int(&w, "code", code);
    snug_json_put_string(&w, "message", text);
    snug_json_put_string(&w, "type", type);
    snug_json_end(&w);
    snug_json_end(&w);
    return snug_json_finish(&w, false);
}

enum MHD_Result snug__front_refuse(struct snug__request *r, unsigned code, const char *type,
                                   const char *text)
{
    char *json = error_json(code, type, text);
    struct MHD_Response *response =
        json ? MHD_create_response_from_buffer_with_free_callback(strlen(json), json, free) : NULL;
    if (!response) {
        free(json);
        return MHD_NO;
    }
    r->fate = code >= 500 ? SNUG__FATE_FAILED : SNUG__FATE_REFUSED;
    MHD_add_response_header(response, "Content-Type", "application/json");
    if (code == MHD_HTTP_SERVICE_UNAVAILABLE)
        MHD_add_response_header(response, "Retry-After", "5");
    if (code == MHD_HTTP_CONTENT_TOO_LARGE)
        MHD_add_response_header(response, "Connection", "close"); /* the rest is not read */
    const enum MHD_Result result = MHD_queue_response(r->connection, code, response);
    MHD_destroy_response(response);
    return result;
}

void snug__front_release(struct snug__request *r)
{
    snug__upstream_close(r->upstream);
    r->upstream = NULL;
    snug__backends_give(r->front->options.backends, &r->lease);
}

void snug__front_observe(struct snug__request *r)
{
    const struct snug__front_options *options = &r->front->options;
    struct snug__observation observation = {.member = r->lease.member, .epoch = r->lease.epoch};
    if (snug__backends_is_steady(options->backends, &r->lease, &observation.n_at_once) &&
        snug__timings_find(&r->tail, &observation.timings))
        options->observe(&observation, options->data);
}

/* ---- the answer ---- */

/* libmicrohttpd counts the time spent in here as idle. */
static void set_timeout(struct snug__request *r, unsigned s)
{
    MHD_set_connection_option(r->connection, MHD_CONNECTION_OPTION_TIMEOUT, s);
}

static void put_error_event(struct snug_buffer *out)
{
    char *json = error_json(MHD_HTTP_BAD_GATEWAY, "server_error",
                            "the server behind ended in the middle of this answer");
    snug_buffer_printf(out, "\n\ndata: %s\n\n", json ? json : "{\"error\":{}}");
    free(json);
}

/* libmicrohttpd asks for the next bytes of the answer; may wait for them. */
static ssize_t read_answer(void *user, uint64_t at, char *out, size_t cap)
{
    (void)at;
    struct snug__request *r = user;
    struct snug_buffer *body = snug__upstream_body(r->upstream);
    set_timeout(r, 0);
    enum snug__upstream_state state = snug__upstream_wait(r->upstream, 1);
    set_timeout(r, SNUG__FRONT_IDLE_S);
    const bool is_ours =
        state == SNUG__UPSTREAM_BROKEN || (state == SNUG__UPSTREAM_GONE && *r->lease.cut);
    if (body->len == 0 && is_ours && !r->has_ended) {
        r->has_ended = true;
        r->fate = SNUG__FATE_FAILED;
        if (snug__upstream_is_stream(r->upstream))
            put_error_event(body);
    }
    if (body->len > 0) {
        const size_t n = body->len < cap ? body->len : cap;
        memcpy(out, body->data, n);
        snug__timings_pass(&r->tail, out, n);
        snug_buffer_consume(body, n);
        return (ssize_t)n;
    }
    const bool is_whole =
        state == SNUG__UPSTREAM_DONE || (r->has_ended && snug__upstream_is_stream(r->upstream));
    return is_whole ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
}

static enum MHD_Result answer(struct snug__request *r, enum snug__upstream_state state)
{
    const int64_t length = snug__upstream_length(r->upstream);
    uint64_t size = length >= 0 ? (uint64_t)length : MHD_SIZE_UNKNOWN;
    if (state == SNUG__UPSTREAM_DONE && strcmp(r->method, "HEAD") != 0)
        size = snug__upstream_body(r->upstream)->len;
    struct MHD_Response *response =
        MHD_create_response_from_callback(size, BLOCK_BYTES, read_answer, r, NULL);
    if (!response)
        return MHD_NO;
    struct snug__upstream_header header;
    for (int i = 0; snug__upstream_header(r->upstream, i, &header); i++)
        MHD_add_response_header(response, header.name, header.value);
    r->fate = SNUG__FATE_SERVED;
    const enum MHD_Result result =
        MHD_queue_response(r->connection, (unsigned)snug__upstream_code(r->upstream), response);
    MHD_destroy_response(response);
    return result;
}

/* ---- passing on ---- */

static enum MHD_Result add_header(void *user, enum MHD_ValueKind kind, const char *name,
                                  const char *value)
{
    (void)kind;
    struct snug__request *r = user;
    size_t n = 0;
    char *line = NULL;
    if (snug__upstream_is_hop(name) || !value)
        return MHD_YES;
    while (r->headers[n])
        n++;
    /* libcurl sends "Name;" as a header without a value. */
    const int made =
        value[0] ? asprintf(&line, "%s: %s", name, value) : asprintf(&line, "%s;", name);
    if (made < 0)
        return MHD_NO;
    r->headers[n] = line;
    return MHD_YES;
}

static bool collect_headers(struct snug__request *r)
{
    const int n = MHD_get_connection_values(r->connection, MHD_HEADER_KIND, NULL, NULL);
    r->headers = calloc((size_t)n + 1, sizeof *r->headers);
    return r->headers &&
           MHD_get_connection_values(r->connection, MHD_HEADER_KIND, add_header, r) >= 0;
}

static bool is_left(void *data)
{
    struct snug__request *r = data;
    r->has_moved = snug__backends_should_move(r->front->options.backends, &r->lease);
    return r->has_moved;
}

/* Send it and wait for what may go to the client. */
static enum snug__upstream_state exchange(struct snug__request *r)
{
    const bool may_move = !r->has_moved;
    const struct snug__upstream_request request = {.port = r->lease.port,
                                                   .method = r->method,
                                                   .target = r->target,
                                                   .headers = r->headers,
                                                   .body = r->body.data,
                                                   .n_body = r->body.len,
                                                   .client_fd = r->client_fd,
                                                   .cancel = r->lease.cut,
                                                   .is_left = may_move ? is_left : NULL,
                                                   .data = r};
    if (snug__upstream_open(&request, &r->upstream, NULL) != SNUG_OK)
        return SNUG__UPSTREAM_BROKEN;
    enum snug__upstream_state state = snug__upstream_wait_head(r->upstream);
    if (state == SNUG__UPSTREAM_OPEN)
        state = snug__upstream_wait(r->upstream,
                                    snug__upstream_is_stream(r->upstream) ? 1 : ANSWER_HELD);
    /* Cut or moved by us, not left by the client. */
    const bool is_ours = *r->lease.cut || (may_move && r->has_moved);
    return state == SNUG__UPSTREAM_GONE && is_ours ? SNUG__UPSTREAM_BROKEN : state;
}

static enum MHD_Result refuse_without_server(struct snug__request *r, snug_status status)
{
    if (status == SNUG_INTERRUPTED && snug__upstream_is_closed(r->client_fd))
        return MHD_NO;
    const enum MHD_Result result = snug__front_refuse(
        r, MHD_HTTP_SERVICE_UNAVAILABLE, "unavailable_error",
        status == SNUG_INTERRUPTED ? "shutting down"
                                   : "no server came up in time: see the log of snug");
    if (status == SNUG_INTERRUPTED)
        r->fate = SNUG__FATE_REFUSED; /* not lost: nobody promised anything */
    return result;
}

enum MHD_Result snug__front_forward(struct snug__request *r)
{
    int failed = 0;
    if (!collect_headers(r))
        return MHD_NO;
    set_timeout(r, 0);
    for (int n_broken = 0; n_broken < 2;) {
        const snug_status status = snug__backends_take(r->front->options.backends, failed,
                                                       SNUG__FRONT_WAIT_S, r->client_fd, &r->lease);
        if (status != SNUG_OK) {
            set_timeout(r, SNUG__FRONT_IDLE_S);
            return refuse_without_server(r, status);
        }
        const bool had_moved = r->has_moved;
        const enum snug__upstream_state state = exchange(r);
        if (state == SNUG__UPSTREAM_GONE)
            return MHD_NO; /* nobody is there to be told */
        if (state != SNUG__UPSTREAM_BROKEN) {
            set_timeout(r, SNUG__FRONT_IDLE_S);
            return answer(r, state);
        }
        failed = r->lease.serial;
        snug__front_release(r);
        n_broken += r->has_moved == had_moved;
        if (n_broken < 2)
            snug__front_count_retry(r->front);
    }
    set_timeout(r, SNUG__FRONT_IDLE_S);
    return snug__front_refuse(r, MHD_HTTP_BAD_GATEWAY, "server_error",
                              "two servers in a row broke this request off");
}
