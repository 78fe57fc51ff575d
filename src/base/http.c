/* GET through libcurl's easy interface. Every limit is libcurl's own but that of the body, which
 * the write callback holds. */
#include "base/http.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#define URL_SHOWN "%.200s" /* of a URL in an error text */
#define STALL_S_MAX 3600

struct transfer {
    CURL *curl;
    const struct snug_http_request *request;
    struct snug_http_reply reply;
    char error[CURL_ERROR_SIZE]; /* libcurl's own words */
    bool is_over;                /* the server sent more than was asked for */
    bool is_ended;               /* cut by us: enough is known */
};

bool snug_http_is_url(const char *text)
{
    return strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
}

/* Length of "https://host:port". */
static size_t origin_length(const char *url)
{
    const char *slashes = strstr(url, "://");
    return slashes ? (size_t)(slashes + 3 - url) + strcspn(slashes + 3, "/?#") : 0;
}

bool snug_http_same_host(const char *a, const char *b)
{
    size_t n = origin_length(a);
    return n > 0 && n == origin_length(b) && strncasecmp(a, b, n) == 0;
}

/* ---- the body ---- */

static uint64_t body_cap(const struct transfer *t, bool is_wanted)
{
    if (!is_wanted)
        return SNUG_HTTP_REFUSAL_MAX;
    if (!t->request->is_range)
        return t->request->cap;
    return t->request->last - t->request->first + 1;
}

static size_t on_body(char *data, size_t size, size_t n, void *user)
{
    struct transfer *t = user;
    long code = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &code);
    bool is_wanted = code == (t->request->is_range ? 206 : 200);
    uint64_t cap = body_cap(t, is_wanted);
    n *= size;
    if (n <= cap - t->reply.body.len) {
        snug_buffer_append(&t->reply.body, data, n);
        return t->reply.body.is_failed ? 0 : n;
    }
    snug_buffer_append(&t->reply.body, data, (size_t)(cap - t->reply.body.len));
    t->is_over = is_wanted;
    t->is_ended = !is_wanted;
    return 0; /* ends the transfer with CURLE_WRITE_ERROR */
}

/* ---- headers ---- */

static void get_header(const struct transfer *t, const char *name, char *out, size_t cap)
{
    struct curl_header *header = NULL;
    bool is_there = curl_easy_header(t->curl, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK;
    snprintf(out, cap, "%s", is_there ? header->value : "");
    for (char *c = out; *c; c++) /* the value goes into texts of one line */
        *c = (unsigned char)*c < ' ' || *c == 127 ? '?' : *c;
}

/* "bytes 0-9/100" */
static void read_range(struct snug_http_reply *reply, const char *text)
{
    int n = 0;
    reply->has_range = sscanf(text, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64 "%n", &reply->first,
                              &reply->last, &reply->total, &n) == 3 &&
                       text[n] == '\0' && strchr(text, '-')[1] != '-' &&
                       reply->first <= reply->last && reply->last < reply->total &&
                       reply->total <= INT64_MAX;
}

/* ---- the transfer ---- */

static long stall_s(void)
{
    const char *text = getenv("SNUG_HTTP_STALL_S");
    char *end = NULL;
    long value = text ? strtol(text, &end, 10) : 0;
    bool is_number = text && end != text && *end == '\0';
    return is_number && value >= 1 && value <= STALL_S_MAX ? value : SNUG_HTTP_STALL_S;
}

static CURLcode set_options(struct transfer *t)
{
    const struct snug_http_request *r = t->request;
    const bool is_secure = strncasecmp(r->url, "https:", 6) == 0;
    CURLcode code = CURLE_OK;
#define SET(option, value)                                                                         \
    if (code == CURLE_OK)                                                                          \
    code = curl_easy_setopt(t->curl, option, value)
    SET(CURLOPT_ERRORBUFFER, t->error);
    SET(CURLOPT_URL, r->url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_REDIR_PROTOCOLS_STR, is_secure ? "https" : "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 1L);
    SET(CURLOPT_MAXREDIRS, (long)SNUG_HTTP_REDIRECTS_MAX);
    SET(CURLOPT_CONNECTTIMEOUT, (long)SNUG_HTTP_CONNECT_S);
    SET(CURLOPT_LOW_SPEED_LIMIT, (long)SNUG_HTTP_SLOW_BPS);
    SET(CURLOPT_LOW_SPEED_TIME, stall_s());
    SET(CURLOPT_TIMEOUT, (long)SNUG_HTTP_TOTAL_S);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_USERAGENT, "snug/" SNUG_VERSION);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, t);
    if (r->bearer) {
        /* unlike a header of our own, libcurl drops this on the way to another host by itself */
        SET(CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
        SET(CURLOPT_XOAUTH2_BEARER, r->bearer);
    }
    if (r->is_range) {
        char range[64];
        snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64, r->first, r->last);
        SET(CURLOPT_RANGE, range);
    }
#undef SET
    return code;
}

static snug_status fail_transfer(const struct transfer *t, CURLcode code, struct snug_error *err)
{
    const char *url = t->request->url;
    if (t->reply.body.is_failed || code == CURLE_OUT_OF_MEMORY)
        return snug_fail(err, SNUG_NO_MEMORY, URL_SHOWN ": answer", url);
    if (t->is_over)
        return snug_fail(err, SNUG_BAD_INPUT,
                         URL_SHOWN ": the server sends more than the %" PRIu64
                                   " bytes asked for; not read further",
                         url, body_cap(t, true));
    const char *why = t->error[0] ? t->error : curl_easy_strerror(code);
    switch (code) {
    case CURLE_TOO_MANY_REDIRECTS:
        return snug_fail(err, SNUG_BAD_INPUT, URL_SHOWN ": more than %d redirects", url,
                         SNUG_HTTP_REDIRECTS_MAX);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        return snug_fail(err, SNUG_BAD_INPUT,
                         URL_SHOWN ": is or leads to no http or https address: %s", url, why);
    case CURLE_OPERATION_TIMEDOUT:
        return snug_fail(err, SNUG_TIMEOUT,
                         URL_SHOWN ": too slow: no connection in %d s, or under %d bytes/s for "
                                   "%ld s",
                         url, SNUG_HTTP_CONNECT_S, SNUG_HTTP_SLOW_BPS, stall_s());
    case CURLE_PARTIAL_FILE:
        return snug_fail(err, SNUG_IO,
                         URL_SHOWN ": the connection ended before the bytes promised were there: "
                                   "%s",
                         url, why);
    default:
        return snug_fail(err, SNUG_IO, URL_SHOWN ": no connection: %s", url, why);
    }
}

/* Visible ASCII: no blank, control character or line end that could smuggle a header in. */
static bool is_clean(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text <= ' ' || (unsigned char)*text >= 127)
            return false;
    }
    return true;
}

static bool has_curl;

static void init_curl(void)
{
    has_curl = curl_global_init(CURL_GLOBAL_DEFAULT) == 0; /* kept until the process ends */
}

snug_status snug_http_init(struct snug_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    return has_curl ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "libcurl cannot be started");
}

snug_status snug_http_get(const struct snug_http_request *request, struct snug_http_reply *out,
                          struct snug_error *err)
{
    char range[128];
    struct transfer t = {.request = request};
    if (!snug_http_is_url(request->url) || !is_clean(request->url) ||
        strlen(request->url) > SNUG_HTTP_URL_MAX)
        return snug_fail(err, SNUG_BAD_INPUT,
                         URL_SHOWN ": no URL: http:// or https://, without blanks, up to %d bytes",
                         request->url, SNUG_HTTP_URL_MAX);
    snug_status status = snug_http_init(err);
    if (status != SNUG_OK)
        return status;
    t.curl = curl_easy_init();
    if (!t.curl)
        return snug_fail(err, SNUG_NO_MEMORY, URL_SHOWN ": connection", request->url);
    CURLcode code = set_options(&t);
    if (code == CURLE_OK)
        code = curl_easy_perform(t.curl);
    if (code != CURLE_OK && !(code == CURLE_WRITE_ERROR && t.is_ended))
        status = fail_transfer(&t, code, err);
    if (status == SNUG_OK) {
        curl_easy_getinfo(t.curl, CURLINFO_RESPONSE_CODE, &t.reply.code);
        get_header(&t, "etag", t.reply.etag, sizeof t.reply.etag);
        get_header(&t, "content-type", t.reply.type, sizeof t.reply.type);
        get_header(&t, "content-range", range, sizeof range);
        read_range(&t.reply, range);
    }
    curl_easy_cleanup(t.curl);
    if (status == SNUG_OK)
        *out = t.reply;
    else
        snug_http_reply_clear(&t.reply);
    return status;
}

void snug_http_reply_clear(struct snug_http_reply *reply)
{
    snug_buffer_clear(&reply->body);
    *reply = (struct snug_http_reply){0};
}
