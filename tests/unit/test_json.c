/* JSON in and out. */
#include "test.h"

#include <math.h>

#include "base/buffer.h"
#include "base/json.h"
#include "fault.h"
#include "snug/stats.h"

static struct snug_json *parse(const char *text)
{
    struct snug_error err;
    struct snug_json *doc = NULL;
    assert_ok(snug_json_parse("test", text, strlen(text), &doc, &err));
    return doc;
}

static void parse_known_document_gives_its_values(void **state)
{
    (void)state;
    struct snug_json *doc =
        parse("{\"tps\": 54.25, \"n\": -3, \"ok\": true, \"name\": \"q4_0\\n\\u20ac\","
              "\"list\": [1, \"two\", null], \"none\": null}");
    const struct snug_json_node *root = snug_json_root(doc);
    const struct snug_json_node *list = snug_json_get(root, "list");
    assert_true(snug_json_is_object(root) && snug_json_is_array(list));
    assert_int_equal(snug_json_count(root), 6);
    assert_int_equal(snug_json_count(list), 3);
    assert_true(snug_json_get_number(root, "tps", 0) == 54.25);
    assert_int_equal(snug_json_get_int(root, "n", 0), -3);
    assert_true(snug_json_get_bool(root, "ok", false));
    assert_string_equal(snug_json_get_string(root, "name", ""), "q4_0\n\xe2\x82\xac");
    assert_int_equal(snug_json_int(snug_json_at(list, 0), 0), 1);
    assert_string_equal(snug_json_string(snug_json_at(list, 1), ""), "two");
    assert_true(snug_json_is_string(snug_json_at(list, 1)));
    assert_true(snug_json_is_number(snug_json_get(root, "tps")));
    snug_json_free(doc);
}

static void getters_of_missing_or_wrong_values_fall_back(void **state)
{
    (void)state;
    struct snug_json *doc = parse("{\"s\": \"1\", \"n\": 1.5, \"a\": [], \"null\": null}");
    const struct snug_json_node *root = snug_json_root(doc);
    assert_null(snug_json_get(root, "absent"));
    assert_null(snug_json_get(snug_json_get(root, "a"), "x"));
    assert_null(snug_json_at(root, 0));
    assert_null(snug_json_at(snug_json_get(root, "a"), 0));
    assert_true(snug_json_get_number(root, "s", -1) == -1);
    assert_int_equal(snug_json_get_int(root, "n", -1), -1); /* 1.5 is no whole number */
    assert_true(snug_json_get_bool(root, "n", true));
    assert_null(snug_json_get_string(root, "n", NULL));
    assert_string_equal(snug_json_get_string(root, "null", "f"), "f");
    assert_int_equal(snug_json_count(snug_json_get(root, "s")), 0);
    assert_null(snug_json_root(NULL));
    assert_null(snug_json_get(NULL, "x"));
    assert_null(snug_json_at(NULL, 0));
    assert_int_equal(snug_json_count(NULL), 0);
    assert_int_equal(snug_json_int(NULL, 9), 9);
    assert_false(snug_json_is_number(NULL) || snug_json_is_object(NULL));
    snug_json_free(doc);
    snug_json_free(NULL);
}

static void int_getter_accepts_whole_numbers_in_range(void **state)
{
    (void)state;
    struct snug_json *doc = parse("[9223372036854775807, -9223372036854775808, 9223372036854775808,"
                                  "1e3, 5.0, 1e300, 1e19, -0.0, 123456789012345678901234567890]");
    static const int64_t WANT[] = {INT64_MAX, INT64_MIN, 7, 1000, 5, 7, 7, 0, 7};
    const struct snug_json_node *root = snug_json_root(doc);
    for (size_t i = 0; i < COUNT(WANT); i++)
        assert_true(snug_json_int(snug_json_at(root, i), 7) == WANT[i]);
    snug_json_free(doc);
}

static void member_walks_an_object_in_order(void **state)
{
    (void)state;
    struct snug_json *doc = parse("{\"b\": 2, \"a\": 1}");
    const struct snug_json_node *root = snug_json_root(doc), *value = NULL;
    const char *key = NULL;
    assert_true(snug_json_member(root, 0, &key, &value));
    assert_string_equal(key, "b");
    assert_true(snug_json_member(root, 1, &key, &value));
    assert_string_equal(key, "a");
    assert_int_equal(snug_json_int(value, 0), 1);
    assert_false(snug_json_member(root, 2, &key, &value));
    assert_false(snug_json_member(value, 0, &key, &value));
    assert_false(snug_json_member(NULL, 0, &key, &value));
    assert_string_equal(key, "a"); /* unchanged */
    snug_json_free(doc);
}

static void parse_bad_text_names_line_and_column(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } ROWS[] = {
        {"", "f:1:1: "},           {"{\"a\": 1,\n \"b\": x}", "f:2:7: "},
        {"[1, 2", "f:1:6: "},      {"[1] []", "f:1:5: "},
        {"[1e999]", "f:1:2: "},    {"[nan]", "f:1:2: "},
        {"['a']", "f:1:2: "},      {"[1,]", "f:1:3: "},
        {"[\"\xff\"]", "f:1:3: "}, {"\n\n[\"\\ud800\"]", "f:3:"},
    };
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        struct snug_error err;
        struct snug_json *doc = NULL;
        assert_fails(SNUG_BAD_INPUT,
                     snug_json_parse("f", ROWS[i].text, strlen(ROWS[i].text), &doc, &err));
        assert_null(doc);
        if (strncmp(err.text, ROWS[i].want, strlen(ROWS[i].want)) != 0)
            fail_msg("'%s' gives '%s', not '%s'", ROWS[i].text, err.text, ROWS[i].want);
    }
}

/* depth times '[', then as many ']'. */
static char *brackets(int depth)
{
    char *text = calloc(1, 2 * (size_t)depth + 1);
    assert_non_null(text);
    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
    return text;
}

static void parse_depth_is_capped(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_json *doc = NULL;
    char *text = brackets(SNUG_JSON_DEPTH_MAX);
    snug_json_free(parse(text));
    free(text);
    text = brackets(SNUG_JSON_DEPTH_MAX + 1);
    assert_fails(SNUG_BAD_INPUT, snug_json_parse("f", text, strlen(text), &doc, &err));
    assert_string_equal(err.text, "f:1:33: nested too deep: at most 32 levels");
    free(text);
    text = brackets(1000000);
    assert_fails(SNUG_BAD_INPUT, snug_json_parse("f", text, strlen(text), &doc, &err));
    free(text);
}

static void parse_brackets_in_strings_are_not_depth(void **state)
{
    (void)state;
    snug_json_free(parse(
        "[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\", \"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
        "[[[[[[[\\\\\", []]"));
    snug_json_free(parse("[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],"
                         "[],[],[],[],[],[],[],[],[],[],[],[]]"));
}

static void parse_text_without_nul_stops_at_n(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_json *doc = NULL;
    char *text = malloc(3); /* exactly: ASan sees a byte too many */
    assert_non_null(text);
    memcpy(text, "[1]", 3);
    assert_ok(snug_json_parse("f", text, 3, &doc, &err));
    snug_json_free(doc);
    memcpy(text, "[\"\\", 3);
    assert_fails(SNUG_BAD_INPUT, snug_json_parse("f", text, 3, &doc, &err));
    free(text);
}

static void write_sample(struct snug_json_writer *w)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_number(w, "tps", 54.25);
    snug_json_put_number(w, "nan", NAN);
    snug_json_put_number(w, "inf", -INFINITY);
    snug_json_put_int(w, "n", INT64_MIN);
    snug_json_put_bool(w, "ok", true);
    snug_json_put_string(w, "text", "a\"\n\xe2\x82\xac");
    snug_json_put_string(w, "none", NULL);
    snug_json_begin_array(w, "list");
    snug_json_put_int(w, NULL, 1);
    snug_json_begin_object(w, NULL);
    snug_json_end(w);
    snug_json_end(w);
    snug_json_end(w);
}

static void writer_sample_is_one_line(void **state)
{
    (void)state;
    struct snug_json_writer w = {0};
    write_sample(&w);
    char *text = snug_json_finish(&w, false);
    assert_string_equal(
        text, "{\"tps\":54.25,\"nan\":null,\"inf\":null,\"n\":-9223372036854775808,"
              "\"ok\":true,\"text\":\"a\\\"\\n\xe2\x82\xac\",\"none\":null,\"list\":[1,{}]}");
    assert_null(w.doc); /* ready for the next */
    free(text);
}

static void writer_pretty_text_means_the_same(void **state)
{
    (void)state;
    struct snug_json_writer w = {0};
    write_sample(&w);
    char *pretty = snug_json_finish(&w, true);
    assert_contains(pretty, "\n  \"tps\": 54.25,\n");
    struct snug_json *doc = parse(pretty);
    snug_json_put_node(&w, NULL, snug_json_root(doc));
    char *plain = snug_json_finish(&w, false);
    write_sample(&w);
    char *want = snug_json_finish(&w, false);
    assert_string_equal(plain, want);
    free(pretty);
    free(plain);
    free(want);
    snug_json_free(doc);
}

static void writer_keys_and_texts_are_copied(void **state)
{
    (void)state;
    struct snug_json_writer w = {0};
    char key[] = "key", text[] = "text";
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, key, text);
    key[0] = text[0] = 'X';
    snug_json_end(&w);
    char *out = snug_json_finish(&w, false);
    assert_string_equal(out, "{\"key\":\"text\"}");
    free(out);
}

static void writer_invalid_utf8_becomes_question_marks(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } ROWS[] = {
        {"a\xff"
         "b",
         "[\"a?b\"]"},
        {"\x80", "[\"?\"]"},
        {"\xc3", "[\"?\"]"},                /* cut */
        {"\xc0\xaf", "[\"??\"]"},           /* overlong '/' */
        {"\xe0\x80\xaf", "[\"???\"]"},      /* overlong '/' */
        {"\xed\xa0\x80", "[\"???\"]"},      /* surrogate */
        {"\xf4\x90\x80\x80", "[\"????\"]"}, /* above U+10FFFF */
        {"\xf0\x9f\x98", "[\"???\"]"},      /* cut */
        {"\xe2\x82z", "[\"??z\"]"},
        {"\xf0\x9f\x98\x80\xed\x9f\xbf", "[\"\xf0\x9f\x98\x80\xed\x9f\xbf\"]"},
    };
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        struct snug_json_writer w = {0};
        snug_json_begin_array(&w, NULL);
        snug_json_put_string(&w, NULL, ROWS[i].text);
        snug_json_end(&w);
        char *out = snug_json_finish(&w, false);
        assert_string_equal(out, ROWS[i].want);
        snug_json_free(parse(out));
        free(out);
    }
}

static void writer_any_bytes_give_valid_json(void **state)
{
    (void)state;
    uint64_t seed = 4;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    for (int i = 0; i < 3000; i++) {
        char key[24] = {0}, text[24] = {0};
        for (size_t k = 0; k + 1 < sizeof key; k++) {
            key[k] = (char)snug_rng_below(&rng, 256);
            /* mostly lead and continuation bytes */
            text[k] = (char)(0x80 + snug_rng_below(&rng, 128));
        }
        struct snug_json_writer w = {0};
        snug_json_begin_object(&w, NULL);
        snug_json_put_string(&w, key, text);
        snug_json_end(&w);
        char *out = snug_json_finish(&w, false);
        assert_non_null(out);
        struct snug_json *doc = parse(out);
        assert_int_equal(snug_json_count(snug_json_root(doc)), 1);
        snug_json_free(doc);
        free(out);
    }
}

static void numbers_come_back_bit_for_bit(void **state)
{
    (void)state;
    uint64_t seed = 8;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    for (int i = 0; i < 5000; i++) {
        double value, back;
        uint64_t bits = snug_rng_next(&rng);
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value))
            continue;
        int64_t whole = (int64_t)(bits >> (i % 64));
        struct snug_json_writer w = {0};
        snug_json_begin_array(&w, NULL);
        snug_json_put_number(&w, NULL, value);
        snug_json_put_int(&w, NULL, whole);
        snug_json_end(&w);
        char *out = snug_json_finish(&w, false);
        struct snug_json *doc = parse(out);
        back = snug_json_number(snug_json_at(snug_json_root(doc), 0), 0);
        assert_memory_equal(&back, &value, sizeof value);
        assert_true(snug_json_int(snug_json_at(snug_json_root(doc), 1), 0) == whole);
        snug_json_free(doc);
        free(out);
    }
}

static void put_wrong_key(struct snug_json_writer *w)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_int(w, NULL, 1);
    snug_json_end(w);
}

static void put_key_in_array(struct snug_json_writer *w)
{
    snug_json_begin_array(w, NULL);
    snug_json_put_int(w, "k", 1);
    snug_json_end(w);
}

static void put_two_roots(struct snug_json_writer *w)
{
    write_sample(w);
    write_sample(w);
}

static void put_no_end(struct snug_json_writer *w)
{
    snug_json_begin_array(w, NULL);
}

static void put_extra_end(struct snug_json_writer *w)
{
    write_sample(w);
    snug_json_end(w);
}

static void put_nothing(struct snug_json_writer *w)
{
    (void)w;
}

static void put_too_deep(struct snug_json_writer *w)
{
    for (int i = 0; i < SNUG_JSON_DEPTH_MAX + 1; i++)
        snug_json_begin_array(w, NULL);
    for (int i = 0; i < SNUG_JSON_DEPTH_MAX + 1; i++)
        snug_json_end(w);
}

static void writer_misuse_ends_in_null(void **state)
{
    (void)state;
    static void (*const MISUSES[])(struct snug_json_writer *) = {
        put_wrong_key, put_key_in_array, put_two_roots, put_no_end,
        put_extra_end, put_nothing,      put_too_deep};
    for (size_t i = 0; i < COUNT(MISUSES); i++) {
        struct snug_json_writer w = {0};
        MISUSES[i](&w);
        assert_null(snug_json_finish(&w, false));
        snug_json_put_int(&w, NULL, 3); /* usable again */
        char *out = snug_json_finish(&w, false);
        assert_string_equal(out, "3");
        free(out);
    }
}

static void writer_depth_is_capped_like_the_reader(void **state)
{
    (void)state;
    char *text = brackets(SNUG_JSON_DEPTH_MAX - 1);
    struct snug_json *doc = parse(text);
    struct snug_json_writer w = {0};
    snug_json_begin_array(&w, NULL);
    snug_json_put_node(&w, NULL, snug_json_root(doc)); /* at the cap */
    snug_json_end(&w);
    char *out = snug_json_finish(&w, false);
    snug_json_free(parse(out));
    free(out);
    snug_json_begin_array(&w, NULL);
    snug_json_begin_array(&w, NULL);
    snug_json_put_node(&w, NULL, snug_json_root(doc)); /* cap + 1 */
    snug_json_end(&w);
    snug_json_end(&w);
    assert_null(snug_json_finish(&w, false));
    snug_json_free(doc);
    free(text);
}

static void writer_node_outlives_its_document(void **state)
{
    (void)state;
    struct snug_json *doc = parse("{\"a\": [1, {\"b\": \"text\"}]}");
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_node(&w, "copy", snug_json_get(snug_json_root(doc), "a"));
    snug_json_put_node(&w, "none", NULL);
    snug_json_end(&w);
    snug_json_free(doc);
    char *out = snug_json_finish(&w, false);
    assert_string_equal(out, "{\"copy\":[1,{\"b\":\"text\"}],\"none\":null}");
    free(out);
}

static void writer_abandoned_is_cleared(void **state)
{
    (void)state;
    struct snug_json_writer w = {0};
    snug_json_writer_clear(&w);
    snug_json_begin_object(&w, NULL);
    snug_json_begin_array(&w, "a");
    snug_json_writer_clear(&w);
    assert_int_equal(w.depth, 0);
    assert_null(w.doc);
}

static void parse_without_memory_fails_cleanly(void **state)
{
    (void)state;
    const char *text = "{\"a\": [1, 2, \"three\"]}";
    long n = 0;
    for (;; n++) {
        struct snug_error err = {0};
        struct snug_json *doc = NULL;
        fault_begin(n);
        snug_status status = snug_json_parse("f", text, strlen(text), &doc, &err);
        if (!fault_end()) {
            assert_int_equal(status, SNUG_OK);
            snug_json_free(doc);
            break;
        }
        assert_int_equal(status, SNUG_NO_MEMORY);
        assert_null(doc);
    }
    assert_true(n >= 2);
}

static void writer_without_memory_ends_in_null(void **state)
{
    (void)state;
    long n = 0;
    for (;; n++) {
        struct snug_json_writer w = {0};
        fault_begin(n);
        write_sample(&w);
        char *out = snug_json_finish(&w, false);
        bool is_hit = fault_end();
        assert_true((out == NULL) == is_hit);
        free(out);
        if (!is_hit)
            break;
    }
    assert_true(n >= 3);
}

/* At most cap elements, in order; nothing of what is no array. */
static void elements_gives_the_first_ones_of_an_array(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,\"two\",{},4],\"o\":{\"x\":1},\"e\":[]}";
    struct snug_error err = {0};
    struct snug_json *doc = NULL;
    const struct snug_json_node *out[5] = {NULL};
    assert_ok(snug_json_parse("t", text, sizeof text - 1, &doc, &err));
    const struct snug_json_node *root = snug_json_root(doc), *list = snug_json_get(root, "a");
    assert_int_equal(snug_json_elements(list, out, 5), 4);
    for (size_t i = 0; i < 4; i++)
        assert_ptr_equal(out[i], snug_json_at(list, i));
    assert_null(out[4]);
    assert_int_equal(snug_json_elements(list, out, 3), 3);
    assert_int_equal(snug_json_elements(list, out, 0), 0);
    assert_int_equal(snug_json_elements(snug_json_get(root, "o"), out, 5), 0);
    assert_int_equal(snug_json_elements(snug_json_get(root, "e"), out, 5), 0);
    assert_int_equal(snug_json_elements(NULL, out, 5), 0);
    snug_json_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_known_document_gives_its_values),
        cmocka_unit_test(elements_gives_the_first_ones_of_an_array),
        cmocka_unit_test(getters_of_missing_or_wrong_values_fall_back),
        cmocka_unit_test(int_getter_accepts_whole_numbers_in_range),
        cmocka_unit_test(member_walks_an_object_in_order),
        cmocka_unit_test(parse_bad_text_names_line_and_column),
        cmocka_unit_test(parse_depth_is_capped),
        cmocka_unit_test(parse_brackets_in_strings_are_not_depth),
        cmocka_unit_test(parse_text_without_nul_stops_at_n),
        cmocka_unit_test(writer_sample_is_one_line),
        cmocka_unit_test(writer_pretty_text_means_the_same),
        cmocka_unit_test(writer_keys_and_texts_are_copied),
        cmocka_unit_test(writer_invalid_utf8_becomes_question_marks),
        cmocka_unit_test(writer_any_bytes_give_valid_json),
        cmocka_unit_test(numbers_come_back_bit_for_bit),
        cmocka_unit_test(writer_misuse_ends_in_null),
        cmocka_unit_test(writer_depth_is_capped_like_the_reader),
        cmocka_unit_test(writer_node_outlives_its_document),
        cmocka_unit_test(writer_abandoned_is_cleared),
        cmocka_unit_test(parse_without_memory_fails_cleanly),
        cmocka_unit_test(writer_without_memory_ends_in_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
