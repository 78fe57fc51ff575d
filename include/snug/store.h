/* snug/store.h: the history of every trial, in one SQLite file.
 *
 * STRICT tables, WAL, migrations by user_version. Two processes may write at once. A trial is in
 * the store before the next begins; kill -9 or a power cut loses at most the running one: every
 * transaction is synced to disk. One thread at a time may use a store; callbacks may call back into
 * it. */
#ifndef SNUG_STORE_H
#define SNUG_STORE_H

#include "snug/base.h"
#include "snug/quality.h"
#include "snug/trial.h"

#ifdef __cplusplus
extern "C" {
#endif

struct snug_store;

/* Caps on what is stored; a longer text is SNUG_BAD_INPUT. Each is tested at cap and cap + 1. */
#define SNUG_STORE_TEXT_MAX 4096       /* names, paths, builds, roles: bytes without the NUL */
#define SNUG_STORE_JSON_MAX (8u << 20) /* descriptions, options, results */
#define SNUG_STORE_GAPS_MAX (1 << 20)  /* token gaps of a trial; the first so many are kept */

/* path NULL: the default, $XDG_DATA_HOME/snug/history.db. Creates file and folder.
 * Errors  SNUG_NEWER: made by a newer snug, and left as it is; SNUG_BUSY: locked for 20 s;
 *         SNUG_IO: not writable, disk full, damaged, not a store. */
snug_status snug_store_open(const char *path, struct snug_store **out,
                            struct snug_error *err) SNUG_CHECKED;
void snug_store_close(struct snug_store *store);
const char *snug_store_path(const struct snug_store *store);

/* Rows that a task is made of; found again by their key, else inserted. The JSON texts are the full
 * descriptions (probe, inspect) and are refreshed on each call. */
snug_status snug_store_machine(struct snug_store *store, const char *fingerprint, const char *name,
                               const char *json, int64_t *out_id,
                               struct snug_error *err) SNUG_CHECKED;
snug_status snug_store_model(struct snug_store *store, const char *hash, const char *name,
                             const char *path, const char *json, int64_t *out_id,
                             struct snug_error *err) SNUG_CHECKED;
/* load_level: "idle" for now. build: engine and version; speeds of other builds are other tasks. */
snug_status snug_store_task(struct snug_store *store, int64_t machine_id, int64_t model_id,
                            const struct snug_workload *workload, const char *build,
                            const char *load_level, int64_t *out_id,
                            struct snug_error *err) SNUG_CHECKED;

/* One tuning run on a task; trials belong to it. --resume finds the last unfinished one. */
snug_status snug_store_session(struct snug_store *store, int64_t task_id, const char *kind,
                               const char *options_json, int64_t *out_id,
                               struct snug_error *err) SNUG_CHECKED;
/* The last unfinished session of this kind that no living process works on, or SNUG_NOT_FOUND.
 * It belongs to this process from then on; *out_options malloc'ed. */
snug_status snug_store_session_unfinished(struct snug_store *store, int64_t task_id,
                                          const char *kind, int64_t *out_id, char **out_options,
                                          struct snug_error *err) SNUG_CHECKED;
/* Mark finished with a result (JSON, shown by report). */
snug_status snug_store_session_finish(struct snug_store *store, int64_t session_id,
                                      const char *result_json, struct snug_error *err) SNUG_CHECKED;

/* Add a trial with its samples in one transaction. role: "default", "fit", "search", "probe" and
 * "probe64" (trials of the search that were only begun, with at most 16 and 64 tokens), "front",
 * "confirm" or "bench"; session 0: none. space gives the names of both configs; the effective one
 * is stored for trials that ended ok, since only they have read it back. */
snug_status snug_store_trial_add(struct snug_store *store, int64_t task_id, int64_t session_id,
                                 const char *role, const char *strategy,
                                 const struct snug_space *space, const struct snug_config *config,
                                 const struct snug_measurement *m, int64_t *out_id,
                                 struct snug_error *err) SNUG_CHECKED;

/* Called per trial in order of id; borrowed for the call; false stops. `config_json` and
 * `effective_json` are as stored, so that rows of an older space can still be shown. */
struct snug_trial_view {
    int64_t id, task_id, session_id;
    const char *role, *strategy, *config_json, *effective_json;
    const char *lab_key; /* with a filter by lab: the key of its row; else NULL */
    /* effective not filled; gaps only when asked, with the 24 bits of a float32 */
    const struct snug_measurement *measurement;
};
typedef bool (*snug_trial_fn)(const struct snug_trial_view *view, void *data);

struct snug_trial_filter {
    int64_t task_id;    /* 0: any */
    int64_t session_id; /* 0: any */
    int64_t lab_id;     /* 0: any; else the other two are not looked at */
    bool with_gaps;
};
snug_status snug_store_trials(struct snug_store *store, const struct snug_trial_filter *filter,
                              snug_trial_fn fn, void *data, struct snug_error *err) SNUG_CHECKED;

/* Tasks, newest first; strings borrowed for the call. */
struct snug_task_view {
    int64_t id;
    const char *machine_fingerprint, *machine_name, *machine_json;
    const char *model_hash, *model_name, *model_path, *model_json;
    const char *build, *load_level;
    struct snug_workload workload;
    int64_t n_trials;
    double last_unix_s;
    int64_t n_imported;  /* of the trials */
    const char *imports; /* numbers of the imports that brought trials: "1,3"; "" for none */
};
typedef bool (*snug_task_fn)(const struct snug_task_view *view, void *data);
/* model_hash NULL: all. */
snug_status snug_store_tasks(struct snug_store *store, const char *model_hash, snug_task_fn fn,
                             void *data, struct snug_error *err) SNUG_CHECKED;

/* The last finished session's result of a task and kind: malloc'ed JSON, or SNUG_NOT_FOUND. */
snug_status snug_store_result(struct snug_store *store, int64_t task_id, const char *kind,
                              int64_t *out_session_id, char **out_json,
                              struct snug_error *err) SNUG_CHECKED;

/* Quality of a model under cache types, by (model, build, types, text, reference, chunk length):
 * the last one of each is kept. */
snug_status snug_store_quality_add(struct snug_store *store, int64_t model_id, const char *build,
                                   const struct snug_quality *quality,
                                   struct snug_error *err) SNUG_CHECKED;
/* The newest for a model and cache types, measured here before imported, with a reference first:
 * what every run of them inherits, whatever its threads and batches. Errors  SNUG_NOT_FOUND: never
 * measured. */
snug_status snug_store_quality_find(struct snug_store *store, const char *model_hash,
                                    const char *type_k, const char *type_v,
                                    struct snug_quality *out, struct snug_error *err) SNUG_CHECKED;
/* The same for anything else that is measured of quality (tasks), as JSON. */
struct snug_quality_place {
    int64_t model_id;
    const char *build, *type_k, *type_v;
    const char *text_hash;      /* of the task file */
    const char *reference_hash; /* "" without one */
    int64_t n_ctx;
    bool is_task;
};
snug_status snug_store_quality_json_add(struct snug_store *store,
                                        const struct snug_quality_place *place, const char *json,
                                        struct snug_error *err) SNUG_CHECKED;
/* ---- sensitivity ---- */

/* KL divergence, in nats per token, of a model in which one group of tensors alone has one type. */
struct snug_store_sensitivity_place {
    const char *model_hash, *text_hash;
    const char *imatrix_hash; /* of the file that helped to quantise; "" for none */
    const char *build;
    int64_t n_ctx, n_chunks;
    const char *tensors; /* the group's name */
    const char *type;
};
/* Kept when it returns; the last one of a place counts. */
snug_status snug_store_sensitivity_add(struct snug_store *store,
                                       const struct snug_store_sensitivity_place *place,
                                       struct snug_estimate kld,
                                       struct snug_error *err) SNUG_CHECKED;
/* Errors  SNUG_NOT_FOUND: never measured. */
snug_status snug_store_sensitivity_find(struct snug_store *store,
                                        const struct snug_store_sensitivity_place *place,
                                        struct snug_estimate *out,
                                        struct snug_error *err) SNUG_CHECKED;

/* ---- rounds ---- */

/* One run of a rounds file; its trials are its rows. plan_json says what it is of, and is given
 * back to whoever goes on with it. */
snug_status snug_store_lab_begin(struct snug_store *store, const char *plan_hash, const char *name,
                                 const char *plan_json, int64_t *out_id,
                                 struct snug_error *err) SNUG_CHECKED;
/* The last unfinished run of this plan that no living process works on, or SNUG_NOT_FOUND. It
 * belongs to this process from then on; *out_plan_json malloc'ed. */
snug_status snug_store_lab_unfinished(struct snug_store *store, const char *plan_hash,
                                      int64_t *out_id, char **out_plan_json,
                                      struct snug_error *err) SNUG_CHECKED;
snug_status snug_store_lab_finish(struct snug_store *store, int64_t lab_id, const char *result_json,
                                  struct snug_error *err) SNUG_CHECKED;

struct snug_store_lab_trial {
    int64_t lab_id;
    const char *key; /* of the row */
    int64_t task_id;
    const char *role; /* "baseline" or "round" */
    const struct snug_space *space;
    const struct snug_config *config;
    const struct snug_measurement *measurement;
};
/* A trial and the row that it answers, in one transaction: both are there, or neither. A second
 * answer to a row is SNUG_BAD_INPUT. */
snug_status snug_store_lab_trial_add(struct snug_store *store,
                                     const struct snug_store_lab_trial *trial, int64_t *out_id,
                                     struct snug_error *err) SNUG_CHECKED;

/* Noise floor of a machine (by fingerprint) and engine build: MAD / median of repeated blocks of
 * one config. The last one set counts, imported ones only where none is set. Errors SNUG_NOT_FOUND:
 * never measured. */
snug_status snug_store_noise_set(struct snug_store *store, const char *fingerprint,
                                 const char *build, double frac, int n_blocks,
                                 struct snug_error *err) SNUG_CHECKED;
snug_status snug_store_noise_get(struct snug_store *store, const char *fingerprint,
                                 double *out_frac, int *out_n_blocks,
                                 struct snug_error *err) SNUG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
