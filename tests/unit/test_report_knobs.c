/* The page of a ranking of knobs: what the document says is on it, what is missing is said, what is
 * past a cap is left out, and nothing of the document is markup. */
#include "test.h"

#include "base/buffer.h"
#include "snug/report.h"

static char *page_of(const char *json)
{
    struct snug_error err = {0};
    char *html = NULL;
    size_t n = 0;
    assert_ok(snug_report_knobs_html(json, strlen(json), &html, &n, &err));
    assert_int_equal(strlen(html), n);
    return html;
}

static int count(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        n++;
    return n;
}

/* One metric of n_knobs knobs, the first with a swarm of n_points dots. */
static char *document(int n_knobs, int n_points)
{
    struct snug_buffer out = {0};
    snug_buffer_puts(&out, "{\"metrics\":[{\"metric\":\"decode\",\"name\":\"decode speed\","
                           "\"knobs\":[");
    for (int i = 0; i < n_knobs; i++)
        snug_buffer_printf(&out,
                           "%s{\"knob\":\"k%d\",\"effect_frac\":{\"lo\":0.01,\"mid\":0.02,\"hi\":"
                           "0.05},\"chance_frac\":0.005,\"decision\":\"keep\"}",
                           i ? "," : "", i);
    snug_buffer_puts(&out, "],\"swarms\":[{\"knob\":\"k0\",\"points\":[");
    for (int i = 0; i < n_points; i++)
        snug_buffer_printf(&out, "%s[0.5,%g,\"v%d\"]", i ? "," : "", 0.001 * (i + 1), i);
    snug_buffer_puts(&out, "]}]}]}");
    return snug_buffer_take(&out);
}

static void page_draws_bars_and_dots(void **state)
{
    (void)state;
    char *json = document(3, 5), *html = page_of(json);
    assert_int_equal(count(html, "<svg"), 4); /* two charts, for a desk and for a phone */
    assert_int_equal(count(html, "<rect class=\"ratio-bar better\""), 6);
    assert_int_equal(count(html, "class=\"h3\""), 10);
    assert_int_equal(count(html, "k0=v4: +0.50 %"), 2);
    assert_non_null(strstr(html, "2.00 (1.00 to 5.00)"));
    free(json);
    free(html);
}

/* What is not kept is drawn hollow, in the words of its decision; none of them is a verdict more.
 */
static void page_draws_what_is_not_kept_hollow(void **state)
{
    (void)state;
    char *html = page_of("{\"metrics\":[{\"name\":\"m\",\"knobs\":["
                         "{\"knob\":\"a\",\"effect_frac\":{\"lo\":0,\"mid\":0.02,\"hi\":0.05},"
                         "\"decision\":\"open\"},"
                         "{\"knob\":\"b\",\"effect_frac\":{\"lo\":0,\"mid\":0,\"hi\":0.001},"
                         "\"decision\":\"drop\"}]}]}");
    assert_int_equal(count(html, "<rect class=\"ratio-bar even\""), 4);
    assert_int_equal(count(html, "class=\"even hollow\""), 4);
    assert_int_equal(count(html, ">not told apart<"), 2);
    assert_int_equal(count(html, ">inert<"), 2);
    assert_null(strstr(html, "Verdict"));
    free(html);
}

/* Dots lie on both sides of zero, and so do the ticks. */
static void page_has_ticks_below_zero(void **state)
{
    (void)state;
    char *html = page_of("{\"metrics\":[{\"name\":\"m\",\"knobs\":[{\"knob\":\"a\"}],\"swarms\":["
                         "{\"knob\":\"a\",\"points\":[[0,-0.04,\"x\"],[1,0.04,\"y\"]]}]}]}");
    assert_int_equal(count(html, "text-anchor=\"middle\">-4</text>"), 2);
    assert_int_equal(count(html, "text-anchor=\"middle\">0</text>"), 2);
    assert_int_equal(count(html, "text-anchor=\"middle\">4</text>"), 2);
    free(html);
}

static void page_leaves_out_what_is_past_the_caps(void **state)
{
    (void)state;
    for (int more = 0; more <= 1; more++) {
        char *json = document(SNUG_REPORT_KNOBS_MAX + more, SNUG_REPORT_KNOBS_POINTS_MAX + more);
        char *html = page_of(json);
        assert_int_equal(count(html, "<rect class=\"ratio-bar"), 2 * SNUG_REPORT_KNOBS_MAX);
        assert_int_equal(count(html, "class=\"h3\""), 2 * SNUG_REPORT_KNOBS_POINTS_MAX);
        free(json);
        free(html);
    }
}

static void page_says_what_is_missing(void **state)
{
    (void)state;
    char *html = page_of("{\"metrics\":[{\"name\":\"memory\",\"why_not\":\"never differs\"},"
                         "{\"name\":\"decode speed\",\"knobs\":[{\"knob\":\"a\",\"effect_frac\":"
                         "{\"lo\":2,\"mid\":1,\"hi\":null}}]}]}");
    assert_non_null(strstr(html, "Not ranked: never differs."));
    assert_non_null(strstr(html, "Effects of knobs: not measured."));
    assert_int_equal(count(html, "<svg"), 0);
    free(html);
}

static void page_escapes_the_document(void **state)
{
    (void)state;
    char *html = page_of("{\"title\":\"<i>a\",\"ranked\":[{\"knob\":\"<i>b\",\"metric\":\"<i>c\"}],"
                         "\"metrics\":[{\"name\":\"<i>d\",\"why_not\":\"<i>e\"}]}");
    assert_int_equal(count(html, "<i>"), 0);
    assert_int_equal(count(html, "&lt;i&gt;"), 6); /* the title twice */
    free(html);
}

static void page_refuses_what_is_no_document(void **state)
{
    (void)state;
    struct snug_error err = {0};
    char *html = NULL;
    size_t n = 0;
    assert_fails(SNUG_BAD_INPUT, snug_report_knobs_html("[1]", 3, &html, &n, &err));
    assert_fails(SNUG_BAD_INPUT, snug_report_knobs_html("{", 1, &html, &n, &err));
    assert_null(html);
}

static void page_reads_so_many_bytes(void **state)
{
    (void)state;
    struct snug_error err = {0};
    char *json = malloc(SNUG_REPORT_JSON_BYTES_MAX + 1), *html = NULL;
    size_t n = 0;
    assert_non_null(json);
    memset(json, ' ', SNUG_REPORT_JSON_BYTES_MAX + 1);
    memcpy(json, "{}", 2);
    assert_ok(snug_report_knobs_html(json, SNUG_REPORT_JSON_BYTES_MAX, &html, &n, &err));
    free(html);
    html = NULL;
    assert_fails(SNUG_BAD_INPUT,
                 snug_report_knobs_html(json, SNUG_REPORT_JSON_BYTES_MAX + 1, &html, &n, &err));
    assert_null(html);
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_draws_bars_and_dots),
        cmocka_unit_test(page_draws_what_is_not_kept_hollow),
        cmocka_unit_test(page_has_ticks_below_zero),
        cmocka_unit_test(page_leaves_out_what_is_past_the_caps),
        cmocka_unit_test(page_says_what_is_missing),
        cmocka_unit_test(page_escapes_the_document),
        cmocka_unit_test(page_refuses_what_is_no_document),
        cmocka_unit_test(page_reads_so_many_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
