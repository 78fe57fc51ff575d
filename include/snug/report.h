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
#define SNUG_REPORT_LAB_ROWS_MAX 20000         /* of a lab run: measurements, and summaries */
#define SNUG_REPORT_LAB_COMPARISONS_MAX 120000
/* Of a lab run, what is drawn; what is beyond is counted on the page, in words. */
#define SNUG_REPORT_LAB_SECTIONS_MAX 12    /* combinations of model and workload with charts */
#define SNUG_REPORT_LAB_ROUNDS_MAX 64      /* rounds of a chart */
#define SNUG_REPORT_LAB_REPETITIONS_MAX 32 /* columns of a heat map */
#define SNUG_REPORT_LAB_TABLE_MAX 5000     /* rows of a table */
#define SNUG_REPORT_LAB_POINTS_MAX 4000    /* of a line over time: more than there are pixels */

/* Of a ranking of knobs, what is drawn: the first so many. */
#define SNUG_REPORT_KNOBS_MAX 64
#define SNUG_REPORT_KNOBS_POINTS_MAX 256 /* dots of one knob */

/* One self-contained page from a report document. No request leaves the page: charts are inline
 * SVG, style and script are inline and pinned by their SHA-256 in a Content-Security-Policy, and
 * every text of the document is escaped. Without a script everything is still there to read.
 *
 * The document is one JSON object. Every key may be absent or null; a figure that is not there is
 * printed as "not measured", and figures of failed trials are never drawn or averaged.
 *   title, generated_unix_s, snug, build, objective ("decode", "prefill", "request", "energy"),
 *   objectives [name] (those, "memory", "kld") and limits {"max-ttft", "max-tpot", "max-kld"} where
 *   they are not one speed and memory; trials then have axes {decode_tps,
 *   prefill_tps, requests_per_s, tokens_per_j, memory_bytes, kld_nats},
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

/* The same for a run of the lab, from its results document, one JSON object. Every key may be
 * absent or null; rounds without a row that is ok are shown as failed, never drawn as numbers.
 *   snug, build, generated_unix_s, title, plan_hash, seed, file, machine,
 *   models [{name, path, hash, bytes}],
 *   workloads [{name, n_prompt, n_gen, n_depth, n_parallel, n_ctx}], rounds [{name, group, knobs}],
 *   rows [{key, order, round, model, workload, repetition, role, config_text, measurement,
 *          machine_fingerprint}], as snug_measurement_to_json writes the measurement,
 *   comparisons [{round, model, workload, metric, ratio {lo, mid, hi}, n_pairs, words}],
 *   summary [{round, model, workload, n_ok, n_failed, prefill_tps {lo, mid, hi}, decode_tps,
 *             ttft_s, tpot_p50_s, load_s, first_sample_s, bytes {weights, cache, compute}, verdict,
 *             rules [name], improved, why, quality {kld_mean, perplexity, same_top_frac}}],
 *   baseline_drift [{model, workload, metric, frac_per_hour {lo, mid, hi}, points [[unix_s, v]]}],
 *   thresholds [{text, ok, value}]
 *
 * A document of 20000 rows without samples is 8 MB; samples belong in it only while it stays below
 * SNUG_REPORT_JSON_BYTES_MAX. Out, errors: as above; more than SNUG_REPORT_LIST_MAX combinations of
 * model and workload are SNUG_BAD_INPUT too. */
snug_status snug_report_lab_html(const char *json_text, size_t n, char **out_html, size_t *out_n,
                                 struct snug_error *err) SNUG_CHECKED;

/* The same of a ranking of knobs: what snug knobs --json prints, and the dots of its charts, which
 * it leaves out. Every key may be absent or null; intervals are {lo, mid, hi}.
 *   title, machine, build, snug, generated_unix_s, n_trials, n_configs, n_tasks, n_disturbed,
 *   has_disturbed, unvaried (text), ranked [{knob, effect_frac, metric, decision}],
 *   metrics [{metric, name, n_configs, why_not or: foreseen_frac,
 *     knobs [{knob, effect_frac, chance_frac (a number), variance_frac, decision}],
 *     pairs [{a, b, variance_frac}],
 *     swarms [{knob, points [[level 0..1, share of the metric, value as text]]}]}]
 * decision: "keep", "drop", "open". Lists are drawn up to the caps above; what is beyond is left
 * out. Out, errors: as above. */
snug_status snug_report_knobs_html(const char *json_text, size_t n, char **out_html, size_t *out_n,
                                   struct snug_error *err) SNUG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
