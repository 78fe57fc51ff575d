/* From timed trials to coefficients; private to the room. */
#ifndef SNUG_PLAN_LAW_FIT_H
#define SNUG_PLAN_LAW_FIT_H

#include "snug/law.h"

/* ---- non-negative least squares on relative error ---- */

#define SNUG__FIT_COLUMNS_MAX 256
#define SNUG__FIT_ROWS_MAX 128

/* seconds[i] = sum over j of a[i][j] * x[j], x >= 0. Zero state is empty. */
struct snug__fit {
    double a[SNUG__FIT_ROWS_MAX][SNUG__FIT_COLUMNS_MAX];
    double seconds[SNUG__FIT_ROWS_MAX];
    double weight[SNUG__FIT_ROWS_MAX]; /* of a row; 0 counts as 1 */
    int n_rows, n_columns;
};

/* Least sum of squared relative errors; columns that are 0 everywhere give 0.
 * Method  cyclic coordinate descent on the normal equations (Franc, Hlavac, Navara 2005): columns
 *         are scaled to the same length first, so that tiny coefficients converge like large ones
 * Cost    O(sweeps * n_columns^2), some ms */
void snug__fit_solve(const struct snug__fit *fit, double *out_x);
/* The same with rows that do not fit counted less (Huber 1964: linear beyond SNUG__FIT_HUBER of
 * relative error), so that one trial which something disturbed does not bend the rest. Sets the
 * weights of fit. Cost: some five times the above. */
#define SNUG__FIT_HUBER 0.08
void snug__fit_solve_robust(struct snug__fit *fit, double *out_x);

/* ---- trials ---- */

/* Of one token per cell that it attends to, all layers of tier t: multiply and add, for K and V. */
double snug__law_attention_flops(const struct snug_law_load *load, int t);
/* The same as a decode step has it: as if every head had 64 columns. */
double snug__law_attention_step_flops(const struct snug_law_load *load, int t);

struct snug__law_trial {
    struct snug_law_load load;
    int64_t n_prompt, n_gen, depth;
    double prefill_tps, decode_tps; /* 0: not measured */
};

/* Fit tier `t` of law (all loads lie on it), step_s and ubatch_s. Types that no trial had are
 * filled from those that had one. false when no trial has a speed of one of the phases. */
bool snug__law_fit(const struct snug__law_trial *trials, int n_trials, int t, struct snug_law *law);

/* ---- windows ---- */

/* Layers with a sliding window; -1 for an architecture of which it is not known. */
int64_t snug__n_windowed(const struct snug_model *model);

/* ---- types ---- */

/* Is this a type that weights or the cache can have? */
bool snug__law_is_type(int type);
/* The same of a name; -1 when it is none, or NULL. */
int snug__law_type_from_name(const char *name);
/* Give every type without figures those of its nearest relative that has some. */
void snug__law_fill_types(struct snug_law_tier *tier);

/* ---- calibrations of this machine, one per number of threads ---- */

#define SNUG__LAW_COUNTS_MAX 2 /* all threads, and one */
struct snug__calibration {
    char fingerprint[65], build[64];
    struct snug_law laws[SNUG__LAW_COUNTS_MAX]; /* most threads first */
    int n_laws;
    bool is_disturbed; /* other programs took part of the CPUs in many trials; not kept */
};

#define SNUG__CALIBRATE_BUDGET_S 30.0
/* Time the engine on small models that are made in `folder` and removed again. Laws have no bytes
 * per tier yet. `budget_s` is held: trials that would pass it are left out, types first. */
snug_status snug__law_calibrate(const struct snug_machine *machine, const char *folder,
                                double budget_s, const struct snug_law_request *request,
                                struct snug__calibration *out, struct snug_error *err) SNUG_CHECKED;

/* FOLDER/law-FINGERPRINT.json. SNUG_NOT_FOUND when there is none of this build that can be used;
 * a damaged file counts as none. */
snug_status snug__calibration_load(const char *folder, const char *fingerprint, const char *build,
                                   struct snug__calibration *out,
                                   struct snug_error *err) SNUG_CHECKED;
snug_status snug__calibration_save(const char *folder, const struct snug__calibration *calibration,
                                   struct snug_error *err) SNUG_CHECKED;
/* The same from text (outside data; `name` begins errors). */
snug_status snug__calibration_parse(const char *name, const char *text, size_t n,
                                    struct snug__calibration *out,
                                    struct snug_error *err) SNUG_CHECKED;
/* The law of n threads: one that was measured, or each coefficient as a + b / n through two. */
void snug__calibration_at(const struct snug__calibration *calibration, int n_threads,
                          struct snug_law *out);

/* Add a tier that is read from disk and computed by the last tier before it; nothing when there is
 * no room for it or the speed is not known (0). */
void snug__law_add_disk(struct snug_law *law, double bps, uint64_t bytes);

/* ---- data sheets and saved probes ---- */

/* SNUG_NOT_FOUND names near ones. */
snug_status snug__law_preset(const char *name, const struct snug_law_request *request,
                             struct snug_law *out, struct snug_error *err) SNUG_CHECKED;
/* From --vram --ram --gpu-bw --ram-bw --disk-bw. */
snug_status snug__law_custom(const struct snug_law_request *request, struct snug_law *out,
                             struct snug_error *err) SNUG_CHECKED;
/* The text of a saved `snug probe --json`. */
snug_status snug__law_from_probe(const char *name, const char *text, size_t n,
                                 const struct snug_law_request *request, struct snug_law *out,
                                 struct snug_error *err) SNUG_CHECKED;

#endif
