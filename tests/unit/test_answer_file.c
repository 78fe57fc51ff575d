/* Files of prompts: what a row holds, rows with nothing to measure, caps, what is refused by which
 * line. */
#include "test.h"

#include "base/buffer.h"
#include "lab/answer_file.h"

static snug_status parse(const char *text, struct snug_answer_file *out, struct snug_error *err)
{
    return snug_answer_file_parse("a.jsonl", text, strlen(text), out, err);
}

static void rows_give_their_members_and_lines(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_answer_file file;
    assert_ok(parse("\n{\"prompt\":\"p\",\"reference\":\"r\",\"tools\":null}\r\n \n"
                    "{\"prompt\":\"q\",\"required\":[\"a\",\"b\"],\"tools\":[{\"name\":\"f\"}]}",
                    &file, &err));
    assert_int_equal(file.n_rows, 2);
    assert_int_equal(file.n_bare, 0);
    assert_int_equal(file.rows[0].line, 2);
    assert_string_equal(file.rows[0].prompt, "p");
    assert_string_equal(file.rows[0].reference, "r");
    assert_null(file.rows[0].required);
    assert_null(file.rows[0].tools);
    assert_int_equal(file.rows[1].line, 4);
    assert_null(file.rows[1].reference);
    assert_string_equal(file.rows[1].required[1], "b");
    assert_null(file.rows[1].required[2]);
    assert_int_equal(snug_json_count(file.rows[1].tools), 1);
    snug_answer_file_clear(&file);
}

static void rows_with_nothing_to_measure_are_counted(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_answer_file file;
    assert_ok(parse("{\"prompt\":\"p\"}\n{\"prompt\":\"q\",\"reference\":\"r\"}\n"
                    "{\"prompt\":\"s\",\"reference\":null}\n",
                    &file, &err));
    assert_int_equal(file.n_rows, 3);
    assert_int_equal(file.n_bare, 2);
    assert_int_equal(file.bare_lines[0], 1);
    assert_int_equal(file.bare_lines[1], 3);
    snug_answer_file_clear(&file);
}

static void bad_rows_are_refused_with_their_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } rows[] = {
        {"", "no prompts"},
        {" \n\n", "no prompts"},
        {"{\"prompt\":\"p\"}\n{\"prompt\":", "a.jsonl:2:"},
        {"{\"prompt\":\"p\"}\n[1]", "a.jsonl:2: expected an object"},
        {"{\"text\":\"p\"}", "a.jsonl:1: no \"prompt\""},
        {"{\"prompt\":7}", "a.jsonl:1: no \"prompt\""},
        {"{\"prompt\":\"\"}", "a.jsonl:1: an empty"},
        {"{\"prompt\":\"p\",\"reference\":7}", "a.jsonl:1: \"reference\""},
        {"{\"prompt\":\"p\",\"required\":\"city\"}", "a.jsonl:1: \"required\""},
        {"{\"prompt\":\"p\",\"required\":{\"city\":1}}", "a.jsonl:1: \"required\""},
        {"{\"prompt\":\"p\",\"required\":[\"city\",7]}", "a.jsonl:1: \"required\""},
        {"{\"prompt\":\"p\",\"required\":[]}", "a.jsonl:1: \"required\""},
        {"{\"prompt\":\"p\",\"tools\":\"f\"}", "a.jsonl:1: \"tools\""},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct snug_error err;
        struct snug_answer_file file;
        assert_fails(SNUG_BAD_INPUT, parse(rows[i].text, &file, &err));
        assert_contains(err.text, rows[i].part);
    }
}

static snug_status parse_many(int n_rows, int n_fields, struct snug_answer_file *out,
                              struct snug_error *err)
{
    struct snug_buffer text = {0};
    for (int r = 0; r < n_rows; r++) {
        snug_buffer_puts(&text, "{\"prompt\":\"p\",\"required\":[");
        for (int i = 0; i < n_fields; i++)
            snug_buffer_printf(&text, "%s\"f%d\"", i ? "," : "", i);
        snug_buffer_puts(&text, "]}\n");
    }
    const snug_status status = parse(snug_buffer_text(&text), out, err);
    snug_buffer_clear(&text);
    return status;
}

static void caps_hold_at_the_cap_and_not_beyond(void **state)
{
    (void)state;
    struct snug_error err;
    struct snug_answer_file file;
    assert_ok(parse_many(1, SNUG_ANSWER_FIELDS_MAX, &file, &err));
    assert_null(file.rows[0].required[SNUG_ANSWER_FIELDS_MAX]);
    snug_answer_file_clear(&file);
    assert_fails(SNUG_BAD_INPUT, parse_many(1, SNUG_ANSWER_FIELDS_MAX + 1, &file, &err));
    assert_contains(err.text, "a.jsonl:1: \"required\": 65 fields");
    assert_ok(parse_many(SNUG_ANSWER_ROWS_MAX, 1, &file, &err));
    snug_answer_file_clear(&file);
    assert_fails(SNUG_BAD_INPUT, parse_many(SNUG_ANSWER_ROWS_MAX + 1, 1, &file, &err));
    assert_contains(err.text, "a.jsonl:10001");
    const size_t n = SNUG_ANSWER_FILE_MAX;
    char *text = malloc(n + 1);
    assert_non_null(text);
    memset(text, '\n', n + 1);
    memcpy(text, "{\"prompt\":\"p\"}", 14);
    assert_ok(snug_answer_file_parse("a.jsonl", text, n, &file, &err));
    snug_answer_file_clear(&file);
    assert_fails(SNUG_BAD_INPUT, snug_answer_file_parse("a.jsonl", text, n + 1, &file, &err));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_give_their_members_and_lines),
        cmocka_unit_test(rows_with_nothing_to_measure_are_counted),
        cmocka_unit_test(bad_rows_are_refused_with_their_line),
        cmocka_unit_test(caps_hold_at_the_cap_and_not_beyond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
