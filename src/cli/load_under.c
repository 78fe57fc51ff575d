/* The command of `snug load ... -- COMMAND`.
 *
 * It is started as `snug __under COMMAND`, which ties itself to this process and then becomes the
 * command: when the load is killed its command gets SIGTERM, since what it would measure from then
 * on would not be what was asked for. It keeps our streams and our process group. */
#include "cli/load_under.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/process.h"

static const double SETTLE_S = 120; /* touching takes some seconds per GiB on a busy machine */
static const double SLICE_S = 0.02; /* how long after the command's end we end at most */
enum { EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 }; /* as env, nohup and timeout have them */

static volatile pid_t command_pid;
static volatile sig_atomic_t early_signal; /* one that came before command_pid was known */

/* What another process sends goes on to the command; Ctrl-C reaches it by itself. */
static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (command_pid <= 0)
        early_signal = number;
    else if (info->si_code <= 0)
        kill(command_pid, number);
    cli_stop = 1;
}

static void pass_signals_on(void)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    action.sa_sigaction = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

int cli_load_under(char **argv)
{
    snug_process_die_with_parent(SIGTERM);
    unsetenv(SNUG_PROCESS_PARENT_VARIABLE);
    execvp(argv[0], argv);
    const int code = errno;
    return cli_fail_text(code == ENOENT ? (enum cli_exit)EXIT_NOT_FOUND
                                        : (enum cli_exit)EXIT_CANNOT_RUN,
                         "cannot run '%s': %s", argv[0], strerror(code));
}

/* With our streams, in our process group, signals as they were given to us. */
static snug_status start_command(const struct cli_args *args, struct snug_error *err)
{
    char self[4096], parent[32];
    pid_t pid = 0;
    sigset_t defaults;
    posix_spawnattr_t attributes;
    snug_status status = snug_process_self(self, sizeof self, err);
    if (status != SNUG_OK)
        return status;
    char **argv = calloc((size_t)args->n_rest + 3, sizeof *argv);
    snprintf(parent, sizeof parent, "%ld", (long)getpid());
    if (!argv || setenv(SNUG_PROCESS_PARENT_VARIABLE, parent, 1) != 0 ||
        posix_spawnattr_init(&attributes) != 0) {
        free(argv);
        return snug_fail(err, SNUG_NO_MEMORY, "a command line");
    }
    argv[0] = self;
    argv[1] = (char *)"__under";
    memcpy(argv + 2, args->rest, (size_t)args->n_rest * sizeof *argv);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE); /* this program ignores them */
    sigaddset(&defaults, SIGXFSZ);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    const int code = posix_spawn(&pid, self, NULL, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    unsetenv(SNUG_PROCESS_PARENT_VARIABLE);
    free(argv);
    if (code != 0)
        return snug_fail(err, SNUG_IO, "cannot start '%s': %s", args->rest[0], strerror(code));
    command_pid = pid;
    if (early_signal) /* after the look at cli_stop: Ctrl-C too, which may have missed it */
        kill(pid, early_signal);
    return SNUG_OK;
}

/* Until the memory is there: what is measured from the start is measured under the whole load. */
static snug_status wait_settled(struct snug_load *load, struct snug_error *err)
{
    const double deadline_s = snug_clock_s() + SETTLE_S;
    struct snug_load_report report = {.is_over = false};
    snug_status status = SNUG_OK;
    while (status == SNUG_OK && !report.is_settled && !report.is_over &&
           snug_clock_s() < deadline_s) {
        status = snug_load_poll(load, LOAD_REPORT_S, &cli_stop, &report, err);
        if (status == SNUG_OK)
            load_draw(&report);
    }
    cli_live_end();
    if (status == SNUG_OK && report.is_over)
        return snug_fail(err, SNUG_TIMEOUT,
                         "the load was over before the command could begin: give it more time");
    if (status == SNUG_OK && !report.is_settled)
        cli_say("load: the memory asked for was not reached in %.0f s; going on", SETTLE_S);
    return status;
}

/* Wait for the command; is_lost where the load died before it. Returns its exit status. */
static int watch_command(struct snug_load *load, bool *is_lost)
{
    struct snug_load_report report = {.is_over = false};
    struct snug_error err = {0};
    bool is_told = false;
    int how = 0;
    *is_lost = false;
    for (;;) {
        const pid_t got = waitpid(command_pid, &how, is_told ? 0 : WNOHANG);
        if (got == command_pid)
            break;
        if (got < 0 && errno != EINTR) {
            *is_lost = true;
            return CLI_FAILED;
        }
        if (is_told)
            continue;
        const snug_status status = snug_load_poll(load, SLICE_S, NULL, &report, &err);
        if (status != SNUG_OK && status != SNUG_TIMEOUT) {
            cli_fail_text(CLI_FAILED, "%s; the command goes on without it", err.text);
            is_told = *is_lost = true;
        } else if (report.is_over) {
            cli_say("load: over after %.1f s; the command goes on without it", report.t_s);
            is_told = true;
        }
    }
    command_pid = 0;
    return WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
}

int load_under_run(const struct cli_args *args, struct snug_load *load)
{
    struct snug_error err = {0};
    bool is_lost = true;
    pass_signals_on();
    snug_status status = wait_settled(load, &err);
    if (status == SNUG_OK && cli_stop)
        status = SNUG_INTERRUPTED;
    if (status == SNUG_OK)
        status = start_command(args, &err);
    if (status == SNUG_INTERRUPTED)
        return cli_fail_text(CLI_FAILED, "stopped before the command began");
    if (status != SNUG_OK)
        return cli_fail(&err);
    const int code = watch_command(load, &is_lost);
    return code == 0 && is_lost ? CLI_FAILED : code;
}
