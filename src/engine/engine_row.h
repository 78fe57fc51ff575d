/* What a new engine fills in: one row, one file. */
#ifndef SNUG_ENGINE_ROW_H
#define SNUG_ENGINE_ROW_H

#include "snug/engine.h"

struct snug__engine_row {
    const char *name;
    snug_status (*open)(const struct snug_engine_options *options, void **out_state,
                        struct snug_error *err);
    void (*close)(void *state);
    const struct snug_space *(*space)(const void *state);
    const char *(*build)(const void *state);
    snug_status (*estimate)(void *state, const struct snug_config *config, struct snug_bytes *out,
                            struct snug_error *err);
    snug_status (*run)(void *state, const struct snug_config *config,
                       const struct snug_effort *effort, struct snug_measurement *out,
                       struct snug_error *err);
    uint64_t (*tied_repacked)(const void *state); /* NULL: nothing is */
    void (*restart)(void *state); /* the next trial runs in a new process; NULL: nothing to do */
};

extern const struct snug__engine_row snug__engine_llama, snug__engine_replay;

#endif
