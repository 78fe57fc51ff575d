/* Kept statements: prepared at their first use, then bound and stepped again and again. Preparing
 * costs tens of microseconds, more than the step of a small INSERT, and a trial has dozens of them.
 */
#include <math.h>
#include <string.h>

#include "store/columns.h"
#include "store/store_internal.h"

static void keep(struct snug__use *use, int rc, const char *doing)
{
    if (use->status == SNUG_OK && rc != SQLITE_OK)
        use->status = snug__store_fail(use->store, rc, doing, use->err);
}

struct snug__use snug__use_begin(struct snug_store *store, enum snug__statement which,
                                 struct snug_error *err)
{
    static const char *const texts[] = {
#define STATEMENT_TEXT(name, text) text,
        SNUG__STATEMENTS(STATEMENT_TEXT)
#undef STATEMENT_TEXT
            SNUG__SQL_TRIAL_TEXT,
    };
    struct snug__use use = {.store = store, .err = err};
    sqlite3_stmt **kept = &store->statements[which];
    if (!*kept)
        keep(&use,
             sqlite3_prepare_v3(store->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT, kept, NULL),
             "be read");
    use.statement = *kept;
    return use;
}

void snug__use_text(struct snug__use *use, int i, const char *field, const char *text, size_t cap)
{
    const char *value = text ? text : "";
    if (use->status != SNUG_OK)
        return;
    const size_t n = strnlen(value, cap + 1);
    if (n > cap)
        use->status =
            snug_fail(use->err, SNUG_BAD_INPUT, "%s: %s is longer than the %zu bytes allowed",
                      use->store->path, field, cap);
    else
        keep(use, sqlite3_bind_text(use->statement, i, value, (int)n, SQLITE_STATIC), "be written");
}

void snug__use_int(struct snug__use *use, int i, int64_t value)
{
    if (use->status == SNUG_OK)
        keep(use, sqlite3_bind_int64(use->statement, i, value), "be written");
}

void snug__use_number(struct snug__use *use, int i, double value)
{
    if (use->status == SNUG_OK)
        keep(use, sqlite3_bind_double(use->statement, i, isfinite(value) ? value : 0.0),
             "be written");
}

void snug__use_null(struct snug__use *use, int i)
{
    if (use->status == SNUG_OK)
        keep(use, sqlite3_bind_null(use->statement, i), "be written");
}

void snug__use_blob(struct snug__use *use, int i, const void *data, int n)
{
    if (use->status == SNUG_OK)
        keep(use, sqlite3_bind_blob(use->statement, i, data, n, SQLITE_STATIC), "be written");
}

bool snug__use_step(struct snug__use *use, const char *doing)
{
    if (use->status != SNUG_OK)
        return false;
    const int rc = sqlite3_step(use->statement);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        keep(use, rc, doing);
    return rc == SQLITE_ROW;
}

void snug__use_again(struct snug__use *use)
{
    /* Repeats the error that step has already returned. */
    (void)sqlite3_reset(use->statement);
}

snug_status snug__use_end(struct snug__use *use)
{
    snug__use_again(use);
    if (use->statement)
        (void)sqlite3_clear_bindings(use->statement); /* cannot fail on a statement that is reset */
    return use->status;
}

snug_status snug__use_run(struct snug__use *use, const char *doing, int64_t *out_id)
{
    int64_t id = 0;
    if (snug__use_step(use, doing)) {
        id = sqlite3_column_int64(use->statement, 0);
        (void)snug__use_step(use, doing);
    }
    if (use->status == SNUG_OK && out_id)
        *out_id = id;
    return snug__use_end(use);
}

const char *snug__column_text(sqlite3_stmt *statement, int i)
{
    const unsigned char *text = sqlite3_column_text(statement, i);
    return text ? (const char *)text : "";
}
