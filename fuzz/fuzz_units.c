/* Any text as a size, a duration and a whole number: refused with a text and nothing changed, or a
 * value in its range; and every value that comes out is written within its buffer. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/check.h"
#include "snug/units.h"

static void check_texts(uint64_t bytes, double s)
{
    char text[SNUG_UNIT_TEXT_MAX];
    check(strlen(snug_bytes_text(bytes, text)) > 0);
    check(strlen(snug_seconds_text(s, text)) > 0);
    check(strlen(snug_rate_text(s, text)) > 0);
}

static void try_bytes(const char *text)
{
    struct snug_error err = {0};
    uint64_t bytes = 77, again = 0;
    char plain[32];
    if (snug_bytes_parse(text, &bytes, &err) != SNUG_OK) {
        check(err.text[0] && bytes == 77);
        return;
    }
    check(bytes <= INT64_MAX);
    check_texts(bytes, (double)bytes);
    snprintf(plain, sizeof plain, "%" PRIu64, bytes);
    check(snug_bytes_parse(plain, &again, &err) == SNUG_OK && again == bytes);
}

static void try_seconds(const char *text)
{
    struct snug_error err = {0};
    double s = 77;
    if (snug_seconds_parse(text, &s, &err) != SNUG_OK)
        check(err.text[0] && s == 77);
    else
        check(s > 0 && s < 11 * 366 * 86400.0);
    check_texts((uint64_t)s, s);
}

static void try_int(const char *text, int64_t min, int64_t max)
{
    struct snug_error err = {0};
    int64_t value = 77;
    if (snug_int_parse("fuzz", text, min, max, &value, &err) != SNUG_OK) {
        check(strstr(err.text, "fuzz") && value == 77);
        return;
    }
    check(value >= min && value <= max);
    check(strtoll(text, NULL, 10) == value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = fuzz_text(data, n);
    if (!text)
        return 0;
    text[strcspn(text, "\n")] = '\0'; /* the corpus is text files */
    try_bytes(text);
    try_seconds(text);
    try_int(text, 1, 128);
    try_int(text, -1, -1);
    try_int(text, INT64_MIN, INT64_MAX);
    if (n >= sizeof(double)) { /* what is written need not have been read */
        double s = 0;
        uint64_t bytes = 0;
        memcpy(&s, data, sizeof s);
        memcpy(&bytes, data, sizeof bytes);
        check_texts(bytes, s);
    }
    free(text);
    return 0;
}
