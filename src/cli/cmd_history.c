/* snug history: what is known, and moving it between machines as one file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/known.h"
#include "cli/task.h"
#include "snug/history.h"
#include "snug/machine.h"
#include "snug/model.h"
#include "snug/units.h"

/* ---- list ---- */

static void cell_time(struct snug_table *table, double unix_s)
{
    const time_t at = (time_t)unix_s;
    struct tm parts;
    char text[32] = "";
    if (unix_s > 0.0 && gmtime_r(&at, &parts))
        strftime(text, sizeof text, "%Y-%m-%dT%H:%MZ", &parts);
    snug_table_cell_text(table, text);
}

static bool task_row(const struct snug_task_view *view, void *data)
{
    struct snug_table *table = data;
    snug_table_cell_number(table, (double)view->id, 0);
    snug_table_cell_text(table, view->model_name);
    snug_table_cell_text(table, view->machine_name);
    snug_table_cell_text(table, view->build);
    snug_table_cell_number(table, (double)view->workload.n_prompt, 0);
    snug_table_cell_number(table, (double)view->workload.n_gen, 0);
    snug_table_cell_number(table, (double)view->workload.n_ctx, 0);
    snug_table_cell_number(table, (double)view->workload.n_parallel, 0);
    snug_table_cell_number(table, (double)view->n_trials, 0);
    snug_table_cell_text(table, view->workload.name);
    cell_time(table, view->last_unix_s);
    snug_table_cell_text(table, view->imports);
    snug_table_row_end(table);
    return true;
}

static bool import_row(const struct snug_history_import_view *view, void *data)
{
    struct snug_table *table = data;
    snug_table_cell_number(table, (double)view->id, 0);
    snug_table_cell_text(table, view->file);
    snug_table_cell_number(table, (double)view->n_tasks, 0);
    snug_table_cell_number(table, (double)view->n_trials, 0);
    cell_time(table, view->created_unix_s);
    cell_time(table, view->imported_unix_s);
    snug_table_cell_text(table, view->snug);
    snug_table_row_end(table);
    return true;
}

static void list_columns(struct snug_table *tasks, struct snug_table *imports)
{
    static const struct {
        const char *name;
        enum snug_column_kind kind;
    } of_tasks[] =
        {
            {"task", SNUG_COLUMN_NUMBER},    {"model", SNUG_COLUMN_TEXT},
            {"machine", SNUG_COLUMN_TEXT},   {"build", SNUG_COLUMN_TEXT},
            {"prompt", SNUG_COLUMN_NUMBER},  {"output", SNUG_COLUMN_NUMBER},
            {"context", SNUG_COLUMN_NUMBER}, {"parallel", SNUG_COLUMN_NUMBER},
            {"trials", SNUG_COLUMN_NUMBER},  {"workload", SNUG_COLUMN_TEXT},
            {"last", SNUG_COLUMN_TEXT},      {"imports", SNUG_COLUMN_TEXT},
        },
      of_imports[] = {
          {"import", SNUG_COLUMN_NUMBER}, {"file", SNUG_COLUMN_TEXT},
          {"tasks", SNUG_COLUMN_NUMBER},  {"trials", SNUG_COLUMN_NUMBER},
          {"written", SNUG_COLUMN_TEXT},  {"imported", SNUG_COLUMN_TEXT},
          {"snug", SNUG_COLUMN_TEXT},
      };
    for (size_t i = 0; i < sizeof of_tasks / sizeof *of_tasks; i++)
        snug_table_column(tasks, of_tasks[i].name, of_tasks[i].kind);
    for (size_t i = 0; i < sizeof of_imports / sizeof *of_imports; i++)
        snug_table_column(imports, of_imports[i].name, of_imports[i].kind);
}

/* CSV and JSON lines are one table, of the tasks. */
static void render_list(enum snug_table_format format, const struct snug_table *tasks,
                        const struct snug_table *imports, struct snug_buffer *out)
{
    if (format == SNUG_TABLE_JSON)
        snug_buffer_puts(out, "{\"tasks\": ");
    snug_table_render(tasks, format, out);
    if (format == SNUG_TABLE_JSON)
        snug_buffer_puts(out, ", \"imports\": ");
    else if (format == SNUG_TABLE_MD && imports->n_cells > 0)
        snug_buffer_puts(out, "\n");
    if (format == SNUG_TABLE_JSON || (format == SNUG_TABLE_MD && imports->n_cells > 0))
        snug_table_render(imports, format, out);
    if (format == SNUG_TABLE_JSON)
        snug_buffer_puts(out, "}\n");
}

static int run_list(const struct cli_args *args)
{
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    struct snug_table tasks = {0}, imports = {0};
    struct snug_buffer out = {0};
    list_columns(&tasks, &imports);
    snug_status status = snug_store_open(args->store, &store, &err);
    if (status == SNUG_OK)
        status = snug_store_tasks(store, NULL, task_row, &tasks, &err);
    if (status == SNUG_OK)
        status = snug_history_imports(store, import_row, &imports, &err);
    int code = status == SNUG_OK ? CLI_OK : cli_fail(&err);
    if (status == SNUG_OK) {
        render_list(cli_table_format(args), &tasks, &imports, &out);
        code = cli_put_buffer(&out);
        if (tasks.n_cells == 0)
            cli_say("nothing is known yet; start with: snug tune model.gguf");
        else
            cli_say("\nnext: snug history MODEL, or snug front MODEL");
    }
    snug_buffer_clear(&out);
    snug_table_clear(&tasks);
    snug_table_clear(&imports);
    snug_store_close(store);
    return code;
}

/* ---- counts ---- */

/* "trial" and "n_trials" of each kind. */
static const struct {
    const char *one, *counted;
} KINDS[] = {
#define KIND(name, text, counted, cap) {text, counted},
    SNUG_HISTORY_KINDS(KIND)
#undef KIND
};

/* "12 trials, 2 tasks, 1 machine, 1 model"; what is rare only where there is some. */
static const char *counts_text(const struct snug_history_counts *counts, char *out, size_t cap)
{
    static const enum snug_history_kind order[] = {
        SNUG_HISTORY_TRIAL, SNUG_HISTORY_TASK,    SNUG_HISTORY_MACHINE,
        SNUG_HISTORY_MODEL, SNUG_HISTORY_QUALITY, SNUG_HISTORY_SENSITIVITY,
    };
    size_t n = 0;
    for (size_t i = 0; i < sizeof order / sizeof *order && n < cap; i++) {
        const int64_t value = counts->n[order[i]];
        if (i < 4 || value > 0)
            n += (size_t)snprintf(out + n, cap - n, "%s%lld %s", i ? ", " : "", (long long)value,
                                  value == 1 ? KINDS[order[i]].one : KINDS[order[i]].counted + 2);
    }
    return out;
}

static void put_counts(struct snug_json_writer *w, const char *key,
                       const struct snug_history_counts *counts)
{
    snug_json_begin_object(w, key);
    for (int k = 0; k < SNUG_HISTORY_N_KINDS; k++)
        snug_json_put_int(w, KINDS[k].counted, counts->n[k]);
    snug_json_end(w);
}

static int put_json(struct snug_json_writer *w)
{
    struct snug_buffer out = {0};
    cli_buffer_json(&out, snug_json_finish(w, true));
    const int code = cli_put_buffer(&out);
    snug_buffer_clear(&out);
    return code;
}

/* ---- export ---- */

/* "snug history export m.gguf", meant as a filter, must not cost the model, nor a tar.gz. */
static snug_status check_target(struct snug_store *store, const char *path, struct snug_error *err)
{
    struct stat info;
    char *data = NULL;
    size_t n = 0;
    int64_t id = 0;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0)
        return SNUG_OK;
    snug_status status = snug_file_read(path, SNUG_HISTORY_PACKED_MAX, &data, &n, err);
    if (status == SNUG_OK)
        status = snug_history_find(store, path, data, n, &id, err);
    free(data);
    if (status == SNUG_BAD_INPUT)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "%s: is there and is no history file; give another name: snug history "
                         "export FILE [MODEL]",
                         path);
    return status == SNUG_NOT_FOUND || status == SNUG_NEWER ? SNUG_OK : status;
}

static int write_file(const char *path, const void *data, size_t n)
{
    struct snug_error err = {0};
    if (strcmp(path, "-") != 0)
        return snug_file_write(path, data, n, &err) == SNUG_OK ? CLI_OK : cli_fail(&err);
    if (fwrite(data, 1, n, stdout) != n || fflush(stdout) != 0)
        return cli_fail_text(CLI_FAILED, "cannot write the output: %s", strerror(errno));
    return CLI_OK;
}

static snug_status export_data(const struct cli_args *args, void **out_data, size_t *out_n,
                               struct snug_history_exported *out, struct snug_error *err)
{
    struct snug_store *store = NULL;
    struct snug_model model = {0};
    snug_status status = SNUG_OK;
    if (args->operand3)
        status = snug_model_open(args->operand3, &model, err);
    if (status == SNUG_OK)
        status = snug_store_open(args->store, &store, err);
    if (status == SNUG_OK)
        status = check_target(store, args->operand2, err);
    if (status == SNUG_OK)
        status = snug_history_export(store, args->operand3 ? model.hash : NULL, out_data, out_n,
                                     out, err);
    snug_model_clear(&model);
    snug_store_close(store);
    return status;
}

static int tell_exported(const struct cli_args *args, const struct snug_history_exported *done,
                         size_t n)
{
    const char *path = args->operand2;
    const bool is_stdout = strcmp(path, "-") == 0;
    char text[256];
    if (args->json && !is_stdout) {
        struct snug_json_writer w = {0};
        snug_json_begin_object(&w, NULL);
        snug_json_put_string(&w, "file", path);
        snug_json_put_int(&w, "bytes", (int64_t)n);
        put_counts(&w, "in_file", &done->counts);
        snug_json_put_int(&w, "n_left_out", done->n_left_out);
        snug_json_end(&w);
        return put_json(&w);
    }
    cli_say("%s: %s; without paths and names", is_stdout ? "stdout" : path,
            counts_text(&done->counts, text, sizeof text));
    if (done->n_left_out > 0)
        cli_say("%lld trial%s left out: no start time, or a config that names a device of this "
                "machine alone",
                (long long)done->n_left_out, done->n_left_out == 1 ? " is" : "s are");
    if (!is_stdout)
        cli_say("\nnext, on the other machine: snug history import %s", cli_base_name(path));
    return CLI_OK;
}

static int run_export(const struct cli_args *args)
{
    struct snug_error err = {0};
    struct snug_history_exported done = {.n_left_out = 0};
    void *data = NULL;
    size_t n = 0;
    const char *path = args->operand2;
    if (strcmp(path, "-") == 0 && isatty(STDOUT_FILENO))
        return cli_fail_text(CLI_MISUSE, "a history file is no text for a terminal: give a FILE");
    cli_catch_signals(); /* no half-written file is left beside */
    snug_status status = export_data(args, &data, &n, &done, &err);
    if (status == SNUG_OK && cli_stop)
        status = snug_fail(&err, SNUG_INTERRUPTED, "%s: stopped; nothing was written", path);
    int code = status == SNUG_OK ? write_file(path, data, n) : cli_fail(&err);
    if (code == CLI_OK)
        code = tell_exported(args, &done, n);
    free(data);
    return code;
}

/* ---- import ---- */

static snug_status read_file(const char *path, char **out_data, size_t *out_n,
                             struct snug_error *err)
{
    const bool is_stdin = strcmp(path, "-") == 0;
    if (is_stdin && isatty(STDIN_FILENO))
        return snug_fail(err, SNUG_BAD_INPUT, "stdin is a terminal: give a FILE");
    return snug_file_read(is_stdin ? "/dev/stdin" : path, SNUG_HISTORY_PACKED_MAX, out_data, out_n,
                          err);
}

static const char *file_name(const char *path)
{
    return strcmp(path, "-") == 0 ? "stdin" : path;
}

struct like_here {
    const char *fingerprint;
    int64_t import_id, n_tasks;
};

static bool has_number(const char *list, int64_t number)
{
    for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
        if (strtoll(at, NULL, 10) == number)
            return true;
    return false;
}

static bool count_like_here(const struct snug_task_view *view, void *data)
{
    struct like_here *like = data;
    like->n_tasks += strcmp(view->machine_fingerprint, like->fingerprint) == 0 &&
                     has_number(view->imports, like->import_id);
    return true;
}

/* A twin of this machine has its fingerprint, and then its trials count here. */
static void say_like_here(struct snug_store *store, int64_t import_id)
{
    struct snug_machine machine = {0};
    struct like_here like = {.fingerprint = machine.fingerprint, .import_id = import_id};
    if (snug_machine_probe("", &machine, NULL) == SNUG_OK &&
        snug_store_tasks(store, NULL, count_like_here, &like, NULL) == SNUG_OK && like.n_tasks > 0)
        cli_say("%lld task%s of a machine like this one (same CPU, caches, memory and limits) "
                "count as measured here",
                (long long)like.n_tasks, like.n_tasks == 1 ? "" : "s");
}

static int tell_imported(const struct cli_args *args, struct snug_store *store,
                         const struct snug_history_imported *done)
{
    const char *name = file_name(args->operand2);
    const int64_t n_known = done->in_file.n[SNUG_HISTORY_TRIAL] - done->added.n[SNUG_HISTORY_TRIAL];
    char text[256];
    if (args->json) {
        struct snug_json_writer w = {0};
        snug_json_begin_object(&w, NULL);
        snug_json_put_int(&w, "import", done->id);
        snug_json_put_bool(&w, "is_known", done->is_known);
        snug_json_put_number(&w, "created_unix_s", done->created_unix_s);
        put_counts(&w, "in_file", &done->in_file);
        put_counts(&w, "added", &done->added);
        snug_json_end(&w);
        return put_json(&w);
    }
    if (done->is_known)
        cli_say("%s: imported already, as import %lld; nothing was changed", name,
                (long long)done->id);
    else if (done->id == 0)
        cli_say("%s: all of it is here already; nothing was changed", name);
    else
        cli_say("import %lld of %s: %s are new; %lld trial%s here already", (long long)done->id,
                name, counts_text(&done->added, text, sizeof text), (long long)n_known,
                n_known == 1 ? " was" : "s were");
    if (done->id != 0 && !done->is_known)
        say_like_here(store, done->id);
    if (done->id != 0)
        cli_say("\nnext: snug history; take it back with: snug history undo %lld",
                (long long)done->id);
    return CLI_OK;
}

static int run_import(const struct cli_args *args)
{
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    struct snug_history_imported done = {.id = 0};
    char *data = NULL;
    size_t n = 0;
    snug_status status = read_file(args->operand2, &data, &n, &err);
    if (status == SNUG_OK)
        status = snug_store_open(args->store, &store, &err);
    cli_catch_signals();
    if (status == SNUG_OK)
        status =
            snug_history_import(store, file_name(args->operand2), data, n, &cli_stop, &done, &err);
    const int code = status == SNUG_OK ? tell_imported(args, store, &done) : cli_fail(&err);
    snug_store_close(store);
    free(data);
    return code;
}

/* ---- undo ---- */

struct by_name {
    const char *name;
    int64_t id;
    int n;
};

static bool take_name(const struct snug_history_import_view *view, void *data)
{
    struct by_name *found = data;
    if (strcmp(view->file, found->name) == 0) {
        found->id = view->id;
        found->n++;
    }
    return true;
}

/* Of a file that is gone, its name is what is left. */
static snug_status find_by_name(struct snug_store *store, const char *path, int64_t *out_id,
                                struct snug_error *err)
{
    struct by_name found = {.name = cli_base_name(path)};
    const snug_status status = snug_history_imports(store, take_name, &found, err);
    if (status == SNUG_OK && found.n != 1)
        return snug_fail(err, SNUG_NOT_FOUND,
                         found.n == 0 ? "%s: no such file, and no import of that name; see snug "
                                        "history"
                                      : "%s: no such file, and several imports of that name: give "
                                        "the number that snug history shows",
                         path);
    if (status == SNUG_OK)
        *out_id = found.id;
    return status;
}

static snug_status find_import(struct snug_store *store, const char *what, int64_t *out_id,
                               struct snug_error *err)
{
    char *data = NULL;
    size_t n = 0;
    if (what[strspn(what, "0123456789")] == '\0')
        return snug_int_parse("import", what, 1, INT64_MAX, out_id, err);
    snug_status status = read_file(what, &data, &n, err);
    if (status == SNUG_NOT_FOUND)
        return find_by_name(store, what, out_id, err);
    if (status == SNUG_OK)
        status = snug_history_find(store, file_name(what), data, n, out_id, err);
    free(data);
    return status;
}

static int tell_undone(const struct cli_args *args, int64_t id,
                       const struct snug_history_counts *removed)
{
    char text[256];
    if (args->json) {
        struct snug_json_writer w = {0};
        snug_json_begin_object(&w, NULL);
        snug_json_put_int(&w, "import", id);
        put_counts(&w, "removed", removed);
        snug_json_end(&w);
        return put_json(&w);
    }
    cli_say("import %lld is taken back: %s are gone; what was measured here stays", (long long)id,
            counts_text(removed, text, sizeof text));
    return CLI_OK;
}

static int run_undo(const struct cli_args *args)
{
    struct snug_error err = {0};
    struct snug_store *store = NULL;
    struct snug_history_counts removed = {{0}};
    int64_t id = 0;
    snug_status status = snug_store_open(args->store, &store, &err);
    if (status == SNUG_OK)
        status = find_import(store, args->operand2, &id, &err);
    if (status == SNUG_OK)
        status = snug_history_undo(store, id, &removed, &err);
    const int code = status == SNUG_OK ? tell_undone(args, id, &removed) : cli_fail(&err);
    snug_store_close(store);
    return code;
}

/* ---- which of them ---- */

static const struct {
    const char *name, *needs; /* NULL: no operand */
    int n_operands;           /* at most, its name included */
    int (*run)(const struct cli_args *args);
} ACTIONS[] = {
    {"list", NULL, 1, run_list},
    {"export", "a FILE to write, or -", 3, run_export},
    {"import", "a FILE to read, or -", 2, run_import},
    {"undo", "the number of an import, or its FILE", 2, run_undo},
};

int cmd_history(const struct cli_args *args)
{
    const int n = !args->operand ? 0 : !args->operand2 ? 1 : !args->operand3 ? 2 : 3;
    for (size_t i = 0; n > 0 && i < sizeof ACTIONS / sizeof *ACTIONS; i++) {
        if (strcmp(args->operand, ACTIONS[i].name) != 0)
            continue;
        if (ACTIONS[i].needs && n < 2)
            return cli_fail_text(CLI_MISUSE, "snug history %s needs %s; see snug history --help",
                                 ACTIONS[i].name, ACTIONS[i].needs);
        if (n > ACTIONS[i].n_operands)
            return cli_fail_text(CLI_MISUSE, "snug history %s does not know what to do with '%s'",
                                 ACTIONS[i].name, n == 2 ? args->operand2 : args->operand3);
        return ACTIONS[i].run(args);
    }
    if (n > 1)
        return cli_fail_text(CLI_MISUSE,
                             "snug history takes one MODEL, or list, export FILE [MODEL], import "
                             "FILE, undo IMPORT; not '%s %s'",
                             args->operand, args->operand2);
    return n == 1 ? cli_known_trials(args) : run_list(args);
}
