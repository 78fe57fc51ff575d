/* Arena: growing blocks, freed together. One per request, trial or plan. */
#ifndef SNUG_BASE_ARENA_H
#define SNUG_BASE_ARENA_H

#include "snug/base.h"

struct snug_arena_block;

/* Zero state is an empty arena. */
struct snug_arena {
    struct snug_arena_block *head;
    size_t bytes_used; /* handed out since the last clear */
};

struct snug_arena_mark {
    struct snug_arena_block *block;
    size_t used;
    size_t bytes_used;
};

/* Zeroed memory aligned for any type, or NULL when memory is out. n * size is checked. */
void *snug_arena_alloc(struct snug_arena *arena, size_t n, size_t size);
char *snug_arena_strdup(struct snug_arena *arena, const char *text);
char *snug_arena_strndup(struct snug_arena *arena, const char *text, size_t n);
char *snug_arena_printf(struct snug_arena *arena, const char *format, ...) SNUG_PRINTF(2, 3);
struct snug_arena_mark snug_arena_mark(const struct snug_arena *arena);
void snug_arena_reset(struct snug_arena *arena, struct snug_arena_mark mark);
void snug_arena_clear(struct snug_arena *arena);

#endif
