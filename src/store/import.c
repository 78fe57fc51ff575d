/* Adding a history file to the store. The whole file is checked before the transaction begins, so
 * that other writers wait for the writing alone. Rows that are here already are never touched. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/history_file.h"
#include "store/store_internal.h"
#include "trial/trial_json.h"

#define TEXT_MAX SNUG_STORE_TEXT_MAX

/* Row ids by number of line, and what a machine is called in the tables. */
struct importing {
    struct snug_store *store;
    int64_t import_id;
    struct snug_history_counts seen, added;
    int64_t n_also; /* rows of earlier imports that this one has too */
    int64_t *machines, *models, *tasks;
    char (*fingerprints)[65]; /* of the machines */
};

/* ---- helpers ---- */

static const char *text_of(const struct snug_json_node *line, const char *key)
{
    return snug_json_get_string(line, key, "");
}

static int64_t int_of(const struct snug_json_node *line, const char *key)
{
    return snug_json_get_int(line, key, 0);
}

/* A member as JSON text, malloc'ed; "{}" for none. */
static char *json_of(const struct snug_json_node *line, const char *key, struct snug_error *err)
{
    const struct snug_json_node *node = snug_json_get(line, key);
    struct snug_json_writer w = {0};
    if (node) {
        snug_json_put_node(&w, NULL, node);
    } else {
        snug_json_begin_object(&w, NULL);
        snug_json_end(&w);
    }
    char *json = snug_json_finish(&w, false);
    if (!json)
        (void)snug_fail(err, SNUG_NO_MEMORY, "no memory for a line of a history file");
    return json;
}

/* A row found by its key: *out_id 0 for none; *out_import 0 for one of one's own. */
static snug_status find_row(struct snug__use *use, int64_t *out_id, int64_t *out_import)
{
    int64_t id = 0, import_id = 0;
    if (snug__use_step(use, "be read")) {
        id = sqlite3_column_int64(use->statement, 0);
        import_id =
            sqlite3_column_count(use->statement) > 1 ? sqlite3_column_int64(use->statement, 1) : 0;
    }
    *out_id = id;
    *out_import = import_id;
    return snug__use_end(use);
}

/* An earlier import's row, that must outlive it. */
static snug_status claim(struct importing *x, int64_t of_import, const char *kind, const char *key,
                         struct snug_error *err)
{
    if (of_import == 0 || of_import == x->import_id)
        return SNUG_OK;
    struct snug__use use = snug__use_begin(x->store, SNUG__SQL_IMPORT_ALSO, err);
    snug__use_int(&use, 1, x->import_id);
    snug__use_text(&use, 2, "the table", kind, TEXT_MAX);
    snug__use_text(&use, 3, "the key", key, 2 * TEXT_MAX);
    x->n_also++;
    return snug__use_run(&use, "be written", NULL);
}

/* ---- machines, models, tasks ---- */

static snug_status put_machine(struct importing *x, const struct snug_json_node *line,
                               struct snug_error *err)
{
    const int64_t i = x->seen.n[SNUG_HISTORY_MACHINE];
    const char *fingerprint = text_of(line, "fingerprint");
    int64_t id = 0, import_id = 0;
    snprintf(x->fingerprints[i], sizeof x->fingerprints[i], "%s", fingerprint);
    struct snug__use use = snug__use_begin(x->store, SNUG__SQL_MACHINE_OF, err);
    snug__use_text(&use, 1, "the machine's fingerprint", fingerprint, TEXT_MAX);
    snug_status status = find_row(&use, &id, &import_id);
    if (status == SNUG_OK && id == 0) {
        const char *name = text_of(snug_json_get(line, "facts"), "cpu_name");
        char *json = json_of(line, "facts", err);
        if (!json)
            return SNUG_NO_MEMORY;
        use = snug__use_begin(x->store, SNUG__SQL_MACHINE_IMPORT, err);
        snug__use_text(&use, 1, "the machine's fingerprint", fingerprint, TEXT_MAX);
        snug__use_text(&use, 2, "the machine's name", name[0] ? name : "unknown CPU", TEXT_MAX);
        snug__use_text(&use, 3, "the machine's description", json, SNUG_STORE_JSON_MAX);
        snug__use_number(&use, 4, snug__store_now_s());
        snug__use_int(&use, 5, x->import_id);
        status = snug__use_run(&use, "add a machine", &id);
        x->added.n[SNUG_HISTORY_MACHINE]++;
        free(json);
    }
    x->machines[i] = id;
    return status;
}

/* A model is called by its shape: "qwen3 0.6B Q4_0". */
static void model_name(const struct snug_json_node *facts, char *out, size_t cap)
{
    const double n_params = (double)int_of(facts, "n_params");
    const char *type = text_of(facts, "file_type");
    char size[32] = "";
    if (n_params > 0.0)
        snprintf(size, sizeof size, n_params < 1e8 ? " %.3gM" : " %.2gB",
                 n_params < 1e8 ? n_params / 1e6 : n_params / 1e9);
    snprintf(out, cap, "%s%s%s%.*s", text_of(facts, "arch")[0] ? text_of(facts, "arch") : "model",
             size, type[0] ? " " : "", (int)strcspn(type, " "), type);
}

static snug_status put_model(struct importing *x, const struct snug_json_node *line,
                             struct snug_error *err)
{
    const char *hash = text_of(line, "hash");
    int64_t id = 0, import_id = 0;
    char name[128];
    struct snug__use use = snug__use_begin(x->store, SNUG__SQL_MODEL_OF, err);
    snug__use_text(&use, 1, "the model's hash", hash, TEXT_MAX);
    snug_status status = find_row(&use, &id, &import_id);
    if (status == SNUG_OK && id == 0) {
        char *json = json_of(line, "facts", err);
        if (!json)
            return SNUG_NO_MEMORY;
        model_name(snug_json_get(line, "facts"), name, sizeof name);
        use = snug__use_begin(x->store, SNUG__SQL_MODEL_IMPORT, err);
        snug__use_text(&use, 1, "the model's hash", hash, TEXT_MAX);
        snug__use_text(&use, 2, "the model's name", name, TEXT_MAX);
        snug__use_text(&use, 3, "the model's description", json, SNUG_STORE_JSON_MAX);
        snug__use_number(&use, 4, snug__store_now_s());
        snug__use_int(&use, 5, x->import_id);
        status = snug__use_run(&use, "add a model", &id);
        x->added.n[SNUG_HISTORY_MODEL]++;
        free(json);
    }
    x->models[x->seen.n[SNUG_HISTORY_MODEL]] = id;
    return status;
}

/* The key of a task into the first ten parameters. */
static void bind_task(struct importing *x, struct snug__use *use, const struct snug_json_node *line)
{
    static const char *const lengths[] = {"n_prompt", "n_gen", "n_depth", "n_parallel", "n_ctx"};
    snug__use_int(use, 1, x->machines[int_of(line, "machine") - 1]);
    snug__use_int(use, 2, x->models[int_of(line, "model") - 1]);
    snug__use_text(use, 3, "the engine's build", text_of(line, "build"), TEXT_MAX);
    snug__use_text(use, 4, "the load level", text_of(line, "load_level"), TEXT_MAX);
    for (int i = 0; i < 5; i++)
        snug__use_int(use, 5 + i, int_of(line, lengths[i]));
    snug__use_text(use, 10, "the workload's hash", text_of(line, "workload_hash"), TEXT_MAX);
}

static snug_status put_task(struct importing *x, const struct snug_json_node *line,
                            struct snug_error *err)
{
    int64_t id = 0, import_id = 0;
    char name[SNUG_WORKLOAD_NAME_MAX] = "";
    const char *hash = text_of(line, "workload_hash");
    struct snug__use use = snug__use_begin(x->store, SNUG__SQL_TASK_OF, err);
    bind_task(x, &use, line);
    snug_status status = find_row(&use, &id, &import_id);
    if (status == SNUG_OK && id == 0) {
        if (hash[0]) /* its own name stays at home */
            snprintf(name, sizeof name, "workload %.8s", hash);
        use = snug__use_begin(x->store, SNUG__SQL_TASK_IMPORT, err);
        bind_task(x, &use, line);
        snug__use_text(&use, 11, "the workload's name", name, TEXT_MAX);
        snug__use_number(&use, 12, snug__store_now_s());
        snug__use_int(&use, 13, x->import_id);
        status = snug__use_run(&use, "add a task", &id);
        x->added.n[SNUG_HISTORY_TASK]++;
    }
    x->tasks[x->seen.n[SNUG_HISTORY_TASK]] = id;
    return status;
}

/* ---- trials ---- */

static snug_status add_trial(struct importing *x, const struct snug__trial *trial,
                             struct snug_error *err)
{
    int64_t id = 0;
    const snug_status status = snug__store_trial_put(x->store, trial, &id, err);
    if (status != SNUG_OK)
        return status;
    struct snug__use use = snug__use_begin(x->store, SNUG__SQL_TRIAL_IMPORTED, err);
    snug__use_int(&use, 1, id);
    snug__use_int(&use, 2, x->import_id);
    x->added.n[SNUG_HISTORY_TRIAL]++;
    return snug__use_run(&use, "add a trial", NULL);
}

/* The same start, config and build on the same task is the same trial. */
static snug_status find_or_add_trial(struct importing *x, const struct snug__trial *trial,
                                     struct snug_error *err)
{
    int64_t id = 0, import_id = 0;
    char key[24];
    struct snug__use use = snug__use_begin(x->store, SNUG__SQL_TRIAL_OF, err);
    snug__use_int(&use, 1, trial->task_id);
    snug__use_number(&use, 2, trial->m->started_unix_s);
    snug__use_text(&use, 3, "the build", trial->m->build, TEXT_MAX);
    snug__use_text(&use, 4, "the config", trial->config, TEXT_MAX);
    const snug_status status = find_row(&use, &id, &import_id);
    if (status != SNUG_OK)
        return status;
    if (id == 0)
        return add_trial(x, trial, err);
    snprintf(key, sizeof key, "%lld", (long long)id);
    return claim(x, import_id, "trials", key, err);
}

static snug_status put_trial(struct importing *x, const struct snug_json_node *line,
                             struct snug_error *err)
{
    struct snug_measurement m = {0};
    char *config = json_of(line, "config", err), *effective = json_of(line, "effective", err);
    snug_status status = SNUG_NO_MEMORY;
    snug_measurement_from_json(snug_json_get(line, "measurement"), &m);
    const struct snug__trial trial = {
        .task_id = x->tasks[int_of(line, "task") - 1],
        .role = text_of(line, "role"),
        .strategy = text_of(line, "strategy"),
        .config = config,
        .effective = effective,
        .m = &m,
    };
    if (config && effective)
        status = find_or_add_trial(x, &trial, err);
    snug_measurement_clear(&m);
    free(config);
    free(effective);
    return status;
}

/* ---- noise floors and qualities ---- */

static snug_status put_noise(struct importing *x, const struct snug_json_node *line,
                             struct snug_error *err)
{
    const char *fingerprint = x->fingerprints[int_of(line, "machine") - 1];
    const char *build = text_of(line, "build");
    int64_t id = 0, import_id = 0;
    char key[256];
    struct snug__use use = snug__use_begin(x->store, SNUG__SQL_NOISE_AT, err);
    snug__use_text(&use, 1, "the machine's fingerprint", fingerprint, TEXT_MAX);
    snug__use_text(&use, 2, "the engine's build", build, TEXT_MAX);
    const snug_status status = find_row(&use, &id, &import_id);
    if (status != SNUG_OK)
        return status;
    snprintf(key, sizeof key, "%s %s", fingerprint, build);
    if (id != 0)
        return claim(x, import_id, "noise", key, err);
    use = snug__use_begin(x->store, SNUG__SQL_NOISE_IMPORT, err);
    snug__use_text(&use, 1, "the machine's fingerprint", fingerprint, TEXT_MAX);
    snug__use_text(&use, 2, "the engine's build", build, TEXT_MAX);
    snug__use_number(&use, 3, snug_json_get_number(line, "frac", 0.0));
    snug__use_int(&use, 4, int_of(line, "n_blocks"));
    snug__use_number(&use, 5, snug_json_get_number(line, "seen_unix_s", 0.0));
    snug__use_int(&use, 6, x->import_id);
    x->added.n[SNUG_HISTORY_NOISE]++;
    return snug__use_run(&use, "keep a noise floor", NULL);
}

/* The key of a quality into the first seven parameters. */
static void bind_quality(struct importing *x, struct snug__use *use,
                         const struct snug_json_node *line)
{
    static const char *const texts[] = {"build", "type_k", "type_v", "text_hash", "reference_hash"};
    snug__use_int(use, 1, x->models[int_of(line, "model") - 1]);
    for (int i = 0; i < 5; i++)
        snug__use_text(use, 2 + i, texts[i], text_of(line, texts[i]), TEXT_MAX);
    snug__use_int(use, 7, int_of(line, "n_ctx"));
}

/* The figures as snug_store_quality_add keeps them: with their key, without a reference's name. */
static char *quality_json(const struct snug_json_node *line, struct snug_error *err)
{
    static const char *const texts[] = {"text_hash", "reference_hash", "type_k", "type_v"};
    const struct snug_json_node *figures = snug_json_get(line, "figures"), *value = NULL;
    const char *key = NULL;
    struct snug_json_writer w = {0};
    snug_json_begin_object(&w, NULL);
    for (int i = 0; i < 4; i++)
        snug_json_put_string(&w, texts[i], text_of(line, texts[i]));
    snug_json_put_int(&w, "n_ctx", int_of(line, "n_ctx"));
    for (size_t i = 0; snug_json_member(figures, i, &key, &value); i++)
        snug_json_put_node(&w, key, value);
    snug_json_end(&w);
    char *json = snug_json_finish(&w, false);
    if (!json)
        (void)snug_fail(err, SNUG_NO_MEMORY, "no memory for a quality");
    return json;
}

static snug_status put_quality(struct importing *x, const struct snug_json_node *line,
                               struct snug_error *err)
{
    int64_t id = 0, import_id = 0;
    char key[24];
    struct snug__use use = snug__use_begin(x->store, SNUG__SQL_QUALITY_AT, err);
    bind_quality(x, &use, line);
    snug_status status = find_row(&use, &id, &import_id);
    if (status != SNUG_OK)
        return status;
    snprintf(key, sizeof key, "%lld", (long long)id);
    if (id != 0)
        return claim(x, import_id, "qualities", key, err);
    char *json = quality_json(line, err);
    if (!json)
        return SNUG_NO_MEMORY;
    use = snug__use_begin(x->store, SNUG__SQL_QUALITY_IMPORT, err);
    bind_quality(x, &use, line);
    snug__use_text(&use, 8, "the figures", json, SNUG_STORE_JSON_MAX);
    snug__use_number(&use, 9, snug_json_get_number(line, "seen_unix_s", 0.0));
    snug__use_int(&use, 10, x->import_id);
    status = snug__use_run(&use, "keep a quality", NULL);
    x->added.n[SNUG_HISTORY_QUALITY]++;
    free(json);
    return status;
}

/* ---- sensitivities ---- */

/* The key of a sensitivity into the first eight parameters, and as text. */
static void bind_sensitivity(struct snug__use *use, const struct snug_json_node *line)
{
    static const char *const texts[] = {"model_hash", "text_hash", "imatrix_hash",
                                        "build",      "tensors",   "type"};
    for (int i = 0; i < 6; i++)
        snug__use_text(use, 1 + i, texts[i], text_of(line, texts[i]), TEXT_MAX);
    snug__use_int(use, 7, int_of(line, "n_ctx"));
    snug__use_int(use, 8, int_of(line, "n_chunks"));
}

static snug_status put_sensitivity(struct importing *x, const struct snug_json_node *line,
                                   struct snug_error *err)
{
    int64_t id = 0, import_id = 0;
    char key[1024]; /* as imports.c has it */
    struct snug__use use = snug__use_begin(x->store, SNUG__SQL_SENSITIVITY_AT, err);
    bind_sensitivity(&use, line);
    const snug_status status = find_row(&use, &id, &import_id);
    if (status != SNUG_OK)
        return status;
    snprintf(key, sizeof key, "%s %s %s %s %lld %lld %s %s", text_of(line, "model_hash"),
             text_of(line, "text_hash"), text_of(line, "imatrix_hash"), text_of(line, "build"),
             (long long)int_of(line, "n_ctx"), (long long)int_of(line, "n_chunks"),
             text_of(line, "tensors"), text_of(line, "type"));
    if (id != 0)
        return claim(x, import_id, "sensitivity", key, err);
    use = snug__use_begin(x->store, SNUG__SQL_SENSITIVITY_IMPORT, err);
    bind_sensitivity(&use, line);
    snug__use_number(&use, 9, snug_json_get_number(line, "kld", 0.0));
    snug__use_number(&use, 10, snug_json_get_number(line, "se", 0.0));
    snug__use_number(&use, 11, snug_json_get_number(line, "seen_unix_s", 0.0));
    snug__use_int(&use, 12, x->import_id);
    x->added.n[SNUG_HISTORY_SENSITIVITY]++;
    return snug__use_run(&use, "keep a sensitivity", NULL);
}

/* ---- the file ---- */

static snug_status put_line(const struct snug_json_node *line, enum snug_history_kind kind,
                            void *data, struct snug_error *err)
{
    static snug_status (*const puts[])(struct importing *, const struct snug_json_node *,
                                       struct snug_error *) = {
        [SNUG_HISTORY_MACHINE] = put_machine,
        [SNUG_HISTORY_MODEL] = put_model,
        [SNUG_HISTORY_TASK] = put_task,
        [SNUG_HISTORY_TRIAL] = put_trial,
        [SNUG_HISTORY_NOISE] = put_noise,
        [SNUG_HISTORY_QUALITY] = put_quality,
        [SNUG_HISTORY_SENSITIVITY] = put_sensitivity,
    };
    struct importing *x = data;
    const snug_status status = puts[kind](x, line, err);
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
    int64_t none = 0;
    struct snug__use use = snug__use_begin(store, SNUG__SQL_IMPORT_OF, err);
    snug__use_text(&use, 1, "the file's sum", sha256, TEXT_MAX);
    return find_row(&use, out_id, &none);
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
    const struct snug_history_counts *n = &file->counts;
    struct importing x = {.store = store};
    struct snug_history_imported done = {.created_unix_s = file->created_unix_s, .in_file = *n};
    /* One more than none: calloc of nothing may be NULL. */
    x.machines = calloc((size_t)n->n[SNUG_HISTORY_MACHINE] + 1, sizeof *x.machines);
    x.fingerprints = calloc((size_t)n->n[SNUG_HISTORY_MACHINE] + 1, sizeof *x.fingerprints);
    x.models = calloc((size_t)n->n[SNUG_HISTORY_MODEL] + 1, sizeof *x.models);
    x.tasks = calloc((size_t)n->n[SNUG_HISTORY_TASK] + 1, sizeof *x.tasks);
    snug_status status = x.machines && x.fingerprints && x.models && x.tasks
                             ? snug__history_lines(name, file, stop, NULL, NULL, err)
                             : snug_fail(err, SNUG_NO_MEMORY, "%s: no memory for its rows", name);
    if (status == SNUG_OK)
        status = write_all(&x, name, file, stop, &done, err);
    if (status == SNUG_OK)
        *out = done;
    free(x.machines);
    free(x.fingerprints);
    free(x.models);
    free(x.tasks);
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
