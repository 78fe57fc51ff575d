/* The limits that another program sets for a server: what a file may say. */
#include "test.h"

#include "snug/serve.h"

static snug_status parse(const char *text, struct snug_serve_caps *out, struct snug_error *err)
{
    return snug_serve_caps_parse("caps.json", text, strlen(text), out, err);
}

static void limits_are_read(void **state)
{
    (void)state;
    struct snug_error err = {0};
    struct snug_serve_caps caps = {.cpus = 7};
    assert_ok(parse("{\"memory_bytes\": 2000000000, \"cpus\": 1.5}", &caps, &err));
    assert_float_equal(caps.memory_bytes, 2e9, 0);
    assert_float_equal(caps.cpus, 1.5, 0);
    assert_ok(parse("{}", &caps, &err)); /* all limits lifted */
    assert_float_equal(caps.memory_bytes, 0, 0);
    assert_float_equal(caps.cpus, 0, 0);
}

static void what_is_no_limit_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } ROWS[] = {
        {"", "caps.json"},
        {"{\"cpus\": 1", "caps.json"}, /* half written */
        {"[1]", "no object"},
        {"{\"cpus\": 0}", "cpus must be a number above 0, at most 8192"},
        {"{\"cpus\": -1}", "cpus must be"},
        {"{\"cpus\": 8192.5}", "cpus must be"},
        {"{\"cpus\": \"2\"}", "cpus must be"},
        {"{\"memory_bytes\": null}", "memory_bytes must be"},
        {"{\"memory_bytes\": 3e14}", "memory_bytes must be"},
        {"{\"memory\": 5}", "'memory' is not known"},
    };
    struct snug_error err;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        struct snug_serve_caps caps = {.cpus = 7};
        assert_fails(SNUG_BAD_INPUT, parse(ROWS[i].text, &caps, &err));
        assert_contains(err.text, ROWS[i].says);
        assert_float_equal(caps.cpus, 7, 0); /* untouched */
    }
}

static void size_is_capped(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_serve_caps caps = {0};
    char text[SNUG_SERVE_CAPS_BYTES_MAX + 1];
    memset(text, ' ', sizeof text);
    memcpy(text, "{\"cpus\": 2}", 11);
    assert_ok(snug_serve_caps_parse("caps.json", text, sizeof text - 1, &caps, &err));
    assert_fails(SNUG_BAD_INPUT,
                 snug_serve_caps_parse("caps.json", text, sizeof text, &caps, &err));
    assert_contains(err.text, "more than 4096 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_are_read),
        cmocka_unit_test(what_is_no_limit_is_refused_by_name),
        cmocka_unit_test(size_is_capped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
