/* The page of a lab run: well-formed whatever the document holds, nothing of it unescaped, nothing
 * that loads, every section there, failed rounds never numbers. */
#include "test.h"

#include "base/json.h"
#include "fault.h"
#include "html_scan.h"
#include "snug/report.h"

/* ---- documents ---- */

/* A speed that no other place of a document holds: seen on the page, it was drawn or listed. */
#define FAILED_SPEED 98765.0
#define FAILED_TEXT "98765"

static void put_interval(struct snug_json_writer *w, const char *key, double mid)
{
    snug_json_begin_object(w, key);
    snug_json_put_number(w, "lo", mid * 0.98);
    snug_json_put_number(w, "mid", mid);
    snug_json_put_number(w, "hi", mid * 1.02);
    snug_json_end(w);
}

static void put_samples(struct snug_json_writer *w)
{
    static const char *const keys[] = {"t_s", "clock_hz", "other_load_frac", "pressure_cpu_frac"};
    static const double scales[] = {1, 2e9, 0.01, 0.02};
    snug_json_begin_object(w, "samples");
    for (size_t k = 0; k < COUNT(keys); k++) {
        snug_json_begin_array(w, keys[k]);
        for (int i = 0; i < 4; i++)
            snug_json_put_number(w, NULL, scales[k] * (1 + i));
        snug_json_end(w);
    }
    snug_json_end(w);
}

/* One row; speed <= 0 makes it a failed one that claims a speed all the same. */
static void put_row(struct snug_json_writer *w, const char *round, const char *model,
                    int repetition, double speed)
{
    bool is_ok = speed > 0;
    speed = is_ok ? speed : FAILED_SPEED;
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "round", round);
    snug_json_put_string(w, "model", model);
    snug_json_put_string(w, "workload", "chat");
    snug_json_put_int(w, "repetition", repetition);
    snug_json_put_string(w, "role", strcmp(round, "baseline") == 0 ? "baseline" : "round");
    snug_json_begin_object(w, "measurement");
    snug_json_put_string(w, "outcome", is_ok ? "ok" : "oom");
    snug_json_put_string(w, "reason", is_ok ? "" : "777.7 GiB were refused");
    snug_json_put_number(w, "prefill_tps", speed * 10);
    snug_json_put_number(w, "decode_tps", speed);
    snug_json_put_number(w, "ttft_s", 1.25);
    snug_json_put_number(w, "started_unix_s", 1.7e9 + 60.0 * repetition);
    snug_json_put_string(w, "verdict", "NOTE");
    snug_json_begin_array(w, "warnings");
    snug_json_put_string(w, NULL, "noisy");
    snug_json_end(w);
    put_samples(w);
    snug_json_end(w);
    snug_json_end(w);
}

static void put_summary(struct snug_json_writer *w, const char *round, const char *model,
                        double speed, double kld)
{
    bool is_ok = speed > 0;
    speed = is_ok ? speed : FAILED_SPEED;
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "round", round);
    snug_json_put_string(w, "model", model);
    snug_json_put_string(w, "workload", "chat");
    snug_json_put_int(w, "n_ok", is_ok ? 2 : 0);
    snug_json_put_int(w, "n_failed", is_ok ? 0 : 2);
    put_interval(w, "prefill_tps", speed * 10);
    put_interval(w, "decode_tps", speed);
    snug_json_put_number(w, "ttft_s", is_ok ? 1.25 : FAILED_SPEED);
    snug_json_put_number(w, "tpot_p50_s", 1 / speed);
    snug_json_put_number(w, "load_s", 0.5);
    snug_json_put_number(w, "first_sample_s", 0.25);
    snug_json_begin_object(w, "bytes");
    snug_json_put_number(w, "weights", is_ok ? 0x1p28 : FAILED_SPEED * 0x1p20);
    snug_json_put_number(w, "cache", 0x1p26);
    snug_json_put_number(w, "compute", 0x1p25);
    snug_json_end(w);
    snug_json_put_string(w, "verdict", "INVALID");
    snug_json_begin_array(w, "rules");
    snug_json_put_string(w, NULL, "other_load");
    snug_json_end(w);
    snug_json_put_bool(w, "improved", strcmp(round, "fast") == 0);
    snug_json_begin_object(w, "quality");
    snug_json_begin_object(w, "kld_mean");
    snug_json_put_number(w, "value", kld);
    snug_json_put_number(w, "se", 0.001);
    snug_json_end(w);
    snug_json_end(w);
    snug_json_end(w);
}

static void put_ratio(struct snug_json_writer *w, const char *round, const char *model,
                      const char *metric, double ratio)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "round", round);
    snug_json_put_string(w, "model", model);
    snug_json_put_string(w, "workload", "chat");
    snug_json_put_string(w, "metric", metric);
    put_interval(w, "ratio", ratio);
    snug_json_put_int(w, "n_pairs", 5);
    snug_json_end(w);
}

static void put_threshold(struct snug_json_writer *w, const char *text, int ok)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "text", text);
    if (ok >= 0)
        snug_json_put_bool(w, "ok", ok);
    snug_json_put_number(w, "value", 12.5);
    snug_json_end(w);
}

static void put_named(struct snug_json_writer *w, const char *list, const char *name)
{
    snug_json_begin_array(w, list);
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "name", name);
    snug_json_put_int(w, "n_prompt", 100);
    snug_json_put_int(w, "n_gen", 11);
    snug_json_put_int(w, "n_parallel", 1);
    snug_json_put_number(w, "bytes", 0x1p28);
    snug_json_end(w);
    snug_json_end(w);
}

static void put_drift(struct snug_json_writer *w, const char *model, const char *metric)
{
    snug_json_begin_array(w, "baseline_drift");
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "model", model);
    snug_json_put_string(w, "workload", "chat");
    snug_json_put_string(w, "metric", metric);
    snug_json_begin_object(w, "frac_per_hour");
    snug_json_put_number(w, "lo", -0.03);
    snug_json_put_number(w, "mid", -0.02);
    snug_json_put_number(w, "hi", -0.01);
    snug_json_end(w);
    snug_json_begin_array(w, "points");
    for (int i = 0; i < 3; i++) {
        snug_json_begin_array(w, NULL);
        snug_json_put_number(w, NULL, 1.7e9 + 60 * i);
        snug_json_put_number(w, NULL, 20 - i);
        snug_json_end(w);
    }
    snug_json_end(w);
    snug_json_end(w);
    snug_json_end(w);
}

/* Baseline, a faster round, a slower one and a failed one, all names prefixed by nothing but
 * `model`, in two repetitions. */
static char *whole_document(const char *model)
{
    static const char *const rounds[] = {"baseline", "fast", "slow", "broken"};
    static const double speeds[] = {20, 30, 10, 0}, klds[] = {0, 0.05, 0.07, 0.01};
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    snug_json_put_string(&w, "title", "All of it");
    snug_json_put_int(&w, "seed", 42);
    put_named(&w, "models", model);
    put_named(&w, "workloads", "chat");
    put_named(&w, "rounds", "fast");
    snug_json_begin_array(&w, "rows");
    for (int r = 0; r < 2; r++)
        for (size_t i = 0; i < COUNT(rounds); i++)
            put_row(&w, rounds[i], model, r, speeds[i] * (1 + 0.01 * r));
    snug_json_end(&w);
    snug_json_begin_array(&w, "summary");
    for (size_t i = 0; i < COUNT(rounds); i++)
        put_summary(&w, rounds[i], model, speeds[i], klds[i]);
    snug_json_end(&w);
    snug_json_begin_array(&w, "comparisons");
    put_ratio(&w, "fast", model, "decode_tps", 1.5);
    put_ratio(&w, "slow", model, "decode_tps", 0.5);
    put_ratio(&w, "broken", model, "decode_tps", FAILED_SPEED);
    snug_json_end(&w);
    snug_json_begin_array(&w, "thresholds");
    put_threshold(&w, "tg>=10", 1);
    put_threshold(&w, "tg>=50", 0);
    put_threshold(&w, "kld<=1", -1);
    snug_json_end(&w);
    put_drift(&w, model, "decode_tps");
    snug_json_end(&w);
    char *json = snug_json_finish(&w, false);
    assert_non_null(json);
    return json;
}

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

static void assert_sound(const char *html)
{
    static const char *const banned[] = {
        "http:",         "https:", "src=",     "url(",    "@import", "<img",   "<iframe",
        "<object",       "<form",  "style=\"", "onclick", "xlink",   "fetch(", "XMLHttp",
        "unsafe-inline", "nan",    "inf\"",    ">inf",    "(null)"};
    assert_well_formed(html);
    for (size_t i = 0; i < COUNT(banned); i++)
        assert_lacks(html, banned[i]);
    assert_int_equal(count(html, "<script"), 1);
    assert_int_equal(count(html, "<style"), 1);
    assert_int_equal(count(html, "href="), 1);
    assert_contains(html, "default-src 'none'");
    assert_int_equal(count(html, "'sha256-"), 2);
    /* each figure has its data in a table */
    assert_int_equal(count(html, "<figure"), count(html, "<details"));
}

/* ---- tests ---- */

static void report_lab_empty_document_says_what_is_missing(void **state)
{
    (void)state;
    char *html = render("{}");
    assert_sound(html);
    assert_contains(html, "No round was measured");
    assert_contains(html, "No row was run.");
    assert_contains(html, "Models: not recorded.");
    free(html);
}

static void report_lab_null_and_wrong_kinds_are_not_measured(void **state)
{
    (void)state;
    static const char *const documents[] = {
        "{\"title\":null,\"rows\":null,\"summary\":null,\"comparisons\":null,\"models\":null}",
        "{\"title\":3,\"rows\":{},\"summary\":7,\"comparisons\":\"x\",\"thresholds\":{\"a\":1},"
        "\"rounds\":{},\"workloads\":[1],\"baseline_drift\":[[]],\"seed\":\"x\"}",
        "{\"rows\":[null,1,\"x\",[],{}],\"summary\":[null,{}],\"comparisons\":[null,{}],"
        "\"thresholds\":[null,1,{}],\"models\":[null],\"rounds\":[{\"knobs\":{\"a\":null}}],"
        "\"baseline_drift\":[{\"points\":[null,1,[],[1],[1,\"x\"]]}]}",
        "{\"summary\":[{\"n_ok\":1,\"decode_tps\":null,\"bytes\":[],\"quality\":null,\"rules\":{}}]"
        ","
        "\"rows\":[{\"measurement\":{\"outcome\":\"ok\",\"samples\":{\"t_s\":[1,null,\"x\"],"
        "\"clock_hz\":[null,null,1]},\"started_unix_s\":5,\"decode_tps\":1}}]}",
    };
    for (size_t i = 0; i < COUNT(documents); i++) {
        char *html = render(documents[i]);
        assert_sound(html);
        assert_contains(html, "not measured");
        free(html);
    }
}

static void report_lab_whole_document_has_every_section(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "<strong>1 of 3 rounds improved</strong>",
        "1 failed.",
        "decode speed &times; 1.50 (1.47 to 1.53)",
        "<li class=\"yes\"><code>tg&gt;=10</code> holds: 12.5",
        "<li class=\"no\"><code>tg&gt;=50</code> does not hold: 12.5",
        "<li><code>kld&lt;=1</code> could not be decided",
        "Bars of decode speed over the baseline&#39;s",
        "<h3>Verdicts</h3>",
        "other_load: other processes kept the CPUs busy during the run",
        "Stacked bars of the seconds of one request by phase",
        "Stacked bars of memory by kind",
        "Heat map of request latency",
        "Speed of every row over time",
        "Scatter plot of decode speed against quality",
        "-2.00 % per hour (interval of 95 %: -3.00 to -1.00). It drifted.",
        "id=\"run\"",
        "id=\"machine\"",
        "id=\"rows\"",
    };
    char *json = whole_document("m"), *html = render(json);
    assert_sound(html);
    for (size_t i = 0; i < COUNT(parts); i++)
        assert_contains(html, parts[i]);
    assert_int_equal(count(html, "<figure"), 7);
    /* ttft 1.25 less first sample 0.25; (11 - 1) gaps of 1/20 s */
    assert_contains(html, "prefill: 1.00 s");
    assert_contains(html, "decode: 500 ms");
    /* 100 / 200 + 11 / 20 */
    assert_contains(html, "<title>repetition 0: 1.05 s</title>");
    free(html);
    free(json);
}

/* Columns where a row has joules; one sentence with the reason where none has. */
static void report_lab_energy_is_a_column_or_a_reason(void **state)
{
    (void)state;
    static const char head[] =
        "{\"rows\":[{\"round\":\"r\",\"model\":\"m\",\"workload\":\"w\",\"measurement\":{"
        "\"outcome\":"
        "\"ok\",\"decode_tps\":5,\"conditions\":{\"energy\":{\"source\":\"%s\"}}}%s},"
        "{\"round\":\"s\",\"model\":\"m\",\"workload\":\"w\",\"measurement\":{\"outcome\":\"oom\"}}"
        "]}";
    char json[1024];
    snprintf(json, sizeof json, head, "powercap: no <zones>", "");
    char *html = render(json);
    assert_sound(html);
    assert_contains(html, "Energy per token: not readable: powercap: no &lt;zones&gt;.");
    assert_int_equal(count(html, "not readable"), 1);
    assert_null(strstr(html, "J/token"));
    free(html);
    snprintf(json, sizeof json, head, "package-0", ",\"decode_j_per_token\":0.1234");
    html = render(json);
    assert_sound(html);
    assert_contains(html,
                    "Energy: joules per token with the idle power taken off, from package-0.");
    assert_contains(html, "Decode J/token");
    assert_contains(html, "0.123 J");
    assert_contains(html, "colspan=\"6\"");
    free(html);
}

static void report_lab_failed_round_is_never_a_number(void **state)
{
    (void)state;
    char *json = whole_document("m"), *html = render(json);
    assert_lacks(html, FAILED_TEXT);
    assert_lacks(html, "98,765");
    assert_contains(html, "777.7 GiB were refused");
    assert_int_equal(count(html, "not measured: 777.7 GiB were refused"), 2);
    assert_int_equal(count(html, "class=\"cell-failed\""), 4); /* 2 rows, wide and narrow */
    assert_contains(html, "class=\"failed-text halo\"");
    free(html);
    free(json);
}

static void report_lab_hostile_names_are_escaped_everywhere(void **state)
{
    (void)state;
    static const char bad[] = "<script>alert(1)</script>\"' onload=x &lt; </title><!-- \x01";
    char *json = whole_document(bad), *html = render(json);
    assert_sound(html);
    assert_lacks(html, "alert(1)</script>");
    assert_lacks(html, "<!--");
    assert_lacks(html, "\x01");
    assert_true(count(html, "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;") >= 8);
    free(html);
    free(json);
    struct snug_json_writer w = {0};
    static const char *const texts[] = {"title", "snug", "build", "file", "plan_hash"};
    snug_json_begin_object(&w, NULL);
    for (size_t i = 0; i < COUNT(texts); i++)
        snug_json_put_string(&w, texts[i], bad);
    snug_json_begin_array(&w, "summary");
    put_summary(&w, bad, bad, 20, 0.1);
    put_summary(&w, bad, bad, 0, 0.1);
    put_summary(&w, bad, bad, 22, 0.2);
    snug_json_end(&w);
    snug_json_begin_array(&w, "comparisons");
    put_ratio(&w, bad, bad, bad, 1.5);
    snug_json_end(&w);
    snug_json_begin_array(&w, "thresholds");
    put_threshold(&w, bad, 1);
    snug_json_end(&w);
    put_drift(&w, bad, bad);
    snug_json_end(&w);
    json = snug_json_finish(&w, false);
    html = render(json);
    assert_sound(html);
    assert_lacks(html, "alert(1)</script>");
    assert_lacks(html, "<!--");
    free(html);
    free(json);
}

static void report_lab_extreme_numbers_stay_drawable(void **state)
{
    (void)state;
    static const double values[] = {1e-300, 1e300, 1e24, 5e-324, 1e-12, 1e18};
    for (size_t i = 0; i < COUNT(values); i++) {
        struct snug_json_writer w = {0};
        snug_json_begin_object(&w, NULL);
        put_named(&w, "workloads", "chat");
        snug_json_begin_array(&w, "rows");
        put_row(&w, "a", "m", 0, values[i]);
        put_row(&w, "a", "m", i % 2 ? 2000000000 : 1, 10);
        snug_json_end(&w);
        snug_json_begin_array(&w, "summary");
        put_summary(&w, "a", "m", values[i], values[i]);
        put_summary(&w, "b", "m", 10, 1);
        snug_json_end(&w);
        snug_json_begin_array(&w, "comparisons");
        put_ratio(&w, "a", "m", "decode_tps", values[i]);
        snug_json_end(&w);
        snug_json_end(&w);
        char *json = snug_json_finish(&w, false), *html = render(json);
        assert_sound(html);
        free(html);
        free(json);
    }
}

/* Repetitions are columns of the heat map. */
static void report_lab_repetitions_at_cap_pass_and_beyond_are_cut(void **state)
{
    (void)state;
    for (int over = 0; over < 2; over++) {
        struct snug_json_writer w = {0};
        snug_json_begin_object(&w, NULL);
        put_named(&w, "workloads", "chat");
        snug_json_begin_array(&w, "rows");
        for (int i = 0; i < SNUG_REPORT_LAB_REPETITIONS_MAX + over; i++)
            put_row(&w, "fast", "m", i, 20);
        snug_json_end(&w);
        snug_json_begin_array(&w, "summary");
        put_summary(&w, "fast", "m", 20, 0);
        snug_json_end(&w);
        snug_json_end(&w);
        char *json = snug_json_finish(&w, false), *html = render(json);
        assert_sound(html);
        assert_int_equal(count(html, "<title>repetition "), 2 * SNUG_REPORT_LAB_REPETITIONS_MAX);
        assert_int_equal(count(html, "1 rows of repetitions past the first 32"), over);
        free(html);
        free(json);
    }
}

static void report_lab_what_is_no_object_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "[]", "3", "null", "{", "{\"a\":1}x", "\xff"};
    struct snug_error err = {0};
    for (size_t i = 0; i < COUNT(texts); i++) {
        char *html = NULL;
        size_t n = 7;
        assert_fails(SNUG_BAD_INPUT,
                     snug_report_lab_html(texts[i], strlen(texts[i]), &html, &n, &err));
        assert_contains(err.text, "results document");
        assert_null(html);
        assert_int_equal(n, 7);
    }
}

static void report_lab_any_failed_allocation_is_reported(void **state)
{
    (void)state;
    char *json = whole_document("m");
    size_t n_json = strlen(json);
    long n_failed = 0;
    for (long at = 0;; at++) {
        struct snug_error err = {0};
        char *html = NULL;
        size_t n = 0;
        fault_begin(at);
        snug_status status = snug_report_lab_html(json, n_json, &html, &n, &err);
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
    assert_true(n_failed >= 8); /* document, cells, three lists twice, drift, page */
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_lab_empty_document_says_what_is_missing),
        cmocka_unit_test(report_lab_null_and_wrong_kinds_are_not_measured),
        cmocka_unit_test(report_lab_whole_document_has_every_section),
        cmocka_unit_test(report_lab_energy_is_a_column_or_a_reason),
        cmocka_unit_test(report_lab_failed_round_is_never_a_number),
        cmocka_unit_test(report_lab_hostile_names_are_escaped_everywhere),
        cmocka_unit_test(report_lab_extreme_numbers_stay_drawable),
        cmocka_unit_test(report_lab_repetitions_at_cap_pass_and_beyond_are_cut),
        cmocka_unit_test(report_lab_what_is_no_object_is_refused),
        cmocka_unit_test(report_lab_any_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
