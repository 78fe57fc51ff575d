/* The tables, and how a file gets them.
 *
 * PRAGMA user_version counts the migrations a file has seen. A migration is never edited once it
 * was released; a change is a new row. All missing ones run in one exclusive transaction which
 * reads the version again after it has the lock, so two processes that start at once do it once. */
#include <stdio.h>

#include "store/store_internal.h"

/* Text columns hold "" for nothing. Times are Unix seconds. Bytes and counts are INTEGER. */
static const char *const MIGRATIONS[] = {
    "CREATE TABLE machines("
    "  id INTEGER PRIMARY KEY,"
    "  fingerprint TEXT NOT NULL UNIQUE,"
    "  name TEXT NOT NULL,"
    "  json TEXT NOT NULL,"
    "  seen_unix_s REAL NOT NULL"
    ") STRICT;"
    "CREATE TABLE models("
    "  id INTEGER PRIMARY KEY,"
    "  hash TEXT NOT NULL UNIQUE,"
    "  name TEXT NOT NULL,"
    "  path TEXT NOT NULL,"
    "  json TEXT NOT NULL,"
    "  seen_unix_s REAL NOT NULL"
    ") STRICT;"
    "CREATE TABLE tasks("
    "  id INTEGER PRIMARY KEY,"
    "  machine_id INTEGER NOT NULL REFERENCES machines(id),"
    "  model_id INTEGER NOT NULL REFERENCES models(id),"
    "  build TEXT NOT NULL,"
    "  load_level TEXT NOT NULL,"
    "  n_prompt INTEGER NOT NULL,"
    "  n_gen INTEGER NOT NULL,"
    "  n_depth INTEGER NOT NULL,"
    "  n_parallel INTEGER NOT NULL,"
    "  n_ctx INTEGER NOT NULL,"
    "  seen_unix_s REAL NOT NULL,"
    "  UNIQUE(machine_id, model_id, build, load_level, n_prompt, n_gen, n_depth, n_parallel, n_ctx)"
    ") STRICT;"
    "CREATE INDEX tasks_of_model ON tasks(model_id);"
    "CREATE TABLE sessions("
    "  id INTEGER PRIMARY KEY,"
    "  task_id INTEGER NOT NULL REFERENCES tasks(id),"
    "  kind TEXT NOT NULL,"
    "  options_json TEXT NOT NULL,"
    "  result_json TEXT NOT NULL DEFAULT '',"
    "  owner TEXT NOT NULL," /* the process that works on it; see owner.c */
    "  started_unix_s REAL NOT NULL,"
    "  finished_unix_s REAL" /* NULL: not finished */
    ") STRICT;"
    "CREATE INDEX sessions_of_task ON sessions(task_id, kind);"
    "CREATE TABLE trials("
    "  id INTEGER PRIMARY KEY,"
    "  task_id INTEGER NOT NULL REFERENCES tasks(id),"
    "  session_id INTEGER REFERENCES sessions(id)," /* NULL: none */
    "  role TEXT NOT NULL,"
    "  strategy TEXT NOT NULL,"
    "  config_json TEXT NOT NULL,"
    "  effective_json TEXT NOT NULL," /* {} when the trial did not get so far */
    "  outcome TEXT NOT NULL,"
    "  reason TEXT NOT NULL,"
    "  build TEXT NOT NULL,"
    "  started_unix_s REAL NOT NULL,"
    "  prefill_tps REAL NOT NULL,"
    "  decode_tps REAL NOT NULL,"
    "  ttft_s REAL NOT NULL,"
    "  tpot_p50_s REAL NOT NULL,"
    "  tpot_p95_s REAL NOT NULL,"
    "  load_s REAL NOT NULL,"
    "  wall_s REAL NOT NULL,"
    "  warmup_prefill_tps REAL NOT NULL,"
    "  warmup_decode_tps REAL NOT NULL,"
    "  weights_bytes INTEGER NOT NULL,"
    "  cache_bytes INTEGER NOT NULL,"
    "  compute_bytes INTEGER NOT NULL,"
    "  device_bytes INTEGER NOT NULL,"
    "  rss_peak_bytes INTEGER NOT NULL,"
    "  rss_base_bytes INTEGER NOT NULL"
    ") STRICT;"
    "CREATE INDEX trials_of_task ON trials(task_id);"
    "CREATE INDEX trials_of_session ON trials(session_id);"
    "CREATE TABLE conditions("
    "  trial_id INTEGER PRIMARY KEY REFERENCES trials(id) ON DELETE CASCADE,"
    "  warnings TEXT NOT NULL," /* names between spaces: they outlive the order of the bits */
    "  throttled_s REAL NOT NULL,"
    "  other_load_frac REAL NOT NULL,"
    "  load_average REAL NOT NULL"
    ") STRICT;"
    "CREATE TABLE samples("
    "  trial_id INTEGER NOT NULL REFERENCES trials(id) ON DELETE CASCADE,"
    "  phase TEXT NOT NULL CHECK(phase IN ('prefill', 'decode')),"
    "  i INTEGER NOT NULL," /* block, in order */
    "  tps REAL NOT NULL,"
    "  PRIMARY KEY(trial_id, phase, i)"
    ") STRICT, WITHOUT ROWID;"
    /* Thousands of gaps per trial: one little-endian float32 each, a ninth of what rows take. */
    "CREATE TABLE gaps("
    "  trial_id INTEGER PRIMARY KEY REFERENCES trials(id) ON DELETE CASCADE,"
    "  seconds_f32 BLOB NOT NULL"
    ") STRICT;",
    /* Workloads with a name join the key of a task. SQLite changes no constraint in place: the
     * table is made again, with foreign keys off (snug__store_migrate). */
    "CREATE TABLE tasks_new("
    "  id INTEGER PRIMARY KEY,"
    "  machine_id INTEGER NOT NULL REFERENCES machines(id),"
    "  model_id INTEGER NOT NULL REFERENCES models(id),"
    "  build TEXT NOT NULL,"
    "  load_level TEXT NOT NULL,"
    "  n_prompt INTEGER NOT NULL,"
    "  n_gen INTEGER NOT NULL,"
    "  n_depth INTEGER NOT NULL,"
    "  n_parallel INTEGER NOT NULL,"
    "  n_ctx INTEGER NOT NULL,"
    "  workload_name TEXT NOT NULL," /* "" and "": random tokens of these lengths */
    "  workload_hash TEXT NOT NULL,"
    "  workload_path TEXT NOT NULL,"
    "  seen_unix_s REAL NOT NULL,"
    "  UNIQUE(machine_id, model_id, build, load_level, n_prompt, n_gen, n_depth, n_parallel, "
    "n_ctx, "
    "    workload_hash)"
    ") STRICT;"
    "INSERT INTO tasks_new SELECT id, machine_id, model_id, build, load_level, n_prompt, n_gen, "
    "  n_depth, n_parallel, n_ctx, '', '', '', seen_unix_s FROM tasks;"
    "DROP TABLE tasks;"
    "ALTER TABLE tasks_new RENAME TO tasks;"
    "CREATE INDEX tasks_of_model ON tasks(model_id);"
    /* What a verdict was judged by: conditions, their samples, warm-up blocks, energy. */
    "CREATE TABLE details("
    "  trial_id INTEGER PRIMARY KEY REFERENCES trials(id) ON DELETE CASCADE,"
    "  verdict TEXT NOT NULL,"
    "  json TEXT NOT NULL"
    ") STRICT;"
    /* Relative spread of repeated blocks of one config: what a verdict calls noisy. */
    "CREATE TABLE noise("
    "  fingerprint TEXT NOT NULL,"
    "  build TEXT NOT NULL,"
    "  frac REAL NOT NULL,"
    "  n_blocks INTEGER NOT NULL,"
    "  seen_unix_s REAL NOT NULL,"
    "  PRIMARY KEY(fingerprint, build)"
    ") STRICT;"
    /* Quality of a model under cache types, on a text; tasks as multiple choice beside it. */
    "CREATE TABLE qualities("
    "  id INTEGER PRIMARY KEY,"
    "  model_id INTEGER NOT NULL REFERENCES models(id),"
    "  build TEXT NOT NULL,"
    "  type_k TEXT NOT NULL,"
    "  type_v TEXT NOT NULL,"
    "  text_hash TEXT NOT NULL,"      /* of the text, or of the task file */
    "  reference_hash TEXT NOT NULL," /* "" without one */
    "  n_ctx INTEGER NOT NULL,"
    "  kind TEXT NOT NULL CHECK(kind IN ('text', 'task')),"
    "  json TEXT NOT NULL,"
    "  seen_unix_s REAL NOT NULL,"
    "  UNIQUE(model_id, build, type_k, type_v, text_hash, reference_hash, n_ctx, kind)"
    ") STRICT;"
    /* Lab runs: a plan, and which trial answers which of its rows. */
    "CREATE TABLE labs("
    "  id INTEGER PRIMARY KEY,"
    "  plan_hash TEXT NOT NULL,"
    "  name TEXT NOT NULL,"
    "  plan_json TEXT NOT NULL,"
    "  result_json TEXT NOT NULL DEFAULT '',"
    "  owner TEXT NOT NULL,"
    "  started_unix_s REAL NOT NULL,"
    "  finished_unix_s REAL"
    ") STRICT;"
    "CREATE INDEX labs_of_plan ON labs(plan_hash);"
    "CREATE TABLE lab_rows("
    "  lab_id INTEGER NOT NULL REFERENCES labs(id) ON DELETE CASCADE,"
    "  key TEXT NOT NULL,"
    "  trial_id INTEGER NOT NULL REFERENCES trials(id) ON DELETE CASCADE,"
    "  PRIMARY KEY(lab_id, key)"
    ") STRICT, WITHOUT ROWID;",
    /* What quantising one group of tensors to one type costs, everything else as it was. By hash
     * and not by row of models: it is true wherever the model lies, and outlives its file. */
    "CREATE TABLE sensitivity("
    "  model_hash TEXT NOT NULL,"
    "  text_hash TEXT NOT NULL,"
    "  imatrix_hash TEXT NOT NULL," /* "" without one */
    "  build TEXT NOT NULL,"
    "  n_ctx INTEGER NOT NULL,"
    "  n_chunks INTEGER NOT NULL,"
    "  tensors TEXT NOT NULL," /* the group's name */
    "  type TEXT NOT NULL,"
    "  kld REAL NOT NULL," /* nats per token */
    "  se REAL NOT NULL,"
    "  seen_unix_s REAL NOT NULL,"
    "  PRIMARY KEY(model_hash, text_hash, imatrix_hash, build, n_ctx, n_chunks, tensors, type)"
    ") STRICT, WITHOUT ROWID;",
    /* What files of other stores brought. import_id NULL: measured here, or used by a task of one's
     * own since; an import is taken back by its id. */
    "CREATE TABLE imports("
    "  id INTEGER PRIMARY KEY,"
    "  sha256 TEXT NOT NULL UNIQUE," /* of the file's records */
    "  file TEXT NOT NULL,"          /* its name without folders */
    "  snug TEXT NOT NULL,"          /* version that wrote it */
    "  created_unix_s REAL NOT NULL,"
    "  imported_unix_s REAL NOT NULL"
    ") STRICT;"
    /* Rows of earlier imports that this one brought too: they stay when the earlier one goes. */
    "CREATE TABLE import_also("
    "  import_id INTEGER NOT NULL REFERENCES imports(id),"
    /* kind: its table */
    "  kind TEXT NOT NULL CHECK(kind IN ('trials', 'noise', 'qualities', 'sensitivity')),"
    "  key TEXT NOT NULL," /* of the row */
    "  PRIMARY KEY(kind, key, import_id)"
    ") STRICT, WITHOUT ROWID;"
    "ALTER TABLE machines ADD COLUMN import_id INTEGER REFERENCES imports(id);"
    "ALTER TABLE models ADD COLUMN import_id INTEGER REFERENCES imports(id);"
    "ALTER TABLE tasks ADD COLUMN import_id INTEGER REFERENCES imports(id);"
    "ALTER TABLE trials ADD COLUMN import_id INTEGER REFERENCES imports(id);"
    "ALTER TABLE noise ADD COLUMN import_id INTEGER REFERENCES imports(id);"
    "ALTER TABLE qualities ADD COLUMN import_id INTEGER REFERENCES imports(id);"
    "ALTER TABLE sensitivity ADD COLUMN import_id INTEGER REFERENCES imports(id);"
    "CREATE INDEX trials_of_import ON trials(import_id);"
    "CREATE INDEX trials_by_start ON trials(task_id, started_unix_s);",
};

enum { VERSION = sizeof MIGRATIONS / sizeof *MIGRATIONS };

int snug__store_version(void)
{
    return VERSION;
}

static snug_status read_number(struct snug_store *store, const char *sql, int64_t *out,
                               struct snug_error *err)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        *out = sqlite3_column_int64(statement, 0);
    snug_status status = SNUG_OK;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = snug__store_fail(store, rc, "be read", err);
    sqlite3_finalize(statement);
    return status;
}

/* An empty file, a new one included, may become a store; a file of another program must not. */
static snug_status check_stranger(struct snug_store *store, struct snug_error *err)
{
    int64_t id = 0, n_tables = 0;
    snug_status status = read_number(store, "PRAGMA application_id", &id, err);
    if (status == SNUG_OK)
        status = read_number(store, "SELECT count(*) FROM sqlite_schema", &n_tables, err);
    if (status != SNUG_OK || id == SNUG__STORE_APPLICATION_ID || (id == 0 && n_tables == 0))
        return status;
    return snug_fail(err, SNUG_IO,
                     "%s: a SQLite file of another program, not a snug store; give another path "
                     "with --store",
                     store->path);
}

static snug_status check_version(struct snug_store *store, int64_t *out_version,
                                 struct snug_error *err)
{
    snug_status status = read_number(store, "PRAGMA user_version", out_version, err);
    if (status != SNUG_OK || (*out_version >= 0 && *out_version <= VERSION))
        return status;
    return snug_fail(err, SNUG_NEWER,
                     "%s: store of version %lld, this snug knows up to %d; use a newer snug, or "
                     "give another path with --store",
                     store->path, (long long)*out_version, VERSION);
}

/* One read transaction: another process may make the tables between two reads, and then a file
 * that had no mark yet but has tables now would look like a stranger's. */
snug_status snug__store_check(struct snug_store *store, struct snug_error *err)
{
    int64_t version = 0;
    snug_status status = snug__store_exec(store, "BEGIN", "be read", err);
    if (status == SNUG_OK)
        status = check_stranger(store, err);
    if (status == SNUG_OK)
        status = check_version(store, &version, err);
    if (status == SNUG_OK)
        status = snug__store_exec(store, "COMMIT", "be read", err);
    return status; /* a transaction that is still open ends when the failed store is closed */
}

static snug_status migrate_from(struct snug_store *store, int64_t version, struct snug_error *err)
{
    char stamp[96];
    snug_status status = SNUG_OK;
    for (int64_t v = version; status == SNUG_OK && v < VERSION; v++)
        status = snug__store_exec(store, MIGRATIONS[v], "create its tables", err);
    snprintf(stamp, sizeof stamp, "PRAGMA application_id = %d; PRAGMA user_version = %d",
             SNUG__STORE_APPLICATION_ID, VERSION);
    if (status == SNUG_OK)
        status = snug__store_exec(store, stamp, "create its tables", err);
    return status;
}

snug_status snug__store_migrate(struct snug_store *store, struct snug_error *err)
{
    int64_t version = 0;
    snug_status status = check_version(store, &version, err);
    if (status != SNUG_OK || version == VERSION)
        return status;
    /* A table that is made again would lose its references; inside a transaction it is too late. */
    status = snug__store_exec(store, "PRAGMA foreign_keys = OFF", "create its tables", err);
    if (status == SNUG_OK)
        status = snug__store_exec(store, "BEGIN EXCLUSIVE", "create its tables", err);
    if (status == SNUG_OK)
        status = check_version(store, &version, err);
    if (status == SNUG_OK)
        status = migrate_from(store, version, err);
    if (status == SNUG_OK)
        status = snug__store_exec(store, "COMMIT", "create its tables", err);
    snug__store_rollback(store);
    if (status == SNUG_OK)
        status = snug__store_exec(store, "PRAGMA foreign_keys = ON", "create its tables", err);
    return status;
}
