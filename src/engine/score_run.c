/* Scoring and generation, parent side: requests to a worker and what came back, checked. */
#include "snug/score.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/llama_engine.h"
#include "trial/trial_json.h"

/* One request, the load of the model included. The user's stop flag ends it sooner. */
static const double CALL_LIMIT_S = 3600.0;

struct snug_scorer {
    struct snug_engine_options options;
    struct snug__link link;
    int64_t numa; /* of the last call: ggml sets it once per process */
};

snug_status snug_scorer_open(const struct snug_engine_options *options, struct snug_scorer **out,
                             struct snug_error *err)
{
    if (options->workload.n_ctx < 2)
        return snug_fail(err, SNUG_BAD_INPUT, "a context of %lld tokens holds no text",
                         (long long)options->workload.n_ctx);
    struct snug_scorer *scorer = calloc(1, sizeof *scorer);
    if (!scorer)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for a scorer");
    scorer->options = *options;
    scorer->link.limit_bytes = options->memory_limit_bytes;
    *out = scorer;
    return SNUG_OK;
}

void snug_scorer_close(struct snug_scorer *scorer)
{
    if (!scorer)
        return;
    snug__link_close(&scorer->link);
    free(scorer);
}

static void begin_request(struct snug_json_writer *w, const char *op, const struct snug_scorer *s,
                          const struct snug_space *space, const struct snug_config *config)
{
    snug_json_begin_object(w, NULL);
    snug_json_put_string(w, "op", op);
    snug_config_to_json(w, "config", space, config);
    snug_json_put_int(w, "n_ctx", s->options.workload.n_ctx);
}

/* Ask, and expect one kind of answer; everything else is an error with the worker's own words. */
static snug_status call(struct snug_scorer *s, const struct snug_space *space,
                        const struct snug_config *config, struct snug_json_writer *request,
                        const char *event, struct snug_json **out_doc, struct snug_error *err)
{
    const int row = snug_space_find(space, "numa");
    const int64_t numa = row < 0 ? 0 : config->value[row];
    if (numa != s->numa)
        snug__link_close(&s->link);
    s->numa = numa;
    snug_status status = snug__link_open(&s->link, &s->options, NULL, err);
    if (status != SNUG_OK) {
        snug_json_writer_clear(request);
        return status;
    }
    struct snug__link_end end = {0};
    struct snug_json *doc = NULL;
    status = snug__link_call(&s->link, &s->options, request, CALL_LIMIT_S, &doc, &end, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_json_node *root = snug_json_root(doc);
    if (strcmp(snug_json_get_string(root, "event", ""), event) != 0) {
        const bool is_oom = strcmp(snug_json_get_string(root, "outcome", ""),
                                   snug_outcome_name(SNUG_TRIAL_OOM)) == 0;
        status = snug_fail(err, is_oom ? SNUG_NO_MEMORY : SNUG_UNSUPPORTED, "%s",
                           snug_json_get_string(root, "reason", "no reason given"));
        snug_json_free(doc);
        return status;
    }
    *out_doc = doc;
    return SNUG_OK;
}

/* ---- scores ---- */

static snug_status check_text(const char *text, const char *what, size_t i, struct snug_error *err)
{
    const size_t n = strnlen(text, SNUG_SCORE_TEXT_MAX + 1);
    if (n > SNUG_SCORE_TEXT_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "item %zu: %s of more than %u bytes", i, what,
                         SNUG_SCORE_TEXT_MAX);
    return SNUG_OK;
}

static snug_status put_items(struct snug_json_writer *w, const struct snug_score_item *items,
                             size_t n, struct snug_error *err)
{
    snug_json_begin_array(w, "items");
    for (size_t i = 0; i < n; i++) {
        const struct snug_score_item *item = &items[i];
        if (item->n_choices < 1 || item->n_choices > SNUG_SCORE_CHOICES_MAX)
            return snug_fail(err, SNUG_BAD_INPUT, "item %zu: %d choices, 1 to %d are taken", i,
                             item->n_choices, SNUG_SCORE_CHOICES_MAX);
        snug_status status = check_text(item->context, "a context", i, err);
        snug_json_begin_object(w, NULL);
        snug_json_put_string(w, "context", item->context);
        snug_json_begin_array(w, "choices");
        for (int k = 0; k < item->n_choices && status == SNUG_OK; k++) {
            status = check_text(item->choices[k], "a choice", i, err);
            snug_json_put_string(w, NULL, item->choices[k]);
        }
        snug_json_end(w);
        snug_json_end(w);
        if (status != SNUG_OK)
            return status;
    }
    snug_json_end(w);
    return SNUG_OK;
}

static snug_status take_scores(const struct snug_json_node *node,
                               const struct snug_score_item *item, struct snug_item_scores *out,
                               struct snug_error *err)
{
    const struct snug_json_node *choices = snug_json_get(node, "choices");
    struct snug_item_scores scores = {.n_choices = item->n_choices,
                                      .n_context_tokens =
                                          (int)snug_json_get_int(node, "n_context", 0),
                                      .n_cut_tokens = (int)snug_json_get_int(node, "n_cut", 0)};
    for (int k = 0; k < item->n_choices; k++) {
        const struct snug_json_node *one = snug_json_at(choices, (size_t)k);
        struct snug_score *score = &scores.choices[k];
        score->log_prob = snug_json_get_number(one, "lp", NAN);
        score->n_tokens = (int)snug_json_get_int(one, "n", 0);
        score->n_bytes = (int)strlen(item->choices[k] + strspn(item->choices[k], " "));
        if (!isfinite(score->log_prob) || score->n_tokens < 1)
            return snug_fail(err, SNUG_CRASHED, "the worker sent no score of a choice");
    }
    *out = scores;
    return SNUG_OK;
}

snug_status snug_score_run(struct snug_scorer *scorer, const struct snug_space *space,
                           const struct snug_config *config, const struct snug_score_item *items,
                           size_t n, struct snug_item_scores *out, struct snug_error *err)
{
    if (n < 1 || n > SNUG_SCORE_ITEMS_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "%zu items at once, 1 to %d are taken", n,
                         SNUG_SCORE_ITEMS_MAX);
    struct snug_json_writer request = {0};
    struct snug_json *doc = NULL;
    begin_request(&request, "score", scorer, space, config);
    snug_status status = put_items(&request, items, n, err);
    if (status != SNUG_OK) {
        snug_json_writer_clear(&request);
        return status;
    }
    snug_json_end(&request);
    status = call(scorer, space, config, &request, "scored", &doc, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_json_node *answers = snug_json_get(snug_json_root(doc), "items");
    for (size_t i = 0; i < n && status == SNUG_OK; i++)
        status = take_scores(snug_json_at(answers, i), &items[i], &out[i], err);
    snug_json_free(doc);
    return status;
}

/* ---- answers ---- */

snug_status snug_generate_run(struct snug_scorer *scorer, const struct snug_space *space,
                              const struct snug_config *config, const char *prompt, int64_t n_max,
                              struct snug_generated *out, struct snug_error *err)
{
    if (n_max < 1 || n_max > SNUG_GENERATE_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "an answer of %lld tokens, 1 to %d are possible",
                         (long long)n_max, SNUG_GENERATE_MAX);
    if (strnlen(prompt, SNUG_SCORE_TEXT_MAX + 1) > SNUG_SCORE_TEXT_MAX)
        return snug_fail(err, SNUG_BAD_INPUT, "a prompt of more than %u bytes",
                         SNUG_SCORE_TEXT_MAX);
    struct snug_json_writer request = {0};
    struct snug_json *doc = NULL;
    begin_request(&request, "generate", scorer, space, config);
    snug_json_put_string(&request, "prompt", prompt);
    snug_json_put_int(&request, "n_max", n_max);
    snug_json_end(&request);
    const snug_status status = call(scorer, space, config, &request, "generated", &doc, err);
    if (status != SNUG_OK)
        return status;
    const struct snug_json_node *root = snug_json_root(doc);
    const char *finish = snug_json_get_string(root, "finish", "");
    struct snug_generated made = {.text = strdup(snug_json_get_string(root, "text", "")),
                                  .is_at_end = strcmp(finish, "stop") == 0,
                                  .is_context_full = strcmp(finish, "context") == 0,
                                  .n_prompt = snug_json_get_int(root, "n_prompt", 0),
                                  .n_tokens = snug_json_get_int(root, "n", 0)};
    snug_json_free(doc);
    if (!made.text)
        return snug_fail(err, SNUG_NO_MEMORY, "no memory for an answer");
    *out = made;
    return SNUG_OK;
}

void snug_generated_clear(struct snug_generated *generated)
{
    free(generated->text);
    *generated = (struct snug_generated){0};
}
