/* SHA-256 against the vectors of FIPS 180-4 (NIST's examples) and against its own streaming. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"

static void hash_known_messages_match_the_standard(void **state)
{
    (void)state;
    static const struct {
        const char *message, *hex;
    } rows[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    char hex[SNUG_SHA256_HEX_MAX];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_string_equal(snug_sha256_hex(rows[i].message, strlen(rows[i].message), hex),
                            rows[i].hex);
}

static void hash_million_letters_match_the_standard(void **state)
{
    (void)state;
    char piece[1000], hex[SNUG_SHA256_HEX_MAX];
    struct snug_sha256 hash;
    memset(piece, 'a', sizeof piece);
    snug_sha256_init(&hash);
    for (int i = 0; i < 1000; i++)
        snug_sha256_update(&hash, piece, sizeof piece);
    assert_string_equal(snug_sha256_final_hex(&hash, hex),
                        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* Every length around the block and padding borders, cut at every place, equals one piece. */
static void hash_pieces_of_any_size_equal_one_piece(void **state)
{
    (void)state;
    uint8_t data[130];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 37 + 11);
    for (size_t n = 0; n <= sizeof data; n++) {
        char whole[SNUG_SHA256_HEX_MAX], cut_hex[SNUG_SHA256_HEX_MAX];
        snug_sha256_hex(data, n, whole);
        for (size_t cut = 0; cut <= n; cut++) {
            struct snug_sha256 hash;
            snug_sha256_init(&hash);
            snug_sha256_update(&hash, data, cut);
            snug_sha256_update(&hash, data + cut, n - cut);
            assert_string_equal(snug_sha256_final_hex(&hash, cut_hex), whole);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_known_messages_match_the_standard),
        cmocka_unit_test(hash_million_letters_match_the_standard),
        cmocka_unit_test(hash_pieces_of_any_size_equal_one_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
