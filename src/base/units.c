/* Quantities as text and back. Parsing is by hand rather than strtod: no sign, no hexadecimal, no
 * "inf", no locale, and the whole string must be used. */
#include "snug/units.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SECONDS_MAX (10 * 365.25 * 86400) /* 10 years: beyond it a number has the wrong unit */
#define COUNT(table) (sizeof(table) / sizeof(table)[0])

/* Three significant digits, whole numbers from 100 on; switching where rounding would add one. */
static int n_decimals(double value)
{
    return value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
}

const char *snug_bytes_text(uint64_t bytes, char out[SNUG_UNIT_TEXT_MAX])
{
    static const char *const NAMES[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t i = 0;
    if (bytes < 1024) {
        snprintf(out, SNUG_UNIT_TEXT_MAX, "%u B", (unsigned)bytes);
        return out;
    }
    /* The last unit takes what is left: 2^64 bytes are 16 EiB. */
    while (value >= 1023.5 && i + 1 < COUNT(NAMES)) { /* 1023.5 would be printed as 1024 */
        value /= 1024.0;
        i++;
    }
    snprintf(out, SNUG_UNIT_TEXT_MAX, "%.*f %s", value < 99.95 ? 1 : 0, value, NAMES[i]);
    return out;
}

const char *snug_seconds_text(double s, char out[SNUG_UNIT_TEXT_MAX])
{
    /* below: the largest value that still prints with at most three digits (59.9 for seconds) */
    static const struct {
        const char *name;
        double scale, below;
    } UNITS[] = {{"ns", 1e9, 999.5}, {"us", 1e6, 999.5}, {"ms", 1e3, 999.5}, {"s", 1, 59.95}};

    double size = fabs(s);
    const char *sign = s < 0 ? "-" : "";
    if (isnan(s) || isinf(s)) {
        snprintf(out, SNUG_UNIT_TEXT_MAX, "unknown");
        return out;
    }
    if (size == 0) {
        snprintf(out, SNUG_UNIT_TEXT_MAX, "0 s");
        return out;
    }
    for (size_t i = 0; i < COUNT(UNITS); i++) {
        double value = size * UNITS[i].scale;
        if (value >= UNITS[i].below)
            continue;
        snprintf(out, SNUG_UNIT_TEXT_MAX, "%s%.*f %s", sign, n_decimals(value), value,
                 UNITS[i].name);
        return out;
    }
    if (size < 3599.5) {
        int whole = (int)lround(size);
        snprintf(out, SNUG_UNIT_TEXT_MAX, "%s%d min %02d s", sign, whole / 60, whole % 60);
    } else if (size < 1e15) { /* whole minutes stay exact in a long long */
        long long minutes = llround(size / 60);
        snprintf(out, SNUG_UNIT_TEXT_MAX, "%s%lld h %02lld min", sign, minutes / 60, minutes % 60);
    } else {
        snprintf(out, SNUG_UNIT_TEXT_MAX, "%s%.2e h", sign, size / 3600);
    }
    return out;
}

const char *snug_rate_text(double rate, char out[SNUG_UNIT_TEXT_MAX])
{
    double size = fabs(rate);
    if (isnan(rate) || isinf(rate))
        snprintf(out, SNUG_UNIT_TEXT_MAX, "unknown");
    else if (size < 1e15) /* longer numbers would not fit, and are no rates */
        snprintf(out, SNUG_UNIT_TEXT_MAX, "%.*f", n_decimals(size), rate);
    else
        snprintf(out, SNUG_UNIT_TEXT_MAX, "%.2e", rate);
    return out;
}

/* Kept apart so that whole numbers stay exact up to 2^63.
 * "1.5GiB" -> whole 1, fraction 0.5, unit "GiB" (may be empty). */
struct quantity {
    uint64_t whole;
    double fraction;
    const char *unit;
};

/* DIGITS[.DIGITS][ ]UNIT; false when it does not begin like this or the number is too long. */
static bool split(const char *text, struct quantity *out)
{
    struct quantity q = {0};
    const char *at = text;
    if (!text || !isdigit((unsigned char)*at))
        return false;
    for (; isdigit((unsigned char)*at); at++) {
        if (__builtin_mul_overflow(q.whole, 10u, &q.whole) ||
            __builtin_add_overflow(q.whole, (unsigned)(*at - '0'), &q.whole))
            return false;
    }
    if (*at == '.') {
        double digits = 0,
               scale = 1; /* one division at the end: 0.7 is the nearest double to 0.7 */
        if (!isdigit((unsigned char)*++at))
            return false;
        for (; isdigit((unsigned char)*at); at++) {
            if (scale >= 1e15)
                continue; /* below the precision of a double */
            digits = digits * 10 + (*at - '0');
            scale *= 10;
        }
        q.fraction = digits / scale;
    }
    if (at[0] == ' ' && at[1] != '\0') /* "2 GB" */
        at++;
    q.unit = at;
    *out = q;
    return true;
}

snug_status snug_bytes_parse(const char *text, uint64_t *out_bytes, struct snug_error *err)
{
    /* In any case: memory is not counted in bits, so Kb can only mean KB. */
    static const struct {
        const char *name;
        uint64_t scale;
    } UNITS[] = {
        {"", 1},
        {"B", 1},
        {"K", 1ull << 10},
        {"KiB", 1ull << 10},
        {"KB", 1000},
        {"M", 1ull << 20},
        {"MiB", 1ull << 20},
        {"MB", 1000000},
        {"G", 1ull << 30},
        {"GiB", 1ull << 30},
        {"GB", 1000000000},
        {"T", 1ull << 40},
        {"TiB", 1ull << 40},
        {"TB", 1000000000000},
    };

    struct quantity q;
    bool is_split = split(text, &q);
    for (size_t i = 0; is_split && i < COUNT(UNITS); i++) {
        uint64_t scale = UNITS[i].scale, bytes = 0;
        if (strcasecmp(q.unit, UNITS[i].name) != 0 || (scale == 1 && q.fraction != 0))
            continue;
        if (__builtin_mul_overflow(q.whole, scale, &bytes) ||
            __builtin_add_overflow(bytes, (uint64_t)(q.fraction * (double)scale + 0.5), &bytes) ||
            bytes > INT64_MAX)
            return snug_fail(err, SNUG_BAD_INPUT, "'%s' is too large: give less than 8 EiB", text);
        *out_bytes = bytes;
        return SNUG_OK;
    }
    return snug_fail(err, SNUG_BAD_INPUT,
                     "'%s' is not a size: use a number with K, M, G, KiB, MiB, GiB, KB, MB or GB",
                     text ? text : "");
}

snug_status snug_seconds_parse(const char *text, double *out_s, struct snug_error *err)
{
    static const struct {
        const char *name;
        double scale;
    } UNITS[] = {{"", 1}, {"s", 1}, {"ms", 1e-3}, {"m", 60}, {"min", 60}, {"h", 3600}};

    struct quantity q;
    bool is_split = split(text, &q);
    for (size_t i = 0; is_split && i < COUNT(UNITS); i++) {
        if (strcasecmp(q.unit, UNITS[i].name) != 0)
            continue;
        /* Written so that what is not a number would be refused too. */
        double s = ((double)q.whole + q.fraction) * UNITS[i].scale;
        if (!(s > 0 && s <= SECONDS_MAX))
            return snug_fail(err, SNUG_BAD_INPUT,
                             "'%s' is out of range: give more than zero and at most 10 years",
                             text);
        *out_s = s;
        return SNUG_OK;
    }
    return snug_fail(err, SNUG_BAD_INPUT,
                     "'%s' is not a duration: use a number with ms, s, min (or m) or h",
                     text ? text : "");
}

snug_status snug_int_parse(const char *name, const char *text, int64_t min, int64_t max,
                           int64_t *out, struct snug_error *err)
{
    assert(min <= max);
    const char *at = text ? text : "";
    bool is_negative = *at == '-', is_number;
    int64_t value = 0;
    at += is_negative;
    is_number = isdigit((unsigned char)*at) != 0;
    /* Summed on the negative side, which reaches one further than the positive. */
    for (; is_number && *at; at++)
        is_number = isdigit((unsigned char)*at) && !__builtin_mul_overflow(value, 10, &value) &&
                    !__builtin_sub_overflow(value, *at - '0', &value);
    if (is_number && !is_negative)
        is_number = !__builtin_mul_overflow(value, -1, &value);
    if (!is_number || value < min || value > max)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: '%s' is not a whole number from %lld to %lld",
                         name, text ? text : "", (long long)min, (long long)max);
    *out = value;
    return SNUG_OK;
}
