/* Adding a history file to the store. The whole file is checked before the transaction begins, so
 * that other writers wait for the writing alone. Rows that are here already are never touched. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/history_file.h"
#include "store/store_internal.h"
#include "trial/trial_json.h"

#define TEXT_MAX SNUG_STORE_TEXT_MAX

#define N_REFERRED (SNUG_HISTORY_TASK + 1) /* machines, models and tasks come first */

struct importing {
    struct snug_store *store;
    int64_t import_id;
    struct snug_history_counts seen, added;
    int64_t n_also;           /* rows of earlier imports that this one has too */
    int64_t *ids[N_REFERRED]; /* of rows, by number of line */
};

/* ---- rows of lines ---- */

static const char *text_of(const struct snug_json_node *line, const char *key)
{
    return snug_json_get_string(line, key, "");
}

/* The row that a line refers to. */
static int64_t row_of(const struct importing *x, enum snug_history_kind kind,
                      const struct snug_json_node *line)
{
    const char *key = snug__history_kinds[kind].name;
    return x->ids[kind][snug_json_get_int(line, key, 1) - 1];
}

/* A member as JSON text, malloc'ed; "{}" for none. NULL: no memory. */
static char *json_of(const struct snug_json_node *line, const char *key)
{
    const struct snug_json_node *node = snug_json_get(line, key);
    struct snug_json_writer w = {0};
    if (node) {
        snug_json_put_node(&w, NULL, node);
    } else {
        snug_json_begin_object(&w, NULL);
        snug_json_end(&w);
    }
    return snug_json_finish(&w, false);
}

/* The figures as snug_store_quality_add keeps them: with their key, without a reference's name. */
static char *quality_json(const struct snug_json_node *line)
{
    static const char *const keys[] = {"text_hash", "reference_hash", "type_k", "type_v", "n_ctx"};
    const struct snug_json_node *figures = snug_json_get(line, "figures"), *value = NULL;
    const char *key = NULL;
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        snug_json_put_node(&w, keys[i], snug_json_get(line, keys[i]));
    for (size_t i = 0; snug_json_member(figures, i, &key, &value); i++)
        snug_json_put_node(&w, key, value);
    snug_json_end(&w);
    return snug_json_finish(&w, false);
}

/* A model is called by its shape: "qwen3 0.6B Q4_0". */
static void name_model(const struct snug_json_node *facts, char *out, size_t cap)
{
    const double n_params = snug_json_get_number(facts, "n_params", 0.0);
    const char *type = text_of(facts, "file_type");
    char size[32] = "";
    if (n_params > 0.0)
        snprintf(size, sizeof size, n_params < 1e8 ? " %.3gM" : " %.2gB",
                 n_params < 1e8 ? n_params / 1e6 : n_params / 1e9);
    snprintf(out, cap, "%s%s%s%.*s", text_of(facts, "arch")[0] ? text_of(facts, "arch") : "model",
             size, type[0] ? " " : "", (int)strcspn(type, " "), type);
}

/* What people called it stays at home. */
static void name_row(const struct snug_json_node *line, enum snug_history_kind kind, char *out,
                     size_t cap)
{
    const struct snug_json_node *facts = snug_json_get(line, "facts");
    const char *cpu = text_of(facts, "cpu_name"), *workload = text_of(line, "workload_hash");
    out[0] = '\0';
    if (kind == SNUG_HISTORY_MACHINE)
        snprintf(out, cap, "%s", cpu[0] ? cpu : "unknown CPU");
    else if (kind == SNUG_HISTORY_MODEL)
        name_model(facts, out, cap);
    else if (workload[0])
        snprintf(out, cap, "workload %.8s", workload);
}

/* One statement with its parameters from a line: by the names of its members, of what it refers to,
 * and of what else belongs to a row. */
static snug_status run(const struct importing *x, enum snug__statement which,
                       const struct snug_json_node *line, enum snug_history_kind kind,
                       int64_t *out_id, struct snug_error *err)
{
    char name[128]; /* a CPU's is the longest */
    char *json = kind == SNUG_HISTORY_QUALITY ? quality_json(line) : json_of(line, "facts");
    struct snug__use use = snug__use_begin(x->store, which, err);
    const int n = sqlite3_bind_parameter_count(use.statement);
    name_row(line, kind, name, sizeof name);
    for (int i = 1; i <= n; i++) {
        const char *key = sqlite3_bind_parameter_name(use.statement, i) + 1; /* behind its colon */
        const struct snug_json_node *member = snug_json_get(line, key);
        if (strcmp(key, "import") == 0)
            snug__use_int(&use, i, x->import_id);
        else if (strcmp(key, "now") == 0)
            snug__use_number(&use, i, snug__store_now_s());
        else if (strcmp(key, "name") == 0)
            snug__use_text(&use, i, key, name, TEXT_MAX);
        else if (strcmp(key, "json") == 0)
            snug__use_text(&use, i, key, json, SNUG_STORE_JSON_MAX);
        else if (strcmp(key, "machine") == 0)
            snug__use_int(&use, i, row_of(x, SNUG_HISTORY_MACHINE, line));
        else if (strcmp(key, "model") == 0)
            snug__use_int(&use, i, row_of(x, SNUG_HISTORY_MODEL, line));
        else if (snug_json_is_number(member))
            snug__use_number(&use, i, snug_json_number(member, 0.0));
        else
            snug__use_text(&use, i, key, snug_json_string(member, ""), TEXT_MAX);
    }
    if (!json)
        use.status = snug_fail(err, SNUG_NO_MEMORY, "no memory for a line of a history file");
    const snug_status status = snug__use_run(&use, "import", out_id);
    free(json);
    return status;
}

/* Add what a line tells, or find the row that is here already; of kinds that nothing refers to,
 * claim it where it is an earlier import's. */
static snug_status put_row(struct importing *x, const struct snug_json_node *line,
                           enum snug_history_kind kind, struct snug_error *err)
{
    static const struct {
        enum snug__statement add, find;
    } by[] = {
        [SNUG_HISTORY_MACHINE] = {SNUG__SQL_MACHINE_IMPORT, SNUG__SQL_MACHINE_OF},
        [SNUG_HISTORY_MODEL] = {SNUG__SQL_MODEL_IMPORT, SNUG__SQL_MODEL_OF},
        [SNUG_HISTORY_TASK] = {SNUG__SQL_TASK_IMPORT, SNUG__SQL_TASK_OF},
        [SNUG_HISTORY_NOISE] = {SNUG__SQL_NOISE_IMPORT, SNUG__SQL_NOISE_ALSO},
        [SNUG_HISTORY_QUALITY] = {SNUG__SQL_QUALITY_IMPORT, SNUG__SQL_QUALITY_ALSO},
        [SNUG_HISTORY_SENSITIVITY] = {SNUG__SQL_SENSITIVITY_IMPORT, SNUG__SQL_SENSITIVITY_ALSO},
    };
    int64_t id = 0, found = 0;
    snug_status status = run(x, by[kind].add, line, kind, &id, err);
    if (status == SNUG_OK && id == 0)
        status = run(x, by[kind].find, line, kind, &found, err);
    x->added.n[kind] += id != 0;
    if (kind < N_REFERRED)
        x->ids[kind][x->seen.n[kind]] = id + found;
    else
        x->n_also += found;
    return status;
}

/* ---- trials ---- */

/* The same start, config and build on the same task is the same trial. */
static snug_status find_or_add_trial(struct importing *x, const struct snug__trial *trial,
                                     struct snug_error *err)
{
    int64_t id = 0, n_also = 0;
    struct snug__use use = snug__use_begin(x->store, SNUG__SQL_TRIAL_OF, err);
    snug__use_int(&use, 1, trial->task_id);
    snug__use_number(&use, 2, trial->m->started_unix_s);
    snug__use_text(&use, 3, "the build", trial->m->build, TEXT_MAX);
    snug__use_text(&use, 4, "the config", trial->config, TEXT_MAX);
    snug_status status = snug__use_run(&use, "import", &id);
    if (status != SNUG_OK)
        return status;
    if (id == 0) {
        x->added.n[SNUG_HISTORY_TRIAL]++;
        return snug__store_trial_put(x->store, trial, &id, err);
    }
    use = snug__use_begin(x->store, SNUG__SQL_TRIAL_ALSO, err);
    snug__use_int(&use, 1, id);
    snug__use_int(&use, 2, x->import_id);
    status = snug__use_run(&use, "import", &n_also);
    x->n_also += n_also;
    return status;
}

static snug_status put_trial(struct importing *x, const struct snug_json_node *line,
                             struct snug_error *err)
{
    struct snug_measurement m = {0};
    char *config = json_of(line, "config"), *effective = json_of(line, "effective");
    snug_measurement_from_json(snug_json_get(line, "measurement"), &m);
    const struct snug__trial trial = {
        .task_id = row_of(x, SNUG_HISTORY_TASK, line),
        .import_id = x->import_id,
        .role = text_of(line, "role"),
        .strategy = text_of(line, "strategy"),
        .config = config,
        .effective = effective,
        .m = &m,
    };
    const snug_status status =
        config && effective
            ? find_or_add_trial(x, &trial, err)
            : snug_fail(err, SNUG_NO_MEMORY, "no memory for a line of a history file");
    snug_measurement_clear(&m);
    free(config);
    free(effective);
    return status;
}

/* ---- the file ---- */

static snug_status put_line(const struct snug_json_node *line, enum snug_history_kind kind,
                            void *data, struct snug_error *err)
{
    struct importing *x = data;
    const snug_status status =
        kind == SNUG_HISTORY_TRIAL ? put_trial(x, line, err) : put_row(x, line, kind, err);
    x->seen.n[kind]++;
    return status;
}

static const char *base_name(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

static snug_status find_import(struct snug_store *store, const char *sha256, int64_t *out_id,
                               struct snug_error *err)
{
    struct snug__use use = snug__use_begin(store, SNUG__SQL_IMPORT_OF, err);
    snug__use_text(&use, 1, "the file's sum", sha256, TEXT_MAX);
    return snug__use_run(&use, "be read", out_id);
}

static snug_status add_import(struct importing *x, const char *name,
                              const struct snug__history_file *file, struct snug_error *err)
{
    struct snug__use use = snug__use_begin(x->store, SNUG__SQL_IMPORT, err);
    snug__use_text(&use, 1, "the file's sum", file->sha256, TEXT_MAX);
    snug__use_text(&use, 2, "the file's name", base_name(name), TEXT_MAX);
    snug__use_text(&use, 3, "the version", file->snug, TEXT_MAX);
    snug__use_number(&use, 4, file->created_unix_s);
    snug__use_number(&use, 5, snug__store_now_s());
    return snug__use_run(&use, "add an import", &x->import_id);
}

static bool has_new(const struct importing *x)
{
    int64_t n = x->n_also;
    for (int k = 0; k < SNUG_HISTORY_N_KINDS; k++)
        n += x->added.n[k];
    return n > 0;
}

/* All of the writing, in one transaction that is left if there is nothing to keep. */
static snug_status write_all(struct importing *x, const char *name,
                             const struct snug__history_file *file, const volatile int *stop,
                             struct snug_history_imported *out, struct snug_error *err)
{
    snug_status status = snug__store_begin(x->store, err);
    if (status == SNUG_OK)
        status = find_import(x->store, file->sha256, &out->id, err);
    out->is_known = out->id != 0;
    if (status == SNUG_OK && !out->is_known)
        status = add_import(x, name, file, err);
    if (status == SNUG_OK && !out->is_known)
        status = snug__history_lines(name, file, stop, put_line, x, err);
    if (status == SNUG_OK && has_new(x)) {
        status = snug__store_commit(x->store, "import", err);
        out->id = x->import_id;
        out->added = x->added;
    }
    snug__store_rollback(x->store);
    return status;
}

static snug_status import_file(struct snug_store *store, const char *name,
                               const struct snug__history_file *file, const volatile int *stop,
                               struct snug_history_imported *out, struct snug_error *err)
{
    struct importing x = {.store = store};
    struct snug_history_imported done = {.created_unix_s = file->created_unix_s,
                                         .in_file = file->counts};
    snug_status status = SNUG_OK;
    for (int k = 0; k < N_REFERRED; k++) {
        /* One more than none: calloc of nothing may be NULL. */
        x.ids[k] = calloc((size_t)file->counts.n[k] + 1, sizeof *x.ids[k]);
        if (!x.ids[k])
            status = snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for its rows", name);
    }
    if (status == SNUG_OK)
        status = snug__history_lines(name, file, stop, NULL, NULL, err);
    if (status == SNUG_OK)
        status = write_all(&x, name, file, stop, &done, err);
    if (status == SNUG_OK)
        *out = done;
    for (int k = 0; k < N_REFERRED; k++)
        free(x.ids[k]);
    return status;
}

snug_status snug_history_import(struct snug_store *store, const char *name, const void *data,
                                size_t n, const volatile int *stop,
                                struct snug_history_imported *out, struct snug_error *err)
{
    struct snug__history_file file = {.text = NULL};
    snug_status status = snug__history_open(name, data, n, &file, err);
    if (status == SNUG_OK)
        status = import_file(store, name, &file, stop, out, err);
    snug__history_close(&file);
    return status;
}

snug_status snug_history_find(struct snug_store *store, const char *name, const void *data,
                              size_t n, int64_t *out_id, struct snug_error *err)
{
    struct snug__history_file file = {.text = NULL};
    int64_t id = 0;
    snug_status status = snug__history_open(name, data, n, &file, err);
    if (status == SNUG_OK)
        status = find_import(store, file.sha256, &id, err);
    if (status == SNUG_OK && id == 0)
        status = snug_fail(err, SNUG_NOT_FOUND,
                           "%s: not imported, or taken back already; see snug history", name);
    if (status == SNUG_OK)
        *out_id = id;
    snug__history_close(&file);
    return status;
}
