/* One table in four forms. */
#include "test.h"

#include <math.h>

#include "base/json.h"
#include "fault.h"
#include "report/table.h"

static void fill(struct snug_table *table)
{
    snug_table_column(table, "test", SNUG_COLUMN_TEXT);
    snug_table_column(table, "t/s", SNUG_COLUMN_NUMBER);
    snug_table_column(table, "note", SNUG_COLUMN_TEXT);
    snug_table_cell_text(table, "pp512");
    snug_table_cell_number(table, 1234.5678, 2);
    snug_table_row_end(table);
    snug_table_cell_text(table, "µs \"a, b\"|c\nd");
    snug_table_cell_number(table, -0.5, 2);
    snug_table_cell_text(table, "");
    snug_table_row_end(table);
}

static void assert_renders(enum snug_table_format format, const char *want)
{
    struct snug_table table = {0};
    struct snug_buffer out = {0};
    fill(&table);
    snug_table_render(&table, format, &out);
    assert_string_equal(snug_buffer_text(&out), want);
    snug_buffer_clear(&out);
    snug_table_clear(&table);
}

static void md_aligns_numbers_right_and_keeps_rows_whole(void **state)
{
    (void)state;
    assert_renders(SNUG_TABLE_MD, "| test          |     t/s | note |\n"
                                  "| ------------- | ------: | ---- |\n"
                                  "| pp512         | 1234.57 |      |\n"
                                  "| µs \"a, b\"/c d |   -0.50 |      |\n");
}

static void csv_quotes_what_must_be(void **state)
{
    (void)state;
    assert_renders(SNUG_TABLE_CSV, "test,t/s,note\n"
                                   "pp512,1234.57,\n"
                                   "\"µs \"\"a, b\"\"|c\nd\",-0.50,\n");
}

static void jsonl_numbers_are_whole_and_empty_is_null(void **state)
{
    (void)state;
    assert_renders(SNUG_TABLE_JSONL,
                   "{\"test\":\"pp512\",\"t/s\":1234.5678,\"note\":null}\n"
                   "{\"test\":\"µs \\\"a, b\\\"|c\\nd\",\"t/s\":-0.5,\"note\":\"\"}\n");
}

static void json_parses_to_an_array_of_rows(void **state)
{
    (void)state;
    struct snug_table table = {0};
    struct snug_buffer out = {0};
    struct snug_json *doc = NULL;
    struct snug_error err = {0};
    fill(&table);
    snug_table_cell_text(&table, "last");
    snug_table_cell_number(&table, NAN, 2);
    snug_table_row_end(&table);
    snug_table_render(&table, SNUG_TABLE_JSON, &out);
    assert_ok(snug_json_parse("table", out.data, out.len, &doc, &err));
    const struct snug_json_node *root = snug_json_root(doc);
    assert_int_equal(snug_json_count(root), 3);
    assert_true(snug_json_get_number(snug_json_at(root, 0), "t/s", 0) == 1234.5678);
    assert_false(snug_json_is_number(snug_json_get(snug_json_at(root, 2), "t/s")));
    assert_int_equal(snug_json_count(snug_json_at(root, 2)), 3);
    snug_json_free(doc);
    snug_buffer_clear(&out);
    snug_table_clear(&table);
}

static void no_rows_still_has_heads(void **state)
{
    (void)state;
    static const char *const want[] = {"| a   |\n| --- |\n", "a\n", "[]\n", ""};
    for (int format = SNUG_TABLE_MD; format <= SNUG_TABLE_JSONL; format++) {
        struct snug_table table = {0};
        struct snug_buffer out = {0};
        snug_table_column(&table, "a", SNUG_COLUMN_TEXT);
        snug_table_row_end(&table);
        snug_table_render(&table, (enum snug_table_format)format, &out);
        assert_string_equal(snug_buffer_text(&out), want[format]);
        snug_buffer_clear(&out);
        snug_table_clear(&table);
    }
}

static void columns_at_cap_pass_and_above_fail(void **state)
{
    (void)state;
    struct snug_table table = {0};
    struct snug_buffer out = {0};
    for (int i = 0; i < SNUG_TABLE_COLUMNS_MAX; i++)
        snug_table_column(&table, "a", SNUG_COLUMN_TEXT);
    assert_false(table.is_failed);
    snug_table_column(&table, "a", SNUG_COLUMN_TEXT);
    assert_true(table.is_failed);
    snug_table_render(&table, SNUG_TABLE_CSV, &out);
    assert_int_equal(out.len, 0);
    assert_true(out.is_failed);
    snug_buffer_clear(&out);
    snug_table_clear(&table);
    snug_table_clear(&table);
}

static void columns_at_cap_are_all_printed(void **state)
{
    (void)state;
    struct snug_table table = {0};
    struct snug_buffer out = {0};
    size_t n_commas = 0;
    for (int i = 0; i < SNUG_TABLE_COLUMNS_MAX; i++)
        snug_table_column(&table, "a", SNUG_COLUMN_TEXT);
    snug_table_row_end(&table); /* no cell yet: no row */
    snug_table_cell_text(&table, "x");
    snug_table_row_end(&table);
    assert_int_equal(table.n_cells, SNUG_TABLE_COLUMNS_MAX);
    snug_table_render(&table, SNUG_TABLE_CSV, &out);
    for (const char *at = snug_buffer_text(&out); (at = strchr(at, ',')); at++)
        n_commas++;
    assert_int_equal(n_commas, 2 * (SNUG_TABLE_COLUMNS_MAX - 1));
    snug_buffer_clear(&out);
    snug_table_clear(&table);
}

/* ---- what a cell may hold ---- */

static void assert_one_cell(enum snug_table_format format, const char *text, const char *want)
{
    struct snug_table table = {.is_headless = true};
    struct snug_buffer out = {0};
    snug_table_column(&table, "a", SNUG_COLUMN_TEXT);
    snug_table_cell_text(&table, text);
    snug_table_render(&table, format, &out);
    assert_string_equal(snug_buffer_text(&out), want);
    snug_buffer_clear(&out);
    snug_table_clear(&table);
}

static void csv_quotes_each_special_character_alone(void **state)
{
    (void)state;
    assert_one_cell(SNUG_TABLE_CSV, "a,b", "\"a,b\"\n");
    assert_one_cell(SNUG_TABLE_CSV, "\"", "\"\"\"\"\n");
    assert_one_cell(SNUG_TABLE_CSV, "a\rb", "\"a\rb\"\n");
    assert_one_cell(SNUG_TABLE_CSV, "a b;|'", "a b;|'\n");
    assert_one_cell(SNUG_TABLE_CSV, "", "\n");
}

static void md_width_counts_characters_not_bytes(void **state)
{
    (void)state;
    assert_one_cell(SNUG_TABLE_MD, "\xe6\xa8\xa1\xe5\x9e\x8b", "| \xe6\xa8\xa1\xe5\x9e\x8b  |\n");
    assert_one_cell(SNUG_TABLE_MD, "abcd", "| abcd |\n");
    assert_one_cell(SNUG_TABLE_MD, NULL, "|     |\n");
}

static void json_text_that_is_no_utf8_stays_json(void **state)
{
    (void)state;
    assert_one_cell(SNUG_TABLE_JSONL, "a\xff", "{\"a\":\"a?\"}\n");
    assert_one_cell(SNUG_TABLE_JSONL, NULL, "{\"a\":null}\n");
}

static void number_that_is_not_finite_is_empty_in_every_format(void **state)
{
    (void)state;
    static const char *const want[] = {"|     |\n", "\n", "[\n  {\n    \"a\": null\n  }\n]\n",
                                       "{\"a\":null}\n"};
    const double numbers[] = {NAN, INFINITY, -INFINITY};
    for (int format = SNUG_TABLE_MD; format <= SNUG_TABLE_JSONL; format++) {
        for (size_t i = 0; i < COUNT(numbers); i++) {
            struct snug_table table = {.is_headless = true};
            struct snug_buffer out = {0};
            snug_table_column(&table, "a", SNUG_COLUMN_NUMBER);
            snug_table_cell_number(&table, numbers[i], 1);
            snug_table_render(&table, (enum snug_table_format)format, &out);
            assert_string_equal(snug_buffer_text(&out), want[format]);
            snug_buffer_clear(&out);
            snug_table_clear(&table);
        }
    }
}

/* ---- memory ---- */

/* Enough rows for cells and text to grow. Returns whether everything was there. */
static bool fill_and_render(enum snug_table_format format, struct snug_buffer *out)
{
    struct snug_table table = {0};
    for (int i = 0; i < 30; i++) {
        if (i == 0)
            fill(&table);
        snug_table_cell_text(&table, "x");
        snug_table_cell_number(&table, i, 1);
        snug_table_row_end(&table);
    }
    snug_table_render(&table, format, out);
    const bool is_failed = table.is_failed;
    snug_table_clear(&table);
    return !is_failed && !out->is_failed;
}

static void allocation_failure_is_told_and_never_half_a_table(void **state)
{
    (void)state;
    for (int format = SNUG_TABLE_MD; format <= SNUG_TABLE_JSONL; format++) {
        struct snug_buffer whole = {0};
        long n = 0;
        assert_true(fill_and_render((enum snug_table_format)format, &whole));
        for (;; n++) {
            struct snug_buffer out = {0};
            fault_begin(n);
            const bool is_whole = fill_and_render((enum snug_table_format)format, &out);
            const bool is_hit = fault_end();
            if (is_whole)
                assert_string_equal(snug_buffer_text(&out), snug_buffer_text(&whole));
            snug_buffer_clear(&out);
            if (!is_hit) {
                assert_true(is_whole);
                break;
            }
        }
        assert_true(n > 3); /* a sanitizer keeps strdup for itself */
        snug_buffer_clear(&whole);
    }
}

static void format_every_name_is_found(void **state)
{
    (void)state;
    assert_int_equal(snug_table_format_from_name("md"), SNUG_TABLE_MD);
    assert_int_equal(snug_table_format_from_name("csv"), SNUG_TABLE_CSV);
    assert_int_equal(snug_table_format_from_name("json"), SNUG_TABLE_JSON);
    assert_int_equal(snug_table_format_from_name("jsonl"), SNUG_TABLE_JSONL);
    assert_int_equal(snug_table_format_from_name("xml"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(md_aligns_numbers_right_and_keeps_rows_whole),
        cmocka_unit_test(csv_quotes_what_must_be),
        cmocka_unit_test(jsonl_numbers_are_whole_and_empty_is_null),
        cmocka_unit_test(json_parses_to_an_array_of_rows),
        cmocka_unit_test(no_rows_still_has_heads),
        cmocka_unit_test(columns_at_cap_pass_and_above_fail),
        cmocka_unit_test(columns_at_cap_are_all_printed),
        cmocka_unit_test(csv_quotes_each_special_character_alone),
        cmocka_unit_test(md_width_counts_characters_not_bytes),
        cmocka_unit_test(json_text_that_is_no_utf8_stays_json),
        cmocka_unit_test(number_that_is_not_finite_is_empty_in_every_format),
        cmocka_unit_test(allocation_failure_is_told_and_never_half_a_table),
        cmocka_unit_test(format_every_name_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
