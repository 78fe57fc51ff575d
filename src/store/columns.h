/* The columns of a trial that are fields of a measurement. One list makes the INSERT, the SELECT
 * and the code that binds and reads, so their order is the same by construction. */
#ifndef SNUG_STORE_COLUMNS_H
#define SNUG_STORE_COLUMNS_H

/* Each a REAL column of the field's name. */
#define SNUG__TRIAL_NUMBERS(X)                                                                     \
    X(started_unix_s)                                                                              \
    X(prefill_tps)                                                                                 \
    X(decode_tps)                                                                                  \
    X(ttft_s)                                                                                      \
    X(tpot_p50_s)                                                                                  \
    X(tpot_p95_s)                                                                                  \
    X(load_s)                                                                                      \
    X(wall_s)                                                                                      \
    X(warmup_prefill_tps)                                                                          \
    X(warmup_decode_tps)

/* Each a field of snug_bytes; the column's name ends in _bytes. */
#define SNUG__TRIAL_BYTES(X) X(weights) X(cache) X(compute) X(device) X(rss_peak) X(rss_base)

#define SNUG__NUMBER_NAME(name) ", " #name
#define SNUG__BYTES_NAME(name) ", " #name "_bytes"
#define SNUG__PLACE(name) ", ?"

/* In this order: ids and texts of the trial, texts of its measurement, then the lists. */
#define SNUG__TRIAL_TEXTS                                                                          \
    "task_id, session_id, role, strategy, config_json, effective_json, outcome, reason, build"
#define SNUG__N_TRIAL_TEXTS 9
#define SNUG__TRIAL_LISTS SNUG__TRIAL_NUMBERS(SNUG__NUMBER_NAME) SNUG__TRIAL_BYTES(SNUG__BYTES_NAME)

#define SNUG__SQL_TRIAL_TEXT                                                                       \
    "INSERT INTO trials(import_id, " SNUG__TRIAL_TEXTS SNUG__TRIAL_LISTS                           \
    ") VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?" SNUG__TRIAL_NUMBERS(SNUG__PLACE)                       \
        SNUG__TRIAL_BYTES(SNUG__PLACE) ") RETURNING id"

#endif
