/* Devices of other processes or machines, through ggml's RPC backend. */
#ifndef SNUG_ENGINE_RPC_H
#define SNUG_ENGINE_RPC_H

#include "snug/base.h"

#define SNUG__RPC_SERVERS_MAX 16

/* In the worker, after the backends are loaded: connect to each "HOST:PORT" of a comma list and
 * register its devices, which libllama then uses as it uses GPUs. ggml aborts when a server is not
 * there, so each is tried first; one that goes away later still ends the worker.
 * Errors  SNUG_BAD_INPUT: not HOST:PORT; SNUG_IO: nobody answers; SNUG_UNSUPPORTED: this ggml has
 * no RPC backend. */
snug_status snug__rpc_add(const char *servers, struct snug_error *err) SNUG_CHECKED;

#endif
