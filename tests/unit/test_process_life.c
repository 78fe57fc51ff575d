/* How child processes begin and end. The children are /bin/sh. */
#include "child.h"

#include "fault.h"

/* ---- starting ---- */

static void start_absent_program_is_not_found(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_process p = SNUG_PROCESS_INIT;
    static const char *const NAMES[] = {"/nonexistent/program", "snug-no-such-program"};
    for (size_t i = 0; i < COUNT(NAMES); i++) {
        const char *const argv[] = {NAMES[i], NULL};
        assert_fails(SNUG_NOT_FOUND, snug_process_start(&p, argv, NULL, &err));
        assert_contains(err.text, NAMES[i]);
        assert_int_equal(p.pid, 0);
    }
    const char *const argv[] = {"/dev/null", NULL}; /* exists, but cannot be run */
    assert_fails(SNUG_IO, snug_process_start(&p, argv, NULL, &err));
    snug_process_clear(&p);
}

static void start_failing_leaks_no_descriptor(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_process p = SNUG_PROCESS_INIT;
    const char *const argv[] = {"/nonexistent/program", NULL};
    int before = count_descriptors();
    for (int i = 0; i < 5; i++)
        assert_fails(SNUG_NOT_FOUND, snug_process_start(&p, argv, NULL, &err));
    assert_int_equal(count_descriptors(), before);
}

static void start_adds_and_replaces_environment(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_buffer out = {0};
    setenv("SNUG_TEST_OLD", "old", 1);
    setenv("SNUG_TEST_OLDER", "kept", 1); /* the same beginning is another name */
    const char *const env[] = {"SNUG_TEST_OLD=new", "SNUG_TEST_MORE=a=b", NULL};
    /* Not through a shell, which would hide a name that is there twice. */
    const char *const argv[] = {"env", NULL};
    assert_ok(snug_process_run(argv, env, PATIENCE_S, 1 << 20, &out, &err));
    assert_contains(snug_buffer_text(&out), "SNUG_TEST_OLD=new\n");
    assert_contains(snug_buffer_text(&out), "SNUG_TEST_OLDER=kept\n");
    assert_contains(snug_buffer_text(&out), "SNUG_TEST_MORE=a=b\n");
    assert_contains(snug_buffer_text(&out), "PATH=");
    assert_null(strstr(snug_buffer_text(&out), "SNUG_TEST_OLD=old"));
    snug_buffer_clear(&out);
}

static void start_gives_child_no_other_descriptor(void **state)
{
    (void)state;
    struct snug_process p = SNUG_PROCESS_INIT;
    int fd = dup2(0, 57); /* inheritable, as some library might leave it */
    assert_int_equal(fd, 57);
    start_shell(&p,
                "[ -e /proc/self/fd/57 ] || echo closed; "
                "[ -e /proc/self/fd/3 ] || echo closed",
                NULL);
    assert_string_equal(next_line(&p), "closed");
    assert_string_equal(next_line(&p), "closed");
    close(fd);
    snug_process_clear(&p);
}

static void start_gives_child_default_signals(void **state)
{
    (void)state;
    struct snug_process p = SNUG_PROCESS_INIT;
    sigset_t sigterm, old;
    sigemptyset(&sigterm);
    sigaddset(&sigterm, SIGTERM);
    sigprocmask(SIG_BLOCK, &sigterm, &old);
    signal(SIGTERM, SIG_IGN);
    start_shell(&p, "kill -TERM $$; echo alive", NULL);
    signal(SIGTERM, SIG_DFL);
    sigprocmask(SIG_SETMASK, &old, NULL);
    struct snug_process_exit end = wait_end(&p);
    assert_int_equal(end.signal, SIGTERM);
    assert_int_equal(end.code, -1);
    snug_process_clear(&p);
}

static void start_works_without_standard_streams(void **state)
{
    (void)state;
    struct snug_process p = SNUG_PROCESS_INIT;
    int saved[3];
    char line[64];
    for (int i = 0; i < 3; i++) {
        saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
        close(i); /* a daemon's state: the next pipes would get these numbers */
    }
    start_shell(&p, "read -r x; echo \"$x\"; echo tail >&2", NULL);
    bool is_above = p.fd_in > 2 && p.fd_out > 2 && p.fd_err > 2;
    snug_status status = snug_process_write(&p, "hello\n", 6, PATIENCE_S, NULL);
    const char *got = "";
    if (status == SNUG_OK)
        status = snug_process_read_line(&p, PATIENCE_S, NULL, &got, NULL);
    snprintf(line, sizeof line, "%s", got);
    for (int i = 0; i < 3; i++) {
        dup2(saved[i], i);
        close(saved[i]);
    }
    assert_true(is_above);
    assert_int_equal(status, SNUG_OK);
    assert_string_equal(line, "hello");
    wait_end(&p);
    assert_string_equal(snug_buffer_text(&p.tail), "tail\n");
    snug_process_clear(&p);
}

/* ---- ending ---- */

static void wait_reports_exit_code_and_again(void **state)
{
    (void)state;
    struct snug_process p = SNUG_PROCESS_INIT;
    start_shell(&p, "exit 42", NULL);
    for (int i = 0; i < 2; i++) {
        struct snug_process_exit end = wait_end(&p);
        assert_int_equal(end.code, 42);
        assert_int_equal(end.signal, 0);
        assert_false(end.is_core);
    }
    snug_process_clear(&p);
}

static void wait_for_living_child_times_out(void **state)
{
    (void)state;
    struct snug_process_exit end = {.code = 77};
    struct snug_process p = SNUG_PROCESS_INIT;
    start_shell(&p, "exec sleep 1000", NULL);
    assert_int_equal(snug_process_wait(&p, SHORT_S, &end), SNUG_TIMEOUT);
    assert_int_equal(end.code, 77);
    snug_process_signal(&p, SIGTERM);
    assert_int_equal(wait_end(&p).signal, SIGTERM);
    snug_process_clear(&p);
}

static void wait_drains_output_that_nobody_reads(void **state)
{
    (void)state;
    struct snug_process p = SNUG_PROCESS_INIT;
    start_shell(&p, "head -c 40000000 /dev/zero; head -c 1000000 /dev/zero >&2; exit 5", NULL);
    assert_int_equal(wait_end(&p).code, 5);
    assert_true(p.out.len <= SNUG_PROCESS_LINE_MAX + 65536);
    snug_process_clear(&p);
}

static void wait_keeps_last_output_of_ended_child(void **state)
{
    (void)state;
    struct snug_process p = SNUG_PROCESS_INIT;
    start_shell(&p, "echo first; echo last; echo bye >&2", NULL);
    wait_end(&p);
    assert_string_equal(next_line(&p), "first");
    assert_string_equal(next_line(&p), "last");
    assert_string_equal(snug_buffer_text(&p.tail), "bye\n");
    snug_process_clear(&p);
}

static void wait_ends_although_grandchild_floods(void **state)
{
    (void)state;
    struct snug_process p = SNUG_PROCESS_INIT;
    start_shell(&p, "cat /dev/zero >&2 & exit 4", NULL);
    assert_int_equal(wait_end(&p).code, 4);
    snug_process_clear(&p);
}

static void signal_reaches_the_whole_group(void **state)
{
    const char *path = test_path(state, "fifo");
    struct snug_process p = SNUG_PROCESS_INIT;
    char fifo[600];
    snprintf(fifo, sizeof fifo, "FIFO=%s", path);
    const char *const env[] = {fifo, NULL};
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open_fifo(path);
    start_shell(&p, "(exec 3>\"$FIFO\"; echo ready; exec sleep 1000) & wait", env);
    assert_string_equal(next_line(&p), "ready");
    snug_process_signal(&p, SIGTERM);
    assert_all_gone(fd);
    snug_process_clear(&p);
}

static void clear_kills_grandchildren_that_resist(void **state)
{
    const char *path = test_path(state, "fifo");
    struct snug_process p = SNUG_PROCESS_INIT;
    char fifo[600];
    snprintf(fifo, sizeof fifo, "FIFO=%s", path);
    const char *const env[] = {fifo, NULL};
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open_fifo(path);
    start_shell(&p,
                "trap '' TERM HUP INT; "
                "(exec 3>\"$FIFO\"; echo ready; exec sleep 1000) & wait",
                env);
    assert_string_equal(next_line(&p), "ready");
    snug_process_signal(&p, SIGTERM);
    snug_process_clear(&p);
    assert_all_gone(fd);
    assert_int_equal(p.pid, 0);
}

static void clear_kills_grandchildren_of_an_ended_child(void **state)
{
    const char *path = test_path(state, "fifo");
    struct snug_process p = SNUG_PROCESS_INIT;
    char fifo[600];
    snprintf(fifo, sizeof fifo, "FIFO=%s", path);
    const char *const env[] = {fifo, NULL};
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open_fifo(path);
    start_shell(&p, "(exec 3>\"$FIFO\"; echo ready; exec sleep 1000) & exit 3", env);
    assert_string_equal(next_line(&p), "ready");
    assert_int_equal(wait_end(&p).code, 3);
    snug_process_clear(&p);
    assert_all_gone(fd);
}

static void clear_of_nothing_touches_nothing(void **state)
{
    (void)state;
    struct snug_process zero = {0}, p = SNUG_PROCESS_INIT;
    snug_process_clear(&zero);
    snug_process_clear(&zero);
    snug_process_clear(&p);
    snug_process_signal(&p, SIGKILL);
    assert_true(fcntl(0, F_GETFD) >= 0); /* fd_in = 0 of a zeroed struct is not ours to close */
}

static void clear_reaps_and_closes(void **state)
{
    (void)state;
    struct snug_process p = SNUG_PROCESS_INIT;
    int before = count_descriptors();
    start_shell(&p, "exec sleep 1000", NULL);
    pid_t pid = p.pid;
    snug_process_clear(&p);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
    assert_int_equal(count_descriptors(), before);
}

/* ---- run ---- */

static snug_status run_shell(const char *script, double timeout_s, size_t cap,
                             struct snug_buffer *out, struct snug_error *err)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    return snug_process_run(argv, NULL, timeout_s, cap, out, err);
}

static void run_collects_all_of_stdout(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_buffer out = {0};
    assert_ok(run_shell("cat; printf 'a\\nb'; echo noise >&2", PATIENCE_S, 100, &out, &err));
    assert_string_equal(snug_buffer_text(&out), "a\nb"); /* and stdin was empty */
    assert_ok(run_shell("head -c 3000000 /dev/zero", PATIENCE_S, 3000000, &out, &err));
    assert_int_equal(out.len, 3000000);
    snug_buffer_clear(&out);
    assert_ok(run_shell("echo x", PATIENCE_S, 100, NULL, &err));
}

static void run_output_is_capped(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_buffer out = {0};
    assert_ok(run_shell("printf 1234", PATIENCE_S, 4, &out, &err));
    snug_buffer_clear(&out);
    assert_fails(SNUG_BAD_INPUT, run_shell("printf 12345", PATIENCE_S, 4, &out, &err));
    assert_fails(SNUG_BAD_INPUT, run_shell("cat /dev/zero", PATIENCE_S, 1000, &out, &err));
    assert_contains(err.text, "more than 1000 bytes");
    assert_int_equal(out.len, 0);
}

static void run_failing_program_tells_its_last_words(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_buffer out = {0};
    assert_fails(SNUG_CRASHED, run_shell("echo first >&2; echo 'no such model' >&2; echo; exit 3",
                                         PATIENCE_S, 100, &out, &err));
    assert_string_equal(err.text, "sh ended with code 3: no such model");
    assert_fails(SNUG_CRASHED, run_shell("exit 1", PATIENCE_S, 100, &out, &err));
    assert_string_equal(err.text, "sh ended with code 1");
    assert_fails(SNUG_CRASHED, run_shell("kill -KILL $$", PATIENCE_S, 100, &out, &err));
    assert_contains(err.text, "ended by signal 9");
    assert_null(out.data);
}

static void run_that_breaks_tells_its_assertion(void **state)
{
    (void)state;
    struct snug_error err;
    assert_fails(SNUG_CRASHED, run_shell("printf 'one\\nASSERT(1)\\nASSERT(2) \\r\\nat 0x1\\n' >&2;"
                                         "kill -ABRT $$",
                                         PATIENCE_S, 100, NULL, &err));
    assert_string_equal(err.text, "sh was ended by signal 6 (Aborted): ASSERT(2)");
    assert_fails(SNUG_CRASHED,
                 run_shell("printf 'a\\tb' >&2; exit 2", PATIENCE_S, 100, NULL, &err));
    assert_string_equal(err.text, "sh ended with code 2: a b");
    assert_fails(SNUG_CRASHED,
                 run_shell("echo idle >&2; kill -KILL $$", PATIENCE_S, 100, NULL, &err));
    assert_string_equal(err.text, "sh was ended by signal 9 (Killed)");
}

static void run_past_its_deadline_is_stopped(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_buffer out = {0};
    assert_fails(SNUG_TIMEOUT, run_shell("exec sleep 1000", SHORT_S, 100, &out, &err));
    assert_fails(SNUG_NOT_FOUND,
                 snug_process_run((const char *const[]){"snug-no-such-program", NULL}, NULL,
                                  PATIENCE_S, 100, &out, &err));
}

static void run_does_not_wait_for_what_the_program_left_behind(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_buffer out = {0};
    assert_ok(run_shell("sleep 1000 & echo answer", PATIENCE_S, 100, &out, &err));
    assert_string_equal(snug_buffer_text(&out), "answer\n");
    snug_buffer_clear(&out);
}

static void run_without_memory_fails_cleanly(void **state)
{
    (void)state;
    struct snug_error err = {0};
    long n = 0;
    for (;; n++) {
        struct snug_buffer out = {0};
        fault_begin(n);
        snug_status status = run_shell("head -c 9000 /dev/zero", PATIENCE_S, 9000, &out, &err);
        bool is_hit = fault_end();
        assert_int_equal(status, is_hit ? SNUG_NO_MEMORY : SNUG_OK);
        assert_int_equal(out.len, is_hit ? 0 : 9000);
        snug_buffer_clear(&out);
        if (!is_hit)
            break;
    }
    assert_true(n >= 2);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, test_folder_open, test_folder_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_absent_program_is_not_found),
        cmocka_unit_test(start_failing_leaks_no_descriptor),
        cmocka_unit_test(start_adds_and_replaces_environment),
        cmocka_unit_test(start_gives_child_no_other_descriptor),
        cmocka_unit_test(start_gives_child_default_signals),
        cmocka_unit_test(start_works_without_standard_streams),
        cmocka_unit_test(wait_reports_exit_code_and_again),
        cmocka_unit_test(wait_for_living_child_times_out),
        cmocka_unit_test(wait_drains_output_that_nobody_reads),
        cmocka_unit_test(wait_keeps_last_output_of_ended_child),
        cmocka_unit_test(wait_ends_although_grandchild_floods),
        IN_FOLDER(signal_reaches_the_whole_group),
        IN_FOLDER(clear_kills_grandchildren_that_resist),
        IN_FOLDER(clear_kills_grandchildren_of_an_ended_child),
        cmocka_unit_test(clear_of_nothing_touches_nothing),
        cmocka_unit_test(clear_reaps_and_closes),
        cmocka_unit_test(run_collects_all_of_stdout),
        cmocka_unit_test(run_output_is_capped),
        cmocka_unit_test(run_failing_program_tells_its_last_words),
        cmocka_unit_test(run_that_breaks_tells_its_assertion),
        cmocka_unit_test(run_past_its_deadline_is_stopped),
        cmocka_unit_test(run_does_not_wait_for_what_the_program_left_behind),
        cmocka_unit_test(run_without_memory_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
