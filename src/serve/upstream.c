/* An exchange over libcurl's multi interface with one transfer in it: the caller's thread moves it
 * on when it wants bytes, so that a slow client slows its server down and nothing else. The
 * client's socket is polled beside the server's; one that reads as ended has gone. */
#include "serve/upstream.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include <curl/curl.h>

#include "base/http.h"
#include "base/process.h"

static const long CONNECT_MS = 2000; /* the server listens already, on this machine */
static const int SLICE_MS = 200;     /* how soon *cancel is seen */
enum { HEAD_BYTES_MAX = 65536 };

struct snug__upstream {
    CURLM *multi;
    CURL *easy;
    struct curl_slist *headers;
    const volatile int *cancel;
    bool (*is_left)(void *data);
    void *data;
    int client_fd;
    bool is_watched; /* false: the client sent more, which stays unread until this one ends */
    bool has_head;
    enum snug__upstream_state state;
    struct snug_buffer head; /* "Name\0value\0" ... */
    struct snug_buffer body;
    int n_headers;
    int64_t length;
    bool is_stream;
};

bool snug__upstream_is_hop(const char *name)
{
    static const char *const HOPS[] = {"Connection",
                                       "Keep-Alive",
                                       "Proxy-Connection",
                                       "TE",
                                       "Transfer-Encoding",
                                       "Trailer",
                                       "Upgrade",
                                       "Content-Length",
                                       "Date",
                                       "Host",
                                       "Expect",
                                       "Proxy-Authorization"};
    for (size_t i = 0; i < sizeof HOPS / sizeof *HOPS; i++) {
        if (strcasecmp(name, HOPS[i]) == 0)
            return true;
    }
    return false;
}

bool snug__upstream_is_closed(int fd)
{
    char byte;
    const ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

/* ---- what comes ---- */

static void begin_head(struct snug__upstream *u)
{
    snug_buffer_clear(&u->head);
    u->n_headers = 0;
    u->length = -1;
    u->is_stream = false;
}

static void add_header(struct snug__upstream *u, const char *line, size_t n)
{
    const char *colon = memchr(line, ':', n);
    if (!colon || colon == line)
        return;
    char name[128];
    const char *value = colon + 1, *end = line + n;
    if ((size_t)(colon - line) >= sizeof name)
        return;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    snprintf(name, sizeof name, "%.*s", (int)(colon - line), line);
    const size_t n_value = (size_t)(end - value);
    if (strcasecmp(name, "Content-Length") == 0)
        u->length = strtoll(value, NULL, 10); /* libcurl has checked it */
    if (strcasecmp(name, "Content-Type") == 0)
        u->is_stream = n_value >= 17 && strncasecmp(value, "text/event-stream", 17) == 0;
    if (snug__upstream_is_hop(name) || memchr(value, '\0', n_value) ||
        u->n_headers == SNUG__UPSTREAM_HEADERS_MAX || u->head.len + n > HEAD_BYTES_MAX)
        return;
    snug_buffer_append(&u->head, name, strlen(name) + 1);
    snug_buffer_append(&u->head, value, n_value);
    snug_buffer_append(&u->head, "", 1);
    u->n_headers++;
}

static size_t on_header(char *data, size_t size, size_t n, void *user)
{
    struct snug__upstream *u = user;
    size_t n_line = size * n;
    const size_t n_all = n_line;
    while (n_line > 0 && (data[n_line - 1] == '\n' || data[n_line - 1] == '\r'))
        n_line--;
    if (n_line >= 5 && memcmp(data, "HTTP/", 5) == 0)
        begin_head(u); /* an interim answer (100) has a head of its own */
    else if (n_line == 0)
        u->has_head = snug__upstream_code(u) >= 200;
    else
        add_header(u, data, n_line);
    return u->head.is_failed ? 0 : n_all;
}

static size_t on_body(char *data, size_t size, size_t n, void *user)
{
    struct snug__upstream *u = user;
    snug_buffer_append(&u->body, data, size * n);
    return u->body.is_failed ? 0 : size * n;
}

/* ---- opening ---- */

static bool add_line(struct snug__upstream *u, const char *line)
{
    struct curl_slist *list = curl_slist_append(u->headers, line);
    if (list)
        u->headers = list;
    return list != NULL;
}

/* The client's headers, and of libcurl's own none. */
static bool set_headers(struct snug__upstream *u, const struct snug__upstream_request *r)
{
    static const char *const OURS[] = {"Expect:", "Accept:", "User-Agent:", "Content-Type:"};
    bool is_set = true;
    for (size_t i = 0; i < sizeof OURS / sizeof *OURS; i++) {
        bool is_given = false;
        for (char *const *line = r->headers; *line; line++)
            is_given |= strncasecmp(*line, OURS[i], strlen(OURS[i])) == 0;
        is_set = is_set && (is_given || add_line(u, OURS[i]));
    }
    for (char *const *line = r->headers; *line; line++)
        is_set = is_set && add_line(u, *line);
    return is_set;
}

static bool set_options(struct snug__upstream *u, const struct snug__upstream_request *r)
{
    CURLcode code = CURLE_OK;
#define SET(option, value)                                                                         \
    if (code == CURLE_OK)                                                                          \
    code = curl_easy_setopt(u->easy, option, value)
    SET(CURLOPT_URL, "http://127.0.0.1/");
    SET(CURLOPT_PORT, (long)r->port);
    SET(CURLOPT_REQUEST_TARGET, r->target);
    SET(CURLOPT_PROXY, ""); /* whatever the environment says */
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_HTTPHEADER, u->headers);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, u);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, u);
    if (strcmp(r->method, "HEAD") == 0) {
        SET(CURLOPT_NOBODY, 1L);
    } else if (r->n_body > 0 || strcmp(r->method, "POST") == 0) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->n_body);
        SET(CURLOPT_POSTFIELDS, r->n_body ? r->body : "");
    }
    SET(CURLOPT_CUSTOMREQUEST, r->method);
#undef SET
    return code == CURLE_OK;
}

snug_status snug__upstream_open(const struct snug__upstream_request *request,
                                struct snug__upstream **out, struct snug_error *err)
{
    const snug_status status = snug_http_init(err);
    if (status != SNUG_OK)
        return status;
    struct snug__upstream *u = calloc(1, sizeof *u);
    if (!u)
        return snug_fail(err, SNUG_NO_MEMORY, "an exchange");
    u->client_fd = request->client_fd;
    u->is_watched = request->client_fd >= 0;
    u->cancel = request->cancel;
    u->is_left = request->is_left;
    u->data = request->data;
    u->length = -1;
    u->multi = curl_multi_init();
    u->easy = curl_easy_init();
    if (!u->multi || !u->easy || !set_headers(u, request) || !set_options(u, request) ||
        curl_multi_add_handle(u->multi, u->easy) != CURLM_OK) {
        snug__upstream_close(u);
        return snug_fail(err, SNUG_NO_MEMORY, "an exchange");
    }
    *out = u;
    return SNUG_OK;
}

void snug__upstream_close(struct snug__upstream *u)
{
    if (!u)
        return;
    if (u->multi && u->easy)
        curl_multi_remove_handle(u->multi, u->easy);
    curl_easy_cleanup(u->easy);
    curl_multi_cleanup(u->multi);
    curl_slist_free_all(u->headers);
    snug_buffer_clear(&u->head);
    snug_buffer_clear(&u->body);
    free(u);
}

/* ---- moving it on ---- */

static void look_for_end(struct snug__upstream *u)
{
    int n_left = 0;
    for (CURLMsg *m = curl_multi_info_read(u->multi, &n_left); m;
         m = curl_multi_info_read(u->multi, &n_left)) {
        if (m->msg == CURLMSG_DONE)
            u->state = m->data.result == CURLE_OK && u->has_head ? SNUG__UPSTREAM_DONE
                                                                 : SNUG__UPSTREAM_BROKEN;
    }
}

/* Sleep until either side has something to say. */
static void wait_for_news(struct snug__upstream *u)
{
    struct curl_waitfd client = {.fd = u->client_fd, .events = CURL_WAIT_POLLIN};
    if (curl_multi_poll(u->multi, &client, u->is_watched, SLICE_MS, NULL) != CURLM_OK)
        u->state = SNUG__UPSTREAM_BROKEN;
    if ((u->cancel && *u->cancel) || (u->is_left && !u->has_head && u->is_left(u->data)))
        u->state = SNUG__UPSTREAM_GONE;
    if (!u->is_watched || client.revents == 0)
        return;
    if (snug__upstream_is_closed(u->client_fd))
        u->state = SNUG__UPSTREAM_GONE;
    u->is_watched = false; /* its next request waits there: polling would not sleep any more */
}

/* One step; false when there is nothing to do but sleep. */
static bool move(struct snug__upstream *u)
{
    int n_running = 0;
    const size_t n_before = u->body.len;
    const bool had_head = u->has_head;
    if (curl_multi_perform(u->multi, &n_running) != CURLM_OK)
        u->state = SNUG__UPSTREAM_BROKEN;
    else
        look_for_end(u);
    return u->state != SNUG__UPSTREAM_OPEN || u->body.len != n_before || u->has_head != had_head;
}

/* Until the end, n_wanted bytes of the body, the head where that is enough, or timeout_s. */
static enum snug__upstream_state work(struct snug__upstream *u, size_t n_wanted,
                                      bool is_head_enough, double timeout_s)
{
    const double deadline_s = snug_clock_s() + timeout_s;
    while (u->state == SNUG__UPSTREAM_OPEN && u->body.len < n_wanted &&
           !(is_head_enough && u->has_head) && snug_clock_s() < deadline_s) {
        if (!move(u))
            wait_for_news(u);
    }
    return u->state;
}

enum snug__upstream_state snug__upstream_wait(struct snug__upstream *u, size_t n_wanted)
{
    return work(u, n_wanted, false, INFINITY);
}

enum snug__upstream_state snug__upstream_wait_head(struct snug__upstream *u)
{
    return work(u, SIZE_MAX, true, INFINITY);
}

enum snug__upstream_state snug__upstream_wait_for(struct snug__upstream *u, double timeout_s)
{
    return work(u, SIZE_MAX, false, timeout_s);
}

/* ---- what is there ---- */

bool snug__upstream_is_stream(const struct snug__upstream *u)
{
    return u->is_stream;
}

int snug__upstream_code(const struct snug__upstream *u)
{
    long code = 0;
    curl_easy_getinfo(u->easy, CURLINFO_RESPONSE_CODE, &code);
    return (int)code;
}

int64_t snug__upstream_length(const struct snug__upstream *u)
{
    return u->length;
}

bool snug__upstream_header(const struct snug__upstream *u, int i, struct snug__upstream_header *out)
{
    if (i < 0 || i >= u->n_headers)
        return false;
    const char *at = u->head.data;
    for (; i > 0; i--) {
        at += strlen(at) + 1;
        at += strlen(at) + 1;
    }
    *out = (struct snug__upstream_header){.name = at, .value = at + strlen(at) + 1};
    return true;
}

struct snug_buffer *snug__upstream_body(struct snug__upstream *u)
{
    return &u->body;
}
