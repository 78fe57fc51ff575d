/* YAML: the plain subset, the guards in front of it, and a schema's errors with their places. */
#include "test.h"

#include "base/buffer.h"
#include "base/yaml.h"

static struct snug_yaml *parse(const char *text)
{
    struct snug_error err = {0};
    struct snug_yaml *doc = NULL;
    assert_ok(snug_yaml_parse("f.yaml", text, strlen(text), &doc, &err));
    return doc;
}

static void refuse(const char *text, size_t n, const char *want)
{
    struct snug_error err = {0};
    struct snug_yaml *doc = NULL;
    assert_fails(SNUG_BAD_INPUT, snug_yaml_parse("f.yaml", text, n, &doc, &err));
    assert_null(doc);
    assert_contains(err.text, want);
}

static void tree_holds_scalars_lists_and_mappings(void **state)
{
    (void)state;
    struct snug_yaml *doc = parse("a: 1\nb: [x, 'y z', {c: \"d\"}]\nempty:\n");
    const struct snug_yaml_node *root = snug_yaml_root(doc), *b = snug_yaml_get(root, "b");
    assert_int_equal(snug_yaml_count(root), 3);
    assert_string_equal(snug_yaml_text(snug_yaml_get(root, "a")), "1");
    assert_true(snug_yaml_is_list(b));
    assert_int_equal(snug_yaml_count(b), 3);
    assert_string_equal(snug_yaml_text(snug_yaml_at(b, 1)), "y z");
    assert_string_equal(snug_yaml_text(snug_yaml_get(snug_yaml_at(b, 2), "c")), "d");
    assert_string_equal(snug_yaml_key(snug_yaml_at(root, 1)), "b");
    assert_string_equal(snug_yaml_text(snug_yaml_get(root, "empty")), "");
    assert_null(snug_yaml_at(b, 3));
    assert_null(snug_yaml_get(b, "a"));
    assert_null(snug_yaml_text(b));
    assert_int_equal(snug_yaml_count(NULL), 0);
    snug_yaml_free(doc);
}

static void failure_names_file_place_and_path(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct snug_yaml *doc = parse("a: 1\nlist:\n  - x\n  - inner:\n      deep: 3\n");
    const struct snug_yaml_node *node = snug_yaml_get(
        snug_yaml_get(snug_yaml_at(snug_yaml_get(snug_yaml_root(doc), "list"), 1), "inner"),
        "deep");
    assert_int_equal(snug_yaml_fail(doc, node, &err, "is %d", 3), SNUG_BAD_INPUT);
    assert_string_equal(err.text, "f.yaml:5:7: list[2].inner.deep: is 3");
    snug_yaml_free(doc);
}

static void what_is_beyond_the_subset_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } ROWS[] = {
        {"a: &x [1]\n", "f.yaml:1:4: anchors"},
        {"a: 1\nb: *x\n", "f.yaml:2:4: anchors"},
        {"a: !!int 3\n", "tags"},
        {"a: 1\nb: 2\na: 3\n", "f.yaml:3:1: 'a' stands twice"},
        {"? [a, b]\n: 1\n", "a key must be a plain word"},
        {"a: 1\n---\nb: 2\n", "second document"},
        {"a: [1, 2\n", "not YAML"},
        {"a: \"b\\0c\"\n", "NUL"},
        {"- a\n- b\n", "not a mapping"},
        {"word\n", "not a mapping"},
        {"", "nothing in it"},
        {"# only a comment\n", "nothing in it"},
        {"a: \xff\xfe\n", "UTF-8"},
    };
    for (size_t i = 0; i < COUNT(ROWS); i++)
        refuse(ROWS[i].text, strlen(ROWS[i].text), ROWS[i].want);
}

static void bytes_that_are_no_text_are_refused(void **state)
{
    (void)state;
    static const char text[] = "a: 1\nb: x\0y\n";
    refuse(text, sizeof text - 1, "control characters");
}

/* Each anchor says the one before ten times: nine of them are a thousand million values. */
static void anchors_that_explode_are_refused_at_once(void **state)
{
    (void)state;
    struct snug_buffer text = {0};
    snug_buffer_puts(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 10; i++)
        snug_buffer_printf(&text, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d]\n", i, i, i - 1, i - 1, i - 1,
                           i - 1);
    refuse(text.data, text.len, "anchors");
    snug_buffer_clear(&text);
}

static void nested(struct snug_buffer *text, int depth)
{
    snug_buffer_puts(text, "a: ");
    for (int i = 1; i < depth; i++) /* the mapping itself is the first */
        snug_buffer_puts(text, "[");
    for (int i = 1; i < depth; i++)
        snug_buffer_puts(text, "]");
}

static void caps_hold_at_cap_and_one_more(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        struct snug_buffer deep = {0}, keys = {0}, nodes = {0};
        struct snug_error err = {0};
        struct snug_yaml *doc = NULL;
        nested(&deep, SNUG_YAML_DEPTH_MAX + more);
        for (int i = 0; i < SNUG_YAML_KEYS_MAX + more; i++)
            snug_buffer_printf(&keys, "k%d: v\n", i);
        /* The root, the list, and its entries. */
        snug_buffer_puts(&nodes, "a: [");
        for (int i = 0; i < SNUG_YAML_NODES_MAX - 2 + more; i++)
            snug_buffer_puts(&nodes, i ? ",x" : "x");
        snug_buffer_puts(&nodes, "]\n");
        const struct snug_buffer *const texts[] = {&deep, &keys, &nodes};
        static const char *const words[] = {"16 deep", "256 keys", "100000"};
        for (size_t i = 0; i < COUNT(texts); i++) {
            if (more) {
                refuse(texts[i]->data, texts[i]->len, words[i]);
                continue;
            }
            assert_ok(snug_yaml_parse("f.yaml", texts[i]->data, texts[i]->len, &doc, &err));
            snug_yaml_free(doc);
        }
        snug_buffer_clear(&deep);
        snug_buffer_clear(&keys);
        snug_buffer_clear(&nodes);
    }
}

/* ---- schema ---- */

struct part {
    const char *name;
    int64_t n;
    int is_on;
};

struct whole {
    const char *title, **words;
    unsigned n_words, n_parts;
    struct part *parts, *one;
};

static const struct snug_yaml_field PART[] = {
    {.key = "name",
     .type = SNUG_YAML_TEXT,
     .is_required = true,
     .at = offsetof(struct part, name),
     .max = 8},
    {.key = "n", .type = SNUG_YAML_INT, .at = offsetof(struct part, n), .min = 1, .max = 9},
    {.key = "on", .type = SNUG_YAML_BOOL, .at = offsetof(struct part, is_on)},
    {.key = "free", .type = SNUG_YAML_ANY},
    {.key = NULL},
};

static const struct snug_yaml_field WHOLE[] = {
    {.key = "title", .type = SNUG_YAML_TEXT, .at = offsetof(struct whole, title), .max = 8},
    {.key = "words",
     .type = SNUG_YAML_TEXTS,
     .at = offsetof(struct whole, words),
     .at_count = offsetof(struct whole, n_words),
     .max = 3},
    {.key = "parts",
     .type = SNUG_YAML_MAPS,
     .at = offsetof(struct whole, parts),
     .at_count = offsetof(struct whole, n_parts),
     .max = 2,
     .fields = PART,
     .size = sizeof(struct part)},
    {.key = "one",
     .type = SNUG_YAML_MAP,
     .at = offsetof(struct whole, one),
     .fields = PART,
     .size = sizeof(struct part)},
    {.key = NULL},
};

static void schema_fills_a_struct(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct snug_yaml *doc = parse("title: x\nwords: [a, b, c]\nparts:\n  - name: p\n    n: 9\n"
                                  "    on: yes\n    free: {any: [thing]}\n  - name: q\n"
                                  "one: {name: r, on: off}\n");
    const void *out = NULL;
    assert_ok(snug_yaml_load(doc, WHOLE, sizeof(struct whole), &out, &err));
    const struct whole *whole = out;
    assert_string_equal(whole->title, "x");
    assert_int_equal(whole->n_words, 3);
    assert_string_equal(whole->words[2], "c");
    assert_int_equal(whole->n_parts, 2);
    assert_int_equal(whole->parts[0].n, 9);
    assert_true(whole->parts[0].is_on);
    assert_int_equal(whole->parts[1].n, 0);
    assert_string_equal(whole->one->name, "r");
    assert_false(whole->one->is_on);
    snug_yaml_free(doc);
}

static void schema_refuses_with_place_and_what_would_do(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want[2];
    } ROWS[] = {
        {"titel: x\n", {"f.yaml:1:1: titel", "did you mean 'title'"}},
        {"zzzzzz: x\n", {"f.yaml:1:1: zzzzzz", "title, words, parts, one"}},
        {"parts:\n  - name: p\n    nn: 3\n", {"f.yaml:3:5: parts[1].nn", "did you mean 'n'"}},
        {"one: {nam: p}\n", {"f.yaml:1:7: one.nam", "did you mean 'name'"}},
        {"parts:\n  - n: 3\n", {"parts[1]", "Missing required mapping field: name"}},
        {"parts:\n  - name: p\n    n: 10\n", {"f.yaml:3:5: parts[1].n", "9"}},
        {"parts:\n  - name: p\n    n: 2z\n", {"f.yaml:3:5: parts[1].n", "2z"}},
        {"parts:\n  - name: p\n    on: maybe\n", {"f.yaml:3:9: parts[1].on", "maybe"}},
        {"parts: []\n", {"f.yaml:1:8: parts", "Insufficient entries"}},
        {"words: []\n", {"words", "Insufficient entries"}},
        {"words: [a, b, c, d]\n", {"words", "Excessive entries (3 max)"}},
        {"parts: 3\n", {"f.yaml:1:8: parts", "SEQUENCE"}},
        {"title: [x]\n", {"f.yaml:1:8: title", "STRING"}},
        {"title: ''\n", {"title", "length"}},
        {"title: much too long\n", {"title", "length"}},
        {"words: [a, {b: c}]\n", {"words[2]", "STRING"}},
        {"one: [x]\n", {"f.yaml:1:6: one", "MAPPING"}},
    };
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        struct snug_error err = {0};
        struct snug_yaml *doc = parse(ROWS[i].text);
        const void *out = NULL;
        assert_fails(SNUG_BAD_INPUT, snug_yaml_load(doc, WHOLE, sizeof(struct whole), &out, &err));
        assert_null(out);
        assert_contains(err.text, ROWS[i].want[0]);
        assert_contains(err.text, ROWS[i].want[1]);
        snug_yaml_free(doc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tree_holds_scalars_lists_and_mappings),
        cmocka_unit_test(failure_names_file_place_and_path),
        cmocka_unit_test(what_is_beyond_the_subset_is_refused),
        cmocka_unit_test(bytes_that_are_no_text_are_refused),
        cmocka_unit_test(anchors_that_explode_are_refused_at_once),
        cmocka_unit_test(caps_hold_at_cap_and_one_more),
        cmocka_unit_test(schema_fills_a_struct),
        cmocka_unit_test(schema_refuses_with_place_and_what_would_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
