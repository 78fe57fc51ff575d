/* snug/serve.h: serve a model on one port with llama-server behind it, and change its config with
 * the budget of the moment. See snug/adapt.h for which and when.
 *
 * Everything but GET /snug/status is passed through: completions, chat, embeddings, streams event
 * by event. A change is a warm hand-over where both servers fit in memory: the new one starts and
 * takes new requests, and the old one ends with its last request, or after 10 min. Else new
 * requests wait while the old one ends, after 60 s at most, and the new one starts. Where memory
 * got short a server that is to end has 10 s; where the next one cannot start beside it, 60 s. What
 * is then in flight is cut: a request that has no answer yet begins again, once, as when its server
 * dies.
 *
 * The end of each answer that passes is looked through for llama-server's own timings: what
 * requests get teaches the decision, but only what came while nothing else of ours ran, the load
 * did not change, and no limit of CPUs below what is free makes the load another than it seems.
 *
 * A process behind, and not the library inside: a crash or a kill by the kernel is survived, and
 * llama-server's API, templates and tools come with it. */
#ifndef SNUG_SERVE_H
#define SNUG_SERVE_H

#include "snug/adapt.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a member is started with. */
struct snug_serve_config {
    int64_t trial;           /* by which it is known in the history */
    const char *name;        /* "n_threads=2 n_ubatch=256" */
    const char *const *argv; /* the server's command line without host and port, NULL at the end */
};

/* Something happened: a line in words and the same as one JSON object. From the caller's thread. */
typedef void (*snug_serve_event_fn)(const char *text, const char *json, void *data);

struct snug_serve_options {
    const char *host;
    int port; /* 0: any; said in the first event */
    const struct snug_adapt_member *members;
    const struct snug_serve_config *configs; /* of the same order */
    int n_members;                           /* 1 .. SNUG_ADAPT_MEMBERS_MAX */
    int n_parallel; /* sequences at once that members were measured with; 0 counts as 1 */
    int n_prompt;   /* tokens of prompt likewise: much shorter ones say little of their speed */
    struct snug_adapt_rules rules;
    uint64_t memory_limit_bytes; /* never more than this; 0: what is free */
    const char *budget_path;     /* limits given from outside, see snug_serve_caps; NULL: none */
    const volatile int *stop;    /* set by a signal handler: drain and return */
    snug_serve_event_fn event;
    void *event_data;
};

struct snug_serve_summary {
    int64_t n_served, n_failed, n_refused, n_gone, n_retried;
    int n_switches;
};

/* Limits that another program sets while this one runs, in a JSON file that is read when it
 * changes:
 * {"memory_bytes": 2000000000, "cpus": 1.5}. The lesser of them and of what is free counts. */
#define SNUG_SERVE_CAPS_BYTES_MAX 4096 /* of the file */
struct snug_serve_caps {
    double memory_bytes, cpus; /* 0: not limited */
};
/* Errors  SNUG_BAD_INPUT: no such object, a limit that is not above 0, an unknown name */
snug_status snug_serve_caps_parse(const char *name, const char *text, size_t n,
                                  struct snug_serve_caps *out, struct snug_error *err) SNUG_CHECKED;

/* Serve until *stop, from this thread and its own; then let requests in flight end for 30 s.
 * Errors  SNUG_IO: the port; SNUG_CRASHED: none of the first members came up (the server's last
 *         words are quoted); SNUG_BAD_INPUT: the budget file cannot be read at the start */
snug_status snug_serve_run(const struct snug_serve_options *options, struct snug_serve_summary *out,
                           struct snug_error *err) SNUG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
