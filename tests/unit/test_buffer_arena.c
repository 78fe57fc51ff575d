/* The two ways memory grows here: buffers and arenas. */
#include "test.h"

#include <stdalign.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "fault.h"
#include "snug/stats.h"

static void buffer_zero_state_is_empty_text(void **state)
{
    (void)state;
    struct snug_buffer buf = {0};
    assert_string_equal(snug_buffer_text(&buf), "");
    snug_buffer_clear(&buf);
    snug_buffer_append(&buf, NULL, 0);
    snug_buffer_consume(&buf, 0);
    assert_null(buf.data);
}

static void buffer_appends_follow_one_another(void **state)
{
    (void)state;
    struct snug_buffer buf = {0};
    snug_buffer_puts(&buf, "n=");
    snug_buffer_printf(&buf, "%d, %s", 42, "ok");
    snug_buffer_append(&buf, "\0z", 2);
    assert_int_equal(buf.len, 10);
    assert_memory_equal(buf.data, "n=42, ok\0z", 11); /* and the NUL */
    assert_false(buf.is_failed);
    snug_buffer_clear(&buf);
    assert_int_equal(buf.cap, 0);
}

static void buffer_random_edits_match_a_model(void **state)
{
    (void)state;
    uint64_t seed = 31;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    struct snug_buffer buf = {0};
    char *model = calloc(1, 1 << 20);
    size_t n_model = 0;
    assert_non_null(model);
    for (int i = 0; i < 3000; i++) {
        char piece[300];
        size_t n = snug_rng_below(&rng, sizeof piece);
        memset(piece, (int)('a' + i % 26), n);
        if (snug_rng_below(&rng, 3) == 0) {
            n = snug_rng_below(&rng, n_model + 1);
            snug_buffer_consume(&buf, n);
            memmove(model, model + n, n_model -= n);
        } else {
            snug_buffer_append(&buf, piece, n);
            memcpy(model + n_model, piece, n);
            n_model += n;
        }
        assert_int_equal(buf.len, n_model);
        assert_memory_equal(snug_buffer_text(&buf), model, n_model);
        assert_int_equal(snug_buffer_text(&buf)[n_model], 0);
    }
    free(model);
    snug_buffer_clear(&buf);
}

static void buffer_take_hands_over_and_empties(void **state)
{
    (void)state;
    struct snug_buffer buf = {0};
    char *text = snug_buffer_take(&buf);
    assert_string_equal(text, ""); /* empty is text too, not a failure */
    free(text);
    snug_buffer_puts(&buf, "abc");
    snug_buffer_consume(&buf, 1);
    text = snug_buffer_take(&buf);
    assert_string_equal(text, "bc");
    assert_null(buf.data);
    assert_int_equal(buf.len, 0);
    free(text);
}

static void buffer_impossible_size_fails_and_stays_failed(void **state)
{
    (void)state;
    struct snug_buffer buf = {0};
    snug_buffer_puts(&buf, "kept");
    snug_buffer_append(&buf, "x", SIZE_MAX - 2);
    assert_true(buf.is_failed);
    snug_buffer_puts(&buf, "more");
    assert_string_equal(snug_buffer_text(&buf), "kept");
    assert_null(snug_buffer_take(&buf));
    assert_false(buf.is_failed); /* empty again */
}

static void buffer_without_memory_reports_at_the_end(void **state)
{
    (void)state;
    long n = 0;
    for (;; n++) {
        struct snug_buffer buf = {0};
        fault_begin(n);
        for (int i = 0; i < 100; i++)
            snug_buffer_printf(&buf, "line %d\n", i);
        bool is_hit = fault_end();
        bool is_failed = buf.is_failed;
        char *text = snug_buffer_take(&buf);
        assert_true(is_failed == is_hit);
        assert_true((text == NULL) == is_hit);
        free(text);
        if (!is_hit)
            break;
    }
    assert_true(n >= 2);
}

static void arena_memory_is_zeroed_and_aligned(void **state)
{
    (void)state;
    struct snug_arena arena = {0};
    for (size_t n = 0; n < 300; n++) {
        unsigned char *data = snug_arena_alloc(&arena, n, 1);
        assert_non_null(data);
        assert_int_equal((uintptr_t)data % alignof(max_align_t), 0);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(data[i], 0);
            data[i] = 0xff;
        }
    }
    assert_int_equal(arena.bytes_used, 299 * 300 / 2);
    snug_arena_clear(&arena);
    assert_int_equal(arena.bytes_used, 0);
}

static void arena_empty_allocations_are_distinct(void **state)
{
    (void)state;
    struct snug_arena arena = {0};
    void *a = snug_arena_alloc(&arena, 0, 8);
    void *b = snug_arena_alloc(&arena, 8, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    snug_arena_clear(&arena);
}

static void arena_large_allocation_gets_its_own_block(void **state)
{
    (void)state;
    struct snug_arena arena = {0};
    char *small = snug_arena_strdup(&arena, "small");
    char *large = snug_arena_alloc(&arena, 5, 1 << 20);
    assert_non_null(large);
    memset(large, 1, 5 << 20);
    char *after = snug_arena_strdup(&arena, "after");
    assert_string_equal(small, "small");
    assert_string_equal(after, "after");
    snug_arena_clear(&arena);
}

static void arena_overflowing_size_is_refused(void **state)
{
    (void)state;
    struct snug_arena arena = {0};
    assert_null(snug_arena_alloc(&arena, SIZE_MAX / 2, 3));
    assert_null(snug_arena_alloc(&arena, SIZE_MAX, 1));
    assert_null(snug_arena_alloc(&arena, (size_t)1 << 32, (size_t)1 << 32));
    assert_int_equal(arena.bytes_used, 0);
    snug_arena_clear(&arena);
}

static void arena_texts_are_copies(void **state)
{
    (void)state;
    struct snug_arena arena = {0};
    char source[] = "token_embd.weight";
    char *whole = snug_arena_strdup(&arena, source);
    char *part = snug_arena_strndup(&arena, source, 5);
    char *beyond = snug_arena_strndup(&arena, source, 999);
    char *made = snug_arena_printf(&arena, "blk.%d.%s", 31, source);
    source[0] = 'X';
    assert_string_equal(whole, "token_embd.weight");
    assert_string_equal(part, "token");
    assert_string_equal(beyond, "token_embd.weight");
    assert_string_equal(made, "blk.31.token_embd.weight");
    snug_arena_clear(&arena);
}

static void arena_reset_frees_only_what_is_newer(void **state)
{
    (void)state;
    struct snug_arena arena = {0};
    struct snug_arena_mark empty = snug_arena_mark(&arena);
    char *old = snug_arena_strdup(&arena, "old");
    struct snug_arena_mark mark = snug_arena_mark(&arena);
    unsigned char *first = snug_arena_alloc(&arena, 100, 1);
    snug_arena_reset(&arena, mark);
    for (int round = 0; round < 3; round++) {
        unsigned char *again = snug_arena_alloc(&arena, 100, 1);
        assert_ptr_equal(again, first);
        for (int i = 0; i < 100; i++)
            assert_int_equal(again[i], 0); /* reused memory is zeroed anew */
        memset(again, 0xff, 100);
        for (int i = 0; i < 50; i++) /* several blocks */
            assert_non_null(snug_arena_alloc(&arena, 1000, 1));
        snug_arena_reset(&arena, mark);
        assert_string_equal(old, "old");
        assert_int_equal(arena.bytes_used, 4);
    }
    snug_arena_reset(&arena, empty);
    assert_null(arena.head);
    assert_int_equal(arena.bytes_used, 0);
    snug_arena_clear(&arena);
}

/* What mark and reset nest into, with every live byte checked: allocations never overlap. */
static void arena_random_nesting_keeps_contents(void **state)
{
    (void)state;
    enum { DEPTH = 6, N_MAX = 400 };
    uint64_t seed = 77;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    struct snug_arena arena = {0};
    struct snug_arena_mark marks[DEPTH];
    int n_at[DEPTH], depth = 0, n = 0;
    static struct {
        unsigned char *data;
        size_t size;
    } live[N_MAX];
    for (int step = 0; step < 20000; step++) {
        uint64_t action = snug_rng_below(&rng, 20);
        if (action == 0 && depth < DEPTH) {
            marks[depth] = snug_arena_mark(&arena);
            n_at[depth++] = n;
        } else if ((action == 1 || n == N_MAX) && depth > 0) {
            snug_arena_reset(&arena, marks[--depth]);
            n = n_at[depth];
        } else if (n < N_MAX) {
            live[n].size = snug_rng_below(&rng, snug_rng_below(&rng, 10) ? 200 : 9000);
            live[n].data = snug_arena_alloc(&arena, live[n].size, 1);
            assert_non_null(live[n].data);
            memset(live[n].data, n % 251, live[n].size);
            n++;
        } else {
            snug_arena_clear(&arena);
            n = depth = 0;
        }
        if (step % 64 == 0) {
            for (int i = 0; i < n; i++)
                for (size_t k = 0; k < live[i].size; k++)
                    assert_true(live[i].data[k] == i % 251);
        }
    }
    snug_arena_clear(&arena);
}

static void arena_without_memory_returns_null(void **state)
{
    (void)state;
    long n = 0;
    for (;; n++) {
        struct snug_arena arena = {0};
        int n_null = 0;
        fault_begin(n);
        for (int i = 0; i < 40; i++)
            n_null += snug_arena_printf(&arena, "%0500d", i) == NULL;
        bool is_hit = fault_end();
        assert_int_equal(n_null, is_hit); /* the next one asks again and gets its block */
        snug_arena_clear(&arena);
        if (!is_hit)
            break;
    }
    assert_true(n >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffer_zero_state_is_empty_text),
        cmocka_unit_test(buffer_appends_follow_one_another),
        cmocka_unit_test(buffer_random_edits_match_a_model),
        cmocka_unit_test(buffer_take_hands_over_and_empties),
        cmocka_unit_test(buffer_impossible_size_fails_and_stays_failed),
        cmocka_unit_test(buffer_without_memory_reports_at_the_end),
        cmocka_unit_test(arena_memory_is_zeroed_and_aligned),
        cmocka_unit_test(arena_empty_allocations_are_distinct),
        cmocka_unit_test(arena_large_allocation_gets_its_own_block),
        cmocka_unit_test(arena_overflowing_size_is_refused),
        cmocka_unit_test(arena_texts_are_copies),
        cmocka_unit_test(arena_reset_frees_only_what_is_newer),
        cmocka_unit_test(arena_random_nesting_keeps_contents),
        cmocka_unit_test(arena_without_memory_returns_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
