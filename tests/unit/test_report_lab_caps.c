/* Caps of the page of a lab run: what refuses a document, and what is cut with a word about it. */
#include "test.h"

#include "base/buffer.h"
#include "html_scan.h"
#include "snug/report.h"

static char *render(const char *json)
{
    struct snug_error err = {0};
    char *html = NULL;
    size_t n = 0;
    assert_ok(snug_report_lab_html(json, strlen(json), &html, &n, &err));
    assert_int_equal(strlen(html), n);
    return html;
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        n++;
    return n;
}

static void assert_lacks(const char *html, const char *part)
{
    if (strstr(html, part))
        fail_msg("the page contains '%s'", part);
}

/* A document of one list with n elements `element`, where %zu is its number. */
static void fill_list(struct snug_buffer *json, const char *key, const char *format, size_t n)
{
    snug_buffer_consume(json, json->len);
    snug_buffer_printf(json, "{\"%s\":[", key);
    for (size_t i = 0; i < n; i++) {
        const char *at = strstr(format, "#");
        snug_buffer_puts(json, i ? "," : "");
        if (at)
            snug_buffer_printf(json, "%.*s%zu%s", (int)(at - format), format, i, at + 1);
        else
            snug_buffer_puts(json, format);
    }
    snug_buffer_puts(json, "]}");
}

static void report_lab_lists_at_cap_pass_and_beyond_fail(void **state)
{
    (void)state;
    static const struct {
        const char *key, *element;
        size_t max;
    } caps[] = {{"rows", "{}", SNUG_REPORT_LAB_ROWS_MAX},
                {"summary", "{}", SNUG_REPORT_LAB_ROWS_MAX},
                {"comparisons", "{}", SNUG_REPORT_LAB_COMPARISONS_MAX},
                {"rounds", "{}", SNUG_REPORT_LIST_MAX},
                {"models", "{}", SNUG_REPORT_LIST_MAX},
                {"workloads", "{}", SNUG_REPORT_LIST_MAX},
                {"thresholds", "{}", SNUG_REPORT_LIST_MAX},
                {"baseline_drift", "{}", SNUG_REPORT_LIST_MAX},
                {"summary", "{\"model\":\"#\"}", SNUG_REPORT_LIST_MAX}};
    struct snug_error err = {0};
    struct snug_buffer json = {0};
    for (size_t i = 0; i < COUNT(caps); i++) {
        char *html = NULL;
        size_t n = 0;
        fill_list(&json, caps[i].key, caps[i].element, caps[i].max);
        assert_ok(snug_report_lab_html(json.data, json.len, &html, &n, &err));
        assert_well_formed(html);
        free(html);
        html = NULL;
        fill_list(&json, caps[i].key, caps[i].element, caps[i].max + 1);
        assert_fails(SNUG_BAD_INPUT, snug_report_lab_html(json.data, json.len, &html, &n, &err));
        assert_contains(err.text, i + 1 < COUNT(caps) ? caps[i].key : "combinations");
        assert_null(html);
    }
    snug_buffer_clear(&json);
}

/* What is drawn has caps of its own: at the cap nothing is said, beyond it how much was cut. */
static void report_lab_what_is_cut_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *key, *element;
        size_t max;
        const char *said;
    } caps[] = {
        {"summary", "{\"model\":\"#\"}", SNUG_REPORT_LAB_SECTIONS_MAX,
         "The first 12 of 13 combinations of model and workload are shown"},
        {"summary", "{\"round\":\"#\",\"n_ok\":1}", SNUG_REPORT_LAB_ROUNDS_MAX,
         "The first 64 of 65 rounds are shown"},
        {"rows", "{\"round\":\"#\"}", SNUG_REPORT_LAB_TABLE_MAX,
         "The first 5000 of 5001 rows are shown"},
    };
    struct snug_buffer json = {0};
    for (size_t i = 0; i < COUNT(caps); i++) {
        fill_list(&json, caps[i].key, caps[i].element, caps[i].max);
        char *html = render(json.data);
        assert_lacks(html, "class=\"cut\"");
        free(html);
        fill_list(&json, caps[i].key, caps[i].element, caps[i].max + 1);
        html = render(json.data);
        assert_well_formed(html);
        assert_contains(html, caps[i].said);
        free(html);
    }
    snug_buffer_clear(&json);
}

/* The table of verdicts goes on past the rounds of a chart, up to a cap of its own. */
static void report_lab_verdicts_at_cap_pass_and_beyond_are_cut(void **state)
{
    (void)state;
    struct snug_buffer json = {0};
    fill_list(&json, "summary", "{\"round\":\"#\",\"n_failed\":1}", SNUG_REPORT_LIST_MAX);
    char *html = render(json.data);
    assert_int_equal(count(html, "<tr class=\"bad\">"), SNUG_REPORT_LIST_MAX);
    assert_lacks(html, "verdicts are shown");
    free(html);
    fill_list(&json, "summary", "{\"round\":\"#\",\"n_failed\":1}", SNUG_REPORT_LIST_MAX + 1);
    html = render(json.data);
    assert_int_equal(count(html, "<tr class=\"bad\">"), SNUG_REPORT_LIST_MAX);
    assert_contains(html, "The first 1024 of 1025 verdicts are shown");
    free(html);
    snug_buffer_clear(&json);
}

/* Points of the drift, in a list inside a list. */
static void report_lab_drift_points_at_cap_pass_and_beyond_are_cut(void **state)
{
    (void)state;
    for (size_t over = 0; over < 2; over++) {
        struct snug_buffer points = {0}, json = {0};
        fill_list(&points, "points", "[1#,20]", SNUG_REPORT_LAB_POINTS_MAX + over);
        snug_buffer_printf(&json,
                           "{\"summary\":[{\"model\":\"m\"}],\"baseline_drift\":"
                           "[{\"model\":\"m\",%s]}",
                           points.data + 1);
        char *html = render(json.data);
        assert_well_formed(html);
        assert_int_equal(count(html, "The first 4000 of 4001 points"), over);
        free(html);
        snug_buffer_clear(&points);
        snug_buffer_clear(&json);
    }
}

static void report_lab_document_bytes_at_cap_pass_and_beyond_fail(void **state)
{
    (void)state;
    struct snug_error err = {0};
    char *json = malloc((size_t)SNUG_REPORT_JSON_BYTES_MAX + 1), *html = NULL;
    size_t n = 0;
    assert_non_null(json);
    memset(json, ' ', (size_t)SNUG_REPORT_JSON_BYTES_MAX + 1);
    json[0] = '{';
    json[1] = '}';
    assert_fails(SNUG_BAD_INPUT, snug_report_lab_html(json, (size_t)SNUG_REPORT_JSON_BYTES_MAX + 1,
                                                      &html, &n, &err));
    assert_contains(err.text, "67108864");
    assert_null(html);
    assert_ok(snug_report_lab_html(json, SNUG_REPORT_JSON_BYTES_MAX, &html, &n, &err));
    free(html);
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_lab_lists_at_cap_pass_and_beyond_fail),
        cmocka_unit_test(report_lab_what_is_cut_is_said),
        cmocka_unit_test(report_lab_verdicts_at_cap_pass_and_beyond_are_cut),
        cmocka_unit_test(report_lab_drift_points_at_cap_pass_and_beyond_are_cut),
        cmocka_unit_test(report_lab_document_bytes_at_cap_pass_and_beyond_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
