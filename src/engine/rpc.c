/* See rpc.h. */
#include "engine/rpc.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ggml-backend.h>

static const int CONNECT_LIMIT_MS = 3000;

typedef ggml_backend_reg_t (*add_server_fn)(const char *endpoint);

/* 0, or the reason as an errno. */
static int try_address(const struct addrinfo *a)
{
    const int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int reason = connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
    if (reason == EINPROGRESS) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        socklen_t n = sizeof reason;
        if (poll(&p, 1, CONNECT_LIMIT_MS) != 1)
            reason = ETIMEDOUT;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &reason, &n) != 0)
            reason = errno;
    }
    close(fd);
    return reason;
}

static snug_status check_server(const char *server, struct snug_error *err)
{
    char host[256];
    const char *colon = strrchr(server, ':');
    if (!colon || colon == server || !colon[1] || (size_t)(colon - server) >= sizeof host)
        return snug_fail(err, SNUG_BAD_INPUT, "--rpc %s: HOST:PORT is expected", server);
    snprintf(host, sizeof host, "%.*s", (int)(colon - server), server);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const int rc = getaddrinfo(host, colon + 1, &hints, &found);
    if (rc != 0)
        return snug_fail(err, SNUG_IO, "--rpc %s: %s", server, gai_strerror(rc));
    int reason = EHOSTUNREACH;
    for (const struct addrinfo *a = found; a && reason != 0; a = a->ai_next)
        reason = try_address(a);
    freeaddrinfo(found);
    return reason == 0 ? SNUG_OK
                       : snug_fail(err, SNUG_IO,
                                   "--rpc %s: %s; start ggml-rpc-server there, or leave it away",
                                   server, strerror(reason));
}

static snug_status add_one(const char *server, struct snug_error *err)
{
    const ggml_backend_reg_t rpc = ggml_backend_reg_by_name("RPC");
    void *address =
        rpc ? ggml_backend_reg_get_proc_address(rpc, "ggml_backend_rpc_add_server") : NULL;
    add_server_fn add = NULL;
    memcpy(&add, &address, sizeof add); /* ISO C has no cast from object to function pointer */
    if (!add)
        return snug_fail(err, SNUG_UNSUPPORTED, "--rpc: this ggml has no RPC backend");
    const snug_status status = check_server(server, err);
    if (status != SNUG_OK)
        return status;
    const ggml_backend_reg_t reg = add(server);
    if (!reg)
        return snug_fail(err, SNUG_IO, "--rpc %s: the server refused", server);
    ggml_backend_register(reg);
    return SNUG_OK;
}

snug_status snug__rpc_add(const char *servers, struct snug_error *err)
{
    int n = 0;
    while (*servers) {
        char server[320];
        const size_t length = strcspn(servers, ",");
        if (length >= sizeof server || ++n > SNUG__RPC_SERVERS_MAX)
            return snug_fail(err, SNUG_BAD_INPUT, "--rpc: at most %d servers of short names",
                             SNUG__RPC_SERVERS_MAX);
        snprintf(server, sizeof server, "%.*s", (int)length, servers);
        const snug_status status = add_one(server, err);
        if (status != SNUG_OK)
            return status;
        servers += length + (servers[length] == ',');
    }
    return SNUG_OK;
}
