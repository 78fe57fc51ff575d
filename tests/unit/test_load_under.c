/* A command under a load: a signal that comes between "the load is there" and "the command runs"
 * is neither lost nor too early. It is raised at exactly that moment, from what is called then. */
#include <dlfcn.h>
#include <signal.h>
#include <spawn.h>

#include "test.h"

#include "load.h"

#include "cli/load_under.h"

static int raise_when_settled, raise_when_spawned; /* signals, 0: none */

/* The live line's, which is drawn after each report. */
void load_draw(const struct snug_load_report *report)
{
    if (report->is_settled && raise_when_settled)
        raise(raise_when_settled);
}

/* Before libc's, which it calls. */
int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    int (*next)(pid_t *, const char *, const posix_spawn_file_actions_t *,
                const posix_spawnattr_t *, char *const[], char *const[]);
    *(void **)&next = dlsym(RTLD_NEXT, "posix_spawn");
    const int code = next(pid, path, actions, attributes, argv, envp);
    if (raise_when_spawned)
        raise(raise_when_spawned);
    return code;
}

/* Its exit status under a load; words is ended by NULL. */
static int run_command(char **words)
{
    struct snug_error err;
    struct cli_args args = {.rest = words};
    while (words[args.n_rest])
        args.n_rest++;
    cli_stop = 0;
    const struct snug_load_level level = {.cpu = 0.1};
    struct snug_load *load = load_start(&level, 0);
    const int code = load_under_run(&args, load);
    raise_when_settled = raise_when_spawned = 0;
    assert_ok(snug_load_stop(&load, NULL, &err));
    return code;
}

static void command_gives_its_status(void **state)
{
    (void)state;
    char *words[] = {(char *)"sh", (char *)"-c", (char *)"exit 7", NULL};
    assert_int_equal(run_command(words), 7);
}

static void signal_before_the_command_starts_none(void **state)
{
    const char *made = test_path(state, "made");
    char *words[] = {(char *)"touch", (char *)made, NULL};
    raise_when_settled = SIGTERM;
    assert_int_equal(run_command(words), CLI_FAILED);
    assert_int_equal(access(made, F_OK), -1);
}

static void signal_while_the_command_starts_reaches_it(void **state)
{
    (void)state;
    /* Without the signal it ends by itself, with 0, so that a failure does not hang. */
    char *words[] = {(char *)"sleep", (char *)"20", NULL};
    static const int SIGNALS[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < COUNT(SIGNALS); i++) {
        raise_when_spawned = SIGNALS[i];
        assert_int_equal(run_command(words), 128 + SIGNALS[i]);
    }
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "__under") == 0)
        return cli_load_under(argv + 2); /* this program stands for snug */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(command_gives_its_status),
        cmocka_unit_test_setup_teardown(signal_before_the_command_starts_none, test_folder_open,
                                        test_folder_close),
        cmocka_unit_test(signal_while_the_command_starts_reaches_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
