/* Child processes: spawn (never fork: OpenMP hangs after it), pipes, deadlines, kill the whole
 * group, reap. Also the monotonic clock that deadlines are read on. */
#ifndef SNUG_BASE_PROCESS_H
#define SNUG_BASE_PROCESS_H

#include <sys/types.h>

#include "base/buffer.h"
#include "snug/base.h"

/* Seconds on CLOCK_MONOTONIC. */
double snug_clock_s(void);
/* Sleep the whole time, whatever signals arrive. */
void snug_sleep_s(double s);

#define SNUG_PROCESS_LINE_MAX (16u << 20) /* longest protocol line accepted, bytes */
#define SNUG_PROCESS_TAIL_MAX 8192        /* bytes of the child's stderr that are kept */

struct snug_process {
    pid_t pid; /* 0: none. The child leads its own process group of this id */
    int fd_in; /* write end to the child's stdin, or -1 */
    int fd_out;
    int fd_err;
    struct snug_buffer out;  /* read from stdout, not yet taken as a line */
    struct snug_buffer tail; /* last SNUG_PROCESS_TAIL_MAX bytes of stderr */
    size_t n_line;           /* bytes at the front of `out` that the last line borrows */
};

struct snug_process_exit {
    int code;     /* exit code, or -1 when a signal ended it */
    int signal;   /* or 0 */
    bool is_core; /* dumped core */
};

#define SNUG_PROCESS_INIT                                                                          \
    {                                                                                              \
        .fd_in = -1, .fd_out = -1, .fd_err = -1                                                    \
    }

/* Start argv[0] (found through PATH unless it has a '/') with pipes on its three streams, in its
 * own process group, default signals, descriptors above 2 closed. env_add: "NAME=value" strings
 * ended by NULL that are added to or replace the environment; may be NULL. SNUG_NOT_FOUND when
 * there is no such program. A child that called snug_process_die_with_parent dies when the *thread*
 * that started it ends (so the kernel defines it): start long-lived children from a long-lived
 * thread. */
snug_status snug_process_start(struct snug_process *p, const char *const *argv,
                               const char *const *env_add, struct snug_error *err) SNUG_CHECKED;
/* Write all n bytes or fail (SNUG_CRASHED when the child closed its end; SIGPIPE is not raised). */
snug_status snug_process_write(struct snug_process *p, const char *data, size_t n, double timeout_s,
                               struct snug_error *err) SNUG_CHECKED;
/* Wait for one line of stdout, draining stderr meanwhile. The line is NUL-terminated without '\n'
 * and borrowed until the next call. SNUG_TIMEOUT after timeout_s (the stream stays usable),
 * SNUG_CRASHED at end of stream, SNUG_INTERRUPTED when *stop (may be NULL) is set. */
snug_status snug_process_read_line(struct snug_process *p, double timeout_s,
                                   const volatile int *stop, const char **out_line,
                                   struct snug_error *err) SNUG_CHECKED;
/* Send a signal to the whole group. */
void snug_process_signal(struct snug_process *p, int signal);
/* Close the child's stdin: it reads end of file. */
void snug_process_close_in(struct snug_process *p);
/* Wait up to timeout_s for the end, draining both streams; SNUG_TIMEOUT when still alive. The child
 * stays unreaped until clear, so that its id is safe to signal; asking again gives the same answer.
 * stdout that nobody reads is kept up to SNUG_PROCESS_LINE_MAX bytes, and dropped after that. */
snug_status snug_process_wait(struct snug_process *p, double timeout_s,
                              struct snug_process_exit *out_exit) SNUG_CHECKED;
/* "ended with code 3: WORDS" or "was ended by signal 6 (Aborted): WORDS". WORDS: what it wrote last
 * on stderr, an assertion before all; left out where it ended well or was killed. */
void snug_process_exit_text(const struct snug_process *p, const struct snug_process_exit *end,
                            char *out, size_t cap);
/* Kill what lives of the group (SIGKILL), reap, close pipes, free buffers. Accepts the zero state.
 */
void snug_process_clear(struct snug_process *p);

/* Run to its end with an empty stdin and collect stdout: more than cap bytes are SNUG_BAD_INPUT. A
 * nonzero exit is SNUG_CRASHED in the words of snug_process_exit_text. *out (may be NULL) must be
 * empty. */
snug_status snug_process_run(const char *const *argv, const char *const *env_add, double timeout_s,
                             size_t cap, struct snug_buffer *out,
                             struct snug_error *err) SNUG_CHECKED;

/* In a child: get this signal when the parent ends (PR_SET_PDEATHSIG; stays over an exec), and die
 * if it is already gone. snug_process_start tells the child who its parent is. */
#define SNUG_PROCESS_PARENT_VARIABLE "SNUG_PARENT_PID"
void snug_process_die_with_parent(int signal);
/* Absolute path by which the running program can be started again: its file, or, where a script
 * started it through the dynamic loader (a bundle's bin/snug), the script, which names itself in
 * this variable. The variable counts in that case alone. */
#define SNUG_PROCESS_SELF_VARIABLE "SNUG_SELF"
snug_status snug_process_self(char *out, size_t cap, struct snug_error *err) SNUG_CHECKED;

/* Resident set of a process: now and peak (VmRSS, VmHWM), each may be NULL; false when it is gone.
 */
bool snug_process_rss(pid_t pid, uint64_t *out_bytes, uint64_t *out_bytes_peak);

#endif
