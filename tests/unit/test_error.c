/* Statuses, error texts and the log. */
#include "test.h"

static void status_names_are_all_different(void **state)
{
    (void)state;
    for (int i = 0; i < SNUG_N_STATUSES; i++) {
        assert_true(strlen(snug_status_name((snug_status)i)) > 0);
        assert_true(strlen(snug_status_meaning((snug_status)i)) > 0);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(snug_status_name((snug_status)i),
                                    snug_status_name((snug_status)j));
    }
    assert_string_equal(snug_status_name(SNUG_BAD_INPUT), "bad_input");
}

static void status_outside_the_table_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(snug_status_name(SNUG_N_STATUSES), "unknown");
    assert_string_equal(snug_status_name((snug_status)-1), "unknown");
    assert_string_equal(snug_status_meaning((snug_status)99), "not a snug status");
}

static void fail_sets_status_and_text(void **state)
{
    (void)state;
    struct snug_error err = {0};
    assert_int_equal(snug_fail(&err, SNUG_IO, "%s:%d", "a.json", 3), SNUG_IO);
    assert_int_equal(err.status, SNUG_IO);
    assert_string_equal(err.text, "a.json:3");
}

static void fail_without_error_returns_status(void **state)
{
    (void)state;
    assert_int_equal(snug_fail(NULL, SNUG_TIMEOUT, "%d", 1), SNUG_TIMEOUT);
    assert_int_equal(snug_fail_prefix(NULL, SNUG_BUSY, "%d", 1), SNUG_BUSY);
}

static void fail_long_text_is_cut_at_the_cap(void **state)
{
    (void)state;
    struct snug_error err;
    char text[SNUG_ERROR_TEXT_MAX + 1];
    memset(text, 'x', sizeof text);
    text[SNUG_ERROR_TEXT_MAX - 1] = '\0'; /* at the cap */
    snug_fail(&err, SNUG_IO, "%s", text);
    assert_string_equal(err.text, text);
    text[SNUG_ERROR_TEXT_MAX - 1] = 'y'; /* cap + 1 */
    text[SNUG_ERROR_TEXT_MAX] = '\0';
    snug_fail(&err, SNUG_IO, "%s", text);
    assert_int_equal(strlen(err.text), SNUG_ERROR_TEXT_MAX - 1);
    assert_null(strchr(err.text, 'y'));
}

static void fail_cut_inside_a_character_drops_it(void **state)
{
    (void)state;
    static const char *const LETTERS[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < COUNT(LETTERS); i++) {
        size_t n = strlen(LETTERS[i]);
        for (size_t cut = 0; cut <= n; cut++) { /* bytes of the letter that fit */
            struct snug_error err;
            char pad[SNUG_ERROR_TEXT_MAX];
            size_t n_pad = SNUG_ERROR_TEXT_MAX - 1 - cut;
            memset(pad, 'x', n_pad);
            pad[n_pad] = '\0';
            snug_fail(&err, SNUG_IO, "%s%s", pad, LETTERS[i]);
            assert_int_equal(strlen(err.text), cut == n ? n_pad + n : n_pad);
        }
    }
}

static void fail_text_with_newlines_becomes_one_line(void **state)
{
    (void)state;
    struct snug_error err;
    snug_fail(&err, SNUG_BAD_INPUT, "a\nb\tc\x1b[31m\x7f");
    assert_string_equal(err.text, "a b c [31m ");
}

static void fail_from_its_own_text_is_safe(void **state)
{
    (void)state;
    struct snug_error err;
    snug_fail(&err, SNUG_IO, "disk full");
    snug_fail(&err, SNUG_CRASHED, "worker: %s", err.text);
    assert_string_equal(err.text, "worker: disk full");
    assert_int_equal(err.status, SNUG_CRASHED);
}

static void fail_prefix_keeps_status_and_text(void **state)
{
    (void)state;
    struct snug_error err;
    snug_fail(&err, SNUG_NOT_FOUND, "no such tensor");
    assert_int_equal(snug_fail_prefix(&err, SNUG_IO, "%s", "model.gguf"), SNUG_NOT_FOUND);
    assert_string_equal(err.text, "model.gguf: no such tensor");
}

static void fail_prefix_of_full_text_is_cut(void **state)
{
    (void)state;
    struct snug_error err;
    char text[SNUG_ERROR_TEXT_MAX];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    snug_fail(&err, SNUG_IO, "%s", text);
    snug_fail_prefix(&err, SNUG_IO, "here");
    assert_int_equal(strlen(err.text), SNUG_ERROR_TEXT_MAX - 1);
    assert_int_equal(strncmp(err.text, "here: xxx", 9), 0);
    snug_fail_prefix(&err, SNUG_IO, "%s%s", text, "y");
    assert_int_equal(strlen(err.text), SNUG_ERROR_TEXT_MAX - 1);
}

struct log_seen {
    int n;
    enum snug_log_level level;
    char line[2048];
};

static void keep_line(enum snug_log_level level, const char *line, void *data)
{
    struct log_seen *seen = data;
    seen->n++;
    seen->level = level;
    snprintf(seen->line, sizeof seen->line, "%s", line);
}

static void log_with_sink_delivers_one_line(void **state)
{
    (void)state;
    struct log_seen seen = {0};
    snug_log_set(keep_line, &seen);
    snug_log(SNUG_LOG_WARN, "event=%s\nn=%d", "slow", 3);
    snug_log_set(NULL, NULL);
    snug_log(SNUG_LOG_ERROR, "event=%s", "dropped");
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.level, SNUG_LOG_WARN);
    assert_string_equal(seen.line, "event=slow n=3");
}

static void log_long_line_is_cut(void **state)
{
    (void)state;
    struct log_seen seen = {0};
    snug_log_set(keep_line, &seen);
    snug_log(SNUG_LOG_INFO, "%01900d", 7);
    snug_log_set(NULL, NULL);
    assert_int_equal(strlen(seen.line), 1023);
}

static void version_is_three_numbers(void **state)
{
    (void)state;
    unsigned a, b, c;
    assert_int_equal(sscanf(snug_version(), "%u.%u.%u", &a, &b, &c), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_names_are_all_different),
        cmocka_unit_test(status_outside_the_table_has_a_name),
        cmocka_unit_test(fail_sets_status_and_text),
        cmocka_unit_test(fail_without_error_returns_status),
        cmocka_unit_test(fail_long_text_is_cut_at_the_cap),
        cmocka_unit_test(fail_cut_inside_a_character_drops_it),
        cmocka_unit_test(fail_text_with_newlines_becomes_one_line),
        cmocka_unit_test(fail_from_its_own_text_is_safe),
        cmocka_unit_test(fail_prefix_keeps_status_and_text),
        cmocka_unit_test(fail_prefix_of_full_text_is_cut),
        cmocka_unit_test(log_with_sink_delivers_one_line),
        cmocka_unit_test(log_long_line_is_cut),
        cmocka_unit_test(version_is_three_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
