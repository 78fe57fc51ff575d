/* Child processes over posix_spawn, pipes and poll.
 *
 * The parent's pipe ends do not block and every wait goes through pump(), which reads stderr (and
 * stdout) whatever else is waited for: a child can never stall on a full pipe. Waits are cut into
 * slices so that a stop flag is seen. The ended child is looked at with WNOWAIT and reaped only by
 * clear: until then the kernel cannot give its id, or that of its group, to anybody else.
 * Workload: one worker with some lines a second, some kilobytes each; now and then a short tool. */
#include "base/process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLICE_S 0.1 /* longest wait before the stop flag and the child are looked at again */
#define SLICE_BLIND_S 0.005 /* the same when no pipe is left to wake us */
#define READ_BYTES 65536    /* a pipe's usual capacity */
#define N_ERR_READS 16  /* per pump: a child that floods stderr must not keep us from the rest */
#define N_LAST_READS 32 /* after the end: 1 MiB of stdout is the most that a pipe holds, twice */
#define REAP_S 10.0     /* a killed child not dead by then hangs in a driver: leave it */

/* ---- starting ---- */

static void close_fd(int *fd)
{
    if (*fd > 2) /* ours never are 0..2, but those of a zeroed struct are */
        close(*fd);
    *fd = -1;
}

/* A close-on-exec pipe whose ends are above 2, even in a program that closed its own streams:
 * otherwise placing one stream in the child would overwrite another. */
static int open_pipe(int fds[2])
{
    if (pipe2(fds, O_CLOEXEC) != 0)
        return errno;
    for (int i = 0; i < 2; i++) {
        if (fds[i] > 2)
            continue;
        int moved = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
        int code = errno;
        close(fds[i]);
        fds[i] = moved;
        if (moved < 0) {
            close(fds[1 - i]);
            fds[0] = fds[1] = -1;
            return code;
        }
    }
    return 0;
}

static bool is_same_variable(const char *a, const char *b)
{
    size_t n = strcspn(a, "=");
    return strncmp(a, b, n) == 0 && b[n] == '=';
}

/* environ, with add and parent replacing what has the same name. Borrowed strings, one array. */
static char **merge_env(const char *const *add, const char *parent)
{
    size_t n = 0, n_add = 0, n_own = 0;
    while (add && add[n_add])
        n_add++;
    while (environ && environ[n_own])
        n_own++;
    const char **env = calloc(n_own + n_add + 2, sizeof *env);
    if (!env)
        return NULL;
    for (size_t i = 0; i < n_own; i++) {
        bool is_replaced = is_same_variable(parent, environ[i]);
        for (size_t j = 0; j < n_add && !is_replaced; j++)
            is_replaced = is_same_variable(add[j], environ[i]);
        if (!is_replaced)
            env[n++] = environ[i];
    }
    for (size_t j = 0; j < n_add; j++)
        env[n++] = add[j];
    env[n] = parent;
    return (char **)env;
}

/* fds[i] becomes stream i of the child. 0 or an errno. */
static int set_actions(posix_spawn_file_actions_t *actions, const int fds[3])
{
    int code = 0;
    for (int i = 0; i < 3 && code == 0; i++)
        code = posix_spawn_file_actions_adddup2(actions, fds[i], i);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
    /* Our own are close-on-exec; this is for those that other libraries left open. */
    if (code == 0)
        code = posix_spawn_file_actions_addclosefrom_np(actions, 3);
#endif
    return code;
}

/* A group of its own, and no ignored or blocked signal inherited from us. 0 or an errno. */
static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    short flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
    int code = posix_spawnattr_setflags(attributes, flags);
    if (code == 0)
        code = posix_spawnattr_setpgroup(attributes, 0);
    if (code == 0)
        code = posix_spawnattr_setsigdefault(attributes, &all);
    if (code == 0)
        code = posix_spawnattr_setsigmask(attributes, &none);
    return code;
}

/* 0 or an errno; fds as for set_actions. */
static int spawn(pid_t *out_pid, const char *const *argv, const char *const *env_add,
                 const int fds[3])
{
    char parent[sizeof SNUG_PROCESS_PARENT_VARIABLE + 24];
    snprintf(parent, sizeof parent, SNUG_PROCESS_PARENT_VARIABLE "=%ld", (long)getpid());
    char **env = merge_env(env_add, parent);
    if (!env)
        return ENOMEM;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int code = posix_spawn_file_actions_init(&actions);
    if (code != 0)
        goto done;
    code = posix_spawnattr_init(&attributes);
    if (code != 0)
        goto done_actions;
    code = set_actions(&actions, fds);
    if (code == 0)
        code = set_attributes(&attributes);
    if (code == 0) /* argv is not written to: the prototype is older than const */
        code = posix_spawnp(out_pid, argv[0], &actions, &attributes, (char *const *)(uintptr_t)argv,
                            env);
    posix_spawnattr_destroy(&attributes);
done_actions:
    posix_spawn_file_actions_destroy(&actions);
done:
    free(env);
    return code;
}

static snug_status fail_start(const char *program, int code, struct snug_error *err)
{
    if (code == ENOENT)
        return snug_fail(err, SNUG_NOT_FOUND, "program '%s' not found", program);
    snug_status status = code == ENOMEM ? SNUG_NO_MEMORY : SNUG_IO;
    return snug_fail(err, status, "cannot start '%s': %s", program, strerror(code));
}

snug_status snug_process_start(struct snug_process *p, const char *const *argv,
                               const char *const *env_add, struct snug_error *err)
{
    assert(p->pid == 0);
    int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}}; /* stdin, stdout, stderr */
    struct snug_process started = SNUG_PROCESS_INIT;
    int code = 0;
    for (int i = 0; i < 3 && code == 0; i++)
        code = open_pipe(pipes[i]);
    /* Only our ends: the flag belongs to the open file, and a child expects to block. */
    const int own[3] = {pipes[0][1], pipes[1][0], pipes[2][0]};
    for (int i = 0; i < 3 && code == 0; i++)
        code = fcntl(own[i], F_SETFL, O_NONBLOCK) == 0 ? 0 : errno;
    const int child[3] = {pipes[0][0], pipes[1][1], pipes[2][1]};
    if (code == 0)
        code = spawn(&started.pid, argv, env_add, child);
    if (code == 0) {
        started.fd_in = own[0];
        started.fd_out = own[1];
        started.fd_err = own[2];
        *p = started;
    }
    for (int i = 0; i < 3; i++) {
        int end = code == 0 ? i > 0 : 0; /* the child's end; after a failure both */
        close_fd(&pipes[i][end]);
        if (code != 0)
            close_fd(&pipes[i][1]);
    }
    return code == 0 ? SNUG_OK : fail_start(argv[0], code, err);
}

/* ---- moving bytes ---- */

enum want { WANT_NOTHING, WANT_OUT = 1, WANT_IN = 2 };

/* Read once from *fd into buf; closes at the end of the stream. Returns the bytes read. */
static size_t read_once(int *fd, struct snug_buffer *buf)
{
    char bytes[READ_BYTES]; /* on the stack: the buffer grows by what came, not by what might */
    ssize_t n = read(*fd, bytes, sizeof bytes);
    if (n > 0) {
        snug_buffer_append(buf, bytes, (size_t)n);
        return (size_t)n;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        close_fd(fd);
    return 0;
}

/* Returns the bytes read, kept or not. */
static size_t read_tail(struct snug_process *p)
{
    size_t n_all = 0;
    for (int i = 0; i < N_ERR_READS && p->fd_err >= 0; i++) {
        size_t n = read_once(&p->fd_err, &p->tail);
        if (p->tail.len > SNUG_PROCESS_TAIL_MAX)
            snug_buffer_consume(&p->tail, p->tail.len - SNUG_PROCESS_TAIL_MAX);
        n_all += n;
        if (n == 0)
            break;
    }
    return n_all;
}

/* Wait up to wait_s for something to read (stderr always, stdout with WANT_OUT) or for room to
 * write (WANT_IN), and read what there is. Returns the bytes read. */
static size_t pump(struct snug_process *p, unsigned want, double wait_s)
{
    struct pollfd fds[3]; /* stderr, stdout, stdin: last words before answers */
    nfds_t n_fds = 0;
    if (p->fd_err >= 0)
        fds[n_fds++] = (struct pollfd){.fd = p->fd_err, .events = POLLIN};
    if (p->fd_out >= 0 && (want & WANT_OUT))
        fds[n_fds++] = (struct pollfd){.fd = p->fd_out, .events = POLLIN};
    if (p->fd_in >= 0 && (want & WANT_IN))
        fds[n_fds++] = (struct pollfd){.fd = p->fd_in, .events = POLLOUT};
    double slice_s = n_fds > 0 ? SLICE_S : SLICE_BLIND_S;
    if (!(wait_s < slice_s))
        wait_s = slice_s;
    if (poll(fds, n_fds, wait_s > 0 ? (int)ceil(wait_s * 1e3) : 0) <= 0)
        return 0; /* nothing, or a signal: the caller looks at its flags and comes back */
    size_t n = 0;
    for (nfds_t i = 0; i < n_fds; i++) {
        if (fds[i].revents == 0)
            continue;
        if (fds[i].fd == p->fd_err)
            n += read_tail(p);
        else if (fds[i].fd == p->fd_out)
            n += read_once(&p->fd_out, &p->out);
    }
    return n;
}

/* What stderr says most by, at most cap - 1 bytes: its last assertion, else its last line that is
 * not empty; "" when there is none. */
static const char *last_line(const struct snug_process *p, char *out, size_t cap)
{
    const char *text = snug_buffer_text(&p->tail), *end = text + p->tail.len, *best = text;
    size_t n_best = 0;
    bool is_best_assertion = false;
    for (const char *line = text, *next; line < end; line = next) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((newline ? newline : end) - line);
        next = line + n + 1;
        while (n > 0 && (unsigned char)line[n - 1] <= ' ')
            n--;
        const bool is_assertion = memmem(line, n, "ASSERT", 6) != NULL;
        if (n > 0 && is_assertion >= is_best_assertion) {
            best = line;
            n_best = n;
            is_best_assertion = is_assertion;
        }
    }
    snprintf(out, cap, "%.*s", (int)n_best, best);
    for (char *c = out; *c; c++)
        *c = (unsigned char)*c < ' ' ? ' ' : *c;
    return out;
}

static snug_status fail_closed(struct snug_process *p, const char *what, struct snug_error *err)
{
    char line[256];
    pump(p, WANT_NOTHING, 0); /* its last words */
    last_line(p, line, sizeof line);
    return snug_fail(err, SNUG_CRASHED, "process %ld closed its %s%s%s", (long)p->pid, what,
                     line[0] ? ": " : "", line);
}

/* write(2) without SIGPIPE, which MSG_NOSIGNAL spares sockets only: block the signal in this thread
 * and take back the one that EPIPE raised, unless one was pending before. */
static ssize_t write_quietly(int fd, const char *data, size_t n)
{
    sigset_t sigpipe, old, pending;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &sigpipe, &old);
    ssize_t put = write(fd, data, n);
    int code = errno;
    if (put < 0 && code == EPIPE && !sigismember(&pending, SIGPIPE)) {
        const struct timespec at_once = {0};
        while (sigtimedwait(&sigpipe, NULL, &at_once) < 0 && errno == EINTR)
            continue;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = code;
    return put;
}

/* Forget the line that was lent to the caller. */
static void drop_line(struct snug_process *p)
{
    snug_buffer_consume(&p->out, p->n_line);
    p->n_line = 0;
}

snug_status snug_process_write(struct snug_process *p, const char *data, size_t n, double timeout_s,
                               struct snug_error *err)
{
    double deadline_s = snug_clock_s() + timeout_s;
    drop_line(p);
    while (n > 0) {
        if (p->fd_in < 0)
            return fail_closed(p, "input", err);
        ssize_t put = write_quietly(p->fd_in, data, n);
        if (put >= 0) {
            data += put;
            n -= (size_t)put;
            continue;
        }
        if (errno == EPIPE) {
            close_fd(&p->fd_in);
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return snug_fail(err, SNUG_IO, "writing to process %ld: %s", (long)p->pid,
                             strerror(errno));
        double left_s = deadline_s - snug_clock_s();
        if (!(left_s > 0))
            return snug_fail(err, SNUG_TIMEOUT, "process %ld took no input for %.3g s",
                             (long)p->pid, timeout_s);
        /* It may be stuck writing an answer: read that, but not without end. */
        bool has_room = p->out.len <= SNUG_PROCESS_LINE_MAX;
        pump(p, has_room ? WANT_IN | WANT_OUT : WANT_IN, left_s);
    }
    return SNUG_OK;
}

/* The line at the front of p->out, or NULL. *n_seen: bytes known to hold no newline. */
static const char *take_line(struct snug_process *p, size_t *n_seen)
{
    if (p->out.len == *n_seen)
        return NULL;
    char *newline = memchr(p->out.data + *n_seen, '\n', p->out.len - *n_seen);
    *n_seen = p->out.len;
    if (!newline)
        return NULL;
    *newline = '\0';
    p->n_line = (size_t)(newline - p->out.data) + 1;
    return p->out.data;
}

snug_status snug_process_read_line(struct snug_process *p, double timeout_s,
                                   const volatile int *stop, const char **out_line,
                                   struct snug_error *err)
{
    double deadline_s = snug_clock_s() + timeout_s;
    size_t n_seen = 0;
    bool is_last = false; /* with a timeout of zero the pipe is still looked into once */
    drop_line(p);
    for (;;) {
        const char *line = take_line(p, &n_seen);
        if (p->n_line > (size_t)SNUG_PROCESS_LINE_MAX + 1 ||
            (!line && p->out.len > SNUG_PROCESS_LINE_MAX))
            return snug_fail(err, SNUG_BAD_INPUT, "process %ld wrote a line longer than %u bytes",
                             (long)p->pid, SNUG_PROCESS_LINE_MAX);
        if (line) {
            *out_line = line;
            return SNUG_OK;
        }
        if (p->out.is_failed)
            return snug_fail(err, SNUG_NO_MEMORY, "output of process %ld", (long)p->pid);
        if (p->fd_out < 0)
            return fail_closed(p, "output", err);
        if (stop && *stop)
            return snug_fail(err, SNUG_INTERRUPTED, "stopped while process %ld worked",
                             (long)p->pid);
        if (is_last)
            return snug_fail(err, SNUG_TIMEOUT, "no answer from process %ld for %.3g s",
                             (long)p->pid, timeout_s);
        double left_s = deadline_s - snug_clock_s();
        is_last = !(left_s > 0);
        pump(p, WANT_OUT, left_s);
    }
}

/* ---- ending ---- */

void snug_process_close_in(struct snug_process *p)
{
    close_fd(&p->fd_in);
}

void snug_process_signal(struct snug_process *p, int signal)
{
    if (p->pid > 0)
        kill(-p->pid, signal);
}

/* Has it ended? It stays a zombie, and keeps its id, until it is reaped. */
static bool look(pid_t pid, struct snug_process_exit *out_exit)
{
    siginfo_t info = {0};
    int rc;
    do {
        rc = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
    } while (rc != 0 && errno == EINTR);
    if (rc == 0 && info.si_pid == 0)
        return false;
    *out_exit = (struct snug_process_exit){.code = -1};
    if (rc != 0)
        return true; /* reaped by somebody else (SIGCHLD ignored): gone, and nobody knows how */
    if (info.si_code == CLD_EXITED)
        out_exit->code = info.si_status;
    else
        out_exit->signal = info.si_status;
    out_exit->is_core = info.si_code == CLD_DUMPED;
    return true;
}

/* Wait for the end while stdout is at most n_max bytes. */
static snug_status wait_end(struct snug_process *p, double timeout_s, size_t n_max,
                            struct snug_process_exit *out_exit)
{
    double deadline_s = snug_clock_s() + timeout_s;
    bool is_last = false;
    for (;;) {
        struct snug_process_exit end;
        if (look(p->pid, &end)) {
            /* What it wrote before is in the pipes. Others of its group may write on: stop when
             * there is nothing at this moment, or enough. */
            for (int i = 0; i < N_LAST_READS && p->out.len <= n_max; i++) {
                if (pump(p, WANT_OUT, 0) == 0)
                    break;
            }
            *out_exit = end;
            return SNUG_OK;
        }
        if (p->out.len > n_max || p->out.is_failed)
            return p->out.is_failed ? SNUG_NO_MEMORY : SNUG_BAD_INPUT;
        if (is_last)
            return SNUG_TIMEOUT;
        double left_s = deadline_s - snug_clock_s();
        is_last = !(left_s > 0);
        pump(p, WANT_OUT, left_s);
    }
}

snug_status snug_process_wait(struct snug_process *p, double timeout_s,
                              struct snug_process_exit *out_exit)
{
    assert(p->pid > 0);
    double deadline_s = snug_clock_s() + timeout_s;
    drop_line(p);
    for (;;) {
        snug_status status =
            wait_end(p, deadline_s - snug_clock_s(), SNUG_PROCESS_LINE_MAX, out_exit);
        if (status != SNUG_BAD_INPUT && status != SNUG_NO_MEMORY)
            return status;
        snug_buffer_clear(&p->out); /* nobody reads it, and the child must not stall on it */
    }
}

/* After SIGKILL: normally gone in a millisecond, so look often at first. */
static void reap(pid_t pid)
{
    double deadline_s = snug_clock_s() + REAP_S;
    double wait_s = 0.0005;
    for (;;) {
        pid_t got = waitpid(pid, NULL, WNOHANG);
        if (got == pid || (got < 0 && errno != EINTR))
            return;
        if (snug_clock_s() > deadline_s)
            break;
        snug_sleep_s(wait_s);
        wait_s = fmin(wait_s * 2, 0.05);
    }
    snug_log(SNUG_LOG_WARN, "event=unreaped pid=%ld killed_s_ago=%.0f", (long)pid, REAP_S);
}

void snug_process_clear(struct snug_process *p)
{
    if (p->pid > 0) {
        kill(-p->pid, SIGKILL);
        kill(p->pid, SIGKILL); /* it may have left its group */
        reap(p->pid);
    }
    close_fd(&p->fd_in);
    close_fd(&p->fd_out);
    close_fd(&p->fd_err);
    snug_buffer_clear(&p->out);
    snug_buffer_clear(&p->tail);
    *p = (struct snug_process)SNUG_PROCESS_INIT;
}

void snug_process_exit_text(const struct snug_process *p, const struct snug_process_exit *end,
                            char *out, size_t cap)
{
    char line[256] = "";
    if (end->code != 0 && end->signal != SIGKILL)
        last_line(p, line, sizeof line);
    const char *colon = line[0] ? ": " : "";
    if (end->signal)
        snprintf(out, cap, "was ended by signal %d (%s)%s%s", end->signal, strsignal(end->signal),
                 colon, line);
    else
        snprintf(out, cap, "ended with code %d%s%s", end->code, colon, line);
}

snug_status snug_process_run(const char *const *argv, const char *const *env_add, double timeout_s,
                             size_t cap, struct snug_buffer *out, struct snug_error *err)
{
    char words[384];
    struct snug_process p = SNUG_PROCESS_INIT;
    struct snug_process_exit end;
    snug_status status = snug_process_start(&p, argv, env_add, err);
    if (status != SNUG_OK)
        return status;
    snug_process_close_in(&p);
    status = wait_end(&p, timeout_s, cap, &end);
    if (status == SNUG_OK && end.code != 0) {
        snug_process_exit_text(&p, &end, words, sizeof words);
        status = snug_fail(err, SNUG_CRASHED, "%s %s", argv[0], words);
    } else if (status == SNUG_TIMEOUT)
        snug_fail(err, status, "%s had not ended after %.3g s", argv[0], timeout_s);
    else if (p.out.is_failed)
        status = snug_fail(err, SNUG_NO_MEMORY, "output of %s", argv[0]);
    else if (p.out.len > cap)
        status = snug_fail(err, SNUG_BAD_INPUT, "%s wrote more than %zu bytes", argv[0], cap);
    if (status == SNUG_OK && out) {
        snug_buffer_clear(out);
        *out = p.out;
        p.out = (struct snug_buffer){0}; /* the caller owns it now */
    }
    snug_process_clear(&p);
    return status;
}
