/* Reading trials back, one row at a time: memory does not grow with the history. What lies in the
 * file may have been edited by hand, so counts and lengths are held within their caps. */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "store/columns.h"
#include "store/store_internal.h"
#include "trial/trial_json.h"

enum { COLUMN_ID = SNUG__N_TRIAL_TEXTS };

/* The columns after the texts: id, lists, conditions. */
static void read_numbers(sqlite3_stmt *s, struct snug_measurement *m)
{
    double *const numbers[] = {
#define PLACE(name) &m->name,
        SNUG__TRIAL_NUMBERS(PLACE)
#undef PLACE
            & m->throttled_s,
        &m->other_load_frac,
        &m->load_average,
    };
    uint64_t *const bytes[] = {
#define PLACE(name) &m->bytes.name,
        SNUG__TRIAL_BYTES(PLACE)
#undef PLACE
    };
    const size_t n_numbers = sizeof numbers / sizeof *numbers, n_conditions = 3;
    int at = COLUMN_ID + 1;
    for (size_t i = 0; i < n_numbers - n_conditions; i++)
        *numbers[i] = sqlite3_column_double(s, at++);
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        const int64_t value = sqlite3_column_int64(s, at++);
        *bytes[i] = value > 0 ? (uint64_t)value : 0;
    }
    for (size_t i = n_numbers - n_conditions; i < n_numbers; i++)
        *numbers[i] = sqlite3_column_double(s, at++);
    m->warnings = snug_warnings_from_text(snug__column_text(s, at));
}

static void read_row(sqlite3_stmt *s, struct snug_trial_view *view, struct snug_measurement *m)
{
    *view = (struct snug_trial_view){
        .id = sqlite3_column_int64(s, COLUMN_ID),
        .task_id = sqlite3_column_int64(s, 0),
        .session_id = sqlite3_column_int64(s, 1), /* NULL gives 0 */
        .role = snug__column_text(s, 2),
        .strategy = snug__column_text(s, 3),
        .config_json = snug__column_text(s, 4),
        .effective_json = snug__column_text(s, 5),
        .measurement = m,
    };
    m->outcome = snug_outcome_from_name(snug__column_text(s, 6));
    if (m->outcome == SNUG_N_OUTCOMES)
        m->outcome = SNUG_TRIAL_REFUSED; /* not known here: no success */
    snprintf(m->reason, sizeof m->reason, "%s", snug__column_text(s, 7));
    snprintf(m->build, sizeof m->build, "%s", snug__column_text(s, 8));
    read_numbers(s, m);
}

static void take_block(sqlite3_stmt *s, struct snug_measurement *m)
{
    const bool is_prefill = strcmp(snug__column_text(s, 0), "prefill") == 0;
    int *n = is_prefill ? &m->n_prefill_blocks : &m->n_decode_blocks;
    double *tps = is_prefill ? m->prefill_block_tps : m->decode_block_tps;
    if (*n < SNUG_BLOCKS_MAX)
        tps[(*n)++] = sqlite3_column_double(s, 2);
}

static snug_status read_blocks(struct snug_store *store, int64_t id, struct snug_measurement *m,
                               struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_SAMPLES_OF, err);
    snug__use_int(&use, 1, id);
    while (snug__use_step(&use, "read a trial"))
        take_block(use.statement, m);
    return snug__use_end(&use);
}

/* Trials of an older store have none: their conditions are unknown. */
static snug_status read_details(struct snug_store *store, int64_t id, struct snug_measurement *m,
                                struct snug_error *err)
{
    struct snug_json *doc = NULL;
    struct snug__use use = snug__use_begin(store, SNUG__SQL_DETAILS_OF, err);
    snug__use_int(&use, 1, id);
    if (snug__use_step(&use, "read a trial")) {
        const char *json = snug__column_text(use.statement, 0);
        if (snug_json_parse("details", json, strlen(json), &doc, NULL) != SNUG_OK)
            doc = NULL; /* edited by hand: as if there were none */
    }
    snug_measurement_details_from_json(snug_json_root(doc), m);
    snug_json_free(doc);
    return snug__use_end(&use);
}

static snug_status take_gaps(const struct snug_store *store, sqlite3_stmt *s,
                             struct snug_measurement *m, struct snug_error *err)
{
    const unsigned char *packed = sqlite3_column_blob(s, 0);
    int n = sqlite3_column_bytes(s, 0) / (int)sizeof(uint32_t);
    if (!packed || n <= 0)
        return SNUG_OK;
    n = n < SNUG_STORE_GAPS_MAX ? n : SNUG_STORE_GAPS_MAX;
    m->gaps_s = malloc((size_t)n * sizeof *m->gaps_s);
    if (!m->gaps_s)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for %d gaps", store->path, n);
    m->n_gaps = n;
    for (int i = 0; i < n; i++) {
        uint32_t bits;
        float gap;
        memcpy(&bits, packed + (size_t)i * sizeof bits, sizeof bits);
        bits = le32toh(bits);
        memcpy(&gap, &bits, sizeof gap);
        m->gaps_s[i] = (double)gap;
    }
    return SNUG_OK;
}

static snug_status read_gaps(struct snug_store *store, int64_t id, struct snug_measurement *m,
                             struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_GAPS_OF, err);
    snug__use_int(&use, 1, id);
    if (snug__use_step(&use, "read a trial"))
        use.status = take_gaps(store, use.statement, m, err);
    return snug__use_end(&use);
}

/* The key of the row that a trial answers, malloc'ed. */
static snug_status read_lab_key(struct snug_store *store, int64_t lab_id, int64_t id, char **out,
                                struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_LAB_KEY_OF, err);
    snug__use_int(&use, 1, lab_id);
    snug__use_int(&use, 2, id);
    if (snug__use_step(&use, "read a row")) {
        *out = strdup(snug__column_text(use.statement, 0));
        if (!*out)
            use.status = snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for a row", store->path);
    }
    return snug__use_end(&use);
}

/* One row to the callback. *out_goes_on: what it answered. */
static snug_status give_row(struct snug_store *store, sqlite3_stmt *s,
                            const struct snug_trial_filter *want, snug_trial_fn fn, void *data,
                            bool *out_goes_on, struct snug_error *err)
{
    char *lab_key = NULL;
    struct snug_measurement m = {0};
    struct snug_trial_view view;
    read_row(s, &view, &m);
    snug_status status = read_blocks(store, view.id, &m, err);
    if (status == SNUG_OK)
        status = read_details(store, view.id, &m, err);
    if (status == SNUG_OK && want->with_gaps)
        status = read_gaps(store, view.id, &m, err);
    if (status == SNUG_OK && want->lab_id)
        status = read_lab_key(store, want->lab_id, view.id, &lab_key, err);
    view.lab_key = lab_key;
    if (status == SNUG_OK)
        *out_goes_on = fn(&view, data);
    free(lab_key);
    snug_measurement_clear(&m);
    return status;
}

#define SELECT_TRIALS                                                                              \
    "SELECT " SNUG__TRIAL_TEXTS ", id" SNUG__TRIAL_LISTS                                           \
    ", c.throttled_s, c.other_load_frac, c.load_average, c.warnings "                              \
    "FROM trials LEFT JOIN conditions c ON c.trial_id = id "

/* Not a kept statement: the callback may read trials too. */
static int prepare(struct snug_store *store, const struct snug_trial_filter *filter,
                   sqlite3_stmt **out)
{
    static const char *const texts[] = {
        SELECT_TRIALS "ORDER BY id",
        SELECT_TRIALS "WHERE task_id = ?1 ORDER BY id",
        SELECT_TRIALS "WHERE session_id = ?2 ORDER BY id",
        SELECT_TRIALS "WHERE session_id = ?2 AND task_id = ?1 ORDER BY id",
        SELECT_TRIALS "WHERE id IN (SELECT l.trial_id FROM lab_rows l WHERE l.lab_id = ?3) "
                      "ORDER BY id",
    };
    const bool is_lab = filter->lab_id != 0;
    const int which = is_lab ? 4 : (filter->task_id ? 1 : 0) + (filter->session_id ? 2 : 0);
    int rc = sqlite3_prepare_v2(store->db, texts[which], -1, out, NULL);
    if (rc == SQLITE_OK && is_lab)
        rc = sqlite3_bind_int64(*out, 3, filter->lab_id);
    if (rc == SQLITE_OK && !is_lab && filter->task_id)
        rc = sqlite3_bind_int64(*out, 1, filter->task_id);
    if (rc == SQLITE_OK && !is_lab && filter->session_id)
        rc = sqlite3_bind_int64(*out, 2, filter->session_id);
    return rc;
}

snug_status snug_store_trials(struct snug_store *store, const struct snug_trial_filter *filter,
                              snug_trial_fn fn, void *data, struct snug_error *err)
{
    static const struct snug_trial_filter everything = {0};
    const struct snug_trial_filter *want = filter ? filter : &everything;
    sqlite3_stmt *s = NULL;
    snug_status status = SNUG_OK;
    bool goes_on = true;
    int rc = prepare(store, want, &s);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    while (rc == SQLITE_ROW && goes_on && status == SNUG_OK) {
        status = give_row(store, s, want, fn, data, &goes_on, err);
        if (status == SNUG_OK && goes_on)
            rc = sqlite3_step(s);
    }
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        status = snug__store_fail(store, rc, "list its trials", err);
    sqlite3_finalize(s);
    return status;
}
