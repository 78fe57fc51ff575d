/* Adding a trial: its row, conditions, timed blocks and gaps, all in one transaction. */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/columns.h"
#include "store/store_internal.h"
#include "trial/trial_json.h"

struct trial {
    int64_t task_id, session_id;
    const char *role, *strategy;
    char *config, *effective; /* JSON, malloc'ed */
    const struct snug_measurement *m;
};

static char *config_text(const struct snug_space *space, const struct snug_config *config)
{
    struct snug_json_writer w = {0};
    snug_config_to_json(&w, NULL, space, config);
    return snug_json_finish(&w, false);
}

static int64_t stored_bytes(uint64_t bytes)
{
    return bytes < INT64_MAX ? (int64_t)bytes : INT64_MAX;
}

static snug_status bind_trial(struct snug_store *store, sqlite3_stmt *s, const struct trial *trial,
                              struct snug_error *err)
{
    const struct snug_measurement *m = trial->m;
    const double numbers[] = {
#define VALUE(name) m->name,
        SNUG__TRIAL_NUMBERS(VALUE)
#undef VALUE
    };
    const uint64_t bytes[] = {
#define VALUE(name) m->bytes.name,
        SNUG__TRIAL_BYTES(VALUE)
#undef VALUE
    };
    const char *const texts[][2] = {
        {"the role", trial->role},
        {"the strategy", trial->strategy},
        {"the config", trial->config},
        {"the effective config", trial->effective},
        {"the outcome", snug_outcome_name(m->outcome)},
        {"the reason", m->reason},
        {"the build", m->build},
    };
    snug_status status = SNUG_OK;
    int at = 1, rc = sqlite3_bind_int64(s, at++, trial->task_id);
    if (rc == SQLITE_OK)
        rc = trial->session_id ? sqlite3_bind_int64(s, at, trial->session_id)
                               : sqlite3_bind_null(s, at);
    at++;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        snug__bind_text(store, s, at++, texts[i][0], texts[i][1],
                        i == 2 || i == 3 ? SNUG_STORE_JSON_MAX : SNUG_STORE_TEXT_MAX, &status, err);
    for (size_t i = 0; rc == SQLITE_OK && i < sizeof numbers / sizeof *numbers; i++)
        rc = snug__bind_number(s, at++, numbers[i]);
    for (size_t i = 0; rc == SQLITE_OK && i < sizeof bytes / sizeof *bytes; i++)
        rc = sqlite3_bind_int64(s, at++, stored_bytes(bytes[i]));
    if (status == SNUG_OK && rc != SQLITE_OK)
        status = snug__store_fail(store, rc, "be written", err);
    return status;
}

static snug_status add_row(struct snug_store *store, const struct trial *trial, int64_t *out_id,
                           struct snug_error *err)
{
    sqlite3_stmt *s = NULL;
    snug_status status = snug__store_statement(store, SNUG__SQL_TRIAL, &s, err);
    if (status != SNUG_OK)
        return status;
    status = bind_trial(store, s, trial, err);
    if (status == SNUG_OK)
        return snug__store_run_id(store, s, "add a trial", out_id, err);
    snug__store_end(s);
    return status;
}

static void warnings_text(uint32_t warnings, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = '\0';
    for (int bit = 0; bit < SNUG_N_WARNINGS; bit++) {
        if (warnings >> bit & 1u && n < cap)
            n += (size_t)snprintf(out + n, cap - n, "%s%s", n ? " " : "",
                                  snug_warning_name((enum snug_warning_bit)bit));
    }
}

static snug_status add_conditions(struct snug_store *store, int64_t id,
                                  const struct snug_measurement *m, struct snug_error *err)
{
    char warnings[256];
    const double numbers[] = {m->throttled_s, m->other_load_frac, m->load_average};
    sqlite3_stmt *s = NULL;
    snug_status status = snug__store_statement(store, SNUG__SQL_CONDITIONS, &s, err);
    if (status != SNUG_OK)
        return status;
    warnings_text(m->warnings, warnings, sizeof warnings);
    int rc = sqlite3_bind_int64(s, 1, id);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(s, 2, warnings, -1, SQLITE_STATIC);
    for (int i = 0; rc == SQLITE_OK && i < 3; i++)
        rc = snug__bind_number(s, 3 + i, numbers[i]);
    if (rc == SQLITE_OK)
        return snug__store_run(store, s, "add a trial", err);
    status = snug__store_fail(store, rc, "be written", err);
    snug__store_end(s);
    return status;
}

static snug_status add_block(struct snug_store *store, sqlite3_stmt *s, int i, double tps,
                             struct snug_error *err)
{
    int rc = sqlite3_bind_int(s, 3, i);
    if (rc == SQLITE_OK)
        rc = snug__bind_number(s, 4, tps);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    const int rc_reset = sqlite3_reset(s); /* keeps what is bound */
    if (rc == SQLITE_DONE && rc_reset == SQLITE_OK)
        return SNUG_OK;
    return snug__store_fail(store, rc, "add a trial", err);
}

static snug_status add_blocks(struct snug_store *store, int64_t id, const char *phase,
                              const double *tps, int n, struct snug_error *err)
{
    sqlite3_stmt *s = NULL;
    snug_status status = snug__store_statement(store, SNUG__SQL_SAMPLE, &s, err);
    if (status != SNUG_OK)
        return status;
    int rc = sqlite3_bind_int64(s, 1, id);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(s, 2, phase, -1, SQLITE_STATIC);
    if (rc != SQLITE_OK)
        status = snug__store_fail(store, rc, "be written", err);
    for (int i = 0; status == SNUG_OK && i < n && i < SNUG_BLOCKS_MAX; i++)
        status = add_block(store, s, i, tps[i], err);
    snug__store_end(s);
    return status;
}

/* Seconds as little-endian float32: 24 bits are more than a clock gives. */
static void *pack_gaps(const double *gaps_s, size_t n)
{
    uint32_t *packed = malloc(n * sizeof *packed);
    for (size_t i = 0; packed && i < n; i++) {
        const float gap = (float)gaps_s[i];
        uint32_t bits;
        memcpy(&bits, &gap, sizeof bits);
        packed[i] = htole32(bits);
    }
    return packed;
}

static snug_status add_gaps(struct snug_store *store, int64_t id, const struct snug_measurement *m,
                            struct snug_error *err)
{
    sqlite3_stmt *s = NULL;
    const int n = m->n_gaps < SNUG_STORE_GAPS_MAX ? m->n_gaps : SNUG_STORE_GAPS_MAX;
    if (!m->gaps_s || n <= 0)
        return SNUG_OK;
    snug_status status = snug__store_statement(store, SNUG__SQL_GAPS, &s, err);
    if (status != SNUG_OK)
        return status;
    void *packed = pack_gaps(m->gaps_s, (size_t)n);
    if (!packed)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for %d gaps", store->path, n);
    int rc = sqlite3_bind_int64(s, 1, id);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_blob(s, 2, packed, n * (int)sizeof(uint32_t), SQLITE_STATIC);
    if (rc == SQLITE_OK) {
        status = snug__store_run(store, s, "add a trial", err);
    } else {
        status = snug__store_fail(store, rc, "be written", err);
        snug__store_end(s);
    }
    free(packed);
    return status;
}

static snug_status add_all(struct snug_store *store, const struct trial *trial, int64_t *out_id,
                           struct snug_error *err)
{
    const struct snug_measurement *m = trial->m;
    snug_status status = snug__store_begin(store, err);
    if (status == SNUG_OK)
        status = add_row(store, trial, out_id, err);
    if (status == SNUG_OK)
        status = add_conditions(store, *out_id, m, err);
    if (status == SNUG_OK)
        status =
            add_blocks(store, *out_id, "prefill", m->prefill_block_tps, m->n_prefill_blocks, err);
    if (status == SNUG_OK)
        status = add_blocks(store, *out_id, "decode", m->decode_block_tps, m->n_decode_blocks, err);
    if (status == SNUG_OK)
        status = add_gaps(store, *out_id, m, err);
    if (status == SNUG_OK)
        status = snug__store_commit(store, "add a trial", err);
    snug__store_rollback(store);
    return status;
}

snug_status snug_store_trial_add(struct snug_store *store, int64_t task_id, int64_t session_id,
                                 const char *role, const char *strategy,
                                 const struct snug_space *space, const struct snug_config *config,
                                 const struct snug_measurement *m, int64_t *out_id,
                                 struct snug_error *err)
{
    const bool is_ok = m->outcome == SNUG_TRIAL_OK;
    struct trial trial = {
        .task_id = task_id,
        .session_id = session_id,
        .role = role,
        .strategy = strategy,
        .config = config_text(space, config),
        .effective = is_ok ? config_text(space, &m->effective) : strdup("{}"),
        .m = m,
    };
    int64_t id = 0;
    snug_status status =
        trial.config && trial.effective
            ? add_all(store, &trial, &id, err)
            : snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for a trial", store->path);
    free(trial.config);
    free(trial.effective);
    if (status == SNUG_OK)
        *out_id = id;
    return status;
}
