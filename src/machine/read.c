/* Small readers that every source of a probe uses: files below a root, numbers, CPU lists, facts.
 * Nothing here fails: what cannot be read becomes an unknown fact that says why. */
#include "machine/probe.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

bool snug__format(char *out, size_t cap, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(out, cap, format, args);
    va_end(args);
    return n >= 0 && (size_t)n < cap;
}

void snug__copy_text(char *out, size_t cap, const char *text, size_t n)
{
    while (n > 0 && isspace((unsigned char)text[0])) {
        text++;
        n--;
    }
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    if (n > cap - 1)
        n = cap - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)text[i] < 32 || text[i] == 127 ? '?' : text[i];
    out[n] = '\0';
}

/* Of a source that is too long the end is kept: there stands the file's name. */
static void set_source(struct snug_fact *fact, const char *text)
{
    size_t n = strlen(text);
    size_t cap = sizeof fact->source;
    if (n < cap)
        snug__copy_text(fact->source, cap, text, n);
    else
        snug__format(fact->source, cap, "...%s", text + n - (cap - 4));
}

void snug__fact_set(struct snug_fact *fact, double value, const char *source)
{
    fact->is_known = true;
    fact->value = value;
    set_source(fact, source);
}

void snug__fact_unknown(struct snug_fact *fact, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fact->is_known = false;
    fact->value = 0;
    snug__copy_text(fact->source, sizeof fact->source, text, strlen(text));
}

char *snug__read(const char *root, const char *path, struct snug_fact *why_not)
{
    char *text = NULL;
    size_t n = 0;
    snug_status status = snug_file_read_below(root, path, SNUG__PROBE_FILE_MAX, &text, &n, NULL);
    if (status == SNUG_OK)
        return text;
    if (why_not && status == SNUG_BAD_INPUT)
        snug__fact_unknown(why_not, "%s: longer than %u bytes", path, SNUG__PROBE_FILE_MAX);
    else if (why_not)
        snug__fact_unknown(why_not, "%s: %s", path,
                           status == SNUG_NOT_FOUND ? "no such file" : snug_status_meaning(status));
    return NULL;
}

/* strtod takes "nan", "inf" and hexadecimal, which no file of the kernel holds. */
bool snug__parse_number(const char *text, double *out)
{
    while (*text == ' ' || *text == '\t')
        text++;
    if (!isdigit((unsigned char)*text))
        return false;
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || !isfinite(value))
        return false;
    *out = value;
    return true;
}

void snug__read_fact(const char *root, const char *path, double scale, struct snug_fact *fact)
{
    double value = 0;
    char *text = snug__read(root, path, fact);
    if (!text)
        return;
    if (snug__parse_number(text, &value))
        snug__fact_set(fact, value * scale, path);
    else
        snug__fact_unknown(fact, "%s: does not begin with a number", path);
    free(text);
}

bool snug__text_number(const char *text, const char *key, double *out)
{
    size_t n = strlen(key);
    bool is_word = isalnum((unsigned char)key[n - 1]) != 0; /* "limit" is not "limit_bytes" */
    while (text) {
        if (strncmp(text, key, n) == 0 &&
            !(is_word && (isalnum((unsigned char)text[n]) || text[n] == '_')))
            return snug__parse_number(text + n, out);
        text = strchr(text, '\n');
        if (text)
            text++;
    }
    return false;
}

/* "cpu  user nice system idle iowait irq softirq steal ...", in ticks. Stolen time counts as busy:
 * another guest had it. guest and guest_nice are already part of user and nice. */
bool snug__parse_busy(const char *text, double *out_busy_s, double *out_total_s)
{
    double ticks[8] = {0}, total = 0;
    long hz = sysconf(_SC_CLK_TCK);
    if (strncmp(text, "cpu ", 4) != 0 || hz <= 0)
        return false;
    char *p = (char *)text + 4;
    for (int i = 0; i < 8 && *p != '\n'; i++) {
        ticks[i] = (double)strtoull(p, &p, 10);
        total += ticks[i];
    }
    *out_total_s = total / (double)hz;
    *out_busy_s = (total - ticks[3] - ticks[4]) / (double)hz;
    return true;
}

/* One CPU number within the cap, or -1. */
static long parse_cpu(const char **text)
{
    if (!isdigit((unsigned char)**text))
        return -1;
    char *end = NULL;
    unsigned long cpu = strtoul(*text, &end, 10);
    *text = end;
    return cpu < SNUG__PROBE_CPUS_MAX ? (long)cpu : -1;
}

bool snug__cpu_list_parse(const char *text, hwloc_bitmap_t set)
{
    bool is_good = false;
    hwloc_bitmap_t read = hwloc_bitmap_alloc();
    while (read) {
        while (isspace((unsigned char)*text))
            text++;
        long first = parse_cpu(&text), last = first;
        if (first >= 0 && *text == '-') {
            text++;
            last = parse_cpu(&text);
        }
        if (first < 0 || last < first)
            break;
        hwloc_bitmap_set_range(read, (unsigned)first, (int)last);
        if (*text == ',') {
            text++;
            continue;
        }
        while (isspace((unsigned char)*text))
            text++;
        is_good = *text == '\0';
        break;
    }
    if (is_good)
        hwloc_bitmap_copy(set, read);
    hwloc_bitmap_free(read);
    return is_good;
}
