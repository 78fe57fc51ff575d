/* Caps of the GGUF reader, each at its value and one beyond, and split models. */
#include "test.h"

#include <sys/mman.h>

#include "gguf_build.h"
#include "model/gguf_read.h"

/* Read the bytes built so far, followed by n_zeros that cost no memory. */
static snug_status read_with(const struct snug_buffer *b, uint64_t n_zeros,
                             struct snug_arena *arena, struct snug__gguf *gguf,
                             struct snug_error *err)
{
    struct snug__source source;
    snug__source_memory("test.gguf", b->data, b->len, b->len + n_zeros, &source);
    return snug__gguf_read(&source, arena, gguf, err);
}

static snug_status read_once(const struct snug_buffer *b, uint64_t n_zeros, struct snug_error *err)
{
    struct snug_arena arena = {0};
    struct snug__gguf gguf;
    snug_status status = read_with(b, n_zeros, &arena, &gguf, err);
    snug_arena_clear(&arena);
    return status;
}

/* ---- caps ---- */

static void check_text_caps(const char *what, uint64_t cap, bool is_tensor)
{
    for (uint64_t n = cap; n <= cap + 1; n++) {
        struct snug_error err;
        struct snug_buffer b = {0};
        char name[SNUG_GGUF_KEY_MAX + 2];
        memset(name, 'n', sizeof name);
        name[n] = '\0';
        build_head(&b, is_tensor, !is_tensor);
        if (is_tensor)
            build_tensor(&b, name, 1, 1, 0, 0);
        else
            build_key_u32(&b, name, 1);
        build_data(&b, 32);
        if (n == cap) {
            assert_ok(read_once(&b, 0, &err));
        } else {
            assert_fails(SNUG_BAD_INPUT, read_once(&b, 0, &err));
            assert_contains(err.text, what);
        }
        snug_buffer_clear(&b);
    }
}

static void read_names_at_cap_pass_and_beyond_fail(void **state)
{
    (void)state;
    check_text_caps("key of 1025 bytes; 1 to 1024 are accepted", SNUG_GGUF_KEY_MAX, false);
    check_text_caps("tensor name of 64 bytes; 1 to 63 are accepted", SNUG_GGUF_TENSOR_NAME_MAX,
                    true);
}

static void read_keys_at_cap_pass_and_beyond_fail(void **state)
{
    (void)state;
    for (uint64_t n = SNUG_GGUF_KEYS_MAX; n <= SNUG_GGUF_KEYS_MAX + 1; n++) {
        struct snug_error err;
        struct snug_buffer b = {0};
        build_head(&b, 0, n);
        for (uint64_t i = 0; i < n; i++) {
            char key[16];
            snprintf(key, sizeof key, "k%06d", (int)i);
            build_key_u32(&b, key, 0);
        }
        if (n == SNUG_GGUF_KEYS_MAX)
            assert_ok(read_once(&b, 0, &err));
        else
            assert_fails(SNUG_BAD_INPUT, read_once(&b, 0, &err));
        snug_buffer_clear(&b);
    }
}

static void read_tensors_at_cap_pass_and_beyond_fail(void **state)
{
    (void)state;
    for (uint64_t n = SNUG_GGUF_TENSORS_MAX; n <= SNUG_GGUF_TENSORS_MAX + 1; n++) {
        struct snug_error err;
        struct snug_buffer b = {0};
        build_head(&b, n, 0);
        for (uint64_t i = 0; i < n; i++) {
            char name[16];
            snprintf(name, sizeof name, "t%06d", (int)i);
            build_tensor(&b, name, 8, 1, 0, 32 * i);
        }
        build_data(&b, 0);
        if (n == SNUG_GGUF_TENSORS_MAX)
            assert_ok(read_once(&b, 32 * n, &err));
        else
            assert_fails(SNUG_BAD_INPUT, read_once(&b, 32 * n, &err));
        snug_buffer_clear(&b);
    }
}

static void read_string_at_cap_passes_and_beyond_fails(void **state)
{
    (void)state;
    for (uint64_t n = SNUG_GGUF_STRING_MAX; n <= SNUG_GGUF_STRING_MAX + UINT64_C(1); n++) {
        for (int is_array = 0; is_array < 2; is_array++) {
            struct snug_error err;
            struct snug_buffer b = {0};
            build_head(&b, 0, 1);
            if (is_array)
                build_key_array(&b, "key", 8, 1);
            else
                build_key(&b, "key", 8);
            build_u64(&b, n);
            if (n == SNUG_GGUF_STRING_MAX)
                assert_ok(read_once(&b, n, &err));
            else
                assert_fails(SNUG_BAD_INPUT, read_once(&b, n, &err));
            snug_buffer_clear(&b);
        }
    }
}

static void read_array_at_cap_passes_and_beyond_fails(void **state)
{
    (void)state;
    for (uint64_t n = SNUG_GGUF_ARRAY_MAX; n <= SNUG_GGUF_ARRAY_MAX + UINT64_C(1); n++) {
        struct snug_error err;
        struct snug_buffer b = {0};
        build_head(&b, 0, 1);
        build_key_array(&b, "key", 0, n);
        if (n == SNUG_GGUF_ARRAY_MAX)
            assert_ok(read_once(&b, n, &err));
        else
            assert_fails(SNUG_BAD_INPUT, read_once(&b, n, &err));
        snug_buffer_clear(&b);
    }
}

static void read_lists_beyond_kept_are_skipped(void **state)
{
    (void)state;
    struct snug_error err;
    for (uint64_t n = SNUG__ITEMS_KEPT_MAX; n <= SNUG__ITEMS_KEPT_MAX + 1; n++) {
        struct snug_buffer b = {0};
        struct snug_arena arena = {0};
        struct snug__gguf gguf;
        build_head(&b, 0, 1);
        build_key_array(&b, "llama.list", 0, n);
        assert_ok(read_with(&b, n, &arena, &gguf, &err));
        assert_int_equal(snug__gguf_find(&gguf, "llama.list")->items != NULL,
                         n == SNUG__ITEMS_KEPT_MAX);
        assert_int_equal(snug__gguf_find(&gguf, "llama.list")->n, n);
        snug_arena_clear(&arena);
        snug_buffer_clear(&b);
    }
}

/* A header of 1 GiB whose pages are not there but for the few that hold the 16 keys. */
static void read_header_at_cap_passes_and_beyond_fails(void **state)
{
    (void)state;
    enum { N_KEYS = 16, KEY_BYTES = 8 + 3 + 4 + 8 };
    size_t cap = SNUG_GGUF_HEADER_MAX, size = cap + 1;
    uint8_t *data = mmap(NULL, size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(data != MAP_FAILED);
    for (uint64_t extra = 0; extra < 2; extra++) {
        struct snug_error err;
        struct snug_arena arena = {0};
        struct snug__gguf gguf;
        struct snug__source source;
        size_t at = 0;
        for (int i = 0; i < N_KEYS; i++) {
            struct snug_buffer b = {0};
            uint64_t n = SNUG_GGUF_STRING_MAX;
            if (i == 0)
                build_head(&b, 0, N_KEYS);
            else if (i == N_KEYS - 1)
                n = cap - at - KEY_BYTES + extra;
            build_text(&b, (char[]){'k', 'a', (char)('a' + i), 0});
            build_u32(&b, 8);
            build_u64(&b, n);
            memcpy(data + at, b.data, b.len);
            at += b.len + n;
            snug_buffer_clear(&b);
        }
        assert_int_equal(at, cap + extra);
        snug__source_memory("large", data, size, size, &source);
        snug_status status = snug__gguf_read(&source, &arena, &gguf, &err);
        assert_int_equal(status, extra ? SNUG_BAD_INPUT : SNUG_OK);
        if (extra)
            assert_contains(err.text, "the header passes 1073741824 bytes");
        snug_arena_clear(&arena);
    }
    munmap(data, size);
}

/* ---- split models ---- */

/* Part i of n of a model of one tensor per part. */
static void save_part(void **state, int i, int n, const char *tensor, int n_tensors_said)
{
    struct snug_buffer b = {0};
    char name[64];
    build_head(&b, 1, i == 0 ? 5 : 3);
    if (i == 0) {
        build_arch(&b);
        build_key_u32(&b, "llama.block_count", 3);
    }
    build_key_u32(&b, "split.no", (uint32_t)i);
    build_key_u32(&b, "split.count", (uint32_t)n);
    build_key_u32(&b, "split.tensors.count", (uint32_t)n_tensors_said);
    build_tensor(&b, tensor, 8, 1, 0, 0);
    build_data(&b, 32);
    snprintf(name, sizeof name, "m-%05d-of-%05d.gguf", i + 1, n);
    build_save(&b, test_path(state, name));
    snug_buffer_clear(&b);
}

static void open_split_by_any_part_gives_the_whole(void **state)
{
    struct snug_error err;
    struct snug_model a, b;
    save_part(state, 0, 3, "one", 3);
    save_part(state, 1, 3, "two", 3);
    save_part(state, 2, 3, "three", 3);
    assert_ok(snug_model_open(test_path(state, "m-00001-of-00003.gguf"), &a, &err));
    assert_ok(snug_model_open(test_path(state, "m-00003-of-00003.gguf"), &b, &err));
    assert_int_equal(a.n_splits, 3);
    assert_int_equal(a.n_tensors, 3);
    assert_int_equal(a.n_params, 24);
    assert_int_equal(a.tensors[2].split, 2);
    assert_string_equal(a.tensors[2].name, "three");
    assert_int_equal(b.n_layer, 3); /* which only part 1 knows */
    assert_string_equal(a.hash, b.hash);
    assert_string_equal(a.path, b.path);
    assert_int_equal(a.bytes_file, b.bytes_file);
    snug_model_clear(&a);
    snug_model_clear(&b);
}

static void open_split_with_a_fault_names_the_part(void **state)
{
    struct snug_error err;
    struct snug_model model;
    const char *first = "m-00001-of-00003.gguf";
    save_part(state, 0, 3, "one", 3);
    save_part(state, 1, 3, "one", 3);
    assert_fails(SNUG_NOT_FOUND, snug_model_open(test_path(state, first), &model, &err));
    assert_contains(err.text, "part 3 of 3");
    save_part(state, 2, 3, "three", 3);
    assert_fails(SNUG_BAD_INPUT, snug_model_open(test_path(state, first), &model, &err));
    assert_contains(err.text, "tensor one is in two parts");
    save_part(state, 0, 3, "zero", 4);
    assert_fails(SNUG_BAD_INPUT, snug_model_open(test_path(state, first), &model, &err));
    assert_contains(err.text, "3 tensors in 3 parts, split.tensors.count says 4");
    assert_int_equal(rename(test_path(state, "m-00002-of-00003.gguf"),
                            test_path(state, "m-00003-of-00003.gguf")),
                     0);
    save_part(state, 1, 3, "two", 3);
    assert_fails(SNUG_BAD_INPUT, snug_model_open(test_path(state, first), &model, &err));
    assert_contains(err.text, "says that it is part 2 of 3");
}

static void open_splits_at_cap_pass_and_beyond_fail(void **state)
{
    struct snug_error err;
    struct snug_model model;
    for (int i = 0; i < SNUG_GGUF_SPLITS_MAX; i++) {
        char tensor[16];
        snprintf(tensor, sizeof tensor, "t%d", i);
        save_part(state, i, SNUG_GGUF_SPLITS_MAX, tensor, SNUG_GGUF_SPLITS_MAX);
    }
    assert_ok(snug_model_open(test_path(state, "m-00001-of-01024.gguf"), &model, &err));
    assert_int_equal(model.n_tensors, SNUG_GGUF_SPLITS_MAX);
    snug_model_clear(&model);
    save_part(state, 0, SNUG_GGUF_SPLITS_MAX + 1, "t", 1);
    assert_fails(SNUG_BAD_INPUT,
                 snug_model_open(test_path(state, "m-00001-of-01025.gguf"), &model, &err));
    assert_contains(err.text, "split.count is 1025; 0 to 1024 are accepted");
}

int main(void)
{
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, test_folder_open, test_folder_close)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_names_at_cap_pass_and_beyond_fail),
        cmocka_unit_test(read_keys_at_cap_pass_and_beyond_fail),
        cmocka_unit_test(read_tensors_at_cap_pass_and_beyond_fail),
        cmocka_unit_test(read_string_at_cap_passes_and_beyond_fails),
        cmocka_unit_test(read_array_at_cap_passes_and_beyond_fails),
        cmocka_unit_test(read_lists_beyond_kept_are_skipped),
        cmocka_unit_test(read_header_at_cap_passes_and_beyond_fails),
        IN_FOLDER(open_split_by_any_part_gives_the_whole),
        IN_FOLDER(open_split_with_a_fault_names_the_part),
        IN_FOLDER(open_splits_at_cap_pass_and_beyond_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
