/* Quantities as text and back. */
#include "test.h"

#include <math.h>

#include "snug/stats.h"
#include "snug/units.h"

static void bytes_text_has_about_three_digits(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *want;
    } ROWS[] = {
        {0, "0 B"},
        {999, "999 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {102348, "99.9 KiB"},
        {102399, "100 KiB"},
        {1048063, "1023 KiB"},
        {1048064, "1.0 MiB"}, /* 1023.5 KiB, which would round to 1024 */
        {536870912, "512 MiB"},
        {2254857830, "2.1 GiB"},
        {UINT64_MAX, "16.0 EiB"},
    };
    char out[SNUG_UNIT_TEXT_MAX];
    for (size_t i = 0; i < COUNT(ROWS); i++)
        assert_string_equal(snug_bytes_text(ROWS[i].bytes, out), ROWS[i].want);
}

static void seconds_text_switches_units_at_round_places(void **state)
{
    (void)state;
    static const struct {
        double s;
        const char *want;
    } ROWS[] = {
        {0, "0 s"},
        {5e-10, "0.50 ns"},
        {840e-6, "840 us"},
        {999.4e-6, "999 us"},
        {999.6e-6, "1.00 ms"},
        {0.0123, "12.3 ms"},
        {0.09996, "100 ms"},
        {4.56, "4.56 s"},
        {9.996, "10.0 s"},
        {59.94, "59.9 s"},
        {59.96, "1 min 00 s"},
        {125, "2 min 05 s"},
        {3599.4, "59 min 59 s"},
        {3599.6, "1 h 00 min"},
        {3720, "1 h 02 min"},
        {86400 * 4, "96 h 00 min"},
        {-4.56, "-4.56 s"},
        {NAN, "unknown"},
        {INFINITY, "unknown"},
    };
    char out[SNUG_UNIT_TEXT_MAX];
    for (size_t i = 0; i < COUNT(ROWS); i++)
        assert_string_equal(snug_seconds_text(ROWS[i].s, out), ROWS[i].want);
}

static void rate_text_has_three_significant_digits(void **state)
{
    (void)state;
    static const struct {
        double rate;
        const char *want;
    } ROWS[] = {{0, "0.00"},    {4.5678, "4.57"}, {9.996, "10.0"}, {54.34, "54.3"},
                {99.96, "100"}, {1234.4, "1234"}, {NAN, "unknown"}};
    char out[SNUG_UNIT_TEXT_MAX];
    for (size_t i = 0; i < COUNT(ROWS); i++)
        assert_string_equal(snug_rate_text(ROWS[i].rate, out), ROWS[i].want);
}

static void texts_of_any_number_fit(void **state)
{
    (void)state;
    uint64_t seed = 99;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_rng rng;
    snug_rng_init(&rng, seed);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = snug_rng_next(&rng);
        double value;
        memcpy(&value, &bits, sizeof value); /* every exponent, both signs, NAN */
        char out[SNUG_UNIT_TEXT_MAX];
        assert_true(strlen(snug_seconds_text(value, out)) < SNUG_UNIT_TEXT_MAX - 1);
        assert_true(strlen(snug_rate_text(value, out)) < SNUG_UNIT_TEXT_MAX - 1);
        assert_true(strlen(snug_bytes_text(bits >> (i % 64), out)) <= 8);
    }
}

static void bytes_parse_known_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t want;
    } ROWS[] = {
        {"0", 0},
        {"1048576", 1048576},
        {"12B", 12},
        {"2GiB", 2147483648u},
        {"2 GB", 2000000000u},
        {"512M", 536870912},
        {"1.5g", 1610612736},
        {"64k", 65536},
        {"64kb", 64000},
        {"0.1KB", 100},
        {"1T", 1099511627776},
        {"9223372036854775807", INT64_MAX},
        {"7.999999999999999999999GiB", 8589934592},
    };
    struct snug_error err;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        uint64_t bytes = 1;
        assert_ok(snug_bytes_parse(ROWS[i].text, &bytes, &err));
        assert_int_equal(bytes, ROWS[i].want);
    }
}

static void bytes_parse_refuses_what_is_no_size(void **state)
{
    (void)state;
    static const char *const ROWS[] = {
        "",
        " ",
        "G",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1  G",
        "2Gx",
        "0x10",
        "1e9",
        "inf",
        "nan",
        "1.",
        ".5",
        "1.5",
        "1.5B",
        "1,5G",
        "1G1",
        "9223372036854775808",
        "8388608T",
        "18446744073709551616",
        "99999999999999999999999999G",
        "1.5.5G",
        "1 G G",
    };
    struct snug_error err;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        uint64_t bytes = 77;
        assert_fails(SNUG_BAD_INPUT, snug_bytes_parse(ROWS[i], &bytes, &err));
        assert_int_equal(bytes, 77);
    }
    uint64_t bytes;
    assert_fails(SNUG_BAD_INPUT, snug_bytes_parse(NULL, &bytes, &err));
    assert_fails(SNUG_BAD_INPUT, snug_bytes_parse("2Gx", &bytes, &err));
    assert_string_equal(err.text,
                        "'2Gx' is not a size: use a number with K, M, G, KiB, MiB, GiB, KB, MB or "
                        "GB");
}

static void bytes_text_parses_back_within_its_digits(void **state)
{
    (void)state;
    uint64_t seed = 17;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct snug_rng rng;
    struct snug_error err;
    snug_rng_init(&rng, seed);
    for (int i = 0; i < 20000; i++) {
        uint64_t bytes = (snug_rng_next(&rng) >> 16) >> (i % 48); /* up to 256 TiB */
        char out[SNUG_UNIT_TEXT_MAX];
        uint64_t back = 0;
        assert_ok(snug_bytes_parse(snug_bytes_text(bytes, out), &back, &err));
        assert_true(fabs((double)back - (double)bytes) <= 0.05 * (double)bytes);
    }
}

static void seconds_parse_known_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double want;
    } ROWS[] = {
        {"90", 90},     {"90s", 90},     {"90 s", 90}, {"5m", 300},  {"5min", 300},
        {"1.5h", 5400}, {"250ms", 0.25}, {"0.7", 0.7}, {"2H", 7200}, {"315576000", 315576000}};
    struct snug_error err;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        double s = -1;
        assert_ok(snug_seconds_parse(ROWS[i].text, &s, &err));
        assert_double_equal(s, ROWS[i].want, 1e-15 * ROWS[i].want);
    }
}

static void seconds_parse_refuses_what_is_no_duration(void **state)
{
    (void)state;
    static const char *const ROWS[] = {
        "",    "0",   "0.0s",      "-5",   "5x", "inf", "nan", "5 m ",
        "1e3", "0x5", "315576001", "1:30", "h",  "5s5", "s",   "99999999999999999999999s"};
    struct snug_error err;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        double s = 77;
        assert_fails(SNUG_BAD_INPUT, snug_seconds_parse(ROWS[i], &s, &err));
        assert_true(s == 77);
        assert_contains(err.text, ROWS[i]);
    }
    double s;
    assert_fails(SNUG_BAD_INPUT, snug_seconds_parse(NULL, &s, &err));
}

static void int_parse_accepts_its_whole_range(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t want;
    } ROWS[] = {{"0", 0},
                {"-0", 0},
                {"007", 7},
                {"-12", -12},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN}};
    struct snug_error err;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        int64_t value = 1;
        assert_ok(snug_int_parse("n", ROWS[i].text, INT64_MIN, INT64_MAX, &value, &err));
        assert_true(value == ROWS[i].want);
    }
}

static void int_parse_refuses_what_is_no_number(void **state)
{
    (void)state;
    static const char *const ROWS[] = {"",
                                       "-",
                                       "+1",
                                       " 1",
                                       "1 ",
                                       "1.0",
                                       "1e3",
                                       "0x1",
                                       "--1",
                                       "1-",
                                       "abc",
                                       "9223372036854775808",
                                       "-9223372036854775809",
                                       "99999999999999999999999"};
    struct snug_error err;
    for (size_t i = 0; i < COUNT(ROWS); i++) {
        int64_t value = 77;
        assert_fails(SNUG_BAD_INPUT,
                     snug_int_parse("n", ROWS[i], INT64_MIN, INT64_MAX, &value, &err));
        assert_int_equal(value, 77);
    }
    int64_t value;
    assert_fails(SNUG_BAD_INPUT, snug_int_parse("n", NULL, 0, 1, &value, &err));
}

static void int_parse_holds_its_bounds(void **state)
{
    (void)state;
    struct snug_error err;
    int64_t value = 0;
    assert_ok(snug_int_parse("--threads", "1", 1, 64, &value, &err));
    assert_ok(snug_int_parse("--threads", "64", 1, 64, &value, &err));
    assert_fails(SNUG_BAD_INPUT, snug_int_parse("--threads", "0", 1, 64, &value, &err));
    assert_fails(SNUG_BAD_INPUT, snug_int_parse("--threads", "65", 1, 64, &value, &err));
    assert_string_equal(err.text, "--threads: '65' is not a whole number from 1 to 64");
    assert_int_equal(value, 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_text_has_about_three_digits),
        cmocka_unit_test(seconds_text_switches_units_at_round_places),
        cmocka_unit_test(rate_text_has_three_significant_digits),
        cmocka_unit_test(texts_of_any_number_fit),
        cmocka_unit_test(bytes_parse_known_units),
        cmocka_unit_test(bytes_parse_refuses_what_is_no_size),
        cmocka_unit_test(bytes_text_parses_back_within_its_digits),
        cmocka_unit_test(seconds_parse_known_units),
        cmocka_unit_test(seconds_parse_refuses_what_is_no_duration),
        cmocka_unit_test(int_parse_accepts_its_whole_range),
        cmocka_unit_test(int_parse_refuses_what_is_no_number),
        cmocka_unit_test(int_parse_holds_its_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
