/* The packaged llama.cpp programs and the trained model, for tests that compare with them. */
#ifndef SNUG_TEST_PEER_H
#define SNUG_TEST_PEER_H

#include "test.h"

#include "base/buffer.h"
#include "base/process.h"
#include "snug/engine.h"

/* Run it to its end, which must be a good one. */
static inline void peer_run(const char *const *argv, struct snug_buffer *out)
{
    struct snug_error err;
    const char *const env[] = {"GGML_NO_BACKTRACE=1", NULL};
    assert_ok(snug_process_run(argv, env, PATIENCE_S, 4u << 20, out, &err));
}

/* False, with a word about it, where there is no such program. */
static inline bool peer_find(const char *name, char path[4096])
{
    struct snug_error err;
    if (snug_engine_tool(name, path, 4096, &err) == SNUG_OK)
        return true;
    print_message("# %s\n", err.text);
    return false;
}

/* A file of the test data, or NULL with a word about it. The newest two stay valid. */
static inline const char *peer_data(const char *name)
{
    static char paths[2][4096];
    static unsigned n;
    char *path = paths[n++ % 2];
    const char *data = getenv("SNUG_TEST_DATA");
    snprintf(path, sizeof paths[0], "%s/%s", data ? data : "", name);
    if (data && access(path, R_OK) == 0)
        return path;
    print_message("# SNUG_TEST_DATA names no folder with %s\n", name);
    return NULL;
}

#define PEER_TALES "gguf/tales7m-f16.gguf"

#endif
