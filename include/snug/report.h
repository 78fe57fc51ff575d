/* snug/report.h: what was learned, as one page to read, print or send. */
#ifndef SNUG_REPORT_H
#define SNUG_REPORT_H

#include "snug/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Caps on a report document; each is tested at cap and cap + 1. */
#define SNUG_REPORT_JSON_BYTES_MAX (64u << 20) /* text of the document */
#define SNUG_REPORT_TRIALS_MAX 10000           /* rows of the table, marks of the front */
#define SNUG_REPORT_LIST_MAX 1024              /* progress aside, elements of any other list */

/* One self-contained page from a report document. No request leaves the page: charts are inline
 * SVG, style and script are inline and pinned by their SHA-256 in a Content-Security-Policy, and
 * every text of the document is escaped. Without a script everything is still there to read.
 *
 * The document is one JSON object. Every key may be absent or null; a figure that is not there is
 * printed as "not measured", and figures of failed trials are never drawn or averaged.
 *   title, generated_unix_s, snug, build, objective ("decode", "prefill", "request"),
 *   memory_limit_bytes, notes [text], machine, speed, model, workload,
 *   trials [{id, role, strategy, config_text, on_front, speed, speed_lo, speed_hi, bytes,
 *            measurement}], progress [{trial, best_speed, hypervolume, elapsed_s}],
 *   pick {trial, config_text, command, speed, bytes}, default_trial, fit_trial (ids),
 *   confirm [{against, lo, mid, hi, n_pairs, verdict}]
 *
 * Out     *out_html is malloc'ed and NUL-terminated, *out_n its length without the NUL
 * Errors  SNUG_BAD_INPUT: not JSON, not an object, a cap above is passed (which, found, allowed)
 *         SNUG_NO_MEMORY
 * Cost    about 1.5 kB of page per trial and 30 ms per 1000 trials (one core of 2.4 GHz) */
snug_status snug_report_html(const char *json_text, size_t n, char **out_html, size_t *out_n,
                             struct snug_error *err) SNUG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
