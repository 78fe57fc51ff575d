/* Opening the store, its statements and its errors. Every return of SQLite is looked at here or by
 * the callers, and becomes one line with the path and a way out.
 *
 * WAL lets readers and one writer work side by side; busy_timeout queues writers. synchronous=FULL
 * syncs the log at each commit: some milliseconds against trials of seconds, and then a power cut
 * loses no more than kill -9 does. Source: sqlite.org/wal.html, sqlite.org/pragma.html. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/process.h"
#include "store/store_internal.h"

#define WAL_RETRY_S 0.01
#define LENGTH_MAX (64 << 20) /* bytes of one value, also in a file that was tampered with */

/* ---- errors ---- */

static const char *no_room(int rc, int system_errno)
{
    if ((rc & 0xff) == SQLITE_FULL || system_errno == ENOSPC)
        return "the disk is full";
    if ((rc & 0xff) != SQLITE_IOERR)
        return NULL;
    if (system_errno == EDQUOT)
        return "the disk quota is used up";
    return system_errno == EFBIG ? "the file size limit (ulimit -f) is reached" : NULL;
}

static snug_status fail_access(const struct snug_store *store, const char *doing, int system_errno,
                               struct snug_error *err)
{
    return snug_fail(err, SNUG_IO,
                     "%s: the store cannot %s: %s; make the file and its folder writable, or give "
                     "another path with --store",
                     store->path, doing,
                     system_errno ? strerror(system_errno) : "the file or its folder is read-only");
}

snug_status snug__store_fail(const struct snug_store *store, int rc, const char *doing,
                             struct snug_error *err)
{
    const int system_errno = store->db ? sqlite3_system_errno(store->db) : 0;
    const char *room = no_room(rc, system_errno);
    if (room)
        return snug_fail(err, SNUG_IO,
                         "%s: the store cannot %s: %s; free some space, or give a path on another "
                         "disk with --store",
                         store->path, doing, room);
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory to %s", store->path, doing);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return snug_fail(err, SNUG_BUSY,
                         "%s: another process has kept the store locked for %d s; end that "
                         "process, or give another path with --store",
                         store->path, SNUG__STORE_BUSY_MS / 1000);
    case SQLITE_NOTADB:
        return snug_fail(err, SNUG_IO,
                         "%s: not a snug store (no SQLite file); move it away, or give another "
                         "path with --store",
                         store->path);
    case SQLITE_CORRUPT:
        return snug_fail(err, SNUG_IO,
                         "%s: the store is damaged (%s); save what can be read with 'sqlite3 FILE "
                         ".recover' and move it away, or give another path with --store",
                         store->path, sqlite3_errmsg(store->db));
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return fail_access(store, doing, system_errno, err);
    case SQLITE_CONSTRAINT:
        return snug_fail(err, SNUG_BAD_INPUT, "%s: the store cannot %s: %s", store->path, doing,
                         sqlite3_extended_errcode(store->db) == SQLITE_CONSTRAINT_FOREIGNKEY
                             ? "it belongs to a row that is not there"
                             : sqlite3_errmsg(store->db));
    default:
        if (rc == SQLITE_IOERR_NOMEM)
            return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory to %s", store->path, doing);
        return snug_fail(err, SNUG_IO, "%s: the store cannot %s: %s%s%s", store->path, doing,
                         store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(rc),
                         system_errno ? ": " : "", system_errno ? strerror(system_errno) : "");
    }
}

/* ---- statements ---- */

snug_status snug__store_exec(struct snug_store *store, const char *sql, const char *doing,
                             struct snug_error *err)
{
    const int rc = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? SNUG_OK : snug__store_fail(store, rc, doing, err);
}

snug_status snug__store_begin(struct snug_store *store, struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_BEGIN, err);
    return snug__use_run(&use, "be written", NULL);
}

snug_status snug__store_commit(struct snug_store *store, const char *doing, struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_COMMIT, err);
    return snug__use_run(&use, doing, NULL);
}

void snug__store_rollback(struct snug_store *store)
{
    /* Some errors have rolled back already. If this fails too, closing rolls back. */
    if (!sqlite3_get_autocommit(store->db))
        (void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
}

double snug__store_now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- open and close ---- */

static snug_status choose_path(const char *path, char **out, struct snug_error *err)
{
    char folder[SNUG_STORE_TEXT_MAX];
    char *chosen = NULL;
    if (path && path[0] == '\0')
        return snug_fail(err, SNUG_BAD_INPUT, "--store: a file name is missing");
    if (path) {
        chosen = strdup(path);
    } else {
        snug_status status = snug_file_data_folder(folder, sizeof folder, err);
        if (status != SNUG_OK)
            return status;
        if (asprintf(&chosen, "%s/history.db", folder) < 0)
            chosen = NULL;
    }
    if (!chosen)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for the path of the store");
    *out = chosen;
    return SNUG_OK;
}

static snug_status make_folder_of(const char *path, struct snug_error *err)
{
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return SNUG_OK;
    char *folder = strndup(path, (size_t)(slash - path));
    if (!folder)
        return snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for its folder", path);
    snug_status status = snug_file_make_folder(folder, err);
    free(folder);
    if (status != SNUG_OK && err && status != SNUG_NO_MEMORY) {
        const struct snug_error why = *err;
        return snug_fail(err, SNUG_IO, "%.400s; give another path for the store with --store",
                         why.text);
    }
    return status;
}

/* SQLite gives names that begin with ':' or "file:" a meaning of their own. */
static int open_file(struct snug_store *store)
{
    const int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    char *name = NULL;
    if (asprintf(&name, "%s%s", store->path[0] == '/' ? "" : "./", store->path) < 0)
        return SQLITE_NOMEM;
    const int rc = sqlite3_open_v2(name, &store->db, flags, NULL);
    free(name);
    return rc;
}

/* Until the file is known to be ours, even closing must not write to it. */
static int set_manners(struct snug_store *store)
{
    int rc = sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(store->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(store->db, SNUG__STORE_BUSY_MS);
    sqlite3_limit(store->db, SQLITE_LIMIT_LENGTH, LENGTH_MAX);
    return rc;
}

/* Two processes that both turn a new file to WAL can meet in a lock that busy_timeout does not
 * wait for, because waiting would be a deadlock: ask again. A file system without shared memory
 * keeps the rollback journal, which is as safe and lets fewer work at once. */
static snug_status use_wal(struct snug_store *store, struct snug_error *err)
{
    const double deadline_s = snug_clock_s() + 1e-3 * SNUG__STORE_BUSY_MS;
    for (;;) {
        const int rc = sqlite3_exec(store->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
        if (rc == SQLITE_OK)
            return SNUG_OK;
        if ((rc & 0xff) != SQLITE_BUSY || snug_clock_s() > deadline_s)
            return snug__store_fail(store, rc, "be opened", err);
        snug_sleep_s(WAL_RETRY_S);
    }
}

static snug_status open_database(struct snug_store *store, struct snug_error *err)
{
    int rc = open_file(store);
    if (rc == SQLITE_OK)
        rc = set_manners(store);
    if (rc != SQLITE_OK)
        return snug__store_fail(store, rc, "be opened", err);
    snug_status status = snug__store_check(store, err);
    if (status != SNUG_OK)
        return status;
    if (sqlite3_db_readonly(store->db, "main") == 1)
        return fail_access(store, "be opened", 0, err);
    status = use_wal(store, err);
    if (status == SNUG_OK)
        status = snug__store_exec(store, "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON",
                                  "be opened", err);
    if (status == SNUG_OK)
        status = snug__store_migrate(store, err);
    if (status != SNUG_OK)
        return status;
    rc = sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    return rc == SQLITE_OK ? SNUG_OK : snug__store_fail(store, rc, "be opened", err);
}

snug_status snug_store_open(const char *path, struct snug_store **out, struct snug_error *err)
{
    struct snug_store *store = calloc(1, sizeof *store);
    if (!store)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a store");
    snug_status status = choose_path(path, &store->path, err);
    if (status == SNUG_OK)
        status = make_folder_of(store->path, err);
    if (status == SNUG_OK)
        status = open_database(store, err);
    if (status == SNUG_OK) {
        *out = store;
        store = NULL; /* the caller owns it now */
    }
    snug_store_close(store);
    return status;
}

void snug_store_close(struct snug_store *store)
{
    if (!store)
        return;
    for (int i = 0; i < SNUG__N_STATEMENTS; i++)
        sqlite3_finalize(store->statements[i]);
    sqlite3_close_v2(store->db);
    free(store->path);
    free(store);
}

const char *snug_store_path(const struct snug_store *store)
{
    return store->path;
}
