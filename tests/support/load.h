/* Loads of the program under test. */
#ifndef SNUG_TEST_LOAD_H
#define SNUG_TEST_LOAD_H

#include "snug/load.h"

/* Without a name the load would start this program, and all its tests again. */
static inline const char *load_program(void)
{
    const char *path = getenv("SNUG_BIN");
    if (!path)
        skip();
    return path;
}

static inline struct snug_load *load_start(const struct snug_load_level *level, double duration_s)
{
    struct snug_error err;
    struct snug_load *load = NULL;
    struct snug_load_trace trace;
    struct snug_machine machine;
    const char *program = load_program();
    assert_ok(snug_machine_probe("", &machine, &err));
    assert_ok(snug_load_trace_steady(level, duration_s, &trace, &err));
    const struct snug_load_options options = {
        .trace = &trace, .machine = &machine, .program = program};
    assert_ok(snug_load_start(&options, &load, &err));
    snug_load_trace_clear(&trace);
    return load;
}

#endif
