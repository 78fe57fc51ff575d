/* snug/base.h: status and error, log, version. Every other header builds on this one.
 *
 * Conventions of the whole library
 *   Functions that can fail return snug_status and take a `struct snug_error *err` last; err may be
 *   NULL. On failure outputs are untouched and err holds one line: what, where, what would do.
 *   The library never prints, exits or aborts on bad input. Pointers passed in are borrowed for the
 *   call. Units live in names: _s seconds, _bytes, _tps tokens per second, _frac 0..1. */
#ifndef SNUG_BASE_H
#define SNUG_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SNUG_CHECKED __attribute__((warn_unused_result))
#define SNUG_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define SNUG_CHECKED
#define SNUG_PRINTF(fmt, args)
#endif

/* One row per status: constant suffix, short name (stable, used in JSON and the store), meaning. */
#define SNUG_STATUSES(X)                                                                           \
    X(OK, "ok", "done")                                                                            \
    X(BAD_INPUT, "bad_input", "an argument, option or file content is not acceptable")             \
    X(NOT_FOUND, "not_found", "a file, row or name does not exist")                                \
    X(IO, "io", "reading, writing or a system call failed")                                        \
    X(NO_MEMORY, "no_memory", "an allocation failed")                                              \
    X(UNSUPPORTED, "unsupported", "valid, but this build, engine or machine cannot do it")         \
    X(INFEASIBLE, "infeasible", "no choice satisfies the limits given")                            \
    X(TIMEOUT, "timeout", "a deadline passed")                                                     \
    X(CRASHED, "crashed", "a worker process died")                                                 \
    X(BUSY, "busy", "another process holds what is needed")                                        \
    X(NEWER, "newer", "written by a newer snug")                                                   \
    X(INTERRUPTED, "interrupted", "the user asked to stop")

typedef enum snug_status {
#define SNUG_STATUS_ENUM(name, text, meaning) SNUG_##name,
    SNUG_STATUSES(SNUG_STATUS_ENUM)
#undef SNUG_STATUS_ENUM
        SNUG_N_STATUSES
} snug_status;

#define SNUG_ERROR_TEXT_MAX 512

struct snug_error {
    snug_status status;
    char text[SNUG_ERROR_TEXT_MAX];
};

/* Set err (when not NULL) and return status, so that failing is one line.
 * Text longer than SNUG_ERROR_TEXT_MAX - 1 is cut. */
snug_status snug_fail(struct snug_error *err, snug_status status, const char *format, ...)
    SNUG_PRINTF(3, 4);

/* Put "prefix: " before the text of an error that already failed; returns err's status, or
 * fallback when err is NULL. */
snug_status snug_fail_prefix(struct snug_error *err, snug_status fallback, const char *format, ...)
    SNUG_PRINTF(3, 4);

/* Short stable name ("bad_input") and meaning; never NULL. */
const char *snug_status_name(snug_status status);
const char *snug_status_meaning(snug_status status);

enum snug_log_level { SNUG_LOG_ERROR, SNUG_LOG_WARN, SNUG_LOG_INFO, SNUG_LOG_DEBUG };

typedef void (*snug_log_fn)(enum snug_log_level level, const char *line, void *data);

/* Where log lines go; NULL (the default) drops them. Set before other threads start. */
void snug_log_set(snug_log_fn fn, void *data);
/* One event as "key=value key=value". */
void snug_log(enum snug_log_level level, const char *format, ...) SNUG_PRINTF(2, 3);

/* "0.1.0" */
const char *snug_version(void);

#ifdef __cplusplus
}
#endif
#endif
