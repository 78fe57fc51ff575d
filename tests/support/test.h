/* What every test file needs: cmocka with the headers it asks for, checks of a status that show the
 * error text, and a temporary folder as a fixture. */
#ifndef SNUG_TEST_H
#define SNUG_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snug/base.h"

#define COUNT(table) (sizeof(table) / sizeof(table)[0])

/* Longest wait for something that must happen: only a test that fails ever takes so long. */
#define PATIENCE_S 60.0

/* Both want `struct snug_error err` in scope, given to the call as its last argument. */
#define assert_ok(call)                                                                            \
    do {                                                                                           \
        snug_status ok_status = (call);                                                            \
        if (ok_status != SNUG_OK)                                                                  \
            fail_msg("%s is %s: %s", #call, snug_status_name(ok_status), err.text);                \
    } while (0)

#define assert_fails(want, call)                                                                   \
    do {                                                                                           \
        snug_status fails_status = ((void)memset(&err, 0, sizeof err), (call));                    \
        if (fails_status != (want) || err.status != (want) || err.text[0] == '\0')                 \
            fail_msg("%s is %s, error %s '%s', not %s", #call, snug_status_name(fails_status),     \
                     snug_status_name(err.status), err.text, snug_status_name(want));              \
    } while (0)

#define assert_contains(text, part)                                                                \
    do {                                                                                           \
        const char *contains_text = (text);                                                        \
        if (!strstr(contains_text, (part)))                                                        \
            fail_msg("'%s' does not contain '%s'", contains_text, (part));                         \
    } while (0)

/* Fixtures for cmocka_unit_test_setup_teardown: *state is the path of an empty folder. */
static inline int test_folder_open(void **state)
{
    const char *base = getenv("TMPDIR");
    char *path = NULL;
    if (asprintf(&path, "%s/snug-test-XXXXXX", base && *base ? base : "/tmp") < 0)
        return -1;
    *state = mkdtemp(path);
    return *state ? 0 : -1;
}

static inline int test_folder_remove_one(const char *path, const struct stat *info, int kind,
                                         struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static inline int test_folder_close(void **state)
{
    int rc = nftw(*state, test_folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return rc;
}

/* FOLDER/NAME; the newest four paths stay valid. */
static inline const char *test_path(void **state, const char *name)
{
    static char paths[4][512];
    static unsigned n;
    char *path = paths[n++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", (const char *)*state, name);
    return path;
}

#endif
