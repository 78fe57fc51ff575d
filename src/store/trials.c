/* Adding a trial: its row, conditions, timed blocks and gaps, all in one transaction. */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/columns.h"
#include "store/store_internal.h"
#include "trial/trial_json.h"

/* Which row of which rounds a trial answers; NULL: none. */
struct lab_place {
    int64_t lab_id;
    const char *key;
};

static char *config_text(const struct snug_space *space, const struct snug_config *config)
{
    struct snug_json_writer w = {0};
    snug_config_to_json(&w, NULL, space, config);
    return snug_json_finish(&w, false);
}

/* 0 is no row. */
static void use_id(struct snug__use *use, int i, int64_t id)
{
    if (id)
        snug__use_int(use, i, id);
    else
        snug__use_null(use, i);
}

/* Columns in the order of columns.h. */
static snug_status add_row(struct snug_store *store, const struct snug__trial *trial,
                           int64_t *out_id, struct snug_error *err)
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
    int at = 1;
    struct snug__use use = snug__use_begin(store, SNUG__SQL_TRIAL, err);
    use_id(&use, at++, trial->import_id);
    snug__use_int(&use, at++, trial->task_id);
    use_id(&use, at++, trial->session_id);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        snug__use_text(&use, at++, texts[i][0], texts[i][1], SNUG_STORE_TEXT_MAX);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        snug__use_number(&use, at++, numbers[i]);
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        snug__use_int(&use, at++, bytes[i] < INT64_MAX ? (int64_t)bytes[i] : INT64_MAX);
    return snug__use_run(&use, "add a trial", out_id);
}

static snug_status add_conditions(struct snug_store *store, int64_t id,
                                  const struct snug_measurement *m, struct snug_error *err)
{
    char warnings[256];
    struct snug__use use = snug__use_begin(store, SNUG__SQL_CONDITIONS, err);
    snug_warnings_text(m->warnings, " ", warnings, sizeof warnings);
    snug__use_int(&use, 1, id);
    snug__use_text(&use, 2, "the warnings", warnings, SNUG_STORE_TEXT_MAX);
    snug__use_number(&use, 3, m->throttled_s);
    snug__use_number(&use, 4, m->other_load_frac);
    snug__use_number(&use, 5, m->load_average);
    return snug__use_run(&use, "add a trial", NULL);
}

/* What the verdict was judged by, so that it can be judged again. */
static snug_status add_details(struct snug_store *store, int64_t id,
                               const struct snug_measurement *m, struct snug_error *err)
{
    struct snug_json_writer w = {0};
    snug_measurement_details_to_json(&w, NULL, m);
    char *json = snug_json_finish(&w, false);
    if (!json)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for a trial's details", store->path);
    struct snug__use use = snug__use_begin(store, SNUG__SQL_DETAILS, err);
    const bool is_ok = m->outcome == SNUG_TRIAL_OK;
    snug__use_int(&use, 1, id);
    snug__use_text(&use, 2, "the verdict",
                   is_ok ? snug_verdict_name(snug_verdict_of(m->warnings)) : "",
                   SNUG_STORE_TEXT_MAX);
    snug__use_text(&use, 3, "the details", json, SNUG_STORE_JSON_MAX);
    const snug_status status = snug__use_run(&use, "add a trial", NULL);
    free(json);
    return status;
}

static snug_status add_blocks(struct snug_store *store, int64_t id, const char *phase,
                              const double *tps, int n, struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_SAMPLE, err);
    snug__use_int(&use, 1, id);
    snug__use_text(&use, 2, "the phase", phase, SNUG_STORE_TEXT_MAX);
    for (int i = 0; use.status == SNUG_OK && i < n && i < SNUG_BLOCKS_MAX; i++) {
        snug__use_int(&use, 3, i);
        snug__use_number(&use, 4, tps[i]);
        (void)snug__use_step(&use, "add a trial");
        snug__use_again(&use);
    }
    return snug__use_end(&use);
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
    const int n = m->n_gaps < SNUG_STORE_GAPS_MAX ? m->n_gaps : SNUG_STORE_GAPS_MAX;
    if (!m->gaps_s || n <= 0)
        return SNUG_OK;
    void *packed = pack_gaps(m->gaps_s, (size_t)n);
    if (!packed)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for %d gaps", store->path, n);
    struct snug__use use = snug__use_begin(store, SNUG__SQL_GAPS, err);
    snug__use_int(&use, 1, id);
    snug__use_blob(&use, 2, packed, n * (int)sizeof(uint32_t));
    const snug_status status = snug__use_run(&use, "add a trial", NULL);
    free(packed);
    return status;
}

static snug_status add_lab_row(struct snug_store *store, int64_t id, const struct lab_place *lab,
                               struct snug_error *err)
{
    struct snug__use has = snug__use_begin(store, SNUG__SQL_LAB_HAS, err);
    snug__use_int(&has, 1, lab->lab_id);
    snug__use_text(&has, 2, "the row's key", lab->key, SNUG_STORE_TEXT_MAX);
    const bool is_there = snug__use_step(&has, "add a row");
    snug_status status = snug__use_end(&has);
    if (status == SNUG_OK && is_there)
        return snug_fail(err, SNUG_BAD_INPUT, "%s: row %.64s of rounds %lld is answered already",
                         store->path, lab->key, (long long)lab->lab_id);
    if (status != SNUG_OK)
        return status;
    struct snug__use use = snug__use_begin(store, SNUG__SQL_LAB_ROW, err);
    snug__use_int(&use, 1, lab->lab_id);
    snug__use_text(&use, 2, "the row's key", lab->key, SNUG_STORE_TEXT_MAX);
    snug__use_int(&use, 3, id);
    return snug__use_run(&use, "add a row", NULL);
}

snug_status snug__store_trial_put(struct snug_store *store, const struct snug__trial *trial,
                                  int64_t *out_id, struct snug_error *err)
{
    const struct snug_measurement *m = trial->m;
    snug_status status = add_row(store, trial, out_id, err);
    if (status == SNUG_OK)
        status = add_conditions(store, *out_id, m, err);
    if (status == SNUG_OK)
        status = add_details(store, *out_id, m, err);
    if (status == SNUG_OK)
        status =
            add_blocks(store, *out_id, "prefill", m->prefill_block_tps, m->n_prefill_blocks, err);
    if (status == SNUG_OK)
        status = add_blocks(store, *out_id, "decode", m->decode_block_tps, m->n_decode_blocks, err);
    if (status == SNUG_OK)
        status = add_gaps(store, *out_id, m, err);
    return status;
}

static snug_status add_all(struct snug_store *store, const struct snug__trial *trial,
                           const struct lab_place *lab, int64_t *out_id, struct snug_error *err)
{
    snug_status status = snug__store_begin(store, err);
    if (status == SNUG_OK)
        status = snug__store_trial_put(store, trial, out_id, err);
    if (status == SNUG_OK && lab)
        status = add_lab_row(store, *out_id, lab, err);
    if (status == SNUG_OK)
        status = snug__store_commit(store, "add a trial", err);
    snug__store_rollback(store);
    return status;
}

/* Writes both configs of a trial whose other parts are set, and adds it. */
static snug_status add_trial(struct snug_store *store, struct snug__trial *trial,
                             const struct lab_place *lab, const struct snug_space *space,
                             const struct snug_config *config, int64_t *out_id,
                             struct snug_error *err)
{
    const bool is_ok = trial->m->outcome == SNUG_TRIAL_OK;
    int64_t id = 0;
    char *asked = config_text(space, config);
    char *effective = is_ok ? config_text(space, &trial->m->effective) : strdup("{}");
    trial->config = asked;
    trial->effective = effective;
    const snug_status status =
        asked && effective
            ? add_all(store, trial, lab, &id, err)
            : snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for a trial", store->path);
    free(asked);
    free(effective);
    if (status == SNUG_OK)
        *out_id = id;
    return status;
}

/* snug:long what a trial is: where it belongs, what was asked, what came of it */
snug_status snug_store_trial_add(struct snug_store *store, int64_t task_id, int64_t session_id,
                                 const char *role, const char *strategy,
                                 const struct snug_space *space, const struct snug_config *config,
                                 const struct snug_measurement *m, int64_t *out_id,
                                 struct snug_error *err)
{
    struct snug__trial trial = {
        .task_id = task_id, .session_id = session_id, .role = role, .strategy = strategy, .m = m};
    return add_trial(store, &trial, NULL, space, config, out_id, err);
}

snug_status snug_store_lab_trial_add(struct snug_store *store,
                                     const struct snug_store_lab_trial *in, int64_t *out_id,
                                     struct snug_error *err)
{
    const struct lab_place lab = {in->lab_id, in->key};
    struct snug__trial trial = {
        .task_id = in->task_id, .role = in->role, .strategy = "", .m = in->measurement};
    return add_trial(store, &trial, &lab, in->space, in->config, out_id, err);
}
