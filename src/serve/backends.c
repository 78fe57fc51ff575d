/* Slots of processes behind one lock. A slot is used again when its process is gone and no request
 * holds it, so that a lease never points to another server than it was taken of.
 *
 * A server is a process of its own because what ends it (a crash, the kernel short of memory) then
 * ends a few requests at most, and because threads and cache types of llama-server are fixed at its
 * start: a change of config is a change of process. It listens on a port of the loopback that was
 * free a moment before; where somebody else takes it first, it ends, and that is a failed start. */
#include "serve/backends.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve/upstream.h"

static const double STOP_S = 5;    /* from SIGTERM to SIGKILL */
static const double SLICE_S = 0.2; /* how soon a waiting request sees its client go */
/* A connection that broke may be the first sign of a death: how long to wait for the process. */
static const double SUSPECT_S = 1;
static const double READY_S = 1;
static const double MOVE_LEAST_S = 0.25; /* what is nearly done need not begin again */

snug_status snug__backends_init(struct snug__backends *b, struct snug_error *err)
{
    *b = (struct snug__backends){.n_serials = 0};
    for (int i = 0; i < SNUG__BACKENDS_MAX; i++)
        b->list[i].process = (struct snug_process)SNUG_PROCESS_INIT;
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0 || pthread_mutex_init(&b->lock, NULL) != 0)
        return snug_fail(err, SNUG_NO_MEMORY, "a lock");
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    const int code = pthread_cond_init(&b->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return code == 0 ? SNUG_OK : snug_fail(err, SNUG_NO_MEMORY, "a lock");
}

void snug__backends_clear(struct snug__backends *b)
{
    for (int i = 0; i < SNUG__BACKENDS_MAX; i++)
        snug_process_clear(&b->list[i].process);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
}

struct snug__backend *snug__backends_find(struct snug__backends *b, enum snug__backend_state state)
{
    for (int i = 0; i < SNUG__BACKENDS_MAX; i++) {
        if (b->list[i].state == state)
            return &b->list[i];
    }
    return NULL;
}

/* ---- leases ---- */

static void wait_for_change(struct snug__backends *b)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += (long)(SLICE_S * 1e9);
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&b->changed, &b->lock, &at);
}

/* Wait under the lock. */
static snug_status wait_for_one(struct snug__backends *b, int failed, double timeout_s,
                                int client_fd, struct snug__backend **out)
{
    const double begin_s = snug_clock_s();
    for (;;) {
        struct snug__backend *serving = snug__backends_find(b, SNUG__BACKEND_SERVING);
        const double waited_s = snug_clock_s() - begin_s;
        *out = serving;
        if (b->is_closing)
            return SNUG_INTERRUPTED;
        if (serving && (serving->serial != failed || waited_s > SUSPECT_S))
            return SNUG_OK;
        if (waited_s > timeout_s)
            return SNUG_TIMEOUT;
        if (client_fd >= 0 && snug__upstream_is_closed(client_fd))
            return SNUG_INTERRUPTED;
        wait_for_change(b);
    }
}

static bool is_alone(const struct snug__backends *b, const struct snug__backend *serving)
{
    for (int i = 0; i < SNUG__BACKENDS_MAX; i++) {
        const enum snug__backend_state state = b->list[i].state;
        if (&b->list[i] != serving && state != SNUG__BACKEND_NONE && state != SNUG__BACKEND_DEAD)
            return false;
    }
    return true;
}

snug_status snug__backends_take(struct snug__backends *b, int failed, double timeout_s,
                                int client_fd, struct snug__backend_lease *out)
{
    pthread_mutex_lock(&b->lock);
    struct snug__backend *serving = snug__backends_find(b, SNUG__BACKEND_SERVING);
    snug_status status = b->is_closing ? SNUG_INTERRUPTED : SNUG_OK;
    if (status == SNUG_OK && (!serving || serving->serial == failed)) {
        b->n_waiting++;
        status = wait_for_one(b, failed, timeout_s, client_fd, &serving);
        b->n_waiting--;
    }
    if (status == SNUG_OK) {
        serving->n_in_flight++;
        *out = (struct snug__backend_lease){.backend = serving,
                                            .serial = serving->serial,
                                            .port = serving->port,
                                            .member = serving->member,
                                            .cut = &serving->cut,
                                            .taken_s = snug_clock_s(),
                                            .epoch = is_alone(b, serving) ? b->epoch : -1,
                                            .n_at_once = serving->n_in_flight};
    }
    pthread_mutex_unlock(&b->lock);
    return status;
}

void snug__backends_give(struct snug__backends *b, struct snug__backend_lease *lease)
{
    if (!lease->backend)
        return;
    pthread_mutex_lock(&b->lock);
    lease->backend->n_in_flight--;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    *lease = (struct snug__backend_lease){.backend = NULL};
}

bool snug__backends_is_steady(struct snug__backends *b, const struct snug__backend_lease *lease,
                              double *out_n_at_once)
{
    if (!lease->backend)
        return false;
    pthread_mutex_lock(&b->lock);
    const bool is_steady = lease->epoch == b->epoch;
    *out_n_at_once = (lease->n_at_once + lease->backend->n_in_flight) / 2.0;
    pthread_mutex_unlock(&b->lock);
    return is_steady;
}

bool snug__backends_should_move(struct snug__backends *b, const struct snug__backend_lease *lease)
{
    const struct snug__backend *backend = lease->backend;
    pthread_mutex_lock(&b->lock);
    const bool is_left =
        backend->is_slow && backend->state == SNUG__BACKEND_DRAINING && !b->is_closing;
    const double had_s = backend->since_s - lease->taken_s;
    const bool should_move =
        is_left && snug_clock_s() - backend->since_s >= fmax(had_s, MOVE_LEAST_S);
    pthread_mutex_unlock(&b->lock);
    return should_move;
}

void snug__backends_disturb(struct snug__backends *b)
{
    pthread_mutex_lock(&b->lock);
    b->epoch++;
    pthread_mutex_unlock(&b->lock);
}

int snug__backends_epoch(struct snug__backends *b)
{
    pthread_mutex_lock(&b->lock);
    const int epoch = b->epoch;
    pthread_mutex_unlock(&b->lock);
    return epoch;
}

int snug__backends_member(struct snug__backends *b)
{
    pthread_mutex_lock(&b->lock);
    const struct snug__backend *serving = snug__backends_find(b, SNUG__BACKEND_SERVING);
    const int member = serving ? serving->member : -1;
    pthread_mutex_unlock(&b->lock);
    return member;
}

/* ---- starting ---- */

static int free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int port = 0;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 &&
        getsockname(fd, (struct sockaddr *)&at, &n) == 0)
        port = ntohs(at.sin_port);
    if (fd >= 0)
        close(fd);
    return port;
}

snug_status snug__backends_start(struct snug__backends *b, int member, const char *const *argv,
                                 double now_s, struct snug__backend **out, struct snug_error *err)
{
    struct snug__backend *slot = snug__backends_find(b, SNUG__BACKEND_NONE);
    char port_text[16];
    size_t n = 0;
    const int port = free_port();
    if (!slot)
        return snug_fail(err, SNUG_NO_MEMORY, "%d servers are still ending", SNUG__BACKENDS_MAX);
    if (port == 0)
        return snug_fail(err, SNUG_IO, "no free port on the loopback: %s", strerror(errno));
    while (argv[n])
        n++;
    const char **words = calloc(n + 5, sizeof *words);
    if (!words)
        return snug_fail(err, SNUG_NO_MEMORY, "a command line");
    memcpy(words, argv, n * sizeof *words);
    snprintf(port_text, sizeof port_text, "%d", port);
    words[n] = "--host";
    words[n + 1] = "127.0.0.1";
    words[n + 2] = "--port";
    words[n + 3] = port_text;
    const char *const env[] = {"GGML_NO_BACKTRACE=1", NULL};
    const snug_status status = snug_process_start(&slot->process, words, env, err);
    free(words);
    if (status != SNUG_OK)
        return status;
    snug_process_close_in(&slot->process);
    pthread_mutex_lock(&b->lock);
    slot->state = SNUG__BACKEND_STARTING;
    slot->serial = ++b->n_serials;
    slot->member = member;
    slot->port = port;
    slot->pid = slot->process.pid;
    slot->cut = 0;
    slot->is_slow = false;
    slot->since_s = now_s;
    b->epoch++;
    pthread_mutex_unlock(&b->lock);
    *out = slot;
    return SNUG_OK;
}

bool snug__backend_is_ready(const struct snug__backend *backend)
{
    char *const none[] = {NULL};
    const struct snug__upstream_request request = {.port = backend->port,
                                                   .method = "GET",
                                                   .target = "/health",
                                                   .headers = none,
                                                   .client_fd = -1};
    struct snug__upstream *u = NULL;
    if (snug__upstream_open(&request, &u, NULL) != SNUG_OK)
        return false;
    const bool is_ready =
        snug__upstream_wait_for(u, READY_S) == SNUG__UPSTREAM_DONE && snug__upstream_code(u) == 200;
    snug__upstream_close(u);
    return is_ready;
}

/* ---- turning and ending ---- */

static void drain(struct snug__backend *backend, bool is_slow, double now_s, double deadline_s)
{
    backend->state = SNUG__BACKEND_DRAINING;
    backend->is_slow = is_slow;
    backend->since_s = now_s;
    backend->deadline_s = deadline_s;
}

void snug__backends_turn_to(struct snug__backends *b, struct snug__backend *next, bool is_slow,
                            double now_s, double deadline_s)
{
    pthread_mutex_lock(&b->lock);
    struct snug__backend *before = snug__backends_find(b, SNUG__BACKEND_SERVING);
    if (before)
        drain(before, is_slow, now_s, deadline_s);
    next->state = SNUG__BACKEND_SERVING;
    next->since_s = now_s;
    b->epoch++;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

void snug__backends_retire(struct snug__backends *b, struct snug__backend *backend, bool is_slow,
                           double now_s, double deadline_s)
{
    pthread_mutex_lock(&b->lock);
    drain(backend, is_slow, now_s, deadline_s);
    b->epoch++;
    pthread_mutex_unlock(&b->lock);
}

void snug__backends_hurry(struct snug__backends *b, struct snug__backend *backend,
                          double deadline_s)
{
    pthread_mutex_lock(&b->lock);
    backend->deadline_s = deadline_s;
    pthread_mutex_unlock(&b->lock);
}

int snug__backends_busy(struct snug__backends *b)
{
    pthread_mutex_lock(&b->lock);
    int n = b->n_waiting;
    for (int i = 0; i < SNUG__BACKENDS_MAX; i++)
        n += b->list[i].n_in_flight;
    pthread_mutex_unlock(&b->lock);
    return n;
}

void snug__backends_close(struct snug__backends *b, bool is_cut)
{
    pthread_mutex_lock(&b->lock);
    b->is_closing = true;
    for (int i = 0; is_cut && i < SNUG__BACKENDS_MAX; i++)
        b->list[i].cut = 1;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

/* Under the lock: what a process that lives needs next. */
static void tend_living(struct snug__backend *backend, double now_s)
{
    const bool is_late = now_s >= backend->deadline_s;
    if (backend->state == SNUG__BACKEND_DRAINING && (backend->n_in_flight == 0 || is_late)) {
        backend->cut = 1; /* those still in flight end, or begin again elsewhere */
        snug_process_signal(&backend->process, SIGTERM);
        backend->state = SNUG__BACKEND_STOPPING;
        backend->deadline_s = now_s + STOP_S;
    } else if (backend->state == SNUG__BACKEND_STOPPING && is_late) {
        snug_process_signal(&backend->process, SIGKILL);
        backend->deadline_s = now_s + STOP_S;
    }
}

static bool tend_one(struct snug__backends *b, struct snug__backend *backend, double now_s,
                     struct snug__backend_death *out)
{
    struct snug_process_exit end;
    bool is_dead = false;
    if (backend->state == SNUG__BACKEND_NONE)
        return false;
    if (backend->state != SNUG__BACKEND_DEAD)
        is_dead = snug_process_wait(&backend->process, 0, &end) == SNUG_OK;
    pthread_mutex_lock(&b->lock);
    const enum snug__backend_state before = backend->state;
    if (is_dead) {
        backend->state = SNUG__BACKEND_DEAD;
        pthread_cond_broadcast(&b->changed);
    }
    if (backend->state == SNUG__BACKEND_DEAD && backend->n_in_flight == 0)
        backend->state = SNUG__BACKEND_NONE;
    else if (backend->state != SNUG__BACKEND_DEAD)
        tend_living(backend, now_s);
    pthread_mutex_unlock(&b->lock);
    const bool is_unasked = is_dead && before != SNUG__BACKEND_STOPPING;
    if (is_unasked) {
        *out = (struct snug__backend_death){.member = backend->member, .before = before};
        snug_process_exit_text(&backend->process, &end, out->words, sizeof out->words);
    }
    if (is_dead)
        snug_process_clear(&backend->process);
    return is_unasked;
}

bool snug__backends_tend(struct snug__backends *b, double now_s, struct snug__backend_death *out)
{
    for (int i = 0; i < SNUG__BACKENDS_MAX; i++) {
        if (tend_one(b, &b->list[i], now_s, out))
            return true;
    }
    return false;
}
