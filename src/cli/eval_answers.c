/* Answers of snug eval: each prompt of a file is answered, and the answer measured. */
#include "cli/eval_tasks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lab/answer_file.h"
#include "lab/text_measures.h"

static const int64_t N_GEN_DEFAULT = 128;

enum measure {
    M_EXACT,
    M_EXACT_WORDS,
    M_JACCARD,
    M_LEVENSHTEIN,
    M_BLEU,
    M_ROUGE_L,
    M_JSON,
    M_REQUIRED,
    M_TOOL_COUNT,
    M_TOOL_NAMES,
    M_TOOL_STRUCTURE,
    M_TOOL_VALUES,
    N_MEASURES
};

/* Names in JSON and in words; a group begins a line of words. */
static const struct {
    const char *name, *words, *group;
} MEASURES[N_MEASURES] = {
    [M_EXACT] = {"exact", "exact", "against references"},
    [M_EXACT_WORDS] = {"exact_words", "same words", NULL},
    [M_JACCARD] = {"jaccard", "Jaccard", NULL},
    [M_LEVENSHTEIN] = {"levenshtein", "Levenshtein", NULL},
    [M_BLEU] = {"bleu", "BLEU", NULL},
    [M_ROUGE_L] = {"rouge_l", "ROUGE-L", NULL},
    [M_JSON] = {"json_validity", "valid", "JSON"},
    [M_REQUIRED] = {"required_fields", "required fields", NULL},
    [M_TOOL_COUNT] = {"tool_count", "count", "tool calls"},
    [M_TOOL_NAMES] = {"tool_names", "names", NULL},
    [M_TOOL_STRUCTURE] = {"tool_args_structure", "structure", NULL},
    [M_TOOL_VALUES] = {"tool_args_values", "values", NULL},
};

/* Mean and sum of squared deviations, updated one by one (Welford 1962). */
struct mean {
    double value, squares;
    int n;
};

struct answers {
    struct snug_scorer *scorer;
    const struct snug_space *space;
    const struct snug_config *config;
    const struct snug_answer_file *file;
    const char *path;
    int64_t n_gen;
    struct mean means[N_MEASURES];
    int n, n_ended, n_failed;
    int64_t failed_lines[SNUG_ANSWER_LINES_KEPT];
    char reason[SNUG_ERROR_TEXT_MAX]; /* of the first that failed */
    bool is_interrupted;
};

static void add(struct answers *a, struct snug_json_writer *w, enum measure i, double x)
{
    struct mean *m = &a->means[i];
    const double step = x - m->value;
    m->value += step / ++m->n;
    m->squares += step * (x - m->value);
    snug_json_put_number(w, MEASURES[i].name, x);
}

/* Standard error of a mean; NAN for one value. */
static double error_of(const struct mean *m)
{
    return m->n > 1 ? sqrt(m->squares / (m->n - 1) / m->n) : (double)NAN;
}

/* ---- one row ---- */

/* What the model is to hand over as JSON is measured as JSON. */
static void measure_json(const struct snug_answer_row *row, const char *answer, struct answers *a,
                         struct snug_json_writer *w)
{
    if (!row->required && !row->tools)
        return;
    add(a, w, M_JSON, snug_json_validity(answer));
    if (row->required)
        add(a, w, M_REQUIRED, snug_json_required(answer, row->required));
    if (row->tools) {
        struct snug_tool_measures m;
        snug_tool_measure(answer, row->tools, &m);
        add(a, w, M_TOOL_COUNT, m.count);
        add(a, w, M_TOOL_NAMES, m.names);
        add(a, w, M_TOOL_STRUCTURE, m.structure);
        add(a, w, M_TOOL_VALUES, m.values);
    }
}

static void measure_text(const struct snug_answer_row *row, const char *answer, struct answers *a,
                         struct snug_json_writer *w)
{
    struct snug_text_measures m;
    if (!row->reference)
        return;
    snug_text_measure(answer, row->reference, &m);
    add(a, w, M_EXACT, m.exact);
    add(a, w, M_EXACT_WORDS, m.exact_words);
    add(a, w, M_JACCARD, m.jaccard);
    add(a, w, M_LEVENSHTEIN, m.levenshtein);
    add(a, w, M_BLEU, m.bleu);
    add(a, w, M_ROUGE_L, m.rouge_l);
}

static void put_failed(struct answers *a, const struct snug_answer_row *row, const char *reason,
                       struct snug_json_writer *w)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_int(w, "line", row->line);
    snug_json_put_string(w, "failed", reason);
    snug_json_end(w);
    if (a->n_failed == 0)
        snprintf(a->reason, sizeof a->reason, "%s", reason);
    if (a->n_failed < SNUG_ANSWER_LINES_KEPT)
        a->failed_lines[a->n_failed] = row->line;
    a->n_failed++;
}

static snug_status answer_row(struct answers *a, const struct snug_answer_row *row,
                              struct snug_json_writer *w, struct snug_error *err)
{
    struct snug_generated generated = {.text = NULL};
    struct snug_error why = {0};
    const snug_status status =
        snug_generate_run(a->scorer, a->space, a->config, row->prompt, a->n_gen, &generated, &why);
    /* Of this prompt, such as its length, and not of the run. */
    if (status == SNUG_BAD_INPUT || status == SNUG_UNSUPPORTED) {
        put_failed(a, row, why.text, w);
        return SNUG_OK;
    }
    if (status != SNUG_OK)
        return snug_fail(err, status, "%s:%lld: %s", a->path, (long long)row->line, why.text);
    const char *answer = generated.text + strspn(generated.text, " \n");
    snug_json_begin_object(w, NULL);
    snug_json_put_int(w, "line", row->line);
    snug_json_put_string(w, "answer", answer);
    snug_json_put_string(w, "finish",
                         generated.is_at_end         ? "stop"
                         : generated.is_context_full ? "context"
                                                     : "length");
    snug_json_put_int(w, "n_tokens", generated.n_tokens);
    measure_text(row, answer, a, w);
    measure_json(row, answer, a, w);
    snug_json_end(w);
    a->n++;
    a->n_ended += generated.is_at_end;
    snug_generated_clear(&generated);
    return SNUG_OK;
}

/* ---- the answer ---- */

static void put_means(const struct answers *a, struct snug_json_writer *w)
{
    snug_json_begin_object(w, "answer_means");
    snug_json_put_int(w, "n", a->n);
    snug_json_put_int(w, "n_rows", a->file->n_rows);
    snug_json_put_int(w, "n_ended", a->n_ended);
    snug_json_put_int(w, "n_failed", a->n_failed);
    snug_json_put_int(w, "n_unmeasured", a->file->n_bare);
    snug_json_put_bool(w, "is_interrupted", a->is_interrupted);
    for (int i = 0; i < N_MEASURES; i++) {
        const struct mean *m = &a->means[i];
        snug_json_begin_object(w, MEASURES[i].name);
        snug_json_put_number(w, "value", m->n > 0 ? m->value : (double)NAN);
        snug_json_put_number(w, "se", error_of(m));
        snug_json_put_int(w, "n", m->n);
        snug_json_end(w);
    }
    snug_json_end(w);
}

static void put_lines(struct snug_buffer *out, const int64_t *lines, int n)
{
    for (int i = 0; i < n && i < SNUG_ANSWER_LINES_KEPT; i++)
        snug_buffer_printf(out, "%s %lld", i ? "," : "", (long long)lines[i]);
    snug_buffer_puts(out, n > SNUG_ANSWER_LINES_KEPT ? ", ..." : "");
}

static void put_words(const struct answers *a, struct snug_buffer *out)
{
    if (a->is_interrupted)
        snug_buffer_printf(out, "interrupted after %d of %d answers\n", a->n + a->n_failed,
                           a->file->n_rows);
    snug_buffer_printf(out, "%d answers, %d ended by themselves", a->n, a->n_ended);
    bool is_open = false;
    for (int i = 0; i < N_MEASURES; i++) {
        const struct mean *m = &a->means[i];
        if (m->n == 0)
            continue;
        const bool is_first = !is_open || MEASURES[i].group;
        if (is_first)
            snug_buffer_printf(out, "\n  %s:", MEASURES[i].group ? MEASURES[i].group : "");
        snug_buffer_printf(out, "%s %s %.3f", is_first ? "" : ",", MEASURES[i].words, m->value);
        if (m->n > 1)
            snug_buffer_printf(out, " +- %.3f", error_of(m));
        is_open = true;
    }
    snug_buffer_puts(out, "\n");
    if (a->file->n_bare > 0) {
        snug_buffer_printf(out,
                           "  %d of %d rows have nothing to measure (no reference, required "
                           "or tools): line",
                           a->file->n_bare, a->file->n_rows);
        put_lines(out, a->file->bare_lines, a->file->n_bare);
        snug_buffer_puts(out, "\n");
    }
    if (a->n_failed > 0) {
        snug_buffer_printf(out, "  %d rows failed and are in no mean: line", a->n_failed);
        put_lines(out, a->failed_lines, a->n_failed);
        snug_buffer_printf(out, ": %s\n", a->reason);
    }
}

snug_status cli_eval_answers(const struct cli_args *args, const struct cli_task *task,
                             const struct snug_config *config, struct snug_json_writer *w,
                             struct snug_buffer *out, bool *out_is_interrupted,
                             struct snug_error *err)
{
    struct snug_engine_options options;
    struct snug_answer_file file = {.n_rows = 0};
    struct answers a = {.space = snug_engine_space(task->engine),
                        .config = config,
                        .file = &file,
                        .path = args->answers,
                        .n_gen = args->has_gen ? args->n_gen : N_GEN_DEFAULT};
    snug_status status = snug_answer_file_read(args->answers, &file, err);
    if (status == SNUG_OK)
        status = cli_eval_scorer_open(task, &options, &a.scorer, err);
    snug_json_begin_array(w, "answers");
    for (int i = 0; status == SNUG_OK && i < file.n_rows; i++) {
        cli_live("answer %d of %d", i + 1, file.n_rows);
        status = answer_row(&a, &file.rows[i], w, err);
    }
    snug_json_end(w);
    cli_live_end();
    a.is_interrupted = status == SNUG_INTERRUPTED;
    if (a.is_interrupted)
        status = SNUG_OK;
    if (status == SNUG_OK && a.n == 0 && a.n_failed > 0 && !a.is_interrupted)
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: no prompt was answered; line %lld: %s",
                           args->answers, (long long)a.failed_lines[0], a.reason);
    if (status == SNUG_OK) {
        *out_is_interrupted = a.is_interrupted;
        put_means(&a, w);
        put_words(&a, out);
    }
    snug_scorer_close(a.scorer);
    snug_answer_file_clear(&file);
    return status;
}
