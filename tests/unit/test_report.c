/* The report page: well-formed whatever the document holds, nothing from it unescaped, nothing on
 * it that loads, and the sentence that its figures allow. */
#include "test.h"

#include "base/buffer.h"
#include "base/json.h"
#include "fault.h"
#include "html_scan.h"
#include "snug/report.h"

/* ---- documents ---- */

/* One trial object; speed <= 0 makes it a failed one. */
static void put_trial(struct snug_json_writer *w, int id, const char *role, double speed,
                      double bytes)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_int(w, "id", id);
    snug_json_put_string(w, "role", role);
    snug_json_put_string(w, "config_text", speed > 0 ? "n_threads=2" : "n_ubatch=4096");
    snug_json_put_bool(w, "on_front", speed > 0);
    snug_json_put_number(w, "speed", speed);
    snug_json_put_number(w, "speed_lo", speed * 0.9);
    snug_json_put_number(w, "speed_hi", speed * 1.1);
    snug_json_put_number(w, "bytes", bytes);
    snug_json_begin_object(w, "measurement");
    snug_json_put_string(w, "outcome", speed > 0 ? "ok" : "oom");
    snug_json_put_string(w, "reason", speed > 0 ? "" : "777.7 GiB were refused");
    snug_json_put_number(w, "decode_tps", speed);
    snug_json_begin_object(w, "bytes");
    snug_json_put_number(w, "weights", bytes * 0.5);
    snug_json_put_number(w, "cache", bytes * 0.3);
    snug_json_put_number(w, "compute", bytes * 0.2);
    snug_json_end(w);
    snug_json_begin_array(w, "decode_block_tps");
    for (int i = 0; i < 3; i++)
        snug_json_put_number(w, NULL, speed * (1 + 0.01 * i));
    snug_json_end(w);
    snug_json_begin_array(w, "warnings");
    snug_json_put_string(w, NULL, "noisy");
    snug_json_end(w);
    snug_json_end(w);
    snug_json_end(w);
}

/* Trials 1 .. n, the first the default one; every seventh fails, or all. */
static void put_trials(struct snug_json_writer *w, int n, bool all_fail)
{
    snug_json_begin_array(w, "trials");
    for (int i = 1; i <= n; i++)
        put_trial(w, i, i == 1 ? "default" : "search",
                  all_fail || (n > 1 && i % 7 == 0) ? 0 : 20.0 + i % 50, (300.0 + i) * 0x1p20);
    snug_json_end(w);
    snug_json_put_int(w, "default_trial", 1);
}

static void put_pick(struct snug_json_writer *w, int trial, const char *command)
{
    snug_json_begin_object(w, "pick");
    snug_json_put_int(w, "trial", trial);
    snug_json_put_string(w, "command", command);
    snug_json_end(w);
}

static void put_gain(struct snug_json_writer *w, double lo, double mid, double hi)
{
    snug_json_begin_array(w, "confirm");
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "against", "default");
    snug_json_put_number(w, "lo", lo);
    snug_json_put_number(w, "mid", mid);
    snug_json_put_number(w, "hi", hi);
    snug_json_put_int(w, "n_pairs", 5);
    snug_json_put_string(w, "verdict", "the verdict of the document");
    snug_json_end(w);
    snug_json_end(w);
}

static char *render(const char *json)
{
    struct snug_error err = {0};
    char *html = NULL;
    size_t n = 0;
    assert_ok(snug_report_html(json, strlen(json), &html, &n, &err));
    assert_int_equal(strlen(html), n);
    return html;
}

static char *render_writer(struct snug_json_writer *w)
{
    char *json = snug_json_finish(w, false);
    assert_non_null(json);
    char *html = render(json);
    free(json);
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

/* No address, no reference, no import, one script, one style. */
static void assert_self_contained(const char *html)
{
    static const char *const banned[] = {"http:",   "https:",  "src=",    "url(",    "@import",
                                         "<img",    "<iframe", "<object", "<form",   "style=\"",
                                         "onclick", "xlink",   "fetch(",  "XMLHttp", "//cdn"};
    for (size_t i = 0; i < COUNT(banned); i++)
        assert_lacks(html, banned[i]);
    assert_int_equal(count(html, "<script"), 1);
    assert_int_equal(count(html, "<style"), 1);
    assert_int_equal(count(html, "href="), 1);
    assert_contains(html, "<link rel=\"icon\" href=\"data:,\">");
    assert_contains(html, "default-src 'none'");
    assert_int_equal(count(html, "'sha256-"), 2);
    assert_lacks(html, "unsafe-inline");
}

static void assert_sound(const char *html)
{
    assert_well_formed(html);
    assert_self_contained(html);
    assert_lacks(html, "nan");
    assert_lacks(html, "inf\"");
    assert_lacks(html, ">inf");
    assert_lacks(html, "(null)");
}

/* ---- tests ---- */

static void report_empty_document_says_what_is_missing(void **state)
{
    (void)state;
    char *html = render("{}");
    assert_sound(html);
    assert_contains(html, "No trial was run.");
    assert_contains(html, "not measured");
    free(html);
}

static void report_null_and_wrong_kinds_are_not_measured(void **state)
{
    (void)state;
    static const char *const documents[] = {
        "{\"title\":null,\"machine\":null,\"speed\":null,\"model\":null,\"workload\":null,"
        "\"trials\":null,\"progress\":null,\"pick\":null,\"confirm\":null,\"notes\":null}",
        "{\"title\":3,\"machine\":[],\"speed\":1,\"model\":\"x\",\"workload\":[1],\"trials\":{},"
        "\"progress\":7,\"pick\":[],\"confirm\":\"y\",\"notes\":{\"a\":1}}",
        "{\"trials\":[null,1,\"x\",[],{}],\"progress\":[null,{}],\"confirm\":[null,{}],"
        "\"notes\":[null,1],\"pick\":{\"trial\":\"1\"}}",
        "{\"trials\":[{\"id\":1,\"on_front\":true,\"speed\":null,\"bytes\":null,\"measurement\":"
        "{\"outcome\":\"ok\",\"bytes\":{\"weights\":null},\"decode_block_tps\":[null,\"a\",-1]}}],"
        "\"default_trial\":1,\"fit_trial\":99,\"pick\":{\"trial\":1}}",
        "{\"generated_unix_s\":-1e300,\"memory_limit_bytes\":-5,\"model\":{\"n_params\":1e300,"
        "\"types\":[{\"bytes\":0,\"n_elements\":0}]},\"machine\":{\"ram_bytes\":-1,\"caches\":"
        "[{}],\"devices\":[{}],\"quota_cpus\":{\"value\":null}},\"speed\":{\"mul_mat\":[{}]}}",
    };
    for (size_t i = 0; i < COUNT(documents); i++) {
        char *html = render(documents[i]);
        assert_sound(html);
        assert_contains(html, "not measured");
        free(html);
    }
}

static void report_extreme_numbers_stay_drawable(void **state)
{
    (void)state;
    static const double values[][2] = {{1e-300, 1},    {1e300, 1e300},    {1e24, 1e24},
                                       {1, 1e-5},      {-1, -1},          {1e-12, 1e12},
                                       {5e-324, 1e18}, {123.456, 1e9 / 3}};
    for (size_t i = 0; i < COUNT(values); i++) {
        struct snug_json_writer w = {0};
        snug_json_begin_object(&w, NULL);
        snug_json_put_number(&w, "memory_limit_bytes", values[i][1]);
        snug_json_begin_array(&w, "trials");
        put_trial(&w, 1, "default", values[i][0], values[i][1]);
        put_trial(&w, 2, "search", 10, 0x1p30);
        snug_json_end(&w);
        snug_json_put_int(&w, "default_trial", 1);
        put_gain(&w, values[i][0] / 2, values[i][0], values[i][0] * 2);
        snug_json_end(&w);
        char *html = render_writer(&w);
        assert_sound(html);
        assert_contains(html, "Scatter plot");
        free(html);
    }
}

static void report_hostile_text_is_escaped_everywhere(void **state)
{
    (void)state;
    static const char bad[] = "<script>alert(1)</script>\"' onload=x &lt; </title><!-- \x01";
    static const char *const objects[][8] = {
        {"machine", "cpu_name", "os", "governor", "isa"},
        {"model", "name", "path", "arch"},
        {"pick", "command", "config_text"},
    };
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    static const char *const texts[] = {"title", "snug", "build", "objective"};
    for (size_t i = 0; i < COUNT(texts); i++)
        snug_json_put_string(&w, texts[i], bad);
    for (size_t i = 0; i < COUNT(objects); i++) {
        snug_json_begin_object(&w, objects[i][0]);
        for (size_t j = 1; j < 8 && objects[i][j]; j++)
            snug_json_put_string(&w, objects[i][j], bad);
        snug_json_end(&w);
    }
    snug_json_begin_array(&w, "trials");
    put_trial(&w, 1, bad, 10, 0x1p30);
    put_trial(&w, 2, bad, 0, 0x1p30);
    snug_json_end(&w);
    snug_json_begin_array(&w, "notes");
    snug_json_put_string(&w, NULL, bad);
    snug_json_end(&w);
    snug_json_begin_array(&w, "confirm");
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "against", bad);
    snug_json_put_string(&w, "verdict", bad);
    snug_json_put_number(&w, "lo", 1);
    snug_json_put_number(&w, "mid", 1);
    snug_json_put_number(&w, "hi", 1);
    snug_json_end(&w);
    snug_json_end(&w);
    snug_json_end(&w);
    char *html = render_writer(&w);
    assert_sound(html);
    assert_lacks(html, "alert(1)</script>");
    assert_lacks(html, "<!--");
    assert_lacks(html, "\x01");
    assert_true(count(html, "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;") >= 12);
    assert_contains(html, "&amp;lt;");
    free(html);
}

static void report_text_direction_controls_are_replaced(void **state)
{
    (void)state;
    char *html = render("{\"title\":\"a\\u202Eb\\u2066c\\u0085d\\u2028e\"}");
    assert_contains(html, "a\xEF\xBF\xBD"
                          "b\xEF\xBF\xBD"
                          "c\xEF\xBF\xBD"
                          "d");
    free(html);
}

static void report_short_trials_are_drawn_as_measured_again(void **state)
{
    (void)state;
    static const char *const roles[] = {"search", "front", "confirm"};
    for (size_t i = 0; i < COUNT(roles); i++) {
        struct snug_json_writer w = {0};
        snug_json_begin_object(&w, NULL);
        snug_json_begin_array(&w, "trials");
        put_trial(&w, 1, "default", 10, 0x1p30);
        put_trial(&w, 2, roles[i], 11, 0x1p30);
        snug_json_end(&w);
        snug_json_end(&w);
        char *html = render_writer(&w);
        assert_int_equal(count(html, "re-measured"), i > 0);
        free(html);
    }
}

static void report_one_trial_is_drawn_and_named(void **state)
{
    (void)state;
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    put_trials(&w, 1, false);
    put_pick(&w, 1, "llama-server --threads 2");
    snug_json_end(&w);
    char *html = render_writer(&w);
    assert_sound(html);
    assert_contains(html, "Keep the default.");
    assert_contains(html, "pick = default 21.0");
    assert_contains(html, "<code>llama-server --threads 2</code>");
    assert_contains(html, "<abbr title=\"blocks spread");
    free(html);
}

static void report_failed_trials_only_show_reasons_and_no_speed(void **state)
{
    (void)state;
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    put_trials(&w, 3, true);
    snug_json_end(&w);
    char *html = render_writer(&w);
    assert_sound(html);
    assert_contains(html, "all of 3 trials failed");
    assert_int_equal(count(html, "not measured: 777.7 GiB were refused"), 3);
    assert_int_equal(count(html, "<tr class=\"bad\">"), 3);
    assert_lacks(html, "Scatter plot");
    free(html);
}

/* A failed trial that claims a speed is still failed: neither drawn nor named with one. */
static void report_failed_trial_with_figures_keeps_none(void **state)
{
    (void)state;
    char *html =
        render("{\"trials\":[{\"id\":1,\"on_front\":true,\"speed\":98765,\"speed_lo\":98765,"
               "\"bytes\":5,\"measurement\":{\"outcome\":\"crash\",\"decode_tps\":98765,"
               "\"decode_block_tps\":[98765]}}],\"default_trial\":1}");
    assert_sound(html);
    assert_lacks(html, "98765");
    assert_contains(html, "no reason recorded");
    free(html);
}

static char *render_gain(double lo, double mid, double hi)
{
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    put_trials(&w, 2, false);
    put_pick(&w, 2, "x");
    put_gain(&w, lo, mid, hi);
    snug_json_end(&w);
    char *html = render_writer(&w);
    assert_sound(html);
    assert_contains(html, "the verdict of the document");
    return html;
}

static void report_interval_decides_the_sentence(void **state)
{
    (void)state;
    char *html = render_gain(1.2, 1.3, 1.4);
    assert_contains(html, "The pick decodes <strong>1.30 times as fast</strong>");
    assert_contains(html, "Interval 1.20 to 1.40, from 5 pairs");
    assert_lacks(html, "No difference");
    free(html);
    html = render_gain(0.97, 1.3, 1.4);
    assert_contains(html, "No difference was shown");
    assert_lacks(html, "times as fast</strong>");
    free(html);
    html = render_gain(0.7, 0.8, 0.9);
    assert_contains(html, "it is slower");
    free(html);
    html = render_gain(1.4, 1.3, 1.2); /* no interval at all */
    assert_contains(html, "was not measured");
    free(html);
}

static void report_five_thousand_trials_have_a_row_each(void **state)
{
    (void)state;
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    put_trials(&w, 5000, false);
    put_pick(&w, 3, "x");
    snug_json_end(&w);
    char *html = render_writer(&w);
    assert_sound(html);
    assert_int_equal(count(html, "<th scope=\"row\" class=\"n\" data-v="), 5000);
    assert_contains(html, "5000 trials, 4286 ok, 714 failed");
    free(html);
}

/* {"key":[{},{},...]} with n elements */
static void fill_list(struct snug_buffer *json, const char *key, size_t n)
{
    snug_buffer_printf(json, "{\"%s\":[", key);
    for (size_t i = 0; i < n; i++)
        snug_buffer_puts(json, i ? ",{}" : "{}");
    snug_buffer_puts(json, "]}");
}

static void report_lists_at_cap_pass_and_beyond_fail(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        size_t max;
    } caps[] = {{"trials", SNUG_REPORT_TRIALS_MAX},
                {"progress", SNUG_REPORT_TRIALS_MAX},
                {"confirm", SNUG_REPORT_LIST_MAX},
                {"notes", SNUG_REPORT_LIST_MAX}};
    struct snug_error err = {0};
    for (size_t i = 0; i < COUNT(caps); i++) {
        struct snug_buffer json = {0};
        char *html = NULL;
        size_t n = 0;
        fill_list(&json, caps[i].key, caps[i].max);
        assert_ok(snug_report_html(json.data, json.len, &html, &n, &err));
        assert_well_formed(html);
        free(html);
        html = NULL;
        snug_buffer_consume(&json, json.len);
        fill_list(&json, caps[i].key, caps[i].max + 1);
        assert_fails(SNUG_BAD_INPUT, snug_report_html(json.data, json.len, &html, &n, &err));
        assert_contains(err.text, caps[i].key);
        assert_null(html);
        snug_buffer_clear(&json);
    }
}

static void report_document_bytes_at_cap_pass_and_beyond_fail(void **state)
{
    (void)state;
    struct snug_error err = {0};
    char *json = malloc((size_t)SNUG_REPORT_JSON_BYTES_MAX + 1), *html = NULL;
    size_t n = 0;
    assert_non_null(json);
    memset(json, ' ', (size_t)SNUG_REPORT_JSON_BYTES_MAX + 1);
    json[0] = '{';
    json[1] = '}';
    assert_fails(SNUG_BAD_INPUT,
                 snug_report_html(json, (size_t)SNUG_REPORT_JSON_BYTES_MAX + 1, &html, &n, &err));
    assert_contains(err.text, "67108864");
    assert_null(html);
    assert_ok(snug_report_html(json, SNUG_REPORT_JSON_BYTES_MAX, &html, &n, &err));
    free(html);
    free(json);
}

/* A list of n nested arrays under a key of the object that is the first level. */
static snug_status render_nested(size_t n_levels, struct snug_error *err)
{
    struct snug_buffer json = {0};
    char *html = NULL;
    size_t n = 0;
    snug_buffer_puts(&json, "{\"notes\":");
    for (size_t i = 1; i < n_levels; i++)
        snug_buffer_puts(&json, "[");
    for (size_t i = 1; i < n_levels; i++)
        snug_buffer_puts(&json, "]");
    snug_buffer_puts(&json, "}");
    snug_status status = snug_report_html(json.data, json.len, &html, &n, err);
    free(html);
    snug_buffer_clear(&json);
    return status;
}

static void report_nesting_at_cap_passes_and_beyond_fails(void **state)
{
    (void)state;
    struct snug_error err = {0};
    assert_ok(render_nested(SNUG_JSON_DEPTH_MAX, &err));
    assert_fails(SNUG_BAD_INPUT, render_nested(SNUG_JSON_DEPTH_MAX + 1, &err));
    assert_fails(SNUG_BAD_INPUT, render_nested(1000000, &err));
}

/* Columns in the order named, only members of the front, unknown names left out. */
static void report_shows_the_front_of_its_objectives(void **state)
{
    (void)state;
    static const char json[] =
        "{\"objectives\":[\"prefill\",\"request\",\"happiness\",\"kld\"],"
        "\"limits\":{\"max-ttft\":0.25},\"trials\":["
        "{\"id\":7,\"on_front\":true,\"config_text\":\"n_ubatch=64\","
        "\"measurement\":{\"outcome\":\"ok\"},"
        "\"axes\":{\"prefill_tps\":321.0,\"requests_per_s\":0.5,\"kld_nats\":0.0123}},"
        "{\"id\":9,\"on_front\":true,\"config_text\":\"n_ubatch=16\","
        "\"measurement\":{\"outcome\":\"ok\"},\"axes\":{\"kld_nats\":-1e-12}},"
        "{\"id\":8,\"on_front\":false,\"config_text\":\"n_ubatch=32\","
        "\"measurement\":{\"outcome\":\"ok\"},\"axes\":{\"prefill_tps\":98765}}]}";
    struct snug_error err = {0};
    char *html = NULL;
    size_t n = 0;
    assert_ok(snug_report_html(json, strlen(json), &html, &n, &err));
    const char *at = strstr(html, "Front of the objectives</h2>");
    assert_non_null(at);
    const char *end = strstr(at, "</section>");
    const char *heads[] = {"TTFT at most 250",
                           "Prefill tokens/s</th>",
                           "Request</th>",
                           "KL divergence</th>",
                           ">321",
                           ">2.00",
                           ">0.01230",
                           "n_ubatch=64",
                           ">0.00000", /* an estimate that lies a little below */
                           "n_ubatch=16"};
    for (size_t i = 0; i < COUNT(heads); i++) {
        const char *found = strstr(at, heads[i]);
        if (!found || found > end)
            fail_msg("'%s' is not there, or out of order", heads[i]);
        at = found;
    }
    assert_true(!strstr(html, "happiness") && !strstr(html, "98765"));
    free(html);
}

static void report_what_is_no_object_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "[]", "3", "null", "{", "{\"a\":1}x", "\xff"};
    struct snug_error err = {0};
    for (size_t i = 0; i < COUNT(texts); i++) {
        char *html = NULL;
        size_t n = 7;
        assert_fails(SNUG_BAD_INPUT, snug_report_html(texts[i], strlen(texts[i]), &html, &n, &err));
        assert_contains(err.text, "report document");
        assert_null(html);
        assert_int_equal(n, 7);
    }
}

static void report_any_failed_allocation_is_reported(void **state)
{
    (void)state;
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    put_trials(&w, 4, false);
    put_pick(&w, 2, "x");
    put_gain(&w, 1.1, 1.2, 1.3);
    snug_json_end(&w);
    char *json = snug_json_finish(&w, false);
    assert_non_null(json);
    size_t n_json = strlen(json);
    long n_failed = 0;
    for (long at = 0;; at++) {
        struct snug_error err = {0};
        char *html = NULL;
        size_t n = 0;
        fault_begin(at);
        snug_status status = snug_report_html(json, n_json, &html, &n, &err);
        if (!fault_end()) {
            assert_int_equal(status, SNUG_OK);
            free(html);
            break;
        }
        if (status != SNUG_NO_MEMORY)
            fail_msg("allocation %ld failed, status is %s", at, snug_status_name(status));
        assert_null(html);
        n_failed++;
    }
    assert_true(n_failed >= 5); /* document, rows, page, tooltips, front */
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_empty_document_says_what_is_missing),
        cmocka_unit_test(report_null_and_wrong_kinds_are_not_measured),
        cmocka_unit_test(report_extreme_numbers_stay_drawable),
        cmocka_unit_test(report_hostile_text_is_escaped_everywhere),
        cmocka_unit_test(report_short_trials_are_drawn_as_measured_again),
        cmocka_unit_test(report_text_direction_controls_are_replaced),
        cmocka_unit_test(report_one_trial_is_drawn_and_named),
        cmocka_unit_test(report_failed_trials_only_show_reasons_and_no_speed),
        cmocka_unit_test(report_failed_trial_with_figures_keeps_none),
        cmocka_unit_test(report_interval_decides_the_sentence),
        cmocka_unit_test(report_five_thousand_trials_have_a_row_each),
        cmocka_unit_test(report_lists_at_cap_pass_and_beyond_fail),
        cmocka_unit_test(report_document_bytes_at_cap_pass_and_beyond_fail),
        cmocka_unit_test(report_nesting_at_cap_passes_and_beyond_fails),
        cmocka_unit_test(report_shows_the_front_of_its_objectives),
        cmocka_unit_test(report_what_is_no_object_is_refused),
        cmocka_unit_test(report_any_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
