/* snug sensitivity: which tensors deserve the bits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/task.h"
#include "engine/sensitivity.h"
#include "plan/sensitivity.h"
#include "snug/plan.h"
#include "snug/units.h"

static const int64_t CHUNKS = 32; /* 8 thousand scored tokens: errors of some percent */

struct asking {
    const struct cli_args *args;
    struct cli_task task; /* the model in it may be a preset */
    struct snug_config config;
    struct snug_sensitivity s;
    int types[SNUG_PLAN_TYPES_MAX];
    int n_types;
};

/* ---- what is asked ---- */

static snug_status parse_types(struct asking *a, struct snug_error *err)
{
    const char *text = a->args->types;
    while (text && *text) {
        char name[32];
        const size_t n = strcspn(text, ",");
        snprintf(name, sizeof name, "%.*s", n < sizeof name ? (int)n : (int)sizeof name - 1, text);
        const int type = snug_model_type_from_name(name);
        if (type < 0)
            return snug_fail(err, SNUG_BAD_INPUT,
                             "--types: '%s' is no tensor type; for example q4_k,q6_k (q4_k_m is a "
                             "recipe of several)",
                             name);
        if (a->n_types == SNUG_PLAN_TYPES_MAX)
            return snug_fail(err, SNUG_BAD_INPUT, "--types: more than %d types",
                             SNUG_PLAN_TYPES_MAX);
        a->types[a->n_types++] = type;
        text += n + (text[n] == ',');
    }
    return text && a->n_types == 0
               ? snug_fail(err, SNUG_BAD_INPUT, "--types needs types such as q4_k,q6_k")
               : SNUG_OK;
}

static snug_status find_method(const struct cli_args *args, enum snug_sensitivity_method *out,
                               struct snug_error *err)
{
    *out = args->imatrix ? SNUG_SENSITIVITY_IMATRIX : SNUG_SENSITIVITY_WEIGHTS;
    for (int i = 0; args->method && i < SNUG_N_SENSITIVITY_METHODS; i++) {
        const enum snug_sensitivity_method method = (enum snug_sensitivity_method)i;
        if (strcmp(args->method, snug_sensitivity_method_name(method)) == 0)
            *out = method;
    }
    if (*out == SNUG_SENSITIVITY_IMATRIX && !args->imatrix)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "--method imatrix needs --imatrix FILE: snug imatrix MODEL --text TEXT "
                         "makes one");
    if (*out == SNUG_SENSITIVITY_KLD && !args->text)
        return snug_fail(err, SNUG_BAD_INPUT,
                         "--method kld needs --text FILE: some pages of what the model is for");
    if ((*out == SNUG_SENSITIVITY_WEIGHTS || *out == SNUG_SENSITIVITY_POSITION) && args->imatrix)
        return snug_fail(err, SNUG_BAD_INPUT, "--method %s does not look at an imatrix",
                         args->method);
    return SNUG_OK;
}

static struct snug_sensitivity_options base_options(struct asking *a)
{
    return (struct snug_sensitivity_options){.model = &a->task.model,
                                             .imatrix_path = a->args->imatrix,
                                             .types = a->n_types ? a->types : NULL,
                                             .n_types = a->n_types,
                                             .stop = &cli_stop,
                                             .progress = cli_live_phase};
}

static snug_status measure_kld(struct asking *a, struct snug_error *err)
{
    struct cli_task *task = &a->task;
    const int64_t n_ctx =
        a->args->n_ctx ? a->args->n_ctx : snug_quality_chunk(task->model.n_ctx_train);
    char folder[4096];
    task->workload = (struct snug_workload){.n_prompt = n_ctx, .n_parallel = 1, .n_ctx = n_ctx};
    snug_status status = cli_task_open_engine(a->args, task, NULL, NULL, err);
    if (status == SNUG_OK)
        status = cli_task_config(a->args, snug_engine_space(task->engine), &a->config, err);
    if (status == SNUG_OK)
        status = snug_store_open(a->args->store, &task->store, err);
    if (status == SNUG_OK)
        status = snug_file_cache_folder(folder, sizeof folder, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_sensitivity_kld_options options = {
        .base = base_options(a),
        .space = snug_engine_space(task->engine),
        .config = &a->config,
        .build = snug_engine_build(task->engine),
        .text_path = a->args->text,
        .n_ctx = n_ctx,
        .n_chunks = a->args->n_chunks ? a->args->n_chunks : CHUNKS,
        .is_per_tensor = a->args->per_tensor,
        .store = task->store,
        .folder = folder};
    return snug_sensitivity_kld(&options, &a->s, err);
}

static snug_status measure(struct asking *a, struct snug_error *err)
{
    enum snug_sensitivity_method method = SNUG_SENSITIVITY_WEIGHTS;
    snug_status status = find_method(a->args, &method, err);
    if (status == SNUG_OK)
        status = parse_types(a, err);
    if (status != SNUG_OK)
        return status;
    if (method == SNUG_SENSITIVITY_POSITION) {
        status = snug_model_open(a->args->operand, &a->task.model, err);
        return status == SNUG_OK ? snug_sensitivity_position(&a->task.model, &a->s, err) : status;
    }
    status = cli_task_open_model(a->args, &a->task, err);
    if (status == SNUG_OK)
        status = snug__sensitivity_check(&a->task.model, err);
    if (status == SNUG_OK && method == SNUG_SENSITIVITY_KLD)
        return measure_kld(a, err);
    const struct snug_sensitivity_options options = base_options(a);
    return status == SNUG_OK ? snug_sensitivity_weights(&options, &a->s, err) : status;
}

/* ---- the answer ---- */

struct group_row {
    const char *name;
    int n_tensors;
    uint64_t n_elements;
    double loss, se;
    char types[64]; /* that the loss is of */
};

/* The type of about 4 bits that a tensor can have: the first of these, else the nearest. */
static int about_four_bits(const struct snug_sensitivity *s, int i_tensor)
{
    static const char *const LIKED[] = {"q4_K", "iq4_nl", "q4_0"};
    int best = -1;
    double nearest = INFINITY;
    for (size_t w = 0; w < sizeof LIKED / sizeof *LIKED; w++) {
        for (int k = 0; k < s->n_types; k++) {
            if (strcmp(snug_model_type_name(s->types[k]), LIKED[w]) == 0 &&
                isfinite(s->loss[i_tensor * s->n_types + k].value))
                return k;
        }
    }
    for (int k = 0; k < s->n_types; k++) {
        const double away = fabs(snug_model_type_bits(s->types[k]) - 4.5);
        if (isfinite(s->loss[i_tensor * s->n_types + k].value) && away < nearest) {
            nearest = away;
            best = k;
        }
    }
    return best;
}

/* Measured losses of a group come from one figure, so their errors add up. */
static void fill_row(const struct asking *a, const struct snug__tensor_group *g,
                     struct group_row *row)
{
    double sum = 0.0, squares = 0.0;
    *row = (struct group_row){.name = g->name, .n_tensors = g->n};
    for (int i = 0; i < g->n; i++) {
        const int k = about_four_bits(&a->s, g->tensors[i]);
        if (k < 0)
            continue;
        const struct snug_loss *loss = &a->s.loss[g->tensors[i] * a->s.n_types + k];
        const char *type = snug_model_type_name(a->s.types[k]);
        row->n_elements += a->task.model.tensors[g->tensors[i]].n_elements;
        row->loss += (double)loss->value;
        sum += (double)loss->se;
        squares += (double)loss->se * (double)loss->se;
        const size_t n = strlen(row->types);
        if (!strstr(row->types, type))
            snprintf(row->types + n, sizeof row->types - n, "%s%s", n ? ", " : "", type);
    }
    row->se = a->s.method == SNUG_SENSITIVITY_KLD ? sum : sqrt(squares);
}

static int compare_rows(const void *a, const void *b)
{
    const struct group_row *x = a, *y = b;
    return x->loss < y->loss ? 1 : x->loss > y->loss ? -1 : strcmp(x->name, y->name);
}

static void put_table(const struct asking *a, const struct group_row *rows, int n, double total,
                      struct snug_buffer *out)
{
    struct snug_table table = {0};
    snug_table_column(&table, "tensors", SNUG_COLUMN_TEXT);
    snug_table_column(&table, "n", SNUG_COLUMN_NUMBER);
    snug_table_column(&table, "Mweights", SNUG_COLUMN_NUMBER);
    snug_table_column(&table, "type", SNUG_COLUMN_TEXT);
    snug_table_column(&table, "loss, mnat/token", SNUG_COLUMN_NUMBER);
    snug_table_column(&table, "+-", SNUG_COLUMN_NUMBER);
    snug_table_column(&table, "share, %", SNUG_COLUMN_NUMBER);
    snug_table_column(&table, "loss per Mweight", SNUG_COLUMN_NUMBER);
    for (int i = 0; i < n; i++) {
        const double millions = 1e-6 * (double)rows[i].n_elements;
        snug_table_cell_text(&table, rows[i].name);
        snug_table_cell_number(&table, rows[i].n_tensors, 0);
        snug_table_cell_number(&table, millions, 2);
        snug_table_cell_text(&table, rows[i].types);
        snug_table_cell_number(&table, 1e3 * rows[i].loss, 3);
        snug_table_cell_number(&table, 1e3 * rows[i].se, 3);
        snug_table_cell_number(&table, total > 0.0 ? 100.0 * rows[i].loss / total : 0.0, 1);
        snug_table_cell_number(&table, millions > 0.0 ? 1e3 * rows[i].loss / millions : 0.0, 3);
        snug_table_row_end(&table);
    }
    snug_table_render(&table, cli_table_format(a->args), out);
    snug_table_clear(&table);
}

static const char *method_words(enum snug_sensitivity_method method)
{
    static const char *const WORDS[] = {
#define X(id, name, text) text,
        SNUG_SENSITIVITY_METHODS(X)
#undef X
    };
    return WORDS[method];
}

static snug_status put_words(const struct asking *a, struct snug_buffer *out,
                             struct snug_error *err)
{
    struct snug__tensor_groups groups = {.n = 0};
    snug_status status = snug__tensor_groups(&a->task.model, a->args->per_tensor, &groups, err);
    if (status != SNUG_OK)
        return status;
    struct group_row *rows = calloc((size_t)groups.n + 1, sizeof *rows);
    double total = 0.0;
    for (int i = 0; rows && i < groups.n; i++) {
        fill_row(a, &groups.groups[i], &rows[i]);
        total += rows[i].loss;
    }
    if (!rows) {
        status = snug_fail(err, SNUG_NO_MEMORY, "no memory for a table");
    } else if (groups.n > 0) {
        qsort(rows, (size_t)groups.n, sizeof *rows, compare_rows);
        snug_buffer_printf(
            out, "%s deserves the bits most: %.0f %% of what about 4 bits everywhere would lose\n",
            rows[0].name, total > 0.0 ? 100.0 * rows[0].loss / total : 0.0);
        snug_buffer_printf(out, "that loss is %.4f nats per token, within %.4f to %.4f\n", total,
                           total * a->s.lo_frac, total * a->s.hi_frac);
        snug_buffer_printf(out, "by %s: %s\n\n", snug_sensitivity_method_name(a->s.method),
                           method_words(a->s.method));
        put_table(a, rows, groups.n, total, out);
    } else {
        snug_buffer_printf(out, "%s has no tensors to quantise\n", a->task.model.path);
    }
    free(rows);
    snug__tensor_groups_clear(&groups);
    return status;
}

static int answer(struct asking *a)
{
    struct snug_buffer out = {0};
    struct snug_error err = {0};
    snug_status status = SNUG_OK;
    if (a->args->output)
        status = snug_sensitivity_write(&a->s, &a->task.model, a->args->output, &err);
    if (status == SNUG_OK && a->args->json) {
        cli_buffer_json(&out, snug_sensitivity_to_json(&a->s, &a->task.model));
    } else if (status == SNUG_OK) {
        status = put_words(a, &out, &err);
    }
    const int code = status == SNUG_OK ? cli_put_buffer(&out) : cli_fail(&err);
    snug_buffer_clear(&out);
    if (code == CLI_OK && a->args->output)
        cli_say("next: snug plan %s --sensitivity %s", a->args->operand, a->args->output);
    else if (code == CLI_OK && !a->args->json)
        cli_say("next: snug plan %s", a->args->operand);
    return code;
}

int cmd_sensitivity(const struct cli_args *args)
{
    struct asking *a = calloc(1, sizeof *a);
    struct snug_error err = {0};
    if (!a)
        return cli_fail_text(CLI_FAILED, "no memory for a sensitivity");
    a->args = args;
    cli_catch_signals();
    const snug_status status = measure(a, &err);
    cli_live_end();
    const int code = status == SNUG_OK ? answer(a) : cli_fail(&err);
    snug_sensitivity_clear(&a->s);
    cli_task_close(&a->task);
    free(a);
    return code;
}
