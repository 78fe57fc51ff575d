/* Status table, error text, log sink, version: what every other file of the library leans on.
 * Nothing here allocates, so that running out of memory can still be reported. */
#include "snug/base.h"

#include <stdio.h>
#include <string.h>

#ifndef SNUG_VERSION
#define SNUG_VERSION "0.1.0" /* the build passes the project's own number */
#endif

#define LOG_LINE_MAX 1024 /* longest log event, bytes; longer ones are cut */

/* Indexed by snug_status; generated from the one table in the header. */
static const struct {
    const char *name;
    const char *meaning;
} STATUS_ROWS[] = {
#define STATUS_ROW(name, text, meaning) [SNUG_##name] = {text, meaning},
    SNUG_STATUSES(STATUS_ROW)
#undef STATUS_ROW
};

/* Set once before threads start, as the header asks: reading it needs no lock. */
static struct {
    snug_log_fn fn;
    void *data;
} log_sink;

/* One printable line: the text may quote a hostile file. */
static void tidy(char *text)
{
    for (char *c = text; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    }
}

/* A cut at the cap may fall inside a UTF-8 character, which JSON and terminals would choke on. */
static void drop_cut_character(char *text)
{
    size_t n = strlen(text);
    size_t lead = n; /* one past the last byte that may begin a character */
    while (lead > 0 && n - lead < 3 && ((unsigned char)text[lead - 1] & 0xc0) == 0x80)
        lead--;
    if (lead == 0)
        return;
    unsigned char c = (unsigned char)text[lead - 1];
    size_t n_want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
    if (n_want > 1 && n - (lead - 1) < n_want)
        text[lead - 1] = '\0';
}

static void set_text(struct snug_error *err, bool is_prefix, const char *format, va_list args)
    SNUG_PRINTF(3, 0);

/* Format into err->text through a local copy, because an argument may be err->text itself. */
static void set_text(struct snug_error *err, bool is_prefix, const char *format, va_list args)
{
    char text[SNUG_ERROR_TEXT_MAX];
    int n = vsnprintf(text, sizeof text, format, args);
    size_t len = n < 0 ? 0 : (size_t)n;
    bool is_cut = len >= sizeof text;
    if (is_cut)
        len = sizeof text - 1;
    text[len] = '\0';
    if (is_prefix && !is_cut) { /* a prefix that fills the text leaves no room for the old one */
        n = snprintf(text + len, sizeof text - len, ": %s", err->text);
        is_cut = n < 0 || (size_t)n >= sizeof text - len;
    }
    tidy(text);
    if (is_cut)
        drop_cut_character(text);
    memcpy(err->text, text, sizeof text);
}

snug_status snug_fail(struct snug_error *err, snug_status status, const char *format, ...)
{
    if (!err)
        return status;
    va_list args;
    va_start(args, format);
    set_text(err, false, format, args);
    va_end(args);
    err->status = status;
    return status;
}

snug_status snug_fail_prefix(struct snug_error *err, snug_status fallback, const char *format, ...)
{
    if (!err)
        return fallback;
    va_list args;
    va_start(args, format);
    set_text(err, true, format, args);
    va_end(args);
    return err->status;
}

const char *snug_status_name(snug_status status)
{
    /* A status may come from a store or a worker of another version. */
    return (unsigned)status < SNUG_N_STATUSES ? STATUS_ROWS[status].name : "unknown";
}

const char *snug_status_meaning(snug_status status)
{
    return (unsigned)status < SNUG_N_STATUSES ? STATUS_ROWS[status].meaning : "not a snug status";
}

void snug_log_set(snug_log_fn fn, void *data)
{
    log_sink.fn = fn;
    log_sink.data = data;
}

void snug_log(enum snug_log_level level, const char *format, ...)
{
    if (!log_sink.fn)
        return;
    char line[LOG_LINE_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0)
        return;
    tidy(line);
    if ((size_t)n >= sizeof line)
        drop_cut_character(line);
    log_sink.fn(level, line, log_sink.data);
}

const char *snug_version(void)
{
    return SNUG_VERSION;
}
