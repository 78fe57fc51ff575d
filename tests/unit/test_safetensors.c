/* Headers of safetensors files: sound ones are read, each lie is refused with its place. */
#include "test.h"

#include <inttypes.h>

#include "base/buffer.h"
#include "model/safetensors.h"

/* Read JSON as a header before n_data bytes; a length of its own when said is not 0. */
static snug_status read_said(const char *json, uint64_t said, uint64_t n_data,
                             struct snug__st_set *set, struct snug_error *err)
{
    size_t n = strlen(json);
    uint8_t *bytes = malloc(8 + n);
    struct snug__source source;
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((said ? said : n) >> (8 * i));
    memcpy(bytes + 8, json, n);
    snug__source_memory("f.safetensors", bytes, 8 + n, 8 + n + n_data, &source);
    snug_status status = snug__st_read(&source, set, err);
    free(bytes);
    return status;
}

static void read_sound_header_gives_tensors_by_name(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_arena arena = {0};
    struct snug__st_set set = {.arena = &arena};
    assert_ok(
        read_said("{\"__metadata__\": {\"format\": \"pt\"},"
                  "\"b\": {\"dtype\": \"BF16\", \"shape\": [2, 3], \"data_offsets\": [4, 16]},"
                  "\"a\": {\"dtype\": \"F32\", \"shape\": [], \"data_offsets\": [0, 4]},"
                  "\"c\": {\"dtype\": \"I64\", \"shape\": [0], \"data_offsets\": [16, 16]}}  ",
                  0, 12 + 4, &set, &err));
    assert_ok(snug__st_sort(&set, &err));
    assert_int_equal(set.n, 3);
    const struct snug__st_tensor *b = snug__st_find(&set, "b");
    assert_non_null(b);
    assert_int_equal(b->n_dims, 2);
    assert_int_equal(b->shape[0], 2);
    assert_int_equal(b->shape[1], 3);
    assert_string_equal(b->dtype, "BF16");
    assert_string_equal(b->file, "f.safetensors");
    assert_int_equal(snug__st_find(&set, "c")->type, -1);
    assert_null(snug__st_find(&set, "d"));
    /* the same names in a second file */
    assert_ok(read_said("{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}",
                        0, 4, &set, &err));
    assert_fails(SNUG_BAD_INPUT, snug__st_sort(&set, &err));
    assert_contains(err.text, "tensor a is there twice");
    snug__st_clear(&set);
    snug_arena_clear(&arena);
}

static void read_lies_are_refused(void **state)
{
    (void)state;
#define ONE(dtype, shape, offsets)                                                                 \
    "{\"a\": {\"dtype\": \"" dtype "\", \"shape\": " shape ", \"data_offsets\": " offsets "}}"
    static const struct {
        const char *json, *words;
        uint64_t said, n_data;
    } rows[] = {
        {"{}", "9223372036854775808 bytes; up to 100000000", UINT64_C(1) << 63, 0},
        {"{}", "100000001 bytes; up to 100000000", 100000001, 0},
        {"{}", "100000000 bytes, the file has", 100000000, 0},
        {"{}", "truncated", 3, 0},
        {"{}", "take 0 bytes, the file holds 1", 0, 1},
        {"[]", "no JSON object", 0, 0},
        {"{\"a\": 1}", "a is no object", 0, 0},
        {"{\"\": {}}", "name of 0 bytes", 0, 0},
        {"{", "f.safetensors:1:", 0, 0},
        {ONE("F31", "[1]", "[0, 4]"), "dtype 'F31'", 0, 4},
        {ONE("F32", "1", "[0, 4]"), "shape is no list", 0, 4},
        {ONE("F32", "[1,1,1,1,1,1,1,1,1]", "[0, 4]"), "shape is no list of at most 8", 0, 4},
        {ONE("F32", "[-1]", "[0, 4]"), "dimension 0 of its shape is -1", 0, 4},
        {ONE("F32", "[1.5]", "[0, 4]"), "1.5", 0, 4},
        {ONE("F32", "[4611686018427387904, 4]", "[0, 0]"), "less than 2^63", 0, 4},
        {ONE("F32", "[2]", "[0, 4]"), "span 4 bytes, F32 of its shape takes 8", 0, 8},
        {ONE("F32", "[1]", "[0]"), "no two numbers", 0, 4},
        {ONE("F32", "[1]", "[4, 0]"), "no two numbers", 0, 4},
        {ONE("F32", "[1]", "[-4, 0]"), "no two numbers", 0, 4},
        {ONE("F32", "[1]", "[4, 8]"), "0, the end of the one before", 0, 8},
        {ONE("F32", "[2]", "[0, 8]"), "ends at byte 8", 0, 7},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]},"
         "\"b\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 8]}}",
         "tensor b begins at byte 4", 0, 8},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct snug_error err = {0};
        struct snug_arena arena = {0};
        struct snug__st_set set = {.arena = &arena};
        snug_status status = read_said(rows[i].json, rows[i].said, rows[i].n_data, &set, &err);
        if (status == SNUG_OK)
            fail_msg("row %zu is accepted: %s", i, rows[i].json);
        assert_contains(err.text, rows[i].words);
        assert_contains(err.text, "f.safetensors");
        snug__st_clear(&set);
        snug_arena_clear(&arena);
    }
    struct snug_error err = {0};
    struct snug_arena arena = {0};
    struct snug__st_set set = {.arena = &arena};
    struct snug__source source;
    snug__source_memory("f", "1234567", 7, 7, &source);
    assert_fails(SNUG_BAD_INPUT, snug__st_read(&source, &set, &err));
    assert_contains(err.text, "truncated");
}

/* A header of n empty tensors. */
static char *many_tensors(size_t n)
{
    struct snug_buffer b = {0};
    for (size_t i = 0; i < n; i++)
        snug_buffer_printf(&b, "%c\"%zx\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                           i ? ',' : '{', i);
    snug_buffer_puts(&b, "}");
    return snug_buffer_take(&b);
}

static void read_tensors_at_cap_pass_and_beyond_fail(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_arena arena = {0};
    struct snug__st_set set = {.arena = &arena};
    char *json = many_tensors(SNUG__ST_TENSORS_MAX);
    assert_ok(read_said(json, 0, 0, &set, &err));
    assert_int_equal(set.n, SNUG__ST_TENSORS_MAX);
    free(json);
    json = many_tensors(1);
    assert_fails(SNUG_BAD_INPUT, read_said(json, 0, 0, &set, &err));
    assert_contains(err.text, "262145 tensors");
    free(json);
    snug__st_clear(&set);
    snug_arena_clear(&arena);
}

static void read_name_at_cap_passes_and_beyond_fails(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_arena arena = {0};
    struct snug__st_set set = {.arena = &arena};
    for (int n = SNUG__ST_NAME_MAX; n <= SNUG__ST_NAME_MAX + 1; n++) {
        char name[SNUG__ST_NAME_MAX + 2], json[512];
        memset(name, 'x', sizeof name);
        name[n] = '\0';
        snprintf(json, sizeof json,
                 "{\"%s\": {\"dtype\": \"U8\", \"shape\": [1], \"data_offsets\": [0, 1]}}", name);
        if (n == SNUG__ST_NAME_MAX)
            assert_ok(read_said(json, 0, 1, &set, &err));
        else
            assert_fails(SNUG_BAD_INPUT, read_said(json, 0, 1, &set, &err));
    }
    snug__st_clear(&set);
    snug_arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_sound_header_gives_tensors_by_name),
        cmocka_unit_test(read_lies_are_refused),
        cmocka_unit_test(read_tensors_at_cap_pass_and_beyond_fail),
        cmocka_unit_test(read_name_at_cap_passes_and_beyond_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
