/* Text of a report page. All that comes from the document passes through snug__html_text. */
#include "report/html_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NOT_MEASURED "not measured"
#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD in UTF-8 */

/* Bytes of the character at s that must not reach the page as it is; 0 when it may.
 * C0 and C1 controls are parse errors in HTML; the directional controls U+202A..202E and
 * U+2066..2069 would let a name show other text than what it is. */
static size_t bad_character_len(const unsigned char *s)
{
    if ((s[0] < 0x20 && s[0] != '\n' && s[0] != '\t') || s[0] == 0x7F)
        return 1;
    if (s[0] == 0xC2 && s[1] >= 0x80 && s[1] <= 0x9F)
        return 2;
    if (s[0] == 0xE2 && s[1] == 0x80 && s[2] >= 0xAA && s[2] <= 0xAE)
        return 3;
    if (s[0] == 0xE2 && s[1] == 0x81 && s[2] >= 0xA6 && s[2] <= 0xA9)
        return 3;
    return 0;
}

static const char *entity(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

void snug__html_text(struct snug_buffer *out, const char *text)
{
    const char *from = text; /* start of the run that needs no change */
    while (text && *text) {
        const char *instead = entity(*text);
        size_t n = instead ? 1 : bad_character_len((const unsigned char *)text);
        if (n == 0) {
            text++;
            continue;
        }
        snug_buffer_append(out, from, (size_t)(text - from));
        snug_buffer_puts(out, instead ? instead : REPLACEMENT);
        text += n;
        from = text;
    }
    if (text)
        snug_buffer_append(out, from, (size_t)(text - from));
}

double snug__number(const struct snug_json_node *object, const char *key)
{
    double value = snug_json_get_number(object, key, NAN);
    return isfinite(value) ? value : NAN;
}

double snug__positive(const struct snug_json_node *object, const char *key)
{
    double value = snug__number(object, key);
    return value > 0 ? value : NAN;
}

static const char *missing(char out[SNUG_UNIT_TEXT_MAX])
{
    snprintf(out, SNUG_UNIT_TEXT_MAX, "%s", NOT_MEASURED);
    return out;
}

static bool is_quantity(double value, double max)
{
    return value >= 0 && value <= max; /* false for NAN */
}

const char *snug__bytes_text(double bytes, char out[SNUG_UNIT_TEXT_MAX])
{
    if (!is_quantity(bytes, 0x1p62))
        return missing(out);
    return snug_bytes_text((uint64_t)bytes, out);
}

const char *snug__seconds_text(double s, char out[SNUG_UNIT_TEXT_MAX])
{
    if (!is_quantity(s, 1e9))
        return missing(out);
    return snug_seconds_text(s, out);
}

const char *snug__rate_text(double rate, char out[SNUG_UNIT_TEXT_MAX])
{
    if (!is_quantity(rate, 1e15))
        return missing(out);
    return snug_rate_text(rate, out);
}

const char *snug__percent_text(double frac, char out[SNUG_UNIT_TEXT_MAX])
{
    if (!is_quantity(frac, 1e6))
        return missing(out);
    snprintf(out, SNUG_UNIT_TEXT_MAX, "%.*f %%", frac > 0 && frac < 0.1 ? 1 : 0, 100 * frac);
    return out;
}

const char *snug__count_text(double count, char out[SNUG_UNIT_TEXT_MAX])
{
    if (!is_quantity(count, 1e18))
        return missing(out);
    char digits[SNUG_UNIT_TEXT_MAX];
    int n = snprintf(digits, sizeof digits, "%.0f", count), at = 0;
    for (int i = 0; i < n; i++) { /* 1e18 has 19 digits and 6 commas: 25 characters */
        if (i > 0 && (n - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

const char *snug__time_text(double unix_s, char out[SNUG_UNIT_TEXT_MAX])
{
    struct tm tm;
    time_t t = is_quantity(unix_s, 253402300799.0) ? (time_t)unix_s : 0; /* to the year 9999 */
    if (t <= 0 || !gmtime_r(&t, &tm))
        return missing(out);
    strftime(out, SNUG_UNIT_TEXT_MAX, "%Y-%m-%d %H:%M UTC", &tm);
    return out;
}

void snug__html_quantity(struct snug_buffer *out, const char *text)
{
    if (!text || !*text || strcmp(text, NOT_MEASURED) == 0)
        snug_buffer_puts(out, "<span class=\"none\">" NOT_MEASURED "</span>");
    else
        snug__html_text(out, text);
}

void snug__html_fact(struct snug_buffer *out, const char *name, const char *value)
{
    snug_buffer_puts(out, "<div><dt>");
    snug__html_text(out, name);
    snug_buffer_puts(out, "</dt><dd>");
    snug__html_quantity(out, value);
    snug_buffer_puts(out, "</dd></div>\n");
}
