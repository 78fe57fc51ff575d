/* What a process knows of itself, with this very program in other roles. */
#include "child.h"

#include <dlfcn.h>
#include <sys/auxv.h>
#include <sys/time.h>

static volatile int stop_flag;

static void on_alarm(int signal)
{
    (void)signal;
    stop_flag = 1;
}

/* ---- this process ---- */

static void self_is_the_running_program(void **state)
{
    (void)state;
    struct snug_error err;
    char path[4096], small[8];
    assert_ok(snug_process_self(path, sizeof path, &err));
    assert_int_equal(path[0], '/');
    assert_non_null(strstr(path, "test_process"));
    assert_int_equal(access(path, X_OK), 0);
    assert_fails(SNUG_BAD_INPUT, snug_process_self(small, sizeof small, &err));
}

static void assert_self_is(const char *want, const char *const *argv, const char *const *env)
{
    struct snug_error err;
    struct snug_process p = SNUG_PROCESS_INIT;
    assert_ok(snug_process_start(&p, argv, env, &err));
    assert_string_equal(next_line(&p), "ready");
    assert_ok(snug_process_write(&p, "go\n", 3, PATIENCE_S, &err));
    assert_string_equal(next_line(&p), want);
    snug_process_clear(&p);
}

static void self_of_replaced_program_is_its_path(void **state)
{
    struct snug_error err;
    char path[4096];
    const char *copy = test_path(state, "copy");
    assert_ok(snug_process_self(path, sizeof path, &err));
    const char *const copy_argv[] = {"cp", path, copy, NULL};
    assert_ok(snug_process_run(copy_argv, NULL, PATIENCE_S, 0, NULL, &err));
    struct snug_process p = SNUG_PROCESS_INIT;
    const char *const argv[] = {copy, "--self", NULL};
    assert_ok(snug_process_start(&p, argv, NULL, &err));
    assert_string_equal(next_line(&p), "ready");
    assert_int_equal(unlink(copy), 0); /* now the kernel says "... (deleted)" */
    assert_ok(snug_process_write(&p, "go\n", 3, PATIENCE_S, &err));
    assert_string_equal(next_line(&p), copy);
    snug_process_clear(&p);
}

/* The program started by a script through the loader, as in a bundle. */
static void self_through_the_loader_is_what_the_variable_says(void **state)
{
    (void)state;
    struct snug_error err;
    Dl_info loader;
    char self[4096];
    assert_ok(snug_process_self(self, sizeof self, &err));
    assert_true(dladdr((const void *)getauxval(AT_BASE), &loader) != 0);
    const char *const env[] = {"SNUG_SELF=/opt/bundle/bin/snug", NULL};
    const char *const relative[] = {"SNUG_SELF=bin/snug", NULL};
    assert_self_is("/opt/bundle/bin/snug",
                   (const char *const[]){loader.dli_fname, self, "--self", NULL}, env);
    assert_self_is(self, (const char *const[]){self, "--self", NULL}, env); /* not meant for it */
    char *loader_path = realpath(loader.dli_fname, NULL);
    assert_self_is(loader_path, (const char *const[]){loader.dli_fname, self, "--self", NULL},
                   relative);
    free(loader_path);
}

static void worker_dies_with_its_parent(void **state)
{
    struct snug_error err;
    char self[4096];
    const char *path = test_path(state, "fifo");
    assert_ok(snug_process_self(self, sizeof self, &err));
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open_fifo(path);
    struct snug_process p = SNUG_PROCESS_INIT;
    const char *const argv[] = {self, "--parent", path, NULL};
    assert_ok(snug_process_start(&p, argv, NULL, &err));
    assert_string_equal(next_line(&p), "ready"); /* the worker holds the FIFO */
    assert_ok(snug_process_write(&p, "die\n", 4, PATIENCE_S, &err));
    assert_int_equal(wait_end(&p).code, 0);
    assert_all_gone(fd); /* although it leads a group of its own */
    snug_process_clear(&p);
}

static void worker_of_a_parent_already_gone_dies(void **state)
{
    struct snug_error err;
    char self[4096];
    const char *path = test_path(state, "fifo");
    assert_ok(snug_process_self(self, sizeof self, &err));
    struct snug_process p = SNUG_PROCESS_INIT;
    /* env is in the parent's place: the id in the variable is not the one of the real parent. */
    const char *const argv[] = {"env", "SNUG_PARENT_PID=999999999", self, "--worker", path, NULL};
    assert_ok(snug_process_start(&p, argv, NULL, &err));
    assert_int_equal(wait_end(&p).signal, SIGKILL);
    snug_process_clear(&p);
}

static void rss_of_living_process_is_known(void **state)
{
    (void)state;
    uint64_t bytes = 0, bytes_peak = 0;
    assert_true(snug_process_rss(getpid(), &bytes, &bytes_peak));
    assert_true(bytes > 100000 && bytes_peak >= bytes);
    enum { N = 64 << 20 };
    char *data = malloc(N);
    assert_non_null(data);
    memset(data, 1, N);
    uint64_t bytes_more = 0;
    assert_true(snug_process_rss(getpid(), &bytes_more, NULL));
    assert_true(bytes_more >= bytes + N / 2); /* RSS counters lag by some pages per thread */
    assert_int_equal(data[N - 1], 1);
    free(data);
    assert_true(snug_process_rss(getpid(), NULL, &bytes_peak));
    assert_true(bytes_peak >= bytes + N / 2);
}

static void rss_of_ended_process_is_unknown(void **state)
{
    (void)state;
    uint64_t bytes = 77;
    struct snug_process p = SNUG_PROCESS_INIT;
    start_shell(&p, ":", NULL);
    pid_t pid = p.pid;
    wait_end(&p);
    assert_false(snug_process_rss(pid, &bytes, NULL)); /* a zombie */
    snug_process_clear(&p);
    assert_false(snug_process_rss(pid, &bytes, NULL));
    assert_int_equal(bytes, 77);
}

static void clock_never_runs_backwards(void **state)
{
    (void)state;
    double last = snug_clock_s();
    for (int i = 0; i < 1000; i++) {
        double now = snug_clock_s();
        assert_true(now >= last);
        last = now;
    }
    snug_sleep_s(-1); /* return at once */
    snug_sleep_s(0);
    snug_sleep_s(0.001);
    assert_true(snug_clock_s() - last >= 0.001);
}

static void sleep_is_not_cut_short_by_signals(void **state)
{
    (void)state;
    const struct itimerval often = {.it_value = {.tv_usec = 1000},
                                    .it_interval = {.tv_usec = 1000}};
    const struct itimerval never = {0};
    stop_flag = 0;
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &often, NULL);
    double begin = snug_clock_s();
    snug_sleep_s(0.03);
    double end = snug_clock_s();
    setitimer(ITIMER_REAL, &never, NULL);
    signal(SIGALRM, SIG_DFL);
    assert_int_equal(stop_flag, 1);
    assert_true(end - begin >= 0.03);
}

/* ---- the other roles of this program ---- */

/* Hold the FIFO until killed. */
static int be_worker(const char *fifo)
{
    snug_process_die_with_parent(SIGKILL);
    int fd = open(fifo, O_WRONLY | O_CLOEXEC);
    puts("ready");
    fflush(stdout);
    while (fd >= 0)
        pause();
    return 1;
}

/* Start a worker and end without stopping it. */
static int be_parent(const char *self, const char *fifo)
{
    const char *const argv[] = {self, "--worker", fifo, NULL};
    struct snug_process p = SNUG_PROCESS_INIT;
    const char *line = "";
    if (snug_process_start(&p, argv, NULL, NULL) != SNUG_OK ||
        snug_process_read_line(&p, PATIENCE_S, NULL, &line, NULL) != SNUG_OK)
        return 1;
    puts(line);
    fflush(stdout);
    _exit(getchar() == 'd' ? 0 : 1);
}

static int be_self(void)
{
    char path[4096];
    puts("ready");
    fflush(stdout);
    if (getchar() != 'g' || snug_process_self(path, sizeof path, NULL) != SNUG_OK)
        return 1;
    puts(path);
    return 0;
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

static int run_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(self_is_the_running_program),
        IN_FOLDER(self_of_replaced_program_is_its_path),
        cmocka_unit_test(self_through_the_loader_is_what_the_variable_says),
        IN_FOLDER(worker_dies_with_its_parent),
        IN_FOLDER(worker_of_a_parent_already_gone_dies),
        cmocka_unit_test(rss_of_living_process_is_known),
        cmocka_unit_test(rss_of_ended_process_is_unknown),
        cmocka_unit_test(clock_never_runs_backwards),
        cmocka_unit_test(sleep_is_not_cut_short_by_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "--worker") == 0)
        return be_worker(argv[2]);
    if (argc > 2 && strcmp(argv[1], "--parent") == 0)
        return be_parent(argv[0], argv[2]);
    if (argc > 1 && strcmp(argv[1], "--self") == 0)
        return be_self();
    return run_tests();
}
