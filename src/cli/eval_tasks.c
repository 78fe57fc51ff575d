/* Tasks and answers of snug eval. */
#include "cli/eval_tasks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "lab/task_run.h"
#include "lab/text_measures.h"

static const size_t ANSWERS_BYTES_MAX = 16u << 20;
#define ANSWERS_MAX 10000
#define FIELDS_MAX 64
static const int64_t N_GEN_DEFAULT = 128;

static snug_status open_scorer(const struct cli_task *task, struct snug_engine_options *options,
                               struct snug_scorer **out, struct snug_error *err)
{
    *options = (struct snug_engine_options){.model_path = task->model.path,
                                            .machine = &task->machine,
                                            .model = &task->model,
                                            .workload = task->workload,
                                            .stop = &cli_stop};
    return snug_scorer_open(options, out, err);
}

static void put_estimate(struct snug_json_writer *w, const char *key, double sum, int n)
{
    snug_json_put_number(w, key, n > 0 ? sum / n : NAN);
}

/* ---- multiple choice ---- */

static void on_items(int n_done, int n, double accuracy, void *data)
{
    (void)data;
    cli_live("item %d of %d, accuracy %.1f %%", n_done, n, 100.0 * accuracy);
}

static const char *type_of(const struct snug_space *space, const struct snug_config *config,
                           const char *name)
{
    const int row = snug_space_find(space, name);
    return row < 0 ? "" : space->knobs[row].values[config->value[row]];
}

static snug_status keep_task(const struct cli_task *task, const struct snug_config *config,
                             const struct snug_task_result *result, struct snug_error *err)
{
    const struct snug_space *space = snug_engine_space(task->engine);
    const struct snug_quality_place place = {.model_id = task->model_id,
                                             .build = snug_engine_build(task->engine),
                                             .type_k = type_of(space, config, "type_k"),
                                             .type_v = type_of(space, config, "type_v"),
                                             .text_hash = result->hash,
                                             .reference_hash = "",
                                             .n_ctx = task->workload.n_ctx,
                                             .is_task = true};
    struct snug_json_writer w = {0};
    snug_task_result_to_json(&w, NULL, result);
    char *json = snug_json_finish(&w, false);
    const snug_status status =
        json ? snug_store_quality_json_add(task->store, &place, json, err)
             : snug_fail(err, SNUG_NO_MEMORY, "no memory for a task's result");
    free(json);
    return status;
}

static void put_task_words(const struct snug_task_result *r, struct snug_buffer *out)
{
    snug_buffer_printf(out,
                       "%s (%s): accuracy %.2f +- %.2f %%, length-normalised %.2f +- %.2f %%, over "
                       "%d items; guessing reaches %.1f %%\n",
                       r->name, snug_task_shape_name(r->shape), 100.0 * r->accuracy.value,
                       100.0 * r->accuracy.se, 100.0 * r->accuracy_norm.value,
                       100.0 * r->accuracy_norm.se, r->n_scored, 100.0 * r->chance_frac);
    if (r->n_unanswerable > 0) {
        snug_buffer_printf(out, "  %d items tell no answer and were left out: line",
                           r->n_unanswerable);
        for (int i = 0; i < r->n_unanswerable && i < SNUG_TASK_LINES_KEPT; i++)
            snug_buffer_printf(out, "%s %lld", i ? "," : "", (long long)r->unanswerable_lines[i]);
        snug_buffer_puts(out, r->n_unanswerable > SNUG_TASK_LINES_KEPT ? ", ...\n" : "\n");
    }
    if (r->n_cut > 0)
        snug_buffer_printf(out, "  %d contexts were cut at the front to fit: give a larger -c\n",
                           r->n_cut);
}

snug_status cli_eval_task(const struct cli_args *args, const struct cli_task *task,
                          const struct snug_config *config, struct snug_json_writer *w,
                          struct snug_buffer *out, struct snug_error *err)
{
    struct snug_task_file file;
    struct snug_engine_options options;
    struct snug_scorer *scorer = NULL;
    struct snug_task_result result;
    const struct snug_task_options run = {.n_max = (int)args->n_items, .progress = on_items};
    snug_status status = snug_task_file_read(args->task, args->labels, &file, err);
    if (status != SNUG_OK)
        return status;
    status = open_scorer(task, &options, &scorer, err);
    if (status == SNUG_OK)
        status = snug_task_run(scorer, snug_engine_space(task->engine), config, &file, &run,
                               &result, err);
    cli_live_end();
    if (status == SNUG_OK)
        status = keep_task(task, config, &result, err);
    if (status == SNUG_OK) {
        snug_task_result_to_json(w, "task", &result);
        put_task_words(&result, out);
    }
    snug_scorer_close(scorer);
    snug_task_file_clear(&file);
    return status;
}

/* ---- answers ---- */

struct answers {
    struct snug_scorer *scorer;
    const struct snug_space *space;
    const struct snug_config *config;
    int64_t n_gen;
    /* sums of what was measured */
    struct snug_text_measures sum;
    double json, required;
    struct snug_tool_measures tools;
    int n, n_reference, n_required, n_tools, n_json, n_ended;
};

/* {"a": ...}: what the model is to hand over as JSON is measured as JSON. */
static void measure_json(const struct snug_json_node *item, const char *answer, struct answers *a,
                         struct snug_json_writer *w)
{
    const struct snug_json_node *required = snug_json_get(item, "required");
    const struct snug_json_node *tools = snug_json_get(item, "tools");
    if (!required && !tools)
        return;
    const double validity = snug_json_validity(answer);
    a->json += validity;
    a->n_json++;
    snug_json_put_number(w, "json_validity", validity);
    if (required) {
        const char *fields[FIELDS_MAX + 1];
        size_t n = snug_json_count(required);
        n = n < FIELDS_MAX ? n : FIELDS_MAX;
        for (size_t i = 0; i < n; i++)
            fields[i] = snug_json_string(snug_json_at(required, i), "");
        fields[n] = NULL;
        const double share = snug_json_required(answer, fields);
        a->required += share;
        a->n_required++;
        snug_json_put_number(w, "required_fields", share);
    }
    if (tools) {
        struct snug_tool_measures m;
        snug_tool_measure(answer, tools, &m);
        a->tools.count += m.count;
        a->tools.names += m.names;
        a->tools.structure += m.structure;
        a->tools.values += m.values;
        a->n_tools++;
        snug_json_put_number(w, "tool_count", m.count);
        snug_json_put_number(w, "tool_names", m.names);
        snug_json_put_number(w, "tool_args_structure", m.structure);
        snug_json_put_number(w, "tool_args_values", m.values);
    }
}

static void measure_text(const struct snug_json_node *item, const char *answer, struct answers *a,
                         struct snug_json_writer *w)
{
    const char *reference = snug_json_get_string(item, "reference", NULL);
    struct snug_text_measures m;
    if (!reference)
        return;
    snug_text_measure(answer, reference, &m);
    a->sum.exact += m.exact;
    a->sum.exact_words += m.exact_words;
    a->sum.jaccard += m.jaccard;
    a->sum.levenshtein += m.levenshtein;
    a->sum.bleu += m.bleu;
    a->sum.rouge_l += m.rouge_l;
    a->n_reference++;
    snug_json_put_number(w, "exact", m.exact);
    snug_json_put_number(w, "exact_words", m.exact_words);
    snug_json_put_number(w, "jaccard", m.jaccard);
    snug_json_put_number(w, "levenshtein", m.levenshtein);
    snug_json_put_number(w, "bleu", m.bleu);
    snug_json_put_number(w, "rouge_l", m.rouge_l);
}

static snug_status answer_line(struct answers *a, const char *name, const char *line, size_t n,
                               struct snug_json_writer *w, struct snug_error *err)
{
    struct snug_json *doc = NULL;
    struct snug_generated generated = {.text = NULL};
    snug_status status = snug_json_parse(name, line, n, &doc, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_json_node *item = snug_json_root(doc);
    const char *prompt = snug_json_get_string(item, "prompt", NULL);
    if (!prompt || !prompt[0])
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: no \"prompt\" text", name);
    if (status == SNUG_OK)
        status =
            snug_generate_run(a->scorer, a->space, a->config, prompt, a->n_gen, &generated, err);
    if (status == SNUG_OK) {
        const char *answer = generated.text + strspn(generated.text, " \n");
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "answer", answer);
        snug_json_put_string(w, "finish",
                             generated.is_at_end         ? "stop"
                             : generated.is_context_full ? "context"
                                                         : "length");
        snug_json_put_int(w, "n_tokens", generated.n_tokens);
        measure_text(item, answer, a, w);
        measure_json(item, answer, a, w);
        snug_json_end(w);
        a->n++;
        a->n_ended += generated.is_at_end;
    }
    snug_generated_clear(&generated);
    snug_json_free(doc);
    return status;
}

static void put_means(const struct answers *a, struct snug_json_writer *w)
{
    const int n = a->n_reference;
    snug_json_begin_object(w, "answer_means");
    snug_json_put_int(w, "n", a->n);
    snug_json_put_int(w, "n_ended", a->n_ended);
    put_estimate(w, "exact", a->sum.exact, n);
    put_estimate(w, "exact_words", a->sum.exact_words, n);
    put_estimate(w, "jaccard", a->sum.jaccard, n);
    put_estimate(w, "levenshtein", a->sum.levenshtein, n);
    put_estimate(w, "bleu", a->sum.bleu, n);
    put_estimate(w, "rouge_l", a->sum.rouge_l, n);
    put_estimate(w, "json_validity", a->json, a->n_json);
    put_estimate(w, "required_fields", a->required, a->n_required);
    put_estimate(w, "tool_count", a->tools.count, a->n_tools);
    put_estimate(w, "tool_names", a->tools.names, a->n_tools);
    put_estimate(w, "tool_args_structure", a->tools.structure, a->n_tools);
    put_estimate(w, "tool_args_values", a->tools.values, a->n_tools);
    snug_json_end(w);
}

static void put_answer_words(const struct answers *a, struct snug_buffer *out)
{
    const double n = a->n_reference;
    snug_buffer_printf(out, "%d answers, %d ended by themselves\n", a->n, a->n_ended);
    if (a->n_reference > 0)
        snug_buffer_printf(out,
                           "  against references: exact %.3f, same words %.3f, Jaccard %.3f, "
                           "Levenshtein %.3f, BLEU %.3f, ROUGE-L %.3f\n",
                           a->sum.exact / n, a->sum.exact_words / n, a->sum.jaccard / n,
                           a->sum.levenshtein / n, a->sum.bleu / n, a->sum.rouge_l / n);
    if (a->n_json > 0)
        snug_buffer_printf(out, "  JSON valid %.3f", a->json / a->n_json);
    if (a->n_required > 0)
        snug_buffer_printf(out, ", required fields %.3f", a->required / a->n_required);
    if (a->n_tools > 0)
        snug_buffer_printf(out, ", tool calls: count %.3f, names %.3f, structure %.3f, values %.3f",
                           a->tools.count / a->n_tools, a->tools.names / a->n_tools,
                           a->tools.structure / a->n_tools, a->tools.values / a->n_tools);
    if (a->n_json > 0)
        snug_buffer_puts(out, "\n");
}

snug_status cli_eval_answers(const struct cli_args *args, const struct cli_task *task,
                             const struct snug_config *config, struct snug_json_writer *w,
                             struct snug_buffer *out, struct snug_error *err)
{
    struct snug_engine_options options;
    struct answers a = {.space = snug_engine_space(task->engine),
                        .config = config,
                        .n_gen = args->has_gen ? args->n_gen : N_GEN_DEFAULT};
    char *text = NULL;
    size_t n = 0;
    int64_t line_no = 0;
    snug_status status = snug_file_read(args->answers, ANSWERS_BYTES_MAX, &text, &n, err);
    if (status == SNUG_OK)
        status = open_scorer(task, &options, &a.scorer, err);
    snug_json_begin_array(w, "answers");
    for (char *p = text; status == SNUG_OK && p && *p && !cli_stop;) {
        const size_t length = strcspn(p, "\n");
        char name[512];
        snprintf(name, sizeof name, "%.400s:%lld", args->answers, (long long)++line_no);
        cli_live("answer %d", a.n + 1);
        if (a.n == ANSWERS_MAX)
            status = snug_fail(err, SNUG_BAD_INPUT, "%s: more than %d prompts", name, ANSWERS_MAX);
        else if (strspn(p, " \t\r") < length)
            status = answer_line(&a, name, p, length, w, err);
        p += length + (p[length] == '\n');
    }
    snug_json_end(w);
    cli_live_end();
    if (status == SNUG_OK && a.n == 0)
        status = snug_fail(err, SNUG_BAD_INPUT, "%s: no prompts: a line is {\"prompt\": ...}",
                           args->answers);
    if (status == SNUG_OK) {
        put_means(&a, w);
        put_answer_words(&a, out);
    }
    snug_scorer_close(a.scorer);
    free(text);
    return status;
}
