/* Helpers of the tests that start children. What must end is seen to end by the end of file of a
 * FIFO that it holds open, never by waiting some time. */
#ifndef SNUG_TEST_CHILD_H
#define SNUG_TEST_CHILD_H

#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include "base/process.h"

#define SHORT_S 0.02 /* for what will not happen anyway */

static inline void start_shell(struct snug_process *p, const char *script, const char *const *env)
{
    struct snug_error err;
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    assert_ok(snug_process_start(p, argv, env, &err));
}

static inline const char *next_line(struct snug_process *p)
{
    struct snug_error err;
    const char *line = NULL;
    assert_ok(snug_process_read_line(p, PATIENCE_S, NULL, &line, &err));
    return line;
}

static inline struct snug_process_exit wait_end(struct snug_process *p)
{
    struct snug_process_exit end = {0};
    assert_int_equal(snug_process_wait(p, PATIENCE_S, &end), SNUG_OK);
    return end;
}

/* Open descriptors of this process. */
static inline int count_descriptors(void)
{
    int n = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

/* The reading end, before anybody writes: a poll waits for the first writer, then for the last. */
static inline int open_fifo(const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* Has every holder of the FIFO's other end died? */
static inline void assert_all_gone(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    char byte;
    assert_int_equal(poll(&wait, 1, (int)(PATIENCE_S * 1e3)), 1);
    assert_int_equal(read(fd, &byte, 1), 0);
    close(fd);
}

#endif
