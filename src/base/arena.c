/* Bump allocation in a chain of blocks, newest first. A block is a header followed by its bytes:
 *
 *   | next cap used | a a a . b b | r |  free ...            |
 *                   ^ data          ^ redzone under ASan     ^ data + cap
 *
 * Only the newest block is bumped; what is left of an older one is given up, so that mark and reset
 * are a block and an offset. Under ASan everything not handed out is poisoned. */
#include "base/arena.h"

#include <assert.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#endif

#define ALIGN alignof(max_align_t)

#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
#define REDZONE_BYTES ALIGN /* so that running off one object does not land in the next */
#else
#define ASAN_POISON_MEMORY_REGION(data, n) ((void)(data), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(data, n) ((void)(data), (void)(n))
#define REDZONE_BYTES 0
#endif

/* From one page for a small plan, to 1 MiB where the cost of malloc has vanished. */
#define BLOCK_MIN_BYTES ((size_t)4 << 10)
#define BLOCK_MAX_BYTES ((size_t)1 << 20)

struct snug_arena_block {
    struct snug_arena_block *next;
    size_t cap;
    size_t used;
    alignas(max_align_t) char data[];
};

static size_t round_up(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

/* Blocks double, so n bytes take O(log n) calls of malloc; need is already rounded up. */
static bool add_block(struct snug_arena *arena, size_t need)
{
    size_t total = arena->head ? (arena->head->cap + sizeof *arena->head) * 2 : BLOCK_MIN_BYTES;
    if (total > BLOCK_MAX_BYTES)
        total = BLOCK_MAX_BYTES;
    size_t cap = total - sizeof *arena->head;
    if (cap < need)
        cap = need;
    struct snug_arena_block *block = malloc(sizeof *block + cap);
    if (!block)
        return false;
    *block = (struct snug_arena_block){.next = arena->head, .cap = cap};
    ASAN_POISON_MEMORY_REGION(block->data, cap);
    arena->head = block;
    return true;
}

static void free_head(struct snug_arena *arena)
{
    struct snug_arena_block *block = arena->head;
    arena->head = block->next;
    ASAN_UNPOISON_MEMORY_REGION(block->data, block->cap); /* malloc will hand it out again */
    free(block);
}

void *snug_arena_alloc(struct snug_arena *arena, size_t n, size_t size)
{
    size_t n_bytes = 0;
    if (__builtin_mul_overflow(n, size, &n_bytes) || n_bytes > SIZE_MAX / 4)
        return NULL;
    size_t need =
        round_up(n_bytes ? n_bytes : 1) + REDZONE_BYTES; /* never the same address twice */
    if (!arena->head || arena->head->cap - arena->head->used < need) {
        if (!add_block(arena, need))
            return NULL;
    }
    struct snug_arena_block *block = arena->head;
    void *data = block->data + block->used;
    block->used += need;
    arena->bytes_used += n_bytes;
    ASAN_UNPOISON_MEMORY_REGION(data, n_bytes);
    if (n_bytes > 0) /* not left to calloc: after a reset the memory is used again */
        memset(data, 0, n_bytes);
    return data;
}

char *snug_arena_strdup(struct snug_arena *arena, const char *text)
{
    return snug_arena_strndup(arena, text, strlen(text));
}

char *snug_arena_strndup(struct snug_arena *arena, const char *text, size_t n)
{
    size_t len = strnlen(text, n); /* text need not end within n */
    char *copy = snug_arena_alloc(arena, len + 1, 1);
    if (copy)
        memcpy(copy, text, len);
    return copy;
}

char *snug_arena_printf(struct snug_arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = n < 0 ? NULL : snug_arena_alloc(arena, (size_t)n + 1, 1);
    if (text)
        vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    return text;
}

struct snug_arena_mark snug_arena_mark(const struct snug_arena *arena)
{
    return (struct snug_arena_mark){
        .block = arena->head,
        .used = arena->head ? arena->head->used : 0,
        .bytes_used = arena->bytes_used,
    };
}

void snug_arena_reset(struct snug_arena *arena, struct snug_arena_mark mark)
{
    while (arena->head != mark.block) {
        assert(arena->head); /* otherwise the mark is another arena's, or older than a reset */
        free_head(arena);
    }
    if (arena->head) {
        assert(mark.used <= arena->head->used);
        arena->head->used = mark.used;
        ASAN_POISON_MEMORY_REGION(arena->head->data + mark.used, arena->head->cap - mark.used);
    }
    arena->bytes_used = mark.bytes_used;
}

void snug_arena_clear(struct snug_arena *arena)
{
    while (arena->head)
        free_head(arena);
    arena->bytes_used = 0;
}
