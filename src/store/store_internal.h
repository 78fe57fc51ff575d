/* Parts that the files of the store share: the open store, its statements, its errors. */
#ifndef SNUG_STORE_INTERNAL_H
#define SNUG_STORE_INTERNAL_H

#include <sqlite3.h>

#include "snug/store.h"

#define SNUG__STORE_APPLICATION_ID 0x736e7567 /* "snug", at offset 68 of the file */
#define SNUG__STORE_BUSY_MS 20000             /* longest wait for another writer */
#define SNUG__OWNER_MAX 96

/* A row's key in import_also. */
#define SNUG__ID_KEY(table) "CAST(" table ".id AS TEXT)"
#define SNUG__NOISE_KEY "noise.fingerprint || ' ' || noise.build"
#define SNUG__SENSITIVITY_KEY                                                                      \
    "model_hash || ' ' || text_hash || ' ' || imatrix_hash || ' ' || build || ' ' || n_ctx || "    \
    "' ' || n_chunks || ' ' || tensors || ' ' || type"
/* Claim a row of an earlier import, that must outlive it; one's own (import_id NULL) need not. */
#define SNUG__ALSO(table, key, import, where)                                                      \
    "INSERT INTO import_also(import_id, kind, key) SELECT " import ", '" table "', " key           \
    " FROM " table " WHERE import_id <> " import " AND " where                                     \
    " ON CONFLICT DO NOTHING RETURNING 1"
/* What a line of a history file is told from others by: columns, and members or references. */
#define SNUG__FINGERPRINT "(SELECT fingerprint FROM machines WHERE id = :machine)"
#define SNUG__TASK_COLUMNS                                                                         \
    "machine_id, model_id, build, load_level, n_prompt, n_gen, n_depth, n_parallel, n_ctx, "       \
    "workload_hash"
#define SNUG__TASK_VALUES                                                                          \
    ":machine, :model, :build, :load_level, :n_prompt, :n_gen, :n_depth, :n_parallel, :n_ctx, "    \
    ":workload_hash"
#define SNUG__QUALITY_COLUMNS                                                                      \
    "model_id, build, type_k, type_v, text_hash, reference_hash, n_ctx, kind"
#define SNUG__QUALITY_VALUES                                                                       \
    ":model, :build, :type_k, :type_v, :text_hash, :reference_hash, :n_ctx, 'text'"
#define SNUG__SENSITIVITY_COLUMNS                                                                  \
    "model_hash, text_hash, imatrix_hash, build, n_ctx, n_chunks, tensors, type"
#define SNUG__SENSITIVITY_VALUES                                                                   \
    ":model_hash, :text_hash, :imatrix_hash, :build, :n_ctx, :n_chunks, :tensors, :type"

/* One row per statement that is prepared once and kept: name, text. */
#define SNUG__STATEMENTS(X)                                                                        \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                    \
    X(COMMIT, "COMMIT")                                                                            \
    X(MACHINE, "INSERT INTO machines(fingerprint, name, json, seen_unix_s) "                       \
               "VALUES(?1, ?2, ?3, ?4) ON CONFLICT(fingerprint) DO UPDATE "                        \
               "SET name = ?2, json = ?3, seen_unix_s = ?4, import_id = NULL RETURNING id")        \
    X(MODEL, "INSERT INTO models(hash, name, path, json, seen_unix_s) "                            \
             "VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT(hash) DO UPDATE "                             \
             "SET name = ?2, path = ?3, json = ?4, seen_unix_s = ?5, import_id = NULL "            \
             "RETURNING id")                                                                       \
    X(TASK, "INSERT INTO tasks(machine_id, model_id, build, load_level, n_prompt, n_gen, "         \
            "n_depth, n_parallel, n_ctx, seen_unix_s, workload_name, workload_hash, "              \
            "workload_path) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) "       \
            "ON CONFLICT(machine_id, model_id, build, load_level, n_prompt, n_gen, n_depth, "      \
            "n_parallel, n_ctx, workload_hash) DO UPDATE SET seen_unix_s = ?10, "                  \
            "workload_name = ?11, workload_path = ?13, import_id = NULL RETURNING id")             \
    X(SESSION, "INSERT INTO sessions(task_id, kind, options_json, owner, started_unix_s) "         \
               "VALUES(?1, ?2, ?3, ?4, ?5) RETURNING id")                                          \
    X(SESSION_UNFINISHED, "SELECT id, options_json, owner FROM sessions WHERE task_id = ?1 "       \
                          "AND kind = ?2 AND finished_unix_s IS NULL ORDER BY id DESC")            \
    X(SESSION_TAKE, "UPDATE sessions SET owner = ?2 WHERE id = ?1")                                \
    X(SESSION_FINISH, "UPDATE sessions SET result_json = ?2, finished_unix_s = ?3, owner = '' "    \
                      "WHERE id = ?1 RETURNING id")                                                \
    X(RESULT, "SELECT id, result_json FROM sessions WHERE task_id = ?1 AND kind = ?2 "             \
              "AND finished_unix_s IS NOT NULL ORDER BY finished_unix_s DESC, id DESC LIMIT 1")    \
    X(CONDITIONS, "INSERT INTO conditions(trial_id, warnings, throttled_s, other_load_frac, "      \
                  "load_average) VALUES(?1, ?2, ?3, ?4, ?5)")                                      \
    X(DETAILS, "INSERT INTO details(trial_id, verdict, json) VALUES(?1, ?2, ?3)")                  \
    X(DETAILS_OF, "SELECT json FROM details WHERE trial_id = ?1")                                  \
    X(NOISE_SET, "INSERT INTO noise(fingerprint, build, frac, n_blocks, seen_unix_s) "             \
                 "VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT(fingerprint, build) DO UPDATE SET "       \
                 "frac = ?3, n_blocks = ?4, seen_unix_s = ?5, import_id = NULL RETURNING rowid")   \
    X(NOISE_GET, "SELECT frac, n_blocks FROM noise WHERE fingerprint = ?1 "                        \
                 "ORDER BY import_id IS NOT NULL, seen_unix_s DESC LIMIT 1")                       \
    X(QUALITY, "INSERT INTO qualities(model_id, build, type_k, type_v, text_hash, "                \
               "reference_hash, n_ctx, kind, json, seen_unix_s) "                                  \
               "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) "                                  \
               "ON CONFLICT(model_id, build, type_k, type_v, text_hash, reference_hash, n_ctx, "   \
               "kind) DO UPDATE SET json = ?9, seen_unix_s = ?10, import_id = NULL RETURNING id")  \
    X(QUALITY_OF,                                                                                  \
      "SELECT q.json FROM qualities q JOIN models m ON m.id = q.model_id "                         \
      "WHERE m.hash = ?1 AND q.type_k = ?2 AND q.type_v = ?3 AND q.kind = 'text' "                 \
      "ORDER BY q.import_id IS NOT NULL, q.reference_hash = '', q.seen_unix_s DESC LIMIT 1")       \
    X(SENSITIVITY, "INSERT INTO sensitivity(model_hash, text_hash, imatrix_hash, build, n_ctx, "   \
                   "n_chunks, tensors, type, kld, se, seen_unix_s) "                               \
                   "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO UPDATE "   \
                   "SET kld = ?9, se = ?10, seen_unix_s = ?11, import_id = NULL RETURNING kld")    \
    X(SENSITIVITY_OF, "SELECT kld, se FROM sensitivity WHERE model_hash = ?1 AND text_hash = ?2 "  \
                      "AND imatrix_hash = ?3 AND build = ?4 AND n_ctx = ?5 AND n_chunks = ?6 "     \
                      "AND tensors = ?7 AND type = ?8")                                            \
    X(LAB, "INSERT INTO labs(plan_hash, name, plan_json, owner, started_unix_s) "                  \
           "VALUES(?1, ?2, ?3, ?4, ?5) RETURNING id")                                              \
    X(LAB_UNFINISHED, "SELECT id, plan_json, owner FROM labs WHERE plan_hash = ?1 "                \
                      "AND finished_unix_s IS NULL ORDER BY id DESC")                              \
    X(LAB_TAKE, "UPDATE labs SET owner = ?2 WHERE id = ?1")                                        \
    X(LAB_FINISH, "UPDATE labs SET result_json = ?2, finished_unix_s = ?3, owner = '' "            \
                  "WHERE id = ?1 RETURNING id")                                                    \
    X(LAB_ROW, "INSERT INTO lab_rows(lab_id, key, trial_id) VALUES(?1, ?2, ?3)")                   \
    X(LAB_HAS, "SELECT 1 FROM lab_rows WHERE lab_id = ?1 AND key = ?2")                            \
    X(LAB_KEY_OF, "SELECT key FROM lab_rows WHERE lab_id = ?1 AND trial_id = ?2")                  \
    X(SAMPLE, "INSERT INTO samples(trial_id, phase, i, tps) VALUES(?1, ?2, ?3, ?4)")               \
    X(GAPS, "INSERT INTO gaps(trial_id, seconds_f32) VALUES(?1, ?2)")                              \
    X(SAMPLES_OF, "SELECT phase, i, tps FROM samples WHERE trial_id = ?1 ORDER BY phase, i")       \
    X(GAPS_OF, "SELECT seconds_f32 FROM gaps WHERE trial_id = ?1")                                 \
    /* History files. Columns out are called as the members of a line; parameters in are its       \
     * members, or what import.c calls them. */                                                    \
    X(NOISE_OF, "SELECT ?2 AS machine, build, frac, n_blocks, seen_unix_s FROM noise "             \
                "WHERE fingerprint = ?1 ORDER BY build")                                           \
    X(QUALITIES_OF, "SELECT ?2 AS model, q.build, q.type_k, q.type_v, q.text_hash, "               \
                    "q.reference_hash, q.n_ctx, q.seen_unix_s, q.json AS figures "                 \
                    "FROM qualities q JOIN models m ON m.id = q.model_id "                         \
                    "WHERE m.hash = ?1 AND q.kind = 'text' ORDER BY q.id")                         \
    X(SENSITIVITIES,                                                                               \
      "SELECT " SNUG__SENSITIVITY_COLUMNS ", kld, se, seen_unix_s FROM "                           \
      "sensitivity WHERE ?1 IS NULL OR model_hash = ?1 ORDER BY " SNUG__SENSITIVITY_COLUMNS)       \
    X(IMPORT, "INSERT INTO imports(sha256, file, snug, created_unix_s, imported_unix_s) "          \
              "VALUES(?1, ?2, ?3, ?4, ?5) RETURNING id")                                           \
    X(IMPORT_OF, "SELECT id FROM imports WHERE sha256 = ?1")                                       \
    X(MACHINE_OF, "SELECT id FROM machines WHERE fingerprint = :fingerprint")                      \
    X(MACHINE_IMPORT, "INSERT INTO machines(fingerprint, name, json, seen_unix_s, import_id) "     \
                      "VALUES(:fingerprint, :name, :json, :now, :import) "                         \
                      "ON CONFLICT DO NOTHING RETURNING id")                                       \
    X(MODEL_OF, "SELECT id FROM models WHERE hash = :hash")                                        \
    X(MODEL_IMPORT, "INSERT INTO models(hash, name, path, json, seen_unix_s, import_id) "          \
                    "VALUES(:hash, :name, '', :json, :now, :import) "                              \
                    "ON CONFLICT DO NOTHING RETURNING id")                                         \
    X(TASK_OF, "SELECT id FROM tasks WHERE (" SNUG__TASK_COLUMNS ") = (" SNUG__TASK_VALUES ")")    \
    X(TASK_IMPORT, "INSERT INTO tasks(" SNUG__TASK_COLUMNS ", workload_name, workload_path, "      \
                   "seen_unix_s, import_id) VALUES(" SNUG__TASK_VALUES ", :name, '', :now, "       \
                   ":import) ON CONFLICT DO NOTHING RETURNING id")                                 \
    X(TRIAL_OF, "SELECT id FROM trials WHERE task_id = ?1 AND started_unix_s = ?2 "                \
                "AND build = ?3 AND config_json = ?4")                                             \
    X(TRIAL_ALSO, SNUG__ALSO("trials", SNUG__ID_KEY("trials"), "?2", "id = ?1"))                   \
    X(NOISE_IMPORT, "INSERT INTO noise(fingerprint, build, frac, n_blocks, seen_unix_s, "          \
                    "import_id) VALUES(" SNUG__FINGERPRINT ", :build, :frac, :n_blocks, "          \
                    ":seen_unix_s, :import) ON CONFLICT DO NOTHING RETURNING 1")                   \
    X(NOISE_ALSO, SNUG__ALSO("noise", SNUG__NOISE_KEY, ":import",                                  \
                             "(fingerprint, build) = (" SNUG__FINGERPRINT ", :build)"))            \
    X(QUALITY_IMPORT, "INSERT INTO qualities(" SNUG__QUALITY_COLUMNS ", json, seen_unix_s, "       \
                      "import_id) VALUES(" SNUG__QUALITY_VALUES ", :json, :seen_unix_s, "          \
                      ":import) ON CONFLICT DO NOTHING RETURNING 1")                               \
    X(QUALITY_ALSO, SNUG__ALSO("qualities", SNUG__ID_KEY("qualities"), ":import",                  \
                               "(" SNUG__QUALITY_COLUMNS ") = (" SNUG__QUALITY_VALUES ")"))        \
    X(SENSITIVITY_IMPORT, "INSERT INTO sensitivity(" SNUG__SENSITIVITY_COLUMNS ", kld, se, "       \
                          "seen_unix_s, import_id) VALUES(" SNUG__SENSITIVITY_VALUES ", :kld, "    \
                          ":se, :seen_unix_s, :import) ON CONFLICT DO NOTHING RETURNING 1")        \
    X(SENSITIVITY_ALSO,                                                                            \
      SNUG__ALSO("sensitivity", SNUG__SENSITIVITY_KEY, ":import",                                  \
                 "(" SNUG__SENSITIVITY_COLUMNS ") = (" SNUG__SENSITIVITY_VALUES ")"))

enum snug__statement {
#define SNUG__STATEMENT_ENUM(name, text) SNUG__SQL_##name,
    SNUG__STATEMENTS(SNUG__STATEMENT_ENUM)
#undef SNUG__STATEMENT_ENUM
        SNUG__SQL_TRIAL, /* its text is made from the columns of a trial: columns.h */
    SNUG__N_STATEMENTS
};

struct snug_store {
    sqlite3 *db;
    char *path; /* as given */
    sqlite3_stmt *statements[SNUG__N_STATEMENTS];
};

/* Turn what SQLite just returned into one line: path, what was done, why, what would help. */
snug_status snug__store_fail(const struct snug_store *store, int rc, const char *doing,
                             struct snug_error *err);
/* Run SQL that gives no rows. */
snug_status snug__store_exec(struct snug_store *store, const char *sql, const char *doing,
                             struct snug_error *err) SNUG_CHECKED;
snug_status snug__store_begin(struct snug_store *store, struct snug_error *err) SNUG_CHECKED;
snug_status snug__store_commit(struct snug_store *store, const char *doing,
                               struct snug_error *err) SNUG_CHECKED;
/* Leave a transaction that failed, if one is still open. */
void snug__store_rollback(struct snug_store *store);

/* One use of a kept statement: bind, step, end. The first failure stays in `status` and later calls
 * do nothing, so that a caller checks once. End it on every path: it lends out what was bound. */
struct snug__use {
    struct snug_store *store;
    sqlite3_stmt *statement; /* NULL after a failure to prepare */
    snug_status status;
    struct snug_error *err; /* may be NULL */
};

struct snug__use snug__use_begin(struct snug_store *store, enum snug__statement which,
                                 struct snug_error *err);
/* Text within a cap, borrowed until the end; NULL is "". `field` is named when it is too long. */
void snug__use_text(struct snug__use *use, int i, const char *field, const char *text, size_t cap);
void snug__use_int(struct snug__use *use, int i, int64_t value);
/* Not finite becomes 0, which every reader takes for "not measured". */
void snug__use_number(struct snug__use *use, int i, double value);
void snug__use_null(struct snug__use *use, int i);
/* n bytes, borrowed until the end. */
void snug__use_blob(struct snug__use *use, int i, const void *data, int n);
/* The next row: true while there is one. */
bool snug__use_step(struct snug__use *use, const char *doing);
/* Rewind for another round; what is bound stays. */
void snug__use_again(struct snug__use *use);
snug_status snug__use_end(struct snug__use *use) SNUG_CHECKED;
/* Step a statement that changes rows to its end (only then is it committed) and end it. *out_id,
 * which may be NULL: the id that RETURNING gave, or 0 for none. */
snug_status snug__use_run(struct snug__use *use, const char *doing, int64_t *out_id) SNUG_CHECKED;

/* Text of a column, "" for NULL; borrowed until the next step. */
const char *snug__column_text(sqlite3_stmt *statement, int i);

double snug__store_now_s(void);

/* A trial as it is stored. */
struct snug__trial {
    int64_t task_id, session_id; /* 0: of no session */
    int64_t import_id;           /* 0: measured here */
    const char *role, *strategy;
    const char *config, *effective; /* JSON */
    const struct snug_measurement *m;
};
/* Its row, conditions, details, blocks and gaps, inside the caller's transaction. */
snug_status snug__store_trial_put(struct snug_store *store, const struct snug__trial *trial,
                                  int64_t *out_id, struct snug_error *err) SNUG_CHECKED;

/* Bring the schema up to this version, in one exclusive transaction. */
snug_status snug__store_migrate(struct snug_store *store, struct snug_error *err) SNUG_CHECKED;
/* The schema's version: how many migrations there are. */
int snug__store_version(void);
/* Refuse files of other programs and newer stores, without writing. */
snug_status snug__store_check(struct snug_store *store, struct snug_error *err) SNUG_CHECKED;

/* A name for this process that no other process on this computer has or will have. */
void snug__owner_self(char out[SNUG__OWNER_MAX]);
/* Is that another process which still runs? *out_pid then. */
bool snug__owner_is_other_alive(const char *owner, int *out_pid);

#endif
