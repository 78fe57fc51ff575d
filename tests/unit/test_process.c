/* Talking to child processes: lines, stderr, writing. The children are /bin/sh. */
#include "child.h"

#include <sys/time.h>

/* ---- lines ---- */

static void read_line_gives_lines_in_order(void **state)
{
    (void)state;
    struct snug_process p = SNUG_PROCESS_INIT;
    start_shell(&p, "printf 'one\\n\\nthree\\nfo'; printf 'ur\\n'", NULL);
    assert_string_equal(next_line(&p), "one");
    assert_string_equal(next_line(&p), "");
    assert_string_equal(next_line(&p), "three");
    assert_string_equal(next_line(&p), "four");
    snug_process_clear(&p);
}

static void write_then_read_line_is_a_dialogue(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_process p = SNUG_PROCESS_INIT;
    start_shell(&p, "while read -r x; do echo \"got $x\"; done", NULL);
    for (int i = 0; i < 20; i++) {
        char ask[32], want[32];
        snprintf(ask, sizeof ask, "line %d\n", i);
        snprintf(want, sizeof want, "got line %d", i);
        assert_ok(snug_process_write(&p, ask, strlen(ask), PATIENCE_S, &err));
        assert_string_equal(next_line(&p), want);
    }
    snug_process_close_in(&p);
    assert_int_equal(wait_end(&p).code, 0);
    snug_process_clear(&p);
}

static void read_line_after_deadline_leaves_stream_usable(void **state)
{
    (void)state;
    struct snug_error err;
    const char *line = "unchanged";
    struct snug_process p = SNUG_PROCESS_INIT;
    start_shell(&p, "printf begin; read -r x; echo \" $x\"", NULL);
    assert_fails(SNUG_TIMEOUT, snug_process_read_line(&p, SHORT_S, NULL, &line, &err));
    assert_fails(SNUG_TIMEOUT, snug_process_read_line(&p, 0, NULL, &line, &err));
    assert_fails(SNUG_TIMEOUT, snug_process_read_line(&p, -1, NULL, &line, &err));
    assert_string_equal(line, "unchanged");
    assert_ok(snug_process_write(&p, "end\n", 4, PATIENCE_S, &err));
    assert_string_equal(next_line(&p), "begin end");
    snug_process_clear(&p);
}

static void read_line_waiting_in_pipe_needs_no_time(void **state)
{
    (void)state;
    struct snug_error err;
    const char *line = NULL;
    struct snug_process p = SNUG_PROCESS_INIT;
    start_shell(&p, "echo one; echo two; exec sleep 1000", NULL);
    assert_string_equal(next_line(&p), "one");
    /* Both lines may have come at once or not: ask until the second is there, never waiting. */
    while (snug_process_read_line(&p, 0, NULL, &line, &err) == SNUG_TIMEOUT)
        continue;
    assert_string_equal(line, "two");
    snug_process_clear(&p);
}

static void read_line_at_the_cap_is_accepted(void **state)
{
    (void)state;
    struct snug_process p = SNUG_PROCESS_INIT;
    start_shell(&p, "head -c 16777216 /dev/zero | tr '\\0' x; echo; echo next", NULL);
    assert_int_equal(SNUG_PROCESS_LINE_MAX, 16777216);
    assert_int_equal(strlen(next_line(&p)), SNUG_PROCESS_LINE_MAX);
    assert_string_equal(next_line(&p), "next");
    snug_process_clear(&p);
}

static void read_line_above_the_cap_is_refused(void **state)
{
    (void)state;
    struct snug_error err;
    const char *line = NULL;
    struct snug_process p = SNUG_PROCESS_INIT;
    start_shell(&p, "head -c 16777217 /dev/zero | tr '\\0' x; echo; exec sleep 1000", NULL);
    assert_fails(SNUG_BAD_INPUT, snug_process_read_line(&p, PATIENCE_S, NULL, &line, &err));
    assert_contains(err.text, "longer than 16777216 bytes");
    snug_process_clear(&p);
    /* Without any end the cap holds too. */
    start_shell(&p, "tr '\\0' x < /dev/zero", NULL);
    assert_fails(SNUG_BAD_INPUT, snug_process_read_line(&p, PATIENCE_S, NULL, &line, &err));
    assert_true(p.out.len <= SNUG_PROCESS_LINE_MAX + 65536);
    snug_process_clear(&p);
}

static void read_line_at_end_of_stream_is_crashed(void **state)
{
    (void)state;
    struct snug_error err;
    const char *line = NULL;
    struct snug_process p = SNUG_PROCESS_INIT;
    start_shell(&p, "echo 'GGML_ASSERT failed' >&2; printf half", NULL);
    assert_fails(SNUG_CRASHED, snug_process_read_line(&p, PATIENCE_S, NULL, &line, &err));
    assert_contains(err.text, "GGML_ASSERT failed");
    snug_process_clear(&p);
}

static void read_line_from_closed_stdout_of_living_child_is_crashed(void **state)
{
    (void)state;
    struct snug_error err;
    const char *line = NULL;
    struct snug_process p = SNUG_PROCESS_INIT;
    start_shell(&p, "echo why >&2; exec >&-; exec sleep 1000", NULL);
    assert_fails(SNUG_CRASHED, snug_process_read_line(&p, PATIENCE_S, NULL, &line, &err));
    assert_contains(err.text, "why");
    struct snug_process_exit end;
    assert_int_equal(snug_process_wait(&p, 0, &end), SNUG_TIMEOUT); /* it lives */
    snug_process_clear(&p);
}

static volatile int stop_flag;

static void on_alarm(int signal)
{
    (void)signal;
    stop_flag = 1;
}

static void read_line_stops_when_told_by_a_signal(void **state)
{
    (void)state;
    struct snug_error err;
    const char *line = NULL;
    struct snug_process p = SNUG_PROCESS_INIT;
    const struct itimerval soon = {.it_value = {.tv_usec = 5000}};
    stop_flag = 0;
    start_shell(&p, "exec sleep 1000", NULL);
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &soon, NULL);
    assert_fails(SNUG_INTERRUPTED, snug_process_read_line(&p, PATIENCE_S, &stop_flag, &line, &err));
    signal(SIGALRM, SIG_DFL);
    snug_process_clear(&p);
}

/* ---- stderr ---- */

static void stderr_flood_keeps_the_last_bytes(void **state)
{
    (void)state;
    struct snug_process p = SNUG_PROCESS_INIT;
    start_shell(&p,
                "i=0; while [ $i -lt 20000 ]; do echo \"line $i\" >&2; i=$((i+1)); done; "
                "echo done",
                NULL);
    assert_string_equal(next_line(&p), "done");
    wait_end(&p);
    assert_int_equal(p.tail.len, SNUG_PROCESS_TAIL_MAX);
    const char *last = "\nline 19998\nline 19999\n";
    assert_string_equal(snug_buffer_text(&p.tail) + p.tail.len - strlen(last), last);
    snug_process_clear(&p);
}

static void stderr_endless_flood_does_not_starve_lines(void **state)
{
    (void)state;
    struct snug_process p = SNUG_PROCESS_INIT;
    start_shell(&p, "cat /dev/zero >&2 & for i in 1 2 3 4 5; do echo $i; done; wait", NULL);
    for (int i = 1; i <= 5; i++)
        assert_int_equal(next_line(&p)[0], '0' + i);
    snug_process_clear(&p);
}

/* ---- writing ---- */

static void write_more_than_pipes_hold_does_not_deadlock(void **state)
{
    (void)state;
    enum { N = 8 << 20 };
    struct snug_error err;
    struct snug_process p = SNUG_PROCESS_INIT;
    char *data = malloc(N);
    assert_non_null(data);
    memset(data, 'x', N);
    for (size_t i = 999; i < N; i += 1000)
        data[i] = '\n';
    start_shell(&p, "exec cat", NULL); /* answers while it is asked */
    assert_ok(snug_process_write(&p, data, N / 1000 * 1000, PATIENCE_S, &err));
    for (int i = 0; i < N / 1000; i++)
        assert_int_equal(strlen(next_line(&p)), 999);
    free(data);
    snug_process_clear(&p);
}

static void write_to_child_that_does_not_read_times_out(void **state)
{
    (void)state;
    enum { N = 4 << 20 };
    struct snug_error err;
    struct snug_process p = SNUG_PROCESS_INIT;
    char *data = calloc(1, N);
    assert_non_null(data);
    start_shell(&p, "exec sleep 1000", NULL);
    assert_fails(SNUG_TIMEOUT, snug_process_write(&p, data, N, SHORT_S, &err));
    free(data);
    snug_process_clear(&p);
}

static void write_to_dead_child_is_crashed_without_sigpipe(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_process p = SNUG_PROCESS_INIT;
    signal(SIGPIPE, SIG_DFL); /* would end this program */
    start_shell(&p, "echo 'out of memory' >&2", NULL);
    wait_end(&p);
    assert_fails(SNUG_CRASHED, snug_process_write(&p, "x\n", 2, PATIENCE_S, &err));
    assert_contains(err.text, "out of memory");
    assert_fails(SNUG_CRASHED, snug_process_write(&p, "x\n", 2, PATIENCE_S, &err));
    sigset_t pending;
    sigpending(&pending);
    assert_false(sigismember(&pending, SIGPIPE));
    snug_process_clear(&p);
}

static void write_leaves_a_pending_sigpipe_alone(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_process p = SNUG_PROCESS_INIT;
    sigset_t sigpipe, pending, now;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    start_shell(&p, ":", NULL);
    wait_end(&p);
    sigprocmask(SIG_BLOCK, &sigpipe, NULL);
    raise(SIGPIPE); /* somebody else's */
    assert_fails(SNUG_CRASHED, snug_process_write(&p, "x\n", 2, PATIENCE_S, &err));
    sigpending(&pending);
    assert_true(sigismember(&pending, SIGPIPE));
    sigprocmask(SIG_BLOCK, NULL, &now);
    assert_true(sigismember(&now, SIGPIPE));
    assert_int_equal(sigwaitinfo(&sigpipe, NULL), SIGPIPE);
    sigprocmask(SIG_UNBLOCK, &sigpipe, NULL);
    snug_process_clear(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_line_gives_lines_in_order),
        cmocka_unit_test(write_then_read_line_is_a_dialogue),
        cmocka_unit_test(read_line_after_deadline_leaves_stream_usable),
        cmocka_unit_test(read_line_waiting_in_pipe_needs_no_time),
        cmocka_unit_test(read_line_at_the_cap_is_accepted),
        cmocka_unit_test(read_line_above_the_cap_is_refused),
        cmocka_unit_test(read_line_at_end_of_stream_is_crashed),
        cmocka_unit_test(read_line_from_closed_stdout_of_living_child_is_crashed),
        cmocka_unit_test(read_line_stops_when_told_by_a_signal),
        cmocka_unit_test(stderr_flood_keeps_the_last_bytes),
        cmocka_unit_test(stderr_endless_flood_does_not_starve_lines),
        cmocka_unit_test(write_more_than_pipes_hold_does_not_deadlock),
        cmocka_unit_test(write_to_child_that_does_not_read_times_out),
        cmocka_unit_test(write_to_dead_child_is_crashed_without_sigpipe),
        cmocka_unit_test(write_leaves_a_pending_sigpipe_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
