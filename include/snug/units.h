/* snug/units.h: the only place where quantities become text and text becomes quantities. */
#ifndef SNUG_UNITS_H
#define SNUG_UNITS_H

#include "snug/base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SNUG_UNIT_TEXT_MAX 32

/* "2.1 GiB", "512 MiB", "999 B": binary units, about 3 digits. Returns out. */
const char *snug_bytes_text(uint64_t bytes, char out[SNUG_UNIT_TEXT_MAX]);
/* "840 us", "12.3 ms", "4.56 s", "2 min 05 s", "1 h 02 min". */
const char *snug_seconds_text(double s, char out[SNUG_UNIT_TEXT_MAX]);
/* "54.3", "1234": a rate with about 3 significant digits, no unit. */
const char *snug_rate_text(double rate, char out[SNUG_UNIT_TEXT_MAX]);

/* "2GiB", "2 GB", "512M", "1.5g", "1048576": KB, MB, GB are powers of 1000; K, KiB and so on powers
 * of 1024 (as llama.cpp, docker and systemd read a bare letter). No sign, < 2^63. */
snug_status snug_bytes_parse(const char *text, uint64_t *out_bytes,
                             struct snug_error *err) SNUG_CHECKED;
/* "90", "90s", "5m", "5min", "1.5h", "250ms": positive, at most 10 years. */
snug_status snug_seconds_parse(const char *text, double *out_s,
                               struct snug_error *err) SNUG_CHECKED;
/* Whole decimal integer within min..max. `name` is used in the error text. */
snug_status snug_int_parse(const char *name, const char *text, int64_t min, int64_t max,
                           int64_t *out, struct snug_error *err) SNUG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
