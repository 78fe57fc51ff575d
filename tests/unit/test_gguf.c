/* The GGUF reader: what it keeps, what it refuses and where it says the fault is. */
#include "test.h"

#include <sys/stat.h>

#include "gguf_build.h"
#include "model/gguf_read.h"
#include "model/synth.h"

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

static snug_status open_built(const struct snug_buffer *b, struct snug_model *model,
                              struct snug_error *err)
{
    struct snug__source source;
    snug__source_memory("test.gguf", b->data, b->len, b->len, &source);
    return snug__model_open_source("test.gguf", &source, model, err);
}

/* ---- what is read ---- */

static void read_each_value_type_keeps_it(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_buffer b = {0};
    struct snug_arena arena = {0};
    struct snug__gguf gguf;
    build_head(&b, 0, 7);
    build_key(&b, "i8", 1);
    snug_buffer_append(&b, "\xfe", 1);
    build_key(&b, "u64", 10);
    build_u64(&b, UINT64_MAX);
    build_key(&b, "f32", 6);
    build_u32(&b, 0x3fc00000); /* 1.5 */
    build_key(&b, "f64", 12);
    build_u64(&b, 0xc004000000000000); /* -2.5 */
    build_key(&b, "bool", 7);
    snug_buffer_append(&b, "\1", 1);
    build_key_text(&b, "text", "hello");
    build_key_array(&b, "list", 3, 2); /* i16 */
    snug_buffer_append(&b, "\xff\xff\x02\x00", 4);
    assert_ok(read_with(&b, 0, &arena, &gguf, &err));
    assert_int_equal(snug__gguf_find(&gguf, "i8")->integer, -2);
    assert_int_equal(snug__gguf_find(&gguf, "u64")->integer, INT64_MAX);
    assert_true(snug__gguf_find(&gguf, "f32")->number == 1.5);
    assert_true(snug__gguf_find(&gguf, "f64")->number == -2.5);
    assert_int_equal(snug__gguf_find(&gguf, "bool")->integer, 1);
    assert_string_equal(snug__gguf_find(&gguf, "text")->text, "hello");
    assert_int_equal(snug__gguf_find(&gguf, "list")->items[0], -1);
    assert_int_equal(snug__gguf_find(&gguf, "list")->items[1], 2);
    assert_null(snug__gguf_find(&gguf, "lis"));
    assert_int_equal(gguf.n_header, b.len);
    snug_arena_clear(&arena);
    snug_buffer_clear(&b);
}

static void read_vocabulary_counts_but_keeps_nothing(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_buffer b = {0};
    struct snug_model model;
    enum { N_TOKENS = 100000 };
    build_head(&b, 0, 3);
    build_arch(&b);
    build_key_array(&b, "tokenizer.ggml.tokens", 8, N_TOKENS);
    for (int i = 0; i < N_TOKENS; i++)
        build_text(&b, "token");
    build_key_array(&b, "tokenizer.ggml.token_type", 5, N_TOKENS);
    for (int i = 0; i < N_TOKENS; i++)
        build_u32(&b, 1);
    assert_ok(open_built(&b, &model, &err));
    assert_int_equal(model.n_vocab, N_TOKENS);
    assert_true(((struct snug_arena *)model.owner)->bytes_used < 4096);
    snug_model_clear(&model);
    snug_buffer_clear(&b);
}

static void read_version_2_is_accepted(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_buffer b = {0};
    build_head(&b, 0, 0);
    b.data[4] = 2;
    assert_ok(read_once(&b, 0, &err));
    snug_buffer_clear(&b);
}

static void read_alignment_moves_the_data(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_buffer b = {0};
    struct snug_arena arena = {0};
    struct snug__gguf gguf;
    build_head(&b, 1, 1);
    build_key_u32(&b, "general.alignment", 4096);
    build_tensor(&b, "t", 4, 1, 0, 0);
    assert_ok(read_with(&b, 8192, &arena, &gguf, &err));
    assert_int_equal(gguf.data_offset, 4096);
    assert_fails(SNUG_BAD_INPUT, read_once(&b, 4096 + 15 - b.len, &err));
    assert_ok(read_once(&b, 4096 + 16 - b.len, &err));
    snug_arena_clear(&arena);
    snug_buffer_clear(&b);
}

static void open_per_layer_lists_gives_largest_and_sum(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_buffer b = {0};
    struct snug_model model;
    build_head(&b, 0, 6);
    build_arch(&b);
    build_key_u32(&b, "llama.block_count", 3);
    build_key_u32(&b, "llama.embedding_length", 64);
    build_key_u32(&b, "llama.attention.head_count", 4);
    build_key_array(&b, "llama.attention.head_count_kv", 4, 3);
    build_u32(&b, 4);
    build_u32(&b, 0);
    build_u32(&b, 2);
    build_key_array(&b, "llama.feed_forward_length", 5, 3);
    build_u32(&b, 96);
    build_u32(&b, 256);
    build_u32(&b, 128);
    assert_ok(open_built(&b, &model, &err));
    assert_int_equal(model.n_head_kv, 4);
    assert_int_equal(model.n_ff, 256);
    assert_int_equal(model.n_embd_head_k, 16);
    assert_int_equal(model.n_embd_k_all, (4 + 0 + 2) * 16);
    /* F16 is type 1, 2 bytes; keys and values */
    assert_int_equal(snug_model_cache_bytes(&model, 10, 1, 1), 10 * 6 * 16 * 2 * 2);
    snug_model_clear(&model);
    snug_buffer_clear(&b);
}

static void open_trained_models_gives_their_sizes(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_model model;
    const char *data = getenv("SNUG_TEST_DATA");
    const struct {
        const char *file;
        int64_t n_params, n_layer, n_vocab; /* the data folder's README */
    } rows[] = {
        {"stories260K-f32.gguf", 260032, 5, 512},
        {"babyllama361-f32.gguf", 969216, 5, 361},
        {"tales7m-f16.gguf", 6950144, 6, 4096},
        {"vocab/ggml-vocab-gpt-2.gguf", 0, 12, 50257},
        {"vocab/ggml-vocab-llama-spm.gguf", 0, 32, 32000},
        {"vocab/ggml-vocab-phi-3.gguf", 0, 32, 32064},
    };
    if (!data || access(data, R_OK) != 0) {
        print_message("# SNUG_TEST_DATA names no folder of test models\n");
        skip();
    }
    for (size_t i = 0; i < COUNT(rows); i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/gguf/%s", data, rows[i].file);
        assert_ok(snug_model_open(path, &model, &err));
        assert_int_equal(model.n_params, rows[i].n_params);
        assert_int_equal(model.n_layer, rows[i].n_layer);
        assert_int_equal(model.n_vocab, rows[i].n_vocab);
        assert_int_equal(strlen(model.hash), 64);
        assert_true(((struct snug_arena *)model.owner)->bytes_used < 64 << 10);
        snug_model_clear(&model);
    }
}

/* ---- what is refused ---- */

static void put_wrong_magic(struct snug_buffer *b)
{
    build_head(b, 0, 0);
    b->data[0] = 'X';
}
static void put_version_1(struct snug_buffer *b)
{
    build_head(b, 0, 0);
    b->data[4] = 1;
}
static void put_big_endian(struct snug_buffer *b)
{
    build_head(b, 0, 0);
    memcpy(b->data + 4, "\0\0\0\3", 4);
}
static void put_short_magic(struct snug_buffer *b)
{
    snug_buffer_append(b, "GG", 2);
}
static void put_short_counts(struct snug_buffer *b)
{
    build_head(b, 0, 0);
    b->len -= 1;
}
static void put_huge_tensor_count(struct snug_buffer *b)
{
    build_head(b, UINT64_MAX, 0);
}
static void put_huge_key_count(struct snug_buffer *b)
{
    build_head(b, 0, UINT64_C(1) << 63);
}
static void put_more_keys_than_bytes(struct snug_buffer *b)
{
    build_head(b, 0, 1000);
}
static void put_value_type_13(struct snug_buffer *b)
{
    build_head(b, 0, 1);
    build_key(b, "key", 13);
    build_u64(b, 0);
}
static void put_huge_string(struct snug_buffer *b)
{
    build_head(b, 0, 1);
    build_key(b, "key", 8);
    build_u64(b, UINT64_MAX);
}
static void put_string_past_end(struct snug_buffer *b)
{
    build_head(b, 0, 1);
    build_key(b, "key", 8);
    build_u64(b, 1000);
}
static void put_huge_array(struct snug_buffer *b)
{
    build_head(b, 0, 1);
    build_key_array(b, "key", 10, UINT64_MAX / 8);
}
static void put_array_past_end(struct snug_buffer *b)
{
    build_head(b, 0, 1);
    build_key_array(b, "key", 10, 1000);
}
static void put_array_of_arrays(struct snug_buffer *b)
{
    build_head(b, 0, 1);
    build_key_array(b, "key", 9, 1);
}
static void put_array_string_huge(struct snug_buffer *b)
{
    build_head(b, 0, 1);
    build_key_array(b, "key", 8, 2);
    build_text(b, "fine");
    build_u64(b, UINT64_MAX);
}
static void put_key_twice(struct snug_buffer *b)
{
    build_head(b, 0, 2);
    build_key_u32(b, "same.key", 1);
    build_key_u32(b, "same.key", 2);
}
static void put_key_with_zero_byte(struct snug_buffer *b)
{
    build_head(b, 0, 1);
    build_bytes(b, "a\0b", 3);
    build_u32(b, 7);
    snug_buffer_append(b, "\1", 1);
}
static void put_key_empty(struct snug_buffer *b)
{
    build_head(b, 0, 1);
    build_u64(b, 0);
    build_u64(b, 0);
}
static void put_alignment_3(struct snug_buffer *b)
{
    build_head(b, 0, 1);
    build_key_u32(b, "general.alignment", 3);
}
static void put_alignment_0(struct snug_buffer *b)
{
    build_head(b, 0, 1);
    build_key_u32(b, "general.alignment", 0);
}
static void put_alignment_text(struct snug_buffer *b)
{
    build_head(b, 0, 1);
    build_key_text(b, "general.alignment", "32");
}
static void put_no_dims(struct snug_buffer *b)
{
    build_head(b, 1, 0);
    build_text(b, "t");
    build_u32(b, 0);
    build_u64(b, 0);
}
static void put_5_dims(struct snug_buffer *b)
{
    build_head(b, 1, 0);
    build_text(b, "t");
    build_u32(b, 5);
    build_u64(b, 0);
}
static void put_dim_0(struct snug_buffer *b)
{
    build_head(b, 1, 0);
    build_tensor(b, "t", 32, 0, 0, 0);
}
static void put_dim_negative(struct snug_buffer *b)
{
    build_head(b, 1, 0);
    build_tensor(b, "t", UINT64_MAX, 1, 0, 0);
}
static void put_product_overflow(struct snug_buffer *b)
{
    build_head(b, 1, 0);
    build_tensor(b, "t", UINT64_C(1) << 62, 4, 0, 0);
}
static void put_bytes_overflow(struct snug_buffer *b)
{
    build_head(b, 1, 0);
    build_tensor(b, "t", UINT64_C(1) << 61, 2, 0, 0);
}
static void put_row_not_whole(struct snug_buffer *b)
{
    build_head(b, 1, 0);
    build_tensor(b, "t", 48, 4, 2, 0); /* Q4_0: blocks of 32 */
}
static void put_offset_odd(struct snug_buffer *b)
{
    build_head(b, 1, 0);
    build_tensor(b, "t", 4, 1, 0, 16);
    build_data(b, 64);
}
static void put_offset_huge(struct snug_buffer *b)
{
    build_head(b, 1, 0);
    build_tensor(b, "t", 4, 1, 0, UINT64_MAX - 31);
    build_data(b, 64);
}
static void put_data_short(struct snug_buffer *b)
{
    build_head(b, 1, 0);
    build_tensor(b, "t", 32, 1, 0, 0);
    build_data(b, 127);
}
static void put_overlap(struct snug_buffer *b)
{
    build_head(b, 2, 0);
    build_tensor(b, "second", 32, 1, 0, 96);
    build_tensor(b, "first", 32, 1, 0, 0); /* bytes 0 to 128 */
    build_data(b, 256);
}
static void put_tensor_twice(struct snug_buffer *b)
{
    build_head(b, 2, 0);
    build_tensor(b, "same", 8, 1, 0, 0);
    build_tensor(b, "same", 8, 1, 0, 32);
    build_data(b, 64);
}
static void put_arch_missing(struct snug_buffer *b)
{
    build_head(b, 0, 1);
    build_key_text(b, "general.name", "nobody");
}
static void put_arch_number(struct snug_buffer *b)
{
    build_head(b, 0, 1);
    build_key_u32(b, "general.architecture", 7);
}
static void put_layers_text(struct snug_buffer *b)
{
    build_head(b, 0, 2);
    build_arch(b);
    build_key_text(b, "llama.block_count", "many");
}
static void put_layers_huge(struct snug_buffer *b)
{
    build_head(b, 0, 2);
    build_arch(b);
    build_key_u32(b, "llama.block_count", UINT32_MAX);
}
static void put_split_of_other_name(struct snug_buffer *b)
{
    build_head(b, 0, 2);
    build_arch(b);
    build_key_u32(b, "split.count", 2);
}

static void open_hostile_bytes_name_place_and_fault(void **state)
{
    (void)state;
    const struct {
        void (*put)(struct snug_buffer *b);
        const char *text; /* part of the error text */
    } rows[] = {
        {put_wrong_magic, "byte 0: not a GGUF file"},
        {put_version_1, "byte 4: GGUF version 1; 2 and 3 are accepted"},
        {put_big_endian, "byte 4: a big-endian GGUF; little endian is expected"},
        {put_short_magic, "byte 0: magic needs 4 bytes, the file has 2 left"},
        {put_short_counts, "byte 16: key count needs 8 bytes, the file has 7 left"},
        {put_huge_tensor_count, "byte 8: 18446744073709551615 tensors; up to 65536"},
        {put_huge_key_count, "byte 16: 9223372036854775808 keys; up to 65536"},
        {put_more_keys_than_bytes, "0 tensors and 1000 keys do not fit the 0 bytes left"},
        {put_value_type_13, "byte 35: key has value type 13; 0 to 12 are accepted"},
        {put_huge_string, "byte 39: key is a string of 18446744073709551615 bytes; up to 67108864"},
        {put_string_past_end, "byte 47: key needs 1000 bytes, the file has 0 left: truncated?"},
        {put_huge_array, "byte 39: key is an array of 2305843009213693951 elements"},
        {put_array_past_end, "byte 51: key needs 8000 bytes, the file has 0 left"},
        {put_array_of_arrays, "byte 39: key is an array of type 9"},
        {put_array_string_huge, "byte 63: string 1 of key has 18446744073709551615 bytes"},
        {put_key_twice, "byte 48: key same.key is there twice"},
        {put_key_with_zero_byte, "byte 24: key holds a zero byte"},
        {put_key_empty, "byte 24: key of 0 bytes; 1 to 1024 are accepted"},
        {put_alignment_3, "byte 24: general.alignment is 3 (u32); a power of two"},
        {put_alignment_0, "byte 24: general.alignment is 0 (u32); a power of two"},
        {put_alignment_text, "(string); a power of two in u32 is expected"},
        {put_no_dims, "byte 33: tensor t has 0 dimensions; 1 to 4 are accepted"},
        {put_5_dims, "byte 33: tensor t has 5 dimensions"},
        {put_dim_0, "byte 45: dimension 1 of tensor t is 0; 1 or more"},
        {put_dim_negative, "byte 37: dimension 0 of tensor t is -1; 1 or more"},
        {put_product_overflow, "tensor t has more than 2^63 elements"},
        {put_bytes_overflow, "tensor t has more than 2^63 bytes"},
        {put_row_not_whole, "tensor t has rows of 48 elements; q4_0 needs a multiple of 32"},
        {put_offset_odd, "byte 57: tensor t is at offset 16 of the data; a multiple of 32"},
        {put_offset_huge, "tensor t takes bytes 18446744073709551584 to"},
        {put_data_short, "takes bytes 0 to 128 of the data, the file holds 127: truncated?"},
        {put_overlap, "tensors first and second overlap"},
        {put_tensor_twice, "tensor same is there twice"},
        {put_arch_missing, "no general.architecture in the metadata"},
        {put_arch_number, "no general.architecture in the metadata"},
        {put_layers_text, "llama.block_count is not an integer"},
        {put_layers_huge, "llama.block_count is 4294967295; 0 to 2147483648 are accepted"},
        {put_split_of_other_name, "its name must end in -00001-of-00002.gguf"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct snug_error err;
        struct snug_buffer b = {0};
        struct snug_model model = {.n_layer = -7};
        rows[i].put(&b);
        assert_fails(SNUG_BAD_INPUT, open_built(&b, &model, &err));
        assert_contains(err.text, rows[i].text);
        assert_contains(err.text, "test.gguf");
        assert_int_equal(model.n_layer, -7); /* outputs change only on success */
        snug_buffer_clear(&b);
    }
}

static void open_unknown_tensor_type_is_unsupported(void **state)
{
    (void)state;
    const uint32_t types[] = {4 /* dropped by ggml */, 31, 43, 1000, UINT32_MAX};
    for (size_t i = 0; i < COUNT(types); i++) {
        struct snug_error err;
        struct snug_buffer b = {0};
        build_head(&b, 1, 0);
        build_tensor(&b, "odd", 32, 1, types[i], 0);
        build_data(&b, 4096);
        assert_fails(SNUG_UNSUPPORTED, read_once(&b, 0, &err));
        assert_contains(err.text, "tensor odd has type");
        snug_buffer_clear(&b);
    }
}

static void open_folder_or_pipe_says_so(void **state)
{
    struct snug_error err;
    struct snug_model model;
    const char *path = test_path(state, "pipe");
    assert_fails(SNUG_BAD_INPUT, snug_model_open((const char *)*state, &model, &err));
    assert_contains(err.text, "is a folder without config.json; a GGUF file");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_fails(SNUG_BAD_INPUT, snug_model_open(path, &model, &err));
    assert_contains(err.text, "is a pipe or device");
    assert_fails(SNUG_NOT_FOUND, snug_model_open(test_path(state, "absent.gguf"), &model, &err));
}

/* ---- hash ---- */

static void hash_sees_header_and_data(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_buffer b = {0};
    struct snug_model model;
    char plain[65], changed[65];
    build_head(&b, 1, 1);
    build_arch(&b);
    build_tensor(&b, "t", 1024, 1024, 0, 0); /* 4 MiB: sampled, not read whole */
    build_data(&b, 4 << 20);
    assert_ok(open_built(&b, &model, &err));
    memcpy(plain, model.hash, sizeof plain);
    snug_model_clear(&model);
    /* last and first byte of the data, and one of "llama" in the header */
    size_t places[] = {b.len - 1, b.len - (4 << 20),
                       (size_t)((char *)memmem(b.data, 256, "llama", 5) - b.data)};
    for (size_t i = 0; i < COUNT(places); i++) {
        b.data[places[i]] ^= 1;
        assert_ok(open_built(&b, &model, &err));
        memcpy(changed, model.hash, sizeof changed);
        snug_model_clear(&model);
        b.data[places[i]] ^= 1;
        assert_string_not_equal(plain, changed);
    }
    snug_buffer_clear(&b);
}

int main(void)
{
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, test_folder_open, test_folder_close)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_each_value_type_keeps_it),
        cmocka_unit_test(read_vocabulary_counts_but_keeps_nothing),
        cmocka_unit_test(read_version_2_is_accepted),
        cmocka_unit_test(read_alignment_moves_the_data),
        cmocka_unit_test(open_per_layer_lists_gives_largest_and_sum),
        cmocka_unit_test(open_trained_models_gives_their_sizes),
        cmocka_unit_test(open_hostile_bytes_name_place_and_fault),
        cmocka_unit_test(open_unknown_tensor_type_is_unsupported),
        IN_FOLDER(open_folder_or_pipe_says_so),
        cmocka_unit_test(hash_sees_header_and_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
