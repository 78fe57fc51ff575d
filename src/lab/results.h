/* What a run leaves in its folder: results.json, results.csv, results.jsonl, report.md and
 * report.tex. Everything comes from the store, so a run that went on after a break and one that did
 * not give the same files. */
#ifndef SNUG_LAB_RESULTS_H
#define SNUG_LAB_RESULTS_H

#include "base/buffer.h"
#include "lab/analyse.h"

/* A threshold and what came of it, as snug's --require judges. */
struct snug_lab_threshold {
    const char *text;
    bool is_met;
    double value; /* NAN: not measured */
};

struct snug_lab_results {
    const struct snug_lab_plan *plan;
    const char *file_path;
    const struct snug_machine *machine;
    const struct snug_lab_run_result *run;
    struct snug_store *store;
    const struct snug_lab_threshold *thresholds;
    int n_thresholds;
    /* filled by snug_lab_results_read */
    struct snug_measurement *measurements; /* in store order, without gaps and samples */
    const struct snug_measurement **rows;  /* by row of the plan; NULL: not measured */
    struct snug_lab_analysis analysis;
};

/* Read the rows of the run back and analyse them. */
snug_status snug_lab_results_read(struct snug_lab_results *results,
                                  struct snug_error *err) SNUG_CHECKED;
void snug_lab_results_clear(struct snug_lab_results *results);
/* Write the five files into an existing folder. */
snug_status snug_lab_results_write(struct snug_lab_results *results, const char *folder,
                                   struct snug_error *err) SNUG_CHECKED;
/* results.json as text, malloc'ed. */
snug_status snug_lab_results_json(struct snug_lab_results *results, char **out_json,
                                  struct snug_error *err) SNUG_CHECKED;
/* The table of summaries in Markdown: what report.md begins with, and what `snug lab` prints. */
void snug_lab_results_summary(const struct snug_lab_results *results, struct snug_buffer *out);

#endif
